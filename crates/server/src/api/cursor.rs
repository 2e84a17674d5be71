//! Cursors of long lists: opaque to callers, checked when they come back.
//!
//! A cursor is base64url of `v1`, the list's name, the sort key and id of the last item, each followed by a zero byte.
//! It carries no secret and no permission: the list is filtered by the caller's rights on every page.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;

/// Longest cursor text: ids are at most 80 bytes, sort keys are numbers or short texts.
const CURSOR_BYTES_MAX: usize = 1_024;

/// Where a list goes on: after this item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Sort key of the last item, as text.
    pub key: String,
    /// Its id.
    pub id: String,
}

impl Cursor {
    /// The text for the caller. `list` names the list and its order, so that a cursor fits only where it came from.
    pub fn encode(&self, list: &str) -> String {
        BASE64.encode(format!("v1\0{list}\0{}\0{}\0", self.key, self.id))
    }

    /// Reads a caller's text; `None` if it is not a cursor of this list.
    pub fn decode(list: &str, text: &str) -> Option<Self> {
        if text.len() > CURSOR_BYTES_MAX {
            return None;
        }
        let bytes = BASE64.decode(text).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let mut parts = text.split('\0');
        let (version, name) = (parts.next()?, parts.next()?);
        let cursor = Cursor { key: parts.next()?.to_owned(), id: parts.next()?.to_owned() };
        let rest: Vec<&str> = parts.collect();
        (version == "v1" && name == list && rest == [""]).then_some(cursor)
    }

    /// The sort key as a number.
    pub fn number(&self) -> Option<i64> {
        self.key.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_fits_only_its_own_list() {
        let cursor = Cursor { key: "-17".into(), id: "al00".into() };
        let text = cursor.encode("alerts:-lastUpdate");
        assert_eq!(Cursor::decode("alerts:-lastUpdate", &text), Some(cursor));
        assert_eq!(Cursor::decode("alerts:severity", &text), None);
        for bad in ["", "x", "%%%", "djEA", &"A".repeat(5_000)] {
            assert_eq!(Cursor::decode("alerts:-lastUpdate", bad), None);
        }
    }
}
