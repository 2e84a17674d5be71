//! `garrison tenant key …` and `garrison tenant reset …`: what concerns data at rest. These commands work on the data
//! folder and need no server, but for `reset --off-board`.

use super::client::typed;
use super::{CliError, Client, Globals, Printer, clean};
use crate::config::Config;
use crate::connect::OffBoarding;
use crate::reset::{Reset, ResetError, Scope, verify};
use crate::rest::{Place, TenantKey, place_of};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use garrison_model::Geography;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Keys of tenants.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Prints the key that opens the Parquet files of the lake, for DuckDB, pyarrow, Spark. Whoever has it reads all rows.
    Show {
        /// Says that the key for readers is wanted; the tenant's own key is never shown.
        #[arg(long, required_unless_present = "for_query_server")]
        for_reader: bool,
        /// Writes the same key into a file of mode 0600, for `lake.key_file` of query servers and executors.
        #[arg(long, value_name = "FILE", conflicts_with = "for_reader")]
        for_query_server: Option<PathBuf>,
    },
}

/// Runs `garrison tenant key …`.
pub(super) fn key(command: &KeyCommand, globals: &Globals, printer: &Printer) -> Result<(), CliError> {
    let KeyCommand::Show { for_query_server, .. } = command;
    let tenant = &globals.tenant_or_first();
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
    if let Some(path) = for_query_server {
        crate::rest::reader_key_write(path, tenant, &opened).map_err(|e| failed(&e))?;
        if !printer.is_table() {
            let file = path.display().to_string();
            return printer.json(&json!({ "tenant": tenant, "keyId": opened.id(), "file": file }));
        }
        eprintln!(
            "The key `{}` is in {}. Whoever has it reads all telemetry of tenant `{tenant}`.",
            opened.id(),
            path.display()
        );
        return Ok(());
    }
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
        (
            "Spark",
            "a DecryptionPropertiesFactory that answers builder().withFooterKey(key) (data-protection.md)".to_owned(),
        ),
    ]);
    Ok(())
}

/// `garrison tenant reset`.
#[derive(Debug, Args)]
pub struct ResetArgs {
    #[command(subcommand)]
    command: Option<ResetCommand>,
    /// Geography that the tenant is to begin anew in.
    #[arg(long, required_unless_present = "off_board")]
    to: Option<Geography>,
    /// Before the reset, while the server runs: off-boards every machine that has a connector, and waits.
    #[arg(long, conflicts_with_all = ["confirm", "to"])]
    off_board: bool,
    /// Seconds that --off-board waits for machines that are heard of.
    #[arg(long, default_value_t = 600, requires = "off_board")]
    wait: u64,
    /// Does it though sensors are still on machines: they stay there and are shut out.
    #[arg(long, requires = "confirm")]
    leave_machines: bool,
    /// Digest of the dry run: does it. Without it nothing is done.
    #[arg(long)]
    confirm: Option<String>,
    /// Configuration file of the server.
    #[arg(long, env = "GARRISON_CONFIG")]
    config: Option<PathBuf>,
    /// Database of the server, where its configuration file does not name it.
    #[arg(long, env = "GARRISON_DATABASE", hide_env_values = true)]
    database: Option<String>,
}

/// Beside doing it.
#[derive(Debug, Subcommand)]
pub enum ResetCommand {
    /// Checks the signed record of a reset; says what was done.
    Verify {
        /// The record.
        file: PathBuf,
        /// Public key that must have signed it, as `garrison audit export` prints it.
        #[arg(long)]
        key: Option<String>,
    },
}

fn reset_failed(error: &ResetError) -> CliError {
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        words = format!("{words}: {source}");
        cause = source.source();
    }
    if matches!(error, ResetError::Lake(garrison_lake::LakeError::Locked { .. })) {
        words.push_str("; stop the server first: a reset works on the data folder alone");
    }
    CliError::Failed(words)
}

/// Runs `garrison tenant reset …`.
pub(super) async fn reset(arguments: &ResetArgs, globals: &Globals, printer: &Printer) -> Result<(), CliError> {
    if let Some(ResetCommand::Verify { file, key }) = &arguments.command {
        return reset_verify(file, key.as_deref(), printer);
    }
    if arguments.off_board {
        return off_board(arguments.wait, globals, printer).await;
    }
    let Some(to) = &arguments.to else {
        return Err(CliError::usage("no geography was named".to_owned(), "write --to CODE"));
    };
    let tenant = &globals.tenant_or_first();
    let mut config = match &arguments.config {
        Some(path) => Config::load(path, &globals.data).map_err(|e| CliError::Failed(e.to_string()))?,
        None => Config::at(&globals.data),
    };
    if let Some(url) = &arguments.database {
        config.database_url = Some(url.clone());
    }
    let begun = crate::reset::pending(&config.data).is_some();
    let reset = Reset::open(&config).await.map_err(|e| reset_failed(&e))?;
    let Some(digest) = &arguments.confirm else {
        if begun {
            return Err(CliError::Failed("a reset was begun; run it with --confirm to go on with it".to_owned()));
        }
        let scope = reset.look(tenant, to).await.map_err(|e| reset_failed(&e))?;
        return reset_show(&scope, printer);
    };
    let done = reset.run(tenant, to, digest, arguments.leave_machines, crate::now, None).await;
    let (path, signed) = done.map_err(|e| reset_failed(&e))?;
    if !printer.is_table() {
        return printer.json(&signed);
    }
    for done in &signed.record.steps {
        printer.line(&format!("{}  {:?}: {}", done.time, done.step, clean(&done.what)));
    }
    eprintln!("The signed record is in {}. Keep it elsewhere too, with the key {}.", path.display(), signed.public_key);
    Ok(())
}

/// How often the server is asked how far machines are.
const OFF_BOARD_ASK: Duration = Duration::from_secs(2);

/// Asks the running server to off-board every machine that it reaches, and waits until those that are heard of are done.
async fn off_board(wait: u64, globals: &Globals, printer: &Printer) -> Result<(), CliError> {
    const PATH: &str = "/tenant/off-board";
    let client = Client::connect(globals)?;
    let until = tokio::time::Instant::now() + Duration::from_secs(wait);
    let mut found: OffBoarding = typed(client.post(PATH, &json!({})).await?)?;
    let mut told = String::new();
    while !found.is_settled() && tokio::time::Instant::now() < until {
        let words =
            format!("{} of {} machines are off-boarded, {} are at it", found.done, found.machines, found.under_way);
        if words != told {
            eprintln!("{words}");
            told = words;
        }
        tokio::time::sleep_until((tokio::time::Instant::now() + OFF_BOARD_ASK).min(until)).await;
        found = client.fetch(PATH).await?;
    }
    if printer.is_table() {
        printer.pairs(&[
            ("machines", found.machines.to_string()),
            ("off-boarded", found.done.to_string()),
            ("at it still", found.under_way.to_string()),
            ("not reached", found.not_reached.to_string()),
            ("not told", found.not_told.to_string()),
            ("without a connector", found.without_connector.to_string()),
            ("sensors without a machine", found.sensors_without_machine.to_string()),
        ]);
        if !found.open.is_empty() {
            printer.list(&["MACHINE", "STATE", "WHY"], &found.open, |line| {
                vec![line.resource_id.to_string(), line.connection.to_string(), clean(&line.why)]
            })?;
        }
    } else {
        printer.json(&found)?;
    }
    if found.is_done() {
        eprintln!("Nothing of ours is left on machines: stop the server and reset the tenant.");
        return Ok(());
    }
    Err(CliError::Failed(
        "not every machine is off-boarded; wait and run it again, or reset with --leave-machines".to_owned(),
    ))
}

fn reset_show(scope: &Scope, printer: &Printer) -> Result<(), CliError> {
    if !printer.is_table() {
        return printer.json(&json!({ "scope": scope, "digest": scope.digest() }));
    }
    let rows: u64 = scope.rows.values().sum();
    printer.pairs(&[
        ("tenant", clean(&scope.tenant)),
        ("leaves", scope.from.clone()),
        ("begins anew in", scope.to.clone()),
        ("key destroyed first", scope.key.clone().unwrap_or_else(|| "none: the lake is not sealed".to_owned())),
        ("devices shut out", scope.devices.to_string()),
        ("machines off-boarded", scope.off_boarded.len().to_string()),
        ("machines left as they are", scope.left_machines.len().to_string()),
        ("sensors without a machine", scope.left_sensors.len().to_string()),
        ("rows of control data", format!("{rows} in {} tables", scope.rows.len())),
        ("files", format!("{} ({} bytes) in {}", scope.files, scope.bytes, clean(&scope.lake))),
        ("new lake", clean(&scope.new_lake)),
        ("digest", scope.digest()),
    ]);
    eprintln!("Nothing was done.");
    let left = !scope.left_machines.is_empty() || !scope.left_sensors.is_empty();
    if left {
        const SHOWN: usize = 20;
        for name in scope.left_machines.iter().chain(&scope.left_sensors).take(SHOWN) {
            eprintln!("  keeps its sensor or connector: {}", clean(name));
        }
        eprintln!("Start the server and run `garrison tenant reset --off-board` to let them go.");
    }
    let leave = if left { " --leave-machines" } else { "" };
    eprintln!("This cannot be undone. To do it, run the same with --confirm {}{leave}", scope.digest());
    Ok(())
}

fn reset_verify(file: &Path, key: Option<&str>, printer: &Printer) -> Result<(), CliError> {
    let text = std::fs::read(file).map_err(|source| CliError::File { path: file.display().to_string(), source })?;
    let record = verify(&text, key).map_err(|e| CliError::Failed(e.to_string()))?;
    if !printer.is_table() {
        return printer.json(&record);
    }
    let scope = &record.scope;
    printer.line(&format!("The record holds: tenant {} left {} for {}.", clean(&scope.tenant), scope.from, scope.to));
    for done in &record.steps {
        printer.line(&format!("{}  {:?}: {}", clean(&done.time), done.step, clean(&done.what)));
    }
    Ok(())
}
