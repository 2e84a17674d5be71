//! The machine itself: facts for enrolment and greeting, and rows of `DeviceInfo` and `DeviceNetworkInfo` at the start,
//! on change and once a day.

use super::Enricher;
use garrison_model::Micros;
use garrison_telemetry::rows;
use garrison_wire::v1::HostFacts;
use serde_json::json;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

/// Network adapters that are told: hosts full of containers have thousands of virtual ones.
const ADAPTERS_MAX: usize = 64;

/// What is said of the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Device {
    /// Facts that also go to the server at enrolment and greeting.
    pub host: HostFacts,
    /// Model of the hardware.
    pub model: String,
    /// Vendor of the hardware.
    pub vendor: String,
    /// Adapters by name.
    pub adapters: Vec<Adapter>,
    /// Users logged on.
    pub users: Vec<String>,
    /// Tags claimed.
    pub tags: String,
}

/// A network adapter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Adapter {
    /// Name.
    pub name: String,
    /// Hardware address.
    pub mac: String,
    /// `Up` or `Down`.
    pub status: &'static str,
    /// Kind, such as `Ethernet`.
    pub kind: &'static str,
    /// Addresses with prefix lengths.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Default gateways.
    pub gateways: Vec<String>,
    /// Name servers of the machine.
    pub resolvers: Vec<String>,
}

fn small(path: impl AsRef<Path>) -> String {
    super::read_bounded(path.as_ref(), 64 * 1024)
        .map(|b| String::from_utf8_lossy(&b).trim().to_owned())
        .unwrap_or_default()
}

/// Name of the machine.
pub fn host_name() -> String {
    nix::unistd::gethostname().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Looks at the machine.
pub fn look(tags: &[String]) -> Device {
    let release: BTreeMap<String, String> = small("/etc/os-release")
        .lines()
        .filter_map(|l| l.split_once('='))
        .map(|(k, v)| (k.to_owned(), v.trim_matches(['"', '\'']).to_owned()))
        .collect();
    let release = |key: &str| release.get(key).cloned().unwrap_or_default();
    let uname = nix::sys::utsname::uname().ok();
    let text = |s: &std::ffi::OsStr| s.to_string_lossy().into_owned();
    let adapters = adapters();
    let mut ips: Vec<String> = adapters
        .iter()
        .flat_map(|a| a.addresses.iter())
        .filter(|(ip, _)| !ip.is_loopback() && !matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local()))
        .map(|(ip, _)| ip.to_string())
        .collect();
    ips.truncate(ADAPTERS_MAX);
    let distribution = release("ID");
    let mut letters = distribution.chars();
    let distribution = letters.next().map_or(String::new(), |c| c.to_uppercase().chain(letters).collect());
    Device {
        host: HostFacts {
            host_name: host_name(),
            os_platform: "Linux".to_owned(),
            os_distribution: distribution,
            os_version: release("VERSION_ID"),
            kernel_version: uname.as_ref().map(|u| text(u.release())).unwrap_or_default(),
            architecture: match std::env::consts::ARCH {
                "x86_64" => "x64".to_owned(),
                "aarch64" => "arm64".to_owned(),
                other => other.to_owned(),
            },
            ip_addresses: ips,
            hardware_uuid: small("/sys/class/dmi/id/product_uuid"),
            machine_id: small("/etc/machine-id"),
        },
        model: small("/sys/class/dmi/id/product_name"),
        vendor: small("/sys/class/dmi/id/sys_vendor"),
        adapters,
        users: Vec::new(),
        tags: tags.join(","),
    }
}

fn adapters() -> Vec<Adapter> {
    let mut found: BTreeMap<String, Adapter> = BTreeMap::new();
    let resolvers: Vec<String> = small("/etc/resolv.conf")
        .lines()
        .filter_map(|l| l.trim().strip_prefix("nameserver").map(|a| a.trim().to_owned()))
        .take(8)
        .collect();
    for entry in nix::ifaddrs::getifaddrs().into_iter().flatten() {
        if found.len() >= ADAPTERS_MAX && !found.contains_key(&entry.interface_name) {
            continue;
        }
        let adapter = found.entry(entry.interface_name.clone()).or_insert_with(|| {
            let up = entry.flags.contains(nix::net::if_::InterfaceFlags::IFF_UP);
            let number = small(format!("/sys/class/net/{}/type", entry.interface_name));
            Adapter {
                name: entry.interface_name.clone(),
                mac: small(format!("/sys/class/net/{}/address", entry.interface_name)),
                status: if up { "Up" } else { "Down" },
                // Numbers of `ARPHRD_*` in linux/if_arp.h.
                kind: match number.as_str() {
                    "1" => "Ethernet",
                    "772" => "Loopback",
                    "768" | "769" | "776" | "778" => "Tunnel",
                    "512" => "Ppp",
                    _ => "Other",
                },
                resolvers: resolvers.clone(),
                ..Adapter::default()
            }
        });
        let ip = entry.address.as_ref().and_then(|a| {
            a.as_sockaddr_in()
                .map(|v4| IpAddr::V4(v4.ip()))
                .or_else(|| a.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
        });
        let prefix = entry.netmask.as_ref().map_or(0, |m| {
            let bits = m
                .as_sockaddr_in()
                .map(|v4| u32::from(v4.ip()).count_ones())
                .or_else(|| m.as_sockaddr_in6().map(|v6| u128::from(v6.ip()).count_ones()));
            bits.unwrap_or(0) as u8
        });
        if let Some(ip) = ip {
            adapter.addresses.push((ip, prefix));
        }
    }
    for (name, gateway) in gateways(&small("/proc/net/route")) {
        if let Some(adapter) = found.get_mut(&name) {
            adapter.gateways.push(gateway);
        }
    }
    found.into_values().collect()
}

/// Default gateways in the text of `/proc/net/route`: name of the adapter and address.
fn gateways(table: &str) -> Vec<(String, String)> {
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut columns = line.split_whitespace();
            let (name, target, gateway) = (columns.next()?, columns.next()?, columns.next()?);
            let gateway = u32::from_str_radix(gateway, 16).ok()?;
            (target == "00000000" && gateway != 0)
                .then(|| (name.to_owned(), std::net::Ipv4Addr::from(gateway.to_le_bytes()).to_string()))
        })
        .take(ADAPTERS_MAX)
        .collect()
}

impl Enricher {
    /// Rows of the machine and its network.
    pub fn device_rows(&mut self, device: &Device, issues: &[String], now: Micros) {
        let host = &device.host;
        let build = host.kernel_version.split(['-', '+']).next().unwrap_or_default();
        let users = (!device.users.is_empty()).then(|| json!(device.users).to_string());
        let fields = json!({"KernelVersion": host.kernel_version, "MachineId": host.machine_id, "IPAddresses": host.ip_addresses}).to_string();
        let given = |text: &'_ str| !text.is_empty();
        self.tables.info.append(&rows::DeviceInfo {
            timestamp: Some(now),
            client_version: Some(env!("CARGO_PKG_VERSION")),
            os_architecture: Some(&host.architecture),
            os_platform: Some(&host.os_platform),
            os_distribution: Some(host.os_distribution.as_str()).filter(|t| given(t)),
            os_version: Some(host.os_version.as_str()).filter(|t| given(t)),
            os_version_info: Some(build).filter(|t| given(t)),
            logged_on_users: users.as_deref(),
            registry_device_tag: Some(device.tags.as_str()).filter(|t| given(t)),
            onboarding_status: Some("Onboarded"),
            device_category: Some("Endpoint"),
            device_type: Some("Server"),
            model: Some(device.model.as_str()).filter(|t| given(t)),
            vendor: Some(device.vendor.as_str()).filter(|t| given(t)),
            hardware_uuid: Some(host.hardware_uuid.as_str()).filter(|t| given(t)),
            sensor_health_state: Some(if issues.is_empty() { "Active" } else { "ImpairedCommunication" }),
            additional_fields: Some(&fields),
            ..rows::DeviceInfo::default()
        });
        for adapter in &device.adapters {
            let ips: Vec<_> = adapter
                .addresses
                .iter()
                .map(|(ip, prefix)| json!({"IPAddress": ip.to_string(), "SubnetPrefix": prefix, "AddressType": super::address::kind(*ip)}))
                .collect();
            let list = |items: &[String]| (!items.is_empty()).then(|| json!(items).to_string());
            let (ips, gateways, resolvers) =
                (serde_json::Value::from(ips).to_string(), list(&adapter.gateways), list(&adapter.resolvers));
            self.tables.network_info.append(&rows::DeviceNetworkInfo {
                timestamp: Some(now),
                network_adapter_name: Some(&adapter.name),
                network_adapter_status: Some(adapter.status),
                network_adapter_type: Some(adapter.kind),
                mac_address: Some(adapter.mac.as_str()).filter(|t| given(t)),
                ip_addresses: Some(&ips),
                default_gateways: gateways.as_deref(),
                dns_addresses: resolvers.as_deref(),
                ..rows::DeviceNetworkInfo::default()
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_gateways_are_read_from_the_routing_table() {
        let table =
            "Iface\tDestination\tGateway\tFlags\neth0\t00000000\t0102000A\t0003\neth0\t0002000A\t00000000\t0001\n";
        assert_eq!(gateways(table), [("eth0".to_owned(), "10.0.2.1".to_owned())]);
        assert!(gateways("x").is_empty());
    }

    #[test]
    fn this_machine_has_a_name_a_kernel_and_a_loopback() {
        let device = look(&[]);
        assert!(!device.host.kernel_version.is_empty());
        assert!(
            device.adapters.iter().any(|a| a.kind == "Loopback" && a.addresses.iter().any(|(ip, _)| ip.is_loopback()))
        );
    }
}
