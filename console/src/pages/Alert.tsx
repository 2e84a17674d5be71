import { Button, Tab, TabList } from '@fluentui/react-components';
import { AlertOffRegular, CloudRegular, TargetRegular } from '@fluentui/react-icons';
import { useMemo, useState } from 'react';
import { ApiError } from '../api/client';
import { useCloudAlert } from '../api/cloud';
import { useAlert, useAlertTree, useIncident } from '../api/queries';
import type { Alert } from '../api/types';
import { huntNow } from '../hunting/start';
import { t } from '../i18n';
import { href } from '../logic/address';
import { huntFrom } from '../logic/huntFrom';
import { flatten, type TreeRow } from '../logic/tree';
import { spaced } from '../logic/words';
import { SeverityBadge, StatusBadge, Tag } from '../parts/Badges';
import { Comments } from '../parts/Comments';
import { Entity } from '../parts/Entity';
import { EvidenceGroups } from '../parts/EvidenceGroups';
import { Explanation } from '../parts/Explanation';
import { ManageCase } from '../parts/ManageCase';
import { Facts, Section, Time, To } from '../parts/Parts';
import { ProcessTree } from '../parts/ProcessTree';
import { Empty, Failure, Loading } from '../parts/States';
import { StoryDetails } from '../parts/StoryDetails';
import { SuppressDialog } from '../parts/SuppressDialog';
import { go, useParamChange, usePlace } from '../router';

const TABS = ['what', 'why', 'evidence', 'comments'] as const;

function What({ alert }: { alert: Alert }) {
  const tree = useAlertTree(alert.id);
  const incident = useIncident(alert.incidentId);
  const { params } = usePlace();
  const change = useParamChange();
  const [fallback, setFallback] = useState<TreeRow | null>(null);
  // Other alerts of the incident on the same tree show with their titles too.
  const alerts = useMemo(
    () => new Map<string, Alert>([...(incident.data?.alerts ?? []), alert].map((a) => [a.id, a])),
    [alert, incident.data],
  );
  const trees = useMemo(() => (tree.data ? [tree.data] : []), [tree.data]);
  const rows = useMemo(() => flatten(trees, alerts, { folded: new Set(), activities: 'all' }), [trees, alerts]);
  // An alert without a process has no tree: a log-on, rows of a hunt.
  if (tree.error instanceof ApiError && tree.error.status === 404)
    return <Empty title={t('tree.empty')} hint={t('tree.emptyHint')} />;
  if (tree.error) return <Failure error={tree.error} retry={() => void tree.refetch()} />;
  if (!tree.data) return <Loading />;
  if (rows.length === 0) return <Empty title={t('tree.empty')} hint={t('tree.emptyHint')} />;
  const row =
    rows.find((r) => r.id === params.get('node')) ??
    fallback ??
    rows.find((r) => r.alertIds.includes(alert.id)) ??
    null;
  return (
    <div className="story">
      <div className="story-main">
        <ProcessTree
          trees={trees}
          alerts={alerts}
          selected={row?.id ?? null}
          onSelect={(next) => {
            setFallback(next);
            change({ node: next.id });
          }}
        />
      </div>
      <aside className="story-side" aria-label={t('incident.details')} tabIndex={0}>
        <StoryDetails row={row} alerts={alerts} />
      </aside>
    </div>
  );
}

export default function AlertPage({ id }: { id: string }) {
  const { data: alert, error, refetch } = useAlert(id);
  const cloud = useCloudAlert(id);
  const { params, search } = usePlace();
  const change = useParamChange();
  const [suppressing, setSuppressing] = useState(false);
  if (error) return <Failure error={error} retry={() => void refetch()} />;
  if (!alert) return <Loading />;
  const tab = TABS.find((name) => name === params.get('tab')) ?? 'what';
  return (
    <div className="case-page">
      <header className="case-head">
        <div className="crumbs">
          <To path="/alerts">{t('nav.alerts')}</To> /{' '}
          <To path={`/incidents/${alert.incidentId}`}>{t('alert.ofIncident', { id: alert.incidentId })}</To>
        </div>
        <h1>{alert.title}</h1>
        <div className="tags">
          <SeverityBadge severity={alert.severity} />
          <StatusBadge status={alert.status} />
          <Tag>{spaced(alert.category)}</Tag>
          {alert.mitreTechniques.map((technique) => (
            <Tag key={technique}>{technique}</Tag>
          ))}
          {alert.suppressed && <Tag tone="own">{t('alert.suppressed')}</Tag>}
          <Entity
            field="device"
            value={alert.computerDnsName}
            id={alert.machineId}
            to={`/devices/${alert.machineId}`}
          />
          <span className="grow" />
          <Button
            size="small"
            icon={<TargetRegular />}
            onClick={() => huntNow(huntFrom({ field: 'alert', value: alert.id }) ?? '', alert.title)}
          >
            {t('hunting.hunt')}
          </Button>
          {cloud.data && (
            <Button
              size="small"
              icon={<CloudRegular />}
              onClick={() => go(href('/cloud-alerts', search, { resource: cloud.data?.resourceId, sel: alert.id }))}
            >
              {t('cloudAlerts.cloudView')}
            </Button>
          )}
          <Button size="small" icon={<AlertOffRegular />} onClick={() => setSuppressing(true)}>
            {t('suppress.title')}
          </Button>
        </div>
        <TabList
          size="small"
          selectedValue={tab}
          onTabSelect={(_, data) => change({ tab: data.value === 'what' ? null : String(data.value) }, true)}
        >
          {TABS.map((name) => (
            <Tab key={name} value={name}>
              {t(`alert.tab.${name}`)}
            </Tab>
          ))}
        </TabList>
      </header>
      <div className="case-body">
        <div className="case-main">
          {tab === 'what' && <What alert={alert} />}
          {tab === 'why' && (
            <div className="padded">
              <Explanation alert={alert} />
            </div>
          )}
          {tab === 'evidence' && <EvidenceGroups evidence={alert.evidence} />}
          {tab === 'comments' && (
            <div className="padded">
              <Comments kind="alerts" id={alert.id} comments={alert.comments} />
            </div>
          )}
        </div>
        <aside className="case-side" aria-label={t('manage.title')} tabIndex={0}>
          <h2>{t('manage.title')}</h2>
          <ManageCase key={alert.lastUpdateTime} kind="alerts" item={alert} />
          <Section title={t('alert.means')}>
            <p>{alert.description}</p>
            {alert.recommendedAction && (
              <p>
                <strong>{t('alert.do')}</strong> {alert.recommendedAction}
              </p>
            )}
          </Section>
          <Section title={t('incidents.facts')}>
            <Facts
              facts={[
                { name: t('fact.firstEvent'), value: <Time at={alert.firstEventTime} /> },
                { name: t('fact.lastEvent'), value: <Time at={alert.lastEventTime} /> },
                { name: t('fact.created'), value: <Time at={alert.alertCreationTime} /> },
                { name: t('word.user'), value: <Entity field="user" value={alert.relatedUser ?? ''} /> },
                { name: t('fact.source'), value: spaced(alert.detectionSource) },
                { name: t('fact.rows'), value: String(alert.matchCount) },
                { name: t('fact.id'), value: <Entity mono field="alert" value={alert.id} /> },
              ]}
            />
          </Section>
        </aside>
      </div>
      {suppressing && <SuppressDialog alert={alert} close={() => setSuppressing(false)} />}
    </div>
  );
}
