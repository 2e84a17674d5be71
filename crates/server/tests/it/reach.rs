//! Hosts by SSH: a real OpenSSH server of our own on loopback, with its own keys, folder and port.

use super::*;
use crate::rest::telling;
use reqwest::Method;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

#[path = "reach_aws.rs"]
mod aws;

/// An sshd; whoever signs in gets an environment in which the connector touches this folder only.
struct Sshd {
    folder: tempfile::TempDir,
    address: String,
    port: u16,
    /// The network namespace that it runs in; this one unless named.
    namespace: Option<String>,
    child: Option<Child>,
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.stop();
        // What was started on the "host" outlives its session: it is found by the folder of its program.
        let program = self.folder.path().join("host-opt");
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let ours = std::fs::read_link(entry.path().join("exe")).is_ok_and(|exe| exe.starts_with(&program));
            let pid = entry.file_name().to_string_lossy().parse::<i32>();
            if let (true, Ok(pid)) = (ours, pid) {
                let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM);
            }
        }
    }
}

fn keygen(path: &Path) {
    let done = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path).status().unwrap();
    assert!(done.success());
}

impl Sshd {
    fn lay() -> Option<Self> {
        // Picked and let go: sshd cannot pick by itself.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self::lay_at("127.0.0.1", port, None)
    }

    fn lay_at(address: &str, port: u16, namespace: Option<&str>) -> Option<Self> {
        let sshd = Path::new("/usr/sbin/sshd");
        if !sshd.exists() || !Path::new("/usr/bin/ssh").exists() || !nix::unistd::geteuid().is_root() {
            println!("skipped because there is no OpenSSH, or this is not root");
            return None;
        }
        let (address, namespace) = (address.to_owned(), namespace.map(str::to_owned));
        let mut made = Self { folder: tempfile::tempdir().unwrap(), address, port, namespace, child: None };
        let root = made.folder.path().to_owned();
        keygen(&root.join("host-key"));
        keygen(&root.join("user-key"));
        std::fs::copy(root.join("user-key.pub"), root.join("authorized")).unwrap();
        live::lay_host(&root);
        let variable = |name: &str, folder: &str| format!("GARRISON_CONNECT_{name}={}", root.join(folder).display());
        let config = format!(
            "Port {port}\nListenAddress {4}\nHostKey {0}/host-key\nAuthorizedKeysFile {0}/authorized\n\
             PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n\
             SetEnv {1} {2} {3}\n",
            root.display(),
            variable("STATE_DIR", "state"),
            variable("PREFIX", "prefix"),
            variable("HOST_ROOT", "host"),
            made.address,
        );
        std::fs::write(root.join("config"), config).unwrap();
        // Debian's sshd wants its folder for those that are not signed in yet.
        std::fs::create_dir_all("/run/sshd").unwrap();
        made.start();
        Some(made)
    }

    fn start(&mut self) {
        let log = std::fs::File::create(self.folder.path().join("log")).unwrap();
        let mut command = match &self.namespace {
            Some(name) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", name, "/usr/sbin/sshd"]);
                command
            }
            None => Command::new("/usr/sbin/sshd"),
        };
        command.args(["-D", "-e", "-f"]).arg(self.folder.path().join("config"));
        self.child = Some(command.stdin(Stdio::null()).stderr(log).spawn().unwrap());
        let end = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect((self.address.as_str(), self.port)).is_err() {
            assert!(Instant::now() < end, "sshd does not come up");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Of its host key, as OpenSSH's own tool says.
    fn fingerprint(&self) -> String {
        let said = Command::new("ssh-keygen").arg("-lf").arg(self.folder.path().join("host-key.pub")).output().unwrap();
        String::from_utf8(said.stdout).unwrap().split_whitespace().nth(1).unwrap().to_owned()
    }

    fn user_key(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("user-key")).unwrap()
    }
}

async fn ask(server: &TestServer, method: Method, path: &str, body: Value) -> (u16, Value) {
    let url = format!("{}/api/v1{path}", server.server.http_url());
    let token = server.server.shared.identity.local_token().to_owned();
    let mut request = reqwest::Client::new().request(method, url).bearer_auth(token);
    if !body.is_null() {
        request = request.json(&body);
    }
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or(Value::Null))
}

/// Runs an order to its end and tells code and message of each host.
async fn run(server: &TestServer, order: &Value) -> Vec<(String, String)> {
    let (status, begun) = ask(server, Method::POST, "/reach/ssh", order.clone()).await;
    assert_eq!(status, 202, "{begun}");
    let path = format!("/reach/runs/{}", begun["id"].as_str().unwrap());
    let end = Instant::now() + Duration::from_mins(3);
    loop {
        let (_, run) = ask(server, Method::GET, &path, Value::Null).await;
        if run["done"] == true {
            let text = |h: &Value, key: &str| h[key].as_str().unwrap_or_default().to_owned();
            let hosts = run["hosts"].as_array().unwrap();
            assert!(hosts.iter().all(|h| h["code"] == "Connected" || !text(h, "fix").is_empty()), "{run}");
            return hosts.iter().map(|h| (text(h, "code"), text(h, "message"))).collect();
        }
        assert!(Instant::now() < end, "{run}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_connected_by_ssh_and_its_key_is_held_to() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let Some(mut sshd) = Sshd::lay() else { return };
    let program = programs().join("garrison-connect");
    if !program.exists() {
        println!("skipped because `{}` is not built: cargo build --workspace --bins", program.display());
        return;
    }
    let server = TestServer::start().await.unwrap();
    let prod = subscription(&server.server, None).await;
    let folder = server.folder().join("programs");
    std::fs::create_dir_all(&folder).unwrap();
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
    std::fs::copy(&program, folder.join(format!("garrison-connect-{architecture}"))).unwrap();
    // The vault takes keys and gives none out.
    let secret = json!({"name": "ops", "kind": "Ssh", "secret": sshd.user_key()});
    assert_eq!(ask(&server, Method::POST, "/reach/secrets", secret.clone()).await.0, 201);
    assert_eq!(ask(&server, Method::POST, "/reach/secrets", secret).await.0, 409);
    let wrong = json!({"name": "x", "kind": "Ssh", "secret": "ssh-ed25519 AAAA"});
    assert_eq!(ask(&server, Method::POST, "/reach/secrets", wrong).await.0, 400);
    let sealed = sshd.folder.path().join("sealed-key");
    let args = ["-q", "-t", "ed25519", "-N", "a passphrase", "-f"];
    assert!(Command::new("ssh-keygen").args(args).arg(&sealed).status().unwrap().success());
    let sealed = json!({"name": "y", "kind": "Ssh", "secret": std::fs::read_to_string(&sealed).unwrap()});
    let (status, refused) = ask(&server, Method::POST, "/reach/secrets", sealed).await;
    assert!(status == 400 && refused["title"].as_str().unwrap().contains("passphrase"), "{refused}");
    let (_, secrets) = ask(&server, Method::GET, "/reach/secrets", Value::Null).await;
    assert!(secrets["items"].as_array().unwrap().len() == 1 && !secrets.to_string().contains("PRIVATE"));
    let middle = sshd.user_key().lines().nth(2).unwrap().to_owned();
    assert!(server.folder().join("control/default/control.db").exists());
    assert!(telling(server.folder(), &middle).is_empty(), "the key lies in the open");
    let port = sshd.port;
    let opt: PathBuf = sshd.folder.path().join("host-opt");
    let mut order = json!({
        "hosts": [{"address": "127.0.0.1", "port": port, "name": "bastion", "tags": {"env": "test"}}],
        "user": "root", "key": "ops", "gateway": server.gateway().to_string(), "subscription": prod,
        "resourceGroup": "web", "directory": opt.to_str().unwrap(),
    });
    for (name, value) in [("user", "-oProxyCommand=x"), ("gateway", "x; y:1"), ("directory", "/a b")] {
        let mut bad = order.clone();
        bad[name] = json!(value);
        assert_eq!(ask(&server, Method::POST, "/reach/ssh", bad).await.0, 400, "{name}");
    }
    // Never seen: refused, and nothing is remembered.
    let print = sshd.fingerprint();
    let refused = run(&server, &order).await.remove(0);
    assert!(refused.0 == "HostKeyUnknown" && refused.1.contains(&print), "{refused:?} {print}");
    assert_eq!(ask(&server, Method::GET, "/reach/hosts", Value::Null).await.1["items"], json!([]));
    assert!(!opt.exists() && machines(&server.server).await.is_empty());
    // Accepted; beside it a host that nobody answers at.
    order["acceptNewHosts"] = json!(true);
    order["hosts"].as_array_mut().unwrap().push(json!({"address": "127.0.0.1", "port": 1}));
    let ended = run(&server, &order).await;
    let log = std::fs::read_to_string(sshd.folder.path().join("log")).unwrap();
    assert_eq!(ended[0].0, "Connected", "{ended:?}\n{log}");
    assert_eq!(ended[1].0, "Unreachable", "{ended:?}");
    let log = sshd.folder.path().join("log");
    live::until(&server.server, "connected", &log, |m| m.state == ConnectionState::Connected).await;
    let machine = machines(&server.server).await.remove(0);
    assert_eq!((machine.name.as_str(), machine.tags["env"].as_str()), ("bastion", "test"));
    assert!(machine.resource_id.to_string().contains("/resourceGroups/web/"));
    let key = format!("[127.0.0.1]:{port}");
    let (_, hosts) = ask(&server, Method::GET, "/reach/hosts", Value::Null).await;
    assert_eq!(hosts["items"][0]["address"], json!(key));
    assert_eq!(hosts["items"][0]["fingerprints"], json!([format!("{print} (ssh-ed25519)")]));
    // Nothing of the run is left: no key, no token that lets anybody in.
    let left = std::fs::read_dir(server.folder().join("run")).unwrap().flatten();
    assert!(!left.map(|e| e.file_name()).any(|n| n.to_string_lossy().starts_with("ssh-")));
    // Another key than before: refused though new ones would be taken, until it is forgotten.
    sshd.stop();
    for name in ["host-key", "host-key.pub"] {
        std::fs::remove_file(sshd.folder.path().join(name)).unwrap();
    }
    keygen(&sshd.folder.path().join("host-key"));
    sshd.start();
    order["hosts"].as_array_mut().unwrap().truncate(1);
    let ended = run(&server, &order).await;
    assert!(ended[0].0 == "HostKeyChanged" && ended[0].1.contains(&sshd.fingerprint()), "{ended:?}");
    let forget = format!("/reach/hosts/%5B127.0.0.1%5D%3A{port}");
    assert_eq!(ask(&server, Method::DELETE, &forget, Value::Null).await.0, 204);
    assert_eq!(ask(&server, Method::DELETE, &forget, Value::Null).await.0, 404);
    // A key that the host does not take.
    std::fs::write(sshd.folder.path().join("authorized"), "").unwrap();
    assert_eq!(run(&server, &order).await[0].0, "NotAuthenticated");
    server.stop().await.unwrap();
}

fn ip(words: &str) {
    let done = Command::new("ip").args(words.split(' ')).output().unwrap();
    assert!(done.status.success(), "ip {words}: {}", String::from_utf8_lossy(&done.stderr));
}

/// A network of our own: a bridge, and namespaces on it. It goes with the test.
struct Network {
    bridge: &'static str,
    namespaces: Vec<String>,
}

impl Network {
    const HERE: &str = "10.213.7.1";

    fn lay(bridge: &'static str, count: u8) -> Self {
        let mut made = Self { bridge, namespaces: Vec::new() };
        made.clear(count);
        ip(&format!("link add {bridge} type bridge"));
        ip(&format!("addr add {}/29 dev {bridge}", Self::HERE));
        ip(&format!("link set {bridge} up"));
        for n in 0..count {
            let (name, here) = (format!("{bridge}-{n}"), format!("{bridge}v{n}"));
            ip(&format!("netns add {name}"));
            made.namespaces.push(name.clone());
            ip(&format!("link add {here} type veth peer name eth0 netns {name}"));
            ip(&format!("link set {here} master {bridge} up"));
            for words in [format!("addr add {}/29 dev eth0", Self::address(n)), "link set eth0 up".to_owned()] {
                ip(&format!("-n {name} {words}"));
            }
        }
        made
    }

    fn address(n: u8) -> String {
        format!("10.213.7.{}", n + 2)
    }

    /// Also of what a run that was cut off left.
    fn clear(&self, count: u8) {
        for n in 0..count {
            let _ = Command::new("ip").args(["netns", "del", &format!("{}-{n}", self.bridge)]).output();
        }
        let _ = Command::new("ip").args(["link", "del", self.bridge]).output();
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.clear(u8::try_from(self.namespaces.len()).unwrap_or(u8::MAX));
    }
}

/// A range with two hosts in it, each in a network namespace of its own, and addresses at which nobody is.
#[tokio::test(flavor = "multi_thread")]
async fn a_range_is_connected_by_ssh_across_network_namespaces() {
    let program = programs().join("garrison-connect");
    if !nix::unistd::geteuid().is_root() || !Path::new("/usr/sbin/sshd").exists() || !program.exists() {
        println!("skipped because this is not root, there is no OpenSSH, or the programs are not built");
        return;
    }
    let _network = Network::lay("grtest", 2);
    let server = TestServer::start_with(|c| c.gateway = format!("{}:0", Network::HERE).parse().unwrap()).await.unwrap();
    let hosts: Vec<Sshd> =
        (0..2).map(|n| Sshd::lay_at(&Network::address(n), 22, Some(&format!("grtest-{n}"))).unwrap()).collect();
    // One key for both, as an operator has it.
    std::fs::copy(hosts[0].folder.path().join("authorized"), hosts[1].folder.path().join("authorized")).unwrap();
    std::fs::write(hosts[1].folder.path().join("host/etc/hostname"), "second\n").unwrap();
    let prod = subscription(&server.server, None).await;
    let secret = json!({"name": "ops", "kind": "Ssh", "secret": hosts[0].user_key()});
    assert_eq!(ask(&server, Method::POST, "/reach/secrets", secret).await.0, 201);
    let folder = server.folder().join("programs");
    std::fs::create_dir_all(&folder).unwrap();
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
    std::fs::copy(&program, folder.join(format!("garrison-connect-{architecture}"))).unwrap();
    // Each host has a program folder of its own: what runs is found and ended by it.
    let directory = hosts[0].folder.path().join("host-opt");
    let range = garrison_server::reach::address::range("10.213.7.0/29").unwrap();
    let range: Vec<Value> = range.into_iter().map(|host| json!({"address": host.address})).collect();
    let order = json!({
        "hosts": range, "user": "root", "key": "ops", "gateway": server.gateway().to_string(),
        "subscription": prod, "resourceGroup": "lab", "acceptNewHosts": true, "directory": directory.to_str().unwrap(),
    });
    let ended = run(&server, &order).await;
    assert_eq!(ended.len(), 6, "{ended:?}");
    assert_eq!(ended.iter().filter(|(code, _)| code == "Connected").count(), 2, "{ended:?}");
    assert!((1..=2).all(|at| ended[at].0 == "Connected"), "{ended:?}");
    assert!((3..=5).all(|at| matches!(ended[at].0.as_str(), "Unreachable" | "TimedOut")), "{ended:?}");
    let log = hosts[0].folder.path().join("log");
    for name in ["live", "second"] {
        let holds = |m: &Machine| m.name.as_str() == name && m.state == ConnectionState::Connected;
        live::until(&server.server, name, &log, holds).await;
    }
    // The same range again: who is connected stays, and is not counted as a failure.
    let again = run(&server, &order).await;
    assert!((1..=2).all(|at| again[at].0 == "Connected"), "{again:?}");
    assert_eq!(machines(&server.server).await.len(), 2);
    server.stop().await.unwrap();
}
