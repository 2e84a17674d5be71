//! The gateway: where sensors connect. gRPC over HTTP/2 with TLS 1.3; who a sensor is comes from its certificate.
//!
//! One connection is one task, one session is one future within it: no channel and no task of its own, so that ten
//! thousand idle sensors cost little. HTTP/2 windows hold what a sensor may have in our buffers.

mod connectors;
mod frames;
mod listener;
mod service;
mod session;
mod wires;

pub use listener::{Gateway, GatewayParts};
pub use wires::Wires;
