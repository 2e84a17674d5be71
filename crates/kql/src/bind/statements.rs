//! Statements: `let` and the question itself.

use crate::bind::environment::{Function, Value};
use crate::bind::{Binder, Bound};
use crate::lower::relation::Relation;
use crate::lower::{fold, source};
use crate::syntax::ast::{Expr, ExprKind, Lambda, ParameterKind, Query, StatementKind};
use crate::{Span, Type};
use std::rc::Rc;

impl Binder<'_> {
    /// All statements of a text or of a function's body; what the last one is.
    pub(crate) fn statements(&mut self, query: &Query, scope: usize) -> Value {
        let mut last = Value::Broken;
        let mut asked = false;
        for statement in &query.statements {
            match &statement.kind {
                StatementKind::Let { name, value } => {
                    if self.environment.declared(&name.text, scope) {
                        self.error("KS201", name.span, format!("`{}` is already declared", name.text));
                    }
                    let value = self.value(value);
                    self.environment = self.environment.with(name.text.clone(), value, scope);
                }
                StatementKind::Set { .. } => {}
                StatementKind::Parameters(parameters) => {
                    for parameter in parameters {
                        let value = match &parameter.kind {
                            ParameterKind::Scalar(kind) => {
                                let kind = self.kind(kind);
                                let bound = parameter.default.as_ref().map_or_else(
                                    || Bound::new(fold::null(kind), kind),
                                    |d| self.scalar(d, &source::unit()),
                                );
                                Value::Scalar(Box::new(self.converted(bound, kind)), self.level)
                            }
                            ParameterKind::Rows(_) => Value::Broken,
                        };
                        self.environment = self.environment.with(parameter.name.text.clone(), value, scope);
                    }
                }
                StatementKind::Refused(name) => {
                    self.refuse(statement.span, format!("the statement `{}`", name.text));
                }
                StatementKind::Expression(expr) => {
                    asked = true;
                    last = self.value(expr);
                }
            }
        }
        if !asked && scope == 0 && !self.has_errors() {
            self.error("GQ102", query.span, "the query asks for nothing: its last statement must give rows");
        }
        last
    }

    /// What an expression is: a value, rows or a function.
    pub(crate) fn value(&mut self, expr: &Expr) -> Value {
        match &expr.kind {
            ExprKind::Missing => Value::Broken,
            ExprKind::Parens(inner) => self.value(inner),
            ExprKind::Lambda(lambda) => self.function(lambda),
            ExprKind::Pipeline(_) | ExprKind::DataTable { .. } | ExprKind::ExternalData { .. } => self.as_rows(expr),
            ExprKind::Name(name) => match self.environment.get(&name.text) {
                Some(Value::Function(function)) if function.lambda.parameters.is_empty() => {
                    let function = Rc::clone(function);
                    self.call_function(&function, &name.text, &[], None, &source::unit(), expr.span)
                }
                Some(value @ (Value::Scalar(..) | Value::Broken)) => value.clone(),
                Some(Value::Rows(..) | Value::Function(_)) => self.as_rows(expr),
                None if self.catalog.shape(&name.text).is_some() => self.as_rows(expr),
                // Where a value and rows are both possible, a name that is neither is asked for as a table.
                None => self.as_rows(expr),
            },
            ExprKind::Call { name, arguments } => {
                if let Some(Value::Function(function)) = self.environment.get(&name.text) {
                    let function = Rc::clone(function);
                    return self.call_function(&function, &name.text, arguments, None, &source::unit(), expr.span);
                }
                if crate::bind::rows::makes_rows(&name.text) {
                    return self.as_rows(expr);
                }
                self.as_scalar(expr)
            }
            _ => self.as_scalar(expr),
        }
    }

    fn as_rows(&mut self, expr: &Expr) -> Value {
        let before = self.operators;
        let relation = self.rows_or_graph(expr);
        Value::Rows(Box::new(relation), self.operators.saturating_sub(before))
    }

    fn as_scalar(&mut self, expr: &Expr) -> Value {
        let bound = self.scalar(expr, &source::unit());
        if !self.steps.is_empty() {
            self.steps.clear();
            self.refuse(expr.span, "a membership in rows outside an operator");
        }
        Value::Scalar(Box::new(bound), self.level)
    }

    /// A function's definition: its body is read once with nothing in its parameters, so that its mistakes are found
    /// even if nobody calls it.
    fn function(&mut self, lambda: &Lambda) -> Value {
        let function = Rc::new(Function { lambda: lambda.clone(), environment: self.environment.clone() });
        let mut environment = self.environment.clone();
        let scope = self.calls.len() + 1;
        let mut scalars_begun = false;
        for parameter in &lambda.parameters {
            let value = match &parameter.kind {
                ParameterKind::Scalar(kind) => {
                    scalars_begun = true;
                    let kind = self.kind(kind);
                    let bound = Bound::new(fold::null(kind), kind);
                    Value::Scalar(Box::new(bound), self.level)
                }
                ParameterKind::Rows(columns) => {
                    if scalars_begun {
                        self.error("KS226", parameter.span, "parameters that take rows come first");
                    }
                    let fields = columns.as_ref().map(|c| self.declared(c)).unwrap_or_default();
                    Value::Rows(Box::new(source::nothing(fields)), 0)
                }
            };
            environment = environment.with(parameter.name.text.clone(), value, scope);
        }
        if self.enter(lambda.body.span) {
            let outer = std::mem::replace(&mut self.environment, environment);
            self.rehearsal += 1;
            let operators = self.operators;
            let _ = self.statements(&lambda.body, scope);
            self.operators = operators;
            self.rehearsal -= 1;
            self.environment = outer;
            self.calls.pop();
        }
        Value::Function(function)
    }

    /// A call of a function of the query. `first` is what `invoke` gives as the first argument.
    pub(crate) fn call_function(
        &mut self,
        function: &Function,
        name: &str,
        arguments: &[Expr],
        first: Option<Relation>,
        rows: &Relation,
        span: Span,
    ) -> Value {
        let parameters = &function.lambda.parameters;
        let scope = self.calls.len() + 1;
        let mut environment = function.environment.clone();
        let most = parameters.len();
        let least = parameters.iter().filter(|p| p.default.is_none()).count();
        let given = arguments.len() + usize::from(first.is_some());
        if given < least || given > most {
            let takes = if least == most { format!("{most}") } else { format!("{least} to {most}") };
            self.error("KS119", span, format!("the function `{name}` takes {takes} arguments, not {given}"));
            return Value::Broken;
        }
        let mut first = first;
        let mut positional = arguments.iter().filter(|a| !matches!(a.kind, ExprKind::Named { .. }));
        for parameter in parameters {
            let named = arguments.iter().find_map(|a| match &a.kind {
                ExprKind::Named { names, value, .. } => {
                    (names.first()?.text == parameter.name.text).then_some(value.as_ref())
                }
                _ => None,
            });
            let value = match &parameter.kind {
                ParameterKind::Rows(columns) => {
                    let relation = match first.take() {
                        Some(relation) => relation,
                        None => match named.or_else(|| positional.next()) {
                            Some(argument) => self.rows(argument),
                            None => source::nothing(vec![]),
                        },
                    };
                    if let Some(columns) = columns {
                        let missing = !relation.open
                            && columns.iter().any(|c| {
                                let kind = crate::bind::words::kind(&c.kind.text);
                                !relation
                                    .fields
                                    .iter()
                                    .any(|f| f.name == c.name.text && kind.is_none_or(|k| k == f.kind))
                            });
                        if missing {
                            self.error("KS249", span, format!("the rows given to `{name}` lack columns that it needs"));
                        }
                    }
                    Value::Rows(Box::new(relation), 0)
                }
                ParameterKind::Scalar(kind) => {
                    let kind = self.kind(kind);
                    let bound = match named.or_else(|| positional.next()).or(parameter.default.as_ref()) {
                        Some(argument) => self.scalar(argument, rows),
                        None => Bound::new(fold::null(kind), kind),
                    };
                    Value::Scalar(Box::new(self.converted(bound, kind)), self.level)
                }
            };
            environment = environment.with(parameter.name.text.clone(), value, scope);
        }
        if !self.count(1, span) || !self.enter(span) {
            return Value::Broken;
        }
        let outer = std::mem::replace(&mut self.environment, environment);
        let value = self.statements(&function.lambda.body, scope);
        self.environment = outer;
        self.calls.pop();
        value
    }

    /// A value as another type.
    pub(crate) fn converted(&mut self, bound: Bound, kind: Type) -> Bound {
        if bound.kind == kind || kind == Type::Unknown {
            return bound;
        }
        if bound.kind == Type::Unknown {
            return Bound { expr: fold::null(kind), kind, label: bound.label };
        }
        let expr = fold::folded(crate::functions::cast(bound.kind, kind, bound.expr));
        Bound { expr, kind, label: bound.label }
    }
}
