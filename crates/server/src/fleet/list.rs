//! Lists of devices.

use super::Fleet;
use garrison_model::{Device, DeviceId, Micros, Page, SensorHealthState};

/// Which devices, in which order.
#[derive(Debug, Clone, Default)]
pub struct DeviceFilter {
    /// Only these states; empty: all.
    pub health: Vec<SensorHealthState>,
    /// Only these; `None`: all.
    pub seen: Option<std::collections::HashSet<DeviceId>>,
    /// Part of the name, an address, a tag or the id; case does not matter.
    pub q: Option<String>,
    /// `name`, `lastSeen`, `firstSeen`; `-` before it turns it round.
    pub sort: Option<String>,
    /// Where to go on.
    pub cursor: Option<String>,
    /// How many, 1 to 500.
    pub limit: usize,
}

impl Fleet {
    /// Devices that should report and do not: id, host name, when they were last heard.
    pub fn silent(&self, now: Micros) -> Vec<(DeviceId, String, Micros)> {
        let devices = self.devices();
        let silent = devices.values().filter(|e| e.health(now, self.inactive_after) == SensorHealthState::Inactive);
        silent.map(|e| (e.record.id.clone(), e.record.facts.host_name.clone(), e.record.last_seen)).collect()
    }

    /// One page of devices. The cursor is the id of the last device of the page before.
    pub fn device_list(&self, filter: &DeviceFilter) -> Page<Device> {
        let now = crate::now();
        let q = filter.q.as_deref().unwrap_or_default().to_lowercase();
        let mut items: Vec<Device> = {
            let devices = self.devices();
            devices
                .values()
                .filter(|e| {
                    let r = &e.record;
                    filter.seen.as_ref().is_none_or(|seen| seen.contains(&r.id))
                        && (filter.health.is_empty() || filter.health.contains(&e.health(now, self.inactive_after)))
                        && (q.is_empty()
                            || r.facts.host_name.to_lowercase().contains(&q)
                            || r.id.as_str().starts_with(&q)
                            || r.facts.ip_addresses.iter().chain(&r.last_ip).any(|a| a.contains(&q))
                            || r.tags.iter().any(|t| t.to_lowercase().contains(&q)))
                })
                .map(|e| e.device(now, self.inactive_after))
                .collect()
        };
        let sort = filter.sort.as_deref().unwrap_or("-lastSeen");
        let (key, down) = sort.strip_prefix('-').map_or((sort, false), |key| (key, true));
        items.sort_by(|a, b| {
            let order = match key {
                "name" | "computerDnsName" => a.computer_dns_name.cmp(&b.computer_dns_name),
                "firstSeen" => a.first_seen.cmp(&b.first_seen),
                "healthStatus" | "health" => a.health_status.cmp(&b.health_status),
                _ => a.last_seen.cmp(&b.last_seen),
            };
            if down { order.reverse() } else { order }.then_with(|| a.id.cmp(&b.id))
        });
        let total = i64::try_from(items.len()).ok();
        let start = filter
            .cursor
            .as_ref()
            .and_then(|cursor| items.iter().position(|d| d.id.as_str() == cursor))
            .map_or(0, |at| at + 1);
        let limit = filter.limit.clamp(1, 500);
        let more = items.len() > start + limit;
        let items: Vec<Device> = items.into_iter().skip(start).take(limit).collect();
        let next_cursor = if more { items.last().map(|d| d.id.to_string()) } else { None };
        Page { items, next_cursor, total }
    }
}
