//! Several queries in one text: which one the cursor stands in.
//!
//! Hunters keep many queries in one text, with blank lines between them. A blank line ends a query only where one can
//! end and another can begin: not inside brackets, not after `;` or an operator, not before a bar. So `let` statements
//! with blank lines between them stay one query.

use super::{Token, TokenKind, lex};
use crate::Span;

/// Signs and words after which a query goes on, whatever white space follows.
const GOES_ON_AFTER: &[&str] = &[
    "|", ";", ",", "=", "==", "!=", "<>", "<", ">", "<=", ">=", "=~", "!~", "=>", "..", ".", "+", "-", "/", "%", ":",
    "(", "[", "{", "and", "or", "by", "on", "with", "of", "to", "from", "step", "in",
];

/// Signs and words with which a query goes on, whatever white space is before them.
const GOES_ON_WITH: &[&str] = &[
    "|",
    ";",
    ",",
    "=",
    "==",
    "!=",
    "<>",
    "<",
    ">",
    "<=",
    ">=",
    "=~",
    "!~",
    "=>",
    "..",
    ".",
    "+",
    "-",
    "/",
    "%",
    ":",
    ")",
    "]",
    "}",
    "[",
    "{",
    "and",
    "or",
    "by",
    "on",
    "with",
    "of",
    "to",
    "step",
    "asc",
    "desc",
    "nulls",
    "in",
    "has",
    "contains",
    "startswith",
    "endswith",
    "between",
    "matches",
];

/// Whether white space with a blank line between two tokens outside of brackets ends a query.
pub(super) fn ends_between(before: &str, after: &str) -> bool {
    !GOES_ON_AFTER.contains(&before) && !GOES_ON_WITH.contains(&after)
}

/// Whether white space holds a blank line.
pub(super) fn has_blank_line(space: &str) -> bool {
    space.bytes().filter(|b| *b == b'\n').count() >= 2
}

/// Change of bracket depth by a token.
pub(super) fn depth_after(depth: usize, token: &Token, text: &str) -> usize {
    match text {
        "(" | "[" | "{" if token.kind == TokenKind::Sign => depth.saturating_add(1),
        ")" | "]" | "}" if token.kind == TokenKind::Sign => depth.saturating_sub(1),
        _ => depth,
    }
}

/// The queries of a text, in order: from the first solid token (or a comment right above it) to the last.
#[must_use]
pub fn queries(text: &str) -> Vec<Span> {
    let mut found = Vec::new();
    let mut current: Option<Span> = None;
    let (mut before, mut depth, mut blank) = ("", 0_usize, false);
    // Comments since the last solid token or blank line: they belong to what follows them.
    let mut comment: Option<usize> = None;
    for token in lex(text) {
        let word = text.get(token.span.start..token.span.end).unwrap_or_default();
        match token.kind {
            TokenKind::Space => {
                if has_blank_line(word) || (comment.is_some() && word.bytes().filter(|b| *b == b'\n').count() >= 2) {
                    blank = true;
                    comment = None;
                }
            }
            TokenKind::Comment => comment = comment.or(Some(token.span.start)),
            _ => {
                let ends = blank && depth == 0 && ends_between(before, word);
                if ends {
                    found.extend(current.take());
                }
                let start = comment.take().filter(|_| current.is_none()).unwrap_or(token.span.start);
                current = Some(current.map_or(Span::new(start, token.span.end), |c| c.to(token.span)));
                depth = depth_after(depth, &token, word);
                (before, blank) = (word, false);
            }
        }
    }
    found.extend(current);
    found
}

/// The query that a place in the text belongs to: the one around it, else the one that ends last before it, else the
/// first. `None` for a text without a query.
#[must_use]
pub fn query_at(text: &str, offset: usize) -> Option<Span> {
    let all = queries(text);
    let next = all.partition_point(|q| q.start <= offset);
    next.checked_sub(1).and_then(|i| all.get(i)).or_else(|| all.first()).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_lines_part_queries_only_where_one_can_end() {
        let cases: &[(&str, &[&str])] = &[
            ("", &[]),
            ("\n\n// only words\n", &[]),
            ("T | take 1", &["T | take 1"]),
            ("T\n| take 1\n\nU | count\n", &["T\n| take 1", "U | count"]),
            ("T\n\n| take 1", &["T\n\n| take 1"]),
            ("let a = 1;\n\nT | where x == a", &["let a = 1;\n\nT | where x == a"]),
            ("T | where x in (1,\n\n2)\n\n// next\nU", &["T | where x in (1,\n\n2)", "// next\nU"]),
            ("T | where a\n\nand b", &["T | where a\n\nand b"]),
            ("A // x\n\n// about B\n\n// B\nB", &["A", "// B\nB"]),
            ("A\r\n\r\nB", &["A", "B"]),
        ];
        for (text, parts) in cases {
            let found: Vec<&str> = queries(text).iter().map(|s| &text[s.start..s.end]).collect();
            assert_eq!(&found, parts, "{text:?}");
        }
    }

    #[test]
    fn the_cursor_finds_its_query() {
        let text = "\nA | count\n\n\nB | count\n";
        let at = |offset| query_at(text, offset).map(|s| &text[s.start..s.end]);
        assert_eq!(at(0), Some("A | count"));
        assert_eq!(at(5), Some("A | count"));
        assert_eq!(at(11), Some("A | count"));
        assert_eq!(at(13), Some("B | count"));
        assert_eq!(at(usize::MAX), Some("B | count"));
        assert_eq!(query_at(" ", 0), None);
    }
}
