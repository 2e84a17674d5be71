//! What one tenant has of a server: its state, its control data, its rooms, its tasks and its routes. A server has one house
//! a tenant; they share the listeners and the keys of the server, and no rows.

use super::{control, reconcile};
use crate::access::Access;
use crate::api::{ApiError, Kind, auth, hunting_aliases};
use crate::config::{Config, Role};
use crate::connect::Connect;
use crate::db::Db;
use crate::detection::Detection;
use crate::detection::custom::Custom;
use crate::detection::custom::queries::LakeQueries;
use crate::detection::indicator::Indicators;
use crate::detection::retro::Retro;
use crate::fleet::Fleet;
use crate::gateway::{GatewayParts, Wires};
use crate::health::Health;
use crate::hunting::Hunting;
use crate::identity::Identity;
use crate::incidents::Incidents;
use crate::ingest::{Ingest, Observer};
use crate::metrics::Metrics;
use crate::plane::Plane;
use crate::rest;
use crate::shared::Shared;
use anyhow::Context as _;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use garrison_lake::{Bucket, Lake, LakeConfig, Mirror};
use garrison_model::{Geography, TenantId};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// Tenants of one server: each has threads of its own for its log and some tens of megabytes of rules and caches.
pub const TENANTS_MAX: usize = 64;
/// Names the tenant that a request is for; whoever has no role in it finds nothing there.
pub const TENANT_HEADER: &str = "x-garrison-tenant";

/// How long the last copy to the object store may take when the server stops.
const COPY_AT_STOP_MAX: Duration = Duration::from_secs(20);

/// What a server has once.
pub(super) struct Ground {
    pub(super) config: Config,
    pub(super) data: PathBuf,
    /// What is the operator's: people, roles, the audit log, the list of tenants.
    pub(super) db: Db,
    pub(super) controls: control::Controls,
    /// Over that database: which tenants there are, and where.
    pub(super) plane: Plane,
    pub(super) identity: Identity,
    pub(super) metrics: Arc<Metrics>,
    pub(super) wires: Arc<Wires>,
    pub(super) stop: CancellationToken,
    pub(super) lock: Option<std::fs::File>,
}

/// One tenant.
pub struct House {
    /// State.
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
    ingest: Option<Arc<Ingest>>,
    mirror: Option<Arc<Mirror>>,
    router: Router,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl std::fmt::Debug for House {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("House").field("tenant", &self.shared.tenant).finish_non_exhaustive()
    }
}

/// All tenants of a server.
pub struct Houses {
    ground: Ground,
    all: RwLock<BTreeMap<TenantId, Arc<House>>>,
    /// Held while one is opened: two cannot open the same lake.
    opening: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Houses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Houses").field("all", &self.all()).finish_non_exhaustive()
    }
}

impl Houses {
    pub(super) fn new(ground: Ground) -> Self {
        Self { ground, all: RwLock::default(), opening: tokio::sync::Mutex::default() }
    }

    /// The server's own database: people, roles, the audit log, the list of tenants.
    pub fn own(&self) -> &Db {
        &self.ground.db
    }

    pub(super) fn wires(&self) -> &Arc<Wires> {
        &self.ground.wires
    }

    /// Makes a tenant in a geography and opens it; `None` if there is one of this id.
    pub async fn make(
        self: &Arc<Self>,
        tenant: &TenantId,
        geography: &Geography,
        who: &str,
    ) -> anyhow::Result<Option<Arc<House>>> {
        let (now, shared) = (crate::now(), self.ground.config.database_url.is_some());
        if !self.ground.plane.tenant_open(tenant, geography, shared, who, now).await? {
            return Ok(None);
        }
        let house = self.open(tenant).await?;
        house.shared.plane.tenant_opened(tenant, who, now).await?;
        Ok(Some(house))
    }

    /// Closes the databases, once nothing uses them.
    pub(super) async fn close(&self) {
        for house in self.all() {
            house.shared.db.close().await;
        }
        self.ground.db.close().await;
    }

    /// Every tenant that is open, by id.
    pub fn all(&self) -> Vec<Arc<House>> {
        self.all.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// A tenant.
    pub fn of(&self, tenant: &TenantId) -> Option<Arc<House>> {
        self.all.read().unwrap_or_else(PoisonError::into_inner).get(tenant).cloned()
    }

    /// Opens a tenant, once.
    pub async fn open(self: &Arc<Self>, tenant: &TenantId) -> anyhow::Result<Arc<House>> {
        let _turn = self.opening.lock().await;
        if let Some(open) = self.of(tenant) {
            return Ok(open);
        }
        anyhow::ensure!(self.all().len() < TENANTS_MAX, "a server has at most {TENANTS_MAX} tenants");
        let house = Arc::new(House::open(self, tenant).await?);
        self.all.write().unwrap_or_else(PoisonError::into_inner).insert(tenant.clone(), Arc::clone(&house));
        Ok(house)
    }

    /// Opens the tenants that are in the database and not open yet: those of the last run, and those that another server
    /// on the same database made.
    pub(super) async fn look(self: &Arc<Self>) -> anyhow::Result<()> {
        if self.ground.config.role == Role::Query {
            return Ok(());
        }
        let mut failed = Ok(());
        for tenant in self.ground.plane.tenants().await? {
            if self.of(&tenant).is_none() && !self.ground.stop.is_cancelled() {
                // One that cannot be opened does not keep the others shut.
                let opened = self.open(&tenant).await.with_context(|| format!("cannot open tenant `{tenant}`"));
                failed = failed.and(opened.map(drop));
            }
        }
        failed
    }

    /// The routes that a request is for.
    async fn router_for(&self, request: &Parts) -> Result<Router, ApiError> {
        let first = || self.of(&TenantId::first()).map(|h| h.router.clone()).ok_or_else(|| ApiError::new(Kind::Busy));
        let path = request.uri.path();
        if !path.starts_with("/api/") && !hunting_aliases::is_alias(path) {
            return first();
        }
        let headers = &request.headers;
        let (cookie, token) = (auth::cookie(headers), auth::bearer(headers));
        if let Some(named) = headers.get(TENANT_HEADER) {
            let tenant = named.to_str().ok().and_then(|text| TenantId::new(text).ok());
            if let Some(house) = tenant.and_then(|tenant| self.of(&tenant)) {
                return Ok(house.router.clone());
            }
            // As for a tenant in which the caller has no role; a stranger does not hear which tenants there are.
            let is_local = token.is_some_and(|token| self.ground.identity.is_local_token(token));
            let is_known = is_local || self.ground.identity.place_of(cookie, token).await?.is_some();
            return Err(ApiError::new(if is_known { Kind::NotFound } else { Kind::NotSignedIn }));
        }
        if self.all.read().unwrap_or_else(PoisonError::into_inner).len() < 2 {
            return first();
        }
        match self.ground.identity.place_of(cookie, token).await?.and_then(|tenant| self.of(&tenant)) {
            Some(house) => Ok(house.router.clone()),
            None => first(),
        }
    }
}

/// The routes of all tenants behind one listener.
pub(super) fn front(houses: &Arc<Houses>) -> Router {
    Router::new().fallback(pass).with_state(Arc::clone(houses))
}

async fn pass(State(houses): State<Arc<Houses>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    match houses.router_for(&head).await {
        Ok(router) => router.oneshot(Request::from_parts(head, body)).await.into_response(),
        Err(error) => error.into_response(),
    }
}

impl House {
    async fn open(houses: &Arc<Houses>, tenant: &TenantId) -> anyhow::Result<Self> {
        let ground = &houses.ground;
        let config = &ground.config;
        let (lake, db) = rest_open(ground, tenant).await?;
        let plane = Arc::new(ground.plane.over(&db));
        // Behind the lake: tags of machines are sealed with the key that came with it.
        plane.bought_refresh(tenant, crate::now()).await?;
        let is_first = *tenant == TenantId::first();
        let identity = ground.identity.of(tenant, &db);
        let fleet = Arc::new(Fleet::open(db.clone(), tenant.clone(), config.inactive_after()).await?);
        // Strangers come to the first tenant's routes, so that is where people sign in.
        let (key, oidc) = (identity.audit_key().clone(), config.oidc.clone().filter(|_| is_first));
        let rooms = (Arc::clone(&fleet), Arc::clone(&plane));
        let access = Access::open(ground.db.clone(), tenant.clone(), rooms.0, rooms.1, key, oidc).await?;
        let lock = ground.lock.as_ref().filter(|_| is_first).map(std::fs::File::try_clone).transpose()?;
        let shared = Arc::new(Shared {
            access: Arc::new(access),
            tenant: tenant.clone(),
            data: ground.data.clone(),
            db: db.clone(),
            identity,
            fleet,
            plane,
            metering: crate::metering::Metering::new(db.clone()),
            lake: Arc::new(lake),
            metrics: Arc::clone(&ground.metrics),
            lock,
            stop: ground.stop.clone(),
            config: config.clone(),
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
        let (mut intake, mut mirror) = (None, None);
        if config.role != Role::Query {
            // Before anything runs: a tenant that cannot be opened leaves no task behind.
            mirror = mirror_of(&shared)?;
            let observers: Vec<Arc<dyn Observer>> =
                vec![Arc::clone(&detection) as _, Arc::clone(&custom) as _, Arc::clone(&indicators) as _];
            let ingest = Arc::new(Ingest::start(&shared, observers)?);
            ground.wires.open(GatewayParts {
                connect: Arc::clone(&connect),
                shared: Arc::clone(&shared),
                ingest: Arc::clone(&ingest),
                content: detection.content(),
            });
            tasks.push(tokio::spawn(Arc::clone(&custom).run_loop()));
            tasks.push(tokio::spawn(Arc::clone(&custom).stream_loop()));
            tasks.push(tokio::spawn(Arc::clone(&retro).run_loop()));
            tasks.push(tokio::spawn(Arc::clone(&connect).run_loop()));
            tasks.push(tokio::spawn(Arc::clone(&health).run_loop()));
            let reach = crate::reach::Reach::new(&shared, &connect, Arc::new(crate::now));
            tasks.push(tokio::spawn(reach.run_loop()));
            tasks.push(tokio::spawn(
                crate::exports::Exports::new(&shared, &incidents, &connect, Arc::new(crate::now)).run_loop(),
            ));
            tasks.extend(reconcile::intake(&shared, mirror.as_ref(), &incidents));
            intake = Some(ingest);
        }
        let own = crate::api::DetectionParts {
            custom: Arc::clone(&custom),
            indicators: Arc::clone(&indicators),
            retro: Arc::clone(&retro),
        };
        let houses = Arc::downgrade(houses);
        let router = crate::api::router(&shared, &detection, &incidents, &hunting, own, &connect, &health, houses);
        tasks.extend(reconcile::tenant(&shared, &hunting));
        let (ingest, tasks) = (intake, Mutex::new(tasks));
        Ok(Self {
            shared,
            detection,
            incidents,
            hunting,
            custom,
            indicators,
            retro,
            connect,
            health,
            ingest,
            mirror,
            router,
            tasks,
        })
    }

    /// Stops in order, once the listeners are closed: detection of everything that was answered, rows into Parquet.
    pub(super) async fn stop(&self) -> anyhow::Result<()> {
        if let Some(ingest) = &self.ingest {
            Arc::clone(ingest).stop().await;
        }
        self.detection.flush().await;
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            ended(task).await;
        }
        let shared = &self.shared;
        shared.access.audit().close().await;
        shared.fleet.flush(crate::now()).await?;
        shared.metering.ingest_flush(&shared.plane, &shared.tenant, crate::now()).await?;
        shared.lake.flush().await?;
        if let Some(mirror) = &self.mirror {
            // What is not copied in this time is copied after the next start.
            match tokio::time::timeout(COPY_AT_STOP_MAX, mirror.sync(crate::now())).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => tracing::warn!(%error, "the newest rows are not on the object store yet"),
                Err(_) => tracing::warn!("the newest rows are not on the object store yet: it is too slow"),
            }
        }
        Ok(())
    }
}

/// Waits for a task that hears `stop`; a request that hangs on does not hold us up.
pub(super) async fn ended(task: JoinHandle<()>) {
    let abort = task.abort_handle();
    if tokio::time::timeout(Duration::from_secs(3), task).await.is_err() {
        abort.abort();
    }
}

/// Opens the lake and the control data of the tenant where its geography has them, with its key, which also seals the
/// tenant's columns.
async fn rest_open(ground: &Ground, tenant: &TenantId) -> anyhow::Result<(Lake, Db)> {
    let config = &ground.config;
    let lake_config = LakeConfig {
        retention_days: config.retention_days.clone(),
        disk_floor_bytes: config.disk_floor_bytes,
        ..LakeConfig::default()
    };
    // A query server reads the copy; its own lake is empty, and no geography's.
    let here = if config.role == Role::Query { None } else { ground.plane.rests(tenant).await? };
    let sealed = here.as_ref().and_then(|g| g.encryption).unwrap_or(config.encryption && config.role != Role::Query);
    let data = config.data.clone();
    let roots = here.as_ref().map(|g| rest::Roots { lake: data.join(&g.lake), control: data.join(&g.control) });
    let (of, is_query, column_sealed) = (tenant.clone(), config.role == Role::Query, config.encryption);
    let find = move || -> anyhow::Result<rest::Rest> {
        let mut found = rest::open(&data, &of, roots.as_ref(), sealed)?;
        if is_query {
            found.columns = rest::query_columns(&data, &of, column_sealed)?;
        }
        Ok(found)
    };
    let found = tokio::task::spawn_blocking(find).await??;
    let db = control::open(ground, tenant, here.as_ref(), &found.place).await?;
    let turned = db.seal_with(Some(tenant), found.columns).await?;
    if turned > 0 {
        tracing::info!(rows = turned, %tenant, "control data was brought to the form that `encryption` says");
    }
    let (folder, lake_config) = (found.lake, LakeConfig { at_rest: found.at_rest, ..lake_config });
    let lake = tokio::task::spawn_blocking(move || Lake::open(folder, lake_config)).await??;
    Ok((lake, db))
}

/// What copies the lake, where an object store is configured. A sealed lake is copied sealed.
fn mirror_of(shared: &Arc<Shared>) -> anyhow::Result<Option<Arc<Mirror>>> {
    let Some(store) = &shared.config.object_store else { return Ok(None) };
    let bucket = Bucket::open(store)?.below(shared.tenant.as_str());
    Ok(Some(Arc::new(Mirror::new(shared.lake.as_ref().clone(), bucket))))
}
