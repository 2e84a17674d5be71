import type { ResultColumn } from '../logic/results';
export function PromoteDialog(_: { query: string; columns: ResultColumn[]; title: string; close: () => void }) {
  return null;
}
