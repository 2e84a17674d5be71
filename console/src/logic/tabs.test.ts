import { expect, it } from 'vitest';
import { changedTab, closed, firstTabs, opened, readTabs, storedText, TABS_MAX } from './tabs';

it('a query opens in a tab of its own, the same query in the same tab', () => {
  let state = changedTab(firstTabs(), 't1', { text: 'A' });
  state = opened(state, 'B');
  expect(state.tabs.map((tab) => tab.text)).toEqual(['A', 'B']);
  state = opened(state, 'A');
  expect([state.active, state.tabs.length]).toEqual(['t1', 2]);
});

it('an empty tab gives its place', () => {
  expect(opened(firstTabs(), 'A').tabs.map((tab) => tab.title)).toEqual(['Query 2']);
});

it('closing goes to the neighbour, and one tab is always there', () => {
  let state = opened(changedTab(firstTabs(), 't1', { text: 'A' }), 'B');
  state = closed(state, 't2');
  expect(state.active).toBe('t1');
  expect(closed(state, 't1').tabs.map((tab) => tab.text)).toEqual(['']);
});

it('there are never too many', () => {
  let state = firstTabs();
  for (let i = 0; i < TABS_MAX + 10; i += 1) state = opened(state, `Q${i}`);
  expect([state.tabs.length, state.tabs.at(-1)?.text]).toEqual([TABS_MAX, `Q${TABS_MAX + 9}`]);
});

it('what was stored comes back, and strange texts do not', () => {
  const state = opened(changedTab(firstTabs(), 't1', { text: 'A' }), 'B', 'Mine', 's1');
  expect(readTabs(storedText(state))).toEqual(state);
  for (const text of [null, '', '{', '[]', '{"tabs":[{"id":1}]}', '{"tabs":{}}', '7'])
    expect(readTabs(text).tabs.length).toBe(1);
});
