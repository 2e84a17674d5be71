//! Regular expressions: compiled within bounds, and looked through for text that every match must contain, so that
//! they only run on values that may match.

use crate::Limits;
use crate::diagnostic::{Code, shown};
use crate::pattern::fold_char;
use memchr::memmem::Finder;
use regex_automata::meta;
use regex_automata::util::syntax;
use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, Hir, HirKind, Look, Repetition};

/// A compiled expression.
#[derive(Debug, Clone)]
pub(crate) struct Expression {
    /// With its flags, as `(?i)…`; two tests with equal text are one.
    pub text: String,
    regex: meta::Regex,
    /// The same for text that is ASCII, which nearly all is: without the large classes of Unicode the automaton has few
    /// states, so that the fast engine does not give up.
    ascii: meta::Regex,
    /// Folded text of which every matching value, folded, holds at least one; empty if nothing is certain.
    pub atoms: Vec<Vec<u8>>,
    /// The same where it is too short to be worth a place in the automaton: looked for just before the expression runs.
    needles: Vec<Finder<'static>>,
    /// No shorter value matches.
    pub bytes_min: usize,
}

impl Expression {
    /// Whether a value may match, without running the expression; `folded` is the value folded.
    pub fn may_match(&self, text: &str, folded: &[u8]) -> bool {
        text.len() >= self.bytes_min
            && (self.needles.is_empty() || self.needles.iter().any(|needle| needle.find(folded).is_some()))
    }

    /// Whether a value matches.
    pub fn is_match(&self, text: &str) -> bool {
        if text.is_ascii() { self.ascii.is_match(text) } else { self.regex.is_match(text) }
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// Shorter atoms are found nearly everywhere.
const ATOM_BYTES_MIN: usize = 3;
/// Alternatives worth looking for instead of one expression.
const ATOMS_MAX: usize = 64;
const NEEDLES_MAX: usize = 4;

/// The sub-modifiers of `re`.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Flags {
    pub insensitive: bool,
    pub multi_line: bool,
    pub dot_all: bool,
}

pub(crate) fn compile(text: &str, flags: Flags, limits: &Limits) -> Result<Expression, (Code, String)> {
    if text.len() > limits.regex_bytes_max {
        let message = format!("the expression has {} bytes, the limit is {}", text.len(), limits.regex_bytes_max);
        return Err((Code::RegexTooBig, message));
    }
    let syntax = syntax::Config::new()
        .case_insensitive(flags.insensitive)
        .multi_line(flags.multi_line)
        .dot_matches_new_line(flags.dot_all)
        // Deep nesting overflows stacks; real expressions stay below ten.
        .nest_limit(50);
    let hir = syntax::parse_with(text, &syntax).map_err(|error| {
        let first = error.to_string().lines().last().unwrap_or_default().trim().to_owned();
        (Code::BadRegex, format!("`{}`: {}", shown(text), first.trim_start_matches("error: ")))
    })?;
    let config = meta::Config::new()
        .nfa_size_limit(Some(limits.regex_compiled_bytes_max))
        .onepass_size_limit(Some(limits.regex_compiled_bytes_max / 4))
        .dfa_size_limit(Some(limits.regex_compiled_bytes_max / 4))
        // The lazy automaton's memory for one expression and thread; with much less, large classes of characters make it
        // fall back to engines that are many times slower.
        .hybrid_cache_capacity(1024 * 1024);
    let regex = meta::Builder::new().configure(config.clone()).build_from_hir(&hir).map_err(|error| {
        let code = if error.size_limit().is_some() { Code::RegexTooBig } else { Code::BadRegex };
        (code, format!("`{}`: {error}", shown(text)))
    })?;
    // It is never larger; should it fail all the same, the full form answers for all text.
    let ascii = match meta::Builder::new().configure(config).build_from_hir(&ascii_only(&hir, 0)) {
        Ok(ascii) => ascii,
        Err(_) => regex.clone(),
    };
    let mut letters = String::new();
    for (on, letter) in [(flags.insensitive, 'i'), (flags.multi_line, 'm'), (flags.dot_all, 's')] {
        if on {
            letters.push(letter);
        }
    }
    let text = if letters.is_empty() { text.to_owned() } else { format!("(?{letters}){text}") };
    let bytes_min = hir.properties().minimum_len().unwrap_or(0);
    let found = required(&hir, 0).unwrap_or_default();
    let short = found.len() <= NEEDLES_MAX && found.iter().all(|atom| !atom.is_empty());
    let (atoms, needles) = match found {
        found if usable(&found) => (found, Vec::new()),
        found if short => (Vec::new(), found),
        _ => (Vec::new(), Vec::new()),
    };
    let needles = needles.iter().map(|needle| Finder::new(needle).into_owned()).collect();
    Ok(Expression { text, regex, ascii, atoms, needles, bytes_min })
}

/// An expression that matches the same ASCII texts: classes without what is beyond ASCII, and no captures, since only
/// whether there is a match is ever asked.
fn ascii_only(hir: &Hir, depth: usize) -> Hir {
    if depth > 60 {
        return hir.clone();
    }
    let below = |part: &Hir| ascii_only(part, depth + 1);
    match hir.kind() {
        HirKind::Class(Class::Unicode(class)) => {
            let mut class = class.clone();
            class.intersect(&ClassUnicode::new([ClassUnicodeRange::new('\0', '\u{7f}')]));
            Hir::class(Class::Unicode(class))
        }
        HirKind::Look(look) => Hir::look(match look {
            Look::WordUnicode => Look::WordAscii,
            Look::WordUnicodeNegate => Look::WordAsciiNegate,
            Look::WordStartUnicode => Look::WordStartAscii,
            Look::WordEndUnicode => Look::WordEndAscii,
            Look::WordStartHalfUnicode => Look::WordStartHalfAscii,
            Look::WordEndHalfUnicode => Look::WordEndHalfAscii,
            other => *other,
        }),
        HirKind::Repetition(r) => {
            let sub = Box::new(below(&r.sub));
            Hir::repetition(Repetition { min: r.min, max: r.max, greedy: r.greedy, sub })
        }
        HirKind::Capture(capture) => below(&capture.sub),
        HirKind::Concat(parts) => Hir::concat(parts.iter().map(below).collect()),
        HirKind::Alternation(parts) => Hir::alternation(parts.iter().map(below).collect()),
        HirKind::Class(Class::Bytes(_)) | HirKind::Literal(_) | HirKind::Empty => hir.clone(),
    }
}

fn usable(atoms: &[Vec<u8>]) -> bool {
    !atoms.is_empty() && atoms.len() <= ATOMS_MAX && atoms.iter().all(|atom| atom.len() >= ATOM_BYTES_MIN)
}

/// A set of folded texts of which every match holds one. Of all that could be required, the set whose shortest member
/// is longest is kept: it is the rarest.
fn required(hir: &Hir, depth: usize) -> Option<Vec<Vec<u8>>> {
    if depth > 60 {
        return None;
    }
    match hir.kind() {
        HirKind::Literal(_) | HirKind::Class(_) => single(hir).map(|text| vec![text]),
        HirKind::Capture(capture) => required(&capture.sub, depth + 1),
        HirKind::Repetition(repetition) if repetition.min > 0 => required(&repetition.sub, depth + 1),
        HirKind::Alternation(branches) => {
            let mut all = Vec::new();
            for branch in branches {
                all.extend(required(branch, depth + 1)?);
            }
            (all.len() <= ATOMS_MAX).then_some(all)
        }
        HirKind::Concat(parts) => {
            let mut best: Option<Vec<Vec<u8>>> = None;
            let mut run: Vec<u8> = Vec::new();
            for part in parts {
                if let Some(text) = single(part) {
                    run.extend(text);
                    continue;
                }
                consider(&mut best, std::mem::take(&mut run));
                if let Some(atoms) = required(part, depth + 1).filter(|atoms| better(atoms, best.as_ref())) {
                    best = Some(atoms);
                }
            }
            consider(&mut best, run);
            best
        }
        _ => None,
    }
}

fn consider(best: &mut Option<Vec<Vec<u8>>>, run: Vec<u8>) {
    let atoms = vec![run];
    if better(&atoms, best.as_ref()) {
        *best = Some(atoms);
    }
}

fn better(atoms: &[Vec<u8>], than: Option<&Vec<Vec<u8>>>) -> bool {
    let shortest = |atoms: &[Vec<u8>]| atoms.iter().map(Vec::len).min().unwrap_or(0);
    shortest(atoms) > than.map_or(0, |than| shortest(than))
}

/// The one folded text of a piece that has only one: a literal, or a class such as `[Aa]` whose members fold alike.
fn single(hir: &Hir) -> Option<Vec<u8>> {
    match hir.kind() {
        HirKind::Literal(literal) => {
            let text = std::str::from_utf8(&literal.0).ok()?;
            Some(text.chars().map(fold_char).collect::<String>().into_bytes())
        }
        HirKind::Class(Class::Unicode(class)) => {
            let mut found = None;
            // A class of more than eight characters does not fold to one.
            if class.ranges().iter().map(ClassUnicodeRange::len).sum::<usize>() > 8 {
                return None;
            }
            for range in class.ranges() {
                for c in range.start()..=range.end() {
                    let folded = fold_char(c);
                    if *found.get_or_insert(folded) != folded {
                        return None;
                    }
                }
            }
            found.map(|c: char| c.to_string().into_bytes())
        }
        HirKind::Capture(capture) => single(&capture.sub),
        HirKind::Concat(parts) => {
            let mut text = Vec::new();
            for part in parts {
                text.extend(single(part)?);
            }
            Some(text)
        }
        HirKind::Repetition(r) if r.min == 1 && r.max == Some(1) => single(&r.sub),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn atoms(text: &str, insensitive: bool) -> Vec<String> {
        let flags = Flags { insensitive, ..Flags::default() };
        let expression = compile(text, flags, &Limits::default()).unwrap();
        expression.atoms.into_iter().map(|a| String::from_utf8(a).unwrap()).collect()
    }

    #[test]
    fn atoms_are_what_every_match_holds() {
        assert_eq!(atoms("foo.*LongerText[0-9]+", false), ["longertext"]);
        assert_eq!(atoms("(curl|wget) http", false), [" http"]);
        assert_eq!(atoms("(curl|wget)s?", false), ["curl", "wget"]);
        assert_eq!(atoms("sKype", true), ["skype"]);
        assert_eq!(atoms("a?b*c{0,3}", false), Vec::<String>::new());
        assert_eq!(atoms("(x|.)yz", false), Vec::<String>::new());
    }

    #[test]
    fn the_form_for_ascii_text_agrees_with_the_full_one() {
        let texts =
            ["", "k", "K", "_", "a b", "word", "Word wórd", "12.3", "s", "\n", "a\nb", "x=1;y", "\u{212a}", "é"];
        for pattern in [
            r"\bword\b",
            r"\w+",
            r"^\W*$",
            r"(?i)K",
            r"[^\s]{1,9}$",
            r"\d\.\d",
            ".",
            "(?s).",
            r"a\Bb|\B",
            "é|a",
            r"\x00",
            "^$",
            r"(a|\p{Greek})+",
            r"[^a-z]",
            r"(?m)^b",
            r"\b{start}w",
            r"\b{end}",
        ] {
            let expression = compile(pattern, Flags::default(), &Limits::default()).unwrap();
            for text in texts {
                let full = expression.regex.is_match(text);
                assert_eq!(expression.is_match(text), full, "`{pattern}` on `{text}`");
            }
        }
    }

    #[test]
    fn what_could_run_away_is_refused() {
        let code = |text: &str| compile(text, Flags::default(), &Limits::default()).unwrap_err().0;
        assert_eq!(code("((a{1000}){1000}){1000}"), Code::RegexTooBig);
        assert_eq!(code(&"a".repeat(5_000)), Code::RegexTooBig);
        assert_eq!(code("(?=look)"), Code::BadRegex);
        assert_eq!(code(r"(a)\1"), Code::BadRegex);
        assert_eq!(code("("), Code::BadRegex);
        assert_eq!(code(&"(".repeat(2_000)), Code::BadRegex);
    }
}
