//! Detection content on its way to sensors: a JSON bundle, compressed with zstd and signed with Ed25519.

use crate::v1;
use ed25519_dalek::{Signature, Signer as _, SigningKey, Verifier as _, VerifyingKey};
use serde::{Deserialize, Serialize};

/// Bytes of a bundle after decompression: 32 MiB, ten times the largest public rule corpus.
pub const BUNDLE_BYTES_MAX: usize = 32 << 20;

/// What a sensor runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundle {
    /// Sigma sources by name. Several documents in one source are allowed.
    pub rules: Vec<BundleRule>,
}

/// One source of rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleRule {
    /// Name, for diagnostics.
    pub name: String,
    /// YAML.
    pub source: String,
}

/// Why content was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// Signature missing or wrong.
    #[error("content generation {0} is not signed with the pinned key")]
    Signature(u64),
    /// An older generation than the one in use.
    #[error("content generation {found} is older than {current} in use")]
    RollBack {
        /// Generation offered.
        found: u64,
        /// Generation in use.
        current: u64,
    },
    /// Too large or no zstd.
    #[error("content bundle cannot be unpacked")]
    Unpack(#[source] std::io::Error),
    /// No JSON bundle.
    #[error("content bundle is malformed")]
    Json(#[source] serde_json::Error),
}

fn signed_bytes(generation: u64, bundle: &[u8]) -> Vec<u8> {
    [b"garrison-content-v1\n".as_slice(), &generation.to_be_bytes(), bundle].concat()
}

/// Packs and signs a bundle.
pub fn pack(bundle: &Bundle, version: &str, generation: u64, key: &SigningKey) -> Result<v1::Content, ContentError> {
    let json = serde_json::to_vec(bundle).map_err(ContentError::Json)?;
    let packed = zstd::bulk::compress(&json, 3).map_err(ContentError::Unpack)?;
    let signature = key.sign(&signed_bytes(generation, &packed));
    Ok(v1::Content {
        version: version.to_owned(),
        generation,
        bundle: packed.into(),
        signature: signature.to_bytes().to_vec().into(),
    })
}

/// Verifies and unpacks a bundle. `current` is the generation in use; an equal one is taken again (a restart).
pub fn unpack(content: &v1::Content, key: &VerifyingKey, current: u64) -> Result<Bundle, ContentError> {
    let wrong = || ContentError::Signature(content.generation);
    let signature = Signature::from_slice(&content.signature).map_err(|_| wrong())?;
    key.verify(&signed_bytes(content.generation, &content.bundle), &signature).map_err(|_| wrong())?;
    if content.generation < current {
        return Err(ContentError::RollBack { found: content.generation, current });
    }
    let json = zstd::bulk::decompress(&content.bundle, BUNDLE_BYTES_MAX).map_err(ContentError::Unpack)?;
    serde_json::from_slice(&json).map_err(ContentError::Json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_taken_only_with_the_right_signature_and_not_backwards() {
        let key = SigningKey::from_bytes(&[3; 32]);
        let bundle = Bundle { rules: vec![BundleRule { name: "a".into(), source: "title: a".into() }] };
        let content = pack(&bundle, "1.0", 5, &key).unwrap();
        assert_eq!(unpack(&content, &key.verifying_key(), 5).unwrap(), bundle);
        assert!(matches!(unpack(&content, &key.verifying_key(), 6), Err(ContentError::RollBack { .. })));
        let mut forged = content.clone();
        forged.generation = 9;
        assert!(matches!(unpack(&forged, &key.verifying_key(), 5), Err(ContentError::Signature(9))));
        let other = SigningKey::from_bytes(&[4; 32]).verifying_key();
        assert!(matches!(unpack(&content, &other, 0), Err(ContentError::Signature(5))));
    }
}
