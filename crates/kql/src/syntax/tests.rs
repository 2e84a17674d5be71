//! What must hold for every text, whoever wrote it.

use super::{format, lex, parse, queries, query_at};
use crate::{Severity, Span};
use proptest::prelude::*;
use std::path::PathBuf;

/// Texts that people wrote, where the folder with the data stands beside the checkout.
fn corpus() -> Vec<String> {
    let root = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default();
    let shared = root.join("../../../shared");
    let files = ["data/kql-queries.json", "data/kql-doc-examples.json", "reference/kql-cases.json"];
    let mut texts = Vec::new();
    for file in files {
        let Ok(json) = std::fs::read(shared.join(file)) else { continue };
        let entries: Vec<serde_json::Value> = serde_json::from_slice(&json).expect("the data is JSON");
        // A query that the vendor's own analyser cannot read is no measure.
        let readable = |e: &&serde_json::Value| {
            let codes = e["errors"].as_array().into_iter().flatten().filter_map(|d| d["code"].as_str());
            !codes.into_iter().any(|c| ["KS001", "KS002", "KS005", "KS006", "KS176", "KS198"].contains(&c))
        };
        texts.extend(entries.iter().filter(readable).filter_map(|e| e["query"].as_str().map(str::to_owned)));
    }
    texts
}

/// Everything that must hold for a text, broken or not.
fn check(text: &str) {
    let inside = |span: Span| {
        assert!(span.start <= span.end && text.get(span.start..span.end).is_some(), "{span:?} of {text:?}");
    };
    let parsed = parse(text);
    let mut end = 0;
    for token in &parsed.tokens {
        assert_eq!(token.span.start, end, "a gap before {token:?} in {text:?}");
        inside(token.span);
        end = token.span.end;
    }
    assert_eq!(end, text.len(), "tokens end early: {text:?}");
    inside(parsed.tree.span);
    parsed.tree.statements.iter().for_each(|s| inside(s.span));
    for finding in &parsed.diagnostics {
        inside(finding.span);
        let _ = finding.place(text);
    }
    let once = format(text);
    assert_eq!(format(&once), once, "laid out twice: {text:?}");
    let solid = |text: &str| -> Vec<String> {
        let words = lex(text).into_iter().filter(|t| !t.is_trivia());
        words.map(|t| text[t.span.start..t.span.end].to_owned()).collect()
    };
    assert_eq!(solid(&once), solid(text), "layout changed the tokens of {text:?}");
    queries(text).into_iter().for_each(inside);
    query_at(text, text.len() / 2).into_iter().for_each(inside);
}

#[test]
fn queries_that_people_wrote_are_read_and_laid_out_without_a_change_of_meaning() {
    let texts = corpus();
    if texts.is_empty() {
        println!("skipped because ../shared/data is absent");
    }
    for text in texts {
        check(&text);
        let errors = |text: &str| {
            let found = parse(text).diagnostics.into_iter().filter(|d| d.severity == Severity::Error);
            found.map(|d| (d.code, d.message)).collect::<Vec<_>>()
        };
        // Two examples of the documentation are cut short there; they are as broken after layout as before.
        assert_eq!(errors(&format(&text)), errors(&text), "{text}");
    }
}

#[test]
fn broken_queries_are_rejected_with_number_and_place() {
    let cases = include_str!("tests/broken.txt").lines().filter(|line| !line.starts_with('#'));
    for case in cases {
        let mut parts = case.splitn(3, ' ');
        let (code, start, text) = (parts.next(), parts.next(), parts.next().unwrap_or_default());
        check(text);
        let first = parse(text).diagnostics.into_iter().next();
        let found = first.map(|d| format!("{} {}", d.code, d.span.start)).unwrap_or_default();
        assert_eq!(found, format!("{} {}", code.unwrap_or_default(), start.unwrap_or_default()), "{text}");
    }
}

#[test]
fn nesting_and_length_without_end_cost_no_stack() {
    let many = 5_000;
    let chains = [
        ("print 1", "+1", ""),
        ("print a", ".a", ""),
        ("print a", "[0]", ""),
        ("print true", " or true", ""),
        ("print true", " and a == 1", ""),
        ("print a", " has 'b'", ""),
        ("print ", "(", ""),
        ("print ", "f(", "1"),
        ("print ", "-", "1"),
        ("print dynamic(", "[", ""),
        ("print dynamic(", "{'a':", ""),
        ("print ", "a[", ""),
        ("T", " | take 1", ""),
        ("T", " | where (T", ""),
        ("T ", "| join (T ", ""),
        ("T ", "| mv-apply a on (take 1 ", ""),
        ("", "let f = () { ", ""),
        ("", "let a = 1;", ""),
        ("print ", "not(", ""),
        ("print ", "1,", "1"),
        ("", "{", ""),
        ("", "[", ""),
        ("", ")", ""),
        ("", ";", ""),
        ("", "|", ""),
        ("", "'", ""),
        ("print '", "\\", ""),
        ("", "// a\n", ""),
        ("T | graph-match ", "(a)-[e]->", "(b)"),
        ("print a ", "between (1 .. ", ""),
        ("print a ", "in (", ""),
        ("print ", "(a) {", ""),
    ];
    for (before, again, after) in chains {
        check(&format!("{before}{}{after}", again.repeat(many)));
    }
}

/// Words that matter to the parser, in no order.
fn words() -> impl Strategy<Value = String> {
    const WORDS: &[&str] = &[
        "T",
        "|",
        "where",
        "a",
        "==",
        "'x'",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ";",
        "let",
        "=",
        "summarize",
        "by",
        "count()",
        "join",
        "kind",
        "on",
        "$left",
        ".",
        "..",
        "-",
        "->",
        "<-",
        "*",
        "1",
        "1d",
        "0x1f",
        "1.5",
        "project",
        "-away",
        "in",
        "!in~",
        "has_any",
        "between",
        "dynamic",
        "datatable",
        "datetime",
        "mv-expand",
        "to",
        "typeof",
        "parse",
        "with",
        "make-series",
        "step",
        "from",
        "scan",
        "declare",
        "step s:",
        "=>",
        "graph-match",
        "make-graph",
        "-->",
        "union",
        "print",
        "range",
        "render",
        "timechart",
        "\"",
        "```",
        "@'",
        "h'",
        "// c\n",
        "\n\n",
        " ",
        ":",
        "~",
        "!",
        "é",
        "search",
        "find",
        "evaluate",
        "as",
        "top-nested",
        "of",
        "partition",
        "mv-apply",
        "externaldata",
        "set",
        "not",
        "and",
        "or",
    ];
    let word = proptest::sample::select(WORDS);
    proptest::collection::vec((word, proptest::bool::weighted(0.7)), 0..60).prop_map(|words| {
        words.into_iter().fold(String::new(), |text, (word, space)| text + word + if space { " " } else { "" })
    })
}

/// A query that somebody wrote, with pieces cut out, doubled, moved, or with strange characters put in.
fn mutated(texts: Vec<String>) -> impl Strategy<Value = String> {
    let cut = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0_u8..4, any::<char>());
    (proptest::sample::select(texts), proptest::collection::vec(cut, 1..6)).prop_map(|(text, cuts)| {
        let mut chars: Vec<char> = text.chars().collect();
        for (from, length, what, strange) in cuts {
            if chars.is_empty() {
                break;
            }
            let from = from.index(chars.len());
            let to = (from + length.index(40)).min(chars.len());
            let piece: Vec<char> = chars.get(from..to).unwrap_or_default().to_vec();
            match what {
                0 => drop(chars.drain(from..to)),
                1 => drop(chars.splice(from..from, piece)),
                2 => chars.insert(from, strange),
                _ => chars.truncate(from),
            }
        }
        chars.into_iter().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_has_tokens_a_tree_and_a_layout(text in any::<String>()) {
        check(&text);
    }

    #[test]
    fn any_order_of_words_has_tokens_a_tree_and_a_layout(text in words()) {
        check(&text);
    }

    #[test]
    fn broken_queries_of_people_have_tokens_a_tree_and_a_layout(text in mutated({
        let mut texts = corpus();
        texts.push("let x = 5;\nT\n| where a == x // why\n| summarize count() by b".to_owned());
        texts
    })) {
        check(&text);
    }
}
