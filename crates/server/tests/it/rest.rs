//! Data at rest: the lake of a tenant lies under its geography's root and is sealed, everything works as it does on
//! plain files, and the key for readers opens its Parquet files.

use garrison_model::{SubscriptionId, TenantId};
use garrison_server::plane::SubscriptionNew;
use garrison_server::rest::{TenantKey, place_of};
use garrison_testkit::{TestSensor, TestServer, boot, enrol, process_rows};
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::encryption::decrypt::FileDecryptionProperties;
use serde_json::{Value, json};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

const TABLE: &str = "DeviceProcessEvents";
const SUBSCRIPTION: &str = "0f1e2d3c-0000-4000-8000-00000000000a";

pub(crate) fn all_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else { return found };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(all_files(&path)) } else { found.push(path) }
    }
    found
}

pub(crate) fn telling(folder: &Path, text: &str) -> Vec<PathBuf> {
    let tells = |path: &PathBuf| {
        std::fs::read(path).is_ok_and(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
    };
    all_files(folder).into_iter().filter(tells).collect()
}

pub(crate) async fn plan_on(server: &TestServer) {
    let shared = &server.server.shared;
    let id: SubscriptionId = SUBSCRIPTION.parse().unwrap();
    let new: SubscriptionNew =
        serde_json::from_value(json!({"id": SUBSCRIPTION, "name": "Production", "location": "westeurope"})).unwrap();
    let mut change = shared.plane.change(&shared.tenant, "test", garrison_server::now()).await.unwrap();
    change.subscription_put(&new).await.unwrap();
    change.plan_set(&id, garrison_model::Plan::P1, None).await.unwrap();
    change.commit().await.unwrap();
}

async fn hunted(server: &TestServer) -> Value {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let shared = &server.server.shared;
    let answer = reqwest::Client::new()
        .post(format!("{}/api/advancedqueries/run", server.server.http_url()))
        .bearer_auth(shared.identity.local_token())
        .json(&json!({"Query": format!("{TABLE} | where ProcessCommandLine has '--row' | count")}))
        .send()
        .await
        .unwrap();
    answer.json().await.unwrap()
}

fn rows_of(file: &Path, key: &[u8]) -> Result<usize, parquet::errors::ParquetError> {
    let properties = FileDecryptionProperties::builder(key.to_vec()).build()?;
    let options = ArrowReaderOptions::new().with_file_decryption_properties(properties);
    let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(File::open(file)?, options)?.build()?;
    reader.map(|batch| Ok(batch?.num_rows())).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lake_is_sealed_goes_to_its_geography_and_opens_with_the_key_for_readers() {
    let server = TestServer::start().await.unwrap();
    let identity = enrol(server.gateway(), &server.token().await.unwrap(), "web-1").await.unwrap();
    let mut sensor = TestSensor::connect(identity, server.gateway(), boot(1)).await.unwrap();
    sensor.send(TABLE, &process_rows(0, 40)).await.unwrap();
    sensor.settle().await.unwrap();
    server.server.shared.lake.flush().await.unwrap();
    sensor.send(TABLE, &process_rows(40, 10)).await.unwrap();
    sensor.settle().await.unwrap();
    let device = sensor.identity.device.clone();
    drop(sensor);
    // Rows came before there was a tenant.
    let data = server.folder().to_owned();
    assert_eq!(server.server.shared.lake.root(), data.join("lake/default"));
    plan_on(&server).await;
    let folder = server.stop().await.unwrap();

    let server = TestServer::start_in(folder, |_| {}).await.unwrap();
    let lake = data.join("geographies/eu/lake/default");
    assert_eq!(server.server.shared.lake.root(), lake);
    assert!(!data.join("lake/default").exists() && !data.join("control/default/lake.key").exists());
    assert_eq!(server.stored(TABLE, &device).unwrap().len(), 50);
    let answer = hunted(&server).await;
    assert_eq!(answer["Results"], json!([{"Count": 50}]), "{answer}");

    let place = place_of(&data, &TenantId::first()).unwrap().unwrap();
    assert_eq!(place.key, data.join("geographies/eu/control/default/lake.key"));
    let key = TenantKey::read(&data, &TenantId::first(), &place.key).unwrap().lake().unwrap();
    let files: Vec<PathBuf> =
        all_files(&lake.join(TABLE)).into_iter().filter(|f| f.to_string_lossy().ends_with(".sealed.parquet")).collect();
    assert!(!files.is_empty());
    let rows: usize = files.iter().map(|file| rows_of(file, key.reader_key()).unwrap()).sum();
    assert_eq!(rows, 50);
    assert!(rows_of(&files[0], &[7; 32]).is_err());
    assert_eq!(telling(&lake, "/bin/true --row"), Vec::<PathBuf>::new());

    let shown = Command::new(env!("CARGO_BIN_EXE_garrison"))
        .args(["tenant", "key", "show", "--for-reader", "-o", "json", "--data"])
        .arg(&data)
        .output()
        .unwrap();
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(key.reader_key());
    assert_eq!((&shown["readerKey"], &shown["keyId"]), (&json!(text), &json!(key.id())));

    // Without its key the lake does not open, and the words name the file.
    let folder = server.stop().await.unwrap();
    std::fs::rename(&place.key, data.join("away")).unwrap();
    let error = TestServer::start_in(folder, |c| c.encryption = false).await.unwrap_err();
    assert!(format!("{error:#}").contains("lake.key"), "{error:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_lake_of_before_is_found_and_a_geography_may_switch_sealing_off() {
    let server = TestServer::start_with(|c| c.encryption = false).await.unwrap();
    let data = server.folder().to_owned();
    let identity = enrol(server.gateway(), &server.token().await.unwrap(), "web-1").await.unwrap();
    let mut sensor = TestSensor::connect(identity, server.gateway(), boot(1)).await.unwrap();
    sensor.send(TABLE, &process_rows(0, 20)).await.unwrap();
    sensor.settle().await.unwrap();
    let device = sensor.identity.device.clone();
    drop(sensor);
    plan_on(&server).await;
    let mut folder = server.stop().await.unwrap();
    assert!(!telling(&data.join("lake/default"), "FolderPath").is_empty());
    let eu = garrison_model::Geography::new("EU").unwrap();
    for (sealed, rows) in [(Some(false), 20), (None, 20), (Some(false), 20)] {
        let server = TestServer::start_in(folder, |c| c.geographies.known.get_mut(&eu).unwrap().encryption = sealed)
            .await
            .unwrap();
        assert_eq!(server.server.shared.lake.at_rest().sealing().is_some(), sealed.is_none());
        assert_eq!(server.stored(TABLE, &device).unwrap().len(), rows);
        folder = server.stop().await.unwrap();
    }
    drop(folder);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_leaves_for_another_tenant_only_when_every_step_is_done() {
    use crate::http_house::HttpHouse;
    use garrison_model::MachineKind;
    use garrison_server::plane::MachineConnect;
    use reqwest::Method;
    let house = HttpHouse::open(None).await;
    plan_on(&house.server).await;
    let shared = &house.server.server.shared;
    let resource =
        format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/web/providers/Garrison.HybridCompute/machines/www1");
    let new = MachineConnect {
        resource_id: resource.parse().unwrap(),
        kind: MachineKind::Hybrid,
        identity: Some("key".to_owned()),
        hardware: "hardware".to_owned(),
        tags: Default::default(),
        system: Default::default(),
        connector_version: "1.0".to_owned(),
        geography: None,
    };
    let now = garrison_server::now();
    let mut change = shared.plane.change(&shared.tenant, "test", now).await.unwrap();
    let made = change.machine_connect(&new).await.unwrap();
    change.commit().await.unwrap();
    let path = format!("/api/v1/machines/{}/leaving", made.id);
    assert_eq!(house.call(Method::GET, &path, None).await.0, 400);
    let own = house.get(&format!("{path}?toTenant=default")).await;
    assert_eq!((&own["ready"], &own["steps"][0]["done"]), (&json!(false), &json!(false)), "{own}");
    let other = format!("{path}?toTenant=acme");
    let view = house.get(&other).await;
    assert_eq!(view["ready"], json!(true), "{view}");
    let (code, shown, _) = house.terminal(&["machine", "move", "www1", "--to-tenant", "default", "--plan"]);
    assert!(code == 1 && shown.contains("OffBoarded"), "{shown}");
    let (status, refused) = house.post(&format!("{path}?toTenant=default"), &json!({})).await;
    assert_eq!((status, &refused["code"]), (409, &json!("step_open")), "{refused}");
    let (code, shown, words) = house.terminal(&["machine", "move", "www1", "--to-tenant", "acme"]);
    assert_eq!(code, 0, "{shown}{words}");
    assert_eq!(house.call(Method::GET, &other, None).await.0, 404);
    house.server.stop().await.unwrap();
}
