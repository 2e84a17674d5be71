import type { Alert } from '../api/types';
import { t } from '../i18n';
import { spanTime } from '../logic/time';
import type { TreeRow } from '../logic/tree';
import { spaced } from '../logic/words';
import { SeverityBadge, StatusBadge } from './Badges';
import { Entity } from './Entity';
import { Facts, Section, Time, To } from './Parts';
import { RowFacts } from './RowFacts';

function AlertCard({ alert }: { alert: Alert }) {
  return (
    <div className={`card heat-${alert.severity}`}>
      <div className="line">
        <SeverityBadge severity={alert.severity} />
        <StatusBadge status={alert.status} />
      </div>
      <To path={`/alerts/${alert.id}`}>
        <strong>{alert.title}</strong>
      </To>
      <p className="small">{alert.description}</p>
      {alert.recommendedAction && (
        <p className="small">
          <strong>{t('alert.do')}</strong> {alert.recommendedAction}
        </p>
      )}
    </div>
  );
}

/** All that is known of the row chosen in the tree. */
export function StoryDetails({ row, alerts }: { row: TreeRow | null; alerts: ReadonlyMap<string, Alert> }) {
  if (!row) return <p className="muted">{t('tree.choose')}</p>;
  const { device } = row.tree;
  const cards = row.alertIds.flatMap((id) => {
    const alert = alerts.get(id);
    return alert ? [<AlertCard key={id} alert={alert} />] : [];
  });
  if (row.kind === 'device') {
    return (
      <Facts
        facts={[
          {
            name: t('word.device'),
            value: <Entity field="device" value={device.name} id={device.id} to={`/devices/${device.id}`} />,
          },
        ]}
      />
    );
  }
  if (row.kind === 'activity') {
    const { activity } = row;
    return (
      <>
        <h3 className="pane-title">{spaced(activity.actionType)}</h3>
        <p className="mono wrap">{activity.summary}</p>
        {cards}
        <Facts
          facts={[
            { name: t('fact.time'), value: <Time at={activity.timestamp} /> },
            { name: t('fact.table'), value: activity.table },
            {
              name: t('fact.by'),
              value: <Entity field="file" value={`${row.node.fileName} (${row.node.processId})`} />,
            },
          ]}
        />
        <Section title={t('row.title')}>
          <RowFacts row={activity.row} />
        </Section>
      </>
    );
  }
  const { node } = row;
  return (
    <>
      <h3 className="pane-title">
        {node.fileName} <span className="muted mono">{node.processId}</span>
      </h3>
      {node.commandLine && (
        <div className="command mono wrap" tabIndex={0}>
          {node.commandLine}
        </div>
      )}
      {cards}
      <Facts
        facts={[
          {
            name: t('fact.path'),
            value: (
              <Entity
                mono
                field="file"
                value={`${node.folderPath ? `${node.folderPath.replace(/\/$/, '')}/` : ''}${node.fileName}`}
              />
            ),
          },
          node.accountName ? { name: t('fact.user'), value: <Entity field="user" value={node.accountName} /> } : null,
          { name: t('fact.started'), value: <Time at={node.creationTime} /> },
          { name: t('fact.ended'), value: node.exitTime ? <Time at={node.exitTime} /> : t('fact.notSeen') },
          node.exitTime ? { name: t('fact.ran'), value: spanTime(node.creationTime, node.exitTime) } : null,
          node.sha256 ? { name: 'SHA-256', value: <Entity mono field="hash" value={node.sha256} /> } : null,
          {
            name: t('word.device'),
            value: <Entity field="device" value={device.name} id={device.id} to={`/devices/${device.id}`} />,
          },
          { name: t('fact.key'), value: <Entity mono field="process" value={node.processUniqueId} /> },
          { name: t('fact.activities'), value: String(node.activities.length) },
          { name: t('fact.children'), value: String(node.children.length) },
          {
            name: t('fact.onDevice'),
            value: (
              <To path={`/devices/${device.id}`} change={{ tab: 'timeline', q: node.fileName }}>
                {t('fact.timelineOf', { name: node.fileName })}
              </To>
            ),
          },
        ]}
      />
    </>
  );
}
