import { Button } from '@fluentui/react-components';
import { PauseRegular, PlayRegular } from '@fluentui/react-icons';
import { lazy, Suspense, useCallback, useEffect, useMemo, useRef, useState } from 'react';
import { useDeviceRows } from '../api/live';
import { useList } from '../api/queries';
import type { TimelineRow } from '../api/types';
import { t } from '../i18n';
import { listOf, withoutOf, withoutText } from '../logic/address';
import { asRange, clockTime, dayOf } from '../logic/time';
import { joined, type KeyedRow, LIVE_MAX, passes } from '../logic/timeline';
import { activityGlyph } from '../logic/tree';
import { spaced } from '../logic/words';
import { usePrefs } from '../prefs';
import { useParamChange, usePlace } from '../router';
import { Tag } from './Badges';
import { DataGrid, type GridColumn } from './DataGrid';
import { Entity, EntityFilters, type EntityValue } from './Entity';
import { Chips, keepRows, PickFilter, SearchBox } from './Filters';
import { To, useNow } from './Parts';
import { RowFacts } from './RowFacts';
import { SidePane } from './SidePane';
import { Empty, Loading } from './States';

const Chart = lazy(() => import('./Chart'));

const TABLES = [
  'DeviceProcessEvents',
  'DeviceNetworkEvents',
  'DeviceFileEvents',
  'DeviceLogonEvents',
  'DeviceEvents',
  'DeviceImageLoadEvents',
];
const shortTable = (table: string) => table.replace(/^Device/, '').replace(/Events$/, '') || 'Events';
/** Live rows are put on the screen together at most this often. */
const FLUSH_MS = 250;
const MINUTES = 30;

function Clock({ at }: { at: string }) {
  const { zone } = usePrefs();
  return (
    <span className="mono nowrap">
      <span className="muted">{dayOf(at, zone).slice(5)}</span> {clockTime(at, zone)}
    </span>
  );
}

const COLUMNS: GridColumn<KeyedRow>[] = [
  { id: 'time', header: t('fact.time'), width: '150px', cell: (r) => <Clock at={r.timestamp} /> },
  {
    id: 'table',
    header: t('fact.table'),
    width: '92px',
    cell: (r) => (
      <span className={`table-tag table-${activityGlyph(r.table, r.actionType)}`}>{shortTable(r.table)}</span>
    ),
  },
  {
    id: 'action',
    header: t('column.action'),
    width: 'minmax(110px, 180px)',
    cell: (r) => <span className="cut">{spaced(r.actionType)}</span>,
  },
  {
    id: 'what',
    header: t('column.what'),
    width: 'minmax(220px, 4fr)',
    cell: (r) => (
      <span className="mono cut" title={r.summary}>
        {r.alertIds.length > 0 && (
          <To path={`/alerts/${r.alertIds[0]}`} className="alert-badge sev-High">
            {t('word.alert')}
          </To>
        )}
        {r.summary}
      </span>
    ),
  },
  {
    id: 'by',
    header: t('fact.by'),
    width: 'minmax(90px, 1fr)',
    cell: (r) => <Entity inGrid field="file" value={r.initiatingProcess ?? ''} />,
  },
  {
    id: 'user',
    header: t('word.user'),
    width: 'minmax(70px, 0.6fr)',
    cell: (r) => <Entity inGrid field="user" value={r.accountName ?? ''} />,
  },
];

function PerMinute({ rows }: { rows: readonly TimelineRow[] }) {
  const { zone } = usePrefs();
  const now = useNow();
  const minute = Math.floor(now / 60_000);
  const data = useMemo(() => {
    const first = minute - MINUTES + 1;
    const values = Array.from({ length: MINUTES }, () => 0);
    for (const row of rows) {
      const slot = Math.floor(Date.parse(row.timestamp) / 60_000) - first;
      if (slot >= 0 && slot < MINUTES) values[slot] = (values[slot] ?? 0) + 1;
    }
    return {
      steps: values.map((_, i) => clockTime(new Date((first + i) * 60_000).toISOString(), zone).slice(0, 5)),
      series: [{ name: t('device.events'), color: '--colorBrandForeground1', values }],
    };
  }, [rows, minute, zone]);
  return <Chart label={t('device.perMinute')} steps={data.steps} series={data.series} height={90} />;
}

/** All that a device did, newest first; what happens now comes in at the top until it is paused. */
export function DeviceTimeline({ device }: { device: string }) {
  const { params } = usePlace();
  const change = useParamChange();
  const q = params.get('q') ?? '';
  const tablesText = params.get('tables');
  const tables = useMemo(() => listOf(tablesText), [tablesText]);
  const [paused, setPaused] = useState(false);
  const [waiting, setWaiting] = useState(0);
  const [live, setLive] = useState<TimelineRow[]>([]);
  const buffer = useRef<TimelineRow[]>([]);
  const list = useList<TimelineRow>(
    'timeline',
    `/devices/${device}/timeline`,
    { tables: tablesText, q, from: asRange(params.get('since')) },
    100,
  );

  const onRow = useCallback(
    (row: TimelineRow) => {
      if (!passes(row, tables, q)) return;
      buffer.current.unshift(row);
      if (buffer.current.length > LIVE_MAX) buffer.current.length = LIVE_MAX;
    },
    [tables, q],
  );
  useDeviceRows(device, true, onRow);
  useEffect(() => {
    const timer = window.setInterval(() => {
      if (buffer.current.length === 0) return;
      if (paused) {
        setWaiting(buffer.current.length);
        return;
      }
      const came = buffer.current;
      buffer.current = [];
      setWaiting(0);
      setLive((before) => [...came, ...before].slice(0, LIVE_MAX));
    }, FLUSH_MS);
    return () => window.clearInterval(timer);
  }, [paused]);

  const shownLive = useMemo(() => live.filter((row) => passes(row, tables, q)), [live, tables, q]);
  const not = params.get('not');
  const rows = useMemo(
    () =>
      keepRows(joined(shownLive, list.rows), withoutOf(not), (r, field) => [
        field === 'user' ? (r.accountName ?? '') : (r.initiatingProcess ?? ''),
      ]),
    [shownLive, list.rows, not],
  );
  const selected = params.get('sel');
  const row = rows.find((r) => r.key === selected);
  const actions = useMemo(
    () => ({
      filterIn: (e: EntityValue) => change({ q: e.value }),
      filterOut: (e: EntityValue) => change({ not: withoutText([...withoutOf(not), e]) }),
    }),
    [change, not],
  );
  return (
    <EntityFilters actions={actions}>
      <div className="list-page inner">
        <div className="list-main">
          <Suspense fallback={<Loading />}>
            <PerMinute rows={rows} />
          </Suspense>
          <DataGrid
            name="timeline"
            label={t('device.timeline')}
            columns={COLUMNS}
            rows={rows}
            keyOf={(r) => r.key}
            rowHeight={28}
            selected={selected}
            onSelect={(r) => change({ sel: r.key })}
            rowClass={(r) => (r.alertIds.length > 0 ? 'heat heat-High' : '')}
            loading={list.loading}
            error={list.error}
            retry={list.retry}
            more={list.more}
            readOn={list.readOn}
            empty={<Empty title={t('device.noRows')} hint={t('device.noRowsHint')} />}
            toolbar={
              <div className="filters">
                <SearchBox label={t('device.search')} />
                <PickFilter param="tables" label={t('fact.table')} options={TABLES} name={shortTable} />
                <Button
                  size="small"
                  appearance={paused ? 'primary' : 'secondary'}
                  icon={paused ? <PlayRegular /> : <PauseRegular />}
                  onClick={() => setPaused(!paused)}
                >
                  {paused ? t('device.resume', { count: waiting }) : t('device.pause')}
                </Button>
                <Chips params={[]} />
              </div>
            }
          />
        </div>
        {row && (
          <SidePane title={spaced(row.actionType)} label={t('row.title')} close={() => change({ sel: null })}>
            <p className="mono wrap">{row.summary}</p>
            <div className="tags">
              <Tag>{row.table}</Tag>
              {row.alertIds.map((id) => (
                <To key={id} path={`/alerts/${id}`}>
                  {t('word.alert')}
                </To>
              ))}
            </div>
            <RowFacts row={row.row} />
          </SidePane>
        )}
      </div>
    </EntityFilters>
  );
}
