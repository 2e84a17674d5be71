import { describe, expect, it } from 'vitest';
import { cellText, dynamicValue, timespanMillis, viewRows } from './results';

const columns = [
  { name: 'n', type: 'long' },
  { name: 's', type: 'string' },
];
const rows = [
  [10, 'beta'],
  [9, 'Alpha'],
  [null, 'alpha'],
  [10, ''],
];

describe('rows are ordered and filtered in place', () => {
  it.each([
    [null, {}, [0, 1, 2, 3]],
    ['n', {}, [1, 0, 3, 2]],
    ['-n', {}, [0, 3, 1, 2]],
    ['s', {}, [1, 2, 0, 3]],
    [null, { s: 'ALPHA' }, [1, 2]],
    ['-n', { s: 'a', n: '9' }, [1]],
    ['gone', { gone: 'x' }, [0, 1, 2, 3]],
  ])('%s %j', (sort, filters, want) => expect(viewRows(rows, columns, { sort, filters })).toEqual(want));
});

it('timespans are read', () => {
  expect(timespanMillis('1.02:03:04.5')).toBe(93_784_500);
  expect(timespanMillis('-00:00:01')).toBe(-1000);
  expect(timespanMillis('soon')).toBeNull();
});

it('dynamic values are read from text, plain text stays', () => {
  expect(dynamicValue('{"a":[1]}')).toEqual({ a: [1] });
  expect(dynamicValue('17')).toBe('17');
  expect(dynamicValue('{')).toBe('{');
});

it('a cell draws a bounded part', () => {
  expect(cellText('x'.repeat(1000)).length).toBe(401);
  expect(cellText(null)).toBe('');
  expect(cellText({ a: 1 })).toBe('{"a":1}');
});
