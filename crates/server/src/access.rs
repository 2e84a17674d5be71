//! Who may do what, where: roles, their assignments, device groups, scopes of tokens, sign-in through OpenID providers,
//! and the audit log.
//!
//! ```text
//! request ─▶ api/auth.rs (who?) ─▶ api/gate.rs (which action, on what?) ─▶ Access::rights ─▶ role.rs (Cedar)
//!                                                     └▶ audit.rs (chained, durable before a change is answered)
//! ```
//!
//! This room keeps what was given to whom; [`role`] says what that comes to; [`sees`] says what of it one request may
//! see. It never looks at a request itself: the gate of the API does.

pub mod action;
pub mod audit;
pub mod group;
pub mod oidc;
pub mod role;
pub mod sees;
pub(crate) mod store;

pub use action::Action;
pub use group::{AutomationLevel, Condition, DeviceGroup};
pub use role::{Grant, Policies, Reach, Rights, RoleView, Scope, Subject};
pub use sees::Sees;
pub use store::{Assignment, AssignmentNew};

use crate::db::{Db, DbError};
use crate::fleet::Fleet;
use crate::identity::Principal;
use crate::plane::Plane;
use garrison_model::{DeviceId, Micros, TenantId};
use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

/// People and tokens whose rights are kept: more than ask at the same time.
const RIGHTS_MAX: NonZeroUsize = NonZeroUsize::new(1_024).unwrap();
/// How long they are kept: another server on the same database may have changed them.
const RIGHTS_KEPT: i64 = 5_000_000;

/// Something about access failed.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The policies cannot be used.
    #[error("the access policies cannot be used: {0}")]
    Policy(String),
    /// There is none.
    #[error("there is no {0}")]
    Unknown(&'static str),
    /// It is there already.
    #[error("a {0} of this name exists")]
    Exists(&'static str),
    /// A value is not usable.
    #[error("{0}")]
    Value(String),
    /// Whoever gives a role must have what it gives.
    #[error("this gives `{0}`, which you do not have yourself")]
    Escalation(Action),
    /// Somebody must be able to open the door again.
    #[error("nobody would own the tenant")]
    LastOwner,
    /// What is stored cannot be read.
    #[error("a stored {0} is damaged")]
    Stored(&'static str),
    /// Another room failed.
    #[error("cannot read the plane")]
    Plane(#[from] crate::plane::PlaneError),
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<sqlx::Error> for AccessError {
    fn from(source: sqlx::Error) -> Self {
        Self::Db(source.into())
    }
}

/// Roles and groups as of one moment.
#[derive(Debug, Default)]
pub struct Setup {
    /// Roles of the operator's own.
    pub roles: HashMap<String, (String, Vec<Action>)>,
    /// Device groups in order of rank, without the default one.
    pub groups: Vec<DeviceGroup>,
    /// Level of the default group.
    pub ungrouped: AutomationLevel,
}

#[derive(Debug)]
struct Kept {
    setup: Option<(Micros, Arc<Setup>)>,
    rights: lru::LruCache<String, (Micros, Arc<Rights>)>,
}

/// The room.
#[derive(Debug)]
pub struct Access {
    db: Db,
    tenant: TenantId,
    fleet: Arc<Fleet>,
    plane: Arc<Plane>,
    policies: Policies,
    kept: Mutex<Kept>,
    audit: audit::Audit,
    oidc: Option<oidc::Oidc>,
}

impl Access {
    /// Opens the room. `signer` signs the head of the audit log.
    pub async fn open(
        db: Db,
        tenant: TenantId,
        fleet: Arc<Fleet>,
        plane: Arc<Plane>,
        signer: ed25519_dalek::SigningKey,
        oidc: Option<oidc::OidcSettings>,
    ) -> Result<Self, AccessError> {
        let oidc = oidc.map(oidc::Oidc::new).transpose().map_err(|e| AccessError::Value(e.to_string()))?;
        let policies = Policies::load()?;
        let kept = Mutex::new(Kept { setup: None, rights: lru::LruCache::new(RIGHTS_MAX) });
        let audit = audit::Audit::start(db.clone(), tenant.clone(), signer).await?;
        Ok(Self { db, tenant, fleet, plane, policies, kept, audit, oidc })
    }

    /// The audit log.
    pub fn audit(&self) -> &audit::Audit {
        &self.audit
    }

    /// The policies.
    pub fn policies(&self) -> &Policies {
        &self.policies
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what was worked out; whoever changes something calls it.
    pub(crate) fn changed(&self) {
        let mut kept = self.kept();
        kept.setup = None;
        kept.rights.clear();
    }

    /// Roles and device groups.
    pub async fn setup(&self, now: Micros) -> Result<Arc<Setup>, AccessError> {
        if let Some((at, setup)) = &self.kept().setup
            && now.0.saturating_sub(at.0) < RIGHTS_KEPT
        {
            return Ok(Arc::clone(setup));
        }
        let setup = Arc::new(store::setup(&self.db, &self.tenant).await?);
        self.kept().setup = Some((now, Arc::clone(&setup)));
        Ok(setup)
    }

    /// What somebody may do, and where.
    pub async fn rights(&self, who: &Principal, now: Micros) -> Result<Arc<Rights>, AccessError> {
        let key = match (&who.user, &who.token) {
            (Some(user), _) => format!("user {user}"),
            (None, Some(token)) => format!("token {token}"),
            (None, None) => "local".to_owned(),
        };
        if let Some((at, rights)) = self.kept().rights.get(&key)
            && now.0.saturating_sub(at.0) < RIGHTS_KEPT
        {
            return Ok(Arc::clone(rights));
        }
        let setup = self.setup(now).await?;
        let subject = match (&who.user, &who.token) {
            (Some(user), _) => store::subject_of_user(&self.db, &self.tenant, user).await?,
            (None, Some(token)) => store::subject_of_token(&self.db, &self.tenant, token, who.role).await?,
            (None, None) => Subject {
                id: "local".to_owned(),
                is_token: true,
                grants: vec![Grant { role: role::OWNER.to_owned(), scope: Scope::Tenant }],
                ..Subject::default()
            },
        };
        let own = setup.roles.iter().map(|(name, (_, actions))| (name.clone(), actions.clone())).collect();
        let rights = Arc::new(self.policies.rights(&self.tenant, &subject, &own)?);
        self.kept().rights.put(key, (now, Arc::clone(&rights)));
        Ok(rights)
    }

    /// What one request may see with this action.
    pub async fn sees(&self, rights: &Rights, action: Action, now: Micros) -> Result<Sees, AccessError> {
        let reach = rights.reach(action);
        if reach.all {
            return Ok(Sees::everything());
        }
        let setup = self.setup(now).await?;
        let mut machines = HashSet::new();
        if !reach.subscriptions.is_empty() {
            let take = |m: garrison_model::Machine| {
                if let Some(device) = m.device_id.filter(|_| reach.subscriptions.contains(&m.resource_id.subscription))
                {
                    machines.insert(device);
                }
            };
            self.plane.machines_walk(&self.tenant, now, take).await?;
        }
        Ok(Sees::some(reach, setup, machines, Arc::clone(&self.fleet)))
    }

    /// Id and name of the group that a device is in.
    pub async fn group_of(&self, device: &DeviceId, now: Micros) -> Result<Option<(String, String)>, AccessError> {
        let setup = self.setup(now).await?;
        let id = self.fleet.group_facts(device, |facts| group::group_of(&setup.groups, facts).to_owned());
        Ok(id.map(|id| {
            let name = setup.groups.iter().find(|g| g.id == id).map(|g| g.name.clone());
            (id, name.unwrap_or_else(|| group::UNGROUPED_NAME.to_owned()))
        }))
    }

    /// All device groups in order of rank, the default one last, with how many devices are in each.
    pub async fn device_groups(&self, now: Micros) -> Result<Vec<DeviceGroup>, AccessError> {
        let setup = self.setup(now).await?;
        let mut counts: HashMap<String, u64> = HashMap::new();
        self.fleet.group_facts_walk(|_, facts| {
            *counts.entry(group::group_of(&setup.groups, facts).to_owned()).or_default() += 1;
        });
        let last = DeviceGroup {
            id: group::UNGROUPED.to_owned(),
            name: group::UNGROUPED_NAME.to_owned(),
            description: "Devices that no rule fits.".to_owned(),
            rank: i64::try_from(setup.groups.len()).unwrap_or(i64::MAX).saturating_add(1),
            rules: Vec::new(),
            automation_level: setup.ungrouped,
            device_count: 0,
        };
        let mut all: Vec<DeviceGroup> = setup.groups.iter().cloned().chain([last]).collect();
        for group in &mut all {
            group.device_count = counts.get(&group.id).copied().unwrap_or(0);
        }
        Ok(all)
    }

    /// All roles: those of the program, then the operator's own by name.
    pub async fn roles(&self, now: Micros) -> Result<Vec<RoleView>, AccessError> {
        let setup = self.setup(now).await?;
        let mut own: Vec<RoleView> = setup
            .roles
            .iter()
            .map(|(name, (title, actions))| RoleView {
                name: name.clone(),
                title: title.clone(),
                built_in: false,
                actions: actions.clone(),
            })
            .collect();
        own.sort_by(|a, b| a.name.cmp(&b.name));
        let mut all = self.policies.roles()?;
        all.append(&mut own);
        Ok(all)
    }

    /// Refuses to give away what the giver does not have everywhere.
    pub async fn may_give(&self, giver: &Rights, role: &str, now: Micros) -> Result<(), AccessError> {
        let roles = self.roles(now).await?;
        let role = roles.iter().find(|r| r.name == role).ok_or(AccessError::Unknown("role"))?;
        Self::may_give_actions(giver, &role.actions)
    }

    /// The same for a list of actions.
    pub fn may_give_actions(giver: &Rights, actions: &[Action]) -> Result<(), AccessError> {
        match actions.iter().find(|a| !giver.everywhere(**a)) {
            Some(action) => Err(AccessError::Escalation(*action)),
            None => Ok(()),
        }
    }
}
