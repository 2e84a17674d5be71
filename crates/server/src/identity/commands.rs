//! `garrison token …` and `garrison user …`: the operator's commands of this room, over the HTTP API.

use crate::cli::{CliError, Client, Globals, Printer, clean, short_time, subscription_find};
use clap::Subcommand;
use garrison_model::{Micros, Page, Role, Subscription};
use serde_json::{Value, json};
use std::collections::HashMap;

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
    const ALL: [TokenKind; 3] = [Self::Sensor, Self::Connector, Self::Api];

    fn as_str(self) -> &'static str {
        match self {
            Self::Sensor => "sensor",
            Self::Connector => "connector",
            Self::Api => "api",
        }
    }

    /// The kind that was named, else all.
    fn these(named: Option<Self>) -> Vec<Self> {
        named.map_or_else(|| Self::ALL.to_vec(), |kind| vec![kind])
    }

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
        /// Connector tokens: only into this subscription (name or id).
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
    /// All tokens, without their secrets.
    List {
        /// Only those that let this in.
        #[arg(long, value_enum)]
        kind: Option<TokenKind>,
    },
    /// Takes a token back; machines that it enrolled stay.
    Revoke {
        /// Id.
        id: String,
        /// What it lets in; found by its id unless given.
        #[arg(long, value_enum)]
        kind: Option<TokenKind>,
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
                let found = match &subscription {
                    Some(text) => Some(subscription_find(&client, text).await?.id),
                    None => None,
                };
                body["subscription"] = json!(found);
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
        TokenCommand::List { kind } => token_list(kind, &client, &printer).await,
        TokenCommand::Revoke { id, kind } => token_revoke(&id, kind, &client).await,
    }
}

/// What a program reads of a token, whatever its kind: what a kind has not is null.
const TOKEN_KEYS: [&str; 12] = [
    "id",
    "name",
    "subscription",
    "resourceGroup",
    "role",
    "scope",
    "deviceGroups",
    "createdTime",
    "expiresTime",
    "uses",
    "usesMax",
    "revoked",
];

async fn token_list(named: Option<TokenKind>, client: &Client, printer: &Printer) -> Result<(), CliError> {
    let (mut tokens, mut refused, mut seen) = (Vec::new(), Vec::new(), false);
    for kind in TokenKind::these(named) {
        match client.get(kind.path()).await {
            Ok(page) => {
                seen = true;
                for item in page["items"].as_array().into_iter().flatten() {
                    let mut line = serde_json::Map::new();
                    line.insert("kind".to_owned(), kind.as_str().into());
                    line.extend(TOKEN_KEYS.map(|key| (key.to_owned(), item.get(key).cloned().unwrap_or_default())));
                    tokens.push(Value::Object(line));
                }
            }
            // Who may see tokens of one kind only is shown those.
            Err(CliError::Refused(problem)) if problem.status == 403 => refused.push((kind, problem)),
            Err(error) => return Err(error),
        }
    }
    for (kind, problem) in refused {
        if !seen {
            return Err(CliError::Refused(problem));
        }
        eprintln!("Tokens of kind `{}` are left out: {}", kind.as_str(), clean(&problem.title));
    }
    let names: HashMap<String, String> = if printer.is_table() {
        // Who may not see subscriptions reads their ids.
        let all = client.fetch::<Page<Subscription>>("/subscriptions").await.map(|page| page.items);
        all.unwrap_or_default().into_iter().map(|s| (s.id.to_string(), s.name)).collect()
    } else {
        HashMap::new()
    };
    let now = crate::now();
    printer.list(&["KIND", "ID", "NAME", "BOUND TO", "EXPIRES", "USES", "STATE"], &tokens, |t| {
        let text = |key: &str| t[key].as_str().map(clean).unwrap_or_default();
        let uses = match (t["uses"].as_i64(), t["usesMax"].as_i64()) {
            (Some(uses), Some(most)) => format!("{uses} of {most}"),
            _ => String::new(),
        };
        let expires = text("expiresTime");
        vec![
            text("kind"),
            text("id"),
            text("name"),
            token_bound(t, &names),
            if expires.is_empty() { "never".to_owned() } else { short_time(&expires) },
            uses,
            token_state(t, now).to_owned(),
        ]
    })
}

/// Where a connector token lets machines in; what an API token may do.
fn token_bound(token: &Value, names: &HashMap<String, String>) -> String {
    let subscription = token["subscription"].as_str().unwrap_or_default();
    let place = [names.get(subscription).map_or(subscription, String::as_str)];
    let texts =
        |key: &str| -> Vec<&str> { token[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect() };
    let (scope, groups) = (texts("scope").join(", "), texts("deviceGroups").join(", "));
    let group = token["resourceGroup"].as_str().filter(|g| !g.is_empty()).map(|g| format!("group {g}"));
    let devices = (!groups.is_empty()).then(|| format!("device groups {groups}"));
    let parts = place.into_iter().chain(group.as_deref()).chain(token["role"].as_str());
    let parts = parts.chain([scope.as_str()]).chain(devices.as_deref()).filter(|part| !part.is_empty());
    clean(&parts.collect::<Vec<_>>().join("; "))
}

/// Why a token lets nobody in any more.
fn token_state(token: &Value, now: Micros) -> &'static str {
    let expires = token["expiresTime"].as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    if token["revoked"].as_bool() == Some(true) {
        "revoked"
    } else if expires.is_some_and(|at| at.as_microsecond() <= now.0) {
        "expired"
    } else if token["uses"].as_i64().zip(token["usesMax"].as_i64()).is_some_and(|(uses, most)| uses >= most) {
        "used up"
    } else {
        ""
    }
}

async fn token_revoke(id: &str, named: Option<TokenKind>, client: &Client) -> Result<(), CliError> {
    let mut refused = None;
    for kind in TokenKind::these(named) {
        match client.delete(&format!("{}/{id}", kind.path())).await {
            Ok(_) => {
                eprintln!("Token {} of kind `{}` is revoked.", clean(id), kind.as_str());
                return Ok(());
            }
            Err(CliError::Refused(problem)) if problem.status == 404 => {}
            // It may be of a kind that the caller has to do with.
            Err(CliError::Refused(problem)) if problem.status == 403 => refused = Some(problem),
            Err(error) => return Err(error),
        }
    }
    Err(match refused {
        Some(problem) => CliError::Refused(problem),
        None => CliError::Missing(format!("there is no token `{}`", clean(id))),
    })
}

/// Runs `garrison user …`.
pub async fn user_run(command: UserCommand, globals: &Globals) -> Result<(), CliError> {
    let (client, printer) = (Client::connect(globals)?, Printer::new(globals.output));
    match command {
        UserCommand::List => {
            let all = client.get("/users").await?;
            let users = all["items"].as_array().map(Vec::as_slice).unwrap_or_default();
            printer.list(&["NAME", "ROLE", "PASSWORD", "STATE"], users, |user| {
                let text = |key: &str| user[key].as_str().map(clean).unwrap_or_default();
                let has = |key: &str| user[key].as_bool() == Some(true);
                let state = if has("disabled") { printer.paint("31", "shut out") } else { String::new() };
                vec![text("name"), text("role"), if has("passwordSet") { "set" } else { "" }.to_owned(), state]
            })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_what_it_is_bound_to_and_why_it_holds_no_more() {
        let names = HashMap::from([("s1".to_owned(), "Production".to_owned())]);
        let now = Micros(1_800_000_000_000_000);
        for (token, bound, state) in [
            (json!({"uses": 1, "usesMax": 2, "expiresTime": "2099-01-01T00:00:00Z"}), "", ""),
            (json!({"subscription": "", "resourceGroup": "", "revoked": true}), "", "revoked"),
            (
                json!({"subscription": "s1", "resourceGroup": "web", "uses": 2, "usesMax": 2}),
                "Production; group web",
                "used up",
            ),
            (json!({"subscription": "s2", "expiresTime": "2001-01-01T00:00:00Z"}), "s2", "expired"),
            (
                json!({"role": "reader", "scope": ["a", "b"], "deviceGroups": ["g"], "expiresTime": null}),
                "reader; a, b; device groups g",
                "",
            ),
        ] {
            assert_eq!((token_bound(&token, &names).as_str(), token_state(&token, now)), (bound, state), "{token}");
        }
    }
}
