//! What should be on a machine, what is, and the one order that closes the difference; pure functions.
//!
//! A machine has one extension, the sensor, and at most one order at a time. Orders are numbered without end and never
//! given twice under another number for the same cause, so a report always says of which order it speaks; whatever is
//! lost, replayed or late changes nothing. Nothing here asks the clock whether an order is overdue: it stays until the
//! machine has answered, however long it is away.

use garrison_model::{ExtensionCode, ExtensionState, Micros, NotCovered};
use garrison_wire::connect::order::Deed;
use garrison_wire::connect::v1::ExtensionReport;
use serde::{Deserialize, Serialize};

/// First and longest wait until a failed install is tried again.
const RETRY_MIN: i64 = 5 * 60 * 1_000_000;
const RETRY_MAX: i64 = 4 * 3_600 * 1_000_000;
/// Characters of what a machine says went wrong.
const DETAIL_MAX: usize = 500;

/// A package of the sensor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Package {
    /// Version.
    pub version: String,
    /// Architecture.
    pub architecture: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
    /// The vendor's signature, hexadecimal; empty for none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub signature: String,
}

/// What is known of a machine's extension: what is stored, version 1. Fields are added, never changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Standing {
    /// The newest order that was ever given.
    pub generation: u64,
    /// The order that the machine has not answered yet.
    pub order: Option<Order>,
    /// The extension, unless there is none.
    pub extension: Option<Extension>,
    /// That the machine was off-boarded: the sensor is never put on it again by itself.
    pub offboarded: Option<Offboarded>,
    /// Failures in a row.
    pub failures: u32,
    /// Not before this time is a failed order given again.
    pub retry_at: i64,
    /// Hash of the package that the last install ended well with, and whether it was to be passive.
    pub settled: Option<(String, bool)>,
    /// Hash of the package that an install failed with last; a roll-out counts it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_with: Option<String>,
    /// What the machine was asked to do about its antimalware, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remedies: Vec<super::remedies::Asked>,
}

/// An order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// Its number.
    pub generation: u64,
    /// `install`, `remove` or `offboard`.
    pub deed: String,
    /// What to install.
    pub package: Option<Package>,
    /// Whether the sensor is to be passive.
    pub passive: bool,
    /// Why.
    pub reason: String,
    /// Whether the machine has said that it works on it.
    pub taken: bool,
}

/// The extension.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Extension {
    /// Where it stands.
    pub state: ExtensionState,
    /// Code of the failure.
    pub code: ExtensionCode,
    /// What exactly.
    pub detail: String,
    /// Version that is there.
    pub version: String,
    /// Whether it is passive.
    pub passive: bool,
    /// Whether a sensor that was there was taken over.
    pub adopted: bool,
    /// Since when, microseconds.
    pub since: i64,
}

/// An off-boarding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Offboarded {
    /// Who asked for it.
    pub who: String,
    /// When, microseconds.
    pub at: i64,
    /// Whether the machine has done it.
    pub done: bool,
    /// Whether the machine was connected again since: it stays connected, and still nothing is put on it by itself.
    #[serde(default)]
    pub returned: bool,
}

/// What should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Whether the sensor is wanted, by plan, exclusions and integration; else why not.
    pub sensor: Result<(), NotCovered>,
    /// Whether the machine is supported; else the code and what exactly.
    pub support: Result<(), (ExtensionCode, String)>,
    /// The package for it.
    pub package: Option<Package>,
    /// Products of others that block by fanotify: the sensor is passive then.
    pub blocking: Vec<String>,
}

impl Wish {
    fn passive(&self) -> bool {
        !self.blocking.is_empty()
    }
}

/// There is nothing to delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the machine has no such extension")]
pub struct NoExtension;

impl Standing {
    fn order(&mut self, deed: Deed, package: Option<Package>, passive: bool, reason: &str) {
        self.generation += 1;
        self.order = Some(Order {
            generation: self.generation,
            deed: deed.as_str().to_owned(),
            package,
            passive,
            reason: reason.to_owned(),
            taken: false,
        });
    }

    fn ordered(&self) -> Option<Deed> {
        Deed::parse(&self.order.as_ref()?.deed)
    }

    fn put(&mut self, state: ExtensionState, code: ExtensionCode, detail: &str, now: Micros) {
        let detail: String = detail.chars().filter(|c| !c.is_control()).take(DETAIL_MAX).collect();
        match &mut self.extension {
            Some(e) if e.state == state && e.code == code && e.detail == detail => {}
            Some(e) => *e = Extension { state, code, detail, since: now.0, ..e.clone() },
            None => {
                self.extension = Some(Extension {
                    state,
                    code,
                    detail,
                    version: String::new(),
                    passive: false,
                    adopted: false,
                    since: now.0,
                });
            }
        }
    }

    fn failed(&mut self, code: ExtensionCode, detail: &str, now: Micros) {
        self.failures = self.failures.saturating_add(1);
        let wait = RETRY_MIN.saturating_mul(1 << (self.failures - 1).min(10)).min(RETRY_MAX);
        self.retry_at = now.0.saturating_add(wait);
        self.put(ExtensionState::Failed, code, detail, now);
    }

    /// Whether a failed order may be given again. A time that is further away than any wait was written before the
    /// clock was set back.
    fn is_due(&self, now: Micros) -> bool {
        now.0 >= self.retry_at || self.retry_at.saturating_sub(now.0) > RETRY_MAX
    }

    /// The machine lies elsewhere: what is on it is deployed anew there. A connector that finds it well has nothing to fetch.
    pub fn moved(&mut self) {
        self.settled = None;
    }

    /// Whether it stays as it is until something from outside changes: nothing is under way, and nothing waits for its time.
    pub fn is_still(&self) -> bool {
        let well = self.extension.as_ref().is_none_or(|e| e.state == ExtensionState::Succeeded);
        self.order.is_none() && well && !self.is_remedied() && self.offboarded.as_ref().is_none_or(|off| off.done)
    }

    /// Closes the difference between what is and what should be, by at most one order.
    pub fn reconcile(&mut self, wish: &Wish, now: Micros) {
        self.remedies_expire(now);
        if let Some(off) = &self.offboarded {
            if !off.done && self.ordered() != Some(Deed::Offboard) && self.is_due(now) {
                // It goes before any other order; a machine that works on one finishes that first.
                self.order(Deed::Offboard, None, false, "off-boarded");
                self.put(ExtensionState::Deleting, ExtensionCode::Ok, "", now);
            }
            return;
        }
        if let Some(order) = &self.order {
            if self.ordered() != Some(Deed::Install) || order.taken {
                return;
            }
            // An install that the machine has not begun is taken back when it is not wanted any more, or another one is.
            let same = order.package == wish.package && order.passive == wish.passive();
            if wish.sensor.is_ok() && wish.support.is_ok() && same {
                return;
            }
            self.order = None;
            match &self.extension {
                Some(e) if e.state == ExtensionState::Updating => {
                    self.put(ExtensionState::Succeeded, ExtensionCode::Ok, "", now);
                }
                _ => self.extension = None,
            }
        }
        if wish.sensor.is_err() {
            // What is there stays: a plan that is switched off removes nothing. What never was is shown no more.
            if self.extension.as_ref().is_some_and(|e| e.state == ExtensionState::Failed && e.version.is_empty()) {
                self.extension = None;
                self.failures = 0;
            }
            return;
        }
        let state = self.extension.as_ref().map(|e| (e.state, e.code));
        if let Err((code, detail)) = &wish.support {
            // A machine that has the sensor keeps it though it would not get it today.
            if !matches!(state, Some((ExtensionState::Succeeded | ExtensionState::Updating, _))) {
                self.put(ExtensionState::Failed, *code, detail, now);
            }
            return;
        }
        let Some(package) = &wish.package else {
            if !matches!(state, Some((ExtensionState::Succeeded | ExtensionState::Updating, _))) {
                self.put(ExtensionState::Failed, ExtensionCode::PackageMissing, "", now);
            }
            return;
        };
        let reason = match state {
            None => "the plan is on",
            Some((ExtensionState::Succeeded, _)) => {
                let settled = self.settled.as_ref();
                if settled.is_some_and(|(sha, passive)| *sha == package.sha256 && *passive == wish.passive()) {
                    return;
                }
                "another version or mode"
            }
            // What stood in the way stands there no more: at once.
            Some((_, code)) if code.is_unsupported() || code == ExtensionCode::PackageMissing => {
                "the machine has changed"
            }
            Some((ExtensionState::Failed, _)) if self.is_due(now) => "the last try failed",
            Some((ExtensionState::Failed, _)) => return,
            Some((ExtensionState::Creating | ExtensionState::Updating | ExtensionState::Deleting, _)) => {
                "what was under way is lost"
            }
        };
        let there = matches!(state, Some((ExtensionState::Succeeded, _)));
        let detail = if wish.passive() {
            format!("passive, because other products block file access: {}", wish.blocking.join(", "))
        } else {
            String::new()
        };
        self.order(Deed::Install, Some(package.clone()), wish.passive(), reason);
        let state = if there { ExtensionState::Updating } else { ExtensionState::Creating };
        self.put(state, ExtensionCode::Ok, &detail, now);
    }

    /// What a machine says. Of an order that is not the newest, only what follows for the present is taken.
    pub fn reported(&mut self, report: &ExtensionReport, now: Micros) {
        if report.generation > self.generation {
            // A restored backup of ours: the machine is ahead. Its numbers are not given again.
            self.generation = report.generation;
            self.order = None;
        }
        let done = report.phase == "done";
        let failed = report.phase == "failed";
        let code = ExtensionCode::from_claim(report.code);
        if let Some(order) = self.order.clone() {
            if order.generation != report.generation {
                return;
            }
            if let Some(order) = &mut self.order {
                order.taken = true;
            }
            if !done && !failed {
                return;
            }
            self.order = None;
            match (Deed::parse(&order.deed), done) {
                (Some(Deed::Install), true) => {
                    let well = order.package.as_ref().map(|p| &p.sha256);
                    self.failed_with = self.failed_with.take().filter(|sha| Some(sha) != well);
                    self.settled = order.package.map(|p| (p.sha256, order.passive));
                    self.succeeded(report, now);
                }
                (Some(Deed::Remove), _) => self.removed(),
                (Some(Deed::Offboard), true) => {
                    self.removed();
                    if let Some(off) = &mut self.offboarded {
                        off.done = true;
                    }
                }
                (_, true) => {}
                (deed, false) => {
                    if deed == Some(Deed::Install) {
                        self.failed_with = order.package.map(|p| p.sha256);
                    }
                    self.note(report);
                    self.failed(code, &report.detail, now);
                }
            }
            return;
        }
        if report.generation != self.generation || self.offboarded.is_some() {
            return;
        }
        match (&self.extension, report.phase.as_str()) {
            // An order that was taken back had been begun.
            (None, "working") => {
                let order = Order {
                    generation: report.generation,
                    deed: Deed::Install.as_str().to_owned(),
                    package: None,
                    passive: report.passive,
                    reason: "begun before it was taken back".to_owned(),
                    taken: true,
                };
                self.order = Some(order);
                self.put(ExtensionState::Creating, ExtensionCode::Ok, "", now);
            }
            (None, "done") if !report.version.is_empty() => self.succeeded(report, now),
            (Some(e), _) if e.state == ExtensionState::Succeeded => {
                if report.version.is_empty() {
                    self.note(report);
                    self.failed(ExtensionCode::NotInstalled, "", now);
                } else if !report.healthy {
                    self.failed(code, &report.detail, now);
                }
            }
            // It has become well again by itself.
            (Some(e), "done") if e.state == ExtensionState::Failed && report.healthy && !report.version.is_empty() => {
                self.succeeded(report, now);
            }
            _ => {}
        }
    }

    fn note(&mut self, report: &ExtensionReport) {
        if let Some(e) = &mut self.extension {
            e.version = report.version.chars().filter(|c| !c.is_control()).take(40).collect();
            (e.passive, e.adopted) = (report.passive, report.adopted);
        }
    }

    fn succeeded(&mut self, report: &ExtensionReport, now: Micros) {
        (self.failures, self.retry_at) = (0, 0);
        let detail =
            self.extension.as_ref().map(|e| e.detail.clone()).filter(|d| report.passive && d.starts_with("passive"));
        self.put(ExtensionState::Succeeded, ExtensionCode::Ok, detail.as_deref().unwrap_or_default(), now);
        self.note(report);
    }

    fn removed(&mut self) {
        self.extension = None;
        self.settled = None;
        (self.failures, self.retry_at) = (0, 0);
    }

    /// Deletes the extension: it goes from the machine, the sensor stays. If it is wanted still, it comes back, once.
    pub fn delete(&mut self, who: &str, now: Micros) -> Result<(), NoExtension> {
        let extension = self.extension.as_ref().ok_or(NoExtension)?;
        if extension.state == ExtensionState::Deleting {
            return Ok(());
        }
        if extension.version.is_empty() && self.order.as_ref().is_none_or(|o| !o.taken) {
            // Nothing is there that could be removed.
            self.order = None;
            self.removed();
            return Ok(());
        }
        self.order(Deed::Remove, None, false, &format!("deleted by {who}"));
        self.put(ExtensionState::Deleting, ExtensionCode::Ok, "", now);
        Ok(())
    }

    /// Off-boards the machine: everything goes, and nothing comes back by itself.
    pub fn offboard(&mut self, who: &str, now: Micros) {
        if self.offboarded.as_ref().is_none_or(|off| off.returned) {
            (self.failures, self.retry_at) = (0, 0);
            let who = who.chars().take(120).collect();
            self.offboarded = Some(Offboarded { who, at: now.0, done: false, returned: false });
        }
    }

    /// Takes an off-boarding back: the plan counts again.
    pub fn onboard(&mut self) {
        if let Some(off) = self.offboarded.take()
            && !off.done
            && self.ordered() == Some(Deed::Offboard)
            && self.order.as_ref().is_some_and(|o| !o.taken)
        {
            self.order = None;
            // The machine may have heard it all the same: what it says of it is of an older order from here on, and not
            // of an install.
            self.generation += 1;
            if self.extension.as_ref().is_some_and(|e| e.state == ExtensionState::Deleting) {
                // Whether it is there will be seen by the next order, which takes over what it finds.
                self.extension = None;
            }
        }
        (self.failures, self.retry_at) = (0, 0);
    }

    /// The order to hand out to a machine that has taken all up to this one.
    pub fn deliver(&self, taken: u64) -> Option<&Order> {
        self.order.as_ref().filter(|o| o.generation > taken)
    }

    /// Whether the machine has done its off-boarding and may forget us.
    pub fn is_gone(&self) -> bool {
        self.offboarded.as_ref().is_some_and(|o| o.done && !o.returned)
    }

    /// What stands of a machine that is connected with a new identity. Its journal is empty: what it has will be seen.
    /// Numbers of orders go on, and an off-boarding is not forgotten; one that was done has not to be done again.
    pub fn enrolled_anew(&self) -> Self {
        let offboarded = self.offboarded.clone().map(|off| Offboarded { returned: off.done, ..off });
        Self { generation: self.generation, offboarded, ..Self::default() }
    }
}

#[cfg(test)]
mod tests;
