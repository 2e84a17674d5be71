import { Button, Checkbox, Field, Input, Select } from '@fluentui/react-components';
import { useState } from 'react';
import { type ApiToken, useAccessChange, useActions, useApiTokens, useDeviceGroups, useMayManage } from '../api/access';
import { api } from '../api/client';
import type { Role } from '../api/types';
import { t } from '../i18n';
import { Tag } from '../parts/Badges';
import { Section, Time } from '../parts/Parts';
import { Secret } from '../parts/Secret';
import { Empty, Failure, Loading } from '../parts/States';
import { RowButton, Table } from '../parts/Table';
import { useTell } from '../parts/toast';
import { Ask } from '../plane/Ask';

const ROLES: Role[] = ['reader', 'analyst', 'admin'];

interface TokenNew {
  name: string;
  role?: Role;
  scope?: string[];
  deviceGroups?: string[];
  expiresHours?: number;
}

/** Tokens of programs: what each may do, on which devices, and until when. */
export function Tokens() {
  const tokens = useApiTokens();
  const groups = useDeviceGroups();
  const may = useMayManage();
  const tell = useTell();
  const [asking, setAsking] = useState(false);
  const make = useAccessChange((body: TokenNew) => api.post<ApiToken>('/api-tokens', body));
  const drop = useAccessChange((id: string) => api.delete(`/api-tokens/${id}`));
  const names = new Map((groups.data ?? []).map((g) => [g.id, g.name]));
  if (tokens.error) return <Failure error={tokens.error} retry={() => void tokens.refetch()} />;
  if (!tokens.data) return <Loading />;
  return (
    <Section
      title={t('settings.tab.tokens')}
      end={
        <Button size="small" disabled={!may} onClick={() => setAsking(true)}>
          {t('settings.newToken')}
        </Button>
      }
    >
      {make.data?.token && <Secret title={t('settings.token')} text={make.data.token} />}
      {tokens.data.length === 0 ? (
        <Empty title={t('settings.none')} />
      ) : (
        <Table
          name="tokens"
          heads={[
            t('settings.column.name'),
            t('access.mayDo'),
            t('access.onDevices'),
            t('settings.column.created'),
            t('settings.column.expires'),
          ]}
          actions
        >
          {tokens.data.map((token) => (
            <tr key={token.id}>
              <td>{token.name}</td>
              <td>
                <span className="tags">
                  {token.scope.length === 0 && <Tag tone="own">{token.role}</Tag>}
                  {token.scope.map((a) => (
                    <Tag key={a}>{a}</Tag>
                  ))}
                </span>
              </td>
              <td>
                {token.deviceGroups.length === 0
                  ? t('access.everyDevice')
                  : token.deviceGroups.map((id) => names.get(id) ?? id).join(', ')}
              </td>
              <td>
                <Time at={token.createdTime} />
              </td>
              <td>{token.expiresTime ? <Time at={token.expiresTime} /> : t('access.never')}</td>
              <td className="end">
                <RowButton
                  disabled={!may || drop.isPending}
                  aria-label={t('access.revokeOf', { name: token.name })}
                  onClick={() =>
                    drop.mutate(token.id, { onSuccess: () => tell.done(t('access.revoked')), onError: tell.failed })
                  }
                >
                  {t('access.revoke')}
                </RowButton>
              </td>
            </tr>
          ))}
        </Table>
      )}
      {asking && <TokenDialog make={make} close={() => setAsking(false)} />}
    </Section>
  );
}

function TokenDialog({
  make,
  close,
}: {
  make: ReturnType<typeof useAccessChange<TokenNew, ApiToken>>;
  close: () => void;
}) {
  const actions = useActions();
  const groups = useDeviceGroups();
  const [name, setName] = useState('');
  const [by, setBy] = useState<'role' | 'scope'>('role');
  const [role, setRole] = useState<Role>('reader');
  const [scope, setScope] = useState(() => new Set<string>());
  const [devices, setDevices] = useState(() => new Set<string>());
  const [days, setDays] = useState('90');
  const toggle = (set: Set<string>, word: string, on: boolean) => {
    const next = new Set(set);
    if (on) next.add(word);
    else next.delete(word);
    return next;
  };
  return (
    <Ask
      wide
      title={t('settings.newToken')}
      act={t('settings.make')}
      able={name.trim() !== '' && (by === 'role' || scope.size > 0)}
      busy={make.isPending}
      error={make.error}
      close={close}
      run={() =>
        make.mutate(
          {
            name: name.trim(),
            ...(by === 'role' ? { role } : { scope: [...scope] }),
            ...(devices.size > 0 ? { deviceGroups: [...devices] } : {}),
            ...(Number(days) > 0 ? { expiresHours: Math.round(Number(days) * 24) } : {}),
          },
          { onSuccess: close },
        )
      }
    >
      <Field label={t('settings.column.name')} required>
        <Input value={name} onChange={(_, data) => setName(data.value)} />
      </Field>
      <Field label={t('access.days')} hint={t('access.daysHint')}>
        <Input type="number" min={0} max={3650} value={days} onChange={(_, data) => setDays(data.value)} />
      </Field>
      <Field label={t('access.mayDo')}>
        <Select value={by} onChange={(_, data) => setBy(data.value === 'scope' ? 'scope' : 'role')}>
          <option value="role">{t('access.byRole')}</option>
          <option value="scope">{t('access.byScope')}</option>
        </Select>
      </Field>
      {by === 'role' ? (
        <Field label={t('settings.column.role')}>
          <Select value={role} onChange={(_, data) => setRole(ROLES.find((r) => r === data.value) ?? 'reader')}>
            {ROLES.map((r) => (
              <option key={r}>{r}</option>
            ))}
          </Select>
        </Field>
      ) : (
        <fieldset className="choices">
          <legend>{t('access.lets')}</legend>
          {(actions.data ?? []).map((a) => (
            <Checkbox
              key={a.name}
              checked={scope.has(a.name)}
              label={<span title={a.title}>{a.name}</span>}
              onChange={(_, data) => setScope(toggle(scope, a.name, data.checked === true))}
            />
          ))}
        </fieldset>
      )}
      <fieldset className="choices">
        <legend>{t('access.onlyGroups')}</legend>
        {(groups.data ?? []).map((g) => (
          <Checkbox
            key={g.id}
            checked={devices.has(g.id)}
            label={g.name}
            onChange={(_, data) => setDevices(toggle(devices, g.id, data.checked === true))}
          />
        ))}
      </fieldset>
    </Ask>
  );
}
