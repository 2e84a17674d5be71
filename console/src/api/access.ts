import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { api } from './client';
import { useSession } from './queries';
import type { Page, Role } from './types';

// Users, roles, device groups, tokens, the audit log: docs/reference/access.md.

export interface Action {
  name: string;
  title: string;
}
export interface AccessRole {
  name: string;
  title: string;
  builtIn: boolean;
  actions: string[];
}
export const SCOPES = ['Tenant', 'Subscription', 'DeviceGroup'] as const;
export type ScopeKind = (typeof SCOPES)[number];
export interface Assignment {
  id: string;
  principalKind: 'User' | 'UserGroup';
  principal: string;
  role: string;
  scopeKind: ScopeKind;
  scope: string;
  source: 'Local' | 'Oidc';
  createdTime: string;
  createdBy: string;
}
export interface User {
  id: string;
  name: string;
  role: Role;
  passwordSet: boolean;
  disabled?: boolean;
}
export interface UserGroup {
  name: string;
  members: string[];
}
export const PROPERTIES = ['name', 'domain', 'os', 'tag'] as const;
export const OPERATORS = ['equals', 'startsWith', 'endsWith', 'contains'] as const;
export interface GroupRule {
  property: (typeof PROPERTIES)[number];
  operator: (typeof OPERATORS)[number];
  value: string;
}
export const LEVELS = ['None', 'SemiAll', 'SemiCoreFolders', 'SemiNonTempFolders', 'Full'] as const;
export interface DeviceGroup {
  id: string;
  name: string;
  description: string;
  rank: number;
  rules: GroupRule[];
  automationLevel: (typeof LEVELS)[number];
  deviceCount: number;
}
/** The group of devices that no rule fits. */
export const UNGROUPED = 'ungrouped';
export interface GroupPreview {
  matching: number;
  holding: number;
  entering: number;
  leaving: number;
  items: { id: string; name: string; before: string; after: string }[];
}
export interface ApiToken {
  id: string;
  name: string;
  role: Role;
  createdTime: string;
  expiresTime?: string | null;
  scope: string[];
  deviceGroups: string[];
  token?: string;
}
export interface AuditLine {
  seq: number;
  time: string;
  who: string;
  whoKind: string;
  kind: 'Read' | 'Change' | 'SignIn' | 'Refused';
  action: string;
  method: string;
  route: string;
  target: string;
  status: number;
  count?: number | null;
  address: string;
  previous: string;
  hash: string;
}
export interface AuditHead {
  tenant: string;
  seq: number;
  hash: string;
  time: string;
  signature: string;
  publicKey: string;
}
export interface ProvedPart {
  after: number;
  last: number;
  whole: boolean;
  problem?: string | null;
  more: boolean;
}
export interface Methods {
  password: boolean;
  oidc?: { name: string } | null;
}

const KEY = 'access';

function useAll<T>(path: string) {
  return useQuery({ queryKey: [KEY, path], queryFn: async () => (await api.get<Page<T>>(path)).items });
}

export const useActions = () => useAll<Action>('/access/actions');
export const useRoles = () => useAll<AccessRole>('/access/roles');
export const useAssignments = () => useAll<Assignment>('/access/assignments');
export const useUsers = () => useAll<User>('/users');
export const useUserGroups = () => useAll<UserGroup>('/access/user-groups');
export const useDeviceGroups = () => useAll<DeviceGroup>('/device-groups');
export const useApiTokens = () => useAll<ApiToken>('/api-tokens');
export const useAuditHead = () =>
  useQuery({ queryKey: [KEY, 'audit', 'head'], queryFn: () => api.get<AuditHead>('/audit/head') });
export const useMethods = () =>
  useQuery({ queryKey: ['methods'], queryFn: () => api.get<Methods>('/session/methods'), staleTime: 60_000 });

/** What a group would hold; asked again as its rules are written. */
export function useGroupPreview(id: string, rank: number | null, rules: readonly GroupRule[]) {
  return useQuery({
    queryKey: [KEY, 'preview', id, rank, rules],
    queryFn: () => api.post<GroupPreview>('/device-groups/preview', { id, ...(rank ? { rank } : {}), rules }),
    enabled: rules.length > 0,
    placeholderData: (before) => before,
    retry: false,
  });
}

/** Runs a change and asks again for all that this page shows. */
export function useAccessChange<V, R>(run: (variables: V) => Promise<R>) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: run,
    onSuccess: () => void client.invalidateQueries({ queryKey: [KEY] }),
  });
}

/** Whether the signed-in user may change who may do what; the server decides anyway. */
export function useMayManage(): boolean {
  return useSession().data?.user.role === 'admin';
}

/** Parts that proving the log takes; more than this is left to `garrison audit verify`. */
const PARTS_MAX = 500;

/** Proves the log from its beginning, part by part; `told` hears how far it came. */
export async function prove(told: (last: number) => void, live: () => boolean): Promise<ProvedPart> {
  let part: ProvedPart = { after: 0, last: 0, whole: true, more: true };
  for (let i = 0; i < PARTS_MAX && part.more && part.whole && live(); i += 1) {
    part = await api.get<ProvedPart>('/audit/verify', { after: part.last });
    told(part.last);
  }
  return part;
}
