//! One host by SSH: what it is, the program onto it, its token through stdin, the connector started.
//!
//! OpenSSH's own client does the talking, with none of its user's settings: no agent, no configuration file, one key,
//! one file of known hosts. Commands are fixed texts; what varies is checked, quoted, and never the token.

use super::address::Host;
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// How long a connection may take to come up.
const CONNECT_SECONDS: u32 = 10;
/// How long a short command may take.
const SHORT_MAX: Duration = Duration::from_secs(45);
/// How long the program may take to get there: 50 MB at 3 Mbit/s.
const COPY_MAX: Duration = Duration::from_mins(5);
/// Bytes kept of what a host says.
const SAID_BYTES_MAX: u64 = 16 << 10;
/// Characters of it that are told on.
const DETAIL_CHARS_MAX: usize = 300;

/// What became of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub enum Outcome {
    /// It is a connected machine.
    Connected,
    /// It does not answer.
    Unreachable,
    /// Its key was never seen.
    HostKeyUnknown,
    /// It shows another key than before.
    HostKeyChanged,
    /// It does not take the key.
    NotAuthenticated,
    /// The user is neither root nor may it become root without a password.
    NotPrivileged,
    /// It is no Linux of a known architecture.
    SystemUnsupported,
    /// The server has no connector for its architecture.
    ProgramMissing,
    /// The program could not be copied.
    CopyFailed,
    /// It cannot reach the gateway.
    GatewayUnreachable,
    /// It was not let in.
    EnrolRefused,
    /// It is connected, and its connector does not start.
    StartFailed,
    /// The cloud refuses.
    CloudRefused,
    /// It took too long.
    TimedOut,
    /// The server could not do its part.
    ServerFailed,
}

impl Outcome {
    /// Reads what is stored: its word as it is shown.
    pub(super) fn read(text: &str) -> Option<Self> {
        serde_json::from_value(serde_json::Value::String(text.to_owned())).ok()
    }

    /// What it is, and what to do.
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Connected => ("connected", ""),
            Self::Unreachable => {
                ("the host does not answer", "see that it runs and that its port is open to this server")
            }
            Self::HostKeyUnknown => (
                "the host's key was never seen",
                "compare the fingerprint with the host's own (there: `ssh-keygen -lf` on /etc/ssh/ssh_host_*_key.pub), \
                 then run again with --accept-new-hosts",
            ),
            Self::HostKeyChanged => (
                "the host shows another key than before: it was installed anew, or somebody is in between",
                "find out which; only then `garrison connect host forget ADDRESS`, and accept the new key",
            ),
            Self::NotAuthenticated => {
                ("the host does not take the key", "put the public key into the user's authorized_keys")
            }
            Self::NotPrivileged => (
                "the user is not root and may not become root",
                "use root, or a user with `sudo` that asks no password",
            ),
            Self::SystemUnsupported => {
                ("the host is no Linux on x86-64 or ARM64", "see docs/reference/supported-machines.md")
            }
            Self::ProgramMissing => (
                "this server has no connector for the host's architecture",
                "lay `garrison-connect-ARCHITECTURE` into the folder `programs` of the data folder",
            ),
            Self::CopyFailed => {
                ("the connector could not be copied", "see that the host's /tmp has room and takes programs")
            }
            Self::GatewayUnreachable => {
                ("the host cannot reach the gateway", "give an address with --gateway that hosts reach")
            }
            Self::EnrolRefused => ("the host was not let in", "see what the connector says"),
            Self::StartFailed => (
                "the host is connected and its connector does not start",
                "look at its journal: `journalctl -u garrison-connect`",
            ),
            Self::CloudRefused => (
                "the cloud refuses",
                "see its words; the key needs ec2:DescribeInstances, ssm:SendCommand and ssm:GetCommandInvocation",
            ),
            Self::TimedOut => ("the host took too long", "try again"),
            Self::ServerFailed => ("this server could not do its part", "try again; the server's log has the cause"),
        }
    }
}

/// How a host failed, in its own words where it has some.
pub(super) type Failed = (Outcome, String);

/// What a command came to.
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

/// What is the same for all hosts of a run.
#[derive(Debug)]
pub(super) struct Way {
    /// Folder with the key, of this run only.
    pub folder: PathBuf,
    /// User of hosts that name none.
    pub user: String,
    /// Whether keys that were never seen are taken.
    pub accept_new: bool,
    /// Where hosts find the gateway.
    pub gateway: String,
    /// Folder of the host that the program goes into.
    pub directory: String,
    /// The connector by architecture.
    pub programs: Vec<(&'static str, Arc<Vec<u8>>)>,
}

/// A text as one word of a POSIX shell.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn cut(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    clean.trim().chars().take(DETAIL_CHARS_MAX).collect()
}

/// The fingerprint of the key that a host has shown, as OpenSSH's client tells it: of one that was never seen in its
/// `-v` lines, of a changed one in its warning. The host's own words come after them and are not looked at for it.
fn shown(err: &str) -> Option<String> {
    let mut lines = err.lines();
    let print = |text: &str| -> Option<String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/');
        let hash = text.strip_prefix("SHA256:")?;
        (hash.len() == 43 && hash.chars().all(plain)).then(|| text.to_owned())
    };
    while let Some(line) = lines.next() {
        if let Some(rest) = line.strip_prefix("debug1: Server host key: ") {
            let (kind, hash) = rest.split_once(' ')?;
            return Some(format!("{} ({})", print(hash.trim())?, cut(kind)));
        }
        if line.starts_with("The fingerprint for the ") && line.contains(" key sent by the remote host is") {
            return print(lines.next()?.trim().trim_end_matches('.'));
        }
    }
    None
}

/// What OpenSSH's client means when it ends with 255, by its words.
fn meaning(err: &str, known: bool) -> Outcome {
    if err.contains("HOST IDENTIFICATION HAS CHANGED") {
        return Outcome::HostKeyChanged;
    }
    if err.contains("Host key verification failed") || err.contains("host key is known for") {
        return if known { Outcome::HostKeyChanged } else { Outcome::HostKeyUnknown };
    }
    if err.contains("Permission denied") || err.contains("Too many authentication failures") {
        return Outcome::NotAuthenticated;
    }
    Outcome::Unreachable
}

/// Whether a file of known hosts holds a key.
fn is_known(known: &Path) -> bool {
    std::fs::metadata(known).is_ok_and(|m| m.len() > 0)
}

impl Way {
    /// The file of a host's known keys.
    pub fn known_hosts(&self, number: usize) -> PathBuf {
        self.folder.join(format!("known-{number}"))
    }

    fn command(&self, host: &Host, known: &Path) -> tokio::process::Command {
        let mut command = tokio::process::Command::new("ssh");
        command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C").arg("-F").arg("none");
        let strict = if self.accept_new { "accept-new" } else { "yes" };
        for option in [
            "BatchMode=yes".to_owned(),
            "IdentitiesOnly=yes".to_owned(),
            "IdentityAgent=none".to_owned(),
            format!("IdentityFile={}", self.folder.join("key").display()),
            format!("UserKnownHostsFile={}", known.display()),
            "GlobalKnownHostsFile=/dev/null".to_owned(),
            format!("StrictHostKeyChecking={strict}"),
            "HashKnownHosts=no".to_owned(),
            "UpdateHostKeys=no".to_owned(),
            "PreferredAuthentications=publickey".to_owned(),
            format!("ConnectTimeout={CONNECT_SECONDS}"),
            "ConnectionAttempts=1".to_owned(),
            "ServerAliveInterval=10".to_owned(),
            "ServerAliveCountMax=3".to_owned(),
            "ClearAllForwardings=yes".to_owned(),
            "ForwardAgent=no".to_owned(),
            "PermitLocalCommand=no".to_owned(),
            "RequestTTY=no".to_owned(),
        ] {
            command.arg("-o").arg(option);
        }
        // A host whose key would be refused does no more than show it, and only `-v` tells which it is.
        if !self.accept_new && !is_known(known) {
            command.arg("-v");
        }
        let user = host.user.as_deref().unwrap_or(&self.user);
        command.arg("-p").arg(host.port.unwrap_or(22).to_string()).arg("-l").arg(user).arg("--").arg(&host.address);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    async fn ssh(&self, host: &Host, known: &Path, words: &str, input: &[u8], most: Duration) -> Result<Ran, Failed> {
        let failed = |e: std::io::Error| (Outcome::ServerFailed, format!("cannot run `ssh`: {e}"));
        let mut child = self.command(host, known).arg(words).spawn().map_err(failed)?;
        let (stdin, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let write = async {
            if let Some(mut stdin) = stdin {
                // A host that ends early closes the pipe; its exit code tells why.
                let _ = stdin.write_all(input).await;
                let _ = stdin.shutdown().await;
            }
        };
        let work = async {
            let ((), out, err) = tokio::join!(write, said(out), said(err));
            (child.wait().await, out, err)
        };
        let Ok((status, out, err)) = tokio::time::timeout(most, work).await else {
            return Err((Outcome::TimedOut, String::new()));
        };
        let ran = Ran { code: status.map_err(failed)?.code(), out, err };
        if ran.code == Some(255) {
            let outcome = meaning(&ran.err, is_known(known));
            let key = matches!(outcome, Outcome::HostKeyUnknown | Outcome::HostKeyChanged);
            let last = || cut(ran.err.lines().last().unwrap_or_default());
            return Err((outcome, key.then(|| shown(&ran.err)).flatten().unwrap_or_else(last)));
        }
        Ok(ran)
    }

    /// Makes a host a connected machine. `token` is for this host alone; `places` are the further words for `enrol`.
    pub async fn connect(
        &self,
        host: &Host,
        number: usize,
        token: &str,
        places: &str,
        tell: impl Fn(&'static str),
    ) -> Result<(), Failed> {
        let known = self.known_hosts(number);
        tell("looking at the host");
        let look = "uname -s; uname -m; if [ \"$(id -u)\" = 0 ]; then echo root; elif command -v sudo >/dev/null && \
                    sudo -n true 2>/dev/null; then echo sudo; else echo none; fi";
        let ran = self.ssh(host, &known, look, b"", SHORT_MAX).await?;
        let mut lines = ran.out.lines().map(str::trim);
        let (system, machine, rank) = (lines.next(), lines.next(), lines.next());
        let architecture = match (system, machine) {
            (Some("Linux"), Some("x86_64")) => "x64",
            (Some("Linux"), Some("aarch64")) => "arm64",
            _ => return Err((Outcome::SystemUnsupported, cut(&ran.out))),
        };
        let sudo = match rank {
            Some("root") => "",
            Some("sudo") => "sudo -n ",
            _ => return Err((Outcome::NotPrivileged, String::new())),
        };
        let program = self.programs.iter().find(|(a, _)| *a == architecture).map(|(_, bytes)| Arc::clone(bytes));
        let program = program.ok_or_else(|| (Outcome::ProgramMissing, architecture.to_owned()))?;
        tell("copying the connector");
        let copy = "umask 077 && d=$(mktemp -d) && cat > \"$d/garrison-connect\" && sha256sum < \"$d/garrison-connect\" \
                    && echo \"$d\"";
        let ran = self.ssh(host, &known, copy, &program, COPY_MAX).await?;
        let mut lines = ran.out.lines();
        let sum = lines.next().and_then(|l| l.split_whitespace().next()).unwrap_or_default();
        let folder = lines.next().unwrap_or_default().trim();
        let fits = folder.starts_with('/') && folder.len() < 200 && !folder.chars().any(char::is_control);
        if ran.code != Some(0) || sum != hex::encode(Sha256::digest(program.as_slice())) || !fits {
            return Err((Outcome::CopyFailed, cut(&ran.err)));
        }
        tell("enrolling");
        let (from, to) = (quoted(&format!("{folder}/garrison-connect")), quoted(&self.directory));
        let inner = format!(
            "set -e; mkdir -p {to}; chmod 755 {from}; {}rmdir {}; exec {to}/garrison-connect enrol --placed --server {} \
             --token -{places}",
            place_script(&from, &format!("{to}/garrison-connect")),
            quoted(folder),
            quoted(&self.gateway)
        );
        let line = format!("{sudo}sh -c {}", quoted(&inner));
        let ran = self.ssh(host, &known, &line, format!("{token}\n").as_bytes(), SHORT_MAX).await?;
        match ran.code {
            Some(0) => {}
            // As docs/reference/cli.md has the connector's codes.
            Some(5) => return Err((Outcome::GatewayUnreachable, cut(&ran.err))),
            _ => return Err((Outcome::EnrolRefused, cut(&ran.err))),
        }
        tell("starting the connector");
        let line = format!("{sudo}sh -c {}", quoted(&start_script(&self.directory)));
        let ran = self.ssh(host, &known, &line, b"", SHORT_MAX).await?;
        if ran.code == Some(0) { Ok(()) } else { Err((Outcome::StartFailed, cut(&ran.err))) }
    }
}

/// The connector's unit as packages bring it, and what its program is there.
const PACKAGED_UNIT: &str = include_str!("../../../../packaging/systemd/garrison-connect.service");
const PACKAGED_PROGRAM: &str = "/usr/bin/garrison-connect";

/// Lays the program at its place; one that is the same stays, since it may be running.
pub(super) fn place_script(from: &str, to: &str) -> String {
    format!("if cmp -s {from} {to}; then rm -f {from}; else mv -f {from} {to}; fi; ")
}

/// Starts the connector: as a service where systemd is PID 1, else as a process of its own. The service does nothing on a
/// machine that is not connected; what is off-boarded removes it.
pub(super) fn start_script(directory: &str) -> String {
    let program = quoted(&format!("{directory}/garrison-connect"));
    // The package's, which names a document that is not laid here.
    let unit = PACKAGED_UNIT.replace(PACKAGED_PROGRAM, &format!("{directory}/garrison-connect"));
    let lines = unit.lines().filter(|line| !line.starts_with("Documentation="));
    let unit: String = lines.flat_map(|line| [line, "\n"]).collect();
    format!(
        "set -e; if [ -d /run/systemd/system ]; then printf %s {} > /etc/systemd/system/garrison-connect.service; \
         systemctl daemon-reload; systemctl enable --now garrison-connect.service; \
         else setsid {program} run </dev/null >/dev/null 2>&1 & fi",
        quoted(&unit)
    )
}

async fn said(from: Option<impl tokio::io::AsyncRead + Unpin>) -> String {
    let Some(mut from) = from else { return String::new() };
    let mut bytes = Vec::new();
    let _ = (&mut from).take(SAID_BYTES_MAX).read_to_end(&mut bytes).await;
    // What is beyond is read and dropped, so that the host does not wait.
    let _ = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_shell_stay_words() {
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's; rm -rf $HOME"), r"'it'\''s; rm -rf $HOME'");
    }

    #[test]
    fn the_unit_is_the_packages_with_the_program_that_was_laid() {
        let script = start_script("/opt/garrison/connect");
        assert!(script.contains("\nExecStart=/opt/garrison/connect/garrison-connect run\n"), "{script}");
        assert!(script.contains("\nNoNewPrivileges=yes\n") && !script.contains(PACKAGED_PROGRAM));
        assert!(!script.contains("Documentation="));
    }

    #[test]
    fn what_the_client_says_is_understood() {
        use Outcome as O;
        for (err, known, outcome) in [
            (
                "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
                true,
                O::HostKeyChanged,
            ),
            ("No ED25519 host key is known for [::1]:22\nHost key verification failed.", false, O::HostKeyUnknown),
            // Another kind of key than the one that is known.
            ("No RSA host key is known for x\nHost key verification failed.", true, O::HostKeyChanged),
            ("root@x: Permission denied (publickey).", true, O::NotAuthenticated),
            ("ssh: connect to host x port 22: Connection refused", false, O::Unreachable),
            ("", false, O::Unreachable),
        ] {
            assert_eq!(meaning(err, known), outcome, "{err}");
        }
        assert_eq!(cut("a\u{1b}[31mb\n"), "a [31mb");
    }

    #[test]
    fn the_key_that_a_host_shows_is_told_by_its_fingerprint() {
        let hash = "SHA256:uNiVztksCsDhcc0u9e8BrBv2SBmD3T7kuGiSm5QYI9s";
        for (err, told) in [
            (
                format!("debug1: x\ndebug1: Server host key: ssh-ed25519 {hash}\r\nHost key verification failed."),
                Some(format!("{hash} (ssh-ed25519)")),
            ),
            (
                format!("The fingerprint for the ED25519 key sent by the remote host is\n{hash}.\nPlease contact"),
                Some(hash.to_owned()),
            ),
            ("debug1: Server host key: ssh-ed25519 SHA256:\u{1b}[31m".to_owned(), None),
            ("Host key verification failed.".to_owned(), None),
        ] {
            assert_eq!(shown(&err), told, "{err}");
        }
    }
}
