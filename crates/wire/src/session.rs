//! The two halves of a session as pure state machines: they take time and frames, and return actions.

mod gateway;
mod sensor;

pub use gateway::{GatewayAction, GatewayLimits, GatewaySession, StoreResult};
pub use sensor::{SensorAction, SensorSession};

#[cfg(test)]
mod tests;
