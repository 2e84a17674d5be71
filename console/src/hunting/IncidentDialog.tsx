import type { ResultColumn, ResultRow } from '../logic/results';
export function IncidentDialog(_: { rows: ResultRow[]; columns: ResultColumn[]; query: string; close: () => void }) {
  return null;
}
