import { describe, expect, it } from 'vitest';
import { blockAt, blocks, boundsTime, comparison, withFilter } from './kql';

describe('blocks are parted by blank lines', () => {
  it.each([
    ['A | take 1\n\nB | take 2', ['A | take 1', 'B | take 2']],
    ['let x = 1;\n\nA | take x', ['let x = 1;\n\nA | take x']],
    ['A\n\n| take 1', ['A\n\n| take 1']],
    ['// what it is\n\nA', ['// what it is\n\nA']],
    ['print ```a\n\nb```\n\nB', ['print ```a\n\nb```', 'B']],
    ['\n\n  \n', []],
    ['A // "\n\nB', ['A // "', 'B']],
  ])('%j', (text, want) => expect(blocks(text).map((b) => b.text)).toEqual(want));
});

it('the block under the cursor is run', () => {
  const text = 'A | take 1\n\nB | take 2\n';
  const at = (position: number) => blockAt(text, position)?.text;
  expect(at(0)).toBe('A | take 1');
  expect(at(10)).toBe('A | take 1');
  expect(at(11)).toBe('A | take 1');
  expect(at(12)).toBe('B | take 2\n');
  expect(at(text.length)).toBe('B | take 2\n');
  expect(blockAt('', 0)).toBeNull();
});

describe('a text that compares Timestamp bounds the time itself', () => {
  it.each([
    ['T | where Timestamp > ago(1d)', true],
    ['T | where Timestamp between (ago(2d) .. ago(1d))', true],
    ['T | where Timestamp !between (ago(2d) .. ago(1d))', true],
    ['T | where ago(1d) <= Timestamp', true],
    ['T | summarize count() by bin(Timestamp, 1h)', false],
    ['T | where A == "Timestamp > ago(1d)"', false],
    ['T // Timestamp > ago(1d)', false],
    ['T | project Timestamp, FileName', false],
  ])('%j', (text, want) => expect(boundsTime(text)).toBe(want));
});

describe('a filter goes to the end, but before render', () => {
  it.each([
    ['T', 'T\n| where X'],
    ['T | take 1', 'T | take 1\n| where X'],
    ['T\n| summarize count() by A\n| render barchart', 'T\n| summarize count() by A\n| where X\n| render barchart'],
    ['T | render table with (title="a | b")', 'T\n| where X\n| render table with (title="a | b")'],
    ['T; ', 'T\n| where X; '],
    ['T // no | render here', 'T\n| where X\n// no | render here'],
    ['T | join (U | render table) on A', 'T | join (U | render table) on A\n| where X'],
    ['print "| render"', 'print "| render"\n| where X'],
  ])('%j', (query, want) => expect(withFilter(query, 'X')).toBe(want));
});

describe('a value becomes a comparison of its type', () => {
  it.each([
    ['A', 'string', 'x"\\y', true, 'A == "x\\"\\\\y"'],
    ['A', 'string', '', false, 'isnotempty(A)'],
    ['A', 'long', 5, false, 'A != 5'],
    ['A', 'datetime', '2026-01-02T03:04:05.000000Z', true, 'A == datetime(2026-01-02T03:04:05.000000Z)'],
    ['A', 'dynamic', { a: 1 }, true, 'tostring(A) == "{\\"a\\":1}"'],
    ['A', 'bool', null, true, 'isnull(A)'],
    ["it's", 'int', 1, true, "['it\\'s'] == 1"],
  ])('%s %s %j', (name, type, value, keep, want) => expect(comparison(name, type, value, keep)).toBe(want));
});
