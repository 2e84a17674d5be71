// What the page must know of a query's text without the server: where a block ends, where a filter goes, whether the
// text bounds the time itself. The server's analysis decides everything else.

export interface Block {
  from: number;
  to: number;
  text: string;
}

/** A query that the page takes from a link or a file at most; the server has its own bound. */
export const QUERY_CHARS_MAX = 100_000;

interface Token {
  kind: 'word' | 'text' | 'comment' | 'mark';
  from: number;
  to: number;
}

/** Words, texts, comments and marks, so that a `|` inside of a string is not taken for a pipe. */
export function tokens(text: string): Token[] {
  const found: Token[] = [];
  let at = 0;
  const until = (end: number) => (end < 0 ? text.length : end);
  while (at < text.length) {
    const from = at;
    const c = text.charAt(at);
    if (/\s/.test(c)) {
      at += 1;
      continue;
    }
    if (text.startsWith('//', at)) {
      at = until(text.indexOf('\n', at));
      found.push({ kind: 'comment', from, to: at });
      continue;
    }
    const fence = text.startsWith('```', at) ? '```' : text.startsWith('~~~', at) ? '~~~' : null;
    if (fence) {
      const end = text.indexOf(fence, at + 3);
      at = end < 0 ? text.length : end + 3;
      found.push({ kind: 'text', from, to: at });
      continue;
    }
    const opened = /^(?:[hH])?(@?)(["'])/.exec(text.slice(at, at + 3));
    if (opened) {
      const verbatim = opened[1] === '@';
      const quote = opened[2] ?? '"';
      at += opened[0].length;
      while (at < text.length) {
        const d = text.charAt(at);
        if (d === '\n') break;
        if (!verbatim && d === '\\') at += 2;
        else if (d !== quote) at += 1;
        else if (verbatim && text.charAt(at + 1) === quote) at += 2;
        else {
          at += 1;
          break;
        }
      }
      at = Math.min(at, text.length);
      found.push({ kind: 'text', from, to: at });
      continue;
    }
    const word = /^[\p{L}_$][\p{L}\p{N}_-]*/u.exec(text.slice(at, at + 256));
    if (word) {
      // A hyphen only belongs to a word between letters: `project-away`, not `a-1`.
      const cut = word[0].replace(/-+$/, '').replace(/-(?=\d).*$/, '');
      at += cut.length;
      found.push({ kind: 'word', from, to: at });
      continue;
    }
    const mark = /^(?:!?between|<=|>=|==|!=|<>|=~|!~|=>|\.\.)/.exec(text.slice(at, at + 8));
    at += mark?.[0].length ?? 1;
    found.push({ kind: 'mark', from, to: at });
  }
  return found;
}

/**
 * The queries of a text: they are parted by blank lines. A block that ends in `;` goes on after the blank line, and so
 * does one whose next line starts with a pipe.
 */
export function blocks(text: string): Block[] {
  const covered = tokens(text).filter((token) => token.kind === 'text');
  const inside = (at: number) => covered.some((token) => token.from < at && at < token.to);
  const cuts: { from: number; to: number }[] = [];
  for (const gap of text.matchAll(/\n[^\S\n]*(?:\r?\n[^\S\n]*)+/g)) {
    if (!inside(gap.index)) cuts.push({ from: gap.index, to: gap.index + gap[0].length });
  }
  const parts: Block[] = [];
  let from = 0;
  for (const cut of [...cuts, { from: text.length, to: text.length }]) {
    const part = text.slice(from, cut.from);
    const before = parts[parts.length - 1];
    const joins = before && (endsOpen(before.text) || /^\s*\|/.test(part));
    if (before && joins) {
      before.to = cut.from;
      before.text = text.slice(before.from, cut.from);
    } else if (part.trim() !== '') {
      const lead = part.length - part.trimStart().length;
      parts.push({ from: from + lead, to: cut.from, text: part.slice(lead) });
    }
    from = cut.to;
  }
  return parts;
}

function endsOpen(text: string): boolean {
  const last = tokens(text).findLast((token) => token.kind !== 'comment');
  // Only comments so far: they head what follows.
  return last === undefined || text.slice(last.from, last.to) === ';';
}

/** The query under the cursor; between two blocks it is the one above. */
export function blockAt(text: string, position: number): Block | null {
  const all = blocks(text);
  return (
    all.find((b) => b.from <= position && position <= b.to) ?? all.findLast((b) => b.to < position) ?? all[0] ?? null
  );
}

const COMPARES = new Set(['<', '>', '<=', '>=', '==', 'between', '!between']);

/** Whether the text itself compares `Timestamp`, so that the time range of the page is not put on top. */
export function boundsTime(text: string): boolean {
  const list = tokens(text).filter((token) => token.kind !== 'comment');
  const word = (i: number) => {
    const token = list[i];
    return token ? text.slice(token.from, token.to) : '';
  };
  return list.some((token, i) => {
    if (token.kind !== 'word' || word(i) !== 'Timestamp') return false;
    return COMPARES.has(word(i + 1)) || COMPARES.has(word(i - 1)) || (word(i + 1) === '!' && word(i + 2) === 'between');
  });
}

export function nameText(name: string): string {
  return /^[A-Za-z_][A-Za-z0-9_]*$/.test(name) ? name : `['${name.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}']`;
}

export function stringText(value: string): string {
  const body = value
    .replaceAll('\\', '\\\\')
    .replaceAll('"', '\\"')
    .replaceAll('\n', '\\n')
    .replaceAll('\r', '\\r')
    .replaceAll('\t', '\\t');
  return `"${body}"`;
}

/** `Column == value` in the language, for a value as the server's JSON gives it. */
export function comparison(name: string, type: string, value: unknown, keep: boolean): string {
  const column = nameText(name);
  if (value === null || value === undefined) return `${keep ? 'isnull' : 'isnotnull'}(${column})`;
  if (value === '' && type === 'string') return `${keep ? 'isempty' : 'isnotempty'}(${column})`;
  const sign = keep ? '==' : '!=';
  switch (type) {
    case 'long':
    case 'int':
    case 'bool':
      return `${column} ${sign} ${String(value)}`;
    case 'real':
    case 'double':
      return `${column} ${sign} real(${String(value)})`;
    case 'decimal':
      return `${column} ${sign} decimal(${String(value)})`;
    case 'datetime':
      return `${column} ${sign} datetime(${String(value)})`;
    case 'timespan':
      return `${column} ${sign} time(${String(value)})`;
    case 'guid':
      return `${column} ${sign} guid(${String(value)})`;
    case 'dynamic':
      return `tostring(${column}) ${sign} ${stringText(typeof value === 'string' ? value : JSON.stringify(value))}`;
    default:
      return `${column} ${sign} ${stringText(String(value))}`;
  }
}

/** The query with one more filter: at its end, where the names of the result hold, but before `render`. */
export function withFilter(query: string, filter: string): string {
  const list = tokens(query).filter((token) => token.kind !== 'comment');
  let end = list.length;
  if (end > 0 && query.slice(list[end - 1]?.from, list[end - 1]?.to) === ';') end -= 1;
  let depth = 0;
  for (let i = end - 1; i >= 0; i -= 1) {
    const token = list[i];
    if (!token) break;
    const word = query.slice(token.from, token.to);
    if (word === ')' || word === ']' || word === '}') depth += 1;
    else if (word === '(' || word === '[' || word === '{') depth -= 1;
    else if (word === '|' && depth === 0) {
      const next = list[i + 1];
      if (next && query.slice(next.from, next.to) === 'render') end = i;
      break;
    }
  }
  const at = list[end - 1]?.to ?? 0;
  const rest = query.slice(at);
  const head = query.slice(0, at);
  const line = `\n| where ${filter}`;
  return `${head}${line}${rest.startsWith('\n') || rest.trim() === '' || rest.startsWith(';') ? rest : `\n${rest.trimStart()}`}`;
}
