//! Two tenants in two geographies behind one gateway and one API: what is one's is nothing to the other, whoever asks and
//! however, and lies where its geography has it.

use crate::core_postgres::Postgres;
use crate::http_house::job;
use crate::rest::{plan_on, telling};
use garrison_model::{Geography, TenantId};
use garrison_server::config::Config;
use garrison_server::reset::Reset;
use garrison_server::rest::place_of;
use garrison_testkit::{FakeConnector, SensorIdentity, TestSensor, TestServer, boot, enrol};
use reqwest::Method;
use serde_json::{Value, json};

/// Command lines of each tenant's device.
const OURS: &str = "job quetzal one";
const THEIRS: &str = "job zanzibar two";

/// How a request says who it is.
#[derive(Clone, Copy)]
enum Who<'a> {
    Bearer(&'a str),
    Cookie(&'a str),
}

/// Asks as somebody, for a tenant if one is named: status, body, and the cookie that was set.
async fn ask(
    server: &TestServer,
    who: Who<'_>,
    tenant: Option<&str>,
    method: Method,
    path: &str,
    body: Value,
) -> (u16, Value, Option<String>) {
    let url = format!("{}/api/v1{path}", server.server.http_url());
    let mut request = reqwest::Client::new().request(method, url).header("X-Garrison-Request", "1");
    request = match who {
        Who::Bearer(token) => request.bearer_auth(token),
        Who::Cookie(cookie) => request.header("Cookie", format!("garrison_session={cookie}")),
    };
    if let Some(tenant) = tenant {
        request = request.header("X-Garrison-Tenant", tenant);
    }
    if !body.is_null() {
        request = request.json(&body);
    }
    let response = request.send().await.unwrap();
    let set = response.headers().get("set-cookie").and_then(|v| v.to_str().ok());
    let cookie = set.and_then(|v| v.split(';').next()?.strip_prefix("garrison_session=").map(str::to_owned));
    (response.status().as_u16(), response.json().await.unwrap_or_default(), cookie)
}

async fn get(server: &TestServer, who: Who<'_>, tenant: Option<&str>, path: &str) -> Value {
    let (status, body, _) = ask(server, who, tenant, Method::GET, path, Value::Null).await;
    assert_eq!(status, 200, "{path}: {body}");
    body
}

async fn post(server: &TestServer, who: Who<'_>, tenant: Option<&str>, path: &str, body: Value) -> Value {
    let (status, body, _) = ask(server, who, tenant, Method::POST, path, body).await;
    assert!((200..300).contains(&status), "{path}: {status} {body}");
    body
}

fn names(page: &Value, key: &str) -> Vec<String> {
    page["items"].as_array().unwrap().iter().map(|item| item[key].as_str().unwrap().to_owned()).collect()
}

/// Command lines of jobs that a hunt finds.
async fn jobs(server: &TestServer, who: Who<'_>, tenant: Option<&str>) -> Vec<String> {
    let query = json!({"query": "DeviceProcessEvents | where FileName == 'job' | project ProcessCommandLine"});
    let answer = post(server, who, tenant, "/hunting/run", query).await;
    answer["rows"].as_array().unwrap().iter().map(|row| row[0].as_str().unwrap().to_owned()).collect()
}

/// Names of machines in a control database.
async fn hosts(db: &garrison_server::db::Db) -> Vec<String> {
    sqlx::query_scalar("SELECT host_name FROM fleet_devices ORDER BY 1").fetch_all(db.pool()).await.unwrap()
}

async fn send(server: &TestServer, identity: &SensorIdentity, run: u32, command: &str) {
    let mut sensor = TestSensor::connect(identity.clone(), server.gateway(), boot(run)).await.unwrap();
    let batch = garrison_telemetry::batch_from_json("DeviceProcessEvents", &[job(41, command)]).unwrap();
    sensor.send("DeviceProcessEvents", &batch).await.unwrap();
    sensor.settle().await.unwrap();
}

/// PostgreSQL databases: the server's own, and those of two geographies.
struct Databases {
    own: String,
    geographies: [(&'static str, String); 2],
}

async fn two(database: Option<Databases>, encryption: bool) {
    let settings = |config: &mut Config, database: Option<&Databases>| {
        config.database_url = database.map(|d| d.own.clone());
        for (code, url) in database.iter().flat_map(|d| &d.geographies) {
            let settings = config.geographies.known.get_mut(&Geography::new(code).unwrap());
            settings.unwrap().database = Some(url.clone());
        }
        // Plain, what lies where can be looked for byte by byte; sealed is how servers are.
        config.encryption = encryption;
    };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server = TestServer::start_with(|c| settings(c, database.as_ref())).await.unwrap();
    let data = server.folder().to_owned();
    let local = server.server.shared.identity.local_token().to_owned();
    let local = Who::Bearer(&local);
    let other = Some("other");

    // Made by the operator, once, in a geography that is there.
    for (body, status) in [
        (json!({"id": "other", "geography": "XX"}), 400),
        (json!({"id": "No Such", "geography": "UK"}), 400),
        (json!({"id": "default", "geography": "UK"}), 409),
        (json!({"id": "other", "geography": "UK"}), 201),
        (json!({"id": "other", "geography": "US"}), 409),
    ] {
        let (got, answer, _) = ask(&server, local, None, Method::POST, "/tenants", body.clone()).await;
        assert_eq!(got, status, "{body}: {answer}");
    }
    let (got, answer, _) =
        ask(&server, local, other, Method::POST, "/tenants", json!({"id": "third", "geography": "UK"})).await;
    assert_eq!(got, 403, "tenants are not made from within another: {answer}");
    assert_eq!(names(&get(&server, local, None, "/tenants").await, "id"), ["default", "other"]);
    let (got, ..) = ask(&server, local, other, Method::PUT, "/tenant", json!({"geography": "US"})).await;
    assert_eq!(got, 409, "its geography never changes");
    let (got, ..) = ask(&server, local, Some("nobody"), Method::GET, "/devices", Value::Null).await;
    assert_eq!(got, 404);
    let (got, ..) = ask(&server, Who::Bearer("gat_x"), Some("nobody"), Method::GET, "/devices", Value::Null).await;
    assert_eq!(got, 401, "a stranger does not hear which tenants there are");

    // A token says whose machine it lets in: sensors and connectors, all by one gateway.
    let token = |answer: Value| answer["token"].as_str().unwrap().to_owned();
    let ours = token(post(&server, local, None, "/enrolment-tokens", json!({"name": "a"})).await);
    let theirs = token(post(&server, local, other, "/enrolment-tokens", json!({"name": "b"})).await);
    let ours = enrol(server.gateway(), &ours, "web-ours").await.unwrap();
    let theirs = enrol(server.gateway(), &theirs, "web-theirs").await.unwrap();
    send(&server, &ours, 1, OURS).await;
    send(&server, &theirs, 1, THEIRS).await;
    for (tenant, name, location) in [(None, "prod-ours", "westeurope"), (other, "prod-theirs", "uksouth")] {
        post(&server, local, tenant, "/subscriptions", json!({"name": name, "location": location})).await;
        let new = json!({"name": "c", "expiresHours": 1, "uses": 1});
        let connector = token(post(&server, local, tenant, "/connector-tokens", new).await);
        let machine = FakeConnector::enrol(&server.gateway().to_string(), &connector, name).await.unwrap();
        assert_eq!(machine.answer.tenant_id, tenant.unwrap_or("default"));
    }

    if database.is_some() {
        // The server's database is in one place: EU, since the first tenant began there.
        let third = json!({"id": "third", "geography": "US"});
        let (got, answer, _) = ask(&server, local, None, Method::POST, "/tenants", third).await;
        assert_eq!((got, &answer["code"]), (409, &json!("geography_apart")), "{answer}");
        assert!(answer["title"].as_str().unwrap().contains("geographies.US.database"), "{answer}");
    }
    // What a tenant's database holds is the tenant's, and the server's has nothing of a machine.
    let houses = &server.server.houses;
    let control = |id: &str| houses.of(&TenantId::new(id).unwrap()).unwrap().shared.db.clone();
    for (db, host) in [(control("default"), Some("web-ours")), (control("other"), Some("web-theirs"))] {
        assert_eq!(hosts(&db).await, host.into_iter().collect::<Vec<_>>());
    }
    assert_eq!(hosts(houses.own()).await.len(), usize::from(database.is_some()));

    // Lists and hunts hold one's own; an id of the other answers as one that is nobody's.
    for (tenant, host, command, machine) in
        [(None, "web-ours", OURS, "prod-ours"), (other, "web-theirs", THEIRS, "prod-theirs")]
    {
        assert_eq!(names(&get(&server, local, tenant, "/devices").await, "computerDnsName"), [host]);
        assert_eq!(jobs(&server, local, tenant).await, [command]);
        assert_eq!(names(&get(&server, local, tenant, "/machines").await, "name"), [machine]);
        assert_eq!(names(&get(&server, local, tenant, "/subscriptions").await, "name"), [machine]);
        assert_eq!(names(&get(&server, local, tenant, "/enrolment-tokens").await, "name").len(), 1);
    }
    let ids = |page: &Value| names(page, "id");
    let machine = ids(&get(&server, local, other, "/machines").await).remove(0);
    let subscription = ids(&get(&server, local, other, "/subscriptions").await).remove(0);
    for path in [
        format!("/devices/{}", theirs.device),
        format!("/devices/{}/timeline", theirs.device),
        format!("/machines/{machine}"),
        format!("/subscriptions/{subscription}"),
    ] {
        assert_eq!(ask(&server, local, other, Method::GET, &path, Value::Null).await.0, 200, "{path}");
        assert_eq!(ask(&server, local, None, Method::GET, &path, Value::Null).await.0, 404, "{path}");
    }

    // A token of a program works in the tenant that it was made in, and in no other.
    let program = json!({"name": "p", "role": "admin"});
    let program = token(post(&server, local, other, "/api-tokens", program).await);
    let program = Who::Bearer(&program);
    let admin = token(post(&server, local, None, "/api-tokens", json!({"name": "a", "role": "admin"})).await);
    let third = json!({"id": "third", "geography": "UK"});
    let (got, ..) = ask(&server, Who::Bearer(&admin), None, Method::POST, "/tenants", third).await;
    assert_eq!(got, 403, "a program makes no tenants");
    assert_eq!(names(&get(&server, program, None, "/devices").await, "computerDnsName"), ["web-theirs"]);
    assert_eq!(names(&get(&server, program, None, "/tenants").await, "id"), ["other"]);
    assert_eq!(ask(&server, program, Some("default"), Method::GET, "/devices", Value::Null).await.0, 401);

    // People: one who works there alone, and one who works in both and changes over.
    let link = |answer: Value| answer["link"].as_str().unwrap().to_owned();
    let ann = link(post(&server, local, other, "/users", json!({"name": "ann", "role": "admin"})).await);
    let both = link(post(&server, local, None, "/users", json!({"name": "both", "role": "reader"})).await);
    let role = json!({"principal": "both", "role": "reader"});
    post(&server, local, other, "/access/assignments", role).await;
    let sign_in = async |link: &str| {
        let (status, body, cookie) =
            ask(&server, Who::Cookie(""), None, Method::POST, "/session/link", json!({"link": link})).await;
        assert_eq!(status, 200, "{body}");
        cookie.unwrap()
    };
    let (ann, both) = (sign_in(&ann).await, sign_in(&both).await);
    let (ann, both) = (Who::Cookie(&ann), Who::Cookie(&both));
    assert_eq!(names(&get(&server, ann, None, "/devices").await, "computerDnsName"), ["web-theirs"]);
    assert_eq!(jobs(&server, ann, None).await, [THEIRS]);
    assert_eq!(ask(&server, ann, Some("default"), Method::GET, "/devices", Value::Null).await.0, 404);
    assert_eq!(names(&get(&server, ann, None, "/users").await, "name"), ["ann", "both"]);
    let (got, ..) = ask(&server, ann, None, Method::POST, "/users/both/link", json!({})).await;
    assert_eq!(got, 404, "a link would let ann into the other tenant");
    assert_eq!(ask(&server, ann, None, Method::POST, "/users/admin/link", json!({})).await.0, 404);
    let (got, ..) = ask(&server, ann, None, Method::PUT, "/session/tenant", json!({"tenant": "default"})).await;
    assert_eq!(got, 404);
    assert!(!names(&get(&server, local, None, "/users").await, "name").contains(&"ann".to_owned()));
    assert_eq!(names(&get(&server, both, None, "/devices").await, "computerDnsName"), ["web-ours"]);
    assert_eq!(names(&get(&server, both, other, "/devices").await, "computerDnsName"), ["web-theirs"]);
    let (got, ..) = ask(&server, both, None, Method::PUT, "/session/tenant", json!({"tenant": "other"})).await;
    assert_eq!(got, 204);
    assert_eq!(names(&get(&server, both, None, "/devices").await, "computerDnsName"), ["web-theirs"]);
    assert_eq!(jobs(&server, both, Some("default")).await, [OURS]);
    let said = get(&server, local, other, "/audit").await.to_string();
    assert!(said.contains("session/tenant") || said.contains("/users"), "{said}");
    // Each has a chain of the audit log of its own, whole and with nothing of the other.
    for (tenant, own, others) in
        [(None, "users/both", "\"tenant\":\"other\""), (other, "users/ann", "\"tenant\":\"default\"")]
    {
        let (_, first, _) = ask(&server, local, tenant, Method::GET, "/audit?limit=1", Value::Null).await;
        assert!(first["items"][0]["seq"].as_i64().unwrap() < 1000, "{first}");
        let url = format!("{}/api/v1/audit/export", server.server.http_url());
        let Who::Bearer(token) = local else { unreachable!() };
        let asked = reqwest::Client::new().get(url).bearer_auth(token);
        let asked = asked.header("X-Garrison-Tenant", tenant.unwrap_or("default"));
        let text = asked.send().await.unwrap().text().await.unwrap();
        assert!(text.contains(own) && !text.contains(others), "{tenant:?}: {text}");
        let proved = get(&server, local, tenant, "/audit/verify").await;
        assert_eq!(proved["whole"], true, "{proved}");
    }

    // On disk each lies under its own geography. A restart brings both back.
    let folder = server.stop().await.unwrap();
    let (first, second) = (TenantId::first(), TenantId::new("other").unwrap());
    let server = TestServer::start_in(folder, |c| settings(c, database.as_ref())).await.unwrap();
    let folder = server.stop().await.unwrap();
    let (here, there) = (place_of(&data, &first).unwrap().unwrap(), place_of(&data, &second).unwrap().unwrap());
    assert!(there.lake.starts_with(data.join("geographies/uk")), "{there:?}");
    assert_eq!(telling(&here.lake, "quetzal").is_empty(), encryption);
    assert_eq!(telling(&there.lake, "zanzibar").is_empty(), encryption);
    assert!(telling(&here.lake, "zanzibar").is_empty() && telling(&there.lake, "quetzal").is_empty());
    if database.is_none() {
        assert!(here.database().starts_with(data.join("geographies/eu")), "{here:?}");
        for (host, place) in [("web-ours", &here), ("web-theirs", &there)] {
            let found = telling(&data, host);
            assert!(found.contains(&place.database()), "{found:?}");
            assert!(found.iter().all(|f| f.starts_with(place.control()) || f.starts_with(&place.lake)), "{found:?}");
        }
        assert!(!data.join("control/default/control.db").exists());
    }
    let server = TestServer::start_in(folder, |c| settings(c, database.as_ref())).await.unwrap();
    let local = server.server.shared.identity.local_token().to_owned();
    let local = Who::Bearer(&local);
    assert_eq!(
        (jobs(&server, local, None).await, jobs(&server, local, other).await),
        (vec![OURS.into()], vec![THEIRS.into()])
    );
    for (tenant, host, hidden) in [(None, "web-ours", &theirs), (other, "web-theirs", &ours)] {
        assert_eq!(names(&get(&server, local, tenant, "/devices").await, "computerDnsName"), [host]);
        let path = format!("/devices/{}/revoke", hidden.device);
        assert_eq!(ask(&server, local, tenant, Method::POST, &path, json!({"reason": "x"})).await.0, 404);
    }
    send(&server, &theirs, 2, "job zanzibar three").await;
    assert_eq!(jobs(&server, local, other).await.len(), 2);
    assert_eq!(jobs(&server, local, None).await, [OURS]);

    // A reset of one is nothing to the other.
    let folder = server.stop().await.unwrap();
    let mut config = Config::at(&data);
    settings(&mut config, database.as_ref());
    let (reset, to) = (Reset::open(&config).await.unwrap(), Geography::new("CH").unwrap());
    let (in_, shared) = (Geography::new("IN").unwrap(), database.is_some());
    let refused = reset.look(&second, &in_).await;
    assert_eq!(refused.is_err(), shared, "IN has no database of its own: {refused:?}");
    let scope = reset.look(&second, &to).await.unwrap();
    reset.run(&second, &to, &scope.digest(), true, garrison_server::now, None).await.unwrap();
    drop(reset);
    assert!(telling(&data, "zanzibar").is_empty());
    let server = TestServer::start_in(folder, |c| settings(c, database.as_ref())).await.unwrap();
    let local = server.server.shared.identity.local_token().to_owned();
    let local = Who::Bearer(&local);
    assert_eq!((jobs(&server, local, None).await, jobs(&server, local, other).await), (vec![OURS.into()], vec![]));
    assert_eq!(get(&server, local, other, "/tenant").await["geography"], "CH");
    assert!(TestSensor::connect(theirs, server.gateway(), boot(2)).await.is_err());
    send(&server, &ours, 3, OURS).await;
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tenants_of_one_server_see_nothing_of_each_other_on_sqlite() {
    two(None, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tenants_of_one_server_see_nothing_of_each_other_sealed() {
    two(None, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tenants_of_one_server_see_nothing_of_each_other_on_postgresql() {
    let Some(postgres) = Postgres::start() else {
        eprintln!("skipped because PostgreSQL is not installed");
        return;
    };
    let geographies = [("UK", postgres.another("uk")), ("CH", postgres.another("ch"))];
    two(Some(Databases { own: postgres.url(), geographies }), true).await;
}

/// Older versions kept everything in one database, as a server with an address of one does: rows of tenants go to their
/// geography, and what is lost there is not begun anew.
#[tokio::test(flavor = "multi_thread")]
async fn control_data_goes_to_its_geography_once_and_is_missed_there() {
    let server = TestServer::start().await.unwrap();
    let data = server.folder().to_owned();
    let folder = server.stop().await.unwrap();
    let own = data.join("control.db");
    let one = format!("sqlite:{}?mode=rwc", own.display());
    std::fs::remove_file(data.join("control/default/control.db")).unwrap();
    let server = TestServer::start_in(folder, |c| c.database_url = Some(one)).await.unwrap();
    plan_on(&server).await;
    let identity = enrol(server.gateway(), &server.token().await.unwrap(), "web-old").await.unwrap();
    send(&server, &identity, 1, OURS).await;
    let local = server.server.shared.identity.local_token().to_owned();
    let role = json!({"name": "ann", "role": "analyst"});
    post(&server, Who::Bearer(&local), None, "/users", role).await;
    let spare = server.token().await.unwrap();
    let read = async |server: &TestServer| {
        let local = server.server.shared.identity.local_token().to_owned();
        let mut all = Vec::new();
        for path in ["/devices", "/users", "/enrolment-tokens", "/subscriptions", "/tenant", "/access/assignments"] {
            let mut answer = get(server, Who::Bearer(&local), None, path).await;
            for item in answer["items"].as_array_mut().into_iter().flatten() {
                for changing in ["lastSeen", "healthStatus", "health", "counters"] {
                    item.as_object_mut().unwrap().remove(changing);
                }
            }
            all.push(answer);
        }
        all
    };
    let before = read(&server).await;
    let folder = server.stop().await.unwrap();
    assert!(!telling(&data, "web-old").is_empty());

    // Cut off: a copy that was not whole, and one that was with the rows still in the old place.
    let place = data.join("geographies/eu/control/default");
    std::fs::create_dir_all(&place).unwrap();
    std::fs::write(place.join("control.new"), "half").unwrap();
    let kept = std::fs::read(&own).unwrap();
    let server = TestServer::start_in(folder, |_| {}).await.unwrap();
    assert_eq!(read(&server).await, before);
    let folder = server.stop().await.unwrap();
    let control = |data: &std::path::Path| {
        let all = telling(data, "web-old").into_iter().filter(|f| f.extension().is_some_and(|e| e != "parquet"));
        all.collect::<Vec<_>>()
    };
    assert_eq!(control(&data), [place.join("control.db")]);
    std::fs::write(&own, kept).unwrap();
    let server = TestServer::start_in(folder, |_| {}).await.unwrap();
    assert_eq!(read(&server).await, before);
    send(&server, &identity, 2, "job again").await;
    enrol(server.gateway(), &spare, "web-new").await.unwrap();
    assert_eq!(hosts(server.server.houses.own()).await, Vec::<String>::new());
    let folder = server.stop().await.unwrap();
    assert_eq!(control(&data), [place.join("control.db")]);

    // A disk that is not there is not an empty one.
    std::fs::rename(place.join("control.db"), data.join("away")).unwrap();
    let mut config = Config::at(&data);
    config.http.set_port(0);
    config.gateway.set_port(0);
    let error = format!("{:#}", garrison_server::serve::Server::start(config).await.unwrap_err());
    assert!(error.contains("control.db") && error.contains("backup"), "{error}");
    assert!(!place.join("control.db").exists());
    std::fs::rename(data.join("away"), place.join("control.db")).unwrap();
    let server = TestServer::start_in(folder, |_| {}).await.unwrap();
    assert_eq!(hosts(&server.server.shared.db).await, ["web-new", "web-old"]);
    server.stop().await.unwrap();
}
