//! What can go wrong with a case; the API's table gives each a status and words.

use garrison_model::{Classification, Determination, IncidentId};

/// Why a request on an alert or incident was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    /// No such alert.
    #[error("there is no alert with this id")]
    AlertUnknown,
    /// No such incident.
    #[error("there is no incident {0}")]
    IncidentUnknown(IncidentId),
    /// No such suppression.
    #[error("there is no suppression rule with this id")]
    SuppressionUnknown,
    /// A status that is none, or cannot be set by hand.
    #[error("`{0}` is not a status that can be set here")]
    Status(String),
    /// A determination without, or against, the classification.
    #[error("determination `{determination}` does not go with {}", .classification.map_or("a missing classification".to_owned(), |c| format!("classification `{c}`")))]
    Determination {
        /// What was asked.
        determination: Determination,
        /// The classification it would stand beside.
        classification: Option<Classification>,
    },
    /// Empty or too long.
    #[error("{what} must have between 1 and {max} characters")]
    Text {
        /// Which text.
        what: &'static str,
        /// Most characters.
        max: usize,
    },
    /// Only incidents have titles and tags.
    #[error("`{0}` can only be set on an incident")]
    IncidentOnly(&'static str),
    /// More tags than allowed.
    #[error("an incident has at most {0} tags")]
    TooManyTags(usize),
    /// The incident was merged away.
    #[error("incident {0} was merged into incident {1}")]
    Redirected(IncidentId, IncidentId),
    /// The incidents may not become one.
    #[error("incidents {from} and {into} cannot be merged: {why}")]
    Merge {
        /// Source.
        from: IncidentId,
        /// Target.
        into: IncidentId,
        /// Which condition fails.
        why: &'static str,
    },
    /// No room for more alerts.
    #[error("incident {0} has no room: an incident has at most {1} alerts")]
    Full(IncidentId, usize),
    /// A suppression's scope.
    #[error(transparent)]
    Scope(#[from] crate::detection::suppression::ScopeError),
    /// A moment in the past.
    #[error("the end of a suppression must lie in the future")]
    Expiry,
    /// A search would open more rows than one request may.
    #[error(
        "a search looks at up to {} rows, and there are more here; narrow it with `since`, `status`, `severity` or \
         `device`",
        super::search::SEARCHED_MAX
    )]
    SearchTooWide,
    /// What is stored cannot be read; damage or a newer program's work.
    #[error("cannot read what is stored of {what}")]
    Stored {
        /// Of what.
        what: String,
        /// Cause.
        #[source]
        source: serde_json::Error,
    },
    /// The database.
    #[error("the case database failed")]
    Db(#[from] sqlx::Error),
    /// The database layer.
    #[error("the case database cannot be written")]
    Write(#[from] crate::db::DbError),
}
