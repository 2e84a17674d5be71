import { type ConnectionState, type EffectivePlan, type Extension, PLANS, type Plan } from '../api/plane';
import { t } from '../i18n';
import { type HealthWord, percent, provisioning } from '../logic/plane';
import { Tag } from '../parts/Badges';

// Plans, states and shares as words with a colour.

export function PlanBadge({ plan, why }: { plan: EffectivePlan | Plan | null | undefined; why?: boolean | 'short' }) {
  if (!plan) return <Tag>{t('plan.unset')}</Tag>;
  const { plan: word, source } = typeof plan === 'string' ? { plan, source: null } : plan;
  return (
    <span className="tags" title={source ? t(`plan.from.${source}`) : undefined}>
      <Tag tone={word}>{t(`plan.${word}`)}</Tag>
      {why && source && (
        <span className="muted small">{t(`plan.${why === 'short' ? 'short' : 'from'}.${source}`)}</span>
      )}
    </span>
  );
}

/** Off, Plan 1, Plan 2 side by side; on machines also to inherit. A choice is asked for, never made at once. */
export function PlanSwitch({
  name,
  value,
  machine,
  disabled,
  onPick,
}: {
  name: string;
  /** What is set here; null where nothing is. */
  value: Plan | null;
  machine?: boolean;
  disabled?: boolean;
  onPick: (plan: Plan | null) => void;
}) {
  const choices: (Plan | null)[] = machine ? [null, ...PLANS] : [...PLANS];
  return (
    <div className="switch" role="group" aria-label={t('plan.label', { name })}>
      {choices.map((choice) => {
        const refused = machine && choice === 'P2';
        return (
          <button
            key={choice ?? 'inherit'}
            type="button"
            className={`plan-${choice}`}
            aria-pressed={choice === value}
            disabled={disabled || refused}
            title={refused ? t('plan.noP2') : undefined}
            onClick={(event) => {
              event.stopPropagation();
              if (choice !== value) onPick(choice);
            }}
          >
            {choice ? t(`plan.${choice}`) : t('plan.inherit')}
          </button>
        );
      })}
    </div>
  );
}

export function StateBadge({ state }: { state: ConnectionState }) {
  return (
    <span className={`pill state-${state}`}>
      <i aria-hidden="true" />
      {t(`machines.state.${state}`)}
    </span>
  );
}

export function HealthPill({ health }: { health: HealthWord }) {
  return (
    <span className={`pill class-${health}`}>
      <i aria-hidden="true" />
      {t(`machine.healthClass.${health}`)}
    </span>
  );
}

export function ExtensionTag({ extension }: { extension: Extension }) {
  const tone = { Succeeded: 'good', Failed: 'bad', Creating: 'own', Updating: 'own', Deleting: 'warn' }[
    extension.state
  ];
  return (
    <span title={extension.message || undefined}>
      <Tag tone={tone}>
        {extension.code === 0 ? extension.state : `${extension.state} ${extension.code}`}
        <span className="sr-only">{provisioning(extension.state, extension.code)}</span>
      </Tag>
    </span>
  );
}

export interface Share {
  name: string;
  /** Name of a CSS variable. */
  color: string;
  value: number;
}

/** One bar of several shares. */
export function Meter({
  label,
  shares,
  whole,
  tall,
}: {
  label: string;
  shares: Share[];
  whole: number;
  tall?: boolean;
}) {
  const said = shares.map((s) => `${s.name} ${s.value}`).join(', ');
  return (
    <span className={`meter ${tall ? 'meter-tall' : ''}`} role="img" aria-label={`${label}: ${said}`}>
      {shares
        .filter((s) => s.value > 0)
        .map((s) => (
          <i
            key={s.name}
            style={{ width: `${whole > 0 ? (s.value / whole) * 100 : 0}%`, background: `var(${s.color})` }}
            title={`${s.name}: ${s.value}`}
          />
        ))}
    </span>
  );
}

export function CoverageBar({ covered, all }: { covered: number; all: number }) {
  if (all === 0) return <span className="muted">{t('environment.noMachines')}</span>;
  const words = t('environment.covered', { covered, all });
  return (
    <span className="meter-row" title={words}>
      <Meter
        label={words}
        whole={all}
        shares={[{ name: t('environment.coverage'), color: '--good', value: covered }]}
      />
      <span>{percent(covered, all)}%</span>
    </span>
  );
}
