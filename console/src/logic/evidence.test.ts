import { expect, it } from 'vitest';
import { evidenceText } from './evidence';

const columns = ['Id', 'FileName', 'Timestamp'].map((name) => ({ name, type: 'string' }));
const found = { title: 'Found', note: '', query: 'T | take 1', link: 'https://x/hunting?q=T' };

it('rows are told with what matters first, and the query is linked', () => {
  expect(evidenceText(found, [['7', 'sh', '2026']], columns)).toBe(
    'Found\n\nhttps://x/hunting?q=T\n\nT | take 1\n\nTimestamp=2026 FileName=sh Id=7',
  );
});

it('a comment is never longer than the server takes, and says how many rows were left out', () => {
  const many = Array.from({ length: 100 }, (_, i) => [String(i), 'x'.repeat(500), '2026']);
  const text = evidenceText({ ...found, query: 'q'.repeat(9_000), note: 'n'.repeat(2_000) }, many, columns);
  expect(text.length).toBeLessThanOrEqual(4_096);
  expect(text).toMatch(/\(\+\d+\)$/);
});
