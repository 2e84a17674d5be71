//! The client: sends a physical plan to the scheduler, waits, and fetches rows from the executors that have them.
//! Dropping the rows' stream cancels the query on the cluster.

use crate::codec::PlanCodec;
use crate::executor::host_and_port;
use crate::scheduler::MESSAGE_BYTES_MAX;
use crate::{ClusterError, Unreachable, session};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use ballista_core::client::BallistaClient;
use ballista_core::extension::SessionConfigHelperExt as _;
use ballista_core::serde::protobuf::scheduler_grpc_client::SchedulerGrpcClient;
use ballista_core::serde::protobuf::{
    CancelJobParams, ExecuteQueryParams, GetJobStatusParams, PartitionLocation, execute_query_params::Query,
    execute_query_result, job_status::Status,
};
use ballista_core::version;
use datafusion::common::{DataFusionError, Result, exec_datafusion_err, exec_err};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};
use datafusion_proto::physical_plan::AsExecutionPlan as _;
use datafusion_proto::protobuf::PhysicalPlanNode;
use futures::StreamExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tonic::transport::{Channel, Endpoint};

/// Time to reach scheduler or executor.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Between two questions whether a query is done: short at first, so that small ones are not held up.
const WAITS: [u64; 4] = [10, 20, 50, 100];
/// Time that a scheduler may not know a query it took. It forgets all when it restarts.
const UNKNOWN_MAX: Duration = Duration::from_secs(5);
/// Tries to fetch rows from an executor.
const FETCHES_MAX: u8 = 3;
/// Milliseconds between them.
const FETCH_WAIT_MS: u64 = 200;

/// Says what is wrong with a scheduler's address.
pub fn check(scheduler: &str) -> std::result::Result<(), ClusterError> {
    host_and_port(scheduler).map(drop)
}

/// A cluster that plans are sent to. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Cluster {
    channel: Channel,
}

type Scheduler = SchedulerGrpcClient<Channel>;

impl Cluster {
    /// The cluster of the scheduler at `http://host:port`. Nothing is sent yet; the scheduler may start later.
    pub fn at(scheduler: &str) -> std::result::Result<Self, ClusterError> {
        let (host, port) = host_and_port(scheduler)?;
        let endpoint = Endpoint::from_shared(format!("http://{host}:{port}")).map_err(|error| {
            ClusterError::Address { address: scheduler.to_owned(), what: "scheduler", why: error.to_string() }
        })?;
        Ok(Self { channel: endpoint.connect_timeout(CONNECT_MAX).tcp_nodelay(true).connect_lazy() })
    }

    fn scheduler(&self) -> Scheduler {
        SchedulerGrpcClient::new(self.channel.clone())
            .max_encoding_message_size(MESSAGE_BYTES_MAX as usize)
            .max_decoding_message_size(MESSAGE_BYTES_MAX as usize)
    }

    /// A plan as bytes, or why it cannot travel: it is too large, or something in it is only on this machine.
    pub fn encode(plan: &Arc<dyn ExecutionPlan>) -> Result<Vec<u8>> {
        let message = PhysicalPlanNode::try_from_physical_plan(Arc::clone(plan), &PlanCodec::default())?;
        let mut bytes = Vec::new();
        message.try_encode(&mut bytes)?;
        // Settings and the frame around it need some room.
        if bytes.len() > MESSAGE_BYTES_MAX as usize / 2 {
            return exec_err!("the query's plan has {} bytes, more than the cluster takes", bytes.len());
        }
        Ok(bytes)
    }

    /// Runs a plan, whose rows have this schema and come in the order of its partitions. `id` names the query in the
    /// scheduler's log.
    pub async fn run(&self, bytes: Vec<u8>, schema: SchemaRef, id: &str) -> Result<SendableRecordBatchStream> {
        let mut scheduler = self.scheduler();
        let mut request = tonic::Request::new(ExecuteQueryParams {
            query: Some(Query::PhysicalPlan(bytes)),
            settings: session::config().to_key_value_pairs(),
            session_id: id.to_owned(),
            operation_id: id.to_owned(),
        });
        version::insert_version_header(request.metadata_mut());
        let answer =
            scheduler.execute_query(request).await.map_err(told("hand a query to the scheduler"))?.into_inner();
        let job = match answer.result {
            Some(execute_query_result::Result::Success(job)) => job.job_id,
            Some(execute_query_result::Result::Failure(why)) => {
                return exec_err!("the scheduler refused the query: {why:?}");
            }
            None => return exec_err!("the scheduler gave no answer"),
        };
        let guard = Guard { scheduler: scheduler.clone(), job: Some(job.clone()) };
        let parts = wait(&mut scheduler, &job).await?;
        let state = Fetching { guard, parts: parts.into_iter(), open: None };
        let rows = futures::stream::try_unfold(state, |mut state| async move {
            Ok(state.next().await?.map(|batch| (batch, state)))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}

/// Rows on their way, part by part.
struct Fetching {
    guard: Guard,
    parts: std::vec::IntoIter<PartitionLocation>,
    open: Option<SendableRecordBatchStream>,
}

impl Fetching {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(open) = &mut self.open {
                if let Some(batch) = open.next().await {
                    return batch.map(Some);
                }
                self.open = None;
            }
            match self.parts.next() {
                Some(part) => self.open = Some(fetch(part).await?),
                None => {
                    // All rows are here: there is nothing left to cancel.
                    self.guard.job = None;
                    return Ok(None);
                }
            }
        }
    }
}

/// Cancels a query that nobody waits for any more.
struct Guard {
    scheduler: Scheduler,
    job: Option<String>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let (Some(job_id), Ok(threads)) = (self.job.take(), tokio::runtime::Handle::try_current()) else { return };
        let mut scheduler = self.scheduler.clone();
        threads.spawn(async move {
            if let Err(error) = scheduler.cancel_job(CancelJobParams { job_id }).await {
                tracing::debug!(%error, "a query could not be cancelled on the cluster");
            }
        });
    }
}

/// Waits until the query is done; where its rows lie then.
async fn wait(scheduler: &mut Scheduler, job: &str) -> Result<Vec<PartitionLocation>> {
    let mut unknown_since = None;
    for turn in 0.. {
        let request = GetJobStatusParams { job_id: job.to_owned() };
        let answer = scheduler.get_job_status(request).await.map_err(told("ask the scheduler for a query"))?;
        match answer.into_inner().status.and_then(|status| status.status) {
            Some(Status::Successful(done)) => return Ok(done.partition_location),
            Some(Status::Failed(failed)) => return Err(failure(&failed.error)),
            Some(Status::Queued(_) | Status::Running(_)) => unknown_since = None,
            None if unknown_since.get_or_insert_with(Instant::now).elapsed() > UNKNOWN_MAX => {
                return exec_err!("the scheduler does not know the query any more; was it restarted? Ask again");
            }
            None => {}
        }
        let pause = WAITS.get(turn).or(WAITS.last()).copied().unwrap_or_default();
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    exec_err!("the query never ended")
}

/// What an executor's words mean. Memory that ran out is told as on one machine, and an object store that does not answer
/// in words that say where to look; all else in its own words.
fn failure(words: &str) -> DataFusionError {
    if words.contains("Resources exhausted") {
        return DataFusionError::ResourcesExhausted(words.to_owned());
    }
    if words.contains("RetryError") {
        tracing::warn!(words, "an executor cannot read the object store");
        let words = "an executor cannot read the object store; check that it runs and that executors reach its address";
        return Unreachable(words.to_owned()).into();
    }
    exec_datafusion_err!("the cluster could not run the query: {words}")
}

async fn fetch(part: PartitionLocation) -> Result<SendableRecordBatchStream> {
    let layout = part.layout();
    let (Some(executor), Some(id)) = (part.executor_meta, part.partition_id) else {
        return exec_err!("the scheduler does not say where rows lie");
    };
    let port =
        u16::try_from(executor.port).map_err(|_| exec_datafusion_err!("an executor has port {}", executor.port))?;
    let failed = |error: ballista_core::error::BallistaError| error.into_datafusion();
    let mut client = BallistaClient::try_new(
        &executor.host,
        port,
        MESSAGE_BYTES_MAX as usize,
        false,
        None,
        FETCHES_MAX,
        FETCH_WAIT_MS,
        0,
        0,
    )
    .await
    .map_err(failed)?;
    client
        .fetch_partition_proxied(&executor.id, &id.into(), part.file_id, layout, &executor.host, port, true)
        .await
        .map_err(failed)
}

fn told(step: &'static str) -> impl FnOnce(tonic::Status) -> DataFusionError {
    move |status| {
        let words = format!("cannot {step}: {}", status.message());
        match status.code() {
            tonic::Code::Unavailable | tonic::Code::DeadlineExceeded | tonic::Code::Unknown => {
                Unreachable(words).into()
            }
            _ => DataFusionError::Execution(words),
        }
    }
}
