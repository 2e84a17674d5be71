//! The server of Garrison: gateway for sensors, ingest into the lake, detection, incidents, the HTTP API and the
//! console, and the operator's command line.
//!
//! Each room is a vertical slice: its types, its rules, its SQL. A room's database tables carry the room's name as
//! prefix and only that room names them; rooms meet through public functions. [`serve`] puts them together.

pub mod access;
pub mod api;
pub mod central;
pub mod cli;
pub mod config;
pub mod connect;
pub mod console;
pub mod db;
pub mod detection;
pub mod exports;
pub mod fleet;
pub mod gateway;
pub mod health;
pub mod hunting;
pub mod identity;
pub mod incidents;
pub mod ingest;
pub mod metering;
pub mod metrics;
pub mod plane;
pub mod reach;
pub mod recommend;
pub mod reset;
pub mod rest;
pub mod retention;
pub mod serve;
pub mod shared;

pub use shared::{Shared, now};
