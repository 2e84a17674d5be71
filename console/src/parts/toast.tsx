import { Toast, ToastBody, ToastTitle, useToastController } from '@fluentui/react-components';
import { useMemo } from 'react';
import { ApiError } from '../api/client';
import { t } from '../i18n';

export const TOASTER = 'garrison';

/** Says what was done, or why it was not. */
export function useTell() {
  const { dispatchToast } = useToastController(TOASTER);
  return useMemo(
    () => ({
      done: (title: string) =>
        dispatchToast(
          <Toast>
            <ToastTitle>{title}</ToastTitle>
          </Toast>,
          { intent: 'success', timeout: 3_000 },
        ),
      failed: (error: unknown) =>
        dispatchToast(
          <Toast>
            <ToastTitle>{error instanceof Error ? error.message : t('state.failed')}</ToastTitle>
            {error instanceof ApiError && error.hint && <ToastBody>{error.hint}</ToastBody>}
          </Toast>,
          { intent: 'error', timeout: 10_000 },
        ),
    }),
    [dispatchToast],
  );
}
