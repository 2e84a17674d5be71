//! `garrison token …` and `garrison user …`: the operator's commands of this room, over the HTTP API.

use crate::cli::{CliError, Client, Globals, Printer};
use clap::Subcommand;
use garrison_model::Role;
use serde_json::{Value, json};

/// What a token lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum TokenKind {
    /// Sensors that are installed by hand.
    Sensor,
    /// Machines, by `garrison-connect`; the sensor follows by itself.
    Connector,
    /// Programs that use the API.
    Api,
}

impl TokenKind {
    fn path(self) -> &'static str {
        match self {
            Self::Sensor => "/enrolment-tokens",
            Self::Connector => "/connector-tokens",
            Self::Api => "/api-tokens",
        }
    }
}

/// Enrolment tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// A new token that enrols machines. Its text is printed on stdout, once.
    Create {
        /// What it is for.
        #[arg(long, default_value = "enrolment")]
        name: String,
        /// Hours until it expires.
        #[arg(long, default_value_t = super::TOKEN_EXPIRY_HOURS_DEFAULT)]
        expires_hours: i64,
        /// Machines it may enrol.
        #[arg(long, default_value_t = super::TOKEN_USES_DEFAULT)]
        uses: i64,
        /// What it lets in.
        #[arg(long, value_enum, default_value_t = TokenKind::Sensor)]
        kind: TokenKind,
        /// Connector tokens: only into this subscription (id).
        #[arg(long)]
        subscription: Option<String>,
        /// Connector tokens: only into this resource group.
        #[arg(long)]
        resource_group: Option<String>,
        /// API tokens: actions that it is bound to, separated by commas.
        #[arg(long, value_delimiter = ',')]
        scope: Vec<String>,
        /// API tokens: `reader`, `analyst` or `admin`; without it, only what --scope says.
        #[arg(long)]
        role: Option<Role>,
        /// API tokens: ids of device groups that it is bound to, separated by commas.
        #[arg(long, value_delimiter = ',')]
        device_groups: Vec<String>,
    },
    /// All tokens.
    List {
        /// What they let in.
        #[arg(long, value_enum, default_value_t = TokenKind::Sensor)]
        kind: TokenKind,
    },
    /// Takes a token back; machines that it enrolled stay.
    Revoke {
        /// Id.
        id: String,
        /// What it lets in.
        #[arg(long, value_enum, default_value_t = TokenKind::Sensor)]
        kind: TokenKind,
    },
}

/// Users.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// All users.
    List,
    /// A new user; prints the link to sign in first.
    #[command(alias = "create")]
    Add {
        /// Name.
        name: String,
        /// `reader`, `analyst` or `admin`.
        #[arg(long, default_value = "reader")]
        role: Role,
    },
    /// Shuts a user out: sessions and links end at once.
    Disable {
        /// Name.
        name: String,
    },
    /// Lets a user in again.
    Enable {
        /// Name.
        name: String,
    },
    /// A one-time sign-in link for a user; it holds for an hour.
    Link {
        /// Name.
        #[arg(default_value = "admin")]
        name: String,
    },
}

/// Runs `garrison token …`.
pub async fn token_run(command: TokenCommand, globals: &Globals) -> Result<(), CliError> {
    let (client, printer) = (Client::connect(globals)?, Printer::new(globals.output));
    match command {
        TokenCommand::Create { kind: TokenKind::Api, name, expires_hours, scope, role, device_groups, .. } => {
            let body = json!({"name": name, "expiresHours": expires_hours, "scope": scope, "role": role,
                "deviceGroups": device_groups});
            let made = client.post(TokenKind::Api.path(), &body).await?;
            if printer.is_table() {
                printer.line(made["token"].as_str().unwrap_or_default());
                eprintln!("The token holds for {expires_hours} hours. It is not shown again.");
                return Ok(());
            }
            printer.json(&made)
        }
        TokenCommand::Create { scope, role, device_groups, .. }
            if !scope.is_empty() || role.is_some() || !device_groups.is_empty() =>
        {
            Err(CliError::usage("only API tokens have a scope, a role and device groups", "add --kind api"))
        }
        TokenCommand::Create { name, expires_hours, uses, kind, subscription, resource_group, .. } => {
            let mut body = json!({"name": name, "expiresHours": expires_hours, "uses": uses});
            if kind == TokenKind::Connector {
                body["subscription"] = json!(subscription);
                body["resourceGroup"] = json!(resource_group);
            } else if subscription.is_some() || resource_group.is_some() {
                let hint = "add --kind connector";
                return Err(CliError::usage("only connector tokens have a subscription and a group", hint));
            }
            let made = client.post(kind.path(), &body).await?;
            if printer.is_table() {
                printer.line(made["token"].as_str().unwrap_or_default());
                let several = |count: i64, of: &str| format!("{count} {of}{}", if count == 1 { "" } else { "s" });
                let (hours, machines) = (several(expires_hours, "hour"), several(uses, "machine"));
                eprintln!("The token holds for {hours} and {machines}. It is not shown again.");
                return Ok(());
            }
            printer.json(&made)
        }
        TokenCommand::List { kind } => {
            let all = client.get(kind.path()).await?;
            if kind == TokenKind::Api {
                return show(&printer, &all, &["id", "name", "role", "scope", "deviceGroups", "expiresTime"]);
            }
            show(&printer, &all, &["id", "name", "expiresTime", "uses", "usesMax", "revoked"])
        }
        TokenCommand::Revoke { id, kind } => {
            client.delete(&format!("{}/{id}", kind.path())).await?;
            eprintln!("Token {id} is revoked.");
            Ok(())
        }
    }
}

/// Runs `garrison user …`.
pub async fn user_run(command: UserCommand, globals: &Globals) -> Result<(), CliError> {
    let (client, printer) = (Client::connect(globals)?, Printer::new(globals.output));
    match command {
        UserCommand::List => {
            let all = client.get("/users").await?;
            show(&printer, &all, &["name", "role", "passwordSet", "disabled"])
        }
        UserCommand::Add { name, role } => {
            let made = client.post("/users", &json!({"name": name, "role": role})).await?;
            link_show(&client, &printer, &made)
        }
        UserCommand::Disable { name } => {
            client.patch(&format!("/users/{name}"), &json!({"disabled": true})).await?;
            eprintln!("User {name} is shut out.");
            Ok(())
        }
        UserCommand::Enable { name } => {
            client.patch(&format!("/users/{name}"), &json!({"disabled": false})).await?;
            eprintln!("User {name} may sign in again.");
            Ok(())
        }
        UserCommand::Link { name } => {
            let made = client.post(&format!("/users/{name}/link"), &json!({})).await?;
            link_show(&client, &printer, &made)
        }
    }
}

fn link_show(client: &Client, printer: &Printer, made: &Value) -> Result<(), CliError> {
    let link = made["link"].as_str().unwrap_or_default();
    let base = client.base();
    let base = base.strip_suffix("/api/v1").unwrap_or(base);
    let url = format!("{base}/sign-in?link={link}");
    if !printer.is_table() {
        let mut made = made.clone();
        made["url"] = Value::String(url);
        return printer.json(&made);
    }
    printer.line(&url);
    eprintln!("The link holds for one hour and one sign-in.");
    Ok(())
}

fn show(printer: &Printer, all: &Value, columns: &[&str]) -> Result<(), CliError> {
    if !printer.is_table() {
        return printer.json(all);
    }
    let items = all.get("items").unwrap_or(all).as_array().cloned().unwrap_or_default();
    printer.line(&columns.join("\t"));
    for item in items {
        let cell = |c: &&str| match item.get(*c) {
            Some(Value::String(text)) => crate::cli::clean(text),
            None | Some(Value::Null) => String::new(),
            Some(other) => other.to_string(),
        };
        printer.line(&columns.iter().map(cell).collect::<Vec<_>>().join("\t"));
    }
    Ok(())
}
