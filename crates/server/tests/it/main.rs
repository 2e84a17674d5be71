//! Tests of the whole server through its real doors.

#![allow(clippy::unwrap_used)]

mod core_crash;
mod core_identity;
mod core_postgres;
mod core_sessions;
mod hunting;
mod hunting_language;
mod sigma_plan;
