//! A cloud's inventory among the machines: each becomes a machine of kind `Cloud` with its power state, and where that
//! is asked for, a command in the cloud's own way brings the connector onto it.

use super::cloud::{Cloud, CloudError, Instance};
use super::ssh::{Failed, Outcome, place_script, quoted, start_script};
use super::vault::SecretKind;
use super::work::{Run, TOKEN_HOURS, gateway_check, programs};
use super::{Reach, ReachError, aws::Aws};
use crate::connect::ConnectorTokenNew;
use crate::plane::{MachineConnect, PlaneError};
use garrison_model::{GroupName, MachineId, MachineKind, MachineName, Micros, PowerState, ResourceId, SubscriptionId};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// How often a command is asked how it stands, and for how long.
const COMMAND_LOOK: Duration = Duration::from_secs(3);
const COMMAND_MAX: Duration = Duration::from_mins(12);
/// Machines that are brought the connector at once.
const PARALLEL: usize = 8;
/// Machines written in one transaction.
const CHUNK: usize = 200;
/// Resource group of machines where none is named.
const GROUP_DEFAULT: &str = "aws";

/// What to take in from AWS.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AwsOrder {
    /// Region, such as `eu-central-1`.
    pub region: String,
    /// Another address than AWS's own, `http(s)://HOST[:PORT]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Name of a secret of kind `Aws`.
    pub key: String,
    /// Where machines go that are not known yet.
    #[schema(value_type = String)]
    pub subscription: Option<SubscriptionId>,
    /// Resource group; `aws` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub resource_group: Option<GroupName>,
    /// Brings the connector onto running Linux machines, by SSM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrol: Option<AwsEnrol>,
}

/// How the connector gets onto machines.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AwsEnrol {
    /// Address of the gateway as the machines reach it, `HOST:PORT`.
    pub gateway: String,
    /// Where the machines fetch the connector's program; `{architecture}` stands for `x64` or `arm64`. It must be the
    /// one that this server has: its SHA-256 is checked before it is run.
    pub program: String,
}

impl AwsOrder {
    fn check(&self) -> Result<SubscriptionId, ReachError> {
        if let Some(enrol) = &self.enrol {
            enrol_check(enrol)?;
        }
        let missing = || ReachError::Value("name the subscription that machines go to".to_owned());
        self.subscription.clone().ok_or_else(missing)
    }
}

/// What is wrong with the way of the connector onto machines, if anything.
pub(super) fn enrol_check(enrol: &AwsEnrol) -> Result<(), ReachError> {
    gateway_check(&enrol.gateway)?;
    let url = reqwest::Url::parse(&enrol.program).ok().filter(|u| matches!(u.scheme(), "https" | "http"));
    if url.is_none() || enrol.program.len() > 1_000 || enrol.program.chars().any(char::is_whitespace) {
        return Err(ReachError::Value("the connector's program is named by an address, http(s)://…".to_owned()));
    }
    Ok(())
}

/// A machine of the plane that an instance is.
struct Known {
    machine: MachineId,
    /// Whether a connector speaks for it.
    speaks: bool,
}

impl Reach {
    /// Begins to take in a region; the run's id.
    pub async fn aws_start(self: &Arc<Self>, order: AwsOrder, who: &str, now: Micros) -> Result<String, ReachError> {
        let subscription = order.check()?;
        self.shared.plane.subscription(&self.shared.tenant, &subscription, now).await?;
        let secret = self.secret_open(&order.key, SecretKind::Aws).await?;
        let cloud = Aws::new(&secret, &order.region, order.endpoint.as_deref()).map_err(ReachError::Value)?;
        let run = self.run_begin("aws", Vec::new(), who, now)?;
        let id = run.view().id.clone();
        let (reach, who) = (Arc::clone(self), who.to_owned());
        tokio::spawn(async move {
            let stop = reach.shared.stop.clone();
            let group = order.resource_group.clone();
            tokio::select! {
                () = reach.take_in(&run, &cloud, &subscription, group, order.enrol.as_ref(), &who) => {}
                () = stop.cancelled() => {}
            }
            run.view().done = true;
        });
        Ok(id)
    }

    async fn take_in(
        &self,
        run: &Run,
        cloud: &dyn Cloud,
        subscription: &SubscriptionId,
        group: Option<GroupName>,
        enrol: Option<&AwsEnrol>,
        who: &str,
    ) {
        let instances = match cloud.list().await {
            Ok(instances) => instances,
            Err(error) => {
                let outcome = match &error {
                    CloudError::Unreachable(_) => Outcome::Unreachable,
                    _ => Outcome::CloudRefused,
                };
                run.hosts_put([cloud.name()].map(str::to_owned).into());
                run.end(0, Err((outcome, error.to_string())));
                return;
            }
        };
        run.hosts_put(instances.iter().map(|i| i.id.clone()).collect());
        let known = match self.list_write(cloud.name(), &instances, subscription, group, who).await {
            Ok(known) => known,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "an inventory could not be written");
                let words =
                    if let ReachError::Plane(PlaneError::Db(_)) = &error { String::new() } else { error.to_string() };
                for number in 0..instances.len() {
                    run.end(number, Err((Outcome::ServerFailed, words.clone())));
                }
                return;
            }
        };
        let sums = if enrol.is_some() { self.program_sums().await } else { Vec::new() };
        use futures::StreamExt as _;
        let sums = &sums;
        futures::stream::iter(instances.iter().zip(&known).enumerate())
            .for_each_concurrent(PARALLEL, |(number, (instance, known))| async move {
                let fits = instance.power == PowerState::Running && instance.system.os_type == "Linux";
                let Some(enrol) = enrol.filter(|_| fits && !known.speaks) else {
                    run.list(number, &format!("{} as {}", instance.power, known.machine));
                    return;
                };
                run.step(number, "running the command");
                let result = self.enrol_by(cloud, instance, &known.machine, enrol, sums).await;
                run.end(number, result);
            })
            .await;
    }

    /// Writes an inventory; what each instance is among the machines.
    async fn list_write(
        &self,
        cloud: &str,
        instances: &[Instance],
        subscription: &SubscriptionId,
        group: Option<GroupName>,
        who: &str,
    ) -> Result<Vec<Known>, ReachError> {
        let now = crate::now();
        let (tenant, plane) = (&self.shared.tenant, &self.shared.plane);
        let mut there: HashMap<String, Known> = HashMap::new();
        let mut taken: HashMap<ResourceId, String> = HashMap::new();
        let looks = self.connect.looks();
        plane
            .machines_walk(tenant, now, |m| {
                let same = m.system.cloud == cloud;
                taken.insert(m.resource_id, if same { m.system.instance.clone() } else { String::new() });
                if same && !m.system.instance.is_empty() {
                    let speaks = looks.contains_key(&m.id);
                    there.insert(m.system.instance, Known { machine: m.id, speaks });
                }
            })
            .await?;
        let group = match group {
            Some(group) => group,
            None => GroupName::new(GROUP_DEFAULT).map_err(|e| ReachError::Value(e.to_string()))?,
        };
        let mut known = Vec::with_capacity(instances.len());
        for chunk in instances.chunks(CHUNK) {
            let mut change = plane.change(tenant, who, now).await?;
            for instance in chunk {
                let found = match there.remove(&instance.id) {
                    Some(found) => found,
                    None => {
                        let resource = place_of(instance, subscription, &group, |r| taken.contains_key(r))?;
                        taken.insert(resource.clone(), instance.id.clone());
                        Known {
                            machine: change.machine_connect(&connect_of(instance, resource)).await?.id,
                            speaks: false,
                        }
                    }
                };
                change.machine_power(&found.machine, instance.power).await?;
                known.push(found);
            }
            change.commit().await?;
        }
        Ok(known)
    }

    /// The connector's programs that this server has: architecture and SHA-256.
    pub(super) async fn program_sums(&self) -> Vec<(&'static str, String)> {
        let data = self.shared.data.clone();
        let sums = move || -> Vec<(&'static str, String)> {
            programs(&data).iter().map(|(a, bytes)| (*a, hex::encode(Sha256::digest(bytes.as_slice())))).collect()
        };
        tokio::task::spawn_blocking(sums).await.unwrap_or_default()
    }

    pub(super) async fn enrol_by(
        &self,
        cloud: &dyn Cloud,
        instance: &Instance,
        machine: &MachineId,
        enrol: &AwsEnrol,
        sums: &[(&str, String)],
    ) -> Result<(), Failed> {
        let failed = |error: ReachError| {
            tracing::error!(error = &error as &dyn std::error::Error, "a machine could not be brought the connector");
            (Outcome::ServerFailed, String::new())
        };
        let refused = |error: CloudError| (Outcome::CloudRefused, error.to_string());
        let architecture = instance.system.architecture.as_str();
        let sum = sums.iter().find(|(a, _)| *a == architecture).map(|(_, sum)| sum.as_str());
        let sum = sum.ok_or_else(|| (Outcome::ProgramMissing, architecture.to_owned()))?;
        let machine = self.shared.plane.machine(&self.shared.tenant, machine, crate::now()).await;
        let place = machine.map_err(|e| failed(e.into()))?.resource_id;
        let new = ConnectorTokenNew {
            name: format!("{} {}", cloud.name(), instance.id),
            expires_hours: TOKEN_HOURS,
            uses: 1,
            subscription: Some(place.subscription.clone()),
            resource_group: Some(place.group.clone()),
        };
        let made = self.connect.token_create(&new, crate::now()).await;
        let (token, record) = made.map_err(|e| failed(e.into()))?;
        let script = script(enrol, &token, sum, architecture, &place);
        let result = async {
            let commands = cloud.run(std::slice::from_ref(&instance.id), &script).await.map_err(refused)?;
            let command = commands.get(&instance.id).ok_or((Outcome::CloudRefused, "no command".to_owned()))?;
            let until = tokio::time::Instant::now() + COMMAND_MAX;
            loop {
                match cloud.ended(&instance.id, command).await.map_err(refused)? {
                    Some(ended) if ended.ok => return Ok(()),
                    Some(ended) => return Err((Outcome::EnrolRefused, format!("{} {}", ended.status, ended.said))),
                    None if tokio::time::Instant::now() > until => return Err((Outcome::TimedOut, String::new())),
                    None => tokio::time::sleep(COMMAND_LOOK).await,
                }
            }
        };
        let result = result.await;
        if result.is_err() {
            let _ = self.connect.token_revoke(&record.id).await;
        }
        result
    }
}

/// Where a new machine goes: a name that another machine has gives way to the instance's id.
pub(super) fn place_of(
    instance: &Instance,
    subscription: &SubscriptionId,
    group: &GroupName,
    is_taken: impl Fn(&ResourceId) -> bool,
) -> Result<ResourceId, ReachError> {
    let place =
        |name: MachineName| ResourceId { subscription: subscription.clone(), group: group.clone(), machine: name };
    let wanted = MachineName::nearest(&instance.name).map(place);
    let id = MachineName::nearest(&instance.id).map(place);
    wanted.filter(|r| !is_taken(r)).or(id).ok_or(ReachError::Unknown("name for an instance"))
}

/// A new machine.
pub(super) fn connect_of(instance: &Instance, resource_id: ResourceId) -> MachineConnect {
    MachineConnect {
        resource_id,
        kind: MachineKind::Cloud,
        identity: None,
        hardware: String::new(),
        tags: instance.tags.clone(),
        system: instance.system.clone(),
        connector_version: String::new(),
        geography: None,
    }
}

/// Fetches, checks, enrols and starts the connector. The token stands in the cloud's record of the command: it lets one
/// machine in, into one group, within an hour.
fn script(enrol: &AwsEnrol, token: &str, sum: &str, architecture: &str, place: &ResourceId) -> String {
    let directory = super::work::DIRECTORY;
    let url = enrol.program.replace("{architecture}", architecture);
    format!(
        "set -e\numask 077\nd=$(mktemp -d)\ncurl -fsSL --max-time 300 -o \"$d/garrison-connect\" {}\n\
         echo '{sum}  '\"$d/garrison-connect\" | sha256sum -c -\nmkdir -p {directory}\nchmod 755 \"$d/garrison-connect\"\n\
         {}\nrmdir \"$d\"\n\
         echo {} | {directory}/garrison-connect enrol --placed --server {} --token - --subscription {} --resource-group {} \
         --name {}\nsh -c {}\n",
        quoted(&url),
        place_script("\"$d/garrison-connect\"", &format!("{directory}/garrison-connect")),
        quoted(token),
        quoted(&enrol.gateway),
        quoted(place.subscription.as_str()),
        quoted(place.group.as_str()),
        quoted(place.machine.as_str()),
        quoted(&start_script(directory)),
    )
}
