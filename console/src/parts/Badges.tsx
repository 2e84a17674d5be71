import type { Severity } from '../api/types';
import { type TextKey, t } from '../i18n';
import { spaced } from '../logic/words';

const STATUS: Record<string, TextKey> = {
  New: 'status.New',
  Active: 'status.Active',
  InProgress: 'status.InProgress',
  Resolved: 'status.Resolved',
  Redirected: 'status.Redirected',
};

export function SeverityBadge({ severity }: { severity: Severity }) {
  return (
    <span className={`sev sev-${severity}`}>
      <i aria-hidden="true" />
      {severity === 'UnSpecified' ? t('severity.none') : severity}
    </span>
  );
}

export function StatusBadge({ status }: { status: string }) {
  const key = STATUS[status];
  return <span className={`pill status-${status}`}>{key ? t(key) : spaced(status)}</span>;
}

export function HealthBadge({ health }: { health: string }) {
  return (
    <span className={`pill health-${health}`}>
      <i aria-hidden="true" />
      {spaced(health)}
    </span>
  );
}

export function Tag({ children, tone }: { children: React.ReactNode; tone?: string }) {
  return <span className={`tag ${tone ? `tag-${tone}` : ''}`}>{children}</span>;
}

/** ATT&CK tactics in order, the first ones spelled out. */
export function Tactics({ categories, limit = 2 }: { categories: readonly string[]; limit?: number }) {
  const rest = categories.length - limit;
  return (
    <span className="tags" title={categories.map(spaced).join(' → ')}>
      {categories.slice(0, limit).map((c) => (
        <Tag key={c}>{spaced(c)}</Tag>
      ))}
      {rest > 0 && <Tag>+{rest}</Tag>}
    </span>
  );
}
