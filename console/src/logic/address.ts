// Every state of a view is in the URL, so that a bookmark or a link to a colleague shows the same thing.

export type Change = Record<string, string | readonly string[] | null | undefined>;

/** A list in one parameter, `a,b`; empty parts and repeats dropped. */
export function listOf(text: string | null | undefined): string[] {
  if (!text) return [];
  return [...new Set(text.split(',').map((part) => part.trim()))].filter((part) => part !== '');
}

/** The search text with some parameters changed; null, undefined, '' and [] take a parameter away. */
export function changed(search: string, change: Change): string {
  const params = new URLSearchParams(search);
  for (const [name, value] of Object.entries(change)) {
    const text = Array.isArray(value) ? value.join(',') : value;
    if (text === null || text === undefined || text === '') params.delete(name);
    else params.set(name, text as string);
  }
  // Commas are legal in a query, and lists are read by people.
  const text = params.toString().replaceAll('%2C', ',');
  return text ? `?${text}` : '';
}

/** Where a link leads: the global time range goes along, everything else is the page's own. */
export function href(path: string, search: string, change: Change = {}): string {
  const since = new URLSearchParams(search).get('since');
  return path + changed('', { since, ...change });
}

export interface Without {
  field: string;
  value: string;
}

/** Values filtered out: `not=account:root|device:web-1`, each part percent-encoded by the URL itself. */
export function withoutOf(text: string | null | undefined): Without[] {
  if (!text) return [];
  return text.split('|').flatMap((part) => {
    const colon = part.indexOf(':');
    return colon > 0 && colon < part.length - 1
      ? [{ field: part.slice(0, colon), value: part.slice(colon + 1).replaceAll('%7C', '|') }]
      : [];
  });
}

export function withoutText(list: readonly Without[]): string {
  return list.map((w) => `${w.field}:${w.value.replaceAll('|', '%7C')}`).join('|');
}

/** Where a sign-in may send the user on to: a path of this console, never another site. */
export function safeNext(next: string | null): string {
  return next?.startsWith('/') && !next.startsWith('//') && !next.startsWith('/\\') && !next.startsWith('/sign-in')
    ? next
    : '/';
}
