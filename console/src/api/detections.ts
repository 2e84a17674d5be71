import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { api } from './client';
import type { EntityType, Page, Severity } from './types';

// Detections made of queries, and hunts of the past: docs/reference/api.md, “Custom detections”.

export const FREQUENCIES = ['continuous', '1h', '3h', '12h', '24h'] as const;
export type Frequency = (typeof FREQUENCIES)[number];

export const ACTIONS = [
  'isolateDevice',
  'collectPackage',
  'runScan',
  'initiateInvestigation',
  'restrictExecution',
  'quarantineFile',
  'allowFile',
  'blockFile',
] as const;
export type DetectionAction = (typeof ACTIONS)[number];

export interface Definition {
  name: string;
  query: string;
  frequency: Frequency;
  alertTitle: string;
  severity: Severity;
  category: string;
  mitreTechniques: string[];
  description: string;
  recommendedActions: string;
  impactedEntities: { type: EntityType; column: string }[];
  customDetails?: Record<string, string>;
  actions: { action: DetectionAction; column: string }[];
  enabled: boolean;
}

export interface DetectionRun {
  id: string;
  kind: string;
  state: string;
  from: string;
  to: string;
  started: string;
  durationMs: number;
  rows: number;
  alerts: number;
  repeated: number;
  capped: boolean;
  error?: string | null;
}

export interface Detection extends Definition {
  id: string;
  actionsNote?: string | null;
  lastRun?: DetectionRun | null;
  nextRunTime?: string | null;
  createdBy: string;
  createdTime: string;
  updatedBy: string;
  updatedTime: string;
}

export interface DetectionPreview {
  rows: number;
  /** Whether there are more rows than were counted. */
  more: boolean;
  alerts: number;
  /** Whether one run would hit its cap of alerts. */
  capped: boolean;
  columns: string[];
  preview: Record<string, unknown>[];
  titles: string[];
}

/** A hunt through the past for something that was just added. */
export interface Retro {
  id: string;
  kind: string;
  target: string;
  title: string;
  state: string;
  from: string;
  to: string;
  percent: number;
  /** From 0 to 1. */
  progress: number;
  rowCount: number;
  matchCount: number;
  alertCount: number;
  makesAlerts: boolean;
  error: string | null;
  createdBy: string;
  created: string;
  ended: string | null;
}

export const DETECTIONS = '/hunting/detections';
export const RETRO = '/hunting/retro';
const KEY = 'detections';

export function useDetections() {
  return useQuery({
    queryKey: [KEY],
    queryFn: async () => (await api.get<Page<Detection>>(DETECTIONS)).items,
    refetchInterval: 15_000,
  });
}

export function useDetectionRuns(id: string | null) {
  return useQuery({
    queryKey: [KEY, id, 'runs'],
    queryFn: async () =>
      (await api.get<Page<DetectionRun>>(`${DETECTIONS}/${encodeURIComponent(id ?? '')}/runs`, { limit: 20 })).items,
    enabled: id !== null,
    refetchInterval: 15_000,
  });
}

export function useRetro() {
  return useQuery({
    queryKey: ['retro'],
    queryFn: async () => (await api.get<Page<Retro>>(RETRO)).items,
    refetchInterval: (query) => (query.state.data?.some((r) => r.ended === null) ? 2_000 : 20_000),
  });
}

export type DetectionChange =
  | { kind: 'create'; body: Definition }
  | { kind: 'save'; id: string; body: Definition }
  | { kind: 'switch'; id: string; enabled: boolean }
  | { kind: 'drop'; id: string }
  | { kind: 'run'; id: string };

export function definitionOf(detection: Detection): Definition {
  const d = detection;
  return {
    name: d.name,
    query: d.query,
    frequency: d.frequency,
    alertTitle: d.alertTitle,
    severity: d.severity,
    category: d.category,
    mitreTechniques: d.mitreTechniques,
    description: d.description,
    recommendedActions: d.recommendedActions,
    impactedEntities: d.impactedEntities,
    customDetails: d.customDetails ?? {},
    actions: d.actions,
    enabled: d.enabled,
  };
}

export function useDetectionChange() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (change: DetectionChange): Promise<unknown> => {
      switch (change.kind) {
        case 'create':
          return api.post(DETECTIONS, change.body);
        case 'save':
          return api.put(`${DETECTIONS}/${encodeURIComponent(change.id)}`, change.body);
        case 'switch':
          return api.patch(`${DETECTIONS}/${encodeURIComponent(change.id)}`, { enabled: change.enabled });
        case 'drop':
          return api.delete(`${DETECTIONS}/${encodeURIComponent(change.id)}`);
        case 'run':
          return api.post(`${DETECTIONS}/${encodeURIComponent(change.id)}/run`, {});
      }
    },
    onSuccess: () => {
      void client.invalidateQueries({ queryKey: [KEY] });
      // A new detection is hunted for in the past.
      void client.invalidateQueries({ queryKey: ['retro'] });
    },
  });
}

export function testDetection(body: Definition): Promise<DetectionPreview> {
  return api.post<DetectionPreview>(`${DETECTIONS}/test`, body);
}
