//! Tokens that connect machines: scoped, expiring, counted, revocable. Only hashes of their secrets are stored.

use super::{Connect, ConnectError};
use crate::db::columns;
use crate::identity::{TokenRefused, equal_in_constant_time};
use crate::plane::PlaneError;
use garrison_model::{GroupName, Micros, SubscriptionId};
use garrison_wire::connect::token::ConnectorToken;
use garrison_wire::token::EnrolmentToken;
use serde::Serialize;
use sqlx::{AnyConnection, Row as _};

const HOUR: i64 = 3_600_000_000;
/// Tokens shown; the newest.
const TOKENS_MAX: i64 = 10_000;

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConnectorTokenRecord {
    /// Id.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// Subscription that machines go to; empty where they choose.
    pub subscription: String,
    /// Resource group that they go to; empty where they choose.
    pub resource_group: String,
    /// When it was made, RFC 3339.
    pub created_time: String,
    /// Until when, RFC 3339.
    pub expires_time: String,
    /// Machines it may connect.
    pub uses_max: i64,
    /// Machines it has connected.
    pub uses: i64,
    /// Whether it was taken back.
    pub revoked: bool,
}

/// What a token is to be.
#[derive(Debug, Clone, Default)]
pub struct ConnectorTokenNew {
    /// What it is for.
    pub name: String,
    /// Hours it holds.
    pub expires_hours: i64,
    /// Machines it connects.
    pub uses: i64,
    /// Only into this subscription.
    pub subscription: Option<SubscriptionId>,
    /// Only into this resource group.
    pub resource_group: Option<GroupName>,
}

/// Where a token lets machines in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scope {
    pub(super) id: String,
    pub(super) subscription: String,
    pub(super) group: String,
}

impl Connect {
    /// A new token; its text is in the answer and nowhere else.
    pub async fn token_create(
        &self,
        new: &ConnectorTokenNew,
        now: Micros,
    ) -> Result<(String, ConnectorTokenRecord), ConnectError> {
        let refuse = |words: &str| Err(ConnectError::Value(words.to_owned()));
        if new.name.is_empty() || new.name.len() > 120 || new.name.chars().any(char::is_control) {
            return refuse("a token's name has 1 to 120 characters");
        }
        if !(1..=87_600).contains(&new.expires_hours) {
            return refuse("a token expires in 1 to 87600 hours");
        }
        if !(1..=1_000_000).contains(&new.uses) {
            return refuse("a token connects 1 to 1000000 machines");
        }
        if let Some(id) = &new.subscription {
            match self.shared.plane.subscription(&self.shared.tenant, id, now).await {
                Ok(_) => {}
                // The machine would be refused, and nobody looks there for why.
                Err(PlaneError::Unknown(_)) => {
                    return Err(ConnectError::Value(format!("there is no subscription with the id `{id}`")));
                }
                Err(error) => return Err(error.into()),
            }
        }
        let ca = self.shared.identity.ca_fingerprint();
        let token = EnrolmentToken::generate(ca).map_err(|_| ConnectError::Random)?;
        let text = |value: Option<String>| value.unwrap_or_default();
        let record = ConnectorTokenRecord {
            id: token.id_text(),
            name: new.name.clone(),
            subscription: text(new.subscription.as_ref().map(ToString::to_string)),
            resource_group: text(new.resource_group.as_ref().map(ToString::to_string)),
            created_time: crate::shared::rfc3339(now),
            expires_time: crate::shared::rfc3339(Micros(now.0 + new.expires_hours * HOUR)),
            uses_max: new.uses,
            uses: 0,
            revoked: false,
        };
        let mut tx = self.shared.db.write().await?;
        sqlx::query(
            "INSERT INTO connect_tokens (tenant_id, id, name, hash, subscription_id, group_name, created, expires, \
             uses_max, uses, revoked) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, 0)",
        )
        .bind(self.shared.tenant.as_str().to_owned())
        .bind(record.id.clone())
        .bind(self.seal().put(columns::CONNECTOR_TOKEN_NAME, &record.name)?)
        .bind(token.secret_hash())
        .bind(record.subscription.clone())
        .bind(record.resource_group.clone())
        .bind(now.0)
        .bind(now.0 + new.expires_hours * HOUR)
        .bind(new.uses)
        .execute(tx.conn())
        .await?;
        tx.commit().await?;
        Ok((ConnectorToken(token).to_string(), record))
    }

    /// All tokens, newest first.
    pub async fn token_list(&self) -> Result<Vec<ConnectorTokenRecord>, ConnectError> {
        let rows = sqlx::query("SELECT * FROM connect_tokens WHERE tenant_id = $1 ORDER BY created DESC LIMIT $2")
            .bind(self.shared.tenant.as_str().to_owned())
            .bind(TOKENS_MAX)
            .fetch_all(self.shared.db.pool())
            .await?;
        let seal = self.seal();
        let read = |row: &sqlx::any::AnyRow| -> Result<ConnectorTokenRecord, ConnectError> {
            Ok(ConnectorTokenRecord {
                id: row.try_get("id")?,
                name: seal.get(row, columns::CONNECTOR_TOKEN_NAME)?,
                subscription: row.try_get("subscription_id")?,
                resource_group: row.try_get("group_name")?,
                created_time: crate::shared::rfc3339(Micros(row.try_get("created")?)),
                expires_time: crate::shared::rfc3339(Micros(row.try_get("expires")?)),
                uses_max: row.try_get("uses_max")?,
                uses: row.try_get("uses")?,
                revoked: row.try_get::<i64, _>("revoked")? != 0,
            })
        };
        rows.iter().map(read).collect()
    }

    /// Takes a token back; false if there is none. Machines that it connected stay.
    pub async fn token_revoke(&self, id: &str) -> Result<bool, ConnectError> {
        let mut tx = self.shared.db.write().await?;
        let done = sqlx::query("UPDATE connect_tokens SET revoked = 1 WHERE tenant_id = $1 AND id = $2")
            .bind(self.shared.tenant.as_str().to_owned())
            .bind(id.to_owned())
            .execute(tx.conn())
            .await?
            .rows_affected();
        tx.commit().await?;
        Ok(done > 0)
    }
}

/// Uses a token once; the caller rolls back on a refusal, so that a wrong secret uses nothing up.
pub(super) async fn take(
    connection: &mut AnyConnection,
    tenant: &str,
    token: &EnrolmentToken,
    now: Micros,
) -> Result<Scope, ConnectError> {
    let row = sqlx::query(
        "UPDATE connect_tokens SET uses = uses + 1 WHERE tenant_id = $1 AND id = $2
         RETURNING hash, expires, uses_max, uses, revoked, subscription_id, group_name",
    )
    .bind(tenant.to_owned())
    .bind(token.id_text())
    .fetch_optional(connection)
    .await?;
    let row = row.ok_or(TokenRefused::Unknown)?;
    let hash: String = row.try_get("hash")?;
    if !equal_in_constant_time(hash.as_bytes(), token.secret_hash().as_bytes()) {
        return Err(TokenRefused::Unknown.into());
    }
    if row.try_get::<i64, _>("revoked")? != 0 {
        return Err(TokenRefused::Revoked.into());
    }
    if row.try_get::<i64, _>("expires")? <= now.0 {
        return Err(TokenRefused::Expired.into());
    }
    if row.try_get::<i64, _>("uses")? > row.try_get::<i64, _>("uses_max")? {
        return Err(TokenRefused::UsedUp.into());
    }
    Ok(Scope { id: token.id_text(), subscription: row.try_get("subscription_id")?, group: row.try_get("group_name")? })
}
