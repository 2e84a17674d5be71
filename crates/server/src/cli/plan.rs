//! `garrison plan …`, `garrison exclusion …` and `garrison coverage`

use super::client::{CliError, Client, typed};
use super::output::{Printer, clean, short_time};
use super::{machine, subscription};
use crate::plane::{BulkPreview, Coverage, Exclusion, PlanLine};
use clap::{Args, Subcommand};
use garrison_model::{ComponentState, GroupName, Page, Plan, Scope, Subscription};
use serde_json::{Value, json};
use std::cmp::Ordering;

/// What a plan is set on.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Target {
    /// Subscription (name, id or resource id).
    #[arg(required_unless_present = "machine")]
    subscription: Option<String>,
    /// One machine instead (name, id or resource id).
    #[arg(long, conflicts_with_all = ["group", "tag"])]
    machine: Option<String>,
    /// The machines of this resource group.
    #[arg(long)]
    group: Option<GroupName>,
    /// The machines with this tag: `name` or `name=value`.
    #[arg(long)]
    tag: Option<String>,
}

/// Commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Sets a plan on a subscription, on one machine, or on machines chosen by group or tag.
    Set {
        /// Off, P1 or P2.
        plan: Plan,
        #[command(flatten)]
        target: Target,
        /// Where the tenant's data is to rest, should this make the tenant.
        #[arg(long)]
        geography: Option<String>,
        /// Only tell what it would do and cost; change nothing.
        #[arg(long, conflicts_with = "machine")]
        preview: bool,
    },
    /// What a plan would cost a subscription; changes nothing.
    Forecast {
        /// Off, P1 or P2.
        plan: Plan,
        /// Subscription (name or id).
        subscription: String,
    },
    /// The plans and what they hold, or what is in force on a subscription or machine.
    Show {
        /// Subscription (name or id), or a machine (name, id or resource id).
        what: Option<String>,
    },
    /// Takes a setting away: a machine inherits its subscription's again.
    Clear {
        #[command(flatten)]
        target: Target,
    },
    /// What setting a plan on machines chosen by group or tag would do.
    Preview {
        /// Off or P1; without one, that their own settings are taken away.
        #[arg(long)]
        plan: Option<Plan>,
        #[command(flatten)]
        target: Target,
    },
    /// The trial of a subscription.
    Trial {
        /// Subscription (name or id).
        subscription: String,
    },
}

/// Commands about exclusions.
#[derive(Debug, Subcommand)]
pub enum ExclusionCommand {
    /// All exclusions.
    List,
    /// Keep the sensor away from machines.
    Create {
        /// Resource id of a subscription, a resource group or a machine.
        scope: Scope,
        /// Only machines with this tag: `name` or `name=value`.
        #[arg(long)]
        tag: Option<String>,
        /// Why.
        #[arg(long)]
        reason: String,
        /// When it ends by itself (RFC 3339).
        #[arg(long)]
        expires: Option<String>,
    },
    /// Remove one.
    Remove {
        /// Id.
        id: String,
    },
}

fn tag_put(body: &mut Value, tag: Option<&str>) {
    let Some(tag) = tag else { return };
    let (name, value) = tag.split_once('=').map_or((tag, None), |(n, v)| (n, Some(v)));
    body["tagName"] = name.into();
    if let Some(value) = value {
        body["tagValue"] = value.into();
    }
}

impl Target {
    fn is_bulk(&self) -> bool {
        self.group.is_some() || self.tag.is_some()
    }

    async fn subscription(&self, client: &Client) -> Result<Subscription, CliError> {
        let text = self.subscription.as_deref().unwrap_or_default();
        if let Ok(scope) = text.parse::<Scope>()
            && !matches!(scope, Scope::Subscription(_))
        {
            return Err(CliError::usage(
                "a plan is set on a subscription, a machine, or machines chosen by group or tag",
                "use --machine RESOURCE-ID, or SUBSCRIPTION --group NAME",
            ));
        }
        subscription::find(client, text).await
    }

    async fn bulk(&self, client: &Client, plan: Option<Plan>) -> Result<Value, CliError> {
        let mut selector = json!({ "subscriptionId": self.subscription(client).await?.id });
        if let Some(group) = &self.group {
            selector["resourceGroup"] = group.as_str().into();
        }
        tag_put(&mut selector, self.tag.as_deref());
        let mut body = json!({ "selector": selector });
        if let Some(plan) = plan {
            body["plan"] = plan.as_str().into();
        }
        Ok(body)
    }
}

fn bulk_print(printer: &Printer, preview: &BulkPreview, words: &str) -> Result<(), CliError> {
    if !printer.is_table() {
        return printer.json(preview);
    }
    printer.list(&["MACHINE", "GROUP", "BEFORE", "AFTER"], &preview.changes, |c| {
        let (before, after) = (c.before.plan, c.after.plan);
        let code = match after.cmp(&before) {
            Ordering::Greater => "32",
            Ordering::Less => "31",
            Ordering::Equal => "2",
        };
        vec![
            c.resource_id.machine.to_string(),
            c.resource_id.group.to_string(),
            before.to_string(),
            printer.paint(code, after.as_str()),
        ]
    })?;
    eprintln!(
        "{words}: {} machine(s) chosen, {} own setting(s) change, {} plan(s) in force change",
        preview.matched, preview.changed, preview.plan_changed
    );
    if preview.matched == 0 {
        eprintln!("hint: no machine fits; `garrison machine list --group NAME --tag NAME=VALUE` shows which there are");
    }
    Ok(())
}

fn in_force(printer: &Printer, s: &Subscription) -> Result<(), CliError> {
    if !printer.is_table() {
        return printer.json(s);
    }
    let plan = s.plan.map_or_else(|| "none set".to_owned(), |p| format!("{p} ({})", p.title()));
    printer.pairs(&[("subscription", clean(&s.name)), ("plan", plan), ("trial", trial_words(s))]);
    Ok(())
}

fn trial_words(s: &Subscription) -> String {
    match &s.trial {
        None => "not begun; it begins when a plan is first switched on".to_owned(),
        Some(t) if t.active => format!("{} day(s) left, ends {}", t.days_left, short_time(&t.ends)),
        Some(t) => format!("ended {}", short_time(&t.ends)),
    }
}

async fn table(client: &Client, printer: &Printer) -> Result<(), CliError> {
    let page: Page<PlanLine> = client.fetch("/plans").await?;
    if !printer.is_table() {
        return printer.json(&page.items);
    }
    let first = page.items.iter().find(|p| p.plan == Plan::P1);
    let second = page.items.iter().find(|p| p.plan == Plan::P2);
    let (Some(first), Some(second)) = (first, second) else {
        return Err(CliError::Answer("the table of plans is not whole".to_owned()));
    };
    let lines: Vec<_> = first.features.iter().zip(&second.features).collect();
    printer.list(&["FEATURE", "P1", "P2", "WHERE"], &lines, |(one, two)| {
        let mark = |yes: bool| if yes { printer.paint("32", "yes") } else { printer.paint("2", "-") };
        vec![clean(&one.title), mark(one.included), mark(two.included), clean(&one.place)]
    })
}

async fn show(what: Option<String>, client: &Client, printer: &Printer) -> Result<(), CliError> {
    let Some(what) = what else { return table(client, printer).await };
    match subscription::find(client, &what).await {
        Ok(found) => in_force(printer, &found),
        Err(CliError::Missing(_) | CliError::Refused(garrison_model::Problem { status: 404, .. })) => {
            machine::show(printer, &machine::find(client, &what).await?)
        }
        Err(other) => Err(other),
    }
}

pub(super) async fn run(command: Command, client: &Client, printer: &Printer) -> Result<(), CliError> {
    match command {
        Command::Set { plan, target, preview: true, .. } if target.is_bulk() => {
            let body = target.bulk(client, Some(plan)).await?;
            bulk_print(printer, &typed(client.post("/plans/preview", &body).await?)?, "nothing is changed")
        }
        Command::Set { plan, target, preview: true, .. } => {
            let s = target.subscription(client).await?;
            eprintln!("nothing is changed");
            super::usage::forecast(client, printer, s.id.as_str(), plan, None).await
        }
        Command::Forecast { plan, subscription } => {
            let s = subscription::find(client, &subscription).await?;
            super::usage::forecast(client, printer, s.id.as_str(), plan, None).await
        }
        Command::Set { plan, target, geography, .. } => {
            if let Some(text) = &target.machine {
                let m = machine::find(client, text).await?;
                let path = format!("/machines/{}/plan", m.id);
                return machine::show(printer, &typed(client.put(&path, &json!({ "plan": plan })).await?)?);
            }
            if target.is_bulk() {
                let body = target.bulk(client, Some(plan)).await?;
                return bulk_print(printer, &typed(client.post("/plans/bulk", &body).await?)?, "done");
            }
            let s = target.subscription(client).await?;
            let mut body = json!({ "plan": plan });
            if let Some(geography) = geography {
                body["geography"] = geography.into();
            }
            in_force(printer, &typed(client.put(&format!("/subscriptions/{}/plan", s.id), &body).await?)?)
        }
        Command::Clear { target } => {
            if let Some(text) = &target.machine {
                let m = machine::find(client, text).await?;
                let path = format!("/machines/{}/plan", m.id);
                return machine::show(printer, &typed(client.delete(&path).await?)?);
            }
            if target.is_bulk() {
                let body = target.bulk(client, None).await?;
                return bulk_print(printer, &typed(client.post("/plans/bulk", &body).await?)?, "done");
            }
            let s = target.subscription(client).await?;
            client.delete(&format!("/subscriptions/{}/plan", s.id)).await?;
            in_force(printer, &client.fetch(&format!("/subscriptions/{}", s.id)).await?)
        }
        Command::Preview { plan, target } => {
            if target.machine.is_some() {
                return Err(CliError::usage(
                    "a preview is of machines chosen by group or tag",
                    "give --group or --tag",
                ));
            }
            let body = target.bulk(client, plan).await?;
            bulk_print(printer, &typed(client.post("/plans/preview", &body).await?)?, "nothing is changed")
        }
        Command::Show { what } => show(what, client, printer).await,
        Command::Trial { subscription } => {
            let s = subscription::find(client, &subscription).await?;
            if !printer.is_table() {
                return printer.json(&s.trial);
            }
            printer.line(&trial_words(&s));
            Ok(())
        }
    }
}

pub(super) async fn exclusion(command: ExclusionCommand, client: &Client, printer: &Printer) -> Result<(), CliError> {
    match command {
        ExclusionCommand::List => {
            let page: Page<Exclusion> = client.fetch("/exclusions").await?;
            printer.list(&["ID", "SCOPE", "TAG", "BY", "EXPIRES", "REASON"], &page.items, |e| {
                let tag = match (&e.tag_name, &e.tag_value) {
                    (Some(name), Some(value)) => format!("{name}={value}"),
                    (Some(name), None) => name.clone(),
                    _ => String::new(),
                };
                vec![
                    clean(&e.id),
                    e.scope.to_string(),
                    clean(&tag),
                    clean(&e.created_by),
                    e.expires_time.as_deref().map(short_time).unwrap_or_default(),
                    clean(&e.reason),
                ]
            })
        }
        ExclusionCommand::Create { scope, tag, reason, expires } => {
            let mut body = json!({ "scope": scope, "reason": reason });
            tag_put(&mut body, tag.as_deref());
            if let Some(expires) = expires {
                body["expiresTime"] = expires.into();
            }
            printer.json(&client.post("/exclusions", &body).await?)
        }
        ExclusionCommand::Remove { id } => {
            client.delete(&format!("/exclusions/{}", clean(&id))).await?;
            eprintln!("exclusion {} removed", clean(&id));
            Ok(())
        }
    }
}

pub(super) async fn coverage(missing: bool, client: &Client, printer: &Printer) -> Result<(), CliError> {
    let all: Coverage = client.fetch("/coverage").await?;
    if missing {
        return printer.list(&["MACHINE", "PLAN", "REASON", "CODE", "WHAT TO DO"], &all.not_covered, |m| {
            vec![
                m.resource_id.to_string(),
                m.plan.to_string(),
                printer.paint("33", m.reason.as_str()),
                if m.code == 0 { String::new() } else { m.code.to_string() },
                clean(&m.fix),
            ]
        });
    }
    if !printer.is_table() {
        return printer.json(&all);
    }
    printer.line(&format!("{} of {} machine(s) covered", all.covered, all.machines));
    let line = |map: &std::collections::BTreeMap<String, u64>| {
        map.iter().map(|(k, n)| format!("{} {n}", clean(k))).collect::<Vec<_>>().join("  ")
    };
    printer.pairs(&[("by plan", line(&all.by_plan)), ("not covered", line(&all.reasons))]);
    printer.list(
        &["SUBSCRIPTION", "PLAN", "MACHINES", "COVERED", "OWN", "LINUX", "WINDOWS"],
        &all.subscriptions,
        |s| {
            let state = |at: usize| match s.components.get(at) {
                Some(c) => {
                    let code = match c.state {
                        ComponentState::On => "32",
                        ComponentState::Off => "2",
                        ComponentState::Partial => "33",
                    };
                    printer.paint(code, c.state.as_str())
                }
                None => String::new(),
            };
            vec![
                clean(&s.name),
                s.plan.map_or_else(|| "-".to_owned(), |p| p.to_string()),
                s.machines.to_string(),
                s.covered.to_string(),
                s.overrides.to_string(),
                state(0),
                state(1),
            ]
        },
    )?;
    for c in all.subscriptions.iter().flat_map(|s| &s.components).filter(|c| c.state == ComponentState::Partial) {
        printer.line(&format!("{}: {}", clean(&c.name), clean(&c.fix)));
    }
    Ok(())
}
