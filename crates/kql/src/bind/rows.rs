//! Where rows stand: tables, variables, calls, and pipelines.

use crate::bind::environment::Value;
use crate::bind::{Binder, Bound, names};
use crate::lower::relation::{Field, Relation};
use crate::lower::{fold, source};
use crate::operators;
use crate::syntax::ast::{Expr, ExprKind, Name, Pipeline};
use crate::{Diagnostic, Span, Type};
use datafusion::common::ScalarValue;
use std::rc::Rc;

/// Rows of `materialize` that are kept where they must be the same at every use.
const MATERIALIZED_ROWS_MAX: usize = 1_000_000;

/// Whether a call of this name gives rows.
pub(crate) fn makes_rows(name: &str) -> bool {
    matches!(name, "materialize" | "totable" | "table" | "externaldata") || operators::product::function(name).is_some()
}

impl Binder<'_> {
    /// Rows where rows are asked.
    pub(crate) fn rows(&mut self, expr: &Expr) -> Relation {
        let relation = self.rows_or_graph(expr);
        self.no_graph(relation, expr.span)
    }

    /// Says that rows are expected where there is a graph.
    pub(crate) fn no_graph(&mut self, relation: Relation, span: Span) -> Relation {
        if relation.graph.is_none() {
            return relation;
        }
        let finding = Diagnostic::error("KS111", span, "rows are expected here, and this is a graph");
        self.report(finding.hint("`graph-match … project …` and `graph-to-table` make rows of it"));
        self.broken_rows()
    }

    /// What a pipeline, a variable or a call gives where rows or a graph may stand.
    pub(crate) fn rows_or_graph(&mut self, expr: &Expr) -> Relation {
        match &expr.kind {
            ExprKind::Parens(inner) => self.rows_or_graph(inner),
            ExprKind::Pipeline(pipeline) => self.pipeline(pipeline, None, expr.span),
            ExprKind::Name(name) => self.named_rows(name),
            ExprKind::DataTable { columns, values } => operators::datatable::bind(self, columns, values, expr.span),
            ExprKind::ExternalData { columns, addresses, properties } => {
                operators::externaldata::bind(self, columns, addresses, properties, expr.span)
            }
            ExprKind::Call { name, arguments } => self.called_rows(name, arguments, expr.span),
            ExprKind::Missing => self.broken_rows(),
            ExprKind::Path { base, name } => {
                if let ExprKind::Call { name: call, .. } = &base.kind
                    && matches!(call.text.as_str(), "database" | "cluster" | "workspace" | "app")
                {
                    self.refuse(expr.span, format!("reading `{}` of another database", name.text));
                } else {
                    self.error("KS111", expr.span, "rows are expected here");
                }
                self.broken_rows()
            }
            ExprKind::Wildcard(name) => {
                let parts: Vec<Relation> = self.tables_like(&name.text).iter().map(|t| self.table(t)).collect();
                if parts.is_empty() {
                    self.no_table(name);
                    return self.broken_rows();
                }
                operators::union::together(self, parts.into_iter().map(|r| (String::new(), r)).collect(), expr.span)
            }
            _ => {
                self.error("KS111", expr.span, "rows are expected here");
                self.broken_rows()
            }
        }
    }

    /// No rows, and no saying which columns: after an error.
    pub(crate) fn broken_rows(&mut self) -> Relation {
        let mut nothing = source::nothing(vec![]);
        nothing.open = true;
        nothing
    }

    /// Names of tables that fit a pattern, in order; rows that the query itself names do too.
    pub(crate) fn tables_like(&self, pattern: &str) -> Vec<String> {
        let mut tables: Vec<String> = self.catalog.names().into_iter().filter(|t| names::fits(pattern, t)).collect();
        tables.sort_unstable();
        tables
    }

    /// A table of the catalog.
    pub(crate) fn table(&mut self, name: &str) -> Relation {
        let Some(shape) = self.catalog.shape(name) else { return self.broken_rows() };
        let provider = if self.real { self.catalog.provider(name) } else { None };
        if self.real && provider.is_none() {
            self.error("GQ103", Span::default(), format!("the table `{name}` cannot be read"));
        }
        let like = source::nothing(shape.columns.iter().map(|c| Field::new(&c.name, c.kind)).collect());
        let planned = source::table(&shape, provider);
        self.settle(Span::default(), &like, planned)
    }

    /// Says that there is no such table.
    pub(crate) fn no_table(&mut self, name: &Name) {
        let known = self.catalog.names();
        let ours: Vec<String> = self.environment.names().map(|(n, _)| n.to_owned()).collect();
        let hint = names::hint(&name.text, known.iter().chain(&ours).map(String::as_str));
        let text = format!("`{}` is no table, no variable with rows and no function", name.text);
        let diagnostic = Diagnostic::error("KS204", name.span, text);
        self.report(match hint {
            Some(hint) => diagnostic.hint(hint),
            None => diagnostic,
        });
    }

    fn named_rows(&mut self, name: &Name) -> Relation {
        if name.text.is_empty() {
            return self.broken_rows();
        }
        match self.environment.get(&name.text).cloned() {
            Some(value @ Value::Function(_)) => {
                let Value::Function(function) = &value else { return self.broken_rows() };
                let outcome =
                    self.call_function(&Rc::clone(function), &name.text, &[], None, &source::unit(), name.span);
                self.rows_of(outcome, name.span)
            }
            Some(value) => self.rows_of(value, name.span),
            None if self.catalog.shape(&name.text).is_some() => self.table(&name.text),
            None => {
                self.no_table(name);
                self.broken_rows()
            }
        }
    }

    /// The rows of what a name or a call stands for.
    pub(crate) fn rows_of(&mut self, value: Value, span: Span) -> Relation {
        match value {
            Value::Rows(relation, operators) => {
                if self.count(operators, span) {
                    *relation
                } else {
                    let fields = relation.fields.clone();
                    source::nothing(fields)
                }
            }
            Value::Scalar(bound, _) if bound.kind == Type::Unknown => self.broken_rows(),
            Value::Scalar(..) => {
                self.error("KS111", span, "rows are expected here, and this is a value");
                self.broken_rows()
            }
            Value::Function(_) => {
                self.error("KS117", span, "the function needs its arguments");
                self.broken_rows()
            }
            Value::Broken => self.broken_rows(),
        }
    }

    fn called_rows(&mut self, name: &Name, arguments: &[Expr], span: Span) -> Relation {
        if let Some(Value::Function(function)) = self.environment.get(&name.text) {
            let function = Rc::clone(function);
            let value = self.call_function(&function, &name.text, arguments, None, &source::unit(), span);
            return self.rows_of(value, span);
        }
        match (name.text.as_str(), arguments) {
            ("materialize", [rows, ..]) => {
                let relation = self.rows(rows);
                self.materialized(relation, span)
            }
            ("totable", [rows]) => self.rows(rows),
            ("table", [table]) => {
                let bound = self.scalar(table, &source::unit());
                match fold::as_text(&bound.expr) {
                    Some(text) => self.named_rows(&Name { text, span: table.span }),
                    None => {
                        self.error("KS131", table.span, "the table's name must be a constant");
                        self.broken_rows()
                    }
                }
            }
            _ => {
                if operators::product::function(&name.text).is_some() {
                    return operators::product::bind(self, name, arguments, None, span);
                }
                self.no_function(name);
                self.broken_rows()
            }
        }
    }

    /// Says that there is no such function.
    pub(crate) fn no_function(&mut self, name: &Name) {
        if name.text.is_empty() {
            return;
        }
        if let Some(why) = crate::functions::refused(&name.text) {
            let text = format!("the function `{}` is not supported: {why}", name.text);
            self.error("GQ100", name.span, text);
            return;
        }
        let known: Vec<&str> = crate::functions::capabilities().iter().map(|c| c.name).collect();
        let hint = names::hint(&name.text, known.into_iter());
        let diagnostic = Diagnostic::error("KS211", name.span, format!("`{}` is no function that is known", name.text));
        self.report(match hint {
            Some(hint) => diagnostic.hint(hint),
            None => diagnostic,
        });
    }

    /// Rows that are the same at every use. Only where they could differ (`take`, `rand`) are they computed first.
    fn materialized(&mut self, relation: Relation, span: Span) -> Relation {
        if !fold::is_volatile(&relation.plan) {
            return relation;
        }
        let like = relation.clone();
        let planned = relation.clone().bare();
        let bare = self.settle(span, &like, planned);
        match self.ask_rows(span, &bare.plan, MATERIALIZED_ROWS_MAX + 1) {
            Some(batches) => {
                let rows: usize = batches.iter().map(arrow::array::RecordBatch::num_rows).sum();
                if rows > MATERIALIZED_ROWS_MAX {
                    let text = format!("materialize() keeps at most {MATERIALIZED_ROWS_MAX} rows");
                    self.error("GQ112", span, text);
                }
                let planned = source::batches(bare.fields.clone(), batches);
                self.settle(span, &bare, planned)
            }
            None => bare,
        }
    }

    /// A pipeline. `input` is what stands before it where it has no source of its own (`mv-apply`, `partition`).
    pub(crate) fn pipeline(&mut self, pipeline: &Pipeline, input: Option<Relation>, span: Span) -> Relation {
        let _ = span;
        self.level += 1;
        let aggregates = self.aggregates.take();
        let steps = std::mem::take(&mut self.steps);
        let elements = std::mem::take(&mut self.elements);
        let pattern = self.pattern.take();
        let mut relation = match &pipeline.source {
            Some(source) => Some(self.rows_or_graph(source)),
            None => input,
        };
        for operator in &pipeline.operators {
            if !self.count(1, operator.span) {
                let fields = relation.map(|r| r.fields).unwrap_or_default();
                relation = Some(source::nothing(fields));
                break;
            }
            relation = Some(operators::bind(self, operator, relation));
        }
        self.elements = elements;
        self.pattern = pattern;
        self.steps = steps;
        self.aggregates = aggregates;
        self.level -= 1;
        match relation {
            Some(relation) => relation,
            None => self.broken_rows(),
        }
    }

    /// `toscalar(rows)`: the first column of the first row, as a constant.
    pub(crate) fn first_value(&mut self, expr: &Expr, span: Span) -> Bound {
        let environment = self.environment.clone();
        let value = self.value(expr);
        self.environment = environment;
        let relation = match value {
            Value::Scalar(bound, _) => return *bound,
            Value::Broken => return Bound::unknown(),
            other => {
                let relation = self.rows_of(other, span);
                self.no_graph(relation, span)
            }
        };
        let Some(first) = relation.fields.first().cloned() else { return Bound::unknown() };
        let null = Bound::new(fold::null(first.kind), first.kind);
        let item = (first.clone(), Relation::column(&first.name));
        let planned = relation.clone().bare().and_then(|r| r.project(vec![item])).and_then(|r| r.limit(1));
        let one = self.settle(span, &relation, planned);
        let Some(batches) = self.ask_rows(span, &one.plan, 1) else { return null };
        let Some(batch) = batches.iter().find(|b| b.num_rows() > 0) else { return null };
        let value = batch
            .columns()
            .first()
            .and_then(|c| ScalarValue::try_from_array(c, 0).ok())
            .and_then(|v| v.cast_to(&first.kind.arrow()).ok());
        match value {
            Some(value) if !(value.is_null() && first.kind == Type::Text) => {
                Bound::new(datafusion::logical_expr::Expr::Literal(value, None), first.kind)
            }
            _ => null,
        }
    }
}
