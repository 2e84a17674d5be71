//! `AdditionalFields`: a JSON object written straight into one buffer that is used again for every row.

use std::fmt::Write as _;

/// A JSON object being written.
#[derive(Debug, Default)]
pub struct Fields {
    text: String,
}

impl Fields {
    /// Starts over.
    pub fn clear(&mut self) -> &mut Self {
        self.text.clear();
        // One huge environment must not keep its room for ever.
        self.text.shrink_to(64 << 10);
        self
    }

    fn key(&mut self, key: &str) {
        self.text.push(if self.text.is_empty() { '{' } else { ',' });
        quote(&mut self.text, key);
        self.text.push(':');
    }

    /// A text; an empty one is left out.
    pub fn text(&mut self, key: &str, value: &str) -> &mut Self {
        if !value.is_empty() {
            self.key(key);
            quote(&mut self.text, value);
        }
        self
    }

    /// A number.
    pub fn number(&mut self, key: &str, value: impl Into<i128>) -> &mut Self {
        self.key(key);
        let _ = write!(self.text, "{}", value.into());
        self
    }

    /// True; false is left out.
    pub fn flag(&mut self, key: &str, value: bool) -> &mut Self {
        if value {
            self.key(key);
            self.text.push_str("true");
        }
        self
    }

    /// A list of texts; an empty one is left out.
    pub fn list<'a>(&mut self, key: &str, values: impl IntoIterator<Item = &'a str>) -> &mut Self {
        let mut any = false;
        for value in values {
            if any {
                self.text.push(',');
            } else {
                self.key(key);
                self.text.push('[');
                any = true;
            }
            quote(&mut self.text, value);
        }
        if any {
            self.text.push(']');
        }
        self
    }

    /// An object of texts; an empty one is left out.
    pub fn object<'a>(&mut self, key: &str, values: impl IntoIterator<Item = (&'a str, &'a str)>) -> &mut Self {
        let mut any = false;
        for (name, value) in values {
            if any {
                self.text.push(',');
            } else {
                self.key(key);
                self.text.push('{');
                any = true;
            }
            quote(&mut self.text, name);
            self.text.push(':');
            quote(&mut self.text, value);
        }
        if any {
            self.text.push('}');
        }
        self
    }

    /// The object; `None` if it has no fields.
    pub fn finish(&mut self) -> Option<&str> {
        if self.text.is_empty() {
            return None;
        }
        self.text.push('}');
        Some(&self.text)
    }
}

fn quote(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if (c as u32) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_are_json_and_empty_ones_are_left_out() {
        let mut fields = Fields::default();
        assert_eq!(fields.clear().text("A", "").flag("B", false).list("C", []).finish(), None);
        let text = fields
            .clear()
            .text("Cwd", "/a\"b")
            .number("Mode", 7_u32)
            .list("Truncated", ["x", "y"])
            .object("Environment", [("LD_PRELOAD", "a\tb")])
            .flag("Deleted", true)
            .finish()
            .unwrap()
            .to_owned();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let expected = serde_json::json!({"Cwd": "/a\"b", "Mode": 7, "Truncated": ["x", "y"],
            "Environment": {"LD_PRELOAD": "a\tb"}, "Deleted": true});
        assert_eq!(json, expected);
    }

    proptest! {
        #[test]
        fn any_text_reads_back(text in any::<String>()) {
            let mut fields = Fields::default();
            let json: serde_json::Value =
                serde_json::from_str(fields.text("a", &text).number("b", 1).finish().unwrap()).unwrap();
            prop_assert_eq!(json["a"].as_str().unwrap_or_default(), text);
        }
    }
}
