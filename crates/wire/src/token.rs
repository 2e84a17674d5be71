//! Enrolment tokens: a secret and the fingerprint of the server's CA in one word, so that the first contact is already
//! pinned. Text form: `ge1_` and base64url without padding over id (8 bytes), secret (24 bytes), fingerprint (32 bytes).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::TryRngCore as _;
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::str::FromStr;

const PREFIX: &str = "ge1_";

/// An enrolment token. Its `Debug` form hides the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct EnrolmentToken {
    /// Names the token on the server.
    pub id: [u8; 8],
    /// Proves its possession.
    pub secret: [u8; 24],
    /// SHA-256 of the CA certificate's DER.
    pub ca_fingerprint: [u8; 32],
}

/// The text is no enrolment token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is no enrolment token: it must start with `ge1_` and be copied whole")]
pub struct TokenError;

impl EnrolmentToken {
    /// A new token for a server with this CA.
    pub fn generate(ca_fingerprint: [u8; 32]) -> Result<Self, rand::rand_core::OsError> {
        let (mut id, mut secret) = ([0; 8], [0; 24]);
        rand::rngs::OsRng.try_fill_bytes(&mut id)?;
        rand::rngs::OsRng.try_fill_bytes(&mut secret)?;
        Ok(Self { id, secret, ca_fingerprint })
    }

    /// The id as the server stores it, hexadecimal.
    pub fn id_text(&self) -> String {
        hex::encode(self.id)
    }

    /// What the server stores instead of the secret: SHA-256, hexadecimal. The secret has 192 random bits, so a slow
    /// hash would add nothing.
    pub fn secret_hash(&self) -> String {
        hex::encode(Sha256::digest(self.secret))
    }
}

impl fmt::Display for EnrolmentToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&self.id[..], &self.secret[..], &self.ca_fingerprint[..]].concat();
        write!(f, "{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl fmt::Debug for EnrolmentToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EnrolmentToken({})", self.id_text())
    }
}

impl FromStr for EnrolmentToken {
    type Err = TokenError;
    fn from_str(text: &str) -> Result<Self, TokenError> {
        let body = text.trim().strip_prefix(PREFIX).ok_or(TokenError)?;
        if body.len() > 128 {
            return Err(TokenError);
        }
        let bytes = URL_SAFE_NO_PAD.decode(body).map_err(|_| TokenError)?;
        let (id, rest) = bytes.split_first_chunk::<8>().ok_or(TokenError)?;
        let (secret, rest) = rest.split_first_chunk::<24>().ok_or(TokenError)?;
        let ca_fingerprint = <[u8; 32]>::try_from(rest).map_err(|_| TokenError)?;
        Ok(Self { id: *id, secret: *secret, ca_fingerprint })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_token_reads_back_and_a_cut_one_does_not() {
        let token = EnrolmentToken::generate([7; 32]).unwrap();
        let text = token.to_string();
        assert_eq!(text.parse(), Ok(token.clone()));
        assert_eq!(text[..text.len() - 2].parse::<EnrolmentToken>(), Err(TokenError));
        assert!(!format!("{token:?}").contains(&text[10..]));
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in ".{0,200}") {
            let _ = text.parse::<EnrolmentToken>();
        }
    }
}
