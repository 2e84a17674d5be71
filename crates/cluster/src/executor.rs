//! An executor: runs tasks of plans over the object store, keeps what passes between stages on its disk, and serves it.

use crate::codec::PlanCodec;
use crate::engine::Engine;
use crate::scheduler::MESSAGE_BYTES_MAX;
use crate::{ClusterError, ballista, session};
use ballista_executor::executor_process::{ExecutorProcessConfig, start_executor_process};
use garrison_lake::provider::reader_factory;
use garrison_lake::{Bucket, LakeKey};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

/// Seconds between heartbeats.
pub(crate) const HEARTBEAT_SECONDS: u64 = 20;
/// Seconds that shuffle files of a query may lie about; the scheduler has them deleted long before.
const SHUFFLE_SECONDS: u64 = 3_600;

/// How an executor runs.
#[derive(Debug, Clone)]
pub struct ExecutorOptions {
    /// The scheduler, `http://host:port`.
    pub scheduler: String,
    /// Address that rows are fetched from; tasks come in on the next port. Port 0 picks both.
    pub listen: SocketAddr,
    /// Name or address that others reach it by, where it is not `listen`.
    pub advertise: Option<String>,
    /// Folder for what passes between stages and what is spilled. Emptied at the start.
    pub work: PathBuf,
    /// Tasks at once; 0: one a core.
    pub cores: usize,
    /// Memory of all tasks together, shared out by core.
    pub memory_bytes: u64,
    /// What the files of a sealed lake are opened with.
    pub key: Option<LakeKey>,
}

/// Runs until the process is told to stop. `told` hears where rows are fetched from.
pub async fn run(options: ExecutorOptions, bucket: &Bucket, told: impl FnOnce(SocketAddr)) -> Result<(), ClusterError> {
    let (scheduler_host, scheduler_port) = host_and_port(&options.scheduler)?;
    let (flight, tasks) = ports(options.listen)?;
    // What a killed process left behind is of no use.
    let _ = std::fs::remove_dir_all(&options.work);
    std::fs::create_dir_all(&options.work)
        .map_err(|source| ClusterError::Io { step: "create the executor's work folder", source })?;
    let prepared = |source| ClusterError::Engine { step: "prepare the executor", source };
    let runtime = session::runtime(bucket, Some(&options.work)).map_err(prepared)?;
    let footers = runtime.cache_manager.get_file_metadata_cache();
    let readers = options.key.as_ref().map(|key| reader_factory(bucket.store(), footers, Some(key)));
    let functions = session::functions(Arc::clone(&runtime)).map_err(prepared)?;
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let config = ExecutorProcessConfig {
        bind_host: options.listen.ip().to_string(),
        external_host: Some(options.advertise.unwrap_or_else(|| options.listen.ip().to_string())),
        port: flight,
        grpc_port: tasks,
        scheduler_host,
        scheduler_port,
        // It may be started before its scheduler.
        scheduler_connect_timeout_seconds: 60,
        vcores: if options.cores == 0 { cores } else { options.cores },
        work_dir: Some(options.work.to_string_lossy().into_owned()),
        job_data_ttl_seconds: SHUFFLE_SECONDS,
        job_data_clean_up_interval_seconds: SHUFFLE_SECONDS / 4,
        grpc_max_decoding_message_size: MESSAGE_BYTES_MAX,
        grpc_max_encoding_message_size: MESSAGE_BYTES_MAX,
        executor_heartbeat_interval_seconds: HEARTBEAT_SECONDS,
        memory_pool_size: Some(options.memory_bytes),
        override_function_registry: Some(Arc::new(functions)),
        override_runtime_producer: Some(Arc::new(move |_| Ok(Arc::clone(&runtime)))),
        override_config_producer: Some(Arc::new(session::config)),
        override_execution_engine: Some(Arc::new(Engine::new(readers))),
        override_physical_codec: Some(Arc::new(PlanCodec::default())),
        ..ExecutorProcessConfig::default()
    };
    told(SocketAddr::new(options.listen.ip(), flight));
    start_executor_process(Arc::new(config)).await.map_err(ballista("run the executor"))
}

/// The two ports: this one and the next, or two free ones.
fn ports(listen: SocketAddr) -> Result<(u16, u16), ClusterError> {
    if listen.port() != 0 {
        let next = listen.port().checked_add(1).ok_or_else(|| ClusterError::Address {
            address: listen.to_string(),
            what: "executor",
            why: "there is no port after it".to_owned(),
        })?;
        return Ok((listen.port(), next));
    }
    // Both are held until both are known, so that they differ. Ballista binds by number.
    let free = |ip: IpAddr| {
        let found = TcpListener::bind((ip, 0)).and_then(|socket| Ok((socket.local_addr()?.port(), socket)));
        found.map_err(|source| ClusterError::Io { step: "find a free port for the executor", source })
    };
    let (first, second) = (free(listen.ip())?, free(listen.ip())?);
    Ok((first.0, second.0))
}

pub(crate) fn host_and_port(address: &str) -> Result<(String, u16), ClusterError> {
    let bad = |why: &str| ClusterError::Address { address: address.to_owned(), what: "scheduler", why: why.to_owned() };
    let url = url::Url::parse(address).map_err(|_| bad("it is not of the form `http://host:port`"))?;
    match (url.scheme(), url.host_str(), url.port()) {
        ("http", Some(host), Some(port)) => Ok((host.to_owned(), port)),
        _ => Err(bad("it is not of the form `http://host:port`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_a_scheduler_are_checked() {
        for (address, parts) in [
            ("http://127.0.0.1:50050", Some(("127.0.0.1", 50050))),
            ("http://scheduler.lan:1/", Some(("scheduler.lan", 1))),
            ("127.0.0.1:50050", None),
            ("https://a:1", None),
            ("http://a", None),
            ("", None),
        ] {
            let found = host_and_port(address).ok();
            assert_eq!(found, parts.map(|(host, port)| (host.to_owned(), port)), "{address}");
        }
    }

    #[test]
    fn an_executor_takes_two_ports() {
        assert_eq!(ports("127.0.0.1:7".parse().unwrap()).unwrap(), (7, 8));
        assert!(ports("127.0.0.1:65535".parse().unwrap()).is_err());
        let (first, second) = ports("127.0.0.1:0".parse().unwrap()).unwrap();
        assert!(first != 0 && second != 0 && first != second);
    }
}
