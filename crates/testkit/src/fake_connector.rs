//! A connector without a machine, on the real wire: enrols, reports, hears orders.

use anyhow::Context as _;
use garrison_model::{ConnectorId, TenantId};
use garrison_wire::connect::order::{self, Addressee};
use garrison_wire::connect::remedy::{self, Remedy};
use garrison_wire::connect::v1::{self, connector_client::ConnectorClient};
use garrison_wire::connect::{binding, token::ConnectorToken};
use garrison_wire::identity::{KeyAndChain, device_request};
use garrison_wire::tls::{Trust, connect, sensor_config};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tonic::transport::Channel;

/// A gibibyte.
const GIB: u64 = 1 << 30;

/// An enrolled connector.
#[derive(Debug)]
pub struct FakeConnector {
    /// What the server said when it took the machine in.
    pub answer: v1::EnrolResponse,
    /// The wire, with the machine's certificate.
    pub client: ConnectorClient<Channel>,
    /// What its identity is bound to.
    pub bound: v1::Binding,
    /// What it says of its machine.
    pub facts: v1::Facts,
    /// Number of its run.
    pub run: String,
    /// Reports sent in this run.
    pub sequence: u64,
    /// What it says of remedies.
    pub remedies: Vec<v1::RemedyReport>,
}

/// A supported machine's facts.
fn supported(name: &str) -> v1::Facts {
    v1::Facts {
        host_name: name.into(),
        os: "Linux".into(),
        distribution: "debian".into(),
        version: "12".into(),
        kernel: "6.1.0".into(),
        architecture: "x64".into(),
        processors: 2,
        memory_bytes: 4 * GIB,
        disk_free_bytes: 40 * GIB,
        ..v1::Facts::default()
    }
}

impl FakeConnector {
    /// Enrols a machine with a tag.
    pub async fn enrol(gateway: &str, text: &str, name: &str) -> Result<Self, tonic::Status> {
        Self::enrol_tagged(gateway, text, name, ("env", "test")).await
    }

    /// Enrols a machine with this tag.
    pub async fn enrol_tagged(gateway: &str, text: &str, name: &str, tag: (&str, &str)) -> Result<Self, tonic::Status> {
        Self::enrol_in(gateway, text, name, "", tag).await
    }

    /// Enrols a machine in a subscription; the token says which if its name is empty.
    pub async fn enrol_in(
        gateway: &str,
        text: &str,
        name: &str,
        subscription: &str,
        tag: (&str, &str),
    ) -> Result<Self, tonic::Status> {
        let unusable = |e: &dyn std::error::Error| tonic::Status::internal(e.to_string());
        let token: ConnectorToken = text.parse().map_err(|e| unusable(&e))?;
        let config = sensor_config(&Trust::Fingerprint(token.0.ca_fingerprint), None).map_err(|e| unusable(&e))?;
        let (key, csr) = device_request().map_err(|e| unusable(&e))?;
        let bound = binding::of(&format!("{name:0>32}"), "");
        let request = v1::EnrolRequest {
            token: text.to_owned(),
            csr: csr.into(),
            facts: Some(supported(name)),
            binding: Some(bound.clone()),
            subscription: subscription.to_owned(),
            tags: vec![v1::Tag { key: tag.0.into(), value: tag.1.into() }],
            ..v1::EnrolRequest::default()
        };
        let channel = connect(gateway, config).await.map_err(|e| unusable(&e))?;
        let answer = ConnectorClient::new(channel).enrol(request).await?.into_inner();
        let own = KeyAndChain {
            key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key)),
            chain: answer.certificates.iter().map(|c| CertificateDer::from(c.to_vec())).collect(),
        };
        let ca = CertificateDer::from(answer.ca_certificate.to_vec());
        let config = sensor_config(&Trust::Authority(ca), Some(&own)).map_err(|e| unusable(&e))?;
        let client = ConnectorClient::new(connect(gateway, config).await.map_err(|e| unusable(&e))?);
        Ok(Self { answer, client, bound, facts: supported(name), run: "aa".into(), sequence: 0, remedies: Vec::new() })
    }

    /// Reports and waits for the answer, at most `wait` seconds where there is nothing to do.
    pub async fn try_report(
        &mut self,
        taken: u64,
        wait: u32,
        extension: Option<v1::ExtensionReport>,
    ) -> Result<v1::ReportResponse, tonic::Status> {
        self.sequence += 1;
        let request = v1::ReportRequest {
            run_id: self.run.clone(),
            sequence: self.sequence,
            binding: Some(self.bound.clone()),
            facts: Some(self.facts.clone()),
            power_state: "Running".into(),
            extensions: extension.into_iter().collect(),
            order_taken: taken,
            wait_seconds: wait,
            remedies: self.remedies.clone(),
            ..v1::ReportRequest::default()
        };
        self.client.report(request).await.map(tonic::Response::into_inner)
    }

    /// The same where the server must answer.
    pub async fn report(
        &mut self,
        taken: u64,
        wait: u32,
        extension: Option<v1::ExtensionReport>,
    ) -> v1::ReportResponse {
        self.try_report(taken, wait, extension).await.expect("the server answers")
    }

    fn addressee(&self) -> anyhow::Result<Addressee> {
        let key = self.answer.order_key.as_ref().try_into().context("the order key is too short")?;
        Ok(Addressee {
            tenant: TenantId::new(self.answer.tenant_id.as_str())?,
            connector: ConnectorId::new(self.answer.connector_id.as_str())?,
            key: ed25519_dalek::VerifyingKey::from_bytes(key)?,
        })
    }

    /// Opens all remedies of an answer: their ids, and what is to be done.
    pub fn remedies(&self, answer: &v1::ReportResponse) -> anyhow::Result<Vec<(String, Remedy)>> {
        let (who, now) = (self.addressee()?, answer.server_time / 1_000_000);
        answer.remedies.iter().map(|r| Ok(remedy::open(r, &who, now)?)).collect()
    }

    /// Opens the first order of an answer.
    pub fn try_opened(&self, answer: &v1::ReportResponse) -> anyhow::Result<v1::Order> {
        let who = self.addressee()?;
        let order = answer.orders.first().context("there is no order")?;
        Ok(order::open(order, &who, 0, answer.server_time / 1_000_000)?.0)
    }

    /// The same where there must be one.
    pub fn opened(&self, answer: &v1::ReportResponse) -> v1::Order {
        self.try_opened(answer).expect("the order is ours")
    }

    /// What it says when an order is done, under the name that extensions of the familiar kind have.
    pub fn done(generation: u64, version: &str) -> v1::ExtensionReport {
        v1::ExtensionReport {
            name: "MDE.Linux".into(),
            generation,
            phase: "done".into(),
            version: version.into(),
            healthy: true,
            ..v1::ExtensionReport::default()
        }
    }
}
