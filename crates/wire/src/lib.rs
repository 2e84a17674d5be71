//! The wire between sensor and server: protobuf messages over gRPC with mutual TLS 1.3, the two halves of a session as
//! pure state machines, enrolment tokens, certificates, and signed content.
//!
//! The state machines take `now` and frames and return actions; sockets and clocks are their callers'. The only code
//! here that opens a connection is [`tls::connect`].

pub mod backoff;
pub mod connect;
pub mod content;
pub mod identity;
pub mod session;
pub mod tls;
pub mod token;

/// Messages and services generated from `schema/proto`.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod v1 {
    tonic::include_proto!("garrison.wire.v1");
}

/// Version of the session protocol that this build speaks.
pub const PROTOCOL: u32 = 1;

/// Largest gRPC message either side takes: a batch of at most 16 MiB encoded, or a content bundle, and its frame.
pub const MESSAGE_BYTES_MAX: usize = 24 << 20;
