//! Building an index while its file is written.

use super::tokens::hashes;
use super::{
    BLOCK_ROWS, BUCKET_CHECKSUM_BYTES, BUCKET_ENTRIES, COLUMN_BYTES, Cut, HEADER_BYTES, INDEXED_COLUMNS, MAGIC,
    bucket_checksum, place,
};
use crate::crypt::LakeKey;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Schema};
use garrison_telemetry::TextColumn;
use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::io::Write;
use std::path::Path;

/// Word-and-block pairs of one column, 8 bytes each; a column with more in one file goes without an index. Real text
/// stays far below; a flood of made-up words must not take the memory of the server.
const PAIRS_MAX: usize = 1 << 23;
/// A word in more blocks than this share of all (as a divisor) is noted as standing everywhere: reading its blocks would
/// spare nothing worth its list.
const EVERYWHERE: usize = 2;

/// The hash is one already.
#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {}
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

type Hashes = HashSet<u64, BuildHasherDefault<AsIs>>;

/// Gathers the words of a file.
pub(crate) struct IndexWriter {
    rows: usize,
    columns: Vec<ColumnWriter>,
}

struct ColumnWriter {
    name: &'static str,
    cut: Cut,
    /// Upper 48 bits of a word's hash, then the block.
    pairs: Vec<u64>,
    /// Words of the block so far.
    words: Hashes,
    /// Texts of the block so far: most texts of a block repeat, and are cut once.
    texts: HashSet<Box<str>>,
    overflowed: bool,
}

impl IndexWriter {
    pub(crate) fn new(schema: &Schema) -> Self {
        let columns = INDEXED_COLUMNS
            .iter()
            .filter(|(name, _)| schema.column_with_name(name).is_some())
            .map(|(name, cut)| ColumnWriter {
                name,
                cut: *cut,
                pairs: Vec::new(),
                words: Hashes::default(),
                texts: HashSet::default(),
                overflowed: false,
            })
            .collect();
        Self { rows: 0, columns }
    }

    /// Takes the next rows of the file.
    pub(crate) fn add(&mut self, rows: &RecordBatch) {
        let mut at = 0;
        while at < rows.num_rows() {
            let room = BLOCK_ROWS - self.rows % BLOCK_ROWS;
            let count = room.min(rows.num_rows() - at);
            let block = (self.rows / BLOCK_ROWS) as u64;
            let slice = rows.slice(at, count);
            for column in &mut self.columns {
                column.add(&slice);
                if count == room {
                    column.close(block);
                }
            }
            self.rows += count;
            at += count;
        }
    }

    /// Writes the index of a file of this size, sealed if there is a key; `false` if there is nothing to write.
    pub(crate) fn finish(mut self, path: &Path, parquet_bytes: u64, key: Option<&LakeKey>) -> std::io::Result<bool> {
        let block = (self.rows / BLOCK_ROWS) as u64;
        let blocks = self.rows.div_ceil(BLOCK_ROWS);
        for column in &mut self.columns {
            column.close(block);
        }
        // A block's number has 16 bits: half a billion rows, far above the size of a file.
        self.columns.retain(|column| !column.overflowed);
        if self.columns.is_empty() || blocks > usize::from(u16::MAX) {
            return Ok(false);
        }
        let header = HEADER_BYTES + self.columns.iter().map(|c| 1 + c.name.len() + COLUMN_BYTES).sum::<usize>() + 4;
        let mut head = Vec::with_capacity(header);
        head.extend_from_slice(MAGIC);
        head.extend_from_slice(&(header as u32).to_le_bytes());
        head.extend_from_slice(&(self.columns.len() as u32).to_le_bytes());
        head.extend_from_slice(&(self.rows as u64).to_le_bytes());
        head.extend_from_slice(&parquet_bytes.to_le_bytes());
        let mut body = Vec::new();
        for column in &mut self.columns {
            let (bits, directory, buckets) = column.encode(blocks);
            head.push(column.name.len() as u8);
            head.extend_from_slice(column.name.as_bytes());
            head.push(match column.cut {
                Cut::Words => 1,
                Cut::Whole => 2,
            });
            head.push(bits);
            head.extend_from_slice(&((header + body.len()) as u64).to_le_bytes());
            body.extend(directory.iter().flat_map(|offset| offset.to_le_bytes()));
            head.extend_from_slice(&((header + body.len()) as u64).to_le_bytes());
            head.extend_from_slice(&(buckets.len() as u64).to_le_bytes());
            body.extend_from_slice(&buckets);
        }
        let sum = crc32fast::hash(&head);
        head.extend_from_slice(&sum.to_le_bytes());
        let mut file = std::fs::File::create(path)?;
        match key {
            None => {
                file.write_all(&head)?;
                file.write_all(&body)?;
            }
            Some(key) => {
                head.extend_from_slice(&body);
                drop(body);
                file.write_all(&key.seal_chunks(&head).map_err(std::io::Error::other)?)?;
            }
        }
        // Not synced: what a power cut leaves of it fails its checks and is not believed.
        Ok(true)
    }
}

impl ColumnWriter {
    fn add(&mut self, rows: &RecordBatch) {
        if self.overflowed {
            return;
        }
        let Some(array) = rows.column_by_name(self.name) else { return };
        if let (DataType::Dictionary(_, _), Some(dictionary)) = (array.data_type(), array.as_any_dictionary_opt())
            && let Some(values) = TextColumn::new(dictionary.values())
        {
            if dictionary.values().is_empty() {
                return;
            }
            // Each value of a dictionary is cut at most once a batch.
            let mut seen = vec![false; dictionary.values().len()];
            for (row, key) in dictionary.normalized_keys().into_iter().enumerate() {
                if array.is_valid(row)
                    && let Some(seen) = seen.get_mut(key)
                    && !std::mem::replace(seen, true)
                    && let Some(text) = values.get(key)
                {
                    self.text(text);
                }
            }
            return;
        }
        let Some(texts) = TextColumn::new(array) else { return };
        for row in 0..array.len() {
            if let Some(text) = texts.get(row) {
                self.text(text);
            }
        }
    }

    fn text(&mut self, text: &str) {
        if !self.overflowed && !self.texts.contains(text) {
            self.texts.insert(text.into());
            let words = &mut self.words;
            hashes(text, self.cut, |hash| {
                words.insert(hash);
            });
            if self.words.len() > PAIRS_MAX {
                self.overflowed = true;
            }
        }
    }

    /// Ends a block.
    fn close(&mut self, block: u64) {
        if self.pairs.len() + self.words.len() > PAIRS_MAX {
            self.overflowed = true;
        }
        if self.overflowed {
            (self.pairs, self.words) = (Vec::new(), Hashes::default());
        } else {
            self.pairs.extend(self.words.iter().map(|hash| hash & !0xffff | block));
        }
        self.words.clear();
        self.texts.clear();
    }

    /// Bits of a bucket's number, where each bucket starts, and the buckets.
    fn encode(&mut self, blocks: usize) -> (u8, Vec<u32>, Vec<u8>) {
        self.pairs.sort_unstable();
        let distinct = self.pairs.chunk_by(|a, b| a >> 16 == b >> 16).count();
        let bits = (distinct / BUCKET_ENTRIES).max(1).next_power_of_two().ilog2().min(20) as u8;
        let count = 1_usize << bits;
        let mut directory = Vec::with_capacity(count + 1);
        let mut buckets = Vec::with_capacity(self.pairs.len() * 4);
        let mut terms = self.pairs.chunk_by(|a, b| a >> 16 == b >> 16).peekable();
        for bucket in 0..count as u32 {
            directory.push(buckets.len() as u32);
            let start = buckets.len() + BUCKET_CHECKSUM_BYTES;
            buckets.extend_from_slice(&[0; BUCKET_CHECKSUM_BYTES]);
            while let Some(term) = terms.next_if(|term| place(term.first().copied().unwrap_or(0), bits).0 == bucket) {
                let (_, mark) = place(term.first().copied().unwrap_or(0), bits);
                buckets.extend_from_slice(&mark.to_le_bytes());
                match term {
                    // Standing everywhere says nothing in a file of a single block either, but costs one byte.
                    [one] => varint(&mut buckets, (one & 0xffff) << 1),
                    many if many.len() * EVERYWHERE > blocks => varint(&mut buckets, 1),
                    many => {
                        varint(&mut buckets, ((many.len() as u64) << 1) | 1);
                        let mut before = 0;
                        for pair in many {
                            let block = pair & 0xffff;
                            varint(&mut buckets, block - before);
                            before = block;
                        }
                    }
                }
            }
            let sum = bucket_checksum(bucket, buckets.get(start..).unwrap_or_default());
            if let Some(place) = buckets.get_mut(start - BUCKET_CHECKSUM_BYTES..start) {
                place.copy_from_slice(&sum.to_le_bytes());
            }
        }
        directory.push(buckets.len() as u32);
        (bits, directory, buckets)
    }
}

/// Seven bits a byte, least first; the highest bit says that more follow.
fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
