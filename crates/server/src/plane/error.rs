//! What can go wrong in the cloud plane; the API's table gives each a status and words.

use crate::db::DbError;
use garrison_model::{Geography, OverrideRefused, ResourceId};

/// Why a request on the cloud plane was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum PlaneError {
    /// No such thing in this tenant.
    #[error("there is no {0} with this id")]
    Unknown(&'static str),
    /// No such resource group in the subscription.
    #[error("there is no resource group `{0}` in the subscription")]
    GroupUnknown(String),
    /// The geography of a tenant never changes.
    #[error(
        "the tenant's geography is {has} for good and cannot become {asked}: its data would have to leave the place \
         that was promised for it"
    )]
    GeographyFixed {
        /// Where it is.
        has: Geography,
        /// What was asked.
        asked: Geography,
    },
    /// The configuration would move a tenant's data.
    #[error(
        "the configuration does not fit the tenant `{tenant}`: {what}; its data would be left behind or moved. What to \
         do: put the configuration back as it was, or destroy the tenant's data and begin anew with `garrison tenant reset`"
    )]
    GeographyMoved {
        /// Which tenant.
        tenant: String,
        /// What differs.
        what: String,
    },
    /// Control data of two geographies would lie in one database.
    #[error(
        "the server's database holds control data of {has}, and that of {asked} may not lie with it; give \
         `geographies.{asked}.database` in the configuration"
    )]
    TwoGeographies {
        /// Of which it holds data.
        has: Geography,
        /// What was asked.
        asked: Geography,
    },
    /// A geography has a database of its own, and the tenant has begun elsewhere.
    #[error(
        "{geography} keeps control data in a database of its own, and that of tenant `{tenant}` has begun in the \
         server's; set `tenant.geography = \"{geography}\"` in the configuration of a new server, or take \
         `geographies.{geography}.database` out"
    )]
    Database {
        /// Which geography.
        geography: Geography,
        /// Whose.
        tenant: String,
    },
    /// A geography that is not configured.
    #[error("there is no geography `{asked}`; there are {known}")]
    GeographyUnknown {
        /// What was asked.
        asked: String,
        /// Those that exist.
        known: String,
    },
    /// A location that lies in no geography.
    #[error(
        "the location `{location}` lies in no geography of this server, and the tenant has none yet; there are {known}. \
         Name a location of one of them (`garrison tenant geographies`), list this one in `geographies.CODE.locations`, \
         or set `tenant.geography`"
    )]
    Location {
        /// What was given.
        location: String,
        /// Geographies that exist.
        known: String,
    },
    /// Plan 2 on a single machine.
    #[error(transparent)]
    PlanScope(#[from] OverrideRefused),
    /// A plan cannot be set for a resource group as such.
    #[error("a plan is set on a subscription or on machines; for a resource group use a bulk change")]
    PlanOnGroup,
    /// Something else has this name.
    #[error("`{0}` is another machine")]
    NameTaken(ResourceId),
    /// Another subscription has this name.
    #[error("there is a subscription `{0}` already; to have two of one name, give the second an id of its own")]
    SubscriptionNamed(String),
    /// It is there already.
    #[error("the {0} is there already")]
    Exists(&'static str),
    /// Something is in it still.
    #[error("the {what} holds {count} machine(s) still")]
    NotEmpty {
        /// What.
        what: &'static str,
        /// How many.
        count: i64,
    },
    /// A value is not usable; our own words.
    #[error("{0}")]
    Value(String),
    /// A bound is reached.
    #[error("there are {max} {what} already, no more are kept")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        max: i64,
    },
    /// The preview that a bulk change refers to shows something else than would happen now.
    #[error("the machines have changed since the preview")]
    PreviewStale,
    /// A fleet file has problems.
    #[error("the fleet file has {} problem(s): {}", .0.len(), .0.join("; "))]
    FleetFile(Vec<String>),
    /// What is stored cannot be read.
    #[error("a stored {what} cannot be read: {why}")]
    Stored {
        /// What.
        what: &'static str,
        /// Why.
        why: String,
    },
    /// The database failed.
    #[error("the database failed")]
    Db(#[from] sqlx::Error),
    /// A transaction failed.
    #[error(transparent)]
    Write(#[from] DbError),
}

impl PlaneError {
    /// For what is stored and does not read back.
    pub(super) fn stored<E: std::fmt::Display>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |why| Self::Stored { what, why: why.to_string() }
    }
}
