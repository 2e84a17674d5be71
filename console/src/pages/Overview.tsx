import { useQuery } from '@tanstack/react-query';
import { lazy, Suspense, useMemo } from 'react';
import { api } from '../api/client';
import { useCoverage, useSubscriptions } from '../api/plane';
import { useCount, useList } from '../api/queries';
import type { Alert, Device, IncidentSummary, Page, Severity } from '../api/types';
import { t } from '../i18n';
import { buckets, stepName } from '../logic/buckets';
import { asRange, bucketMillis, rangeMillis } from '../logic/time';
import { brief, grouped, SEVERITIES, spaced } from '../logic/words';
import { HealthBadge, SeverityBadge, StatusBadge } from '../parts/Badges';
import { Section, Time, To, useNow } from '../parts/Parts';
import { Empty, Failure, Loading } from '../parts/States';
import { TopActions } from '../plane/Actions';
import { CoverageCard, HealthCard } from '../plane/CoverageCards';
import { usePrefs } from '../prefs';
import { usePlace } from '../router';
import '../plane/plane.css';

const Chart = lazy(() => import('../parts/Chart'));

/** Alerts that the charts look at; the page says so when there are more. */
const ALERTS_MAX = 1_000;
const ALERTS_PAGE = 200;

async function alertsOf(since: string): Promise<{ alerts: Alert[]; cut: boolean }> {
  const alerts: Alert[] = [];
  let cursor: string | undefined;
  do {
    const page: Page<Alert> = await api.get('/alerts', { since, limit: ALERTS_PAGE, cursor });
    alerts.push(...page.items);
    cursor = page.nextCursor ?? undefined;
  } while (cursor && alerts.length < ALERTS_MAX);
  return { alerts, cut: cursor !== undefined };
}

function Tile({ severity }: { severity: Severity }) {
  const count = useCount('/incidents', { status: 'Active,InProgress', severity });
  return (
    <To path="/incidents" change={{ severity }} className={`tile tile-${severity}`}>
      <span className="tile-number">{count.data === undefined ? '·' : brief(count.data)}</span>
      <span className="tile-name">{severity}</span>
    </To>
  );
}

function top(alerts: Alert[], of: (a: Alert) => readonly string[], limit: number): [string, number][] {
  const counts = new Map<string, number>();
  for (const alert of alerts) for (const key of of(alert)) counts.set(key, (counts.get(key) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0])).slice(0, limit);
}

function Bars({ rows, to }: { rows: [string, number][]; to: (name: string) => Record<string, string> }) {
  const most = rows[0]?.[1] ?? 1;
  return (
    <ul className="bars">
      {rows.map(([name, count]) => (
        <li key={name}>
          <To path="/alerts" change={{ ...to(name), status: 'any' }} className="bar">
            <span className="bar-fill" style={{ width: `${Math.max(2, (count / most) * 100)}%` }} />
            <span className="cut">{spaced(name)}</span>
            <strong>{grouped(count)}</strong>
          </To>
        </li>
      ))}
    </ul>
  );
}

export default function Overview() {
  const { params } = usePlace();
  const range = asRange(params.get('since'));
  const { zone } = usePrefs();
  const now = useNow();
  const found = useQuery({ queryKey: ['alerts', 'overview', range], queryFn: () => alertsOf(range) });
  const incidents = useList<IncidentSummary>(
    'incidents',
    '/incidents',
    { status: 'Active,InProgress', sort: '-severity' },
    8,
  );
  const devices = useList<Device>('devices', '/devices', { sort: '-lastSeen' }, 200);
  const coverage = useCoverage();
  const subscriptions = useSubscriptions();
  const alerts = found.data?.alerts;
  const minute = Math.floor(now / 60_000);
  const chart = useMemo(() => {
    const until = (minute + 1) * 60_000;
    const width = bucketMillis(range);
    const steps = buckets(until - rangeMillis(range), until, width);
    return {
      steps: steps.map((start) => stepName(start, width, zone)),
      series: [...SEVERITIES].reverse().map((severity) => {
        const values = steps.map(() => 0);
        for (const alert of alerts ?? []) {
          if (alert.severity !== severity) continue;
          const slot = Math.floor((Date.parse(alert.firstEventTime) - (steps[0] ?? 0)) / width);
          if (slot >= 0 && slot < values.length) values[slot] = (values[slot] ?? 0) + 1;
        }
        return { name: severity, color: `--sev-${severity}`, values };
      }),
    };
  }, [alerts, range, zone, minute]);
  const health = useMemo(() => {
    const counts = new Map<string, number>();
    for (const d of devices.rows) counts.set(d.healthStatus, (counts.get(d.healthStatus) ?? 0) + 1);
    return [...counts].sort((a, b) => b[1] - a[1]);
  }, [devices.rows]);
  return (
    <div className="page">
      <header className="page-head">
        <h1>{t('nav.overview')}</h1>
        <span className="muted">{t('overview.openNow')}</span>
      </header>
      <div className="tiles">
        {SEVERITIES.map((severity) => (
          <Tile key={severity} severity={severity} />
        ))}
      </div>
      {coverage.error ? (
        <Failure error={coverage.error} retry={() => void coverage.refetch()} />
      ) : (
        coverage.data &&
        subscriptions.data && (
          <div className="board board-cloud">
            <TopActions coverage={coverage.data} subscriptions={subscriptions.data} />
            <CoverageCard coverage={coverage.data} />
            <HealthCard />
          </div>
        )
      )}
      <div className="board">
        <Section
          title={t('overview.overTime')}
          end={
            <span className="muted small">
              {alerts && t('overview.alerts', { count: alerts.length })}
              {found.data?.cut && ` (${t('overview.newest', { count: ALERTS_MAX })})`}
            </span>
          }
        >
          {found.error ? (
            <Failure error={found.error} retry={() => void found.refetch()} />
          ) : (
            <Suspense fallback={<Loading />}>
              <Chart label={t('overview.overTime')} steps={chart.steps} series={chart.series} height={260} />
            </Suspense>
          )}
        </Section>
        <Section title={t('overview.devices')}>
          {devices.error ? (
            <Failure error={devices.error} retry={devices.retry} />
          ) : devices.loading ? (
            <Loading />
          ) : devices.rows.length === 0 ? (
            <Empty title={t('devices.none')} hint={t('devices.noneHint')} />
          ) : (
            <>
              <ul className="plain">
                {health.map(([state, count]) => (
                  <li key={state}>
                    <To path="/devices" change={{ health: state }} className="line plain-link">
                      <HealthBadge health={state} />
                      <span className="grow" />
                      <strong>{grouped(count)}</strong>
                    </To>
                  </li>
                ))}
              </ul>
              <h4>{t('overview.risky')}</h4>
              <ul className="plain">
                {[...devices.rows]
                  .filter((d) => d.activeAlertCount > 0)
                  .sort((a, b) => b.activeAlertCount - a.activeAlertCount)
                  .slice(0, 5)
                  .map((d) => (
                    <li key={d.id} className="line">
                      <SeverityBadge severity={d.riskScore} />
                      <To path={`/devices/${d.id}`}>{d.computerDnsName}</To>
                      <span className="grow" />
                      <span className="muted">{t('overview.alerts', { count: d.activeAlertCount })}</span>
                    </li>
                  ))}
              </ul>
            </>
          )}
        </Section>
        <Section title={t('overview.worst')} end={<To path="/incidents">{t('overview.all')}</To>}>
          {incidents.error ? (
            <Failure error={incidents.error} retry={incidents.retry} />
          ) : incidents.loading ? (
            <Loading />
          ) : incidents.rows.length === 0 ? (
            <Empty title={t('incidents.none')} hint={t('overview.quiet')} />
          ) : (
            <ul className="plain">
              {incidents.rows.slice(0, 8).map((i) => (
                <li key={i.id} className="line">
                  <SeverityBadge severity={i.severity} />
                  <To path={`/incidents/${i.id}`} className="link cut grow">
                    {i.title}
                  </To>
                  <StatusBadge status={i.status} />
                  <span className="muted small nowrap">
                    <Time ago at={i.lastUpdateTime} />
                  </span>
                </li>
              ))}
            </ul>
          )}
        </Section>
        <Section title={t('overview.techniques')}>
          {alerts && alerts.length > 0 ? (
            <Bars rows={top(alerts, (a) => a.mitreTechniques, 8)} to={(q) => ({ q })} />
          ) : (
            <p className="muted">{t('overview.noAlerts')}</p>
          )}
        </Section>
      </div>
    </div>
  );
}
