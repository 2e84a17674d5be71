import type { Activity, Alert, ProcessNode, Severity, StoryTree } from '../api/types';
import { severityRank, worstSeverity } from './words';

// A tree becomes a flat list of rows, so that it can be virtualised and walked with the arrow keys. Each row knows
// which vertical lines run past it, like the terminal's `pstree`.

export interface RowBase {
  /** Unique among all rows of the story, stable over refreshes. */
  id: string;
  depth: number;
  /** For each level above: whether its line goes on below this row. */
  guides: boolean[];
  /** Whether this is the last row below its parent. */
  last: boolean;
  /** Id of the row above in the tree; null for a root. */
  parent: string | null;
  alertIds: string[];
  /** Worst severity of this row's own alerts. */
  severity: Severity;
}

export interface DeviceRow extends RowBase {
  kind: 'device';
  tree: StoryTree;
}

export interface ProcessRow extends RowBase {
  kind: 'process';
  node: ProcessNode;
  tree: StoryTree;
  expandable: boolean;
  expanded: boolean;
  /** Rows hidden below while it is folded. */
  hidden: number;
  /** Alerts anywhere below. */
  below: number;
  /** Worst severity anywhere below; colours a folded row. */
  belowSeverity: Severity;
}

export interface ActivityRow extends RowBase {
  kind: 'activity';
  activity: Activity;
  node: ProcessNode;
  tree: StoryTree;
}

export type TreeRow = DeviceRow | ProcessRow | ActivityRow;

export interface TreeOptions {
  /** Ids of rows that are folded. */
  folded: ReadonlySet<string>;
  activities: 'all' | 'alerts' | 'none';
}

/** Deepest level that is drawn: the server cuts trees at 512 processes, so this is only met by a hostile chain. */
export const DEPTH_MAX = 200;

interface Weight {
  alerts: number;
  severity: Severity;
  rows: number;
}

function severityOf(ids: readonly string[], alerts: ReadonlyMap<string, Alert>): Severity {
  return worstSeverity(ids.map((id) => alerts.get(id)?.severity ?? 'Low'));
}

function shown(node: ProcessNode, options: TreeOptions): Activity[] {
  if (options.activities === 'none') return [];
  return options.activities === 'all' ? node.activities : node.activities.filter((a) => a.alertIds.length > 0);
}

function time(text: string | null | undefined): number {
  const value = Date.parse(text ?? '');
  return Number.isNaN(value) ? 0 : value;
}

/** What a process did and started, in one order of time. */
function below(node: ProcessNode, options: TreeOptions): (Activity | ProcessNode)[] {
  const all: { at: number; order: number; item: Activity | ProcessNode }[] = [];
  for (const item of shown(node, options)) all.push({ at: time(item.timestamp), order: all.length, item });
  for (const item of node.children) all.push({ at: time(item.creationTime), order: all.length, item });
  all.sort((a, b) => a.at - b.at || a.order - b.order);
  return all.map((entry) => entry.item);
}

/** Alerts and severity of a subtree; walks without recursion, since depth comes from outside. */
function weigh(root: ProcessNode, alerts: ReadonlyMap<string, Alert>, options: TreeOptions): Map<ProcessNode, Weight> {
  const order: ProcessNode[] = [];
  const stack = [root];
  for (let node = stack.pop(); node; node = stack.pop()) {
    order.push(node);
    stack.push(...node.children);
  }
  const weights = new Map<ProcessNode, Weight>();
  for (const node of order.reverse()) {
    const own = new Set([...node.alertIds, ...node.activities.flatMap((a) => a.alertIds)]);
    let count = own.size;
    let severity = severityOf([...own], alerts);
    let rows = shown(node, options).length;
    for (const child of node.children) {
      const weight = weights.get(child);
      if (!weight) continue;
      count += weight.alerts;
      rows += weight.rows + 1;
      if (severityRank(weight.severity) > severityRank(severity)) severity = weight.severity;
    }
    weights.set(node, { alerts: count, severity, rows });
  }
  return weights;
}

export function flatten(
  trees: readonly StoryTree[],
  alerts: ReadonlyMap<string, Alert>,
  options: TreeOptions,
): TreeRow[] {
  const rows: TreeRow[] = [];
  trees.forEach((tree, treeIndex) => {
    const prefix = `t${treeIndex}`;
    const previous = trees[treeIndex - 1];
    const deviceId = `${prefix}:device`;
    if (previous?.device.id !== tree.device.id) {
      rows.push({
        kind: 'device',
        id: deviceId,
        depth: 0,
        guides: [],
        last: true,
        parent: null,
        alertIds: [],
        severity: 'UnSpecified',
        tree,
      });
    }
    const weights = weigh(tree.root, alerts, options);
    interface Todo {
      item: Activity | ProcessNode;
      owner: ProcessNode;
      id: string;
      parent: string | null;
      depth: number;
      guides: boolean[];
      last: boolean;
    }
    const stack: Todo[] = [
      {
        item: tree.root,
        owner: tree.root,
        id: `${prefix}:p:${tree.root.processUniqueId}`,
        parent: null,
        depth: 0,
        guides: [],
        last: true,
      },
    ];
    for (let todo = stack.pop(); todo; todo = stack.pop()) {
      const { item, owner, id, parent, depth, guides, last } = todo;
      const alertIds = item.alertIds;
      const severity = severityOf(alertIds, alerts);
      const base = { id, depth, guides, last, parent, alertIds, severity };
      if (!('children' in item)) {
        rows.push({ ...base, kind: 'activity', activity: item, node: owner, tree });
        continue;
      }
      const weight = weights.get(item) ?? { alerts: 0, severity: 'UnSpecified' as const, rows: 0 };
      const expanded = !options.folded.has(id) && depth < DEPTH_MAX;
      rows.push({
        ...base,
        kind: 'process',
        node: item,
        tree,
        expandable: weight.rows > 0,
        expanded,
        hidden: expanded ? 0 : weight.rows,
        below: weight.alerts,
        belowSeverity: weight.severity,
      });
      if (!expanded) continue;
      const items = below(item, options);
      const inner = depth === 0 ? [] : [...guides, !last];
      for (let i = items.length - 1; i >= 0; i--) {
        const next = items[i];
        if (!next) continue;
        const childId = 'children' in next ? `${prefix}:p:${next.processUniqueId}` : `${id}:a:${i}:${next.timestamp}`;
        stack.push({
          item: next,
          owner: item,
          id: childId,
          parent: id,
          depth: depth + 1,
          guides: inner,
          last: i === items.length - 1,
        });
      }
    }
  });
  return rows;
}

/** Where an arrow key leads: an index to go to, a row to fold or unfold, or nothing. */
export type Step = { to: number } | { toggle: string } | null;

export function step(rows: readonly TreeRow[], at: number, key: string): Step {
  const row = rows[at];
  switch (key) {
    case 'ArrowDown':
    case 'j':
      return at + 1 < rows.length ? { to: at + 1 } : null;
    case 'ArrowUp':
    case 'k':
      return at > 0 ? { to: at - 1 } : null;
    case 'Home':
      return { to: 0 };
    case 'End':
      return { to: rows.length - 1 };
    case 'PageDown':
      return { to: Math.min(rows.length - 1, at + 15) };
    case 'PageUp':
      return { to: Math.max(0, at - 15) };
    case 'ArrowRight':
      if (row?.kind !== 'process' || !row.expandable) return null;
      return row.expanded ? { to: at + 1 } : { toggle: row.id };
    case 'ArrowLeft': {
      if (row?.kind === 'process' && row.expandable && row.expanded) return { toggle: row.id };
      const parent = rows.findIndex((other) => other.id === row?.parent);
      return parent >= 0 ? { to: parent } : null;
    }
    default:
      return null;
  }
}

export interface StoryMoment {
  id: string;
  at: string;
  kind: 'process' | 'activity';
  row: ProcessRow | ActivityRow;
}

/** The same rows on one time line. */
export function moments(rows: readonly TreeRow[]): StoryMoment[] {
  const list: StoryMoment[] = [];
  for (const row of rows) {
    if (row.kind === 'activity') list.push({ id: row.id, at: row.activity.timestamp, kind: 'activity', row });
    else if (row.kind === 'process' && row.node.creationTime)
      list.push({ id: row.id, at: row.node.creationTime, kind: 'process', row });
  }
  return list.sort((a, b) => time(a.at) - time(b.at));
}

export type Glyph =
  | 'shell'
  | 'script'
  | 'service'
  | 'network'
  | 'file'
  | 'logon'
  | 'memory'
  | 'kernel'
  | 'dns'
  | 'download'
  | 'process';

const SHELLS = new Set(['sh', 'bash', 'dash', 'zsh', 'ksh', 'fish', 'busybox', 'pwsh']);
const SCRIPTS = /^(python|perl|ruby|php|node|lua|awk|java)[0-9.]*(-fpm[0-9.]*)?$/;
const SERVICES = new Set([
  'systemd',
  'init',
  'sshd',
  'cron',
  'crond',
  'nginx',
  'apache2',
  'httpd',
  'dockerd',
  'containerd',
]);
const DOWNLOADS = new Set(['curl', 'wget', 'scp', 'rsync', 'ftp', 'nc', 'ncat', 'socat']);

/** Which icon a process gets, by its file name. */
export function processGlyph(fileName: string): Glyph {
  const name = fileName.toLowerCase();
  if (SHELLS.has(name)) return 'shell';
  if (SCRIPTS.test(name)) return 'script';
  if (SERVICES.has(name)) return 'service';
  if (DOWNLOADS.has(name)) return 'download';
  return 'process';
}

/** Which icon an activity gets, by its table and action. */
export function activityGlyph(table: string, action: string): Glyph {
  if (action === 'DnsQueryResponse') return 'dns';
  if (table === 'DeviceNetworkEvents') return 'network';
  if (table === 'DeviceFileEvents') return 'file';
  if (table === 'DeviceLogonEvents') return 'logon';
  if (/Memory|Ptrace/.test(action)) return 'memory';
  if (table === 'DeviceProcessEvents') return 'process';
  return 'kernel';
}
