//! Ways to machines that have no connector yet: SSH from the server, and the inventory of a cloud.
//!
//! [`vault`] keeps the secrets, [`hosts`] the keys that hosts have shown, [`ssh`] carries the connector to one host.
//! [`sources`] are orders for a cloud that stand, [`rounds`] works on them.
//! A run over many hosts is kept in memory with what became of each; a server that starts anew has forgotten it, and the
//! machines that were connected are among the machines all the same.

pub mod address;
pub mod aws;
pub mod cloud;
mod hosts;
mod listing;
mod rounds;
mod sources;
mod ssh;
mod store;
pub mod vault;
mod work;

pub use cloud::CloudKind;
pub use hosts::HostKey;
pub use listing::{AwsEnrol, AwsOrder};
pub use sources::{
    InstanceState, InstanceView, Source, SourceChange, SourceCounts, SourceDetail, SourceNew, SourceOutcome,
};
pub use ssh::Outcome;
pub use vault::{SecretKind, SecretRecord};
pub use work::{HostState, HostView, RunView, SshOrder};

use crate::connect::Connect;
use crate::db::DbError;
use crate::shared::Shared;
use garrison_model::Micros;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Something about reaching machines failed.
#[derive(Debug, thiserror::Error)]
pub enum ReachError {
    /// There is no such thing.
    #[error("there is no such {0}")]
    Unknown(&'static str),
    /// A value is not usable; our own words.
    #[error("{0}")]
    Value(String),
    /// There is such a thing already.
    #[error("{0}")]
    Exists(String),
    /// Another source takes the same machines in.
    #[error("source `{0}` takes the same machines in already; remove it first")]
    Taken(String),
    /// A source rests.
    #[error("the source `{0}` is switched off")]
    Resting(String),
    /// A secret cannot be opened with the data folder's key.
    #[error("secret `{0}` was sealed with another key than the data folder's")]
    Sealed(String),
    /// The vault's key.
    #[error("cannot {step} the vault's key")]
    Key {
        /// What was tried.
        step: &'static str,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The system gives no random numbers, or the cipher fails.
    #[error("a secret cannot be sealed")]
    Cipher,
    /// Connectors refuse.
    #[error(transparent)]
    Connect(#[from] crate::connect::ConnectError),
    /// The plane refuses.
    #[error(transparent)]
    Plane(#[from] crate::plane::PlaneError),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<sqlx::Error> for ReachError {
    fn from(source: sqlx::Error) -> Self {
        Self::Db(source.into())
    }
}

/// The room.
pub struct Reach {
    shared: Arc<Shared>,
    connect: Arc<Connect>,
    clock: Arc<dyn Fn() -> Micros + Send + Sync>,
    /// Names this room where it holds a source.
    holder: String,
    runs: Mutex<VecDeque<Arc<work::Run>>>,
}

impl std::fmt::Debug for Reach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reach").finish_non_exhaustive()
    }
}

impl Reach {
    /// Over the rooms that it asks.
    pub fn new(
        shared: &Arc<Shared>,
        connect: &Arc<Connect>,
        clock: Arc<dyn Fn() -> Micros + Send + Sync>,
    ) -> Arc<Self> {
        let (shared, connect) = (Arc::clone(shared), Arc::clone(connect));
        Arc::new(Self { shared, connect, clock, holder: uuid::Uuid::new_v4().to_string(), runs: Mutex::default() })
    }

    fn now(&self) -> Micros {
        (self.clock)()
    }

    fn tenant(&self) -> String {
        self.shared.tenant.as_str().to_owned()
    }

    /// What the tenant's columns are sealed with.
    fn seal(&self) -> crate::db::Sealer {
        self.shared.db.seal(&self.shared.tenant)
    }

    fn runs(&self) -> MutexGuard<'_, VecDeque<Arc<work::Run>>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
