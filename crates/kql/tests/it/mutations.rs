//! Queries with pieces cut, doubled, moved and replaced: whatever comes of it is read, analysed and planned without a
//! panic. It is what the fuzz target says, on a bounded number of texts that are the same in every run.

use crate::estate::{Estate, NOW, shared};
use crate::run::{Engine, run_on};
use garrison_kql::{Context, analyze};
use serde_json::Value;

/// Texts in a run. Most are broken and end at their first finding, so this is a matter of seconds.
const TEXTS: u64 = 1_500;

/// Words that stand in wrong places, to begin with.
const WORDS: &[&str] = &[
    "|",
    "(",
    ")",
    "[",
    "]",
    ",",
    ";",
    "=",
    "=>",
    "-->",
    "-[e*1..3]->",
    "(x)",
    "..",
    "*",
    "'",
    "by",
    "on",
    "with",
    "step",
    "declare",
    "project",
    "where",
    "scan",
    "make-graph",
    "graph-match",
    "graph-to-table nodes",
    "mv-apply",
    "partition",
    "summarize",
    "take 0",
    "toscalar",
    "dynamic(null)",
    "long(null)",
    "-9223372036854775808",
    "1e308",
    "datetime(null)",
    "''",
    "é",
    "\u{1}",
    "0",
    "-1",
    "99999999999",
    "let x =",
    "union",
    "join",
    "in",
    "between (1 .. 2)",
    "row_number()",
];

/// Numbers that look like chance and are the same in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(end.max(1)).unwrap()).unwrap()
    }
}

/// A place in a text between two characters, at the edge of a word more often than not.
fn place(text: &str, chance: &mut Chance) -> usize {
    let mut at = chance.below(text.len() + 1);
    if chance.below(4) > 0 {
        while at < text.len() && !text.is_char_boundary(at)
            || text.as_bytes().get(at).is_some_and(u8::is_ascii_alphanumeric)
        {
            at += 1;
        }
    }
    while !text.is_char_boundary(at) {
        at += 1;
    }
    at
}

fn mutated(texts: &[String], chance: &mut Chance) -> String {
    let mut text = texts[chance.below(texts.len())].clone();
    for _ in 0..=chance.below(3) {
        let (a, b) = (place(&text, chance), place(&text, chance));
        let (a, b) = (a.min(b), a.max(b));
        let b = if chance.below(3) > 0 { text.ceil_char_boundary((a + 12).min(b)) } else { b };
        match chance.below(6) {
            0 => text.replace_range(a..b, ""),
            1 => {
                let piece = text[a..b].to_owned();
                text.insert_str(b, &piece);
            }
            2 => text.replace_range(a..b, WORDS[chance.below(WORDS.len())]),
            3 => text.insert_str(a, &format!(" {} ", WORDS[chance.below(WORDS.len())])),
            4 => {
                let other = &texts[chance.below(texts.len())];
                let (c, d) = (place(other, chance), place(other, chance));
                text.replace_range(a..b, &other[c.min(d)..c.max(d)]);
            }
            _ => text.truncate(b),
        }
    }
    text
}

#[test]
fn no_text_makes_the_language_panic() {
    let mut texts = crate::operators::queries();
    texts.extend(crate::graphs::queries());
    texts.extend(crate::sequences::queries());
    // The cases of this crate are there in every run; the corpus where the test data is.
    if let Some(text) = shared("data/kql-queries.json") {
        let corpus: Vec<Value> = serde_json::from_str(&text).unwrap();
        texts.extend(corpus.iter().filter_map(|q| q["query"].as_str()).filter(|q| q.len() < 2_000).map(str::to_owned));
    }
    let estate = Estate::new(3, 2);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let engine = Engine::new();
    let seed = std::env::var("KQL_MUTATIONS_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(0x9E37_79B9_7F4A_7C15);
    let count = std::env::var("KQL_MUTATIONS").ok().and_then(|s| s.parse().ok()).unwrap_or(TEXTS);
    let mut chance = Chance(seed);
    let (mut ran, mut ours) = (0, vec![]);
    for _ in 0..count {
        let text = mutated(&texts, &mut chance);
        let said = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _ = analyze(&text, &estate, &Context::at(NOW));
            runtime.block_on(run_on(&text, &estate, &engine))
        }));
        match said {
            Err(panicked) => {
                println!("this text panics:\n{text}");
                std::panic::resume_unwind(panicked)
            }
            Ok(Ok(_)) => ran += 1,
            Ok(Err(e)) if e.contains("GQ900") => ours.push(format!("{text}\n    {e}")),
            Ok(Err(_)) => {}
        }
    }
    println!("{ran} of {count} mutated texts ran; {} had a finding of ours", ours.len());
    assert!(ours.is_empty(), "{}", ours.join("\n"));
}
