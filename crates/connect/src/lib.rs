//! The connector: what makes a server a connected machine.
//!
//! `enrol` gives it an identity that is bound to the machine, `uplink` reports and takes signed orders, `install` obeys
//! them step by step with a journal, `supervise` keeps the sensor running where no service manager does.
//!
//! This crate never listens on the network, never obeys what is not signed with the key pinned at enrolment, never
//! writes outside its state folder and its prefix, and knows nothing of the server's database or rules.

pub mod cli;
pub mod cloud;
pub mod enrol;
pub mod fanotify;
pub mod host;
pub mod identity;
pub mod install;
pub mod layout;
pub mod products;
pub mod supervise;
pub mod uplink;

/// An error and its causes in one line.
pub fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    // Causes are nested a few deep; the bound is against a cycle.
    for _ in 0..16 {
        let Some(cause) = source else { break };
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// The time of day, seconds since 1970.
pub fn wall_seconds() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Seconds since 1970 as RFC 3339 has them, within the years 1 to 9999.
pub fn rfc3339(seconds: i64) -> String {
    const DAY: i64 = 86_400;
    let seconds = seconds.clamp(-62_135_596_800, 253_402_300_799);
    let (mut days, rest) = (seconds.div_euclid(DAY) + 719_162, seconds.rem_euclid(DAY));
    // Days since 0001-01-01: cycles of 400, 100, 4 and 1 years; the last year of a cycle may be a day longer.
    let mut year = 1;
    for (length, years, most) in [(146_097, 400, i64::MAX), (36_524, 100, 3), (1_461, 4, i64::MAX), (365, 1, 3)] {
        let count = (days / length).min(most);
        year += count * years;
        days -= count * length;
    }
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let mut month = 1;
    for length in [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (day, hour, minute, second) = (days + 1, rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_rfc_3339_has_them() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (978_307_199, "2000-12-31T23:59:59Z"),
            (1_796_000_461, "2026-11-30T01:01:01Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (i64::MAX, "9999-12-31T23:59:59Z"),
            (i64::MIN, "0001-01-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(seconds), text, "{seconds}");
        }
    }
}
