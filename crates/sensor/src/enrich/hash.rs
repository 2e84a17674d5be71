//! Hashes of files: SHA-256, SHA-1 and MD5 in one pass, by a thread of its own, within a rate.
//!
//! A file is known by device, inode, size and change time; a changed file has another key, so the cache is never
//! wrong, only empty. Who asks waits a few milliseconds at most, and only as long as little time was spent waiting of
//! late; what is not ready goes without a hash, is counted, and is there for the next row.

use crate::observe::FileIdentity;
use lru::LruCache;
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::Read as _;
use std::num::NonZeroUsize;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

/// Files remembered: the programs of a large server several times over; about 200 bytes each.
const CACHE_MAX: usize = 8_192;
/// Files that wait to be hashed.
const QUEUE_MAX: usize = 256;
/// Longest wait for one file.
pub const WAIT_MAX: Duration = Duration::from_millis(8);
/// Time spent waiting in a second: a twentieth, so that a storm of new files does not stall the pipeline.
const WAIT_PER_SECOND: Duration = Duration::from_millis(50);
/// Larger files are not waited for; they take longer than [`WAIT_MAX`].
const WAIT_FILE_BYTES_MAX: u64 = 2 << 20;

/// The three hashes, hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hashes {
    /// SHA-256.
    pub sha256: Box<str>,
    /// SHA-1.
    pub sha1: Box<str>,
    /// MD5.
    pub md5: Box<str>,
}

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HashKey {
    device: u64,
    inode: u64,
    size: u64,
    changed_ns: u64,
}

impl HashKey {
    /// The key of a file; `None` if it is not known well enough.
    pub fn of(file: &FileIdentity) -> Option<Self> {
        (file.inode != 0 && file.changed_ns != 0 && file.mode & libc::S_IFMT == libc::S_IFREG).then_some(Self {
            device: file.device,
            inode: file.inode,
            size: file.size,
            changed_ns: file.changed_ns,
        })
    }
}

struct Request {
    key: HashKey,
    paths: [Option<PathBuf>; 2],
}

/// Settings.
#[derive(Debug, Clone, Copy)]
pub struct HashLimits {
    /// Bytes a second.
    pub bytes_per_second: u64,
    /// Largest file.
    pub file_bytes_max: u64,
}

/// Counters, for health and diagnostics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct HashCounts {
    /// Answered from the cache.
    pub cached: u64,
    /// Computed.
    pub computed: u64,
    /// Rows that went without, since the hash was not ready in time.
    pub late: u64,
    /// Rows that went without, since rate, queue or size were over their bounds.
    pub over_budget: u64,
    /// Files that could not be read or had changed.
    pub failed: u64,
}

/// Asks for hashes.
#[derive(Debug)]
pub struct Hasher {
    cache: LruCache<HashKey, Option<Arc<Hashes>>>,
    requests: SyncSender<Request>,
    answers: Receiver<(HashKey, Option<Arc<Hashes>>)>,
    limits: HashLimits,
    enabled: bool,
    second: u64,
    bytes_left: u64,
    wait_left: Duration,
    /// Counters.
    pub counts: HashCounts,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.key.fmt(f)
    }
}

impl Hasher {
    /// Starts the thread; it ends with the hasher.
    pub fn start(limits: HashLimits, enabled: bool) -> std::io::Result<Self> {
        let (requests, inbox) = sync_channel::<Request>(QUEUE_MAX);
        // Never full before the request queue is: one answer a request, and the asker empties it on every look-up.
        let (outbox, answers) = sync_channel(QUEUE_MAX * 2);
        std::thread::Builder::new().name("hash".to_owned()).spawn(move || {
            while let Ok(request) = inbox.recv() {
                let hashes = hash(&request).map(Arc::new);
                if outbox.send((request.key, hashes)).is_err() {
                    break;
                }
            }
        })?;
        Ok(Self {
            cache: LruCache::new(NonZeroUsize::new(CACHE_MAX).unwrap_or(NonZeroUsize::MIN)),
            requests,
            answers,
            limits,
            enabled,
            second: u64::MAX,
            bytes_left: 0,
            wait_left: Duration::ZERO,
            counts: HashCounts::default(),
        })
    }

    /// Stops or resumes computing; known hashes are still given.
    pub fn set_enabled(&mut self, enabled: bool) {
        self.enabled = enabled;
    }

    fn put(&mut self, key: HashKey, hashes: Option<Arc<Hashes>>) {
        if hashes.is_some() {
            self.counts.computed += 1;
        } else {
            self.counts.failed += 1;
        }
        self.cache.put(key, hashes);
    }

    /// The hashes of a file if they are known.
    pub fn known(&mut self, key: HashKey) -> Option<Arc<Hashes>> {
        while let Ok((key, hashes)) = self.answers.try_recv() {
            self.put(key, hashes);
        }
        self.cache.get(&key).cloned().flatten()
    }

    /// The hashes of a file, computed if they are not known and the bounds allow it. `paths` are ways to open it, the
    /// surest first; what is opened is checked to be that file.
    pub fn get(&mut self, key: HashKey, paths: [Option<PathBuf>; 2], now: Duration) -> Option<Arc<Hashes>> {
        while let Ok((key, hashes)) = self.answers.try_recv() {
            self.put(key, hashes);
        }
        if let Some(known) = self.cache.get(&key) {
            self.counts.cached += 1;
            return known.clone();
        }
        if !self.enabled {
            return None;
        }
        if self.second != now.as_secs() {
            self.second = now.as_secs();
            self.bytes_left = self.limits.bytes_per_second;
            self.wait_left = WAIT_PER_SECOND;
        }
        // A file larger than a second's worth may take what is there at the start of a second.
        let whole_second = self.bytes_left == self.limits.bytes_per_second;
        if key.size > self.limits.file_bytes_max || (key.size > self.bytes_left && !whole_second) {
            self.counts.over_budget += 1;
            return None;
        }
        match self.requests.try_send(Request { key, paths }) {
            Ok(()) => self.bytes_left = self.bytes_left.saturating_sub(key.size),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.counts.over_budget += 1;
                return None;
            }
        }
        // Asked for: until the answer comes, nobody asks again.
        self.cache.put(key, None);
        let begun = Instant::now();
        let waits = key.size <= WAIT_FILE_BYTES_MAX;
        loop {
            let left = WAIT_MAX.min(self.wait_left).saturating_sub(begun.elapsed());
            if !waits || left.is_zero() {
                break;
            }
            let Ok((answered, hashes)) = self.answers.recv_timeout(left) else { break };
            self.put(answered, hashes);
            if answered == key {
                break;
            }
        }
        self.wait_left = self.wait_left.saturating_sub(begun.elapsed());
        let known = self.cache.get(&key).cloned().flatten();
        self.counts.late += u64::from(known.is_none());
        known
    }
}

fn hash(request: &Request) -> Option<Hashes> {
    request.paths.iter().flatten().find_map(|path| {
        let file = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOATIME | libc::O_CLOEXEC)
            .open(path)
            .or_else(|_| File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(path))
            .ok()?;
        same_file(&file, &request.key).then(|| digest(&file, request.key.size).ok()).flatten()
    })
}

/// Whether the open file is the one that was asked for. Filesystems such as overlayfs and btrfs show another device
/// number to `stat` than the kernel's inode has, so inode, size and change time decide.
fn same_file(file: &File, key: &HashKey) -> bool {
    let Ok(meta) = file.metadata() else { return false };
    let changed = (meta.ctime() as u64).wrapping_mul(1_000_000_000).wrapping_add(meta.ctime_nsec() as u64);
    meta.is_file() && meta.ino() == key.inode && meta.len() == key.size && changed == key.changed_ns
}

/// Hashes of an open file, `size` bytes of it at most.
pub fn digest(file: &File, size: u64) -> std::io::Result<Hashes> {
    let (mut sha256, mut sha1, mut md5) = (Sha256::new(), Sha1::new(), Md5::new());
    let mut buffer = vec![0; 64 * 1024];
    let mut at = 0;
    while at < size {
        let read = file.read_at(&mut buffer, at)?;
        if read == 0 {
            break;
        }
        let data = &buffer[..read];
        sha256.update(data);
        sha1.update(data);
        md5.update(data);
        at += read as u64;
    }
    Ok(Hashes {
        sha256: hex::encode(sha256.finalize()).into(),
        sha1: hex::encode(sha1.finalize()).into(),
        md5: hex::encode(md5.finalize()).into(),
    })
}

/// Hashes of bytes from a reader, for callers beside the pipeline.
pub fn digest_reader(mut reader: impl std::io::Read, bytes_max: u64) -> std::io::Result<String> {
    let mut sha256 = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut left = bytes_max;
    while left > 0 {
        let read = reader.by_ref().take(left).read(&mut buffer)?;
        if read == 0 {
            break;
        }
        sha256.update(&buffer[..read]);
        left -= read as u64;
    }
    Ok(hex::encode(sha256.finalize()))
}

/// The identity of a file on this machine, for tests and look-ups by path.
pub fn identity(meta: &std::fs::Metadata) -> FileIdentity {
    let nanos = |s: i64, n: i64| (s as u64).wrapping_mul(1_000_000_000).wrapping_add(n as u64);
    FileIdentity {
        device: meta.dev(),
        inode: meta.ino(),
        mode: meta.mode(),
        uid: meta.uid(),
        gid: meta.gid(),
        links: meta.nlink() as u32,
        size: meta.len(),
        changed_ns: nanos(meta.ctime(), meta.ctime_nsec()),
        modified_ns: nanos(meta.mtime(), meta.mtime_nsec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HashLimits = HashLimits { bytes_per_second: 1 << 20, file_bytes_max: 1 << 20 };

    fn ask_until_known(hasher: &mut Hasher, key: HashKey, path: PathBuf) -> Arc<Hashes> {
        if let Some(hashes) = hasher.get(key, [Some(path), None], Duration::ZERO) {
            return hashes;
        }
        let (key_answered, hashes) = hasher.answers.recv().unwrap();
        hasher.put(key_answered, hashes);
        hasher.known(key).unwrap()
    }

    #[test]
    fn a_file_is_hashed_once_and_again_when_it_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("abc");
        std::fs::write(&path, "abc").unwrap();
        let key = HashKey::of(&identity(&std::fs::metadata(&path).unwrap())).unwrap();
        let mut hasher = Hasher::start(LIMITS, true).unwrap();
        let hashes = ask_until_known(&mut hasher, key, path.clone());
        assert_eq!(&*hashes.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(&*hashes.sha1, "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(&*hashes.md5, "900150983cd24fb0d6963f7d28e17f72");
        hasher.get(key, [None, None], Duration::ZERO).unwrap();
        assert_eq!(hasher.counts.computed, 1);
        std::fs::write(&path, "abcd").unwrap();
        let changed = HashKey::of(&identity(&std::fs::metadata(&path).unwrap())).unwrap();
        assert_ne!(changed, key);
        assert_ne!(ask_until_known(&mut hasher, changed, path), hashes);
    }

    #[test]
    fn over_budget_and_replaced_files_go_without_and_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("big");
        std::fs::write(&path, vec![7; 700_000]).unwrap();
        let real = HashKey::of(&identity(&std::fs::metadata(&path).unwrap())).unwrap();
        let mut hasher = Hasher::start(LIMITS, true).unwrap();
        ask_until_known(&mut hasher, real, path.clone());
        let other = HashKey { changed_ns: 1, ..real };
        assert_eq!(hasher.get(other, [Some(path.clone()), None], Duration::ZERO), None);
        assert_eq!(hasher.counts.over_budget, 1, "the second's bytes are used up");
        let next_second = Duration::from_secs(1);
        if hasher.get(other, [Some(path.clone()), None], next_second).is_none() && hasher.counts.failed == 0 {
            let (key, hashes) = hasher.answers.recv().unwrap();
            hasher.put(key, hashes);
        }
        assert_eq!(hasher.counts.failed, 1, "it is not the file that ran");
        let huge = HashKey { size: 1 << 30, ..real };
        assert_eq!(hasher.get(huge, [Some(path), None], Duration::from_secs(2)), None);
        assert_eq!(hasher.counts.over_budget, 2);
    }
}
