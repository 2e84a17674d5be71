//! The chain of the audit log, and its proof. Pure.
//!
//! A line is the JSON of an [`Entry`], compact, its fields in the order of the type; its hash is the SHA-256 of exactly
//! these bytes. `previous` in it is the hash of the line before, sixty-four zeros in the first. An exported line is the
//! same with `,"hash":"…"` before its last brace, so whoever takes that away again has the bytes that were hashed.

use ed25519_dalek::{Signature, Signer as _, SigningKey, Verifier as _, VerifyingKey};
use garrison_model::{Micros, TenantId};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// What the first entry follows.
pub const ZERO: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// Between the line and its hash in an export.
const MARK: &str = ",\"hash\":\"";
/// What a signature of the head begins with, so that it is one of nothing else.
const HEAD: &str = "garrison audit head 1";

/// An entry before it has a place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Draft {
    /// When.
    pub at: Micros,
    /// Name of the user or token; empty for somebody unknown.
    pub who: String,
    /// `User`, `Token`, `Local` or `Unknown`.
    pub who_kind: &'static str,
    /// `Read`, `Change`, `SignIn` or `Refused`.
    pub kind: &'static str,
    /// The action that was needed; empty where none was.
    pub action: &'static str,
    /// Method.
    pub method: String,
    /// Route, with its parameters' names.
    pub route: String,
    /// On what, such as `incidents/12`.
    pub target: String,
    /// HTTP status; 0 where the caller went away before there was one.
    pub status: u16,
    /// Things that the answer held.
    pub count: Option<u64>,
    /// Address of the caller.
    pub address: String,
}

/// An entry of the chain. The order of the fields is part of the format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Number, from 1, without gaps.
    pub seq: i64,
    /// When, RFC 3339 in UTC with microseconds.
    pub time: String,
    /// Tenant.
    pub tenant: String,
    /// Name of the user or token; empty for somebody unknown.
    pub who: String,
    /// `User`, `Token`, `Local` or `Unknown`.
    pub who_kind: String,
    /// `Read`, `Change`, `SignIn` or `Refused`.
    pub kind: String,
    /// The action that was needed; empty where none was.
    pub action: String,
    /// Method.
    pub method: String,
    /// Route, with its parameters' names.
    pub route: String,
    /// On what, such as `incidents/12`.
    pub target: String,
    /// HTTP status; 0 where the caller went away before there was one.
    pub status: i64,
    /// Things that the answer held.
    pub count: Option<u64>,
    /// Address of the caller.
    pub address: String,
    /// Hash of the entry before.
    pub previous: String,
}

/// Text bounded and without control characters; an entry stays under a few kilobytes.
fn bounded(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}

impl Entry {
    /// The entry that follows another one.
    pub fn follow(draft: &Draft, tenant: &TenantId, seq: i64, previous: String) -> Self {
        Self {
            seq,
            time: crate::shared::rfc3339(draft.at),
            tenant: tenant.to_string(),
            who: bounded(&draft.who),
            who_kind: draft.who_kind.to_owned(),
            kind: draft.kind.to_owned(),
            action: draft.action.to_owned(),
            method: bounded(&draft.method),
            route: bounded(&draft.route),
            target: bounded(&draft.target),
            status: i64::from(draft.status),
            count: draft.count,
            address: bounded(&draft.address),
            previous,
        }
    }
}

fn hash(line: &str) -> String {
    hex::encode(Sha256::digest(line.as_bytes()))
}

/// The line of an entry and its hash.
pub fn sealed(entry: &Entry) -> (String, String) {
    // Text and numbers only: this cannot fail.
    let line = serde_json::to_string(entry).unwrap_or_default();
    let hash = hash(&line);
    (line, hash)
}

/// A line with its hash, as it is exported.
pub fn exported(line: &str, hash: &str) -> String {
    format!("{}{MARK}{hash}\"}}", line.strip_suffix('}').unwrap_or(line))
}

/// The head of a chain as of a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Head {
    /// Tenant.
    pub tenant: String,
    /// Number of the last entry; 0 where there is none.
    pub seq: i64,
    /// Its hash.
    pub hash: String,
    /// When this was said.
    pub time: String,
}

/// The same, signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignedHead {
    /// The head.
    #[serde(flatten)]
    pub head: Head,
    /// Ed25519 over the five lines `garrison audit head 1`, tenant, number, hash and time, joined by line feeds;
    /// hexadecimal.
    pub signature: String,
    /// The key that it was signed with, hexadecimal.
    pub public_key: String,
}

impl Head {
    fn text(&self) -> String {
        format!("{HEAD}\n{}\n{}\n{}\n{}", self.tenant, self.seq, self.hash, self.time)
    }

    /// Signs it.
    pub fn sign(self, key: &SigningKey) -> SignedHead {
        let signature = hex::encode(key.sign(self.text().as_bytes()).to_bytes());
        SignedHead { signature, public_key: hex::encode(key.verifying_key().to_bytes()), head: self }
    }
}

/// What is wrong with a chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// A line is none of ours.
    #[error("line {line} is no entry of an audit log")]
    Form {
        /// Which.
        line: usize,
    },
    /// A line is not what was hashed.
    #[error("entry {seq} (line {line}) was changed: its hash does not fit its bytes")]
    Changed {
        /// Which.
        line: usize,
        /// Number it claims.
        seq: i64,
    },
    /// Something is missing, doubled or out of order.
    #[error("entry {expected} is missing: line {line} holds {found}")]
    Missing {
        /// Which.
        line: usize,
        /// What had to come.
        expected: i64,
        /// What came.
        found: i64,
    },
    /// A line does not follow the one before.
    #[error("entry {seq} (line {line}) does not follow the one before it")]
    Unchained {
        /// Which.
        line: usize,
        /// Its number.
        seq: i64,
    },
    /// The file ends before the head.
    #[error("the tail is cut: the log ends with entry {found}, its signed head says {head}")]
    Cut {
        /// Last entry found.
        found: i64,
        /// Last entry by the head.
        head: i64,
    },
    /// The entry of the head's number is another one.
    #[error("entry {seq} is not the one that the signed head names")]
    OtherHead {
        /// Its number.
        seq: i64,
    },
    /// The head's signature does not fit.
    #[error("the head is not signed with this key")]
    Signature,
}

/// Goes through a log line by line.
#[derive(Debug)]
pub struct Proof {
    line: usize,
    last: i64,
    hash: String,
    head: Option<Head>,
    seen_head: bool,
}

impl Proof {
    /// For a log from its beginning. The head, where there is one, must be signed with this key: the one it names itself
    /// proves only that it was not garbled, so hand over the one that you know.
    pub fn new(head: Option<SignedHead>, key: Option<&str>) -> Result<Self, Broken> {
        let checked = match head {
            None => None,
            Some(signed) => {
                let bytes = |text: &str| hex::decode(text).ok();
                let key = bytes(key.unwrap_or(&signed.public_key))
                    .and_then(|b| <[u8; 32]>::try_from(b).ok())
                    .and_then(|b| VerifyingKey::from_bytes(&b).ok());
                let signature = bytes(&signed.signature).and_then(|b| Signature::from_slice(&b).ok());
                let (Some(key), Some(signature)) = (key, signature) else { return Err(Broken::Signature) };
                key.verify(signed.head.text().as_bytes(), &signature).map_err(|_| Broken::Signature)?;
                Some(signed.head)
            }
        };
        let seen_head = checked.as_ref().is_none_or(|h| h.seq == 0);
        Ok(Self { line: 0, last: 0, hash: ZERO.to_owned(), head: checked, seen_head })
    }

    /// For the part of a log that follows an entry that was proved already.
    pub fn after(seq: i64, hash: String) -> Self {
        Self { line: 0, last: seq, hash, head: None, seen_head: true }
    }

    /// Takes the next line, without its line feed.
    pub fn take(&mut self, text: &str) -> Result<(), Broken> {
        self.line += 1;
        let line = self.line;
        let form = Broken::Form { line };
        let Some((body, rest)) = text.rsplit_once(MARK) else { return Err(form) };
        let Some(claimed) = rest.strip_suffix("\"}") else { return Err(form) };
        let body = format!("{body}}}");
        let entry: Entry = serde_json::from_str(&body).map_err(|_| form)?;
        if hash(&body) != claimed {
            return Err(Broken::Changed { line, seq: entry.seq });
        }
        let expected = self.last.saturating_add(1);
        if entry.seq != expected {
            return Err(Broken::Missing { line, expected, found: entry.seq });
        }
        if entry.previous != self.hash {
            return Err(Broken::Unchained { line, seq: entry.seq });
        }
        if self.head.as_ref().is_some_and(|h| h.seq == entry.seq) {
            if self.head.as_ref().is_some_and(|h| h.hash != claimed) {
                return Err(Broken::OtherHead { seq: entry.seq });
            }
            self.seen_head = true;
        }
        self.last = entry.seq;
        claimed.clone_into(&mut self.hash);
        Ok(())
    }

    /// After the last line: number and hash of the last entry.
    pub fn finish(self) -> Result<(i64, String), Broken> {
        match &self.head {
            Some(head) if !self.seen_head => Err(Broken::Cut { found: self.last, head: head.seq }),
            _ => Ok((self.last, self.hash)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(entries: i64) -> (Vec<String>, SignedHead) {
        let mut previous = ZERO.to_owned();
        let mut lines = Vec::new();
        for seq in 1..=entries {
            let draft = Draft { who: format!("ann \"{seq}\"\n"), kind: "Read", status: 200, ..Draft::default() };
            let entry = Entry::follow(&draft, &TenantId::first(), seq, previous);
            let (line, hash) = sealed(&entry);
            lines.push(exported(&line, &hash));
            previous = hash;
        }
        let head = Head { tenant: "default".to_owned(), seq: entries, hash: previous, time: "now".to_owned() };
        (lines, head.sign(&SigningKey::from_bytes(&[7; 32])))
    }

    fn prove(lines: &[String], head: Option<&SignedHead>) -> Result<i64, Broken> {
        let mut proof = Proof::new(head.cloned(), None)?;
        for line in lines {
            proof.take(line)?;
        }
        proof.finish().map(|(last, _)| last)
    }

    #[test]
    fn a_whole_log_is_proved() {
        let (lines, head) = log(5);
        assert_eq!(prove(&lines, Some(&head)), Ok(5));
        assert_eq!(prove(&lines, None), Ok(5));
        // A log may have gone on since its head was signed.
        let (more, _) = log(7);
        assert_eq!(prove(&more, Some(&head)), Ok(7));
        let (none, empty) = log(0);
        assert_eq!(prove(&none, Some(&empty)), Ok(0));
    }

    #[test]
    fn a_log_is_proved_in_parts() {
        let (lines, _) = log(5);
        let mut first = Proof::after(0, ZERO.to_owned());
        lines[..3].iter().for_each(|line| first.take(line).unwrap());
        let (seq, hash) = first.finish().unwrap();
        let mut second = Proof::after(seq, hash);
        lines[3..].iter().for_each(|line| second.take(line).unwrap());
        assert_eq!(second.finish().unwrap().0, 5);
        let mut wrong = Proof::after(seq, ZERO.to_owned());
        assert_eq!(wrong.take(&lines[3]), Err(Broken::Unchained { line: 1, seq: 4 }));
    }

    #[test]
    fn every_single_changed_byte_is_found() {
        let (lines, _) = log(3);
        for (number, line) in lines.iter().enumerate() {
            for at in 0..line.len() {
                let mut bytes = line.clone().into_bytes();
                bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
                let mut changed = lines.clone();
                changed[number] = String::from_utf8(bytes).unwrap();
                assert!(prove(&changed, None).is_err(), "line {number}, byte {at}");
            }
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let (lines, head) = log(4);
        let without =
            |n: usize| lines.iter().enumerate().filter(|(i, _)| *i != n).map(|(_, l)| l.clone()).collect::<Vec<_>>();
        let missing =
            |expected, found| Err(Broken::Missing { line: usize::try_from(expected).unwrap(), expected, found });
        for (what, lines, expected) in [
            ("the first", without(0), missing(1, 2)),
            ("one in the middle", without(1), missing(2, 3)),
            ("the last", without(3), Err(Broken::Cut { found: 3, head: 4 })),
            ("all", Vec::new(), Err(Broken::Cut { found: 0, head: 4 })),
            (
                "a line twice",
                [lines[0].clone(), lines[0].clone()].to_vec(),
                Err(Broken::Missing { line: 2, expected: 2, found: 1 }),
            ),
            ("no entry", vec!["{}".to_owned()], Err(Broken::Form { line: 1 })),
        ] {
            assert_eq!(prove(&lines, Some(&head)), expected, "{what}");
        }
        // Without a head, a cut tail cannot be seen: that is what the head is for.
        assert_eq!(prove(&without(3), None), Ok(3));
    }

    #[test]
    fn a_log_that_was_made_anew_does_not_fit_the_head() {
        let (lines, _) = log(3);
        let head = Head { tenant: "default".to_owned(), seq: 3, hash: "ab".repeat(32), time: "now".to_owned() };
        let key = SigningKey::from_bytes(&[7; 32]);
        assert_eq!(prove(&lines, Some(&head.clone().sign(&key))), Err(Broken::OtherHead { seq: 3 }));
        let mut forged = head.sign(&key);
        forged.head.seq = 2;
        assert_eq!(prove(&lines, Some(&forged)), Err(Broken::Signature));
        let other = hex::encode(SigningKey::from_bytes(&[8; 32]).verifying_key().to_bytes());
        assert_eq!(Proof::new(Some(log(1).1), Some(&other)).unwrap_err(), Broken::Signature);
    }
}
