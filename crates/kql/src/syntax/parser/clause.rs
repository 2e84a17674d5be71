//! Parts that several operators share: properties, sort keys, lists of columns, tables written in the text.

use super::Parser;
use crate::Span;
use crate::syntax::ast::{ColumnDecl, Expand, Expr, ExprKind, Name, Property, SortKey};

impl Parser<'_> {
    /// `name = value …` of the given names (`hint.` names all hints), without commas.
    pub(super) fn properties(&mut self, names: &[&str]) -> Vec<Property> {
        let mut properties = Vec::new();
        while let Some(length) = self.property_ahead(names) {
            let start = self.here().start;
            self.at += length;
            let span = self.since(start);
            let name = Name { text: self.text_of(span).to_owned(), span };
            self.expect("=");
            let value = self.property_value();
            properties.push(Property { name, value });
        }
        properties
    }

    /// Tokens of the property's name that stands here, if one of the names does.
    fn property_ahead(&self, names: &[&str]) -> Option<usize> {
        if !self.is_word() {
            return None;
        }
        if self.peek() == "hint" && self.peek_at(1) == "." && self.peek_at(3) == "=" {
            return Some(3);
        }
        (names.contains(&self.peek()) && self.peek_at(1) == "=").then_some(1)
    }

    /// A constant or a bare word (`inner`, `full-outer`).
    fn property_value(&mut self) -> Expr {
        // `kind = inner (T)`: the parentheses are not the word's.
        if self.is_word() {
            let start = self.here().start;
            self.bump();
            while self.is("-") && self.touches() && self.touches_at(1) {
                self.bump();
                self.bump();
            }
            let span = self.since(start);
            let text = self.text_of(span);
            if matches!(text, "true" | "false") {
                let literal = crate::syntax::ast::Literal::Bool(Some(text == "true"));
                return Expr { kind: ExprKind::Literal(literal), span };
            }
            return Expr { kind: ExprKind::Name(Name { text: text.to_owned(), span }), span };
        }
        self.primary()
    }

    /// `with (name = value, …)`, if it stands here.
    pub(super) fn with_properties(&mut self) -> Vec<Property> {
        if !(self.is("with") && self.peek_at(1) == "(") {
            return Vec::new();
        }
        self.bump();
        self.bump();
        if self.eat(")") {
            return Vec::new();
        }
        let properties = self.list(|p| {
            let name = p.name("the name of a property");
            p.expect("=");
            let value = if p.is("(") { p.primary() } else { p.property_list_value() };
            Property { name, value }
        });
        self.expect(")");
        properties
    }

    /// In `with (…)`, `ycolumns = a, b` lists names after one property: a further name without `=` belongs to it.
    fn property_list_value(&mut self) -> Expr {
        let first = if self.is("-") { self.expression() } else { self.property_value() };
        let mut span = first.span;
        while self.is(",") && self.peek_at(2) != "=" && self.token(1).is_some() {
            self.bump();
            span = span.to(self.property_value().span);
        }
        if span == first.span {
            return first;
        }
        Expr { kind: ExprKind::Name(Name { text: self.text_of(span).to_owned(), span }), span }
    }

    pub(super) fn sort_keys(&mut self) -> Vec<SortKey> {
        self.list(|p| {
            let value = p.named_expression();
            p.sort_key(value)
        })
    }

    pub(super) fn sort_key(&mut self, value: Expr) -> SortKey {
        let ascending = self.direction();
        let mut nulls_first = None;
        if self.eat("nulls") {
            if self.is("first") || self.is("last") {
                nulls_first = Some(self.is("first"));
                self.bump();
            } else {
                self.expected("KS006", "`first` or `last`");
            }
        }
        SortKey { value, ascending, nulls_first }
    }

    pub(super) fn direction(&mut self) -> Option<bool> {
        if self.eat("asc") {
            Some(true)
        } else if self.eat("desc") {
            Some(false)
        } else {
            None
        }
    }

    /// Names that may have wildcards, or expressions.
    pub(super) fn column_pattern(&mut self) -> Expr {
        if let Some(name) = self.wildcard_if() {
            let span = name.span;
            let kind = if name.text == "*" { ExprKind::Star } else { ExprKind::Wildcard(name) };
            return Expr { kind, span };
        }
        self.named_expression()
    }

    /// Columns of `mv-expand` and `mv-apply`.
    pub(super) fn expands(&mut self) -> Vec<Expand> {
        self.list(|p| {
            let value = p.named_expression();
            let mut kind = None;
            if p.is("to") && p.peek_at(1) == "typeof" {
                p.bump();
                if let ExprKind::TypeOf(kinds) = p.primary().kind {
                    kind = kinds.into_iter().next().map(|k| k.kind);
                }
            }
            Expand { value, kind }
        })
    }

    pub(super) fn columns_in_parens(&mut self) -> Vec<ColumnDecl> {
        self.expect("(");
        let columns = self.column_list(")");
        self.expect(")");
        columns
    }

    fn bracketed_values(&mut self) -> Vec<Expr> {
        self.expect("[");
        let mut values = Vec::new();
        while self.kind().is_some() && !self.is("]") {
            values.push(self.expression());
            if !self.eat(",") {
                break;
            }
        }
        self.expect("]");
        values
    }

    pub(super) fn datatable(&mut self, start: usize) -> Expr {
        self.bump();
        let columns = self.columns_in_parens();
        let values = self.bracketed_values();
        Expr { kind: ExprKind::DataTable { columns, values }, span: self.since(start) }
    }

    pub(super) fn external_data(&mut self, start: usize) -> Expr {
        self.bump();
        let columns = self.columns_in_parens();
        let addresses = self.bracketed_values();
        let mut properties = self.with_properties();
        if properties.is_empty() && self.eat("with") {
            properties = self.properties(&["format", "ignoreFirstRecord", "ingestionMapping"]);
        }
        Expr { kind: ExprKind::ExternalData { columns, addresses, properties }, span: self.since(start) }
    }

    /// What stands between here and the end of a span, for operators that are refused.
    pub(super) fn refused(&mut self, keyword: Span) -> crate::syntax::ast::OperatorKind {
        self.skip_operator();
        let text = self.text_of(keyword).to_owned();
        crate::syntax::ast::OperatorKind::Refused(Name { text, span: keyword })
    }
}
