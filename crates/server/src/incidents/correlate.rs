//! Which incident an alert belongs to. One pure function decides; the store brings candidates and carries it out.
//!
//! What joins, strongest first:
//! 1. **the same process tree**: a common ancestor at most [`TREE_ANCESTORS`] above that is not a system-wide root (see
//!    [`crate::detection::process::SYSTEM_ROOTS`]), on the same device, within [`TREE_WINDOW`];
//! 2. **the same entity** within [`ENTITY_WINDOW`]: the hash of a file that does not lie in a system folder, a public
//!    address or a name the device talked to, or the same human account on the same device;
//! 3. **the same device** within [`DEVICE_WINDOW`].
//!
//! What never joins: an incident that is resolved or redirected; one that is assigned, where the alert (when it moves)
//! is assigned to somebody else; one with another classification or determination; one that would pass
//! [`ENTITIES_MAX`] entities or [`ALERTS_MAX`] alerts. An alert that links several open incidents by rule 1 or 2 merges
//! them, oldest number first, under the same conditions between the incidents.

use crate::db::seal::found_text;
use crate::detection::process::{ProcessFact, own_tree};
use garrison_model::{
    Alert, Classification, Determination, EntityType, Evidence, IncidentId, IncidentStatus, Micros, Severity,
};
use std::collections::BTreeSet;

const HOUR: i64 = 3_600_000_000;

/// A process tree stays one attack for a week: web shells are visited again.
pub const TREE_WINDOW: i64 = 7 * 24 * HOUR;
/// Ancestors that link, beside the process itself. What alerts link chains on, alert by alert, however deep an attack
/// goes; but the far end of a long chain is somebody's session or build, not the attack.
pub const TREE_ANCESTORS: usize = 5;
/// Files, addresses and accounts link alerts within a day.
pub const ENTITY_WINDOW: i64 = 24 * HOUR;
/// Alerts on one device within a quarter of an hour are taken as one attack.
pub const DEVICE_WINDOW: i64 = HOUR / 4;
/// Distinct entities of one incident; above it a case is no longer read by a human.
pub const ENTITIES_MAX: usize = 1_000;
/// Alerts of one incident, likewise.
pub const ALERTS_MAX: usize = 500;
/// Keys that one alert may bring: its chain is at most 32 long, the rest are entities.
pub const KEYS_MAX: usize = 128;

/// Something that alerts may have in common.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A process on a device: device, `ProcessUniqueId`.
    Process(String, String),
    /// SHA-256 of a file.
    File(String),
    /// A public address.
    Address(String),
    /// A domain or URL.
    Url(String),
    /// Account on a device: device, name.
    User(String, String),
    /// A device.
    Device(String),
}

impl Key {
    /// How the store writes it.
    pub fn text(&self) -> String {
        match self {
            Key::Process(device, key) => format!("process/{device}/{key}"),
            Key::File(hash) => format!("file/{hash}"),
            Key::Address(address) => format!("address/{address}"),
            Key::Url(url) => format!("url/{url}"),
            Key::User(device, name) => format!("user/{device}/{name}"),
            Key::Device(device) => format!("device/{device}"),
        }
    }

    /// The same with texts that the store can index.
    fn fitted(self) -> Self {
        match self {
            Key::Process(device, key) => Key::Process(device, found_text(&key)),
            Key::Url(url) => Key::Url(found_text(&url)),
            Key::User(device, name) => Key::User(device, found_text(&name)),
            Key::File(hash) => Key::File(found_text(&hash)),
            Key::Address(address) => Key::Address(found_text(&address)),
            Key::Device(_) => self,
        }
    }

    /// Reads what [`Key::text`] wrote.
    pub fn parse(text: &str) -> Option<Key> {
        let (kind, rest) = text.split_once('/')?;
        let pair = || rest.split_once('/').map(|(a, b)| (a.to_owned(), b.to_owned()));
        Some(match kind {
            "process" => pair().map(|(d, k)| Key::Process(d, k))?,
            "user" => pair().map(|(d, n)| Key::User(d, n))?,
            "file" => Key::File(rest.to_owned()),
            "address" => Key::Address(rest.to_owned()),
            "url" => Key::Url(rest.to_owned()),
            "device" => Key::Device(rest.to_owned()),
            _ => return None,
        })
    }

    /// How long it links, in microseconds.
    pub fn window(&self) -> i64 {
        match self {
            Key::Process(..) => TREE_WINDOW,
            Key::Device(_) => DEVICE_WINDOW,
            _ => ENTITY_WINDOW,
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Key::Process(..) => 0,
            Key::File(_) => 1,
            Key::Address(_) => 2,
            Key::Url(_) => 3,
            Key::User(..) => 4,
            Key::Device(_) => 5,
        }
    }
}

/// What of an alert decides.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Keys with words for the reason, nearest process first.
    pub keys: Vec<(Key, String)>,
    /// Who it is assigned to (alerts that move may be).
    pub assigned_to: Option<String>,
    /// Its classification.
    pub classification: Option<Classification>,
    /// Its determination.
    pub determination: Option<Determination>,
    /// Distinct entities it brings.
    pub entity_count: usize,
    /// Time of its last matched row.
    pub time: Micros,
}

/// An incident that shares a key with the alert.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Number.
    pub id: IncidentId,
    /// Status.
    pub status: IncidentStatus,
    /// Assignee.
    pub assigned_to: Option<String>,
    /// Classification.
    pub classification: Option<Classification>,
    /// Determination.
    pub determination: Option<Determination>,
    /// Distinct entities it has.
    pub entity_count: usize,
    /// Alerts it has.
    pub alert_count: usize,
    /// The keys that it shares with the alert, each with the time it was last seen.
    pub shared: Vec<(Key, Micros)>,
}

/// What to do with an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Open an incident.
    New,
    /// Join one.
    Join {
        /// Which.
        id: IncidentId,
        /// Why, in words.
        reason: String,
        /// Open incidents that the alert shows to be the same attack; they are merged into `id`.
        merge: Vec<IncidentId>,
    },
}

/// Incidents merged by one alert at once; the rest follow with the next alert or by hand.
pub const MERGE_MAX: usize = 5;

/// Decides. `now` bounds what lies in the future by a wrong clock: keys count from the earlier of the alert and now.
pub fn correlate(alert: &Facts, candidates: &[Candidate], now: Micros) -> Decision {
    let time = alert.time.min(now);
    let mut linked: Vec<(&Candidate, &Key, &str)> = candidates
        .iter()
        .filter(|candidate| may_take(candidate, alert))
        .filter_map(|candidate| {
            let (key, words) = alert
                .keys
                .iter()
                .filter(|(key, _)| {
                    candidate.shared.iter().any(|(theirs, seen)| {
                        theirs == key && (time.0.saturating_sub(seen.0)).saturating_abs() <= key.window()
                    })
                })
                .min_by_key(|(key, _)| key.rank())
                .map(|(key, words)| (key, words.as_str()))?;
            Some((candidate, key, words))
        })
        .collect();
    linked.sort_by_key(|(candidate, key, _)| (key.rank(), candidate.id));
    let Some((first, key, words)) = linked.first().copied() else { return Decision::New };
    let mut room = ENTITIES_MAX.saturating_sub(first.entity_count + alert.entity_count);
    let mut alerts = ALERTS_MAX.saturating_sub(first.alert_count + 1);
    let mut joined = vec![first];
    for (other, other_key, _) in &linked[1..] {
        // A shared device alone is too weak to make one incident of two.
        let strong = !matches!(other_key, Key::Device(_)) && !matches!(key, Key::Device(_));
        if joined.len() > MERGE_MAX || !strong || !agree(first, other) {
            continue;
        }
        if other.entity_count > room || other.alert_count > alerts {
            continue;
        }
        room -= other.entity_count;
        alerts -= other.alert_count;
        joined.push(other);
    }
    // The oldest number survives, so that links in tickets keep pointing at what they pointed at.
    let id = joined.iter().map(|c| c.id).min().unwrap_or(first.id);
    let merge: Vec<IncidentId> = joined.iter().map(|c| c.id).filter(|other| *other != id).collect();
    Decision::Join { id, reason: words.to_owned(), merge }
}

/// Whether an incident may take an alert at all.
fn may_take(candidate: &Candidate, alert: &Facts) -> bool {
    let open = matches!(candidate.status, IncidentStatus::Active | IncidentStatus::InProgress);
    open && same_or_open(candidate.assigned_to.as_deref(), alert.assigned_to.as_deref())
        // A new alert has no classification of its own; joining a classified incident would classify what nobody saw.
        && candidate.classification == alert.classification
        && candidate.determination == alert.determination
        && candidate.entity_count + alert.entity_count <= ENTITIES_MAX
        && candidate.alert_count < ALERTS_MAX
}

/// Whether two incidents may become one: the documented conditions, for automatic and manual merges alike.
pub fn agree(a: &Candidate, b: &Candidate) -> bool {
    let open = |c: &Candidate| matches!(c.status, IncidentStatus::Active | IncidentStatus::InProgress);
    open(a)
        && open(b)
        && same_or_open(a.assigned_to.as_deref(), b.assigned_to.as_deref())
        && a.classification == b.classification
        && a.determination == b.determination
}

fn same_or_open(a: Option<&str>, b: Option<&str>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a == b,
        _ => true,
    }
}

/// What an alert brings to correlation: its keys with words, and the count of its entities.
pub fn facts(alert: &Alert, lineage: &[Vec<ProcessFact>], time: Micros) -> Facts {
    let device = alert.machine_id.as_str();
    let mut keys: Vec<(Key, String)> = Vec::new();
    let mut push = |key: Key, words: String| {
        let key = key.fitted();
        if keys.len() < KEYS_MAX && !keys.iter().any(|(known, _)| *known == key) {
            keys.push((key, words));
        }
    };
    for chain in lineage {
        for process in near(chain) {
            let words = format!("same process tree below {} ({})", process.file_name, process.pid);
            push(Key::Process(device.to_owned(), process.key.clone()), words);
        }
    }
    for evidence in &alert.evidence {
        match evidence.entity_type {
            EntityType::File | EntityType::Process => {
                if let Some(hash) = evidence.sha256.as_ref().filter(|_| is_own_file(evidence)) {
                    let name = evidence.file_name.as_deref().unwrap_or("unnamed");
                    push(Key::File(hash.to_ascii_lowercase()), format!("same file {name}"));
                }
            }
            EntityType::Ip => {
                if let Some(address) = evidence.ip_address.as_ref().filter(|a| is_public_address(a)) {
                    push(Key::Address(address.clone()), format!("same remote address {address}"));
                }
            }
            EntityType::Url => {
                if let Some(url) = &evidence.url {
                    push(Key::Url(url.to_ascii_lowercase()), format!("same name {url}"));
                }
            }
            EntityType::User => {
                if let Some(name) = evidence.account_name.as_ref().filter(|_| is_human(evidence)) {
                    push(Key::User(device.to_owned(), name.clone()), format!("same user {name} on the same device"));
                }
            }
            EntityType::Machine => {}
        }
    }
    push(Key::Device(device.to_owned()), "same device within 15 minutes".to_owned());
    Facts {
        keys,
        assigned_to: alert.assigned_to.clone(),
        classification: alert.classification,
        determination: alert.determination,
        entity_count: alert.evidence.len(),
        time,
    }
}

/// The processes of a chain that link: of the tree's own, the nearest.
fn near(chain: &[ProcessFact]) -> &[ProcessFact] {
    let own = own_tree(chain);
    &own[..own.len().min(1 + TREE_ANCESTORS)]
}

/// A file that a package did not bring: the hash of `/usr/bin/bash` links nothing with nothing.
fn is_own_file(evidence: &Evidence) -> bool {
    const SYSTEM: &[&str] =
        &["/usr/bin", "/usr/sbin", "/usr/lib", "/usr/libexec", "/bin", "/sbin", "/lib", "/lib64", "/usr/lib64"];
    let Some(folder) = evidence.file_path.as_deref() else { return false };
    !SYSTEM
        .iter()
        .any(|system| folder == *system || folder.strip_prefix(system).is_some_and(|rest| rest.starts_with('/')))
}

/// An address of the internet at large; private networks name too many different machines in one fleet.
fn is_public_address(text: &str) -> bool {
    match text.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(a)) => {
            let shared = a.octets()[0] == 100 && (64..128).contains(&a.octets()[1]);
            !(a.is_private()
                || a.is_loopback()
                || a.is_link_local()
                || a.is_multicast()
                || a.is_broadcast()
                || a.is_unspecified()
                || shared
                || a.octets()[0] == 0)
        }
        Ok(std::net::IpAddr::V6(a)) => {
            if let Some(v4) = a.to_ipv4_mapped() {
                return is_public_address(&v4.to_string());
            }
            let unique_local = a.segments()[0] & 0xfe00 == 0xfc00;
            let link_local = a.segments()[0] & 0xffc0 == 0xfe80;
            !(a.is_loopback() || a.is_unspecified() || a.is_multicast() || unique_local || link_local)
        }
        Err(_) => false,
    }
}

/// A person's account: root and the accounts of services run everything on a server.
fn is_human(evidence: &Evidence) -> bool {
    match evidence.user_sid.as_deref().and_then(|sid| sid.parse::<u32>().ok()) {
        Some(uid) => (1_000..65_534).contains(&uid),
        None => evidence.user_sid.is_some(),
    }
}

/// Tactics in the order of ATT&CK, in the hunting tables' spelling.
pub const TACTICS: &[&str] = &[
    "Reconnaissance",
    "ResourceDevelopment",
    "InitialAccess",
    "Execution",
    "Persistence",
    "PrivilegeEscalation",
    "DefenseEvasion",
    "CredentialAccess",
    "Discovery",
    "LateralMovement",
    "Collection",
    "CommandAndControl",
    "Exfiltration",
    "Impact",
];

/// Sorts tactics as ATT&CK does; others come last, by name.
pub fn tactics_sorted(tactics: impl IntoIterator<Item = String>) -> Vec<String> {
    let distinct: BTreeSet<(usize, String)> = tactics
        .into_iter()
        .filter(|t| !t.is_empty())
        .map(|t| (TACTICS.iter().position(|known| *known == t).unwrap_or(TACTICS.len()), t))
        .collect();
    distinct.into_iter().map(|(_, t)| t).collect()
}

/// What a title is made of: one alert's part.
#[derive(Debug, Clone)]
pub struct TitlePart {
    /// Severity.
    pub severity: Severity,
    /// Alert's title.
    pub title: String,
    /// Rule.
    pub rule: String,
    /// Device's name.
    pub device: String,
    /// Tactic.
    pub category: String,
}

/// A title for an incident, from its alerts in order of time: the worst alert's words for one rule, the stages for
/// more.
pub fn title(parts: &[TitlePart]) -> String {
    let Some(worst) = parts.iter().rev().max_by_key(|p| p.severity) else {
        return "Incident without alerts".to_owned();
    };
    let devices: BTreeSet<&str> = parts.iter().map(|p| p.device.as_str()).collect();
    let place = match devices.first() {
        Some(one) if devices.len() == 1 => format!("on {one}"),
        _ => format!("on {} devices", devices.len()),
    };
    let stages = tactics_sorted(parts.iter().map(|p| p.category.clone()));
    let rules: BTreeSet<&str> = parts.iter().map(|p| p.rule.as_str()).collect();
    match (rules.len(), stages.as_slice()) {
        (1, _) => format!("{} {place}", worst.title),
        (more, [] | [_]) => format!("{} and {} more {place}", worst.title, more - 1),
        (_, [first, .., last]) => {
            format!("Multi-stage attack from {} to {} {place}", words_of(first), words_of(last))
        }
    }
}

/// `PrivilegeEscalation` as `privilege escalation`.
fn words_of(tactic: &str) -> String {
    let mut out = String::new();
    for c in tactic.chars() {
        if c.is_uppercase() && !out.is_empty() {
            out.push(' ');
        }
        out.extend(c.to_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Micros = Micros(1_000 * HOUR);

    fn key(text: &str) -> Key {
        Key::parse(text).unwrap()
    }

    fn alert(keys: &[&str]) -> Facts {
        Facts {
            keys: keys.iter().map(|k| (key(k), format!("because {k}"))).collect(),
            time: NOW,
            entity_count: 5,
            ..Default::default()
        }
    }

    fn open(id: i64, shared: &[(&str, i64)]) -> Candidate {
        Candidate {
            id: IncidentId(id),
            status: IncidentStatus::Active,
            assigned_to: None,
            classification: None,
            determination: None,
            entity_count: 10,
            alert_count: 2,
            shared: shared.iter().map(|(k, ago)| (key(k), Micros(NOW.0 - ago))).collect(),
        }
    }

    fn joins(alert: &Facts, candidates: &[Candidate]) -> Option<(i64, String, Vec<i64>)> {
        match correlate(alert, candidates, NOW) {
            Decision::New => None,
            Decision::Join { id, reason, merge } => Some((id.0, reason, merge.into_iter().map(|m| m.0).collect())),
        }
    }

    /// The table of documented cases: name, keys of the alert, change to the candidate, joined?
    #[test]
    fn alerts_join_by_the_documented_rules() {
        type Change = fn(&mut Candidate);
        const MINUTE: i64 = HOUR / 60;
        let cases: &[(&str, &str, i64, Change, bool)] = &[
            ("same tree, an hour later", "process/d/1", HOUR, |_| (), true),
            ("same tree, six days later", "process/d/1", 6 * 24 * HOUR, |_| (), true),
            ("same tree, eight days later", "process/d/1", 8 * 24 * HOUR, |_| (), false),
            ("same file within a day", "file/aa", 23 * HOUR, |_| (), true),
            ("same file after a day", "file/aa", 25 * HOUR, |_| (), false),
            ("same address within a day", "address/203.0.113.9", 2 * HOUR, |_| (), true),
            ("same user on the device", "user/d/anna", 2 * HOUR, |_| (), true),
            ("same device within 15 minutes", "device/d", 14 * MINUTE, |_| (), true),
            ("same device after 15 minutes", "device/d", 16 * MINUTE, |_| (), false),
            ("the event is older than the incident", "process/d/1", -HOUR, |_| (), true),
            ("resolved", "process/d/1", 0, |c| c.status = IncidentStatus::Resolved, false),
            ("redirected", "process/d/1", 0, |c| c.status = IncidentStatus::Redirected, false),
            ("in progress", "process/d/1", 0, |c| c.status = IncidentStatus::InProgress, true),
            ("assigned, the alert is not", "process/d/1", 0, |c| c.assigned_to = Some("anna".into()), true),
            ("classified", "process/d/1", 0, |c| c.classification = Some(Classification::FalsePositive), false),
            ("too many entities", "process/d/1", 0, |c| c.entity_count = ENTITIES_MAX - 4, false),
            ("just enough room", "process/d/1", 0, |c| c.entity_count = ENTITIES_MAX - 5, true),
            ("too many alerts", "process/d/1", 0, |c| c.alert_count = ALERTS_MAX, false),
        ];
        for (name, shared, ago, change, expected) in cases {
            let mut candidate = open(7, &[(shared, *ago)]);
            change(&mut candidate);
            assert_eq!(joins(&alert(&[shared]), &[candidate]).is_some(), *expected, "{name}");
        }
    }

    #[test]
    fn different_assignees_stay_apart() {
        let mut moved = alert(&["process/d/1"]);
        moved.assigned_to = Some("bert".into());
        let mut candidate = open(7, &[("process/d/1", 0)]);
        candidate.assigned_to = Some("anna".into());
        assert_eq!(joins(&moved, std::slice::from_ref(&candidate)), None);
        candidate.assigned_to = Some("bert".into());
        assert!(joins(&moved, &[candidate]).is_some());
    }

    #[test]
    fn the_strongest_link_wins_and_says_why() {
        let alert = alert(&["process/d/1", "device/d"]);
        let by_device = open(3, &[("device/d", 0)]);
        let by_tree = open(7, &[("process/d/1", 0), ("device/d", 0)]);
        assert_eq!(joins(&alert, &[by_device, by_tree]), Some((7, "because process/d/1".into(), vec![])));
    }

    #[test]
    fn an_alert_that_links_two_incidents_merges_them_into_the_older() {
        let alert = alert(&["process/d/1", "address/203.0.113.9"]);
        let tree = open(9, &[("process/d/1", 0)]);
        let address = open(4, &[("address/203.0.113.9", HOUR)]);
        assert_eq!(joins(&alert, &[tree.clone(), address.clone()]), Some((4, "because process/d/1".into(), vec![9])));
        let mut other_owner = address.clone();
        other_owner.assigned_to = Some("anna".into());
        let mut owned = tree.clone();
        owned.assigned_to = Some("bert".into());
        assert_eq!(joins(&alert, &[owned, other_owner]), Some((9, "because process/d/1".into(), vec![])));
        let mut large = address;
        large.entity_count = ENTITIES_MAX - 10;
        assert_eq!(joins(&alert, &[tree, large]), Some((9, "because process/d/1".into(), vec![])));
    }

    #[test]
    fn a_shared_device_never_merges() {
        let alert = alert(&["device/d"]);
        let got = joins(&alert, &[open(4, &[("device/d", 0)]), open(9, &[("device/d", 0)])]);
        assert_eq!(got, Some((4, "because device/d".into(), vec![])));
    }

    #[test]
    fn far_ancestors_link_nothing() {
        let fact = |n: i64| ProcessFact { key: n.to_string(), pid: 100 + n, ..Default::default() };
        let chain: Vec<ProcessFact> = (0..20).map(fact).collect();
        assert_eq!(near(&chain).len(), 1 + TREE_ANCESTORS);
        assert_eq!(near(&chain[..3]), &chain[..3]);
    }

    #[test]
    fn keys_read_back() {
        for text in ["process/d/1", "file/aa", "address/::1", "url/http://x/y", "user/d/anna", "device/d"] {
            assert_eq!(key(text).text(), text);
        }
        assert_eq!(Key::parse("nope"), None);
    }

    #[test]
    fn addresses_and_accounts_that_everyone_has_link_nothing() {
        for address in [
            "127.0.0.1",
            "10.0.0.1",
            "192.168.1.1",
            "169.254.1.1",
            "::1",
            "fe80::1",
            "fd00::1",
            "0.0.0.0",
            "100.64.0.1",
            "::ffff:10.0.0.1",
            "x",
        ] {
            assert!(!is_public_address(address), "{address}");
        }
        for address in ["203.0.113.9", "2001:db8::1", "::ffff:203.0.113.9"] {
            assert!(is_public_address(address), "{address}");
        }
    }

    #[test]
    fn tactics_come_in_the_order_of_an_attack() {
        let sorted = tactics_sorted(["Impact", "Execution", "Zzz", "InitialAccess", "Execution"].map(str::to_owned));
        assert_eq!(sorted, ["InitialAccess", "Execution", "Impact", "Zzz"]);
    }
}
