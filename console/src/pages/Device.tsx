import {
  Button,
  Dialog,
  DialogActions,
  DialogBody,
  DialogContent,
  DialogSurface,
  DialogTitle,
  Field,
  Input,
  Tab,
  TabList,
} from '@fluentui/react-components';
import { CloudFlowRegular, TargetRegular } from '@fluentui/react-icons';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { api } from '../api/client';
import { useMachinesOf } from '../api/plane';
import { useDevice, useList } from '../api/queries';
import type { Alert, Device, IncidentSummary, Row, TimelineRow } from '../api/types';
import { huntNow } from '../hunting/start';
import { t } from '../i18n';
import { href } from '../logic/address';
import { huntFrom } from '../logic/huntFrom';
import { grouped, spaced } from '../logic/words';
import { HealthBadge, SeverityBadge, StatusBadge, Tag } from '../parts/Badges';
import { DataGrid } from '../parts/DataGrid';
import { DeviceTimeline } from '../parts/DeviceTimeline';
import { Entity } from '../parts/Entity';
import { Facts, Section, Time, To } from '../parts/Parts';
import { Empty, Failure, Loading } from '../parts/States';
import { Table } from '../parts/Table';
import { useTell } from '../parts/toast';
import { go, useParamChange, usePlace } from '../router';
import { ALERT_COLUMNS } from './Alerts';

const TABS = ['overview', 'cases', 'timeline', 'losses'] as const;

function Tags({ device }: { device: Device }) {
  const [text, setText] = useState(device.machineTags.join(', '));
  const client = useQueryClient();
  const tell = useTell();
  const save = useMutation({
    mutationFn: () =>
      api.patch<Device>(`/devices/${device.id}`, {
        machineTags: [...new Set(text.split(',').map((tag) => tag.trim()))].filter(Boolean),
      }),
    onSuccess: () => {
      void client.invalidateQueries({ queryKey: ['device', device.id] });
      tell.done(t('manage.saved'));
    },
    onError: tell.failed,
  });
  return (
    <form
      className="inline-form"
      onSubmit={(event) => {
        event.preventDefault();
        save.mutate();
      }}
    >
      <Field label={t('manage.tags')} size="small">
        <Input
          size="small"
          value={text}
          placeholder={t('manage.tagsHint')}
          onChange={(_, data) => setText(data.value)}
        />
      </Field>
      <Button size="small" type="submit" disabled={text === device.machineTags.join(', ') || save.isPending}>
        {t('manage.save')}
      </Button>
    </form>
  );
}

function Revoke({ device, close }: { device: Device; close: () => void }) {
  const [reason, setReason] = useState('');
  const client = useQueryClient();
  const tell = useTell();
  const revoke = useMutation({
    mutationFn: () => api.post(`/devices/${device.id}/revoke`, { reason }),
    onSuccess: () => {
      void client.invalidateQueries();
      close();
    },
    onError: tell.failed,
  });
  return (
    <Dialog open onOpenChange={(_, data) => !data.open && close()}>
      <DialogSurface>
        <DialogBody>
          <DialogTitle>{t('device.revokeTitle', { name: device.computerDnsName })}</DialogTitle>
          <DialogContent className="form">
            <p>{t('device.revokeHint')}</p>
            <Field label={t('suppress.reason')} required>
              <Input value={reason} onChange={(_, data) => setReason(data.value)} />
            </Field>
          </DialogContent>
          <DialogActions>
            <Button onClick={close}>{t('action.cancel')}</Button>
            <Button appearance="primary" disabled={!reason.trim() || revoke.isPending} onClick={() => revoke.mutate()}>
              {t('device.revoke')}
            </Button>
          </DialogActions>
        </DialogBody>
      </DialogSurface>
    </Dialog>
  );
}

function Cases({ device }: { device: Device }) {
  const { params, search } = usePlace();
  const change = useParamChange();
  const incidents = useList<IncidentSummary>('incidents', '/incidents', { device: device.id }, 20);
  const alerts = useList<Alert>('alerts', '/alerts', { device: device.id });
  return (
    <div className="stack">
      <Section
        title={t('nav.incidents')}
        end={
          <To path="/incidents" change={{ device: device.id }}>
            {t('overview.all')}
          </To>
        }
      >
        {incidents.rows.length === 0 && <p className="muted">{t('incidents.none')}</p>}
        <ul className="plain">
          {incidents.rows.map((i) => (
            <li key={i.id} className="line">
              <SeverityBadge severity={i.severity} />
              <To path={`/incidents/${i.id}`} className="link cut grow">
                {i.title}
              </To>
              <StatusBadge status={i.status} />
              <span className="muted small">
                <Time ago at={i.lastUpdateTime} />
              </span>
            </li>
          ))}
        </ul>
      </Section>
      <div className="fill">
        <DataGrid
          name="device-alerts"
          label={t('nav.alerts')}
          columns={ALERT_COLUMNS}
          rows={alerts.rows}
          keyOf={(a) => a.id}
          selected={params.get('sel')}
          onSelect={(a) => change({ sel: a.id })}
          onOpen={(a) => go(href(`/alerts/${a.id}`, search))}
          loading={alerts.loading}
          error={alerts.error}
          retry={alerts.retry}
          more={alerts.more}
          readOn={alerts.readOn}
          freshPrefix="alert:"
          empty={<Empty title={t('alerts.none')} />}
        />
      </div>
    </div>
  );
}

/** A column of the loss ledger as text. */
function of(row: Row, name: string): string {
  const value = row[name];
  return value === undefined || value === null ? '–' : String(value);
}

function Losses({ device }: { device: Device }) {
  const losses = useList<TimelineRow>('losses', `/devices/${device.id}/losses`, {}, 200);
  if (losses.error) return <Failure error={losses.error} retry={losses.retry} />;
  if (losses.loading) return <Loading />;
  if (losses.rows.length === 0) return <Empty title={t('losses.none')} hint={t('losses.noneHint')} />;
  return (
    <div className="padded">
      <Table
        heads={[
          t('losses.cause'),
          t('fact.table'),
          [t('losses.count'), 'end'],
          t('losses.between'),
          t('losses.from'),
          t('losses.to'),
        ]}
      >
        {losses.rows.map(({ row, timestamp }, i) => (
          <tr key={i}>
            <td>{spaced(of(row, 'Cause'))}</td>
            <td>{of(row, 'TableName')}</td>
            <td className="end mono">{of(row, 'LostRows')}</td>
            <td className="mono">
              {of(row, 'SequenceAfter')} … {of(row, 'SequenceBefore')}
            </td>
            <td>
              <Time at={typeof row.StartTime === 'string' ? row.StartTime : timestamp} />
            </td>
            <td>
              <Time at={typeof row.EndTime === 'string' ? row.EndTime : timestamp} />
            </td>
          </tr>
        ))}
      </Table>
      {losses.more && (
        <Button size="small" onClick={losses.readOn}>
          {t('losses.more')}
        </Button>
      )}
    </div>
  );
}

export default function DevicePage({ id }: { id: string }) {
  const { data: device, error, refetch } = useDevice(id);
  const { params } = usePlace();
  const change = useParamChange();
  const [revoking, setRevoking] = useState(false);
  const machine = useMachinesOf([id]).data?.get(id);
  if (error) return <Failure error={error} retry={() => void refetch()} />;
  if (!device) return <Loading />;
  const tab = TABS.find((name) => name === params.get('tab')) ?? 'overview';
  const { sight } = device;
  return (
    <div className="case-page">
      <header className="case-head">
        <div className="crumbs">
          <To path="/devices">{t('nav.devices')}</To>
        </div>
        <h1>{device.computerDnsName}</h1>
        <div className="tags">
          <span className="muted">{t('device.risk')}</span>
          <SeverityBadge severity={device.riskScore} />
          <HealthBadge health={device.healthStatus} />
          <Tag tone={sight.missing.length > 0 ? 'warn' : undefined}>{t('device.sees', { how: sight.subsystem })}</Tag>
          {device.revoked && <Tag tone="warn">{t('device.revoked')}</Tag>}
          {device.machineTags.map((tag) => (
            <Tag key={tag} tone="own">
              {tag}
            </Tag>
          ))}
          <span className="muted">
            {device.osDistribution} {device.osVersion} · <Time ago at={device.lastSeen} />
          </span>
          <span className="grow" />
          <Button
            size="small"
            icon={<TargetRegular />}
            onClick={() => {
              const { computerDnsName: value, id: key } = device;
              huntNow(huntFrom({ field: 'device', value, id: key }) ?? '', value);
            }}
          >
            {t('hunting.hunt')}
          </Button>
          {machine && (
            <Button
              size="small"
              icon={<CloudFlowRegular />}
              onClick={() => go(href(`/machines/${machine.id}`, window.location.search))}
            >
              {t('machine.deviceOf')}
            </Button>
          )}
          {!device.revoked && (
            <Button size="small" onClick={() => setRevoking(true)}>
              {t('device.revoke')}
            </Button>
          )}
        </div>
        <TabList
          size="small"
          selectedValue={tab}
          onTabSelect={(_, data) =>
            change(
              {
                tab: data.value === 'overview' ? null : String(data.value),
                sel: null,
                q: null,
                not: null,
                tables: null,
              },
              true,
            )
          }
        >
          {TABS.map((name) => (
            <Tab key={name} value={name}>
              {t(`device.tab.${name}`)}
            </Tab>
          ))}
        </TabList>
      </header>
      <div className="case-body">
        <div className="case-main">
          {tab === 'overview' && (
            <div className="columns">
              <Section title={t('device.about')}>
                <Facts
                  facts={[
                    {
                      name: t('device.os'),
                      value: `${device.osDistribution} ${device.osVersion} (${device.osPlatform})`,
                    },
                    { name: t('device.kernel'), value: <Entity mono field="kernel" value={device.kernelVersion} /> },
                    { name: t('device.architecture'), value: device.osArchitecture },
                    {
                      name: t('device.address'),
                      value: device.ipAddresses.map((a) => <Entity key={a} mono field="address" value={a} />),
                    },
                    {
                      name: t('device.lastAddress'),
                      value: <Entity mono field="address" value={device.lastIpAddress ?? ''} />,
                    },
                    { name: t('device.firstSeen'), value: <Time at={device.firstSeen} /> },
                    { name: t('device.lastSeen'), value: <Time at={device.lastSeen} /> },
                    { name: t('fact.id'), value: <Entity mono field="device" value={device.id} /> },
                  ]}
                />
                <Tags key={device.machineTags.join()} device={device} />
              </Section>
              <Section title={t('device.sensor')}>
                <Facts
                  facts={[
                    { name: t('device.health'), value: <HealthBadge health={device.healthStatus} /> },
                    { name: t('device.agent'), value: device.agentVersion },
                    { name: t('device.content'), value: device.contentVersion },
                    { name: t('device.sight'), value: sight.subsystem },
                    { name: t('device.rows'), value: grouped(device.rowCount) },
                    {
                      name: t('device.lost'),
                      value:
                        device.lostRowCount > 0 ? (
                          <To path={`/devices/${device.id}`} change={{ tab: 'losses' }}>
                            {grouped(device.lostRowCount)}
                          </To>
                        ) : (
                          t('losses.none')
                        ),
                    },
                  ]}
                />
                <h4>{t('device.missing')}</h4>
                {sight.missing.length === 0 ? (
                  <p className="muted">{t('device.seesAll')}</p>
                ) : (
                  <ul>
                    {sight.missing.map((m) => (
                      <li key={m}>{m}</li>
                    ))}
                  </ul>
                )}
                {device.collectionOff && (
                  <p className="finding" data-collection="off">
                    {t('device.collectionOff', { why: device.collectionOff })}
                  </p>
                )}
                {device.healthIssues.length > 0 && (
                  <>
                    <h4>{t('device.issues')}</h4>
                    <ul>
                      {device.healthIssues.map((issue) => (
                        <li key={issue}>{issue}</li>
                      ))}
                    </ul>
                  </>
                )}
              </Section>
            </div>
          )}
          {tab === 'cases' && <Cases device={device} />}
          {tab === 'timeline' && <DeviceTimeline device={device.id} />}
          {tab === 'losses' && <Losses device={device} />}
        </div>
      </div>
      {revoking && <Revoke device={device} close={() => setRevoking(false)} />}
    </div>
  );
}
