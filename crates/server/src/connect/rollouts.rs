//! Roll-outs as they are kept: one document each with a revision, so that two servers move one only once.
//!
//! [`super::rollout`] decides; this file counts how machines stand, asks it once a second, and says which package each
//! machine gets. Without any roll-out every machine gets the newest package at once.

use super::reconcile::Package;
use super::rollout::{Counts, Gate, Progress, Ring, RolloutState, Seat, chosen, decide};
use super::{Connect, ConnectError, Entry};
use crate::db::{Sealer, columns};
use garrison_model::{ExtensionState, MachineId, Micros};
use garrison_wire::connect::order::Deed;
use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

/// Roll-outs shown; the newest.
const ROLLOUTS_MAX: i64 = 200;
/// A longer soak than a month is a forgotten roll-out.
const SOAK_MINUTES_MAX: u32 = 31 * 24 * 60;

/// A roll-out: what is stored, version 1. Fields are added, never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// Id.
    pub id: String,
    /// The version that is brought out.
    pub version: String,
    /// The version that machines get meanwhile that have none.
    pub from: Option<String>,
    /// State.
    pub state: RolloutState,
    /// The ring that is upgraded now.
    pub ring: Ring,
    /// It stops when more than this share of the upgraded machines, in percent, is ill.
    pub failure_percent: u32,
    /// Machines of a ring that are upgraded at once, in percent.
    pub at_once_percent: u32,
    /// Minutes between the last machine of `Early` and the first of `Broad`.
    pub soak_minutes: u32,
    /// Since when nothing is left to do in the ring, microseconds.
    pub idle_since: Option<i64>,
    /// When it was made, RFC 3339.
    pub created_time: String,
    /// Who made it.
    pub who: String,
    /// Why it stopped.
    pub reason: String,
    /// Machines of the first ring.
    pub early: Counts,
    /// Machines of the second ring.
    pub broad: Counts,
}

/// What a roll-out is to be.
#[derive(Debug, Clone)]
pub struct RolloutNew {
    /// The version; its package must be there.
    pub version: String,
    /// Share of ill machines at which it stops, percent.
    pub failure_percent: u32,
    /// Share of a ring that is upgraded at once, percent.
    pub at_once_percent: u32,
    /// Minutes between the rings.
    pub soak_minutes: u32,
}

/// What a person does with a roll-out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RolloutDeed {
    /// Hold it.
    Pause,
    /// Let it go on.
    Resume,
    /// End it.
    Stop,
}

/// The newest roll-out and who begins now.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Offer {
    rollout: Option<Rollout>,
    admitted: BTreeSet<MachineId>,
}

fn read(seal: &Sealer, row: &sqlx::any::AnyRow) -> Result<(Rollout, i64), ConnectError> {
    let text = seal.get(row, columns::ROLLOUT_DOCUMENT)?;
    let rollout = serde_json::from_str(&text).map_err(|_| ConnectError::Stored("roll-out"))?;
    Ok((rollout, row.try_get("revision")?))
}

impl Connect {
    pub(super) fn offer(&self) -> Arc<Offer> {
        Arc::clone(&self.offer.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn rollouts_stored(&self, id: &str, limit: i64) -> Result<Vec<(Rollout, i64)>, ConnectError> {
        let rows = sqlx::query(
            "SELECT document, revision FROM connect_rollouts WHERE tenant_id = $1 AND ($2 = '' OR id = $2)
             ORDER BY created DESC, id DESC LIMIT $3",
        )
        .bind(self.shared.tenant.as_str().to_owned())
        .bind(id.to_owned())
        .bind(limit)
        .fetch_all(self.shared.db.pool())
        .await?;
        let seal = self.seal();
        rows.iter().map(|row| read(&seal, row)).collect()
    }

    /// Roll-outs, newest first.
    pub async fn rollouts(&self) -> Result<Vec<Rollout>, ConnectError> {
        Ok(self.rollouts_stored("", ROLLOUTS_MAX).await?.into_iter().map(|(r, _)| r).collect())
    }

    /// One roll-out.
    pub async fn rollout(&self, id: &str) -> Result<Rollout, ConnectError> {
        let found = if id.is_empty() { None } else { self.rollouts_stored(id, 1).await?.pop() };
        found.map(|(r, _)| r).ok_or(ConnectError::Unknown("roll-out"))
    }

    async fn rollout_save(&self, rollout: &Rollout, revision: i64) -> Result<bool, ConnectError> {
        let document = serde_json::to_string(rollout).unwrap_or_default();
        let mut tx = self.shared.db.write().await?;
        let done = sqlx::query(
            "UPDATE connect_rollouts SET document = $3, revision = $4 + 1
             WHERE tenant_id = $1 AND id = $2 AND revision = $4",
        )
        .bind(self.shared.tenant.as_str().to_owned())
        .bind(rollout.id.clone())
        .bind(self.seal().put(columns::ROLLOUT_DOCUMENT, &document)?)
        .bind(revision)
        .execute(tx.conn())
        .await?
        .rows_affected();
        tx.commit().await?;
        Ok(done > 0)
    }

    /// Begins a roll-out. One that has not ended must be stopped before.
    pub async fn rollout_create(&self, new: &RolloutNew, who: &str) -> Result<Rollout, ConnectError> {
        if !self.packages.has(&new.version) {
            let version: String = new.version.chars().filter(|c| !c.is_control()).take(40).collect();
            return Err(ConnectError::Value(format!("there is no package of version `{version}` that is handed out")));
        }
        if new.failure_percent > 100 || !(1..=100).contains(&new.at_once_percent) || new.soak_minutes > SOAK_MINUTES_MAX
        {
            let words = "shares are percents up to 100, at least 1 at once, and a soak has at most 31 days";
            return Err(ConnectError::Value(words.to_owned()));
        }
        let before = self.rollouts_stored("", ROLLOUTS_MAX).await?;
        if let Some((open, _)) =
            before.iter().find(|(r, _)| matches!(r.state, RolloutState::Running | RolloutState::Paused))
        {
            return Err(ConnectError::Open(open.id.clone()));
        }
        let done = before.iter().map(|(r, _)| r).find(|r| r.state == RolloutState::Done && r.version != new.version);
        let now = self.now();
        let mut random = [0; 8];
        rand::TryRngCore::try_fill_bytes(&mut rand::rngs::OsRng, &mut random).map_err(|_| ConnectError::Random)?;
        let rollout = Rollout {
            id: format!("ro{}", hex::encode(random)),
            version: new.version.clone(),
            from: done.map(|r| r.version.clone()).or_else(|| self.packages.before(&new.version)),
            state: RolloutState::Running,
            ring: Ring::Early,
            failure_percent: new.failure_percent,
            at_once_percent: new.at_once_percent,
            soak_minutes: new.soak_minutes,
            idle_since: None,
            created_time: crate::shared::rfc3339(now),
            who: who.chars().take(120).collect(),
            reason: String::new(),
            early: Counts::default(),
            broad: Counts::default(),
        };
        let mut tx = self.shared.db.write().await?;
        sqlx::query(
            "INSERT INTO connect_rollouts (tenant_id, id, created, document, revision) VALUES ($1, $2, $3, $4, 0)",
        )
        .bind(self.shared.tenant.as_str().to_owned())
        .bind(rollout.id.clone())
        .bind(now.0)
        .bind(self.seal().put(columns::ROLLOUT_DOCUMENT, &serde_json::to_string(&rollout).unwrap_or_default())?)
        .execute(tx.conn())
        .await?;
        tx.commit().await?;
        Ok(rollout)
    }

    /// Pauses, resumes or stops a roll-out.
    pub async fn rollout_change(&self, id: &str, deed: RolloutDeed, who: &str) -> Result<Rollout, ConnectError> {
        for _ in 0..super::TRIES_MAX {
            let found = if id.is_empty() { None } else { self.rollouts_stored(id, 1).await?.pop() };
            let (mut rollout, revision) = found.ok_or(ConnectError::Unknown("roll-out"))?;
            let state = match (deed, rollout.state) {
                (RolloutDeed::Pause, RolloutState::Running | RolloutState::Paused) => RolloutState::Paused,
                (RolloutDeed::Resume, RolloutState::Running | RolloutState::Paused) => RolloutState::Running,
                (RolloutDeed::Stop, RolloutState::Running | RolloutState::Paused) => RolloutState::Stopped,
                (_, RolloutState::Stopped | RolloutState::Done) => {
                    return Err(ConnectError::Over(rollout.state.as_str()));
                }
            };
            if state == rollout.state {
                return Ok(rollout);
            }
            rollout.state = state;
            if state == RolloutState::Stopped {
                rollout.reason = format!("stopped by {}", who.chars().take(120).collect::<String>());
            }
            if self.rollout_save(&rollout, revision).await? {
                return Ok(rollout);
            }
        }
        Err(ConnectError::Busy)
    }

    /// How a machine stands towards a package; `None` where no sensor is to be on it.
    fn seat(&self, entry: &Entry, target: &Package, now: Micros) -> Option<Seat> {
        self.desired(entry).ok().and_then(|()| Self::support(entry).ok())?;
        let s = &entry.standing;
        if s.offboarded.is_some() {
            return None;
        }
        if s.failed_with.as_deref() == Some(target.sha256.as_str()) {
            return Some(Seat::Ill);
        }
        let ordered = s.order.as_ref().is_some_and(|o| {
            Deed::parse(&o.deed) == Some(Deed::Install) && o.package.as_ref().is_some_and(|p| p.sha256 == target.sha256)
        });
        if !ordered && s.settled.as_ref().is_some_and(|(sha, _)| *sha == target.sha256) {
            let is_ill = s.extension.as_ref().is_some_and(|e| e.state == ExtensionState::Failed);
            return Some(if is_ill { Seat::Ill } else { Seat::Well });
        }
        let is_heard = entry.heard.is_some_and(|h| now.0.saturating_sub(h.0) < garrison_model::DISCONNECTED_AFTER);
        Some(match (is_heard, ordered) {
            (false, _) => Seat::Away,
            (true, true) => Seat::Working,
            (true, false) => Seat::Waiting,
        })
    }

    /// Moves the newest roll-out on, and says who begins.
    pub(super) async fn rollout_step(&self) -> Result<(), ConnectError> {
        let Some((mut rollout, revision)) = self.rollouts_stored("", 1).await?.pop() else {
            self.offer_put(Offer::default());
            return Ok(());
        };
        let now = self.now();
        let (mut early, mut broad) = (Counts::default(), Counts::default());
        let mut waiting = BTreeSet::new();
        for entry in self.entries().values().filter(|e| e.revoked.is_none()) {
            let ring = entry.place.as_ref().map_or(Ring::Broad, |(_, tags)| Ring::of(tags));
            let Some(target) = self.packages.version(&rollout.version, &entry.facts.architecture) else { continue };
            let Some(seat) = self.seat(entry, &target, now) else { continue };
            match ring {
                Ring::Early => early.add(seat),
                Ring::Broad => broad.add(seat),
                Ring::Pinned => continue,
            }
            if seat == Seat::Waiting && ring == rollout.ring {
                waiting.insert(entry.machine.clone());
            }
        }
        let gate = Gate {
            failure_percent: rollout.failure_percent,
            at_once_percent: rollout.at_once_percent,
            soak_minutes: rollout.soak_minutes,
        };
        let before = rollout.clone();
        let progress =
            Progress { state: rollout.state, ring: rollout.ring, idle_since: rollout.idle_since.map(Micros) };
        let decided = decide(gate, progress, &early, &broad, now);
        (rollout.state, rollout.ring) = (decided.progress.state, decided.progress.ring);
        rollout.idle_since = decided.progress.idle_since.map(|t| t.0);
        (rollout.early, rollout.broad) = (early, broad);
        if let Some(reason) = decided.reason {
            tracing::warn!(rollout = rollout.id, version = rollout.version, reason, "a roll-out stopped by itself");
            rollout.reason = reason;
        }
        // Another server that moved it first is followed in the next turn.
        if rollout != before && !self.rollout_save(&rollout, revision).await? {
            return Ok(());
        }
        let admitted = if rollout.ring == before.ring { chosen(&waiting, decided.begin) } else { BTreeSet::new() };
        self.offer_put(Offer { rollout: Some(rollout), admitted });
        Ok(())
    }

    fn offer_put(&self, offer: Offer) {
        let mut held = self.offer.lock().unwrap_or_else(PoisonError::into_inner);
        if **held != offer {
            *held = Arc::new(offer);
            self.ground_moved();
        }
    }

    /// The package that a machine gets.
    pub(super) fn package_for(&self, entry: &Entry) -> Option<Package> {
        let architecture = &entry.facts.architecture;
        let offer = self.offer();
        let Some(rollout) = &offer.rollout else { return self.packages.newest(architecture) };
        let target = self.packages.version(&rollout.version, architecture);
        let base = rollout.from.as_ref().and_then(|from| self.packages.version(from, architecture));
        let s = &entry.standing;
        let settled = s.settled.as_ref().map(|(sha, _)| sha.as_str());
        let has_target = target.as_ref().is_some_and(|target| {
            // What a machine works on is not changed under it; what it has not begun is taken back with a pause.
            let ordered = s.order.as_ref().is_some_and(|o| {
                (o.taken || rollout.state == RolloutState::Running) && o.package.as_ref() == Some(target)
            });
            ordered || settled == Some(target.sha256.as_str())
        });
        let is_pinned = entry.place.as_ref().is_some_and(|(_, tags)| Ring::of(tags) == Ring::Pinned);
        let is_for_all = rollout.state == RolloutState::Done && !is_pinned;
        if has_target || is_for_all || offer.admitted.contains(&entry.machine) {
            return target.or(base);
        }
        match settled {
            // It keeps what it has, also where the package is not there any more.
            Some(sha) => self.packages.by_hash(sha).or_else(|| {
                Some(Package {
                    version: s.extension.as_ref().map(|e| e.version.clone()).unwrap_or_default(),
                    architecture: architecture.clone(),
                    size: 0,
                    sha256: sha.to_owned(),
                    signature: String::new(),
                })
            }),
            None => base.or(target),
        }
    }
}
