//! Remedies: what a machine can be asked to do about its antimalware. Signed like orders, for one machine, with an end.
//! They are no orders: they have no sequence, and one that is done twice does no harm.

use super::order::{Addressee, OrderError, check, seal};
use super::v1;
use ed25519_dalek::SigningKey;
use prost::Message as _;

/// How long a machine has to take one, seconds; signed anew whenever it is handed out.
pub const REMEDY_SECONDS: i64 = 3_600;
/// Characters of an id.
const ID_CHARS: usize = 32;
const KIND: &str = "garrison-remedy-v1\n";

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Remedy {
    /// Signatures are brought up to date.
    Update,
    /// Protection is switched on.
    SwitchOn,
    /// A quick scan.
    Scan,
}

impl Remedy {
    /// All.
    pub const ALL: [Remedy; 3] = [Remedy::Update, Remedy::SwitchOn, Remedy::Scan];

    /// The spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Remedy::Update => "update",
            Remedy::SwitchOn => "switch_on",
            Remedy::Scan => "scan",
        }
    }

    /// Reads the spelling.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|r| r.as_str() == text)
    }
}

/// Signs a remedy.
pub fn sign(remedy: &v1::Remedy, key: &SigningKey) -> v1::SignedRemedy {
    let bytes = remedy.encode_to_vec();
    let signature = seal(KIND, &bytes, key);
    v1::SignedRemedy { remedy: bytes.into(), signature: signature.into() }
}

/// Verifies one: its id, and what is to be done; `now` in seconds since 1970.
pub fn open(signed: &v1::SignedRemedy, who: &Addressee, now: i64) -> Result<(String, Remedy), OrderError> {
    check(KIND, &signed.remedy, &signed.signature, &who.key)?;
    let remedy = v1::Remedy::decode(signed.remedy.clone()).map_err(|_| OrderError::Signature)?;
    if remedy.tenant_id != who.tenant.as_str() || remedy.connector_id != who.connector.as_str() {
        return Err(OrderError::Addressee);
    }
    if remedy.expires < now {
        return Err(OrderError::Expired(now.saturating_sub(remedy.expires)));
    }
    if remedy.id.len() != ID_CHARS || !remedy.id.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(OrderError::Unknown);
    }
    let deed = Remedy::parse(&remedy.deed).ok_or(OrderError::Unknown)?;
    Ok((remedy.id, deed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use garrison_model::{ConnectorId, TenantId};

    #[test]
    fn a_remedy_is_only_for_its_machine_in_its_time_and_is_no_order() {
        let key = SigningKey::from_bytes(&[3; 32]);
        let connector = ConnectorId::new("ab".repeat(20)).unwrap();
        let who = Addressee { tenant: TenantId::first(), connector, key: key.verifying_key() };
        let remedy = v1::Remedy {
            tenant_id: "default".into(),
            connector_id: "ab".repeat(20),
            id: "0f".repeat(16),
            deed: "scan".into(),
            expires: 1_000,
        };
        let with = |change: &dyn Fn(&mut v1::Remedy)| {
            let mut remedy = remedy.clone();
            change(&mut remedy);
            sign(&remedy, &key)
        };
        let bytes = remedy.encode_to_vec();
        let of_order = seal("garrison-order-v1\n", &bytes, &key);
        let as_order = v1::SignedRemedy { remedy: bytes.into(), signature: of_order.into() };
        for (signed, wanted) in [
            (with(&|_| ()), Ok(Remedy::Scan)),
            (with(&|r| r.deed = "switch_on".into()), Ok(Remedy::SwitchOn)),
            (with(&|r| r.deed = "rm -rf".into()), Err(OrderError::Unknown)),
            (with(&|r| r.id = "../x".into()), Err(OrderError::Unknown)),
            (with(&|r| r.tenant_id = "other".into()), Err(OrderError::Addressee)),
            (with(&|r| r.expires = 99), Err(OrderError::Expired(1))),
            (as_order, Err(OrderError::Signature)),
            (v1::SignedRemedy { remedy: vec![9; 9_000].into(), ..with(&|_| ()) }, Err(OrderError::Signature)),
            (sign(&remedy, &SigningKey::from_bytes(&[4; 32])), Err(OrderError::Signature)),
        ] {
            assert_eq!(open(&signed, &who, 100).map(|r| r.1), wanted);
        }
    }
}
