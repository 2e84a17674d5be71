import { Button, Tab, TabList } from '@fluentui/react-components';
import { PanelRightRegular, TargetRegular } from '@fluentui/react-icons';
import { useMemo, useState } from 'react';
import { useCaseUpdate, useIncident, useList, useSession, useStory } from '../api/queries';
import type { Alert, Evidence, Incident } from '../api/types';
import { huntNow } from '../hunting/start';
import { t } from '../i18n';
import { href } from '../logic/address';
import { incidentQuery } from '../logic/huntFrom';
import { clockTime, dayOf, spanTime } from '../logic/time';
import { flatten, moments, type TreeRow } from '../logic/tree';
import { spaced } from '../logic/words';
import { SeverityBadge, StatusBadge, Tactics, Tag } from '../parts/Badges';
import { Comments } from '../parts/Comments';
import { DataGrid } from '../parts/DataGrid';
import { Entity } from '../parts/Entity';
import { EvidenceGroups } from '../parts/EvidenceGroups';
import { ManageCase } from '../parts/ManageCase';
import { Facts, Section, Time, To } from '../parts/Parts';
import { ProcessTree } from '../parts/ProcessTree';
import { Empty, Failure, Loading } from '../parts/States';
import { StoryDetails } from '../parts/StoryDetails';
import { useTell } from '../parts/toast';
import { usePrefs } from '../prefs';
import { go, useParamChange, usePlace } from '../router';
import { ALERT_COLUMNS } from './Alerts';

const TABS = ['story', 'timeline', 'alerts', 'assets', 'evidence', 'activity'] as const;
type TabName = (typeof TABS)[number];

function StoryTab({ incident, timeline }: { incident: Incident; timeline: boolean }) {
  const story = useStory(incident.id);
  const { params } = usePlace();
  const change = useParamChange();
  const { zone } = usePrefs();
  const [fallback, setFallback] = useState<TreeRow | null>(null);
  const alerts = useMemo(() => new Map<string, Alert>(incident.alerts.map((a) => [a.id, a])), [incident.alerts]);
  const trees = story.data?.trees;
  const rows = useMemo(
    () => (trees ? flatten(trees, alerts, { folded: new Set(), activities: 'all' }) : []),
    [trees, alerts],
  );
  const selected = params.get('node');
  const row = rows.find((r) => r.id === selected) ?? fallback ?? rows.find((r) => r.alertIds.length > 0) ?? null;
  if (story.error) return <Failure error={story.error} retry={() => void story.refetch()} />;
  if (!trees) return <Loading />;
  if (trees.length === 0) return <Empty title={t('tree.empty')} hint={t('tree.emptyHint')} />;
  const select = (next: TreeRow) => {
    setFallback(next);
    change({ node: next.id });
  };
  let day = '';
  return (
    <div className="story">
      <div className="story-main">
        {timeline ? (
          <ol className="moments" aria-label={t('incident.timeline')}>
            {moments(rows).map((moment) => {
              const today = dayOf(moment.at, zone);
              const head = today !== day;
              day = today;
              const r = moment.row;
              return (
                <li key={moment.id}>
                  {head && <div className="day">{today}</div>}
                  <button
                    type="button"
                    className={`moment ${r.alertIds.length > 0 ? `heat heat-${r.severity}` : ''} ${r.id === row?.id ? 'chosen' : ''}`}
                    onClick={() => select(r)}
                  >
                    <span className="mono clock">{clockTime(moment.at, zone)}</span>
                    <span className="act">
                      {r.kind === 'process' ? t('tree.started') : spaced(r.activity.actionType)}
                    </span>
                    <strong>{r.node.fileName}</strong>
                    <span className="mono cut grow">
                      {r.kind === 'process' ? r.node.commandLine : r.activity.summary}
                    </span>
                    {r.alertIds.slice(0, 1).map((id) => (
                      <span key={id} className={`alert-badge sev-${r.severity}`}>
                        <span className="cut">{alerts.get(id)?.title ?? t('word.alert')}</span>
                      </span>
                    ))}
                  </button>
                </li>
              );
            })}
          </ol>
        ) : (
          <ProcessTree
            trees={trees}
            alerts={alerts}
            truncated={story.data?.truncated}
            selected={row?.id ?? null}
            onSelect={select}
          />
        )}
      </div>
      <aside className="story-side" aria-label={t('incident.details')} tabIndex={0}>
        <StoryDetails row={row} alerts={alerts} />
      </aside>
    </div>
  );
}

interface AuditEntry {
  time: string;
  who: string;
  what: string;
  old?: string | null;
  new?: string | null;
}

/** Who changed what, newest first. */
function Audit({ id }: { id: number }) {
  const log = useList<AuditEntry>('incident', `/incidents/${id}/audit`, {}, 100);
  if (log.error) return <Failure error={log.error} retry={log.retry} />;
  if (log.loading) return <Loading />;
  if (log.rows.length === 0) return <p className="muted">{t('incident.unchanged')}</p>;
  return (
    <ul className="plain">
      {log.rows.map((entry, i) => (
        <li key={`${entry.time}${i}`}>
          <div className="muted small">
            <strong>{entry.who}</strong> · <Time at={entry.time} />
          </div>
          <span>{spaced(entry.what)}</span>{' '}
          {(entry.old || entry.new) && (
            <span className="wrap">
              {entry.old || '–'} → {entry.new || '–'}
            </span>
          )}
        </li>
      ))}
    </ul>
  );
}

function Assets({ incident }: { incident: Incident }) {
  return (
    <div className="columns">
      <Section title={`${t('column.devices')} (${incident.devices.length})`}>
        <ul className="plain">
          {incident.devices.map((d) => (
            <li key={d.id} className="line">
              <Entity field="device" value={d.name} id={d.id} to={`/devices/${d.id}`} />
              <span className="grow" />
              <To path={`/devices/${d.id}`} change={{ tab: 'timeline' }}>
                {t('device.timeline')}
              </To>
              <Tag>
                {t('incident.alertsHere', { count: incident.alerts.filter((a) => a.machineId === d.id).length })}
              </Tag>
            </li>
          ))}
        </ul>
      </Section>
      <Section title={`${t('column.users')} (${incident.users.length})`}>
        <ul className="plain">
          {incident.users.map((u) => (
            <li key={u} className="line">
              <Entity field="user" value={u} />
              <span className="grow" />
              <Tag>
                {t('incident.alertsHere', { count: incident.alerts.filter((a) => a.relatedUser === u).length })}
              </Tag>
            </li>
          ))}
        </ul>
      </Section>
    </div>
  );
}

export default function IncidentPage({ id }: { id: number }) {
  const { data: incident, error, refetch } = useIncident(id);
  const { params, search } = usePlace();
  const change = useParamChange();
  const update = useCaseUpdate('incidents');
  const me = useSession().data?.user.name ?? '';
  const tell = useTell();
  if (error) return <Failure error={error} retry={() => void refetch()} />;
  if (!incident) return <Loading />;
  const tab: TabName = TABS.find((name) => name === params.get('tab')) ?? 'story';
  // The story needs the width; elsewhere the pane is there at once.
  const story = tab === 'story' || tab === 'timeline';
  const managing = params.get('manage') === null ? !story : params.get('manage') === 'yes';
  const evidence: Evidence[] = incident.alerts.flatMap((a) => a.evidence);
  return (
    <div
      className="case-page"
      onKeyDown={(event) => {
        if (
          event.key !== 'e' ||
          event.ctrlKey ||
          event.metaKey ||
          (event.target as HTMLElement).closest('input,textarea,select')
        )
          return;
        update.mutate(
          { id, change: { assignedTo: me } },
          { onSuccess: () => tell.done(t('manage.assignedDone', { id })), onError: tell.failed },
        );
      }}
    >
      <header className="case-head">
        <div className="crumbs">
          <To path="/incidents">{t('nav.incidents')}</To> / {incident.id}
        </div>
        <h1>{incident.title}</h1>
        <div className="tags">
          <SeverityBadge severity={incident.severity} />
          <StatusBadge status={incident.status} />
          {incident.redirectIncidentId && (
            <To path={`/incidents/${incident.redirectIncidentId}`}>
              {t('incident.redirected', { id: incident.redirectIncidentId })}
            </To>
          )}
          <Tactics categories={incident.categories} limit={5} />
          {incident.tags.map((tag) => (
            <Tag key={tag} tone="own">
              {tag}
            </Tag>
          ))}
          <span className="muted">
            {t('incident.activeAlerts', { active: incident.activeAlertCount, all: incident.alertCount })} ·{' '}
            {spanTime(incident.firstEventTime, incident.lastEventTime)} · <Time ago at={incident.lastUpdateTime} />
          </span>
          <span className="grow" />
          <Button
            size="small"
            icon={<TargetRegular />}
            onClick={() => huntNow(incidentQuery(incident.alerts.map((a) => a.id)), incident.title)}
          >
            {t('hunting.hunt')}
          </Button>
          <Button
            size="small"
            appearance={managing ? 'secondary' : 'primary'}
            icon={<PanelRightRegular />}
            aria-expanded={managing}
            onClick={() => change({ manage: managing ? 'no' : 'yes' })}
          >
            {t('manage.title')}
          </Button>
        </div>
        <TabList
          size="small"
          selectedValue={tab}
          onTabSelect={(_, data) =>
            change({ tab: data.value === 'story' ? null : String(data.value), manage: null }, true)
          }
        >
          {TABS.map((name) => (
            <Tab key={name} value={name}>
              {t(`incident.tab.${name}`)}
              {name === 'alerts' && ` (${incident.alerts.length})`}
              {name === 'activity' && incident.comments.length > 0 && ` (${incident.comments.length})`}
            </Tab>
          ))}
        </TabList>
      </header>
      <div className="case-body">
        <div className="case-main">
          {story && <StoryTab incident={incident} timeline={tab === 'timeline'} />}
          {tab === 'alerts' && (
            <DataGrid
              name="incident-alerts"
              label={t('nav.alerts')}
              columns={ALERT_COLUMNS}
              rows={incident.alerts}
              keyOf={(a) => a.id}
              selected={params.get('sel')}
              onSelect={(a) => change({ sel: a.id })}
              onOpen={(a) => go(href(`/alerts/${a.id}`, search))}
              freshPrefix="alert:"
              empty={<Empty title={t('alerts.none')} />}
            />
          )}
          {tab === 'assets' && <Assets incident={incident} />}
          {tab === 'evidence' && <EvidenceGroups evidence={evidence} />}
          {tab === 'activity' && (
            <div className="columns">
              <Section title={t('comments.title')}>
                <Comments kind="incidents" id={incident.id} comments={incident.comments} />
              </Section>
              <Section title={t('incident.audit')}>
                <Audit id={incident.id} />
              </Section>
              <Section title={t('incident.why')}>
                <ul className="plain">
                  {incident.correlationReasons.map((reason) => (
                    <li key={reason.alertId}>
                      <To path={`/alerts/${reason.alertId}`}>
                        {incident.alerts.find((a) => a.id === reason.alertId)?.title ?? reason.alertId}
                      </To>
                      <div className="muted small">{reason.reason}</div>
                    </li>
                  ))}
                </ul>
              </Section>
            </div>
          )}
        </div>
        {managing && (
          <aside className="case-side" aria-label={t('manage.title')} tabIndex={0}>
            <h2>{t('manage.title')}</h2>
            <ManageCase key={incident.lastUpdateTime} kind="incidents" item={incident} />
            <Section title={t('incidents.facts')}>
              <Facts
                facts={[
                  { name: t('fact.created'), value: <Time at={incident.createdTime} /> },
                  { name: t('fact.firstEvent'), value: <Time at={incident.firstEventTime} /> },
                  { name: t('fact.lastEvent'), value: <Time at={incident.lastEventTime} /> },
                  { name: t('fact.techniques'), value: incident.mitreTechniques.join(', ') || '–' },
                ]}
              />
            </Section>
          </aside>
        )}
      </div>
    </div>
  );
}
