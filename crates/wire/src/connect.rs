//! The wire between connector and server: messages, tokens, signed orders, the connector's side of the conversation as
//! a pure state machine, and what an identity is bound to.

pub mod binding;
pub mod order;
pub mod package;
pub mod remedy;
mod session;
pub mod token;

pub use session::{ConnectorAction, ConnectorSession, Occasion};

/// Messages and services generated from `schema/proto`.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod v1 {
    tonic::include_proto!("garrison.connect.v1");
}

/// Largest message of a connector or to one: facts of a machine, or a piece of a package.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Bytes of a package in one message: few round trips, little memory on either side.
pub const CHUNK_BYTES: usize = 128 << 10;
