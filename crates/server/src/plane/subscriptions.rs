//! Subscriptions and resource groups.

use super::plans::trial_read;
use super::{Change, Plane, PlaneError};
use crate::db::Sealer;
use crate::db::columns::{self, Column};
use crate::shared::rfc3339;
use garrison_model::{
    Geography, GroupName, Micros, Plan, ResourceGroup, Subscription, SubscriptionId, Tags, TenantId, location_key,
    tags_check,
};
use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use sqlx::any::AnyRow;

/// Subscriptions of a tenant: the list is read whole, a fleet of ten thousand machines has some dozens.
const SUBSCRIPTIONS_MAX: i64 = 1_000;
/// Resource groups of a subscription, as the clouds have it.
const GROUPS_MAX: i64 = 1_000;
/// Characters of a subscription's name.
const NAME_CHARS_MAX: usize = 128;

/// A new subscription, or what one is to become.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SubscriptionNew {
    /// Its id; the server gives one where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<SubscriptionId>,
    /// Name for people.
    pub name: String,
    /// Where its machines are, such as `westeurope`.
    pub location: String,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
}

impl SubscriptionNew {
    /// What is wrong with it, if anything.
    pub fn check(&self) -> Result<(), PlaneError> {
        let name = self.name.trim();
        if name.is_empty() || name.chars().count() > NAME_CHARS_MAX || name.chars().any(char::is_control) {
            return Err(PlaneError::Value(format!("a subscription's name has 1 to {NAME_CHARS_MAX} plain characters")));
        }
        if location_key(&self.location).is_none() {
            return Err(PlaneError::Value(
                "a location has 1 to 64 letters, digits, spaces and dashes, such as `westeurope`".to_owned(),
            ));
        }
        tags_check(&self.tags).map_err(PlaneError::Value)
    }
}

pub(super) fn tags_read(seal: &Sealer, column: Column, row: &AnyRow) -> Result<Tags, PlaneError> {
    serde_json::from_str(&seal.get(row, column)?).map_err(PlaneError::stored("list of tags"))
}

pub(super) fn tags_write(tags: &Tags) -> Result<String, PlaneError> {
    serde_json::to_string(tags).map_err(PlaneError::stored("list of tags"))
}

const SELECT: &str = "SELECT s.*, p.plan, t.started, \
    (SELECT COUNT(*) FROM plane_machines m WHERE m.tenant_id = s.tenant_id AND m.subscription_id = s.id) AS machines \
    FROM plane_subscriptions s \
    LEFT JOIN plane_plans p ON p.tenant_id = s.tenant_id AND p.subscription_id = s.id AND p.machine_id = '' \
    LEFT JOIN plane_trials t ON t.tenant_id = s.tenant_id AND t.subscription_id = s.id WHERE s.tenant_id = $1";

fn read(seal: &Sealer, row: &AnyRow, now: Micros) -> Result<Subscription, PlaneError> {
    let id: String = row.try_get("id")?;
    let plan = row.try_get::<Option<String>, _>("plan")?.map(|p| p.parse::<Plan>()).transpose();
    Ok(Subscription {
        id: SubscriptionId::new(&id).map_err(PlaneError::stored("subscription"))?,
        name: row.try_get("name")?,
        location: row.try_get("location")?,
        plan: plan.map_err(PlaneError::stored("plan"))?,
        integration: row.try_get::<i64, _>("integration")? != 0,
        trial: row.try_get::<Option<i64>, _>("started")?.map(|started| trial_read(started, now)),
        tags: tags_read(seal, columns::SUBSCRIPTION_TAGS, row)?,
        machine_count: row.try_get("machines")?,
        created_time: rfc3339(Micros(row.try_get("created")?)),
    })
}

fn group_read(row: &AnyRow) -> Result<ResourceGroup, PlaneError> {
    let (subscription, name): (String, String) = (row.try_get("subscription_id")?, row.try_get("name")?);
    Ok(ResourceGroup {
        subscription_id: SubscriptionId::new(&subscription).map_err(PlaneError::stored("subscription"))?,
        name: GroupName::new(&name).map_err(PlaneError::stored("resource group"))?,
        machine_count: row.try_get("machines")?,
        created_time: rfc3339(Micros(row.try_get("created")?)),
    })
}

impl Plane {
    /// All subscriptions of a tenant, by name.
    pub async fn subscriptions(&self, tenant: &TenantId, now: Micros) -> Result<Vec<Subscription>, PlaneError> {
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!("{SELECT} ORDER BY s.name, s.id")))
            .bind(tenant.as_str())
            .fetch_all(self.db.pool())
            .await?;
        let seal = self.db.seal(tenant);
        rows.iter().map(|row| read(&seal, row, now)).collect()
    }

    /// One subscription.
    pub async fn subscription(
        &self,
        tenant: &TenantId,
        id: &SubscriptionId,
        now: Micros,
    ) -> Result<Subscription, PlaneError> {
        let row = sqlx::query(sqlx::AssertSqlSafe(format!("{SELECT} AND s.id = $2")))
            .bind(tenant.as_str())
            .bind(id.as_str())
            .fetch_optional(self.db.pool())
            .await?;
        read(&self.db.seal(tenant), &row.ok_or(PlaneError::Unknown("subscription"))?, now)
    }

    /// The resource groups of a subscription, by name.
    pub async fn groups(&self, tenant: &TenantId, id: &SubscriptionId) -> Result<Vec<ResourceGroup>, PlaneError> {
        let rows = sqlx::query(
            "SELECT g.*, (SELECT COUNT(*) FROM plane_machines m WHERE m.tenant_id = g.tenant_id \
             AND m.subscription_id = g.subscription_id AND m.group_key = g.name_key) AS machines \
             FROM plane_groups g WHERE g.tenant_id = $1 AND g.subscription_id = $2 ORDER BY g.name_key",
        )
        .bind(tenant.as_str())
        .bind(id.as_str())
        .fetch_all(self.db.pool())
        .await?;
        rows.iter().map(group_read).collect()
    }
}

/// A subscription as it is stored, for changes.
pub(super) struct Stored {
    pub(super) name: String,
    pub(super) location: String,
    pub(super) tags: Tags,
    pub(super) integration: bool,
}

impl Change<'_> {
    pub(super) async fn subscription_stored(&mut self, id: &SubscriptionId) -> Result<Option<Stored>, PlaneError> {
        let row = sqlx::query("SELECT * FROM plane_subscriptions WHERE tenant_id = $1 AND id = $2")
            .bind(self.tenant.as_str())
            .bind(id.as_str())
            .fetch_optional(self.tx.conn())
            .await?;
        let seal = self.seal();
        row.map(|row| {
            Ok(Stored {
                name: row.try_get("name")?,
                location: row.try_get("location")?,
                tags: tags_read(&seal, columns::SUBSCRIPTION_TAGS, &row)?,
                integration: row.try_get::<i64, _>("integration")? != 0,
            })
        })
        .transpose()
    }

    pub(super) async fn subscription_known(&mut self, id: &SubscriptionId) -> Result<Stored, PlaneError> {
        self.subscription_stored(id).await?.ok_or(PlaneError::Unknown("subscription"))
    }

    async fn count(&mut self, table: &'static str, and: &'static str, key: &[&str]) -> Result<i64, PlaneError> {
        let sql = format!("SELECT COUNT(*) FROM {table} WHERE tenant_id = $1{and}");
        let mut query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(self.tenant.as_str().to_owned());
        for part in key {
            query = query.bind((*part).to_owned());
        }
        Ok(query.fetch_one(self.tx.conn()).await?.try_get(0)?)
    }

    /// Ids of the tenant's subscriptions, two at most: whether there is just one.
    pub async fn subscriptions_few(&mut self) -> Result<Vec<SubscriptionId>, PlaneError> {
        let rows = sqlx::query("SELECT id FROM plane_subscriptions WHERE tenant_id = $1 ORDER BY id LIMIT 2")
            .bind(self.tenant.as_str())
            .fetch_all(self.tx.conn())
            .await?;
        let id = |row: &sqlx::any::AnyRow| {
            SubscriptionId::new(&row.try_get::<String, _>(0)?).map_err(PlaneError::stored("subscription"))
        };
        rows.iter().map(id).collect()
    }

    /// Makes a subscription, or brings one to what is asked: the same twice changes nothing. Tells its id, and whether
    /// it is new. No tenant is made yet: that happens with the first machine or plan.
    pub async fn subscription_put(&mut self, new: &SubscriptionNew) -> Result<(SubscriptionId, bool), PlaneError> {
        self.subscription_put_in(new, None).await
    }

    /// The same where a geography is chosen in the same change.
    pub(super) async fn subscription_put_in(
        &mut self,
        new: &SubscriptionNew,
        chosen: Option<&Geography>,
    ) -> Result<(SubscriptionId, bool), PlaneError> {
        new.check()?;
        let id = new.id.clone().unwrap_or_else(|| SubscriptionId::from_bits(super::guid()));
        let (name, location) = (new.name.trim().to_owned(), new.location.trim().to_owned());
        let tags = self.seal().put(columns::SUBSCRIPTION_TAGS, &tags_write(&new.tags)?)?;
        let target = format!("subscription/{id}");
        match self.subscription_stored(&id).await? {
            Some(old) if old.name == name && old.location == location && old.tags == new.tags => Ok((id, false)),
            Some(old) => {
                if old.location != location {
                    self.location_check(&location, chosen).await?;
                }
                sqlx::query(
                    "UPDATE plane_subscriptions SET name = $3, location = $4, tags = $5 WHERE tenant_id = $1 AND id = $2",
                )
                .bind(self.tenant.as_str())
                .bind(id.as_str().to_owned())
                .bind(name.clone())
                .bind(location.clone())
                .bind(tags)
                .execute(self.tx.conn())
                .await?;
                let (was, is) = (format!("{} in {}", old.name, old.location), format!("{name} in {location}"));
                self.audit(&target, "changed", Some(was), Some(is)).await?;
                Ok((id, false))
            }
            None => {
                if self.count("plane_subscriptions", "", &[]).await? >= SUBSCRIPTIONS_MAX {
                    return Err(PlaneError::TooMany { what: "subscriptions", max: SUBSCRIPTIONS_MAX });
                }
                if new.id.is_none() {
                    self.name_free(&name).await?;
                }
                self.location_check(&location, chosen).await?;
                sqlx::query(
                    "INSERT INTO plane_subscriptions (tenant_id, id, name, location, integration, tags, created) \
                     VALUES ($1, $2, $3, $4, 1, $5, $6)",
                )
                .bind(self.tenant.as_str())
                .bind(id.as_str().to_owned())
                .bind(name.clone())
                .bind(location)
                .bind(tags)
                .bind(self.now.0)
                .execute(self.tx.conn())
                .await?;
                self.audit(&target, "created", None, Some(name)).await?;
                Ok((id, true))
            }
        }
    }

    /// Refuses a name that another subscription has: people name them by it. Who gives an id of his own means it: the
    /// clouds let several have one name.
    async fn name_free(&mut self, name: &str) -> Result<(), PlaneError> {
        let rows = sqlx::query("SELECT name FROM plane_subscriptions WHERE tenant_id = $1")
            .bind(self.tenant.as_str())
            .fetch_all(self.tx.conn())
            .await?;
        let key = name.to_lowercase();
        for row in &rows {
            if row.try_get::<String, _>(0)?.to_lowercase() == key {
                return Err(PlaneError::SubscriptionNamed(name.to_owned()));
            }
        }
        Ok(())
    }

    /// Refuses a location that lies in no geography while it is what the tenant's geography would come of.
    async fn location_check(&mut self, location: &str, chosen: Option<&Geography>) -> Result<(), PlaneError> {
        let all = self.plane.geographies();
        let configured = all.first_tenant.is_some() && *self.tenant == TenantId::first();
        if chosen.is_some() || configured || self.tenant_get().await?.is_some() {
            return Ok(());
        }
        all.of_location(location).map(drop)
    }

    /// Removes a subscription that holds no machine. Its trial stays remembered: the same id gets no second one.
    pub async fn subscription_delete(&mut self, id: &SubscriptionId) -> Result<(), PlaneError> {
        self.subscription_known(id).await?;
        let machines = self.count("plane_machines", " AND subscription_id = $2", &[id.as_str()]).await?;
        if machines > 0 {
            return Err(PlaneError::NotEmpty { what: "subscription", count: machines });
        }
        for sql in [
            "DELETE FROM plane_plans WHERE tenant_id = $1 AND subscription_id = $2",
            "DELETE FROM plane_groups WHERE tenant_id = $1 AND subscription_id = $2",
            "DELETE FROM plane_subscriptions WHERE tenant_id = $1 AND id = $2",
        ] {
            sqlx::query(sql).bind(self.tenant.as_str()).bind(id.as_str().to_owned()).execute(self.tx.conn()).await?;
        }
        self.audit(&format!("subscription/{id}"), "deleted", None, None).await
    }

    /// Switches on or off that sensors are installed by themselves.
    pub async fn integration_set(&mut self, id: &SubscriptionId, on: bool) -> Result<(), PlaneError> {
        let old = self.subscription_known(id).await?;
        if old.integration == on {
            return Ok(());
        }
        sqlx::query("UPDATE plane_subscriptions SET integration = $3 WHERE tenant_id = $1 AND id = $2")
            .bind(self.tenant.as_str())
            .bind(id.as_str().to_owned())
            .bind(i64::from(on))
            .execute(self.tx.conn())
            .await?;
        let word = |on: bool| Some(if on { "On" } else { "Off" }.to_owned());
        self.audit(&format!("subscription/{id}"), "integration", word(!on), word(on)).await
    }

    /// Makes a resource group where it is not there yet; tells whether it is new.
    pub async fn group_put(&mut self, id: &SubscriptionId, name: &GroupName) -> Result<bool, PlaneError> {
        self.subscription_known(id).await?;
        let key = name.key();
        if self.count("plane_groups", " AND subscription_id = $2 AND name_key = $3", &[id.as_str(), &key]).await? > 0 {
            return Ok(false);
        }
        if self.count("plane_groups", " AND subscription_id = $2", &[id.as_str()]).await? >= GROUPS_MAX {
            return Err(PlaneError::TooMany { what: "resource groups", max: GROUPS_MAX });
        }
        sqlx::query(
            "INSERT INTO plane_groups (tenant_id, subscription_id, name_key, name, created) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(self.tenant.as_str())
        .bind(id.as_str().to_owned())
        .bind(key)
        .bind(name.as_str().to_owned())
        .bind(self.now.0)
        .execute(self.tx.conn())
        .await?;
        self.audit(&format!("subscription/{id}/group/{name}"), "created", None, None).await?;
        Ok(true)
    }

    /// Removes a resource group that holds no machine.
    pub async fn group_delete(&mut self, id: &SubscriptionId, name: &GroupName) -> Result<(), PlaneError> {
        let key = name.key();
        let and = " AND subscription_id = $2 AND group_key = $3";
        let machines = self.count("plane_machines", and, &[id.as_str(), &key]).await?;
        if machines > 0 {
            return Err(PlaneError::NotEmpty { what: "resource group", count: machines });
        }
        let gone =
            sqlx::query("DELETE FROM plane_groups WHERE tenant_id = $1 AND subscription_id = $2 AND name_key = $3")
                .bind(self.tenant.as_str())
                .bind(id.as_str().to_owned())
                .bind(key)
                .execute(self.tx.conn())
                .await?
                .rows_affected();
        if gone == 0 {
            return Err(PlaneError::Unknown("resource group"));
        }
        self.audit(&format!("subscription/{id}/group/{name}"), "deleted", None, None).await
    }
}
