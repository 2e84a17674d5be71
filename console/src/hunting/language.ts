import type { Capabilities, Named, SchemaTable } from '../api/hunting';

// What the page and the worker with the language service say to each other.

export interface Known {
  tables: { name: string; doc: string; columns: { name: string; type: string; doc: string }[] }[];
  operators: string[] | null;
  functions: string[] | null;
  aggregates: string[] | null;
  plugins: string[] | null;
}

export interface Completion {
  label: string;
  /** Text before and after the cursor once it is put in. */
  before: string;
  after: string;
  kind: string;
  rank: number;
}

export interface Completions {
  from: number;
  length: number;
  items: Completion[];
}

export interface Fault {
  code: string;
  severity: 'error' | 'warning' | 'information';
  message: string;
  start: number;
  end: number;
}

export type Request =
  | { id: number; ask: 'know'; known: Known }
  | { id: number; ask: 'complete'; text: string; position: number }
  | { id: number; ask: 'hover'; text: string; position: number }
  | { id: number; ask: 'check'; text: string }
  | { id: number; ask: 'format'; text: string };

export type Answer = { id: number; ok: true; value: unknown } | { id: number; ok: false; error: string };

function names(list: Named[] | undefined): string[] | null {
  return Array.isArray(list)
    ? list.flatMap((item) => (typeof item === 'string' ? [item] : [item.name, ...(item.aliases ?? [])]))
    : null;
}

/** Plug-ins of `evaluate` where the server does not list them. */
const PLUGINS = ['bag_unpack', 'pivot'];

const isAggregate = (item: Named) => typeof item !== 'string' && /aggregate/i.test(item.kind ?? '');

/** What the service of the language may offer: the tables of the server, and of the language what the server runs. */
export function knownOf(tables: SchemaTable[], capabilities: Capabilities): Known {
  const all = capabilities.functions;
  const aggregates = capabilities.aggregates ?? all?.filter(isAggregate);
  return {
    tables: tables.map((table) => ({ name: table.name, doc: table.doc, columns: table.columns })),
    operators: names(capabilities.operators),
    functions: names(all?.filter((item) => !isAggregate(item))),
    aggregates: names(aggregates),
    plugins: names(capabilities.plugins) ?? PLUGINS,
  };
}

/** An answer of the worker is not waited for longer: the page must not hang on its help. */
const ANSWER_MS = 20_000;

/** How long a completion waits for the service to start; then the server is asked. */
const READY_MS = 8_000;

/** The language service behind a worker; every answer is a promise, null where the worker cannot. */
export class Language {
  private readonly worker: Worker;
  private readonly waiting = new Map<number, (value: unknown) => void>();
  private next = 1;
  private broken = false;
  private tell: () => void = () => undefined;
  /** Until the schema is known nothing can be answered; who types meanwhile waits a while for it. */
  private readonly ready = new Promise<void>((done) => {
    this.tell = done;
  });

  constructor() {
    this.worker = new Worker(new URL('./kusto.worker.ts', import.meta.url));
    this.worker.onmessage = (event: MessageEvent<Answer>) => {
      const answer = event.data;
      this.waiting.get(answer.id)?.(answer.ok ? answer.value : null);
      this.waiting.delete(answer.id);
    };
    this.worker.onerror = () => {
      this.broken = true;
      for (const done of this.waiting.values()) done(null);
      this.waiting.clear();
    };
  }

  private ask<T>(request: Request): Promise<T | null> {
    if (this.broken) return Promise.resolve(null);
    return new Promise((done) => {
      const timer = window.setTimeout(() => {
        this.waiting.delete(request.id);
        done(null);
      }, ANSWER_MS);
      this.waiting.set(request.id, (value) => {
        window.clearTimeout(timer);
        done(value as T | null);
      });
      this.worker.postMessage(request);
    });
  }

  async know(known: Known): Promise<boolean | null> {
    const done = await this.ask<boolean>({ id: this.next++, ask: 'know', known });
    this.tell();
    return done;
  }
  async complete(text: string, position: number): Promise<Completions | null> {
    await Promise.race([this.ready, new Promise((done) => window.setTimeout(done, READY_MS))]);
    return this.ask({ id: this.next++, ask: 'complete', text, position });
  }
  hover(text: string, position: number): Promise<string | null> {
    return this.ask({ id: this.next++, ask: 'hover', text, position });
  }
  format(text: string): Promise<string | null> {
    return this.ask({ id: this.next++, ask: 'format', text });
  }
  check(text: string): Promise<Fault[] | null> {
    return this.ask({ id: this.next++, ask: 'check', text });
  }
}

let language: Language | null = null;

/** The one worker of this page; it takes seconds to warm up, so it is kept. */
export function languageNow(): Language {
  language ??= new Language();
  return language;
}
