//! A tenant is off-boarded before it is reset: machines that are reached let everything go, and the record says which
//! were and which were not.

use super::*;
use garrison_model::{Geography, TenantId};
use garrison_server::config::Config;
use garrison_server::reset::{Reset, ResetError, verify};
use std::process::Command;

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_off_boards_what_it_reaches_and_says_what_it_left() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server = TestServer::start().await.unwrap();
    lay_package(&server, "garrison-sensor-1.0.0-x64.tar.zst", b"any bytes");
    let (gateway, s) = (server.gateway().to_string(), &server.server);
    subscription(s, Some(Plan::P1)).await;
    let mut web = FakeConnector::enrol(&gateway, &token(s, 1).await, "web").await.unwrap();
    let mut away = FakeConnector::enrol(&gateway, &token(s, 1).await, "away").await.unwrap();
    for connector in [&mut web, &mut away] {
        let answer = connector.report(0, 60, None).await;
        assert_eq!(connector.opened(&answer).deed, "install");
        connector.report(1, 0, Some(done(1, "1.0.0"))).await;
    }
    s.connect.flush().await.unwrap();
    let alone = garrison_testkit::enrol(server.gateway(), &server.token().await.unwrap(), "alone").await.unwrap();
    let (data, url) = (server.folder().to_owned(), s.http_url());
    let admin = s.shared.identity.local_token().to_owned();
    // The command waits for who is heard of, for as long as it was told; `away` does not answer.
    let program = {
        let mut command = Command::new(env!("CARGO_BIN_EXE_garrison"));
        command.args(["tenant", "reset", "--off-board", "--wait", "8", "-o", "json"]);
        command.env("GARRISON_URL", url).env("GARRISON_TOKEN", admin);
        tokio::task::spawn_blocking(move || command.output().unwrap())
    };
    let answer = web.report(1, 60, Some(done(1, "1.0.0"))).await;
    assert_eq!(web.opened(&answer).deed, "offboard");
    assert_eq!(web.report(2, 0, Some(done(2, ""))).await.verdict, "farewell");
    let output = program.await.unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{words}");
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((told["machines"].as_u64(), told["done"].as_u64()), (Some(2), Some(1)), "{told}");
    assert_eq!((told["underWay"].as_u64(), told["sensorsWithoutMachine"].as_u64()), (Some(1), Some(1)), "{told}");
    assert!(told["open"][0]["resourceId"].as_str().unwrap().ends_with("/machines/away"), "{told}");
    assert!(words.contains("of 2 machines are off-boarded"), "{words}");
    // Long silent, it counts as not reached.
    let silent = s.connect.offboarding().await.unwrap();
    assert!(!silent.is_settled() && !silent.is_done());
    let folder = server.stop().await.unwrap();
    let (tenant, uk) = (TenantId::first(), Geography::new("UK").unwrap());
    let reset = Reset::open(&Config::at(&data)).await.unwrap();
    let scope = reset.look(&tenant, &uk).await.unwrap();
    let ends = |list: &[String], name: &str| list.len() == 1 && list[0].ends_with(name);
    assert!(ends(&scope.off_boarded, "/machines/web"), "{scope:?}");
    assert!(ends(&scope.left_machines, "/machines/away"), "{scope:?}");
    assert_eq!(scope.left_sensors, [alone.device.to_string()]);
    let refused = reset.run(&tenant, &uk, &scope.digest(), false, garrison_server::now, None).await.unwrap_err();
    assert!(matches!(&refused, ResetError::Refused(why) if why.contains("1 machine(s) and 1 sensor(s)")), "{refused}");
    let (path, _) = reset.run(&tenant, &uk, &scope.digest(), true, garrison_server::now, None).await.unwrap();
    let record = verify(&std::fs::read(path).unwrap(), None).unwrap();
    assert_eq!((&record.scope.off_boarded, &record.scope.left_machines), (&scope.off_boarded, &scope.left_machines));
    let step = record.steps.iter().find(|s| s.what.contains("off-boarded")).unwrap();
    assert!(step.what.contains("1 machine(s) had been off-boarded, 1 machine(s) and 1 sensor(s)"), "{}", step.what);
    drop(folder);
}
