import { Button } from '@fluentui/react-components';
import { DismissRegular } from '@fluentui/react-icons';
import { useEffect } from 'react';
import { t } from '../i18n';

/** A summary at the right of a list, which stays where it is. */
export function SidePane({
  title,
  label,
  close,
  actions,
  children,
}: {
  title: React.ReactNode;
  label: string;
  close: () => void;
  actions?: React.ReactNode;
  children: React.ReactNode;
}) {
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.key !== 'Escape' || event.defaultPrevented) return;
      if (document.querySelector('[role=dialog],[role=menu],[role=listbox]')) return;
      close();
    };
    window.addEventListener('keydown', onKey);
    return () => window.removeEventListener('keydown', onKey);
  }, [close]);
  return (
    <aside className="pane" aria-label={label}>
      <header className="pane-head">
        <h2>{title}</h2>
        <Button
          appearance="subtle"
          size="small"
          icon={<DismissRegular />}
          aria-label={t('action.close')}
          onClick={close}
        />
      </header>
      {actions && <div className="pane-actions">{actions}</div>}
      <div className="pane-body" tabIndex={0} role="region" aria-label={label}>
        {children}
      </div>
    </aside>
  );
}
