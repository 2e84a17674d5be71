import { Button } from '@fluentui/react-components';
import { AddRegular, DismissRegular } from '@fluentui/react-icons';
import { useState } from 'react';
import { t } from '../i18n';
import { dropRun } from './runs';
import { tabs, useTabs } from './tabs';

/** The open queries. Arrow keys move, Delete closes, F2 or a double click renames. */
export function TabsBar({ onChoose }: { onChoose: () => void }) {
  const state = useTabs();
  const [renaming, setRenaming] = useState<string | null>(null);
  const close = (id: string) => {
    dropRun(id);
    tabs.close(id);
    onChoose();
  };
  const choose = (id: string) => {
    tabs.choose(id);
    onChoose();
  };
  const onKeyDown = (event: React.KeyboardEvent, id: string) => {
    const at = state.tabs.findIndex((tab) => tab.id === id);
    const by = event.key === 'ArrowRight' ? 1 : event.key === 'ArrowLeft' ? -1 : 0;
    if (by !== 0) {
      const next = state.tabs[(at + by + state.tabs.length) % state.tabs.length];
      if (next) {
        choose(next.id);
        window.requestAnimationFrame(() => document.getElementById(`hunt-tab-${next.id}`)?.focus());
      }
    } else if (event.key === 'Delete') close(id);
    else if (event.key === 'F2') setRenaming(id);
    else return;
    event.preventDefault();
  };
  return (
    <div className="hunt-tabs">
      <div role="tablist" aria-label={t('hunting.tabs')} className="hunt-tablist">
        {state.tabs.map((tab) => {
          const here = tab.id === state.active;
          if (renaming === tab.id)
            return (
              <input
                key={tab.id}
                className="hunt-rename"
                aria-label={t('hunting.rename')}
                defaultValue={tab.title}
                maxLength={60}
                // biome-ignore lint/a11y/noAutofocus: the person asked to type here
                autoFocus
                onBlur={(event) => {
                  tabs.change(tab.id, { title: event.target.value.trim() || tab.title });
                  setRenaming(null);
                }}
                onKeyDown={(event) => {
                  if (event.key === 'Enter') event.currentTarget.blur();
                  if (event.key === 'Escape') setRenaming(null);
                  event.stopPropagation();
                }}
              />
            );
          return (
            <div key={tab.id} className={`hunt-tab ${here ? 'here' : ''}`} role="presentation">
              <button
                type="button"
                role="tab"
                id={`hunt-tab-${tab.id}`}
                aria-selected={here}
                aria-controls="hunt-panel"
                tabIndex={here ? 0 : -1}
                className="cut hunt-tab-name"
                title={`${tab.title}\n${tab.text.slice(0, 200)}`}
                onClick={() => choose(tab.id)}
                onDoubleClick={() => setRenaming(tab.id)}
                onKeyDown={(event) => onKeyDown(event, tab.id)}
                onAuxClick={(event) => event.button === 1 && close(tab.id)}
              >
                {tab.title}
              </button>
              {/* For the mouse only: a list of tabs has no other children, and the keyboard has Delete. */}
              <span
                className="hunt-tab-close"
                aria-hidden="true"
                title={t('hunting.close', { name: tab.title })}
                onClick={() => close(tab.id)}
              >
                <DismissRegular />
              </span>
            </div>
          );
        })}
      </div>
      <Button
        size="small"
        appearance="subtle"
        icon={<AddRegular />}
        aria-label={t('hunting.add')}
        onClick={() => {
          tabs.open('');
          onChoose();
        }}
      />
    </div>
  );
}
