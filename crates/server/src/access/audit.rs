//! The audit log: who changed what, and which member of the staff read whose data.
//!
//! Entries form a chain ([`chain`]). One writer takes what waits, up to [`GROUP_MAX`] entries, and writes them in one
//! transaction, so that a hundred readers cost one sync. An answer to a change is held back until its entry is durable;
//! an answer to a read only until its entry is in the queue, which is bounded: a reader waits when it is full. What
//! cannot be written is not answered.
//!
//! Lines rest sealed with the server's key; hashes are those of the lines as they read, so an export is proved without
//! any key, and sealing a line anew does not break the chain.

pub mod chain;

use crate::db::{Db, DbError, Statement, columns};
use chain::{Draft, Entry, Head, SignedHead};
use ed25519_dalek::SigningKey;
use garrison_model::{Micros, TenantId};
use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Entries that wait: a second of the busiest server, about a megabyte.
const WAITING_MAX: usize = 2_048;
/// Entries written in one transaction.
const GROUP_MAX: usize = 256;
/// Tries to write a group before its requests are told.
const TRIES: u32 = 3;

/// The log does not take entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the audit log cannot be written")]
pub struct AuditDown;

struct Waiting {
    draft: Draft,
    done: Option<oneshot::Sender<bool>>,
}

/// The log.
pub struct Audit {
    db: Db,
    tenant: TenantId,
    chain: Chain,
    signer: SigningKey,
    queue: mpsc::Sender<Waiting>,
    writer: Mutex<Option<tokio::task::JoinHandle<()>>>,
    stop: CancellationToken,
}

impl std::fmt::Debug for Audit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Audit").finish_non_exhaustive()
    }
}

/// What proving a part of the log came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProvedPart {
    /// The entry before the part.
    pub after: i64,
    /// Its last entry that was proved.
    pub last: i64,
    /// Whether all that was looked at is as it was written.
    pub whole: bool,
    /// What is wrong.
    pub problem: Option<String>,
    /// Whether there may be more entries.
    pub more: bool,
}

/// Which entries.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// By whom.
    pub who: Option<String>,
    /// `Read`, `Change`, `SignIn` or `Refused`.
    pub kind: Option<String>,
    /// Of this action.
    pub action: Option<String>,
    /// On this, such as `alert/…`.
    pub target: Option<String>,
    /// Not before.
    pub from: Option<i64>,
    /// Before.
    pub to: Option<i64>,
    /// Only numbers below this one.
    pub before: Option<i64>,
    /// Items.
    pub limit: usize,
}

/// An entry as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AuditLine {
    /// The entry.
    #[serde(flatten)]
    pub entry: Entry,
    /// SHA-256 of its line, hexadecimal.
    pub hash: String,
}

impl Audit {
    /// Finds the tenant's chain, or begins it, and starts the writer.
    pub(super) async fn start(db: Db, tenant: TenantId, signer: SigningKey) -> Result<Self, DbError> {
        let chain = Chain::of(&db, &tenant).await?;
        let (queue, waiting) = mpsc::channel(WAITING_MAX);
        let stop = CancellationToken::new();
        let writer = tokio::spawn(run(db.clone(), tenant.clone(), chain, waiting, stop.clone()));
        Ok(Self { db, tenant, chain, signer, queue, writer: Mutex::new(Some(writer)), stop })
    }

    /// Writes an entry; comes back when it is durable.
    pub async fn change(&self, draft: Draft) -> Result<(), AuditDown> {
        let (done, written) = oneshot::channel();
        self.queue.send(Waiting { draft, done: Some(done) }).await.map_err(|_| AuditDown)?;
        match written.await {
            Ok(true) => Ok(()),
            _ => Err(AuditDown),
        }
    }

    /// Hands an entry over; waits only while the queue is full.
    pub async fn read(&self, draft: Draft) -> Result<(), AuditDown> {
        self.queue.send(Waiting { draft, done: None }).await.map_err(|_| AuditDown)
    }

    /// For requests that were given up: the entry is written if there is room for it, and told of otherwise.
    pub fn abandoned(&self, draft: Draft) {
        if self.queue.try_send(Waiting { draft, done: None }).is_err() {
            tracing::error!("an abandoned request has no entry in the audit log: its queue is full");
        }
    }

    /// Writes what waits, and takes nothing more.
    pub async fn close(&self) {
        self.stop.cancel();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            let _ = writer.await;
        }
    }

    /// Entries, newest first.
    pub async fn list(&self, f: &AuditFilter) -> Result<Vec<AuditLine>, DbError> {
        let mut query = Statement::new("SELECT line, hash FROM access_audit WHERE tenant_id = ");
        query.push_bind(self.tenant.as_str().to_owned());
        let seal = self.db.seal_own();
        let who = seal.put_maybe(columns::AUDIT_WHO, f.who.as_deref())?;
        let target = seal.put_maybe(columns::AUDIT_TARGET, f.target.as_deref())?;
        for (column, value) in [("who", &who), ("kind", &f.kind), ("action", &f.action), ("target", &target)] {
            if let Some(value) = value {
                query.push(" AND ").push(column).push(" = ").push_bind(value.clone());
            }
        }
        let before = f.before.map(|seq| self.chain.place(seq));
        for (condition, value) in [(" AND at >= ", f.from), (" AND at < ", f.to), (" AND seq < ", before)] {
            if let Some(value) = value {
                query.push(condition).push_bind(value);
            }
        }
        query.push(" ORDER BY seq DESC LIMIT ").push_bind(i64::try_from(f.limit).unwrap_or(i64::MAX));
        let rows = query.build().fetch_all(self.db.pool()).await?;
        let mut lines = Vec::with_capacity(rows.len());
        for row in &rows {
            let (line, hash): (String, String) = (row.try_get("line")?, row.try_get("hash")?);
            // A line that was tampered with is for `verify` to tell of; a list leaves it out.
            let Ok(line) = seal.open(columns::AUDIT_LINE, line) else { continue };
            if let Ok(entry) = serde_json::from_str(&line) {
                lines.push(AuditLine { entry, hash });
            }
        }
        Ok(lines)
    }

    /// Proves at most `limit` entries after one that was proved already; the work of one request stays bounded.
    pub async fn prove(&self, after: i64, limit: i64) -> Result<ProvedPart, DbError> {
        let before = match after {
            0 => Some(chain::ZERO.to_owned()),
            _ => sqlx::query("SELECT hash FROM access_audit WHERE seq = $1 AND tenant_id = $2")
                .bind(self.chain.place(after))
                .bind(self.tenant.as_str())
                .fetch_optional(self.db.pool())
                .await?
                .map(|row| row.try_get("hash"))
                .transpose()?,
        };
        let mut part = ProvedPart { after, last: after, whole: before.is_some(), problem: None, more: false };
        let Some(before) = before else {
            part.problem = Some(format!("entry {after} is missing"));
            return Ok(part);
        };
        let lines = self.export(after, limit).await?;
        part.more = i64::try_from(lines.len()).is_ok_and(|n| n == limit);
        let mut proof = chain::Proof::after(after, before);
        for line in &lines {
            if let Err(broken) = proof.take(line) {
                part.whole = false;
                part.more = false;
                part.problem = Some(broken.to_string());
                break;
            }
            part.last += 1;
        }
        Ok(part)
    }

    /// Lines of the chain after a number, as they are exported.
    pub async fn export(&self, after: i64, limit: i64) -> Result<Vec<String>, DbError> {
        let sql = "SELECT line, hash FROM access_audit WHERE seq > $1 AND tenant_id = $3 ORDER BY seq LIMIT $2";
        let rows = sqlx::query(sql)
            .bind(self.chain.place(after))
            .bind(limit)
            .bind(self.tenant.as_str())
            .fetch_all(self.db.pool())
            .await?;
        let seal = self.db.seal_own();
        rows.iter()
            .map(|row| {
                let (line, hash): (String, String) = (row.try_get("line")?, row.try_get("hash")?);
                // What does not open is handed out as it is, for the proof to say that it was changed.
                let line = seal.open(columns::AUDIT_LINE, line.clone()).unwrap_or(line);
                Ok(chain::exported(&line, &hash))
            })
            .collect()
    }

    /// The head of the chain, signed as of now.
    pub async fn head(&self, now: Micros) -> Result<SignedHead, DbError> {
        let sql = "SELECT seq, hash FROM access_audit_head WHERE id = $1";
        let row = sqlx::query(sql).bind(self.chain.0).fetch_one(self.db.pool()).await?;
        let head = Head {
            tenant: self.tenant.to_string(),
            seq: row.try_get("seq")?,
            hash: row.try_get("hash")?,
            time: crate::shared::rfc3339(now),
        };
        Ok(head.sign(&self.signer))
    }
}

/// Numbers of entries that a chain has room for: a million a second for twelve days, or a thousand for thirty years.
const CHAIN_ENTRIES: i64 = 1 << 40;

/// A tenant's chain, by its number; the first tenant's is 1.
#[derive(Debug, Clone, Copy)]
struct Chain(i64);

impl Chain {
    async fn of(db: &Db, tenant: &TenantId) -> Result<Self, DbError> {
        let mut tx = db.write().await?;
        // Two servers that begin the same chain at once: the second one's is refused by the index, and is there next time.
        sqlx::query(
            "INSERT INTO access_audit_head (id, seq, hash, of_tenant) SELECT (SELECT MAX(id) FROM access_audit_head) + 1, \
             0, $1, $2 WHERE NOT EXISTS (SELECT 1 FROM access_audit_head WHERE of_tenant = $2)",
        )
        .bind(chain::ZERO)
        .bind(tenant.as_str())
        .execute(tx.conn())
        .await?;
        let row = sqlx::query("SELECT id FROM access_audit_head WHERE of_tenant = $1")
            .bind(tenant.as_str())
            .fetch_one(tx.conn())
            .await?;
        let id = row.try_get("id")?;
        tx.commit().await?;
        Ok(Self(id))
    }

    /// Where an entry of this chain stands among those of all.
    fn place(self, seq: i64) -> i64 {
        (self.0 - 1).saturating_mul(CHAIN_ENTRIES).saturating_add(seq)
    }
}

async fn run(db: Db, tenant: TenantId, chain: Chain, mut waiting: mpsc::Receiver<Waiting>, stop: CancellationToken) {
    let mut group = Vec::with_capacity(GROUP_MAX);
    loop {
        let count = tokio::select! {
            count = waiting.recv_many(&mut group, GROUP_MAX) => count,
            () = stop.cancelled(), if !waiting.is_closed() => {
                waiting.close();
                continue;
            }
        };
        if count == 0 {
            return;
        }
        let mut written = false;
        for tried in 1..=TRIES {
            match write(&db, &tenant, chain, &group).await {
                Ok(()) => {
                    written = true;
                    break;
                }
                Err(error) => {
                    tracing::error!(%error, entries = count, tried, "cannot write the audit log");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
        for entry in group.drain(..) {
            if let Some(done) = entry.done {
                let _ = done.send(written);
            }
        }
    }
}

async fn write(db: &Db, tenant: &TenantId, chain: Chain, group: &[Waiting]) -> Result<(), DbError> {
    let mut tx = db.write().await?;
    // Changing the head's row takes the turn, on PostgreSQL too, where several servers may write.
    let row = sqlx::query("UPDATE access_audit_head SET seq = seq WHERE id = $1 RETURNING seq, hash")
        .bind(chain.0)
        .fetch_one(tx.conn())
        .await?;
    let seal = db.seal_own();
    let (mut seq, mut previous): (i64, String) = (row.try_get("seq")?, row.try_get("hash")?);
    for waiting in group {
        seq = seq.saturating_add(1);
        let entry = Entry::follow(&waiting.draft, tenant, seq, previous);
        let (line, hash) = chain::sealed(&entry);
        sqlx::query(
            "INSERT INTO access_audit (seq, tenant_id, at, who, kind, action, target, status, line, hash) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(chain.place(seq))
        .bind(tenant.as_str())
        .bind(waiting.draft.at.0)
        .bind(seal.put(columns::AUDIT_WHO, &entry.who)?)
        .bind(entry.kind)
        .bind(entry.action)
        .bind(seal.put(columns::AUDIT_TARGET, &entry.target)?)
        .bind(entry.status)
        .bind(seal.put(columns::AUDIT_LINE, &line)?)
        .bind(hash.clone())
        .execute(tx.conn())
        .await?;
        previous = hash;
    }
    sqlx::query("UPDATE access_audit_head SET seq = $1, hash = $2 WHERE id = $3")
        .bind(seq)
        .bind(previous)
        .bind(chain.0)
        .execute(tx.conn())
        .await?;
    tx.commit().await?;
    if group.iter().any(|w| w.done.is_some()) {
        db.sync().await?;
    }
    Ok(())
}

/// What handlers add to the entry of their request.
#[derive(Debug, Clone, Default)]
pub struct Note {
    /// Things that the answer holds.
    pub count: Option<u64>,
    /// On what, where the path does not say.
    pub target: Option<String>,
    /// Who it turned out to be, when somebody signs in.
    pub who: Option<String>,
}

tokio::task_local! {
    /// The note of the request that this task answers.
    pub static NOTE: Arc<Mutex<Note>>;
}

fn noted(change: impl FnOnce(&mut Note)) {
    // Outside of a request there is nothing to note on.
    let _ = NOTE.try_with(|note| change(&mut note.lock().unwrap_or_else(PoisonError::into_inner)));
}

/// Says how many things an answer holds.
pub fn count(things: usize) {
    noted(|note| note.count = u64::try_from(things).ok());
}

/// Says what a request is about, where its path does not.
pub fn target(text: impl Into<String>) {
    let text = text.into();
    noted(|note| note.target = Some(text));
}

/// Says who it turned out to be.
pub fn who(name: &str) {
    let name = name.chars().filter(|c| !c.is_control()).take(120).collect();
    noted(|note| note.who = Some(name));
}
