import { Button, Select, Tooltip } from '@fluentui/react-components';
import {
  ArrowCollapseAllRegular,
  ArrowDownloadRegular,
  BracesRegular,
  CodeRegular,
  DeveloperBoardRegular,
  DocumentRegular,
  type FluentIcon,
  GlobeRegular,
  GlobeSearchRegular,
  KeyRegular,
  LayerDiagonalRegular,
  ServerRegular,
  SettingsCogMultipleRegular,
  TextExpandRegular,
  WindowConsoleRegular,
} from '@fluentui/react-icons';
import { useVirtualizer } from '@tanstack/react-virtual';
import { useCallback, useEffect, useMemo, useRef, useState } from 'react';
import type { Alert, StoryTree } from '../api/types';
import { t } from '../i18n';
import { clockTime } from '../logic/time';
import { activityGlyph, flatten, type Glyph, processGlyph, step, type TreeRow } from '../logic/tree';
import { spaced } from '../logic/words';
import { usePrefs } from '../prefs';
import { Entity } from './Entity';
import { To } from './Parts';

const ROW = 26;
const INDENT = 18;

const ICONS: Record<Glyph, FluentIcon> = {
  shell: WindowConsoleRegular,
  script: CodeRegular,
  service: SettingsCogMultipleRegular,
  network: GlobeRegular,
  file: DocumentRegular,
  logon: KeyRegular,
  memory: DeveloperBoardRegular,
  kernel: LayerDiagonalRegular,
  dns: GlobeSearchRegular,
  download: ArrowDownloadRegular,
  process: BracesRegular,
};

/** The lines at the left of a row, like those of a terminal's pstree. */
function Lines({ row }: { row: TreeRow }) {
  if (row.depth === 0) return null;
  const width = row.depth * INDENT;
  const x = (row.depth - 1) * INDENT + INDENT / 2;
  const mid = ROW / 2;
  return (
    <svg className="lines" width={width} height={ROW} aria-hidden="true">
      {row.guides.map((on, i) => on && <path key={i} d={`M${i * INDENT + INDENT / 2 + 0.5} 0V${ROW}`} />)}
      <path
        d={
          row.last
            ? `M${x + 0.5} 0V${mid - 4}q0 4 4 4H${width - 1}`
            : `M${x + 0.5} 0V${ROW}M${x + 0.5} ${mid}H${width - 1}`
        }
      />
    </svg>
  );
}

function AlertBadges({ ids, alerts }: { ids: readonly string[]; alerts: ReadonlyMap<string, Alert> }) {
  return (
    <>
      {ids.slice(0, 3).map((id) => {
        const alert = alerts.get(id);
        return (
          <To key={id} path={`/alerts/${id}`} className={`alert-badge sev-${alert?.severity ?? 'Low'}`}>
            <span className="cut">{alert?.title ?? t('word.alert')}</span>
          </To>
        );
      })}
      {ids.length > 3 && <span className="muted">+{ids.length - 3}</span>}
    </>
  );
}

function RowBody({ row, alerts }: { row: TreeRow; alerts: ReadonlyMap<string, Alert> }) {
  const { zone } = usePrefs();
  if (row.kind === 'device') {
    return (
      <>
        <ServerRegular className="glyph" aria-hidden="true" />
        <strong>{row.tree.device.name}</strong>
      </>
    );
  }
  if (row.kind === 'activity') {
    const { activity } = row;
    const Icon = ICONS[activityGlyph(activity.table, activity.actionType)];
    return (
      <>
        <Icon className="glyph" aria-hidden="true" />
        <span className="act">{spaced(activity.actionType)}</span>
        <span className="mono cut grow">{activity.summary}</span>
        <AlertBadges ids={row.alertIds} alerts={alerts} />
        <span className="clock mono">{clockTime(activity.timestamp, zone)}</span>
      </>
    );
  }
  const { node } = row;
  const Icon = ICONS[processGlyph(node.fileName)];
  return (
    <>
      <Icon className="glyph" aria-hidden="true" />
      <strong className="name">
        <Entity field="file" value={node.fileName} inGrid />
      </strong>
      <span className="pid mono">{node.processId}</span>
      {node.accountName && (
        <span className={`user ${node.accountName === 'root' ? 'root' : ''}`}>{node.accountName}</span>
      )}
      <span className="mono cut grow cmd" title={node.commandLine ?? undefined}>
        {node.commandLine}
      </span>
      {!row.expanded && row.hidden > 0 && <span className="folded">{t('tree.hidden', { count: row.hidden })}</span>}
      <AlertBadges ids={row.alertIds} alerts={alerts} />
      <span className="clock mono">{clockTime(node.creationTime, zone)}</span>
    </>
  );
}

export interface ProcessTreeProps {
  trees: readonly StoryTree[];
  alerts: ReadonlyMap<string, Alert>;
  truncated?: boolean;
  selected: string | null;
  onSelect: (row: TreeRow) => void;
}

export type ActivityMode = 'all' | 'alerts' | 'none';

/** The story as an indented tree: who started what, what it did, and where alerts were raised. */
export function ProcessTree({ trees, alerts, truncated, selected, onSelect }: ProcessTreeProps) {
  const [folded, setFolded] = useState<ReadonlySet<string>>(new Set());
  const [activities, setActivities] = useState<ActivityMode>('all');
  const scroller = useRef<HTMLDivElement>(null);
  const rows = useMemo(() => flatten(trees, alerts, { folded, activities }), [trees, alerts, folded, activities]);
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW,
    overscan: 20,
    getItemKey: (index) => rows[index]?.id ?? index,
  });
  const toggle = useCallback((id: string) => {
    setFolded((before) => {
      const next = new Set(before);
      if (!next.delete(id)) next.add(id);
      return next;
    });
  }, []);
  const index = Math.max(
    0,
    rows.findIndex((row) => row.id === selected),
  );
  // At first the eye should land on the first alert, not on systemd.
  const landed = useRef(false);
  useEffect(() => {
    if (landed.current || rows.length === 0) return;
    landed.current = true;
    if (selected) {
      virtual.scrollToIndex(index, { align: 'center' });
      return;
    }
    const first = rows.find((row) => row.alertIds.length > 0) ?? rows.find((row) => row.kind === 'process');
    if (first) onSelect(first);
  }, [rows, selected, onSelect, virtual, index]);

  const onKeyDown = (event: React.KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const outcome = step(rows, index, event.key);
    if (!outcome) return;
    event.preventDefault();
    event.stopPropagation();
    if ('toggle' in outcome) toggle(outcome.toggle);
    else {
      const row = rows[outcome.to];
      if (row) onSelect(row);
      virtual.scrollToIndex(outcome.to, { align: 'auto' });
    }
  };

  return (
    <div className="tree-box">
      <div className="grid-tools">
        <span className="muted small grow">
          {truncated ? t('tree.truncated') : t('tree.count', { count: rows.length })}
        </span>
        <Select
          size="small"
          aria-label={t('tree.activities')}
          value={activities}
          onChange={(_, data) => setActivities(data.value as ActivityMode)}
        >
          <option value="all">{t('tree.all')}</option>
          <option value="alerts">{t('tree.alerts')}</option>
          <option value="none">{t('tree.none')}</option>
        </Select>
        <Tooltip content={t('tree.unfoldAll')} relationship="label">
          <Button size="small" appearance="subtle" icon={<TextExpandRegular />} onClick={() => setFolded(new Set())} />
        </Tooltip>
        <Tooltip content={t('tree.foldQuiet')} relationship="label">
          <Button
            size="small"
            appearance="subtle"
            icon={<ArrowCollapseAllRegular />}
            onClick={() =>
              setFolded(
                new Set(
                  flatten(trees, alerts, { folded: new Set(), activities })
                    .filter((row) => row.kind === 'process' && row.below === 0 && row.expandable)
                    .map((row) => row.id),
                ),
              )
            }
          />
        </Tooltip>
      </div>
      <div
        ref={scroller}
        className="tree"
        role="tree"
        aria-label={t('tree.label')}
        tabIndex={0}
        aria-activedescendant={rows[index] ? `tree-${index}` : undefined}
        onKeyDown={onKeyDown}
      >
        <div role="presentation" style={{ height: virtual.getTotalSize(), position: 'relative' }}>
          {virtual.getVirtualItems().map((item) => {
            const row = rows[item.index];
            if (!row) return null;
            const open = row.kind === 'process' && row.expandable;
            const calm =
              row.kind === 'process' ? row.below === 0 : row.kind === 'activity' && row.alertIds.length === 0;
            const heat =
              row.alertIds.length > 0
                ? row.severity
                : row.kind === 'process' && !row.expanded && row.below > 0
                  ? row.belowSeverity
                  : null;
            return (
              <div
                key={row.id}
                id={`tree-${item.index}`}
                data-row={row.kind}
                role="treeitem"
                aria-level={row.depth + 1}
                aria-expanded={open ? row.expanded : undefined}
                aria-selected={row.id === selected}
                className={`tree-row tree-${row.kind} ${calm ? 'calm' : ''} ${heat ? `heat heat-${heat}` : ''}`}
                style={{ height: ROW, transform: `translateY(${item.start}px)` }}
                onClick={() => onSelect(row)}
                onDoubleClick={() => open && toggle(row.id)}
              >
                <Lines row={row} />
                <span
                  className={`twist ${open ? 'can' : ''}`}
                  aria-hidden="true"
                  onClick={(event) => {
                    if (!open) return;
                    event.stopPropagation();
                    toggle(row.id);
                  }}
                >
                  {open ? (row.expanded ? '▾' : '▸') : ''}
                </span>
                <RowBody row={row} alerts={alerts} />
              </div>
            );
          })}
        </div>
      </div>
    </div>
  );
}
