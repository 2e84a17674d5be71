//! Operators of a pipeline.

use super::Parser;
use crate::Span;
use crate::syntax::TokenKind;
use crate::syntax::ast::{Expr, ExprKind, Name, NestedLevel, Operator, OperatorKind, ParsePart, Pipeline, Rows};

/// Operators that begin a pipeline.
const GENERATORS: &[&str] = &["print", "range", "union", "search", "find", "evaluate"];

/// Operators of the language that we do not run; they are refused by name.
const REFUSED: &[&str] =
    &["fork", "facet", "reduce", "execute-and-cache", "assert-schema", "macro-expand", "__partitionby"];

impl Parser<'_> {
    /// The operator that a pipeline begins with, if one does.
    pub(super) fn generator(&mut self) -> Option<Operator> {
        let word = self.peek();
        if !self.is_word() || !GENERATORS.contains(&word) {
            return None;
        }
        let next = self.peek_at(1);
        let next_kind = self.token(1).map(|t| t.kind);
        let begins = match word {
            // `range(1, 3, 1)` is a function, and a column may be called any of these.
            "range" => next_kind == Some(TokenKind::Word) && self.peek_at(2) == "from",
            "find" => {
                next == "in"
                    || next == "where"
                    || next == "withsource"
                    || next_kind == Some(TokenKind::Text)
                    || next == "("
            }
            "evaluate" => next_kind == Some(TokenKind::Word),
            "print" => !matches!(next, "" | "|" | "=" | ")" | "," | "." | ";" | "==" | "!="),
            _ => !matches!(next, "" | "|" | "=" | ")" | "," | "." | ";" | "==" | "!=" | "=~" | "has" | "contains"),
        };
        begins.then(|| self.operator())
    }

    /// An operator, after its bar.
    pub(super) fn operator(&mut self) -> Operator {
        let start = self.here().start;
        let keyword = self.keyword();
        if keyword.is_empty() {
            self.expected("KS176", "a query operator");
            self.skip_operator();
            return Operator { kind: OperatorKind::Unknown, keyword, span: self.since(start) };
        }
        let kind = self.nested(|p| p.operator_kind(keyword)).unwrap_or(OperatorKind::Unknown);
        Operator { kind, keyword, span: self.since(start) }
    }

    /// The operator's word, with the parts after its hyphens.
    fn keyword(&mut self) -> Span {
        if !self.is_word() {
            let here = self.here().start;
            return Span::new(here, here);
        }
        let start = self.bump().start;
        while self.is("-")
            && self.touches()
            && self.touches_at(1)
            && self.token(1).is_some_and(|t| t.kind == TokenKind::Word)
        {
            self.bump();
            self.bump();
        }
        self.since(start)
    }

    fn by(&mut self) {
        if !self.eat("by") {
            self.expected("KS005", "`by`");
        }
    }

    fn operator_kind(&mut self, keyword: Span) -> OperatorKind {
        match self.text_of(keyword) {
            "where" | "filter" => {
                self.properties(&[]);
                OperatorKind::Where(self.expression())
            }
            "extend" => OperatorKind::Extend(self.list(Self::named_expression)),
            "project" => OperatorKind::Project(self.list_or_none(Self::named_expression)),
            "project-away" => OperatorKind::ProjectAway(self.list(Self::column_pattern)),
            "project-keep" => OperatorKind::ProjectKeep(self.list(Self::column_pattern)),
            "project-rename" => OperatorKind::ProjectRename(self.list(Self::named_expression)),
            "project-reorder" => OperatorKind::ProjectReorder(self.list(|p| {
                let value = p.column_pattern();
                p.eat_any(&["granny-asc", "granny-desc"]);
                p.sort_key(value)
            })),
            "summarize" => self.summarize(),
            "distinct" => OperatorKind::Distinct(self.list(Self::column_pattern)),
            "count" => OperatorKind::Count(self.eat("as").then(|| self.name("a name"))),
            "sort" | "order" => {
                self.properties(&[]);
                self.by();
                OperatorKind::Sort(self.sort_keys())
            }
            "top" => {
                self.properties(&[]);
                let count = self.expression();
                self.by();
                OperatorKind::Top { count, by: self.sort_keys() }
            }
            "take" | "limit" => OperatorKind::Take(self.expression()),
            "sample" => OperatorKind::Sample(self.expression()),
            "sample-distinct" => {
                let count = self.expression();
                self.expect("of");
                OperatorKind::SampleDistinct { count, of: self.named_expression() }
            }
            "join" => {
                let properties = self.properties(&["kind"]);
                let right = Box::new(self.rows());
                OperatorKind::Join { properties, right, on: self.on_clause() }
            }
            "lookup" => {
                let properties = self.properties(&["kind"]);
                let right = Box::new(self.rows());
                OperatorKind::Lookup { properties, right, on: self.on_clause() }
            }
            "union" => {
                let properties = self.properties(&["kind", "withsource", "isfuzzy"]);
                OperatorKind::Union { properties, rows: self.list(Self::rows) }
            }
            "print" => OperatorKind::Print(self.list_or_none(Self::named_expression)),
            "range" => {
                let name = self.name("the name of a column");
                self.expect("from");
                let from = self.expression();
                self.expect("to");
                let to = self.expression();
                self.expect("step");
                OperatorKind::Range { name, from, to, step: self.expression() }
            }
            "render" => self.render(),
            "as" => {
                self.properties(&[]);
                OperatorKind::As(self.name("a name"))
            }
            "serialize" => OperatorKind::Serialize(self.list_or_none(Self::named_expression)),
            word @ ("mv-expand" | "mvexpand") => {
                let old = word == "mvexpand";
                let properties = self.properties(&["bagexpansion", "with_itemindex", "kind"]);
                let columns = self.expands();
                let limit = self.eat("limit").then(|| self.expression());
                OperatorKind::MvExpand { properties, columns, limit, old }
            }
            "mv-apply" | "mvapply" => {
                let properties = self.properties(&["with_itemindex"]);
                let columns = self.expands();
                let limit = self.eat("limit").then(|| self.expression());
                self.expect("on");
                OperatorKind::MvApply { properties, columns, limit, on: Box::new(self.body()) }
            }
            "parse" => self.parse_operator(false),
            "parse-where" => self.parse_operator(true),
            "parse-kv" => {
                let value = self.expression();
                self.expect("as");
                let columns = self.columns_in_parens();
                OperatorKind::ParseKv { value, columns, properties: self.with_properties() }
            }
            "make-series" => self.make_series(),
            "evaluate" => {
                let properties = self.properties(&[]);
                let call = self.primary();
                let schema = self.eat(":").then(|| self.columns_in_parens());
                OperatorKind::Evaluate { properties, call, schema }
            }
            "invoke" => OperatorKind::Invoke(self.primary()),
            "getschema" => OperatorKind::GetSchema,
            "consume" => {
                self.properties(&["decodeblocks"]);
                OperatorKind::Consume
            }
            "top-nested" => self.top_nested(),
            "top-hitters" => {
                let count = self.expression();
                self.expect("of");
                let of = self.named_expression();
                let by = self.eat("by").then(|| self.expression());
                OperatorKind::TopHitters { count, of, by }
            }
            "partition" => {
                let mut properties = self.properties(&[]);
                self.by();
                // A bare column: what follows in parentheses are the operators, not arguments.
                let name = self.name("the name of a column");
                let span = name.span;
                let by = Expr { kind: ExprKind::Name(name), span };
                properties.extend(self.properties(&[]));
                OperatorKind::Partition { properties, by, body: Box::new(self.body()) }
            }
            "scan" => self.scan(),
            "search" => self.search(),
            "find" => self.find(),
            "make-graph" => self.make_graph(),
            "graph-match" => self.graph_match(false),
            "graph-shortest-paths" => self.graph_match(true),
            "graph-mark-components" => {
                OperatorKind::GraphMarkComponents { properties: self.properties(&["kind", "with_component_id"]) }
            }
            "graph-to-table" => self.graph_to_table(),
            word if REFUSED.contains(&word) => self.refused(keyword),
            word => {
                let shown: String = word.chars().take(40).collect();
                self.error("KS176", keyword, format!("there is no query operator `{shown}`"));
                self.skip_operator();
                OperatorKind::Unknown
            }
        }
    }

    /// Items, or none where the operator ends at once.
    fn list_or_none<T>(&mut self, item: impl FnMut(&mut Self) -> T) -> Vec<T> {
        if matches!(self.peek(), "" | "|" | ";" | ")" | "}") && !self.is_text() { Vec::new() } else { self.list(item) }
    }

    fn is_text(&self) -> bool {
        matches!(self.kind(), Some(TokenKind::Text | TokenKind::OpenText))
    }

    /// What `union` and `join` read: a table, a pattern of tables, a call, a pipeline in parentheses.
    pub(super) fn rows(&mut self) -> Rows {
        let pattern = matches!(self.peek(), "*") || (self.is_word() && self.peek_at(1) == "*" && self.touches_at(1));
        if pattern && let Some(name) = self.wildcard_if() {
            let span = name.span;
            return Expr { kind: ExprKind::Wildcard(name), span };
        }
        let start = self.here().start;
        let mut value = self.primary();
        while self.is(".") {
            self.bump();
            let called = self.peek_at(1) == "(";
            let name = self.name("a name");
            if called {
                // `database('x').table('y')`.
                self.bump();
                self.skip_operator();
                self.expect(")");
            }
            value = Expr { kind: ExprKind::Path { base: Box::new(value), name }, span: self.since(start) };
        }
        value
    }

    /// `on a, $left.b == $right.c`; without it the binder complains where one is needed.
    fn on_clause(&mut self) -> Vec<Expr> {
        if self.eat("on") {
            self.list(Self::expression)
        } else {
            self.expected("KS005", "`on`");
            Vec::new()
        }
    }

    /// Operators in parentheses or braces, the first without a bar.
    fn body(&mut self) -> Pipeline {
        let close = if self.is("{") { "}" } else { ")" };
        if !self.eat("{") && !self.expect("(") {
            return Pipeline { source: None, operators: Vec::new() };
        }
        let pipeline = self.nested(|p| {
            if close == "}" {
                let whole = p.pipe_expression();
                return match whole.kind {
                    ExprKind::Pipeline(pipeline) => *pipeline,
                    _ => Pipeline { source: Some(whole), operators: Vec::new() },
                };
            }
            let mut operators = vec![p.operator()];
            while p.eat("|") {
                operators.push(p.operator());
            }
            Pipeline { source: None, operators }
        });
        self.expect(close);
        pipeline.unwrap_or(Pipeline { source: None, operators: Vec::new() })
    }

    fn summarize(&mut self) -> OperatorKind {
        let properties = self.properties(&[]);
        let ends = matches!(self.peek(), "" | "|" | ";" | ")" | "}") && !self.is_text();
        let by_at_once = self.is("by");
        let aggregates = if ends || by_at_once { Vec::new() } else { self.list(Self::named_expression) };
        let by = self.eat("by").then(|| self.list(Self::named_expression));
        OperatorKind::Summarize { properties, aggregates, by }
    }

    fn render(&mut self) -> OperatorKind {
        let kind = self.name("a kind of chart");
        let mut properties = self.with_properties();
        // The older form without parentheses.
        properties.extend(self.properties(&[
            "title",
            "kind",
            "xcolumn",
            "ycolumns",
            "series",
            "xtitle",
            "ytitle",
            "legend",
            "accumulate",
        ]));
        OperatorKind::Render { kind, properties }
    }

    fn parse_operator(&mut self, filter: bool) -> OperatorKind {
        let properties = self.properties(&["kind", "flags"]);
        let value = self.expression();
        self.expect("with");
        let mut pattern = Vec::new();
        loop {
            if self.is_text() {
                let start = self.here().start;
                let text = crate::syntax::literal::text_value(self.peek());
                if self.kind() == Some(TokenKind::OpenText) {
                    let here = self.here();
                    self.error("KS001", here, "the text does not end: its closing quote is missing");
                }
                self.bump();
                let literal = crate::syntax::ast::Literal::Text(text);
                pattern.push(ParsePart::Text(Expr { kind: ExprKind::Literal(literal), span: self.since(start) }));
            } else if self.is("*") {
                let span = self.bump();
                pattern.push(ParsePart::Star(span));
            } else if let Some(name) = self.name_if() {
                let kind = self.eat(":").then(|| self.name("a type"));
                pattern.push(ParsePart::Column { name, kind });
            } else {
                break;
            }
        }
        if pattern.is_empty() {
            self.expected("KS006", "a pattern");
        }
        OperatorKind::Parse { properties, value, pattern, filter }
    }

    fn make_series(&mut self) -> OperatorKind {
        let properties = self.properties(&["kind"]);
        let aggregates = self.list(|p| {
            let value = p.named_expression();
            let default = (p.is("default") && p.peek_at(1) == "=").then(|| {
                p.bump();
                p.bump();
                p.expression()
            });
            (value, default)
        });
        self.expect("on");
        let on = self.named_expression();
        let (mut from, mut to, mut in_range) = (None, None, false);
        let step = if self.eat("in") {
            in_range = true;
            self.expect("range");
            self.expect("(");
            from = Some(self.expression());
            self.expect(",");
            to = Some(self.expression());
            self.expect(",");
            let step = self.expression();
            self.expect(")");
            step
        } else {
            if self.eat("from") {
                from = Some(self.expression());
            }
            if self.eat("to") {
                to = Some(self.expression());
            }
            self.expect("step");
            self.expression()
        };
        let by = if self.eat("by") { self.list(Self::named_expression) } else { Vec::new() };
        OperatorKind::MakeSeries { properties, aggregates, on, from, to, step, in_range, by }
    }

    fn top_nested(&mut self) -> OperatorKind {
        let mut levels = Vec::new();
        loop {
            let start = self.here().start;
            let count = (!self.is("of")).then(|| self.expression());
            self.expect("of");
            let of = self.named_expression();
            let others = (self.is("with") && self.peek_at(1) == "others").then(|| {
                self.bump();
                self.bump();
                self.expect("=");
                self.expression()
            });
            self.by();
            let by = self.named_expression();
            let ascending = self.direction();
            levels.push(NestedLevel { count, of, others, by, ascending, span: self.since(start) });
            if !self.eat(",") {
                break;
            }
            if self.is("top") {
                self.keyword();
            }
        }
        OperatorKind::TopNested(levels)
    }

    fn rows_in(&mut self) -> Vec<Rows> {
        if !self.eat("in") {
            return Vec::new();
        }
        self.expect("(");
        let rows = self.list(|p| if p.is("*") { p.rows() } else { p.table_pattern() });
        self.expect(")");
        rows
    }

    fn table_pattern(&mut self) -> Rows {
        if self.is("(") { self.expression() } else { self.rows() }
    }

    fn search(&mut self) -> OperatorKind {
        let mut properties = self.properties(&["kind"]);
        let rows = self.rows_in();
        properties.extend(self.properties(&["kind"]));
        OperatorKind::Search { properties, rows, condition: self.expression() }
    }

    fn find(&mut self) -> OperatorKind {
        let mut properties = self.properties(&["withsource", "datascope"]);
        let rows = self.rows_in();
        properties.extend(self.properties(&["withsource"]));
        self.eat("where");
        let condition = self.expression();
        let mut project = None;
        if self.is("project") {
            let keyword = self.keyword();
            if self.text_of(keyword) == "project" {
                project = Some(self.list(Self::find_column));
            }
        }
        OperatorKind::Find { properties, rows, condition, project }
    }

    /// `column`, `column: type`, `pack(*)`.
    fn find_column(&mut self) -> Expr {
        let start = self.here().start;
        let value = self.named_expression();
        if let (true, ExprKind::Name(name)) = (self.is(":"), &value.kind) {
            let names: Vec<Name> = vec![name.clone()];
            self.bump();
            let kind = self.name("a type");
            let span = kind.span;
            let value = Box::new(Expr { kind: ExprKind::Name(kind), span });
            return Expr { kind: ExprKind::Named { names, compound: false, value }, span: self.since(start) };
        }
        value
    }
}
