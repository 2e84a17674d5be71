//! `parse`, `parse-where` and `parse-kv`: columns from a text by a pattern.
//!
//! A pattern becomes one regular expression. In the kinds `simple` and `relaxed` its texts are literal, its columns
//! lazy, and it must reach from the text's start (unless it begins with `*`) to its end (unless it ends with `*`);
//! in the kind `regex` its texts are expressions, its columns greedy, and it may stand anywhere.

use crate::bind::words::{property, property_word};
use crate::bind::{Binder, Bound};
use crate::lower::relation::{Field, Relation};
use crate::lower::{capture, fold};
use crate::syntax::ast::{ColumnDecl, Expr, ParsePart, Property};
use crate::{Span, Type};
use datafusion::functions::core::expr_fn::get_field;
use datafusion::logical_expr::{Expr as PlanExpr, lit, when};

/// What captures turn into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// One capture that does not convert empties all of them.
    Simple,
    /// Each converts by itself.
    Relaxed,
    /// The texts are regular expressions.
    Regex,
}

pub(crate) fn bind(
    b: &mut Binder<'_>,
    properties: &[Property],
    value: &Expr,
    pattern: &[ParsePart],
    filter: bool,
    input: Relation,
    span: Span,
) -> Relation {
    b.known_properties(properties, &["kind", "flags"]);
    let kind = match property_word(properties, "kind") {
        None | Some("simple") => Kind::Simple,
        Some("relaxed") => Kind::Relaxed,
        Some("regex") => Kind::Regex,
        Some(other) => {
            let text = format!("`{other}` is no kind of parse");
            b.error("KS140", span, text);
            Kind::Simple
        }
    };
    let bound = b.scalar(value, &input);
    let text = match bound.kind {
        Type::Text | Type::Dynamic => b.converted(bound, Type::Text),
        Type::Unknown => Bound::new(fold::text(""), Type::Text),
        other => {
            b.error("KS107", value.span, format!("a string is expected here, and this is `{}`", other.name()));
            Bound::new(fold::text(""), Type::Text)
        }
    };
    let flags = match property(properties, "flags") {
        Some(flags) => flags_of(b, flags, kind),
        None => String::new(),
    };
    let (regex, fields) = regex(b, pattern, kind, &flags);
    let mut like = input.clone();
    for field in &fields {
        match like.fields.iter_mut().find(|f| f.name == field.name) {
            Some(have) => have.kind = field.kind,
            None => like.fields.push(field.clone()),
        }
    }
    let regex = match capture::compile(&regex) {
        Ok(regex) => regex,
        Err(why) => {
            let line = why.lines().last().unwrap_or_default().to_owned();
            b.error("GQ101", span, format!("the pattern is no regular expression: {line}"));
            return like;
        }
    };
    let groups: Vec<usize> = fields
        .iter()
        .enumerate()
        .filter_map(|(at, _)| regex.capture_names().position(|n| n == Some(group(at).as_str())))
        .collect();
    let structure = capture::structure(text.expr, regex, groups);
    finish(b, structure, fields, kind == Kind::Simple, filter, input, &like, span)
}

/// Name of the pattern's group for the column at `at`.
fn group(at: usize) -> String {
    format!("kqlcolumn{at}")
}

fn flags_of(b: &mut Binder<'_>, flags: &Expr, kind: Kind) -> String {
    let word = crate::bind::words::word(flags).unwrap_or_default().to_owned();
    if kind != Kind::Regex {
        b.error("KS179", flags.span, "flags are for the kind regex");
        return String::new();
    }
    if word.chars().any(|c| !matches!(c, 'i' | 's' | 'm' | 'U')) {
        b.refuse(flags.span, format!("the flags `{word}` (i, s, m and U are)"));
        return String::new();
    }
    if word.is_empty() { word } else { format!("(?{word})") }
}

/// The pattern as one regular expression, and its columns.
fn regex(b: &mut Binder<'_>, pattern: &[ParsePart], kind: Kind, flags: &str) -> (String, Vec<Field>) {
    let literal = kind != Kind::Regex;
    let mut out = String::from(if literal { "(?s)^" } else { flags });
    let mut fields: Vec<Field> = vec![];
    let mut after_column: Option<(Type, Span)> = None;
    let last_star = matches!(pattern.last(), Some(ParsePart::Star(_)));
    for (at, part) in pattern.iter().enumerate() {
        match part {
            ParsePart::Text(text) => {
                let bound = b.scalar(text, &crate::lower::source::unit());
                match fold::as_text(&bound.expr).filter(|t| !t.is_empty()) {
                    Some(text) if literal => out.push_str(&regex::escape(&text)),
                    Some(text) => {
                        out.push_str("(?:");
                        out.push_str(&text);
                        out.push(')');
                    }
                    None if b.rehearsal > 0 || bound.kind == Type::Unknown => {}
                    None => b.error("KS104", text.span, "a text that is constant and not empty is expected here"),
                }
                after_column = None;
            }
            ParsePart::Star(span) => {
                if matches!(after_column, Some((Type::Text | Type::Dynamic, _))) && literal {
                    b.error("KS103", *span, "`*` after a text column is ambiguous");
                }
                out.push_str(".*?");
                after_column = None;
            }
            ParsePart::Column { name, kind: word } => {
                if let Some((_, span)) = after_column {
                    b.error("KS101", span.to(name.span), "between two columns there must be a text");
                }
                let column = word.as_ref().map_or(Type::Text, |w| b.kind(w));
                if fields.iter().any(|f| f.name == name.text) {
                    b.twice(name.span, &name.text);
                    continue;
                }
                let before_star = matches!(pattern.get(at + 1), Some(ParsePart::Star(_)));
                let optional = before_star && at + 2 == pattern.len();
                let body = match (literal, before_star) {
                    (true, false) => ".*?".to_owned(),
                    (true, true) => match shape(column) {
                        Some(shape) => shape.to_owned(),
                        None => ".*?".to_owned(),
                    },
                    (false, _) => shape(column).unwrap_or(".*").to_owned(),
                };
                let optional = if optional && literal { "?" } else { "" };
                out.push_str(&format!("(?P<{}>{body}){optional}", group(fields.len())));
                fields.push(Field::new(name.text.clone(), column));
                after_column = Some((column, name.span));
            }
        }
    }
    if literal && !last_star {
        out.push('$');
    }
    (out, fields)
}

/// What a typed column looks like where nothing else stops it.
const fn shape(kind: Type) -> Option<&'static str> {
    match kind {
        Type::Int | Type::Long => Some(r"[+\-]?\d+"),
        Type::Real | Type::Decimal => Some(r"[+\-]?\d+(?:\.\d+)?(?:[eE][+\-]?\d+)?"),
        Type::Bool => Some(r"(?i:true|false|[01])"),
        Type::Datetime => Some(r"\d[\d/:\-. TZ]*"),
        Type::Timespan => Some(r"[\-]?\d[\d:.]*"),
        Type::Guid => Some(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"),
        Type::Text | Type::Dynamic | Type::Unknown => None,
    }
}

#[allow(clippy::too_many_arguments, reason = "one step of two operators")]
fn finish(
    b: &mut Binder<'_>,
    structure: PlanExpr,
    fields: Vec<Field>,
    all_or_nothing: bool,
    filter: bool,
    input: Relation,
    like: &Relation,
    span: Span,
) -> Relation {
    let hidden = b.fresh("parsed");
    let parsed = Relation::column(&hidden);
    let hit = get_field(parsed.clone(), capture::HIT.to_owned());
    let mut whole = hit.clone();
    let mut values = vec![];
    for (at, field) in fields.iter().enumerate() {
        let text = get_field(parsed.clone(), capture::member(at));
        // An empty text is no number and no failure either: it is null.
        let value = if field.kind == Type::Text {
            datafusion::functions::expr_fn::coalesce(vec![text, fold::text("")])
        } else {
            let converted = b.converted(Bound::new(text, Type::Text), field.kind).expr;
            if all_or_nothing {
                whole = whole.and(converted.clone().is_not_null());
            }
            converted
        };
        values.push((field.clone(), value));
    }
    let mut items = input.all();
    for (field, value) in values {
        let null = fold::null(field.kind);
        let value = if all_or_nothing {
            when(whole.clone(), value).otherwise(null).unwrap_or_else(|_| lit(false))
        } else {
            value
        };
        super::project::set(&mut items, &field.name, Bound::new(value, field.kind));
    }
    let prepared = b.prepare(span, input);
    let planned = prepared
        .with_hidden(vec![(hidden, structure)])
        .and_then(|r| if filter { r.filter(if all_or_nothing { whole } else { hit }) } else { Ok(r) })
        .and_then(|r| r.project(items));
    b.settle(span, like, planned)
}

/// `parse-kv value as (columns) with (…)`.
pub(crate) fn pairs(
    b: &mut Binder<'_>,
    value: &Expr,
    columns: &[ColumnDecl],
    properties: &[Property],
    input: Relation,
    span: Span,
) -> Relation {
    let bound = b.scalar(value, &input);
    let text = b.converted(bound, Type::Text);
    let fields = b.declared(columns);
    let word = |name: &str| property_word(properties, name).map(str::to_owned);
    let pattern = word("regex").and_then(|pattern| match capture::compile(&pattern) {
        Ok(pattern) if pattern.captures_len() >= 3 => Some(pattern),
        Ok(_) => {
            b.error("GQ101", span, "the expression of parse-kv needs two groups: the key and its value");
            None
        }
        Err(why) => {
            b.error("GQ101", span, format!("the expression of parse-kv cannot be read: {why}"));
            None
        }
    });
    let quotes = word("quote").map(|q| {
        let mut chars = q.chars();
        let open = chars.next();
        open.map(|o| (o, chars.next().unwrap_or(o)))
    });
    let quotes: Vec<(char, char)> = match quotes {
        Some(Some(pair)) => vec![pair],
        Some(None) => vec![],
        None => vec![('"', '"'), ('\'', '\'')],
    };
    let how = capture::Pairs {
        pair: word("pair_delimiter").unwrap_or_else(|| " ".to_owned()),
        key_value: word("kv_delimiter").unwrap_or_else(|| "=".to_owned()),
        quotes,
        escape: word("escape").and_then(|e| e.chars().next()),
        greedy: property_word(properties, "greedy").is_some_and(|w| w == "true"),
    };
    let keys = fields.iter().map(|f| f.name.clone()).collect();
    let structure = match pattern {
        Some(pattern) => capture::matched_pairs(text.expr, keys, pattern),
        None => capture::pairs(text.expr, keys, how),
    };
    let mut like = input.clone();
    for field in &fields {
        match like.fields.iter_mut().find(|f| f.name == field.name) {
            Some(have) => have.kind = field.kind,
            None => like.fields.push(field.clone()),
        }
    }
    finish(b, structure, fields, false, false, input, &like, span)
}
