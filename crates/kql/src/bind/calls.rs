//! Calls: functions of the language, of the query, and the few that need to see the whole relation.

use crate::bind::environment::Value;
use crate::bind::{Binder, Bound, Label, Step};
use crate::functions::{self, Naming};
use crate::lower::fold;
use crate::lower::relation::{INGESTED, Relation};
use crate::syntax::ast::{Expr, ExprKind, Literal, Name};
use crate::{Span, Type};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::Expr as PlanExpr;
use std::rc::Rc;

impl Binder<'_> {
    pub(crate) fn call(&mut self, name: &Name, arguments: &[Expr], span: Span, rows: &Relation) -> Bound {
        if let Some(Value::Function(function)) = self.environment.get(&name.text) {
            let function = Rc::clone(function);
            return match self.call_function(&function, &name.text, arguments, None, rows, span) {
                Value::Scalar(bound, _) => bound.labelled(Label::None),
                Value::Rows(relation, _) if relation.fields.len() == 1 && relation.open => Bound::unknown(),
                Value::Rows(..) => {
                    self.error("KS108", span, format!("a value is expected here, and `{}` gives rows", name.text));
                    Bound::unknown()
                }
                Value::Function(_) | Value::Broken => Bound::unknown(),
            };
        }
        if self.pattern.is_some()
            && let Some(bound) = self.pattern_call(name, arguments, span)
        {
            return bound;
        }
        match (name.text.as_str(), arguments) {
            ("toscalar", [rows]) => return self.first_value(rows, span),
            ("column_ifexists" | "columnifexists", [column, default]) => {
                return self.column_if_exists(column, default, rows);
            }
            ("ingestion_time", []) => {
                let expr =
                    if rows.has_hidden(INGESTED) { Relation::column(INGESTED) } else { fold::null(Type::Datetime) };
                return Bound::new(expr, Type::Datetime);
            }
            ("pack_all", arguments) => return self.pack_all(arguments, rows, span),
            ("typeof", _) => {
                self.error("KS108", span, "a value is expected here, and this is a type");
                return Bound::unknown();
            }
            (word, _) if crate::bind::rows::makes_rows(word) => {
                self.error("KS108", span, format!("a value is expected here, and `{word}` gives rows"));
                return Bound::unknown();
            }
            _ => {}
        }
        if self.aggregates.is_some() && functions::aggregate(&name.text).is_some() {
            return self.aggregate_call(name, arguments, span, rows);
        }
        if functions::window(&name.text).is_some() {
            return self.window_call(name, arguments, span, rows);
        }
        if functions::scalar(&name.text).is_some() {
            return self.scalar_call(name, arguments, span, rows);
        }
        if functions::aggregate(&name.text).is_some() || operators_own(&name.text) {
            let text = format!("the aggregate `{}` cannot stand here", name.text);
            self.error("KS144", name.span, text);
            return Bound::unknown();
        }
        for argument in arguments {
            let _ = self.argument(argument, rows);
        }
        self.no_function(name);
        Bound::unknown()
    }

    /// An argument; a type is given as its name.
    fn argument(&mut self, expr: &Expr, rows: &Relation) -> Bound {
        match &expr.kind {
            ExprKind::TypeOf(columns) => {
                let word = columns.first().map_or("", |c| c.kind.text.as_str());
                let kind = crate::bind::words::kind(word).map_or("string", Type::name);
                Bound::new(fold::text(kind), Type::Text)
            }
            // A name for an argument is the name that the call gives on: `bin(Hour = Timestamp, 1h)`.
            ExprKind::Named { names, value, .. } if names.len() == 1 => {
                let bound = self.scalar(value, rows);
                let name = names.first().map_or_else(String::new, |n| n.text.clone());
                bound.labelled(Label::Implied(name))
            }
            _ => self.scalar(expr, rows),
        }
    }

    fn scalar_call(&mut self, name: &Name, arguments: &[Expr], span: Span, rows: &Relation) -> Bound {
        let Some(function) = functions::scalar(&name.text) else { return Bound::unknown() };
        let bound: Vec<Bound> = arguments.iter().map(|a| self.argument(a, rows)).collect();
        let kinds: Vec<Type> = bound.iter().map(|b| b.kind).collect();
        let spans: Vec<Span> = arguments.iter().map(|a| a.span).collect();
        let label = label(function.naming, &bound);
        let args: Vec<_> = bound.into_iter().map(|b| b.expr).collect();
        let kind = match function.result_with(&kinds, &args) {
            Ok(kind) => kind,
            Err(refusal) => {
                let place = if matches!(refusal, functions::Refusal::Count(..)) { name.span } else { span };
                return self.refusal(&refusal, &name.text, place, &spans).labelled(label);
            }
        };
        if kinds.contains(&Type::Unknown) || kind == Type::Unknown {
            return Bound::new(fold::null(kind), kind).labelled(label);
        }
        match function.lower(self.context, &kinds, args) {
            Ok(expr) => Bound::new(fold::folded(expr), kind).labelled(label),
            Err(refusal) => {
                let _ = self.refusal(&refusal, &name.text, span, &spans);
                Bound::new(fold::null(kind), kind).labelled(label)
            }
        }
    }

    /// A call of an aggregate where one may stand: it is gathered, and its value stands in a hidden column.
    fn aggregate_call(&mut self, name: &Name, arguments: &[Expr], span: Span, rows: &Relation) -> Bound {
        let Some(function) = functions::aggregate(&name.text) else { return Bound::unknown() };
        let gathered = self.aggregates.take();
        let bound: Vec<Bound> = arguments.iter().map(|a| self.argument(a, rows)).collect();
        self.aggregates = gathered;
        let kinds: Vec<Type> = bound.iter().map(|b| b.kind).collect();
        let spans: Vec<Span> = arguments.iter().map(|a| a.span).collect();
        let label = label(function.naming_of(&name.text), &bound);
        let args: Vec<_> = bound.into_iter().map(|b| b.expr).collect();
        let kind = match function.result(&kinds) {
            Ok(kind) => kind,
            Err(refusal) => {
                let place = if matches!(refusal, functions::Refusal::Count(..)) { name.span } else { span };
                return self.refusal(&refusal, &name.text, place, &spans).labelled(label);
            }
        };
        if kinds.contains(&Type::Unknown) || kind == Type::Unknown {
            return Bound::new(fold::null(kind), kind).labelled(label);
        }
        match function.lower(self.context, &kinds, args) {
            Ok(expr) => self.gather(expr, kind).labelled(label),
            Err(refusal) => {
                let _ = self.refusal(&refusal, &name.text, span, &spans);
                Bound::new(fold::null(kind), kind).labelled(label)
            }
        }
    }

    /// Gathers the aggregates within an expression; the same one is computed once. What is left reads their columns.
    pub(crate) fn gather(&mut self, expr: PlanExpr, kind: Type) -> Bound {
        let Some(gathered) = &mut self.aggregates else { return Bound::new(fold::null(kind), kind) };
        let outer = expr.transform_down(|part| {
            if !matches!(part, PlanExpr::AggregateFunction(_)) {
                return Ok(Transformed::no(part));
            }
            let at = match gathered.iter().position(|(e, _)| *e == part) {
                Some(at) => at,
                None => {
                    gathered.push((part, kind));
                    gathered.len() - 1
                }
            };
            Ok(Transformed::new(Relation::column(&aggregate_name(at)), true, TreeNodeRecursion::Jump))
        });
        match outer {
            Ok(outer) => Bound::new(outer.data, kind),
            Err(_) => Bound::new(fold::null(kind), kind),
        }
    }

    /// A call of a window function: it needs rows in an order.
    fn window_call(&mut self, name: &Name, arguments: &[Expr], span: Span, rows: &Relation) -> Bound {
        let Some(function) = functions::window(&name.text) else { return Bound::unknown() };
        let bound: Vec<Bound> = arguments.iter().map(|a| self.argument(a, rows)).collect();
        let kinds: Vec<Type> = bound.iter().map(|b| b.kind).collect();
        let spans: Vec<Span> = arguments.iter().map(|a| a.span).collect();
        let kind = match function.result(&kinds) {
            Ok(kind) => kind,
            Err(refusal) => {
                let place = if matches!(refusal, functions::Refusal::Count(..)) { name.span } else { span };
                return self.refusal(&refusal, &name.text, place, &spans);
            }
        };
        if !rows.serialized && !rows.open && self.rehearsal == 0 {
            let text = format!("`{}` needs rows in an order", name.text);
            let finding = crate::Diagnostic::error("GQ201", name.span, text);
            self.report(finding.hint("put `sort by …` or `serialize` before it"));
        }
        if kinds.contains(&Type::Unknown) || kind == Type::Unknown {
            return Bound::new(fold::null(kind), kind);
        }
        let args = bound.into_iter().map(|b| b.expr).collect();
        match function.lower(self.context, &kinds, args) {
            Ok(expr) => {
                let outer = expr.transform_down(|part| {
                    if !matches!(part, PlanExpr::WindowFunction(_)) {
                        return Ok(Transformed::no(part));
                    }
                    let hidden = self.fresh("window");
                    let column = Relation::column(&hidden);
                    self.steps.push(Step::Window(hidden, part));
                    Ok(Transformed::new(column, true, TreeNodeRecursion::Jump))
                });
                match outer {
                    Ok(outer) => Bound::new(outer.data, kind),
                    Err(_) => Bound::new(fold::null(kind), kind),
                }
            }
            Err(refusal) => {
                let _ = self.refusal(&refusal, &name.text, span, &spans);
                Bound::new(fold::null(kind), kind)
            }
        }
    }

    fn column_if_exists(&mut self, column: &Expr, default: &Expr, rows: &Relation) -> Bound {
        let name = match &column.kind {
            ExprKind::Literal(Literal::Text(text)) => text.clone(),
            ExprKind::Name(name) => match self.environment.get(&name.text) {
                Some(Value::Scalar(bound, _)) => fold::as_text(&bound.expr).unwrap_or_else(|| name.text.clone()),
                _ => name.text.clone(),
            },
            _ => {
                let bound = self.scalar(column, rows);
                fold::as_text(&bound.expr).unwrap_or_default()
            }
        };
        let default = self.scalar(default, rows);
        match rows.field(&name) {
            Some(field) => Bound::new(Relation::column(&name), field.kind).labelled(Label::Implied(name)),
            None => default,
        }
    }

    /// All columns as one bag.
    fn pack_all(&mut self, arguments: &[Expr], rows: &Relation, span: Span) -> Bound {
        let leave_empty = arguments.first().is_some_and(|a| {
            let bound = self.scalar(a, rows);
            matches!(fold::constant(&bound.expr), Some(ScalarValue::Boolean(Some(true))))
        });
        self.pack(rows, leave_empty, span)
    }

    /// Columns as one bag, by the language's own function for it.
    pub(crate) fn pack(&mut self, rows: &Relation, leave_empty: bool, span: Span) -> Bound {
        let Some(function) = functions::scalar("bag_pack") else { return Bound::unknown() };
        if rows.fields.is_empty() && !rows.open {
            return Bound::new(fold::text("{}"), Type::Dynamic);
        }
        let mut args = vec![];
        let mut kinds = vec![];
        for field in &rows.fields {
            args.push(fold::text(field.name.clone()));
            kinds.push(Type::Text);
            args.push(Relation::column(&field.name));
            kinds.push(field.kind);
        }
        if kinds.contains(&Type::Unknown) || rows.open {
            return Bound::new(fold::null(Type::Dynamic), Type::Dynamic);
        }
        let packed = match function.lower(self.context, &kinds, args) {
            Ok(expr) => Bound::new(expr, Type::Dynamic),
            Err(refusal) => return self.refusal(&refusal, "pack_all", span, &[]),
        };
        if leave_empty {
            let expr = crate::lower::bags::without_empty(packed.expr);
            return Bound::new(expr, Type::Dynamic);
        }
        packed
    }
}

/// Aggregates that give several columns and so belong to `summarize` itself.
pub(crate) fn operators_own(name: &str) -> bool {
    matches!(
        name,
        "arg_max" | "arg_min" | "argmax" | "argmin" | "percentiles" | "take_any" | "any" | "anyif" | "percentilesw"
    )
}

/// Name of the hidden column of the aggregate at `at`.
pub(crate) fn aggregate_name(at: usize) -> String {
    format!("\u{1}aggregate{at}")
}

/// The name that a call gives to its column.
pub(crate) fn label(naming: Naming, arguments: &[Bound]) -> Label {
    let first = arguments.first().and_then(|a| a.label.text());
    match naming {
        Naming::Argument => first.map_or(Label::None, |t| Label::Implied(t.to_owned())),
        Naming::OnlyArgument if arguments.len() == 1 => first.map_or(Label::None, |t| Label::Implied(t.to_owned())),
        Naming::OnlyArgument | Naming::None => Label::None,
        Naming::Prefix(prefix) => Label::Implied(format!("{prefix}_{}", first.unwrap_or_default())),
        Naming::PrefixAndLast(prefix) => {
            let last = arguments.last().and_then(|a| fold::constant(&a.expr)).map(|v| number_text(&v));
            Label::Implied(format!("{prefix}_{}_{}", first.unwrap_or_default(), last.unwrap_or_default()))
        }
    }
}

/// A number as a part of a name.
pub(crate) fn number_text(value: &ScalarValue) -> String {
    value.to_string().replace(['.', '-'], "_")
}
