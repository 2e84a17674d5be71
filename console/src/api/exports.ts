import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { api, orNull } from './client';
import type { Page } from './types';

// Continuous exports: docs/reference/exports.md.

export const KINDS = ['Webhook', 'Syslog', 'File', 'Object'] as const;
export type Kind = (typeof KINDS)[number];
export const MODES = ['Streaming', 'Snapshot'] as const;
export type Mode = (typeof MODES)[number];
export const WHATS = ['Alerts', 'Recommendations', 'Findings'] as const;
export type What = (typeof WHATS)[number];

export interface Target {
  url?: string;
  caPem?: string;
  host?: string;
  port?: number;
  prefix?: string;
}

export interface ExportBody {
  name: string;
  kind: Kind;
  mode: Mode;
  what: What[];
  target: Target;
  secret?: string;
  enabled: boolean;
}

export interface Export extends Omit<ExportBody, 'secret'> {
  id: string;
  secretSet?: boolean;
  status: { delivered: number; pending: number; lastDelivered?: string | null; lastError?: string | null };
  createdBy?: string;
  createdTime?: string;
}

const KEY = 'exports';
const AGAIN_MS = 5_000;

export function useExports() {
  return useQuery({
    queryKey: [KEY],
    queryFn: () => orNull(api.get<Page<Export>>('/exports').then((page) => page.items)),
    refetchInterval: AGAIN_MS,
  });
}

export function useExportChange<V, R>(run: (variables: V) => Promise<R>) {
  const client = useQueryClient();
  return useMutation({ mutationFn: run, onSuccess: () => void client.invalidateQueries({ queryKey: [KEY] }) });
}

/** The body that a change sends: everything that stays, and what changes. */
export function bodyOf(e: Export, change: Partial<ExportBody> = {}): ExportBody {
  const { name, kind, mode, what, target, enabled } = e;
  return { name, kind, mode, what, target, enabled, ...change };
}

/** Where records go, in a line. */
export function targetText(e: Pick<Export, 'kind' | 'target'>, files: string): string {
  const { url, host, port, prefix } = e.target;
  if (e.kind === 'Webhook') return url ?? '';
  if (e.kind === 'Syslog') return `${host ?? ''}:${port ?? ''}`;
  return e.kind === 'Object' ? (prefix ?? '') : files;
}
