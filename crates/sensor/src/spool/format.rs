//! The bytes of segment files. Frozen: a newer version gets a new magic.
//!
//! A segment begins with [`SEGMENT_BYTES`] bytes: magic, lane letter, next sequence number, time, boot, checksum.
//! Records follow, each [`RECORD_BYTES`] of header with its own checksum and, for batches, the payload with another.
//! Numbers are little endian. Checksums are CRC-32 (IEEE): they find damage, not forgery; who can write here is root.

use garrison_model::{BootId, Micros};

/// First bytes of a segment.
pub const SEGMENT_MAGIC: &[u8; 8] = b"GSPOOL01";
/// Bytes of a segment's header.
pub const SEGMENT_BYTES: usize = 72;
/// First bytes of a record.
pub const RECORD_MAGIC: &[u8; 4] = b"GSE1";
/// Bytes of a record's header.
pub const RECORD_BYTES: usize = 112;
/// Longest payload: what a gateway takes.
pub const PAYLOAD_BYTES_MAX: usize = 16 << 20;
/// Longest table name.
pub const TABLE_BYTES_MAX: usize = 32;

/// Header of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Lane letter.
    pub lane: char,
    /// The next free sequence number of `boot` when the segment was made.
    pub next_sequence: u64,
    /// When a sensor was last known to work, at that time; 0 if that is not known.
    pub created: Micros,
    /// Boot.
    pub boot: BootId,
}

impl SegmentHeader {
    /// As bytes.
    pub fn encode(&self) -> [u8; SEGMENT_BYTES] {
        let mut out = [0; SEGMENT_BYTES];
        out[..8].copy_from_slice(SEGMENT_MAGIC);
        out[8] = self.lane as u8;
        out[16..24].copy_from_slice(&self.next_sequence.to_le_bytes());
        out[24..32].copy_from_slice(&self.created.0.to_le_bytes());
        out[32..68].copy_from_slice(self.boot.as_str().as_bytes());
        let crc = crc32fast::hash(&out[..68]);
        out[68..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// From bytes; `None` if they are damaged.
    pub fn decode(bytes: &[u8; SEGMENT_BYTES]) -> Option<Self> {
        if &bytes[..8] != SEGMENT_MAGIC || crc32fast::hash(&bytes[..68]) != u32_at(bytes, 68) {
            return None;
        }
        let boot = BootId::new(std::str::from_utf8(&bytes[32..68]).ok()?).ok()?;
        Some(Self {
            lane: char::from(bytes[8]),
            next_sequence: u64_at(bytes, 16),
            created: Micros(u64_at(bytes, 24) as i64),
            boot,
        })
    }
}

/// Kinds of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind {
    /// A batch; the payload follows.
    Batch,
    /// The batch of this boot and first number was answered.
    Answered,
}

/// Header of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordHeader {
    /// Kind.
    pub kind: RecordKind,
    /// Whether a rule fired on it.
    pub urgent: bool,
    /// Bytes of the payload.
    pub payload_bytes: u32,
    /// Checksum of the payload.
    pub payload_crc: u32,
    /// First number.
    pub sequence_first: u64,
    /// Rows.
    pub row_count: u32,
    /// When the batch was closed.
    pub created: Micros,
    /// Boot.
    pub boot: BootId,
    /// Table.
    pub table: String,
}

impl RecordHeader {
    /// As bytes.
    pub fn encode(&self) -> [u8; RECORD_BYTES] {
        let mut out = [0; RECORD_BYTES];
        out[..4].copy_from_slice(RECORD_MAGIC);
        out[4] = match self.kind {
            RecordKind::Batch => 1,
            RecordKind::Answered => 2,
        };
        out[5] = u8::from(self.urgent);
        out[8..12].copy_from_slice(&self.payload_bytes.to_le_bytes());
        out[12..16].copy_from_slice(&self.payload_crc.to_le_bytes());
        out[16..24].copy_from_slice(&self.sequence_first.to_le_bytes());
        out[24..28].copy_from_slice(&self.row_count.to_le_bytes());
        out[32..40].copy_from_slice(&self.created.0.to_le_bytes());
        out[40..76].copy_from_slice(self.boot.as_str().as_bytes());
        let table = &self.table.as_bytes()[..self.table.len().min(TABLE_BYTES_MAX)];
        out[76..76 + table.len()].copy_from_slice(table);
        let crc = crc32fast::hash(&out[..108]);
        out[108..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// From bytes; `None` if they are damaged or no record.
    pub fn decode(bytes: &[u8; RECORD_BYTES]) -> Option<Self> {
        if &bytes[..4] != RECORD_MAGIC || crc32fast::hash(&bytes[..108]) != u32_at(bytes, 108) {
            return None;
        }
        let kind = match bytes[4] {
            1 => RecordKind::Batch,
            2 => RecordKind::Answered,
            _ => return None,
        };
        let payload_bytes = u32_at(bytes, 8);
        if payload_bytes as usize > PAYLOAD_BYTES_MAX {
            return None;
        }
        let table = &bytes[76..108];
        let end = table.iter().position(|b| *b == 0).unwrap_or(table.len());
        Some(Self {
            kind,
            urgent: bytes[5] & 1 == 1,
            payload_bytes,
            payload_crc: u32_at(bytes, 12),
            sequence_first: u64_at(bytes, 16),
            row_count: u32_at(bytes, 24),
            created: Micros(u64_at(bytes, 32) as i64),
            boot: BootId::new(std::str::from_utf8(&bytes[40..76]).ok()?).ok()?,
            table: std::str::from_utf8(&table[..end]).ok()?.to_owned(),
        })
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_read_back_and_any_flipped_bit_is_noticed() {
        let boot = BootId::new("0f1e2d3c-0000-4000-8000-0123456789ab").unwrap();
        let segment = SegmentHeader { lane: 'o', next_sequence: 77, created: Micros(5), boot: boot.clone() };
        assert_eq!(SegmentHeader::decode(&segment.encode()), Some(segment.clone()));
        let record = RecordHeader {
            kind: RecordKind::Batch,
            urgent: true,
            payload_bytes: 9,
            payload_crc: 1,
            sequence_first: 1 << 40,
            row_count: 3,
            created: Micros(-1),
            boot,
            table: "DeviceImageLoadEvents".into(),
        };
        assert_eq!(RecordHeader::decode(&record.encode()), Some(record.clone()));
        for bit in 0..RECORD_BYTES * 8 {
            let mut bytes = record.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(RecordHeader::decode(&bytes), None, "bit {bit}");
        }
    }
}
