//! What files are looked at, and who is protected.

use super::event::FileAction;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use std::os::unix::fs::MetadataExt;

/// What to look at. Folders count with everything below them; the longest match decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ObservePolicy {
    /// Folders whose changes are told: made, changed, renamed, removed, permissions, owners.
    pub folders: Vec<String>,
    /// Folders where only new names, renames and removals are told, not every change (logs, spools).
    pub names_only_folders: Vec<String>,
    /// Folders in which nothing is told.
    pub excluded_folders: Vec<String>,
    /// Credential files whose reading is told. `*` stands for one folder name; the last name is literal.
    pub read_files: Vec<String>,
    /// Folders whose shared libraries are the system's own: mapping them is not told.
    pub trusted_image_folders: Vec<String>,
    /// Processes, signals to which are told; the sensor itself always is one.
    pub protected_pids: Vec<u32>,
    /// Whether log-ons are followed.
    pub logons: bool,
}

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|t| (*t).to_owned()).collect()
}

impl Default for ObservePolicy {
    fn default() -> Self {
        Self {
            folders: texts(&[
                "/etc",
                "/boot",
                "/root",
                "/home",
                "/usr/bin",
                "/usr/sbin",
                "/usr/local",
                "/usr/lib/systemd",
                "/usr/lib/security",
                "/bin",
                "/sbin",
                "/lib/systemd",
                "/lib/modules",
                "/opt",
                "/srv",
                "/tmp",
                "/var/tmp",
                "/dev/shm",
                "/run/systemd",
                "/var/www",
                "/var/spool/cron",
                "/var/lib/systemd",
            ]),
            names_only_folders: texts(&["/var/log"]),
            excluded_folders: texts(&["/root/.cache", "/root/.cargo/registry", "/var/log/journal"]),
            read_files: texts(&[
                "/etc/shadow",
                "/etc/shadow-",
                "/etc/gshadow",
                "/etc/gshadow-",
                "/etc/sudoers",
                "/etc/security/opasswd",
                "/etc/krb5.keytab",
                "/root/.ssh/id_rsa",
                "/root/.ssh/id_ed25519",
                "/root/.ssh/id_ecdsa",
                "/root/.ssh/id_dsa",
                "/home/*/.ssh/id_rsa",
                "/home/*/.ssh/id_ed25519",
                "/home/*/.ssh/id_ecdsa",
                "/home/*/.ssh/id_dsa",
                "/root/.aws/credentials",
                "/home/*/.aws/credentials",
                "/root/.git-credentials",
                "/home/*/.git-credentials",
                "/root/.kube/config",
                "/home/*/.kube/config",
                "/root/.docker/config.json",
                "/home/*/.docker/config.json",
                "/root/.pgpass",
                "/home/*/.pgpass",
                "/root/.my.cnf",
                "/root/.netrc",
                "/home/*/.netrc",
                "/root/.config/gcloud/credentials.db",
                "/etc/ssh/ssh_host_rsa_key",
                "/etc/ssh/ssh_host_ed25519_key",
                "/etc/ssh/ssh_host_ecdsa_key",
            ]),
            trusted_image_folders: texts(&[
                "/lib",
                "/lib64",
                "/lib32",
                "/usr/lib",
                "/usr/lib64",
                "/usr/lib32",
                "/usr/libexec",
                "/usr/bin",
                "/usr/sbin",
                "/bin",
                "/sbin",
            ]),
            protected_pids: Vec::new(),
            logons: true,
        }
    }
}

/// Most entries of one list of the policy: what the kernel maps hold, with room for folders above.
pub const LIST_MAX: usize = 1024;

/// Something in the policy that is left out, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("policy entry `{entry}` is left out: {reason}")]
pub struct PolicyProblem {
    /// The entry.
    pub entry: String,
    /// Why.
    pub reason: &'static str,
}

/// Bits of actions, as `bpf/calls.h` has them.
pub(crate) mod bits {
    pub const CREATE: u32 = 1;
    pub const MODIFY: u32 = 2;
    pub const RENAME: u32 = 4;
    pub const DELETE: u32 = 8;
    pub const ATTRIBUTE: u32 = 16;
    pub const IMAGE: u32 = 64;
    pub const PASS_UP: u32 = 1 << 31;
    pub const ALL: u32 = CREATE | MODIFY | RENAME | DELETE | ATTRIBUTE;
    pub const NAMES: u32 = CREATE | RENAME | DELETE | ATTRIBUTE;
}

/// The policy made ready for questions.
#[derive(Debug, Clone, Default)]
pub struct Classifier {
    folders: HashMap<String, u32>,
    reads: Vec<Vec<String>>,
}

/// A folder as the kernel names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FolderId {
    pub inode: u64,
    pub device: u32,
}

impl Classifier {
    /// Makes the policy ready; entries that cannot be used are left out and named.
    pub fn new(policy: &ObservePolicy) -> (Self, Vec<PolicyProblem>) {
        let mut problems = Vec::new();
        let mut watched: HashMap<String, u32> = HashMap::new();
        let mut trusted: HashMap<String, u32> = HashMap::new();
        let mut take = |list: &[String], flags: u32, into: &mut HashMap<String, u32>| {
            for (index, entry) in list.iter().enumerate() {
                let reason = if index >= LIST_MAX {
                    Some("the list has more than 1,024 entries")
                } else if !entry.starts_with('/') || entry.split('/').any(|p| p == ".." || p == ".") {
                    Some("not an absolute path")
                } else if entry.len() > 250 {
                    Some("longer than 250 bytes")
                } else {
                    None
                };
                match reason {
                    Some(reason) => problems.push(PolicyProblem { entry: entry.clone(), reason }),
                    None => {
                        let path = super::path::absolute("/", entry);
                        // The same folder under its real name too: /bin is /usr/bin on most systems.
                        if let Ok(real) = std::fs::canonicalize(&path)
                            && let Some(real) = real.to_str()
                            && real.len() <= 250
                        {
                            into.entry(real.to_owned()).or_insert(flags);
                        }
                        into.insert(path, flags);
                    }
                }
            }
        };
        take(&policy.folders, bits::ALL, &mut watched);
        take(&policy.names_only_folders, bits::NAMES, &mut watched);
        take(&policy.excluded_folders, 0, &mut watched);
        take(&policy.trusted_image_folders, bits::IMAGE, &mut trusted);
        let mut reads = Vec::new();
        for (index, entry) in policy.read_files.iter().enumerate() {
            let parts: Vec<String> = entry.split('/').skip(1).map(str::to_owned).collect();
            let last = parts.last().map_or("", String::as_str);
            let reason = if index >= LIST_MAX {
                "the list has more than 1,024 entries"
            } else if !entry.starts_with('/') || last.is_empty() {
                "not an absolute path of a file"
            } else if last.contains('*') {
                "the file's name must be literal, `*` stands for folders only"
            } else if last.len() > 30 {
                "the file's name is longer than 30 bytes"
            } else {
                reads.push(parts);
                continue;
            };
            problems.push(PolicyProblem { entry: entry.clone(), reason });
        }
        let mut folders = HashMap::new();
        for path in watched.keys().chain(trusted.keys()) {
            let flags = longest(&watched, path).unwrap_or(0) | longest(&trusted, path).unwrap_or(0);
            folders.insert(path.clone(), flags);
        }
        (Self { folders, reads }, problems)
    }

    /// Flags of the longest match.
    pub(crate) fn flags(&self, path: &str) -> u32 {
        longest(&self.folders, path).unwrap_or(0)
    }

    /// Whether this action on this file is to be told.
    pub fn wants(&self, path: &str, action: FileAction) -> bool {
        let flag = match action {
            FileAction::Created | FileAction::FolderCreated | FileAction::Linked | FileAction::SymbolicLinked => {
                bits::CREATE
            }
            FileAction::Modified => bits::MODIFY,
            FileAction::Renamed => bits::RENAME,
            FileAction::Deleted | FileAction::FolderDeleted => bits::DELETE,
            FileAction::PermissionChanged | FileAction::OwnerChanged => bits::ATTRIBUTE,
            FileAction::Read => return self.wants_read(path),
        };
        self.flags(path) & flag != 0
    }

    fn wants_read(&self, path: &str) -> bool {
        self.reads.iter().any(|pattern| {
            let mut parts = path.split('/').skip(1);
            pattern.iter().all(|p| parts.next().is_some_and(|part| p == "*" || p == part)) && parts.next().is_none()
        })
    }

    /// Folders that are there now, with their flags; folders above them that are in no policy pass up.
    pub(crate) fn folder_ids(&self) -> HashMap<FolderId, u32> {
        let mut ids = HashMap::new();
        for (path, flags) in &self.folders {
            if let Some(id) = folder_id(path) {
                ids.insert(id, *flags);
            }
        }
        for (path, flags) in &self.folders {
            if flags & bits::ALL == 0 {
                continue;
            }
            for above in std::path::Path::new(path).ancestors().skip(1) {
                if let Some(id) = above.to_str().and_then(folder_id) {
                    ids.entry(id).or_insert(bits::PASS_UP);
                }
            }
        }
        ids
    }

    /// Prefixes of absolute paths for the kernel, each ending in `/`.
    pub(crate) fn prefixes(&self) -> Vec<(Vec<u8>, u32)> {
        let mut all: Vec<_> =
            self.folders.iter().map(|(p, f)| (format!("{p}/").into_bytes(), *f & bits::ALL)).collect();
        // What /proc/PID/root or /proc/self/cwd lead to only user space can tell.
        all.push((b"/proc/".to_vec(), bits::PASS_UP));
        all
    }

    /// Names of files whose reading may be told.
    pub(crate) fn read_names(&self) -> Vec<[u8; 32]> {
        let mut names: Vec<[u8; 32]> = self
            .reads
            .iter()
            .filter_map(|parts| {
                let last = parts.last()?.as_bytes();
                let mut name = [0; 32];
                name.get_mut(..last.len())?.copy_from_slice(last);
                Some(name)
            })
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Folders under policy (not the trusted or excluded ones), for the fallback's marks.
    pub(crate) fn watched_folders(&self) -> impl Iterator<Item = &str> {
        self.folders.iter().filter(|(_, flags)| **flags & bits::ALL != 0).map(|(path, _)| path.as_str())
    }
}

fn longest(map: &HashMap<String, u32>, path: &str) -> Option<u32> {
    let mut rest = path;
    loop {
        if let Some(flags) = map.get(rest) {
            return Some(*flags);
        }
        match rest.rfind('/') {
            Some(0) | None => return map.get("/").copied(),
            Some(at) => rest = &rest[..at],
        }
    }
}

fn folder_id(path: &str) -> Option<FolderId> {
    let meta = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_dir)?;
    Some(FolderId { inode: meta.ino(), device: kernel_device(meta.dev()) })
}

/// `st_dev` as the kernel keeps it: 12 bits of major, 20 of minor.
pub(crate) fn kernel_device(device: u64) -> u32 {
    ((libc::major(device) & 0xfff) << 20) | (libc::minor(device) & 0xf_ffff)
}

/// The kernel's own device number as `st_dev` shows it.
pub(crate) fn user_device(device: u32) -> u64 {
    libc::makedev(device >> 20, device & 0xf_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_match_decides() {
        let (policy, problems) = Classifier::new(&ObservePolicy {
            folders: vec!["/w".into()],
            names_only_folders: vec!["/w/log".into()],
            excluded_folders: vec!["/w/x".into()],
            read_files: vec!["/home/*/.ssh/id_rsa".into(), "/a/*".into(), "relative".into()],
            ..ObservePolicy::default()
        });
        assert_eq!(problems.len(), 2);
        assert!(policy.wants("/w/a/b", FileAction::Created));
        assert!(!policy.wants("/w/x/b", FileAction::Created));
        assert!(!policy.wants("/w/log/b", FileAction::Modified));
        assert!(policy.wants("/w/log/b", FileAction::Deleted));
        assert!(!policy.wants("/wide/b", FileAction::Created));
        assert!(policy.wants("/home/ann/.ssh/id_rsa", FileAction::Read));
        assert!(!policy.wants("/home/ann/x/.ssh/id_rsa", FileAction::Read));
        assert!(!policy.wants("/home/ann/.ssh/id_rsa/x", FileAction::Read));
    }

    #[test]
    fn device_numbers_go_both_ways() {
        for device in [libc::makedev(254, 0), libc::makedev(8, 17), libc::makedev(0, 70_000)] {
            assert_eq!(user_device(kernel_device(device)), device);
        }
    }
}
