//! The operator's program against a real server: what it prints, and how it ends.

use garrison_testkit::TestServer;
use serde_json::Value;
use std::process::{Command, Output};

async fn garrison(server: &TestServer, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_garrison"));
    command.args(words).env_remove("GARRISON_TENANT").env("GARRISON_URL", server.server.http_url());
    command.env("GARRISON_TOKEN", server.server.shared.identity.local_token());
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_all_kinds_are_in_one_list_and_found_by_their_id() {
    let server = TestServer::start().await.unwrap();
    let made = garrison(&server, &["subscription", "create", "Prod", "--location", "westeurope"]).await;
    assert!(made.status.success(), "{:?}", said(&made));
    for words in [
        &["token", "create", "--name", "by-hand"][..],
        &[
            "token",
            "create",
            "--kind",
            "connector",
            "--name",
            "rack",
            "--subscription",
            "Prod",
            "--resource-group",
            "web",
        ],
        &["token", "create", "--kind", "api", "--name", "ci", "--role", "reader"],
    ] {
        let made = garrison(&server, words).await;
        assert!(made.status.success(), "{words:?}: {:?}", said(&made));
    }
    let (code, ..) =
        said(&garrison(&server, &["token", "create", "--kind", "connector", "--subscription", "No"]).await);
    assert_eq!(code, Some(4), "a subscription that is not there");
    let (_, table, words) = said(&garrison(&server, &["token", "list"]).await);
    for part in ["by-hand", "rack", "Prod; group web", "reader", "0 of 100"] {
        assert!(table.contains(part), "{part}: {table}{words}");
    }
    let list = async |words: &[&str]| -> Vec<Value> {
        let (code, out, err) = said(&garrison(&server, words).await);
        assert_eq!(code, Some(0), "{err}");
        serde_json::from_str::<Value>(&out).unwrap()["items"].as_array().unwrap().clone()
    };
    let all = list(&["token", "list", "-o", "json"]).await;
    assert_eq!(all.iter().map(|t| t["kind"].as_str().unwrap()).collect::<Vec<_>>(), ["sensor", "connector", "api"]);
    assert_eq!(list(&["token", "list", "--kind", "connector", "-o", "json"]).await.len(), 1);
    for token in &all {
        let (code, _, err) = said(&garrison(&server, &["token", "revoke", token["id"].as_str().unwrap()]).await);
        assert!(code == Some(0) && err.contains(token["kind"].as_str().unwrap()), "{err}");
    }
    let (code, _, err) = said(&garrison(&server, &["token", "revoke", "nosuchtoken"]).await);
    assert!(code == Some(4) && err.contains("there is no token"), "{err}");
    let left = list(&["token", "list", "-o", "json"]).await;
    assert!(left.iter().all(|t| t["revoked"] == true), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_file_that_cannot_be_used_is_no_difference() {
    let server = TestServer::start().await.unwrap();
    let path = server.folder().join("fleet.yaml");
    let file = path.to_str().unwrap();
    let (code, _, err) = said(&garrison(&server, &["apply", "-f", file, "--dry-run"]).await);
    assert!(code == Some(1) && err.contains("cannot read"), "{err}");
    std::fs::write(&path, "version: 1\nsubscriptions:\n  - name: [\n").unwrap();
    let (code, _, err) = said(&garrison(&server, &["apply", "-f", file, "--dry-run"]).await);
    assert!(code == Some(1) && !err.contains("\\n"), "its lines are lines: {err}");
    std::fs::write(&path, "version: 1\nsubscriptions:\n  - {name: Prod, location: westeurope}\n").unwrap();
    for (words, wanted) in [
        (&["apply", "-f", file, "--dry-run"][..], Some(2)),
        (&["apply", "-f", file], Some(0)),
        (&["apply", "-f", file, "--dry-run"], Some(0)),
    ] {
        let (code, _, err) = said(&garrison(&server, words).await);
        assert_eq!(code, wanted, "{words:?}: {err}");
    }
    let (code, _, err) = said(&garrison(&server, &["tenant", "show"]).await);
    assert!(code == Some(4) && err.contains("not made yet"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_an_aligned_table_for_people_and_whole_for_programs() {
    let server = TestServer::start().await.unwrap();
    for words in
        [&["user", "add", "bo", "--role", "reader"][..], &["user", "add", "a-longer-name", "--role", "analyst"]]
    {
        assert!(garrison(&server, words).await.status.success());
    }
    assert!(garrison(&server, &["user", "disable", "bo"]).await.status.success());
    let (_, table, _) = said(&garrison(&server, &["user", "list"]).await);
    let lines: Vec<&str> = table.lines().collect();
    assert!(!table.contains('\t') && lines[0].starts_with("NAME"), "{table}");
    // Roles stand below one another.
    let at = lines[0].find("ROLE").unwrap();
    for (name, role, state) in [("bo", "reader", "shut out"), ("a-longer-name", "analyst", "")] {
        let line = lines.iter().find(|l| l.starts_with(&format!("{name} "))).unwrap();
        assert!(
            line[at..].starts_with(role) && line.trim_end().ends_with(if state.is_empty() { role } else { state }),
            "{table}"
        );
    }
    let (_, json, _) = said(&garrison(&server, &["user", "list", "-o", "json"]).await);
    let json: Value = serde_json::from_str(&json).unwrap();
    let bo = json["items"].as_array().unwrap().iter().find(|u| u["name"] == "bo").unwrap();
    assert_eq!((&bo["disabled"], &bo["passwordSet"]), (&Value::Bool(true), &Value::Bool(false)), "{json}");
}
