//! The section `hunting` of the configuration.

use super::reader::Reader;
use crate::hunting::HuntingSettings;
use crate::hunting::settings::QuotaSettings;

fn quota(root: &mut Reader, key: &str, quota: &mut QuotaSettings) {
    root.section(key, |r| {
        r.number("calls_per_minute", 1..=1_000_000, &mut quota.calls_per_minute);
        r.number("calls_per_hour", 1..=10_000_000, &mut quota.calls_per_hour);
        r.number("seconds_per_hour", 1..=10_000_000, &mut quota.seconds_per_hour);
        r.number("seconds_per_day", 1..=100_000_000, &mut quota.seconds_per_day);
        r.number("concurrent", 1..=10_000, &mut quota.concurrent);
    });
}

pub(super) fn read(root: &mut Reader, h: &mut HuntingSettings) {
    root.section("hunting", |r| {
        quota(r, "user", &mut h.user);
        quota(r, "tenant", &mut h.tenant);
        r.number("rows_max_api", 1..=10_000_000, &mut h.rows_max_api);
        r.number("rows_max_console", 1..=1_000_000, &mut h.rows_max_console);
        r.number("result_bytes_max", 1_024..=2_000_000_000, &mut h.result_bytes_max);
        r.number("query_bytes_max", 1_024..=1_000_000, &mut h.query_bytes_max);
        r.number("seconds_max_api", 1..=86_400, &mut h.seconds_max_api);
        r.number("seconds_max_console", 1..=86_400, &mut h.seconds_max_console);
        r.number("query_memory_bytes", 1 << 20..=1 << 45, &mut h.query_memory_bytes);
        r.number("memory_bytes", 1 << 20..=1 << 45, &mut h.memory_bytes);
        r.number("spill_bytes_max", 0..=1 << 50, &mut h.spill_bytes_max);
        r.number("workers", 0..=256, &mut h.workers);
        r.number("history_days", 1..=3_650, &mut h.history_days);
        r.number("history_rows_max", 1..=10_000_000, &mut h.history_rows_max);
        h.geo_database = r.text("geo_database").map(Into::into);
        r.section("external", |r| {
            if let Some(hosts) = r.texts("hosts") {
                h.external.hosts = hosts;
            }
            r.number("bytes_max", 1..=1_000_000_000, &mut h.external.bytes_max);
            r.number("seconds_max", 1..=600, &mut h.external.seconds_max);
            if let Some(loopback) = r.truth("loopback") {
                h.external.loopback = loopback;
            }
        });
    });
}
