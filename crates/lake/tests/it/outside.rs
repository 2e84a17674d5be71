//! A Delta reader that is not ours reads what we wrote.

use crate::fixture::*;
use garrison_lake::plan::CompactionPolicy;
use garrison_lake::{Lake, LakeConfig};
use garrison_model::Micros;
use std::path::PathBuf;
use std::process::Command;

/// The Python of a virtual environment with `deltalake` and more packages in the user's cache folder, made on first use.
pub(crate) fn python(probe: &str, more: &[&str]) -> Result<PathBuf, String> {
    let home = std::env::var("HOME").map_err(|_| "HOME is not set".to_owned())?;
    let folder = PathBuf::from(home).join(".cache/garrison/py");
    let python = folder.join("bin/python");
    let run = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).output().map_err(|error| format!("{program}: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        let words = String::from_utf8_lossy(&output.stderr);
        Err(format!("`{program} {}` failed: {}", args.join(" "), words.lines().last().unwrap_or_default()))
    };
    let program = python.to_string_lossy().into_owned();
    if run(&program, &["-c", probe]).is_err() {
        run("python3", &["-m", "venv", &folder.to_string_lossy()])?;
        let packages = ["-m", "pip", "install", "--quiet", "--upgrade", "deltalake", "pyarrow"];
        run(&program, &[&packages[..], more].concat())?;
    }
    run(&program, &["-c", probe])?;
    Ok(python)
}

const SCRIPT: &str = r#"
import datetime, os, sys
from deltalake import DeltaTable
import pyarrow.compute as pc
table = DeltaTable(sys.argv[1])
rows = table.to_pyarrow_table()
print(rows.num_rows, pc.sum(rows["ReportId"]).as_py(), pc.count_distinct(rows["DeviceId"]).as_py(),
      pc.sum(pc.utf8_length(rows["ProcessCommandLine"])).as_py(), rows["Timestamp"].type, rows["EventDate"].type,
      len(table.files()) if hasattr(table, "files") else len(table.file_uris()))
one = table.to_pyarrow_table(filters=[("EventDate", "=", datetime.date(2026, 11, 22))], columns=["ReportId"])
print(one.num_rows)
sys.stdout.flush()
os._exit(0)  # its threads may still run; ending them in order is not what is tested
"#;

#[test]
fn the_deltalake_package_of_python_reads_the_same_rows() {
    let python = match python("import deltalake, pyarrow", &[]) {
        Ok(python) => python,
        Err(reason) => {
            println!("skipped because Python with `deltalake` is not available: {reason}");
            return;
        }
    };
    let folder = tempfile::tempdir().unwrap();
    let policy = CompactionPolicy { fan_in: 3, ..CompactionPolicy::default() };
    let lake = Lake::open(folder.path(), LakeConfig { compaction: policy, ..config() }).unwrap();
    let mut length = 0;
    for n in 0..60_u64 {
        let day = 86_400_000_000 * i64::from(n % 2 == 1);
        wait(lake.append(batch_of(n % 5, n * 100, rows_at(n % 5, n * 100, 100, NOON - day)))).unwrap();
        wait(lake.flush()).unwrap();
        length += (n * 100..n * 100 + 100).map(|i| format!("/usr/bin/tool --row {}:{i}", n % 5).len()).sum::<usize>();
        if n % 20 == 10 {
            wait(lake.maintain(Micros(NOON))).unwrap();
        }
    }
    assert!(
        std::fs::read_dir(folder.path().join(TABLE).join("_delta_log")).unwrap().any(|entry| entry
            .unwrap()
            .path()
            .extension()
            .is_some_and(|e| e == "parquet")),
        "a checkpoint was written on the way"
    );
    let files = lake.snapshot(TABLE).unwrap().files.len();
    let output = Command::new(python).args(["-c", SCRIPT]).arg(folder.path().join(TABLE)).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let sum: u64 = (0..6_000).sum();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        format!("6000 {sum} 5 {length} timestamp[us, tz=UTC] date32[day] {files}\n3000\n")
    );
    drop(lake);
    assert_eq!(stored(&open(folder.path())).len(), 6_000, "and we read our own checkpoint");
}
