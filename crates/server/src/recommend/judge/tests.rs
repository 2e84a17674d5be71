use super::*;
use crate::connect::ProductFound;
use crate::recommend::exempt::Category;
use garrison_model::{EffectivePlan, Extension, MachineId, PlanSource};

const NOW: i64 = 2_000_000_000;
const DAY: i64 = 86_400;

fn machine(kind: MachineKind, state: ConnectionState) -> Machine {
    let resource = "/subscriptions/0f1e2d3c-0000-4000-8000-000000000001/resourceGroups/web/providers/\
                    Garrison.HybridCompute/machines/www1";
    let resource_id: garrison_model::ResourceId = resource.parse().unwrap();
    Machine {
        id: MachineId::from_bits(7),
        name: resource_id.machine.clone(),
        resource_id,
        kind,
        state,
        power_state: None,
        device_id: None,
        device_gone: false,
        plan: EffectivePlan { plan: Plan::P2, source: PlanSource::Subscription },
        excluded_by: None,
        extensions: Vec::new(),
        health: None,
        tags: Default::default(),
        system: Default::default(),
        connector_version: String::new(),
        last_heartbeat: None,
        created_time: String::new(),
    }
}

fn with(state: ExtensionState, code: i64) -> Machine {
    let mut m = machine(MachineKind::Hybrid, ConnectionState::Connected);
    m.extensions.push(Extension {
        name: "Sensor.Linux".to_owned(),
        state,
        code,
        message: "what".to_owned(),
        fix: "how".to_owned(),
        version: "1".to_owned(),
        updated_time: String::new(),
    });
    m
}

/// A machine whose device was off-boarded.
fn gone() -> Machine {
    let mut m = machine(MachineKind::Hybrid, ConnectionState::Connected);
    m.device_id = garrison_model::DeviceId::new("d".repeat(40)).ok();
    assert!(m.has_sensor());
    m.device_gone = true;
    m
}

fn look(products: &[(&str, &str, &str)]) -> Look {
    let found = products.iter().map(|(name, package, process)| ProductFound {
        name: (*name).to_owned(),
        package: (*package).to_owned(),
        process: (*process).to_owned(),
    });
    Look { products: Some(found.collect()), ..Look::default() }
}

/// The state, the codes of the findings, and what was discovered.
fn check(key: Key, case: &Case<'_>) -> (State, Vec<String>, Vec<String>) {
    let judged = judge(key, case, Micros(NOW * 1_000_000));
    assert!(!judged.reason.is_empty());
    assert!(judged.findings.iter().all(|f| !f.message.is_empty() && !f.fix.is_empty()), "{judged:?}");
    assert!((judged.state == State::Unhealthy) != judged.findings.is_empty(), "{judged:?}");
    (judged.state, judged.findings.into_iter().map(|f| f.code).collect(), judged.discovered)
}

#[test]
fn every_machine_is_protected_or_told_why_not() {
    use ConnectionState as C;
    use NotCovered as N;
    use State as S;
    let hybrid = |state| machine(MachineKind::Hybrid, state);
    let device = || {
        let mut m = machine(MachineKind::Direct, C::Connected);
        m.device_id = "a".repeat(40).parse().ok();
        assert!(m.device_id.is_some());
        m
    };
    let cloud = |power| {
        let mut m = machine(MachineKind::Cloud, C::Connecting);
        m.power_state = Some(power);
        m
    };
    let none = || Some(look(&[]));
    let off = || Some(Look { offboarded: true, ..look(&[]) });
    let other = || Some(look(&[("Sophos", "sophos-spl", "sophos_watchdog")]));
    let stopped = || Some(look(&[("Sophos", "sophos-spl", "")]));
    let healthy = |by: &str| (S::Healthy, "", by.to_owned());
    for (name, m, wanted, look, (state, codes, by)) in vec![
        ("sensor", with(ExtensionState::Succeeded, 0), Ok(()), none(), healthy("Garrison")),
        ("sensor being updated", with(ExtensionState::Updating, 0), Ok(()), none(), healthy("Garrison")),
        ("sensor without a plan", with(ExtensionState::Succeeded, 0), Err(N::NoPlan), none(), healthy("Garrison")),
        ("sensor without a connector", device(), Err(N::NoPlan), None, healthy("Garrison")),
        ("other product", hybrid(C::Connected), Err(N::NoPlan), other(), healthy("Sophos")),
        ("both", with(ExtensionState::Succeeded, 0), Ok(()), other(), healthy("Garrison,Sophos")),
        ("other product excluded from ours", hybrid(C::Connected), Err(N::Excluded), other(), healthy("Sophos")),
        (
            "stopped product",
            hybrid(C::Connected),
            Err(N::NoPlan),
            stopped(),
            (S::Unhealthy, "ProductStopped,PlanMissing", String::new()),
        ),
        ("no plan", hybrid(C::Connected), Err(N::NoPlan), none(), (S::Unhealthy, "PlanMissing", String::new())),
        (
            "switched off",
            hybrid(C::Connected),
            Err(N::SwitchedOff),
            none(),
            (S::Unhealthy, "PlanMissing", String::new()),
        ),
        ("excluded", hybrid(C::Connected), Err(N::Excluded), none(), (S::Unhealthy, "Excluded", String::new())),
        (
            "integration",
            hybrid(C::Connected),
            Err(N::IntegrationOff),
            none(),
            (S::Unhealthy, "IntegrationOff", String::new()),
        ),
        ("off-boarded", hybrid(C::Connected), Ok(()), off(), (S::Unhealthy, "OffBoarded", String::new())),
        ("off-boarded, with its device", gone(), Ok(()), off(), (S::Unhealthy, "OffBoarded", String::new())),
        ("failed", with(ExtensionState::Failed, 10), Ok(()), none(), (S::Unhealthy, "SensorFailed", String::new())),
        (
            "on its way",
            with(ExtensionState::Creating, 0),
            Ok(()),
            none(),
            (S::Unhealthy, "SensorMissing", String::new()),
        ),
        (
            "silent for a while",
            hybrid(C::Disconnected),
            Err(N::NoPlan),
            none(),
            (S::Unhealthy, "PlanMissing", String::new()),
        ),
        ("no connector", cloud(PowerState::Running), Ok(()), None, (S::Unhealthy, "NotConnected", String::new())),
        ("not running", cloud(PowerState::Deallocated), Ok(()), None, (S::NotApplicable, "", String::new())),
        ("never heard", hybrid(C::Connecting), Ok(()), none(), (S::NotApplicable, "", String::new())),
        ("expired", hybrid(C::Expired), Ok(()), none(), (S::NotApplicable, "", String::new())),
    ] {
        let case = Case { machine: &m, wanted, look: look.as_ref(), exemption: None };
        let told = check(Key::Installed, &case);
        assert_eq!((told.0, told.1.join(","), told.2.join(",")), (state, codes.to_owned(), by), "{name}");
    }
}

#[test]
fn settings_are_checked_where_our_sensor_tells_of_them() {
    use State as S;
    let told = |state: &str, signatures: i64, quick: i64, full: i64| {
        Some(ProtectionFacts {
            state: state.to_owned(),
            signatures_time: signatures,
            quick_scan_time: quick,
            full_scan_time: full,
            ..ProtectionFacts::default()
        })
    };
    let (fresh, old, week) = (NOW - DAY, NOW - 8 * DAY, NOW - 7 * DAY);
    for (protection, state, codes) in [
        (None, S::NotApplicable, ""),
        (told("on", fresh, fresh, fresh), S::Healthy, ""),
        // One scan is enough, and exactly seven days are not old.
        (told("on", fresh, fresh, 0), S::Healthy, ""),
        (told("on", week, 0, week), S::Healthy, ""),
        (told("on", fresh, old, old), S::Unhealthy, "ScansOld"),
        (told("on", fresh, 0, 0), S::Unhealthy, "ScansOld"),
        (told("on", week - 1, fresh, 0), S::Unhealthy, "SignaturesOutdated"),
        (told("on", 0, fresh, 0), S::Unhealthy, "SignaturesOutdated"),
        (told("partial", fresh, fresh, 0), S::Unhealthy, "ProtectionPartial"),
        (told("off", old, old, old), S::Unhealthy, "ProtectionOff,SignaturesOutdated,ScansOld"),
        // A clock that was set back makes nothing old, and what is not for years is not fresh.
        (told("on", NOW + DAY, NOW + DAY, 0), S::Healthy, ""),
        (told("on", NOW + DAY + 1, i64::MAX, NOW + 9 * DAY), S::Unhealthy, "SignaturesOutdated,ScansOld"),
    ] {
        let m = with(ExtensionState::Succeeded, 0);
        let look = Look { protection: protection.clone(), ..look(&[]) };
        let case = Case { machine: &m, wanted: Ok(()), look: Some(&look), exemption: None };
        let (is, found, _) = check(Key::Configuration, &case);
        assert_eq!((is, found.join(",")), (state, codes.to_owned()), "{protection:?}");
    }
    let m = machine(MachineKind::Hybrid, ConnectionState::Connected);
    let look = Look { protection: told("off", 0, 0, 0), ..look(&[("Sophos", "", "x")]) };
    let case = Case { machine: &m, wanted: Ok(()), look: Some(&look), exemption: None };
    assert_eq!(check(Key::Configuration, &case).0, S::NotApplicable);
}

#[test]
fn a_finding_tells_what_was_asked_against_it() {
    use RemedyState as R;
    let m = with(ExtensionState::Succeeded, 0);
    let asked = |deed: &str, state, detail: &str| Asked {
        id: "x".to_owned(),
        deed: deed.to_owned(),
        who: "ada".to_owned(),
        state,
        since: 0,
        detail: detail.to_owned(),
    };
    let protection = Some(ProtectionFacts {
        state: "partial".to_owned(),
        product: "ClamAV".to_owned(),
        detail: "nothing on access".to_owned(),
        ..ProtectionFacts::default()
    });
    // The last one of a deed counts.
    let remedies = vec![
        asked("update", R::Done, "well"),
        asked("update", R::Failed, "no mirror"),
        asked("scan", R::Failed, "x"),
        asked("scan", R::Working, ""),
        asked("switch_on", R::Done, "clamd runs"),
    ];
    let look = Look { protection, remedies, ..look(&[]) };
    let case = Case { machine: &m, wanted: Ok(()), look: Some(&look), exemption: None };
    let judged = judge(Key::Configuration, &case, Micros(NOW * 1_000_000));
    let ends = ["switched off: nothing on access", "update of signatures: failed, no mirror", "quick scan: under way"];
    assert_eq!(judged.findings.len(), ends.len());
    for (finding, end) in judged.findings.iter().zip(ends) {
        assert!(finding.message.ends_with(end), "{finding:?}");
    }
    assert_eq!(judged.reason, "3 setting(s) of ClamAV are weak");
}

#[test]
fn an_exemption_hides_the_state_and_keeps_the_findings() {
    let m = machine(MachineKind::Hybrid, ConnectionState::Connected);
    let exemption = Exemption {
        id: "em1".to_owned(),
        key: Key::Installed,
        scope: "/subscriptions/0f1e2d3c-0000-4000-8000-000000000001".parse().unwrap(),
        category: Category::Mitigated,
        reason: "behind glass".to_owned(),
        created_by: "ann".to_owned(),
        created_time: String::new(),
        expires: Some("2033-01-01T00:00:00Z".to_owned()),
    };
    let look = look(&[]);
    let case = Case { machine: &m, wanted: Err(NotCovered::NoPlan), look: Some(&look), exemption: Some(&exemption) };
    let judged = judge(Key::Installed, &case, Micros(NOW));
    assert_eq!(judged.state, State::Exempt);
    assert_eq!(judged.reason, "exempt as Mitigated until 2033-01-01T00:00:00Z: behind glass");
    assert_eq!(judged.findings[0].code, "PlanMissing");
}
