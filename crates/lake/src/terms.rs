//! The term index: which rows of a Parquet file can hold a word, without opening the Parquet file.
//!
//! Analysts look for words: a tool's name in command lines, an address, a hash. Bounds of a column say nothing about
//! words in the middle of its text, and a bloom filter a row group leaves 131,072 rows to be decoded for one hit. So
//! beside each file lies another one (its name with [`SUFFIX`] at the end) that tells for each word the blocks of
//! [`BLOCK_ROWS`] rows that it stands in.
//!
//! - A word is what the hunting language calls a term: the longest run of letters and digits of Unicode. It is folded
//!   ([`tokens::fold`]) coarser than any case-insensitive comparison, so the index never rules out what a comparison
//!   would find. Columns of exact values (hashes, addresses) are indexed by whole value instead.
//! - Words are not stored. A 64-bit hash picks a bucket and a 16-bit mark in it; two words that share both share their
//!   blocks, which costs a needless read once in about five hundred look-ups of a file, and never an answer.
//! - It only prunes. A file without an index, or with one that is damaged, of another version or of another file, is
//!   scanned. It may be deleted at any time.
//! - A look-up reads three small pieces of a file (header, two numbers of the directory, one bucket), so nothing needs
//!   to be kept in memory between queries. A bucket carries its own checksum, so what is believed was checked.
//!
//! The bytes are told in docs/internals/lake.md.

mod read;
pub mod tokens;
mod write;

pub use read::{Blocks, TermIndex};
pub(crate) use write::IndexWriter;

use std::path::{Path, PathBuf};

/// Follows the name of the Parquet file.
pub const SUFFIX: &str = ".terms";
/// Rows of a block: the rows of a page, so that a block that is ruled out is a page that is not decoded.
pub const BLOCK_ROWS: usize = 8_192;

/// How the text of a column is cut into what is indexed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Each word of the text.
    Words,
    /// The text as one.
    Whole,
}

/// Columns with an index, and how each is cut.
pub const INDEXED_COLUMNS: &[(&str, Cut)] = &[
    ("ProcessCommandLine", Cut::Words),
    ("InitiatingProcessCommandLine", Cut::Words),
    ("FileName", Cut::Words),
    ("FolderPath", Cut::Words),
    ("PreviousFolderPath", Cut::Words),
    ("InitiatingProcessFileName", Cut::Words),
    ("InitiatingProcessFolderPath", Cut::Words),
    ("RemoteUrl", Cut::Words),
    ("AccountName", Cut::Whole),
    ("DeviceName", Cut::Whole),
    ("SHA256", Cut::Whole),
    ("SHA1", Cut::Whole),
    ("MD5", Cut::Whole),
    ("InitiatingProcessSHA256", Cut::Whole),
    ("InitiatingProcessSHA1", Cut::Whole),
    ("RemoteIP", Cut::Whole),
];

/// First bytes of an index; another format gets another number.
const MAGIC: &[u8; 8] = b"GARTRM01";
/// Bytes of the header before the list of columns, and bytes of each column's entry after its name.
const HEADER_BYTES: usize = 32;
const COLUMN_BYTES: usize = 26;
/// Bytes that a header may have: 64 columns with long names.
const HEADER_BYTES_MAX: usize = 16_384;
/// Entries that a bucket is made for: a bucket is then about half a kilobyte.
const BUCKET_ENTRIES: usize = 128;
/// A bucket's checksum covers its number too, so that a wrong entry of the directory is noticed.
const BUCKET_CHECKSUM_BYTES: usize = 4;

/// Where the index of a Parquet file is.
#[must_use]
pub fn index_path(parquet: &Path) -> PathBuf {
    let mut name = parquet.as_os_str().to_owned();
    name.push(SUFFIX);
    PathBuf::from(name)
}

fn bucket_checksum(bucket: u32, entries: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bucket.to_le_bytes());
    hasher.update(entries);
    hasher.finalize()
}

/// Splits a hash into a bucket of `2^bits` and the mark in it. Only 48 bits are used.
fn place(hash: u64, bits: u8) -> (u32, u16) {
    let bucket = if bits == 0 { 0 } else { (hash >> (64 - u32::from(bits.min(32)))) as u32 };
    (bucket, (hash >> 16) as u16)
}

#[cfg(test)]
mod tests;
