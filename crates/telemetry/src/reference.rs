//! The reference page of the hunting tables, generated from the declarative files.

use std::fmt::Write as _;

/// The page as Markdown. `docs/reference/tables.md` must equal it; a test holds that.
pub fn page() -> String {
    let mut out = String::from(
        "# Hunting tables\n\nGenerated from `schema/tables` by `cargo xtask docs`; do not edit.\n\
         A column that a batch does not carry reads as null.\n\
         Every stored row also has the system columns `BootId` and `IngestTime`.\n",
    );
    for t in crate::tables() {
        let _ = write!(out, "\n## {}\n\n{}\n", t.name, t.doc);
        let _ = match t.feature {
            Some(feature) => writeln!(out, "**Empty for now:** {feature} is not built yet."),
            None => writeln!(out, "Kept {} days unless configured otherwise.", t.retention_days),
        };
        out.push_str("\n| column | type | what |\n|---|---|---|\n");
        for c in t.columns {
            let _ = writeln!(out, "| {} | {} | {} |", c.name, c.kind.as_str(), c.doc.replace('|', "\\|"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_reference_page_is_current() {
        let path = &format!("{}/../../docs/reference/tables.md", std::env::var("CARGO_MANIFEST_DIR").unwrap());
        if std::env::var_os("GARRISON_BLESS").is_some() {
            std::fs::write(path, super::page()).unwrap();
        }
        let page = std::fs::read_to_string(path).unwrap_or_default();
        assert!(page == super::page(), "docs/reference/tables.md is stale: run `cargo xtask docs`");
    }
}
