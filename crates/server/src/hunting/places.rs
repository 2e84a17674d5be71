//! Where addresses are, from a database that the operator supplies (MMDB, city edition or a poorer one).

use anyhow::Context as _;
use garrison_kql::functions::{Place, Places};
use maxminddb::{Reader, geoip2};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

struct Database(Reader<Vec<u8>>);

impl Places for Database {
    fn place(&self, address: IpAddr) -> Option<Place> {
        // A damaged record is like none: a query must not fail on it.
        let city: geoip2::City<'_> = self.0.lookup(address).ok()?.decode().ok()??;
        let text = |name: Option<&str>| name.map(str::to_owned);
        Some(Place {
            country: text(city.country.names.english),
            state: text(city.subdivisions.first().and_then(|part| part.names.english)),
            city: text(city.city.names.english),
            latitude: city.location.latitude,
            longitude: city.location.longitude,
        })
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("kind", &self.0.metadata().database_type).finish_non_exhaustive()
    }
}

/// Opens the database.
pub(super) fn open(path: &Path) -> anyhow::Result<Arc<dyn Places>> {
    let database = Reader::open_readfile(path)
        .with_context(|| format!("cannot read the database of places `{}`", path.display()))?;
    Ok(Arc::new(Database(database)))
}
