//! The connector at work: one thread talks to the server, one obeys orders.
//!
//! [`garrison_wire::connect::ConnectorSession`] decides when to report and what an answer means; this room does it. The
//! thread that obeys blocks on files and on the sensor; it hears of orders through a channel and is asked for its state
//! through a lock.

use crate::cloud::{self, Provider};
use crate::enrol::status_words;
use crate::identity::{IDENTITY_FILE, Identity};
use crate::install::course::Failure;
use crate::install::journal::Package;
use crate::install::{Installer, Settings, Source};
use crate::layout::Layout;
use crate::remedy::Remedies;
use crate::{host, wall_seconds, words};
use garrison_model::{ExtensionCode, Micros};
use garrison_wire::connect::order::Deed;
use garrison_wire::connect::remedy::Remedy;
use garrison_wire::connect::v1::{self, connector_client::ConnectorClient};
use garrison_wire::connect::{ConnectorAction, ConnectorSession, MESSAGE_BYTES_MAX, Occasion, binding};
use garrison_wire::identity::{DEVICE_VALIDITY, device_request};
use garrison_wire::tls::{Trust, connect, sensor_config};
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use tonic::transport::Channel;

/// How long a call beside the reports may take.
const CALL_MAX: Duration = Duration::from_secs(20);
/// How long an order waits for a connection, and how often it looks for one.
const CONNECTION_MAX: Duration = Duration::from_mins(1);
const CONNECTION_LOOK: Duration = Duration::from_millis(100);
/// How long a stream of a package may be silent.
const PIECE_MAX: Duration = Duration::from_mins(1);
/// How long after a failed renewal the next is tried, seconds.
const RENEW_AGAIN: i64 = 600;
/// The facts are read anew after this time.
const FACTS_LAST: Duration = Duration::from_mins(1);
/// Products of others are looked for anew after this time: it reads the package database.
const PRODUCTS_LAST: Duration = Duration::from_mins(10);
/// The thread that obeys looks after the sensor this often.
const LOOK: Duration = Duration::from_millis(500);
/// Orders that wait for the one under way: the server gives one at a time.
const ORDERS_MAX: usize = 8;

/// How the connector ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It was told to.
    Stopped,
    /// The identity is another machine's, and was thrown away: enrol anew.
    EnrolAnew(String),
    /// The machine is off-boarded, nothing of Garrison is left but this program.
    OffBoarded,
}

/// What the connector works with.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Where things lie.
    pub layout: Layout,
    /// Instance service of the cloud, if its usual address is not the one.
    pub metadata_address: String,
    /// How installs are done.
    pub settings: Settings,
}

/// What both threads see.
#[derive(Debug)]
struct Shared {
    report: Mutex<Option<v1::ExtensionReport>>,
    news: Notify,
    stop: Arc<AtomicBool>,
    channel: Mutex<Option<Channel>>,
    remedies: Mutex<Remedies>,
    /// A remedy ended: what the facts say of the antimalware is old.
    facts_old: AtomicBool,
}

enum Work {
    Obey(Box<v1::Order>, Deed),
    ForgetClone(tokio::sync::oneshot::Sender<()>),
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Brings packages and tokens over the connection of the reports.
#[derive(Debug)]
struct Remote {
    shared: Arc<Shared>,
    runtime: tokio::runtime::Handle,
    server: String,
}

impl Remote {
    fn client(&self) -> Result<ConnectorClient<Channel>, Failure> {
        // A connector that was started in the middle of an order has its first report under way: an order that failed
        // for want of a connection would be given again minutes later only.
        let until = Instant::now() + CONNECTION_MAX;
        loop {
            if let Some(channel) = locked(&self.shared.channel).clone() {
                return Ok(ConnectorClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX));
            }
            if Instant::now() >= until || self.shared.stop.load(Ordering::Relaxed) {
                return Err(Failure::new(ExtensionCode::DownloadFailed, "there is no connection to the server"));
            }
            std::thread::sleep(CONNECTION_LOOK);
        }
    }
}

impl Source for Remote {
    fn fetch(&mut self, package: &Package, into: &Path) -> Result<(), Failure> {
        use std::io::Write as _;
        let mut client = self.client()?;
        let io = |e: std::io::Error| Failure::io(ExtensionCode::DownloadFailed, "write", into, &e);
        let lost = |why: String| Failure::new(ExtensionCode::DownloadFailed, why);
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(into).map_err(io)?;
        let mut have = file.metadata().map_err(io)?.len();
        if have > package.size {
            file.set_len(0).map_err(io)?;
            have = 0;
        }
        self.runtime.block_on(async {
            let request = v1::PackageRequest { sha256: package.sha256.clone(), offset: have };
            let answer = tokio::time::timeout(CALL_MAX, client.package(request)).await;
            let mut stream = answer
                .map_err(|_| lost("the server does not answer".to_owned()))?
                .map_err(|s| match s.code() {
                    tonic::Code::NotFound => Failure::new(ExtensionCode::PackageMissing, status_words(&s)),
                    _ => lost(status_words(&s)),
                })?
                .into_inner();
            while have < package.size {
                let piece = tokio::time::timeout(PIECE_MAX, stream.message()).await;
                let piece = piece
                    .map_err(|_| lost("the server fell silent".to_owned()))?
                    .map_err(|s| lost(status_words(&s)))?;
                // A stream that ends early leaves half a package; what is there is kept for the next try.
                let Some(piece) = piece else { return Err(lost(format!("{have} of {} bytes came", package.size))) };
                have = have.saturating_add(piece.data.len() as u64);
                if have > package.size {
                    return Err(Failure::new(ExtensionCode::PackageDamaged, "more bytes came than were signed"));
                }
                file.write_all(&piece.data).map_err(io)?;
            }
            file.sync_all().map_err(io)
        })
    }

    fn token(&mut self, generation: u64) -> Result<String, Failure> {
        let mut client = self.client()?;
        let refused = |why: String| Failure::new(ExtensionCode::OnboardingNotFound, why);
        self.runtime.block_on(async {
            let call = client.sensor_token(v1::SensorTokenRequest { generation });
            let answer = tokio::time::timeout(CALL_MAX, call).await;
            let answer = answer.map_err(|_| refused("the server does not answer".to_owned()))?;
            Ok(answer.map_err(|s| refused(status_words(&s)))?.into_inner().token)
        })
    }

    fn server(&self) -> String {
        self.server.clone()
    }
}

/// The thread that obeys.
fn obey(mut installer: Installer<Remote>, work: mpsc::Receiver<Work>, shared: Arc<Shared>) {
    let tell = |installer: &Installer<Remote>| {
        let report = installer.report();
        let mut told = locked(&shared.report);
        if *told != report {
            *told = report;
            shared.news.notify_one();
        }
    };
    tell(&installer);
    installer.resume();
    while !shared.stop.load(Ordering::Relaxed) {
        match installer.advance() {
            Ok(true) => {
                tell(&installer);
                continue;
            }
            Ok(false) => {}
            // The journal cannot be written: nothing is done that is not in it.
            Err(failure) => {
                tracing::error!(%failure, "cannot go on with the order");
                std::thread::sleep(LOOK * 10);
                continue;
            }
        }
        match work.recv_timeout(LOOK) {
            Ok(Work::Obey(order, deed)) => {
                if let Err(failure) = installer.take(&order, deed) {
                    tracing::error!(%failure, "cannot write the order down");
                }
            }
            Ok(Work::ForgetClone(done)) => {
                if let Err(failure) = installer.forget_clone() {
                    tracing::error!(%failure, "cannot forget the sensor's identity");
                }
                let _ = done.send(());
            }
            Err(mpsc::RecvTimeoutError::Timeout) => installer.tick(),
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
        tell(&installer);
    }
    installer.shut_down();
}

/// The thread that does remedies, one after the other.
fn remedy(layout: &Layout, work: &mpsc::Receiver<(String, Remedy)>, shared: &Shared) {
    while !shared.stop.load(Ordering::Relaxed) {
        match work.recv_timeout(LOOK) {
            Ok((id, remedy)) => {
                let result = crate::remedy::perform(remedy, layout, &shared.stop);
                match &result {
                    Ok(words) => tracing::info!(remedy = remedy.as_str(), words, "a remedy"),
                    Err(why) => tracing::warn!(remedy = remedy.as_str(), why, "a remedy failed"),
                }
                locked(&shared.remedies).end(&id, result);
                shared.facts_old.store(true, Ordering::Relaxed);
                shared.news.notify_one();
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
    }
}

/// The answer to a report that is under way.
type Answer = Pin<Box<dyn Future<Output = Result<v1::ReportResponse, String>> + Send>>;

struct Conversation {
    parts: Parts,
    identity: Identity,
    session: ConnectorSession,
    shared: Arc<Shared>,
    orders: mpsc::SyncSender<Work>,
    to_remedy: mpsc::SyncSender<(String, Remedy)>,
    run_id: String,
    begun: Instant,
    facts: Option<(v1::Facts, Instant)>,
    cloud: Option<v1::Cloud>,
    products: Option<(v1::SecurityProducts, Instant)>,
    server: usize,
    renew_after: i64,
}

/// Runs until told to stop, off-boarded, or found to be a clone.
pub async fn run(parts: Parts, identity: Identity, mut stop: watch::Receiver<bool>) -> Result<End, String> {
    let bound = host::binding_of(&parts.layout);
    let shared = Arc::new(Shared {
        report: Mutex::new(None),
        news: Notify::new(),
        stop: Arc::new(AtomicBool::new(false)),
        channel: Mutex::new(None),
        remedies: Mutex::default(),
        facts_old: AtomicBool::new(false),
    });
    let remote = Remote {
        shared: Arc::clone(&shared),
        runtime: tokio::runtime::Handle::current(),
        server: identity.servers.first().cloned().unwrap_or_default(),
    };
    let settings = Settings { package_keys: identity.package_keys.clone(), ..parts.settings.clone() };
    let installer = Installer::open(&parts.layout, settings, remote, Arc::clone(&shared.stop));
    let mut installer = installer.map_err(|e| words(&e))?;
    if binding::differ(&identity.binding, &bound) {
        // A disk that was copied to another machine, or an image that was made of a connected one.
        installer.forget_clone().map_err(|f| f.to_string())?;
        forget_identity(&parts.layout)?;
        return Ok(End::EnrolAnew("this identity belongs to another machine".to_owned()));
    }
    let begun = Instant::now();
    let session = ConnectorSession::start(identity.addressee(), installer.journal().taken, Micros(0));
    let (orders, work) = mpsc::sync_channel(ORDERS_MAX);
    let for_thread = Arc::clone(&shared);
    let thread = std::thread::Builder::new()
        .name("orders".to_owned())
        .spawn(move || obey(installer, work, for_thread))
        .map_err(|e| format!("cannot start a thread: {e}"))?;
    let (to_remedy, remedies) = mpsc::sync_channel(ORDERS_MAX);
    let (for_thread, layout) = (Arc::clone(&shared), parts.layout.clone());
    let remedying = std::thread::Builder::new()
        .name("remedies".to_owned())
        .spawn(move || remedy(&layout, &remedies, &for_thread))
        .map_err(|e| format!("cannot start a thread: {e}"))?;
    let mut conversation = Conversation {
        parts,
        identity,
        session,
        shared: Arc::clone(&shared),
        orders,
        to_remedy,
        run_id: hex::encode(rand::random::<[u8; 16]>()),
        begun,
        facts: None,
        cloud: None,
        products: None,
        server: 0,
        renew_after: 0,
    };
    let end = conversation.hold(&mut stop).await;
    shared.stop.store(true, Ordering::Relaxed);
    // The thread ends its step first; what it does not finish is in the journal.
    drop(conversation);
    let _ = tokio::task::spawn_blocking(move || (thread.join(), remedying.join())).await;
    end
}

fn forget_identity(layout: &Layout) -> Result<(), String> {
    match std::fs::remove_file(layout.state.join(IDENTITY_FILE)) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(format!("cannot remove the identity: {e}")),
        _ => Ok(()),
    }
}

impl Conversation {
    fn now(&self) -> Micros {
        Micros(i64::try_from(self.begun.elapsed().as_micros()).unwrap_or(i64::MAX))
    }

    async fn hold(&mut self, stop: &mut watch::Receiver<bool>) -> Result<End, String> {
        let provider = Provider::of(&host::Firmware::look(&self.parts.layout));
        let mut asked: Option<Instant> = None;
        let mut answer: Option<Answer> = None;
        let mut occasion = Occasion::Time;
        loop {
            if let Some(provider) = provider.filter(|_| self.cloud.is_none())
                && asked.is_none_or(|at| at.elapsed() > FACTS_LAST)
            {
                asked = Some(Instant::now());
                match cloud::ask(provider, &self.parts.metadata_address).await {
                    Ok(cloud) => self.cloud = Some(cloud),
                    Err(error) => tracing::info!(error = words(&error), "the cloud does not say where this is"),
                }
            }
            let now = self.now();
            if let Some(ConnectorAction::Report { sequence, order_taken, wait_seconds }) =
                self.session.tick(now, occasion)
            {
                answer = Some(self.send(sequence, order_taken, wait_seconds, "Running"));
            } else if !self.session.is_asking() {
                answer = None;
            }
            occasion = Occasion::Time;
            let due = self.session.next().unwrap_or(now).0.saturating_sub(self.now().0);
            let pause = Duration::from_micros(u64::try_from(due).unwrap_or(0)).max(Duration::from_millis(5));
            let shared = Arc::clone(&self.shared);
            tokio::select! {
                result = heard(&mut answer) => {
                    answer = None;
                    if let Some(end) = self.heard(result).await? {
                        return Ok(end);
                    }
                }
                () = shared.news.notified() => occasion = Occasion::News,
                () = tokio::time::sleep(pause) => {}
                _ = stop.changed() => {
                    self.last_word().await;
                    return Ok(End::Stopped);
                }
            }
        }
    }

    async fn heard(&mut self, result: Result<v1::ReportResponse, String>) -> Result<Option<End>, String> {
        let now = self.now();
        let response = match result {
            Ok(response) => response,
            Err(why) => {
                tracing::warn!(why, "no answer from the server");
                *locked(&self.shared.channel) = None;
                self.server = self.server.wrapping_add(1);
                self.session.failed(now, rand::random::<f64>());
                return Ok(None);
            }
        };
        for action in self.session.answered(response, now, wall_seconds()) {
            match action {
                ConnectorAction::Obey(order, deed) => {
                    tracing::info!(order = order.generation, deed = deed.as_str(), "an order");
                    if self.orders.try_send(Work::Obey(order, deed)).is_err() {
                        return Err("orders come faster than they can be written down".to_owned());
                    }
                }
                ConnectorAction::Remedy(id, remedy) => {
                    if locked(&self.shared.remedies).begin(&id)
                        && self.to_remedy.try_send((id.clone(), remedy)).is_err()
                    {
                        let busy = "too much is to be done at once; ask again".to_owned();
                        locked(&self.shared.remedies).end(&id, Err(busy));
                    }
                }
                ConnectorAction::Refused(error) => tracing::error!(%error, "an order was not obeyed"),
                ConnectorAction::EnrolAnew(words) => {
                    let (done, gone) = tokio::sync::oneshot::channel();
                    if self.orders.try_send(Work::ForgetClone(done)).is_ok() {
                        let _ = tokio::time::timeout(CALL_MAX * 3, gone).await;
                    }
                    forget_identity(&self.parts.layout)?;
                    return Ok(Some(End::EnrolAnew(words)));
                }
                ConnectorAction::Farewell => return Ok(Some(End::OffBoarded)),
                ConnectorAction::Report { .. } => {}
            }
        }
        self.renew().await;
        Ok(None)
    }

    fn request(&mut self, sequence: u64, order_taken: u64, wait_seconds: u32, power: &str) -> v1::ReportRequest {
        let old = self.shared.facts_old.swap(false, Ordering::Relaxed);
        if old || self.facts.as_ref().is_none_or(|(_, since)| since.elapsed() > FACTS_LAST) {
            self.facts = Some((host::facts(&self.parts.layout), Instant::now()));
        }
        if self.products.as_ref().is_none_or(|(_, since)| since.elapsed() > PRODUCTS_LAST) {
            self.products = Some((crate::products::look(&self.parts.layout), Instant::now()));
        }
        let facts = self.facts.as_ref().map(|(f, _)| v1::Facts {
            cloud: self.cloud.clone(),
            security_products: self.products.as_ref().map(|(p, _)| p.clone()),
            ..f.clone()
        });
        v1::ReportRequest {
            run_id: self.run_id.clone(),
            sequence,
            boot_id: host::boot_id(&self.parts.layout),
            connector_version: env!("CARGO_PKG_VERSION").to_owned(),
            binding: Some(host::binding_of(&self.parts.layout)),
            facts,
            power_state: power.to_owned(),
            extensions: locked(&self.shared.report).clone().into_iter().collect(),
            order_taken,
            wait_seconds,
            remedies: locked(&self.shared.remedies).reports(),
        }
    }

    fn send(&mut self, sequence: u64, order_taken: u64, wait_seconds: u32, power: &str) -> Answer {
        let request = self.request(sequence, order_taken, wait_seconds, power);
        let servers = &self.identity.servers;
        let server = servers.get(self.server % servers.len().max(1)).cloned().unwrap_or_default();
        let (identity, shared) = (self.identity.clone(), Arc::clone(&self.shared));
        Box::pin(async move {
            let known = locked(&shared.channel).clone();
            let channel = match known {
                Some(channel) => channel,
                None => {
                    let config = sensor_config(&Trust::Authority(identity.ca.clone()), Some(&identity.own));
                    let config = config.map_err(|e| words(&e))?;
                    let connecting = tokio::time::timeout(CALL_MAX, connect(&server, config)).await;
                    let channel =
                        connecting.map_err(|_| format!("`{server}` does not answer"))?.map_err(|e| words(&e))?;
                    *locked(&shared.channel) = Some(channel.clone());
                    channel
                }
            };
            let mut client = ConnectorClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
            client.report(request).await.map(tonic::Response::into_inner).map_err(|s| status_words(&s))
        })
    }

    /// Says that the machine goes down, or that the connector does, without waiting for long.
    async fn last_word(&mut self) {
        let Some(ConnectorAction::Report { sequence, order_taken, .. }) = self.session.tick(self.now(), Occasion::News)
        else {
            return;
        };
        let power = if going_down(&self.parts.layout) { "Stopping" } else { "Running" };
        let word = self.send(sequence, order_taken, 0, power);
        let _ = tokio::time::timeout(Duration::from_secs(2), word).await;
    }

    async fn renew(&mut self) {
        let seconds = wall_seconds();
        let third = i64::try_from(DEVICE_VALIDITY.as_secs() / 3).unwrap_or(i64::MAX);
        if self.identity.not_after - seconds >= third || seconds < self.renew_after {
            return;
        }
        self.renew_after = seconds + RENEW_AGAIN;
        match self.renewed().await {
            Ok(identity) => {
                self.identity = identity;
                // The next report opens a connection with the new certificate.
                *locked(&self.shared.channel) = None;
                tracing::info!("certificate renewed");
            }
            Err(why) => tracing::warn!(why, "certificate could not be renewed"),
        }
    }

    async fn renewed(&self) -> Result<Identity, String> {
        let channel = locked(&self.shared.channel).clone().ok_or("no connection")?;
        let (key, csr) = device_request().map_err(|e| words(&e))?;
        let mut client = ConnectorClient::new(channel);
        let call = client.renew(v1::RenewRequest { csr: csr.into() });
        let response =
            tokio::time::timeout(CALL_MAX, call).await.map_err(|_| "no answer")?.map_err(|s| status_words(&s))?;
        let response = response.into_inner();
        let chain: Vec<Vec<u8>> = response.certificates.iter().map(|c| c.to_vec()).collect();
        let renewed = self.identity.renewed(key, chain, response.not_after);
        // What cannot be used must not replace what can.
        sensor_config(&Trust::Authority(renewed.ca.clone()), Some(&renewed.own)).map_err(|e| words(&e))?;
        renewed.store(&self.parts.layout.state).map_err(|e| words(&e))?;
        Ok(renewed)
    }
}

async fn heard(answer: &mut Option<Answer>) -> Result<v1::ReportResponse, String> {
    match answer {
        Some(answer) => answer.await,
        None => std::future::pending().await,
    }
}

/// Whether the machine goes down, as systemd or the older tools leave word.
fn going_down(layout: &Layout) -> bool {
    ["/run/systemd/shutdown/scheduled", "/run/nologin"].iter().any(|p| layout.of_host(p).exists())
}
