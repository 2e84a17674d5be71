import type { SavedQuery } from '../api/hunting';

export interface Folder {
  path: string;
  items: SavedQuery[];
}

/** Saved queries by folder, the top first, each in the order of names. */
export function foldersOf(saved: readonly SavedQuery[]): Folder[] {
  const folders = new Map<string, SavedQuery[]>();
  for (const item of [...saved].sort((a, b) => a.name.localeCompare(b.name))) {
    const items = folders.get(item.folder);
    if (items) items.push(item);
    else folders.set(item.folder, [item]);
  }
  return [...folders].map(([path, items]) => ({ path, items })).sort((a, b) => a.path.localeCompare(b.path));
}
