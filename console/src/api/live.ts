import type { QueryClient } from '@tanstack/react-query';
import { useEffect, useSyncExternalStore } from 'react';
import { progressTold } from '../hunting/runs';
import type { Progress } from './hunting';
import type { Alert, Device, IncidentSummary, TimelineRow } from './types';

// The server's event stream. What arrives makes the lists ask again (they alone know their filters), and marks the
// rows that are new so that the eye finds them.

/** How long a row that just arrived stays marked. */
const FRESH_MS = 8_000;
/** Lists are asked again at most this often, however many events come. */
const REFRESH_MS = 400;
/** Remembered marks; older ones go first. */
const FRESH_MAX = 500;

export type Connection = 'connecting' | 'open' | 'closed';

interface State {
  connection: Connection;
  fresh: ReadonlyMap<string, number>;
  announcement: string;
}

let state: State = { connection: 'connecting', fresh: new Map(), announcement: '' };
const listeners = new Set<() => void>();

function set(change: Partial<State>): void {
  state = { ...state, ...change };
  for (const listener of [...listeners]) listener();
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function useLive(): State {
  return useSyncExternalStore(subscribe, () => state);
}

function mark(key: string, announcement: string): void {
  const fresh = new Map(state.fresh);
  fresh.delete(key);
  fresh.set(key, Date.now() + FRESH_MS);
  for (const first of fresh.keys()) {
    if (fresh.size <= FRESH_MAX) break;
    fresh.delete(first);
  }
  set({ fresh, announcement });
  window.setTimeout(() => {
    if ((state.fresh.get(key) ?? Number.POSITIVE_INFINITY) > Date.now()) return;
    const rest = new Map(state.fresh);
    rest.delete(key);
    set({ fresh: rest });
  }, FRESH_MS + 50);
}

function parsed<T>(event: Event): T | null {
  try {
    return JSON.parse((event as MessageEvent<string>).data) as T;
  } catch {
    return null;
  }
}

/** Listens for as long as the user is signed in. */
export function useEventStream(client: QueryClient): void {
  useEffect(() => {
    const source = new EventSource('/api/v1/events');
    const due = new Set<string>();
    let timer: number | null = null;
    const refresh = (...keys: string[]) => {
      for (const key of keys) due.add(key);
      timer ??= window.setTimeout(() => {
        timer = null;
        const now = [...due];
        due.clear();
        for (const key of now) void client.invalidateQueries({ queryKey: [key] });
      }, REFRESH_MS);
    };
    source.onopen = () => {
      // What was missed while the stream was down is fetched by asking again.
      if (state.connection === 'closed') void client.invalidateQueries();
      set({ connection: 'open' });
    };
    source.onerror = () => set({ connection: 'closed' });
    source.addEventListener('incident', (event) => {
      const incident = parsed<IncidentSummary>(event);
      if (!incident) return;
      mark(`incident:${incident.id}`, `Incident ${incident.id}: ${incident.title}`);
      refresh('incidents', 'incident', 'story', 'count', 'alert', 'tree');
    });
    source.addEventListener('alert', (event) => {
      const alert = parsed<Alert>(event);
      if (!alert) return;
      mark(`alert:${alert.id}`, `Alert: ${alert.title}`);
      refresh('alerts', 'alert', 'cloud-alerts', 'story', 'incident', 'count', 'tree');
    });
    source.addEventListener('device', (event) => {
      const device = parsed<Device>(event);
      if (device) client.setQueryData(['device', device.id], device);
      refresh('devices');
    });
    source.addEventListener('status', () => refresh('status'));
    source.addEventListener('detection', () => refresh('detections'));
    source.addEventListener('huntProgress', (event) => {
      const progress = parsed<Progress>(event);
      if (progress) progressTold(progress);
    });
    source.addEventListener('retroHunt', () => refresh('retro'));
    // The server says that events were missed: everything is asked again.
    source.addEventListener('reset', () => void client.invalidateQueries());
    return () => {
      source.close();
      if (timer !== null) window.clearTimeout(timer);
    };
  }, [client]);
}

/** Rows of one device as they come; `onRow` gets them until the page is left. */
export function useDeviceRows(device: string, active: boolean, onRow: (row: TimelineRow) => void): void {
  useEffect(() => {
    if (!active) return undefined;
    const source = new EventSource(`/api/v1/events?device=${encodeURIComponent(device)}`);
    source.addEventListener('row', (event) => {
      const row = parsed<TimelineRow>(event);
      if (row) onRow(row);
    });
    return () => source.close();
  }, [device, active, onRow]);
}
