//! Suppression rules: alerts that are wanted to be quiet are still stored, but raise no incident.

use super::record::{alert_read, parse_time, time};
use super::take::hides;
use super::{CaseError, Incidents};
use crate::db::{Sealer, columns};
use crate::detection::suppression::scope_check;
use garrison_model::{Micros, Suppression, SuppressionId, SuppressionPreview, SuppressionScope};
use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use sqlx::any::AnyRow;

/// Alerts that a preview looks at: the newest of the time asked for.
const PREVIEW_ALERTS_MAX: i64 = 20_000;
/// Examples shown by a preview; the model documents it.
const EXAMPLES_MAX: usize = 20;
/// Days a preview may look back.
pub const PREVIEW_DAYS_MAX: i64 = 180;

/// What a user gives for a new suppression.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SuppressionNew {
    /// Name.
    pub name: String,
    /// Reason.
    #[serde(default)]
    pub reason: String,
    /// What it looks for.
    pub scope: SuppressionScope,
    /// When it ends by itself, RFC 3339.
    #[serde(default)]
    pub expires_time: Option<String>,
}

fn read(seal: &Sealer, row: &AnyRow) -> Result<Suppression, CaseError> {
    let id: String = row.try_get("id")?;
    let scope = seal.get(row, columns::SUPPRESSION_SCOPE)?;
    Ok(Suppression {
        name: seal.get(row, columns::SUPPRESSION_NAME)?,
        reason: seal.get(row, columns::SUPPRESSION_REASON)?,
        scope: serde_json::from_str(&scope)
            .map_err(|source| CaseError::Stored { what: format!("suppression {id}"), source })?,
        created_by: seal.get(row, columns::SUPPRESSION_AUTHOR)?,
        created_time: time(row.try_get("created")?),
        expires_time: row.try_get::<Option<i64>, _>("expires")?.map(time),
        hidden_count: row.try_get("hidden_count")?,
        id: SuppressionId::new(id).map_err(|e| sqlx::Error::Decode(e.into()))?,
    })
}

impl Incidents {
    /// All suppressions, also ended ones, newest first.
    pub async fn suppression_list(&self) -> Result<Vec<Suppression>, CaseError> {
        let rows = sqlx::query("SELECT * FROM incidents_suppression WHERE tenant_id = $1 ORDER BY created DESC, id")
            .bind(self.tenant().as_str())
            .fetch_all(self.shared.db.pool())
            .await?;
        let seal = self.seal();
        rows.iter().map(|row| read(&seal, row)).collect()
    }

    /// Those in force.
    pub(crate) async fn suppressions_active(&self, now: Micros) -> Result<Vec<Suppression>, CaseError> {
        let all = self.suppression_list().await?;
        Ok(all.into_iter().filter(|s| s.expires_time.as_deref().is_none_or(|t| parse_time(t) > now.0)).collect())
    }

    /// Makes one.
    pub async fn suppression_create(
        &self,
        new: &SuppressionNew,
        who: &str,
        now: Micros,
    ) -> Result<Suppression, CaseError> {
        scope_check(&new.scope)?;
        let name = new.name.trim().to_owned();
        if name.is_empty() || name.chars().count() > 128 {
            return Err(CaseError::Text { what: "a name", max: 128 });
        }
        if new.reason.chars().count() > 1_024 {
            return Err(CaseError::Text { what: "a reason", max: 1_024 });
        }
        let expires = match new.expires_time.as_deref() {
            Some(text) => match text.parse::<jiff::Timestamp>() {
                Ok(at) if at.as_microsecond() > now.0 => Some(at.as_microsecond()),
                _ => return Err(CaseError::Expiry),
            },
            None => None,
        };
        let id = format!("su{}", &uuid::Uuid::new_v4().simple().to_string()[..16]);
        let scope = serde_json::to_string(&new.scope)
            .map_err(|source| CaseError::Stored { what: format!("suppression {id}"), source })?;
        let seal = self.seal();
        let mut tx = self.shared.db.write().await?;
        sqlx::query(
            "INSERT INTO incidents_suppression (tenant_id, id, name, reason, scope, created_by, created, expires, \
             hidden_count) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0)",
        )
        .bind(self.tenant().as_str())
        .bind(id.clone())
        .bind(seal.put(columns::SUPPRESSION_NAME, &name)?)
        .bind(seal.put(columns::SUPPRESSION_REASON, &new.reason)?)
        .bind(seal.put(columns::SUPPRESSION_SCOPE, &scope)?)
        .bind(seal.put(columns::SUPPRESSION_AUTHOR, who)?)
        .bind(now.0)
        .bind(expires)
        .execute(tx.conn())
        .await?;
        let target = format!("suppression/{id}");
        self.audit(tx.conn(), &target, who, now, "created", None, Some(name.clone())).await?;
        tx.commit().await?;
        Ok(Suppression {
            name,
            reason: new.reason.clone(),
            scope: new.scope.clone(),
            created_by: who.to_owned(),
            created_time: time(now.0),
            expires_time: expires.map(time),
            hidden_count: 0,
            id: SuppressionId::new(id).map_err(|e| sqlx::Error::Decode(e.into()))?,
        })
    }

    /// Removes one; what it has hidden stays hidden.
    pub async fn suppression_delete(&self, id: &SuppressionId, who: &str, now: Micros) -> Result<(), CaseError> {
        let mut tx = self.shared.db.write().await?;
        let gone = sqlx::query("DELETE FROM incidents_suppression WHERE tenant_id = $1 AND id = $2")
            .bind(self.tenant().as_str())
            .bind(id.as_str())
            .execute(tx.conn())
            .await?
            .rows_affected();
        if gone == 0 {
            return Err(CaseError::SuppressionUnknown);
        }
        self.audit(tx.conn(), &format!("suppression/{id}"), who, now, "deleted", None, None).await?;
        Ok(tx.commit().await?)
    }

    /// What a scope would have hidden.
    pub async fn suppression_preview(
        &self,
        scope: &SuppressionScope,
        days: i64,
        now: Micros,
    ) -> Result<SuppressionPreview, CaseError> {
        scope_check(scope)?;
        let days = days.clamp(1, PREVIEW_DAYS_MAX);
        let since = now.0.saturating_sub(days * 24 * 3_600_000_000);
        let rows = sqlx::query(
            "SELECT * FROM incidents_alert WHERE tenant_id = $1 AND created >= $2 ORDER BY created DESC, id LIMIT $3",
        )
        .bind(self.tenant().as_str())
        .bind(since)
        .bind(PREVIEW_ALERTS_MAX)
        .fetch_all(self.shared.db.pool())
        .await?;
        let seal = self.seal();
        let (mut would_hide, mut examples) = (0, Vec::new());
        for row in &rows {
            let alert = alert_read(&seal, row)?;
            if hides(scope, &alert) {
                would_hide += 1;
                if examples.len() < EXAMPLES_MAX {
                    examples.push(alert.id);
                }
            }
        }
        Ok(SuppressionPreview { would_hide, days, looked_at: rows.len() as i64, examples })
    }
}
