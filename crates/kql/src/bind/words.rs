//! Words that stand for values in a query's text: names of types, properties of operators.

use crate::Type;
use crate::bind::Binder;
use crate::lower::relation::Field;
use crate::syntax::ast::{ColumnDecl, Expr, ExprKind, Literal, Name, Property};

/// A type by its name or one of its old names.
pub(crate) fn kind(name: &str) -> Option<Type> {
    Some(match name {
        "bool" | "boolean" => Type::Bool,
        "int" | "int32" => Type::Int,
        "long" | "int64" | "uint" | "uint32" | "ulong" | "uint64" => Type::Long,
        "real" | "double" | "float" => Type::Real,
        "decimal" => Type::Decimal,
        "string" => Type::Text,
        "datetime" | "date" => Type::Datetime,
        "timespan" | "time" => Type::Timespan,
        "guid" | "uuid" | "uniqueid" => Type::Guid,
        "dynamic" => Type::Dynamic,
        _ => return None,
    })
}

/// A bare word or a text, as text.
pub(crate) fn word(expr: &Expr) -> Option<&str> {
    match &expr.kind {
        ExprKind::Name(name) | ExprKind::Wildcard(name) => Some(&name.text),
        ExprKind::Literal(Literal::Text(text)) => Some(text),
        ExprKind::Literal(Literal::Bool(Some(true))) => Some("true"),
        ExprKind::Literal(Literal::Bool(Some(false))) => Some("false"),
        ExprKind::Literal(Literal::Long(Some(1))) => Some("1"),
        ExprKind::Literal(Literal::Long(Some(0))) => Some("0"),
        ExprKind::Parens(inner) => word(inner),
        _ => None,
    }
}

/// A property's value by its name.
pub(crate) fn property<'p>(properties: &'p [Property], name: &str) -> Option<&'p Expr> {
    properties.iter().find(|p| p.name.text.eq_ignore_ascii_case(name)).map(|p| &p.value)
}

/// A property's word by its name.
pub(crate) fn property_word<'p>(properties: &'p [Property], name: &str) -> Option<&'p str> {
    property(properties, name).and_then(word)
}

impl Binder<'_> {
    /// A type by its name, or a finding.
    pub(crate) fn kind(&mut self, name: &Name) -> Type {
        kind(&name.text).unwrap_or_else(|| {
            if !name.text.is_empty() {
                self.error("KS160", name.span, format!("`{}` is not a type", name.text));
            }
            Type::Unknown
        })
    }

    /// Declared columns; a name that comes twice is a finding.
    pub(crate) fn declared(&mut self, columns: &[ColumnDecl]) -> Vec<Field> {
        let mut fields: Vec<Field> = vec![];
        for column in columns {
            if fields.iter().any(|f| f.name == column.name.text) {
                self.twice(column.name.span, &column.name.text);
                continue;
            }
            let kind = self.kind(&column.kind);
            fields.push(Field::new(column.name.text.clone(), kind));
        }
        fields
    }

    /// Refuses properties that an operator does not have. Hints never change an answer, and are let by.
    pub(crate) fn known_properties(&mut self, properties: &[Property], known: &[&str]) {
        for property in properties {
            let name = property.name.text.as_str();
            if !name.starts_with("hint.") && !known.iter().any(|k| k.eq_ignore_ascii_case(name)) {
                self.error("KS179", property.name.span, format!("`{name}` is not a property of this operator"));
            }
        }
    }
}
