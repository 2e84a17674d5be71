//! The package for support: a tar.gz of texts. No key, certificate, token, row or command line is in it.

use crate::control::{self, Request};
use crate::policy::{Config, Settings};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Largest file that is packed.
const FILE_BYTES_MAX: usize = 1 << 20;

/// Writes the package; `to` is a folder or a file name.
pub(super) fn create(config: &Config, settings: &Settings, to: Option<&Path>) -> io::Result<PathBuf> {
    let stamp = crate::status::now().0 / 1_000_000;
    let name = format!("garrison-sensor-diagnostic-{stamp}.tar.gz");
    let path = match to {
        None => std::env::temp_dir().join(name),
        Some(folder) if folder.is_dir() => folder.join(name),
        Some(file) => file.to_owned(),
    };
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    let mut out = GzEncoder::new(file, Compression::default());
    for (name, bytes) in parts(config, settings) {
        append(&mut out, name, &bytes[..bytes.len().min(FILE_BYTES_MAX)], stamp)?;
    }
    // Two empty blocks end an archive.
    out.write_all(&[0; 1_024])?;
    out.finish()?.sync_all()?;
    Ok(path)
}

fn parts(config: &Config, settings: &Settings) -> Vec<(&'static str, Vec<u8>)> {
    let pretty = |v: &serde_json::Value| serde_json::to_vec_pretty(v).unwrap_or_default();
    let health = match control::ask(&config.run_dir, Request::Health) {
        Ok(health) => health,
        Err(error) => json!({"error": error.to_string()}),
    };
    let settings: serde_json::Map<String, serde_json::Value> =
        settings.iter().map(|(k, s)| ((*k).to_owned(), json!({"value": s.value, "origin": s.origin}))).collect();
    let listing: Vec<_> = std::fs::read_dir(config.state_dir.join("spool"))
        .into_iter()
        .flatten()
        .flatten()
        .take(4_096)
        .map(|e| json!({"name": e.file_name().to_string_lossy(), "bytes": e.metadata().map(|m| m.len()).unwrap_or(0)}))
        .collect();
    let read = |path: &str| std::fs::read(path).unwrap_or_default();
    let machine = crate::enrich::device::look(&[]);
    vec![
        ("health.json", pretty(&health)),
        ("config.json", pretty(&settings.into())),
        ("spool.json", pretty(&listing.into())),
        (
            "machine.json",
            pretty(&json!({"distribution": machine.host.os_distribution, "version": machine.host.os_version,
                "kernel": machine.host.kernel_version, "architecture": machine.host.architecture,
                "sensor": env!("CARGO_PKG_VERSION"), "btf": Path::new("/sys/kernel/btf/vmlinux").exists()})),
        ),
        ("lsm.txt", read("/sys/kernel/security/lsm")),
        ("lockdown.txt", read("/sys/kernel/security/lockdown")),
        ("unprivileged_bpf.txt", read("/proc/sys/kernel/unprivileged_bpf_disabled")),
        ("meminfo.txt", read("/proc/meminfo")),
        ("loadavg.txt", read("/proc/loadavg")),
    ]
}

/// One file of the archive, in the ustar format of POSIX.1-1988: a header of 512 bytes, the data, zeros to the block.
fn append(out: &mut impl io::Write, name: &str, bytes: &[u8], time: i64) -> io::Result<()> {
    let mut header = [0_u8; 512];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000600\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{:011o}\0", bytes.len()));
    put(136, &format!("{:011o}\0", time.max(0)));
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\0");
    put(263, "00");
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out.write_all(&header)?;
    out.write_all(bytes)?;
    out.write_all(&vec![0; bytes.len().next_multiple_of(512) - bytes.len()])
}
