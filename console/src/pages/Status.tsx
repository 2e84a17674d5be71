import { useStatus } from '../api/queries';
import { t } from '../i18n';
import { bytes, grouped, spaced } from '../logic/words';
import { Facts, Section, Time } from '../parts/Parts';
import { Failure, Loading } from '../parts/States';

function shown(name: string, value: unknown): React.ReactNode {
  if (value === null || value === undefined) return '–';
  if (typeof value === 'boolean') return value ? t('word.yes') : t('word.no');
  if (typeof value === 'number') {
    if (/bytes|size/i.test(name)) return bytes(value);
    return grouped(Number.isInteger(value) ? value : Math.round(value * 100) / 100);
  }
  if (typeof value === 'string') return /^\d{4}-\d\d-\d\dT/.test(value) ? <Time at={value} /> : value;
  if (Array.isArray(value))
    return value.length === 0
      ? '–'
      : value.map((v) => (typeof v === 'object' ? JSON.stringify(v) : String(v))).join(', ');
  return JSON.stringify(value);
}

function words(name: string): string {
  const text = spaced(name.replace(/_/g, ' '));
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** All that the server tells of itself: groups where it has groups, plain figures first. */
export default function Status() {
  const status = useStatus();
  if (status.error) return <Failure error={status.error} retry={() => void status.refetch()} />;
  if (!status.data) return <Loading />;
  const entries = Object.entries(status.data);
  const isGroup = (value: unknown): value is Record<string, unknown> =>
    typeof value === 'object' && value !== null && !Array.isArray(value);
  const plain = entries.filter(([, value]) => !isGroup(value));
  return (
    <div className="page">
      <header className="page-head">
        <h1>{t('nav.status')}</h1>
        <span className="muted">{t('status.fresh')}</span>
      </header>
      <div className="columns">
        {plain.length > 0 && (
          <Section title={t('status.server')}>
            <Facts facts={plain.map(([name, value]) => ({ name: words(name), value: shown(name, value) }))} />
          </Section>
        )}
        {entries.flatMap(([name, value]) =>
          isGroup(value)
            ? [
                <Section key={name} title={words(name)}>
                  <Facts facts={Object.entries(value).map(([n, v]) => ({ name: words(n), value: shown(n, v) }))} />
                </Section>,
              ]
            : [],
        )}
      </div>
    </div>
  );
}
