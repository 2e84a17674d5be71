import { useSyncExternalStore } from 'react';
import { changedTab, closed, firstTabs, opened, readTabs, storedText, type Tab, type Tabs } from '../logic/tabs';

// The tabs of the person who is signed in, kept in this browser. A module and not a component holds them, so that
// leaving the page loses nothing.

/** Typing is stored this long after it stops. */
const STORE_MS = 400;

let owner = '';
let state: Tabs = firstTabs();
let timer: number | null = null;
const listeners = new Set<() => void>();

const key = () => `garrison.hunting.${owner}`;

function store(): void {
  timer = null;
  try {
    window.localStorage.setItem(key(), storedText(state));
  } catch {
    // Without storage, or with a full one, the tabs last as long as the page.
  }
}

function set(next: Tabs): void {
  state = next;
  if (timer !== null) window.clearTimeout(timer);
  timer = window.setTimeout(store, STORE_MS);
  for (const listener of [...listeners]) listener();
}

window.addEventListener('pagehide', () => {
  if (timer !== null) {
    window.clearTimeout(timer);
    store();
  }
});

/** Reads the tabs of this person; called before the first use. */
export function tabsOf(user: string): void {
  if (user === owner) return;
  if (timer !== null) {
    window.clearTimeout(timer);
    store();
  }
  owner = user;
  try {
    state = readTabs(window.localStorage.getItem(key()));
  } catch {
    state = firstTabs();
  }
}

export const tabs = {
  now: () => state,
  active: (): Tab | undefined => state.tabs.find((tab) => tab.id === state.active),
  open: (text: string, title?: string, saved: string | null = null) => {
    set(opened(state, text, title, saved));
    return state.active;
  },
  close: (id: string) => set(closed(state, id)),
  choose: (id: string) => set({ ...state, active: id }),
  change: (id: string, change: Partial<Omit<Tab, 'id'>>) => set(changedTab(state, id, change)),
};

export function useTabs(): Tabs {
  return useSyncExternalStore((listener) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, tabs.now);
}
