import {
  acceptCompletion,
  autocompletion,
  closeBrackets,
  closeBracketsKeymap,
  completionKeymap,
  startCompletion,
} from '@codemirror/autocomplete';
import { defaultKeymap, history, historyKeymap } from '@codemirror/commands';
import { bracketMatching } from '@codemirror/language';
import { forEachDiagnostic, type Diagnostic as Mark, setDiagnostics } from '@codemirror/lint';
import { highlightSelectionMatches, search, searchKeymap } from '@codemirror/search';
import { Compartment, EditorState, type Extension, Prec } from '@codemirror/state';
import {
  drawSelection,
  EditorView,
  highlightActiveLine,
  hoverTooltip,
  keymap,
  lineNumbers,
  placeholder,
} from '@codemirror/view';
import { useEffect, useImperativeHandle, useMemo, useRef } from 'react';
import type { Capability, Diagnostic, SchemaTable } from '../api/hunting';
import { t } from '../i18n';
import { Echoes } from '../logic/echo';
import { blockAt } from '../logic/kql';
import { Checker, completer, hover, invites, markOf } from './assist';
import { colours, kql } from './tongue';

export interface EditorHandle {
  focus: () => void;
  insert: (text: string) => void;
  /** The selection, or the query under the cursor. */
  wanted: () => { query: string; offset: number } | null;
  /** Replaces a part, so that undo brings it back. */
  replace: (from: number, to: number, text: string) => void;
  jump: (from: number, to: number) => void;
  mark: (query: string, offset: number, diagnostics: Diagnostic[]) => void;
}

export interface EditorProps {
  tab: string;
  text: string;
  tables: SchemaTable[];
  functions: Capability[];
  onText: (tab: string, text: string) => void;
  onRun: () => void;
  onSave: () => void;
  onFormat: () => void;
  handle: React.Ref<EditorHandle>;
}

/** Typing is checked this long after it stops. */
const CHECK_MS = 300;

/** From the very first state on: the editor's styles are put in when it is made. */
const NONCE = EditorView.cspNonce.of(document.querySelector<HTMLMetaElement>('meta[name="csp-nonce"]')?.content ?? '');

/** The scanner, which is put in anew once the tables are known: typing goes on meanwhile. */
const TONGUE = new Compartment();

const look = EditorView.theme({
  '&': { height: '100%', backgroundColor: 'var(--colorNeutralBackground1)', color: 'var(--colorNeutralForeground1)' },
  '&.cm-focused': { outline: 'none' },
  '.cm-scroller': { fontFamily: 'var(--mono)', fontSize: '13px', lineHeight: '1.5' },
  '.cm-content': { caretColor: 'var(--colorNeutralForeground1)', padding: '6px 0' },
  '.cm-cursor': { borderLeftColor: 'var(--colorNeutralForeground1)', borderLeftWidth: '2px' },
  '.cm-gutters': {
    backgroundColor: 'var(--colorNeutralBackground2)',
    color: 'var(--colorNeutralForeground3)',
    borderRight: '1px solid var(--colorNeutralStroke2)',
  },
  '.cm-activeLine': { backgroundColor: 'var(--kql-line)' },
  '.cm-activeLineGutter': { backgroundColor: 'var(--kql-line)' },
  '&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground': {
    backgroundColor: 'var(--kql-selection)',
  },
  '.cm-selectionMatch': { backgroundColor: 'var(--kql-match)' },
  '&.cm-focused .cm-matchingBracket': { backgroundColor: 'var(--kql-match)', outline: '1px solid currentColor' },
  '.cm-placeholder': { color: 'var(--colorNeutralForeground3)' },
  '.cm-tooltip': {
    backgroundColor: 'var(--colorNeutralBackground1)',
    color: 'var(--colorNeutralForeground1)',
    border: '1px solid var(--colorNeutralStroke1)',
    borderRadius: '4px',
    boxShadow: 'var(--shadow8)',
  },
  '.cm-tooltip.cm-tooltip-autocomplete > ul': { fontFamily: 'var(--mono)', fontSize: '12px', maxHeight: '16em' },
  '.cm-tooltip.cm-tooltip-autocomplete > ul > li': { padding: '2px 8px' },
  '.cm-tooltip-autocomplete ul li[aria-selected]': {
    backgroundColor: 'var(--row-selected)',
    color: 'var(--colorNeutralForeground1)',
    outline: '1px solid var(--colorBrandForeground1)',
    outlineOffset: '-1px',
  },
  '.cm-completionDetail': { color: 'var(--colorNeutralForeground3)', fontStyle: 'normal' },
  '.cm-completionMatchedText': { textDecoration: 'none', fontWeight: '700' },
  '.cm-completionIcon': { opacity: '1', color: 'var(--colorNeutralForeground3)', width: '1.2em' },
  '.cm-completionInfo': { maxWidth: '320px', fontSize: '12px', padding: '6px 10px' },
  '.cm-panels': { backgroundColor: 'var(--colorNeutralBackground2)', color: 'var(--colorNeutralForeground1)' },
  '.cm-diagnostic': { padding: '4px 10px', whiteSpace: 'pre-wrap', maxWidth: '560px' },
});

export default function Editor(props: EditorProps) {
  const box = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView | null>(null);
  const names = useMemo(() => new Set(props.tables.map((table) => table.name)), [props.tables]);
  const latest = useRef({ ...props, names });
  latest.current = { ...props, names };
  const states = useRef(new Map<string, EditorState>());
  const shown = useRef<string | null>(null);
  const echoes = useRef(new Echoes());
  const checker = useRef(new Checker());
  const timer = useRef<number | null>(null);

  const extensions = useMemo((): Extension[] => {
    const check = () => {
      if (timer.current !== null) window.clearTimeout(timer.current);
      timer.current = window.setTimeout(() => {
        if (view.current) void checker.current.check(view.current);
      }, CHECK_MS);
    };
    const act = (what: () => void) => () => {
      what();
      return true;
    };
    return [
      NONCE,
      Prec.highest(
        keymap.of([
          { key: 'Shift-Enter', run: act(() => latest.current.onRun()) },
          { key: 'Mod-Enter', run: act(() => latest.current.onRun()) },
          { key: 'Mod-s', run: act(() => latest.current.onSave()), preventDefault: true },
          { key: 'Shift-Alt-f', run: act(() => latest.current.onFormat()), preventDefault: true },
          { key: 'Tab', run: acceptCompletion },
        ]),
      ),
      lineNumbers(),
      history(),
      drawSelection(),
      highlightActiveLine(),
      highlightSelectionMatches(),
      bracketMatching(),
      closeBrackets(),
      search({ top: true }),
      TONGUE.of(kql(new Set())),
      colours,
      look,
      EditorView.lineWrapping,
      placeholder(t('hunting.placeholder')),
      EditorView.contentAttributes.of({ 'aria-label': t('hunting.editor'), spellcheck: 'false' }),
      autocompletion({ override: [completer(() => latest.current.tables)], maxRenderedOptions: 60 }),
      hoverTooltip((editor, position) => hover(editor, position, latest.current.tables, latest.current.functions), {
        hoverTime: 350,
      }),
      keymap.of([...closeBracketsKeymap, ...completionKeymap, ...searchKeymap, ...historyKeymap, ...defaultKeymap]),
      EditorView.updateListener.of((update) => {
        if (!update.docChanged) return;
        const tab = shown.current;
        const now = update.state.doc.toString();
        echoes.current.tell(now);
        if (tab) latest.current.onText(tab, now);
        check();
        const typed = update.transactions.some((tr) => tr.isUserEvent('input.type'));
        if (typed && invites(update.view)) startCompletion(update.view);
      }),
    ];
  }, []);

  useEffect(() => {
    const editor = new EditorView({ parent: box.current ?? undefined, extensions: NONCE });
    view.current = editor;
    return () => {
      if (timer.current !== null) window.clearTimeout(timer.current);
      editor.destroy();
      view.current = null;
      shown.current = null;
    };
  }, []);

  useEffect(() => {
    const editor = view.current;
    if (!editor) return;
    if (shown.current !== props.tab) {
      if (shown.current) states.current.set(shown.current, editor.state);
      shown.current = null;
      const kept = states.current.get(props.tab);
      const state =
        kept && kept.doc.toString() === props.text
          ? kept
          : EditorState.create({ doc: props.text, extensions, selection: { anchor: props.text.length } });
      editor.setState(state);
      shown.current = props.tab;
      echoes.current.forget();
      editor.dispatch({ effects: TONGUE.reconfigure(kql(latest.current.names)) });
      void checker.current.check(editor);
      return;
    }
    if (echoes.current.replaces(editor.state.doc.toString(), props.text)) {
      editor.dispatch({ changes: { from: 0, to: editor.state.doc.length, insert: props.text } });
    }
  }, [props.tab, props.text, extensions]);
  useEffect(() => {
    checker.current.forget();
    view.current?.dispatch({ effects: TONGUE.reconfigure(kql(names)) });
  }, [names]);

  useImperativeHandle(props.handle, () => ({
    focus: () => view.current?.focus(),
    insert: (text) => {
      const editor = view.current;
      if (!editor) return;
      editor.dispatch(editor.state.replaceSelection(text));
      editor.focus();
    },
    wanted: () => {
      const state = view.current?.state;
      if (!state) return null;
      const { from, to } = state.selection.main;
      const chosen = state.sliceDoc(from, to);
      if (chosen.trim() !== '') return { query: chosen, offset: from };
      const block = blockAt(state.doc.toString(), from);
      return block && { query: block.text.trimEnd(), offset: block.from };
    },
    replace: (from, to, text) => {
      const editor = view.current;
      if (!editor || to > editor.state.doc.length) return;
      editor.dispatch({
        changes: { from, to, insert: text },
        selection: { anchor: from + text.length },
        userEvent: 'input',
      });
    },
    jump: (from, to) => {
      const editor = view.current;
      if (!editor) return;
      const end = editor.state.doc.length;
      editor.dispatch({
        selection: { anchor: Math.min(from, end), head: Math.min(Math.max(from, to), end) },
        scrollIntoView: true,
      });
      editor.focus();
    },
    mark: (query, offset, diagnostics) => {
      const editor = view.current;
      if (!editor) return;
      checker.current.remember(query, diagnostics);
      if (editor.state.sliceDoc(offset, offset + query.length) !== query) return;
      const marks: Mark[] = [];
      forEachDiagnostic(editor.state, (d, from, to) => {
        if (to < offset || from > offset + query.length) marks.push({ ...d, from, to });
      });
      for (const d of diagnostics) marks.push(markOf(d, offset, editor.state.doc.length));
      editor.dispatch(setDiagnostics(editor.state, marks));
    },
  }));

  return <div ref={box} className="kql-editor" data-editor="kql" />;
}
