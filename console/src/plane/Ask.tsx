import {
  Button,
  Dialog,
  DialogActions,
  DialogBody,
  DialogContent,
  DialogSurface,
  DialogTitle,
} from '@fluentui/react-components';
import { ApiError } from '../api/client';
import { t } from '../i18n';

/** A dialog that asks before it does; what the server refuses is said inside of it. */
export function Ask({
  title,
  act,
  run,
  busy,
  able = true,
  error,
  close,
  wide,
  children,
}: {
  title: string;
  act: string;
  run: () => void;
  busy?: boolean;
  able?: boolean;
  error?: unknown;
  close: () => void;
  wide?: boolean;
  children: React.ReactNode;
}) {
  return (
    <Dialog open onOpenChange={(_, data) => !data.open && close()}>
      <DialogSurface className={wide ? undefined : 'narrow'}>
        <form
          onSubmit={(event) => {
            event.preventDefault();
            if (able && !busy) run();
          }}
        >
          <DialogBody>
            <DialogTitle>{title}</DialogTitle>
            <DialogContent className="form">
              {children}
              {error ? <Refused error={error} /> : null}
            </DialogContent>
            <DialogActions>
              <Button onClick={close}>{t('action.cancel')}</Button>
              <Button appearance="primary" type="submit" disabled={!able || busy}>
                {act}
              </Button>
            </DialogActions>
          </DialogBody>
        </form>
      </DialogSurface>
    </Dialog>
  );
}

export function Refused({ error }: { error: unknown }) {
  return (
    <div role="alert" className="preview">
      <strong className="bad">{error instanceof Error ? error.message : t('state.failed')}</strong>
      {error instanceof ApiError && error.hint && <div className="muted">{error.hint}</div>}
    </div>
  );
}
