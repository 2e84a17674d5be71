//! Alerts and incidents: taking in what detection found, correlation, the work of analysts, and the record of it.
//!
//! Every change goes through one writer at a time and one database transaction, so that two alerts of one attack that
//! arrive together cannot open two incidents, and a crash leaves either all of a change or none of it.

pub mod correlate;
pub mod error;
pub mod expire;
pub mod link;
pub mod list;
pub mod merge;
pub mod record;
mod search;
pub mod story;
pub mod suppressions;
pub mod take;
pub mod update;

pub use error::CaseError;
pub use list::{AlertFilter, IncidentFilter};
pub use take::{AlertDraft, MatchedRow, Taken};

use crate::db::Sealer;
use crate::shared::Shared;
use garrison_model::{Alert, IncidentSummary, TenantId};
use std::sync::Arc;
use tokio::sync::{Mutex, broadcast};

/// Changes kept for listeners that lag: about a minute of a bad day; who lags more reads the lists again.
const CHANGES_MAX: usize = 1_024;

/// What changed, for live views.
#[derive(Debug, Clone)]
pub enum CaseChange {
    /// A new or changed alert, without its matches.
    Alert(Arc<Alert>),
    /// A new or changed incident.
    Incident(Arc<IncidentSummary>),
}

/// The room.
#[derive(Debug)]
pub struct Incidents {
    pub(crate) shared: Arc<Shared>,
    /// Held over read-decide-write of correlation; the database alone would let two decisions miss each other.
    pub(crate) writer: Mutex<()>,
    changes: broadcast::Sender<CaseChange>,
}

impl Incidents {
    /// Opens the room.
    pub async fn start(shared: &Arc<Shared>) -> anyhow::Result<Arc<Self>> {
        let (changes, _) = broadcast::channel(CHANGES_MAX);
        Ok(Arc::new(Self { shared: Arc::clone(shared), writer: Mutex::new(()), changes }))
    }

    /// Hears of changes from now on.
    pub fn changes(&self) -> broadcast::Receiver<CaseChange> {
        self.changes.subscribe()
    }

    pub(crate) fn tell(&self, change: CaseChange) {
        // Nobody listening is no error.
        let _ = self.changes.send(change);
    }

    pub(crate) fn tenant(&self) -> &TenantId {
        &self.shared.tenant
    }

    /// What the tenant's columns are sealed with.
    pub(crate) fn seal(&self) -> Sealer {
        self.shared.db.seal(self.tenant())
    }
}
