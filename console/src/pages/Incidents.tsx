import {
  Button,
  Dialog,
  DialogActions,
  DialogBody,
  DialogContent,
  DialogSurface,
  DialogTitle,
} from '@fluentui/react-components';
import { OpenRegular } from '@fluentui/react-icons';
import { useMemo, useState } from 'react';
import { useCaseUpdate, useList, useSession } from '../api/queries';
import type { CaseUpdate, IncidentSummary } from '../api/types';
import { t } from '../i18n';
import { href, withoutOf, withoutText } from '../logic/address';
import { asRange } from '../logic/time';
import { SEVERITIES, spaced } from '../logic/words';
import { SeverityBadge, StatusBadge, Tactics, Tag } from '../parts/Badges';
import { DataGrid, type GridColumn } from '../parts/DataGrid';
import { Entity, EntityFilters } from '../parts/Entity';
import { Chips, keepRows, PickFilter, SearchBox } from '../parts/Filters';
import { IncidentPane } from '../parts/IncidentPane';
import { Time } from '../parts/Parts';
import { Empty } from '../parts/States';
import { useTell } from '../parts/toast';
import { go, useParamChange, usePlace } from '../router';

const STATES = ['Active', 'InProgress', 'Resolved', 'Redirected'];
const OPEN = ['Active', 'InProgress'];

const COLUMNS: GridColumn<IncidentSummary>[] = [
  {
    id: 'id',
    header: t('column.id'),
    width: '56px',
    sort: 'created',
    cell: (i) => <span className="mono">{i.id}</span>,
  },
  {
    id: 'severity',
    header: t('column.severity'),
    width: '104px',
    sort: 'severity',
    cell: (i) => <SeverityBadge severity={i.severity} />,
  },
  {
    id: 'title',
    header: t('column.incident'),
    width: 'minmax(220px, 3fr)',
    cell: (i) => (
      <span className="cut title-cell" title={i.title}>
        {i.title}
        {i.tags.map((tag) => (
          <Tag key={tag}>{tag}</Tag>
        ))}
      </span>
    ),
  },
  {
    id: 'status',
    header: t('column.status'),
    width: '104px',
    cell: (i) => <StatusBadge status={i.status} />,
  },
  {
    id: 'alerts',
    header: t('column.alerts'),
    width: '72px',
    end: true,
    cell: (i) => `${i.activeAlertCount}/${i.alertCount}`,
  },
  {
    id: 'devices',
    header: t('column.devices'),
    width: 'minmax(100px, 1fr)',
    cell: (i) => {
      const first = i.devices[0];
      return first ? (
        <>
          <Entity inGrid field="device" value={first.name} id={first.id} to={`/devices/${first.id}`} />
          {i.devices.length > 1 && <Tag>+{i.devices.length - 1}</Tag>}
        </>
      ) : (
        '–'
      );
    },
  },
  {
    id: 'users',
    header: t('column.users'),
    width: 'minmax(80px, 0.8fr)',
    cell: (i) => (
      <>
        <Entity inGrid field="user" value={i.users[0] ?? ''} />
        {i.users.length > 1 && <Tag>+{i.users.length - 1}</Tag>}
      </>
    ),
  },
  {
    id: 'tactics',
    header: t('column.tactics'),
    width: 'minmax(120px, 1.4fr)',
    cell: (i) => <Tactics categories={i.categories} />,
  },
  {
    id: 'assigned',
    header: t('column.assigned'),
    width: 'minmax(80px, 0.7fr)',
    cell: (i) => <Entity inGrid field="assignee" value={i.assignedTo ?? ''} />,
  },
  {
    id: 'update',
    header: t('column.activity'),
    width: '100px',
    sort: 'lastUpdate',
    cell: (i) => <Time ago at={i.lastUpdateTime} />,
  },
];

/** Beside the pane there is room for these only. */
const NARROW = COLUMNS.filter((c) => !['users', 'tactics', 'assigned'].includes(c.id));

function valuesOf(row: IncidentSummary, field: string): string[] {
  if (field === 'device') return row.devices.map((d) => d.name);
  if (field === 'user') return row.users;
  return row.assignedTo ? [row.assignedTo] : [];
}

export function BulkBar({ items, clear }: { items: IncidentSummary[]; clear: () => void }) {
  const update = useCaseUpdate('incidents');
  const me = useSession().data?.user.name ?? '';
  const tell = useTell();
  const [plan, setPlan] = useState<{ words: string; change: CaseUpdate } | null>(null);
  const run = async () => {
    if (!plan) return;
    let done = 0;
    try {
      for (const item of items) {
        await update.mutateAsync({ id: item.id, change: plan.change });
        done += 1;
      }
      tell.done(t('bulk.done', { count: done }));
      clear();
    } catch (error) {
      tell.failed(error);
    }
    setPlan(null);
  };
  const offer = (words: string, change: CaseUpdate) => (
    <Button size="small" onClick={() => setPlan({ words, change })}>
      {words}
    </Button>
  );
  return (
    <div className="bulk" role="toolbar" aria-label={t('bulk.label')}>
      <strong>{t('bulk.count', { count: items.length })}</strong>
      {offer(t('bulk.toMe'), { assignedTo: me })}
      {offer(t('bulk.progress'), { status: 'InProgress' })}
      {offer(t('bulk.resolve'), { status: 'Resolved' })}
      <Button size="small" appearance="subtle" onClick={clear}>
        {t('action.cancel')}
      </Button>
      {plan && (
        <Dialog open onOpenChange={(_, data) => !data.open && setPlan(null)}>
          <DialogSurface>
            <DialogBody>
              <DialogTitle>{plan.words}</DialogTitle>
              <DialogContent>
                <p>{t('bulk.hits', { count: items.length })}</p>
                <ul className="bulk-list">
                  {items.slice(0, 12).map((i) => (
                    <li key={i.id}>
                      <SeverityBadge severity={i.severity} /> <span className="mono">{i.id}</span> {i.title} ·{' '}
                      {spaced(i.status)}
                    </li>
                  ))}
                  {items.length > 12 && <li>{t('bulk.rest', { count: items.length - 12 })}</li>}
                </ul>
              </DialogContent>
              <DialogActions>
                <Button onClick={() => setPlan(null)}>{t('action.cancel')}</Button>
                <Button appearance="primary" disabled={update.isPending} onClick={() => void run()}>
                  {t('bulk.apply')}
                </Button>
              </DialogActions>
            </DialogBody>
          </DialogSurface>
        </Dialog>
      )}
    </div>
  );
}

export default function Incidents() {
  const { params, search } = usePlace();
  const change = useParamChange();
  const tell = useTell();
  const me = useSession().data?.user.name ?? '';
  const update = useCaseUpdate('incidents');
  const [checked, setChecked] = useState<ReadonlySet<string>>(new Set());
  const status = params.get('status');
  const list = useList<IncidentSummary>('incidents', '/incidents', {
    status: status === 'any' ? null : (status ?? OPEN.join(',')),
    severity: params.get('severity'),
    assignee: params.get('assignee'),
    device: params.get('device'),
    q: params.get('q'),
    since: asRange(params.get('since')),
    sort: params.get('sort') ?? '-lastUpdate',
  });
  const not = params.get('not');
  const rows = useMemo(() => keepRows(list.rows, withoutOf(not), valuesOf), [list.rows, not]);
  const selected = params.get('sel');
  const open = (i: IncidentSummary) => go(href(`/incidents/${i.id}`, search));
  const picked = rows.filter((i) => checked.has(String(i.id)));
  const actions = useMemo(
    () => ({
      filterIn: (e: { field: string; value: string; id?: string }) => {
        if (e.field === 'device') change({ device: e.id ?? e.value });
        else if (e.field === 'assignee') change({ assignee: e.value });
        else change({ q: e.value });
      },
      filterOut: (e: { field: string; value: string }) => change({ not: withoutText([...withoutOf(not), e]) }),
    }),
    [change, not],
  );
  return (
    <EntityFilters actions={actions}>
      <div className="list-page">
        <div className="list-main">
          <header className="page-head">
            <h1>{t('nav.incidents')}</h1>
            {list.total !== null && <span className="muted">{t('list.total', { count: list.total })}</span>}
          </header>
          {picked.length > 0 && <BulkBar items={picked} clear={() => setChecked(new Set())} />}
          <DataGrid
            name="incidents"
            label={t('nav.incidents')}
            columns={selected ? NARROW : COLUMNS}
            rows={rows}
            keyOf={(i) => String(i.id)}
            selected={selected}
            onSelect={(i) => change({ sel: String(i.id) })}
            onOpen={open}
            checked={checked}
            onChecked={setChecked}
            onKey={(key, row) => {
              if (key !== 'e' || !row) return false;
              update.mutate(
                { id: row.id, change: { assignedTo: me } },
                { onSuccess: () => tell.done(t('manage.assignedDone', { id: row.id })), onError: tell.failed },
              );
              return true;
            }}
            sort={params.get('sort') ?? '-lastUpdate'}
            onSort={(sort) => change({ sort: sort === '-lastUpdate' ? null : sort })}
            loading={list.loading}
            error={list.error}
            retry={list.retry}
            more={list.more}
            readOn={list.readOn}
            freshPrefix="incident:"
            empty={<Empty title={t('incidents.none')} hint={t('incidents.noneHint')} />}
            toolbar={
              <div className="filters">
                <SearchBox label={t('incidents.search')} />
                <PickFilter param="status" label={t('column.status')} options={STATES} fallback={OPEN} />
                <PickFilter param="severity" label={t('column.severity')} options={SEVERITIES} />
                <Chips
                  params={[
                    {
                      param: 'device',
                      label: t('word.device'),
                      say: (id) =>
                        list.rows.flatMap((r) => r.devices).find((d) => d.id === id)?.name ?? id.slice(0, 12),
                    },
                    { param: 'assignee', label: t('column.assigned') },
                  ]}
                />
              </div>
            }
          />
        </div>
        {selected && (
          <IncidentPane
            key={selected}
            id={Number(selected)}
            close={() => change({ sel: null })}
            actions={
              <Button
                size="small"
                appearance="primary"
                icon={<OpenRegular />}
                onClick={() => go(href(`/incidents/${selected}`, search))}
              >
                {t('incidents.open')}
              </Button>
            }
          />
        )}
      </div>
    </EntityFilters>
  );
}
