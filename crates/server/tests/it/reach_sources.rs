//! Sources: AWS is taken in again and again, on a clock that the test moves.

use super::*;
use crate::detections_house::{EngineKind, HOUR, House};
use garrison_model::{GroupName, Tags};
use garrison_server::connect::Connect;
use garrison_server::plane::ExclusionNew;
use garrison_server::reach::{
    AwsEnrol, CloudKind, InstanceState, Reach, SecretKind, Source, SourceChange, SourceNew, SourceOutcome,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const MINUTE: i64 = 60_000_000;
const BEGUN: i64 = 1_790_000_000_000_000;

/// Rooms without a server's loops, and two servers' rooms for sources over one database.
struct Rooms {
    house: House,
    folder: tempfile::TempDir,
    one: Arc<Reach>,
    two: Arc<Reach>,
    prod: SubscriptionId,
    now: i64,
}

impl Rooms {
    async fn open(database: Option<&str>) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let house = House::open(folder.path(), database, BEGUN, EngineKind::Finder, 10).await;
        let connect = Connect::open(&house.shared, house.clock()).await.unwrap();
        let [one, two] = [(), ()].map(|()| Reach::new(&house.shared, &connect, house.clock()));
        let new =
            SubscriptionNew { id: None, name: "prod".into(), location: "westeurope".into(), tags: Tags::default() };
        let mut change = house.shared.plane.change(&house.shared.tenant, "test", Micros(BEGUN)).await.unwrap();
        let prod = change.subscription_put(&new).await.unwrap().0;
        change.commit().await.unwrap();
        one.secret_put("cloud", SecretKind::Aws, "AKIDEXAMPLE:made/up", "amy", Micros(BEGUN)).await.unwrap();
        let programs = folder.path().join("programs");
        std::fs::create_dir_all(&programs).unwrap();
        std::fs::write(programs.join("garrison-connect-x64"), b"a program").unwrap();
        Self { house, folder, one, two, prod, now: BEGUN }
    }

    fn source_new(&self, name: &str, url: &str, install: bool) -> SourceNew {
        let enrol = AwsEnrol { gateway: "gw.example:9443".into(), program: "https://files.example/x".into() };
        SourceNew {
            name: name.into(),
            cloud: CloudKind::Aws,
            region: "eu-central-1".into(),
            endpoint: Some(url.into()),
            key: "cloud".into(),
            subscription: self.prod.clone(),
            resource_group: None,
            enrol: install.then_some(enrol),
            install: None,
            every_minutes: None,
            disabled: false,
        }
    }

    fn pass(&mut self, minutes: i64) {
        self.now += minutes * MINUTE;
        self.house.set(self.now);
    }

    /// Time passes, and both servers look; how many rounds there were.
    async fn turn(&mut self, minutes: i64) -> usize {
        self.pass(minutes);
        let (a, b) = tokio::join!(self.one.sources_turn(), self.two.sources_turn());
        a.unwrap() + b.unwrap()
    }

    async fn source(&self, name: &str) -> Source {
        self.two.source(name).await.unwrap()
    }

    async fn state(&self, name: &str, instance: &str) -> Option<InstanceState> {
        let detail = self.one.source_detail(name).await.unwrap();
        detail.instances.into_iter().find(|i| i.instance == instance).map(|i| i.state)
    }

    async fn machines(&self) -> Vec<Machine> {
        let shared = &self.house.shared;
        shared.plane.machines(&shared.tenant, &MachineFilter::default(), None, 1_000, Micros(self.now)).await.unwrap()
    }

    async fn machine(&self, instance: &str) -> Machine {
        self.machines().await.into_iter().find(|m| m.system.instance == instance).unwrap()
    }

    async fn sql(&self, text: &'static str) {
        sqlx::query(text).execute(self.house.shared.db.pool()).await.unwrap();
    }
}

const LAY_MORE: &str = "
def tag(id, key, value):
    ec2.create_tags(Resources=[id], Tags=[{'Key': key, 'Value': value}])
";

async fn standing(database: Option<&str>) {
    let Some(moto) = Moto::start() else { return };
    let mut rooms = Rooms::open(database).await;
    let laid = moto.script(LAY);
    let ids: Vec<&str> = laid.split_whitespace().collect();
    let made = rooms.one.source_create(&rooms.source_new("eu", &moto.url(), false), "amy").await.unwrap();
    assert_eq!((made.every_minutes, made.install, made.resource_group.as_str()), (15, false, "aws"));
    // At once, by one of the two.
    assert_eq!(rooms.turn(0).await, 1);
    let source = rooms.source("eu").await;
    assert_eq!((source.outcome, source.failures, source.running), (Some(SourceOutcome::Succeeded), 0, false));
    assert_eq!((source.counts.listed, source.counts.added), (3, 3));
    let web = rooms.machine(ids[0]).await;
    assert_eq!((web.power_state, web.tags["env"].as_str()), (Some(PowerState::Running), "prod"));
    // A person changes a tag here; in the cloud a tag changes, one comes, one machine stops, one ends, one is new.
    let shared = Arc::clone(&rooms.house.shared);
    let mut change = shared.plane.change(&shared.tenant, "amy", Micros(rooms.now)).await.unwrap();
    let mut tags = web.tags.clone();
    tags.insert("owner".into(), "amy".into());
    change.machine_tags(&web.id, &tags).await.unwrap();
    change.commit().await.unwrap();
    let twin = rooms.machine(ids[1]).await;
    moto.script(&format!(
        "{LAY_MORE}tag('{0}', 'env', 'test')\ntag('{0}', 'owner', 'cloud')\nec2.stop_instances(InstanceIds=['{0}'])\n\
         ec2.terminate_instances(InstanceIds=['{1}'])\n",
        ids[0], ids[1]
    ));
    let fourth = moto.script(&LAY.replace("print(web[0], twins[0], twins[1])", "print(web[0])"));
    assert_eq!(rooms.turn(14).await, 0, "its time has not come");
    assert_eq!(rooms.turn(1).await, 1);
    let web = rooms.machine(ids[0]).await;
    assert_eq!(web.power_state, Some(PowerState::Deallocated));
    assert_eq!((web.tags["env"].as_str(), web.tags["owner"].as_str()), ("test", "amy"));
    assert_eq!(rooms.machine(&fourth).await.power_state, Some(PowerState::Running));
    // The one that ended stays a machine, is marked, and is not billed.
    assert_eq!(rooms.state("eu", ids[1]).await, Some(InstanceState::Gone));
    let gone = rooms.machines().await.into_iter().find(|m| m.id == twin.id).unwrap();
    assert_eq!(gone.power_state, Some(PowerState::Deallocated));
    let counts = rooms.source("eu").await.counts;
    assert_eq!((counts.gone, counts.listed, counts.changed), (1, 5, 1), "{counts:?}");
    // Once: it is not gone again in the next round. A machine that somebody deleted here does not come back.
    let mut change = shared.plane.change(&shared.tenant, "amy", Micros(rooms.now)).await.unwrap();
    change.machine_delete(&rooms.machine(&fourth).await.id).await.unwrap();
    change.machine_delete(&twin.id).await.unwrap();
    change.commit().await.unwrap();
    assert_eq!(rooms.turn(15).await, 1);
    let counts = rooms.source("eu").await.counts;
    assert_eq!((counts.gone, counts.forgotten, counts.added, counts.changed), (0, 1, 0, 0), "{counts:?}");
    assert!(rooms.machines().await.iter().all(|m| m.system.instance != fourth));
    assert_eq!(rooms.state("eu", &fourth).await, Some(InstanceState::Forgotten));
    assert_eq!(rooms.state("eu", ids[1]).await, None, "nothing is left of it");
    // Held by a server that died in the middle: followed after its lease, and not before.
    rooms.sql("UPDATE reach_sources SET lease_holder = 'another', lease_until = 0, next_run = -1").await;
    let lease = rooms.now + 5 * MINUTE;
    sqlx::query("UPDATE reach_sources SET lease_until = $1").bind(lease).execute(shared.db.pool()).await.unwrap();
    assert!(rooms.source("eu").await.running);
    assert_eq!((rooms.turn(4).await, rooms.turn(1).await, rooms.turn(1).await), (0, 1, 0));
    // A clock that was set back by a year keeps nothing waiting for a year.
    assert_eq!(rooms.turn(-365 * 24 * 60).await, 1);
    assert_eq!((rooms.turn(14).await, rooms.turn(1).await), (0, 1));
    // Now, and rest.
    rooms.two.source_run("eu").await.unwrap();
    assert_eq!((rooms.turn(0).await, rooms.turn(0).await), (1, 0));
    let rest = |disabled| SourceChange { disabled: Some(disabled), ..SourceChange::default() };
    assert!(rooms.one.source_change("eu", &rest(true)).await.unwrap().disabled);
    assert!(rooms.one.source_run("eu").await.unwrap_err().to_string().contains("switched off"));
    assert_eq!(rooms.turn(60).await, 0);
    rooms.one.source_change("eu", &rest(false)).await.unwrap();
    // Its secret goes: it says so, counts, keeps what it knew, and goes on when there is one again.
    rooms.one.secret_delete("cloud").await.unwrap();
    for failures in 1..=3 {
        assert_eq!(rooms.turn(15).await, 1);
        let source = rooms.source("eu").await;
        assert_eq!((source.outcome, source.failures), (Some(SourceOutcome::SecretMissing), failures));
        assert_eq!((source.failing, source.counts.listed), (failures >= 3, 5));
        assert!(source.message.contains("`cloud`") && !source.fix.is_empty(), "{source:?}");
    }
    rooms.one.secret_put("cloud", SecretKind::Aws, "AKIDEXAMPLE:other", "amy", Micros(rooms.now)).await.unwrap();
    drop(moto);
    rooms.turn(15).await;
    let source = rooms.source("eu").await;
    assert_eq!((source.outcome, source.failing), (Some(SourceOutcome::Unreachable), true));
    rooms.one.source_delete("eu").await.unwrap();
    assert!(rooms.one.source_list().await.unwrap().is_empty() && !rooms.machines().await.is_empty());
    let left = sqlx::query("SELECT * FROM reach_instances").fetch_all(shared.db.pool()).await.unwrap();
    assert!(left.is_empty());
    drop((rooms.one, rooms.two, shared));
    let _ = rooms.folder;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_follows_its_cloud_and_one_of_two_servers_works_on_it_on_sqlite() {
    standing(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_follows_its_cloud_and_one_of_two_servers_works_on_it_on_postgresql() {
    let Some(postgres) = Postgres::start() else {
        println!("skipped because PostgreSQL is not installed (Debian package `postgresql`)");
        return;
    };
    standing(Some(&postgres.url())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_sends_the_connector_to_what_runs_and_waits_before_it_does_so_again() {
    let Some(moto) = Moto::start() else { return };
    let mut rooms = Rooms::open(None).await;
    let laid = moto.script(LAY);
    let ids: Vec<&str> = laid.split_whitespace().collect();
    // One of the two that run is excluded before it is known.
    let shared = Arc::clone(&rooms.house.shared);
    moto.script(&format!("{LAY_MORE}tag('{}', 'hands', 'off')", ids[0]));
    let mut change = shared.plane.change(&shared.tenant, "amy", Micros(BEGUN)).await.unwrap();
    let out = ExclusionNew {
        scope: format!("/subscriptions/{}", rooms.prod).parse().unwrap(),
        tag_name: Some("hands".into()),
        tag_value: Some("off".into()),
        reason: "appliance".into(),
        expires_time: None,
    };
    change.exclusion_create(&out).await.unwrap();
    change.commit().await.unwrap();
    rooms.one.source_create(&rooms.source_new("eu", &moto.url(), true), "amy").await.unwrap();
    let commands = |moto: &Moto| {
        let all = moto.script("for c in ssm.list_commands()['Commands']:\n    print(c['Parameters']['commands'])");
        all.matches("gc1_").count()
    };
    // Moto says of every command that it ended well; no connector is heard of.
    for (minutes, sent) in [(0, 1), (15, 1), (44, 1), (1, 2), (119, 2), (1, 3), (239, 3), (1, 4)] {
        // However often somebody asks for a round.
        rooms.pass(minutes);
        rooms.one.source_run("eu").await.unwrap();
        assert_eq!(rooms.turn(0).await, 1);
        assert_eq!(commands(&moto), sent, "after {minutes} more minutes");
        assert_eq!(rooms.state("eu", ids[1]).await, Some(InstanceState::Sent));
        let counts = rooms.source("eu").await.counts;
        assert_eq!((counts.held, counts.listed), (1, 3), "{counts:?}");
    }
    // Without it nothing is sent, however long it takes.
    let off = SourceChange { install: Some(false), ..SourceChange::default() };
    rooms.one.source_change("eu", &off).await.unwrap();
    rooms.turn(2 * 24 * 60).await;
    assert_eq!(commands(&moto), 4);
}

/// A stand-in that lists machines, and refuses every command.
async fn refusing(count: usize) -> (String, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&asked);
    let answer = move |headers: axum::http::HeaderMap| async move {
        if headers.contains_key("x-amz-target") {
            seen.fetch_add(1, Ordering::Relaxed);
            let body = r#"{"__type": "AccessDeniedException", "Message": "not this one"}"#;
            return (axum::http::StatusCode::BAD_REQUEST, body.to_owned());
        }
        let one = |n: usize| {
            format!(
                "<item><instancesSet><item><instanceId>i-{n:03}</instanceId><instanceState><name>running</name>\
                 </instanceState><architecture>x86_64</architecture></item></instancesSet></item>"
            )
        };
        let all: String = (0..count).map(one).collect();
        let text =
            format!("<DescribeInstancesResponse><reservationSet>{all}</reservationSet></DescribeInstancesResponse>");
        (axum::http::StatusCode::OK, text)
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = axum::Router::new().fallback(axum::routing::post(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, asked)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_sends_to_so_many_and_one_that_failed_waits_its_time() {
    let (url, asked) = refusing(45).await;
    let mut rooms = Rooms::open(None).await;
    rooms.one.source_create(&rooms.source_new("eu", &url, true), "amy").await.unwrap();
    let tries = |n: &AtomicUsize| n.swap(0, Ordering::Relaxed);
    // Twenty a round, those that were not tried first; then nobody, for an hour since his own try.
    for (minutes, wanted) in [(0, 20), (15, 20), (15, 5), (15, 0), (14, 0), (1, 20), (15, 20)] {
        rooms.turn(minutes).await;
        assert_eq!(tries(&asked), wanted, "after {minutes} more minutes");
    }
    let counts = rooms.source("eu").await.counts;
    assert_eq!((counts.failed, counts.sent, counts.waiting, counts.listed), (20, 0, 25, 45), "{counts:?}");
    let detail = rooms.one.source_detail("eu").await.unwrap();
    assert_eq!(detail.source.outcome, Some(SourceOutcome::Succeeded), "the inventory was taken in");
    let first = detail.instances.iter().find(|i| i.instance == "i-000").unwrap();
    assert!(first.state == InstanceState::Failed && first.message.contains("not this one"), "{first:?}");
    assert!(!first.fix.is_empty() && first.tries == 2 && first.next_try_time.is_some());
    // Every token of a command that was refused is taken back.
    let live = sqlx::query("SELECT * FROM connect_tokens WHERE revoked IS NULL");
    assert!(live.fetch_all(rooms.house.shared.db.pool()).await.unwrap().is_empty());
    rooms.pass(0);
    assert_eq!(rooms.machines().await.len(), 45);
    assert_eq!(rooms.machines().await[0].resource_id.group, GroupName::new("aws").unwrap());
    // The server has no program for the others.
    std::fs::remove_file(rooms.folder.path().join("programs/garrison-connect-x64")).unwrap();
    let here = std::env::current_exe().unwrap().with_file_name("garrison-connect");
    if !here.exists() {
        rooms.turn(24 * 60).await;
        assert_eq!((tries(&asked), rooms.source("eu").await.counts.unsupported), (0, 45));
    }
    assert_eq!(rooms.turn(24 * 60 + HOUR / MINUTE).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_works_on_its_sources_and_leaves_an_off_boarded_machine_alone() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (url, asked) = refusing(1).await;
    let server = TestServer::start().await.unwrap();
    let s = &server.server;
    let prod = subscription(s, None).await;
    let folder = server.folder().join("programs");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("garrison-connect-x64"), b"a program").unwrap();
    let body = json!({"name": "cloud", "kind": "Aws", "secret": "AKIDEXAMPLE:made/up"});
    assert_eq!(ask(&server, Method::POST, "/reach/secrets", body).await.0, 201);
    let new = json!({"name": "eu", "cloud": "aws", "region": "eu-central-1", "endpoint": url, "key": "cloud",
        "subscription": prod, "enrol": {"gateway": "gw.example:9443", "program": "https://files.example/x"},
        "install": false});
    for (name, value, status) in [
        ("everyMinutes", json!(4), 400),
        ("everyMinutes", json!(1_441), 400),
        ("region", json!("a.b"), 400),
        ("endpoint", json!("ftp://x"), 400),
        ("name", json!("a/b"), 400),
        ("key", json!("other"), 404),
        ("subscription", json!("0f1e2d3c-0000-4000-8000-0000000000aa"), 404),
        ("cloud", json!("other"), 400),
    ] {
        let mut bad = new.clone();
        bad[name] = value;
        assert_eq!(ask(&server, Method::POST, "/reach/sources", bad).await.0, status, "{name}");
    }
    let mut bare = new.clone();
    (bare["enrol"], bare["install"]) = (Value::Null, json!(true));
    assert_eq!(ask(&server, Method::POST, "/reach/sources", bare).await.0, 400, "nothing says how");
    assert_eq!(ask(&server, Method::POST, "/reach/sources", new.clone()).await.0, 201);
    let mut twice = new.clone();
    assert_eq!(ask(&server, Method::POST, "/reach/sources", twice.clone()).await.0, 409);
    twice["name"] = json!("again");
    let (status, refused) = ask(&server, Method::POST, "/reach/sources", twice).await;
    assert_eq!((status, refused["code"].as_str()), (409, Some("step_open")), "the same machines: {refused}");
    // The server's own loop begins at once.
    let ended = |before: Value| {
        let server = &server;
        async move {
            let until = Instant::now() + Duration::from_mins(1);
            loop {
                let (_, seen) = ask(server, Method::GET, "/reach/sources/eu", Value::Null).await;
                let source = seen["source"].clone();
                if source["lastRunTime"] != before["lastRunTime"] && source["running"] == false {
                    return source;
                }
                assert!(Instant::now() < until, "{seen}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    };
    let first = ended(Value::Null).await;
    assert_eq!((&first["outcome"], &first["counts"]["added"]), (&json!("Succeeded"), &json!(1)), "{first}");
    assert_eq!(first["createdBy"], "local administrator");
    let machine = machines(s).await.remove(0);
    assert_eq!(machine.name.as_str(), "i-000");
    // A connector is enrolled on it by hand, and off-boarded; its machine says nothing of its cloud.
    let group = Some(GroupName::new("aws").unwrap());
    let new = ConnectorTokenNew {
        name: "t".into(),
        expires_hours: 1,
        uses: 1,
        subscription: Some(prod.clone()),
        resource_group: group,
    };
    let token = s.connect.token_create(&new, garrison_server::now()).await.unwrap().0;
    let connector = FakeConnector::enrol(&server.gateway().to_string(), &token, "i-000").await.unwrap();
    assert_eq!(connector.answer.resource_id, machine.resource_id.to_string());
    s.connect.offboard(&machine.id, "amy").await.unwrap();
    assert_eq!(ask(&server, Method::PATCH, "/reach/sources/eu", json!({"install": true})).await.1["install"], true);
    assert_eq!(ask(&server, Method::POST, "/reach/sources/eu/run", Value::Null).await.0, 202);
    let second = ended(first).await;
    assert_eq!((&second["counts"]["held"], &second["counts"]["sent"]), (&json!(1), &json!(0)), "{second}");
    assert_eq!((machines(s).await.len(), asked.load(Ordering::Relaxed)), (1, 0), "one machine, and no command");
    assert_eq!(ask(&server, Method::PATCH, "/reach/sources/eu", json!({"disabled": true})).await.0, 200);
    let (status, refused) = ask(&server, Method::POST, "/reach/sources/eu/run", Value::Null).await;
    assert_eq!((status, refused["code"].as_str()), (409, Some("source_resting")), "{refused}");
    assert_eq!(ask(&server, Method::DELETE, "/reach/sources/eu", Value::Null).await.0, 204);
    assert_eq!(ask(&server, Method::GET, "/reach/sources/eu", Value::Null).await.0, 404);
    server.stop().await.unwrap();
}
