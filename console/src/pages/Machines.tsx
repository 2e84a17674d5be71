import { Button } from '@fluentui/react-components';
import { EditRegular, OpenRegular, PlugConnectedAddRegular } from '@fluentui/react-icons';
import { useMemo, useState } from 'react';
import { type Machine, PLANS, useMachine, useMayChange, useSubscriptions, WAITING_MS } from '../api/plane';
import { useList } from '../api/queries';
import { t } from '../i18n';
import { href } from '../logic/address';
import { HEALTH_WORDS, healthWord, placeOf, sensorOf } from '../logic/plane';
import { Tag } from '../parts/Badges';
import { DataGrid, type GridColumn } from '../parts/DataGrid';
import { Chips, PickFilter, SearchBox } from '../parts/Filters';
import { ItemPane } from '../parts/ItemPane';
import { Time, To } from '../parts/Parts';
import { Empty } from '../parts/States';
import { BulkDialog } from '../plane/BulkDialog';
import { ConnectDialog } from '../plane/ConnectDialog';
import { MachineActions } from '../plane/MachineActions';
import { About, Extensions, Health } from '../plane/MachineFacts';
import { SourcesFailing } from '../plane/Sources';
import { ExtensionTag, HealthPill, PlanBadge, StateBadge } from '../plane/Words';
import { go, useParamChange, usePlace } from '../router';
import '../plane/plane.css';

const STATES = ['Connecting', 'Connected', 'Disconnected', 'Expired'];

function columns(nameOf: (subscription: string) => string, narrow: boolean): GridColumn<Machine>[] {
  const all: GridColumn<Machine>[] = [
    {
      id: 'name',
      header: t('machines.word'),
      width: 'minmax(130px, 1.6fr)',
      cell: (m) => (
        <To path={`/machines/${m.id}`} className="link cut">
          {m.name}
        </To>
      ),
    },
    {
      id: 'state',
      header: t('machines.columnState'),
      width: '122px',
      cell: (m) => <StateBadge state={m.state} />,
    },
    { id: 'power', header: t('machines.power'), width: '92px', cell: (m) => m.powerState ?? '–' },
    {
      id: 'plan',
      header: t('machines.plan'),
      width: 'minmax(126px, 1fr)',
      cell: (m) => <PlanBadge plan={m.plan} why={narrow ? undefined : 'short'} />,
    },
    {
      id: 'sensor',
      header: t('machines.sensor'),
      width: '112px',
      cell: (m) => {
        const sensor = sensorOf(m);
        return sensor ? <ExtensionTag extension={sensor} /> : <span className="muted">–</span>;
      },
    },
    {
      id: 'health',
      header: t('machines.health'),
      width: '122px',
      cell: (m) => <HealthPill health={healthWord(m)} />,
    },
    {
      id: 'subscription',
      header: t('machine.subscription'),
      width: 'minmax(90px, 1fr)',
      cell: (m) => <span className="cut">{nameOf(placeOf(m.resourceId).subscription)}</span>,
    },
    {
      id: 'group',
      header: t('machines.group'),
      width: 'minmax(70px, 0.8fr)',
      cell: (m) => <span className="cut">{placeOf(m.resourceId).group}</span>,
    },
    {
      id: 'tags',
      header: t('machine.tags'),
      width: 'minmax(80px, 1fr)',
      cell: (m) => (
        <span className="tags">
          {Object.entries(m.tags).map(([name, value]) => (
            <Tag key={name}>{value ? `${name}=${value}` : name}</Tag>
          ))}
        </span>
      ),
    },
    {
      id: 'heartbeat',
      header: t('machines.heartbeat'),
      width: '98px',
      cell: (m) => <Time ago at={m.lastHeartbeat} />,
    },
    {
      id: 'device',
      header: t('word.device'),
      width: '72px',
      cell: (m) =>
        m.deviceId ? (
          <To path={`/devices/${m.deviceId}`} label={`${t('machine.device')}: ${m.name}`}>
            <OpenRegular aria-hidden="true" />
          </To>
        ) : (
          '–'
        ),
    },
  ];
  return narrow ? all.filter((c) => !['power', 'subscription', 'tags', 'device', 'heartbeat'].includes(c.id)) : all;
}

function MachinePane({ id, close }: { id: string; close: () => void }) {
  return (
    <ItemPane
      query={useMachine(id)}
      titleOf={(m) => m.name}
      word={t('machines.word')}
      label={t('machines.summary')}
      open={{ path: `/machines/${id}`, text: t('machines.open') }}
      close={close}
    >
      {(machine) => (
        <>
          <div className="tags">
            <MachineActions machine={machine} />
          </div>
          <Health machine={machine} />
          <Extensions machine={machine} />
          <About machine={machine} />
        </>
      )}
    </ItemPane>
  );
}

export default function Machines() {
  const { params, search } = usePlace();
  const change = useParamChange();
  const may = useMayChange();
  const subscriptions = useSubscriptions();
  const [asking, setAsking] = useState<'connect' | 'bulk' | null>(null);
  const list = useList<Machine>(
    'machines',
    '/machines',
    {
      subscription: params.get('subscription'),
      group: params.get('group'),
      tag: params.get('tag'),
      state: params.get('state'),
      plan: params.get('plan'),
      health: params.get('health'),
      resourceId: params.get('resource'),
      q: params.get('q'),
    },
    100,
    WAITING_MS * 2,
  );
  const names = useMemo(() => new Map((subscriptions.data ?? []).map((s) => [s.id, s.name])), [subscriptions.data]);
  const selected = params.get('sel');
  const shown = useMemo(() => columns((id) => names.get(id) ?? id.slice(0, 8), selected !== null), [names, selected]);
  const subscription = params.get('subscription') ?? undefined;
  const tag = params.get('tag') ?? '';
  return (
    <div className="list-page">
      <div className="list-main">
        <header className="page-head">
          <h1>{t('nav.machines')}</h1>
          <span className="grow" />
          <Button size="small" icon={<EditRegular />} disabled={!may} onClick={() => setAsking('bulk')}>
            {t('environment.bulk')}
          </Button>
          <Button
            size="small"
            appearance="primary"
            icon={<PlugConnectedAddRegular />}
            disabled={!may}
            onClick={() => setAsking('connect')}
          >
            {t('machines.connect')}
          </Button>
        </header>
        <SourcesFailing />
        <DataGrid
          name="machines"
          label={t('nav.machines')}
          columns={shown}
          rows={list.rows}
          keyOf={(m) => m.id}
          selected={selected}
          onSelect={(m) => change({ sel: m.id })}
          onOpen={(m) => go(href(`/machines/${m.id}`, search))}
          loading={list.loading}
          error={list.error}
          retry={list.retry}
          more={list.more}
          readOn={list.readOn}
          empty={
            <Empty
              title={t('machines.none')}
              hint={t('machines.noneHint')}
              action={
                <Button size="small" disabled={!may} onClick={() => setAsking('connect')}>
                  {t('machines.connect')}
                </Button>
              }
            />
          }
          toolbar={
            <div className="filters">
              <SearchBox label={t('machines.search')} />
              <PickFilter param="state" label={t('machines.columnState')} options={STATES} single />
              <PickFilter
                param="plan"
                label={t('machines.plan')}
                options={PLANS}
                single
                name={(p) => t(`plan.${p as 'P1'}`)}
              />
              <PickFilter
                param="health"
                label={t('machines.health')}
                options={HEALTH_WORDS}
                name={(h) => t(`machine.healthClass.${h as 'Healthy'}`)}
              />
              <Chips
                params={[
                  {
                    param: 'subscription',
                    label: t('machine.subscription'),
                    say: (id) => names.get(id) ?? id.slice(0, 8),
                  },
                  { param: 'group', label: t('machines.group') },
                  { param: 'tag', label: t('bulkPlan.tag') },
                  { param: 'resource', label: t('machine.id'), say: (id) => placeOf(id).name },
                ]}
              />
            </div>
          }
        />
      </div>
      {selected && <MachinePane key={selected} id={selected} close={() => change({ sel: null })} />}
      {asking === 'connect' && <ConnectDialog start={subscription} close={() => setAsking(null)} />}
      {asking === 'bulk' && (
        <BulkDialog
          start={{
            subscriptionId: subscription,
            resourceGroup: params.get('group') ?? undefined,
            tagName: tag.split('=')[0] || undefined,
            tagValue: tag.split('=').slice(1).join('=') || undefined,
          }}
          close={() => setAsking(null)}
        />
      )}
    </div>
  );
}
