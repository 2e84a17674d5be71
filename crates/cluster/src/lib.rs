//! Queries on many machines: Ballista's scheduler and executors with the hunting language's functions and the lake's
//! object store, and the client that sends them plans.
//!
//! ```text
//! query server: text ─▶ logical plan ─▶ physical plan ──(protobuf)──▶ scheduler ─▶ stages ─▶ executors ─▶ object store
//!                        the same code as on one machine                                        │
//!                        rows ◀──────────────────────── Arrow Flight ───────────────────────────┘
//! ```
//!
//! A plan is made where the query is asked for, by the code that plans on one machine, and travels as a *physical* plan:
//! scans name the Parquet files that the Delta log listed, so scheduler and executors read no log, know no tenant and no
//! catalogue. What they can read is what their own key to the object store lets them ([`session::OneStore`]).
//!
//! This crate never decides who may ask, and never opens a table: plans come in made.
//!
//! Ballista's ports ask nobody who he is. Whoever reaches them can run plans over everything that the executors' key
//! opens; see docs/guides/cluster.md.

pub mod client;
pub mod codec;
mod engine;
pub mod executor;
pub mod scheduler;
pub mod session;

/// The scheduler, an executor or the object store does not answer: nothing is wrong with the query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreachable(pub String);

impl From<Unreachable> for datafusion::error::DataFusionError {
    fn from(error: Unreachable) -> Self {
        Self::External(Box::new(error))
    }
}

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// An address cannot be used.
    #[error("`{address}` cannot be used as the address of the {what}: {why}")]
    Address {
        /// What was given.
        address: String,
        /// Whose it is.
        what: &'static str,
        /// Why not.
        why: String,
    },
    /// Ballista.
    #[error("cannot {step}")]
    Ballista {
        /// What was tried.
        step: &'static str,
        /// Why it failed.
        source: Box<ballista_core::error::BallistaError>,
    },
    /// The query engine.
    #[error("cannot {step}")]
    Engine {
        /// What was tried.
        step: &'static str,
        /// Why it failed.
        source: datafusion::error::DataFusionError,
    },
    /// A socket.
    #[error("cannot {step}")]
    Io {
        /// What was tried.
        step: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
}

fn ballista(step: &'static str) -> impl FnOnce(ballista_core::error::BallistaError) -> ClusterError {
    move |source| ClusterError::Ballista { step, source: Box::new(source) }
}
