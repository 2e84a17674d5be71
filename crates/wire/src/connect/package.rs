//! Packages that a vendor signed: who made the package says so beside it, in a file `PACKAGE.sig`, so that neither a
//! server's operator nor whoever takes the server over can hand machines another program.
//!
//! The signature is Ed25519 (RFC 8032) over the lines of [`Statement::signed_bytes`]; the file is JSON.

use ed25519_dalek::{Signature, Signer as _, SigningKey, Verifier as _, VerifyingKey};
use serde::{Deserialize, Serialize};

/// The file's version.
const VERSION: u32 = 1;
/// Bytes of a signature file.
pub const SIGNATURE_BYTES_MAX: u64 = 4 << 10;
/// Keys that are trusted at once: two vendors, and a change of key for each.
pub const KEYS_MAX: usize = 8;

/// What is said of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statement<'a> {
    /// Name, such as `garrison-sensor`.
    pub name: &'a str,
    /// Version.
    pub version: &'a str,
    /// Architecture.
    pub architecture: &'a str,
    /// Bytes.
    pub size: u64,
    /// SHA-256, hexadecimal in lower case.
    pub sha256: &'a str,
}

/// A package is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackageError {
    /// No signature, or none of a trusted key.
    #[error("the package is not signed with a trusted key")]
    Signature,
    /// There is less or more of it than was signed.
    #[error("the package has {found} bytes, {signed} were signed")]
    Size {
        /// Bytes that are there.
        found: u64,
        /// Bytes that were signed.
        signed: u64,
    },
    /// As long as it should be, with other bytes.
    #[error("the package's hash is not the one that was signed")]
    Hash,
    /// The signature is another package's.
    #[error("the signature is for `{0}`")]
    Other(String),
    /// The file is no signature.
    #[error("the signature cannot be read: {0}")]
    Malformed(String),
    /// The text is no key.
    #[error("a key is 64 hexadecimal characters")]
    Key,
}

/// The file beside a package, version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SignatureFile {
    version: u32,
    /// Name.
    pub name: String,
    /// Version of the package.
    pub package_version: String,
    /// Architecture.
    pub architecture: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256, hexadecimal in lower case.
    pub sha256: String,
    /// The signature, 64 bytes in hexadecimal.
    pub signature: String,
}

impl Statement<'_> {
    /// One line each: what it is, name, version, architecture, size in decimal, hash; every line ends with a line feed.
    fn signed_bytes(&self) -> Option<Vec<u8>> {
        let texts = [self.name, self.version, self.architecture, self.sha256];
        // No text may hold a line's end: two statements would have the same bytes.
        let plain = texts.iter().all(|t| !t.is_empty() && t.len() <= 128 && t.bytes().all(|b| b.is_ascii_graphic()));
        let Self { name, version, architecture, size, sha256 } = self;
        plain
            .then(|| format!("garrison-package-v1\n{name}\n{version}\n{architecture}\n{size}\n{sha256}\n").into_bytes())
    }

    /// Signs it.
    pub fn sign(&self, key: &SigningKey) -> Result<SignatureFile, PackageError> {
        let bytes = self.signed_bytes().ok_or_else(|| PackageError::Malformed("a name that is none".to_owned()))?;
        Ok(SignatureFile {
            version: VERSION,
            name: self.name.to_owned(),
            package_version: self.version.to_owned(),
            architecture: self.architecture.to_owned(),
            size: self.size,
            sha256: self.sha256.to_owned(),
            signature: hex::encode(key.sign(&bytes).to_bytes()),
        })
    }

    /// Verifies a signature (64 bytes, hexadecimal) against the trusted keys.
    pub fn verify(&self, signature: &str, keys: &[VerifyingKey]) -> Result<(), PackageError> {
        let bytes = self.signed_bytes().ok_or(PackageError::Signature)?;
        let signature = hex::decode(signature).map_err(|_| PackageError::Signature)?;
        let signature = Signature::from_slice(&signature).map_err(|_| PackageError::Signature)?;
        let mut keys = keys.iter().take(KEYS_MAX);
        if keys.any(|key| key.verify(&bytes, &signature).is_ok()) { Ok(()) } else { Err(PackageError::Signature) }
    }
}

impl SignatureFile {
    /// Reads the file.
    pub fn parse(bytes: &[u8]) -> Result<Self, PackageError> {
        let file: Self = serde_json::from_slice(bytes).map_err(|e| PackageError::Malformed(e.to_string()))?;
        if file.version == VERSION {
            Ok(file)
        } else {
            Err(PackageError::Malformed(format!("version {} is not {VERSION}", file.version)))
        }
    }

    /// Holds what is there against what was signed: size first, so that half a package is told from another one; then
    /// the hash; then, where keys are trusted, the signature.
    pub fn check(&self, there: &Statement<'_>, keys: &[VerifyingKey]) -> Result<(), PackageError> {
        let named = [there.name, there.version, there.architecture];
        if named != [self.name.as_str(), self.package_version.as_str(), self.architecture.as_str()] {
            let words = format!("{} {} {}", self.name, self.package_version, self.architecture);
            return Err(PackageError::Other(words.chars().filter(|c| !c.is_control()).take(120).collect()));
        }
        if there.size != self.size {
            return Err(PackageError::Size { found: there.size, signed: self.size });
        }
        if there.sha256 != self.sha256 {
            return Err(PackageError::Hash);
        }
        if keys.is_empty() { Ok(()) } else { there.verify(&self.signature, keys) }
    }
}

/// A public key as it is written down: 32 bytes, hexadecimal.
pub fn key_parse(text: &str) -> Result<VerifyingKey, PackageError> {
    let bytes = hex::decode(text.trim()).map_err(|_| PackageError::Key)?;
    let bytes: [u8; 32] = bytes.try_into().map_err(|_| PackageError::Key)?;
    VerifyingKey::from_bytes(&bytes).map_err(|_| PackageError::Key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_package_that_a_trusted_key_signed_is_taken() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let other = SigningKey::from_bytes(&[8; 32]).verifying_key();
        let hash = "ab".repeat(32);
        let package =
            Statement { name: "garrison-sensor", version: "1.0", architecture: "x64", size: 10, sha256: &hash };
        let file = package.sign(&key).unwrap();
        let file = SignatureFile::parse(&serde_json::to_vec(&file).unwrap()).unwrap();
        let trusted = [other, key.verifying_key()];
        assert_eq!(file.check(&package, &trusted), Ok(()));
        assert_eq!(file.check(&package, &[]), Ok(()));
        assert_eq!(file.check(&package, &[other]), Err(PackageError::Signature));
        let wrong = "cd".repeat(32);
        for (changed, error) in [
            (Statement { size: 4, ..package }, PackageError::Size { found: 4, signed: 10 }),
            (Statement { sha256: &wrong, ..package }, PackageError::Hash),
            (Statement { version: "2.0", ..package }, PackageError::Other("garrison-sensor 1.0 x64".into())),
        ] {
            assert_eq!(file.check(&changed, &trusted), Err(error));
            // Nor does the signature fit a file that was changed along.
            assert_eq!(changed.verify(&file.signature, &trusted), Err(PackageError::Signature));
        }
        assert_eq!(package.verify("", &trusted), Err(PackageError::Signature));
        let split = Statement { version: "1.0\nx64", ..package };
        assert!(split.sign(&key).is_err() && split.verify(&file.signature, &trusted).is_err());
        assert!(SignatureFile::parse(b"{\"version\":2}").is_err());
        assert!(key_parse("nonsense").is_err());
        assert_eq!(key_parse(&format!("{}\n", hex::encode(key.verifying_key().as_bytes()))), Ok(key.verifying_key()));
    }
}
