//! Sources: an order for a cloud that stands. What is kept of each, and how people change it; [`super::rounds`] works on
//! them.

use super::cloud::CloudKind;
use super::listing::{AwsEnrol, enrol_check};
use super::vault::name_check;
use super::{Reach, ReachError};
use crate::db::{Sealer, columns};
use crate::shared::rfc3339;
use garrison_model::{GroupName, MachineId, Micros, SubscriptionId};
use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use sqlx::any::AnyRow;

/// Sources of a tenant: each lists up to 20,000 machines every few minutes.
const SOURCES_MAX: usize = 50;
/// Minutes between two rounds: below five, the calls of a large account meet its cloud's own limits; above a day, a power
/// state is no news.
const EVERY_MINUTES: std::ops::RangeInclusive<i64> = 5..=1_440;
const EVERY_MINUTES_DEFAULT: i64 = 15;
/// Instances that are shown with a source: those that need somebody; all of them are machines.
const SHOWN_MAX: i64 = 500;
/// Failures in a row from which a source counts as failing: one or two are a cloud's bad minute.
pub const FAILING: i64 = 3;

/// What is said of an instance whose command ended well, and nothing came of it yet.
const SENT: (&str, &str) = (
    "it was sent the connector, which is not heard of yet",
    "see that the machine reaches the gateway; it is sent again at the time named",
);

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$line:meta])* $word:ident),+ $(,)? }) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
        $(#[$doc])*
        pub enum $name { $($(#[$line])* $word),+ }

        impl $name {
            /// Its word.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$word => stringify!($word)),+ }
            }

            pub(super) fn read(text: &str) -> Option<Self> {
                [$(Self::$word),+].into_iter().find(|w| w.as_str() == text)
            }
        }
    };
}

words!(
    /// How a round of a source ended.
    SourceOutcome {
        /// The inventory was taken in.
        Succeeded,
        /// The cloud does not answer.
        Unreachable,
        /// The cloud refuses, or answers what cannot be read.
        CloudRefused,
        /// The secret is not in the vault, or cannot be opened.
        SecretMissing,
        /// The subscription that machines go to is gone.
        SubscriptionMissing,
        /// The server could not do its part.
        ServerFailed,
    }
);

impl SourceOutcome {
    /// What to do about it; empty where nothing is.
    pub fn fix(self) -> &'static str {
        match self {
            Self::Succeeded => "",
            Self::Unreachable => "see that this server reaches the cloud's addresses; it is tried again by itself",
            Self::CloudRefused => "see that the key holds and may do what docs/guides/connecting.md lists",
            Self::SecretMissing => {
                "put it in again under its name: `garrison connect key add NAME --kind KIND --file F`"
            }
            Self::SubscriptionMissing => "remove the source, and add it with a subscription that is there",
            Self::ServerFailed => "look at the server's log",
        }
    }
}

words!(
    /// Where an instance of a source stands.
    InstanceState {
        /// It is a machine, and nothing was done to it.
        Listed,
        /// A connector speaks for it.
        Connected,
        /// It was sent the connector, which was not heard of yet.
        Sent,
        /// The connector could not be brought onto it.
        Failed,
        /// The cloud does not list it any more.
        Gone,
        /// Its machine was deleted here: it does not come back by itself.
        Forgotten,
    }
);

/// A source to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SourceNew {
    /// Name, 1 to 64 letters, digits and `-_.`.
    pub name: String,
    /// Cloud.
    pub cloud: CloudKind,
    /// Region, such as `eu-central-1`.
    pub region: String,
    /// Another address than the cloud's own, `http(s)://HOST[:PORT]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Name of a secret of the cloud's kind.
    pub key: String,
    /// Where machines go that are not known yet.
    #[schema(value_type = String)]
    pub subscription: SubscriptionId,
    /// Resource group; the cloud's name unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub resource_group: Option<GroupName>,
    /// How the connector gets onto machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrol: Option<AwsEnrol>,
    /// Whether it is brought onto them; true where `enrol` is given, unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub install: Option<bool>,
    /// Minutes between two rounds, 5 to 1,440; 15 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every_minutes: Option<i64>,
    /// Whether it rests.
    #[serde(default)]
    pub disabled: bool,
}

/// What changes of a source; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SourceChange {
    /// Whether it rests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    /// Whether the connector is brought onto machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub install: Option<bool>,
    /// Minutes between two rounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every_minutes: Option<i64>,
}

/// What a round came to, in machines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SourceCounts {
    /// That the cloud lists.
    pub listed: u64,
    /// That were not known before.
    pub added: u64,
    /// Whose power state, tags or system changed.
    pub changed: u64,
    /// That the cloud does not list any more since this round.
    pub gone: u64,
    /// That were deleted here and stay away.
    pub forgotten: u64,
    /// That a connector speaks for.
    pub connected: u64,
    /// That were sent the connector in this round, and it ended well.
    pub sent: u64,
    /// That were sent it in this round, and it failed.
    pub failed: u64,
    /// Running ones that the connector is kept from: excluded or off-boarded.
    pub held: u64,
    /// Running ones that no connector of this server fits.
    pub unsupported: u64,
    /// Running ones that wait for a later round: tried lately, or more than one round takes.
    pub waiting: u64,
}

/// A source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ReachSource)]
pub struct Source {
    /// Name.
    pub name: String,
    /// Cloud.
    pub cloud: CloudKind,
    /// Region.
    pub region: String,
    /// Another address than the cloud's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Name of the secret.
    pub key: String,
    /// Where machines go that are not known yet.
    pub subscription: SubscriptionId,
    /// Resource group.
    pub resource_group: GroupName,
    /// How the connector gets onto machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrol: Option<AwsEnrol>,
    /// Whether it is brought onto them.
    pub install: bool,
    /// Minutes between two rounds.
    pub every_minutes: i64,
    /// Whether it rests.
    pub disabled: bool,
    /// Who made it.
    pub created_by: String,
    /// When, RFC 3339.
    pub created_time: String,
    /// Whether it is worked on now.
    pub running: bool,
    /// When it is worked on next, RFC 3339; absent where it rests, and where that is at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_run_time: Option<String>,
    /// When its newest round ended, RFC 3339; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run_time: Option<String>,
    /// How.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<SourceOutcome>,
    /// The same in words.
    pub message: String,
    /// What to do.
    pub fix: String,
    /// What the newest round that read the inventory came to.
    pub counts: SourceCounts,
    /// Rounds that failed in a row.
    pub failures: i64,
    /// Whether that is often enough to look at it.
    pub failing: bool,
}

/// An instance of a source that needs somebody, or that is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ReachInstance)]
pub struct InstanceView {
    /// Id in its cloud.
    pub instance: String,
    /// Its machine; one that was deleted has none any more.
    pub machine_id: MachineId,
    /// Where it stands.
    pub state: InstanceState,
    /// How often it was sent the connector since it was last heard of.
    pub tries: i64,
    /// When last, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_try_time: Option<String>,
    /// When it may be sent again, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_try_time: Option<String>,
    /// What became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<super::Outcome>,
    /// The same in words.
    pub message: String,
    /// What to do.
    pub fix: String,
}

/// A source with the instances that need somebody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ReachSourceDetail)]
pub struct SourceDetail {
    /// The source.
    pub source: Source,
    /// Instances that were sent the connector and are not heard of, gone or forgotten; at most 500.
    pub instances: Vec<InstanceView>,
}

fn every_check(minutes: i64) -> Result<(), ReachError> {
    if EVERY_MINUTES.contains(&minutes) {
        return Ok(());
    }
    let words = format!("a source is worked on every {} to {} minutes", EVERY_MINUTES.start(), EVERY_MINUTES.end());
    Err(ReachError::Value(words))
}

fn given(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

pub(super) fn read(seal: &Sealer, row: &AnyRow, now: Micros) -> Result<Source, ReachError> {
    let text = |name: &str| row.try_get::<String, _>(name);
    let number = |name: &str| row.try_get::<i64, _>(name);
    let (gateway, program) = (text("gateway")?, text("program")?);
    let (disabled, next) = (number("disabled")? != 0, number("next_run")?);
    let outcome = SourceOutcome::read(&text("outcome")?);
    let failures = number("failures")?;
    Ok(Source {
        name: text("name")?,
        cloud: text("cloud")?.parse().map_err(|_| ReachError::Unknown("cloud"))?,
        region: text("region")?,
        endpoint: given(text("endpoint")?),
        key: text("secret")?,
        subscription: SubscriptionId::new(&text("subscription_id")?)
            .map_err(|_| ReachError::Unknown("subscription"))?,
        resource_group: GroupName::new(&text("group_name")?).map_err(|_| ReachError::Unknown("resource group"))?,
        enrol: (!gateway.is_empty()).then_some(AwsEnrol { gateway, program }),
        install: number("install")? != 0,
        every_minutes: number("every_minutes")?,
        disabled,
        created_by: seal.get(row, columns::SOURCE_AUTHOR)?,
        created_time: rfc3339(Micros(number("created")?)),
        running: number("lease_until")? > now.0,
        next_run_time: (!disabled && next > now.0).then(|| rfc3339(Micros(next))),
        last_run_time: row.try_get::<Option<i64>, _>("last_run")?.map(|at| rfc3339(Micros(at))),
        outcome,
        message: seal.get(row, columns::SOURCE_MESSAGE)?,
        fix: outcome.map_or("", SourceOutcome::fix).to_owned(),
        counts: serde_json::from_str(&text("counts")?).unwrap_or_default(),
        failures,
        failing: !disabled && failures >= FAILING,
    })
}

impl Reach {
    /// All sources, by name.
    pub async fn source_list(&self) -> Result<Vec<Source>, ReachError> {
        let rows = sqlx::query("SELECT * FROM reach_sources WHERE tenant_id = $1 ORDER BY name")
            .bind(self.tenant())
            .fetch_all(self.shared.db.pool())
            .await?;
        let (seal, now) = (self.seal(), self.now());
        rows.iter().map(|row| read(&seal, row, now)).collect()
    }

    /// One source.
    pub async fn source(&self, name: &str) -> Result<Source, ReachError> {
        let row = sqlx::query("SELECT * FROM reach_sources WHERE tenant_id = $1 AND name = $2")
            .bind(self.tenant())
            .bind(name.to_owned())
            .fetch_optional(self.shared.db.pool())
            .await?;
        read(&self.seal(), &row.ok_or(ReachError::Unknown("source"))?, self.now())
    }

    /// One source with the instances that need somebody.
    pub async fn source_detail(&self, name: &str) -> Result<SourceDetail, ReachError> {
        let source = self.source(name).await?;
        let rows = sqlx::query(
            "SELECT * FROM reach_instances WHERE tenant_id = $1 AND cloud = $2 AND source = $3 \
             AND state NOT IN ('Listed', 'Connected') ORDER BY state, instance LIMIT $4",
        )
        .bind(self.tenant())
        .bind(source.cloud.as_str())
        .bind(source.name.clone())
        .bind(SHOWN_MAX)
        .fetch_all(self.shared.db.pool())
        .await?;
        let seal = self.seal();
        let time = |at: i64| (at > 0).then(|| rfc3339(Micros(at)));
        let one = |row: &AnyRow| -> Result<InstanceView, ReachError> {
            let state = InstanceState::read(&row.try_get::<String, _>("state")?);
            let code = super::Outcome::read(&row.try_get::<String, _>("code")?);
            let tried = matches!(state, Some(InstanceState::Sent | InstanceState::Failed));
            let (said, fix) = match (state, code) {
                (_, Some(code)) => (seal.get(row, columns::INSTANCE_MESSAGE)?, code.words().1),
                (Some(InstanceState::Sent), None) => (SENT.0.to_owned(), SENT.1),
                _ => (String::new(), ""),
            };
            Ok(InstanceView {
                instance: row.try_get("instance")?,
                machine_id: MachineId::new(&row.try_get::<String, _>("machine_id")?)
                    .map_err(|_| ReachError::Unknown("machine"))?,
                state: state.ok_or(ReachError::Unknown("state of an instance"))?,
                tries: row.try_get("tries")?,
                last_try_time: time(row.try_get("last_try")?),
                next_try_time: time(row.try_get("next_try")?).filter(|_| tried),
                code,
                message: said,
                fix: fix.to_owned(),
            })
        };
        let instances = rows.iter().map(one).collect::<Result<Vec<_>, _>>()?;
        Ok(SourceDetail { source, instances })
    }

    /// Makes a source; its first round begins at once.
    pub async fn source_create(&self, new: &SourceNew, who: &str) -> Result<Source, ReachError> {
        let now = self.now();
        name_check("source", &new.name)?;
        let every = new.every_minutes.unwrap_or(EVERY_MINUTES_DEFAULT);
        every_check(every)?;
        if let Some(enrol) = &new.enrol {
            enrol_check(enrol)?;
        }
        let install = new.install.unwrap_or(new.enrol.is_some());
        install_check(install, new.enrol.as_ref())?;
        self.shared.plane.subscription(&self.shared.tenant, &new.subscription, now).await?;
        let secret = self.secret_open(&new.key, new.cloud.secret()).await?;
        // Only looked at: it says what is wrong with region and address.
        new.cloud.open(&secret, &new.region, new.endpoint.as_deref()).map_err(ReachError::Value)?;
        let all = self.source_list().await?;
        if all.iter().any(|s| s.name == new.name) {
            return Err(ReachError::Exists(format!("there is a source `{}` already; remove it first", new.name)));
        }
        let alike = |s: &&Source| {
            (s.cloud, &s.region, &s.endpoint, &s.key) == (new.cloud, &new.region, &new.endpoint, &new.key)
        };
        if let Some(same) = all.iter().find(alike) {
            return Err(ReachError::Taken(same.name.clone()));
        }
        if all.len() >= SOURCES_MAX {
            return Err(ReachError::Value(format!("a tenant has at most {SOURCES_MAX} sources; remove one first")));
        }
        let (gateway, program) = new.enrol.clone().map(|e| (e.gateway, e.program)).unwrap_or_default();
        let group = new.resource_group.as_ref().map_or(new.cloud.as_str(), GroupName::as_str).to_owned();
        let mut tx = self.shared.db.write().await?;
        let done = sqlx::query(
            "INSERT INTO reach_sources (tenant_id, name, cloud, region, endpoint, secret, subscription_id, group_name, \
             gateway, program, install, every_minutes, disabled, created_by, created, next_run, lease_until, \
             lease_holder, outcome, message, counts, failures) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, \
             $13, $14, $15, 0, 0, '', '', '', '{}', 0) ON CONFLICT (tenant_id, name) DO NOTHING",
        )
        .bind(self.tenant())
        .bind(new.name.clone())
        .bind(new.cloud.as_str())
        .bind(new.region.clone())
        .bind(new.endpoint.clone().unwrap_or_default())
        .bind(new.key.clone())
        .bind(new.subscription.as_str().to_owned())
        .bind(group)
        .bind(gateway)
        .bind(program)
        .bind(i64::from(install))
        .bind(every)
        .bind(i64::from(new.disabled))
        .bind(self.seal().put(columns::SOURCE_AUTHOR, who)?)
        .bind(now.0)
        .execute(tx.conn())
        .await?;
        tx.commit().await?;
        if done.rows_affected() == 0 {
            return Err(ReachError::Exists(format!("there is a source `{}` already; remove it first", new.name)));
        }
        self.source(&new.name).await
    }

    /// Changes a source; one that is switched on again is worked on at once.
    pub async fn source_change(&self, name: &str, change: &SourceChange) -> Result<Source, ReachError> {
        let old = self.source(name).await?;
        let every = change.every_minutes.unwrap_or(old.every_minutes);
        every_check(every)?;
        let install = change.install.unwrap_or(old.install);
        install_check(install, old.enrol.as_ref())?;
        let disabled = change.disabled.unwrap_or(old.disabled);
        let mut tx = self.shared.db.write().await?;
        sqlx::query(
            "UPDATE reach_sources SET disabled = $3, install = $4, every_minutes = $5, \
             next_run = CASE WHEN $6 = 1 THEN 0 ELSE next_run END WHERE tenant_id = $1 AND name = $2",
        )
        .bind(self.tenant())
        .bind(name.to_owned())
        .bind(i64::from(disabled))
        .bind(i64::from(install))
        .bind(every)
        .bind(i64::from(old.disabled && !disabled))
        .execute(tx.conn())
        .await?;
        tx.commit().await?;
        self.source(name).await
    }

    /// Has a source worked on at once; one that is under way begins anew when it has ended.
    pub async fn source_run(&self, name: &str) -> Result<Source, ReachError> {
        if self.source(name).await?.disabled {
            return Err(ReachError::Resting(name.to_owned()));
        }
        let mut tx = self.shared.db.write().await?;
        sqlx::query("UPDATE reach_sources SET next_run = 0 WHERE tenant_id = $1 AND name = $2")
            .bind(self.tenant())
            .bind(name.to_owned())
            .execute(tx.conn())
            .await?;
        tx.commit().await?;
        self.source(name).await
    }

    /// Removes a source; its machines stay.
    pub async fn source_delete(&self, name: &str) -> Result<(), ReachError> {
        let mut tx = self.shared.db.write().await?;
        let mut gone = 0;
        // The last one is the source itself.
        for sql in [
            "DELETE FROM reach_instances WHERE tenant_id = $1 AND source = $2",
            "DELETE FROM reach_sources WHERE tenant_id = $1 AND name = $2",
        ] {
            let query = sqlx::query(sql).bind(self.tenant()).bind(name.to_owned());
            gone = query.execute(tx.conn()).await?.rows_affected();
        }
        tx.commit().await?;
        if gone == 0 { Err(ReachError::Unknown("source")) } else { Ok(()) }
    }
}

fn install_check(install: bool, enrol: Option<&AwsEnrol>) -> Result<(), ReachError> {
    if install && enrol.is_none() {
        let words = "to bring the connector onto machines, name the gateway and where its program is fetched (`enrol`)";
        return Err(ReachError::Value(words.to_owned()));
    }
    Ok(())
}
