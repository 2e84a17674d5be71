//! Running programs, finding folders, painting words.

use std::ffi::OsStr;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How programs are built for packages and benchmarks: one selection for both, since another would resolve other
/// features and build the query engine once more.
pub const OPTIMISED: &[&str] = &["build", "--release", "--workspace", "--bins", "--features", "garrison-bench/peer"];

/// What went wrong, in words for people.
#[derive(Debug)]
pub struct Failure(pub String);

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

/// Result of a step.
pub type Done<T = ()> = Result<T, Failure>;

/// Shorthand for a failure.
pub fn fail<T>(words: impl Into<String>) -> Done<T> {
    Err(Failure(words.into()))
}

/// The checkout. Asked of the cargo that started us first: clones may share a build folder, and then the compiled-in path
/// is that of whichever clone built this program.
pub fn root() -> PathBuf {
    let own = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let own = own.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    own.parent().map(Path::to_path_buf).unwrap_or_default()
}

/// The user's cache folder for this project.
pub fn cache() -> PathBuf {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|p| p.is_absolute());
    let base = base.or_else(|| std::env::var_os("HOME").map(|h| PathBuf::from(h).join(".cache")));
    base.unwrap_or_else(std::env::temp_dir).join("garrison")
}

/// Where build products go.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| cache().join("target"), PathBuf::from)
}

/// A colour if the terminal shows one.
pub fn paint(code: &str, words: &str) -> String {
    if std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        format!("\x1b[{code}m{words}\x1b[0m")
    } else {
        words.to_owned()
    }
}

/// Writes a line for people. Where nobody reads any more (`demo | head`, a closed terminal) what is under way goes on to its
/// end: a demonstration has a machine to put back.
macro_rules! tell {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($words)*);
    }};
}
pub(crate) use tell;

/// Says what is being done.
pub fn say(words: &str) {
    tell!("{} {words}", paint("36;1", "▸"));
}

/// Says that something is not done, and why.
pub fn skip(words: &str) {
    tell!("{} {words}", paint("33;1", "skipped:"));
}

/// `cargo` with the build folder set.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).env("CARGO_TARGET_DIR", target());
    // Set by the outer `cargo run`. Some build scripts run again when one of them differs, and with them all that stands
    // above is built anew: a build started here and one started by hand must look the same.
    let outer = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"];
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| outer.iter().any(|prefix| name.starts_with(prefix))) {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command to its end and fails if it fails; says how long it took.
pub fn run(what: &str, command: &mut Command) -> Done {
    say(what);
    let start = Instant::now();
    let status = command.status().map_err(|e| Failure(format!("cannot run {}: {e}", show(command))))?;
    if !status.success() {
        return fail(format!("{what}: {} ended with {status}", show(command)));
    }
    tell!("  {} in {:.0} s", paint("32", "done"), start.elapsed().as_secs_f64());
    Ok(())
}

/// Standard output of a command that must succeed.
pub fn output(command: &mut Command) -> Done<String> {
    let out =
        command.stderr(Stdio::inherit()).output().map_err(|e| Failure(format!("cannot run {}: {e}", show(command))))?;
    if !out.status.success() {
        return fail(format!("{} ended with {}", show(command), out.status));
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// The command as words.
pub fn show(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|a| a.to_string_lossy().into_owned()));
    words.join(" ")
}

/// Whether a program is on the path.
pub fn have(name: &str) -> bool {
    find(name).is_some()
}

/// Where a program is on the path.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let sbin = [PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")];
    std::env::split_paths(&path).chain(sbin).map(|d| d.join(name)).find(|p| p.is_file())
}

/// Whether we are root.
pub fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status")
        .is_ok_and(|s| s.lines().any(|l| l.starts_with("Uid:") && l.split_whitespace().nth(2) == Some("0")))
}

/// Waits until `ready` gives a value, looking often; `None` after `limit`.
pub fn wait_for<T>(limit: Duration, mut ready: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = ready() {
            return Some(value);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A string value of a flat JSON text: enough for the answers of our own programs that this tool reads.
pub fn json_text(json: &str, key: &str) -> Option<String> {
    let after = json.split_once(&format!("\"{key}\""))?.1.trim_start().strip_prefix(':')?.trim_start();
    if let Some(text) = after.strip_prefix('"') {
        return text.split_once('"').map(|(value, _)| value.to_owned());
    }
    let end = after.find([',', '}', ']', '\n']).unwrap_or(after.len());
    Some(after[..end].trim().to_owned())
}

/// `command arg arg…`.
pub fn command<S: AsRef<OsStr>>(program: impl AsRef<OsStr>, args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(program);
    command.args(args);
    command
}
