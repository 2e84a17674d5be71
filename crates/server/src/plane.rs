//! The cloud plane: tenants and their geographies, subscriptions, resource groups, machines, plans, exclusions.
//!
//! Rules are pure and live in `garrison_model` (`resource`, `plan`, `machine`); this room keeps what was decided. Every
//! function takes the tenant; what belongs to another tenant is not found. Changes go through one door, [`Change`]: one
//! transaction, one audit line a change, so that a fleet file is applied whole or not at all.

mod bought;
mod coverage;
mod error;
mod exclusions;
pub mod fleet_file;
pub mod geographies;
pub mod leaving;
mod machines;
mod places;
mod plans;
mod select;
mod sight;
mod subscriptions;
mod tenants;

pub use coverage::{Component, Coverage, CoverageSubscription};
pub use error::PlaneError;
pub use exclusions::{Exclusion, ExclusionNew};
pub use geographies::Geographies;
pub use machines::{ExtensionReport, Heartbeat, MachineConnect, MachineConnected, MachineFilter};
pub use places::Place;
pub use plans::{FeatureLine, PlanLine};
pub use select::{BulkChange, BulkPreview, Selector};
pub use sight::{Desired, Sight, sensor_wanted};
pub use subscriptions::SubscriptionNew;

use crate::db::{Db, WriteTx, columns};
use garrison_model::{Micros, TenantId};
use sqlx::AnyConnection;
use std::sync::atomic::{AtomicU64, Ordering};

/// The room.
#[derive(Debug)]
pub struct Plane {
    db: Db,
    /// The server's own database, where the list of its tenants is, if control data of this tenant lies elsewhere.
    list: Option<Db>,
    geographies: Geographies,
    /// Changes that were committed by this process, heartbeats left out.
    revision: AtomicU64,
    bought: bought::Book,
}

/// A change of control data: everything asked of it happens when it is committed, or nothing does.
#[derive(Debug)]
pub struct Change<'a> {
    plane: &'a Plane,
    tenant: &'a TenantId,
    who: &'a str,
    now: Micros,
    tx: WriteTx,
    /// What was done so far, as the audit has it.
    lines: Vec<fleet_file::ChangeLine>,
    /// Whether it makes the tenant.
    makes: bool,
}

impl Plane {
    /// Opens the room; refuses a configuration that would move a tenant's data.
    pub async fn open(db: Db, geographies: Geographies) -> Result<Self, PlaneError> {
        let plane = Self { db, list: None, geographies, revision: AtomicU64::new(0), bought: bought::Book::default() };
        plane.tenants_check().await?;
        Ok(plane)
    }

    /// The same rules over a tenant's own database; `self` is over the server's, which keeps the list of tenants.
    pub fn over(&self, control: &Db) -> Self {
        let (db, list) = (control.clone(), (!control.is(&self.db)).then(|| self.db.clone()));
        Self {
            db,
            list,
            geographies: self.geographies.clone(),
            revision: AtomicU64::new(0),
            bought: bought::Book::default(),
        }
    }

    /// The geographies of this server.
    pub fn geographies(&self) -> &Geographies {
        &self.geographies
    }

    /// Grows with every change that this process commits, heartbeats left out.
    pub fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }

    /// Begins a change. Keep it short: on SQLite all other writers wait.
    pub async fn change<'a>(
        &'a self,
        tenant: &'a TenantId,
        who: &'a str,
        now: Micros,
    ) -> Result<Change<'a>, PlaneError> {
        Ok(Change { plane: self, tenant, who, now, tx: self.db.write().await?, lines: Vec::new(), makes: false })
    }
}

impl Change<'_> {
    /// What the tenant's columns are sealed with.
    fn seal(&self) -> crate::db::Sealer {
        self.plane.db.seal(self.tenant)
    }

    /// For another room's statement that belongs to this change.
    pub(crate) fn conn(&mut self) -> &mut AnyConnection {
        self.tx.conn()
    }

    /// Makes it so.
    pub async fn commit(self) -> Result<(), PlaneError> {
        let (plane, is_news, made) = (self.plane, !self.lines.is_empty(), self.makes.then(|| self.tenant.clone()));
        self.tx.commit().await?;
        if let Some(tenant) = made
            && let Err(error) = plane.tenant_list_keep(&tenant).await
        {
            // The tenant is made; the list has it at the next start.
            tracing::error!(error = &error as &dyn std::error::Error, %tenant, "the list of tenants was not written");
        }
        if is_news {
            plane.revision.fetch_add(1, Ordering::Release);
        }
        Ok(())
    }

    async fn audit(
        &mut self,
        target: &str,
        what: &str,
        old: Option<String>,
        new: Option<String>,
    ) -> Result<(), PlaneError> {
        self.lines.push(fleet_file::ChangeLine {
            target: target.to_owned(),
            what: what.to_owned(),
            old: old.clone(),
            new: new.clone(),
        });
        let seal = self.seal();
        sqlx::query(
            "INSERT INTO plane_audit (tenant_id, target, who, at, what, old, new) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(self.tenant.as_str())
        .bind(target.to_owned())
        .bind(seal.put(columns::PLANE_AUDIT_WHO, self.who)?)
        .bind(self.now.0)
        .bind(what.to_owned())
        .bind(seal.put_maybe(columns::PLANE_AUDIT_OLD, old.as_deref())?)
        .bind(seal.put_maybe(columns::PLANE_AUDIT_NEW, new.as_deref())?)
        .execute(self.tx.conn())
        .await?;
        Ok(())
    }
}

/// A random guid.
fn guid() -> u128 {
    uuid::Uuid::new_v4().as_u128()
}
