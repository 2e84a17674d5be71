// The rows of a hunt as the grid shows them: text of a cell, order, filters. Rows stay arrays as they came.

export interface ResultColumn {
  name: string;
  type: string;
}

export type ResultRow = readonly unknown[];

/** Characters of a value that a cell draws; the inspector shows all of it. */
const CELL_CHARS_MAX = 400;

export function valueText(value: unknown): string {
  if (value === null || value === undefined) return '';
  if (typeof value === 'string') return value;
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  return JSON.stringify(value);
}

export function cellText(value: unknown): string {
  const text = valueText(value);
  return text.length > CELL_CHARS_MAX ? `${text.slice(0, CELL_CHARS_MAX)}…` : text;
}

export function isNumber(type: string): boolean {
  return ['long', 'int', 'real', 'double', 'decimal'].includes(type);
}

/** `1.02:03:04.5` in milliseconds; null if it is no timespan. */
export function timespanMillis(text: string): number | null {
  const match = /^(-)?(?:(\d+)\.)?(\d{1,2}):(\d{2}):(\d{2})(?:\.(\d{1,7}))?$/.exec(text);
  if (!match) return null;
  const [, minus, days, hours, minutes, seconds, part] = match;
  const whole = ((Number(days ?? 0) * 24 + Number(hours)) * 60 + Number(minutes)) * 60 + Number(seconds);
  const millis = whole * 1000 + Number(`0.${part ?? 0}`) * 1000;
  return minus ? -millis : millis;
}

/** Order of two values of one column; what is absent comes last either way, so it is not handled here. */
export function compareValues(a: unknown, b: unknown, type: string): number {
  if (typeof a === 'number' && typeof b === 'number') return a - b;
  if (typeof a === 'boolean' && typeof b === 'boolean') return Number(a) - Number(b);
  const left = valueText(a);
  const right = valueText(b);
  if (type === 'timespan') return (timespanMillis(left) ?? 0) - (timespanMillis(right) ?? 0);
  if (isNumber(type)) return Number(left) - Number(right);
  if (left === right) return 0;
  return left < right ? -1 : 1;
}

export interface View {
  /** Column name, with `-` before it for the greatest first. */
  sort: string | null;
  /** Text that a column's value must contain, by column name. */
  filters: Readonly<Record<string, string>>;
}

/** Indexes of the rows that are shown, in order. Rows that compare equal keep the order they came in. */
export function viewRows(rows: readonly ResultRow[], columns: readonly ResultColumn[], view: View): number[] {
  const tests = Object.entries(view.filters).flatMap(([name, text]) => {
    const at = columns.findIndex((c) => c.name === name);
    const wanted = text.trim().toLowerCase();
    return at >= 0 && wanted !== '' ? [{ at, wanted }] : [];
  });
  const shown: number[] = [];
  rows.forEach((row, i) => {
    if (tests.every(({ at, wanted }) => valueText(row[at]).toLowerCase().includes(wanted))) shown.push(i);
  });
  if (!view.sort) return shown;
  const down = view.sort.startsWith('-');
  const name = view.sort.replace(/^-/, '');
  const at = columns.findIndex((c) => c.name === name);
  const type = columns[at]?.type ?? 'string';
  if (at < 0) return shown;
  const absent = (value: unknown) => value === null || value === undefined || value === '';
  return shown.sort((i, j) => {
    const a = rows[i]?.[at];
    const b = rows[j]?.[at];
    if (absent(a) || absent(b)) return Number(absent(a)) - Number(absent(b)) || i - j;
    return (down ? -1 : 1) * compareValues(a, b, type) || i - j;
  });
}

/** How wide a column starts: by its name and what its first rows hold, in pixels. */
export function startWidth(column: ResultColumn, index: number, rows: readonly ResultRow[]): number {
  if (column.type === 'datetime') return 212;
  let chars = column.name.length + 3;
  for (const row of rows.slice(0, 50)) chars = Math.max(chars, Math.min(valueText(row[index]).length, 60));
  return Math.min(420, Math.max(84, Math.round(chars * 7.3) + 18));
}

/** A dynamic value may come as JSON or as text that holds JSON. */
export function dynamicValue(value: unknown): unknown {
  if (typeof value !== 'string') return value;
  try {
    const parsed: unknown = JSON.parse(value);
    return typeof parsed === 'object' && parsed !== null ? parsed : value;
  } catch {
    return value;
  }
}

/** One row as an object, for copying and for the inspector. */
export function rowObject(row: ResultRow, columns: readonly ResultColumn[]): Record<string, unknown> {
  return Object.fromEntries(columns.map((c, i) => [c.name, row[i] ?? null]));
}
