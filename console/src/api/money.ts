import { useQuery } from '@tanstack/react-query';
import { ApiError, api } from './client';
import type { Plan } from './plane';

// Cost: docs/reference/money.md. A server that has no prices answers without them, and one without the route with 404.

/** What a plan would cost, before it is switched on. */
export interface Forecast {
  machines: number;
  billableMachines: number;
  hours: number;
  machineHours: number;
  trialHours: number;
  seats: number;
  offsetHours: number;
  billedHours: number;
  pricePerHour?: string | null;
  currency?: string | null;
  cost?: string | null;
  words: string[];
}

/** The forecast for a subscription; null where the server tells none. */
export function useForecast(subscriptionId: string, plan: Plan | null) {
  return useQuery({
    queryKey: ['forecast', subscriptionId, plan],
    queryFn: async () => {
      try {
        return await api.post<Forecast>('/usage/forecast', { subscriptionId, plan });
      } catch (error) {
        if (error instanceof ApiError && (error.status === 404 || error.status === 405)) return null;
        throw error;
      }
    },
    enabled: plan === 'P1' || plan === 'P2',
    retry: false,
  });
}
