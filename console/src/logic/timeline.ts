import type { TimelineRow } from '../api/types';

/** Live rows that are kept in the page; older ones are read from the server when scrolled to. */
export const LIVE_MAX = 2_000;

export interface KeyedRow extends TimelineRow {
  key: string;
}

/** A row's identity: boot and sequence number where they are known, else what it says. */
export function rowKey(row: TimelineRow): string {
  const { ReportId: report, BootId: boot } = row.row;
  return report === undefined ? `${row.timestamp}|${row.table}|${row.summary}` : `${boot ?? ''}|${report}|${row.table}`;
}

/** Whether a row that just came belongs into the view. */
export function passes(row: TimelineRow, tables: readonly string[], q: string): boolean {
  if (tables.length > 0 && !tables.includes(row.table)) return false;
  if (!q) return true;
  const needle = q.toLowerCase();
  return (
    row.summary.toLowerCase().includes(needle) ||
    row.actionType.toLowerCase().includes(needle) ||
    JSON.stringify(row.row).toLowerCase().includes(needle)
  );
}

/** Live rows before stored ones, newest first, each once. */
export function joined(live: readonly TimelineRow[], stored: readonly TimelineRow[]): KeyedRow[] {
  const seen = new Set<string>();
  const rows: KeyedRow[] = [];
  for (const list of [live, stored]) {
    for (const row of list) {
      const key = rowKey(row);
      if (seen.has(key)) continue;
      seen.add(key);
      rows.push({ ...row, key });
    }
  }
  return rows;
}
