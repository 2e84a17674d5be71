import { keepPreviousData, useInfiniteQuery, useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useMemo } from 'react';
import { ApiError, api, type Query } from './client';
import type {
  Alert,
  CaseUpdate,
  Device,
  Incident,
  IncidentSummary,
  Page,
  Rule,
  Session,
  Story,
  StoryTree,
  Suppression,
} from './types';

/** Rows that one request of a list asks for; the grid reads on when its end comes near. */
export const PAGE_LIMIT = 50;

/** A list that reads on page by page; `rows` is flat and keeps its identity while nothing changes. What has no live
 * event is asked again every `again` milliseconds. */
export function useList<T>(key: string, path: string, query: Query, limit = PAGE_LIMIT, again?: number) {
  const result = useInfiniteQuery({
    queryKey: [key, path, query],
    queryFn: ({ pageParam }) => api.get<Page<T>>(path, { ...query, limit, cursor: pageParam }),
    initialPageParam: '',
    getNextPageParam: (page) => page.nextCursor || undefined,
    placeholderData: keepPreviousData,
    refetchInterval: again,
  });
  const rows = useMemo(() => result.data?.pages.flatMap((page) => page.items) ?? [], [result.data]);
  const total = result.data?.pages[0]?.total ?? null;
  return {
    rows,
    total,
    error: result.error,
    loading: result.isPending,
    refreshing: result.isFetching && result.isPlaceholderData,
    more: result.hasNextPage && !result.isFetchingNextPage && !result.isFetchNextPageError,
    readOn: () => void result.fetchNextPage(),
    retry: () => void result.refetch(),
  };
}

export function useSession() {
  return useQuery({
    queryKey: ['session'],
    queryFn: async () => {
      try {
        return await api.get<Session>('/session');
      } catch (error) {
        if (error instanceof ApiError && (error.status === 401 || error.status === 403)) return null;
        throw error;
      }
    },
    staleTime: 60_000,
    retry: 1,
  });
}

export function useIncident(id: number | null) {
  return useQuery({
    queryKey: ['incident', id],
    queryFn: () => api.get<Incident>(`/incidents/${id}`),
    enabled: id !== null,
  });
}

export function useStory(id: number | null) {
  return useQuery({
    queryKey: ['story', id],
    queryFn: () => api.get<Story>(`/incidents/${id}/story`),
    enabled: id !== null,
  });
}

export function useAlert(id: string | null) {
  return useQuery({
    queryKey: ['alert', id],
    queryFn: () => api.get<Alert>(`/alerts/${id}`),
    enabled: id !== null,
  });
}

export function useAlertTree(id: string | null) {
  return useQuery({
    queryKey: ['tree', id],
    queryFn: () => api.get<StoryTree>(`/alerts/${id}/tree`),
    enabled: id !== null,
  });
}

export function useDevice(id: string | null) {
  return useQuery({
    queryKey: ['device', id],
    queryFn: () => api.get<Device>(`/devices/${id}`),
    enabled: id !== null,
  });
}

export function useRule(id: string | null) {
  return useQuery({
    queryKey: ['rule', id],
    queryFn: () => api.get<Rule>(`/rules/${encodeURIComponent(id ?? '')}`),
    enabled: id !== null,
  });
}

export function useStatus() {
  return useQuery({
    queryKey: ['status'],
    queryFn: () => api.get<Record<string, unknown>>('/status'),
    refetchInterval: 15_000,
  });
}

export function useSuppressions() {
  return useQuery({
    queryKey: ['suppressions'],
    queryFn: async () => itemsOf(await api.get<Page<Suppression> | Suppression[]>('/suppressions')),
  });
}

/** Lists may come as a page or as a bare array. */
export function itemsOf<T>(answer: Page<T> | T[]): T[] {
  return Array.isArray(answer) ? answer : answer.items;
}

/** How many items a list has in all: the total if the server knows it, else what came. */
export function useCount(path: string, query: Query) {
  return useQuery({
    queryKey: ['count', path, query],
    queryFn: async () => {
      const page = await api.get<Page<unknown>>(path, { ...query, limit: 1 });
      return page.total ?? page.items.length;
    },
  });
}

export type CaseKind = 'incidents' | 'alerts';

/** Changes one incident or alert and everything that shows it. */
export function useCaseUpdate(kind: CaseKind) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: ({ id, change }: { id: string | number; change: CaseUpdate }) =>
      api.patch<Incident | Alert>(`/${kind}/${id}`, change),
    onSuccess: () => {
      for (const key of ['incidents', 'incident', 'alerts', 'alert', 'cloud-alerts', 'count', 'story', 'tree']) {
        void client.invalidateQueries({ queryKey: [key] });
      }
    },
  });
}

export type { IncidentSummary };
