//! `garrison suppression …`

use super::client::{CliError, Client, typed};
use super::output::{Printer, clean, short_time};
use clap::{Args, Subcommand};
use garrison_model::{Page, Suppression, SuppressionPreview};
use serde_json::{Value, json};

/// What a suppression looks for.
#[derive(Debug, Args)]
pub struct Scope {
    /// Only alerts of this rule.
    #[arg(long)]
    rule: Option<String>,
    /// Only on this device (whole id).
    #[arg(long)]
    device: Option<String>,
    /// `Column=value`, `Column~part`, `Column^beginning` or `Column$end`; may be given several times.
    #[arg(long = "where")]
    conditions: Vec<String>,
}

impl Scope {
    fn body(&self) -> Result<Value, CliError> {
        let mut conditions = Vec::new();
        for text in &self.conditions {
            let found = text.char_indices().find(|(_, c)| matches!(c, '=' | '~' | '^' | '$'));
            let Some((at, mark)) = found else {
                return Err(CliError::usage(format!("`{text}` is no condition"), "write Column=value or Column~part"));
            };
            let operator = match mark {
                '=' => "equals",
                '~' => "contains",
                '^' => "startsWith",
                _ => "endsWith",
            };
            conditions.push(json!({ "column": &text[..at], "operator": operator, "value": &text[at + 1..] }));
        }
        let mut body = json!({ "conditions": conditions });
        if let Some(rule) = &self.rule {
            body["ruleId"] = rule.as_str().into();
        }
        if let Some(device) = &self.device {
            body["deviceId"] = device.as_str().into();
        }
        Ok(body)
    }
}

/// Commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Suppression rules.
    List,
    /// What a suppression would have hidden.
    Preview {
        #[command(flatten)]
        scope: Scope,
        /// Days to look back.
        #[arg(long, default_value_t = 30)]
        days: u32,
    },
    /// Make one.
    Create {
        /// Name.
        #[arg(long)]
        name: String,
        /// Reason, for those who come later.
        #[arg(long)]
        reason: String,
        /// When it ends by itself (RFC 3339).
        #[arg(long)]
        expires: Option<String>,
        #[command(flatten)]
        scope: Scope,
    },
    /// Remove one.
    Remove {
        /// Id.
        id: String,
    },
}

pub(super) async fn run(command: Command, client: &Client, printer: &Printer) -> Result<(), CliError> {
    match command {
        Command::List => {
            let page: Page<Suppression> = client.fetch("/suppressions").await?;
            printer.list(&["ID", "NAME", "HIDDEN", "BY", "EXPIRES", "REASON"], &page.items, |s| {
                vec![
                    s.id.to_string(),
                    clean(&s.name),
                    s.hidden_count.to_string(),
                    clean(&s.created_by),
                    s.expires_time.as_deref().map(short_time).unwrap_or_default(),
                    clean(&s.reason),
                ]
            })
        }
        Command::Preview { scope, days } => {
            let answer = client.post("/suppressions/preview", &json!({ "scope": scope.body()?, "days": days })).await?;
            if !printer.is_table() {
                return printer.json(&answer);
            }
            let preview: SuppressionPreview = typed(answer)?;
            printer.line(&format!(
                "would have hidden {} of {} alerts in {} days",
                preview.would_hide, preview.looked_at, preview.days
            ));
            preview.examples.iter().for_each(|id| printer.line(&format!("  {id}")));
            Ok(())
        }
        Command::Create { name, reason, expires, scope } => {
            let mut body = json!({ "name": name, "reason": reason, "scope": scope.body()? });
            if let Some(expires) = expires {
                body["expiresTime"] = expires.into();
            }
            let made = client.post("/suppressions", &body).await?;
            printer.json(&made)
        }
        Command::Remove { id } => {
            client.delete(&format!("/suppressions/{id}")).await?;
            eprintln!("suppression {id} removed");
            Ok(())
        }
    }
}
