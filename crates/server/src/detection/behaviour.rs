//! Rows that detection writes into the lake itself, so that hunting sees alerts beside telemetry: `AlertInfo`,
//! `AlertEvidence`, and `BehaviorInfo` for rules of level informational, which raise no alert.

use crate::incidents::AlertDraft;
use crate::shared::Shared;
use garrison_lake::{Batch, Identity};
use garrison_model::{AlertId, BootId, DeviceId, EntityType, Micros};
use garrison_telemetry::BatchHeader;
use serde_json::{Value, json};
use std::sync::{Mutex, PoisonError};

/// Behaviours waiting to be stored: written every second; a flood beyond this is counted in the log only.
const WAITING_MAX: usize = 1_000;
/// The product that these rows name.
const SERVICE: &str = "Garrison";

/// Writer of the server's own rows. The server counts as a device of its own with a new boot at each start.
#[derive(Debug)]
pub struct Behaviours {
    waiting: Mutex<Vec<Value>>,
    boot: BootId,
    sequence: tokio::sync::Mutex<u64>,
}

impl Default for Behaviours {
    fn default() -> Self {
        let boot = BootId::new(uuid::Uuid::new_v4().to_string()).expect("a UUID's text is a boot id");
        Self { waiting: Mutex::default(), boot, sequence: tokio::sync::Mutex::new(0) }
    }
}

fn server_device() -> DeviceId {
    DeviceId::new("0".repeat(40)).expect("40 hexadecimal digits")
}

impl Behaviours {
    /// Notes a behaviour.
    pub fn add(&self, draft: &AlertDraft) {
        let alert = &draft.alert;
        let row = json!({
            "Timestamp": alert.last_event_time,
            "BehaviorId": alert.id,
            "Title": alert.title,
            "Description": alert.description,
            "Categories": alert.category,
            "AttackTechniques": alert.mitre_techniques.join(", "),
            "ServiceSource": SERVICE,
            "DetectionSource": alert.detection_source.as_str(),
            "DataSources": alert.matches.first().map(|m| m.table.clone()),
            "DeviceId": alert.machine_id,
            "StartTime": alert.first_event_time,
            "EndTime": alert.last_event_time,
            "ActionType": alert.detector_id,
            "AdditionalFields": json!({
                "DeviceName": alert.computer_dns_name,
                "ProcessUniqueId": alert.process_unique_id,
                "AccountName": alert.related_user,
            }),
        });
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < WAITING_MAX {
            waiting.push(row);
        }
    }

    /// Stores what waits.
    pub async fn store(&self, shared: &Shared, now: Micros) -> anyhow::Result<()> {
        let rows = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        self.append(shared, "BehaviorInfo", &rows, now).await
    }

    /// Stores alerts and their evidence for hunting; of the drafts, only those that became alerts.
    pub async fn alerts_store(
        &self,
        shared: &Shared,
        drafts: &[AlertDraft],
        new: &[AlertId],
        now: Micros,
    ) -> anyhow::Result<()> {
        let (mut infos, mut evidence) = (Vec::new(), Vec::new());
        for alert in drafts.iter().map(|d| &d.alert).filter(|a| new.contains(&a.id)) {
            let techniques = alert.mitre_techniques.join(", ");
            infos.push(json!({
                "Timestamp": alert.last_event_time, "AlertId": alert.id, "Title": alert.title, "Category": alert.category,
                "Severity": alert.severity.as_str(), "ServiceSource": SERVICE,
                "DetectionSource": alert.detection_source.as_str(), "AttackTechniques": techniques,
            }));
            for e in &alert.evidence {
                let machine = e.entity_type == EntityType::Machine;
                evidence.push(json!({
                    "Timestamp": alert.last_event_time, "AlertId": alert.id, "Title": alert.title,
                    "Categories": alert.category, "AttackTechniques": techniques, "ServiceSource": SERVICE,
                    "DetectionSource": alert.detection_source.as_str(), "EntityType": e.entity_type.as_str(),
                    "EvidenceRole": e.role.as_str(), "FileName": if machine { None } else { e.file_name.clone() },
                    "FolderPath": e.file_path, "SHA1": e.sha1, "SHA256": e.sha256, "RemoteIP": e.ip_address,
                    "RemoteUrl": e.url, "AccountName": e.account_name, "AccountSid": e.user_sid,
                    "DeviceId": alert.machine_id, "DeviceName": alert.computer_dns_name,
                    "ProcessCommandLine": e.process_command_line, "Severity": alert.severity.as_str(),
                }));
            }
        }
        self.append(shared, "AlertInfo", &infos, now).await?;
        self.append(shared, "AlertEvidence", &evidence, now).await
    }

    async fn append(&self, shared: &Shared, table: &str, rows: &[Value], now: Micros) -> anyhow::Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let batch = garrison_telemetry::batch_from_json(table, rows)?;
        let mut sequence = self.sequence.lock().await;
        let header = BatchHeader {
            device: server_device(),
            boot: self.boot.clone(),
            table: table.to_owned(),
            sequence_first: *sequence,
            row_count: rows.len() as u32,
            created: now,
        };
        *sequence += rows.len() as u64;
        shared.lake.append(Batch { identity: Identity::InRows, ..Batch::new(header, now, batch) }).await?;
        Ok(())
    }
}
