import type { DetectionAction } from '../api/detections';
import type { EntityType } from '../api/types';
import type { ResultColumn } from './results';

// What a result offers for a detection: its columns decide which entities can be impacted and which actions fit.

const ENTITY_COLUMNS: Record<EntityType, readonly string[]> = {
  Machine: ['DeviceId', 'DeviceName', 'RemoteDeviceName'],
  User: [
    'AccountName',
    'AccountSid',
    'AccountUpn',
    'AccountObjectId',
    'InitiatingProcessAccountName',
    'InitiatingProcessAccountSid',
    'InitiatingProcessAccountUpn',
    'InitiatingProcessAccountObjectId',
    'RequestAccountName',
  ],
  Process: ['ProcessUniqueId', 'InitiatingProcessUniqueId', 'ProcessId', 'InitiatingProcessId'],
  File: [
    'SHA256',
    'SHA1',
    'MD5',
    'FileName',
    'FolderPath',
    'InitiatingProcessSHA256',
    'InitiatingProcessSHA1',
    'InitiatingProcessFileName',
    'InitiatingProcessFolderPath',
  ],
  Ip: ['RemoteIP', 'LocalIP', 'RequestSourceIP', 'FileOriginIP', 'PublicIP'],
  Url: ['RemoteUrl', 'FileOriginUrl', 'FileOriginReferrerUrl'],
};
export const ENTITY_TYPES: readonly EntityType[] = ['Machine', 'User', 'Process', 'File', 'Ip', 'Url'];

const FILE_COLUMNS = ['SHA256', 'SHA1', 'InitiatingProcessSHA256', 'InitiatingProcessSHA1'];
const FILE_ACTIONS: readonly DetectionAction[] = ['quarantineFile', 'allowFile', 'blockFile'];

export function entityChoices(type: EntityType, columns: readonly ResultColumn[]): string[] {
  return ENTITY_COLUMNS[type].filter((name) => columns.some((c) => c.name === name));
}

export function actionColumns(action: DetectionAction, columns: readonly ResultColumn[]): string[] {
  const wanted = FILE_ACTIONS.includes(action) ? FILE_COLUMNS : ['DeviceId'];
  return wanted.filter((name) => columns.some((c) => c.name === name));
}

/** Columns without which no alert can name its event. */
export function missingColumns(columns: readonly ResultColumn[]): string[] {
  const has = (name: string) => columns.some((c) => c.name === name);
  const missing = ['Timestamp', 'ReportId'].filter((name) => !has(name));
  return has('DeviceId') || has('DeviceName') ? missing : [...missing, 'DeviceId'];
}

/** A placeholder put at a place of the title. */
export function withPlaceholder(title: string, column: string): string {
  return `${title.trimEnd()}${title.trim() === '' ? '' : ' '}{{${column}}}`;
}

/** `T1059, T1053.003` → a list; what is no technique is left out. */
export function techniquesOf(text: string): string[] {
  return [...new Set(text.toUpperCase().match(/T\d{4}(?:\.\d{3})?/g) ?? [])];
}
