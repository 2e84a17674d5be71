import { Button, Tooltip } from '@fluentui/react-components';
import {
  CodeTextRegular,
  LinkRegular,
  PanelLeftContractRegular,
  PanelLeftExpandRegular,
  PlayRegular,
  SaveRegular,
  StopRegular,
} from '@fluentui/react-icons';
import { useQueryClient } from '@tanstack/react-query';
import { lazy, Suspense, useCallback, useEffect, useMemo, useRef, useState } from 'react';
import { type Capability, type Diagnostic, hunting, useCapabilities, useSaved, useSchema } from '../api/hunting';
import { useSession } from '../api/queries';
import type { EditorHandle } from '../hunting/Editor';
import '../hunting/hunting.css';
import { IncidentDialog } from '../hunting/IncidentDialog';
import { Inspector } from '../hunting/Inspector';
import { knownOf, languageNow } from '../hunting/language';
import { PromoteDialog } from '../hunting/PromoteDialog';
import { Result } from '../hunting/Result';
import { cancelRun, startRun, useRun } from '../hunting/runs';
import { SaveDialog } from '../hunting/SaveDialog';
import { Side } from '../hunting/Side';
import { onHunt, takeHunt } from '../hunting/start';
import { TabsBar } from '../hunting/TabsBar';
import { tabs, tabsOf, useTabs } from '../hunting/tabs';
import { t } from '../i18n';
import { pack, unpack } from '../logic/huntLink';
import { boundsTime, comparison, withFilter } from '../logic/kql';
import type { ResultColumn, ResultRow } from '../logic/results';
import { asRange } from '../logic/time';
import { copyText } from '../parts/Entity';
import { Loading } from '../parts/States';
import { useTell } from '../parts/toast';
import { setPrefs, usePrefs } from '../prefs';
import { useParamChange, usePlace } from '../router';

const Editor = lazy(() => import('../hunting/Editor'));

/** Bounds of the editor's height, in pixels: a few lines, and most of a small screen. */
const EDITOR_MIN = 84;
const EDITOR_MAX = 640;

type Overlay = { kind: 'save' } | { kind: 'promote' } | { kind: 'incident'; rows: ResultRow[] } | null;

/** The line between editor and result: dragged, or moved by the arrow keys. */
function Splitter({ height }: { height: number }) {
  const prefs = usePrefs();
  const set = (to: number) =>
    setPrefs({ hunting: { ...prefs.hunting, editor: Math.round(Math.min(EDITOR_MAX, Math.max(EDITOR_MIN, to))) } });
  return (
    <div
      className="hunt-split"
      role="separator"
      aria-orientation="horizontal"
      aria-label={t('hunting.size')}
      aria-valuenow={height}
      aria-valuemin={EDITOR_MIN}
      aria-valuemax={EDITOR_MAX}
      tabIndex={0}
      onKeyDown={(event) => {
        if (event.key !== 'ArrowUp' && event.key !== 'ArrowDown') return;
        event.preventDefault();
        set(height + (event.key === 'ArrowUp' ? -20 : 20));
      }}
      onPointerDown={(event) => {
        const edge = event.currentTarget;
        const from = event.clientY;
        edge.setPointerCapture(event.pointerId);
        edge.onpointermove = (move) => set(height + move.clientY - from);
        edge.onpointerup = () => {
          edge.onpointermove = null;
          edge.onpointerup = null;
        };
      }}
    />
  );
}

export default function Hunting() {
  const session = useSession();
  tabsOf(session.data?.user.id ?? '');
  const state = useTabs();
  const tab = state.tabs.find((one) => one.id === state.active);
  const tabId = tab?.id ?? '';
  const text = tab?.text ?? '';
  const run = useRun(tabId);
  const { params } = usePlace();
  const change = useParamChange();
  const range = asRange(params.get('since'));
  const prefs = usePrefs();
  const schema = useSchema();
  const capabilities = useCapabilities();
  const saved = useSaved();
  const client = useQueryClient();
  const tell = useTell();
  const editor = useRef<EditorHandle>(null);
  const [overlay, setOverlay] = useState<Overlay>(null);
  const [inspected, setInspected] = useState<ResultRow | null>(null);
  const tables = schema.data?.tables;
  const functions = useMemo(
    () => (capabilities.data?.functions ?? []).filter((f): f is Capability => typeof f !== 'string'),
    [capabilities.data],
  );

  useEffect(() => {
    if (tables && capabilities.data) void languageNow().know(knownOf(tables, capabilities.data));
  }, [tables, capabilities.data]);

  // The address holds the query: what is in it opens in a tab, and what is run or chosen is put into it.
  const said = useRef<string | null>(null);
  const say = useCallback(
    async (query: string) => {
      const link = query.trim() === '' ? { q: null, z: null } : ((await pack(query)) ?? { q: null, z: null });
      said.current = link.q ?? link.z ?? '';
      change({ q: link.q, z: link.z });
    },
    [change],
  );
  const q = params.get('q');
  const z = params.get('z');
  useEffect(() => {
    const now = q ?? z ?? '';
    if (now === '' || now === said.current) return;
    said.current = now;
    void unpack({ q, z }).then((query) => {
      if (query !== null) tabs.open(query);
      else tell.failed(new Error(t('hunting.linkTooLong')));
    });
  }, [q, z, tell]);

  const start = useCallback(
    async (id: string, query: string, offset: number) => {
      setInspected(null);
      const pending = startRun(id, query, offset, range);
      void say(query);
      const done = await pending;
      if (tabs.now().active === id) editor.current?.mark(query, offset, done.diagnostics);
      void client.invalidateQueries({ queryKey: ['hunting', 'history'] });
    },
    [range, say, client],
  );
  const go = useCallback(() => {
    const wanted = editor.current?.wanted();
    if (!wanted || wanted.query.trim() === '') return tell.failed(new Error(t('hunting.nothing')));
    void start(tabId, wanted.query, wanted.offset);
  }, [start, tabId, tell]);

  // “Hunt from here” brings a query that is run at once.
  const take = useRef(start);
  take.current = start;
  useEffect(() => {
    const look = () => {
      const hunt = takeHunt();
      if (!hunt) return;
      const id = tabs.open(hunt.query, hunt.title);
      void take.current(id, hunt.query, 0);
    };
    look();
    return onHunt(look);
  }, []);

  const onFilter = useCallback(
    (column: ResultColumn, value: unknown, keep: boolean) => {
      if (!run) return;
      const query = withFilter(run.query, comparison(column.name, column.type, value, keep));
      const now = tabs.now().tabs.find((one) => one.id === tabId)?.text ?? '';
      // The query may have moved since it ran, or be gone: then it comes back below.
      const same = now.slice(run.offset, run.offset + run.query.length) === run.query;
      const at = same ? run.offset : now.indexOf(run.query);
      if (at >= 0) {
        editor.current?.replace(at, at + run.query.length, query);
        void start(tabId, query, at);
      } else {
        const head = now.trim() === '' ? '' : `${now.trimEnd()}\n\n`;
        tabs.change(tabId, { text: head + query });
        void start(tabId, query, head.length);
      }
    },
    [run, tabId, start],
  );

  const format = async () => {
    const wanted = editor.current?.wanted();
    if (!wanted) return;
    const put = (query: string) =>
      editor.current?.replace(wanted.offset, wanted.offset + wanted.query.length, query.trimEnd());
    try {
      put((await hunting.format(wanted.query)).query);
    } catch (error) {
      // What the server cannot put in order, the service of the language may.
      const own = await languageNow().format(wanted.query);
      if (own) put(own);
      else tell.failed(error);
    }
  };
  const share = async () => {
    const wanted = editor.current?.wanted();
    if (!wanted) return tell.failed(new Error(t('hunting.nothing')));
    const link = await pack(wanted.query);
    if (!link) return tell.failed(new Error(t('hunting.linkTooLong')));
    const search = new URLSearchParams({ since: range, ...(link.q === null ? { z: link.z ?? '' } : { q: link.q }) });
    await copyText(`${window.location.origin}/hunting?${search}`);
    tell.done(t('hunting.linked'));
  };
  const chosen = useCallback(() => {
    setInspected(null);
    const now = tabs.active();
    if (now) void say(now.text.length < 4_000 ? now.text : '');
  }, [say]);

  const here = editor.current?.wanted()?.query ?? text;
  const inText = useMemo(() => boundsTime(here), [here]);
  const current = !run || text.includes(run.query);
  const height = prefs.hunting.editor;
  const running = run?.phase === 'running';
  const side = prefs.hunting.side;
  const from = saved.data?.find((one) => one.id === tab?.saved) ?? null;

  return (
    <div className="hunt">
      {side && (
        <Side
          tables={tables}
          error={schema.error}
          retry={() => void schema.refetch()}
          onInsert={(name) => editor.current?.insert(name)}
          onOpen={(query, title, id) => {
            tabs.open(query, title, id);
            chosen();
          }}
        />
      )}
      <section className="hunt-main" aria-labelledby="hunt-title">
        <header className="hunt-head">
          <Button
            size="small"
            appearance="subtle"
            icon={side ? <PanelLeftContractRegular /> : <PanelLeftExpandRegular />}
            aria-label={side ? t('hunting.sideHide') : t('hunting.sideShow')}
            onClick={() => setPrefs({ hunting: { ...prefs.hunting, side: !side } })}
          />
          <h1 id="hunt-title">{t('hunting.title')}</h1>
          <TabsBar onChoose={chosen} />
        </header>
        <div className="hunt-bar" role="toolbar" aria-label={t('hunting.query')}>
          {running ? (
            <Button size="small" icon={<StopRegular />} onClick={() => cancelRun(tabId)}>
              {t('hunting.cancel')}
            </Button>
          ) : (
            <Tooltip relationship="description" content={t('hunting.runHint')}>
              <Button size="small" appearance="primary" icon={<PlayRegular />} onClick={go}>
                {t('hunting.run')}
              </Button>
            </Tooltip>
          )}
          <Tooltip relationship="description" content={inText ? t('hunting.inTextHint') : t('hunting.rangeOf')}>
            <span
              className={`tag ${inText ? 'tag-own' : ''}`}
              data-range={inText ? 'query' : range}
              tabIndex={0}
              role="note"
            >
              {inText ? t('hunting.inText') : t(`range.${range}`)}
            </span>
          </Tooltip>
          <span className="grow" />
          <Button size="small" appearance="subtle" icon={<CodeTextRegular />} onClick={() => void format()}>
            {t('hunting.format')}
          </Button>
          <Button size="small" appearance="subtle" icon={<SaveRegular />} onClick={() => setOverlay({ kind: 'save' })}>
            {t('hunting.save')}
          </Button>
          <Button size="small" appearance="subtle" icon={<LinkRegular />} onClick={() => void share()}>
            {t('hunting.copyLink')}
          </Button>
        </div>
        <div id="hunt-panel" role="tabpanel" aria-labelledby={`hunt-tab-${tabId}`} className="hunt-panel">
          <div className="hunt-editor" style={{ height }}>
            <Suspense fallback={<Loading label={t('hunting.editorLoading')} />}>
              <Editor
                handle={editor}
                tab={tabId}
                text={text}
                tables={tables ?? NONE}
                functions={functions}
                onText={(id, now) => tabs.change(id, { text: now })}
                onRun={go}
                onSave={() => setOverlay({ kind: 'save' })}
                onFormat={() => void format()}
              />
            </Suspense>
          </div>
          <Splitter height={height} />
          <div className="hunt-below">
            <div className="hunt-answer">
              <Result
                run={run}
                current={current}
                onShowQuery={() => run && tabs.open(run.query)}
                onJump={(d: Diagnostic) => run && editor.current?.jump(run.offset + d.start, run.offset + d.end)}
                onFilter={onFilter}
                onInspect={setInspected}
                inspected={inspected}
                onIncident={(rows) => setOverlay({ kind: 'incident', rows })}
                onPromote={() => setOverlay({ kind: 'promote' })}
              />
            </div>
            {inspected && run?.answer && (
              <Inspector row={inspected} columns={run.answer.columns} close={() => setInspected(null)} />
            )}
          </div>
        </div>
      </section>
      {overlay?.kind === 'save' && tab && (
        <SaveDialog
          text={tab.text}
          title={tab.title}
          saved={from}
          canShare={session.data?.user.role !== 'reader'}
          done={(query) => {
            tabs.change(tab.id, { title: query.name, saved: query.id });
            setOverlay(null);
          }}
          close={() => setOverlay(null)}
        />
      )}
      {overlay?.kind === 'promote' && run?.answer && (
        <PromoteDialog
          query={run.query}
          columns={run.answer.columns}
          title={tab?.title ?? ''}
          close={() => setOverlay(null)}
        />
      )}
      {overlay?.kind === 'incident' && run?.answer && (
        <IncidentDialog
          rows={overlay.rows}
          columns={run.answer.columns}
          query={run.query}
          range={run.range}
          ran={run.started}
          name={tab?.title ?? ''}
          close={() => setOverlay(null)}
        />
      )}
    </div>
  );
}

const NONE: never[] = [];
