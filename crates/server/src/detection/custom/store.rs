//! What custom detections keep in the database.

use super::definition::Definition;
use super::schedule::{RuleState, Window};
use super::{CustomError, Run, RunKind, RunState};
use crate::db::{Sealer, columns};
use crate::shared::{Shared, rfc3339};
use garrison_model::Micros;
use sqlx::Row as _;
use sqlx::any::AnyRow;

/// Runs kept for a rule; a month of hourly ones.
const RUNS_KEPT: i64 = 1_000;

/// A rule as it is stored.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Id.
    pub id: String,
    /// What it says.
    pub definition: Definition,
    /// Where its schedule stands.
    pub state: RuleState,
    /// Who made it, when; who changed it last, when.
    pub made: (String, i64),
    /// The last change.
    pub changed: (String, i64),
}

fn read(seal: &Sealer, row: &AnyRow) -> Result<Stored, CustomError> {
    let id: String = row.try_get("id")?;
    let doc = seal.get(row, columns::CUSTOM_DOC)?;
    let mut definition: Definition =
        serde_json::from_str(&doc).map_err(|source| CustomError::Stored { what: format!("detection {id}"), source })?;
    definition.enabled = row.try_get::<i64, _>("enabled")? != 0;
    Ok(Stored {
        state: RuleState {
            frequency: definition.frequency,
            watermark: row.try_get("watermark")?,
            attempts: u32::try_from(row.try_get::<i64, _>("attempts")?).unwrap_or(0),
            not_before: row.try_get("not_before")?,
        },
        made: (seal.get(row, columns::CUSTOM_AUTHOR)?, row.try_get("created")?),
        changed: (seal.get(row, columns::CUSTOM_CHANGER)?, row.try_get("updated")?),
        definition,
        id,
    })
}

fn key(text: &str) -> String {
    text.trim().to_lowercase()
}

/// All rules, by name.
pub async fn all(shared: &Shared) -> Result<Vec<Stored>, CustomError> {
    let seal = shared.db.seal(&shared.tenant);
    let rows = sqlx::query("SELECT * FROM detection_custom WHERE tenant_id = $1")
        .bind(shared.tenant.as_str())
        .fetch_all(shared.db.pool())
        .await?;
    let mut all = rows.iter().map(|row| read(&seal, row)).collect::<Result<Vec<_>, _>>()?;
    all.sort_by_cached_key(|rule| (key(&rule.definition.name), rule.id.clone()));
    Ok(all)
}

/// One rule.
pub async fn one(shared: &Shared, id: &str) -> Result<Stored, CustomError> {
    let row = sqlx::query("SELECT * FROM detection_custom WHERE tenant_id = $1 AND id = $2")
        .bind(shared.tenant.as_str())
        .bind(id)
        .fetch_optional(shared.db.pool())
        .await?;
    read(&shared.db.seal(&shared.tenant), &row.ok_or(CustomError::Unknown)?)
}

/// Stores a new rule, or another text of a known one (then the watermark stays).
pub async fn put(
    shared: &Shared,
    id: &str,
    definition: &Definition,
    watermark: i64,
    who: &str,
    now: Micros,
    rules_max: usize,
) -> Result<(), CustomError> {
    let doc = serde_json::to_string(definition)
        .map_err(|source| CustomError::Stored { what: format!("detection {id}"), source })?;
    let seal = shared.db.seal(&shared.tenant);
    let name_key = seal.put(columns::CUSTOM_NAME_KEY, &key(&definition.name))?;
    let title_key = seal.put(columns::CUSTOM_TITLE_KEY, &key(&definition.alert_title))?;
    let mut tx = shared.db.write().await?;
    let rows = sqlx::query("SELECT id, name_key, title_key FROM detection_custom WHERE tenant_id = $1 AND id <> $2")
        .bind(shared.tenant.as_str())
        .bind(id)
        .fetch_all(tx.conn())
        .await?;
    if rows.len() >= rules_max {
        return Err(CustomError::TooMany(rules_max));
    }
    for row in &rows {
        if row.try_get::<String, _>("name_key")? == name_key {
            return Err(CustomError::NameTaken);
        }
        if row.try_get::<String, _>("title_key")? == title_key {
            return Err(CustomError::TitleTaken);
        }
    }
    let (author, changer) = (seal.put(columns::CUSTOM_AUTHOR, who)?, seal.put(columns::CUSTOM_CHANGER, who)?);
    let stored = sqlx::query(
        "INSERT INTO detection_custom (tenant_id, id, name_key, title_key, doc, enabled, watermark, attempts, not_before, \
         created_by, created, updated_by, updated) VALUES ($1, $2, $3, $4, $5, $6, $7, 0, 0, $8, $9, $10, $9) \
         ON CONFLICT (tenant_id, id) DO UPDATE SET name_key = $3, title_key = $4, doc = $5, enabled = $6, attempts = 0, \
         not_before = 0, updated_by = $10, updated = $9",
    )
    .bind(shared.tenant.as_str())
    .bind(id)
    .bind(name_key)
    .bind(title_key)
    .bind(seal.put(columns::CUSTOM_DOC, &doc)?)
    .bind(i64::from(definition.enabled))
    .bind(watermark)
    .bind(author)
    .bind(now.0)
    .bind(changer)
    .execute(tx.conn())
    .await;
    match stored {
        Ok(_) => Ok(tx.commit().await?),
        // Two at once, on a database that lets them.
        Err(error) if crate::db::is_unique_violation(&error) => Err(CustomError::NameTaken),
        Err(error) => Err(error.into()),
    }
}

/// Switches a rule; one that is switched on again begins at `watermark`, not in the past.
pub async fn switch(
    shared: &Shared,
    id: &str,
    enabled: bool,
    watermark: i64,
    who: &str,
    now: Micros,
) -> Result<(), CustomError> {
    let changer = shared.db.seal(&shared.tenant).put(columns::CUSTOM_CHANGER, who)?;
    let mut tx = shared.db.write().await?;
    let changed = sqlx::query(
        "UPDATE detection_custom SET watermark = CASE WHEN enabled = 0 AND $3 = 1 THEN $4 ELSE watermark END, \
         enabled = $3, attempts = 0, not_before = 0, updated_by = $5, updated = $6 WHERE tenant_id = $1 AND id = $2",
    )
    .bind(shared.tenant.as_str())
    .bind(id)
    .bind(i64::from(enabled))
    .bind(watermark)
    .bind(changer)
    .bind(now.0)
    .execute(tx.conn())
    .await?;
    if changed.rows_affected() == 0 {
        return Err(CustomError::Unknown);
    }
    Ok(tx.commit().await?)
}

/// Removes a rule and its history; its alerts stay.
pub async fn remove(shared: &Shared, id: &str) -> Result<(), CustomError> {
    let mut tx = shared.db.write().await?;
    let gone = sqlx::query("DELETE FROM detection_custom WHERE tenant_id = $1 AND id = $2")
        .bind(shared.tenant.as_str())
        .bind(id)
        .execute(tx.conn())
        .await?;
    if gone.rows_affected() == 0 {
        return Err(CustomError::Unknown);
    }
    sqlx::query("DELETE FROM detection_custom_run WHERE tenant_id = $1 AND rule_id = $2")
        .bind(shared.tenant.as_str())
        .bind(id)
        .execute(tx.conn())
        .await?;
    Ok(tx.commit().await?)
}

/// Records a run and, in the same transaction, moves the watermark from where the run began. `false` if the watermark
/// had moved meanwhile: then another run has dealt with the window, and nothing is recorded.
pub async fn record(shared: &Shared, run: &Run, moved: Option<(i64, i64)>) -> Result<bool, CustomError> {
    let mut tx = shared.db.write().await?;
    if let Some((from, to)) = moved {
        let changed = sqlx::query(
            "UPDATE detection_custom SET watermark = $4, attempts = 0, not_before = 0 \
             WHERE tenant_id = $1 AND id = $2 AND watermark = $3",
        )
        .bind(shared.tenant.as_str())
        .bind(run.rule_id.clone())
        .bind(from)
        .bind(to)
        .execute(tx.conn())
        .await?;
        if changed.rows_affected() == 0 {
            return Ok(false);
        }
    }
    sqlx::query(
        "INSERT INTO detection_custom_run (tenant_id, id, rule_id, kind, state, window_from, window_to, started, ended, \
         row_count, alert_count, repeated_count, capped, error) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
    )
    .bind(shared.tenant.as_str())
    .bind(run.id.clone())
    .bind(run.rule_id.clone())
    .bind(run.kind.as_str())
    .bind(run.state.as_str())
    .bind(run.window.from)
    .bind(run.window.to)
    .bind(run.started)
    .bind(run.ended)
    .bind(run.rows)
    .bind(run.alerts)
    .bind(run.repeated)
    .bind(i64::from(run.capped))
    .bind(shared.db.seal(&shared.tenant).put(columns::CUSTOM_RUN_ERROR, &run.error)?)
    .execute(tx.conn())
    .await?;
    sqlx::query(
        "DELETE FROM detection_custom_run WHERE tenant_id = $1 AND rule_id = $2 AND id NOT IN (SELECT id FROM \
         detection_custom_run WHERE tenant_id = $1 AND rule_id = $2 ORDER BY started DESC, id LIMIT $3)",
    )
    .bind(shared.tenant.as_str())
    .bind(run.rule_id.clone())
    .bind(RUNS_KEPT)
    .execute(tx.conn())
    .await?;
    tx.commit().await?;
    Ok(true)
}

/// Notes a try that failed.
pub async fn retry(shared: &Shared, id: &str, attempts: u32, not_before: i64) -> Result<(), CustomError> {
    let mut tx = shared.db.write().await?;
    sqlx::query("UPDATE detection_custom SET attempts = $3, not_before = $4 WHERE tenant_id = $1 AND id = $2")
        .bind(shared.tenant.as_str())
        .bind(id)
        .bind(i64::from(attempts))
        .bind(not_before)
        .execute(tx.conn())
        .await?;
    Ok(tx.commit().await?)
}

/// Runs of a rule, newest first.
pub async fn runs(shared: &Shared, rule_id: &str, limit: i64) -> Result<Vec<Run>, CustomError> {
    let rows = sqlx::query(
        "SELECT * FROM detection_custom_run WHERE tenant_id = $1 AND rule_id = $2 \
         ORDER BY started DESC, window_to DESC, id LIMIT $3",
    )
    .bind(shared.tenant.as_str())
    .bind(rule_id)
    .bind(limit)
    .fetch_all(shared.db.pool())
    .await?;
    let seal = shared.db.seal(&shared.tenant);
    rows.iter()
        .map(|row| {
            let (kind, state): (String, String) = (row.try_get("kind")?, row.try_get("state")?);
            Ok(Run {
                id: row.try_get("id")?,
                rule_id: row.try_get("rule_id")?,
                kind: RunKind::parse(&kind),
                state: RunState::parse(&state),
                window: Window { from: row.try_get("window_from")?, to: row.try_get("window_to")? },
                started: row.try_get("started")?,
                ended: row.try_get("ended")?,
                rows: row.try_get("row_count")?,
                alerts: row.try_get("alert_count")?,
                repeated: row.try_get("repeated_count")?,
                capped: row.try_get::<i64, _>("capped")? != 0,
                error: seal.get(row, columns::CUSTOM_RUN_ERROR)?,
            })
        })
        .collect()
}

/// Event time and the time of coming up to which continuous rules have seen every row.
pub async fn clock(shared: &Shared) -> Result<Option<(i64, i64)>, CustomError> {
    let row = sqlx::query("SELECT event_time, ingested FROM detection_custom_clock WHERE tenant_id = $1")
        .bind(shared.tenant.as_str())
        .fetch_optional(shared.db.pool())
        .await?;
    Ok(row.map(|row| Ok::<_, sqlx::Error>((row.try_get("event_time")?, row.try_get("ingested")?))).transpose()?)
}

/// Writes both.
pub async fn clock_set(shared: &Shared, event_time: i64, ingested: i64) -> Result<(), CustomError> {
    let mut tx = shared.db.write().await?;
    sqlx::query(
        "INSERT INTO detection_custom_clock (tenant_id, event_time, ingested) VALUES ($1, $2, $3) \
         ON CONFLICT (tenant_id) DO UPDATE SET event_time = $2, ingested = $3",
    )
    .bind(shared.tenant.as_str())
    .bind(event_time)
    .bind(ingested)
    .execute(tx.conn())
    .await?;
    Ok(tx.commit().await?)
}

/// A time for the API.
pub(crate) fn shown(micros: i64) -> String {
    rfc3339(Micros(micros))
}
