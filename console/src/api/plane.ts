import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { ApiError, api } from './client';
import { useSession } from './queries';
import type { Page } from './types';

// The cloud plane: docs/reference/plane.md. The shapes are those of crates/model and crates/server/src/plane.

export const PLANS = ['Off', 'P1', 'P2'] as const;
export type Plan = (typeof PLANS)[number];
export type PlanSource = 'Machine' | 'Subscription' | 'Unset';
export interface EffectivePlan {
  plan: Plan;
  source: PlanSource;
}
export type ConnectionState = 'Connecting' | 'Connected' | 'Disconnected' | 'Expired';
export type ExtensionState = 'Creating' | 'Updating' | 'Succeeded' | 'Failed' | 'Deleting';
export type Reason =
  | 'NoPlan'
  | 'SwitchedOff'
  | 'Excluded'
  | 'IntegrationOff'
  | 'SensorMissing'
  | 'SensorFailed'
  | 'NotConnected'
  | 'OffBoarded';
export type Tags = Record<string, string>;

export interface Tenant {
  id: string;
  geography: string;
  lakeRoot: string;
  controlRoot: string;
  origin: string;
  createdTime: string;
}

export interface GeographyLine {
  code: string;
  name: string;
  locations: string[];
}

export interface Trial {
  started: string;
  ends: string;
  active: boolean;
  daysLeft: number;
}

export interface Subscription {
  id: string;
  name: string;
  location: string;
  plan?: Plan | null;
  integration: boolean;
  trial?: Trial | null;
  tags: Tags;
  machineCount: number;
  createdTime: string;
}

export interface ResourceGroup {
  subscriptionId: string;
  name: string;
  machineCount: number;
  createdTime: string;
}

export interface Extension {
  name: string;
  state: ExtensionState;
  code: number;
  message: string;
  fix: string;
  version: string;
  updatedTime: string;
}

export type HealthState = 'Healthy' | 'Pending' | 'Unhealthy' | 'NotApplicable';
export const HEALTH_CLASSES = ['Installation', 'Heartbeat', 'NotApplicable'] as const;
export type HealthClass = (typeof HEALTH_CLASSES)[number];
export interface HealthFinding {
  class: HealthClass;
  code: string;
  message: string;
  fix: string;
}

/** How a machine is, as the server last worked it out: docs/reference/health.md. */
export interface MachineHealth {
  state: HealthState;
  findings: HealthFinding[];
  since: string;
  refreshed: string;
}

export interface HealthSummary {
  machines: number;
  byState: Record<HealthState, number>;
  byClass: Record<HealthClass, number>;
  codes: { class: HealthClass; code: string; machines: number; fix: string }[];
  refreshed?: string | null;
  refreshSeconds: number;
}

export interface Machine {
  id: string;
  resourceId: string;
  name: string;
  kind: 'Hybrid' | 'Cloud' | 'Direct';
  state: ConnectionState;
  powerState?: string | null;
  deviceId?: string | null;
  plan: EffectivePlan;
  excludedBy?: string | null;
  extensions: Extension[];
  health?: MachineHealth | null;
  tags: Tags;
  system: {
    osType: string;
    distribution: string;
    version: string;
    kernel: string;
    architecture: string;
    hostName: string;
    cloud: string;
    instance: string;
    location: string;
  };
  connectorVersion: string;
  lastHeartbeat?: string | null;
  createdTime: string;
}

export interface Component {
  name: string;
  state: 'On' | 'Off' | 'Partial';
  missing: number;
  fix: string;
}

export interface CoverageSubscription {
  id: string;
  name: string;
  plan?: Plan | null;
  machines: number;
  covered: number;
  overrides: number;
  components: Component[];
}

export interface NotCoveredLine {
  resourceId: string;
  plan: Plan;
  reason: Reason;
  code: number;
  fix: string;
}

export interface Coverage {
  machines: number;
  covered: number;
  byPlan: Record<string, number>;
  reasons: Record<string, number>;
  subscriptions: CoverageSubscription[];
  notCovered: NotCoveredLine[];
}

export interface PlanLine {
  plan: Plan;
  title: string;
  trialDays: number;
  onMachine: boolean;
  features: { feature: string; title: string; included: boolean; place: string }[];
}

export interface Selector {
  subscriptionId: string;
  resourceGroup?: string;
  tagName?: string;
  tagValue?: string;
}

export interface BulkPreview {
  matched: number;
  changed: number;
  planChanged: number;
  changes: { id: string; resourceId: string; before: EffectivePlan; after: EffectivePlan }[];
  digest: string;
}

export interface Exclusion {
  id: string;
  scope: string;
  tagName?: string | null;
  tagValue?: string | null;
  reason: string;
  createdBy: string;
  createdTime: string;
  expiresTime?: string | null;
}

export interface HistoryLine {
  time: string;
  extension: string;
  state: string;
  code: number;
  detail: string;
  version: string;
}

export interface ConnectorToken {
  id: string;
  name: string;
  subscription: string;
  resourceGroup: string;
  createdTime: string;
  expiresTime: string;
  usesMax: number;
  uses: number;
  revoked: boolean;
  token?: string;
}

export interface UsageLine {
  key: string;
  plan: Plan;
  hours: number;
  trialHours: number;
}

/** How often what has no live event is asked again. */
const AGAIN_MS = 10_000;
/** The same while somebody waits for it. */
export const WAITING_MS = 2_000;

/** Whole lists that the server bounds to a thousand. */
function useWhole<T>(key: string, path: string, enabled = true) {
  return useQuery({
    queryKey: [key, path],
    queryFn: async () => (await api.get<Page<T>>(path)).items,
    enabled,
    refetchInterval: AGAIN_MS,
  });
}

/** The tenant, or null before there is one. */
/** A tenant in which whoever is signed in has a role. */
export interface TenantLine {
  id: string;
  geography: string | null;
  current: boolean;
}

export function useTenants() {
  return useQuery({
    queryKey: ['tenants'],
    queryFn: async () => (await api.get<{ items: TenantLine[] }>('/tenants')).items,
    staleTime: 60_000,
    retry: false,
  });
}

export function useTenant() {
  return useQuery({
    queryKey: ['tenant'],
    queryFn: async () => {
      try {
        return await api.get<Tenant>('/tenant');
      } catch (error) {
        if (error instanceof ApiError && error.status === 404) return null;
        throw error;
      }
    },
    staleTime: 60_000,
  });
}

export const useGeographies = (enabled = true) => useWhole<GeographyLine>('geographies', '/geographies', enabled);
export const useSubscriptions = () => useWhole<Subscription>('subscriptions', '/subscriptions');
export const useExclusions = () => useWhole<Exclusion>('exclusions', '/exclusions');
export const usePlans = () =>
  useQuery({
    queryKey: ['plans'],
    queryFn: async () => (await api.get<Page<PlanLine>>('/plans')).items,
    staleTime: Number.POSITIVE_INFINITY,
  });
export const useGroups = (subscription: string | null) =>
  useWhole<ResourceGroup>('groups', `/subscriptions/${subscription}/resource-groups`, subscription !== null);

/** Groups of several subscriptions at once: those that are unfolded. */
export function useGroupsOf(subscriptions: readonly string[]) {
  return useQuery({
    queryKey: ['groups', 'of', subscriptions],
    queryFn: async () => {
      const pages = await Promise.all(
        subscriptions.map((id) => api.get<Page<ResourceGroup>>(`/subscriptions/${id}/resource-groups`)),
      );
      return new Map(subscriptions.map((id, i) => [id, pages[i]?.items ?? []]));
    },
    enabled: subscriptions.length > 0,
    placeholderData: (before) => before,
  });
}

export function useCoverage() {
  return useQuery({
    queryKey: ['coverage'],
    queryFn: () => api.get<Coverage>('/coverage'),
    refetchInterval: AGAIN_MS,
  });
}

export function useHealth() {
  return useQuery({
    queryKey: ['health'],
    queryFn: () => api.get<HealthSummary>('/health'),
    refetchInterval: AGAIN_MS,
  });
}

/** A cloud whose machines come by themselves. */
export interface ReachSource {
  name: string;
  cloud: string;
  region: string;
  everyMinutes: number;
  disabled: boolean;
  running: boolean;
  lastRunTime?: string;
  outcome?: 'Succeeded' | 'Unreachable' | 'CloudRefused' | 'SecretMissing' | 'SubscriptionMissing' | 'ServerFailed';
  message: string;
  fix: string;
  counts: { listed: number; added: number; gone: number; connected: number };
  failures: number;
  failing: boolean;
}

/** Sources, for who may change machines; others are not shown them. */
export function useSources() {
  return useQuery({
    queryKey: ['sources'],
    queryFn: async () => (await api.get<Page<ReachSource>>('/reach/sources')).items,
    enabled: useMayChange(),
    refetchInterval: AGAIN_MS,
    retry: false,
  });
}

export function useMachine(id: string | null) {
  return useQuery({
    queryKey: ['machine', id],
    queryFn: () => api.get<Machine>(`/machines/${id}`),
    enabled: id !== null,
    refetchInterval: WAITING_MS,
  });
}

/** Devices that one question may name. */
const DEVICES_MAX = 100;

/** Machines of devices, by device: how the endpoint's view finds the cloud's. */
export function useMachinesOf(devices: readonly string[]) {
  const asked = [...new Set(devices)].sort();
  return useQuery({
    queryKey: ['machines', 'of', asked],
    queryFn: async () => {
      const found = new Map<string, Machine>();
      for (let at = 0; at < asked.length; at += DEVICES_MAX) {
        const device = asked.slice(at, at + DEVICES_MAX).join(',');
        const page = await api.get<Page<Machine>>('/machines', { device, limit: DEVICES_MAX });
        for (const machine of page.items) if (machine.deviceId) found.set(machine.deviceId, machine);
      }
      return found;
    },
    enabled: asked.length > 0,
    placeholderData: (before) => before,
  });
}

export function useHistory(id: string) {
  return useQuery({
    queryKey: ['machine', id, 'history'],
    queryFn: async () => (await api.get<Page<HistoryLine>>(`/machines/${id}/extension-history`)).items,
    refetchInterval: WAITING_MS,
  });
}

export type UsageBy = 'day' | 'subscription' | 'machine' | 'plan';
export function useUsage(by: UsageBy, from: string, to: string) {
  return useQuery({
    queryKey: ['usage', by, from, to],
    queryFn: async () => (await api.get<Page<UsageLine>>('/usage', { by, from, to })).items,
    placeholderData: (before) => before,
  });
}

/** What a change of the cloud plane may touch. */
const TOUCHED = [
  'tenant',
  'subscriptions',
  'groups',
  'coverage',
  'machines',
  'machine',
  'exclusions',
  'connector-tokens',
  'usage',
  'forecast',
  'recommendations',
];

/** Runs a change and asks again for everything that may show it. */
export function usePlaneChange<V, R>(run: (variables: V) => Promise<R>) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: run,
    onSuccess: () => {
      for (const key of TOUCHED) void client.invalidateQueries({ queryKey: [key] });
    },
  });
}

/** Whether the signed-in user may change plans and machines; the server decides anyway. */
export function useMayChange(): boolean {
  return useSession().data?.user.role === 'admin';
}
