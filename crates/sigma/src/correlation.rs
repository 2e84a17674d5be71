//! Correlation rules as they are written: eight types over the matches of other rules.

use crate::Limits;
use crate::detection::Order;
use crate::diagnostic::{Code, Diagnostic, shown};
use crate::yaml::{Kind, Node};

/// The types of the specification (and `value_median`, which is `value_percentile` at 50).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CorrelationType {
    EventCount,
    ValueCount,
    Temporal,
    TemporalOrdered,
    ValueSum,
    ValueAverage,
    ValuePercentile,
    ValueMedian,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Correlation {
    pub kind: CorrelationType,
    /// Ids or names of the rules.
    pub rules: Vec<String>,
    pub group_by: Vec<String>,
    pub window_micros: i64,
    /// All must hold.
    pub condition: Vec<(Order, f64)>,
    /// Fields counted or added up; several are taken together.
    pub fields: Vec<String>,
    /// The percentile of `value_percentile`.
    pub percentile: f64,
    /// Alias, then pairs of rule and field.
    pub aliases: Vec<(String, Vec<(String, String)>)>,
    /// Whether the rules referred to alert by themselves too.
    pub generate: bool,
}

type Outcome<T> = Result<T, Diagnostic>;

pub(crate) fn parse(node: &Node, outer: &Node, limits: &Limits, remarks: &mut Vec<Diagnostic>) -> Outcome<Correlation> {
    let at = |key: &str| format!("correlation.{key}");
    let fail = |code, key: &str, message: String| Diagnostic::new(code, at(key), node.line, message);
    if !matches!(node.kind, Kind::Map(_)) {
        return Err(fail(Code::WrongType, "", "`correlation` is not a map".to_owned()));
    }
    let word = node.get("type").and_then(Node::scalar).unwrap_or_default();
    let kind = match word.as_str() {
        "event_count" => CorrelationType::EventCount,
        "value_count" => CorrelationType::ValueCount,
        "temporal" => CorrelationType::Temporal,
        "temporal_ordered" => CorrelationType::TemporalOrdered,
        "value_sum" => CorrelationType::ValueSum,
        "value_avg" => CorrelationType::ValueAverage,
        "value_percentile" => CorrelationType::ValuePercentile,
        "value_median" => CorrelationType::ValueMedian,
        _ => return Err(fail(Code::UnknownCorrelation, "type", format!("the type `{}` does not exist", shown(&word)))),
    };
    let rules = node.get("rules").map(Node::scalars).unwrap_or_default();
    if rules.is_empty() {
        return Err(fail(Code::CorrelationRules, "rules", "no rules are named".to_owned()));
    }
    let group_by = node.get("group-by").or_else(|| node.get("group_by")).map(Node::scalars).unwrap_or_default();
    if rules.len() > limits.correlation_rules_max || group_by.len() > limits.correlation_rules_max {
        let message = format!("more than {} rules or fields are named", limits.correlation_rules_max);
        return Err(fail(Code::CorrelationTooBig, "rules", message));
    }
    let window_micros = window(node, limits)?;
    let mut condition = Vec::new();
    let mut fields = Vec::new();
    let mut percentile = 50.0;
    if let Some(body) = node.get("condition") {
        let Kind::Map(entries) = &body.kind else {
            return Err(fail(Code::CorrelationCondition, "condition", "the condition is not a map".to_owned()));
        };
        for (key, value) in entries {
            let order = match key.as_str() {
                "gt" => Order::Greater,
                "gte" => Order::GreaterOrEqual,
                "lt" => Order::Less,
                "lte" => Order::LessOrEqual,
                "eq" => Order::Equal,
                "neq" => Order::NotEqual,
                "field" => {
                    fields = value.scalars();
                    continue;
                }
                "percentile" => {
                    let read = number(value).filter(|p| (0.0..=100.0).contains(p));
                    percentile = read.ok_or_else(|| {
                        fail(Code::CorrelationCondition, "condition.percentile", "it is not from 0 to 100".to_owned())
                    })?;
                    continue;
                }
                _ => {
                    let message = format!("`{}` is no comparison", shown(key));
                    return Err(fail(Code::CorrelationCondition, "condition", message));
                }
            };
            let bound = number(value).ok_or_else(|| {
                fail(Code::CorrelationCondition, "condition", format!("the value of `{key}` is not a number"))
            })?;
            condition.push((order, bound));
        }
    }
    let temporal = matches!(kind, CorrelationType::Temporal | CorrelationType::TemporalOrdered);
    if condition.is_empty() && !temporal {
        return Err(fail(Code::CorrelationCondition, "condition", "there is no comparison".to_owned()));
    }
    if fields.is_empty() && !temporal && kind != CorrelationType::EventCount {
        return Err(fail(Code::CorrelationField, "condition.field", format!("`{word}` needs a field")));
    }
    if !condition.is_empty() && condition.iter().all(|(order, bound)| order.holds(0.0, *bound)) {
        let message = "the condition holds for zero";
        remarks.push(Diagnostic::new(Code::BelowZero, at("condition"), node.line, message));
    }
    let aliases = aliases(node, &rules)?;
    let generate =
        [node.get("generate"), outer.get("generate")].into_iter().flatten().any(|value| value.kind == Kind::Bool(true));
    Ok(Correlation { kind, rules, group_by, window_micros, condition, fields, percentile, aliases, generate })
}

fn number(node: &Node) -> Option<f64> {
    match &node.kind {
        Kind::Number(number) => Some(number.value),
        Kind::Text(text) => crate::yaml::number(text.trim()).map(|n| n.value),
        _ => None,
    }
}

fn window(node: &Node, limits: &Limits) -> Outcome<i64> {
    let fail = |code, message: String| Diagnostic::new(code, "correlation.timespan", node.line, message);
    let text = node.get("timespan").or_else(|| node.get("timeframe")).and_then(Node::scalar).unwrap_or_default();
    let bad = || fail(Code::BadTimespan, format!("`{}` is not a time span", shown(&text)));
    let unit = text.chars().last().ok_or_else(bad)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return Err(bad()),
    };
    let count: u64 = text[..text.len() - 1].trim().parse().map_err(|_| bad())?;
    if count == 0 {
        return Err(bad());
    }
    let total = count.checked_mul(seconds).filter(|total| *total <= limits.timespan_seconds_max);
    let total = total.ok_or_else(|| {
        fail(Code::TimespanTooLong, format!("`{text}` is longer than {} s", limits.timespan_seconds_max))
    })?;
    Ok(total as i64 * 1_000_000)
}

type Aliases = Vec<(String, Vec<(String, String)>)>;

fn aliases(node: &Node, rules: &[String]) -> Outcome<Aliases> {
    let Some(body) = node.get("aliases") else { return Ok(Vec::new()) };
    let fail = |message: String| Diagnostic::new(Code::BadAlias, "correlation.aliases", body.line, message);
    let Kind::Map(entries) = &body.kind else { return Err(fail("`aliases` is not a map".to_owned())) };
    let mut found = Vec::new();
    for (alias, per_rule) in entries {
        let Kind::Map(pairs) = &per_rule.kind else {
            return Err(fail(format!("the alias `{}` is not a map", shown(alias))));
        };
        let mut fields = Vec::new();
        for (rule, field) in pairs {
            let field = field.scalar().ok_or_else(|| fail(format!("`{}` has no field", shown(rule))))?;
            if !rules.contains(rule) {
                return Err(fail(format!("the alias `{}` names the rule `{}`", shown(alias), shown(rule))));
            }
            fields.push((rule.clone(), field));
        }
        found.push((alias.clone(), fields));
    }
    Ok(found)
}
