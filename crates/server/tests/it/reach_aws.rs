//! Machines of AWS: the moto server of PyPI stands in for EC2 and SSM, on loopback, with made-up keys.

use super::*;
use garrison_model::PowerState;

#[path = "reach_sources.rs"]
mod sources;

/// Moto's server, ended with the test.
struct Moto {
    child: Child,
    port: u16,
    python: PathBuf,
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The Python of a virtual environment with moto in the user's cache folder, made on first use.
fn python() -> Result<PathBuf, String> {
    let home = std::env::var("HOME").map_err(|_| "HOME is not set".to_owned())?;
    let folder = PathBuf::from(home).join(".cache/garrison/moto");
    let python = folder.join("bin/python");
    let run = |program: &Path, args: &[&str]| {
        let output = Command::new(program).args(args).output().map_err(|e| format!("{}: {e}", program.display()))?;
        let words = String::from_utf8_lossy(&output.stderr);
        if output.status.success() { Ok(()) } else { Err(words.lines().last().unwrap_or_default().to_owned()) }
    };
    let probe = ["-c", "import moto.server, boto3"];
    if run(&python, &probe).is_err() {
        run(Path::new("python3"), &["-m", "venv", &folder.to_string_lossy()])?;
        run(&python, &["-m", "pip", "install", "--quiet", "moto[server,ec2,ssm]>=5,<6"])?;
    }
    run(&python, &probe)?;
    Ok(python)
}

impl Moto {
    fn start() -> Option<Self> {
        let python = match python() {
            Ok(python) => python,
            Err(reason) => {
                println!("skipped because Python with `moto` is not available: {reason}");
                return None;
            }
        };
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(python.with_file_name("moto_server"));
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]).stdin(Stdio::null());
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let made = Self { child, port, python };
        let end = Instant::now() + Duration::from_mins(1);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "moto does not come up");
            std::thread::sleep(Duration::from_millis(100));
        }
        Some(made)
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A script with a client of EC2 (`ec2`) and of SSM (`ssm`); what it prints.
    fn script(&self, text: &str) -> String {
        let whole = format!(
            "import boto3\nkw = dict(region_name='eu-central-1', endpoint_url='{}', aws_access_key_id='a', \
             aws_secret_access_key='b')\nec2 = boto3.client('ec2', **kw)\nssm = boto3.client('ssm', **kw)\n{text}",
            self.url()
        );
        let output = Command::new(&self.python).args(["-c", &whole]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

const LAY: &str = "
images = ec2.describe_images()['Images']
fits = lambda i: i.get('Platform') != 'windows' and i['Architecture'] == 'x86_64'
image = next(i['ImageId'] for i in images if fits(i))
def make(name, count=1):
    tags = [{'ResourceType': 'instance', 'Tags': [{'Key': 'Name', 'Value': name}, {'Key': 'env', 'Value': 'prod'}]}]
    made = ec2.run_instances(ImageId=image, MinCount=count, MaxCount=count, TagSpecifications=tags)
    return [i['InstanceId'] for i in made['Instances']]
web = make('web')
twins = make('twin', 2)
gone = make('gone')
ec2.stop_instances(InstanceIds=[twins[1]])
ec2.terminate_instances(InstanceIds=gone)
print(web[0], twins[0], twins[1])
";

#[tokio::test(flavor = "multi_thread")]
async fn machines_of_aws_appear_with_their_power_state_and_are_sent_the_connector() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let Some(moto) = Moto::start() else { return };
    let server = TestServer::start().await.unwrap();
    let s = &server.server;
    let prod = subscription(s, None).await;
    let laid = moto.script(LAY);
    let ids: Vec<&str> = laid.split_whitespace().collect();
    for (kind, secret, status) in [("Aws", "AKIDEXAMPLE:made/up", 201), ("Aws", "x", 400)] {
        let body = json!({"name": "cloud", "kind": kind, "secret": secret});
        assert_eq!(ask(&server, Method::POST, "/reach/secrets", body).await.0, status);
    }
    let mut order = json!({"region": "eu-central-1", "endpoint": moto.url(), "key": "cloud", "subscription": prod});
    let (status, _) =
        ask(&server, Method::POST, "/reach/aws", json!({"region": "a.b", "key": "cloud", "subscription": prod})).await;
    assert_eq!(status, 400);
    let listed = end(&server, &order).await;
    let hosts = listed["hosts"].as_array().unwrap();
    assert!(hosts.len() == 3 && hosts.iter().all(|h| h["state"] == "Listed"), "{listed}");
    let of = |all: &[Machine], id: &str| all.iter().find(|m| m.system.instance == id).cloned().unwrap();
    let all = machines(s).await;
    assert_eq!(all.len(), 3);
    let web = of(&all, ids[0]);
    assert_eq!((web.name.as_str(), web.kind.as_str(), web.tags["env"].as_str()), ("web", "Cloud", "prod"));
    assert_eq!(web.power_state, Some(PowerState::Running));
    assert_eq!(of(&all, ids[2]).power_state, Some(PowerState::Deallocated));
    // Two of one name are two machines.
    let names: Vec<String> = ids[1..].iter().map(|id| of(&all, id).name.to_string()).collect();
    assert!(names.contains(&"twin".to_owned()) && names[0] != names[1], "{names:?}");
    // Again, after one has stopped: the same machines, the new state.
    moto.script(&format!("ec2.stop_instances(InstanceIds=['{}'])", ids[0]));
    end(&server, &order).await;
    let again = machines(s).await;
    assert_eq!(again.len(), 3);
    assert_eq!(of(&again, ids[0]).power_state, Some(PowerState::Deallocated));
    assert_eq!(of(&again, ids[0]).id, web.id);
    // The command goes to what runs, with a token of its own and the program's hash; moto says that it ended well.
    let folder = server.folder().join("programs");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("garrison-connect-x64"), b"a program").unwrap();
    order["enrol"] = json!({"gateway": "gw.example:9443", "program": "https://files.example/{architecture}"});
    let ran = end(&server, &order).await;
    let states: Vec<_> = ran["hosts"].as_array().unwrap().iter().map(|h| h["state"].clone()).collect();
    assert_eq!(states.iter().filter(|s| **s == "Connected").count(), 1, "{ran}");
    let script = moto.script(
        "for c in ssm.list_commands()['Commands']:\n    print(c['InstanceIds'], chr(10).join(c['Parameters']['commands']))",
    );
    for part in [ids[1], "https://files.example/x64", "sha256sum -c -", "gc1_", "'gw.example:9443'"] {
        assert!(script.contains(part), "{script}");
    }
    // Moto names all machines with every command, so that there is one command tells that one machine was sent it.
    assert_eq!(script.matches("gc1_").count(), 1, "{script}");
    // Nobody is there.
    order["endpoint"] = json!("http://127.0.0.1:1");
    let ended = end(&server, &order).await;
    assert_eq!(ended["hosts"][0]["code"], "Unreachable", "{ended}");
    server.stop().await.unwrap();
}

/// Runs an order to its end.
async fn end(server: &TestServer, order: &Value) -> Value {
    let (status, begun) = ask(server, Method::POST, "/reach/aws", order.clone()).await;
    assert_eq!(status, 202, "{begun}");
    let path = format!("/reach/runs/{}", begun["id"].as_str().unwrap());
    let until = Instant::now() + Duration::from_mins(2);
    loop {
        let (_, run) = ask(server, Method::GET, &path, Value::Null).await;
        if run["done"] == true {
            return run;
        }
        assert!(Instant::now() < until, "{run}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
