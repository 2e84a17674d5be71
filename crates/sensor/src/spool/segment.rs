//! One segment file and what is known of it.

use super::Lane;
use super::format::{RECORD_BYTES, RECORD_MAGIC, RecordHeader, RecordKind, SEGMENT_BYTES, SegmentHeader};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

/// Where a batch of a segment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Waiting,
    Sent,
    Done,
}

/// A batch of a segment.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub offset: u64,
    pub header: RecordHeader,
    pub state: State,
}

/// A segment.
#[derive(Debug)]
pub(super) struct Segment {
    pub lane: Lane,
    pub path: PathBuf,
    pub file: Arc<File>,
    pub bytes: u64,
    /// Batches not yet answered, and their rows.
    pub waiting_batches: u64,
    pub waiting_rows: u64,
    /// Batches under way.
    pub sent: usize,
    /// No more is written to it.
    pub sealed: bool,
    /// Written to since the last sync.
    pub dirty: bool,
    /// The batches, while the segment is being written or read. `None`: read them from the file when needed.
    pub entries: Option<Vec<Entry>>,
    /// No entry before this one is waiting.
    pub cursor: usize,
}

/// What a scan of a segment found.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub header: Option<SegmentHeader>,
    pub entries: Vec<Entry>,
    pub answered: Vec<(String, u64)>,
    /// Places between records that are no records.
    pub damaged: u64,
    /// Where the last whole record ends.
    pub end: u64,
    /// Whether bytes that are no record follow it.
    pub torn: bool,
}

/// Reads all record headers of a segment. Payloads are not read: their checksum is looked at when they are sent.
pub(super) fn scan(file: &File) -> std::io::Result<Scan> {
    let length = file.metadata()?.len();
    let mut scan = Scan { end: SEGMENT_BYTES as u64, ..Scan::default() };
    let mut head = [0; SEGMENT_BYTES];
    if length >= SEGMENT_BYTES as u64 {
        file.read_exact_at(&mut head, 0)?;
        scan.header = SegmentHeader::decode(&head);
    }
    let mut at = SEGMENT_BYTES as u64;
    let mut gap = false;
    while at + RECORD_BYTES as u64 <= length {
        let mut bytes = [0; RECORD_BYTES];
        file.read_exact_at(&mut bytes, at)?;
        let whole = RecordHeader::decode(&bytes)
            .map(|h| (at + RECORD_BYTES as u64 + u64::from(h.payload_bytes), h))
            .filter(|(end, _)| *end <= length);
        let Some((end, header)) = whole else {
            gap = true;
            match find_magic(file, at + 1, length)? {
                Some(next) => at = next,
                None => break,
            }
            continue;
        };
        if gap {
            scan.damaged += 1;
            gap = false;
        }
        match header.kind {
            RecordKind::Batch => scan.entries.push(Entry { offset: at, header, state: State::Waiting }),
            RecordKind::Answered => scan.answered.push((header.boot.to_string(), header.sequence_first)),
        }
        at = end;
        scan.end = end;
    }
    scan.torn = scan.end < length;
    Ok(scan)
}

/// The next place that could be a record.
fn find_magic(file: &File, from: u64, length: u64) -> std::io::Result<Option<u64>> {
    let mut at = from;
    let mut buffer = vec![0; 64 * 1024];
    while at + RECORD_MAGIC.len() as u64 <= length {
        let take = usize::try_from(length - at).unwrap_or(usize::MAX).min(buffer.len());
        let window = &mut buffer[..take];
        file.read_exact_at(window, at)?;
        if let Some(i) = window.windows(RECORD_MAGIC.len()).position(|w| w == RECORD_MAGIC) {
            return Ok(Some(at + i as u64));
        }
        at += (take - RECORD_MAGIC.len() + 1) as u64;
    }
    Ok(None)
}

impl Segment {
    /// The batches, read from the file if they are not in memory.
    pub fn load(&mut self) -> std::io::Result<&mut Vec<Entry>> {
        if self.entries.is_none() {
            self.entries = Some(scan(&self.file)?.entries);
            self.cursor = 0;
        }
        Ok(self.entries.get_or_insert_default())
    }

    /// Forgets the list of a segment that is neither written nor read, to save memory.
    pub fn unload_if_idle(&mut self) {
        let idle = self.sealed
            && self.sent == 0
            && self.entries.as_ref().is_some_and(|e| e.iter().all(|e| e.state == State::Waiting));
        if idle {
            self.entries = None;
            self.cursor = 0;
        }
    }
}
