import { dayOf, fullTime, type Zone } from './time';

const DAY = 86_400_000;
/** Bars of a chart at most; a wider range gets wider bars. */
export const BUCKETS_MAX = 400;

/** Starts of equal steps that cover a range, laid on whole multiples of their width. */
export function buckets(from: number, until: number, width: number): number[] {
  const starts: number[] = [];
  for (let at = Math.floor(from / width) * width; at < until && starts.length < BUCKETS_MAX; at += width)
    starts.push(at);
  return starts;
}

/** What stands below a bar: the day, or the clock where bars are narrower than a day. */
export function stepName(start: number, width: number, zone: Zone): string {
  const text = new Date(start).toISOString();
  const day = dayOf(text, zone).slice(5);
  return width >= DAY
    ? day
    : width >= DAY / 4
      ? `${day} ${fullTime(text, zone).slice(11, 16)}`
      : fullTime(text, zone).slice(11, 16);
}
