import { Button, Switch } from '@fluentui/react-components';
import { ServerMultipleRegular } from '@fluentui/react-icons';
import { api } from '../api/client';
import {
  type Component,
  type Coverage,
  type Plan,
  type Subscription,
  useMayChange,
  usePlaneChange,
} from '../api/plane';
import { t } from '../i18n';
import { fixOf, placeOf, scopeOf, tagsText } from '../logic/plane';
import { Facts, Section, Time, To } from '../parts/Parts';
import { SidePane } from '../parts/SidePane';
import { useTell } from '../parts/toast';
import { Exclusions } from './Exclude';
import { Features } from './Features';
import { CoverageBar, PlanSwitch } from './Words';

/** Machines without cover that the pane names. */
const NAMED_MAX = 8;

export function componentTitle(name: string): string {
  return name === 'EndpointProtection.Windows' ? t('environment.sensorWindows') : t('environment.sensorLinux');
}

/** A switch that asks nothing, because it takes nothing away: whether sensors are installed by themselves. */
export function IntegrationSwitch({ subscription }: { subscription: Subscription }) {
  const may = useMayChange();
  const tell = useTell();
  const change = usePlaneChange((enabled: boolean) =>
    api.put(`/subscriptions/${subscription.id}/integration`, { enabled }),
  );
  return (
    <span onClick={(event) => event.stopPropagation()}>
      <Switch
        checked={change.isPending ? change.variables : subscription.integration}
        disabled={!may}
        aria-label={t('environment.integrationLabel', { name: subscription.name })}
        onChange={(_, data) => change.mutate(data.checked, { onError: tell.failed })}
      />
    </span>
  );
}

export function ComponentPill({ component }: { component: Component }) {
  const missing = component.missing > 0 ? t('environment.missing', { count: component.missing }) : '';
  return (
    <span className={`pill component-${component.state}`} title={[missing, component.fix].filter(Boolean).join(': ')}>
      <i aria-hidden="true" />
      {t(`environment.componentState.${component.state}`)}
    </span>
  );
}

/** One subscription: plan, components with their fix, who is not covered and why, exclusions, what the plan holds. */
export function SubscriptionPane({
  subscription,
  coverage,
  pick,
  close,
}: {
  subscription: Subscription;
  coverage: Coverage | undefined;
  pick: (plan: Plan | null) => void;
  close: () => void;
}) {
  const may = useMayChange();
  const tell = useTell();
  const own = coverage?.subscriptions.find((c) => c.id === subscription.id);
  const lacking = (coverage?.notCovered ?? []).filter((l) => placeOf(l.resourceId).subscription === subscription.id);
  const integrate = usePlaneChange(() => api.put(`/subscriptions/${subscription.id}/integration`, { enabled: true }));
  const mend = (component: Component) => {
    if (component.state === 'Off' && subscription.integration) pick('P2');
    else if (!subscription.integration) integrate.mutate(undefined, { onError: tell.failed });
  };
  return (
    <SidePane
      title={subscription.name}
      label={t('environment.subscription')}
      close={close}
      actions={
        <>
          <PlanSwitch name={subscription.name} value={subscription.plan ?? null} disabled={!may} onPick={pick} />
          {subscription.plan && (
            <Button size="small" appearance="subtle" disabled={!may} onClick={() => pick(null)}>
              {t('planDialog.clear')}
            </Button>
          )}
        </>
      }
    >
      {!may && <p className="muted">{t('environment.mayNot')}</p>}
      <CoverageBar covered={own?.covered ?? 0} all={own?.machines ?? 0} />
      <Facts
        facts={[
          { name: t('environment.location'), value: subscription.location },
          {
            name: t('plan.trial'),
            value: subscription.trial ? (
              <>
                {subscription.trial.active
                  ? t('plan.trialLeft', { count: subscription.trial.daysLeft })
                  : t('plan.trialEnded')}{' '}
                · <Time at={subscription.trial.ends} />
              </>
            ) : (
              t('plan.trialNone')
            ),
          },
          { name: t('environment.integration'), value: <IntegrationSwitch subscription={subscription} /> },
          (own?.overrides ?? 0) > 0 && {
            name: t('environment.machines'),
            value: t('environment.overrides', { count: own?.overrides ?? 0 }),
          },
          tagsText(subscription.tags) !== '' && { name: t('environment.tags'), value: tagsText(subscription.tags) },
          { name: 'Id', value: <code className="small">{subscription.id}</code> },
        ]}
      />
      <Section title={t('environment.components')}>
        <ul className="plain">
          {(own?.components ?? []).map((c) => (
            <li key={c.name} className="line">
              <span className="grow">
                {componentTitle(c.name)}
                {c.missing > 0 && (
                  <span className="muted small"> · {t('environment.missing', { count: c.missing })}</span>
                )}
              </span>
              <ComponentPill component={c} />
              {c.state === 'Partial' ? (
                <To path="/machines" change={{ subscription: subscription.id, health: 'Installation' }}>
                  {t('environment.fix')}
                </To>
              ) : (
                c.state === 'Off' && (
                  <Button size="small" disabled={!may || integrate.isPending} onClick={() => mend(c)}>
                    {t('environment.fix')}
                  </Button>
                )
              )}
            </li>
          ))}
        </ul>
      </Section>
      <Section
        title={t('environment.notCovered')}
        end={
          <To path="/machines" change={{ subscription: subscription.id }}>
            <ServerMultipleRegular aria-hidden="true" /> {t('environment.open')}
          </To>
        }
      >
        {lacking.length === 0 && (
          <p className="muted">{own?.machines === 0 ? t('environment.noMachines') : t('environment.notCoveredNone')}</p>
        )}
        <ul className="plain">
          {lacking.slice(0, NAMED_MAX).map((line) => (
            <li key={line.resourceId} className="line">
              <span className="grow">
                <To path="/machines" change={{ resource: line.resourceId }}>
                  {placeOf(line.resourceId).name}
                </To>{' '}
                <span className="muted small" title={line.fix}>
                  {t(`environment.reason.${line.reason}`)}
                  {line.code > 0 && ` ${line.code}`}
                </span>
              </span>
              {fixOf(line.reason) === 'plan' && (
                <Button size="small" appearance="subtle" disabled={!may} onClick={() => pick('P2')}>
                  {t('environment.fixWord.plan')}
                </Button>
              )}
              {fixOf(line.reason) === 'integration' && (
                <Button
                  size="small"
                  appearance="subtle"
                  disabled={!may}
                  onClick={() => integrate.mutate(undefined, { onError: tell.failed })}
                >
                  {t('environment.fixWord.integration')}
                </Button>
              )}
            </li>
          ))}
        </ul>
        {lacking.length > NAMED_MAX && <p className="muted">{t('bulk.rest', { count: lacking.length - NAMED_MAX })}</p>}
      </Section>
      <Section title={t('exclusions.title')}>
        <Exclusions scope={scopeOf(subscription.id)} />
      </Section>
      <Section title={t('plan.holds')}>
        <Features plan={subscription.plan ?? 'Off'} />
      </Section>
    </SidePane>
  );
}
