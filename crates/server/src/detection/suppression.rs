//! Whether a suppression rule hides an alert. Pure: the store is in `suppressions`.

use garrison_model::{DeviceId, RuleId, SuppressionCondition, SuppressionScope};
use serde_json::Value;

/// Conditions in one suppression: each is looked at for every alert.
pub const CONDITIONS_MAX: usize = 16;
/// Bytes of one condition's value.
pub const VALUE_BYTES_MAX: usize = 1_024;

/// Why a scope cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// It would hide everything.
    #[error("the scope is empty and would hide every alert")]
    Empty,
    /// Too many conditions.
    #[error("more than {CONDITIONS_MAX} conditions")]
    TooMany,
    /// Unknown operator.
    #[error("`{0}` is not an operator; use equals, contains, startsWith or endsWith")]
    Operator(String),
    /// No table has such a column.
    #[error("no hunting table has a column `{0}`")]
    Column(String),
    /// Value missing or too long.
    #[error("the value for `{0}` is empty or longer than {VALUE_BYTES_MAX} bytes")]
    Value(String),
}

/// Checks a scope as it comes from a user.
pub fn scope_check(scope: &SuppressionScope) -> Result<(), ScopeError> {
    if scope.rule_id.is_none() && scope.conditions.is_empty() && scope.device_id.is_none() {
        return Err(ScopeError::Empty);
    }
    if scope.conditions.len() > CONDITIONS_MAX {
        return Err(ScopeError::TooMany);
    }
    for condition in &scope.conditions {
        if !matches!(condition.operator.as_str(), "equals" | "contains" | "startsWith" | "endsWith") {
            return Err(ScopeError::Operator(condition.operator.chars().take(40).collect()));
        }
        let known = garrison_telemetry::tables().iter().any(|t| t.column(&condition.column).is_some());
        if !known {
            return Err(ScopeError::Column(condition.column.chars().take(80).collect()));
        }
        if condition.value.is_empty() || condition.value.len() > VALUE_BYTES_MAX {
            return Err(ScopeError::Value(condition.column.clone()));
        }
    }
    Ok(())
}

/// Whether the scope covers an alert of this rule on this device with these matched rows. All conditions must hold on
/// one and the same row: an alert is hidden for what was seen together.
pub fn covers<'a>(
    scope: &SuppressionScope,
    rule: &RuleId,
    device: &DeviceId,
    rows: impl IntoIterator<Item = &'a Value>,
) -> bool {
    if scope.rule_id.as_ref().is_some_and(|r| r != rule) || scope.device_id.as_ref().is_some_and(|d| d != device) {
        return false;
    }
    scope.conditions.is_empty() || rows.into_iter().any(|row| scope.conditions.iter().all(|c| holds(c, row)))
}

fn holds(condition: &SuppressionCondition, row: &Value) -> bool {
    let Some(value) = row.get(&condition.column) else { return false };
    let found = match value {
        Value::String(text) => text.to_lowercase(),
        Value::Null => return false,
        other => other.to_string().to_lowercase(),
    };
    let wanted = condition.value.to_lowercase();
    match condition.operator.as_str() {
        "equals" => found == wanted,
        "contains" => found.contains(&wanted),
        "startsWith" => found.starts_with(&wanted),
        "endsWith" => found.ends_with(&wanted),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn condition(column: &str, operator: &str, value: &str) -> SuppressionCondition {
        SuppressionCondition { column: column.into(), operator: operator.into(), value: value.into() }
    }

    #[test]
    fn all_conditions_must_hold_on_one_row() {
        let rule = RuleId::new("r").unwrap();
        let device = DeviceId::new("ab".repeat(20)).unwrap();
        let scope = SuppressionScope {
            rule_id: Some(rule.clone()),
            device_id: None,
            conditions: vec![
                condition("FileName", "equals", "SH"),
                condition("ProcessCommandLine", "contains", "backup"),
            ],
        };
        let both = json!({"FileName": "sh", "ProcessCommandLine": "sh -c Backup.sh"});
        let one = json!({"FileName": "sh", "ProcessCommandLine": "sh -c id"});
        let other = json!({"FileName": "x", "ProcessCommandLine": "backup"});
        assert!(covers(&scope, &rule, &device, [&one, &both]));
        assert!(!covers(&scope, &rule, &device, [&one, &other]), "two rows may not help each other");
        assert!(!covers(&scope, &RuleId::new("q").unwrap(), &device, [&both]));
        assert!(!covers(&scope, &rule, &device, []));
    }

    #[test]
    fn a_scope_that_hides_everything_is_refused() {
        assert_eq!(scope_check(&SuppressionScope::default()), Err(ScopeError::Empty));
        let mut scope = SuppressionScope { conditions: vec![condition("Nope", "equals", "x")], ..Default::default() };
        assert_eq!(scope_check(&scope), Err(ScopeError::Column("Nope".into())));
        scope.conditions[0] = condition("FileName", "like", "x");
        assert_eq!(scope_check(&scope), Err(ScopeError::Operator("like".into())));
        scope.conditions[0] = condition("FileName", "equals", "x");
        assert_eq!(scope_check(&scope), Ok(()));
    }
}
