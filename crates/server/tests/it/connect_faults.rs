//! What goes wrong between servers and machines: two servers at once, a machine that is away for days, clocks that jump.

use super::*;
use garrison_server::connect::Connect;
use garrison_wire::identity::ConnectorIdentity;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

const DAY: i64 = 86_400 * 1_000_000;

fn peer(connector: &FakeConnector) -> ConnectorIdentity {
    ConnectorIdentity {
        tenant: garrison_model::TenantId::new(connector.answer.tenant_id.as_str()).unwrap(),
        connector: garrison_model::ConnectorId::new(connector.answer.connector_id.as_str()).unwrap(),
        fingerprint: String::new(),
        not_after: i64::MAX,
    }
}

fn word(connector: &FakeConnector, taken: u64, extension: Option<v1::ExtensionReport>) -> v1::ReportRequest {
    v1::ReportRequest {
        run_id: connector.run.clone(),
        binding: Some(connector.bound.clone()),
        facts: Some(connector.facts.clone()),
        power_state: "Running".into(),
        extensions: extension.into_iter().collect(),
        order_taken: taken,
        ..v1::ReportRequest::default()
    }
}

/// Two servers look at the same machines at once, again and again: every machine gets one order, under one number.
async fn two_servers(server: TestServer) {
    lay_package(&server, "garrison-sensor-1.0.0-x64.tar.zst", b"any bytes");
    let s = &server.server;
    let prod = subscription(s, None).await;
    let text = token(s, 100).await;
    let mut machines = Vec::new();
    for at in 0..12 {
        machines.push(FakeConnector::enrol(&server.gateway().to_string(), &text, &format!("m{at}")).await.unwrap());
    }
    let clock = || Arc::new(garrison_server::now) as Arc<dyn Fn() -> Micros + Send + Sync>;
    let second = Connect::open(&s.shared, clock()).await.unwrap();
    let third = Connect::open(&s.shared, clock()).await.unwrap();
    plan_set(s, &prod, Plan::P2).await;
    // Each reads the plan in its own turn; both have what they saw in memory, and the database decides.
    for connector in &machines {
        let who = peer(connector);
        let (a, b) =
            tokio::join!(second.report(&who, word(connector, 0, None)), third.report(&who, word(connector, 0, None)));
        drop((a, b));
    }
    for _ in 0..5 {
        let (a, b) = tokio::join!(second.reconcile_all(), third.reconcile_all());
        a.unwrap();
        b.unwrap();
    }
    for connector in &mut machines {
        let answer = connector.report(0, 60, None).await;
        assert_eq!(connector.opened(&answer).generation, 1);
        let told = done(1, "1.0.0");
        let who = peer(connector);
        let (a, b) = tokio::join!(
            second.report(&who, word(connector, 1, Some(told.clone()))),
            third.report(&who, word(connector, 1, Some(told.clone())))
        );
        assert!(a.unwrap().orders.is_empty() && b.unwrap().orders.is_empty());
    }
    for machine in super::machines(s).await {
        let lines: Vec<String> = s.connect.history(&machine.id).await.unwrap().into_iter().map(|l| l.state).collect();
        assert_eq!(lines, ["Succeeded", "Creating"], "{}", machine.name);
    }
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_give_no_order_twice_on_sqlite() {
    two_servers(TestServer::start().await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_give_no_order_twice_on_postgresql() {
    let Some(postgres) = Postgres::start() else {
        println!("skipped because PostgreSQL is not installed (Debian package `postgresql`)");
        return;
    };
    two_servers(TestServer::start_with(|c| c.database_url = Some(postgres.url())).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_waits_for_days_and_bears_a_clock_that_is_set_back() {
    let server = TestServer::start().await.unwrap();
    lay_package(&server, "garrison-sensor-1.0.0-x64.tar.zst", b"any bytes");
    let s = &server.server;
    subscription(s, Some(Plan::P2)).await;
    let web = FakeConnector::enrol(&server.gateway().to_string(), &token(s, 1).await, "web").await.unwrap();
    let clock = Arc::new(AtomicI64::new(garrison_server::now().0));
    let hand = Arc::clone(&clock);
    let connect = Connect::open(&s.shared, Arc::new(move || Micros(hand.load(Ordering::Relaxed)))).await.unwrap();
    let begun = clock.load(Ordering::Relaxed);
    // Away for ten days, then a clock that is more than a year behind, then right again: one order, always good for a
    // machine whose clock agrees with the server's.
    for at in [begun, begun + 10 * DAY, begun - 400 * DAY, begun + 11 * DAY] {
        clock.store(at, Ordering::Relaxed);
        connect.reconcile_all().await.unwrap();
        let answer = connect.report(&peer(&web), word(&web, 0, None)).await.unwrap();
        assert_eq!(answer.verdict, "ok");
        let order = web.opened(&answer);
        assert_eq!((order.generation, order.deed.as_str()), (1, "install"));
        assert!(order.expires > at / 1_000_000);
    }
    clock.store(begun - 30 * DAY, Ordering::Relaxed);
    let answer = connect.report(&peer(&web), word(&web, 1, Some(done(1, "1.0.0")))).await.unwrap();
    assert!(answer.orders.is_empty());
    connect.reconcile_all().await.unwrap();
    let machine = machines(s).await.remove(0);
    assert_eq!(
        (machine.extensions[0].state, s.connect.history(&machine.id).await.unwrap().len()),
        (ExtensionState::Succeeded, 2)
    );
    server.stop().await.unwrap();
}
