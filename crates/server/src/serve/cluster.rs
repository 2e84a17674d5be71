//! `garrison serve --role scheduler` and `--role executor`: parts of a query cluster, without database, API or console.

use crate::config::{Config, Role};
use anyhow::Context as _;
use garrison_cluster::executor::ExecutorOptions;
use garrison_cluster::{executor, scheduler};
use garrison_lake::Bucket;
use std::net::SocketAddr;

/// Runs until dropped. `told` hears the address once it is known.
pub async fn run(config: &Config, told: impl FnOnce(SocketAddr)) -> anyhow::Result<()> {
    let bucket = Bucket::open(config.object_store.as_ref().context("no object store is configured")?)?;
    let cluster = &config.cluster;
    if config.role == Role::Scheduler {
        return Ok(scheduler::run(cluster.listen, &bucket, told).await?);
    }
    let options = ExecutorOptions {
        scheduler: cluster.scheduler.clone().context("no scheduler is configured")?,
        listen: cluster.listen,
        advertise: cluster.advertise.clone(),
        work: config.data.join("executor"),
        cores: cluster.cores,
        memory_bytes: cluster.memory_bytes,
        key: config.lake_key_file.as_deref().map(crate::rest::reader_key_read).transpose()?,
    };
    Ok(executor::run(options, &bucket, told).await?)
}
