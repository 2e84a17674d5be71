//! `garrison role …` and `garrison group …`.

use super::client::{CliError, Client};
use super::output::{Printer, clean};
use crate::access::group::{Operator, Property};
use crate::access::store::DeviceGroupBody;
use crate::access::{Assignment, AutomationLevel, Condition, DeviceGroup, RoleView};
use clap::Subcommand;
use garrison_model::Page;
use serde_json::json;

/// Roles and who has them.
#[derive(Debug, Subcommand)]
pub enum RoleCommand {
    /// All roles and what they allow.
    List,
    /// Who has which role where.
    Assignments,
    /// Gives a role.
    Assign {
        /// Role.
        role: String,
        /// Name of the user.
        #[arg(long, required_unless_present = "user_group", conflicts_with = "user_group")]
        user: Option<String>,
        /// Name of the group of users.
        #[arg(long)]
        user_group: Option<String>,
        /// Only in this subscription (id).
        #[arg(long, conflicts_with = "device_group")]
        subscription: Option<String>,
        /// Only on devices of this group (id).
        #[arg(long)]
        device_group: Option<String>,
    },
    /// Takes a role back.
    Unassign {
        /// Id of the assignment.
        id: String,
    },
    /// Makes or changes a role of your own.
    Set {
        /// Name.
        name: String,
        /// What it is for.
        #[arg(long, default_value = "")]
        title: String,
        /// What it allows; once for each.
        #[arg(long = "action", required = true)]
        actions: Vec<String>,
    },
    /// Removes a role of your own, and its assignments.
    Remove {
        /// Name.
        name: String,
    },
    /// Replaces the members of a group of users; with none it is no more.
    Members {
        /// Name of the group.
        user_group: String,
        /// Names of users.
        users: Vec<String>,
    },
}

/// Device groups.
#[derive(Debug, Subcommand)]
pub enum GroupCommand {
    /// All groups in order of rank.
    List,
    /// Makes or changes a group; what is not given stays.
    Set {
        /// Id: small letters, digits and `-`.
        id: String,
        /// Name.
        #[arg(long)]
        name: Option<String>,
        /// What it is for.
        #[arg(long)]
        description: Option<String>,
        /// Rank from 1.
        #[arg(long)]
        rank: Option<i64>,
        /// `name|domain|os|tag` `=`, `^=` (begins), `$=` (ends) or `*=` (holds) value; once for each, all must hold.
        #[arg(long = "rule", value_parser = condition)]
        rules: Vec<Condition>,
        /// `None`, `SemiAll`, `SemiCoreFolders`, `SemiNonTempFolders` or `Full`.
        #[arg(long, value_parser = level)]
        automation: Option<AutomationLevel>,
    },
    /// Removes a group; its devices go to the next one that fits.
    Remove {
        /// Id.
        id: String,
    },
}

fn level(text: &str) -> Result<AutomationLevel, String> {
    serde_json::from_value(json!(text))
        .map_err(|_| "None, SemiAll, SemiCoreFolders, SemiNonTempFolders or Full".to_owned())
}

/// `tag=crown`, `name^=web`, `domain$=example.org`, `os*=debian`.
fn condition(text: &str) -> Result<Condition, String> {
    let (left, value) = text.split_once('=').ok_or("write a rule as `tag=crown` or `name^=web`")?;
    let (name, operator) = match left.char_indices().last() {
        Some((at, '^')) => (left.get(..at), Operator::StartsWith),
        Some((at, '$')) => (left.get(..at), Operator::EndsWith),
        Some((at, '*')) => (left.get(..at), Operator::Contains),
        _ => (Some(left), Operator::Equals),
    };
    let property: Property = serde_json::from_value(json!(name))
        .map_err(|_| "a rule looks at `name`, `domain`, `os` or `tag`".to_owned())?;
    Ok(Condition { property, operator, value: value.to_owned() })
}

fn condition_text(condition: &Condition) -> String {
    let sign = match condition.operator {
        Operator::Equals => "=",
        Operator::StartsWith => "^=",
        Operator::EndsWith => "$=",
        Operator::Contains => "*=",
    };
    let property = match condition.property {
        Property::Name => "name",
        Property::Domain => "domain",
        Property::Os => "os",
        Property::Tag => "tag",
    };
    format!("{property}{sign}{}", condition.value)
}

pub(super) async fn role(command: RoleCommand, client: &Client, printer: &Printer) -> Result<(), CliError> {
    match command {
        RoleCommand::List => {
            let page: Page<RoleView> = client.fetch("/access/roles").await?;
            printer.list(&["ROLE", "KIND", "ACTIONS", "WHAT"], &page.items, |r| {
                let actions: Vec<&str> = r.actions.iter().map(|a| a.as_str()).collect();
                let kind = if r.built_in { "built in" } else { "own" };
                vec![clean(&r.name), kind.to_owned(), actions.join(" "), clean(&r.title)]
            })
        }
        RoleCommand::Assignments => {
            let page: Page<Assignment> = client.fetch("/access/assignments").await?;
            printer.list(&["ID", "WHO", "ROLE", "WHERE", "BY"], &page.items, |a| {
                let who =
                    if a.principal_kind == "User" { a.principal.clone() } else { format!("group {}", a.principal) };
                let place =
                    if a.scope.is_empty() { a.scope_kind.clone() } else { format!("{} {}", a.scope_kind, a.scope) };
                vec![clean(&a.id), clean(&who), clean(&a.role), clean(&place), clean(&a.created_by)]
            })
        }
        RoleCommand::Assign { role, user, user_group, subscription, device_group } => {
            let (kind, principal) = match (user, user_group) {
                (Some(user), _) => ("User", user),
                (None, group) => ("UserGroup", group.unwrap_or_default()),
            };
            let (scope_kind, scope) = match (subscription, device_group) {
                (Some(id), _) => ("Subscription", id),
                (None, Some(id)) => ("DeviceGroup", id),
                (None, None) => ("Tenant", String::new()),
            };
            let body = json!({"principalKind": kind, "principal": principal, "role": role, "scopeKind": scope_kind,
                "scope": scope});
            let made = client.post("/access/assignments", &body).await?;
            if printer.is_table() {
                printer.line(made["id"].as_str().unwrap_or_default());
                return Ok(());
            }
            printer.json(&made)
        }
        RoleCommand::Unassign { id } => {
            client.delete(&format!("/access/assignments/{id}")).await?;
            eprintln!("The role is taken back.");
            Ok(())
        }
        RoleCommand::Set { name, title, actions } => {
            client.put(&format!("/access/roles/{name}"), &json!({"title": title, "actions": actions})).await?;
            eprintln!("Role {} is set.", clean(&name));
            Ok(())
        }
        RoleCommand::Remove { name } => {
            client.delete(&format!("/access/roles/{name}")).await?;
            eprintln!("Role {} is gone.", clean(&name));
            Ok(())
        }
        RoleCommand::Members { user_group, users } => {
            client.put(&format!("/access/user-groups/{user_group}"), &json!({"members": users})).await?;
            eprintln!("Group {} has {} members.", clean(&user_group), users.len());
            Ok(())
        }
    }
}

pub(super) async fn group(command: GroupCommand, client: &Client, printer: &Printer) -> Result<(), CliError> {
    match command {
        GroupCommand::List => {
            let page: Page<DeviceGroup> = client.fetch("/device-groups").await?;
            printer.list(&["RANK", "ID", "NAME", "DEVICES", "AUTOMATION", "RULES"], &page.items, |g| {
                let rules: Vec<String> = g.rules.iter().map(condition_text).collect();
                vec![
                    g.rank.to_string(),
                    clean(&g.id),
                    clean(&g.name),
                    g.device_count.to_string(),
                    format!("{:?}", g.automation_level),
                    clean(&rules.join(" and ")),
                ]
            })
        }
        GroupCommand::Set { id, name, description, rank, rules, automation } => {
            let page: Page<DeviceGroup> = client.fetch("/device-groups").await?;
            let known = page.items.into_iter().find(|g| g.id == id);
            let was = known.as_ref();
            let body = DeviceGroupBody {
                name: name.or_else(|| was.map(|g| g.name.clone())).unwrap_or_else(|| id.clone()),
                description: description.or_else(|| was.map(|g| g.description.clone())).unwrap_or_default(),
                rank,
                rules: if rules.is_empty() { was.map(|g| g.rules.clone()).unwrap_or_default() } else { rules },
                automation_level: automation.or_else(|| was.map(|g| g.automation_level)).unwrap_or_default(),
            };
            let made = client.put(&format!("/device-groups/{id}"), &json!(body)).await?;
            if printer.is_table() {
                let count = made["deviceCount"].as_u64().unwrap_or(0);
                eprintln!("Group {} has rank {} and {count} devices.", clean(&id), made["rank"]);
                return Ok(());
            }
            printer.json(&made)
        }
        GroupCommand::Remove { id } => {
            client.delete(&format!("/device-groups/{id}")).await?;
            eprintln!("Group {} is gone.", clean(&id));
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_written_short_and_read_back() {
        for (text, expected) in [
            ("tag=crown", Some((Property::Tag, Operator::Equals, "crown"))),
            ("name^=web", Some((Property::Name, Operator::StartsWith, "web"))),
            ("domain$=example.org", Some((Property::Domain, Operator::EndsWith, "example.org"))),
            ("os*=a=b", Some((Property::Os, Operator::Contains, "a=b"))),
            ("name", None),
            ("color=red", None),
            ("=x", None),
        ] {
            let read = condition(text).ok();
            let expected =
                expected.map(|(property, operator, value)| Condition { property, operator, value: value.to_owned() });
            assert_eq!(read, expected, "{text}");
            if let Some(read) = read {
                assert_eq!(condition_text(&read), text);
            }
        }
    }
}
