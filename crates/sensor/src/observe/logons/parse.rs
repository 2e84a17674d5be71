//! Reading log lines of sshd, su, sudo, login and PAM into log-ons. Pure; the lines are written by whoever can log,
//! and names in them by whoever can knock at the door, so that every field is taken from where the program puts it,
//! from the right where a name could contain the words around it.

use crate::observe::event::{Logon, LogonKind, LogonOutcome};
use std::net::IpAddr;

/// Longest line that is looked at: log daemons cut at 8 KiB.
const LINE_MAX: usize = 8192;
/// Longest field kept.
const FIELD_MAX: usize = 256;

/// A line taken apart: who wrote it, and what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// Program, such as `sshd`.
    pub program: &'a str,
    /// Its process id, 0 if the line does not tell.
    pub pid: u32,
    /// The message.
    pub message: &'a str,
}

/// Takes a syslog line apart: `Nov 23 22:01:02 host sshd[12]: text`, or with an ISO time stamp.
pub fn syslog_line(line: &str) -> Option<Line<'_>> {
    let line = cut(line.trim_end(), LINE_MAX);
    let mut rest = line;
    // The old stamp has three words, the new one (rsyslog's default since Debian 12) one.
    let words = if line.as_bytes().first()?.is_ascii_digit() { 1 } else { 3 };
    for _ in 0..=words {
        // Days below 10 are padded with a second space.
        rest = rest.split_once(' ')?.1.trim_start_matches(' ');
    }
    let (tag, message) = rest.split_once(": ")?;
    let (program, pid) = match tag.split_once('[') {
        Some((program, pid)) => (program, pid.trim_end_matches(']').parse().unwrap_or(0)),
        None => (tag, 0),
    };
    (!program.is_empty() && !program.contains(' ')).then_some(Line { program, pid, message })
}

fn cut(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn kept(text: &str) -> String {
    cut(text.trim(), FIELD_MAX).to_owned()
}

/// The log-on that a message tells of, if it does.
pub fn logon(line: &Line) -> Option<Logon> {
    let message = cut(line.message.trim(), LINE_MAX);
    let program = line.program.rsplit('/').next().unwrap_or(line.program);
    let mut found = match program {
        // OpenSSH 9.8 split the part that speaks with the client.
        "sshd" | "sshd-session" | "sshd-auth" => ssh(message)?,
        "su" | "su-l" | "runuser" => su(message)?,
        "sudo" | "doas" => sudo(message)?,
        "login" | "gdm-password" | "lightdm" | "sddm" | "systemd-logind" => console(message)?,
        _ => return None,
    };
    found.program = program.to_owned();
    found.program_pid = line.pid;
    Some(found)
}

fn blank(kind: LogonKind, outcome: LogonOutcome) -> Logon {
    Logon {
        outcome,
        kind,
        program: String::new(),
        program_pid: 0,
        account: String::new(),
        by_account: String::new(),
        remote: None,
        remote_name: String::new(),
        remote_port: 0,
        method: String::new(),
        reason: String::new(),
        command: String::new(),
        tty: String::new(),
        key_fingerprint: String::new(),
        logged_micros: 0,
    }
}

/// Takes `... from ADDRESS port PORT ...` from the right end, where sshd itself wrote it: a user name may hold anything.
fn from_port<'a>(text: &'a str, logon: &mut Logon) -> Option<&'a str> {
    let (before, after) = text.rsplit_once(" from ").or_else(|| text.strip_prefix("from ").map(|a| ("", a)))?;
    let mut words = after.split(' ');
    let address = words.next()?;
    match address.parse::<IpAddr>() {
        Ok(ip) => logon.remote = Some(ip.to_canonical()),
        Err(_) => logon.remote_name = kept(address),
    }
    if words.next() == Some("port") {
        logon.remote_port = words.next().and_then(|p| p.parse().ok()).unwrap_or(0);
    }
    // After "ssh2:" comes the key.
    if let Some((_, key)) = after.split_once("ssh2: ") {
        logon.key_fingerprint = kept(key);
    }
    Some(before)
}

fn ssh(message: &str) -> Option<Logon> {
    if let Some(rest) = message.strip_prefix("Accepted ") {
        let mut logon = blank(LogonKind::Ssh, LogonOutcome::Success);
        let (method, rest) = rest.split_once(" for ")?;
        logon.method = kept(method);
        logon.account = kept(from_port(rest, &mut logon)?);
        return Some(logon);
    }
    if let Some(rest) = message.strip_prefix("Failed ") {
        let mut logon = blank(LogonKind::Ssh, LogonOutcome::Failed);
        let (method, rest) = rest.split_once(" for ")?;
        // "none" is how every client asks which methods there are.
        if method == "none" {
            return None;
        }
        logon.method = kept(method);
        let name = from_port(rest, &mut logon)?;
        (logon.account, logon.reason) = match name.strip_prefix("invalid user ") {
            Some(name) => (kept(name), "invalid user".to_owned()),
            None => (kept(name), format!("wrong {method}")),
        };
        return Some(logon);
    }
    if let Some(rest) = message.strip_prefix("Invalid user ") {
        let mut logon = blank(LogonKind::Ssh, LogonOutcome::Failed);
        logon.account = kept(from_port(rest, &mut logon).or_else(|| rest.strip_prefix("from "))?);
        logon.reason = "invalid user".to_owned();
        return Some(logon);
    }
    if let Some(rest) = message.strip_prefix("User ") {
        // "User root from 10.0.0.1 not allowed because not listed in AllowUsers"
        let (left, reason) = rest.rsplit_once(" not allowed because ")?;
        let mut logon = blank(LogonKind::Ssh, LogonOutcome::Failed);
        logon.account = kept(from_port(left, &mut logon)?);
        logon.reason = kept(reason);
        return Some(logon);
    }
    if let Some(rest) = message.strip_prefix("error: maximum authentication attempts exceeded for ") {
        let mut logon = blank(LogonKind::Ssh, LogonOutcome::Failed);
        let name = from_port(rest, &mut logon)?;
        logon.account = kept(name.strip_prefix("invalid user ").unwrap_or(name));
        logon.reason = "too many attempts".to_owned();
        return Some(logon);
    }
    if let Some(rest) = message.strip_prefix("ROOT LOGIN REFUSED ") {
        let mut logon = blank(LogonKind::Ssh, LogonOutcome::Failed);
        from_port(&format!(" {rest}"), &mut logon);
        logon.account = "root".to_owned();
        logon.reason = "root log-on is not permitted".to_owned();
        return Some(logon);
    }
    session_closed(message, LogonKind::Ssh)
}

/// `pam_unix(sshd:session): session closed for user ann`.
fn session_closed(message: &str, kind: LogonKind) -> Option<Logon> {
    let (module, rest) = message.split_once("): ")?;
    if !module.starts_with("pam_unix(") {
        return None;
    }
    let account = rest.strip_prefix("session closed for user ")?;
    let mut logon = blank(kind, LogonOutcome::Ended);
    logon.account = kept(account);
    Some(logon)
}

/// `pam_unix(su:session): session opened for user root(uid=0) by ann(uid=1000)`.
fn session_opened(message: &str, kind: LogonKind) -> Option<Logon> {
    let (module, rest) = message.split_once("): ")?;
    if !module.starts_with("pam_unix(") {
        return None;
    }
    let rest = rest.strip_prefix("session opened for user ")?;
    let (account, by) = rest.rsplit_once(" by ").unwrap_or((rest, ""));
    let name = |text: &str| kept(text.split("(uid=").next().unwrap_or(text));
    let mut logon = blank(kind, LogonOutcome::Success);
    logon.account = name(account);
    logon.by_account = name(by);
    Some(logon)
}

/// `pam_unix(su:auth): authentication failure; logname=ann uid=1000 euid=0 tty=pts/0 ruser=ann rhost=  user=root`.
fn authentication_failure(message: &str, kind: LogonKind) -> Option<Logon> {
    let (module, rest) = message.split_once("): ")?;
    if !module.starts_with("pam_") {
        return None;
    }
    let rest = rest.strip_prefix("authentication failure; ")?;
    let mut logon = blank(kind, LogonOutcome::Failed);
    let value = |name: &str| {
        let at = rest.find(&format!("{name}="))?;
        Some(rest[at + name.len() + 1..].split(' ').next().unwrap_or(""))
    };
    logon.tty = kept(value(" tty").unwrap_or("").trim_start_matches("/dev/"));
    logon.by_account = kept(value("ruser").filter(|v| !v.is_empty()).or_else(|| value("logname")).unwrap_or(""));
    let host = value("rhost").unwrap_or("");
    match host.parse::<IpAddr>() {
        Ok(ip) => logon.remote = Some(ip.to_canonical()),
        Err(_) => logon.remote_name = kept(host),
    }
    // The last field, where the name may hold anything.
    logon.account = kept(rest.rsplit_once(" user=").map_or("", |(_, name)| name));
    logon.reason = "authentication failure".to_owned();
    Some(logon)
}

fn su(message: &str) -> Option<Logon> {
    // util-linux: "(to root) ann on pts/0" and "FAILED SU (to root) ann on pts/0".
    let (failed, rest) = match message.strip_prefix("FAILED SU ") {
        Some(rest) => (true, rest),
        None => (false, message),
    };
    if let Some(rest) = rest.strip_prefix("(to ") {
        let (account, rest) = rest.split_once(") ")?;
        let (by, tty) = rest.rsplit_once(" on ")?;
        let mut logon = blank(LogonKind::Su, if failed { LogonOutcome::Failed } else { LogonOutcome::Success });
        logon.account = kept(account);
        logon.by_account = kept(by);
        logon.tty = kept(tty.trim_start_matches("/dev/"));
        if failed {
            logon.reason = "authentication failure".to_owned();
        }
        return Some(logon);
    }
    // shadow's su: "Successful su for root by ann", "FAILED su for root by ann".
    for (start, outcome) in [("Successful su for ", LogonOutcome::Success), ("FAILED su for ", LogonOutcome::Failed)] {
        if let Some(rest) = message.strip_prefix(start) {
            let (account, by) = rest.rsplit_once(" by ")?;
            let mut logon = blank(LogonKind::Su, outcome);
            logon.account = kept(account);
            logon.by_account = kept(by);
            if outcome == LogonOutcome::Failed {
                logon.reason = "authentication failure".to_owned();
            }
            return Some(logon);
        }
    }
    // The session is told once by the line above, and its end by PAM.
    session_closed(message, LogonKind::Su)
}

fn sudo(message: &str) -> Option<Logon> {
    // doas: "ann ran command id as root from /home/ann" and "failed auth for ann".
    if let Some(name) = message.strip_prefix("failed auth for ") {
        let mut logon = blank(LogonKind::Sudo, LogonOutcome::Failed);
        logon.by_account = kept(name);
        logon.reason = "authentication failure".to_owned();
        return Some(logon);
    }
    if message.starts_with("pam_") {
        return session_closed(message, LogonKind::Sudo);
    }
    // "ann : 3 incorrect password attempts ; TTY=pts/0 ; PWD=/home/ann ; USER=root ; COMMAND=/usr/bin/id"
    let (by, rest) = message.split_once(" : ")?;
    let mut logon = blank(LogonKind::Sudo, LogonOutcome::Success);
    logon.by_account = kept(by);
    // The command is last and may hold anything, the separators too.
    let (fields, command) = rest.split_once("COMMAND=")?;
    logon.command = cut(command, 4096).to_owned();
    for field in fields.split(" ; ") {
        match field.trim().split_once('=') {
            Some(("TTY", tty)) => logon.tty = kept(tty),
            Some(("USER", user)) => logon.account = kept(user.trim_end_matches(" ;")),
            Some(_) => {}
            None if field.trim().is_empty() || field.trim() == ";" => {}
            None => {
                logon.outcome = LogonOutcome::Failed;
                logon.reason = kept(field);
            }
        }
    }
    Some(logon)
}

fn console(message: &str) -> Option<Logon> {
    // "FAILED LOGIN (1) on '/dev/tty1' FOR 'ann', Authentication failure"
    if let Some(rest) = message.strip_prefix("FAILED LOGIN ") {
        let mut logon = blank(LogonKind::Console, LogonOutcome::Failed);
        let (_, rest) = rest.split_once(" on '")?;
        let (tty, rest) = rest.split_once('\'')?;
        let (_, name) = rest.split_once("FOR '")?;
        let (name, reason) = name.rsplit_once("', ")?;
        logon.tty = kept(tty.trim_start_matches("/dev/"));
        logon.account = kept(name);
        logon.reason = kept(reason);
        return Some(logon);
    }
    // "ROOT LOGIN  on '/dev/tty1'", "LOGIN ON tty1 BY ann"
    if let Some(rest) = message.strip_prefix("ROOT LOGIN") {
        let mut logon = blank(LogonKind::Console, LogonOutcome::Success);
        logon.account = "root".to_owned();
        logon.tty = kept(rest.split('\'').nth(1).unwrap_or("").trim_start_matches("/dev/"));
        return Some(logon);
    }
    if let Some(rest) = message.strip_prefix("LOGIN ON ") {
        let (tty, name) = rest.split_once(" BY ")?;
        let mut logon = blank(LogonKind::Console, LogonOutcome::Success);
        logon.tty = kept(tty);
        logon.account = kept(name);
        return Some(logon);
    }
    authentication_failure(message, LogonKind::Console)
        .or_else(|| session_closed(message, LogonKind::Console))
        .or_else(|| message.contains("(gdm").then(|| session_opened(message, LogonKind::Console))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// One line for each line: outcome, account, by, address:port, method, reason, tty, command.
    fn told(line: &str) -> String {
        let Some(logon) = syslog_line(line).and_then(|l| logon(&l)) else { return "nothing".to_owned() };
        let remote = logon.remote.map_or(logon.remote_name.clone(), |ip| ip.to_string());
        format!(
            "{:?} {:?} {} by={} from={}:{} method={} reason={} tty={} command={} key={}",
            logon.kind,
            logon.outcome,
            logon.account,
            logon.by_account,
            remote,
            logon.remote_port,
            logon.method,
            logon.reason,
            logon.tty,
            logon.command,
            logon.key_fingerprint
        )
    }

    #[test]
    fn real_lines_are_understood() {
        let cases = [
            (
                "Nov  3 22:01:02 web1 sshd[812]: Accepted publickey for ann from 192.0.2.7 port 50122 ssh2: ED25519 SHA256:abc+/def",
                "Ssh Success ann by= from=192.0.2.7:50122 method=publickey reason= tty= command= key=ED25519 SHA256:abc+/def",
            ),
            (
                "2026-11-23T22:01:02.123456+00:00 web1 sshd-session[812]: Accepted password for bob from 2001:db8::1 port 4022 ssh2",
                "Ssh Success bob by= from=2001:db8::1:4022 method=password reason= tty= command= key=",
            ),
            (
                "Nov 23 22:01:02 web1 sshd[812]: Failed password for root from 203.0.113.9 port 39122 ssh2",
                "Ssh Failed root by= from=203.0.113.9:39122 method=password reason=wrong password tty= command= key=",
            ),
            (
                "Nov 23 22:01:02 web1 sshd[812]: Failed password for invalid user oracle from 203.0.113.9 port 39122 ssh2",
                "Ssh Failed oracle by= from=203.0.113.9:39122 method=password reason=invalid user tty= command= key=",
            ),
            ("Nov 23 22:01:02 web1 sshd[812]: Failed none for root from 203.0.113.9 port 39122 ssh2", "nothing"),
            (
                "Nov 23 22:01:02 web1 sshd[812]: User root from 203.0.113.9 not allowed because not listed in AllowUsers",
                "Ssh Failed root by= from=203.0.113.9:0 method= reason=not listed in AllowUsers tty= command= key=",
            ),
            (
                "Nov 23 22:01:02 web1 su[77]: (to root) ann on pts/1",
                "Su Success root by=ann from=:0 method= reason= tty=pts/1 command= key=",
            ),
            (
                "Nov 23 22:01:02 web1 su[77]: FAILED SU (to root) ann on pts/1",
                "Su Failed root by=ann from=:0 method= reason=authentication failure tty=pts/1 command= key=",
            ),
            (
                "Nov 23 22:01:02 web1 sudo:      ann : TTY=pts/0 ; PWD=/home/ann ; USER=root ; COMMAND=/usr/bin/apt update",
                "Sudo Success root by=ann from=:0 method= reason= tty=pts/0 command=/usr/bin/apt update key=",
            ),
            (
                "Nov 23 22:01:02 web1 sudo[9]:      ann : 3 incorrect password attempts ; TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/sh",
                "Sudo Failed root by=ann from=:0 method= reason=3 incorrect password attempts tty=pts/0 command=/bin/sh key=",
            ),
            (
                "Nov 23 22:01:02 web1 sudo[9]:  eve : user NOT in sudoers ; TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/sh",
                "Sudo Failed root by=eve from=:0 method= reason=user NOT in sudoers tty=pts/0 command=/bin/sh key=",
            ),
            (
                "Nov 23 22:01:02 web1 login[5]: FAILED LOGIN (1) on '/dev/tty1' FOR 'ann', Authentication failure",
                "Console Failed ann by= from=:0 method= reason=Authentication failure tty=tty1 command= key=",
            ),
            (
                "Nov 23 22:01:02 web1 login[5]: ROOT LOGIN  on '/dev/tty1'",
                "Console Success root by= from=:0 method= reason= tty=tty1 command= key=",
            ),
            (
                "Nov 23 22:01:02 web1 sshd[8]: pam_unix(sshd:session): session closed for user ann",
                "Ssh Ended ann by= from=:0 method= reason= tty= command= key=",
            ),
            (
                "Nov 23 22:01:02 web1 CRON[8]: pam_unix(cron:session): session opened for user root by (uid=0)",
                "nothing",
            ),
        ];
        for (line, expected) in cases {
            assert_eq!(told(line), expected, "{line}");
        }
    }

    #[test]
    fn a_name_cannot_forge_another_address() {
        // The name is "x from 10.0.0.1 port 1 ssh2".
        let line = "Nov 23 22:01:02 web1 sshd[8]: Failed password for invalid user x from 10.0.0.1 port 1 ssh2 from 203.0.113.9 port 39122 ssh2";
        let seen = told(line);
        assert!(seen.contains("from=203.0.113.9:39122"), "{seen}");
        assert!(seen.starts_with("Ssh Failed x from 10.0.0.1 port 1 ssh2 "), "{seen}");
        // A command that looks like further fields stays a command.
        let line = "Nov 23 22:01:02 web1 sudo: ann : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/echo ; USER=bob ; COMMAND=/x";
        assert!(told(line).contains("root by=ann"));
    }

    proptest! {
        #[test]
        fn no_line_makes_us_fall(program in "(sshd|su|sudo|login|sshd-session)", text in ".{0,300}") {
            let _ = logon(&Line { program: &program, pid: 1, message: &text });
            let _ = syslog_line(&text);
            let _ = told(&format!("Nov 23 22:01:02 h {program}[1]: {text}"));
        }

        #[test]
        fn no_known_start_makes_us_fall(
            start in "(Accepted |Failed |Invalid user |User |FAILED SU |\\(to |a : |FAILED LOGIN |ROOT LOGIN|pam_unix\\(x\\): authentication failure; )",
            text in "( from | port | on | by |COMMAND=| ; |'|a|é){0,12}",
        ) {
            for program in ["sshd", "su", "sudo", "login"] {
                let _ = logon(&Line { program, pid: 1, message: &format!("{start}{text}") });
            }
        }
    }
}
