//! The tables of this room, but for the audit log's.

use super::group::{CONDITIONS_MAX, GROUPS_MAX, GroupPreview, UNGROUPED, UNGROUPED_NAME};
use super::role::OWNER;
use super::{
    Access, AccessError, Action, AutomationLevel, Condition, DeviceGroup, Grant, Rights, Scope, Setup, Subject,
};
use crate::db::{Db, columns, is_unique_violation};
use garrison_model::{Micros, Role, SubscriptionId, TenantId, UserId};
use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};
use std::collections::HashMap;

/// Assignments that may exist: lists stay short.
const ASSIGNMENTS_MAX: i64 = 10_000;
/// Assignments of one person or token that count: each is asked for each action.
const GRANTS_MAX: i64 = 200;
/// Roles of the operator's own.
const ROLES_MAX: usize = 100;
/// Members of all groups.
const MEMBERS_MAX: i64 = 100_000;

/// Where an assignment holds, as the API has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Assignment {
    /// Id.
    pub id: String,
    /// `User` or `UserGroup`.
    pub principal_kind: String,
    /// Name of the user or group.
    pub principal: String,
    /// Role.
    pub role: String,
    /// `Tenant`, `Subscription` or `DeviceGroup`.
    pub scope_kind: String,
    /// Id of the subscription or device group; empty for the tenant.
    #[serde(default)]
    pub scope: String,
    /// `Local`, or `Oidc` for what a sign-in mapped.
    #[serde(default)]
    pub source: String,
    /// When it was made.
    pub created_time: String,
    /// By whom.
    pub created_by: String,
}

/// A new assignment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AssignmentNew {
    /// `User` or `UserGroup`; `User` unless given.
    #[serde(default)]
    pub principal_kind: Option<String>,
    /// Name of the user or group.
    pub principal: String,
    /// Role.
    pub role: String,
    /// `Tenant`, `Subscription` or `DeviceGroup`; `Tenant` unless given.
    #[serde(default)]
    pub scope_kind: Option<String>,
    /// Id of the subscription or device group.
    #[serde(default)]
    pub scope: String,
}

/// A device group as it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeviceGroupBody {
    /// Name, 1 to 80 characters.
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// Rank from 1; last unless given.
    #[serde(default)]
    pub rank: Option<i64>,
    /// All of them must hold.
    #[serde(default)]
    pub rules: Vec<Condition>,
    /// How far investigations act by themselves.
    #[serde(default)]
    pub automation_level: AutomationLevel,
}

fn scope_read(kind: &str, scope: String) -> Result<Scope, AccessError> {
    Ok(match kind {
        "Tenant" => Scope::Tenant,
        "Subscription" => Scope::Subscription(SubscriptionId::new(&scope).map_err(|_| AccessError::Stored("scope"))?),
        "DeviceGroup" => Scope::DeviceGroup(scope),
        _ => return Err(AccessError::Stored("scope")),
    })
}

fn grant_read(row: &AnyRow) -> Result<Grant, AccessError> {
    let kind: String = row.try_get("scope_kind")?;
    Ok(Grant { role: row.try_get("role")?, scope: scope_read(&kind, row.try_get("scope")?)? })
}

/// What was given to a user, by itself and through its groups.
pub(super) async fn subject_of_user(db: &Db, tenant: &TenantId, user: &UserId) -> Result<Subject, AccessError> {
    let rows = sqlx::query(
        "SELECT role, scope_kind, scope FROM access_assignments WHERE tenant_id = $1 AND ((principal_kind = 'User' \
         AND principal = $2) OR (principal_kind = 'UserGroup' AND principal IN (SELECT user_group FROM access_members \
         WHERE tenant_id = $1 AND user_id = $2))) ORDER BY id LIMIT $3",
    )
    .bind(tenant.as_str())
    .bind(user.as_str().to_owned())
    .bind(GRANTS_MAX)
    .fetch_all(db.pool())
    .await?;
    let grants = rows.iter().map(grant_read).collect::<Result<_, _>>()?;
    let disabled = crate::identity::is_disabled(db, user).await?;
    Ok(Subject { id: user.to_string(), disabled, grants, ..Subject::default() })
}

/// What a token may: its role, where its scope has it.
pub(super) async fn subject_of_token(
    db: &Db,
    tenant: &TenantId,
    token: &str,
    role: Role,
) -> Result<Subject, AccessError> {
    let row = sqlx::query("SELECT actions, device_groups FROM access_token_scopes WHERE token_id = $1")
        .bind(token.to_owned())
        .fetch_optional(db.pool())
        .await?;
    let _ = tenant;
    let mut subject = Subject { id: token.to_owned(), is_token: true, ..Subject::default() };
    let mut places = vec![Scope::Tenant];
    if let Some(row) = row {
        let (actions, groups) = token_scope_read(&row)?;
        subject.scopes = (!actions.is_empty()).then_some(actions);
        if !groups.is_empty() {
            places = groups.into_iter().map(Scope::DeviceGroup).collect();
        }
    }
    subject.grants = places.into_iter().map(|scope| Grant { role: role.as_str().to_owned(), scope }).collect();
    Ok(subject)
}

fn token_scope_read(row: &AnyRow) -> Result<(Vec<Action>, Vec<String>), AccessError> {
    let damaged = |_| AccessError::Stored("scope of a token");
    let (actions, groups): (String, String) = (row.try_get("actions")?, row.try_get("device_groups")?);
    Ok((serde_json::from_str(&actions).map_err(damaged)?, serde_json::from_str(&groups).map_err(damaged)?))
}

/// Roles of the operator's own and device groups.
pub(super) async fn setup(db: &Db, tenant: &TenantId) -> Result<Setup, AccessError> {
    let mut setup = Setup::default();
    let rows = sqlx::query("SELECT name, title, actions FROM access_roles WHERE tenant_id = $1")
        .bind(tenant.as_str())
        .fetch_all(db.pool())
        .await?;
    for row in &rows {
        let actions: String = row.try_get("actions")?;
        // A word of a newer program gives nothing here.
        let words: Vec<String> = serde_json::from_str(&actions).map_err(|_| AccessError::Stored("role"))?;
        let actions = words.iter().filter_map(|w| w.parse().ok()).collect();
        setup.roles.insert(row.try_get("name")?, (row.try_get("title")?, actions));
    }
    let rows = sqlx::query("SELECT * FROM access_device_groups WHERE tenant_id = $1 ORDER BY place, id")
        .bind(tenant.as_str())
        .fetch_all(db.pool())
        .await?;
    for row in &rows {
        let (id, rules, level): (String, String, String) =
            (row.try_get("id")?, row.try_get("rules")?, row.try_get("automation")?);
        let damaged = |_| AccessError::Stored("device group");
        let automation_level = serde_json::from_value(level.into()).map_err(damaged)?;
        if id == UNGROUPED {
            setup.ungrouped = automation_level;
            continue;
        }
        setup.groups.push(DeviceGroup {
            id,
            name: row.try_get("name")?,
            description: row.try_get("description")?,
            rank: i64::try_from(setup.groups.len()).unwrap_or(i64::MAX).saturating_add(1),
            rules: serde_json::from_str(&rules).map_err(damaged)?,
            automation_level,
            device_count: 0,
        });
    }
    Ok(setup)
}

/// Gives a new user its first role on the tenant; the first administrator of an installation owns it.
pub(crate) async fn assign_new_user(
    connection: &mut AnyConnection,
    tenant: &TenantId,
    user: &UserId,
    role: Role,
    now: Micros,
) -> Result<(), sqlx::Error> {
    let owners = sqlx::query("SELECT COUNT(*) FROM access_assignments WHERE tenant_id = $1 AND role = $2")
        .bind(tenant.as_str())
        .bind(OWNER)
        .fetch_one(&mut *connection)
        .await?
        .try_get::<i64, _>(0)?;
    let role = if role == Role::Admin && owners == 0 { OWNER } else { role.as_str() };
    insert(connection, tenant, ("User", user.as_str()), role, ("Tenant", ""), "Local", now, "first role").await
}

/// `by` is as the column holds it: sealed where it is a person's name.
async fn insert(
    connection: &mut AnyConnection,
    tenant: &TenantId,
    principal: (&str, &str),
    role: &str,
    scope: (&str, &str),
    source: &str,
    now: Micros,
    by: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO access_assignments (tenant_id, id, principal_kind, principal, role, scope_kind, scope, source, \
         created, created_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(tenant.as_str())
    .bind(uuid::Uuid::now_v7().to_string())
    .bind(principal.0.to_owned())
    .bind(principal.1.to_owned())
    .bind(role.to_owned())
    .bind(scope.0.to_owned())
    .bind(scope.1.to_owned())
    .bind(source.to_owned())
    .bind(now.0)
    .bind(by.to_owned())
    .execute(connection)
    .await?;
    Ok(())
}

impl Access {
    /// Makes a user an owner of this tenant.
    pub(crate) async fn owner_add(&self, user: &UserId, by: &str, now: Micros) -> Result<(), AccessError> {
        let mut tx = self.db.write().await?;
        let by = self.db.seal_own().put(columns::ASSIGNMENT_AUTHOR, by)?;
        insert(tx.conn(), &self.tenant, ("User", user.as_str()), OWNER, ("Tenant", ""), "Local", now, &by).await?;
        tx.commit().await?;
        self.changed();
        Ok(())
    }
}

/// Replaces what sign-ins through a provider gave to a user.
pub(crate) async fn oidc_roles_set(
    connection: &mut AnyConnection,
    user: &UserId,
    roles: &[(TenantId, String)],
    now: Micros,
) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM access_assignments WHERE principal_kind = 'User' AND principal = $1 AND source = 'Oidc'")
        .bind(user.as_str().to_owned())
        .execute(&mut *connection)
        .await?;
    for (tenant, role) in roles {
        insert(connection, tenant, ("User", user.as_str()), role, ("Tenant", ""), "Oidc", now, "sign-in").await?;
    }
    Ok(())
}

/// A name of a role or group of users: letters, digits and `-`, so that it can stand in paths and policies.
fn check_word(text: &str, what: &str) -> Result<(), AccessError> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.is_empty() || text.len() > 60 || !text.chars().all(fits) {
        return Err(AccessError::Value(format!("a name of a {what} has 1 to 60 small letters, digits and `-`")));
    }
    Ok(())
}

fn check_text(text: &str, longest: usize, what: &str) -> Result<(), AccessError> {
    if text.chars().count() > longest || text.chars().any(char::is_control) {
        return Err(AccessError::Value(format!("{what} has at most {longest} characters")));
    }
    Ok(())
}

impl Access {
    /// All assignments to users and groups of users.
    pub async fn assignments(&self) -> Result<Vec<Assignment>, AccessError> {
        let users = crate::identity::user_names(&self.db).await?;
        let rows = sqlx::query("SELECT * FROM access_assignments WHERE tenant_id = $1 ORDER BY created, id LIMIT $2")
            .bind(self.tenant.as_str())
            .bind(ASSIGNMENTS_MAX)
            .fetch_all(self.db.pool())
            .await?;
        let seal = self.db.seal_own();
        rows.iter()
            .map(|row| {
                let (principal_kind, principal): (String, String) =
                    (row.try_get("principal_kind")?, row.try_get("principal")?);
                let named = users.get(&principal).filter(|_| principal_kind == "User").cloned();
                Ok(Assignment {
                    id: row.try_get("id")?,
                    principal: named.unwrap_or(principal),
                    principal_kind,
                    role: row.try_get("role")?,
                    scope_kind: row.try_get("scope_kind")?,
                    scope: row.try_get("scope")?,
                    source: row.try_get("source")?,
                    created_time: crate::shared::rfc3339(Micros(row.try_get("created")?)),
                    created_by: seal.get(row, columns::ASSIGNMENT_AUTHOR)?,
                })
            })
            .collect()
    }

    /// Gives a role. Nobody gives what he does not have.
    pub async fn assign(
        &self,
        new: &AssignmentNew,
        giver: &Rights,
        by: &str,
        now: Micros,
    ) -> Result<Assignment, AccessError> {
        self.may_give(giver, &new.role, now).await?;
        let kind = new.principal_kind.as_deref().unwrap_or("User");
        let principal = match kind {
            "User" => crate::identity::user_id(&self.db, &new.principal).await?.ok_or(AccessError::Unknown("user"))?,
            "UserGroup" => {
                check_word(&new.principal, "group of users")?;
                new.principal.clone()
            }
            _ => return Err(AccessError::Value("principalKind is `User` or `UserGroup`".to_owned())),
        };
        let scope_kind = new.scope_kind.as_deref().unwrap_or("Tenant");
        match scope_kind {
            "Tenant" if new.scope.is_empty() => {}
            "Tenant" => return Err(AccessError::Value("the scope `Tenant` has no id".to_owned())),
            "Subscription" => {
                let id = SubscriptionId::new(&new.scope).map_err(|_| AccessError::Unknown("subscription"))?;
                self.plane.subscription(&self.tenant, &id, now).await.map_err(|error| match error {
                    crate::plane::PlaneError::Unknown(_) => AccessError::Unknown("subscription"),
                    other => other.into(),
                })?;
            }
            "DeviceGroup" => {
                let setup = self.setup(now).await?;
                if new.scope != UNGROUPED && !setup.groups.iter().any(|g| g.id == new.scope) {
                    return Err(AccessError::Unknown("device group"));
                }
            }
            _ => return Err(AccessError::Value("scopeKind is `Tenant`, `Subscription` or `DeviceGroup`".to_owned())),
        }
        let by = self.db.seal_own().put(columns::ASSIGNMENT_AUTHOR, by)?;
        let mut tx = self.db.write().await?;
        let made =
            insert(tx.conn(), &self.tenant, (kind, &principal), &new.role, (scope_kind, &new.scope), "Local", now, &by);
        made.await.map_err(|e| if is_unique_violation(&e) { AccessError::Exists("assignment") } else { e.into() })?;
        tx.commit().await?;
        self.changed();
        let all = self.assignments().await?;
        let same = |a: &&Assignment| {
            (a.principal_kind.as_str(), a.role.as_str(), a.scope.as_str()) == (kind, &new.role, &new.scope)
                && a.principal == new.principal
                && a.source == "Local"
        };
        all.iter().rev().find(same).cloned().ok_or(AccessError::Stored("assignment"))
    }

    /// Takes a role back. The last owner stays.
    pub async fn unassign(&self, id: &str, giver: &Rights, now: Micros) -> Result<(), AccessError> {
        let all = self.assignments().await?;
        let found = all.iter().find(|a| a.id == id).ok_or(AccessError::Unknown("assignment"))?;
        match self.may_give(giver, &found.role, now).await {
            // A role that is gone gives nothing, so anybody may tidy up after it.
            Ok(()) | Err(AccessError::Unknown(_)) => {}
            Err(error) => return Err(error),
        }
        let mut tx = self.db.write().await?;
        sqlx::query("DELETE FROM access_assignments WHERE tenant_id = $1 AND id = $2")
            .bind(self.tenant.as_str())
            .bind(id.to_owned())
            .execute(tx.conn())
            .await?;
        if found.role == OWNER && !self.is_owned(tx.conn()).await? {
            return Err(AccessError::LastOwner);
        }
        tx.commit().await?;
        self.changed();
        Ok(())
    }

    /// Whether a user who may sign in owns the tenant; inside a change, as it would be.
    pub(crate) async fn is_owned(&self, connection: &mut AnyConnection) -> Result<bool, AccessError> {
        let rows = sqlx::query(
            "SELECT principal AS id FROM access_assignments WHERE tenant_id = $1 AND role = $2 AND scope_kind = 'Tenant' \
             AND principal_kind = 'User' UNION SELECT m.user_id AS id FROM access_members m JOIN access_assignments a \
             ON a.tenant_id = m.tenant_id AND a.principal_kind = 'UserGroup' AND a.principal = m.user_group \
             WHERE m.tenant_id = $1 AND a.role = $2 AND a.scope_kind = 'Tenant'",
        )
        .bind(self.tenant.as_str())
        .bind(OWNER)
        .fetch_all(&mut *connection)
        .await?;
        for row in &rows {
            let id: String = row.try_get("id")?;
            if crate::identity::is_enabled(connection, &id).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Disables a user, whose sessions end at once, or lets it in again. The last owner stays.
    pub async fn user_switch(&self, name: &str, disabled: bool) -> Result<(), AccessError> {
        let mut tx = self.db.write().await?;
        if !crate::identity::switch(tx.conn(), &self.db.seal_own(), name, disabled).await? {
            return Err(AccessError::Unknown("user"));
        }
        if disabled && !self.is_owned(tx.conn()).await? {
            return Err(AccessError::LastOwner);
        }
        tx.commit().await?;
        self.changed();
        Ok(())
    }

    /// Makes or changes a role of the operator's own.
    pub async fn role_put(
        &self,
        name: &str,
        title: &str,
        actions: &[Action],
        giver: &Rights,
        now: Micros,
    ) -> Result<(), AccessError> {
        check_word(name, "role")?;
        check_text(title, 200, "a title")?;
        if self.policies.is_built_in(name) {
            return Err(AccessError::Value(
                "a role of the program is not changed; make one of another name".to_owned(),
            ));
        }
        if actions.is_empty() {
            return Err(AccessError::Value("a role has at least one action".to_owned()));
        }
        let setup = self.setup(now).await?;
        Self::may_give_actions(giver, actions)?;
        if let Some((_, known)) = setup.roles.get(name) {
            Self::may_give_actions(giver, known)?;
        } else if setup.roles.len() >= ROLES_MAX {
            return Err(AccessError::Value(format!("there are at most {ROLES_MAX} roles of your own")));
        }
        let words = serde_json::to_string(actions).map_err(|_| AccessError::Stored("role"))?;
        let mut tx = self.db.write().await?;
        sqlx::query(
            "INSERT INTO access_roles (tenant_id, name, title, actions) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (tenant_id, name) DO UPDATE SET title = excluded.title, actions = excluded.actions",
        )
        .bind(self.tenant.as_str())
        .bind(name.to_owned())
        .bind(title.to_owned())
        .bind(words)
        .execute(tx.conn())
        .await?;
        tx.commit().await?;
        self.changed();
        Ok(())
    }

    /// Removes a role of the operator's own; assignments of it give nothing any more.
    pub async fn role_delete(&self, name: &str, giver: &Rights, now: Micros) -> Result<(), AccessError> {
        let setup = self.setup(now).await?;
        let (_, actions) = setup.roles.get(name).ok_or(AccessError::Unknown("role of your own"))?;
        Self::may_give_actions(giver, actions)?;
        let mut tx = self.db.write().await?;
        for sql in [
            "DELETE FROM access_assignments WHERE tenant_id = $1 AND role = $2",
            "DELETE FROM access_roles WHERE tenant_id = $1 AND name = $2",
        ] {
            sqlx::query(sql).bind(self.tenant.as_str()).bind(name.to_owned()).execute(tx.conn()).await?;
        }
        tx.commit().await?;
        self.changed();
        Ok(())
    }

    /// Groups of users with the names of their members.
    pub async fn user_groups(&self) -> Result<Vec<(String, Vec<String>)>, AccessError> {
        let users = crate::identity::user_names(&self.db).await?;
        let rows = sqlx::query(
            "SELECT user_group, user_id FROM access_members WHERE tenant_id = $1 ORDER BY user_group, user_id LIMIT $2",
        )
        .bind(self.tenant.as_str())
        .bind(MEMBERS_MAX)
        .fetch_all(self.db.pool())
        .await?;
        let mut all: Vec<(String, Vec<String>)> = Vec::new();
        for row in &rows {
            let (group, id): (String, String) = (row.try_get(0)?, row.try_get(1)?);
            let Some(name) = users.get(&id).cloned() else { continue };
            match all.last_mut().filter(|(last, _)| *last == group) {
                Some((_, members)) => members.push(name),
                None => all.push((group, vec![name])),
            }
        }
        Ok(all)
    }

    /// Replaces the members of a group of users; a group without members is no more. Whoever does it gives away what
    /// the group has.
    pub async fn user_group_put(
        &self,
        name: &str,
        members: &[String],
        giver: &Rights,
        now: Micros,
    ) -> Result<(), AccessError> {
        check_word(name, "group of users")?;
        if members.len() > 1_000 {
            return Err(AccessError::Value("a group of users has at most 1000 members".to_owned()));
        }
        for given in self.assignments().await?.iter().filter(|a| a.principal_kind == "UserGroup" && a.principal == name)
        {
            self.may_give(giver, &given.role, now).await?;
        }
        let mut ids = Vec::with_capacity(members.len());
        for member in members {
            ids.push(crate::identity::user_id(&self.db, member).await?.ok_or(AccessError::Unknown("user"))?);
        }
        ids.sort();
        ids.dedup();
        let mut tx = self.db.write().await?;
        sqlx::query("DELETE FROM access_members WHERE tenant_id = $1 AND user_group = $2")
            .bind(self.tenant.as_str())
            .bind(name.to_owned())
            .execute(tx.conn())
            .await?;
        for id in ids {
            sqlx::query("INSERT INTO access_members (tenant_id, user_group, user_id) VALUES ($1, $2, $3)")
                .bind(self.tenant.as_str())
                .bind(name.to_owned())
                .bind(id)
                .execute(tx.conn())
                .await?;
        }
        if !self.is_owned(tx.conn()).await? {
            return Err(AccessError::LastOwner);
        }
        tx.commit().await?;
        self.changed();
        Ok(())
    }

    /// What a device group would hold with these rules at this rank, which is the last one unless given. Nothing is
    /// changed.
    pub async fn device_group_preview(
        &self,
        id: &str,
        rank: Option<i64>,
        rules: &[Condition],
        now: Micros,
    ) -> Result<GroupPreview, AccessError> {
        if rules.len() > CONDITIONS_MAX || !rules.iter().all(Condition::is_usable) {
            let words = format!("a device group has 1 to {CONDITIONS_MAX} rules with values of 1 to 128 characters");
            return Err(AccessError::Value(words));
        }
        let setup = self.setup(now).await?;
        let was = setup.groups.iter().find(|g| g.id == id);
        let mut then: Vec<DeviceGroup> = setup.groups.iter().filter(|g| g.id != id).cloned().collect();
        let place = rank.or(was.map(|g| g.rank)).and_then(|rank| usize::try_from(rank.saturating_sub(1)).ok());
        let group = DeviceGroup {
            id: id.to_owned(),
            name: String::new(),
            description: String::new(),
            rank: 0,
            rules: rules.to_vec(),
            automation_level: AutomationLevel::default(),
            device_count: 0,
        };
        then.insert(place.unwrap_or(then.len()).min(then.len()), group.clone());
        let mut preview = GroupPreview::default();
        self.fleet
            .group_facts_walk(|device, facts| preview.take(&group, (&setup.groups, &then), device.as_str(), facts));
        Ok(preview.cut())
    }

    /// Makes a device group, or changes one. Of the default group only the level can be changed.
    pub async fn device_group_put(&self, id: &str, body: &DeviceGroupBody, now: Micros) -> Result<(), AccessError> {
        check_word(id, "device group")?;
        check_text(&body.description, 1_024, "a description")?;
        let setup = self.setup(now).await?;
        let is_default = id == UNGROUPED;
        if is_default && (!body.rules.is_empty() || body.name != UNGROUPED_NAME) {
            return Err(AccessError::Value("of the default group only the automation level can be changed".to_owned()));
        }
        if !is_default {
            if body.name.trim().is_empty() || body.name == UNGROUPED_NAME {
                return Err(AccessError::Value("a device group has a name of 1 to 80 characters".to_owned()));
            }
            check_text(&body.name, 80, "a name")?;
            if body.rules.is_empty()
                || body.rules.len() > CONDITIONS_MAX
                || !body.rules.iter().all(Condition::is_usable)
            {
                let words =
                    format!("a device group has 1 to {CONDITIONS_MAX} rules with values of 1 to 128 characters");
                return Err(AccessError::Value(words));
            }
            if setup.groups.iter().any(|g| g.id != id && g.name.eq_ignore_ascii_case(&body.name)) {
                return Err(AccessError::Exists("device group"));
            }
        }
        let mut order: Vec<&str> = setup.groups.iter().map(|g| g.id.as_str()).filter(|known| *known != id).collect();
        if !is_default {
            let was = setup.groups.iter().find(|g| g.id == id).map(|g| g.rank);
            let last = i64::try_from(order.len()).unwrap_or(i64::MAX).saturating_add(1);
            let rank = body.rank.or(was).unwrap_or(last);
            if order.len() >= GROUPS_MAX {
                return Err(AccessError::Value(format!("there are at most {GROUPS_MAX} device groups")));
            }
            if !(1..=last).contains(&rank) {
                return Err(AccessError::Value(format!("rank is between 1 and {last}")));
            }
            order.insert(usize::try_from(rank - 1).unwrap_or(0).min(order.len()), id);
        }
        let stored = |_| AccessError::Stored("device group");
        let level = serde_json::to_value(body.automation_level).map_err(stored)?;
        let mut tx = self.db.write().await?;
        sqlx::query(
            "INSERT INTO access_device_groups (tenant_id, id, name, description, place, rules, automation) \
             VALUES ($1, $2, $3, $4, 1000000, $5, $6) ON CONFLICT (tenant_id, id) DO UPDATE SET name = excluded.name, \
             description = excluded.description, rules = excluded.rules, automation = excluded.automation",
        )
        .bind(self.tenant.as_str())
        .bind(id.to_owned())
        .bind(body.name.clone())
        .bind(body.description.clone())
        .bind(serde_json::to_string(&body.rules).map_err(stored)?)
        .bind(level.as_str().unwrap_or_default().to_owned())
        .execute(tx.conn())
        .await?;
        for (place, id) in (1_i64..).zip(order) {
            sqlx::query("UPDATE access_device_groups SET place = $1 WHERE tenant_id = $2 AND id = $3")
                .bind(place)
                .bind(self.tenant.as_str())
                .bind(id.to_owned())
                .execute(tx.conn())
                .await?;
        }
        tx.commit().await?;
        self.changed();
        Ok(())
    }

    /// Removes a device group; its devices go to the next one that fits, and roles on it give nothing any more.
    pub async fn device_group_delete(&self, id: &str) -> Result<(), AccessError> {
        if id == UNGROUPED {
            return Err(AccessError::Value("the default group is not removed".to_owned()));
        }
        let mut tx = self.db.write().await?;
        let done = sqlx::query("DELETE FROM access_device_groups WHERE tenant_id = $1 AND id = $2")
            .bind(self.tenant.as_str())
            .bind(id.to_owned())
            .execute(tx.conn())
            .await?
            .rows_affected();
        if done == 0 {
            return Err(AccessError::Unknown("device group"));
        }
        sqlx::query(
            "DELETE FROM access_assignments WHERE tenant_id = $1 AND scope_kind = 'DeviceGroup' AND scope = $2",
        )
        .bind(self.tenant.as_str())
        .bind(id.to_owned())
        .execute(tx.conn())
        .await?;
        tx.commit().await?;
        self.changed();
        Ok(())
    }

    /// Sets the scope of a new token. It may not hold more than its maker has.
    pub async fn token_scope_set(&self, token: &str, actions: &[Action], groups: &[String]) -> Result<(), AccessError> {
        let stored = |_| AccessError::Stored("scope of a token");
        let mut tx = self.db.write().await?;
        sqlx::query("INSERT INTO access_token_scopes (token_id, actions, device_groups) VALUES ($1, $2, $3)")
            .bind(token.to_owned())
            .bind(serde_json::to_string(actions).map_err(stored)?)
            .bind(serde_json::to_string(groups).map_err(stored)?)
            .execute(tx.conn())
            .await?;
        Ok(tx.commit().await?)
    }

    /// Scopes of all tokens that have one: actions and device groups.
    pub async fn token_scopes(&self) -> Result<HashMap<String, (Vec<Action>, Vec<String>)>, AccessError> {
        let rows = sqlx::query("SELECT * FROM access_token_scopes LIMIT $1")
            .bind(ASSIGNMENTS_MAX)
            .fetch_all(self.db.pool())
            .await?;
        rows.iter().map(|row| Ok((row.try_get("token_id")?, token_scope_read(row)?))).collect()
    }
}
