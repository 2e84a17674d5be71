//! Prints what the observer sees, one line each, until Ctrl-C: `observe_dump [ebpf|fallback|polling] [seconds]`.

use garrison_sensor::observe::{ObserveMode, ObservePolicy, ObserveSettings, Observer};
use std::time::{Duration, Instant};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mode = match arguments.next().as_deref() {
        Some("fallback") => ObserveMode::Fallback,
        Some("polling") => ObserveMode::Polling,
        _ => ObserveMode::Auto,
    };
    let seconds = arguments.next().and_then(|s| s.parse().ok()).unwrap_or(u64::MAX / 2);
    let quiet = arguments.next().is_some();
    let settings = ObserveSettings { mode, backfill: !quiet, ..ObserveSettings::default() };
    let mut observer = Observer::start(&ObservePolicy::default(), &settings);
    eprintln!("{:#?}", observer.sight());
    let start = Instant::now();
    let mut counts = std::collections::BTreeMap::new();
    while start.elapsed() < Duration::from_secs(seconds) {
        observer.poll(Duration::from_millis(50), &mut |o| {
            *counts.entry(o.event.kind()).or_insert(0_u64) += 1;
            if !quiet {
                println!("{} {}({}) {:?}", o.time_ns / 1_000_000, o.actor.comm.text(), o.actor.pid, o.event);
            }
        });
    }
    eprintln!("{counts:?}\n{:?}", observer.losses());
}
