//! Packages: a tar archive, compressed with zstd. Its size and hash are in the signed order, and the whole file is
//! verified against them before a byte of it is unpacked; what it unpacks to is bounded all the same.

use super::course::Failure;
use super::journal::Package;
use ed25519_dalek::VerifyingKey;
use garrison_model::ExtensionCode;
use garrison_wire::connect::package::Statement;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};

/// Largest package: the sensor is some 30 MB.
pub const PACKAGE_BYTES_MAX: u64 = 512 << 20;
/// Files of a package.
const ENTRIES_MAX: usize = 10_000;
/// Bytes that a package may unpack to.
const UNPACKED_BYTES_MAX: u64 = 2 << 30;
/// Window of the decompressor: 8 MiB, which the packer stays below.
const WINDOW_LOG_MAX: u32 = 23;

/// Checks that the vendor signed the package that an order names, where keys were pinned: before a byte is fetched, and
/// again before one is unpacked.
pub fn vouched(package: &Package, keys: &[VerifyingKey]) -> Result<(), Failure> {
    let said = Statement {
        name: "garrison-sensor",
        version: &package.version,
        architecture: &package.architecture,
        size: package.size,
        sha256: &package.sha256,
    };
    if keys.is_empty() {
        return Ok(());
    }
    said.verify(&package.signature, keys).map_err(|e| Failure::new(ExtensionCode::SignatureWrong, e.to_string()))
}

/// Checks that a file is the package that was signed.
pub fn verify(file: &Path, package: &Package) -> Result<(), Failure> {
    let io = |e: &std::io::Error| Failure::io(ExtensionCode::PackageDamaged, "read", file, e);
    let mut open = File::open(file).map_err(|e| io(&e))?;
    let size = open.metadata().map_err(|e| io(&e))?.len();
    if size != package.size {
        let detail = format!("the package has {size} bytes, {} were signed", package.size);
        return Err(Failure::new(ExtensionCode::PackageDamaged, detail));
    }
    let mut hash = Sha256::new();
    std::io::copy(&mut open, &mut hash).map_err(|e| io(&e))?;
    if hex::encode(hash.finalize()) != package.sha256 {
        return Err(Failure::new(ExtensionCode::SignatureWrong, "the package's hash is not the one that was signed"));
    }
    Ok(())
}

/// The path of an entry below the folder; only plain names go down.
fn below(folder: &Path, path: &Path) -> Option<PathBuf> {
    let mut out = folder.to_owned();
    for part in path.components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::CurDir => {}
            _ => return None,
        }
    }
    Some(out)
}

/// Unpacks a verified package into a folder that is not there yet: files and folders, nothing else.
pub fn unpack(file: &Path, folder: &Path) -> Result<(), Failure> {
    let failed = |path: &Path, e: &std::io::Error| Failure::io(ExtensionCode::InstallFailed, "unpack", path, e);
    let refused = |what: &str, path: &Path| {
        Failure::new(ExtensionCode::PathInArchive, format!("the package holds {what}: `{}`", path.display()))
    };
    let open = File::open(file).map_err(|e| failed(file, &e))?;
    let mut decoder = zstd::stream::read::Decoder::new(open).map_err(|e| failed(file, &e))?;
    decoder.window_log_max(WINDOW_LOG_MAX).map_err(|e| failed(file, &e))?;
    let mut archive = tar::Archive::new(decoder.take(UNPACKED_BYTES_MAX));
    std::fs::create_dir_all(folder).map_err(|e| failed(folder, &e))?;
    for (number, entry) in archive.entries().map_err(|e| failed(file, &e))?.enumerate() {
        let mut entry = entry.map_err(|e| failed(file, &e))?;
        let name = entry.path().map_err(|e| failed(file, &e))?.into_owned();
        if number >= ENTRIES_MAX {
            return Err(refused("too many files", &name));
        }
        let path = below(folder, &name).ok_or_else(|| refused("a path that leads out", &name))?;
        match entry.header().entry_type() {
            tar::EntryType::Directory => std::fs::create_dir_all(&path).map_err(|e| failed(&path, &e))?,
            tar::EntryType::Regular => {
                if let Some(parent) = path.parent() {
                    std::fs::create_dir_all(parent).map_err(|e| failed(parent, &e))?;
                }
                let executable = entry.header().mode().map_err(|e| failed(&path, &e))? & 0o111 != 0;
                let mode = if executable { 0o755 } else { 0o644 };
                let mut options = std::fs::OpenOptions::new();
                let opened = options.write(true).create_new(true).mode(mode).open(&path);
                let mut out = opened.map_err(|e| failed(&path, &e))?;
                std::io::copy(&mut entry, &mut out).map_err(|e| failed(&path, &e))?;
                out.sync_all().map_err(|e| failed(&path, &e))?;
            }
            _ => return Err(refused("something that is no file and no folder", &name)),
        }
    }
    Ok(())
}

/// Whether a version may name a folder.
pub fn is_version(text: &str) -> bool {
    (1..=40).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'+' | b'~' | b'-'))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// What a test puts into a package: path, bytes, mode and kind.
    pub(crate) type Entry<'a> = (&'a str, &'a [u8], u32, tar::EntryType);

    /// Packs entries; names are written as they are, also such that no packer would write.
    pub(crate) fn pack(entries: &[Entry<'_>]) -> Vec<u8> {
        let mut builder = tar::Builder::new(zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap());
        for (name, bytes, mode, kind) in entries {
            let mut header = tar::Header::new_gnu();
            let field = &mut header.as_old_mut().name;
            field[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_size(bytes.len() as u64);
            header.set_mode(*mode);
            if *kind == tar::EntryType::Symlink {
                header.set_link_name("/etc/passwd").unwrap();
            }
            header.set_cksum();
            builder.append(&header, *bytes).unwrap();
        }
        builder.into_inner().unwrap().finish().unwrap()
    }

    pub(crate) fn signed(bytes: &[u8], version: &str) -> Package {
        Package {
            version: version.to_owned(),
            architecture: crate::host::architecture().to_owned(),
            size: bytes.len() as u64,
            sha256: hex::encode(Sha256::digest(bytes)),
            signature: String::new(),
        }
    }

    #[test]
    fn only_the_package_that_was_signed_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("p");
        let bytes = pack(&[("bin/x", b"x", 0o755, tar::EntryType::Regular)]);
        let package = signed(&bytes, "1.0");
        let mut other = bytes.clone();
        *other.last_mut().unwrap() ^= 1;
        for (content, wanted) in [
            (bytes.as_slice(), Ok(())),
            (&bytes[..bytes.len() / 2], Err(ExtensionCode::PackageDamaged)),
            (other.as_slice(), Err(ExtensionCode::SignatureWrong)),
            (b"", Err(ExtensionCode::PackageDamaged)),
        ] {
            std::fs::write(&file, content).unwrap();
            assert_eq!(verify(&file, &package).map_err(|f| f.code), wanted);
        }
    }

    #[test]
    fn nothing_but_files_and_folders_below_is_unpacked() {
        use std::os::unix::fs::PermissionsExt as _;
        use tar::EntryType as T;
        let cases: [(&[Entry<'_>], Result<(), ExtensionCode>); 6] = [
            (&[("bin/", b"", 0o755, T::Directory), ("./bin/x", b"x", 0o4755, T::Regular)], Ok(())),
            (&[("../x", b"x", 0o644, T::Regular)], Err(ExtensionCode::PathInArchive)),
            (&[("/etc/x", b"x", 0o644, T::Regular)], Err(ExtensionCode::PathInArchive)),
            (&[("x", b"", 0o644, T::Symlink)], Err(ExtensionCode::PathInArchive)),
            (&[("x", b"", 0o644, T::Fifo)], Err(ExtensionCode::PathInArchive)),
            // The same path twice would write over what was there.
            (&[("x", b"1", 0o644, T::Regular), ("x", b"2", 0o644, T::Regular)], Err(ExtensionCode::InstallFailed)),
        ];
        for (entries, wanted) in cases {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("p");
            std::fs::write(&file, pack(entries)).unwrap();
            let into = folder.path().join("into");
            assert_eq!(unpack(&file, &into).map_err(|f| f.code), wanted, "{:?}", entries[0].0);
            if wanted.is_ok() {
                let mode = std::fs::metadata(into.join("bin/x")).unwrap().permissions().mode();
                assert_eq!(mode & 0o7777, 0o755, "no set-uid bit comes out of a package");
            }
        }
    }

    #[test]
    fn a_version_names_a_folder_and_nothing_else() {
        for (text, is) in
            [("0.1.0", true), ("1.2~rc1+3", true), ("", false), ("../1", false), ("current", false), (".1", false)]
        {
            assert_eq!(is_version(text), is, "{text}");
        }
    }
}
