import { ArrowRightRegular } from '@fluentui/react-icons';
import type { Coverage, Subscription } from '../api/plane';
import { useRecommendations } from '../api/recommendations';
import { t } from '../i18n';
import { type Action, topActions } from '../logic/plane';
import { Section, To } from '../parts/Parts';

function words(action: Action): string {
  switch (action.kind) {
    case 'reason':
      return t('overview.actionReason', {
        count: action.count,
        reason: t(`environment.reason.${action.reason}`),
      });
    case 'recommendation':
      return t('overview.actionRecommendation', { count: action.count, title: action.title });
    case 'trial':
      return t('overview.actionTrial', { count: action.count, name: action.name });
    case 'first':
      return t('overview.actionFirst');
  }
}

/** What to do first, each a click away from where it is done. */
export function TopActions({
  coverage,
  subscriptions,
}: {
  coverage: Coverage;
  subscriptions: readonly Subscription[];
}) {
  const recommendations = useRecommendations();
  const actions = topActions(coverage, subscriptions, recommendations.data ?? []);
  return (
    <Section title={t('overview.actions')}>
      {actions.length === 0 && <p className="muted">{t('overview.actionsNone')}</p>}
      <ul className="plain">
        {actions.map((action) => (
          <li key={action.kind + action.key}>
            <To
              path={action.kind === 'recommendation' ? '/recommendations' : '/environment'}
              change={action.kind === 'reason' ? { reason: action.key } : action.key ? { sel: action.key } : {}}
              className="line plain-link"
            >
              <span className="grow">
                <strong>{words(action)}</strong>
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
