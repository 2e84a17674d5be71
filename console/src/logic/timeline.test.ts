import { expect, test } from 'vitest';
import type { TimelineRow } from '../api/types';
import { joined, passes, rowKey } from './timeline';

const row = (report: number, change: Partial<TimelineRow> = {}): TimelineRow => ({
  timestamp: '2026-01-01T00:00:00Z',
  table: 'DeviceFileEvents',
  actionType: 'FileCreated',
  summary: '/tmp/x',
  alertIds: [],
  row: { ReportId: report, BootId: 'b', FileName: 'Kworkerd' },
  ...change,
});

test('a row that came live and is then read from the server is shown once', () => {
  expect(joined([row(3), row(2)], [row(2), row(1)]).map((r) => r.row.ReportId)).toEqual([3, 2, 1]);
});

test('rows without a number are told apart by what they say', () => {
  expect(rowKey(row(1, { row: {} }))).not.toBe(rowKey(row(1, { row: {}, summary: '/tmp/y' })));
});

test('live rows obey the filters of the view', () => {
  expect(passes(row(1), ['DeviceEvents'], '')).toBe(false);
  expect(passes(row(1), ['DeviceFileEvents'], 'kworkerd')).toBe(true);
  expect(passes(row(1), [], 'nothing like it')).toBe(false);
});
