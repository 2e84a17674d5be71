//! What reaches the scans, and what the plan says of the tables it reads.

use crate::estate::{Estate, NOW};
use crate::run::Engine;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::LogicalPlan;
use garrison_kql::{Context, TableUse, analyze};

/// The filters that scans get after optimisation, as text.
fn scans(query: &str) -> Vec<String> {
    let estate = Estate::new(4, 4);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let engine = Engine::new();
    let planned = runtime.block_on(garrison_kql::plan(query, &estate, &Context::at(NOW), &engine)).unwrap();
    let plan = engine.0.state().optimize(&planned.plan).unwrap();
    let mut found = vec![];
    plan.apply(|node| {
        match node {
            LogicalPlan::TableScan(scan) => found.extend(scan.filters.iter().map(ToString::to_string)),
            // The tables of this test do not take filters: what stands right above a scan is what it was offered.
            LogicalPlan::Filter(filter) if matches!(*filter.input, LogicalPlan::TableScan(_)) => {
                found.extend(
                    datafusion::logical_expr::utils::split_conjunction(&filter.predicate).iter().map(|e| e.to_string()),
                );
            }
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .unwrap();
    found.sort();
    found.dedup();
    found
}

#[test]
fn comparisons_reach_the_scan_on_bare_columns() {
    let found = scans(
        "let window = 7d; let hosts = dynamic(['a', 'b']);
         let recent = DeviceProcessEvents | where Timestamp > ago(window);
         recent | extend upper = toupper(FileName) | where FileName == 'x' and DeviceId in ('a', 'b', 'c', 'd')
         | where ProcessId > 5 | project Timestamp, upper",
    );
    let has = |part: &str| assert!(found.iter().any(|f| f.starts_with(part)), "{part} is not among {found:#?}");
    has("DeviceProcessEvents.FileName = ");
    has("DeviceProcessEvents.DeviceId ");
    has("DeviceProcessEvents.ProcessId > ");
    has("DeviceProcessEvents.Timestamp > TimestampMicrosecond(");
}

#[test]
fn a_value_from_rows_is_a_constant_for_the_scan() {
    let found = scans(
        "let last = toscalar(DeviceInfo | summarize max(Timestamp)); DeviceEvents | where Timestamp < last | count",
    );
    assert!(found.iter().any(|f| f.starts_with("DeviceEvents.Timestamp < TimestampMicrosecond(")), "{found:#?}");
}

const HOUR: i64 = 3_600_000_000;

#[test]
fn the_span_of_time_of_each_table_is_told() {
    let estate = Estate::new(1, 1);
    let check = |query: &str, want: &[(&str, Option<i64>, Option<i64>)]| {
        let analysis = analyze(query, &estate, &Context::at(NOW));
        let want: Vec<TableUse> =
            want.iter().map(|(t, from, to)| TableUse { table: (*t).to_owned(), from: *from, to: *to }).collect();
        assert_eq!(analysis.tables, want, "{query} {:?}", analysis.diagnostics);
    };
    check("DeviceInfo | where Timestamp >= ago(1h) | count", &[("DeviceInfo", Some(NOW - HOUR), None)]);
    check(
        "DeviceInfo | where OSBuild > 1 | extend x = 1 | where Timestamp > ago(1h) and Timestamp < now()",
        &[("DeviceInfo", Some(NOW - HOUR + 1), Some(NOW))],
    );
    check(
        "DeviceInfo | where Timestamp between (ago(2h) .. ago(1h))",
        &[("DeviceInfo", Some(NOW - 2 * HOUR), Some(NOW - HOUR + 1))],
    );
    check("DeviceInfo | where Timestamp > ago(1h) or OSBuild > 1", &[("DeviceInfo", None, None)]);
    check("DeviceInfo | extend Timestamp = now() | where Timestamp > ago(1h)", &[("DeviceInfo", None, None)]);
    check(
        "let recent = (T:(Timestamp:datetime)) { T | where Timestamp >= ago(1h) }; DeviceInfo | invoke recent() | join (DeviceEvents | where ago(2h) <= Timestamp) on DeviceId",
        &[("DeviceEvents", Some(NOW - 2 * HOUR), None), ("DeviceInfo", Some(NOW - HOUR), None)],
    );
    check(
        "union DeviceInfo, DeviceEvents | where Timestamp >= ago(1h)",
        &[("DeviceEvents", Some(NOW - HOUR), None), ("DeviceInfo", Some(NOW - HOUR), None)],
    );
    check(
        "union (DeviceInfo | where Timestamp >= ago(1h)), (DeviceInfo | where Timestamp >= ago(3h))",
        &[("DeviceInfo", Some(NOW - 3 * HOUR), None)],
    );
    check("print 1", &[]);
}

#[test]
fn a_text_of_variables_that_double_each_other_is_refused() {
    let mut query = String::from("let v0 = DeviceInfo | where OSBuild > 1 | where OSBuild > 2;");
    for n in 1..40 {
        query.push_str(&format!("let v{n} = union v{}, v{};", n - 1, n - 1));
    }
    query.push_str("v39 | count");
    let analysis = analyze(&query, &Estate::new(1, 1), &Context::at(NOW));
    assert!(analysis.diagnostics.iter().any(|d| d.code == "GQ110"), "{:?}", analysis.diagnostics);
}

#[test]
fn broken_texts_have_findings_and_never_a_panic() {
    let estate = Estate::new(1, 1);
    let text = "let f = (T:(*), a:long = 1) { T | where x > a }; DeviceInfo | invoke f(2) | summarize make_set(OSPlatform, 5), \
        arg_max(Timestamp, *) by bin(Timestamp, 1h), DeviceName | join kind=leftouter (DeviceEvents | mv-expand q = AdditionalFields \
        to typeof(string)) on $left.DeviceName == $right.DeviceName | parse DeviceName with * 'a' b:int * | make-series count() on \
        Timestamp step 1h by DeviceName | evaluate pivot(DeviceName) | top-nested 3 of DeviceName by count() | mv-apply z = list_x on \
        (top 1 by z) | partition by DeviceName (take 1) | search 'a' and b | find in (Device*) where x == 1 project y | render timechart";
    // Every seventh place: cuts fall into every kind of word, and the test stays short.
    for at in text.char_indices().map(|(at, _)| at).step_by(7) {
        let _ = analyze(&text[..at], &estate, &Context::at(NOW));
        let _ = analyze(&text[at..], &estate, &Context::at(NOW));
    }
}

#[test]
fn deep_texts_are_read_or_refused_on_a_small_stack() {
    // As small as the stack of a server's thread.
    let check = |query: String| {
        let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(move || {
            let _ = analyze(&query, &Estate::new(1, 1), &Context::at(NOW));
        });
        thread.unwrap().join().unwrap();
    };
    for depth in [20, 140, 400] {
        check(format!("print {}1{}", "(".repeat(depth), ")".repeat(depth)));
        check(format!("print {}", "1 + ".repeat(depth) + "1"));
        check(format!("DeviceInfo | where {}", "OSBuild == 1 or ".repeat(depth) + "OSBuild == 2"));
        check(format!("print x = {}print 1{}", "toscalar(".repeat(depth), ")".repeat(depth)));
        check(format!("DeviceInfo {}", "| where OSBuild > 1 ".repeat(depth)));
        check(format!("DeviceInfo {}{}", "| join (DeviceInfo ".repeat(depth), ") on DeviceId".repeat(depth)));
        check(format!("print d = dynamic({}{})", "[".repeat(depth), "]".repeat(depth)));
        let lets: String = (1..depth).map(|n| format!("let f{n} = (a:long) {{ f{}(a) + 1 }};", n - 1)).collect();
        check(format!("let f0 = (a:long) {{ a }}; {lets} print f{}(1)", depth - 1));
    }
}
