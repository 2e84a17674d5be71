//! Tests of the whole server through its real doors.

mod core_crash;
mod core_identity;
mod core_postgres;
mod core_sessions;
