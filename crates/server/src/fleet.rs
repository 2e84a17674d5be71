//! Devices: enrolment, certificates, who is connected, health.
//!
//! What is known of every device is held in memory (about a kilobyte each) and written to the database: at once where
//! it must not be lost (enrolment, revocation, tags), and by [`Fleet::flush`] every few seconds for what ten thousand
//! sensors change all the time (last seen, counters, health).

mod enrol;
mod grouping;
mod list;
mod look;
mod record;
mod session;
mod store;

pub use enrol::{EnrolError, Enrolled};
pub use list::DeviceFilter;
pub use look::DeviceLook;
pub use record::DeviceRecord;
pub use session::{Control, Denied, SessionGuard};

use crate::db::{Db, DbError};
use garrison_model::{Device, DeviceId, Micros, SensorHealthState, TenantId};
use record::Entry;
use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::broadcast;

/// Changes that a slow listener may be behind before it misses some; it then reads the list again.
const CHANGES_MAX: usize = 1_024;

/// All devices of a server.
#[derive(Debug)]
pub struct Fleet {
    db: Db,
    tenant: TenantId,
    inactive_after: Duration,
    /// The tenant was reset then: what was issued before lets in no device that is not known.
    cutoff: Micros,
    devices: Mutex<HashMap<DeviceId, Entry>>,
    connected: AtomicUsize,
    changes: broadcast::Sender<DeviceId>,
}

impl Fleet {
    /// Reads all devices.
    pub async fn open(db: Db, tenant: TenantId, inactive_after: Duration) -> Result<Self, DbError> {
        let devices = store::load(&db, &tenant).await?.into_iter().map(|r| (r.id.clone(), Entry::new(r))).collect();
        let cutoff = store::cutoff(&db, &tenant).await?;
        Ok(Self {
            db,
            tenant,
            inactive_after,
            cutoff,
            devices: Mutex::new(devices),
            connected: AtomicUsize::new(0),
            changes: broadcast::channel(CHANGES_MAX).0,
        })
    }

    /// From now on, a certificate that was issued before this moment is worth nothing for a device that is not known.
    /// For a tenant that is reset, while no server runs: a running one has read the moment before.
    pub async fn shut_out(db: &Db, tenant: &TenantId, moment: Micros) -> Result<(), DbError> {
        store::cutoff_set(db, tenant, moment).await
    }

    /// Held for moments only, never across an await.
    fn devices(&self) -> MutexGuard<'_, HashMap<DeviceId, Entry>> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self, device: &DeviceId) {
        // Nobody listening is fine.
        let _ = self.changes.send(device.clone());
    }

    /// Tells of devices that were enrolled, came, went, changed health or tags, or were revoked.
    pub fn changes(&self) -> broadcast::Receiver<DeviceId> {
        self.changes.subscribe()
    }

    /// Sensors connected now.
    pub fn connected(&self) -> usize {
        self.connected.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Devices known.
    pub fn count(&self) -> usize {
        self.devices().len()
    }

    /// A device. Risk and alerts are filled in by whoever knows alerts.
    pub fn device(&self, id: &DeviceId) -> Option<Device> {
        let now = crate::now();
        self.devices().get(id).map(|e| e.device(now, self.inactive_after))
    }

    /// Host name of a device, as it says itself.
    pub fn device_name(&self, id: &DeviceId) -> Option<Arc<str>> {
        self.devices().get(id).map(|e| Arc::clone(&e.name))
    }

    /// The device that says it has this host name, where only one does.
    pub fn device_named(&self, name: &str) -> Option<DeviceId> {
        let devices = self.devices();
        let mut found = devices.iter().filter(|(_, e)| *e.name == *name).map(|(id, _)| id);
        found.next().filter(|_| found.next().is_none()).cloned()
    }

    /// What the device said that it is, when it was enrolled, as a binding.
    pub fn binding(&self, id: &DeviceId) -> Option<garrison_wire::connect::v1::Binding> {
        let devices = self.devices();
        let facts = &devices.get(id)?.record.facts;
        Some(garrison_wire::connect::binding::of(&facts.machine_id, &facts.hardware_uuid))
    }

    /// Whether the device may write.
    pub fn is_revoked(&self, id: &DeviceId) -> bool {
        self.devices().get(id).is_some_and(|e| e.record.revoked)
    }

    /// Counts rows that were stored and, of the ledger, rows that were lost.
    pub fn rows_stored(&self, id: &DeviceId, rows: u64, lost: u64, now: Micros) {
        if let Some(e) = self.devices().get_mut(id) {
            e.record.row_count = e.record.row_count.saturating_add(i64::try_from(rows).unwrap_or(i64::MAX));
            e.record.lost_count = e.record.lost_count.saturating_add(i64::try_from(lost).unwrap_or(i64::MAX));
            e.record.last_seen = e.record.last_seen.max(now);
            e.dirty = true;
        }
    }

    /// Replaces the tags of a device; false if there is no such device.
    pub async fn tags_set(&self, id: &DeviceId, tags: Vec<String>) -> Result<bool, DbError> {
        let tags = record::bounded_list(tags, 50, 120);
        let record = {
            let mut devices = self.devices();
            let Some(e) = devices.get_mut(id) else { return Ok(false) };
            e.record.tags = tags;
            e.record.clone()
        };
        let mut tx = self.db.write().await?;
        store::update(tx.conn(), &self.db.seal(&record.tenant), &record).await?;
        tx.commit().await?;
        self.changed(id);
        Ok(true)
    }

    /// Revokes a device for good: its live session ends at once, its certificates are worth nothing from now on. False
    /// if there is no such device.
    pub async fn revoke(&self, id: &DeviceId, reason: &str, now: Micros) -> Result<bool, DbError> {
        let record = {
            let mut devices = self.devices();
            let Some(e) = devices.get_mut(id) else { return Ok(false) };
            e.record.revoked = true;
            e.record.revoked_reason = record::bounded(reason, 500);
            e.end_session(Control::Revoked);
            e.record.clone()
        };
        let mut tx = self.db.write().await?;
        store::update(tx.conn(), &self.db.seal(&record.tenant), &record).await?;
        tx.commit().await?;
        self.db.sync().await?;
        self.changed(id);
        tracing::info!(device = %id, at = now.0, "device revoked");
        Ok(true)
    }

    /// A reconciler: writes what changed since, and tells of devices whose health is another one by now.
    pub async fn flush(&self, now: Micros) -> Result<(), DbError> {
        let (records, changed) = {
            let mut devices = self.devices();
            let mut records = Vec::new();
            let mut changed = Vec::new();
            for (id, e) in devices.iter_mut() {
                let health = e.health(now, self.inactive_after);
                if health != e.health_told {
                    e.health_told = health;
                    changed.push(id.clone());
                }
                if std::mem::take(&mut e.dirty) {
                    records.push(e.record.clone());
                }
            }
            (records, changed)
        };
        for id in &changed {
            self.changed(id);
        }
        // Chunks keep the one writer free for others in between.
        for chunk in records.chunks(500) {
            let mut tx = self.db.write().await?;
            for record in chunk {
                store::update(tx.conn(), &self.db.seal(&record.tenant), record).await?;
            }
            tx.commit().await?;
        }
        Ok(())
    }

    /// Forgets devices that are not connected and were last seen before this moment, with their certificates; how many.
    /// One that comes back must enrol anew.
    pub async fn forget_silent(&self, before: Micros) -> Result<u64, DbError> {
        let silent = |e: &Entry| e.live.is_none() && e.record.last_seen < before;
        let ids: Vec<DeviceId> = self.devices().iter().filter(|&(_, e)| silent(e)).map(|(id, _)| id.clone()).collect();
        let mut gone = 0;
        for chunk in ids.chunks(500) {
            let mut tx = self.db.write().await?;
            for id in chunk {
                // One that was seen meanwhile by another server on this database stays.
                gone += store::forget(tx.conn(), id, before).await?;
            }
            tx.commit().await?;
            let mut devices = self.devices();
            for id in chunk {
                if devices.get(id).is_some_and(silent) {
                    devices.remove(id);
                }
            }
        }
        for id in &ids {
            self.changed(id);
        }
        Ok(gone)
    }

    /// How many devices there are in each state of health.
    pub fn health_counts(&self, now: Micros) -> HashMap<SensorHealthState, usize> {
        let mut counts = HashMap::new();
        for e in self.devices().values() {
            *counts.entry(e.health(now, self.inactive_after)).or_default() += 1;
        }
        counts
    }
}
