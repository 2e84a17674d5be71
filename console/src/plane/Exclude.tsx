import { Button, Field, Input } from '@fluentui/react-components';
import { useState } from 'react';
import { api } from '../api/client';
import { useExclusions, useMayChange, usePlaneChange } from '../api/plane';
import { t } from '../i18n';
import { tagsOf } from '../logic/plane';
import { Tag } from '../parts/Badges';
import { Time } from '../parts/Parts';
import { useTell } from '../parts/toast';
import { Ask } from './Ask';

/** Exclusions whose scope lies in one scope, with a way to make and to remove them. */
export function Exclusions({ scope }: { scope: string }) {
  const list = useExclusions();
  const may = useMayChange();
  const tell = useTell();
  const [asking, setAsking] = useState(false);
  const drop = usePlaneChange((id: string) => api.delete(`/exclusions/${id}`));
  const at = scope.toLowerCase();
  const here = (list.data ?? []).filter((e) => e.scope.toLowerCase().startsWith(at));
  return (
    <>
      <p className="muted small">{t('exclusions.hint')}</p>
      {here.length === 0 && <p className="muted">{t('exclusions.none')}</p>}
      <ul className="plain">
        {here.map((e) => (
          <li key={e.id} className="line">
            <span className="grow">
              {e.reason} <span className="muted small">{e.scope.slice(scope.length)}</span>{' '}
              {e.tagName && <Tag>{e.tagValue ? `${e.tagName}=${e.tagValue}` : e.tagName}</Tag>}
              {e.expiresTime && (
                <span className="muted small">
                  {' '}
                  {t('exclusions.until')} <Time at={e.expiresTime} />
                </span>
              )}
            </span>
            <Button
              size="small"
              appearance="subtle"
              disabled={!may || drop.isPending}
              onClick={() =>
                drop.mutate(e.id, { onSuccess: () => tell.done(t('exclusions.removed')), onError: tell.failed })
              }
            >
              {t('exclusions.remove')}
            </Button>
          </li>
        ))}
      </ul>
      <Button size="small" disabled={!may} onClick={() => setAsking(true)}>
        {t('exclusions.add')}
      </Button>
      {asking && <ExcludeDialog scope={scope} close={() => setAsking(false)} />}
    </>
  );
}

function ExcludeDialog({ scope, close }: { scope: string; close: () => void }) {
  const [reason, setReason] = useState('');
  const [tag, setTag] = useState('');
  const [days, setDays] = useState('');
  const tell = useTell();
  const make = usePlaneChange(() => {
    const [name, value] = Object.entries(tagsOf(tag))[0] ?? [];
    const ends = Number(days) > 0 ? new Date(Date.now() + Number(days) * 86_400_000).toISOString() : null;
    return api.post('/exclusions', {
      scope,
      reason: reason.trim(),
      ...(name ? { tagName: name } : {}),
      ...(name && value ? { tagValue: value } : {}),
      ...(ends ? { expiresTime: ends } : {}),
    });
  });
  return (
    <Ask
      title={t('exclusions.dialog')}
      act={t('exclusions.make')}
      able={reason.trim() !== ''}
      busy={make.isPending}
      error={make.error}
      close={close}
      run={() =>
        make.mutate(undefined, {
          onSuccess: () => {
            tell.done(t('exclusions.made'));
            close();
          },
        })
      }
    >
      <code className="wrap small">{scope}</code>
      <Field label={t('exclusions.reason')} required>
        <Input value={reason} onChange={(_, data) => setReason(data.value)} />
      </Field>
      <Field label={t('exclusions.tag')} hint={t('bulkPlan.tagHint')}>
        <Input value={tag} onChange={(_, data) => setTag(data.value)} />
      </Field>
      <Field label={t('exclusions.expires')} hint={t('exclusions.expiresHint')}>
        <Input type="number" min={1} value={days} onChange={(_, data) => setDays(data.value)} />
      </Field>
    </Ask>
  );
}
