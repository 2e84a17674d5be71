//! Secrets and comparing them.

use super::Error;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::TryRngCore as _;
use sha2::{Digest as _, Sha256};

/// `BYTES` random bytes as base64url without padding.
pub fn random_text<const BYTES: usize>() -> Result<String, Error> {
    let mut bytes = [0_u8; BYTES];
    rand::rngs::OsRng.try_fill_bytes(&mut bytes).map_err(|_| Error::Random)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// What is stored of a secret.
pub(crate) fn hash_text(secret: &str) -> String {
    hex::encode(Sha256::digest(secret.as_bytes()))
}

/// Compares without telling by its time where two secrets differ; only their lengths show.
pub fn equal_in_constant_time(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let difference = a.iter().zip(b).fold(0_u8, |d, (x, y)| std::hint::black_box(d | (x ^ y)));
    std::hint::black_box(difference) == 0
}
