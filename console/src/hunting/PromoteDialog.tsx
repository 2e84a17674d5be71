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
  Textarea,
} from '@fluentui/react-components';
import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import {
  ACTIONS,
  type Definition,
  type Detection,
  type DetectionPreview,
  definitionOf,
  FREQUENCIES,
  testDetection,
  useDetectionChange,
} from '../api/detections';
import { t } from '../i18n';
import {
  actionColumns,
  ENTITY_TYPES,
  entityChoices,
  missingColumns,
  techniquesOf,
  withPlaceholder,
} from '../logic/detections';
import type { ResultColumn } from '../logic/results';
import { TACTICS } from '../logic/tactics';
import { grouped, SEVERITIES, spaced } from '../logic/words';
import { Failure } from '../parts/States';
import { useTell } from '../parts/toast';

/** Placeholders that a title takes at most. */
const PLACEHOLDERS_MAX = 3;

function first(query: string, title: string, columns: readonly ResultColumn[]): Definition {
  const machine = entityChoices('Machine', columns)[0];
  return {
    name: title,
    query,
    frequency: '1h',
    alertTitle: columns.some((c) => c.name === 'DeviceName') ? `${title} on {{DeviceName}}` : title,
    severity: 'Medium',
    category: 'SuspiciousActivity',
    mitreTechniques: [],
    description: '',
    recommendedActions: '',
    impactedEntities: machine ? [{ type: 'Machine', column: machine }] : [],
    customDetails: {},
    actions: [],
    enabled: true,
  };
}

function Preview({ shown }: { shown: DetectionPreview }) {
  return (
    <div className="preview" role="status">
      {t('detections.would', { count: shown.alerts, rows: grouped(shown.rows) })}
      {shown.capped && ` (${t('detections.capped')})`}
      {shown.titles.length > 0 && (
        <ul className="plain small">
          {shown.titles.slice(0, 5).map((title) => (
            <li key={title} className="cut">
              {title}
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}

/** Makes a detection of a query, or changes one. */
export function PromoteDialog({
  query,
  columns,
  title,
  detection,
  close,
}: {
  query: string;
  columns: readonly ResultColumn[];
  title: string;
  detection?: Detection;
  close: () => void;
}) {
  const [draft, setDraft] = useState<Definition>(() =>
    detection ? definitionOf(detection) : first(query, title, columns),
  );
  const [techniques, setTechniques] = useState(draft.mitreTechniques.join(', '));
  const change = useDetectionChange();
  const tell = useTell();
  const body: Definition = { ...draft, mitreTechniques: techniquesOf(techniques) };
  const test = useMutation({ mutationFn: () => testDetection(body) });
  const set = (part: Partial<Definition>) => setDraft({ ...draft, ...part });
  const missing = missingColumns(columns);
  const placeholders = (draft.alertTitle.match(/\{\{/g) ?? []).length;
  const ready = draft.name.trim() !== '' && draft.alertTitle.trim() !== '' && draft.impactedEntities.length > 0;
  const send = () =>
    change.mutate(detection ? { kind: 'save', id: detection.id, body } : { kind: 'create', body }, {
      onSuccess: () => {
        tell.done(detection ? t('detections.updated') : t('detections.created', { name: body.name }));
        close();
      },
    });
  return (
    <Dialog open onOpenChange={(_, data) => !data.open && close()}>
      <DialogSurface className="wide" aria-label={t('hunting.promote')}>
        <DialogBody>
          <DialogTitle>{detection ? detection.name : t('hunting.promote')}</DialogTitle>
          <DialogContent className="form promote">
            {missing.length > 0 && (
              <div className="hunt-cap" role="alert">
                {t('detections.missing', { columns: missing.join(', ') })}
              </div>
            )}
            <div className="promote-two">
              <Field label={t('detections.name')} required>
                <Input value={draft.name} maxLength={128} onChange={(_, data) => set({ name: data.value })} />
              </Field>
              <Field label={t('detections.frequency')}>
                <Select
                  value={draft.frequency}
                  onChange={(_, data) =>
                    set({ frequency: FREQUENCIES.find((f) => f === data.value) ?? draft.frequency })
                  }
                >
                  {FREQUENCIES.map((f) => (
                    <option key={f} value={f}>
                      {t(`detections.every.${f}`)}
                    </option>
                  ))}
                </Select>
              </Field>
            </div>
            <Field label={t('detections.titleOf')} hint={t('detections.titleHint')} required>
              <Input value={draft.alertTitle} maxLength={256} onChange={(_, data) => set({ alertTitle: data.value })} />
            </Field>
            <div className="tags">
              {columns.slice(0, 24).map((c) => (
                <Button
                  key={c.name}
                  size="small"
                  className="promote-place"
                  disabled={placeholders >= PLACEHOLDERS_MAX}
                  onClick={() => set({ alertTitle: withPlaceholder(draft.alertTitle, c.name) })}
                >
                  {c.name}
                </Button>
              ))}
            </div>
            <div className="promote-three">
              <Field label={t('detections.severity')}>
                <Select
                  value={draft.severity}
                  onChange={(_, data) => set({ severity: SEVERITIES.find((s) => s === data.value) ?? draft.severity })}
                >
                  {SEVERITIES.map((s) => (
                    <option key={s} value={s}>
                      {s}
                    </option>
                  ))}
                </Select>
              </Field>
              <Field label={t('detections.category')}>
                <Select value={draft.category} onChange={(_, data) => set({ category: data.value })}>
                  {[...TACTICS, 'SuspiciousActivity'].map((tactic) => (
                    <option key={tactic} value={tactic}>
                      {spaced(tactic)}
                    </option>
                  ))}
                </Select>
              </Field>
              <Field label={t('detections.techniques')} hint={t('detections.techniquesHint')}>
                <Input value={techniques} onChange={(_, data) => setTechniques(data.value)} />
              </Field>
            </div>
            <fieldset className="promote-set">
              <legend>{t('detections.entities')}</legend>
              <p className="muted small">{t('detections.entitiesHint')}</p>
              <div className="promote-three">
                {ENTITY_TYPES.map((type) => {
                  const choices = entityChoices(type, columns);
                  const now = draft.impactedEntities.find((e) => e.type === type)?.column ?? '';
                  const offered = now && !choices.includes(now) ? [now, ...choices] : choices;
                  if (offered.length === 0) return null;
                  return (
                    <Field key={type} label={t(`evidence.${type}`)}>
                      <Select
                        value={now}
                        onChange={(_, data) =>
                          set({
                            impactedEntities: [
                              ...draft.impactedEntities.filter((e) => e.type !== type),
                              ...(data.value ? [{ type, column: data.value }] : []),
                            ],
                          })
                        }
                      >
                        <option value="">{t('detections.notUsed')}</option>
                        {offered.map((name) => (
                          <option key={name} value={name}>
                            {name}
                          </option>
                        ))}
                      </Select>
                    </Field>
                  );
                })}
              </div>
            </fieldset>
            <fieldset className="promote-set">
              <legend>{t('detections.actions')}</legend>
              <p className="muted small">{t('detections.actionsHint')}</p>
              <div className="promote-actions">
                {ACTIONS.map((action) => {
                  const column = actionColumns(action, columns)[0];
                  const on = draft.actions.some((a) => a.action === action);
                  return (
                    <Checkbox
                      key={action}
                      label={t(`detections.action.${action}`)}
                      disabled={!column && !on}
                      checked={on}
                      onChange={() =>
                        set({
                          actions: on
                            ? draft.actions.filter((a) => a.action !== action)
                            : [...draft.actions, ...(column ? [{ action, column }] : [])],
                        })
                      }
                    />
                  );
                })}
              </div>
            </fieldset>
            <div className="promote-two">
              <Field label={t('detections.description')}>
                <Textarea rows={2} value={draft.description} onChange={(_, data) => set({ description: data.value })} />
              </Field>
              <Field label={t('detections.recommended')}>
                <Textarea
                  rows={2}
                  value={draft.recommendedActions}
                  onChange={(_, data) => set({ recommendedActions: data.value })}
                />
              </Field>
            </div>
            {test.data && <Preview shown={test.data} />}
            {(test.error ?? change.error) && <Failure error={change.error ?? test.error} />}
          </DialogContent>
          <DialogActions>
            <Button onClick={close}>{t('action.cancel')}</Button>
            <Button disabled={!ready || test.isPending} onClick={() => test.mutate()}>
              {test.isPending ? t('detections.previewing') : t('detections.preview')}
            </Button>
            <Button appearance="primary" disabled={!ready || change.isPending} onClick={send}>
              {detection ? t('detections.save') : t('detections.create')}
            </Button>
          </DialogActions>
        </DialogBody>
      </DialogSurface>
    </Dialog>
  );
}
