//! What this process is among several, where the lake's copy lies, and the sections `lake.object_store` and `cluster`.

use super::reader::Reader;
use garrison_lake::BucketConfig;
use std::net::SocketAddr;

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Role {
    /// Everything on one machine, as long as one is enough.
    #[default]
    All,
    /// Answers hunts over the lake's copy on the object store, and nothing else.
    Query,
    /// Hands out the parts of queries to executors.
    Scheduler,
    /// Runs parts of queries.
    Executor,
}

impl Role {
    const fn words() -> &'static [(&'static str, Self)] {
        &[("all", Self::All), ("query", Self::Query), ("scheduler", Self::Scheduler), ("executor", Self::Executor)]
    }

    fn of(word: &str) -> Option<Self> {
        Self::words().iter().find(|(known, _)| *known == word).map(|(_, role)| *role)
    }
}

/// Settings of a cluster.
#[derive(Debug, Clone)]
pub struct ClusterSettings {
    /// The scheduler, `http://host:port`; a query server without one runs queries itself.
    pub scheduler: Option<String>,
    /// Where scheduler or executor listens.
    pub listen: SocketAddr,
    /// Name that others reach an executor by, where it is not the address it listens on.
    pub advertise: Option<String>,
    /// Whoever reaches the ports of scheduler and executors can read the lake; this says that nobody else does.
    pub private_network: bool,
    /// Tasks of an executor at once; 0: one a core.
    pub cores: usize,
    /// Memory of an executor's tasks together.
    pub memory_bytes: u64,
    /// Seconds between two copies of the lake.
    pub copy_seconds: u64,
    /// Seconds between two looks of a query server for new files.
    pub refresh_seconds: u64,
}

impl Default for ClusterSettings {
    fn default() -> Self {
        Self {
            scheduler: None,
            listen: SocketAddr::from(([127, 0, 0, 1], 9050)),
            advertise: None,
            private_network: false,
            cores: 0,
            memory_bytes: 1 << 30,
            copy_seconds: 30,
            refresh_seconds: 10,
        }
    }
}

/// Reads the section `lake.object_store`, from within `lake`.
pub(super) fn object_store(lake: &mut Reader, found: &mut Option<BucketConfig>) {
    lake.section("object_store", |r| {
        let mut config = BucketConfig {
            url: r.text("url").unwrap_or_default(),
            endpoint: r.text("endpoint"),
            region: r.text("region"),
            access_key_id: r.text("access_key_id"),
            secret_access_key: r.text("secret_access_key"),
        };
        if config.url.is_empty() {
            // The section may be absent; a part of it is a mistake.
            let empty = BucketConfig::default();
            if config != empty {
                r.problem("url", "is missing; write `url = \"s3://bucket/prefix\"`");
            }
            return;
        }
        if config.url.ends_with('/') {
            config.url.pop();
        }
        match config.check() {
            Ok(()) => *found = Some(config),
            Err(error) => r.problem("url", &error.to_string()),
        }
    });
}

pub(super) fn read(root: &mut Reader, role: &mut Role, c: &mut ClusterSettings) {
    if let Some(word) = root.text("role") {
        match Role::of(&word) {
            Some(known) => *role = known,
            None => root.problem("role", "must be `all`, `query`, `scheduler` or `executor`"),
        }
    }
    root.section("cluster", |r| {
        c.scheduler = r.text("scheduler");
        r.address("listen", &mut c.listen);
        c.advertise = r.text("advertise");
        if let Some(private) = r.truth("private_network") {
            c.private_network = private;
        }
        r.number("cores", 0..=1_024, &mut c.cores);
        r.number("memory_bytes", 64 << 20..=1 << 45, &mut c.memory_bytes);
        r.number("copy_seconds", 1..=3_600, &mut c.copy_seconds);
        r.number("refresh_seconds", 1..=3_600, &mut c.refresh_seconds);
    });
}

/// What depends on more than one setting.
pub(super) fn check(role: Role, store: Option<&BucketConfig>, c: &ClusterSettings, problems: &mut Vec<String>) {
    if role != Role::All && store.is_none() {
        problems.push("lake.object_store: is missing; this role reads the lake from an object store".to_owned());
    }
    if role == Role::Executor && c.scheduler.is_none() {
        problems.push("cluster.scheduler: is missing; an executor asks it for work".to_owned());
    }
    if let Some(scheduler) = &c.scheduler
        && let Err(error) = garrison_cluster::client::check(scheduler)
    {
        problems.push(format!("cluster.scheduler: {error}"));
    }
    let serves = matches!(role, Role::Scheduler | Role::Executor);
    if serves && !c.listen.ip().is_loopback() && !c.private_network {
        problems.push(format!(
            "cluster.listen: `{}` is not loopback, and whoever reaches it can read the lake; if only the cluster's \
             machines do, write `private_network = true`",
            c.listen
        ));
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Role};

    #[test]
    fn roles_are_told_with_what_they_need() {
        let store = "[lake.object_store]\nurl = \"s3://b/p/\"\nendpoint = \"http://127.0.0.1:9\"\n";
        let scheduler = "[cluster]\nscheduler = \"http://127.0.0.1:9050\"\n";
        for (text, problem) in [
            (String::new(), None),
            (store.to_owned(), None),
            (format!("role = \"query\"\n{store}"), None),
            (format!("role = \"executor\"\n{store}{scheduler}"), None),
            ("role = \"query\"\n".to_owned(), Some("lake.object_store: is missing")),
            (format!("role = \"executor\"\n{store}"), Some("cluster.scheduler: is missing")),
            (format!("role = \"boss\"\n{store}"), Some("role: must be")),
            (format!("role = \"scheduler\"\n{store}[cluster]\nlisten = \"0.0.0.0:1\"\n"), Some("private_network")),
            (format!("role = \"scheduler\"\n{store}[cluster]\nlisten = \"0.0.0.0:1\"\nprivate_network = true\n"), None),
            ("[lake.object_store]\nregion = \"x\"\n".to_owned(), Some("lake.object_store.url: is missing")),
            ("[lake.object_store]\nurl = \"file:///x\"\n".to_owned(), Some("lake.object_store.url")),
            ("[cluster]\nscheduler = \"somewhere\"\n".to_owned(), Some("cluster.scheduler")),
        ] {
            let found = Config::parse(&format!("version = 1\n{text}"), "/x");
            match (found, problem) {
                (Ok(_), None) => {}
                (Err(error), Some(part)) => assert!(error.to_string().contains(part), "{text}: {error}"),
                (Ok(_), Some(part)) => panic!("{text}: no problem, but {part} was expected"),
                (Err(error), None) => panic!("{text}: {error}"),
            }
        }
        let config = Config::parse(&format!("version = 1\nrole = \"query\"\n{store}"), "/x").unwrap();
        assert_eq!(config.role, Role::Query);
        assert_eq!(config.object_store.unwrap().url, "s3://b/p");
    }
}
