import { useMemo } from 'react';
import { useMachinesOf } from '../api/plane';
import { useDevice, useList } from '../api/queries';
import type { Device } from '../api/types';
import { t } from '../i18n';
import { href, withoutOf, withoutText } from '../logic/address';
import { brief } from '../logic/words';
import { HealthBadge, SeverityBadge, Tag } from '../parts/Badges';
import { DataGrid, type GridColumn } from '../parts/DataGrid';
import { Entity, EntityFilters, type EntityValue } from '../parts/Entity';
import { Chips, keepRows, PickFilter, SearchBox } from '../parts/Filters';
import { ItemPane } from '../parts/ItemPane';
import { Facts, Section, Time, To } from '../parts/Parts';
import { Empty } from '../parts/States';
import { go, useParamChange, usePlace } from '../router';

const HEALTH = ['Active', 'Inactive', 'ImpairedCommunication', 'NoSensorData', 'Offboarded'];

const COLUMNS: GridColumn<Device>[] = [
  {
    id: 'name',
    header: t('word.device'),
    width: 'minmax(150px, 2fr)',
    sort: 'computerDnsName',
    cell: (d) => (
      <Entity inGrid field="device" value={d.computerDnsName} id={d.id} to={`/devices/${d.id}`}>
        <To path={`/devices/${d.id}`}>{d.computerDnsName}</To>
      </Entity>
    ),
  },
  {
    id: 'risk',
    header: t('device.risk'),
    width: '112px',
    cell: (d) => <SeverityBadge severity={d.riskScore} />,
  },
  {
    id: 'alerts',
    header: t('column.alerts'),
    width: '72px',
    end: true,
    cell: (d) => d.activeAlertCount || '–',
  },
  {
    id: 'health',
    header: t('device.health'),
    sort: 'healthStatus',
    width: '176px',
    cell: (d) => <HealthBadge health={d.healthStatus} />,
  },
  {
    id: 'os',
    header: t('device.os'),
    width: 'minmax(100px, 1fr)',
    cell: (d) => <span className="cut">{`${d.osDistribution} ${d.osVersion}`}</span>,
  },
  {
    id: 'kernel',
    header: t('device.kernel'),
    width: 'minmax(100px, 1fr)',
    cell: (d) => <span className="cut mono">{d.kernelVersion}</span>,
  },
  {
    id: 'address',
    header: t('device.address'),
    width: '130px',
    cell: (d) => <Entity inGrid mono field="address" value={d.ipAddresses[0] ?? ''} />,
  },
  {
    id: 'sight',
    header: t('device.sight'),
    width: '96px',
    cell: (d) => <Tag tone={d.sight.missing.length > 0 ? 'warn' : undefined}>{d.sight.subsystem}</Tag>,
  },
  { id: 'rows', header: t('device.rows'), width: '80px', end: true, cell: (d) => brief(d.rowCount) },
  {
    id: 'lost',
    header: t('device.lost'),
    width: '70px',
    end: true,
    cell: (d) => (d.lostRowCount > 0 ? <span className="bad">{brief(d.lostRowCount)}</span> : '–'),
  },
  {
    id: 'tags',
    header: t('manage.tags'),
    width: 'minmax(90px, 1fr)',
    cell: (d) => (
      <span className="tags">
        {d.machineTags.map((tag) => (
          <Tag key={tag}>{tag}</Tag>
        ))}
      </span>
    ),
  },
  {
    id: 'seen',
    header: t('device.lastSeen'),
    width: '100px',
    sort: 'lastSeen',
    cell: (d) => <Time ago at={d.lastSeen} />,
  },
];

/** Beside the pane there is room for these only. */
const NARROW = COLUMNS.filter((c) => ['name', 'risk', 'alerts', 'health', 'seen'].includes(c.id));

function DevicePane({ id, close }: { id: string; close: () => void }) {
  const machine = useMachinesOf([id]).data?.get(id);
  return (
    <ItemPane
      query={useDevice(id)}
      titleOf={(d) => d.computerDnsName}
      word={t('word.device')}
      label={t('devices.summary')}
      open={{ path: `/devices/${id}`, text: t('devices.open') }}
      close={close}
    >
      {(device) => (
        <>
          <div className="tags">
            <SeverityBadge severity={device.riskScore} />
            <HealthBadge health={device.healthStatus} />
            {device.machineTags.map((tag) => (
              <Tag key={tag}>{tag}</Tag>
            ))}
          </div>
          {device.healthIssues.map((issue) => (
            <p key={issue}>{issue}</p>
          ))}
          <Section title={t('device.about')}>
            <Facts
              facts={[
                { name: t('device.os'), value: `${device.osDistribution} ${device.osVersion}` },
                { name: t('device.kernel'), value: <span className="mono">{device.kernelVersion}</span> },
                { name: t('device.address'), value: device.ipAddresses.join(', ') || '–' },
                { name: t('device.agent'), value: device.agentVersion },
                { name: t('device.lastSeen'), value: <Time ago at={device.lastSeen} /> },
                {
                  name: t('column.alerts'),
                  value: (
                    <To path="/alerts" change={{ device: device.id }}>
                      {String(device.activeAlertCount)}
                    </To>
                  ),
                },
                !!machine && {
                  name: t('cloudAlerts.machine'),
                  value: <To path={`/machines/${machine.id}`}>{machine.name}</To>,
                },
              ]}
            />
          </Section>
        </>
      )}
    </ItemPane>
  );
}

export default function Devices() {
  const { params, search } = usePlace();
  const change = useParamChange();
  const list = useList<Device>('devices', '/devices', {
    health: params.get('health'),
    q: params.get('q'),
    sort: params.get('sort') ?? '-lastSeen',
  });
  const not = params.get('not');
  const selected = params.get('sel');
  const rows = useMemo(
    () => keepRows(list.rows, withoutOf(not), (d, field) => (field === 'device' ? [d.computerDnsName] : d.ipAddresses)),
    [list.rows, not],
  );
  const actions = useMemo(
    () => ({
      filterIn: (e: EntityValue) => change({ q: e.value }),
      filterOut: (e: EntityValue) => change({ not: withoutText([...withoutOf(not), e]) }),
    }),
    [change, not],
  );
  return (
    <EntityFilters actions={actions}>
      <div className="list-page">
        <div className="list-main">
          <header className="page-head">
            <h1>{t('nav.devices')}</h1>
            {list.total !== null && <span className="muted">{t('list.total', { count: list.total })}</span>}
          </header>
          <DataGrid
            name="devices"
            label={t('nav.devices')}
            columns={selected ? NARROW : COLUMNS}
            rows={rows}
            keyOf={(d) => d.id}
            selected={selected}
            onSelect={(d) => change({ sel: d.id })}
            onOpen={(d) => go(href(`/devices/${d.id}`, search))}
            sort={params.get('sort') ?? '-lastSeen'}
            onSort={(sort) => change({ sort: sort === '-lastSeen' ? null : sort })}
            loading={list.loading}
            error={list.error}
            retry={list.retry}
            more={list.more}
            readOn={list.readOn}
            empty={
              <Empty
                title={t('devices.none')}
                hint={t('devices.noneHint')}
                action={
                  <To path="/settings" change={{ tab: 'enrolment' }}>
                    {t('devices.enrol')}
                  </To>
                }
              />
            }
            toolbar={
              <div className="filters">
                <SearchBox label={t('devices.search')} />
                <PickFilter param="health" label={t('device.health')} options={HEALTH} />
                <Chips params={[]} />
              </div>
            }
          />
        </div>
        {selected && <DevicePane key={selected} id={selected} close={() => change({ sel: null })} />}
      </div>
    </EntityFilters>
  );
}
