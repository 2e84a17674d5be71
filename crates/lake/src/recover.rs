//! Reading the write-ahead log at start.

use crate::batch::{bytes_of, decode, stored_rows};
use crate::crypt::LakeKey;
use crate::disk::WalDisk;
use crate::entry::{KIND_ROWS, KIND_SEALED, Piece, RowsHeader, SegmentHeader, Walk};
use crate::error::LakeError;
use crate::positions::StreamPositions;
use crate::table::{HotBatch, LakeTable};
use crate::wal::{POSITIONS_FILE, Sealed, segment_first};
use garrison_telemetry::SequenceRun;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

/// What was found at start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovery {
    /// Log segments read.
    pub segments: u64,
    /// Entries whose rows were put back into memory.
    pub entries: u64,
    /// Rows put back.
    pub rows: u64,
    /// Places in the middle of segments that were damaged. Rows there were acknowledged and are lost.
    pub damaged: u64,
    /// Bytes in those places.
    pub damaged_bytes: u64,
    /// Segments whose end was cut off: what a crash in the middle of a write leaves. Nothing there was acknowledged.
    pub torn_tails: u64,
    /// Bytes there.
    pub torn_bytes: u64,
    /// The file of stream positions was unreadable; positions come from the remaining log alone.
    pub positions_lost: bool,
}

pub(crate) struct Recovered {
    pub(crate) report: Recovery,
    pub(crate) positions: StreamPositions,
    pub(crate) sealed: Vec<Sealed>,
    /// `first` of the newest segment and how much of it is believed.
    pub(crate) previous: (u64, u64),
    /// First position that was never used.
    pub(crate) next: u64,
}

fn wal_error(step: &'static str, segment: &str) -> impl FnOnce(std::io::Error) -> LakeError {
    let segment = segment.to_owned();
    move |source| LakeError::Wal { step, segment, source }
}

/// Reads positions and segments, and gives tables the rows that are not in Parquet.
pub(crate) fn recover(
    disk: &dyn WalDisk,
    tables: &BTreeMap<String, Arc<LakeTable>>,
    stored_through: &HashMap<String, u64>,
    charge: &dyn Fn(usize) -> u32,
    key: Option<&LakeKey>,
    root: &Path,
) -> Result<Recovered, LakeError> {
    let names = disk.list().map_err(wal_error("list", "*"))?;
    let mut report = Recovery::default();
    let mut positions = StreamPositions::default();
    if names.iter().any(|name| name == POSITIONS_FILE) {
        let bytes = disk.read(POSITIONS_FILE).map_err(wal_error("read", POSITIONS_FILE))?;
        let opened = key.and_then(|key| key.open_blob(POSITIONS_FILE, &bytes));
        match StreamPositions::decode(opened.as_deref().unwrap_or(&bytes)) {
            Some(read) => positions = read,
            None => report.positions_lost = true,
        }
    }
    let included = positions.included;
    let mut segments: Vec<(u64, String)> =
        names.into_iter().filter_map(|name| Some((segment_first(&name)?, name))).collect();
    segments.sort();
    // What each segment says about the one before it is needed first.
    let mut believed: HashMap<u64, u64> = HashMap::new();
    let mut previous = (0, 0);
    let mut next = stored_through.values().copied().max().unwrap_or(0).max(included) + 1;
    let mut sealed = Vec::new();
    for (_, name) in &segments {
        let bytes = disk.read(name).map_err(wal_error("read", name))?;
        if let Some(header) = SegmentHeader::decode(&bytes) {
            believed.insert(header.previous_first, header.previous_length);
        }
    }
    let newest = segments.last().map(|(first, _)| *first);
    for (first, name) in &segments {
        report.segments += 1;
        let bytes = disk.read(name).map_err(wal_error("read", name))?;
        let Some(header) = SegmentHeader::decode(&bytes) else {
            // The newest segment may have been created without being written to; then nothing in it was acknowledged.
            if Some(*first) == newest && bytes.len() <= crate::entry::SEGMENT_HEADER_BYTES {
                report.torn_tails += 1;
                report.torn_bytes += bytes.len() as u64;
                disk.remove(name).map_err(wal_error("remove", name))?;
            } else {
                report.damaged += 1;
                report.damaged_bytes += bytes.len() as u64;
                tracing::error!(segment = name, "a write-ahead log segment has no readable header");
                sealed.push(Sealed { name: name.clone(), last: *first, bytes: bytes.len() as u64 });
            }
            next = next.max(first + 1);
            continue;
        };
        let seal = key.map(|key| key.segment(header.salt, header.first)).transpose()?;
        let trusted = believed.get(first).map_or(bytes.len(), |length| (*length as usize).min(bytes.len()));
        let mut last = first.saturating_sub(1);
        let mut end_of_entries = crate::entry::SEGMENT_HEADER_BYTES.min(trusted);
        for piece in Walk::new(&bytes[..trusted], &header) {
            match piece {
                Piece::Damage { length, .. } => {
                    report.damaged += 1;
                    report.damaged_bytes += length as u64;
                }
                Piece::Tail { length, .. } if believed.contains_key(first) => {
                    // The segment was closed in good order and was longer once.
                    report.damaged += 1;
                    report.damaged_bytes += length as u64;
                }
                Piece::Tail { length, .. } => {
                    report.torn_tails += 1;
                    report.torn_bytes += length as u64;
                }
                Piece::Entry { position, kind, header, payload, end } => {
                    (last, end_of_entries) = (position, end);
                    // An entry whose checksum holds and whose seal does not is no damage: it is sealed with another
                    // key, or somebody wrote it. Its rows must not be given up for that.
                    let opened = match (kind, key, &seal) {
                        (KIND_SEALED, Some(key), Some(seal)) => {
                            Some(seal.open(position, payload).ok_or_else(|| LakeError::Key {
                                path: root.join("wal").join(name),
                                known: "another".to_owned(),
                                given: key.id().to_owned(),
                            })?)
                        }
                        (KIND_SEALED, ..) => {
                            return Err(LakeError::Key {
                                path: root.join("wal").join(name),
                                known: "unknown".to_owned(),
                                given: "none".to_owned(),
                            });
                        }
                        _ => None,
                    };
                    let (header, payload) =
                        opened.as_ref().map_or((header, payload), |(header, payload)| (&header[..], &payload[..]));
                    let known = matches!(kind, KIND_ROWS | KIND_SEALED).then(|| RowsHeader::decode(header)).flatten();
                    let replayed = known.and_then(|mut rows| {
                        if position > included {
                            only_new_rows(&mut positions, &mut rows);
                        }
                        replay(tables, stored_through, charge, position, &rows, payload)
                    });
                    match replayed {
                        Some(rows) => {
                            report.entries += u64::from(rows > 0);
                            report.rows += rows;
                        }
                        None => {
                            tracing::error!(segment = name, position, "a log entry could not be read back");
                            report.damaged += 1;
                            report.damaged_bytes += payload.len() as u64;
                        }
                    }
                }
            }
        }
        if believed.get(first).is_some_and(|length| *length as usize > bytes.len()) {
            report.damaged += 1;
        }
        next = next.max(last + 1).max(first + 1);
        previous = (*first, end_of_entries as u64);
        sealed.push(Sealed { name: name.clone(), last, bytes: bytes.len() as u64 });
    }
    positions.included = next - 1;
    Ok(Recovered { report, positions, sealed, previous, next })
}

/// Takes the rows into the stream positions; rows that are there already are not kept twice.
fn only_new_rows(positions: &mut StreamPositions, rows: &mut RowsHeader) {
    let key = (rows.batch.device.clone(), rows.batch.boot.clone());
    let first = rows.batch.sequence_first;
    let mut kept = Vec::with_capacity(rows.kept.len());
    for range in &rows.kept {
        let run = SequenceRun { first: first + u64::from(range.start), end: first + u64::from(range.end) };
        let missing = positions.of(&key).map_or_else(|| vec![run], |stream| stream.missing(run));
        for part in missing {
            kept.push((part.first - first) as u32..(part.end - first) as u32);
            positions.insert(&key, part, rows.ingested);
        }
    }
    rows.kept = kept;
}

/// Puts rows back into memory unless they are in Parquet; `None` if they cannot be read.
fn replay(
    tables: &BTreeMap<String, Arc<LakeTable>>,
    stored_through: &HashMap<String, u64>,
    charge: &dyn Fn(usize) -> u32,
    position: u64,
    header: &RowsHeader,
    payload: &[u8],
) -> Option<u64> {
    let table = tables.get(&header.batch.table)?;
    if stored_through.get(&header.batch.table).is_some_and(|through| *through >= position) || header.kept.is_empty() {
        return Some(0);
    }
    let rows = decode(payload).ok()?;
    if rows.num_rows() as u64 != u64::from(header.batch.row_count) {
        return None;
    }
    let rows = stored_rows(&table.spec, header, &rows).ok()?;
    let count = rows.num_rows() as u64;
    let bytes = bytes_of(&rows);
    table.push(HotBatch { position, rows, permits: charge(bytes), bytes });
    Some(count)
}
