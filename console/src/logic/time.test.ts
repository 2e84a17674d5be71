import { expect, test } from 'vitest';
import { BUCKETS_MAX, buckets, stepName } from './buckets';
import { agoTime, asRange, bucketMillis, clockTime, fullTime, RANGES, rangeMillis, spanTime } from './time';

const AT = '2026-11-23T22:10:05.123456Z';

test('times in UTC say so', () => {
  expect(fullTime(AT, 'utc')).toBe('2026-11-23 22:10:05Z');
  expect(clockTime(AT, 'utc')).toBe('22:10:05.123');
  expect(fullTime(AT, 'local')).toMatch(/^2026-11-2[34] \d\d:\d\d:05$/);
});

test('what is no time is shown as it came', () => {
  expect(fullTime('yesterday', 'utc')).toBe('yesterday');
  expect(fullTime(null, 'utc')).toBe('–');
  expect(spanTime('x', AT)).toBe('–');
});

test('ages are rounded to what matters', () => {
  const now = Date.parse(AT);
  expect(agoTime(AT, now + 10_000)).toBe('just now');
  expect(agoTime(AT, now + 5 * 60_000)).toBe('5 min ago');
  expect(agoTime(AT, now + 26 * 3_600_000)).toBe('26 h ago');
  expect(agoTime(AT, now + 5 * 86_400_000)).toBe('5 d ago');
  expect(agoTime(AT, now - 3_600_000)).toBe('in the future');
});

test('spans name one unit', () => {
  expect(spanTime(AT, '2026-11-23T22:10:05.973Z')).toBe('850 ms');
  expect(spanTime(AT, '2026-11-23T22:13:05Z')).toBe('3 min');
});

test('an unknown range is the default one', () => {
  expect(asRange('7d')).toBe('7d');
  expect(asRange('7 days')).toBe('30d');
});

test('every range has a readable number of bars', () => {
  for (const range of RANGES) {
    const steps = buckets(0, rangeMillis(range), bucketMillis(range));
    expect(steps.length, range).toBeGreaterThanOrEqual(24);
    expect(steps.length, range).toBeLessThanOrEqual(90);
  }
  expect(buckets(0, Number.MAX_SAFE_INTEGER, 1).length).toBe(BUCKETS_MAX);
  expect(stepName(Date.parse('2026-11-23T00:00:00Z'), 86_400_000, 'utc')).toBe('11-23');
  expect(stepName(Date.parse('2026-11-23T05:02:00Z'), 120_000, 'utc')).toBe('05:02');
});
