//! Every column of the control database that holds text, and whether it is sealed: one list, so that a new column cannot
//! be forgotten (a test compares it with the tables).
//!
//! Sealed is what names a person or an account, what a person wrote, and what was copied out of telemetry. What stays
//! plain has its reason beside it ([`PLAIN`]). docs/reference/data-protection.md shows the same list.

use std::fmt;

/// How a column is sealed ([`super::seal`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// With a random nonce: nothing can be asked about it in SQL.
    Hidden,
    /// With a nonce that comes of the text: the same text is the same value, which can be looked for.
    Found,
}

/// With whose key a column is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// The tenant's: its rows say which in a column of this name.
    Tenant(&'static str),
    /// The server's: the table is the operator's, and stays when a tenant is reset.
    Server,
}

/// A column that is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Table.
    pub table: &'static str,
    /// Name.
    pub name: &'static str,
    /// How.
    pub way: Way,
    /// With whose key.
    pub whose: Whose,
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.table, self.name)
    }
}

macro_rules! sealed {
    ($($constant:ident = $table:ident . $name:ident, $way:ident, $whose:expr;)+) => {
        $(
            #[doc = concat!("`", stringify!($table), ".", stringify!($name), "`.")]
            pub const $constant: Column = Column {
                table: stringify!($table),
                name: stringify!($name),
                way: Way::$way,
                whose: $whose,
            };
        )+
        /// All sealed columns.
        pub const SEALED: &[Column] = &[$($constant),+];
    };
}

const TENANT: Whose = Whose::Tenant("tenant_id");

sealed! {
    USER_NAME = identity_users.name, Found, Whose::Server;
    API_TOKEN_NAME = identity_api_tokens.name, Hidden, Whose::Server;
    ENROLMENT_TOKEN_NAME = identity_enrolment_tokens.name, Hidden, Whose::Server;
    ASSIGNMENT_AUTHOR = access_assignments.created_by, Hidden, Whose::Server;
    OIDC_SUBJECT = access_oidc_accounts.subject, Found, Whose::Server;
    AUDIT_WHO = access_audit.who, Found, Whose::Server;
    AUDIT_TARGET = access_audit.target, Found, Whose::Server;
    AUDIT_LINE = access_audit.line, Hidden, Whose::Server;
    TENANT_AUTHOR = plane_tenants.created_by, Hidden, Whose::Server;

    INCIDENT_TITLE = incidents_incident.title, Hidden, TENANT;
    INCIDENT_ASSIGNEE = incidents_incident.assigned_to, Found, TENANT;
    INCIDENT_TAGS = incidents_incident.tags, Hidden, TENANT;
    INCIDENT_SEARCH = incidents_incident.search, Hidden, TENANT;
    INCIDENT_DOC = incidents_incident.doc, Hidden, TENANT;
    ALERT_USER = incidents_alert.related_user, Hidden, TENANT;
    ALERT_TITLE = incidents_alert.title, Hidden, TENANT;
    ALERT_FOLD = incidents_alert.fold_key, Found, TENANT;
    ALERT_SEARCH = incidents_alert.search, Hidden, TENANT;
    ALERT_REASON = incidents_alert.reason, Hidden, TENANT;
    ALERT_DOC = incidents_alert.doc, Hidden, TENANT;
    ALERT_LINEAGE = incidents_alert.lineage, Hidden, TENANT;
    SHARED_KEY = incidents_key.shared_key, Found, TENANT;
    COMMENT_TEXT = incidents_comment.text, Hidden, TENANT;
    COMMENT_AUTHOR = incidents_comment.created_by, Hidden, TENANT;
    CASE_AUDIT_WHO = incidents_audit.who, Hidden, TENANT;
    CASE_AUDIT_OLD = incidents_audit.old, Hidden, TENANT;
    CASE_AUDIT_NEW = incidents_audit.new, Hidden, TENANT;
    SUPPRESSION_NAME = incidents_suppression.name, Hidden, TENANT;
    SUPPRESSION_REASON = incidents_suppression.reason, Hidden, TENANT;
    SUPPRESSION_SCOPE = incidents_suppression.scope, Hidden, TENANT;
    SUPPRESSION_AUTHOR = incidents_suppression.created_by, Hidden, TENANT;

    RULE_SOURCE = detection_rule.source, Hidden, TENANT;
    RULE_IMPORTER = detection_rule.imported_by, Hidden, TENANT;
    RULE_SWITCHER = detection_switch.changed_by, Hidden, TENANT;
    CUSTOM_NAME_KEY = detection_custom.name_key, Found, TENANT;
    CUSTOM_TITLE_KEY = detection_custom.title_key, Found, TENANT;
    CUSTOM_DOC = detection_custom.doc, Hidden, TENANT;
    CUSTOM_AUTHOR = detection_custom.created_by, Hidden, TENANT;
    CUSTOM_CHANGER = detection_custom.updated_by, Hidden, TENANT;
    CUSTOM_RUN_ERROR = detection_custom_run.error, Hidden, TENANT;
    INDICATOR_VALUE = detection_indicator.value, Found, TENANT;
    INDICATOR_DOC = detection_indicator.doc, Hidden, TENANT;
    RETRO_TITLE = detection_retro.title, Hidden, TENANT;
    RETRO_ERROR = detection_retro.error, Hidden, TENANT;
    RETRO_AUTHOR = detection_retro.created_by, Hidden, TENANT;
    RETRO_MATCH_DOC = detection_retro_match.doc, Hidden, TENANT;

    HISTORY_OWNER = hunting_history.owner, Found, TENANT;
    HISTORY_ERROR = hunting_history.error, Hidden, TENANT;
    HISTORY_QUERY = hunting_history.query, Hidden, TENANT;
    HISTORY_REPORT = hunting_history.report, Hidden, TENANT;
    QUERY_OWNER = hunting_query.owner, Found, TENANT;
    QUERY_FOLDER = hunting_query.folder, Hidden, TENANT;
    QUERY_NAME = hunting_query.name, Hidden, TENANT;
    QUERY_PLACE = hunting_query.place, Found, TENANT;
    QUERY_DESCRIPTION = hunting_query.description, Hidden, TENANT;
    QUERY_TEXT = hunting_query.query, Hidden, TENANT;

    PLAN_AUTHOR = plane_plans.set_by, Hidden, TENANT;
    EXCLUSION_TAG = plane_exclusions.tag_value, Hidden, TENANT;
    EXCLUSION_REASON = plane_exclusions.reason, Hidden, TENANT;
    EXCLUSION_AUTHOR = plane_exclusions.created_by, Hidden, TENANT;
    PLANE_AUDIT_WHO = plane_audit.who, Hidden, TENANT;
    PLANE_AUDIT_OLD = plane_audit.old, Hidden, TENANT;
    PLANE_AUDIT_NEW = plane_audit.new, Hidden, TENANT;
    SUBSCRIPTION_TAGS = plane_subscriptions.tags, Hidden, TENANT;
    MACHINE_TAGS = plane_machines.tags, Hidden, TENANT;
    DEVICE_TAGS = fleet_devices.tags, Hidden, Whose::Tenant("tenant");
    DEVICE_REVOKED = fleet_devices.revoked_reason, Hidden, Whose::Tenant("tenant");
    CONNECTOR_TOKEN_NAME = connect_tokens.name, Hidden, TENANT;
    CONNECTOR_REVOKED = connect_connectors.revoked_reason, Hidden, TENANT;
    STANDING = connect_standings.standing, Hidden, TENANT;
    CONNECT_DETAIL = connect_history.detail, Hidden, TENANT;
    ROLLOUT_DOCUMENT = connect_rollouts.document, Hidden, TENANT;
    PRICE_AUTHOR = metering_prices.created_by, Hidden, TENANT;
    SEAT_NOTE = metering_seats.note, Hidden, TENANT;
    SEAT_AUTHOR = metering_seats.created_by, Hidden, TENANT;
    RETENTION_AUTHOR = retention_days.updated_by, Hidden, TENANT;
    EXEMPTION_REASON = recommend_exemptions.reason, Hidden, TENANT;
    EXEMPTION_AUTHOR = recommend_exemptions.created_by, Hidden, TENANT;
    SECRET_AUTHOR = reach_secrets.created_by, Hidden, TENANT;
    HOST_ACCEPTER = reach_hosts.accepted_by, Hidden, TENANT;
    SOURCE_AUTHOR = reach_sources.created_by, Hidden, TENANT;
    SOURCE_MESSAGE = reach_sources.message, Hidden, TENANT;
    INSTANCE_TAGS = reach_instances.tags, Hidden, TENANT;
    INSTANCE_MESSAGE = reach_instances.message, Hidden, TENANT;
    EXPORT_TARGET = exports_target.target, Hidden, TENANT;
    EXPORT_ERROR = exports_target.last_error, Hidden, TENANT;
    EXPORT_AUTHOR = exports_target.created_by, Hidden, TENANT;
}

/// Why a column stays plain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plain {
    /// An id that this program made, a hash, a fingerprint or a counter's text: it names nobody by itself.
    Id,
    /// A word of a fixed list: a state, kind, role, plan, action, currency, version.
    Word,
    /// A machine: its name, address, system, hardware. Machines are servers; lists, uniqueness and the pages of large
    /// fleets are by these columns, and the lake's log and the bill hold their ids and names in the open as well.
    Machine,
    /// What the operator calls something that is not a person: a subscription, resource group, role, device group,
    /// vault entry, target of exports. It is asked for by name.
    Label,
    /// Sealed already, by the room that owns it.
    Sealed,
}

macro_rules! plain {
    ($($table:ident { $($name:ident $why:ident),+ $(,)? })+) => {
        /// All other columns that hold text.
        pub const PLAIN: &[(&str, &str, Plain)] = &[$($((stringify!($table), stringify!($name), Plain::$why)),+),+];
    };
}

plain! {
    identity_users { id Id, role Word, password_hash Id, of_tenant Id }
    identity_sessions { hash Id, user_id Id, of_tenant Id }
    identity_links { hash Id, user_id Id }
    identity_api_tokens { id Id, role Word, hash Id, of_tenant Id }
    identity_enrolment_tokens { id Id, hash Id, of_tenant Id }
    access_assignments {
        tenant_id Id, id Id, principal_kind Word, principal Label, role Label, scope_kind Word, scope Id, source Word,
    }
    access_roles { tenant_id Id, name Label, title Label, actions Word }
    access_members { tenant_id Id, user_group Label, user_id Id }
    access_device_groups { tenant_id Id, id Id, name Label, description Label, rules Machine, automation Word }
    access_token_scopes { token_id Id, actions Word, device_groups Id }
    access_oidc_accounts { issuer Label, user_id Id }
    access_audit { tenant_id Id, kind Word, action Word, hash Id }
    access_audit_head { hash Id, of_tenant Id }
    db_erasing { scope Id }
    db_migrations { name Word }
    db_seals { scope Id, key_name Id, state Word, columns Id }
    fleet_devices {
        id Id, tenant Id, host_name Machine, os_platform Machine, os_distribution Machine, os_version Machine,
        kernel_version Machine, architecture Machine, ip_addresses Machine, hardware_uuid Machine, machine_id Machine,
        duplicate_of Id, sensor_version Word, last_ip Machine, health_issues Machine, sight Word, content_version Word,
    }
    fleet_certificates { fingerprint Id, device_id Id, serial Id }
    fleet_cutoffs { tenant_id Id }
    incidents_incident { tenant_id Id, status Word, classification Word, determination Word }
    incidents_alert {
        tenant_id Id, id Id, device_id Id, device_name Machine, rule_id Id, status Word, category Word, techniques Word,
        classification Word,
    }
    incidents_key { tenant_id Id, alert_id Id }
    incidents_alert_row { tenant_id Id, device_id Id, boot_id Id, rule_id Id, alert_id Id }
    incidents_comment { tenant_id Id, target Id }
    incidents_audit { tenant_id Id, target Id, what Word }
    incidents_suppression { tenant_id Id, id Id }
    detection_rule { tenant_id Id, id Id }
    detection_switch { tenant_id Id, rule_id Id }
    detection_content { tenant_id Id, digest Id }
    detection_watermark { tenant_id Id }
    detection_custom { tenant_id Id, id Id }
    detection_custom_run { tenant_id Id, id Id, rule_id Id, kind Word, state Word }
    detection_custom_clock { tenant_id Id }
    detection_indicator { tenant_id Id, id Id, kind Word }
    detection_retro { tenant_id Id, id Id, kind Word, target Id, state Word }
    detection_retro_match { tenant_id Id, retro_id Id }
    hunting_history { tenant_id Id, id Id, interface Word, state Word }
    hunting_query { tenant_id Id, id Id }
    plane_tenants { id Id, geography Word, lake_root Label, control_root Label, origin Word, state Word }
    plane_subscriptions { tenant_id Id, id Id, name Label, location Word }
    plane_groups { tenant_id Id, subscription_id Id, name_key Label, name Label }
    plane_machines {
        tenant_id Id, id Id, subscription_id Id, group_key Label, name_key Machine, name Machine, kind Word,
        power_state Word, device_id Id, identity Machine, hardware Machine, system Machine, connector_version Word,
    }
    plane_extensions { tenant_id Id, machine_id Id, name Word, state Word, message Machine, fix Word, version Word }
    plane_plans { tenant_id Id, subscription_id Id, machine_id Id, plan Word }
    plane_trials { tenant_id Id, subscription_id Id }
    plane_exclusions { tenant_id Id, id Id, scope Machine, tag_name Label }
    plane_audit { tenant_id Id, target Id, what Word }
    metering_marks { tenant_id Id, machine_id Id, state Word, plan Word, subscription_id Id }
    metering_ledger { tenant_id Id, machine_id Id, subscription_id Id, plan Word, state Word, seat_id Id }
    metering_prices { tenant_id Id, id Id, meter Word, currency Word, ended_by Id }
    metering_seats { tenant_id Id, id Id, plan Word, subscription_id Id }
    metering_ingest { tenant_id Id, subscription_id Id, device_id Id }
    connect_tokens { tenant_id Id, id Id, hash Id, subscription_id Id, group_name Label }
    connect_connectors {
        tenant_id Id, id Id, machine_id Id, bound_machine_id Machine, bound_hardware Machine, token_id Id, runs Id,
        facts Machine,
    }
    connect_standings { tenant_id Id, machine_id Id }
    connect_history { tenant_id Id, machine_id Id, extension Word, state Word, version Word }
    connect_sensor_tokens { tenant_id Id, token_id Id, machine_id Id }
    connect_rollouts { tenant_id Id, id Id }
    health_machines { tenant_id Id, machine_id Id, document Machine }
    health_rounds { tenant_id Id }
    retention_days { tenant_id Id }
    recommend_exemptions {
        tenant_id Id, id Id, recommendation Word, subscription_id Id, scope Machine, category Word,
    }
    recommend_states { tenant_id Id, recommendation Word, machine_id Id, state Word, before Word, document Machine }
    reach_secrets { tenant_id Id, name Label, kind Word, sealed Sealed }
    reach_hosts { tenant_id Id, address Machine, lines Machine }
    reach_sources {
        tenant_id Id, name Label, cloud Word, region Label, endpoint Label, secret Label, subscription_id Id,
        group_name Label, gateway Label, program Label, lease_holder Id, outcome Word, counts Id,
    }
    reach_instances {
        tenant_id Id, cloud Word, instance Machine, source Label, machine_id Id, state Word, code Word,
    }
    exports_target {
        tenant_id Id, id Id, name Label, kind Word, mode Word, what Word, secret Sealed, cursor Id,
    }
}

/// The sealed columns of a table.
pub fn of_table(table: &str) -> impl Iterator<Item = Column> {
    SEALED.iter().copied().filter(move |column| column.table == table)
}

/// Names the list: another program's may be another one, and then what is written is brought to it anew.
pub fn digest() -> String {
    use sha2::{Digest as _, Sha256};
    let mut hash = Sha256::new();
    for column in SEALED {
        hash.update(format!("{column} {:?} {:?}\n", column.way, column.whose));
    }
    hex::encode(hash.finalize().get(..8).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::Db;
    use sqlx::Row as _;
    use std::collections::BTreeSet;

    #[test]
    fn the_page_on_data_protection_has_the_same_list() {
        let path = format!("{}/../../docs/reference/data-protection.md", std::env::var("CARGO_MANIFEST_DIR").unwrap());
        let page = std::fs::read_to_string(path).unwrap();
        let row = |table: &str| {
            let row = page.lines().find(|line| line.starts_with(&format!("| `{table}` |")));
            row.unwrap_or_else(|| panic!("`{table}` is not on the page")).split('|').collect::<Vec<_>>()
        };
        for column in SEALED {
            let mark = if column.way == Way::Found { "°" } else { "" };
            let key = if column.whose == Whose::Server { " server " } else { " tenant " };
            let (row, cell) = (row(column.table), format!("`{}`{mark}", column.name));
            assert!(row[2] == key && row[3].contains(&cell), "{column}: {row:?}");
            assert!(!mark.is_empty() || !row[3].contains(&format!("{cell}°")), "{column}: {row:?}");
        }
        for (table, name, _) in PLAIN {
            assert!(row(table)[4].contains(&format!("`{name}`")), "{table}.{name}");
        }
    }

    #[tokio::test]
    async fn every_column_that_holds_text_is_in_the_list_once() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open_file(&folder.path().join("control.db")).await.unwrap();
        let sql = "SELECT m.name AS t, p.name AS c FROM sqlite_master m JOIN pragma_table_info(m.name) p \
                   WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' AND p.type NOT IN ('BIGINT', 'INTEGER')";
        let rows = sqlx::query(sql).fetch_all(db.pool()).await.unwrap();
        let there: BTreeSet<String> =
            rows.iter().map(|r| format!("{}.{}", r.get::<String, _>("t"), r.get::<String, _>("c"))).collect();
        let mut listed = BTreeSet::new();
        let plain = PLAIN.iter().map(|(table, name, _)| format!("{table}.{name}"));
        for column in SEALED.iter().map(ToString::to_string).chain(plain) {
            assert!(listed.insert(column.clone()), "`{column}` is listed twice");
        }
        let new: Vec<_> = there.difference(&listed).collect();
        assert!(new.is_empty(), "say in db/columns.rs whether these are sealed, and why not: {new:?}");
        let gone: Vec<_> = listed.difference(&there).collect();
        assert!(gone.is_empty(), "these are no columns: {gone:?}");
        // A tenant's column is in a table that says whose a row is.
        for column in SEALED {
            if let Whose::Tenant(whose) = column.whose {
                assert!(there.contains(&format!("{}.{whose}", column.table)), "{column}");
            }
        }
    }
}
