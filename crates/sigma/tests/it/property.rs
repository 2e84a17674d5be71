//! The engine against a naive evaluator that shares no code with it, on random rules and rows; and no text whatever
//! makes it panic.

use garrison_sigma::{Engine, HuntingMap, Matches, Options, RuleSet, Scratch};
use proptest::prelude::*;
use serde_json::{Map, Value};
use std::sync::Arc;

/// A test of one field, by its modifier.
#[derive(Debug, Clone)]
struct Item {
    field: usize,
    kind: usize,
    values: Vec<String>,
    all: bool,
}

#[derive(Debug, Clone)]
struct Rule {
    searches: Vec<Vec<Item>>,
    shape: usize,
}

const FIELDS: [&str; 3] = ["f", "g", "h"];
const KINDS: [&str; 7] = ["", "|contains", "|startswith", "|endswith", "|contains|cased", "|re", "|neq"];
const SHAPES: [&str; 6] = ["s0", "s0 and not s1", "1 of s*", "all of s*", "2 of s*", "not s0 or (s1 and s2)"];

fn word() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "A", "B", "ab", "/x", "ä", "Ä", ".", "-e"]), 0..5)
        .prop_map(|parts| parts.concat())
}

fn pattern() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "B", "ab", "/x", "Ä", "*", "?", "-e"]), 1..5)
        .prop_map(|parts| parts.concat())
}

fn item() -> impl Strategy<Value = Item> {
    (0..FIELDS.len(), 0..KINDS.len(), prop::collection::vec(pattern(), 1..4), any::<bool>())
        .prop_map(|(field, kind, values, all)| Item { field, kind, all: all && kind != 6 && values.len() > 1, values })
}

fn rule() -> impl Strategy<Value = Rule> {
    (prop::collection::vec(prop::collection::vec(item(), 1..3), 3), 0..SHAPES.len())
        .prop_map(|(searches, shape)| Rule { searches, shape })
}

fn row() -> impl Strategy<Value = Value> {
    prop::collection::vec(prop::option::weighted(0.8, word()), FIELDS.len()).prop_map(|values| {
        let pairs = FIELDS.iter().zip(values).map(|(f, v)| ((*f).to_owned(), v.map_or(Value::Null, Value::String)));
        Value::Object(pairs.collect::<Map<_, _>>())
    })
}

fn regex_of(value: &str) -> String {
    value.replace('.', "[.]").replace('?', ".").replace('*', ".*")
}

fn yaml(rule: &Rule, number: usize) -> String {
    let mut text = format!("title: t{number}\nid: r{number}\nlogsource: {{category: c}}\ndetection:\n");
    for (n, items) in rule.searches.iter().enumerate() {
        text.push_str(&format!("    s{n}:\n"));
        // A field may come twice in a map only with different modifiers, so each item is a map of its own kind.
        let mut seen = Vec::new();
        for item in items {
            let key = format!("{}{}{}", FIELDS[item.field], KINDS[item.kind], if item.all { "|all" } else { "" });
            if seen.contains(&key) {
                continue;
            }
            let values: Vec<String> = item
                .values
                .iter()
                .map(|v| format!("'{}'", if item.kind == 5 { regex_of(v) } else { v.clone() }))
                .collect();
            text.push_str(&format!("        {key}: [{}]\n", values.join(", ")));
            seen.push(key);
        }
    }
    text + &format!("    condition: {}\n", SHAPES[rule.shape])
}

/// Wildcards by recursion over characters.
fn like(pattern: &[char], text: &[char]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some(('*', rest)) => (0..=text.len()).any(|n| like(rest, &text[n..])),
        Some(('?', rest)) => !text.is_empty() && like(rest, &text[1..]),
        Some((c, rest)) => text.first() == Some(c) && like(rest, &text[1..]),
    }
}

fn naive_value(kind: usize, value: &str, text: &str) -> bool {
    let chars = |t: &str, fold: bool| -> Vec<char> {
        if fold { t.to_lowercase().chars().collect() } else { t.chars().collect() }
    };
    let wrapped = match kind {
        1 | 4 => format!("*{value}*"),
        2 => format!("{value}*"),
        3 => format!("*{value}"),
        _ => value.to_owned(),
    };
    match kind {
        // `.` and `.*` are `?` and `*`, and an expression may match anywhere.
        5 => like(&chars(&format!("*{value}*"), false), &chars(text, false)),
        4 => like(&chars(&wrapped, false), &chars(text, false)),
        _ => like(&chars(&wrapped, true), &chars(text, true)),
    }
}

fn naive_item(item: &Item, row: &Value) -> bool {
    let Some(text) = row[FIELDS[item.field]].as_str() else { return item.kind == 6 };
    let mut values = item.values.iter().map(|v| naive_value(item.kind, v, text));
    if item.all { values.all(|v| v) } else { values.any(|v| v) != (item.kind == 6) }
}

fn naive(rule: &Rule, row: &Value) -> bool {
    let s: Vec<bool> = rule
        .searches
        .iter()
        .map(|items| {
            let mut seen: Vec<(usize, usize, bool)> = Vec::new();
            items.iter().all(|item| {
                let key = (item.field, item.kind, item.all);
                seen.contains(&key) || {
                    seen.push(key);
                    naive_item(item, row)
                }
            })
        })
        .collect();
    let count = s.iter().filter(|v| **v).count();
    match rule.shape {
        0 => s[0],
        1 => s[0] && !s[1],
        2 => count >= 1,
        3 => count == 3,
        4 => count >= 2,
        _ => !s[0] || (s[1] && s[2]),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_engine_agrees_with_the_naive_evaluator(
        rules in prop::collection::vec(rule(), 1..8),
        rows in prop::collection::vec(row(), 1..30),
        cut in any::<prop::sample::Index>(),
    ) {
        let texts: Vec<String> = rules.iter().enumerate().map(|(n, r)| yaml(r, n)).collect();
        let engine = crate::door::engine(&texts.iter().map(String::as_str).collect::<Vec<_>>());
        let batch = crate::door::batch(&rows);
        let cut = cut.index(rows.len() + 1);
        let (mut scratch, mut matches) = (Scratch::with_bytes_max(2_000), Matches::new());
        let mut found = Vec::new();
        for (from, part) in [(0, batch.slice(0, cut)), (cut, batch.slice(cut, rows.len() - cut))] {
            engine.evaluate(&mut scratch, "events", None, &part, &mut matches);
            found.extend(matches.hits().iter().map(|hit| (from + hit.row as usize, hit.rule.0 as usize)));
        }
        let mut expected = Vec::new();
        for (n, row) in rows.iter().enumerate() {
            expected.extend(rules.iter().enumerate().filter(|(_, r)| naive(r, row)).map(|(r, _)| (n, r)));
        }
        // Rules that hold on everything are refused; they are the only ones left out.
        let used = |r: &usize| engine.is_usable(garrison_sigma::RuleIndex(*r as u32));
        expected.retain(|(_, r)| used(r));
        prop_assert_eq!(found, expected, "{}", texts.join("\n---\n"));
    }

    #[test]
    fn no_text_makes_it_panic(text in ".{0,300}") {
        load(&text);
    }

    #[test]
    fn no_almost_rule_makes_it_panic(
        key in "[a-z]{0,3}(\\|[a-z0-9]{1,12}){0,3}",
        value in "[ -~]{0,40}",
        condition in "[a-z0-9_*() |]{0,40}",
        span in "[0-9a-z]{0,8}",
    ) {
        let quoted = value.replace('\'', "''");
        load(&format!("title: t\nlogsource: {{product: linux, category: process_creation}}\ndetection:\n  s:\n    '{key}': '{quoted}'\n  condition: '{condition}'\n---\ntitle: c\ncorrelation: {{type: event_count, rules: [x], timespan: {span}, condition: {{gte: 1}}}}\n"));
        load(&format!("title: t\nlogsource: {{product: linux, service: auditd}}\ndetection: {{s: {{a0|re: '{quoted}'}}, condition: s}}\n"));
    }
}

fn load(text: &str) {
    let (rules, diagnostics) = RuleSet::load([("x", text)], &Options::default());
    for diagnostic in &diagnostics {
        assert!(!diagnostic.to_string().is_empty());
    }
    let engine = Engine::compile(Arc::new(rules), Arc::new(HuntingMap));
    engine.prepare(None);
}
