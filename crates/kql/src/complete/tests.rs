use super::*;
use crate::{Column, Severity, TableShape, Type};
use datafusion::catalog::TableProvider;
use std::sync::Arc;

/// Two tables, without rows.
struct Tables;

impl Catalog for Tables {
    fn names(&self) -> Vec<String> {
        vec!["Files".to_owned(), "Logons".to_owned(), "odd name".to_owned()]
    }

    fn shape(&self, table: &str) -> Option<Arc<TableShape>> {
        let columns: &[(&str, Type)] = match table {
            "Files" => &[("Timestamp", Type::Datetime), ("FileName", Type::Text), ("Size", Type::Long)],
            "Logons" => &[("Timestamp", Type::Datetime), ("Account", Type::Text), ("Extra", Type::Dynamic)],
            _ => return None,
        };
        let columns = columns.iter().map(|(name, kind)| Column::new(*name, *kind)).collect();
        Some(Arc::new(TableShape { name: table.to_owned(), columns }))
    }

    fn provider(&self, table: &str) -> Option<Arc<dyn TableProvider>> {
        let fields: Vec<_> = self
            .shape(table)?
            .columns
            .iter()
            .map(|c| datafusion::arrow::datatypes::Field::new(&c.name, c.kind.arrow(), true))
            .collect();
        let schema = Arc::new(datafusion::arrow::datatypes::Schema::new(fields));
        Some(Arc::new(datafusion::datasource::empty::EmptyTable::new(schema)))
    }
}

/// The cursor stands at `¦`. Everything in `has` is offered, nothing in `not` is.
fn check(marked: &str, has: &[&str], not: &[&str]) {
    let offset = marked.find('¦').expect("a cursor");
    let text = marked.replace('¦', "");
    let found = complete(&text, offset, &Tables);
    let labels: Vec<&str> = found.iter().map(|c| c.label.as_str()).collect();
    for label in has {
        assert!(labels.contains(label), "{marked}: no `{label}` in {labels:?}");
    }
    for label in not {
        assert!(!labels.contains(label), "{marked}: `{label}` in {labels:?}");
    }
    for item in &found {
        assert!(text.get(item.replace.start..item.replace.end).is_some() && item.replace.end == offset, "{marked}");
    }
}

#[test]
fn what_fits_at_a_place_is_offered() {
    let cases: &[(&str, &[&str], &[&str])] = &[
        ("¦", &["Files", "Logons", "odd name", "let", "print"], &["where", "FileName"]),
        ("Fi¦", &["Files"], &["Logons"]),
        ("Files | ¦", &["where", "project-away", "summarize", "scan", "graph-match"], &["Files", "fork", "facet"]),
        ("Files | project-a¦", &["project-away"], &["where", "project-keep"]),
        ("Files | where ¦", &["FileName", "Size", "tostring"], &["Account", "where"]),
        ("Files | where Fi¦", &["FileName"], &["Size"]),
        ("Files | where FileName ¦", &["has", "!contains", "in~", "==", "and"], &["Size", "asc"]),
        ("Files | where FileName has 'x' and ¦", &["Size"], &["Account"]),
        ("Files | extend Big = Size > 5 | where ¦", &["Big", "FileName"], &["Account"]),
        ("Files | project FileName | where ¦", &["FileName"], &["Size"]),
        ("Files | summarize ¦", &["Size"], &["Account"]),
        ("Files | summarize count() by ¦", &["FileName"], &["count"]),
        ("Files | sort by Size ¦", &["asc", "desc"], &["has"]),
        ("Files | join kind=¦", &["inner", "leftanti"], &["Files"]),
        ("Files | join (Lo¦", &["Logons"], &["Files"]),
        ("Files | join (Logons | where ¦", &["Account"], &["FileName"]),
        ("Files | join kind=inner (Logons | project ¦", &["Account"], &["FileName"]),
        ("Files | join (Logons) ¦", &["on"], &["Files"]),
        ("Files | join (Logons) on ¦", &["Timestamp", "$left"], &["Account"]),
        ("Files | join (Logons) on $left.FileName == $right.¦", &["Account"], &["FileName"]),
        ("let Mine = Files | where Size > 1;\nMine | where ¦", &["FileName"], &["Account"]),
        ("let Mine = Files;\nM¦", &["Mine"], &["Files"]),
        ("Files | render ¦", &["timechart", "piechart"], &["sankey"]),
        ("Files | evaluate ¦", &["bag_unpack"], &["autocluster"]),
        ("Files | where FileName == 'a¦", &[], &["FileName", "Files"]),
        ("// about Fi¦", &[], &["Files"]),
        ("Files | count\n\nLogons | where ¦\n\nFiles", &["Account"], &["FileName"]),
        ("Logons | where tostring(¦", &["Account"], &["FileName"]),
        ("Files | nonsense | where ¦", &["FileName"], &["Account"]),
        ("union kind=¦", &["inner", "outer"], &["leftanti"]),
        ("Files | where Size > tolong(S¦", &["Size"], &["FileName"]),
        ("Logons | mv-expand Extra to typeof(¦", &["string", "long"], &["Account"]),
    ];
    for (marked, has, not) in cases {
        check(marked, has, not);
    }
}

#[test]
fn a_name_with_a_blank_is_written_in_brackets() {
    let found = complete("odd", 3, &Tables);
    assert_eq!(found.first().map(|c| c.insert.as_str()), Some("['odd name']"));
}

#[test]
fn only_operators_that_run_are_offered() {
    let refused = |operator: &str| {
        let findings = analyze(&format!("Files | {operator} "), &Tables, &Context::at(0)).diagnostics;
        findings.iter().any(|d| d.severity == Severity::Error && matches!(d.code, "KS176" | "GQ100"))
    };
    for operator in OPERATORS {
        assert!(!refused(operator), "{operator}");
    }
    // The question is one that can be answered with yes.
    for operator in ["fork (take 1)", "nonsense"] {
        assert!(refused(operator), "{operator}");
    }
}

#[test]
fn completion_has_an_answer_for_every_place_of_a_broken_text() {
    let long = "(a in (".repeat(3_000);
    let texts = [
        "let f = (x:string){ Files | where FileName == x }; f('é') | join (Logons | where ) on $left.",
        "union (Files, (Logons | ",
        long.as_str(),
        ")))}}|;|;[[",
        "é | é¦",
    ];
    for text in texts {
        for offset in (0..=text.len().min(200)).chain([text.len(), usize::MAX]) {
            for item in complete(text, offset, &Tables) {
                assert!(text.get(item.replace.start..item.replace.end).is_some(), "{text} at {offset}");
            }
        }
    }
}
