//! Continuous export of alerts, recommendations and findings: webhook, syslog, files, objects.
//!
//! Nothing is copied into a queue: what was delivered is a place (time, id) in what the server keeps anyway, stored with
//! the export. A batch is given out, the receiver says that it has it, the place moves. A crash between the two gives
//! the batch again with the same ids, and a replay sets the place back. What waits costs no memory, and as long as the
//! alerts are kept, nothing of them is lost. docs/reference/exports.md has the formats.

pub mod format;
mod seal;
mod send;
mod source;

pub use source::Place;

use crate::connect::Connect;
use crate::db::{Sealer, columns};
use crate::incidents::{CaseError, Incidents};
use crate::plane::PlaneError;
use crate::recommend::{Recommend, RecommendError};
use crate::shared::{Shared, rfc3339};
use futures::StreamExt as _;
use garrison_model::{Micros, Severity};
use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Exports of a tenant: each is looked at every second.
const EXPORTS_MAX: i64 = 50;
/// Records of a batch: at some kilobytes each, below a megabyte for nearly all receivers.
const BATCH: usize = 100;
/// Batches that one export sends in a turn, so that a long backlog does not keep the others waiting.
const BATCHES_A_TURN: usize = 20;
/// Exports that send at the same time.
const AT_ONCE: usize = 8;
/// Microseconds that a change rests before it is sent: a transaction that began earlier has ended by then, so that no
/// change slips in behind the place.
const REST: i64 = 2_000_000;
/// Seconds to the next attempt after a failure: doubled each time, up to this.
const WAIT_MAX: i64 = 300;
/// Microseconds between two snapshots.
const WEEK: i64 = 7 * 86_400 * 1_000_000;
/// Turns between two looks at what is expensive to list.
const SELDOM: u64 = 30;

/// An export failed.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// No such export.
    #[error("there is no such export")]
    Unknown,
    /// What is asked for does not make sense.
    #[error("{0}")]
    Value(String),
    /// The receiver refused a test.
    #[error("the receiver did not take it: {0}")]
    Refused(String),
    /// What is stored cannot be read.
    #[error("a stored export cannot be read")]
    Stored,
    /// Alerts could not be read.
    #[error(transparent)]
    Case(#[from] CaseError),
    /// Machines could not be read.
    #[error(transparent)]
    Plane(#[from] PlaneError),
    /// Health of machines could not be read.
    #[error(transparent)]
    Health(#[from] crate::health::HealthError),
    /// Recommendations could not be judged.
    #[error(transparent)]
    Recommend(#[from] RecommendError),
    /// The object store's settings.
    #[error(transparent)]
    Lake(#[from] garrison_lake::LakeError),
    /// The database failed.
    #[error("the database failed")]
    Db(#[from] sqlx::Error),
    /// A transaction failed.
    #[error(transparent)]
    Write(#[from] crate::db::DbError),
}

macro_rules! word_list {
    ($(#[$doc:meta])* $name:ident { $($(#[$line:meta])* $word:ident),+ $(,)? }) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema, clap::ValueEnum)]
        $(#[$doc])*
        pub enum $name { $($(#[$line])* $word),+ }

        impl $name {
            /// Its word.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$word => stringify!($word)),+ }
            }

            #[allow(dead_code, reason = "one of the lists is only ever written")]
            fn read(text: &str) -> Result<Self, ExportError> {
                [$(Self::$word),+].into_iter().find(|w| w.as_str() == text).ok_or(ExportError::Stored)
            }
        }
    };
}

word_list!(
    /// How records leave.
    #[schema(as = ExportKind)]
    Kind {
        /// HTTP requests with a signature.
        Webhook,
        /// CEF over TLS.
        Syslog,
        /// OCSF lines in files of the server.
        File,
        /// OCSF lines in an object store.
        Object,
    }
);

word_list!(
    /// When.
    #[schema(as = ExportMode)]
    Mode {
        /// Each change, as it happens.
        Streaming,
        /// Everything, once a week.
        Snapshot,
    }
);

word_list!(
    /// What is exported.
    #[schema(as = ExportWhat)]
    What {
        /// Alerts, each time one is made or changed.
        Alerts,
        /// Recommendations, each time a machine's state changes.
        Recommendations,
        /// Findings about the health of protection.
        Findings,
    }
);

/// Where records go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = ExportTarget)]
#[serde(untagged, rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Target {
    /// `POST` requests.
    Webhook {
        /// Address, `https://…`; `http://` only to private addresses.
        url: String,
        /// Certificates that sign the receiver's, PEM; the system's unless given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ca_pem: Option<String>,
    },
    /// TLS connections.
    Syslog {
        /// Name or address of the receiver; its certificate must carry it.
        host: String,
        /// Port, 6514 by custom.
        port: u16,
        /// Certificates that sign the receiver's, PEM.
        ca_pem: String,
    },
    /// Objects below `lake.object_store` of the configuration.
    Object {
        /// Folder in the bucket.
        prefix: String,
    },
    /// Files `exports/NAME/ocsf-DAY.ndjson` of the data folder.
    File {},
}

/// An export to be, or as it is to be.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExportNew {
    /// Name, `[a-z0-9-]`, 1 to 40 characters.
    pub name: String,
    /// How.
    pub kind: Kind,
    /// When; `Streaming` unless given.
    pub mode: Option<Mode>,
    /// What; alerts unless given.
    pub what: Option<Vec<What>>,
    /// Where to.
    pub target: Target,
    /// Secret of a webhook's signature, 16 to 256 characters; never told again. Absent in a change: it stays.
    pub secret: Option<String>,
    /// Whether it works; true unless given.
    pub enabled: Option<bool>,
}

/// An export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Export {
    /// Id.
    pub id: String,
    /// Name.
    pub name: String,
    /// How.
    pub kind: Kind,
    /// When.
    pub mode: Mode,
    /// What.
    pub what: Vec<What>,
    /// Where to.
    pub target: Target,
    /// Whether a secret is set.
    pub secret_set: bool,
    /// Whether it works.
    pub enabled: bool,
    /// How it goes.
    pub status: ExportStatus,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_time: String,
}

/// How an export goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExportStatus {
    /// Records that were delivered, repeated ones too.
    pub delivered: i64,
    /// Alerts that wait.
    pub pending: i64,
    /// When the last batch was delivered.
    pub last_delivered: Option<String>,
    /// Why the last attempt failed; null once one succeeded.
    pub last_error: Option<String>,
    /// When the next attempt is made after a failure.
    pub next_attempt: Option<String>,
}

/// Something to export.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The same for the same state of the same thing, however often it is sent.
    pub id: String,
    /// The thing: an alert's id, a machine and its extension.
    pub subject: String,
    /// Kind.
    pub what: What,
    /// When it changed, microseconds.
    pub at: i64,
    /// The same as text.
    pub time: String,
    /// Whether it is part of a snapshot.
    pub snapshot: bool,
    /// Severity.
    pub severity: Severity,
    /// Rule or code.
    pub rule: String,
    /// Title.
    pub title: String,
    /// In words.
    pub text: String,
    /// Status.
    pub status: String,
    /// Name of the host.
    pub host: String,
    /// Id of the host.
    pub host_id: String,
    /// Everything, as the API has it.
    pub data: serde_json::Value,
}

/// The room.
pub struct Exports {
    shared: Arc<Shared>,
    incidents: Arc<Incidents>,
    recommend: Recommend,
    clock: Arc<dyn Fn() -> Micros + Send + Sync>,
}

impl std::fmt::Debug for Exports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exports").finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Stored {
    view: Export,
    secret: String,
    cursor: BTreeMap<String, Place>,
    snapshot: i64,
    revision: i64,
    attempts: i64,
}

fn read(seal: &Sealer, row: &sqlx::any::AnyRow) -> Result<Stored, ExportError> {
    let json = |name: &str| row.try_get::<String, _>(name);
    let secret: String = row.try_get("secret")?;
    let attempts: i64 = row.try_get("attempts")?;
    Ok(Stored {
        view: Export {
            id: row.try_get("id")?,
            name: row.try_get("name")?,
            kind: Kind::read(&json("kind")?)?,
            mode: Mode::read(&json("mode")?)?,
            what: serde_json::from_str(&json("what")?).map_err(|_| ExportError::Stored)?,
            target: serde_json::from_str(&seal.get(row, columns::EXPORT_TARGET)?).map_err(|_| ExportError::Stored)?,
            secret_set: !secret.is_empty(),
            enabled: row.try_get::<i64, _>("enabled")? != 0,
            status: ExportStatus {
                delivered: row.try_get("delivered")?,
                pending: 0,
                last_delivered: row.try_get::<Option<i64>, _>("last_delivered")?.map(|at| rfc3339(Micros(at))),
                last_error: seal.get_maybe(row, columns::EXPORT_ERROR)?,
                next_attempt: (attempts > 0)
                    .then(|| row.try_get("next_attempt"))
                    .transpose()?
                    .map(|at| rfc3339(Micros(at))),
            },
            created_by: seal.get(row, columns::EXPORT_AUTHOR)?,
            created_time: rfc3339(Micros(row.try_get("created")?)),
        },
        secret,
        cursor: serde_json::from_str(&json("cursor")?).map_err(|_| ExportError::Stored)?,
        snapshot: row.try_get("snapshot")?,
        revision: row.try_get("revision")?,
        attempts,
    })
}

fn text<T: Serialize>(value: &T) -> Result<String, ExportError> {
    serde_json::to_string(value).map_err(|_| ExportError::Stored)
}

/// Seconds to wait after so many failures in a row.
fn wait(attempts: i64) -> i64 {
    1_i64.checked_shl(u32::try_from(attempts.clamp(1, 20) - 1).unwrap_or(0)).unwrap_or(WAIT_MAX).min(WAIT_MAX)
}

/// A receiver's words, bounded.
fn cut(words: &str) -> String {
    words.chars().take(300).collect()
}

fn check(new: &ExportNew) -> Result<(), ExportError> {
    let refuse = |words: &str| Err(ExportError::Value(words.to_owned()));
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if new.name.is_empty() || new.name.len() > 40 || !new.name.chars().all(plain) {
        return refuse("a name has 1 to 40 of: a-z, 0-9, -");
    }
    if new.what.as_ref().is_some_and(Vec::is_empty) {
        return refuse("`what` names nothing");
    }
    if new.secret.as_ref().is_some_and(|s| !(16..=256).contains(&s.len())) {
        return refuse("a secret has 16 to 256 characters");
    }
    let pem = |text: &str| text.len() <= 64 << 10 && text.contains("BEGIN CERTIFICATE");
    match (new.kind, &new.target) {
        (Kind::Webhook, Target::Webhook { url, ca_pem }) => {
            let parsed = reqwest::Url::parse(url).ok().filter(|u| u.has_host() && url.len() <= 2_000);
            let Some(parsed) = parsed else { return refuse("`url` is no address") };
            if !matches!(parsed.scheme(), "https" | "http")
                || !parsed.username().is_empty()
                || parsed.password().is_some()
            {
                return refuse("`url` begins with https:// and holds no names and passwords");
            }
            let inside = parsed.host_str().and_then(|h| h.trim_matches(['[', ']']).parse().ok());
            if parsed.scheme() == "http" && inside.is_none_or(send::is_public) {
                return refuse("plain http goes to private addresses only, written as numbers");
            }
            if ca_pem.as_ref().is_some_and(|p| !pem(p)) {
                return refuse("`caPem` holds no certificate");
            }
            Ok(())
        }
        (Kind::Syslog, Target::Syslog { host, ca_pem, port }) => {
            if host.is_empty() || host.len() > 255 || *port == 0 || !pem(ca_pem) {
                return refuse("syslog needs `host`, `port` and the certificates `caPem` that sign the receiver's");
            }
            Ok(())
        }
        (Kind::Object, Target::Object { prefix }) => {
            let fits =
                !prefix.is_empty() && prefix.len() <= 200 && prefix.split('/').all(|p| !matches!(p, "" | "." | ".."));
            if fits { Ok(()) } else { refuse("`prefix` is a folder in the bucket, such as siem/garrison") }
        }
        (Kind::File, Target::File {}) => Ok(()),
        _ => refuse("`target` does not fit `kind`: see docs/reference/exports.md"),
    }
}

impl Exports {
    /// Opens the room.
    pub fn new(
        shared: &Arc<Shared>,
        incidents: &Arc<Incidents>,
        connect: &Arc<Connect>,
        clock: Arc<dyn Fn() -> Micros + Send + Sync>,
    ) -> Arc<Self> {
        let recommend = Recommend::new(shared, connect);
        Arc::new(Self { shared: Arc::clone(shared), incidents: Arc::clone(incidents), recommend, clock })
    }

    fn now(&self) -> Micros {
        (self.clock)()
    }

    /// What the tenant's columns are sealed with.
    fn columns(&self) -> Sealer {
        self.shared.db.seal(&self.shared.tenant)
    }

    async fn stored(&self) -> Result<Vec<Stored>, ExportError> {
        let rows = sqlx::query("SELECT * FROM exports_target WHERE tenant_id = $1 ORDER BY name, id")
            .bind(self.shared.tenant.as_str())
            .fetch_all(self.shared.db.pool())
            .await?;
        let seal = self.columns();
        rows.iter().map(|row| read(&seal, row)).collect()
    }

    async fn one(&self, id: &str) -> Result<Stored, ExportError> {
        let row = sqlx::query("SELECT * FROM exports_target WHERE tenant_id = $1 AND id = $2")
            .bind(self.shared.tenant.as_str())
            .bind(id.to_owned())
            .fetch_optional(self.shared.db.pool())
            .await?;
        read(&self.columns(), &row.ok_or(ExportError::Unknown)?)
    }

    async fn view(&self, stored: Stored) -> Result<Export, ExportError> {
        let mut view = stored.view;
        for what in &view.what {
            let place = stored.cursor.get(what.as_str()).cloned().unwrap_or_default();
            view.status.pending += self.waiting(*what, &place).await?;
        }
        Ok(view)
    }

    /// All of them, by name.
    pub async fn list(&self) -> Result<Vec<Export>, ExportError> {
        let mut all = Vec::new();
        for stored in self.stored().await? {
            all.push(self.view(stored).await?);
        }
        Ok(all)
    }

    /// One.
    pub async fn get(&self, id: &str) -> Result<Export, ExportError> {
        self.view(self.one(id).await?).await
    }

    /// Makes one. It begins with what changes from now on; a snapshot begins at once.
    pub async fn create(&self, new: &ExportNew, who: &str, now: Micros) -> Result<Export, ExportError> {
        check(new)?;
        if new.kind == Kind::Object && self.shared.config.object_store.is_none() {
            let words = "no object store is configured: see `[lake.object_store]` in docs/reference/server-config.md";
            return Err(ExportError::Value(words.to_owned()));
        }
        if new.kind == Kind::Webhook && new.secret.is_none() {
            return Err(ExportError::Value("a webhook needs a `secret` of 16 to 256 characters".to_owned()));
        }
        let all = self.stored().await?;
        if all.len() as i64 >= EXPORTS_MAX || all.iter().any(|e| e.view.name == new.name) {
            return Err(ExportError::Value(format!("the name is taken, or there are {EXPORTS_MAX} exports already")));
        }
        let id = uuid::Uuid::new_v4().to_string();
        let mode = new.mode.unwrap_or(Mode::Streaming);
        let what = new.what.clone().unwrap_or_else(|| vec![What::Alerts]);
        let begin = if mode == Mode::Streaming { now.0 } else { 0 };
        let cursor: BTreeMap<&str, Place> = what.iter().map(|w| (w.as_str(), (begin, String::new()))).collect();
        let secret = new.secret.as_ref().map_or_else(|| Ok(String::new()), |s| self.seal(&id, s))?;
        let mut tx = self.shared.db.write().await?;
        sqlx::query(
            "INSERT INTO exports_target (tenant_id, id, name, kind, mode, what, target, secret, enabled, cursor, snapshot, \
             revision, attempts, next_attempt, delivered, created_by, created) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 0, 0, 0, 0, $12, $11)",
        )
        .bind(self.shared.tenant.as_str())
        .bind(id.clone())
        .bind(new.name.clone())
        .bind(new.kind.as_str())
        .bind(mode.as_str())
        .bind(text(&what)?)
        .bind(self.columns().put(columns::EXPORT_TARGET, &text(&new.target)?)?)
        .bind(secret)
        .bind(i64::from(new.enabled.unwrap_or(true)))
        .bind(text(&cursor)?)
        .bind(now.0)
        .bind(self.columns().put(columns::EXPORT_AUTHOR, who)?)
        .execute(tx.conn())
        .await?;
        tx.commit().await?;
        self.get(&id).await
    }

    /// Changes one. Its place stays; a kind that is new to it begins now.
    pub async fn update(&self, id: &str, new: &ExportNew, now: Micros) -> Result<Export, ExportError> {
        check(new)?;
        let old = self.one(id).await?;
        let same = old.view.kind == new.kind && new.mode.is_none_or(|m| m == old.view.mode);
        if !same || old.view.name != new.name {
            return Err(ExportError::Value("name, kind and mode stay as they are; make another export".to_owned()));
        }
        let what = new.what.clone().unwrap_or_else(|| old.view.what.clone());
        let mut cursor = old.cursor.clone();
        for kind in &what {
            cursor.entry(kind.as_str().to_owned()).or_insert((now.0, String::new()));
        }
        let secret = new.secret.as_ref().map_or_else(|| Ok(old.secret.clone()), |s| self.seal(id, s))?;
        let mut tx = self.shared.db.write().await?;
        sqlx::query(
            "UPDATE exports_target SET what = $1, target = $2, secret = $3, enabled = $4, cursor = $5, attempts = 0, \
             next_attempt = 0, revision = revision + 1 WHERE tenant_id = $6 AND id = $7",
        )
        .bind(text(&what)?)
        .bind(self.columns().put(columns::EXPORT_TARGET, &text(&new.target)?)?)
        .bind(secret)
        .bind(i64::from(new.enabled.unwrap_or(old.view.enabled)))
        .bind(text(&cursor)?)
        .bind(self.shared.tenant.as_str())
        .bind(id.to_owned())
        .execute(tx.conn())
        .await?;
        tx.commit().await?;
        self.get(id).await
    }

    /// Removes one; what it wrote stays with its receiver.
    pub async fn delete(&self, id: &str) -> Result<(), ExportError> {
        let mut tx = self.shared.db.write().await?;
        let done = sqlx::query("DELETE FROM exports_target WHERE tenant_id = $1 AND id = $2")
            .bind(self.shared.tenant.as_str())
            .bind(id.to_owned())
            .execute(tx.conn())
            .await?;
        tx.commit().await?;
        if done.rows_affected() == 0 { Err(ExportError::Unknown) } else { Ok(()) }
    }

    /// Sends everything that changed since a moment once more, beginning at once.
    pub async fn replay(&self, id: &str, from: Micros) -> Result<Export, ExportError> {
        let old = self.one(id).await?;
        let place = (from.0.saturating_sub(1), String::new());
        let cursor: BTreeMap<&String, &Place> = old.cursor.keys().map(|k| (k, &place)).collect();
        let mut tx = self.shared.db.write().await?;
        sqlx::query(
            "UPDATE exports_target SET cursor = $1, attempts = 0, next_attempt = 0, revision = revision + 1 \
             WHERE tenant_id = $2 AND id = $3",
        )
        .bind(text(&cursor)?)
        .bind(self.shared.tenant.as_str())
        .bind(id.to_owned())
        .execute(tx.conn())
        .await?;
        tx.commit().await?;
        self.get(id).await
    }

    /// Sends one record that says that it is a test.
    pub async fn test(&self, id: &str, now: Micros) -> Result<(), ExportError> {
        let stored = self.one(id).await?;
        let record = Record {
            id: format!("test@{}", now.0),
            subject: "test".to_owned(),
            what: stored.view.what.first().copied().unwrap_or(What::Alerts),
            at: now.0,
            time: rfc3339(now),
            snapshot: false,
            severity: Severity::Informational,
            rule: "test".to_owned(),
            title: "Test of the export".to_owned(),
            text: "This record was sent by hand; nothing happened.".to_owned(),
            status: "New".to_owned(),
            host: String::new(),
            host_id: String::new(),
            data: serde_json::json!({ "test": true }),
        };
        let given = self.give(&stored, &[record], now).await;
        // What a test found is how the export is, until the next delivery says otherwise.
        let error = match &given {
            Ok(()) => None,
            Err(words) => Some(self.columns().put(columns::EXPORT_ERROR, &cut(words))?),
        };
        let mut tx = self.shared.db.write().await?;
        sqlx::query("UPDATE exports_target SET last_error = $1 WHERE tenant_id = $2 AND id = $3 AND revision = $4")
            .bind(error)
            .bind(self.shared.tenant.as_str())
            .bind(stored.view.id.clone())
            .bind(stored.revision)
            .execute(tx.conn())
            .await?;
        tx.commit().await?;
        given.map_err(ExportError::Refused)
    }

    async fn give(&self, stored: &Stored, records: &[Record], now: Micros) -> Result<(), String> {
        let config = &self.shared.config;
        let secret = if stored.secret.is_empty() { Vec::new() } else { self.unseal(&stored.view.id, &stored.secret)? };
        let bucket = match (&stored.view.target, &config.object_store) {
            (Target::Object { .. }, Some(store)) => {
                Some(garrison_lake::Bucket::open(store).map_err(|e| e.to_string())?)
            }
            _ => None,
        };
        let way = send::Way {
            private: config.exports_private,
            folder: &self.shared.data.join("exports"),
            bucket,
            secret,
            name: &stored.view.name,
            seconds: now.0.div_euclid(1_000_000),
        };
        send::send(&stored.view.target, &way, records).await
    }

    /// Sends what there is to send, until the server stops.
    pub async fn run_loop(self: Arc<Self>) {
        let mut turn = 0_u64;
        loop {
            tokio::select! {
                () = self.shared.stop.cancelled() => return,
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
            if let Err(error) = self.turn(turn.is_multiple_of(SELDOM)).await {
                tracing::error!(%error, "exports could not be worked on and will be tried again");
            }
            turn = turn.wrapping_add(1);
        }
    }

    /// One turn of all exports; `all`: also of kinds that are expensive to list.
    pub async fn turn(&self, all: bool) -> Result<(), ExportError> {
        let now = self.now();
        let due = |s: &Stored| {
            let next = s.view.status.next_attempt.as_deref().and_then(|t| t.parse::<jiff::Timestamp>().ok());
            s.view.enabled && next.is_none_or(|t| t.as_microsecond() <= now.0)
        };
        // Also while nobody exports them: an export begins with what changes after it is made. Alerts do not wait for it.
        if all && let Err(error) = self.recommend.states_keep(now).await {
            tracing::error!(%error, "states of recommendations were not looked at and will be tried again");
        }
        let stored: Vec<Stored> = self.stored().await?.into_iter().filter(due).collect();
        futures::stream::iter(stored)
            .for_each_concurrent(AT_ONCE, |one| async move {
                if let Err(error) = self.work(one, all).await {
                    tracing::error!(%error, "an export failed and will be tried again");
                }
            })
            .await;
        Ok(())
    }

    async fn work(&self, mut stored: Stored, all: bool) -> Result<(), ExportError> {
        let kinds: Vec<What> = stored.view.what.iter().copied().filter(|w| all || *w != What::Findings).collect();
        let snapshot = stored.view.mode == Mode::Snapshot;
        let mut left = false;
        for what in kinds {
            for turn in 0.. {
                let now = self.now();
                let place = stored.cursor.get(what.as_str()).cloned().unwrap_or_default();
                // A snapshot is of one moment: what changes while it is sent is in the next one.
                let before = if snapshot { stored.snapshot } else { now.0 - REST };
                let mut records = self.records(what, &place, before, BATCH).await?;
                if records.is_empty() || turn == BATCHES_A_TURN || self.shared.stop.is_cancelled() {
                    left |= !records.is_empty();
                    break;
                }
                for r in records.iter_mut().filter(|_| snapshot) {
                    r.snapshot = true;
                    r.id = format!("{}#{}", r.id, stored.snapshot);
                }
                if let Err(words) = self.give(&stored, &records, now).await {
                    return self.failed(&stored, &words, self.now()).await;
                }
                let Some(last) = records.last() else { break };
                stored.cursor.insert(what.as_str().to_owned(), (last.at, last.subject.clone()));
                stored.attempts = 0;
                if !self.delivered(&stored, records.len(), self.now()).await? {
                    // It was changed, set back or removed meanwhile: the next turn reads it anew.
                    return Ok(());
                }
            }
        }
        if snapshot && all && !left && self.now().0 - stored.snapshot >= WEEK {
            self.snapshot_begin(&stored, self.now()).await?;
        }
        Ok(())
    }

    async fn delivered(&self, stored: &Stored, count: usize, now: Micros) -> Result<bool, ExportError> {
        let mut tx = self.shared.db.write().await?;
        let done = sqlx::query(
            "UPDATE exports_target SET cursor = $1, delivered = delivered + $2, last_delivered = $3, last_error = NULL, \
             attempts = 0, next_attempt = 0 WHERE tenant_id = $4 AND id = $5 AND revision = $6",
        )
        .bind(text(&stored.cursor)?)
        .bind(count as i64)
        .bind(now.0)
        .bind(self.shared.tenant.as_str())
        .bind(stored.view.id.clone())
        .bind(stored.revision)
        .execute(tx.conn())
        .await?;
        tx.commit().await?;
        Ok(done.rows_affected() > 0)
    }

    async fn failed(&self, stored: &Stored, words: &str, now: Micros) -> Result<(), ExportError> {
        tracing::warn!(export = %stored.view.name, "a receiver did not take a batch; it will be tried again");
        let attempts = stored.attempts + 1;
        let words = cut(words);
        let mut tx = self.shared.db.write().await?;
        sqlx::query(
            "UPDATE exports_target SET last_error = $1, attempts = $2, next_attempt = $3 \
             WHERE tenant_id = $4 AND id = $5 AND revision = $6",
        )
        .bind(self.columns().put(columns::EXPORT_ERROR, &words)?)
        .bind(attempts)
        .bind(now.0 + wait(attempts) * 1_000_000)
        .bind(self.shared.tenant.as_str())
        .bind(stored.view.id.clone())
        .bind(stored.revision)
        .execute(tx.conn())
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Begins anew; of two servers that both find that it is time, one does, and what the other had under way is not
    /// written over it.
    async fn snapshot_begin(&self, stored: &Stored, now: Micros) -> Result<(), ExportError> {
        let begin: BTreeMap<&String, Place> = stored.cursor.keys().map(|k| (k, Place::default())).collect();
        let mut tx = self.shared.db.write().await?;
        sqlx::query(
            "UPDATE exports_target SET cursor = $1, snapshot = $2, revision = revision + 1 \
             WHERE tenant_id = $3 AND id = $4 AND revision = $5",
        )
        .bind(text(&begin)?)
        .bind(now.0)
        .bind(self.shared.tenant.as_str())
        .bind(stored.view.id.clone())
        .bind(stored.revision)
        .execute(tx.conn())
        .await?;
        tx.commit().await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_doubles_up_to_five_minutes() {
        let waits: Vec<i64> = (0..12).map(wait).collect();
        assert_eq!(waits, [1, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(wait(i64::MAX), 300);
    }

    #[test]
    fn a_target_fits_its_kind_and_stays_in_its_place() {
        let new = |kind, target: serde_json::Value| ExportNew {
            name: "siem".to_owned(),
            kind,
            mode: None,
            what: None,
            target: serde_json::from_value(target).unwrap(),
            secret: None,
            enabled: None,
        };
        use serde_json::json;
        let pem = "-----BEGIN CERTIFICATE-----";
        for (kind, target, fits) in [
            (Kind::Webhook, json!({"url": "https://siem.example/hook"}), true),
            (Kind::Webhook, json!({"url": "http://siem.example/hook"}), false),
            (Kind::Webhook, json!({"url": "http://127.0.0.1:9/hook"}), true),
            (Kind::Webhook, json!({"url": "http://8.8.8.8/hook"}), false),
            (Kind::Webhook, json!({"url": "https://u:p@siem.example/"}), false),
            (Kind::Webhook, json!({"url": "ftp://siem.example/"}), false),
            (Kind::Webhook, json!({}), false),
            (Kind::Syslog, json!({"host": "siem.example", "port": 6514, "caPem": pem}), true),
            (Kind::Syslog, json!({"host": "siem.example", "port": 6514, "caPem": ""}), false),
            (Kind::File, json!({}), true),
            (Kind::File, json!({"prefix": "x"}), false),
            (Kind::Object, json!({"prefix": "siem/x"}), true),
            (Kind::Object, json!({"prefix": "../x"}), false),
        ] {
            assert_eq!(check(&new(kind, target.clone())).is_ok(), fits, "{kind:?} {target}");
        }
    }
}
