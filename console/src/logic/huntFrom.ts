import { stringText } from './kql';

// “Hunt from here”: a query of ours for every kind of entity that the console shows.

export interface Hunted {
  field: string;
  value: string;
  id?: string;
}

const IP = /^(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-fA-F]*:[0-9a-fA-F:.]+)$/;
const DEVICE_ID = /^[0-9a-f]{40,64}$/;
const HASH: Record<number, string> = { 32: 'MD5', 40: 'SHA1', 64: 'SHA256' };

function hash(value: string): string | null {
  return /^[0-9a-fA-F]+$/.test(value) ? (HASH[value.length] ?? null) : null;
}

function ip(value: string): string {
  const v = stringText(value);
  return [
    `// Who talked to or from ${value.replaceAll('\n', ' ')}`,
    'union',
    `    (DeviceNetworkEvents | where RemoteIP == ${v} or LocalIP == ${v}),`,
    `    (DeviceLogonEvents | where RemoteIP == ${v})`,
    '| project Timestamp, DeviceId, DeviceName, ActionType, RemoteIP, RemotePort, RemoteUrl, AccountName,',
    '    InitiatingProcessFileName, InitiatingProcessCommandLine, InitiatingProcessUniqueId',
    '| sort by Timestamp desc',
    '| take 1000',
  ].join('\n');
}

function domain(value: string): string {
  return [
    '// Connections and look-ups that name the domain',
    'union DeviceNetworkEvents, DeviceEvents',
    `| where RemoteUrl has ${stringText(value)}`,
    '| project Timestamp, DeviceId, DeviceName, ActionType, RemoteUrl, RemoteIP, RemotePort,',
    '    InitiatingProcessFileName, InitiatingProcessCommandLine, InitiatingProcessUniqueId',
    '| sort by Timestamp desc',
    '| take 1000',
  ].join('\n');
}

function byHash(column: string, value: string): string {
  const v = stringText(value.toLowerCase());
  return [
    '// Where this file ran, was written or was loaded',
    'union DeviceProcessEvents, DeviceFileEvents, DeviceImageLoadEvents',
    `| where ${column} =~ ${v}`,
    '| project Timestamp, DeviceId, DeviceName, ActionType, FileName, FolderPath, SHA256,',
    '    InitiatingProcessFileName, InitiatingProcessCommandLine, InitiatingProcessUniqueId',
    '| sort by Timestamp desc',
    '| take 1000',
  ].join('\n');
}

function file(value: string): string {
  const path = value.includes('/');
  return [
    '// Everything that touched or ran this file',
    'union DeviceProcessEvents, DeviceFileEvents, DeviceImageLoadEvents',
    `| where ${path ? 'FolderPath' : 'FileName'} == ${stringText(value)}`,
    '| project Timestamp, DeviceId, DeviceName, ActionType, FileName, FolderPath, SHA256, ProcessCommandLine,',
    '    InitiatingProcessFileName, InitiatingProcessCommandLine, InitiatingProcessUniqueId',
    '| sort by Timestamp desc',
    '| take 1000',
  ].join('\n');
}

function device(value: string, id: string | undefined): string {
  // Ids of devices are shown where names are not.
  const known = id ?? (DEVICE_ID.test(value) ? value : undefined);
  const where = known ? `DeviceId == ${stringText(known)}` : `DeviceName =~ ${stringText(value)}`;
  return [
    `// What ${value.replaceAll('\n', ' ')} did`,
    'union DeviceProcessEvents, DeviceNetworkEvents, DeviceFileEvents, DeviceLogonEvents, DeviceEvents',
    `| where ${where}`,
    '| project Timestamp, DeviceId, DeviceName, ActionType, FileName, FolderPath, ProcessCommandLine, RemoteIP,',
    '    RemoteUrl, AccountName, InitiatingProcessFileName, InitiatingProcessUniqueId',
    '| sort by Timestamp desc',
    '| take 1000',
  ].join('\n');
}

function account(value: string): string {
  const v = stringText(value);
  return [
    '// Log-ons and processes of the account',
    'union DeviceLogonEvents, DeviceProcessEvents',
    `| where AccountName =~ ${v}`,
    '| project Timestamp, DeviceId, DeviceName, ActionType, AccountName, LogonType, RemoteIP, FileName,',
    '    ProcessCommandLine, InitiatingProcessFileName, ProcessUniqueId',
    '| sort by Timestamp desc',
    '| take 1000',
  ].join('\n');
}

/** The process and its children by its key, or what ran with this command line. */
export function processQuery(key: string, deviceId?: string): string {
  const k = stringText(key);
  return [
    '// The process, what it started and what it did',
    'union DeviceProcessEvents, DeviceNetworkEvents, DeviceFileEvents, DeviceEvents',
    ...(deviceId ? [`| where DeviceId == ${stringText(deviceId)}`] : []),
    `| where ProcessUniqueId == ${k} or InitiatingProcessUniqueId == ${k}`,
    '| project Timestamp, DeviceId, DeviceName, ActionType, FileName, FolderPath, ProcessCommandLine, RemoteIP,',
    '    RemoteUrl, InitiatingProcessFileName, ProcessUniqueId, InitiatingProcessUniqueId',
    '| sort by Timestamp asc',
    '| take 1000',
  ].join('\n');
}

function process(value: string, id: string | undefined): string {
  if (id) return processQuery(id);
  const column = /\s|\//.test(value) ? 'ProcessCommandLine' : 'FileName';
  return [
    '// Where a process like this ran',
    'DeviceProcessEvents',
    `| where ${column} == ${stringText(value)}`,
    '| project Timestamp, DeviceId, DeviceName, AccountName, FileName, FolderPath, ProcessCommandLine,',
    '    InitiatingProcessFileName, InitiatingProcessCommandLine, ProcessUniqueId',
    '| sort by Timestamp desc',
    '| take 1000',
  ].join('\n');
}

function alert(id: string): string {
  return [
    '// The alert with its evidence',
    'AlertInfo',
    `| where AlertId == ${stringText(id)}`,
    '| join kind=inner AlertEvidence on AlertId',
    '| project Timestamp, AlertId, Title, Severity, Category, EntityType, EvidenceRole, DeviceName, AccountName,',
    '    FileName, SHA256, ProcessCommandLine, RemoteIP, RemoteUrl',
    '| sort by Timestamp asc',
  ].join('\n');
}

/** Alerts with their evidence, and what the machines did around them. */
export function incidentQuery(alertIds: readonly string[]): string {
  return [
    '// What the alerts of the incident are about',
    `let alerts = dynamic(${JSON.stringify(alertIds.slice(0, INCIDENT_ALERTS_MAX))});`,
    'AlertInfo',
    '| where AlertId in (alerts)',
    '| join kind=inner AlertEvidence on AlertId',
    '| project Timestamp, AlertId, Title, Severity, Category, EntityType, EvidenceRole, DeviceName, AccountName,',
    '    FileName, SHA256, ProcessCommandLine, RemoteIP, RemoteUrl',
    '| sort by Timestamp asc',
  ].join('\n');
}

/** Alerts of an incident that a query names; a storm's incident has thousands, and the text is read by people. */
const INCIDENT_ALERTS_MAX = 200;

/** The query that fits an entity; null where there is nothing to hunt for. */
export function huntFrom({ field, value, id }: Hunted): string | null {
  if (!value) return null;
  switch (field) {
    case 'device':
      return device(value, id);
    case 'user':
      return account(value);
    case 'file':
      return file(value);
    case 'hash':
      return byHash(hash(value) ?? 'SHA256', value);
    case 'address':
      return IP.test(value) ? ip(value) : domain(value);
    case 'process':
      return process(value, id);
    case 'alert':
      return alert(id ?? value);
    default:
      return null;
  }
}

/** What a text that somebody typed is, where its form says so. */
export function kindOf(text: string): string | null {
  if (/^\d{1,3}(?:\.\d{1,3}){3}$/.test(text) || /^[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){2,7}$/.test(text))
    return 'address';
  if (hash(text)) return 'hash';
  if (/^\/[^\s]+$/.test(text)) return 'file';
  return /^(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,24}$/i.test(text) ? 'address' : null;
}

const COLUMNS: [RegExp, string][] = [
  [/DeviceName$/, 'device'],
  [/^(?:Initiating|Created|Target)?(?:Process)?(?:Parent)?AccountName$/, 'user'],
  [/(?:SHA1|SHA256|MD5)$/, 'hash'],
  [/(?:^|[a-z])IP$|IPAddress$/, 'address'],
  [/RemoteUrl$|^Domain(?:Name)?$/, 'address'],
  [/CommandLine$/, 'process'],
  [/UniqueId$/, 'processKey'],
  [/FileName$|FolderPath$/, 'file'],
  [/^AlertId$/, 'alert'],
];

/** What a column of a hunting table holds, by its name; its own name where it is nothing in particular. */
export function fieldOf(column: string): string {
  return COLUMNS.find(([pattern]) => pattern.test(column))?.[1] ?? column;
}
