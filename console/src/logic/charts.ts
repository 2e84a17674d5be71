import { isNumber, type ResultColumn, type ResultRow, timespanMillis, valueText } from './results';

// From `render` and a result to what is drawn, without the library that draws it.

export const KINDS = [
  'timechart',
  'linechart',
  'areachart',
  'stackedareachart',
  'columnchart',
  'barchart',
  'scatterchart',
  'piechart',
  'card',
] as const;
export type ChartKind = (typeof KINDS)[number];

export interface Render {
  kind: string;
  properties: readonly (readonly [string, unknown])[];
}

export interface ChartSeries {
  name: string;
  /** [x, y]; x is milliseconds, a number, or the index of a category. */
  points: [number, number][];
}

export interface ChartModel {
  kind: ChartKind;
  x: 'time' | 'value' | 'category';
  categories: string[];
  series: ChartSeries[];
  title: string;
  xTitle: string;
  yTitle: string;
  stack: 'none' | 'stacked' | 'stacked100';
  legend: boolean;
  yMin: number | null;
  yMax: number | null;
  /** Series or points that were left out because of the bounds below. */
  cut: boolean;
}

/** More lines than this cannot be told apart, and their colours repeat. */
const SERIES_MAX = 40;
/** Points over all series: beyond it the browser stutters, and neighbours share a pixel. */
const POINTS_MAX = 40_000;
/** Slices of a pie that can be read; the rest becomes one. */
const SLICES_MAX = 16;

export function isChart(kind: string | undefined): kind is ChartKind {
  return KINDS.some((k) => k === kind);
}

function numberOf(value: unknown, type: string): number | null {
  if (typeof value === 'number') return Number.isFinite(value) ? value : null;
  if (typeof value === 'boolean') return Number(value);
  if (typeof value !== 'string' || value === '') return null;
  if (type === 'timespan') return timespanMillis(value);
  const number = Number(value);
  return Number.isFinite(number) ? number : null;
}

function listed(value: unknown): string[] {
  if (Array.isArray(value)) return value.map(String);
  return typeof value === 'string' && value !== ''
    ? value.split(',').map((part) => part.trim().replace(/^\['?|'?\]$/g, ''))
    : [];
}

interface Plan {
  x: number;
  ys: number[];
  by: number[];
}

function plan(
  columns: readonly ResultColumn[],
  rows: readonly ResultRow[],
  kind: ChartKind,
  wanted: {
    x: string | undefined;
    ys: string[];
    by: string[];
  },
): Plan | null {
  const at = (name: string) => columns.findIndex((c) => c.name === name);
  const isList = (i: number) => columns[i]?.type === 'dynamic' && rows.some((row) => Array.isArray(row[i]));
  const numeric = (i: number) => isNumber(columns[i]?.type ?? '') || columns[i]?.type === 'timespan';
  const all = columns.map((_, i) => i);
  const named = wanted.x === undefined ? -1 : at(wanted.x);
  const timed = all.find((i) => columns[i]?.type === 'datetime') ?? all.findLast((i) => isTimes(rows, i));
  const first =
    kind === 'timechart' || (timed !== undefined && !all.some((i) => i !== timed && !numeric(i) && !isList(i)))
      ? timed
      : undefined;
  const x = named >= 0 ? named : (first ?? 0);
  const ys = wanted.ys.map(at).filter((i) => i >= 0);
  const by = wanted.by.map(at).filter((i) => i >= 0);
  const free = all.filter((i) => i !== x && !by.includes(i));
  const measured = ys.length > 0 ? ys : free.filter((i) => numeric(i) || (isList(i) && !isTimes(rows, i)));
  const parted = by.length > 0 ? by : free.filter((i) => !measured.includes(i) && !isList(i) && !numeric(i));
  return measured.length > 0 ? { x, ys: measured, by: parted } : null;
}

/** Whether a dynamic column holds lists of times, as make-series makes them. */
function isTimes(rows: readonly ResultRow[], i: number): boolean {
  const list = rows[0]?.[i];
  return Array.isArray(list) && typeof list[0] === 'string' && !Number.isNaN(Date.parse(list[0]));
}

/** What to draw; null where the result has nothing that can be measured. */
export function chartModel(
  columns: readonly ResultColumn[],
  rows: readonly ResultRow[],
  render: Render,
): ChartModel | null {
  if (!isChart(render.kind) || rows.length === 0) return null;
  const kind = render.kind;
  const given = new Map(render.properties.map(([name, value]) => [name.toLowerCase(), value]));
  const text = (name: string) => valueText(given.get(name));
  const number = (name: string) => (given.has(name) ? numberOf(given.get(name), 'real') : null);
  const picked = plan(columns, rows, kind, {
    x: text('xcolumn') || undefined,
    ys: listed(given.get('ycolumns')),
    by: listed(given.get('series')),
  });
  if (!picked) return null;
  const style = text('kind').toLowerCase();
  const model: ChartModel = {
    kind,
    x: 'category',
    categories: [],
    series: [],
    title: text('title'),
    xTitle: text('xtitle') || (columns[picked.x]?.name ?? ''),
    yTitle: text('ytitle') || (picked.ys.length === 1 ? (columns[picked.ys[0] ?? 0]?.name ?? '') : ''),
    stack:
      style === 'stacked100' ? 'stacked100' : style === 'stacked' || kind === 'stackedareachart' ? 'stacked' : 'none',
    legend: text('legend').toLowerCase() !== 'hidden',
    yMin: number('ymin'),
    yMax: number('ymax'),
    cut: false,
  };
  if (kind === 'card') {
    const row = rows[0] ?? [];
    model.series = columns.flatMap((c, i) => {
      const value = numberOf(row[i], c.type);
      return value === null || c.type === 'datetime'
        ? []
        : [{ name: c.name, points: [[0, value]] as [number, number][] }];
    });
    return model.series.length > 0 ? model : null;
  }
  fill(model, columns, rows, picked);
  if (kind === 'piechart') pie(model);
  return model.series.length > 0 ? model : null;
}

function fill(model: ChartModel, columns: readonly ResultColumn[], rows: readonly ResultRow[], picked: Plan): void {
  const type = columns[picked.x]?.type ?? 'string';
  const lists = rows.some((row) => Array.isArray(row[picked.x]));
  const time = type === 'datetime' || (lists && isTimes(rows, picked.x));
  const bars = model.kind === 'barchart' || model.kind === 'columnchart' || model.kind === 'piechart';
  model.x = time && !bars ? 'time' : !bars && isNumber(type) ? 'value' : 'category';
  const categories = new Map<string, number>();
  const xOf = (value: unknown): number | null => {
    if (model.x === 'time') {
      const at = Date.parse(valueText(value));
      return Number.isNaN(at) ? null : at;
    }
    if (model.x === 'value') return numberOf(value, type);
    const name = valueText(value);
    const index = categories.get(name) ?? categories.size;
    categories.set(name, index);
    return index;
  };
  const series = new Map<string, ChartSeries>();
  let points = 0;
  const put = (name: string, xValue: unknown, yValue: unknown, yType: string) => {
    const y = numberOf(yValue, yType);
    if (y === null) return;
    let entry = series.get(name);
    if (!entry) {
      if (series.size >= SERIES_MAX) {
        model.cut = true;
        return;
      }
      entry = { name, points: [] };
      series.set(name, entry);
    }
    if (points >= POINTS_MAX) {
      model.cut = true;
      return;
    }
    const x = xOf(xValue);
    if (x === null) return;
    points += 1;
    entry.points.push([x, y]);
  };
  for (const row of rows) {
    const part = picked.by.map((i) => valueText(row[i]) || '∅').join(' · ');
    for (const i of picked.ys) {
      const column = columns[i];
      const name = part === '' ? (column?.name ?? '') : picked.ys.length > 1 ? `${part} · ${column?.name}` : part;
      const y = row[i];
      const x = row[picked.x];
      if (Array.isArray(y)) y.forEach((value, k) => void put(name, Array.isArray(x) ? x[k] : k, value, 'real'));
      else put(name, x, y, column?.type ?? 'real');
    }
  }
  model.categories = [...categories.keys()];
  model.series = [...series.values()];
  if (model.x !== 'category' && model.kind !== 'scatterchart') {
    for (const s of model.series) s.points.sort((a, b) => a[0] - b[0]);
  }
}

/** Slices from the largest down; what is too small to read becomes one. */
function pie(model: ChartModel): void {
  const first = model.series[0];
  if (!first) return;
  const sums = new Map<number, number>();
  for (const s of model.series) for (const [x, y] of s.points) if (y > 0) sums.set(x, (sums.get(x) ?? 0) + y);
  const sorted = [...sums].sort((a, b) => b[1] - a[1]);
  const kept = sorted.slice(0, SLICES_MAX);
  const rest = sorted.slice(SLICES_MAX).reduce((sum, [, y]) => sum + y, 0);
  const names = kept.map(([x]) => model.categories[x] ?? '');
  model.categories = rest > 0 ? [...names, '…'] : names;
  model.series = [
    { name: first.name, points: [...kept.map(([, y]) => y), ...(rest > 0 ? [rest] : [])].map((y, i) => [i, y]) },
  ];
  model.cut = rest > 0;
}
