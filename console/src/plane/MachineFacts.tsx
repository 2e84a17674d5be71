import type { Machine } from '../api/plane';
import { t } from '../i18n';
import { healthWord, placeOf, provisioning } from '../logic/plane';
import { Facts, Section, Time, To } from '../parts/Parts';
import { ExtensionTag, HealthPill, PlanBadge, StateBadge } from './Words';

/** How the machine is, each finding with what to do. */
export function Health({ machine }: { machine: Machine }) {
  const health = machine.health;
  const findings = health?.findings ?? [];
  return (
    <Section
      title={t('machine.health')}
      end={
        health && (
          <span className="muted small">
            {t('machine.healthLooked')} <Time ago at={health.refreshed} />
          </span>
        )
      }
    >
      {findings.length === 0 && (
        <div className="finding">
          <span className="line">
            <HealthPill health={healthWord(machine)} />
            <span>{t(`machine.healthNone.${health?.state === 'Healthy' ? 'Healthy' : 'Pending'}`)}</span>
          </span>
        </div>
      )}
      {findings.map((finding) => (
        <div key={`${finding.code}${finding.message}`} className="finding" data-finding={finding.code}>
          <span className="line">
            <HealthPill health={finding.class} />
            <strong>{finding.code}</strong>
          </span>
          <span>{finding.message}</span>
          <span className="muted">{finding.fix}</span>
        </div>
      ))}
      {health && (
        <span className="muted small">
          {t('machine.healthSince')} <Time ago at={health.since} />
        </span>
      )}
    </Section>
  );
}

export function Extensions({ machine }: { machine: Machine }) {
  return (
    <Section title={t('machine.extensions')}>
      {machine.extensions.length === 0 && <p className="muted">{t('machine.extensionsNone')}</p>}
      {machine.extensions.map((e) => (
        <div key={e.name} className="finding" data-extension={e.name}>
          <span className="line">
            <strong>{e.name}</strong>
            <ExtensionTag extension={e} />
            <span className="muted small">{e.version}</span>
            <span className="grow" />
            <span className="muted small">
              <Time ago at={e.updatedTime} />
            </span>
          </span>
          {e.code > 0 && <code className="small">{provisioning(e.state, e.code)}</code>}
          {e.message && <span>{e.message}</span>}
          {e.fix && e.state === 'Failed' && <span className="muted">{e.fix}</span>}
        </div>
      ))}
    </Section>
  );
}

export function About({ machine }: { machine: Machine }) {
  const { system } = machine;
  const place = placeOf(machine.resourceId);
  const cloud = [system.cloud, system.instance, system.location].filter(Boolean).join(' · ');
  return (
    <Section title={t('machine.about')}>
      <Facts
        facts={[
          { name: t('machine.plan'), value: <PlanBadge plan={machine.plan} why /> },
          { name: t('machines.columnState'), value: <StateBadge state={machine.state} /> },
          !!machine.powerState && { name: t('machines.power'), value: machine.powerState },
          { name: t('machines.heartbeat'), value: <Time ago at={machine.lastHeartbeat} /> },
          { name: t('machine.kind'), value: machine.kind },
          {
            name: t('machine.group'),
            value: (
              <To path="/machines" change={{ subscription: place.subscription, group: place.group }}>
                {place.group}
              </To>
            ),
          },
          {
            name: t('machine.system'),
            value: `${system.distribution} ${system.version} · ${system.kernel} · ${system.architecture}`,
          },
          cloud !== '' && { name: t('machine.cloud'), value: cloud },
          { name: t('machine.connector'), value: machine.connectorVersion || '–' },
          !!machine.deviceId && {
            name: t('word.device'),
            value: <To path={`/devices/${machine.deviceId}`}>{t('machine.device')}</To>,
          },
          { name: t('machine.id'), value: <code className="small wrap">{machine.resourceId}</code> },
        ]}
      />
    </Section>
  );
}
