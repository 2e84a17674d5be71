//! The reference page of diagnostics is the table in the code.

use garrison_sigma::Code;
use std::fmt::Write;

#[test]
fn the_reference_page_is_the_table() {
    let mut page = String::from(
        "# Diagnostics of Sigma rules\n\n\
Generated from `crates/sigma/src/diagnostic.rs`; `UPDATE_DOCS=1 cargo test -p garrison-sigma --test it reference` writes it anew.\n\
An error means that the rule is not used; the other rules are.\n\
Numbers are never reused.\n\n\
| number | level | meaning | what to do |\n|---|---|---|---|\n",
    );
    for code in Code::ALL {
        writeln!(
            page,
            "| {code} | {} | {} | {} |",
            code.severity().as_str(),
            code.summary().replace('|', "\\|"),
            code.hint()
        )
        .unwrap();
    }
    let path = &format!("{}/../../docs/reference/sigma-diagnostics.md", std::env::var("CARGO_MANIFEST_DIR").unwrap());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), page, "run it with UPDATE_DOCS=1");
}

#[test]
fn numbers_are_unique_and_in_order() {
    let numbers: Vec<&str> = Code::ALL.iter().map(|c| c.as_str()).collect();
    let mut sorted = numbers.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(numbers, sorted);
}
