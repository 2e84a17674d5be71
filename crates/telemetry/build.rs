//! Turns the declarative table files in `schema/tables` into Rust: the list of tables, row structs and builders.

use serde::Deserialize;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    name: String,
    doc: String,
    /// The feature that will write the table, where it is not built yet: the table is then always empty.
    #[serde(default)]
    feature: Option<String>,
    retention_days: u32,
    columns: Vec<Column>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Column {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    dictionary: bool,
    doc: String,
}

fn main() {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    let folder = root.join("../../schema/tables");
    println!("cargo:rerun-if-changed={}", folder.display());
    let mut tables = read_tables(&folder);
    tables.sort_by(|a, b| a.name.cmp(&b.name));
    let out = PathBuf::from(std::env::var("OUT_DIR").expect("cargo sets OUT_DIR")).join("tables.rs");
    std::fs::write(out, render(&tables)).expect("cannot write the generated file");
}

fn read_tables(folder: &Path) -> Vec<Table> {
    let mut tables = Vec::new();
    for entry in std::fs::read_dir(folder).expect("schema/tables is missing") {
        let path = entry.expect("cannot list schema/tables").path();
        if path.extension().is_some_and(|e| e == "toml") {
            println!("cargo:rerun-if-changed={}", path.display());
            let text = std::fs::read_to_string(&path).expect("cannot read a table file");
            let table: Table = toml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            assert_eq!(path.file_stem().and_then(|s| s.to_str()), Some(table.name.as_str()), "file name is table name");
            tables.push(table);
        }
    }
    tables
}

/// `InitiatingProcessSHA256` → `initiating_process_sha256`.
fn snake(name: &str) -> String {
    let chars: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (i, c) in chars.iter().enumerate() {
        let before = i.checked_sub(1).map(|j| chars[j]);
        let after = chars.get(i + 1);
        let starts_word = c.is_ascii_uppercase()
            && before.is_some_and(|b| {
                b.is_ascii_lowercase()
                    || (b.is_ascii_uppercase() && after.is_some_and(char::is_ascii_lowercase))
                    || b.is_ascii_digit()
            });
        if starts_word {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

fn render(tables: &[Table]) -> String {
    let mut out = String::new();
    let w = &mut out;
    let _ = writeln!(w, "/// All tables, in order of their names.\npub(crate) static TABLES: &[Table] = &[");
    for t in tables {
        let _ = writeln!(
            w,
            "Table {{ name: {:?}, doc: {:?}, feature: {:?}, retention_days: {}, columns: &[",
            t.name, t.doc, t.feature, t.retention_days
        );
        for c in &t.columns {
            let kind = match c.kind.as_str() {
                "text" => "Text",
                "long" => "Long",
                "int" => "Int",
                "real" => "Real",
                "bool" => "Bool",
                "datetime" => "Datetime",
                "dynamic" => "Dynamic",
                other => panic!("{}.{}: unknown type {other}", t.name, c.name),
            };
            let _ = writeln!(
                w,
                "Column {{ name: {:?}, kind: ColumnType::{kind}, dictionary: {}, doc: {:?} }},",
                c.name, c.dictionary, c.doc
            );
        }
        let _ = writeln!(w, "] }},");
    }
    let _ = writeln!(w, "];");
    // Nothing writes the others, so nothing needs their rows and builders.
    let written = || tables.iter().filter(|t| t.feature.is_none());
    let _ = writeln!(w, "/// One borrowed row of each table; a field that is `None` is absent.\npub mod rows {{");
    for t in written() {
        let borrows = t.columns.iter().any(|c| matches!(c.kind.as_str(), "text" | "dynamic"));
        let life = if borrows { "<'a>" } else { "" };
        let _ = writeln!(
            w,
            "/// A row of `{}`: {}\n#[derive(Debug, Clone, Default, PartialEq)]\npub struct {}{life} {{",
            t.name, t.doc, t.name
        );
        for c in &t.columns {
            let ty = match c.kind.as_str() {
                "text" | "dynamic" => "&'a str",
                "long" => "i64",
                "int" => "i32",
                "real" => "f64",
                "bool" => "bool",
                _ => "garrison_model::Micros",
            };
            let _ = writeln!(w, "/// {}\npub {}: Option<{ty}>,", c.doc.replace('[', "\\["), snake(&c.name));
        }
        let _ = writeln!(w, "}}");
    }
    let _ = writeln!(
        w,
        "}}\n/// One typed builder a table.\npub mod builders {{ use super::rows; use crate::column::{{ColumnBuilder, TableBuilder}};"
    );
    for t in written() {
        let _ = writeln!(
            w,
            "/// Builds batches of `{0}`.\n#[derive(Debug)]\npub struct {0}Builder(TableBuilder);\nimpl Default for {0}Builder {{ fn default() -> Self {{ Self::new() }} }}\nimpl {0}Builder {{\n\
             /// An empty builder.\npub fn new() -> Self {{ Self(TableBuilder::new(crate::table({0:?}).expect(\"generated with its table\"))) }}\n\
             /// Rows so far.\npub fn len(&self) -> usize {{ self.0.len() }}\n/// Whether there are none.\npub fn is_empty(&self) -> bool {{ self.0.len() == 0 }}\n\
             /// Bytes of text and numbers appended so far, about.\npub fn bytes(&self) -> usize {{ self.0.bytes() }}\n\
             /// The rows so far as a batch, columns without any value left out; the builder is empty afterwards.\npub fn finish(&mut self) -> arrow::array::RecordBatch {{ self.0.finish() }}\n\
             /// Adds a row.\npub fn append(&mut self, row: &rows::{0}) {{ let columns = self.0.columns();",
            t.name
        );
        for (i, c) in t.columns.iter().enumerate() {
            let f = snake(&c.name);
            let call = match c.kind.as_str() {
                "text" | "dynamic" => format!("text(row.{f})"),
                "long" => format!("long(row.{f})"),
                "int" => format!("int(row.{f})"),
                "real" => format!("real(row.{f})"),
                "bool" => format!("bool(row.{f})"),
                _ => format!("datetime(row.{f})"),
            };
            let _ = writeln!(
                w,
                "ColumnBuilder::{}",
                call.replace('(', &format!("(&mut columns[{i}], ")).as_str().to_owned() + ";"
            );
        }
        let _ = writeln!(w, "self.0.row_done(); }} }}");
    }
    let _ = writeln!(w, "}}");
    out
}
