//! The sensor: what runs on a protected machine.

pub mod observe;
