import { describe, expect, it } from 'vitest';
import { chartModel, type Render } from './charts';
import type { ResultColumn, ResultRow } from './results';

const columns = (text: string): ResultColumn[] =>
  text.split(',').map((part) => {
    const [name = '', type = ''] = part.split(':');
    return { name, type };
  });
const model = (names: string, rows: ResultRow[], kind: string, properties: Render['properties'] = []) =>
  chartModel(columns(names), rows, { kind, properties });
const T1 = '2026-01-01T00:00:00.000000Z';
const T2 = '2026-01-01T01:00:00.000000Z';

describe('a result becomes series', () => {
  it('time on x, a text column parts the series', () => {
    const m = model(
      'Timestamp:datetime,Device:string,count_:long',
      [
        [T2, 'a', 2],
        [T1, 'a', 1],
        [T1, 'b', 5],
      ],
      'timechart',
    );
    expect(m?.x).toBe('time');
    expect(m?.series.map((s) => [s.name, s.points.map((p) => p[1])])).toEqual([
      ['a', [1, 2]],
      ['b', [5]],
    ]);
  });
  it('make-series gives lists', () => {
    const m = model('d:string,n:dynamic,Timestamp:dynamic', [['a', [1, 2], [T1, T2]]], 'timechart');
    expect(m?.series).toEqual([
      {
        name: 'a',
        points: [
          [Date.parse(T1), 1],
          [Date.parse(T2), 2],
        ],
      },
    ]);
  });
  it('bars have categories', () => {
    const m = model(
      'File:string,count_:long',
      [
        ['sh', 3],
        ['ls', 1],
      ],
      'barchart',
    );
    expect([m?.categories, m?.series[0]?.points]).toEqual([
      ['sh', 'ls'],
      [
        [0, 3],
        [1, 1],
      ],
    ]);
  });
  it('many measures are many series', () => {
    const m = model('File:string,a:long,b:real', [['sh', 3, 0.5]], 'columnchart', [['kind', 'stacked']]);
    expect([m?.series.map((s) => s.name), m?.stack]).toEqual([['a', 'b'], 'stacked']);
  });
  it('scatter takes numbers on x', () => {
    const m = model(
      'x:real,y:real',
      [
        [2, 1],
        [1, 2],
      ],
      'scatterchart',
    );
    expect([m?.x, m?.series[0]?.points]).toEqual([
      'value',
      [
        [2, 1],
        [1, 2],
      ],
    ]);
  });
  it('a pie is sorted, and its small slices are one', () => {
    const m = model(
      'f:string,n:long',
      Array.from({ length: 20 }, (_, i) => [`f${i}`, i + 1]),
      'piechart',
    );
    expect([m?.categories[0], m?.categories.at(-1), m?.cut]).toEqual(['f19', '…', true]);
    expect(m?.series[0]?.points.reduce((sum, p) => sum + p[1], 0)).toBe(210);
  });
  it('properties choose columns and titles', () => {
    const m = model('a:long,b:long,c:string', [[1, 2, 'x']], 'linechart', [
      ['xcolumn', 'b'],
      ['ycolumns', 'a'],
      ['title', 'T'],
    ]);
    expect([m?.title, m?.xTitle, m?.series]).toEqual(['T', 'b', [{ name: 'x', points: [[2, 1]] }]]);
  });
  it('a card shows every number of the first row', () => {
    expect(model('n:long,s:string,r:real', [[5, 'x', 1.5]], 'card')?.series.map((s) => s.name)).toEqual(['n', 'r']);
  });
  it('where nothing can be measured there is no chart', () => {
    expect(model('s:string', [['x']], 'barchart')).toBeNull();
    expect(model('s:string,n:long', [], 'barchart')).toBeNull();
    expect(model('s:string,n:long', [['x', 1]], 'table')).toBeNull();
  });
  it('too many series are cut, and it is said', () => {
    const m = model(
      'f:string,g:string,n:long',
      Array.from({ length: 60 }, (_, i) => ['x', `g${i}`, 1]),
      'columnchart',
    );
    expect([m?.series.length, m?.cut]).toEqual([40, true]);
  });
});
