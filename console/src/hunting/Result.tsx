import {
  Button,
  Menu,
  MenuItem,
  MenuList,
  MenuPopover,
  MenuTrigger,
  ProgressBar,
  Select,
  ToggleButton,
} from '@fluentui/react-components';
import { ArrowDownloadRegular, BookAddRegular, DataBarVerticalRegular, TableRegular } from '@fluentui/react-icons';
import { useMutation } from '@tanstack/react-query';
import { lazy, Suspense, useMemo, useState } from 'react';
import { type Diagnostic, hunting } from '../api/hunting';
import { t } from '../i18n';
import { type ChartKind, chartModel, isChart, KINDS } from '../logic/charts';
import type { ResultColumn, ResultRow } from '../logic/results';
import { timespanOf } from '../logic/time';
import { bytes, grouped } from '../logic/words';
import { Time } from '../parts/Parts';
import { Empty, Failure, Loading } from '../parts/States';
import { useTell } from '../parts/toast';
import { Completeness, ResourcesReport } from './Completeness';
import { ResultGrid } from './ResultGrid';
import { ROWS_MAX, type Run } from './runs';

const HuntChart = lazy(() => import('./HuntChart'));

export interface ResultProps {
  run: Run | null;
  /** Whether the tab's text is still the one that this result came from. */
  current: boolean;
  onShowQuery: () => void;
  onJump: (diagnostic: Diagnostic) => void;
  onFilter: (column: ResultColumn, value: unknown, keep: boolean) => void;
  onInspect: (row: ResultRow | null) => void;
  inspected: ResultRow | null;
  onIncident: (rows: ResultRow[]) => void;
  onPromote: () => void;
}

/** Where and why the query was refused; a click goes there. */
function Diagnostics({ list, onJump }: { list: Diagnostic[]; onJump: (d: Diagnostic) => void }) {
  return (
    <ul className="plain diagnostics hunt-diagnostics" aria-label={t('hunting.diagnostics')}>
      {list.map((d, i) => (
        <li key={i}>
          <button type="button" className="hunt-diagnostic" onClick={() => onJump(d)}>
            <span className={`tag ${d.severity === 'error' ? 'tag-warn' : ''}`}>{d.code}</span>
            <span>
              {d.message}{' '}
              <span className="muted small">{t('hunting.diagnosticAt', { line: d.line, column: d.column })}</span>
              {d.hint && <span className="hunt-hint">{d.hint}</span>}
            </span>
          </button>
        </li>
      ))}
    </ul>
  );
}

export function save(blob: Blob, name: string): void {
  const url = URL.createObjectURL(blob);
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  // The download has its own hold on the bytes once it has begun.
  window.setTimeout(() => URL.revokeObjectURL(url), 30_000);
}

const FORMATS = ['csv', 'json', 'parquet'] as const;

function Export({ run }: { run: Run }) {
  const tell = useTell();
  const make = useMutation({
    mutationFn: async (format: string) => {
      const body = { query: run.query, ...(run.range ? { timespan: timespanOf(run.range) } : {}) };
      const stamp = new Date(run.started).toISOString().slice(0, 19).replaceAll(':', '');
      save(await hunting.export(body, format), `hunt-${stamp}.${format}`);
    },
    onError: tell.failed,
  });
  return (
    <Menu>
      <MenuTrigger disableButtonEnhancement>
        <Button size="small" appearance="subtle" icon={<ArrowDownloadRegular />} disabled={make.isPending}>
          {make.isPending ? t('hunting.exporting') : t('hunting.export')}
        </Button>
      </MenuTrigger>
      <MenuPopover>
        <MenuList>
          {FORMATS.map((format) => (
            <MenuItem key={format} secondaryContent={t('hunting.exportHint')} onClick={() => make.mutate(format)}>
              {format === 'parquet' ? 'Parquet' : format.toUpperCase()}
            </MenuItem>
          ))}
        </MenuList>
      </MenuPopover>
    </Menu>
  );
}

function Running({ run }: { run: Run }) {
  const p = run.progress;
  const part = p && p.filesRead > 0 ? p.filesDone / p.filesRead : undefined;
  return (
    <div className="hunt-running" role="status">
      <ProgressBar value={part} aria-label={t('hunting.now')} />
      <span className="muted">
        {p
          ? t('hunting.progress', {
              phase: t(`hunting.phase.${p.state === 'Ended' ? 'Writing' : p.state}`),
              rows: grouped(p.rowsScanned),
              size: bytes(p.bytesScanned),
              done: grouped(p.filesDone),
              files: grouped(p.filesRead),
              found: grouped(p.rowsFound),
            })
          : t('hunting.now')}
      </span>
    </div>
  );
}

function Answer(props: ResultProps & { run: Run }) {
  const { run } = props;
  const answer = run.answer;
  const rendered = answer?.render ?? null;
  const [view, setView] = useState<'table' | 'chart'>(isChart(rendered?.kind) ? 'chart' : 'table');
  const [kind, setKind] = useState<ChartKind>(isChart(rendered?.kind) ? rendered.kind : 'columnchart');
  const model = useMemo(
    () =>
      answer && view === 'chart'
        ? chartModel(answer.columns, answer.rows, { kind, properties: rendered?.properties ?? [] })
        : null,
    [answer, view, kind, rendered],
  );
  if (!answer) return null;
  const rangeText = run.range ? t(`range.${run.range}`) : t('hunting.inText');
  const { rowCap, byteCap } = answer.completeness;
  const toggle = (
    <>
      <span className="hunt-toggle" role="group" aria-label={t('hunting.chartKind')}>
        <ToggleButton
          size="small"
          appearance="subtle"
          icon={<TableRegular />}
          checked={view === 'table'}
          onClick={() => setView('table')}
        >
          {t('hunting.table')}
        </ToggleButton>
        <ToggleButton
          size="small"
          appearance="subtle"
          icon={<DataBarVerticalRegular />}
          checked={view === 'chart'}
          onClick={() => setView('chart')}
        >
          {t('hunting.chart')}
        </ToggleButton>
      </span>
      {view === 'chart' && (
        <Select
          size="small"
          aria-label={t('hunting.chartKind')}
          value={kind}
          onChange={(_, data) => setKind(KINDS.find((k) => k === data.value) ?? kind)}
        >
          {KINDS.map((k) => (
            <option key={k} value={k}>
              {k}
            </option>
          ))}
        </Select>
      )}
      <Export run={run} />
      <Button size="small" appearance="subtle" icon={<BookAddRegular />} onClick={props.onPromote}>
        {t('hunting.promote')}
      </Button>
    </>
  );
  return (
    <>
      <div className="hunt-said" role="status">
        <strong>{t('hunting.rows', { count: answer.rows.length, text: grouped(answer.rows.length) })}</strong>
        <Completeness words={answer.completeness} />
        <span className="grow" />
        <span className="muted small hunt-when">
          {grouped(answer.resources.durationMs)} ms · {rangeText} · <Time at={new Date(run.started).toISOString()} />
        </span>
        <ResourcesReport used={answer.resources} />
      </div>
      {(rowCap !== null || byteCap !== null) && (
        <div className="hunt-cap" role="status">
          {rowCap !== null
            ? t('hunting.capRows', { rows: grouped(rowCap) })
            : t('hunting.capBytes', { size: bytes(byteCap ?? 0) })}
        </div>
      )}
      {run.diagnostics.length > 0 && <Diagnostics list={run.diagnostics} onJump={props.onJump} />}
      {view === 'table' ? (
        <ResultGrid
          columns={answer.columns}
          rows={answer.rows}
          rangeText={rangeText}
          onFilter={props.onFilter}
          onInspect={props.onInspect}
          inspected={props.inspected}
          onIncident={props.onIncident}
          toolbar={toggle}
        />
      ) : (
        <div className="hunt-chart-box">
          <div className="grid-tools">
            <div className="filters">{toggle}</div>
          </div>
          {model?.cut && <p className="muted small hunt-note">{t('hunting.chartCut')}</p>}
          {model === null ? (
            <Empty title={t('hunting.chartNone', { kind })} hint={t('hunting.chartNoneHint')} />
          ) : model.kind === 'card' ? (
            <div className="hunt-cards">
              {model.series.map((s) => (
                <div key={s.name} className="hunt-card">
                  <span className="tile-number">{grouped(s.points[0]?.[1] ?? 0)}</span>
                  <span className="muted">{s.name}</span>
                </div>
              ))}
            </div>
          ) : (
            <Suspense fallback={<Loading />}>
              <HuntChart
                model={model}
                label={
                  model.title || t('hunting.rows', { count: answer.rows.length, text: grouped(answer.rows.length) })
                }
              />
            </Suspense>
          )}
        </div>
      )}
    </>
  );
}

/** What the last run of a tab gave. */
export function Result(props: ResultProps) {
  const { run } = props;
  if (!run) return <Empty title={t('hunting.ready')} hint={t('hunting.readyHint')} />;
  return (
    <div className="hunt-result" data-phase={run.phase} data-rows={run.answer?.rows.length} data-cap={ROWS_MAX}>
      {!props.current && run.phase !== 'running' && (
        <div className="hunt-older small" role="status">
          <span>{t('hunting.older')}</span>
          <Button size="small" appearance="transparent" onClick={props.onShowQuery}>
            {t('hunting.olderShow')}
          </Button>
        </div>
      )}
      {run.phase === 'running' && <Running run={run} />}
      {run.phase === 'cancelled' && <Empty title={t('hunting.cancelled')} />}
      {run.phase === 'failed' &&
        (run.diagnostics.length > 0 ? (
          <>
            <h3 className="hunt-refused">{t('hunting.diagnostics')}</h3>
            <Diagnostics list={run.diagnostics} onJump={props.onJump} />
          </>
        ) : (
          <Failure error={run.error} />
        ))}
      {run.phase === 'done' && <Answer key={run.id} {...props} run={run} />}
    </div>
  );
}
