//! Text of columns that name people, sealed with a key.
//!
//! ```text
//! sealed1:  base64url without padding of  nonce (12 bytes) | sealed text | tag (16 bytes)
//! ```
//!
//! The cipher is AES-256-GCM (NIST SP 800-38D); what is authenticated with a text is whose it is, its table and its
//! column, so a text that is put into another column or under another tenant does not open. Keys come from a secret by
//! HKDF with SHA-256 (RFC 5869), labelled `garrison columns 1`.
//!
//! A column is sealed in one of two ways ([`Way`]). *Hidden*: the nonce is random; the same text is never the same twice.
//! *Found*: the nonce is the first 96 bits of HMAC-SHA-256 (RFC 2104) over the text and its column, with a key of its
//! own, so that the same text is sealed to the same value. That value is the column's blind index: `=`, `IN`, `GROUP BY`
//! and unique indexes go on working in SQL, and whoever has the database alone learns which rows hold the same text, and
//! not which. Order and parts of a text cannot be asked for in SQL in either way.
//!
//! NIST SP 800-38D wants nonces of one key to repeat with a chance of less than 2^-32. Both ways keep that up to 2^32
//! texts a key; two different texts with the same nonce would tell their difference.
//!
//! An empty text stays empty. A text without the prefix is plain: it was written before, or sealing is switched off. A
//! plain text that begins with a prefix of ours is written behind `plain1:`.

use super::columns::{Column, Way};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use sqlx::Row as _;
use sqlx::any::AnyRow;
use std::sync::Arc;

/// What a sealed text begins with.
pub const SEALED: &str = "sealed1:";
/// What a plain text begins with that would look like a sealed one.
const ESCAPED: &str = "plain1:";
const KEY_BYTES: usize = 32;
/// Bytes of a text that a found column takes: PostgreSQL indexes values of up to 2,704 bytes, and sealing adds a third.
const FOUND_BYTES_MAX: usize = 1_024;
/// Bytes of a key's name.
const NAME_BYTES: usize = 8;

/// What stands for a text in a found column that has no bound of its own: the text, or its SHA-256 where it is too long
/// for an index.
pub fn found_text(text: &str) -> String {
    use sha2::{Digest as _, Sha256};
    if text.len() <= FOUND_BYTES_MAX {
        return text.to_owned();
    }
    format!("sha256:{}", hex::encode(Sha256::digest(text.as_bytes())))
}

/// A column's text cannot be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// It does not open.
    #[error(
        "a sealed text of `{column}` does not open: it was changed, or sealed with a key that this server has not \
         (docs/reference/data-protection.md, \"Sealed columns\")"
    )]
    Closed {
        /// Table and column.
        column: String,
    },
    /// The cipher or the system's random numbers failed.
    #[error("cannot seal a text of `{column}`")]
    Cipher {
        /// Table and column.
        column: String,
    },
}

impl From<SealError> for sqlx::Error {
    fn from(error: SealError) -> Self {
        Self::Decode(Box::new(error))
    }
}

struct Keys {
    name: String,
    hidden: LessSafeKey,
    found: LessSafeKey,
    nonce: hmac::Key,
}

/// Seals and opens the columns of one tenant, or of the server. Cheap to clone.
#[derive(Clone)]
pub struct Sealer {
    scope: Arc<str>,
    keys: Option<Arc<Keys>>,
    sealing: bool,
}

impl Default for Sealer {
    fn default() -> Self {
        Self::plain("")
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").field("scope", &self.scope).field("sealing", &self.sealing).finish_non_exhaustive()
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

impl Keys {
    fn new(secret: &[u8; KEY_BYTES], scope: &str) -> Option<Self> {
        let root = Salt::new(HKDF_SHA256, b"garrison columns 1").extract(secret);
        let derive = |what: &str, out: &mut [u8]| {
            let info = [what.as_bytes(), &[0], scope.as_bytes()];
            root.expand(&info, Length(out.len())).and_then(|okm| okm.fill(out)).ok()
        };
        let key = |what: &str| {
            let mut bytes = [0; KEY_BYTES];
            derive(what, &mut bytes)?;
            Some(bytes)
        };
        let cipher = |what: &str| Some(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key(what)?).ok()?));
        let mut name = [0; NAME_BYTES];
        derive("name", &mut name)?;
        Some(Self {
            name: hex::encode(name),
            hidden: cipher("hidden")?,
            found: cipher("found")?,
            nonce: hmac::Key::new(hmac::HMAC_SHA256, &key("nonce")?),
        })
    }
}

impl Sealer {
    /// Without a key: what is written stays plain.
    pub fn plain(scope: &str) -> Self {
        Self { scope: scope.into(), keys: None, sealing: false }
    }

    /// With the keys that come from a secret. `scope` is the tenant's id, or empty for the server; without `sealing` what
    /// is written stays plain, and what is sealed is opened.
    pub fn new(secret: &[u8; KEY_BYTES], scope: &str, sealing: bool) -> Self {
        // Lengths are fixed: deriving does not fail. If it did, nothing would be written sealed, and the turn refuses.
        Self { scope: scope.into(), keys: Keys::new(secret, scope).map(Arc::new), sealing }
    }

    /// Whose texts.
    pub fn scope(&self) -> &str {
        &self.scope
    }

    /// Names the key without telling it.
    pub fn key_name(&self) -> Option<&str> {
        self.keys.as_ref().map(|keys| keys.name.as_str())
    }

    /// Whether what is written is sealed.
    pub fn is_sealing(&self) -> bool {
        self.sealing && self.keys.is_some()
    }

    fn bound_to(&self, column: Column) -> String {
        format!("garrison column 1\0{}\0{}\0{}", self.scope, column.table, column.name)
    }

    /// A text as it is to be written into a column, or looked for in one.
    pub fn put(&self, column: Column, text: &str) -> Result<String, sqlx::Error> {
        if text.is_empty() {
            return Ok(String::new());
        }
        let Some(keys) = self.keys.as_ref().filter(|_| self.sealing) else {
            let escape = text.starts_with(SEALED) || text.starts_with(ESCAPED);
            return Ok(if escape { format!("{ESCAPED}{text}") } else { text.to_owned() });
        };
        let failed = || sqlx::Error::from(SealError::Cipher { column: column.to_string() });
        let bound = self.bound_to(column);
        let mut nonce = [0; NONCE_LEN];
        let key = match column.way {
            Way::Hidden => {
                SystemRandom::new().fill(&mut nonce).map_err(|_| failed())?;
                &keys.hidden
            }
            Way::Found => {
                let mut mac = hmac::Context::with_key(&keys.nonce);
                mac.update(bound.as_bytes());
                mac.update(&[0]);
                mac.update(text.as_bytes());
                nonce.iter_mut().zip(mac.sign().as_ref()).for_each(|(to, from)| *to = *from);
                &keys.found
            }
        };
        let mut bytes = Vec::with_capacity(NONCE_LEN + text.len() + AES_256_GCM.tag_len());
        bytes.extend_from_slice(&nonce);
        bytes.extend_from_slice(text.as_bytes());
        let body = bytes.get_mut(NONCE_LEN..).unwrap_or_default();
        let tag = key
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(bound.as_bytes()), body)
            .map_err(|_| failed())?;
        bytes.extend_from_slice(tag.as_ref());
        let mut out = String::with_capacity(SEALED.len() + bytes.len().div_ceil(3) * 4);
        out.push_str(SEALED);
        URL_SAFE_NO_PAD.encode_string(&bytes, &mut out);
        Ok(out)
    }

    /// The same where there may be none.
    pub fn put_maybe(&self, column: Column, text: Option<&str>) -> Result<Option<String>, sqlx::Error> {
        text.map(|text| self.put(column, text)).transpose()
    }

    /// The text of a stored value.
    pub fn open(&self, column: Column, value: String) -> Result<String, sqlx::Error> {
        let Some(sealed) = value.strip_prefix(SEALED) else {
            return Ok(match value.strip_prefix(ESCAPED) {
                Some(text) => text.to_owned(),
                None => value,
            });
        };
        self.unseal(column, sealed).ok_or_else(|| SealError::Closed { column: column.to_string() }.into())
    }

    fn unseal(&self, column: Column, sealed: &str) -> Option<String> {
        let keys = self.keys.as_ref()?;
        let mut bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let nonce: [u8; NONCE_LEN] = bytes.get(..NONCE_LEN)?.try_into().ok()?;
        let key = match column.way {
            Way::Hidden => &keys.hidden,
            Way::Found => &keys.found,
        };
        let bound = self.bound_to(column);
        let nonce = Nonce::assume_unique_for_key(nonce);
        // The text is moved to the front, where the nonce was: one buffer a value.
        let length = key.open_within(nonce, Aad::from(bound.as_bytes()), &mut bytes, NONCE_LEN..).ok()?.len();
        bytes.truncate(length);
        String::from_utf8(bytes).ok()
    }

    /// The text of a column of a row.
    pub fn get(&self, row: &AnyRow, column: Column) -> Result<String, sqlx::Error> {
        self.open(column, row.try_get(column.name)?)
    }

    /// The same where there may be none.
    pub fn get_maybe(&self, row: &AnyRow, column: Column) -> Result<Option<String>, sqlx::Error> {
        let value: Option<String> = row.try_get(column.name)?;
        value.map(|value| self.open(column, value)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::super::columns;
    use super::*;

    const HIDDEN: Column = columns::COMMENT_TEXT;
    const FOUND: Column = columns::USER_NAME;

    fn sealer(byte: u8, scope: &str) -> Sealer {
        Sealer::new(&[byte; KEY_BYTES], scope, true)
    }

    #[test]
    fn a_text_opens_with_its_key_in_its_column_and_for_its_tenant_only() {
        let own = sealer(1, "a");
        for (column, other) in [(HIDDEN, columns::COMMENT_AUTHOR), (FOUND, columns::OIDC_SUBJECT)] {
            for text in ["x", "Anna Müller", &"long ".repeat(40_000)] {
                let sealed = own.put(column, text).unwrap();
                assert!(sealed.starts_with(SEALED) && (text.len() == 1 || !sealed.contains(text)));
                assert_eq!(own.open(column, sealed.clone()).unwrap(), text);
                for wrong in [sealer(2, "a"), sealer(1, "b"), Sealer::plain("a")] {
                    assert!(wrong.open(column, sealed.clone()).is_err());
                }
                assert!(own.open(other, sealed).is_err());
            }
        }
        let error = own.open(HIDDEN, "sealed1:!".to_owned()).unwrap_err().to_string();
        assert!(error.contains("incidents_comment.text"), "{error}");
    }

    #[test]
    fn any_changed_character_is_found_out() {
        for column in [HIDDEN, FOUND] {
            let sealed = sealer(1, "").put(column, "Anna").unwrap();
            for at in SEALED.len()..sealed.len() {
                let mut bytes = sealed.clone().into_bytes();
                bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
                assert!(sealer(1, "").open(column, String::from_utf8(bytes).unwrap()).is_err(), "{at}");
            }
            assert!(sealer(1, "").open(column, SEALED.to_owned()).is_err());
        }
    }

    #[test]
    fn only_found_columns_show_that_two_texts_are_the_same() {
        let own = sealer(1, "a");
        assert_ne!(own.put(HIDDEN, "anna").unwrap(), own.put(HIDDEN, "anna").unwrap());
        assert_eq!(own.put(FOUND, "anna").unwrap(), own.put(FOUND, "anna").unwrap());
        assert_ne!(own.put(FOUND, "anna").unwrap(), own.put(FOUND, "anne").unwrap());
        let body = |sealer: &Sealer, column| sealer.put(column, "anna").unwrap();
        assert_ne!(body(&own, FOUND), body(&sealer(1, "b"), FOUND));
        assert_ne!(body(&own, FOUND), body(&own, columns::OIDC_SUBJECT));
    }

    #[test]
    fn plain_texts_are_read_and_cannot_be_taken_for_sealed_ones() {
        let (own, plain) = (sealer(1, "a"), Sealer::plain("a"));
        let off = Sealer::new(&[1; KEY_BYTES], "a", false);
        for text in ["", "anna", "sealed1:anna", "plain1:", "plain1:sealed1:x"] {
            for writer in [&own, &plain, &off] {
                let value = writer.put(FOUND, text).unwrap();
                let reader = if std::ptr::eq(writer, &raw const own) { &own } else { &plain };
                assert_eq!(reader.open(FOUND, value.clone()).unwrap(), text);
                assert_eq!(off.open(FOUND, value).unwrap(), text);
            }
        }
        assert_eq!(plain.put(FOUND, "anna").unwrap(), "anna");
        assert!(own.is_sealing() && !off.is_sealing() && !plain.is_sealing());
        assert_eq!(own.key_name(), off.key_name());
        assert_ne!(own.key_name(), sealer(2, "a").key_name());
        assert!(plain.key_name().is_none());
    }

    #[test]
    fn a_found_text_fits_into_an_index() {
        let own = sealer(1, "a");
        for length in [0, 1, FOUND_BYTES_MAX, FOUND_BYTES_MAX + 1, 100_000] {
            let text = found_text(&"x".repeat(length));
            assert_eq!(text.len() == length, length <= FOUND_BYTES_MAX);
            assert!(own.put(FOUND, &text).unwrap().len() < 2_000);
        }
        assert_ne!(found_text(&"x".repeat(2_000)), found_text(&"x".repeat(2_001)));
    }
}
