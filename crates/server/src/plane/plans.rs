//! Plans as they are set: on a subscription, on one machine; and the trial that the first of them begins.

use super::{Change, Plane, PlaneError};
use crate::db::columns;
use crate::shared::rfc3339;
use garrison_model::{FEATURES, Geography, MachineId, Micros, Override, Plan, SubscriptionId, Trial, trial_at};
use serde::Serialize;
use sqlx::Row as _;

/// A plan with what it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanLine {
    /// Plan.
    pub plan: Plan,
    /// In words.
    pub title: String,
    /// Days that it costs nothing at first.
    pub trial_days: i64,
    /// Whether it may be set on a single machine.
    pub on_machine: bool,
    /// The whole table, with whether this plan holds each feature.
    pub features: Vec<FeatureLine>,
}

/// One feature of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FeatureLine {
    /// Feature.
    pub feature: garrison_model::Feature,
    /// In words.
    pub title: String,
    /// Whether the plan holds it.
    pub included: bool,
    /// Where it works, if not everywhere.
    pub place: String,
}

pub(super) fn trial_read(started: i64, now: Micros) -> Trial {
    let (ends, active, days_left) = trial_at(started, now.0);
    Trial { started: rfc3339(Micros(started)), ends: rfc3339(Micros(ends)), active, days_left }
}

impl Plane {
    /// The table of plans.
    pub fn plans() -> Vec<PlanLine> {
        Plan::ALL
            .iter()
            .map(|plan| PlanLine {
                plan: *plan,
                title: plan.title().to_owned(),
                trial_days: if *plan == Plan::Off { 0 } else { garrison_model::TRIAL_DAYS },
                on_machine: Override::try_from(*plan).is_ok(),
                features: FEATURES
                    .iter()
                    .map(|row| FeatureLine {
                        feature: row.feature,
                        title: row.title.to_owned(),
                        included: plan.has(row.feature),
                        place: row.place.to_owned(),
                    })
                    .collect(),
            })
            .collect()
    }
}

impl Change<'_> {
    async fn plan_get(&mut self, subscription: &SubscriptionId, machine: &str) -> Result<Option<Plan>, PlaneError> {
        let row = sqlx::query(
            "SELECT plan FROM plane_plans WHERE tenant_id = $1 AND subscription_id = $2 AND machine_id = $3",
        )
        .bind(self.tenant.as_str())
        .bind(subscription.as_str().to_owned())
        .bind(machine.to_owned())
        .fetch_optional(self.tx.conn())
        .await?;
        let text: Option<String> = row.map(|row| row.try_get(0)).transpose()?;
        text.map(|text| text.parse().map_err(PlaneError::stored("plan"))).transpose()
    }

    async fn plan_write(&mut self, subscription: &SubscriptionId, machine: &str, plan: Plan) -> Result<(), PlaneError> {
        sqlx::query(
            "INSERT INTO plane_plans (tenant_id, subscription_id, machine_id, plan, set_by, set_at) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (tenant_id, subscription_id, machine_id) DO UPDATE SET \
             plan = excluded.plan, set_by = excluded.set_by, set_at = excluded.set_at",
        )
        .bind(self.tenant.as_str())
        .bind(subscription.as_str().to_owned())
        .bind(machine.to_owned())
        .bind(plan.as_str())
        .bind(self.seal().put(columns::PLAN_AUTHOR, self.who)?)
        .bind(self.now.0)
        .execute(self.tx.conn())
        .await?;
        Ok(())
    }

    async fn plan_remove(&mut self, subscription: &SubscriptionId, machine: &str) -> Result<(), PlaneError> {
        sqlx::query("DELETE FROM plane_plans WHERE tenant_id = $1 AND subscription_id = $2 AND machine_id = $3")
            .bind(self.tenant.as_str())
            .bind(subscription.as_str().to_owned())
            .bind(machine.to_owned())
            .execute(self.tx.conn())
            .await?;
        Ok(())
    }

    /// The first plan that is switched on in a subscription makes the tenant where there is none, and begins the trial.
    pub(super) async fn switched_on(
        &mut self,
        subscription: &SubscriptionId,
        chosen: Option<&Geography>,
    ) -> Result<(), PlaneError> {
        let location = self.subscription_known(subscription).await?.location;
        self.tenant_ensure(chosen, &location, "PlanSet").await?;
        let begun = sqlx::query(
            "INSERT INTO plane_trials (tenant_id, subscription_id, started) VALUES ($1, $2, $3) \
             ON CONFLICT (tenant_id, subscription_id) DO NOTHING",
        )
        .bind(self.tenant.as_str())
        .bind(subscription.as_str().to_owned())
        .bind(self.now.0)
        .execute(self.tx.conn())
        .await?
        .rows_affected();
        if begun > 0 {
            self.audit(&format!("subscription/{subscription}"), "trial begun", None, Some(rfc3339(self.now))).await?;
        }
        Ok(())
    }

    /// Sets the plan of a subscription. `chosen` is the geography for the tenant, should there be none yet.
    pub async fn plan_set(
        &mut self,
        subscription: &SubscriptionId,
        plan: Plan,
        chosen: Option<&Geography>,
    ) -> Result<(), PlaneError> {
        self.subscription_known(subscription).await?;
        if plan == Plan::Off {
            // Nothing is made by switching off, yet a wrong choice is told.
            if let (Some(asked), Some(tenant)) = (chosen, self.tenant_get().await?)
                && *asked != tenant.geography
            {
                return Err(PlaneError::GeographyFixed { has: tenant.geography, asked: asked.clone() });
            }
        } else {
            self.switched_on(subscription, chosen).await?;
        }
        let old = self.plan_get(subscription, "").await?;
        if old == Some(plan) {
            return Ok(());
        }
        self.plan_write(subscription, "", plan).await?;
        let old = old.map(|p| p.to_string());
        self.audit(&format!("subscription/{subscription}"), "plan", old, Some(plan.to_string())).await
    }

    /// Takes a subscription's setting away; nothing is on then but what single machines say for themselves.
    pub async fn plan_clear(&mut self, subscription: &SubscriptionId) -> Result<(), PlaneError> {
        self.subscription_known(subscription).await?;
        if let Some(old) = self.plan_get(subscription, "").await? {
            self.plan_remove(subscription, "").await?;
            self.audit(&format!("subscription/{subscription}"), "plan", Some(old.to_string()), None).await?;
        }
        Ok(())
    }

    /// Sets the plan of one machine, which goes before its subscription's. Plan 2 is refused.
    pub async fn override_set(&mut self, id: &MachineId, plan: Plan) -> Result<(), PlaneError> {
        let own = Override::try_from(plan)?;
        let subscription = self.machine(id).await?.resource_id.subscription;
        if own != Override::Off {
            self.switched_on(&subscription, None).await?;
        }
        self.override_write(&subscription, id, own).await
    }

    pub(super) async fn override_write(
        &mut self,
        subscription: &SubscriptionId,
        id: &MachineId,
        own: Override,
    ) -> Result<(), PlaneError> {
        let old = self.plan_get(subscription, id.as_str()).await?;
        let plan = Plan::from(own);
        if old == Some(plan) {
            return Ok(());
        }
        self.plan_write(subscription, id.as_str(), plan).await?;
        let old = old.map(|p| p.to_string());
        self.audit(&format!("machine/{id}"), "plan", old, Some(plan.to_string())).await
    }

    /// Takes a machine's own setting away: it inherits its subscription's again.
    pub async fn override_clear(&mut self, id: &MachineId) -> Result<(), PlaneError> {
        let subscription = self.machine(id).await?.resource_id.subscription;
        if let Some(old) = self.plan_get(&subscription, id.as_str()).await? {
            self.plan_remove(&subscription, id.as_str()).await?;
            self.audit(&format!("machine/{id}"), "plan", Some(old.to_string()), None).await?;
        }
        Ok(())
    }
}
