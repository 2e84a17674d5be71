import { Button } from '@fluentui/react-components';
import { CopyRegular } from '@fluentui/react-icons';
import { t } from '../i18n';
import { copyText } from './Entity';

/** A text that the server tells once. */
export function Secret({ title, text }: { title: string; text: string }) {
  return (
    <div className="secret" role="status">
      <strong>{title}</strong>
      <span className="muted small">{t('settings.once')}</span>
      <pre className="json" tabIndex={0}>
        {text}
      </pre>
      <Button size="small" icon={<CopyRegular />} onClick={() => void copyText(text)}>
        {t('entity.copy')}
      </Button>
    </div>
  );
}
