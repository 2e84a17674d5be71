import { LockClosedRegular } from '@fluentui/react-icons';
import { type Coverage, HEALTH_CLASSES, PLANS, type Reason, useGeographies, useHealth, useTenant } from '../api/plane';
import { t } from '../i18n';
import { fixOf, percent } from '../logic/plane';
import { Tag } from '../parts/Badges';
import { Section, Time, To } from '../parts/Parts';
import { Failure, Loading } from '../parts/States';
import { HealthPill, Meter } from './Words';

/** Where the tenant's data rests, that it is so for good, and why. */
export function TenantCard() {
  const tenant = useTenant();
  const names = useGeographies();
  const code = tenant.data?.geography;
  return (
    <Section
      title={t('environment.tenant')}
      end={
        tenant.data && (
          <Tag tone="own">
            <LockClosedRegular aria-hidden="true" /> {t('environment.tenantFixed')}
          </Tag>
        )
      }
    >
      {tenant.error ? (
        <Failure error={tenant.error} retry={() => void tenant.refetch()} />
      ) : tenant.data === undefined ? (
        <Loading />
      ) : tenant.data === null ? (
        <>
          <div className="figure">
            <span>{t('environment.tenantNone')}</span>
          </div>
          <p className="muted small">{t('environment.tenantNoneHint')}</p>
        </>
      ) : (
        <>
          <div className="figure">
            <strong>{code}</strong>
            <span className="muted">{names.data?.find((g) => g.code === code)?.name}</span>
          </div>
          <p className="muted small">{t('environment.tenantWhy')}</p>
          <span className="muted small">
            {t('environment.tenantSince')} <Time at={tenant.data.createdTime} />
          </span>
        </>
      )}
    </Section>
  );
}

export function CoverageCard({ coverage }: { coverage: Coverage }) {
  const { machines, covered } = coverage;
  return (
    <Section title={t('environment.coverage')}>
      <div className="figure">
        <strong>{machines === 0 ? '–' : `${percent(covered, machines)}%`}</strong>
        <span className="muted">{t('environment.covered', { covered, all: machines })}</span>
      </div>
      <Meter
        tall
        label={t('environment.byPlan')}
        whole={machines}
        shares={[...PLANS].reverse().map((plan) => ({
          name: t(`plan.${plan}`),
          color: `--plan-${plan}`,
          value: coverage.byPlan[plan] ?? 0,
        }))}
      />
      <ul className="legend">
        {[...PLANS].reverse().map((plan) => (
          <li key={plan}>
            <To path="/machines" change={{ plan }} className="plain-link">
              <i style={{ background: `var(--plan-${plan})` }} aria-hidden="true" />
              {t(`plan.${plan}`)} <strong>{coverage.byPlan[plan] ?? 0}</strong>
            </To>
          </li>
        ))}
      </ul>
    </Section>
  );
}

/** Codes that the card names. */
const CODES_SHOWN = 4;

/** Machines by class of health; a class leads to its machines, a code says what mends it. */
export function HealthCard() {
  const health = useHealth();
  const all = health.data;
  return (
    <Section
      title={t('machine.health')}
      end={
        all?.refreshed && (
          <span className="muted small">
            {t('machine.healthLooked')} <Time ago at={all.refreshed} />
          </span>
        )
      }
    >
      {health.error ? (
        <Failure error={health.error} retry={() => void health.refetch()} />
      ) : !all ? (
        <Loading />
      ) : (
        <>
          <div className="figure">
            <strong>{all.byState.Healthy}</strong>
            <span className="muted">{t('environment.healthy', { all: all.machines })}</span>
          </div>
          <ul className="plain" data-health>
            {HEALTH_CLASSES.map((kind) => (
              <li key={kind}>
                <To path="/machines" change={{ health: kind }} className="line plain-link">
                  <HealthPill health={kind} />
                  <span className="grow" />
                  <strong>{all.byClass[kind] ?? 0}</strong>
                </To>
              </li>
            ))}
          </ul>
          <ul className="plain">
            {all.codes
              .filter((line) => line.class !== 'NotApplicable')
              .slice(0, CODES_SHOWN)
              .map((line) => (
                <li key={line.code} className="line" title={line.fix}>
                  <span className="cut grow">
                    {line.code}: <span className="muted small">{line.fix}</span>
                  </span>
                  <strong>{line.machines}</strong>
                </li>
              ))}
          </ul>
        </>
      )}
    </Section>
  );
}

/** Why machines are not covered; a reason leads to those machines, and says what mends it. */
export function ReasonsCard({ coverage, pick }: { coverage: Coverage; pick: (reason: Reason) => void }) {
  const reasons = (Object.entries(coverage.reasons) as [Reason, number][]).sort((a, b) => b[1] - a[1]);
  return (
    <Section title={t('environment.notCovered')}>
      {reasons.length === 0 && (
        <p className="muted">
          {coverage.machines === 0 ? t('environment.noMachines') : t('environment.notCoveredNone')}
        </p>
      )}
      <ul className="reasons">
        {reasons.map(([reason, count]) => (
          <li key={reason} title={t(`environment.fixHint.${reason}`)} data-fix={fixOf(reason)}>
            <button type="button" onClick={() => pick(reason)}>
              {t(`environment.reason.${reason}`)}
            </button>
            <Meter
              label={t(`environment.reason.${reason}`)}
              whole={coverage.machines}
              shares={[
                {
                  name: t(`environment.reason.${reason}`),
                  color: reason === 'SensorFailed' ? '--sev-High' : '--sev-Medium',
                  value: count,
                },
              ]}
            />
            <strong>{count}</strong>
          </li>
        ))}
      </ul>
    </Section>
  );
}
