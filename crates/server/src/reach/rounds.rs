//! Rounds: every source is worked on when its time has come. The cloud's inventory is held against the machines, and
//! where the source says so, the connector is sent to those that have none.
//!
//! A round belongs to who holds the source's lease, which lies in its row: two servers on one database never work on one
//! source at once, and one that dies in the middle is followed after the lease. What is decided is in [`tags_merged`]
//! and [`back_off`]; the rest of the file reads and writes.

use super::cloud::{Cloud, CloudError, Instance};
use super::listing::{AwsEnrol, connect_of, place_of};
use super::sources::{InstanceState, Source, SourceCounts, SourceOutcome, read};
use super::ssh::Outcome;
use super::{Reach, ReachError};
use crate::db::columns;
use crate::plane::{Change, PlaneError};
use futures::StreamExt as _;
use garrison_model::{MachineId, MachineSystem, Micros, PowerState, ResourceId, TAGS_MAX, Tags};
use sqlx::Row as _;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// How often sources are looked for whose time has come.
const TICK: Duration = Duration::from_secs(5);
/// Sources worked on at once: each holds an inventory of up to 20,000 machines in memory.
const AT_ONCE: usize = 4;
/// Microseconds that a source is held without a word: a server that died is followed after this.
const LEASE: i64 = 5 * 60_000_000;
/// How often who holds it says so: it may miss four times.
const RENEW: Duration = Duration::from_mins(1);
/// Machines that one round sends the connector to: with 8 at once and at most 12 minutes for each, a round ends within 36
/// minutes whatever the machines do.
const SENT_A_ROUND: usize = 20;
/// Machines that are sent it at once.
const SENT_AT_ONCE: usize = 8;
/// Microseconds until a machine that was sent the connector in vain is sent it again: doubled each time, up to a day.
const BACK_OFF: i64 = 3_600_000_000;
const BACK_OFF_MAX: i64 = 24 * BACK_OFF;
/// Machines written in one transaction.
const CHUNK: usize = 200;
/// Characters kept of what went wrong.
const MESSAGE_CHARS_MAX: usize = 300;

/// Microseconds to wait after so many tries.
fn back_off(tries: i64) -> i64 {
    let doubled = u32::try_from(tries.clamp(1, 10) - 1).unwrap_or(0);
    BACK_OFF.saturating_mul(1 << doubled).min(BACK_OFF_MAX)
}

/// Tags of a machine after a round: what changed in the cloud since the last one (`before`) changes here; a tag that
/// somebody set, changed or took off here is left as it is. `None` where nothing changes.
fn tags_merged(before: &Tags, cloud: &Tags, own: &Tags) -> Option<Tags> {
    let mut merged = own.clone();
    let named = |tags: &Tags, key: &str| tags.keys().find(|k| k.to_lowercase() == key.to_lowercase()).cloned();
    for (key, value) in before {
        // It went in the cloud, and nobody changed it here.
        if !cloud.contains_key(key) && own.get(key) == Some(value) {
            merged.remove(key);
        }
    }
    for (key, value) in cloud {
        let was = before.get(key);
        if was == Some(value) {
            continue;
        }
        match named(&merged, key) {
            Some(there) if there == *key && was.is_some() && merged.get(key) == was => {
                merged.insert(key.clone(), value.clone());
            }
            Some(_) => {}
            None if was.is_none() && merged.len() < TAGS_MAX => {
                merged.insert(key.clone(), value.clone());
            }
            None => {}
        }
    }
    (merged != *own).then_some(merged)
}

/// A machine of the plane.
struct There {
    power: Option<PowerState>,
    tags: Tags,
    system: MachineSystem,
    /// Whether a connector speaks for it, or ever did.
    heard: bool,
    /// Whether it was off-boarded: it is known by its connector still, which is gone.
    left: bool,
    /// Whether an exclusion keeps the connector from it.
    excluded: bool,
}

/// What is kept of an instance.
#[derive(Clone, PartialEq)]
struct Kept {
    source: String,
    machine: MachineId,
    tags: Tags,
    state: InstanceState,
    tries: i64,
    next_try: i64,
}

/// What became of sending the connector to a machine.
#[derive(PartialEq)]
enum May {
    /// It may be sent, or was sent.
    Send,
    /// It was sent in vain.
    Failed,
    /// It is kept from it.
    Held,
    /// Another source has just sent it.
    Elsewhere,
}

/// Why a round failed: its outcome, and words for people.
type Failed = (SourceOutcome, String);

fn ours(error: &ReachError) -> Failed {
    tracing::error!(error = error as &dyn std::error::Error, "a source could not be worked on and will be tried again");
    let words = match error {
        ReachError::Db(_) | ReachError::Plane(PlaneError::Db(_)) => "the server could not do its part".to_owned(),
        other => other.to_string(),
    };
    (SourceOutcome::ServerFailed, words)
}

fn refused(error: &CloudError) -> Failed {
    let outcome = match error {
        CloudError::Unreachable(_) => SourceOutcome::Unreachable,
        _ => SourceOutcome::CloudRefused,
    };
    (outcome, error.to_string())
}

/// A moment of the future that a clock which was set back has made: later than anything that is ever written.
fn is_past(at: i64, now: Micros, longest: i64) -> bool {
    at <= now.0 || at > now.0.saturating_add(longest)
}

impl Reach {
    /// Works on sources until the server stops.
    pub async fn run_loop(self: Arc<Self>) {
        let mut running = JoinSet::new();
        let stop = self.shared.stop.clone();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(TICK) => {}
            }
            while running.try_join_next().is_some() {}
            while running.len() < AT_ONCE {
                match self.source_claim().await {
                    Ok(Some(source)) => {
                        let reach = Arc::clone(&self);
                        running.spawn(async move { reach.source_work(source).await });
                    }
                    Ok(None) => break,
                    Err(error) => {
                        tracing::error!(error = &error as &dyn std::error::Error, "sources could not be looked at");
                        break;
                    }
                }
            }
        }
        // Each hears `stop` and lets its source go.
        while running.join_next().await.is_some() {}
    }

    /// Works on every source whose time has come, one after the other, to its end; how many there were.
    pub async fn sources_turn(&self) -> Result<usize, ReachError> {
        let mut count = 0;
        while let Some(source) = self.source_claim().await? {
            self.source_work(source).await;
            count += 1;
        }
        Ok(count)
    }

    /// Takes hold of a source whose time has come and that nobody holds.
    async fn source_claim(&self) -> Result<Option<Source>, ReachError> {
        let now = self.now();
        let rows =
            sqlx::query("SELECT * FROM reach_sources WHERE tenant_id = $1 AND disabled = 0 ORDER BY next_run, name")
                .bind(self.tenant())
                .fetch_all(self.shared.db.pool())
                .await?;
        let seal = self.seal();
        for row in &rows {
            let source = read(&seal, row, now)?;
            let (next, lease): (i64, i64) = (row.try_get("next_run")?, row.try_get("lease_until")?);
            if !is_past(next, now, source.every_minutes * 60_000_000) || !is_past(lease, now, LEASE) {
                continue;
            }
            let mut tx = self.shared.db.write().await?;
            // Who has written it since it was read has it.
            let done = sqlx::query(
                "UPDATE reach_sources SET lease_until = $3, lease_holder = $4, next_run = -1 WHERE tenant_id = $1 \
                 AND name = $2 AND disabled = 0 AND lease_until = $5 AND next_run = $6",
            )
            .bind(self.tenant())
            .bind(source.name.clone())
            .bind(now.0 + LEASE)
            .bind(self.holder.clone())
            .bind(lease)
            .bind(next)
            .execute(tx.conn())
            .await?;
            tx.commit().await?;
            if done.rows_affected() == 1 {
                return Ok(Some(source));
            }
        }
        Ok(None)
    }

    /// Says that the source is still held; whether it is.
    async fn source_hold(&self, name: &str, until: i64) -> Result<bool, ReachError> {
        let mut tx = self.shared.db.write().await?;
        let done = sqlx::query(
            "UPDATE reach_sources SET lease_until = $3 WHERE tenant_id = $1 AND name = $2 AND lease_holder = $4",
        )
        .bind(self.tenant())
        .bind(name.to_owned())
        .bind(until)
        .bind(self.holder.clone())
        .execute(tx.conn())
        .await?;
        tx.commit().await?;
        Ok(done.rows_affected() == 1)
    }

    /// One round of a source that is held.
    async fn source_work(&self, source: Source) {
        let stop = self.shared.stop.clone();
        let held = async {
            loop {
                tokio::time::sleep(RENEW).await;
                // One that was removed, or that another server has, is no longer ours; so is one that cannot be written.
                if !matches!(self.source_hold(&source.name, self.now().0 + LEASE).await, Ok(true)) {
                    return;
                }
            }
        };
        let ended = tokio::select! {
            ended = self.source_round(&source) => Some(ended),
            () = held => None,
            () = stop.cancelled() => None,
        };
        let told = match ended {
            Some(ended) => self.source_ended(&source, ended).await,
            None => self.source_hold(&source.name, 0).await.map(drop),
        };
        if let Err(error) = told {
            tracing::error!(error = &error as &dyn std::error::Error, "the end of a source's round was not written");
        }
    }

    async fn source_ended(&self, source: &Source, ended: Result<SourceCounts, Failed>) -> Result<(), ReachError> {
        let now = self.now();
        let (outcome, message, counts) = match ended {
            Ok(counts) => (SourceOutcome::Succeeded, String::new(), Some(counts)),
            Err((outcome, message)) => (outcome, message, None),
        };
        let message: String = message.chars().take(MESSAGE_CHARS_MAX).collect();
        let counts = counts.and_then(|c| serde_json::to_string(&c).ok());
        let mut tx = self.shared.db.write().await?;
        // Whoever asked for another round meanwhile set the next one to 0.
        sqlx::query(
            "UPDATE reach_sources SET lease_until = 0, lease_holder = '', last_run = $3, outcome = $4, message = $5, \
             counts = COALESCE($6, counts), failures = CASE WHEN $7 = 1 THEN 0 ELSE failures + 1 END, \
             next_run = CASE WHEN next_run = 0 THEN 0 ELSE $3 + every_minutes * 60000000 END \
             WHERE tenant_id = $1 AND name = $2 AND lease_holder = $8",
        )
        .bind(self.tenant())
        .bind(source.name.clone())
        .bind(now.0)
        .bind(outcome.as_str())
        .bind(self.seal().put(columns::SOURCE_MESSAGE, &message)?)
        .bind(counts)
        .bind(i64::from(outcome == SourceOutcome::Succeeded))
        .bind(self.holder.clone())
        .execute(tx.conn())
        .await?;
        tx.commit().await?;
        Ok(())
    }

    async fn source_round(&self, source: &Source) -> Result<SourceCounts, Failed> {
        let secret = self.secret_open(&source.key, source.cloud.secret()).await.map_err(|error| match error {
            ReachError::Unknown(_) => {
                (SourceOutcome::SecretMissing, format!("there is no secret `{}` in the vault", source.key))
            }
            ReachError::Sealed(_) => (SourceOutcome::SecretMissing, error.to_string()),
            other => ours(&other),
        })?;
        let (tenant, plane) = (&self.shared.tenant, &self.shared.plane);
        plane.subscription(tenant, &source.subscription, self.now()).await.map_err(|error| match error {
            PlaneError::Unknown(_) => (SourceOutcome::SubscriptionMissing, error.to_string()),
            other => ours(&other.into()),
        })?;
        let cloud = source.cloud.open(&secret, &source.region, source.endpoint.as_deref());
        let cloud = cloud.map_err(|words| (SourceOutcome::CloudRefused, words))?;
        let instances = cloud.list().await.map_err(|error| refused(&error))?;
        self.source_take(source, cloud.as_ref(), &instances).await.map_err(|error| ours(&error))
    }

    /// Holds an inventory against the machines.
    async fn source_take(
        &self,
        source: &Source,
        cloud: &dyn Cloud,
        instances: &[Instance],
    ) -> Result<SourceCounts, ReachError> {
        let mut counts = SourceCounts { listed: instances.len() as u64, ..SourceCounts::default() };
        let mut kept = self.instances_kept(source).await?;
        let ids: HashSet<MachineId> = kept.values().map(|k| k.machine.clone()).collect();
        let (looks, all_looks) = (self.connect.looks(), self.connect.connector_looks());
        let mut taken: HashSet<ResourceId> = HashSet::new();
        let mut by_instance: HashMap<String, MachineId> = HashMap::new();
        let mut there: HashMap<MachineId, There> = HashMap::new();
        let take = |m: garrison_model::Machine| {
            taken.insert(m.resource_id);
            let same = m.system.cloud == source.cloud.as_str() && !m.system.instance.is_empty();
            if same {
                by_instance.insert(m.system.instance.clone(), m.id.clone());
            }
            if same || ids.contains(&m.id) {
                let heard = m.last_heartbeat.is_some() || looks.contains_key(&m.id);
                let left = all_looks.get(&m.id).is_some_and(|l| l.offboarded.is_some());
                let excluded = m.excluded_by.is_some();
                let is = There { power: m.power_state, tags: m.tags, system: m.system, heard, left, excluded };
                there.insert(m.id, is);
            }
        };
        self.shared.plane.machines_walk(&self.shared.tenant, self.now(), take).await?;
        let who = format!("source {}", source.name);
        let mut fits: Vec<(&Instance, Kept)> = Vec::new();
        for chunk in instances.chunks(CHUNK) {
            let mut change = self.shared.plane.change(&self.shared.tenant, &who, self.now()).await?;
            for instance in chunk {
                let before = kept.remove(&instance.id);
                let known = before.as_ref().map(|k| &k.machine).filter(|id| there.contains_key(*id));
                let known = by_instance.get(&instance.id).or(known).cloned();
                let mut after = Kept {
                    source: source.name.clone(),
                    machine: MachineId::from_bits(0),
                    tags: instance.tags.clone(),
                    state: InstanceState::Listed,
                    tries: before.as_ref().map_or(0, |k| k.tries),
                    next_try: before.as_ref().map_or(0, |k| k.next_try),
                };
                match (&known, &before) {
                    (Some(id), _) => {
                        let Some(machine) = there.get(id) else { continue };
                        after.machine = id.clone();
                        counts.changed +=
                            u64::from(brought(&mut change, id, machine, instance, before.as_ref()).await?);
                        let running = instance.power == PowerState::Running;
                        if machine.left || machine.excluded && !machine.heard {
                            counts.held += u64::from(running);
                        } else if machine.heard {
                            (after.state, after.tries, after.next_try) = (InstanceState::Connected, 0, 0);
                            counts.connected += 1;
                        } else {
                            let tried = before.as_ref().map(|k| k.state);
                            let tried = tried.filter(|s| matches!(s, InstanceState::Sent | InstanceState::Failed));
                            after.state = tried.unwrap_or(InstanceState::Listed);
                            if running {
                                fits.push((instance, after.clone()));
                            }
                        }
                    }
                    // It was a machine here, and somebody deleted that.
                    (None, Some(before)) => {
                        (after.machine, after.state) = (before.machine.clone(), InstanceState::Forgotten);
                        counts.forgotten += 1;
                    }
                    (None, None) => {
                        let place =
                            place_of(instance, &source.subscription, &source.resource_group, |r| taken.contains(r))?;
                        taken.insert(place.clone());
                        after.machine = change.machine_connect(&connect_of(instance, place)).await?.id;
                        change.machine_power(&after.machine, instance.power).await?;
                        counts.added += 1;
                        if instance.power == PowerState::Running {
                            fits.push((instance, after.clone()));
                        }
                    }
                }
                if before.as_ref() != Some(&after) {
                    self.instance_keep(&mut change, source, &instance.id, &after).await?;
                }
            }
            change.commit().await?;
        }
        // What is left is not listed any more. Another source of the same cloud answers for its own.
        let missing: Vec<(String, Kept)> = kept.into_iter().filter(|(_, k)| k.source == source.name).collect();
        for chunk in missing.chunks(CHUNK) {
            let mut change = self.shared.plane.change(&self.shared.tenant, &who, self.now()).await?;
            for (instance, before) in chunk {
                if !there.contains_key(&before.machine) {
                    self.instance_forget(&mut change, source, instance).await?;
                } else if before.state != InstanceState::Gone {
                    change.machine_gone(&before.machine).await?;
                    let after = Kept { state: InstanceState::Gone, ..before.clone() };
                    self.instance_keep(&mut change, source, instance, &after).await?;
                    counts.gone += 1;
                }
            }
            change.commit().await?;
        }
        if source.install {
            self.connectors_send(source, cloud, fits, &mut counts).await?;
        }
        Ok(counts)
    }

    /// Sends the connector to machines that run and have none.
    async fn connectors_send(
        &self,
        source: &Source,
        cloud: &dyn Cloud,
        fits: Vec<(&Instance, Kept)>,
        counts: &mut SourceCounts,
    ) -> Result<(), ReachError> {
        // Programs are read and hashed only where there is somebody to send one to.
        let Some(enrol) = source.enrol.as_ref().filter(|_| !fits.is_empty()) else { return Ok(()) };
        let sums = self.program_sums().await;
        let now = self.now();
        let mut due = Vec::new();
        for (instance, kept) in fits {
            let system = &instance.system;
            if system.os_type != "Linux" || !sums.iter().any(|(a, _)| *a == system.architecture) {
                counts.unsupported += 1;
            } else if !is_past(kept.next_try, now, BACK_OFF_MAX) {
                counts.waiting += 1;
            } else {
                due.push((instance, kept));
            }
        }
        // Those that were never tried go first, so that a few that always fail do not keep others waiting.
        due.sort_by(|(a, x), (b, y)| (x.tries, x.next_try, &a.id).cmp(&(y.tries, y.next_try, &b.id)));
        counts.waiting += due.len().saturating_sub(SENT_A_ROUND) as u64;
        due.truncate(SENT_A_ROUND);
        let send: Vec<_> = due
            .into_iter()
            .map(|(instance, kept)| self.connector_send(source, cloud, instance, kept, enrol, &sums))
            .collect();
        let results: Vec<Result<May, ReachError>> =
            futures::stream::iter(send).buffer_unordered(SENT_AT_ONCE).collect().await;
        for result in results {
            match result? {
                May::Send => counts.sent += 1,
                May::Failed => counts.failed += 1,
                May::Held => counts.held += 1,
                May::Elsewhere => counts.waiting += 1,
            }
        }
        Ok(())
    }

    async fn connector_send(
        &self,
        source: &Source,
        cloud: &dyn Cloud,
        instance: &Instance,
        kept: Kept,
        enrol: &AwsEnrol,
        sums: &[(&str, String)],
    ) -> Result<May, ReachError> {
        // Written before it is sent: a server that dies now does not send it again at once.
        let may = self.instance_try(source, instance, &kept).await?;
        if may != May::Send {
            return Ok(may);
        }
        let sent = self.enrol_by(cloud, instance, &kept.machine, enrol, sums).await;
        let may = if sent.is_ok() { May::Send } else { May::Failed };
        self.instance_tried(source, instance, sent.err()).await?;
        Ok(may)
    }

    async fn instances_kept(&self, source: &Source) -> Result<HashMap<String, Kept>, ReachError> {
        let rows = sqlx::query("SELECT * FROM reach_instances WHERE tenant_id = $1 AND cloud = $2")
            .bind(self.tenant())
            .bind(source.cloud.as_str())
            .fetch_all(self.shared.db.pool())
            .await?;
        let seal = self.seal();
        let mut kept = HashMap::with_capacity(rows.len());
        for row in &rows {
            let state = InstanceState::read(&row.try_get::<String, _>("state")?);
            let machine = MachineId::new(&row.try_get::<String, _>("machine_id")?);
            let one = Kept {
                source: row.try_get("source")?,
                machine: machine.map_err(|_| ReachError::Unknown("machine"))?,
                tags: serde_json::from_str(&seal.get(row, columns::INSTANCE_TAGS)?).unwrap_or_default(),
                state: state.ok_or(ReachError::Unknown("state of an instance"))?,
                tries: row.try_get("tries")?,
                next_try: row.try_get("next_try")?,
            };
            kept.insert(row.try_get("instance")?, one);
        }
        Ok(kept)
    }

    async fn instance_keep(
        &self,
        change: &mut Change<'_>,
        source: &Source,
        instance: &str,
        kept: &Kept,
    ) -> Result<(), ReachError> {
        let tags = serde_json::to_string(&kept.tags).map_err(|e| ReachError::Value(e.to_string()))?;
        sqlx::query(
            "INSERT INTO reach_instances (tenant_id, cloud, instance, source, machine_id, tags, state, tries, last_try, \
             next_try, code, message) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, $9, '', '') \
             ON CONFLICT (tenant_id, cloud, instance) DO UPDATE SET source = excluded.source, \
             machine_id = excluded.machine_id, tags = excluded.tags, state = excluded.state, tries = excluded.tries, \
             next_try = excluded.next_try, \
             code = CASE WHEN excluded.state IN ('Sent', 'Failed') THEN reach_instances.code ELSE '' END, \
             message = CASE WHEN excluded.state IN ('Sent', 'Failed') THEN reach_instances.message ELSE '' END",
        )
        .bind(self.tenant())
        .bind(source.cloud.as_str())
        .bind(instance.to_owned())
        .bind(kept.source.clone())
        .bind(kept.machine.as_str().to_owned())
        .bind(self.seal().put(columns::INSTANCE_TAGS, &tags)?)
        .bind(kept.state.as_str())
        .bind(kept.tries)
        .bind(kept.next_try)
        .execute(change.conn())
        .await?;
        Ok(())
    }

    async fn instance_forget(
        &self,
        change: &mut Change<'_>,
        source: &Source,
        instance: &str,
    ) -> Result<(), ReachError> {
        sqlx::query("DELETE FROM reach_instances WHERE tenant_id = $1 AND cloud = $2 AND instance = $3")
            .bind(self.tenant())
            .bind(source.cloud.as_str())
            .bind(instance.to_owned())
            .execute(change.conn())
            .await?;
        Ok(())
    }

    /// Notes that a machine is sent the connector now, unless it is excluded or gone as of now, or another source has just
    /// sent it.
    async fn instance_try(&self, source: &Source, instance: &Instance, kept: &Kept) -> Result<May, ReachError> {
        let now = self.now();
        let machine = self.shared.plane.machine(&self.shared.tenant, &kept.machine, now).await;
        match machine {
            Ok(machine) if machine.excluded_by.is_none() => {}
            Ok(_) | Err(PlaneError::Unknown(_)) => return Ok(May::Held),
            Err(error) => return Err(error.into()),
        }
        let mut tx = self.shared.db.write().await?;
        let done = sqlx::query(
            "UPDATE reach_instances SET tries = tries + 1, last_try = $4, next_try = $5, state = 'Sent', code = '', \
             message = '' WHERE tenant_id = $1 AND cloud = $2 AND instance = $3 AND next_try = $6",
        )
        .bind(self.tenant())
        .bind(source.cloud.as_str())
        .bind(instance.id.clone())
        .bind(now.0)
        .bind(now.0 + back_off(kept.tries + 1))
        .bind(kept.next_try)
        .execute(tx.conn())
        .await?;
        tx.commit().await?;
        Ok(if done.rows_affected() == 1 { May::Send } else { May::Elsewhere })
    }

    async fn instance_tried(
        &self,
        source: &Source,
        instance: &Instance,
        failed: Option<(Outcome, String)>,
    ) -> Result<(), ReachError> {
        let Some((outcome, detail)) = failed else { return Ok(()) };
        let words = outcome.words().0;
        let message = if detail.is_empty() { words.to_owned() } else { format!("{words}: {detail}") };
        let message: String = message.chars().take(MESSAGE_CHARS_MAX).collect();
        let mut tx = self.shared.db.write().await?;
        sqlx::query(
            "UPDATE reach_instances SET state = 'Failed', code = $4, message = $5 \
             WHERE tenant_id = $1 AND cloud = $2 AND instance = $3",
        )
        .bind(self.tenant())
        .bind(source.cloud.as_str())
        .bind(instance.id.clone())
        .bind(format!("{outcome:?}"))
        .bind(self.seal().put(columns::INSTANCE_MESSAGE, &message)?)
        .execute(tx.conn())
        .await?;
        tx.commit().await?;
        Ok(())
    }
}

/// Writes of a known machine what its cloud says of it; whether anything was new.
async fn brought(
    change: &mut Change<'_>,
    id: &MachineId,
    machine: &There,
    instance: &Instance,
    before: Option<&Kept>,
) -> Result<bool, ReachError> {
    let mut is_new = false;
    if machine.power != Some(instance.power) {
        change.machine_power(id, instance.power).await?;
        is_new = true;
    }
    let none = Tags::new();
    if let Some(tags) = tags_merged(before.map_or(&none, |k| &k.tags), &instance.tags, &machine.tags) {
        change.machine_tags(id, &tags).await?;
        is_new = true;
    }
    // What a machine says of itself is better than what its cloud says of it.
    if !machine.heard && machine.system != instance.system {
        change.machine_system(id, &instance.system).await?;
        is_new = true;
    }
    Ok(is_new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(text: &str) -> Tags {
        text.split_whitespace().filter_map(|t| t.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
    }

    #[test]
    fn tags_follow_the_cloud_and_what_people_set_here_stays() {
        for (before, cloud, own, after) in [
            ("", "env=prod", "", Some("env=prod")),
            ("", "env=prod", "env=mine", None),
            ("", "Env=prod", "env=mine", None),
            ("env=prod", "env=test", "env=prod x=1", Some("env=test x=1")),
            ("env=prod", "env=test", "env=mine", None),
            // Taken off here: it does not come back, whatever it becomes in the cloud.
            ("env=prod", "env=prod", "", None),
            ("env=prod", "env=test", "", None),
            ("env=prod", "", "env=prod x=1", Some("x=1")),
            ("env=prod", "", "env=mine", None),
            ("env=prod", "ENV=prod", "env=prod", Some("ENV=prod")),
            ("a=1", "a=1 b=2", "a=1", Some("a=1 b=2")),
        ] {
            let merged = tags_merged(&tags(before), &tags(cloud), &tags(own));
            assert_eq!(merged, after.map(tags), "{before} | {cloud} | {own}");
        }
        let full: Tags = (0..TAGS_MAX).map(|i| (i.to_string(), String::new())).collect();
        assert_eq!(tags_merged(&Tags::new(), &tags("one=more"), &full), None);
    }

    #[test]
    fn waiting_doubles_from_an_hour_to_a_day() {
        let hours: Vec<i64> = (0..9).map(|tries| back_off(tries) / BACK_OFF).collect();
        assert_eq!(hours, [1, 1, 2, 4, 8, 16, 24, 24, 24]);
        assert_eq!(back_off(i64::MAX), BACK_OFF_MAX);
    }

    #[test]
    fn a_time_that_no_clock_of_today_wrote_has_come() {
        let now = Micros(1_000);
        assert!(is_past(0, now, 10) && is_past(1_000, now, 10) && !is_past(1_010, now, 10) && is_past(1_011, now, 10));
    }
}
