import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import type { Render } from '../logic/charts';
import type { ResultColumn, ResultRow } from '../logic/results';
import { api } from './client';
import type { Page, Severity } from './types';

// The shapes of /api/v1/hunting, as docs/reference/api.md has them.

export interface Diagnostic {
  code: string;
  severity: 'error' | 'warning' | 'information';
  message: string;
  hint?: string | null;
  line: number;
  column: number;
  endLine: number;
  endColumn: number;
  start: number;
  end: number;
}

export interface DeviceLack {
  deviceId: string;
  deviceName: string;
  lostRows: number;
  losses: { cause: string; table: string; rows: number; from: string; to: string }[];
  gaps: { bootId: string; after: number; before: number; rows: number }[];
  offline: { since: string } | null;
}

export interface Completeness {
  complete: boolean;
  statement: string;
  from?: string | null;
  to?: string | null;
  rowCap: number | null;
  byteCap: number | null;
  devices: DeviceLack[];
  devicesMore: number;
}

export interface Resources {
  id: string;
  started: string;
  durationMs: number;
  interface: string;
  user: string;
  state: string;
  usage: string;
  rowsScanned: number;
  bytesScanned: number;
  filesTotal: number;
  filesRead: number;
  rowGroupsRead: number;
  memoryPeakBytes: number;
  spilledBytes: number;
  cpuMs: number;
  rowsReturned: number;
  bytesReturned: number;
  tables: string[];
}

export interface RunAnswer {
  id: string;
  columns: ResultColumn[];
  rows: ResultRow[];
  render: Render | null;
  diagnostics: Diagnostic[];
  completeness: Completeness;
  resources: Resources;
}

/** Progress as the event stream tells it; asked for, it also has the query and its start. */
export interface Progress {
  id: string;
  elapsedMs: number;
  state: 'Planning' | 'Running' | 'Writing' | 'Ended';
  rowsScanned: number;
  bytesScanned: number;
  filesTotal: number;
  filesRead: number;
  filesDone: number;
  memoryPeakBytes: number;
  rowsFound: number;
}

export interface RunBody {
  query: string;
  id?: string;
  timespan?: string;
  rowsMax?: number;
}

/** Rows of a result and the incident that they go into; a new one without a number. */
export interface LinkBody {
  incident?: number;
  title: string;
  severity: Severity;
  category: string;
  description: string;
  query: string;
  timespan?: string;
  ran: string;
  deviceId?: string;
  impactedEntities: { type: string; column: string }[];
  rows: Record<string, unknown>[];
}

export interface LinkAnswer {
  incidentId: number;
  created: boolean;
  alertIds: string[];
  repeated: boolean;
}

export interface SchemaColumn {
  name: string;
  type: string;
  doc: string;
}

export interface SchemaTable {
  name: string;
  doc: string;
  feature?: string | null;
  empty: boolean;
  retentionDays?: number | null;
  columns: SchemaColumn[];
}

export interface Schema {
  schemaVersion: number | string;
  tables: SchemaTable[];
}

/** A part of the language by name, with what the server says of it. */
export interface Capability {
  name: string;
  aliases?: string[];
  /** `scalar`, `aggregate`, … */
  kind?: string;
  signature?: string;
  doc?: string;
  example?: string;
}

export type Named = string | Capability;

export interface Capabilities {
  operators?: Named[];
  functions?: Named[];
  aggregates?: Named[];
  plugins?: Named[];
  [more: string]: unknown;
}

export interface SavedQuery {
  id: string;
  name: string;
  folder: string;
  description: string;
  query: string;
  shared: boolean;
  owner: string;
  created: string;
  updated: string;
  mine: boolean;
}

export interface LibraryQuery {
  id: string;
  title: string;
  description: string;
  tactics: string[];
  techniques: string[];
  query: string;
}

export interface HistoryEntry extends Resources {
  query: string;
  error?: string | null;
  /** For a hunt of the past, what started it. */
  origin?: { kind: 'rule' | 'detection' | 'indicator'; target: string; title: string; retroHuntId: string };
}

export interface Validation {
  valid: boolean;
  diagnostics: Diagnostic[];
  columns: ResultColumn[] | null;
  render: Render | null;
  tables?: unknown;
}

/** The schema does not change while a page is open, except that empty tables begin to fill. */
const SCHEMA_STALE_MS = 5 * 60_000;

export function useSchema() {
  return useQuery({
    queryKey: ['hunting', 'schema'],
    queryFn: () => api.get<Schema>('/hunting/schema'),
    staleTime: SCHEMA_STALE_MS,
  });
}

export function useCapabilities() {
  return useQuery({
    queryKey: ['hunting', 'capabilities'],
    queryFn: () => api.get<Capabilities>('/hunting/capabilities'),
    staleTime: SCHEMA_STALE_MS,
  });
}

export function useLibrary(enabled = true) {
  return useQuery({
    enabled,
    queryKey: ['hunting', 'library'],
    queryFn: async () => (await api.get<Page<LibraryQuery>>('/hunting/library')).items,
    staleTime: SCHEMA_STALE_MS,
  });
}

export function useSaved() {
  return useQuery({
    queryKey: ['hunting', 'queries'],
    queryFn: async () => (await api.get<Page<SavedQuery>>('/hunting/queries')).items,
  });
}

export function useHistory() {
  return useQuery({
    queryKey: ['hunting', 'history'],
    queryFn: async () => (await api.get<Page<HistoryEntry>>('/hunting/history', { limit: 200 })).items,
  });
}

export interface SaveQuery {
  name: string;
  folder: string;
  description: string;
  query: string;
  shared: boolean;
}

export function useSaveQuery() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: ({ id, body }: { id: string | null; body: SaveQuery }) =>
      id
        ? api.put<SavedQuery>(`/hunting/queries/${encodeURIComponent(id)}`, body)
        : api.post<SavedQuery>('/hunting/queries', body),
    onSuccess: () => void client.invalidateQueries({ queryKey: ['hunting', 'queries'] }),
  });
}

export function useDropQuery() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (id: string) => api.delete(`/hunting/queries/${encodeURIComponent(id)}`),
    onSuccess: () => void client.invalidateQueries({ queryKey: ['hunting', 'queries'] }),
  });
}

export const hunting = {
  run: (body: RunBody, signal: AbortSignal) => api.post<RunAnswer>('/hunting/run', body, undefined, signal),
  progress: (id: string, signal: AbortSignal) =>
    api.get<Progress>(`/hunting/runs/${encodeURIComponent(id)}`, undefined, signal),
  cancel: (id: string) => api.delete(`/hunting/runs/${encodeURIComponent(id)}`),
  link: (body: LinkBody) => api.post<LinkAnswer>('/hunting/incidents', body),
  validate: (query: string, signal?: AbortSignal) =>
    api.post<Validation>('/hunting/validate', { query }, undefined, signal),
  format: (query: string) => api.post<{ query: string }>('/hunting/format', { query }),
  complete: (query: string, position: number) =>
    api.post<{ from: number; to: number; items: { label: string; insert: string; kind: string; detail?: string }[] }>(
      '/hunting/complete',
      { query, position },
    ),
  export: (body: RunBody, format: string) => api.blob('/hunting/export', body, { format }),
};
