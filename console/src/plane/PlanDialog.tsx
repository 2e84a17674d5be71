import { Field, Select } from '@fluentui/react-components';
import { useState } from 'react';
import { api } from '../api/client';
import { useForecast } from '../api/money';
import {
  type CoverageSubscription,
  type Plan,
  type Subscription,
  useGeographies,
  usePlaneChange,
  usePlans,
  useTenant,
} from '../api/plane';
import { t } from '../i18n';
import { planEffect } from '../logic/plane';
import { ForecastWords } from '../money/ForecastCard';
import { useTell } from '../parts/toast';
import { Ask } from './Ask';

/** The plan of a subscription: what changes is shown before it is set. `to` null takes the setting away. */
export function PlanDialog({
  subscription,
  coverage,
  to,
  close,
}: {
  subscription: Subscription;
  coverage: CoverageSubscription | null;
  to: Plan | null;
  close: () => void;
}) {
  const tenant = useTenant();
  const first = tenant.data === null && to !== null && to !== 'Off';
  const geographies = useGeographies(first);
  const [geography, setGeography] = useState('');
  const tell = useTell();
  const effect = planEffect(subscription.plan, to, coverage, usePlans().data ?? []);
  const path = `/subscriptions/${subscription.id}/plan`;
  const word = to ? t(`plan.${to}`) : t('plan.unset');
  const change = usePlaneChange(
    (): Promise<unknown> =>
      to === null ? api.delete(path) : api.put(path, geography ? { plan: to, geography } : { plan: to }),
  );
  const forecast = useForecast(subscription.id, to).data;
  const off = to === null || to === 'Off';
  return (
    <Ask
      title={t('planDialog.title', {
        name: subscription.name,
        from: subscription.plan ? t(`plan.${subscription.plan}`) : t('plan.unset'),
        to: word,
      })}
      act={to === null ? t('planDialog.clear') : t('planDialog.apply', { to: word })}
      busy={change.isPending}
      error={change.error}
      close={close}
      run={() =>
        change.mutate(undefined, {
          onSuccess: () => {
            tell.done(t('planDialog.done', { name: subscription.name, to: word }));
            close();
          },
        })
      }
    >
      <div className="preview" data-preview>
        <strong>{t('planDialog.changing', { count: effect.changing })}</strong>
        {effect.keeping > 0 && <div className="muted">{t('planDialog.keeping', { count: effect.keeping })}</div>}
        {forecast && <ForecastWords forecast={forecast} />}
        <Titles name={t('planDialog.gained')} titles={effect.gained} />
        <Titles name={t('planDialog.lost')} titles={effect.lost} />
      </div>
      <p className="muted">{off ? t('planDialog.stays') : t('planDialog.nextHour')}</p>
      {!off && !subscription.trial && <p>{t('planDialog.trialBegins')}</p>}
      {first && (
        <Field label={t('planDialog.geography')} hint={t('planDialog.geographyHint')}>
          <Select value={geography} onChange={(_, data) => setGeography(data.value)}>
            <option value="">{t('planDialog.geographyOwn')}</option>
            {(geographies.data ?? []).map((g) => (
              <option key={g.code} value={g.code}>
                {g.name}
              </option>
            ))}
          </Select>
        </Field>
      )}
    </Ask>
  );
}

function Titles({ name, titles }: { name: string; titles: string[] }) {
  if (titles.length === 0) return null;
  return (
    <>
      <h4>
        {name} ({titles.length})
      </h4>
      <ul>
        {titles.map((title) => (
          <li key={title}>{title}</li>
        ))}
      </ul>
    </>
  );
}
