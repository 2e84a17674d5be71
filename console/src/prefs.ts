import { useSyncExternalStore } from 'react';
import type { Zone } from './logic/time';

export type ThemeName = 'system' | 'light' | 'dark' | 'contrast';

/** What belongs to the person and not to the view: theme, zone, columns that are hidden. Kept in this browser. */
export interface Prefs {
  theme: ThemeName;
  zone: Zone;
  hidden: Record<string, string[]>;
  /** The hunting page: whether its side is open, and how high the editor is in pixels. */
  hunting: { side: boolean; editor: number };
}

const KEY = 'garrison.prefs';
const FIRST: Prefs = { theme: 'system', zone: 'utc', hidden: {}, hunting: { side: true, editor: 210 } };

function read(): Prefs {
  try {
    const value: unknown = JSON.parse(window.localStorage.getItem(KEY) ?? 'null');
    if (typeof value === 'object' && value !== null) return { ...FIRST, ...(value as Partial<Prefs>) };
  } catch {
    // A browser without storage, or somebody else's text under our key: start afresh.
  }
  return FIRST;
}

let prefs: Prefs | null = null;
const listeners = new Set<() => void>();

export function prefsNow(): Prefs {
  prefs ??= read();
  return prefs;
}

export function setPrefs(change: Partial<Prefs>): void {
  prefs = { ...prefsNow(), ...change };
  try {
    window.localStorage.setItem(KEY, JSON.stringify(prefs));
  } catch {
    // Without storage the choice lasts as long as the page.
  }
  for (const listener of [...listeners]) listener();
}

export function usePrefs(): Prefs {
  return useSyncExternalStore((listener) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, prefsNow);
}
