import {
  Button,
  Dialog,
  DialogActions,
  DialogBody,
  DialogContent,
  DialogSurface,
  DialogTitle,
  Field,
  Input,
  Radio,
  RadioGroup,
  Select,
  Textarea,
} from '@fluentui/react-components';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { api } from '../api/client';
import type { IncidentSummary, Page, Severity } from '../api/types';
import { t } from '../i18n';
import { type ResultColumn, type ResultRow, rowObject } from '../logic/results';
import { SEVERITIES } from '../logic/words';
import { Failure } from '../parts/States';
import { useTell } from '../parts/toast';

/** Rows that become evidence of one alert; the server takes no more. */
const ROWS_MAX = 100;

/** Puts rows of a result into an incident, as an alert of a person with its evidence. */
export function IncidentDialog({
  rows,
  columns,
  query,
  name,
  close,
}: {
  rows: readonly ResultRow[];
  columns: readonly ResultColumn[];
  query: string;
  name: string;
  close: () => void;
}) {
  const [kind, setKind] = useState<'existing' | 'fresh'>('existing');
  const [id, setId] = useState('');
  const [title, setTitle] = useState(name);
  const [severity, setSeverity] = useState<Severity>('Medium');
  const [comment, setComment] = useState('');
  const client = useQueryClient();
  const tell = useTell();
  const open = useQuery({
    queryKey: ['incidents', 'pick'],
    queryFn: async () =>
      (
        await api.get<Page<IncidentSummary>>('/incidents', {
          status: 'Active,InProgress',
          limit: 50,
          sort: '-lastUpdate',
        })
      ).items,
  });
  const incident = id || String(open.data?.[0]?.id ?? '');
  const send = useMutation({
    mutationFn: () =>
      api.post<{ incidentId: number }>('/hunting/evidence', {
        ...(kind === 'existing' ? { incidentId: Number(incident) } : {}),
        title: title.trim(),
        severity,
        comment: comment.trim() || undefined,
        query,
        rows: rows.slice(0, ROWS_MAX).map((row) => rowObject(row, columns)),
      }),
    onSuccess: (made) => {
      for (const key of ['incidents', 'incident', 'alerts', 'count', 'story'])
        void client.invalidateQueries({ queryKey: [key] });
      tell.done(t('evidenceDialog.done', { id: made.incidentId }));
      close();
    },
  });
  const ready = title.trim() !== '' && (kind === 'fresh' || /^\d{1,9}$/.test(incident));
  return (
    <Dialog open onOpenChange={(_, data) => !data.open && close()}>
      <DialogSurface className="hunt-dialog">
        <DialogBody>
          <DialogTitle>{t('evidenceDialog.title')}</DialogTitle>
          <DialogContent className="form">
            <p className="muted">{t('evidenceDialog.hint', { count: Math.min(rows.length, ROWS_MAX) })}</p>
            {rows.length > ROWS_MAX && <p>{t('evidenceDialog.tooMany', { count: ROWS_MAX })}</p>}
            <RadioGroup
              layout="horizontal"
              value={kind}
              onChange={(_, data) => setKind(data.value === 'fresh' ? 'fresh' : 'existing')}
            >
              <Radio value="existing" label={t('evidenceDialog.existing')} />
              <Radio value="fresh" label={t('evidenceDialog.fresh')} />
            </RadioGroup>
            {kind === 'existing' && (
              <Field label={t('evidenceDialog.number')}>
                <Select value={incident} onChange={(_, data) => setId(data.value)}>
                  {(open.data ?? []).map((i) => (
                    <option key={i.id} value={String(i.id)}>
                      {i.id} · {i.title}
                    </option>
                  ))}
                </Select>
              </Field>
            )}
            <Field label={t('evidenceDialog.titleOf')} required>
              <Input value={title} maxLength={200} onChange={(_, data) => setTitle(data.value)} />
            </Field>
            <Field label={t('column.severity')}>
              <Select
                value={severity}
                onChange={(_, data) => setSeverity(SEVERITIES.find((s) => s === data.value) ?? severity)}
              >
                {SEVERITIES.map((s) => (
                  <option key={s} value={s}>
                    {s}
                  </option>
                ))}
              </Select>
            </Field>
            <Field label={t('evidenceDialog.comment')}>
              <Textarea rows={2} value={comment} onChange={(_, data) => setComment(data.value)} />
            </Field>
            {send.error && <Failure error={send.error} />}
          </DialogContent>
          <DialogActions>
            <Button onClick={close}>{t('action.cancel')}</Button>
            <Button appearance="primary" disabled={!ready || send.isPending} onClick={() => send.mutate()}>
              {t('evidenceDialog.make')}
            </Button>
          </DialogActions>
        </DialogBody>
      </DialogSurface>
    </Dialog>
  );
}
