//! Trying a rule before it goes into use: on rows given with it, or on the rows of past days.

use super::draft::explain;
use super::{Detection, RuleError, rules};
use garrison_lake::{Order, ScanRequest};
use garrison_model::{Match, Micros, RuleDiagnostic};
use garrison_sigma::{Engine, HuntingMap, Matches, Options, Platform, RuleSet, Scratch};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Rows that a trial may bring.
pub const ROWS_MAX: usize = 1_000;
/// Matches shown.
const MATCHES_MAX: usize = 100;
/// Days a trial may look back.
pub const DAYS_MAX: u32 = 30;
/// A trial over the lake ends after this time and says so: it is a question, not a hunt.
const TIME_MAX: Duration = Duration::from_secs(20);

/// A row to try a rule on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TrialRow {
    /// Hunting table.
    pub table: String,
    /// Row, by column name.
    #[schema(value_type = Object)]
    pub row: Value,
}

/// A trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Trial {
    /// YAML, one or more documents.
    pub source: String,
    /// Rows to look at.
    #[serde(default)]
    pub rows: Vec<TrialRow>,
    /// Past days to look at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
}

/// What a trial found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrialResult {
    /// Remarks on the rules.
    pub diagnostics: Vec<RuleDiagnostic>,
    /// Matches, at most 100.
    pub matches: Vec<Match>,
    /// Rows looked at.
    pub rows_looked_at: u64,
    /// All matches.
    pub match_count: u64,
    /// Whether time ran out before all rows were looked at.
    pub incomplete: bool,
}

impl Detection {
    /// Tries a rule.
    pub async fn rule_try(self: &Arc<Self>, trial: Trial) -> Result<TrialResult, RuleError> {
        if trial.source.len() > rules::IMPORT_BYTES_MAX || trial.rows.len() > ROWS_MAX {
            return Err(RuleError::TooLarge);
        }
        let own = Arc::clone(self);
        tokio::task::spawn_blocking(move || own.rule_try_now(&trial)).await.map_err(|_| RuleError::Task)?
    }

    fn rule_try_now(&self, trial: &Trial) -> Result<TrialResult, RuleError> {
        let (set, loose) = RuleSet::load([("test", trial.source.as_str())], &Options::default());
        let engine = Engine::compile(Arc::new(set), Arc::new(HuntingMap));
        let mut result =
            TrialResult { diagnostics: loose.iter().map(rules::diagnostic).collect(), ..Default::default() };
        let indexes: Vec<_> = engine.rules().iter().map(|(index, _)| index).collect();
        for index in &indexes {
            result.diagnostics.extend(engine.diagnostics(*index).iter().map(rules::diagnostic));
        }
        let (mut scratch, mut matches) = (Scratch::new(), Matches::new());
        let mut look = |table: &str, batch: &arrow::array::RecordBatch, result: &mut TrialResult| {
            engine.evaluate(&mut scratch, table, Some(Platform::Linux), batch, &mut matches);
            result.rows_looked_at += batch.num_rows() as u64;
            for hit in matches.hits() {
                result.match_count += 1;
                if result.matches.len() >= MATCHES_MAX {
                    continue;
                }
                let row = garrison_telemetry::row_to_json(batch, hit.row as usize);
                result.matches.push(Match {
                    table: table.to_owned(),
                    timestamp: row.get("Timestamp").and_then(Value::as_str).unwrap_or_default().to_owned(),
                    fields: explain(&engine, hit.rule, table, batch, hit.row as usize),
                    row: Value::Object(row),
                });
            }
        };
        for (number, row) in trial.rows.iter().enumerate() {
            let batch = garrison_telemetry::batch_from_json(&row.table, std::slice::from_ref(&row.row))
                .map_err(|e| RuleError::TestRow { row: number, why: e.to_string() })?;
            look(&row.table, &batch, &mut result);
        }
        let Some(days) = trial.days.filter(|d| *d > 0) else { return Ok(result) };
        let from = crate::now().0 - i64::from(days.min(DAYS_MAX)) * 24 * 3_600_000_000;
        let mut tables: Vec<String> = indexes.iter().flat_map(|index| engine.tables_of(*index).to_vec()).collect();
        tables.sort();
        tables.dedup();
        // Tables that nothing writes yet have no rows to try the rule on.
        tables.retain(|name| garrison_telemetry::table(name).is_some_and(|table| table.feature.is_none()));
        let started = Instant::now();
        for table in tables {
            let request = ScanRequest { from: Some(Micros(from)), order: Order::Any, ..ScanRequest::table(&table) };
            for batch in self.shared.lake.scan(request)? {
                look(&table, &batch?, &mut result);
                if started.elapsed() > TIME_MAX {
                    result.incomplete = true;
                    return Ok(result);
                }
            }
        }
        Ok(result)
    }
}
