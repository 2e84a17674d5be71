//! Sign-in against a certified OpenID provider, npm's `oidc-provider`, on a loopback port of its own.

use garrison_server::access::oidc::OidcSettings;
use garrison_testkit::TestServer;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

struct Provider {
    child: Child,
    /// Kept: it writes here now and then, and a closed pipe would end it.
    _told: std::io::Lines<BufReader<std::process::ChildStdout>>,
    issuer: String,
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Installs the provider once and starts it; `None`, with words, where that cannot be done.
fn start(people: &Value) -> Option<Provider> {
    let found = |program: &str| Command::new(program).arg("--version").output().is_ok_and(|o| o.status.success());
    if !found("node") || !found("npm") {
        println!("skipped because node and npm are not installed");
        return None;
    }
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oidc");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("oidc-provider");
    std::fs::create_dir_all(&folder).unwrap();
    let mut fresh = folder.join("node_modules/oidc-provider").exists();
    for name in ["package.json", "package-lock.json", "provider.mjs"] {
        let text = std::fs::read(from.join(name)).unwrap();
        fresh &= name == "provider.mjs" || std::fs::read(folder.join(name)).is_ok_and(|known| known == text);
        std::fs::write(folder.join(name), text).unwrap();
    }
    if !fresh {
        let words = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"];
        let done = Command::new("npm").args(words).current_dir(&folder).stdin(Stdio::null()).output().unwrap();
        assert!(done.status.success(), "npm ci: {}", String::from_utf8_lossy(&done.stderr));
    }
    let mut child = Command::new("node")
        .arg("provider.mjs")
        .current_dir(&folder)
        .env("PEOPLE", people.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let told = lines.by_ref().map(Result::unwrap).find(|line| line.starts_with('{')).expect("the provider starts");
    let told: Value = serde_json::from_str(&told).unwrap();
    Some(Provider { child, _told: lines, issuer: told["issuer"].as_str().unwrap().to_owned() })
}

/// A browser: cookies by site, redirects followed by hand.
struct Browser {
    http: reqwest::Client,
    cookies: BTreeMap<(String, String), String>,
}

fn site(url: &str) -> String {
    url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/")
}

impl Browser {
    fn new() -> Self {
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { http, cookies: BTreeMap::new() }
    }

    /// Status, where it sends us, body.
    async fn visit(&mut self, url: &str) -> (u16, Option<String>, String) {
        let held = self.cookies.iter().filter(|((at, _), _)| *at == site(url));
        let held: Vec<String> = held.map(|((_, name), value)| format!("{name}={value}")).collect();
        let mut request = self.http.get(url);
        if !held.is_empty() {
            request = request.header("cookie", held.join("; "));
        }
        let response = request.send().await.unwrap();
        for set in response.headers().get_all("set-cookie") {
            let pair = set.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            let key = (site(url), name.to_owned());
            if value.is_empty() {
                self.cookies.remove(&key);
            } else {
                self.cookies.insert(key, value.to_owned());
            }
        }
        let to = response.headers().get("location").map(|l| l.to_str().unwrap().to_owned());
        let to = to.map(|to| if to.starts_with('/') { format!("{}{to}", site(url)) } else { to });
        (response.status().as_u16(), to, response.text().await.unwrap())
    }

    /// Goes from the button to the address that the provider sends us back to.
    async fn leave(&mut self, server: &str) -> String {
        let (status, to, body) = self.visit(&format!("{server}/api/v1/session/oidc/start?next=/alerts")).await;
        assert_eq!(status, 303, "{body}");
        let mut at = to.unwrap();
        for _ in 0..10 {
            if at.starts_with(server) {
                return at;
            }
            let (status, to, body) = self.visit(&at).await;
            at = to.unwrap_or_else(|| panic!("{at}: {status} {body}"));
        }
        panic!("the provider does not send us back: {at}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_of_a_provider_sign_in_with_the_roles_of_their_groups() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    // Why a sign-in failed is told in the log only.
    let _ = tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_test_writer().try_init();
    let person = |email: &str, groups: Value| json!({"email": email, "email_verified": true, "groups": groups});
    let people = json!({
        "ann": person("ann@example.org", json!(["soc", "x"])),
        "eve": person("eve@elsewhere.example", json!(["soc"])),
        "joe": person("joe@example.org", json!([])),
        "tom": person("tom@example.org", json!(["soc-uk"])),
    });
    let Some(provider) = start(&people) else { return };
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "a secret of the test\n").unwrap();
    let settings = OidcSettings {
        issuer: provider.issuer.clone(),
        name: "Example ID".to_owned(),
        client_id: "garrison".to_owned(),
        client_secret_file: Some(secret.clone()),
        domains: vec!["example.org".to_owned()],
        role_claim: "groups".to_owned(),
        roles: BTreeMap::from([
            ("soc".to_owned(), "analyst".to_owned()),
            ("soc-uk".to_owned(), "branch/reader".to_owned()),
        ]),
        scopes: vec!["email".to_owned(), "groups".to_owned()],
        ..OidcSettings::default()
    };
    let server = TestServer::start_with(|config| config.oidc = Some(settings)).await.unwrap();
    let url = server.server.http_url();
    let (_, _, ways) = Browser::new().visit(&format!("{url}/api/v1/session/methods")).await;
    let ways: Value = serde_json::from_str(&ways).unwrap();
    assert_eq!(ways, json!({"password": true, "oidc": {"name": "Example ID"}}));

    // In, with the role of her group, and gone on to where she wanted to go; a second time as the same user.
    let mut first = String::new();
    for round in 0..2 {
        let mut ann = Browser::new();
        let back = ann.leave(&url).await;
        let (status, to, body) = ann.visit(&back).await;
        assert_eq!((status, to.as_deref()), (303, Some(format!("{url}/alerts").as_str())), "{body}");
        let (_, _, session) = ann.visit(&format!("{url}/api/v1/session")).await;
        let session: Value = serde_json::from_str(&session).unwrap();
        assert_eq!(
            (&session["user"]["name"], &session["user"]["role"]),
            (&json!("ann@example.org"), &json!("analyst"))
        );
        assert_eq!(ann.visit(&format!("{url}/api/v1/alerts")).await.0, 200);
        assert_eq!(ann.visit(&format!("{url}/api/v1/users")).await.0, 403);
        let id = session["user"]["id"].as_str().unwrap().to_owned();
        assert!(round == 0 || id == first, "one account is one user");
        first = id;
        // What came back works once, and only in this browser.
        let (_, to, _) = ann.visit(&back).await;
        assert!(to.unwrap().ends_with("/sign-in?problem=oidc_refused"), "the cookie is gone");
    }
    let refused = |to: Option<String>, code: &str| {
        let to = to.unwrap();
        assert!(to.ends_with(&format!("/sign-in?problem={code}")), "{to}");
    };
    let mut stolen = Browser::new();
    let back = stolen.leave(&url).await;
    refused(Browser::new().visit(&back).await.1, "oidc_refused");
    let forged = back.replace("state=", "state=x");
    refused(stolen.visit(&forged).await.1, "oidc_refused");
    let mut other = Browser::new();
    let back = other.leave(&url).await;
    // A code that the provider did not give.
    let forged = back.replace("code=", "code=x");
    refused(other.visit(&forged).await.1, "oidc_failed");

    // Another domain, and no group that has a role: nobody is made.
    for name in ["eve", "joe"] {
        let mut browser = Browser::new();
        browser.visit(&format!("{}/as/{name}", provider.issuer)).await;
        let back = browser.leave(&url).await;
        refused(browser.visit(&back).await.1, "oidc_refused");
    }
    let users = server.server.shared.identity.user_list().await.unwrap();
    let names: Vec<&str> = users.iter().map(|u| u.name.as_str()).collect();
    assert_eq!(names, ["admin", "ann@example.org"]);

    // A group may have its role in another tenant: its people find themselves there, and nothing in the first one.
    let (branch, uk) =
        (garrison_model::TenantId::new("branch").unwrap(), garrison_model::Geography::new("UK").unwrap());
    assert!(server.server.houses.make(&branch, &uk, "test").await.unwrap().is_some());
    let mut tom = Browser::new();
    tom.visit(&format!("{}/as/tom", provider.issuer)).await;
    let back = tom.leave(&url).await;
    assert_eq!(tom.visit(&back).await.0, 303);
    let (_, _, tenants) = tom.visit(&format!("{url}/api/v1/tenants")).await;
    let tenants: Value = serde_json::from_str(&tenants).unwrap();
    assert_eq!((tenants["total"].as_i64(), &tenants["items"][0]["id"]), (Some(1), &json!("branch")), "{tenants}");
    assert_eq!(tom.visit(&format!("{url}/api/v1/devices")).await.0, 200);

    // A wrong secret is told in the log, not to the browser.
    Browser::new().visit(&format!("{}/as/ann", provider.issuer)).await;
    std::fs::write(&secret, "another one").unwrap();
    let mut browser = Browser::new();
    let back = browser.leave(&url).await;
    refused(browser.visit(&back).await.1, "oidc_failed");

    // All of it is in the audit log.
    let audit = server.server.shared.access.audit();
    let filter = garrison_server::access::audit::AuditFilter {
        kind: Some("SignIn".to_owned()),
        limit: 100,
        ..Default::default()
    };
    let entries = audit.list(&filter).await.unwrap();
    assert!(entries.iter().any(|e| e.entry.who == "ann@example.org" && e.entry.status == 303));
    assert!(entries.iter().any(|e| e.entry.target.contains("domain")), "{entries:?}");
}
