//! Hunting over the lake's copy on an object store: its tables, and the cluster that runs the plans.

use crate::config::Config;
use crate::metrics::{ByCode, Metrics};
use crate::shared::rfc3339;
use anyhow::Context as _;
use arrow::datatypes::SchemaRef;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream, execute_stream};
use garrison_cluster::client::Cluster;
use garrison_lake::{Bucket, LakeError, RemoteLake, TableSpec};
use garrison_model::TenantId;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use std::sync::Arc;
use uuid::Uuid;

/// The copy that queries read, and who runs them.
#[derive(Debug)]
pub struct Remote {
    /// The copy.
    pub(crate) lake: RemoteLake,
    cluster: Option<Cluster>,
    /// Plans by where they ran.
    plans: Family<ByCode, Counter>,
}

impl Remote {
    /// Opens what the configuration names.
    pub async fn open(config: &Config, tenant: &TenantId, metrics: &Metrics) -> anyhow::Result<Self> {
        let store = config.object_store.as_ref().context("no object store is configured")?;
        let bucket = Bucket::open(store)?.below(tenant.as_str());
        let mut lake = RemoteLake::new(bucket, TableSpec::hunting_tables());
        if let Some(path) = &config.lake_key_file {
            lake = lake.reading_with(crate::rest::reader_key_read(path)?);
        }
        lake.refresh().await.context("cannot read the lake's copy on the object store")?;
        let cluster = config.cluster.scheduler.as_deref().map(Cluster::at).transpose()?;
        let plans = Family::<ByCode, Counter>::default();
        metrics.register("garrison_hunting_plans", "Plans of queries, by where they ran", plans.clone());
        Ok(Self { lake, cluster, plans })
    }

    /// Whether plans go to a cluster.
    pub(crate) fn is_cluster(&self) -> bool {
        self.cluster.is_some()
    }

    /// Looks for new files.
    pub async fn refresh(&self) -> Result<(), LakeError> {
        self.lake.refresh().await
    }

    /// Runs a plan: on the cluster, or here where there is none or the plan cannot travel.
    pub(crate) async fn run(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let here = |code| {
            self.plans.get_or_create(&ByCode { code }).inc();
        };
        let Some(cluster) = &self.cluster else {
            here("here");
            return execute_stream(plan, context);
        };
        // Nothing to read: not worth the way.
        if !reads_files(&plan) {
            here("here_without_files");
            return execute_stream(plan, context);
        }
        match Cluster::encode(&plan) {
            Ok(bytes) => {
                here("cluster");
                let schema: SchemaRef = plan.schema();
                cluster.run(bytes, schema, &Uuid::now_v7().to_string()).await
            }
            Err(error) => {
                tracing::info!(%error, "a plan cannot be sent to the cluster and runs here");
                here("here_cannot_travel");
                execute_stream(plan, context)
            }
        }
    }

    /// What an answer may lack, in words.
    pub(crate) fn statement(&self) -> String {
        match self.lake.as_of() {
            Some(as_of) => format!(
                "read from the object store, which holds what came before {}; gaps and silent devices are told by the \
                 server that takes rows in",
                rfc3339(as_of)
            ),
            None => "read from the object store, which nothing was copied to yet".to_owned(),
        }
    }
}

fn reads_files(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.downcast_ref::<datafusion::datasource::source::DataSourceExec>().is_some_and(|source| {
        source.data_source().downcast_ref::<datafusion::datasource::physical_plan::FileScanConfig>().is_some()
    }) || plan.children().into_iter().any(reads_files)
}
