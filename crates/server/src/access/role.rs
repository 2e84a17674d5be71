//! Roles as Cedar policies, and what they come to for one person or token.
//!
//! Cedar decides; its decisions are taken once for each person or token and kept as a table from action to reach
//! ([`Rights`]), because a request asks for many devices and the answer for a device is that of its group. Templates of
//! the built-in roles are text in the tree (`policies/roles.cedar`); an assignment links one to who and where.

use super::AccessError;
use super::action::Action;
use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityUid, Policy, PolicyId, PolicySet, Request,
    RestrictedExpression, Schema, SlotId, Template, ValidationMode, Validator,
};
use garrison_model::{SubscriptionId, TenantId};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

const SCHEMA: &str = include_str!("../../policies/schema.cedarschema");
const ROLES: &str = include_str!("../../policies/roles.cedar");
/// Role that an installation's first administrator has.
pub const OWNER: &str = "owner";

/// Where an assignment holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Everywhere in the tenant.
    Tenant,
    /// In one subscription and on its machines.
    Subscription(SubscriptionId),
    /// On the devices of one device group.
    DeviceGroup(String),
}

/// A role that somebody has somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Name of the role.
    pub role: String,
    /// Where.
    pub scope: Scope,
}

/// A person or token, with what was given to it, directly or through groups.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subject {
    /// Id of the user or token.
    pub id: String,
    /// Whether it is a token.
    pub is_token: bool,
    /// Whether the user was disabled.
    pub disabled: bool,
    /// Scope of a token; `None` leaves its role alone.
    pub scopes: Option<Vec<Action>>,
    /// What was given.
    pub grants: Vec<Grant>,
}

/// Where an action is allowed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reach {
    /// Everywhere in the tenant.
    pub all: bool,
    /// In these subscriptions.
    pub subscriptions: BTreeSet<SubscriptionId>,
    /// On devices of these groups.
    pub groups: BTreeSet<String>,
}

impl Reach {
    /// Nowhere.
    pub fn is_nowhere(&self) -> bool {
        !self.all && self.subscriptions.is_empty() && self.groups.is_empty()
    }
}

/// What one person or token may do, and where.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rights {
    reach: BTreeMap<Action, Reach>,
    /// What the role would give and the token's scope takes away.
    out_of_scope: BTreeSet<Action>,
}

impl Rights {
    /// Where an action is allowed; nowhere if it is not.
    pub fn reach(&self, action: Action) -> Reach {
        self.reach.get(&action).cloned().unwrap_or_default()
    }

    /// Whether an action is allowed in the whole tenant.
    pub fn everywhere(&self, action: Action) -> bool {
        self.reach.get(&action).is_some_and(|r| r.all)
    }

    /// Whether it is the token's scope that refuses.
    pub fn is_out_of_scope(&self, action: Action) -> bool {
        self.out_of_scope.contains(&action)
    }

    /// What is allowed somewhere, in the order of the reference page.
    pub fn actions(&self) -> Vec<Action> {
        self.reach.iter().filter(|(_, r)| !r.is_nowhere()).map(|(a, _)| *a).collect()
    }
}

/// The parsed policies.
pub struct Policies {
    schema: Schema,
    templates: Vec<Template>,
    forbids: Vec<Policy>,
    authorizer: Authorizer,
}

impl std::fmt::Debug for Policies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Policies").field("roles", &self.templates.len()).finish_non_exhaustive()
    }
}

/// A role as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoleView {
    /// Name.
    pub name: String,
    /// What it is for.
    pub title: String,
    /// Whether it comes with the program; such a role is not changed.
    pub built_in: bool,
    /// What it lets one do.
    pub actions: Vec<Action>,
}

fn policy(error: impl std::fmt::Display) -> AccessError {
    AccessError::Policy(error.to_string())
}

fn uid(kind: &str, id: &str) -> Result<EntityUid, AccessError> {
    let kind = format!("Garrison::{kind}").parse().map_err(policy)?;
    Ok(EntityUid::from_type_name_and_id(kind, cedar_policy::EntityId::new(id)))
}

/// The template of a role made of a list of actions. Names are checked where roles are made; actions are our own words.
fn template_text(actions: &[Action]) -> String {
    let listed: Vec<String> = actions.iter().map(|a| format!("Garrison::Action::\"{a}\"")).collect();
    format!("permit (principal in ?principal, action in [{}], resource in ?resource);", listed.join(", "))
}

impl Policies {
    /// Reads the policies of the program and holds them against their schema.
    pub fn load() -> Result<Self, AccessError> {
        let (schema, _) = Schema::from_cedarschema_str(SCHEMA).map_err(policy)?;
        let set: PolicySet = ROLES.parse().map_err(policy)?;
        let result = Validator::new(schema.clone()).validate(&set, ValidationMode::default());
        if let Some(error) = result.validation_errors().next() {
            return Err(policy(error));
        }
        let named = |id: Option<&str>| id.map(PolicyId::new).ok_or_else(|| policy("a policy has no @id"));
        let templates: Result<_, AccessError> =
            set.templates().map(|t| Ok(t.new_id(named(t.annotation("id"))?))).collect();
        let forbids: Result<_, AccessError> =
            set.policies().map(|p| Ok(p.new_id(named(p.annotation("id"))?))).collect();
        let (templates, forbids) = (templates?, forbids?);
        Ok(Self { schema, templates, forbids, authorizer: Authorizer::new() })
    }

    fn built_in(&self, name: &str) -> Option<&Template> {
        let name = PolicyId::new(name);
        self.templates.iter().find(|t| *t.id() == name)
    }

    /// Whether a role of this name comes with the program.
    pub fn is_built_in(&self, name: &str) -> bool {
        self.built_in(name).is_some()
    }

    /// The roles of the program: what each allows, as Cedar says.
    pub fn roles(&self) -> Result<Vec<RoleView>, AccessError> {
        let own = HashMap::new();
        let view = |template: &Template| {
            let name = template.id().to_string();
            let grants = vec![Grant { role: name.clone(), scope: Scope::Tenant }];
            let actions = self.rights(&TenantId::first(), &Subject { grants, ..Subject::default() }, &own)?.actions();
            let title = template.annotation("title").unwrap_or_default().to_owned();
            Ok(RoleView { name, title, built_in: true, actions })
        };
        let mut all = self.templates.iter().map(view).collect::<Result<Vec<_>, AccessError>>()?;
        all.sort_by(|a, b| (a.actions.len(), &a.name).cmp(&(b.actions.len(), &b.name)));
        Ok(all)
    }

    /// What a subject may do, and where. `own` are the operator's roles; a grant of a role that is gone gives nothing.
    pub fn rights(
        &self,
        tenant: &TenantId,
        subject: &Subject,
        own: &HashMap<String, Vec<Action>>,
    ) -> Result<Rights, AccessError> {
        let principal = uid(if subject.is_token { "Token" } else { "User" }, &subject.id)?;
        let tenant = uid("Tenant", tenant.as_str())?;
        let mut set = PolicySet::new();
        for forbid in &self.forbids {
            set.add(forbid.clone()).map_err(policy)?;
        }
        let mut places: BTreeMap<&Scope, EntityUid> = BTreeMap::from([(&Scope::Tenant, tenant.clone())]);
        let mut known = HashSet::new();
        for (number, grant) in subject.grants.iter().enumerate() {
            let id = PolicyId::new(&grant.role);
            if known.insert(grant.role.as_str()) {
                if let Some(template) = self.built_in(&grant.role) {
                    set.add_template(template.clone()).map_err(policy)?;
                } else if let Some(actions) = own.get(&grant.role).filter(|a| !a.is_empty()) {
                    set.add_template(Template::parse(Some(id.clone()), template_text(actions)).map_err(policy)?)
                        .map_err(policy)?;
                }
            }
            if set.template(&id).is_none() {
                continue;
            }
            let place = match &grant.scope {
                Scope::Tenant => tenant.clone(),
                Scope::Subscription(id) => uid("Subscription", id.as_str())?,
                Scope::DeviceGroup(id) => uid("DeviceGroup", id)?,
            };
            places.insert(&grant.scope, place.clone());
            let slots = HashMap::from([(SlotId::principal(), principal.clone()), (SlotId::resource(), place)]);
            set.link(id, PolicyId::new(format!("grant {number}")), slots).map_err(policy)?;
        }
        let entities = self.entities(&principal, subject, &places)?;
        let mut rights = Rights::default();
        for action in Action::ALL {
            let asked = uid("Action", action.as_str())?;
            for (scope, place) in &places {
                let scope_word = RestrictedExpression::new_string(action.as_str().to_owned());
                let context = Context::from_pairs([("scope".to_owned(), scope_word)]).map_err(policy)?;
                let request =
                    Request::new(principal.clone(), asked.clone(), place.clone(), context, Some(&self.schema))
                        .map_err(policy)?;
                let answer = self.authorizer.is_authorized(&request, &set, &entities);
                if answer.decision() == Decision::Allow {
                    let reach = rights.reach.entry(*action).or_default();
                    match scope {
                        Scope::Tenant => reach.all = true,
                        Scope::Subscription(id) => drop(reach.subscriptions.insert(id.clone())),
                        Scope::DeviceGroup(id) => drop(reach.groups.insert(id.clone())),
                    }
                } else if answer.diagnostics().reason().any(|id| id.to_string() == "token-scope") {
                    rights.out_of_scope.insert(*action);
                }
            }
        }
        Ok(rights)
    }

    fn entities(
        &self,
        principal: &EntityUid,
        subject: &Subject,
        places: &BTreeMap<&Scope, EntityUid>,
    ) -> Result<Entities, AccessError> {
        let attributes = if subject.is_token {
            let scopes = subject.scopes.iter().flatten();
            let words = scopes.map(|a| RestrictedExpression::new_string(a.as_str().to_owned()));
            HashMap::from([
                ("scoped".to_owned(), RestrictedExpression::new_bool(subject.scopes.is_some())),
                ("scopes".to_owned(), RestrictedExpression::new_set(words)),
            ])
        } else {
            HashMap::from([("disabled".to_owned(), RestrictedExpression::new_bool(subject.disabled))])
        };
        let mut all = vec![Entity::new(principal.clone(), attributes, HashSet::new()).map_err(policy)?];
        let tenant = places.get(&Scope::Tenant);
        for (scope, place) in places {
            let parents = tenant.filter(|_| **scope != Scope::Tenant).cloned().into_iter().collect();
            all.push(Entity::new(place.clone(), HashMap::new(), parents).map_err(policy)?);
        }
        Entities::from_entities(all, Some(&self.schema)).map_err(policy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(role: &str, scope: Scope) -> Grant {
        Grant { role: role.to_owned(), scope }
    }

    fn subject(grants: &[(&str, Scope)]) -> Subject {
        Subject {
            id: "u1".to_owned(),
            grants: grants.iter().map(|(r, s)| grant(r, s.clone())).collect(),
            ..Subject::default()
        }
    }

    #[test]
    fn the_schema_and_the_list_of_actions_are_the_same() {
        let policies = Policies::load().unwrap();
        let mut schema: Vec<String> = policies.schema.actions().map(|a| a.id().unescaped().to_owned()).collect();
        let mut ours: Vec<String> = Action::ALL.iter().map(|a| a.to_string()).collect();
        schema.sort();
        ours.sort();
        assert_eq!(schema, ours);
    }

    #[test]
    fn rights_are_what_roles_scopes_and_switches_come_to() {
        let policies = Policies::load().unwrap();
        let own = HashMap::from([("watcher".to_owned(), vec![Action::AuditView])]);
        let group = Scope::DeviceGroup("g1".to_owned());
        let paid = SubscriptionId::new("0f1e2d3c-0000-4000-8000-000000000001").unwrap();
        let scoped = |actions: &[Action], grants: &[(&str, Scope)]| Subject {
            is_token: true,
            scopes: Some(actions.to_vec()),
            ..subject(grants)
        };
        // Subject, action, everywhere, groups, subscriptions, refused by the token's scope.
        for (what, subject, action, all, groups, subscriptions, out) in [
            ("reader", subject(&[("reader", Scope::Tenant)]), Action::ViewSecops, true, 0, 0, false),
            ("reader", subject(&[("reader", Scope::Tenant)]), Action::Investigate, false, 0, 0, false),
            ("analyst", subject(&[("analyst", Scope::Tenant)]), Action::Investigate, true, 0, 0, false),
            ("in a group", subject(&[("analyst", group.clone())]), Action::Investigate, false, 1, 0, false),
            (
                "the whole holds its parts",
                subject(&[("analyst", group.clone()), ("reader", Scope::Tenant)]),
                Action::ViewSecops,
                true,
                1,
                0,
                false,
            ),
            (
                "in a subscription",
                subject(&[("contributor", Scope::Subscription(paid.clone()))]),
                Action::CloudMachines,
                false,
                0,
                1,
                false,
            ),
            (
                "contributors see no data",
                subject(&[("contributor", Scope::Tenant)]),
                Action::ViewSecops,
                false,
                0,
                0,
                false,
            ),
            ("admins do not own", subject(&[("admin", Scope::Tenant)]), Action::Own, false, 0, 0, false),
            ("owners own", subject(&[("owner", Scope::Tenant)]), Action::Own, true, 0, 0, false),
            ("a role of one's own", subject(&[("watcher", Scope::Tenant)]), Action::AuditView, true, 0, 0, false),
            ("a role that is gone", subject(&[("gone", Scope::Tenant)]), Action::AuditView, false, 0, 0, false),
            ("nothing given", subject(&[]), Action::ViewSecops, false, 0, 0, false),
            (
                "disabled",
                Subject { disabled: true, ..subject(&[("owner", Scope::Tenant)]) },
                Action::ViewSecops,
                false,
                0,
                0,
                false,
            ),
            (
                "in scope",
                scoped(&[Action::ViewSecops], &[("admin", Scope::Tenant)]),
                Action::ViewSecops,
                true,
                0,
                0,
                false,
            ),
            (
                "out of scope",
                scoped(&[Action::ViewSecops], &[("admin", Scope::Tenant)]),
                Action::Investigate,
                false,
                0,
                0,
                true,
            ),
            (
                "a scope gives nothing",
                scoped(&[Action::Investigate], &[("reader", Scope::Tenant)]),
                Action::Investigate,
                false,
                0,
                0,
                false,
            ),
        ] {
            let rights = policies.rights(&TenantId::first(), &subject, &own).unwrap();
            let reach = rights.reach(action);
            assert_eq!(
                (reach.all, reach.groups.len(), reach.subscriptions.len(), rights.is_out_of_scope(action)),
                (all, groups, subscriptions, out),
                "{what}: {action}"
            );
        }
    }

    #[test]
    fn the_reference_page_has_the_table_of_roles_and_actions() {
        let page = include_str!("../../../../docs/reference/access.md");
        let roles = Policies::load().unwrap().roles().unwrap();
        let mut table =
            format!("| action |{}\n|---|", roles.iter().map(|r| format!(" {} |", r.name)).collect::<String>());
        table.push_str(&"---|".repeat(roles.len()));
        for action in Action::ALL {
            let cells = roles.iter().map(|r| if r.actions.contains(action) { " yes |" } else { "  |" });
            table.push_str(&format!("\n| `{action}` |{}", cells.collect::<String>()));
        }
        assert!(page.contains(&table), "docs/reference/access.md lacks this table:\n{table}");
        for action in Action::ALL {
            assert!(page.contains(&format!("| `{action}` | {} |", action.title())), "access.md lacks {action}");
        }
    }
}
