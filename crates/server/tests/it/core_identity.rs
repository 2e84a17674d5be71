//! Users, sessions, links and tokens; the same suite on SQLite and PostgreSQL.

use crate::core_postgres::Postgres;
use garrison_model::{Micros, Role, TenantId};
use garrison_server::db::Db;
use garrison_server::fleet::Fleet;
use garrison_server::identity::{Identity, SignInError};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

const NOW: Micros = Micros(1_795_000_000_000_000);
const HOUR: i64 = 3_600_000_000;
const IP: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// What every database must do.
async fn contract(db: Db, folder: &Path) {
    let identity = Identity::open(db.clone(), folder.join("keys"), NOW).await.unwrap();
    first_link(&identity).await;
    sessions(&identity).await;
    api_tokens(&identity).await;
    fleet(&db, &identity).await;
    transactions(&db).await;
}

async fn first_link(identity: &Identity) {
    let link = identity.first_link(NOW).await.unwrap().unwrap();
    let late = Micros(NOW.0 + 2 * HOUR);
    assert!(matches!(identity.sign_in_link(&link, IP, late).await, Err(SignInError::Wrong)));
    let signed_in = identity.sign_in_link(&link, IP, NOW).await.unwrap();
    assert_eq!((signed_in.principal.role, signed_in.principal.password_set), (Role::Admin, false));
    // Once is once.
    assert!(matches!(identity.sign_in_link(&link, IP, NOW).await, Err(SignInError::Wrong)));
    let user = signed_in.principal.user.unwrap();
    assert!(identity.password_set(&user, None, "short", None).await.is_err());
    identity.password_set(&user, None, "correct horse battery", Some(&signed_in.cookie)).await.unwrap();
    assert!(identity.session_check(&signed_in.cookie, NOW).await.unwrap().is_some());
    // Whoever has a password needs it to change it, and the first link comes no more.
    assert!(identity.password_set(&user, Some("wrong"), "another password", None).await.is_err());
    assert!(identity.first_link(NOW).await.unwrap().is_none());
}

async fn sessions(identity: &Identity) {
    let signed_in = identity.sign_in("admin", "correct horse battery", IP, NOW).await.unwrap();
    let cookie = &signed_in.cookie;
    assert_eq!(identity.session_check(cookie, NOW).await.unwrap().unwrap().name, "admin");
    assert!(identity.session_check("forged", NOW).await.unwrap().is_none());
    let idle = Micros(NOW.0 + 13 * HOUR);
    assert!(identity.session_check(cookie, idle).await.unwrap().is_none());
    identity.sign_out(cookie).await.unwrap();
    assert!(identity.session_check(cookie, NOW).await.unwrap().is_none());
    // Guessing is held, for unknown names too.
    let stranger = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    let mut answers = Vec::new();
    for _ in 0..11 {
        answers.push(identity.sign_in("nobody", "guess", stranger, NOW).await.unwrap_err());
    }
    assert!(answers[..10].iter().all(|a| matches!(a, SignInError::Wrong)));
    assert!(matches!(answers[10], SignInError::TooMany { retry_after } if retry_after > Duration::ZERO));
    assert!(identity.sign_in("admin", "correct horse battery", IP, NOW).await.is_ok());
}

async fn api_tokens(identity: &Identity) {
    let (text, record) = identity.api_token_create("ci", Role::Reader, Some(1), NOW).await.unwrap();
    assert_eq!(identity.token_check(&text, NOW).await.unwrap().unwrap().role, Role::Reader);
    assert!(identity.token_check(&text, Micros(NOW.0 + 2 * HOUR)).await.unwrap().is_none());
    assert!(identity.token_check("gat_forged", NOW).await.unwrap().is_none());
    assert_eq!(identity.token_check(identity.local_token(), NOW).await.unwrap().unwrap().role, Role::Admin);
    assert!(identity.api_token_revoke(&record.id).await.unwrap());
    assert!(identity.token_check(&text, NOW).await.unwrap().is_none());
    assert!(identity.api_token_create("", Role::Reader, None, NOW).await.is_err());
}

async fn fleet(db: &Db, identity: &Identity) {
    let open = || Fleet::open(db.clone(), TenantId::first(), Duration::from_mins(5));
    let fleet = open().await.unwrap();
    let (token, _) = identity.enrolment_token_create("t", 1, 2, NOW).await.unwrap();
    let mut devices = Vec::new();
    for _ in 0..2 {
        let (_, csr) = garrison_wire::identity::device_request().unwrap();
        let request = garrison_wire::v1::EnrolRequest {
            token: token.clone(),
            csr: csr.into(),
            host: Some(garrison_testkit::facts("twin\u{1b}[31m")),
        };
        devices.push(fleet.enrol(identity, request, IP, NOW).await.unwrap().device);
    }
    assert!(fleet.tags_set(&devices[0], vec!["production".to_owned()]).await.unwrap());
    fleet.rows_stored(&devices[0], 7, 2, NOW);
    fleet.flush(NOW).await.unwrap();
    assert!(fleet.revoke(&devices[1], "test", NOW).await.unwrap());
    // Everything is there again after a restart.
    let again = open().await.unwrap();
    let first = again.device(&devices[0]).unwrap();
    assert_eq!((first.row_count, first.lost_row_count, first.machine_tags.len()), (7, 2, 1));
    assert_eq!(first.computer_dns_name, "twin[31m");
    let second = again.device(&devices[1]).unwrap();
    assert!(second.revoked);
    assert!(second.health_issues.iter().any(|i| i.contains(devices[0].as_str())), "the twin is noted");
}

async fn transactions(db: &Db) {
    // A dropped transaction leaves no trace.
    let mut tx = db.write().await.unwrap();
    let sql = "INSERT INTO identity_users (id, name, role, created) VALUES ('x', 'x', 'reader', 1)";
    sqlx::query(sql).execute(tx.conn()).await.unwrap();
    drop(tx);
    let mut tx = db.write().await.unwrap();
    sqlx::query(sql).execute(tx.conn()).await.unwrap();
    let twice = sqlx::query(sql).execute(tx.conn()).await.unwrap_err();
    assert!(garrison_server::db::is_unique_violation(&twice));
    drop(tx);
    // Many writers at once take turns.
    let writers: Vec<_> = (0..20)
        .map(|i| {
            let db = db.clone();
            tokio::spawn(async move {
                let mut tx = db.write().await.unwrap();
                sqlx::query("INSERT INTO identity_users (id, name, role, created) VALUES ($1, $1, 'reader', 1)")
                    .bind(format!("writer-{i}"))
                    .execute(tx.conn())
                    .await
                    .unwrap();
                tx.commit().await.unwrap();
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open_file(&folder.path().join("control.db")).await.unwrap();
    contract(db, folder.path()).await;
    // Opening again applies nothing twice.
    Db::open_file(&folder.path().join("control.db")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_keeps_the_contract() {
    let Some(postgres) = Postgres::start() else {
        println!("skipped because PostgreSQL is not installed (Debian package `postgresql`)");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(&postgres.url()).await.unwrap();
    contract(db.clone(), folder.path()).await;
    Db::open(&postgres.url()).await.unwrap();
    db.close().await;
}
