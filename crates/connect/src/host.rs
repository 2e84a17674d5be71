//! What the connector says of its machine: claims, read from files that any Linux has.

use crate::layout::Layout;
use garrison_wire::connect::{binding, v1};
use std::collections::BTreeMap;
use std::path::Path;

/// Bytes read of a small file of the system.
const SMALL_BYTES_MAX: u64 = 16 << 10;
/// Addresses told; the server keeps as many.
const ADDRESSES_MAX: usize = 32;

/// The text of a small file, trimmed; empty if it cannot be read.
pub fn small(path: impl AsRef<Path>) -> String {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|f| f.take(SMALL_BYTES_MAX).read_to_end(&mut bytes));
    read.map_or(String::new(), |_| String::from_utf8_lossy(&bytes).trim_matches(['\0', '\n', ' ', '\t']).to_owned())
}

/// What the firmware says of the hardware.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Firmware {
    /// `sys_vendor`
    pub vendor: String,
    /// `product_name`
    pub product: String,
    /// `product_uuid`; only root reads it.
    pub uuid: String,
    /// `chassis_asset_tag`
    pub asset_tag: String,
    /// `bios_vendor`
    pub bios_vendor: String,
}

impl Firmware {
    /// Reads it.
    pub fn look(layout: &Layout) -> Self {
        let field = |name: &str| small(layout.of_host("/sys/class/dmi/id").join(name));
        Self {
            vendor: field("sys_vendor"),
            product: field("product_name"),
            uuid: field("product_uuid"),
            asset_tag: field("chassis_asset_tag"),
            bios_vendor: field("bios_vendor"),
        }
    }
}

/// What the identity is bound to on this machine, now.
pub fn binding_of(layout: &Layout) -> v1::Binding {
    binding::of(&small(layout.of_host("/etc/machine-id")), &Firmware::look(layout).uuid)
}

/// `os-release`: names and values. Quotes are taken off; escapes inside them do not occur in the keys that are read.
pub fn os_release(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.trim().split_once('='))
        .filter(|(name, _)| !name.starts_with('#'))
        .take(100)
        .map(|(name, value)| (name.to_owned(), value.trim().trim_matches(['"', '\'']).to_owned()))
        .collect()
}

/// Bytes of memory, by the text of `/proc/meminfo`.
fn memory_bytes(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|l| l.strip_prefix("MemTotal:"));
    let kib = line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}

/// Free bytes on the disk of a folder, or of the nearest folder above it that exists.
pub fn disk_free(path: &Path) -> u64 {
    let there = path.ancestors().find(|p| p.exists()).unwrap_or(Path::new("/"));
    #[allow(clippy::useless_conversion, reason = "the field has another width on other systems")]
    nix::sys::statvfs::statvfs(there).map_or(0, |s| u64::from(s.blocks_available()).saturating_mul(s.fragment_size()))
}

fn addresses() -> Vec<String> {
    let mut found: Vec<String> = nix::ifaddrs::getifaddrs()
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let address = entry.address?;
            let v4 = address.as_sockaddr_in().map(|a| std::net::IpAddr::V4(a.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|a| std::net::IpAddr::V6(a.ip())))
        })
        .filter(|ip| !ip.is_loopback() && !matches!(ip, std::net::IpAddr::V6(v6) if v6.is_unicast_link_local()))
        .map(|ip| ip.to_string())
        .collect();
    found.sort();
    found.dedup();
    found.truncate(ADDRESSES_MAX);
    found
}

/// Whether systemd is PID 1 of the machine.
pub fn has_systemd(layout: &Layout) -> bool {
    layout.of_host("/run/systemd/system").is_dir()
}

/// Everything but the cloud, which answers over the network, and the products of others, which take longer to look for.
pub fn facts(layout: &Layout) -> v1::Facts {
    let release = os_release(&small(layout.of_host("/etc/os-release")));
    let of = |key: &str| release.get(key).cloned().unwrap_or_default();
    let uname = nix::sys::utsname::uname().ok();
    let text = |s: &std::ffi::OsStr| s.to_string_lossy().into_owned();
    let host_name = small(layout.of_host("/etc/hostname"));
    v1::Facts {
        host_name: if host_name.is_empty() {
            nix::unistd::gethostname().map_or(String::new(), |name| text(&name))
        } else {
            host_name
        },
        os: "Linux".to_owned(),
        distribution: of("ID").to_lowercase(),
        version: of("VERSION_ID"),
        kernel: uname.as_ref().map(|u| text(u.release())).unwrap_or_default(),
        architecture: architecture().to_owned(),
        processors: std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX)),
        memory_bytes: memory_bytes(&small(layout.of_host("/proc/meminfo"))),
        disk_free_bytes: disk_free(&layout.versions()),
        systemd: has_systemd(layout),
        ip_addresses: addresses(),
        cloud: None,
        blocking_products: crate::fanotify::blocking_products(layout),
        security_products: None,
        protection: crate::antimalware::look(layout),
    }
}

/// The architecture as packages name it.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// This start of the kernel.
pub fn boot_id(layout: &Layout) -> String {
    small(layout.of_host("/proc/sys/kernel/random/boot_id")).chars().take(36).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn os_release_and_memory_are_read() {
        let release = os_release("# x\nID=ubuntu\nVERSION_ID=\"24.04\"\nNAME='U'\nnonsense\n");
        assert_eq!((release["ID"].as_str(), release["VERSION_ID"].as_str()), ("ubuntu", "24.04"));
        assert_eq!(memory_bytes("MemTotal:       2048 kB\nMemFree: 1 kB"), 2 << 20);
        assert_eq!(memory_bytes("nothing"), 0);
    }

    #[test]
    fn another_host_folder_is_another_machine() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("etc")).unwrap();
        std::fs::create_dir_all(folder.path().join("sys/class/dmi/id")).unwrap();
        std::fs::write(folder.path().join("etc/machine-id"), "0123456789abcdef0123456789abcdef\n").unwrap();
        std::fs::write(folder.path().join("etc/os-release"), "ID=debian\nVERSION_ID=\"12\"\n").unwrap();
        let root = folder.path().to_owned();
        let layout = Layout { state: root.join("s"), prefix: root.join("p"), host: root };
        let first = binding_of(&layout);
        assert!(binding::is_bound(&first));
        std::fs::write(folder.path().join("sys/class/dmi/id/product_uuid"), "4c4c4544-0042-3510-8052-b4c04f4d3532")
            .unwrap();
        assert!(!binding::differ(&first, &binding_of(&layout)), "a part that appears is no other machine");
        std::fs::write(folder.path().join("etc/machine-id"), "1123456789abcdef0123456789abcdef\n").unwrap();
        assert!(binding::differ(&first, &binding_of(&layout)));
        let facts = facts(&layout);
        assert_eq!((facts.distribution.as_str(), facts.version.as_str()), ("debian", "12"));
        assert!(facts.processors > 0 && facts.disk_free_bytes > 0 && !facts.kernel.is_empty());
    }
}
