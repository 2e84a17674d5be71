import { Button, Field, Input, Select, Tab, TabList } from '@fluentui/react-components';
import { ShieldDismissRegular, WrenchRegular } from '@fluentui/react-icons';
import { useMemo, useState } from 'react';
import { api } from '../api/client';
import { useMayChange, useSubscriptions } from '../api/plane';
import { useList } from '../api/queries';
import {
  CATEGORIES,
  type Category,
  type Fixed,
  REC_STATES,
  type Recommendation,
  type RecResource,
  type RecState,
  recPath,
  useExemptions,
  useRecChange,
  useRecommendations,
} from '../api/recommendations';
import type { Page } from '../api/types';
import { t } from '../i18n';
import { href } from '../logic/address';
import { placeOf, scopeOf } from '../logic/plane';
import { SeverityBadge, Tag } from '../parts/Badges';
import { DataGrid, type GridColumn } from '../parts/DataGrid';
import { PickFilter } from '../parts/Filters';
import { Facts, Section, Time, To } from '../parts/Parts';
import { SidePane } from '../parts/SidePane';
import { Empty, Failure, Loading } from '../parts/States';
import { useTell } from '../parts/toast';
import { Ask } from '../plane/Ask';
import { Meter, PlanBadge } from '../plane/Words';
import { go, useParamChange, usePlace } from '../router';
import '../plane/plane.css';

/** Machines that one fix may name. */
const FIX_MAX = 500;
const COUNTS = {
  Healthy: 'healthy',
  Unhealthy: 'unhealthy',
  NotApplicable: 'notApplicable',
  Exempt: 'exempt',
} as const;
const COLORS: Record<RecState, string> = {
  Healthy: '--good',
  Unhealthy: '--sev-High',
  NotApplicable: '--plan-Off',
  Exempt: '--plan-P1',
};

/** The recommendations as cards: how many machines are in which state. */
function Cards({ all, chosen }: { all: readonly Recommendation[]; chosen: string }) {
  const change = useParamChange();
  return (
    <div className="rec-cards" role="group" aria-label={t('nav.recommendations')}>
      {all.map((r) => (
        <button
          key={r.key}
          type="button"
          className="rec-card"
          aria-pressed={r.key === chosen}
          onClick={() => change({ key: r.key, sel: null, state: null }, true)}
        >
          <span className="line">
            <SeverityBadge severity={r.severity} />
            <span className="grow" />
            <PlanBadge plan={r.plan} />
          </span>
          <strong>{r.title}</strong>
          <Meter
            label={t('recs.states')}
            whole={r.healthy + r.unhealthy + r.notApplicable + r.exempt}
            shares={REC_STATES.map((s) => ({ name: t(`recs.state.${s}`), color: COLORS[s], value: r[COUNTS[s]] }))}
          />
          <span className="muted small">
            {t('recs.counts', { unhealthy: r.unhealthy, all: r.healthy + r.unhealthy })}
          </span>
        </button>
      ))}
    </div>
  );
}

function columns(nameOf: (id: string) => string, narrow: boolean): GridColumn<RecResource>[] {
  const all: GridColumn<RecResource>[] = [
    {
      id: 'name',
      header: t('machines.word'),
      width: 'minmax(110px, 1fr)',
      cell: (r) => (
        <To path={`/machines/${r.machineId}`} className="link cut">
          {r.name}
        </To>
      ),
    },
    {
      id: 'reason',
      header: t('recs.reason'),
      width: 'minmax(200px, 2.4fr)',
      cell: (r) => (
        <span className="cut" title={r.reason}>
          {r.findings[0]?.message ?? r.reason}
          {r.findings.length > 1 && <Tag>+{r.findings.length - 1}</Tag>}
        </span>
      ),
    },
    {
      id: 'discovered',
      header: t('recs.discovered'),
      width: 'minmax(130px, 1.2fr)',
      cell: (r) =>
        r.discovered.length === 0 ? (
          <span className="muted">–</span>
        ) : (
          <span className="tags" title={r.discovered.join(', ')}>
            {r.discovered.slice(0, 2).map((d) => (
              <Tag key={d}>{d}</Tag>
            ))}
          </span>
        ),
    },
    {
      id: 'group',
      header: t('machines.group'),
      width: 'minmax(80px, 0.7fr)',
      cell: (r) => <span className="cut">{placeOf(r.resourceId).group}</span>,
    },
    {
      id: 'subscription',
      header: t('machine.subscription'),
      width: 'minmax(90px, 0.8fr)',
      cell: (r) => <span className="cut">{nameOf(r.subscription)}</span>,
    },
  ];
  return narrow ? all.filter((c) => !['group', 'subscription', 'discovered'].includes(c.id)) : all;
}

/** Asks before it does, then says of each machine what was done. */
function FixDialog({
  recommendation,
  machines,
  close,
}: {
  recommendation: Recommendation;
  machines: readonly RecResource[];
  close: () => void;
}) {
  const fix = useRecChange(() =>
    api.post<Page<Fixed>>(recPath(recommendation.key, 'fix'), { machines: machines.map((m) => m.machineId) }),
  );
  const names = new Map(machines.map((m) => [m.machineId, m.name]));
  const fixes = [...new Set(machines.flatMap((m) => m.findings.map((f) => f.fix)))];
  const done = fix.data?.items.filter((i) => i.done).length ?? 0;
  return (
    <Ask
      wide
      title={t('recs.fixTitle', { title: recommendation.title })}
      act={fix.data ? t('action.close') : t('recs.fixDo', { count: machines.length })}
      busy={fix.isPending}
      error={fix.error}
      close={close}
      run={() => (fix.data ? close() : fix.mutate(undefined))}
    >
      {fix.data ? (
        <>
          <strong role="status">{t('recs.fixed', { done, all: fix.data.items.length })}</strong>
          <ul className="plain" data-fixed>
            {fix.data.items.map((item) => (
              <li key={item.machineId} className="line">
                <Tag tone={item.done ? 'good' : 'warn'}>{item.done ? t('recs.done') : t('recs.open')}</Tag>
                <strong>{names.get(item.machineId) ?? item.machineId}</strong>
                <span className="grow">{item.message}</span>
              </li>
            ))}
          </ul>
        </>
      ) : (
        <>
          <p>{t('recs.fixHint', { count: machines.length })}</p>
          <ul className="plain">
            {fixes.slice(0, 8).map((text) => (
              <li key={text}>{text}</li>
            ))}
          </ul>
          <p className="muted small">
            {machines
              .slice(0, 12)
              .map((m) => m.name)
              .join(', ')}
            {machines.length > 12 && ` ${t('bulk.rest', { count: machines.length - 12 })}`}
          </p>
        </>
      )}
    </Ask>
  );
}

function ExemptDialog({
  recommendation,
  resource,
  close,
}: {
  recommendation: Recommendation;
  resource: RecResource;
  close: () => void;
}) {
  const place = placeOf(resource.resourceId);
  const [wide, setWide] = useState<'machine' | 'group' | 'subscription'>('machine');
  const [category, setCategory] = useState<Category>('Waiver');
  const [reason, setReason] = useState('');
  const [days, setDays] = useState('90');
  const tell = useTell();
  const scope = {
    machine: resource.resourceId,
    group: scopeOf(place.subscription, place.group),
    subscription: scopeOf(place.subscription),
  }[wide];
  const make = useRecChange(() =>
    api.post(recPath(recommendation.key, 'exemptions'), {
      scope,
      category,
      reason: reason.trim(),
      ...(Number(days) > 0 ? { expires: new Date(Date.now() + Number(days) * 86_400_000).toISOString() } : {}),
    }),
  );
  return (
    <Ask
      title={t('recs.exemptTitle', { name: resource.name })}
      act={t('recs.exempt')}
      able={reason.trim() !== ''}
      busy={make.isPending}
      error={make.error}
      close={close}
      run={() =>
        make.mutate(undefined, {
          onSuccess: () => {
            tell.done(t('recs.exempted'));
            close();
          },
        })
      }
    >
      <Field label={t('recs.scope')}>
        <Select
          value={wide}
          onChange={(_, data) =>
            setWide((['machine', 'group', 'subscription'] as const).find((w) => w === data.value) ?? 'machine')
          }
        >
          <option value="machine">{t('recs.scopeMachine', { name: resource.name })}</option>
          <option value="group">{t('recs.scopeGroup', { name: place.group })}</option>
          <option value="subscription">{t('recs.scopeSubscription')}</option>
        </Select>
      </Field>
      <Field label={t('recs.category')} hint={t(`recs.categoryHint.${category}`)}>
        <Select
          value={category}
          onChange={(_, data) => setCategory(CATEGORIES.find((c) => c === data.value) ?? 'Waiver')}
        >
          {CATEGORIES.map((c) => (
            <option key={c} value={c}>
              {t(`recs.categoryName.${c}`)}
            </option>
          ))}
        </Select>
      </Field>
      <Field label={t('exclusions.reason')} required>
        <Input value={reason} onChange={(_, data) => setReason(data.value)} />
      </Field>
      <Field label={t('access.days')} hint={t('access.daysHint')}>
        <Input type="number" min={0} max={3650} value={days} onChange={(_, data) => setDays(data.value)} />
      </Field>
    </Ask>
  );
}

function ResourcePane({
  recommendation,
  resource,
  close,
  onFix,
  onExempt,
}: {
  recommendation: Recommendation;
  resource: RecResource;
  close: () => void;
  onFix: () => void;
  onExempt: () => void;
}) {
  const may = useMayChange();
  const tell = useTell();
  const drop = useRecChange((id: string) => api.delete(recPath(recommendation.key, `exemptions/${id}`)));
  const { exemption } = resource;
  return (
    <SidePane
      title={resource.name}
      label={t('recs.summary')}
      close={close}
      actions={
        <>
          {recommendation.fix && resource.state === 'Unhealthy' && (
            <Button size="small" appearance="primary" icon={<WrenchRegular />} disabled={!may} onClick={onFix}>
              {t('recs.fix')}
            </Button>
          )}
          {resource.state !== 'Exempt' && (
            <Button size="small" icon={<ShieldDismissRegular />} disabled={!may} onClick={onExempt}>
              {t('recs.exempt')}
            </Button>
          )}
        </>
      }
    >
      <div className="tags">
        <Tag tone={resource.state === 'Healthy' ? 'good' : resource.state === 'Unhealthy' ? 'bad' : undefined}>
          {t(`recs.state.${resource.state}`)}
        </Tag>
        {resource.discovered.map((d) => (
          <Tag key={d}>{d}</Tag>
        ))}
      </div>
      <p>{resource.reason}</p>
      {resource.findings.length > 0 && (
        <Section title={t('recs.findings')}>
          {resource.findings.map((f) => (
            <div key={f.code} className="finding" data-finding={f.code}>
              <strong>{f.message}</strong>
              <span>
                {t('recs.what')} {f.fix}
              </span>
              <code className="muted small">{f.code}</code>
            </div>
          ))}
        </Section>
      )}
      {exemption && (
        <Section
          title={t('recs.exemption')}
          end={
            <Button
              size="small"
              disabled={!may || drop.isPending}
              onClick={() =>
                drop.mutate(exemption.id, { onSuccess: () => tell.done(t('recs.ended')), onError: tell.failed })
              }
            >
              {t('recs.end')}
            </Button>
          }
        >
          <Facts
            facts={[
              { name: t('recs.category'), value: t(`recs.categoryName.${exemption.category}`) },
              { name: t('exclusions.reason'), value: exemption.reason },
              { name: t('recs.scope'), value: <code className="small wrap">{exemption.scope}</code> },
              { name: t('settings.column.createdBy'), value: exemption.createdBy },
              {
                name: t('settings.column.expires'),
                value: exemption.expires ? <Time at={exemption.expires} /> : t('access.never'),
              },
            ]}
          />
        </Section>
      )}
      <Section title={t('incidents.facts')}>
        <Facts
          facts={[
            {
              name: t('cloudAlerts.machine'),
              value: <To path={`/machines/${resource.machineId}`}>{resource.name}</To>,
            },
            { name: t('machine.id'), value: <code className="small wrap">{resource.resourceId}</code> },
          ]}
        />
      </Section>
    </SidePane>
  );
}

/** Exemptions in force on more than what the list shows, such as a whole subscription. */
function Exemptions({ recommendation }: { recommendation: Recommendation }) {
  const list = useExemptions(recommendation.key);
  const may = useMayChange();
  const tell = useTell();
  const drop = useRecChange((id: string) => api.delete(recPath(recommendation.key, `exemptions/${id}`)));
  if (!list.data || list.data.length === 0) return null;
  return (
    <details className="rec-exemptions">
      <summary>{t('recs.exemptions', { count: list.data.length })}</summary>
      <ul className="plain">
        {list.data.map((e) => (
          <li key={e.id} className="line">
            <Tag>{t(`recs.categoryName.${e.category}`)}</Tag>
            <span className="grow">
              {e.reason} <code className="muted small wrap">{e.scope}</code>
            </span>
            <span className="muted small nowrap">
              {e.expires ? <Time at={e.expires} /> : t('access.never')} · {e.createdBy}
            </span>
            <Button
              size="small"
              appearance="subtle"
              disabled={!may || drop.isPending}
              onClick={() => drop.mutate(e.id, { onSuccess: () => tell.done(t('recs.ended')), onError: tell.failed })}
            >
              {t('recs.end')}
            </Button>
          </li>
        ))}
      </ul>
    </details>
  );
}

function Resources({ recommendation }: { recommendation: Recommendation }) {
  const { params, search } = usePlace();
  const change = useParamChange();
  const may = useMayChange();
  const subscriptions = useSubscriptions();
  const state = REC_STATES.find((s) => s === params.get('state')) ?? 'Unhealthy';
  const list = useList<RecResource>(
    'recommendations',
    recPath(recommendation.key, 'resources'),
    { state, subscription: params.get('subscription') },
    100,
    10_000,
  );
  const [asking, setAsking] = useState<{ what: 'fix'; machines: RecResource[] } | { what: 'exempt' } | null>(null);
  const [checked, setChecked] = useState<Set<string>>(new Set());
  const names = useMemo(() => new Map((subscriptions.data ?? []).map((s) => [s.id, s.name])), [subscriptions.data]);
  const nameOf = (id: string) => names.get(id) ?? id.slice(0, 8);
  const sel = params.get('sel');
  const selected = list.rows.find((r) => r.machineId === sel) ?? null;
  const shown = useMemo(() => columns((id) => names.get(id) ?? id.slice(0, 8), selected !== null), [names, selected]);
  const fixing = list.rows.filter((r) => checked.has(r.machineId)).slice(0, FIX_MAX);
  return (
    <div className="rec-list">
      <div className="list-main">
        <div className="rec-head">
          <p className="muted">{recommendation.description}</p>
          <Exemptions recommendation={recommendation} />
          <TabList
            size="small"
            selectedValue={state}
            onTabSelect={(_, data) => {
              setChecked(new Set());
              change({ state: data.value === 'Unhealthy' ? null : String(data.value), sel: null }, true);
            }}
          >
            {REC_STATES.map((s) => (
              <Tab key={s} value={s}>
                {t(`recs.state.${s}`)} ({recommendation[COUNTS[s]]})
              </Tab>
            ))}
          </TabList>
        </div>
        <DataGrid
          name="recommendations"
          label={t(`recs.state.${state}`)}
          columns={shown}
          rows={list.rows}
          keyOf={(r) => r.machineId}
          selected={sel}
          onSelect={(r) => change({ sel: r.machineId })}
          onOpen={(r) => go(href(`/machines/${r.machineId}`, search))}
          checked={state === 'Unhealthy' && recommendation.fix && may ? checked : undefined}
          onChecked={state === 'Unhealthy' && recommendation.fix && may ? setChecked : undefined}
          loading={list.loading}
          error={list.error}
          retry={list.retry}
          more={list.more}
          readOn={list.readOn}
          empty={<Empty title={t('recs.none')} hint={t(`recs.noneHint.${state}`)} />}
          toolbar={
            <div className="filters">
              <PickFilter
                param="subscription"
                label={t('machine.subscription')}
                options={(subscriptions.data ?? []).map((s) => s.id)}
                name={nameOf}
                single
              />
              {state === 'Unhealthy' && recommendation.fix && (
                <Button
                  size="small"
                  appearance="primary"
                  icon={<WrenchRegular />}
                  disabled={!may || fixing.length === 0}
                  onClick={() => setAsking({ what: 'fix', machines: fixing })}
                >
                  {fixing.length === 0 ? t('recs.fix') : t('recs.fixDo', { count: fixing.length })}
                </Button>
              )}
            </div>
          }
        />
      </div>
      {selected && (
        <ResourcePane
          recommendation={recommendation}
          resource={selected}
          close={() => change({ sel: null })}
          onFix={() => setAsking({ what: 'fix', machines: [selected] })}
          onExempt={() => setAsking({ what: 'exempt' })}
        />
      )}
      {asking?.what === 'fix' && (
        <FixDialog recommendation={recommendation} machines={asking.machines} close={() => setAsking(null)} />
      )}
      {asking?.what === 'exempt' && selected && (
        <ExemptDialog recommendation={recommendation} resource={selected} close={() => setAsking(null)} />
      )}
    </div>
  );
}

export default function Recommendations() {
  const { params } = usePlace();
  const all = useRecommendations();
  const chosen = all.data?.find((r) => r.key === params.get('key')) ?? all.data?.[0] ?? null;
  return (
    <div className="list-page rec-page">
      <header className="page-head">
        <h1>{t('nav.recommendations')}</h1>
      </header>
      {all.error ? (
        <Failure error={all.error} retry={() => void all.refetch()} />
      ) : all.data === null ? (
        <Empty title={t('state.notServed')} />
      ) : !all.data ? (
        <Loading />
      ) : !chosen ? (
        <Empty title={t('recs.noneAtAll')} />
      ) : (
        <>
          <Cards all={all.data} chosen={chosen.key} />
          <Resources key={chosen.key} recommendation={chosen} />
        </>
      )}
    </div>
  );
}
