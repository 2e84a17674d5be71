//! Expressions. Precedence, loosest first: `or`, `and`, equality and lists, order, sums, products, operators on text,
//! signs, calls and paths.

use super::Parser;
use crate::Span;
use crate::syntax::TokenKind;
use crate::syntax::ast::{ColumnDecl, Expr, ExprKind, Literal, Name, Pipeline};
use crate::syntax::literal;

/// Operators on text; they bind tighter than sums, as in the language's own grammar.
const TEXT_OPERATORS: &[&str] = &[
    "=~",
    "!~",
    "has",
    "!has",
    "has_cs",
    "!has_cs",
    "hasprefix",
    "!hasprefix",
    "hasprefix_cs",
    "!hasprefix_cs",
    "hassuffix",
    "!hassuffix",
    "hassuffix_cs",
    "!hassuffix_cs",
    "contains",
    "!contains",
    "contains_cs",
    "!contains_cs",
    "startswith",
    "!startswith",
    "startswith_cs",
    "!startswith_cs",
    "endswith",
    "!endswith",
    "endswith_cs",
    "!endswith_cs",
    "matches",
    "notcontains",
    "containscs",
    "notcontainscs",
];

/// Old spellings, and how they are written today.
const OLD: &[(&str, &str)] =
    &[("notcontains", "!contains"), ("containscs", "contains_cs"), ("notcontainscs", "!contains_cs")];

const LISTS: &[&str] = &["in", "!in", "in~", "!in~", "has_any", "has_all"];

/// Words whose parentheses hold a constant in a form of its own.
const TYPED: &[&str] = &[
    "datetime", "date", "timespan", "time", "guid", "uniqueid", "int", "int32", "long", "int64", "real", "double",
    "decimal", "bool", "boolean",
];

impl Parser<'_> {
    /// An expression that may be a pipeline.
    pub(super) fn pipe_expression(&mut self) -> Expr {
        self.nested(Self::pipe_inside).unwrap_or_else(|| self.missing())
    }

    fn pipe_inside(&mut self) -> Expr {
        let start = self.here().start;
        let (source, mut operators) = match self.generator() {
            Some(operator) => (None, vec![operator]),
            None => (Some(self.named_or_wildcard()), Vec::new()),
        };
        while self.eat("|") {
            operators.push(self.operator());
        }
        match source {
            Some(source) if operators.is_empty() => source,
            source => {
                let kind = ExprKind::Pipeline(Box::new(Pipeline { source, operators }));
                Expr { kind, span: self.since(start) }
            }
        }
    }

    /// Arguments may be named; names of tables may have wildcards.
    fn named_or_wildcard(&mut self) -> Expr {
        let wildcard = self.is_word() && self.peek_at(1) == "*" && self.touches_at(1);
        if wildcard
            && matches!(self.peek_at(2), "" | "," | ")" | "|" | ";")
            && let Some(name) = self.wildcard_if()
        {
            let span = name.span;
            return Expr { kind: ExprKind::Wildcard(name), span };
        }
        self.named_expression()
    }

    /// `[name =] value`, `(a, b) = value`.
    pub(super) fn named_expression(&mut self) -> Expr {
        let start = self.here().start;
        if self.is("(") && self.compound_names_follow() {
            self.bump();
            let names = self.list(|p| {
                let here = Span::new(p.here().start, p.here().start);
                p.name_if().unwrap_or(Name { text: String::new(), span: here })
            });
            self.expect(")");
            self.expect("=");
            let value = Box::new(self.expression());
            return Expr { kind: ExprKind::Named { names, compound: true, value }, span: self.since(start) };
        }
        if (self.is_word() && self.peek_at(1) == "=") || (self.at_bracketed_name() && self.peek_at(3) == "=") {
            let names = vec![self.name("a name")];
            self.bump();
            let value = Box::new(self.expression());
            return Expr { kind: ExprKind::Named { names, compound: false, value }, span: self.since(start) };
        }
        self.expression()
    }

    /// Whether `(a, b) =` stands here.
    fn compound_names_follow(&self) -> bool {
        let mut ahead = 1;
        loop {
            let kind = self.token(ahead).map(|t| t.kind);
            match self.peek_at(ahead) {
                ")" => return self.peek_at(ahead + 1) == "=",
                "," | "[" | "]" => {}
                _ if matches!(kind, Some(TokenKind::Word | TokenKind::Text)) => {}
                _ => return false,
            }
            ahead += 1;
        }
    }

    /// An expression that is no pipeline, unless it stands in parentheses.
    pub(super) fn expression(&mut self) -> Expr {
        self.nested(Self::or).unwrap_or_else(|| self.missing())
    }

    /// A left-leaning chain grows the tree by a level each, so it is bounded like nesting.
    fn chain(&mut self, operators: &[&str], operand: fn(&mut Self) -> Expr) -> Expr {
        let start = self.here().start;
        let depth = self.depth;
        let mut left = operand(self);
        while operators.iter().any(|op| self.is(op)) {
            let op = Name { text: self.peek().to_owned(), span: self.bump() };
            let Some(right) = self.nested(operand) else { break };
            let kind = ExprKind::Binary { op, left: Box::new(left), right: Box::new(right) };
            left = Expr { kind, span: self.since(start) };
            self.depth += 1;
        }
        self.depth = depth;
        left
    }

    /// `a or b or c …` as a balanced tree: these chains are long in real queries (lists of file names), mean the same
    /// however they are grouped, and stay shallow this way.
    fn balanced(&mut self, word: &str, operand: fn(&mut Self) -> Expr) -> Expr {
        let mut operands = vec![operand(self)];
        let mut signs = Vec::new();
        while self.is_word() && self.is(word) {
            signs.push(Name { text: word.to_owned(), span: self.bump() });
            operands.push(operand(self));
        }
        balance(&mut operands.into_iter(), &signs)
    }

    fn or(&mut self) -> Expr {
        self.balanced("or", Self::and)
    }

    fn and(&mut self) -> Expr {
        self.balanced("and", Self::equality)
    }

    fn equality(&mut self) -> Expr {
        let start = self.here().start;
        let left = self.relational();
        let word = self.peek();
        if matches!(word, "==" | "!=" | "<>") {
            return self.binary(start, left, Self::relational);
        }
        if self.is_word() && LISTS.contains(&word) {
            let op = Name { text: word.to_owned(), span: self.bump() };
            let list = if self.eat("(") {
                let list = if self.is(")") { Vec::new() } else { self.list(Self::pipe_expression) };
                self.expect(")");
                list
            } else {
                vec![self.relational()]
            };
            return Expr { kind: ExprKind::Member { op, left: Box::new(left), list }, span: self.since(start) };
        }
        if self.is_word() && matches!(word, "between" | "!between") {
            let negated = word.starts_with('!');
            let op = self.bump();
            self.expect("(");
            let low = Box::new(self.relational());
            self.expect("..");
            let high = Box::new(self.relational());
            self.expect(")");
            let kind = ExprKind::Between { negated, left: Box::new(left), low, high, op };
            return Expr { kind, span: self.since(start) };
        }
        left
    }

    fn binary(&mut self, start: usize, left: Expr, operand: fn(&mut Self) -> Expr) -> Expr {
        let op = Name { text: self.peek().to_owned(), span: self.bump() };
        let right = Box::new(operand(self));
        Expr { kind: ExprKind::Binary { op, left: Box::new(left), right }, span: self.since(start) }
    }

    fn relational(&mut self) -> Expr {
        let start = self.here().start;
        let left = self.sum();
        if ["<", ">", "<=", ">="].contains(&self.peek()) { self.binary(start, left, Self::sum) } else { left }
    }

    fn sum(&mut self) -> Expr {
        self.chain(&["+", "-"], Self::product)
    }

    fn product(&mut self) -> Expr {
        self.chain(&["*", "/", "%"], Self::text_operation)
    }

    fn text_operation(&mut self) -> Expr {
        let start = self.here().start;
        let left = self.signed();
        let word = self.peek();
        if !TEXT_OPERATORS.contains(&word) {
            return left;
        }
        let today = OLD.iter().find(|(old, _)| *old == word).map_or(word, |(_, new)| *new);
        let mut op = Name { text: today.to_owned(), span: self.bump() };
        if word == "matches" {
            if self.is("regex") {
                let end = self.bump();
                op = Name { text: "matches regex".to_owned(), span: op.span.to(end) };
            } else {
                self.expected("KS005", "`regex`");
            }
        }
        let right = Box::new(self.signed());
        Expr { kind: ExprKind::Binary { op, left: Box::new(left), right }, span: self.since(start) }
    }

    fn signed(&mut self) -> Expr {
        let start = self.here().start;
        if !self.is("-") && !self.is("+") {
            return self.postfix();
        }
        let minus = self.is("-");
        self.bump();
        let operand = self.nested(Self::signed).unwrap_or_else(|| self.missing());
        // A constant takes its sign at once, so that it stays a constant.
        let kind = match operand.kind {
            ExprKind::Literal(Literal::Long(Some(n))) if minus => ExprKind::Literal(Literal::Long(n.checked_neg())),
            ExprKind::Literal(Literal::Real(Some(n))) if minus => ExprKind::Literal(Literal::Real(Some(-n))),
            _ => ExprKind::Unary { minus, operand: Box::new(operand) },
        };
        Expr { kind, span: self.since(start) }
    }

    fn postfix(&mut self) -> Expr {
        let start = self.here().start;
        let mut value = self.primary();
        let depth = self.depth;
        loop {
            let wrap = |p: &Self, kind: ExprKind| Expr { kind, span: p.since(start) };
            if self.is(".") {
                self.bump();
                if self.is("[") {
                    continue;
                }
                let name = self.name("the name of a property");
                value = wrap(self, ExprKind::Path { base: Box::new(value), name });
                if self.eat("(") {
                    // `database('x').table(…)`: kept as an index of the path, for the binder to refuse.
                    let index = self.arguments().into_iter().next().unwrap_or_else(|| self.missing());
                    value = wrap(self, ExprKind::Index { base: Box::new(value), index: Box::new(index) });
                }
            } else if self.is("[") && (self.touches() || self.peek_at(2) == "]") && !self.breaks_line() {
                self.bump();
                let index = Box::new(self.expression());
                self.expect("]");
                value = wrap(self, ExprKind::Index { base: Box::new(value), index });
            } else {
                break;
            }
            self.depth += 1;
            if self.depth > super::DEPTH_MAX {
                let here = self.here();
                self.error("GQ001", here, "a path has too many parts");
                self.at = self.tokens.len();
                break;
            }
        }
        self.depth = depth;
        value
    }

    /// Whether a line ends before the next token.
    fn breaks_line(&self) -> bool {
        self.text_of(Span::new(self.end(), self.here().start.max(self.end()))).contains('\n')
    }

    fn arguments(&mut self) -> Vec<Expr> {
        if self.eat(")") {
            return Vec::new();
        }
        let arguments = self.list(|p| {
            if p.is("*") && matches!(p.peek_at(1), "," | ")") {
                let span = p.bump();
                return Expr { kind: ExprKind::Star, span };
            }
            p.pipe_expression()
        });
        self.expect(")");
        arguments
    }

    fn constant(&mut self, value: Option<Literal>, trouble: &str) -> Expr {
        let span = self.bump();
        match value {
            Some(literal) => Expr { kind: ExprKind::Literal(literal), span },
            None => {
                let message = format!("`{}` {trouble}", self.text_of(span).chars().take(40).collect::<String>());
                self.error("KS011", span, message);
                Expr { kind: ExprKind::Missing, span }
            }
        }
    }

    pub(super) fn primary(&mut self) -> Expr {
        let start = self.here().start;
        let token = self.peek();
        match self.kind() {
            Some(TokenKind::Integer) => {
                self.constant(whole(token).map(|n| Literal::Long(Some(n))), "does not fit into 64 bits")
            }
            Some(TokenKind::Real) => self.constant(real(token).map(|n| Literal::Real(Some(n))), "is no number"),
            Some(TokenKind::Timespan) => {
                let value = literal::timespan_token(token).map(|n| Literal::Timespan(Some(n)));
                self.constant(value, "is longer than a span of time can be")
            }
            Some(TokenKind::Text | TokenKind::OpenText) => self.text_literal(),
            Some(TokenKind::Word) => self.word(start),
            Some(TokenKind::Sign) if token == "(" => {
                self.bump();
                let inside = Box::new(self.pipe_expression());
                self.expect(")");
                Expr { kind: ExprKind::Parens(inside), span: self.since(start) }
            }
            Some(TokenKind::Sign) if token == "*" => {
                let span = self.bump();
                Expr { kind: ExprKind::Star, span }
            }
            Some(TokenKind::Sign) if self.at_bracketed_name() => {
                let name = self.name("a name");
                let span = name.span;
                Expr { kind: ExprKind::Name(name), span }
            }
            _ => {
                self.expected("KS006", "an expression");
                self.missing()
            }
        }
    }

    /// Text; neighbours are joined.
    fn text_literal(&mut self) -> Expr {
        let start = self.here().start;
        let mut value = String::new();
        while matches!(self.kind(), Some(TokenKind::Text | TokenKind::OpenText)) {
            let (token, here) = (self.peek(), self.here());
            if self.kind() == Some(TokenKind::OpenText) {
                self.error("KS001", here, "the text does not end: its closing quote is missing");
            } else if let Some(bad) = literal::bad_escape(token) {
                self.error(
                    "KS001",
                    here,
                    format!("`\\{bad}` is no escape; write `\\\\`, or @'…' for text without escapes"),
                );
            }
            value.push_str(&literal::text_value(token));
            self.bump();
        }
        Expr { kind: ExprKind::Literal(Literal::Text(value)), span: self.since(start) }
    }

    fn word(&mut self, start: usize) -> Expr {
        let word = self.peek();
        let open = self.peek_at(1) == "(";
        match word {
            "true" | "True" | "TRUE" if !open => return self.constant(Some(Literal::Bool(Some(true))), ""),
            "false" | "False" | "FALSE" if !open => return self.constant(Some(Literal::Bool(Some(false))), ""),
            "dynamic" if open => {
                self.bump();
                self.bump();
                let json = self.dynamic();
                return Expr { kind: ExprKind::Dynamic(json), span: self.since(start) };
            }
            "typeof" if open => {
                self.bump();
                self.bump();
                let kinds = if self.is(")") { Vec::new() } else { self.list(Self::type_name) };
                self.expect(")");
                return Expr { kind: ExprKind::TypeOf(kinds), span: self.since(start) };
            }
            "datatable" if open => return self.datatable(start),
            "externaldata" | "external_data" if open => return self.external_data(start),
            _ if open && TYPED.contains(&word) => return self.typed_literal(start, word),
            _ => {}
        }
        let Some(name) = self.name_if() else {
            self.expected("KS006", "an expression");
            return self.missing();
        };
        if self.eat("(") {
            let arguments = self.nested(Self::arguments).unwrap_or_default();
            return Expr { kind: ExprKind::Call { name, arguments }, span: self.since(start) };
        }
        let span = name.span;
        Expr { kind: ExprKind::Name(name), span }
    }

    fn type_name(&mut self) -> ColumnDecl {
        let first = self.name("a type");
        if self.eat(":") {
            ColumnDecl { name: first, kind: self.name("a type") }
        } else {
            ColumnDecl { name: first.clone(), kind: first }
        }
    }

    /// `datetime(…)` and its kin: the parentheses hold a form that no token list knows.
    fn typed_literal(&mut self, start: usize, word: &str) -> Expr {
        self.bump();
        let open = self.bump();
        while self.kind().is_some() && !self.is(")") && !self.is("|") && !self.is(";") {
            self.bump();
        }
        let inside = Span::new(open.end, self.here().start.max(open.end));
        let text = self.text_of(inside).trim();
        self.expect(")");
        let span = self.since(start);
        let null = text == "null" || text.is_empty();
        let value = match word {
            "datetime" | "date" if null => Some(Literal::Datetime(None)),
            "datetime" | "date" => literal::datetime_value(text).map(|v| Literal::Datetime(Some(v))),
            "timespan" | "time" if null => Some(Literal::Timespan(None)),
            "timespan" | "time" => literal::timespan_value(text).map(|v| Literal::Timespan(Some(v))),
            "guid" | "uniqueid" if null => Some(Literal::Guid(None)),
            "guid" | "uniqueid" => literal::guid_value(text).map(|v| Literal::Guid(Some(v))),
            "int" | "int32" if null => Some(Literal::Int(None)),
            "int" | "int32" => whole(text).and_then(|v| i32::try_from(v).ok()).map(|v| Literal::Int(Some(v))),
            "long" | "int64" if null => Some(Literal::Long(None)),
            "long" | "int64" => whole(text).map(|v| Literal::Long(Some(v))),
            "real" | "double" if null => Some(Literal::Real(None)),
            "real" | "double" => real(text).map(|v| Literal::Real(Some(v))),
            "decimal" if null => Some(Literal::Decimal(None)),
            "decimal" => real(text).map(|_| Literal::Decimal(Some(text.to_owned()))),
            _ if null => Some(Literal::Bool(None)),
            _ => match text.to_ascii_lowercase().as_str() {
                "true" | "1" => Some(Literal::Bool(Some(true))),
                "false" | "0" => Some(Literal::Bool(Some(false))),
                _ => None,
            },
        };
        let Some(value) = value else {
            let shown: String = text.chars().take(40).collect();
            self.error("KS011", inside, format!("`{shown}` is no {word}"));
            return Expr { kind: ExprKind::Missing, span };
        };
        Expr { kind: ExprKind::Literal(value), span }
    }
}

/// The tree over operands and the operators between them.
fn balance(operands: &mut impl Iterator<Item = Expr>, signs: &[Name]) -> Expr {
    let middle = signs.len() / 2;
    let Some(op) = signs.get(middle) else {
        // One operand more than operators: it is there.
        return operands.next().unwrap_or(Expr { kind: ExprKind::Missing, span: Span::default() });
    };
    let left = balance(operands, signs.get(..middle).unwrap_or_default());
    let right = balance(operands, signs.get(middle + 1..).unwrap_or_default());
    let span = left.span.to(right.span);
    let (left, right) = (Box::new(left), Box::new(right));
    Expr { kind: ExprKind::Binary { op: op.clone(), left, right }, span }
}

fn whole(text: &str) -> Option<i64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => i64::from_str_radix(digits, 16).ok(),
        None => text.replace(' ', "").parse().ok(),
    }
}

fn real(text: &str) -> Option<f64> {
    match text {
        "nan" => Some(f64::NAN),
        "+inf" => Some(f64::INFINITY),
        "-inf" => Some(f64::NEG_INFINITY),
        _ => text.replace(' ', "").parse().ok(),
    }
}
