import { Tab, TabList } from '@fluentui/react-components';
import { lazy, Suspense, useMemo } from 'react';
import { address } from '../api/client';
import { type CostReport, useCost } from '../api/money';
import { type UsageBy, useSubscriptions, useUsage } from '../api/plane';
import { t } from '../i18n';
import { amount, costsByDay, daysOf, percent, usageSeries, usageTotals } from '../logic/plane';
import { asRange, rangeMillis } from '../logic/time';
import { brief, grouped } from '../logic/words';
import { ForecastCard } from '../money/ForecastCard';
import { Prices } from '../money/Prices';
import { SeatPools } from '../money/SeatPools';
import { Section, To, useNow } from '../parts/Parts';
import { Empty, Failure, Loading } from '../parts/States';
import { Meter } from '../plane/Words';
import { useParamChange, usePlace } from '../router';
import '../plane/plane.css';

const Chart = lazy(() => import('../parts/Chart'));
const TABS = ['usage', 'prices', 'seats', 'forecast'] as const;
const BY = ['subscription', 'machine', 'plan'] as const;
const TITLES = { subscription: 'usage.bySubscription', machine: 'usage.byMachine', plan: 'usage.byPlan' } as const;
const HOUR = 3_600_000;
/** Lines that a table shows; what is below them is the long tail. */
const LINES_MAX = 200;

export default function Usage() {
  const { params } = usePlace();
  const change = useParamChange();
  const tab = TABS.find((name) => name === params.get('tab')) ?? 'usage';
  const range = asRange(params.get('since'));
  // The address asks by whole hours, so that the same page asks the same question for an hour.
  const hour = Math.floor(useNow() / HOUR);
  const to = new Date((hour + 1) * HOUR).toISOString();
  const from = new Date((hour + 1) * HOUR - Math.max(rangeMillis(range), 24 * HOUR)).toISOString();
  const priced = useCost('day', from, to).data;
  return (
    <div className="page">
      <header className="page-head">
        <h1>{t('nav.usage')}</h1>
        <span className="muted">{t(`range.${range}`)}</span>
        <span className="grow" />
        {priced &&
          (['csv', 'parquet'] as const).map((format) => (
            <a key={format} className="link" href={address('/usage/export', { format, from, to })} download>
              {t(format === 'csv' ? 'money.downloadCsv' : 'money.downloadParquet')}
            </a>
          ))}
      </header>
      {priced !== null && (
        <TabList
          size="small"
          className="usage-tabs"
          selectedValue={tab}
          onTabSelect={(_, data) => change({ tab: data.value === 'usage' ? null : String(data.value) }, true)}
        >
          {TABS.map((name) => (
            <Tab key={name} value={name}>
              {t(`money.tab.${name}`)}
            </Tab>
          ))}
        </TabList>
      )}
      {tab === 'prices' ? (
        <Prices />
      ) : tab === 'seats' ? (
        <SeatPools />
      ) : tab === 'forecast' ? (
        <ForecastCard />
      ) : (
        <Hours from={from} to={to} cost={priced ?? null} />
      )}
    </div>
  );
}

/** Hours and cost over the days, then by what they fall on. */
function Hours({ from, to, cost }: { from: string; to: string; cost: CostReport | null }) {
  const { params } = usePlace();
  const change = useParamChange();
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
  const costs = useMemo(
    () => [{ name: t('money.total'), color: '--plan-P1', values: costsByDay(cost?.items ?? [], days) }],
    [cost, days],
  );
  if (byDay.error) return <Failure error={byDay.error} retry={() => void byDay.refetch()} />;
  if (!byDay.data) return <Loading />;
  const sum = byDay.data.reduce(
    (all, line) => ({ hours: all.hours + line.hours, trial: all.trial + line.trialHours }),
    { hours: 0, trial: 0 },
  );
  const offset = (cost?.items ?? []).reduce((all, line) => all + line.offset, 0);
  const unpriced = (cost?.items ?? []).reduce((all, line) => all + (line.unpriced ?? 0), 0);
  const running = cost?.runningHours ?? 0;
  const currency = cost?.currency;
  const steps = days.map((d) => d.slice(5));
  return (
    <>
      <div className="tiles tiles-three">
        <Figure value={sum.hours} name={t('usage.hours')} />
        <Figure value={sum.trial} name={t('usage.trial')} />
        <Figure value={sum.hours - sum.trial - offset} name={t('usage.billed')} />
        {offset > 0 && <Figure value={offset} name={t('usage.offset')} />}
        {running > 0 && <Figure value={running} name={t('usage.running')} />}
        {cost && currency && (
          <div className="tile" data-total>
            <span className="tile-number">{amount(cost.total, currency)}</span>
            <span className="tile-name">{t('money.total')}</span>
          </div>
        )}
      </div>
      {cost && !currency && <p className="muted">{t('money.noPrices')}</p>}
      {unpriced > 0 && currency && <p className="muted">{t('usage.unpriced', { count: unpriced })}</p>}
      {cost?.ingest && currency && cost.ingest.megabytes > 0 && (
        <p className="muted">
          {t('money.ingest', { megabytes: grouped(cost.ingest.megabytes), cost: amount(cost.ingest.cost, currency) })}
        </p>
      )}
      {cost && currency && sum.hours > 0 && (
        <Section title={`${t('money.costByDay')} (${currency})`}>
          <Suspense fallback={<Loading />}>
            <Chart label={t('money.costByDay')} steps={steps} series={costs} height={180} whole={false} />
          </Suspense>
        </Section>
      )}
      <Section title={t('usage.byDay')}>
        {sum.hours === 0 ? (
          <Empty title={t('usage.none')} hint={t('usage.noneHint')} />
        ) : (
          <>
            <Suspense fallback={<Loading />}>
              <Chart label={t('usage.byDay')} steps={steps} series={series} height={220} />
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
      <Lines by={by} from={from} to={to} priced={cost !== null && !!currency} />
    </>
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

function Lines({ by, from, to, priced }: { by: Exclude<UsageBy, 'day'>; from: string; to: string; priced: boolean }) {
  const found = useUsage(by, from, to);
  const cost = useCost(by, from, to).data;
  const subscriptions = useSubscriptions();
  if (found.error) return <Failure error={found.error} retry={() => void found.refetch()} />;
  if (!found.data) return <Loading />;
  const totals = usageTotals(found.data);
  if (totals.length === 0) return <p className="muted padded">{t('usage.none')}</p>;
  const all = totals.reduce((sum, line) => sum + line.hours, 0);
  const most = totals[0]?.hours ?? 0;
  const lines = new Map((cost?.items ?? []).map((line) => [line.key, line]));
  const named = (key: string) => {
    if (by === 'plan') return t(`plan.${key as 'P1'}`);
    if (by === 'machine') {
      const name = lines.get(key)?.name ?? key;
      return (
        <To path={`/machines/${key}`} className={name === key ? 'link mono' : 'link'}>
          {name}
        </To>
      );
    }
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
          {priced && (
            <>
              <th className="end">{t('money.offset')}</th>
              <th className="end">{t('money.listCost')}</th>
              <th className="end">{t('money.total')}</th>
            </>
          )}
        </tr>
      </thead>
      <tbody>
        {totals.slice(0, LINES_MAX).map((line) => (
          <tr key={line.key}>
            <td className={by === 'machine' ? 'cut' : ''}>{named(line.key)}</td>
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
            {priced && (
              <>
                <td className="end">{grouped(lines.get(line.key)?.offset ?? 0)}</td>
                <td className="end nowrap muted">
                  {amount(lines.get(line.key)?.listCost ?? '0', cost?.currency ?? '')}
                </td>
                <td className="end nowrap">
                  <strong>{amount(lines.get(line.key)?.cost ?? '0', cost?.currency ?? '')}</strong>
                </td>
              </>
            )}
          </tr>
        ))}
      </tbody>
    </table>
  );
}
