//! Live sessions: one a device, the newest wins; a revocation ends it at once.

use super::record::{Entry, Facts, bounded, bounded_list, sight_from_claims};
use super::{Fleet, store};
use crate::db::DbError;
use garrison_model::{DeviceId, Micros};
use garrison_wire::identity::{DEVICE_VALIDITY, PeerIdentity};
use garrison_wire::v1;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::watch;

/// What a session is told from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Go on.
    Run,
    /// The device was revoked.
    Revoked,
    /// The device has opened another session.
    Superseded,
}

/// A device may not open a session.
#[derive(Debug, thiserror::Error)]
pub enum Denied {
    /// Revoked, or of another tenant.
    #[error("the device is revoked")]
    Revoked,
    /// The server failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

#[derive(Debug)]
pub(super) struct Live {
    number: u64,
    pub(super) control: watch::Sender<Control>,
}

/// A session that the fleet knows of, until it is dropped.
#[derive(Debug)]
pub struct SessionGuard {
    fleet: Arc<Fleet>,
    device: DeviceId,
    number: u64,
    /// Changes when the session is to end.
    pub control: watch::Receiver<Control>,
}

static NUMBER: AtomicU64 = AtomicU64::new(1);

impl Drop for SessionGuard {
    fn drop(&mut self) {
        self.fleet.connected.fetch_sub(1, Ordering::Relaxed);
        if let Some(e) = self.fleet.devices().get_mut(&self.device)
            && e.live.as_ref().is_some_and(|l| l.number == self.number)
        {
            e.live = None;
        }
    }
}

impl Fleet {
    /// Makes sure that the device of a verified certificate is known. Our CA signed it, so the device was enrolled; if
    /// the database does not know it, a power cut took its last commits or a backup was restored, and it is taken in
    /// again; but not where the tenant was reset after the certificate was issued.
    pub(super) async fn adopt(&self, peer: &PeerIdentity, ip: Option<IpAddr>, now: Micros) -> Result<(), Denied> {
        if peer.tenant != self.tenant {
            return Err(Denied::Revoked);
        }
        match self.devices().get(&peer.device).map(|e| e.record.revoked) {
            Some(true) => return Err(Denied::Revoked),
            Some(false) => return Ok(()),
            None => {}
        }
        // A certificate does not say when it was issued, but all last equally long.
        let lasts = i64::try_from(DEVICE_VALIDITY.as_secs()).unwrap_or(i64::MAX);
        if peer.not_after.saturating_sub(lasts) <= self.cutoff.0 / 1_000_000 {
            return Err(Denied::Revoked);
        }
        let record = self.new_record(peer.device.clone(), ip, now);
        let mut tx = self.db.write().await?;
        store::insert(tx.conn(), &self.db.seal(&record.tenant), &record).await?;
        tx.commit().await?;
        self.devices().entry(peer.device.clone()).or_insert_with(|| Entry::new(record));
        Ok(())
    }

    /// Opens a session; an older one of the same device is told to end.
    pub async fn session_open(
        self: &Arc<Self>,
        peer: &PeerIdentity,
        ip: IpAddr,
        now: Micros,
    ) -> Result<SessionGuard, Denied> {
        self.adopt(peer, Some(ip), now).await?;
        let (sender, control) = watch::channel(Control::Run);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        {
            let mut devices = self.devices();
            let Some(e) = devices.get_mut(&peer.device) else { return Err(Denied::Revoked) };
            // Looked at again under the lock: a revocation may have come in between.
            if e.record.revoked {
                return Err(Denied::Revoked);
            }
            e.end_session(Control::Superseded);
            e.live = Some(Live { number, control: sender });
            e.record.last_ip = Some(ip.to_string());
            e.record.last_seen = e.record.last_seen.max(now);
            e.dirty = true;
        }
        self.connected.fetch_add(1, Ordering::Relaxed);
        Ok(SessionGuard { fleet: Arc::clone(self), device: peer.device.clone(), number, control })
    }

    /// Notes what a sensor says when it greets.
    pub fn greeted(&self, device: &DeviceId, hello: v1::Hello, now: Micros) {
        if let Some(e) = self.devices().get_mut(device) {
            let facts = Facts::from_claims(hello.host);
            // Hardware and machine id stay as enrolled: another value is a clone, not news.
            let (hardware_uuid, machine_id) = (e.record.facts.hardware_uuid.clone(), e.record.facts.machine_id.clone());
            if !facts.host_name.is_empty() {
                let fresh = hardware_uuid.is_empty() && machine_id.is_empty();
                e.name = Arc::from(facts.host_name.as_str());
                e.record.facts = if fresh { facts } else { Facts { hardware_uuid, machine_id, ..facts } };
            }
            e.record.sensor_version = bounded(&hello.sensor_version, 40);
            e.record.content_version = bounded(&hello.content_version, 80);
            e.record.sight = sight_from_claims(hello.sight);
            e.record.last_seen = e.record.last_seen.max(now);
            e.dirty = true;
        }
        self.changed(device);
    }

    /// Notes a heartbeat.
    pub fn heartbeat(&self, device: &DeviceId, beat: v1::Heartbeat, now: Micros) {
        if let Some(e) = self.devices().get_mut(device) {
            e.skew = (beat.time > 0).then(|| beat.time.saturating_sub(now.0));
            e.record.health_issues = bounded_list(beat.health_issues, 32, 200);
            if beat.degradation > 0 {
                e.record.health_issues.push(format!("works at step {} of degradation", beat.degradation.min(100)));
            }
            if beat.sight.is_some() {
                e.record.sight = sight_from_claims(beat.sight);
            }
            e.record.last_seen = e.record.last_seen.max(now);
            e.dirty = true;
        }
    }

    /// Notes which content a sensor runs.
    pub fn content_status(&self, device: &DeviceId, status: &v1::ContentStatus) {
        if let Some(e) = self.devices().get_mut(device) {
            if status.error.is_empty() {
                e.record.content_version = bounded(&status.version, 80);
            }
            e.dirty = true;
        }
        self.changed(device);
    }
}
