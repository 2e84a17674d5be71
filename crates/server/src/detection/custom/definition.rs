//! What a detection made of a query says, and whether it can be one.

use super::title::{self, TitleError};
use crate::incidents::correlate::TACTICS;
use garrison_kql::{Analysis, Column};
use garrison_model::{EntityType, Severity};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const HOUR: i64 = 3_600_000_000;
/// Characters of a name.
pub const NAME_CHARS_MAX: usize = 128;
/// Characters of a description or of recommended actions: a page.
pub const TEXT_CHARS_MAX: usize = 8_192;
/// Characters of a query: what the editor takes.
pub const QUERY_CHARS_MAX: usize = 64 * 1_024;
/// Custom details of one rule.
pub const DETAILS_MAX: usize = 20;
/// Characters of a detail's name.
pub const DETAIL_NAME_CHARS_MAX: usize = 40;
/// Techniques and actions of one rule.
pub const LIST_MAX: usize = 20;

/// How often a rule looks, and how far back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
pub enum Frequency {
    /// On the stream, as rows arrive.
    #[serde(rename = "continuous")]
    Continuous,
    /// Every hour over four hours.
    #[serde(rename = "1h")]
    Hourly,
    /// Every three hours over twelve.
    #[serde(rename = "3h")]
    ThreeHourly,
    /// Every twelve hours over two days.
    #[serde(rename = "12h")]
    TwelveHourly,
    /// Every day over thirty days.
    #[serde(rename = "24h")]
    Daily,
}

impl Frequency {
    /// Period and look-back in microseconds; none for continuous rules.
    #[must_use]
    pub const fn window(self) -> Option<(i64, i64)> {
        match self {
            Self::Continuous => None,
            Self::Hourly => Some((HOUR, 4 * HOUR)),
            Self::ThreeHourly => Some((3 * HOUR, 12 * HOUR)),
            Self::TwelveHourly => Some((12 * HOUR, 48 * HOUR)),
            Self::Daily => Some((24 * HOUR, 30 * 24 * HOUR)),
        }
    }
}

/// An entity that an alert is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImpactedEntity {
    /// Kind.
    #[serde(rename = "type")]
    pub kind: EntityType,
    /// Column of the answer that names it.
    pub column: String,
}

/// What is to be done to the entities of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum ActionKind {
    /// Cut the device off.
    IsolateDevice,
    /// Collect an investigation package.
    CollectPackage,
    /// Run a full scan.
    RunScan,
    /// Start an automated investigation.
    InitiateInvestigation,
    /// Let only trusted programs run.
    RestrictExecution,
    /// Quarantine the file.
    QuarantineFile,
    /// Allow the file.
    AllowFile,
    /// Block the file.
    BlockFile,
}

impl ActionKind {
    /// Columns of which one must name what it is done to.
    #[must_use]
    pub const fn columns(self) -> &'static [&'static str] {
        match self {
            Self::QuarantineFile | Self::AllowFile | Self::BlockFile => {
                &["SHA1", "SHA256", "InitiatingProcessSHA1", "InitiatingProcessSHA256"]
            }
            _ => &["DeviceId"],
        }
    }
}

/// An action attached to a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Action {
    /// What.
    pub action: ActionKind,
    /// Column that names the device or file.
    pub column: String,
}

/// A detection as its author writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Definition {
    /// Name; there is one of a name.
    pub name: String,
    /// The query.
    pub query: String,
    /// How often.
    pub frequency: Frequency,
    /// Title of its alerts; `{{Column}}` is filled from the row.
    pub alert_title: String,
    /// Severity of its alerts.
    pub severity: Severity,
    /// ATT&CK tactic, such as `Execution`.
    pub category: String,
    /// ATT&CK techniques, such as `T1059.004`.
    #[serde(default)]
    pub mitre_techniques: Vec<String>,
    /// What an alert means.
    #[serde(default)]
    pub description: String,
    /// What to do about one.
    #[serde(default)]
    pub recommended_actions: String,
    /// What it is about, one column a kind.
    pub impacted_entities: Vec<ImpactedEntity>,
    /// Name in the alert → column of the answer.
    #[serde(default)]
    pub custom_details: BTreeMap<String, String>,
    /// Stored and checked; they take effect once response exists.
    #[serde(default)]
    pub actions: Vec<Action>,
    /// Whether it runs.
    #[serde(default = "on")]
    pub enabled: bool,
}

fn on() -> bool {
    true
}

/// Why a definition is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionError {
    /// A text.
    #[error("{what} must have 1 to {max} characters")]
    Text {
        /// Which.
        what: &'static str,
        /// Most characters.
        max: usize,
    },
    /// The title.
    #[error(transparent)]
    Title(#[from] TitleError),
    /// The category.
    #[error("`{0}` is no ATT&CK tactic: write one as `CredentialAccess`")]
    Category(String),
    /// A technique.
    #[error("`{0}` is no ATT&CK technique: write one as `T1059.004`")]
    Technique(String),
    /// Too many of something.
    #[error("there are more than {max} {what}")]
    TooMany {
        /// What.
        what: &'static str,
        /// Most.
        max: usize,
    },
    /// The query has errors.
    #[error("the query has errors: {0}")]
    Query(String),
    /// The answer's columns cannot be told before the query runs.
    #[error(
        "the columns of the query's answer are known only when it runs (`pivot`, `bag_unpack`): end it with `project`"
    )]
    ColumnsUnknown,
    /// A column that every detection needs.
    #[error(
        "the query must return `{0}`: every alert is made of one event, which Timestamp, ReportId and the device name"
    )]
    Required(&'static str),
    /// No device.
    #[error("the query must return `DeviceId` or `DeviceName`: every alert is about an event on a device")]
    Device,
    /// A required column has another type.
    #[error(
        "column `{column}` must be of type {expected}, and is {found}: a column that was computed anew names no event"
    )]
    Type {
        /// Column.
        column: &'static str,
        /// Type.
        expected: &'static str,
        /// Type found.
        found: &'static str,
    },
    /// No impacted entity.
    #[error("name at least one impacted entity and the column that holds it")]
    EntityMissing,
    /// Two of a kind.
    #[error("there are two columns for the impacted entity `{0}`: one column a kind")]
    EntityTwice(EntityType),
    /// The column does not hold such an entity.
    #[error("column `{column}` cannot name an impacted entity of kind `{kind}`: use one of {columns}")]
    EntityColumn {
        /// Kind.
        kind: EntityType,
        /// Column.
        column: String,
        /// What fits.
        columns: String,
    },
    /// A column that the answer does not have.
    #[error("the query does not return the column `{column}` that {what} names")]
    Column {
        /// Who names it.
        what: &'static str,
        /// Column.
        column: String,
    },
    /// An action on something else.
    #[error("the action `{action}` needs one of the columns {columns}, not `{column}`")]
    ActionColumn {
        /// Action.
        action: String,
        /// Column.
        column: String,
        /// What fits.
        columns: String,
    },
    /// Continuous rules.
    #[error("the query cannot run continuously: {0}; choose a frequency of 1 h or more")]
    Continuous(String),
}

/// Columns that can name an entity.
#[must_use]
pub const fn entity_columns(kind: EntityType) -> &'static [&'static str] {
    match kind {
        EntityType::Machine => &["DeviceId", "DeviceName", "RemoteDeviceName"],
        EntityType::User => &[
            "AccountName",
            "AccountSid",
            "AccountUpn",
            "AccountObjectId",
            "InitiatingProcessAccountName",
            "InitiatingProcessAccountSid",
            "InitiatingProcessAccountUpn",
            "InitiatingProcessAccountObjectId",
            "RequestAccountName",
        ],
        EntityType::Process => &["ProcessUniqueId", "InitiatingProcessUniqueId", "ProcessId", "InitiatingProcessId"],
        EntityType::File => &[
            "SHA1",
            "SHA256",
            "MD5",
            "FileName",
            "FolderPath",
            "InitiatingProcessSHA1",
            "InitiatingProcessSHA256",
            "InitiatingProcessFileName",
            "InitiatingProcessFolderPath",
        ],
        EntityType::Ip => &["RemoteIP", "LocalIP", "RequestSourceIP", "FileOriginIP", "PublicIP"],
        EntityType::Url => &["RemoteUrl", "FileOriginUrl", "FileOriginReferrerUrl"],
    }
}

/// What alerts are called that belong to no tactic.
pub(crate) const NO_TACTIC: &str = "SuspiciousActivity";

pub(crate) fn is_technique(text: &str) -> bool {
    let digits = |t: &str, count: usize| t.len() == count && t.bytes().all(|b| b.is_ascii_digit());
    text.strip_prefix('T').is_some_and(|rest| match rest.split_once('.') {
        Some((number, sub)) => digits(number, 4) && digits(sub, 3),
        None => digits(rest, 4),
    })
}

fn text(what: &'static str, text: &str, max: usize, empty: bool) -> Result<(), DefinitionError> {
    let count = text.chars().count();
    if count > max || (!empty && text.trim().is_empty()) {
        return Err(DefinitionError::Text { what, max });
    }
    Ok(())
}

impl Definition {
    /// What can be said without the query's analysis.
    pub fn check_words(&self) -> Result<(), DefinitionError> {
        text("the name", &self.name, NAME_CHARS_MAX, false)?;
        text("the query", &self.query, QUERY_CHARS_MAX, false)?;
        text("the description", &self.description, TEXT_CHARS_MAX, true)?;
        text("recommended actions", &self.recommended_actions, TEXT_CHARS_MAX, true)?;
        title::columns(&self.alert_title)?;
        if self.category != NO_TACTIC && !TACTICS.contains(&self.category.as_str()) {
            return Err(DefinitionError::Category(self.category.chars().take(80).collect()));
        }
        for (what, count, max) in [
            ("techniques", self.mitre_techniques.len(), LIST_MAX),
            ("actions", self.actions.len(), LIST_MAX),
            ("custom details", self.custom_details.len(), DETAILS_MAX),
        ] {
            if count > max {
                return Err(DefinitionError::TooMany { what, max });
            }
        }
        if let Some(bad) = self.mitre_techniques.iter().find(|t| !is_technique(t)) {
            return Err(DefinitionError::Technique(bad.chars().take(80).collect()));
        }
        for name in self.custom_details.keys() {
            text("the name of a custom detail", name, DETAIL_NAME_CHARS_MAX, false)?;
        }
        if self.impacted_entities.is_empty() {
            return Err(DefinitionError::EntityMissing);
        }
        for (at, entity) in self.impacted_entities.iter().enumerate() {
            if self.impacted_entities.iter().skip(at + 1).any(|other| other.kind == entity.kind) {
                return Err(DefinitionError::EntityTwice(entity.kind));
            }
            let fitting = entity_columns(entity.kind);
            if !fitting.contains(&entity.column.as_str()) {
                return Err(DefinitionError::EntityColumn {
                    kind: entity.kind,
                    column: entity.column.chars().take(80).collect(),
                    columns: fitting.join(", "),
                });
            }
        }
        for action in &self.actions {
            if !action.action.columns().contains(&action.column.as_str()) {
                return Err(DefinitionError::ActionColumn {
                    action: serde_json::to_string(&action.action).unwrap_or_default().trim_matches('"').to_owned(),
                    column: action.column.chars().take(80).collect(),
                    columns: action.action.columns().join(", "),
                });
            }
        }
        Ok(())
    }

    /// What the query's analysis must say.
    pub fn check_answer(&self, analysis: &Analysis) -> Result<(), DefinitionError> {
        let errors: Vec<String> = analysis
            .diagnostics
            .iter()
            .filter(|d| d.severity == garrison_kql::Severity::Error)
            .map(|d| {
                let (line, column) = d.place(&self.query);
                format!("{} at {line}:{column}: {}", d.code, d.message)
            })
            .take(5)
            .collect();
        if !errors.is_empty() {
            return Err(DefinitionError::Query(errors.join("; ")));
        }
        let columns = analysis.columns.as_deref().ok_or(DefinitionError::ColumnsUnknown)?;
        let find = |name: &str| columns.iter().find(|c| c.name == name);
        for (column, expected) in [("Timestamp", garrison_kql::Type::Datetime), ("ReportId", garrison_kql::Type::Long)]
        {
            let found: &Column = find(column).ok_or(DefinitionError::Required(column))?;
            if found.kind != expected {
                return Err(DefinitionError::Type { column, expected: expected.name(), found: found.kind.name() });
            }
        }
        if find("DeviceId").is_none() && find("DeviceName").is_none() {
            return Err(DefinitionError::Device);
        }
        let named = |what: &'static str, column: &str| match find(column) {
            Some(_) => Ok(()),
            None => Err(DefinitionError::Column { what, column: column.chars().take(80).collect() }),
        };
        for entity in &self.impacted_entities {
            named("an impacted entity", &entity.column)?;
        }
        for column in title::columns(&self.alert_title)? {
            named("the alert title", column)?;
        }
        for column in self.custom_details.values() {
            named("a custom detail", column)?;
        }
        for action in &self.actions {
            named("an action", &action.column)?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use garrison_kql::Type;

    pub(crate) fn example() -> Definition {
        Definition {
            name: "Shells of web servers".into(),
            query: "DeviceProcessEvents | where FileName == 'sh'".into(),
            frequency: Frequency::Hourly,
            alert_title: "Shell on {{DeviceName}}".into(),
            severity: Severity::Medium,
            category: "Execution".into(),
            mitre_techniques: vec!["T1059.004".into()],
            description: String::new(),
            recommended_actions: String::new(),
            impacted_entities: vec![ImpactedEntity { kind: EntityType::Machine, column: "DeviceId".into() }],
            custom_details: BTreeMap::new(),
            actions: Vec::new(),
            enabled: true,
        }
    }

    fn analysis(columns: &[(&str, Type)]) -> Analysis {
        Analysis { columns: Some(columns.iter().map(|(n, t)| Column::new(*n, *t)).collect()), ..Analysis::default() }
    }

    const GOOD: &[(&str, Type)] = &[
        ("Timestamp", Type::Datetime),
        ("ReportId", Type::Long),
        ("DeviceId", Type::Text),
        ("DeviceName", Type::Text),
        ("SHA1", Type::Text),
    ];

    #[test]
    fn a_definition_is_refused_with_the_reason() {
        type Change = fn(&mut Definition);
        let cases: &[(Change, &str)] = &[
            (|d| d.name = " ".into(), "the name must have 1 to 128 characters"),
            (|d| d.alert_title = "{{a".into(), "has no `}}`"),
            (|d| d.category = "Hacking".into(), "no ATT&CK tactic"),
            (|d| d.mitre_techniques = vec!["1059".into()], "no ATT&CK technique"),
            (|d| d.impacted_entities.clear(), "at least one impacted entity"),
            (|d| d.impacted_entities.push(d.impacted_entities[0].clone()), "one column a kind"),
            (|d| d.impacted_entities[0].column = "FileName".into(), "cannot name an impacted entity of kind `Machine`"),
            (|d| d.alert_title = "{{Nope}}".into(), "`Nope` that the alert title names"),
            (|d| d.impacted_entities[0].column = "RemoteDeviceName".into(), "that an impacted entity names"),
            (|d| d.custom_details = BTreeMap::from([("a".into(), "Nope".into())]), "that a custom detail names"),
            (
                |d| d.actions = vec![Action { action: ActionKind::BlockFile, column: "DeviceId".into() }],
                "`blockFile` needs one of",
            ),
            (
                |d| d.actions = vec![Action { action: ActionKind::BlockFile, column: "SHA256".into() }],
                "that an action names",
            ),
        ];
        for (change, words) in cases {
            let mut definition = example();
            change(&mut definition);
            let error = definition.check_words().and_then(|()| definition.check_answer(&analysis(GOOD))).unwrap_err();
            assert!(error.to_string().contains(words), "{error} should say {words}");
        }
        assert_eq!(example().check_words().and_then(|()| example().check_answer(&analysis(GOOD))), Ok(()));
    }

    #[test]
    fn the_answer_must_name_events_on_devices() {
        let without = |name: &str| GOOD.iter().filter(|(n, _)| *n != name).copied().collect::<Vec<_>>();
        for (columns, words) in [
            (without("Timestamp"), "must return `Timestamp`"),
            (without("ReportId"), "must return `ReportId`"),
            (vec![GOOD[0], GOOD[1]], "`DeviceId` or `DeviceName`"),
            (vec![("Timestamp", Type::Text), GOOD[1], GOOD[2], GOOD[3]], "must be of type datetime"),
        ] {
            let error = example().check_answer(&analysis(&columns)).unwrap_err();
            assert!(error.to_string().contains(words), "{error} should say {words}");
        }
        assert_eq!(example().check_answer(&Analysis::default()), Err(DefinitionError::ColumnsUnknown));
    }
}
