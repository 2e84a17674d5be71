//! Configuration of `garrison serve`: one versioned TOML file, unknown keys refused, all problems reported at once.
//! Order: flag, environment, file, default.

mod cluster;
mod geographies;
mod hunting;
mod oidc;
mod reader;

pub use cluster::{ClusterSettings, Role};

use crate::hunting::HuntingSettings;
use crate::plane::Geographies;
use garrison_lake::BucketConfig;
use reader::Reader;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The configuration cannot be used; every problem that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// One sentence each, beginning with the key.
    pub problems: Vec<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration has {} problem(s): {}", self.problems.len(), self.problems.join("; "))
    }
}

impl std::error::Error for ConfigError {}

/// All settings of a server.
#[derive(Debug, Clone)]
pub struct Config {
    /// Folder of everything that the server writes.
    pub data: PathBuf,
    /// Address of the HTTP API and console.
    pub http: SocketAddr,
    /// Address of the gateway.
    pub gateway: SocketAddr,
    /// PEM certificate chain and key for the HTTP API; needed on any address but loopback.
    pub http_tls: Option<(PathBuf, PathBuf)>,
    /// Database; `None` is SQLite under the data folder.
    pub database_url: Option<String>,
    /// Bounds at the gateway.
    pub limits: Limits,
    /// Days that rows are kept, by table.
    pub retention_days: BTreeMap<String, u32>,
    /// Whether telemetry and columns that name people are sealed at rest; a geography may say otherwise.
    pub encryption: bool,
    /// File with the key for readers of a sealed lake's copy; query servers and executors read it.
    pub lake_key_file: Option<PathBuf>,
    /// Bytes that stay free on the lake's disk.
    pub disk_floor_bytes: u64,
    /// Alerts that one run of a custom detection or retro-hunt may make: more is a storm that nobody reads.
    pub detection_alerts_per_run: usize,
    /// Hunting.
    pub hunting: HuntingSettings,
    /// Where data may rest.
    pub geographies: Geographies,
    /// Root of the central store; `None`: nothing leaves a geography.
    pub central: Option<PathBuf>,
    /// Sign-in through an OpenID provider.
    pub oidc: Option<crate::access::oidc::OidcSettings>,
    /// What this process does.
    pub role: Role,
    /// Where the lake is copied to, or read from.
    pub object_store: Option<BucketConfig>,
    /// Whether exports may go to addresses of private networks and of this machine.
    pub exports_private: bool,
    /// Several machines.
    pub cluster: ClusterSettings,
}

/// Bounds at the gateway and in ingest.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Sensors connected at once. 20,000: twice the fleet that one small machine is measured with.
    pub connections_max: usize,
    /// Connections from one address at once; sites behind one address translation have many sensors.
    pub connections_per_address_max: usize,
    /// TLS handshakes under way at once: bounds processor time that strangers can take.
    pub handshakes_max: usize,
    /// Failed enrolments that one address may make in a minute.
    pub enrol_failures_per_minute: u32,
    /// Rows a second that one device may write in the long run; a busy server makes a few thousand.
    pub device_rows_per_second: u32,
    /// Rows that it may write at once: minutes of backlog after an outage.
    pub device_rows_burst: u32,
    /// Bytes a second that one device may write in the long run.
    pub device_bytes_per_second: u64,
    /// Bytes that it may write at once.
    pub device_bytes_burst: u64,
    /// Boots of one device that are new in an hour: each costs memory in the lake's list of positions.
    pub device_boots_per_hour: u32,
    /// Seconds between heartbeats.
    pub heartbeat_seconds: u32,
    /// Threads that decode and detect; 0: one a core.
    pub workers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 20_000,
            connections_per_address_max: 20_000,
            handshakes_max: 256,
            enrol_failures_per_minute: 30,
            device_rows_per_second: 20_000,
            device_rows_burst: 1_000_000,
            device_bytes_per_second: 8 << 20,
            device_bytes_burst: 256 << 20,
            device_boots_per_hour: 60,
            heartbeat_seconds: 30,
            workers: 0,
        }
    }
}

impl Limits {
    /// Threads that decode and detect.
    pub fn worker_count(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        if self.workers == 0 { cores.clamp(1, 64) } else { self.workers }
    }
}

/// Version of the file format.
const VERSION: i64 = 1;

impl Config {
    /// Defaults, with everything under this folder.
    pub fn at(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            http: SocketAddr::from(([127, 0, 0, 1], 9080)),
            gateway: SocketAddr::from(([127, 0, 0, 1], 9443)),
            http_tls: None,
            database_url: None,
            limits: Limits::default(),
            retention_days: BTreeMap::new(),
            encryption: true,
            lake_key_file: None,
            disk_floor_bytes: 256 << 20,
            detection_alerts_per_run: crate::detection::custom::ALERTS_PER_RUN,
            hunting: HuntingSettings::default(),
            geographies: Geographies::default(),
            central: None,
            oidc: None,
            role: Role::All,
            object_store: None,
            exports_private: false,
            cluster: ClusterSettings::default(),
        }
    }

    /// Reads a file over the defaults for a data folder.
    pub fn load(path: &Path, data: impl Into<PathBuf>) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|e| ConfigError { problems: vec![format!("cannot read `{}`: {e}", path.display())] })?;
        Self::parse(&text, data)
    }

    /// Reads TOML text over the defaults.
    pub fn parse(text: &str, data: impl Into<PathBuf>) -> Result<Self, ConfigError> {
        let table: toml::Table = text
            .parse()
            .map_err(|e: toml::de::Error| ConfigError { problems: vec![format!("no TOML: {}", e.message())] })?;
        let mut c = Self::at(data);
        let mut root = Reader::new(table);
        match root.integer("version", 1..=i64::MAX) {
            Some(VERSION) => {}
            Some(other) => root.problem("version", &format!("{other} is not known, this program reads {VERSION}")),
            None => root.problem("version", "is missing; write `version = 1`"),
        }
        if let Some(folder) = root.text("data") {
            c.data = folder.into();
        }
        root.section("listen", |r| {
            r.address("http", &mut c.http);
            r.address("gateway", &mut c.gateway);
            let (certificate, key) = (r.text("http_certificate"), r.text("http_key"));
            match (certificate, key) {
                (Some(certificate), Some(key)) => c.http_tls = Some((certificate.into(), key.into())),
                (None, None) => {}
                _ => r.problem("http_certificate", "and `http_key` go together"),
            }
        });
        root.section("database", |r| {
            c.database_url = r.text("url");
            if c.database_url.as_ref().is_some_and(|u| !u.starts_with("postgres://") && !u.starts_with("sqlite:")) {
                r.problem("url", "must begin with `postgres://` or `sqlite:`");
            }
        });
        root.section("lake", |r| {
            r.number("disk_floor_bytes", 0..=1 << 50, &mut c.disk_floor_bytes);
            if let Some(sealed) = r.truth("encryption") {
                c.encryption = sealed;
            }
            c.lake_key_file = r.text("key_file").map(PathBuf::from);
            cluster::object_store(r, &mut c.object_store);
            r.section("retention_days", |r| {
                for table in garrison_telemetry::tables() {
                    if let Some(days) = r.integer(table.name, 1..=36_500) {
                        c.retention_days.insert(table.name.to_owned(), days as u32);
                    }
                }
            });
        });
        root.section("detection", |r| {
            r.number("alerts_per_run", 1..=10_000, &mut c.detection_alerts_per_run);
        });
        let l = &mut c.limits;
        root.section("limits", |r| {
            r.number("connections_max", 1..=1_000_000, &mut l.connections_max);
            r.number("connections_per_address_max", 1..=1_000_000, &mut l.connections_per_address_max);
            r.number("handshakes_max", 1..=100_000, &mut l.handshakes_max);
            r.number("enrol_failures_per_minute", 1..=1_000_000, &mut l.enrol_failures_per_minute);
            r.number("device_rows_per_second", 1..=1 << 30, &mut l.device_rows_per_second);
            r.number("device_rows_burst", 1..=1 << 30, &mut l.device_rows_burst);
            r.number("device_bytes_per_second", 1..=1 << 40, &mut l.device_bytes_per_second);
            r.number("device_bytes_burst", 1..=1 << 40, &mut l.device_bytes_burst);
            r.number("device_boots_per_hour", 1..=10_000, &mut l.device_boots_per_hour);
            r.number("heartbeat_seconds", 5..=600, &mut l.heartbeat_seconds);
            r.number("workers", 0..=256, &mut l.workers);
        });
        root.section("exports", |r| {
            c.exports_private = r.truth("allow_private_addresses").unwrap_or(false);
        });
        hunting::read(&mut root, &mut c.hunting);
        geographies::read(&mut root, &mut c.geographies);
        root.section("central", |r| match r.text("root") {
            Some(path) if Path::new(&path).is_absolute() => c.central = Some(path.into()),
            Some(_) => r.problem("root", "must be an absolute path, outside of the roots of all geographies"),
            None => r.problem("root", "is missing; leave the section out where nothing is to leave a geography"),
        });
        oidc::read(&mut root, &mut c.oidc);
        cluster::read(&mut root, &mut c.role, &mut c.cluster);
        root.finish().map_err(|problems| ConfigError { problems })?;
        c.check()?;
        Ok(c)
    }

    /// Checks what depends on more than one setting.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut problems = Vec::new();
        if !self.http.ip().is_loopback() && self.http_tls.is_none() {
            problems.push(format!(
                "listen.http: `{}` is not loopback, so `listen.http_certificate` and `listen.http_key` are needed",
                self.http
            ));
        }
        if self.limits.device_rows_burst < 131_072 {
            problems.push("limits.device_rows_burst: must hold one largest batch, 131072 rows".to_owned());
        }
        if self.limits.device_bytes_burst < 16 << 20 {
            problems.push("limits.device_bytes_burst: must hold one largest batch, 16777216 bytes".to_owned());
        }
        let h = &self.hunting;
        if h.query_memory_bytes > h.memory_bytes {
            problems.push("hunting.memory_bytes: must be at least hunting.query_memory_bytes".to_owned());
        }
        problems.extend(self.geographies.problems(&self.data));
        if let Some(central) = &self.central {
            let roots = self.geographies.known.values().flat_map(|g| [&g.lake, &g.control]);
            for root in roots.map(|root| self.data.join(root)) {
                if root.starts_with(central) || central.starts_with(&root) {
                    problems.push(format!("central.root: it and `{}` lie in each other", root.display()));
                }
            }
        }
        cluster::check(self.role, self.object_store.as_ref(), &self.cluster, &mut problems);
        if problems.is_empty() { Ok(()) } else { Err(ConfigError { problems }) }
    }

    /// A lasting session's silence after which a device counts as inactive: ten heartbeats.
    pub fn inactive_after(&self) -> Duration {
        Duration::from_secs(u64::from(self.limits.heartbeat_seconds) * 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_problems_are_told_at_once() {
        let text = "version = 1\ncolour = 3\n[listen]\nhttp = \"here\"\n[limits]\nworkers = -1\nspeed = 1\n";
        let error = Config::parse(text, "/x").unwrap_err();
        let all = error.problems.join("\n");
        for part in ["colour", "listen.http", "limits.workers", "limits.speed"] {
            assert!(all.contains(part), "{part} in {all}");
        }
    }

    #[test]
    fn an_open_address_needs_tls() {
        let error = Config::parse("version = 1\n[listen]\nhttp = \"0.0.0.0:80\"", "/x").unwrap_err();
        assert!(error.problems[0].contains("not loopback"), "{error}");
    }

    #[test]
    fn geographies_are_read_over_those_that_every_server_knows() {
        let text = "version = 1\n[tenant]\ngeography = \"ca\"\n[geographies.CA]\nname = \"Canada\"\n\
                    locations = [\"canadacentral\"]\n[geographies.EU]\nlake = \"/srv/eu/lake/\"\n";
        let c = Config::parse(text, "/x").unwrap();
        assert_eq!(c.geographies.list(), "AU, CA, CH, EU, IN, UK, US");
        assert_eq!(c.geographies.of_location("Canada Central").unwrap().as_str(), "CA");
        let eu = garrison_model::Geography::new("EU").unwrap();
        assert_eq!(c.geographies.get(&eu).unwrap().lake, "/srv/eu/lake");
        let plain = Config::parse("version = 1\n[geographies.EU]\nencryption = false\n", "/x").unwrap();
        assert!(c.encryption && c.geographies.get(&eu).unwrap().encryption.is_none());
        assert_eq!(plain.geographies.get(&eu).unwrap().encryption, Some(false));
        for (bad, part) in [
            ("[geographies.CA]\nlake = \"../x\"", "geographies.CA.lake"),
            ("[geographies.CA]\nlocations = [\"westeurope\"]", "lies in"),
            ("[geographies.CA]\nlake = \"/x/geographies/eu\"", "one place"),
            ("[geographies.\"a b\"]", "no code"),
            ("[geographies.CA]\nroot = \"x\"", "geographies.CA.root"),
            ("[tenant]\ngeography = \"CA\"", "no geography `CA`"),
            ("[central]\nroot = \"x\"", "central.root"),
            ("[central]", "central.root"),
            ("[central]\nroot = \"/x/geographies/eu\"", "lie in each other"),
        ] {
            let error = Config::parse(&format!("version = 1\n{bad}\n"), "/x").unwrap_err().to_string();
            assert!(error.contains(part), "{bad}: {error}");
        }
    }

    #[test]
    fn the_version_is_needed() {
        assert!(Config::parse("", "/x").is_err());
        assert!(Config::parse("version = 2", "/x").is_err());
        let c = Config::parse("version = 1\n[lake.retention_days]\nDeviceEvents = 7\n", "/x").unwrap();
        assert_eq!(c.retention_days.get("DeviceEvents"), Some(&7));
    }
}
