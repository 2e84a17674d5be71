import { Button, Textarea } from '@fluentui/react-components';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { api } from '../api/client';
import type { CaseKind } from '../api/queries';
import type { Comment } from '../api/types';
import { t } from '../i18n';
import { Time } from './Parts';
import { useTell } from './toast';

export function Comments({ kind, id, comments }: { kind: CaseKind; id: string | number; comments: Comment[] }) {
  const [text, setText] = useState('');
  const client = useQueryClient();
  const tell = useTell();
  const add = useMutation({
    mutationFn: () => api.post(`/${kind}/${id}/comments`, { comment: text.trim() }),
    onSuccess: () => {
      setText('');
      void client.invalidateQueries({ queryKey: [kind === 'alerts' ? 'alert' : 'incident'] });
    },
    onError: tell.failed,
  });
  return (
    <div className="comments">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (text.trim()) add.mutate();
        }}
      >
        <Textarea
          className="full"
          aria-label={t('comments.add')}
          placeholder={t('comments.add')}
          value={text}
          maxLength={4096}
          onChange={(_, data) => setText(data.value)}
        />
        <Button size="small" appearance="primary" type="submit" disabled={!text.trim() || add.isPending}>
          {t('comments.send')}
        </Button>
      </form>
      {comments.length === 0 && <p className="muted">{t('comments.none')}</p>}
      <ol>
        {[...comments].reverse().map((c) => (
          <li key={`${c.createdTime}${c.createdBy}`}>
            <div className="muted small">
              <strong>{c.createdBy}</strong> · <Time at={c.createdTime} />
            </div>
            <p>{c.comment}</p>
          </li>
        ))}
      </ol>
    </div>
  );
}
