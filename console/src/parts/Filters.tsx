import { Button, Input, Menu, MenuItemCheckbox, MenuList, MenuPopover, MenuTrigger } from '@fluentui/react-components';
import { ChevronDownRegular, DismissRegular, SearchRegular } from '@fluentui/react-icons';
import { useEffect, useRef, useState } from 'react';
import { t } from '../i18n';
import { listOf, type Without, withoutOf, withoutText } from '../logic/address';
import { spaced } from '../logic/words';
import { useParamChange, usePlace } from '../router';

/** Typing waits this long before the list asks again. */
const TYPING_MS = 250;

/** The `q` of the address; `/` puts the cursor here. */
export function SearchBox({ label, param = 'q' }: { label: string; param?: string }) {
  const { params } = usePlace();
  const change = useParamChange();
  const now = params.get(param) ?? '';
  const [text, setText] = useState(now);
  const sent = useRef(now);
  useEffect(() => {
    if (now !== sent.current) {
      sent.current = now;
      setText(now);
    }
  }, [now]);
  useEffect(() => {
    if (text === sent.current) return undefined;
    const timer = window.setTimeout(() => {
      sent.current = text;
      change({ [param]: text });
    }, TYPING_MS);
    return () => window.clearTimeout(timer);
  }, [text, change, param]);
  return (
    <Input
      size="small"
      className="search"
      type="search"
      contentBefore={<SearchRegular />}
      placeholder={label}
      aria-label={label}
      value={text}
      onChange={(_, data) => setText(data.value)}
      input={{ 'data-search': '' } as object}
      onKeyDown={(event) => event.key === 'Escape' && event.currentTarget.querySelector('input')?.blur()}
    />
  );
}

/** Several words of a closed list, in one parameter. `fallback` holds while the parameter is absent. */
export function PickFilter({
  param,
  label,
  options,
  fallback = [],
  name = spaced,
  single = false,
}: {
  param: string;
  label: string;
  options: readonly string[];
  fallback?: readonly string[];
  name?: (word: string) => string;
  /** One word at a time: the last one clicked. */
  single?: boolean;
}) {
  const { params } = usePlace();
  const change = useParamChange();
  const text = params.get(param);
  const chosen = text === null ? [...fallback] : text === 'any' ? [] : listOf(text);
  const said = chosen.length === 0 || chosen.length === options.length ? t('filter.any') : chosen.map(name).join(', ');
  return (
    <Menu
      persistOnItemClick
      checkedValues={{ [param]: chosen }}
      onCheckedValueChange={(_, data) => {
        const clicked = data.checkedItems.filter((o) => !chosen.includes(o));
        const next = options.filter((o) => (single ? clicked : data.checkedItems).includes(o));
        const same = next.length === fallback.length && next.every((o) => fallback.includes(o));
        change({ [param]: same ? null : next.length === 0 && fallback.length > 0 ? 'any' : next });
      }}
    >
      <MenuTrigger disableButtonEnhancement>
        <Button
          size="small"
          className={`filter ${chosen.length > 0 ? 'filter-on' : ''}`}
          icon={<ChevronDownRegular />}
          iconPosition="after"
        >
          <span className="muted">{label}:</span>&nbsp;<span className="cut filter-said">{said}</span>
        </Button>
      </MenuTrigger>
      <MenuPopover>
        <MenuList>
          {options.map((option) => (
            <MenuItemCheckbox key={option} name={param} value={option}>
              {name(option)}
            </MenuItemCheckbox>
          ))}
        </MenuList>
      </MenuPopover>
    </Menu>
  );
}

/** Parameters that were set by a click on a value; shown as chips that can be taken away. */
export function Chips({
  params: names,
}: {
  params: readonly { param: string; label: string; say?: (v: string) => string }[];
}) {
  const { params } = usePlace();
  const change = useParamChange();
  const without = withoutOf(params.get('not'));
  const set = names.flatMap((n) => {
    const value = params.get(n.param);
    return value ? [{ ...n, value }] : [];
  });
  if (set.length === 0 && without.length === 0) return null;
  return (
    <span className="chips">
      {set.map((chip) => (
        <Chip
          key={chip.param}
          text={`${chip.label}: ${chip.say?.(chip.value) ?? chip.value}`}
          drop={() => change({ [chip.param]: null })}
        />
      ))}
      {without.map((w, i) => (
        <Chip
          key={`${w.field}:${w.value}`}
          text={t('filter.not', { field: w.field, value: w.value })}
          drop={() => change({ not: withoutText(without.filter((_, j) => j !== i)) })}
        />
      ))}
    </span>
  );
}

function Chip({ text, drop }: { text: string; drop: () => void }) {
  return (
    <button type="button" className="chip" onClick={drop} aria-label={t('filter.drop', { text })} title={text}>
      <span className="cut">{text}</span>
      <DismissRegular aria-hidden="true" />
    </button>
  );
}

/** Drops rows whose value is filtered out; the address says so, and the chips show it. */
export function keepRows<T>(
  rows: T[],
  without: readonly Without[],
  valuesOf: (row: T, field: string) => readonly string[],
): T[] {
  if (without.length === 0) return rows;
  return rows.filter((row) => !without.some((w) => valuesOf(row, w.field).includes(w.value)));
}
