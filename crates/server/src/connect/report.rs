//! Reports of connectors, and what they are answered.

use super::reconcile::Standing;
use super::runs::Run;
use super::{Connect, ConnectError, EXTENSION, Entry, MachineFacts};
use crate::plane::PlaneError;
use garrison_model::{ConnectorId, DeviceId, PowerState};
use garrison_wire::connect::order::{self, ORDER_SECONDS};
use garrison_wire::connect::{binding, v1};
use garrison_wire::identity::ConnectorIdentity;
use std::time::Duration;

/// Characters of a run's number: 16 bytes in hexadecimal.
const RUN_CHARACTERS: usize = 32;
/// Reports on remedies that are looked at: a connector keeps as many.
const REMEDIES_MAX: usize = 16;
/// How long an answer is held at most.
const WAIT_MAX: u32 = 300;

/// What a report comes to.
enum Heard {
    /// Orders are looked for.
    Well,
    /// The identity is not for this machine.
    Anew(&'static str),
    /// The machine is off-boarded.
    Gone,
}

fn answer(verdict: &str, words: &str) -> v1::ReportResponse {
    v1::ReportResponse { verdict: verdict.to_owned(), words: words.to_owned(), ..v1::ReportResponse::default() }
}

impl Connect {
    /// The entry of a verified certificate; read from the database where another server took it in.
    pub(super) async fn known(&self, peer: &ConnectorIdentity) -> Result<Entry, ConnectError> {
        let unknown = || ConnectError::Unknown("connector");
        if peer.tenant != self.shared.tenant {
            return Err(unknown());
        }
        if let Some(entry) = self.entry(&peer.connector) {
            return if entry.revoked.is_none() { Ok(entry) } else { Err(unknown()) };
        }
        let (id, mut entry) = self.stored(Some(&peer.connector)).await?.pop().ok_or_else(unknown)?;
        let machine = self.shared.plane.machine(&self.shared.tenant, &entry.machine, self.now()).await?;
        entry.place = Some((machine.resource_id, machine.tags));
        self.entries().entry(id).or_insert(entry.clone());
        if entry.revoked.is_none() { Ok(entry) } else { Err(unknown()) }
    }

    /// Takes a report in and answers it, at once or when there is something to do.
    pub async fn report(
        &self,
        peer: &ConnectorIdentity,
        request: v1::ReportRequest,
    ) -> Result<v1::ReportResponse, ConnectError> {
        let id = &peer.connector;
        if let Err(error) = self.known(peer).await {
            return match error {
                // Also the last word of a machine that has left: it may forget us.
                ConnectError::Unknown(_) => {
                    let gone = self.entry(id).is_some_and(|e| e.standing.is_gone());
                    let words = "this identity is not known here any more";
                    Ok(if gone { answer("farewell", "") } else { answer("enrol_anew", words) })
                }
                other => Err(other),
            };
        }
        let taken = request.order_taken;
        let wait = Duration::from_secs(u64::from(request.wait_seconds.min(WAIT_MAX)));
        let verdict = match self.hear(id, request).await? {
            Heard::Anew(words) => Some(answer("enrol_anew", words)),
            Heard::Gone => Some(answer("farewell", "")),
            Heard::Well => None,
        };
        if let Some(verdict) = verdict {
            return Ok(verdict);
        }
        let until = tokio::time::Instant::now() + wait.min(self.report_time());
        loop {
            let Some(entry) = self.entry(id) else { return Err(ConnectError::Unknown("connector")) };
            // Listened for before it is looked: news in between is not missed.
            let news = entry.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            let Some(entry) = self.entry(id) else { return Err(ConnectError::Unknown("connector")) };
            if entry.revoked.is_some() {
                return Ok(answer("enrol_anew", "the machine was enrolled anew"));
            }
            let orders = self.orders(id, &entry.standing, taken);
            let remedies = self.remedies_out(id, &entry.standing);
            let stop = &self.shared.stop;
            if !orders.is_empty() || !remedies.is_empty() || stop.is_cancelled() || tokio::time::Instant::now() >= until
            {
                let report_seconds = u32::try_from(self.report_time().as_secs()).unwrap_or(WAIT_MAX);
                let server_time = self.now().0;
                return Ok(v1::ReportResponse { server_time, report_seconds, orders, remedies, ..answer("ok", "") });
            }
            tokio::select! {
                () = news => {}
                () = tokio::time::sleep_until(until) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    fn report_time(&self) -> Duration {
        Duration::from_secs(u64::from(self.shared.config.limits.heartbeat_seconds.min(WAIT_MAX)))
    }

    fn orders(&self, id: &ConnectorId, standing: &Standing, taken: u64) -> Vec<v1::SignedOrder> {
        let Some(o) = standing.deliver(taken) else { return Vec::new() };
        let order = v1::Order {
            tenant_id: self.shared.tenant.to_string(),
            connector_id: id.to_string(),
            extension: EXTENSION.to_owned(),
            generation: o.generation,
            deed: o.deed.clone(),
            package: o.package.as_ref().map(|p| v1::PackageName {
                name: "garrison-sensor".to_owned(),
                version: p.version.clone(),
                architecture: p.architecture.clone(),
                size: p.size,
                sha256: p.sha256.clone(),
                signature: p.signature.clone(),
            }),
            passive: o.passive,
            expires: self.now().0 / 1_000_000 + ORDER_SECONDS,
            reason: o.reason.clone(),
        };
        vec![order::sign(&order, self.shared.identity.content_key())]
    }

    /// Notes what a report says.
    async fn hear(&self, id: &ConnectorId, request: v1::ReportRequest) -> Result<Heard, ConnectError> {
        let now = self.now();
        let bound = binding::from_claim(request.binding);
        let run: String = request.run_id.chars().filter(char::is_ascii_hexdigit).take(RUN_CHARACTERS).collect();
        let facts = MachineFacts::from_claims(request.facts);
        let (machine, heard) = {
            let mut entries = self.entries();
            let Some(e) = entries.get_mut(id) else { return Err(ConnectError::Unknown("connector")) };
            if binding::differ(&e.binding, &bound) {
                let before = e.runs.shared();
                e.runs.share(now.0);
                e.changed |= e.runs.shared() != before;
                (e.machine.clone(), None)
            } else {
                let before = e.runs.clone();
                let heard = e.runs.hear(&run, now.0);
                if heard != Run::Twin(false) {
                    if e.facts != facts {
                        (e.facts, e.changed, e.at_rest) = (facts, true, None);
                    }
                    e.connector_version =
                        request.connector_version.chars().filter(|c| !c.is_control()).take(40).collect();
                    e.power = Some(if request.power_state == "Stopping" {
                        PowerState::Stopping
                    } else {
                        PowerState::Running
                    });
                    e.heard = Some(e.heard.map_or(now, |h| h.max(now)));
                    e.beats = true;
                }
                e.changed |= e.runs != before;
                (e.machine.clone(), Some(heard))
            }
        };
        match heard {
            None => {
                let words = "a copy of this machine's identity was used on another machine and refused";
                self.history_note(&machine, "Twin", words).await?;
                return Ok(Heard::Anew("the identity belongs to another machine"));
            }
            Some(Run::Twin(false)) => return Ok(Heard::Anew("another machine uses this identity already")),
            Some(Run::Twin(true)) => {
                let words = "two machines used one identity at once; the later one is asked to enrol anew";
                self.history_note(&machine, "Twin", words).await?;
            }
            Some(Run::Known | Run::Started) => {}
        }
        let reports: Vec<v1::ExtensionReport> = request
            .extensions
            .into_iter()
            .filter(|r| garrison_model::extension_name(&r.name) == Some(EXTENSION))
            .take(1)
            .collect();
        let remedies: Vec<v1::RemedyReport> = request.remedies.into_iter().take(REMEDIES_MAX).collect();
        let changed: Result<Standing, std::convert::Infallible> = self
            .change(id, |standing, now| {
                for report in &reports {
                    standing.reported(report, now);
                }
                for report in &remedies {
                    standing.remedy_reported(report, now);
                }
                if heard == Some(Run::Started) {
                    standing.remedies_forgotten(&remedies, now);
                }
                Ok(())
            })
            .await?;
        let Ok(standing) = changed;
        if let Some(device) = reports.first().and_then(|r| DeviceId::new(r.device_id.as_str()).ok()) {
            self.device_claimed(id, &machine, &device).await?;
        }
        if standing.is_gone() {
            self.leave(id, &machine).await?;
            return Ok(Heard::Gone);
        }
        Ok(Heard::Well)
    }

    /// A connector names the device that its machine's sensor is. That is believed where the device said the same of its
    /// machine when it was enrolled; a device that a token of ours was given out for is joined already.
    async fn device_claimed(
        &self,
        id: &ConnectorId,
        machine: &garrison_model::MachineId,
        device: &DeviceId,
    ) -> Result<(), ConnectError> {
        let Some(entry) = self.entry(id) else { return Ok(()) };
        let known = self.shared.plane.machine(&self.shared.tenant, machine, self.now()).await?;
        if known.device_id.as_ref() == Some(device) || (known.device_id.is_some() && !known.device_gone) {
            return Ok(());
        }
        let Some(theirs) = self.shared.fleet.binding(device) else { return Ok(()) };
        let same = !theirs.machine_id.is_empty()
            && theirs.machine_id == entry.binding.machine_id
            && !binding::differ(&theirs, &entry.binding);
        if same { self.device_join(machine, device).await } else { Ok(()) }
    }

    /// The machine has left: its identities are worth nothing from now on.
    async fn leave(&self, id: &ConnectorId, machine: &garrison_model::MachineId) -> Result<(), ConnectError> {
        let now = self.now();
        let known = self.shared.plane.machine(&self.shared.tenant, machine, now).await;
        if let Ok(Some(device)) = known.map(|m| m.device_id) {
            self.shared.device_revoke(&device, "off-boarded with its machine", "connector", now).await?;
        }
        let mut change = self.shared.plane.change(&self.shared.tenant, "connector", now).await?;
        match change.machine_left(machine).await {
            Ok(()) => change.commit().await?,
            // Forgotten meanwhile.
            Err(PlaneError::Unknown(_)) => {}
            Err(error) => return Err(error.into()),
        }
        self.connector_revoke(id, "off-boarded").await?;
        tracing::info!(connector = %id, machine = %machine, "machine off-boarded");
        Ok(())
    }
}
