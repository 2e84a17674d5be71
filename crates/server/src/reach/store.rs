//! What the room keeps in the database.

use super::vault::{SecretKind, SecretRecord, Vault, name_check};
use super::{Reach, ReachError};
use crate::db::columns;
use crate::shared::rfc3339;
use garrison_model::Micros;
use sqlx::Row as _;

/// Secrets of a tenant.
const SECRETS_MAX: i64 = 100;

impl Reach {
    fn place(&self, kind: SecretKind, name: &str) -> String {
        format!("{}/{}/{name}", self.tenant(), kind.as_str())
    }

    /// All secrets, without what they are.
    pub async fn secret_list(&self) -> Result<Vec<SecretRecord>, ReachError> {
        let rows = sqlx::query("SELECT * FROM reach_secrets WHERE tenant_id = $1 ORDER BY name")
            .bind(self.tenant())
            .fetch_all(self.shared.db.pool())
            .await?;
        let seal = self.seal();
        let one = |row: &sqlx::any::AnyRow| -> Result<SecretRecord, ReachError> {
            let kind = row.try_get::<String, _>("kind")?;
            Ok(SecretRecord {
                name: row.try_get("name")?,
                kind: kind.parse().map_err(|_| ReachError::Unknown("kind of secret"))?,
                created_by: seal.get(row, columns::SECRET_AUTHOR)?,
                created_time: rfc3339(Micros(row.try_get("created")?)),
            })
        };
        rows.iter().map(one).collect()
    }

    /// Puts a secret in. One that is there is not replaced: what uses it would turn to another without a word.
    pub async fn secret_put(
        &self,
        name: &str,
        kind: SecretKind,
        text: &str,
        who: &str,
        now: Micros,
    ) -> Result<SecretRecord, ReachError> {
        name_check("secret", name)?;
        kind.check(text).map_err(|words| ReachError::Value(words.to_owned()))?;
        let there = self.secret_list().await?;
        if there.iter().any(|s| s.name == name) {
            return Err(ReachError::Exists(format!("there is a secret `{name}` already; remove it first")));
        }
        if there.len() as i64 >= SECRETS_MAX {
            return Err(ReachError::Value(format!("the vault holds at most {SECRETS_MAX} secrets")));
        }
        let sealed = Vault::open(&self.shared.data)?.seal(&self.place(kind, name), text)?;
        let mut tx = self.shared.db.write().await?;
        sqlx::query(
            "INSERT INTO reach_secrets (tenant_id, name, kind, sealed, created_by, created) \
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(self.tenant())
        .bind(name.to_owned())
        .bind(kind.as_str())
        .bind(sealed)
        .bind(self.seal().put(columns::SECRET_AUTHOR, who)?)
        .bind(now.0)
        .execute(tx.conn())
        .await?;
        tx.commit().await?;
        let created_time = rfc3339(now);
        Ok(SecretRecord { name: name.to_owned(), kind, created_by: who.to_owned(), created_time })
    }

    /// Removes a secret.
    pub async fn secret_delete(&self, name: &str) -> Result<(), ReachError> {
        self.remove("DELETE FROM reach_secrets WHERE tenant_id = $1 AND name = $2", name, "secret").await
    }

    pub(super) async fn remove(&self, sql: &'static str, name: &str, what: &'static str) -> Result<(), ReachError> {
        let mut tx = self.shared.db.write().await?;
        let gone = sqlx::query(sql).bind(self.tenant()).bind(name.to_owned()).execute(tx.conn()).await?.rows_affected();
        tx.commit().await?;
        if gone == 0 { Err(ReachError::Unknown(what)) } else { Ok(()) }
    }

    /// Opens a secret of a kind.
    pub(super) async fn secret_open(&self, name: &str, kind: SecretKind) -> Result<String, ReachError> {
        let row = sqlx::query("SELECT sealed FROM reach_secrets WHERE tenant_id = $1 AND name = $2 AND kind = $3")
            .bind(self.tenant())
            .bind(name.to_owned())
            .bind(kind.as_str())
            .fetch_optional(self.shared.db.pool())
            .await?;
        let sealed: String = row.ok_or(ReachError::Unknown("secret of this kind"))?.try_get(0)?;
        let text = Vault::open(&self.shared.data)?.unseal(&self.place(kind, name), &sealed);
        text.ok_or_else(|| ReachError::Sealed(name.to_owned()))
    }
}
