//! What can go wrong, and what the caller may do about it.

use std::io;
use std::path::PathBuf;

/// An error of the lake. [`LakeError::retry`] says whether the same call may succeed later.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// Another process (or another handle) has this lake open.
    #[error("lake `{path}` is open in another process")]
    Locked {
        /// The lake's root.
        path: PathBuf,
    },
    /// No room: nothing was acknowledged, and nothing will be until space is there again.
    #[error("no space left for the lake ({free} bytes free, {floor} bytes must stay free)")]
    DiskFull {
        /// Free bytes when last looked at.
        free: u64,
        /// Bytes that must stay free.
        floor: u64,
    },
    /// The write-ahead log could not be written; the rows are not acknowledged and may be sent again.
    #[error("cannot {step} write-ahead log segment `{segment}`")]
    Wal {
        /// What was tried.
        step: &'static str,
        /// Which segment.
        segment: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A file or folder of the lake could not be used.
    #[error("cannot {step} `{path}`")]
    Io {
        /// What was tried.
        step: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The object store could not be used.
    #[error("cannot {step} `{object}` on the object store")]
    Bucket {
        /// What was tried.
        step: &'static str,
        /// On what.
        object: String,
        /// Why it failed.
        source: object_store::Error,
    },
    /// The address or the settings of the object store are not usable.
    #[error("the object store cannot be used: {reason}")]
    BadBucket {
        /// What is wrong.
        reason: String,
    },
    /// The object store holds log entries that this lake did not write: another lake is copied to the same place.
    #[error("`{object}` on the object store was written by another lake; give each server a prefix of its own")]
    OtherWriter {
        /// The first entry that differs.
        object: String,
    },
    /// The copy on the object store is sealed, and not with the key that was given.
    #[error(
        "the copy on the object store is sealed with key `{known}`, and `lake.key_file` names {given}; make the file with \
         `garrison tenant key show --for-query-server FILE` on the server that takes rows in"
    )]
    RemoteKey {
        /// Name of the key that it is sealed with.
        known: String,
        /// What was given.
        given: String,
    },
    /// The lake keeps no table of this name.
    #[error("the lake has no table `{table}`")]
    UnknownTable {
        /// The name asked for.
        table: String,
    },
    /// The table has no column of this name.
    #[error("table `{table}` has no column `{column}`")]
    UnknownColumn {
        /// Table.
        table: String,
        /// Column asked for.
        column: String,
    },
    /// The batch and its header disagree, or a column has a type that the table does not know.
    #[error("batch for table `{table}` is not usable: {reason}")]
    BadBatch {
        /// Table.
        table: String,
        /// What is wrong.
        reason: String,
    },
    /// The request cannot be answered within its bounds.
    #[error("scan of table `{table}` is refused: {reason}")]
    BadRequest {
        /// Table.
        table: String,
        /// What is wrong.
        reason: String,
    },
    /// Columns could not be computed.
    #[error("cannot {step} columns of table `{table}`")]
    Columns {
        /// What was tried.
        step: &'static str,
        /// Table.
        table: String,
        /// Why it failed.
        source: arrow::error::ArrowError,
    },
    /// A Parquet file could not be read or written.
    #[error("cannot {step} Parquet file `{path}`")]
    Parquet {
        /// What was tried.
        step: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why it failed.
        source: parquet::errors::ParquetError,
    },
    /// The Delta log could not be read or written.
    #[error("cannot {step} the Delta log of table `{table}`")]
    Delta {
        /// What was tried.
        step: &'static str,
        /// Table.
        table: String,
        /// Why it failed.
        source: Box<deltalake_core::DeltaTableError>,
    },
    /// The lake's files are sealed with another key than the one given.
    #[error(
        "lake `{path}` is sealed with key `{known}` and was opened with key `{given}`; give it the tenant's own key"
    )]
    Key {
        /// The lake's root.
        path: PathBuf,
        /// Name of the key that it is sealed with.
        known: String,
        /// Name of the key that was given.
        given: String,
    },
    /// Something could not be sealed or opened.
    #[error("cannot {step} {what}")]
    Seal {
        /// What was tried.
        step: &'static str,
        /// On what.
        what: String,
    },
    /// The lake is shutting down.
    #[error("the lake is closed")]
    Closed,
}

impl LakeError {
    /// Whether the same call may succeed later without anyone changing the call.
    pub fn retry(&self) -> bool {
        match self {
            Self::Locked { .. } | Self::DiskFull { .. } | Self::Wal { .. } | Self::Io { .. } => true,
            Self::Parquet { .. } | Self::Delta { .. } | Self::Bucket { .. } => true,
            Self::BadBucket { .. } | Self::OtherWriter { .. } | Self::RemoteKey { .. } => false,
            Self::UnknownTable { .. } | Self::UnknownColumn { .. } | Self::Key { .. } | Self::Seal { .. } => false,
            Self::BadBatch { .. } | Self::BadRequest { .. } | Self::Columns { .. } | Self::Closed => false,
        }
    }

    /// Whether the cause is a full disk, a quota or a file-size limit.
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::DiskFull { .. } => true,
            Self::Wal { source, .. } | Self::Io { source, .. } => is_no_space(source),
            _ => false,
        }
    }

    pub(crate) fn io(step: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { step, path, source }
    }
}

pub(crate) fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}
