//! Secrets at rest: AES-256-GCM with a key in the data folder (`keys/vault.key`, 32 bytes, hexadecimal), a nonce of 12
//! random bytes before the text, and tenant, kind and name as additional data, so that a sealed text fits one place
//! only. What was put in is never given out again; only this room opens it.

use super::ReachError;
use crate::identity::keys::private_file_write;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::TryRngCore as _;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::str::FromStr;

/// Bytes of a secret: the longest key of OpenSSH (RSA with 16,384 bits) has about 12 KiB.
pub const SECRET_BYTES_MAX: usize = 32 << 10;
/// Characters of a name.
const NAME_CHARS_MAX: usize = 64;

const PASSPHRASE: &str =
    "the key has a passphrase, which nobody could type; give one without (`ssh-keygen -p` on a copy takes it off)";

/// The name of the cipher that a private key of OpenSSH is sealed with (PROTOCOL.key): a magic text, then a length of
/// four bytes and the name. `None` where that cannot be read.
fn cipher_of(text: &str) -> Option<Vec<u8>> {
    let body: String = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with("-----")).collect();
    let bytes = STANDARD.decode(body).ok()?;
    let rest = bytes.strip_prefix(b"openssh-key-v1\0")?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    rest.get(..length).map(<[u8]>::to_vec)
}

/// What a secret opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub enum SecretKind {
    /// A private key of OpenSSH without a passphrase.
    Ssh,
    /// An access key of AWS: `ID:SECRET` or `ID:SECRET:SESSION`.
    Aws,
}

impl SecretKind {
    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            SecretKind::Ssh => "Ssh",
            SecretKind::Aws => "Aws",
        }
    }

    /// What is wrong with a text of this kind, if anything; the text itself is not told on.
    pub fn check(self, text: &str) -> Result<(), &'static str> {
        if text.len() > SECRET_BYTES_MAX {
            return Err("the secret is longer than 32 KiB");
        }
        match self {
            SecretKind::Ssh => {
                let begins = text.trim_start().starts_with("-----BEGIN ") && text.contains("PRIVATE KEY-----");
                if !begins {
                    return Err("this is no private key of OpenSSH (it begins with `-----BEGIN … PRIVATE KEY-----`)");
                }
                // The old form says so in its first lines, OpenSSH's own within its base64.
                if text.contains("ENCRYPTED") {
                    return Err(PASSPHRASE);
                }
                if !text.trim_start().starts_with("-----BEGIN OPENSSH ") {
                    return Ok(());
                }
                match cipher_of(text) {
                    Some(cipher) if cipher == b"none" => Ok(()),
                    Some(_) => Err(PASSPHRASE),
                    None => Err("this private key of OpenSSH is damaged: copy its whole file"),
                }
            }
            SecretKind::Aws => {
                let parts: Vec<&str> = text.trim().split(':').collect();
                let clean = |p: &&str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_graphic());
                if matches!(parts.len(), 2 | 3) && parts.iter().all(clean) {
                    Ok(())
                } else {
                    Err("an access key of AWS is `ID:SECRET` or `ID:SECRET:SESSION`")
                }
            }
        }
    }
}

impl FromStr for SecretKind {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        [SecretKind::Ssh, SecretKind::Aws]
            .into_iter()
            .find(|k| k.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| "use one of Ssh, Aws".to_owned())
    }
}

/// A secret as it is shown: without what it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretRecord {
    /// Name.
    pub name: String,
    /// What it opens.
    pub kind: SecretKind,
    /// Who put it in.
    pub created_by: String,
    /// When, RFC 3339.
    pub created_time: String,
}

/// Whether a text can be a name: letters, digits and `-_.`, 1 to 64.
pub fn name_check(of: &str, name: &str) -> Result<(), ReachError> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.chars().all(good) {
        let words = format!("a {of}'s name has 1 to {NAME_CHARS_MAX} letters, digits, `-`, `_` and `.`");
        return Err(ReachError::Value(words));
    }
    Ok(())
}

/// The data folder's key.
pub(super) struct Vault(LessSafeKey);

impl Vault {
    /// Reads the key, making it where it is missing.
    pub(super) fn open(data: &Path) -> Result<Self, ReachError> {
        let path = data.join("keys").join("vault.key");
        let mut bytes = [0; 32];
        if path.exists() {
            let text = std::fs::read_to_string(&path).map_err(|source| ReachError::Key { step: "read", source })?;
            hex::decode_to_slice(text.trim(), &mut bytes).map_err(|_| ReachError::Cipher)?;
        } else {
            rand::rngs::OsRng.try_fill_bytes(&mut bytes).map_err(|_| ReachError::Cipher)?;
            let written = private_file_write(&path, hex::encode(bytes).as_bytes());
            written.map_err(|source| ReachError::Key { step: "write", source })?;
        }
        let key = UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| ReachError::Cipher)?;
        Ok(Self(LessSafeKey::new(key)))
    }

    /// Seals a text for one place.
    pub(super) fn seal(&self, place: &str, text: &str) -> Result<String, ReachError> {
        let mut nonce = [0; NONCE_LEN];
        // Random nonces of 96 bits are safe for 2^32 texts under one key; a vault holds a few.
        rand::rngs::OsRng.try_fill_bytes(&mut nonce).map_err(|_| ReachError::Cipher)?;
        let mut bytes = text.as_bytes().to_vec();
        let nonce_of = Nonce::assume_unique_for_key(nonce);
        self.0
            .seal_in_place_append_tag(nonce_of, Aad::from(place.as_bytes()), &mut bytes)
            .map_err(|_| ReachError::Cipher)?;
        Ok(hex::encode([nonce.as_slice(), &bytes].concat()))
    }

    /// Opens what was sealed for this place.
    pub(super) fn unseal(&self, place: &str, sealed: &str) -> Option<String> {
        let mut bytes = hex::decode(sealed).ok()?;
        let nonce: [u8; NONCE_LEN] = bytes.get(..NONCE_LEN)?.try_into().ok()?;
        let mut text = bytes.split_off(NONCE_LEN);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let open = self.0.open_in_place(nonce, Aad::from(place.as_bytes()), &mut text).ok()?;
        String::from_utf8(open.to_vec()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_text_opens_in_its_place_with_its_key_only() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for folder in [&one, &two] {
            std::fs::create_dir(folder.path().join("keys")).unwrap();
        }
        let vault = Vault::open(one.path()).unwrap();
        let sealed = vault.seal("t/Ssh/a", "a secret").unwrap();
        assert!(!sealed.contains(&hex::encode("secret")));
        assert_ne!(sealed, vault.seal("t/Ssh/a", "a secret").unwrap(), "a nonce is used once");
        let again = Vault::open(one.path()).unwrap();
        assert_eq!(again.unseal("t/Ssh/a", &sealed).as_deref(), Some("a secret"));
        assert!(again.unseal("t/Ssh/b", &sealed).is_none());
        assert!(Vault::open(two.path()).unwrap().unseal("t/Ssh/a", &sealed).is_none());
        let other = if sealed.ends_with('0') { "1" } else { "0" };
        let damaged = format!("{}{other}", &sealed[..sealed.len() - 1]);
        assert!(again.unseal("t/Ssh/a", &damaged).is_none());
        assert!(again.unseal("t/Ssh/a", "zz").is_none() && again.unseal("t/Ssh/a", "").is_none());
    }

    #[test]
    fn secrets_are_what_their_kind_says() {
        // As `ssh-keygen` writes them, cut after the names of the cipher and of what makes its key.
        let key =
            |body: &str| format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{body}\n-----END OPENSSH PRIVATE KEY-----\n");
        assert_eq!(SecretKind::Ssh.check(&key("b3BlbnNzaC1rZXktdjEAAAAABG5v\nbmUAAAAEbm9uZQAAAAAAAAAB")), Ok(()));
        assert_eq!(SecretKind::Ssh.check("-----BEGIN RSA PRIVATE KEY-----\nx\n-----END RSA PRIVATE KEY-----"), Ok(()));
        let sealed = key("b3BlbnNzaC1rZXktdjEAAAAACmFlczI1Ni1jdHIAAAAGYmNyeXB0AAAAGAAAABBNaC5j");
        let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nx\n-----END RSA PRIVATE KEY-----";
        for bad in
            [sealed.as_str(), old, "-----BEGIN ENCRYPTED PRIVATE KEY-----\nx\n-----END ENCRYPTED PRIVATE KEY-----"]
        {
            assert_eq!(SecretKind::Ssh.check(bad), Err(PASSPHRASE), "{bad}");
        }
        for bad in ["ssh-ed25519 AAAA", "", &key("x"), &key("b3BlbnNzaC1rZXktdjEA"), &key("")] {
            assert!(SecretKind::Ssh.check(bad).is_err(), "{bad}");
        }
        assert!(SecretKind::Aws.check("AKID:secret\n").is_ok() && SecretKind::Aws.check("a:b:c").is_ok());
        assert!(SecretKind::Aws.check("AKID").is_err() && SecretKind::Aws.check("a::c").is_err());
        assert!(["ops-2026", "", "a/b"].map(|name| name_check("secret", name).is_ok()) == [true, false, false]);
    }
}
