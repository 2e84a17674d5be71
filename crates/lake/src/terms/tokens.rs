//! Cutting text into words, and the hash of a word.

use super::Cut;

/// Words shorter than this many bytes are not indexed: they stand nearly everywhere.
pub const WORD_BYTES_MIN: usize = 3;

const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// What an ASCII byte is: 0 delimits, another is the folded letter or digit.
const ASCII: [u8; 128] = {
    let mut table = [0; 128];
    let mut at = 0;
    while at < 128 {
        let byte = at as u8;
        if byte.is_ascii_alphanumeric() {
            table[at] = byte.to_ascii_lowercase();
        }
        at += 1;
    }
    table
};

/// FNV-1a, then a mixer that spreads every bit; stable for ever, since it is stored.
#[derive(Clone, Copy)]
struct TermHash(u64);

impl TermHash {
    fn add(&mut self, byte: u8) {
        self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(FNV_PRIME);
    }

    fn add_letter(&mut self, letter: char) {
        let mut buffer = [0; 4];
        letter.encode_utf8(&mut buffer).bytes().for_each(|byte| self.add(byte));
    }

    fn finish(self) -> u64 {
        let mut hash = self.0;
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        hash ^ (hash >> 33)
    }
}

/// The letters that stand for a letter in the index: lower case of its upper case of its lower case. Letters that any
/// folding of case takes for the same become the same here (`ſ` and `s`, the Kelvin sign and `k`, `ς` and `σ`).
pub fn fold(letter: char, mut each: impl FnMut(char)) {
    if letter.is_ascii() {
        return each(letter.to_ascii_lowercase());
    }
    for lower in letter.to_lowercase() {
        for upper in lower.to_uppercase() {
            upper.to_lowercase().for_each(&mut each);
        }
    }
}

/// Calls `each` with the hash of everything that is indexed of a text.
pub fn hashes(text: &str, cut: Cut, mut each: impl FnMut(u64)) {
    match cut {
        Cut::Whole => {
            if !text.is_empty() {
                each(whole(text));
            }
        }
        Cut::Words => words(text, |hash, bytes, _, _| {
            if bytes >= WORD_BYTES_MIN {
                each(hash);
            }
        }),
    }
}

/// The hash of a text as one.
pub fn whole(text: &str) -> u64 {
    let mut hash = TermHash(FNV_START);
    for letter in text.chars() {
        fold(letter, |folded| hash.add_letter(folded));
    }
    hash.finish()
}

/// Which ends of a needle are ends of a value or must be ends of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edges {
    /// No letter or digit may stand before the needle.
    pub start: bool,
    /// None may follow.
    pub end: bool,
}

/// Hashes of the words that a text must hold if it holds the needle. Empty if the index can say nothing.
#[must_use]
pub fn needle_words(needle: &str, edges: Edges) -> Vec<u64> {
    let mut found = Vec::new();
    words(needle, |hash, bytes, at_start, at_end| {
        let complete = (edges.start || !at_start) && (edges.end || !at_end);
        if complete && bytes >= WORD_BYTES_MIN && !found.contains(&hash) {
            found.push(hash);
        }
    });
    found
}

/// Calls `each` with a word's hash, folded bytes, and whether it touches the start and the end of the text. A letter
/// that folds to a letter and a mark (`İ`) parts words there, since a comparison of lower-cased text does so too.
fn words(text: &str, mut each: impl FnMut(u64, usize, bool, bool)) {
    struct Word {
        hash: TermHash,
        bytes: usize,
        at_start: bool,
    }
    let mut word = Word { hash: TermHash(FNV_START), bytes: 0, at_start: true };
    let mut part = |word: &mut Word, at_end: bool| {
        if word.bytes > 0 {
            each(word.hash.finish(), word.bytes, word.at_start, at_end);
        }
        *word = Word { hash: TermHash(FNV_START), bytes: 0, at_start: false };
    };
    for letter in text.chars() {
        // Nearly all text is ASCII; the table spares the questions to Unicode's.
        match ASCII.get(letter as usize) {
            Some(0) => part(&mut word, false),
            Some(folded) => {
                word.hash.add(*folded);
                word.bytes += 1;
            }
            None if letter.is_alphanumeric() => fold(letter, |folded| {
                if folded.is_alphanumeric() {
                    word.hash.add_letter(folded);
                    word.bytes += folded.len_utf8();
                } else {
                    part(&mut word, false);
                }
            }),
            None => part(&mut word, false),
        }
    }
    part(&mut word, true);
}
