//! Looking words up.

use super::{BLOCK_ROWS, BUCKET_CHECKSUM_BYTES, Cut, HEADER_BYTES, HEADER_BYTES_MAX, MAGIC, bucket_checksum, place};
use crate::crypt::{LakeKey, Pieces};
use std::path::Path;

/// Bytes of a bucket that are read: far more than a bucket of real words has.
const BUCKET_BYTES_MAX: u32 = 4 << 20;

/// Blocks of a file that may hold a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocks {
    count: usize,
    bits: Vec<u64>,
}

impl Blocks {
    /// None of so many.
    #[must_use]
    pub fn none(count: usize) -> Self {
        Self { count, bits: vec![0; count.div_ceil(64)] }
    }

    /// All of so many.
    #[must_use]
    pub fn all(count: usize) -> Self {
        let mut blocks = Self::none(count);
        (0..count).for_each(|block| blocks.set(block));
        blocks
    }

    fn set(&mut self, block: usize) {
        if block < self.count
            && let Some(word) = self.bits.get_mut(block / 64)
        {
            *word |= 1 << (block % 64);
        }
    }

    /// Whether a block is among them.
    #[must_use]
    pub fn has(&self, block: usize) -> bool {
        self.bits.get(block / 64).is_some_and(|word| word >> (block % 64) & 1 == 1)
    }

    /// Number of blocks of the file.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// How many are among them.
    #[must_use]
    pub fn chosen(&self) -> usize {
        self.bits.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Those of both.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.bits.iter_mut().zip(&other.bits).for_each(|(mine, theirs)| *mine &= theirs);
        self
    }

    /// Those of either.
    #[must_use]
    pub fn or(mut self, other: &Self) -> Self {
        self.bits.iter_mut().zip(&other.bits).for_each(|(mine, theirs)| *mine |= theirs);
        self
    }

    /// Runs of rows of a file with so many, each with whether it may hold a row.
    #[must_use]
    pub fn runs(&self, rows: usize) -> Vec<(usize, bool)> {
        let mut runs: Vec<(usize, bool)> = Vec::new();
        for block in 0..self.count {
            let length = BLOCK_ROWS.min(rows.saturating_sub(block * BLOCK_ROWS));
            match runs.last_mut() {
                Some((count, chosen)) if *chosen == self.has(block) => *count += length,
                _ => runs.push((length, self.has(block))),
            }
        }
        runs
    }
}

struct Column {
    name: String,
    cut: Cut,
    bits: u8,
    directory: u64,
    buckets: u64,
    buckets_bytes: u64,
}

/// An open index.
pub struct TermIndex {
    file: Pieces,
    rows: usize,
    columns: Vec<Column>,
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

impl TermIndex {
    /// Opens the index of a Parquet file with so many bytes and rows; `None` where there is none to be believed, or the
    /// key to it is missing.
    #[must_use]
    pub fn open(parquet: &Path, parquet_bytes: u64, parquet_rows: u64, key: Option<&LakeKey>) -> Option<Self> {
        let file = Pieces::open(&super::index_path(parquet), key)?;
        let mut header = vec![0; HEADER_BYTES_MAX];
        let mut got = 0;
        while got < header.len() {
            match file.read_at(header.get_mut(got..)?, got as u64) {
                Ok(0) => break,
                Ok(bytes) => got += bytes,
                Err(_) => return None,
            }
            // The whole header is in the first read of any file system worth the name.
            if got >= HEADER_BYTES && got >= u32::from_le_bytes(number(&header, 8)?) as usize {
                break;
            }
        }
        let length = u32::from_le_bytes(number(&header, 8)?) as usize;
        let header = header.get(..length.min(got))?;
        let (head, sum) = header.split_at_checked(length.checked_sub(4)?)?;
        if head.get(..8)? != MAGIC || crc32fast::hash(head) != u32::from_le_bytes(number(sum, 0)?) {
            return None;
        }
        let rows = u64::from_le_bytes(number(head, 16)?);
        if rows != parquet_rows || u64::from_le_bytes(number(head, 24)?) != parquet_bytes {
            return None;
        }
        let mut columns = Vec::new();
        let mut at = HEADER_BYTES;
        for _ in 0..u32::from_le_bytes(number(head, 12)?) {
            let name_bytes = usize::from(*head.get(at)?);
            let name = std::str::from_utf8(head.get(at + 1..at + 1 + name_bytes)?).ok()?.to_owned();
            at += 1 + name_bytes;
            columns.push(Column {
                name,
                cut: match head.get(at)? {
                    1 => Cut::Words,
                    2 => Cut::Whole,
                    _ => return None,
                },
                bits: *head.get(at + 1)?,
                directory: u64::from_le_bytes(number(head, at + 2)?),
                buckets: u64::from_le_bytes(number(head, at + 10)?),
                buckets_bytes: u64::from_le_bytes(number(head, at + 18)?),
            });
            at += super::COLUMN_BYTES;
        }
        Some(Self { file, rows: usize::try_from(rows).ok()?, columns })
    }

    /// Number of blocks of the file.
    #[must_use]
    pub fn blocks(&self) -> usize {
        self.rows.div_ceil(BLOCK_ROWS)
    }

    /// How a column is indexed; `None` if it is not.
    #[must_use]
    pub fn cut(&self, column: &str) -> Option<Cut> {
        self.columns.iter().find(|c| c.name == column).map(|c| c.cut)
    }

    /// Blocks that may hold a hash in a column; `None` if the index cannot say.
    #[must_use]
    pub fn blocks_of(&self, column: &str, hash: u64) -> Option<Blocks> {
        let column = self.columns.iter().find(|c| c.name == column)?;
        let (bucket, mark) = place(hash, column.bits);
        let mut ends = [0; 8];
        self.file.read_exact_at(&mut ends, column.directory.checked_add(u64::from(bucket) * 4)?).ok()?;
        let (start, end) = (u32::from_le_bytes(number(&ends, 0)?), u32::from_le_bytes(number(&ends, 4)?));
        let length = end.checked_sub(start)?;
        if u64::from(end) > column.buckets_bytes || length > BUCKET_BYTES_MAX {
            return None;
        }
        let mut bytes = vec![0; length as usize];
        self.file.read_exact_at(&mut bytes, column.buckets.checked_add(u64::from(start))?).ok()?;
        let (sum, mut rest) = bytes.split_at_checked(BUCKET_CHECKSUM_BYTES)?;
        if u32::from_le_bytes(number(sum, 0)?) != bucket_checksum(bucket, rest) {
            return None;
        }
        let mut found = Blocks::none(self.blocks());
        while let Some((entry, after)) = rest.split_at_checked(2) {
            rest = after;
            let wanted = u16::from_le_bytes(number(entry, 0)?) == mark;
            let kind = varint(&mut rest)?;
            if kind & 1 == 0 {
                if wanted {
                    found.set(usize::try_from(kind >> 1).ok()?);
                }
                continue;
            }
            let mut block = 0_u64;
            for _ in 0..kind >> 1 {
                block = block.checked_add(varint(&mut rest)?)?;
                if wanted {
                    found.set(usize::try_from(block).ok()?);
                }
            }
            if kind == 1 && wanted {
                return Some(Blocks::all(self.blocks()));
            }
        }
        Some(found)
    }
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..63).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
