//! Secrets at rest: AES-256-GCM under a key that is derived from the server's key of the audit log, bound to the export.

use super::{ExportError, Exports};
use rand::TryRngCore as _;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sha2::{Digest as _, Sha256};

fn key(seed: &[u8]) -> Option<LessSafeKey> {
    let mut hash = Sha256::new();
    hash.update(b"garrison exports 1\0");
    hash.update(seed);
    UnboundKey::new(&AES_256_GCM, &hash.finalize()).ok().map(LessSafeKey::new)
}

fn seal(seed: &[u8], id: &str, secret: &str) -> Option<String> {
    let mut nonce = [0; NONCE_LEN];
    rand::rngs::OsRng.try_fill_bytes(&mut nonce).ok()?;
    let mut sealed = secret.as_bytes().to_vec();
    key(seed)?.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(id), &mut sealed).ok()?;
    Some(hex::encode([nonce.as_slice(), &sealed].concat()))
}

fn unseal(seed: &[u8], id: &str, sealed: &str) -> Option<Vec<u8>> {
    let bytes = hex::decode(sealed).ok()?;
    let (nonce, rest) = bytes.split_at_checked(NONCE_LEN)?;
    let mut rest = rest.to_vec();
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let plain = key(seed)?.open_in_place(nonce, Aad::from(id), &mut rest).ok()?;
    Some(plain.to_vec())
}

impl Exports {
    pub(super) fn seal(&self, id: &str, secret: &str) -> Result<String, ExportError> {
        seal(&self.shared.identity.audit_key().to_bytes(), id, secret).ok_or(ExportError::Stored)
    }

    pub(super) fn unseal(&self, id: &str, sealed: &str) -> Result<Vec<u8>, String> {
        unseal(&self.shared.identity.audit_key().to_bytes(), id, sealed)
            .ok_or_else(|| "the secret was sealed with another server's keys; set it again".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_with_its_key_and_for_its_export_only() {
        let sealed = seal(&[7; 32], "one", "a secret of mine").unwrap();
        assert_eq!(unseal(&[7; 32], "one", &sealed).unwrap(), b"a secret of mine");
        assert_ne!(sealed, seal(&[7; 32], "one", "a secret of mine").unwrap());
        assert_eq!(unseal(&[8; 32], "one", &sealed), None);
        assert_eq!(unseal(&[7; 32], "two", &sealed), None);
        assert_eq!(unseal(&[7; 32], "one", "00"), None);
    }
}
