import { ArrowRightRegular } from '@fluentui/react-icons';
import type { Coverage, Subscription } from '../api/plane';
import { t } from '../i18n';
import { topActions } from '../logic/plane';
import { Section, To } from '../parts/Parts';

/** What to do first, each a click away from where it is done. */
export function TopActions({
  coverage,
  subscriptions,
}: {
  coverage: Coverage;
  subscriptions: readonly Subscription[];
}) {
  const actions = topActions(coverage, subscriptions);
  return (
    <Section title={t('overview.actions')}>
      {actions.length === 0 && <p className="muted">{t('overview.actionsNone')}</p>}
      <ul className="plain">
        {actions.map((action) => (
          <li key={action.kind + action.key}>
            <To
              path="/environment"
              change={action.kind === 'reason' ? { reason: action.key } : action.key ? { sel: action.key } : {}}
              className="line plain-link"
            >
              <span className="grow">
                <strong>
                  {action.kind === 'reason'
                    ? t('overview.actionReason', {
                        count: action.count,
                        reason: t(`environment.reason.${action.reason}`),
                      })
                    : action.kind === 'trial'
                      ? t('overview.actionTrial', { count: action.count, name: action.name })
                      : t('overview.actionFirst')}
                </strong>
                {action.kind === 'reason' && (
                  <span className="muted"> {t(`environment.fixHint.${action.reason}`)}</span>
                )}
              </span>
              <ArrowRightRegular aria-hidden="true" />
            </To>
          </li>
        ))}
      </ul>
    </Section>
  );
}
