//! Tests of the whole server through its real doors.

#![allow(clippy::unwrap_used)]

mod core_crash;
mod core_identity;
mod core_postgres;
mod core_sessions;
mod sigma_plan;
