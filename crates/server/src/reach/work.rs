//! Runs: many hosts at once, with what became of each.

use super::address::{HOSTS_MAX, Host, user_check};
use super::ssh::{Failed, Outcome, Way, quoted};
use super::vault::SecretKind;
use super::{Reach, ReachError};
use crate::connect::ConnectorTokenNew;
use crate::identity::keys::private_file_write;
use crate::shared::rfc3339;
use garrison_model::{GroupName, Micros, SubscriptionId};
use rand::TryRngCore as _;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Runs that are remembered; the oldest that has ended goes first.
const RUNS_MAX: usize = 20;
/// Runs under way.
const RUNNING_MAX: usize = 2;
/// Hosts that are worked on at once: each holds the program's bytes in a pipe.
const PARALLEL_MAX: usize = 32;
const PARALLEL_DEFAULT: usize = 8;
/// Bytes of a connector's program; one built without optimisation has about 150 MiB.
const PROGRAM_BYTES_MAX: u64 = 512 << 20;
/// Hours that a host's token holds.
pub(super) const TOKEN_HOURS: i64 = 1;
/// Folder of machines that the connector goes into.
pub(super) const DIRECTORY: &str = "/opt/garrison/connect";

/// What to connect by SSH.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SshOrder {
    /// Hosts, at most 1,024.
    pub hosts: Vec<Host>,
    /// User of hosts that name none.
    pub user: String,
    /// Name of a secret of kind `Ssh`.
    pub key: String,
    /// Address of the gateway as the hosts reach it, `HOST:PORT`.
    pub gateway: String,
    /// Where the machines go; needed where there are several subscriptions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub subscription: Option<SubscriptionId>,
    /// Resource group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub resource_group: Option<GroupName>,
    /// Takes keys of hosts that were never seen; a changed one never.
    #[serde(default)]
    pub accept_new_hosts: bool,
    /// Hosts worked on at once, 1 to 32; 8 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel: Option<usize>,
    /// Folder of the hosts that the connector goes into; `/opt/garrison/connect` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
}

/// Where a host stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub enum HostState {
    /// Its turn has not come.
    Waiting,
    /// It is worked on.
    Working,
    /// It is a connected machine.
    Connected,
    /// It is among the machines, and no connector is on it.
    Listed,
    /// Neither.
    Failed,
}

/// A host of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostView {
    /// Name or address, `[…]:port` where the port is not 22.
    pub host: String,
    /// Where it stands.
    pub state: HostState,
    /// What is done just now.
    pub step: String,
    /// What became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Outcome>,
    /// The same in words, with the host's own.
    pub message: String,
    /// What to do.
    pub fix: String,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ReachRun)]
pub struct RunView {
    /// Id.
    pub id: String,
    /// `ssh` or `aws`.
    pub kind: String,
    /// Who began it.
    pub started_by: String,
    /// When, RFC 3339.
    pub started_time: String,
    /// Whether every host has ended.
    pub done: bool,
    /// Hosts that are connected.
    pub connected: usize,
    /// Hosts that are not.
    pub failed: usize,
    /// All hosts, in the order given.
    pub hosts: Vec<HostView>,
}

/// A run with its state.
pub(super) struct Run(Mutex<RunView>);

impl Run {
    pub(super) fn view(&self) -> MutexGuard<'_, RunView> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn host(&self, number: usize, change: impl FnOnce(&mut HostView)) {
        let mut view = self.view();
        if let Some(host) = view.hosts.get_mut(number) {
            change(host);
        }
        view.connected = view.hosts.iter().filter(|h| h.state == HostState::Connected).count();
        view.failed = view.hosts.iter().filter(|h| h.state == HostState::Failed).count();
    }

    pub(super) fn step(&self, number: usize, step: &'static str) {
        self.host(number, |h| (h.state, h.step) = (HostState::Working, step.to_owned()));
    }

    pub(super) fn end(&self, number: usize, result: Result<(), Failed>) {
        let (outcome, detail) = match result {
            Ok(()) => (Outcome::Connected, String::new()),
            Err(failed) => failed,
        };
        let (words, fix) = outcome.words();
        self.host(number, |h| {
            h.state = if outcome == Outcome::Connected { HostState::Connected } else { HostState::Failed };
            h.code = Some(outcome);
            h.message = if detail.is_empty() { words.to_owned() } else { format!("{words}: {detail}") };
            h.fix = fix.to_owned();
            h.step.clear();
        });
    }
}

impl Run {
    /// Names the hosts of a run that learns of them in its course.
    pub(super) fn hosts_put(&self, hosts: Vec<String>) {
        self.view().hosts = hosts.into_iter().map(waiting).collect();
    }

    /// A machine that is in the inventory, and no more is to be done.
    pub(super) fn list(&self, number: usize, words: &str) {
        self.host(number, |h| (h.state, h.message) = (HostState::Listed, words.to_owned()));
    }
}

fn waiting(host: String) -> HostView {
    let (step, message, fix) = (String::new(), String::new(), String::new());
    HostView { host, state: HostState::Waiting, step, code: None, message, fix }
}

/// The folder of a run: it and all in it are gone when the run is.
struct Folder(PathBuf);

impl Folder {
    fn make(data: &Path) -> Result<Self, ReachError> {
        use std::os::unix::fs::DirBuilderExt as _;
        let mut random = [0; 16];
        rand::rngs::OsRng.try_fill_bytes(&mut random).map_err(|_| ReachError::Cipher)?;
        let path = data.join("run").join(format!("ssh-{}", hex::encode(random)));
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(|source| ReachError::Key { step: "make a folder for", source })?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(error = &error as &dyn std::error::Error, "cannot remove the folder of an SSH run");
        }
    }
}

/// The connector's programs: those of the folder `programs`, else the one beside this program, or that its package has.
pub(super) fn programs(data: &Path) -> Vec<(&'static str, Arc<Vec<u8>>)> {
    let here = std::env::current_exe().ok().and_then(|own| own.parent().map(Path::to_owned));
    let of_package = |folder: &Path| [folder.join("garrison-connect"), folder.join("../lib/garrison/garrison-connect")];
    let own = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
    let mut found = Vec::new();
    for architecture in ["x64", "arm64"] {
        let laid = data.join("programs").join(format!("garrison-connect-{architecture}"));
        let others = here.iter().filter(|_| architecture == own).flat_map(|folder| of_package(folder));
        let path = std::iter::once(laid)
            .chain(others)
            .find(|p| std::fs::metadata(p).is_ok_and(|m| m.is_file() && m.len() > 0 && m.len() <= PROGRAM_BYTES_MAX));
        if let Some(bytes) = path.and_then(|p| std::fs::read(p).ok()) {
            found.push((architecture, Arc::new(bytes)));
        }
    }
    found
}

/// What is wrong with the address of a gateway, if anything.
pub(super) fn gateway_check(gateway: &str) -> Result<(), ReachError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    let port = gateway.rsplit_once(':').is_some_and(|(h, p)| !h.is_empty() && p.parse::<u16>().is_ok());
    if !port || gateway.len() > 260 || gateway.starts_with('-') || !gateway.chars().all(plain) {
        return Err(ReachError::Value("the gateway is HOST:PORT as the machines reach it".to_owned()));
    }
    Ok(())
}

impl SshOrder {
    fn check(&self) -> Result<(), ReachError> {
        let bad = |words: String| Err(ReachError::Value(words));
        if self.hosts.is_empty() || self.hosts.len() > HOSTS_MAX {
            return bad(format!("name 1 to {HOSTS_MAX} hosts"));
        }
        for host in &self.hosts {
            host.check().map_err(ReachError::Value)?;
        }
        user_check(&self.user).map_err(ReachError::Value)?;
        gateway_check(&self.gateway)?;
        if self.parallel.is_some_and(|n| n == 0 || n > PARALLEL_MAX) {
            return bad(format!("1 to {PARALLEL_MAX} hosts are worked on at once"));
        }
        let folder = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/');
        if self.directory.as_ref().is_some_and(|d| !d.starts_with('/') || d.len() > 200 || !d.chars().all(folder)) {
            return bad("the folder is an absolute path of letters, digits and `.-_/`".to_owned());
        }
        Ok(())
    }

    /// Further words for `garrison-connect enrol`.
    fn places(&self, host: &Host) -> String {
        let mut words = String::new();
        let mut word = |name: &str, value: &str| words.push_str(&format!(" {name} {}", quoted(value)));
        if let Some(subscription) = &self.subscription {
            word("--subscription", subscription.as_str());
        }
        if let Some(group) = &self.resource_group {
            word("--resource-group", group.as_str());
        }
        if let Some(name) = &host.name {
            word("--name", name);
        }
        for (key, value) in &host.tags {
            word("--tag", &format!("{key}={value}"));
        }
        words
    }
}

impl Reach {
    /// Begins a run; its id.
    pub async fn ssh_start(self: &Arc<Self>, order: SshOrder, who: &str, now: Micros) -> Result<String, ReachError> {
        order.check()?;
        let key = self.secret_open(&order.key, SecretKind::Ssh).await?;
        if let Some(subscription) = &order.subscription {
            self.shared.plane.subscription(&self.shared.tenant, subscription, now).await?;
        }
        let run = self.run_begin("ssh", order.hosts.iter().map(Host::key).collect(), who, now)?;
        let id = run.view().id.clone();
        let (reach, who) = (Arc::clone(self), who.to_owned());
        tokio::spawn(async move {
            let stop = reach.shared.stop.clone();
            tokio::select! {
                () = reach.ssh_run(&run, order, key, &who) => {}
                () = stop.cancelled() => {}
            }
            run.view().done = true;
        });
        Ok(id)
    }

    /// A new run, unless too many are under way.
    pub(super) fn run_begin(
        &self,
        kind: &str,
        hosts: Vec<String>,
        who: &str,
        now: Micros,
    ) -> Result<Arc<Run>, ReachError> {
        let run = Arc::new(Run(Mutex::new(RunView {
            id: format!("run{}", &uuid::Uuid::new_v4().simple().to_string()[..16]),
            kind: kind.to_owned(),
            started_by: who.to_owned(),
            started_time: rfc3339(now),
            done: false,
            connected: 0,
            failed: 0,
            hosts: hosts.into_iter().map(waiting).collect(),
        })));
        let mut runs = self.runs();
        if runs.iter().filter(|r| !r.view().done).count() >= RUNNING_MAX {
            let words = format!("{RUNNING_MAX} runs are under way already; wait until one has ended");
            return Err(ReachError::Exists(words));
        }
        while runs.len() >= RUNS_MAX {
            let ended = runs.iter().position(|r| r.view().done).unwrap_or(0);
            runs.remove(ended);
        }
        runs.push_back(Arc::clone(&run));
        Ok(run)
    }

    /// Runs that are remembered, newest first.
    pub fn run_list(&self) -> Vec<RunView> {
        self.runs().iter().rev().map(|r| r.view().clone()).collect()
    }

    /// One run.
    pub fn run_get(&self, id: &str) -> Result<RunView, ReachError> {
        let found = self.runs().iter().map(|r| r.view().clone()).find(|r| r.id == id);
        found.ok_or(ReachError::Unknown("run"))
    }

    async fn ssh_run(&self, run: &Run, order: SshOrder, key: String, who: &str) {
        use futures::StreamExt as _;
        let data = self.shared.data.clone();
        let (folder, programs) = match tokio::task::spawn_blocking(move || -> Result<_, ReachError> {
            let folder = Folder::make(&data)?;
            // OpenSSH takes no key without its last line end.
            let text = format!("{}\n", key.trim_end());
            let written = private_file_write(&folder.0.join("key"), text.as_bytes());
            written.map_err(|source| ReachError::Key { step: "lay down a key of", source })?;
            Ok((folder, programs(&data)))
        })
        .await
        {
            Ok(Ok(made)) => made,
            other => {
                let why = other
                    .map_or_else(|e| e.to_string(), |inner| inner.err().map_or_else(String::new, |e| e.to_string()));
                tracing::error!(why, "an SSH run could not begin");
                for number in 0..order.hosts.len() {
                    run.end(number, Err((Outcome::ServerFailed, String::new())));
                }
                return;
            }
        };
        let way = Way {
            folder: folder.0.clone(),
            user: order.user.clone(),
            accept_new: order.accept_new_hosts,
            gateway: order.gateway.clone(),
            directory: order.directory.clone().unwrap_or_else(|| DIRECTORY.to_owned()),
            programs,
        };
        let (way, order) = (&way, &order);
        futures::stream::iter(order.hosts.iter().enumerate())
            .for_each_concurrent(order.parallel.unwrap_or(PARALLEL_DEFAULT), |(number, host)| async move {
                run.step(number, "beginning");
                let result = self.ssh_one(run, way, order, host, number, who).await;
                run.end(number, result);
            })
            .await;
    }

    async fn ssh_one(
        &self,
        run: &Run,
        way: &Way,
        order: &SshOrder,
        host: &Host,
        number: usize,
        who: &str,
    ) -> Result<(), Failed> {
        let failed = |error: ReachError| {
            tracing::error!(error = &error as &dyn std::error::Error, "a host could not be connected");
            (Outcome::ServerFailed, String::new())
        };
        let (address, known) = (host.key(), way.known_hosts(number));
        let lines = self.host_lines(&address).await.map_err(failed)?;
        let written = private_file_write(&known, lines.as_bytes());
        written.map_err(|e| (Outcome::ServerFailed, format!("cannot write known hosts: {e}")))?;
        let new = ConnectorTokenNew {
            name: format!("ssh to {address}").chars().take(60).collect(),
            expires_hours: TOKEN_HOURS,
            uses: 1,
            subscription: order.subscription.clone(),
            // A token for a group needs its subscription.
            resource_group: order.resource_group.clone().filter(|_| order.subscription.is_some()),
        };
        let made = self.connect.token_create(&new, crate::now()).await;
        let (token, record) = made.map_err(|e| failed(e.into()))?;
        let result = way.connect(host, number, &token, &order.places(host), |step| run.step(number, step)).await;
        if lines.is_empty() && order.accept_new_hosts {
            let shown = std::fs::read_to_string(&known).unwrap_or_default();
            self.host_accept(&address, &shown, who, crate::now()).await.map_err(failed)?;
        }
        // A token that was not used is worth nothing from now on; of a used one nothing is left to take.
        if result.is_err() {
            let _ = self.connect.token_revoke(&record.id).await;
        }
        result
    }
}
