import { expect, test } from 'vitest';
import { changed, href, listOf, safeNext, withoutOf, withoutText } from './address';

test('a filter goes into the address and out again', () => {
  const search = changed('?since=7d', { status: ['Active', 'InProgress'], q: 'a b&c' });
  expect(search).toBe('?since=7d&status=Active,InProgress&q=a+b%26c');
  expect(listOf(new URLSearchParams(search).get('status'))).toEqual(['Active', 'InProgress']);
  expect(new URLSearchParams(search).get('q')).toBe('a b&c');
  expect(changed(search, { status: null, q: '', since: undefined })).toBe('');
});

test('a link keeps the time range and nothing else', () => {
  expect(href('/alerts', '?since=24h&status=New&sel=x', { q: 'bash' })).toBe('/alerts?since=24h&q=bash');
  expect(href('/alerts', '?sel=x')).toBe('/alerts');
});

test('values filtered out survive colons, bars and line ends', () => {
  const list = [
    { field: 'user', value: 'a|b' },
    { field: 'device', value: 'host:9' },
  ];
  expect(withoutOf(withoutText(list))).toEqual(list);
  expect(withoutOf(':x|y|user:')).toEqual([]);
  expect(withoutOf(null)).toEqual([]);
});

test('lists drop what is empty and what repeats', () => {
  expect(listOf('a,,b, a ')).toEqual(['a', 'b']);
});

test('a sign-in never leads to another site', () => {
  for (const bad of [
    '//evil.example',
    'https://evil.example',
    '/\\evil.example',
    'javascript:alert(1)',
    '/sign-in?next=/',
    null,
  ]) {
    expect(safeNext(bad)).toBe('/');
  }
  expect(safeNext('/incidents/4?tab=alerts')).toBe('/incidents/4?tab=alerts');
});
