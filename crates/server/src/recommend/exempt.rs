//! Exemptions: what was decided not to be done, by whom, why, and for how long.

use super::judge::{Key, spelled};
use super::{Recommend, RecommendError};
use crate::access::Sees;
use crate::db::{Sealer, columns};
use crate::plane::MachineFilter;
use crate::shared::rfc3339;
use garrison_model::{Micros, ResourceId, Scope, TenantId};
use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

/// Exemptions of one subscription (behaviour: 5,000 resources).
const EXEMPTIONS_MAX: i64 = 5_000;
/// Characters of a reason.
const REASON_CHARS_MAX: usize = 1_024;

spelled!(
    /// Why a machine need not satisfy a recommendation.
    Category {
        /// The risk is accepted.
        Waiver = "Waiver",
        /// It is dealt with in another way.
        Mitigated = "Mitigated",
    }
);

/// An exemption.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Exemption {
    /// Id.
    pub id: String,
    /// From which recommendation.
    pub key: Key,
    /// Where it holds: a subscription, a resource group or a machine.
    pub scope: Scope,
    /// Category.
    pub category: Category,
    /// Why.
    pub reason: String,
    /// Who made it.
    pub created_by: String,
    /// When, RFC 3339.
    pub created_time: String,
    /// When it ends by itself, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
}

/// A new exemption.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExemptionNew {
    /// Resource id of a subscription, a resource group or a machine.
    pub scope: Scope,
    /// Category.
    pub category: Category,
    /// When it ends by itself, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// Why.
    pub reason: String,
}

fn read(seal: &Sealer, row: &AnyRow) -> Result<Exemption, RecommendError> {
    let stored = |_| RecommendError::Stored("exemption");
    Ok(Exemption {
        id: row.try_get("id")?,
        key: row.try_get::<String, _>("recommendation")?.parse().map_err(stored)?,
        scope: row.try_get::<String, _>("scope")?.parse().map_err(|_| RecommendError::Stored("exemption"))?,
        category: row.try_get::<String, _>("category")?.parse().map_err(stored)?,
        reason: seal.get(row, columns::EXEMPTION_REASON)?,
        created_by: seal.get(row, columns::EXEMPTION_AUTHOR)?,
        created_time: rfc3339(Micros(row.try_get("created")?)),
        expires: row.try_get::<Option<i64>, _>("expires")?.map(|at| rfc3339(Micros(at))),
    })
}

impl Recommend {
    /// Those in force at a moment, or all.
    pub(super) async fn exemptions_at(&self, at: Option<Micros>) -> Result<Vec<Exemption>, RecommendError> {
        let rows = sqlx::query(
            "SELECT * FROM recommend_exemptions WHERE tenant_id = $1 AND (expires IS NULL OR expires > $2) \
             ORDER BY created, id",
        )
        .bind(self.tenant().as_str().to_owned())
        .bind(at.map_or(i64::MIN, |at| at.0))
        .fetch_all(self.shared.db.pool())
        .await?;
        let seal = self.shared.db.seal(self.tenant());
        rows.iter().map(|row| read(&seal, row)).collect()
    }

    /// Exemptions from a recommendation that the caller may see, ended ones too.
    pub async fn exemptions(&self, key: Key, sees: &Sees) -> Result<Vec<Exemption>, RecommendError> {
        let mut all = self.exemptions_at(None).await?;
        all.retain(|e| e.key == key && sees.subscription(e.scope.subscription()));
        Ok(all)
    }

    /// Makes an exemption in a subscription that the caller may see.
    pub async fn exemption_create(
        &self,
        key: Key,
        new: &ExemptionNew,
        sees: &Sees,
        who: &str,
        now: Micros,
    ) -> Result<Exemption, RecommendError> {
        let subscription = new.scope.subscription();
        if !sees.subscription(subscription) {
            return Err(RecommendError::Unknown("subscription"));
        }
        let plane = &self.shared.plane;
        plane.subscription(self.tenant(), subscription, now).await?;
        if let Scope::Machine(id) = &new.scope {
            let only = MachineFilter { resource: Some(id.clone()), ..MachineFilter::default() };
            if plane.machines(self.tenant(), &only, None, 1, now).await?.is_empty() {
                return Err(RecommendError::Unknown("machine"));
            }
        }
        let reason = new.reason.trim().to_owned();
        if reason.is_empty() || reason.chars().count() > REASON_CHARS_MAX || reason.chars().any(char::is_control) {
            return Err(RecommendError::Value(format!(
                "an exemption has a reason of 1 to {REASON_CHARS_MAX} characters on one line"
            )));
        }
        let expires = match new.expires.as_deref().map(str::parse::<jiff::Timestamp>) {
            None => None,
            Some(Ok(at)) if at.as_microsecond() > now.0 => Some(at.as_microsecond()),
            Some(_) => {
                let words = "the end of an exemption is a time in the future (RFC 3339)";
                return Err(RecommendError::Value(words.to_owned()));
            }
        };
        let mut tx = self.shared.db.write().await?;
        let row =
            sqlx::query("SELECT COUNT(*) AS n FROM recommend_exemptions WHERE tenant_id = $1 AND subscription_id = $2")
                .bind(self.tenant().as_str().to_owned())
                .bind(subscription.as_str().to_owned())
                .fetch_one(tx.conn())
                .await?;
        if row.try_get::<i64, _>("n")? >= EXEMPTIONS_MAX {
            let words = format!("a subscription has at most {EXEMPTIONS_MAX} exemptions; remove ended ones");
            return Err(RecommendError::Value(words));
        }
        let seal = self.shared.db.seal(self.tenant());
        let id = format!("em{}", &uuid::Uuid::new_v4().simple().to_string()[..16]);
        sqlx::query(
            "INSERT INTO recommend_exemptions (tenant_id, id, recommendation, subscription_id, scope, category, reason, \
             created_by, created, expires) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(self.tenant().as_str().to_owned())
        .bind(id.clone())
        .bind(key.as_str())
        .bind(subscription.as_str().to_owned())
        .bind(new.scope.to_string())
        .bind(new.category.as_str())
        .bind(seal.put(columns::EXEMPTION_REASON, &reason)?)
        .bind(seal.put(columns::EXEMPTION_AUTHOR, who)?)
        .bind(now.0)
        .bind(expires)
        .execute(tx.conn())
        .await?;
        tx.commit().await?;
        Ok(Exemption {
            id,
            key,
            scope: new.scope.clone(),
            category: new.category,
            reason,
            created_by: who.to_owned(),
            created_time: rfc3339(now),
            expires: expires.map(|at| rfc3339(Micros(at))),
        })
    }

    /// Ends an exemption at once.
    pub async fn exemption_delete(&self, key: Key, id: &str, sees: &Sees) -> Result<(), RecommendError> {
        let known = self.exemptions(key, sees).await?.into_iter().any(|e| e.id == id);
        if !known {
            return Err(RecommendError::Unknown("exemption"));
        }
        let mut tx = self.shared.db.write().await?;
        sqlx::query("DELETE FROM recommend_exemptions WHERE tenant_id = $1 AND id = $2")
            .bind(self.tenant().as_str().to_owned())
            .bind(id.to_owned())
            .execute(tx.conn())
            .await?;
        Ok(tx.commit().await?)
    }
}

/// In a change of the plane: an exemption of one machine goes with it to its new place, or ends with it.
pub async fn follow(
    connection: &mut AnyConnection,
    tenant: &TenantId,
    from: &ResourceId,
    to: Option<&ResourceId>,
) -> Result<(), sqlx::Error> {
    let scope = from.to_string().to_ascii_lowercase();
    match to {
        Some(to) => sqlx::query(
            "UPDATE recommend_exemptions SET scope = $3, subscription_id = $4 WHERE tenant_id = $1 AND lower(scope) = $2",
        )
        .bind(tenant.as_str().to_owned())
        .bind(scope)
        .bind(to.to_string())
        .bind(to.subscription.as_str().to_owned()),
        None => sqlx::query("DELETE FROM recommend_exemptions WHERE tenant_id = $1 AND lower(scope) = $2")
            .bind(tenant.as_str().to_owned())
            .bind(scope),
    }
    .execute(connection)
    .await
    .map(drop)
}
