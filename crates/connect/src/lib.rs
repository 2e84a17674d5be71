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
