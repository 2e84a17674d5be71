//! Following the logs that tell of log-ons.
//!
//! Where the machine writes `/var/log/auth.log` (Debian, Ubuntu with rsyslog) or `/var/log/secure` (RHEL), that file is
//! followed, over rotation and truncation. Else, where `journalctl` is, the journal is followed by a child process of
//! ours. Console log-ons that no log tells of come from `wtmp`, failed ones from `btmp`.

pub mod parse;

use super::clock;
use super::event::*;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Bytes read of one log in one poll: a flood of log lines must not stop the rest. What is left waits.
const READ_MAX: usize = 256 * 1024;
/// Longest line kept while its end has not come.
const PARTIAL_MAX: usize = 16 * 1024;
/// Logs that are followed, the first one there wins.
const LOGS: &[&str] = &["/var/log/auth.log", "/var/log/secure"];

/// The followed logs.
#[derive(Debug)]
pub struct Logons {
    text: Option<Follower>,
    journal: Option<Journal>,
    records: Vec<(Follower, LogonOutcome)>,
}

impl Logons {
    /// Starts at the end of each log: what was before is not news.
    pub fn start() -> Self {
        let text = LOGS.iter().map(Path::new).find(|p| p.exists()).map(|p| Follower::at_end(p.to_owned()));
        let journal = if text.is_none() { Journal::start() } else { None };
        let text_or_journal = text.is_some() || journal.is_some();
        let mut records = vec![(Follower::at_end(PathBuf::from("/var/log/wtmp")), LogonOutcome::Success)];
        // With a text log the failures are told with their reasons there.
        if !text_or_journal {
            records.push((Follower::at_end(PathBuf::from("/var/log/btmp")), LogonOutcome::Failed));
        }
        Self { text, journal, records }
    }

    /// Follows these files instead of the machine's (tests).
    pub fn with_files(text: &Path, wtmp: &Path) -> Self {
        Self {
            text: Some(Follower::at_end(text.to_owned())),
            journal: None,
            records: vec![(Follower::at_end(wtmp.to_owned()), LogonOutcome::Success)],
        }
    }

    /// Names of what no log here tells.
    pub fn missing(&self) -> Vec<String> {
        if self.text.is_none() && self.journal.is_none() {
            vec!["no log of sshd, su and sudo is readable: log-ons from wtmp and btmp only".to_owned()]
        } else {
            Vec::new()
        }
    }

    /// Tells what was logged since; returns how many.
    pub fn poll(&mut self, sink: &mut dyn FnMut(Observation)) -> usize {
        let mut count = 0;
        let mut tell = |logon: Logon| {
            count += 1;
            sink(observation(logon));
        };
        if let Some(text) = &mut self.text {
            text.lines(&mut |line| {
                if let Some(logon) = parse::syslog_line(line).and_then(|l| parse::logon(&l)) {
                    tell(logon);
                }
            });
        }
        if let Some(journal) = &mut self.journal {
            journal.poll(&mut tell);
        }
        for (follower, outcome) in &mut self.records {
            let outcome = *outcome;
            follower.blocks(std::mem::size_of::<libc::utmpx>(), &mut |block| {
                if let Some(logon) = utmp_record(block, outcome) {
                    tell(logon);
                }
            });
        }
        count
    }
}

fn observation(logon: Logon) -> Observation {
    // The writer of the line is the actor, if it still runs.
    let actor = match logon.program_pid {
        0 => None,
        pid => super::backfill::actor(pid as i32).map(|(actor, _)| actor),
    };
    let actor = actor.unwrap_or_else(|| Actor {
        pid: logon.program_pid,
        tid: logon.program_pid,
        comm: Comm::new(logon.program.as_bytes()),
        ..Actor::default()
    });
    Observation { time_ns: clock::boottime_ns(), source: Source::Log, actor, event: Event::Logon(Box::new(logon)) }
}

/// A growing file, read as it grows, over rotation (another inode) and truncation.
#[derive(Debug)]
struct Follower {
    path: PathBuf,
    file: Option<(File, u64)>,
    partial: Vec<u8>,
}

impl Follower {
    fn at_end(path: PathBuf) -> Self {
        let file = File::open(&path).ok().and_then(|mut file| {
            let inode = file.metadata().ok()?.ino();
            file.seek(SeekFrom::End(0)).ok()?;
            Some((file, inode))
        });
        Self { path, file, partial: Vec::new() }
    }

    /// New bytes are put behind `partial`.
    fn read(&mut self) {
        if let Some((file, _)) = &mut self.file {
            let at = file.stream_position().unwrap_or(0);
            if file.metadata().is_ok_and(|meta| meta.len() < at) {
                self.partial.clear();
                // If this fails the next read finds nothing, and rotation is checked again.
                let _ = file.seek(SeekFrom::Start(0));
            }
            let before = self.partial.len();
            let _ = file.take(READ_MAX as u64).read_to_end(&mut self.partial);
            if self.partial.len() > before {
                return;
            }
        }
        // Nothing new: perhaps the name belongs to another file now.
        let Ok(meta) = std::fs::metadata(&self.path) else { return };
        if self.file.as_ref().is_none_or(|(_, inode)| *inode != meta.ino())
            && let Ok(file) = File::open(&self.path)
        {
            self.partial.clear();
            self.file = Some((file, meta.ino()));
            if let Some((file, _)) = &mut self.file {
                let _ = file.take(READ_MAX as u64).read_to_end(&mut self.partial);
            }
        }
    }

    fn lines(&mut self, sink: &mut dyn FnMut(&str)) {
        self.read();
        take_lines(&mut self.partial, sink);
    }

    fn blocks(&mut self, size: usize, sink: &mut dyn FnMut(&[u8])) {
        self.read();
        let whole = self.partial.len() - self.partial.len() % size;
        self.partial[..whole].chunks_exact(size).for_each(sink);
        self.partial.drain(..whole);
    }
}

fn take_lines(partial: &mut Vec<u8>, sink: &mut dyn FnMut(&str)) {
    let Some(end) = partial.iter().rposition(|b| *b == b'\n') else {
        if partial.len() > PARTIAL_MAX {
            partial.clear();
        }
        return;
    };
    for line in partial[..end].split(|b| *b == b'\n') {
        sink(&String::from_utf8_lossy(line));
    }
    partial.drain(..=end);
}

/// `journalctl -f` as a child that dies with us.
#[derive(Debug)]
struct Journal {
    child: Child,
    partial: Vec<u8>,
}

impl Journal {
    fn start() -> Option<Self> {
        // Without a journal daemon there is nothing to follow.
        if !Path::new("/run/systemd/journal").exists() {
            return None;
        }
        let mut command = Command::new("journalctl");
        command
            .args(["--follow", "--lines=0", "--output=json", "--output-fields=SYSLOG_IDENTIFIER,_PID,MESSAGE"])
            .args(["_COMM=sshd", "_COMM=sshd-session", "_COMM=su", "_COMM=sudo", "_COMM=login", "_COMM=doas"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let child = command.spawn().ok()?;
        let stdout = child.stdout.as_ref()?;
        nix::fcntl::fcntl(stdout, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK)).ok()?;
        Some(Self { child, partial: Vec::new() })
    }

    fn poll(&mut self, tell: &mut dyn FnMut(Logon)) {
        let Some(stdout) = &mut self.child.stdout else { return };
        let mut buffer = vec![0; 64 * 1024];
        for _ in 0..READ_MAX / buffer.len() {
            match stdout.read(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(count) => self.partial.extend_from_slice(&buffer[..count]),
            }
        }
        take_lines(&mut self.partial, &mut |line| {
            if let Some(logon) = journal_line(line) {
                tell(logon);
            }
        });
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // It may have ended by itself; either way nothing is left to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One line of `journalctl --output=json`.
fn journal_line(line: &str) -> Option<Logon> {
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    let text = |name: &str| value.get(name).and_then(serde_json::Value::as_str);
    let mut logon = parse::logon(&parse::Line {
        program: text("SYSLOG_IDENTIFIER")?,
        pid: text("_PID").and_then(|p| p.parse().ok()).unwrap_or(0),
        message: text("MESSAGE")?,
    })?;
    logon.logged_micros = text("__REALTIME_TIMESTAMP").and_then(|t| t.parse().ok()).unwrap_or(0);
    Some(logon)
}

/// A record of `wtmp` or `btmp`: fixed places of glibc's `struct utmpx` (the same on all 64-bit processors that we
/// build for). Only log-ons on a real console: ssh is told by its own log.
fn utmp_record(block: &[u8], outcome: LogonOutcome) -> Option<Logon> {
    const USER_PROCESS: i16 = 7;
    let text = |from: usize, length: usize| -> Option<String> {
        let bytes = block.get(from..from + length)?;
        let end = bytes.iter().position(|b| *b == 0).unwrap_or(length);
        Some(String::from_utf8_lossy(&bytes[..end]).into_owned())
    };
    let kind = i16::from_ne_bytes(block.get(..2)?.try_into().ok()?);
    let pid = i32::from_ne_bytes(block.get(4..8)?.try_into().ok()?);
    let (tty, account, host) = (text(8, 32)?, text(44, 32)?, text(76, 256)?);
    let seconds = i32::from_ne_bytes(block.get(340..344)?.try_into().ok()?);
    let micros = i32::from_ne_bytes(block.get(344..348)?.try_into().ok()?);
    if account.is_empty() || (outcome == LogonOutcome::Success && (kind != USER_PROCESS || tty.starts_with("pts"))) {
        return None;
    }
    let remote = host.parse().ok();
    Some(Logon {
        outcome,
        kind: if tty.starts_with("ssh") { LogonKind::Ssh } else { LogonKind::Console },
        program: "login".to_owned(),
        program_pid: pid.max(0) as u32,
        account,
        by_account: String::new(),
        remote,
        remote_name: if remote.is_none() { host } else { String::new() },
        remote_port: 0,
        method: String::new(),
        reason: if outcome == LogonOutcome::Failed { "authentication failure".to_owned() } else { String::new() },
        command: String::new(),
        tty,
        key_fingerprint: String::new(),
        logged_micros: i64::from(seconds) * 1_000_000 + i64::from(micros),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn accounts(logons: &mut Logons) -> Vec<String> {
        let mut seen = Vec::new();
        logons.poll(&mut |o| {
            if let Event::Logon(logon) = o.event {
                seen.push(logon.account);
            }
        });
        seen
    }

    fn accepted(name: &str) -> String {
        format!("Nov 23 22:01:02 web1 sshd[4194305]: Accepted password for {name} from 192.0.2.7 port 50122 ssh2\n")
    }

    #[test]
    fn a_log_is_followed_over_half_lines_rotation_and_truncation() {
        let folder = tempfile::tempdir().unwrap();
        let (log, wtmp) = (folder.path().join("auth.log"), folder.path().join("wtmp"));
        std::fs::write(&log, accepted("before")).unwrap();
        let mut logons = Logons::with_files(&log, &wtmp);
        assert!(accounts(&mut logons).is_empty());
        let mut file = File::options().append(true).open(&log).unwrap();
        let line = accepted("ann");
        file.write_all(&line.as_bytes()[..50]).unwrap();
        assert!(accounts(&mut logons).is_empty());
        file.write_all(&line.as_bytes()[50..]).unwrap();
        assert_eq!(accounts(&mut logons), ["ann"]);
        std::fs::rename(&log, folder.path().join("auth.log.1")).unwrap();
        file.write_all(accepted("late").as_bytes()).unwrap();
        assert_eq!(accounts(&mut logons), ["late"]);
        std::fs::write(&log, accepted("bob") + &accepted("bea")).unwrap();
        assert_eq!(accounts(&mut logons), ["bob", "bea"]);
        std::fs::write(&log, accepted("eve")).unwrap();
        assert_eq!(accounts(&mut logons), ["eve"]);
    }

    #[test]
    fn a_console_log_on_is_read_from_wtmp() {
        let mut block = vec![0; std::mem::size_of::<libc::utmpx>()];
        block[0] = 7;
        block[4..8].copy_from_slice(&9_i32.to_ne_bytes());
        block[8..12].copy_from_slice(b"tty1");
        block[44..48].copy_from_slice(b"root");
        block[340..344].copy_from_slice(&5_i32.to_ne_bytes());
        let logon = utmp_record(&block, LogonOutcome::Success).unwrap();
        assert_eq!((logon.account.as_str(), logon.tty.as_str(), logon.logged_micros), ("root", "tty1", 5_000_000));
        block[8..12].copy_from_slice(b"pts/");
        assert_eq!(utmp_record(&block, LogonOutcome::Success), None);
        assert_eq!(utmp_record(&block[..100], LogonOutcome::Success), None);
    }

    #[test]
    fn journal_lines_are_read() {
        let line =
            r#"{"SYSLOG_IDENTIFIER":"su","_PID":"7","MESSAGE":"(to root) ann on pts/0","__REALTIME_TIMESTAMP":"12"}"#;
        let logon = journal_line(line).unwrap();
        assert_eq!((logon.account.as_str(), logon.by_account.as_str(), logon.logged_micros), ("root", "ann", 12));
        assert_eq!(journal_line("{"), None);
    }
}
