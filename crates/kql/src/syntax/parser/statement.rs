//! Statements: `let`, `set`, `declare`, the question itself, and bodies of functions.

use super::Parser;
use crate::Span;
use crate::syntax::TokenKind;
use crate::syntax::ast::{
    ColumnDecl, Expr, ExprKind, Lambda, Name, Parameter, ParameterKind, Query, Statement, StatementKind,
};

/// Statements of one text; hundreds are seen in real queries with many variables.
const STATEMENTS_MAX: usize = 10_000;

impl Parser<'_> {
    /// Statements up to the end of the text, or up to `}` in a function's body.
    pub(super) fn query(&mut self, body: bool) -> Query {
        let start = self.here().start;
        let mut statements = Vec::new();
        loop {
            // A semicolon ends a statement; one more is a mistake at the start and in the middle, as for the vendor.
            while self.is(";") {
                let here = self.here();
                self.error("KS198", here, "a statement is missing before `;`");
                self.bump();
            }
            if self.kind().is_none() || (body && self.is("}")) || statements.len() >= STATEMENTS_MAX {
                break;
            }
            let before = self.at;
            statements.push(self.statement());
            if self.eat(";") || self.kind().is_none() || (body && self.is("}")) {
                continue;
            }
            let here = self.here();
            let found: String = self.peek().chars().take(40).collect();
            // What could begin a statement lacks the semicolon before it; anything else is out of place.
            let code =
                if matches!(self.kind(), Some(TokenKind::Sign)) && !matches!(found.as_str(), "(" | "[" | "-" | "+") {
                    "KS198"
                } else if self.kind() == Some(TokenKind::Bad) {
                    "KS002"
                } else {
                    "KS005"
                };
            let finding = crate::Diagnostic::error(code, here, format!("expected `;` or a bar before `{found}`"));
            self.report(match found.as_str() {
                "=" => finding.hint("`==` compares two values"),
                "&" => finding.hint("`and` joins two conditions"),
                "?" => finding.hint("`iff(condition, a, b)` chooses a value"),
                _ => finding,
            });
            self.skip_operator();
            if self.at == before || [")", "]", "}", "|"].contains(&self.peek()) {
                self.bump();
            }
        }
        Query { statements, span: self.since(start) }
    }

    fn statement(&mut self) -> Statement {
        let start = self.here().start;
        let next_is_word = self.token(1).is_some_and(|t| t.kind == TokenKind::Word);
        let follows_name = next_is_word || self.peek_at(1) == "[";
        let kind = match self.peek() {
            "let" if follows_name => self.let_statement(),
            "set" if follows_name => {
                self.bump();
                let name = self.name("the name of an option");
                let value = self.eat("=").then(|| self.expression());
                StatementKind::Set { name, value }
            }
            "declare" if self.peek_at(1) == "query_parameters" => {
                self.bump();
                self.bump();
                StatementKind::Parameters(self.parameters())
            }
            word @ ("alias" | "restrict" | "declare" | ".") if word == "." || follows_name => {
                let name = Name { text: word.to_owned(), span: self.here() };
                self.skip_operator();
                while self.eat("|") {
                    self.skip_operator();
                }
                StatementKind::Refused(name)
            }
            _ => StatementKind::Expression(self.pipe_expression()),
        };
        Statement { kind, span: self.since(start) }
    }

    fn let_statement(&mut self) -> StatementKind {
        self.bump();
        let name = self.name("a name");
        self.expect("=");
        let value = self.let_value();
        StatementKind::Let { name, value }
    }

    /// A value, rows, or a function.
    fn let_value(&mut self) -> Expr {
        let start = self.here().start;
        let view = self.is("view") && self.peek_at(1) == "(";
        let function = view || (self.is("(") && self.parens_before_brace());
        if !function {
            return self.pipe_expression();
        }
        if view {
            self.bump();
        }
        let parameters = self.parameters();
        self.expect("{");
        let body = self.nested(|p| p.query(true)).unwrap_or(Query { statements: Vec::new(), span: Span::default() });
        self.expect("}");
        let lambda = Lambda { view, parameters, body };
        Expr { kind: ExprKind::Lambda(Box::new(lambda)), span: self.since(start) }
    }

    /// Whether the parentheses that open here are followed by `{`: parameters of a function.
    fn parens_before_brace(&self) -> bool {
        let mut open = 0_usize;
        let mut ahead = 0;
        while self.token(ahead).is_some() {
            match self.peek_at(ahead) {
                "(" => open += 1,
                ")" => {
                    open = open.saturating_sub(1);
                    if open == 0 {
                        return self.peek_at(ahead + 1) == "{";
                    }
                }
                // Parameters hold no bar, so a long pipeline in parentheses is left early.
                "|" | ";" | "{" => return false,
                _ => {}
            }
            ahead += 1;
        }
        false
    }

    /// `(name: type = default, T: (columns), …)`.
    pub(super) fn parameters(&mut self) -> Vec<Parameter> {
        self.expect("(");
        if self.eat(")") {
            return Vec::new();
        }
        let parameters = self.list(|p| {
            let start = p.here().start;
            let name = p.name("the name of a parameter");
            p.expect(":");
            let kind = if !p.is("(") {
                ParameterKind::Scalar(p.name("a type"))
            } else {
                p.bump();
                let columns = if p.eat("*") { None } else { Some(p.column_list(")")) };
                p.expect(")");
                ParameterKind::Rows(columns)
            };
            let default = p.eat("=").then(|| p.expression());
            Parameter { name, kind, default, span: p.since(start) }
        });
        self.expect(")");
        parameters
    }

    /// `name: type, …` up to the closing sign, which stays.
    pub(super) fn column_list(&mut self, close: &str) -> Vec<ColumnDecl> {
        if self.is(close) {
            return Vec::new();
        }
        self.list(|p| {
            if p.is("*") {
                let name = Name { text: "*".to_owned(), span: p.bump() };
                return ColumnDecl { kind: name.clone(), name };
            }
            let name = if p.kind() == Some(TokenKind::Text) {
                let text = crate::syntax::literal::text_value(p.peek());
                Name { text, span: p.bump() }
            } else {
                p.name("the name of a column")
            };
            p.expect(":");
            ColumnDecl { name, kind: p.name("a type") }
        })
    }
}
