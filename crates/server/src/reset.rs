//! Moving a tenant to another geography: everything of it is destroyed, and it starts anew there.
//!
//! The platform's operator runs it on the server's machine while the server is stopped. A dry run says what would be
//! done and prints a digest; only with that digest, while it still fits, is anything done. Every step is written to a
//! journal before the next begins and may be repeated, so a crash at any point is taken up by running it again; until
//! then no server starts on the folder. The key goes first: from that moment no copy of the telemetry can be read.
//!
//! What is kept: users, roles and the audit log, which are the operator's, and the signed record of the reset.

mod record;
mod rows;

pub use record::{Broken, Record, Scope, Signed, StepDone, verify};

use crate::config::Config;
use crate::connect::Connect;
use crate::db::{Db, DbError};
use crate::fleet::Fleet;
use crate::identity::keys::{private_file_write, signing_key_read};
use crate::plane::{Geographies, Plane, PlaneError};
use crate::rest::{Place, TenantKey, place_of};
use crate::shared::rfc3339;
use garrison_model::{Geography, Machine, Micros, TenantId};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Steps in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Step {
    /// The key of the lake is destroyed.
    Key,
    /// Certificates of devices and tokens that let machines in are worth nothing.
    Machines,
    /// Control data is erased.
    Rows,
    /// Files are erased.
    Files,
    /// The tenant is made in the other geography.
    Anew,
}

/// All of them.
pub const STEPS: [Step; 5] = [Step::Key, Step::Machines, Step::Rows, Step::Files, Step::Anew];

/// A reset cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ResetError {
    /// A wish that makes no sense, or a state that forbids it.
    #[error("{0}")]
    Refused(String),
    /// The digest is not that of what would be done now.
    #[error("what would be done is not what the digest stands for; look at it again without --confirm")]
    Stale,
    /// A file or folder.
    #[error("cannot {step} `{path}`")]
    Io {
        /// What was tried.
        step: &'static str,
        /// Where.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The cloud plane.
    #[error(transparent)]
    Plane(#[from] PlaneError),
    /// The key.
    #[error(transparent)]
    Key(#[from] crate::rest::KeyError),
    /// Where data is.
    #[error(transparent)]
    Rest(#[from] crate::rest::RestError),
    /// The lake.
    #[error(transparent)]
    Lake(#[from] garrison_lake::LakeError),
    /// The key that records are signed with.
    #[error("cannot read the key that the record is signed with")]
    Signer(#[from] crate::identity::Error),
    /// Machines.
    #[error(transparent)]
    Connect(#[from] crate::connect::ConnectError),
    /// Stopped on purpose, by a test.
    #[error("stopped before {0:?}")]
    Stopped(Step),
}

impl ResetError {
    fn io(step: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { step, path, source }
    }
}

/// A reset that was begun.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Journal {
    record: Record,
    place: Place,
    control: PathBuf,
}

fn journal_path(data: &Path) -> PathBuf {
    data.join("keys/reset.json")
}

/// The tenant whose reset was begun and is not done.
pub fn pending(data: &Path) -> Option<String> {
    let text = std::fs::read(journal_path(data)).ok()?;
    let journal: Option<Journal> = serde_json::from_slice(&text).ok();
    Some(journal.map_or_else(|| "unknown".to_owned(), |j| j.record.scope.tenant))
}

/// An open data folder without a server on it.
#[derive(Debug)]
pub struct Reset {
    config: Config,
    data: PathBuf,
    /// The server's own database, and the list of tenants in it.
    db: Db,
    plane: Plane,
    _lock: std::fs::File,
}

impl Reset {
    /// Opens a data folder; refuses while a server has it.
    pub async fn open(config: &Config) -> Result<Self, ResetError> {
        let data = config.data.clone();
        if !data.join("keys").is_dir() {
            return Err(ResetError::Refused(format!("no server has run in `{}`", data.display())));
        }
        let lock = garrison_lake::lock_folder(&data)?;
        let db = match &config.database_url {
            Some(url) => Db::open(url).await?,
            None => Db::open_file(&data.join("control.db")).await?,
        };
        // The configuration may already say where the tenant is to be.
        let geographies = Geographies { first_tenant: None, ..config.geographies.clone() };
        let plane = Plane::open(db.clone(), geographies).await?;
        Ok(Self { config: config.clone(), data, db, plane, _lock: lock })
    }

    /// The database that holds a tenant's control data; the server's own where it lies there, or nowhere any more.
    async fn control(&self, tenant: &TenantId, geography: &str) -> Result<(Db, Plane), ResetError> {
        let geography = Geography::new(geography).ok();
        let settings = geography.and_then(|code| self.plane.geographies().get(&code).ok());
        let file = place_of(&self.data, tenant)?.map(|place| place.database()).filter(|file| file.exists());
        let db = match (settings.and_then(|g| g.database.as_ref()), &self.config.database_url, file) {
            (Some(url), ..) => Db::open(url).await?,
            (None, None, Some(file)) => Db::open_file(&file).await?,
            _ => self.db.clone(),
        };
        let plane = self.plane.over(&db);
        Ok((db, plane))
    }

    /// What a reset would do now. The same state gives the same digest ([`Scope::digest`]).
    pub async fn look(&self, tenant: &TenantId, to: &Geography) -> Result<Scope, ResetError> {
        let found = self.plane.tenant(tenant).await?;
        let there = self.plane.geographies().get(to)?;
        if found.geography == *to {
            return Err(ResetError::Refused(format!("tenant `{tenant}` rests in {to} already")));
        }
        if self.config.database_url.is_some() {
            self.plane.tenant_place_check(tenant, to).await?;
        }
        let place = self.place(tenant)?;
        let (db, plane) = self.control(tenant, found.geography.as_str()).await?;
        if place.key.exists() {
            let key = crate::rest::TenantKey::read(&self.data, tenant, &place.key)?;
            db.read_with(tenant, key.columns(tenant, false));
        }
        let (files, bytes) = size_of(&place.lake);
        Ok(Scope {
            tenant: tenant.to_string(),
            from: found.geography.to_string(),
            to: to.to_string(),
            lake: place.lake.display().to_string(),
            new_lake: self.data.join(&there.lake).join(tenant.as_str()).display().to_string(),
            key: garrison_lake::Lake::key_name(&place.lake)?,
            files,
            bytes,
            devices: rows::devices(&db, tenant).await?,
            rows: crate::db::rows::counts(&db, tenant).await?,
            ..machines(&db, &plane, tenant).await?
        })
    }

    fn place(&self, tenant: &TenantId) -> Result<Place, ResetError> {
        place_of(&self.data, tenant)?.ok_or_else(|| {
            ResetError::Refused(
                "`keys/places.json` does not say where the tenant rests; start the server once".to_owned(),
            )
        })
    }

    /// Does it, or goes on with what was begun; the signed record. Refuses where sensors are still on machines, unless
    /// `leave` says that they may stay. `until` stops before a step, for tests.
    pub async fn run(
        &self,
        tenant: &TenantId,
        to: &Geography,
        digest: &str,
        leave: bool,
        clock: impl Fn() -> Micros,
        until: Option<Step>,
    ) -> Result<(PathBuf, Signed), ResetError> {
        let path = journal_path(&self.data);
        let mut journal: Journal = if path.exists() {
            let text = std::fs::read(&path).map_err(ResetError::io("read", &path))?;
            let begun: Journal = serde_json::from_slice(&text)
                .map_err(|_| ResetError::Refused(format!("`{}` cannot be read", path.display())))?;
            if begun.record.scope.tenant != tenant.as_str() || begun.record.scope.to != to.as_str() {
                let (of, into) = (&begun.record.scope.tenant, &begun.record.scope.to);
                return Err(ResetError::Refused(format!(
                    "a reset of tenant `{of}` to {into} was begun; finish it first"
                )));
            }
            begun
        } else {
            let scope = self.look(tenant, to).await?;
            if scope.digest() != digest {
                return Err(ResetError::Stale);
            }
            let (machines, sensors) = (scope.left_machines.len(), scope.left_sensors.len());
            if machines + sensors > 0 && !leave {
                return Err(ResetError::Refused(format!(
                    "{machines} machine(s) and {sensors} sensor(s) without a machine are not off-boarded; start the \
                     server and run `garrison tenant reset --off-board`, or leave them as they are with --leave-machines"
                )));
            }
            let place = self.place(tenant)?;
            let control = place.key.parent().unwrap_or(&place.key).to_owned();
            let record = Record { version: 1, scope, began: rfc3339(clock()), steps: Vec::new() };
            Journal { record, place, control }
        };
        self.journal_write(&journal)?;
        for step in STEPS {
            if until == Some(step) {
                return Err(ResetError::Stopped(step));
            }
            if journal.record.steps.iter().any(|done| done.step == step) {
                continue;
            }
            let what = self.step(step, tenant, to, &journal, clock()).await?;
            journal.record.steps.push(StepDone { step, time: rfc3339(clock()), what });
            self.journal_write(&journal)?;
        }
        let signed = journal.record.sign(&signing_key_read(&self.data.join("keys/audit.key"))?);
        let name = format!("reset-{tenant}-{}.json", signed.record.began.replace([':', '.'], "-"));
        let kept = self.data.join("keys").join(name);
        let text = serde_json::to_vec_pretty(&signed).unwrap_or_default();
        private_file_write(&kept, &text).map_err(ResetError::io("write", &kept))?;
        std::fs::remove_file(&path).map_err(ResetError::io("remove", &path))?;
        Ok((kept, signed))
    }

    fn journal_write(&self, journal: &Journal) -> Result<(), ResetError> {
        let path = journal_path(&self.data);
        let text = serde_json::to_vec_pretty(journal).unwrap_or_default();
        private_file_write(&path, &text).map_err(ResetError::io("write", &path))
    }

    /// One step; done twice it does no more than done once.
    async fn step(
        &self,
        step: Step,
        tenant: &TenantId,
        to: &Geography,
        journal: &Journal,
        now: Micros,
    ) -> Result<String, ResetError> {
        match step {
            Step::Key => {
                for path in [&journal.place.key, &Place::waiting(&self.data, tenant).key] {
                    TenantKey::destroy(path)?;
                }
                Ok(match &journal.record.scope.key {
                    Some(name) => format!("key {name} was overwritten and removed"),
                    None => "there was no key: the lake was not sealed".to_owned(),
                })
            }
            Step::Machines => {
                self.plane.tenant_erased(tenant).await?;
                let (db, _) = self.control(tenant, &journal.record.scope.from).await?;
                let count = crate::db::rows::shut_out(&db, tenant).await?;
                let scope = &journal.record.scope;
                Ok(format!(
                    "{count} certificates of devices and enrolment tokens were taken away; {} machine(s) had been \
                     off-boarded, {} machine(s) and {} sensor(s) without a machine keep what is on them",
                    scope.off_boarded.len(),
                    scope.left_machines.len(),
                    scope.left_sensors.len()
                ))
            }
            Step::Rows => {
                let (db, plane) = self.control(tenant, &journal.record.scope.from).await?;
                let count = crate::db::rows::erase(&db, tenant).await?;
                plane.tenant_gone(tenant).await?;
                db.seal_forget(tenant).await?;
                if !db.is(&self.db) {
                    db.close().await;
                }
                Ok(format!("{count} rows of control data were erased in this run"))
            }
            Step::Files => {
                let folders = [
                    journal.place.lake.clone(),
                    journal.control.clone(),
                    Place::waiting(&self.data, tenant).lake,
                    self.data.join("hunting-spill"),
                    self.data.join("aside"),
                ];
                for folder in &folders {
                    match std::fs::remove_dir_all(folder) {
                        Ok(()) => {}
                        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                        Err(error) => return Err(ResetError::io("erase", folder)(error)),
                    }
                }
                Ok(format!("{} and what lay beside it were erased", journal.place.lake.display()))
            }
            Step::Anew => {
                self.plane.tenant_anew(tenant, to, now).await?;
                // The server brings it along where the tenant's own database is made when it starts.
                let db = match &self.plane.geographies().get(to)?.database {
                    Some(url) => Db::open(url).await?,
                    None => self.db.clone(),
                };
                Fleet::shut_out(&db, tenant, now).await?;
                db.sync().await?;
                Ok(format!("the tenant was made in {to}; its key is made when the server starts"))
            }
        }
    }
}

/// Which machines were off-boarded, and which keep what is on them. The other parts of the answer are empty.
async fn machines(db: &Db, plane: &Plane, tenant: &TenantId) -> Result<Scope, ResetError> {
    let standings = Connect::machines_at_rest(db, tenant).await?;
    let mut sensors = rows::devices_on(db, tenant).await?;
    let mut found = Scope::default();
    let take = |machine: Machine| {
        let (holds, gone) = standings.get(&machine.id).copied().unwrap_or_default();
        let sensor = machine.device_id.as_ref().is_some_and(|device| sensors.remove(device.as_str()));
        if gone {
            found.off_boarded.push(machine.resource_id.to_string());
        } else if holds || sensor {
            found.left_machines.push(machine.resource_id.to_string());
        }
    };
    // The moment changes nothing that is asked for here.
    plane.machines_walk(tenant, Micros(0), take).await?;
    found.left_sensors = sensors.into_iter().collect();
    Ok(found)
}

fn size_of(folder: &Path) -> (u64, u64) {
    let (mut files, mut bytes, mut open) = (0, 0, vec![folder.to_owned()]);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(found) if found.is_dir() => open.push(entry.path()),
                Ok(found) => {
                    files += 1;
                    bytes += found.len();
                }
                Err(_) => {}
            }
        }
    }
    (files, bytes)
}
