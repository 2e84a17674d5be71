//! Tenants: made by themselves, in a geography that never changes.

use super::geographies::GeographySettings;
use super::{Change, Plane, PlaneError};
use crate::db::columns;
use crate::shared::rfc3339;
use garrison_model::{Geography, Micros, Tenant, TenantId};
use sqlx::Row as _;
use sqlx::any::AnyRow;

fn read(row: &AnyRow) -> Result<Tenant, PlaneError> {
    let (id, geography): (String, String) = (row.try_get("id")?, row.try_get("geography")?);
    Ok(Tenant {
        id: TenantId::new(id).map_err(PlaneError::stored("tenant"))?,
        geography: Geography::new(&geography).map_err(PlaneError::stored("tenant"))?,
        lake_root: row.try_get("lake_root")?,
        control_root: row.try_get("control_root")?,
        origin: row.try_get("origin")?,
        created_time: rfc3339(Micros(row.try_get("created")?)),
    })
}

impl Plane {
    /// A tenant; unknown until the first machine is connected or the first plan switched on.
    pub async fn tenant(&self, tenant: &TenantId) -> Result<Tenant, PlaneError> {
        let row = sqlx::query("SELECT * FROM plane_tenants WHERE id = $1")
            .bind(tenant.as_str())
            .fetch_optional(self.db.pool())
            .await?;
        read(&row.ok_or(PlaneError::Unknown("tenant"))?)
    }

    /// Ids of all tenants that were made, but for one that is being erased.
    pub async fn tenants(&self) -> Result<Vec<TenantId>, PlaneError> {
        let rows = sqlx::query("SELECT id FROM plane_tenants WHERE state <> 'Erased' ORDER BY id")
            .fetch_all(self.db.pool())
            .await?;
        let read = |row: &AnyRow| TenantId::new(row.try_get::<String, _>("id")?).map_err(PlaneError::stored("tenant"));
        rows.iter().map(read).collect()
    }

    /// Makes a tenant in a geography that was chosen; false if there is one of this id.
    pub async fn tenant_open(
        &self,
        tenant: &TenantId,
        geography: &Geography,
        who: &str,
        now: Micros,
    ) -> Result<bool, PlaneError> {
        let mut change = self.change(tenant, who, now).await?;
        if change.tenant_get().await?.is_some() {
            return Ok(false);
        }
        change.tenant_ensure(Some(geography), "", "operator").await?;
        change.commit().await?;
        Ok(true)
    }

    /// The geography that a tenant rests in, or will rest in because the configuration says so; none while that is open.
    pub async fn rests(&self, tenant: &TenantId) -> Result<Option<GeographySettings>, PlaneError> {
        match self.tenant(tenant).await {
            Ok(tenant) => self.geographies.get(&tenant.geography).cloned().map(Some),
            Err(PlaneError::Unknown(_)) => {
                let first = self.geographies.first_tenant.as_ref().filter(|_| *tenant == TenantId::first());
                first.map(|code| self.geographies.get(code).cloned()).transpose()
            }
            Err(error) => Err(error),
        }
    }

    /// For a reset: the tenant's data is being erased, so its rows may go.
    pub async fn tenant_erased(&self, tenant: &TenantId) -> Result<(), PlaneError> {
        let mut tx = self.db.write().await?;
        sqlx::query("UPDATE plane_tenants SET state = 'Erased' WHERE id = $1")
            .bind(tenant.as_str())
            .execute(tx.conn())
            .await?;
        Ok(tx.commit().await?)
    }

    /// For a reset: a tenant whose data was erased starts anew in another geography. Done twice, it is done once.
    pub async fn tenant_anew(&self, tenant: &TenantId, to: &Geography, now: Micros) -> Result<(), PlaneError> {
        let settings = self.geographies.get(to)?;
        let mut tx = self.db.write().await?;
        sqlx::query("DELETE FROM plane_tenants WHERE id = $1 AND state = 'Erased'")
            .bind(tenant.as_str())
            .execute(tx.conn())
            .await?;
        sqlx::query(
            "INSERT INTO plane_tenants (id, geography, lake_root, control_root, origin, state, created, created_by) \
             SELECT $1, $2, $3, $4, 'Reset', 'Active', $5, 'operator' \
             WHERE NOT EXISTS (SELECT 1 FROM plane_tenants WHERE id = $1)",
        )
        .bind(tenant.as_str())
        .bind(to.as_str().to_owned())
        .bind(settings.lake.clone())
        .bind(settings.control.clone())
        .bind(now.0)
        .execute(tx.conn())
        .await?;
        Ok(tx.commit().await?)
    }

    /// Refuses a configuration in which a tenant's geography is gone, or has other roots than when the tenant was made.
    pub(super) async fn tenants_check(&self) -> Result<(), PlaneError> {
        let rows = sqlx::query("SELECT * FROM plane_tenants WHERE state <> 'Erased' ORDER BY id")
            .fetch_all(self.db.pool())
            .await?;
        for row in &rows {
            let tenant = read(row)?;
            let moved = |what: String| PlaneError::GeographyMoved { tenant: tenant.id.to_string(), what };
            let code = &tenant.geography;
            let Some(settings) = self.geographies.known.get(code) else {
                return Err(moved(format!("it rests in `{code}`, and the section `[geographies.{code}]` is gone")));
            };
            for (key, was, is) in
                [("lake", &tenant.lake_root, &settings.lake), ("control", &tenant.control_root, &settings.control)]
            {
                if was != is {
                    return Err(moved(format!("`geographies.{code}.{key}` was `{was}` and is `{is}`")));
                }
            }
            if tenant.id == TenantId::first()
                && let Some(asked) = self.geographies.first_tenant.as_ref().filter(|asked| *asked != code)
            {
                return Err(moved(format!("it rests in `{code}`, and `tenant.geography` says `{asked}`")));
            }
        }
        Ok(())
    }
}

impl Change<'_> {
    /// The tenant as it is, if it is there.
    pub(super) async fn tenant_get(&mut self) -> Result<Option<Tenant>, PlaneError> {
        let row = sqlx::query("SELECT * FROM plane_tenants WHERE id = $1")
            .bind(self.tenant.as_str())
            .fetch_optional(self.tx.conn())
            .await?;
        row.as_ref().map(read).transpose()
    }

    /// Makes the tenant where it is not there yet: in the geography that was chosen, else that of the configuration, else
    /// that of the location. Where it is there, a choice must be the same.
    pub(super) async fn tenant_ensure(
        &mut self,
        chosen: Option<&Geography>,
        location: &str,
        origin: &str,
    ) -> Result<Tenant, PlaneError> {
        if let Some(tenant) = self.tenant_get().await? {
            return match chosen {
                Some(asked) if *asked != tenant.geography => {
                    Err(PlaneError::GeographyFixed { has: tenant.geography, asked: asked.clone() })
                }
                _ => Ok(tenant),
            };
        }
        let all = self.plane.geographies();
        let configured = all.first_tenant.as_ref().filter(|_| *self.tenant == TenantId::first());
        let geography = match (configured, chosen) {
            (Some(configured), Some(chosen)) if configured != chosen => {
                return Err(PlaneError::GeographyFixed { has: configured.clone(), asked: chosen.clone() });
            }
            (Some(geography), _) | (None, Some(geography)) => geography.clone(),
            (None, None) => all.of_location(location)?.clone(),
        };
        let settings = all.get(&geography)?;
        sqlx::query(
            "INSERT INTO plane_tenants (id, geography, lake_root, control_root, origin, state, created, created_by) \
             VALUES ($1, $2, $3, $4, $5, 'Active', $6, $7)",
        )
        .bind(self.tenant.as_str())
        .bind(geography.as_str().to_owned())
        .bind(settings.lake.clone())
        .bind(settings.control.clone())
        .bind(origin.to_owned())
        .bind(self.now.0)
        .bind(self.plane.db.seal_own().put(columns::TENANT_AUTHOR, self.who)?)
        .execute(self.tx.conn())
        .await?;
        self.audit("tenant", "created", None, Some(geography.to_string())).await?;
        self.tenant_get().await?.ok_or(PlaneError::Unknown("tenant"))
    }

    /// Refuses another geography, and says why; the same one is no change. A tenant that is not there yet is made when
    /// its first machine or plan comes, so there is nothing to choose before.
    pub async fn tenant_geography(&mut self, asked: &Geography) -> Result<Tenant, PlaneError> {
        self.plane.geographies().get(asked)?;
        let tenant = self.tenant_get().await?.ok_or(PlaneError::Unknown("tenant"))?;
        if tenant.geography == *asked {
            return Ok(tenant);
        }
        Err(PlaneError::GeographyFixed { has: tenant.geography, asked: asked.clone() })
    }
}
