//! One rule as it was written: what it says about itself, and its body.

use crate::correlation::Correlation;
use crate::detection::Detection;
use crate::diagnostic::{Diagnostic, Severity};
use serde::Serialize;
use std::sync::Arc;

/// A rule's place in its [`crate::RuleSet`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct RuleIndex(pub u32);

/// How critical a rule is by its own words; ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Tags events, raises nothing.
    Informational,
    /// Notable.
    Low,
    /// To be looked at.
    Medium,
    /// To be looked at now.
    High,
    /// An incident.
    Critical,
}

impl Level {
    /// Sigma's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Informational => "informational",
            Level::Low => "low",
            Level::Medium => "medium",
            Level::High => "high",
            Level::Critical => "critical",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Level::Informational, Level::Low, Level::Medium, Level::High, Level::Critical]
            .into_iter()
            .find(|level| level.as_str().eq_ignore_ascii_case(text))
    }
}

/// What kind of document a rule is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleKind {
    /// Looks at single rows.
    Rule,
    /// Looks at several matches over time.
    Correlation,
    /// Takes matches away from other rules.
    Filter,
}

impl RuleKind {
    /// `rule`, `correlation` or `filter`.
    pub fn as_str(self) -> &'static str {
        match self {
            RuleKind::Rule => "rule",
            RuleKind::Correlation => "correlation",
            RuleKind::Filter => "filter",
        }
    }
}

/// The data that a rule is written for; lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize)]
pub struct LogSource {
    /// Such as `linux`.
    pub product: Option<String>,
    /// Such as `process_creation`.
    pub category: Option<String>,
    /// Such as `auditd`.
    pub service: Option<String>,
}

impl LogSource {
    /// Whether everything that `self` names is the same in `other`.
    pub fn covers(&self, other: &LogSource) -> bool {
        let fits = |mine: &Option<String>, theirs: &Option<String>| mine.is_none() || mine == theirs;
        fits(&self.product, &other.product)
            && fits(&self.category, &other.category)
            && fits(&self.service, &other.service)
    }
}

impl std::fmt::Display for LogSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let part = |part: &Option<String>| part.clone().unwrap_or_else(|| "-".to_owned());
        write!(f, "{} / {} / {}", part(&self.product), part(&self.category), part(&self.service))
    }
}

/// A rule, usable or not.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Its id, or one derived from its text.
    pub id: String,
    /// The name by which correlations may call it.
    pub name: Option<String>,
    /// Title.
    pub title: String,
    /// Description.
    pub description: String,
    /// Level; `medium` if it says none.
    pub level: Level,
    /// Status, such as `stable`; empty if it says none.
    pub status: String,
    /// Author.
    pub author: String,
    /// References.
    pub references: Vec<String>,
    /// Tags as written.
    pub tags: Vec<String>,
    /// ATT&CK tactics in the spelling of the hunting tables, such as `CredentialAccess`.
    pub tactics: Vec<String>,
    /// ATT&CK techniques, such as `T1059.004`.
    pub techniques: Vec<String>,
    /// Notes on false positives.
    pub false_positives: Vec<String>,
    /// Fields worth showing.
    pub fields: Vec<String>,
    /// What to do about an alert: `recommended_action`, or `garrison.recommended_action`.
    pub recommended_action: String,
    /// The `garrison` attribute as JSON; null if absent.
    pub attributes: serde_json::Value,
    /// The data it is written for; empty for correlations.
    pub log_source: LogSource,
    /// The document's text.
    pub text: Arc<str>,
    /// Where it was loaded from.
    pub source: Arc<str>,
    /// First line in the source, from 1.
    pub line: u32,
    /// Kind.
    pub kind: RuleKind,
    /// Remarks made when it was read.
    pub diagnostics: Vec<Diagnostic>,
    pub(crate) body: Body,
    /// Whether its matches are alerts by themselves; false for rules that only feed correlations.
    pub alerts: bool,
}

/// What a rule does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Body {
    /// It was refused.
    None,
    Detection(Detection),
    Correlation(Correlation),
    Filter {
        rules: Vec<String>,
        detection: Detection,
    },
}

impl Rule {
    /// Whether it was read without an error. Whether a table holds what it needs is the engine's to say.
    pub fn is_usable(&self) -> bool {
        self.body != Body::None && self.diagnostics.iter().all(|d| d.severity != Severity::Error)
    }
}

/// Tactics and techniques from tags of the `attack` namespace.
pub(crate) fn attack(tags: &[String]) -> (Vec<String>, Vec<String>) {
    let (mut tactics, mut techniques) = (Vec::new(), Vec::new());
    for tag in tags {
        let lower = tag.to_ascii_lowercase();
        let Some(word) = lower.strip_prefix("attack.") else { continue };
        let numbered =
            |letter| word.strip_prefix(letter).is_some_and(|rest: &str| rest.starts_with(|c: char| c.is_ascii_digit()));
        if numbered('t') {
            techniques.push(word.to_ascii_uppercase());
        } else if !word.is_empty() && !numbered('g') && !numbered('s') && !word.starts_with("ta0") {
            tactics.push(word.split(['-', '_']).map(capitalised).collect());
        }
    }
    (tactics, techniques)
}

fn capitalised(word: &str) -> String {
    let mut chars = word.chars();
    match chars.next() {
        // The hunting tables write `CommandAndControl`.
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}
