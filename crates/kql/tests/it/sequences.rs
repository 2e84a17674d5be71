//! `scan`: queries and rows. Each case is a sentence of the language's documentation in an example of ours.

use crate::estate::{Estate, NOW};
use crate::operators::{Case, check};
use crate::run::run;
use garrison_kql::{Context, analyze};
use serde_json::json;

const ROWS: &str = "let N = range x from 1 to 5 step 1;
    let T = datatable(at:long, k:string, w:string)[
        1, 'a', 'start', 2, 'a', 'x', 3, 'b', 'start', 4, 'a', 'y', 5, 'b', 'stop', 6, 'a', 'stop', 7, 'a', 'z',
        8, 'a', 'start', 9, 'a', 'start', 10, 'a', 'stop'] | sort by at asc; ";

fn cases() -> Vec<Case> {
    vec![
        // A step sees its own last row.
        Case(
            "N | sort by x asc | scan declare (sum:long = 0) with (step s: true => sum = x + s.sum;) | project x, sum",
            &["x", "sum"],
            json!([[1, 1], [2, 3], [3, 6], [4, 10], [5, 15]]),
            true,
        ),
        // What is not declared with a value is null, and null it is in the first row.
        Case(
            "N | sort by x asc | scan declare (before:long) with (step s: true => before = s.x;) | project before",
            &["before"],
            json!([[null], [1], [2], [3], [4]]),
            true,
        ),
        Case(
            "N | sort by x asc | scan declare (sum:long = 0) with
               (step s: true => sum = iff(s.sum >= 5, x, x + s.sum);) | project sum",
            &["sum"],
            json!([[1], [3], [6], [4], [9]]),
            true,
        ),
        // A column of the rows can be assigned, and filled forward.
        Case(
            "datatable(at:long, w:string)[1, 'a', 2, '', 3, 'b', 4, ''] | sort by at asc
             | scan with (step s: true => w = iff(isempty(w), s.w, w);) | project w",
            &["w"],
            json!([["a"], ["a"], ["b"], ["b"]]),
            true,
        ),
        // From a start to a stop, with what is between. The last step goes on with its sequence while its condition
        // holds.
        Case(
            "T | where k == 'a' | scan with_match_id = m with
               (step s1: w == 'start'; step s2: w != 'start' and w != 'stop'; step s3: w == 'stop';) | project at, m",
            &["at", "m"],
            json!([[1, 0], [2, 0], [4, 0], [6, 0], [8, 1], [9, 2], [10, 0]]),
            true,
        ),
        // A sequence may not skip a step: 'stop' comes right after 'start' only where there are two steps.
        Case(
            "T | where k == 'a' | scan with_match_id = m with (step s1: w == 'start'; step s3: w == 'stop';)
             | project at, m",
            &["at", "m"],
            json!([[1, 0], [6, 0], [8, 1], [9, 2], [10, 2]]),
            true,
        ),
        // Steps that answer nothing, or only the last of their rows.
        Case(
            "T | where k == 'a' | scan with_match_id = m declare (from:long) with (step s1 output=none: w == 'start';
               step s2 output=last: w in ('x', 'y') ; step s3: w == 'stop' => from = s1.at;) | project at, m, from",
            &["at", "m", "from"],
            json!([[4, 0, null], [6, 0, 1], [10, 0, 1]]),
            true,
        ),
        // The last of a step is answered at the end too, and in its place among the rows.
        Case(
            "T | where k == 'a' | scan with (step s1 output=last: w == 'start';) | project at",
            &["at"],
            json!([[9]]),
            true,
        ),
        // Conditions on the time since a step.
        Case(
            "T | scan with (step s1 output=none: w == 'start'; step s2: w == 'stop' and at - s1.at <= 2;)
             | project at",
            &["at"],
            json!([[5], [10]]),
            true,
        ),
        // Several sequences at once: one for each part.
        Case(
            "T | scan with_match_id = m partition by k with (step s1: w == 'start'; step s2: w == 'stop';) | project at, k, m",
            &["at", "k", "m"],
            json!([[1, "a", 0], [3, "b", 0], [5, "b", 0], [6, "a", 0], [8, "a", 1], [9, "a", 2], [10, "a", 2]]),
            true,
        ),
        Case(
            "T | partition by k (sort by at asc | scan with (step s1 output=none: w == 'start'; step s2: w == 'stop';))
             | project k, at",
            &["k", "at"],
            json!([["a", 6], ["a", 10], ["b", 5]]),
            false,
        ),
        Case(
            "datatable(i:long, l:dynamic)[1, dynamic([1, 2, 3]), 2, dynamic([5])]
             | mv-apply e = l to typeof(long) on (sort by e asc | scan declare (sum:long = 0) with (step s: true => sum = e + s.sum;))
             | project i, e, sum",
            &["i", "e", "sum"],
            json!([[1, 1, 1], [1, 2, 3], [1, 3, 6], [2, 5, 5]]),
            false,
        ),
        // A row may match a step and the one before: two rows, the later step's first.
        Case(
            "N | sort by x asc | scan with_match_id = m with (step a: x > 3; step b: x > 4;) | project x, m",
            &["x", "m"],
            json!([[4, 0], [5, 0], [5, 1]]),
            true,
        ),
        // The answer has an order of its own.
        Case(
            "N | sort by x asc | scan declare (d:dynamic = dynamic([])) with
               (step s: x % 2 == 1 => d = array_concat(s.d, pack_array(x));)
             | extend p = prev(x) | project x, d, p, match_id",
            &["x", "d", "p", "match_id"],
            json!([[1, [1], null, 0], [3, [1, 3], 1, 1], [5, [1, 3, 5], 3, 2]]),
            true,
        ),
        // Functions over rows and lists from rows are computed before.
        Case(
            "T | scan with (step s: at - prev(at) == 1 and k in (T | where at == 3 | project k);) | project at",
            &["at"],
            json!([[3], [5]]),
            true,
        ),
        Case("T | where at > 99 | scan with (step s: true;) | count", &["Count"], json!([[0]]), false),
        Case(
            "datatable(at:long)[2, 1] | scan order by at asc with (step s: true;) | project at",
            &["at"],
            json!([[1], [2]]),
            true,
        ),
        Case(
            "let one = T | scan with (step s: w == 'stop';); print x = toscalar(one | summarize sum(at))",
            &["x"],
            json!([[21]]),
            false,
        ),
        Case(
            "DeviceProcessEvents | sort by Timestamp asc
             | scan with_match_id = m with (step a output=none: ProcessId > 0; step b: FileName == a.FileName;) | count",
            &["Count"],
            json!([[0]]),
            false,
        ),
    ]
}

/// The queries of the table.
pub fn queries() -> Vec<String> {
    cases().iter().map(|c| format!("{ROWS}{}", c.0)).collect()
}

#[test]
fn a_scan_gives_the_rows_of_the_table() {
    let estate = Estate::new(12, 5);
    let wrong: Vec<String> =
        cases().iter().filter_map(|c| check(ROWS, c, &estate).err().map(|e| format!("{}\n    {e}", c.0))).collect();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// Query, the code of its finding, and the text at its place; the columns and types of what is accepted are the
/// vendor's analyser's.
const REFUSED: &[(&str, &str, &str)] = &[
    ("N | where x > 1 | scan with (step s: true;)", "", ""),
    ("DeviceInfo | scan with (step s: true;)", "GQ201", "scan with (step s: true;)"),
    ("T | scan with (step s: nope == 1;)", "KS142", "nope"),
    ("T | scan with (step s: s.nope == 1;)", "KS142", "nope"),
    ("T | scan with (step s: at;)", "KS141", "at"),
    ("T | scan declare (c:long) with (step s: true => d = 1;)", "KS142", "d"),
    ("T | scan declare (at:long) with (step s: true;)", "KS171", "at"),
    ("T | scan declare (c:lang) with (step s: true;)", "KS160", "lang"),
    ("T | scan with (step s output=some: true;)", "KS005", "some"),
    ("T | scan with (step s: count() > 1;)", "KS144", "count"),
    ("T | scan with (step s: true; step s: true;)", "GQ202", "s"),
    ("T | scan with (step s optional: true;)", "GQ100", "s"),
    ("T | scan kind=partial with (step s: true;)", "KS179", "kind"),
    ("T | scan with (step at: at.w == '';)", "KS142", "w"),
    ("T | scan with (step s: prev(s.at) == 1;)", "GQ100", "scan with (step s: prev(s.at) == 1;)"),
];

#[test]
fn a_scan_that_cannot_run_says_why() {
    let estate = Estate::new(1, 1);
    let mut wrong = vec![];
    for (query, code, at) in REFUSED {
        let text = format!("{ROWS}{query}");
        let analysis = analyze(&text, &estate, &Context::at(NOW));
        let found =
            analysis.diagnostics.iter().any(|d| d.code == *code && text.get(d.span.start..d.span.end) == Some(at));
        if found == code.is_empty() {
            wrong.push(format!("{query}: want {code} at `{at}`, have {:?}", analysis.diagnostics));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_scan_of_too_many_rows_is_refused_and_never_cut() {
    let error = run("range x from 1 to 1000002 step 1 | scan with (step s: x == 1;)", &Estate::new(1, 1)).unwrap_err();
    assert!(error.contains("GQ112"), "{error}");
    let grows = "range x from 1 to 60000 step 1 | scan declare (d:string) with (step s: true => d = strcat(s.d, x);)";
    let error = run(grows, &Estate::new(1, 1)).unwrap_err();
    assert!(error.contains("MiB"), "{error}");
}

#[test]
fn tables_that_were_read_before_the_plan_are_told() {
    let query = "DeviceInfo | where Timestamp >= ago(1h) | sort by Timestamp asc | scan with (step s: true;)";
    let tables = analyze(query, &Estate::new(1, 1), &Context::at(NOW)).tables;
    assert_eq!(tables.iter().map(|t| t.table.as_str()).collect::<Vec<_>>(), ["DeviceInfo"]);
}
