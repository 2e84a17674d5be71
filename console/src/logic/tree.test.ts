import { expect, test } from 'vitest';
import type { Alert, ProcessNode, StoryTree } from '../api/types';
import { activityGlyph, flatten, moments, processGlyph, step, type TreeRow } from './tree';

const at = (second: number) => new Date(Date.UTC(2026, 0, 1, 0, 0, second)).toISOString();

function node(pid: number, second: number, change: Partial<ProcessNode> = {}): ProcessNode {
  return {
    processUniqueId: `k${pid}`,
    processId: pid,
    fileName: `p${pid}`,
    creationTime: at(second),
    alertIds: [],
    activities: [],
    children: [],
    ...change,
  };
}

const file = (second: number, alertIds: string[] = []) => ({
  timestamp: at(second),
  table: 'DeviceFileEvents',
  actionType: 'FileCreated',
  summary: `/tmp/${second}`,
  alertIds,
  row: {},
});

const tree: StoryTree = {
  device: { id: 'd', name: 'web-1' },
  root: node(1, 0, {
    activities: [file(2), file(9, ['a1'])],
    children: [node(2, 1, { children: [node(3, 3, { alertIds: ['a2'] })] }), node(4, 5)],
  }),
};
const alerts = new Map([
  ['a1', { severity: 'Medium' } as Alert],
  ['a2', { severity: 'High' } as Alert],
]);

const show = (rows: TreeRow[]) =>
  rows.map((row) => {
    const name =
      row.kind === 'device' ? row.tree.device.name : row.kind === 'process' ? row.node.fileName : row.activity.summary;
    return `${row.guides.map((on) => (on ? '│' : ' ')).join('')}${row.depth === 0 ? '' : row.last ? '└' : '├'}${name}`;
  });
const flat = (options: Partial<Parameters<typeof flatten>[2]> = {}) =>
  flatten([tree], alerts, { folded: new Set(), activities: 'all', ...options });

test('a tree is drawn in order of time with its lines', () => {
  expect(show(flat())).toEqual(['web-1', 'p1', '├p2', '│└p3', '├/tmp/2', '├p4', '└/tmp/9']);
});

test('only activities with alerts, or none', () => {
  expect(show(flat({ activities: 'alerts' }))).toEqual(['web-1', 'p1', '├p2', '│└p3', '├p4', '└/tmp/9']);
  expect(show(flat({ activities: 'none' }))).toEqual(['web-1', 'p1', '├p2', '│└p3', '└p4']);
});

test('a folded row keeps the colour and number of what it hides', () => {
  const rows = flat({ folded: new Set(['t0:p:k2']) });
  expect(show(rows)).toEqual(['web-1', 'p1', '├p2', '├/tmp/2', '├p4', '└/tmp/9']);
  expect(rows[2]).toMatchObject({ expanded: false, hidden: 1, below: 1, belowSeverity: 'High' });
});

test('arrows walk, fold and unfold', () => {
  const rows = flat();
  expect(step(rows, 1, 'ArrowDown')).toEqual({ to: 2 });
  expect(step(rows, 2, 'ArrowLeft')).toEqual({ toggle: 't0:p:k2' });
  expect(step(rows, 3, 'ArrowLeft')).toEqual({ to: 2 });
  expect(step(rows, 2, 'ArrowRight')).toEqual({ to: 3 });
  expect(step(flat({ folded: new Set(['t0:p:k2']) }), 2, 'ArrowRight')).toEqual({ toggle: 't0:p:k2' });
  expect(step(rows, rows.length - 1, 'j')).toBeNull();
  expect(step(rows, 0, 'x')).toBeNull();
});

test('a chain of ten thousand processes does not overflow the stack', () => {
  let root = node(10_000, 0);
  for (let pid = 9_999; pid > 0; pid--) root = node(pid, 0, { children: [root] });
  const rows = flatten([{ device: tree.device, root }], alerts, { folded: new Set(), activities: 'all' });
  expect(rows.length).toBeLessThan(300);
  expect(rows.at(-1)).toMatchObject({ kind: 'process', expanded: false });
});

test('row ids are unique and the time line has every row once', () => {
  const rows = flat();
  expect(new Set(rows.map((row) => row.id)).size).toBe(rows.length);
  expect(moments(rows).map((m) => m.at)).toEqual([0, 1, 2, 3, 5, 9].map(at));
});

test('icons tell kinds apart', () => {
  expect(processGlyph('bash')).toBe('shell');
  expect(processGlyph('python3.11')).toBe('script');
  expect(processGlyph('ls')).toBe('process');
  expect(activityGlyph('DeviceNetworkEvents', 'DnsQueryResponse')).toBe('dns');
  expect(activityGlyph('DeviceEvents', 'PtraceCall')).toBe('memory');
});
