import { Button, Field, Input, Tab, TabList } from '@fluentui/react-components';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { api } from '../api/client';
import { itemsOf, useSession, useSuppressions } from '../api/queries';
import type { Page, Row } from '../api/types';
import { t } from '../i18n';
import { Section, Time } from '../parts/Parts';
import { Secret } from '../parts/Secret';
import { Empty, Failure, Loading } from '../parts/States';
import { RowButton, Table } from '../parts/Table';
import { useTell } from '../parts/toast';
import { useParamChange, usePlace } from '../router';

const TABS = ['enrolment', 'suppressions', 'me'] as const;

function useRows(path: string) {
  return useQuery({
    queryKey: ['settings', path],
    queryFn: async () => itemsOf(await api.get<Page<Row> | Row[]>(path)),
  });
}

function said(row: Row, name: string): string {
  const value = row[name];
  return value === null || value === undefined ? '–' : Array.isArray(value) ? value.join(', ') : String(value);
}

/** The secret of an answer, under whichever name it comes. */
export function secretOf(answer: Row): string {
  for (const name of ['token', 'text', 'secret', 'link']) {
    const value = answer[name];
    if (typeof value === 'string') return value;
  }
  return '';
}

/** The commands that put a sensor on a machine, ready to paste. The gateway listens beside the API. */
export function installCommands(token: string, host: string): string {
  return `garrison-sensor enrol --server ${host}:9443 --token ${token} && systemctl enable --now garrison-sensor`;
}

function Rows({ path, columns, removable }: { path: string; columns: string[]; removable?: boolean }) {
  const rows = useRows(path);
  const client = useQueryClient();
  const tell = useTell();
  const drop = useMutation({
    mutationFn: (id: string) => api.delete(`${path}/${encodeURIComponent(id)}`),
    onSuccess: () => client.invalidateQueries({ queryKey: ['settings', path] }),
    onError: tell.failed,
  });
  if (rows.error) return <Failure error={rows.error} retry={() => void rows.refetch()} />;
  if (!rows.data) return <Loading />;
  if (rows.data.length === 0) return <Empty title={t('settings.none')} />;
  // Only what the server sends is shown: a column that it does not have says nothing.
  const shown = columns.filter((c) => rows.data.some((row) => row[c] !== undefined));
  return (
    <table className="table">
      <thead>
        <tr>
          {shown.map((c) => (
            <th key={c}>{t(`settings.column.${c}` as 'settings.column.name')}</th>
          ))}
          {removable && (
            <th>
              <span className="sr-only">{t('settings.actions')}</span>
            </th>
          )}
        </tr>
      </thead>
      <tbody>
        {rows.data.map((row, i) => (
          <tr key={said(row, 'id') + i}>
            {shown.map((c) => (
              <td key={c}>
                {/Time$|At$|Seen$|^created$|^expires$|^lastUsed$/.test(c) ? (
                  <Time at={row[c] ? said(row, c) : null} />
                ) : (
                  said(row, c)
                )}
              </td>
            ))}
            {removable && (
              <td className="end">
                <RowButton disabled={drop.isPending} onClick={() => drop.mutate(said(row, 'id'))}>
                  {t('settings.remove')}
                </RowButton>
              </td>
            )}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function useMake(path: string) {
  const client = useQueryClient();
  const tell = useTell();
  return useMutation({
    mutationFn: (body: Row) => api.post<Row>(path, body),
    onSuccess: () => client.invalidateQueries({ queryKey: ['settings', path] }),
    onError: tell.failed,
  });
}

function Enrolment() {
  const make = useMake('/enrolment-tokens');
  const [name, setName] = useState('');
  const [hours, setHours] = useState('24');
  const [uses, setUses] = useState('1');
  return (
    <>
      <Section title={t('settings.newEnrolment')}>
        <p className="muted">{t('settings.enrolmentHint')}</p>
        <form
          className="inline-form"
          onSubmit={(event) => {
            event.preventDefault();
            make.mutate({ name, expiresHours: Number(hours), uses: Number(uses) });
          }}
        >
          <Field label={t('settings.column.name')} size="small" required>
            <Input size="small" value={name} onChange={(_, data) => setName(data.value)} />
          </Field>
          <Field label={t('settings.hours')} size="small">
            <Input
              size="small"
              type="number"
              min={1}
              max={8760}
              value={hours}
              onChange={(_, data) => setHours(data.value)}
            />
          </Field>
          <Field label={t('settings.uses')} size="small">
            <Input
              size="small"
              type="number"
              min={1}
              max={100000}
              value={uses}
              onChange={(_, data) => setUses(data.value)}
            />
          </Field>
          <Button size="small" appearance="primary" type="submit" disabled={!name.trim() || make.isPending}>
            {t('settings.make')}
          </Button>
        </form>
        {make.data && (
          <Secret title={t('settings.install')} text={installCommands(secretOf(make.data), window.location.hostname)} />
        )}
      </Section>
      <Section title={t('settings.tab.enrolment')}>
        <Rows
          path="/enrolment-tokens"
          removable
          columns={[
            'name',
            'uses',
            'usesMax',
            'createdBy',
            'created',
            'createdTime',
            'expires',
            'expiresTime',
            'revoked',
          ]}
        />
      </Section>
    </>
  );
}

function Suppressions() {
  const list = useSuppressions();
  const client = useQueryClient();
  const tell = useTell();
  const drop = useMutation({
    mutationFn: (id: string) => api.delete(`/suppressions/${id}`),
    onSuccess: () => client.invalidateQueries({ queryKey: ['suppressions'] }),
    onError: tell.failed,
  });
  if (list.error) return <Failure error={list.error} retry={() => void list.refetch()} />;
  if (!list.data) return <Loading />;
  if (list.data.length === 0) return <Empty title={t('suppress.none')} hint={t('suppress.noneHint')} />;
  return (
    <Table
      heads={[
        t('settings.column.name'),
        t('suppress.scope'),
        t('suppress.reason'),
        [t('suppress.hidden'), 'end'],
        t('settings.column.createdBy'),
        t('settings.column.expiresTime'),
      ]}
      actions
    >
      {list.data.map((s) => (
        <tr key={s.id}>
          <td>{s.name}</td>
          <td className="mono small">
            {s.scope.ruleId && <div>{`${t('word.rule')} = ${s.scope.ruleId}`}</div>}
            {s.scope.deviceId && <div>{`${t('word.device')} = ${s.scope.deviceId.slice(0, 12)}`}</div>}
            {(s.scope.conditions ?? []).map((c) => (
              <div key={c.column}>{`${c.column} ${t(`operator.${c.operator}`)} ${c.value}`}</div>
            ))}
          </td>
          <td>{s.reason}</td>
          <td className="end">{s.hiddenCount}</td>
          <td>
            {s.createdBy} · <Time ago at={s.createdTime} />
          </td>
          <td>
            <Time at={s.expiresTime} />
          </td>
          <td className="end">
            <RowButton disabled={drop.isPending} onClick={() => drop.mutate(s.id)}>
              {t('settings.remove')}
            </RowButton>
          </td>
        </tr>
      ))}
    </Table>
  );
}

function Me() {
  const session = useSession().data;
  const tell = useTell();
  const [current, setCurrent] = useState('');
  const [password, setPassword] = useState('');
  const save = useMutation({
    mutationFn: () => api.put('/session/password', session?.passwordSet ? { password, current } : { password }),
    onSuccess: () => {
      setPassword('');
      setCurrent('');
      tell.done(t('manage.saved'));
    },
    onError: tell.failed,
  });
  return (
    <Section title={t('settings.password')}>
      <form
        className="inline-form"
        onSubmit={(event) => {
          event.preventDefault();
          save.mutate();
        }}
      >
        {session?.passwordSet && (
          <Field label={t('settings.current')} size="small">
            <Input
              size="small"
              type="password"
              autoComplete="current-password"
              value={current}
              onChange={(_, data) => setCurrent(data.value)}
            />
          </Field>
        )}
        <Field label={t('signIn.newPassword')} size="small">
          <Input
            size="small"
            type="password"
            autoComplete="new-password"
            value={password}
            onChange={(_, data) => setPassword(data.value)}
          />
        </Field>
        <Button size="small" appearance="primary" type="submit" disabled={!password || save.isPending}>
          {t('manage.save')}
        </Button>
      </form>
    </Section>
  );
}

export default function Settings() {
  const { params } = usePlace();
  const change = useParamChange();
  const tab = TABS.find((name) => name === params.get('tab')) ?? 'enrolment';
  return (
    <div className="page">
      <header className="page-head">
        <h1>{t('nav.settings')}</h1>
      </header>
      <TabList
        size="small"
        selectedValue={tab}
        onTabSelect={(_, data) => change({ tab: data.value === 'enrolment' ? null : String(data.value) }, true)}
      >
        {TABS.map((name) => (
          <Tab key={name} value={name}>
            {t(`settings.tab.${name}`)}
          </Tab>
        ))}
      </TabList>
      <div className="padded">
        {tab === 'enrolment' && <Enrolment />}
        {tab === 'suppressions' && <Suppressions />}
        {tab === 'me' && <Me />}
      </div>
    </div>
  );
}
