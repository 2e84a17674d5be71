import { type ResultColumn, type ResultRow, valueText } from './results';

/** Characters that a comment takes, as the server counts them. */
const COMMENT_CHARS_MAX = 4_096;
/** Characters of one row in a comment: enough to know it again; all of it is behind the link. */
const ROW_CHARS_MAX = 400;
/** A longer link is left out, so that rows have room. */
const LINK_CHARS_MAX = 1_500;

/** Columns that say what a row is, first in its line. */
const FIRST = ['Timestamp', 'DeviceName', 'AccountName', 'ActionType', 'FileName', 'ProcessCommandLine', 'RemoteIP'];

function line(row: ResultRow, columns: readonly ResultColumn[]): string {
  const rank = (name: string) => (FIRST.indexOf(name) + FIRST.length + 1) % (FIRST.length + 1);
  const parts = columns
    .map((column, i) => ({ name: column.name, text: valueText(row[i]).replace(/\s+/g, ' ') }))
    .filter((part) => part.text !== '')
    .sort((a, b) => (FIRST.includes(a.name) ? rank(a.name) : 99) - (FIRST.includes(b.name) ? rank(b.name) : 99));
  const text = parts.map((part) => `${part.name}=${part.text}`).join(' ');
  return text.length > ROW_CHARS_MAX ? `${text.slice(0, ROW_CHARS_MAX - 1)}…` : text;
}

/** Rows of a hunt as the text that goes into an incident: what was found, by which query, and as many rows as fit. */
export function evidenceText(
  found: { title: string; note: string; query: string; link: string | null },
  rows: readonly ResultRow[],
  columns: readonly ResultColumn[],
): string {
  const link = found.link && found.link.length <= LINK_CHARS_MAX ? found.link : '';
  const query = found.query.length > 900 ? `${found.query.slice(0, 900)}…` : found.query;
  const head = [found.title, found.note, link, query].filter((part) => part.trim() !== '').join('\n\n');
  let text = `${head.slice(0, COMMENT_CHARS_MAX - 200)}\n\n`;
  let taken = 0;
  for (const row of rows) {
    const next = `${line(row, columns)}\n`;
    if (text.length + next.length > COMMENT_CHARS_MAX - 40) break;
    text += next;
    taken += 1;
  }
  return taken < rows.length ? `${text}(+${rows.length - taken})` : text.trimEnd();
}
