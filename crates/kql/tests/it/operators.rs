//! Every operator: query and rows. What stands here is the language's own documentation in examples of ours, checked
//! by the engine.

use crate::estate::Estate;
use crate::run::{run, same_rows};
use serde_json::{Value, json};

/// Query, the names of the answer's columns, its rows; and whether their order matters.
pub struct Case(pub &'static str, pub &'static [&'static str], pub Value, pub bool);

const TABLE: &str = "let T = datatable(k:string, n:long, t:datetime, d:dynamic)[
    'a', 1, datetime(2026-01-01 00:10), dynamic({'x':1,'y':[1,2]}),
    'b', 2, datetime(2026-01-01 01:10), dynamic({'x':2}),
    'a', 3, datetime(2026-01-01 01:50), dynamic(null),
    '', long(null), datetime(null), dynamic({'x':'z'})]; ";

fn cases() -> Vec<Case> {
    vec![
        Case("T | where n > 1 | project k, n", &["k", "n"], json!([["b", 2], ["a", 3]]), false),
        Case("T | where n != 1 | count", &["Count"], json!([[3]]), false),
        Case(
            "T | extend m = n * 2, k = 'q' | project k, m",
            &["k", "m"],
            json!([["q", 2], ["q", 4], ["q", 6], ["q", null]]),
            false,
        ),
        Case("T | project-away d, t | where k == ''", &["k", "n"], json!([["", null]]), false),
        Case("T | project-keep n, k* | where n == 1", &["k", "n"], json!([["a", 1]]), false),
        Case("T | project-rename key = k | project key, n | where n == 2", &["key", "n"], json!([["b", 2]]), false),
        Case("T | project-reorder n, * asc | project-away d, t | where n == 2", &["n", "k"], json!([[2, "b"]]), false),
        Case(
            "T | summarize c = count(), s = sum(n) by k",
            &["k", "c", "s"],
            json!([["a", 2, 4], ["b", 1, 2], ["", 1, 0]]),
            false,
        ),
        Case(
            "T | summarize by bin(t, 1h) | where isnotnull(t)",
            &["t"],
            json!([["2026-01-01T00:00:00Z"], ["2026-01-01T01:00:00Z"]]),
            false,
        ),
        Case(
            "T | summarize arg_max(n, t) by k | where k == 'a'",
            &["k", "n", "t"],
            json!([["a", 3, "2026-01-01T01:50:00Z"]]),
            false,
        ),
        Case("T | summarize round(avg(n), 1), max(n) - min(n)", &["avg_n", "Column1"], json!([[2.0, 2]]), false),
        Case("T | summarize percentiles(n, 50, 100)", &["percentile_n_50", "percentile_n_100"], json!([[2, 3]]), false),
        Case("T | where false | summarize count()", &["count_"], json!([[0]]), false),
        Case("T | where false | summarize count() by k", &["k", "count_"], json!([]), false),
        Case("T | distinct k", &["k"], json!([["a"], ["b"], [""]]), false),
        Case("T | sort by n | project n", &["n"], json!([[3], [2], [1], [null]]), true),
        Case("T | sort by n asc | project n", &["n"], json!([[null], [1], [2], [3]]), true),
        Case(
            "T | sort by k asc, n desc | project k, n",
            &["k", "n"],
            json!([["", null], ["a", 3], ["a", 1], ["b", 2]]),
            true,
        ),
        Case("T | top 2 by n | project n", &["n"], json!([[3], [2]]), true),
        Case("T | top 1 by n asc nulls last | project n", &["n"], json!([[1]]), true),
        Case("T | take 0", &["k", "n", "t", "d"], json!([]), false),
        Case("T | sample-distinct 9 of k | count", &["Count"], json!([[3]]), false),
        Case("T | project k, n | join kind=inner (T | project k, m = n) on k | count", &["Count"], json!([[6]]), false),
        Case(
            "T | project k | join (T | project k, m = n | where m == 3) on k",
            &["k", "k1", "m"],
            json!([["a", "a", 3]]),
            false,
        ),
        Case(
            "T | project k, n | join kind=leftouter (datatable(k:string, w:string)['a','A']) on k | where k != 'a'",
            &["k", "n", "k1", "w"],
            json!([["b", 2, "", ""], ["", null, "", ""]]),
            false,
        ),
        Case(
            "T | project k, n | join kind=leftanti (datatable(k:string)['a']) on k",
            &["k", "n"],
            json!([["b", 2], ["", null]]),
            false,
        ),
        Case(
            "T | project k, n | join kind=leftsemi (datatable(k:string)['b']) on k",
            &["k", "n"],
            json!([["b", 2]]),
            false,
        ),
        Case(
            "datatable(k:string)['b','c'] | join kind=rightanti (T | project k, n) on k",
            &["k", "n"],
            json!([["a", 1], ["a", 3], ["", null]]),
            false,
        ),
        Case(
            "datatable(k:string)['b','c'] | join kind=rightsemi (T | project k, n) on k",
            &["k", "n"],
            json!([["b", 2]]),
            false,
        ),
        Case(
            "datatable(a:string)['b','c'] | join kind=fullouter (T | project k, n | where n > 1) on $left.a == $right.k",
            &["a", "k", "n"],
            json!([["b", "b", 2], ["c", "", null], ["", "a", 3]]),
            false,
        ),
        Case(
            "T | project k, n | lookup (datatable(k:string, w:long)['a', 7]) on k | where n < 3",
            &["k", "n", "w"],
            json!([["a", 1, 7], ["b", 2, null]]),
            false,
        ),
        Case("T | where k in (datatable(k:string)['b','']) | project k", &["k"], json!([["b"], [""]]), false),
        Case("T | where k !in~ (datatable(k:string)['B','']) | project k", &["k"], json!([["a"], ["a"]]), false),
        Case("let ks = dynamic(['a']); T | where k in (ks) | count", &["Count"], json!([[2]]), false),
        Case("let m = T | summarize make_set(k); T | where k in (m) | count", &["Count"], json!([[4]]), false),
        Case(
            "let ks = datatable(k:string)['b','q']; T | where strcat('b ', k) has_any (ks) | count",
            &["Count"],
            json!([[4]]),
            false,
        ),
        Case("union (print a = 1), (print a = 2, b = 'x')", &["a", "b"], json!([[1, ""], [2, "x"]]), false),
        Case(
            "union withsource = from kind = inner (print a = 1, c = 2), (print a = 2, b = 'x')",
            &["from", "a"],
            json!([["union_arg0", 1], ["union_arg1", 2]]),
            false,
        ),
        Case("union isfuzzy = true Nowhere, (print a = 1)", &["a"], json!([[1]]), false),
        Case("range x from 1 to 7 step 3", &["x"], json!([[1], [4], [7]]), true),
        Case(
            "range x from datetime(2026-01-01) to datetime(2026-01-02) step 12h | count",
            &["Count"],
            json!([[3]]),
            false,
        ),
        Case(
            "range x from 1 to 3 step 1 | serialize r = row_number(), p = prev(x), q = next(x, 1, -1)",
            &["x", "r", "p", "q"],
            json!([[1, 1, null, 2], [2, 2, 1, 3], [3, 3, 2, -1]]),
            true,
        ),
        Case(
            "T | sort by n desc | extend c = row_cumsum(n) | where n > 0 | project n, c",
            &["n", "c"],
            json!([[3, 3], [2, 5], [1, 6]]),
            true,
        ),
        Case(
            "T | mv-expand y = d.y | project n, y",
            &["n", "y"],
            json!([[1, 1], [1, 2], [2, null], [3, null], [null, null]]),
            false,
        ),
        Case("print d = dynamic({'a':1,'b':[2]}) | mv-expand d", &["d"], json!([[{"a": 1}], [{"b": [2]}]]), false),
        Case(
            "print d = dynamic({'a':1,'b':[2]}) | mv-expand bagexpansion=array d",
            &["d"],
            json!([[["a", 1]], [["b", [2]]]]),
            false,
        ),
        Case(
            "print d = dynamic([5,'x',null]) | mv-expand with_itemindex=i e = d to typeof(long) | project i, e",
            &["i", "e"],
            json!([[0, 5], [1, null], [2, null]]),
            false,
        ),
        Case("print d = range(1, 300, 1) | mvexpand d | count", &["Count"], json!([[128]]), false),
        Case("print d = range(1, 300, 1) | mv-expand d limit 5 | count", &["Count"], json!([[5]]), false),
        Case(
            "T | mv-apply y = d.y to typeof(long) on (summarize s = sum(y)) | where n == 1 | project k, s",
            &["k", "s"],
            json!([["a", 3]]),
            false,
        ),
        Case(
            "print a = dynamic([3,1,2]), b = 'q' | mv-apply a to typeof(long) on (top 2 by a)",
            &["b", "a"],
            json!([["q", 3], ["q", 2]]),
            false,
        ),
        Case(
            "print a = dynamic([3,1,2]) | mv-apply with_itemindex=i x = a to typeof(long) on (where x < 3 | project i, x)",
            &["a", "i", "x"],
            json!([[[3, 1, 2], 1, 1], [[3, 1, 2], 2, 2]]),
            false,
        ),
        Case(
            "print s = 'x=1;y=two' | parse s with 'x=' x:long ';y=' y | project x, y",
            &["x", "y"],
            json!([[1, "two"]]),
            false,
        ),
        Case("print s = 'junk x=1;y=two' | parse s with * 'x=' x:int ';' * | project x", &["x"], json!([[1]]), false),
        Case(
            "print s = 'x=q;y=two' | parse kind=relaxed s with 'x=' x:long ';y=' y | project x, y",
            &["x", "y"],
            json!([[null, "two"]]),
            false,
        ),
        Case("print s = 'xx=12 y' | parse kind=regex s with 'x+=' x:long | project x", &["x"], json!([[12]]), false),
        Case(
            "datatable(s:string)['a=1','b'] | parse-where s with 'a=' a:long",
            &["s", "a"],
            json!([["a=1", 1]]),
            false,
        ),
        Case(
            "print s = 'a=1, b=\"x y\", c=z' | parse-kv s as (a:long, b:string, z:string) with (pair_delimiter=',', kv_delimiter='=', quote='\"') | project a, b, z",
            &["a", "b", "z"],
            json!([[1, "x y", ""]]),
            false,
        ),
        Case(
            "T | make-series c = count() on t from datetime(2026-01-01) to datetime(2026-01-01 03:00) step 1h by k | where k == 'a' | project c",
            &["c"],
            json!([[[1, 1, 0]]]),
            false,
        ),
        Case(
            "T | where isnotnull(t) | make-series s = sum(n) default = -1 on t step 1h | project s",
            &["s"],
            json!([[[1, 5]]]),
            false,
        ),
        Case("T | evaluate bag_unpack(d) | where n == 2 | project k, x", &["k", "x"], json!([["b", 2]]), false),
        Case("T | where n > 0 | project k, n | evaluate pivot(k, sum(n))", &["a", "b"], json!([[4, 2]]), false),
        Case(
            "T | where n == 2 | project k, n | evaluate narrow()",
            &["Row", "Column", "Value"],
            json!([[0, "k", "b"], [0, "n", "2"]]),
            false,
        ),
        Case(
            "print ip = '10.1.2.3' | evaluate ipv4_lookup(datatable(net:string, who:string)['10.1.0.0/16','us','10.2.0.0/16','them'], ip, net) | project who",
            &["who"],
            json!([["us"]]),
            false,
        ),
        Case(
            "T | partition by k (top 1 by n | project k, n)",
            &["k", "n"],
            json!([["a", 3], ["b", 2], ["", null]]),
            false,
        ),
        Case(
            "T | top-nested 1 of k by sum(n), top-nested 1 of n by max(n)",
            &["k", "aggregated_k", "n", "aggregated_n"],
            json!([["a", 4, 3, 3]]),
            false,
        ),
        Case("T | top-hitters 1 of k", &["k", "approximate_count_k"], json!([["a", 2]]), false),
        Case("T | project k, n | search 'b' | project k, n", &["k", "n"], json!([["b", 2]]), false),
        Case(
            "T | as U | summarize c = count() by k | join kind=inner (U | project k, n) on k | count",
            &["Count"],
            json!([[4]]),
            false,
        ),
        Case(
            "T | project k, n | getschema | project ColumnName, ColumnType",
            &["ColumnName", "ColumnType"],
            json!([["k", "string"], ["n", "long"]]),
            false,
        ),
        Case(
            "print x = toscalar(T | summarize max(n)), y = toscalar(T | where false | project k)",
            &["x", "y"],
            json!([[3, ""]]),
            false,
        ),
        Case(
            "let f = (T:(n:long), least:long = 1) { T | where n > least }; T | invoke f() | count",
            &["Count"],
            json!([[2]]),
            false,
        ),
        Case(
            "let f = (a:long, b:long = 10) { a + b }; print f(1), f(1, 2), f(b = 5, a = 1)",
            &["print_0", "print_1", "print_2"],
            json!([[11, 3, 6]]),
            false,
        ),
        Case("let v = view () { T | where n == 1 }; v() | project n", &["n"], json!([[1]]), false),
        Case("let M = materialize(T | take 2); union M, M | summarize dcount(n)", &["dcount_n"], json!([[2]]), false),
        Case(
            "T | extend e = column_ifexists('nope', 'dflt'), f = column_ifexists('n', 0) | where n == 1 | project e, f",
            &["e", "f"],
            json!([["dflt", 1]]),
            false,
        ),
        Case(
            "externaldata(name:string, score:long)['https://lists.example/a.csv'] with (format='csv', ignoreFirstRecord=true)",
            &["name", "score"],
            json!([["alpha", 1], ["be,ta", 2]]),
            false,
        ),
        Case(
            "externaldata(name:string, score:long)['https://lists.example/a.json'] with (format='multijson')",
            &["name", "score"],
            json!([["alpha", 1], ["beta", null]]),
            false,
        ),
        Case(
            "externaldata(line:string)['https://lists.example/a.txt']",
            &["line"],
            json!([["alpha"], ["beta"]]),
            false,
        ),
        Case(
            "let a = toscalar(print 5); let b = toscalar(range x from 1 to a step 1 | count); print c = toscalar(print b + a)",
            &["c"],
            json!([[10]]),
            false,
        ),
        Case(
            "T | where isnotnull(n) | top-nested 1 of k with others = 'rest' by sum(n)",
            &["k", "aggregated_k"],
            json!([["a", 4], ["rest", 2]]),
            false,
        ),
        Case(
            "datatable(a:string, b:string, c:string, n:long)['x', 'p', 'u', 5, 'x', 'p', 'v', 1, 'x', 'q', 'u', 2, 'y', 'p', 'u', 3]
             | top-nested 1 of a with others = 'A' by sum(n), top-nested 1 of b by sum(n), top-nested 1 of c with others = 'C' by s = sum(n)",
            &["a", "aggregated_a", "b", "aggregated_b", "c", "s"],
            json!([
                ["x", 8, "p", 6, "u", 5],
                ["x", 8, "p", 6, "C", 1],
                ["x", 8, "", null, "C", 2],
                ["A", 3, "", null, "C", 3]
            ]),
            false,
        ),
        Case(
            "T | where isnotnull(n) | top-nested 9 of k with others = 'rest' by count(), top-nested 1 of n by max(n)",
            &["k", "aggregated_k", "n", "aggregated_n"],
            json!([["a", 2, 3, 3], ["b", 1, 2, 2]]),
            false,
        ),
        Case(
            r#"print s = "a='it\\'s' b=2" | parse-kv s as (a:string, b:long) with (quote="'", escape='\\') | project a, b"#,
            &["a", "b"],
            json!([["it's", 2]]),
            false,
        ),
        Case(r"print x = extract(@'^a(b{1-3}+)\0?$', 1, 'ab{1-3}}') | project x", &["x"], json!([["b{1-3}}"]]), false),
        Case(
            "datatable(i:long, l:dynamic)[1, dynamic([[1, 2], [3]]), 2, dynamic([[4]])]
             | mv-apply m = l on (mv-apply v = m to typeof(long) on (summarize s = sum(v)) | summarize t = max(s), c = count())
             | project i, t, c",
            &["i", "t", "c"],
            json!([[1, 3, 2], [2, 4, 1]]),
            false,
        ),
        Case(
            "datatable(a:string, b:long, n:long)['x', 1, 1, 'x', 1, 2, 'x', 2, 3, 'y', 1, 4, 'y', 1, 5]
             | partition by a (partition by b (top 1 by n) | summarize s = sum(n), c = count()) | project s, c",
            &["s", "c"],
            json!([[5, 2], [5, 1]]),
            false,
        ),
        Case(
            "datatable(a:string, l:dynamic)['x', dynamic([3, 1]), 'x', dynamic([2]), 'y', dynamic([9, 8])]
             | partition by a (mv-apply v = l to typeof(long) on (top 1 by v) | summarize m = min(v)) | project m",
            &["m"],
            json!([[2], [9]]),
            false,
        ),
        Case(
            "datatable(i:long, l:dynamic)[1, dynamic([1, 2, 3, 4]), 2, dynamic([6])]
             | mv-apply v = l to typeof(long) on (extend k = v % 2 | partition by k (summarize s = sum(v) by k) | top 1 by s) | project i, k, s",
            &["i", "k", "s"],
            json!([[1, 0, 6], [2, 0, 6]]),
            false,
        ),
        Case("T | where * has 'b' | project n", &["n"], json!([[2]]), false),
        Case("T | render timechart | count", &["Count"], json!([[4]]), false),
        Case("DeviceProcessEvents | where ingestion_time() > ago(1d) | count", &["Count"], json!([[0]]), false),
        Case(
            "DeviceProcessEvents | take 2 | invoke FileProfile(SHA1, 10) | where GlobalPrevalence > 0 | count",
            &["Count"],
            json!([[2]]),
            false,
        ),
    ]
}

/// The queries of the table.
pub fn queries() -> Vec<String> {
    cases().iter().map(|c| format!("{TABLE}{}", c.0)).collect()
}

/// Whether a case holds after what stands before its query.
pub fn check(before: &str, case: &Case, estate: &Estate) -> Result<(), String> {
    let Case(query, columns, rows, ordered) = case;
    let answer = run(&format!("{before}{query}"), estate)?;
    let names: Vec<&str> = answer.columns.iter().map(|c| c.name.as_str()).collect();
    if names != *columns {
        return Err(format!("columns {names:?}, want {columns:?}"));
    }
    let want: Vec<Vec<Value>> = rows.as_array().unwrap().iter().map(|r| r.as_array().unwrap().clone()).collect();
    if same_rows(&answer.rows, &want, *ordered) {
        Ok(())
    } else {
        Err(format!("rows {}, want {rows}", json!(answer.rows)))
    }
}

#[test]
fn every_operator_gives_the_rows_of_the_table() {
    let estate = Estate::new(12, 5);
    let wrong: Vec<String> =
        cases().iter().filter_map(|c| check(TABLE, c, &estate).err().map(|e| format!("{}\n    {e}", c.0))).collect();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// Query, code of the finding, and the text at its place.
const REFUSED: &[(&str, &str, &str)] = &[
    ("DeviceInfo | where Nope == 1", "KS142", "Nope"),
    ("DeviceInfo | where TimeGenerated > ago(1d)", "KS142", "TimeGenerated"),
    ("Nowhere | take 1", "KS204", "Nowhere"),
    ("DeviceInfo | where nope(1)", "KS211", "nope"),
    ("DeviceInfo | where OSBuild has 'x'", "KS106", "has"),
    ("DeviceInfo | where DeviceId", "KS141", "DeviceId"),
    ("DeviceInfo | summarize count() by LoggedOnUsers", "KS116", "LoggedOnUsers"),
    ("DeviceInfo | summarize DeviceId", "KS236", "DeviceId"),
    ("DeviceInfo | where count() > 1", "KS144", "count"),
    ("DeviceInfo | project a = 1, a = 2", "KS171", "a"),
    ("DeviceInfo | join (DeviceEvents) on OSBuild", "KS145", "OSBuild"),
    ("DeviceInfo | join (DeviceEvents | extend OSBuild = 'x') on OSBuild", "KS227", "OSBuild"),
    ("DeviceInfo | evaluate nope()", "KS124", "nope"),
    ("DeviceInfo | evaluate autocluster()", "GQ100", "autocluster"),
    ("DeviceInfo | take 'x'", "KS134", "'x'"),
    ("let x = 1; let x = 2; print x", "KS201", "x"),
    ("let f = (a:long) { a }; print f()", "KS119", "f()"),
    ("datatable(a:long, b:long)[1, 2, 3]", "KS173", "datatable(a:long, b:long)[1, 2, 3]"),
    ("DeviceInfo | extend r = row_number()", "GQ201", "row_number"),
    ("DeviceInfo | project-rename DeviceId = DeviceName", "KS171", "DeviceId"),
    ("print DeviceInfo", "KS108", "DeviceInfo"),
    ("DeviceInfo | mv-expand DeviceId", "KS141", "DeviceId"),
    ("DeviceInfo | invoke FileProfile(Nope)", "KS142", "Nope"),
];

#[test]
fn what_is_wrong_is_said_with_its_number_and_place() {
    let estate = Estate::new(1, 1);
    let mut wrong = vec![];
    for (query, code, at) in REFUSED {
        let analysis = garrison_kql::analyze(query, &estate, &garrison_kql::Context::at(crate::estate::NOW));
        let found =
            analysis.diagnostics.iter().any(|d| d.code == *code && query.get(d.span.start..d.span.end) == Some(at));
        if !found {
            wrong.push(format!("{query}: want {code} at `{at}`, have {:?}", analysis.diagnostics));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
