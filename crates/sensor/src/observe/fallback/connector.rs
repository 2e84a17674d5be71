//! The process connector: the kernel's netlink messages about forks, program starts, exits and user changes
//! (`include/uapi/linux/cn_proc.h`). Needs root in the initial namespaces.

#![allow(unsafe_code)]

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, NetlinkAddr, bind, recv, send, setsockopt, sockopt};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// A message of the connector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessEvent {
    /// A process (not a thread) was made.
    Fork { parent: u32, child: u32, time_ns: u64 },
    /// A program was started.
    Exec { pid: u32, time_ns: u64 },
    /// A process ended.
    Exit { pid: u32, status: u32, time_ns: u64 },
    /// Users changed.
    UserChange { pid: u32, time_ns: u64 },
}

const NETLINK_CONNECTOR: i32 = 11;
const GROUP_PROC: u32 = 1;
const NETLINK_HEADER: usize = 16;
const CONNECTOR_HEADER: usize = 20;
/// Room in the socket for messages: 4 MiB hold some ten thousand.
const QUEUE_BYTES: usize = 4 << 20;
/// Messages read in one round.
const MESSAGES_MAX: usize = 4096;

#[derive(Debug)]
pub struct Connector {
    socket: OwnedFd,
}

impl Connector {
    /// Opens the socket and asks for messages.
    pub fn start() -> io::Result<Self> {
        // `nix` has no name for this protocol.
        // SAFETY: plain system call; the result is checked before it is owned.
        let fd = unsafe {
            libc::socket(
                libc::AF_NETLINK,
                libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
                NETLINK_CONNECTOR,
            )
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was just opened and belongs to nobody else.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        // As root beyond the system's limit, else as far as it goes.
        let _ = setsockopt(&socket, sockopt::RcvBufForce, &QUEUE_BYTES);
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUP_PROC))?;
        // nlmsghdr, cn_msg with index 1 and value 1 (CN_IDX_PROC, CN_VAL_PROC), PROC_CN_MCAST_LISTEN.
        let mut message = Vec::with_capacity(40);
        message.extend(40_u32.to_ne_bytes());
        message.extend(3_u16.to_ne_bytes()); // NLMSG_DONE
        message.extend([0; 10]);
        message.extend(1_u32.to_ne_bytes());
        message.extend(1_u32.to_ne_bytes());
        message.extend([0; 8]);
        message.extend(4_u16.to_ne_bytes());
        message.extend([0; 2]);
        message.extend(1_u32.to_ne_bytes());
        send(socket.as_raw_fd(), &message, MsgFlags::empty())?;
        Ok(Self { socket })
    }

    /// Waits at most `wait`, then reads what is there. Returns how often the queue ran over.
    pub fn read(&mut self, wait: Duration, events: &mut Vec<ProcessEvent>) -> u64 {
        let mut overruns = 0;
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut fds, PollTimeout::from(wait.as_millis().min(1000) as u16));
        let mut buffer = [0; 4096];
        for _ in 0..MESSAGES_MAX {
            match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(count) => events.extend(parse(&buffer[..count])),
                Err(nix::errno::Errno::ENOBUFS) => overruns += 1,
                Err(_) => break,
            }
        }
        overruns
    }
}

/// Reads one message; anything unknown or short is left.
fn parse(bytes: &[u8]) -> Option<ProcessEvent> {
    let body = bytes.get(NETLINK_HEADER + CONNECTOR_HEADER..)?;
    let word = |at: usize| Some(u32::from_ne_bytes(body.get(at..at + 4)?.try_into().ok()?));
    let time_ns = u64::from_ne_bytes(body.get(8..16)?.try_into().ok()?);
    match word(0)? {
        1 => {
            let (parent, child_pid, child) = (word(20)?, word(24)?, word(28)?);
            (child_pid == child).then_some(ProcessEvent::Fork { parent, child, time_ns })
        }
        2 => Some(ProcessEvent::Exec { pid: word(20)?, time_ns }),
        4 => Some(ProcessEvent::UserChange { pid: word(20)?, time_ns }),
        0x8000_0000 => {
            let (pid, group, status) = (word(16)?, word(20)?, word(24)?);
            (pid == group).then_some(ProcessEvent::Exit { pid, status, time_ns })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_message_makes_us_fall(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = parse(&bytes);
        }
    }

    #[test]
    fn an_exec_is_read() {
        let mut bytes = vec![0; 36];
        bytes.extend(2_u32.to_ne_bytes());
        bytes.extend(0_u32.to_ne_bytes());
        bytes.extend(99_u64.to_ne_bytes());
        bytes.extend(41_u32.to_ne_bytes());
        bytes.extend(42_u32.to_ne_bytes());
        assert_eq!(parse(&bytes), Some(ProcessEvent::Exec { pid: 42, time_ns: 99 }));
    }
}
