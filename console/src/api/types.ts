// The shapes of the HTTP API, written from the serde types in crates/model/src. Times are RFC 3339 in UTC.

export type Severity = 'UnSpecified' | 'Informational' | 'Low' | 'Medium' | 'High';
export type AlertStatus = 'New' | 'InProgress' | 'Resolved' | 'Unknown';
export type IncidentStatus = 'Active' | 'InProgress' | 'Resolved' | 'Redirected';
export type Classification = 'TruePositive' | 'InformationalExpectedActivity' | 'FalsePositive';
export type Determination =
  | 'MultiStagedAttack'
  | 'MaliciousUserActivity'
  | 'CompromisedUser'
  | 'Malware'
  | 'Phishing'
  | 'UnwantedSoftware'
  | 'SecurityTesting'
  | 'LineOfBusinessApplication'
  | 'ConfirmedUserActivity'
  | 'Clean'
  | 'InsufficientData'
  | 'Other';
export type EntityType = 'Process' | 'File' | 'Ip' | 'Url' | 'User' | 'Machine';
export type SensorHealthState = 'Active' | 'Inactive' | 'ImpairedCommunication' | 'NoSensorData' | 'Offboarded';
export type Role = 'reader' | 'analyst' | 'admin';

/** A row of a hunting table as JSON, columns without a value left out. */
export type Row = Record<string, unknown>;

export interface Page<T> {
  items: T[];
  nextCursor?: string | null;
  total?: number | null;
}

export interface Problem {
  code: string;
  title: string;
  status: number;
  hint?: string | null;
}

export interface Session {
  user: { id: string; name: string; role: Role };
  signedIn: boolean;
  passwordSet: boolean;
}

export interface Comment {
  comment: string;
  createdBy: string;
  createdTime: string;
}

export interface MatchField {
  selection: string;
  field: string;
  column: string;
  test: string;
  value: string;
}

export interface Match {
  table: string;
  timestamp: string;
  fields: MatchField[];
  row: Row;
}

export interface Evidence {
  entityType: EntityType;
  role: 'Impacted' | 'Related';
  evidenceCreationTime: string;
  sha1?: string | null;
  sha256?: string | null;
  fileName?: string | null;
  filePath?: string | null;
  processId?: number | null;
  processUniqueId?: string | null;
  processCommandLine?: string | null;
  processCreationTime?: string | null;
  parentProcessId?: number | null;
  parentProcessFileName?: string | null;
  ipAddress?: string | null;
  url?: string | null;
  accountName?: string | null;
  userSid?: string | null;
}

export interface Alert {
  id: string;
  title: string;
  description: string;
  recommendedAction: string;
  alertCreationTime: string;
  firstEventTime: string;
  lastEventTime: string;
  lastUpdateTime: string;
  resolvedTime?: string | null;
  incidentId: number;
  investigationState: string;
  assignedTo?: string | null;
  mitreTechniques: string[];
  relatedUser?: string | null;
  severity: Severity;
  status: AlertStatus;
  classification?: Classification | null;
  determination?: Determination | null;
  category: string;
  detectionSource: string;
  detectorId: string;
  machineId: string;
  computerDnsName: string;
  matchCount: number;
  processUniqueId?: string | null;
  suppressed: boolean;
  evidence: Evidence[];
  matches: Match[];
  /** The hunt whose rows an analyst linked. */
  hunt?: AlertHunt | null;
  comments: Comment[];
}

export interface AlertHunt {
  query: string;
  from?: string | null;
  to?: string | null;
  linkedBy: string;
}

export interface CaseUpdate {
  status?: string;
  assignedTo?: string;
  classification?: Classification;
  determination?: Determination;
  title?: string;
  tags?: string[];
  comment?: string;
}

export interface DeviceRef {
  id: string;
  name: string;
}

export interface IncidentSummary {
  id: number;
  title: string;
  severity: Severity;
  status: IncidentStatus;
  assignedTo?: string | null;
  classification?: Classification | null;
  determination?: Determination | null;
  categories: string[];
  mitreTechniques: string[];
  devices: DeviceRef[];
  users: string[];
  activeAlertCount: number;
  alertCount: number;
  firstEventTime: string;
  lastEventTime: string;
  createdTime: string;
  lastUpdateTime: string;
  tags: string[];
  redirectIncidentId?: number | null;
}

export interface CorrelationReason {
  alertId: string;
  reason: string;
}

export interface Incident extends IncidentSummary {
  alerts: Alert[];
  comments: Comment[];
  correlationReasons: CorrelationReason[];
}

export interface Activity {
  timestamp: string;
  table: string;
  actionType: string;
  summary: string;
  alertIds: string[];
  row: Row;
}

export interface ProcessNode {
  processUniqueId: string;
  processId: number;
  fileName: string;
  folderPath?: string | null;
  commandLine?: string | null;
  sha256?: string | null;
  accountName?: string | null;
  creationTime?: string | null;
  exitTime?: string | null;
  alertIds: string[];
  activities: Activity[];
  children: ProcessNode[];
}

export interface StoryTree {
  device: DeviceRef;
  root: ProcessNode;
}

export interface Story {
  trees: StoryTree[];
  truncated: boolean;
}

export interface Device {
  id: string;
  computerDnsName: string;
  osPlatform: string;
  osDistribution: string;
  osVersion: string;
  kernelVersion: string;
  osArchitecture: string;
  agentVersion: string;
  ipAddresses: string[];
  lastIpAddress?: string | null;
  firstSeen: string;
  lastSeen: string;
  healthStatus: SensorHealthState;
  healthIssues: string[];
  sight: { subsystem: string; missing: string[] };
  riskScore: Severity;
  activeAlertCount: number;
  machineTags: string[];
  contentVersion: string;
  revoked: boolean;
  /** Plan in force on its machine; absent where it was enrolled straight. */
  plan?: { plan: 'Off' | 'P1' | 'P2'; source: string } | null;
  /** Why its rows are refused, naming the plan that would take them. */
  collectionOff?: string | null;
  rowCount: number;
  lostRowCount: number;
}

export interface TimelineRow {
  timestamp: string;
  table: string;
  actionType: string;
  summary: string;
  initiatingProcess?: string | null;
  accountName?: string | null;
  alertIds: string[];
  row: Row;
}

export interface RuleDiagnostic {
  code: string;
  level: string;
  message: string;
  place: string;
  hint?: string | null;
}

export interface Rule {
  id: string;
  title: string;
  description: string;
  severity: Severity;
  category: string;
  mitreTechniques: string[];
  kind: string;
  origin: string;
  status: string;
  author: string;
  tables: string[];
  enabled: boolean;
  usable: boolean;
  diagnostics: RuleDiagnostic[];
  falsePositives: string[];
  recommendedAction: string;
  alertCount30d: number;
  source?: string | null;
}

export interface RuleImportReport {
  added: number;
  updated: number;
  unchanged: number;
  refused: number;
  rules: Rule[];
}

export interface RuleTestReport {
  diagnostics: RuleDiagnostic[];
  matches: Match[];
  rowsLookedAt: number;
  matchCount: number;
  incomplete: boolean;
}

export interface SuppressionCondition {
  column: string;
  operator: 'equals' | 'contains' | 'startsWith' | 'endsWith';
  value: string;
}

export interface SuppressionScope {
  ruleId?: string;
  deviceId?: string;
  conditions?: SuppressionCondition[];
}

export interface Suppression {
  id: string;
  name: string;
  reason: string;
  scope: SuppressionScope;
  createdBy: string;
  createdTime: string;
  expiresTime?: string | null;
  hiddenCount: number;
}

export interface SuppressionPreview {
  wouldHide: number;
  days: number;
  lookedAt: number;
  examples: string[];
}
