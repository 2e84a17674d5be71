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
import { hunting } from '../api/hunting';
import type { Device, EntityType, IncidentSummary, Page, Severity } from '../api/types';
import { t } from '../i18n';
import { LINK_ROWS_MAX, LINK_TYPES, namesDevice, rowObjects, told } from '../logic/link';
import type { ResultColumn, ResultRow } from '../logic/results';
import { TACTICS } from '../logic/tactics';
import { type Range, timespanOf } from '../logic/time';
import { spaced } from '../logic/words';
import { Failure, Loading } from '../parts/States';
import { useTell } from '../parts/toast';

const SEVERITIES: readonly Severity[] = ['High', 'Medium', 'Low', 'Informational'];

/** Puts rows of a result into a new or an existing incident, as an alert with typed evidence. */
export function IncidentDialog({
  rows,
  columns,
  query,
  range,
  ran,
  name,
  close,
}: {
  rows: readonly ResultRow[];
  columns: readonly ResultColumn[];
  query: string;
  range: Range | null;
  ran: number;
  name: string;
  close: () => void;
}) {
  const [place, setPlace] = useState<'new' | 'open'>('new');
  const [id, setId] = useState('');
  const [title, setTitle] = useState(name);
  const [severity, setSeverity] = useState<Severity>('Medium');
  const [category, setCategory] = useState('SuspiciousActivity');
  const [note, setNote] = useState('');
  const [device, setDevice] = useState('');
  const [entities, setEntities] = useState<Partial<Record<EntityType, string>>>({});
  const client = useQueryClient();
  const tell = useTell();
  const deviceless = !namesDevice(columns);
  const open = useQuery({
    enabled: place === 'open',
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
  const devices = useQuery({
    enabled: deviceless,
    queryKey: ['devices', 'pick'],
    queryFn: async () => (await api.get<Page<Device>>('/devices', { limit: 500, sort: 'computerDnsName' })).items,
  });
  const incident = id || String(open.data?.[0]?.id ?? '');
  const about = deviceless ? device || devices.data?.[0]?.id || '' : '';
  const send = useMutation({
    mutationFn: () =>
      hunting.link({
        ...(place === 'open' ? { incident: Number(incident) } : {}),
        title: title.trim(),
        severity,
        category,
        description: note.trim(),
        query,
        ...(range ? { timespan: timespanOf(range) } : {}),
        ran: new Date(ran).toISOString(),
        ...(about ? { deviceId: about } : {}),
        impactedEntities: LINK_TYPES.flatMap((type) => (entities[type] ? [{ type, column: entities[type] }] : [])),
        rows: rowObjects(rows, columns),
      }),
    onSuccess: (made) => {
      for (const key of ['incidents', 'incident', 'alerts', 'count'])
        void client.invalidateQueries({ queryKey: [key] });
      const words = made.repeated ? 'repeated' : made.created ? 'created' : 'done';
      tell.done(t(`evidenceDialog.${words}`, { id: made.incidentId }));
      close();
    },
  });
  const none = place === 'open' && open.data?.length === 0;
  const many = rows.length > LINK_ROWS_MAX;
  const ready = title.trim() !== '' && !many && (place === 'new' || incident !== '') && (!deviceless || about !== '');
  return (
    <Dialog open onOpenChange={(_, data) => !data.open && close()}>
      <DialogSurface className="hunt-dialog hunt-link">
        <DialogBody>
          <DialogTitle>{t('evidenceDialog.title')}</DialogTitle>
          <DialogContent className="form promote">
            <p className="muted">{t('evidenceDialog.hint', { count: rows.length })}</p>
            {many && (
              <div className="hunt-cap" role="alert">
                {t('evidenceDialog.many', { count: LINK_ROWS_MAX })}
              </div>
            )}
            <RadioGroup
              layout="horizontal"
              aria-label={t('evidenceDialog.place')}
              value={place}
              onChange={(_, data) => setPlace(data.value === 'open' ? 'open' : 'new')}
            >
              <Radio value="new" label={t('evidenceDialog.new')} />
              <Radio value="open" label={t('evidenceDialog.open')} />
            </RadioGroup>
            {place === 'open' && open.isPending && <Loading />}
            {open.error && <Failure error={open.error} retry={() => void open.refetch()} />}
            {none && <p role="status">{t('evidenceDialog.none')}</p>}
            {place === 'open' && open.data && !none && (
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
              <Input value={title} maxLength={256} onChange={(_, data) => setTitle(data.value)} />
            </Field>
            <div className="promote-two">
              <Field label={t('detections.severity')}>
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
              <Field label={t('detections.category')}>
                <Select value={category} onChange={(_, data) => setCategory(data.value)}>
                  {[...TACTICS, 'SuspiciousActivity'].map((tactic) => (
                    <option key={tactic} value={tactic}>
                      {spaced(tactic)}
                    </option>
                  ))}
                </Select>
              </Field>
            </div>
            {deviceless && (
              <Field label={t('evidenceDialog.device')} hint={t('evidenceDialog.deviceHint')} required>
                <Select value={about} onChange={(_, data) => setDevice(data.value)}>
                  {(devices.data ?? []).map((d) => (
                    <option key={d.id} value={d.id}>
                      {d.computerDnsName}
                    </option>
                  ))}
                </Select>
              </Field>
            )}
            <fieldset className="promote-set">
              <legend>{t('evidenceDialog.entities')}</legend>
              <p className="muted small">{t('evidenceDialog.entitiesHint')}</p>
              <div className="promote-three">
                {LINK_TYPES.map((type) => {
                  const own = told(type, columns);
                  return (
                    <Field
                      key={type}
                      label={t(`evidence.${type}`)}
                      hint={own.join(', ') || t('evidenceDialog.nothing')}
                    >
                      <Select
                        value={entities[type] ?? ''}
                        onChange={(_, data) => setEntities({ ...entities, [type]: data.value })}
                      >
                        <option value="">{t('evidenceDialog.noOther')}</option>
                        {columns
                          .filter((c) => !own.includes(c.name))
                          .map((c) => (
                            <option key={c.name} value={c.name}>
                              {c.name}
                            </option>
                          ))}
                      </Select>
                    </Field>
                  );
                })}
              </div>
            </fieldset>
            <Field label={t('evidenceDialog.comment')}>
              <Textarea rows={2} maxLength={4096} value={note} onChange={(_, data) => setNote(data.value)} />
            </Field>
            {send.error && <Failure error={send.error} />}
          </DialogContent>
          <DialogActions>
            <Button onClick={close}>{t('action.cancel')}</Button>
            <Button appearance="primary" disabled={!ready || send.isPending} onClick={() => send.mutate()}>
              {place === 'new' ? t('evidenceDialog.makeNew') : t('evidenceDialog.make')}
            </Button>
          </DialogActions>
        </DialogBody>
      </DialogSurface>
    </Dialog>
  );
}
