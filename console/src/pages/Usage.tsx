import { Tab, TabList } from '@fluentui/react-components';
import { lazy, Suspense, useMemo } from 'react';
import { address } from '../api/client';
import { type UsageBy, useSubscriptions, useUsage } from '../api/plane';
import { t } from '../i18n';
import { costs, daysOf, money, percent, usageSeries, usageTotals } from '../logic/plane';
import { asRange, rangeMillis } from '../logic/time';
import { brief, grouped } from '../logic/words';
import { Section, To, useNow } from '../parts/Parts';
import { Empty, Failure, Loading } from '../parts/States';
import { Meter } from '../plane/Words';
import { useParamChange, usePlace } from '../router';
import '../plane/plane.css';

const Chart = lazy(() => import('../parts/Chart'));
const BY = ['subscription', 'machine', 'plan'] as const;
const TITLES = { subscription: 'usage.bySubscription', machine: 'usage.byMachine', plan: 'usage.byPlan' } as const;
const HOUR = 3_600_000;
/** Lines that a table shows; what is below them is the long tail. */
const LINES_MAX = 200;

export default function Usage() {
  const { params } = usePlace();
  const change = useParamChange();
  const range = asRange(params.get('since'));
  // The address asks by whole hours, so that the same page asks the same question for an hour.
  const hour = Math.floor(useNow() / HOUR);
  const to = new Date((hour + 1) * HOUR).toISOString();
  const from = new Date((hour + 1) * HOUR - Math.max(rangeMillis(range), 24 * HOUR)).toISOString();
  const by = BY.find((b) => b === params.get('by')) ?? 'subscription';
  const byDay = useUsage('day', from, to);
  const days = useMemo(() => daysOf(from, to), [from, to]);
  const series = useMemo(
    () =>
      usageSeries(byDay.data ?? [], days).map((s) => {
        const key = `${s.plan}${s.trial ? 'trial' : ''}` as 'P1trial';
        return { name: t(`usage.series.${key}`), color: `--plan-${key}`, values: s.values };
      }),
    [byDay.data, days],
  );
  const sum = (byDay.data ?? []).reduce(
    (all, line) => ({
      hours: all.hours + line.hours,
      trial: all.trial + line.trialHours,
      offset: all.offset + (line.offsetHours ?? 0),
      billed: all.billed + (line.billedHours ?? line.hours - line.trialHours),
      unpriced: all.unpriced + (line.unpricedHours ?? 0),
    }),
    { hours: 0, trial: 0, offset: 0, billed: 0, unpriced: 0 },
  );
  const cost = costs(byDay.data ?? []);
  const priced = (byDay.data ?? []).some((line) => line.billedHours !== undefined);
  return (
    <div className="page">
      <header className="page-head">
        <h1>{t('nav.usage')}</h1>
        <span className="muted">{t(`range.${range}`)}</span>
        <span className="grow" />
        {priced &&
          (['focus-csv', 'focus-parquet'] as const).map((format) => (
            <a key={format} className="link" href={address('/usage/export', { format, from, to })} download>
              {t(format === 'focus-csv' ? 'usage.focus' : 'usage.focusParquet')}
            </a>
          ))}
      </header>
      {byDay.error ? (
        <Failure error={byDay.error} retry={() => void byDay.refetch()} />
      ) : !byDay.data ? (
        <Loading />
      ) : (
        <>
          <div className="tiles tiles-three">
            <Figure value={sum.hours} name={t('usage.hours')} />
            <Figure value={sum.trial} name={t('usage.trial')} />
            <Figure value={sum.billed} name={t('usage.billed')} />
            {sum.offset > 0 && <Figure value={sum.offset} name={t('usage.offset')} />}
            {cost.map((one) => (
              <div className="tile" key={one.currency}>
                <span className="tile-number">{money(one.micros, one.currency)}</span>
                <span className="tile-name">{t('usage.cost')}</span>
              </div>
            ))}
          </div>
          {sum.unpriced > 0 && <p className="muted">{t('usage.unpriced', { count: sum.unpriced })}</p>}
          <Section title={t('usage.byDay')}>
            {sum.hours === 0 ? (
              <Empty title={t('usage.none')} hint={t('usage.noneHint')} />
            ) : (
              <>
                <Suspense fallback={<Loading />}>
                  <Chart label={t('usage.byDay')} steps={days.map((d) => d.slice(5))} series={series} height={240} />
                </Suspense>
                <ul className="legend">
                  {series.map((s) => (
                    <li key={s.name}>
                      <span>
                        <i style={{ background: `var(${s.color})` }} aria-hidden="true" />
                        {s.name}
                      </span>
                    </li>
                  ))}
                </ul>
              </>
            )}
            <p className="muted small">{t('usage.rule')}</p>
          </Section>
          <TabList
            size="small"
            selectedValue={by}
            onTabSelect={(_, data) => change({ by: data.value === 'subscription' ? null : String(data.value) }, true)}
          >
            {BY.map((b) => (
              <Tab key={b} value={b}>
                {t(TITLES[b])}
              </Tab>
            ))}
          </TabList>
          <Lines by={by} from={from} to={to} />
        </>
      )}
    </div>
  );
}

function Figure({ value, name }: { value: number; name: string }) {
  return (
    <div className="tile">
      <span className="tile-number" title={grouped(value)}>
        {brief(value)}
      </span>
      <span className="tile-name">{name}</span>
    </div>
  );
}

function Lines({ by, from, to }: { by: Exclude<UsageBy, 'day'>; from: string; to: string }) {
  const found = useUsage(by, from, to);
  const subscriptions = useSubscriptions();
  if (found.error) return <Failure error={found.error} retry={() => void found.refetch()} />;
  if (!found.data) return <Loading />;
  const totals = usageTotals(found.data);
  if (totals.length === 0) return <p className="muted padded">{t('usage.none')}</p>;
  const all = totals.reduce((sum, line) => sum + line.hours, 0);
  const most = totals[0]?.hours ?? 0;
  const named = (key: string) => {
    if (by === 'plan') return t(`plan.${key as 'P1'}`);
    if (by === 'machine') return <To path={`/machines/${key}`}>{key}</To>;
    const known = subscriptions.data?.find((s) => s.id === key);
    return known ? (
      <To path="/environment" change={{ sel: key }}>
        {known.name}
      </To>
    ) : (
      <span className="muted">
        {key} ({t('usage.unknown')})
      </span>
    );
  };
  return (
    <table className="table usage-table">
      <thead>
        <tr>
          <th>{t('usage.key')}</th>
          <th>{t('usage.share')}</th>
          <th className="end">{t('plan.P1')}</th>
          <th className="end">{t('plan.P2')}</th>
          <th className="end">{t('plan.trial')}</th>
          <th className="end">{t('usage.hours')}</th>
        </tr>
      </thead>
      <tbody>
        {totals.slice(0, LINES_MAX).map((line) => (
          <tr key={line.key}>
            <td className={by === 'machine' ? 'mono cut' : ''}>{named(line.key)}</td>
            <td>
              <span className="meter-row">
                <Meter
                  label={t('usage.share')}
                  whole={most}
                  shares={(['P2', 'P1'] as const).map((plan) => ({
                    name: t(`plan.${plan}`),
                    color: `--plan-${plan}`,
                    value: line.byPlan[plan] ?? 0,
                  }))}
                />
                {percent(line.hours, all)}%
              </span>
            </td>
            <td className="end">{grouped(line.byPlan.P1 ?? 0)}</td>
            <td className="end">{grouped(line.byPlan.P2 ?? 0)}</td>
            <td className="end">{grouped(line.trialHours)}</td>
            <td className="end">
              <strong>{grouped(line.hours)}</strong>
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
