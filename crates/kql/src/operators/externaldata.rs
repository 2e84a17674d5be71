//! `externaldata`: rows of a file at an address. Whether an address may be read, and how much of it, is the host's.

use crate::bind::Binder;
use crate::bind::words::property_word;
use crate::lower::relation::{Field, Relation};
use crate::lower::{fold, source};
use crate::syntax::ast::{ColumnDecl, Expr, Property};
use crate::{Span, Type};
use datafusion::common::ScalarValue;
use serde_json::Value;

/// Rows that are taken of a file.
const ROWS_MAX: usize = 1_000_000;

/// Forms of files that we read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Fields between these characters, in quotes where need be.
    Fields(u8),
    /// One column: the line.
    Lines,
    /// JSON: an array of objects, or objects one after the other.
    Json,
}

pub(crate) fn bind(
    b: &mut Binder<'_>,
    columns: &[ColumnDecl],
    addresses: &[Expr],
    properties: &[Property],
    span: Span,
) -> Relation {
    let fields = b.declared(columns);
    let like = source::nothing(fields.clone());
    let unit = source::unit();
    let mut urls: Vec<(String, Span)> = vec![];
    for address in addresses {
        let bound = b.scalar(address, &unit);
        match fold::as_text(&bound.expr) {
            Some(url) => urls.push((url, address.span)),
            None => b.error("KS131", address.span, "an address must be a constant text"),
        }
    }
    let skip = property_word(properties, "ignoreFirstRecord").is_some_and(|w| matches!(w, "true" | "1"));
    let format = property_word(properties, "format").map(str::to_lowercase);
    let mut rows: Vec<Vec<ScalarValue>> = vec![];
    let mut known = true;
    for (url, place) in urls {
        let ending =
            url.split(['?', ';']).next().unwrap_or_default().rsplit('.').next().unwrap_or_default().to_lowercase();
        let word = format.clone().unwrap_or(ending);
        let form = match word.as_str() {
            "tsv" | "tsve" => Form::Fields(b'\t'),
            "psv" => Form::Fields(b'|'),
            "scsv" => Form::Fields(b';'),
            "txt" | "raw" => Form::Lines,
            "json" | "multijson" | "singlejson" => Form::Json,
            // Lists of one column are most often plain text with an ending of their own.
            "csv" => Form::Fields(b','),
            _ if format.is_none() => Form::Fields(b','),
            other => {
                b.refuse(place, format!("the format `{other}` of externaldata"));
                return like;
            }
        };
        let address = url.split(';').next().unwrap_or_default().to_owned();
        let Some(bytes) = b.ask_bytes(place, &address) else {
            known = false;
            continue;
        };
        let text = String::from_utf8_lossy(&bytes);
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        read(b, text, form, skip, &fields, &mut rows, place);
    }
    if !known {
        return like;
    }
    let planned = source::rows(fields, &rows);
    b.settle(span, &like, planned)
}

fn read(
    b: &mut Binder<'_>,
    text: &str,
    form: Form,
    skip: bool,
    fields: &[Field],
    rows: &mut Vec<Vec<ScalarValue>>,
    place: Span,
) {
    let convert = |b: &mut Binder<'_>, text: Option<String>, kind: Type| -> ScalarValue {
        let Some(text) = text else { return ScalarValue::Null };
        if kind == Type::Text {
            return ScalarValue::Utf8(Some(text));
        }
        let bound = crate::bind::Bound::new(fold::text(text), Type::Text);
        let bound = b.converted(bound, kind);
        fold::constant(&bound.expr).unwrap_or(ScalarValue::Null)
    };
    match form {
        Form::Lines => {
            for line in text.lines().skip(usize::from(skip)).take(ROWS_MAX) {
                let cell = fields.first().map(|f| convert(b, Some(line.to_owned()), f.kind));
                rows.push(cell.into_iter().collect());
            }
        }
        Form::Fields(delimiter) => {
            for record in records(text, delimiter).skip(usize::from(skip)).take(ROWS_MAX) {
                let record = match record {
                    Ok(record) => record,
                    Err(e) => {
                        b.error("GQ104", place, format!("the file has no records of fields: {e}"));
                        return;
                    }
                };
                let cell = |at: usize| record.get(at).map(str::to_owned);
                let row = fields.iter().enumerate().map(|(at, f)| convert(b, cell(at), f.kind)).collect();
                rows.push(row);
            }
        }
        Form::Json => {
            let mut objects = vec![];
            for value in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
                match value {
                    Ok(Value::Array(items)) => objects.extend(items),
                    Ok(other) => objects.push(other),
                    Err(e) => {
                        b.error("GQ104", place, format!("the file is no JSON: {e}"));
                        return;
                    }
                }
                if objects.len() > ROWS_MAX {
                    break;
                }
            }
            for object in objects.into_iter().take(ROWS_MAX) {
                let row = fields
                    .iter()
                    .map(|f| {
                        let cell = object.get(&f.name).filter(|v| !v.is_null());
                        match (cell, f.kind) {
                            (None, _) => ScalarValue::Null,
                            (Some(v), Type::Dynamic) => ScalarValue::Utf8(Some(v.to_string())),
                            (Some(Value::String(s)), kind) => convert(b, Some(s.clone()), kind),
                            (Some(v), kind) => convert(b, Some(v.to_string()), kind),
                        }
                    })
                    .collect();
                rows.push(row);
            }
        }
    }
}

/// Records of fields that may stand in double quotes, a quote within doubled; empty lines are none. A record may have
/// fewer or more fields than the others.
fn records(text: &str, delimiter: u8) -> impl Iterator<Item = Result<csv::StringRecord, csv::Error>> + '_ {
    let mut reader = csv::ReaderBuilder::new();
    reader.has_headers(false).flexible(true).delimiter(delimiter);
    reader.from_reader(text.as_bytes()).into_records()
}

#[cfg(test)]
mod tests {
    use super::records;

    #[test]
    fn quoted_fields_may_hold_the_delimiter_and_line_ends() {
        for (text, delimiter, expected) in [
            ("a,\"b,\"\"c\"\"\nd\"\r\n\ne,", b',', vec![vec!["a", "b,\"c\"\nd"], vec!["e", ""]]),
            ("a|b\nc", b'|', vec![vec!["a", "b"], vec!["c"]]),
            (
                "\"\"\n\"never closed, it goes on\nto the end",
                b',',
                vec![vec![""], vec!["never closed, it goes on\nto the end"]],
            ),
            ("", b',', vec![]),
        ] {
            let found: Vec<Vec<String>> =
                records(text, delimiter).map(|r| r.unwrap().iter().map(str::to_owned).collect()).collect();
            assert_eq!(found, expected, "{text}");
        }
    }
}
