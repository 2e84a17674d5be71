import { Button } from '@fluentui/react-components';
import { BranchRegular, CopyRegular } from '@fluentui/react-icons';
import { useState } from 'react';
import { t } from '../i18n';
import { fieldOf, processQuery } from '../logic/huntFrom';
import { dynamicValue, type ResultColumn, type ResultRow, rowObject, valueText } from '../logic/results';
import { fullTime } from '../logic/time';
import { copyText, Entity } from '../parts/Entity';
import { SidePane } from '../parts/SidePane';
import { usePrefs } from '../prefs';
import { JsonTree } from './JsonTree';
import { huntNow } from './start';

/** Everything of one record, whatever of it the grid shows. */
export function Inspector({
  row,
  columns,
  close,
}: {
  row: ResultRow;
  columns: readonly ResultColumn[];
  close: () => void;
}) {
  const [raw, setRaw] = useState(false);
  const { zone } = usePrefs();
  const object = rowObject(row, columns);
  const textOf = (name: string) => (typeof object[name] === 'string' ? (object[name] as string) : '');
  const device = textOf('DeviceId');
  const process = textOf('ProcessUniqueId') || textOf('InitiatingProcessUniqueId');
  const json = JSON.stringify(object, null, 2);
  return (
    <SidePane
      title={t('hunting.inspect')}
      label={t('hunting.inspectLabel')}
      close={close}
      actions={
        <>
          {process && (
            <Button
              size="small"
              icon={<BranchRegular />}
              onClick={() => huntNow(processQuery(process, device || undefined), t('hunting.lineageTree'))}
            >
              {t('hunting.lineage')}
            </Button>
          )}
          <span className="grow" />
          <Button size="small" appearance="subtle" onClick={() => setRaw(!raw)}>
            {raw ? t('row.table') : t('row.json')}
          </Button>
          <Button size="small" appearance="subtle" icon={<CopyRegular />} onClick={() => void copyText(json)}>
            {t('row.copy')}
          </Button>
        </>
      }
    >
      {raw ? (
        <pre className="json json-all" tabIndex={0}>
          {json}
        </pre>
      ) : (
        <dl className="facts facts-mono">
          {columns.map((column, i) => {
            const value = row[i];
            const tree = column.type === 'dynamic' ? dynamicValue(value) : null;
            const field = fieldOf(column.name);
            return (
              <div key={column.name}>
                <dt title={column.type}>{column.name}</dt>
                <dd>
                  {typeof tree === 'object' && tree !== null ? (
                    <JsonTree value={tree} />
                  ) : (
                    <Entity
                      mono
                      field={field === 'processKey' ? 'process' : field}
                      value={valueText(value)}
                      id={
                        field === 'device' ? device || undefined : field === 'processKey' ? valueText(value) : undefined
                      }
                      to={field === 'device' && device ? `/devices/${device}` : undefined}
                    >
                      {column.type === 'datetime' ? fullTime(valueText(value), zone) : undefined}
                    </Entity>
                  )}
                </dd>
              </div>
            );
          })}
        </dl>
      )}
    </SidePane>
  );
}
