//! Bytes of the write-ahead log: segment header, entry prefix, row header. Tables are in docs/internals/lake.md.
//!
//! The checksum covers a random salt that stands in the segment's header. After damage the reader looks for the next
//! entry by its magic; without the salt, a sensor could put a well-formed entry of another device inside its own
//! payload and have it believed after a bit flip.

use crate::wire_bytes::{Reader, put_bytes8, put_bytes16};
use garrison_model::{BootId, DeviceId, Micros};
use garrison_telemetry::BatchHeader;
use std::ops::Range;

/// Magic of a segment, with the format's version.
const SEGMENT_MAGIC: &[u8; 8] = b"GARWAL01";
/// One copy of the segment header; two follow each other, so that one damaged sector does not hide the salt.
const SEGMENT_HEADER_COPY_BYTES: usize = 48;
/// Bytes before the first entry.
pub(crate) const SEGMENT_HEADER_BYTES: usize = 2 * SEGMENT_HEADER_COPY_BYTES;
/// Magic of an entry.
const ENTRY_MAGIC: &[u8; 4] = b"GWE1";
/// Bytes of an entry before its header.
pub(crate) const ENTRY_PREFIX_BYTES: usize = 28;
/// Kind of an entry that holds rows.
pub(crate) const KIND_ROWS: u8 = 1;
/// Kind of an entry that holds rows, its header and payload sealed as one payload.
pub(crate) const KIND_SEALED: u8 = 2;

/// What stands at the start of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// Position of the first entry that may stand here; also the file's name.
    pub(crate) first: u64,
    /// Seed of all checksums in the segment.
    pub(crate) salt: u64,
    /// `first` of the segment before, 0 if there was none.
    pub(crate) previous_first: u64,
    /// How many bytes of the segment before are to be believed. What follows was never acknowledged.
    pub(crate) previous_length: u64,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut copy = Vec::with_capacity(SEGMENT_HEADER_BYTES);
        copy.extend_from_slice(SEGMENT_MAGIC);
        for number in [self.first, self.salt, self.previous_first, self.previous_length] {
            copy.extend_from_slice(&number.to_le_bytes());
        }
        copy.extend_from_slice(&[0; 4]);
        let crc = crc32fast::hash(&copy);
        copy.extend_from_slice(&crc.to_le_bytes());
        debug_assert_eq!(copy.len(), SEGMENT_HEADER_COPY_BYTES);
        copy.extend_from_within(..);
        copy
    }

    /// Reads the first copy that is whole.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        [0, SEGMENT_HEADER_COPY_BYTES].into_iter().find_map(|at| {
            let copy = bytes.get(at..at + SEGMENT_HEADER_COPY_BYTES)?;
            let (body, crc) = copy.split_at(SEGMENT_HEADER_COPY_BYTES - 4);
            if crc32fast::hash(body).to_le_bytes() != *crc {
                return None;
            }
            let mut reader = Reader::new(body.strip_prefix(SEGMENT_MAGIC)?);
            Some(Self {
                first: reader.u64()?,
                salt: reader.u64()?,
                previous_first: reader.u64()?,
                previous_length: reader.u64()?,
            })
        })
    }
}

/// What is said about the rows of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RowsHeader {
    pub(crate) batch: BatchHeader,
    /// When the server took the rows in.
    pub(crate) ingested: Micros,
    /// Whether DeviceId and ReportId stand in the rows already (rows made by the server).
    pub(crate) identity_in_rows: bool,
    /// Rows of the payload that count; the others were stored before.
    pub(crate) kept: Vec<Range<u32>>,
    /// Text columns that have the same value in every row.
    pub(crate) constants: Vec<(String, String)>,
}

impl RowsHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(160);
        put_bytes8(&mut out, self.batch.device.as_str().as_bytes());
        put_bytes8(&mut out, self.batch.boot.as_str().as_bytes());
        put_bytes8(&mut out, self.batch.table.as_bytes());
        out.extend_from_slice(&self.batch.sequence_first.to_le_bytes());
        out.extend_from_slice(&self.batch.row_count.to_le_bytes());
        out.extend_from_slice(&self.batch.created.0.to_le_bytes());
        out.extend_from_slice(&self.ingested.0.to_le_bytes());
        out.push(u8::from(self.identity_in_rows));
        out.extend_from_slice(&(self.kept.len() as u32).to_le_bytes());
        for range in &self.kept {
            out.extend_from_slice(&range.start.to_le_bytes());
            out.extend_from_slice(&range.end.to_le_bytes());
        }
        out.push(self.constants.len() as u8);
        for (name, value) in &self.constants {
            put_bytes8(&mut out, name.as_bytes());
            put_bytes16(&mut out, value.as_bytes());
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let batch = BatchHeader {
            device: DeviceId::new(reader.text8()?).ok()?,
            boot: BootId::new(reader.text8()?).ok()?,
            table: reader.text8()?.to_owned(),
            sequence_first: reader.u64()?,
            row_count: reader.u32()?,
            created: Micros(reader.i64()?),
        };
        let ingested = Micros(reader.i64()?);
        let identity_in_rows = reader.u8()? & 1 == 1;
        let kept_count = reader.u32()?;
        let mut kept = Vec::new();
        for _ in 0..kept_count {
            let range = reader.u32()?..reader.u32()?;
            if range.start >= range.end || range.end > batch.row_count {
                return None;
            }
            kept.push(range);
        }
        let constant_count = reader.u8()?;
        let mut constants = Vec::with_capacity(usize::from(constant_count));
        for _ in 0..constant_count {
            constants.push((reader.text8()?.to_owned(), reader.text16()?.to_owned()));
        }
        reader.is_empty().then_some(Self { batch, ingested, identity_in_rows, kept, constants })
    }
}

fn checksum(salt: u64, parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&salt.to_le_bytes());
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize()
}

/// Appends one entry to `out`.
pub(crate) fn put_entry(out: &mut Vec<u8>, salt: u64, position: u64, kind: u8, header: &[u8], payload: &[u8]) {
    let mut prefix = [0_u8; ENTRY_PREFIX_BYTES];
    prefix[..4].copy_from_slice(ENTRY_MAGIC);
    prefix[8] = kind;
    // Three bytes are reserved.
    prefix[12..16].copy_from_slice(&(header.len() as u32).to_le_bytes());
    prefix[16..20].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    prefix[20..28].copy_from_slice(&position.to_le_bytes());
    let crc = checksum(salt, &[&prefix[8..], header, payload]);
    prefix[4..8].copy_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&prefix);
    out.extend_from_slice(header);
    out.extend_from_slice(payload);
}

/// A piece of a segment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// A whole entry.
    Entry { position: u64, kind: u8, header: &'a [u8], payload: &'a [u8], end: usize },
    /// Bytes that are no entry, followed by one that is.
    Damage { at: usize, length: usize },
    /// Bytes after the last entry.
    Tail { at: usize, length: usize },
}

/// Walks over the entries of a segment.
pub(crate) struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    salt: u64,
    last: u64,
}

impl<'a> Walk<'a> {
    /// `bytes` is the segment with its header, cut to what is to be believed.
    pub(crate) fn new(bytes: &'a [u8], header: &SegmentHeader) -> Self {
        Self {
            bytes,
            at: SEGMENT_HEADER_BYTES.min(bytes.len()),
            salt: header.salt,
            last: header.first.saturating_sub(1),
        }
    }

    fn entry_at(&self, at: usize) -> Option<Piece<'a>> {
        let prefix = self.bytes.get(at..at + ENTRY_PREFIX_BYTES)?;
        if prefix[..4] != *ENTRY_MAGIC {
            return None;
        }
        let mut reader = Reader::new(&prefix[4..]);
        let crc = reader.u32()?;
        let kind = reader.u8()?;
        reader.bytes(3)?;
        let header_length = reader.u32()? as usize;
        let payload_length = reader.u32()? as usize;
        let position = reader.u64()?;
        if position <= self.last {
            return None;
        }
        let header_at = at + ENTRY_PREFIX_BYTES;
        let payload_at = header_at.checked_add(header_length)?;
        let end = payload_at.checked_add(payload_length)?;
        let body = self.bytes.get(header_at..end)?;
        let (header, payload) = body.split_at(header_length);
        (checksum(self.salt, &[&prefix[8..], header, payload]) == crc).then_some(Piece::Entry {
            position,
            kind,
            header,
            payload,
            end,
        })
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        if self.at >= self.bytes.len() {
            return None;
        }
        if let Some(piece) = self.entry_at(self.at) {
            if let Piece::Entry { position, end, .. } = piece {
                (self.last, self.at) = (position, end);
            }
            return Some(piece);
        }
        let damage_at = self.at;
        let mut from = damage_at + 1;
        while let Some(found) = memchr::memmem::find(self.bytes.get(from..)?, ENTRY_MAGIC) {
            if self.entry_at(from + found).is_some() {
                self.at = from + found;
                return Some(Piece::Damage { at: damage_at, length: self.at - damage_at });
            }
            from += found + 1;
        }
        self.at = self.bytes.len();
        Some(Piece::Tail { at: damage_at, length: self.bytes.len() - damage_at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> RowsHeader {
        RowsHeader {
            batch: BatchHeader {
                device: DeviceId::new("ab".repeat(20)).unwrap(),
                boot: BootId::new("0f1e2d3c-0000-4000-8000-0123456789ab").unwrap(),
                table: "DeviceEvents".to_owned(),
                sequence_first: 9,
                row_count: 5,
                created: Micros(1),
            },
            ingested: Micros(2),
            identity_in_rows: false,
            kept: vec![0..2, 3..5],
            constants: vec![("DeviceName".to_owned(), "web-1".to_owned())],
        }
    }

    #[test]
    fn headers_come_back_as_they_were_written() {
        assert_eq!(RowsHeader::decode(&header().encode()), Some(header()));
        let mut beyond = header();
        beyond.kept.clear();
        beyond.kept.push(3..6);
        assert_eq!(RowsHeader::decode(&beyond.encode()), None);
        let segment = SegmentHeader { first: 1, salt: 2, previous_first: 3, previous_length: 4 };
        let mut bytes = segment.encode();
        bytes[10] ^= 1;
        assert_eq!(SegmentHeader::decode(&bytes), Some(segment), "the second copy stands in");
        bytes[SEGMENT_HEADER_COPY_BYTES + 10] ^= 1;
        assert_eq!(SegmentHeader::decode(&bytes), None);
    }

    fn segment(payloads: &[Vec<u8>]) -> (SegmentHeader, Vec<u8>, Vec<usize>) {
        let header = SegmentHeader { first: 1, salt: 0x5eed, previous_first: 0, previous_length: 0 };
        let mut bytes = header.encode();
        let mut starts = Vec::new();
        for (index, payload) in payloads.iter().enumerate() {
            starts.push(bytes.len());
            put_entry(&mut bytes, header.salt, index as u64 + 1, KIND_ROWS, b"header", payload);
        }
        starts.push(bytes.len());
        (header, bytes, starts)
    }

    fn positions(bytes: &[u8], header: &SegmentHeader) -> Vec<u64> {
        Walk::new(bytes, header)
            .filter_map(|piece| match piece {
                Piece::Entry { position, .. } => Some(position),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn an_entry_forged_inside_a_payload_is_not_believed_after_damage() {
        let mut forged = Vec::new();
        put_entry(&mut forged, 0, 7, KIND_ROWS, b"header", b"of another device");
        let (header, mut bytes, starts) = segment(&[forged, b"next".to_vec()]);
        bytes[starts[0] + 5] ^= 1;
        assert_eq!(positions(&bytes, &header), [2]);
    }

    proptest! {
        #[test]
        fn a_torn_tail_loses_only_the_entries_it_touches(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 1..12),
            cut in any::<proptest::sample::Index>(),
        ) {
            let (header, bytes, starts) = segment(&payloads);
            let cut = SEGMENT_HEADER_BYTES + cut.index(bytes.len() - SEGMENT_HEADER_BYTES + 1);
            let whole = starts.iter().filter(|start| **start <= cut).count() - 1;
            prop_assert_eq!(positions(&bytes[..cut], &header), (1..=whole as u64).collect::<Vec<_>>());
        }

        #[test]
        fn flipped_bytes_lose_only_the_entries_they_touch(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 1..12),
            flips in proptest::collection::vec((any::<proptest::sample::Index>(), 1_u8..), 1..4),
        ) {
            let (header, mut bytes, starts) = segment(&payloads);
            let clean = bytes.clone();
            for (index, with) in &flips {
                let at = SEGMENT_HEADER_BYTES + index.index(bytes.len() - SEGMENT_HEADER_BYTES);
                bytes[at] ^= with;
            }
            let expected: Vec<u64> = starts
                .windows(2)
                .enumerate()
                .filter(|(_, w)| bytes[w[0]..w[1]] == clean[w[0]..w[1]])
                .map(|(index, _)| index as u64 + 1)
                .collect();
            prop_assert_eq!(positions(&bytes, &header), expected);
        }

        #[test]
        fn any_bytes_are_walked_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let header = SegmentHeader { first: 1, salt: 1, previous_first: 0, previous_length: 0 };
            prop_assert_eq!(positions(&bytes, &header), Vec::<u64>::new());
            let _ = RowsHeader::decode(&bytes);
            let _ = SegmentHeader::decode(&bytes);
        }
    }
}
