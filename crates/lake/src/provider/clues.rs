//! What the conditions of a query say about words: which blocks of a file can be left out by its term index.
//!
//! Only what is certain counts. A condition that is not understood, a needle that is not a constant, a list that is too
//! long: nothing is left out for it. The functions are those of the hunting language, known here by their names.

use crate::terms::tokens::{Edges, needle_words, whole};
use crate::terms::{Blocks, Cut, TermIndex};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, Operator};

/// Needles of a query that are looked up; each costs two small reads a file. A list of indicators is about this long.
const NEEDLES_MAX: usize = 1_024;
/// Nesting of conditions that is looked into.
const DEPTH_MAX: usize = 64;

/// What must hold for a row to pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Clue {
    /// All of these.
    All(Vec<Clue>),
    /// One of these.
    Any(Vec<Clue>),
    /// The column holds these words; or, if known, this is the hash of its whole value.
    Text { column: String, words: Vec<u64>, whole: Option<u64> },
}

impl Clue {
    /// What the conditions, all of which must hold, say; `None` if nothing.
    pub(super) fn of(filters: &[Expr]) -> Option<Self> {
        let mut needles = 0;
        let clues: Vec<Self> = filters.iter().filter_map(|filter| clue(filter, &mut needles, 0)).collect();
        (!clues.is_empty() && needles <= NEEDLES_MAX).then_some(Self::All(clues))
    }

    /// Blocks of a file that may hold a passing row; `None` if the index cannot say.
    pub(super) fn blocks(&self, index: &TermIndex) -> Option<Blocks> {
        match self {
            Self::All(clues) => clues.iter().filter_map(|clue| clue.blocks(index)).reduce(|a, b| a.and(&b)),
            Self::Any(clues) => {
                let mut all = Blocks::none(index.blocks());
                for clue in clues {
                    all = all.or(&clue.blocks(index)?);
                }
                Some(all)
            }
            Self::Text { column, words, whole } => match index.cut(column)? {
                Cut::Whole => index.blocks_of(column, (*whole)?),
                Cut::Words => words.iter().filter_map(|word| index.blocks_of(column, *word)).reduce(|a, b| a.and(&b)),
            },
        }
    }
}

fn clue(filter: &Expr, needles: &mut usize, depth: usize) -> Option<Clue> {
    if depth > DEPTH_MAX {
        return None;
    }
    match filter {
        Expr::Alias(alias) => clue(&alias.expr, needles, depth + 1),
        Expr::BinaryExpr(both) => match both.op {
            Operator::And => {
                let parts = [&both.left, &both.right].map(|side| clue(side, needles, depth + 1));
                let known: Vec<Clue> = parts.into_iter().flatten().collect();
                (!known.is_empty()).then_some(Clue::All(known))
            }
            Operator::Or => {
                Some(Clue::Any(vec![clue(&both.left, needles, depth + 1)?, clue(&both.right, needles, depth + 1)?]))
            }
            Operator::Eq => match (column(&both.left), text(&both.right), column(&both.right), text(&both.left)) {
                (Some(column), Some(value), _, _) | (_, _, Some(column), Some(value)) => {
                    equals(column, &value, needles)
                }
                _ => None,
            },
            _ => None,
        },
        Expr::InList(list) if !list.negated => {
            let column = column(&list.expr)?;
            let members = list.list.iter().map(|member| equals(column, &text(member)?, needles));
            Some(Clue::Any(members.collect::<Option<_>>()?))
        }
        Expr::ScalarFunction(call) => {
            let [subject, needle] = call.args.as_slice() else { return None };
            let (column, needle) = (column(subject)?, text(needle)?);
            let part = |start, end| Edges { start, end };
            match call.func.name() {
                "kql_has" | "kql_has_cs" => holds(column, &needle, part(true, true), needles),
                "kql_hasprefix" | "kql_hasprefix_cs" | "kql_startswith" | "kql_startswith_cs" => {
                    holds(column, &needle, part(true, false), needles)
                }
                "kql_hassuffix" | "kql_hassuffix_cs" | "kql_endswith" | "kql_endswith_cs" => {
                    holds(column, &needle, part(false, true), needles)
                }
                "kql_contains" | "kql_contains_cs" => holds(column, &needle, part(false, false), needles),
                "kql_equals_tilde" => equals(column, &needle, needles),
                "kql_has_any" => {
                    let members = members(&needle)?;
                    let members = members.iter().map(|member| holds(column, member, part(true, true), needles));
                    Some(Clue::Any(members.collect::<Option<_>>()?))
                }
                "kql_has_all" => {
                    let members = members(&needle)?;
                    let members = members.iter().filter_map(|member| holds(column, member, part(true, true), needles));
                    let known: Vec<Clue> = members.collect();
                    (!known.is_empty()).then_some(Clue::All(known))
                }
                "kql_in" | "kql_in_tilde" => {
                    let members = members(&needle)?;
                    let members = members.iter().map(|member| equals(column, member, needles));
                    Some(Clue::Any(members.collect::<Option<_>>()?))
                }
                _ => None,
            }
        }
        _ => None,
    }
}

fn holds(column: &str, needle: &str, edges: Edges, needles: &mut usize) -> Option<Clue> {
    let words = needle_words(needle, edges);
    *needles += words.len();
    (!words.is_empty() && *needles <= NEEDLES_MAX).then(|| Clue::Text { column: column.to_owned(), words, whole: None })
}

fn equals(column: &str, value: &str, needles: &mut usize) -> Option<Clue> {
    // An absent value counts as the empty text and is not indexed.
    if value.is_empty() {
        return None;
    }
    let words = needle_words(value, Edges { start: true, end: true });
    *needles += words.len().max(1);
    (*needles <= NEEDLES_MAX).then(|| Clue::Text { column: column.to_owned(), words, whole: Some(whole(value)) })
}

fn column(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Column(column) => Some(column.name.as_str()),
        Expr::Alias(alias) => match alias.expr.as_ref() {
            Expr::Column(column) => Some(column.name.as_str()),
            _ => None,
        },
        // What stands in for an absent value is empty, and an empty text holds no word.
        Expr::ScalarFunction(call) if call.func.name() == "coalesce" => match call.args.as_slice() {
            [Expr::Column(column), filler] if text(filler).is_some_and(|filler| filler.is_empty()) => {
                Some(column.name.as_str())
            }
            _ => None,
        },
        _ => None,
    }
}

fn text(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Literal(
            ScalarValue::Utf8(Some(text)) | ScalarValue::LargeUtf8(Some(text)) | ScalarValue::Utf8View(Some(text)),
            _,
        ) => Some(text.clone()),
        _ => None,
    }
}

/// The members of a list that is given as JSON text; `None` unless all are texts.
fn members(list: &str) -> Option<Vec<String>> {
    serde_json::from_str(list).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::prelude::{col, lit};

    #[test]
    fn only_certain_conditions_are_clues() {
        let name = || Expr::Column(datafusion::common::Column::from_name("FileName"));
        let known = name().eq(lit("bash"));
        let unknown = name().not_eq(lit("bash"));
        let cases = [
            (known.clone(), true),
            (lit("bash").eq(name()), true),
            (unknown.clone(), false),
            (name().eq(lit("")), false),
            (name().eq(name()), false),
            (known.clone().and(unknown.clone()), true),
            (known.clone().or(unknown.clone()), false),
            (known.clone().or(name().eq(lit("sh"))), true),
            (name().in_list(vec![lit("a"), lit("b")], false), true),
            (name().in_list(vec![lit("a"), lit("b")], true), false),
            (name().in_list(vec![lit("a"), col("x")], false), false),
            (!known, false),
        ];
        for (filter, expected) in cases {
            assert_eq!(Clue::of(std::slice::from_ref(&filter)).is_some(), expected, "{filter}");
        }
    }

    #[test]
    fn a_list_that_is_too_long_is_no_clue() {
        let name = Expr::Column(datafusion::common::Column::from_name("SHA256"));
        let list = |count: usize| name.clone().in_list((0..count).map(|n| lit(format!("{n:064}"))).collect(), false);
        assert!(Clue::of(&[list(NEEDLES_MAX)]).is_some());
        assert!(Clue::of(&[list(NEEDLES_MAX + 1)]).is_none());
    }
}
