import { Button, Field, Input, Select } from '@fluentui/react-components';
import {
  ArrowSyncRegular,
  ArrowUndoRegular,
  DeleteRegular,
  FolderArrowRightRegular,
  PlugDisconnectedRegular,
} from '@fluentui/react-icons';
import { useState } from 'react';
import { api } from '../api/client';
import { type Extension, type Machine, type Plan, useMayChange, usePlaneChange, useSubscriptions } from '../api/plane';
import { t } from '../i18n';
import { href } from '../logic/address';
import { placeOf, scopeOf, sensorOf, tagsOf, tagsText } from '../logic/plane';
import { useTell } from '../parts/toast';
import { go } from '../router';
import { Ask } from './Ask';
import { PlanSwitch } from './Words';

type Action = 'delete' | 'offboard' | 'move' | 'forget';

/** Why a deleted extension would not come back by itself; empty where it does. */
function keptAway(machine: Machine): string {
  if (machine.plan.plan === 'Off') return t('environment.reason.NoPlan');
  if (machine.excludedBy) return t('environment.reason.Excluded');
  return '';
}

/** What can be done to a machine. Each action says what follows before it is done. */
export function MachineActions({ machine }: { machine: Machine }) {
  const may = useMayChange();
  const tell = useTell();
  const [asking, setAsking] = useState<Action | null>(null);
  const sensor = sensorOf(machine);
  const back = usePlaneChange(() => api.post(`/machines/${machine.id}/onboard`));
  const close = () => setAsking(null);
  return (
    <>
      <MachinePlan machine={machine} />
      {sensor && (
        <Button
          size="small"
          icon={sensor.state === 'Failed' ? <ArrowSyncRegular /> : <DeleteRegular />}
          disabled={!may || sensor.state === 'Deleting'}
          onClick={() => setAsking('delete')}
        >
          {sensor.state === 'Failed' ? t('machine.redeploy') : t('machine.delete')}
        </Button>
      )}
      <Button size="small" icon={<FolderArrowRightRegular />} disabled={!may} onClick={() => setAsking('move')}>
        {t('machine.move')}
      </Button>
      <Button size="small" icon={<PlugDisconnectedRegular />} disabled={!may} onClick={() => setAsking('offboard')}>
        {t('machine.offboard')}
      </Button>
      {!sensor && machine.plan.plan !== 'Off' && (
        <Button
          size="small"
          icon={<ArrowUndoRegular />}
          disabled={!may || back.isPending}
          onClick={() =>
            back.mutate(undefined, { onSuccess: () => tell.done(t('machine.backDone')), onError: tell.failed })
          }
        >
          {t('machine.back')}
        </Button>
      )}
      <Button size="small" appearance="subtle" disabled={!may} onClick={() => setAsking('forget')}>
        {t('machine.forget')}
      </Button>
      {asking === 'delete' && sensor && <DeleteDialog machine={machine} extension={sensor} close={close} />}
      {asking === 'move' && <MoveDialog machine={machine} close={close} />}
      {asking === 'offboard' && (
        <Sure
          title={t('machine.offboardTitle', { name: machine.name })}
          hint={t('machine.offboardHint')}
          act={t('machine.offboard')}
          done={t('machine.offboardDone')}
          run={() => api.post(`/machines/${machine.id}/offboard`)}
          close={close}
        />
      )}
      {asking === 'forget' && (
        <Sure
          title={t('machine.forgetTitle', { name: machine.name })}
          hint={t('machine.forgetHint')}
          act={t('machine.forget')}
          done={t('machine.forgotten')}
          run={() => api.delete(`/machines/${machine.id}`)}
          close={close}
          after={() => go(href('/machines', window.location.search))}
        />
      )}
    </>
  );
}

/** The machine's own setting. It is a downgrade, a switch off, or none: Plan 2 belongs to subscriptions. */
export function MachinePlan({ machine }: { machine: Machine }) {
  const may = useMayChange();
  const tell = useTell();
  const path = `/machines/${machine.id}/plan`;
  const change = usePlaneChange(
    (plan: Plan | null): Promise<unknown> => (plan ? api.put(path, { plan }) : api.delete(path)),
  );
  const own = machine.plan.source === 'Machine' ? machine.plan.plan : null;
  const set = (plan: Plan | null) =>
    change.mutate(plan, {
      onSuccess: () => tell.done(t('machine.planDone', { name: machine.name })),
      onError: tell.failed,
    });
  return <PlanSwitch name={machine.name} value={own} machine disabled={!may || change.isPending} onPick={set} />;
}

function Sure({
  title,
  hint,
  act,
  done,
  run,
  close,
  after,
}: {
  title: string;
  hint: string;
  act: string;
  done: string;
  run: () => Promise<unknown>;
  close: () => void;
  after?: () => void;
}) {
  const tell = useTell();
  const change = usePlaneChange(run);
  return (
    <Ask
      title={title}
      act={act}
      busy={change.isPending}
      error={change.error}
      close={close}
      run={() =>
        change.mutate(undefined, {
          onSuccess: () => {
            tell.done(done);
            close();
            after?.();
          },
        })
      }
    >
      <p>{hint}</p>
    </Ask>
  );
}

function DeleteDialog({ machine, extension, close }: { machine: Machine; extension: Extension; close: () => void }) {
  const why = keptAway(machine);
  const hint = [
    t('machine.deleteKeeps'),
    why ? t('machine.deleteStays', { why: why.toLowerCase() }) : t('machine.deleteReturns'),
  ];
  return (
    <Sure
      title={t('machine.deleteTitle', { name: extension.name, machine: machine.name })}
      hint={hint.join(' ')}
      act={extension.state === 'Failed' ? t('machine.redeploy') : t('machine.delete')}
      done={t('machine.deleteDone')}
      run={() => api.delete(`/machines/${machine.id}/extensions/${extension.name}`)}
      close={close}
    />
  );
}

function MoveDialog({ machine, close }: { machine: Machine; close: () => void }) {
  const place = placeOf(machine.resourceId);
  const subscriptions = useSubscriptions();
  const [subscription, setSubscription] = useState(place.subscription);
  const [group, setGroup] = useState(place.group);
  const tell = useTell();
  const change = usePlaneChange(() =>
    api.patch(`/machines/${machine.id}`, { resourceId: scopeOf(subscription, group.trim(), place.name) }),
  );
  return (
    <Ask
      title={t('machine.moveTitle', { name: machine.name })}
      act={t('machine.move')}
      able={group.trim() !== '' && (subscription !== place.subscription || group.trim() !== place.group)}
      busy={change.isPending}
      error={change.error}
      close={close}
      run={() =>
        change.mutate(undefined, {
          onSuccess: () => {
            tell.done(t('machine.moved'));
            close();
          },
        })
      }
    >
      <p className="muted">{t('machine.moveHint')}</p>
      <Field label={t('machine.subscription')}>
        <Select value={subscription} onChange={(_, data) => setSubscription(data.value)}>
          {(subscriptions.data ?? []).map((s) => (
            <option key={s.id} value={s.id}>
              {s.name}
            </option>
          ))}
        </Select>
      </Field>
      <Field label={t('machine.group')} required>
        <Input value={group} onChange={(_, data) => setGroup(data.value)} />
      </Field>
    </Ask>
  );
}

/** Tags as one line of text. */
export function MachineTags({ machine }: { machine: Machine }) {
  const may = useMayChange();
  const before = tagsText(machine.tags);
  const [text, setText] = useState(before);
  const tell = useTell();
  const save = usePlaneChange(() => api.patch(`/machines/${machine.id}`, { tags: tagsOf(text) }));
  return (
    <form
      className="inline-form"
      onSubmit={(event) => {
        event.preventDefault();
        save.mutate(undefined, { onSuccess: () => tell.done(t('manage.saved')), onError: tell.failed });
      }}
    >
      <Field label={t('machine.tags')} size="small">
        <Input
          size="small"
          value={text}
          disabled={!may}
          placeholder={t('machine.tagsHint')}
          onChange={(_, data) => setText(data.value)}
        />
      </Field>
      <Button size="small" type="submit" disabled={!may || text === before || save.isPending}>
        {t('machine.save')}
      </Button>
    </form>
  );
}
