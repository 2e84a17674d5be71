//! The encodings of values: UTF-16, Base64 with and without offset, and the dashes of Windows.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

/// What `windash` makes interchangeable.
pub(crate) const DASHES: [char; 5] = ['-', '/', '–', '—', '―'];

pub(crate) fn utf16le(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

pub(crate) fn utf16be(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

/// Little-endian with the byte order mark `FF FE`.
pub(crate) fn utf16_with_mark(text: &str) -> Vec<u8> {
    let mut bytes = vec![0xff, 0xfe];
    bytes.extend(utf16le(text));
    bytes
}

pub(crate) fn base64(bytes: &[u8]) -> Vec<u8> {
    STANDARD.encode(bytes).into_bytes()
}

/// The three forms that the bytes take inside a longer Base64 text, by their offset in a group of three; the characters
/// at either end that also depend on the neighbours are cut.
pub(crate) fn base64_offsets(bytes: &[u8]) -> Vec<Vec<u8>> {
    const CUT_START: [usize; 3] = [0, 2, 3];
    (0..3)
        .map(|offset| {
            let mut shifted = vec![b' '; offset];
            shifted.extend_from_slice(bytes);
            let encoded = STANDARD_NO_PAD.encode(&shifted).into_bytes();
            // A last group that is not full has a last character that depends on what follows.
            let end = if shifted.len().is_multiple_of(3) { encoded.len() } else { encoded.len() - 1 };
            encoded.get(CUT_START[offset]..end).unwrap_or_default().to_vec()
        })
        .collect()
}

/// All forms of a text with its dashes exchanged; none if there are more dashes than the limit.
pub(crate) fn windash(text: &str, dashes_max: usize) -> Option<Vec<String>> {
    let count = text.chars().filter(|c| DASHES.contains(c)).count();
    if count > dashes_max {
        return None;
    }
    let mut forms = vec![String::new()];
    for c in text.chars() {
        if DASHES.contains(&c) {
            forms = forms.iter().flat_map(|form| DASHES.map(|dash| format!("{form}{dash}"))).collect();
        } else {
            forms.iter_mut().for_each(|form| form.push(c));
        }
    }
    Some(forms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_found_at_any_place() {
        for before in 0..7 {
            for after in 0..4 {
                let mut bytes = vec![b'x'; before];
                bytes.extend_from_slice(b"/bin/bash -i");
                bytes.extend(vec![b'y'; after]);
                let whole = String::from_utf8(base64(&bytes)).unwrap();
                let found =
                    base64_offsets(b"/bin/bash -i").iter().any(|f| whole.contains(std::str::from_utf8(f).unwrap()));
                assert!(found, "{before} {after} {whole}");
            }
        }
    }

    #[test]
    fn dashes_multiply_up_to_a_bound() {
        assert_eq!(windash("-a /b", 4).unwrap().len(), 25);
        assert_eq!(windash("-----", 4), None);
        assert_eq!(windash("ab", 4).unwrap(), ["ab"]);
    }

    #[test]
    fn wide_text() {
        assert_eq!(utf16le("ab"), b"a\0b\0");
        assert_eq!(utf16be("ab"), b"\0a\0b");
        assert_eq!(utf16_with_mark("a"), b"\xff\xfea\0");
    }
}
