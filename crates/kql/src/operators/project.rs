//! `project`, `extend`, and the operators that only choose, name or order columns.

use crate::Span;
use crate::bind::naming::{Columns, apart};
use crate::bind::{Binder, Bound, Label, names};
use crate::lower::relation::{Field, Names, Relation};
use crate::syntax::ast::{Expr, ExprKind, Name, SortKey};
use datafusion::logical_expr::Expr as PlanExpr;

/// `project`: these columns and no others.
pub(crate) fn project(b: &mut Binder<'_>, list: &[Expr], input: Relation, span: Span) -> Relation {
    let columns = columns(b, list, &input);
    finish(b, columns.items, input, span)
}

/// A list of columns as `project` and `distinct` take it.
pub(crate) fn columns(b: &mut Binder<'_>, list: &[Expr], input: &Relation) -> Columns {
    let mut columns = Columns::default();
    for item in list {
        let (names, compound, value) = apart(item);
        let bound = b.scalar(value, input);
        if let Some(parts) = parts(b, value, &bound) {
            several_values(b, names, parts, &mut columns);
            continue;
        }
        match names {
            [] => {
                let name = bound.label.text().unwrap_or_default().to_owned();
                if !columns.imply(bound) {
                    b.twice(value.span, &name);
                }
            }
            [name] if !compound || !name.text.is_empty() => {
                if !columns.write(&name.text, bound) {
                    b.twice(name.span, &name.text);
                }
            }
            _ => several(b, item, names, bound, &mut columns),
        }
    }
    columns
}

/// The values of a function that gives several, where it stands for a column itself.
pub(crate) fn parts(b: &mut Binder<'_>, value: &Expr, bound: &Bound) -> Option<Vec<Bound>> {
    let ExprKind::Call { name, .. } = &value.kind else { return None };
    let parts = crate::functions::decompose::parts(&name.text)?;
    let prefix = bound.label.text().unwrap_or(&name.text).to_owned();
    let part = |(part, kind): &(&str, crate::Type)| {
        let value = crate::functions::property(bound.expr.clone(), part);
        b.converted(Bound::new(value, crate::Type::Dynamic), *kind).labelled(Label::Implied(format!("{prefix}_{part}")))
    };
    Some(parts.iter().map(part).collect())
}

/// A column for each value: named as written as far as there are names, then as the function names it.
pub(crate) fn several_values(b: &mut Binder<'_>, names: &[Name], parts: Vec<Bound>, columns: &mut Columns) {
    surplus(b, names, parts.len());
    for (at, bound) in parts.into_iter().enumerate() {
        match names.get(at).filter(|n| !n.text.is_empty()) {
            Some(name) => {
                if !columns.write(&name.text, bound) {
                    b.twice(name.span, &name.text);
                }
            }
            None => {
                let _ = columns.imply(bound);
            }
        }
    }
}

/// Says that there are more names than values.
fn surplus(b: &mut Binder<'_>, names: &[Name], values: usize) {
    for name in names.iter().skip(values) {
        b.error("KS150", name.span, "there is no value for this name");
    }
}

/// `(a, b) = value`: only what gives several values can be taken apart.
fn several(b: &mut Binder<'_>, item: &Expr, names: &[Name], bound: Bound, columns: &mut Columns) {
    if bound.kind != crate::Type::Unknown {
        b.error("KS149", item.span, "this does not give several values");
    }
    for name in names.iter().filter(|n| !n.text.is_empty()) {
        let _ = columns.write(&name.text, Bound::unknown());
    }
}

/// `extend`: more columns, or columns in the place of others. All see the columns that came in.
pub(crate) fn extend(b: &mut Binder<'_>, list: &[Expr], input: Relation, span: Span) -> Relation {
    let mut items: Vec<(Field, PlanExpr)> = input.all();
    let mut taken = Names::of(&input.fields);
    let mut written: Vec<String> = vec![];
    let mut unnamed = Columns::beside(taken.clone());
    for item in list {
        let (names, _, value) = apart(item);
        let bound = b.scalar(value, &input);
        if let Some(parts) = parts(b, value, &bound) {
            surplus(b, names, parts.len());
            for (at, bound) in parts.into_iter().enumerate() {
                let written_name = names.get(at).filter(|n| !n.text.is_empty());
                let implied = bound.label.text().unwrap_or_default().to_owned();
                let name = match written_name {
                    Some(name) if written.contains(&name.text) => {
                        b.twice(name.span, &name.text);
                        continue;
                    }
                    Some(name) => name.text.clone(),
                    None if written.contains(&implied) => taken.take(&implied),
                    None => implied,
                };
                written.push(name.clone());
                let _ = taken.take(&name);
                set(&mut items, &name, bound);
            }
            continue;
        }
        let name = match names {
            [name] => {
                if written.contains(&name.text) {
                    b.twice(name.span, &name.text);
                    continue;
                }
                written.push(name.text.clone());
                name.text.clone()
            }
            [] => match &bound.label {
                // A column as it is adds nothing.
                Label::Column(name) if input.field(name).is_some() => continue,
                Label::Column(name) | Label::Implied(name) => {
                    if written.contains(name) {
                        taken.take(name)
                    } else {
                        name.clone()
                    }
                }
                Label::None => unnamed.number(),
            },
            several => {
                if bound.kind != crate::Type::Unknown {
                    b.error("KS149", item.span, "this does not give several values");
                }
                for name in several.iter().filter(|n| !n.text.is_empty()) {
                    set(&mut items, &name.text, Bound::unknown());
                    written.push(name.text.clone());
                }
                continue;
            }
        };
        let _ = taken.take(&name);
        set(&mut items, &name, bound);
    }
    finish(b, items, input, span)
}

/// Puts a column in the place of the one of its name, or at the end.
pub(crate) fn set(items: &mut Vec<(Field, PlanExpr)>, name: &str, bound: Bound) {
    match items.iter_mut().find(|(f, _)| f.name == name) {
        Some(item) => {
            item.0.kind = bound.kind;
            item.1 = bound.expr;
        }
        None => items.push((Field::new(name, bound.kind), bound.expr)),
    }
}

/// The projection, after what its expressions need.
pub(crate) fn finish(b: &mut Binder<'_>, items: Vec<(Field, PlanExpr)>, input: Relation, span: Span) -> Relation {
    let mut like = input.clone();
    like.fields = items.iter().map(|(f, _)| f.clone()).collect();
    let prepared = b.prepare(span, input);
    let planned = prepared.project(items);
    b.settle(span, &like, planned)
}

/// Names that a list of names and wildcards means, in the order of the list.
fn chosen(b: &mut Binder<'_>, list: &[Expr], input: &Relation) -> Vec<String> {
    let mut chosen: Vec<String> = vec![];
    for item in list {
        for name in matching(b, item, input) {
            if !chosen.contains(&name) {
                chosen.push(name);
            }
        }
    }
    chosen
}

fn matching(b: &mut Binder<'_>, item: &Expr, input: &Relation) -> Vec<String> {
    match &item.kind {
        ExprKind::Name(name) => {
            if input.field(&name.text).is_some() || input.open {
                return vec![name.text.clone()];
            }
            b.no_column(name, input);
            vec![]
        }
        ExprKind::Wildcard(pattern) => {
            let found: Vec<String> =
                input.fields.iter().map(|f| f.name.clone()).filter(|n| names::fits(&pattern.text, n)).collect();
            if found.is_empty() && !input.open {
                b.error("KS142", pattern.span, format!("no column fits `{}`", pattern.text));
            }
            found
        }
        ExprKind::Star => input.fields.iter().map(|f| f.name.clone()).collect(),
        ExprKind::Missing => vec![],
        _ => {
            b.error("KS109", item.span, "the name of a column is expected here");
            vec![]
        }
    }
}

/// `project-away`: all columns but these.
pub(crate) fn away(b: &mut Binder<'_>, list: &[Expr], input: Relation, span: Span) -> Relation {
    let chosen = chosen(b, list, &input);
    let items = input.all().into_iter().filter(|(f, _)| !chosen.contains(&f.name)).collect();
    finish(b, items, input, span)
}

/// `project-keep`: these columns, in the order that they have.
pub(crate) fn keep(b: &mut Binder<'_>, list: &[Expr], input: Relation, span: Span) -> Relation {
    let chosen = chosen(b, list, &input);
    let items = input.all().into_iter().filter(|(f, _)| chosen.contains(&f.name)).collect();
    finish(b, items, input, span)
}

/// `project-rename new = old`.
pub(crate) fn rename(b: &mut Binder<'_>, list: &[Expr], input: Relation, span: Span) -> Relation {
    let mut items = input.all();
    for item in list {
        let (names, _, value) = apart(item);
        let ([new], ExprKind::Name(old)) = (names, &value.kind) else {
            b.error("KS110", item.span, "`new = old` is expected here");
            continue;
        };
        if input.field(&old.text).is_none() {
            if !input.open {
                b.no_column(old, &input);
            }
            continue;
        }
        if items.iter().any(|(f, _)| f.name == new.text) && new.text != old.text {
            b.twice(new.span, &new.text);
            continue;
        }
        if let Some((field, _)) = items.iter_mut().find(|(f, _)| f.name == old.text) {
            field.name.clone_from(&new.text);
        }
    }
    finish(b, items, input, span)
}

/// `project-reorder`: these columns first, the others after them.
pub(crate) fn reorder(b: &mut Binder<'_>, list: &[SortKey], input: Relation, span: Span) -> Relation {
    let mut chosen: Vec<String> = vec![];
    for key in list {
        let mut found = matching(b, &key.value, &input);
        found.retain(|n| !chosen.contains(n));
        match key.ascending {
            Some(true) => found.sort_by(|a, b| natural(a, b)),
            Some(false) => found.sort_by(|a, b| natural(b, a)),
            None => {}
        }
        chosen.extend(found);
    }
    let mut items: Vec<(Field, PlanExpr)> = vec![];
    for name in &chosen {
        if let Some(field) = input.field(name) {
            items.push((field.clone(), Relation::column(name)));
        }
    }
    items.extend(input.all().into_iter().filter(|(f, _)| !chosen.contains(&f.name)));
    finish(b, items, input, span)
}

fn natural(a: &str, b: &str) -> std::cmp::Ordering {
    a.cmp(b)
}
