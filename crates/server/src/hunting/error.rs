//! Why a query has no answer.

use garrison_kql::Diagnostic;

/// Why a query has no answer.
#[derive(Debug, thiserror::Error)]
pub enum HuntError {
    /// There is no text.
    #[error("the query is empty")]
    QueryEmpty,
    /// The text is longer than is taken.
    #[error("the query has {bytes} bytes, at most {bytes_max} are taken")]
    QueryTooLong {
        /// Bytes of the text.
        bytes: usize,
        /// Bytes taken.
        bytes_max: usize,
    },
    /// The text has errors.
    #[error("{}", first_error(.0))]
    Text(Vec<Diagnostic>),
    /// The time range cannot be read.
    #[error("the time span `{0}` is not valid")]
    Timespan(String),
    /// A limit was reached.
    #[error("{message}")]
    Quota {
        /// Which, in words.
        message: String,
        /// When to come again.
        retry_after_seconds: u64,
    },
    /// Another query runs under this id.
    #[error("a query with the id {0} is running")]
    IdTaken(uuid::Uuid),
    /// Somebody cancelled it.
    #[error("the query was cancelled")]
    Cancelled,
    /// It took too long.
    #[error("the query did not end within {seconds} seconds")]
    TimedOut {
        /// Seconds it had.
        seconds: u64,
    },
    /// It needed more memory than it may have, also with spilling.
    #[error("the query needs more memory than the {bytes_max} bytes that it may have")]
    Memory {
        /// Bytes it may have.
        bytes_max: usize,
    },
    /// The answer is larger than may be sent.
    #[error("the answer is larger than {bytes_max} bytes")]
    ResultTooLarge {
        /// Bytes that may be sent.
        bytes_max: usize,
    },
    /// A value made it impossible to go on: a cast, an overflow. The words are the engine's and hold no rows.
    #[error("the query failed while it ran: {0}")]
    Run(String),
    /// What holds the data or runs the query does not answer.
    #[error("the query cannot run now: {0}")]
    Unreachable(String),
    /// The server has no such tenant.
    #[error("there is no such tenant")]
    TenantUnknown,
    /// There is no such saved query, or it belongs to somebody else.
    #[error("there is no saved query with this id")]
    QueryUnknown,
    /// A saved query of this name is there.
    #[error("there is a query `{0}` in this folder")]
    QueryExists(String),
    /// Only its owner or an administrator may do that.
    #[error("the query belongs to somebody else")]
    NotOwner,
    /// A name or folder cannot be used.
    #[error("{0}")]
    Invalid(String),
    /// The database.
    #[error(transparent)]
    Db(#[from] crate::db::DbError),
    /// The lake.
    #[error(transparent)]
    Lake(#[from] garrison_lake::LakeError),
    /// The engine failed where it should not.
    #[error("cannot {step} a query")]
    Engine {
        /// What was tried.
        step: &'static str,
        /// Why it failed.
        #[source]
        source: datafusion::error::DataFusionError,
    },
    /// A thread died.
    #[error("the query's task ended early")]
    Task,
}

impl From<sqlx::Error> for HuntError {
    fn from(source: sqlx::Error) -> Self {
        Self::Db(source.into())
    }
}

/// The first error in words, for one-line messages.
fn first_error(diagnostics: &[Diagnostic]) -> String {
    let worst = diagnostics.iter().max_by_key(|d| d.severity);
    let first = worst.and_then(|w| diagnostics.iter().find(|d| d.severity == w.severity));
    first.map_or_else(|| "the query has errors".to_owned(), |d| format!("{}: {}", d.code, d.message))
}

impl HuntError {
    /// Short word for the history.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::QueryEmpty | Self::QueryTooLong { .. } | Self::Text(_) => "query_not_valid",
            Self::Timespan(_) => "timespan_not_valid",
            Self::Quota { .. } => "hunting_quota",
            Self::IdTaken(_) => "exists",
            Self::Cancelled => "query_cancelled",
            Self::TimedOut { .. } => "query_timeout",
            Self::Memory { .. } => "query_memory",
            Self::ResultTooLarge { .. } => "result_too_large",
            Self::Run(_) => "query_failed",
            Self::Unreachable(_) => "query_unreachable",
            Self::TenantUnknown | Self::QueryUnknown => "not_found",
            Self::QueryExists(_) => "exists",
            Self::NotOwner => "not_allowed",
            Self::Invalid(_) => "not_valid",
            Self::Db(_) | Self::Lake(_) | Self::Engine { .. } | Self::Task => "internal",
        }
    }
}
