import type { AccessRole, Assignment, DeviceGroup, GroupRule } from '../api/access';

// What the page Access decides without a browser.

/** The address that a one-time link is: the server may give the whole of it, or only its secret. */
export function signInAddress(link: string, origin: string): string {
  return /^https?:/.test(link) ? link : `${origin}/sign-in?link=${encodeURIComponent(link)}`;
}

/** `Web servers (EU)` → `web-servers-eu`: an id that the server takes, unlike those that there are. */
export function idOf(name: string, taken: readonly string[]): string {
  const word = name
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-+|-+$/g, '')
    .slice(0, 40);
  const base = word === '' ? 'group' : word;
  // `preview` is the address that shows what a group would hold.
  for (let i = 1; ; i += 1) {
    const id = i === 1 ? base : `${base}-${i}`;
    if (!taken.includes(id) && id !== 'preview') return id;
  }
}

/** Rules that can be sent: those with a value. */
export function usable(rules: readonly GroupRule[]): GroupRule[] {
  return rules.map((r) => ({ ...r, value: r.value.trim() })).filter((r) => r.value !== '');
}

/** The rank after a step up or down; null where there is no further place. The default group stays last. */
export function stepped(groups: readonly DeviceGroup[], id: string, step: -1 | 1): number | null {
  const ranked = groups.filter((g) => g.id !== 'ungrouped').sort((a, b) => a.rank - b.rank);
  const at = ranked.findIndex((g) => g.id === id);
  const to = at + step;
  return at < 0 || to < 0 || to >= ranked.length ? null : to + 1;
}

/** Where an assignment holds, with names for ids. */
export function scopeName(a: Assignment, names: ReadonlyMap<string, string>): string {
  return a.scopeKind === 'Tenant' ? '' : (names.get(a.scope) ?? a.scope);
}

/** Actions by the roles that give them: rows of the table of rights. */
export function rights(roles: readonly AccessRole[], action: string): string[] {
  return roles.filter((r) => r.actions.includes(action)).map((r) => r.name);
}
