//! Routes of rules.

use super::Api;
use super::cases::slice;
use super::extract::{Body, Id, Query, limit};
use super::problem::{ApiError, Kind};
use crate::detection::retro::{RetroKind, RetroNew};
use crate::detection::store::Imported;
use crate::detection::trial::{Trial, TrialResult};
use crate::identity::Principal;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use garrison_model::{Feature, Page, Problem, Rule, RuleId};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

/// Filters of rules.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RuleQuery {
    /// Words in title, id, techniques, tables.
    q: Option<String>,
    /// On or off.
    enabled: Option<bool>,
    /// Tactic, such as `Execution`.
    tactic: Option<String>,
    /// From the page before.
    cursor: Option<String>,
    /// Items, 1 to 500.
    limit: Option<usize>,
}

/// Whether to change anything.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ImportQuery {
    /// Only say what would happen.
    #[serde(default)]
    dry_run: bool,
}

/// A switch.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SwitchBody {
    /// On or off.
    enabled: bool,
}

/// Rules of one import that are run over the past by themselves; for more, ask for each.
const RETRO_IMPORT_MAX: usize = 20;

/// All rules, by title.
#[utoipa::path(get, path = "/rules", tag = "rules", params(RuleQuery), responses((status = 200, body = Page<Rule>), (status = 400, body = Problem)))]
pub async fn rule_list(State(api): State<Api>, Query(q): Query<RuleQuery>) -> Result<Json<Page<Rule>>, ApiError> {
    let limit = limit(q.limit)?;
    let words: Vec<String> = q.q.unwrap_or_default().to_lowercase().split_whitespace().map(str::to_owned).collect();
    let mut rules = api.detection.rules().await?;
    rules.retain(|rule| {
        let text = || {
            [rule.title.as_str(), rule.id.as_str(), rule.category.as_str(), rule.origin.as_str()]
                .into_iter()
                .chain(rule.mitre_techniques.iter().map(String::as_str))
                .chain(rule.tables.iter().map(String::as_str))
                .collect::<Vec<_>>()
                .join("\n")
                .to_lowercase()
        };
        q.enabled.is_none_or(|enabled| rule.enabled == enabled)
            && q.tactic.as_deref().is_none_or(|t| t.is_empty() || rule.category.eq_ignore_ascii_case(t))
            && (words.is_empty() || {
                let text = text();
                words.iter().all(|word| text.contains(word.as_str()))
            })
    });
    Ok(Json(slice(rules, "rules", q.cursor.as_deref(), limit)?))
}

/// One rule with its source.
#[utoipa::path(get, path = "/rules/{id}", tag = "rules", params(("id" = String, Path,)),
    responses((status = 200, body = Rule), (status = 404, body = Problem)))]
pub async fn rule_get(State(api): State<Api>, Id(id): Id<RuleId>) -> Result<Json<Rule>, ApiError> {
    Ok(Json(api.detection.rule(&id).await?))
}

/// Switches a rule on or off for the whole fleet.
#[utoipa::path(patch, path = "/rules/{id}", tag = "rules", params(("id" = String, Path,)), request_body = SwitchBody,
    responses((status = 200, body = Rule), (status = 404, body = Problem)))]
pub async fn rule_patch(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Id(id): Id<RuleId>,
    Body(body): Body<SwitchBody>,
) -> Result<Json<Rule>, ApiError> {
    Ok(Json(api.detection.rule_switch(&id, body.enabled, &who.name).await?))
}

/// Removes an imported rule.
#[utoipa::path(delete, path = "/rules/{id}", tag = "rules", params(("id" = String, Path,)),
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn rule_delete(State(api): State<Api>, Id(id): Id<RuleId>) -> Result<StatusCode, ApiError> {
    api.detection.rule_delete(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes Sigma rules in: YAML, any number of documents. One bad document never stops the others.
#[utoipa::path(post, path = "/rules/import", tag = "rules", params(ImportQuery), request_body(content = String, content_type = "application/yaml"),
    responses((status = 200, body = Imported), (status = 400, body = Problem), (status = 413, body = Problem)))]
pub async fn rule_import(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    Query(q): Query<ImportQuery>,
    body: Bytes,
) -> Result<Json<Imported>, ApiError> {
    api.shared.requires(Feature::Alerts)?;
    let text = std::str::from_utf8(&body).map_err(|_| ApiError::with(Kind::BadBody, "the body is not UTF-8"))?;
    if text.trim().is_empty() {
        return Err(ApiError::with(Kind::BadBody, "the body is empty"));
    }
    let imported = api.detection.rule_import(text, q.dry_run, &who.name).await?;
    let fresh = imported.added + imported.updated;
    // A whole corpus is not hunted for by itself: that would be weeks of work that nobody asked for.
    if !q.dry_run && (1..=RETRO_IMPORT_MAX).contains(&fresh) {
        for rule in imported.rules.iter().filter(|rule| rule.usable) {
            let new = RetroNew { kind: RetroKind::Rule, target: rule.id.to_string(), days: None, alerts: None };
            if let Err(error) = api.own.retro.start(&new, &who.name).await {
                tracing::info!(rule = %rule.id, %error, "no retro-hunt for an imported rule");
            }
        }
    }
    Ok(Json(imported))
}

/// Tries a rule on rows given with it, or on the rows of past days. Nothing is kept.
#[utoipa::path(post, path = "/rules/test", tag = "rules", request_body = Trial,
    responses((status = 200, body = TrialResult), (status = 400, body = Problem)))]
pub async fn rule_test(State(api): State<Api>, Body(trial): Body<Trial>) -> Result<Json<TrialResult>, ApiError> {
    Ok(Json(api.detection.rule_try(trial).await?))
}
