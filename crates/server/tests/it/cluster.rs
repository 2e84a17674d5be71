//! A cluster on loopback, of real processes: an object store that speaks S3 (moto of the Python package index), a server
//! that copies its lake there, a scheduler, two executors, and a query server. The whole library gives the same answers
//! there as on one machine.

use crate::library::{NOW, json_of, rows};
use futures::{StreamExt as _, TryStreamExt as _};
use garrison_lake::{Batch, Bucket, Identity, LakeKey};
use garrison_model::{BootId, DeviceId, Micros, TenantId};
use garrison_server::config::Config;
use garrison_server::hunting::library::library;
use garrison_telemetry::BatchHeader;
use garrison_testkit::TestServer;
use object_store::ObjectStore as _;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const BUCKET: &str = "lake";
const KEY: &str = "GARRISONTESTKEY";
const SECRET: &str = "not-a-secret-but-long-enough";

/// Serves S3 on a free port until its standard input ends.
const STORE: &str = r#"
import logging, sys, boto3
from moto.server import ThreadedMotoServer
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1", aws_access_key_id="a",
             aws_secret_access_key="b").create_bucket(Bucket="lake")
print(f"{host}:{port}", flush=True)
sys.stdin.read()
"#;
/// Files of each table, so that a scan has parts for both executors.
const FILES: usize = 2;
/// A query may take this long before the test gives up.
const SECONDS_MAX: u64 = 240;
/// Queries at once; a user may run four.
const AT_ONCE: usize = 3;

/// What the library does not use: everything that travels in its own way.
const MORE: &[&str] = &[
    "DeviceProcessEvents | summarize count() by FileName | sort by count_ desc, FileName asc",
    "DeviceProcessEvents | summarize dcount(ProcessId), percentile(ProcessId, 90), arg_max(ProcessId, FileName)",
    "DeviceProcessEvents | parse ProcessCommandLine with first ' ' rest | summarize n = count() by first",
    "DeviceProcessEvents | parse-kv ProcessCommandLine as (config: string) with (pair_delimiter=' ', kv_delimiter='=') \
     | summarize n = count() by config",
    "DeviceProcessEvents | extend part = split(ProcessCommandLine, ' ') | mv-expand part to typeof(string) \
     | summarize n = count() by part",
    "DeviceProcessEvents | mv-apply w = split(ProcessCommandLine, ' ') to typeof(string) on (summarize m = max(w)) \
     | summarize n = count() by m",
    "DeviceProcessEvents | make-series n = count() on Timestamp from datetime(2026-01-01) to datetime(2026-01-03) \
     step 1d by AccountName",
    "DeviceProcessEvents | join kind=leftanti (DeviceNetworkEvents | project InitiatingProcessFileName) \
     on $left.FileName == $right.InitiatingProcessFileName | summarize n = count() by FileName",
    "DeviceProcessEvents | join kind=leftouter (DeviceNetworkEvents | summarize c = count() by \
     InitiatingProcessFileName) on $left.FileName == $right.InitiatingProcessFileName | summarize sum(c), count() by FileName",
    "DeviceProcessEvents | join kind=fullouter (DeviceFileEvents | project FileName, FolderPath) on FileName \
     | summarize n = count() by FileName, FileName1",
    "DeviceNetworkEvents | join kind=rightsemi (DeviceProcessEvents) \
     on $left.InitiatingProcessFileName == $right.FileName | summarize n = count() by FileName",
    "datatable(FileName: string, why: string)['curl', 'web', 'bash', 'shell'] | join kind=inner DeviceProcessEvents on \
     FileName | summarize n = count() by why",
    "let names = DeviceProcessEvents | summarize by FileName; names | where FileName in (names) | count",
    "DeviceProcessEvents | where ProcessId > toscalar(DeviceProcessEvents | summarize avg(ProcessId)) | count",
    "union DeviceProcessEvents, DeviceFileEvents, DeviceNetworkEvents | summarize n = count() by ActionType",
    "DeviceProcessEvents | top 5 by ProcessCommandLine asc | project ProcessCommandLine",
    "DeviceProcessEvents | sort by ProcessCommandLine asc, Timestamp asc | extend r = row_number(), p = prev(FileName) \
     | where r < 20 | project r, p, ProcessCommandLine",
    "DeviceProcessEvents | top-nested 2 of FileName by count(), top-nested 2 of AccountName by count()",
    "DeviceProcessEvents | evaluate pivot(AccountName, count(), FileName)",
    "DeviceProcessEvents | where ProcessCommandLine has_any ('curl', 'wget') or FileName matches regex '^b' \
     | summarize make_set(FileName)",
    "DeviceLogonEvents | take 3 | count",
    "search 'curl' | summarize n = count() by $table",
    "DeviceProcessEvents | summarize n = array_length(make_set(ProcessCommandLine, 5)) by FileName",
    "search 'curl' | summarize n = count() by $table",
    "print x = 1 + 1",
];

/// Processes that end with the test.
pub(crate) struct Processes(pub(crate) Vec<Child>);

impl Drop for Processes {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Processes {
    /// Kills the process that was started as this one, without a word to it.
    fn kill(&mut self, number: usize) {
        self.0[number].kill().unwrap();
        self.0[number].wait().unwrap();
    }

    /// Starts an S3 endpoint with an empty bucket.
    pub(crate) fn object_store(&mut self, python: &Path) -> SocketAddr {
        let mut command = Command::new(python);
        command.args(["-c", STORE]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        self.0.push(child);
        line.trim().parse().unwrap_or_else(|e| panic!("the object store said `{line}`: {e}"))
    }

    /// Starts a role; what it says of itself once it listens.
    fn start(&mut self, role: &str, config: &Path, data: &Path, more: &[&str]) -> Value {
        let mut child = Command::new(env!("CARGO_BIN_EXE_garrison"))
            .args(["serve", "--output", "json", "--role", role, "--config"])
            .arg(config)
            .arg("--data")
            .arg(data)
            .args(more)
            .env("GARRISON_LOG", std::env::var("GARRISON_LOG").unwrap_or_else(|_| "error".to_owned()))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        self.0.push(child);
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{role} said `{line}`: {e}"))
    }
}

/// A Python that knows moto, installed once; why not, where it cannot be.
pub(crate) fn python() -> Result<PathBuf, String> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("moto");
    let python = folder.join("bin/python");
    let run = |command: &mut Command| match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(error) => Err(error.to_string()),
    };
    if run(Command::new(&python).args(["-c", "import moto.server, boto3"])).is_err() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
        run(Command::new(&python).args(["-m", "pip", "install", "-q", "moto[server]>=5"]))?;
    }
    Ok(python)
}

/// Of all parts; the key file is written once the lake is sealed, and read by those who open the copy.
pub(crate) fn configuration(endpoint: SocketAddr, key: &Path) -> String {
    format!(
        "version = 1\n[lake]\nkey_file = \"{}\"\ndisk_floor_bytes = 1048576\n[lake.object_store]\nurl = \"s3://{BUCKET}/one/place\"\n\
         endpoint = \"http://{endpoint}\"\nregion = \"us-east-1\"\naccess_key_id = \"{KEY}\"\n\
         secret_access_key = \"{SECRET}\"\n[cluster]\nrefresh_seconds = 1\ncores = 2\n\
         [hunting]\nseconds_max_api = 200\nseconds_max_console = 200\n[hunting.user]\ncalls_per_minute = 100000\ncalls_per_hour = 100000\n\
         [hunting.tenant]\ncalls_per_minute = 100000\ncalls_per_hour = 100000\n",
        key.display()
    )
}

/// Every row of the library's samples, attack and benign, told as of now.
fn recorded(now: i64) -> BTreeMap<String, Vec<Value>> {
    let mut all: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for query in library() {
        let sample = json_of(&format!("hunting/samples/{}.json", query.id)).unwrap();
        for part in ["attack", "benign"] {
            for (table, rows) in rows(&sample[part], part).unwrap() {
                all.entry(table).or_default().extend(rows);
            }
        }
    }
    for row in all.values_mut().flatten() {
        let Some(told) = row["Timestamp"].as_str().and_then(|t| t.parse::<jiff::Timestamp>().ok()) else { continue };
        let moved = jiff::Timestamp::from_microsecond(told.as_microsecond() - NOW + now).unwrap();
        row["Timestamp"] = json!(moved.to_string());
    }
    all
}

/// Puts rows into a lake, in several files a table.
async fn fill(server: &TestServer, now: i64) {
    let lake = &server.server.shared.lake;
    let mut number = 1;
    let all = recorded(now);
    for part in 0..FILES {
        for (table, rows) in &all {
            let some: Vec<Value> = rows.iter().skip(part).step_by(FILES).cloned().collect();
            if some.is_empty() {
                continue;
            }
            let batch = garrison_telemetry::batch_from_json(table, &some).unwrap();
            let header = BatchHeader {
                device: DeviceId::new("ab".repeat(20)).unwrap(),
                boot: BootId::new("0f1e2d3c-0000-4000-8000-000000000001").unwrap(),
                table: table.clone(),
                sequence_first: number,
                row_count: u32::try_from(batch.num_rows()).unwrap(),
                created: Micros(now),
            };
            number += u64::from(header.row_count);
            let mut batch = Batch::new(header, Micros(now), batch);
            batch.identity = Identity::InRows;
            lake.append(batch).await.unwrap();
        }
        lake.flush().await.unwrap();
    }
}

/// A query's columns and rows, or what is wrong with it.
async fn ask(base: &str, token: &str, query: &str) -> Result<(Value, Vec<Value>), String> {
    let asked = reqwest::Client::new()
        .post(format!("{base}/api/v1/hunting/run"))
        .bearer_auth(token)
        .json(&json!({"query": query}))
        .timeout(std::time::Duration::from_secs(SECONDS_MAX))
        .send();
    let answer = asked.await.map_err(|e| format!("{e:?}"))?;
    let status = answer.status();
    let body: Value = answer.json().await.map_err(|e| format!("{e:?}"))?;
    if !status.is_success() {
        return Err(body.to_string());
    }
    Ok((body["columns"].clone(), body["rows"].as_array().cloned().ok_or("there are no rows")?))
}

/// Lists that an aggregate gathers have no order: `make_set` and its like.
fn unordered(value: &Value) -> Value {
    match value {
        Value::Array(items) => {
            let mut items: Vec<Value> = items.iter().map(unordered).collect();
            items.sort_by_key(ToString::to_string);
            Value::Array(items)
        }
        Value::Object(members) => Value::Object(members.iter().map(|(k, v)| (k.clone(), unordered(v))).collect()),
        // Dynamic values come as JSON or as its text.
        Value::String(text) if text.starts_with('[') => match serde_json::from_str::<Value>(text) {
            Ok(inner) => unordered(&inner),
            Err(_) => value.clone(),
        },
        other => other.clone(),
    }
}

/// Whether the last operator that says anything about order says so.
fn is_ordered(query: &str) -> bool {
    ["sort by", "order by", "top "].iter().any(|word| query.contains(word))
}

/// Columns whose value the language leaves open: any value, or those that fit into an array of a greatest length.
fn left_open(query: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for call in ["take_any(", "make_set(", "make_list("] {
        for (at, _) in query.match_indices(call) {
            let (before, inside) = (&query[..at], &query[at + call.len()..]);
            let mut depth = 1;
            let end = inside.find(|c| {
                depth += i32::from(c == '(') - i32::from(c == ')');
                depth == 0
            });
            let inside = &inside[..end.unwrap_or(inside.len())];
            let bounded = inside.rsplit_once(',').is_some_and(|(_, most)| most.trim().parse::<u32>().is_ok());
            let name = before.trim_end().strip_suffix('=').map(str::trim_end).unwrap_or_default();
            let name = name.rsplit(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
            match call {
                // Columns that are taken whole keep their names.
                "take_any(" if name.is_empty() => names.extend(inside.split(',').map(str::trim)),
                "take_any(" => names.push(name),
                // Inside of another call it has no column of its own.
                _ if bounded && !name.is_empty() => names.push(name),
                _ => {}
            }
        }
    }
    names
}

/// Whether two answers are the same; of what is left open, only how many values there are.
fn same(query: &str, columns: &Value, one: &[Value], other: &[Value]) -> bool {
    let open = left_open(query);
    let names: Vec<&str> = columns.as_array().into_iter().flatten().map(|c| c["name"].as_str().unwrap()).collect();
    let cell = |(at, value): (usize, &Value)| match unordered(value) {
        Value::Array(items) if open.contains(&names[at]) => json!(items.len()),
        _ if open.contains(&names[at]) => Value::Null,
        known => known,
    };
    // Cells keep their places in a row; lists in cells do not.
    let cells = |row: &Value| row.as_array().into_iter().flatten().enumerate().map(cell).collect::<Vec<_>>();
    let (mut one, mut other): (Vec<_>, Vec<_>) = (one.iter().map(cells).collect(), other.iter().map(cells).collect());
    if is_ordered(query) && one == other {
        return true;
    }
    // Rows that an order ties may come either way, so what is compared beyond that is which rows there are.
    for rows in [&mut one, &mut other] {
        rows.sort_by_key(|row| Value::from(row.clone()).to_string());
    }
    one == other
}

fn metric(text: &str, code: &str) -> f64 {
    let name = format!("garrison_hunting_plans_total{{code=\"{code}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&name)).and_then(|v| v.trim().parse().ok()).unwrap_or(0.0)
}

/// Folders of queries that an executor kept something of.
fn worked(data: &Path) -> usize {
    std::fs::read_dir(data.join("executor")).map_or(0, Iterator::count)
}

/// A query server without the key, or with another one, does not start, and says what to do. The copy is sealed: none of
/// its Parquet files opens without a key.
async fn no_key_no_copy(settings: &Config, folder: &Path) {
    let other = folder.join("other.key");
    let key = LakeKey::new(&[1; 32]).unwrap();
    garrison_server::rest::reader_key_write(&other, &TenantId::first(), &key).unwrap();
    for (name, given) in [("without", None), ("other", Some(other))] {
        let mut config = settings.clone();
        config.data = folder.join(name);
        config.role = garrison_server::config::Role::Query;
        (config.http, config.lake_key_file) = (SocketAddr::from(([127, 0, 0, 1], 0)), given);
        let error = format!("{:#}", garrison_server::serve::Server::start(config).await.unwrap_err());
        assert!(error.contains("--for-query-server"), "{error}");
    }
    let bucket = Bucket::open(settings.object_store.as_ref().unwrap()).unwrap();
    let listed: Vec<_> = bucket.store().list(None).try_collect().await.unwrap();
    let sealed = listed.iter().filter(|meta| meta.location.as_ref().ends_with(".sealed.parquet")).count();
    assert!(sealed > FILES, "{listed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_library_gives_the_same_answers_on_a_cluster() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let python = match python() {
        Ok(python) => python,
        Err(why) => {
            println!("skipped because moto cannot be installed: {}", why.lines().last().unwrap_or_default());
            return;
        }
    };
    let folder = tempfile::tempdir().unwrap();
    let mut processes = Processes(Vec::new());
    let endpoint = processes.object_store(&python);
    let config = folder.path().join("garrison.toml");
    let key_file = folder.path().join("query.key");
    std::fs::write(&config, configuration(endpoint, &key_file)).unwrap();
    let settings = Config::load(&config, folder.path()).unwrap();
    let server = TestServer::start_with(|c| {
        c.object_store.clone_from(&settings.object_store);
        c.encryption = settings.encryption;
        c.hunting = settings.hunting.clone();
        // This test says when.
        c.cluster.copy_seconds = 3_600;
    })
    .await
    .unwrap();
    fill(&server, garrison_server::now().0).await;
    let mut expected = Vec::new();
    let queries: Vec<(&str, &str)> =
        library().iter().map(|q| (q.id.as_str(), q.query.as_str())).chain(MORE.iter().map(|q| ("more", *q))).collect();
    for (id, query) in &queries {
        let base = server.server.http_url();
        expected.push((*id, *query, ask(&base, server.server.shared.identity.local_token(), query).await));
    }
    let exported = Command::new(env!("CARGO_BIN_EXE_garrison"))
        .args(["tenant", "key", "show", "--for-query-server"])
        .arg(&key_file)
        .arg("--data")
        .arg(server.folder())
        .output()
        .unwrap();
    assert!(exported.status.success(), "{}", String::from_utf8_lossy(&exported.stderr));
    // Stopping copies what is not copied yet.
    server.stop().await.unwrap();
    no_key_no_copy(&settings, folder.path()).await;

    let data = |name: &str| -> PathBuf { folder.path().join(name) };
    let free = ["--listen", "127.0.0.1:0"];
    let scheduler = processes.start("scheduler", &config, &data("scheduler"), &free);
    let address = format!("http://{}", scheduler["listen"].as_str().unwrap());
    let with = ["--scheduler", address.as_str()];
    for name in ["one", "two"] {
        processes.start("executor", &config, &data(name), &[free, with].concat());
    }
    let query = processes.start("query", &config, &data("query"), &[&with[..], &["--http", "127.0.0.1:0"]].concat());
    let base = query["httpUrl"].as_str().unwrap();
    let token = std::fs::read_to_string(data("query").join("run/admin.token")).unwrap();

    let (mut wrong, mut found) = (String::new(), 0);
    let (began, key) = (std::time::Instant::now(), token.trim());
    let mut answers = futures::stream::iter(expected)
        .map(|(id, query, expected)| async move { (id, query, expected, ask(base, key, query).await) })
        .buffered(AT_ONCE);
    while let Some((id, query, expected, got)) = answers.next().await {
        println!("{:>5.1} s {id}: {:?} rows", began.elapsed().as_secs_f32(), got.as_ref().map(|(_, rows)| rows.len()));
        match (expected, got) {
            (Ok((columns, rows)), Ok((columns_there, rows_there))) => {
                found += usize::from(!rows.is_empty());
                if columns != columns_there || !same(query, &columns, &rows, &rows_there) {
                    let cut = |rows: &[Value]| json!(rows.iter().take(5).collect::<Vec<_>>());
                    let (here, there) = (cut(&rows), cut(&rows_there));
                    let (n, m) = (rows.len(), rows_there.len());
                    let _ = writeln!(wrong, "{id}: {query}\n  {n} rows here:  {here}\n  {m} rows there: {there}");
                }
            }
            (here, there) => {
                let (here, there) = (here.map(|_| ()), there.map(|_| ()));
                let _ = writeln!(wrong, "{id}: {query}\n  here: {here:?}\n  there: {there:?}");
            }
        }
    }
    let count = queries.len();
    assert!(wrong.is_empty(), "of {count} queries differ:\n{wrong}");
    assert!(found >= library().len(), "only {found} of {count} queries find anything");
    // It was the cluster that answered, and both of its executors.
    let metrics = reqwest::Client::new().get(format!("{base}/metrics")).bearer_auth(token.trim()).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(metric(&metrics, "cluster") >= library().len() as f64, "{metrics}");
    assert!(metric(&metrics, "here_cannot_travel") + metric(&metrics, "here") < 0.5, "{metrics}");
    assert!(worked(&data("one")) > 0 && worked(&data("two")) > 0, "an executor did nothing");
    // What a query server does not have it does not show as empty.
    let devices = reqwest::Client::new().get(format!("{base}/api/v1/devices")).bearer_auth(token.trim()).send();
    assert_eq!(devices.await.unwrap().status(), 404);

    // An executor dies without a word: the other one answers, or the query ends in words; it does not hang.
    processes.kill(3);
    let lost = ask(base, key, MORE[0]).await;
    println!(
        "{:>5.1} s with an executor killed: {:?}",
        began.elapsed().as_secs_f32(),
        lost.as_ref().map(|(_, rows)| rows.len())
    );
    assert!(lost.is_ok() || lost.as_ref().is_err_and(|why| why.contains("\"hint\"")), "{lost:?}");
    // The object store is away: the query says so.
    processes.kill(0);
    let away = ask(base, key, MORE[1]).await.unwrap_err();
    println!("{:>5.1} s without the object store: {away}", began.elapsed().as_secs_f32());
    assert!(away.contains("cannot read the object store") && away.contains("query_unreachable"), "{away}");
}
