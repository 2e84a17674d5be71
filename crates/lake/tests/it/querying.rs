//! What the query engine sees: the same rows as a plain scan, from memory, from files with and without a term index,
//! and fewer of them looked at.

use crate::fixture::*;
use arrow::array::{AsArray, BooleanArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::logical_expr::{ColumnarValue, Expr, Volatility, create_udf};
use datafusion::prelude::{SessionContext, ident, lit};
use garrison_lake::provider::{LakeTableProvider, ScanFigures, session_config};
use garrison_lake::{Filter, Lake, ScanRequest, Test};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// The language's `has`, in the plainest way, for the data of these tests.
pub(crate) fn has(column: &str, needle: &str) -> Expr {
    let function = create_udf(
        "kql_has",
        vec![DataType::Utf8View, DataType::Utf8],
        DataType::Boolean,
        Volatility::Immutable,
        Arc::new(|arguments: &[ColumnarValue]| {
            let arrays = ColumnarValue::values_to_arrays(arguments)?;
            let (texts, needle) = (arrays[0].as_string_view(), arrays[1].as_string::<i32>().value(0).to_lowercase());
            let found = texts.iter().map(|text| {
                let text = text.unwrap_or_default().to_lowercase();
                text.split(|letter: char| !letter.is_alphanumeric()).any(|word| word == needle)
            });
            Ok(ColumnarValue::Array(Arc::new(found.map(Some).collect::<BooleanArray>())))
        }),
    );
    function.call(vec![ident(column), lit(needle)])
}

pub(crate) fn ask(lake: &Lake, filter: Expr) -> (Vec<i64>, Arc<ScanFigures>) {
    let figures = Arc::new(ScanFigures::default());
    let provider = LakeTableProvider::new(lake.snapshot(TABLE).unwrap(), Arc::clone(&figures));
    let session = SessionContext::new_with_config(session_config().with_target_partitions(2));
    let rows: Vec<RecordBatch> = wait(async {
        let frame = session.read_table(Arc::new(provider)).unwrap();
        frame.filter(filter).unwrap().select(vec![ident("ReportId")]).unwrap().collect().await.unwrap()
    });
    let mut numbers: Vec<i64> =
        rows.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect();
    numbers.sort_unstable();
    (numbers, figures)
}

fn remove_indexes(folder: &Path) -> usize {
    let mut removed = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            removed += remove_indexes(&path);
        } else if path.extension().is_some_and(|extension| extension == "terms") {
            std::fs::remove_file(path).unwrap();
            removed += 1;
        }
    }
    removed
}

#[test]
fn a_query_finds_what_a_plain_scan_finds_wherever_the_rows_are() {
    let folder = tempfile::tempdir().unwrap();
    let lake = open(folder.path());
    wait(lake.append(batch(1, 0, 20_000))).unwrap();
    wait(lake.append(batch(2, 20_000, 20_000))).unwrap();
    let plain = |test: Test, column: &str| {
        let request = ScanRequest { filters: vec![Filter::new(column, test)], ..ScanRequest::table(TABLE) };
        let mut numbers = sequence(&lake.scan(request).unwrap().collect_rows().unwrap());
        numbers.sort_unstable();
        numbers
    };
    let line = || ident("ProcessCommandLine");
    let cases: Vec<(Expr, Vec<i64>, bool)> = vec![
        (has("ProcessCommandLine", "15001"), plain(Test::EndsWith(":15001".into()), "ProcessCommandLine"), true),
        (has("ProcessCommandLine", "TOOL"), (0..40_000).collect(), false),
        (has("ProcessCommandLine", "nowhere"), vec![], true),
        (has("ProcessCommandLine", "7").and(has("ProcessCommandLine", "2")), vec![], false),
        (has("ProcessCommandLine", "15001").or(has("ProcessCommandLine", "25001")), vec![15_001, 25_001], true),
        (has("ProcessCommandLine", "15001").or(ident("FileName").is_null()), vec![15_001], false),
        (line().eq(lit("/usr/bin/tool --row 2:39999")), vec![39_999], true),
        (line().eq(lit("/usr/bin/tool --row 2:3999")), vec![], false),
        (ident("FileName").eq(lit("Curl")), plain(Test::Equals("Curl".into()), "FileName"), false),
        (ident("FileName").eq(lit("curl")), vec![], false),
        (ident("SHA256").eq(lit("00")), vec![], false),
        (
            line().in_list(vec![lit("/usr/bin/tool --row 1:15000"), lit("/usr/bin/tool --row 2:30000")], false),
            vec![15_000, 30_000],
            true,
        ),
    ];
    for place in ["memory", "files", "files without an index"] {
        match place {
            "memory" => {}
            "files" => assert_eq!(wait(lake.flush()).unwrap(), 40_000),
            _ => assert!(remove_indexes(folder.path()) > 0),
        }
        for (filter, expected, prunes) in &cases {
            let (found, figures) = ask(&lake, filter.clone());
            assert_eq!(&found, expected, "{filter} in {place}");
            let skipped = figures.blocks_skipped.load(Relaxed) > 0;
            if *prunes {
                assert_eq!(skipped, place == "files", "{filter} in {place}");
            }
        }
    }
}

#[test]
fn an_index_goes_with_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let lake = open(folder.path());
    for number in 0..8 {
        wait(lake.append(batch(1, number * 100, 100))).unwrap();
        wait(lake.flush()).unwrap();
    }
    let count = |end: &str| {
        let table = folder.path().join(TABLE);
        let days = std::fs::read_dir(table).unwrap().map(|day| day.unwrap().path());
        let files = days.filter(|day| day.is_dir() && !day.ends_with("_delta_log")).flat_map(|day| {
            std::fs::read_dir(day).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap())
        });
        files.filter(|name| name.ends_with(end)).count()
    };
    assert_eq!((count(".parquet"), count(".parquet.terms")), (8, 8));
    let later = garrison_model::Micros(NOON + 86_400_000_000);
    assert_eq!(wait(lake.maintain(later)).unwrap().files_written, 1);
    wait(lake.maintain(garrison_model::Micros(later.0 + 1_000_000))).unwrap();
    assert_eq!((count(".parquet"), count(".parquet.terms")), (1, 1));
    assert_eq!(ask(&lake, has("ProcessCommandLine", "755")).0, [755]);
}

/// A batch in which a column of text has few values, some of them absent.
fn programs(number: u64, first: u64, count: u32) -> garrison_lake::Batch {
    let lines = rows(number, first, count);
    let names = (0..count).map(|row| match row % 7 {
        0 => None,
        1 | 2 => Some("curl".to_owned()),
        3 => Some(String::new()),
        other => Some(format!("Tool{}", other + row % 3)),
    });
    let mut columns = lines.columns().to_vec();
    columns[lines.schema().index_of("FileName").unwrap()] = Arc::new(names.collect::<StringArray>());
    batch_of(number, first, RecordBatch::try_new(lines.schema(), columns).unwrap())
}

#[test]
fn counting_by_one_column_of_text_gives_what_grouping_it_gives() {
    use datafusion::functions::expr_fn::{coalesce, lower};
    use datafusion::functions_aggregate::expr_fn::count;
    let folder = tempfile::tempdir().unwrap();
    let lake = open(folder.path());
    let counts = |ours: bool, key: Expr| {
        let provider = LakeTableProvider::new(lake.snapshot(TABLE).unwrap(), Arc::default());
        let config = session_config().with_target_partitions(2);
        let session = if ours {
            garrison_lake::provider::session(config, Arc::default())
        } else {
            SessionContext::new_with_config(config)
        };
        wait(async {
            let frame = session.read_table(Arc::new(provider)).unwrap();
            let frame = frame.aggregate(vec![key.alias("key")], vec![count(lit(1_i64)).alias("rows")]).unwrap();
            let plan = frame.clone().create_physical_plan().await.unwrap();
            let shown = datafusion::physical_plan::displayable(plan.as_ref()).indent(false).to_string();
            let mut all: Vec<(Option<String>, i64)> = Vec::new();
            for batch in frame.collect().await.unwrap() {
                let keys = arrow::compute::cast(batch.column(0), &DataType::Utf8).unwrap();
                let keys = keys.as_string::<i32>().iter().map(|key| key.map(str::to_owned)).collect::<Vec<_>>();
                all.extend(keys.into_iter().zip(batch.column(1).as_primitive::<Int64Type>().values().iter().copied()));
            }
            all.sort();
            (all, shown.contains("TallyExec"))
        })
    };
    wait(lake.append(programs(1, 0, 20_000))).unwrap();
    wait(lake.flush()).unwrap();
    wait(lake.append(programs(2, 20_000, 7_000))).unwrap();
    wait(lake.flush()).unwrap();
    for place in ["files", "files and memory"] {
        if place == "files and memory" {
            wait(lake.append(programs(3, 27_000, 3_001))).unwrap();
        }
        let name = || ident("FileName");
        let cases = [
            ("plain", name(), true),
            ("never null", coalesce(vec![name(), lit("")]), true),
            ("computed", lower(coalesce(vec![name(), lit("")])), true),
            // Nearly every line is another one: the writer gave up the dictionary or not, the answer is the same.
            ("many", ident("ProcessCommandLine"), true),
            ("two columns", coalesce(vec![name(), ident("DeviceName")]), false),
            ("a number", ident("ReportId"), false),
        ];
        for (what, key, tallied) in cases {
            let (expected, never) = counts(false, key.clone());
            let (found, ours) = counts(true, key);
            assert!(!never && ours == tallied, "{what} in {place}: the plan is not the one expected");
            assert_eq!(found, expected, "{what} in {place}");
            assert!(expected.len() > 3, "{what} in {place} shows nothing");
        }
    }
}
