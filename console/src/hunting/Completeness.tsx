import { Button, Popover, PopoverSurface, PopoverTrigger } from '@fluentui/react-components';
import { CheckmarkCircleRegular, ChevronDownRegular, WarningRegular } from '@fluentui/react-icons';
import type { Resources, Completeness as Words } from '../api/hunting';
import { t } from '../i18n';
import { bytes, grouped, spaced } from '../logic/words';
import { Entity } from '../parts/Entity';
import { Facts, Time } from '../parts/Parts';

/** Whether the answer is whole, in words, with the devices concerned. */
export function Completeness({ words }: { words: Words }) {
  if (words.complete)
    return (
      <span className="hunt-whole" title={t('hunting.completeHint')} data-complete="yes">
        <CheckmarkCircleRegular aria-hidden="true" />
        {t('hunting.complete')}
      </span>
    );
  return (
    <span className="hunt-lacks" data-complete="no">
      <WarningRegular aria-hidden="true" />
      <span className="cut" title={words.statement}>
        {words.statement || t('hunting.incomplete')}
      </span>
      {words.devices.length > 0 && (
        <Popover withArrow trapFocus>
          <PopoverTrigger disableButtonEnhancement>
            <Button size="small" appearance="subtle" icon={<ChevronDownRegular />} iconPosition="after">
              {t('hunting.lacks')}
            </Button>
          </PopoverTrigger>
          <PopoverSurface className="hunt-popover" aria-label={t('hunting.lacks')}>
            <h3>{t('hunting.lacks')}</h3>
            <ul className="plain">
              {words.devices.map((device) => (
                <li key={device.deviceId} className="hunt-lack">
                  <Entity
                    field="device"
                    value={device.deviceName || device.deviceId}
                    id={device.deviceId}
                    to={`/devices/${device.deviceId}`}
                  />
                  <ul className="plain small">
                    {device.offline && (
                      <li>
                        {t('hunting.offline')} <Time at={device.offline.since} />
                      </li>
                    )}
                    {device.losses.map((loss, i) => (
                      <li key={i}>
                        {t('hunting.lost', { rows: grouped(loss.rows), table: loss.table, cause: spaced(loss.cause) })}
                      </li>
                    ))}
                    {device.gaps.map((gap, i) => (
                      <li key={i}>
                        {t('hunting.gaps', { rows: grouped(gap.rows), after: gap.after, before: gap.before })}
                      </li>
                    ))}
                  </ul>
                </li>
              ))}
            </ul>
            {words.devicesMore > 0 && <p className="muted">{t('hunting.more', { count: words.devicesMore })}</p>}
          </PopoverSurface>
        </Popover>
      )}
    </span>
  );
}

/** What a query used, behind one button. */
export function ResourcesReport({ used }: { used: Resources }) {
  return (
    <Popover withArrow trapFocus>
      <PopoverTrigger disableButtonEnhancement>
        <Button size="small" appearance="subtle" icon={<ChevronDownRegular />} iconPosition="after">
          {t('hunting.resources')}
          {used.usage ? `: ${used.usage}` : ''}
        </Button>
      </PopoverTrigger>
      <PopoverSurface className="hunt-popover" aria-label={t('hunting.resourcesOf')}>
        <h3>{t('hunting.resourcesOf')}</h3>
        <Facts
          facts={[
            { name: t('hunting.usage'), value: used.usage },
            { name: t('hunting.duration'), value: `${grouped(used.durationMs)} ms` },
            { name: t('hunting.cpu'), value: `${grouped(used.cpuMs)} ms` },
            { name: t('hunting.rowsRead'), value: `${grouped(used.rowsScanned)} · ${bytes(used.bytesScanned)}` },
            {
              name: t('hunting.files'),
              value: t('hunting.filesOf', { read: grouped(used.filesRead), total: grouped(used.filesTotal) }),
            },
            { name: t('hunting.memory'), value: bytes(used.memoryPeakBytes) },
            used.spilledBytes > 0 && { name: t('hunting.spilled'), value: bytes(used.spilledBytes) },
          ]}
        />
      </PopoverSurface>
    </Popover>
  );
}
