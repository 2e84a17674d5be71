//! A relation: a plan, and what the language knows of its columns.

use crate::lower::fold;
use crate::{Column, Type};
use datafusion::common::{Column as PlanColumn, JoinType, NullEquality, Result};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, SortExpr};
use std::collections::HashSet;

/// A column of a relation. Its name is its name in the plan too, and is unique in its relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    /// Name.
    pub name: String,
    /// Type.
    pub kind: Type,
}

impl Field {
    pub(crate) fn new(name: impl Into<String>, kind: Type) -> Self {
        Self { name: name.into(), kind }
    }
}

impl From<&Field> for Column {
    fn from(field: &Field) -> Self {
        Self::new(field.name.clone(), field.kind)
    }
}

/// The hidden column that numbers the rows of a relation in their order. No query can write its name.
pub(crate) const ROW: &str = "\u{1}row";

/// The hidden column that says when the server took a row in.
pub(crate) const INGESTED: &str = "\u{1}ingested";

/// The hidden column that says to which part a row belongs, where each part is worked on by itself (`mv-apply`,
/// `partition`).
pub(crate) const PART: &str = "\u{1}part";

/// A relation.
#[derive(Debug, Clone)]
pub(crate) struct Relation {
    /// Its rows.
    pub plan: LogicalPlan,
    /// Its columns, in order. The plan may have hidden ones besides.
    pub fields: Vec<Field>,
    /// It has columns that only running tells.
    pub open: bool,
    /// Its rows have an order that functions may ask about (`sort`, `serialize`, `range`, …).
    pub serialized: bool,
    /// Hidden columns of the plan that go with every row ([`ROW`], [`INGESTED`], [`PART`] and what its parts share).
    pub hidden: Vec<String>,
    /// It is no rows but a graph, which only the operators of graphs take.
    pub graph: Option<std::rc::Rc<crate::lower::graph::Graph>>,
}

impl Relation {
    pub(crate) fn new(plan: LogicalPlan, fields: Vec<Field>) -> Self {
        Self { plan, fields, open: false, serialized: false, hidden: vec![], graph: None }
    }

    /// A column of the plan as an expression: no folding of case, no qualifier.
    pub(crate) fn column(name: &str) -> Expr {
        Expr::Column(PlanColumn::new_unqualified(name))
    }

    /// A field by its name.
    pub(crate) fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|f| f.name == name)
    }

    /// Every column as it is.
    pub(crate) fn all(&self) -> Vec<(Field, Expr)> {
        self.fields.iter().map(|f| (f.clone(), Self::column(&f.name))).collect()
    }

    /// Rows that hold a predicate.
    pub(crate) fn filter(mut self, predicate: Expr) -> Result<Self> {
        self.plan = LogicalPlanBuilder::from(self.plan).filter(predicate)?.build()?;
        Ok(self)
    }

    /// Other columns from these rows.
    pub(crate) fn project(mut self, items: Vec<(Field, Expr)>) -> Result<Self> {
        let mut exprs: Vec<Expr> = items.iter().map(|(f, e)| named(e.clone(), &f.name)).collect();
        exprs.extend(self.hidden.iter().map(|h| Self::column(h)));
        let same = self.plan.schema().fields().len() == exprs.len()
            && exprs.iter().zip(self.plan.schema().fields()).all(|(e, f)| match e {
                Expr::Column(c) => &c.name == f.name(),
                _ => false,
            });
        if !same {
            self.plan = LogicalPlanBuilder::from(self.plan).project(exprs)?.build()?;
        }
        self.fields = items.into_iter().map(|(f, _)| f).collect();
        Ok(self)
    }

    /// The same with more hidden columns at the end of the plan.
    pub(crate) fn with_hidden(mut self, hidden: Vec<(String, Expr)>) -> Result<Self> {
        if hidden.is_empty() {
            return Ok(self);
        }
        let mut exprs: Vec<Expr> = self.plan.schema().fields().iter().map(|f| Self::column(f.name())).collect();
        exprs.extend(hidden.into_iter().map(|(name, e)| e.alias(name)));
        self.plan = LogicalPlanBuilder::from(self.plan).project(exprs)?.build()?;
        Ok(self)
    }

    /// Sorted rows; at most `fetch` of them, of each part where there are parts.
    pub(crate) fn sort(mut self, keys: Vec<SortExpr>, fetch: Option<usize>) -> Result<Self> {
        if self.has_hidden(PART) {
            return match fetch {
                Some(fetch) => self.first_of_parts(keys, fetch),
                None => {
                    self.serialized = true;
                    self.numbered(keys)
                }
            };
        }
        self.plan = LogicalPlanBuilder::from(self.plan).sort_with_limit(keys, fetch)?.build()?;
        if let Some(fetch) = fetch {
            self.plan = LogicalPlanBuilder::from(self.plan).limit(0, Some(fetch))?.build()?;
        }
        self.serialized = true;
        Ok(self)
    }

    /// At most so many rows; of each part where there are parts.
    pub(crate) fn limit(mut self, rows: usize) -> Result<Self> {
        if self.has_hidden(PART) {
            let keys = if self.is_numbered() { vec![Self::column(ROW).sort(true, false)] } else { vec![] };
            return self.first_of_parts(keys, rows);
        }
        self.plan = LogicalPlanBuilder::from(self.plan).limit(0, Some(rows))?.build()?;
        Ok(self)
    }

    /// The first rows of each part in an order.
    fn first_of_parts(self, keys: Vec<SortExpr>, rows: usize) -> Result<Self> {
        let fields = self.fields.clone();
        self.first_of(vec![Self::column(PART)], keys, rows, "\u{1}place")?.project(
            fields
                .into_iter()
                .map(|f| {
                    let c = Self::column(&f.name);
                    (f, c)
                })
                .collect(),
        )
    }

    /// The first rows of each group of equal `groups`, in an order. `name` is that of a hidden column.
    pub(crate) fn first_of(mut self, groups: Vec<Expr>, keys: Vec<SortExpr>, rows: usize, name: &str) -> Result<Self> {
        use datafusion::functions_window::expr_fn::row_number;
        use datafusion::logical_expr::ExprFunctionExt;
        let rows = u64::try_from(rows).unwrap_or(u64::MAX);
        let number = match (groups.is_empty(), keys.is_empty()) {
            (true, true) => row_number(),
            (false, true) => row_number().partition_by(groups).build()?,
            (true, false) => row_number().order_by(keys).build()?,
            (false, false) => row_number().partition_by(groups).order_by(keys).build()?,
        };
        self.plan = LogicalPlanBuilder::from(self.plan)
            .window(vec![number.alias(name)])?
            .filter(Self::column(name).lt_eq(datafusion::logical_expr::lit(rows)))?
            .build()?;
        Ok(self)
    }

    /// One row for each different value of `keys`, with aggregates; with neither, nothing is left. Where there are
    /// parts, each is worked on by itself, and keeps what its rows share.
    pub(crate) fn aggregate(mut self, keys: Vec<(Field, Expr)>, measures: Vec<(Field, Expr)>) -> Result<Self> {
        let mut group: Vec<Expr> = keys.iter().map(|(f, e)| named(e.clone(), &f.name)).collect();
        let mut aggregates: Vec<Expr> = measures.iter().map(|(f, e)| e.clone().alias(&f.name)).collect();
        if self.has_hidden(PART) {
            use datafusion::functions_aggregate::expr_fn::first_value;
            group.push(Self::column(PART));
            self.hidden.retain(|h| h != ROW);
            for shared in self.hidden.iter().filter(|h| *h != PART) {
                aggregates.push(first_value(Self::column(shared), vec![]).alias(shared));
            }
        } else {
            self.hidden.clear();
        }
        self.plan = LogicalPlanBuilder::from(self.plan).aggregate(group, aggregates)?.build()?;
        self.fields = keys.into_iter().chain(measures).map(|(f, _)| f).collect();
        self.serialized = false;
        Ok(self)
    }

    /// An expression of text in which absent text is the empty text, so that both are one key.
    pub(crate) fn key(&self, kind: Type, expr: Expr) -> Expr {
        use datafusion::logical_expr::ExprSchemable;
        if kind != Type::Text {
            return expr;
        }
        let nullable = match &expr {
            Expr::Literal(v, _) => v.is_null(),
            other => other.nullable(self.plan.schema().as_ref()).unwrap_or(true),
        };
        if nullable { datafusion::functions::expr_fn::coalesce(vec![expr, fold::text("")]) } else { expr }
    }

    /// Joins on equal keys, null equal to null. `right_names` are the names that the right side's fields get; they
    /// and the left's must be different. `keys` are an expression over each side.
    pub(crate) fn join(
        self,
        right: Self,
        right_names: Vec<String>,
        keys: Vec<(Expr, Expr)>,
        how: JoinType,
    ) -> Result<Self> {
        let mut left = self;
        let open = left.open || right.open;
        let (mut left_keys, mut right_keys) = (vec![], vec![]);
        let (mut left_hidden, mut right_items) = (vec![], vec![]);
        let mut right_fields = vec![];
        for (field, name) in right.fields.iter().zip(right_names) {
            right_items.push(named(Self::column(&field.name), &name));
            right_fields.push(Field::new(name, field.kind));
        }
        for (at, (l, r)) in keys.into_iter().enumerate() {
            let (name, other) = (format!("\u{1}left{at}"), format!("\u{1}right{at}"));
            match l {
                Expr::Column(c) => left_keys.push(c),
                l => {
                    left_keys.push(PlanColumn::new_unqualified(&name));
                    left_hidden.push((name, l));
                }
            }
            right_keys.push(PlanColumn::new_unqualified(&other));
            right_items.push(r.alias(other));
        }
        left = left.bare()?.with_hidden(left_hidden)?;
        let right_plan = LogicalPlanBuilder::from(right.plan).project(right_items)?.build()?;
        let builder = LogicalPlanBuilder::from(left.plan);
        let plan = if left_keys.is_empty() {
            builder.cross_join(right_plan)?.build()?
        } else {
            builder
                .join_detailed(right_plan, how, (left_keys, right_keys), None, NullEquality::NullEqualsNull)?
                .build()?
        };
        let fields = match how {
            JoinType::LeftSemi | JoinType::LeftAnti => left.fields,
            JoinType::RightSemi | JoinType::RightAnti => right_fields,
            _ => left.fields.into_iter().chain(right_fields).collect(),
        };
        let mut joined = Self::new(plan, fields);
        joined.open = open;
        let all = joined.all();
        joined.project(all)
    }

    /// Beside each row those of the other for which all of `on` holds; `right_names` are new to this one.
    pub(crate) fn join_where(
        self,
        right: Self,
        right_names: Vec<String>,
        on: Vec<Expr>,
        how: JoinType,
    ) -> Result<Self> {
        let open = self.open || right.open;
        let left = self.bare()?;
        let items = right.fields.iter().zip(&right_names).map(|(f, n)| named(Self::column(&f.name), n));
        let items: Vec<Expr> = items.collect();
        let fields = right.fields.iter().zip(right_names).map(|(f, n)| Field::new(n, f.kind));
        let fields = left.fields.iter().cloned().chain(fields).collect();
        let right_plan = LogicalPlanBuilder::from(right.plan).project(items)?.build()?;
        let plan = LogicalPlanBuilder::from(left.plan).join_on(right_plan, how, on)?.build()?;
        let mut joined = Self::new(plan, fields);
        joined.open = open;
        let all = joined.all();
        joined.project(all)
    }

    /// The same without hidden columns.
    pub(crate) fn bare(mut self) -> Result<Self> {
        self.hidden.clear();
        let all = self.all();
        self.project(all)
    }

    /// The same with its rows numbered in their order from 1 ([`ROW`]); `keys` are that order, or none where the rows
    /// lie in it already.
    pub(crate) fn numbered(mut self, keys: Vec<SortExpr>) -> Result<Self> {
        use datafusion::functions_window::expr_fn::row_number;
        use datafusion::logical_expr::ExprFunctionExt;
        let number = if keys.is_empty() { row_number() } else { row_number().order_by(keys).build()? };
        self.hidden.retain(|h| h != ROW);
        let names = self.plan.schema().fields().iter().map(|f| f.name().clone()).collect::<Vec<_>>();
        let kept: Vec<Expr> = names.iter().filter(|n| *n != ROW).map(|n| Self::column(n)).collect();
        let number = number.alias("\u{1}number");
        self.plan = LogicalPlanBuilder::from(self.plan).window(vec![number])?.build()?;
        let mut exprs = kept;
        exprs.push(
            datafusion::logical_expr::cast(Self::column("\u{1}number"), arrow::datatypes::DataType::Int64).alias(ROW),
        );
        self.plan = LogicalPlanBuilder::from(self.plan).project(exprs)?.build()?;
        self.hidden.push(ROW.to_owned());
        self.serialized = true;
        Ok(self)
    }

    /// The same with parts of its own: `part` is told for each row, as a window or an expression. Where it is a part of
    /// other parts already, those are kept under `kept`, to be given back by [`Self::reparted`].
    pub(crate) fn parted(mut self, part: Expr, window: bool, kept: &str) -> Result<Self> {
        let mut exprs: Vec<Expr> = vec![];
        for field in self.plan.schema().fields() {
            let column = Self::column(field.name());
            exprs.push(if field.name() == PART { column.alias(kept) } else { column });
        }
        let part = if window {
            self.plan = LogicalPlanBuilder::from(self.plan).window(vec![part.alias("\u{1}newpart")])?.build()?;
            Self::column("\u{1}newpart")
        } else {
            part
        };
        exprs.push(part.alias(PART));
        self.plan = LogicalPlanBuilder::from(self.plan).project(exprs)?.build()?;
        if self.has_hidden(PART) {
            self.hidden.push(kept.to_owned());
        } else {
            self.hidden.push(PART.to_owned());
        }
        Ok(self)
    }

    /// Other columns from these rows, which are rows of the outer parts again that `kept` holds, if it holds any;
    /// `hidden` is what went with the rows of those.
    pub(crate) fn reparted(mut self, items: Vec<(Field, Expr)>, hidden: &[String], kept: &str) -> Result<Self> {
        let nested = self.has_hidden(kept);
        self.hidden.clear();
        self.serialized = false;
        if !nested {
            return self.project(items);
        }
        let mut exprs: Vec<Expr> = items.iter().map(|(f, e)| named(e.clone(), &f.name)).collect();
        for name in hidden.iter().filter(|h| *h != ROW && *h != INGESTED) {
            exprs.push(if name == PART { Self::column(kept).alias(PART) } else { Self::column(name) });
            self.hidden.push(name.clone());
        }
        self.plan = LogicalPlanBuilder::from(self.plan).project(exprs)?.build()?;
        self.fields = items.into_iter().map(|(f, _)| f).collect();
        Ok(self)
    }

    /// Whether a hidden column goes with its rows.
    pub(crate) fn has_hidden(&self, name: &str) -> bool {
        self.hidden.iter().any(|h| h == name)
    }

    /// Whether its rows are numbered.
    pub(crate) fn is_numbered(&self) -> bool {
        self.has_hidden(ROW)
    }

    /// All rows of all, by position; each has the same fields.
    pub(crate) fn union(parts: Vec<Self>) -> Result<Option<Self>> {
        let mut parts = parts.into_iter();
        let Some(first) = parts.next() else { return Ok(None) };
        let mut first = first.bare()?;
        let (mut plans, mut open) = (vec![first.plan.clone()], first.open);
        for part in parts {
            let part = part.bare()?;
            open |= part.open;
            plans.push(part.plan);
        }
        if plans.len() > 1 {
            first.plan = union_all(plans)?;
        }
        first.open = open;
        first.serialized = false;
        Ok(Some(first))
    }
}

/// One union of all, so that a hundred tables are no tower of a hundred nodes.
fn union_all(plans: Vec<LogicalPlan>) -> Result<LogicalPlan> {
    use datafusion::logical_expr::Union;
    let inputs = plans.into_iter().map(std::sync::Arc::new).collect();
    Ok(LogicalPlan::Union(Union::try_new_with_loose_types(inputs)?))
}

/// An expression under a name; a bare column that has it already stays bare.
pub(crate) fn named(expr: Expr, name: &str) -> Expr {
    match expr {
        Expr::Column(c) if c.name == name => Expr::Column(c),
        Expr::Alias(alias) if alias.name == name => Expr::Alias(alias),
        other => other.alias(name),
    }
}

/// Names that are taken, and the next free one: `a`, `a1`, `a2`, …
#[derive(Debug, Default, Clone)]
pub(crate) struct Names(HashSet<String>);

impl Names {
    pub(crate) fn of<'a>(fields: impl IntoIterator<Item = &'a Field>) -> Self {
        Self(fields.into_iter().map(|f| f.name.clone()).collect())
    }

    /// Takes a name, with the first number that makes it free.
    pub(crate) fn take(&mut self, name: &str) -> String {
        if self.0.insert(name.to_owned()) {
            return name.to_owned();
        }
        for n in 1_u64.. {
            let other = format!("{name}{n}");
            if self.0.insert(other.clone()) {
                return other;
            }
        }
        name.to_owned()
    }

    /// Whether it is taken.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }
}
