//! `join` and `lookup`.

use crate::bind::words::property;
use crate::bind::{Binder, Bound, Label};
use crate::lower::relation::{Field, Names, Relation};
use crate::syntax::ast::{Expr, ExprKind, Name, Property};
use crate::{Span, Type};
use datafusion::common::{JoinType, Result};
use datafusion::functions_aggregate::expr_fn::first_value;
use datafusion::logical_expr::Expr as PlanExpr;

/// A key: an expression over each side, of one type, and the right side's column that it is.
struct Key {
    left: PlanExpr,
    right: PlanExpr,
    right_name: String,
    kind: Type,
}

/// `join`.
pub(crate) fn join(
    b: &mut Binder<'_>,
    properties: &[Property],
    right: &Expr,
    on: &[Expr],
    input: Relation,
    span: Span,
) -> Relation {
    b.known_properties(properties, &["kind", "isfuzzy"]);
    let (how, one_each) = kind(b, properties);
    let right = b.rows(right);
    let keys = keys(b, on, &input, &right);
    let right_only = matches!(how, JoinType::RightSemi | JoinType::RightAnti);
    let right_names =
        if right_only { right.fields.iter().map(|f| f.name.clone()).collect() } else { beside(&input, &right.fields) };
    let like = shape(&input, &right, &right_names, how);
    let Some(keys) = keys else { return like };
    let left = if one_each {
        let like = input.clone();
        let planned = unique(input, &keys);
        b.settle(span, &like, planned)
    } else {
        input
    };
    let pairs = keys.into_iter().map(|k| (k.left, k.right)).collect();
    let planned = if right_only {
        // The other way round: the engine's right joins keep the right side's names then.
        let flipped = match how {
            JoinType::RightSemi => JoinType::LeftSemi,
            _ => JoinType::LeftAnti,
        };
        let left_names = beside(&right, &left.fields);
        let pairs = flip(pairs);
        right.join(left, left_names, pairs, flipped)
    } else {
        left.join(right, right_names, pairs, how)
    };
    b.settle(span, &like, planned)
}

/// Names for the right side's columns beside the left's: a name that both have gets the first number with which neither
/// side has it.
pub(crate) fn beside(left: &Relation, right: &[Field]) -> Vec<String> {
    let mut names = Names::of(left.fields.iter().chain(right));
    right.iter().map(|f| if left.field(&f.name).is_some() { names.take(&f.name) } else { f.name.clone() }).collect()
}

fn flip(pairs: Vec<(PlanExpr, PlanExpr)>) -> Vec<(PlanExpr, PlanExpr)> {
    pairs.into_iter().map(|(l, r)| (r, l)).collect()
}

/// `lookup`: a join that keeps every row of the left, and not the right's keys.
pub(crate) fn lookup(
    b: &mut Binder<'_>,
    properties: &[Property],
    right: &Expr,
    on: &[Expr],
    input: Relation,
    span: Span,
) -> Relation {
    b.known_properties(properties, &["kind"]);
    let how = match property(properties, "kind").and_then(crate::bind::words::word) {
        None | Some("leftouter") => JoinType::Left,
        Some("inner") => JoinType::Inner,
        Some(other) => {
            b.error("KS140", span, format!("`lookup` knows the kinds leftouter and inner, not `{other}`"));
            JoinType::Left
        }
    };
    let right = b.rows(right);
    let keys = keys(b, on, &input, &right);
    let beside = beside(&input, &right.fields);
    let dropped: Vec<String> = keys.iter().flatten().map(|k| k.right_name.clone()).collect();
    let mut kept = vec![];
    let mut right_names = vec![];
    for (field, name) in right.fields.iter().zip(beside) {
        if dropped.contains(&field.name) {
            right_names.push(b.fresh("dropped"));
        } else {
            kept.push(Field::new(name.clone(), field.kind));
            right_names.push(name);
        }
    }
    let mut like = input.clone();
    like.open |= right.open;
    like.fields.extend(kept);
    let Some(keys) = keys else { return like };
    let fields = like.fields.clone();
    let pairs = keys.into_iter().map(|k| (k.left, k.right)).collect();
    let planned = input.join(right, right_names, pairs, how).and_then(|joined| {
        let items = fields
            .into_iter()
            .map(|f| {
                let column = Relation::column(&f.name);
                (f, column)
            })
            .collect();
        joined.project(items)
    });
    b.settle(span, &like, planned)
}

/// The kind of a join, and whether the left side is to have each key once.
fn kind(b: &mut Binder<'_>, properties: &[Property]) -> (JoinType, bool) {
    let Some(value) = property(properties, "kind") else { return (JoinType::Inner, true) };
    match crate::bind::words::word(value).unwrap_or_default() {
        "innerunique" => (JoinType::Inner, true),
        "inner" => (JoinType::Inner, false),
        "leftouter" => (JoinType::Left, false),
        "rightouter" => (JoinType::Right, false),
        "fullouter" => (JoinType::Full, false),
        "leftsemi" => (JoinType::LeftSemi, false),
        "leftanti" | "leftantisemi" | "anti" => (JoinType::LeftAnti, false),
        "rightsemi" => (JoinType::RightSemi, false),
        "rightanti" | "rightantisemi" => (JoinType::RightAnti, false),
        other => {
            let text = format!("`{other}` is no kind of join");
            b.error("KS140", value.span, text);
            (JoinType::Inner, true)
        }
    }
}

fn shape(left: &Relation, right: &Relation, right_names: &[String], how: JoinType) -> Relation {
    let theirs = right.fields.iter().zip(right_names).map(|(f, n)| Field::new(n.clone(), f.kind)).collect::<Vec<_>>();
    let fields = match how {
        JoinType::LeftSemi | JoinType::LeftAnti => left.fields.clone(),
        JoinType::RightSemi | JoinType::RightAnti => theirs,
        _ => left.fields.iter().cloned().chain(theirs).collect(),
    };
    let mut like = crate::lower::source::nothing(fields);
    like.open = left.open || right.open;
    like
}

/// A relation with one row for each key: which one is not said, and is the first that comes.
fn unique(input: Relation, keys: &[Key]) -> Result<Relation> {
    let fields = input.fields.clone();
    let mut group = vec![];
    let mut items = vec![];
    for (at, key) in keys.iter().enumerate() {
        group.push((Field::new(format!("\u{1}unique{at}"), key.kind), key.left.clone()));
    }
    let mut measures = vec![];
    for field in fields {
        let at = group.iter().position(|(_, e)| matches!(e, PlanExpr::Column(c) if c.name == field.name));
        let column = match at.and_then(|at| group.get(at)) {
            Some((key, _)) => Relation::column(&key.name),
            None => {
                let name = format!("\u{1}first{}", measures.len());
                let first = first_value(Relation::column(&field.name), vec![]);
                measures.push((Field::new(name.clone(), field.kind), first));
                Relation::column(&name)
            }
        };
        items.push((field, column));
    }
    input.bare()?.aggregate(group, measures)?.project(items)
}

/// The same by columns.
pub(crate) fn one_of_each(input: Relation, columns: Vec<(String, Type)>) -> Result<Relation> {
    let keys: Vec<Key> = columns
        .into_iter()
        .map(|(name, kind)| {
            let column = Relation::column(&name);
            Key { left: column.clone(), right: column, right_name: name, kind }
        })
        .collect();
    unique(input, &keys)
}

/// The conditions; `None` where they have errors.
fn keys(b: &mut Binder<'_>, on: &[Expr], left: &Relation, right: &Relation) -> Option<Vec<Key>> {
    let mut keys: Vec<Key> = vec![];
    let mut whole = true;
    for condition in on {
        whole &= condition_keys(b, condition, left, right, &mut keys);
    }
    for key in &mut keys {
        key.left = left.key(key.kind, key.left.clone());
        key.right = right.key(key.kind, key.right.clone());
    }
    (whole && !keys.is_empty()).then_some(keys)
}

fn condition_keys(
    b: &mut Binder<'_>,
    condition: &Expr,
    left: &Relation,
    right: &Relation,
    keys: &mut Vec<Key>,
) -> bool {
    match &condition.kind {
        ExprKind::Parens(inner) => condition_keys(b, inner, left, right, keys),
        ExprKind::Binary { op, left: one, right: other } if op.text == "and" => {
            let first = condition_keys(b, one, left, right, keys);
            condition_keys(b, other, left, right, keys) && first
        }
        ExprKind::Name(name) => {
            let (Some(l), Some(r)) = (side(name, left), side(name, right)) else {
                let text = format!("the column `{}` must be on both sides of the join", name.text);
                b.error("KS145", name.span, text);
                return false;
            };
            pair(b, l, r, name, "KS227", keys)
        }
        ExprKind::Binary { op, left: one, right: other } if op.text == "==" || op.text == "=" => {
            let sides = [(one.as_ref(), "$left", left), (other.as_ref(), "$right", right)];
            let mut found = vec![];
            for (expr, word, relation) in sides {
                let ExprKind::Path { base, name } = &expr.kind else {
                    b.error("KS183", expr.span, format!("`{word}.` and the name of a column are expected here"));
                    return false;
                };
                if !matches!(&base.kind, ExprKind::Name(n) if n.text == word) {
                    b.error("KS183", expr.span, format!("`{word}.` and the name of a column are expected here"));
                    return false;
                }
                match side(name, relation) {
                    Some(bound) => found.push(bound),
                    None => {
                        b.no_column(name, relation);
                        return false;
                    }
                }
            }
            let (Some(r), Some(l)) = (found.pop(), found.pop()) else { return false };
            pair(b, l, r, op, "KS242", keys)
        }
        ExprKind::Missing => false,
        _ => {
            let text = "a join's condition is the name of a column of both sides, or `$left.a == $right.b`";
            b.error("KS182", condition.span, text);
            false
        }
    }
}

/// A column of one side.
fn side(name: &Name, relation: &Relation) -> Option<Bound> {
    let label = Label::Column(name.text.clone());
    match relation.field(&name.text) {
        Some(field) => Some(Bound::new(Relation::column(&field.name), field.kind).labelled(label)),
        None if relation.open => Some(Bound::unknown().labelled(label)),
        None => None,
    }
}

fn pair(b: &mut Binder<'_>, left: Bound, right: Bound, at: &Name, code: &'static str, keys: &mut Vec<Key>) -> bool {
    let (l, r) = (left.kind, right.kind);
    let number = |t| matches!(t, Type::Int | Type::Long | Type::Real | Type::Decimal);
    let kind = match (l, r) {
        (Type::Unknown, other) | (other, Type::Unknown) => other,
        (Type::Dynamic, _) | (_, Type::Dynamic) => {
            b.report(
                crate::Diagnostic::error("KS241", at.span, "a dynamic value cannot be the key of a join")
                    .hint("convert it before, as by `extend k = tostring(…)`"),
            );
            return false;
        }
        (l, r) if l == r => l,
        (l, r) if number(l) && number(r) => match (l, r) {
            (Type::Decimal, _) | (_, Type::Decimal) => Type::Decimal,
            (Type::Real, _) | (_, Type::Real) => Type::Real,
            _ => Type::Long,
        },
        (l, r) => {
            let text = format!("the two sides' keys have different types: `{}` and `{}`", l.name(), r.name());
            b.error(code, at.span, text);
            return false;
        }
    };
    let name = right.label.text().unwrap_or_default().to_owned();
    let unknown = l == Type::Unknown || r == Type::Unknown;
    let (left, right) = (b.converted(left, kind), b.converted(right, kind));
    keys.push(Key { left: left.expr, right: right.expr, right_name: name, kind });
    !unknown
}
