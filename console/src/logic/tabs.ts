import { QUERY_CHARS_MAX } from './kql';

// The tabs of the hunting page: plain data and pure changes. hunting/tabs.ts keeps them in the browser.

export interface Tab {
  id: string;
  /** What the person called it; without a name it is numbered. */
  title: string;
  text: string;
  /** The saved query it came from. */
  saved: string | null;
}

export interface Tabs {
  tabs: Tab[];
  active: string;
  /** Number of the next unnamed tab. */
  next: number;
}

/** Tabs that are kept: with full texts this stays within what browsers store for a site. */
export const TABS_MAX = 24;
/** Characters over all tabs that are stored. */
const STORED_CHARS_MAX = 1_500_000;

function numbered(state: Tabs, text: string, title?: string): [Tab, number] {
  const fresh = !title;
  return [
    {
      id: `t${state.next}`,
      title: fresh ? `Query ${state.next}` : title,
      text: text.slice(0, QUERY_CHARS_MAX),
      saved: null,
    },
    state.next + 1,
  ];
}

export function firstTabs(): Tabs {
  const empty: Tabs = { tabs: [], active: '', next: 1 };
  return opened(empty, '');
}

/** A new tab in front; an empty one that was never used gives its place. */
export function opened(state: Tabs, text: string, title?: string, saved: string | null = null): Tabs {
  const same = state.tabs.find((tab) => tab.text === text && text !== '' && tab.saved === saved);
  if (same) return { ...state, active: same.id };
  const [tab, next] = numbered(state, text, title);
  const now = state.tabs.find((t) => t.id === state.active);
  const kept = now && now.text.trim() === '' && text !== '' ? state.tabs.filter((t) => t !== now) : state.tabs;
  const room = kept.length >= TABS_MAX ? kept.slice(kept.length - TABS_MAX + 1) : kept;
  return { tabs: [...room, { ...tab, saved }], active: tab.id, next };
}

export function closed(state: Tabs, id: string): Tabs {
  const at = state.tabs.findIndex((tab) => tab.id === id);
  if (at < 0) return state;
  const tabs = state.tabs.filter((tab) => tab.id !== id);
  if (tabs.length === 0) return opened({ ...state, tabs, active: '' }, '');
  const active = state.active === id ? (tabs[Math.min(at, tabs.length - 1)]?.id ?? '') : state.active;
  return { ...state, tabs, active };
}

export function changedTab(state: Tabs, id: string, change: Partial<Omit<Tab, 'id'>>): Tabs {
  return { ...state, tabs: state.tabs.map((tab) => (tab.id === id ? { ...tab, ...change } : tab)) };
}

/** What the browser kept, if it is ours; texts of somebody else under our key are not. */
export function readTabs(text: string | null): Tabs {
  try {
    const value = JSON.parse(text ?? 'null') as Partial<Tabs> | null;
    const tabs = (Array.isArray(value?.tabs) ? value.tabs : [])
      .filter((tab: Partial<Tab>) => typeof tab?.id === 'string' && typeof tab.text === 'string')
      .slice(0, TABS_MAX)
      .map((tab: Partial<Tab>) => ({
        id: String(tab.id),
        title: typeof tab.title === 'string' ? tab.title.slice(0, 100) : String(tab.id),
        text: String(tab.text).slice(0, QUERY_CHARS_MAX),
        saved: typeof tab.saved === 'string' ? tab.saved : null,
      }));
    if (tabs.length === 0) return firstTabs();
    const highest = Math.max(...tabs.map((tab) => Number(/^t(\d+)$/.exec(tab.id)?.[1] ?? 0)));
    const next = Math.max(typeof value?.next === 'number' ? value.next : 1, highest + 1);
    const active = tabs.some((tab) => tab.id === value?.active) ? String(value?.active) : (tabs[0]?.id ?? '');
    return { tabs, active, next };
  } catch {
    return firstTabs();
  }
}

export function storedText(state: Tabs): string {
  let room = STORED_CHARS_MAX;
  const tabs = state.tabs.map((tab) => {
    const text = tab.text.length <= room ? tab.text : '';
    room -= text.length;
    return { ...tab, text };
  });
  return JSON.stringify({ ...state, tabs });
}
