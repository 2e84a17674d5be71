//! Indicators: hashes, addresses and names that are known to be bad, matched on the stream and in the past.
//!
//! Looking one up is a hash look-up a column and value, and a walk over the few prefix lengths for addresses, so a
//! hundred thousand of them cost what ten cost.

use super::Detection;
use super::custom::store::shown;
use super::draft::{HitRow, Words, draft_of};
use crate::db::columns;
use crate::db::seal::found_text;
use crate::incidents::AlertDraft;
use crate::ingest::{Observer, Stored};
use crate::shared::Shared;
use arrow::array::{Array as _, RecordBatch};
use garrison_model::{BootId, DetectionSource, DeviceId, MatchField, Micros, RuleId, Severity};
use garrison_telemetry::TextColumn;
use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

/// Indicators of one tenant: some tens of megabytes of memory.
pub const INDICATORS_MAX: usize = 100_000;
/// Characters of a title.
const TITLE_CHARS_MAX: usize = 256;
/// Characters of a description.
const TEXT_CHARS_MAX: usize = 4_096;
/// Characters of a value: the longest URL that is told apart.
const VALUE_CHARS_MAX: usize = 2_048;
/// Alerts of one batch of rows: a bad indicator (an own address) matches everything.
const ALERTS_PER_BATCH_MAX: usize = 64;

/// What an indicator is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum IndicatorKind {
    /// MD5, SHA-1 or SHA-256.
    Hash,
    /// An address, or a range of them (CIDR).
    Ip,
    /// A name and all names below it.
    Domain,
    /// A URL, and all that begin with it.
    Url,
}

impl IndicatorKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Hash => "hash",
            Self::Ip => "ip",
            Self::Domain => "domain",
            Self::Url => "url",
        }
    }
}

/// An indicator as it is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IndicatorNew {
    /// The value.
    pub value: String,
    /// What it is; told from the value unless given.
    #[serde(default)]
    pub kind: Option<IndicatorKind>,
    /// Title of its alerts.
    pub title: String,
    /// What it means.
    #[serde(default)]
    pub description: String,
    /// Severity of its alerts.
    pub severity: Severity,
    /// What happens on a match: `audit` makes an alert. Others need response.
    #[serde(default)]
    pub action: Option<String>,
    /// When it ends by itself, RFC 3339.
    #[serde(default)]
    pub expires_time: Option<String>,
    /// Whether the past 30 days are looked through; yes unless told otherwise.
    #[serde(default = "yes")]
    pub retro: bool,
}

fn yes() -> bool {
    true
}

/// A known indicator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Indicator {
    /// Id.
    pub id: String,
    /// What it is.
    pub kind: IndicatorKind,
    /// The value as it is compared.
    pub value: String,
    /// Title.
    pub title: String,
    /// What it means.
    pub description: String,
    /// Severity.
    pub severity: Severity,
    /// `audit`.
    pub action: String,
    /// When it ends.
    pub expires_time: Option<String>,
    /// Who added it.
    pub created_by: String,
    /// When.
    pub created_time: String,
}

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum IndicatorError {
    /// No such indicator.
    #[error("there is no indicator with this id")]
    Unknown,
    /// It is there.
    #[error("`{0}` is an indicator already")]
    Exists(String),
    /// The value.
    #[error("`{value}` is no {kind}")]
    Value {
        /// Start of the value.
        value: String,
        /// What it should be.
        kind: &'static str,
    },
    /// A text.
    #[error("{what} must have 1 to {max} characters")]
    Text {
        /// Which.
        what: &'static str,
        /// Most.
        max: usize,
    },
    /// The action.
    #[error("the action `{0}` takes effect with response, which this version does not have: use `audit`")]
    Action(String),
    /// The end.
    #[error("the end must be a time in the future (RFC 3339)")]
    Expiry,
    /// Too many.
    #[error("there are {INDICATORS_MAX} indicators already, which is the most: remove some, or let them expire")]
    TooMany,
    /// A stored document.
    #[error("an indicator cannot be read or written as stored")]
    Stored(#[from] serde_json::Error),
    /// The database.
    #[error("the database of indicators failed")]
    Db(#[from] sqlx::Error),
    /// The database layer.
    #[error("the database of indicators cannot be written")]
    Write(#[from] crate::db::DbError),
}

fn is_hash(text: &str) -> bool {
    matches!(text.len(), 32 | 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// An address and the length of its prefix, host bits cleared; IPv4 in IPv6 clothing is IPv4.
fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address.parse::<IpAddr>().ok()?, Some(prefix.parse::<u8>().ok()?)),
        None => (text.parse::<IpAddr>().ok()?.to_canonical(), None),
    };
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let prefix = prefix.unwrap_or(bits);
    (prefix <= bits).then(|| (masked(address, prefix), prefix))
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

fn is_domain(text: &str) -> bool {
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !l.starts_with('-')
    };
    text.len() <= 253 && text.contains('.') && text.split('.').all(label) && text.parse::<IpAddr>().is_err()
}

/// A URL without scheme, user, fragment; host in lower case.
fn url_key(text: &str) -> Option<String> {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let rest = rest.split('#').next().unwrap_or_default();
    let (host, path) = rest.split_once('/')?;
    let host = host.rsplit('@').next().unwrap_or_default().to_ascii_lowercase();
    (!host.is_empty()).then(|| format!("{host}/{path}"))
}

/// The kind and the form in which a value is compared.
fn normal(value: &str, kind: Option<IndicatorKind>) -> Result<(IndicatorKind, String), IndicatorError> {
    let value = value.trim();
    let wrong = |kind: &'static str| IndicatorError::Value { value: value.chars().take(80).collect(), kind };
    if value.is_empty() || value.chars().count() > VALUE_CHARS_MAX {
        return Err(IndicatorError::Text { what: "the value", max: VALUE_CHARS_MAX });
    }
    let lower = value.trim_end_matches('.').to_ascii_lowercase();
    let guess = || {
        if is_hash(value) {
            Some(IndicatorKind::Hash)
        } else if network(value).is_some() {
            Some(IndicatorKind::Ip)
        } else if value.contains("://") {
            Some(IndicatorKind::Url)
        } else if is_domain(&lower) {
            Some(IndicatorKind::Domain)
        } else if value.contains('/') {
            Some(IndicatorKind::Url)
        } else {
            None
        }
    };
    let kind = kind.or_else(guess).ok_or_else(|| wrong("hash, address, domain or URL"))?;
    let normal = match kind {
        IndicatorKind::Hash if is_hash(value) => lower,
        IndicatorKind::Hash => return Err(wrong("MD5, SHA-1 or SHA-256 in hexadecimal")),
        IndicatorKind::Ip => {
            let (address, prefix) = network(value).ok_or_else(|| wrong("address, or range such as 203.0.113.0/24"))?;
            format!("{address}/{prefix}")
        }
        IndicatorKind::Domain if is_domain(&lower) => lower,
        IndicatorKind::Domain => return Err(wrong("domain name")),
        IndicatorKind::Url => url_key(value).ok_or_else(|| wrong("URL with a path"))?,
    };
    Ok((kind, normal))
}

/// Columns in which indicators of a kind are looked for.
fn columns(kind: IndicatorKind) -> &'static [&'static str] {
    match kind {
        IndicatorKind::Hash => {
            &["SHA256", "SHA1", "MD5", "InitiatingProcessSHA256", "InitiatingProcessSHA1", "InitiatingProcessMD5"]
        }
        IndicatorKind::Ip => &["RemoteIP", "FileOriginIP", "RequestSourceIP"],
        IndicatorKind::Domain | IndicatorKind::Url => &["RemoteUrl", "FileOriginUrl", "FileOriginReferrerUrl"],
    }
}

/// All indicators, in the form in which they are looked up.
#[derive(Debug, Default)]
pub struct Index {
    hashes: HashMap<String, Arc<Indicator>>,
    networks: HashMap<(IpAddr, u8), Arc<Indicator>>,
    /// Prefix lengths in use, longest first, for IPv4 and IPv6.
    prefixes: [Vec<u8>; 2],
    domains: HashMap<String, Arc<Indicator>>,
    urls: HashMap<String, Arc<Indicator>>,
    expires: HashMap<String, i64>,
}

/// Parts of a name or path that are looked up: names have at most 127 labels, and longer paths are cut.
const PARTS_MAX: usize = 128;

impl Index {
    /// Of these.
    #[must_use]
    pub fn of(all: impl IntoIterator<Item = (Indicator, Option<i64>)>) -> Self {
        let mut index = Self::default();
        let mut lengths = [BTreeSet::new(), BTreeSet::new()];
        for (indicator, expires) in all {
            let one = Arc::new(indicator);
            if let Some(expires) = expires {
                index.expires.insert(one.id.clone(), expires);
            }
            match one.kind {
                IndicatorKind::Hash => drop(index.hashes.insert(one.value.clone(), one)),
                IndicatorKind::Domain => drop(index.domains.insert(one.value.clone(), one)),
                IndicatorKind::Url => drop(index.urls.insert(one.value.clone(), one)),
                IndicatorKind::Ip => {
                    if let Some(key) = network(&one.value) {
                        lengths[usize::from(key.0.is_ipv6())].insert(key.1);
                        index.networks.insert(key, one);
                    }
                }
            }
        }
        index.prefixes = lengths.map(|set| set.into_iter().rev().collect());
        index
    }

    fn is_empty(&self) -> bool {
        self.hashes.is_empty() && self.networks.is_empty() && self.domains.is_empty() && self.urls.is_empty()
    }

    /// The indicator that a value of this kind of column matches.
    #[must_use]
    pub fn find(&self, kind: IndicatorKind, value: &str, now: i64) -> Option<&Arc<Indicator>> {
        let found = match kind {
            IndicatorKind::Hash => self.hashes.get(&value.to_ascii_lowercase()),
            IndicatorKind::Ip => {
                let address = value.parse::<IpAddr>().ok()?.to_canonical();
                let lengths = &self.prefixes[usize::from(address.is_ipv6())];
                lengths.iter().find_map(|length| self.networks.get(&(masked(address, *length), *length)))
            }
            IndicatorKind::Domain => {
                let rest = value.split_once("://").map_or(value, |(_, rest)| rest);
                let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
                let host = host.rsplit('@').next().unwrap_or_default();
                let host = host.split(':').next().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
                let mut name = host.as_str();
                (0..PARTS_MAX).find_map(|_| {
                    let found = self.domains.get(name);
                    if found.is_none() {
                        name = name.split_once('.').map_or("", |(_, rest)| rest);
                    }
                    found
                })
            }
            IndicatorKind::Url => {
                let key = url_key(value)?;
                let mut prefix = key.as_str();
                (0..PARTS_MAX).find_map(|_| {
                    let found = self.urls.get(prefix);
                    if found.is_none() {
                        // `a/b/c` is below `a/b/` and `a/b`.
                        prefix = match prefix.strip_suffix(['/', '?']) {
                            Some(shorter) => shorter,
                            None => prefix.rfind(['/', '?']).map_or("", |at| &prefix[..=at]),
                        };
                    }
                    found
                })
            }
        }?;
        self.expires.get(&found.id).is_none_or(|end| *end > now).then_some(found)
    }

    /// The first match of a row in any column: row, column, value, indicator.
    #[must_use]
    pub fn matches(&self, batch: &RecordBatch, now: i64) -> Vec<(usize, &'static str, String, Arc<Indicator>)> {
        let mut found: HashMap<usize, (&'static str, String, Arc<Indicator>)> = HashMap::new();
        let kinds = [
            (IndicatorKind::Hash, self.hashes.is_empty()),
            (IndicatorKind::Ip, self.networks.is_empty()),
            (IndicatorKind::Url, self.urls.is_empty()),
            (IndicatorKind::Domain, self.domains.is_empty()),
        ];
        for (kind, _) in kinds.into_iter().filter(|(_, empty)| !empty) {
            for name in columns(kind) {
                let Some(column) = batch.column_by_name(name).filter(|c| c.null_count() < c.len()) else { continue };
                let Some(texts) = TextColumn::new(column) else { continue };
                // Neighbouring rows often have the same value.
                let mut last: Option<(&str, Option<&Arc<Indicator>>)> = None;
                for row in 0..batch.num_rows() {
                    let Some(value) = texts.get(row).filter(|v| !v.is_empty()) else { continue };
                    let hit = match last {
                        Some((known, hit)) if known == value => hit,
                        _ => self.find(kind, value, now),
                    };
                    last = Some((value, hit));
                    if let Some(indicator) = hit {
                        found.entry(row).or_insert_with(|| (*name, value.to_owned(), Arc::clone(indicator)));
                    }
                }
            }
        }
        // Names that were looked up lie in the JSON of their rows.
        if !self.domains.is_empty()
            && let Some(fields) = batch.column_by_name("AdditionalFields").and_then(TextColumn::new)
        {
            for row in 0..batch.num_rows() {
                let Some(text) = fields.get(row).filter(|t| t.contains("\"DnsQuery\"")) else { continue };
                let Ok(json) = serde_json::from_str::<serde_json::Value>(text) else { continue };
                let Some(name) = json.get("DnsQuery").and_then(serde_json::Value::as_str) else { continue };
                if let Some(indicator) = self.find(IndicatorKind::Domain, name, now) {
                    found.entry(row).or_insert_with(|| ("AdditionalFields", name.to_owned(), Arc::clone(indicator)));
                }
            }
        }
        let mut all: Vec<_> = found.into_iter().map(|(row, (column, value, i))| (row, column, value, i)).collect();
        all.sort_by_key(|(row, ..)| *row);
        all
    }
}

/// The part of the detection room that knows indicators.
pub struct Indicators {
    shared: Arc<Shared>,
    detection: Arc<Detection>,
    index: RwLock<Arc<Index>>,
    runtime: tokio::runtime::Handle,
}

impl std::fmt::Debug for Indicators {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Indicators").finish_non_exhaustive()
    }
}

impl Indicators {
    /// Opens it.
    pub async fn open(shared: &Arc<Shared>, detection: &Arc<Detection>) -> Result<Arc<Self>, IndicatorError> {
        let own = Arc::new(Self {
            shared: Arc::clone(shared),
            detection: Arc::clone(detection),
            index: RwLock::default(),
            runtime: tokio::runtime::Handle::current(),
        });
        own.reload().await?;
        Ok(own)
    }

    async fn stored(&self) -> Result<Vec<(Indicator, Option<i64>)>, IndicatorError> {
        let rows =
            sqlx::query("SELECT doc, expires FROM detection_indicator WHERE tenant_id = $1 ORDER BY created DESC, id")
                .bind(self.shared.tenant.as_str())
                .fetch_all(self.shared.db.pool())
                .await?;
        let seal = self.shared.db.seal(&self.shared.tenant);
        rows.iter()
            .map(|row| Ok((serde_json::from_str(&seal.get(row, columns::INDICATOR_DOC)?)?, row.try_get("expires")?)))
            .collect()
    }

    async fn reload(&self) -> Result<(), IndicatorError> {
        let index = Index::of(self.stored().await?);
        *self.index.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(index);
        Ok(())
    }

    /// The look-up.
    #[must_use]
    pub fn index(&self) -> Arc<Index> {
        Arc::clone(&self.index.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// All of them, newest first, ended ones too.
    pub async fn list(&self) -> Result<Vec<Indicator>, IndicatorError> {
        Ok(self.stored().await?.into_iter().map(|(indicator, _)| indicator).collect())
    }

    /// One of them.
    pub async fn get(&self, id: &str) -> Result<Indicator, IndicatorError> {
        let row = sqlx::query("SELECT doc FROM detection_indicator WHERE tenant_id = $1 AND id = $2")
            .bind(self.shared.tenant.as_str())
            .bind(id)
            .fetch_optional(self.shared.db.pool())
            .await?
            .ok_or(IndicatorError::Unknown)?;
        let seal = self.shared.db.seal(&self.shared.tenant);
        Ok(serde_json::from_str(&seal.get(&row, columns::INDICATOR_DOC)?)?)
    }

    /// Adds one.
    pub async fn add(&self, new: &IndicatorNew, who: &str, now: Micros) -> Result<Indicator, IndicatorError> {
        let (kind, value) = normal(&new.value, new.kind)?;
        let title = new.title.trim();
        if title.is_empty() || title.chars().count() > TITLE_CHARS_MAX {
            return Err(IndicatorError::Text { what: "the title", max: TITLE_CHARS_MAX });
        }
        if new.description.chars().count() > TEXT_CHARS_MAX {
            return Err(IndicatorError::Text { what: "the description", max: TEXT_CHARS_MAX });
        }
        if let Some(action) = new.action.as_deref().filter(|a| !a.eq_ignore_ascii_case("audit")) {
            return Err(IndicatorError::Action(action.chars().take(40).collect()));
        }
        let expires = match new.expires_time.as_deref() {
            None => None,
            Some(text) => {
                let at = text.parse::<jiff::Timestamp>().map_err(|_| IndicatorError::Expiry)?.as_microsecond();
                Some(at).filter(|at| *at > now.0).ok_or(IndicatorError::Expiry).map(Some)?
            }
        };
        let indicator = Indicator {
            id: format!("in-{}", uuid::Uuid::now_v7()),
            kind,
            value: value.clone(),
            title: title.to_owned(),
            description: new.description.clone(),
            severity: new.severity,
            action: "audit".to_owned(),
            expires_time: expires.map(shown),
            created_by: who.to_owned(),
            created_time: shown(now.0),
        };
        let mut tx = self.shared.db.write().await?;
        let count: i64 = sqlx::query("SELECT COUNT(*) AS n FROM detection_indicator WHERE tenant_id = $1")
            .bind(self.shared.tenant.as_str())
            .fetch_one(tx.conn())
            .await?
            .try_get("n")?;
        if usize::try_from(count).unwrap_or(usize::MAX) >= INDICATORS_MAX {
            return Err(IndicatorError::TooMany);
        }
        let seal = self.shared.db.seal(&self.shared.tenant);
        let stored = sqlx::query(
            "INSERT INTO detection_indicator (tenant_id, id, kind, value, doc, expires, created) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(self.shared.tenant.as_str())
        .bind(indicator.id.clone())
        .bind(kind.as_str())
        .bind(seal.put(columns::INDICATOR_VALUE, &found_text(&value))?)
        .bind(seal.put(columns::INDICATOR_DOC, &serde_json::to_string(&indicator)?)?)
        .bind(expires)
        .bind(now.0)
        .execute(tx.conn())
        .await;
        match stored {
            Ok(_) => tx.commit().await?,
            Err(error) if crate::db::is_unique_violation(&error) => return Err(IndicatorError::Exists(value)),
            Err(error) => return Err(error.into()),
        }
        self.reload().await?;
        Ok(indicator)
    }

    /// Removes one; its alerts stay.
    pub async fn remove(&self, id: &str) -> Result<(), IndicatorError> {
        let mut tx = self.shared.db.write().await?;
        let gone = sqlx::query("DELETE FROM detection_indicator WHERE tenant_id = $1 AND id = $2")
            .bind(self.shared.tenant.as_str())
            .bind(id)
            .execute(tx.conn())
            .await?;
        if gone.rows_affected() == 0 {
            return Err(IndicatorError::Unknown);
        }
        tx.commit().await?;
        self.reload().await
    }
}

/// What an alert of an indicator says.
pub(crate) fn words(indicator: &Indicator, note: Option<&str>) -> Option<Words> {
    let known = format!("`{}` is a known indicator.", indicator.value);
    let parts: Vec<&str> =
        note.into_iter().chain([known.as_str(), indicator.description.as_str()]).filter(|t| !t.is_empty()).collect();
    Some(Words {
        id: RuleId::new(indicator.id.clone()).ok()?,
        title: indicator.title.clone(),
        description: parts.join("\n\n"),
        recommended_action: "Find out what the process is and who started it, and look for the same value on other \
                             devices."
            .to_owned(),
        techniques: Vec::new(),
        severity: indicator.severity,
        category: "SuspiciousActivity".to_owned(),
        source: DetectionSource::CustomDetection,
    })
}

/// Why a row matched, in an alert.
pub(crate) fn field(indicator: &Indicator, column: &str, value: &str) -> MatchField {
    MatchField {
        selection: "Indicator".to_owned(),
        field: indicator.kind.as_str().to_owned(),
        column: column.to_owned(),
        test: format!("matches '{}'", indicator.value),
        value: value.chars().take(512).collect(),
    }
}

impl Observer for Indicators {
    fn observe(&self, stored: &Stored) {
        let index = self.index();
        if index.is_empty() {
            return;
        }
        let now = crate::now();
        let mut drafts: Vec<AlertDraft> = Vec::new();
        for (row, column, value, indicator) in
            index.matches(&stored.batch, now.0).into_iter().take(ALERTS_PER_BATCH_MAX)
        {
            let Some(words) = words(&indicator, None) else { continue };
            let json = garrison_telemetry::row_to_json(&stored.batch, row);
            let number = json.get("ReportId").and_then(serde_json::Value::as_i64);
            let hit = HitRow {
                table: stored.header.table.clone(),
                boot: stored.header.boot.clone(),
                report_id: number.unwrap_or_else(|| {
                    i64::try_from(stored.header.sequence_first).unwrap_or(0).saturating_add(row as i64)
                }),
                row: json,
                fields: vec![field(&indicator, column, &value)],
            };
            let made = self.detection.with_processes(|cache| {
                draft_of(&self.shared.tenant, &stored.header.device, &words, vec![hit], 1, cache, now)
            });
            drafts.extend(made);
        }
        if drafts.is_empty() {
            return;
        }
        // On an ingest thread, which may wait: the rows are durable, and a retro-hunt finds what a failure here loses.
        if let Err(error) = self.runtime.block_on(self.detection.drafts_take(drafts, now)) {
            tracing::error!(error = &error as &dyn std::error::Error, "alerts of indicators could not be made");
        }
    }
}

/// A row that was found in the past.
pub(crate) fn past(
    indicator: &Indicator,
    batch: &RecordBatch,
    index: &Index,
    table: &str,
    now: i64,
) -> Vec<(DeviceId, HitRow)> {
    let mut found = Vec::new();
    for (row, column, value, hit) in index.matches(batch, now) {
        let json = garrison_telemetry::row_to_json(batch, row);
        let text = |name: &str| json.get(name).and_then(serde_json::Value::as_str);
        let device = text("DeviceId").and_then(|d| DeviceId::new(d).ok());
        let boot = text("BootId").and_then(|b| BootId::new(b).ok());
        let number = json.get("ReportId").and_then(serde_json::Value::as_i64);
        if let (Some(device), Some(boot), Some(report_id)) = (device, boot, number)
            && hit.id == indicator.id
        {
            let fields = vec![field(indicator, column, &value)];
            found.push((device, HitRow { table: table.to_owned(), boot, report_id, row: json, fields }));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn indicator(value: &str) -> (Indicator, Option<i64>) {
        let (kind, value) = normal(value, None).unwrap();
        let one = Indicator {
            id: format!("in-{value}"),
            kind,
            value,
            title: "t".into(),
            description: String::new(),
            severity: Severity::High,
            action: "audit".into(),
            expires_time: None,
            created_by: "a".into(),
            created_time: String::new(),
        };
        (one, None)
    }

    #[test]
    fn values_are_told_apart_and_bad_ones_refused() {
        use IndicatorKind::{Domain, Hash, Ip, Url};
        for (value, expected) in [
            ("D41D8CD98F00B204E9800998ECF8427E", Some((Hash, "d41d8cd98f00b204e9800998ecf8427e"))),
            ("203.0.113.9", Some((Ip, "203.0.113.9/32"))),
            ("203.0.113.77/24", Some((Ip, "203.0.113.0/24"))),
            ("::ffff:203.0.113.9", Some((Ip, "203.0.113.9/32"))),
            ("2001:db8::/32", Some((Ip, "2001:db8::/32"))),
            ("Evil.Example.", Some((Domain, "evil.example"))),
            ("https://Evil.example/a/B", Some((Url, "evil.example/a/B"))),
            ("203.0.113.0/33", Some((Url, "203.0.113.0/33"))),
            ("evil", None),
            ("-x.example", None),
            ("", None),
        ] {
            let found = normal(value, None).ok();
            let found = found.as_ref().map(|(kind, value)| (*kind, value.as_str()));
            assert_eq!(found, expected, "{value}");
        }
        assert!(normal("evil.example", Some(Hash)).is_err());
        assert!(normal("203.0.113.0/33", Some(Ip)).is_err());
    }

    #[test]
    fn indicators_are_found_in_values() {
        use IndicatorKind::{Domain, Hash, Ip, Url};
        let sha = "ab".repeat(32);
        let all =
            [sha.as_str(), "203.0.113.0/24", "198.51.100.7", "2001:db8::/32", "evil.example", "http://x.example/a/b"];
        let index = Index::of(all.iter().map(|v| indicator(v)));
        for (kind, value, hit) in [
            (Hash, sha.to_uppercase().as_str(), true),
            (Hash, "ab", false),
            (Ip, "203.0.113.200", true),
            (Ip, "203.0.114.1", false),
            (Ip, "::ffff:198.51.100.7", true),
            (Ip, "2001:db8:1::1", true),
            (Ip, "nonsense", false),
            (Domain, "evil.example", true),
            (Domain, "a.b.EVIL.example.", true),
            (Domain, "https://c2.evil.example:8443/x", true),
            (Domain, "notevil.example", false),
            (Domain, "evil.example.org", false),
            (Url, "https://x.example/a/b", true),
            (Url, "x.example/a/b/c?d#e", true),
            (Url, "x.example/a/bc", false),
            (Url, "x.example/a/", false),
        ] {
            assert_eq!(index.find(kind, value, 0).is_some(), hit, "{kind:?} {value}");
        }
    }

    #[test]
    fn an_indicator_that_has_ended_matches_nothing() {
        let index = Index::of([(indicator("203.0.113.9").0, Some(100))]);
        assert!(index.find(IndicatorKind::Ip, "203.0.113.9", 99).is_some());
        assert!(index.find(IndicatorKind::Ip, "203.0.113.9", 100).is_none());
    }
}
