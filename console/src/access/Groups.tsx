import { Button, Field, Input, Select } from '@fluentui/react-components';
import { AddRegular, ArrowDownRegular, ArrowUpRegular, DismissRegular } from '@fluentui/react-icons';
import { useState } from 'react';
import {
  type DeviceGroup,
  type GroupRule,
  LEVELS,
  OPERATORS,
  PROPERTIES,
  UNGROUPED,
  useAccessChange,
  useDeviceGroups,
  useGroupPreview,
  useMayManage,
} from '../api/access';
import { api } from '../api/client';
import { t } from '../i18n';
import { idOf, stepped, usable } from '../logic/access';
import { Tag } from '../parts/Badges';
import { Section, To } from '../parts/Parts';
import { Failure, Loading } from '../parts/States';
import { RowButton, Table } from '../parts/Table';
import { useTell } from '../parts/toast';
import { Ask } from '../plane/Ask';

const NEW_RULE: GroupRule = { property: 'name', operator: 'startsWith', value: '' };
/** Devices of a preview that the dialog names. */
const NAMED_MAX = 12;

function body(group: DeviceGroup, change: Partial<DeviceGroup> = {}) {
  const { name, description, rank, rules, automationLevel } = { ...group, ...change };
  return { name, description, rules, automationLevel, ...(group.id === UNGROUPED ? {} : { rank }) };
}

/** Device groups by rank: the first whose rules all hold has the device. */
export function Groups() {
  const groups = useDeviceGroups();
  const may = useMayManage();
  const tell = useTell();
  const [editing, setEditing] = useState<DeviceGroup | 'new' | null>(null);
  const put = useAccessChange(({ group, change }: { group: DeviceGroup; change: Partial<DeviceGroup> }) =>
    api.put(`/device-groups/${group.id}`, body(group, change)),
  );
  const drop = useAccessChange((id: string) => api.delete(`/device-groups/${id}`));
  if (groups.error) return <Failure error={groups.error} retry={() => void groups.refetch()} />;
  if (!groups.data) return <Loading />;
  const all = groups.data;
  const move = (group: DeviceGroup, step: -1 | 1) => {
    const rank = stepped(all, group.id, step);
    if (rank !== null) put.mutate({ group, change: { rank } }, { onError: tell.failed });
  };
  return (
    <Section
      title={t('access.tab.groups')}
      end={
        <Button size="small" disabled={!may} onClick={() => setEditing('new')}>
          {t('access.addDeviceGroup')}
        </Button>
      }
    >
      <p className="muted small">{t('access.groupsHint')}</p>
      <Table
        name="groups"
        heads={[
          t('access.rank'),
          t('settings.column.name'),
          t('access.rules'),
          t('access.automation'),
          [t('access.devices'), 'end'],
        ]}
        actions
      >
        {all.map((g) => {
          const fixed = g.id === UNGROUPED;
          return (
            <tr key={g.id} data-group={g.id}>
              <td className="nowrap">
                {fixed ? (
                  '–'
                ) : (
                  <>
                    {g.rank}{' '}
                    <RowButton
                      icon={<ArrowUpRegular />}
                      aria-label={t('access.up', { name: g.name })}
                      disabled={!may || put.isPending || stepped(all, g.id, -1) === null}
                      onClick={() => move(g, -1)}
                    />
                    <RowButton
                      icon={<ArrowDownRegular />}
                      aria-label={t('access.down', { name: g.name })}
                      disabled={!may || put.isPending || stepped(all, g.id, 1) === null}
                      onClick={() => move(g, 1)}
                    />
                  </>
                )}
              </td>
              <td>
                {g.name}
                {g.description && <div className="muted small">{g.description}</div>}
              </td>
              <td>
                <span className="tags">
                  {g.rules.map((r) => (
                    <Tag key={`${r.property}${r.operator}${r.value}`}>
                      {`${t(`access.property.${r.property}`)} ${t(`operator.${r.operator}`)} ${r.value}`}
                    </Tag>
                  ))}
                  {fixed && <span className="muted">{t('access.rest')}</span>}
                </span>
              </td>
              <td>
                <Select
                  size="small"
                  aria-label={t('access.automationOf', { name: g.name })}
                  value={g.automationLevel}
                  disabled={!may || put.isPending}
                  onChange={(_, data) => {
                    const automationLevel = LEVELS.find((l) => l === data.value);
                    if (automationLevel)
                      put.mutate({ group: g, change: { automationLevel } }, { onError: tell.failed });
                  }}
                >
                  {LEVELS.map((l) => (
                    <option key={l} value={l}>
                      {t(`access.level.${l}`)}
                    </option>
                  ))}
                </Select>
              </td>
              <td className="end">{g.deviceCount}</td>
              <td className="end nowrap">
                {!fixed && (
                  <>
                    <RowButton disabled={!may} onClick={() => setEditing(g)}>
                      {t('access.edit')}
                    </RowButton>
                    <RowButton
                      disabled={!may || drop.isPending}
                      onClick={() => drop.mutate(g.id, { onError: tell.failed })}
                    >
                      {t('settings.remove')}
                    </RowButton>
                  </>
                )}
              </td>
            </tr>
          );
        })}
      </Table>
      {editing && <GroupDialog group={editing === 'new' ? null : editing} all={all} close={() => setEditing(null)} />}
    </Section>
  );
}

function GroupDialog({
  group,
  all,
  close,
}: {
  group: DeviceGroup | null;
  all: readonly DeviceGroup[];
  close: () => void;
}) {
  const [name, setName] = useState(group?.name ?? '');
  const [description, setDescription] = useState(group?.description ?? '');
  const [rules, setRules] = useState<GroupRule[]>(group?.rules ?? [NEW_RULE]);
  const tell = useTell();
  const sent = usable(rules);
  const id =
    group?.id ??
    idOf(
      name,
      all.map((g) => g.id),
    );
  const preview = useGroupPreview(group?.id ?? '', group?.rank ?? null, sent);
  const save = useAccessChange(() =>
    api.put(`/device-groups/${id}`, {
      name: name.trim(),
      description: description.trim(),
      rules: sent,
      ...(group ? { rank: group.rank, automationLevel: group.automationLevel } : {}),
    }),
  );
  const set = (at: number, change: Partial<GroupRule>) =>
    setRules(rules.map((r, i) => (i === at ? { ...r, ...change } : r)));
  const names = new Map(all.map((g) => [g.id, g.name]));
  return (
    <Ask
      wide
      title={group ? t('access.editGroup', { name: group.name }) : t('access.addDeviceGroup')}
      act={t('manage.save')}
      able={name.trim() !== '' && sent.length > 0}
      busy={save.isPending}
      error={save.error}
      close={close}
      run={() =>
        save.mutate(undefined, {
          onSuccess: () => {
            tell.done(t('access.groupSaved'));
            close();
          },
        })
      }
    >
      <Field label={t('settings.column.name')} required>
        <Input value={name} onChange={(_, data) => setName(data.value)} />
      </Field>
      <Field label={t('access.title')}>
        <Input value={description} onChange={(_, data) => setDescription(data.value)} />
      </Field>
      <fieldset className="choices">
        <legend>{t('access.allRules')}</legend>
        {rules.map((rule, at) => (
          <div key={at} className="rule-line">
            <Select
              size="small"
              aria-label={t('access.propertyOf', { at: at + 1 })}
              value={rule.property}
              onChange={(_, data) => set(at, { property: PROPERTIES.find((p) => p === data.value) ?? 'name' })}
            >
              {PROPERTIES.map((p) => (
                <option key={p} value={p}>
                  {t(`access.property.${p}`)}
                </option>
              ))}
            </Select>
            <Select
              size="small"
              aria-label={t('access.operatorOf', { at: at + 1 })}
              value={rule.operator}
              onChange={(_, data) => set(at, { operator: OPERATORS.find((o) => o === data.value) ?? 'equals' })}
            >
              {OPERATORS.map((o) => (
                <option key={o} value={o}>
                  {t(`operator.${o}`)}
                </option>
              ))}
            </Select>
            <Input
              size="small"
              aria-label={t('access.valueOf', { at: at + 1 })}
              value={rule.value}
              onChange={(_, data) => set(at, { value: data.value })}
            />
            <RowButton
              icon={<DismissRegular />}
              aria-label={t('access.dropRule', { at: at + 1 })}
              disabled={rules.length === 1}
              onClick={() => setRules(rules.filter((_, i) => i !== at))}
            />
          </div>
        ))}
        <Button size="small" icon={<AddRegular />} onClick={() => setRules([...rules, NEW_RULE])}>
          {t('access.addRule')}
        </Button>
      </fieldset>
      <div className="preview" role="status" data-preview>
        {sent.length === 0 ? (
          <span className="muted">{t('access.noRule')}</span>
        ) : preview.error ? (
          <span className="bad">{preview.error.message}</span>
        ) : !preview.data ? (
          t('state.loading')
        ) : (
          <>
            <strong>{t('access.matching', { count: preview.data.matching })}</strong>
            <div className="muted small">
              {t('access.holding', {
                holding: preview.data.holding,
                entering: preview.data.entering,
                leaving: preview.data.leaving,
              })}
            </div>
            <ul className="one">
              {preview.data.items.slice(0, NAMED_MAX).map((d) => (
                <li key={d.id}>
                  <To path={`/devices/${d.id}`}>{d.name}</To>{' '}
                  <span className="muted small">
                    {d.before === d.after
                      ? d.after === id
                        ? t('access.stays')
                        : t('access.taken_by', { group: names.get(d.after) ?? d.after })
                      : d.after === (group?.id ?? '')
                        ? t('access.comes', { group: names.get(d.before) ?? d.before })
                        : t('access.goes', { group: names.get(d.after) ?? d.after })}
                  </span>
                </li>
              ))}
            </ul>
            {preview.data.items.length > NAMED_MAX && (
              <span className="muted small">{t('bulk.rest', { count: preview.data.items.length - NAMED_MAX })}</span>
            )}
          </>
        )}
      </div>
    </Ask>
  );
}
