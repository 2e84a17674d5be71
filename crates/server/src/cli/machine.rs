//! `garrison machine …`

use super::client::{CliError, Client, query, typed};
use super::health;
use super::output::{Printer, clean, short_time};
use super::subscription::{self, tags, tags_line};
use crate::api::connectors::MachineOffBoarding;
use clap::{Args, Subcommand};
use garrison_model::{ConnectionState, Machine, MachineId, Page, Plan, PlanSource, ResourceId, TenantId};
use serde_json::{Value, json};

/// Which machines to list.
#[derive(Debug, Args)]
pub struct Filter {
    /// In this subscription (name or id).
    #[arg(long)]
    subscription: Option<String>,
    /// In resource groups of this name.
    #[arg(long)]
    group: Option<String>,
    /// With this tag: `name` or `name=value`.
    #[arg(long)]
    tag: Option<String>,
    /// Connecting, Connected, Disconnected or Expired.
    #[arg(long)]
    state: Option<ConnectionState>,
    /// With this plan in force: Off, P1 or P2.
    #[arg(long)]
    plan: Option<Plan>,
    /// Part of the name.
    #[arg(short)]
    q: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 500)]
    limit: usize,
}

/// Commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Machines, by name.
    List(Filter),
    /// One machine.
    Show {
        /// Name, id or resource id.
        machine: String,
    },
    /// Replace its tags.
    Tag {
        /// Name, id or resource id.
        machine: String,
        /// `name=value`; none removes all.
        tags: Vec<String>,
    },
    /// Move it to another subscription, resource group or name, or let it go to another tenant.
    Move {
        /// Name, id or resource id.
        machine: String,
        /// Its new resource id, in the same tenant.
        #[arg(required_unless_present = "to_tenant", conflicts_with = "to_tenant")]
        to: Option<ResourceId>,
        /// The tenant that it is to go to.
        #[arg(long)]
        to_tenant: Option<TenantId>,
        /// Only lists the steps that come first and how they stand; exits with 1 while one is open.
        #[arg(long, requires = "to_tenant")]
        plan: bool,
    },
    /// Its extensions: what the plan put on it.
    #[command(subcommand)]
    Extension(ExtensionCommand),
    /// Remove the sensor and all of its traces; nothing comes back by itself.
    Offboard {
        /// Name, id or resource id.
        machine: String,
    },
    /// Let the plan count again after an off-boarding.
    Onboard {
        /// Name, id or resource id.
        machine: String,
    },
    /// Forget it; its sensor stays until it is off-boarded.
    Delete {
        /// Name, id or resource id.
        machine: String,
    },
}

/// Extensions of a machine.
#[derive(Debug, Subcommand)]
pub enum ExtensionCommand {
    /// How they stand, with code and what to do.
    List {
        /// Name, id or resource id.
        machine: String,
    },
    /// What became of them, newest first.
    History {
        /// Name, id or resource id.
        machine: String,
    },
    /// Delete one; with the plan on it is deployed again, once, and the sensor itself stays.
    Delete {
        /// Name, id or resource id.
        machine: String,
        /// `Sensor.Linux`, or its alias `MDE.Linux`.
        #[arg(default_value = "Sensor.Linux")]
        extension: String,
    },
}

async fn extension(command: ExtensionCommand, client: &Client, printer: &Printer) -> Result<(), CliError> {
    match command {
        ExtensionCommand::List { machine } => {
            let m = find(client, &machine).await?;
            printer.list(&["EXTENSION", "STATE", "CODE", "VERSION", "WHAT", "TO DO"], &m.extensions, |e| {
                vec![
                    clean(&e.name),
                    e.state.to_string(),
                    if e.code == 0 { String::new() } else { e.code.to_string() },
                    clean(&e.version),
                    clean(&e.message),
                    clean(&e.fix),
                ]
            })
        }
        ExtensionCommand::History { machine } => {
            let m = find(client, &machine).await?;
            let lines: Page<serde_json::Value> = client.fetch(&format!("/machines/{}/extension-history", m.id)).await?;
            let text = |line: &serde_json::Value, key: &str| match line.get(key) {
                Some(serde_json::Value::String(text)) => clean(text),
                Some(serde_json::Value::Number(number)) if number.as_i64() != Some(0) => number.to_string(),
                _ => String::new(),
            };
            printer.list(&["TIME", "EXTENSION", "STATE", "CODE", "VERSION", "DETAIL"], &lines.items, |l| {
                let mut cells = vec![short_time(&text(l, "time"))];
                cells.extend(["extension", "state", "code", "version", "detail"].map(|key| text(l, key)));
                cells
            })
        }
        ExtensionCommand::Delete { machine, extension } => {
            let m = find(client, &machine).await?;
            let name = garrison_model::extension_name(&extension)
                .ok_or_else(|| CliError::usage("there is no such extension", "use Sensor.Linux"))?;
            client.delete(&format!("/machines/{}/extensions/{name}", m.id)).await?;
            eprintln!("{name} is being deleted on {}; with the plan on it comes back once", m.resource_id);
            Ok(())
        }
    }
}

/// The machine that a person means: by id, resource id, or name where only one has it.
pub(super) async fn find(client: &Client, text: &str) -> Result<Machine, CliError> {
    if let Ok(id) = text.parse::<MachineId>() {
        return client.fetch(&format!("/machines/{id}")).await;
    }
    let by_resource = text.parse::<ResourceId>().is_ok();
    let pair = (if by_resource { "resourceId" } else { "q" }, Some(text.to_owned()));
    let mut found = Vec::new();
    let mut cursor = None;
    loop {
        let path = query("/machines", &[pair.clone(), ("limit", Some("500".to_owned())), ("cursor", cursor)]);
        let page: Page<Machine> = client.fetch(&path).await?;
        found.extend(page.items.into_iter().filter(|m| by_resource || m.name.as_str().eq_ignore_ascii_case(text)));
        match page.next_cursor {
            Some(next) if found.len() < 2 => cursor = Some(next),
            _ => break,
        }
    }
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => {
            Err(CliError::usage(format!("several machines are named `{}`", clean(text)), "give the resource id"))
        }
        (None, _) => Err(CliError::Missing(format!("there is no machine `{}`", clean(text)))),
    }
}

/// The plan in force and where it comes from.
pub(super) fn plan(m: &Machine) -> String {
    match m.plan.source {
        PlanSource::Machine => format!("{} (own)", m.plan.plan),
        PlanSource::Subscription => m.plan.plan.to_string(),
        PlanSource::Unset => "-".to_owned(),
    }
}

fn state(printer: &Printer, m: &Machine) -> String {
    let code = match m.state {
        ConnectionState::Connected => "32",
        ConnectionState::Connecting => "36",
        ConnectionState::Disconnected => "33",
        ConnectionState::Expired => "31",
    };
    printer.paint(code, m.state.as_str())
}

pub(super) fn show(printer: &Printer, m: &Machine) -> Result<(), CliError> {
    if !printer.is_table() {
        return printer.json(m);
    }
    let s = &m.system;
    printer.pairs(&[
        ("id", m.id.to_string()),
        ("resource id", m.resource_id.to_string()),
        ("kind", m.kind.to_string()),
        ("state", state(printer, m)),
        ("power", m.power_state.map(|p| p.to_string()).unwrap_or_default()),
        ("plan", plan(m)),
        ("excluded by", m.excluded_by.as_deref().map(clean).unwrap_or_default()),
        ("device", m.device_id.as_ref().map(ToString::to_string).unwrap_or_default()),
        ("system", clean(&format!("{} {} {} {}", s.distribution, s.version, s.kernel, s.architecture))),
        ("host", clean(&s.host_name)),
        ("location", clean(&format!("{} {}", s.cloud, s.location))),
        ("tags", tags_line(&m.tags)),
        ("connector", clean(&m.connector_version)),
        ("heartbeat", m.last_heartbeat.as_deref().map(short_time).unwrap_or_default()),
        ("created", short_time(&m.created_time)),
    ]);
    for e in &m.extensions {
        let code = if e.code == 0 { String::new() } else { format!("/{}", e.code) };
        printer.line(&format!("  {} {}  {}{code}  {}", clean(&e.name), clean(&e.version), e.state, clean(&e.message)));
        if !e.fix.is_empty() {
            printer.line(&format!("    what to do: {}", clean(&e.fix)));
        }
    }
    if let Some(health) = &m.health {
        health::show(printer, health);
    }
    Ok(())
}

async fn list(filter: Filter, client: &Client, printer: &Printer) -> Result<(), CliError> {
    let subscription = match &filter.subscription {
        Some(text) => Some(subscription::find(client, text).await?.id.to_string()),
        None => None,
    };
    let mut items: Vec<Machine> = Vec::new();
    let mut cursor = None;
    loop {
        let rest = filter.limit.saturating_sub(items.len()).clamp(1, 500);
        let path = query(
            "/machines",
            &[
                ("subscription", subscription.clone()),
                ("group", filter.group.clone()),
                ("tag", filter.tag.clone()),
                ("state", filter.state.map(|s| s.to_string())),
                ("plan", filter.plan.map(|p| p.to_string())),
                ("q", filter.q.clone()),
                ("limit", Some(rest.to_string())),
                ("cursor", cursor),
            ],
        );
        let page: Page<Machine> = client.fetch(&path).await?;
        items.extend(page.items);
        match page.next_cursor {
            Some(next) if items.len() < filter.limit => cursor = Some(next),
            _ => break,
        }
    }
    printer.list(&["NAME", "GROUP", "STATE", "PLAN", "SENSOR", "HEALTH", "SYSTEM", "TAGS", "ID"], &items, |m| {
        let sensor = m.extensions.first().map(|e| e.state.to_string()).unwrap_or_default();
        vec![
            m.name.to_string(),
            m.resource_id.group.to_string(),
            state(printer, m),
            plan(m),
            sensor,
            m.health.as_ref().map(|h| health::paint(printer, h.state)).unwrap_or_default(),
            clean(&format!("{} {}", m.system.distribution, m.system.version)),
            tags_line(&m.tags),
            m.id.to_string(),
        ]
    })
}

async fn leaving(client: &Client, printer: &Printer, path: &str, plan: bool) -> Result<(), CliError> {
    let view: Value = if plan { client.fetch(path).await? } else { client.post(path, &json!({})).await? };
    let steps: Vec<Value> = view["steps"].as_array().cloned().unwrap_or_default();
    if printer.is_table() {
        printer.list(&["STEP", "DONE", "WHAT", "HOW IT STANDS"], &steps, |s| {
            let text = |key: &str| clean(s[key].as_str().unwrap_or_default());
            let done = if s["done"].as_bool() == Some(true) { "yes" } else { "no" };
            vec![text("key"), done.to_owned(), text("title"), text("detail")]
        })?;
    } else {
        printer.json(&view)?;
    }
    if view["ready"].as_bool() != Some(true) {
        return Err(CliError::Failed("a step is open".to_owned()));
    }
    if !plan {
        eprintln!("The machine left; enrol it with a token of the other tenant.");
    }
    Ok(())
}

pub(super) async fn run(command: Command, client: &Client, printer: &Printer) -> Result<(), CliError> {
    match command {
        Command::List(filter) => list(filter, client, printer).await,
        Command::Show { machine } => show(printer, &find(client, &machine).await?),
        Command::Tag { machine, tags: texts } => {
            let m = find(client, &machine).await?;
            let body = json!({ "tags": tags(&texts)? });
            show(printer, &typed(client.patch(&format!("/machines/{}", m.id), &body).await?)?)
        }
        Command::Move { machine, to: None, to_tenant, plan } => {
            let Some(tenant) = to_tenant else {
                return Err(CliError::usage("no place was named", "name a resource id, or --to-tenant"));
            };
            let m = find(client, &machine).await?;
            let path = query(&format!("/machines/{}/leaving", m.id), &[("toTenant", Some(tenant.to_string()))]);
            leaving(client, printer, &path, plan).await
        }
        Command::Move { machine, to: Some(to), .. } => {
            let m = find(client, &machine).await?;
            let body = json!({ "resourceId": to.to_string() });
            show(printer, &typed(client.patch(&format!("/machines/{}", m.id), &body).await?)?)
        }
        Command::Extension(command) => extension(command, client, printer).await,
        Command::Offboard { machine } => {
            let m = find(client, &machine).await?;
            let path = format!("/machines/{}/offboard", m.id);
            let told: MachineOffBoarding = typed(client.post(&path, &json!({})).await?)?;
            if told.done {
                eprintln!("{} is off-boarded already: it said that everything is gone", m.resource_id);
            } else {
                eprintln!("{} is being off-boarded; it is done when the machine has said so", m.resource_id);
            }
            Ok(())
        }
        Command::Onboard { machine } => {
            let m = find(client, &machine).await?;
            client.post(&format!("/machines/{}/onboard", m.id), &json!({})).await?;
            eprintln!("the plan counts again on {}; if its connector has left, enrol the machine again", m.resource_id);
            Ok(())
        }
        Command::Delete { machine } => {
            let m = find(client, &machine).await?;
            client.delete(&format!("/machines/{}", m.id)).await?;
            eprintln!("machine {} forgotten", m.resource_id);
            Ok(())
        }
    }
}
