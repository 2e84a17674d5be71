//! Points in time as the tables hold them.

use serde::{Deserialize, Serialize};

/// Microseconds since 1970-01-01 UTC, as the lake and the control database store every time. On the wire of the HTTP
/// API the same value is an RFC 3339 text in UTC; the API layer converts, this crate has no calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Micros(pub i64);

impl Micros {
    /// Saturating difference in milliseconds, negative if `earlier` is later.
    pub fn millis_since(self, earlier: Micros) -> i64 {
        self.0.saturating_sub(earlier.0) / 1_000
    }
}
