import { Button, Field, Input, Select } from '@fluentui/react-components';
import { AlertOffRegular, ArrowUndoRegular, DismissCircleRegular } from '@fluentui/react-icons';
import { useMemo, useState } from 'react';
import {
  CLOUD_SEVERITIES,
  CLOUD_STATES,
  type CloudAlert,
  useClosing,
  useCloudAlert,
  useMayInvestigate,
} from '../api/cloud';
import { useSubscriptions } from '../api/plane';
import { useAlert, useList } from '../api/queries';
import { t } from '../i18n';
import { href } from '../logic/address';
import { placeOf } from '../logic/plane';
import { spaced } from '../logic/words';
import { SeverityBadge, Tag } from '../parts/Badges';
import { DataGrid, type GridColumn } from '../parts/DataGrid';
import { Chips, PickFilter } from '../parts/Filters';
import { ItemPane } from '../parts/ItemPane';
import { Facts, Section, Time, To } from '../parts/Parts';
import { Empty } from '../parts/States';
import { SuppressDialog } from '../parts/SuppressDialog';
import { useTell } from '../parts/toast';
import { Ask } from '../plane/Ask';
import { go, useParamChange, usePlace } from '../router';
import '../plane/plane.css';

const OPEN = ['Active', 'InProgress'];
const AGAIN_MS = 10_000;

function StatusPill({ alert }: { alert: CloudAlert }) {
  return <span className={`pill status-${alert.status}`}>{t(`cloudAlerts.status.${alert.status}`)}</span>;
}

function columns(nameOf: (subscription: string) => string, narrow: boolean): GridColumn<CloudAlert>[] {
  const all: GridColumn<CloudAlert>[] = [
    {
      id: 'severity',
      header: t('column.severity'),
      width: '112px',
      cell: (a) => <SeverityBadge severity={a.severity} />,
    },
    {
      id: 'title',
      header: t('column.alert'),
      width: 'minmax(220px, 3fr)',
      cell: (a) => (
        <To path={a.alertLink} className="link cut" label={`${t('cloudAlerts.deep')}: ${a.alertDisplayName}`}>
          {a.alertDisplayName}
        </To>
      ),
    },
    { id: 'status', header: t('column.status'), width: '104px', cell: (a) => <StatusPill alert={a} /> },
    {
      id: 'resource',
      header: t('cloudAlerts.resource'),
      width: 'minmax(110px, 1.2fr)',
      cell: (a) => (
        <To path={`/machines/${a.machineId}`} className="link cut">
          {placeOf(a.resourceId).name}
        </To>
      ),
    },
    {
      id: 'group',
      header: t('machines.group'),
      width: 'minmax(80px, 0.8fr)',
      cell: (a) => <span className="cut">{placeOf(a.resourceId).group}</span>,
    },
    {
      id: 'subscription',
      header: t('cloudAlerts.subscription'),
      width: 'minmax(100px, 1fr)',
      cell: (a) => <span className="cut">{nameOf(a.subscriptionId)}</span>,
    },
    {
      id: 'intent',
      header: t('cloudAlerts.intent'),
      width: 'minmax(156px, 1fr)',
      cell: (a) => <Tag>{spaced(a.intent)}</Tag>,
    },
    {
      id: 'generated',
      header: t('cloudAlerts.generated'),
      width: '104px',
      cell: (a) => <Time ago at={a.timeGenerated} />,
    },
  ];
  return narrow ? all.filter((c) => !['group', 'subscription', 'intent'].includes(c.id)) : all;
}

function DismissDialog({ alert, close }: { alert: CloudAlert; close: () => void }) {
  const [reason, setReason] = useState('');
  const [kind, setKind] = useState<'InformationalExpectedActivity' | 'FalsePositive'>('InformationalExpectedActivity');
  const tell = useTell();
  const closing = useClosing();
  return (
    <Ask
      title={t('cloudAlerts.dismissTitle')}
      act={t('cloudAlerts.dismiss')}
      busy={closing.isPending}
      error={closing.error}
      close={close}
      run={() =>
        closing.mutate(
          { id: alert.id, verb: 'dismiss', classification: kind, ...(reason.trim() ? { reason: reason.trim() } : {}) },
          {
            onSuccess: () => {
              tell.done(t('cloudAlerts.dismissed'));
              close();
            },
          },
        )
      }
    >
      <p className="muted">{t('cloudAlerts.dismissHint')}</p>
      <Field label={t('cloudAlerts.as')}>
        <Select
          value={kind}
          onChange={(_, data) =>
            setKind(data.value === 'FalsePositive' ? 'FalsePositive' : 'InformationalExpectedActivity')
          }
        >
          <option value="InformationalExpectedActivity">{t('cloudAlerts.expected')}</option>
          <option value="FalsePositive">{t('cloudAlerts.falsePositive')}</option>
        </Select>
      </Field>
      <Field label={t('cloudAlerts.reason')} hint={t('cloudAlerts.reasonHint')}>
        <Input value={reason} onChange={(_, data) => setReason(data.value)} />
      </Field>
    </Ask>
  );
}

function Actions({ alert }: { alert: CloudAlert }) {
  const may = useMayInvestigate();
  const tell = useTell();
  const closing = useClosing();
  const [asking, setAsking] = useState<'dismiss' | 'suppress' | null>(null);
  const deep = useAlert(asking === 'suppress' ? alert.id : null);
  const closed = alert.status === 'Resolved' || alert.status === 'Dismissed';
  return (
    <div className="tags pane-tools" role="toolbar" aria-label={t('machine.actions')}>
      {closed ? (
        <Button
          size="small"
          icon={<ArrowUndoRegular />}
          disabled={!may || closing.isPending}
          onClick={() =>
            closing.mutate(
              { id: alert.id, verb: 'reactivate' },
              { onSuccess: () => tell.done(t('cloudAlerts.reactivated')), onError: tell.failed },
            )
          }
        >
          {t('cloudAlerts.reactivate')}
        </Button>
      ) : (
        <Button size="small" icon={<DismissCircleRegular />} disabled={!may} onClick={() => setAsking('dismiss')}>
          {t('cloudAlerts.dismiss')}
        </Button>
      )}
      <Button size="small" icon={<AlertOffRegular />} disabled={!may} onClick={() => setAsking('suppress')}>
        {t('cloudAlerts.suppress')}
      </Button>
      {asking === 'dismiss' && <DismissDialog alert={alert} close={() => setAsking(null)} />}
      {asking === 'suppress' && deep.data && <SuppressDialog alert={deep.data} close={() => setAsking(null)} />}
    </div>
  );
}

function CloudAlertPane({ id, nameOf, close }: { id: string; nameOf: (id: string) => string; close: () => void }) {
  const { data, error, refetch } = useCloudAlert(id);
  return (
    <ItemPane
      query={{ data: data ?? undefined, error, refetch }}
      titleOf={(a) => a.alertDisplayName}
      word={t('cloudAlerts.summary')}
      label={t('cloudAlerts.summary')}
      open={{ path: `/alerts/${id}`, text: t('cloudAlerts.open') }}
      close={close}
    >
      {(alert) => (
        <>
          <div className="tags">
            <SeverityBadge severity={alert.severity} />
            <StatusPill alert={alert} />
            {alert.suppressed && <Tag tone="own">{t('alert.suppressed')}</Tag>}
            <Tag>{spaced(alert.intent)}</Tag>
          </div>
          <Actions alert={alert} />
          <p>{alert.description}</p>
          {alert.remediationSteps && (
            <p>
              <strong>{t('alert.do')}</strong> {alert.remediationSteps}
            </p>
          )}
          <Section title={t('incidents.facts')}>
            <Facts
              facts={[
                {
                  name: t('cloudAlerts.machine'),
                  value: <To path={`/machines/${alert.machineId}`}>{placeOf(alert.resourceId).name}</To>,
                },
                {
                  name: t('cloudAlerts.device'),
                  value: <To path={alert.deviceLink}>{alert.compromisedEntity}</To>,
                },
                !!alert.incidentLink && {
                  name: t('cloudAlerts.incident'),
                  value: <To path={alert.incidentLink}>{alert.incidentLink.split('/').pop()}</To>,
                },
                {
                  name: t('cloudAlerts.subscription'),
                  value: (
                    <To path="/environment" change={{ sel: alert.subscriptionId }}>
                      {nameOf(alert.subscriptionId)}
                    </To>
                  ),
                },
                { name: t('machines.group'), value: placeOf(alert.resourceId).group },
                { name: t('cloudAlerts.type'), value: <code className="small wrap">{alert.alertType}</code> },
                { name: t('cloudAlerts.generated'), value: <Time at={alert.timeGenerated} /> },
                { name: t('fact.firstEvent'), value: <Time at={alert.startTime} /> },
                { name: t('fact.lastEvent'), value: <Time at={alert.endTime} /> },
                { name: t('machine.id'), value: <code className="small wrap">{alert.resourceId}</code> },
              ]}
            />
          </Section>
        </>
      )}
    </ItemPane>
  );
}

/** The alerts of machines by subscription and resource: the same alerts as the deep view's, one click away from it. */
export default function CloudAlerts() {
  const { params, search } = usePlace();
  const change = useParamChange();
  const subscriptions = useSubscriptions();
  const status = params.get('status');
  const resource = params.get('resource');
  const list = useList<CloudAlert>(
    'cloud-alerts',
    '/cloud/alerts',
    {
      subscription: params.get('subscription'),
      resource,
      severity: params.get('severity'),
      // Whoever comes for one machine sees all of its alerts, closed ones too.
      status: status === 'any' || (resource && !status) ? null : (status ?? OPEN.join(',')),
    },
    50,
    AGAIN_MS,
  );
  const names = useMemo(() => new Map((subscriptions.data ?? []).map((s) => [s.id, s.name])), [subscriptions.data]);
  const nameOf = (id: string) => names.get(id) ?? id.slice(0, 8);
  const selected = params.get('sel');
  const shown = useMemo(() => columns((id) => names.get(id) ?? id.slice(0, 8), selected !== null), [names, selected]);
  return (
    <div className="list-page">
      <div className="list-main">
        <header className="page-head">
          <h1>{t('nav.cloudAlerts')}</h1>
          <span className="muted">
            {list.total !== null && `${t('list.total', { count: list.total })} · `}
            {t('cloudAlerts.days')}
          </span>
        </header>
        <DataGrid
          name="cloud-alerts"
          label={t('nav.cloudAlerts')}
          columns={shown}
          rows={list.rows}
          keyOf={(a) => a.id}
          selected={selected}
          onSelect={(a) => change({ sel: a.id })}
          onOpen={(a) => go(href(a.alertLink, search))}
          loading={list.loading}
          error={list.error}
          retry={list.retry}
          more={list.more}
          readOn={list.readOn}
          freshPrefix="alert:"
          empty={<Empty title={t('cloudAlerts.none')} hint={t('cloudAlerts.noneHint')} />}
          toolbar={
            <div className="filters">
              <PickFilter
                param="subscription"
                label={t('cloudAlerts.subscription')}
                options={(subscriptions.data ?? []).map((s) => s.id)}
                name={nameOf}
                single
              />
              <PickFilter
                param="status"
                label={t('column.status')}
                options={CLOUD_STATES}
                fallback={resource ? CLOUD_STATES : OPEN}
                name={(word) => t(`cloudAlerts.status.${word as 'Active'}`)}
              />
              <PickFilter param="severity" label={t('column.severity')} options={CLOUD_SEVERITIES} />
              <Chips
                params={[
                  {
                    param: 'resource',
                    label: t('cloudAlerts.resource'),
                    say: (id) => placeOf(id).name || placeOf(id).group,
                  },
                ]}
              />
            </div>
          }
        />
      </div>
      {selected && <CloudAlertPane key={selected} id={selected} nameOf={nameOf} close={() => change({ sel: null })} />}
    </div>
  );
}
