//! Scalar expressions.

use crate::bind::environment::Value;
use crate::bind::{Binder, Bound, Label, Step, names};
use crate::functions::{self, Binary, Membership, Refusal};
use crate::lower::relation::Relation;
use crate::lower::{fold, predicate};
use crate::syntax::ast::{Expr, ExprKind, Json, Literal, Name};
use crate::{DECIMAL, Diagnostic, Span, Type};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr as PlanExpr;

/// Values that `has_any` and `has_all` take from rows.
const LIST_ROWS_MAX: usize = 10_000;

impl Binder<'_> {
    /// A predicate over rows, as a filter wants it.
    pub(crate) fn predicate(&mut self, expr: &Expr, rows: &Relation) -> PlanExpr {
        let bound = self.scalar(expr, rows);
        match bound.kind {
            Type::Bool => predicate::for_filter(bound.expr),
            Type::Unknown => datafusion::logical_expr::lit(true),
            _ => {
                self.error("KS141", expr.span, format!("a bool is expected here, and this is `{}`", bound.kind.name()));
                datafusion::logical_expr::lit(true)
            }
        }
    }

    /// A whole number that is constant.
    pub(crate) fn whole(&mut self, expr: &Expr) -> Option<i64> {
        let bound = self.scalar(expr, &crate::lower::source::unit());
        match bound.kind {
            Type::Int | Type::Long => {
                let value = fold::as_long(&bound.expr);
                if value.is_none() && self.real && self.needs.is_empty() && self.rehearsal == 0 && !self.has_errors() {
                    self.error("KS129", expr.span, "a constant is expected here");
                }
                value
            }
            Type::Unknown => None,
            _ => {
                self.error("KS134", expr.span, "a whole number is expected here");
                None
            }
        }
    }

    /// An expression over the columns of rows.
    pub(crate) fn scalar(&mut self, expr: &Expr, rows: &Relation) -> Bound {
        match &expr.kind {
            ExprKind::Missing => Bound::unknown(),
            ExprKind::Literal(literal) => self.literal(literal, expr.span),
            ExprKind::Dynamic(json) => match self.json(json) {
                Some(text) => Bound::new(fold::text(text), Type::Dynamic),
                None => Bound::new(fold::null(Type::Dynamic), Type::Dynamic),
            },
            ExprKind::Name(name) => self.name(name, rows),
            ExprKind::Parens(inner) => self.scalar(inner, rows),
            ExprKind::Path { base, name } => self.path(base, name, expr.span, rows),
            ExprKind::Index { base, index } => self.index(base, index, expr.span, rows),
            ExprKind::Call { name, arguments } => self.call(name, arguments, expr.span, rows),
            ExprKind::Named { value, .. } => {
                self.error("KS193", expr.span, "a name cannot be given here");
                self.scalar(value, rows)
            }
            ExprKind::Unary { minus, operand } => {
                let bound = self.scalar(operand, rows);
                if !minus || bound.kind == Type::Unknown {
                    return Bound { label: Label::None, ..bound };
                }
                let kind = functions::negate(bound.kind).unwrap_or(Type::Unknown);
                match functions::lower_negate(bound.kind, bound.expr) {
                    Ok(expr) => Bound::new(fold::folded(expr), kind),
                    Err(refusal) => self.refusal(&refusal, "-", expr.span, &[]),
                }
            }
            ExprKind::Binary { op, left, right } => self.binary(op, left, right, expr.span, rows),
            ExprKind::Member { op, left, list } => self.member(op, left, list, expr.span, rows),
            ExprKind::Between { negated, left, low, high, op } => {
                let (left, low, high) = (self.scalar(left, rows), self.scalar(low, rows), self.scalar(high, rows));
                let kinds = [left.kind, low.kind, high.kind];
                if kinds.contains(&Type::Unknown) && functions::between(kinds).is_ok() {
                    return Bound::new(fold::null(Type::Bool), Type::Bool);
                }
                let word = if *negated { "!between" } else { "between" };
                let exprs = [left.expr, low.expr, high.expr];
                match functions::between(kinds)
                    .and_then(|_| functions::lower_between(*negated, self.context, kinds, exprs))
                {
                    Ok(expr) => Bound::new(fold::folded(expr), Type::Bool),
                    Err(refusal) => {
                        self.refusal(&refusal, word, *op, &[]);
                        Bound::new(fold::null(Type::Bool), Type::Bool)
                    }
                }
            }
            ExprKind::Star => {
                self.error("KS191", expr.span, "`*` cannot stand here");
                Bound::unknown()
            }
            ExprKind::TypeOf(_) => {
                self.error("KS108", expr.span, "a value is expected here, and this is a type");
                Bound::unknown()
            }
            ExprKind::Wildcard(name) => {
                self.error("KS268", name.span, "a name with wildcards cannot stand here");
                Bound::unknown()
            }
            ExprKind::Lambda(_)
            | ExprKind::DataTable { .. }
            | ExprKind::ExternalData { .. }
            | ExprKind::Pipeline(_) => {
                let diagnostic = Diagnostic::error("KS108", expr.span, "a value is expected here, and these are rows");
                self.report(diagnostic.hint("toscalar(…) gives the first value of rows"));
                Bound::unknown()
            }
        }
    }

    fn literal(&mut self, literal: &Literal, span: Span) -> Bound {
        let utc = || Some("UTC".into());
        let (value, kind) = match literal {
            Literal::Bool(v) => (ScalarValue::Boolean(*v), Type::Bool),
            Literal::Int(v) => (ScalarValue::Int32(*v), Type::Int),
            Literal::Long(v) => (ScalarValue::Int64(*v), Type::Long),
            Literal::Real(v) => (ScalarValue::Float64(*v), Type::Real),
            Literal::Decimal(v) => (self.decimal(v.as_deref(), span), Type::Decimal),
            Literal::Text(v) => (ScalarValue::Utf8(Some(v.clone())), Type::Text),
            Literal::Datetime(v) => (ScalarValue::TimestampMicrosecond(*v, utc()), Type::Datetime),
            Literal::Timespan(v) => (ScalarValue::DurationMicrosecond(*v), Type::Timespan),
            Literal::Guid(v) => (ScalarValue::Utf8(v.clone()), Type::Guid),
        };
        Bound::new(PlanExpr::Literal(value, None), kind)
    }

    fn decimal(&mut self, digits: Option<&str>, span: Span) -> ScalarValue {
        let null = ScalarValue::Decimal128(None, DECIMAL.0, DECIMAL.1);
        let Some(digits) = digits else { return null };
        match ScalarValue::Utf8(Some(digits.to_owned())).cast_to(&Type::Decimal.arrow()) {
            Ok(value) => value,
            Err(_) => {
                self.error("KS004", span, "this is no decimal number");
                null
            }
        }
    }

    /// What stands in `dynamic(…)` as JSON text; `None` for null.
    fn json(&mut self, json: &Json) -> Option<String> {
        if matches!(json, Json::Null) {
            return None;
        }
        let mut out = String::new();
        self.write_json(json, &mut out);
        (out != "null").then_some(out)
    }

    fn write_json(&mut self, json: &Json, out: &mut String) {
        match json {
            Json::Null => out.push_str("null"),
            Json::Value(literal) => {
                let bound = self.literal(literal, Span::default());
                let dynamic = self.converted(bound, Type::Dynamic);
                match fold::constant(&dynamic.expr) {
                    Some(ScalarValue::Utf8(Some(text))) => out.push_str(&text),
                    _ => out.push_str("null"),
                }
            }
            Json::Array(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    self.write_json(item, out);
                }
                out.push(']');
            }
            Json::Object(pairs) => {
                out.push('{');
                for (at, (name, value)) in pairs.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    out.push_str(&serde_json::Value::from(name.as_str()).to_string());
                    out.push(':');
                    self.write_json(value, out);
                }
                out.push('}');
            }
        }
    }

    /// A name: a column, else a variable.
    fn name(&mut self, name: &Name, rows: &Relation) -> Bound {
        if name.text.is_empty() {
            return Bound::unknown();
        }
        if let Some(field) = rows.field(&name.text) {
            let column = Relation::column(&field.name);
            return Bound::new(column, field.kind).labelled(Label::Column(field.name.clone()));
        }
        if let Some(whole) = self.whole_element(&name.text) {
            return whole;
        }
        match self.environment.get(&name.text).cloned() {
            Some(Value::Scalar(bound, level)) => {
                if level != self.level && bound.expr.any_column_refs() {
                    self.refuse(name.span, format!("the value of a row (`{}`) within other rows", name.text));
                    return Bound::unknown();
                }
                let label = Label::Implied(name.text.clone());
                bound.labelled(label)
            }
            Some(Value::Rows(..)) => {
                let text = format!("a value is expected here, and `{}` is rows", name.text);
                self.report(
                    Diagnostic::error("KS108", name.span, text).hint("toscalar(…) gives the first value of rows"),
                );
                Bound::unknown()
            }
            Some(Value::Function(function)) if function.lambda.parameters.is_empty() => {
                match self.call_function(&function, &name.text, &[], None, rows, name.span) {
                    Value::Scalar(bound, _) => bound.labelled(Label::None),
                    _ => Bound::unknown(),
                }
            }
            Some(Value::Function(_)) => {
                self.error("KS117", name.span, format!("the function `{}` needs its arguments", name.text));
                Bound::unknown()
            }
            Some(Value::Broken) => Bound::unknown(),
            None if rows.open => Bound::unknown().labelled(Label::Column(name.text.clone())),
            None if self.catalog.shape(&name.text).is_some() && rows.fields.is_empty() => {
                self.error("KS108", name.span, format!("a value is expected here, and `{}` is a table", name.text));
                Bound::unknown()
            }
            None => {
                self.no_column(name, rows);
                Bound::unknown().labelled(Label::Column(name.text.clone()))
            }
        }
    }

    /// Says that there is no such column.
    pub(crate) fn no_column(&mut self, name: &Name, rows: &Relation) {
        let ours: Vec<String> = self.environment.names().map(|(n, _)| n.to_owned()).collect();
        let hint = if name.text == "TimeGenerated" && rows.field("Timestamp").is_some() {
            Some("the column is called `Timestamp` here".to_owned())
        } else {
            names::hint(&name.text, rows.fields.iter().map(|f| f.name.as_str()).chain(ours.iter().map(String::as_str)))
        };
        let text = format!("`{}` is no column, no variable and no function that is known", name.text);
        let diagnostic = Diagnostic::error("KS142", name.span, text);
        self.report(match hint {
            Some(hint) => diagnostic.hint(hint),
            None => diagnostic,
        });
    }

    fn path(&mut self, base: &Expr, name: &Name, span: Span, rows: &Relation) -> Bound {
        if let ExprKind::Name(side) = &base.kind
            && matches!(side.text.as_str(), "$left" | "$right")
        {
            self.error("KS182", span, "`$left` and `$right` can only stand in the conditions of a join");
            return Bound::unknown();
        }
        if let ExprKind::Name(element) = &base.kind
            && rows.field(&element.text).is_none()
            && self.element(&element.text).is_some()
        {
            return self.property_of(&element.text, name);
        }
        let base = self.scalar(base, rows);
        let label = match base.label.text() {
            Some(text) => Label::Implied(format!("{text}_{}", name.text)),
            None => Label::Implied(name.text.clone()),
        };
        match base.kind {
            Type::Dynamic => {
                let expr = functions::property(base.expr, &name.text);
                Bound::new(fold::folded(expr), Type::Dynamic).labelled(label)
            }
            Type::Unknown => Bound::unknown().labelled(label),
            kind => {
                let text = format!("a `{}` has no properties", kind.name());
                let diagnostic = Diagnostic::error("KS142", name.span, text);
                self.report(if kind == Type::Text {
                    diagnostic.hint("parse_json(…) makes a dynamic value of text")
                } else {
                    diagnostic
                });
                Bound::unknown().labelled(label)
            }
        }
    }

    fn index(&mut self, base: &Expr, index: &Expr, span: Span, rows: &Relation) -> Bound {
        let base = self.scalar(base, rows);
        let index = self.scalar(index, rows);
        let suffix = match fold::constant(&index.expr) {
            Some(ScalarValue::Utf8(Some(text))) => text,
            Some(ScalarValue::Int64(Some(n))) if n >= 0 => n.to_string(),
            _ => String::new(),
        };
        let label = match base.label.text() {
            Some(text) => Label::Implied(format!("{text}_{suffix}")),
            None => Label::None,
        };
        match base.kind {
            Type::Dynamic if index.kind != Type::Unknown => {
                match functions::element(base.expr, index.kind, index.expr) {
                    Ok(expr) => Bound::new(fold::folded(expr), Type::Dynamic).labelled(label),
                    Err(refusal) => self.refusal(&refusal, "[]", span, &[]).labelled(label),
                }
            }
            Type::Dynamic => Bound::new(fold::null(Type::Dynamic), Type::Dynamic).labelled(label),
            Type::Unknown => Bound::unknown().labelled(label),
            kind => {
                self.error("KS147", span, format!("a `{}` has no elements", kind.name()));
                Bound::unknown().labelled(label)
            }
        }
    }

    /// Says why a call or an operator does not fit.
    pub(crate) fn refusal(&mut self, refusal: &Refusal, what: &str, span: Span, arguments: &[Span]) -> Bound {
        let place = match refusal {
            Refusal::Argument { at, .. } | Refusal::NotConstant { at } => arguments.get(*at).copied().unwrap_or(span),
            _ => span,
        };
        // A parameter has no value while a function's body is read for its mistakes, so a bad value is none.
        if self.rehearsal == 0 || !matches!(refusal, Refusal::Value(_)) {
            self.error(refusal.code(), place, format!("`{what}`: {refusal}"));
        }
        Bound::unknown()
    }

    fn binary(&mut self, op: &Name, left: &Expr, right: &Expr, span: Span, rows: &Relation) -> Bound {
        let Some(operator) = binary(&op.text) else {
            self.refuse(op.span, format!("the operator `{}`", op.text));
            return Bound::unknown();
        };
        if matches!(left.kind, ExprKind::Star) {
            let right = self.scalar(right, rows);
            return self.any_column(operator, &right, op, rows);
        }
        let (left, right) = (self.scalar(left, rows), self.scalar(right, rows));
        self.operate(operator, left, right, op, span)
    }

    /// An operator between two values.
    pub(crate) fn operate(&mut self, operator: Binary, left: Bound, right: Bound, op: &Name, span: Span) -> Bound {
        let kinds = [left.kind, right.kind];
        let kind = match functions::binary(operator, [left.kind, right.kind]) {
            Ok(kind) => kind,
            Err(refusal) => {
                let _ = self.refusal(&refusal, &op.text, op.span, &[]);
                let truth = !matches!(
                    operator,
                    Binary::Add | Binary::Subtract | Binary::Multiply | Binary::Divide | Binary::Modulo
                );
                return if truth { Bound::new(fold::null(Type::Bool), Type::Bool) } else { Bound::unknown() };
            }
        };
        if kinds.contains(&Type::Unknown) {
            return Bound::new(fold::null(kind), kind);
        }
        match functions::lower_binary(operator, self.context, kinds, [left.expr, right.expr]) {
            Ok(expr) => Bound::new(fold::folded(expr), kind),
            Err(refusal) => {
                let _ = self.refusal(&refusal, &op.text, span, &[]);
                Bound::new(fold::null(kind), kind)
            }
        }
    }

    /// `* has x`: whether any column holds it. Columns of other types than text are read as their text.
    pub(crate) fn any_column(&mut self, operator: Binary, right: &Bound, op: &Name, rows: &Relation) -> Bound {
        let mut any: Option<PlanExpr> = None;
        for field in &rows.fields {
            let column = Relation::column(&field.name);
            let text = match field.kind {
                Type::Text | Type::Dynamic => Bound::new(column, field.kind),
                Type::Unknown => continue,
                kind if right.kind == Type::Text => Bound::new(functions::text(kind, column), Type::Text),
                kind => {
                    if functions::binary(operator, [kind, right.kind]).is_err() {
                        continue;
                    }
                    Bound::new(column, kind)
                }
            };
            if functions::binary(operator, [text.kind, right.kind]).is_err() {
                continue;
            }
            let one = self.operate(operator, text, right.clone(), op, op.span);
            any = Some(match any {
                Some(all) => all.or(predicate::for_filter(one.expr)),
                None => predicate::for_filter(one.expr),
            });
        }
        let any = any.unwrap_or_else(|| datafusion::logical_expr::lit(false));
        Bound::new(
            datafusion::functions::expr_fn::coalesce(vec![any, datafusion::logical_expr::lit(false)]),
            Type::Bool,
        )
    }

    fn member(&mut self, op: &Name, left: &Expr, list: &[Expr], span: Span, rows: &Relation) -> Bound {
        let truth = || Bound::new(fold::null(Type::Bool), Type::Bool);
        let Some(operator) = membership(&op.text) else {
            self.refuse(op.span, format!("the operator `{}`", op.text));
            return truth();
        };
        if matches!(left.kind, ExprKind::Star) {
            return self.any_column_member(operator, op, list, span, rows);
        }
        let value = self.scalar(left, rows);
        let Some(items) = self.list(operator, list, rows) else { return truth() };
        let items = match items {
            Items::Values(items) => items,
            Items::Rows(relation) => return self.among(operator, value, *relation, op, span, rows),
        };
        self.member_of(operator, value, items, op, list)
    }

    fn member_of(&mut self, operator: Membership, value: Bound, items: Vec<Bound>, op: &Name, list: &[Expr]) -> Bound {
        let kinds: Vec<Type> = items.iter().map(|i| i.kind).collect();
        let unknown = value.kind == Type::Unknown || kinds.contains(&Type::Unknown);
        if let Err(refusal) = functions::membership(operator, value.kind, &kinds) {
            let spans: Vec<Span> = list.iter().map(|e| e.span).collect();
            let _ = self.refusal(&refusal, &op.text, op.span, &spans);
            return Bound::new(fold::null(Type::Bool), Type::Bool);
        }
        if unknown {
            return Bound::new(fold::null(Type::Bool), Type::Bool);
        }
        let exprs = items.into_iter().map(|i| i.expr).collect();
        match functions::lower_membership(operator, self.context, value.kind, value.expr, &kinds, exprs) {
            Ok(expr) => Bound::new(fold::folded(expr), Type::Bool),
            Err(refusal) => {
                let _ = self.refusal(&refusal, &op.text, op.span, &[]);
                Bound::new(fold::null(Type::Bool), Type::Bool)
            }
        }
    }

    fn any_column_member(
        &mut self,
        operator: Membership,
        op: &Name,
        list: &[Expr],
        span: Span,
        rows: &Relation,
    ) -> Bound {
        let truth = Bound::new(fold::null(Type::Bool), Type::Bool);
        let Some(Items::Values(items)) = self.list(operator, list, rows) else {
            self.refuse(span, "`*` with a list from rows");
            return truth;
        };
        let mut any: Option<PlanExpr> = None;
        for field in rows.fields.iter().filter(|f| f.kind == Type::Text) {
            let value = Bound::new(Relation::column(&field.name), field.kind);
            let one = self.member_of(operator, value, items.clone(), op, list).expr;
            any = Some(any.map_or_else(|| one.clone(), |all| all.or(one.clone())));
        }
        Bound::new(any.unwrap_or_else(|| datafusion::logical_expr::lit(false)), Type::Bool)
    }

    /// A list's values; or its rows, where it is one pipeline.
    fn list(&mut self, operator: Membership, list: &[Expr], rows: &Relation) -> Option<Items> {
        if let [only] = list
            && let Some(relation) = self.rows_in_list(only, rows)
        {
            let Some(first) = relation.fields.first().cloned() else {
                if !relation.open {
                    self.error("KS113", only.span, "these rows have no column");
                }
                return None;
            };
            if !matches!(operator, Membership::HasAny | Membership::HasAll) {
                return Some(Items::Rows(Box::new(relation)));
            }
            let item = (first.clone(), Relation::column(&first.name));
            let planned = relation.clone().bare().and_then(|r| r.project(vec![item]));
            let one = self.settle(only.span, &relation, planned);
            let batches = self.ask_rows(only.span, &one.plan, LIST_ROWS_MAX + 1)?;
            let mut items = vec![];
            for batch in &batches {
                let Some(column) = batch.columns().first() else { continue };
                for row in 0..batch.num_rows() {
                    let value = ScalarValue::try_from_array(column, row).ok()?.cast_to(&first.kind.arrow()).ok()?;
                    items.push(Bound::new(PlanExpr::Literal(value, None), first.kind));
                }
            }
            if items.len() > LIST_ROWS_MAX {
                self.error("GQ112", only.span, format!("a list from rows has at most {LIST_ROWS_MAX} values here"));
                return None;
            }
            return Some(Items::Values(items));
        }
        Some(Items::Values(list.iter().map(|e| self.scalar(e, rows)).collect()))
    }

    /// The rows that a list's only element is, if it is rows.
    fn rows_in_list(&mut self, expr: &Expr, rows: &Relation) -> Option<Relation> {
        match &expr.kind {
            ExprKind::Parens(inner) => self.rows_in_list(inner, rows),
            ExprKind::Pipeline(_) | ExprKind::DataTable { .. } | ExprKind::ExternalData { .. } => Some(self.rows(expr)),
            ExprKind::Name(name) if rows.field(&name.text).is_none() => match self.environment.get(&name.text) {
                Some(Value::Rows(..)) => Some(self.rows(expr)),
                Some(_) => None,
                None => self.catalog.shape(&name.text).map(|_| self.rows(expr)),
            },
            ExprKind::Call { name, arguments } => {
                if let Some(Value::Function(function)) = self.environment.get(&name.text).cloned() {
                    return match self.call_function(&function, &name.text, arguments, None, rows, expr.span) {
                        value @ Value::Rows(..) => Some(self.rows_of(value, expr.span)),
                        _ => None,
                    };
                }
                crate::bind::rows::makes_rows(&name.text).then(|| self.rows(expr))
            }
            _ => None,
        }
    }

    /// Whether a value is in the first column of rows.
    fn among(
        &mut self,
        operator: Membership,
        value: Bound,
        relation: Relation,
        op: &Name,
        span: Span,
        rows: &Relation,
    ) -> Bound {
        let Some(first) = relation.fields.first().cloned() else { return Bound::unknown() };
        let truth = Bound::new(fold::null(Type::Bool), Type::Bool);
        if value.kind == Type::Unknown || first.kind == Type::Unknown {
            return truth;
        }
        // A single dynamic value of rows is a list itself: `summarize make_list(x)`.
        if first.kind == Type::Dynamic {
            let item = (first.clone(), Relation::column(&first.name));
            let planned = relation.clone().bare().and_then(|r| r.project(vec![item]));
            let one = self.settle(span, &relation, planned);
            let spread = crate::operators::mv_expand::spread(one, &first.name);
            let spread = self.settle(span, &relation, spread);
            return self.among_values(operator, value, spread, op, span, rows);
        }
        self.among_values(operator, value, relation, op, span, rows)
    }

    fn among_values(
        &mut self,
        operator: Membership,
        value: Bound,
        relation: Relation,
        op: &Name,
        span: Span,
        rows: &Relation,
    ) -> Bound {
        let truth = Bound::new(fold::null(Type::Bool), Type::Bool);
        let Some(first) = relation.fields.first().cloned() else { return truth };
        if let Err(refusal) = functions::membership(operator, value.kind, &[first.kind]) {
            let _ = self.refusal(&refusal, &op.text, op.span, &[]);
            return truth;
        }
        let folds = matches!(operator, Membership::InTilde | Membership::NotInTilde);
        let common = if value.kind == first.kind && !folds {
            first.kind
        } else if value.kind == Type::Text || first.kind == Type::Text || first.kind == Type::Dynamic || folds {
            Type::Text
        } else {
            match (value.kind, first.kind) {
                (Type::Int | Type::Long, Type::Int | Type::Long) => Type::Long,
                (Type::Decimal, _) | (_, Type::Decimal) => Type::Decimal,
                _ => Type::Real,
            }
        };
        let column = Bound::new(Relation::column(&first.name), first.kind);
        let (value, column) = (self.converted(value, common), self.converted(column, common));
        let (mut left, mut right) = (rows.key(common, value.expr), relation.key(common, column.expr));
        if folds {
            left = datafusion::functions::expr_fn::lower(left);
            right = datafusion::functions::expr_fn::lower(right);
        }
        let like = relation.clone();
        let planned = relation
            .bare()
            .and_then(|r| r.project(vec![(crate::lower::relation::Field::new(first.name, common), right)]));
        let among = self.settle(span, &like, planned);
        let name = self.fresh("member");
        let column = Relation::column(&name);
        self.steps.push(Step::Member { name, value: left, among: Box::new(among) });
        let negated = matches!(operator, Membership::NotIn | Membership::NotInTilde);
        Bound::new(if negated { column.is_null() } else { column.is_not_null() }, Type::Bool)
    }
}

enum Items {
    Values(Vec<Bound>),
    Rows(Box<Relation>),
}

fn membership(word: &str) -> Option<Membership> {
    Some(match word {
        "in" => Membership::In,
        "!in" => Membership::NotIn,
        "in~" => Membership::InTilde,
        "!in~" => Membership::NotInTilde,
        "has_any" => Membership::HasAny,
        "has_all" => Membership::HasAll,
        _ => return None,
    })
}

/// An operator by its word.
pub(crate) fn binary(word: &str) -> Option<Binary> {
    use Binary as B;
    Some(match word {
        "+" => B::Add,
        "-" => B::Subtract,
        "*" => B::Multiply,
        "/" => B::Divide,
        "%" => B::Modulo,
        "and" => B::And,
        "or" => B::Or,
        "==" => B::Equal,
        "!=" | "<>" => B::NotEqual,
        "<" => B::Less,
        "<=" => B::LessEqual,
        ">" => B::Greater,
        ">=" => B::GreaterEqual,
        "=~" => B::EqualTilde,
        "!~" => B::NotTilde,
        "has" | ":" => B::Has,
        "!has" | "nothas" => B::NotHas,
        "has_cs" => B::HasCs,
        "!has_cs" => B::NotHasCs,
        "hasprefix" => B::HasPrefix,
        "!hasprefix" => B::NotHasPrefix,
        "hasprefix_cs" => B::HasPrefixCs,
        "!hasprefix_cs" => B::NotHasPrefixCs,
        "hassuffix" => B::HasSuffix,
        "!hassuffix" => B::NotHasSuffix,
        "hassuffix_cs" => B::HasSuffixCs,
        "!hassuffix_cs" => B::NotHasSuffixCs,
        "contains" => B::Contains,
        "!contains" | "notcontains" => B::NotContains,
        "contains_cs" | "containscs" => B::ContainsCs,
        "!contains_cs" | "notcontainscs" => B::NotContainsCs,
        "startswith" => B::StartsWith,
        "!startswith" => B::NotStartsWith,
        "startswith_cs" => B::StartsWithCs,
        "!startswith_cs" => B::NotStartsWithCs,
        "endswith" => B::EndsWith,
        "!endswith" => B::NotEndsWith,
        "endswith_cs" => B::EndsWithCs,
        "!endswith_cs" => B::NotEndsWithCs,
        "matches regex" => B::MatchesRegex,
        _ => return None,
    })
}
