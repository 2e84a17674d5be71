import { Menu, MenuDivider, MenuGroupHeader, MenuItem, MenuList, MenuPopover } from '@fluentui/react-components';
import {
  AddCircleRegular,
  CopyRegular,
  FilterDismissRegular,
  FilterRegular,
  MoreHorizontalRegular,
  OpenRegular,
  ProhibitedRegular,
  SearchRegular,
  TargetRegular,
} from '@fluentui/react-icons';
import { createContext, useCallback, useContext, useMemo, useRef, useState } from 'react';
import { huntNow } from '../hunting/start';
import { t } from '../i18n';
import { href } from '../logic/address';
import { huntFrom } from '../logic/huntFrom';
import { go } from '../router';

// Every value is an entity: right-click, the menu key, or the dots that show on hover open what can be done with it.

export interface EntityValue {
  /** What the filter of the page calls it: `device`, `user`, `file`, `address`, `rule`, `severity`, … */
  field: string;
  value: string;
  /** Id behind the value, where it differs: a device's name has its id. */
  id?: string;
  /** Page of the entity itself. */
  to?: string;
}

/** What a page can do with an entity; without it only copying and opening are offered. */
export interface FilterActions {
  filterIn?: (entity: EntityValue) => void;
  filterOut?: (entity: EntityValue) => void;
  addToIncident?: (entity: EntityValue) => void;
}

const Filters = createContext<FilterActions>({});

export function EntityFilters({ actions, children }: { actions: FilterActions; children: React.ReactNode }) {
  return <Filters.Provider value={actions}>{children}</Filters.Provider>;
}

/** Kinds of entities that a response action will be able to block. */
const BLOCKABLE = new Set(['hash', 'address', 'file']);

export interface Opened {
  entity: EntityValue;
  actions: FilterActions;
  x: number;
  y: number;
  from: HTMLElement;
}

const Opener = createContext<(opened: Opened) => void>(() => undefined);

/** Opens the menu of a value that is not drawn as an `Entity`, such as a cell of a grid. */
export function useEntityMenu(): (opened: Opened) => void {
  return useContext(Opener);
}

export async function copyText(text: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Plain HTTP on another name than localhost has no clipboard; a selection still can be copied by hand.
    const area = document.createElement('textarea');
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand('copy');
    area.remove();
  }
}

/** Where else this value is. */
function With({ value, search }: { value: string; search: string }) {
  return (
    <>
      <MenuItem
        icon={<SearchRegular />}
        onClick={() => go(href('/alerts', search, { q: value, status: 'New,InProgress,Resolved' }))}
      >
        {t('entity.alertsWith')}
      </MenuItem>
      <MenuItem
        icon={<SearchRegular />}
        onClick={() => go(href('/incidents', search, { q: value, status: 'Active,InProgress,Resolved' }))}
      >
        {t('entity.incidentsWith')}
      </MenuItem>
    </>
  );
}

/** Holds the one menu that all entities of the page share. */
export function EntityMenu({ children }: { children: React.ReactNode }) {
  const [opened, setOpened] = useState<Opened | null>(null);
  const close = useCallback(() => {
    setOpened((before) => {
      before?.from.focus({ preventScroll: true });
      return null;
    });
  }, []);
  const target = useMemo(() => {
    if (!opened) return undefined;
    const rect = new DOMRect(opened.x, opened.y, 1, 1);
    return { getBoundingClientRect: () => rect };
  }, [opened]);
  const entity = opened?.entity;
  const search = window.location.search;
  const hunt = entity ? huntFrom(entity) : null;
  return (
    <Opener.Provider value={setOpened}>
      {children}
      {opened && entity && (
        <Menu
          open
          onOpenChange={(_, data) => !data.open && close()}
          positioning={{ target, position: 'below', align: 'start' }}
        >
          <MenuPopover className="entity-menu">
            <MenuGroupHeader className="entity-value mono">{entity.value || t('entity.empty')}</MenuGroupHeader>
            <MenuList>
              {opened.actions.filterIn && (
                <MenuItem icon={<FilterRegular />} onClick={() => opened.actions.filterIn?.(entity)}>
                  {t('entity.filterIn')}
                </MenuItem>
              )}
              {opened.actions.filterOut && (
                <MenuItem icon={<FilterDismissRegular />} onClick={() => opened.actions.filterOut?.(entity)}>
                  {t('entity.filterOut')}
                </MenuItem>
              )}
              <MenuItem icon={<CopyRegular />} onClick={() => void copyText(entity.value)}>
                {t('entity.copy')}
              </MenuItem>
              {entity.id && entity.id !== entity.value && (
                <MenuItem icon={<CopyRegular />} onClick={() => void copyText(entity.id ?? '')}>
                  {t('entity.copyId')}
                </MenuItem>
              )}
              <MenuDivider />
              {hunt && (
                <MenuItem icon={<TargetRegular />} onClick={() => huntNow(hunt)}>
                  {t('hunting.hunt')}
                </MenuItem>
              )}
              {opened.actions.addToIncident && (
                <MenuItem icon={<AddCircleRegular />} onClick={() => opened.actions.addToIncident?.(entity)}>
                  {t('hunting.addIncident')}
                </MenuItem>
              )}
              {entity.value !== '' && BLOCKABLE.has(entity.field) && (
                <MenuItem icon={<ProhibitedRegular />} disabled>
                  {t('hunting.blockLater')}
                </MenuItem>
              )}
              {entity.to && (
                <MenuItem icon={<OpenRegular />} onClick={() => go(href(entity.to ?? '/', search))}>
                  {t('entity.open')}
                </MenuItem>
              )}
              {entity.value !== '' && <With value={entity.value} search={search} />}
            </MenuList>
          </MenuPopover>
        </Menu>
      )}
    </Opener.Provider>
  );
}

export interface EntityProps extends EntityValue {
  children?: React.ReactNode;
  mono?: boolean;
  /** In a grid the row has the focus, and its `m` key opens the menu. */
  inGrid?: boolean;
  className?: string;
}

export function Entity({ children, mono, inGrid, className, ...entity }: EntityProps) {
  const open = useContext(Opener);
  const actions = useContext(Filters);
  const ref = useRef<HTMLSpanElement>(null);
  const show = (x: number, y: number) => {
    if (ref.current) open({ entity, actions, x, y, from: ref.current });
  };
  const below = () => {
    const rect = ref.current?.getBoundingClientRect();
    if (rect) show(rect.left, rect.bottom);
  };
  if (!entity.value) return <span className="muted">–</span>;
  return (
    <span
      ref={ref}
      className={`ent ${mono ? 'mono' : ''} ${className ?? ''}`}
      data-entity={entity.field}
      title={entity.value}
      role={inGrid ? undefined : 'button'}
      tabIndex={inGrid ? -1 : 0}
      aria-haspopup={inGrid ? undefined : 'menu'}
      onContextMenu={(event) => {
        event.preventDefault();
        event.stopPropagation();
        if (event.clientX === 0 && event.clientY === 0) below();
        else show(event.clientX, event.clientY);
      }}
      onKeyDown={(event) => {
        if (event.key === 'Enter' || event.key === ' ' || event.key === 'm') {
          event.preventDefault();
          event.stopPropagation();
          below();
        }
      }}
    >
      <span className="ent-text">{children ?? entity.value}</span>
      <span
        className="ent-more"
        aria-hidden="true"
        onClick={(event) => {
          event.preventDefault();
          event.stopPropagation();
          below();
        }}
      >
        <MoreHorizontalRegular />
      </span>
    </span>
  );
}
