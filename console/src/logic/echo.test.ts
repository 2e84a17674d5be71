import { expect, test } from 'vitest';
import { Echoes } from './echo';

test('what was typed comes back late and undoes nothing', () => {
  const echoes = new Echoes();
  let editor = '';
  for (const text of ['w', 'wh', 'whe']) {
    editor = text;
    echoes.tell(text);
  }
  expect(echoes.replaces(editor, 'w')).toBe(false);
  expect(echoes.replaces(editor, 'wh')).toBe(false);
  expect(echoes.replaces(editor, 'whe')).toBe(false);
});

test('a text of the page replaces, also one that was typed long ago', () => {
  const echoes = new Echoes();
  echoes.tell('a');
  echoes.tell('ab');
  expect(echoes.replaces('ab', 'saved query')).toBe(true);
  expect(echoes.replaces('ab', 'ab')).toBe(false);
  expect(echoes.replaces('ab', 'a')).toBe(true);
});

test('the memory of a page that never answers is bounded', () => {
  const echoes = new Echoes();
  for (let i = 0; i < 100_000; i++) echoes.tell(`text ${i}`);
  expect(Reflect.get(echoes, 'told').size).toBeLessThanOrEqual(200);
});
