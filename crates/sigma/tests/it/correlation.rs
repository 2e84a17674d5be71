//! All eight types of correlation, chains, aliases, bounds; time is an input.

use garrison_sigma::{CorrelationHit, CorrelationLimits, CorrelationState, Matches, Origin, Scratch};
use serde_json::{Value, json};

const BASE: &str = "title: a\nname: a\nlogsource: {category: c}\ndetection: {s: {f: a}, condition: s}\n---\n\
title: b\nname: b\nlogsource: {category: c}\ndetection: {s: {f: b}, condition: s}\n---\n\
title: c\nname: c\nlogsource: {category: c}\ndetection: {s: {f: c}, condition: s}\n---\n";

/// Rows as (second, f, g, h); each comes alone, at its time. Then `until` passes.
fn run(correlation: &str, rows: &[(i64, &str, &str, i64)], until: i64) -> Vec<CorrelationHit> {
    let engine = crate::door::engine(&[&format!("{BASE}{correlation}")]);
    for (index, rule) in engine.rules().iter() {
        assert!(engine.is_usable(index), "{}: {:?}", rule.title, engine.diagnostics(index));
    }
    let (mut scratch, mut matches, mut state) = (Scratch::new(), Matches::new(), CorrelationState::default());
    let mut hits = Vec::new();
    for (number, (second, f, g, h)) in rows.iter().enumerate() {
        let g = if g.is_empty() { Value::Null } else { Value::from(*g) };
        let batch = crate::door::batch(&[json!({"f": f, "g": g, "h": h})]);
        engine.evaluate(&mut scratch, "events", None, &batch, &mut matches);
        let origin = Origin { device: "d".into(), sequence_first: number as u64, received: second * 1_000_000 };
        hits.extend(state.observe(&engine, "events", &batch, &matches, &origin));
    }
    hits.extend(state.advance(&engine, until * 1_000_000));
    hits
}

fn check(correlation: &str, rows: &[(i64, &str, &str, i64)], expected: &[(f64, usize)]) {
    let text = format!("title: x\nid: x\ncorrelation: {{{correlation}}}\n");
    let hits = run(&text, rows, 10_000);
    let found: Vec<(f64, usize)> = hits.iter().map(|hit| (hit.value, hit.rows.len())).collect();
    assert_eq!(found, expected, "{correlation}");
}

#[test]
fn event_count_slides_and_starts_anew() {
    let count = "type: event_count, rules: [a], group-by: [g], timespan: 10s, condition: {gte: 3}";
    check(count, &[(0, "a", "x", 0), (5, "a", "x", 0), (9, "a", "x", 0), (10, "a", "x", 0)], &[(3.0, 3)]);
    check(count, &[(0, "a", "x", 0), (5, "a", "x", 0), (11, "a", "x", 0), (14, "a", "x", 0)], &[(3.0, 3)]);
    check(count, &[(0, "a", "x", 0), (1, "a", "y", 0), (2, "a", "x", 0), (3, "b", "x", 0), (4, "a", "", 0)], &[]);
    let range = "type: event_count, rules: [a], group-by: [g], timespan: 10s, condition: {gt: 1, lte: 2}";
    check(range, &[(0, "a", "x", 0), (1, "a", "x", 0), (30, "a", "x", 0)], &[(2.0, 2)]);
    check(range, &[(0, "a", "x", 0), (1, "a", "x", 0), (2, "a", "x", 0)], &[]);
    let exactly = "type: event_count, rules: [a], group-by: [g], timespan: 10s, condition: {eq: 1}";
    check(exactly, &[(0, "a", "x", 0)], &[(1.0, 1)]);
}

#[test]
fn value_count_counts_different_values() {
    let count = "type: value_count, rules: [a, b], group-by: [g], timespan: 1m, condition: {field: h, gte: 2}";
    check(count, &[(0, "a", "x", 1), (1, "b", "x", 1), (2, "a", "x", 2)], &[(2.0, 3)]);
    check(count, &[(0, "a", "x", 1), (1, "a", "x", 1)], &[]);
    let two = "type: value_count, rules: [a], group-by: [g], timespan: 1m, condition: {field: [f, h], gte: 2}";
    check(two, &[(0, "a", "x", 1), (1, "a", "x", 2)], &[(2.0, 2)]);
}

#[test]
fn temporal_needs_all_rules_in_any_order() {
    let temporal = "type: temporal, rules: [a, b], group-by: [g], timespan: 10s";
    check(temporal, &[(0, "b", "x", 0), (9, "a", "x", 0)], &[(2.0, 2)]);
    check(temporal, &[(0, "b", "x", 0), (11, "a", "x", 0)], &[]);
    check(temporal, &[(0, "b", "x", 0), (1, "a", "y", 0)], &[]);
    let two = "type: temporal, rules: [a, b, c], group-by: [g], timespan: 10s, condition: {gte: 2}";
    check(two, &[(0, "c", "x", 0), (1, "a", "x", 0)], &[(2.0, 2)]);
}

#[test]
fn temporal_ordered_needs_the_order() {
    let ordered = "type: temporal_ordered, rules: [a, b, c], group-by: [g], timespan: 10s";
    check(ordered, &[(0, "a", "x", 0), (1, "b", "x", 0), (2, "c", "x", 0)], &[(3.0, 3)]);
    check(ordered, &[(0, "b", "x", 0), (1, "a", "x", 0), (2, "c", "x", 0)], &[]);
    check(ordered, &[(0, "a", "x", 0), (1, "c", "x", 0), (2, "b", "x", 0), (3, "c", "x", 0)], &[(3.0, 4)]);
}

#[test]
fn sums_averages_percentiles() {
    let sum = "type: value_sum, rules: [a], group-by: [g], timespan: 1m, condition: {field: h, gt: 100}";
    check(sum, &[(0, "a", "x", 60), (1, "a", "x", 40), (2, "a", "x", 1)], &[(101.0, 3)]);
    let average = "type: value_avg, rules: [a], group-by: [g], timespan: 1m, condition: {field: h, gt: 50}";
    check(average, &[(0, "a", "x", 10), (1, "a", "x", 100)], &[(55.0, 2)]);
    let low = "type: value_avg, rules: [a], group-by: [g], timespan: 1m, condition: {field: h, lt: 50}";
    check(low, &[(0, "a", "x", 10), (1, "a", "x", 20)], &[(15.0, 2)]);
    let median = "type: value_median, rules: [a], group-by: [g], timespan: 1m, condition: {field: h, lte: 3}";
    check(median, &[(0, "a", "x", 1), (1, "a", "x", 3), (2, "a", "x", 90)], &[(3.0, 3)]);
    let percentile = "type: value_percentile, rules: [a], group-by: [g], timespan: 1m, condition: {field: h, percentile: 90, gte: 9}";
    check(percentile, &[(0, "a", "x", 1), (1, "a", "x", 9)], &[(9.0, 2)]);
    let rare = "type: value_percentile, rules: [a], group-by: [g], timespan: 1m, condition: {field: g, lte: 50}";
    check(rare, &[(0, "a", "x", 1)], &[]);
}

#[test]
fn chains_and_aliases_work() {
    let chain = "title: many\nname: many\ncorrelation: {type: event_count, rules: [a], group-by: [g], timespan: 10s, condition: {gte: 2}}\n---\n\
title: x\nid: x\ncorrelation: {type: temporal_ordered, rules: [many, b], group-by: [who], timespan: 1m, aliases: {who: {many: g, b: g}}}\n";
    let hits = run(chain, &[(0, "a", "x", 0), (1, "a", "x", 0), (5, "b", "x", 0), (6, "b", "y", 0)], 10_000);
    assert_eq!(hits.len(), 1);
    assert_eq!(hits[0].group, [("who".to_owned(), "x".to_owned())]);
    assert_eq!(hits[0].rows.iter().map(|r| r.sequence).collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn rules_of_a_correlation_are_quiet_unless_it_generates() {
    for (generate, alerts) in [("", false), (", generate: true", true)] {
        let text = format!(
            "{BASE}title: x\nid: x\ncorrelation: {{type: temporal, rules: [a, b], group-by: [g], timespan: 1m{generate}}}\n"
        );
        let engine = crate::door::engine(&[&text]);
        let index = engine.rules().iter().find(|(_, r)| r.title == "a").unwrap().0;
        assert_eq!(engine.alerts(index), alerts);
        let free = engine.rules().iter().find(|(_, r)| r.title == "c").unwrap().0;
        assert!(engine.alerts(free));
    }
}

#[test]
fn state_is_bounded() {
    let text = format!(
        "{BASE}title: x\nid: x\ncorrelation: {{type: event_count, rules: [a], group-by: [g], timespan: 1d, condition: {{gte: 50}}}}\n"
    );
    let engine = crate::door::engine(&[&text]);
    let limits = CorrelationLimits { groups_max: 100, events_max: 10, rows_max: 5, value_bytes_max: 4 };
    let mut state = CorrelationState::with_limits(limits);
    let (mut scratch, mut matches) = (Scratch::new(), Matches::new());
    for n in 0..1_000 {
        let batch = crate::door::batch(&[
            json!({"f": "a", "g": format!("{n:04}")}),
            json!({"f": "a", "g": "longer than four"}),
        ]);
        engine.evaluate(&mut scratch, "events", None, &batch, &mut matches);
        let origin = Origin { device: "d".into(), sequence_first: n, received: n as i64 * 1_000 };
        state.observe(&engine, "events", &batch, &matches, &origin);
        assert!(state.group_count() <= 100, "{}", state.group_count());
    }
    let (groups, events) = state.dropped();
    assert!(groups > 0 && events > 0);
    state.advance(&engine, 10 * 86_400 * 1_000_000);
    assert_eq!(state.group_count(), 0);
}

#[test]
fn filters_take_matches_away_in_both_spellings() {
    for condition in ["selection", "not selection"] {
        let text = format!(
            "{BASE}title: f\nlogsource: {{category: c}}\nfilter: {{rules: [a], selection: {{g|startswith: adm_}}, condition: {condition}}}\n"
        );
        let engine = crate::door::engine(&[&text]);
        let batch = crate::door::batch(&[
            json!({"f": "a", "g": "adm_x"}),
            json!({"f": "a", "g": "bob"}),
            json!({"f": "b", "g": "adm_x"}),
        ]);
        let (mut scratch, mut matches) = (Scratch::new(), Matches::new());
        engine.evaluate(&mut scratch, "events", None, &batch, &mut matches);
        assert_eq!(matches.hits().iter().map(|h| h.row).collect::<Vec<_>>(), [1, 2], "{condition}");
    }
}

#[test]
fn old_collections_are_read() {
    let text = "action: global\ntitle: g\nlogsource: {category: c}\ndetection: {condition: s}\n---\n\
detection: {s: {f: a}}\n---\ndetection: {s: {f: b}}\n---\naction: repeat\nlevel: high\ndetection: {s: {f: c}}\n---\n\
action: reset\n---\ntitle: alone\n";
    let engine = crate::door::engine(&[text]);
    let levels: Vec<_> = engine.rules().iter().map(|(i, r)| (engine.is_usable(i), r.level.as_str())).collect();
    assert_eq!(levels, [(true, "medium"), (true, "medium"), (true, "high"), (false, "medium")]);
}
