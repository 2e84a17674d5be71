//! The parser: recursive descent over the tokens that are no trivia, with recovery. What stands in its own file:
//! expressions, statements, operators.

mod clause;
mod expression;
mod graph;
mod json;
mod operator;
mod statement;

use super::ast::{Expr, ExprKind, Name, Query};
use super::token::{Token, TokenKind};
use crate::{Diagnostic, Span};

/// How deep expressions, pipelines and lists may nest. Hand-written queries stay below 30; the bound keeps the stack of
/// this and every later pass small.
pub const DEPTH_MAX: usize = 150;

/// Diagnostics that are kept: a broken text needs no more, and each costs memory.
const DIAGNOSTICS_MAX: usize = 100;

/// A text's tree, tokens and findings.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// The tree.
    pub tree: Query,
    /// Every byte of the text.
    pub tokens: Vec<Token>,
    /// What is wrong with its form.
    pub diagnostics: Vec<Diagnostic>,
}

/// Parses a text. There is a tree for every text.
#[must_use]
pub fn parse(text: &str) -> Parsed {
    let tokens = super::lexer::lex(text);
    let solid = tokens.iter().filter(|t| !t.is_trivia()).copied().collect();
    let mut parser = Parser { text, tokens: solid, at: 0, depth: 0, diagnostics: Vec::new() };
    let tree = parser.query(false);
    Parsed { tree, tokens, diagnostics: parser.diagnostics }
}

struct Parser<'t> {
    text: &'t str,
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    diagnostics: Vec<Diagnostic>,
}

impl<'t> Parser<'t> {
    fn token(&self, ahead: usize) -> Option<Token> {
        self.tokens.get(self.at + ahead).copied()
    }

    fn kind(&self) -> Option<TokenKind> {
        self.token(0).map(|t| t.kind)
    }

    fn text_of(&self, span: Span) -> &'t str {
        self.text.get(span.start..span.end).unwrap_or_default()
    }

    /// The text of the token `ahead` places on; empty at the end.
    fn peek_at(&self, ahead: usize) -> &'t str {
        self.token(ahead).map_or("", |t| self.text_of(t.span))
    }

    fn peek(&self) -> &'t str {
        self.peek_at(0)
    }

    fn is(&self, text: &str) -> bool {
        self.peek() == text && !matches!(self.kind(), Some(TokenKind::Text | TokenKind::OpenText))
    }

    fn is_word(&self) -> bool {
        self.kind() == Some(TokenKind::Word)
    }

    /// Place of the next token, or of the text's end.
    fn here(&self) -> Span {
        self.token(0).map_or(Span::new(self.text.len(), self.text.len()), |t| t.span)
    }

    /// End of the token before.
    fn end(&self) -> usize {
        self.at.checked_sub(1).and_then(|i| self.tokens.get(i)).map_or(0, |t| t.span.end)
    }

    fn since(&self, start: usize) -> Span {
        Span::new(start, self.end().max(start))
    }

    fn bump(&mut self) -> Span {
        let span = self.here();
        self.at = (self.at + 1).min(self.tokens.len());
        span
    }

    fn eat(&mut self, text: &str) -> bool {
        let found = self.is(text);
        if found {
            self.bump();
        }
        found
    }

    fn eat_any(&mut self, texts: &[&str]) -> bool {
        texts.iter().any(|text| self.eat(text))
    }

    /// Whether the next token touches the one before it.
    fn touches(&self) -> bool {
        self.at > 0 && self.token(0).is_some_and(|t| t.span.start == self.end())
    }

    /// Whether the token `ahead` places on touches the one before it.
    fn touches_at(&self, ahead: usize) -> bool {
        match (ahead.checked_sub(1).and_then(|a| self.token(a)), self.token(ahead)) {
            (Some(a), Some(b)) => a.span.end == b.span.start,
            _ => false,
        }
    }

    fn error(&mut self, code: &'static str, span: Span, message: impl Into<String>) {
        self.report(Diagnostic::error(code, span, message));
    }

    fn report(&mut self, finding: Diagnostic) {
        // One place gets one finding: what follows from the first would only hide it.
        let known = self.diagnostics.iter().any(|d| d.span.start == finding.span.start);
        if !known && self.diagnostics.len() < DIAGNOSTICS_MAX {
            self.diagnostics.push(finding);
        }
    }

    fn expected(&mut self, code: &'static str, what: &str) {
        let here = self.here();
        let found = self.peek();
        let message = if found.is_empty() {
            format!("expected {what}, found the end of the query")
        } else {
            format!("expected {what}, found `{}`", found.chars().take(40).collect::<String>())
        };
        self.error(code, here, message);
    }

    fn expect(&mut self, sign: &str) -> bool {
        let found = self.eat(sign);
        if !found {
            self.expected("KS005", &format!("`{sign}`"));
        }
        found
    }

    /// Runs a part one level deeper, or reports that the text nests too deeply.
    fn nested<T>(&mut self, inside: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.depth >= DEPTH_MAX {
            let here = self.here();
            self.error("GQ001", here, format!("the query nests deeper than {DEPTH_MAX} levels"));
            // Nothing after this place can be read in its right shape.
            self.at = self.tokens.len();
            return None;
        }
        self.depth += 1;
        let value = inside(self);
        self.depth -= 1;
        Some(value)
    }

    fn missing(&self) -> Expr {
        let here = self.here();
        Expr { kind: ExprKind::Missing, span: Span::new(here.start, here.start) }
    }

    /// Whether a name can stand here: a word, or `['…']`.
    fn at_name(&self) -> bool {
        self.is_word() && !self.peek().starts_with('!') || self.at_bracketed_name()
    }

    fn at_bracketed_name(&self) -> bool {
        self.is("[") && self.token(1).is_some_and(|t| t.kind == TokenKind::Text) && self.peek_at(2) == "]"
    }

    fn name_if(&mut self) -> Option<Name> {
        if self.at_bracketed_name() {
            let start = self.bump().start;
            let text = super::literal::text_value(self.peek());
            self.bump();
            self.bump();
            return Some(Name { text, span: self.since(start) });
        }
        if !self.at_name() {
            return None;
        }
        let text = self.peek().to_owned();
        Some(Name { text, span: self.bump() })
    }

    fn name(&mut self, what: &str) -> Name {
        self.name_if().unwrap_or_else(|| {
            self.expected("KS006", what);
            Name { text: String::new(), span: Span::new(self.here().start, self.here().start) }
        })
    }

    /// A name that may have wildcards: `Device*`, `*Id`, `*`.
    fn wildcard_if(&mut self) -> Option<Name> {
        let part = |p: &Self, ahead: usize| {
            let kind = p.token(ahead).map(|t| t.kind);
            p.peek_at(ahead) == "*" || matches!(kind, Some(TokenKind::Word | TokenKind::Integer))
        };
        let mut length = 0;
        while part(self, length) && (length == 0 || self.touches_at(length)) {
            length += 1;
        }
        let star = (0..length).any(|i| self.peek_at(i) == "*");
        if !star {
            return None;
        }
        let start = self.here().start;
        self.at += length;
        let span = self.since(start);
        Some(Name { text: self.text_of(span).to_owned(), span })
    }

    /// Reads `item, item, …`.
    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let mut items = vec![item(self)];
        while self.is(",") {
            self.bump();
            items.push(item(self));
        }
        items
    }

    /// Passes over tokens up to the next bar, semicolon or closing sign on this level.
    fn skip_operator(&mut self) {
        let mut open = 0_usize;
        while self.kind().is_some() {
            match self.peek() {
                "(" | "[" | "{" => open += 1,
                ")" | "]" | "}" if open == 0 => break,
                ")" | "]" | "}" => open -= 1,
                "|" | ";" if open == 0 => break,
                _ => {}
            }
            self.bump();
        }
    }
}
