import { Button, Spinner } from '@fluentui/react-components';
import { ErrorCircleRegular, SearchInfoRegular } from '@fluentui/react-icons';
import { ApiError } from '../api/client';
import { t } from '../i18n';

export function Loading({ label }: { label?: string }) {
  return (
    <div className="state" role="status">
      <Spinner size="small" label={label ?? t('state.loading')} />
    </div>
  );
}

export function Empty({ title, hint, action }: { title: string; hint?: string; action?: React.ReactNode }) {
  return (
    <div className="state" role="status">
      <SearchInfoRegular fontSize={32} aria-hidden="true" />
      <strong>{title}</strong>
      {hint && <span className="muted">{hint}</span>}
      {action}
    </div>
  );
}

export function Failure({ error, retry }: { error: unknown; retry?: () => void }) {
  const known = error instanceof ApiError ? error : null;
  return (
    <div className="state" role="alert">
      <ErrorCircleRegular fontSize={32} aria-hidden="true" className="bad" />
      <strong>{known?.message ?? t('state.failed')}</strong>
      {known?.hint && <span className="muted">{known.hint}</span>}
      {known && known.status > 0 && (
        <code className="muted">
          {known.status} · {known.code}
        </code>
      )}
      {retry && (
        <Button size="small" onClick={retry}>
          {t('action.retry')}
        </Button>
      )}
    </div>
  );
}
