//! Opening sealed Parquet files for the query engine.
//!
//! The engine's own reader knows how to decrypt, but then keeps no footers, because its cache cannot tell one key from
//! another. A footer with its page index is about a megabyte that would be read and decrypted for each query. The files
//! of a lake have one key, so their footers may be kept under their path: a footer that was decrypted carries what its
//! pages are decrypted with.

use crate::crypt::LakeKey;
use bytes::Bytes;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::metadata::DFParquetMetadata;
use datafusion::datasource::physical_plan::parquet::{
    CachedParquetFileReaderFactory, CachedParquetMetaData, ParquetFileReaderFactory,
};
use datafusion::error::Result;
use datafusion::execution::cache::cache_manager::{CachedFileMetadataEntry, FileMetadataCache};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use object_store::{ObjectMeta, ObjectStore};
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Makes readers of one lake's files, sealed or not.
pub(super) struct SealedReaders {
    inner: CachedParquetFileReaderFactory,
    store: Arc<dyn ObjectStore>,
    footers: Arc<FileMetadataCache>,
    key: LakeKey,
}

impl fmt::Debug for SealedReaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedReaders").field("key", &self.key).finish_non_exhaustive()
    }
}

impl SealedReaders {
    pub(super) fn new(store: Arc<dyn ObjectStore>, footers: Arc<FileMetadataCache>, key: LakeKey) -> Self {
        let inner = CachedParquetFileReaderFactory::new(Arc::clone(&store), Arc::clone(&footers));
        Self { inner, store, footers, key }
    }
}

impl ParquetFileReaderFactory for SealedReaders {
    fn create_reader(
        &self,
        partition_index: usize,
        file: PartitionedFile,
        metadata_size_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        let meta = file.object_meta.clone();
        let inner = self.inner.create_reader(partition_index, file, metadata_size_hint, metrics)?;
        let (store, footers, key) = (Arc::clone(&self.store), Arc::clone(&self.footers), self.key.clone());
        Ok(Box::new(SealedReader { inner, meta, store, footers, key, metadata_size_hint }))
    }
}

struct SealedReader {
    inner: Box<dyn AsyncFileReader + Send>,
    meta: ObjectMeta,
    store: Arc<dyn ObjectStore>,
    footers: Arc<FileMetadataCache>,
    key: LakeKey,
    metadata_size_hint: Option<usize>,
}

impl AsyncFileReader for SealedReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        self.inner.get_bytes(range)
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, parquet::errors::Result<Vec<Bytes>>> {
        self.inner.get_byte_ranges(ranges)
    }

    fn get_metadata<'a>(
        &'a mut self,
        _: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        async move {
            let known = self.footers.get(&self.meta.location).filter(|entry| entry.is_valid_for(&self.meta));
            if let Some(kept) =
                known.as_ref().and_then(|entry| entry.file_metadata.as_any().downcast_ref::<CachedParquetMetaData>())
            {
                return Ok(Arc::clone(kept.parquet_metadata()));
            }
            let footer = DFParquetMetadata::new(&self.store, &self.meta)
                .with_decryption_properties(Some(self.key.decryption()))
                .with_metadata_size_hint(self.metadata_size_hint)
                .with_page_index_policy(Some(PageIndexPolicy::Optional))
                .fetch_metadata()
                .await
                .map_err(|error| ParquetError::External(Box::new(error)))?;
            let kept = Arc::new(CachedParquetMetaData::new(Arc::clone(&footer)));
            self.footers.put(&self.meta.location, CachedFileMetadataEntry::new(self.meta.clone(), kept));
            Ok(footer)
        }
        .boxed()
    }
}
