//! Text to tokens.

use super::token::{Token, TokenKind};
use crate::Span;

/// Signs of two and three characters, longest first; every other sign is one character.
const SIGNS: &[&str] = &["==", "!=", "<>", "<=", ">=", "=~", "!~", "=>", ".."];

/// Words that a leading `!` belongs to.
const NEGATABLE: &[&str] = &[
    "in",
    "has",
    "has_cs",
    "hasprefix",
    "hasprefix_cs",
    "hassuffix",
    "hassuffix_cs",
    "contains",
    "contains_cs",
    "startswith",
    "startswith_cs",
    "endswith",
    "endswith_cs",
    "between",
];

/// Microseconds of a unit of time; a tick of 100 ns is rounded down to none, as times are kept to the microsecond.
pub(super) fn unit_microseconds(unit: &str) -> Option<f64> {
    Some(match unit {
        "d" | "day" | "days" => 86_400e6,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3_600e6,
        "m" | "min" | "minute" | "minutes" => 60e6,
        "s" | "sec" | "second" | "seconds" => 1e6,
        "ms" | "milli" | "millis" | "millisecond" | "milliseconds" => 1e3,
        "micro" | "micros" | "microsecond" | "microseconds" => 1.0,
        "nano" | "nanos" | "nanosecond" | "nanoseconds" => 1e-3,
        "tick" | "ticks" => 0.1,
        _ => return None,
    })
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// White space, and the marks without width that come along when a query is copied from a page.
fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{feff}' | '\u{200b}')
}

/// All tokens of a text, in order, without a gap.
#[must_use]
pub fn lex(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let (kind, length) = one(rest);
        // Every arm below takes at least one character, so the loop ends.
        let end = at + length.max(rest.chars().next().map_or(1, char::len_utf8));
        tokens.push(Token { kind, span: Span::new(at, end) });
        at = end;
    }
    tokens
}

/// Kind and length of the token that a text begins with.
fn one(rest: &str) -> (TokenKind, usize) {
    let first = rest.chars().next().unwrap_or_default();
    let run = |test: fn(char) -> bool| rest.find(|c| !test(c)).unwrap_or(rest.len());
    if is_space(first) {
        return (TokenKind::Space, run(is_space));
    }
    if rest.starts_with("//") {
        return (TokenKind::Comment, rest.find('\n').unwrap_or(rest.len()));
    }
    if let Some((closed, length)) = quoted(rest) {
        return (if closed { TokenKind::Text } else { TokenKind::OpenText }, length);
    }
    if first.is_ascii_digit() {
        return number(rest);
    }
    if is_word(first) {
        let length = run(is_word);
        let word = rest.get(..length).unwrap_or_default();
        let tilde = word == "in" && rest.get(length..).is_some_and(|after| after.starts_with('~'));
        return (TokenKind::Word, length + usize::from(tilde));
    }
    if first == '!' {
        let after = rest.get(1..).unwrap_or_default();
        let length = after.find(|c| !is_word(c)).unwrap_or(after.len());
        let word = after.get(..length).unwrap_or_default();
        if NEGATABLE.contains(&word) {
            let tilde = word == "in" && after.get(length..).is_some_and(|more| more.starts_with('~'));
            return (TokenKind::Word, 1 + length + usize::from(tilde));
        }
    }
    if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
        return (TokenKind::Sign, sign.len());
    }
    if "|;,:.()[]{}=<>+-*/%~!?@&#".contains(first) {
        return (TokenKind::Sign, 1);
    }
    (TokenKind::Bad, first.len_utf8())
}

/// Length of a text in quotes with its prefix, and whether it ends.
fn quoted(rest: &str) -> Option<(bool, usize)> {
    let bytes = rest.as_bytes();
    let mut at = usize::from(matches!(bytes.first(), Some(b'h' | b'H')));
    let verbatim = bytes.get(at) == Some(&b'@');
    at += usize::from(verbatim);
    let body = rest.get(at..)?;
    for fence in ["```", "~~~"] {
        if let Some(inside) = body.strip_prefix(fence).filter(|_| !verbatim) {
            return Some(match inside.find(fence) {
                Some(end) => (true, at + 3 + end + 3),
                None => (false, rest.len()),
            });
        }
    }
    let quote = *bytes.get(at).filter(|b| matches!(b, b'\'' | b'"'))?;
    let mut i = at + 1;
    while let Some(&byte) = bytes.get(i) {
        if byte == quote {
            if verbatim && bytes.get(i + 1) == Some(&quote) {
                i += 2;
                continue;
            }
            return Some((true, i + 1));
        }
        if byte == b'\n' && !verbatim {
            return Some((false, i));
        }
        i += if byte == b'\\' && !verbatim { 2 } else { 1 };
    }
    Some((false, rest.len()))
}

fn number(rest: &str) -> (TokenKind, usize) {
    let bytes = rest.as_bytes();
    let digits = |from: usize| bytes.iter().skip(from).take_while(|b| b.is_ascii_digit()).count();
    if rest.starts_with("0x") || rest.starts_with("0X") {
        let length = 2 + bytes.iter().skip(2).take_while(|b| b.is_ascii_hexdigit()).count();
        if length > 2 {
            return (TokenKind::Integer, length);
        }
    }
    let mut end = digits(0);
    let mut kind = TokenKind::Integer;
    if bytes.get(end) == Some(&b'.') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit) {
        end += 1 + digits(end + 1);
        kind = TokenKind::Real;
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = digits(end + 1 + sign);
        if exponent > 0 {
            return (TokenKind::Real, end + 1 + sign + exponent);
        }
    }
    let word = rest.get(end..).unwrap_or_default();
    let word = word.get(..word.find(|c| !is_word(c)).unwrap_or(word.len())).unwrap_or_default();
    if word.is_empty() {
        return (kind, end);
    }
    if unit_microseconds(word).is_some() {
        return (TokenKind::Timespan, end + word.len());
    }
    if kind == TokenKind::Integer { (TokenKind::Word, end + word.len()) } else { (kind, end) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_cover_every_byte_and_have_their_kinds() {
        let cases: &[(&str, &[TokenKind])] = &[
            ("a !in~ b", &[TokenKind::Word, TokenKind::Word, TokenKind::Word]),
            ("1..3", &[TokenKind::Integer, TokenKind::Sign, TokenKind::Integer]),
            ("1.5h 2e3 0x1F 7zip", &[TokenKind::Timespan, TokenKind::Real, TokenKind::Integer, TokenKind::Word]),
            ("@'a''b' h\"x\\\"y\" ```a\n'b```", &[TokenKind::Text, TokenKind::Text, TokenKind::Text]),
            ("'open\nx", &[TokenKind::OpenText, TokenKind::Word]),
            ("x!=y // c", &[TokenKind::Word, TokenKind::Sign, TokenKind::Word]),
            ("é §", &[TokenKind::Word, TokenKind::Bad]),
        ];
        for (text, kinds) in cases {
            let tokens = lex(text);
            let joined: String = tokens.iter().map(|t| &text[t.span.start..t.span.end]).collect();
            assert_eq!(&joined, text);
            let found: Vec<_> = tokens.iter().filter(|t| !t.is_trivia()).map(|t| t.kind).collect();
            assert_eq!(&found, kinds, "{text}");
        }
    }
}
