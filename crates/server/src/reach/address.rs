//! Where hosts are: lines of an inventory file, ranges of addresses. Pure.

use garrison_model::Tags;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Hosts of one run.
pub const HOSTS_MAX: usize = 1_024;

/// A host to be reached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Host {
    /// Name or address.
    pub address: String,
    /// Port; 22 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// User; the run's unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Name among the resources; the host's own unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}

impl Host {
    /// As it is shown, and as OpenSSH names it among known hosts.
    pub fn key(&self) -> String {
        match self.port.unwrap_or(22) {
            22 => self.address.clone(),
            port => format!("[{}]:{port}", self.address),
        }
    }

    /// What is wrong with it, if anything. What passes can be no option of a program.
    pub fn check(&self) -> Result<(), String> {
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        let a = &self.address;
        if a.is_empty() || a.len() > 253 || a.starts_with(['-', '.']) || !a.chars().all(good) {
            return Err("a host is a name or an address of letters, digits and `.-_:`".to_owned());
        }
        if self.port == Some(0) {
            return Err(format!("{a}: there is no port 0"));
        }
        if let Some(user) = &self.user {
            user_check(user).map_err(|e| format!("{a}: {e}"))?;
        }
        if let Some(name) = &self.name {
            garrison_model::MachineName::new(name).map_err(|e| format!("{a}: {e}"))?;
        }
        garrison_model::tags_check(&self.tags).map_err(|e| format!("{a}: {e}"))
    }
}

/// What is wrong with a user's name, if anything.
pub fn user_check(user: &str) -> Result<(), String> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if user.is_empty() || user.len() > 32 || user.starts_with('-') || !user.chars().all(good) {
        return Err("a user has 1 to 32 letters, digits and `.-_`".to_owned());
    }
    Ok(())
}

/// The addresses of a range such as `10.0.0.0/28`; of an IPv4 net with more than two, without its first and last one.
pub fn range(text: &str) -> Result<Vec<Host>, String> {
    let bad = || format!("`{}` is no range such as 10.0.0.0/28", text.chars().take(60).collect::<String>());
    let (address, prefix) = text.split_once('/').ok_or_else(bad)?;
    let (address, prefix): (IpAddr, u32) = (address.parse().map_err(|_| bad())?, prefix.parse().map_err(|_| bad())?);
    let (bits, width): (u128, u32) = match address {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)), 32),
        IpAddr::V6(v6) => (u128::from(v6), 128),
    };
    let free = width.checked_sub(prefix).ok_or_else(bad)?;
    if free > 10 {
        return Err(format!("`{text}` has more than {HOSTS_MAX} addresses"));
    }
    let count = 1_u128 << free;
    let first = bits / count * count;
    let inner = width == 32 && free > 1;
    let hosts = (first..first + count).filter(|a| !inner || (*a != first && *a != first + count - 1));
    let shown = |a: u128| match address {
        IpAddr::V4(_) => IpAddr::from(u32::try_from(a).unwrap_or(u32::MAX).to_be_bytes()),
        IpAddr::V6(_) => IpAddr::from(a.to_be_bytes()),
    };
    Ok(hosts.map(|a| Host { address: shown(a).to_string(), ..Host::default() }).collect())
}

/// The hosts of an inventory: a line each, `[USER@]HOST[:PORT] [name=NAME] [tag:KEY=VALUE]…`, `#` begins a comment. An
/// IPv6 address with a port stands in brackets. All problems are told at once, with their lines.
pub fn inventory(text: &str) -> Result<Vec<Host>, Vec<String>> {
    let (mut hosts, mut problems) = (Vec::new(), Vec::new());
    for (at, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let Some(place) = words.next() else { continue };
        match one(place, words) {
            Ok(host) => hosts.push(host),
            Err(problem) => problems.push(format!("line {}: {problem}", at + 1)),
        }
    }
    if hosts.len() > HOSTS_MAX {
        problems.push(format!("{} hosts are named; at most {HOSTS_MAX} are reached in one run", hosts.len()));
    }
    let mut keys: Vec<String> = hosts.iter().map(Host::key).collect();
    keys.sort();
    if let Some((twice, _)) = keys.iter().zip(keys.iter().skip(1)).find(|(one, next)| one == next) {
        problems.push(format!("{twice} is there twice"));
    }
    if problems.is_empty() { Ok(hosts) } else { Err(problems) }
}

fn one<'a>(place: &str, words: impl Iterator<Item = &'a str>) -> Result<Host, String> {
    let mut host = Host::default();
    let place = match place.split_once('@') {
        Some((user, rest)) => {
            host.user = Some(user.to_owned());
            rest
        }
        None => place,
    };
    let port = |text: &str| text.parse::<u16>().map_err(|_| format!("`{text}` is no port"));
    if let Some(rest) = place.strip_prefix('[') {
        let (address, after) = rest.split_once(']').ok_or("a bracket is not closed")?;
        host.address = address.to_owned();
        if let Some(text) = after.strip_prefix(':') {
            host.port = Some(port(text)?);
        }
    } else if let Some((address, text)) = place.split_once(':')
        && !text.contains(':')
    {
        (host.address, host.port) = (address.to_owned(), Some(port(text)?));
    } else {
        host.address = place.to_owned();
    }
    for word in words {
        match word.split_once('=') {
            Some(("name", name)) => host.name = Some(name.to_owned()),
            Some((key, value)) if key.starts_with("tag:") && key.len() > 4 => {
                host.tags.insert(key[4..].to_owned(), value.to_owned());
            }
            _ => return Err(format!("`{word}` is neither name=NAME nor tag:KEY=VALUE")),
        }
    }
    host.check()?;
    Ok(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_their_hosts() {
        let of = |text: &str| range(text).map(|all| all.into_iter().map(|h| h.address).collect::<Vec<_>>());
        assert_eq!(of("10.0.0.6/30").unwrap(), ["10.0.0.5", "10.0.0.6"]);
        assert_eq!(of("10.0.0.6/31").unwrap(), ["10.0.0.6", "10.0.0.7"]);
        assert_eq!(of("10.0.0.6/32").unwrap(), ["10.0.0.6"]);
        assert_eq!(of("fd00::8/127").unwrap(), ["fd00::8", "fd00::9"]);
        assert_eq!(of("255.255.252.0/22").unwrap().len(), 1_022);
        for bad in ["10.0.0.0/21", "10.0.0.0", "10.0.0.0/33", "x/3", "::/0", ""] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_inventory_names_hosts_and_all_of_its_problems() {
        let text = "# ours\nroot@web1:2222 name=www1 tag:env=prod # x\n\n10.0.0.9\n[fd00::1]:22\nfd00::2\n";
        let hosts = inventory(text).unwrap();
        let keys: Vec<String> = hosts.iter().map(Host::key).collect();
        assert_eq!(keys, ["[web1]:2222", "10.0.0.9", "fd00::1", "fd00::2"]);
        assert_eq!((hosts[0].user.as_deref(), hosts[0].name.as_deref()), (Some("root"), Some("www1")));
        assert_eq!(hosts[0].tags["env"], "prod");
        let bad = "-oProxyCommand=x\nweb:0x\nroot;x@web\nweb colour\nweb1 name=a_\nok\nok\n$(x)\n";
        let problems = inventory(bad).unwrap_err();
        assert_eq!(problems.len(), 7, "{problems:#?}");
        assert!(problems[0].starts_with("line 1: ") && problems[6].contains("twice"));
    }
}
