//! `garrison package …`: packages of the sensor, their signatures and the keys that are trusted.
//!
//! All but `list` work on files: on the machine where the server's data folder is, or where a package is made.

use super::Globals;
use super::client::{CliError, Client};
use super::output::{Printer, clean};
use crate::connect::packages::{self, PACKAGE_NAME, PackageRecord};
use clap::Subcommand;
use ed25519_dalek::SigningKey;
use garrison_model::Page;
use garrison_wire::connect::package::{Statement, key_parse};
use rand::TryRngCore as _;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Packages of the server, newest first, and whether they are handed out.
    List,
    /// Verify a package and its signature (`FILE.sig`) and put both into the server's data folder.
    Add {
        /// `garrison-sensor-VERSION-ARCHITECTURE.tar.zst`
        file: PathBuf,
    },
    /// Take a package out of the server's data folder.
    Remove {
        /// Version.
        version: String,
        /// Only for this architecture.
        #[arg(long)]
        architecture: Option<String>,
    },
    /// Make a key that signs packages: the secret in FILE, the public one in FILE.pub.
    Keygen {
        /// Where to.
        file: PathBuf,
    },
    /// Sign a package; the signature is written to FILE.sig.
    Sign {
        /// The package.
        file: PathBuf,
        /// The secret key.
        #[arg(long, env = "GARRISON_PACKAGE_KEY", value_name = "FILE")]
        key: PathBuf,
    },
    /// Trust a public key: from then on the server hands out signed packages only, and connectors that enrol pin the key.
    Trust {
        /// `FILE.pub`
        file: PathBuf,
    },
}

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> CliError + '_ {
    move |source| CliError::File { path: path.display().to_string(), source }
}

/// Writes a file beside and renames it over, so that there is never half of it.
fn put(path: &Path, from: &mut impl std::io::Read) -> Result<(), CliError> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    let beside = path.with_file_name(name);
    let write = || -> std::io::Result<()> {
        let mut out = std::fs::File::create(&beside)?;
        std::io::copy(from, &mut out)?;
        out.sync_all()?;
        std::fs::rename(&beside, path)
    };
    let mut write = write;
    write().map_err(at(path))
}

fn secret(path: &Path) -> Result<SigningKey, CliError> {
    let text = std::fs::read_to_string(path).map_err(at(path))?;
    let bytes: Option<[u8; 32]> = hex::decode(text.trim()).ok().and_then(|b| b.try_into().ok());
    let bytes = bytes.ok_or_else(|| {
        CliError::usage(
            format!("`{}` is no secret key", path.display()),
            "make one with `garrison package keygen FILE`",
        )
    })?;
    Ok(SigningKey::from_bytes(&bytes))
}

fn keygen(path: &Path) -> Result<(), CliError> {
    let mut seed = [0; 32];
    rand::rngs::OsRng
        .try_fill_bytes(&mut seed)
        .map_err(|e| CliError::Failed(format!("the system gives no random numbers: {e}")))?;
    let key = SigningKey::from_bytes(&seed);
    // A key that is there is never written over: packages that it signed would be nobody's.
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    if file.as_ref().is_err_and(|e| e.kind() == std::io::ErrorKind::AlreadyExists) {
        let there = format!("`{}` is there already, and a key is never replaced", path.display());
        return Err(CliError::usage(there, "name a file that is not there"));
    }
    let written = file.and_then(|mut f| writeln!(f, "{}", hex::encode(seed)).and_then(|()| f.sync_all()));
    written.map_err(at(path))?;
    let mut public = path.as_os_str().to_owned();
    public.push(".pub");
    let public = PathBuf::from(public);
    let text = hex::encode(key.verifying_key().as_bytes());
    std::fs::write(&public, format!("{text}\n")).map_err(at(&public))?;
    println!("{text}");
    eprintln!("keep `{}` secret; trust `{}` with `garrison package trust`", path.display(), public.display());
    Ok(())
}

fn sign(file: &Path, key: &Path) -> Result<(), CliError> {
    let key = secret(key)?;
    let package = packages::read(file).map_err(CliError::Failed)?;
    let said = Statement {
        name: PACKAGE_NAME,
        version: &package.version,
        architecture: &package.architecture,
        size: package.size,
        sha256: &package.sha256,
    };
    let signature = said.sign(&key).map_err(|e| CliError::Failed(e.to_string()))?;
    let text = serde_json::to_vec_pretty(&signature).map_err(|e| CliError::Failed(e.to_string()))?;
    let path = packages::signature_path(file);
    put(&path, &mut text.as_slice())?;
    eprintln!("signed: {}", path.display());
    Ok(())
}

fn add(file: &Path, folder: &Path) -> Result<(), CliError> {
    let package = packages::read(file).map_err(CliError::Failed)?;
    let keys = packages::keys_read(&folder.join("keys"));
    packages::examine(file, &package, &keys).map_err(|error| {
        let (code, fix) = (packages::code_of(&error), packages::fix_of(&error));
        CliError::Failed(format!("{error} ({} {}); nothing was added: {fix}", code.number(), code.words().0))
    })?;
    std::fs::create_dir_all(folder).map_err(at(folder))?;
    let into = folder.join(file.file_name().unwrap_or_default());
    let beside = packages::signature_path(file);
    if beside.exists() {
        let mut from = std::fs::File::open(&beside).map_err(at(&beside))?;
        put(&packages::signature_path(&into), &mut from)?;
    }
    put(&into, &mut std::fs::File::open(file).map_err(at(file))?)?;
    let verified = if keys.is_empty() { "no key is trusted, so nobody's signature was asked for" } else { "verified" };
    eprintln!("{} {} is there: {verified}", package.version, package.architecture);
    Ok(())
}

fn remove(version: &str, architecture: Option<&str>, folder: &Path) -> Result<(), CliError> {
    let mut removed = 0;
    for entry in std::fs::read_dir(folder).map_err(at(folder))?.flatten() {
        let path = entry.path();
        let Some((found, built_for)) = path.file_name().and_then(|n| n.to_str()).and_then(packages::named) else {
            continue;
        };
        if found == version && architecture.is_none_or(|a| a == built_for) {
            std::fs::remove_file(&path).map_err(at(&path))?;
            let beside = packages::signature_path(&path);
            if beside.exists() {
                std::fs::remove_file(&beside).map_err(at(&beside))?;
            }
            removed += 1;
        }
    }
    if removed == 0 {
        return Err(CliError::Missing(format!("there is no package of version `{}`", clean(version))));
    }
    eprintln!("{removed} removed");
    Ok(())
}

fn trust(file: &Path, folder: &Path) -> Result<(), CliError> {
    let text = std::fs::read_to_string(file).map_err(at(file))?;
    let key = key_parse(&text).map_err(|e| {
        CliError::usage(format!("`{}`: {e}", file.display()), "give the file FILE.pub that `keygen` wrote")
    })?;
    let text = hex::encode(key.as_bytes());
    let keys = folder.join("keys");
    std::fs::create_dir_all(&keys).map_err(at(&keys))?;
    put(&keys.join(format!("{}.pub", &text[..16])), &mut format!("{text}\n").as_bytes())?;
    eprintln!("packages signed with {text} are handed out, and unsigned ones are not any more");
    Ok(())
}

/// The part that needs no server; `None` for the rest.
pub(super) fn offline(command: &Command, globals: &Globals) -> Option<Result<(), CliError>> {
    let folder = globals.data.join("packages");
    Some(match command {
        Command::List => return None,
        Command::Add { file } => add(file, &folder),
        Command::Remove { version, architecture } => remove(version, architecture.as_deref(), &folder),
        Command::Keygen { file } => keygen(file),
        Command::Sign { file, key } => sign(file, key),
        Command::Trust { file } => trust(file, &folder),
    })
}

pub(super) async fn run(client: &Client, printer: &Printer) -> Result<(), CliError> {
    let page: Page<PackageRecord> = client.fetch("/packages").await?;
    printer.list(&["VERSION", "ARCHITECTURE", "SIZE", "SIGNATURE", "CODE", "WHY"], &page.items, |p| {
        let code = if p.code == 0 { String::new() } else { p.code.to_string() };
        let size = p.size.to_string();
        vec![clean(&p.version), clean(&p.architecture), size, clean(&p.signature), code, clean(&p.message)]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_not_replaced_and_a_refused_package_says_what_helps() {
        let folder = tempfile::tempdir().unwrap();
        let (key, server) = (folder.path().join("k1"), folder.path().join("packages"));
        keygen(&key).unwrap();
        let before = std::fs::read(&key).unwrap();
        let refused = keygen(&key).unwrap_err();
        assert!(refused.to_string().contains("there already") && refused.exit_code() == 2, "{refused}");
        assert_eq!(std::fs::read(&key).unwrap(), before);
        trust(&folder.path().join("k1.pub"), &server).unwrap();
        let package = folder.path().join("garrison-sensor-1.0.0-x64.tar.zst");
        std::fs::write(&package, b"any bytes").unwrap();
        let refused = add(&package, &server).unwrap_err().to_string();
        assert!(refused.contains("garrison package sign") && !refused.contains("enrol"), "{refused}");
        sign(&package, &key).unwrap();
        add(&package, &server).unwrap();
        std::fs::write(&package, b"half").unwrap();
        let refused = add(&package, &server).unwrap_err().to_string();
        assert!(refused.contains("copy the package") && !refused.contains("next try"), "{refused}");
    }
}
