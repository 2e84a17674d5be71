//! What one device may write: rows and bytes a second (token buckets), new boots an hour.

use crate::config::Limits;
use garrison_model::{BootId, DeviceId, Micros};
use garrison_telemetry::BatchHeader;
use lru::LruCache;
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Devices remembered; one that was pushed out starts with a full bucket, which it would have by then anyway.
const DEVICES_MAX: NonZeroUsize = NonZeroUsize::new(65_536).expect("not zero");
/// Boots remembered a device.
const BOOTS_MAX: usize = 8;

#[derive(Debug)]
struct Bucket {
    level: f64,
    at: Micros,
}

impl Bucket {
    fn full(burst: f64, now: Micros) -> Self {
        Self { level: burst, at: now }
    }

    fn refill(&mut self, rate: f64, burst: f64, now: Micros) {
        let seconds = now.0.saturating_sub(self.at.0).max(0) as f64 / 1e6;
        self.level = (self.level + rate * seconds).min(burst);
        self.at = self.at.max(now);
    }
}

#[derive(Debug)]
struct Quota {
    rows: Bucket,
    bytes: Bucket,
    boots: Vec<BootId>,
    new_boots: Bucket,
}

#[derive(Debug)]
pub(super) struct Quotas {
    limits: Limits,
    devices: Mutex<LruCache<DeviceId, Quota>>,
}

impl Quotas {
    pub(super) fn new(limits: &Limits) -> Self {
        Self { limits: limits.clone(), devices: Mutex::new(LruCache::new(DEVICES_MAX)) }
    }

    /// Takes a batch off the device's share; `None` if it may go on, else why not and for how long.
    pub(super) fn take(&self, header: &BatchHeader, bytes: u64, now: Micros) -> Option<(&'static str, Duration)> {
        let l = &self.limits;
        let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        if !devices.contains(&header.device) {
            let quota = Quota {
                rows: Bucket::full(f64::from(l.device_rows_burst), now),
                bytes: Bucket::full(l.device_bytes_burst as f64, now),
                boots: Vec::new(),
                new_boots: Bucket::full(f64::from(l.device_boots_per_hour), now),
            };
            devices.put(header.device.clone(), quota);
        }
        let q = devices.get_mut(&header.device)?;
        let (rows, bytes) = (f64::from(header.row_count), bytes as f64);
        let (row_rate, byte_rate) = (f64::from(l.device_rows_per_second), l.device_bytes_per_second as f64);
        q.rows.refill(row_rate, f64::from(l.device_rows_burst), now);
        q.bytes.refill(byte_rate, l.device_bytes_burst as f64, now);
        let wait = |missing: f64, rate: f64| Duration::from_secs_f64((missing / rate).clamp(0.1, 60.0));
        if q.rows.level < rows {
            return Some(("quota_rows", wait(rows - q.rows.level, row_rate)));
        }
        if q.bytes.level < bytes {
            return Some(("quota_bytes", wait(bytes - q.bytes.level, byte_rate)));
        }
        if !q.boots.contains(&header.boot) {
            let boots = f64::from(l.device_boots_per_hour);
            q.new_boots.refill(boots / 3600.0, boots, now);
            if q.new_boots.level < 1.0 {
                return Some(("quota_boots", Duration::from_mins(10)));
            }
            q.new_boots.level -= 1.0;
            if q.boots.len() == BOOTS_MAX {
                q.boots.remove(0);
            }
            q.boots.push(header.boot.clone());
        }
        q.rows.level -= rows;
        q.bytes.level -= bytes;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(boot: u32, rows: u32) -> BatchHeader {
        BatchHeader {
            device: DeviceId::new("ab".repeat(20)).unwrap(),
            boot: BootId::new(format!("{boot:08x}-0000-4000-8000-0123456789ab")).unwrap(),
            table: "DeviceEvents".into(),
            sequence_first: 1,
            row_count: rows,
            created: Micros(0),
        }
    }

    #[test]
    fn a_device_that_writes_too_much_waits_and_then_goes_on() {
        let limits = Limits { device_rows_per_second: 100, device_rows_burst: 1_000, ..Limits::default() };
        let quotas = Quotas::new(&limits);
        assert_eq!(quotas.take(&header(1, 900), 1, Micros(0)), None);
        let (code, wait) = quotas.take(&header(1, 300), 1, Micros(0)).unwrap();
        assert_eq!((code, wait), ("quota_rows", Duration::from_secs(2)));
        assert_eq!(quotas.take(&header(1, 300), 1, Micros(2_000_000)), None);
    }

    #[test]
    fn a_device_that_invents_boots_is_held() {
        let quotas = Quotas::new(&Limits { device_boots_per_hour: 3, ..Limits::default() });
        let answers: Vec<_> = (0..5).map(|boot| quotas.take(&header(boot, 1), 1, Micros(0)).is_none()).collect();
        assert_eq!(answers, [true, true, true, false, false]);
        assert_eq!(quotas.take(&header(1, 1), 1, Micros(0)), None);
    }
}
