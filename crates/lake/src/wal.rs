//! The write-ahead log: one thread writes, many wait.
//!
//! Appends queue; the writer takes what is queued, decides which rows are new, writes all entries, calls `fdatasync`
//! once and only then answers everyone in the group. While it syncs, the next group gathers, so the group grows with
//! the load and nobody sleeps for a timer.
//!
//! After a failed sync the kernel may have dropped the dirty pages and report success the next time. Such a segment
//! is never written again: the next segment's header says how much of it is to be believed, which leaves the group
//! that failed out, even if some of its bytes did reach the disk. Nothing of it was acknowledged.
//!
//! One log a lake, and one lake a tenant: no file holds rows of two tenants, and a tenant can be moved or erased as a
//! folder. The price is a sync for each busy tenant.

use crate::batch::Appended;
use crate::crypt::{LakeKey, SegmentKey};
use crate::disk::{WalDisk, WalFile};
use crate::entry::{KIND_ROWS, KIND_SEALED, RowsHeader, SegmentHeader, put_entry};
use crate::error::{LakeError, is_no_space};
use crate::positions::{StreamKey, StreamPosition, StreamPositions};
use bytes::Bytes;
use garrison_telemetry::SequenceRun;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::oneshot;

/// The file of stream positions beside the segments.
pub(crate) const POSITIONS_FILE: &str = "positions.checkpoint";

/// Makes durable rows readable; gets their position and what is kept of them.
pub(crate) type Publish = Box<dyn FnOnce(u64, &RowsHeader) + Send>;

/// An append on its way to the log.
pub(crate) struct Submission {
    pub(crate) header: RowsHeader,
    pub(crate) payload: Bytes,
    pub(crate) reply: oneshot::Sender<Result<Appended, LakeError>>,
    /// Called once the rows are durable, before the reply, with the position and what was kept.
    pub(crate) publish: Publish,
    /// Room in the queue, given back when this is dropped.
    pub(crate) room: Option<tokio::sync::OwnedSemaphorePermit>,
}

/// A segment that is not written any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sealed {
    pub(crate) name: String,
    pub(crate) last: u64,
    pub(crate) bytes: u64,
}

/// Figures of the log.
#[derive(Debug, Default)]
pub(crate) struct WalFigures {
    pub(crate) groups: AtomicU64,
    pub(crate) entries: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) sync_micros: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) poisoned: AtomicU64,
    pub(crate) durable: AtomicU64,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Submission>,
    closed: bool,
}

/// What the writer and others share.
pub(crate) struct WalShared {
    pub(crate) disk: Arc<dyn WalDisk>,
    queue: Mutex<Queue>,
    wake: Condvar,
    pub(crate) positions: Mutex<StreamPositions>,
    pub(crate) sealed: Mutex<Vec<Sealed>>,
    pub(crate) figures: WalFigures,
    /// Asks the disk watch whether appends are allowed; checked before each group.
    gate: Box<dyn Fn() -> Result<(), LakeError> + Send + Sync>,
    /// What entries and positions are sealed with.
    key: Option<LakeKey>,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while holding one of our locks leaves plain data behind; going on beats stopping every sensor.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn segment_name(first: u64) -> String {
    format!("{first:020}.wal")
}

pub(crate) fn segment_first(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".wal")?;
    (digits.len() == 20).then(|| digits.parse().ok())?
}

struct Open {
    file: Box<dyn WalFile>,
    name: String,
    salt: u64,
    seal: Option<SegmentKey>,
    first: u64,
    /// Last position that is durable in it, `first - 1` if none.
    last: u64,
    /// Bytes that are durable.
    length: u64,
}

/// The writing half, owned by the writer's thread.
pub(crate) struct WalWriter {
    shared: Arc<WalShared>,
    open: Option<Open>,
    previous: (u64, u64),
    next: u64,
    segment_bytes_max: u64,
    group_bytes_max: usize,
}

impl WalShared {
    pub(crate) fn new(
        disk: Arc<dyn WalDisk>,
        positions: StreamPositions,
        sealed: Vec<Sealed>,
        gate: Box<dyn Fn() -> Result<(), LakeError> + Send + Sync>,
        key: Option<LakeKey>,
    ) -> Self {
        Self {
            disk,
            queue: Mutex::default(),
            wake: Condvar::new(),
            positions: Mutex::new(positions),
            sealed: Mutex::new(sealed),
            figures: WalFigures::default(),
            gate,
            key,
        }
    }

    /// Queues an append; after [`WalShared::close`] it is answered at once.
    pub(crate) fn submit(&self, submission: Submission) {
        let mut queue = lock(&self.queue);
        if queue.closed {
            drop(queue);
            let _ = submission.reply.send(Err(LakeError::Closed));
            return;
        }
        queue.waiting.push_back(submission);
        drop(queue);
        self.wake.notify_one();
    }

    /// Lets the writer finish what is queued and end.
    pub(crate) fn close(&self) {
        lock(&self.queue).closed = true;
        self.wake.notify_one();
    }

    /// Gives back segments whose entries are all below `unflushed`; returns how many. Positions are written first, so
    /// that what the segments said about streams is not lost with them.
    pub(crate) fn collect(&self, unflushed: u64) -> Result<usize, LakeError> {
        let done: Vec<Sealed> =
            lock(&self.sealed).iter().take_while(|segment| segment.last < unflushed).cloned().collect();
        let Some(newest) = done.last() else { return Ok(0) };
        self.write_positions()?;
        for segment in &done {
            match self.disk.remove(&segment.name) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(LakeError::Wal { step: "remove", segment: segment.name.clone(), source });
                }
                _ => {}
            }
        }
        let last = newest.last;
        lock(&self.sealed).retain(|segment| segment.last > last);
        self.disk.sync_folder().map_err(|source| LakeError::Wal {
            step: "sync the folder of",
            segment: newest.name.clone(),
            source,
        })?;
        Ok(done.len())
    }

    /// Writes the positions as of now.
    pub(crate) fn write_positions(&self) -> Result<(), LakeError> {
        let mut bytes = lock(&self.positions).encode();
        if let Some(key) = &self.key {
            bytes = key.seal_blob(POSITIONS_FILE, &bytes)?;
        }
        self.disk.replace(POSITIONS_FILE, &bytes).map_err(|source| LakeError::Wal {
            step: "write",
            segment: POSITIONS_FILE.to_owned(),
            source,
        })
    }

    /// Bytes in all segments that are not given back yet.
    pub(crate) fn sealed_bytes(&self) -> u64 {
        lock(&self.sealed).iter().map(|segment| segment.bytes).sum()
    }
}

impl WalWriter {
    pub(crate) fn new(
        shared: Arc<WalShared>,
        previous: (u64, u64),
        next: u64,
        segment_bytes_max: u64,
        group_bytes_max: usize,
    ) -> Self {
        Self { shared, open: None, previous, next, segment_bytes_max, group_bytes_max }
    }

    /// Serves the queue until it is closed and empty.
    pub(crate) fn run(mut self) {
        while let Some(group) = self.take_group() {
            self.write_group(group);
        }
    }

    fn take_group(&self) -> Option<Vec<Submission>> {
        let mut queue = lock(&self.shared.queue);
        while queue.waiting.is_empty() {
            if queue.closed {
                return None;
            }
            queue = self.shared.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        let mut bytes = 0;
        let mut group = Vec::new();
        while let Some(next) = queue.waiting.front() {
            bytes += next.payload.len();
            if !group.is_empty() && bytes > self.group_bytes_max {
                break;
            }
            group.extend(queue.waiting.pop_front());
        }
        Some(group)
    }

    /// Decides, writes, syncs, publishes, answers.
    fn write_group(&mut self, group: Vec<Submission>) {
        let mut overlay: HashMap<StreamKey, StreamPosition> = HashMap::new();
        let mut fresh: Vec<(Submission, Vec<SequenceRun>)> = Vec::with_capacity(group.len());
        let mut duplicates = Vec::new();
        {
            let positions = lock(&self.shared.positions);
            for mut submission in group {
                let batch = &submission.header.batch;
                let key = (batch.device.clone(), batch.boot.clone());
                let run = batch.run();
                let missing = positions.of(&key).map_or_else(|| vec![run], |stream| stream.missing(run));
                let in_group = overlay.entry(key).or_default();
                let missing: Vec<SequenceRun> = missing.into_iter().flat_map(|part| in_group.missing(part)).collect();
                if missing.is_empty() {
                    duplicates.push(submission);
                    continue;
                }
                for part in &missing {
                    in_group.insert(*part);
                }
                submission.header.kept =
                    missing.iter().map(|part| (part.first - run.first) as u32..(part.end - run.first) as u32).collect();
                fresh.push((submission, missing));
            }
        }
        if fresh.is_empty() {
            answer_duplicates(duplicates);
            return;
        }
        match self.write_entries(&fresh) {
            Ok(first) => self.publish(first, fresh, duplicates),
            Err(error) => {
                self.shared.figures.failures.fetch_add(1, Ordering::Relaxed);
                // Duplicates of rows in this very group are not durable either, so all of them wait for a new try.
                for submission in fresh.into_iter().map(|(submission, _)| submission).chain(duplicates) {
                    let _ = submission.reply.send(Err(error.again()));
                }
            }
        }
    }

    fn publish(&mut self, first: u64, fresh: Vec<(Submission, Vec<SequenceRun>)>, duplicates: Vec<Submission>) {
        let last = first + fresh.len() as u64 - 1;
        let mut answers = Vec::with_capacity(fresh.len());
        {
            // Rows become readable and positions known in one step, so that nobody takes positions to disk that claim
            // rows which a flush did not see.
            let mut positions = lock(&self.shared.positions);
            for (position, (submission, missing)) in (first..).zip(fresh) {
                let Submission { header, reply, publish, room, .. } = submission;
                let key = (header.batch.device.clone(), header.batch.boot.clone());
                for part in missing {
                    positions.insert(&key, part, header.ingested);
                }
                publish(position, &header);
                answers.push((reply, position, header.kept));
                drop(room);
            }
            positions.included = last;
        }
        self.shared.figures.durable.store(last, Ordering::Release);
        for (reply, position, kept) in answers {
            let _ = reply.send(Ok(Appended::Stored { position, kept }));
        }
        answer_duplicates(duplicates);
    }

    /// Writes and syncs; returns the position of the first entry. Positions are used up even on failure, so that no
    /// two entries ever share one.
    fn write_entries(&mut self, fresh: &[(Submission, Vec<SequenceRun>)]) -> Result<u64, Failure> {
        (self.shared.gate)().map_err(|error| Failure::from_error(&error))?;
        if self.open.as_ref().is_some_and(|open| open.length >= self.segment_bytes_max) {
            self.seal();
        }
        if self.open.is_none() {
            self.open_segment()?;
        }
        let first = self.next;
        self.next += fresh.len() as u64;
        let Some(open) = self.open.as_mut() else { return Err(Failure::from_error(&LakeError::Closed)) };
        let mut bytes = Vec::with_capacity(fresh.iter().map(|(s, _)| s.payload.len() + 256).sum());
        for (position, (submission, _)) in (first..).zip(fresh) {
            let header = submission.header.encode();
            match &open.seal {
                None => put_entry(&mut bytes, open.salt, position, KIND_ROWS, &header, &submission.payload),
                Some(seal) => {
                    let sealed = seal
                        .seal(position, &header, &submission.payload)
                        .map_err(|error| Failure::from_error(&error))?;
                    put_entry(&mut bytes, open.salt, position, KIND_SEALED, &[], &sealed);
                }
            }
        }
        let started = Instant::now();
        if let Err(error) = append_all(open.file.as_mut(), &bytes) {
            let name = open.name.clone();
            // Bytes of half a group may stand there. If they can be cut the segment is as before.
            if open.file.truncate(open.length).is_err() {
                self.abandon();
            }
            return Err(Failure::new("append to", name, error));
        }
        if let Err(error) = open.file.sync() {
            let name = open.name.clone();
            self.abandon();
            return Err(Failure::new("sync", name, error));
        }
        open.length += bytes.len() as u64;
        open.last = self.next - 1;
        let figures = &self.shared.figures;
        figures.groups.fetch_add(1, Ordering::Relaxed);
        figures.entries.fetch_add(fresh.len() as u64, Ordering::Relaxed);
        figures.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        figures.sync_micros.fetch_add(started.elapsed().as_micros() as u64, Ordering::Relaxed);
        Ok(first)
    }

    fn seal(&mut self) {
        if let Some(open) = self.open.take() {
            self.previous = (open.first, open.length);
            lock(&self.shared.sealed).push(Sealed { name: open.name, last: open.last, bytes: open.length });
        }
    }

    /// Never trusts the open segment again beyond what was durable.
    fn abandon(&mut self) {
        self.shared.figures.poisoned.fetch_add(1, Ordering::Relaxed);
        tracing::error!("a write-ahead log segment is abandoned after a write error");
        self.seal();
    }

    fn open_segment(&mut self) -> Result<(), Failure> {
        let first = self.next;
        let name = segment_name(first);
        let disk = Arc::clone(&self.shared.disk);
        let (salt, _) = uuid::Uuid::new_v4().as_u64_pair();
        let seal = self.shared.key.as_ref().map(|key| key.segment(salt, first)).transpose();
        let seal = seal.map_err(|error| Failure::from_error(&error))?;
        let header = SegmentHeader { first, salt, previous_first: self.previous.0, previous_length: self.previous.1 };
        let bytes = header.encode();
        let made = disk.create(&name).and_then(|mut file| {
            let written =
                append_all(file.as_mut(), &bytes).and_then(|()| file.sync()).and_then(|()| disk.sync_folder());
            written.map(|()| file)
        });
        match made {
            Ok(file) => {
                let length = bytes.len() as u64;
                self.open = Some(Open { file, name, salt, seal, first, last: first - 1, length });
                Ok(())
            }
            Err(error) => {
                // A leftover must not stand in the way of the next try, which takes a new name anyway.
                let _ = disk.remove(&name);
                self.next += 1;
                Err(Failure::new("create", name, error))
            }
        }
    }
}

fn answer_duplicates(duplicates: Vec<Submission>) {
    for submission in duplicates {
        let _ = submission.reply.send(Ok(Appended::Duplicate));
    }
}

fn append_all(file: &mut dyn WalFile, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.append(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// An error that answers a whole group.
struct Failure {
    step: &'static str,
    segment: String,
    kind: io::ErrorKind,
    code: Option<i32>,
    full: Option<(u64, u64)>,
}

impl Failure {
    fn new(step: &'static str, segment: String, error: io::Error) -> Self {
        tracing::warn!(step, segment, %error, "the write-ahead log could not be written");
        let full = is_no_space(&error).then_some((0, 0));
        Self { step, segment, kind: error.kind(), code: error.raw_os_error(), full }
    }

    fn from_error(error: &LakeError) -> Self {
        let full = match *error {
            LakeError::DiskFull { free, floor } => Some((free, floor)),
            _ => None,
        };
        Self { step: "open", segment: String::new(), kind: io::ErrorKind::Other, code: None, full }
    }

    fn again(&self) -> LakeError {
        match self.full {
            Some((free, floor)) => LakeError::DiskFull { free, floor },
            None => LakeError::Wal {
                step: self.step,
                segment: self.segment.clone(),
                source: self.code.map_or_else(|| self.kind.into(), io::Error::from_raw_os_error),
            },
        }
    }
}
