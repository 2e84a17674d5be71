//! What stands in `dynamic(…)`: JSON, with single quotes and the language's own constants allowed.

use super::Parser;
use crate::syntax::TokenKind;
use crate::syntax::ast::{Expr, ExprKind, Json, Literal};
use crate::syntax::literal::text_value;

impl Parser<'_> {
    /// After `dynamic(`, up to and with its `)`.
    pub(super) fn dynamic(&mut self) -> Json {
        let value = self.json();
        self.expect(")");
        value
    }

    fn json(&mut self) -> Json {
        self.nested(Self::json_value).unwrap_or(Json::Null)
    }

    fn json_value(&mut self) -> Json {
        if self.eat("[") {
            let mut items = Vec::new();
            if !self.is("]") {
                items = self.list(Self::json);
            }
            self.expect("]");
            return Json::Array(items);
        }
        if self.eat("{") {
            let mut members = Vec::new();
            while self.kind().is_some() && !self.is("}") {
                if self.kind() != Some(TokenKind::Text) {
                    self.expected("KS005", "the name of a property in quotes");
                    break;
                }
                let key = text_value(self.peek());
                self.bump();
                self.expect(":");
                members.push((key, self.json()));
                if !self.eat(",") {
                    break;
                }
            }
            self.expect("}");
            return Json::Object(members);
        }
        if self.eat("null") {
            return Json::Null;
        }
        let minus = self.eat("-");
        let value = match self.primary() {
            Expr { kind: ExprKind::Literal(literal), .. } => literal,
            Expr { kind: ExprKind::Dynamic(json), .. } if !minus => return json,
            Expr { kind: ExprKind::Missing, .. } => return Json::Null,
            Expr { span, .. } => {
                self.error("KS011", span, "only constants may stand in dynamic()");
                return Json::Null;
            }
        };
        Json::Value(match value {
            Literal::Long(Some(n)) if minus => Literal::Long(n.checked_neg()),
            Literal::Real(Some(n)) if minus => Literal::Real(Some(-n)),
            other => other,
        })
    }
}
