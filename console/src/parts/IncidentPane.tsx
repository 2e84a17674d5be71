import { useIncident } from '../api/queries';
import { t } from '../i18n';
import { spanTime } from '../logic/time';
import { SeverityBadge, StatusBadge, Tactics, Tag } from './Badges';
import { Entity } from './Entity';
import { ManageCase } from './ManageCase';
import { Facts, Section, Time, To } from './Parts';
import { SidePane } from './SidePane';
import { Failure, Loading } from './States';

/** An incident in short, beside the queue. */
export function IncidentPane({ id, close, actions }: { id: number; close: () => void; actions: React.ReactNode }) {
  const { data: incident, error, refetch } = useIncident(id);
  return (
    <SidePane
      title={incident ? `${incident.id} · ${incident.title}` : String(id)}
      label={t('incidents.summary')}
      close={close}
      actions={actions}
    >
      {error ? (
        <Failure error={error} retry={() => void refetch()} />
      ) : !incident ? (
        <Loading />
      ) : (
        <>
          <div className="tags">
            <SeverityBadge severity={incident.severity} />
            <StatusBadge status={incident.status} />
            {incident.tags.map((tag) => (
              <Tag key={tag}>{tag}</Tag>
            ))}
          </div>
          <Section title={t('manage.title')}>
            <ManageCase key={incident.lastUpdateTime} kind="incidents" item={incident} />
          </Section>
          <Section title={t('incidents.facts')}>
            <Facts
              facts={[
                { name: t('fact.firstEvent'), value: <Time at={incident.firstEventTime} /> },
                { name: t('fact.lastEvent'), value: <Time at={incident.lastEventTime} /> },
                { name: t('fact.span'), value: spanTime(incident.firstEventTime, incident.lastEventTime) },
                { name: t('column.tactics'), value: <Tactics categories={incident.categories} limit={8} /> },
                { name: t('fact.techniques'), value: incident.mitreTechniques.join(', ') || '–' },
                {
                  name: t('column.devices'),
                  value: incident.devices
                    .slice(0, 8)
                    .map((d) => <Entity key={d.id} field="device" value={d.name} id={d.id} to={`/devices/${d.id}`} />),
                },
                {
                  name: t('column.users'),
                  value: incident.users.slice(0, 8).map((u) => <Entity key={u} field="user" value={u} />),
                },
              ]}
            />
          </Section>
          <Section title={`${t('nav.alerts')} (${incident.alerts.length})`}>
            <ul className="plain">
              {incident.alerts.slice(0, 20).map((a) => (
                <li key={a.id} className="line">
                  <SeverityBadge severity={a.severity} />
                  <To path={`/alerts/${a.id}`}>{a.title}</To>
                </li>
              ))}
            </ul>
          </Section>
        </>
      )}
    </SidePane>
  );
}
