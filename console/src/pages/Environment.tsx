import { Button, Field, Input } from '@fluentui/react-components';
import {
  AddRegular,
  BuildingRegular,
  ChevronRightRegular,
  EditRegular,
  FolderRegular,
  PlugConnectedAddRegular,
} from '@fluentui/react-icons';
import { useMemo, useState } from 'react';
import { api } from '../api/client';
import {
  type Plan,
  type Reason,
  type Selector,
  type Subscription,
  type TenantLine,
  useCoverage,
  useGroupsOf,
  useMayChange,
  usePlaneChange,
  useSubscriptions,
  useTenants,
} from '../api/plane';
import { t } from '../i18n';
import { listOf } from '../logic/address';
import { type Branch, branches, fixOf, placeOf, tagsOf } from '../logic/plane';
import { DataGrid, type GridColumn } from '../parts/DataGrid';
import { SearchBox } from '../parts/Filters';
import { To } from '../parts/Parts';
import { SidePane } from '../parts/SidePane';
import { Empty, Failure, Loading } from '../parts/States';
import { useTell } from '../parts/toast';
import { Ask } from '../plane/Ask';
import { BulkDialog } from '../plane/BulkDialog';
import { ConnectDialog } from '../plane/ConnectDialog';
import { CoverageCard, ReasonsCard, TenantCard } from '../plane/CoverageCards';
import { PlanDialog } from '../plane/PlanDialog';
import { ComponentPill, componentTitle, IntegrationSwitch, SubscriptionPane } from '../plane/SubscriptionPane';
import { CoverageBar, PlanSwitch } from '../plane/Words';
import { useParamChange, usePlace } from '../router';
import '../plane/plane.css';

type Asking =
  | { what: 'plan'; subscription: Subscription; to: Plan | null }
  | { what: 'bulk'; start?: Partial<Selector> }
  | { what: 'connect'; start?: string }
  | { what: 'add' };

/** The roots of the tree: the tenants that the session may work in. Another one is a click, and the page begins anew. */
function Roots() {
  const all = useTenants().data ?? [];
  const tell = useTell();
  if (all.length < 2) return null;
  const words = (one: TenantLine) => (one.geography ? `${one.id} · ${one.geography}` : one.id);
  return (
    <ul className="plain roots" aria-label={t('environment.tenants')}>
      {all.map((one) => (
        <li key={one.id}>
          <Button
            size="small"
            appearance={one.current ? 'primary' : 'subtle'}
            icon={<BuildingRegular />}
            aria-current={one.current}
            onClick={() => {
              if (one.current) return;
              const there = () => window.location.assign('/environment');
              api.put('/session/tenant', { tenant: one.id }).then(there, tell.failed);
            }}
          >
            {words(one)}
          </Button>
        </li>
      ))}
    </ul>
  );
}

function AddDialog({ close }: { close: () => void }) {
  const [name, setName] = useState('');
  const [location, setLocation] = useState('');
  const [tags, setTags] = useState('');
  const tell = useTell();
  const make = usePlaneChange(() => api.post('/subscriptions', { name: name.trim(), location, tags: tagsOf(tags) }));
  return (
    <Ask
      title={t('environment.add')}
      act={t('environment.add')}
      able={name.trim() !== '' && location.trim() !== ''}
      busy={make.isPending}
      error={make.error}
      close={close}
      run={() =>
        make.mutate(undefined, {
          onSuccess: () => {
            tell.done(t('environment.added'));
            close();
          },
        })
      }
    >
      <Field label={t('environment.name')} required>
        <Input value={name} onChange={(_, data) => setName(data.value)} />
      </Field>
      <Field label={t('environment.location')} hint={t('environment.locationHint')} required>
        <Input value={location} onChange={(_, data) => setLocation(data.value)} />
      </Field>
      <Field label={t('environment.tags')} hint={t('machine.tagsHint')}>
        <Input value={tags} onChange={(_, data) => setTags(data.value)} />
      </Field>
    </Ask>
  );
}

function columns(
  may: boolean,
  fold: (id: string) => void,
  ask: (asking: Asking) => void,
  narrow: boolean,
): GridColumn<Branch>[] {
  const all: GridColumn<Branch>[] = [
    {
      id: 'name',
      header: t('environment.name'),
      width: 'minmax(200px, 2fr)',
      cell: (b) =>
        b.kind === 'group' ? (
          <span className="branch branch-group">
            <FolderRegular aria-hidden="true" />
            <To path="/machines" change={{ subscription: b.subscription.id, group: b.group.name }} className="link cut">
              {b.group.name}
            </To>
          </span>
        ) : (
          <span className="branch">
            <button
              type="button"
              className="fold"
              aria-expanded={b.open}
              aria-label={t('environment.fold', { name: b.subscription.name })}
              onClick={(event) => {
                event.stopPropagation();
                fold(b.key);
              }}
            >
              <ChevronRightRegular aria-hidden="true" />
            </button>
            <strong className="cut">{b.subscription.name}</strong>
          </span>
        ),
    },
    {
      id: 'plan',
      header: t('machine.plan'),
      width: '190px',
      cell: (b) =>
        b.kind === 'group' ? (
          <Button
            size="small"
            appearance="subtle"
            icon={<EditRegular />}
            disabled={!may}
            onClick={(event) => {
              event.stopPropagation();
              ask({ what: 'bulk', start: { subscriptionId: b.subscription.id, resourceGroup: b.group.name } });
            }}
          >
            {t('environment.bulk')}
          </Button>
        ) : (
          <PlanSwitch
            name={b.subscription.name}
            value={b.subscription.plan ?? null}
            disabled={!may}
            onPick={(to) => ask({ what: 'plan', subscription: b.subscription, to })}
          />
        ),
    },
    {
      id: 'machines',
      header: t('environment.machines'),
      width: '84px',
      end: true,
      cell: (b) => (b.kind === 'group' ? b.group.machineCount : b.subscription.machineCount),
    },
    {
      id: 'coverage',
      header: t('environment.coverage'),
      width: 'minmax(110px, 1fr)',
      cell: (b) =>
        b.kind === 'subscription' &&
        b.coverage && <CoverageBar covered={b.coverage.covered} all={b.coverage.machines} />,
    },
    {
      id: 'components',
      header: t('environment.sensorLinux'),
      width: '120px',
      cell: (b) => {
        const linux = b.kind === 'subscription' && b.coverage?.components.find((c) => c.name.endsWith('Linux'));
        return linux ? (
          <span title={componentTitle(linux.name)}>
            <ComponentPill component={linux} />
          </span>
        ) : null;
      },
    },
    {
      id: 'integration',
      header: t('environment.integration'),
      width: '96px',
      title: t('environment.integrationHint'),
      cell: (b) => b.kind === 'subscription' && <IntegrationSwitch subscription={b.subscription} />,
    },
    {
      id: 'trial',
      header: t('plan.trial'),
      width: '126px',
      cell: (b) =>
        b.kind === 'subscription' && (
          <span className={b.subscription.trial?.active ? '' : 'muted'}>
            {!b.subscription.trial
              ? t('plan.trialNone')
              : b.subscription.trial.active
                ? t('plan.trialLeft', { count: b.subscription.trial.daysLeft })
                : t('plan.trialEnded')}
          </span>
        ),
    },
    {
      id: 'location',
      header: t('environment.location'),
      width: 'minmax(90px, 1fr)',
      cell: (b) => b.kind === 'subscription' && <span className="cut">{b.subscription.location}</span>,
    },
  ];
  return narrow ? all.filter((c) => !['trial', 'location', 'components', 'coverage'].includes(c.id)) : all;
}

export default function Environment() {
  const { params } = usePlace();
  const change = useParamChange();
  const may = useMayChange();
  const subscriptions = useSubscriptions();
  const coverage = useCoverage();
  const [asking, setAsking] = useState<Asking | null>(null);
  const openText = params.get('open');
  const open = useMemo(() => new Set(listOf(openText)), [openText]);
  const groups = useGroupsOf([...open]);
  const rows = useMemo(
    () =>
      branches(
        subscriptions.data ?? [],
        coverage.data?.subscriptions ?? [],
        groups.data ?? new Map(),
        open,
        params.get('q') ?? '',
      ),
    [subscriptions.data, coverage.data, groups.data, open, params],
  );
  const selected = params.get('sel');
  const reason = params.get('reason') as Reason | null;
  const fold = useMemo(
    () => (id: string) => change({ open: open.has(id) ? [...open].filter((o) => o !== id) : [...open, id] }),
    [change, open],
  );
  const shown = useMemo(
    () => columns(may, fold, setAsking, selected !== null || reason !== null),
    [may, fold, selected, reason],
  );
  const chosen = subscriptions.data?.find((s) => s.id === selected?.split('/')[0]);
  const coverageOf = (id: string) => coverage.data?.subscriptions.find((c) => c.id === id) ?? null;
  return (
    <div className="list-page">
      <div className="list-main">
        <header className="page-head">
          <h1>{t('nav.environment')}</h1>
          <span className="muted">{t('list.total', { count: subscriptions.data?.length ?? 0 })}</span>
          <span className="grow" />
          <Button size="small" disabled={!may} onClick={() => setAsking({ what: 'bulk' })} icon={<EditRegular />}>
            {t('environment.bulk')}
          </Button>
          <Button size="small" disabled={!may} onClick={() => setAsking({ what: 'add' })} icon={<AddRegular />}>
            {t('environment.add')}
          </Button>
          <Button
            size="small"
            appearance="primary"
            disabled={!may}
            icon={<PlugConnectedAddRegular />}
            onClick={() => setAsking({ what: 'connect', start: chosen?.id })}
          >
            {t('machines.connect')}
          </Button>
        </header>
        <div className="cards">
          <TenantCard />
          {coverage.error ? (
            <Failure error={coverage.error} retry={() => void coverage.refetch()} />
          ) : !coverage.data ? (
            <Loading />
          ) : (
            <>
              <CoverageCard coverage={coverage.data} />
              <ReasonsCard coverage={coverage.data} pick={(r) => change({ reason: r, sel: null })} />
            </>
          )}
        </div>
        <Roots />
        <DataGrid
          name="environment"
          label={t('environment.subscriptions')}
          columns={shown}
          rows={rows}
          keyOf={(b) => b.key}
          rowHeight={40}
          selected={selected}
          onSelect={(b) => change({ sel: b.key, reason: null })}
          onOpen={(b) => b.kind === 'subscription' && fold(b.key)}
          onKey={(key, b) => {
            if (b?.kind !== 'subscription' || (key !== 'ArrowRight' && key !== 'ArrowLeft')) return false;
            if ((key === 'ArrowRight') !== b.open) fold(b.key);
            return true;
          }}
          loading={subscriptions.isPending}
          error={subscriptions.error}
          retry={() => void subscriptions.refetch()}
          empty={
            <Empty
              title={t('environment.empty')}
              hint={t('environment.emptyHint')}
              action={
                <Button size="small" appearance="primary" disabled={!may} onClick={() => setAsking({ what: 'add' })}>
                  {t('environment.add')}
                </Button>
              }
            />
          }
          toolbar={
            <div className="filters">
              <SearchBox label={t('environment.search')} />
              {!may && <span className="muted">{t('environment.mayNot')}</span>}
            </div>
          }
        />
      </div>
      {reason ? (
        <ReasonPane
          reason={reason}
          close={() => change({ reason: null })}
          ask={(id) => {
            const subscription = subscriptions.data?.find((s) => s.id === id);
            if (subscription) setAsking({ what: 'plan', subscription, to: 'P2' });
          }}
        />
      ) : (
        chosen && (
          <SubscriptionPane
            key={chosen.id}
            subscription={chosen}
            coverage={coverage.data}
            pick={(to) => setAsking({ what: 'plan', subscription: chosen, to })}
            close={() => change({ sel: null })}
          />
        )
      )}
      {asking?.what === 'plan' && (
        <PlanDialog
          subscription={asking.subscription}
          coverage={coverageOf(asking.subscription.id)}
          to={asking.to}
          close={() => setAsking(null)}
        />
      )}
      {asking?.what === 'bulk' && <BulkDialog start={asking.start} close={() => setAsking(null)} />}
      {asking?.what === 'connect' && <ConnectDialog start={asking.start} close={() => setAsking(null)} />}
      {asking?.what === 'add' && <AddDialog close={() => setAsking(null)} />}
    </div>
  );
}

/** The machines that one reason leaves uncovered, each with what mends it. */
function ReasonPane({
  reason,
  close,
  ask,
}: {
  reason: Reason;
  close: () => void;
  ask: (subscription: string) => void;
}) {
  const coverage = useCoverage();
  const may = useMayChange();
  const tell = useTell();
  const integrate = usePlaneChange((id: string) => api.put(`/subscriptions/${id}/integration`, { enabled: true }));
  const lines = (coverage.data?.notCovered ?? []).filter((l) => l.reason === reason);
  return (
    <SidePane title={t(`environment.reason.${reason}`)} label={t('environment.notCovered')} close={close}>
      <p>{t(`environment.fixHint.${reason}`)}</p>
      <ul className="plain">
        {lines.slice(0, 100).map((line) => {
          const { subscription, group, name } = placeOf(line.resourceId);
          const fix = fixOf(reason);
          return (
            <li key={line.resourceId} className="line">
              <span className="grow cut">
                <To path="/machines" change={{ resource: line.resourceId }}>
                  {name}
                </To>{' '}
                <span className="muted small">
                  {group}
                  {line.code > 0 && ` · ${line.code}: ${line.fix}`}
                </span>
              </span>
              {fix === 'plan' && (
                <Button size="small" appearance="subtle" disabled={!may} onClick={() => ask(subscription)}>
                  {t('environment.fixWord.plan')}
                </Button>
              )}
              {fix === 'integration' && (
                <Button
                  size="small"
                  appearance="subtle"
                  disabled={!may || integrate.isPending}
                  onClick={() => integrate.mutate(subscription, { onError: tell.failed })}
                >
                  {t('environment.fixWord.integration')}
                </Button>
              )}
              {fix === 'exclusion' && (
                <To path="/environment" change={{ sel: subscription }}>
                  {t('environment.fixWord.exclusion')}
                </To>
              )}
            </li>
          );
        })}
      </ul>
      {lines.length > 100 && <p className="muted">{t('bulk.rest', { count: lines.length - 100 })}</p>}
    </SidePane>
  );
}
