//! Why a rule held on a row: the tests that were true, for the alert. It looks at the row anew, test by test, and shares
//! no code with the compiled matcher but the meaning of one test.

use crate::condition::Condition;
use crate::detection::{Detection, Item, Search, Test};
use crate::engine::Engine;
use crate::map::{Route, Target};
use crate::rule::{Body, LogSource, RuleIndex};
use crate::test;
use crate::value::{Reader, Value};
use arrow::array::RecordBatch;
use serde::Serialize;

/// One field test of a rule that held on a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MatchField {
    /// Name of the search in the rule.
    pub selection: String,
    /// The rule's own field name, such as `CommandLine`; empty for a keyword.
    pub field: String,
    /// The column it was looked up in, such as `ProcessCommandLine`.
    pub column: String,
    /// The test, such as `contains '/dev/tcp/'`.
    pub test: String,
    /// The value it held on, cut to 512 characters.
    pub value: String,
}

/// Tests shown for one alert; more explain nothing.
const FIELDS_MAX: usize = 64;
const VALUE_CHARACTERS_MAX: usize = 512;

impl Engine {
    /// The tests of a rule that held on a row, in the rule's order. Searches that the condition only negates are left
    /// out. Empty for correlations.
    pub fn explain(&self, rule: RuleIndex, table: &str, batch: &RecordBatch, row: usize) -> Vec<MatchField> {
        let Some(rule) = self.rule(rule) else { return Vec::new() };
        let Body::Detection(detection) = &rule.body else { return Vec::new() };
        if row >= batch.num_rows() {
            return Vec::new();
        }
        let mut found = Vec::new();
        for route in self.routes_of(rule, table) {
            let explainer = Explainer { engine: self, source: &rule.log_source, route, batch, row };
            explainer.detection(detection, &mut found);
        }
        found.truncate(FIELDS_MAX);
        found
    }
}

struct Explainer<'e> {
    engine: &'e Engine,
    source: &'e LogSource,
    route: Route,
    batch: &'e RecordBatch,
    row: usize,
}

impl Explainer<'_> {
    fn detection(&self, detection: &Detection, found: &mut Vec<MatchField>) {
        let mut wanted = vec![false; detection.searches.len()];
        positive(&detection.condition, false, &mut wanted);
        for ((name, search), _) in detection.searches.iter().zip(&wanted).filter(|(_, wanted)| **wanted) {
            let mut fields = Vec::new();
            if self.search(search, name, &mut fields) {
                for field in fields {
                    if !found.contains(&field) {
                        found.push(field);
                    }
                }
            }
        }
    }

    fn search(&self, search: &Search, name: &str, found: &mut Vec<MatchField>) -> bool {
        match search {
            Search::All(parts) => {
                let before = found.len();
                let all = parts.iter().all(|part| self.search(part, name, found));
                if !all {
                    found.truncate(before);
                }
                all
            }
            // Every alternative that held is shown.
            Search::Any(parts) => {
                let mut any = false;
                for part in parts {
                    any |= self.search(part, name, found);
                }
                any
            }
            Search::Item(item) => self.item(item, name, found),
        }
    }

    fn item(&self, item: &Item, name: &str, found: &mut Vec<MatchField>) -> bool {
        let map = self.engine.map();
        let targets = match &item.field {
            Some(field) => map.field(self.source, &self.route, field),
            None => map.keywords(self.source, &self.route),
        };
        let values: Vec<(String, String)> = targets.iter().flat_map(|target| self.values(target)).collect();
        let field = item.field.clone().unwrap_or_default();
        let show = |test: String, column: &str, value: &str| MatchField {
            selection: name.to_owned(),
            field: field.clone(),
            column: column.to_owned(),
            test,
            value: value.chars().take(VALUE_CHARACTERS_MAX).collect(),
        };
        let mut holding = Vec::new();
        for one in &item.tests {
            if let Some((column, value)) = self.first(one, &values) {
                holding.push(show(one.describe(), &column, &value));
            }
        }
        let holds = if item.all { holding.len() == item.tests.len() } else { !holding.is_empty() };
        if item.negated {
            if !holds {
                let (column, value) = values.into_iter().next().unwrap_or_default();
                found.push(show("is none of the values".to_owned(), &column, &value));
            }
            return !holds;
        }
        if holds {
            found.extend(holding);
        }
        holds
    }

    /// The first value on which a test holds, with its column.
    fn first(&self, one: &Test, values: &[(String, String)]) -> Option<(String, String)> {
        let absent = || Some((String::new(), String::new()));
        match one {
            Test::Null | Test::Exists(false) => values.is_empty().then(absent)?,
            Test::Exists(true) => values.first().cloned(),
            Test::AnyOf(forms) => forms.iter().find_map(|form| self.first(form, values)),
            Test::Field { field, how, cased } => {
                let targets = self.engine.map().field(self.source, &self.route, field);
                let right: Vec<(String, String)> = targets.iter().flat_map(|t| self.values(t)).collect();
                let alike = |left: &str| right.iter().any(|(_, r)| test::alike(left, r, *how, *cased));
                values.iter().find(|(_, left)| alike(left)).cloned()
            }
            other => values.iter().find(|(_, text)| test::holds(other, &Value::text(text))).cloned(),
        }
    }

    /// Column and text of each value that a target has on the row.
    fn values(&self, target: &Target) -> Vec<(String, String)> {
        match target {
            Target::Constant(words) => words.iter().map(|word| (String::new(), (*word).to_owned())).collect(),
            Target::Column(column, derive) => {
                let reader = Reader::open(self.batch, column);
                let Some(value) = reader.value(self.row) else { return Vec::new() };
                derive.apply(&value).iter().map(|v| (column.to_string(), v.text.to_string())).collect()
            }
        }
    }
}

/// Marks the searches that stand under an even number of negations.
fn positive(condition: &Condition, negated: bool, wanted: &mut [bool]) {
    match condition {
        Condition::Search(index) => wanted[*index] |= !negated,
        Condition::And(parts) | Condition::Or(parts) | Condition::AtLeast(_, parts) => {
            parts.iter().for_each(|part| positive(part, negated, wanted));
        }
        Condition::Not(inner) => positive(inner, !negated, wanted),
    }
}
