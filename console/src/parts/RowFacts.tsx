import { Button } from '@fluentui/react-components';
import { CopyRegular } from '@fluentui/react-icons';
import { useState } from 'react';
import type { Row } from '../api/types';
import { t } from '../i18n';
import { copyText, Entity } from './Entity';

const FIELDS: Record<string, string> = {
  AccountName: 'user',
  InitiatingProcessAccountName: 'user',
  DeviceName: 'device',
  FileName: 'file',
  InitiatingProcessFileName: 'file',
  RemoteIP: 'address',
  RemoteUrl: 'address',
  SHA256: 'hash',
  SHA1: 'hash',
};

function text(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/** A raw row: every column as an entity, `marked` ones (those the rule looked at) first to the eye; or as JSON. */
export function RowFacts({ row, marked }: { row: Row; marked?: ReadonlySet<string> }) {
  const [raw, setRaw] = useState(false);
  const json = JSON.stringify(row, null, 2);
  const device = typeof row.DeviceId === 'string' ? row.DeviceId : undefined;
  return (
    <div className="row-facts">
      <div className="row-end">
        <Button size="small" appearance="subtle" onClick={() => setRaw(!raw)}>
          {raw ? t('row.table') : t('row.json')}
        </Button>
        <Button size="small" appearance="subtle" icon={<CopyRegular />} onClick={() => void copyText(json)}>
          {t('row.copy')}
        </Button>
      </div>
      {raw ? (
        <pre className="json" tabIndex={0}>
          {json}
        </pre>
      ) : (
        <dl className="facts facts-mono">
          {Object.entries(row).map(([column, value]) => (
            <div key={column} className={marked?.has(column) ? 'marked' : undefined}>
              <dt>{column}</dt>
              <dd>
                <Entity
                  mono
                  field={FIELDS[column] ?? column}
                  value={text(value)}
                  id={column === 'DeviceName' ? device : undefined}
                  to={column === 'DeviceName' && device ? `/devices/${device}` : undefined}
                />
              </dd>
            </div>
          ))}
        </dl>
      )}
    </div>
  );
}
