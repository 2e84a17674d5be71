//! The central store: what leaves a geography for statistics and prevalence over all fleets. Off unless configured.
//!
//! A line says how often a file with this hash was seen on how many devices, or how many rows a table got. Nothing else
//! leaves: only what is on the list below is written, in these forms, so that a new column of a table cannot slip out.
//!
//! | field | form |
//! |---|---|
//! | tenant, device, account, file name | keyed pseudonym: HMAC-SHA-256 of kind and value, 16 bytes in hexadecimal |
//! | SHA-256 of a file | as it is, if it is one |
//! | folder | one of a fixed list of system folders, `user` for what lies in a user's, `other` |
//! | table, geography, day, counts | as they are |
//!
//! The key of the pseudonyms comes from the tenant's own key and stays in its geography. Destroying that makes all
//! pseudonyms of the tenant names of nobody. Formats: docs/reference/data-protection.md.

use crate::rest::{KeyError, RestError, TenantKey, place_of};
use crate::retention::DAY;
use crate::shared::{Shared, rfc3339};
use garrison_lake::{LakeError, ScanRequest};
use garrison_model::Micros;
use garrison_telemetry::TextColumn;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, HashSet};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// Days that are looked back for ones that were not written yet: a week without the server is made up for.
const DAYS_BACK: i64 = 7;
/// Files of a day: beyond, the rarest are what a central store needs least, so the rest is counted and left out.
const FILES_MAX: usize = 200_000;
/// Bytes of a pseudonym: no two of a fleet's millions of names meet by chance.
const PSEUDONYM_BYTES: usize = 16;
/// Columns that are read, where a table has them.
const COLUMNS: [&str; 5] = ["DeviceId", "SHA256", "FileName", "FolderPath", "AccountName"];
/// Folders that may be named, the longer before the shorter.
const FOLDERS: &[&str] = &[
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/usr/lib",
    "/usr",
    "/sbin",
    "/bin",
    "/lib",
    "/opt",
    "/etc",
    "/var",
    "/tmp",
    "/dev/shm",
    "/boot",
    "/run",
];
/// What lies in a user's folder.
const OF_USERS: &[&str] = &["/home", "/root", "/export/home", "/users", "/var/home"];

/// The central store could not be written.
#[derive(Debug, thiserror::Error)]
pub enum CentralError {
    /// A key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Where data is.
    #[error(transparent)]
    Rest(#[from] RestError),
    /// The lake.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// The cloud plane.
    #[error(transparent)]
    Plane(#[from] crate::plane::PlaneError),
    /// A file.
    #[error("cannot {step} `{path}`")]
    Io {
        /// What was tried.
        step: &'static str,
        /// Where.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
}

/// HMAC-SHA-256 (RFC 2104) with a key of at most 64 bytes.
fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let pad = |with: u8| {
        let mut block = [with; 64];
        block.iter_mut().zip(key).for_each(|(b, k)| *b ^= k);
        block
    };
    let mut inner = Sha256::new_with_prefix(pad(0x36));
    parts.iter().for_each(|part| inner.update(part));
    Sha256::new_with_prefix(pad(0x5c)).chain_update(inner.finalize()).finalize().into()
}

/// Makes pseudonyms that only the holder of the key can make.
pub struct Pseudonyms([u8; 32]);

impl std::fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pseudonyms")
    }
}

impl Pseudonyms {
    /// With a key that comes from this secret.
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(hmac(secret, &[b"garrison central pseudonyms 1"]))
    }

    /// The pseudonym of a value of this kind.
    pub fn of(&self, kind: &str, value: &str) -> String {
        let whole = hmac(&self.0, &[kind.as_bytes(), &[0], value.as_bytes()]);
        hex::encode(whole.get(..PSEUDONYM_BYTES).unwrap_or_default())
    }
}

/// The word for a folder.
fn folder_word(path: &str) -> &'static str {
    let below = |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if OF_USERS.iter().any(|root| below(root)) {
        return "user";
    }
    FOLDERS.iter().find(|root| below(root)).copied().unwrap_or("other")
}

/// A hash in lower case, if the text is one.
fn hash(text: &str) -> Option<String> {
    (text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())).then(|| text.to_ascii_lowercase())
}

/// What is known of one file on one day.
#[derive(Debug, Default)]
struct Seen {
    rows: u64,
    devices: HashSet<String>,
    accounts: HashSet<String>,
    names: HashSet<String>,
    folders: HashSet<&'static str>,
}

/// A line of the store. The order of the fields is part of the format.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "kind")]
enum Line<'a> {
    /// What the file is about.
    Day { version: u32, geography: &'a str, tenant: &'a str, day: &'a str, files_left_out: u64 },
    /// A table.
    Table { table: &'a str, rows: u64, devices: usize },
    /// A file that ran or was written.
    File {
        sha256: &'a str,
        rows: u64,
        devices: usize,
        accounts: usize,
        names: Vec<&'a String>,
        folders: Vec<&'static str>,
    },
}

/// Names of one file that are kept: a file with more is named at random.
const NAMES_MAX: usize = 8;

/// Writes the days that are over and not written yet; how many.
pub async fn export(shared: &Shared, now: Micros) -> Result<usize, CentralError> {
    let Some(root) = shared.config.central.clone() else { return Ok(0) };
    let Some(geography) = shared.plane.rests(&shared.tenant).await?.and(shared.plane.tenant(&shared.tenant).await.ok())
    else {
        return Ok(0);
    };
    let Some(place) = place_of(&shared.data, &shared.tenant)? else { return Ok(0) };
    let secret = TenantKey::ensure(&shared.data, &shared.tenant, &place.key)?;
    let (lake, code) = (std::sync::Arc::clone(&shared.lake), geography.geography.to_string());
    let tenant = shared.tenant.clone();
    let write = move || -> Result<usize, CentralError> {
        let names = secret.pseudonyms();
        let tenant = names.of("tenant", tenant.as_str());
        let folder = root.join(&code).join(&tenant);
        let today = now.0.div_euclid(DAY);
        let mut written = 0;
        for day in today - DAYS_BACK..today {
            let word: String = rfc3339(Micros(day * DAY)).chars().take(10).collect();
            let path = folder.join(format!("{word}.jsonl"));
            if path.exists() {
                continue;
            }
            let text = day_text(&lake, &names, (&code, &tenant, &word), day)?;
            put(&folder, &path, &text)?;
            written += 1;
        }
        Ok(written)
    };
    tokio::task::spawn_blocking(write).await.unwrap_or(Ok(0))
}

fn put(folder: &Path, path: &Path, text: &[u8]) -> Result<(), CentralError> {
    let failed = |step: &'static str, path: &Path| {
        let path = path.to_owned();
        move |source| CentralError::Io { step, path, source }
    };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed("make folder", folder))?;
    crate::identity::keys::write_private(path, text).map_err(failed("write", path))
}

fn day_text(
    lake: &garrison_lake::Lake,
    names: &Pseudonyms,
    (geography, tenant, word): (&str, &str, &str),
    day: i64,
) -> Result<Vec<u8>, CentralError> {
    let (from, to) = (Some(Micros(day * DAY)), Some(Micros((day + 1) * DAY)));
    let (mut files, mut left_out): (BTreeMap<String, Seen>, u64) = (BTreeMap::new(), 0);
    let mut tables: Vec<(&str, u64, usize)> = Vec::new();
    for table in garrison_telemetry::tables() {
        let has = |name: &&'static str| table.columns.iter().any(|column| column.name == *name);
        let columns: Vec<String> = COLUMNS.iter().filter(|&name| has(name)).map(|name| (*name).to_owned()).collect();
        if columns.is_empty() {
            continue;
        }
        let request = ScanRequest { from, to, columns: Some(columns), ..ScanRequest::table(table.name) };
        let (mut rows, mut devices) = (0, HashSet::new());
        let found = match lake.scan(request) {
            // Tables of alerts are made from the control data: the lake has none of them.
            Err(LakeError::UnknownTable { .. }) => continue,
            found => found?,
        };
        for batch in found {
            let batch = batch?;
            let text = COLUMNS.map(|name| batch.column_by_name(name).and_then(TextColumn::new));
            let [device, sha256, name, path, account] = text.each_ref().map(Option::as_ref);
            let cell = |column: Option<&TextColumn<'_>>, row: usize| {
                column.and_then(|c| c.get(row)).filter(|text| !text.is_empty()).map(str::to_owned)
            };
            for row in 0..batch.num_rows() {
                rows += 1;
                let device = cell(device, row).map(|d| names.of("device", &d));
                devices.extend(device.clone());
                let Some(sha256) = cell(sha256, row).as_deref().and_then(hash) else { continue };
                if files.len() >= FILES_MAX && !files.contains_key(&sha256) {
                    left_out += 1;
                    continue;
                }
                let seen = files.entry(sha256).or_default();
                seen.rows += 1;
                seen.devices.extend(device);
                seen.accounts.extend(cell(account, row).map(|a| names.of("account", &a)));
                seen.folders.extend(cell(path, row).map(|p| folder_word(&p)));
                if seen.names.len() < NAMES_MAX {
                    seen.names.extend(cell(name, row).map(|n| names.of("file", &n)));
                }
            }
        }
        if rows > 0 {
            tables.push((table.name, rows, devices.len()));
        }
    }
    let mut lines = vec![Line::Day { version: 1, geography, tenant, day: word, files_left_out: left_out }];
    lines.extend(tables.iter().map(|(table, rows, devices)| Line::Table { table, rows: *rows, devices: *devices }));
    lines.extend(files.iter().map(|(sha256, seen)| {
        let mut names: Vec<&String> = seen.names.iter().collect();
        let mut folders: Vec<&'static str> = seen.folders.iter().copied().collect();
        names.sort_unstable();
        folders.sort_unstable();
        let (devices, accounts) = (seen.devices.len(), seen.accounts.len());
        Line::File { sha256, rows: seen.rows, devices, accounts, names, folders }
    }));
    let mut text = Vec::new();
    for line in &lines {
        text.extend(serde_json::to_vec(line).unwrap_or_default());
        text.push(b'\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pseudonym_is_an_hmac_of_rfc_4231() {
        let found = hex::encode(hmac(b"Jefe", &[b"what do ya want ", b"for nothing?"]));
        assert_eq!(found, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        let (one, two) = (Pseudonyms::new(&[1; 32]), Pseudonyms::new(&[2; 32]));
        assert_eq!(one.of("account", "mallory"), one.of("account", "mallory"));
        assert_ne!(one.of("account", "mallory"), two.of("account", "mallory"));
        assert_ne!(one.of("account", "mallory"), one.of("device", "mallory"));
        assert_eq!(one.of("account", "mallory").len(), 32);
    }

    #[test]
    fn a_folder_is_told_by_a_word_of_the_list() {
        for (path, word) in [
            ("/usr/bin/curl", "/usr/bin"),
            ("/usr/local/bin/x", "/usr/local/bin"),
            ("/usr/binary/x", "/usr"),
            ("/home/mallory/x", "user"),
            ("/root", "user"),
            ("/rootkit/x", "other"),
            ("/opt/mallory/x", "/opt"),
            ("mallory", "other"),
            ("/var/home/mallory/x", "user"),
        ] {
            assert_eq!(folder_word(path), word, "{path}");
        }
        assert!(hash(&"AB".repeat(32)).is_some() && hash("mallory").is_none());
    }
}
