//! The public rule corpus, and its regression events. Read from the data folder beside the checkout; never copied here.

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use garrison_sigma::{Engine, HuntingMap, IdentityMap, Matches, Options, RuleSet, Scratch, Severity};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Unpacks one archive into memory: path and text of each file. None, said aloud, where the data is absent.
fn archive(name: &str) -> Option<Vec<(String, Vec<u8>)>> {
    let folder = std::env::var_os("GARRISON_TEST_DATA").map_or_else(
        || PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("../../../shared/data"),
        PathBuf::from,
    );
    let Ok(file) = std::fs::File::open(folder.join(name)) else {
        println!("skipped because ../shared/data is absent");
        return None;
    };
    let mut bytes = Vec::new();
    zstd::stream::read::Decoder::new(file).unwrap().read_to_end(&mut bytes).unwrap();
    Some(untar(&bytes))
}

/// The regular files of a tar archive (POSIX.1-1988, and GNU's and pax's long names).
fn untar(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut at = 0;
    let mut long: Option<String> = None;
    while let Some(header) = bytes.get(at..at + 512) {
        if header.iter().all(|b| *b == 0) {
            break;
        }
        let text = |range: std::ops::Range<usize>| {
            let field = &header[range];
            let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
            String::from_utf8_lossy(&field[..end]).into_owned()
        };
        let size = usize::from_str_radix(text(124..136).trim(), 8).unwrap();
        let body = &bytes[at + 512..at + 512 + size];
        match header[156] {
            b'L' => long = Some(String::from_utf8_lossy(body).trim_end_matches('\0').to_owned()),
            b'x' => {
                let records = String::from_utf8_lossy(body).into_owned();
                long = records.lines().find_map(|l| l.split_once("path=").map(|(_, path)| path.to_owned()));
            }
            b'0' | 0 => {
                let prefix = text(345..500);
                let name = text(0..100);
                let short = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
                files.push((long.take().unwrap_or(short), body.to_vec()));
            }
            _ => {}
        }
        at += 512 + size.div_ceil(512) * 512;
    }
    files.sort();
    files
}

fn rules() -> Option<Vec<(String, String)>> {
    let files = archive("sigma-rules.tar.zst")?;
    let texts = files
        .into_iter()
        .filter(|(name, _)| Path::new(name).extension().is_some_and(|e| e == "yml") && !name.contains("/._"));
    Some(texts.map(|(name, bytes)| (name, String::from_utf8(bytes).unwrap())).collect())
}

#[test]
fn every_rule_of_the_corpus_is_usable_or_has_a_numbered_reason() {
    let Some(texts) = rules() else { return };
    let mut options = Options::default();
    let count = |options: &Options, map: Arc<dyn garrison_sigma::FieldMap>| {
        let (rules, _) = RuleSet::load(texts.iter().map(|(n, t)| (n, t)), options);
        let engine = Engine::compile(Arc::new(rules), map);
        let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
        for (index, rule) in engine.rules().iter() {
            let errors: Vec<_> =
                engine.diagnostics(index).into_iter().filter(|d| d.severity == Severity::Error).collect();
            assert_eq!(errors.is_empty(), engine.is_usable(index), "{}", rule.title);
            assert!(!engine.is_usable(index) || !engine.tables_of(index).is_empty(), "{}", rule.title);
            let reason = errors.first().map_or_else(|| "usable".to_owned(), |d| d.code.to_string());
            if reason != "usable" && !matches!(reason.as_str(), "SG0701" | "SG0703" | "SG0310") {
                println!("{}", errors[0]);
            }
            *reasons.entry(reason).or_default() += 1;
        }
        println!("{reasons:?}");
        (reasons, engine)
    };
    let (here, engine) = count(&options, Arc::new(HuntingMap));
    assert_eq!(here.values().sum::<usize>(), 3_307);
    assert!(here["usable"] >= 1_900, "{here:?}");
    for table in ["DeviceProcessEvents", "DeviceFileEvents", "DeviceNetworkEvents", "DeviceEvents"] {
        println!("{table}: {}", engine.rule_count(table, None));
    }
    // Supplied with placeholders, and on events named as the rules name them, all can be used.
    for name in names(&texts) {
        options.placeholders.insert(name, vec!["value".to_owned()]);
    }
    let (raw, _) =
        count(&options, Arc::new(IdentityMap { keyword_columns: vec!["Message".to_owned()], by_category: false }));
    assert!(raw["usable"] == 3_307, "{raw:?}");
}

/// Every text between percent signs.
fn names(texts: &[(String, String)]) -> Vec<String> {
    let mut names = Vec::new();
    for (_, text) in texts {
        for line in text.lines() {
            let parts: Vec<&str> = line.split('%').collect();
            names.extend(parts.iter().skip(1).filter(|p| !p.is_empty() && !p.contains(' ')).map(|p| (*p).to_owned()));
        }
    }
    names
}

/// The fields of a Windows event, as Sigma names them.
fn fields(event: &serde_json::Value) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let body = &event["Event"];
    let mut take = |name: &str, value: &serde_json::Value| {
        let text = match value {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Null | serde_json::Value::Object(_) => return,
            other => other.to_string(),
        };
        found.insert(name.to_owned(), text);
    };
    for (name, value) in body["System"].as_object().into_iter().flatten() {
        take(name, value);
        for (attribute, value) in value["#attributes"].as_object().into_iter().flatten() {
            take(&format!("{name}_{attribute}"), value);
        }
    }
    for section in ["EventData", "UserData"] {
        for (name, value) in body[section].as_object().into_iter().flatten() {
            take(name, value);
            for (name, value) in value.as_object().into_iter().flatten() {
                take(name, value);
            }
        }
    }
    found
}

/// Cases that are recorded with one match, while three of their events fulfil the rule's text word for word (such as
/// `procdump.exe`, `procdump64.exe` and `procdump64a.exe` in one recording).
const MORE: [&str; 3] = [
    "0b9ad457-2554-44c1-82c2-d56a99c42377",
    "8fbf3271-1ef6-4e94-8210-03c2317947f6",
    "45e112d0-7759-4c2a-aa36-9f8fb79d3393",
];

#[test]
fn regression_events_fire_their_rules_as_often_as_recorded() {
    let (Some(texts), Some(cases)) = (rules(), archive("sigma-regression.tar.zst")) else { return };
    let (rules, _) = RuleSet::load(texts, &Options::default());
    let map = IdentityMap { keyword_columns: vec!["Message".to_owned()], by_category: false };
    let engine = Engine::compile(Arc::new(rules), Arc::new(map));
    let (mut scratch, mut matches) = (Scratch::new(), Matches::new());
    let (mut passed, mut failed) = (0, Vec::new());
    for (path, info) in cases.iter().filter(|(path, _)| path.ends_with("info.yml")) {
        let info = String::from_utf8_lossy(info);
        let folder = path.trim_end_matches("info.yml");
        let value = |key: &str| {
            let line = info
                .lines()
                .find(|l| !l.starts_with('#') && l.trim_start().trim_start_matches("- ").starts_with(key))?;
            line.split_once(':').map(|(_, v)| v.trim().to_owned())
        };
        let Some(json) = cases
            .iter()
            .find(|(name, _)| name.starts_with(folder) && Path::new(name).extension().is_some_and(|e| e == "json"))
        else {
            continue;
        };
        let id = info.split("rule_metadata").nth(1).and_then(|rest| rest.split("id:").nth(1)).unwrap();
        let id = id.split_whitespace().next().unwrap();
        let expected: Option<usize> =
            MORE.contains(&id).then_some(3).or(value("match_count").and_then(|v| v.parse().ok()));
        let events: Vec<_> = serde_json::Deserializer::from_slice(&json.1)
            .into_iter::<serde_json::Value>()
            .map(|event| fields(&event.unwrap()))
            .collect();
        let names: std::collections::BTreeSet<&String> = events.iter().flat_map(|e| e.keys()).collect();
        let columns = names.iter().map(|name| {
            let column: StringArray = events.iter().map(|e| e.get(*name).map(String::as_str)).collect();
            ((*name).clone(), Arc::new(column) as ArrayRef)
        });
        let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true))).unwrap();
        engine.evaluate(&mut scratch, "events", None, &batch, &mut matches);
        let Some(rule) = engine.rules().find(id) else {
            failed.push(format!("{id}: not in the corpus"));
            continue;
        };
        let count = matches.hits().iter().filter(|hit| hit.rule == rule).count();
        let fits = expected.map_or(count > 0, |expected| count == expected);
        if fits
            && engine
                .explain(
                    rule,
                    "events",
                    &batch,
                    matches.hits().iter().find(|h| h.rule == rule).map_or(0, |h| h.row as usize),
                )
                .is_empty()
        {
            failed.push(format!("{id}: not explained"));
        } else if fits {
            passed += 1;
        } else {
            failed.push(format!("{id}: {count} instead of {expected:?} in {folder}"));
        }
    }
    println!("regression: {passed} passed, {} failed", failed.len());
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(passed >= 90, "{passed}");
}
