//! Text patterns: Sigma's wildcards and escapes, case folding, and the plain matcher that every other matcher must
//! agree with.
//!
//! **Case.** Sigma compares without regard to case. Here each character is folded by itself, one to one: its lower
//! case where that is a single character (`İ` stays as it is), and the three characters whose lower case differs from
//! the letter they are a form of (`ſ`, `ς`, `µ`) become that letter. Pattern and value are folded alike, so the length
//! in characters never changes and `?` means one character of the value.

use smallvec::SmallVec;
use std::borrow::Cow;

/// One piece of a pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Token {
    /// These bytes (UTF-8, but for values that an encoding made).
    Literal(Vec<u8>),
    /// `?`: one character.
    One,
    /// `*`: any run of characters, also none.
    Many,
}

/// A value with its wildcards, as written until it is folded.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(crate) struct Pattern {
    pub tokens: Vec<Token>,
    pub cased: bool,
}

/// What a pattern is, for choosing a matcher. Literals are folded unless the pattern is cased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shape<'p> {
    Exact(&'p [u8]),
    Prefix(&'p [u8]),
    Suffix(&'p [u8]),
    Contains(&'p [u8]),
    /// Any value at all.
    Any,
    /// Everything else.
    Wild,
}

/// Folds one character.
pub(crate) fn fold_char(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_lowercase();
    }
    match c {
        'ſ' => 's',
        'ς' => 'σ',
        'µ' => 'μ',
        _ => {
            let mut lower = c.to_lowercase();
            match (lower.next(), lower.next()) {
                (Some(single), None) => single,
                _ => c,
            }
        }
    }
}

/// Folds text; borrows it if there is nothing to fold.
pub(crate) fn fold(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            Cow::Owned(text.to_ascii_lowercase())
        } else {
            Cow::Borrowed(text)
        }
    } else {
        Cow::Owned(text.chars().map(fold_char).collect())
    }
}

/// Folds into a buffer that is reused. ASCII, which is nearly everything, is done in place without looking at
/// characters.
pub(crate) fn fold_into(text: &str, out: &mut Vec<u8>) {
    out.clear();
    if text.is_ascii() {
        out.extend_from_slice(text.as_bytes());
        out.make_ascii_lowercase();
    } else {
        let mut buffer = [0; 4];
        for c in text.chars() {
            out.extend_from_slice(fold_char(c).encode_utf8(&mut buffer).as_bytes());
        }
    }
}

impl Pattern {
    /// Reads a value with Sigma's rules: `*` and `?` are wildcards; a backslash before one of these makes it plain, a
    /// backslash before a backslash makes one backslash, any other backslash is itself.
    pub fn parse(text: &str) -> Self {
        let mut pattern = Self::default();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '*' => pattern.push_many(),
                '?' => pattern.tokens.push(Token::One),
                '\\' => match chars.peek() {
                    Some(&next @ ('*' | '?' | '\\')) => {
                        chars.next();
                        pattern.push_char(next);
                    }
                    _ => pattern.push_char('\\'),
                },
                _ => pattern.push_char(c),
            }
        }
        pattern
    }

    pub fn literal(bytes: Vec<u8>) -> Self {
        let tokens = if bytes.is_empty() { Vec::new() } else { vec![Token::Literal(bytes)] };
        Self { tokens, cased: false }
    }

    pub fn push_char(&mut self, c: char) {
        let mut buffer = [0; 4];
        self.push_bytes(c.encode_utf8(&mut buffer).as_bytes());
    }

    pub fn push_bytes(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if let Some(Token::Literal(last)) = self.tokens.last_mut() {
            last.extend_from_slice(bytes);
        } else {
            self.tokens.push(Token::Literal(bytes.to_vec()));
        }
    }

    pub fn push_many(&mut self) {
        if self.tokens.last() != Some(&Token::Many) {
            self.tokens.push(Token::Many);
        }
    }

    /// `contains`, `startswith` and `endswith` are wildcards at the ends.
    pub fn open_start(&mut self) {
        if self.tokens.first() != Some(&Token::Many) {
            self.tokens.insert(0, Token::Many);
        }
    }

    pub fn open_end(&mut self) {
        self.push_many();
    }

    /// The bytes of a pattern without wildcards.
    pub fn plain_bytes(&self) -> Option<Vec<u8>> {
        match self.tokens.as_slice() {
            [] => Some(Vec::new()),
            [Token::Literal(bytes)] => Some(bytes.clone()),
            _ => None,
        }
    }

    pub fn byte_count(&self) -> usize {
        self.tokens.iter().map(|t| if let Token::Literal(bytes) = t { bytes.len() } else { 1 }).sum()
    }

    /// Folds the literals of a pattern that is not cased.
    pub fn folded(mut self) -> Self {
        if !self.cased {
            for token in &mut self.tokens {
                if let Token::Literal(bytes) = token {
                    *bytes = match std::str::from_utf8(bytes) {
                        Ok(text) => fold(text).into_owned().into_bytes(),
                        Err(_) => bytes.to_ascii_lowercase(),
                    };
                }
            }
        }
        self
    }

    pub fn shape(&self) -> Shape<'_> {
        match self.tokens.as_slice() {
            [] => Shape::Exact(b""),
            [Token::Literal(bytes)] => Shape::Exact(bytes),
            [Token::Literal(bytes), Token::Many] => Shape::Prefix(bytes),
            [Token::Many, Token::Literal(bytes)] => Shape::Suffix(bytes),
            [Token::Many, Token::Literal(bytes), Token::Many] => Shape::Contains(bytes),
            [Token::Many] => Shape::Any,
            _ => Shape::Wild,
        }
    }

    /// The longest literal: a value without it cannot match.
    pub fn longest_literal(&self) -> Option<&[u8]> {
        self.tokens
            .iter()
            .filter_map(|t| if let Token::Literal(bytes) = t { Some(bytes.as_slice()) } else { None })
            .max_by_key(|bytes| bytes.len())
    }

    /// Whether a value, folded already unless the pattern is cased, matches. Linear in the value for each run between
    /// two `*`: after a `*` only the latest one is ever taken up again.
    pub fn matches(&self, value: &[u8]) -> bool {
        let (mut at, mut token) = (0, 0);
        // Where to take up again: the token after the latest `*`, and the place in the value it was last tried at.
        let mut retry: Option<(usize, usize)> = None;
        loop {
            let step = match self.tokens.get(token) {
                None if at == value.len() => return true,
                None => None,
                Some(Token::Many) => {
                    token += 1;
                    if token == self.tokens.len() {
                        return true;
                    }
                    retry = Some((token, at));
                    continue;
                }
                Some(Token::One) => char_width(value, at).map(|width| at + width),
                Some(Token::Literal(bytes)) => value[at..].starts_with(bytes).then(|| at + bytes.len()),
            };
            match (step, retry) {
                (Some(next), _) => {
                    at = next;
                    token += 1;
                }
                (None, Some((again, from))) => {
                    let Some(width) = char_width(value, from) else { return false };
                    let mut from = from + width;
                    if let Some(Token::Literal(bytes)) = self.tokens.get(again) {
                        match memchr::memmem::find(&value[from..], bytes) {
                            Some(skip) => from += skip,
                            None => return false,
                        }
                    }
                    retry = Some((again, from));
                    at = from;
                    token = again;
                }
                (None, None) => return false,
            }
        }
    }

    /// The pattern as a rule's author would write it, for messages.
    pub fn describe(&self) -> String {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match self.shape() {
            Shape::Exact(bytes) => format!("equals '{}'", text(bytes)),
            Shape::Prefix(bytes) => format!("starts with '{}'", text(bytes)),
            Shape::Suffix(bytes) => format!("ends with '{}'", text(bytes)),
            Shape::Contains(bytes) => format!("contains '{}'", text(bytes)),
            Shape::Any => "has a value".to_owned(),
            Shape::Wild => {
                let parts: SmallVec<[Cow<'_, str>; 8]> = self
                    .tokens
                    .iter()
                    .map(|token| match token {
                        Token::Literal(bytes) => Cow::Owned(text(bytes)),
                        Token::One => Cow::Borrowed("?"),
                        Token::Many => Cow::Borrowed("*"),
                    })
                    .collect();
                format!("is like '{}'", parts.concat())
            }
        }
    }
}

/// Bytes of the character that starts here; one for bytes that are not UTF-8, none at the end.
fn char_width(value: &[u8], at: usize) -> Option<usize> {
    let width = match value.get(at)? {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    };
    Some(width.min(value.len() - at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, value: &str, expected: bool) {
        let folded = Pattern::parse(pattern).folded();
        assert_eq!(folded.matches(fold(value).as_bytes()), expected, "`{pattern}` on `{value}`: {:?}", folded.tokens);
    }

    #[test]
    fn wildcards_and_escapes_follow_the_specification() {
        check("prog?.exe", "progA.exe", true);
        check("prog?.exe", "prog.exe", false);
        check("prog?.exe", "progÄ.exe", true);
        check("antivirus_V*.exe", "ANTIVIRUS_v21.2.1.EXE", true);
        check(r"C:\Windows\cmd.exe", r"c:\windows\CMD.exe", true);
        check(r"C:\\Windows", r"c:\windows", true);
        check(r"a\*b", "a*b", true);
        check(r"a\*b", "axb", false);
        check(r"a\\*b", r"a\xxb", true);
        check(r"a\\*b", "axb", false);
        check(r"a\\\*b", r"a\*b", true);
        check(r"a\\\*b", r"a\xb", false);
        check(r"a\\\\b", r"a\\b", true);
        check(r"a\\\b", r"a\\b", true);
        check(r"a\", r"a\", true);
        check("", "", true);
        check("", "x", false);
        check("*", "", true);
        check("?*", "", false);
        check("*a*b*c", "xxaxxbxxbc", true);
        check("*a*b*c", "xxaxxbxxcb", false);
        check("*ab?ab", "ababxab", true);
        check("KELVIN ſet", "\u{212a}elvin SET", true);
    }

    #[test]
    fn folding_is_one_to_one() {
        assert_eq!(fold("İIΣς").chars().count(), 4);
        let mut out = Vec::new();
        fold_into("ÄbC", &mut out);
        assert_eq!(out, fold("ÄbC").as_bytes());
    }

    #[test]
    fn many_stars_stay_fast() {
        let pattern = Pattern::parse(&"*a".repeat(200)).folded();
        assert!(!pattern.matches("a".repeat(199).as_bytes()));
        assert!(!Pattern::parse(&format!("{}b", "*a?".repeat(100))).folded().matches("a".repeat(5_000).as_bytes()));
    }
}
