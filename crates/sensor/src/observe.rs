//! Seeing what happens on this machine.
//!
//! `Observer::start` loads what the kernel lets it load, names what it cannot see, and hands [`Observation`]s to
//! whoever polls. This room never writes to the system it watches, never makes hunting-table rows, and never keeps a
//! process table: it says what the kernel said, once, in order.

pub mod clock;
pub mod event;

pub use event::*;
