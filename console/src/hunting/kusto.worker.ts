// The Kusto language service, away from the page's thread: it takes seconds to start and then answers in milliseconds.
// Its two files are classic scripts that fill globals, so they are loaded as they are and in this order.

import bridgeUrl from '@kusto/language-service-next/bridge.min.js?url';
import serviceUrl from '@kusto/language-service-next/Kusto.Language.Bridge.min.js?url';
import type { Answer, Completions, Fault, Known, Request } from './language';

// The few of its many types that are used here; names such as `$ctor7` are how it tells its constructors apart.
interface List<T> {
  Count?: number;
  length?: number;
  getItem?: (i: number) => T;
  [i: number]: T;
}
interface Named {
  Name: string;
}
interface Globals {
  WithDatabase: (database: unknown) => Globals;
  WithFunctions: (list: unknown) => Globals;
  WithAggregates: (list: unknown) => Globals;
  WithPlugIns: (list: unknown) => Globals;
  Functions: List<Named>;
  Aggregates: List<Named>;
  PlugIns: List<Named>;
}
interface Service {
  GetCompletionItems: (position: number) => {
    EditStart: number;
    EditLength: number;
    Items: List<{
      DisplayText: string;
      MatchText: string;
      BeforeText: string;
      AfterText: string | null;
      Kind: number;
      Rank: number;
    }>;
  };
  GetDiagnostics: (wait: boolean) => List<{
    Code: string;
    Severity: string;
    Message: string;
    Start: number;
    Length: number;
  }>;
  GetFormattedText: () => { Text: string };
  GetQuickInfo: (position: number) => { Text: string } | null;
}
interface Kusto {
  Language: {
    GlobalState: { Default: Globals };
    Symbols: {
      TableSymbol: { $ctor7: new (name: string, columns: string, doc: string) => unknown };
      DatabaseSymbol: { $ctor1: new (name: string, tables: unknown[]) => unknown };
      FunctionSymbol: unknown;
    };
    Editor: {
      KustoCodeService: { $ctor1: new (text: string, globals: Globals) => Service };
      CompletionKind: Record<string, unknown>;
    };
  };
}
interface Scope {
  Kusto: Kusto;
  System: {
    Collections: { Generic: { List$1: (type: unknown) => { ctor: new () => { add: (item: unknown) => void } } } };
  };
  global: unknown;
  trustedTypes?: {
    createPolicy: (
      name: string,
      rules: { createScriptURL: (text: string) => string },
    ) => { createScriptURL: (text: string) => string };
  };
  importScripts: (...urls: string[]) => void;
  onmessage: ((event: MessageEvent<Request>) => void) | null;
  postMessage: (answer: Answer) => void;
}
const scope = self as unknown as Scope;

/** Words that start a query or an operator: these kinds are limited to what the server runs. */
const OPERATOR_KINDS = new Set(['QueryPrefix', 'TabularPrefix', 'TabularSuffix', 'CommandPrefix']);
/** Not operators by the server's count, but needed to write one. */
const ALWAYS = new Set([
  'let',
  'print',
  'range',
  'datatable',
  'find',
  'by',
  'on',
  'asc',
  'desc',
  'kind',
  'and',
  'or',
  'with',
]);
/** A longer list helps nobody. */
const ITEMS_MAX = 400;

let globals: Globals | null = null;
let operators: Set<string> | null = null;
let kinds: string[] = [];
let last: { text: string; service: Service } | null = null;

function listOf<T>(list: List<T> | null | undefined): T[] {
  if (!list) return [];
  if (Array.isArray(list)) return list as T[];
  return Array.from(
    { length: list.Count ?? list.length ?? 0 },
    (_, i) => (list.getItem ? list.getItem(i) : list[i]) as T,
  );
}

function load(): Kusto['Language'] {
  if (!scope.Kusto) {
    scope.global = scope;
    const policy = scope.trustedTypes?.createPolicy('garrison-language', {
      createScriptURL: (text) => {
        if (text !== serviceUrl && text !== bridgeUrl) throw new TypeError('not a script of ours');
        return text;
      },
    });
    for (const url of [bridgeUrl, serviceUrl]) scope.importScripts(policy ? policy.createScriptURL(url) : url);
  }
  return scope.Kusto.Language;
}

function know(known: Known): boolean {
  const { GlobalState, Symbols, Editor } = load();
  const { List$1 } = scope.System.Collections.Generic;
  const only = (list: List<Named>, wanted: string[] | null) => {
    const names = wanted && new Set(wanted);
    const kept = new (List$1(Symbols.FunctionSymbol).ctor)();
    for (const item of listOf(list)) if (!names || names.has(item.Name)) kept.add(item);
    return kept;
  };
  const quote = (name: string) => `['${name.replaceAll("'", "\\'")}']`;
  const tables = known.tables.map(
    (table) =>
      new Symbols.TableSymbol.$ctor7(
        table.name,
        `(${table.columns.map((c) => `${quote(c.name)}:${c.type}`).join(',')})`,
        table.doc,
      ),
  );
  const all = GlobalState.Default;
  globals = all
    .WithDatabase(new Symbols.DatabaseSymbol.$ctor1('hunting', tables))
    .WithFunctions(only(all.Functions, known.functions))
    .WithAggregates(only(all.Aggregates, known.aggregates))
    .WithPlugIns(only(all.PlugIns, known.plugins));
  // `sort by` and `order by` begin with the word that the service offers.
  operators = known.operators && new Set(known.operators.flatMap((name) => [name, name.split(' ')[0] ?? name]));
  kinds = [];
  for (const [name, value] of Object.entries(Editor.CompletionKind)) {
    if (typeof value === 'number') kinds[value] = name;
  }
  last = null;
  // The first analysis builds the grammar, which takes most of the start: it is done before anybody waits for it.
  complete(`${known.tables[0]?.name ?? 'print 1'} | where `, 10);
  return true;
}

function serviceOf(text: string): Service {
  if (!globals) throw new Error('the schema is not known yet');
  if (last?.text !== text) {
    const { Editor } = load();
    last = { text, service: new Editor.KustoCodeService.$ctor1(text, globals) };
  }
  return last.service;
}

function complete(text: string, position: number): Completions {
  const info = serviceOf(text).GetCompletionItems(position);
  const items = listOf(info.Items).flatMap((item) => {
    const kind = kinds[item.Kind] ?? '';
    const word = /^[\w-]+/.exec(item.MatchText || item.DisplayText)?.[0] ?? item.DisplayText;
    if (OPERATOR_KINDS.has(kind) && operators && !operators.has(word) && !ALWAYS.has(word)) return [];
    return [
      {
        label: item.MatchText || item.DisplayText,
        // A table brings its pipe along; people who type one themselves would have two.
        before: item.BeforeText.replace(/\s*\n\|\s*$/, ''),
        after: item.AfterText ?? '',
        kind,
        rank: item.Rank,
      },
    ];
  });
  return { from: info.EditStart, length: info.EditLength, items: items.slice(0, ITEMS_MAX) };
}

function check(text: string): Fault[] {
  return listOf(serviceOf(text).GetDiagnostics(true)).map((d) => ({
    code: d.Code,
    severity: d.Severity === 'Error' ? 'error' : d.Severity === 'Warning' ? 'warning' : 'information',
    message: d.Message,
    start: d.Start,
    end: d.Start + d.Length,
  }));
}

function answer(request: Request): unknown {
  switch (request.ask) {
    case 'know':
      return know(request.known);
    case 'complete':
      return complete(request.text, request.position);
    case 'hover':
      return serviceOf(request.text).GetQuickInfo(request.position)?.Text ?? null;
    case 'check':
      return check(request.text);
    case 'format':
      return serviceOf(request.text).GetFormattedText().Text;
  }
}

scope.onmessage = (event) => {
  const request = event.data;
  try {
    scope.postMessage({ id: request.id, ok: true, value: answer(request) });
  } catch (error) {
    scope.postMessage({ id: request.id, ok: false, error: error instanceof Error ? error.message : 'failed' });
  }
};
