//! Upgrades by ring: early machines first, the gate, the stop, and machines that are pinned.

use super::*;
use garrison_server::connect::rollout::{RING_TAG, Ring, RolloutState};
use garrison_server::connect::rollouts::{Rollout, RolloutDeed, RolloutNew};
use std::time::{Duration, Instant};

const OLD: &str = "1.0.0";
const NEW: &str = "2.0.0";

/// Machines with the old version, well: `early…`, `broad…` and one that is pinned.
async fn fleet(server: &TestServer, early: usize, broad: usize) -> Vec<(String, FakeConnector)> {
    lay_package(server, "garrison-sensor-1.0.0-x64.tar.zst", b"the old one");
    let s = &server.server;
    subscription(s, Some(Plan::P2)).await;
    let text = token(s, 100).await;
    let mut out = Vec::new();
    let names = (0..early).map(|n| format!("early{n}")).chain((0..broad).map(|n| format!("broad{n}")));
    for name in names.chain(["pinned".to_owned()]) {
        let gateway = server.gateway().to_string();
        let ring = name.trim_end_matches(|c: char| c.is_ascii_digit());
        let mut connector = FakeConnector::enrol_tagged(&gateway, &text, &name, (RING_TAG, ring)).await.unwrap();
        let answer = connector.report(0, 60, None).await;
        let order = connector.opened(&answer);
        assert_eq!(order.package.clone().unwrap().version, OLD);
        connector.report(order.generation, 0, Some(done(order.generation, OLD))).await;
        out.push((name, connector));
    }
    out
}

fn rollout_new(failure_percent: u32, at_once_percent: u32) -> RolloutNew {
    RolloutNew { version: NEW.into(), failure_percent, at_once_percent, soak_minutes: 0 }
}

/// Lets machines answer until the roll-out stands as wanted; those named in `ill` fail, and go back. Gives the names in
/// the order in which they were given the new version.
async fn play(server: &Server, fleet: &mut [(String, FakeConnector)], ill: &str, wanted: RolloutState) -> Vec<String> {
    let end = Instant::now() + Duration::from_mins(2);
    let mut given = Vec::new();
    let mut taken: Vec<u64> = vec![1; fleet.len()];
    let mut has: Vec<v1::ExtensionReport> = vec![done(1, OLD); fleet.len()];
    while server.connect.rollouts().await.unwrap()[0].state != wanted {
        assert!(Instant::now() < end, "never {wanted:?}: {:?}", server.connect.rollouts().await.unwrap());
        for (at, (name, connector)) in fleet.iter_mut().enumerate() {
            let answer = connector.report(taken[at], 0, Some(has[at].clone())).await;
            if answer.orders.is_empty() {
                continue;
            }
            let order = connector.opened(&answer);
            let version = order.package.clone().unwrap().version;
            taken[at] = order.generation;
            has[at] = done(order.generation, &version);
            if version == NEW {
                given.push(name.clone());
            }
            if version == NEW && !ill.is_empty() && name.starts_with(ill) {
                has[at].phase = "failed".into();
                has[at].code = 103;
                has[at].version = OLD.into();
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    given
}

async fn versions(server: &Server) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = machines(server)
        .await
        .into_iter()
        .map(|m| (m.name.to_string(), m.extensions.first().map(|e| e.version.clone()).unwrap_or_default()))
        .collect();
    all.sort();
    all
}

async fn contract(server: TestServer) {
    let mut fleet = fleet(&server, 2, 4).await;
    let s = &server.server;
    let refused = s.connect.rollout_create(&rollout_new(10, 50), "test").await.unwrap_err();
    assert!(refused.to_string().contains("no package"), "{refused}");
    // The packages come with the roll-out that holds them back, else every machine would get the newest at once.
    s.connect.rollout_create(&RolloutNew { version: OLD.into(), ..rollout_new(10, 100) }, "test").await.unwrap();
    play(s, &mut fleet, "", RolloutState::Done).await;
    lay_package(&server, "garrison-sensor-2.0.0-x64.tar.zst", b"the new one");
    s.connect.packages().look();
    let made: Rollout = s.connect.rollout_create(&rollout_new(10, 50), "test").await.unwrap();
    assert_eq!((made.from.as_deref(), made.ring), (Some(OLD), Ring::Early));
    let open = s.connect.rollout_create(&rollout_new(10, 50), "test").await.unwrap_err();
    assert!(open.to_string().contains(&made.id), "{open}");
    let given = play(s, &mut fleet, "", RolloutState::Done).await;
    assert_eq!(given.len(), 6, "{given:?}");
    assert!(given[..2].iter().all(|name| name.starts_with("early")), "{given:?}");
    assert!(versions(s).await.iter().all(|(name, v)| v == if name == "pinned" { OLD } else { NEW }));
    assert!(s.connect.rollout_change(&made.id, RolloutDeed::Stop, "test").await.is_err(), "it has ended");
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_roll_out_goes_ring_by_ring_on_sqlite() {
    contract(TestServer::start().await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_roll_out_goes_ring_by_ring_on_postgresql() {
    let Some(postgres) = Postgres::start() else {
        println!("skipped because PostgreSQL is not installed (Debian package `postgresql`)");
        return;
    };
    contract(TestServer::start_with(|c| c.database_url = Some(postgres.url())).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_version_stops_by_itself_in_the_first_ring_and_no_other_machine_meets_it() {
    let server = TestServer::start().await.unwrap();
    let mut fleet = fleet(&server, 4, 4).await;
    let s = &server.server;
    s.connect.rollout_create(&RolloutNew { version: OLD.into(), ..rollout_new(10, 100) }, "test").await.unwrap();
    play(s, &mut fleet, "", RolloutState::Done).await;
    lay_package(&server, "garrison-sensor-2.0.0-x64.tar.zst", b"the new one");
    s.connect.packages().look();
    s.connect.rollout_create(&rollout_new(10, 25), "test").await.unwrap();
    let given = play(s, &mut fleet, "early", RolloutState::Stopped).await;
    // 10 % of the least sample is one: the second failure stops it.
    assert_eq!(given.len(), 2, "{given:?}");
    assert!(versions(s).await.iter().all(|(_, v)| v == OLD));
    let stopped = s.connect.rollouts().await.unwrap().remove(0);
    assert!(stopped.reason.contains("2 of 2"), "{}", stopped.reason);
    server.stop().await.unwrap();
}
