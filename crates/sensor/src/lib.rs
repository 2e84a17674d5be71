//! The sensor: what runs on a protected machine.
//!
//! `observe` sees, `enrich` makes rows of the hunting tables, [`batch`] closes them into record batches, `detect` runs
//! the rules on them, `spool` keeps them on disk with their sequence numbers, `uplink` brings them to the server;
//! `policy` says how, within which bounds. [`run`] is all of it.
//!
//! This crate never listens on the network, never takes a command from it that is not a signed content bundle, and
//! never writes outside its state and run folders.

pub mod batch;
pub mod cli;
pub mod control;
pub mod detect;
pub mod enrich;
pub mod observe;
pub mod pipeline;
pub mod policy;
pub mod spool;
pub mod status;
pub mod uplink;

pub use pipeline::{RunError, RunSettings, run};
