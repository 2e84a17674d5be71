import { Button } from '@fluentui/react-components';
import { AlertRegular, ServerRegular } from '@fluentui/react-icons';
import { type HistoryLine, useHistory, useMachine, useSubscriptions } from '../api/plane';
import { t } from '../i18n';
import { href } from '../logic/address';
import { healthWord, placeOf, provisioning } from '../logic/plane';
import { Tag } from '../parts/Badges';
import { Section, Time, To } from '../parts/Parts';
import { Failure, Loading } from '../parts/States';
import { Exclusions } from '../plane/Exclude';
import { Features } from '../plane/Features';
import { MachineActions, MachineTags } from '../plane/MachineActions';
import { About, Extensions, Health } from '../plane/MachineFacts';
import { HealthPill, PlanBadge, StateBadge } from '../plane/Words';
import { go, usePlace } from '../router';
import '../plane/plane.css';

const TONE: Record<string, string> = {
  Succeeded: 'good',
  Failed: 'bad',
  Gone: 'warn',
  Deleting: 'warn',
  Twin: 'bad',
  Remedied: 'good',
  RemedyFailed: 'warn',
};

function History({ id }: { id: string }) {
  const history = useHistory(id);
  return (
    <Section title={t('machine.history')}>
      {history.error ? (
        <Failure error={history.error} retry={() => void history.refetch()} />
      ) : !history.data ? (
        <Loading />
      ) : history.data.length === 0 ? (
        <p className="muted">{t('machine.historyNone')}</p>
      ) : (
        <ul className="plain" data-history>
          {history.data.slice(0, 50).map((line: HistoryLine, i) => (
            <li key={`${line.time}${i}`} className="line">
              <Tag tone={TONE[line.state] ?? 'own'}>{provisioning(line.state, line.code)}</Tag>
              <span className="grow cut" title={line.detail}>
                {line.extension} {line.version} {line.detail}
              </span>
              <span className="muted small nowrap">
                <Time ago at={line.time} />
              </span>
            </li>
          ))}
        </ul>
      )}
    </Section>
  );
}

export default function MachinePage({ id }: { id: string }) {
  const { data: machine, error, refetch } = useMachine(id);
  const subscriptions = useSubscriptions();
  const { search } = usePlace();
  if (error) return <Failure error={error} retry={() => void refetch()} />;
  if (!machine) return <Loading />;
  const place = placeOf(machine.resourceId);
  const subscription = subscriptions.data?.find((s) => s.id === place.subscription);
  return (
    <div className="case-page">
      <header className="case-head">
        <div className="crumbs">
          <To path="/environment">{t('nav.environment')}</To> /{' '}
          <To path="/environment" change={{ sel: place.subscription }}>
            {subscription?.name ?? place.subscription.slice(0, 8)}
          </To>{' '}
          /{' '}
          <To path="/machines" change={{ subscription: place.subscription, group: place.group }}>
            {place.group}
          </To>
        </div>
        <h1>{machine.name}</h1>
        <div className="tags">
          <StateBadge state={machine.state} />
          <HealthPill health={healthWord(machine)} />
          <PlanBadge plan={machine.plan} why />
          {Object.entries(machine.tags).map(([name, value]) => (
            <Tag key={name}>{value ? `${name}=${value}` : name}</Tag>
          ))}
          <span className="grow" />
          <Button
            size="small"
            icon={<AlertRegular />}
            onClick={() => go(href('/cloud-alerts', search, { resource: machine.resourceId }))}
          >
            {t('cloudAlerts.ofMachine')}
          </Button>
          {machine.deviceId && (
            <Button
              size="small"
              icon={<ServerRegular />}
              onClick={() => go(href(`/devices/${machine.deviceId}`, search))}
            >
              {t('machine.device')}
            </Button>
          )}
        </div>
        <div className="tags machine-actions" role="toolbar" aria-label={t('machine.actions')}>
          <MachineActions machine={machine} />
        </div>
      </header>
      <div className="columns">
        <div>
          <Health machine={machine} />
          <Extensions machine={machine} />
          <Section title={t('exclusions.title')}>
            <Exclusions scope={machine.resourceId} />
          </Section>
        </div>
        <div>
          <About machine={machine} />
          <Section title={t('plan.holds')}>
            <Features plan={machine.plan.plan} />
          </Section>
          <Section title={t('machine.tags')}>
            <MachineTags key={JSON.stringify(machine.tags)} machine={machine} />
          </Section>
        </div>
        <History id={machine.id} />
      </div>
    </div>
  );
}
