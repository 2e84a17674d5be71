//! What must give the same gives the same: a filter in two, a join either way, batches cut anywhere.

use crate::estate::Estate;
use crate::run::{run, same_rows};
use proptest::prelude::*;

const PREDICATES: &[&str] = &[
    "FileName == 'sh'",
    "FileName != 'sh'",
    "FileName =~ 'BASH'",
    "ProcessCommandLine has 'curl'",
    "ProcessCommandLine !contains '3'",
    "ProcessId > 20",
    "ProcessId != 10",
    "not(ProcessId > 20)",
    "Timestamp > ago(6h)",
    "Timestamp between (ago(9h) .. ago(2h))",
    "DeviceId in ('device-0', 'device-2')",
    "AccountName !in~ ('ACCOUNTNAME-1')",
    "isempty(AccountName)",
    "isnull(ProcessId) or AccountName startswith 'account'",
    "AdditionalFields.a > 3",
    "tostring(AdditionalFields.t) == 'v2'",
];

const TAILS: &[&str] = &[
    "project DeviceId, FileName, ProcessId, AccountName",
    "summarize count(), dcount(FileName), max(ProcessId) by DeviceId",
    "summarize arg_max(Timestamp, FileName, ProcessId) by AccountName",
    "distinct DeviceId, AccountName",
    "extend n = strlen(ProcessCommandLine) | project n, AdditionalFields",
    "top 5 by Timestamp | project Timestamp, FileName",
    "sort by DeviceId asc, Timestamp asc | extend n = row_number(), p = prev(FileName) | project DeviceId, n, p",
    "mv-expand l = AdditionalFields.list | project Timestamp, l",
];

fn check(one: &str, other: &str, a: &Estate, b: &Estate) {
    let (left, right) = (run(one, a), run(other, b));
    match (&left, &right) {
        (Ok(l), Ok(r)) => assert!(same_rows(&l.rows, &r.rows, false), "{one}\n{:?}\n{other}\n{:?}", l.rows, r.rows),
        _ => panic!("{one}\n{left:?}\n{other}\n{right:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_filter_cut_in_two_gives_the_same(a in 0..PREDICATES.len(), b in 0..PREDICATES.len(), t in 0..TAILS.len()) {
        let estate = Estate::new(24, 7);
        let (a, b, tail) = (PREDICATES[a], PREDICATES[b], TAILS[t]);
        let whole = format!("DeviceProcessEvents | where ({a}) and ({b}) | {tail}");
        check(&whole, &format!("DeviceProcessEvents | where {a} | where {b} | {tail}"), &estate, &estate);
        check(&whole, &format!("DeviceProcessEvents | where {b} | where {a} | {tail}"), &estate, &estate);
    }

    #[test]
    fn batches_cut_anywhere_give_the_same(a in 0..PREDICATES.len(), t in 0..TAILS.len(), cut in 1_usize..24) {
        let query = format!("DeviceProcessEvents | where {} | {}", PREDICATES[a], TAILS[t]);
        check(&query, &query, &Estate::new(24, 24), &Estate::new(24, cut));
    }

    #[test]
    fn an_inner_join_either_way_gives_the_same(a in 0..PREDICATES.len(), key in prop::sample::select(vec!["DeviceId", "AccountName", "SHA1"])) {
        let estate = Estate::new(24, 7);
        let left = format!("(DeviceProcessEvents | where {} | project {key}, l = ProcessId)", PREDICATES[a]);
        let right = format!("(DeviceFileEvents | where FileName != 'sh' | project {key} = {}, r = FolderPath)", if key == "AccountName" { "RequestAccountName" } else { key });
        check(
            &format!("{left} | join kind=inner {right} on {key} | project {key}, l, r"),
            &format!("{right} | join kind=inner {left} on {key} | project {key}, l, r"),
            &estate,
            &estate,
        );
    }
}

/// Aggregates that are computed for many groups at once, and for all rows in another way.
const AGGREGATES: &[&str] = &[
    "dcount(FileName)",
    "dcountif(ProcessCommandLine, ProcessId > 20)",
    "array_sort_asc(make_set(FileName))",
    "array_sort_asc(make_set(ProcessId, 3))[1] > 0",
    "array_sort_asc(make_list(ProcessCommandLine))",
    "array_length(make_list_with_nulls(AdditionalFields))",
    "arg_max(Timestamp, FileName, ProcessId)",
    "arg_min(ProcessId, Timestamp, AccountName)",
    "isnotempty(take_any(FileName))",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn a_group_has_what_its_rows_alone_have(a in 0..AGGREGATES.len(), p in 0..PREDICATES.len(), size in 1_usize..50) {
        let estate = Estate::new(120, size);
        let (aggregate, rows) = (AGGREGATES[a], format!("DeviceProcessEvents | where {}", PREDICATES[p]));
        let devices = ["device-0", "device-1", "device-2", "device-3"].map(|device| {
            // A device without rows has no group.
            let alone = format!("{rows} | where DeviceId == '{device}'");
            format!("({alone} | summarize {aggregate}, Rows = count() | where Rows > 0 | extend DeviceId = '{device}')")
        });
        check(
            &format!("{rows} | where DeviceId matches regex 'device-[0-3]$' | summarize {aggregate}, Rows = count() by DeviceId | project-reorder DeviceId"),
            &format!("union {} | project-reorder DeviceId", devices.join(", ")),
            &estate,
            &estate,
        );
    }
}

#[test]
fn groups_with_many_values_are_counted_like_all_rows() {
    let estate = Estate::new(1, 1);
    let rows = "range i from 1 to 90000 step 1 | extend g = iff(i < 60000, 0, i % 1000)";
    check(
        &format!("{rows} | summarize a = dcount(i), b = dcount(i % 7) by g | where g in (0, 17)"),
        &format!(
            "union ({rows} | where g == 0 | summarize a = dcount(i), b = dcount(i % 7) | extend g = 0), \
             ({rows} | where g == 17 | summarize a = dcount(i), b = dcount(i % 7) | extend g = 17) | project g, a, b"
        ),
        &estate,
        &estate,
    );
}
