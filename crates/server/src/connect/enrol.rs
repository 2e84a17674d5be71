//! How a machine is connected: a token becomes an identity and a place among the resources.

use super::runs::Runs;
use super::{Connect, ConnectError, Entry, MachineFacts, ProductFound, ProtectionFacts, tokens};
use crate::plane::MachineConnect;
use garrison_model::{
    ConnectorId, DeviceId, GroupName, MachineId, MachineKind, MachineName, MachineSystem, Micros, ResourceId,
    SubscriptionId, Tags,
};
use garrison_wire::connect::remedy::Remedy;
use garrison_wire::connect::token::ConnectorToken;
use garrison_wire::connect::{binding, v1};
use garrison_wire::identity::ConnectorIdentity;
use rand::TryRngCore as _;
use rustls_pki_types::CertificateDer;

/// The resource group of machines that name none.
const GROUP_DEFAULT: &str = "machines";
/// Hours that the token of a machine's sensor holds.
const SENSOR_TOKEN_HOURS: i64 = 1;

/// An identity for a machine.
#[derive(Debug)]
pub struct ConnectedMachine {
    /// Connector.
    pub connector: ConnectorId,
    /// Where the machine lies.
    pub resource: String,
    /// Certificates, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// When the leaf ends, seconds since 1970.
    pub not_after: i64,
}

fn cut(text: &str, characters_max: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(characters_max).collect()
}

impl MachineFacts {
    /// Takes claims in.
    pub fn from_claims(facts: Option<v1::Facts>) -> Self {
        let f = facts.unwrap_or_default();
        let c = f.cloud.unwrap_or_default();
        Self {
            host_name: cut(&f.host_name, 255),
            os: cut(&f.os, 40),
            distribution: cut(&f.distribution, 80),
            version: cut(&f.version, 80),
            kernel: cut(&f.kernel, 120),
            architecture: cut(&f.architecture, 40),
            processors: f.processors,
            memory_bytes: f.memory_bytes,
            disk_free_bytes: f.disk_free_bytes >> 26 << 26,
            systemd: f.systemd,
            blocking_products: f.blocking_products.iter().take(8).map(|p| cut(p, 40)).collect(),
            cloud: cut(&c.provider, 20),
            instance: cut(&c.instance_id, 120),
            account: cut(&c.account_id, 120),
            location: cut(if c.zone.is_empty() { &c.region } else { &c.zone }, 80),
            products: f.security_products.map(|p| products(&p)),
            protection: f.protection.as_ref().map(protection),
        }
    }
}

/// Products that a machine may name: the connector's list has fewer.
const PRODUCTS_MAX: usize = 32;

fn products(claims: &v1::SecurityProducts) -> Vec<ProductFound> {
    let named = claims.found.iter().filter(|p| !p.name.trim().is_empty()).take(PRODUCTS_MAX);
    named
        .map(|p| ProductFound { name: cut(&p.name, 80), package: cut(&p.package, 80), process: cut(&p.process, 80) })
        .collect()
}

fn protection(claim: &v1::Protection) -> ProtectionFacts {
    // A word that is not known is taken for the worst: it must not make a machine look well.
    let state = ["on", "partial", "off"].into_iter().find(|s| *s == claim.state).unwrap_or("off");
    ProtectionFacts {
        state: state.to_owned(),
        signatures_time: claim.signatures_time.max(0),
        quick_scan_time: claim.quick_scan_time.max(0),
        full_scan_time: claim.full_scan_time.max(0),
        product: cut(&claim.product, 80),
        detail: cut(&claim.detail, 200),
        remedies: Remedy::ALL
            .iter()
            .map(|r| r.as_str())
            .filter(|r| claim.remedies.iter().any(|c| c == r))
            .map(str::to_owned)
            .collect(),
    }
}

/// The same as the plane keeps it; its texts have at most 256 bytes.
pub(super) fn system(f: &MachineFacts) -> MachineSystem {
    let bytes = |text: &str| {
        let mut text = text.to_owned();
        while text.len() > 256 {
            text.pop();
        }
        text
    };
    MachineSystem {
        os_type: bytes(&f.os),
        distribution: bytes(&f.distribution),
        version: bytes(&f.version),
        kernel: bytes(&f.kernel),
        architecture: bytes(&f.architecture),
        host_name: bytes(&f.host_name),
        cloud: bytes(&f.cloud),
        instance: bytes(&f.instance),
        location: bytes(&f.location),
    }
}

/// What one machine has in common with itself when it is seen another way: both parts of its binding where it has both,
/// since containers share the hardware of their host.
fn correlation(binding: &v1::Binding) -> String {
    format!("{}:{}", binding.hardware, binding.machine_id)
}

impl Connect {
    /// Connects a machine: checks and uses the token, finds its place, gives an identity.
    pub async fn enrol(&self, request: v1::EnrolRequest) -> Result<ConnectedMachine, ConnectError> {
        let now = self.now();
        let shared = &self.shared;
        let token: ConnectorToken = request.token.parse().map_err(|_| ConnectError::TokenMalformed)?;
        let bound = binding::from_claim(request.binding);
        let facts = MachineFacts::from_claims(request.facts);
        // The token first: strangers get no work out of us, and learn nothing. It is used in the transaction that writes
        // the machine down: who is refused has used nothing up.
        let who = format!("token {}", token.0.id_text());
        let mut change = shared.plane.change(&shared.tenant, &who, now).await?;
        let scope = tokens::take(change.conn(), shared.tenant.as_str(), &token.0, now).await?;
        if !binding::is_bound(&bound) {
            return Err(ConnectError::Value("the machine names neither a machine id nor hardware".to_owned()));
        }
        // In the same transaction: a second connection, while this one is held, is what many at once would wait for.
        let only = if request.subscription.is_empty() && scope.subscription.is_empty() {
            Some(change.subscriptions_few().await?)
        } else {
            None
        };
        let resource = place(&scope, only, &request.subscription, &request.resource_group, &request.name, &facts)?;
        let mut random = [0; 20];
        rand::rngs::OsRng.try_fill_bytes(&mut random).map_err(|_| ConnectError::Random)?;
        let connector = ConnectorId::new(hex::encode(random)).map_err(|_| ConnectError::Random)?;
        let (chain, not_after) = shared
            .identity
            .authority()
            .issue_connector(&request.csr, &shared.tenant, &connector, now.0 / 1_000_000)
            .map_err(ConnectError::Request)?;
        let tags: Tags = request.tags.into_iter().take(garrison_model::TAGS_MAX).map(|t| (t.key, t.value)).collect();
        let machine = change
            .machine_connect(&MachineConnect {
                resource_id: resource,
                kind: MachineKind::Hybrid,
                identity: Some(connector.to_string()),
                hardware: correlation(&bound),
                tags,
                system: system(&facts),
                connector_version: String::new(),
                geography: None,
            })
            .await?;
        let seen = change.machine(&machine.id).await?;
        change.commit().await?;
        self.admit(&connector, &machine.id, (machine.resource_id.clone(), seen.tags), bound, facts, &scope.id, now)
            .await?;
        tracing::info!(%connector, machine = %machine.id, new = machine.new, "machine connected");
        Ok(ConnectedMachine { connector, resource: machine.resource_id.to_string(), chain, not_after })
    }

    async fn admit(
        &self,
        connector: &ConnectorId,
        machine: &MachineId,
        place: (ResourceId, Tags),
        binding: v1::Binding,
        facts: MachineFacts,
        token: &str,
        now: Micros,
    ) -> Result<(), ConnectError> {
        for _ in 0..super::TRIES_MAX {
            let (before, revision) = self.standing_load(machine).await?.unwrap_or_default();
            let standing = before.enrolled_anew();
            let entry = Entry {
                machine: machine.clone(),
                place: Some(place.clone()),
                binding: binding.clone(),
                runs: Runs::default(),
                facts: facts.clone(),
                standing,
                revision,
                revoked: None,
                connector_version: String::new(),
                power: None,
                heard: None,
                beats: false,
                changed: false,
                at_rest: None,
                news: std::sync::Arc::default(),
            };
            if self.connector_insert(connector, &entry, token, now).await? {
                let mut entries = self.entries();
                for e in entries.values_mut().filter(|e| e.machine == *machine && e.revoked.is_none()) {
                    e.revoked = Some("the machine was enrolled anew".to_owned());
                    e.news.notify_waiters();
                }
                entries.insert(connector.clone(), Entry { revision: revision + 1, ..entry });
                return Ok(());
            }
        }
        Err(ConnectError::Busy)
    }

    /// A new certificate for a connector that shows its present one.
    pub async fn renew(&self, peer: &ConnectorIdentity, csr: &[u8]) -> Result<ConnectedMachine, ConnectError> {
        self.known(peer).await?;
        let seconds = self.now().0 / 1_000_000;
        let authority = self.shared.identity.authority();
        let issued = authority.issue_connector(csr, &self.shared.tenant, &peer.connector, seconds);
        let (chain, not_after) = issued.map_err(ConnectError::Request)?;
        Ok(ConnectedMachine { connector: peer.connector.clone(), resource: String::new(), chain, not_after })
    }

    /// A token that enrols the sensor of a machine that works on an install; for that order only.
    pub async fn sensor_token(&self, peer: &ConnectorIdentity, generation: u64) -> Result<String, ConnectError> {
        let entry = self.known(peer).await?;
        let order = entry.standing.order.filter(|o| o.generation == generation && o.deed == "install");
        order.ok_or(ConnectError::Unknown("order"))?;
        let name = format!("sensor of {}", entry.machine);
        let made = self.shared.identity.enrolment_token_create(&name, SENSOR_TOKEN_HOURS, 1, self.now()).await?;
        self.sensor_token_note(&made.1.id, &entry.machine).await?;
        Ok(made.0)
    }

    /// A sensor has enrolled with a token: if it was given out for a machine, the device is that machine's.
    pub async fn sensor_enrolled(&self, token: &str, device: &DeviceId) -> Result<(), ConnectError> {
        let Some(machine) = self.sensor_token_machine(token).await? else { return Ok(()) };
        self.device_join(&machine, device).await
    }

    /// Joins device and machine.
    pub(super) async fn device_join(&self, machine: &MachineId, device: &DeviceId) -> Result<(), ConnectError> {
        let mut change = self.shared.plane.change(&self.shared.tenant, "connector", self.now()).await?;
        change.machine_device(machine, Some(device)).await?;
        change.commit().await?;
        Ok(())
    }
}

/// Where a machine goes: what it asks for, within what the token allows; where neither says, into the only subscription.
fn place(
    scope: &tokens::Scope,
    only: Option<Vec<SubscriptionId>>,
    subscription: &str,
    group: &str,
    name: &str,
    facts: &MachineFacts,
) -> Result<ResourceId, ConnectError> {
    let value = |e: &dyn std::fmt::Display| ConnectError::Value(e.to_string());
    let asked = if subscription.is_empty() { &scope.subscription } else { subscription };
    if !scope.subscription.is_empty() && !asked.eq_ignore_ascii_case(&scope.subscription) {
        return Err(ConnectError::Scope(format!("subscription `{}`", scope.subscription)));
    }
    let subscription = if asked.is_empty() {
        // The only one is meant. None is made here: its location would fix the tenant's geography for good.
        let mut few = only.unwrap_or_default();
        match (few.len(), few.pop()) {
            (1, Some(only)) => only,
            (count, _) => {
                let count = if count == 0 { "is no subscription" } else { "are several subscriptions" };
                return Err(ConnectError::Value(format!(
                    "there {count}: name one with --subscription, or make the token for one"
                )));
            }
        }
    } else {
        SubscriptionId::new(asked).map_err(|e| value(&e))?
    };
    let asked = match (group, scope.group.as_str()) {
        ("", "") => GROUP_DEFAULT,
        ("", only) => only,
        (asked, only) if only.is_empty() || asked.eq_ignore_ascii_case(only) => asked,
        (_, only) => return Err(ConnectError::Scope(format!("resource group `{only}`"))),
    };
    let group = GroupName::new(asked).map_err(|e| value(&e))?;
    let machine = if name.is_empty() {
        MachineName::nearest(&facts.host_name)
            .ok_or_else(|| ConnectError::Value("the machine has no host name: give --name".to_owned()))?
    } else {
        MachineName::new(name).map_err(|e| value(&e))?
    };
    Ok(ResourceId { subscription, group, machine })
}
