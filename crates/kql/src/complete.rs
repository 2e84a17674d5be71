//! What can be written at a place of a query: works on broken text, and offers only what the engine runs.
//!
//! The place is found by tokens: which operator of which pipeline it stands in, and what stands right before it. The
//! columns in scope are those that the text up to the bar before that operator gives, as the analyser tells.

use crate::functions::{Kind, capabilities};
use crate::syntax::{Token, TokenKind, lex, query_at};
use crate::{Catalog, Context, Span, analyze};
use std::collections::BTreeSet;

/// What kind of thing is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CompletionKind {
    /// A column in scope.
    Column,
    /// A name that a `let` gives.
    Variable,
    /// A table.
    Table,
    /// A query operator.
    Operator,
    /// A word of the grammar.
    Keyword,
    /// A scalar or window function.
    Function,
    /// An aggregate function.
    Aggregate,
    /// A value that fits: a kind of join, a kind of chart.
    Value,
}

/// Something that can be written.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Completion {
    /// What is shown.
    pub label: String,
    /// What kind of thing it is.
    pub kind: CompletionKind,
    /// What is written in place of `replace`.
    pub insert: String,
    /// Its type or signature.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What it takes the place of: the word that was begun.
    #[serde(skip)]
    pub replace: Span,
}

/// Operators after a bar, as far as the engine runs them; a test asks the analyser for each.
pub const OPERATORS: &[&str] = &[
    "as",
    "consume",
    "count",
    "distinct",
    "evaluate",
    "extend",
    "getschema",
    "graph-mark-components",
    "graph-match",
    "graph-shortest-paths",
    "graph-to-table",
    "invoke",
    "join",
    "limit",
    "lookup",
    "make-graph",
    "make-series",
    "mv-apply",
    "mv-expand",
    "order by",
    "parse",
    "parse-kv",
    "parse-where",
    "partition",
    "project",
    "project-away",
    "project-keep",
    "project-rename",
    "project-reorder",
    "render",
    "sample",
    "sample-distinct",
    "scan",
    "search",
    "serialize",
    "sort by",
    "summarize",
    "take",
    "top",
    "top-hitters",
    "top-nested",
    "union",
    "where",
];

/// What a pipeline may begin with, besides tables.
const SOURCES: &[&str] = &["datatable", "find", "print", "range", "search", "union"];

const TEXT_OPERATORS: &[&str] = &[
    "==",
    "!=",
    "=~",
    "!~",
    "has",
    "!has",
    "has_cs",
    "!has_cs",
    "has_any",
    "has_all",
    "hasprefix",
    "!hasprefix",
    "hassuffix",
    "!hassuffix",
    "contains",
    "!contains",
    "contains_cs",
    "!contains_cs",
    "startswith",
    "!startswith",
    "startswith_cs",
    "!startswith_cs",
    "endswith",
    "!endswith",
    "endswith_cs",
    "!endswith_cs",
    "in",
    "!in",
    "in~",
    "!in~",
    "matches regex",
    "between",
    "!between",
    "<",
    "<=",
    ">",
    ">=",
];

const JOIN_KINDS: &[&str] = &[
    "anti",
    "fullouter",
    "inner",
    "innerunique",
    "leftanti",
    "leftantisemi",
    "leftouter",
    "leftsemi",
    "rightanti",
    "rightantisemi",
    "rightouter",
    "rightsemi",
];

const CHARTS: &[&str] = &[
    "anomalychart",
    "areachart",
    "barchart",
    "card",
    "columnchart",
    "linechart",
    "piechart",
    "scatterchart",
    "stackedareachart",
    "table",
    "timechart",
];

const TYPES: &[&str] = &["bool", "datetime", "decimal", "dynamic", "guid", "int", "long", "real", "string", "timespan"];

const PLUGINS: &[&str] = &["bag_unpack", "ipv4_lookup", "narrow", "pivot"];

/// Words after which a value is asked for, though they look like one.
const ASKING: &[&str] = &[
    "and",
    "or",
    "by",
    "on",
    "of",
    "where",
    "filter",
    "extend",
    "project",
    "summarize",
    "distinct",
    "in",
    "!in",
    "in~",
    "!in~",
    "has_any",
    "has_all",
    "regex",
    "print",
    "with",
    "from",
    "to",
    "step",
    "take",
    "limit",
    "top",
    "serialize",
    "parse",
    "invoke",
    "away",
    "keep",
    "rename",
    "reorder",
    "expand",
    "apply",
    "kv",
    "series",
    "distinct",
    "nested",
    "hitters",
    "sample",
    "default",
];

/// Brackets that are looked through to find the operator around the cursor; deeper ones get no completions.
const BRACKETS_MAX: usize = 64;

/// Completions offered at most: more than any list on a screen, and a bound for catalogs of any size.
const COMPLETIONS_MAX: usize = 2_000;

/// What can be written at a place of a text, those first that begin with what is there already.
#[must_use]
pub fn complete(text: &str, offset: usize, catalog: &dyn Catalog) -> Vec<Completion> {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    let start = query_at(text, offset).filter(|q| q.start <= offset).map_or(0, |q| q.start);
    let Some(head) = text.get(start..offset) else { return Vec::new() };
    let all = lex(head);
    // Nothing is offered inside of a comment or of a text.
    let inside = |t: &Token| match t.kind {
        TokenKind::Comment => true,
        TokenKind::OpenText => t.span.end == head.len(),
        _ => false,
    };
    if all.last().is_some_and(inside) {
        return Vec::new();
    }
    let mut tokens: Vec<Token> = all.into_iter().filter(|t| !t.is_trivia()).collect();
    let mut begun = take_begun(head, &mut tokens);
    begun = Span::new(begun.start + start, begun.end + start);
    let place = Place { head, tokens: &tokens, catalog };
    let mut found = Found { items: Vec::new(), seen: BTreeSet::new(), replace: begun };
    place.offer(&mut found);
    let word = text.get(begun.start..begun.end).unwrap_or_default().to_lowercase();
    let mut items = found.items;
    let rank = |c: &Completion| {
        let label = c.label.to_lowercase();
        if label.starts_with(&word) { 0 } else { u8::from(!label.contains(&word)) + 1 }
    };
    items.retain(|c| rank(c) < 2);
    items.sort_by(|a, b| (rank(a), a.kind, &a.label).cmp(&(rank(b), b.kind, &b.label)));
    items.truncate(COMPLETIONS_MAX);
    items
}

/// Takes the word that ends at the cursor off the tokens: with its hyphens when it is an operator's.
fn take_begun(head: &str, tokens: &mut Vec<Token>) -> Span {
    let end = head.len();
    let mut begun = Span::new(end, end);
    let word = |t: &Token| head.get(t.span.start..t.span.end).unwrap_or_default();
    let mut left = tokens.len();
    while let Some(token) = left.checked_sub(1).and_then(|i| tokens.get(i)) {
        let part = token.kind == TokenKind::Word || (token.kind == TokenKind::Sign && matches!(word(token), "-" | "!"));
        if token.span.end != begun.start || !part {
            break;
        }
        begun.start = token.span.start;
        left -= 1;
    }
    // Hyphens join the words of an operator; elsewhere `a-b` is a difference, of which only `b` was begun.
    let after_bar = left.checked_sub(1).and_then(|i| tokens.get(i)).is_some_and(|t| word(t) == "|");
    if !after_bar {
        let last = tokens.last().filter(|t| t.span.end == end && t.kind == TokenKind::Word);
        begun.start = last.map_or(end, |t| t.span.start);
        left = tokens.len() - usize::from(last.is_some());
    }
    tokens.truncate(left);
    begun
}

struct Found {
    items: Vec<Completion>,
    seen: BTreeSet<(String, CompletionKind)>,
    replace: Span,
}

impl Found {
    fn push(&mut self, kind: CompletionKind, label: &str, insert: String, detail: Option<String>) {
        if self.seen.insert((label.to_owned(), kind)) {
            self.items.push(Completion { label: label.to_owned(), kind, insert, detail, replace: self.replace });
        }
    }

    fn words(&mut self, kind: CompletionKind, words: &[&str]) {
        for word in words {
            self.push(kind, word, format!("{word} "), None);
        }
    }

    fn values(&mut self, words: &[&str]) {
        for word in words {
            self.push(CompletionKind::Value, word, (*word).to_owned(), None);
        }
    }
}

struct Place<'a> {
    head: &'a str,
    /// Solid tokens before the word that was begun.
    tokens: &'a [Token],
    catalog: &'a dyn Catalog,
}

/// The operator that the cursor stands in.
struct Within {
    /// Its word, with hyphens; empty in a pipeline's source.
    operator: String,
    /// Index of the first token of the pipeline's text.
    first: usize,
    /// Index of the bar before the operator.
    bar: Option<usize>,
    /// Index of the operator's first token after its word.
    arguments: usize,
    /// Word before the bracket that the pipeline stands in.
    opened_by: Option<usize>,
}

impl<'a> Place<'a> {
    fn word(&self, at: usize) -> &'a str {
        self.tokens.get(at).and_then(|t| self.head.get(t.span.start..t.span.end)).unwrap_or_default()
    }

    fn last(&self, back: usize) -> &'a str {
        self.tokens.len().checked_sub(back).map_or("", |at| self.word(at))
    }

    fn is_sign(&self, at: usize) -> bool {
        self.tokens.get(at).is_some_and(|t| t.kind == TokenKind::Sign)
    }

    /// Index of the token after the bracket that stands open around `at`, and whether there is one.
    fn open_before(&self, mut at: usize) -> Option<usize> {
        let mut depth = 0_usize;
        while at > 0 {
            at -= 1;
            if !self.is_sign(at) {
                continue;
            }
            match self.word(at) {
                ")" | "]" | "}" => depth += 1,
                "(" | "[" | "{" if depth == 0 => return Some(at),
                "(" | "[" | "{" => depth -= 1,
                _ => {}
            }
        }
        None
    }

    /// The innermost operator around the end of the tokens. Brackets of calls and lists are passed over; those that
    /// hold a pipeline of their own are not.
    fn within(&self) -> Within {
        let mut end = self.tokens.len();
        for _ in 0..BRACKETS_MAX {
            let open = self.open_before(end);
            let floor = open.map_or(0, |o| o + 1);
            let (mut bar, mut first, mut depth) = (None, floor, 0_usize);
            for at in (floor..end).rev() {
                if !self.is_sign(at) {
                    continue;
                }
                match self.word(at) {
                    ")" | "]" | "}" => depth += 1,
                    "(" | "[" | "{" => depth = depth.saturating_sub(1),
                    "|" if depth == 0 => bar = bar.or(Some(at)),
                    ";" if depth == 0 => {
                        first = at + 1;
                        break;
                    }
                    _ => {}
                }
            }
            if self.word(first) == "let" && self.word(first + 2) == "=" {
                first += 3;
            }
            let opener = open.and_then(|o| o.checked_sub(1));
            let opened_rows = opener.is_none_or(|o| self.opens_rows(o));
            if bar.is_some() || open.is_none() || opened_rows || first > floor {
                let generator =
                    SOURCES.contains(&self.word(first)) || matches!(opener.map(|o| self.word(o)), Some("on"));
                let from = bar.map_or(first, |b| b + 1);
                let (operator, arguments) =
                    if bar.is_some() || generator { self.operator_at(from) } else { (String::new(), from) };
                return Within { operator, first, bar, arguments, opened_by: opener };
            }
            end = open.unwrap_or(0);
        }
        let first = self.tokens.len();
        Within { operator: String::new(), first, bar: None, arguments: first, opened_by: Some(first) }
    }

    /// Whether a bracket after the word at `at` holds rows rather than a value.
    fn opens_rows(&self, at: usize) -> bool {
        match self.word(at) {
            "join" | "lookup" | "union" | "on" | "toscalar" | "materialize" | "totable" | "in" | "!in" => true,
            ")" => self.word(at + 1) == "{",
            "=" => at >= 2 && self.word(at - 2) == "let",
            "inner" | "innerunique" | "fullouter" | "leftouter" | "rightouter" | "leftanti" | "leftsemi"
            | "rightanti" | "rightsemi" | "anti" | "leftantisemi" | "rightantisemi" | "outer" => {
                at >= 1 && self.word(at - 1) == "="
            }
            "," => {
                let start = (0..at).rev().find(|i| self.is_sign(*i) && matches!(self.word(*i), "|" | ";"));
                self.word(start.map_or(0, |s| s + 1)) == "union"
            }
            _ => false,
        }
    }

    /// An operator's word with its hyphens, and the index after it.
    fn operator_at(&self, at: usize) -> (String, usize) {
        let mut name = self.word(at).to_owned();
        let mut next = at + 1;
        let touches = |a: usize| match (self.tokens.get(a), self.tokens.get(a + 1)) {
            (Some(a), Some(b)) => a.span.end == b.span.start,
            _ => false,
        };
        while self.word(next) == "-" && touches(next - 1) && touches(next) {
            name.push('-');
            name.push_str(self.word(next + 1));
            next += 2;
        }
        (name, next)
    }

    fn offer(&self, out: &mut Found) {
        use CompletionKind as K;
        let within = self.within();
        let (last, before) = (self.last(1), self.last(2));
        let at_start = within.bar.is_none() && self.tokens.len() == within.first;
        match (before, last) {
            (_, "|") => return out.words(K::Operator, OPERATORS),
            ("kind", "=") if within.operator == "join" => return out.values(JOIN_KINDS),
            ("kind", "=") if within.operator == "lookup" => return out.values(&["inner", "leftouter"]),
            ("kind", "=") if within.operator == "union" => return out.values(&["inner", "outer"]),
            ("kind", "=") if within.operator.starts_with("parse") => {
                return out.values(&["regex", "relaxed", "simple"]);
            }
            ("isfuzzy", "=") => return out.values(&["true", "false"]),
            ("typeof", "(") => return out.values(TYPES),
            (_, ":") => return out.values(TYPES),
            (_, "render") => return out.values(CHARTS),
            (_, "evaluate") => return out.values(PLUGINS),
            ("$left" | "$right", ".") => return self.columns(&within, before == "$right", out),
            // The properties of a dynamic value are in the rows; nobody knows them here.
            (_, ".") => return,
            _ => {}
        }
        if at_start {
            if within.opened_by.is_none() {
                out.words(K::Keyword, &["let"]);
            }
            if within.opened_by.is_some_and(|o| self.word(o) == "on") {
                out.words(K::Operator, OPERATORS);
                return;
            }
            return self.sources(out);
        }
        match within.operator.as_str() {
            "union" | "join" | "lookup" => return self.join(&within, out),
            "" if self.ends_value() => return,
            _ => {}
        }
        if self.ends_value() {
            self.after_value(&within, out);
        } else {
            self.columns(&within, false, out);
            self.variables(out);
            self.functions(&within, out);
        }
    }

    /// Whether the last token ends a value, so that an operator between values follows.
    fn ends_value(&self) -> bool {
        let Some(token) = self.tokens.last() else { return false };
        match token.kind {
            TokenKind::Text | TokenKind::Integer | TokenKind::Real | TokenKind::Timespan => true,
            TokenKind::Word => {
                let word = self.last(1);
                !ASKING.contains(&word) && (!TEXT_OPERATORS.contains(&word) || word.is_empty())
            }
            TokenKind::Sign => matches!(self.last(1), ")" | "]" | "*"),
            _ => false,
        }
    }

    fn after_value(&self, within: &Within, out: &mut Found) {
        use CompletionKind as K;
        match within.operator.as_str() {
            "where" | "filter" | "search" | "find" => {
                out.words(K::Keyword, TEXT_OPERATORS);
                out.words(K::Keyword, &["and", "or"]);
            }
            "summarize" | "make-series" => {
                out.words(K::Keyword, &["by"]);
                if within.operator == "make-series" {
                    out.words(K::Keyword, &["on", "from", "to", "step", "default"]);
                }
            }
            "sort" | "order" | "top" => {
                out.words(K::Keyword, &["by", "asc", "desc", "nulls first", "nulls last"]);
            }
            "mv-expand" | "mv-apply" => out.words(K::Keyword, &["to typeof(", "limit", "on"]),
            "parse" | "parse-where" => out.words(K::Keyword, &["with"]),
            "parse-kv" => out.words(K::Keyword, &["as", "with"]),
            "top-nested" | "top-hitters" | "sample-distinct" => out.words(K::Keyword, &["of", "by"]),
            "range" => out.words(K::Keyword, &["from", "to", "step"]),
            "render" => out.words(K::Keyword, &["with"]),
            _ => {}
        }
        if matches!(within.operator.as_str(), "extend" | "project" | "print" | "summarize" | "serialize") {
            out.words(K::Keyword, TEXT_OPERATORS);
            out.words(K::Keyword, &["and", "or"]);
        }
    }

    /// In `join`, `lookup` and `union`: properties, what is read, the keys.
    fn join(&self, within: &Within, out: &mut Found) {
        use CompletionKind as K;
        let arguments = within.arguments..self.tokens.len();
        if arguments.clone().any(|at| self.word(at) == "on") {
            out.values(&["$left", "$right"]);
            return self.columns(within, false, out);
        }
        if arguments.is_empty() {
            for property in ["kind", "withsource", "isfuzzy"] {
                if within.operator == "union" || property == "kind" {
                    out.push(K::Keyword, property, format!("{property}="), None);
                }
            }
        }
        let rows_done = self.ends_value() && self.last(2) != "=";
        if rows_done && within.operator != "union" {
            return out.words(K::Keyword, &["on"]);
        }
        if !rows_done {
            self.sources(out);
        }
    }

    fn sources(&self, out: &mut Found) {
        for name in self.catalog.names() {
            let insert = if is_plain(&name) { name.clone() } else { format!("['{}']", name.replace('\'', "\\'")) };
            out.push(CompletionKind::Table, &name, insert, None);
        }
        self.variables(out);
        out.words(CompletionKind::Operator, SOURCES);
    }

    /// Names of the `let` statements before the cursor.
    fn variables(&self, out: &mut Found) {
        for at in 0..self.tokens.len() {
            if self.word(at) == "let" && self.word(at + 2) == "=" && self.tokens.len() > at + 3 {
                let name = self.word(at + 1);
                out.push(CompletionKind::Variable, name, name.to_owned(), None);
            }
        }
    }

    fn functions(&self, within: &Within, out: &mut Found) {
        // Aggregates belong into `summarize` and its kin, before `by`.
        let aggregating = matches!(within.operator.as_str(), "summarize" | "make-series" | "top-nested" | "mv-apply");
        let keys = aggregating && (within.arguments..self.tokens.len()).any(|at| self.word(at) == "by");
        for function in capabilities() {
            let kind = match function.kind {
                Kind::Aggregate if !aggregating || (keys && within.operator != "top-nested") => continue,
                Kind::Aggregate => CompletionKind::Aggregate,
                Kind::Scalar | Kind::Window => CompletionKind::Function,
            };
            out.push(kind, function.name, format!("{}(", function.name), Some(function.signature));
        }
    }

    /// Columns that the operator reads; of the right side of its join when asked so.
    fn columns(&self, within: &Within, right: bool, out: &mut Found) {
        let text = if right { self.right_side(within) } else { self.left_side(within) };
        let Some(text) = text else { return };
        let analysis = analyze(&text, self.catalog, &Context::at(0));
        let known = analysis.columns.unwrap_or_else(|| {
            // The text before has a mistake, or its columns depend on rows: the tables it names are the best guess.
            let names = lex(&text).into_iter().filter(|t| t.kind == TokenKind::Word);
            let shapes = names.filter_map(|t| self.catalog.shape(text.get(t.span.start..t.span.end)?));
            shapes.take(8).flat_map(|s| s.columns.clone()).collect()
        });
        for column in known {
            let plain = is_plain(&column.name);
            let insert = if plain { column.name.clone() } else { format!("['{}']", column.name.replace('\'', "\\'")) };
            out.push(CompletionKind::Column, &column.name, insert, Some(column.kind.name().to_owned()));
        }
    }

    /// Statements before the cursor's, with their semicolons.
    fn statements(&self) -> &'a str {
        let mut depth = 0_usize;
        let mut end = 0;
        for (at, token) in self.tokens.iter().enumerate() {
            match self.word(at) {
                "(" | "[" | "{" if token.kind == TokenKind::Sign => depth += 1,
                ")" | "]" | "}" if token.kind == TokenKind::Sign => depth = depth.saturating_sub(1),
                ";" if depth == 0 => end = token.span.end,
                _ => {}
            }
        }
        self.head.get(..end).unwrap_or_default()
    }

    fn left_side(&self, within: &Within) -> Option<String> {
        // The rows of a part (`mv-apply … on (`, `partition by x (`) are those of the operator around it.
        let start = self.tokens.get(within.first)?.span.start;
        let end = match within.bar {
            Some(bar) => self.tokens.get(bar)?.span.start,
            None => return self.around(within),
        };
        let part = self.head.get(start..end)?;
        Some(format!("{}\n{part}", self.statements()))
    }

    /// What stands before the operator whose bracket the cursor's pipeline begins in.
    fn around(&self, within: &Within) -> Option<String> {
        let opener = within.opened_by?;
        let outer = Place { tokens: self.tokens.get(..opener)?, ..*self };
        let around = outer.within();
        let bar = self.tokens.get(around.bar?)?.span.start;
        let start = self.tokens.get(around.first)?.span.start;
        Some(format!("{}\n{}", self.statements(), self.head.get(start..bar)?))
    }

    /// The text in the first bracket of a join, or the table that it names.
    fn right_side(&self, within: &Within) -> Option<String> {
        let on = (within.arguments..self.tokens.len()).find(|at| self.word(*at) == "on")?;
        let last = on.checked_sub(1)?;
        let (first, last) = if self.word(last) == ")" { (self.open_before(last)? + 1, last) } else { (last, on) };
        let (start, end) = (self.tokens.get(first)?.span.start, self.tokens.get(last)?.span.start);
        Some(format!("{}\n{}", self.statements(), self.head.get(start..end)?))
    }
}

fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '$')
}

#[cfg(test)]
mod tests;
