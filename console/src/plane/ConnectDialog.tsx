import {
  Button,
  Dialog,
  DialogActions,
  DialogBody,
  DialogContent,
  DialogSurface,
  DialogTitle,
  Field,
  Input,
  Select,
  Spinner,
} from '@fluentui/react-components';
import { CheckmarkCircleFilled, CopyRegular } from '@fluentui/react-icons';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { api } from '../api/client';
import {
  type ConnectorToken,
  type Machine,
  useGroups,
  usePlaneChange,
  useSubscriptions,
  WAITING_MS,
} from '../api/plane';
import { useStatus } from '../api/queries';
import type { Page } from '../api/types';
import { t } from '../i18n';
import { connectCommand, placeOf, sensorOf, tagsOf } from '../logic/plane';
import { copyText } from '../parts/Entity';
import { To } from '../parts/Parts';
import { useTell } from '../parts/toast';
import { Refused } from './Ask';
import { Sources } from './Sources';
import { ExtensionTag, StateBadge } from './Words';

/** The gateway listens beside the API, on this port unless the operator chose another. */
const GATEWAY_PORT = 9443;
/** Machines that the dialog watches; the list shows all. */
const ARRIVALS_MAX = 500;

/** A token, the one command, and the machine as it arrives. */
export function ConnectDialog({ start, close }: { start?: string; close: () => void }) {
  const subscriptions = useSubscriptions();
  const [chosen, setSubscription] = useState(start ?? '');
  const subscription = chosen || subscriptions.data?.[0]?.id || '';
  const [group, setGroup] = useState('');
  const [uses, setUses] = useState('1');
  const [hours, setHours] = useState('24');
  const [tags, setTags] = useState('');
  const groups = useGroups(subscription || null);
  const tell = useTell();
  const make = usePlaneChange(() =>
    api.post<ConnectorToken>('/connector-tokens', {
      name: t('connect.nameDefault'),
      expiresHours: Number(hours),
      uses: Number(uses),
      subscription,
      ...(group ? { resourceGroup: group } : {}),
    }),
  );
  const port = Number(useStatus().data?.gatewayPort) || GATEWAY_PORT;
  const made = make.data;
  const arrived = useQuery({
    queryKey: ['machines', 'arrivals', subscription, made?.createdTime],
    queryFn: async () => {
      const page = await api.get<Page<Machine>>('/machines', { subscription, limit: ARRIVALS_MAX });
      const since = Date.parse(made?.createdTime ?? '');
      return page.items.filter((m) => Date.parse(m.createdTime) >= since);
    },
    enabled: made !== undefined,
    refetchInterval: WAITING_MS,
  });
  const revoke = usePlaneChange((id: string) => api.delete(`/connector-tokens/${id}`));
  const machines = arrived.data ?? [];
  const step = !made ? 0 : machines.length === 0 ? 1 : 2;
  const command =
    made && connectCommand(`${window.location.hostname}:${port}`, made.token ?? '', { group, tags: tagsOf(tags) });
  return (
    <Dialog open onOpenChange={(_, data) => !data.open && close()}>
      <DialogSurface>
        <DialogBody>
          <DialogTitle>{t('connect.title')}</DialogTitle>
          <DialogContent className="form">
            <ol className="steps">
              {(['stepToken', 'stepRun', 'stepArrive'] as const).map((name, i) => (
                <li key={name} className={i < step ? 'done' : ''} aria-current={i === step ? 'step' : undefined}>
                  {t(`connect.${name}`)}
                </li>
              ))}
            </ol>
            {!made || !command ? (
              <form
                id="connect"
                className="two"
                onSubmit={(event) => {
                  event.preventDefault();
                  make.mutate(undefined);
                }}
              >
                <Field label={t('machine.subscription')} required>
                  <Select value={subscription} onChange={(_, data) => setSubscription(data.value)}>
                    {(subscriptions.data ?? []).map((s) => (
                      <option key={s.id} value={s.id}>
                        {s.name}
                      </option>
                    ))}
                  </Select>
                </Field>
                <Field label={t('machine.group')}>
                  <Input value={group} list="connect-groups" onChange={(_, data) => setGroup(data.value.trim())} />
                </Field>
                <datalist id="connect-groups">
                  {(groups.data ?? []).map((g) => (
                    <option key={g.name} value={g.name} />
                  ))}
                </datalist>
                <Field label={t('connect.uses')}>
                  <Input type="number" min={1} max={100000} value={uses} onChange={(_, data) => setUses(data.value)} />
                </Field>
                <Field label={t('connect.hours')}>
                  <Input type="number" min={1} max={8760} value={hours} onChange={(_, data) => setHours(data.value)} />
                </Field>
                <Field label={t('connect.tags')} hint={t('machine.tagsHint')}>
                  <Input value={tags} onChange={(_, data) => setTags(data.value)} />
                </Field>
              </form>
            ) : (
              <>
                <div className="secret">
                  <strong>{t('connect.run')}</strong>
                  <span className="muted small">{t('connect.once', { hours, uses })}</span>
                  <pre className="json" tabIndex={0}>
                    {command}
                  </pre>
                  <Button size="small" icon={<CopyRegular />} onClick={() => void copyText(command)}>
                    {t('entity.copy')}
                  </Button>
                </div>
                <div className="arrivals" role="status" aria-live="polite">
                  {machines.length === 0 && <Spinner size="tiny" labelPosition="after" label={t('connect.waiting')} />}
                  {machines.map((m) => {
                    const sensor = sensorOf(m);
                    return (
                      <span key={m.id} className="line" data-arrived={m.name}>
                        <CheckmarkCircleFilled className="good" aria-hidden="true" />
                        <To path={`/machines/${m.id}`}>{m.name}</To>
                        <StateBadge state={m.state} />
                        {sensor && <ExtensionTag extension={sensor} />}
                        <span className="muted small">{placeOf(m.resourceId).group}</span>
                      </span>
                    );
                  })}
                </div>
              </>
            )}
            {subscriptions.data?.length === 0 && <p className="bad">{t('connect.noSubscription')}</p>}
            {make.error && <Refused error={make.error} />}
            {!made && <Sources />}
          </DialogContent>
          <DialogActions>
            {made && (
              <Button
                disabled={revoke.isPending}
                onClick={() =>
                  revoke.mutate(made.id, {
                    onSuccess: () => {
                      tell.done(t('connect.revoked'));
                      close();
                    },
                    onError: tell.failed,
                  })
                }
              >
                {t('connect.revoke')}
              </Button>
            )}
            <Button onClick={close}>{made ? t('connect.done') : t('action.cancel')}</Button>
            {!made && (
              <Button
                appearance="primary"
                type="submit"
                form="connect"
                disabled={subscription === '' || make.isPending}
              >
                {t('connect.make')}
              </Button>
            )}
          </DialogActions>
        </DialogBody>
      </DialogSurface>
    </Dialog>
  );
}
