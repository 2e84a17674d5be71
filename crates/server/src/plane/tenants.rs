//! Tenants: made by themselves, in a geography that never changes.

use super::geographies::GeographySettings;
use super::{Change, Plane, PlaneError};
use crate::db::{Db, columns};
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

/// What a record of a tenant holds: geography, roots, origin, time, and who made it, sealed with the server's key.
type Record = (String, String, String, String, i64, String);

async fn record(db: &Db, tenant: &TenantId) -> Result<Option<Record>, PlaneError> {
    let row = sqlx::query("SELECT * FROM plane_tenants WHERE id = $1 AND state <> 'Erased'")
        .bind(tenant.as_str())
        .fetch_optional(db.pool())
        .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some((
        row.try_get("geography")?,
        row.try_get("lake_root")?,
        row.try_get("control_root")?,
        row.try_get("origin")?,
        row.try_get("created")?,
        row.try_get("created_by")?,
    )))
}

async fn record_write(db: &Db, tenant: &TenantId, record: &Record) -> Result<(), PlaneError> {
    let (geography, lake, control, origin, created, by) = record.clone();
    let mut tx = db.write().await?;
    sqlx::query(
        "INSERT INTO plane_tenants (id, geography, lake_root, control_root, origin, state, created, created_by) \
         VALUES ($1, $2, $3, $4, $5, 'Active', $6, $7)",
    )
    .bind(tenant.as_str())
    .bind(geography)
    .bind(lake)
    .bind(control)
    .bind(origin)
    .bind(created)
    .bind(by)
    .execute(tx.conn())
    .await?;
    Ok(tx.commit().await?)
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

    /// In the server's own list: makes a tenant in a geography that was chosen; false if there is one of this id. With
    /// `shared`, tenants without a database of their geography lie in the server's own, which is in one place.
    pub async fn tenant_open(
        &self,
        tenant: &TenantId,
        geography: &Geography,
        shared: bool,
        who: &str,
        now: Micros,
    ) -> Result<bool, PlaneError> {
        let settings = self.geographies.get(geography)?;
        let mut change = self.change(tenant, who, now).await?;
        if change.tenant_get().await?.is_some() {
            return Ok(false);
        }
        if shared && settings.database.is_none() {
            change.one_place(geography).await?;
        }
        change.tenant_insert(geography, settings, "operator").await?;
        change.commit().await?;
        Ok(true)
    }

    /// In the tenant's own database: writes down who made it, once it is open.
    pub async fn tenant_opened(&self, tenant: &TenantId, who: &str, now: Micros) -> Result<(), PlaneError> {
        let mut change = self.change(tenant, who, now).await?;
        let geography = change.tenant_get().await?.ok_or(PlaneError::Unknown("tenant"))?.geography;
        change.audit("tenant", "created", None, Some(geography.to_string())).await?;
        change.commit().await
    }

    /// Whether control data of a tenant has begun in its geography, as the server's own list has it.
    pub async fn tenant_settled(&self, tenant: &TenantId) -> Result<bool, PlaneError> {
        let list = self.list.as_ref().unwrap_or(&self.db);
        let row = sqlx::query("SELECT settled FROM plane_tenants WHERE id = $1 AND state <> 'Erased'")
            .bind(tenant.as_str())
            .fetch_optional(list.pool())
            .await?;
        Ok(row.map(|row| row.try_get::<i64, _>(0)).transpose()?.is_some_and(|settled| settled != 0))
    }

    /// Whether the tenant's own database knows it.
    pub async fn tenant_at_home(&self, tenant: &TenantId) -> Result<bool, PlaneError> {
        Ok(record(&self.db, tenant).await?.is_some())
    }

    /// The tenant's record is in its own database and in the server's list: written where it is missing, refused where the
    /// two differ. Nothing is to be done where both are one.
    pub async fn tenant_list_keep(&self, tenant: &TenantId) -> Result<(), PlaneError> {
        let Some(list) = &self.list else { return Ok(()) };
        let (here, there) = (record(&self.db, tenant).await?, record(list, tenant).await?);
        match (&here, &there) {
            (None, None) => return Ok(()),
            (Some(here), Some(there)) if here.0 != there.0 => {
                return Err(PlaneError::GeographyMoved {
                    tenant: tenant.to_string(),
                    what: format!("its control data is of {}, and the server's list says {}", here.0, there.0),
                });
            }
            (Some(_), Some(_)) => {}
            (None, Some(record)) => record_write(&self.db, tenant, record).await?,
            (Some(record), None) => record_write(list, tenant, record).await?,
        }
        let mut tx = list.write().await?;
        sqlx::query("UPDATE plane_tenants SET settled = 1 WHERE id = $1 AND settled = 0")
            .bind(tenant.as_str())
            .execute(tx.conn())
            .await?;
        tx.commit().await?;
        Ok(list.sync().await?)
    }

    /// Refuses a geography in which a tenant's control data would lie with that of another one, in the server's database.
    pub async fn tenant_place_check(&self, tenant: &TenantId, geography: &Geography) -> Result<(), PlaneError> {
        if self.geographies.get(geography)?.database.is_some() {
            return Ok(());
        }
        self.change(tenant, "", Micros(0)).await?.one_place(geography).await
    }

    /// For a reset: the record of a tenant in its own database goes, if that is not the server's.
    pub async fn tenant_gone(&self, tenant: &TenantId) -> Result<(), PlaneError> {
        if self.list.is_none() {
            return Ok(());
        }
        let mut tx = self.db.write().await?;
        for sql in
            ["UPDATE plane_tenants SET state = 'Erased' WHERE id = $1", "DELETE FROM plane_tenants WHERE id = $1"]
        {
            sqlx::query(sql).bind(tenant.as_str()).execute(tx.conn()).await?;
        }
        Ok(tx.commit().await?)
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
        if self.plane.list.is_none() {
            // Control data lies in the server's own database already.
            if settings.database.is_some() {
                return Err(PlaneError::Database { geography, tenant: self.tenant.to_string() });
            }
            self.one_place(&geography).await?;
        }
        self.tenant_insert(&geography, settings, origin).await?;
        self.audit("tenant", "created", None, Some(geography.to_string())).await?;
        self.tenant_get().await?.ok_or(PlaneError::Unknown("tenant"))
    }

    async fn tenant_insert(
        &mut self,
        geography: &Geography,
        settings: &GeographySettings,
        origin: &str,
    ) -> Result<(), PlaneError> {
        let by = self.plane.db.seal_own().put(columns::TENANT_AUTHOR, self.who)?;
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
        .bind(by)
        .execute(self.tx.conn())
        .await?;
        self.makes = true;
        Ok(())
    }

    /// Refuses a geography in a database that holds control data of another one.
    async fn one_place(&mut self, geography: &Geography) -> Result<(), PlaneError> {
        let sql =
            "SELECT DISTINCT geography FROM plane_tenants WHERE state <> 'Erased' AND id <> $1 ORDER BY geography";
        let rows = sqlx::query(sql).bind(self.tenant.as_str()).fetch_all(self.tx.conn()).await?;
        for row in &rows {
            let other = Geography::new(&row.try_get::<String, _>(0)?).map_err(PlaneError::stored("tenant"))?;
            let apart = self.plane.geographies.known.get(&other).is_some_and(|g| g.database.is_some());
            if other != *geography && !apart {
                return Err(PlaneError::TwoGeographies { has: other, asked: geography.clone() });
            }
        }
        Ok(())
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
