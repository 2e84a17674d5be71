//! API tokens and enrolment tokens.

use super::people::{Principal, token_id};
use super::secret::{equal_in_constant_time, hash_text, random_text};
use super::{Error, Identity};
use crate::db::columns;
use garrison_model::{Micros, Role, TenantId};
use garrison_wire::token::EnrolmentToken;
use sqlx::AnyConnection;
use sqlx::Row as _;

const HOUR: i64 = 3_600_000_000;
/// Tokens that may exist: lists stay short.
const TOKENS_MAX: i64 = 10_000;
/// Hours that an enrolment token holds unless told otherwise.
pub const TOKEN_EXPIRY_HOURS_DEFAULT: i64 = 24;
/// Machines that one enrolment token enrols unless told otherwise.
pub const TOKEN_USES_DEFAULT: i64 = 100;

/// An API token, without its secret.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiTokenRecord {
    /// Id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Role.
    pub role: Role,
    /// Since when, microseconds.
    pub created: Micros,
    /// Until when.
    pub expires: Option<Micros>,
}

/// An enrolment token, without its secret.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EnrolmentTokenRecord {
    /// Id.
    pub id: String,
    /// Name: what it is for.
    pub name: String,
    /// Since when, microseconds.
    pub created: Micros,
    /// Until when.
    pub expires: Micros,
    /// Machines it may enrol.
    pub uses_max: i64,
    /// Machines it enrolled.
    pub uses: i64,
    /// Whether it was revoked.
    pub revoked: bool,
}

/// An enrolment token is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefused {
    /// Unknown id or wrong secret.
    #[error("the enrolment token is not known here")]
    Unknown,
    /// Expired.
    #[error("the enrolment token has expired")]
    Expired,
    /// Used up.
    #[error("the enrolment token is used up")]
    UsedUp,
    /// Revoked.
    #[error("the enrolment token was revoked")]
    Revoked,
}

impl TokenRefused {
    /// Stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::Unknown => "token_unknown",
            Self::Expired => "token_expired",
            Self::UsedUp => "token_used_up",
            Self::Revoked => "token_revoked",
        }
    }
}

fn check_name(name: &str) -> Result<(), Error> {
    if name.is_empty() || name.len() > 120 || name.chars().any(char::is_control) {
        return Err(Error::Invalid("a token's name has 1 to 120 characters"));
    }
    Ok(())
}

impl Identity {
    /// A new API token; its text is in the answer and nowhere else. `expires_hours` of `None` never expires.
    pub async fn api_token_create(
        &self,
        name: &str,
        role: Role,
        expires_hours: Option<i64>,
        now: Micros,
    ) -> Result<(String, ApiTokenRecord), Error> {
        check_name(name)?;
        if expires_hours.is_some_and(|h| !(1..=87_600).contains(&h)) {
            return Err(Error::Invalid("a token expires in 1 to 87600 hours"));
        }
        let text = format!("gat_{}", random_text::<32>()?);
        let expires = expires_hours.map(|h| Micros(now.0 + h * HOUR));
        let record = ApiTokenRecord { id: token_id()?, name: name.to_owned(), role, created: now, expires };
        let mut tx = self.db.write().await?;
        sqlx::query(
            "INSERT INTO identity_api_tokens (id, name, role, hash, created, expires, of_tenant) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(record.id.clone())
        .bind(self.db.seal_own().put(columns::API_TOKEN_NAME, name)?)
        .bind(role.as_str())
        .bind(hash_text(&text))
        .bind(now.0)
        .bind(expires.map(|e| e.0))
        .bind(self.tenant.as_str())
        .execute(tx.conn())
        .await?;
        tx.commit().await?;
        Ok((text, record))
    }

    /// All API tokens, newest first.
    pub async fn api_token_list(&self) -> Result<Vec<ApiTokenRecord>, Error> {
        let rows = sqlx::query(
            "SELECT id, name, role, created, expires FROM identity_api_tokens WHERE of_tenant = $2 \
             ORDER BY created DESC LIMIT $1",
        )
        .bind(TOKENS_MAX)
        .bind(self.tenant.as_str())
        .fetch_all(self.db.pool())
        .await?;
        let seal = self.db.seal_own();
        rows.iter()
            .map(|row| {
                Ok(ApiTokenRecord {
                    id: row.try_get("id")?,
                    name: seal.get(row, columns::API_TOKEN_NAME)?,
                    role: row
                        .try_get::<String, _>("role")?
                        .parse()
                        .map_err(|_| Error::Invalid("a stored role is damaged"))?,
                    created: Micros(row.try_get("created")?),
                    expires: row.try_get::<Option<i64>, _>("expires")?.map(Micros),
                })
            })
            .collect()
    }

    /// Takes an API token back; false if there is none.
    pub async fn api_token_revoke(&self, id: &str) -> Result<bool, Error> {
        let mut tx = self.db.write().await?;
        let done = sqlx::query("DELETE FROM identity_api_tokens WHERE id = $1 AND of_tenant = $2")
            .bind(id.to_owned())
            .bind(self.tenant.as_str())
            .execute(tx.conn())
            .await?
            .rows_affected();
        tx.commit().await?;
        Ok(done > 0)
    }

    /// Who a bearer token stands for; `None` if it is unknown or expired.
    pub async fn token_check(&self, token: &str, now: Micros) -> Result<Option<Principal>, Error> {
        if !token.starts_with("gat_") || token.len() > 128 {
            return Ok(None);
        }
        if self.is_local_token(token) {
            let name = "local administrator".to_owned();
            return Ok(Some(Principal { user: None, token: None, name, role: Role::Admin, password_set: false }));
        }
        let row =
            sqlx::query("SELECT id, name, role, expires FROM identity_api_tokens WHERE hash = $1 AND of_tenant = $2")
                .bind(hash_text(token))
                .bind(self.tenant.as_str())
                .fetch_optional(self.db.pool())
                .await?;
        let Some(row) = row else { return Ok(None) };
        if row.try_get::<Option<i64>, _>("expires")?.is_some_and(|e| e <= now.0) {
            return Ok(None);
        }
        let role = row.try_get::<String, _>("role")?.parse().map_err(|_| Error::Invalid("a stored role is damaged"))?;
        Ok(Some(Principal {
            user: None,
            token: Some(row.try_get("id")?),
            name: self.db.seal_own().get(&row, columns::API_TOKEN_NAME)?,
            role,
            password_set: false,
        }))
    }

    /// A new enrolment token; its text is in the answer and nowhere else.
    pub async fn enrolment_token_create(
        &self,
        name: &str,
        expires_hours: i64,
        uses_max: i64,
        now: Micros,
    ) -> Result<(String, EnrolmentTokenRecord), Error> {
        check_name(name)?;
        if !(1..=87_600).contains(&expires_hours) {
            return Err(Error::Invalid("a token expires in 1 to 87600 hours"));
        }
        if !(1..=1_000_000).contains(&uses_max) {
            return Err(Error::Invalid("a token enrols 1 to 1000000 machines"));
        }
        let token = EnrolmentToken::generate(self.ca_fingerprint()).map_err(|_| Error::Random)?;
        let record = EnrolmentTokenRecord {
            id: token.id_text(),
            name: name.to_owned(),
            created: now,
            expires: Micros(now.0 + expires_hours * HOUR),
            uses_max,
            uses: 0,
            revoked: false,
        };
        let mut tx = self.control.write().await?;
        sqlx::query(
            "INSERT INTO identity_enrolment_tokens (id, name, hash, created, expires, uses_max, uses, revoked, of_tenant)
             VALUES ($1, $2, $3, $4, $5, $6, 0, 0, $7)",
        )
        .bind(record.id.clone())
        .bind(self.control.seal_own().put(columns::ENROLMENT_TOKEN_NAME, name)?)
        .bind(token.secret_hash())
        .bind(now.0)
        .bind(record.expires.0)
        .bind(uses_max)
        .bind(self.tenant.as_str())
        .execute(tx.conn())
        .await?;
        tx.commit().await?;
        Ok((token.to_string(), record))
    }

    /// All enrolment tokens, newest first.
    pub async fn enrolment_token_list(&self) -> Result<Vec<EnrolmentTokenRecord>, Error> {
        let rows = sqlx::query(
            "SELECT id, name, created, expires, uses_max, uses, revoked FROM identity_enrolment_tokens
             WHERE of_tenant = $2 ORDER BY created DESC LIMIT $1",
        )
        .bind(TOKENS_MAX)
        .bind(self.tenant.as_str())
        .fetch_all(self.control.pool())
        .await?;
        let seal = self.control.seal_own();
        rows.iter()
            .map(|row| {
                Ok(EnrolmentTokenRecord {
                    id: row.try_get("id")?,
                    name: seal.get(row, columns::ENROLMENT_TOKEN_NAME)?,
                    created: Micros(row.try_get("created")?),
                    expires: Micros(row.try_get("expires")?),
                    uses_max: row.try_get("uses_max")?,
                    uses: row.try_get("uses")?,
                    revoked: row.try_get::<i64, _>("revoked")? != 0,
                })
            })
            .collect()
    }

    /// Takes an enrolment token back; false if there is none. Devices that it enrolled stay.
    pub async fn enrolment_token_revoke(&self, id: &str) -> Result<bool, Error> {
        let mut tx = self.control.write().await?;
        let done = sqlx::query("UPDATE identity_enrolment_tokens SET revoked = 1 WHERE id = $1 AND of_tenant = $2")
            .bind(id.to_owned())
            .bind(self.tenant.as_str())
            .execute(tx.conn())
            .await?
            .rows_affected();
        tx.commit().await?;
        Ok(done > 0)
    }
}

/// The tenant whose machines a token lets in, a sensor's or a connector's; none for one that is not known.
pub(crate) async fn token_place(db: &crate::db::Db, token: &EnrolmentToken) -> Result<Option<TenantId>, Error> {
    let row = sqlx::query(
        "SELECT of_tenant FROM identity_enrolment_tokens WHERE id = $1 UNION SELECT tenant_id FROM connect_tokens \
         WHERE id = $1 LIMIT 1",
    )
    .bind(token.id_text())
    .fetch_optional(db.pool())
    .await?;
    let damaged = |_| Error::Invalid("a stored tenant is damaged");
    row.map(|row| TenantId::new(row.try_get::<String, _>(0)?).map_err(damaged)).transpose()
}

/// Uses an enrolment token once, in the transaction that enrols.
pub(crate) async fn enrolment_token_take(
    connection: &mut AnyConnection,
    tenant: &TenantId,
    token: &EnrolmentToken,
    now: Micros,
) -> Result<Result<(), TokenRefused>, Error> {
    let row = sqlx::query(
        "UPDATE identity_enrolment_tokens SET uses = uses + 1 WHERE id = $1 AND of_tenant = $2
         RETURNING hash, expires, uses_max, uses, revoked",
    )
    .bind(token.id_text())
    .bind(tenant.as_str())
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(Err(TokenRefused::Unknown)) };
    let hash: String = row.try_get("hash")?;
    // The caller rolls back on a refusal, so that a wrong secret uses nothing up.
    Ok(if !equal_in_constant_time(hash.as_bytes(), token.secret_hash().as_bytes()) {
        Err(TokenRefused::Unknown)
    } else if row.try_get::<i64, _>("revoked")? != 0 {
        Err(TokenRefused::Revoked)
    } else if row.try_get::<i64, _>("expires")? <= now.0 {
        Err(TokenRefused::Expired)
    } else if row.try_get::<i64, _>("uses")? > row.try_get::<i64, _>("uses_max")? {
        Err(TokenRefused::UsedUp)
    } else {
        Ok(())
    })
}
