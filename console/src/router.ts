import { useCallback, useMemo, useSyncExternalStore } from 'react';
import { type Change, changed } from './logic/address';

// A router of one screen: the address is the state, pages are chosen by the first parts of the path in app.tsx.

const listeners = new Set<() => void>();

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  window.addEventListener('popstate', listener);
  return () => {
    listeners.delete(listener);
    window.removeEventListener('popstate', listener);
  };
}

function current(): string {
  return window.location.pathname + window.location.search;
}

export function go(to: string, options: { replace?: boolean } = {}): void {
  if (to === current()) return;
  if (options.replace) window.history.replaceState(null, '', to);
  else window.history.pushState(null, '', to);
  for (const listener of [...listeners]) listener();
}

export interface Place {
  path: string;
  search: string;
  params: URLSearchParams;
  parts: string[];
}

export function usePlace(): Place {
  const at = useSyncExternalStore(subscribe, current);
  return useMemo(() => {
    const question = at.indexOf('?');
    const path = question < 0 ? at : at.slice(0, question);
    const search = question < 0 ? '' : at.slice(question);
    return { path, search, params: new URLSearchParams(search), parts: path.split('/').filter(Boolean) };
  }, [at]);
}

/** Changes parameters of the address; filters replace the entry, so that Back leaves the list and not a filter. */
export function useParamChange(): (change: Change, push?: boolean) => void {
  return useCallback((change: Change, push = false) => {
    go(window.location.pathname + changed(window.location.search, change), { replace: !push });
  }, []);
}
