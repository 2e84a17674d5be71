import { href } from '../logic/address';
import { go } from '../router';

// “Hunt from here”: the query waits here until the page is there, and is run then. An address alone never runs a query:
// it could come from anywhere.

let waiting: { query: string; title?: string } | null = null;
const listeners = new Set<() => void>();

export function huntNow(query: string, title?: string): void {
  waiting = { query, title };
  go(href('/hunting', window.location.search));
  for (const listener of [...listeners]) listener();
}

/** The query that waits, once. */
export function takeHunt(): { query: string; title?: string } | null {
  const now = waiting;
  waiting = null;
  return now;
}

export function onHunt(listener: () => void): () => void {
  listeners.add(listener);
  return () => {
    listeners.delete(listener);
  };
}
