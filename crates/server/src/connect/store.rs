//! The tables of this room.

use super::reconcile::Standing;
use super::remedies::{self, RemedyState};
use super::{Connect, ConnectError, EXTENSION, Entry};
use crate::db::{Sealer, columns};
use garrison_model::{ConnectorId, MachineId, Micros};
use garrison_wire::connect::remedy::Remedy;
use garrison_wire::connect::v1;
use serde::Serialize;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

/// Lines of history shown.
const HISTORY_MAX: i64 = 200;

/// A change of an extension's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryLine {
    /// When, RFC 3339.
    pub time: String,
    /// Extension.
    pub extension: String,
    /// State it went to; `Gone` when there is none any more, `Twin` when two shared the identity, `Remedied` and
    /// `RemedyFailed` of what was asked about its antimalware.
    pub state: String,
    /// Code; 0 for none.
    pub code: i64,
    /// What exactly.
    pub detail: String,
    /// Version that was there.
    pub version: String,
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn read(seal: &Sealer, row: &AnyRow) -> Result<(ConnectorId, Entry), ConnectError> {
    let text = |column: &str| row.try_get::<String, _>(column);
    let standing = seal.get_maybe(row, columns::STANDING)?;
    let standing = match standing {
        // A standing that cannot be read must not be taken for a machine that has nothing.
        Some(text) => serde_json::from_str(&text).map_err(|_| ConnectError::Stored("standing"))?,
        None => Standing::default(),
    };
    let revoked =
        (row.try_get::<i64, _>("revoked")? != 0).then(|| seal.get(row, columns::CONNECTOR_REVOKED)).transpose()?;
    let entry = Entry {
        machine: MachineId::new(&text("machine_id")?).map_err(|_| ConnectError::Stored("machine id"))?,
        place: None,
        binding: v1::Binding { machine_id: text("bound_machine_id")?, hardware: text("bound_hardware")? },
        runs: serde_json::from_str(&text("runs")?).unwrap_or_default(),
        facts: serde_json::from_str(&text("facts")?).unwrap_or_default(),
        standing,
        revision: row.try_get::<Option<i64>, _>("revision")?.unwrap_or(0),
        revoked,
        connector_version: String::new(),
        power: None,
        heard: None,
        beats: false,
        changed: false,
        at_rest: None,
        news: std::sync::Arc::default(),
    };
    Ok((ConnectorId::new(text("id")?).map_err(|_| ConnectError::Stored("connector id"))?, entry))
}

async fn history(
    connection: &mut AnyConnection,
    seal: &Sealer,
    tenant: &str,
    machine: &MachineId,
    at: Micros,
    state: &str,
    code: i64,
    detail: &str,
    version: &str,
) -> Result<(), ConnectError> {
    sqlx::query(
        "INSERT INTO connect_history (tenant_id, machine_id, at, extension, state, code, detail, version)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(tenant.to_owned())
    .bind(machine.as_str().to_owned())
    .bind(at.0)
    .bind(EXTENSION)
    .bind(state.to_owned())
    .bind(code)
    .bind(seal.put(columns::CONNECT_DETAIL, detail)?)
    .bind(version.to_owned())
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes a standing if nobody else did since `entry` was read, with a line of history where its state changed.
async fn save(
    connection: &mut AnyConnection,
    seal: &Sealer,
    tenant: &str,
    entry: &Entry,
    standing: &Standing,
    now: Micros,
) -> Result<bool, ConnectError> {
    let done = sqlx::query(
        "INSERT INTO connect_standings (tenant_id, machine_id, standing, revision) VALUES ($1, $2, $3, $4 + 1)
         ON CONFLICT (tenant_id, machine_id) DO UPDATE SET standing = excluded.standing, revision = excluded.revision
         WHERE connect_standings.revision = $4",
    )
    .bind(tenant.to_owned())
    .bind(entry.machine.as_str().to_owned())
    .bind(seal.put(columns::STANDING, &json(standing))?)
    .bind(entry.revision)
    .execute(&mut *connection)
    .await?
    .rows_affected();
    if done == 0 {
        return Ok(false);
    }
    let seen = |s: &Standing| s.extension.as_ref().map(|e| (e.state, e.code));
    if seen(&entry.standing) != seen(standing) {
        let (state, code, detail, version) = match &standing.extension {
            Some(e) => (e.state.as_str(), i64::from(e.code.number()), e.detail.as_str(), e.version.as_str()),
            None => ("Gone", 0, "", ""),
        };
        history(&mut *connection, seal, tenant, &entry.machine, now, state, code, detail, version).await?;
    }
    for asked in standing.remedies_ended(&entry.standing) {
        let done = asked.state == RemedyState::Done;
        let state = if done { "Remedied" } else { "RemedyFailed" };
        let what = Remedy::parse(&asked.deed).map_or("remedy", remedies::words);
        let detail = format!("{what}, asked for by {}: {}", asked.who, asked.detail);
        history(&mut *connection, seal, tenant, &entry.machine, now, state, 0, &detail, "").await?;
    }
    Ok(true)
}

impl Connect {
    fn tenant(&self) -> String {
        self.shared.tenant.as_str().to_owned()
    }

    /// What the tenant's columns are sealed with.
    pub(super) fn seal(&self) -> Sealer {
        self.shared.db.seal(&self.shared.tenant)
    }

    /// Connectors with the standings of their machines: all, or one.
    pub(super) async fn stored(&self, one: Option<&ConnectorId>) -> Result<Vec<(ConnectorId, Entry)>, ConnectError> {
        let rows = sqlx::query(
            "SELECT c.*, s.standing, s.revision FROM connect_connectors c LEFT JOIN connect_standings s
             ON s.tenant_id = c.tenant_id AND s.machine_id = c.machine_id
             WHERE c.tenant_id = $1 AND ($2 = '' OR c.id = $2)",
        )
        .bind(self.tenant())
        .bind(one.map(ToString::to_string).unwrap_or_default())
        .fetch_all(self.shared.db.pool())
        .await?;
        let seal = self.seal();
        rows.iter().map(|row| read(&seal, row)).collect()
    }

    pub(super) async fn standing_load(&self, machine: &MachineId) -> Result<Option<(Standing, i64)>, ConnectError> {
        let row =
            sqlx::query("SELECT standing, revision FROM connect_standings WHERE tenant_id = $1 AND machine_id = $2")
                .bind(self.tenant())
                .bind(machine.as_str().to_owned())
                .fetch_optional(self.shared.db.pool())
                .await?;
        let Some(row) = row else { return Ok(None) };
        let standing = serde_json::from_str(&self.seal().get(&row, columns::STANDING)?)
            .map_err(|_| ConnectError::Stored("standing"))?;
        Ok(Some((standing, row.try_get(1)?)))
    }

    pub(super) async fn standing_save(
        &self,
        entry: &Entry,
        standing: &Standing,
        now: Micros,
    ) -> Result<bool, ConnectError> {
        let mut tx = self.shared.db.write().await?;
        let saved = save(tx.conn(), &self.seal(), &self.tenant(), entry, standing, now).await?;
        tx.commit().await?;
        Ok(saved)
    }

    /// Many in one transaction; which of them were written.
    pub(super) async fn standings_save(
        &self,
        changed: &[(ConnectorId, Entry, Standing)],
        now: Micros,
    ) -> Result<Vec<bool>, ConnectError> {
        let mut tx = self.shared.db.write().await?;
        let mut saved = Vec::with_capacity(changed.len());
        for (_, entry, standing) in changed {
            saved.push(save(tx.conn(), &self.seal(), &self.tenant(), entry, standing, now).await?);
        }
        tx.commit().await?;
        Ok(saved)
    }

    /// Facts and runs of connectors.
    pub(super) async fn connectors_save(&self, changed: &[(ConnectorId, Entry)]) -> Result<(), ConnectError> {
        for chunk in changed.chunks(500) {
            let mut tx = self.shared.db.write().await?;
            for (id, entry) in chunk {
                sqlx::query("UPDATE connect_connectors SET runs = $3, facts = $4 WHERE tenant_id = $1 AND id = $2")
                    .bind(self.tenant())
                    .bind(id.as_str().to_owned())
                    .bind(json(&entry.runs))
                    .bind(json(&entry.facts))
                    .execute(tx.conn())
                    .await?;
            }
            tx.commit().await?;
        }
        Ok(())
    }

    /// A new connector of a machine; those that the machine had before are revoked. The machine's standing begins anew,
    /// but for what was off-boarded and the numbers of orders.
    pub(super) async fn connector_insert(
        &self,
        id: &ConnectorId,
        entry: &Entry,
        token: &str,
        now: Micros,
    ) -> Result<bool, ConnectError> {
        let mut tx = self.shared.db.write().await?;
        sqlx::query(
            "UPDATE connect_connectors SET revoked = 1, revoked_reason = $3
             WHERE tenant_id = $1 AND machine_id = $2 AND revoked = 0",
        )
        .bind(self.tenant())
        .bind(entry.machine.as_str().to_owned())
        .bind(self.seal().put(columns::CONNECTOR_REVOKED, "the machine was enrolled anew")?)
        .execute(tx.conn())
        .await?;
        sqlx::query(
            "INSERT INTO connect_connectors (tenant_id, id, machine_id, bound_machine_id, bound_hardware, token_id, runs,
                 facts, enrolled, revoked, revoked_reason)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, '')",
        )
        .bind(self.tenant())
        .bind(id.as_str().to_owned())
        .bind(entry.machine.as_str().to_owned())
        .bind(entry.binding.machine_id.clone())
        .bind(entry.binding.hardware.clone())
        .bind(token.to_owned())
        .bind(json(&entry.runs))
        .bind(json(&entry.facts))
        .bind(now.0)
        .execute(tx.conn())
        .await?;
        let saved = save(tx.conn(), &self.seal(), &self.tenant(), entry, &entry.standing, now).await?;
        tx.commit().await?;
        Ok(saved)
    }

    pub(super) async fn connector_revoke(&self, id: &ConnectorId, reason: &str) -> Result<(), ConnectError> {
        let mut tx = self.shared.db.write().await?;
        sqlx::query(
            "UPDATE connect_connectors SET revoked = 1, revoked_reason = $3
             WHERE tenant_id = $1 AND id = $2 AND revoked = 0",
        )
        .bind(self.tenant())
        .bind(id.as_str().to_owned())
        .bind(self.seal().put(columns::CONNECTOR_REVOKED, reason)?)
        .execute(tx.conn())
        .await?;
        tx.commit().await?;
        self.shared.db.sync().await?;
        if let Some(e) = self.entries().get_mut(id) {
            e.revoked = Some(reason.to_owned());
            e.news.notify_waiters();
        }
        Ok(())
    }

    /// A line of history that is no state.
    pub(super) async fn history_note(
        &self,
        machine: &MachineId,
        state: &str,
        detail: &str,
    ) -> Result<(), ConnectError> {
        let mut tx = self.shared.db.write().await?;
        history(tx.conn(), &self.seal(), &self.tenant(), machine, self.now(), state, 0, detail, "").await?;
        Ok(tx.commit().await?)
    }

    /// How machines of a tenant stand with their connectors, from a database that no server works on: whether a connector
    /// still holds, and whether the machine was off-boarded and is gone.
    pub async fn machines_at_rest(
        db: &crate::db::Db,
        tenant: &garrison_model::TenantId,
    ) -> Result<std::collections::HashMap<MachineId, (bool, bool)>, ConnectError> {
        let rows = sqlx::query(
            "SELECT c.machine_id, c.revoked, s.standing FROM connect_connectors c LEFT JOIN connect_standings s
             ON s.tenant_id = c.tenant_id AND s.machine_id = c.machine_id WHERE c.tenant_id = $1",
        )
        .bind(tenant.as_str())
        .fetch_all(db.pool())
        .await?;
        let seal = db.seal(tenant);
        let mut found = std::collections::HashMap::new();
        for row in &rows {
            let id: String = row.try_get(0)?;
            let id = MachineId::new(&id).map_err(|_| ConnectError::Stored("machine id"))?;
            let standing: Option<Standing> = seal
                .get_maybe(row, columns::STANDING)?
                .map(|text| serde_json::from_str(&text))
                .transpose()
                .map_err(|_| ConnectError::Stored("standing"))?;
            let (holds, gone): &mut (bool, bool) = found.entry(id).or_default();
            *holds |= row.try_get::<i64, _>(1)? == 0;
            *gone |= standing.is_some_and(|s| s.is_gone());
        }
        Ok(found)
    }

    /// What became of a machine's extension, newest first.
    pub async fn history(&self, machine: &MachineId) -> Result<Vec<HistoryLine>, ConnectError> {
        let rows = sqlx::query(
            "SELECT * FROM connect_history WHERE tenant_id = $1 AND machine_id = $2 ORDER BY id DESC LIMIT $3",
        )
        .bind(self.tenant())
        .bind(machine.as_str().to_owned())
        .bind(HISTORY_MAX)
        .fetch_all(self.shared.db.pool())
        .await?;
        let seal = self.seal();
        let line = |row: &AnyRow| -> Result<HistoryLine, ConnectError> {
            Ok(HistoryLine {
                time: crate::shared::rfc3339(Micros(row.try_get("at")?)),
                extension: row.try_get("extension")?,
                state: row.try_get("state")?,
                code: row.try_get("code")?,
                detail: seal.get(row, columns::CONNECT_DETAIL)?,
                version: row.try_get("version")?,
            })
        };
        rows.iter().map(line).collect()
    }

    pub(super) async fn sensor_token_note(&self, token: &str, machine: &MachineId) -> Result<(), ConnectError> {
        let mut tx = self.shared.db.write().await?;
        sqlx::query("INSERT INTO connect_sensor_tokens (tenant_id, token_id, machine_id, at) VALUES ($1, $2, $3, $4)")
            .bind(self.tenant())
            .bind(token.to_owned())
            .bind(machine.as_str().to_owned())
            .bind(self.now().0)
            .execute(tx.conn())
            .await?;
        Ok(tx.commit().await?)
    }

    pub(super) async fn sensor_token_machine(&self, token: &str) -> Result<Option<MachineId>, ConnectError> {
        let row = sqlx::query("SELECT machine_id FROM connect_sensor_tokens WHERE tenant_id = $1 AND token_id = $2")
            .bind(self.tenant())
            .bind(token.to_owned())
            .fetch_optional(self.shared.db.pool())
            .await?;
        let Some(row) = row else { return Ok(None) };
        let id: String = row.try_get(0)?;
        MachineId::new(&id).map(Some).map_err(|_| ConnectError::Stored("machine id"))
    }
}
