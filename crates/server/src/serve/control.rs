//! Where a tenant's control data lies, and opening it there.
//!
//! | server | tenant | database |
//! |---|---|---|
//! | SQLite | any | `control.db` in the tenant's folder under the control root of its geography |
//! | any | in a geography that names a `database` | that one |
//! | PostgreSQL | any other | the server's own, which holds tenants of one geography only |
//!
//! The server's own database has what is the operator's: people and their sessions, roles, the audit log, the list of
//! tenants. Older versions had everything there; rows of tenants go to their geography at the first start of this one.

use super::house::Ground;
use crate::config::Role;
use crate::db::{Db, Dialect, rows};
use crate::plane::geographies::GeographySettings;
use crate::rest::{Place, server_columns};
use anyhow::Context as _;
use garrison_model::TenantId;
use std::collections::HashMap;

/// Databases of geographies that are open, by address: their tenants share one.
pub(super) type Controls = tokio::sync::Mutex<HashMap<String, Db>>;

/// Opens the control database of a tenant, once its folders are there.
pub(super) async fn open(
    ground: &Ground,
    tenant: &TenantId,
    geography: Option<&GeographySettings>,
    place: &Place,
) -> anyhow::Result<Db> {
    let (config, own) = (&ground.config, &ground.db);
    if config.role == Role::Query {
        return Ok(own.clone());
    }
    let db = match geography.and_then(|g| g.database.as_ref()) {
        Some(url) => {
            anyhow::ensure!(
                !rows::any(own, tenant).await?,
                "the geography of tenant `{tenant}` names a database, and the tenant's control data lies in the server's; \
                 take `database` out of the section again"
            );
            of_geography(ground, url).await?
        }
        None if config.database_url.is_some() => return Ok(own.clone()),
        None => in_folder(ground, tenant, place).await?,
    };
    let plane = ground.plane.over(&db);
    if ground.plane.tenant_settled(tenant).await? {
        let found = plane.tenant_at_home(tenant).await?;
        anyhow::ensure!(found, "{}", lost(tenant, geography, place));
    }
    plane.tenant_list_keep(tenant).await?;
    Ok(db)
}

fn lost(tenant: &TenantId, geography: Option<&GeographySettings>, place: &Place) -> String {
    let place = match geography.and_then(|g| g.database.as_ref()) {
        Some(_) => "the database of its geography".to_owned(),
        None => format!("`{}`", place.database().display()),
    };
    format!(
        "control data of tenant `{tenant}` is not in {place}, where it was; mount the disk or restore the backup: the \
         server does not begin it anew"
    )
}

async fn of_geography(ground: &Ground, url: &str) -> anyhow::Result<Db> {
    let mut open = ground.controls.lock().await;
    if let Some(db) = open.get(url) {
        return Ok(db.clone());
    }
    // The address may hold a password: it is not told.
    let db = Db::open(url).await.context("cannot open the database of a geography")?;
    seal(ground, &db).await?;
    open.insert(url.to_owned(), db.clone());
    Ok(db)
}

async fn in_folder(ground: &Ground, tenant: &TenantId, place: &Place) -> anyhow::Result<Db> {
    let (own, path) = (&ground.db, place.database());
    let is_there = path.try_exists()?;
    if !is_there && ground.plane.tenant_settled(tenant).await? {
        anyhow::bail!(lost(tenant, None, place));
    }
    super::private_folder(place.control())?;
    let left = own.dialect() == Dialect::Sqlite && rows::any(own, tenant).await?;
    if left && !is_there {
        rows::copy(own, tenant, &path).await?;
        tracing::info!(%tenant, "control data went from the server's database to its geography");
    }
    let db = Db::open_file(&path).await?;
    seal(ground, &db).await?;
    if left {
        // Copied whole, now or before a stop.
        rows::shut_out(own, tenant).await?;
        rows::erase(own, tenant).await?;
        own.seal_forget(tenant).await?;
    }
    Ok(db)
}

/// The server's own columns in a tenant's database: names of tokens, and who made the tenant.
async fn seal(ground: &Ground, db: &Db) -> anyhow::Result<()> {
    db.seal_with(None, server_columns(&ground.data, ground.config.encryption)?).await?;
    Ok(())
}
