//! File changes by fanotify: notification class, events with the folder and the name (`FAN_REPORT_DFID_NAME`), so that
//! nothing waits for us. The watched folders and the folders one level below them are marked one by one: a mark on a
//! whole filesystem would bring every file of the machine.

#![allow(unsafe_code)]

use crate::observe::backfill;
use crate::observe::event::{FileAction, FileEvent, FileIdentity};
use crate::observe::policy::Classifier;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, FromRawFd};
use std::path::Path;
use std::time::Duration;

const METADATA: usize = 24;
const INFO_HEADER: usize = 4;
const FSID: usize = 8;
const FILE_HANDLE_HEADER: usize = 8;
/// Folders marked: the kernel's default limit for one user is 8,192 at least.
const MARKS_MAX: usize = 4096;
/// Bytes of events read at once: some hundred events.
const BUFFER: usize = 64 * 1024;

#[derive(Debug)]
pub struct Fanotify {
    group: File,
    /// A descriptor on each filesystem that has a mark, to turn handles into paths.
    mounts: Vec<(u64, File)>,
    buffer: Vec<u8>,
}

impl Fanotify {
    /// Opens a group and marks the watched folders.
    pub fn start(classifier: &Classifier) -> io::Result<Self> {
        // SAFETY: plain system call; the result is checked before it is owned.
        let fd = unsafe {
            libc::fanotify_init(
                libc::FAN_CLASS_NOTIF | libc::FAN_CLOEXEC | libc::FAN_NONBLOCK | libc::FAN_REPORT_DFID_NAME,
                (libc::O_RDONLY | libc::O_LARGEFILE | libc::O_CLOEXEC) as u32,
            )
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was just opened and belongs to nobody else.
        let group = unsafe { File::from_raw_fd(fd) };
        let mut fanotify = Self { group, mounts: Vec::new(), buffer: vec![0; BUFFER] };
        fanotify.mark(classifier);
        if fanotify.mounts.is_empty() {
            return Err(io::Error::other("no watched folder could be marked"));
        }
        Ok(fanotify)
    }

    /// Marks the watched folders; marks that are there already stay.
    pub fn mark(&mut self, classifier: &Classifier) {
        let mut count = 0;
        for folder in classifier.watched_folders() {
            let below = std::fs::read_dir(folder).into_iter().flatten().flatten();
            let below = below.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path());
            for path in std::iter::once(Path::new(folder).to_owned()).chain(below) {
                if count == MARKS_MAX {
                    return;
                }
                count += usize::from(self.mark_one(&path));
            }
        }
    }

    fn mark_one(&mut self, path: &Path) -> bool {
        let Ok(text) = CString::new(path.as_os_str().as_encoded_bytes()) else { return false };
        let mask = libc::FAN_CREATE
            | libc::FAN_CLOSE_WRITE
            | libc::FAN_DELETE
            | libc::FAN_MOVED_TO
            | libc::FAN_ATTRIB
            | libc::FAN_ONDIR
            | libc::FAN_EVENT_ON_CHILD;
        // SAFETY: `text` is a C string that lives over the call.
        let done = unsafe {
            libc::fanotify_mark(
                self.group.as_raw_fd(),
                libc::FAN_MARK_ADD | libc::FAN_MARK_ONLYDIR,
                mask,
                libc::AT_FDCWD,
                text.as_ptr(),
            )
        };
        if done != 0 {
            return false;
        }
        use std::os::linux::fs::MetadataExt;
        if let Ok(folder) = File::open(path)
            && let Ok(meta) = folder.metadata()
            && !self.mounts.iter().any(|(device, _)| *device == meta.st_dev())
        {
            self.mounts.push((meta.st_dev(), folder));
        }
        true
    }

    /// Waits at most `wait`, then reads what is there. Returns how often the queue ran over.
    pub fn read(&mut self, wait: Duration, sink: &mut dyn FnMut(u32, FileEvent)) -> u64 {
        let mut overruns = 0;
        let mut fds = [PollFd::new(self.group.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut fds, PollTimeout::from(wait.as_millis().min(1000) as u16));
        for _ in 0..16 {
            let Ok(count) = self.group.read(&mut self.buffer) else { break };
            let mut rest = &self.buffer[..count];
            while let Some((event, next)) = split(rest) {
                rest = next;
                if event.mask & libc::FAN_Q_OVERFLOW != 0 {
                    overruns += 1;
                } else if let Some(file) = self.file(&event) {
                    sink(event.pid, file);
                }
            }
        }
        overruns
    }

    fn file(&self, event: &RawEvent) -> Option<FileEvent> {
        let is_folder = event.mask & libc::FAN_ONDIR != 0;
        let action = match event.mask {
            mask if mask & libc::FAN_CREATE != 0 && is_folder => FileAction::FolderCreated,
            mask if mask & libc::FAN_CREATE != 0 => FileAction::Created,
            mask if mask & libc::FAN_DELETE != 0 && is_folder => FileAction::FolderDeleted,
            mask if mask & libc::FAN_DELETE != 0 => FileAction::Deleted,
            mask if mask & libc::FAN_MOVED_TO != 0 => FileAction::Renamed,
            mask if mask & libc::FAN_CLOSE_WRITE != 0 => FileAction::Modified,
            mask if mask & libc::FAN_ATTRIB != 0 && !is_folder => FileAction::PermissionChanged,
            _ => return None,
        };
        let folder = self.mounts.iter().find_map(|(_, mount)| folder_path(mount, event.handle))?;
        let path = format!("{}/{}", folder.trim_end_matches('/'), String::from_utf8_lossy(event.name));
        let file = std::fs::symlink_metadata(&path).map_or(FileIdentity::default(), |m| backfill::identity(&m));
        Some(FileEvent { action, path, old_path: None, file, old_mode: None, error: 0 })
    }
}

struct RawEvent<'a> {
    mask: u64,
    pid: u32,
    /// `struct file_handle` of the folder.
    handle: &'a [u8],
    name: &'a [u8],
}

/// Takes one event from the front. Lengths come from the kernel and are checked all the same.
fn split(bytes: &[u8]) -> Option<(RawEvent<'_>, &[u8])> {
    let word = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let length = word(0)? as usize;
    if length < METADATA || length > bytes.len() {
        return None;
    }
    let mask = u64::from_ne_bytes(bytes.get(8..16)?.try_into().ok()?);
    let pid = word(20)?;
    let mut event = RawEvent { mask, pid, handle: &[], name: &[] };
    let mut infos = bytes.get(METADATA..length)?;
    while infos.len() >= INFO_HEADER {
        let info_length = usize::from(u16::from_ne_bytes([infos[2], infos[3]]));
        if info_length < INFO_HEADER || info_length > infos.len() {
            break;
        }
        let (info, next) = infos.split_at(info_length);
        infos = next;
        if info[0] == libc::FAN_EVENT_INFO_TYPE_DFID_NAME
            && let Some(handle) = info.get(INFO_HEADER + FSID..)
            && let Some(size) = handle.get(..4)
        {
            let size = u32::from_ne_bytes([size[0], size[1], size[2], size[3]]) as usize;
            // MAX_HANDLE_SZ
            if size <= 128 && handle.len() >= FILE_HANDLE_HEADER + size {
                let (handle, name) = handle.split_at(FILE_HANDLE_HEADER + size);
                event.handle = handle;
                event.name = name.split(|b| *b == 0).next().unwrap_or_default();
            }
        }
    }
    Some((event, &bytes[length..]))
}

/// The path of the folder that a handle means on a filesystem; none if the handle is of another one.
fn folder_path(mount: &File, handle: &[u8]) -> Option<String> {
    // Aligned as `struct file_handle` asks.
    let mut aligned = [0_u32; 34];
    if handle.len() < FILE_HANDLE_HEADER || handle.len() > std::mem::size_of_val(&aligned) {
        return None;
    }
    for (index, chunk) in handle.chunks(4).enumerate() {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        aligned[index] = u32::from_ne_bytes(word);
    }
    // SAFETY: `aligned` holds a whole `struct file_handle` with its bytes (its length was checked by `split`) and lives
    // over the call.
    let fd = unsafe {
        libc::open_by_handle_at(mount.as_raw_fd(), aligned.as_mut_ptr().cast(), libc::O_PATH | libc::O_CLOEXEC)
    };
    if fd < 0 {
        return None;
    }
    // SAFETY: `fd` was just opened and belongs to nobody else.
    let folder = unsafe { File::from_raw_fd(fd) };
    let path = std::fs::read_link(format!("/proc/self/fd/{}", folder.as_raw_fd())).ok()?;
    Some(path.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_event_makes_us_fall(bytes in proptest::collection::vec(any::<u8>(), 0..200), length in 24_u32..100) {
            let mut bytes = bytes;
            if bytes.len() >= 4 {
                bytes[..4].copy_from_slice(&length.to_ne_bytes());
            }
            let mut rest = bytes.as_slice();
            while let Some((_, next)) = split(rest) {
                prop_assert!(next.len() < rest.len());
                rest = next;
            }
        }
    }
}
