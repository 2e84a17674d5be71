//! A PostgreSQL of our own, from the distribution's package, on a free loopback port, in a folder of its own.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

pub struct Postgres {
    folder: TempDir,
    programs: PathBuf,
    port: u16,
}

/// The newest version under Debian's folder, or what is on the path.
fn programs() -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .filter_map(|e| Some(e.ok()?.path().join("bin")))
        .filter(|bin| bin.join("initdb").exists())
        .collect();
    found.sort();
    found.pop()
}

/// PostgreSQL refuses to run as root: then it runs as the package's user.
fn command(program: &Path) -> Command {
    if nix::unistd::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
        command
    } else {
        Command::new(program)
    }
}

impl Postgres {
    pub fn start() -> Option<Self> {
        let programs = programs()?;
        let folder = tempfile::Builder::new().prefix("garrison-pg").tempdir_in("/tmp").unwrap();
        if nix::unistd::geteuid().is_root() {
            let user = nix::unistd::User::from_name("postgres").unwrap()?;
            nix::unistd::chown(folder.path(), Some(user.uid), Some(user.gid)).unwrap();
        }
        // Picked and let go: PostgreSQL cannot pick by itself.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let data = folder.path().join("data");
        let run = |command: &mut Command| {
            let output = command.current_dir("/").stdin(Stdio::null()).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        run(command(&programs.join("initdb"))
            .args(["--auth=trust", "--username=garrison", "--no-sync", "--encoding=UTF8", "--locale=C", "-D"])
            .arg(&data));
        let options =
            format!("-c listen_addresses=127.0.0.1 -c port={port} -c fsync=off -k {}", folder.path().display());
        run(command(&programs.join("pg_ctl"))
            .args(["-w", "-D"])
            .arg(&data)
            .arg("-l")
            .arg(folder.path().join("log"))
            .args(["-o", &options, "start"]));
        Some(Self { folder, programs, port })
    }

    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    fn url_of(&self, database: &str) -> String {
        format!("postgres://garrison@127.0.0.1:{}/{database}", self.port)
    }

    /// Makes another database beside the first one.
    pub fn another(&self, name: &str) -> String {
        let made = command(&self.programs.join("createdb"))
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "garrison", name])
            .current_dir("/")
            .status();
        assert!(made.unwrap().success());
        self.url_of(name)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = command(&self.programs.join("pg_ctl"))
            .args(["-w", "-m", "immediate", "-D"])
            .arg(self.folder.path().join("data"))
            .arg("stop")
            .stdout(Stdio::null())
            .current_dir("/")
            .status();
    }
}
