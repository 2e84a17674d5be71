import type { Classification, Determination, Severity } from '../api/types';

/** Severities from worst to least, as lists show them. */
export const SEVERITIES: readonly Severity[] = ['High', 'Medium', 'Low', 'Informational'];

const RANK: Record<Severity, number> = { UnSpecified: 0, Informational: 1, Low: 2, Medium: 3, High: 4 };

export function severityRank(severity: Severity): number {
  return RANK[severity] ?? 0;
}

export function worstSeverity(severities: readonly Severity[]): Severity {
  return severities.reduce<Severity>((worst, s) => (severityRank(s) > severityRank(worst) ? s : worst), 'UnSpecified');
}

export const CLASSIFICATIONS: readonly Classification[] = [
  'TruePositive',
  'InformationalExpectedActivity',
  'FalsePositive',
];

const DETERMINATIONS: Record<Classification, readonly Determination[]> = {
  TruePositive: [
    'MultiStagedAttack',
    'MaliciousUserActivity',
    'CompromisedUser',
    'Malware',
    'Phishing',
    'UnwantedSoftware',
    'Other',
  ],
  InformationalExpectedActivity: ['SecurityTesting', 'LineOfBusinessApplication', 'ConfirmedUserActivity', 'Other'],
  FalsePositive: ['Clean', 'InsufficientData', 'Other'],
};

/** The determinations that may go with a classification: the server refuses all others. */
export function determinationsOf(classification: Classification | null | undefined): readonly Determination[] {
  return classification ? DETERMINATIONS[classification] : [];
}

/** The determination that stays when the classification changes, or the first that fits. */
export function determinationFor(
  classification: Classification,
  before: Determination | null | undefined,
): Determination {
  const fitting = DETERMINATIONS[classification];
  return before && fitting.includes(before) ? before : (fitting[0] ?? 'Other');
}

/** `InitialAccess` → `Initial access`. Words that are all capitals stay. */
export function spaced(word: string): string {
  const parts = word.replace(/([a-z0-9])([A-Z])/g, '$1 $2').split(' ');
  return parts.map((part, i) => (i === 0 || /^[A-Z0-9]+$/.test(part) ? part : part.toLowerCase())).join(' ');
}

/** `1234567` → `1,234,567`. */
export function grouped(value: number): string {
  return value.toLocaleString('en-US');
}

/** `12_300` → `12.3k`: for badges and small figures. */
export function brief(value: number): string {
  if (Math.abs(value) < 10_000) return grouped(value);
  if (Math.abs(value) < 1_000_000) return `${(value / 1_000).toFixed(1).replace(/\.0$/, '')}k`;
  if (Math.abs(value) < 1_000_000_000) return `${(value / 1_000_000).toFixed(1).replace(/\.0$/, '')}M`;
  return `${(value / 1_000_000_000).toFixed(1).replace(/\.0$/, '')}G`;
}

export function bytes(value: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
  let size = value;
  let unit = 0;
  while (Math.abs(size) >= 1000 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? size : size.toFixed(1)} ${units[unit]}`;
}
