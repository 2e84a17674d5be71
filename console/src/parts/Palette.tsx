import { Dialog, DialogBody, DialogContent, DialogSurface, Input } from '@fluentui/react-components';
import { SearchRegular } from '@fluentui/react-icons';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { api } from '../api/client';
import { useLibrary } from '../api/hunting';
import type { Alert, Device, IncidentSummary, Page } from '../api/types';
import { huntNow } from '../hunting/start';
import { t } from '../i18n';
import { href } from '../logic/address';
import { huntFrom, kindOf } from '../logic/huntFrom';
import { setPrefs } from '../prefs';
import { go } from '../router';
import { PAGES } from './Shell';

interface Choice {
  id: string;
  title: string;
  note: string;
  act: () => void;
}

async function find(q: string): Promise<Choice[]> {
  const to = (path: string) => () => go(href(path, window.location.search));
  const none = { items: [] };
  const [incidents, devices, alerts] = await Promise.all([
    api.get<Page<IncidentSummary>>('/incidents', { q, limit: 5 }).catch(() => none),
    api.get<Page<Device>>('/devices', { q, limit: 5 }).catch(() => none),
    api.get<Page<Alert>>('/alerts', { q, limit: 5 }).catch(() => none),
  ]);
  return [
    ...incidents.items.map((i) => ({
      id: `i${i.id}`,
      title: `${i.id} · ${i.title}`,
      note: t('word.incident'),
      act: to(`/incidents/${i.id}`),
    })),
    ...devices.items.map((d) => ({
      id: `d${d.id}`,
      title: d.computerDnsName,
      note: t('word.device'),
      act: to(`/devices/${d.id}`),
    })),
    ...alerts.items.map((a) => ({ id: a.id, title: a.title, note: a.computerDnsName, act: to(`/alerts/${a.id}`) })),
  ];
}

/** Go anywhere, find anything, by keyboard. */
export function Palette({ close }: { close: () => void }) {
  const [text, setText] = useState('');
  const [at, setAt] = useState(0);
  const q = text.trim();
  const found = useQuery({
    queryKey: ['palette', q],
    queryFn: () => find(q),
    enabled: q.length >= 2,
    placeholderData: keepPreviousData,
  });
  const library = useLibrary(q.length >= 3);
  const pages: Choice[] = [
    ...PAGES.map((page) => ({
      id: page.path,
      title: t(page.key),
      note: t('palette.page'),
      act: () => go(href(page.path, window.location.search)),
    })),
    ...(['light', 'dark', 'contrast'] as const).map((theme) => ({
      id: theme,
      title: t(`theme.${theme}`),
      note: t('theme.label'),
      act: () => setPrefs({ theme }),
    })),
  ].filter((choice) => choice.title.toLowerCase().includes(q.toLowerCase()));
  const number = /^#?(\d{1,9})$/.exec(q)?.[1];
  const direct: Choice[] = number
    ? [
        {
          id: 'number',
          title: t('palette.incident', { id: number }),
          note: t('word.incident'),
          act: () => go(href(`/incidents/${number}`, window.location.search)),
        },
      ]
    : [];
  // What looks like an address, a hash or a path can be hunted for at once; queries of the library open by their titles.
  const known = q.length >= 2 ? huntFrom({ field: kindOf(q) ?? '', value: q }) : null;
  const hunts: Choice[] = known
    ? [{ id: 'hunt', title: t('palette.hunt', { value: q }), note: t('nav.hunting'), act: () => huntNow(known, q) }]
    : [];
  const queries: Choice[] = (q.length >= 3 ? (library.data ?? []) : [])
    .filter((item) => item.title.toLowerCase().includes(q.toLowerCase()))
    .slice(0, 5)
    .map((item) => ({
      id: `q${item.id}`,
      title: item.title,
      note: t('nav.hunting'),
      act: () => huntNow(item.query, item.title),
    }));
  const choices = [...direct, ...hunts, ...pages, ...(q.length >= 2 ? (found.data ?? []) : []), ...queries];
  const index = Math.min(at, choices.length - 1);
  const run = (choice: Choice | undefined) => {
    if (!choice) return;
    close();
    choice.act();
  };
  return (
    <Dialog open onOpenChange={(_, data) => !data.open && close()}>
      <DialogSurface className="palette" aria-label={t('palette.label')}>
        <DialogBody>
          <DialogContent>
            <Input
              autoFocus
              className="full"
              contentBefore={<SearchRegular />}
              placeholder={t('palette.hint')}
              aria-label={t('palette.label')}
              role="combobox"
              aria-expanded
              aria-controls="palette-list"
              aria-activedescendant={choices[index] ? `palette-${index}` : undefined}
              value={text}
              onChange={(_, data) => {
                setText(data.value);
                setAt(0);
              }}
              onKeyDown={(event) => {
                if (event.key === 'ArrowDown') setAt(Math.min(index + 1, choices.length - 1));
                else if (event.key === 'ArrowUp') setAt(Math.max(0, index - 1));
                else if (event.key === 'Enter') run(choices[index]);
                else return;
                event.preventDefault();
              }}
            />
            <div id="palette-list" role="listbox" aria-label={t('palette.label')} className="palette-list">
              {choices.map((choice, i) => (
                <div
                  key={choice.id}
                  id={`palette-${i}`}
                  role="option"
                  aria-selected={i === index}
                  tabIndex={-1}
                  className="palette-item"
                  onClick={() => run(choice)}
                  onPointerMove={() => setAt(i)}
                >
                  <span className="grow cut">{choice.title}</span>
                  <span className="muted">{choice.note}</span>
                </div>
              ))}
            </div>
          </DialogContent>
        </DialogBody>
      </DialogSurface>
    </Dialog>
  );
}
