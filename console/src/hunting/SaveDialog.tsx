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
  Textarea,
} from '@fluentui/react-components';
import { useState } from 'react';
import { type SavedQuery, useSaved, useSaveQuery } from '../api/hunting';
import { t } from '../i18n';
import { useTell } from '../parts/toast';

/** Saves the text of a tab, in place where it came from a saved query of one's own. */
export function SaveDialog({
  text,
  title,
  saved,
  canShare,
  done,
  close,
}: {
  text: string;
  title: string;
  saved: SavedQuery | null;
  canShare: boolean;
  done: (query: SavedQuery) => void;
  close: () => void;
}) {
  const own = saved?.mine ? saved : null;
  const [name, setName] = useState(saved?.name ?? title);
  const [folder, setFolder] = useState(saved?.folder ?? '');
  const [description, setDescription] = useState(saved?.description ?? '');
  const [shared, setShared] = useState(own?.shared ?? false);
  const folders = [...new Set((useSaved().data ?? []).map((s) => s.folder))].filter(Boolean).sort();
  const keep = useSaveQuery();
  const tell = useTell();
  const send = (id: string | null) =>
    keep.mutate(
      { id, body: { name: name.trim(), folder: folder.trim(), description, query: text, shared } },
      {
        onSuccess: (query) => {
          tell.done(t('hunting.saved'));
          done(query);
        },
        onError: tell.failed,
      },
    );
  return (
    <Dialog open onOpenChange={(_, data) => !data.open && close()}>
      <DialogSurface className="narrow">
        <DialogBody>
          <DialogTitle>{t('hunting.saveAs')}</DialogTitle>
          <DialogContent className="form">
            <Field label={t('hunting.name')} required>
              <Input autoFocus value={name} maxLength={100} onChange={(_, data) => setName(data.value)} />
            </Field>
            <Field label={t('hunting.folder')} hint={t('hunting.folderHint')}>
              <Input
                value={folder}
                maxLength={200}
                input={{ list: 'hunt-folders' }}
                onChange={(_, data) => setFolder(data.value)}
              />
            </Field>
            <datalist id="hunt-folders">
              {folders.map((f) => (
                <option key={f} value={f} />
              ))}
            </datalist>
            <Field label={t('hunting.saveDescription')}>
              <Textarea rows={2} value={description} onChange={(_, data) => setDescription(data.value)} />
            </Field>
            {canShare && (
              <Checkbox
                label={t('hunting.share')}
                checked={shared}
                onChange={(_, data) => setShared(data.checked === true)}
              />
            )}
          </DialogContent>
          <DialogActions>
            <Button onClick={close}>{t('action.cancel')}</Button>
            {own && (
              <Button disabled={!name.trim() || keep.isPending} onClick={() => send(null)}>
                {t('hunting.saveAs')}
              </Button>
            )}
            <Button
              appearance="primary"
              disabled={!name.trim() || keep.isPending}
              onClick={() => send(own ? own.id : null)}
            >
              {own ? t('hunting.saveOver', { name: own.name }) : t('hunting.save')}
            </Button>
          </DialogActions>
        </DialogBody>
      </DialogSurface>
    </Dialog>
  );
}
