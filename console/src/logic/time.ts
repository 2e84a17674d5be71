/** How times are shown: in UTC, or in the zone of the browser. */
export type Zone = 'utc' | 'local';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

function two(value: number): string {
  return String(value).padStart(2, '0');
}

interface Parts {
  year: number;
  month: number;
  day: number;
  hour: number;
  minute: number;
  second: number;
  millis: number;
}

function parts(time: Date, zone: Zone): Parts {
  return zone === 'utc'
    ? {
        year: time.getUTCFullYear(),
        month: time.getUTCMonth() + 1,
        day: time.getUTCDate(),
        hour: time.getUTCHours(),
        minute: time.getUTCMinutes(),
        second: time.getUTCSeconds(),
        millis: time.getUTCMilliseconds(),
      }
    : {
        year: time.getFullYear(),
        month: time.getMonth() + 1,
        day: time.getDate(),
        hour: time.getHours(),
        minute: time.getMinutes(),
        second: time.getSeconds(),
        millis: time.getMilliseconds(),
      };
}

/** `2026-11-23 22:10:05`, with `Z` in UTC; the text itself if it is not a time. */
export function fullTime(text: string | null | undefined, zone: Zone): string {
  if (!text) return '–';
  const time = new Date(text);
  if (Number.isNaN(time.getTime())) return text;
  const p = parts(time, zone);
  const clock = `${two(p.hour)}:${two(p.minute)}:${two(p.second)}`;
  return `${p.year}-${two(p.month)}-${two(p.day)} ${clock}${zone === 'utc' ? 'Z' : ''}`;
}

/** `22:10:05.123`: for rows whose day is known from around them. */
export function clockTime(text: string | null | undefined, zone: Zone): string {
  if (!text) return '–';
  const time = new Date(text);
  if (Number.isNaN(time.getTime())) return text;
  const p = parts(time, zone);
  return `${two(p.hour)}:${two(p.minute)}:${two(p.second)}.${String(p.millis).padStart(3, '0')}`;
}

export function dayOf(text: string, zone: Zone): string {
  const time = new Date(text);
  if (Number.isNaN(time.getTime())) return text;
  const p = parts(time, zone);
  return `${p.year}-${two(p.month)}-${two(p.day)}`;
}

/** `just now`, `5 min ago`, `3 h ago`, `2 d ago`. */
export function agoTime(text: string | null | undefined, now: number): string {
  if (!text) return '–';
  const time = Date.parse(text);
  if (Number.isNaN(time)) return text;
  const age = now - time;
  if (age < -MINUTE) return 'in the future';
  if (age < 45_000) return 'just now';
  if (age < HOUR) return `${Math.max(1, Math.round(age / MINUTE))} min ago`;
  if (age < 36 * HOUR) return `${Math.round(age / HOUR)} h ago`;
  return `${Math.round(age / DAY)} d ago`;
}

/** `850 ms`, `4.2 s`, `3 min`, `5 h`, `2 d`. */
export function spanTime(from: string | null | undefined, to: string | null | undefined): string {
  if (!from || !to) return '–';
  const span = Date.parse(to) - Date.parse(from);
  if (Number.isNaN(span)) return '–';
  if (span < 1000) return `${Math.max(0, Math.round(span))} ms`;
  if (span < MINUTE) return `${(span / 1000).toFixed(1)} s`;
  if (span < HOUR) return `${Math.round(span / MINUTE)} min`;
  if (span < 2 * DAY) return `${Math.round(span / HOUR)} h`;
  return `${Math.round(span / DAY)} d`;
}

/** The ranges that the header offers; the server reads the same words in `since`. */
export const RANGES = ['1h', '24h', '7d', '30d', '90d', '180d'] as const;
export type Range = (typeof RANGES)[number];
export const RANGE_DEFAULT: Range = '30d';

export function asRange(text: string | null | undefined): Range {
  return RANGES.find((range) => range === text) ?? RANGE_DEFAULT;
}

export function rangeMillis(range: Range): number {
  const count = Number.parseInt(range, 10);
  return range.endsWith('h') ? count * HOUR : count * DAY;
}

/** How wide one bar of a chart is, so that a range gives 24 to 90 bars. */
export function bucketMillis(range: Range): number {
  switch (range) {
    case '1h':
      return 2 * MINUTE;
    case '24h':
      return HOUR;
    case '7d':
      return 6 * HOUR;
    case '180d':
      return 2 * DAY;
    default:
      return DAY;
  }
}

/** The range as the hunting API takes it: an ISO 8601 duration back from now. */
export function timespanOf(range: Range): string {
  return range.endsWith('h') ? `PT${range.slice(0, -1)}H` : `P${range.slice(0, -1)}D`;
}
