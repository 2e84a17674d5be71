import {
  Button,
  Menu,
  MenuDivider,
  MenuGroup,
  MenuGroupHeader,
  MenuItem,
  MenuItemRadio,
  MenuList,
  MenuPopover,
  MenuTrigger,
  Select,
  Tooltip,
} from '@fluentui/react-components';
import {
  AlertRegular,
  ArrowExportRegular,
  BookPulseRegular,
  BookRegular,
  CloudErrorRegular,
  CloudFlowRegular,
  GridRegular,
  HeartPulseRegular,
  PeopleLockRegular,
  PersonRegular,
  QuestionCircleRegular,
  ReceiptRegular,
  SearchRegular,
  ServerMultipleRegular,
  ServerRegular,
  SettingsRegular,
  ShieldCheckmarkRegular,
  ShieldErrorRegular,
  TargetRegular,
} from '@fluentui/react-icons';
import { useQueryClient } from '@tanstack/react-query';
import { Fragment, useEffect, useState } from 'react';
import { api } from '../api/client';
import { useLive } from '../api/live';
import { useTenants } from '../api/plane';
import { useCount } from '../api/queries';
import type { Session } from '../api/types';
import { type TextKey, t } from '../i18n';
import { asRange, RANGE_DEFAULT, RANGES } from '../logic/time';
import { brief } from '../logic/words';
import { setPrefs, type ThemeName, usePrefs } from '../prefs';
import { go, useParamChange, usePlace } from '../router';
import { Help } from './Help';
import { Palette } from './Palette';
import { To } from './Parts';
import { useTell } from './toast';

export interface NavPage {
  path: string;
  key: TextKey;
  icon: React.ReactElement;
  /** Heads the group that begins with this page. */
  group?: TextKey;
}

export const PAGES: NavPage[] = [
  { path: '/', key: 'nav.overview', icon: <GridRegular /> },
  { path: '/environment', key: 'nav.environment', icon: <CloudFlowRegular />, group: 'nav.groupCloud' },
  { path: '/machines', key: 'nav.machines', icon: <ServerMultipleRegular /> },
  { path: '/recommendations', key: 'nav.recommendations', icon: <ShieldCheckmarkRegular /> },
  { path: '/cloud-alerts', key: 'nav.cloudAlerts', icon: <CloudErrorRegular /> },
  { path: '/usage', key: 'nav.usage', icon: <ReceiptRegular /> },
  { path: '/incidents', key: 'nav.incidents', icon: <ShieldErrorRegular />, group: 'nav.groupThreats' },
  { path: '/alerts', key: 'nav.alerts', icon: <AlertRegular /> },
  { path: '/hunting', key: 'nav.hunting', icon: <TargetRegular /> },
  { path: '/detections', key: 'nav.detections', icon: <BookPulseRegular /> },
  { path: '/devices', key: 'nav.devices', icon: <ServerRegular /> },
  { path: '/rules', key: 'nav.rules', icon: <BookRegular /> },
  { path: '/access', key: 'nav.access', icon: <PeopleLockRegular />, group: 'nav.groupSettings' },
  { path: '/exports', key: 'nav.exports', icon: <ArrowExportRegular /> },
  { path: '/settings', key: 'nav.settings', icon: <SettingsRegular /> },
  { path: '/status', key: 'nav.status', icon: <HeartPulseRegular /> },
];

function Navigation() {
  const { path } = usePlace();
  const open = useCount('/incidents', { status: 'Active,InProgress' });
  return (
    <nav className="nav" aria-label={t('nav.label')}>
      {PAGES.map((page) => {
        const here = page.path === '/' ? path === '/' : path.startsWith(page.path);
        return (
          <Fragment key={page.path}>
            {page.group && <span className="nav-group">{t(page.group)}</span>}
            <To path={page.path} className={`nav-item ${here ? 'here' : ''}`}>
              {page.icon}
              <span className="nav-text">{t(page.key)}</span>
              {page.path === '/incidents' && !!open.data && <span className="nav-count">{brief(open.data)}</span>}
            </To>
          </Fragment>
        );
      })}
    </nav>
  );
}

const CONNECTION = { open: 'live.open', connecting: 'live.connecting', closed: 'live.closed' } as const;

function Range() {
  const { params } = usePlace();
  const change = useParamChange();
  const range = asRange(params.get('since'));
  return (
    <Select
      size="small"
      aria-label={t('range.label')}
      value={range}
      onChange={(_, data) => change({ since: data.value === RANGE_DEFAULT ? null : data.value })}
    >
      {RANGES.map((r) => (
        <option key={r} value={r}>
          {t(`range.${r}`)}
        </option>
      ))}
    </Select>
  );
}

/** Which tenant the session works in; nothing where there is one. The page begins anew, since nothing of it stays true. */
function Tenants() {
  const all = useTenants().data ?? [];
  const tell = useTell();
  if (all.length < 2) return null;
  return (
    <Select
      size="small"
      aria-label={t('tenant.label')}
      value={all.find((one) => one.current)?.id ?? ''}
      onChange={(_, data) => {
        api.put('/session/tenant', { tenant: data.value }).then(() => window.location.assign('/'), tell.failed);
      }}
    >
      {all.map((one) => (
        <option key={one.id} value={one.id}>
          {one.geography ? `${one.id} · ${one.geography}` : one.id}
        </option>
      ))}
    </Select>
  );
}

function Me({ session }: { session: Session }) {
  const prefs = usePrefs();
  const client = useQueryClient();
  return (
    <Menu
      checkedValues={{ theme: [prefs.theme], zone: [prefs.zone] }}
      onCheckedValueChange={(_, data) => {
        const value = data.checkedItems[0];
        if (data.name === 'theme') setPrefs({ theme: value as ThemeName });
        if (data.name === 'zone') setPrefs({ zone: value === 'local' ? 'local' : 'utc' });
      }}
    >
      <MenuTrigger disableButtonEnhancement>
        <Button size="small" appearance="subtle" icon={<PersonRegular />} className="me">
          <span className="wide-only">{session.user.name}</span>
        </Button>
      </MenuTrigger>
      <MenuPopover>
        <MenuList>
          <MenuGroup>
            <MenuGroupHeader>
              {session.user.name} · {session.user.role}
            </MenuGroupHeader>
          </MenuGroup>
          <MenuGroup>
            <MenuGroupHeader>{t('theme.label')}</MenuGroupHeader>
            {(['system', 'light', 'dark', 'contrast'] as const).map((name) => (
              <MenuItemRadio key={name} name="theme" value={name}>
                {t(`theme.${name}`)}
              </MenuItemRadio>
            ))}
          </MenuGroup>
          <MenuGroup>
            <MenuGroupHeader>{t('zone.label')}</MenuGroupHeader>
            <MenuItemRadio name="zone" value="utc">
              {t('zone.utc')}
            </MenuItemRadio>
            <MenuItemRadio name="zone" value="local">
              {t('zone.local')}
            </MenuItemRadio>
          </MenuGroup>
          <MenuDivider />
          <MenuItem
            onClick={() =>
              void api.delete('/session').finally(() => {
                client.clear();
                go('/sign-in');
              })
            }
          >
            {t('signIn.out')}
          </MenuItem>
        </MenuList>
      </MenuPopover>
    </Menu>
  );
}

export function Shell({ session, children }: { session: Session; children: React.ReactNode }) {
  const [overlay, setOverlay] = useState<'palette' | 'help' | null>(null);
  const { connection } = useLive();
  const prefs = usePrefs();
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 'k') {
        event.preventDefault();
        setOverlay('palette');
        return;
      }
      const target = event.target as HTMLElement;
      if (event.ctrlKey || event.metaKey || event.altKey || target.closest('input,textarea,select,[contenteditable]'))
        return;
      if (document.querySelector('[role=dialog],[role=menu]')) return;
      if (event.key === '?') setOverlay('help');
      else if (event.key === '/') {
        const field = document.querySelector<HTMLInputElement>('input[data-search]');
        if (field) field.focus();
        else setOverlay('palette');
      } else if (event.key === 'j' || event.key === 'k') {
        const list = document.querySelector<HTMLElement>('[data-grid],[role=tree]');
        if (!list || list.contains(document.activeElement)) return;
        list.focus();
        list.dispatchEvent(new KeyboardEvent('keydown', { key: event.key, bubbles: true }));
      } else return;
      event.preventDefault();
    };
    window.addEventListener('keydown', onKey);
    return () => window.removeEventListener('keydown', onKey);
  }, []);
  return (
    <div className="shell">
      <a className="skip" href="#main">
        {t('nav.skip')}
      </a>
      <header className="top">
        <To path="/" className="brand" label="Garrison">
          <img src="/favicon.svg" alt="" width={22} height={22} />
          <span className="wide-only">Garrison</span>
        </To>
        <button type="button" className="top-search" onClick={() => setOverlay('palette')}>
          <SearchRegular aria-hidden="true" />
          <span className="grow">{t('palette.hint')}</span>
          <kbd>Ctrl K</kbd>
        </button>
        <span className="grow" />
        <Tooltip content={t(CONNECTION[connection])} relationship="description">
          <span className={`live live-${connection}`} role="status">
            <i aria-hidden="true" />
            <span className="wide-only">{connection === 'open' ? t('live.word') : t('live.off')}</span>
          </span>
        </Tooltip>
        <Tenants />
        <Range />
        <Button
          size="small"
          appearance="subtle"
          aria-label={t('zone.switch')}
          onClick={() => setPrefs({ zone: prefs.zone === 'utc' ? 'local' : 'utc' })}
        >
          {prefs.zone === 'utc' ? 'UTC' : t('zone.short')}
        </Button>
        <Button
          size="small"
          appearance="subtle"
          icon={<QuestionCircleRegular />}
          aria-label={t('help.title')}
          onClick={() => setOverlay('help')}
        />
        <Me session={session} />
      </header>
      <Navigation />
      <main id="main" className="main" tabIndex={-1}>
        {children}
      </main>
      {overlay === 'palette' && <Palette close={() => setOverlay(null)} />}
      {overlay === 'help' && <Help close={() => setOverlay(null)} />}
    </div>
  );
}
