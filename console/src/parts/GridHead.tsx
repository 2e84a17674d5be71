import {
  Button,
  Checkbox,
  Menu,
  MenuDivider,
  MenuItem,
  MenuList,
  MenuPopover,
  MenuTrigger,
} from '@fluentui/react-components';
import {
  ArrowLeftRegular,
  ArrowRightRegular,
  ArrowSortDownRegular,
  ArrowSortUpRegular,
  ChevronDownRegular,
  EyeOffRegular,
} from '@fluentui/react-icons';
import { useRef } from 'react';
import { t } from '../i18n';
import type { GridColumn, GridTools } from './DataGrid';

/** Narrowest and widest that a column can be dragged to, in pixels. */
const WIDTH_MIN = 48;
const WIDTH_MAX = 1600;
const WIDTH_STEP = 24;

export function bounded(width: number): number {
  return Math.round(Math.max(WIDTH_MIN, Math.min(WIDTH_MAX, width)));
}

/** The order after `id` was put before or after `target`. */
export function moved(order: readonly string[], id: string, target: string, after: boolean): string[] {
  if (id === target) return [...order];
  const rest = order.filter((name) => name !== id);
  const at = rest.indexOf(target);
  return at < 0 ? [...order] : [...rest.slice(0, at + (after ? 1 : 0)), id, ...rest.slice(at + (after ? 1 : 0))];
}

interface HeadProps<T> {
  visible: readonly GridColumn<T>[];
  tracks: string;
  wide?: number;
  sort?: string;
  onSort?: (sort: string) => void;
  tools?: GridTools;
  select?: { state: boolean | 'mixed'; toggle: () => void };
}

function Sorted({ up, down }: { up: boolean; down: boolean }) {
  if (down) return <ArrowSortDownRegular aria-hidden="true" />;
  return up ? <ArrowSortUpRegular aria-hidden="true" /> : null;
}

/** Sort, move, hide and size of one column, by menu, by drag and by the arrow keys on its edge. */
function Tools<T>({
  column,
  tools,
  onSort,
}: {
  column: GridColumn<T>;
  tools: GridTools;
  onSort?: (s: string) => void;
}) {
  const cell = useRef<HTMLSpanElement>(null);
  const { layout, onLayout } = tools;
  const at = layout.order.indexOf(column.id);
  const width = () => cell.current?.parentElement?.getBoundingClientRect().width ?? 120;
  const size = (to: number) => onLayout({ ...layout, widths: { ...layout.widths, [column.id]: bounded(to) } });
  const shift = (by: number) => {
    const shown = layout.order.filter((id) => !layout.hidden.includes(id));
    const target = shown[shown.indexOf(column.id) + by];
    if (target) onLayout({ ...layout, order: moved(layout.order, column.id, target, by > 0) });
  };
  return (
    <>
      <Menu>
        <MenuTrigger disableButtonEnhancement>
          <Button
            className="head-menu"
            size="small"
            appearance="transparent"
            icon={<ChevronDownRegular fontSize={12} />}
            aria-label={t('grid.menu', { column: column.header })}
          />
        </MenuTrigger>
        <MenuPopover>
          <MenuList>
            <MenuItem icon={<ArrowSortUpRegular />} onClick={() => onSort?.(column.sort ?? column.id)}>
              {t('grid.up')}
            </MenuItem>
            <MenuItem icon={<ArrowSortDownRegular />} onClick={() => onSort?.(`-${column.sort ?? column.id}`)}>
              {t('grid.down')}
            </MenuItem>
            <MenuDivider />
            <MenuItem icon={<ArrowLeftRegular />} disabled={at <= 0} onClick={() => shift(-1)}>
              {t('grid.left')}
            </MenuItem>
            <MenuItem icon={<ArrowRightRegular />} onClick={() => shift(1)}>
              {t('grid.right')}
            </MenuItem>
            <MenuItem
              icon={<EyeOffRegular />}
              onClick={() => onLayout({ ...layout, hidden: [...layout.hidden, column.id] })}
            >
              {t('grid.hide')}
            </MenuItem>
          </MenuList>
        </MenuPopover>
      </Menu>
      <span
        ref={cell}
        className="head-edge"
        role="separator"
        aria-orientation="vertical"
        aria-label={t('grid.size', { column: column.header })}
        aria-valuenow={layout.widths[column.id] ?? (Number.parseInt(column.width, 10) || WIDTH_MIN)}
        aria-valuemin={WIDTH_MIN}
        aria-valuemax={WIDTH_MAX}
        tabIndex={0}
        draggable={false}
        onKeyDown={(event) => {
          if (event.key !== 'ArrowLeft' && event.key !== 'ArrowRight') return;
          event.preventDefault();
          event.stopPropagation();
          size(width() + (event.key === 'ArrowLeft' ? -WIDTH_STEP : WIDTH_STEP));
        }}
        onPointerDown={(event) => {
          event.preventDefault();
          event.stopPropagation();
          const edge = event.currentTarget;
          const from = event.clientX;
          const start = width();
          edge.setPointerCapture(event.pointerId);
          edge.onpointermove = (move) => size(start + move.clientX - from);
          edge.onpointerup = () => {
            edge.onpointermove = null;
            edge.onpointerup = null;
          };
        }}
      />
    </>
  );
}

export function GridHead<T>({ visible, tracks, wide, sort, onSort, tools, select }: HeadProps<T>) {
  const dragged = useRef<string | null>(null);
  return (
    <div className="grid-heads" style={{ minWidth: wide }}>
      <div className="grid-head" role="row" aria-rowindex={1} style={{ gridTemplateColumns: tracks }}>
        {select && (
          <div role="columnheader" className="cell cell-check" aria-label={t('grid.select')}>
            <Checkbox checked={select.state} aria-label={t('grid.selectAll')} onChange={select.toggle} />
          </div>
        )}
        {visible.map((c) => {
          const up = c.sort !== undefined && sort === c.sort;
          const down = c.sort !== undefined && sort === `-${c.sort}`;
          return (
            <div
              key={c.id}
              role="columnheader"
              data-column={c.id}
              aria-sort={up ? 'ascending' : down ? 'descending' : undefined}
              className={`cell ${c.end ? 'cell-end' : ''} ${tools ? 'cell-tools' : ''}`}
              draggable={tools !== undefined}
              onDragStart={() => {
                dragged.current = c.id;
              }}
              onDragOver={(event) => tools && dragged.current && event.preventDefault()}
              onDrop={(event) => {
                if (!tools || !dragged.current) return;
                event.preventDefault();
                const rect = event.currentTarget.getBoundingClientRect();
                const after = event.clientX > rect.left + rect.width / 2;
                const order = moved(tools.layout.order, dragged.current, c.id, after);
                dragged.current = null;
                tools.onLayout({ ...tools.layout, order });
              }}
            >
              {c.sort && onSort ? (
                <button
                  type="button"
                  className="head-button"
                  title={c.title ?? c.header}
                  onClick={() => onSort(down ? (c.sort ?? '') : `-${c.sort}`)}
                >
                  <span className="cut">{c.header}</span>
                  <Sorted up={up} down={down} />
                </button>
              ) : (
                c.header
              )}
              {tools && <Tools column={c} tools={tools} onSort={onSort} />}
            </div>
          );
        })}
      </div>
      {tools?.filters && (
        <div className="grid-head grid-filters" role="row" style={{ gridTemplateColumns: tracks }}>
          {select && <div role="gridcell" />}
          {visible.map((c) => (
            <div key={c.id} role="gridcell" className="cell">
              <input
                className="head-filter"
                type="search"
                aria-label={t('grid.filterOf', { column: c.header })}
                placeholder={t('grid.filter')}
                value={tools.filters?.[c.id] ?? ''}
                onChange={(event) => tools.onFilter?.(c.id, event.target.value)}
              />
            </div>
          ))}
        </div>
      )}
    </div>
  );
}
