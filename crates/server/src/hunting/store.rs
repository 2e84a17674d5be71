//! What the room keeps in the control database: the history of queries with their reports, and saved queries.

use super::error::HuntError;
use super::resources::{Resources, RunState};
use super::{Caller, Hunting, Interface};
use crate::db::{DbError, Sealer, columns};
use crate::shared::{Shared, rfc3339};
use garrison_model::{Micros, Role, TenantId};
use sqlx::Row as _;
use sqlx::any::AnyRow;
use std::sync::Arc;
use utoipa::ToSchema;
use uuid::Uuid;

const DAY: i64 = 86_400_000_000;

/// Characters of a name and of a folder's path.
const NAME_CHARS_MAX: usize = 100;
const FOLDER_CHARS_MAX: usize = 200;
const DESCRIPTION_CHARS_MAX: usize = 2_000;
/// Saved queries of a tenant; a library of thousands is searched by its folders.
const QUERIES_MAX: i64 = 10_000;
/// Entries that are written in one transaction.
pub(super) const HISTORY_BATCH: usize = 64;

/// An entry of the history, as it is written.
#[derive(Debug)]
pub(crate) struct HistoryEntry {
    pub(crate) tenant: TenantId,
    pub(crate) began: Micros,
    pub(crate) ended: Micros,
    pub(crate) query: String,
    pub(crate) error: Option<String>,
    pub(crate) origin: Option<HistoryOrigin>,
    pub(crate) resources: Resources,
}

/// What started a hunt that nobody typed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryOrigin {
    /// `rule`, `detection` or `indicator`.
    pub kind: String,
    /// Its id.
    pub target: String,
    /// Its title.
    pub title: String,
    /// Id of the retro-hunt.
    pub retro_hunt_id: String,
}

/// An entry of the history, as it is read.
#[derive(Debug, Clone, serde::Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryView {
    /// Where it stands in the history.
    #[serde(skip)]
    pub number: i64,
    /// When it began, microseconds.
    #[serde(skip)]
    pub began: i64,
    /// The query.
    pub query: String,
    /// Code of the error that it ended with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// For a retro-hunt, what started it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<HistoryOrigin>,
    /// Its report.
    #[serde(flatten)]
    #[schema(value_type = Resources)]
    pub report: serde_json::Value,
}

/// What somebody saves.
#[derive(Debug, Clone, Default, serde::Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct QueryDraft {
    /// Name, unique in its folder.
    pub name: String,
    /// Folder, such as `Hunts/Web`; empty at the top.
    #[serde(default)]
    pub folder: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// The query.
    pub query: String,
    /// Whether everybody sees it.
    #[serde(default)]
    pub shared: bool,
}

/// A saved query.
#[derive(Debug, Clone, PartialEq, serde::Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SavedQuery {
    /// Id.
    #[schema(value_type = String)]
    pub id: Uuid,
    /// Name.
    pub name: String,
    /// Folder.
    pub folder: String,
    /// What it is for.
    pub description: String,
    /// The query.
    pub query: String,
    /// Whether everybody sees it.
    pub shared: bool,
    /// Who made it.
    pub owner: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// When it was changed last, RFC 3339.
    pub updated: String,
    /// Whether it is the caller's.
    pub mine: bool,
}

impl QueryDraft {
    /// Checks and tidies what somebody sent.
    fn checked(mut self, query_bytes_max: usize) -> Result<Self, HuntError> {
        self.name = self.name.trim().to_owned();
        self.folder =
            self.folder.split('/').map(str::trim).filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
        let plain = |text: &str| !text.chars().any(char::is_control);
        let invalid = |words: &str| Err(HuntError::Invalid(words.to_owned()));
        if self.name.is_empty() || self.name.chars().count() > NAME_CHARS_MAX || !plain(&self.name) {
            return invalid("a name has 1 to 100 characters, none of them a control character");
        }
        if self.folder.chars().count() > FOLDER_CHARS_MAX || !plain(&self.folder) {
            return invalid("a folder has at most 200 characters, none of them a control character");
        }
        if self.description.chars().count() > DESCRIPTION_CHARS_MAX {
            return invalid("a description has at most 2000 characters");
        }
        if self.query.trim().is_empty() {
            return Err(HuntError::QueryEmpty);
        }
        if self.query.len() > query_bytes_max {
            return Err(HuntError::QueryTooLong { bytes: self.query.len(), bytes_max: query_bytes_max });
        }
        Ok(self)
    }

    /// What must be unique: shared names are everybody's, private ones their owner's.
    fn place(&self, owner: &str) -> String {
        let owner = if self.shared { "" } else { owner };
        format!("{owner}\n{}\n{}\n", self.folder, self.name)
    }
}

fn saved(seal: &Sealer, row: &AnyRow, caller: &str) -> Result<SavedQuery, sqlx::Error> {
    let owner = seal.get(row, columns::QUERY_OWNER)?;
    let id: String = row.try_get("id")?;
    Ok(SavedQuery {
        id: id.parse().unwrap_or_default(),
        name: seal.get(row, columns::QUERY_NAME)?,
        folder: seal.get(row, columns::QUERY_FOLDER)?,
        description: seal.get(row, columns::QUERY_DESCRIPTION)?,
        query: seal.get(row, columns::QUERY_TEXT)?,
        shared: row.try_get::<i64, _>("shared")? != 0,
        mine: owner == caller,
        owner,
        created: rfc3339(Micros(row.try_get("created")?)),
        updated: rfc3339(Micros(row.try_get("updated")?)),
    })
}

impl Hunting {
    /// Saved queries that a user sees: his own and the shared ones, by folder and name.
    pub async fn query_list(&self, tenant: &TenantId, user: &str) -> Result<Vec<SavedQuery>, HuntError> {
        let seal = self.shared.db.seal(tenant);
        let rows = sqlx::query("SELECT * FROM hunting_query WHERE tenant_id = $1 AND (shared = 1 OR owner = $2)")
            .bind(tenant.as_str())
            .bind(seal.put(columns::QUERY_OWNER, user)?)
            .fetch_all(self.shared.db.pool())
            .await?;
        let mut all = rows.iter().map(|row| saved(&seal, row, user)).collect::<Result<Vec<_>, _>>()?;
        all.sort_by(|a, b| (&a.folder, &a.name, a.id).cmp(&(&b.folder, &b.name, b.id)));
        Ok(all)
    }

    /// One of them.
    pub async fn query_get(&self, tenant: &TenantId, user: &str, id: Uuid) -> Result<SavedQuery, HuntError> {
        let seal = self.shared.db.seal(tenant);
        let row =
            sqlx::query("SELECT * FROM hunting_query WHERE tenant_id = $1 AND id = $2 AND (shared = 1 OR owner = $3)")
                .bind(tenant.as_str())
                .bind(id.to_string())
                .bind(seal.put(columns::QUERY_OWNER, user)?)
                .fetch_optional(self.shared.db.pool())
                .await?;
        row.map(|row| saved(&seal, &row, user)).transpose()?.ok_or(HuntError::QueryUnknown)
    }

    /// Saves a new query.
    pub async fn query_create(
        &self,
        tenant: &TenantId,
        user: &str,
        draft: QueryDraft,
        now: Micros,
    ) -> Result<SavedQuery, HuntError> {
        let draft = draft.checked(self.settings.query_bytes_max)?;
        let id = Uuid::now_v7();
        let mut tx = self.shared.db.write().await?;
        let count: i64 = sqlx::query("SELECT COUNT(*) FROM hunting_query WHERE tenant_id = $1")
            .bind(tenant.as_str())
            .fetch_one(tx.conn())
            .await?
            .try_get(0)?;
        if count >= QUERIES_MAX {
            return Err(HuntError::Invalid(format!("there are {QUERIES_MAX} saved queries, which is the limit")));
        }
        let seal = self.shared.db.seal(tenant);
        let written = sqlx::query(
            "INSERT INTO hunting_query (tenant_id, id, owner, shared, folder, name, place, description, query, created, \
             updated) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10)",
        )
        .bind(tenant.as_str())
        .bind(id.to_string())
        .bind(seal.put(columns::QUERY_OWNER, user)?)
        .bind(i64::from(draft.shared))
        .bind(seal.put(columns::QUERY_FOLDER, &draft.folder)?)
        .bind(seal.put(columns::QUERY_NAME, &draft.name)?)
        .bind(seal.put(columns::QUERY_PLACE, &draft.place(user))?)
        .bind(seal.put(columns::QUERY_DESCRIPTION, &draft.description)?)
        .bind(seal.put(columns::QUERY_TEXT, &draft.query)?)
        .bind(now.0)
        .execute(tx.conn())
        .await;
        taken(written, &draft.name)?;
        tx.commit().await?;
        self.query_get(tenant, user, id).await
    }

    /// Changes a saved query; only its owner or an administrator may.
    pub async fn query_update(
        &self,
        tenant: &TenantId,
        user: (&str, Role),
        id: Uuid,
        draft: QueryDraft,
        now: Micros,
    ) -> Result<SavedQuery, HuntError> {
        let draft = draft.checked(self.settings.query_bytes_max)?;
        let known = self.query_owned(tenant, user, id).await?;
        let mut tx = self.shared.db.write().await?;
        let seal = self.shared.db.seal(tenant);
        let written = sqlx::query(
            "UPDATE hunting_query SET shared = $1, folder = $2, name = $3, place = $4, description = $5, query = $6, \
             updated = $7 WHERE tenant_id = $8 AND id = $9",
        )
        .bind(i64::from(draft.shared))
        .bind(seal.put(columns::QUERY_FOLDER, &draft.folder)?)
        .bind(seal.put(columns::QUERY_NAME, &draft.name)?)
        .bind(seal.put(columns::QUERY_PLACE, &draft.place(&known.owner))?)
        .bind(seal.put(columns::QUERY_DESCRIPTION, &draft.description)?)
        .bind(seal.put(columns::QUERY_TEXT, &draft.query)?)
        .bind(now.0)
        .bind(tenant.as_str())
        .bind(id.to_string())
        .execute(tx.conn())
        .await;
        taken(written, &draft.name)?;
        tx.commit().await?;
        // An administrator who makes somebody else's query private does not see it any more.
        let seen = if draft.shared { user.0 } else { known.owner.as_str() };
        let mut changed = self.query_get(tenant, seen, id).await?;
        changed.mine = changed.owner == user.0;
        Ok(changed)
    }

    /// Deletes a saved query; only its owner or an administrator may.
    pub async fn query_delete(&self, tenant: &TenantId, user: (&str, Role), id: Uuid) -> Result<(), HuntError> {
        self.query_owned(tenant, user, id).await?;
        let mut tx = self.shared.db.write().await?;
        sqlx::query("DELETE FROM hunting_query WHERE tenant_id = $1 AND id = $2")
            .bind(tenant.as_str())
            .bind(id.to_string())
            .execute(tx.conn())
            .await?;
        Ok(tx.commit().await?)
    }

    async fn query_owned(&self, tenant: &TenantId, user: (&str, Role), id: Uuid) -> Result<SavedQuery, HuntError> {
        let known = self.query_get(tenant, user.0, id).await?;
        if known.mine || user.1 >= Role::Admin { Ok(known) } else { Err(HuntError::NotOwner) }
    }

    /// The history, newest first: of one user, or of all.
    pub async fn history(
        &self,
        tenant: &TenantId,
        user: Option<&str>,
        before: Option<(i64, i64)>,
        limit: usize,
    ) -> Result<Vec<HistoryView>, HuntError> {
        let (began, number) = before.unwrap_or((i64::MAX, i64::MAX));
        let seal = self.shared.db.seal(tenant);
        let rows = sqlx::query(
            "SELECT number, began, query, error, report FROM hunting_history WHERE tenant_id = $1 \
             AND ($2 = '' OR owner = $2) AND (began < $3 OR (began = $3 AND number < $4)) \
             ORDER BY began DESC, number DESC LIMIT $5",
        )
        .bind(tenant.as_str())
        .bind(seal.put(columns::HISTORY_OWNER, user.unwrap_or_default())?)
        .bind(began)
        .bind(number)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(self.shared.db.pool())
        .await?;
        let view = |row: &AnyRow| -> Result<HistoryView, sqlx::Error> {
            let report = seal.get(row, columns::HISTORY_REPORT)?;
            let mut report: serde_json::Value = serde_json::from_str(&report).unwrap_or_default();
            let origin = report.as_object_mut().and_then(|report| report.remove("origin"));
            Ok(HistoryView {
                number: row.try_get("number")?,
                began: row.try_get("began")?,
                query: seal.get(row, columns::HISTORY_QUERY)?,
                error: seal.get_maybe(row, columns::HISTORY_ERROR)?,
                origin: origin.and_then(|origin| serde_json::from_value(origin).ok()),
                report,
            })
        };
        Ok(rows.iter().map(view).collect::<Result<_, _>>()?)
    }

    /// Forgets entries that are too old or too many.
    pub async fn history_sweep(&self, now: Micros) -> Result<(), HuntError> {
        let oldest = now.0.saturating_sub(i64::from(self.settings.history_days) * DAY);
        let mut tx = self.shared.db.write().await?;
        let tenant = self.shared.tenant.as_str();
        sqlx::query("DELETE FROM hunting_history WHERE tenant_id = $2 AND began < $1")
            .bind(oldest)
            .bind(tenant)
            .execute(tx.conn())
            .await?;
        sqlx::query(
            "DELETE FROM hunting_history WHERE tenant_id = $2 AND number <= (SELECT number FROM hunting_history \
             WHERE tenant_id = $2 ORDER BY number DESC LIMIT 1 OFFSET $1)",
        )
        .bind(i64::from(self.settings.history_rows_max))
        .bind(tenant)
        .execute(tx.conn())
        .await?;
        Ok(tx.commit().await?)
    }

    /// Takes what was used within the last day into the quotas, so that a restart is no way around them.
    pub(super) async fn quotas_restore(&self, now: Micros) -> Result<(), HuntError> {
        let rows = sqlx::query(
            "SELECT tenant_id, owner, interface, began, ended FROM hunting_history WHERE began > $1 AND state <> $2 \
             AND tenant_id = $3 ORDER BY ended",
        )
        .bind(now.0.saturating_sub(DAY))
        .bind(RunState::Refused.as_str())
        .bind(self.shared.tenant.as_str())
        .fetch_all(self.shared.db.pool())
        .await?;
        let own = [Interface::Detection.as_str(), Interface::RetroHunt.as_str()];
        for row in &rows {
            let interface: String = row.try_get("interface")?;
            let tenant: String = row.try_get("tenant_id")?;
            let Ok(tenant) = tenant.parse::<TenantId>() else { continue };
            if own.contains(&interface.as_str()) {
                continue;
            }
            // Another tenant's, whose key is not there: its quotas are not kept here either.
            let Ok(owner) = self.shared.db.seal(&tenant).get(row, columns::HISTORY_OWNER) else { continue };
            let (began, ended) = (Micros(row.try_get("began")?), Micros(row.try_get("ended")?));
            self.lock_quotas().restore(&tenant, &owner, began, ended, now);
        }
        Ok(())
    }

    /// Hands an entry to the writer. A full queue drops it, counted: a report is not worth a query's wait.
    pub(crate) fn history_note(&self, entry: HistoryEntry) {
        if self.history.try_send(entry).is_err() {
            tracing::warn!("the report of a query was dropped because the database is behind");
        }
    }
}

/// Writes entries down.
pub(crate) async fn history_write(shared: &Shared, entries: &[HistoryEntry]) -> Result<(), DbError> {
    let mut tx = shared.db.write().await?;
    for entry in entries {
        let (report, seal) = (&entry.resources, shared.db.seal(&entry.tenant));
        let mut words = serde_json::to_value(report).unwrap_or_default();
        if let (Some(words), Some(origin)) = (words.as_object_mut(), &entry.origin) {
            words.insert("origin".to_owned(), serde_json::to_value(origin).unwrap_or_default());
        }
        sqlx::query(
            "INSERT INTO hunting_history (tenant_id, id, owner, interface, began, ended, state, error, query, \
             report) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(entry.tenant.as_str())
        .bind(report.id.to_string())
        .bind(seal.put(columns::HISTORY_OWNER, &report.user)?)
        .bind(report.interface.as_str())
        .bind(entry.began.0)
        .bind(entry.ended.0)
        .bind(report.state.as_str())
        .bind(seal.put_maybe(columns::HISTORY_ERROR, entry.error.as_deref())?)
        // PostgreSQL takes no zero bytes.
        .bind(seal.put(columns::HISTORY_QUERY, &entry.query.replace('\0', " "))?)
        .bind(seal.put(columns::HISTORY_REPORT, &words.to_string().replace("\\u0000", " "))?)
        .execute(tx.conn())
        .await?;
    }
    tx.commit().await
}

/// Writes entries down as they come, until the room is gone.
pub(super) async fn history_run(hunting: Arc<Hunting>, mut entries: tokio::sync::mpsc::Receiver<HistoryEntry>) {
    let mut batch = Vec::with_capacity(HISTORY_BATCH);
    let stop = hunting.shared.stop.clone();
    loop {
        let count = tokio::select! {
            count = entries.recv_many(&mut batch, HISTORY_BATCH) => count,
            () = stop.cancelled() => {
                // What is there already is written; what comes now belongs to queries that the stop cut off.
                while let Ok(entry) = entries.try_recv() {
                    batch.push(entry);
                }
                let _ = history_write(&hunting.shared, &batch).await;
                return;
            }
        };
        if count == 0 {
            return;
        }
        if let Err(error) = history_write(&hunting.shared, &batch).await {
            tracing::error!(%error, "reports of queries could not be written");
        }
        batch.clear();
    }
}

fn taken<T>(written: Result<T, sqlx::Error>, name: &str) -> Result<T, HuntError> {
    written.map_err(|error| {
        if crate::db::is_unique_violation(&error) { HuntError::QueryExists(name.to_owned()) } else { error.into() }
    })
}

/// The caller's name in the quotas, the history and as an owner.
impl Caller {
    /// A caller of the HTTP API.
    #[must_use]
    pub fn new(tenant: &TenantId, user: &str, interface: Interface) -> Self {
        Self { tenant: tenant.clone(), user: user.to_owned(), interface, devices: None }
    }

    /// The same with what its roles reach.
    #[must_use]
    pub fn seeing(self, sees: &crate::access::Sees) -> Self {
        Self { devices: sees.devices().map(Arc::new), ..self }
    }
}
