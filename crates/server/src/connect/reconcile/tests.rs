//! A server and a machine through any sequence of events: restarts of either, lost, late and repeated words, a clock
//! that goes back. The machine is a model that checks what no machine may meet.

use super::*;
use proptest::prelude::*;

const MINUTE: i64 = 60 * 1_000_000;

fn package(version: &str) -> Package {
    Package {
        version: version.into(),
        architecture: "x64".into(),
        size: 1,
        sha256: version.repeat(4),
        signature: String::new(),
    }
}

fn wish() -> Wish {
    Wish { sensor: Ok(()), support: Ok(()), package: Some(package("1.0")), blocking: vec![] }
}

/// A machine: obeys an order that is newer than the newest it took, one at a time, in order.
#[derive(Debug, Clone, Default)]
struct Machine {
    taken: u64,
    queue: Vec<Order>,
    working: Option<Order>,
    last: Option<(u64, bool)>,
    installed: Option<String>,
    managed: bool,
    installs: u32,
}

impl Machine {
    fn take(&mut self, order: &Order) {
        if order.generation > self.taken {
            self.taken = order.generation;
            self.queue.push(order.clone());
        }
        if self.working.is_none() && !self.queue.is_empty() {
            let order = self.queue.remove(0);
            self.working = Some(order);
        }
    }

    fn finish(&mut self, well: bool) {
        let Some(order) = self.working.take() else { return };
        match Deed::parse(&order.deed).unwrap() {
            Deed::Install if well => {
                self.installs += u32::from(self.installed.as_deref() != Some("1.0"));
                self.installed = Some("1.0".to_owned());
                self.managed = true;
            }
            Deed::Remove => self.managed = false,
            Deed::Offboard if well => (self.installed, self.managed) = (None, false),
            _ => {}
        }
        let well = well || order.deed == "remove";
        self.last = Some((order.generation, well));
        let next = (!self.queue.is_empty()).then(|| self.queue.remove(0));
        self.working = next;
    }

    fn report(&self) -> ExtensionReport {
        let (generation, phase) = match (&self.working, self.last) {
            (Some(order), _) => (order.generation, "working"),
            (None, Some((generation, true))) => (generation, "done"),
            (None, Some((generation, false))) => (generation, "failed"),
            (None, None) => (0, "done"),
        };
        let failed = phase == "failed";
        ExtensionReport {
            name: "Sensor.Linux".into(),
            generation,
            phase: phase.into(),
            code: if failed { 103 } else { 0 },
            version: if self.managed { self.installed.clone().unwrap_or_default() } else { String::new() },
            healthy: self.managed && !failed,
            ..ExtensionReport::default()
        }
    }
}

struct World {
    standing: Standing,
    machine: Machine,
    wish: Wish,
    now: Micros,
    /// Orders and reports that were sent and may come again.
    orders: Vec<Order>,
    reports: Vec<ExtensionReport>,
}

impl World {
    fn new() -> Self {
        Self {
            standing: Standing::default(),
            machine: Machine::default(),
            wish: wish(),
            now: Micros(1_000 * MINUTE),
            orders: vec![],
            reports: vec![],
        }
    }

    fn tick(&mut self) {
        self.standing.reconcile(&self.wish, self.now);
        // What is stored reads back the same: a restart of the server.
        let stored = serde_json::to_string(&self.standing).unwrap();
        assert_eq!(serde_json::from_str::<Standing>(&stored).unwrap(), self.standing);
    }

    fn deliver(&mut self) {
        if let Some(order) = self.standing.deliver(self.machine.taken).cloned() {
            self.orders.push(order.clone());
            self.machine.take(&order);
        }
    }

    fn hear(&mut self) {
        let report = self.machine.report();
        self.reports.push(report.clone());
        self.standing.reported(&report, self.now);
    }

    /// Everything comes through, and time passes.
    fn settle(&mut self) {
        for _ in 0..12 {
            self.tick();
            self.deliver();
            self.hear();
            self.machine.finish(true);
            self.hear();
            self.now.0 += 5 * 60 * MINUTE;
        }
    }

    fn state(&self) -> Option<ExtensionState> {
        self.standing.extension.as_ref().map(|e| e.state)
    }
}

#[test]
fn a_plan_brings_the_sensor_and_a_deleted_extension_comes_back_once() {
    let mut w = World::new();
    w.wish.sensor = Err(NotCovered::NoPlan);
    w.settle();
    assert_eq!((w.state(), w.standing.generation), (None, 0));
    w.wish.sensor = Ok(());
    w.settle();
    assert_eq!((w.state(), w.standing.generation), (Some(ExtensionState::Succeeded), 1));
    w.standing.delete("admin", w.now).unwrap();
    assert_eq!(w.state(), Some(ExtensionState::Deleting));
    w.settle();
    assert_eq!((w.state(), w.standing.generation), (Some(ExtensionState::Succeeded), 3), "removed, and given once");
    assert_eq!(w.machine.installs, 1, "the sensor that stayed was taken over");
    for reason in [NotCovered::SwitchedOff, NotCovered::Excluded, NotCovered::IntegrationOff] {
        w.wish.sensor = Ok(());
        w.settle();
        w.wish.sensor = Err(reason);
        w.settle();
        assert_eq!(w.state(), Some(ExtensionState::Succeeded), "switching off removes nothing");
        w.standing.delete("admin", w.now).unwrap();
        w.settle();
        assert_eq!(w.state(), None, "{reason:?}");
        assert!(w.machine.installed.is_some(), "the sensor stays until it is off-boarded");
        assert_eq!(w.standing.delete("admin", w.now), Err(NoExtension));
    }
}

#[test]
fn an_unsupported_machine_has_a_code_and_no_order_until_it_changes() {
    let mut w = World::new();
    w.wish.support = Err((ExtensionCode::UnsupportedDistro, "the distribution is `arch`".into()));
    w.settle();
    assert_eq!((w.state(), w.standing.generation), (Some(ExtensionState::Failed), 0));
    assert_eq!(w.standing.extension.as_ref().unwrap().code, ExtensionCode::UnsupportedDistro);
    w.wish = Wish { package: None, ..wish() };
    w.settle();
    assert_eq!(w.standing.extension.as_ref().unwrap().code, ExtensionCode::PackageMissing);
    w.wish = wish();
    w.tick();
    assert_eq!((w.state(), w.standing.generation), (Some(ExtensionState::Creating), 1));
}

#[test]
fn a_failure_keeps_its_code_and_is_tried_again_after_a_while() {
    let mut w = World::new();
    w.tick();
    w.deliver();
    w.machine.finish(false);
    w.hear();
    assert_eq!(w.standing.extension.as_ref().unwrap().code, ExtensionCode::Unhealthy);
    w.tick();
    assert_eq!(w.standing.generation, 1, "not at once");
    let failed_at = w.now.0;
    w.now.0 = failed_at + RETRY_MIN;
    w.tick();
    assert_eq!(w.standing.generation, 2);
    // A clock set back by a year does not hold it for a year.
    w.deliver();
    w.machine.finish(false);
    w.hear();
    w.now.0 -= 365 * 24 * 60 * MINUTE;
    w.tick();
    assert_eq!(w.standing.generation, 3);
}

#[test]
fn another_product_that_blocks_makes_the_sensor_passive_and_says_so() {
    let mut w = World::new();
    w.wish.blocking = vec!["otherav".into()];
    w.tick();
    let order = w.standing.order.clone().unwrap();
    assert!(order.passive && w.standing.extension.as_ref().unwrap().detail.contains("otherav"));
    w.settle();
    assert_eq!((w.state(), w.standing.generation), (Some(ExtensionState::Succeeded), 1));
}

#[test]
fn off_boarding_removes_everything_and_is_remembered_until_it_is_taken_back() {
    let mut w = World::new();
    w.settle();
    w.standing.offboard("admin", w.now);
    w.settle();
    assert!(w.standing.is_gone() && w.machine.installed.is_none() && w.state().is_none());
    let given = w.standing.generation;
    w.settle();
    assert_eq!(w.standing.generation, given, "the reconciler does not fight the administrator");
    w.standing.onboard();
    w.settle();
    assert_eq!(w.state(), Some(ExtensionState::Succeeded));
}

#[test]
fn an_off_boarding_that_is_taken_back_while_the_machine_obeys_it_brings_the_sensor_back() {
    let mut w = World::new();
    w.settle();
    w.standing.offboard("admin", w.now);
    w.tick();
    // The machine has the order and works on it; its word is still under way when the off-boarding is taken back.
    w.deliver();
    w.standing.onboard();
    w.hear();
    w.machine.finish(true);
    w.hear();
    assert!(w.machine.installed.is_none());
    w.settle();
    assert_eq!(w.state(), Some(ExtensionState::Succeeded));
    assert_eq!(w.machine.installed.as_deref(), Some("1.0"), "and not only said to be there");
}

#[test]
fn a_machine_that_comes_back_after_its_off_boarding_stays_connected_and_gets_nothing_until_it_is_let() {
    let mut w = World::new();
    w.settle();
    w.standing.offboard("admin", w.now);
    w.settle();
    assert!(w.standing.is_gone());
    // Enrolled again: a new identity and an empty journal.
    w.standing = w.standing.enrolled_anew();
    w.machine = Machine::default();
    w.settle();
    assert!(!w.standing.is_gone(), "it is not sent away again");
    assert_eq!((w.state(), w.machine.installs), (None, 0), "the off-boarding is remembered");
    w.standing.onboard();
    w.settle();
    assert_eq!((w.state(), w.machine.installs), (Some(ExtensionState::Succeeded), 1));
    // Off-boarded again, it goes again.
    w.standing.offboard("admin", w.now);
    w.settle();
    assert!(w.standing.is_gone() && w.machine.installed.is_none());
}

#[derive(Debug, Clone)]
enum Event {
    Tick,
    Deliver,
    Hear,
    Finish(bool),
    OldOrder(usize),
    OldReport(usize),
    Plan(bool),
    Support(bool),
    Passive(bool),
    Delete,
    Offboard,
    Onboard,
    EnrolAnew,
    Clock(i64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => Just(Event::Tick),
        4 => Just(Event::Deliver),
        4 => Just(Event::Hear),
        3 => any::<bool>().prop_map(Event::Finish),
        1 => (0_usize..64).prop_map(Event::OldOrder),
        1 => (0_usize..64).prop_map(Event::OldReport),
        1 => any::<bool>().prop_map(Event::Plan),
        1 => any::<bool>().prop_map(Event::Support),
        1 => any::<bool>().prop_map(Event::Passive),
        1 => Just(Event::Delete),
        1 => Just(Event::Offboard),
        1 => Just(Event::Onboard),
        1 => Just(Event::EnrolAnew),
        2 => (-500_000_i64..500_000).prop_map(|minutes| Event::Clock(minutes * MINUTE)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_machine_is_installed_twice_at_once_and_none_is_forgotten(events in proptest::collection::vec(event(), 0..120)) {
        let mut w = World::new();
        for event in events {
            match event {
                Event::Tick => w.tick(),
                Event::Deliver => w.deliver(),
                Event::Hear => w.hear(),
                Event::Finish(well) => w.machine.finish(well),
                Event::OldOrder(at) => if let Some(order) = w.orders.get(at).cloned() { w.machine.take(&order) },
                Event::OldReport(at) => if let Some(report) = w.reports.get(at).cloned() { w.standing.reported(&report, w.now) },
                Event::Plan(on) => w.wish.sensor = if on { Ok(()) } else { Err(NotCovered::SwitchedOff) },
                Event::Support(well) => w.wish.support = if well { Ok(()) } else { Err((ExtensionCode::UnsupportedDistro, String::new())) },
                Event::Passive(on) => w.wish.blocking = if on { vec!["x".into()] } else { vec![] },
                Event::Delete => drop(w.standing.delete("admin", w.now)),
                Event::Offboard => w.standing.offboard("admin", w.now),
                Event::Onboard => w.standing.onboard(),
                Event::EnrolAnew => {
                    // What is on its way to the identity before is not heard any more.
                    w.standing = w.standing.enrolled_anew();
                    w.machine = Machine { taken: 0, queue: vec![], working: None, last: None, managed: false, ..w.machine };
                    (w.orders, w.reports) = (vec![], vec![]);
                }
                Event::Clock(by) => w.now.0 = (w.now.0 + by).max(0),
            }
            // One order at a time, and what a machine works on or has waiting was given under a number of its own.
            let mut numbers: Vec<u64> = w.machine.queue.iter().chain(&w.machine.working).map(|o| o.generation).collect();
            numbers.sort_unstable();
            prop_assert!(numbers.windows(2).all(|p| p[0] < p[1]));
            prop_assert!(w.machine.taken <= w.standing.generation);
            if w.standing.is_gone() {
                prop_assert!(w.standing.order.is_none());
            }
            // Nothing is handed out for a machine that is off-boarded but the order to leave.
            if let (Some(_), Some(order)) = (&w.standing.offboarded, w.standing.deliver(0)) {
                prop_assert!(order.deed == "offboard" || order.generation <= w.standing.generation);
            }
        }
        // Quiet comes: whatever happened, what should be is.
        while w.machine.working.is_some() { w.machine.finish(true); }
        w.settle();
        if w.standing.offboarded.is_some() {
            let returned = w.standing.offboarded.as_ref().is_some_and(|off| off.returned);
            prop_assert!(returned || w.standing.is_gone() && w.machine.installed.is_none(), "{:?} {:?}", w.standing, w.machine);
        } else if w.wish.sensor.is_ok() && w.wish.support.is_ok() {
            prop_assert_eq!(w.state(), Some(ExtensionState::Succeeded), "{:?} {:?}", &w.standing, &w.machine);
            prop_assert!(w.machine.installed.is_some() && w.machine.managed);
        }
        let given = w.standing.generation;
        w.settle();
        prop_assert_eq!(w.standing.generation, given, "what is as it should be is left alone");
        // With the plan off nothing new is ever installed.
        w.wish.sensor = Err(NotCovered::NoPlan);
        w.settle();
        prop_assert_eq!(w.standing.generation, given);
    }
}
