import { Button, ProgressBar, Switch, Tab, TabList } from '@fluentui/react-components';
import { DeleteRegular, EditRegular, PlayRegular, TargetRegular } from '@fluentui/react-icons';
import { useQuery } from '@tanstack/react-query';
import { useMemo, useState } from 'react';
import {
  type Detection,
  type Retro,
  useDetectionChange,
  useDetectionRuns,
  useDetections,
  useRetro,
} from '../api/detections';
import { hunting } from '../api/hunting';
import '../hunting/hunting.css';
import { PromoteDialog } from '../hunting/PromoteDialog';
import { huntNow } from '../hunting/start';
import { t } from '../i18n';
import { grouped, spaced } from '../logic/words';
import { SeverityBadge, Tag } from '../parts/Badges';
import { DataGrid, type GridColumn } from '../parts/DataGrid';
import { SearchBox } from '../parts/Filters';
import { Facts, Section, Time, To } from '../parts/Parts';
import { SidePane } from '../parts/SidePane';
import { Empty, Failure, Loading } from '../parts/States';
import { useTell } from '../parts/toast';
import { useParamChange, usePlace } from '../router';

function OnOff({ detection }: { detection: Detection }) {
  const change = useDetectionChange();
  const tell = useTell();
  return (
    <span onClick={(event) => event.stopPropagation()}>
      <Switch
        checked={detection.enabled}
        disabled={change.isPending}
        aria-label={t('detections.switch', { name: detection.name })}
        onChange={(_, data) =>
          change.mutate({ kind: 'switch', id: detection.id, enabled: data.checked }, { onError: tell.failed })
        }
      />
    </span>
  );
}

function State({ detection }: { detection: Detection }) {
  if (!detection.enabled) return <Tag>{t('detections.off')}</Tag>;
  const last = detection.lastRun;
  if (last?.error) return <Tag tone="warn">{spaced(last.state)}</Tag>;
  return <Tag tone="own">{last ? spaced(last.state) : t('detections.on')}</Tag>;
}

const COLUMNS: GridColumn<Detection>[] = [
  { id: 'enabled', header: t('rules.on'), width: '64px', cell: (d) => <OnOff detection={d} /> },
  {
    id: 'severity',
    header: t('column.severity'),
    width: '112px',
    cell: (d) => <SeverityBadge severity={d.severity} />,
  },
  {
    id: 'name',
    header: t('detections.name'),
    width: 'minmax(200px, 3fr)',
    cell: (d) => (
      <span className="cut title-cell" title={d.name}>
        {d.name}
      </span>
    ),
  },
  {
    id: 'frequency',
    header: t('detections.frequency'),
    width: 'minmax(150px, 1fr)',
    cell: (d) => (
      <span className="cut" title={t(`detections.every.${d.frequency}`)}>
        {t(`detections.every.${d.frequency}`)}
      </span>
    ),
  },
  { id: 'state', header: t('detections.state'), width: '124px', cell: (d) => <State detection={d} /> },
  {
    id: 'last',
    header: t('detections.lastRun'),
    width: '112px',
    cell: (d) =>
      d.lastRun ? <Time ago at={d.lastRun.started} /> : <span className="muted">{t('detections.never')}</span>,
  },
  {
    id: 'next',
    header: t('detections.nextRun'),
    width: '180px',
    cell: (d) =>
      d.frequency === 'continuous' ? (
        <span className="muted">{t('detections.running')}</span>
      ) : d.enabled && d.nextRunTime ? (
        <Time at={d.nextRunTime} />
      ) : (
        '–'
      ),
  },
  {
    id: 'alerts',
    header: t('detections.alertsLast'),
    width: '120px',
    end: true,
    cell: (d) => (d.lastRun ? grouped(d.lastRun.alerts) : '–'),
  },
];
const NARROW = COLUMNS.filter((c) => !['next', 'alerts', 'frequency'].includes(c.id));

function Runs({ id }: { id: string }) {
  const runs = useDetectionRuns(id);
  if (runs.error) return <Failure error={runs.error} retry={() => void runs.refetch()} />;
  if (!runs.data) return <Loading />;
  if (runs.data.length === 0) return <p className="muted">{t('detections.runsNone')}</p>;
  return (
    <ul className="plain">
      {runs.data.map((run) => (
        <li key={run.id} className="line">
          <Tag tone={run.error ? 'warn' : undefined}>{spaced(run.state)}</Tag>
          <Time at={run.started} />
          <span className="grow muted small cut" title={run.error ?? ''}>
            {run.error || t('alert.matched', { count: run.rows })}
          </span>
          <span className="small">
            {t('overview.alerts', { count: run.alerts })}
            {run.capped && ` (${t('detections.capped')})`}
          </span>
        </li>
      ))}
    </ul>
  );
}

/** The dialog needs the columns of the query, which only the server can tell. */
function Edit({ detection, close }: { detection: Detection; close: () => void }) {
  const known = useQuery({
    queryKey: ['hunting', 'validate', detection.query],
    queryFn: () => hunting.validate(detection.query),
  });
  if (!known.data && !known.error) return null;
  return (
    <PromoteDialog
      detection={detection}
      query={detection.query}
      columns={known.data?.columns ?? []}
      title={detection.name}
      close={close}
    />
  );
}

function Pane({ detection, close }: { detection: Detection; close: () => void }) {
  const [editing, setEditing] = useState(false);
  const change = useDetectionChange();
  const tell = useTell();
  return (
    <SidePane
      title={detection.name}
      label={t('detections.title')}
      close={close}
      actions={
        <>
          <Button
            size="small"
            icon={<PlayRegular />}
            disabled={change.isPending}
            onClick={() =>
              change.mutate(
                { kind: 'run', id: detection.id },
                { onSuccess: () => tell.done(t('detections.runStarted')), onError: tell.failed },
              )
            }
          >
            {t('detections.runNow')}
          </Button>
          <Button size="small" icon={<EditRegular />} onClick={() => setEditing(true)}>
            {t('detections.edit')}
          </Button>
          <span className="grow" />
          <Button
            size="small"
            appearance="subtle"
            icon={<DeleteRegular />}
            disabled={change.isPending}
            onClick={() =>
              change.mutate(
                { kind: 'drop', id: detection.id },
                {
                  onSuccess: () => {
                    tell.done(t('detections.deleted'));
                    close();
                  },
                  onError: tell.failed,
                },
              )
            }
          >
            {t('detections.delete')}
          </Button>
        </>
      }
    >
      <div className="tags">
        <SeverityBadge severity={detection.severity} />
        <State detection={detection} />
        <Tag>{spaced(detection.category)}</Tag>
        {detection.mitreTechniques.map((technique) => (
          <Tag key={technique}>{technique}</Tag>
        ))}
      </div>
      {detection.description && <p className="wrap">{detection.description}</p>}
      <Facts
        facts={[
          { name: t('detections.titleOf'), value: <span className="mono">{detection.alertTitle}</span> },
          { name: t('detections.frequency'), value: t(`detections.every.${detection.frequency}`) },
          {
            name: t('detections.entities'),
            value: detection.impactedEntities.map((e) => `${t(`evidence.${e.type}`)}: ${e.column}`).join(', '),
          },
          detection.actions.length > 0 && {
            name: t('detections.actions'),
            value: detection.actions.map((a) => t(`detections.action.${a.action}`)).join(', '),
          },
          { name: t('detections.nextRun'), value: detection.nextRunTime ? <Time at={detection.nextRunTime} /> : '–' },
          {
            name: t('nav.alerts'),
            value: (
              <To path="/alerts" change={{ rule: detection.id, status: 'any' }}>
                {t('detections.alertsSee')}
              </To>
            ),
          },
        ]}
      />
      <Section
        title={t('hunting.query')}
        end={
          <Button
            size="small"
            appearance="subtle"
            icon={<TargetRegular />}
            onClick={() => huntNow(detection.query, detection.name)}
          >
            {t('detections.openQuery')}
          </Button>
        }
      >
        <pre className="json" tabIndex={0}>
          {detection.query}
        </pre>
      </Section>
      <Section title={t('detections.runs')}>
        <Runs id={detection.id} />
      </Section>
      {editing && <Edit detection={detection} close={() => setEditing(false)} />}
    </SidePane>
  );
}

const RETRO_COLUMNS: GridColumn<Retro>[] = [
  {
    id: 'title',
    header: t('retro.kind'),
    width: 'minmax(220px, 2fr)',
    cell: (r) => (
      <span className="cut title-cell" title={r.title}>
        {r.title}
        <Tag>{spaced(r.kind)}</Tag>
      </span>
    ),
  },
  {
    id: 'state',
    header: t('detections.state'),
    width: '120px',
    cell: (r) => <Tag tone={r.error ? 'warn' : undefined}>{spaced(r.state)}</Tag>,
  },
  {
    id: 'progress',
    header: t('retro.progress'),
    width: 'minmax(140px, 1fr)',
    cell: (r) => (
      <span className="retro-progress" title={r.error ?? undefined}>
        <ProgressBar thickness="large" value={r.progress} aria-label={t('retro.progress')} />
        <span className="small">{r.percent} %</span>
      </span>
    ),
  },
  {
    id: 'range',
    header: t('retro.range'),
    width: '190px',
    cell: (r) => <Time at={r.from} />,
  },
  { id: 'rows', header: t('retro.rows'), width: '130px', end: true, cell: (r) => grouped(r.rowCount) },
  { id: 'matches', header: t('retro.matches'), width: '96px', end: true, cell: (r) => grouped(r.matchCount) },
];

function RetroList() {
  const retro = useRetro();
  return (
    <DataGrid
      name="retro"
      label={t('detections.tab.retro')}
      columns={RETRO_COLUMNS}
      rows={retro.data ?? []}
      keyOf={(r) => r.id}
      loading={retro.isPending}
      error={retro.error}
      retry={() => void retro.refetch()}
      empty={<Empty title={t('retro.none')} hint={t('retro.hint')} />}
      toolbar={<span className="muted small">{t('retro.hint')}</span>}
    />
  );
}

/** Detections made of queries, and the hunts of the past that new ones start. */
export default function Detections() {
  const { params } = usePlace();
  const change = useParamChange();
  const list = useDetections();
  const tab = params.get('tab') === 'retro' ? 'retro' : 'list';
  const q = (params.get('q') ?? '').toLowerCase();
  const rows = useMemo(
    () => (list.data ?? []).filter((d) => `${d.name} ${d.query} ${d.category}`.toLowerCase().includes(q)),
    [list.data, q],
  );
  const selected = tab === 'list' ? rows.find((d) => d.id === params.get('sel')) : undefined;
  return (
    <div className="list-page">
      <div className="list-main">
        <header className="page-head">
          <h1>{t('detections.title')}</h1>
          {list.data && <span className="muted">{t('list.total', { count: list.data.length })}</span>}
          <TabList
            size="small"
            selectedValue={tab}
            onTabSelect={(_, data) => change({ tab: data.value === 'retro' ? 'retro' : null, sel: null }, true)}
          >
            <Tab value="list">{t('detections.tab.list')}</Tab>
            <Tab value="retro">{t('detections.tab.retro')}</Tab>
          </TabList>
        </header>
        {tab === 'retro' ? (
          <RetroList />
        ) : (
          <DataGrid
            name="detections"
            label={t('detections.title')}
            columns={selected ? NARROW : COLUMNS}
            rows={rows}
            keyOf={(d) => d.id}
            selected={selected?.id ?? null}
            onSelect={(d) => change({ sel: d.id })}
            onOpen={(d) => change({ sel: d.id })}
            rowClass={(d) => (d.enabled ? '' : 'off')}
            loading={list.isPending}
            error={list.error}
            retry={() => void list.refetch()}
            empty={<Empty title={t('detections.none')} hint={t('detections.noneHint')} />}
            toolbar={<SearchBox label={t('detections.search')} />}
          />
        )}
      </div>
      {selected && <Pane key={selected.id} detection={selected} close={() => change({ sel: null })} />}
    </div>
  );
}
