//! The scheduler: cuts plans into stages and hands their tasks to executors. Its state is in memory: queries that run
//! while it restarts fail and are asked again.

use crate::codec::PlanCodec;
use crate::{ClusterError, ballista, session};
use ballista_scheduler::cluster::BallistaCluster;
use ballista_scheduler::config::SchedulerConfig;
use ballista_scheduler::scheduler_process::{create_scheduler, start_grpc_service_with_listener};
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};
use garrison_lake::Bucket;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Bytes of one message: a plan, with the rows of `datatable` and the like inside.
pub(crate) const MESSAGE_BYTES_MAX: u32 = 64 << 20;
/// Seconds that a finished query's rows wait to be fetched; a query server fetches them at once.
const RESULT_SECONDS: u64 = 300;
/// Seconds without a word after which an executor is given up: three of its heartbeats.
const EXECUTOR_SILENCE_SECONDS: u64 = 3 * crate::executor::HEARTBEAT_SECONDS;

/// Runs until dropped. `told` hears the address once it listens.
pub async fn run(listen: SocketAddr, bucket: &Bucket, told: impl FnOnce(SocketAddr)) -> Result<(), ClusterError> {
    let runtime = session::runtime(bucket, None)
        .map_err(|source| ClusterError::Engine { step: "prepare the scheduler", source })?;
    let listener = TcpListener::bind(listen)
        .await
        .map_err(|source| ClusterError::Io { step: "listen for the scheduler", source })?;
    let address =
        listener.local_addr().map_err(|source| ClusterError::Io { step: "listen for the scheduler", source })?;
    let config = Arc::new(SchedulerConfig {
        external_host: address.ip().to_string(),
        bind_host: address.ip().to_string(),
        bind_port: address.port(),
        finished_job_data_clean_up_interval_seconds: RESULT_SECONDS,
        executor_timeout_seconds: EXECUTOR_SILENCE_SECONDS,
        no_executors_grace_period_seconds: EXECUTOR_SILENCE_SECONDS,
        grpc_server_max_decoding_message_size: MESSAGE_BYTES_MAX,
        grpc_server_max_encoding_message_size: MESSAGE_BYTES_MAX,
        grpc_client_max_message_size: MESSAGE_BYTES_MAX,
        override_config_producer: Some(Arc::new(session::config)),
        override_session_builder: Some(Arc::new(move |config| session::state(config, Arc::clone(&runtime)))),
        override_physical_codec: Some(Arc::new(PlanCodec::default())),
        ..SchedulerConfig::default()
    });
    let cluster = BallistaCluster::new_from_config(&config).await.map_err(ballista("prepare the scheduler"))?;
    let scheduler = create_scheduler::<LogicalPlanNode, PhysicalPlanNode>(cluster, config)
        .await
        .map_err(ballista("start the scheduler"))?;
    told(address);
    start_grpc_service_with_listener(listener, scheduler).await.map_err(ballista("serve the scheduler"))
}
