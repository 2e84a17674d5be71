//! What detection keeps in the database, and changes of rules.

use super::rules::{self, Loaded};
use super::{Detection, RuleError};
use crate::db::columns;
use crate::shared::Shared;
use garrison_model::{Rule, RuleDiagnostic, RuleId};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use sqlx::Row as _;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// What an import did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Imported {
    /// Rules that are new.
    pub added: usize,
    /// Rules that were there with another text.
    pub updated: usize,
    /// Rules that were there just so.
    pub unchanged: usize,
    /// Documents that cannot be used; their remarks say why.
    pub refused: usize,
    /// Every document of the import.
    pub rules: Vec<Rule>,
    /// Remarks on documents that are no rules at all.
    pub remarks: Vec<RuleDiagnostic>,
}

/// Compiles what the database and the program hold.
pub async fn load(shared: &Arc<Shared>) -> Result<Loaded, RuleError> {
    let imported = rules::imported(shared).await?;
    let off = rules::switched_off(shared).await?;
    tokio::task::spawn_blocking(move || rules::compile(&imported, None, off)).await.map_err(|_| RuleError::Task)
}

/// Packs and signs the bundle; the generation grows when the bundle is another one.
pub async fn content(shared: &Arc<Shared>, loaded: &Loaded) -> Result<garrison_wire::v1::Content, RuleError> {
    let bundle = loaded.bundle();
    let mut hash = Sha256::new();
    for rule in &bundle.rules {
        hash.update(rule.source.as_bytes());
        hash.update([0]);
    }
    let digest = hex::encode(&hash.finalize()[..8]);
    let mut tx = shared.db.write().await?;
    let row = sqlx::query("SELECT generation, digest FROM detection_content WHERE tenant_id = $1")
        .bind(shared.tenant.as_str())
        .fetch_optional(tx.conn())
        .await?;
    let (mut generation, known) = match row {
        Some(row) => (row.try_get::<i64, _>("generation")?, row.try_get::<String, _>("digest")?),
        None => (0, String::new()),
    };
    if known != digest {
        generation += 1;
        sqlx::query(
            "INSERT INTO detection_content (tenant_id, generation, digest) VALUES ($1, $2, $3) \
             ON CONFLICT (tenant_id) DO UPDATE SET generation = $2, digest = $3",
        )
        .bind(shared.tenant.as_str())
        .bind(generation)
        .bind(digest.clone())
        .execute(tx.conn())
        .await?;
    }
    tx.commit().await?;
    let version = format!("{generation}-{digest}");
    let generation = u64::try_from(generation).unwrap_or(0);
    Ok(garrison_wire::content::pack(&bundle, &version, generation, shared.identity.content_key())?)
}

/// The watermark, if one was ever written.
pub async fn watermark(shared: &Arc<Shared>) -> Result<Option<i64>, RuleError> {
    let row = sqlx::query("SELECT ingested FROM detection_watermark WHERE tenant_id = $1")
        .bind(shared.tenant.as_str())
        .fetch_optional(shared.db.pool())
        .await?;
    Ok(row.map(|row| row.try_get("ingested")).transpose()?)
}

/// Writes the watermark; it never goes back.
pub async fn watermark_set(shared: &Arc<Shared>, ingested: i64) -> Result<(), RuleError> {
    if watermark(shared).await?.is_some_and(|known| known >= ingested) {
        return Ok(());
    }
    let mut tx = shared.db.write().await?;
    sqlx::query(
        "INSERT INTO detection_watermark (tenant_id, ingested) VALUES ($1, $2) \
         ON CONFLICT (tenant_id) DO UPDATE SET ingested = $2",
    )
    .bind(shared.tenant.as_str())
    .bind(ingested)
    .execute(tx.conn())
    .await?;
    Ok(tx.commit().await?)
}

impl Detection {
    /// All rules with their alerts of the past 30 days.
    pub async fn rules(&self) -> Result<Vec<Rule>, RuleError> {
        let counts = self.alert_counts().await?;
        Ok(self.loaded().rules(&counts))
    }

    /// One rule, with its text.
    pub async fn rule(&self, id: &RuleId) -> Result<Rule, RuleError> {
        let loaded = self.loaded();
        let index = loaded.find(id).ok_or(RuleError::Unknown)?;
        let counts = self.alert_counts().await?;
        loaded.rule(index, counts.get(id.as_str()).copied().unwrap_or(0), true).ok_or(RuleError::Unknown)
    }

    async fn alert_counts(&self) -> Result<HashMap<String, i64>, RuleError> {
        const DAYS_30: i64 = 30 * 24 * 3_600_000_000;
        self.incidents.alert_count_by_rule(crate::now().0 - DAYS_30).await.map_err(|e| match e {
            crate::incidents::CaseError::Db(e) => RuleError::Db(e),
            _ => RuleError::Task,
        })
    }

    /// Compiles anew from the database and offers the result to the fleet.
    pub async fn reload(&self) -> Result<(), RuleError> {
        let loaded = load(&self.shared).await?;
        let content = content(&self.shared, &loaded).await?;
        self.exchange(loaded, content);
        Ok(())
    }

    /// Switches a rule on or off, everywhere.
    pub async fn rule_switch(&self, id: &RuleId, enabled: bool, who: &str) -> Result<Rule, RuleError> {
        let _turn = self.changing.lock().await;
        self.loaded().find(id).ok_or(RuleError::Unknown)?;
        let mut tx = self.shared.db.write().await?;
        sqlx::query(
            "INSERT INTO detection_switch (tenant_id, rule_id, enabled, changed_by, changed) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (tenant_id, rule_id) DO UPDATE SET enabled = $3, changed_by = $4, changed = $5",
        )
        .bind(self.shared.tenant.as_str())
        .bind(id.as_str())
        .bind(i64::from(enabled))
        .bind(self.shared.db.seal(&self.shared.tenant).put(columns::RULE_SWITCHER, who)?)
        .bind(crate::now().0)
        .execute(tx.conn())
        .await?;
        tx.commit().await?;
        self.reload().await?;
        self.rule(id).await
    }

    /// Takes rules in. Documents that cannot be used are refused with their reasons; the others go into use. With
    /// `dry_run` nothing changes.
    pub async fn rule_import(&self, text: &str, dry_run: bool, who: &str) -> Result<Imported, RuleError> {
        if text.len() > rules::IMPORT_BYTES_MAX {
            return Err(RuleError::TooLarge);
        }
        let _turn = self.changing.lock().await;
        let known = rules::imported(&self.shared).await?;
        let off = rules::switched_off(&self.shared).await?;
        let own = text.to_owned();
        let before = known.clone();
        let (documents, mut result) =
            tokio::task::spawn_blocking(move || judge(&before, &own, off)).await.map_err(|_| RuleError::Task)?;
        let texts: HashMap<&str, &str> = known.iter().map(|(id, text)| (id.as_str(), text.as_str())).collect();
        let mut fresh = Vec::new();
        for (id, source) in &documents {
            match texts.get(id.as_str()) {
                Some(old) if old == source => result.unchanged += 1,
                Some(_) => {
                    result.updated += 1;
                    fresh.push((id, source));
                }
                None => {
                    result.added += 1;
                    fresh.push((id, source));
                }
            }
        }
        if dry_run || fresh.is_empty() {
            return Ok(result);
        }
        let mut tx = self.shared.db.write().await?;
        let position: i64 =
            sqlx::query("SELECT COALESCE(MAX(position), 0) AS top FROM detection_rule WHERE tenant_id = $1")
                .bind(self.shared.tenant.as_str())
                .fetch_one(tx.conn())
                .await?
                .try_get("top")?;
        let seal = self.shared.db.seal(&self.shared.tenant);
        for (n, (id, source)) in fresh.into_iter().enumerate() {
            sqlx::query(
                "INSERT INTO detection_rule (tenant_id, id, source, imported_by, imported, position) \
                 VALUES ($1, $2, $3, $4, $5, $6) \
                 ON CONFLICT (tenant_id, id) DO UPDATE SET source = $3, imported_by = $4, imported = $5",
            )
            .bind(self.shared.tenant.as_str())
            .bind(id.clone())
            .bind(seal.put(columns::RULE_SOURCE, source)?)
            .bind(seal.put(columns::RULE_IMPORTER, who)?)
            .bind(crate::now().0)
            .bind(position + 1 + n as i64)
            .execute(tx.conn())
            .await?;
        }
        tx.commit().await?;
        self.reload().await?;
        Ok(result)
    }

    /// Removes an imported rule.
    pub async fn rule_delete(&self, id: &RuleId) -> Result<(), RuleError> {
        let _turn = self.changing.lock().await;
        let mut tx = self.shared.db.write().await?;
        let gone = sqlx::query("DELETE FROM detection_rule WHERE tenant_id = $1 AND id = $2")
            .bind(self.shared.tenant.as_str())
            .bind(id.as_str())
            .execute(tx.conn())
            .await?
            .rows_affected();
        if gone == 0 {
            return Err(match self.loaded().find(id) {
                Some(_) => RuleError::Shipped(id.to_string()),
                None => RuleError::Unknown,
            });
        }
        tx.commit().await?;
        self.reload().await
    }
}

/// Compiles an import among the other rules, and tells which documents can be kept.
fn judge(known: &[(String, String)], text: &str, off: HashSet<String>) -> (Vec<(String, String)>, Imported) {
    use garrison_sigma::{Options, RuleSet};
    let (alone, loose) = RuleSet::load([(rules::IMPORT, text)], &Options::default());
    let ids: HashSet<&str> = alone.rules().iter().map(|rule| rule.id.as_str()).collect();
    let others: Vec<(String, String)> = known.iter().filter(|(id, _)| !ids.contains(id.as_str())).cloned().collect();
    let loaded = rules::compile(&others, Some(text), off);
    let mut result = Imported { remarks: loose.iter().map(rules::diagnostic).collect(), ..Imported::default() };
    let mut documents = Vec::new();
    for (index, rule) in loaded.engine.rules().iter().filter(|(_, rule)| &*rule.source == rules::IMPORT) {
        let shown = loaded.rule(index, 0, false);
        // Kept as it is: a rule that no table holds today is refused too, with the reason.
        if loaded.engine.is_usable(index) && shown.is_some() {
            documents.push((rule.id.clone(), rule.text.to_string()));
        } else {
            result.refused += 1;
        }
        result.rules.extend(shown);
    }
    (documents, result)
}
