import { Field, Select } from '@fluentui/react-components';
import { useState } from 'react';
import { type Forecast, useForecast } from '../api/money';
import { type Plan, useSubscriptions } from '../api/plane';
import { t } from '../i18n';
import { amount } from '../logic/plane';
import { Section } from '../parts/Parts';
import { Failure, Loading } from '../parts/States';

/** What a forecast says, sentence by sentence. */
export function ForecastWords({ forecast }: { forecast: Forecast }) {
  const { currency } = forecast;
  return (
    <div data-forecast>
      <h4>{t('planDialog.forecast', { hours: forecast.hours })}</h4>
      {forecast.cost && currency ? (
        <strong>{amount(forecast.cost, currency)}</strong>
      ) : (
        t('planDialog.noPrice', { hours: forecast.billedHours })
      )}
      {forecast.perMonth && currency && (
        <div>
          {t('money.perMonth', { cost: amount(forecast.perMonth, currency) })}
          {forecast.perDay && ` · ${t('money.perDay', { cost: amount(forecast.perDay, currency) })}`}
        </div>
      )}
      {forecast.words.map((word) => (
        <div key={word} className="muted small">
          {word}
        </div>
      ))}
    </div>
  );
}

export function ForecastCard() {
  const subscriptions = useSubscriptions();
  const [subscription, setSubscription] = useState('');
  const [plan, setPlan] = useState<Plan>('P2');
  const chosen = subscription || (subscriptions.data?.[0]?.id ?? '');
  const forecast = useForecast(chosen, plan);
  return (
    <Section title={t('money.tab.forecast')}>
      <p className="muted small">{t('money.forecastHint')}</p>
      <div className="inline-form">
        <Field label={t('machine.subscription')} size="small">
          <Select size="small" value={chosen} onChange={(_, data) => setSubscription(data.value)}>
            {(subscriptions.data ?? []).map((s) => (
              <option key={s.id} value={s.id}>
                {s.name}
              </option>
            ))}
          </Select>
        </Field>
        <Field label={t('machine.plan')} size="small">
          <Select size="small" value={plan} onChange={(_, data) => setPlan(data.value === 'P1' ? 'P1' : 'P2')}>
            <option value="P1">{t('plan.P1')}</option>
            <option value="P2">{t('plan.P2')}</option>
          </Select>
        </Field>
      </div>
      {forecast.error ? (
        <Failure error={forecast.error} retry={() => void forecast.refetch()} />
      ) : forecast.data ? (
        <div className="preview">
          <ForecastWords forecast={forecast.data} />
        </div>
      ) : (
        chosen !== '' && forecast.isPending && <Loading />
      )}
    </Section>
  );
}
