import { ChevronDownRegular, ChevronRightRegular } from '@fluentui/react-icons';
import { useState } from 'react';
import { t } from '../i18n';

/** Members of one level that are drawn; a list of a million is cut, and says so. */
const MEMBERS_MAX = 200;
/** Levels that are drawn: a hostile value nests deeper than a page can. */
const DEPTH_MAX = 24;

function Leaf({ value }: { value: unknown }) {
  if (value === null || value === undefined) return <span className="muted">null</span>;
  if (typeof value === 'string') return <span className="json-string">{JSON.stringify(value)}</span>;
  return <span className="json-value">{typeof value === 'object' ? '…' : String(value)}</span>;
}

/** A dynamic value as a tree that folds. */
export function JsonTree({ name, value, depth = 0 }: { name?: string; value: unknown; depth?: number }) {
  const [open, setOpen] = useState(depth < 2);
  const label = name !== undefined && <span className="json-name">{name}: </span>;
  if (typeof value !== 'object' || value === null || depth >= DEPTH_MAX)
    return (
      <div className="json-line">
        {label}
        <Leaf value={value} />
      </div>
    );
  const list = Array.isArray(value);
  const members = list ? value.map((item, i): [string, unknown] => [String(i), item]) : Object.entries(value);
  return (
    <div className="json-node">
      <button
        type="button"
        className="json-fold"
        aria-expanded={open}
        aria-label={open ? t('hunting.treeClose') : t('hunting.treeOpen')}
        onClick={() => setOpen(!open)}
      >
        {open ? <ChevronDownRegular aria-hidden="true" /> : <ChevronRightRegular aria-hidden="true" />}
        {label}
        <span className="muted">{list ? `[${members.length}]` : `{${members.length}}`}</span>
      </button>
      {open && (
        <div className="json-members">
          {members.slice(0, MEMBERS_MAX).map(([key, member]) => (
            <JsonTree key={key} name={key} value={member} depth={depth + 1} />
          ))}
          {members.length > MEMBERS_MAX && <div className="muted">… {members.length - MEMBERS_MAX}</div>}
        </div>
      )}
    </div>
  );
}
