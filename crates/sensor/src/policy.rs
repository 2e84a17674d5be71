//! What the sensor is told to do: its configuration, and how much of the machine it may use.
//!
//! This room never talks to the network and never decides by the clock on the wall: [`budget`] is given `now`.

pub mod budget;
pub mod key;

use key::{KEYS, Kind, Origin};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Version of the configuration file that this build reads.
pub const CONFIG_VERSION: i64 = 1;
/// Largest configuration file that is read: the reference page with every key and comment is a tenth of it.
const CONFIG_BYTES_MAX: u64 = 256 * 1024;
/// Where the configuration is looked for unless told otherwise.
pub const CONFIG_PATH: &str = "/etc/garrison/sensor.toml";
/// Prefix of environment variables: `GARRISON_SENSOR_SPOOL_BYTES_MAX` sets `spool.bytes_max`.
pub const ENVIRONMENT_PREFIX: &str = "GARRISON_SENSOR_";

/// Everything that is wrong with a configuration.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("configuration has {} problem(s): {}", .0.len(), .0.join("; "))]
pub struct ConfigError(pub Vec<String>);

/// Order of shedding when the disk queue is at its cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shed {
    /// Bulk first, then the ordinary, what a rule fired on last; the oldest first in each.
    Priority,
    /// The oldest first, whatever it is.
    Oldest,
}

/// The configuration, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Gateways, `host:port`, tried in turn. Empty: those of the enrolment.
    pub servers: Vec<String>,
    /// Identity, disk queue and content.
    pub state_dir: PathBuf,
    /// The control socket.
    pub run_dir: PathBuf,
    /// Bytes of the disk queue.
    pub spool_bytes_max: u64,
    /// Order of shedding.
    pub spool_shed: Shed,
    /// Longest time until spooled rows are on the disk itself (they survive `kill -9` at once).
    pub spool_sync: Duration,
    /// Longest time a row waits for its batch.
    pub batch_flush: Duration,
    /// Rows of a batch.
    pub batch_rows_max: usize,
    /// Bytes of a batch.
    pub batch_bytes_max: usize,
    /// Whether files are hashed.
    pub hash_enabled: bool,
    /// Bytes a second that are hashed.
    pub hash_bytes_per_second: u64,
    /// Largest file that is hashed.
    pub hash_file_bytes_max: u64,
    /// Thousandths of one core.
    pub cpu_permille_max: u32,
    /// Resident bytes.
    pub memory_bytes_max: u64,
    /// Whether rules are run on the sensor.
    pub detect_enabled: bool,
    /// Paths (folders or files) below which changes of files are reported, beside the built-in list.
    pub file_paths: Vec<String>,
    /// Paths below which nothing is reported about files.
    pub file_paths_excluded: Vec<String>,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub log_level: String,
    /// Tags the device asks for (a claim; shown beside those of the operators).
    pub tags: Vec<String>,
}

/// A value and where it comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// Value.
    pub value: toml::Value,
    /// Origin.
    pub origin: Origin,
}

/// Every key with its value and where it comes from.
pub type Settings = BTreeMap<&'static str, Setting>;

/// What is given beside the file.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `key=value`, from flags.
    pub flags: Vec<(String, String)>,
    /// Environment variables (only those with our prefix count).
    pub environment: Vec<(String, String)>,
}

impl Overrides {
    /// The process's own environment.
    pub fn from_environment() -> Self {
        let environment = std::env::vars_os()
            .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
            .filter(|(k, _)| k.starts_with(ENVIRONMENT_PREFIX))
            .collect();
        Self { flags: Vec::new(), environment }
    }
}

/// Reads the file (an absent one is empty unless it was `required`), puts environment and flags over it, and checks
/// all of it.
pub fn load(path: &Path, required: bool, overrides: &Overrides) -> Result<(Config, Settings), ConfigError> {
    let read = || -> std::io::Result<String> {
        if std::fs::metadata(path)?.len() > CONFIG_BYTES_MAX {
            return Err(std::io::Error::other(format!("larger than {CONFIG_BYTES_MAX} bytes")));
        }
        std::fs::read_to_string(path)
    };
    let text = match read() {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && !required => String::new(),
        Err(e) => return Err(ConfigError(vec![format!("cannot read `{}`: {e}", path.display())])),
    };
    resolve(&text, overrides)
}

/// Checks the text of a configuration file and what lies over it. Every problem is reported, not only the first.
pub fn resolve(text: &str, overrides: &Overrides) -> Result<(Config, Settings), ConfigError> {
    let mut problems = Vec::new();
    let mut settings: Settings =
        KEYS.iter().map(|k| (k.name, Setting { value: (k.default)(), origin: Origin::Default })).collect();
    match text.parse::<toml::Table>() {
        Ok(table) => from_file(&table, &mut settings, &mut problems),
        Err(e) => problems.push(format!("the file is no TOML: {}", e.to_string().trim().replace('\n', " "))),
    }
    for (name, value) in &overrides.environment {
        let Some(rest) = name.strip_prefix(ENVIRONMENT_PREFIX) else { continue };
        if key::ENVIRONMENT_OTHER.contains(&rest) {
            continue;
        }
        match KEYS.iter().find(|k| k.environment() == rest) {
            Some(k) => put_text(k, value, Origin::Environment, name, &mut settings, &mut problems),
            None => problems.push(format!("environment variable `{name}` names no key")),
        }
    }
    for (name, value) in &overrides.flags {
        match KEYS.iter().find(|k| k.name == name) {
            Some(k) => put_text(k, value, Origin::Flag, name, &mut settings, &mut problems),
            None => problems.push(unknown_key(name)),
        }
    }
    if !problems.is_empty() {
        return Err(ConfigError(problems));
    }
    Ok((Config::from_settings(&settings), settings))
}

fn from_file(table: &toml::Table, settings: &mut Settings, problems: &mut Vec<String>) {
    match table.get("version") {
        None if table.is_empty() => {}
        None => problems.push(format!("`version` is missing: write `version = {CONFIG_VERSION}`")),
        Some(v) if v.as_integer() == Some(CONFIG_VERSION) => {}
        Some(v) => problems.push(format!("`version` is {v}, this sensor reads {CONFIG_VERSION}")),
    }
    for (section, value) in table {
        if section == "version" {
            continue;
        }
        let Some(entries) = value.as_table() else {
            problems.push(unknown_key(section));
            continue;
        };
        for (name, value) in entries {
            let full = format!("{section}.{name}");
            match KEYS.iter().find(|k| k.name == full) {
                Some(k) => put(k, value.clone(), Origin::File, &full, settings, problems),
                None => problems.push(unknown_key(&full)),
            }
        }
    }
}

fn unknown_key(name: &str) -> String {
    let short: String = name.chars().take(80).collect();
    format!("there is no key `{short}`")
}

fn put_text(
    key: &key::Key,
    text: &str,
    origin: Origin,
    shown: &str,
    settings: &mut Settings,
    problems: &mut Vec<String>,
) {
    match key.kind.parse(text) {
        Ok(value) => put(key, value, origin, shown, settings, problems),
        Err(why) => problems.push(format!("`{shown}` {why}")),
    }
}

fn put(
    key: &key::Key,
    value: toml::Value,
    origin: Origin,
    shown: &str,
    settings: &mut Settings,
    problems: &mut Vec<String>,
) {
    match key.kind.check(&value) {
        Ok(()) => {
            settings.insert(key.name, Setting { value, origin });
        }
        Err(why) => problems.push(format!("`{shown}` {why}")),
    }
}

impl Config {
    fn from_settings(settings: &Settings) -> Self {
        let value = |name: &str| settings.get(name).map(|s| &s.value);
        let int = |name: &str| value(name).and_then(toml::Value::as_integer).unwrap_or_default();
        let unsigned = |name: &str| u64::try_from(int(name)).unwrap_or_default();
        let text = |name: &str| value(name).and_then(toml::Value::as_str).unwrap_or_default().to_owned();
        let bool = |name: &str| value(name).and_then(toml::Value::as_bool).unwrap_or_default();
        let list = |name: &str| -> Vec<String> {
            let items = value(name).and_then(toml::Value::as_array).map(Vec::as_slice).unwrap_or_default();
            items.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect()
        };
        Self {
            servers: list("server.addresses"),
            state_dir: PathBuf::from(text("paths.state_dir")),
            run_dir: PathBuf::from(text("paths.run_dir")),
            spool_bytes_max: unsigned("spool.bytes_max"),
            spool_shed: if text("spool.shed") == "oldest" { Shed::Oldest } else { Shed::Priority },
            spool_sync: Duration::from_millis(unsigned("spool.sync_ms")),
            batch_flush: Duration::from_millis(unsigned("batch.flush_ms")),
            batch_rows_max: unsigned("batch.rows_max") as usize,
            batch_bytes_max: unsigned("batch.bytes_max") as usize,
            hash_enabled: bool("hash.enabled"),
            hash_bytes_per_second: unsigned("hash.bytes_per_second"),
            hash_file_bytes_max: unsigned("hash.file_bytes_max"),
            cpu_permille_max: u32::try_from(int("limits.cpu_permille_max")).unwrap_or(u32::MAX),
            memory_bytes_max: unsigned("limits.memory_bytes_max"),
            detect_enabled: bool("detect.enabled"),
            file_paths: list("files.paths"),
            file_paths_excluded: list("files.paths_excluded"),
            log_level: text("log.level"),
            tags: list("device.tags"),
        }
    }
}

/// The reference page of the keys, as Markdown. `docs/reference/sensor-config.md` must equal it.
pub fn reference_page() -> String {
    use std::fmt::Write as _;
    let mut out = format!(
        "# Configuration of the sensor\n\nGenerated from the list of keys in `crates/sensor/src/policy/key.rs`; do not \
         edit.\n\nOne TOML file, `{CONFIG_PATH}` unless `--config` or `{ENVIRONMENT_PREFIX}CONFIG` says otherwise.\nIt \
         begins with `version = {CONFIG_VERSION}`; keys stand in sections, so `spool.bytes_max` is `bytes_max` in \
         `[spool]`.\nA flag `--set key=value` wins over an environment variable, that over the file, the file over the \
         default.\nUnknown keys and wrong values are refused, all of them reported at once: `garrison-sensor config \
         check`.\n\n| key | environment | values | default | what |\n|---|---|---|---|---|\n"
    );
    for k in KEYS {
        let _ = writeln!(
            out,
            "| `{}` | `{ENVIRONMENT_PREFIX}{}` | {} | `{}` | {} |",
            k.name,
            k.environment(),
            k.kind.words(),
            (k.default)(),
            k.doc
        );
    }
    out
}

/// Whether a kind takes a list, for the command line's help.
pub fn is_list(kind: &Kind) -> bool {
    matches!(kind, Kind::List { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(flags: &[(&str, &str)], environment: &[(&str, &str)]) -> Overrides {
        let own = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        Overrides { flags: own(flags), environment: own(environment) }
    }

    #[test]
    fn a_flag_wins_over_the_environment_and_that_over_the_file() {
        let file = "version = 1\n[batch]\nflush_ms = 70\nrows_max = 100\n[spool]\nshed = \"oldest\"";
        let overrides = over(
            &[("batch.flush_ms", "90")],
            &[("GARRISON_SENSOR_BATCH_FLUSH_MS", "80"), ("GARRISON_SENSOR_BATCH_ROWS_MAX", "200")],
        );
        let (config, settings) = resolve(file, &overrides).unwrap();
        assert_eq!((config.batch_flush.as_millis(), config.batch_rows_max), (90, 200));
        assert_eq!(config.spool_shed, Shed::Oldest);
        assert_eq!(settings["batch.rows_max"].origin, Origin::Environment);
        assert_eq!(settings["hash.enabled"].origin, Origin::Default);
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let file = "version = 2\nx = 1\n[batch]\nflush_ms = 0\nnope = 1\n[spool]\nshed = \"all\"";
        let overrides = over(&[("a.b", "1")], &[("GARRISON_SENSOR_HASH_ENABLED", "maybe")]);
        let ConfigError(problems) = resolve(file, &overrides).unwrap_err();
        assert_eq!(problems.len(), 7, "{problems:#?}");
    }

    #[test]
    fn an_empty_file_is_the_defaults_and_they_pass_their_own_checks() {
        assert!(resolve("", &Overrides::default()).is_ok());
        for k in KEYS {
            k.kind.check(&(k.default)()).unwrap();
        }
    }

    #[test]
    fn the_reference_page_is_current() {
        let path = &format!("{}/../../docs/reference/sensor-config.md", std::env::var("CARGO_MANIFEST_DIR").unwrap());
        if std::env::var_os("GARRISON_BLESS").is_some() {
            std::fs::write(path, reference_page()).unwrap();
        }
        let page = std::fs::read_to_string(path).unwrap_or_default();
        assert!(page == reference_page(), "docs/reference/sensor-config.md is stale: run with GARRISON_BLESS=1");
    }
}
