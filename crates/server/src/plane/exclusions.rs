//! Exclusions: what keeps the sensor away from machines, for a reason and perhaps for a time.

use super::{Change, Plane, PlaneError};
use crate::db::{Sealer, columns};
use crate::shared::rfc3339;
use garrison_model::{Micros, ResourceId, Scope, Tags, TenantId, tags_match};
use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

/// Exclusions of a tenant: each is held against every machine.
const EXCLUSIONS_MAX: i64 = 1_000;
/// Characters of a reason.
const REASON_CHARS_MAX: usize = 1_024;

/// An exclusion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Exclusion {
    /// Id.
    pub id: String,
    /// Where it holds: a subscription, a resource group or a machine.
    pub scope: Scope,
    /// Only machines with this tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag_name: Option<String>,
    /// Only where the tag has this value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag_value: Option<String>,
    /// Why.
    pub reason: String,
    /// Who made it.
    pub created_by: String,
    /// When, RFC 3339.
    pub created_time: String,
    /// When it ends by itself, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_time: Option<String>,
}

/// A new exclusion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExclusionNew {
    /// Where it holds: resource id of a subscription, a resource group or a machine.
    pub scope: Scope,
    /// Only machines with this tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag_name: Option<String>,
    /// Only where the tag has this value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag_value: Option<String>,
    /// Why.
    pub reason: String,
    /// When it ends by itself, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_time: Option<String>,
}

impl Exclusion {
    /// Whether a machine is kept out by it.
    pub fn holds(&self, machine: &ResourceId, tags: &Tags) -> bool {
        self.scope.holds(machine)
            && self.tag_name.as_deref().is_none_or(|name| tags_match(tags, name, self.tag_value.as_deref()))
    }
}

fn read(seal: &Sealer, row: &AnyRow) -> Result<Exclusion, PlaneError> {
    Ok(Exclusion {
        id: row.try_get("id")?,
        scope: row.try_get::<String, _>("scope")?.parse().map_err(PlaneError::stored("exclusion"))?,
        tag_name: row.try_get("tag_name")?,
        tag_value: seal.get_maybe(row, columns::EXCLUSION_TAG)?,
        reason: seal.get(row, columns::EXCLUSION_REASON)?,
        created_by: seal.get(row, columns::EXCLUSION_AUTHOR)?,
        created_time: rfc3339(Micros(row.try_get("created")?)),
        expires_time: row.try_get::<Option<i64>, _>("expires")?.map(|at| rfc3339(Micros(at))),
    })
}

/// Those in force at a moment, or all.
pub(super) async fn load(
    connection: &mut AnyConnection,
    seal: &Sealer,
    tenant: &TenantId,
    at: Option<Micros>,
) -> Result<Vec<Exclusion>, PlaneError> {
    let rows = sqlx::query(
        "SELECT * FROM plane_exclusions WHERE tenant_id = $1 AND (expires IS NULL OR expires > $2) ORDER BY created, id",
    )
    .bind(tenant.as_str())
    .bind(at.map_or(i64::MIN, |at| at.0))
    .fetch_all(connection)
    .await?;
    rows.iter().map(|row| read(seal, row)).collect()
}

impl Plane {
    /// All exclusions of a tenant, ended ones too.
    pub async fn exclusions(&self, tenant: &TenantId) -> Result<Vec<Exclusion>, PlaneError> {
        let mut connection = self.db.pool().acquire().await?;
        load(&mut connection, &self.db.seal(tenant), tenant, None).await
    }
}

impl Change<'_> {
    /// Makes an exclusion in a subscription of the tenant.
    pub async fn exclusion_create(&mut self, new: &ExclusionNew) -> Result<Exclusion, PlaneError> {
        self.subscription_known(new.scope.subscription()).await?;
        if let Scope::Machine(id) = &new.scope {
            self.machine_by_resource(id).await?.ok_or(PlaneError::Unknown("machine"))?;
        }
        let reason = new.reason.trim().to_owned();
        if reason.is_empty() || reason.chars().count() > REASON_CHARS_MAX {
            return Err(PlaneError::Value(format!("an exclusion has a reason of 1 to {REASON_CHARS_MAX} characters")));
        }
        if new.tag_name.is_none() && new.tag_value.is_some() {
            return Err(PlaneError::Value("a tag's value goes with its name".to_owned()));
        }
        if let Some(name) = &new.tag_name {
            let tag = Tags::from([(name.clone(), new.tag_value.clone().unwrap_or_default())]);
            garrison_model::tags_check(&tag).map_err(PlaneError::Value)?;
        }
        let expires = match new.expires_time.as_deref().map(str::parse::<jiff::Timestamp>) {
            None => None,
            Some(Ok(at)) if at.as_microsecond() > self.now.0 => Some(at.as_microsecond()),
            Some(_) => {
                return Err(PlaneError::Value("the end of an exclusion is a time in the future (RFC 3339)".to_owned()));
            }
        };
        let seal = self.seal();
        if load(self.tx.conn(), &seal, self.tenant, None).await?.len() as i64 >= EXCLUSIONS_MAX {
            return Err(PlaneError::TooMany { what: "exclusions", max: EXCLUSIONS_MAX });
        }
        let id = format!("ex{}", &uuid::Uuid::new_v4().simple().to_string()[..16]);
        sqlx::query(
            "INSERT INTO plane_exclusions (tenant_id, id, scope, tag_name, tag_value, reason, created_by, created, \
             expires) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(self.tenant.as_str())
        .bind(id.clone())
        .bind(new.scope.to_string())
        .bind(new.tag_name.clone())
        .bind(seal.put_maybe(columns::EXCLUSION_TAG, new.tag_value.as_deref())?)
        .bind(seal.put(columns::EXCLUSION_REASON, &reason)?)
        .bind(seal.put(columns::EXCLUSION_AUTHOR, self.who)?)
        .bind(self.now.0)
        .bind(expires)
        .execute(self.tx.conn())
        .await?;
        self.audit(&format!("exclusion/{id}"), "created", None, Some(new.scope.to_string())).await?;
        Ok(Exclusion {
            id,
            scope: new.scope.clone(),
            tag_name: new.tag_name.clone(),
            tag_value: new.tag_value.clone(),
            reason,
            created_by: self.who.to_owned(),
            created_time: rfc3339(self.now),
            expires_time: expires.map(|at| rfc3339(Micros(at))),
        })
    }

    /// Removes an exclusion.
    pub async fn exclusion_delete(&mut self, id: &str) -> Result<(), PlaneError> {
        let gone = sqlx::query("DELETE FROM plane_exclusions WHERE tenant_id = $1 AND id = $2")
            .bind(self.tenant.as_str())
            .bind(id.to_owned())
            .execute(self.tx.conn())
            .await?
            .rows_affected();
        if gone == 0 {
            return Err(PlaneError::Unknown("exclusion"));
        }
        self.audit(&format!("exclusion/{id}"), "deleted", None, None).await
    }
}
