//! A sensor without a machine: enrols, connects, sends batches, hears answers. Light enough that ten thousand of them
//! fit into one process.

use anyhow::{Context as _, bail};
use arrow::array::RecordBatch;
use garrison_model::{BootId, DeviceId};
use garrison_telemetry::encode_ipc;
use garrison_wire::identity::{KeyAndChain, device_request};
use garrison_wire::tls::{Trust, connect, sensor_config};
use garrison_wire::token::EnrolmentToken;
use garrison_wire::v1::enrolment_client::EnrolmentClient;
use garrison_wire::v1::sensor_client::SensorClient;
use garrison_wire::v1::{self, sensor_frame, server_frame};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// An enrolled fake sensor.
#[derive(Debug, Clone)]
pub struct FakeSensor {
    /// The device that the server made of it.
    pub device: DeviceId,
    /// Its boot.
    pub boot: BootId,
    /// The next sequence number.
    pub next_sequence: u64,
    /// The host name it claims.
    pub host_name: String,
    identity: KeyAndChain,
    authority: CertificateDer<'static>,
}

/// A batch as bytes, so that it can be sent many times without being encoded again.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// Table.
    pub table: String,
    /// Rows.
    pub rows: u32,
    /// Arrow IPC.
    pub payload: prost::bytes::Bytes,
}

impl Encoded {
    /// Encodes a batch.
    pub fn new(table: &str, batch: &RecordBatch) -> anyhow::Result<Self> {
        Ok(Self { table: table.to_owned(), rows: u32::try_from(batch.num_rows())?, payload: encode_ipc(batch)?.into() })
    }
}

fn random_boot() -> anyhow::Result<BootId> {
    let h = format!("{:032x}", rand::random::<u128>());
    Ok(BootId::new(format!("{}-{}-{}-{}-{}", &h[..8], &h[8..12], &h[12..16], &h[16..20], &h[20..]))?)
}

impl FakeSensor {
    /// Enrols with a token.
    pub async fn enrol(gateway: &str, token: &EnrolmentToken, host_name: &str) -> anyhow::Result<Self> {
        let (key, csr) = device_request()?;
        let config = sensor_config(&Trust::Fingerprint(token.ca_fingerprint), None)?;
        let channel = connect(gateway, config).await?;
        let request = v1::EnrolRequest {
            token: token.to_string(),
            csr: csr.into(),
            host: Some(v1::HostFacts {
                host_name: host_name.to_owned(),
                os_platform: "Linux".to_owned(),
                machine_id: format!("{:032x}", rand::random::<u128>()),
                ..v1::HostFacts::default()
            }),
        };
        let answer = EnrolmentClient::new(channel).enrol(request).await?.into_inner();
        let chain = answer.certificates.iter().map(|c| CertificateDer::from(c.to_vec())).collect();
        Ok(Self {
            device: DeviceId::new(answer.device_id)?,
            boot: random_boot()?,
            next_sequence: 0,
            host_name: host_name.to_owned(),
            identity: KeyAndChain { key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key)), chain },
            authority: CertificateDer::from(answer.ca_certificate.to_vec()),
        })
    }

    /// Opens a session and waits for the welcome.
    pub async fn connect(&self, gateway: &str) -> anyhow::Result<FakeSession> {
        let config = sensor_config(&Trust::Authority(self.authority.clone()), Some(&self.identity))?;
        let channel = connect(gateway, config).await?;
        let (frames, receiver) = mpsc::channel(8);
        let hello = v1::Hello {
            protocol: garrison_wire::PROTOCOL,
            sensor_version: "0.0.0-fake".to_owned(),
            boot_id: self.boot.to_string(),
            host: Some(v1::HostFacts { host_name: self.host_name.clone(), ..v1::HostFacts::default() }),
            sight: Some(v1::Sight { subsystem: "ebpf".to_owned(), missing: vec![] }),
            ..v1::Hello::default()
        };
        frames.send(v1::SensorFrame { frame: Some(sensor_frame::Frame::Hello(hello)) }).await?;
        let mut client = SensorClient::new(channel).max_decoding_message_size(garrison_wire::MESSAGE_BYTES_MAX);
        let answers = client.session(ReceiverStream::new(receiver)).await?.into_inner();
        let mut session = FakeSession { frames, answers, welcome: v1::Welcome::default() };
        match session.next().await? {
            server_frame::Frame::Welcome(welcome) => session.welcome = welcome,
            other => bail!("instead of a welcome came {other:?}"),
        }
        Ok(session)
    }

    /// The frame that sends these rows next; numbers go on with each call.
    pub fn batch(&mut self, encoded: &Encoded) -> v1::Batch {
        let sequence_first = self.next_sequence;
        self.next_sequence += u64::from(encoded.rows);
        v1::Batch {
            boot_id: self.boot.to_string(),
            table: encoded.table.clone(),
            sequence_first,
            row_count: encoded.rows,
            created: 0,
            payload: encoded.payload.clone(),
            urgent: false,
        }
    }
}

/// An open session.
#[derive(Debug)]
pub struct FakeSession {
    frames: mpsc::Sender<v1::SensorFrame>,
    answers: tonic::Streaming<v1::ServerFrame>,
    /// What the server granted.
    pub welcome: v1::Welcome,
}

impl FakeSession {
    /// Sends any frame.
    pub async fn send(&self, frame: sensor_frame::Frame) -> anyhow::Result<()> {
        self.frames.send(v1::SensorFrame { frame: Some(frame) }).await.context("session is closed")
    }

    /// Sends a batch.
    pub async fn send_batch(&self, batch: v1::Batch) -> anyhow::Result<()> {
        self.send(sensor_frame::Frame::Batch(batch)).await
    }

    /// Sends a heartbeat.
    pub async fn heartbeat(&self) -> anyhow::Result<()> {
        self.send(sensor_frame::Frame::Heartbeat(v1::Heartbeat::default())).await
    }

    /// The next frame of the server.
    pub async fn next(&mut self) -> anyhow::Result<server_frame::Frame> {
        loop {
            let answer = self.answers.message().await?.context("session ended")?;
            if let Some(frame) = answer.frame {
                return Ok(frame);
            }
        }
    }

    /// The next answer to a batch: `Ok` with its first number if it is durable, `Err` with the refusal.
    pub async fn answer(&mut self) -> anyhow::Result<Result<u64, v1::Refused>> {
        loop {
            match self.next().await? {
                server_frame::Frame::Ack(ack) => return Ok(Ok(ack.sequence_first)),
                server_frame::Frame::Refused(refused) => return Ok(Err(refused)),
                server_frame::Frame::Goodbye(goodbye) => bail!("server says goodbye: {}", goodbye.code),
                _ => {}
            }
        }
    }
}
