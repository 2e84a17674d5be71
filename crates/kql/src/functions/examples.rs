//! Whole queries against the values that they must give: our own, the cases of the reference, and the examples of the
//! language's documentation where they are beside the checkout.

use super::json::Json;
use super::time::{datetime_text, parse_datetime, parse_timespan, timespan_text};
use crate::{Catalog, Column, Context, Host, HostError, TableShape, Type};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use async_trait::async_trait;
use datafusion::catalog::TableProvider;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::{SessionConfig, SessionContext};
use std::sync::Arc;

struct Nothing;

impl Catalog for Nothing {
    fn names(&self) -> Vec<String> {
        Vec::new()
    }
    fn shape(&self, _: &str) -> Option<Arc<TableShape>> {
        None
    }
    fn provider(&self, _: &str) -> Option<Arc<dyn TableProvider>> {
        None
    }
}

struct Engine(SessionContext);

#[async_trait]
impl Host for Engine {
    async fn rows(&self, plan: LogicalPlan, _: usize) -> Result<Vec<RecordBatch>, HostError> {
        let frame = self.0.execute_logical_plan(plan).await.map_err(|e| HostError(e.to_string()))?;
        frame.collect().await.map_err(|e| HostError(e.to_string()))
    }
}

/// Columns and cells as text; a null is `None`.
type Answer = (Vec<Column>, Vec<Vec<Option<String>>>);

fn run(query: &str) -> Result<Answer, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let engine = Engine(SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2)));
        let context = Context::at(1_700_000_000_000_000);
        let planned = crate::plan(query, &Nothing, &context, &engine).await.map_err(|e| format!("{e:?}"))?;
        let batches = engine.rows(planned.plan, usize::MAX).await.map_err(|e| format!("engine: {e}"))?;
        let mut rows = Vec::new();
        for batch in batches {
            let cells: Vec<Vec<Option<String>>> =
                planned.columns.iter().zip(batch.columns()).map(|(c, a)| texts(c.kind, a)).collect();
            for row in 0..batch.num_rows() {
                rows.push(cells.iter().map(|c| c[row].clone()).collect());
            }
        }
        Ok((planned.columns, rows))
    })
}

fn texts(kind: Type, array: &ArrayRef) -> Vec<Option<String>> {
    let micros = |array: &ArrayRef, write: fn(i64) -> String| {
        let longs = cast(array, &DataType::Int64).unwrap();
        let longs = longs.as_primitive::<Int64Type>().clone();
        (0..longs.len()).map(|r| longs.is_valid(r).then(|| write(longs.value(r)))).collect()
    };
    match kind {
        Type::Datetime => micros(array, datetime_text),
        Type::Timespan => micros(array, timespan_text),
        _ => {
            let text = cast(array, &DataType::Utf8).unwrap();
            let text = text.as_string::<i32>();
            (0..text.len()).map(|r| text.is_valid(r).then(|| text.value(r).to_owned())).collect()
        }
    }
}

fn number(text: &str) -> Option<f64> {
    match text {
        "∞" | "inf" | "Infinity" => Some(f64::INFINITY),
        "-∞" | "-inf" | "-Infinity" => Some(f64::NEG_INFINITY),
        "NaN" => Some(f64::NAN),
        other => other.replace(',', "").parse().ok(),
    }
}

fn near(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-6 * a.abs().max(b.abs()).max(1.0)
}

fn alike(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| alike(a, b)),
        (Json::Bag(a), Json::Bag(b)) => {
            a.len() == b.len() && a.iter().all(|(k, v)| b.iter().any(|(l, w)| k == l && alike(v, w)))
        }
        (Json::Long(_) | Json::Real(_), Json::Long(_) | Json::Real(_)) => {
            near(a.real().unwrap_or(f64::NAN), b.real().unwrap_or(f64::NAN))
        }
        (a, b) => a == b,
    }
}

/// Whether a cell is what a page shows, which writes types in ways of its own.
fn shows(kind: Type, cell: Option<&str>, shown: &str) -> bool {
    let Some(cell) = cell else { return matches!(shown, "" | "null" | "(null)") };
    match kind {
        Type::Int | Type::Long | Type::Real | Type::Decimal => match (number(cell), number(shown)) {
            (Some(a), Some(b)) => near(a, b),
            _ => false,
        },
        Type::Bool => {
            cell.eq_ignore_ascii_case(shown) || (cell == "true" && shown == "1") || (cell == "false" && shown == "0")
        }
        Type::Datetime => parse_datetime(cell) == parse_datetime(shown),
        Type::Timespan => parse_timespan(cell) == parse_timespan(shown),
        Type::Dynamic => {
            let shown = shown.replace("<br>", "");
            alike(&Json::parse(cell), &Json::parse(&shown)) || Json::parse(cell).text() == shown
        }
        _ => cell.trim() == shown.trim(),
    }
}

/// Each line is a query and the only row that it gives, cells parted by ` ¦ `.
fn check(cases: &[(&str, &str)]) {
    let mut wrong = Vec::new();
    for (query, expected) in cases {
        match run(query) {
            Err(error) => wrong.push(format!("{query}\n   {error}")),
            Ok((columns, rows)) => {
                let wanted: Vec<&str> = expected.split(" ¦ ").collect();
                let row = rows.first();
                let fits = rows.len() == 1
                    && columns.len() == wanted.len()
                    && row.is_some_and(|r| {
                        r.iter().zip(&columns).zip(&wanted).all(|((cell, c), w)| shows(c.kind, cell.as_deref(), w))
                    });
                if !fits {
                    wrong.push(format!("{query}\n   gave {rows:?}\n   not  {wanted:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn every_example_of_the_lists_runs() {
    let mut wrong = Vec::new();
    for c in super::capabilities() {
        let table = "datatable(a:long, b:long, w:long, s:string, t:datetime, d:dynamic)\
                     [1, 2, 1, 'x', datetime(2024-01-01), dynamic({'k': 1}), 3, 4, 2, 'y', datetime(2024-01-02), dynamic({'l': 2})]";
        let query = match c.kind {
            super::Kind::Scalar => format!("print {}", c.example),
            super::Kind::Aggregate => format!("{table} | summarize {}", c.example),
            super::Kind::Window => format!("{table} | serialize x = {}", c.example),
        };
        match run(&query) {
            Err(error) => wrong.push(format!("{query}\n   {error}")),
            Ok((_, rows)) if rows.iter().all(|r| r.iter().all(Option::is_none)) && !c.example.contains("null") => {
                wrong.push(format!("{query}\n   gave nothing"));
            }
            Ok(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn operators_mean_what_the_language_says() {
    check(&[
        ("print 5/2, -7/2, 5.0/2, -14 % 12, 1/0, 7 % 0", "2 ¦ -3 ¦ 2.5 ¦ 10 ¦ null ¦ null"),
        (
            "print 'x'=='X', 'x'=~'X', 'x' in ('X'), 'x' in~ ('X'), 'x' !in~ ('X')",
            "false ¦ true ¦ false ¦ true ¦ false",
        ),
        (
            "datatable(i:int, j:int)[int(null), 3] | project i == j, i != j, i < j, i == i, isnull(i == i)",
            "false ¦ true ¦ null ¦ null ¦ true",
        ),
        (
            "datatable(i:int)[int(null)] | project i == 5, i != 5, not(i == 5), i in (5), i !in (5)",
            "false ¦ true ¦ true ¦ false ¦ true",
        ),
        ("print isnull(''), isempty(''), isempty(int(null)), isnotempty('a')", "false ¦ true ¦ true ¦ true"),
        (
            "print d = dynamic({'a': 5, 'b': 'x', 'c': [1, 2]}) | project d.a == 5, d.b == 'x', d.c[-1], d.z == '', d['b'] has 'X', d.a + 1",
            "true ¦ true ¦ 2 ¦ true ¦ true ¦ 6",
        ),
        (
            "print 'a' in (dynamic(['a', 'b'])), 2 in (dynamic([1, 2])), 'foo bar' has_any (dynamic(['bar'])), 'foo bar' has_all ('foo', 'z')",
            "true ¦ true ¦ true ¦ false",
        ),
        (
            "print datetime(2024-01-02) - datetime(2024-01-01), 1d / 1h, 2 * 1h, datetime(2024-01-01) + 1d",
            "1.00:00:00 ¦ 24 ¦ 02:00:00 ¦ 2024-01-02",
        ),
        (
            "print 5 between (1 .. 5), datetime(2024-01-02) between (datetime(2024-01-01) .. 1d), 6 !between (1 .. 5)",
            "true ¦ true ¦ true",
        ),
        (
            "print bin(4.5, 1), bin(-7, 5), bin(16d, 7d), bin(datetime(1970-05-11 13:45:07), 1d)",
            "4 ¦ -10 ¦ 14.00:00:00 ¦ 1970-05-11",
        ),
        ("print 1 == 1.0, '5' == 5, true == 1, 1 in (1.0, 2)", "true ¦ true ¦ true ¦ true"),
    ]);
}

#[test]
fn conversions_never_fail() {
    check(&[
        (
            "print toint('1.5'), tolong('x'), toint(2.9), todatetime('bad'), toreal('1.5'), tobool('true')",
            "null ¦ null ¦ 2 ¦ null ¦ 1.5 ¦ true",
        ),
        (
            "print tostring(1d), tostring(true), tostring(1.0), strcat('a', 1, true), tostring(dynamic('x')), strlen(tostring(dynamic('x')))",
            "1.00:00:00 ¦ true ¦ 1.0 ¦ a1true ¦ x ¦ 1",
        ),
        (
            "print todynamic('abc'), parse_json('{\"a\":1}').a, tolong(parse_json('{\"a\":\"7\"}').a), gettype(dynamic([1])), gettype(5)",
            "abc ¦ 1 ¦ 7 ¦ array ¦ long",
        ),
        (
            "print tolong(datetime(1970-01-01)), totimespan('1.00:00:00') == 1d, toguid('x'), tolong('0x1f')",
            "621355968000000000 ¦ true ¦ null ¦ 31",
        ),
        (
            "print parse_version('1.2.3.4') > parse_version('1.2.3'), todecimal('123.45678') == decimal(123.45678)",
            "true ¦ true",
        ),
    ]);
}

#[test]
fn texts_are_cut_and_joined_by_characters() {
    check(&[
        ("print split('aa_bb', '_'), split('aaa_bbb_ccc', '_', 1)", "[\"aa\",\"bb\"] ¦ [\"bbb\"]"),
        (
            "print extract('x=([0-9.]+)', 1, 'hello x=45.6|wo'), extract('x=([0-9.]+)', 1, 'nope'), substring('ABCD', 1, 2), strlen('é'), substring('ABCD', -2)",
            "45.6 ¦  ¦ BC ¦ 1 ¦ CD",
        ),
        (
            "print extract('x=([0-9.]+)', 1, 'x=45.6', typeof(real)) + 1, extract_all('([a-z])([0-9])', 'a1b2')",
            "46.6 ¦ [[\"a\",\"1\"],[\"b\",\"2\"]]",
        ),
        (
            "print replace_regex('a1b2', '([a-z])([0-9])', '\\\\2\\\\1'), replace_string('aba', 'a', 'x'), trim('-+', '--a--'), indexof('abcabc', 'c'), indexof('abcabc', 'c', 3), countof('aaa', 'aa')",
            "1a2b ¦ xbx ¦ a ¦ 2 ¦ 5 ¦ 2",
        ),
        (
            "print base64_decode_tostring('S3VzdG8='), base64_encode_tostring('Kusto'), hash_sha1('World'), hash('World'), tohex(256), reverse('abc')",
            "Kusto ¦ S3VzdG8= ¦ 70c07ec18ef89c5309bbb0937f3a6342411e1fdd ¦ 1846988464401551951 ¦ 100 ¦ cba",
        ),
        (
            "print parse_url('https://u:p@h.example:8080/a/b?q=1&r=2#f').Host, parse_path('/usr/lib/temp/file.txt').Filename, parse_command_line('a \"b c\" d', 'windows')[1], parse_csv('a,\"b,c\"')[1]",
            "h.example ¦ file.txt ¦ b c ¦ b,c",
        ),
        ("print parse_xml('<a x=\"1\"><b>2</b><b>3</b></a>')", "{\"a\":{\"@x\":\"1\",\"b\":[\"2\",\"3\"]}}"),
        (
            "print translate('krasp', 'otsku', 'spark'), strrep('ab', 2, '-'), url_decode('a%20b'), unicode_codepoints_to_string(75, 117)",
            "kusto ¦ ab-ab ¦ a b ¦ Ku",
        ),
    ]);
}

#[test]
fn dates_are_taken_apart_and_put_together() {
    check(&[
        (
            "print startofday(datetime(2017-01-01 10:10:17), -1), endofmonth(datetime(2024-02-03)), startofweek(datetime(2017-01-01 10:10:17))",
            "2016-12-31 ¦ 2024-02-29 23:59:59.999999 ¦ 2017-01-01",
        ),
        (
            "print datetime_add('month', 1, datetime(2017-01-31)), datetime_diff('day', datetime(2017-10-30), datetime(2017-10-01)), datetime_part('hour', datetime(2015-12-14 18:54))",
            "2017-02-28 ¦ 29 ¦ 18",
        ),
        (
            "print format_datetime(datetime(2015-12-14 02:03:04.12345), 'y-M-d h:m:s'), format_datetime(datetime(2015-12-14 02:03:04.12345), 'yyyy-MM-dd HH:mm:ss.fff tt'), format_timespan(time(29.09:00:05.12345), 'dd.hh:mm:ss [FF]')",
            "15-12-14 2:3:4 ¦ 2015-12-14 02:03:04.123 AM ¦ 29.09:00:05 [12]",
        ),
        (
            "print dayofweek(datetime(2015-12-14)), make_datetime(2017, 10, 1, 12, 10, 0.5), make_timespan(1, 12, 30, 55.5), unixtime_seconds_todatetime(1546300800)",
            "1.00:00:00 ¦ 2017-10-01 12:10:00.5 ¦ 1.12:30:55.5 ¦ 2019-01-01",
        ),
        (
            "print now() == now(), ago(1h) == now() - 1h, datetime_utc_to_local(datetime(2020-07-01), 'Europe/Paris')",
            "true ¦ true ¦ 2020-07-01 02:00",
        ),
    ]);
}

#[test]
fn dynamic_values_are_worked_with() {
    check(&[
        (
            "print array_slice(dynamic([1,2,3]), -2, -1), array_index_of(dynamic(['a','b']), 'b'), array_sort_desc(dynamic([1,null,3])), array_shift_left(dynamic([1,2,3]), 1)",
            "[2,3] ¦ 1 ¦ [3,1,null] ¦ [2,3,null]",
        ),
        (
            "print set_union(dynamic([1,2,1]), dynamic([3])), set_difference(dynamic([1,2]), dynamic([2])), set_has_element(dynamic([1,2]), 2), jaccard_index(dynamic([1,2]), dynamic([2,3]))",
            "[1,2,3] ¦ [1] ¦ true ¦ 0.333333333",
        ),
        (
            "print bag_pack('a', 1, 'b', 'x', 'c', dynamic([1])), bag_merge(dynamic({'a':1}), dynamic({'a':2,'b':3})), bag_remove_keys(dynamic({'a':1,'b':{'c':1,'d':2}}), dynamic(['a','$.b.c']))",
            "{\"a\":1,\"b\":\"x\",\"c\":[1]} ¦ {\"a\":1,\"b\":3} ¦ {\"b\":{\"d\":2}}",
        ),
        (
            "print range(1, 8, 3), pack_array(1, 'a', true), zip(dynamic([1,2]), dynamic(['a'])), repeat(1, 3)",
            "[1,4,7] ¦ [1,\"a\",true] ¦ [[1,\"a\"],[2,null]] ¦ [1,1,1]",
        ),
        (
            "print iff(true, 'a', 'b'), case(false, 1, true, 2, 3), coalesce(long(null), 5), coalesce('', 'x'), max_of(1, 2.5), min_of(long(null), 3)",
            "a ¦ 2 ¦ 5 ¦ x ¦ 2.5 ¦ 3",
        ),
        (
            "print ipv4_is_in_range('192.168.1.6','192.168.1.1/24'), ipv4_is_private('192.168.1.1/24'), ipv4_is_private('127.0.0.1'), ipv4_is_private('x'), has_ipv4('GET 127.0.0.1x', '127.0.0.1'), ipv4_is_in_any_range('10.1.1.1', dynamic(['10.0.0.0/8']))",
            "true ¦ true ¦ false ¦ null ¦ false ¦ true",
        ),
    ]);
}

#[test]
fn groups_are_summarized() {
    let of = |call: &str| {
        format!(
            "datatable(a:long, s:string, t:datetime)[1, 'x', datetime(2024-01-01), 2, 'y', datetime(2024-01-03), long(null), 'x', datetime(2024-01-02)] | summarize {call}"
        )
    };
    let queries: Vec<(String, &str)> = [
        ("count(), sum(a), avg(a), min(a), max(s), dcount(s), countif(a > 1), sumif(a, s == 'x')", "3 ¦ 3 ¦ 1.5 ¦ 1 ¦ y ¦ 2 ¦ 1 ¦ 1"),
        ("make_list(a), array_sort_asc(make_set(s)), percentile(a, 50), stdev(a), make_list_if(s, a > 1), count_distinct(s)", "[1,2] ¦ [\"x\",\"y\"] ¦ 1 ¦ 0.70710678 ¦ [\"y\"] ¦ 2"),
        ("arg_max(t, a, s), min(t)", "2024-01-03 ¦ 2 ¦ y ¦ 2024-01-01"),
        ("percentiles_array(a, 1, 99), make_set(s, 1), make_list_with_nulls(a), binary_all_or(a)", "[1,2] ¦ [\"x\"] ¦ [1,2,null] ¦ 3"),
        ("make_bag(bag_pack(s, a))", "{\"x\":1,\"y\":2}"),
    ]
    .map(|(call, row)| (of(call), row))
    .to_vec();
    let cases: Vec<(&str, &str)> = queries.iter().map(|(q, r)| (q.as_str(), *r)).collect();
    check(&cases);
    check(&[
        ("datatable(n:long)[] | summarize count(), sum(n), max(n), make_list(n)", "0 ¦ 0 ¦ null ¦ []"),
        // A greatest length holds for the whole, also where parts of it were collected side by side.
        (
            "union (range n from 1 to 5 step 1), (range n from 6 to 9 step 1) | summarize l = make_list(n, 6), s = make_set(n, 7), b = make_bag(bag_pack(strcat('k', n), n), 8) by k = n > 0 | project array_length(l), array_length(s), array_length(bag_keys(b))",
            "6 ¦ 7 ¦ 8",
        ),
        (
            "union (range n from 1 to 5 step 1), (range n from 6 to 9 step 1) | summarize array_length(make_list(n, 6)), array_length(make_set(n, 7)), array_length(bag_keys(make_bag(bag_pack(strcat('k', n), n), 8)))",
            "6 ¦ 7 ¦ 8",
        ),
    ]);
}

#[test]
fn series_are_taken_apart_into_lines_periods_and_what_is_unusual() {
    const WEEKS: &str = "dynamic([9,9,9,9,9,1,1,9,9,9,9,9,1,1,9,9,9,9,9,1,40,9,9,9,9,9,1,1,9,9,9,9,9,1,1])";
    let of = |call: &str| format!("print y = {WEEKS} | extend {call}");
    let queries = [
        (
            "print y = dynamic([2,5,6,8,11,15,17,18,25,26,30,30]) | extend (r, s, v, rv, i) = series_fit_line(y) | project round(r, 3), round(s, 3), round(v, 3), round(rv, 3), round(i, 3)".to_owned(),
            "0.983 ¦ 2.731 ¦ 98.629 ¦ 1.686 ¦ 1.064",
        ),
        (
            "print y = dynamic([1,2,3,4,10,8,6,4]) | extend series_fit_2lines(y) | project series_fit_2lines_y_split_idx, round(series_fit_2lines_y_left_slope, 3), round(series_fit_2lines_y_right_slope, 3), round(series_fit_2lines_y_rsquare, 3)".to_owned(),
            "4 ¦ 1 ¦ -2 ¦ 1",
        ),
        ("print y = dynamic([9,9,9,9,9,1,1,9,9,9,9,9,1,1,9,9,9,9,9,1,1,9,9,9,9,9,1,1]) | extend (p, s) = series_periods_detect(y, 2, 15, 1) | project p".to_owned(), "[7.0]"),
        (
            of("(f, s, b) = series_decompose_anomalies(y) | project array_index_of(f, 1), series_sum(f), b[5], b[20]"),
            "20 ¦ 1 ¦ 1 ¦ 1",
        ),
        // A flat series has no width between its quantiles; its leap is still found, and nothing else.
        (
            "print y = dynamic([5,5,5,5,5,5,5,5,5,5,5,5,5,80]) | extend (f, s) = series_decompose_anomalies(y) | project f".to_owned(),
            "[0,0,0,0,0,0,0,0,0,0,0,0,0,1]",
        ),
        ("print y = dynamic([5,5,5,5,5,5,5]) | project series_decompose_anomalies(y) | project series_decompose_anomalies_y_ad_flag".to_owned(), "[0,0,0,0,0,0,0]"),
        ("print y = dynamic([1,2,3,4,0,0]) | extend (b) = series_decompose_forecast(y, 2) | project b[4], b[5]".to_owned(), "5 ¦ 6"),
        ("print y = dynamic([1,3,5,2,4,6,3,5,7]) | project series_seasonal(y, 3)".to_owned(), "[2.0,4.0,6.0,2.0,4.0,6.0,2.0,4.0,6.0]"),
        ("print y = dynamic([]) | extend (f) = series_decompose_anomalies(y) | project f".to_owned(), "null"),
        ("print y = dynamic([4,null,8]) | extend (least, at, most) = series_stats(y) | project least, at, most, series_stats_y_avg".to_owned(), "4 ¦ 0 ¦ 8 ¦ 6"),
        ("print series_periods_validate(dynamic([1,5,1,1,5,1,1,5,1]), 4) | project series_periods_validate__scores".to_owned(), "[0.0]"),
    ];
    let cases: Vec<(&str, &str)> = queries.iter().map(|(q, r)| (q.as_str(), *r)).collect();
    check(&cases);
}

#[test]
fn pairs_are_read_by_an_expression_and_with_names_in_quotes() {
    check(&[(
        "print s = 'a=1 \"b c\"=2 d=\"x y\"' | parse-kv s as (a:long, ['b c']:long, d:string) with (pair_delimiter=' ', kv_delimiter='=', quote='\"') | project-away s",
        "1 ¦ 2 ¦ x y",
    )]);
    check(&[(
        "print s = '[a b: 1] [c: x y] [c: z]' | parse-kv s as (['a b']:long, c:string, d:string) with (regex=@'\\[([\\w ]+)\\s*:\\s*([^\\]]*)\\]') | project-away s",
        "1 ¦ x y ¦ ",
    )]);
}

#[test]
fn addresses_are_looked_up_by_further_keys_and_with_what_no_network_holds() {
    let of = |call: &str| {
        format!(
            "let nets = datatable(net:string, zone:string, name:string)['10.0.0.0/8', 'a', 'ten', '10.1.0.0/16', 'b', 'small']; datatable(ip:string, zone:string)['10.1.2.3', 'b', '9.9.9.9', 'a', 'none', 'a'] | evaluate ipv4_lookup(nets, ip, net{call})"
        )
    };
    let queries = [
        (of(", zone") + " | project ip, zone, net, name", "10.1.2.3 ¦ b ¦ 10.1.0.0/16 ¦ small"),
        (of("") + " | summarize count()", "2"),
        (of(", zone, return_unmatched = true") + " | summarize count(), countif(isempty(name))", "3 ¦ 2"),
    ];
    let cases: Vec<(&str, &str)> = queries.iter().map(|(q, r)| (q.as_str(), *r)).collect();
    check(&cases);
}

/// Examples that are not run against what their page shows, each by a part of its query, with why.
const LEFT_OUT: &[(&str, &str)] = &[
    ("geo_", "geometry is refused by name"),
    ("activity_metrics", "random"),
    ("rand(", "random"),
    ("sample", "random"),
    ("new_guid", "random"),
    ("cursor_current", "there are no cursors"),
    ("tdigest", "sketches are refused by name"),
    ("arr = dynamic([-1,0,1])", "the page shows another input than it has"),
    ("series_magnitude=series_magnitude", "the page names other columns than it makes"),
    ("variancepif(x, x%2 == 0)", "the page shows the variance of a sample, and this is of a whole: 833"),
    ("tan(", "the page's query differs"),
    ("https://www.bing.com/hello world/", "the page leaves out the last character of its own input"),
    ("Çedilla", "the page shows decomposed text, and the file holds it composed"),
    ("'\\\\n.*(>|", "the page escapes its own table"),
    ("https://bing.com", "the page shows a link"),
    ("JpbpECu8dUy7Pv5gbeJXAA==", "the page mixes two orders of bytes; its sister page writes them as is done here"),
    ("Hello\\u00A0World", "the page shows the space as a plain one"),
    ("print program =", "the page's text was cut"),
    ("series_periods_validate", "the page rounds its scores, 0.84 and 0.0; ours are the same when rounded"),
    ("external_data(", "reads from the network"),
    // What follows belongs to operators, and is told to who owns them.
    ("parse-kv str as (Text", "operators: parse-kv without delimiters"),
    ("parse-where kind = regex", "operators: the page shows a row for none"),
    ("schema_merge", "operators: a plugin that is not built"),
];

#[test]
fn examples_of_the_documentation_give_what_their_pages_show() {
    let path = format!("{}/../../../shared/data/kql-doc-examples.json", env!("CARGO_MANIFEST_DIR"));
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!("skipped because ../shared/data is absent");
        return;
    };
    let examples: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let (mut wrong, mut ran) = (Vec::new(), 0);
    for example in &examples {
        let query = example["query"].as_str().unwrap();
        if LEFT_OUT.iter().any(|(part, _)| query.contains(part)) {
            continue;
        }
        ran += 1;
        let shown: Vec<Vec<&str>> = example["rows"]
            .as_array()
            .unwrap()
            .iter()
            .map(|r| r.as_array().unwrap().iter().map(|c| c.as_str().unwrap().trim_matches('`')).collect())
            .collect();
        match run(query) {
            Err(error) => wrong.push(format!("{}: {query}\n   {error}", example["page"])),
            Ok((columns, rows)) => {
                let mut left = rows.clone();
                for row in &shown {
                    let fits = |r: &Vec<Option<String>>| {
                        r.iter()
                            .zip(&columns)
                            .enumerate()
                            .all(|(at, (cell, c))| shows(c.kind, cell.as_deref(), row.get(at).copied().unwrap_or("")))
                    };
                    if let Some(at) = left.iter().position(fits) {
                        left.remove(at);
                    }
                }
                if rows.len() != shown.len() || !left.is_empty() {
                    wrong.push(format!("{}: {query}\n   gave {left:?}\n   of   {shown:?}", example["page"]));
                }
            }
        }
    }
    assert!(ran > 60, "only {ran} examples ran");
    assert!(wrong.is_empty(), "{} of {ran}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_comparison_with_a_constant_stays_one_that_files_are_pruned_by() {
    use super::{Binary, Membership, lower_binary, lower_membership};
    use datafusion::logical_expr::{col, lit};
    let context = Context::at(0);
    let text =
        |op, value: &str| lower_binary(op, &context, [Type::Text; 2], [col("s"), lit(value)]).unwrap().to_string();
    assert_eq!(text(Binary::Equal, "x"), "s = Utf8(\"x\") AND s IS NOT NULL");
    assert_eq!(text(Binary::NotEqual, "x"), "s IS NULL OR s != Utf8(\"x\")");
    assert_eq!(text(Binary::Equal, ""), "s IS NULL OR s = Utf8(\"\")");
    assert_eq!(text(Binary::EqualTilde, "10.0.0.1"), "s = Utf8(\"10.0.0.1\") AND s IS NOT NULL");
    let number = lower_binary(Binary::Equal, &context, [Type::Int, Type::Long], [col("i"), lit(5i64)]).unwrap();
    assert_eq!(number.to_string(), "i = Int32(5) AND i IS NOT NULL");
    let list = vec![lit("a"), lit("b")];
    let within =
        lower_membership(Membership::In, &context, Type::Text, col("s"), &[Type::Text; 2], list).unwrap().to_string();
    assert_eq!(within, "s IS NOT NULL AND s IN ([Utf8(\"a\"), Utf8(\"b\")])");
}

#[test]
fn a_dictionary_and_a_view_give_what_plain_text_gives() {
    use super::{Binary, lower_binary, scalar};
    use arrow::array::{DictionaryArray, StringArray, StringViewArray};
    use arrow::datatypes::{Field, Int32Type, Schema};
    use datafusion::logical_expr::{col, lit};
    let words = vec![Some("calc.exe /Q"), None, Some("x"), Some("calc.exe /Q"), Some("CALC")];
    let arrays: [ArrayRef; 3] = [
        Arc::new(StringArray::from(words.clone())),
        Arc::new(StringViewArray::from(words.clone())),
        Arc::new(words.into_iter().collect::<DictionaryArray<Int32Type>>()),
    ];
    let context = Context::at(0);
    let has = lower_binary(Binary::Has, &context, [Type::Text; 2], [col("s"), lit("calc")]).unwrap();
    let not = lower_binary(Binary::NotHas, &context, [Type::Text; 2], [col("s"), lit("calc")]).unwrap();
    let low = scalar("tolower").unwrap().lower(&context, &[Type::Text], vec![col("s")]).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for array in arrays {
        let schema = Arc::new(Schema::new(vec![Field::new("s", array.data_type().clone(), true)]));
        let batch = RecordBatch::try_new(schema, vec![array]).unwrap();
        let rows = runtime.block_on(async {
            let frame = SessionContext::new().read_batch(batch).unwrap();
            let exprs = vec![has.clone().alias("h"), not.clone().alias("n"), low.clone().alias("l")];
            frame.select(exprs).unwrap().collect().await.unwrap()
        });
        let columns = rows[0].columns();
        let plain = |at: usize| texts(Type::Text, &columns[at]).into_iter().map(Option::unwrap).collect::<Vec<_>>();
        assert_eq!(plain(0), ["true", "false", "false", "true", "true"]);
        assert_eq!(plain(1), ["false", "true", "true", "false", "false"]);
        assert_eq!(plain(2), ["calc.exe /q", "", "x", "calc.exe /q", "calc"]);
    }
}

#[test]
fn every_function_can_be_found_by_name_where_a_plan_is_rebuilt() {
    use datafusion::execution::FunctionRegistry;
    let mut state = SessionContext::new().state();
    super::register(&mut state).unwrap();
    for name in ["kql_has", "kql_strcat", "kql_path", "kql_bin_of", "kql_text_of", "kql_json_at"] {
        assert!(state.udf(name).is_ok(), "{name}");
    }
    assert!(state.udaf("kql_make_set").is_ok() && state.udwf("kql_prev").is_ok());
}

#[test]
fn functions_that_are_not_built_say_why() {
    assert!(super::refused("geo_distance_2points").is_some());
    assert!(super::refused("geo_info_from_ip_address").is_none());
    assert!(super::refused("strlen").is_none() && super::refused("no_such_thing").is_none());
}

/// Cases of the reference that this catalog of no tables cannot run, by a part of their query.
const CASES_LEFT_OUT: &[(&str, &str)] =
    &[("Device", "needs the hunting tables"), ("geo_info", "needs a database of places")];

#[test]
fn cases_of_the_reference_give_their_values() {
    let path = format!("{}/../../../shared/reference/kql-cases.json", env!("CARGO_MANIFEST_DIR"));
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!("skipped because ../shared/reference is absent");
        return;
    };
    let cases: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let (mut wrong, mut ran) = (Vec::new(), 0);
    for case in &cases {
        let query = case["query"].as_str().unwrap();
        let Some(expected) = case["expect"].as_array() else { continue };
        if CASES_LEFT_OUT.iter().any(|(part, _)| query.contains(part)) {
            continue;
        }
        ran += 1;
        let wanted: Vec<Vec<String>> = expected
            .iter()
            .map(|row| {
                row.as_array()
                    .unwrap()
                    .iter()
                    .map(|c| c.as_str().map_or_else(|| c.to_string(), str::to_owned))
                    .collect()
            })
            .collect();
        match run(query) {
            Err(error) => wrong.push(format!("{query}\n   {error}")),
            Ok((columns, rows)) => {
                let fits = |r: &Vec<Option<String>>, w: &Vec<String>| {
                    // A case may show fewer columns than there are: the last ones.
                    let from = columns.len().saturating_sub(w.len());
                    r.iter().zip(&columns).skip(from).zip(w).all(|((cell, c), w)| shows(c.kind, cell.as_deref(), w))
                };
                let mut left = rows.clone();
                for w in &wanted {
                    if let Some(at) = left.iter().position(|r| fits(r, w)) {
                        left.remove(at);
                    }
                }
                if rows.len() != wanted.len() || !left.is_empty() {
                    wrong.push(format!("{query}\n   gave {rows:?}\n   not  {wanted:?}"));
                }
            }
        }
    }
    assert!(ran > 25, "only {ran} cases ran");
    assert!(wrong.is_empty(), "{} of {ran}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_pattern_that_cannot_be_used_is_told_before_anything_runs() {
    for query in ["print extract('(', 1, 'a')", "print replace_regex('a', '(?=x)', '')", "print 'a' matches regex '['"]
    {
        let error = run(query).unwrap_err();
        assert!(error.contains("cannot be used"), "{query}: {error}");
    }
}
