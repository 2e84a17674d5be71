import { Button, Field, Input, Select } from '@fluentui/react-components';
import { useState } from 'react';
import { api } from '../api/client';
import { type PriceSheet, useMoneyChange, usePriceSheets } from '../api/money';
import { useMayChange } from '../api/plane';
import { t } from '../i18n';
import { Tag } from '../parts/Badges';
import { Section, Time } from '../parts/Parts';
import { Empty, Failure, Loading } from '../parts/States';
import { RowButton, Table } from '../parts/Table';
import { useTell } from '../parts/toast';
import { Ask } from '../plane/Ask';
import { PlanBadge } from '../plane/Words';

/** Prices with their validity; ended ones stay, since what is past was priced by them. */
export function Prices() {
  const sheets = usePriceSheets();
  const may = useMayChange();
  const [asking, setAsking] = useState(false);
  const [leaving, setLeaving] = useState<PriceSheet>();
  if (sheets.error) return <Failure error={sheets.error} retry={() => void sheets.refetch()} />;
  if (sheets.data === undefined) return <Loading />;
  const all = sheets.data ?? [];
  return (
    <Section
      title={t('money.tab.prices')}
      end={
        <Button size="small" disabled={!may} onClick={() => setAsking(true)}>
          {t('money.addPrice')}
        </Button>
      }
    >
      <p className="muted small">{t('money.priceHint')}</p>
      {all.length === 0 ? (
        <Empty title={t('money.noPrices')} />
      ) : (
        <Table
          name="prices"
          heads={[
            t('money.meter'),
            [t('money.price'), 'end'],
            t('money.from'),
            t('money.to'),
            t('settings.column.createdBy'),
          ]}
          actions
        >
          {all.map((s) => (
            <tr key={s.id}>
              <td>
                <span className="tags">
                  {s.plan ? <PlanBadge plan={s.plan} /> : t('money.meterIngest')}
                  {s.inForce && <Tag tone="good">{t('money.inForce')}</Tag>}
                </span>
              </td>
              <td className="end nowrap">
                {s.pricePerHour ?? s.pricePerGb} {s.currency}
                <div className="muted small">{s.plan ? t('money.perHour') : t('money.perGb')}</div>
              </td>
              <td>
                <Time at={s.validFrom} />
              </td>
              <td>{s.validTo ? <Time at={s.validTo} /> : t('money.open')}</td>
              <td className="muted">
                {s.createdBy} · <Time ago at={s.createdTime} />
              </td>
              <td className="end">
                <RowButton disabled={!may} onClick={() => setLeaving(s)}>
                  {t('money.removePrice')}
                </RowButton>
              </td>
            </tr>
          ))}
        </Table>
      )}
      {asking && <PriceDialog all={all} close={() => setAsking(false)} />}
      {leaving && <RemoveDialog sheet={leaving} close={() => setLeaving(undefined)} />}
    </Section>
  );
}

/** Takes a sheet back; one that has priced an hour stays, and the server says so. */
function RemoveDialog({ sheet, close }: { sheet: PriceSheet; close: () => void }) {
  const tell = useTell();
  const remove = useMoneyChange(() => api.delete(`/price-sheets/${encodeURIComponent(sheet.id)}`));
  return (
    <Ask
      title={t('money.removePriceTitle')}
      act={t('money.removePrice')}
      busy={remove.isPending}
      error={remove.error}
      close={close}
      run={() =>
        remove.mutate(undefined, {
          onSuccess: () => {
            tell.done(t('money.priceRemoved'));
            close();
          },
        })
      }
    >
      <p>
        {t('money.removePriceWords', {
          price: `${sheet.pricePerHour ?? sheet.pricePerGb} ${sheet.currency}`,
          meter: sheet.plan ? t(`plan.${sheet.plan}`) : t('money.meterIngest'),
        })}
      </p>
    </Ask>
  );
}

function PriceDialog({ all, close }: { all: readonly PriceSheet[]; close: () => void }) {
  const known = all[0]?.currency;
  const [meter, setMeter] = useState('P1');
  const [price, setPrice] = useState('');
  const [currency, setCurrency] = useState(known ?? 'EUR');
  const [from, setFrom] = useState('');
  const tell = useTell();
  const make = useMoneyChange(() =>
    api.post('/price-sheets', {
      ...(meter === 'ingest' ? { pricePerGb: price.trim() } : { plan: meter, pricePerHour: price.trim() }),
      currency: currency.trim().toUpperCase(),
      ...(from ? { validFrom: new Date(`${from}:00Z`).toISOString() } : {}),
    }),
  );
  return (
    <Ask
      title={t('money.addPrice')}
      act={t('money.addPrice')}
      able={/^\d+(\.\d+)?$/.test(price.trim()) && /^[A-Za-z]{3}$/.test(currency.trim())}
      busy={make.isPending}
      error={make.error}
      close={close}
      run={() =>
        make.mutate(undefined, {
          onSuccess: () => {
            tell.done(t('money.priceAdded'));
            close();
          },
        })
      }
    >
      <Field label={t('money.meter')}>
        <Select value={meter} onChange={(_, data) => setMeter(data.value)}>
          <option value="P1">{t('plan.P1')}</option>
          <option value="P2">{t('plan.P2')}</option>
          <option value="ingest">{t('money.meterIngest')}</option>
        </Select>
      </Field>
      <Field label={meter === 'ingest' ? t('money.perGb') : t('money.perHour')} required>
        <Input inputMode="decimal" value={price} onChange={(_, data) => setPrice(data.value)} />
      </Field>
      <Field label={t('money.currency')} hint={t('money.currencyHint')} required>
        <Input value={currency} disabled={known !== undefined} onChange={(_, data) => setCurrency(data.value)} />
      </Field>
      <Field label={t('money.validFrom')} hint={t('money.validFromHint')}>
        <Input type="datetime-local" step={3600} value={from} onChange={(_, data) => setFrom(data.value)} />
      </Field>
    </Ask>
  );
}
