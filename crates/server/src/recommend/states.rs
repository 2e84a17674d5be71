//! Changes of state, kept so that they can be told to other systems.
//!
//! A round judges every machine under every recommendation and writes the rows whose state is another one. Findings
//! that change within one state are no change of state and are not told. What is gone is forgotten without a word.

use super::{Key, Recommend, RecommendError, State};
use garrison_model::{Machine, Micros};
use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use std::collections::HashMap;

/// Rows written in one transaction: others write in between.
const CHUNK: usize = 500;

/// A machine that came into a state under a recommendation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateChange {
    /// Recommendation.
    pub key: Key,
    /// Machine.
    pub machine: String,
    /// State it is in.
    pub state: State,
    /// State it was in; `None` where it was looked at for the first time.
    pub before: Option<State>,
    /// When this was seen, microseconds.
    pub changed: i64,
    /// What is told of it.
    pub told: Told,
}

/// What is told of a machine: as it was when its state changed; stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Told {
    /// Name.
    pub name: String,
    /// Where it lies.
    pub resource_id: String,
    /// Why it is in this state.
    pub reason: String,
    /// What is wrong with it.
    pub findings: Vec<super::Finding>,
    /// Products that protect it.
    pub discovered: Vec<String>,
}

impl Recommend {
    /// Judges every machine and keeps what changed; how many changes there were.
    pub async fn states_keep(&self, now: Micros) -> Result<usize, RecommendError> {
        let (db, tenant) = (&self.shared.db, self.tenant().as_str().to_owned());
        let rows = sqlx::query("SELECT recommendation, machine_id, state FROM recommend_states WHERE tenant_id = $1")
            .bind(tenant.clone())
            .fetch_all(db.pool())
            .await?;
        let mut known: HashMap<(String, String), String> = HashMap::with_capacity(rows.len());
        for row in &rows {
            known.insert((row.try_get(0)?, row.try_get(1)?), row.try_get(2)?);
        }
        let ground = self.ground(now).await?;
        let mut changes = Vec::new();
        let take = |machine: Machine| {
            for key in Key::ALL {
                let judged = ground.judge(*key, &machine).0;
                let before = known.remove(&(key.to_string(), machine.id.to_string()));
                if before.as_deref() == Some(judged.state.as_str()) {
                    continue;
                }
                changes.push(StateChange {
                    key: *key,
                    machine: machine.id.to_string(),
                    state: judged.state,
                    before: before.and_then(|word| word.parse().ok()),
                    changed: now.0,
                    told: Told {
                        name: machine.name.to_string(),
                        resource_id: machine.resource_id.to_string(),
                        reason: judged.reason,
                        findings: judged.findings,
                        discovered: judged.discovered,
                    },
                });
            }
        };
        self.shared.plane.machines_walk(self.tenant(), now, take).await?;
        for chunk in changes.chunks(CHUNK) {
            let mut tx = db.write().await?;
            for c in chunk {
                let document = serde_json::to_string(&c.told).map_err(|_| RecommendError::Stored("state"))?;
                sqlx::query(
                    "INSERT INTO recommend_states (tenant_id, recommendation, machine_id, state, before, document, changed)
                     VALUES ($1, $2, $3, $4, $5, $6, $7)
                     ON CONFLICT (tenant_id, recommendation, machine_id) DO UPDATE SET state = excluded.state,
                     before = excluded.before, document = excluded.document, changed = excluded.changed
                     WHERE recommend_states.state <> excluded.state",
                )
                .bind(tenant.clone())
                .bind(c.key.as_str())
                .bind(c.machine.clone())
                .bind(c.state.as_str())
                .bind(c.before.map_or("", State::as_str))
                .bind(document)
                .bind(c.changed)
                .execute(tx.conn())
                .await?;
            }
            tx.commit().await?;
        }
        // What is left was of machines that are not there any more.
        let gone: Vec<(String, String)> = known.into_keys().collect();
        for chunk in gone.chunks(CHUNK) {
            let mut tx = db.write().await?;
            for (key, machine) in chunk {
                let sql =
                    "DELETE FROM recommend_states WHERE tenant_id = $1 AND recommendation = $2 AND machine_id = $3";
                sqlx::query(sql)
                    .bind(tenant.clone())
                    .bind(key.clone())
                    .bind(machine.clone())
                    .execute(tx.conn())
                    .await?;
            }
            tx.commit().await?;
        }
        Ok(changes.len())
    }

    /// Changes of state after a place (time, `MACHINE/KEY`) and before a time, oldest first, at most `limit`.
    pub async fn states_after(
        &self,
        after: &(i64, String),
        before: i64,
        limit: usize,
    ) -> Result<Vec<StateChange>, RecommendError> {
        let rows = sqlx::query(
            "SELECT * FROM recommend_states WHERE tenant_id = $1 AND changed < $2
             AND (changed > $3 OR (changed = $3 AND machine_id || '/' || recommendation > $4))
             ORDER BY changed, machine_id || '/' || recommendation LIMIT $5",
        )
        .bind(self.tenant().as_str().to_owned())
        .bind(before)
        .bind(after.0)
        .bind(after.1.clone())
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(self.shared.db.pool())
        .await?;
        let stored = || RecommendError::Stored("state");
        let text = |row: &sqlx::any::AnyRow, column: &str| row.try_get::<String, _>(column);
        rows.iter()
            .map(|row| {
                Ok(StateChange {
                    key: text(row, "recommendation")?.parse().map_err(|_| stored())?,
                    machine: text(row, "machine_id")?,
                    state: text(row, "state")?.parse().map_err(|_| stored())?,
                    before: Some(text(row, "before")?).filter(|b| !b.is_empty()).and_then(|b| b.parse().ok()),
                    changed: row.try_get("changed")?,
                    told: serde_json::from_str(&text(row, "document")?).map_err(|_| stored())?,
                })
            })
            .collect()
    }
}
