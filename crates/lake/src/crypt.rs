//! Data at rest: everything of a lake that holds rows is sealed with keys that come from one key of the tenant.
//!
//! ```text
//! secret of the tenant (32 bytes, never in the lake) ─ HKDF-SHA-256 ┬▶ reader key   Parquet files (modular encryption)
//!                                                                   ├▶ log key      one key a segment, by its salt
//!                                                                   ├▶ index key    one key a term index, by its salt
//!                                                                   └▶ blob key     one key a small file, by its salt
//! ```
//!
//! - A Parquet file is encrypted uniformly (AES-256-GCM, footer too) with the reader key, as the format's specification
//!   says, so that a reader that is given that one key opens all files of the tenant. The reader key opens nothing but
//!   Parquet files, and the secret cannot be computed from it. Its bloom filters are left out: the writing library
//!   would store them in the clear, and a bloom filter answers "does this account occur" to anybody.
//! - Everything else is sealed with keys that are used for one file only, so numbers that count (log positions, chunks)
//!   serve as nonces and none is ever used twice under one key.
//! - The Delta log stays readable: paths, counts, and bounds of time, `DeviceId`, `BootId`, `ActionType`. It names no
//!   person, address or file.
//!
//! Destroying the secret makes every copy of these files unreadable at once.

use crate::error::LakeError;
use parquet::encryption::decrypt::{FileDecryptionProperties, KeyRetriever};
use parquet::encryption::encrypt::FileEncryptionProperties;
use parquet::errors::ParquetError;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use ring::rand::{SecureRandom, SystemRandom};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;
/// Bytes that sealing adds.
pub(crate) const TAG_BYTES: usize = 16;
/// Random bytes that make the key of one file its own.
const SALT_BYTES: usize = 16;
/// Part of the name of a sealed Parquet file, so that plans need not open it to know.
pub(crate) const SEALED_MARK: &str = ".sealed.parquet";
/// Names the key of a lake, so that a wrong one is told before anything is read with it.
const KEY_FILE: &str = "KEY";
/// First bytes of a sealed small file.
const BLOB_MAGIC: &[u8; 8] = b"GARSBL01";
/// First bytes of a sealed term index.
const CHUNKS_MAGIC: &[u8; 8] = b"GARSCH01";
/// Bytes of an index that are sealed at once. A look-up reads three small pieces; larger chunks are more to decrypt for
/// each, smaller ones more tags.
const CHUNK_BYTES: usize = 4_096;
/// Bytes before the first chunk: magic, salt, length of the text.
const CHUNKS_HEADER_BYTES: usize = 8 + SALT_BYTES + 8;

struct Inner {
    id: String,
    reader: [u8; KEY_BYTES],
    /// None where only Parquet files are to be read.
    branches: Option<Branches>,
    encryption: Arc<FileEncryptionProperties>,
    decryption: Arc<FileDecryptionProperties>,
}

/// Where keys of files come from that are not Parquet.
struct Branches {
    log: Prk,
    index: Prk,
    blob: Prk,
}

/// Keys of one tenant's lake. Cheap to clone; never printed.
#[derive(Clone)]
pub struct LakeKey(Arc<Inner>);

impl fmt::Debug for LakeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LakeKey").field(&self.0.id).finish()
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn expand(prk: &Prk, parts: &[&[u8]]) -> Result<[u8; KEY_BYTES], LakeError> {
    let mut key = [0; KEY_BYTES];
    prk.expand(parts, Length(KEY_BYTES))
        .and_then(|okm| okm.fill(&mut key))
        .map_err(|_| LakeError::Seal { step: "derive a key for", what: "a file".to_owned() })?;
    Ok(key)
}

fn aead(key: &[u8; KEY_BYTES]) -> Result<LessSafeKey, LakeError> {
    let unbound = UnboundKey::new(&AES_256_GCM, key)
        .map_err(|_| LakeError::Seal { step: "use a key for", what: "a file".to_owned() })?;
    Ok(LessSafeKey::new(unbound))
}

fn random<const N: usize>() -> Result<[u8; N], LakeError> {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| LakeError::Seal { step: "get random bytes for", what: "a file".to_owned() })?;
    Ok(bytes)
}

/// A number that counts is a nonce where a key is used for one file only.
fn counted(number: u64) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

/// Answers the key that a file's footer names.
struct ByName {
    id: String,
    key: Vec<u8>,
}

impl KeyRetriever for ByName {
    fn retrieve_key(&self, metadata: &[u8]) -> Result<Vec<u8>, ParquetError> {
        if metadata == key_metadata(&self.id).as_bytes() {
            return Ok(self.key.clone());
        }
        let other = String::from_utf8_lossy(metadata.get(..200).unwrap_or(metadata)).into_owned();
        Err(ParquetError::General(format!("the file is sealed with another key ({other}) than `{}`", self.id)))
    }
}

/// What stands in the footer about the key.
fn key_metadata(id: &str) -> String {
    format!("{{\"garrison\":1,\"key\":\"{id}\"}}")
}

impl LakeKey {
    /// The keys that come from a tenant's secret.
    pub fn new(secret: &[u8; KEY_BYTES]) -> Result<Self, LakeError> {
        let salt = Salt::new(HKDF_SHA256, b"garrison lake 1");
        let root = salt.extract(secret);
        let reader = expand(&root, &[b"parquet"])?;
        let branch = |label: &[u8]| Ok::<_, LakeError>(salt.extract(&expand(&root, &[label])?));
        let (log, index, blob) = (branch(b"log")?, branch(b"index")?, branch(b"blob")?);
        let id = expand(&root, &[b"name"])?.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self::of(id, reader, Some(Branches { log, index, blob }))
    }

    /// A key that opens the Parquet files of a lake, and nothing else: for servers that read its copy. `id` is the name
    /// of the lake's key.
    pub fn reader(id: &str, reader: [u8; KEY_BYTES]) -> Result<Self, LakeError> {
        Self::of(id.to_owned(), reader, None)
    }

    fn of(id: String, reader: [u8; KEY_BYTES], branches: Option<Branches>) -> Result<Self, LakeError> {
        let failed = |_| LakeError::Seal { step: "prepare", what: "Parquet encryption".to_owned() };
        let encryption = FileEncryptionProperties::builder(reader.to_vec())
            .with_footer_key_metadata(key_metadata(&id).into_bytes())
            .build()
            .map_err(failed)?;
        let retriever = Arc::new(ByName { id: id.clone(), key: reader.to_vec() });
        let decryption = FileDecryptionProperties::with_key_retriever(retriever).build().map_err(failed)?;
        Ok(Self(Arc::new(Inner { id, reader, branches, encryption, decryption })))
    }

    fn branches(&self) -> Result<&Branches, LakeError> {
        let what = || "anything but Parquet files: the key is one for readers".to_owned();
        self.0.branches.as_ref().ok_or_else(|| LakeError::Seal { step: "open or seal", what: what() })
    }

    /// Names the key without telling it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// The key that opens the Parquet files, and nothing else: for readers that are not ours.
    #[must_use]
    pub fn reader_key(&self) -> &[u8; KEY_BYTES] {
        &self.0.reader
    }

    /// What a reader of Parquet files needs, plain files included: the one place for scans, mirrors and executors.
    #[must_use]
    pub fn decryption(&self) -> Arc<FileDecryptionProperties> {
        Arc::clone(&self.0.decryption)
    }

    pub(crate) fn encryption(&self) -> Arc<FileEncryptionProperties> {
        Arc::clone(&self.0.encryption)
    }

    /// The key of one log segment.
    pub(crate) fn segment(&self, salt: u64, first: u64) -> Result<SegmentKey, LakeError> {
        let key = expand(&self.branches()?.log, &[&salt.to_le_bytes(), &first.to_le_bytes()])?;
        Ok(SegmentKey(aead(&key)?))
    }

    /// Seals a small file as a whole; `what` says what it is for, and only that opens it.
    pub fn seal_blob(&self, what: &str, text: &[u8]) -> Result<Vec<u8>, LakeError> {
        let failed = || LakeError::Seal { step: "seal", what: what.to_owned() };
        let salt = random::<SALT_BYTES>()?;
        let key = aead(&expand(&self.branches()?.blob, &[&salt])?)?;
        let mut out = Vec::with_capacity(BLOB_MAGIC.len() + SALT_BYTES + text.len() + TAG_BYTES);
        out.extend_from_slice(BLOB_MAGIC);
        out.extend_from_slice(&salt);
        let at = out.len();
        out.extend_from_slice(text);
        let body = out.get_mut(at..).unwrap_or_default();
        let tag = key.seal_in_place_separate_tag(counted(0), Aad::from(what.as_bytes()), body).map_err(|_| failed())?;
        out.extend_from_slice(tag.as_ref());
        Ok(out)
    }

    /// Opens what [`LakeKey::seal_blob`] made; `None` if it is something else or was changed.
    #[must_use]
    pub fn open_blob(&self, what: &str, bytes: &[u8]) -> Option<Vec<u8>> {
        let rest = bytes.strip_prefix(BLOB_MAGIC)?;
        let (salt, sealed) = rest.split_at_checked(SALT_BYTES)?;
        let key = aead(&expand(&self.branches().ok()?.blob, &[salt]).ok()?).ok()?;
        let mut text = sealed.to_vec();
        let length = key.open_in_place(counted(0), Aad::from(what.as_bytes()), &mut text).ok()?.len();
        text.truncate(length);
        Some(text)
    }

    /// Seals bytes so that pieces of them can be read alone.
    pub(crate) fn seal_chunks(&self, text: &[u8]) -> Result<Vec<u8>, LakeError> {
        let salt = random::<SALT_BYTES>()?;
        let key = aead(&expand(&self.branches()?.index, &[&salt])?)?;
        let length = (text.len() as u64).to_le_bytes();
        let chunks = text.len().div_ceil(CHUNK_BYTES);
        let mut out = Vec::with_capacity(CHUNKS_HEADER_BYTES + text.len() + chunks * TAG_BYTES);
        out.extend_from_slice(CHUNKS_MAGIC);
        out.extend_from_slice(&salt);
        out.extend_from_slice(&length);
        for (number, chunk) in text.chunks(CHUNK_BYTES).enumerate() {
            let at = out.len();
            out.extend_from_slice(chunk);
            let body = out.get_mut(at..).unwrap_or_default();
            let tag = key
                .seal_in_place_separate_tag(counted(number as u64), Aad::from(length), body)
                .map_err(|_| LakeError::Seal { step: "seal", what: "a term index".to_owned() })?;
            out.extend_from_slice(tag.as_ref());
        }
        Ok(out)
    }
}

/// Seals the entries of one log segment.
pub(crate) struct SegmentKey(LessSafeKey);

impl SegmentKey {
    /// Seals an entry's header and payload as one.
    pub(crate) fn seal(&self, position: u64, header: &[u8], payload: &[u8]) -> Result<Vec<u8>, LakeError> {
        let mut out = Vec::with_capacity(4 + header.len() + payload.len() + TAG_BYTES);
        out.extend_from_slice(&(header.len() as u32).to_le_bytes());
        out.extend_from_slice(header);
        out.extend_from_slice(payload);
        self.0
            .seal_in_place_append_tag(counted(position), Aad::empty(), &mut out)
            .map_err(|_| LakeError::Seal { step: "seal", what: format!("log entry {position}") })?;
        Ok(out)
    }

    /// Header and payload of a sealed entry.
    pub(crate) fn open(&self, position: u64, sealed: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        let mut text = sealed.to_vec();
        let opened: &[u8] = self.0.open_in_place(counted(position), Aad::empty(), &mut text).ok()?;
        let (length, body) = opened.split_at_checked(4)?;
        let (header, payload) = body.split_at_checked(u32::from_le_bytes(length.try_into().ok()?) as usize)?;
        Some((header.to_vec(), payload.to_vec()))
    }
}

/// A file whose pieces can be read, sealed or not.
pub(crate) enum Pieces {
    Plain(File),
    Sealed { file: File, key: LessSafeKey, length: u64 },
}

impl Pieces {
    /// Opens a file; `None` if it cannot be, or is sealed and the key is missing.
    pub(crate) fn open(path: &Path, key: Option<&LakeKey>) -> Option<Self> {
        let file = File::open(path).ok()?;
        let mut head = [0; CHUNKS_HEADER_BYTES];
        if file.read_exact_at(&mut head, 0).is_err() || head.get(..8)? != CHUNKS_MAGIC {
            return Some(Self::Plain(file));
        }
        let (salt, length) = head.get(8..)?.split_at_checked(SALT_BYTES)?;
        let key = aead(&expand(&key?.branches().ok()?.index, &[salt]).ok()?).ok()?;
        Some(Self::Sealed { file, key, length: u64::from_le_bytes(length.try_into().ok()?) })
    }

    /// Reads some bytes at a place, as `pread(2)` does: none at the end.
    pub(crate) fn read_at(&self, out: &mut [u8], at: u64) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.read_at(out, at),
            Self::Sealed { file, key, length } => {
                if at >= *length || out.is_empty() {
                    return Ok(0);
                }
                let (number, within) = (at / CHUNK_BYTES as u64, (at % CHUNK_BYTES as u64) as usize);
                let text_bytes = (*length - number * CHUNK_BYTES as u64).min(CHUNK_BYTES as u64) as usize;
                let mut chunk = vec![0; text_bytes + TAG_BYTES];
                let stands_at = CHUNKS_HEADER_BYTES as u64 + number * (CHUNK_BYTES + TAG_BYTES) as u64;
                file.read_exact_at(&mut chunk, stands_at)?;
                let text = key
                    .open_in_place(counted(number), Aad::from(length.to_le_bytes()), &mut chunk)
                    .map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
                let part = text.get(within..).unwrap_or_default();
                let count = part.len().min(out.len());
                out.iter_mut().zip(part).for_each(|(to, from)| *to = *from);
                Ok(count)
            }
        }
    }

    /// Fills `out` or fails.
    pub(crate) fn read_exact_at(&self, out: &mut [u8], mut at: u64) -> io::Result<()> {
        let mut rest = out;
        while !rest.is_empty() {
            match self.read_at(rest, at)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => {
                    at += count as u64;
                    rest = rest.get_mut(count..).unwrap_or_default();
                }
            }
        }
        Ok(())
    }
}

/// How a lake keeps its files.
#[derive(Debug, Clone, Default)]
pub enum AtRest {
    /// As they are.
    #[default]
    Plain,
    /// Sealed; plain files from before are read, and sealed when they are merged.
    Sealed(LakeKey),
    /// New files are plain; sealed ones from before are read.
    Reading(LakeKey),
}

impl AtRest {
    /// The key to read with.
    #[must_use]
    pub fn key(&self) -> Option<&LakeKey> {
        match self {
            Self::Plain => None,
            Self::Sealed(key) | Self::Reading(key) => Some(key),
        }
    }

    /// The key to write with.
    #[must_use]
    pub fn sealing(&self) -> Option<&LakeKey> {
        match self {
            Self::Sealed(key) => Some(key),
            Self::Plain | Self::Reading(_) => None,
        }
    }

    /// Refuses a key that is not the lake's, and a lake that has a key where none is given.
    pub(crate) fn check(&self, root: &Path) -> Result<(), LakeError> {
        let path = root.join(KEY_FILE);
        match (key_name(root)?, self.key()) {
            (Some(known), Some(key)) if known == key.id() => Ok(()),
            (Some(known), given) => Err(LakeError::Key {
                path: root.to_owned(),
                known,
                given: given.map_or_else(|| "none".to_owned(), |key| key.id().to_owned()),
            }),
            (None, Some(key)) => crate::disk::replace_durably(&path, format!("{}\n", key.id()).as_bytes())
                .map_err(LakeError::io("write", &path)),
            (None, None) => Ok(()),
        }
    }
}

/// Name of the key that a lake's files are sealed with, if they are.
pub(crate) fn key_name(root: &Path) -> Result<Option<String>, LakeError> {
    let path = root.join(KEY_FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim().chars().take(80).collect())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(LakeError::io("read", &path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> LakeKey {
        LakeKey::new(&[byte; KEY_BYTES]).unwrap()
    }

    #[test]
    fn a_blob_opens_with_its_key_and_for_its_purpose_only() {
        let sealed = key(1).seal_blob("positions", b"text").unwrap();
        assert_eq!(key(1).open_blob("positions", &sealed).unwrap(), b"text");
        assert!(key(2).open_blob("positions", &sealed).is_none());
        assert!(key(1).open_blob("other", &sealed).is_none());
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert!(key(1).open_blob("positions", &damaged).is_none(), "byte {at}");
        }
    }

    #[test]
    fn an_entry_opens_at_its_position_of_its_segment_only() {
        let sealed = key(1).segment(7, 1).unwrap().seal(3, b"head", b"rows").unwrap();
        let open = |key: LakeKey, salt, first, position| key.segment(salt, first).unwrap().open(position, &sealed);
        assert_eq!(open(key(1), 7, 1, 3).unwrap(), (b"head".to_vec(), b"rows".to_vec()));
        for (key, salt, first, position) in [(key(2), 7, 1, 3), (key(1), 8, 1, 3), (key(1), 7, 2, 3), (key(1), 7, 1, 4)]
        {
            assert!(open(key, salt, first, position).is_none());
        }
    }

    #[test]
    fn pieces_of_a_sealed_file_are_those_of_its_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        for length in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 5] {
            let text: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
            std::fs::write(&path, key(1).seal_chunks(&text).unwrap()).unwrap();
            let file = Pieces::open(&path, Some(&key(1))).unwrap();
            for (at, count) in [(0, length), (length / 2, length / 2), (length.saturating_sub(1), 1.min(length))] {
                let mut out = vec![0; count];
                file.read_exact_at(&mut out, at as u64).unwrap();
                assert_eq!(out, text[at..at + count], "{length} {at}");
            }
            assert!(file.read_exact_at(&mut [0], length as u64).is_err());
            assert!(Pieces::open(&path, None).is_none());
            let other = Pieces::open(&path, Some(&key(2))).unwrap();
            assert!(other.read_exact_at(&mut [0], 0).is_err());
        }
    }

    #[test]
    fn a_lake_tells_a_wrong_key_from_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let check = |rest: &AtRest| rest.check(folder.path()).is_ok();
        assert!(check(&AtRest::Plain));
        assert!(check(&AtRest::Sealed(key(1))));
        assert!(check(&AtRest::Reading(key(1))));
        assert!(!check(&AtRest::Sealed(key(2))));
        assert!(!check(&AtRest::Plain));
    }

    #[test]
    fn a_key_for_readers_opens_parquet_files_and_nothing_else() {
        let whole = key(1);
        let reader = LakeKey::reader(whole.id(), *whole.reader_key()).unwrap();
        assert_eq!((reader.id(), reader.reader_key()), (whole.id(), whole.reader_key()));
        assert!(reader.open_blob("x", &whole.seal_blob("x", b"text").unwrap()).is_none());
        assert!(reader.seal_blob("x", b"text").is_err() && reader.seal_chunks(b"text").is_err());
        assert!(reader.segment(7, 1).is_err());
    }

    #[test]
    fn the_reader_key_says_nothing_of_the_secret() {
        let made = key(1);
        assert_ne!(made.reader_key(), &[1; KEY_BYTES]);
        assert!(!format!("{made:?}").contains(&made.reader_key().map(|b| format!("{b:02x}")).concat()));
        assert_ne!(made.id(), key(2).id());
    }
}
