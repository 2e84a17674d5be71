//! Which sequence numbers of which (device, boot) are stored: the facts that make a resent batch stored once.
//!
//! A stream is normally one run. Rows that a sensor shed leave gaps; a gap may still be filled later, so each stream
//! keeps a sorted list of runs. At [`RUNS_MAX`] runs the oldest gap is closed: rows that would still arrive in it are
//! then answered as duplicates. The number of gaps closed this way is counted.

use crate::wire_bytes::{Reader, put_bytes8};
use garrison_model::{BootId, DeviceId, Micros};
use garrison_telemetry::SequenceRun;
use std::collections::HashMap;

/// Runs that one stream remembers: 64 KiB a stream at worst, so that a hostile sensor that leaves a gap after every
/// row costs no more.
pub const RUNS_MAX: usize = 4_096;

/// Magic of a checkpoint file, with the format's version.
const CHECKPOINT_MAGIC: &[u8; 8] = b"GARPOS01";

/// A (device, boot).
pub(crate) type StreamKey = (DeviceId, BootId);

/// What is stored of one (device, boot).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StreamPosition {
    /// Stored runs, sorted, neither overlapping nor touching.
    pub runs: Vec<SequenceRun>,
    /// When rows last came, by the ingest clock.
    pub last_seen: Micros,
}

impl StreamPosition {
    /// One past the highest stored number, 0 if none.
    pub fn end(&self) -> u64 {
        self.runs.last().map_or(0, |run| run.end)
    }

    /// First number at or after `from` that is not stored.
    pub fn contiguous_end(&self, from: u64) -> u64 {
        let at = self.runs.partition_point(|run| run.end <= from);
        self.runs.get(at).filter(|run| run.first <= from).map_or(from, |run| run.end)
    }

    /// The parts of `run` that are not stored yet.
    pub fn missing(&self, run: SequenceRun) -> Vec<SequenceRun> {
        let mut missing = Vec::new();
        let mut from = run.first;
        let start = self.runs.partition_point(|stored| stored.end <= run.first);
        for stored in &self.runs[start..] {
            if stored.first >= run.end {
                break;
            }
            if stored.first > from {
                missing.push(SequenceRun { first: from, end: stored.first });
            }
            from = from.max(stored.end);
        }
        if from < run.end {
            missing.push(SequenceRun { first: from, end: run.end });
        }
        missing
    }

    /// Adds a run; returns how many gaps had to be closed to stay within [`RUNS_MAX`].
    pub fn insert(&mut self, run: SequenceRun) -> u64 {
        if run.first >= run.end {
            return 0;
        }
        let start = self.runs.partition_point(|stored| stored.end < run.first);
        let end = self.runs.partition_point(|stored| stored.first <= run.end);
        let mut merged = run;
        if start < end {
            merged.first = merged.first.min(self.runs[start].first);
            merged.end = merged.end.max(self.runs[end - 1].end);
        }
        self.runs.splice(start..end, [merged]);
        let mut closed = 0;
        while self.runs.len() > RUNS_MAX {
            self.runs[1].first = self.runs[0].first;
            self.runs.remove(0);
            closed += 1;
        }
        closed
    }
}

/// Numbers of a stream that are not stored though later ones are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamGap {
    /// Device.
    pub device: DeviceId,
    /// Boot that the numbers count in.
    pub boot: BootId,
    /// The missing numbers.
    pub missing: SequenceRun,
}

/// All streams of a lake.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamPositions {
    streams: HashMap<StreamKey, StreamPosition>,
    /// Position in the write-ahead log up to which entries are included.
    pub(crate) included: u64,
    /// Gaps that were closed to stay within bounds, since the lake was opened.
    pub(crate) gaps_closed: u64,
}

impl StreamPositions {
    /// One stream.
    pub fn get(&self, device: &DeviceId, boot: &BootId) -> Option<&StreamPosition> {
        // A lookup by a pair of references would need another map type; ids are short.
        self.streams.get(&(device.clone(), boot.clone()))
    }

    pub(crate) fn of(&self, key: &StreamKey) -> Option<&StreamPosition> {
        self.streams.get(key)
    }

    pub(crate) fn insert(&mut self, key: &StreamKey, run: SequenceRun, seen: Micros) {
        let stream = match self.streams.get_mut(key) {
            Some(stream) => stream,
            None => self.streams.entry(key.clone()).or_default(),
        };
        stream.last_seen = stream.last_seen.max(seen);
        self.gaps_closed += stream.insert(run);
    }

    /// Gaps of streams that were heard at or after `since`.
    pub(crate) fn gaps(&self, since: Micros, gaps_max: usize) -> Vec<StreamGap> {
        let heard = self.streams.iter().filter(|(_, stream)| stream.last_seen >= since);
        heard
            .flat_map(|((device, boot), stream)| {
                stream.runs.iter().zip(stream.runs.iter().skip(1)).map(|(before, after)| StreamGap {
                    device: device.clone(),
                    boot: boot.clone(),
                    missing: SequenceRun { first: before.end, end: after.first },
                })
            })
            .take(gaps_max)
            .collect()
    }

    /// Number of streams.
    pub fn len(&self) -> usize {
        self.streams.len()
    }

    /// Whether no stream is known.
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// Forgets streams that were silent since before `cutoff`; returns how many.
    pub fn forget_before(&mut self, cutoff: Micros) -> usize {
        let before = self.streams.len();
        self.streams.retain(|_, stream| stream.last_seen >= cutoff);
        before - self.streams.len()
    }

    /// The checkpoint file's bytes (docs/internals/lake.md, "Positions").
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32 + self.streams.len() * 128);
        out.extend_from_slice(CHECKPOINT_MAGIC);
        out.extend_from_slice(&self.included.to_le_bytes());
        out.extend_from_slice(&(self.streams.len() as u64).to_le_bytes());
        for ((device, boot), stream) in &self.streams {
            put_bytes8(&mut out, device.as_str().as_bytes());
            put_bytes8(&mut out, boot.as_str().as_bytes());
            out.extend_from_slice(&stream.last_seen.0.to_le_bytes());
            out.extend_from_slice(&(stream.runs.len() as u32).to_le_bytes());
            for run in &stream.runs {
                out.extend_from_slice(&run.first.to_le_bytes());
                out.extend_from_slice(&run.end.to_le_bytes());
            }
        }
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a checkpoint file; `None` if it is damaged.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
        if crc32fast::hash(body).to_le_bytes() != *crc {
            return None;
        }
        let mut reader = Reader::new(body.strip_prefix(CHECKPOINT_MAGIC)?);
        let included = reader.u64()?;
        let count = reader.u64()?;
        let mut positions = Self { included, ..Self::default() };
        for _ in 0..count {
            let device = DeviceId::new(reader.text8()?).ok()?;
            let boot = BootId::new(reader.text8()?).ok()?;
            let last_seen = Micros(reader.i64()?);
            let runs = reader.u32()?;
            let mut stream = StreamPosition { runs: Vec::new(), last_seen };
            for _ in 0..runs {
                let run = SequenceRun { first: reader.u64()?, end: reader.u64()? };
                stream.insert(run);
            }
            positions.streams.insert((device, boot), stream);
        }
        reader.is_empty().then_some(positions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(first: u64, end: u64) -> SequenceRun {
        SequenceRun { first, end }
    }

    #[test]
    fn touching_runs_become_one_and_a_gap_can_be_filled() {
        let mut stream = StreamPosition::default();
        stream.insert(run(10, 20));
        stream.insert(run(30, 40));
        assert_eq!(stream.missing(run(5, 50)), [run(5, 10), run(20, 30), run(40, 50)]);
        assert_eq!(stream.contiguous_end(12), 20);
        assert_eq!(stream.contiguous_end(25), 25);
        stream.insert(run(20, 30));
        assert_eq!(stream.runs, [run(10, 40)]);
        assert_eq!(stream.end(), 40);
    }

    #[test]
    fn the_oldest_gap_is_closed_when_a_stream_has_too_many() {
        let mut stream = StreamPosition::default();
        let mut closed = 0;
        for i in 0..RUNS_MAX as u64 + 3 {
            closed += stream.insert(run(i * 2, i * 2 + 1));
        }
        assert_eq!((closed, stream.runs.len()), (3, RUNS_MAX));
        assert_eq!(stream.runs[0], run(0, 7));
    }

    proptest! {
        #[test]
        fn runs_agree_with_a_set_of_numbers(parts in proptest::collection::vec((0_u64..200, 0_u64..30), 1..40)) {
            let mut stream = StreamPosition::default();
            let mut set = std::collections::BTreeSet::new();
            for (first, length) in parts {
                let part = run(first, first + length);
                let missing: Vec<u64> = stream.missing(part).iter().flat_map(|r| r.first..r.end).collect();
                let expected: Vec<u64> = (part.first..part.end).filter(|n| !set.contains(n)).collect();
                prop_assert_eq!(missing, expected);
                stream.insert(part);
                set.extend(part.first..part.end);
            }
            let stored: Vec<u64> = stream.runs.iter().flat_map(|r| r.first..r.end).collect();
            prop_assert_eq!(stored, set.into_iter().collect::<Vec<_>>());
            prop_assert!(stream.runs.windows(2).all(|w| w[0].end < w[1].first));
        }
    }

    #[test]
    fn a_checkpoint_comes_back_and_a_flipped_bit_is_seen() {
        let mut positions = StreamPositions { included: 77, ..StreamPositions::default() };
        let key =
            (DeviceId::new("ab".repeat(20)).unwrap(), BootId::new("0f1e2d3c-0000-4000-8000-0123456789ab").unwrap());
        positions.insert(&key, run(3, 9), Micros(5));
        positions.insert(&key, run(12, 13), Micros(4));
        let bytes = positions.encode();
        assert_eq!(StreamPositions::decode(&bytes).unwrap(), positions);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert!(StreamPositions::decode(&damaged).is_none(), "byte {at}");
        }
    }
}
