import { HighlightStyle, StreamLanguage, syntaxHighlighting } from '@codemirror/language';
import { tags } from '@lezer/highlight';

// Colours for the text while it is typed: a scanner by line, which never waits for the worker.

const CONTROL = new Set(
  `let set and or not in has has_cs has_any has_all hasprefix hassuffix contains contains_cs startswith endswith
matches regex between by on asc desc nulls first last kind with of from to step default as typeof true false null
inner innerunique leftouter rightouter fullouter leftanti rightanti leftsemi rightsemi anti semi flags limit isfuzzy
withsource hint`
    .split(/\s+/)
    .filter(Boolean),
);
const OPERATORS = new Set(
  `where filter project project-away project-keep project-rename project-reorder extend summarize join lookup union
sort order top take limit count distinct mv-expand mv-apply parse parse-where parse-kv make-series render print range
datatable externaldata evaluate invoke search find serialize partition sample sample-distinct scan top-nested
top-hitters reduce getschema make-graph graph-match graph-shortest-paths graph-mark-components graph-to-table consume
fork facet`
    .split(/\s+/)
    .filter(Boolean),
);
const TYPES = new Set(
  'string long int real double decimal bool boolean datetime date timespan time dynamic guid'.split(' '),
);

interface State {
  fence: string | null;
}

export function kql(tables: ReadonlySet<string>) {
  return StreamLanguage.define<State>({
    name: 'kql',
    startState: () => ({ fence: null }),
    copyState: (state) => ({ ...state }),
    languageData: { commentTokens: { line: '//' }, closeBrackets: { brackets: ['(', '[', '{', '"', "'"] } },
    token(stream, state) {
      if (state.fence) {
        while (!stream.eol()) {
          if (stream.match(state.fence)) {
            state.fence = null;
            break;
          }
          stream.next();
        }
        return 'string';
      }
      if (stream.eatSpace()) return null;
      if (stream.match('//')) {
        stream.skipToEnd();
        return 'comment';
      }
      for (const fence of ['```', '~~~']) {
        if (stream.match(fence)) {
          state.fence = fence;
          return 'string';
        }
      }
      if (stream.match(/^[hH]?@"(?:[^"]|"")*"?/) || stream.match(/^[hH]?@'(?:[^']|'')*'?/)) return 'string';
      if (stream.match(/^[hH]?"(?:[^"\\]|\\.)*"?/) || stream.match(/^[hH]?'(?:[^'\\]|\\.)*'?/)) return 'string';
      if (stream.match(/^\d+(?:\.\d+)?(?:e[+-]?\d+)?(?:d|h|m|s|ms|microseconds?|ticks?)?\b/i)) return 'number';
      if (stream.match(/^!(?:in|has|has_cs|contains|contains_cs|startswith|endswith|between|hasprefix|hassuffix)~?/))
        return 'keyword';
      const word = stream.match(/^[\p{L}_$][\p{L}\p{N}_]*(?:-[\p{L}_]+)*/u);
      if (Array.isArray(word)) {
        const text = word[0] ?? '';
        if (tables.has(text)) return 'typeName';
        if (OPERATORS.has(text)) return 'operatorKeyword';
        const call = stream.match(/^\s*\(/, false);
        if (CONTROL.has(text) && !call) return 'keyword';
        if (TYPES.has(text)) return 'standard';
        if (call) return CONTROL.has(text) ? 'keyword' : 'function';
        if (text.includes('-')) stream.backUp(text.length - text.indexOf('-'));
        return 'variableName';
      }
      stream.next();
      return stream.current() === '|' ? 'operatorKeyword' : 'punctuation';
    },
    tokenTable: { function: tags.function(tags.variableName), standard: tags.standard(tags.name) },
  });
}

export const colours = syntaxHighlighting(
  HighlightStyle.define([
    { tag: tags.comment, color: 'var(--kql-comment)', fontStyle: 'italic' },
    { tag: tags.string, color: 'var(--kql-string)' },
    { tag: tags.number, color: 'var(--kql-number)' },
    { tag: tags.operatorKeyword, color: 'var(--kql-operator)', fontWeight: '600' },
    { tag: tags.keyword, color: 'var(--kql-keyword)' },
    { tag: tags.typeName, color: 'var(--kql-table)', fontWeight: '600' },
    { tag: tags.function(tags.variableName), color: 'var(--kql-function)' },
    { tag: tags.standard(tags.name), color: 'var(--kql-function)' },
  ]),
);
