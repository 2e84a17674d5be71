import { Button, Field, Input, Select, Textarea } from '@fluentui/react-components';
import { useState } from 'react';
import { type CaseKind, useCaseUpdate, useSession } from '../api/queries';
import type { CaseUpdate, Classification, Determination } from '../api/types';
import { t } from '../i18n';
import { CLASSIFICATIONS, determinationFor, determinationsOf, spaced } from '../logic/words';
import { useTell } from './toast';

export interface CaseState {
  id: string | number;
  status: string;
  assignedTo?: string | null;
  classification?: Classification | null;
  determination?: Determination | null;
  tags?: string[];
}

const STATES: Record<CaseKind, readonly string[]> = {
  incidents: ['Active', 'InProgress', 'Resolved'],
  alerts: ['New', 'InProgress', 'Resolved'],
};

/** Status, assignee, classification with the determinations that fit, tags, comment: saved in one step. */
export function ManageCase({ kind, item }: { kind: CaseKind; item: CaseState }) {
  const update = useCaseUpdate(kind);
  const me = useSession().data?.user.name ?? '';
  const tell = useTell();
  const [draft, setDraft] = useState<CaseUpdate>({});
  const [tags, setTags] = useState<string | null>(null);
  const status = draft.status ?? item.status;
  const assigned = draft.assignedTo ?? item.assignedTo ?? '';
  const classification = draft.classification ?? item.classification ?? null;
  const determination = draft.determination ?? item.determination ?? null;
  const dirty = Object.keys(draft).length > 0 || tags !== null;

  const save = () => {
    const change: CaseUpdate = { ...draft };
    if (tags !== null) change.tags = [...new Set(tags.split(',').map((tag) => tag.trim()))].filter(Boolean);
    if (change.comment !== undefined && !change.comment.trim()) delete change.comment;
    update.mutate(
      { id: item.id, change },
      {
        onSuccess: () => {
          setDraft({});
          setTags(null);
          tell.done(t('manage.saved'));
        },
        onError: tell.failed,
      },
    );
  };

  return (
    <form
      className="manage"
      aria-label={t('manage.title')}
      onSubmit={(event) => {
        event.preventDefault();
        if (dirty) save();
      }}
    >
      <Field label={t('manage.status')} size="small">
        <Select
          size="small"
          name="status"
          value={status}
          disabled={item.status === 'Redirected'}
          onChange={(_, data) => setDraft({ ...draft, status: data.value })}
        >
          {!STATES[kind].includes(status) && <option value={status}>{spaced(status)}</option>}
          {STATES[kind].map((s) => (
            <option key={s} value={s}>
              {spaced(s)}
            </option>
          ))}
        </Select>
      </Field>
      <Field label={t('manage.assigned')} size="small">
        <Input
          size="small"
          name="assignedTo"
          value={assigned}
          placeholder={t('manage.nobody')}
          onChange={(_, data) => setDraft({ ...draft, assignedTo: data.value })}
          contentAfter={
            assigned !== me && me ? (
              <Button size="small" appearance="transparent" onClick={() => setDraft({ ...draft, assignedTo: me })}>
                {t('manage.toMe')}
              </Button>
            ) : undefined
          }
        />
      </Field>
      <Field label={t('manage.classification')} size="small">
        <Select
          size="small"
          name="classification"
          value={classification ?? ''}
          onChange={(_, data) => {
            const next = CLASSIFICATIONS.find((c) => c === data.value);
            if (next)
              setDraft({ ...draft, classification: next, determination: determinationFor(next, determination) });
          }}
        >
          {!classification && <option value="">{t('manage.unset')}</option>}
          {CLASSIFICATIONS.map((c) => (
            <option key={c} value={c}>
              {t(`classification.${c}`)}
            </option>
          ))}
        </Select>
      </Field>
      {classification && (
        <Field label={t('manage.determination')} size="small">
          <Select
            size="small"
            name="determination"
            value={determination ?? ''}
            onChange={(_, data) => {
              const next = determinationsOf(classification).find((d) => d === data.value);
              if (next) setDraft({ ...draft, classification, determination: next });
            }}
          >
            {determinationsOf(classification).map((d) => (
              <option key={d} value={d}>
                {spaced(d)}
              </option>
            ))}
          </Select>
        </Field>
      )}
      {kind === 'incidents' && (
        <Field label={t('manage.tags')} size="small">
          <Input
            size="small"
            name="tags"
            value={tags ?? (item.tags ?? []).join(', ')}
            placeholder={t('manage.tagsHint')}
            onChange={(_, data) => setTags(data.value)}
          />
        </Field>
      )}
      <Field label={t('manage.comment')} size="small">
        <Textarea
          size="small"
          name="comment"
          rows={2}
          maxLength={4096}
          value={draft.comment ?? ''}
          onChange={(_, data) => {
            const { comment: _old, ...rest } = draft;
            setDraft(data.value ? { ...rest, comment: data.value } : rest);
          }}
        />
      </Field>
      <div className="row-end">
        {dirty && (
          <Button
            size="small"
            appearance="subtle"
            onClick={() => {
              setDraft({});
              setTags(null);
            }}
          >
            {t('action.cancel')}
          </Button>
        )}
        <Button size="small" appearance="primary" type="submit" disabled={!dirty || update.isPending}>
          {t('manage.save')}
        </Button>
      </div>
    </form>
  );
}
