//! A tenant is reset into another geography: whatever step it is interrupted at, everything of it goes, and it starts
//! anew.

use crate::core_postgres::Postgres;
use crate::rest::{all_files, plan_on, telling};
use garrison_model::{Geography, TenantId};
use garrison_server::config::Config;
use garrison_server::reset::{Reset, ResetError, STEPS, verify};
use garrison_server::rest::place_of;
use garrison_testkit::{TestSensor, TestServer, boot, enrol, process_rows};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A name that occurs nowhere else.
const HOST: &str = "zanzibar-host-7";

fn config(data: &Path, database: Option<&String>) -> Config {
    let mut config = Config::at(data);
    config.database_url = database.cloned();
    config
}

async fn moved(database: Option<String>) {
    let (tenant, uk) = (TenantId::first(), Geography::new("UK").unwrap());
    let server = TestServer::start_with(|c| c.database_url = database.clone()).await.unwrap();
    let data = server.folder().to_owned();
    plan_on(&server).await;
    // An hour that was metered: it goes with the tenant, as its trial does, and no other way.
    sqlx::query(
        "INSERT INTO metering_ledger (tenant_id, machine_id, hour, subscription_id, plan, state, trial, minutes, \
         settled, seat_id) VALUES ('default', 'm', 1, 's', 'P1', 'HybridConnected', 0, 1, 1, '')",
    )
    .execute(server.server.shared.db.pool())
    .await
    .unwrap();
    let identity = enrol(server.gateway(), &server.token().await.unwrap(), HOST).await.unwrap();
    let mut sensor = TestSensor::connect(identity.clone(), server.gateway(), boot(1)).await.unwrap();
    sensor.send("DeviceProcessEvents", &process_rows(0, 20)).await.unwrap();
    sensor.settle().await.unwrap();
    drop(sensor);
    // While a server has the folder, nothing is done.
    assert!(matches!(Reset::open(&config(&data, database.as_ref())).await, Err(ResetError::Lake(_))));
    let folder = server.stop().await.unwrap();
    let server = TestServer::start_in(folder, |c| c.database_url = database.clone()).await.unwrap();
    let folder = server.stop().await.unwrap();
    let old = place_of(&data, &tenant).unwrap().unwrap();
    assert!(old.lake.starts_with(data.join("geographies/eu")) && old.key.exists());
    assert!(database.is_some() || !telling(&data, HOST).is_empty());
    let kept_key = std::fs::read(&old.key).unwrap();

    let reset = Reset::open(&config(&data, database.as_ref())).await.unwrap();
    let scope = reset.look(&tenant, &uk).await.unwrap();
    assert_eq!((scope.devices, scope.from.as_str()), (1, "EU"));
    assert!(scope.rows["metering_ledger"] == 1 && scope.rows["plane_trials"] == 1, "{scope:?}");
    assert!(scope.rows["fleet_devices"] == 1 && scope.files > 0 && scope.key.is_some(), "{scope:?}");
    assert_eq!(reset.look(&tenant, &uk).await.unwrap().digest(), scope.digest());
    assert!(matches!(reset.run(&tenant, &uk, "0", true, garrison_server::now, None).await, Err(ResetError::Stale)));
    assert!(old.key.exists());
    // A sensor is on somewhere: refused, until somebody says that it may stay.
    assert_eq!(scope.left_sensors, [identity.device.to_string()]);
    let refused = reset.run(&tenant, &uk, &scope.digest(), false, garrison_server::now, None).await.unwrap_err();
    assert!(refused.to_string().contains("--off-board") && refused.to_string().contains("--leave-machines"));
    assert!(old.key.exists(), "nothing was begun");
    let eu = Geography::new("EU").unwrap();
    assert!(matches!(reset.look(&tenant, &eu).await, Err(ResetError::Refused(_))));
    drop(reset);
    let mut folder = Some(folder);
    for step in STEPS.into_iter().skip(1) {
        let reset = Reset::open(&config(&data, database.as_ref())).await.unwrap();
        let stopped = reset.run(&tenant, &uk, &scope.digest(), true, garrison_server::now, Some(step)).await;
        assert!(matches!(stopped, Err(ResetError::Stopped(at)) if at == step));
        // From the first step on the lake cannot be read, and no server starts on what is half done.
        assert!(!old.key.exists());
        assert!(reset.run(&tenant, &eu, &scope.digest(), true, garrison_server::now, None).await.is_err());
        drop(reset);
        let mut settings = config(&data, database.as_ref());
        settings.http.set_port(0);
        settings.gateway.set_port(0);
        let error = garrison_server::serve::Server::start(settings).await.unwrap_err();
        assert!(error.to_string().contains("tenant reset"), "{error:#}");
    }
    let reset = Reset::open(&config(&data, database.as_ref())).await.unwrap();
    let (record, _) = reset.run(&tenant, &uk, &scope.digest(), false, garrison_server::now, None).await.unwrap();
    drop(reset);
    assert!(!old.lake.exists() && all_files(&data.join("geographies/eu")).is_empty());
    assert_eq!(telling(&data, HOST), Vec::<PathBuf>::new());
    let text = std::fs::read(&record).unwrap();
    let done = verify(&text, None).unwrap();
    assert_eq!((done.scope, done.steps.len()), (scope, STEPS.len()));
    let program = |words: &[&str]| Command::new(env!("CARGO_BIN_EXE_garrison")).args(words).output().unwrap();
    let record = record.to_str().unwrap();
    assert!(program(&["tenant", "reset", "verify", record]).status.success());
    let forged = data.join("forged.json");
    std::fs::write(&forged, String::from_utf8(text).unwrap().replace("\"UK\"", "\"US\"")).unwrap();
    let refused = program(&["tenant", "reset", "verify", forged.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(1));

    // It starts anew: another key, no rows, and the old sensor is a stranger.
    let server = TestServer::start_in(folder.take().unwrap(), |c| c.database_url = database.clone()).await.unwrap();
    let found = server.server.shared.plane.tenant(&tenant).await.unwrap();
    assert_eq!(found.geography, uk);
    let new = place_of(&data, &tenant).unwrap().unwrap();
    assert!(new.lake.starts_with(data.join("geographies/uk")));
    assert_ne!(std::fs::read(&new.key).unwrap(), kept_key);
    assert!(server.stored("DeviceProcessEvents", &identity.device).unwrap().is_empty());
    assert_eq!(server.server.shared.fleet.count(), 0);
    assert!(TestSensor::connect(identity, server.gateway(), boot(2)).await.is_err());
    assert_eq!(server.server.shared.fleet.count(), 0);
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_leaves_nothing_whatever_step_it_was_stopped_at_on_sqlite() {
    moved(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_leaves_nothing_whatever_step_it_was_stopped_at_on_postgresql() {
    let Some(postgres) = Postgres::start() else {
        eprintln!("skipped because PostgreSQL is not installed");
        return;
    };
    moved(Some(postgres.url())).await;
}
