import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { api, orNull } from './client';
import type { Plan } from './plane';
import type { Page } from './types';

// Recommendations on endpoint protection: docs/reference/recommendations.md.

export const REC_STATES = ['Unhealthy', 'Healthy', 'NotApplicable', 'Exempt'] as const;
export type RecState = (typeof REC_STATES)[number];
export const CATEGORIES = ['Waiver', 'Mitigated'] as const;
export type Category = (typeof CATEGORIES)[number];

export interface Recommendation {
  key: string;
  title: string;
  description: string;
  severity: 'High' | 'Medium' | 'Low' | 'Informational';
  plan: Plan;
  healthy: number;
  unhealthy: number;
  notApplicable: number;
  exempt: number;
  /** Whether a fix can be done from here. */
  fix: boolean;
}

export interface Exemption {
  id: string;
  key: string;
  scope: string;
  category: Category;
  reason: string;
  createdBy: string;
  createdTime: string;
  expires?: string | null;
}

export interface RecResource {
  machineId: string;
  resourceId: string;
  name: string;
  subscription: string;
  state: RecState;
  reason: string;
  findings: { code: string; message: string; fix: string }[];
  discovered: string[];
  exemption?: Exemption | null;
}

export interface Fixed {
  machineId: string;
  done: boolean;
  message: string;
}

const KEY = 'recommendations';
const AGAIN_MS = 10_000;
export const recPath = (key: string, rest: string) => `/recommendations/${encodeURIComponent(key)}/${rest}`;

export function useRecommendations() {
  return useQuery({
    queryKey: [KEY],
    queryFn: () => orNull(api.get<Page<Recommendation>>('/recommendations').then((page) => page.items)),
    refetchInterval: AGAIN_MS,
  });
}

export function useExemptions(key: string) {
  return useQuery({
    queryKey: [KEY, key, 'exemptions'],
    queryFn: async () => (await api.get<Page<Exemption>>(recPath(key, 'exemptions'))).items,
  });
}

/** Runs a change and asks again for what it touches; a fix switches plans and integration too. */
export function useRecChange<V, R>(run: (variables: V) => Promise<R>) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: run,
    onSuccess: () => {
      for (const key of [KEY, 'machines', 'machine', 'subscriptions', 'coverage'])
        void client.invalidateQueries({ queryKey: [key] });
    },
  });
}
