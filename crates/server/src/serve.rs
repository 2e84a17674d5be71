//! Puts the rooms together: `garrison serve`.

pub mod cluster;
mod http;
mod reconcile;

use crate::access::Access;
use crate::config::{Config, Role};
use crate::connect::Connect;
use crate::db::Db;
use crate::detection::Detection;
use crate::detection::custom::Custom;
use crate::detection::custom::queries::LakeQueries;
use crate::detection::indicator::Indicators;
use crate::detection::retro::Retro;
use crate::fleet::Fleet;
use crate::gateway::{Gateway, GatewayParts};
use crate::health::Health;
use crate::hunting::Hunting;
use crate::identity::Identity;
use crate::identity::keys::private_file_write;
use crate::incidents::Incidents;
use crate::ingest::{Ingest, Observer};
use crate::metrics::Metrics;
use crate::plane::Plane;
use crate::rest;
use crate::shared::Shared;
use anyhow::Context as _;
use garrison_lake::{Bucket, Lake, LakeConfig, Mirror};
use garrison_model::TenantId;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long sessions may take to say goodbye when the server stops.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// How long the last copy to the object store may take when the server stops.
const COPY_AT_STOP_MAX: Duration = Duration::from_secs(20);

/// A running server.
pub struct Server {
    /// State, for tests and commands in the same process.
    pub shared: Arc<Shared>,
    /// Detection.
    pub detection: Arc<Detection>,
    /// Alerts and incidents.
    pub incidents: Arc<Incidents>,
    /// Hunting.
    pub hunting: Arc<Hunting>,
    /// Detections made of queries.
    pub custom: Arc<Custom>,
    /// Indicators.
    pub indicators: Arc<Indicators>,
    /// Hunts through the past.
    pub retro: Arc<Retro>,
    /// Connectors of machines.
    pub connect: Arc<Connect>,
    /// Health of machines.
    pub health: Arc<Health>,
    /// Where the HTTP API listens.
    pub http: SocketAddr,
    /// Where the gateway listens; port 0 where there is none.
    pub gateway: SocketAddr,
    /// The link to sign in first, as long as nobody has a password.
    pub first_link: Option<String>,
    /// What takes rows in; a query server has none.
    intake: Option<Intake>,
    mirror: Option<Arc<Mirror>>,
    tasks: Vec<JoinHandle<()>>,
}

struct Intake {
    ingest: Arc<Ingest>,
    sessions: Arc<Gateway>,
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
        let tenant = TenantId::first();
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
        let identity = Identity::open(db.clone(), data.join("keys"), now).await?;
        let fleet = Arc::new(Fleet::open(db.clone(), tenant.clone(), config.inactive_after()).await?);
        let metering = crate::metering::Metering::new(db.clone());
        let plane = Arc::new(Plane::open(db.clone(), config.geographies.clone()).await?);
        plane.bought_refresh(&tenant, now).await?;
        let lake = lake_open(&config, &tenant, &plane).await?;
        let (key, oidc) = (identity.audit_key().clone(), config.oidc.clone());
        let access =
            Access::open(db.clone(), tenant.clone(), Arc::clone(&fleet), Arc::clone(&plane), key, oidc).await?;
        let shared = Arc::new(Shared {
            access: Arc::new(access),
            tenant,
            data,
            db,
            identity,
            fleet,
            plane,
            metering,
            lake: Arc::new(lake),
            metrics: Arc::new(Metrics::new()),
            lock: Some(lock),
            stop: CancellationToken::new(),
            config,
        });
        let incidents = Incidents::start(&shared).await?;
        let detection = Detection::start(&shared, &incidents).await?;
        let hunting = Hunting::start(&shared).await?;
        let queries = Arc::new(LakeQueries::new(Arc::clone(&shared.lake)).knowing(hunting.places()));
        let custom = Custom::open(&shared, &detection, queries, Arc::new(crate::now)).await?;
        let indicators = Indicators::open(&shared, &detection).await?;
        let retro = Retro::new(&shared, &detection, &custom, &indicators, Arc::new(crate::now));
        let connect = Connect::open(&shared, Arc::new(crate::now)).await?;
        let health = Health::open(&shared, &connect, Arc::new(crate::now)).await?;
        let mut tasks = Vec::new();
        let (mut gateway, mut intake, mut mirror) = (SocketAddr::from(([0, 0, 0, 0], 0)), None, None);
        if shared.config.role != Role::Query {
            let observers: Vec<Arc<dyn Observer>> =
                vec![Arc::clone(&detection) as _, Arc::clone(&custom) as _, Arc::clone(&indicators) as _];
            let ingest = Arc::new(Ingest::start(&shared, observers)?);
            let parts = GatewayParts {
                connect: Arc::clone(&connect),
                shared: Arc::clone(&shared),
                ingest: Arc::clone(&ingest),
                content: detection.content(),
            };
            let sessions = Gateway::new(parts)?;
            let listener = bind(shared.config.gateway, "gateway").await?;
            gateway = listener.local_addr()?;
            tasks.push(tokio::spawn(Arc::clone(&sessions).run(listener)));
            tasks.push(tokio::spawn(Arc::clone(&custom).run_loop()));
            tasks.push(tokio::spawn(Arc::clone(&custom).stream_loop()));
            tasks.push(tokio::spawn(Arc::clone(&retro).run_loop()));
            tasks.push(tokio::spawn(Arc::clone(&connect).run_loop()));
            tasks.push(tokio::spawn(Arc::clone(&health).run_loop()));
            tasks.push(tokio::spawn(crate::exports::Exports::new(&shared, &incidents, &connect).run_loop()));
            mirror = mirror_of(&shared)?;
            tasks.extend(reconcile::intake(&shared, &sessions, mirror.as_ref(), &incidents));
            intake = Some(Intake { ingest, sessions });
        }
        let http_listener = bind(shared.config.http, "HTTP").await?;
        let http_address = http_listener.local_addr()?;
        let own = crate::api::DetectionParts {
            custom: Arc::clone(&custom),
            indicators: Arc::clone(&indicators),
            retro: Arc::clone(&retro),
        };
        let router = crate::api::router(&shared, &detection, &incidents, &hunting, own, &connect, &health);
        tasks.push(http::serve(http_listener, router, &shared)?);
        tasks.extend(reconcile::start(&shared, &hunting));
        let first_link = shared.identity.first_link(now).await?;
        let server = Self {
            shared,
            detection,
            incidents,
            hunting,
            custom,
            indicators,
            retro,
            connect,
            health,
            http: http_address,
            gateway,
            first_link,
            intake,
            mirror,
            tasks,
        };
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
            "gateway": self.intake.as_ref().map(|_| self.gateway.to_string()),
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
    pub async fn stop(self) -> anyhow::Result<()> {
        self.shared.stop.cancel();
        if let Some(intake) = &self.intake {
            intake.sessions.drained(DRAIN_MAX).await;
            Arc::clone(&intake.ingest).stop().await;
        }
        self.detection.flush().await;
        for task in self.tasks {
            // Each hears `stop`; a request that hangs on does not hold us up.
            let abort = task.abort_handle();
            if tokio::time::timeout(Duration::from_secs(3), task).await.is_err() {
                abort.abort();
            }
        }
        self.shared.access.audit().close().await;
        self.shared.fleet.flush(crate::now()).await?;
        self.shared.metering.ingest_flush(&self.shared.plane, &self.shared.tenant, crate::now()).await?;
        self.shared.lake.flush().await?;
        if let Some(mirror) = &self.mirror {
            // What is not copied in this time is copied after the next start.
            match tokio::time::timeout(COPY_AT_STOP_MAX, mirror.sync(crate::now())).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => tracing::warn!(%error, "the newest rows are not on the object store yet"),
                Err(_) => tracing::warn!("the newest rows are not on the object store yet: it is too slow"),
            }
        }
        self.shared.db.close().await;
        let run = self.shared.data.join("run");
        for name in ["addresses.json", "admin.token"] {
            let _ = std::fs::remove_file(run.join(name));
        }
        Ok(())
    }
}

/// Opens the lake of the tenant where its geography has it, with its key.
async fn lake_open(config: &Config, tenant: &TenantId, plane: &Plane) -> anyhow::Result<Lake> {
    let lake_config = LakeConfig {
        retention_days: config.retention_days.clone(),
        disk_floor_bytes: config.disk_floor_bytes,
        ..LakeConfig::default()
    };
    // A query server reads the copy; its own lake is empty, and no geography's.
    let here = if config.role == Role::Query { None } else { plane.rests(tenant).await? };
    let sealed = here.as_ref().and_then(|g| g.encryption).unwrap_or(config.encryption && config.role != Role::Query);
    let data = config.data.clone();
    let roots = here.map(|g| rest::Roots { lake: data.join(g.lake), control: data.join(g.control) });
    let tenant = tenant.clone();
    let open = move || -> anyhow::Result<Lake> {
        let found = rest::open(&data, &tenant, roots.as_ref(), sealed)?;
        Ok(Lake::open(found.lake, LakeConfig { at_rest: found.at_rest, ..lake_config })?)
    };
    tokio::task::spawn_blocking(open).await?
}

/// What copies the lake, where an object store is configured.
fn mirror_of(shared: &Arc<Shared>) -> anyhow::Result<Option<Arc<Mirror>>> {
    let Some(store) = &shared.config.object_store else { return Ok(None) };
    anyhow::ensure!(
        shared.lake.at_rest().key().is_none(),
        "the lake is sealed, and `lake.object_store` wants a copy for query servers, which have no key; begin a lake \
         with `encryption = false` in `[lake]` or in the section of its geography, and rely on the store's own \
         encryption, or take `[lake.object_store]` away"
    );
    let bucket = Bucket::open(store)?.below(shared.tenant.as_str());
    Ok(Some(Arc::new(Mirror::new(shared.lake.as_ref().clone(), bucket))))
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
