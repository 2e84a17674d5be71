//! Where queries run: threads of their own, memory that is counted for each and for all, a folder for what is spilled.

use super::remote::Remote;
use super::settings::HuntingSettings;
use anyhow::Context as _;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::cache::cache_manager::{CacheManager, CacheManagerConfig, FileMetadataCache};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::SessionContext;
use garrison_lake::provider::{FOOTERS_BYTES_MAX, session_config};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What sessions are made of.
pub(crate) struct Sessions {
    runtime: Option<tokio::runtime::Runtime>,
    spill: PathBuf,
    /// Footers of Parquet files, kept over queries.
    footers: Arc<FileMetadataCache>,
    /// Memory of all queries.
    used: Arc<AtomicUsize>,
    memory_bytes: usize,
    query_memory_bytes: usize,
    spill_bytes_max: u64,
    workers: usize,
}

impl Sessions {
    pub(crate) fn open(spill: &Path, settings: &HuntingSettings) -> anyhow::Result<Self> {
        // What a killed process left behind is of no use.
        let _ = std::fs::remove_dir_all(spill);
        std::fs::create_dir_all(spill).with_context(|| format!("cannot create folder `{}`", spill.display()))?;
        let workers = settings.worker_count();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(workers)
            .thread_name("hunt")
            // Plans are walked by recursion; only what is touched of it takes memory.
            .thread_stack_size(16 << 20)
            .enable_all()
            .build()
            .context("cannot start threads for queries")?;
        let footers =
            CacheManager::try_new(&CacheManagerConfig::default().with_metadata_cache_limit(FOOTERS_BYTES_MAX))
                .context("cannot make a cache of file footers")?
                .get_file_metadata_cache();
        Ok(Self {
            runtime: Some(runtime),
            spill: spill.to_owned(),
            footers,
            used: Arc::default(),
            memory_bytes: settings.memory_bytes,
            query_memory_bytes: settings.query_memory_bytes,
            spill_bytes_max: settings.spill_bytes_max,
            workers,
        })
    }

    /// The threads; `None` only while the room is being dropped.
    pub(crate) fn handle(&self) -> Option<tokio::runtime::Handle> {
        self.runtime.as_ref().map(|runtime| runtime.handle().clone())
    }

    /// Memory for one query.
    pub(crate) fn memory(&self) -> Arc<QueryMemory> {
        Arc::new(QueryMemory {
            own: FairSpillPool::new(self.query_memory_bytes),
            all: Arc::clone(&self.used),
            all_max: self.memory_bytes,
            taken: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            bytes_max: self.query_memory_bytes.min(self.memory_bytes),
        })
    }

    /// A session for one query, which reads a copy on an object store if one is given.
    pub(crate) fn session(&self, memory: Arc<QueryMemory>, remote: Option<&Remote>) -> Result<SessionContext> {
        let disk = DiskManagerBuilder::default()
            .with_mode(DiskManagerMode::Directories(vec![self.spill.clone()]))
            .with_max_temp_directory_size(self.spill_bytes_max);
        let caches = CacheManagerConfig::default()
            .with_metadata_cache_limit(FOOTERS_BYTES_MAX)
            .with_file_metadata_cache(Some(Arc::clone(&self.footers)));
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(memory)
            .with_disk_manager_builder(disk)
            .with_cache_manager(caches)
            .build_arc()?;
        if let Some(remote) = remote {
            let bucket = remote.lake.bucket();
            runtime.register_object_store(bucket.url(), bucket.store());
            if remote.is_cluster() {
                let state = garrison_cluster::session::state(garrison_cluster::session::config(), runtime)?;
                return Ok(SessionContext::new_with_state(state));
            }
        }
        let config = session_config().with_target_partitions(self.workers);
        Ok(garrison_lake::provider::session(config, runtime))
    }
}

impl Drop for Sessions {
    fn drop(&mut self) {
        // Waiting for threads is not allowed where the room may be dropped.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Memory of one query, which also counts against that of all. Operators that can spill share what the others leave;
/// those that cannot fail when there is none.
pub(crate) struct QueryMemory {
    own: FairSpillPool,
    all: Arc<AtomicUsize>,
    all_max: usize,
    /// Bytes of this query in `all`.
    taken: AtomicUsize,
    peak: AtomicUsize,
    pub(crate) bytes_max: usize,
}

impl QueryMemory {
    /// Most bytes that were reserved at once.
    pub(crate) fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }

    fn grew(&self, bytes: usize) {
        let taken = self.taken.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.peak.fetch_max(taken, Ordering::Relaxed);
    }
}

impl fmt::Debug for QueryMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueryMemory").field("taken", &self.taken).field("peak", &self.peak).finish_non_exhaustive()
    }
}

impl fmt::Display for QueryMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "query memory of {} bytes", self.bytes_max)
    }
}

impl MemoryPool for QueryMemory {
    fn name(&self) -> &'static str {
        "query"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.own.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.own.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.own.grow(reservation, additional);
        self.all.fetch_add(additional, Ordering::Relaxed);
        self.grew(additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.own.shrink(reservation, shrink);
        self.all.fetch_sub(shrink, Ordering::Relaxed);
        self.taken.fetch_sub(shrink, Ordering::Relaxed);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        self.own.try_grow(reservation, additional)?;
        let taken = self.all.try_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(additional).filter(|sum| *sum <= self.all_max)
        });
        if taken.is_err() {
            self.own.shrink(reservation, additional);
            return Err(DataFusionError::ResourcesExhausted(
                "the memory of all queries together is used up".to_owned(),
            ));
        }
        self.grew(additional);
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.bytes_max)
    }
}
