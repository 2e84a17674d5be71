import {
  Button,
  Checkbox,
  Dialog,
  DialogActions,
  DialogBody,
  DialogContent,
  DialogSurface,
  DialogTitle,
  Field,
  Input,
  Select,
} from '@fluentui/react-components';
import { keepPreviousData, useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { api } from '../api/client';
import type { Alert, Suppression, SuppressionCondition, SuppressionPreview, SuppressionScope } from '../api/types';
import { t } from '../i18n';
import { useTell } from './toast';

const DAYS = 30;
const OPERATORS = ['equals', 'contains', 'startsWith', 'endsWith'] as const;

/** What of the matched row an exception is likely to be about: what the rule looked at, then who and what ran. */
export function suggested(alert: Alert): SuppressionCondition[] {
  const match = alert.matches[0];
  if (!match) return [];
  const columns = [
    ...match.fields.map((f) => f.column),
    'ProcessCommandLine',
    'FolderPath',
    'AccountName',
    'InitiatingProcessFileName',
  ];
  return [...new Set(columns)].flatMap((column) => {
    const value = match.row[column];
    return typeof value === 'string' && value !== '' ? [{ column, operator: 'equals' as const, value }] : [];
  });
}

/** One click from an alert to an exception, with what it would have hidden before it is made. */
export function SuppressDialog({ alert, close }: { alert: Alert; close: () => void }) {
  const [offers, setOffers] = useState(() => suggested(alert).map((condition, i) => ({ condition, on: i === 0 })));
  const [onDevice, setOnDevice] = useState(true);
  const [name, setName] = useState(alert.title);
  const [reason, setReason] = useState('');
  const client = useQueryClient();
  const tell = useTell();
  const scope: SuppressionScope = {
    ruleId: alert.detectorId,
    ...(onDevice ? { deviceId: alert.machineId } : {}),
    conditions: offers.filter((o) => o.on && o.condition.value).map((o) => o.condition),
  };
  const preview = useQuery({
    queryKey: ['preview', scope],
    queryFn: () => api.post<SuppressionPreview>('/suppressions/preview', { scope, days: DAYS }),
    placeholderData: keepPreviousData,
  });
  const make = useMutation({
    mutationFn: () => api.post<Suppression>('/suppressions', { name, reason, scope }),
    onSuccess: () => {
      for (const key of ['suppressions', 'alerts', 'alert', 'cloud-alerts', 'incident', 'incidents', 'count'])
        void client.invalidateQueries({ queryKey: [key] });
      tell.done(t('suppress.done'));
      close();
    },
    onError: tell.failed,
  });
  return (
    <Dialog open onOpenChange={(_, data) => !data.open && close()}>
      <DialogSurface className="wide">
        <DialogBody>
          <DialogTitle>{t('suppress.title')}</DialogTitle>
          <DialogContent className="form">
            <p className="muted">{t('suppress.hint', { rule: alert.detectorId })}</p>
            <Checkbox
              checked={onDevice}
              label={t('suppress.device', { name: alert.computerDnsName })}
              onChange={(_, data) => setOnDevice(data.checked === true)}
            />
            {offers.map((offer, i) => {
              const set = (change: Partial<SuppressionCondition>, on = offer.on) =>
                setOffers(offers.map((o, j) => (j === i ? { condition: { ...o.condition, ...change }, on } : o)));
              return (
                <div key={offer.condition.column} className="condition">
                  <Checkbox
                    checked={offer.on}
                    label={offer.condition.column}
                    onChange={(_, data) => set({}, data.checked === true)}
                  />
                  <Select
                    size="small"
                    aria-label={t('suppress.operator', { column: offer.condition.column })}
                    disabled={!offer.on}
                    value={offer.condition.operator}
                    onChange={(_, data) => set({ operator: OPERATORS.find((o) => o === data.value) ?? 'equals' })}
                  >
                    {OPERATORS.map((o) => (
                      <option key={o} value={o}>
                        {t(`operator.${o}`)}
                      </option>
                    ))}
                  </Select>
                  <Input
                    size="small"
                    className="mono"
                    aria-label={t('suppress.value', { column: offer.condition.column })}
                    disabled={!offer.on}
                    value={offer.condition.value}
                    onChange={(_, data) => set({ value: data.value })}
                  />
                </div>
              );
            })}
            <Field label={t('suppress.name')} required>
              <Input value={name} onChange={(_, data) => setName(data.value)} />
            </Field>
            <Field label={t('suppress.reason')} required>
              <Input
                value={reason}
                placeholder={t('suppress.reasonHint')}
                onChange={(_, data) => setReason(data.value)}
              />
            </Field>
            <p className="preview" role="status">
              {preview.error
                ? preview.error.message
                : preview.data
                  ? t('suppress.would', {
                      count: preview.data.wouldHide,
                      days: preview.data.days,
                      all: preview.data.lookedAt,
                    })
                  : t('state.loading')}
            </p>
          </DialogContent>
          <DialogActions>
            <Button onClick={close}>{t('action.cancel')}</Button>
            <Button
              appearance="primary"
              disabled={!name.trim() || !reason.trim() || make.isPending}
              onClick={() => make.mutate()}
            >
              {t('suppress.make')}
            </Button>
          </DialogActions>
        </DialogBody>
      </DialogSurface>
    </Dialog>
  );
}
