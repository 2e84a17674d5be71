//! A sensor that sees nothing and speaks the real wire.

use anyhow::{Context as _, anyhow, bail};
use arrow::array::RecordBatch;
use garrison_model::{BootId, DeviceId};
use garrison_telemetry::encode_ipc;
use garrison_wire::identity::{KeyAndChain, device_request};
use garrison_wire::session::{SensorAction, SensorSession};
use garrison_wire::tls::{Trust, connect, sensor_config};
use garrison_wire::token::EnrolmentToken;
use garrison_wire::v1::{self, enrolment_client::EnrolmentClient, sensor_client::SensorClient};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

/// Frames that wait to be sent: the window of a session.
const OUT_MAX: usize = 32;
/// A test or benchmark that hears nothing for this long has failed.
const SILENCE_MAX: Duration = Duration::from_mins(1);

/// What a sensor keeps after enrolment.
#[derive(Debug, Clone)]
pub struct SensorIdentity {
    /// Device.
    pub device: DeviceId,
    /// Key and certificates.
    pub own: KeyAndChain,
    /// The server's CA.
    pub ca: CertificateDer<'static>,
    /// Key that content is signed with.
    pub content_key: Vec<u8>,
}

/// What a fake host says of itself.
pub fn facts(name: &str) -> v1::HostFacts {
    v1::HostFacts {
        host_name: name.to_owned(),
        os_platform: "Linux".to_owned(),
        os_distribution: "Debian".to_owned(),
        os_version: "12".to_owned(),
        kernel_version: "6.1.0".to_owned(),
        architecture: "x64".to_owned(),
        ip_addresses: vec!["10.0.0.1".to_owned()],
        hardware_uuid: format!("hardware of {name}"),
        machine_id: format!("machine id of {name}"),
    }
}

fn key_and_chain(key: Vec<u8>, certificates: &[bytes::Bytes]) -> KeyAndChain {
    KeyAndChain {
        key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key)),
        chain: certificates.iter().map(|c| CertificateDer::from(c.to_vec())).collect(),
    }
}

/// Enrols a fake host.
pub async fn enrol(gateway: SocketAddr, token: &str, name: &str) -> anyhow::Result<SensorIdentity> {
    let parsed: EnrolmentToken = token.parse()?;
    let config = sensor_config(&Trust::Fingerprint(parsed.ca_fingerprint), None)?;
    let channel = connect(&gateway.to_string(), config).await?;
    let (key, csr) = device_request()?;
    let request = v1::EnrolRequest { token: token.to_owned(), csr: csr.into(), host: Some(facts(name)) };
    let answer = EnrolmentClient::new(channel).enrol(request).await?.into_inner();
    Ok(SensorIdentity {
        device: DeviceId::new(answer.device_id)?,
        own: key_and_chain(key, &answer.certificates),
        ca: CertificateDer::from(answer.ca_certificate.to_vec()),
        content_key: answer.content_key.to_vec(),
    })
}

impl SensorIdentity {
    async fn channel(&self, gateway: SocketAddr) -> anyhow::Result<Channel> {
        let config = sensor_config(&Trust::Authority(self.ca.clone()), Some(&self.own))?;
        Ok(connect(&gateway.to_string(), config).await?)
    }

    /// Gets a new certificate.
    pub async fn renew(&mut self, gateway: SocketAddr) -> anyhow::Result<()> {
        let (key, csr) = device_request()?;
        let mut client = SensorClient::new(self.channel(gateway).await?);
        let answer = client.renew(v1::RenewRequest { csr: csr.into() }).await?.into_inner();
        self.own = key_and_chain(key, &answer.certificates);
        Ok(())
    }
}

/// A connected fake sensor.
#[derive(Debug)]
pub struct TestSensor {
    /// Who it is.
    pub identity: SensorIdentity,
    /// Its boot.
    pub boot: BootId,
    /// Next sequence number.
    pub sequence: u64,
    /// Batches without an answer, by first number.
    pub unanswered: BTreeMap<u64, v1::Batch>,
    /// Batches that the server will never take: first number and code.
    pub rejected: Vec<(u64, String)>,
    /// Batches put off: code of each answer.
    pub put_off: Vec<String>,
    /// Rows acknowledged.
    pub acknowledged: u64,
    /// Newest content heard of.
    pub content: Option<v1::Content>,
    /// Why the server wants no rows, where it said so.
    pub unwanted: Option<String>,
    session: SensorSession,
    out: mpsc::Sender<v1::SensorFrame>,
    inbound: Streaming<v1::ServerFrame>,
}

impl TestSensor {
    /// Connects and waits until the server has answered the greeting.
    pub async fn connect(identity: SensorIdentity, gateway: SocketAddr, boot: BootId) -> anyhow::Result<Self> {
        let (session, out, inbound) = open(&identity, gateway, &boot).await?;
        let mut sensor = Self {
            identity,
            boot,
            sequence: 1,
            unanswered: BTreeMap::new(),
            rejected: Vec::new(),
            put_off: Vec::new(),
            acknowledged: 0,
            content: None,
            unwanted: None,
            session,
            out,
            inbound,
        };
        sensor.until_ready().await?;
        Ok(sensor)
    }

    async fn until_ready(&mut self) -> anyhow::Result<()> {
        while !self.session.is_ready() {
            self.hear().await?;
        }
        Ok(())
    }

    /// Connects again after the connection broke, and sends everything that has no answer once more.
    pub async fn reconnect(&mut self, gateway: SocketAddr) -> anyhow::Result<()> {
        (self.session, self.out, self.inbound) = open(&self.identity, gateway, &self.boot).await?;
        self.until_ready().await?;
        self.resend().await
    }

    /// Sends everything that has no answer once more.
    pub async fn resend(&mut self) -> anyhow::Result<()> {
        for batch in self.unanswered.clone().into_values() {
            self.send_batch(batch).await?;
        }
        Ok(())
    }

    /// Sends rows as the next batch of a table.
    pub async fn send(&mut self, table: &str, rows: &RecordBatch) -> anyhow::Result<u64> {
        self.send_payload(table, rows.num_rows() as u32, encode_ipc(rows)?.into()).await
    }

    /// Sends an encoded payload as the next batch of a table: benchmarks encode once. The answer is its first number.
    pub async fn send_payload(&mut self, table: &str, rows: u32, payload: bytes::Bytes) -> anyhow::Result<u64> {
        let first = self.sequence;
        self.sequence += u64::from(rows);
        let batch = v1::Batch {
            boot_id: self.boot.to_string(),
            table: table.to_owned(),
            sequence_first: first,
            row_count: rows,
            created: garrison_server::now().0,
            payload,
            urgent: false,
        };
        self.send_batch(batch).await?;
        Ok(first)
    }

    /// Sends a batch as it is, waiting for room in the window.
    pub async fn send_batch(&mut self, batch: v1::Batch) -> anyhow::Result<()> {
        self.unanswered.insert(batch.sequence_first, batch.clone());
        while !self.session.may_send(batch.payload.len() as u64, garrison_server::now()) {
            let pause = self.session.paused_until().0 - garrison_server::now().0;
            if pause > 0 {
                // The server asked for a pause.
                let pause = Duration::from_micros(u64::try_from(pause)?);
                let _ = tokio::time::timeout(pause, self.hear()).await;
            } else {
                self.hear().await?;
            }
        }
        let SensorAction::Send(frame) = self.session.send(batch) else { bail!("the session sends no batch") };
        self.send_frame(frame).await
    }

    /// Sends any frame.
    pub async fn send_frame(&mut self, frame: v1::SensorFrame) -> anyhow::Result<()> {
        self.out.send(frame).await.map_err(|_| anyhow!("the session is closed"))
    }

    /// Sends a heartbeat.
    pub async fn heartbeat(&mut self, heartbeat: v1::Heartbeat) -> anyhow::Result<()> {
        let SensorAction::Send(frame) = self.session.heartbeat(heartbeat, garrison_server::now()) else {
            bail!("the session sends no heartbeat")
        };
        self.send_frame(frame).await
    }

    /// Waits for the next frame from the server and notes it. An error means that the session is over; its text holds
    /// the code of the goodbye.
    pub async fn hear(&mut self) -> anyhow::Result<()> {
        let frame =
            tokio::time::timeout(SILENCE_MAX, self.inbound.message()).await.context("the server is silent")??;
        let frame = frame.context("the session has ended")?;
        for action in self.session.receive(frame, garrison_server::now()) {
            match action {
                SensorAction::Forget { sequence_first, row_count, .. } => {
                    self.unanswered.remove(&sequence_first);
                    self.acknowledged += u64::from(row_count);
                }
                SensorAction::Requeue { code, .. } => self.put_off.push(code),
                SensorAction::Reject { sequence_first, code, .. } => {
                    self.unanswered.remove(&sequence_first);
                    self.rejected.push((sequence_first, code));
                }
                SensorAction::Content(content) => self.content = Some(content),
                SensorAction::Close { code, .. } => bail!("the server said goodbye: {code}"),
                SensorAction::Collection { wanted, reason } => self.unwanted = (!wanted).then_some(reason),
                SensorAction::Ready { .. } | SensorAction::Send(_) => {}
            }
        }
        Ok(())
    }

    /// Waits until every batch that is under way has an answer.
    pub async fn settle(&mut self) -> anyhow::Result<()> {
        while self.session.in_flight() > 0 {
            self.hear().await?;
        }
        Ok(())
    }
}

type Opened = (SensorSession, mpsc::Sender<v1::SensorFrame>, Streaming<v1::ServerFrame>);

async fn open(identity: &SensorIdentity, gateway: SocketAddr, boot: &BootId) -> anyhow::Result<Opened> {
    let mut client =
        SensorClient::new(identity.channel(gateway).await?).max_decoding_message_size(garrison_wire::MESSAGE_BYTES_MAX);
    let hello = v1::Hello {
        protocol: garrison_wire::PROTOCOL,
        sensor_version: "fake".to_owned(),
        boot_id: boot.to_string(),
        sight: Some(v1::Sight { subsystem: "ebpf".to_owned(), missing: Vec::new() }),
        ..v1::Hello::default()
    };
    let (session, first) = SensorSession::start(hello, garrison_server::now());
    let (out, frames) = mpsc::channel(OUT_MAX);
    for action in first {
        if let SensorAction::Send(frame) = action {
            out.try_send(frame)?;
        }
    }
    let inbound = client.session(ReceiverStream::new(frames)).await?.into_inner();
    Ok((session, out, inbound))
}
