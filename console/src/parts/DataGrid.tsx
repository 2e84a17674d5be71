import {
  Button,
  Checkbox,
  Menu,
  MenuItemCheckbox,
  MenuList,
  MenuPopover,
  MenuTrigger,
} from '@fluentui/react-components';
import { ArrowUpRegular, ColumnTripleRegular } from '@fluentui/react-icons';
import { type ColumnDef, columnVisibilityFeature, tableFeatures, useTable } from '@tanstack/react-table';
import { useVirtualizer } from '@tanstack/react-virtual';
import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from 'react';
import { useLive } from '../api/live';
import { t } from '../i18n';
import { setPrefs, usePrefs } from '../prefs';
import { GridHead } from './GridHead';
import { Empty, Failure, Loading } from './States';

export const gridFeatures = tableFeatures({ columnVisibilityFeature });

export interface GridColumn<T> {
  id: string;
  header: string;
  /** CSS grid track, such as `120px` or `minmax(200px, 2fr)`. */
  width: string;
  cell: (row: T) => React.ReactNode;
  /** Name for `sort=`; without it the column cannot be sorted. */
  sort?: string;
  end?: boolean;
  /** More than the header says, on hover. */
  title?: string;
}

/** Which columns there are, in what order and how wide: for grids whose columns are not known beforehand. */
export interface GridLayout {
  order: string[];
  hidden: string[];
  /** In pixels, by column. */
  widths: Record<string, number>;
}

export interface GridTools {
  layout: GridLayout;
  onLayout: (layout: GridLayout) => void;
  /** Texts that columns are filtered by; null while the row of filters is folded. */
  filters?: Readonly<Record<string, string>> | null;
  onFilter?: (column: string, text: string) => void;
}

export interface DataGridProps<T> {
  /** Names the grid for the column picker that each person sets. */
  name: string;
  label: string;
  columns: readonly GridColumn<T>[];
  rows: T[];
  keyOf: (row: T) => string;
  selected?: string | null;
  onSelect?: (row: T) => void;
  onOpen?: (row: T) => void;
  /** Called for keys that the grid does not use itself. */
  onKey?: (key: string, row: T | undefined) => boolean;
  checked?: ReadonlySet<string>;
  onChecked?: (checked: Set<string>) => void;
  sort?: string;
  onSort?: (sort: string) => void;
  loading?: boolean;
  error?: unknown;
  retry?: () => void;
  empty: React.ReactNode;
  more?: boolean;
  readOn?: () => void;
  /** Prefix of the live marks, such as `incident:`. */
  freshPrefix?: string;
  rowHeight?: number;
  rowClass?: (row: T) => string;
  toolbar?: React.ReactNode;
  /** Lets people move, size, hide and filter columns; the caller keeps what they did. */
  tools?: GridTools;
  /** The column of the cell cursor, which the left and right arrows move. */
  cell?: string | null;
  onCell?: (column: string, row: T | undefined) => void;
  /** Called for the menu key and the right button on a cell, with its place on the screen. */
  onCellMenu?: (row: T, column: string, at: { x: number; y: number; from: HTMLElement }) => void;
}

/** Rows that are drawn outside of the visible part, so that a fast wheel shows no holes. */
const OVERSCAN = 12;

export function DataGrid<T extends object>(props: DataGridProps<T>) {
  const { rows, keyOf, columns, selected, onSelect, onOpen, checked, onChecked } = props;
  const rowHeight = props.rowHeight ?? 36;
  const scroller = useRef<HTMLDivElement>(null);
  const prefs = usePrefs();
  const { tools } = props;
  const hidden = tools ? tools.layout.hidden : prefs.hidden[props.name];
  const live = useLive();
  const [above, setAbove] = useState(0);
  const inside = useRef(false);
  const arranged = tools !== undefined;

  const defs = useMemo<ColumnDef<typeof gridFeatures, T>[]>(
    () => columns.map((c) => ({ id: c.id, header: c.header, cell: (context) => c.cell(context.row.original) })),
    [columns],
  );
  const columnVisibility = useMemo(() => Object.fromEntries((hidden ?? []).map((id) => [id, false])), [hidden]);
  const table = useTable({
    features: gridFeatures,
    columns: defs,
    data: rows,
    getRowId: keyOf,
    state: { columnVisibility },
  });
  const model = table.getRowModel().rows;
  const visible = useMemo(() => {
    const shown = columns.filter((c) => !hidden?.includes(c.id));
    if (!tools) return shown;
    const place = new Map(tools.layout.order.map((id, i) => [id, i]));
    return shown.sort((a, b) => (place.get(a.id) ?? 0) - (place.get(b.id) ?? 0));
  }, [columns, hidden, tools]);
  const widthOf = (c: GridColumn<T>) => {
    const own = tools?.layout.widths[c.id];
    return own === undefined ? c.width : `${own}px`;
  };
  // Fixed widths add up, so that rows and their marks reach as far as the header.
  const wide = tools
    ? visible.reduce((sum, c) => sum + (Number.parseInt(widthOf(c), 10) || 0), onChecked ? 36 : 0)
    : undefined;
  const tracks = `${onChecked ? '36px ' : ''}${visible.map(widthOf).join(' ')}`;

  const virtual = useVirtualizer({
    count: model.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => rowHeight,
    overscan: OVERSCAN,
    getItemKey: (index) => model[index]?.id ?? index,
    scrollPaddingStart: tools?.filters ? 66 : 34,
  });
  const items = virtual.getVirtualItems();

  // The list does not jump: when rows arrive above what is being read, the view moves with its rows.
  const before = useRef<{ keys: string[]; at: Map<string, number> }>({ keys: [], at: new Map() });
  useLayoutEffect(() => {
    const keys = model.map((row) => row.id);
    const at = new Map(keys.map((key, index) => [key, index]));
    const element = scroller.current;
    const old = before.current;
    before.current = { keys, at };
    // Rows that people sort and filter here are where they asked for; only rows that arrive must not move the view.
    if (!element || old.keys.length === 0 || arranged) return;
    const first = Math.floor(element.scrollTop / rowHeight);
    const anchor = old.keys.slice(first).find((key) => at.has(key));
    if (anchor === undefined) return;
    const shift = (at.get(anchor) ?? 0) - (old.at.get(anchor) ?? 0);
    if (shift > 0 && (element.scrollTop > 4 || inside.current)) {
      element.scrollTop += shift * rowHeight;
      setAbove((n) => n + shift);
    }
  }, [model, rowHeight, arranged]);

  const last = items[items.length - 1];
  const { more, readOn } = props;
  useEffect(() => {
    if (more && readOn && last && last.index >= model.length - OVERSCAN) readOn();
  }, [more, readOn, last, model.length]);

  const index = selected ? model.findIndex((row) => row.id === selected) : -1;
  const choose = useCallback(
    (to: number) => {
      const row = model[Math.max(0, Math.min(model.length - 1, to))];
      if (!row) return;
      onSelect?.(row.original);
      virtual.scrollToIndex(row.index, { align: 'auto' });
    },
    [model, onSelect, virtual],
  );

  const onKeyDown = (event: React.KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if ((event.target as HTMLElement).closest('input,textarea,select,[role=menu]')) return;
    // A button or link inside of a row keeps what presses it.
    if ((event.key === 'Enter' || event.key === ' ') && (event.target as HTMLElement).closest('button,a')) return;
    const row = model[index]?.original;
    switch (event.key) {
      case 'j':
      case 'ArrowDown':
        choose(index + 1);
        break;
      case 'k':
      case 'ArrowUp':
        choose(index < 0 ? 0 : index - 1);
        break;
      case 'Home':
        choose(0);
        break;
      case 'End':
        choose(model.length - 1);
        break;
      case 'PageDown':
        choose(index + 15);
        break;
      case 'PageUp':
        choose(index - 15);
        break;
      case 'Enter':
        if (!row || !onOpen) return;
        onOpen(row);
        break;
      case ' ':
      case 'x':
        if (!row || !onChecked || !checked) return;
        toggle(keyOf(row));
        break;
      case 'ArrowLeft':
      case 'ArrowRight': {
        if (!props.onCell) {
          if (!props.onKey?.(event.key, row)) return;
          break;
        }
        const here = visible.findIndex((c) => c.id === props.cell);
        const to = visible[Math.max(0, Math.min(visible.length - 1, here + (event.key === 'ArrowLeft' ? -1 : 1)))];
        if (!to) return;
        props.onCell(to.id, row);
        if (index < 0) choose(0);
        window.requestAnimationFrame(() =>
          scroller.current
            ?.querySelector(`[aria-selected=true] [data-column="${CSS.escape(to.id)}"]`)
            ?.scrollIntoView({ block: 'nearest', inline: 'nearest' }),
        );
        break;
      }
      case 'm':
      case 'ContextMenu': {
        const chosen = scroller.current?.querySelector<HTMLElement>('[aria-selected=true] .cell-here');
        if (props.onCellMenu && row) {
          if (!chosen || !props.cell) return;
          const rect = chosen.getBoundingClientRect();
          props.onCellMenu(row, props.cell, { x: rect.left, y: rect.bottom, from: event.currentTarget as HTMLElement });
          break;
        }
        const entity = scroller.current?.querySelector('[aria-selected=true] [data-entity]');
        if (!entity) return;
        entity.dispatchEvent(new MouseEvent('contextmenu', { bubbles: true, cancelable: true }));
        break;
      }
      default:
        if (!props.onKey?.(event.key, row)) return;
    }
    event.preventDefault();
    event.stopPropagation();
  };

  const toggle = (key: string) => {
    if (!checked || !onChecked) return;
    const next = new Set(checked);
    if (!next.delete(key)) next.add(key);
    onChecked(next);
  };

  const all = checked !== undefined && rows.length > 0 && rows.every((row) => checked.has(keyOf(row)));
  const some = checked !== undefined && checked.size > 0;
  const blank = rows.length === 0;

  return (
    <div className="grid-box">
      <div className="grid-tools">
        <div className="grow">{props.toolbar}</div>
        <Menu
          checkedValues={{ columns: visible.map((c) => c.id) }}
          onCheckedValueChange={(_, data) => {
            const next = columns.map((c) => c.id).filter((id) => !data.checkedItems.includes(id));
            if (tools) tools.onLayout({ ...tools.layout, hidden: next });
            else setPrefs({ hidden: { ...prefs.hidden, [props.name]: next } });
          }}
        >
          <MenuTrigger disableButtonEnhancement>
            <Button size="small" appearance="subtle" icon={<ColumnTripleRegular />} aria-label={t('grid.columns')} />
          </MenuTrigger>
          <MenuPopover className="grid-picker">
            <MenuList>
              {columns.map((c) => (
                <MenuItemCheckbox key={c.id} name="columns" value={c.id}>
                  {c.header}
                </MenuItemCheckbox>
              ))}
            </MenuList>
          </MenuPopover>
        </Menu>
      </div>
      {above > 0 && (
        <Button
          className="grid-above"
          size="small"
          appearance="primary"
          icon={<ArrowUpRegular />}
          onClick={() => {
            setAbove(0);
            scroller.current?.scrollTo({ top: 0 });
          }}
        >
          {t('grid.above', { count: above })}
        </Button>
      )}
      <div
        ref={scroller}
        className="grid"
        role="grid"
        aria-label={props.label}
        aria-rowcount={model.length + 1}
        aria-activedescendant={index >= 0 ? `${props.name}-row-${selected}` : undefined}
        tabIndex={0}
        data-grid={props.name}
        onKeyDown={onKeyDown}
        onPointerEnter={() => {
          inside.current = true;
        }}
        onPointerLeave={() => {
          inside.current = false;
        }}
        onScroll={(event) => event.currentTarget.scrollTop < 4 && above > 0 && setAbove(0)}
      >
        <GridHead
          visible={visible}
          tracks={tracks}
          wide={wide}
          sort={props.sort}
          onSort={props.onSort}
          tools={tools}
          select={
            onChecked && {
              state: all ? true : some ? 'mixed' : false,
              toggle: () => onChecked(all ? new Set() : new Set(rows.map(keyOf))),
            }
          }
        />
        {!blank && (
          <div className="grid-body" role="rowgroup" style={{ height: virtual.getTotalSize(), minWidth: wide }}>
            {items.map((item) => {
              const row = model[item.index];
              if (!row) return null;
              const key = row.id;
              const fresh = props.freshPrefix !== undefined && live.fresh.has(props.freshPrefix + key);
              return (
                <div
                  key={key}
                  id={`${props.name}-row-${key}`}
                  data-key={key}
                  role="row"
                  aria-rowindex={item.index + 2}
                  aria-selected={key === selected}
                  className={`grid-row ${fresh ? 'fresh' : ''} ${props.rowClass?.(row.original) ?? ''}`}
                  style={{ gridTemplateColumns: tracks, height: rowHeight, transform: `translateY(${item.start}px)` }}
                  onClick={() => onSelect?.(row.original)}
                  onDoubleClick={() => onOpen?.(row.original)}
                >
                  {onChecked && (
                    <div role="gridcell" className="cell cell-check" onClick={(event) => event.stopPropagation()}>
                      <Checkbox
                        checked={checked?.has(key) ?? false}
                        aria-label={t('grid.selectRow', { row: key })}
                        tabIndex={-1}
                        onChange={() => toggle(key)}
                      />
                    </div>
                  )}
                  {visible.map((column) => {
                    const here = props.cell === column.id && key === selected;
                    return (
                      <div
                        key={column.id}
                        role="gridcell"
                        data-column={tools && column.id}
                        className={`cell ${column.end ? 'cell-end' : ''} ${here ? 'cell-here' : ''}`}
                        onClick={props.onCell && (() => props.onCell?.(column.id, row.original))}
                        onContextMenu={
                          props.onCellMenu &&
                          ((event) => {
                            event.preventDefault();
                            onSelect?.(row.original);
                            props.onCell?.(column.id, row.original);
                            const from = scroller.current ?? event.currentTarget;
                            props.onCellMenu?.(row.original, column.id, { x: event.clientX, y: event.clientY, from });
                          })
                        }
                      >
                        {column.cell(row.original)}
                      </div>
                    );
                  })}
                </div>
              );
            })}
          </div>
        )}
      </div>
      {blank && (
        <div className="grid-state">
          {props.error ? (
            <Failure error={props.error} retry={props.retry} />
          ) : props.loading ? (
            <Loading />
          ) : typeof props.empty === 'string' ? (
            <Empty title={props.empty} />
          ) : (
            props.empty
          )}
        </div>
      )}
    </div>
  );
}
