//! A server in this process.

use garrison_model::{DeviceId, Micros};
use garrison_server::config::Config;
use garrison_server::serve::Server;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use tempfile::TempDir;

/// A running server and its folder.
#[derive(Debug)]
pub struct TestServer {
    /// The server.
    pub server: Server,
    folder: TempDir,
}

impl TestServer {
    /// Starts with defaults on free loopback ports, in a new folder.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(|_| {}).await
    }

    /// The same with other settings.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> anyhow::Result<Self> {
        Self::start_in(tempfile::tempdir()?, change).await
    }

    /// The same in a folder that may hold what an earlier server left.
    pub async fn start_in(folder: TempDir, change: impl FnOnce(&mut Config)) -> anyhow::Result<Self> {
        let mut config = Config::at(folder.path());
        config.http = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        config.gateway = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        config.disk_floor_bytes = 1 << 20;
        change(&mut config);
        Ok(Self { server: Server::start(config).await?, folder })
    }

    /// The data folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where sensors connect to.
    pub fn gateway(&self) -> SocketAddr {
        self.server.gateway
    }

    /// An enrolment token for many machines.
    pub async fn token(&self) -> anyhow::Result<String> {
        let now = garrison_server::now();
        Ok(self.server.shared.identity.enrolment_token_create("test", 1, 100_000, now).await?.0)
    }

    /// Stored rows of a device in a table, as (sequence number) in ascending order, duplicates included.
    pub fn stored(&self, table: &str, device: &DeviceId) -> anyhow::Result<Vec<i64>> {
        use arrow::array::AsArray as _;
        let snapshot = self.server.shared.lake.scan(garrison_lake::ScanRequest::table(table))?;
        let mut numbers = Vec::new();
        for batch in snapshot {
            let batch = batch?;
            let ids = batch.column_by_name("DeviceId").and_then(garrison_telemetry::TextColumn::new);
            let reports = batch.column_by_name("ReportId").map(|c| c.as_primitive::<arrow::datatypes::Int64Type>());
            let (Some(ids), Some(reports)) = (ids, reports) else { continue };
            numbers
                .extend((0..reports.len()).filter(|r| ids.get(*r) == Some(device.as_str())).map(|r| reports.value(r)));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// A counter's or gauge's value in `/metrics`; the text before the value must match whole.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.server.shared.metrics.encode();
        let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|v| v.trim().parse().ok()).unwrap_or(0.0)
    }

    /// Stops in order and gives the folder back for another start.
    pub async fn stop(self) -> anyhow::Result<TempDir> {
        self.server.stop().await?;
        Ok(self.folder)
    }

    /// The wall clock.
    pub fn now(&self) -> Micros {
        garrison_server::now()
    }
}
