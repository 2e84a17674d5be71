//! Keys that hosts have shown: kept as lines of OpenSSH's known_hosts (sshd(8)), one host an entry.

use super::{Reach, ReachError};
use crate::db::columns;
use crate::shared::rfc3339;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use garrison_model::Micros;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use sqlx::Row as _;

/// Bytes of a host's lines.
const LINES_BYTES_MAX: usize = 32 << 10;
/// Hosts listed.
const LIST_MAX: i64 = 10_000;

/// A host whose key is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostKey {
    /// Name or address, `[…]:port` where the port is not 22.
    pub address: String,
    /// Its keys as known_hosts has them; they are public.
    pub keys: Vec<String>,
    /// Their fingerprints as OpenSSH writes them, `SHA256:…`, each with its kind.
    pub fingerprints: Vec<String>,
    /// Who accepted them.
    pub accepted_by: String,
    /// When, RFC 3339.
    pub accepted_time: String,
}

/// The fingerprint of a line of known_hosts, as `ssh-keygen -l` writes it; none of what is no key.
fn fingerprint(line: &str) -> Option<String> {
    let mut words = line.split_whitespace().filter(|word| !word.starts_with('@'));
    let (_, kind, key) = (words.next()?, words.next()?, words.next()?);
    let bytes = STANDARD.decode(key).ok()?;
    Some(format!("SHA256:{} ({kind})", STANDARD_NO_PAD.encode(Sha256::digest(bytes))))
}

impl Reach {
    /// All hosts whose keys are known.
    pub async fn host_list(&self) -> Result<Vec<HostKey>, ReachError> {
        let rows = sqlx::query("SELECT * FROM reach_hosts WHERE tenant_id = $1 ORDER BY address LIMIT $2")
            .bind(self.tenant())
            .bind(LIST_MAX)
            .fetch_all(self.shared.db.pool())
            .await?;
        let seal = self.seal();
        let one = |row: &sqlx::any::AnyRow| -> Result<HostKey, ReachError> {
            let lines: String = row.try_get("lines")?;
            Ok(HostKey {
                address: row.try_get("address")?,
                keys: lines.lines().map(str::to_owned).collect(),
                fingerprints: lines.lines().filter_map(fingerprint).collect(),
                accepted_by: seal.get(row, columns::HOST_ACCEPTER)?,
                accepted_time: rfc3339(Micros(row.try_get("accepted")?)),
            })
        };
        rows.iter().map(one).collect()
    }

    /// Forgets a host's keys: the next ones must be accepted anew.
    pub async fn host_forget(&self, address: &str) -> Result<(), ReachError> {
        self.remove("DELETE FROM reach_hosts WHERE tenant_id = $1 AND address = $2", address, "known host").await
    }

    /// Lines of a host; empty where it is not known.
    pub(super) async fn host_lines(&self, address: &str) -> Result<String, ReachError> {
        let row = sqlx::query("SELECT lines FROM reach_hosts WHERE tenant_id = $1 AND address = $2")
            .bind(self.tenant())
            .bind(address.to_owned())
            .fetch_optional(self.shared.db.pool())
            .await?;
        Ok(row.map(|r| r.try_get(0)).transpose()?.unwrap_or_default())
    }

    /// Keeps what a host has shown first. What is known already stays: only forgetting makes room for another key.
    pub(super) async fn host_accept(
        &self,
        address: &str,
        lines: &str,
        who: &str,
        now: Micros,
    ) -> Result<(), ReachError> {
        if lines.trim().is_empty() || lines.len() > LINES_BYTES_MAX {
            return Ok(());
        }
        let mut tx = self.shared.db.write().await?;
        sqlx::query(
            "INSERT INTO reach_hosts (tenant_id, address, lines, accepted_by, accepted) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (tenant_id, address) DO NOTHING",
        )
        .bind(self.tenant())
        .bind(address.to_owned())
        .bind(lines.to_owned())
        .bind(self.seal().put(columns::HOST_ACCEPTER, who)?)
        .bind(now.0)
        .execute(tx.conn())
        .await?;
        Ok(tx.commit().await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_what_ssh_keygen_says() {
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDx7Bxqkvx5ot60PvhAnXH1UwaeTzyndnucfas4hNvCM";
        let told = "SHA256:QxUaLUe3nIOfNvfggrkk6qJExI9ocb2qIU/WkHNadC8 (ssh-ed25519)";
        assert_eq!(fingerprint(&format!("[127.0.0.1]:2222 {key}")).as_deref(), Some(told));
        assert_eq!(fingerprint(&format!("web1 {key} a comment")).as_deref(), Some(told));
        for none in ["", "web1 ssh-ed25519", "web1 ssh-ed25519 ???"] {
            assert_eq!(fingerprint(none), None, "{none}");
        }
    }
}
