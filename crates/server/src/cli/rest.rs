//! `garrison tenant key …`: what concerns data at rest. These commands read the data folder and need no server.

use super::{CliError, Globals, Printer};
use crate::rest::{Place, TenantKey, place_of};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Subcommand;
use garrison_model::TenantId;
use serde_json::json;

/// Keys of tenants.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Prints the key that opens the Parquet files of the lake, for DuckDB, pyarrow, Spark. Whoever has it reads all rows.
    Show {
        /// Says that the key for readers is wanted; the tenant's own key is never shown.
        #[arg(long, required = true)]
        for_reader: bool,
        /// Tenant.
        #[arg(long, default_value = "default")]
        tenant: TenantId,
    },
}

/// Runs `garrison tenant key …`.
pub(super) fn key(command: &KeyCommand, globals: &Globals, printer: &Printer) -> Result<(), CliError> {
    let KeyCommand::Show { tenant, .. } = command;
    let failed = |error: &dyn std::error::Error| {
        let cause = error.source().map(|source| format!(": {source}")).unwrap_or_default();
        CliError::Failed(format!("{error}{cause}"))
    };
    let Some(Place { lake, key }) = place_of(&globals.data, tenant).map_err(|e| failed(&e))? else {
        return Err(CliError::Missing(format!(
            "no server has run in `{}`, or it has no tenant `{tenant}`; name the server's data folder with --data",
            globals.data.display()
        )));
    };
    if !key.exists() {
        return Err(CliError::Missing(format!("tenant `{tenant}` has no key: its lake is not sealed")));
    }
    let opened = TenantKey::read(&globals.data, tenant, &key).and_then(|key| key.lake()).map_err(|e| failed(&e))?;
    let text = STANDARD.encode(opened.reader_key());
    if !printer.is_table() {
        return printer.json(&json!({
            "tenant": tenant, "keyId": opened.id(), "readerKey": text, "lake": lake.display().to_string(),
        }));
    }
    eprintln!("Whoever has this key reads all telemetry of tenant `{tenant}`. It opens nothing but the Parquet files.");
    let files = format!("{}/DeviceProcessEvents/*/*.parquet", lake.display());
    printer.pairs(&[
        ("tenant", tenant.to_string()),
        ("key id", opened.id().to_owned()),
        ("reader key", text.clone()),
        ("lake", lake.display().to_string()),
        ("DuckDB", format!("PRAGMA add_parquet_key('tenant', '{text}')")),
        ("", format!("SELECT * FROM read_parquet('{files}', encryption_config = {{footer_key: 'tenant'}})")),
        ("pyarrow", format!("p = pyarrow.parquet.encryption.create_decryption_properties(base64.b64decode('{text}'))")),
        ("", "pyarrow.parquet.read_table(FILE, decryption_properties=p, partitioning=None)".to_owned()),
        ("Spark", "a DecryptionPropertiesFactory that answers builder().withFooterKey(key) (data-protection.md)".to_owned()),
    ]);
    Ok(())
}
