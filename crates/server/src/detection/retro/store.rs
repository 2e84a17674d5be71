//! What retro-hunts keep in the database.

use super::{KEPT, RetroError, RetroHunt, RetroKind, RetroMatch, RetroNew, RetroState, WAITING_MAX, time};
use crate::db::{Sealer, columns};
use crate::shared::Shared;
use sqlx::Row as _;
use sqlx::any::AnyRow;

/// Characters of an error that are kept.
const ERROR_CHARS_MAX: usize = 400;

/// A hunt as it is stored.
#[derive(Debug, Clone)]
pub struct Record {
    /// Id.
    pub id: String,
    /// What is hunted for.
    pub kind: RetroKind,
    /// Its id.
    pub target: String,
    /// Its title.
    pub title: String,
    /// Where it stands.
    pub state: RetroState,
    /// First moment and moment after the last.
    pub range: (i64, i64),
    /// Everything before this has been looked at.
    pub done_to: i64,
    /// Whether matches become alerts.
    pub alerts: bool,
    /// Rows looked at, rows that matched, new alerts.
    pub counts: (i64, i64, i64),
    /// Why it failed.
    pub error: String,
    /// Who asked, when, and when it ended.
    pub created_by: String,
    /// When.
    pub created: i64,
    /// When it ended.
    pub ended: Option<i64>,
}

impl Record {
    /// As the API shows it.
    #[must_use]
    pub fn view(&self) -> RetroHunt {
        let (from, to) = self.range;
        let percent = match self.state {
            RetroState::Completed => 100,
            _ => (self.done_to - from).max(0).saturating_mul(100) / (to - from).max(1),
        };
        let percent = u32::try_from(percent.clamp(0, 100)).unwrap_or(0);
        RetroHunt {
            id: self.id.clone(),
            kind: self.kind,
            target: self.target.clone(),
            title: self.title.clone(),
            state: self.state,
            from: time(from),
            to: time(to),
            percent,
            progress: f64::from(percent) / 100.0,
            rows: self.counts.0,
            matches: self.counts.1,
            alerts: self.counts.2,
            makes_alerts: self.alerts,
            error: Some(self.error.clone()).filter(|e| !e.is_empty()),
            created_by: self.created_by.clone(),
            created: time(self.created),
            ended: self.ended.map(time),
        }
    }
}

fn read(seal: &Sealer, row: &AnyRow) -> Result<Record, RetroError> {
    Ok(Record {
        id: row.try_get("id")?,
        kind: RetroKind::parse(&row.try_get::<String, _>("kind")?),
        target: row.try_get("target")?,
        title: seal.get(row, columns::RETRO_TITLE)?,
        state: RetroState::parse(&row.try_get::<String, _>("state")?),
        range: (row.try_get("range_from")?, row.try_get("range_to")?),
        done_to: row.try_get("done_to")?,
        alerts: row.try_get::<i64, _>("alerts")? != 0,
        counts: (row.try_get("row_count")?, row.try_get("match_count")?, row.try_get("alert_count")?),
        error: seal.get(row, columns::RETRO_ERROR)?,
        created_by: seal.get(row, columns::RETRO_AUTHOR)?,
        created: row.try_get("created")?,
        ended: row.try_get("ended")?,
    })
}

/// Adds one, and forgets the oldest that have ended.
pub async fn add(
    shared: &Shared,
    id: &str,
    new: &RetroNew,
    title: &str,
    range: (i64, i64),
    alerts: bool,
    who: &str,
    now: i64,
) -> Result<(), RetroError> {
    let mut tx = shared.db.write().await?;
    let waiting: i64 =
        sqlx::query("SELECT COUNT(*) AS n FROM detection_retro WHERE tenant_id = $1 AND state = 'Queued'")
            .bind(shared.tenant.as_str())
            .fetch_one(tx.conn())
            .await?
            .try_get("n")?;
    if usize::try_from(waiting).unwrap_or(usize::MAX) >= WAITING_MAX {
        return Err(RetroError::TooMany);
    }
    let seal = shared.db.seal(&shared.tenant);
    sqlx::query(
        "INSERT INTO detection_retro (tenant_id, id, kind, target, title, state, range_from, range_to, done_to, alerts, \
         row_count, match_count, alert_count, error, created_by, created) \
         VALUES ($1, $2, $3, $4, $5, 'Queued', $6, $7, $6, $8, 0, 0, 0, '', $9, $10)",
    )
    .bind(shared.tenant.as_str())
    .bind(id)
    .bind(new.kind.as_str())
    .bind(new.target.clone())
    .bind(seal.put(columns::RETRO_TITLE, title)?)
    .bind(range.0)
    .bind(range.1)
    .bind(i64::from(alerts))
    .bind(seal.put(columns::RETRO_AUTHOR, who)?)
    .bind(now)
    .execute(tx.conn())
    .await?;
    let old = "SELECT id FROM detection_retro WHERE tenant_id = $1 AND state NOT IN ('Queued', 'Running') \
               ORDER BY created DESC, id DESC LIMIT 1000 OFFSET $2";
    for table in
        ["detection_retro_match WHERE tenant_id = $1 AND retro_id", "detection_retro WHERE tenant_id = $1 AND id"]
    {
        // Made of the two constants above.
        sqlx::query(sqlx::AssertSqlSafe(format!("DELETE FROM {table} IN ({old})")))
            .bind(shared.tenant.as_str())
            .bind(KEPT)
            .execute(tx.conn())
            .await?;
    }
    Ok(tx.commit().await?)
}

/// All, newest first.
pub async fn all(shared: &Shared) -> Result<Vec<Record>, RetroError> {
    let rows =
        sqlx::query("SELECT * FROM detection_retro WHERE tenant_id = $1 ORDER BY created DESC, id DESC LIMIT $2")
            .bind(shared.tenant.as_str())
            .bind(KEPT)
            .fetch_all(shared.db.pool())
            .await?;
    let seal = shared.db.seal(&shared.tenant);
    rows.iter().map(|row| read(&seal, row)).collect()
}

/// One.
pub async fn one(shared: &Shared, id: &str) -> Result<Record, RetroError> {
    let row = sqlx::query("SELECT * FROM detection_retro WHERE tenant_id = $1 AND id = $2")
        .bind(shared.tenant.as_str())
        .bind(id)
        .fetch_optional(shared.db.pool())
        .await?;
    read(&shared.db.seal(&shared.tenant), &row.ok_or(RetroError::Unknown)?)
}

/// The one to run: under way first, then the one that waits longest.
pub async fn next(shared: &Shared) -> Result<Option<Record>, RetroError> {
    for state in [RetroState::Running, RetroState::Queued] {
        let row = sqlx::query(
            "SELECT * FROM detection_retro WHERE tenant_id = $1 AND state = $2 ORDER BY created, id LIMIT 1",
        )
        .bind(shared.tenant.as_str())
        .bind(state.as_str())
        .fetch_optional(shared.db.pool())
        .await?;
        if let Some(row) = row {
            return read(&shared.db.seal(&shared.tenant), &row).map(Some);
        }
    }
    Ok(None)
}

/// Writes progress and matches in one step; `false` if the hunt was ended meanwhile.
pub async fn progress(shared: &Shared, record: &Record, fresh: &[RetroMatch], kept: usize) -> Result<bool, RetroError> {
    let mut tx = shared.db.write().await?;
    let changed = sqlx::query(
        "UPDATE detection_retro SET state = 'Running', done_to = $3, row_count = $4, match_count = $5, alert_count = $6 \
         WHERE tenant_id = $1 AND id = $2 AND state IN ('Queued', 'Running')",
    )
    .bind(shared.tenant.as_str())
    .bind(record.id.clone())
    .bind(record.done_to)
    .bind(record.counts.0)
    .bind(record.counts.1)
    .bind(record.counts.2)
    .execute(tx.conn())
    .await?;
    if changed.rows_affected() == 0 {
        return Ok(false);
    }
    let seal = shared.db.seal(&shared.tenant);
    for (at, one) in fresh.iter().enumerate() {
        sqlx::query("INSERT INTO detection_retro_match (tenant_id, retro_id, number, doc) VALUES ($1, $2, $3, $4)")
            .bind(shared.tenant.as_str())
            .bind(record.id.clone())
            .bind(i64::try_from(kept + at).unwrap_or(i64::MAX))
            .bind(seal.put(columns::RETRO_MATCH_DOC, &serde_json::to_string(one)?)?)
            .execute(tx.conn())
            .await?;
    }
    tx.commit().await?;
    Ok(true)
}

/// Writes how one ended, unless that is known.
pub async fn end(shared: &Shared, id: &str, state: RetroState, error: &str, now: i64) -> Result<(), RetroError> {
    let error: String = error.chars().take(ERROR_CHARS_MAX).collect();
    let error = shared.db.seal(&shared.tenant).put(columns::RETRO_ERROR, &error)?;
    let mut tx = shared.db.write().await?;
    sqlx::query(
        "UPDATE detection_retro SET state = $3, error = $4, ended = $5 \
         WHERE tenant_id = $1 AND id = $2 AND state IN ('Queued', 'Running')",
    )
    .bind(shared.tenant.as_str())
    .bind(id)
    .bind(state.as_str())
    .bind(error)
    .bind(now)
    .execute(tx.conn())
    .await?;
    Ok(tx.commit().await?)
}

/// Matched rows that are kept.
pub async fn matches(shared: &Shared, id: &str) -> Result<Vec<RetroMatch>, RetroError> {
    let rows =
        sqlx::query("SELECT doc FROM detection_retro_match WHERE tenant_id = $1 AND retro_id = $2 ORDER BY number")
            .bind(shared.tenant.as_str())
            .bind(id)
            .fetch_all(shared.db.pool())
            .await?;
    let seal = shared.db.seal(&shared.tenant);
    rows.iter().map(|row| Ok(serde_json::from_str(&seal.get(row, columns::RETRO_MATCH_DOC)?)?)).collect()
}
