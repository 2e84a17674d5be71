//! Operators on graphs, and `scan`.

use super::Parser;
use crate::Span;
use crate::syntax::ast::{EdgeDirection, Expr, GraphPart, Name, OperatorKind, Parameter, ParameterKind, ScanStep};

impl Parser<'_> {
    fn empty_name(&self) -> Name {
        Name { text: String::new(), span: Span::new(self.here().start, self.here().start) }
    }

    pub(super) fn make_graph(&mut self) -> OperatorKind {
        let source = self.column_of_edge();
        if !(self.is("-") && self.peek_at(1) == "-" && self.peek_at(2) == ">") {
            self.expected("KS005", "`-->`");
            self.skip_operator();
            let target = self.missing();
            return OperatorKind::MakeGraph { source, target, nodes: Vec::new(), node_id: None };
        }
        self.at += 3;
        let target = self.column_of_edge();
        let mut nodes = Vec::new();
        let mut node_id = None;
        while self.eat("with") || (!nodes.is_empty() && self.eat(",")) {
            if self.is("with_node_id") {
                self.bump();
                self.expect("=");
                node_id = Some(self.name("the name of a column"));
            } else {
                let rows = self.rows();
                self.expect("on");
                nodes.push((rows, self.column_of_edge()));
            }
        }
        if self.eat("with_node_id") {
            self.expect("=");
            node_id = Some(self.name("the name of a column"));
        }
        OperatorKind::MakeGraph { source, target, nodes, node_id }
    }

    /// A bare column: `a --> b` must not be read as `a - -(-> b)`.
    fn column_of_edge(&mut self) -> Expr {
        self.primary()
    }

    fn patterns(&mut self) -> Vec<Vec<GraphPart>> {
        self.list(|p| {
            let mut parts = Vec::new();
            p.node(&mut parts);
            while (p.is("-") || p.is("<")) && parts.len() < super::DEPTH_MAX {
                let before = p.at;
                p.edge(&mut parts);
                p.node(&mut parts);
                if p.at == before {
                    break;
                }
            }
            parts
        })
    }

    fn node(&mut self, parts: &mut Vec<GraphPart>) {
        if self.expect("(") {
            let name = self.name_if().unwrap_or_else(|| self.empty_name());
            self.expect(")");
            parts.push(GraphPart::Node(name));
        }
    }

    fn edge(&mut self, parts: &mut Vec<GraphPart>) {
        let start = self.here().start;
        let back = self.eat("<");
        self.expect("-");
        let mut name = self.empty_name();
        let mut range = None;
        if self.eat("[") {
            name = self.name_if().unwrap_or_else(|| self.empty_name());
            if self.eat("*") {
                let low = self.primary();
                self.expect("..");
                range = Some((low, self.primary()));
            }
            self.expect("]");
        }
        self.expect("-");
        let forward = self.eat(">");
        let direction = match (back, forward) {
            (false, true) => EdgeDirection::Forward,
            (true, false) => EdgeDirection::Backward,
            _ => EdgeDirection::Any,
        };
        parts.push(GraphPart::Edge { name, direction, range, span: self.since(start) });
    }

    /// `graph-match`, `graph-shortest-paths`.
    pub(super) fn graph_match(&mut self, shortest: bool) -> OperatorKind {
        let properties = self.properties(&["cycles", "output"]);
        let patterns = self.patterns();
        let condition = self.eat("where").then(|| self.expression());
        let project = self.eat("project").then(|| self.list(Self::named_expression));
        if shortest {
            OperatorKind::GraphShortestPaths { properties, patterns, condition, project }
        } else {
            OperatorKind::GraphMatch { properties, patterns, condition, project }
        }
    }

    pub(super) fn graph_to_table(&mut self) -> OperatorKind {
        let outputs = self.list(|p| {
            let what = p.name("`nodes` or `edges`");
            let given = p.eat("as").then(|| p.name("a name"));
            let mut properties = p.properties(&["with_node_id", "with_source_id", "with_target_id"]);
            properties.extend(p.with_properties());
            (what, given, properties)
        });
        OperatorKind::GraphToTable { outputs }
    }

    pub(super) fn scan(&mut self) -> OperatorKind {
        let properties = self.properties(&["with_match_id", "kind"]);
        let mut partition_by = Vec::new();
        if self.eat("partition") {
            self.expect("by");
            partition_by = self.list(Self::expression);
        }
        let mut order_by = Vec::new();
        if self.eat("order") || self.eat("sort") {
            self.expect("by");
            order_by = self.sort_keys();
        }
        let mut declare = Vec::new();
        if self.eat("declare") {
            self.expect("(");
            declare = self.list(|p| {
                let start = p.here().start;
                let name = p.name("the name of a column");
                p.expect(":");
                let kind = ParameterKind::Scalar(p.name("a type"));
                let default = p.eat("=").then(|| p.expression());
                Parameter { name, kind, default, span: p.since(start) }
            });
            self.expect(")");
        }
        self.expect("with");
        self.expect("(");
        let mut steps = Vec::new();
        while self.is("step") {
            self.bump();
            let name = self.name("the name of a step");
            let optional = self.eat("optional");
            let mut output = None;
            if self.eat("output") {
                self.expect("=");
                output = Some(self.name("`all`, `last` or `none`"));
            }
            self.expect(":");
            let condition = self.expression();
            let assignments = if self.eat("=>") { self.list(Self::named_expression) } else { Vec::new() };
            steps.push(ScanStep { name, optional, output, condition, assignments });
            if !self.eat(";") {
                break;
            }
        }
        if steps.is_empty() {
            self.expected("KS005", "`step`");
            self.skip_operator();
        }
        self.expect(")");
        OperatorKind::Scan { properties, partition_by, order_by, declare, steps }
    }
}
