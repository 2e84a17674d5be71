//! How one machine is: a pure function of the machine, what should be on it, what its connector and its sensor said,
//! and the time.

use crate::connect::ConnectorLook;
use crate::fleet::DeviceLook;
use crate::shared::rfc3339;
use garrison_model::{
    ConnectionState, Extension, ExtensionCode, ExtensionState, HealthClass, HealthFinding, HealthState, Machine,
    MachineKind, Micros, NotCovered, PowerState, SensorHealthState,
};
use serde::{Deserialize, Serialize};

const MINUTE: i64 = 60 * 1_000_000;
/// An installation that takes longer is told: a package of some megabytes over a slow line takes less.
pub const INSTALL_SLOW: i64 = 30 * MINUTE;
/// A sensor that was installed says something within its first heartbeat; ten minutes leave room for a slow start.
pub const REPORT_LATE: i64 = 10 * MINUTE;
/// A connector that was enrolled and never heard of: as long as one that was counts as connected.
pub const CONNECT_LATE: i64 = garrison_model::DISCONNECTED_AFTER;
/// Clocks that differ by more put rows into the wrong order; the tolerance that Kerberos made common (RFC 4120, 1.6).
pub const SKEW_MAX: i64 = 5 * MINUTE;
/// So long after a second machine used the identity it is told: the copy is not covered until somebody sees to it, and
/// its connector may have given up.
pub const TWIN_TOLD: i64 = 7 * 24 * 60 * MINUTE;
/// Of what a sensor says is wrong, so many are told.
const ISSUES_MAX: usize = 8;

/// Every code, its class and what to do. The order is that of the reference page, docs/reference/health.md.
pub const CODES: &[(&str, HealthClass, &str)] = &[
    ("InstallFailed", HealthClass::Installation, "See the code: docs/reference/extension-codes.md."),
    (
        "RolledBack",
        HealthClass::Installation,
        "The version before runs again. Read the sensor's log on the machine; delete the extension to try anew, or put \
         the machine into the ring `pinned`.",
    ),
    (
        "InstallSlow",
        HealthClass::Installation,
        "Look at the connector's log on the machine; deleting the extension begins anew.",
    ),
    (
        "NoConnector",
        HealthClass::Installation,
        "Connect it: `garrison connect`, or `garrison-connect enrol` on the machine.",
    ),
    (
        "Passive",
        HealthClass::Installation,
        "Nothing is to be done if the other product is wanted; without it the sensor is installed active by itself.",
    ),
    (
        "ConnectorNeverReported",
        HealthClass::Heartbeat,
        "Start it on the machine: `systemctl enable --now garrison-connect`; see whether the machine reaches the gateway.",
    ),
    (
        "Twin",
        HealthClass::Heartbeat,
        "Let one of the two be another machine: give the copy a machine id of its own (`rm /etc/machine-id && \
         systemd-machine-id-setup`), then `garrison-connect enrol --force` on it with a new token.",
    ),
    (
        "ConnectorSilent",
        HealthClass::Heartbeat,
        "See that the machine runs, that `garrison-connect` runs on it, and that it reaches the gateway.",
    ),
    (
        "ConnectorExpired",
        HealthClass::Heartbeat,
        "Forget the machine if it is gone: `garrison machine delete`; else enrol its connector again.",
    ),
    (
        "SensorNeverReported",
        HealthClass::Heartbeat,
        "Run `garrison-sensor health` on the machine; see whether it reaches the gateway. Deleting the extension \
         deploys it anew.",
    ),
    (
        "SensorSilent",
        HealthClass::Heartbeat,
        "Run `garrison-sensor health` on the machine; restart the sensor; see whether the machine reaches the gateway.",
    ),
    (
        "CertificateRevoked",
        HealthClass::Heartbeat,
        "Delete the extension: the sensor is deployed anew with another identity; or off-board the machine.",
    ),
    (
        "ClockSkew",
        HealthClass::Heartbeat,
        "Set the clock of the machine, or of the server: let both follow one time source.",
    ),
    (
        "NoSight",
        HealthClass::Heartbeat,
        "The sensor sees nothing. Run `garrison-sensor health`: `sight_reason` says why; it needs root.",
    ),
    (
        "SightDegraded",
        HealthClass::Heartbeat,
        "Run `garrison-sensor health`: `sight_reason` says what the kernel lacks. What is missing is not seen.",
    ),
    (
        "Sheds",
        HealthClass::Heartbeat,
        "The sensor leaves work out to stay within its budget. Give it a larger budget, or find what keeps it busy.",
    ),
    ("SensorIssue", HealthClass::Heartbeat, "Run `garrison-sensor health` on the machine and read the sensor's log."),
    (
        "Unsupported",
        HealthClass::NotApplicable,
        "See docs/reference/supported-machines.md; exclude the machine, or bring it to what is supported.",
    ),
    ("Excluded", HealthClass::NotApplicable, "Remove the exclusion, or let it end: `garrison exclusion list`."),
    ("PlanOff", HealthClass::NotApplicable, "Switch a plan on: `garrison plan set P2 SUBSCRIPTION`."),
    (
        "IntegrationOff",
        HealthClass::NotApplicable,
        "Switch the integration on: `garrison subscription integration SUBSCRIPTION on`.",
    ),
    ("OffBoarded", HealthClass::NotApplicable, "Let the plan count again: `garrison machine onboard`."),
    ("PoweredOff", HealthClass::NotApplicable, "Start the machine if it should run."),
];

/// What is told and makes no machine unhealthy: it works as well as the machine lets it.
const FOR_THE_RECORD: &[&str] = &["Passive", "SightDegraded"];

/// What is judged.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// The machine as the plane knows it.
    pub machine: &'a Machine,
    /// Whether the sensor is wanted on it, else why not.
    pub wanted: Result<(), NotCovered>,
    /// What its connector said; `None` where it never had one.
    pub connector: Option<&'a ConnectorLook>,
    /// How its sensor is; `None` where none was ever joined.
    pub device: Option<&'a DeviceLook>,
}

/// How it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Judged {
    /// As a whole.
    pub state: HealthState,
    /// Findings.
    pub findings: Vec<HealthFinding>,
}

impl Judged {
    /// Whether another judgement says the same, perhaps in other words.
    pub fn is_alike(&self, other: &Self) -> bool {
        let codes = |j: &Self| j.findings.iter().map(|f| f.code.clone()).collect::<Vec<_>>();
        self.state == other.state && codes(self) == codes(other)
    }
}

/// What to do about a code, in general.
pub fn fix(code: &str) -> &'static str {
    CODES.iter().find(|(known, ..)| *known == code).map_or("", |(_, _, fix)| fix)
}

fn finding(code: &str, message: impl Into<String>) -> HealthFinding {
    let class = CODES.iter().find(|(known, ..)| *known == code).map_or(HealthClass::Heartbeat, |(_, class, _)| *class);
    HealthFinding { class, code: code.to_owned(), message: message.into(), fix: fix(code).to_owned() }
}

fn micros(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_microsecond)
}

/// Microseconds since a time; a time that cannot be read, or lies ahead, counts as now.
fn since(text: &str, now: Micros) -> i64 {
    micros(text).map_or(0, |at| now.0.saturating_sub(at).max(0))
}

impl Case<'_> {
    fn extension(&self) -> Option<&Extension> {
        self.machine.extensions.iter().find(|e| e.name.starts_with("Sensor."))
    }

    /// Whether a sensor is on the machine, however it came there.
    fn is_there(&self) -> bool {
        let installed = self.extension().is_some_and(|e| {
            matches!(e.state, ExtensionState::Succeeded | ExtensionState::Updating) || !e.version.is_empty()
        });
        installed || self.device.is_some_and(|d| !d.revoked)
    }

    fn unsupported(&self) -> Option<&Extension> {
        let code = |e: &&Extension| u32::try_from(e.code).ok().map(ExtensionCode::from_claim);
        self.extension()
            .filter(|e| e.state == ExtensionState::Failed && code(e).is_some_and(ExtensionCode::is_unsupported))
    }

    /// Why nothing is expected of the machine.
    fn not_applicable(&self) -> Option<HealthFinding> {
        let m = self.machine;
        if let Some(off) = self.connector.and_then(|c| c.offboarded.as_ref()) {
            let how = if off.done { "was off-boarded" } else { "is being off-boarded" };
            return Some(finding("OffBoarded", format!("it {how} by {} ({})", off.who, rfc3339(Micros(off.at)))));
        }
        match self.wanted {
            Err(NotCovered::NoPlan) => return Some(finding("PlanOff", "neither it nor its subscription has a plan")),
            Err(NotCovered::SwitchedOff) => {
                return Some(finding("PlanOff", "the plan is switched off on it or on its subscription"));
            }
            _ => {}
        }
        if m.state != ConnectionState::Connected {
            let off = match m.power_state {
                Some(PowerState::Stopping) => Some("it said that it was shutting down, and was not heard of since"),
                Some(PowerState::Stopped) => Some("it is shut down"),
                Some(PowerState::Deallocating | PowerState::Deallocated) => Some("its hardware is given back"),
                Some(PowerState::Starting | PowerState::Running) | None => None,
            };
            if let Some(words) = off {
                return Some(finding("PoweredOff", words));
            }
        }
        if self.is_there() {
            // A sensor that came another way protects all the same, and is judged.
            return None;
        }
        if let Some(e) = self.unsupported() {
            let message =
                if e.message.is_empty() { "the machine is not supported".to_owned() } else { e.message.clone() };
            return Some(finding("Unsupported", format!("code {}: {message}", e.code)));
        }
        match self.wanted {
            Err(NotCovered::Excluded) => {
                let by = m.excluded_by.as_deref().unwrap_or_default();
                Some(finding("Excluded", format!("the exclusion {by} keeps the sensor away")))
            }
            Err(NotCovered::IntegrationOff) => {
                Some(finding("IntegrationOff", "the integration is switched off on its subscription"))
            }
            _ => None,
        }
    }

    fn installation(&self, now: Micros, found: &mut Vec<HealthFinding>) {
        let Some(e) = self.extension() else {
            let never = self.connector.is_none() && self.device.is_none() && self.machine.kind != MachineKind::Direct;
            if never && self.wanted.is_ok() {
                found.push(finding("NoConnector", "no connector is on it, so the sensor cannot be brought to it"));
            }
            return;
        };
        match e.state {
            ExtensionState::Failed => {
                let code = u32::try_from(e.code).map_or(ExtensionCode::Internal, ExtensionCode::from_claim);
                let version =
                    if e.version.is_empty() { String::new() } else { format!(" (version {} is there)", e.version) };
                let message = format!("ProvisioningState/failed/{} {}: {}{version}", e.code, code.words().0, e.message);
                let rolled_back = code == ExtensionCode::Unhealthy && !e.version.is_empty();
                let mut told = finding(if rolled_back { "RolledBack" } else { "InstallFailed" }, message);
                if !rolled_back && !e.fix.is_empty() {
                    told.fix.clone_from(&e.fix);
                }
                found.push(told);
            }
            ExtensionState::Creating | ExtensionState::Updating | ExtensionState::Deleting => {
                let lasts = since(&e.updated_time, now);
                // A machine that is away does not work on it: then its silence is what is told.
                if lasts > INSTALL_SLOW && self.machine.state == ConnectionState::Connected {
                    found.push(finding("InstallSlow", format!("it is {} since {}", e.state, e.updated_time)));
                }
            }
            ExtensionState::Succeeded => {
                if self.connector.is_some_and(|c| c.passive) {
                    let message = if e.message.is_empty() { "the sensor is passive" } else { e.message.as_str() };
                    found.push(finding("Passive", message));
                }
            }
        }
    }

    fn connection(&self, now: Micros, found: &mut Vec<HealthFinding>) {
        let m = self.machine;
        if m.kind != MachineKind::Hybrid {
            return;
        }
        let recent = |at: &i64| now.0.saturating_sub(*at) <= TWIN_TOLD;
        if let Some(at) = self.connector.and_then(|c| c.twin).filter(recent) {
            let message = format!(
                "a second machine uses its identity, last heard of {}: a copy of its disk, or its key was taken",
                rfc3339(Micros(at))
            );
            found.push(finding("Twin", message));
        }
        let last = m.last_heartbeat.as_deref().unwrap_or_default();
        match m.state {
            ConnectionState::Connected => {}
            ConnectionState::Connecting => {
                let lasts = since(&m.created_time, now);
                if lasts > CONNECT_LATE {
                    let message = format!("it was enrolled {} and was never heard of", m.created_time);
                    found.push(finding("ConnectorNeverReported", message));
                }
            }
            ConnectionState::Disconnected => {
                found.push(finding("ConnectorSilent", format!("its connector was last heard of {last}")));
            }
            ConnectionState::Expired => {
                found.push(finding("ConnectorExpired", format!("its connector was last heard of {last}")));
            }
        }
    }

    fn sensor(&self, now: Micros, found: &mut Vec<HealthFinding>) {
        let Some(d) = self.device else {
            let late =
                |e: &&Extension| e.state == ExtensionState::Succeeded && since(&e.updated_time, now) > REPORT_LATE;
            if let Some(e) = self.extension().filter(late) {
                let message = format!("it was installed {} and never enrolled here", e.updated_time);
                found.push(finding("SensorNeverReported", message));
            }
            return;
        };
        if d.revoked {
            let why = if d.revoked_reason.is_empty() { String::new() } else { format!(": {}", d.revoked_reason) };
            // One that was revoked and is no more there has been told as missing, or comes anew.
            if self.extension().is_none_or(|e| e.state == ExtensionState::Succeeded) {
                found.push(finding("CertificateRevoked", format!("the sensor's certificate was revoked{why}")));
            }
            return;
        }
        if !d.reported {
            let lasts = now.0.saturating_sub(d.first_seen.0);
            if lasts > REPORT_LATE {
                let message = format!("it enrolled {} and never opened a session", rfc3339(d.first_seen));
                found.push(finding("SensorNeverReported", message));
            }
            return;
        }
        if d.health == SensorHealthState::Inactive {
            found.push(finding("SensorSilent", format!("the sensor was last heard of {}", rfc3339(d.last_seen))));
            return;
        }
        if let Some(skew) = d.skew.filter(|skew| skew.saturating_abs() > SKEW_MAX) {
            let way = if skew > 0 { "ahead of" } else { "behind" };
            let message = format!("its clock is {} minutes {way} the server's", skew.saturating_abs() / MINUTE);
            found.push(finding("ClockSkew", message));
        }
        match d.sight.subsystem.as_str() {
            "" | "none" => found.push(finding("NoSight", "the sensor sees nothing of the machine")),
            "ebpf" if d.sight.missing.is_empty() => {}
            subsystem => {
                let missing = d.sight.missing.join(", ");
                let lacks = if missing.is_empty() { String::new() } else { format!("; missing: {missing}") };
                found.push(finding("SightDegraded", format!("the sensor sees by {subsystem}{lacks}")));
            }
        }
        for issue in d.issues.iter().take(ISSUES_MAX) {
            // Sensor and server both look at the difference of their clocks; it is one finding.
            if issue.starts_with("the clock differs") {
                if !found.iter().any(|f| f.code == "ClockSkew") {
                    found.push(finding("ClockSkew", issue.clone()));
                }
                continue;
            }
            let sheds = issue.starts_with("over its budget") || issue.starts_with("works at step");
            found.push(finding(if sheds { "Sheds" } else { "SensorIssue" }, issue.clone()));
        }
    }

    fn is_pending(&self) -> bool {
        let moves = |e: &Extension| matches!(e.state, ExtensionState::Creating | ExtensionState::Deleting);
        !self.is_there()
            || self.extension().is_some_and(moves)
            || self.machine.kind == MachineKind::Hybrid && self.machine.state == ConnectionState::Connecting
            || self.device.is_none_or(|d| !d.reported)
    }
}

/// Judges a machine.
pub fn judge(case: &Case<'_>, now: Micros) -> Judged {
    if let Some(reason) = case.not_applicable() {
        return Judged { state: HealthState::NotApplicable, findings: vec![reason] };
    }
    let mut findings = Vec::new();
    case.installation(now, &mut findings);
    case.connection(now, &mut findings);
    case.sensor(now, &mut findings);
    let state = if findings.iter().any(|f| !FOR_THE_RECORD.contains(&f.code.as_str())) {
        HealthState::Unhealthy
    } else if case.is_pending() {
        HealthState::Pending
    } else {
        HealthState::Healthy
    };
    Judged { state, findings }
}

#[cfg(test)]
mod tests;
