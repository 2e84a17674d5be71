//! Addresses of the network, and where they are.

use super::signature::Function;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

/// Where an address is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Place {
    /// Country, in English.
    pub country: Option<String>,
    /// State or province.
    pub state: Option<String>,
    /// City.
    pub city: Option<String>,
    /// Degrees north.
    pub latitude: Option<f64>,
    /// Degrees east.
    pub longitude: Option<f64>,
}

/// Knows where addresses are; the server has one if the operator supplies a database.
pub trait Places: Send + Sync {
    /// Where an address is.
    fn place(&self, address: IpAddr) -> Option<Place>;
}

static PLACES: OnceLock<Arc<dyn Places>> = OnceLock::new();

/// Says once a process who knows where addresses are. It is the process's and not the query's, because a call must be
/// rebuilt from its name alone on whichever machine runs it. `false` if it was said before.
pub fn set_places(places: Arc<dyn Places>) -> bool {
    PLACES.set(places).is_ok()
}

pub(super) fn place_of(address: IpAddr) -> Option<Place> {
    PLACES.get()?.place(address)
}

pub(super) const FUNCTIONS: &[Function] = &[];
