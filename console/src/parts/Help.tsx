import {
  Button,
  Dialog,
  DialogActions,
  DialogBody,
  DialogContent,
  DialogSurface,
  DialogTitle,
} from '@fluentui/react-components';
import { type TextKey, t } from '../i18n';

const KEYS: [string, TextKey][] = [
  ['/', 'help.search'],
  ['Ctrl K', 'help.palette'],
  ['j  k', 'help.rows'],
  ['Enter', 'help.open'],
  ['x', 'help.check'],
  ['e', 'help.assign'],
  ['m', 'help.menu'],
  ['← →', 'help.fold'],
  ['Esc', 'help.close'],
  ['⇧ Enter', 'help.run'],
  ['?', 'help.help'],
];

export function Help({ close }: { close: () => void }) {
  return (
    <Dialog open onOpenChange={(_, data) => !data.open && close()}>
      <DialogSurface className="narrow">
        <DialogBody>
          <DialogTitle>{t('help.title')}</DialogTitle>
          <DialogContent>
            <dl className="keys">
              {KEYS.map(([key, text]) => (
                <div key={key}>
                  <dt>
                    <kbd>{key}</kbd>
                  </dt>
                  <dd>{t(text)}</dd>
                </div>
              ))}
            </dl>
          </DialogContent>
          <DialogActions>
            <Button onClick={close}>{t('action.close')}</Button>
          </DialogActions>
        </DialogBody>
      </DialogSurface>
    </Dialog>
  );
}
