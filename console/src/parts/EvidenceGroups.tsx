import type { EntityType, Evidence } from '../api/types';
import { t } from '../i18n';
import { Tag } from './Badges';
import { Entity } from './Entity';
import { Section, Time } from './Parts';
import { Empty } from './States';

const KINDS: EntityType[] = ['Process', 'File', 'Ip', 'Url', 'User', 'Machine'];

function nameOf(e: Evidence): string {
  switch (e.entityType) {
    case 'Process':
      return e.processCommandLine || e.fileName || String(e.processId ?? '');
    case 'File':
      return e.filePath?.endsWith(`/${e.fileName}`) ? e.filePath : [e.filePath, e.fileName].filter(Boolean).join('/');
    case 'Ip':
      return e.ipAddress ?? '';
    case 'Url':
      return e.url ?? '';
    default:
      return e.accountName || e.fileName || e.userSid || '';
  }
}

const FIELD: Record<EntityType, string> = {
  Process: 'process',
  File: 'file',
  Ip: 'address',
  Url: 'address',
  User: 'user',
  Machine: 'device',
};

/** Entities of a case, grouped by kind, each once with how many alerts name it. */
export function EvidenceGroups({ evidence }: { evidence: Evidence[] }) {
  if (evidence.length === 0) return <Empty title={t('evidence.none')} />;
  return (
    <div className="evidence">
      {KINDS.map((kind) => {
        const once = new Map<string, { e: Evidence; count: number }>();
        for (const e of evidence) {
          if (e.entityType !== kind) continue;
          const key = e.processUniqueId && kind === 'Process' ? e.processUniqueId : nameOf(e);
          const entry = once.get(key);
          if (entry) entry.count += 1;
          else once.set(key, { e, count: 1 });
        }
        if (once.size === 0) return null;
        return (
          <Section key={kind} title={`${t(`evidence.${kind}`)} (${once.size})`}>
            <ul className="plain">
              {[...once].map(([key, { e, count }]) => (
                <li key={key} className="line">
                  {kind === 'Process' && <strong className="mono">{`${e.fileName ?? ''} ${e.processId ?? ''}`}</strong>}
                  <span className="grow cut">
                    <Entity mono field={FIELD[kind]} value={nameOf(e)} />
                  </span>
                  {e.sha256 && <Entity mono className="hash" field="hash" value={e.sha256} />}
                  {e.role === 'Impacted' && <Tag tone="own">{t('evidence.impacted')}</Tag>}
                  {count > 1 && <Tag>×{count}</Tag>}
                  <span className="muted small">
                    <Time ago at={e.processCreationTime ?? e.evidenceCreationTime} />
                  </span>
                </li>
              ))}
            </ul>
          </Section>
        );
      })}
    </div>
  );
}
