//! Orders to a machine: signed by the key that the machine pinned when it was connected, for this machine alone, with
//! an end, and never backwards. Whoever gets hold of a session or of the database alone can order nothing.

use super::v1;
use ed25519_dalek::{Signature, Signer as _, SigningKey, Verifier as _, VerifyingKey};
use garrison_model::{ConnectorId, TenantId};
use prost::Message as _;

/// Bytes of an order: ids, a package's name and a reason.
const ORDER_BYTES_MAX: usize = 8 << 10;

/// How long an order holds, seconds. It is signed anew whenever it is handed out, so this only bounds a replay; a day
/// bears clocks that differ.
pub const ORDER_SECONDS: i64 = 24 * 3600;

/// What an order wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Deed {
    /// The package installed and the sensor enrolled.
    Install,
    /// The extension gone; the sensor stays.
    Remove,
    /// Everything gone.
    Offboard,
}

impl Deed {
    /// All, with their spelling on the wire.
    pub const ALL: &'static [(Deed, &'static str)] =
        &[(Deed::Install, "install"), (Deed::Remove, "remove"), (Deed::Offboard, "offboard")];

    /// The spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Deed::Install => "install",
            Deed::Remove => "remove",
            Deed::Offboard => "offboard",
        }
    }

    /// Reads the spelling.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, word)| *word == text).map(|(deed, _)| *deed)
    }
}

/// An order is not obeyed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// Not signed with the pinned key, or no order at all.
    #[error("the order is not signed with the pinned key")]
    Signature,
    /// For another machine.
    #[error("the order is for another machine")]
    Addressee,
    /// Over.
    #[error("the order ended {0} seconds ago")]
    Expired(i64),
    /// Not newer than the newest one taken.
    #[error("order {found} is not newer than {newest}, which was taken")]
    RollBack {
        /// This one.
        found: u64,
        /// The newest taken.
        newest: u64,
    },
    /// What it wants is not known here.
    #[error("what the order wants is not known to this version")]
    Unknown,
}

/// What is signed: what kind of thing it is, and its bytes. A signature of one kind is worth nothing for another.
pub(super) fn seal(kind: &str, bytes: &[u8], key: &SigningKey) -> Vec<u8> {
    key.sign(&[kind.as_bytes(), bytes].concat()).to_bytes().to_vec()
}

/// Whether bytes of a kind are signed with the pinned key.
pub(super) fn check(kind: &str, bytes: &[u8], signature: &[u8], key: &VerifyingKey) -> Result<(), OrderError> {
    if bytes.len() > ORDER_BYTES_MAX {
        return Err(OrderError::Signature);
    }
    let signature = Signature::from_slice(signature).map_err(|_| OrderError::Signature)?;
    key.verify(&[kind.as_bytes(), bytes].concat(), &signature).map_err(|_| OrderError::Signature)
}

const KIND: &str = "garrison-order-v1\n";

/// Signs an order.
pub fn sign(order: &v1::Order, key: &SigningKey) -> v1::SignedOrder {
    let bytes = order.encode_to_vec();
    let signature = seal(KIND, &bytes, key);
    v1::SignedOrder { order: bytes.into(), signature: signature.into() }
}

/// Who opens an order.
#[derive(Debug, Clone)]
pub struct Addressee {
    /// Tenant.
    pub tenant: TenantId,
    /// Connector.
    pub connector: ConnectorId,
    /// The pinned key.
    pub key: VerifyingKey,
}

/// Verifies an order; `newest` is the newest one taken, `now` in seconds since 1970.
pub fn open(signed: &v1::SignedOrder, who: &Addressee, newest: u64, now: i64) -> Result<(v1::Order, Deed), OrderError> {
    check(KIND, &signed.order, &signed.signature, &who.key)?;
    let order = v1::Order::decode(signed.order.clone()).map_err(|_| OrderError::Signature)?;
    if order.tenant_id != who.tenant.as_str() || order.connector_id != who.connector.as_str() {
        return Err(OrderError::Addressee);
    }
    if order.expires < now {
        return Err(OrderError::Expired(now.saturating_sub(order.expires)));
    }
    if order.generation <= newest {
        return Err(OrderError::RollBack { found: order.generation, newest });
    }
    let deed = Deed::parse(&order.deed).ok_or(OrderError::Unknown)?;
    if garrison_model::extension_name(&order.extension).is_none() {
        return Err(OrderError::Unknown);
    }
    Ok((order, deed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_obeyed_only_by_its_machine_in_its_time_and_not_backwards() {
        let key = SigningKey::from_bytes(&[3; 32]);
        let connector = ConnectorId::new("ab".repeat(20)).unwrap();
        let who = Addressee { tenant: TenantId::first(), connector, key: key.verifying_key() };
        let order = v1::Order {
            tenant_id: "default".into(),
            connector_id: "ab".repeat(20),
            extension: "Sensor.Linux".into(),
            generation: 5,
            deed: "install".into(),
            expires: 1_000,
            ..v1::Order::default()
        };
        let with = |change: &dyn Fn(&mut v1::Order)| {
            let mut order = order.clone();
            change(&mut order);
            sign(&order, &key)
        };
        let forged = v1::SignedOrder { order: with(&|o| o.generation = 9).order, ..sign(&order, &key) };
        let cases: [(v1::SignedOrder, Result<Deed, OrderError>); 8] = [
            (with(&|_| ()), Ok(Deed::Install)),
            (with(&|o| o.deed = "offboard".into()), Ok(Deed::Offboard)),
            (with(&|o| o.connector_id = "cd".repeat(20)), Err(OrderError::Addressee)),
            (with(&|o| o.expires = 10), Err(OrderError::Expired(90))),
            (with(&|o| o.generation = 4), Err(OrderError::RollBack { found: 4, newest: 4 })),
            (with(&|o| o.deed = "dance".into()), Err(OrderError::Unknown)),
            (forged, Err(OrderError::Signature)),
            (sign(&order, &SigningKey::from_bytes(&[4; 32])), Err(OrderError::Signature)),
        ];
        for (signed, wanted) in cases {
            assert_eq!(open(&signed, &who, 4, 100).map(|o| o.1), wanted);
        }
    }
}
