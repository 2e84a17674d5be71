//! Alert titles with `{{Column}}` in them.

use serde_json::{Map, Value};

/// Placeholders in one title: more make no title but a row.
pub const PLACEHOLDERS_MAX: usize = 3;
/// Characters of a title as written.
pub const TITLE_CHARS_MAX: usize = 256;
/// Characters that a value brings into a title; longer ones are cut with `…`.
pub const VALUE_CHARS_MAX: usize = 64;

/// What is wrong with a title.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TitleError {
    /// Nothing there.
    #[error("the alert title is empty")]
    Empty,
    /// Too long.
    #[error("the alert title has more than {TITLE_CHARS_MAX} characters")]
    TooLong,
    /// `{{` without `}}`.
    #[error("a `{{{{` in the alert title has no `}}}}`")]
    Open,
    /// Too many.
    #[error("the alert title has more than {PLACEHOLDERS_MAX} placeholders")]
    TooMany,
}

/// The parts of a title.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part<'t> {
    Text(&'t str),
    Column(&'t str),
}

fn parts(title: &str) -> Result<Vec<Part<'_>>, TitleError> {
    if title.trim().is_empty() {
        return Err(TitleError::Empty);
    }
    if title.chars().count() > TITLE_CHARS_MAX {
        return Err(TitleError::TooLong);
    }
    let mut found = Vec::new();
    let mut rest = title;
    while let Some((before, after)) = rest.split_once("{{") {
        let (column, after) = after.split_once("}}").ok_or(TitleError::Open)?;
        if !before.is_empty() {
            found.push(Part::Text(before));
        }
        found.push(Part::Column(column.trim()));
        rest = after;
    }
    if !rest.is_empty() {
        found.push(Part::Text(rest));
    }
    if found.iter().filter(|p| matches!(p, Part::Column(_))).count() > PLACEHOLDERS_MAX {
        return Err(TitleError::TooMany);
    }
    Ok(found)
}

/// The columns that a title names.
pub fn columns(title: &str) -> Result<Vec<&str>, TitleError> {
    let parts = parts(title)?;
    Ok(parts.into_iter().filter_map(|p| if let Part::Column(name) = p { Some(name) } else { None }).collect())
}

/// A value as text on one line, without control characters, cut to `chars_max`.
pub fn shown(value: &Value, chars_max: usize) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut cut: String = clean.clone().take(chars_max).collect();
    if clean.count() > chars_max {
        cut.pop();
        cut.push('…');
    }
    cut
}

/// A title for a row. Titles were checked when the rule was saved; one that cannot be read is shown as it is.
pub fn fill(title: &str, row: &Map<String, Value>) -> String {
    let Ok(parts) = parts(title) else { return title.to_owned() };
    let mut out = String::new();
    for part in parts {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Column(name) => {
                let value = row.get(name).map(|v| shown(v, VALUE_CHARS_MAX)).filter(|v| !v.is_empty());
                out.push_str(value.as_deref().unwrap_or("-"));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn placeholders_are_filled_from_the_row_and_bounded() {
        let Value::Object(row) =
            json!({"DeviceName": "web-1", "N": 7, "Long": "x".repeat(100), "Bad": "a\u{1b}[31m\nb", "Empty": ""})
        else {
            unreachable!()
        };
        for (title, expected) in [
            ("Shell on {{DeviceName}}", "Shell on web-1".to_owned()),
            ("{{ N }} times", "7 times".to_owned()),
            ("{{Missing}} and {{Empty}}", "- and -".to_owned()),
            ("{{Bad}}", "a [31m b".to_owned()),
            ("{{Long}}", format!("{}…", "x".repeat(63))),
            ("plain } {", "plain } {".to_owned()),
        ] {
            assert_eq!(fill(title, &row), expected, "{title}");
        }
    }

    #[test]
    fn titles_that_cannot_be_used_are_refused() {
        for (title, error) in
            [("  ", TitleError::Empty), ("a {{b", TitleError::Open), ("{{a}}{{b}}{{c}}{{d}}", TitleError::TooMany)]
        {
            assert_eq!(columns(title), Err(error), "{title}");
        }
        assert_eq!(columns(&"x".repeat(257)), Err(TitleError::TooLong));
        assert_eq!(columns("a {{b}} {{c}}"), Ok(vec!["b", "c"]));
    }
}
