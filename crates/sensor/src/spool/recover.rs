//! Opening a queue that a former sensor left behind, however it ended.

use super::format::SegmentHeader;
use super::ledger::LedgerEntry;
use super::segment::{Scan, Segment, State, scan};
use super::{Lane, Recovered, SpoolError};
use garrison_model::{BootId, LossCause, Micros};
use std::collections::{BTreeMap, HashSet};
use std::fs::{File, OpenOptions};
use std::path::Path;
use std::sync::Arc;

/// What was on the disk.
pub(super) struct Found {
    pub segments: BTreeMap<u64, Segment>,
    pub index_next: u64,
    pub sequence_next: u64,
    pub recovered: Recovered,
    pub losses: Vec<LedgerEntry>,
}

/// Name of a segment's file.
pub(super) fn file_name(lane: Lane, index: u64) -> String {
    format!("{}-{index:016x}.seg", lane.letter())
}

fn parse_name(name: &str) -> Option<(Lane, u64)> {
    let (lane, index) = name.strip_suffix(".seg")?.split_once('-')?;
    let mut letters = lane.chars();
    let lane = letters.next().and_then(Lane::from_letter)?;
    (letters.next().is_none() && index.len() == 16).then_some(())?;
    Some((lane, u64::from_str_radix(index, 16).ok()?))
}

/// Reads all segments. The tail of a lane's last segment that is no whole record was being written when the sensor
/// was killed: nobody was told that it was queued, so it is cut off. Anything else that cannot be read is damage.
pub(super) fn recover(folder: &Path, boot: &BootId, now: Micros) -> Result<Found, SpoolError> {
    let failed = |source| SpoolError::Folder { path: folder.to_owned(), source };
    let mut names: Vec<(u64, Lane)> = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if let Some((lane, index)) = entry.file_name().to_str().and_then(parse_name) {
            names.push((index, lane));
        }
    }
    names.sort_unstable();
    let last_of = |lane: Lane| names.iter().rev().find(|n| n.1 == lane).map(|n| n.0);
    let lasts = Lane::ALL.map(last_of);
    let mut found = Found {
        segments: BTreeMap::new(),
        index_next: names.last().map_or(0, |n| n.0 + 1),
        // Numbers begin at 1, so that "after 0" means "before all".
        sequence_next: 1,
        recovered: Recovered::default(),
        losses: Vec::new(),
    };
    let mut answered: HashSet<(String, u64)> = HashSet::new();
    let damage =
        |count, detail: String| LedgerEntry::unnumbered(LossCause::SpoolDamage, None, count, now, now).detail(detail);
    for (index, lane) in &names {
        let path = folder.join(file_name(*lane, *index));
        let opened = OpenOptions::new().read(true).write(true).open(&path).and_then(|f| Ok((scan(&f)?, f)));
        let (Scan { header, entries, answered: done, damaged, end, torn }, file): (Scan, File) = match opened {
            Ok(both) => both,
            Err(e) => {
                found.recovered.damaged += 1;
                found.losses.push(damage(None, format!("segment cannot be read: {e}")));
                continue;
            }
        };
        let mut lived = |boot: &BootId, at: Micros| {
            if at > Micros::default() && found.recovered.newest.as_ref().is_none_or(|n| n.1 < at) {
                found.recovered.newest = Some((boot.clone(), at));
            }
        };
        if let Some(SegmentHeader { boot: b, created, .. }) = &header {
            lived(b, *created);
        }
        for e in &entries {
            lived(&e.header.boot, e.header.created);
        }
        if let Some(SegmentHeader { boot: b, next_sequence, .. }) = &header
            && b == boot
        {
            found.sequence_next = found.sequence_next.max(*next_sequence);
        }
        let is_last = lasts.contains(&Some(*index));
        if torn && is_last {
            file.set_len(end).map_err(failed)?;
        }
        // A segment whose very header is torn was just being made, unless records follow.
        let lost = damaged + u64::from(torn && !is_last) + u64::from(header.is_none() && !entries.is_empty());
        if lost > 0 {
            found.recovered.damaged += lost;
            found.losses.push(damage(None, format!("{lost} unreadable place(s) in a segment")));
        }
        for e in &entries {
            let next = e.header.sequence_first.saturating_add(u64::from(e.header.row_count));
            if e.header.boot == *boot {
                found.sequence_next = found.sequence_next.max(next);
            }
        }
        answered.extend(done);
        found.segments.insert(
            *index,
            Segment {
                lane: *lane,
                path,
                file: Arc::new(file),
                bytes: end,
                waiting_batches: 0,
                waiting_rows: 0,
                sent: 0,
                sealed: true,
                dirty: false,
                entries: Some(entries),
                cursor: 0,
            },
        );
    }
    for segment in found.segments.values_mut() {
        let Some(entries) = &mut segment.entries else { continue };
        for e in entries.iter_mut() {
            if answered.contains(&(e.header.boot.to_string(), e.header.sequence_first)) {
                e.state = State::Done;
            } else {
                segment.waiting_batches += 1;
                segment.waiting_rows += u64::from(e.header.row_count);
            }
        }
        found.recovered.batches += segment.waiting_batches;
        found.recovered.rows += segment.waiting_rows;
        segment.unload_if_idle();
    }
    Ok(found)
}
