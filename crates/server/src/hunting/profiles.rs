//! What the estate itself knows of files: the table that `FileProfile()` reads.
//!
//! The vendor's figures come from all of its customers; ours come from this tenant's devices. `Global…` therefore means
//! the estate: on how many of its devices the file was seen, and when first and last within the rows that are kept.
//! Facts that nothing here can know (signatures, verdicts) are empty.

use super::catalog::TenantCatalog;
use arrow::datatypes::DataType;
use datafusion::catalog::TableProvider;
use datafusion::catalog::view::ViewTable;
use datafusion::datasource::provider_as_source;
use datafusion::error::Result;
use datafusion::functions::expr_fn::{coalesce, nullif};
use datafusion::functions_aggregate::expr_fn::{bool_or, count_distinct, max, min};
use datafusion::logical_expr::{Expr, ExprSchemable as _, LogicalPlan, LogicalPlanBuilder, cast, ident, lit};
use datafusion::scalar::ScalarValue;
use garrison_kql::{Column, TableShape, Type};
use std::sync::Arc;

/// Its name. It is not listed among the tables: queries reach it through the function.
pub const TABLE: &str = "FileProfiles";

/// Tables that tell of files, and whether a row of it proves that the file can be executed.
const SOURCES: &[(&str, bool)] =
    &[("DeviceProcessEvents", true), ("DeviceImageLoadEvents", true), ("DeviceFileEvents", false)];

const COLUMNS: &[(&str, Type)] = &[
    ("SHA1", Type::Text),
    ("SHA256", Type::Text),
    ("MD5", Type::Text),
    ("FileSize", Type::Long),
    ("GlobalPrevalence", Type::Long),
    ("GlobalFirstSeen", Type::Datetime),
    ("GlobalLastSeen", Type::Datetime),
    ("Signer", Type::Text),
    ("Issuer", Type::Text),
    ("SignerHash", Type::Text),
    ("IsCertificateValid", Type::Bool),
    ("IsRootSignerMicrosoft", Type::Bool),
    ("SignatureState", Type::Text),
    ("IsExecutable", Type::Bool),
    ("ThreatName", Type::Text),
    ("Publisher", Type::Text),
    ("SoftwareName", Type::Text),
    ("ProfileAvailability", Type::Text),
];

/// Its columns.
pub(super) fn shape() -> TableShape {
    let columns = COLUMNS.iter().map(|(name, kind)| Column::new(*name, *kind)).collect();
    TableShape { name: TABLE.to_owned(), columns }
}

/// Its rows, over a tenant's tables.
pub(super) fn provider(catalog: &TenantCatalog) -> Option<Arc<dyn TableProvider>> {
    match plan(catalog) {
        Ok(plan) => Some(Arc::new(ViewTable::new(plan?, None))),
        Err(error) => {
            tracing::error!(%error, "the view of file profiles cannot be planned");
            None
        }
    }
}

/// `None` if a source table does not exist.
fn plan(catalog: &TenantCatalog) -> Result<Option<LogicalPlan>> {
    let mut all: Option<LogicalPlanBuilder> = None;
    for (name, executable) in SOURCES {
        let Some(table) = catalog.seen(name) else { return Ok(None) };
        let text = |column: &str| cast(coalesce(vec![ident(column), lit("")]), DataType::Utf8View).alias(column);
        let part = LogicalPlanBuilder::scan(*name, provider_as_source(table), None)?
            .project(vec![
                text("SHA1"),
                text("SHA256"),
                text("MD5"),
                ident("FileSize").alias("FileSize"),
                ident("Timestamp").alias("Timestamp"),
                ident("DeviceId").alias("DeviceId"),
                lit(*executable).alias("Executable"),
            ])?
            .filter(ident("SHA1").not_eq(lit("")).or(ident("SHA256").not_eq(lit(""))))?;
        all = Some(match all {
            None => part,
            Some(so_far) => so_far.union(part.build()?)?,
        });
    }
    let Some(all) = all else { return Ok(None) };
    // One row a SHA-1; files of which only the SHA-256 is known follow that.
    let key = coalesce(vec![nullif(ident("SHA1"), lit("")), ident("SHA256")]).alias("Key");
    let known = all.aggregate(
        vec![key],
        vec![
            max(ident("SHA1")).alias("SHA1"),
            max(ident("SHA256")).alias("SHA256"),
            max(ident("MD5")).alias("MD5"),
            max(ident("FileSize")).alias("FileSize"),
            count_distinct(ident("DeviceId")).alias("GlobalPrevalence"),
            min(ident("Timestamp")).alias("GlobalFirstSeen"),
            max(ident("Timestamp")).alias("GlobalLastSeen"),
            bool_or(ident("Executable")).alias("IsExecutable"),
        ],
    )?;
    let schema = Arc::clone(known.schema());
    let columns = COLUMNS
        .iter()
        .map(|(name, kind)| {
            let found: Expr = match *name {
                "ProfileAvailability" => lit("Available"),
                _ if schema.has_column_with_unqualified_name(name) => ident(*name),
                _ if *kind == Type::Text => lit(""),
                _ => lit(ScalarValue::try_from(&kind.arrow())?),
            };
            Ok(found.cast_to(&kind.arrow(), &schema)?.alias(*name))
        })
        .collect::<Result<Vec<Expr>>>()?;
    known.project(columns)?.build().map(Some)
}
