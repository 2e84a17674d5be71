import { type ReachSource, useSources } from '../api/plane';
import { t } from '../i18n';
import { Tag } from '../parts/Badges';
import { Section, Time } from '../parts/Parts';

/** The state of a source in a word, and how it looks. */
function stateOf(source: ReachSource): { word: string; tone?: string } {
  if (source.disabled) return { word: t('sources.disabled') };
  if (source.running) return { word: t('sources.running') };
  if (!source.outcome) return { word: t('sources.first') };
  return { word: t(`sources.outcome.${source.outcome}`), tone: source.outcome === 'Succeeded' ? 'good' : 'bad' };
}

/** Clouds whose machines come by themselves, with how their newest rounds ended; nothing where there are none. */
export function Sources() {
  const sources = useSources().data ?? [];
  if (sources.length === 0) return null;
  return (
    <Section title={t('sources.title')}>
      {sources.map((source) => {
        const { word, tone } = stateOf(source);
        return (
          <div key={source.name} data-source={source.name}>
            <span className="line">
              <strong>{source.name}</strong>
              <span className="muted small">
                {t('sources.what', { cloud: source.cloud, region: source.region, minutes: source.everyMinutes })}
              </span>
              <Tag tone={tone}>{word}</Tag>
              {source.lastRunTime && <Time ago at={source.lastRunTime} />}
            </span>
            <span className="muted small">
              {source.message
                ? `${source.message}: ${source.fix}`
                : source.lastRunTime && t('sources.counts', { ...source.counts })}
            </span>
          </div>
        );
      })}
    </Section>
  );
}

/** Says that machines of a cloud are not followed any more; nothing where all are. */
export function SourcesFailing() {
  const failing = (useSources().data ?? []).filter((source) => source.failing);
  if (failing.length === 0) return null;
  return (
    <p className="bad" role="status">
      {failing.map((source) => (
        <span key={source.name}>
          {t('sources.failing', { name: source.name, count: source.failures })} {source.message}: {source.fix}
        </span>
      ))}
    </p>
  );
}
