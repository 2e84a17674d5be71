//! The rules in use: shipped ones from `content/rules`, embedded in the program, and those that operators brought, with
//! a switch for each; compiled off the async threads and exchanged as a whole.

use super::RuleError;
use crate::db::columns;
use crate::shared::Shared;
use garrison_model::{Rule, RuleDiagnostic, RuleId, Severity};
use garrison_sigma::{Engine, HuntingMap, Options, Platform, RuleIndex, RuleSet};
use garrison_wire::content::{Bundle, BundleRule};
use sqlx::Row as _;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Rules that come with the program.
#[derive(rust_embed::RustEmbed)]
#[folder = "../../content/"]
#[include = "rules/*"]
#[include = "rules/**/*"]
#[allow_missing = true]
struct Content;

/// Bytes of one import: the largest public corpus is about 15 MB.
pub const IMPORT_BYTES_MAX: usize = 32 << 20;

/// Name of the source that an import has while it is looked at.
pub(crate) const IMPORT: &str = "import";

/// Everything compiled, and where it came from.
#[derive(Debug)]
pub struct Loaded {
    /// The matcher, with switched-off rules off.
    pub engine: Engine,
    /// Ids that are switched off.
    pub off: HashSet<String>,
}

/// Whether a source name is of a rule that an operator brought.
pub fn is_imported(source: &str) -> bool {
    source == IMPORT || source.starts_with("imported/")
}

/// Shipped sources: path below `content/`, text.
pub fn shipped() -> Vec<(String, String)> {
    let mut sources: Vec<(String, String)> = Content::iter()
        .filter(|path| path.ends_with(".yml") || path.ends_with(".yaml"))
        .filter_map(|path| {
            let file = Content::get(&path)?;
            Some((path.to_string(), String::from_utf8_lossy(&file.data).into_owned()))
        })
        .collect();
    sources.sort();
    sources
}

/// Reads the operator's rules: id and text, in the order they came.
pub async fn imported(shared: &Shared) -> Result<Vec<(String, String)>, RuleError> {
    let rows = sqlx::query("SELECT id, source FROM detection_rule WHERE tenant_id = $1 ORDER BY position, id")
        .bind(shared.tenant.as_str())
        .fetch_all(shared.db.pool())
        .await?;
    let seal = shared.db.seal(&shared.tenant);
    rows.iter().map(|row| Ok((row.try_get("id")?, seal.get(row, columns::RULE_SOURCE)?))).collect()
}

/// Reads which rules are off.
pub async fn switched_off(shared: &Shared) -> Result<HashSet<String>, RuleError> {
    let rows = sqlx::query("SELECT rule_id FROM detection_switch WHERE tenant_id = $1 AND enabled = 0")
        .bind(shared.tenant.as_str())
        .fetch_all(shared.db.pool())
        .await?;
    rows.iter().map(|row| Ok(row.try_get("rule_id")?)).collect()
}

/// Compiles; takes a second for thousands of rules, so never on an async thread.
pub fn compile(imported: &[(String, String)], extra: Option<&str>, off: HashSet<String>) -> Loaded {
    let sources = shipped()
        .into_iter()
        .chain(imported.iter().map(|(id, text)| (format!("imported/{id}"), text.clone())))
        .chain(extra.map(|text| (IMPORT.to_owned(), text.to_owned())));
    let (set, loose) = RuleSet::load(sources, &Options::default());
    for diagnostic in loose {
        tracing::debug!(%diagnostic, "a rule document was passed over");
    }
    let engine = Engine::compile(Arc::new(set), Arc::new(HuntingMap)).with_disabled(&off);
    engine.prepare(Some(Platform::Linux));
    Loaded { engine, off }
}

impl Loaded {
    /// What the sensors run: every document that is on and usable, and filters, as they were written.
    pub fn bundle(&self) -> Bundle {
        let rules = self
            .engine
            .rules()
            .iter()
            .filter(|(index, _)| self.engine.is_active(*index))
            .map(|(_, rule)| BundleRule {
                name: format!("{}:{}", rule.source, rule.line),
                source: rule.text.to_string(),
            })
            .collect();
        Bundle { rules }
    }

    /// A rule as the API shows it; `None` if its id cannot be one.
    pub fn rule(&self, index: RuleIndex, alert_count: i64, with_source: bool) -> Option<Rule> {
        let rule = self.engine.rule(index)?;
        let id = RuleId::new(rule.id.clone()).ok()?;
        Some(Rule {
            title: rule.title.clone(),
            description: rule.description.clone(),
            severity: severity(rule.level),
            category: category(rule),
            mitre_techniques: rule.techniques.clone(),
            kind: rule.kind.as_str().to_owned(),
            origin: if is_imported(&rule.source) { "imported" } else { "shipped" }.to_owned(),
            status: rule.status.clone(),
            author: rule.author.clone(),
            tables: self.engine.tables_of(index).to_vec(),
            enabled: !self.off.contains(&rule.id),
            usable: self.engine.is_active(index),
            diagnostics: self.engine.diagnostics(index).iter().map(diagnostic).collect(),
            false_positives: rule.false_positives.clone(),
            recommended_action: rule.recommended_action.clone(),
            alert_count_30d: alert_count,
            source: with_source.then(|| rule.text.to_string()),
            id,
        })
    }

    /// Finds a rule by its id.
    pub fn find(&self, id: &RuleId) -> Option<RuleIndex> {
        self.engine.rules().find(id.as_str())
    }

    /// All rules that have a usable id, by title.
    pub fn rules(&self, counts: &HashMap<String, i64>) -> Vec<Rule> {
        let mut all: Vec<Rule> = self
            .engine
            .rules()
            .iter()
            .filter(|(index, rule)| self.engine.rules().find(&rule.id) == Some(*index))
            .filter_map(|(index, rule)| self.rule(index, counts.get(&rule.id).copied().unwrap_or(0), false))
            .collect();
        all.sort_by(|a, b| (&a.title, &a.id).cmp(&(&b.title, &b.id)));
        all
    }
}

/// The alert's severity for a rule's level. There is no `critical` among the words of alerts.
pub fn severity(level: garrison_sigma::Level) -> Severity {
    use garrison_sigma::Level;
    match level {
        Level::Informational => Severity::Informational,
        Level::Low => Severity::Low,
        Level::Medium => Severity::Medium,
        Level::High | Level::Critical => Severity::High,
    }
}

/// The tactic that stands for a rule with several: the first it names.
pub fn category(rule: &garrison_sigma::Rule) -> String {
    rule.tactics.first().cloned().unwrap_or_else(|| "SuspiciousActivity".to_owned())
}

/// A numbered remark in the API's shape.
pub fn diagnostic(d: &garrison_sigma::Diagnostic) -> RuleDiagnostic {
    RuleDiagnostic {
        code: d.code.as_str().to_owned(),
        level: d.severity.as_str().to_owned(),
        message: d.message.clone(),
        place: if d.line > 0 { format!("{} (line {})", d.place, d.line) } else { d.place.clone() },
        hint: Some(d.hint().to_owned()),
    }
}
