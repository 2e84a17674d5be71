import { Button, Field, Input, Select } from '@fluentui/react-components';
import { useState } from 'react';
import {
  type Assignment,
  SCOPES,
  type ScopeKind,
  type User,
  useAccessChange,
  useAssignments,
  useDeviceGroups,
  useMayManage,
  useRoles,
  useUserGroups,
  useUsers,
} from '../api/access';
import { api } from '../api/client';
import { useSubscriptions } from '../api/plane';
import type { Role } from '../api/types';
import { t } from '../i18n';
import { scopeName, signInAddress } from '../logic/access';
import { Tag } from '../parts/Badges';
import { Section, Time } from '../parts/Parts';
import { Secret } from '../parts/Secret';
import { Empty, Failure, Loading } from '../parts/States';
import { RowButton, Table } from '../parts/Table';
import { useTell } from '../parts/toast';
import { Ask } from '../plane/Ask';

const START_ROLES: Role[] = ['reader', 'analyst', 'admin'];

/** Users, the roles that they and their groups have, and where. */
export function Users() {
  const users = useUsers();
  const may = useMayManage();
  const tell = useTell();
  const [asking, setAsking] = useState<'user' | 'group' | { give: string } | null>(null);
  const link = useAccessChange((name: string) => api.post<{ link: string }>(`/users/${encodeURIComponent(name)}/link`));
  const make = useAccessChange((body: { name: string; role: Role }) => api.post<{ link: string }>('/users', body));
  const shut = useAccessChange(({ name, disabled }: User) =>
    api.patch(`/users/${encodeURIComponent(name)}`, { disabled: !disabled }),
  );
  const answer = link.data ?? make.data;
  const assignments = useAssignments();
  const names = useScopeNames();
  if (users.error) return <Failure error={users.error} retry={() => void users.refetch()} />;
  if (!users.data) return <Loading />;
  const of = (name: string) =>
    (assignments.data ?? []).filter((a) => a.principalKind === 'User' && a.principal === name);
  return (
    <>
      <Section
        title={t('access.users')}
        end={
          <Button size="small" disabled={!may} onClick={() => setAsking('user')}>
            {t('access.addUser')}
          </Button>
        }
      >
        {answer && <Secret title={t('settings.link')} text={signInAddress(answer.link, window.location.origin)} />}
        <Table name="users" heads={[t('settings.column.name'), t('access.roles'), t('access.state')]} actions>
          {users.data.map((user) => (
            <tr key={user.name}>
              <td>{user.name}</td>
              <td>
                <span className="tags">
                  {of(user.name).length === 0 && <Tag>{user.role}</Tag>}
                  {of(user.name).map((a) => (
                    <Given key={a.id} assignment={a} scope={scopeName(a, names)} />
                  ))}
                </span>
              </td>
              <td>
                {user.disabled ? (
                  <Tag tone="warn">{t('access.disabled')}</Tag>
                ) : (
                  <span className="muted">{user.passwordSet ? t('access.password') : t('access.noPassword')}</span>
                )}
              </td>
              <td className="end nowrap">
                <RowButton disabled={!may} onClick={() => setAsking({ give: user.name })}>
                  {t('access.give')}
                </RowButton>
                <RowButton
                  disabled={!may || link.isPending}
                  onClick={() => link.mutate(user.name, { onError: tell.failed })}
                >
                  {t('settings.newLink')}
                </RowButton>
                <RowButton
                  disabled={!may || shut.isPending}
                  onClick={() => shut.mutate(user, { onError: tell.failed })}
                >
                  {user.disabled ? t('access.enable') : t('access.disable')}
                </RowButton>
              </td>
            </tr>
          ))}
        </Table>
      </Section>
      <UserGroups may={may} add={() => setAsking('group')} give={(name) => setAsking({ give: `group:${name}` })} />
      <AllAssignments />
      {asking === 'user' && <UserDialog make={make} close={() => setAsking(null)} reset={link.reset} />}
      {asking === 'group' && <UserGroupDialog close={() => setAsking(null)} />}
      {typeof asking === 'object' && asking && <GiveDialog to={asking.give} close={() => setAsking(null)} />}
    </>
  );
}

/** Names of subscriptions and device groups by id. */
function useScopeNames(): Map<string, string> {
  const subscriptions = useSubscriptions();
  const groups = useDeviceGroups();
  return new Map([...(subscriptions.data ?? []), ...(groups.data ?? [])].map((one) => [one.id, one.name]));
}

function Given({ assignment, scope }: { assignment: Assignment; scope: string }) {
  return (
    <Tag>
      {assignment.role}
      {scope && ` · ${scope}`}
      {assignment.source === 'Oidc' && ` · ${t('access.fromProvider')}`}
    </Tag>
  );
}

function UserGroups({ may, add, give }: { may: boolean; add: () => void; give: (name: string) => void }) {
  const groups = useUserGroups();
  const tell = useTell();
  const drop = useAccessChange((name: string) =>
    api.put(`/access/user-groups/${encodeURIComponent(name)}`, { members: [] }),
  );
  return (
    <Section
      title={t('access.userGroups')}
      end={
        <Button size="small" disabled={!may} onClick={add}>
          {t('access.addGroup')}
        </Button>
      }
    >
      {(groups.data ?? []).length === 0 ? (
        <p className="muted">{t('access.noUserGroups')}</p>
      ) : (
        <ul className="plain">
          {(groups.data ?? []).map((g) => (
            <li key={g.name} className="line">
              <strong>{g.name}</strong>
              <span className="grow cut muted">{g.members.join(', ')}</span>
              <RowButton disabled={!may} onClick={() => give(g.name)}>
                {t('access.give')}
              </RowButton>
              <RowButton
                disabled={!may || drop.isPending}
                onClick={() => drop.mutate(g.name, { onError: tell.failed })}
              >
                {t('settings.remove')}
              </RowButton>
            </li>
          ))}
        </ul>
      )}
    </Section>
  );
}

function AllAssignments() {
  const list = useAssignments();
  const names = useScopeNames();
  const may = useMayManage();
  const tell = useTell();
  const drop = useAccessChange((id: string) => api.delete(`/access/assignments/${id}`));
  if (list.error) return <Failure error={list.error} retry={() => void list.refetch()} />;
  if (!list.data) return <Loading />;
  return (
    <Section title={t('access.assignments')}>
      {list.data.length === 0 ? (
        <Empty title={t('settings.none')} />
      ) : (
        <Table
          name="assignments"
          heads={[t('access.who'), t('settings.column.role'), t('access.where'), t('settings.column.createdBy')]}
          actions
        >
          {list.data.map((a) => (
            <tr key={a.id}>
              <td>
                {a.principal} {a.principalKind === 'UserGroup' && <Tag>{t('access.group')}</Tag>}
              </td>
              <td>{a.role}</td>
              <td>
                {t(`access.scope.${a.scopeKind}`)} {scopeName(a, names)}
              </td>
              <td className="muted">
                {a.createdBy} · <Time ago at={a.createdTime} />
              </td>
              <td className="end">
                <RowButton
                  disabled={!may || drop.isPending}
                  aria-label={t('access.takeOf', { who: a.principal, role: a.role })}
                  onClick={() =>
                    drop.mutate(a.id, { onSuccess: () => tell.done(t('access.taken')), onError: tell.failed })
                  }
                >
                  {t('access.take')}
                </RowButton>
              </td>
            </tr>
          ))}
        </Table>
      )}
    </Section>
  );
}

function UserDialog({
  make,
  reset,
  close,
}: {
  make: ReturnType<typeof useAccessChange<{ name: string; role: Role }, { link: string }>>;
  reset: () => void;
  close: () => void;
}) {
  const [name, setName] = useState('');
  const [role, setRole] = useState<Role>('analyst');
  return (
    <Ask
      title={t('settings.newUser')}
      act={t('settings.make')}
      able={name.trim() !== ''}
      busy={make.isPending}
      error={make.error}
      close={close}
      run={() => {
        reset();
        make.mutate({ name: name.trim(), role }, { onSuccess: close });
      }}
    >
      <p className="muted">{t('settings.userHint')}</p>
      <Field label={t('settings.column.name')} required>
        <Input autoComplete="off" value={name} onChange={(_, data) => setName(data.value)} />
      </Field>
      <Field label={t('settings.column.role')} hint={t('access.startRole')}>
        <Select value={role} onChange={(_, data) => setRole(START_ROLES.find((r) => r === data.value) ?? 'reader')}>
          {START_ROLES.map((r) => (
            <option key={r}>{r}</option>
          ))}
        </Select>
      </Field>
    </Ask>
  );
}

function UserGroupDialog({ close }: { close: () => void }) {
  const [name, setName] = useState('');
  const [members, setMembers] = useState('');
  const list = members
    .split(/[,\s]+/)
    .map((m) => m.trim())
    .filter(Boolean);
  const save = useAccessChange(() =>
    api.put(`/access/user-groups/${encodeURIComponent(name.trim())}`, { members: list }),
  );
  return (
    <Ask
      title={t('access.addGroup')}
      act={t('settings.make')}
      able={name.trim() !== '' && list.length > 0}
      busy={save.isPending}
      error={save.error}
      close={close}
      run={() => save.mutate(undefined, { onSuccess: close })}
    >
      <Field label={t('settings.column.name')} required>
        <Input value={name} onChange={(_, data) => setName(data.value)} />
      </Field>
      <Field label={t('access.members')} hint={t('access.membersHint')} required>
        <Input value={members} onChange={(_, data) => setMembers(data.value)} />
      </Field>
    </Ask>
  );
}

function GiveDialog({ to, close }: { to: string; close: () => void }) {
  const group = to.startsWith('group:');
  const principal = group ? to.slice(6) : to;
  const roles = useRoles();
  const subscriptions = useSubscriptions();
  const groups = useDeviceGroups();
  const [role, setRole] = useState('reader');
  const [kind, setKind] = useState<ScopeKind>('Tenant');
  const [scope, setScope] = useState('');
  const tell = useTell();
  const places =
    kind === 'Subscription' ? (subscriptions.data ?? []) : kind === 'DeviceGroup' ? (groups.data ?? []) : [];
  const give = useAccessChange(() =>
    api.post('/access/assignments', {
      principalKind: group ? 'UserGroup' : 'User',
      principal,
      role,
      scopeKind: kind,
      ...(kind === 'Tenant' ? {} : { scope }),
    }),
  );
  return (
    <Ask
      title={t('access.giveTitle', { who: principal })}
      act={t('access.give')}
      able={kind === 'Tenant' || scope !== ''}
      busy={give.isPending}
      error={give.error}
      close={close}
      run={() =>
        give.mutate(undefined, {
          onSuccess: () => {
            tell.done(t('access.given'));
            close();
          },
        })
      }
    >
      <Field label={t('settings.column.role')}>
        <Select value={role} onChange={(_, data) => setRole(data.value)}>
          {(roles.data ?? []).map((r) => (
            <option key={r.name}>{r.name}</option>
          ))}
        </Select>
      </Field>
      <Field label={t('access.where')}>
        <Select
          value={kind}
          onChange={(_, data) => {
            setKind(SCOPES.find((s) => s === data.value) ?? 'Tenant');
            setScope('');
          }}
        >
          {SCOPES.map((s) => (
            <option key={s} value={s}>
              {t(`access.scope.${s}`)}
            </option>
          ))}
        </Select>
      </Field>
      {kind !== 'Tenant' && (
        <Field label={t(`access.scope.${kind}`)} required>
          <Select value={scope} onChange={(_, data) => setScope(data.value)}>
            <option value="">{t('access.choose')}</option>
            {places.map((p) => (
              <option key={p.id} value={p.id}>
                {p.name}
              </option>
            ))}
          </Select>
        </Field>
      )}
    </Ask>
  );
}
