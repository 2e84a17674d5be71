//! Searching in text: `has`, `contains`, `startswith`, `=~`, `in~`, `has_any`, `matches regex` and their kin.
//!
//! A term is a run of letters and digits; everything else, the underscore too, parts terms. `has` wants a place where
//! the needle stands with no term character beside it, but only at those edges where the needle itself has one: so
//! `has '.exe'` needs an end after `exe` and nothing before the point.
//!
//! A constant needle is prepared once a batch: its rarest byte (by what command lines and paths are made of) is looked
//! for with `memchr`, in both cases at once, and only there are the rest and the edges compared. Lists go through one
//! Aho-Corasick automaton, kept between batches. Case is folded as ASCII where the needle is ASCII, else as Unicode
//! has it. Nothing is allocated for a row but in that last case.

use super::eval::{Column, by_dictionary, regex};
use super::json::Json;
use aho_corasick::{AhoCorasick, AhoCorasickBuilder, MatchKind};
use arrow::array::{ArrayRef, BooleanArray};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, exec_datafusion_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// What is asked of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Question {
    Equals,
    Contains,
    StartsWith,
    EndsWith,
    Has,
    HasPrefix,
    HasSuffix,
    Regex,
    In,
    HasAny,
    HasAll,
}

const QUESTIONS: &[(&str, Question, bool)] = &[
    ("kql_equals_tilde", Question::Equals, true),
    ("kql_contains", Question::Contains, true),
    ("kql_contains_cs", Question::Contains, false),
    ("kql_startswith", Question::StartsWith, true),
    ("kql_startswith_cs", Question::StartsWith, false),
    ("kql_endswith", Question::EndsWith, true),
    ("kql_endswith_cs", Question::EndsWith, false),
    ("kql_has", Question::Has, true),
    ("kql_has_cs", Question::Has, false),
    ("kql_hasprefix", Question::HasPrefix, true),
    ("kql_hasprefix_cs", Question::HasPrefix, false),
    ("kql_hassuffix", Question::HasSuffix, true),
    ("kql_hassuffix_cs", Question::HasSuffix, false),
    ("kql_matches_regex", Question::Regex, false),
    ("kql_in", Question::In, false),
    ("kql_in_tilde", Question::In, true),
    ("kql_has_any", Question::HasAny, true),
    ("kql_has_all", Question::HasAll, true),
];

/// The functions of this file.
pub(super) fn udfs() -> impl Iterator<Item = ScalarUDF> {
    QUESTIONS.iter().map(|(name, question, folded)| {
        let signature = Signature::variadic_any(Volatility::Immutable);
        ScalarUDF::from(SearchUdf { name, question: *question, folded: *folded, signature })
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SearchUdf {
    name: &'static str,
    question: Question,
    folded: bool,
    signature: Signature,
}

impl ScalarUDFImpl for SearchUdf {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let array = by_dictionary(&args.args, rows, false, &|args, rows| self.rows(args, rows))?;
        if constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?));
        }
        Ok(ColumnarValue::Array(array))
    }
}

impl SearchUdf {
    fn rows(&self, args: &[ColumnarValue], rows: usize) -> Result<ArrayRef> {
        let [subject, needle] = args else {
            return Err(exec_datafusion_err!("`{}` takes two arguments", self.name));
        };
        let (subject, needle) = (Column::new(subject)?, Column::new(needle)?);
        let found = if needle.is_constant() {
            let search = Search::kept(self.question, self.folded, needle.text(0));
            let mut known = Known::new();
            BooleanBuffer::collect_bool(rows, |row| match subject.view(row) {
                Some(view) => known.answer(view, || search.is_in(subject.text(row))),
                None => search.is_in(subject.text(row)),
            })
        } else {
            let mut last: Option<(String, Search)> = None;
            let mut answers = Vec::with_capacity(rows);
            for row in 0..rows {
                let text = needle.text(row);
                if last.as_ref().is_none_or(|(known, _)| known != text) {
                    last = Some((text.to_owned(), Search::new(self.question, self.folded, text)));
                }
                answers.push(last.as_ref().is_some_and(|(_, search)| search.is_in(subject.text(row))));
            }
            BooleanBuffer::from(answers)
        };
        Ok(Arc::new(BooleanArray::new(found, None)))
    }
}

/// Answers of a batch by the view of the text: columns of names have few values, and a dictionary's are the same view.
struct Known {
    slots: Box<[(u128, bool); Self::SLOTS]>,
}

impl Known {
    /// A power of two; 16 KiB stay in the processor's nearest cache.
    const SLOTS: usize = 512;

    fn new() -> Self {
        // No text of no length has other bits than none, so this view is never looked for.
        Self { slots: Box::new([(1 << 32, false); Self::SLOTS]) }
    }

    fn answer(&mut self, view: u128, ask: impl FnOnce() -> bool) -> bool {
        let mixed = ((view as u64) ^ ((view >> 64) as u64)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        match self.slots.get_mut((mixed >> 55) as usize) {
            Some(slot) => {
                if slot.0 != view {
                    *slot = (view, ask());
                }
                slot.1
            }
            None => ask(),
        }
    }
}

/// A prepared question.
enum Search {
    Needle(Question, Needle),
    Regex(Option<regex::Regex>),
    Set {
        folded: bool,
        members: HashSet<String>,
    },
    Any(Box<Many>),
    All(Vec<Needle>),
    /// The same answer for every text.
    Always(bool),
}

/// Prepared lists that are kept between batches; a query has a handful.
const LISTS_KEPT_MAX: usize = 64;

impl Search {
    /// Lists and patterns are dear to prepare: they are kept between batches.
    fn kept(question: Question, folded: bool, needle: &str) -> Arc<Self> {
        type Kept = HashMap<(Question, bool, String), Arc<Search>>;
        static KEPT: LazyLock<Mutex<Kept>> = LazyLock::new(Mutex::default);
        if !matches!(question, Question::In | Question::HasAny | Question::HasAll) {
            return Arc::new(Self::new(question, folded, needle));
        }
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= LISTS_KEPT_MAX {
            kept.clear();
        }
        let key = (question, folded, needle.to_owned());
        Arc::clone(kept.entry(key).or_insert_with(|| Arc::new(Self::new(question, folded, needle))))
    }

    fn new(question: Question, folded: bool, needle: &str) -> Self {
        match question {
            Question::Regex => Self::Regex(regex(needle)),
            Question::In => Self::Set {
                folded,
                members: list(needle).into_iter().map(|m| if folded { m.to_lowercase() } else { m }).collect(),
            },
            Question::HasAny => Many::prepared(&list(needle)),
            Question::HasAll => Self::All(list(needle).iter().map(|n| Needle::new(n, true)).collect()),
            _ => Self::Needle(question, Needle::new(needle, folded)),
        }
    }

    fn is_in(&self, text: &str) -> bool {
        match self {
            Self::Needle(question, needle) => needle.answers(*question, text),
            Self::Regex(found) => found.as_ref().is_some_and(|r| r.is_match(text)),
            Self::Set { folded: false, members } => members.contains(text),
            Self::Set { folded: true, members } => members.contains(lower(text).as_ref()),
            Self::Any(many) => many.is_in(text),
            Self::All(needles) => needles.iter().all(|n| n.answers(Question::Has, text)),
            Self::Always(answer) => *answer,
        }
    }
}

fn lower(text: &str) -> Cow<'_, str> {
    if text.is_ascii() && !text.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.to_lowercase())
    }
}

/// The members of a list, as text.
fn list(json: &str) -> Vec<String> {
    match Json::parse(json) {
        Json::Array(items) => items.iter().map(Json::text).collect(),
        Json::Null => Vec::new(),
        Json::Bag(items) => items.into_iter().map(|(key, _)| key).collect(),
        other => vec![other.text()],
    }
}

/// Whether a character belongs to a term.
fn of_term(c: char) -> bool {
    c.is_alphanumeric()
}

fn term_before(text: &str, at: usize) -> bool {
    match text.as_bytes().get(at.wrapping_sub(1)) {
        None => false,
        Some(b) if b.is_ascii() => b.is_ascii_alphanumeric(),
        Some(_) => text.get(..at).and_then(|t| t.chars().next_back()).is_some_and(of_term),
    }
}

fn term_after(text: &str, at: usize) -> bool {
    match text.as_bytes().get(at) {
        None => false,
        Some(b) if b.is_ascii() => b.is_ascii_alphanumeric(),
        Some(_) => text.get(at..).and_then(|t| t.chars().next()).is_some_and(of_term),
    }
}

/// One needle, prepared.
struct Needle {
    /// Folded to lower case if case does not count.
    bytes: Vec<u8>,
    folded: bool,
    ascii: bool,
    /// Where its rarest byte stands, and that byte in both cases.
    rare: (usize, u8, u8),
    starts_term: bool,
    ends_term: bool,
    finder: memchr::memmem::Finder<'static>,
}

/// How common a byte is in command lines and paths: the higher the commoner. Only an order; a wrong guess costs time.
fn commonness(byte: u8) -> u8 {
    match byte {
        b'e' | b' ' | b'/' | b's' | b't' => 9,
        b'a' | b'i' | b'n' | b'o' | b'r' | b'\\' => 8,
        b'c' | b'd' | b'l' | b'-' | b'.' | b'm' | b'p' | b'u' => 7,
        b'0' | b'1' | b'2' | b'b' | b'f' | b'g' | b'h' | b'y' => 6,
        b'3'..=b'9' | b'_' | b'v' | b'w' | b'"' | b'=' | b':' => 5,
        b'k' | b'x' | b',' | b';' => 4,
        b'j' | b'q' | b'z' => 2,
        128.. => 3,
        _ => 1,
    }
}

impl Needle {
    fn new(needle: &str, folded: bool) -> Self {
        let text = if folded { lower(needle).into_owned() } else { needle.to_owned() };
        let rarest = text.bytes().enumerate().min_by_key(|(_, b)| commonness(b.to_ascii_lowercase()));
        let rare = rarest.map_or((0, 0, 0), |(at, b)| {
            if folded { (at, b.to_ascii_lowercase(), b.to_ascii_uppercase()) } else { (at, b, b) }
        });
        Self {
            ascii: text.is_ascii(),
            starts_term: text.chars().next().is_some_and(of_term),
            ends_term: text.chars().next_back().is_some_and(of_term),
            finder: memchr::memmem::Finder::new(text.as_bytes()).into_owned(),
            bytes: text.into_bytes(),
            folded,
            rare,
        }
    }

    fn answers(&self, question: Question, text: &str) -> bool {
        if self.folded && !self.ascii {
            // Unicode case can change lengths: both are folded, then compared as they are.
            return self.within(question, &text.to_lowercase());
        }
        self.within(question, text)
    }

    fn same(&self, window: &[u8]) -> bool {
        if self.folded { window.eq_ignore_ascii_case(&self.bytes) } else { window == self.bytes }
    }

    fn within(&self, question: Question, text: &str) -> bool {
        let hay = text.as_bytes();
        let size = self.bytes.len();
        if hay.len() < size {
            return false;
        }
        match question {
            Question::Equals => self.same(hay),
            Question::StartsWith => hay.get(..size).is_some_and(|w| self.same(w)),
            Question::EndsWith => hay.get(hay.len() - size..).is_some_and(|w| self.same(w)),
            Question::Contains => self.places(hay, |_| true),
            Question::Has => self.places(hay, |at| self.starts(text, at) && self.ends(text, at + size)),
            Question::HasPrefix => self.places(hay, |at| self.starts(text, at)),
            _ => self.places(hay, |at| self.ends(text, at + size)),
        }
    }

    fn starts(&self, text: &str, at: usize) -> bool {
        !self.starts_term || !term_before(text, at)
    }

    fn ends(&self, text: &str, at: usize) -> bool {
        !self.ends_term || !term_after(text, at)
    }

    /// Whether one of the places where the needle stands will do.
    fn places(&self, hay: &[u8], will_do: impl Fn(usize) -> bool) -> bool {
        let size = self.bytes.len();
        if size == 0 {
            return true;
        }
        if !self.folded || !self.ascii {
            return self.overlapping(hay, will_do);
        }
        let (offset, low, high) = self.rare;
        let mut check = |found: usize| {
            found
                .checked_sub(offset)
                .is_some_and(|at| hay.get(at..at + size).is_some_and(|w| self.same(w)) && will_do(at))
        };
        if low == high {
            memchr::memchr_iter(low, hay).any(&mut check)
        } else {
            memchr::memchr2_iter(low, high, hay).any(&mut check)
        }
    }

    fn overlapping(&self, hay: &[u8], will_do: impl Fn(usize) -> bool) -> bool {
        let mut from = 0;
        while let Some(at) = hay.get(from..).and_then(|rest| self.finder.find(rest)) {
            if will_do(from + at) {
                return true;
            }
            from += at + 1;
        }
        false
    }
}

/// Several needles of which one must stand as a term.
struct Many {
    automaton: AhoCorasick,
    /// Whether each needle starts and ends with a character of a term.
    edges: Vec<(bool, bool)>,
    ascii: bool,
}

impl Many {
    fn prepared(needles: &[String]) -> Search {
        if needles.iter().any(String::is_empty) {
            return Search::Always(true);
        }
        if needles.is_empty() {
            return Search::Always(false);
        }
        if let [one] = needles {
            return Search::Needle(Question::Has, Needle::new(one, true));
        }
        let folded: Vec<String> = needles.iter().map(|n| n.to_lowercase()).collect();
        let built = AhoCorasickBuilder::new()
            .ascii_case_insensitive(true)
            // Every match counts: the longest may fail at its edges where a shorter one does not.
            .match_kind(MatchKind::Standard)
            .build(&folded);
        match built {
            Ok(automaton) => Search::Any(Box::new(Self {
                automaton,
                edges: folded
                    .iter()
                    .map(|n| (n.chars().next().is_some_and(of_term), n.chars().next_back().is_some_and(of_term)))
                    .collect(),
                ascii: folded.iter().all(|n| n.is_ascii()),
            })),
            // Too big for an automaton, which a query text that fits a request is not; no text has any then.
            Err(_) => Search::Always(false),
        }
    }

    fn is_in(&self, text: &str) -> bool {
        if self.ascii { self.within(text) } else { self.within(&text.to_lowercase()) }
    }

    fn within(&self, text: &str) -> bool {
        self.automaton.find_overlapping_iter(text).any(|found| {
            let (starts, ends) = self.edges.get(found.pattern().as_usize()).copied().unwrap_or_default();
            (!starts || !term_before(text, found.start())) && (!ends || !term_after(text, found.end()))
        })
    }
}

/// Whether a text has a term, for functions that ask the same of other forms.
pub(super) fn has_term(text: &str, term: &str) -> bool {
    Needle::new(term, true).answers(Question::Has, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(question: Question, folded: bool, cases: &[(&str, &str, bool)]) {
        for (text, needle, expected) in cases {
            let found = Search::new(question, folded, needle).is_in(text);
            assert_eq!(found, *expected, "{question:?}: `{text}` and `{needle}`");
        }
    }

    #[test]
    fn a_term_is_a_run_of_letters_and_digits() {
        check(
            Question::Has,
            true,
            &[
                ("North America", "america", true),
                ("NorthAmerica", "america", false),
                ("a_b", "a", true),
                ("errors", "error", false),
                ("KustoExplorerQueryRun", "Explorer", false),
                ("c:\\x\\calc.exe /q", ".exe", true),
                ("calc.exec", ".exe", false),
                ("calc.exe", "calc.exe", true),
                ("xerror error", "error", true),
                ("errerr err", "err", true),
                ("über-all", "ÜBER", true),
                ("éa", "a", false),
                ("a", "", true),
                ("", "a", false),
                ("wget -q http://evil", "-q http", true),
                ("wget -qq", "-q", false),
            ],
        );
    }

    #[test]
    fn prefixes_and_suffixes_are_of_terms() {
        check(Question::HasPrefix, true, &[("x-error", "err", true), ("x-error", "rror", false)]);
        check(Question::HasSuffix, true, &[("x-error", "err", false), ("x-error y", "ror", true)]);
    }

    #[test]
    fn a_list_has_the_shorter_term_where_the_longer_fails() {
        check(
            Question::HasAny,
            true,
            &[
                ("foo bar", r#"["BAR","z"]"#, true),
                ("errors", r#"["error","x"]"#, false),
                ("power-shells", r#"["power-shell","power"]"#, true),
                ("anything", r#"["q",""]"#, true),
                ("anything", "[]", false),
                ("id 17", "[17,18]", true),
            ],
        );
        check(Question::HasAll, true, &[("foo bar", r#"["foo","z"]"#, false), ("foo bar", r#"["BAR","foo"]"#, true)]);
    }

    #[test]
    fn case_counts_only_where_the_operator_says_so() {
        check(Question::Contains, true, &[("PowerShell", "wersh", true), ("PowerShell", "x", false)]);
        check(Question::Contains, false, &[("PowerShell", "wersh", false), ("PowerShell", "werSh", true)]);
        check(Question::Equals, true, &[("ABC", "abc", true), ("ÄB", "äb", true), ("ABCD", "abc", false)]);
        check(Question::In, true, &[("X", r#"["x"]"#, true)]);
        check(Question::In, false, &[("X", r#"["x"]"#, false), ("x", r#"["x"]"#, true)]);
        check(Question::EndsWith, true, &[("a.EXE", ".exe", true), ("exe", ".exe", false)]);
    }
}
