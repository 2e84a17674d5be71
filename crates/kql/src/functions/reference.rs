//! The reference page of the functions, made from their lists.

use super::{Capability, Kind, capabilities};
use std::fmt::Write;

/// The page `docs/reference/kql-functions.md`.
#[must_use]
pub fn reference_page() -> String {
    let mut page = String::from(
        "# Functions of the hunting language\n\n\
         This page is made from the lists in `crates/kql/src/functions`; a test keeps it current.\n\
         Names are case-sensitive, and an old name means the same as its new one.\n\
         Parameters in brackets may be left out.\n",
    );
    let all = capabilities();
    for (kind, title) in [
        (Kind::Scalar, "Scalar functions"),
        (Kind::Aggregate, "Aggregate functions"),
        (Kind::Window, "Window functions"),
    ] {
        // Writing to a string cannot fail.
        let _ = write!(page, "\n## {title}\n\n| function | what it does | example |\n|---|---|---|\n");
        for c in all.iter().filter(|c| c.kind == kind) {
            row(&mut page, c);
        }
    }
    page
}

fn row(page: &mut String, c: &Capability) {
    let old = if c.aliases.is_empty() { String::new() } else { format!(" Also `{}`.", c.aliases.join("`, `")) };
    let cell = |text: &str| text.replace('|', "\\|");
    let _ = writeln!(page, "| `{}` | {}{} | `{}` |", cell(&c.signature), cell(c.doc), old, cell(c.example));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_reference_page_is_current() {
        let path = &format!("{}/../../docs/reference/kql-functions.md", std::env::var("CARGO_MANIFEST_DIR").unwrap());
        if std::env::var_os("GARRISON_BLESS").is_some() {
            std::fs::write(path, reference_page()).unwrap();
        }
        let page = std::fs::read_to_string(path).unwrap_or_default();
        assert!(page == reference_page(), "docs/reference/kql-functions.md is stale: run with GARRISON_BLESS=1");
    }

    #[test]
    fn every_function_is_listed_once_with_words_and_an_example() {
        let mut seen = BTreeSet::new();
        for c in capabilities() {
            for name in c.aliases.iter().chain([&c.name]) {
                assert!(seen.insert((*name, c.kind)), "`{name}` is listed twice");
            }
            assert!(c.doc.ends_with('.') && c.doc.len() > 10, "`{}` has no sentence", c.name);
            let called = c.aliases.iter().chain([&c.name]).any(|n| c.example.contains(n));
            assert!(called && c.example.contains('('), "`{}` has no example", c.name);
            assert!(super::super::refused(c.name).is_none(), "`{}` is built and refused", c.name);
        }
    }
}
