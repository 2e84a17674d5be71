//! A second engine for values: duckdb-kql of the Python package index runs the same queries, and gives the same rows
//! or is listed with the reason.

use crate::estate::Estate;
use crate::operators::queries;
use crate::run::{run, same_rows};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;

/// The other engine's program: queries from a file, an object a line: rows, or why not.
const PROGRAM: &str = r"
import datetime, decimal, json, math, sys
import duckdb_kql
con = duckdb_kql.connect()
def plain(v, kind):
    if isinstance(v, datetime.datetime): return v.strftime('%Y-%m-%dT%H:%M:%S') + (f'.{v.microsecond:06d}' if v.microsecond else '') + 'Z'
    if isinstance(v, datetime.timedelta): return {'seconds': v.total_seconds()}
    if isinstance(v, decimal.Decimal): return float(v)
    if isinstance(v, float) and not math.isfinite(v): return str(v)
    if kind == 'JSON' and isinstance(v, str): return json.loads(v)
    if isinstance(v, (list, tuple)): return [plain(x, '') for x in v]
    if isinstance(v, dict): return {k: plain(x, '') for k, x in v.items()}
    return v
for query in json.load(open(sys.argv[1])):
    try:
        answer = duckdb_kql.kql(con, query)
        kinds = [str(t) for t in answer.types]
        rows = [[plain(v, k) for v, k in zip(row, kinds)] for row in answer.fetchall()]
        print(json.dumps({'rows': rows}))
    except Exception as error:
        print(json.dumps({'error': type(error).__name__ + ': ' + str(error)[:200]}))
";

/// Queries in which the engines differ, and why ours is as it is.
const DIFFERENT: &[(&str, &str)] = &[];

/// The other engine's answers, or why it cannot be asked.
fn answers(queries: &[String]) -> Result<Vec<Value>, String> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("duckdb-kql");
    let python = folder.join("bin/python");
    let step = |command: &mut Command| -> Result<String, String> {
        let out = command.output().map_err(|e| e.to_string())?;
        if out.status.success() {
            Ok(String::from_utf8_lossy(&out.stdout).into_owned())
        } else {
            Err(String::from_utf8_lossy(&out.stderr).into_owned())
        }
    };
    if !folder.join("ready").exists() {
        step(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
        step(Command::new(&python).args(["-m", "pip", "install", "-q", "duckdb-kql[duckdb]"]))?;
        std::fs::write(folder.join("ready"), "").map_err(|e| e.to_string())?;
    }
    let (program, input) = (folder.join("ask.py"), folder.join("queries.json"));
    std::fs::write(&program, PROGRAM).map_err(|e| e.to_string())?;
    std::fs::write(&input, Value::from(queries.to_vec()).to_string()).map_err(|e| e.to_string())?;
    let out = step(Command::new(&python).arg(&program).arg(&input))?;
    out.lines().map(|l| serde_json::from_str(l).map_err(|e| e.to_string())).collect()
}

/// The other engine shows absent text as null, where the language has the empty text.
fn absent(rows: Vec<Vec<Value>>) -> Vec<Vec<Value>> {
    let cell = |v: Value| if v == "" { Value::Null } else { v };
    rows.into_iter().map(|row| row.into_iter().map(cell).collect()).collect()
}

#[test]
fn a_second_engine_gives_the_same_rows() {
    let estate = Estate::new(1, 1);
    let queries: Vec<String> =
        queries().into_iter().filter(|q| !q.contains("Device") && !q.contains("externaldata")).collect();
    let answers = match answers(&queries) {
        Ok(answers) => answers,
        Err(why) => {
            println!("skipped because duckdb-kql cannot be installed: {}", why.lines().last().unwrap_or_default());
            return;
        }
    };
    assert_eq!(answers.len(), queries.len());
    let (mut same, mut unable, mut wrong) = (0, 0, vec![]);
    for (query, answer) in queries.iter().zip(&answers) {
        let Some(rows) = answer["rows"].as_array() else {
            unable += 1;
            continue;
        };
        let theirs: Vec<Vec<Value>> = rows.iter().map(|r| r.as_array().cloned().unwrap_or_default()).collect();
        let ours = run(query, &estate).map(|a| a.rows);
        let listed = DIFFERENT.iter().any(|(q, _)| query.ends_with(q));
        match ours {
            Ok(ours) if same_rows(&absent(ours.clone()), &absent(theirs.clone()), false) => same += 1,
            _ if listed => {}
            Ok(ours) => wrong.push(format!(
                "{query}\n    ours {}\n  theirs {}",
                serde_json::json!(ours),
                serde_json::json!(theirs)
            )),
            Err(why) => wrong.push(format!("{query}\n    ours {why}")),
        }
    }
    println!(
        "{} queries: {same} give the same rows, {unable} the other engine does not run, {} differ for a listed reason",
        queries.len(),
        DIFFERENT.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
