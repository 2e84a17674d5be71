import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { api, orNull } from './client';
import type { Plan, UsageBy } from './plane';
import type { Page } from './types';

// Cost, prices, seats, forecasts: docs/reference/money.md. A server without them answers 404. Money is decimal text.

export interface CostLine {
  key: string;
  name: string;
  /** Machine-hours. */
  units: number;
  trial?: number;
  /** Hours that owned seats carry. */
  offset: number;
  /** Hours without a price. */
  unpriced?: number;
  listCost: string;
  cost: string;
}

export interface CostReport {
  currency?: string | null;
  items: CostLine[];
  ingest?: { megabytes: number; cost: string };
  /** Machine-hours that have begun and are in no line yet. */
  runningHours?: number;
  total: string;
}

/** What a plan would cost, before it is switched on. */
export interface Forecast {
  machines: number;
  billableMachines: number;
  hours: number;
  machineHours: number;
  trialHours: number;
  seats: number;
  offset?: number;
  billedHours: number;
  pricePerHour?: string | null;
  currency?: string | null;
  perDay?: string | null;
  perMonth?: string | null;
  cost?: string | null;
  words: string[];
}

export interface PriceSheet {
  id: string;
  /** Null for data beyond the allowance. */
  plan?: Plan | null;
  currency: string;
  pricePerHour?: string | null;
  pricePerGb?: string | null;
  validFrom: string;
  validTo?: string | null;
  inForce: boolean;
  createdBy: string;
  createdTime: string;
}

export interface Seats {
  id: string;
  plan: Plan;
  seats: number;
  subscriptionId?: string | null;
  validFrom: string;
  validTo?: string | null;
  note: string;
  used: number;
}

/** Cost by day, subscription, machine or plan; null where the server tells none. */
export function useCost(by: UsageBy, from: string, to: string) {
  return useQuery({
    queryKey: ['usage', 'cost', by, from, to],
    queryFn: () => orNull(api.get<CostReport>('/usage/cost', { by, from, to })),
    placeholderData: (before) => before,
  });
}

/** The forecast for a subscription; null where the server tells none. */
export function useForecast(subscriptionId: string, plan: Plan | null) {
  return useQuery({
    queryKey: ['forecast', subscriptionId, plan],
    queryFn: () => orNull(api.get<Forecast>('/usage/forecast', { subscription: subscriptionId, plan })),
    enabled: subscriptionId !== '' && (plan === 'P1' || plan === 'P2'),
    retry: false,
  });
}

function useAll<T>(path: string) {
  return useQuery({
    queryKey: ['usage', path],
    queryFn: () => orNull(api.get<Page<T>>(path).then((page) => page.items)),
  });
}

export const usePriceSheets = () => useAll<PriceSheet>('/price-sheets');
export const useSeats = () => useAll<Seats>('/seats');

/** Runs a change of prices or seats and asks again for what they bear on. */
export function useMoneyChange<V, R>(run: (variables: V) => Promise<R>) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: run,
    onSuccess: () => {
      for (const key of ['usage', 'forecast']) void client.invalidateQueries({ queryKey: [key] });
    },
  });
}
