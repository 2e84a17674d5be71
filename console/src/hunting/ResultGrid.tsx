import { Button, ToggleButton } from '@fluentui/react-components';
import { CopyRegular, FilterRegular, LinkRegular } from '@fluentui/react-icons';
import { useCallback, useEffect, useMemo, useState } from 'react';
import { t } from '../i18n';
import { fieldOf } from '../logic/huntFrom';
import {
  cellText,
  isNumber,
  type ResultColumn,
  type ResultRow,
  rowObject,
  startWidth,
  valueText,
  viewRows,
} from '../logic/results';
import { clockTime, dayOf } from '../logic/time';
import { grouped } from '../logic/words';
import { DataGrid, type GridColumn, type GridLayout } from '../parts/DataGrid';
import { copyText, useEntityMenu } from '../parts/Entity';
import { Empty } from '../parts/States';
import { usePrefs } from '../prefs';

interface Item {
  at: number;
  row: ResultRow;
}

export interface ResultGridProps {
  columns: readonly ResultColumn[];
  rows: readonly ResultRow[];
  rangeText: string;
  onFilter: (column: ResultColumn, value: unknown, keep: boolean) => void;
  onInspect: (row: ResultRow | null) => void;
  inspected: ResultRow | null;
  onIncident: (rows: ResultRow[]) => void;
  toolbar?: React.ReactNode;
}

function first(columns: readonly ResultColumn[]): GridLayout {
  return { order: columns.map((c) => c.name), hidden: [], widths: {} };
}

function Cell({ value, type, zone }: { value: unknown; type: string; zone: 'utc' | 'local' }) {
  if (value === null || value === undefined || value === '') return <span className="muted">–</span>;
  const text =
    type === 'datetime' && typeof value === 'string'
      ? `${dayOf(value, zone)} ${clockTime(value, zone)}${zone === 'utc' ? 'Z' : ''}`
      : cellText(value);
  return (
    <span className={`cut ${isNumber(type) ? '' : 'mono'}`} title={text}>
      {text}
    </span>
  );
}

/** The rows of a result: sorted, filtered and arranged here, without asking the server again. */
export function ResultGrid(props: ResultGridProps) {
  const { columns, rows, onFilter, onInspect } = props;
  const { zone } = usePrefs();
  const [layout, setLayout] = useState<GridLayout>(() => first(columns));
  const [sort, setSort] = useState<string | null>(null);
  const [filters, setFilters] = useState<Record<string, string> | null>(null);
  const [cell, setCell] = useState<string | null>(null);
  const [checked, setChecked] = useState<ReadonlySet<string>>(new Set());
  const openMenu = useEntityMenu();

  // Another result has other columns; the same columns keep what was arranged.
  const names = columns.map((c) => c.name).join('\n');
  const [arranged, setArranged] = useState(names);
  if (arranged !== names) {
    setArranged(names);
    setLayout(first(columns));
    setSort(null);
    setFilters(filters && {});
    setCell(null);
  }
  // biome-ignore lint/correctness/useExhaustiveDependencies: other rows have other keys, so nothing stays chosen
  useEffect(() => setChecked(new Set()), [rows]);

  const items = useMemo(
    () =>
      viewRows(rows, columns, { sort, filters: filters ?? {} }).flatMap((at): Item[] => {
        const row = rows[at];
        return row ? [{ at, row }] : [];
      }),
    [rows, columns, sort, filters],
  );
  const gridColumns = useMemo(
    (): GridColumn<Item>[] =>
      columns.map((column, i) => ({
        id: column.name,
        header: column.name,
        title: `${column.name}: ${column.type}`,
        width: `${startWidth(column, i, rows)}px`,
        sort: column.name,
        end: isNumber(column.type),
        cell: (item) => <Cell value={item.row[i]} type={column.type} zone={zone} />,
      })),
    [columns, rows, zone],
  );
  const selected = props.inspected ? rows.indexOf(props.inspected) : -1;
  const chosen = useMemo(() => rows.filter((_, i) => checked.has(String(i))), [rows, checked]);

  const onCellMenu = useCallback(
    (item: Item, name: string, at: { x: number; y: number; from: HTMLElement }) => {
      const index = columns.findIndex((c) => c.name === name);
      const column = columns[index];
      if (!column) return;
      const value = item.row[index];
      const device = columns.findIndex((c) => c.name === 'DeviceId');
      const id = fieldOf(name) === 'device' ? valueText(item.row[device]) || undefined : undefined;
      const key = fieldOf(name) === 'processKey';
      openMenu({
        entity: {
          field: key ? 'process' : fieldOf(name),
          value: valueText(value),
          id: key ? valueText(value) : id,
          to: id ? `/devices/${id}` : undefined,
        },
        actions: {
          filterIn: () => onFilter(column, value, true),
          filterOut: () => onFilter(column, value, false),
          addToIncident: () => props.onIncident([item.row]),
        },
        ...at,
      });
    },
    [columns, onFilter, openMenu, props.onIncident],
  );

  return (
    <DataGrid
      name="hunting"
      label={t('hunting.rows', { count: rows.length, text: grouped(rows.length) })}
      columns={gridColumns}
      rows={items}
      keyOf={(item) => String(item.at)}
      selected={selected >= 0 ? String(selected) : null}
      onSelect={(item) => onInspect(item.row)}
      checked={checked}
      onChecked={setChecked}
      sort={sort ?? undefined}
      onSort={(next) => setSort(next === sort ? null : next)}
      rowHeight={30}
      cell={cell}
      onCell={(name) => setCell(name)}
      onCellMenu={onCellMenu}
      onKey={(key, item) => {
        const index = columns.findIndex((c) => c.name === cell);
        if (key !== 'c' || !item || index < 0) return false;
        void copyText(valueText(item.row[index]));
        return true;
      }}
      tools={{
        layout,
        onLayout: setLayout,
        filters,
        onFilter: (name, text) => setFilters({ ...filters, [name]: text }),
      }}
      empty={
        rows.length === 0 ? (
          <Empty title={t('hunting.empty')} hint={t('hunting.emptyHint', { range: props.rangeText })} />
        ) : (
          <Empty title={t('hunting.empty')} />
        )
      }
      toolbar={
        <div className="filters">
          {props.toolbar}
          <ToggleButton
            size="small"
            appearance="subtle"
            icon={<FilterRegular />}
            checked={filters !== null}
            onClick={() => setFilters(filters === null ? {} : null)}
          >
            {t('hunting.filters')}
          </ToggleButton>
          {items.length !== rows.length && (
            <span className="muted small" role="status">
              {t('hunting.rowsShown', { shown: grouped(items.length), count: grouped(rows.length) })}
            </span>
          )}
          {chosen.length > 0 && (
            <>
              <span className="small" role="status">
                {t('hunting.selected', { count: chosen.length })}
              </span>
              <Button size="small" icon={<LinkRegular />} onClick={() => props.onIncident(chosen)}>
                {t('hunting.addIncident')}
              </Button>
              <Button
                size="small"
                appearance="subtle"
                icon={<CopyRegular />}
                onClick={() =>
                  void copyText(
                    JSON.stringify(
                      chosen.map((row) => rowObject(row, columns)),
                      null,
                      2,
                    ),
                  )
                }
              >
                {t('hunting.copyJson')}
              </Button>
            </>
          )}
        </div>
      }
    />
  );
}
