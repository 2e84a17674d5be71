//! Puts the rooms together: `garrison serve`.

pub mod cluster;
mod control;
pub mod house;
mod http;
mod reconcile;

use crate::config::{Config, Role};
use crate::db::Db;
use crate::gateway::Gateway;
use crate::identity::Identity;
use crate::identity::keys::private_file_write;
use crate::metrics::Metrics;
use crate::plane::Plane;
use crate::rest;
use anyhow::Context as _;
use garrison_model::TenantId;
use house::{Ground, House, Houses};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long sessions may take to say goodbye when the server stops.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// A running server.
pub struct Server {
    /// The first tenant, whose rooms the server is taken for by tests and commands in the same process.
    pub first: Arc<House>,
    /// All tenants.
    pub houses: Arc<Houses>,
    /// Where the HTTP API listens.
    pub http: SocketAddr,
    /// Where the gateway listens; port 0 where there is none.
    pub gateway: SocketAddr,
    /// The link to sign in first, as long as nobody has a password.
    pub first_link: Option<String>,
    /// What takes rows in; a query server has none.
    sessions: Option<Arc<Gateway>>,
    tasks: Vec<JoinHandle<()>>,
}

impl std::ops::Deref for Server {
    type Target = House;
    fn deref(&self) -> &House {
        &self.first
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("http", &self.http).field("gateway", &self.gateway).finish_non_exhaustive()
    }
}

impl Server {
    /// Opens everything under the data folder and starts.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        config.check()?;
        let now = crate::now();
        let data = config.data.clone();
        private_folder(&data)?;
        // The lock comes first: a second server on the same folder stops here and touches nothing.
        let locked = data.clone();
        let lock = tokio::task::spawn_blocking(move || garrison_lake::lock_folder(&locked)).await??;
        if let Some(tenant) = crate::reset::pending(&data) {
            anyhow::bail!(
                "a reset of tenant `{tenant}` was begun and is not done; run the same `garrison tenant reset` again"
            );
        }
        let db = match &config.database_url {
            Some(url) => Db::open(url).await?,
            None => Db::open_file(&data.join("control.db")).await?,
        };
        db.seal_with(None, rest::server_columns(&data, config.encryption)?).await?;
        let plane = Plane::open(db.clone(), config.geographies.clone()).await?;
        let identity = Identity::open(db.clone(), data.join("keys"), now).await?;
        let houses = Arc::new(Houses::new(Ground {
            config,
            data,
            db,
            controls: Default::default(),
            plane,
            identity,
            metrics: Arc::new(Metrics::new()),
            wires: Arc::default(),
            stop: CancellationToken::new(),
            lock: lock.into(),
        }));
        let first = houses.open(&TenantId::first()).await?;
        if let Err(error) = houses.look().await {
            // The others go on; it is tried again.
            tracing::error!(error = error.as_ref() as &dyn std::error::Error, "a tenant cannot be opened");
        }
        let shared = Arc::clone(&first.shared);
        let mut tasks = Vec::new();
        let (mut gateway, mut sessions) = (SocketAddr::from(([0, 0, 0, 0], 0)), None);
        if shared.config.role != Role::Query {
            let made = Gateway::new(&shared, houses.wires())?;
            let listener = bind(shared.config.gateway, "gateway").await?;
            gateway = listener.local_addr()?;
            tasks.push(tokio::spawn(Arc::clone(&made).run(listener)));
            tasks.push(reconcile::certificate(&shared, &made));
            sessions = Some(made);
        }
        let http_listener = bind(shared.config.http, "HTTP").await?;
        let http_address = http_listener.local_addr()?;
        tasks.push(http::serve(http_listener, house::front(&houses), &shared)?);
        tasks.extend(reconcile::server(&shared, &houses));
        let first_link = shared.identity.first_link(now).await?;
        let server = Self { first, houses, http: http_address, gateway, first_link, sessions, tasks };
        server.write_run_files()?;
        Ok(server)
    }

    /// Base of the HTTP API's addresses.
    pub fn http_url(&self) -> String {
        let scheme = if self.shared.config.http_tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.http)
    }

    /// The link to sign in first, whole.
    pub fn first_link_url(&self) -> Option<String> {
        self.first_link.as_ref().map(|link| format!("{}/sign-in?link={link}", self.http_url()))
    }

    /// What `DIR/run/addresses.json` holds.
    pub fn addresses(&self) -> serde_json::Value {
        serde_json::json!({
            "http": self.http.to_string(),
            "gateway": self.sessions.as_ref().map(|_| self.gateway.to_string()),
            "httpUrl": self.http_url(),
            "pid": std::process::id(),
        })
    }

    fn write_run_files(&self) -> anyhow::Result<()> {
        let run = self.shared.data.join("run");
        private_folder(&run)?;
        private_file_write(&run.join("admin.token"), self.shared.identity.local_token().as_bytes())
            .context("cannot write the local administrator's token")?;
        private_file_write(&run.join("addresses.json"), self.addresses().to_string().as_bytes())
            .context("cannot write the addresses")?;
        Ok(())
    }

    /// Stops in order: no new connections, answers for what is under way, goodbyes, detection of everything that was
    /// answered, rows into Parquet, database closed.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.shared.stop.cancel();
        if let Some(sessions) = &self.sessions {
            sessions.drained(DRAIN_MAX).await;
        }
        for task in std::mem::take(&mut self.tasks) {
            house::ended(task).await;
        }
        // A tenant that cannot be stopped well does not keep the others from it.
        let mut stopped = Ok(());
        for house in &self.houses.all() {
            stopped = stopped.and(house.stop().await);
        }
        self.houses.close().await;
        let run = self.shared.data.join("run");
        for name in ["addresses.json", "admin.token"] {
            let _ = std::fs::remove_file(run.join(name));
        }
        stopped
    }
}

async fn bind(address: SocketAddr, what: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on `{address}` for the {what} listener"))
}

fn private_folder(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot create folder `{}`", path.display()))
}
