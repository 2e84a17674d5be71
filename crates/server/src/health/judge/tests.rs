use super::*;
use crate::connect::reconcile::Offboarded;
use garrison_model::{
    DISCONNECTED_AFTER, DeviceSight, EXPIRED_AFTER, EffectivePlan, MachineId, Plan, PlanSource, ResourceId, Tags,
    connection_state,
};

/// Everything begins here; tests move on from it.
const BEGIN: i64 = 1_700_000_000_000_000;
const SILENT: i64 = 5 * MINUTE;

/// A machine with its plan on, its connector heard of a moment ago, and a sensor that works.
struct Scene {
    now: i64,
    machine: Machine,
    wanted: Result<(), NotCovered>,
    connector: Option<ConnectorLook>,
    device: Option<DeviceLook>,
    heartbeat: Option<i64>,
}

fn extension(state: ExtensionState, code: i64, version: &str) -> Extension {
    Extension {
        name: "Sensor.Linux".into(),
        state,
        code,
        message: "words".into(),
        fix: if code == 0 { String::new() } else { "what to do".into() },
        version: version.into(),
        updated_time: rfc3339(Micros(BEGIN)),
    }
}

impl Scene {
    fn well() -> Self {
        let resource_id: ResourceId = "/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/g/providers/\
            Garrison.HybridCompute/machines/web"
            .parse()
            .unwrap();
        let machine = Machine {
            id: MachineId::from_bits(1),
            name: resource_id.machine.clone(),
            resource_id,
            kind: MachineKind::Hybrid,
            state: ConnectionState::Connected,
            power_state: Some(PowerState::Running),
            device_id: None,
            device_gone: false,
            plan: EffectivePlan { plan: Plan::P2, source: PlanSource::Subscription },
            excluded_by: None,
            extensions: vec![extension(ExtensionState::Succeeded, 0, "1.0.0")],
            health: None,
            tags: Tags::new(),
            system: Default::default(),
            connector_version: String::new(),
            last_heartbeat: None,
            created_time: rfc3339(Micros(BEGIN)),
        };
        let device = DeviceLook {
            first_seen: Micros(BEGIN),
            last_seen: Micros(BEGIN),
            reported: true,
            health: SensorHealthState::Active,
            issues: Vec::new(),
            sight: DeviceSight { subsystem: "ebpf".into(), missing: Vec::new() },
            revoked: false,
            revoked_reason: String::new(),
            skew: Some(0),
        };
        Self {
            now: BEGIN,
            machine,
            wanted: Ok(()),
            connector: Some(ConnectorLook::default()),
            device: Some(device),
            heartbeat: Some(BEGIN),
        }
    }

    /// State and codes as of its clock.
    fn judged(&self) -> (HealthState, Vec<String>) {
        let mut machine = self.machine.clone();
        machine.state = connection_state(self.heartbeat, self.now);
        machine.last_heartbeat = self.heartbeat.map(|at| rfc3339(Micros(at)));
        let mut device = self.device.clone();
        if let Some(d) = device.as_mut().filter(|d| !d.revoked && self.now - d.last_seen.0 > SILENT) {
            d.health = SensorHealthState::Inactive;
        }
        let (connector, device) = (self.connector.as_ref(), device.as_ref());
        let case = Case { machine: &machine, wanted: self.wanted, connector, device };
        let judged = judge(&case, Micros(self.now));
        for f in &judged.findings {
            assert!(!f.message.is_empty() && !f.fix.is_empty(), "{f:?}");
            assert_eq!(CODES.iter().find(|(code, ..)| *code == f.code).unwrap().1, f.class);
        }
        (judged.state, judged.findings.into_iter().map(|f| f.code).collect())
    }

    #[track_caller]
    fn is(&self, state: HealthState, codes: &[&str]) {
        assert_eq!(self.judged(), (state, codes.iter().map(|c| (*c).to_owned()).collect()));
    }

    /// The machine and its sensor go on to be heard of.
    fn alive(&mut self, now: i64) {
        self.now = now;
        self.heartbeat = Some(now);
        if let Some(d) = &mut self.device {
            d.last_seen = Micros(now);
        }
    }
}

use HealthState::{Healthy, NotApplicable, Pending, Unhealthy};

#[test]
fn a_machine_with_all_that_it_should_have_is_healthy() {
    Scene::well().is(Healthy, &[]);
}

#[test]
fn an_installation_that_lasts_is_told_and_one_that_ends_is_not() {
    let mut s = Scene::well();
    s.device = None;
    s.machine.extensions = vec![extension(ExtensionState::Creating, 0, "")];
    s.is(Pending, &[]);
    s.alive(BEGIN + INSTALL_SLOW);
    s.is(Pending, &[]);
    s.alive(BEGIN + INSTALL_SLOW + 1);
    s.is(Unhealthy, &["InstallSlow"]);
    // A machine that is away does not work on it.
    s.now += DISCONNECTED_AFTER;
    s.is(Unhealthy, &["ConnectorSilent"]);
    s.alive(s.now);
    s.machine.extensions = vec![extension(ExtensionState::Failed, 21, "")];
    s.is(Unhealthy, &["InstallFailed"]);
    s.machine.extensions = vec![extension(ExtensionState::Failed, 103, "1.0.0")];
    s.is(Unhealthy, &["RolledBack"]);
    s.machine.extensions = vec![extension(ExtensionState::Failed, 103, "")];
    s.is(Unhealthy, &["InstallFailed"]);
    s.machine.extensions.clear();
    s.is(Pending, &[]);
    s.connector = None;
    s.is(Unhealthy, &["NoConnector"]);
    s.machine.kind = MachineKind::Cloud;
    s.is(Unhealthy, &["NoConnector"]);
}

#[test]
fn a_passive_sensor_is_told_and_is_well() {
    let mut s = Scene::well();
    s.connector = Some(ConnectorLook { passive: true, ..ConnectorLook::default() });
    s.is(Healthy, &["Passive"]);
}

#[test]
fn a_second_machine_with_its_identity_is_told_for_a_week() {
    let mut s = Scene::well();
    s.connector = Some(ConnectorLook { twin: Some(BEGIN), ..ConnectorLook::default() });
    s.is(Unhealthy, &["Twin"]);
    s.alive(BEGIN + TWIN_TOLD);
    s.is(Unhealthy, &["Twin"]);
    s.alive(BEGIN + TWIN_TOLD + 1);
    s.is(Healthy, &[]);
}

#[test]
fn silence_of_the_connector_has_three_steps() {
    let mut s = Scene::well();
    (s.device, s.machine.extensions, s.heartbeat) = (None, Vec::new(), None);
    s.is(Pending, &[]);
    s.now = BEGIN + CONNECT_LATE + 1;
    s.is(Unhealthy, &["ConnectorNeverReported"]);
    let mut s = Scene::well();
    s.now = BEGIN + DISCONNECTED_AFTER - 1;
    s.device.as_mut().unwrap().last_seen = Micros(s.now);
    s.is(Healthy, &[]);
    s.now = BEGIN + DISCONNECTED_AFTER;
    s.is(Unhealthy, &["ConnectorSilent"]);
    s.now = BEGIN + EXPIRED_AFTER;
    s.is(Unhealthy, &["ConnectorExpired", "SensorSilent"]);
    // A machine of a cloud, or of its sensor alone, has no connector that could be silent.
    for kind in [MachineKind::Cloud, MachineKind::Direct] {
        s.machine.kind = kind;
        s.is(Unhealthy, &["SensorSilent"]);
    }
}

#[test]
fn a_sensor_is_told_from_its_first_word_to_its_last() {
    let mut s = Scene::well();
    let device = s.device.take().unwrap();
    s.is(Pending, &[]);
    s.alive(BEGIN + REPORT_LATE + 1);
    s.is(Unhealthy, &["SensorNeverReported"]);
    // It has enrolled and not opened a session.
    s.device = Some(DeviceLook { reported: false, first_seen: Micros(s.now), ..device.clone() });
    s.is(Pending, &[]);
    s.alive(s.now + REPORT_LATE + 1);
    s.is(Unhealthy, &["SensorNeverReported"]);
    let mut s = Scene::well();
    s.now = BEGIN + SILENT + 1;
    s.heartbeat = Some(s.now);
    s.is(Unhealthy, &["SensorSilent"]);
    s.alive(s.now);
    s.is(Healthy, &[]);
    let d = s.device.as_mut().unwrap();
    (d.revoked, d.revoked_reason) = (true, "stolen".into());
    s.is(Unhealthy, &["CertificateRevoked"]);
}

#[test]
fn clocks_sight_and_sheds_are_told_of_a_sensor_that_is_heard_of() {
    for (skew, codes) in [
        (SKEW_MAX, &[][..]),
        (-SKEW_MAX, &[]),
        (SKEW_MAX + 1, &["ClockSkew"]),
        (-SKEW_MAX - 1, &["ClockSkew"]),
        (i64::MIN, &["ClockSkew"]),
    ] {
        let mut s = Scene::well();
        s.device.as_mut().unwrap().skew = Some(skew);
        s.is(if codes.is_empty() { Healthy } else { Unhealthy }, codes);
    }
    for (subsystem, missing, state, codes) in [
        ("", &[][..], Unhealthy, &["NoSight"][..]),
        ("none", &["all"], Unhealthy, &["NoSight"]),
        ("fallback", &[], Healthy, &["SightDegraded"]),
        ("ebpf", &["bytes of connections"], Healthy, &["SightDegraded"]),
    ] {
        let mut s = Scene::well();
        let missing = missing.iter().map(|m| (*m).to_owned()).collect();
        s.device.as_mut().unwrap().sight = DeviceSight { subsystem: subsystem.into(), missing };
        s.is(state, codes);
    }
    let mut s = Scene::well();
    s.device.as_mut().unwrap().issues = vec!["the clock differs from the server's by 900 s".into()];
    s.is(Unhealthy, &["ClockSkew"]);
    s.device.as_mut().unwrap().skew = Some(900_000_000);
    s.is(Unhealthy, &["ClockSkew"]);
    let mut s = Scene::well();
    s.device.as_mut().unwrap().issues = vec!["over its budget: no hashes".into(), "content was refused".into()];
    s.is(Unhealthy, &["Sheds", "SensorIssue"]);
}

#[test]
fn nothing_is_expected_of_a_machine_for_a_reason() {
    let bare = || {
        let mut s = Scene::well();
        (s.device, s.machine.extensions) = (None, Vec::new());
        s
    };
    for (reason, code) in [
        (NotCovered::NoPlan, "PlanOff"),
        (NotCovered::SwitchedOff, "PlanOff"),
        (NotCovered::Excluded, "Excluded"),
        (NotCovered::IntegrationOff, "IntegrationOff"),
    ] {
        let mut s = bare();
        s.wanted = Err(reason);
        s.is(NotApplicable, &[code]);
    }
    for code in [10, 11, 12] {
        let mut s = bare();
        s.machine.extensions = vec![extension(ExtensionState::Failed, code, "")];
        s.is(NotApplicable, &["Unsupported"]);
    }
    // Excluded, and a sensor is there all the same: it is judged. With the plan off it is not.
    let mut s = Scene::well();
    s.now = BEGIN + SILENT + 1;
    s.heartbeat = Some(s.now);
    s.wanted = Err(NotCovered::Excluded);
    s.is(Unhealthy, &["SensorSilent"]);
    s.wanted = Err(NotCovered::SwitchedOff);
    s.is(NotApplicable, &["PlanOff"]);
}

#[test]
fn a_machine_that_was_off_boarded_or_is_off_is_not_expected_to_answer() {
    let mut s = Scene::well();
    let off = Offboarded { who: "amy".into(), at: BEGIN, done: false, returned: false };
    s.connector = Some(ConnectorLook { offboarded: Some(off), ..ConnectorLook::default() });
    s.now = BEGIN + EXPIRED_AFTER;
    s.is(NotApplicable, &["OffBoarded"]);
    for (power, is_off) in [
        (PowerState::Running, false),
        (PowerState::Starting, false),
        (PowerState::Stopping, true),
        (PowerState::Stopped, true),
        (PowerState::Deallocating, true),
        (PowerState::Deallocated, true),
    ] {
        let mut s = Scene::well();
        s.machine.power_state = Some(power);
        s.is(Healthy, &[]);
        s.now = BEGIN + DISCONNECTED_AFTER;
        if is_off {
            s.is(NotApplicable, &["PoweredOff"]);
        } else {
            s.is(Unhealthy, &["ConnectorSilent", "SensorSilent"]);
        }
    }
}

#[test]
fn a_clock_that_is_set_back_makes_nobody_late() {
    let mut s = Scene::well();
    s.machine.extensions = vec![extension(ExtensionState::Creating, 0, "")];
    s.now = BEGIN - EXPIRED_AFTER;
    s.is(Pending, &[]);
}

#[test]
fn every_code_is_in_the_reference_page() {
    let path = format!("{}/../../docs/reference/health.md", std::env::var("CARGO_MANIFEST_DIR").unwrap());
    let page = std::fs::read_to_string(&path).unwrap();
    for (code, class, fix) in CODES {
        assert!(fix.ends_with('.'), "{code}");
        assert!(page.lines().any(|l| l.starts_with(&format!("| `{code}` | {class} |"))), "{code} is not in {path}");
    }
}
