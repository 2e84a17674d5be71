//! `garrison export …`

use super::client::{CliError, Client, typed};
use super::output::{Printer, clean, short_time};
use crate::exports::{Export, Kind, Mode, What};
use clap::{Args, Subcommand};
use garrison_model::Page;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Where records go.
#[derive(Debug, Args)]
pub struct Way {
    /// Address of a webhook.
    #[arg(long)]
    url: Option<String>,
    /// File with the secret of the webhook's signature, 16 to 256 characters.
    #[arg(long)]
    secret_file: Option<PathBuf>,
    /// Host of a syslog receiver.
    #[arg(long)]
    host: Option<String>,
    /// Its port.
    #[arg(long, default_value_t = 6514)]
    port: u16,
    /// File with the certificates (PEM) that sign the receiver's.
    #[arg(long)]
    ca: Option<PathBuf>,
    /// Folder in the object store.
    #[arg(long)]
    prefix: Option<String>,
}

/// Commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// All exports and how they go.
    List,
    /// Makes one.
    Create {
        /// Name: a-z, 0-9, -.
        name: String,
        /// How records leave.
        #[arg(long, value_enum)]
        kind: Kind,
        /// Each change, or everything once a week.
        #[arg(long, value_enum, default_value_t = Mode::Streaming)]
        mode: Mode,
        /// What; may be given several times.
        #[arg(long, value_enum, default_values_t = [What::Alerts])]
        what: Vec<What>,
        #[command(flatten)]
        way: Way,
    },
    /// Switches one on.
    Enable {
        /// Name or id.
        export: String,
    },
    /// Switches one off; it goes on where it stopped.
    Disable {
        /// Name or id.
        export: String,
    },
    /// Sends one record that says that it is a test.
    Test {
        /// Name or id.
        export: String,
    },
    /// Sends everything that changed since a moment once more.
    Replay {
        /// Name or id.
        export: String,
        /// RFC 3339.
        #[arg(long)]
        from: String,
    },
    /// Removes one.
    Delete {
        /// Name or id.
        export: String,
    },
}

fn file(path: &Path) -> Result<String, CliError> {
    std::fs::read_to_string(path).map_err(|source| CliError::File { path: path.display().to_string(), source })
}

fn body(name: &str, kind: Kind, mode: Mode, what: &[What], way: &Way) -> Result<Value, CliError> {
    let needs = |option: &str| CliError::usage(format!("a {} needs {option}", kind.as_str()), format!("give {option}"));
    let ca = way.ca.as_deref().map(file).transpose()?;
    let target = match kind {
        Kind::Webhook => {
            let mut target = json!({ "url": way.url.as_ref().ok_or_else(|| needs("--url"))? });
            if let Some(ca) = ca {
                target["caPem"] = ca.into();
            }
            target
        }
        Kind::Syslog => {
            let host = way.host.as_ref().ok_or_else(|| needs("--host"))?;
            json!({ "host": host, "port": way.port, "caPem": ca.ok_or_else(|| needs("--ca"))? })
        }
        Kind::Object => json!({ "prefix": way.prefix.as_ref().ok_or_else(|| needs("--prefix"))? }),
        Kind::File => json!({}),
    };
    let mut body = json!({ "name": name, "kind": kind, "mode": mode, "what": what, "target": target });
    if let Some(secret) = &way.secret_file {
        body["secret"] = file(secret)?.trim().into();
    }
    Ok(body)
}

fn show(items: &[Export], printer: &Printer) -> Result<(), CliError> {
    printer.list(&["NAME", "KIND", "MODE", "WHAT", "ON", "DELIVERED", "PENDING", "LAST", "TROUBLE"], items, |e| {
        vec![
            clean(&e.name),
            e.kind.as_str().to_owned(),
            e.mode.as_str().to_owned(),
            e.what.iter().map(|w| w.as_str()).collect::<Vec<_>>().join(","),
            if e.enabled { printer.paint("32", "yes") } else { printer.paint("2", "no") },
            e.status.delivered.to_string(),
            e.status.pending.to_string(),
            e.status.last_delivered.as_deref().map(short_time).unwrap_or_default(),
            printer.paint("33", &clean(e.status.last_error.as_deref().unwrap_or_default())),
        ]
    })
}

async fn find(client: &Client, text: &str) -> Result<Export, CliError> {
    let page: Page<Export> = client.fetch("/exports").await?;
    let found = page.items.into_iter().find(|e| e.name == text || e.id == text);
    found.ok_or_else(|| CliError::Missing(format!("there is no export `{}`", clean(text))))
}

async fn switch(client: &Client, printer: &Printer, text: &str, on: bool) -> Result<(), CliError> {
    let e = find(client, text).await?;
    let body =
        json!({ "name": e.name, "kind": e.kind, "mode": e.mode, "what": e.what, "target": e.target, "enabled": on });
    show(&[typed(client.put(&format!("/exports/{}", e.id), &body).await?)?], printer)
}

pub(super) async fn run(command: Command, client: &Client, printer: &Printer) -> Result<(), CliError> {
    match command {
        Command::List => {
            let page: Page<Export> = client.fetch("/exports").await?;
            show(&page.items, printer)
        }
        Command::Create { name, kind, mode, what, way } => {
            let body = body(&name, kind, mode, &what, &way)?;
            show(&[typed(client.post("/exports", &body).await?)?], printer)
        }
        Command::Enable { export } => switch(client, printer, &export, true).await,
        Command::Disable { export } => switch(client, printer, &export, false).await,
        Command::Test { export } => {
            let e = find(client, &export).await?;
            let answer = client.post(&format!("/exports/{}/test", e.id), &json!({})).await?;
            if answer["delivered"] == true {
                eprintln!("delivered");
                return Ok(());
            }
            Err(CliError::Failed(format!("not delivered: {}", clean(answer["words"].as_str().unwrap_or_default()))))
        }
        Command::Replay { export, from } => {
            let e = find(client, &export).await?;
            let answer = client.post(&format!("/exports/{}/replay", e.id), &json!({ "from": from })).await?;
            show(&[typed(answer)?], printer)
        }
        Command::Delete { export } => {
            let e = find(client, &export).await?;
            client.delete(&format!("/exports/{}", e.id)).await?;
            eprintln!("export {} removed", clean(&e.name));
            Ok(())
        }
    }
}
