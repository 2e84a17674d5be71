//! `union`: rows of several tables, put together by the names of their columns.

use crate::bind::Binder;
use crate::bind::words::property_word;
use crate::lower::fold;
use crate::lower::relation::{Field, Names, Relation};
use crate::lower::source;
use crate::syntax::ast::{Expr, ExprKind, OperatorKind, Property};
use crate::{Diagnostic, Severity, Span, Type};
use datafusion::logical_expr::Expr as PlanExpr;

pub(crate) fn bind(
    b: &mut Binder<'_>,
    properties: &[Property],
    list: &[Expr],
    input: Option<Relation>,
    span: Span,
) -> Relation {
    b.known_properties(properties, &["kind", "withsource", "isfuzzy"]);
    let fuzzy = property_word(properties, "isfuzzy").is_some_and(|w| matches!(w, "true" | "1"));
    let inner = match property_word(properties, "kind") {
        None | Some("outer") => false,
        Some("inner") => true,
        Some(other) => {
            let text = format!("`{other}` is no kind of union");
            b.error("KS140", span, text);
            false
        }
    };
    let mut parts: Vec<(String, Relation)> = vec![];
    if let Some(input) = input {
        parts.push(("union_arg0".to_owned(), input));
    }
    for item in list {
        let number = format!("union_arg{}", parts.len());
        match &unwrapped(item).kind {
            ExprKind::Wildcard(pattern) => {
                let tables = b.tables_like(&pattern.text);
                if tables.is_empty() && !fuzzy {
                    b.no_table(pattern);
                }
                for table in tables {
                    let relation = b.table(&table);
                    parts.push((table, relation));
                }
            }
            ExprKind::Name(name) => {
                let known = b.environment.get(&name.text).is_some() || b.catalog.shape(&name.text).is_some();
                if fuzzy && !known {
                    let text = format!("`{}` is no table that is known, and is left out", name.text);
                    b.report(Diagnostic::warning("KS205", name.span, text));
                    continue;
                }
                let relation = b.rows(item);
                parts.push((name.text.clone(), relation));
            }
            _ if fuzzy => {
                let before = b.diagnostics.len();
                let relation = b.rows(item);
                let found = b.diagnostics.split_off(before.min(b.diagnostics.len()));
                let broken = found.iter().any(|d| d.severity == Severity::Error && d.code == "KS204");
                if broken {
                    b.report(Diagnostic::warning(
                        "KS205",
                        item.span,
                        "these rows name what is not known, and are left out",
                    ));
                } else {
                    b.diagnostics.extend(found);
                    parts.push((number, relation));
                }
            }
            kind => {
                let given = named_last(kind).map(str::to_owned);
                let relation = b.rows(item);
                parts.push((given.unwrap_or(number), relation));
            }
        }
    }
    let source = property_word(properties, "withsource").map(str::to_owned);
    put(b, parts, source.as_deref(), inner, span)
}

/// The name that a pipeline gives to its rows at its end: `… | as T`.
fn named_last(kind: &ExprKind) -> Option<&str> {
    let ExprKind::Pipeline(pipeline) = kind else { return None };
    match &pipeline.operators.last()?.kind {
        OperatorKind::As(name) => Some(&name.text),
        _ => None,
    }
}

fn unwrapped(expr: &Expr) -> &Expr {
    match &expr.kind {
        ExprKind::Parens(inner) => unwrapped(inner),
        _ => expr,
    }
}

/// All rows of all parts.
pub(crate) fn together(b: &mut Binder<'_>, parts: Vec<(String, Relation)>, span: Span) -> Relation {
    put(b, parts, None, false, span)
}

/// Where the value of an answer's column comes from in a part.
struct Column {
    field: Field,
    /// Name and type in the parts.
    name: String,
    kind: Type,
}

/// All rows of all parts, with the part's name in a column if one is asked for.
pub(crate) fn put(
    b: &mut Binder<'_>,
    parts: Vec<(String, Relation)>,
    source: Option<&str>,
    inner: bool,
    span: Span,
) -> Relation {
    let columns = columns(&parts, source, inner);
    let mut fields: Vec<Field> = source.iter().map(|s| Field::new(*s, Type::Text)).collect();
    fields.extend(columns.iter().map(|c| c.field.clone()));
    let mut like = source::nothing(fields);
    like.open = parts.iter().any(|(_, r)| r.open);
    if parts.is_empty() {
        return like;
    }
    let parts = parts
        .into_iter()
        .map(|(label, relation)| {
            let mut items: Vec<(Field, PlanExpr)> = vec![];
            if let Some(source) = source {
                items.push((Field::new(source, Type::Text), fold::text(label)));
            }
            for column in &columns {
                let have = relation.field(&column.name).filter(|f| f.kind == column.kind);
                let expr = match have {
                    Some(field) => Relation::column(&field.name),
                    None => fold::null(column.kind),
                };
                items.push((column.field.clone(), expr));
            }
            let mut bare = relation;
            bare.hidden.clear();
            bare.project(items)
        })
        .collect::<datafusion::common::Result<Vec<_>>>();
    let planned = parts.and_then(|parts| Ok(Relation::union(parts)?.unwrap_or_else(|| like.clone())));
    let mut made = b.settle(span, &like, planned);
    made.open = like.open;
    made
}

/// Columns in the order of their first mention; one for each type that a name has.
fn columns(parts: &[(String, Relation)], source: Option<&str>, inner: bool) -> Vec<Column> {
    let mut kinds: Vec<(String, Vec<Type>, usize)> = vec![];
    for (_, relation) in parts {
        for field in &relation.fields {
            match kinds.iter_mut().find(|(n, _, _)| *n == field.name) {
                Some((_, have, times)) => {
                    *times += 1;
                    if !have.contains(&field.kind) {
                        have.push(field.kind);
                    }
                }
                None => kinds.push((field.name.clone(), vec![field.kind], 1)),
            }
        }
    }
    if inner {
        kinds.retain(|(_, have, times)| have.len() == 1 && *times == parts.len());
    }
    let mut names = Names::default();
    if let Some(source) = source {
        let _ = names.take(source);
    }
    let mut columns = vec![];
    for (name, have, _) in kinds {
        let split = have.len() > 1;
        for kind in have {
            let wanted = if split { format!("{name}_{}", kind.name()) } else { name.clone() };
            let field = Field::new(names.take(&wanted), kind);
            columns.push(Column { field, name: name.clone(), kind });
        }
    }
    columns
}
