//! The `detection` section: searches made of field tests, and the modifiers that shape them.

use crate::Limits;
use crate::condition::{self, Condition};
use crate::diagnostic::{Code, Diagnostic, shown};
use crate::encode;
use crate::pattern::Pattern;
use crate::regexes::{self, Expression, Flags};
use crate::yaml::{Kind, Node, Number};
use ipnet::IpNet;
use std::collections::HashMap;
use std::sync::Arc;

/// Values of placeholders, by name without the percent signs.
pub type Placeholders = HashMap<String, Vec<String>>;

/// What a rule looks for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Detection {
    pub searches: Vec<(String, Search)>,
    pub condition: Condition,
}

/// One search, or a part of one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Search {
    All(Vec<Search>),
    Any(Vec<Search>),
    Item(Item),
}

/// One field with its values.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Item {
    /// None for a keyword, which may stand in any field.
    pub field: Option<String>,
    pub tests: Vec<Test>,
    /// All tests must hold instead of any.
    pub all: bool,
    /// `neq`: none of the tests may hold.
    pub negated: bool,
}

/// A comparison of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Order {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
}

impl Order {
    pub fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Order::Less => left < right,
            Order::LessOrEqual => left <= right,
            Order::Greater => left > right,
            Order::GreaterOrEqual => left >= right,
            Order::Equal => left == right,
            Order::NotEqual => left != right,
        }
    }

    pub fn sign(self) -> &'static str {
        match self {
            Order::Less => "<",
            Order::LessOrEqual => "<=",
            Order::Greater => ">",
            Order::GreaterOrEqual => ">=",
            Order::Equal => "=",
            Order::NotEqual => "!=",
        }
    }
}

/// A part of a point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum TimePart {
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Year,
}

/// How a `fieldref` compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Likeness {
    Equal,
    Starts,
    Ends,
    Contains,
}

/// One test of one value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Test {
    /// Folded unless cased.
    Text(Pattern),
    /// Equal as a number, or equal to the text the number was written as.
    Number(Number),
    Compare(Order, f64),
    Regex(Arc<Expression>),
    Network(IpNet),
    Null,
    Exists(bool),
    Field {
        field: String,
        how: Likeness,
        cased: bool,
    },
    Time(TimePart, Order, f64),
    /// The forms that one value under `all` expanded to: any of them.
    AnyOf(Vec<Test>),
}

impl Test {
    /// In words, for an alert.
    pub fn describe(&self) -> String {
        match self {
            Test::Text(pattern) => pattern.describe(),
            Test::Number(number) => format!("equals {}", number.text),
            Test::Compare(order, value) => format!("{} {value}", order.sign()),
            Test::Regex(expression) => format!("matches /{}/", expression.text),
            Test::Network(network) => format!("is in {network}"),
            Test::Null => "has no value".to_owned(),
            Test::Exists(true) => "exists".to_owned(),
            Test::Exists(false) => "does not exist".to_owned(),
            Test::Field { field, how, .. } => match how {
                Likeness::Equal => format!("equals the field {field}"),
                Likeness::Starts => format!("starts with the field {field}"),
                Likeness::Ends => format!("ends with the field {field}"),
                Likeness::Contains => format!("contains the field {field}"),
            },
            Test::AnyOf(forms) => forms.first().map(Test::describe).unwrap_or_default(),
            Test::Time(part, order, value) => {
                format!("{} {} {value}", format!("{part:?}").to_lowercase(), order.sign())
            }
        }
    }
}

/// Reads a `detection` (or, without `rules`, a `filter`) section.
pub(crate) fn parse(
    node: &Node,
    place: &str,
    limits: &Limits,
    placeholders: &Placeholders,
    remarks: &mut Vec<Diagnostic>,
) -> Result<Detection, Diagnostic> {
    let Kind::Map(entries) = &node.kind else {
        return Err(Diagnostic::new(Code::WrongType, place, node.line, format!("`{place}` is not a map")));
    };
    let mut reader = Reader { limits, placeholders, remarks, values: 0 };
    let mut searches = Vec::new();
    for (name, body) in entries {
        if name == "condition" || name == "timeframe" || (place == "filter" && name == "rules") {
            continue;
        }
        let at = format!("{place}.{name}");
        if searches.len() == limits.searches_max {
            let message = format!("the rule has more than {} searches", limits.searches_max);
            return Err(Diagnostic::new(Code::TooManySearches, at, body.line, message));
        }
        let search = reader.search(body, &at, 0)?;
        searches.push((name.clone(), search));
    }
    if searches.is_empty() {
        return Err(Diagnostic::new(Code::NoSelection, place, node.line, "there is no search"));
    }
    let at = format!("{place}.condition");
    let Some(body) = node.get("condition") else {
        return Err(Diagnostic::new(Code::MissingCondition, at, node.line, "there is no condition"));
    };
    let names: Vec<&str> = searches.iter().map(|(name, _)| name.as_str()).collect();
    let mut alternatives = Vec::new();
    let mut used = vec![false; names.len()];
    for text in body.scalars() {
        let (condition, uses) = condition::parse(&text, &names, limits)
            .map_err(|(code, message)| Diagnostic::new(code, at.as_str(), body.line, message))?;
        used.iter_mut().zip(uses).for_each(|(all, this)| *all |= this);
        warn_about_counts(&condition, &at, body.line, reader.remarks);
        alternatives.push(condition);
    }
    for (name, _) in names.iter().zip(&used).filter(|(name, used)| !**used && !name.starts_with('_')) {
        let message = format!("the condition does not use `{}`", shown(name));
        reader.remarks.push(Diagnostic::new(Code::UnusedSearch, at.as_str(), body.line, message));
    }
    let condition = match alternatives.len() {
        0 => return Err(Diagnostic::new(Code::ConditionSyntax, at, body.line, "the condition is empty")),
        1 => alternatives.swap_remove(0),
        _ => Condition::Or(alternatives),
    };
    Ok(Detection { searches, condition })
}

fn warn_about_counts(condition: &Condition, place: &str, line: u32, remarks: &mut Vec<Diagnostic>) {
    match condition {
        Condition::AtLeast(count, members) if *count > members.len() => {
            let message = format!("{count} searches are asked for, {} fit", members.len());
            remarks.push(Diagnostic::new(Code::QuantifierTooBig, place, line, message));
        }
        Condition::And(members) | Condition::Or(members) | Condition::AtLeast(_, members) => {
            members.iter().for_each(|member| warn_about_counts(member, place, line, remarks));
        }
        Condition::Not(inner) => warn_about_counts(inner, place, line, remarks),
        Condition::Search(_) => {}
    }
}

struct Reader<'r> {
    limits: &'r Limits,
    placeholders: &'r Placeholders,
    remarks: &'r mut Vec<Diagnostic>,
    values: usize,
}

impl Reader<'_> {
    fn search(&mut self, node: &Node, place: &str, depth: usize) -> Result<Search, Diagnostic> {
        if depth > 4 {
            return Err(Diagnostic::new(Code::BadSearch, place, node.line, "searches are nested too deep"));
        }
        match &node.kind {
            Kind::Map(entries) if entries.is_empty() => {
                Err(Diagnostic::new(Code::EmptySearch, place, node.line, "the search is an empty map"))
            }
            Kind::Map(entries) => {
                let mut parts = Vec::new();
                for (key, value) in entries {
                    parts.push(Search::Item(self.item(key, value, place)?));
                }
                Ok(if parts.len() == 1 { parts.swap_remove(0) } else { Search::All(parts) })
            }
            Kind::List(items) if items.is_empty() => {
                Err(Diagnostic::new(Code::EmptySearch, place, node.line, "the search is an empty list"))
            }
            Kind::List(items) => {
                let mut parts = Vec::new();
                let mut keywords = Vec::new();
                for item in items {
                    match &item.kind {
                        Kind::Map(_) | Kind::List(_) => parts.push(self.search(item, place, depth + 1)?),
                        _ => keywords.push(item.clone()),
                    }
                }
                if !keywords.is_empty() {
                    let list = Node { kind: Kind::List(keywords), line: node.line };
                    parts.push(Search::Item(self.item("", &list, place)?));
                }
                Ok(if parts.len() == 1 { parts.swap_remove(0) } else { Search::Any(parts) })
            }
            Kind::Null => Err(Diagnostic::new(Code::EmptySearch, place, node.line, "the search is empty")),
            _ => Ok(Search::Item(self.item("", node, place)?)),
        }
    }

    fn item(&mut self, key: &str, node: &Node, place: &str) -> Result<Item, Diagnostic> {
        let mut parts = key.split('|');
        let field = parts.next().unwrap_or_default().trim();
        let field = (!field.is_empty()).then(|| field.to_owned());
        let place = if key.is_empty() { place.to_owned() } else { format!("{place}.{key}") };
        let names: Vec<&str> = parts.map(str::trim).collect();
        let chain = Chain::read(&names, &place, node.line)?;
        if field.is_none() && (chain.exists || chain.fieldref || chain.time.is_some() || chain.order.is_some()) {
            let message = format!("`{}` needs a field", shown(key));
            return Err(Diagnostic::new(Code::FieldlessModifier, place, node.line, message));
        }
        let single = [node.clone()];
        let values: &[Node] = match &node.kind {
            Kind::List(items) => items,
            _ => &single,
        };
        if values.is_empty() {
            return Err(Diagnostic::new(Code::EmptyField, place, node.line, "the list of values is empty"));
        }
        if values.len() > 1 && values.iter().any(|v| v.kind == Kind::Null) {
            let message = "`null` stands in a list of values";
            self.remarks.push(Diagnostic::new(Code::NullInList, place.as_str(), node.line, message));
        }
        if chain.all && values.len() == 1 {
            let message = "`all` has a single value";
            self.remarks.push(Diagnostic::new(Code::SingleAll, place.as_str(), node.line, message));
        }
        let mut tests = Vec::new();
        let mut groups = Vec::new();
        for value in values {
            let before = tests.len();
            chain.tests(value, field.is_none(), self, &place, &mut tests)?;
            groups.push(tests.len() - before);
            self.values += tests.len() - before;
            if self.values > self.limits.values_max {
                let message = format!("the rule has more than {} values", self.limits.values_max);
                return Err(Diagnostic::new(Code::TooManyValues, place, value.line, message));
            }
        }
        if chain.all && groups.iter().any(|&size| size != 1) {
            tests = merge_groups(tests, &groups);
        }
        Ok(Item { field, tests, all: chain.all, negated: chain.negated })
    }
}

/// Under `all`, the forms that one value expanded to stay alternatives of each other.
fn merge_groups(tests: Vec<Test>, groups: &[usize]) -> Vec<Test> {
    let mut tests = tests.into_iter();
    groups.iter().map(|&size| Test::AnyOf(tests.by_ref().take(size).collect())).collect()
}

/// The modifiers of one field, read once for all its values.
#[derive(Default)]
struct Chain {
    steps: Vec<Step>,
    all: bool,
    negated: bool,
    cased: bool,
    exists: bool,
    fieldref: bool,
    cidr: bool,
    expand: bool,
    regex: Option<Flags>,
    order: Option<Order>,
    time: Option<TimePart>,
}

/// A modifier that changes the value; they work in the order written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Starts,
    Ends,
    Contains,
    Base64,
    Base64Offset,
    Utf16Le,
    Utf16Be,
    Utf16,
    Windash,
}

impl Chain {
    fn read(names: &[&str], place: &str, line: u32) -> Result<Self, Diagnostic> {
        let mut chain = Self::default();
        let mut neq = false;
        for name in names {
            match name.to_ascii_lowercase().as_str() {
                "contains" => chain.steps.push(Step::Contains),
                "startswith" => chain.steps.push(Step::Starts),
                "endswith" => chain.steps.push(Step::Ends),
                "base64" => chain.steps.push(Step::Base64),
                "base64offset" => chain.steps.push(Step::Base64Offset),
                "wide" | "utf16le" => chain.steps.push(Step::Utf16Le),
                "utf16be" => chain.steps.push(Step::Utf16Be),
                "utf16" => chain.steps.push(Step::Utf16),
                "windash" => chain.steps.push(Step::Windash),
                "all" => chain.all = true,
                "cased" => chain.cased = true,
                "exists" => chain.exists = true,
                "fieldref" => chain.fieldref = true,
                "cidr" => chain.cidr = true,
                "expand" => chain.expand = true,
                "re" => chain.regex = Some(Flags::default()),
                "neq" => neq = true,
                "lt" => chain.order = Some(Order::Less),
                "lte" => chain.order = Some(Order::LessOrEqual),
                "gt" => chain.order = Some(Order::Greater),
                "gte" => chain.order = Some(Order::GreaterOrEqual),
                "minute" => chain.time = Some(TimePart::Minute),
                "hour" => chain.time = Some(TimePart::Hour),
                "day" => chain.time = Some(TimePart::Day),
                "week" => chain.time = Some(TimePart::Week),
                "month" => chain.time = Some(TimePart::Month),
                "year" => chain.time = Some(TimePart::Year),
                "i" | "ignorecase" | "m" | "multiline" | "s" | "dotall" => {
                    let Some(flags) = &mut chain.regex else {
                        let message = format!("`{name}` does not follow `re`");
                        return Err(Diagnostic::new(Code::SubModifier, place, line, message));
                    };
                    match name.as_bytes().first() {
                        Some(b'i' | b'I') => flags.insensitive = true,
                        Some(b'm' | b'M') => flags.multi_line = true,
                        _ => flags.dot_all = true,
                    }
                }
                _ => {
                    let message = format!("the modifier `{}` does not exist", shown(name));
                    return Err(Diagnostic::new(Code::UnknownModifier, place, line, message));
                }
            }
        }
        chain.negated = neq;
        let likeness_only = chain.steps.iter().all(|s| matches!(s, Step::Starts | Step::Ends | Step::Contains));
        let kinds = [chain.regex.is_some(), chain.cidr, chain.exists, chain.fieldref, chain.order.is_some()];
        let exclusive = kinds.iter().filter(|on| **on).count();
        let conflict = exclusive > 1
            || (chain.regex.is_some() && (!chain.steps.is_empty()))
            || ((chain.cidr || chain.exists || chain.order.is_some()) && !chain.steps.is_empty())
            || (chain.fieldref && !(likeness_only && chain.steps.len() <= 1))
            || (chain.time.is_some() && (exclusive > usize::from(chain.order.is_some()) || !chain.steps.is_empty()))
            || (chain.exists && (chain.all || chain.negated));
        if conflict {
            let message = format!("`{}` cannot be used together", names.join("|"));
            return Err(Diagnostic::new(Code::ModifierConflict, place, line, message));
        }
        Ok(chain)
    }

    /// The tests that one value becomes.
    fn tests(
        &self,
        node: &Node,
        keyword: bool,
        reader: &mut Reader<'_>,
        place: &str,
        out: &mut Vec<Test>,
    ) -> Result<(), Diagnostic> {
        let fail = |code, message: String| Diagnostic::new(code, place, node.line, message);
        if matches!(node.kind, Kind::List(_) | Kind::Map(_)) {
            return Err(fail(Code::NestedValue, "a value is a map or a list".to_owned()));
        }
        let text = node.scalar();
        let shown_value = || shown(&node.scalar().unwrap_or_else(|| "null".to_owned()));
        if text.as_ref().is_some_and(|text| text.len() > reader.limits.value_bytes_max) {
            return Err(fail(
                Code::PatternTooLong,
                format!("a value is longer than {}", reader.limits.value_bytes_max),
            ));
        }
        if self.exists {
            let wanted = match text.as_deref().map(str::to_ascii_lowercase).as_deref() {
                Some("true") => true,
                Some("false") => false,
                _ => return Err(fail(Code::BadExists, format!("`{}` is neither true nor false", shown_value()))),
            };
            out.push(Test::Exists(wanted));
            return Ok(());
        }
        let Some(text) = text else {
            if self.steps.is_empty() && self.regex.is_none() && !self.cidr && self.order.is_none() && !self.fieldref {
                out.push(Test::Null);
                return Ok(());
            }
            return Err(fail(Code::ModifierValue, "null cannot be used with a modifier".to_owned()));
        };
        if let Some(part) = self.time {
            let value = numeric(node).filter(|v| part.range().contains(v));
            let value = value.ok_or_else(|| fail(Code::BadTimePart, format!("`{}` is out of range", shown_value())))?;
            out.push(Test::Time(part, self.order.unwrap_or(Order::Equal), value));
        } else if let Some(order) = self.order {
            let value = numeric(node).ok_or_else(|| fail(Code::BadNumber, format!("`{}`", shown_value())))?;
            out.push(Test::Compare(order, value));
        } else if self.fieldref {
            let how = match self.steps.first() {
                Some(Step::Starts) => Likeness::Starts,
                Some(Step::Ends) => Likeness::Ends,
                Some(Step::Contains) => Likeness::Contains,
                _ => Likeness::Equal,
            };
            out.push(Test::Field { field: text, how, cased: self.cased });
        } else {
            let texts = if self.expand { self.expanded(&text, reader, &fail)? } else { vec![text.clone()] };
            for form in texts {
                if self.cidr {
                    let network = network(&form).ok_or_else(|| fail(Code::BadCidr, format!("`{}`", shown(&form))))?;
                    out.push(Test::Network(network));
                } else if let Some(flags) = self.regex {
                    let expression = regexes::compile(&form, flags, reader.limits).map_err(|(c, m)| fail(c, m))?;
                    out.push(Test::Regex(Arc::new(expression)));
                } else if let (Kind::Number(number), true, false) = (&node.kind, self.steps.is_empty(), keyword) {
                    out.push(Test::Number(number.clone()));
                } else {
                    self.patterns(&form, keyword, reader, place, node.line, out)?;
                }
            }
        }
        Ok(())
    }

    /// Applies the steps to a text; every step may multiply the forms.
    fn patterns(
        &self,
        text: &str,
        keyword: bool,
        reader: &mut Reader<'_>,
        place: &str,
        line: u32,
        out: &mut Vec<Test>,
    ) -> Result<(), Diagnostic> {
        let fail = |code, message: String| Diagnostic::new(code, place, line, message);
        let mut texts = vec![text.to_owned()];
        if self.steps.contains(&Step::Windash) {
            texts = encode::windash(text, reader.limits.dashes_max)
                .ok_or_else(|| fail(Code::TooManyDashes, format!("`{}` has too many dashes", shown(text))))?;
        }
        let mut patterns: Vec<Pattern> = texts.iter().map(|text| Pattern::parse(text)).collect();
        for step in &self.steps {
            let mut next = Vec::new();
            for mut pattern in patterns {
                match step {
                    Step::Windash => next.push(pattern),
                    Step::Starts => {
                        pattern.open_end();
                        next.push(pattern);
                    }
                    Step::Ends => {
                        pattern.open_start();
                        next.push(pattern);
                    }
                    Step::Contains => {
                        pattern.open_start();
                        pattern.open_end();
                        next.push(pattern);
                    }
                    _ => {
                        let Some(bytes) = pattern.plain_bytes() else {
                            let message = format!("`{}` holds a wildcard", shown(text));
                            return Err(fail(Code::Base64Wildcard, message));
                        };
                        let wide = |encode: fn(&str) -> Vec<u8>| encode(&String::from_utf8_lossy(&bytes));
                        match step {
                            Step::Base64 => next.push(Pattern::literal(encode::base64(&bytes))),
                            Step::Base64Offset => {
                                next.extend(encode::base64_offsets(&bytes).into_iter().map(Pattern::literal));
                            }
                            Step::Utf16Be => next.push(Pattern::literal(wide(encode::utf16be))),
                            Step::Utf16 => next.push(Pattern::literal(wide(encode::utf16_with_mark))),
                            _ => next.push(Pattern::literal(wide(encode::utf16le))),
                        }
                    }
                }
            }
            patterns = next;
        }
        for mut pattern in patterns {
            if keyword && self.steps.iter().all(|s| !matches!(s, Step::Starts | Step::Ends)) {
                // A keyword may stand anywhere in the event.
                pattern.open_start();
                pattern.open_end();
            }
            pattern.cased = self.cased;
            let text_only = pattern.tokens.iter().all(|token| match token {
                crate::pattern::Token::Literal(bytes) => std::str::from_utf8(bytes).is_ok(),
                _ => true,
            });
            if !text_only {
                let message = format!("the encoded form of `{}` is not text", shown(text));
                reader.remarks.push(Diagnostic::new(Code::NeverText, place, line, message));
            }
            if pattern.byte_count() > 4 * reader.limits.value_bytes_max {
                return Err(fail(Code::PatternTooLong, "a value grows too long when it is encoded".to_owned()));
            }
            out.push(Test::Text(pattern.folded()));
        }
        Ok(())
    }

    /// Replaces `%name%` by the values supplied; `\%` is a percent sign.
    fn expanded(
        &self,
        text: &str,
        reader: &Reader<'_>,
        fail: &dyn Fn(Code, String) -> Diagnostic,
    ) -> Result<Vec<String>, Diagnostic> {
        let mut forms = vec![String::new()];
        let mut rest = text;
        while let Some(at) = rest.find('%') {
            let escaped = rest[..at].ends_with('\\');
            let before = if escaped { &rest[..at - 1] } else { &rest[..at] };
            let after = &rest[at + 1..];
            let name = after.find('%').map(|end| &after[..end]).filter(|name| is_placeholder(name));
            match name {
                Some(name) if !escaped => {
                    let values = reader.placeholders.get(name).filter(|values| !values.is_empty());
                    let values = values.ok_or_else(|| {
                        fail(Code::MissingPlaceholder, format!("the placeholder `%{}%` has no values", shown(name)))
                    })?;
                    if forms.len() * values.len() > reader.limits.values_max {
                        return Err(fail(Code::TooManyValues, "placeholders expand to too many values".to_owned()));
                    }
                    forms = forms.iter().flat_map(|f| values.iter().map(move |v| format!("{f}{before}{v}"))).collect();
                    rest = &after[name.len() + 1..];
                }
                _ => {
                    forms.iter_mut().for_each(|form| {
                        form.push_str(before);
                        form.push('%');
                    });
                    rest = after;
                }
            }
        }
        forms.iter_mut().for_each(|form| form.push_str(rest));
        Ok(forms)
    }
}

fn is_placeholder(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

impl TimePart {
    fn range(self) -> std::ops::RangeInclusive<f64> {
        match self {
            TimePart::Minute => 0.0..=59.0,
            TimePart::Hour => 0.0..=23.0,
            TimePart::Day => 1.0..=31.0,
            TimePart::Week => 1.0..=53.0,
            TimePart::Month => 1.0..=12.0,
            TimePart::Year => 0.0..=9999.0,
        }
    }
}

fn numeric(node: &Node) -> Option<f64> {
    match &node.kind {
        Kind::Number(number) => Some(number.value),
        Kind::Text(text) => crate::yaml::number(text.trim()).map(|n| n.value),
        _ => None,
    }
}

/// A network; a bare address is a network of one.
fn network(text: &str) -> Option<IpNet> {
    let text = text.trim();
    text.parse::<IpNet>().ok().or_else(|| text.parse::<std::net::IpAddr>().ok().map(IpNet::from))
}
