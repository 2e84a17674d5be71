//! How an executor runs a stage: as Ballista does, but without telling the scheduler what each operator counted.
//!
//! Ballista cuts a union's plan down to the arms that a task runs, so tasks of one stage have plans of different shapes.
//! The scheduler adds their figures up operator by operator, refuses figures of another shape, and then never marks the
//! stage as done: a wide union (`search`) hung. Nobody reads these figures here, so every task sends the same empty ones.
//!
//! A plan does not carry the key of a sealed lake. An executor that was given one puts it into the scans of the stages
//! that it runs, and opens the files of the lake's store with it.

use ballista_core::JobId;
use ballista_core::serde::protobuf::{RuntimeStatsReport, ShuffleWritePartition, TaskColumnStats, WindowStateReport};
use ballista_executor::execution_engine::{DefaultExecutionEngine, ExecutionEngine, QueryStageExecutor};
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::datasource::physical_plan::parquet::ParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::prelude::SessionConfig;
use std::fmt;
use std::sync::Arc;

/// Ballista's engine, with figures of one shape and the lake's key.
pub(crate) struct Engine {
    inner: DefaultExecutionEngine,
    readers: Option<Arc<dyn ParquetFileReaderFactory>>,
}

impl Engine {
    /// `readers` open the files of a sealed lake.
    pub(crate) fn new(readers: Option<Arc<dyn ParquetFileReaderFactory>>) -> Self {
        Self { inner: DefaultExecutionEngine::new(), readers }
    }
}

/// The plan with its scans of files opened by these readers.
fn opened_with(
    plan: Arc<dyn ExecutionPlan>,
    readers: &Arc<dyn ParquetFileReaderFactory>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let with_key = |node: Arc<dyn ExecutionPlan>| {
        let scan = node.downcast_ref::<DataSourceExec>().and_then(|s| s.downcast_to_file_source::<ParquetSource>());
        let Some((config, parquet)) = scan else { return Ok(Transformed::no(node)) };
        let parquet = parquet.clone().with_parquet_file_reader_factory(Arc::clone(readers));
        let config = FileScanConfigBuilder::from(config.clone()).with_source(Arc::new(parquet)).build();
        Ok(Transformed::yes(DataSourceExec::from_data_source(config) as Arc<dyn ExecutionPlan>))
    };
    Ok(plan.transform_up(with_key)?.data)
}

impl ExecutionEngine for Engine {
    fn create_query_stage_exec(
        &self,
        job_id: JobId,
        stage_id: usize,
        task_id: usize,
        global_output_partition_ids: Vec<usize>,
        plan: Arc<dyn ExecutionPlan>,
        work_dir: &str,
        config: &SessionConfig,
    ) -> Result<Arc<dyn QueryStageExecutor>> {
        let (ids, folder) = (global_output_partition_ids, work_dir);
        let plan = match &self.readers {
            Some(readers) => opened_with(plan, readers)?,
            None => plan,
        };
        let stage = self.inner.create_query_stage_exec(job_id, stage_id, task_id, ids, plan, folder, config)?;
        Ok(Arc::new(Stage(stage)))
    }
}

#[derive(Debug)]
struct Stage(Arc<dyn QueryStageExecutor>);

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[async_trait::async_trait]
impl QueryStageExecutor for Stage {
    async fn execute_query_stage(
        &self,
        task_id: usize,
        context: Arc<TaskContext>,
    ) -> Result<Vec<ShuffleWritePartition>> {
        self.0.execute_query_stage(task_id, context).await
    }

    fn collect_plan_metrics(&self) -> Vec<MetricsSet> {
        // None at all would make the scheduler warn at each stage.
        vec![MetricsSet::new()]
    }

    fn collect_runtime_stats_reports(&self) -> Vec<RuntimeStatsReport> {
        self.0.collect_runtime_stats_reports()
    }

    fn collect_window_state_reports(&self) -> Result<Vec<WindowStateReport>> {
        self.0.collect_window_state_reports()
    }

    fn collect_column_stats(&self) -> Vec<TaskColumnStats> {
        self.0.collect_column_stats()
    }
}

#[cfg(test)]
mod tests {
    use crate::client::Cluster;
    use crate::executor::{self, ExecutorOptions};
    use crate::{scheduler, session};
    use arrow::array::RecordBatch;
    use datafusion::dataframe::DataFrameWriteOptions;
    use datafusion::prelude::{ParquetReadOptions, SessionContext};
    use futures::TryStreamExt as _;
    use garrison_lake::Bucket;
    use object_store::memory::InMemory;
    use std::sync::Arc;
    use std::time::Duration;
    use tokio::sync::oneshot;
    use url::Url;

    #[tokio::test(flavor = "multi_thread")]
    async fn unions_whose_arms_differ_in_shape_end_on_executors() {
        let url = Url::parse("s3://lake/").unwrap();
        let bucket = Bucket::of(Arc::new(InMemory::new()), url, object_store::path::Path::default());
        let runtime = session::runtime(&bucket, None).unwrap();
        let context = SessionContext::new_with_state(session::state(session::config(), runtime).unwrap());
        for file in 0..4 {
            let rows = context.sql("SELECT * FROM (VALUES (1, 'a'), (2, 'b'), (3, 'c')) AS t(n, s)").await.unwrap();
            let place = format!("s3://lake/rows/{file}.parquet");
            rows.write_parquet(&place, DataFrameWriteOptions::new(), None).await.unwrap();
        }
        context.register_parquet("t", "s3://lake/rows/", ParquetReadOptions::default()).await.unwrap();

        let folder = tempfile::tempdir().unwrap();
        let listen = "127.0.0.1:0".parse().unwrap();
        let (say, heard) = oneshot::channel();
        let store = bucket.clone();
        tokio::spawn(async move { scheduler::run(listen, &store, |at| say.send(at).unwrap()).await });
        let address = format!("http://{}", heard.await.unwrap());
        for name in ["one", "two"] {
            let options = ExecutorOptions {
                scheduler: address.clone(),
                listen,
                advertise: None,
                work: folder.path().join(name),
                cores: 2,
                memory_bytes: 256 << 20,
                key: None,
            };
            let store = bucket.clone();
            tokio::spawn(async move { executor::run(options, &store, |_| ()).await });
        }
        let cluster = Cluster::at(&address).unwrap();
        let arms = [
            "SELECT n, s FROM t",
            "SELECT n, s FROM t WHERE s LIKE '%a%'",
            "SELECT n, upper(s) AS s FROM t WHERE n > 1",
            "SELECT 7 AS n, 'x' AS s",
            "SELECT n, s FROM (SELECT n, s, count(*) FROM t GROUP BY n, s)",
            "SELECT n, s FROM (SELECT n, s FROM t ORDER BY n LIMIT 2)",
        ];
        for (sql, rows) in [
            (arms[0].to_owned(), 12),
            (arms[..3].join(" UNION ALL "), 12 + 4 + 8),
            (arms.join(" UNION ALL "), 12 + 4 + 8 + 1 + 3 + 2),
            (arms.repeat(5).join(" UNION ALL "), 5 * 30),
        ] {
            let plan = context.sql(&sql).await.unwrap().create_physical_plan().await.unwrap();
            let bytes = Cluster::encode(&plan).unwrap();
            let all = async { cluster.run(bytes, plan.schema(), "test").await?.try_collect::<Vec<_>>().await };
            // A query that never ends is what is looked for; nothing here takes a tenth of this.
            let all = tokio::time::timeout(Duration::from_mins(1), all).await.expect("it ends").unwrap();
            assert_eq!(all.iter().map(RecordBatch::num_rows).sum::<usize>(), rows, "{sql}");
        }
    }
}
