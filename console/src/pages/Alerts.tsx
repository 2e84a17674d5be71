import { useMemo } from 'react';
import { useAlert, useCaseUpdate, useList, useSession } from '../api/queries';
import type { Alert } from '../api/types';
import { t } from '../i18n';
import { href, withoutOf, withoutText } from '../logic/address';
import { asRange } from '../logic/time';
import { SEVERITIES, spaced } from '../logic/words';
import { SeverityBadge, StatusBadge, Tag } from '../parts/Badges';
import { DataGrid, type GridColumn } from '../parts/DataGrid';
import { Entity, EntityFilters, type EntityValue } from '../parts/Entity';
import { Explanation } from '../parts/Explanation';
import { Chips, keepRows, PickFilter, SearchBox } from '../parts/Filters';
import { ItemPane } from '../parts/ItemPane';
import { ManageCase } from '../parts/ManageCase';
import { Section, Time, To } from '../parts/Parts';
import { Empty } from '../parts/States';
import { useTell } from '../parts/toast';
import { go, useParamChange, usePlace } from '../router';

const STATES = ['New', 'InProgress', 'Resolved'];
const OPEN = ['New', 'InProgress'];

export const ALERT_COLUMNS: GridColumn<Alert>[] = [
  {
    id: 'severity',
    header: t('column.severity'),
    width: '112px',
    sort: 'severity',
    cell: (a) => <SeverityBadge severity={a.severity} />,
  },
  {
    id: 'title',
    header: t('column.alert'),
    width: 'minmax(260px, 3fr)',
    cell: (a) => (
      <span className="cut title-cell" title={a.title}>
        {a.title}
        {a.matchCount > 1 && <Tag>×{a.matchCount}</Tag>}
        {a.suppressed && <Tag>{t('alert.suppressed')}</Tag>}
      </span>
    ),
  },
  {
    id: 'status',
    header: t('column.status'),
    width: '104px',
    cell: (a) => <StatusBadge status={a.status} />,
  },
  {
    id: 'device',
    header: t('word.device'),
    width: 'minmax(100px, 1fr)',
    cell: (a) => (
      <Entity inGrid field="device" value={a.computerDnsName} id={a.machineId} to={`/devices/${a.machineId}`} />
    ),
  },
  {
    id: 'user',
    header: t('word.user'),
    width: 'minmax(70px, 0.6fr)',
    cell: (a) => <Entity inGrid field="user" value={a.relatedUser ?? ''} />,
  },
  {
    id: 'tactic',
    header: t('column.tactics'),
    width: 'minmax(100px, 1fr)',
    cell: (a) => <Tag>{spaced(a.category)}</Tag>,
  },
  {
    id: 'technique',
    header: t('fact.techniques'),
    width: '100px',
    cell: (a) => <Entity inGrid field="technique" value={a.mitreTechniques[0] ?? ''} />,
  },
  {
    id: 'incident',
    header: t('word.incident'),
    width: '76px',
    cell: (a) => <To path={`/incidents/${a.incidentId}`}>{a.incidentId}</To>,
  },
  {
    id: 'time',
    header: t('column.activity'),
    width: '104px',
    sort: 'lastEvent',
    cell: (a) => <Time ago at={a.lastEventTime} />,
  },
];

/** Beside the pane there is room for these only. */
const NARROW = ALERT_COLUMNS.filter((c) => !['user', 'tactic', 'technique'].includes(c.id));

function valuesOf(a: Alert, field: string): string[] {
  if (field === 'device') return [a.computerDnsName];
  if (field === 'user') return a.relatedUser ? [a.relatedUser] : [];
  if (field === 'technique') return a.mitreTechniques;
  return [];
}

function AlertPane({ id, close }: { id: string; close: () => void }) {
  return (
    <ItemPane
      query={useAlert(id)}
      titleOf={(a) => a.title}
      word={t('word.alert')}
      label={t('alerts.summary')}
      open={{ path: `/alerts/${id}`, text: t('alerts.open') }}
      close={close}
    >
      {(alert) => (
        <>
          <div className="tags">
            <SeverityBadge severity={alert.severity} />
            <StatusBadge status={alert.status} />
            <Tag>{spaced(alert.category)}</Tag>
          </div>
          <p>{alert.description}</p>
          <Section title={t('manage.title')}>
            <ManageCase key={alert.lastUpdateTime} kind="alerts" item={alert} />
          </Section>
          <Section title={t('alert.why')}>
            <Explanation alert={alert} />
          </Section>
        </>
      )}
    </ItemPane>
  );
}

export default function Alerts() {
  const { params, search } = usePlace();
  const change = useParamChange();
  const tell = useTell();
  const me = useSession().data?.user.name ?? '';
  const update = useCaseUpdate('alerts');
  const status = params.get('status');
  const list = useList<Alert>('alerts', '/alerts', {
    status: status === 'any' ? null : (status ?? OPEN.join(',')),
    severity: params.get('severity'),
    device: params.get('device'),
    rule: params.get('rule'),
    incident: params.get('incident'),
    suppressed: params.get('suppressed') === 'yes' ? 'true' : null,
    q: params.get('q'),
    since: asRange(params.get('since')),
    sort: params.get('sort') ?? '-lastEvent',
  });
  const not = params.get('not');
  const rows = useMemo(() => keepRows(list.rows, withoutOf(not), valuesOf), [list.rows, not]);
  const selected = params.get('sel');
  const actions = useMemo(
    () => ({
      filterIn: (e: EntityValue) =>
        e.field === 'device' ? change({ device: e.id ?? e.value }) : change({ q: e.value }),
      filterOut: (e: EntityValue) => change({ not: withoutText([...withoutOf(not), e]) }),
    }),
    [change, not],
  );
  return (
    <EntityFilters actions={actions}>
      <div className="list-page">
        <div className="list-main">
          <header className="page-head">
            <h1>{t('nav.alerts')}</h1>
            {list.total !== null && <span className="muted">{t('list.total', { count: list.total })}</span>}
          </header>
          <DataGrid
            name="alerts"
            label={t('nav.alerts')}
            columns={selected ? NARROW : ALERT_COLUMNS}
            rows={rows}
            keyOf={(a) => a.id}
            selected={selected}
            onSelect={(a) => change({ sel: a.id })}
            onOpen={(a) => go(href(`/alerts/${a.id}`, search))}
            onKey={(key, row) => {
              if (key !== 'e' || !row) return false;
              update.mutate(
                { id: row.id, change: { assignedTo: me } },
                { onSuccess: () => tell.done(t('manage.assignedAlert')), onError: tell.failed },
              );
              return true;
            }}
            sort={params.get('sort') ?? '-lastEvent'}
            onSort={(sort) => change({ sort: sort === '-lastEvent' ? null : sort })}
            loading={list.loading}
            error={list.error}
            retry={list.retry}
            more={list.more}
            readOn={list.readOn}
            freshPrefix="alert:"
            empty={<Empty title={t('alerts.none')} hint={t('incidents.noneHint')} />}
            toolbar={
              <div className="filters">
                <SearchBox label={t('alerts.search')} />
                <PickFilter param="status" label={t('column.status')} options={STATES} fallback={OPEN} />
                <PickFilter param="severity" label={t('column.severity')} options={SEVERITIES} />
                <PickFilter param="suppressed" label={t('alert.suppressed')} options={['yes']} />
                <Chips
                  params={[
                    {
                      param: 'device',
                      label: t('word.device'),
                      say: (id) => list.rows.find((a) => a.machineId === id)?.computerDnsName ?? id.slice(0, 12),
                    },
                    { param: 'rule', label: t('word.rule') },
                    { param: 'incident', label: t('word.incident') },
                  ]}
                />
              </div>
            }
          />
        </div>
        {selected && <AlertPane key={selected} id={selected} close={() => change({ sel: null })} />}
      </div>
    </EntityFilters>
  );
}
