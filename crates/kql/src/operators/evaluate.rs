//! `evaluate`: plugins. Some have columns that only their rows tell; those rows are read first, in bounds.

use crate::bind::calls::aggregate_name;
use crate::bind::{Binder, Bound};
use crate::functions;
use crate::lower::expand::{self, Bags, Pairs};
use crate::lower::relation::{Field, Names, Relation};
use crate::lower::{bags, fold};
use crate::syntax::ast::{ColumnDecl, Expr, ExprKind, Name};
use crate::{Span, Type};
use arrow::array::{Array, RecordBatch};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions::core::expr_fn::get_field;
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::{Expr as PlanExpr, ExprFunctionExt, lit};

/// Columns that a plugin may make of values.
const COLUMNS_MAX: usize = 1_000;
/// Rows that are read to learn the columns of bags.
const BAGS_MAX: usize = 100_000;

/// Plugins of the language that need a meaning we do not compute.
const REFUSED: &[&str] = &[
    "autocluster",
    "basket",
    "diffpatterns",
    "diffpatterns_text",
    "dcount_intersect",
    "funnel_sequence",
    "funnel_sequence_completion",
    "geo_line_lookup",
    "geo_polygon_lookup",
    "http_request",
    "http_request_post",
    "infer_storage_schema",
    "infer_storage_schema_with_suggestions",
    "ipv6_lookup",
    "preview",
    "python",
    "R",
    "rolling_percentile",
    "rows_near",
    "schema_merge",
    "sequence_detect",
    "session_count",
    "sliding_window_counts",
    "sql_request",
    "mysql_request",
    "postgresql_request",
    "cosmosdb_sql_request",
    "active_users_count",
    "activity_counts_metrics",
    "activity_engagement",
    "activity_metrics",
    "new_activity_metrics",
    "azure_digital_twins_query_request",
    "ai_chat_completion",
    "ai_embeddings",
];

pub(crate) fn bind(
    b: &mut Binder<'_>,
    call: &Expr,
    schema: Option<&[ColumnDecl]>,
    input: Option<Relation>,
    span: Span,
) -> Relation {
    let ExprKind::Call { name, arguments } = &call.kind else {
        if !matches!(call.kind, ExprKind::Missing) {
            b.error("KS124", call.span, "the call of a plugin is expected here");
        }
        return b.broken_rows();
    };
    let Some(input) = input else {
        if REFUSED.contains(&name.text.as_str()) {
            b.refuse(name.span, format!("the plugin `{}`", name.text));
        } else {
            b.error("KS174", span, "this plugin needs rows before it");
        }
        return b.broken_rows();
    };
    match name.text.as_str() {
        "bag_unpack" => bag_unpack(b, arguments, schema, input, span),
        "pivot" => pivot(b, name, arguments, schema, input, span),
        "narrow" => narrow(b, input, span),
        "ipv4_lookup" => ipv4_lookup(b, arguments, input, span),
        other if REFUSED.contains(&other) => {
            b.refuse(name.span, format!("the plugin `{other}`"));
            b.broken_rows()
        }
        other => {
            b.error("KS124", name.span, format!("`{other}` is no plugin that is known"));
            b.broken_rows()
        }
    }
}

/// A column as a bare name.
fn column(b: &mut Binder<'_>, expr: &Expr, input: &Relation) -> Option<Field> {
    let ExprKind::Name(name) = &expr.kind else {
        b.error("KS109", expr.span, "the name of a column is expected here");
        return None;
    };
    match input.field(&name.text) {
        Some(field) => Some(field.clone()),
        None => {
            if !input.open {
                b.no_column(name, input);
            }
            None
        }
    }
}

fn declared(b: &mut Binder<'_>, schema: &[ColumnDecl], input: &Relation) -> Vec<Field> {
    let star = schema.iter().any(|c| c.name.text == "*");
    let named: Vec<ColumnDecl> = schema.iter().filter(|c| c.name.text != "*").cloned().collect();
    let fields = b.declared(&named);
    let mut all: Vec<Field> = if star { input.fields.clone() } else { vec![] };
    all.extend(fields.into_iter().filter(|f| !all.iter().any(|a| a.name == f.name)).collect::<Vec<_>>());
    all
}

/// The argument that is given by its name, or without one at its place.
fn option<'a>(arguments: &'a [Expr], at: usize, word: &str) -> Option<&'a Expr> {
    let named = arguments.iter().find_map(|a| match &a.kind {
        ExprKind::Named { names, value, .. } if names.iter().any(|n| n.text == word) => Some(&**value),
        _ => None,
    });
    named.or_else(|| arguments.get(at).filter(|a| !matches!(a.kind, ExprKind::Named { .. })))
}

/// `bag_unpack(column, prefix, conflict, ignored)`: a column for each property.
fn bag_unpack(
    b: &mut Binder<'_>,
    arguments: &[Expr],
    schema: Option<&[ColumnDecl]>,
    input: Relation,
    span: Span,
) -> Relation {
    let Some(bag) = arguments.first().and_then(|a| column(b, a, &input)) else { return b.broken_rows() };
    if !matches!(bag.kind, Type::Dynamic | Type::Unknown) {
        let place = arguments.first().map_or(span, |a| a.span);
        b.error("KS234", place, "a dynamic column is expected here");
        return b.broken_rows();
    }
    let unit = crate::lower::source::unit();
    let text = |b: &mut Binder<'_>, at: usize, word: &str| {
        let argument = option(arguments, at, word)?;
        let bound = b.scalar(argument, &unit);
        fold::as_text(&bound.expr)
    };
    let prefix = text(b, 1, "outputColumnPrefix").unwrap_or_default();
    let conflict = text(b, 2, "columnsConflict").unwrap_or_else(|| "error".to_owned());
    let ignored: Vec<String> =
        text(b, 3, "ignoredProperties").and_then(|t| serde_json::from_str::<Vec<String>>(&t).ok()).unwrap_or_default();

    let rest: Vec<Field> = input.fields.iter().filter(|f| f.name != bag.name).cloned().collect();
    let mut like = input.clone();
    let properties: Vec<(String, Field)> = if let Some(schema) = schema {
        let all = declared(b, schema, &Relation { fields: rest.clone(), ..input.clone() });
        like.fields.clone_from(&all);
        all.into_iter()
            .filter(|f| !rest.iter().any(|r| r.name == f.name))
            .map(|f| (f.name.strip_prefix(prefix.as_str()).unwrap_or(&f.name).to_owned(), f))
            .collect()
    } else {
        like.fields = rest.clone();
        like.open = true;
        let item = (bag.clone(), Relation::column(&bag.name));
        let planned = input
            .clone()
            .bare()
            .and_then(|r| r.project(vec![item.clone()]))
            .and_then(|r| r.aggregate(vec![item], vec![]));
        let bags = b.settle(span, &input, planned);
        let Some(batches) = b.ask_rows(span, &bags.plan, BAGS_MAX) else { return like };
        let found = properties(&batches);
        let mut properties = vec![];
        for (property, kind) in found.into_iter().filter(|(p, _)| !ignored.contains(p)) {
            let name = format!("{prefix}{property}");
            let taken = rest.iter().any(|f| f.name == name);
            match conflict.as_str() {
                _ if !taken => properties.push((property, Field::new(name, kind))),
                "keep_source" => {}
                "replace_source" => properties.push((property, Field::new(name, kind))),
                _ => {
                    let text = format!("bag_unpack makes a column `{name}`, and there is one already");
                    b.report(
                        crate::Diagnostic::error("GQ103", span, text).hint("give a prefix as the second argument"),
                    );
                }
            }
        }
        if properties.len() > COLUMNS_MAX {
            b.error("GQ112", span, format!("bag_unpack makes at most {COLUMNS_MAX} columns"));
            return like;
        }
        like.open = false;
        // A column that is replaced stays where it is.
        for (_, made) in &properties {
            match like.fields.iter_mut().find(|f| f.name == made.name) {
                Some(have) => have.kind = made.kind,
                None => like.fields.push(made.clone()),
            }
        }
        properties
    };
    let mut items = vec![];
    for field in like.fields.clone() {
        let property = properties.iter().find(|(_, f)| f.name == field.name);
        let expr = match property {
            Some((property, field)) => {
                let value = functions::property(Relation::column(&bag.name), property);
                b.converted(Bound::new(value, Type::Dynamic), field.kind).expr
            }
            None if input.field(&field.name).is_some() => Relation::column(&field.name),
            None => fold::null(field.kind),
        };
        items.push((field, expr));
    }
    let planned = input.project(items);
    let mut made = b.settle(span, &like, planned);
    made.open = like.open && schema.is_none();
    made
}

/// Names of bags' properties and the type that holds each one's values.
fn properties(batches: &[RecordBatch]) -> Vec<(String, Type)> {
    let mut found: Vec<(String, Option<Type>)> = vec![];
    for batch in batches {
        let Some(texts) = batch.columns().first().and_then(|c| crate::lower::kernel::plain_text(c).ok()) else {
            continue;
        };
        for text in (0..texts.len()).filter(|r| texts.is_valid(*r)).map(|r| texts.value(r)) {
            let Ok(Pairs(pairs)) = serde_json::from_str::<Pairs>(text) else { continue };
            for (name, value) in pairs {
                let kind = bags::kind(&value);
                let room = found.len() <= COLUMNS_MAX;
                match found.iter_mut().find(|(n, _)| *n == name) {
                    Some((_, have)) => {
                        *have = match (*have, kind) {
                            (Some(a), Some(b)) => Some(bags::together(a, b)),
                            (a, b) => a.or(b),
                        };
                    }
                    None if room => found.push((name, kind)),
                    None => {}
                }
            }
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found.into_iter().map(|(n, k)| (n, k.unwrap_or(Type::Dynamic))).collect()
}

/// `pivot(column, aggregate, kept…)`: a column for each value.
fn pivot(
    b: &mut Binder<'_>,
    name: &Name,
    arguments: &[Expr],
    schema: Option<&[ColumnDecl]>,
    input: Relation,
    span: Span,
) -> Relation {
    let Some(of) = arguments.first().and_then(|a| column(b, a, &input)) else { return b.broken_rows() };
    let (aggregate, outer, kind, used) = match arguments.get(1) {
        None => (count(lit(1)), Relation::column(&aggregate_name(0)), Type::Long, vec![]),
        Some(argument) => {
            b.aggregates = Some(vec![]);
            let bound = b.scalar(argument, &input);
            let gathered = b.aggregates.take().unwrap_or_default();
            match gathered.as_slice() {
                [(expr, _)] => {
                    let used = expr.column_refs().into_iter().map(|c| c.name.clone()).collect();
                    (expr.clone(), bound.expr, bound.kind, used)
                }
                _ => {
                    if bound.kind != Type::Unknown {
                        b.error("KS140", argument.span, format!("`{}` takes one aggregate here", name.text));
                    }
                    return b.broken_rows();
                }
            }
        }
    };
    let kept: Vec<Field> = if arguments.len() > 2 {
        arguments.iter().skip(2).filter_map(|a| column(b, a, &input)).collect()
    } else {
        input.fields.iter().filter(|f| f.name != of.name && !used.contains(&f.name)).cloned().collect()
    };
    let mut like = input.clone();
    like.fields.clone_from(&kept);
    like.open = true;
    let text = b.converted(Bound::new(Relation::column(&of.name), of.kind), Type::Text).expr;
    let text = input.key(Type::Text, text);
    let values: Vec<String> = if let Some(schema) = schema {
        let fields = declared(b, schema, &Relation { fields: kept.clone(), ..input.clone() });
        fields.into_iter().map(|f| f.name).filter(|n| !kept.iter().any(|k| k.name == *n)).collect()
    } else {
        let key = (Field::new("\u{1}value", Type::Text), text.clone());
        let order = vec![Relation::column("\u{1}value").sort(true, true)];
        let planned =
            input.clone().bare().and_then(|r| r.aggregate(vec![key], vec![])).and_then(|r| r.sort(order, None));
        let values = b.settle(span, &input, planned);
        let Some(batches) = b.ask_rows(span, &values.plan, COLUMNS_MAX + 1) else { return like };
        let mut values = vec![];
        for batch in &batches {
            let Some(texts) = batch.columns().first().and_then(|c| crate::lower::kernel::plain_text(c).ok()) else {
                continue;
            };
            values.extend(
                (0..texts.len()).map(|r| if texts.is_valid(r) { texts.value(r).to_owned() } else { String::new() }),
            );
        }
        values
    };
    if values.len() > COLUMNS_MAX {
        b.error("GQ112", span, format!("pivot makes at most {COLUMNS_MAX} columns"));
        return like;
    }
    let mut names = Names::of(&kept);
    let keys = kept.iter().map(|f| (f.clone(), input.key(f.kind, Relation::column(&f.name)))).collect();
    let mut measures = vec![];
    let mut items: Vec<(Field, PlanExpr)> = kept.iter().map(|f| (f.clone(), Relation::column(&f.name))).collect();
    for (at, value) in values.into_iter().enumerate() {
        let filter = text.clone().eq(fold::text(value.clone()));
        let hidden = format!("\u{1}pivot{at}");
        let Ok(expr) = aggregate.clone().filter(filter).build() else {
            b.refuse(span, "pivot with this aggregate");
            return like;
        };
        let from = aggregate_name(0);
        let read = outer.clone().transform_down(|e| {
            Ok(match e {
                PlanExpr::Column(c) if c.name == from => Transformed::yes(Relation::column(&hidden)),
                other => Transformed::no(other),
            })
        });
        let read = read.map_or_else(|_| Relation::column(&hidden), |r| r.data);
        measures.push((Field::new(hidden, kind), expr));
        items.push((Field::new(names.take(&value), kind), read));
    }
    like.fields = items.iter().map(|(f, _)| f.clone()).collect();
    like.open = false;
    let planned = input.aggregate(keys, measures).and_then(|r| r.project(items));
    let mut made = b.settle(span, &like, planned);
    made.open = false;
    made
}

/// `narrow()`: a row for each cell.
fn narrow(b: &mut Binder<'_>, input: Relation, span: Span) -> Relation {
    let fields = vec![Field::new("Row", Type::Long), Field::new("Column", Type::Text), Field::new("Value", Type::Text)];
    let mut like = crate::lower::source::nothing(fields.clone());
    like.open = false;
    let Some(pack) = functions::scalar("bag_pack") else { return like };
    let mut args = vec![];
    let mut kinds = vec![];
    for field in &input.fields {
        let text = b.converted(Bound::new(Relation::column(&field.name), field.kind), Type::Text);
        args.push(fold::text(field.name.clone()));
        args.push(text.expr);
        kinds.extend([Type::Text, Type::Text]);
    }
    let bag = match pack.lower(b.context, &kinds, args) {
        Ok(bag) => bag,
        Err(refusal) => {
            let _ = b.refusal(&refusal, "narrow", span, &[]);
            return like;
        }
    };
    let planned = narrowed(input, bag, fields);
    b.settle(span, &like, planned)
}

fn narrowed(input: Relation, bag: PlanExpr, fields: Vec<Field>) -> Result<Relation> {
    let numbered = if input.is_numbered() { input } else { input.numbered(vec![])? };
    let row = (Field::new("\u{1}number", Type::Long), Relation::column(crate::lower::relation::ROW) - lit(1_i64));
    let list = (Field::new("\u{1}cells", Type::Dynamic), expand::list(vec![bag], Bags::Array, None));
    let mut spread = numbered.project(vec![row, list])?.bare()?;
    spread.plan =
        datafusion::logical_expr::LogicalPlanBuilder::from(spread.plan).unnest_column("\u{1}cells")?.build()?;
    let cell = get_field(Relation::column("\u{1}cells"), expand::member(0));
    let part = |at: i64| {
        functions::element(cell.clone(), Type::Long, lit(at))
            .map(|e| functions::cast(Type::Dynamic, Type::Text, e))
            .unwrap_or_else(|_| fold::text(""))
    };
    let values = [Relation::column("\u{1}number"), part(0), part(1)];
    spread.project(fields.into_iter().zip(values).collect())
}

/// `ipv4_lookup(table, address, network, …)`: the rows of a table of networks that hold the address.
fn ipv4_lookup(b: &mut Binder<'_>, arguments: &[Expr], input: Relation, span: Span) -> Relation {
    let [table, address, network, rest @ ..] = arguments else {
        b.error("KS119", span, "ipv4_lookup takes a table, a column of addresses and a column of networks");
        return b.broken_rows();
    };
    let table = b.rows(table);
    let address = b.scalar(address, &input);
    let network = column(b, network, &table);
    let mut unmatched = false;
    let mut keys: Vec<Field> = vec![];
    for argument in rest {
        if matches!(argument.kind, ExprKind::Name(_)) {
            // A further key is a column of both sides by one name.
            if let (Some(ours), Some(theirs)) = (column(b, argument, &input), column(b, argument, &table)) {
                if ours.kind == theirs.kind {
                    keys.push(ours);
                } else {
                    b.error("KS108", argument.span, "this key has another type on each side");
                }
            }
            continue;
        }
        let value = match &argument.kind {
            ExprKind::Named { value, .. } => value,
            _ => argument,
        };
        let bound = b.scalar(value, &input);
        match fold::constant(&bound.expr) {
            Some(ScalarValue::Boolean(flag)) => unmatched = flag.unwrap_or(false),
            _ => b.error("KS108", argument.span, "a key or `return_unmatched = true` is expected here"),
        }
    }
    let mut names = Names::of(&input.fields);
    let right_names: Vec<String> = table.fields.iter().map(|f| names.take(&f.name)).collect();
    let mut like = input.clone();
    like.open |= table.open;
    let theirs = table.fields.iter().zip(&right_names).filter(|(f, _)| !keys.iter().any(|k| k.name == f.name));
    like.fields.extend(theirs.map(|(f, n)| Field::new(n.clone(), f.kind)));
    let (Some(network), Some(within)) = (network, functions::scalar("ipv4_is_in_range")) else { return like };
    let Some(at) = table.fields.iter().position(|f| f.name == network.name) else { return like };
    let Some(right) = right_names.get(at).cloned() else { return like };
    let kinds = [address.kind, network.kind];
    if kinds.contains(&Type::Unknown) {
        return like;
    }
    let holds = match within.lower(b.context, &kinds, vec![address.expr, Relation::column(&right)]) {
        Ok(holds) => holds,
        Err(refusal) => {
            let _ = b.refusal(&refusal, "ipv4_lookup", span, &[]);
            return like;
        }
    };
    let mut on = vec![holds];
    for (field, name) in table.fields.iter().zip(&right_names).filter(|(f, _)| keys.iter().any(|k| k.name == f.name)) {
        let ours = input.key(field.kind, Relation::column(&field.name));
        on.push(ours.eq(table.key(field.kind, Relation::column(name))));
    }
    let how = if unmatched { datafusion::common::JoinType::Left } else { datafusion::common::JoinType::Inner };
    let prepared = b.prepare(span, input);
    let fields = like.fields.clone();
    let planned = prepared.join_where(table, right_names, on, how).and_then(|r| {
        r.project(
            fields
                .into_iter()
                .map(|f| {
                    let c = Relation::column(&f.name);
                    (f, c)
                })
                .collect(),
        )
    });
    b.settle(span, &like, planned)
}
