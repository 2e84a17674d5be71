//! The condition language: `and`, `or`, `not`, parentheses, names, and `1 of`, `N of`, `any of`, `all of` with `them` or
//! a pattern of names.

use crate::Limits;
use crate::diagnostic::{Code, shown};

/// A condition over the searches of one rule, by index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    Search(usize),
    And(Vec<Condition>),
    Or(Vec<Condition>),
    Not(Box<Condition>),
    /// At least this many of them.
    AtLeast(usize, Vec<Condition>),
}

/// Why a condition was refused, and words.
pub(crate) type Refusal = (Code, String);

/// Reads a condition against the names of the rule's searches. Also says which searches it uses.
pub(crate) fn parse(text: &str, names: &[&str], limits: &Limits) -> Result<(Condition, Vec<bool>), Refusal> {
    if text.len() > limits.condition_bytes_max {
        let message = format!("the condition has {} bytes, the limit is {}", text.len(), limits.condition_bytes_max);
        return Err((Code::ConditionTooDeep, message));
    }
    let tokens = tokenize(text)?;
    let mut parser =
        Reader { tokens, at: 0, names, depth_max: limits.condition_depth_max, used: vec![false; names.len()] };
    let condition = parser.either(0)?;
    match parser.peek() {
        None => Ok((condition, parser.used)),
        Some(extra) => Err((Code::ConditionSyntax, format!("`{}` is not expected here", shown(extra)))),
    }
}

fn tokenize(text: &str) -> Result<Vec<String>, Refusal> {
    let mut tokens = Vec::new();
    let mut word = String::new();
    for c in text.chars() {
        if c == '|' {
            return Err((Code::PipeAggregation, "the condition has an aggregation after `|`".to_owned()));
        }
        let splits = c.is_whitespace() || matches!(c, '(' | ')');
        if splits && !word.is_empty() {
            tokens.push(std::mem::take(&mut word));
        }
        match c {
            '(' | ')' => tokens.push(c.to_string()),
            _ if c.is_whitespace() => {}
            _ if c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '*' | '?' | '/' | ':' | '$' | '%') => {
                word.push(c);
            }
            _ => return Err((Code::ConditionSyntax, format!("`{c}` is not expected in a condition"))),
        }
    }
    if !word.is_empty() {
        tokens.push(word);
    }
    Ok(tokens)
}

struct Reader<'n> {
    tokens: Vec<String>,
    at: usize,
    names: &'n [&'n str],
    depth_max: usize,
    used: Vec<bool>,
}

impl Reader<'_> {
    fn peek(&self) -> Option<&str> {
        self.tokens.get(self.at).map(String::as_str)
    }

    fn is_next(&self, word: &str) -> bool {
        self.peek().is_some_and(|token| token.eq_ignore_ascii_case(word))
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.is_next(word);
        self.at += usize::from(found);
        found
    }

    fn either(&mut self, depth: usize) -> Result<Condition, Refusal> {
        self.chain("or", depth, Self::both, Condition::Or)
    }

    fn both(&mut self, depth: usize) -> Result<Condition, Refusal> {
        self.chain("and", depth, Self::negated, Condition::And)
    }

    fn chain(
        &mut self,
        word: &str,
        depth: usize,
        operand: fn(&mut Self, usize) -> Result<Condition, Refusal>,
        join: fn(Vec<Condition>) -> Condition,
    ) -> Result<Condition, Refusal> {
        let first = operand(self, depth)?;
        let mut operands = vec![first];
        while self.take(word) {
            operands.push(operand(self, depth)?);
        }
        Ok(if operands.len() == 1 { operands.swap_remove(0) } else { join(operands) })
    }

    fn negated(&mut self, depth: usize) -> Result<Condition, Refusal> {
        if depth > self.depth_max {
            return Err((Code::ConditionTooDeep, format!("the condition is nested deeper than {}", self.depth_max)));
        }
        if self.take("not") {
            return Ok(Condition::Not(Box::new(self.negated(depth + 1)?)));
        }
        if self.take("(") {
            let inner = self.either(depth + 1)?;
            if !self.take(")") {
                return Err((Code::ConditionSyntax, "a parenthesis is not closed".to_owned()));
            }
            return Ok(inner);
        }
        let Some(word) = self.peek().map(str::to_owned) else {
            return Err((Code::ConditionSyntax, "the condition ends where a search is expected".to_owned()));
        };
        self.at += 1;
        let counted = self.is_next("of") && !self.names.contains(&word.as_str());
        if counted {
            return self.quantified(&word);
        }
        let lower = word.to_ascii_lowercase();
        if matches!(lower.as_str(), "and" | "or" | ")" | "of") {
            return Err((Code::ConditionSyntax, format!("`{word}` stands where a search is expected")));
        }
        match self.names.iter().position(|name| *name == word) {
            Some(index) => {
                self.used[index] = true;
                Ok(Condition::Search(index))
            }
            // A pattern alone is read as `1 of` it by no specification.
            None => Err((Code::UnknownSearch, format!("the search `{}` is not defined", shown(&word)))),
        }
    }

    fn quantified(&mut self, quantity: &str) -> Result<Condition, Refusal> {
        self.at += 1;
        let Some(pattern) = self.peek().map(str::to_owned) else {
            return Err((Code::ConditionSyntax, "`of` must be followed by `them` or a pattern".to_owned()));
        };
        self.at += 1;
        let them = pattern.eq_ignore_ascii_case("them") && !self.names.contains(&pattern.as_str());
        let mut members = Vec::new();
        for (index, name) in self.names.iter().enumerate() {
            let fits = if them { !name.starts_with('_') } else { fits(&pattern, name) };
            if fits {
                self.used[index] = true;
                members.push(Condition::Search(index));
            }
        }
        if members.is_empty() {
            return Err((Code::NoSuchPattern, format!("no search fits `{}`", shown(&pattern))));
        }
        let count = match quantity.to_ascii_lowercase().as_str() {
            "all" => return Ok(Condition::And(members)),
            "any" => 1,
            text => match text.parse::<usize>() {
                Ok(count) if count > 0 => count,
                _ => {
                    return Err((
                        Code::ConditionSyntax,
                        format!("`{}` is not a number, `any` or `all`", shown(quantity)),
                    ));
                }
            },
        };
        Ok(if count == 1 { Condition::Or(members) } else { Condition::AtLeast(count, members) })
    }
}

/// Whether a name fits a pattern with `*` at any place; names are compared as written.
pub(crate) fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let Some(mut part) = parts.next() else { return rest.is_empty() };
    for next in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
        part = next;
    }
    rest.ends_with(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 5] = ["selection_a", "selection_b", "filter", "_hidden", "1x"];

    fn check(text: &str, expected: &str) {
        let outcome = match parse(text, &NAMES, &Limits::default()) {
            Ok((condition, _)) => format!("{}", Shown(&condition)),
            Err((code, _)) => code.to_string(),
        };
        assert_eq!(outcome, expected, "`{text}`");
    }

    struct Shown<'c>(&'c Condition);

    impl std::fmt::Display for Shown<'_> {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            let list =
                |items: &[Condition], by: &str| items.iter().map(|c| Shown(c).to_string()).collect::<Vec<_>>().join(by);
            match self.0 {
                Condition::Search(index) => write!(f, "{index}"),
                Condition::And(items) => write!(f, "({})", list(items, "&")),
                Condition::Or(items) => write!(f, "({})", list(items, "|")),
                Condition::Not(inner) => write!(f, "!{}", Shown(inner)),
                Condition::AtLeast(count, items) => write!(f, "{count}({})", list(items, ",")),
            }
        }
    }

    #[test]
    fn every_form_is_read() {
        check("selection_a", "0");
        check("selection_a and not filter", "(0&!2)");
        check("selection_a or selection_b and filter", "(0|(1&2))");
        check("not selection_a and filter", "(!0&2)");
        check("not not filter", "!!2");
        check("(selection_a or selection_b) and filter", "((0|1)&2)");
        check("1 of selection_*", "(0|1)");
        check("any of selection_*", "(0|1)");
        check("all of selection*", "(0&1)");
        check("2 of them", "2(0,1,2,4)");
        check("1 of *_b", "(1)");
        check("all of s*_?", "SG0403");
        check("ALL OF selection* AND NOT filter", "((0&1)&!2)");
        check("1x and _hidden", "(4&3)");
        check("not 1 of filter*", "!(2)");
    }

    #[test]
    fn what_cannot_be_read_has_a_number() {
        check("", "SG0401");
        check("selection_a and", "SG0401");
        check("and filter", "SG0401");
        check("(selection_a", "SG0401");
        check("selection_a)", "SG0401");
        check("selection_a filter", "SG0401");
        check("0 of them", "SG0401");
        check("1 of", "SG0401");
        check("nothing", "SG0402");
        check("1 of nothing*", "SG0403");
        check("filter | count() by x > 5", "SG0405");
        check("filter, selection_a", "SG0401");
        check(&"not ".repeat(100), "SG0404");
        check(&"(".repeat(20_000), "SG0404");
    }
}
