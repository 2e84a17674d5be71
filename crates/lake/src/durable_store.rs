//! A local object store whose writes are durable when they return.
//!
//! `object_store`'s local store writes and links without syncing. After a power cut a Delta commit could be a file of
//! zero bytes, which makes the whole table unreadable, while the log segments it stood for are gone already. Here every
//! put is written, synced, linked or renamed, and the folder is synced.

use crate::disk::{create_folder_durably, sync_folder};
use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

/// Wraps the whole local file system, `/` at its root.
#[derive(Debug, Default)]
pub(crate) struct DurableStore {
    inner: LocalFileSystem,
}

impl std::fmt::Display for DurableStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "durable {}", self.inner)
    }
}

fn generic(source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Generic { store: "durable folder", source: Box::new(source) }
}

fn put_durably(target: PathBuf, location: String, payload: &PutPayload, create: bool) -> Result<()> {
    let folder = target.parent().map(PathBuf::from).unwrap_or_default();
    create_folder_durably(&folder).map_err(generic)?;
    // A name that no reader of a Delta log takes for a part of it.
    let beside = folder.join(format!(".{}.tmp", uuid::Uuid::new_v4()));
    let written = (|| {
        let mut file = File::create_new(&beside)?;
        for part in payload {
            file.write_all(part)?;
        }
        file.sync_all()?;
        if create { std::fs::hard_link(&beside, &target) } else { std::fs::rename(&beside, &target) }
    })();
    if create || written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    match written {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(Error::AlreadyExists { path: location, source: Box::new(error) });
        }
        other => other.map_err(generic)?,
    }
    sync_folder(&folder).map_err(generic)
}

#[async_trait]
impl ObjectStore for DurableStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let create = match opts.mode {
            PutMode::Create => true,
            PutMode::Overwrite => false,
            PutMode::Update(_) => return self.inner.put_opts(location, payload, opts).await,
        };
        let target = self.inner.path_to_filesystem(location)?;
        let name = location.to_string();
        tokio::task::spawn_blocking(move || put_durably(target, name, &payload, create)).await.map_err(generic)??;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
