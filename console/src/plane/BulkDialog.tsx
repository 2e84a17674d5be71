import { Field, Input, Select } from '@fluentui/react-components';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { ApiError, api } from '../api/client';
import { type BulkPreview, type Plan, type Selector, useGroups, usePlaneChange, useSubscriptions } from '../api/plane';
import { t } from '../i18n';
import { flows } from '../logic/plane';
import { useTell } from '../parts/toast';
import { Ask, Refused } from './Ask';
import { PlanBadge, PlanSwitch } from './Words';

/** Names that the preview spells out; the counts tell the rest. */
const NAMED_MAX = 6;

/** Many machines at once, by resource group or tag, with a preview that the server holds the change to. */
export function BulkDialog({ start, close }: { start?: Partial<Selector>; close: () => void }) {
  const subscriptions = useSubscriptions();
  const [chosen, setChosen] = useState(start?.subscriptionId ?? '');
  const subscription = chosen || subscriptions.data?.[0]?.id || '';
  const [group, setGroup] = useState(start?.resourceGroup ?? '');
  const [tag, setTag] = useState(start?.tagName ? [start.tagName, start.tagValue].filter(Boolean).join('=') : '');
  const [plan, setPlan] = useState<Plan | null>('P1');
  const groups = useGroups(subscription || null);
  const tell = useTell();
  const at = tag.indexOf('=');
  const selector: Selector = {
    subscriptionId: subscription,
    ...(group ? { resourceGroup: group } : {}),
    ...(tag.trim() ? { tagName: (at < 0 ? tag : tag.slice(0, at)).trim() } : {}),
    ...(at > 0 ? { tagValue: tag.slice(at + 1).trim() } : {}),
  };
  const body = plan ? { selector, plan } : { selector };
  const ready = subscription !== '' && (group !== '' || selector.tagName !== undefined);
  const preview = useQuery({
    queryKey: ['machines', 'preview', body],
    queryFn: () => api.post<BulkPreview>('/plans/preview', body),
    enabled: ready,
    retry: false,
  });
  const apply = usePlaneChange((digest: string) => api.post<BulkPreview>('/plans/bulk', { ...body, digest }));
  const stale = apply.error instanceof ApiError && apply.error.code === 'preview_stale';
  const seen = preview.data;
  return (
    <Ask
      title={t('bulkPlan.title')}
      act={t('bulkPlan.apply')}
      able={ready && !preview.isFetching && (seen?.changed ?? 0) > 0}
      busy={apply.isPending}
      error={stale ? null : apply.error}
      close={close}
      run={() =>
        seen &&
        apply.mutate(seen.digest, {
          onSuccess: (done) => {
            tell.done(t('bulkPlan.done', { count: done.changed }));
            close();
          },
          onError: () => void preview.refetch(),
        })
      }
    >
      <p className="muted">{t('bulkPlan.hint')}</p>
      <div className="two">
        <Field label={t('bulkPlan.subscription')}>
          <Select
            value={subscription}
            onChange={(_, data) => {
              setChosen(data.value);
              setGroup('');
            }}
          >
            {(subscriptions.data ?? []).map((s) => (
              <option key={s.id} value={s.id}>
                {s.name}
              </option>
            ))}
          </Select>
        </Field>
        <Field label={t('bulkPlan.group')}>
          <Select value={group} onChange={(_, data) => setGroup(data.value)}>
            <option value="">{t('bulkPlan.anyGroup')}</option>
            {(groups.data ?? []).map((g) => (
              <option key={g.name}>{g.name}</option>
            ))}
          </Select>
        </Field>
        <Field label={t('bulkPlan.tag')} hint={t('bulkPlan.tagHint')}>
          <Input value={tag} onChange={(_, data) => setTag(data.value)} />
        </Field>
        <div>
          <div className="fui-Label">{t('bulkPlan.setTo')}</div>
          <PlanSwitch name={t('bulkPlan.title')} value={plan} machine onPick={setPlan} />
        </div>
      </div>
      <div className="preview" role="status" data-preview>
        {!ready ? (
          <span className="muted">{t('bulkPlan.choose')}</span>
        ) : preview.error ? (
          <Refused error={preview.error} />
        ) : !seen ? (
          t('state.loading')
        ) : (
          <>
            {stale && <strong className="bad">{t('bulkPlan.stale')}</strong>}
            <div>
              <strong>{t('bulkPlan.matched', { count: seen.matched })}</strong> ·{' '}
              {seen.changed === 0 ? t('bulkPlan.nothing') : t('bulkPlan.changed', { count: seen.changed })}
            </div>
            {seen.changed > 0 && <div>{t('bulkPlan.planChanged', { count: seen.planChanged })}</div>}
            {flows(seen).map((flow) => (
              <div key={`${flow.from.plan}${flow.to.plan}`} className="flow">
                <strong>{flow.count}</strong>
                <PlanBadge plan={flow.from.plan} /> → <PlanBadge plan={flow.to.plan} />
              </div>
            ))}
            <ul className="one">
              {seen.changes.slice(0, NAMED_MAX).map((line) => (
                <li key={line.id}>{line.resourceId.split('/').pop()}</li>
              ))}
              {seen.changed > NAMED_MAX && <li>{t('bulk.rest', { count: seen.changed - NAMED_MAX })}</li>}
            </ul>
          </>
        )}
      </div>
    </Ask>
  );
}
