import { type Completion, type CompletionContext, type CompletionResult, snippet } from '@codemirror/autocomplete';
import { type Diagnostic as Mark, setDiagnostics } from '@codemirror/lint';
import type { EditorView, Tooltip } from '@codemirror/view';
import { type Capability, type Diagnostic, hunting, type SchemaTable } from '../api/hunting';
import { type Block, blockAt, blocks } from '../logic/kql';
import { languageNow } from './language';

// What the editor offers and marks: from the language service in the worker, where it is up, and from the server,
// which has the last word on what is wrong.

const KIND_ICON: Record<string, string> = {
  Column: 'property',
  Table: 'class',
  BuiltInFunction: 'function',
  AggregateFunction: 'function',
  LocalFunction: 'function',
  Variable: 'variable',
  Parameter: 'variable',
  QueryPrefix: 'keyword',
  TabularPrefix: 'keyword',
  ScalarInfix: 'keyword',
  Keyword: 'keyword',
  RenderChart: 'enum',
  ScalarType: 'type',
};

function typeText(tables: readonly SchemaTable[], kind: string, label: string): string | undefined {
  if (kind === 'Table') return undefined;
  if (kind !== 'Column') return undefined;
  for (const table of tables) {
    const column = table.columns.find((c) => c.name === label);
    if (column) return column.type;
  }
  return undefined;
}

function docText(tables: readonly SchemaTable[], kind: string, label: string): string | undefined {
  if (kind === 'Table') return tables.find((t) => t.name === label)?.doc;
  if (kind !== 'Column') return undefined;
  for (const table of tables) {
    const column = table.columns.find((c) => c.name === label);
    if (column) return column.doc;
  }
  return undefined;
}

async function fromServer(block: Block, position: number): Promise<CompletionResult | null> {
  try {
    const found = await hunting.complete(block.text, position - block.from);
    return {
      from: block.from + found.from,
      to: block.from + found.to,
      options: found.items.map((item) => ({
        label: item.label,
        detail: item.detail || undefined,
        apply: item.insert,
        type: KIND_ICON[item.kind] ?? item.kind,
      })),
    };
  } catch {
    return null;
  }
}

export function completer(tables: () => readonly SchemaTable[]) {
  return async (context: CompletionContext): Promise<CompletionResult | null> => {
    const text = context.state.doc.toString();
    const block = blockAt(text, context.pos);
    // Below the last block a new query starts.
    const own = block && block.from <= context.pos && context.pos <= block.to;
    const part: Block = own ? block : { from: context.pos, to: context.pos, text: '' };
    const found = await languageNow().complete(part.text, context.pos - part.from);
    if (context.aborted) return null;
    if (!found) return fromServer(part, context.pos);
    if (found.items.length === 0) return null;
    const options = found.items.map((item, i): Completion => {
      const doc = docText(tables(), item.kind, item.label);
      return {
        label: item.label,
        type: KIND_ICON[item.kind] ?? 'text',
        detail: typeText(tables(), item.kind, item.label),
        info: doc,
        // The service's own order: what fits the place comes first.
        boost: Math.max(-99, 50 - Math.floor((i * 100) / found.items.length)),
        apply:
          item.after === ''
            ? item.before
            : (view, completion, from, to) =>
                snippet(`${item.before.replaceAll('}', '\\}')}\${}${item.after}`)(view, completion, from, to),
      };
    });
    return { from: part.from + found.from, options, validFor: /^[\w-]*$/ };
  };
}

/** After these the next word is wanted at once. */
const INVITES =
  /(?:\|\s|\b(?:where|by|project|project-away|extend|summarize|distinct|render|join|union|lookup|on|and|or)\s)$/;

export function invites(view: EditorView): boolean {
  const at = view.state.selection.main.head;
  const line = view.state.doc.lineAt(at);
  return INVITES.test(view.state.doc.sliceString(line.from, at));
}

export async function hover(
  view: EditorView,
  position: number,
  tables: readonly SchemaTable[],
  functions: readonly Capability[],
): Promise<Tooltip | null> {
  const text = view.state.doc.toString();
  const block = blockAt(text, position);
  if (!block || position < block.from || position > block.to) return null;
  const word = view.state.wordAt(position);
  const name = word ? view.state.doc.sliceString(word.from, word.to) : '';
  const table = tables.find((t) => t.name === name);
  const found = await languageNow().hover(block.text, position - block.from);
  const lines = (found ?? '').split('\n').map((line) => line.trim());
  const known = functions.find((f) => f.name === name || f.aliases?.includes(name));
  const head = table ? name : (known?.signature ?? lines[0] ?? '');
  const named = [...block.text.matchAll(/\b\w+\b/g)].map((m) => m[0]);
  const doc =
    table?.doc ??
    known?.doc ??
    tables.filter((t) => named.includes(t.name)).flatMap((t) => t.columns.filter((c) => c.name === name))[0]?.doc ??
    lines.slice(1).filter(Boolean).join(' ');
  if (!head && !doc) return null;
  return {
    pos: word?.from ?? position,
    end: word?.to ?? position,
    above: true,
    create: () => {
      const dom = document.createElement('div');
      dom.className = 'kql-hover';
      const first = document.createElement('div');
      first.className = 'mono';
      first.textContent = head;
      dom.append(first);
      if (doc) {
        const second = document.createElement('div');
        second.textContent = doc;
        dom.append(second);
      }
      return { dom };
    },
  };
}

export function markOf(
  d: Pick<Diagnostic, 'code' | 'severity' | 'message' | 'start' | 'end'> & { hint?: string | null },
  offset: number,
  length: number,
): Mark {
  const from = Math.min(offset + Math.max(0, d.start), length);
  return {
    from,
    to: Math.max(from, Math.min(offset + d.end, length)),
    severity: d.severity === 'information' ? 'info' : d.severity,
    source: d.code,
    message: d.hint ? `${d.message}\n${d.hint}` : d.message,
  };
}

/** Blocks that are checked: those around the cursor; a page of a hundred queries is not sent at every key. */
const BLOCKS_MAX = 8;
/** Answers that are remembered, by the text they are for. */
const REMEMBERED_MAX = 60;

/** Marks what is wrong: what the worker says at once, what the server says as soon as it answers. */
export class Checker {
  private readonly known = new Map<string, Diagnostic[]>();
  private round = 0;

  forget(): void {
    this.known.clear();
  }

  remember(query: string, diagnostics: Diagnostic[]): void {
    this.known.set(query, diagnostics);
    for (const old of this.known.keys()) {
      if (this.known.size <= REMEMBERED_MAX) break;
      this.known.delete(old);
    }
  }

  async check(view: EditorView): Promise<void> {
    this.round += 1;
    const round = this.round;
    const doc = view.state.doc;
    const text = doc.toString();
    const at = view.state.selection.main.head;
    const near = blocks(text)
      .sort((a, b) => Math.abs(a.from - at) - Math.abs(b.from - at))
      .slice(0, BLOCKS_MAX);
    const marks = new Map<Block, Mark[]>();
    const show = () => {
      // The text has moved on: a later round marks it.
      if (this.round !== round || view.state.doc !== doc) return;
      view.dispatch(setDiagnostics(view.state, [...marks.values()].flat()));
    };
    await Promise.all(
      near.map(async (block) => {
        const query = block.text.trimEnd();
        let found = this.known.get(query);
        if (!found) {
          const quick = await languageNow().check(query);
          if (this.round !== round) return;
          if (quick) {
            marks.set(
              block,
              quick.map((d) => markOf(d, block.from, doc.length)),
            );
            show();
          }
          try {
            found = (await hunting.validate(query)).diagnostics;
            this.remember(query, found);
          } catch {
            return;
          }
        }
        marks.set(
          block,
          found.map((d) => markOf(d, block.from, doc.length)),
        );
        show();
      }),
    );
    if (near.length === 0) show();
  }
}
