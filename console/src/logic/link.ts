import type { EntityType } from '../api/types';
import { ENTITY_TYPES, entityChoices } from './detections';
import type { ResultColumn, ResultRow } from './results';

// Rows of a hunt on their way into an incident. The server derives entities from the columns' names; an analyst may name
// further columns.

/** Rows that go into an incident at once, as the server takes them. */
export const LINK_ROWS_MAX = 100;

/** Kinds that a column can hold; the machine is the row's device. */
export const LINK_TYPES: readonly EntityType[] = ENTITY_TYPES.filter((type) => type !== 'Machine');

/** Columns whose name tells the kind of what they hold. */
export function told(type: EntityType, columns: readonly ResultColumn[]): string[] {
  const own = ['LocalIP', 'PublicIP'];
  return entityChoices(type, columns).filter((name) => !own.includes(name));
}

/** Whether the rows say which device they are about. */
export function namesDevice(columns: readonly ResultColumn[]): boolean {
  return columns.some((c) => c.name === 'DeviceId' || c.name === 'DeviceName');
}

/** Rows as objects, values that are not there left out. */
export function rowObjects(rows: readonly ResultRow[], columns: readonly ResultColumn[]): Record<string, unknown>[] {
  return rows.map((row) =>
    Object.fromEntries(
      columns.map((c, i) => [c.name, row[i]] as const).filter(([, value]) => value !== null && value !== undefined),
    ),
  );
}
