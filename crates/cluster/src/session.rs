//! What planner, scheduler and executors have in common: settings, functions, and the one object store.

use ballista_core::extension::SessionConfigExt as _;
use ballista_core::registry::BallistaFunctionRegistry;
use ballista_core::utils::default_session_builder;
use datafusion::common::{Result, plan_err};
use datafusion::execution::SessionState;
use datafusion::execution::object_store::ObjectStoreRegistry;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::prelude::SessionConfig;
use garrison_lake::Bucket;
use object_store::ObjectStore;
use std::path::Path;
use std::sync::Arc;
use url::Url;

/// Parts that a shuffle has: enough for a handful of executors, few enough that small queries are not all overhead.
pub const PARTITIONS: usize = 8;

/// Object stores that a plan may name: the lake's, and no other. In particular not the local disk of the machine that a
/// plan happens to run on.
#[derive(Debug)]
pub struct OneStore {
    url: Url,
    store: Arc<dyn ObjectStore>,
}

impl OneStore {
    /// The store of this place.
    #[must_use]
    pub fn of(bucket: &Bucket) -> Self {
        Self { url: bucket.url().clone(), store: bucket.store() }
    }
}

impl ObjectStoreRegistry for OneStore {
    fn register_store(&self, _: &Url, store: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
        // Whoever registers another one finds it unused when he reads.
        Some(store)
    }

    fn get_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        if url.scheme() == self.url.scheme() && url.host_str() == self.url.host_str() {
            return Ok(Arc::clone(&self.store));
        }
        plan_err!("a plan names `{url}`, which is not the lake's object store")
    }
}

/// Settings that plans for a cluster are made and run with.
#[must_use]
pub fn config() -> SessionConfig {
    let mut config = SessionConfig::new_with_ballista().with_target_partitions(PARTITIONS);
    let parquet = &mut config.options_mut().execution.parquet;
    // As on one machine, see the lake's own settings.
    parquet.pushdown_filters = true;
    parquet.reorder_filters = true;
    parquet.enable_page_index = true;
    parquet.bloom_filter_on_read = true;
    parquet.pruning = true;
    config
}

/// The place where a plan runs: the lake's object store, and a folder for what is spilled.
pub fn runtime(bucket: &Bucket, spill: Option<&Path>) -> Result<Arc<RuntimeEnv>> {
    let mut builder = RuntimeEnvBuilder::new().with_object_store_registry(Arc::new(OneStore::of(bucket)));
    if let Some(spill) = spill {
        builder = builder.with_temp_file_path(spill);
    }
    builder.build_arc()
}

/// A session with all functions that a plan may name.
pub fn state(config: SessionConfig, runtime: Arc<RuntimeEnv>) -> Result<SessionState> {
    let state = default_session_builder(config)?;
    // Building anew would give the session another id.
    let id = state.session_id().to_owned();
    let builder = SessionStateBuilder::new_from_existing(state).with_session_id(id).with_runtime_env(runtime);
    let mut state = builder.build();
    garrison_kql::functions::register(&mut state)?;
    Ok(state)
}

/// The functions of [`state`], as executors want them.
pub fn functions(runtime: Arc<RuntimeEnv>) -> Result<BallistaFunctionRegistry> {
    Ok(BallistaFunctionRegistry::from(&state(config(), runtime)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::memory::InMemory;

    #[test]
    fn a_plan_reads_the_lakes_store_and_nothing_else() {
        let url = Url::parse("s3://lake/").unwrap();
        let bucket = Bucket::of(Arc::new(InMemory::new()), url, object_store::path::Path::default());
        let runtime = runtime(&bucket, None).unwrap();
        for (address, open) in
            [("s3://lake/a/b", true), ("s3://other/a", false), ("file:///etc/passwd", false), ("http://lake/a", false)]
        {
            let found = runtime.object_store_registry.get_store(&Url::parse(address).unwrap());
            assert_eq!(found.is_ok(), open, "{address}");
        }
        let local = Url::parse("file:///").unwrap();
        runtime.register_object_store(&local, Arc::new(object_store::local::LocalFileSystem::new()));
        assert!(runtime.object_store_registry.get_store(&local).is_err());
    }
}
