//! Hunting through the room's own door and over HTTP. Plans are made by hand here, so that what the room does is tested
//! whatever the language can; the language's own way through is in `hunting_language`.

use crate::core_postgres::Postgres;
use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::functions_aggregate::expr_fn::array_agg;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, col, ident, lit};
use garrison_kql::{Catalog as _, Column, Planned, TableUse, Type};
use garrison_lake::provider::LakeTableProvider;
use garrison_model::{Micros, Role, TenantId};
use garrison_server::config::Config;
use garrison_server::hunting::store::QueryDraft;
use garrison_server::hunting::{
    Answer, Caller, HuntError, HuntRequest, Hunting, Interface, Planner, RunState, TenantCatalog, TimeRange,
};
use garrison_testkit::{TestSensor, TestServer, boot, enrol, process_rows};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::Arc;

const TABLE: &str = "DeviceProcessEvents";

async fn connected(server: &TestServer) -> TestSensor {
    let identity = enrol(server.gateway(), &server.token().await.unwrap(), "web-1").await.unwrap();
    TestSensor::connect(identity, server.gateway(), boot(1)).await.unwrap()
}

/// A server with a sensor that has sent this many rows.
async fn with_rows(rows: u32, change: impl FnOnce(&mut Config)) -> (TestServer, TestSensor) {
    let server = TestServer::start_with(change).await.unwrap();
    let mut sensor = connected(&server).await;
    sensor.send(TABLE, &process_rows(0, rows)).await.unwrap();
    sensor.settle().await.unwrap();
    (server, sensor)
}

fn caller(interface: Interface) -> Caller {
    Caller::new(&TenantId::first(), "ann", interface)
}

fn scan(catalog: &TenantCatalog, table: &str) -> LogicalPlanBuilder {
    let source = provider_as_source(catalog.provider(table).unwrap());
    LogicalPlanBuilder::scan(table, source, None).unwrap()
}

fn planned(plan: LogicalPlanBuilder, columns: Vec<Column>) -> Planned {
    Planned {
        plan: plan.build().unwrap(),
        columns,
        render: None,
        tables: vec![TableUse { table: TABLE.to_owned(), from: None, to: None }],
        diagnostics: Vec::new(),
    }
}

fn request(make: impl Fn(&TenantCatalog) -> Planned + Send + Sync + 'static) -> HuntRequest {
    let planner = Planner(Arc::new(move |catalog| Ok(make(catalog))));
    HuntRequest { text: "by hand".to_owned(), planner: Some(planner), ..HuntRequest::default() }
}

/// Command lines of all processes, sorted.
fn command_lines() -> HuntRequest {
    request(|catalog| {
        let plan = scan(catalog, TABLE).project(vec![ident("ProcessCommandLine")]).unwrap();
        let plan = plan.sort(vec![ident("ProcessCommandLine").sort(true, false)]).unwrap();
        planned(plan, vec![Column::new("ProcessCommandLine", Type::Text)])
    })
}

/// Far too much work: every process with every other, twice over.
fn endless() -> HuntRequest {
    request(|catalog| {
        let side = |name: &str| {
            let plan = scan(catalog, TABLE).project(vec![ident("ProcessCommandLine").alias("line")]).unwrap();
            plan.alias(name).unwrap().build().unwrap()
        };
        let plan = LogicalPlanBuilder::from(side("a")).cross_join(side("b")).unwrap().cross_join(side("c")).unwrap();
        let plan = plan.project(vec![col("a.line").alias("line")]).unwrap();
        let plan = plan.sort(vec![ident("line").sort(true, false)]).unwrap();
        planned(plan, vec![Column::new("line", Type::Text)])
    })
}

fn texts(answer: &Answer) -> Vec<String> {
    let rows = answer.batches.iter().flat_map(|batch| {
        let column = garrison_telemetry::TextColumn::new(batch.column(0));
        (0..batch.num_rows())
            .map(|row| match &column {
                Some(column) => column.get(row).unwrap_or_default().to_owned(),
                None => datafusion::arrow::util::display::array_value_to_string(batch.column(0), row).unwrap(),
            })
            .collect::<Vec<_>>()
    });
    rows.collect()
}

fn hunting(server: &TestServer) -> &Arc<Hunting> {
    &server.server.hunting
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledged_row_is_found_at_once_and_memory_and_files_answer_alike() {
    let (server, mut sensor) = with_rows(100, |_| {}).await;
    let from_memory = hunting(&server).run(command_lines(), &caller(Interface::Api)).await.unwrap();
    assert_eq!(from_memory.row_count(), 100);
    assert_eq!(from_memory.resources.figures.files_total, 0);
    server.server.shared.lake.flush().await.unwrap();
    let from_files = hunting(&server).run(command_lines(), &caller(Interface::Api)).await.unwrap();
    assert_eq!(texts(&from_files), texts(&from_memory));
    let figures = from_files.resources.figures;
    assert_eq!((figures.files_read, figures.files_done), (1, 1), "what was to be read is through");
    assert!(from_files.resources.figures.bytes_scanned > 0, "{:?}", from_files.resources);
    sensor.send(TABLE, &process_rows(100, 50)).await.unwrap();
    sensor.settle().await.unwrap();
    let from_both = hunting(&server).run(command_lines(), &caller(Interface::Api)).await.unwrap();
    assert_eq!(from_both.row_count(), 150);
    assert!(from_both.completeness.complete, "{:?}", from_both.completeness);
    assert_eq!(from_both.resources.state, RunState::Completed);
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn time_bounds_hold_for_every_table() {
    let (server, _sensor) = with_rows(10, |_| {}).await;
    let now = server.now();
    let hour = 3_600_000_000;
    let range = |from: i64, to: i64| Some(TimeRange { from: Some(Micros(now.0 + from)), to: Some(Micros(now.0 + to)) });
    for (range, ingested, rows) in [
        (None, None, 10),
        (range(-hour, hour), None, 10),
        (range(-2 * hour, -hour), None, 0),
        (None, range(-hour, hour), 10),
        (None, range(hour, 2 * hour), 0),
    ] {
        let wanted = HuntRequest { range, ingested, ..command_lines() };
        let answer = hunting(&server).run(wanted, &caller(Interface::Api)).await.unwrap();
        assert_eq!(answer.row_count(), rows, "{range:?} {ingested:?}");
    }
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn caps_are_told_and_lost_rows_and_silent_devices_too() {
    let (server, mut sensor) = with_rows(50, |config| config.hunting.result_bytes_max = 700).await;
    let own = caller(Interface::Console);
    let run = |rows_max| hunting(&server).run(HuntRequest { rows_max, ..command_lines() }, &own);
    let cut = run(Some(7)).await.unwrap();
    assert_eq!((cut.row_count(), cut.completeness.row_cap, cut.completeness.complete), (7, Some(7), false));
    let cut = run(None).await.unwrap();
    assert_eq!(cut.completeness.byte_cap, Some(700));
    assert!((1..50).contains(&cut.row_count()), "{}", cut.row_count());
    let ledger = garrison_telemetry::batch_from_json(
        "SensorLossEvents",
        &[json!({"Timestamp": garrison_server::shared::rfc3339(server.now()), "Cause": "RingFull", "LostRows": 12,
            "SequenceAfter": 50, "SequenceBefore": 51})],
    )
    .unwrap();
    sensor.send("SensorLossEvents", &ledger).await.unwrap();
    sensor.settle().await.unwrap();
    let lossy = run(Some(1)).await.unwrap().completeness;
    assert_eq!(lossy.devices.len(), 1, "{lossy:?}");
    assert_eq!((lossy.devices[0].lost_rows, lossy.devices[0].losses[0].cause.as_str()), (12, "RingFull"));
    assert_eq!(lossy.devices[0].device_name, "web-1");
    let later = Micros(server.now().0 + 3_600_000_000);
    let used = [TableUse { table: TABLE.to_owned(), from: None, to: None }];
    let silent = hunting(&server).completeness(&used, TimeRange::default(), Default::default(), later).unwrap();
    assert!(silent.devices[0].offline.is_some(), "{silent:?}");
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_is_cancelled_by_its_id_and_only_by_its_owner() {
    let (server, _sensor) = with_rows(2_000, |_| {}).await;
    let id = uuid::Uuid::now_v7();
    let room = Arc::clone(hunting(&server));
    let wanted = HuntRequest { id: Some(id), ..endless() };
    let running = tokio::spawn(async move { room.run(wanted, &caller(Interface::Api)).await });
    let room = hunting(&server);
    while room.progress(&caller(Interface::Api), id).is_none() {
        tokio::task::yield_now().await;
    }
    let other = Caller::new(&TenantId::first(), "bob", Interface::Api);
    assert!(room.progress(&other, id).is_none() && !room.cancel(&other, id));
    assert!(matches!(
        room.run(HuntRequest { id: Some(id), ..command_lines() }, &caller(Interface::Api)).await,
        Err(HuntError::IdTaken(_))
    ));
    assert!(room.cancel(&caller(Interface::Api), id));
    assert!(matches!(running.await.unwrap(), Err(HuntError::Cancelled)));
    assert!(room.progress(&caller(Interface::Api), id).is_none());
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_goes_away_cancels_his_query() {
    let (server, _sensor) = with_rows(2_000, |_| {}).await;
    let room = hunting(&server);
    let id = uuid::Uuid::now_v7();
    {
        let own = caller(Interface::Api);
        let run = room.run(HuntRequest { id: Some(id), ..endless() }, &own);
        tokio::pin!(run);
        while room.progress(&caller(Interface::Api), id).is_none() {
            assert!(futures::poll!(&mut run).is_pending());
        }
    }
    assert!(room.progress(&caller(Interface::Api), id).is_none());
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn time_and_memory_are_bounded() {
    let (server, _sensor) = with_rows(20_000, |config| {
        config.hunting.seconds_max_api = 1;
        config.hunting.query_memory_bytes = 1 << 20;
    })
    .await;
    let room = hunting(&server);
    // The left side of a join without a condition is kept in memory, and cannot be spilled.
    let refused = room.run(endless(), &caller(Interface::Detection)).await;
    assert!(matches!(refused, Err(HuntError::Memory { .. })), "{:?}", refused.err());
    let gathered = request(|catalog| {
        let plan =
            scan(catalog, TABLE).aggregate(vec![ident("AccountName")], vec![array_agg(ident("ProcessCommandLine"))]);
        let plan = plan.unwrap().project(vec![ident("AccountName")]).unwrap();
        planned(plan, vec![Column::new("AccountName", Type::Text)])
    });
    // Pruned to a grouping by name: small, and runs.
    assert_eq!(room.run(gathered, &caller(Interface::Api)).await.unwrap().row_count(), 1);
    server.stop().await.unwrap();

    let (server, _sensor) = with_rows(2_000, |config| config.hunting.seconds_max_api = 1).await;
    let late = hunting(&server).run(endless(), &caller(Interface::Api)).await;
    assert!(matches!(late, Err(HuntError::TimedOut { seconds: 1 })), "{:?}", late.err());
    server.stop().await.unwrap();
}

/// A plan of this shape over these tables.
fn shaped(catalog: &TenantCatalog, steps: &[(usize, u8)]) -> LogicalPlan {
    let names = catalog.names();
    let table = |at: usize| names[at % names.len()].clone();
    let one = |at: usize| scan(catalog, &table(at)).project(vec![lit(at as i64).alias("n")]).unwrap().build().unwrap();
    let mut plan = one(0);
    for (at, kind) in steps {
        let builder = LogicalPlanBuilder::from(plan);
        plan = match kind % 4 {
            0 => builder.union(one(*at)).unwrap(),
            1 => {
                let other = LogicalPlanBuilder::from(one(*at)).alias("y").unwrap().build().unwrap();
                let both = builder.alias("x").unwrap().cross_join(other).unwrap();
                both.project(vec![col("x.n").alias("n")]).unwrap()
            }
            2 => builder.filter(ident("n").gt(lit(3_i64))).unwrap(),
            _ => builder.limit(0, Some(10)).unwrap(),
        }
        .build()
        .unwrap();
    }
    plan
}

/// Folders that the scans of a plan read from, views looked through.
fn folders(plan: &LogicalPlan, found: &mut Vec<std::path::PathBuf>) {
    plan.apply(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            let provider = source_as_provider(&scan.source).unwrap();
            match provider.get_logical_plan() {
                Some(inner) => folders(&inner, found),
                None => {
                    let any: &dyn std::any::Any = provider.as_ref();
                    let table = any.downcast_ref::<LakeTableProvider>().expect("only the lake's tables are read");
                    found.extend(table.snapshot().map(|snapshot| snapshot.folder.clone()));
                }
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_plan_reads_outside_of_its_tenant() {
    let server = TestServer::start().await.unwrap();
    let catalog = hunting(&server).catalog(&TenantId::first()).unwrap();
    let root = catalog.root().canonicalize().unwrap();
    let mut runner = proptest::test_runner::TestRunner::default();
    let steps = proptest::collection::vec((0_usize..200, any::<u8>()), 0..12);
    runner
        .run(&steps, |steps| {
            let mut found = Vec::new();
            folders(&shaped(&catalog, &steps), &mut found);
            prop_assert!(found.iter().all(|folder| folder.starts_with(&root)), "{:?}", found);
            Ok(())
        })
        .unwrap();
    // Names that would lead out of the folder name nothing.
    for name in ["../x", "DeviceProcessEvents/../../y", "", "deviceprocessevents", "/etc/passwd", "hunting_history"] {
        assert!(catalog.provider(name).is_none() && catalog.shape(name).is_none(), "{name}");
    }
    let stranger: TenantId = "00000000-0000-4000-8000-00000000beef".parse().unwrap();
    assert!(matches!(hunting(&server).catalog(&stranger), Err(HuntError::TenantUnknown)));
    let foreign = Caller::new(&stranger, "eve", Interface::Api);
    assert!(matches!(hunting(&server).run(command_lines(), &foreign).await, Err(HuntError::TenantUnknown)));
    server.stop().await.unwrap();
}

/// What every database must do.
async fn saved_queries(server: TestServer) {
    let (room, tenant, now) = (hunting(&server), TenantId::first(), server.now());
    let draft = |name: &str, shared: bool| QueryDraft {
        name: name.to_owned(),
        folder: " Hunts / Web ".to_owned(),
        query: "DeviceEvents | take 1".to_owned(),
        shared,
        ..QueryDraft::default()
    };
    let own = room.query_create(&tenant, "ann", draft("shells", false), now).await.unwrap();
    assert_eq!((own.folder.as_str(), own.mine, own.shared), ("Hunts/Web", true, false));
    assert!(matches!(
        room.query_create(&tenant, "ann", draft("shells", false), now).await,
        Err(HuntError::QueryExists(_))
    ));
    // Another user may use the name, and does not see hers.
    let his = room.query_create(&tenant, "bob", draft("shells", false), now).await.unwrap();
    assert!(matches!(room.query_get(&tenant, "bob", own.id).await, Err(HuntError::QueryUnknown)));
    let shared = room.query_update(&tenant, ("bob", Role::Analyst), his.id, draft("shells", true), now).await.unwrap();
    assert!(shared.shared);
    assert!(matches!(
        room.query_update(&tenant, ("ann", Role::Analyst), his.id, draft("mine now", true), now).await,
        Err(HuntError::NotOwner)
    ));
    assert_eq!(room.query_list(&tenant, "ann").await.unwrap().len(), 2);
    let stranger: TenantId = "00000000-0000-4000-8000-00000000beef".parse().unwrap();
    assert!(matches!(room.query_get(&stranger, "bob", his.id).await, Err(HuntError::QueryUnknown)));
    for bad in [draft("", false), draft("a\u{1b}b", false), QueryDraft { query: " ".into(), ..draft("x", false) }] {
        assert!(room.query_create(&tenant, "ann", bad, now).await.is_err());
    }
    room.query_delete(&tenant, ("root", Role::Admin), his.id).await.unwrap();
    assert!(matches!(room.query_get(&tenant, "bob", his.id).await, Err(HuntError::QueryUnknown)));
    // The history: written by its own task, so it is asked until it is there.
    let text = "hostile \u{0} text";
    let refused = room.run(HuntRequest { text: text.into(), ..HuntRequest::default() }, &caller(Interface::Api)).await;
    assert!(refused.is_err());
    let history = loop {
        let history = room.history(&tenant, Some("ann"), None, 10).await.unwrap();
        if !history.is_empty() {
            break history;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!((history[0].error.as_deref(), history[0].query.as_str()), (Some("query_not_valid"), "hostile   text"));
    assert_eq!(history[0].report["state"], "Failed");
    assert!(room.history(&tenant, Some("bob"), None, 10).await.unwrap().is_empty());
    assert!(room.history(&stranger, None, None, 10).await.unwrap().is_empty());
    let before = Some((history[0].began, history[0].number));
    assert!(room.history(&tenant, None, before, 10).await.unwrap().is_empty());
    room.history_sweep(Micros(now.0 + 40 * 86_400_000_000)).await.unwrap();
    assert!(room.history(&tenant, None, None, 10).await.unwrap().is_empty());
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn saved_queries_and_history_on_sqlite() {
    saved_queries(TestServer::start().await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn saved_queries_and_history_on_postgresql() {
    let Some(postgres) = Postgres::start() else {
        println!("skipped because PostgreSQL is not installed");
        return;
    };
    saved_queries(TestServer::start_with(|config| config.database_url = Some(postgres.url())).await.unwrap()).await;
}

/// Asks over HTTP: status, `Retry-After`, body.
async fn ask(server: &TestServer, path: &str, token: Option<&str>, body: &Value) -> (u16, Option<String>, Value) {
    let client = reqwest::Client::new();
    let mut request = client.post(format!("{}{path}", server.server.http_url())).json(body);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let response = request.send().await.unwrap();
    let retry = response.headers().get("retry-after").map(|v| v.to_str().unwrap().to_owned());
    (response.status().as_u16(), retry, response.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_have_the_shape_of_their_path() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server = TestServer::start_with(|config| config.hunting.user.calls_per_minute = 6).await.unwrap();
    let admin = server.server.shared.identity.local_token().to_owned();
    let bad = json!({"Query": "DeviceProcessEvents | wher x"});
    let aliases = ["/v1.0/security/runHuntingQuery", "/api/advancedqueries/run", "/api/advancedhunting/run"];
    for path in aliases {
        let (status, _, body) = ask(&server, path, None, &bad).await;
        assert_eq!((status, &body["error"]["code"]), (401, &json!("Unauthorized")), "{path}: {body}");
        let (status, _, body) = ask(&server, path, Some(&admin), &json!({"nothing": 1})).await;
        assert_eq!((status, &body["error"]["code"]), (400, &json!("BadRequest")), "{path}: {body}");
        let (status, _, body) = ask(&server, path, Some(&admin), &bad).await;
        assert_eq!(status, 400, "{path}: {body}");
        let message = body["error"]["message"].as_str().unwrap();
        assert!(message.contains("line 1"), "{path}: {message}");
        assert!(body["error"]["innerError"]["request-id"].is_string());
    }
    let run = "/api/v1/hunting/run";
    let (status, _, body) = ask(&server, run, Some(&admin), &json!({"query": "DeviceProcessEvents | wher x"})).await;
    assert_eq!((status, &body["code"]), (400, &json!("query_not_valid")), "{body}");
    assert_eq!(body["diagnostics"][0]["line"], 1, "{body}");
    let (status, _, body) = ask(&server, run, Some(&admin), &json!({"query": "x", "timespan": "yesterday"})).await;
    assert_eq!((status, &body["code"]), (400, &json!("timespan_not_valid")), "{body}");
    let (status, _, body) = ask(&server, run, Some(&admin), &json!({"query": " "})).await;
    assert_eq!((status, &body["code"]), (400, &json!("query_not_valid")), "{body}");
    let long = json!({"query": "x".repeat(200_000)});
    let (status, _, body) = ask(&server, run, Some(&admin), &long).await;
    assert_eq!((status, &body["code"]), (400, &json!("query_not_valid")), "{body}");
    let (status, _, body) =
        ask(&server, "/api/v1/hunting/export?format=exe", Some(&admin), &json!({"query": "x"})).await;
    assert_eq!((status, &body["code"]), (400, &json!("bad_query")), "{body}");
    // Four queries got as far as a turn; two more may.
    for _ in 0..2 {
        assert_eq!(ask(&server, run, Some(&admin), &json!({"query": "x |"})).await.0, 400);
    }
    let (status, retry, body) = ask(&server, run, Some(&admin), &json!({"query": "x |"})).await;
    assert_eq!((status, &body["code"]), (429, &json!("hunting_quota")), "{body}");
    assert!(retry.unwrap().parse::<u64>().unwrap() <= 60);
    assert!(body["title"].as_str().unwrap().contains("6 calls within a minute"), "{body}");
    let (status, retry, body) = ask(&server, aliases[0], Some(&admin), &bad).await;
    assert_eq!((status, &body["error"]["code"]), (429, &json!("TooManyRequests")), "{body}");
    assert!(retry.is_some());
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_save_for_themselves_and_analysts_share() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server = TestServer::start().await.unwrap();
    let identity = &server.server.shared.identity;
    let (reader, _) = identity.api_token_create("reader", Role::Reader, None, server.now()).await.unwrap();
    let path = "/api/v1/hunting/queries";
    let body = |shared: bool| json!({"name": "mine", "query": "DeviceInfo", "shared": shared});
    assert_eq!(ask(&server, path, Some(&reader), &body(true)).await.0, 403);
    let (status, _, saved) = ask(&server, path, Some(&reader), &body(false)).await;
    assert_eq!((status, saved["mine"].as_bool()), (201, Some(true)), "{saved}");
    let (status, _, body) =
        ask(&server, "/api/v1/hunting/validate", Some(&reader), &json!({"query": "DeviceInfo"})).await;
    assert_eq!(status, 200, "{body}");
    let place = json!({"query": "DeviceInfo | wh", "position": 15});
    let (status, _, body) = ask(&server, "/api/v1/hunting/complete", Some(&reader), &place).await;
    assert_eq!((status, &body["items"][0]["label"], &body["from"]), (200, &json!("where"), &json!(13)), "{body}");
    server.stop().await.unwrap();
}
