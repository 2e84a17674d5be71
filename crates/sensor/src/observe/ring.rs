//! Reading a BPF ring buffer.
//!
//! The kernel's contract (Documentation/bpf/ringbuf.rst): a page with the reader's position, a page with the writer's,
//! then the data. A record is 8 bytes of header (length with a busy and a discard bit, page offset) and its bytes,
//! padded to 8. libbpf maps the data twice in a row, so that a record that wraps reads as one piece; that doubles what
//! the process seems to use, so we map it once and join the rare wrapped record ourselves.

#![allow(unsafe_code)]

use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

const BUSY: u32 = 1 << 31;
const DISCARD: u32 = 1 << 30;
const HEADER: u64 = 8;
/// The reader's position is given back to the kernel after so many bytes, so that writers find room during a long read.
const RELEASE_BYTES: u64 = 256 * 1024;

/// A mapped ring buffer.
#[derive(Debug)]
pub struct Ring {
    fd: OwnedFd,
    consumer: NonNull<AtomicU64>,
    producer: NonNull<u8>,
    page: usize,
    size: usize,
    joined: Vec<u8>,
}

// SAFETY: the mappings belong to this value alone and are used through `&mut self` only.
unsafe impl Send for Ring {}

impl Ring {
    /// Maps the ring of `size` bytes (a power of two).
    pub fn new(fd: BorrowedFd, size: usize) -> std::io::Result<Self> {
        let fd = fd.try_clone_to_owned()?;
        let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)?.unwrap_or(4096) as usize;
        let length = |bytes: usize| NonZeroUsize::new(bytes).unwrap_or(NonZeroUsize::MIN);
        // SAFETY: a new shared mapping at an address of the kernel's choice aliases nothing of ours.
        let consumer = unsafe {
            mmap(None, length(page), ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED, &fd, 0)?
        };
        // SAFETY: as above.
        let producer = unsafe {
            mmap(None, length(page + size), ProtFlags::PROT_READ, MapFlags::MAP_SHARED, &fd, page as libc::off_t)
        };
        match producer {
            Ok(producer) => {
                Ok(Self { fd, consumer: consumer.cast(), producer: producer.cast(), page, size, joined: Vec::new() })
            }
            Err(error) => {
                // SAFETY: the page was mapped above and nobody else has its address.
                let _ = unsafe { munmap(consumer, page) };
                Err(error.into())
            }
        }
    }

    /// Waits until something is there or the time is over.
    pub fn wait(&self, timeout: Duration) {
        let millis = timeout.as_millis().min(60_000) as u16;
        let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
        // An interrupted wait is a short wait.
        let _ = poll(&mut fds, PollTimeout::from(millis));
    }

    /// Hands out what is there, at most `records_max` records, and returns how many.
    pub fn read(&mut self, records_max: usize, sink: &mut dyn FnMut(&[u8])) -> usize {
        // SAFETY: both point to mapped pages whose first 8 bytes are the positions; the kernel changes them
        // atomically.
        let consumer = unsafe { self.consumer.as_ref() };
        // SAFETY: as above.
        let producer = unsafe { self.producer.cast::<AtomicU64>().as_ref() };
        let mut at = consumer.load(Ordering::Relaxed);
        let mut released = at;
        let mut count = 0;
        let mask = self.size as u64 - 1;
        while count < records_max {
            let end = producer.load(Ordering::Acquire);
            if at >= end {
                break;
            }
            let offset = (at & mask) as usize;
            // SAFETY: records start at multiples of 8 below `size`, so that the header lies within the mapped data.
            let header = unsafe { self.producer.add(self.page + offset).cast::<AtomicU32>().as_ref() };
            let word = header.load(Ordering::Acquire);
            if word & BUSY != 0 {
                break;
            }
            let length = (word & !(BUSY | DISCARD)) as usize;
            if length > self.size {
                // A broken kernel: let go of everything rather than read what is not ours.
                at = end;
                break;
            }
            if word & DISCARD == 0 {
                let start = ((at + HEADER) & mask) as usize;
                let first = length.min(self.size - start);
                // SAFETY: `start + first` is at most `size`; the kernel does not write to a record between its commit
                // and our release of it.
                let head = unsafe { std::slice::from_raw_parts(self.producer.as_ptr().add(self.page + start), first) };
                if first == length {
                    sink(head);
                } else {
                    self.joined.clear();
                    self.joined.extend_from_slice(head);
                    // SAFETY: the rest lies at the start of the data and is shorter than it.
                    let rest =
                        unsafe { std::slice::from_raw_parts(self.producer.as_ptr().add(self.page), length - first) };
                    self.joined.extend_from_slice(rest);
                    sink(&self.joined);
                }
                count += 1;
            }
            at += (HEADER + length as u64 + 7) & !7;
            if at - released >= RELEASE_BYTES {
                consumer.store(at, Ordering::Release);
                released = at;
            }
        }
        consumer.store(at, Ordering::Release);
        count
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: both were mapped by `new` with these lengths, and no borrow of them outlives `self`.
        unsafe {
            let _ = munmap(self.consumer.cast(), self.page);
            let _ = munmap(self.producer.cast(), self.page + self.size);
        }
    }
}
