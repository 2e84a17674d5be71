//! The two halves of a session as pure state machines: they take time and frames, and return actions.

#[cfg(feature = "gateway")]
mod gateway;
mod sensor;

#[cfg(feature = "gateway")]
pub use gateway::{GatewayAction, GatewayLimits, GatewaySession, StoreResult};
pub use sensor::{SensorAction, SensorSession};

#[cfg(test)]
#[cfg(feature = "gateway")]
mod tests;
