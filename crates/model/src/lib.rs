//! The words of Garrison: typed ids, machines, alerts, incidents, rules and the enumerations they use, each with its
//! wire spelling.
//!
//! This crate never does I/O, never reads a clock and never spawns anything; it may be used by every other crate.
//! Field names on the wire are camelCase, as in the endpoint APIs that existing clients know.

pub mod alert;
pub mod cloud;
pub mod device;
pub mod extension;
pub mod geography;
pub mod health;
pub mod id;
pub mod incident;
pub mod machine;
pub mod page;
pub mod plan;
pub mod process;
pub mod resource;
pub mod rule;
pub mod suppression;
pub mod time;
pub mod words;

pub use alert::*;
pub use cloud::*;
pub use device::*;
pub use extension::*;
pub use geography::*;
pub use health::*;
pub use id::*;
pub use incident::*;
pub use machine::*;
pub use page::*;
pub use plan::*;
pub use process::*;
pub use resource::*;
pub use rule::*;
pub use suppression::*;
pub use time::*;
pub use words::*;
