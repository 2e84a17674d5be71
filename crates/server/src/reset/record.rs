//! What a reset is to do and what was done, and the signature under it. Pure.

use super::Step;
use ed25519_dalek::{Signature, Signer as _, SigningKey, Verifier as _, VerifyingKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

/// What a signature begins with, so that it is one of nothing else.
const MARK: &str = "garrison tenant reset 1\n";

/// What a reset is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Scope {
    /// Tenant.
    pub tenant: String,
    /// Geography that it leaves.
    pub from: String,
    /// Geography that it starts anew in.
    pub to: String,
    /// Folder of its lake.
    pub lake: String,
    /// Folder of its new lake.
    pub new_lake: String,
    /// Name of the key that is destroyed.
    pub key: Option<String>,
    /// Files of the lake.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Devices that are shut out; each keeps its sensor until it is off-boarded or enrolled anew.
    pub devices: u64,
    /// Rows of control data, by table.
    pub rows: BTreeMap<String, u64>,
    /// Machines that were off-boarded before: nothing of ours is on them. Resource ids. Absent in older records, as are
    /// the two below.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub off_boarded: Vec<String>,
    /// Machines that keep their sensor or their connector. Resource ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_machines: Vec<String>,
    /// Sensors without a machine that stay where they are. Device ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_sensors: Vec<String>,
}

impl Scope {
    /// Stands for exactly this.
    pub fn digest(&self) -> String {
        hex::encode(Sha256::digest(serde_json::to_vec(self).unwrap_or_default())).chars().take(32).collect()
    }
}

/// A step that is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepDone {
    /// Which.
    pub step: Step,
    /// When, RFC 3339.
    pub time: String,
    /// What exactly.
    pub what: String,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Version of the format.
    pub version: u32,
    /// What it is about, as it was before the first step.
    pub scope: Scope,
    /// When it was begun, RFC 3339.
    pub began: String,
    /// Steps in their order.
    pub steps: Vec<StepDone>,
}

/// The same, signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Signed {
    /// The record.
    pub record: Record,
    /// The key, Ed25519, hexadecimal: that of the audit log.
    pub public_key: String,
    /// Over `garrison tenant reset 1`, a line feed, and the record as compact JSON with its fields in this order.
    pub signature: String,
}

/// Why a record proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// It is none.
    #[error("the file is no record of a reset")]
    Form,
    /// Something in it was changed, or another key signed it.
    #[error("the record was changed, or was not signed with this key")]
    Signature,
    /// It does not tell of a whole reset.
    #[error("the record does not tell of all steps in their order")]
    Steps,
}

impl Record {
    fn text(&self) -> Vec<u8> {
        let mut text = MARK.as_bytes().to_vec();
        text.extend(serde_json::to_vec(self).unwrap_or_default());
        text
    }

    /// Signs it.
    pub fn sign(self, key: &SigningKey) -> Signed {
        let signature = hex::encode(key.sign(&self.text()).to_bytes());
        Signed { signature, public_key: hex::encode(key.verifying_key().to_bytes()), record: self }
    }
}

/// Checks a record; with a key, that this one signed it.
pub fn verify(text: &[u8], key: Option<&str>) -> Result<Record, Broken> {
    let signed: Signed = serde_json::from_slice(text).map_err(|_| Broken::Form)?;
    if key.is_some_and(|key| !key.eq_ignore_ascii_case(&signed.public_key)) {
        return Err(Broken::Signature);
    }
    let (mut public, mut signature) = ([0; 32], [0; 64]);
    hex::decode_to_slice(&signed.public_key, &mut public).map_err(|_| Broken::Form)?;
    hex::decode_to_slice(&signed.signature, &mut signature).map_err(|_| Broken::Form)?;
    let public = VerifyingKey::from_bytes(&public).map_err(|_| Broken::Form)?;
    public.verify(&signed.record.text(), &Signature::from_bytes(&signature)).map_err(|_| Broken::Signature)?;
    let steps: Vec<Step> = signed.record.steps.iter().map(|done| done.step).collect();
    if steps == super::STEPS { Ok(signed.record) } else { Err(Broken::Steps) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_holds_with_its_key_and_unchanged_only() {
        let key = SigningKey::from_bytes(&[3; 32]);
        let scope = Scope {
            tenant: "default".to_owned(),
            from: "EU".to_owned(),
            to: "UK".to_owned(),
            lake: "/eu".to_owned(),
            new_lake: "/uk".to_owned(),
            key: Some("ab".to_owned()),
            files: 3,
            bytes: 4,
            devices: 1,
            rows: BTreeMap::from([("incidents_alert".to_owned(), 7)]),
            left_machines: vec!["/subscriptions/s".to_owned()],
            ..Scope::default()
        };
        let done = |step| StepDone { step, time: "2026-11-26T00:00:00Z".to_owned(), what: "x".to_owned() };
        let steps = super::super::STEPS.map(done).to_vec();
        let whole = Record { version: 1, scope, began: "2026-11-26T00:00:00Z".to_owned(), steps };
        let signed = whole.clone().sign(&key);
        let text = serde_json::to_string_pretty(&signed).unwrap();
        assert_eq!(verify(text.as_bytes(), Some(&signed.public_key)), Ok(whole.clone()));
        let other = hex::encode(SigningKey::from_bytes(&[4; 32]).verifying_key().to_bytes());
        assert_eq!(verify(text.as_bytes(), Some(&other)), Err(Broken::Signature));
        assert_eq!(verify(text.replace("\"EU\"", "\"US\"").as_bytes(), None), Err(Broken::Signature));
        assert_eq!(verify(text.replace("/subscriptions/s", "").as_bytes(), None), Err(Broken::Signature));
        // What an older version wrote has none of the lists of machines, and holds as it did.
        let older = Record { scope: Scope { left_machines: Vec::new(), ..whole.scope.clone() }, ..whole.clone() };
        let older_text = serde_json::to_string(&older.clone().sign(&key)).unwrap();
        assert!(!older_text.contains("leftMachines") && !older_text.contains("offBoarded"));
        assert_eq!(verify(older_text.as_bytes(), None), Ok(older));
        assert_eq!(verify(b"{}", None), Err(Broken::Form));
        let mut half = whole;
        half.steps.pop();
        let half = serde_json::to_string(&half.sign(&key)).unwrap();
        assert_eq!(verify(half.as_bytes(), None), Err(Broken::Steps));
    }
}
