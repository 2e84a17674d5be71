//! `garrison subscription …` and `garrison tenant …`

use super::client::{CliError, Client, query, typed};
use super::output::{Printer, clean, short_time};
use crate::api::tenants::TenantLine;
use crate::retention::RetentionDays;
use clap::{Subcommand, ValueEnum};
use garrison_model::{GroupName, Page, ResourceGroup, Subscription, SubscriptionId, Tags, Tenant, location_key};
use serde_json::{Value, json};

/// A switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

/// Commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// All subscriptions.
    List,
    /// One subscription with its resource groups.
    Show {
        /// Name or id.
        subscription: String,
    },
    /// Make a subscription, or change the one with `--id`.
    Create {
        /// Name.
        name: String,
        /// Where its machines are, such as `westeurope`.
        #[arg(long)]
        location: String,
        /// Its id; the server gives one otherwise.
        #[arg(long)]
        id: Option<SubscriptionId>,
        /// `name=value`; may be given several times.
        #[arg(long = "tag")]
        tags: Vec<String>,
    },
    /// Remove a subscription that holds no machine.
    Delete {
        /// Name or id.
        subscription: String,
    },
    /// Whether sensors are installed by themselves.
    Integration {
        /// Name or id.
        subscription: String,
        /// On or off.
        #[arg(value_enum)]
        switch: Switch,
    },
    /// Make a resource group.
    GroupCreate {
        /// Name or id of the subscription.
        subscription: String,
        /// Name of the group.
        group: GroupName,
    },
    /// Remove a resource group that holds no machine.
    GroupDelete {
        /// Name or id of the subscription.
        subscription: String,
        /// Name of the group.
        group: GroupName,
    },
}

/// Commands about the tenant.
#[derive(Debug, Subcommand)]
pub enum TenantCommand {
    /// The tenant and where its data rests.
    Show,
    /// The tenants that you have a role in.
    List,
    /// Makes a tenant; you own it. Only from the first tenant, by who owns that.
    Add {
        /// Id: lower-case letters, digits and `-`.
        id: String,
        /// Where its data rests, for good: a code such as `EU`.
        #[arg(long)]
        geography: String,
    },
    /// Geographies of this server.
    Geographies,
    /// Confirm the geography. It never changes: another one is refused.
    Geography {
        /// Code, such as `EU`.
        geography: String,
    },
    /// Days that data is kept; without options, as they are.
    Retention {
        /// Telemetry, alerts, incidents: 30 to 3650.
        #[arg(long)]
        portal: Option<u32>,
        /// The farthest that hunts see; 0: as far as rows are kept.
        #[arg(long)]
        hunting: Option<u32>,
        /// Alerts in the cloud view.
        #[arg(long)]
        cloud_alerts: Option<u32>,
        /// Devices that are silent.
        #[arg(long)]
        inactive_devices: Option<u32>,
    },
    /// Destroys all data of the tenant and begins anew in another geography. The server must be stopped.
    #[command(subcommand_negates_reqs = true)]
    Reset(super::rest::ResetArgs),
    /// The key of the tenant's lake, for readers that are not ours.
    #[command(subcommand)]
    Key(super::rest::KeyCommand),
}

/// Reads `name=value` texts.
pub(super) fn tags(texts: &[String]) -> Result<Tags, CliError> {
    let mut tags = Tags::new();
    for text in texts {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| CliError::usage(format!("`{}` is no tag", clean(text)), "write name=value"))?;
        tags.insert(name.to_owned(), value.to_owned());
    }
    Ok(tags)
}

/// Tags on one line.
pub(super) fn tags_line(tags: &Tags) -> String {
    clean(&tags.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join(" "))
}

/// The subscription that a person means: by id, else by name where only one has it.
pub(crate) async fn find(client: &Client, text: &str) -> Result<Subscription, CliError> {
    let text = text.strip_prefix("/subscriptions/").unwrap_or(text);
    if let Ok(id) = text.parse::<SubscriptionId>() {
        return client.fetch(&format!("/subscriptions/{id}")).await;
    }
    let page: Page<Subscription> = client.fetch("/subscriptions").await?;
    let mut found = page.items.into_iter().filter(|s| s.name == text);
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => {
            Err(CliError::usage(format!("several subscriptions are named `{}`", clean(text)), "give the id"))
        }
        (None, _) => Err(CliError::Missing(format!("there is no subscription `{}`", clean(text)))),
    }
}

/// Says it where a location lies in no geography, which the server takes once it knows where the tenant rests.
async fn location_tell(client: &Client, made: &Subscription) {
    let known: Result<Page<Value>, CliError> = client.fetch("/geographies").await;
    let (Ok(known), Some(key)) = (known, location_key(&made.location)) else { return };
    let is_in = |g: &Value| g["locations"].as_array().is_some_and(|l| l.iter().any(|l| l.as_str() == Some(&key)));
    if !known.items.iter().any(is_in) {
        let location = clean(&made.location);
        eprintln!(
            "warning: the location `{location}` lies in no geography of this server; it does not say where data rests"
        );
    }
}

fn plan(s: &Subscription) -> String {
    s.plan.map_or_else(|| "-".to_owned(), |p| p.to_string())
}

fn trial(s: &Subscription) -> String {
    match &s.trial {
        Some(t) if t.active => format!("{} day(s) left", t.days_left),
        Some(_) => "ended".to_owned(),
        None => "-".to_owned(),
    }
}

fn show(printer: &Printer, s: &Subscription, groups: &[ResourceGroup]) -> Result<(), CliError> {
    if !printer.is_table() {
        return printer.json(&json!({ "subscription": s, "resourceGroups": groups }));
    }
    printer.pairs(&[
        ("id", s.id.to_string()),
        ("name", clean(&s.name)),
        ("location", clean(&s.location)),
        ("plan", plan(s)),
        ("trial", trial(s)),
        ("integration", if s.integration { "on" } else { "off" }.to_owned()),
        ("machines", s.machine_count.to_string()),
        ("tags", tags_line(&s.tags)),
        ("created", short_time(&s.created_time)),
    ]);
    for g in groups {
        printer.line(&format!("  {}  {} machine(s)", g.name, g.machine_count));
    }
    Ok(())
}

pub(super) async fn run(command: Command, client: &Client, printer: &Printer) -> Result<(), CliError> {
    match command {
        Command::List => {
            let page: Page<Subscription> = client.fetch("/subscriptions").await?;
            printer.list(&["ID", "NAME", "LOCATION", "PLAN", "TRIAL", "SENSORS", "MACHINES"], &page.items, |s| {
                vec![
                    s.id.to_string(),
                    clean(&s.name),
                    clean(&s.location),
                    plan(s),
                    trial(s),
                    if s.integration { "on" } else { "off" }.to_owned(),
                    s.machine_count.to_string(),
                ]
            })
        }
        Command::Show { subscription } => {
            let s = find(client, &subscription).await?;
            let groups: Page<ResourceGroup> = client.fetch(&format!("/subscriptions/{}/resource-groups", s.id)).await?;
            show(printer, &s, &groups.items)
        }
        Command::Create { name, location, id, tags: texts } => {
            let mut body = json!({ "name": name, "location": location, "tags": tags(&texts)? });
            if let Some(id) = id {
                body["id"] = Value::String(id.to_string());
            }
            let made: Subscription = typed(client.post("/subscriptions", &body).await?)?;
            location_tell(client, &made).await;
            show(printer, &made, &[])
        }
        Command::Delete { subscription } => {
            let s = find(client, &subscription).await?;
            client.delete(&format!("/subscriptions/{}", s.id)).await?;
            eprintln!("subscription {} removed", s.id);
            Ok(())
        }
        Command::Integration { subscription, switch } => {
            let s = find(client, &subscription).await?;
            let body = json!({ "enabled": switch == Switch::On });
            let s: Subscription = typed(client.put(&format!("/subscriptions/{}/integration", s.id), &body).await?)?;
            show(printer, &s, &[])
        }
        Command::GroupCreate { subscription, group } => {
            let s = find(client, &subscription).await?;
            client.put(&format!("/subscriptions/{}/resource-groups/{group}", s.id), &json!({})).await?;
            eprintln!("resource group {group} is there");
            Ok(())
        }
        Command::GroupDelete { subscription, group } => {
            let s = find(client, &subscription).await?;
            client.delete(&format!("/subscriptions/{}/resource-groups/{group}", s.id)).await?;
            eprintln!("resource group {group} removed");
            Ok(())
        }
    }
}

fn tenant_row(line: &TenantLine) -> Vec<String> {
    let geography = line.geography.as_ref().map_or_else(|| "not yet".to_owned(), ToString::to_string);
    vec![line.id.to_string(), geography, if line.current { "yes" } else { "" }.to_owned()]
}

pub(super) async fn tenant(command: TenantCommand, client: &Client, printer: &Printer) -> Result<(), CliError> {
    let tenant: Tenant = match command {
        TenantCommand::Geographies => {
            let page: Page<Value> = client.fetch(&query("/geographies", &[])).await?;
            return printer.list(&["CODE", "NAME", "LAKE", "CONTROL"], &page.items, |g| {
                ["code", "name", "lakeRoot", "controlRoot"]
                    .iter()
                    .map(|k| clean(g[*k].as_str().unwrap_or_default()))
                    .collect()
            });
        }
        TenantCommand::Show => client.fetch("/tenant").await?,
        TenantCommand::List => {
            let page: Page<TenantLine> = client.fetch("/tenants").await?;
            return printer.list(&["TENANT", "GEOGRAPHY", "CURRENT"], &page.items, tenant_row);
        }
        TenantCommand::Add { id, geography } => {
            let made: TenantLine = typed(client.post("/tenants", &json!({"id": id, "geography": geography})).await?)?;
            eprintln!("Work in it with `--tenant {}`, or GARRISON_TENANT.", made.id);
            return printer.list(&["TENANT", "GEOGRAPHY", "CURRENT"], &[made], tenant_row);
        }
        TenantCommand::Geography { geography } => {
            typed(client.put("/tenant", &json!({ "geography": geography })).await?)?
        }
        TenantCommand::Retention { portal, hunting, cloud_alerts, inactive_devices } => {
            let had: RetentionDays = client.fetch("/tenant/retention").await?;
            let days = RetentionDays {
                portal_days: portal.unwrap_or(had.portal_days),
                hunting_days: hunting.map_or(had.hunting_days, |days| (days > 0).then_some(days)),
                cloud_alert_days: cloud_alerts.unwrap_or(had.cloud_alert_days),
                inactive_device_days: inactive_devices.unwrap_or(had.inactive_device_days),
            };
            if days != had {
                client.put("/tenant/retention", &json!(days)).await?;
            }
            if !printer.is_table() {
                return printer.json(&days);
            }
            printer.pairs(&[
                ("portal", format!("{} days", days.portal_days)),
                ("hunting", days.hunting_days.map_or("as far as rows are kept".to_owned(), |d| format!("{d} days"))),
                ("alerts in the cloud view", format!("{} days", days.cloud_alert_days)),
                ("inactive devices", format!("{} days", days.inactive_device_days)),
            ]);
            return Ok(());
        }
        // It needs no server and was run before one was looked for.
        TenantCommand::Key(_) | TenantCommand::Reset(_) => return Ok(()),
    };
    if !printer.is_table() {
        return printer.json(&tenant);
    }
    printer.pairs(&[
        ("id", tenant.id.to_string()),
        ("geography", format!("{} (fixed)", tenant.geography)),
        ("lake", clean(&tenant.lake_root)),
        ("control data", clean(&tenant.control_root)),
        ("made by", clean(&tenant.origin)),
        ("created", short_time(&tenant.created_time)),
    ]);
    Ok(())
}
