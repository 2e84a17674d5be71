//! How one machine stands under one recommendation: a pure function of the machine, what should be on it, what its
//! connector said, exemptions, and the time.

use super::Summary;
use super::exempt::Exemption;
use crate::connect::remedies::{Asked, RemedyState, words};
use crate::connect::{Look, ProtectionFacts};
use garrison_model::{ConnectionState, ExtensionState, Machine, MachineKind, Micros, NotCovered, Plan, PowerState};
use garrison_wire::connect::remedy::Remedy;
use serde::{Deserialize, Serialize};

/// Name of our own protection among those discovered.
pub const OURS: &str = "Garrison";
/// Seconds after which a scan is old (behaviour: 7 days).
const SCAN_OLD: i64 = 7 * 86_400;
/// Seconds after which signatures are outdated; the vendor publishes no number, so this one is ours.
const SIGNATURES_OLD: i64 = 7 * 86_400;
/// Seconds that the clocks of a machine, of who made its signatures, and ours may differ by.
const CLOCK_APART: i64 = 86_400;

macro_rules! spelled {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $word)] $variant),+ }

        impl $name {
            /// All words.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// Its word.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;
            /// Case does not matter.
            fn from_str(text: &str) -> Result<Self, String> {
                Self::ALL.iter().copied().find(|w| w.as_str().eq_ignore_ascii_case(text)).ok_or_else(|| {
                    format!("use one of {}", Self::ALL.iter().map(|w| w.as_str()).collect::<Vec<_>>().join(", "))
                })
            }
        }
    };
}
pub(super) use spelled;

spelled!(
    /// A recommendation.
    Key {
        /// Something that detects and responds runs on the machine.
        Installed = "edr-installed",
        /// What protects the machine is set up well.
        Configuration = "edr-configuration",
    }
);
spelled!(
    /// How a machine stands.
    State {
        /// It satisfies the recommendation.
        Healthy = "Healthy",
        /// It does not.
        Unhealthy = "Unhealthy",
        /// Nothing can be said of it, for the reason beside.
        NotApplicable = "NotApplicable",
        /// Somebody decided that it need not.
        Exempt = "Exempt",
    }
);

impl Key {
    /// Its words, with nothing counted yet.
    pub fn summary(self) -> Summary {
        let (title, description, severity) = match self {
            Key::Installed => (
                "Every server should run endpoint protection that detects and responds",
                "A server without such a sensor can be taken over unseen. Ours counts, and so do the products of others \
                 that connectors know how to find.",
                "High",
            ),
            Key::Configuration => (
                "Weak settings of endpoint protection should be put right",
                "Where our sensor runs: the machine's antimalware should be on as a whole, its signatures fresh, and a \
                 quick or a full scan not older than a week.",
                "Medium",
            ),
        };
        Summary {
            key: self,
            title: title.to_owned(),
            description: description.to_owned(),
            severity: severity.to_owned(),
            plan: Plan::P1,
            healthy: 0,
            unhealthy: 0,
            not_applicable: 0,
            exempt: 0,
            fix: true,
        }
    }
}

/// Something that is wrong with a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Code, such as `PlanMissing`.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub fix: String,
}

/// What is judged.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// The machine as the plane knows it.
    pub machine: &'a Machine,
    /// Whether the sensor is wanted on it, else why not.
    pub wanted: Result<(), NotCovered>,
    /// What its connector said; `None` where it has none.
    pub look: Option<&'a Look>,
    /// The exemption in force.
    pub exemption: Option<&'a Exemption>,
}

/// How it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// State.
    pub state: State,
    /// Why.
    pub reason: String,
    /// What is wrong; also of a machine that is exempt.
    pub findings: Vec<Finding>,
    /// Products that protect it.
    pub discovered: Vec<String>,
}

fn finding(code: &str, message: impl Into<String>, fix: &str) -> Finding {
    Finding { code: code.to_owned(), message: message.into(), fix: fix.to_owned() }
}

/// Judges a machine.
pub fn judge(key: Key, case: &Case<'_>, now: Micros) -> Judgement {
    let mut discovered = Vec::new();
    if case.machine.has_sensor() {
        discovered.push(OURS.to_owned());
    }
    let products = case.look.and_then(|l| l.products.as_deref()).unwrap_or_default();
    discovered.extend(products.iter().filter(|p| !p.process.is_empty()).map(|p| p.name.clone()));
    let (state, reason, findings) = match key {
        Key::Installed => installed(case, &discovered),
        Key::Configuration => configuration(case, now),
    };
    let Some(exemption) = case.exemption else { return Judgement { state, reason, findings, discovered } };
    let until = exemption.expires.as_ref().map(|at| format!(" until {at}")).unwrap_or_default();
    let reason = format!("exempt as {}{until}: {}", exemption.category, exemption.reason);
    Judgement { state: State::Exempt, reason, findings, discovered }
}

type Verdict = (State, String, Vec<Finding>);

fn not_applicable(reason: &str) -> Verdict {
    (State::NotApplicable, reason.to_owned(), Vec::new())
}

fn installed(case: &Case<'_>, discovered: &[String]) -> Verdict {
    let machine = case.machine;
    if let Some(first) = discovered.first() {
        return (State::Healthy, format!("protected by {first}"), Vec::new());
    }
    if machine.kind == MachineKind::Cloud && machine.power_state.is_some_and(|p| p != PowerState::Running) {
        return not_applicable("the machine does not run");
    }
    if machine.kind == MachineKind::Hybrid {
        match machine.state {
            ConnectionState::Connecting => {
                return not_applicable("no data: the connector has not reported yet");
            }
            ConnectionState::Expired => {
                return not_applicable("no data: the machine has not been heard of for 45 days");
            }
            ConnectionState::Connected | ConnectionState::Disconnected => {}
        }
    }
    let mut findings = Vec::new();
    let stopped = case.look.and_then(|l| l.products.as_deref()).unwrap_or_default();
    for product in stopped.iter().filter(|p| p.process.is_empty()) {
        findings.push(finding(
            "ProductStopped",
            format!("{} is installed (package {}) and does not run", product.name, product.package),
            "start it, or remove its package",
        ));
    }
    findings.push(missing(case));
    (State::Unhealthy, "nothing that detects and responds was found".to_owned(), findings)
}

/// Why our sensor is not there.
fn missing(case: &Case<'_>) -> Finding {
    match case.wanted {
        Err(NotCovered::Excluded) => finding(
            "Excluded",
            "an exclusion keeps the sensor away",
            "remove the exclusion, or exempt the machine if another way protects it",
        ),
        Err(NotCovered::IntegrationOff) => finding(
            "IntegrationOff",
            "the integration is switched off on its subscription, so no sensor is installed by itself",
            "switch the integration on; the sensor comes to all machines of the subscription that a plan covers",
        ),
        Err(_) => finding("PlanMissing", "no plan is in force on the machine", "set Plan 1 or Plan 2"),
        Ok(()) if case.look.is_some_and(|l| l.offboarded) => finding(
            "OffBoarded",
            "the machine was off-boarded, so nothing comes back by itself",
            "onboard it again: `garrison machine onboard`",
        ),
        Ok(()) => match case.machine.sensor() {
            Some(e) if e.state == ExtensionState::Failed => {
                let message = format!("the sensor's installation failed with code {}: {}", e.code, e.message);
                let fix = if e.fix.is_empty() { "see docs/reference/extension-codes.md" } else { e.fix.as_str() };
                finding("SensorFailed", message, fix)
            }
            _ if case.look.is_none() => finding(
                "NotConnected",
                "no connector is on the machine, so the sensor cannot be brought to it",
                "connect it: `garrison connect`, or `garrison-connect enrol` on the machine",
            ),
            _ => finding(
                "SensorMissing",
                "the sensor is on its way",
                "wait; if that lasts, look at `garrison machine show`",
            ),
        },
    }
}

fn configuration(case: &Case<'_>, now: Micros) -> Verdict {
    if !case.machine.has_sensor() {
        return not_applicable("settings are checked where our sensor runs, and it does not run here");
    }
    if case.machine.kind == MachineKind::Hybrid && case.machine.state == ConnectionState::Expired {
        return not_applicable("no data: the machine has not been heard of for 45 days");
    }
    let Some(protection) = case.look.and_then(|l| l.protection.as_ref()) else {
        return not_applicable("no scan data: no antimalware is known on the machine");
    };
    let asked = case.look.map(|l| l.remedies.as_slice()).unwrap_or_default();
    let findings = weak(protection, asked, now.0 / 1_000_000);
    let whose = if protection.product.is_empty() { "antimalware" } else { protection.product.as_str() };
    if findings.is_empty() {
        return (State::Healthy, format!("{whose} is on, fresh, and has scanned"), findings);
    }
    (State::Unhealthy, format!("{} setting(s) of {whose} are weak", findings.len()), findings)
}

/// What helps against a finding on settings, where the machine can do it.
pub fn remedy_of(code: &str) -> Option<Remedy> {
    match code {
        "ProtectionOff" | "ProtectionPartial" => Some(Remedy::SwitchOn),
        "SignaturesOutdated" => Some(Remedy::Update),
        "ScansOld" => Some(Remedy::Scan),
        _ => None,
    }
}

/// The checks of settings; times in seconds.
fn weak(p: &ProtectionFacts, asked: &[Asked], now: i64) -> Vec<Finding> {
    let mut findings = Vec::new();
    // A time that is not yet is not believed: it would be fresh for ever.
    let is_old = |time: i64, after: i64| time <= 0 || now.saturating_sub(time) > after || time > now + CLOCK_APART;
    let detail = if p.detail.is_empty() { String::new() } else { format!(": {}", p.detail) };
    match p.state.as_str() {
        "on" => {}
        "partial" => findings.push(finding(
            "ProtectionPartial",
            format!("a part of the antimalware is switched off{detail}"),
            "switch it on as a whole; ClamAV on access: OnAccessIncludePath in clamd.conf, then its clamonacc service",
        )),
        _ => findings.push(finding(
            "ProtectionOff",
            format!("the antimalware is off{detail}"),
            "start its service, and see that it starts with the machine",
        )),
    }
    if is_old(p.signatures_time, SIGNATURES_OLD) {
        findings.push(finding(
            "SignaturesOutdated",
            if p.signatures_time <= 0 { "it has no signatures" } else { "its signatures are older than 7 days" },
            "see that the machine reaches a mirror of signatures, and that they are fetched by themselves",
        ));
    }
    if is_old(p.quick_scan_time, SCAN_OLD) && is_old(p.full_scan_time, SCAN_OLD) {
        findings.push(finding(
            "ScansOld",
            "its last quick scan and its last full scan are both older than 7 days, or none is known",
            "run a scan; one of the two is enough",
        ));
    }
    for finding in &mut findings {
        let Some(remedy) = remedy_of(&finding.code) else { continue };
        let Some(last) = asked.iter().rev().find(|a| a.deed == remedy.as_str()) else { continue };
        let what = words(remedy);
        match last.state {
            RemedyState::Waiting => finding.message.push_str(&format!("; {what}: asked for by {}", last.who)),
            RemedyState::Working => finding.message.push_str(&format!("; {what}: under way")),
            RemedyState::Failed => finding.message.push_str(&format!("; {what}: failed, {}", last.detail)),
            RemedyState::Done => {}
        }
    }
    findings
}

#[cfg(test)]
mod tests;
