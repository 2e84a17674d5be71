//! The connector: what makes a server a connected machine.
//!
//! `enrol` gives it an identity that is bound to the machine, `uplink` reports and takes signed orders, `install` obeys
//! them step by step with a journal, `supervise` keeps the sensor running where no service manager does.
//!
//! This crate never listens on the network, never obeys what is not signed with the key pinned at enrolment, never
//! writes outside its state folder and its prefix, and knows nothing of the server's database or rules.

pub mod antimalware;
pub mod cli;
pub mod cloud;
pub mod enrol;
pub mod fanotify;
pub mod host;
pub mod identity;
pub mod install;
pub mod layout;
pub mod products;
pub mod remedy;
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

/// Seconds since 1970 as RFC 3339 has them; as they are where no year of four digits holds them.
pub fn rfc3339(seconds: i64) -> String {
    let format = &time::format_description::well_known::Rfc3339;
    let time = time::OffsetDateTime::from_unix_timestamp(seconds).ok().and_then(|t| t.format(format).ok());
    time.unwrap_or_else(|| seconds.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_rfc_3339_has_them() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_796_000_461, "2026-11-30T01:01:01Z"),
            (i64::MAX, "9223372036854775807"),
            (i64::MIN, "-9223372036854775808"),
        ] {
            assert_eq!(rfc3339(seconds), text, "{seconds}");
        }
    }
}
