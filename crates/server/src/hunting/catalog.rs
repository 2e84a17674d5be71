//! The tables that a query of one tenant may name: its lake's, and views on them.

use super::TimeRange;
use super::profiles;
use super::remote::Remote;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::catalog::view::ViewTable;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, ident, lit};
use datafusion::scalar::ScalarValue;
use garrison_kql::{Catalog, Column, TableShape, Type};
use garrison_lake::Lake;
use garrison_lake::TableSpec;
use garrison_lake::provider::{LakeTableProvider, ScanFigures};
use garrison_lake::spec::{INGEST_COLUMN, TIME_COLUMN};
use garrison_model::{DeviceId, TenantId};
use garrison_telemetry::ColumnType;
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// Column that says of which device a row is.
const DEVICE_COLUMN: &str = "DeviceId";
/// Tables without such a column that hold nothing of a customer.
const COMMON: &[&str] = &[
    "DeviceBaselineComplianceAssessmentKB",
    "DeviceTvmBrowserExtensionsKB",
    "DeviceTvmInfoGatheringKB",
    "DeviceTvmSecureConfigurationAssessmentKB",
    "DeviceTvmSoftwareVulnerabilitiesKB",
];

/// Shapes of all tables; the same for every tenant.
static SHAPES: LazyLock<HashMap<&'static str, Arc<TableShape>>> = LazyLock::new(|| {
    let mut shapes: HashMap<&'static str, Arc<TableShape>> = garrison_telemetry::tables()
        .iter()
        .map(|table| {
            let columns = table.columns.iter().map(|column| Column::new(column.name, type_of(column.kind))).collect();
            (table.name, Arc::new(TableShape { name: table.name.to_owned(), columns }))
        })
        .collect();
    shapes.insert(profiles::TABLE, Arc::new(profiles::shape()));
    shapes
});

/// The language's type of a table's column.
#[must_use]
pub const fn type_of(kind: ColumnType) -> Type {
    match kind {
        ColumnType::Text => Type::Text,
        ColumnType::Long => Type::Long,
        ColumnType::Int => Type::Int,
        ColumnType::Real => Type::Real,
        ColumnType::Bool => Type::Bool,
        ColumnType::Datetime => Type::Datetime,
        ColumnType::Dynamic => Type::Dynamic,
    }
}

/// Time bounds that hold beside the query's text.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bounds {
    /// `Timestamp` of every table that is not in `unbounded`.
    pub(crate) time: TimeRange,
    /// Tables that the text bounds itself.
    pub(crate) unbounded: Vec<String>,
    /// `IngestTime`.
    pub(crate) ingested: TimeRange,
    /// `Timestamp` of every table, whatever the text says: the farthest that hunts of the tenant see.
    pub(crate) floor: Option<garrison_model::Micros>,
}

/// One tenant's tables as one query sees them: each table is as of the moment it was first asked for, so that a query
/// that names it twice sees the same rows twice.
pub struct TenantCatalog {
    tenant: TenantId,
    lake: Arc<Lake>,
    /// Read instead of the lake.
    remote: Option<Arc<Remote>>,
    bounds: Bounds,
    /// Devices whose rows may be seen, in order; `None`: all.
    devices: Option<Arc<Vec<String>>>,
    figures: Arc<ScanFigures>,
    providers: Mutex<HashMap<String, Arc<dyn TableProvider>>>,
}

impl std::fmt::Debug for TenantCatalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TenantCatalog")
            .field("tenant", &self.tenant)
            .field("bounds", &self.bounds)
            .finish_non_exhaustive()
    }
}

impl TenantCatalog {
    /// The tables of a tenant, whose lake this is.
    #[must_use]
    pub fn new(tenant: TenantId, lake: Arc<Lake>) -> Self {
        Self {
            tenant,
            lake,
            remote: None,
            bounds: Bounds::default(),
            devices: None,
            figures: Arc::default(),
            providers: Mutex::default(),
        }
    }

    /// The same over the copy on an object store.
    #[must_use]
    pub(crate) fn over(self, remote: Arc<Remote>) -> Self {
        Self { remote: Some(remote), ..self }
    }

    /// The same with the rows of these devices only. Like the tenant's, this bound is a part of the tables, and no query
    /// can step around it.
    #[must_use]
    pub(crate) fn seeing(&self, devices: &HashSet<DeviceId>) -> Self {
        let mut ids: Vec<String> = devices.iter().map(ToString::to_string).collect();
        ids.sort_unstable();
        Self { devices: Some(Arc::new(ids)), ..self.bounded(self.bounds.clone()) }
    }

    /// The same with time bounds.
    #[must_use]
    pub(crate) fn bounded(&self, bounds: Bounds) -> Self {
        Self {
            tenant: self.tenant.clone(),
            lake: Arc::clone(&self.lake),
            remote: self.remote.clone(),
            bounds,
            devices: self.devices.clone(),
            figures: Arc::default(),
            providers: Mutex::default(),
        }
    }

    /// Whose tables these are.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// What its scans counted.
    #[must_use]
    pub fn figures(&self) -> Arc<ScanFigures> {
        Arc::clone(&self.figures)
    }

    /// Folder that every file of its tables lies in.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.lake.root().to_owned()
    }

    /// The rows themselves, without time bounds.
    pub(crate) fn table(&self, name: &str) -> Option<Arc<LakeTableProvider>> {
        let table = garrison_telemetry::table(name)?;
        let snapshot = match &self.remote {
            Some(remote) => remote.lake.snapshot(name),
            None => self.lake.snapshot(name),
        };
        Some(Arc::new(match snapshot {
            Ok(snapshot) => LakeTableProvider::new(snapshot, self.figures()),
            Err(_) => LakeTableProvider::empty(&TableSpec::of(table)),
        }))
    }

    /// What hides rows of a table from the caller. A table that does not say of which device a row is, is hidden whole,
    /// unless it holds common knowledge.
    fn hides(&self, name: &str, schema: &SchemaRef) -> Option<Expr> {
        let devices = self.devices.as_ref()?;
        if schema.column_with_name(DEVICE_COLUMN).is_some() {
            let ids = devices.iter().map(|id| lit(id.as_str())).collect();
            return Some(ident(DEVICE_COLUMN).in_list(ids, false));
        }
        (!COMMON.contains(&name)).then(|| lit(false))
    }

    /// The rows that the caller may see, without time bounds.
    pub(super) fn seen(&self, name: &str) -> Option<Arc<dyn TableProvider>> {
        let table = self.table(name)?;
        let Some(filter) = self.hides(name, &table.schema()) else { return Some(table) };
        let plan = LogicalPlanBuilder::scan(name, provider_as_source(table), None).ok()?.filter(filter).ok()?;
        Some(Arc::new(ViewTable::new(plan.build().ok()?, None)))
    }

    fn bounded_table(&self, name: &str) -> Option<Arc<dyn TableProvider>> {
        let table = self.table(name)?;
        let schema = table.schema();
        let mut filters = Vec::new();
        if schema.column_with_name(TIME_COLUMN).is_some()
            && !self.bounds.unbounded.iter().any(|t| t.eq_ignore_ascii_case(name))
        {
            filters.extend(within(TIME_COLUMN, self.bounds.time));
        }
        if schema.column_with_name(TIME_COLUMN).is_some() {
            filters.extend(within(TIME_COLUMN, TimeRange { from: self.bounds.floor, to: None }));
        }
        if schema.column_with_name(INGEST_COLUMN).is_some() {
            filters.extend(within(INGEST_COLUMN, self.bounds.ingested));
        }
        filters.extend(self.hides(name, &schema));
        if filters.is_empty() || table.snapshot().is_none() {
            return Some(table);
        }
        let mut plan = LogicalPlanBuilder::scan(name, provider_as_source(table), None).ok()?;
        for filter in filters {
            plan = plan.filter(filter).ok()?;
        }
        Some(Arc::new(ViewTable::new(plan.build().ok()?, None)))
    }
}

fn within(column: &str, range: TimeRange) -> Vec<Expr> {
    let time = |micros: i64| lit(ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into())));
    let from = range.from.map(|from| ident(column).gt_eq(time(from.0)));
    let to = range.to.map(|to| ident(column).lt(time(to.0)));
    from.into_iter().chain(to).collect()
}

impl Catalog for TenantCatalog {
    fn names(&self) -> Vec<String> {
        garrison_telemetry::tables().iter().map(|table| table.name.to_owned()).collect()
    }

    fn shape(&self, table: &str) -> Option<Arc<TableShape>> {
        SHAPES.get(table).cloned()
    }

    fn provider(&self, table: &str) -> Option<Arc<dyn TableProvider>> {
        let mut providers = self.providers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = providers.get(table) {
            return Some(Arc::clone(known));
        }
        let made = if table == profiles::TABLE { profiles::provider(self)? } else { self.bounded_table(table)? };
        providers.insert(table.to_owned(), Arc::clone(&made));
        Some(made)
    }
}
