import { expect, test } from 'vitest';
import { brief, bytes, CLASSIFICATIONS, determinationFor, determinationsOf, spaced, worstSeverity } from './words';

test('only determinations that fit go with a classification', () => {
  expect(CLASSIFICATIONS.map((c) => determinationsOf(c).length)).toEqual([7, 4, 3]);
  expect(determinationsOf('FalsePositive')).not.toContain('Malware');
  expect(determinationsOf(null)).toEqual([]);
});

test('a determination that still fits stays when the classification changes', () => {
  expect(determinationFor('FalsePositive', 'Malware')).toBe('Clean');
  expect(determinationFor('FalsePositive', 'Other')).toBe('Other');
  expect(determinationFor('TruePositive', null)).toBe('MultiStagedAttack');
});

test('words are spaced and figures are short', () => {
  expect(spaced('CommandAndControl')).toBe('Command and control');
  expect(spaced('T1059.004')).toBe('T1059.004');
  expect(brief(9_999)).toBe('9,999');
  expect(brief(12_345)).toBe('12.3k');
  expect(brief(4_000_000)).toBe('4M');
  expect(bytes(999)).toBe('999 B');
  expect(bytes(48_231_334_112)).toBe('48.2 GB');
});

test('the worst severity wins', () => {
  expect(worstSeverity(['Low', 'High', 'Medium'])).toBe('High');
  expect(worstSeverity([])).toBe('UnSpecified');
});
