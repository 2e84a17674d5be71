import { Button, Input, Tab, TabList, Tooltip, Tree, TreeItem, TreeItemLayout } from '@fluentui/react-components';
import { DeleteRegular, PeopleRegular, SearchRegular, TableRegular } from '@fluentui/react-icons';
import { useMemo, useState } from 'react';
import {
  type LibraryQuery,
  type SavedQuery,
  type SchemaTable,
  useDropQuery,
  useHistory,
  useLibrary,
  useSaved,
} from '../api/hunting';
import { t } from '../i18n';
import { fullTime } from '../logic/time';
import { grouped, spaced } from '../logic/words';
import { Tag } from '../parts/Badges';
import { Empty, Failure, Loading } from '../parts/States';
import { useTell } from '../parts/toast';
import { usePrefs } from '../prefs';
import { foldersOf } from './folders';

export interface SideProps {
  tables: SchemaTable[] | undefined;
  error: unknown;
  retry: () => void;
  onInsert: (text: string) => void;
  onOpen: (query: string, title?: string, saved?: string) => void;
}

const TABS = ['schema', 'queries', 'library', 'history'] as const;
type SideTab = (typeof TABS)[number];

/** Enter and Space on a row of a tree do what a click does. */
function acts(act: () => void) {
  return {
    onClick: act,
    onKeyDown: (event: React.KeyboardEvent) => {
      if (event.key !== 'Enter' || event.target !== event.currentTarget) return;
      event.preventDefault();
      act();
    },
  };
}

function SchemaTree({ tables, q, onInsert }: { tables: SchemaTable[]; q: string; onInsert: (text: string) => void }) {
  const wanted = q.trim().toLowerCase();
  const found = useMemo(
    () =>
      tables.flatMap((table) => {
        if (!wanted || table.name.toLowerCase().includes(wanted))
          return [{ table, columns: table.columns, deep: false }];
        const columns = table.columns.filter((c) => c.name.toLowerCase().includes(wanted));
        return columns.length > 0 ? [{ table, columns, deep: true }] : [];
      }),
    [tables, wanted],
  );
  const [open, setOpen] = useState<ReadonlySet<string>>(new Set());
  if (found.length === 0) return <Empty title={t('hunting.schema.none')} />;
  const shown = new Set([...open, ...(found.length <= 6 ? found.filter((f) => f.deep).map((f) => f.table.name) : [])]);
  return (
    <Tree
      aria-label={t('hunting.schema.tab')}
      size="small"
      openItems={shown}
      onOpenChange={(_, data) => {
        const next = new Set(open);
        if (data.open) next.add(String(data.value));
        else next.delete(String(data.value));
        setOpen(next);
      }}
    >
      {found.map(({ table, columns }) => (
        <TreeItem key={table.name} value={table.name} itemType="branch">
          <TreeItemLayout
            iconBefore={<TableRegular />}
            aside={
              table.empty ? (
                <Tooltip
                  relationship="description"
                  content={t('hunting.schema.emptyHint', { feature: table.feature ?? '…' })}
                >
                  <span className="tag">{t('hunting.schema.empty')}</span>
                </Tooltip>
              ) : undefined
            }
          >
            <span
              className={`cut ${table.empty ? 'muted' : ''}`}
              title={table.doc}
              data-insert={table.name}
              onClick={(event) => {
                event.stopPropagation();
                onInsert(table.name);
              }}
            >
              {table.name}
            </span>
          </TreeItemLayout>
          <Tree>
            {columns.map((column) => (
              <TreeItem
                key={column.name}
                value={`${table.name}.${column.name}`}
                itemType="leaf"
                {...acts(() => onInsert(column.name))}
              >
                <TreeItemLayout aside={<span className="muted small">{column.type}</span>}>
                  <span className="cut" title={column.doc} data-insert={column.name}>
                    {column.name}
                  </span>
                </TreeItemLayout>
              </TreeItem>
            ))}
          </Tree>
        </TreeItem>
      ))}
    </Tree>
  );
}

function matches(text: string, q: string): boolean {
  return text.toLowerCase().includes(q.trim().toLowerCase());
}

function SavedTree({ q, onOpen }: { q: string; onOpen: SideProps['onOpen'] }) {
  const saved = useSaved();
  const drop = useDropQuery();
  const tell = useTell();
  const folders = useMemo(
    () => foldersOf((saved.data ?? []).filter((s) => matches(`${s.name} ${s.folder} ${s.description}`, q))),
    [saved.data, q],
  );
  if (saved.error) return <Failure error={saved.error} retry={() => void saved.refetch()} />;
  if (!saved.data) return <Loading />;
  if (folders.length === 0) return <Empty title={t('hunting.yours.none')} hint={t('hunting.yours.noneHint')} />;
  const leaf = (item: SavedQuery) => (
    <TreeItem key={item.id} value={item.id} itemType="leaf" {...acts(() => onOpen(item.query, item.name, item.id))}>
      <TreeItemLayout
        aside={item.shared ? <PeopleRegular aria-label={t('hunting.shared')} /> : undefined}
        actions={
          item.mine ? (
            <Button
              size="small"
              appearance="subtle"
              icon={<DeleteRegular />}
              aria-label={t('hunting.drop', { name: item.name })}
              onClick={(event) => {
                event.stopPropagation();
                drop.mutate(item.id, { onError: tell.failed });
              }}
            />
          ) : undefined
        }
      >
        <span
          className="cut"
          title={[item.description, item.mine ? '' : t('hunting.sharedBy', { owner: item.owner })]
            .filter(Boolean)
            .join('\n')}
        >
          {item.name}
        </span>
      </TreeItemLayout>
    </TreeItem>
  );
  return (
    <Tree aria-label={t('hunting.yours.tab')} size="small" defaultOpenItems={folders.map((f) => f.path)}>
      {folders.flatMap((folder) =>
        folder.path === ''
          ? folder.items.map(leaf)
          : [
              <TreeItem key={folder.path} value={folder.path} itemType="branch">
                <TreeItemLayout>{folder.path}</TreeItemLayout>
                <Tree>{folder.items.map(leaf)}</Tree>
              </TreeItem>,
            ],
      )}
    </Tree>
  );
}

function LibraryTree({ q, onOpen }: { q: string; onOpen: SideProps['onOpen'] }) {
  const library = useLibrary();
  const tactics = useMemo(() => {
    const groups = new Map<string, LibraryQuery[]>();
    for (const item of library.data ?? []) {
      if (!matches(`${item.title} ${item.description} ${item.techniques.join(' ')} ${item.tactics.join(' ')}`, q))
        continue;
      for (const tactic of item.tactics.length > 0 ? item.tactics : ['Other']) {
        const group = groups.get(tactic);
        if (group) group.push(item);
        else groups.set(tactic, [item]);
      }
    }
    return [...groups];
  }, [library.data, q]);
  if (library.error) return <Failure error={library.error} retry={() => void library.refetch()} />;
  if (!library.data) return <Loading />;
  if (tactics.length === 0) return <Empty title={t('hunting.library.none')} />;
  return (
    <Tree
      key={q ? 'found' : 'all'}
      aria-label={t('hunting.library.tab')}
      size="small"
      defaultOpenItems={q ? tactics.map(([tactic]) => tactic) : []}
    >
      {tactics.map(([tactic, items]) => (
        <TreeItem key={tactic} value={tactic} itemType="branch">
          <TreeItemLayout aside={<span className="muted small">{items.length}</span>}>{spaced(tactic)}</TreeItemLayout>
          <Tree>
            {items.map((item) => (
              <TreeItem
                key={item.id}
                value={`${tactic}/${item.id}`}
                itemType="leaf"
                {...acts(() => onOpen(item.query, item.title))}
              >
                <TreeItemLayout>
                  <span className="cut" title={`${item.description}\n${item.techniques.join(', ')}`}>
                    {item.title}
                  </span>
                </TreeItemLayout>
              </TreeItem>
            ))}
          </Tree>
        </TreeItem>
      ))}
    </Tree>
  );
}

function HistoryList({ q, onOpen }: { q: string; onOpen: SideProps['onOpen'] }) {
  const history = useHistory();
  const { zone } = usePrefs();
  if (history.error) return <Failure error={history.error} retry={() => void history.refetch()} />;
  if (!history.data) return <Loading />;
  const found = history.data.filter((entry) => matches(entry.query, q));
  if (found.length === 0) return <Empty title={t('hunting.history.none')} hint={t('hunting.history.noneHint')} />;
  return (
    <ul className="plain hunt-history">
      {found.map((entry) => (
        <li key={entry.id}>
          <button type="button" className="hunt-past" onClick={() => onOpen(entry.query)}>
            <span className="mono hunt-past-text">{entry.query}</span>
            <span className="muted small line">
              <span>{fullTime(entry.started, zone)}</span>
              {entry.origin && (
                <Tag>{t(`hunting.history.past.${entry.origin.kind}`, { title: entry.origin.title })}</Tag>
              )}
              {entry.state === 'Completed' ? (
                <span>
                  {t('hunting.history.rows', { count: entry.rowsReturned, text: grouped(entry.rowsReturned) })}
                </span>
              ) : (
                <Tag tone="warn">{spaced(entry.state)}</Tag>
              )}
              <span>{grouped(entry.durationMs)} ms</span>
            </span>
          </button>
        </li>
      ))}
    </ul>
  );
}

/** What a query can be made of: tables, saved queries, the library, what was run before. */
export function Side({ tables, error, retry, onInsert, onOpen }: SideProps) {
  const [tab, setTab] = useState<SideTab>('schema');
  const [q, setQ] = useState('');
  const label = tab === 'schema' ? t('hunting.schema.filter') : t('hunting.search');
  return (
    <aside className="hunt-side" aria-label={t('hunting.side')}>
      <TabList size="small" selectedValue={tab} onTabSelect={(_, data) => setTab(data.value as SideTab)}>
        <Tab value="schema">{t('hunting.schema.tab')}</Tab>
        <Tab value="queries">{t('hunting.yours.tab')}</Tab>
        <Tab value="library">{t('hunting.library.tab')}</Tab>
        <Tab value="history">{t('hunting.history.tab')}</Tab>
      </TabList>
      <Input
        size="small"
        className="hunt-filter"
        type="search"
        contentBefore={<SearchRegular />}
        placeholder={label}
        aria-label={label}
        value={q}
        onChange={(_, data) => setQ(data.value)}
        input={{ 'data-search': '' } as object}
      />
      <div className="hunt-tree" data-side={tab}>
        {tab === 'schema' &&
          (error ? (
            <Failure error={error} retry={retry} />
          ) : tables ? (
            <SchemaTree tables={tables} q={q} onInsert={onInsert} />
          ) : (
            <Loading />
          ))}
        {tab === 'queries' && <SavedTree q={q} onOpen={onOpen} />}
        {tab === 'library' && <LibraryTree q={q} onOpen={onOpen} />}
        {tab === 'history' && <HistoryList q={q} onOpen={onOpen} />}
      </div>
    </aside>
  );
}
