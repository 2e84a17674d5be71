//! The queue itself: writing, reading, shedding.

use super::format::{PAYLOAD_BYTES_MAX, RECORD_BYTES, RecordHeader, RecordKind, SEGMENT_BYTES, SegmentHeader};
use super::ledger::{self, LedgerEntry};
use super::recover::{Found, file_name, recover};
use super::segment::{Entry, Segment, State};
use super::{Lane, NewBatch, Outgoing, Recovered, SpoolError, SpoolLimits};
use crate::policy::Shed;
use garrison_model::{BootId, LossCause, Micros};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How often one append may shed before it gives up: a segment each time, so this frees more than any batch needs.
const SHED_TRIES_MAX: usize = 8;
/// A fully answered segment that is still written to is replaced beyond this size, so that an idle queue is small.
const ANSWERED_BYTES_MAX: u64 = 1 << 20;

/// How often the lock on the folder is tried: for one second.
const LOCK_TRIES: u32 = 20;

/// The queue. All methods may be called from several threads.
#[derive(Debug)]
pub struct Spool {
    inner: Mutex<Inner>,
}

/// Figures of the queue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SpoolState {
    /// Rows waiting for their acknowledgement.
    pub rows: u64,
    /// Batches waiting.
    pub batches: u64,
    /// Bytes of the segments.
    pub bytes: u64,
    /// Cap.
    pub bytes_max: u64,
    /// Segments.
    pub segments: usize,
    /// Next sequence number.
    pub sequence_next: u64,
    /// Rows written to the ledger as lost since the start.
    pub lost_rows: u64,
    /// Rows queued since the start.
    pub queued_rows: u64,
}

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    /// Keeps the lock on the folder.
    _lock: File,
    boot: BootId,
    limits: SpoolLimits,
    segments: BTreeMap<u64, Segment>,
    active: [Option<u64>; 3],
    index_next: u64,
    sequence_next: u64,
    /// Batches under way: boot and first number to segment and place.
    in_flight: HashMap<(BootId, u64), (u64, usize)>,
    pending: Vec<LedgerEntry>,
    folder_dirty: bool,
    lost_rows: u64,
    queued_rows: u64,
    scratch: Vec<u8>,
}

impl Spool {
    /// Opens the queue in this folder, made if absent, for the current boot.
    pub fn open(
        folder: &Path,
        boot: &BootId,
        limits: SpoolLimits,
        now: Micros,
    ) -> Result<(Self, Recovered), SpoolError> {
        let failed = |source| SpoolError::Folder { path: folder.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(failed)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(folder.join("lock"))
            .map_err(failed)?;
        // A process that was being started when a former sensor closed holds its files until it runs its own program.
        let mut tries = LOCK_TRIES;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(std::fs::TryLockError::WouldBlock) if tries > 0 => {
                    tries -= 1;
                    std::thread::sleep(std::time::Duration::from_millis(50));
                }
                Err(std::fs::TryLockError::WouldBlock) => return Err(SpoolError::InUse(folder.to_owned())),
                Err(std::fs::TryLockError::Error(source)) => return Err(failed(source)),
            }
        }
        let Found { segments, index_next, sequence_next, recovered, losses } = recover(folder, boot, now)?;
        let lived = recovered.newest.as_ref().map_or(Micros::default(), |n| n.1);
        let mut inner = Inner {
            folder: folder.to_owned(),
            _lock: lock,
            boot: boot.clone(),
            limits,
            segments,
            active: [None; 3],
            index_next,
            sequence_next,
            in_flight: HashMap::new(),
            pending: Vec::new(),
            folder_dirty: true,
            lost_rows: 0,
            queued_rows: 0,
            scratch: Vec::new(),
        };
        for loss in losses {
            inner.lose(loss);
        }
        // The new segment remembers the next number and when a sensor last worked, so that former ones may go. To look
        // at the queue is not to run: the time is not now. On a full disk it waits.
        let _ = inner.make_segment(Lane::Ordinary, lived);
        Ok((Self { inner: Mutex::new(inner) }, recovered))
    }

    /// A sensor runs from now on. If one ran before, the time between is written down here and now, before anything
    /// that tells of the former one is removed: however soon this sensor is killed, no absence goes untold.
    pub fn start(&self, recovered: &Recovered, now: Micros) {
        let mut inner = self.lock();
        let Some((former, since)) = &recovered.newest else {
            // Only its header says that there was a sensor, should it be killed before its first batch.
            let _ = inner.make_segment(Lane::Ordinary, now);
            return;
        };
        // What happened while the sensor was away nobody counted; the row says from when to when.
        let mut gap = LedgerEntry::unnumbered(LossCause::SensorStopped, None, None, *since, now)
            .detail("the sensor was not running; what happened meanwhile is not counted");
        gap.boot = (*former != inner.boot).then(|| former.clone());
        inner.lose(gap);
        let entries = std::mem::take(&mut inner.pending);
        let mut written = inner.append_ledger(&entries, now);
        if written.is_err() {
            // A full disk: what is done with goes first, for room.
            inner.remove_answered();
            written = inner.append_ledger(&entries, now);
        }
        if written.is_err() {
            for entry in entries {
                ledger::push(&mut inner.pending, entry);
            }
        }
        inner.remove_answered();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic while the lock was held cannot leave half a change that the file does not show: go on.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a batch and gives it its numbers; the answer is the first. When this returns, a kill loses nothing.
    /// If the batch is not taken, it is in the ledger.
    pub fn append(&self, batch: &NewBatch<'_>) -> Result<u64, SpoolError> {
        let mut inner = self.lock();
        let lane = if batch.urgent { Lane::Urgent } else { Lane::of_table(batch.table) };
        let result = inner.append(lane, batch);
        if let Err(error) = &result {
            let cause =
                if matches!(error, SpoolError::Cap { .. }) { LossCause::SpoolCap } else { LossCause::SpoolDisk };
            let count = Some(u64::from(batch.row_count));
            inner.lose(LedgerEntry::unnumbered(cause, Some(batch.table), count, batch.created, batch.created));
        }
        result
    }

    /// The next batch to send, if its payload's size suits the caller: urgent ones first, then by age. It counts as
    /// under way until [`Self::forget`], [`Self::reject`] or [`Self::requeue`].
    pub fn next_if(&self, suits: impl Fn(u64) -> bool) -> Option<Outgoing> {
        self.lock().next_if(suits)
    }

    /// The server has it. `false` if it was not under way.
    pub fn forget(&self, boot: &BootId, sequence_first: u64) -> bool {
        self.lock().answered(boot, sequence_first).is_some()
    }

    /// The server will never take it: ledger.
    pub fn reject(&self, boot: &BootId, sequence_first: u64, code: &str) -> bool {
        let mut inner = self.lock();
        let Some(header) = inner.answered(boot, sequence_first) else { return false };
        let entry = numbered(LossCause::ServerQuota, &[&header], &inner.boot).into_iter().next();
        if let Some(entry) = entry {
            inner.lose(entry.detail(format!("refused by the server: {}", code.chars().take(40).collect::<String>())));
        }
        true
    }

    /// It has to be sent again.
    pub fn requeue(&self, boot: &BootId, sequence_first: u64) {
        self.lock().requeue(boot, sequence_first);
    }

    /// The connection is gone: everything under way has to be sent again.
    pub fn requeue_all(&self) {
        let mut inner = self.lock();
        let keys: Vec<(BootId, u64)> = inner.in_flight.keys().cloned().collect();
        for (boot, first) in keys {
            inner.requeue(&boot, first);
        }
    }

    /// Writes a loss down. It becomes a row with the next [`Self::write_ledger`].
    pub fn lose(&self, entry: LedgerEntry) {
        self.lock().lose(entry);
    }

    /// Queues what the ledger holds as rows of `SensorLossEvents`; how many. On a full disk room is made for them, bulk
    /// first: to know what was lost is worth more. What the disk does not take even so waits.
    pub fn write_ledger(&self, now: Micros) -> usize {
        let mut inner = self.lock();
        let mut entries = std::mem::take(&mut inner.pending);
        for _ in 0..SHED_TRIES_MAX {
            if entries.is_empty() {
                return 0;
            }
            let written = entries.len();
            match inner.append_ledger(&entries, now) {
                Ok(()) => return written,
                Err(error) if is_full(&error) && inner.shed(Lane::Urgent, LossCause::SpoolDisk, now) => {
                    entries.append(&mut inner.pending);
                }
                Err(_) => break,
            }
        }
        for entry in entries {
            ledger::push(&mut inner.pending, entry);
        }
        0
    }

    /// Forces what was written to the disk itself.
    pub fn sync(&self) -> io::Result<()> {
        let (files, folder) = {
            let mut inner = self.lock();
            let files: Vec<Arc<File>> = inner
                .segments
                .values_mut()
                .filter_map(|s| std::mem::take(&mut s.dirty).then(|| Arc::clone(&s.file)))
                .collect();
            let folder = std::mem::take(&mut inner.folder_dirty).then(|| inner.folder.clone());
            (files, folder)
        };
        for file in files {
            file.sync_data()?;
        }
        if let Some(folder) = folder {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }

    /// Figures.
    pub fn state(&self) -> SpoolState {
        let inner = self.lock();
        SpoolState {
            rows: inner.segments.values().map(|s| s.waiting_rows).sum(),
            batches: inner.segments.values().map(|s| s.waiting_batches).sum(),
            bytes: inner.bytes(),
            bytes_max: inner.limits.bytes_max,
            segments: inner.segments.len(),
            sequence_next: inner.sequence_next,
            lost_rows: inner.lost_rows,
            queued_rows: inner.queued_rows,
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// One ledger entry for each boot and table of these batches.
fn numbered(cause: LossCause, headers: &[&RecordHeader], current: &BootId) -> Vec<LedgerEntry> {
    let mut groups: BTreeMap<(&BootId, &str), Vec<&RecordHeader>> = BTreeMap::new();
    for h in headers {
        groups.entry((&h.boot, h.table.as_str())).or_default().push(h);
    }
    let entry = |((boot, table), mut batches): ((&BootId, &str), Vec<&RecordHeader>)| {
        batches.sort_by_key(|h| h.sequence_first);
        let count = batches.iter().map(|h| u64::from(h.row_count)).sum();
        let from = batches.iter().map(|h| h.created).min().unwrap_or_default();
        let to = batches.iter().map(|h| h.created).max().unwrap_or_default();
        let mut entry = LedgerEntry::unnumbered(cause, Some(table), Some(count), from, to);
        entry.runs = ledger::join_runs(batches.iter().map(|h| (h.sequence_first, u64::from(h.row_count))));
        entry.boot = (boot != current).then(|| boot.clone());
        entry
    };
    groups.into_iter().map(entry).collect()
}

impl Inner {
    fn bytes(&self) -> u64 {
        self.segments.values().map(|s| s.bytes).sum()
    }

    fn lose(&mut self, mut entry: LedgerEntry) {
        self.lost_rows = self.lost_rows.saturating_add(entry.count.unwrap_or(0));
        if entry.runs.is_empty() {
            entry.sequence_after = self.sequence_next.saturating_sub(1);
        }
        ledger::push(&mut self.pending, entry);
    }

    fn append(&mut self, lane: Lane, batch: &NewBatch<'_>) -> Result<u64, SpoolError> {
        let rows = batch.row_count;
        let needed = (RECORD_BYTES + batch.payload.len()) as u64;
        if batch.payload.len() > PAYLOAD_BYTES_MAX || needed + SEGMENT_BYTES as u64 > self.limits.bytes_max {
            return Err(SpoolError::Cap { rows });
        }
        // Beside the batch itself, room for the ledger row of what is shed for it.
        let mut tries = 0;
        while self.bytes() + needed > self.limits.bytes_max {
            tries += 1;
            if tries > self.segments.len() + SHED_TRIES_MAX || !self.shed(lane, LossCause::SpoolCap, batch.created) {
                return Err(SpoolError::Cap { rows });
            }
        }
        let mut last = None;
        for _ in 0..SHED_TRIES_MAX {
            match self.write_batch(lane, batch) {
                Ok(first) => return Ok(first),
                Err(error) => {
                    let full = is_full(&error);
                    last = Some(error);
                    if !full || !self.shed(lane, LossCause::SpoolDisk, batch.created) {
                        break;
                    }
                }
            }
        }
        let source = last.unwrap_or_else(|| io::Error::from(io::ErrorKind::StorageFull));
        Err(SpoolError::Write { rows, source })
    }

    fn write_batch(&mut self, lane: Lane, batch: &NewBatch<'_>) -> io::Result<u64> {
        let header = RecordHeader {
            kind: RecordKind::Batch,
            urgent: batch.urgent,
            payload_bytes: batch.payload.len() as u32,
            payload_crc: crc32fast::hash(batch.payload),
            sequence_first: self.sequence_next,
            row_count: batch.row_count,
            created: batch.created,
            boot: self.boot.clone(),
            table: batch.table.to_owned(),
        };
        let index = self.active_segment(lane, (RECORD_BYTES + batch.payload.len()) as u64, batch.created)?;
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        scratch.extend_from_slice(&header.encode());
        scratch.extend_from_slice(batch.payload);
        let written = self.write_record(index, &scratch);
        // A batch is at most some megabytes; one that large must not keep its room for ever.
        scratch.shrink_to(1 << 20);
        self.scratch = scratch;
        let offset = written?;
        let first = self.sequence_next;
        self.sequence_next = first.saturating_add(u64::from(batch.row_count));
        self.queued_rows = self.queued_rows.saturating_add(u64::from(batch.row_count));
        if let Some(segment) = self.segments.get_mut(&index) {
            segment.waiting_batches += 1;
            segment.waiting_rows += u64::from(batch.row_count);
            segment.entries.get_or_insert_default().push(Entry { offset, header, state: State::Waiting });
        }
        Ok(first)
    }

    /// Writes a whole record at the end of a segment, or nothing.
    fn write_record(&mut self, index: u64, bytes: &[u8]) -> io::Result<u64> {
        let segment = self.segments.get_mut(&index).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let offset = segment.bytes;
        if let Err(error) = segment.file.write_all_at(bytes, offset) {
            // Part of it may be there; the next record is written over it, and recovery cuts it off.
            let _ = segment.file.set_len(offset);
            return Err(error);
        }
        segment.bytes += bytes.len() as u64;
        segment.dirty = true;
        Ok(offset)
    }

    /// The lane's segment with room for so many bytes.
    fn active_segment(&mut self, lane: Lane, needed: u64, now: Micros) -> io::Result<u64> {
        if let Some(index) = self.active[lane as usize]
            && let Some(segment) = self.segments.get(&index)
        {
            let entries = segment.entries.as_ref().map_or(0, Vec::len);
            let fits = segment.bytes + needed <= self.limits.segment_bytes_max;
            if (fits || entries == 0) && entries < self.limits.segment_entries_max {
                return Ok(index);
            }
        }
        self.make_segment(lane, now)
    }

    /// Makes a new segment for the lane and seals the former one.
    fn make_segment(&mut self, lane: Lane, now: Micros) -> io::Result<u64> {
        let index = self.index_next;
        let path = self.folder.join(file_name(lane, index));
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        let header = SegmentHeader {
            lane: lane.letter(),
            next_sequence: self.sequence_next,
            created: now,
            boot: self.boot.clone(),
        };
        if let Err(error) = file.write_all_at(&header.encode(), 0) {
            let _ = std::fs::remove_file(&path);
            return Err(error);
        }
        self.index_next += 1;
        self.folder_dirty = true;
        self.segments.insert(
            index,
            Segment {
                lane,
                path,
                file: Arc::new(file),
                bytes: SEGMENT_BYTES as u64,
                waiting_batches: 0,
                waiting_rows: 0,
                sent: 0,
                sealed: false,
                dirty: true,
                entries: Some(Vec::new()),
                cursor: 0,
            },
        );
        if let Some(former) = self.active[lane as usize].replace(index) {
            self.seal(former);
        }
        Ok(index)
    }

    fn seal(&mut self, index: u64) {
        if let Some(segment) = self.segments.get_mut(&index) {
            segment.sealed = true;
            segment.unload_if_idle();
            if segment.waiting_batches == 0 {
                self.remove(index);
            }
        }
    }

    fn remove(&mut self, index: u64) {
        if let Some(segment) = self.segments.remove(&index) {
            let _ = std::fs::remove_file(&segment.path);
            self.folder_dirty = true;
        }
    }

    fn remove_answered(&mut self) {
        let done: Vec<u64> =
            self.segments.iter().filter(|(_, s)| s.sealed && s.waiting_batches == 0).map(|(i, _)| *i).collect();
        for index in done {
            self.remove(index);
        }
    }

    /// Sheds one segment for a batch of `lane`; `false` if nothing may go.
    fn shed(&mut self, lane: Lane, cause: LossCause, now: Micros) -> bool {
        let order = |(index, segment): &(&u64, &Segment)| {
            let under_way = segment.sent > 0;
            match self.limits.shed {
                Shed::Priority => (std::cmp::Reverse(segment.lane), under_way, **index),
                Shed::Oldest => (std::cmp::Reverse(Lane::Urgent), under_way, **index),
            }
        };
        // An active segment without batches holds only the next number; removing it would free nothing.
        let worth = |s: &Segment| s.sealed || s.waiting_batches > 0 || s.bytes > ANSWERED_BYTES_MAX / 16;
        let victim = self
            .segments
            .iter()
            .filter(|(_, s)| worth(s) && (self.limits.shed == Shed::Oldest || s.lane >= lane))
            .min_by_key(order)
            .map(|(i, _)| *i);
        let Some(index) = victim else { return false };
        let active = self.active.iter().position(|a| *a == Some(index));
        if let Some(place) = active {
            // Its successor has to remember the next number before it goes. If the disk has no room even for that,
            // another active segment may remember it; failing that, the file is emptied in place.
            let lane = Lane::ALL[place];
            if self.make_segment(lane, now).is_err() {
                return self.empty(index, cause);
            }
        }
        let Some(segment) = self.segments.get_mut(&index) else { return true };
        let entries = match segment.load() {
            Ok(entries) => entries.clone(),
            Err(_) => Vec::new(),
        };
        self.in_flight.retain(|_, (i, _)| *i != index);
        let losses = self.losses_of(&entries, cause);
        // Ledger first: a kill in between then tells of a loss that did not happen, never the other way round. On a
        // full disk there is no room for it yet, and the order turns round.
        if !losses.is_empty() && self.append_ledger(&losses, now).is_err() {
            for loss in losses {
                ledger::push(&mut self.pending, loss);
            }
        }
        self.remove(index);
        true
    }

    /// Counts the losses of a shed segment and gives them as ledger entries.
    fn losses_of(&mut self, entries: &[Entry], cause: LossCause) -> Vec<LedgerEntry> {
        let lost: Vec<&RecordHeader> = entries.iter().filter(|e| e.state != State::Done).map(|e| &e.header).collect();
        let losses = numbered(cause, &lost, &self.boot);
        let count: u64 = losses.iter().filter_map(|l| l.count).sum();
        self.lost_rows = self.lost_rows.saturating_add(count);
        losses
    }

    /// Empties an active segment in place: its header is rewritten with the next number, which needs no new room.
    fn empty(&mut self, index: u64, cause: LossCause) -> bool {
        let boot = self.boot.clone();
        let next_sequence = self.sequence_next;
        let Some(segment) = self.segments.get_mut(&index) else { return false };
        if segment.bytes <= SEGMENT_BYTES as u64 {
            return false;
        }
        let header = SegmentHeader { lane: segment.lane.letter(), next_sequence, created: Micros::default(), boot };
        if segment.file.write_all_at(&header.encode(), 0).is_err()
            || segment.file.set_len(SEGMENT_BYTES as u64).is_err()
        {
            return false;
        }
        let entries = segment.entries.replace(Vec::new()).unwrap_or_default();
        segment.bytes = SEGMENT_BYTES as u64;
        (segment.waiting_batches, segment.waiting_rows, segment.sent, segment.cursor) = (0, 0, 0, 0);
        self.in_flight.retain(|_, (i, _)| *i != index);
        for loss in self.losses_of(&entries, cause) {
            ledger::push(&mut self.pending, loss);
        }
        true
    }

    /// Queues ledger rows; the cap does not hold for them, since they are small and what they tell of has gone.
    fn append_ledger(&mut self, entries: &[LedgerEntry], now: Micros) -> io::Result<()> {
        let batch = ledger::batch(entries, now);
        let payload = garrison_telemetry::encode_ipc(&batch).map_err(io::Error::other)?;
        let new = NewBatch {
            table: "SensorLossEvents",
            row_count: entries.len() as u32,
            created: now,
            urgent: false,
            payload: &payload,
        };
        self.write_batch(Lane::Urgent, &new).map(|_| ())
    }

    fn next_if(&mut self, suits: impl Fn(u64) -> bool) -> Option<Outgoing> {
        // Every round sends something or marks a damaged batch, so this ends.
        loop {
            let (index, place) = self.next_waiting()?;
            let segment = self.segments.get_mut(&index)?;
            let entry = segment.entries.as_ref()?.get(place)?.clone();
            if !suits(u64::from(entry.header.payload_bytes)) {
                return None;
            }
            let mut payload = vec![0; entry.header.payload_bytes as usize];
            let read = segment.file.read_exact_at(&mut payload, entry.offset + RECORD_BYTES as u64);
            let key = (entry.header.boot.clone(), entry.header.sequence_first);
            self.mark(index, place, State::Sent);
            self.in_flight.insert(key, (index, place));
            let h = entry.header;
            if read.is_err() || crc32fast::hash(&payload) != h.payload_crc {
                self.answered(&h.boot, h.sequence_first);
                for loss in numbered(LossCause::SpoolDamage, &[&h], &self.boot.clone()) {
                    self.lose(loss);
                }
                continue;
            }
            return Some(Outgoing {
                boot: h.boot,
                table: h.table,
                sequence_first: h.sequence_first,
                row_count: h.row_count,
                created: h.created,
                urgent: h.urgent,
                payload,
            });
        }
    }

    /// Segment and place of the batch whose turn it is.
    fn next_waiting(&mut self) -> Option<(u64, usize)> {
        let mut best: Option<(bool, Micros, u64, usize)> = None;
        for lane in Lane::ALL {
            let Some((index, place, created)) = self.first_waiting(lane) else { continue };
            let rank = (lane != Lane::Urgent, created, index, place);
            if best.is_none_or(|b| rank < b) {
                best = Some(rank);
            }
        }
        best.map(|(_, _, index, place)| (index, place))
    }

    fn first_waiting(&mut self, lane: Lane) -> Option<(u64, usize, Micros)> {
        for (index, segment) in &mut self.segments {
            if segment.lane != lane || segment.waiting_batches <= segment.sent as u64 {
                continue;
            }
            let mut cursor = segment.cursor;
            let found = match segment.load() {
                Ok(entries) => {
                    cursor = cursor.min(entries.len());
                    while entries.get(cursor).is_some_and(|e| e.state != State::Waiting) {
                        cursor += 1;
                    }
                    entries.get(cursor).map(|e| (*index, cursor, e.header.created))
                }
                Err(_) => None,
            };
            segment.cursor = cursor;
            if found.is_some() {
                return found;
            }
        }
        None
    }

    fn mark(&mut self, index: u64, place: usize, state: State) -> Option<RecordHeader> {
        let segment = self.segments.get_mut(&index)?;
        let entry = segment.entries.as_mut()?.get_mut(place)?;
        let former = std::mem::replace(&mut entry.state, state);
        let header = entry.header.clone();
        if former == State::Sent {
            segment.sent = segment.sent.saturating_sub(1);
        }
        match state {
            State::Sent => segment.sent += 1,
            State::Waiting => segment.cursor = segment.cursor.min(place),
            State::Done if former != State::Done => {
                segment.waiting_batches = segment.waiting_batches.saturating_sub(1);
                segment.waiting_rows = segment.waiting_rows.saturating_sub(u64::from(header.row_count));
            }
            State::Done => {}
        }
        Some(header)
    }

    fn requeue(&mut self, boot: &BootId, sequence_first: u64) {
        if let Some((index, place)) = self.in_flight.remove(&(boot.clone(), sequence_first)) {
            self.mark(index, place, State::Waiting);
        }
    }

    fn answered(&mut self, boot: &BootId, sequence_first: u64) -> Option<RecordHeader> {
        let (index, place) = self.in_flight.remove(&(boot.clone(), sequence_first))?;
        let header = self.mark(index, place, State::Done)?;
        let segment = self.segments.get(&index)?;
        let lane = segment.lane;
        if segment.waiting_batches == 0 {
            if segment.sealed {
                if self.active.iter().any(Option::is_some) {
                    self.remove(index);
                }
                return Some(header);
            }
            if segment.bytes > ANSWERED_BYTES_MAX && self.make_segment(lane, header.created).is_ok() {
                return Some(header);
            }
        }
        // Best effort: without it the batch is sent twice after a restart, and the server drops it.
        let record = RecordHeader { kind: RecordKind::Answered, payload_bytes: 0, payload_crc: 0, ..header.clone() };
        if let Some(active) = self.active[lane as usize].or(self.active[Lane::Ordinary as usize]) {
            let _ = self.write_record(active, &record.encode());
        }
        Some(header)
    }
}
