import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { ApiError, api } from './client';
import { useSession } from './queries';
import type { Classification } from './types';

// The cloud view of alerts: docs/reference/money.md. The ids are those of the deep view, and so is what is changed.

export const CLOUD_SEVERITIES = ['High', 'Medium', 'Low', 'Informational'] as const;
export const CLOUD_STATES = ['Active', 'InProgress', 'Resolved', 'Dismissed'] as const;

export interface CloudAlert {
  id: string;
  alertType: string;
  alertDisplayName: string;
  description: string;
  remediationSteps: string;
  severity: (typeof CLOUD_SEVERITIES)[number];
  status: (typeof CLOUD_STATES)[number];
  suppressed: boolean;
  subscriptionId: string;
  resourceId: string;
  machineId: string;
  deviceId: string;
  compromisedEntity: string;
  intent: string;
  timeGenerated: string;
  startTime: string;
  endTime: string;
  alertLink: string;
  incidentLink?: string | null;
  deviceLink: string;
}

/** The cloud view of an alert; null where it has none: its device is no machine, or it is older than the view. */
export function useCloudAlert(id: string) {
  return useQuery({
    queryKey: ['cloud-alerts', 'one', id],
    queryFn: async () => {
      try {
        return await api.get<CloudAlert>(`/cloud/alerts/${id}`);
      } catch (error) {
        if (error instanceof ApiError && error.status === 404) return null;
        throw error;
      }
    },
  });
}

export interface Closing {
  id: string;
  verb: 'dismiss' | 'reactivate';
  reason?: string;
  classification?: Classification;
}

/** Dismisses an alert, or takes it up again: a change of the one alert that both views show. */
export function useClosing() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: ({ id, verb, ...body }: Closing) => api.post<CloudAlert>(`/cloud/alerts/${id}/${verb}`, body),
    onSuccess: () => {
      for (const key of ['cloud-alerts', 'alerts', 'alert', 'incidents', 'incident', 'count'])
        void client.invalidateQueries({ queryKey: [key] });
    },
  });
}

/** Whether the signed-in user may work on alerts; the server decides anyway. */
export function useMayInvestigate(): boolean {
  const role = useSession().data?.user.role;
  return role === 'admin' || role === 'analyst';
}
