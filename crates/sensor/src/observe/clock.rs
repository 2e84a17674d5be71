//! The one place where kernel time meets the time of day.

/// Nanoseconds since boot, now (`CLOCK_BOOTTIME`, which counts while the machine sleeps).
pub fn boottime_ns() -> u64 {
    read(nix::time::ClockId::CLOCK_BOOTTIME)
}

/// Microseconds since 1970 at which the machine booted, by today's clock. A step of the wall clock moves it; whoever
/// converts reads it anew now and then, and keys are made from boot time only, which no step touches.
pub fn boot_micros() -> i64 {
    let wall = read(nix::time::ClockId::CLOCK_REALTIME) / 1_000;
    wall as i64 - (boottime_ns() / 1_000) as i64
}

fn read(clock: nix::time::ClockId) -> u64 {
    // The clocks exist on every Linux that can run the rest; 0 reads as "unknown" everywhere in this crate.
    clock.now().map_or(0, |t| t.tv_sec() as u64 * 1_000_000_000 + t.tv_nsec() as u64)
}
