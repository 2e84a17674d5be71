import { useSyncExternalStore } from 'react';
import { ApiError } from '../api/client';
import { type Diagnostic, hunting, type Progress, type RunAnswer } from '../api/hunting';
import { boundsTime } from '../logic/kql';
import { type Range, timespanOf } from '../logic/time';

// One run for each tab, with its answer. A result remembers the query, the time range and the caps it came from,
// whatever happens to the text afterwards.

export interface Run {
  id: string;
  query: string;
  /** Where the query started in the tab's text. */
  offset: number;
  /** The global range it ran over; null where its text bounds the time. */
  range: Range | null;
  started: number;
  phase: 'running' | 'done' | 'failed' | 'cancelled';
  progress: Progress | null;
  answer: RunAnswer | null;
  error: unknown;
  diagnostics: Diagnostic[];
}

/** The event stream tells of a query within half a second; asking is for when it does not. */
const FIRST_PROGRESS_MS = 1_200;
const PROGRESS_MS = 700;
/** A stream that says nothing of a running query for so long is not there. */
const SILENT_MS = 2_000;
/** Results that are kept: each may hold 30,000 rows. */
const RESULTS_MAX = 8;
/** Rows that the grid takes; more are for the export. */
export const ROWS_MAX = 30_000;

const runs = new Map<string, Run>();
const aborts = new Map<string, AbortController>();
const listeners = new Set<() => void>();

function put(tab: string, run: Run): void {
  runs.delete(tab);
  runs.set(tab, run);
  const kept = [...runs].filter(([, r]) => r.answer);
  for (const [old] of kept.slice(0, Math.max(0, kept.length - RESULTS_MAX))) runs.delete(old);
  for (const listener of [...listeners]) listener();
}

/** A UUID; `crypto.randomUUID` is only there on secure origins, and a console may be on plain HTTP in a lab. */
function uuid(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const hex = [...bytes].map((b) => b.toString(16).padStart(2, '0')).join('');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

function diagnosticsOf(error: unknown): Diagnostic[] {
  const found = error instanceof ApiError ? error.problem.diagnostics : null;
  return Array.isArray(found) ? (found as Diagnostic[]) : [];
}

/** When the event stream last told of a query. */
let told = 0;

/** Progress of a query of ours, from the event stream. */
export function progressTold(progress: Progress): void {
  told = Date.now();
  // A copy: putting a run moves it to the end of the map.
  for (const [tab, run] of [...runs]) {
    if (run.id === progress.id && run.phase === 'running') put(tab, { ...run, progress });
  }
}

/** Asks for progress while the event stream is silent. */
async function watch(tab: string, id: string, signal: AbortSignal): Promise<void> {
  const wait = (ms: number) => new Promise((done) => window.setTimeout(done, ms));
  await wait(FIRST_PROGRESS_MS);
  while (!signal.aborted && runs.get(tab)?.id === id && runs.get(tab)?.phase === 'running') {
    try {
      if (Date.now() - told < SILENT_MS) {
        await wait(PROGRESS_MS);
        continue;
      }
      const progress = await hunting.progress(id, signal);
      const run = runs.get(tab);
      if (run?.id === id && run.phase === 'running') put(tab, { ...run, progress });
    } catch {
      // 404: it has ended, and its answer is on the way.
    }
    await wait(PROGRESS_MS);
  }
}

export async function startRun(tab: string, query: string, offset: number, range: Range): Promise<Run> {
  cancelRun(tab);
  const id = uuid();
  const own = boundsTime(query);
  const abort = new AbortController();
  aborts.set(tab, abort);
  const first: Run = {
    id,
    query,
    offset,
    range: own ? null : range,
    started: Date.now(),
    phase: 'running',
    progress: null,
    answer: null,
    error: null,
    diagnostics: [],
  };
  put(tab, first);
  void watch(tab, id, abort.signal);
  let last: Run;
  try {
    const body = { query, id, rowsMax: ROWS_MAX, ...(own ? {} : { timespan: timespanOf(range) }) };
    const answer = await hunting.run(body, abort.signal);
    last = { ...first, phase: 'done', answer, diagnostics: answer.diagnostics ?? [] };
  } catch (error) {
    const cancelled = abort.signal.aborted || (error instanceof ApiError && error.code === 'query_cancelled');
    last = { ...first, phase: cancelled ? 'cancelled' : 'failed', error, diagnostics: diagnosticsOf(error) };
  }
  if (runs.get(tab)?.id === id) put(tab, last);
  abort.abort();
  return last;
}

export function cancelRun(tab: string): void {
  const run = runs.get(tab);
  if (run?.phase !== 'running') return;
  put(tab, { ...run, phase: 'cancelled' });
  // The server is told; it also notices that nobody waits any more.
  void hunting.cancel(run.id).catch(() => undefined);
  aborts.get(tab)?.abort();
}

export function dropRun(tab: string): void {
  cancelRun(tab);
  runs.delete(tab);
}

export function useRun(tab: string): Run | null {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => runs.get(tab) ?? null,
  );
}
