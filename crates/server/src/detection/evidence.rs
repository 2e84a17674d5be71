//! Evidence entities out of a matched row: the process, its parent, files, addresses, names, the account, the machine.

use garrison_model::{EntityType, Evidence, EvidenceRole};
use serde_json::{Map, Value};

/// Entities in one alert; correlation alerts bring many rows, and a case page shows each entity.
pub const EVIDENCE_MAX: usize = 100;

type Row = Map<String, Value>;

fn text(row: &Row, column: &str) -> Option<String> {
    row.get(column).and_then(Value::as_str).filter(|t| !t.is_empty()).map(str::to_owned)
}

fn long(row: &Row, column: &str) -> Option<i64> {
    row.get(column).and_then(Value::as_i64)
}

fn entity(entity_type: EntityType, role: EvidenceRole, now: &str) -> Evidence {
    Evidence {
        entity_type,
        role,
        evidence_creation_time: now.to_owned(),
        sha1: None,
        sha256: None,
        file_name: None,
        file_path: None,
        process_id: None,
        process_unique_id: None,
        process_command_line: None,
        process_creation_time: None,
        parent_process_id: None,
        parent_process_file_name: None,
        ip_address: None,
        url: None,
        account_name: None,
        user_sid: None,
    }
}

/// Folder part of a full path.
pub fn folder(path: &str) -> Option<String> {
    let (folder, _) = path.rsplit_once('/').or_else(|| path.rsplit_once('\\'))?;
    Some(if folder.is_empty() { "/".to_owned() } else { folder.to_owned() })
}

/// Entities of one row. `device_name` names the machine.
pub fn of_row(table: &str, row: &Row, device_name: &str, now: &str) -> Vec<Evidence> {
    let mut all = Vec::new();
    let is_process = table == "DeviceProcessEvents";
    if is_process {
        all.push(Evidence {
            sha1: text(row, "SHA1"),
            sha256: text(row, "SHA256"),
            file_name: text(row, "FileName"),
            file_path: text(row, "FolderPath").as_deref().and_then(folder),
            process_id: long(row, "ProcessId"),
            process_unique_id: text(row, "ProcessUniqueId"),
            process_command_line: text(row, "ProcessCommandLine"),
            process_creation_time: text(row, "ProcessCreationTime").or_else(|| text(row, "Timestamp")),
            parent_process_id: long(row, "InitiatingProcessId"),
            parent_process_file_name: text(row, "InitiatingProcessFileName"),
            account_name: text(row, "AccountName"),
            user_sid: text(row, "AccountSid"),
            ..entity(EntityType::Process, EvidenceRole::Impacted, now)
        });
    }
    if text(row, "InitiatingProcessFileName").is_some() || text(row, "InitiatingProcessUniqueId").is_some() {
        let role = if is_process { EvidenceRole::Related } else { EvidenceRole::Impacted };
        all.push(Evidence {
            sha1: text(row, "InitiatingProcessSHA1"),
            sha256: text(row, "InitiatingProcessSHA256"),
            file_name: text(row, "InitiatingProcessFileName"),
            file_path: text(row, "InitiatingProcessFolderPath").as_deref().and_then(folder),
            process_id: long(row, "InitiatingProcessId"),
            process_unique_id: text(row, "InitiatingProcessUniqueId"),
            process_command_line: text(row, "InitiatingProcessCommandLine"),
            process_creation_time: text(row, "InitiatingProcessCreationTime"),
            parent_process_id: long(row, "InitiatingProcessParentId"),
            parent_process_file_name: text(row, "InitiatingProcessParentFileName"),
            account_name: text(row, "InitiatingProcessAccountName"),
            user_sid: text(row, "InitiatingProcessAccountSid"),
            ..entity(EntityType::Process, role, now)
        });
    }
    if let Some(name) = text(row, "FileName") {
        let role = if is_process { EvidenceRole::Related } else { EvidenceRole::Impacted };
        all.push(Evidence {
            sha1: text(row, "SHA1"),
            sha256: text(row, "SHA256"),
            file_name: Some(name),
            file_path: text(row, "FolderPath").as_deref().and_then(folder),
            ..entity(EntityType::File, role, now)
        });
    }
    if let Some(address) = text(row, "RemoteIP") {
        all.push(Evidence { ip_address: Some(address), ..entity(EntityType::Ip, EvidenceRole::Related, now) });
    }
    let asked = row.get("AdditionalFields").and_then(|f| f.get("DnsQuery")).and_then(Value::as_str).map(str::to_owned);
    if let Some(url) = text(row, "RemoteUrl").or(asked) {
        all.push(Evidence { url: Some(url), ..entity(EntityType::Url, EvidenceRole::Related, now) });
    }
    let account = text(row, "AccountName").map(|name| (name, text(row, "AccountSid"))).or_else(|| {
        text(row, "InitiatingProcessAccountName").map(|name| (name, text(row, "InitiatingProcessAccountSid")))
    });
    if let Some((name, sid)) = account {
        let role = if table == "DeviceLogonEvents" { EvidenceRole::Impacted } else { EvidenceRole::Related };
        all.push(Evidence { account_name: Some(name), user_sid: sid, ..entity(EntityType::User, role, now) });
    }
    // The machine's name stands in the alert; as an entity it lets other tools pivot.
    all.push(Evidence {
        account_name: None,
        url: None,
        file_name: Some(device_name.to_owned()),
        ..entity(EntityType::Machine, EvidenceRole::Impacted, now)
    });
    all
}

/// An entity that a column of a query's answer names; none for machines, which every alert has.
pub fn named(kind: EntityType, column: &str, value: &str, now: &str) -> Option<Evidence> {
    let mut made = entity(kind, EvidenceRole::Impacted, now);
    let value = value.to_owned();
    match kind {
        EntityType::Machine => return None,
        EntityType::User if column.ends_with("Sid") => made.user_sid = Some(value),
        EntityType::User => made.account_name = Some(value),
        EntityType::Process if column.ends_with("UniqueId") => made.process_unique_id = Some(value),
        EntityType::Process => made.process_id = value.parse().ok(),
        EntityType::File if column.ends_with("SHA1") => made.sha1 = Some(value),
        EntityType::File if column.ends_with("SHA256") => made.sha256 = Some(value),
        EntityType::File if column.ends_with("FolderPath") => {
            made.file_path = folder(&value);
            made.file_name = value.rsplit(['/', '\\']).next().map(str::to_owned);
        }
        EntityType::File => made.file_name = Some(value),
        EntityType::Ip => made.ip_address = Some(value),
        EntityType::Url => made.url = Some(value),
    }
    Some(made)
}

/// Whether an entity is the one that another, of which only one property is known, names.
pub fn holds(known: &Evidence, named: &Evidence) -> bool {
    let fits = |known: &Option<String>, named: &Option<String>| named.is_none() || known == named;
    known.entity_type == named.entity_type
        && fits(&known.user_sid, &named.user_sid)
        && fits(&known.account_name, &named.account_name)
        && fits(&known.process_unique_id, &named.process_unique_id)
        && (named.process_id.is_none() || known.process_id == named.process_id)
        && fits(&known.sha1, &named.sha1)
        && fits(&known.sha256, &named.sha256)
        && fits(&known.file_path, &named.file_path)
        && fits(&known.file_name, &named.file_name)
        && fits(&known.ip_address, &named.ip_address)
        && fits(&known.url, &named.url)
}

/// Adds entities that are not there yet, up to the bound; answers how many were added.
pub fn merge(into: &mut Vec<Evidence>, more: Vec<Evidence>) -> usize {
    let before = into.len();
    for evidence in more {
        if into.len() >= EVIDENCE_MAX {
            break;
        }
        if !into.iter().any(|known| same(known, &evidence)) {
            into.push(evidence);
        }
    }
    into.len() - before
}

fn same(a: &Evidence, b: &Evidence) -> bool {
    a.entity_type == b.entity_type
        && match a.entity_type {
            EntityType::Process if a.process_unique_id.is_some() => a.process_unique_id == b.process_unique_id,
            EntityType::Process => {
                a.process_id == b.process_id
                    && a.file_name == b.file_name
                    && a.process_command_line == b.process_command_line
            }
            EntityType::File => a.file_name == b.file_name && a.file_path == b.file_path && a.sha256 == b.sha256,
            EntityType::Ip => a.ip_address == b.ip_address,
            EntityType::Url => a.url == b.url,
            EntityType::User => a.account_name == b.account_name && a.user_sid == b.user_sid,
            EntityType::Machine => true,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_process_row_gives_process_parent_file_user_and_machine() {
        let Value::Object(row) = json!({
            "ProcessUniqueId": "k", "ProcessId": 7, "FileName": "sh", "FolderPath": "/usr/bin/sh", "ProcessCommandLine": "sh -c id",
            "AccountName": "www-data", "AccountSid": "33", "InitiatingProcessFileName": "php-fpm", "InitiatingProcessId": 6,
            "InitiatingProcessUniqueId": "p"
        }) else {
            unreachable!()
        };
        let mut all = of_row("DeviceProcessEvents", &row, "web1", "2026-11-23T10:00:00.000000Z");
        let kinds: Vec<_> = all.iter().map(|e| (e.entity_type, e.role)).collect();
        use EntityType as T;
        use EvidenceRole::{Impacted, Related};
        assert_eq!(
            kinds,
            [
                (T::Process, Impacted),
                (T::Process, Related),
                (T::File, Related),
                (T::User, Related),
                (T::Machine, Impacted)
            ]
        );
        assert_eq!(all[0].file_path.as_deref(), Some("/usr/bin"));
        assert_eq!(all[0].parent_process_file_name.as_deref(), Some("php-fpm"));
        let again = all.clone();
        assert_eq!(merge(&mut all, again), 0, "the same entities are not added twice");
    }

    #[test]
    fn a_connection_gives_address_and_name() {
        let Value::Object(row) = json!({
            "RemoteIP": "203.0.113.9", "RemoteUrl": "c2.example", "InitiatingProcessFileName": "bash", "InitiatingProcessUniqueId": "k",
            "InitiatingProcessAccountName": "www-data"
        }) else {
            unreachable!()
        };
        let all = of_row("DeviceNetworkEvents", &row, "web1", "t");
        assert!(all.iter().any(|e| e.ip_address.as_deref() == Some("203.0.113.9")));
        assert!(all.iter().any(|e| e.url.as_deref() == Some("c2.example")));
        assert!(all.iter().any(|e| e.account_name.as_deref() == Some("www-data") && e.entity_type == EntityType::User));
    }
}
