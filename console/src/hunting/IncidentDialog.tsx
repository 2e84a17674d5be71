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
  Select,
  Textarea,
} from '@fluentui/react-components';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { api } from '../api/client';
import type { Incident, IncidentSummary, Page } from '../api/types';
import { t } from '../i18n';
import { evidenceText } from '../logic/evidence';
import { pack } from '../logic/huntLink';
import type { ResultColumn, ResultRow } from '../logic/results';
import { Failure, Loading } from '../parts/States';
import { useTell } from '../parts/toast';

/** Puts rows of a result on record in an incident: what was found, the query with its link, the rows. */
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
  const [id, setId] = useState('');
  const [title, setTitle] = useState(name);
  const [note, setNote] = useState('');
  const client = useQueryClient();
  const tell = useTell();
  const open = useQuery({
    queryKey: ['incidents', 'pick'],
    queryFn: async () =>
      (
        await api.get<Page<IncidentSummary>>('/incidents', {
          status: 'Active,InProgress',
          limit: 100,
          sort: '-lastUpdate',
        })
      ).items,
  });
  const incident = id || String(open.data?.[0]?.id ?? '');
  const send = useMutation({
    mutationFn: async () => {
      const link = await pack(query);
      const search = link && new URLSearchParams(link.q === null ? { z: link.z ?? '' } : { q: link.q });
      const comment = evidenceText(
        { title: title.trim(), note, query, link: search && `${window.location.origin}/hunting?${search}` },
        rows,
        columns,
      );
      return api.post<Incident>(`/incidents/${incident}/comments`, { comment });
    },
    onSuccess: (made) => {
      for (const key of ['incidents', 'incident']) void client.invalidateQueries({ queryKey: [key] });
      tell.done(t('evidenceDialog.done', { id: made.id }));
      close();
    },
  });
  const none = open.data?.length === 0;
  return (
    <Dialog open onOpenChange={(_, data) => !data.open && close()}>
      <DialogSurface className="hunt-dialog">
        <DialogBody>
          <DialogTitle>{t('evidenceDialog.title')}</DialogTitle>
          <DialogContent className="form">
            <p className="muted">{t('evidenceDialog.hint', { count: rows.length })}</p>
            {open.isPending && <Loading />}
            {open.error && <Failure error={open.error} retry={() => void open.refetch()} />}
            {none && <p role="status">{t('evidenceDialog.none')}</p>}
            {open.data && !none && (
              <Field label={t('evidenceDialog.number')}>
                <Select value={incident} onChange={(_, data) => setId(data.value)}>
                  {open.data.map((i) => (
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
            <Field label={t('evidenceDialog.comment')}>
              <Textarea rows={2} maxLength={1000} value={note} onChange={(_, data) => setNote(data.value)} />
            </Field>
            {send.error && <Failure error={send.error} />}
          </DialogContent>
          <DialogActions>
            <Button onClick={close}>{t('action.cancel')}</Button>
            <Button
              appearance="primary"
              disabled={title.trim() === '' || incident === '' || send.isPending}
              onClick={() => send.mutate()}
            >
              {t('evidenceDialog.make')}
            </Button>
          </DialogActions>
        </DialogBody>
      </DialogSurface>
    </Dialog>
  );
}
