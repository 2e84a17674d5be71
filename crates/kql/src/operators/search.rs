//! `search` and `find`: a predicate over many tables.

use crate::bind::words::property_word;
use crate::bind::{Binder, Bound};
use crate::functions::Binary;
use crate::lower::fold;
use crate::lower::predicate;
use crate::lower::relation::{Field, Relation};
use crate::syntax::ast::{Expr, ExprKind, Literal, Name, Property};
use crate::{Span, Type};
use datafusion::logical_expr::{Expr as PlanExpr, lit};

/// The tables that are searched: those named, else the rows before, else all tables.
fn parts(b: &mut Binder<'_>, rows: &[Expr], input: Option<Relation>) -> Vec<(String, Relation)> {
    if let Some(input) = input {
        return vec![("union_arg0".to_owned(), input)];
    }
    let mut parts = vec![];
    if rows.is_empty() {
        for table in b.tables_like("*") {
            let relation = b.table(&table);
            parts.push((table, relation));
        }
        return parts;
    }
    for item in rows {
        match &item.kind {
            ExprKind::Wildcard(pattern) => {
                let tables = b.tables_like(&pattern.text);
                if tables.is_empty() {
                    b.no_table(pattern);
                }
                for table in tables {
                    let relation = b.table(&table);
                    parts.push((table, relation));
                }
            }
            ExprKind::Name(name) => {
                let relation = b.rows(item);
                parts.push((name.text.clone(), relation));
            }
            _ => {
                let number = format!("union_arg{}", parts.len());
                let relation = b.rows(item);
                parts.push((number, relation));
            }
        }
    }
    parts
}

/// `search`: rows in which some column has the term.
pub(crate) fn search(
    b: &mut Binder<'_>,
    properties: &[Property],
    rows: &[Expr],
    condition: &Expr,
    input: Option<Relation>,
    span: Span,
) -> Relation {
    b.known_properties(properties, &["kind"]);
    let sensitive = matches!(property_word(properties, "kind"), Some("case_sensitive"));
    let parts = parts(b, rows, input);
    let parts = filtered(b, parts, condition, sensitive, span);
    super::union::put(b, parts, Some("$table"), false, span)
}

/// The rows of each part that hold. A part that lacks a column of the condition holds none, unless all lack it.
fn filtered(
    b: &mut Binder<'_>,
    parts: Vec<(String, Relation)>,
    condition: &Expr,
    sensitive: bool,
    span: Span,
) -> Vec<(String, Relation)> {
    let names = condition_names(condition);
    for name in &names {
        let known = parts.iter().any(|(_, r)| r.open || r.field(&name.text).is_some())
            || b.environment.get(&name.text).is_some();
        if !known {
            let all = Relation { fields: vec![], ..crate::lower::source::nothing(vec![]) };
            b.no_column(name, &all);
        }
    }
    let mut out = vec![];
    for (label, relation) in parts {
        // A column that a table lacks has no value there.
        let mut wide = relation.clone();
        for name in &names {
            if wide.field(&name.text).is_none() && b.environment.get(&name.text).is_none() {
                wide.open = true;
            }
        }
        let lacks = wide.open && !relation.open;
        let holds = term(b, condition, &wide, sensitive);
        if lacks && !optional(condition) {
            let like = relation.clone();
            let planned = relation.filter(lit(false));
            out.push((label, b.settle(span, &like, planned)));
            continue;
        }
        let like = relation.clone();
        let prepared = b.prepare(span, relation);
        let planned = prepared.filter(holds);
        out.push((label, b.settle(span, &like, planned)));
    }
    out
}

/// Whether a condition can hold though one of its columns is absent: it has an `or`.
fn optional(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Binary { op, .. } if op.text == "or" => true,
        ExprKind::Binary { op, left, right } if op.text == "and" => optional(left) || optional(right),
        ExprKind::Parens(inner) => optional(inner),
        _ => false,
    }
}

/// Columns that a condition names.
fn condition_names(expr: &Expr) -> Vec<Name> {
    let mut names = vec![];
    let mut stack = vec![expr];
    while let Some(expr) = stack.pop() {
        match &expr.kind {
            ExprKind::Name(name) => names.push(name.clone()),
            ExprKind::Binary { left, right, .. } => stack.extend([left.as_ref(), right.as_ref()]),
            ExprKind::Member { left, list, .. } => {
                stack.push(left);
                stack.extend(list);
            }
            ExprKind::Between { left, low, high, .. } => stack.extend([left.as_ref(), low.as_ref(), high.as_ref()]),
            ExprKind::Parens(inner) | ExprKind::Unary { operand: inner, .. } => stack.push(inner),
            ExprKind::Path { base, .. } | ExprKind::Index { base, .. } => stack.push(base),
            ExprKind::Call { arguments, .. } => stack.extend(arguments),
            _ => {}
        }
    }
    names
}

/// A condition in which a text by itself means that some column has it.
fn term(b: &mut Binder<'_>, expr: &Expr, rows: &Relation, sensitive: bool) -> PlanExpr {
    match &expr.kind {
        ExprKind::Parens(inner) => term(b, inner, rows, sensitive),
        ExprKind::Binary { op, left, right } if matches!(op.text.as_str(), "and" | "or") => {
            let (l, r) = (term(b, left, rows, sensitive), term(b, right, rows, sensitive));
            if op.text == "and" { l.and(r) } else { l.or(r) }
        }
        ExprKind::Call { name, arguments } if name.text == "not" => match arguments.as_slice() {
            [only] => {
                let inner = term(b, only, rows, sensitive);
                let total = datafusion::functions::expr_fn::coalesce(vec![inner, lit(false)]);
                datafusion::logical_expr::not(total)
            }
            _ => b.predicate(expr, rows),
        },
        ExprKind::Literal(Literal::Text(text)) => anywhere(b, text, expr.span, rows, sensitive),
        ExprKind::Star => lit(true),
        _ => b.predicate(expr, rows),
    }
}

/// Some column has the term; with `*` at an edge, it may go on there.
fn anywhere(b: &mut Binder<'_>, text: &str, span: Span, rows: &Relation, sensitive: bool) -> PlanExpr {
    let (begins, ends) = (text.ends_with('*'), text.starts_with('*'));
    let bare = text.trim_matches('*').to_owned();
    if bare.is_empty() {
        return lit(true);
    }
    let operator = match (begins, ends, sensitive) {
        (true, true, false) => Binary::Contains,
        (true, true, true) => Binary::ContainsCs,
        (true, false, false) => Binary::HasPrefix,
        (true, false, true) => Binary::HasPrefixCs,
        (false, true, false) => Binary::HasSuffix,
        (false, true, true) => Binary::HasSuffixCs,
        (false, false, false) => Binary::Has,
        (false, false, true) => Binary::HasCs,
    };
    let needle = Bound::new(fold::text(bare), Type::Text);
    let op = Name { text: "has".to_owned(), span };
    predicate::for_filter(b.any_column(operator, &needle, &op, rows).expr)
}

/// `find`: rows that hold, with the columns that are asked for.
pub(crate) fn find(
    b: &mut Binder<'_>,
    properties: &[Property],
    rows: &[Expr],
    condition: &Expr,
    project: Option<&[Expr]>,
    input: Option<Relation>,
    span: Span,
) -> Relation {
    b.known_properties(properties, &["withsource", "datascope"]);
    let source = property_word(properties, "withsource").unwrap_or("source_").to_owned();
    let parts = parts(b, rows, input);
    let mut columns: Vec<Field> = vec![];
    let mut packs = false;
    match project {
        Some(list) => {
            for item in list {
                project_column(b, item, &parts, &mut columns, &mut packs);
            }
        }
        None => {
            // Without a list: what all tables have, what the condition names, and the rest in a bag.
            packs = true;
            let named: Vec<String> = condition_names(condition).into_iter().map(|n| n.text).collect();
            if let Some((_, first)) = parts.first() {
                for field in &first.fields {
                    let everywhere = parts.iter().all(|(_, r)| r.field(&field.name) == Some(field));
                    if parts.len() > 1 && everywhere && rows.len() == parts.len() {
                        columns.push(field.clone());
                    }
                }
            }
            for name in named {
                let field = parts.iter().find_map(|(_, r)| r.field(&name).cloned());
                if let Some(field) = field.filter(|f| !columns.iter().any(|c| c.name == f.name)) {
                    columns.push(field);
                }
            }
        }
    }
    let parts = filtered(b, parts, condition, false, span);
    let mut out = vec![];
    for (label, relation) in parts {
        let mut items: Vec<(Field, PlanExpr)> = vec![];
        for field in &columns {
            let expr = match relation.field(&field.name) {
                Some(have) => {
                    let bound = Bound::new(Relation::column(&have.name), have.kind);
                    b.converted(bound, field.kind).expr
                }
                None => fold::null(field.kind),
            };
            items.push((field.clone(), expr));
        }
        if packs {
            let rest = Relation {
                fields: relation.fields.iter().filter(|f| !columns.iter().any(|c| c.name == f.name)).cloned().collect(),
                ..relation.clone()
            };
            let packed = b.pack(&rest, true, span);
            items.push((Field::new("pack_", Type::Dynamic), packed.expr));
        }
        let mut like = relation.clone();
        like.fields = items.iter().map(|(f, _)| f.clone()).collect();
        let planned = relation.project(items);
        out.push((label, b.settle(span, &like, planned)));
    }
    super::union::put(b, out, Some(&source), false, span)
}

fn project_column(
    b: &mut Binder<'_>,
    item: &Expr,
    parts: &[(String, Relation)],
    columns: &mut Vec<Field>,
    packs: &mut bool,
) {
    match &item.kind {
        ExprKind::Name(name) => {
            let found = parts.iter().find_map(|(_, r)| r.field(&name.text).cloned());
            match found {
                Some(field) => columns.push(field),
                None => b.no_column(name, &crate::lower::source::nothing(vec![])),
            }
        }
        ExprKind::Named { names, value, .. } => {
            if let (Some(name), ExprKind::Name(kind)) = (names.first(), &value.kind) {
                let kind = b.kind(kind);
                columns.push(Field::new(name.text.clone(), kind));
            }
        }
        ExprKind::Call { name, .. } if name.text == "pack" || name.text == "pack_all" => *packs = true,
        ExprKind::Missing => {}
        _ => b.error("KS109", item.span, "the name of a column is expected here"),
    }
}
