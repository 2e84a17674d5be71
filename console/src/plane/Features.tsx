import { CheckmarkRegular, SubtractCircleRegular } from '@fluentui/react-icons';
import { type Plan, usePlans } from '../api/plane';
import { t } from '../i18n';

/** What a plan holds; what it does not hold is off, with the name of the plan that does. */
export function Features({ plan }: { plan: Plan }) {
  const plans = usePlans();
  const table = plans.data ?? [];
  const first = new Set(
    table
      .find((p) => p.plan === 'P1')
      ?.features.filter((f) => f.included)
      .map((f) => f.feature),
  );
  return (
    <ul className="features">
      {(table.find((p) => p.plan === plan)?.features ?? []).map((f) => (
        <li key={f.feature} className={f.included ? '' : 'off'}>
          {f.included ? (
            <CheckmarkRegular className="good" aria-hidden="true" />
          ) : (
            <SubtractCircleRegular aria-hidden="true" />
          )}
          <span className="grow">
            {f.title} {f.place && <span className="muted small">{f.place}</span>}
          </span>
          {!f.included && (
            <span className="tag">{t('plan.needs', { plan: t(first.has(f.feature) ? 'plan.P1' : 'plan.P2') })}</span>
          )}
        </li>
      ))}
    </ul>
  );
}
