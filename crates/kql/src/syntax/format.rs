//! The canonical layout of a query: one operator a line, the bar first; pipelines in brackets on lines of their own.
//!
//! It works on tokens, so that broken text is laid out too, and it changes white space only. Line breaks that the
//! author put inside of an operator stay (a list of values, a long condition); only their indentation is ours. Where
//! white space has a meaning of its own (`project-away`, `Device*`, `-[e]->`), what touches goes on touching.

use super::block::{depth_after, ends_between, has_blank_line};
use super::{Token, TokenKind, lex};

/// One step to the right.
const STEP: usize = 4;

/// Deepest indentation: deeper brackets share it, or the layout of hostile text would grow with its square.
const INDENT_MAX: usize = 80;

/// Signs with one space on either side.
const SPACED: &[&str] = &["==", "!=", "<>", "<=", ">=", "=~", "!~", "=>"];

/// Properties of operators, written `kind=inner` without spaces.
const TIGHT: &[&str] = &[
    "kind",
    "flags",
    "withsource",
    "with_source",
    "isfuzzy",
    "bagexpansion",
    "with_itemindex",
    "with_match_id",
    "with_node_id",
    "with_component_id",
    "cycles",
    "output",
    "strategy",
    "shufflekey",
    "num_partitions",
    "remote",
    "default",
];

/// Words before a bracket that are no function's name.
const BEFORE_BRACKET: &[&str] = &[
    "in", "!in", "in~", "!in~", "has_any", "has_all", "between", "!between", "and", "or", "on", "by", "join", "union",
];

/// The text in its canonical layout. It has the same tokens and comments in the same order; laid out again it stays
/// as it is. A text with a quote that does not end is given back unchanged: nobody knows which of its white space counts.
#[must_use]
pub fn format(text: &str) -> String {
    let tokens = lex(text);
    if tokens.iter().any(|t| t.kind == TokenKind::OpenText) {
        return text.to_owned();
    }
    let laid = Layout::new(text, &tokens).run();
    // White space is all that may change. Should a case have been missed, the author's text wins.
    if solid(&laid, &lex(&laid)).eq(solid(text, &tokens)) { laid } else { text.to_owned() }
}

fn word<'t>(text: &'t str, token: &Token) -> &'t str {
    text.get(token.span.start..token.span.end).unwrap_or_default()
}

fn solid<'t>(text: &'t str, tokens: &[Token]) -> impl Iterator<Item = (TokenKind, &'t str)> {
    let parts: Vec<_> = tokens.iter().filter(|t| t.kind != TokenKind::Space).map(|t| (t.kind, word(text, t))).collect();
    parts.into_iter().map(|(kind, word)| (kind, if kind == TokenKind::Comment { word.trim_end() } else { word }))
}

/// A bracket that is open.
struct Frame {
    /// It holds a pipeline or statements, on lines of their own.
    wide: bool,
    /// Indentation of the line that it was opened on.
    outer: usize,
    /// Indentation of statements in it.
    base: usize,
    /// Indentation of its bars: a step more in a `let`.
    bars: usize,
}

struct Layout<'t> {
    text: &'t str,
    tokens: &'t [Token],
    /// For the bracket at an index: whether it holds a bar or a semicolon of its own.
    wide: Vec<bool>,
    out: String,
    frames: Vec<Frame>,
    /// Indentation of the line that is being written.
    line: usize,
}

impl<'t> Layout<'t> {
    fn new(text: &'t str, tokens: &'t [Token]) -> Self {
        let mut wide = vec![false; tokens.len()];
        let mut open: Vec<(usize, bool)> = Vec::new();
        for (i, token) in tokens.iter().enumerate() {
            if token.kind != TokenKind::Sign {
                continue;
            }
            match word(text, token) {
                "(" | "[" => open.push((i, false)),
                "{" => open.push((i, true)),
                ")" | "]" | "}" => drop(open.pop()),
                sign @ ("|" | ";") => {
                    if let Some((at, braces)) = open.last().copied()
                        && let Some(slot) = wide.get_mut(at).filter(|_| sign == "|" || braces)
                    {
                        *slot = true;
                    }
                }
                _ => {}
            }
        }
        let bottom = Frame { wide: true, outer: 0, base: 0, bars: 0 };
        Self { text, tokens, wide, out: String::with_capacity(text.len()), frames: vec![bottom], line: 0 }
    }

    fn top(&self) -> (bool, usize, usize, usize) {
        self.frames.last().map_or((true, 0, 0, 0), |f| (f.wide, f.outer, f.base, f.bars))
    }

    fn newline(&mut self, indent: usize, blank: bool) {
        while self.out.ends_with(' ') {
            self.out.pop();
        }
        if !self.out.is_empty() {
            self.out.push_str(if blank { "\n\n" } else { "\n" });
        }
        self.line = indent.min(INDENT_MAX);
        self.out.extend(std::iter::repeat_n(' ', self.line));
    }

    fn run(mut self) -> String {
        let (text, tokens) = (self.text, self.tokens);
        let mut depth = 0_usize;
        // The last solid token's place and what has been seen between it and this one.
        let mut before: Option<usize> = None;
        let mut after_comment = false;
        let (mut newlines, mut blank) = (false, false);
        let mut begins = true;
        // The solid token after a row of comments is looked for once, not once a comment.
        let mut next_at = 0;
        for (i, token) in tokens.iter().enumerate() {
            let this = word(text, token);
            match token.kind {
                TokenKind::Space => {
                    newlines |= this.contains('\n');
                    blank |= has_blank_line(this);
                    continue;
                }
                TokenKind::Comment => {
                    if next_at <= i {
                        let rest = tokens.get(i..).unwrap_or_default();
                        next_at = rest.iter().position(|t| !t.is_trivia()).map_or(tokens.len(), |n| i + n);
                    }
                    let next = tokens.get(next_at).map_or("", |t| word(text, t));
                    let boundary = before.is_none() || begins || (blank && depth == 0 && self.ends(before, next));
                    if newlines || after_comment || before.is_none() {
                        let indent = self.indent(next, boundary);
                        self.newline(indent, blank && depth == 0 && next != "|" && !self.out.is_empty());
                    } else {
                        self.out.push(' ');
                    }
                    begins |= boundary;
                    self.out.push_str(this.trim_end());
                    (after_comment, newlines, blank) = (true, false, false);
                    continue;
                }
                _ => {}
            }
            let boundary = blank && depth == 0 && self.ends(before, this);
            let start = begins || boundary;
            let keep_blank = blank && depth == 0 && this != "|";
            self.gap(before, i, Gap { start, newlines, after_comment, keep_blank });
            if start && let Some(frame) = self.frames.last_mut() {
                frame.bars = frame.base + if this == "let" { STEP } else { 0 };
            }
            self.out.push_str(this);
            self.open_or_close(i, this);
            depth = depth_after(depth, token, this);
            let wide = self.top().0;
            begins = wide
                && token.kind == TokenKind::Sign
                && matches!(this, ";" | "(" | "[" | "{")
                && (this == ";" || self.opened_wide(i));
            (before, after_comment, newlines, blank) = (Some(i), false, false, false);
        }
        while self.out.ends_with([' ', '\n']) {
            self.out.pop();
        }
        if !self.out.is_empty() {
            self.out.push('\n');
        }
        self.out
    }

    fn opened_wide(&self, at: usize) -> bool {
        self.wide.get(at).copied().unwrap_or(false)
    }

    fn ends(&self, before: Option<usize>, after: &str) -> bool {
        before.and_then(|b| self.tokens.get(b)).is_some_and(|b| ends_between(word(self.text, b), after))
    }

    /// Indentation of a line that begins with this token.
    fn indent(&self, this: &str, start: bool) -> usize {
        let (wide, outer, base, bars) = self.top();
        match this {
            ")" | "]" | "}" => outer,
            "|" if wide => bars,
            _ if start => base,
            _ if !wide => outer + STEP,
            // The body of a function and the rows of a table stand where their head does.
            "{" | "[" => base,
            _ => bars + STEP,
        }
    }

    /// Writes what stands between the last token and this one.
    fn gap(&mut self, before: Option<usize>, at: usize, gap: Gap) {
        let this = self.tokens.get(at).map_or("", |t| word(self.text, t));
        let Some(before) = before else {
            if gap.after_comment {
                self.newline(0, gap.keep_blank);
            }
            return;
        };
        let wide = self.top().0;
        let closes = matches!(this, ")" | "]" | "}");
        let forced = (this == "|" && wide) || (gap.start && this != ";") || (closes && wide && self.frames.len() > 1);
        // A comma or a semicolon never begins a line, unless a comment forces it.
        let kept = gap.newlines && !matches!(this, "," | ";");
        if forced || kept || gap.after_comment {
            let indent = self.indent(this, gap.start);
            self.newline(indent, gap.keep_blank && !closes);
            return;
        }
        if self.spaced(before, at) {
            self.out.push(' ');
        }
    }

    /// Whether a space stands between two tokens on one line.
    fn spaced(&self, before: usize, at: usize) -> bool {
        let (Some(left), Some(right)) = (self.tokens.get(before), self.tokens.get(at)) else { return false };
        let (a, b) = (word(self.text, left), word(self.text, right));
        let touched = left.span.end == right.span.start;
        let sign = |t: &Token, text: &str| t.kind == TokenKind::Sign && word(self.text, t) == text;
        let wanted = if right.kind == TokenKind::Sign && matches!(b, "," | ";" | ")" | "]")
            || left.kind == TokenKind::Sign && matches!(a, "(" | "[")
        {
            false
        } else if sign(left, ",")
            || sign(left, ";")
            || sign(left, "|")
            || sign(right, "|")
            || (left.kind == TokenKind::Sign && SPACED.contains(&a))
            || (right.kind == TokenKind::Sign && SPACED.contains(&b))
            || (sign(right, "(") && left.kind == TokenKind::Word && BEFORE_BRACKET.contains(&a))
        {
            true
        } else if sign(left, "=") {
            !self.tight(before)
        } else if sign(right, "=") {
            !self.tight(at)
        } else {
            !touched
        };
        // Two tokens that would be read as one, or as two others, stay apart.
        wanted || (!touched && self.fuses(a, b))
    }

    /// Whether the `=` at an index belongs to a property such as `kind=inner`.
    fn tight(&self, at: usize) -> bool {
        let mut words = self.tokens.get(..at).unwrap_or_default().iter().rev().filter(|t| !t.is_trivia());
        let name = words.next().map_or("", |t| word(self.text, t));
        if !TIGHT.contains(&name) {
            return false;
        }
        // `extend kind = 1` and `project a, kind = 1` name a column.
        !matches!(
            words.next().map_or("", |t| word(self.text, t)),
            "," | "extend" | "project" | "summarize" | "by" | "let" | "print" | "rename" | "("
        )
    }

    fn fuses(&self, a: &str, b: &str) -> bool {
        // Only the edges matter for signs; for words the whole does (`in` and `~`). Long text is cut: it cannot fuse.
        let joined: String = format!("{a}{}", b.chars().take(3).collect::<String>());
        lex(&joined).first().is_none_or(|t| t.span.end != a.len())
    }

    fn open_or_close(&mut self, at: usize, this: &str) {
        if self.tokens.get(at).is_none_or(|t| t.kind != TokenKind::Sign) {
            return;
        }
        match this {
            "(" | "[" | "{" => {
                let (wide, outer) = (self.opened_wide(at), self.line);
                let base = (outer + STEP).min(INDENT_MAX);
                self.frames.push(Frame { wide, outer, base, bars: base });
            }
            ")" | "]" | "}" if self.frames.len() > 1 => drop(self.frames.pop()),
            _ => {}
        }
    }
}

/// What stood between two tokens, and what has to.
struct Gap {
    /// A statement starts.
    start: bool,
    /// The author broke the line.
    newlines: bool,
    /// A comment stands between, so the line ends.
    after_comment: bool,
    /// The author left a blank line that stays.
    keep_blank: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, laid: &str) {
        let once = format(text);
        assert_eq!(once, laid, "{text}");
        assert_eq!(format(&once), once, "a second time: {text}");
    }

    #[test]
    fn one_operator_stands_on_a_line() {
        let cases = [
            ("", ""),
            ("  T|where a==1|take 5  ", "T\n| where a == 1\n| take 5\n"),
            ("let x=5;T|where a>x", "let x = 5;\nT\n| where a>x\n"),
            ("let t=T|where a;t|count", "let t = T\n    | where a;\nt\n| count\n"),
            ("T|project-away a*,b", "T\n| project-away a*, b\n"),
            (
                "T | join kind = inner (U|where a|project b) on b",
                "T\n| join kind=inner (\n    U\n    | where a\n    | project b\n) on b\n",
            ),
            ("T | where a in(1,2 , 3)", "T\n| where a in (1, 2, 3)\n"),
            ("let f=(a:long){a*2};print f( 2 )", "let f = (a:long){a*2};\nprint f(2)\n"),
            ("let f=(a:long){T|where x==a};f(2)", "let f = (a:long){\n    T\n    | where x == a\n};\nf(2)\n"),
            ("T // head\n// all\n|where a // why\n|take 1", "T // head\n// all\n| where a // why\n| take 1\n"),
            ("T|where a\n and b", "T\n| where a\n    and b\n"),
            ("datatable(a:long)[\n1,\n2]|count", "datatable(a:long)[\n    1,\n    2]\n| count\n"),
            ("A|count\n\n\n\nB|count", "A\n| count\n\nB\n| count\n"),
            ("T\n\n|count", "T\n| count\n"),
            ("print x=dynamic({'a':1,'b':[1,2]})", "print x = dynamic({'a':1, 'b':[1, 2]})\n"),
            (
                "N|make-graph a-->b with X on id|graph-match (x)-[e*1..3]->(y) project x.id",
                "N\n| make-graph a-->b with X on id\n| graph-match (x)-[e*1..3]->(y) project x.id\n",
            ),
            ("T | where x = ~ y", "T\n| where x = ~ y\n"),
            ("T|extend kind=1", "T\n| extend kind = 1\n"),
            ("T|where (a|b", "T\n| where (\n    a\n    | b\n"),
            ("print 'open", "print 'open"),
        ];
        for (text, laid) in cases {
            check(text, laid);
        }
    }
}
