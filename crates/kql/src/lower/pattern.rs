//! Regular expressions as the language has them, in the form that our engine reads: what differs is written out.

/// The same expression for our engine. `\0` and its octal kin are characters, `\Q…\E` is text, a brace that begins no
/// repetition is a brace, and within a class there is no other class and no operation on classes.
pub(crate) fn ours(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern;
    let mut class = false;
    while let Some(c) = rest.chars().next() {
        let after = rest.get(c.len_utf8()..).unwrap_or_default();
        match c {
            '\\' => rest = escaped(after, class, &mut out),
            '[' if !class => {
                class = true;
                out.push('[');
                rest = after;
                // A bracket that comes first closes nothing.
                if let Some(negated) = rest.strip_prefix('^') {
                    out.push('^');
                    rest = negated;
                }
                if let Some(first) = rest.strip_prefix(']') {
                    out.push_str("\\]");
                    rest = first;
                }
            }
            '[' if !after.starts_with(':') => {
                out.push_str("\\[");
                rest = after;
            }
            '[' => {
                // A named class, up to its own end.
                let end = rest.find(":]").map_or(rest.len(), |at| at + 2);
                out.push_str(rest.get(..end).unwrap_or_default());
                rest = rest.get(end..).unwrap_or_default();
            }
            '&' | '~' if class => {
                out.push('\\');
                out.push(c);
                rest = after;
            }
            ']' => {
                class = false;
                out.push(']');
                rest = after;
            }
            '{' if !class && !repeats(after) => {
                out.push_str("\\{");
                rest = after;
            }
            _ => {
                out.push(c);
                rest = after;
            }
        }
    }
    out
}

/// What stands after a backslash; what is left after it.
fn escaped<'p>(after: &'p str, class: bool, out: &mut String) -> &'p str {
    let Some(c) = after.chars().next() else {
        out.push('\\');
        return after;
    };
    let rest = after.get(c.len_utf8()..).unwrap_or_default();
    match c {
        '0' => {
            let digits = rest.bytes().take(2).take_while(|b| (b'0'..=b'7').contains(b)).count();
            let code = u32::from_str_radix(rest.get(..digits).unwrap_or_default(), 8).unwrap_or(0);
            out.push_str(&format!("\\x{{{code:x}}}"));
            rest.get(digits..).unwrap_or_default()
        }
        'Q' if !class => {
            let (text, rest) = rest.split_once("\\E").unwrap_or((rest, ""));
            out.push_str(&regex::escape(text));
            rest
        }
        'p' | 'P' | 'x' if rest.starts_with('{') => {
            let end = rest.find('}').map_or(rest.len(), |at| at + 1);
            out.push('\\');
            out.push(c);
            out.push_str(rest.get(..end).unwrap_or_default());
            rest.get(end..).unwrap_or_default()
        }
        _ => {
            out.push('\\');
            out.push(c);
            rest
        }
    }
}

/// Whether what follows a brace makes it a repetition: `3}`, `3,}`, `3,5}`.
fn repeats(after: &str) -> bool {
    let Some((inside, _)) = after.split_once('}') else { return false };
    let number = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    match inside.split_once(',') {
        None => number(inside),
        Some((low, high)) => number(low) && (high.is_empty() || number(high)),
    }
}

#[cfg(test)]
mod tests {
    use super::ours;

    #[test]
    fn what_our_engine_reads_otherwise_is_written_out() {
        // Pattern, a text that it fits, and one that it does not.
        for (pattern, fits, not) in [
            (r"a\0b", "a\0b", "a0b"),
            (r"\012", "\n", "\u{1}2"),
            (r"^a{1-3}+$", "a{1-3}}}", "aa"),
            (r"^a{2,3}$", "aaa", "a"),
            (r"^a{,3}$", "a{,3}", "aaa"),
            (r"^\p{Lu}\x{41}{2}$", "BAA", "bAA"),
            (r"^[a[b]$", "[", "c"),
            (r"^[a&&b]$", "&", "c"),
            (r"^[[:digit:]]$", "7", ":"),
            (r"^[^]]$", "a", "]"),
            (r"^\Qa.b\E.$", "a.bc", "aXbc"),
            (r"^[\]{}]$", "]", "a"),
        ] {
            let regex = regex::Regex::new(&ours(pattern)).unwrap();
            assert!(regex.is_match(fits) && !regex.is_match(not), "{pattern} is {regex}");
        }
        assert_eq!(ours("{"), "\\{");
        assert_eq!(ours("a\\"), "a\\");
    }
}
