//! Data at rest: nothing of a sealed lake tells what it holds, with the key everything works as before, and readers
//! that are not ours open the files with the key that is meant for them.

use crate::fixture::*;
use crate::outside::python;
use garrison_lake::plan::CompactionPolicy;
use garrison_lake::{AtRest, Lake, LakeConfig, LakeError, LakeKey, Test};
use garrison_lake::{Filter, ScanRequest};
use garrison_model::Micros;
use std::path::{Path, PathBuf};
use std::process::Command;

fn key(byte: u8) -> LakeKey {
    LakeKey::new(&[byte; 32]).unwrap()
}

fn sealed(byte: u8) -> LakeConfig {
    LakeConfig { at_rest: AtRest::Sealed(key(byte)), ..config() }
}

fn all_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(all_files(&path)) } else { found.push(path) }
    }
    found
}

/// Files of a lake that hold one of these texts.
fn telling(folder: &Path, texts: &[&str]) -> Vec<PathBuf> {
    let tells = |path: &PathBuf| {
        let bytes = std::fs::read(path).unwrap();
        texts.iter().any(|text| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
    };
    all_files(folder).into_iter().filter(tells).collect()
}

fn copy(from: &Path, to: &Path) {
    for path in all_files(from) {
        let target = to.join(path.strip_prefix(from).unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(path, target).unwrap();
    }
}

#[test]
fn no_file_of_a_sealed_lake_tells_a_command_a_file_or_a_column() {
    let folder = tempfile::tempdir().unwrap();
    let texts = ["/usr/bin/tool", "Curl", "tool --row", "ProcessCommandLine"];
    // A plain lake tells all of it, or this test could not fail.
    let plain = tempfile::tempdir().unwrap();
    for (root, config) in [(plain.path(), config()), (folder.path(), sealed(1))] {
        let lake = Lake::open(root, config).unwrap();
        for n in 0..4 {
            wait(lake.append(batch(n, 0, 50))).unwrap();
            wait(lake.flush()).unwrap();
        }
        // These stay in the log.
        wait(lake.append(batch(9, 0, 50))).unwrap();
        drop(lake);
    }
    assert!(telling(plain.path(), &texts).iter().any(|path| path.extension().is_some_and(|e| e == "parquet")));
    // The Delta log names columns, and nothing else.
    let log = |path: &PathBuf| path.components().any(|part| part.as_os_str() == "_delta_log");
    let found: Vec<_> = telling(folder.path(), &texts).into_iter().filter(|path| !log(path)).collect();
    assert!(found.is_empty(), "{found:?}");
    assert!(telling(folder.path(), &texts[..3]).is_empty());
    let lake = Lake::open(folder.path(), sealed(1)).unwrap();
    assert_eq!(lake.recovery().damaged, 0);
    let expected = [0, 1, 2, 3, 9].into_iter().flat_map(|n| keys(n, 0..50)).collect::<Vec<_>>();
    assert_eq!(stored(&lake), expected);
    assert!(matches!(wait(lake.append(batch(9, 0, 50))).unwrap(), garrison_lake::Appended::Duplicate));
}

#[test]
fn a_saved_copy_opens_with_no_other_key_whether_rows_are_in_the_log_or_in_files() {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::open(folder.path(), sealed(1)).unwrap();
    wait(lake.append(batch(1, 0, 50))).unwrap();
    wait(lake.flush()).unwrap();
    wait(lake.append(batch(2, 0, 50))).unwrap();
    drop(lake);
    for named in [true, false] {
        let saved = tempfile::tempdir().unwrap();
        copy(folder.path(), saved.path());
        if !named {
            // Somebody who takes the name away gets no further.
            std::fs::remove_file(saved.path().join("KEY")).unwrap();
        }
        for config in [config(), sealed(2)] {
            let opened = Lake::open(saved.path(), config);
            assert!(matches!(opened, Err(LakeError::Key { .. })), "{named}");
        }
    }
    // Not a file either, without any of ours.
    let file = Lake::open(folder.path(), sealed(1)).unwrap().snapshot(TABLE).unwrap();
    let path = file.folder.join(&file.files[0].path);
    let plain = std::fs::File::open(path).unwrap();
    assert!(parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(plain).is_err());
}

#[test]
fn plain_files_from_before_are_read_and_sealed_when_their_day_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::open(folder.path(), config()).unwrap();
    wait(lake.append(batch(1, 0, 100))).unwrap();
    wait(lake.flush()).unwrap();
    wait(lake.append(batch(1, 100, 100))).unwrap();
    drop(lake);
    let lake = Lake::open(folder.path(), sealed(1)).unwrap();
    assert_eq!(stored(&lake), keys(1, 0..200));
    let day = 86_400_000_000;
    wait(lake.flush()).unwrap();
    for round in 0..3 {
        wait(lake.maintain(Micros(NOON + (2 + round) * day))).unwrap();
    }
    assert_eq!(stored(&lake), keys(1, 0..200));
    drop(lake);
    let found = telling(folder.path(), &["/usr/bin/tool"]);
    assert!(found.is_empty(), "{found:?}");
    // Switched off, what is sealed stays readable.
    let lake = Lake::open(folder.path(), LakeConfig { at_rest: AtRest::Reading(key(1)), ..config() }).unwrap();
    wait(lake.append(batch(1, 200, 100))).unwrap();
    wait(lake.flush()).unwrap();
    assert_eq!(stored(&lake), keys(1, 0..300));
}

#[test]
fn a_filtered_scan_of_a_sealed_lake_finds_what_one_of_a_plain_lake_finds() {
    let mut answers = Vec::new();
    for config in [config(), sealed(1)] {
        let folder = tempfile::tempdir().unwrap();
        let policy = CompactionPolicy { fan_in: 3, ..CompactionPolicy::default() };
        let lake = Lake::open(folder.path(), LakeConfig { compaction: policy, ..config }).unwrap();
        for n in 0..6 {
            wait(lake.append(batch(n % 2, n * 20_000, 20_000))).unwrap();
            wait(lake.flush()).unwrap();
        }
        wait(lake.maintain(Micros(NOON))).unwrap();
        let request = ScanRequest {
            filters: vec![Filter::new("FileName", Test::In(vec!["Curl".to_owned()]))],
            columns: Some(vec!["ReportId".to_owned()]),
            ..ScanRequest::table(TABLE)
        };
        let mut found = sequence(&lake.scan(request).unwrap().collect_rows().unwrap());
        found.sort_unstable();
        answers.push(found);
    }
    assert_eq!(answers[0].len(), 12_000);
    assert_eq!(answers[0], answers[1]);
}

/// DuckDB (2.0.1 and before) opens a sealed column of one page, and takes the second page for damaged; so it is given
/// files that have no more rows than a page.
const SCRIPT: &str = r#"
import base64, os, sys
import duckdb
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
key, small, large = sys.argv[1:]
properties = pe.create_decryption_properties(base64.b64decode(key))
for path in (small, large):
    rows = pq.read_table(path, decryption_properties=properties, columns=["ReportId", "FileName"], partitioning=None)
    print(rows.num_rows, sum(rows["ReportId"].to_pylist()))
connection = duckdb.connect()
connection.execute(f"PRAGMA add_parquet_key('tenant', '{key}')")
query = f"SELECT count(*), sum(ReportId), count(DISTINCT FileName) FROM read_parquet('{small}', encryption_config = {{footer_key: 'tenant'}})"
print(*connection.execute(query).fetchone())
other = base64.b64encode(bytes(32)).decode()
connection.execute(f"PRAGMA add_parquet_key('other', '{other}')")
for attempt in (lambda: connection.execute(query.replace("'tenant'", "'other'")).fetchone(), lambda: pq.read_table(small)):
    try:
        attempt()
        print("opened")
    except Exception:
        print("refused")
sys.stdout.flush()
os._exit(0)
"#;

#[test]
fn duckdb_and_pyarrow_open_the_files_with_the_key_for_readers_and_with_no_other() {
    use base64::Engine as _;
    let python =
        match python("import duckdb, pyarrow.parquet.encryption as e; e.create_decryption_properties", &["duckdb"]) {
            Ok(python) => python,
            Err(reason) => {
                println!("skipped because Python with `duckdb` and `pyarrow` is not available: {reason}");
                return;
            }
        };
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::open(folder.path(), sealed(1)).unwrap();
    let mut paths = Vec::new();
    for (number, rows) in [(1, 5_000), (2, 40_000)] {
        wait(lake.append(batch(number, 0, rows))).unwrap();
        wait(lake.flush()).unwrap();
        let snapshot = lake.snapshot(TABLE).unwrap();
        let new = snapshot.files.iter().find(|file| file.rows == u64::from(rows)).unwrap();
        paths.push(snapshot.folder.join(&new.path));
    }
    let reader = base64::engine::general_purpose::STANDARD.encode(key(1).reader_key());
    let output = Command::new(python).args(["-c", SCRIPT, &reader]).args(&paths).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let sum = |rows: u64| (0..rows).sum::<u64>();
    let expected = format!("5000 {}\n40000 {}\n5000 {} 2\nrefused\nrefused\n", sum(5_000), sum(40_000), sum(5_000));
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
}

#[test]
fn the_query_engine_reads_a_sealed_lake_and_leaves_out_what_it_leaves_out_of_a_plain_one() {
    use crate::querying::{ask, has};
    use datafusion::prelude::{ident, lit};
    use std::sync::atomic::Ordering::Relaxed;
    let mut answers = Vec::new();
    for config in [config(), sealed(1)] {
        let folder = tempfile::tempdir().unwrap();
        let lake = Lake::open(folder.path(), config).unwrap();
        for n in 0..3_u64 {
            wait(lake.append(batch(n, n * 30_000, 30_000))).unwrap();
            wait(lake.flush()).unwrap();
        }
        wait(lake.append(batch(7, 0, 100))).unwrap();
        let mut told = Vec::new();
        for filter in
            [has("ProcessCommandLine", "40000"), ident("FileName").eq(lit("Curl")), ident("ReportId").eq(lit(7_i64))]
        {
            // Twice: the second time footers are kept.
            for _ in 0..2 {
                let (numbers, figures) = ask(&lake, filter.clone());
                told.push((numbers, figures.blocks_skipped.load(Relaxed), figures.files_without_words.load(Relaxed)));
            }
        }
        answers.push(told);
    }
    assert_eq!(answers[0][0].0, [40_000]);
    assert!(answers[0][0].1 > 0, "a term index was used");
    assert_eq!(answers[0], answers[1]);
}
