//! Which container a process is in, by its cgroup, and the container's name where a runtime's own files tell.
//! Never asks a runtime's socket, and nothing over a network.

use lru::LruCache;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Cgroups remembered: several times the pods that one node may hold.
const CGROUPS_MAX: usize = 4_096;
/// Largest file of a runtime that is read.
const STATE_BYTES_MAX: u64 = 4 << 20;
/// Look-ups a second; beyond them a cgroup stays unknown until its next event.
const LOOKUPS_PER_SECOND: u32 = 64;

/// What a cgroup says of the processes in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cgroup {
    /// Path below the cgroup root.
    pub path: String,
    /// Container id, 64 hexadecimal digits.
    pub container_id: Option<String>,
    /// Container name.
    pub container_name: Option<String>,
}

/// Remembers cgroups by their number.
#[derive(Debug)]
pub struct Cgroups {
    root: PathBuf,
    cache: LruCache<u64, Arc<Cgroup>>,
    second: u64,
    lookups: u32,
}

impl Cgroups {
    /// `root` is `/`, or a folder that stands for it in tests.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let max = NonZeroUsize::new(CGROUPS_MAX).unwrap_or(NonZeroUsize::MIN);
        Self { root: root.into(), cache: LruCache::new(max), second: 0, lookups: 0 }
    }

    /// The cgroup of a process; `None` if it is not known and cannot be found out.
    pub fn of(&mut self, cgroup_id: u64, pid: u32, now: Duration) -> Option<Arc<Cgroup>> {
        if cgroup_id == 0 || pid == 0 {
            return None;
        }
        if let Some(known) = self.cache.get(&cgroup_id) {
            return Some(Arc::clone(known));
        }
        if self.second != now.as_secs() {
            (self.second, self.lookups) = (now.as_secs(), 0);
        }
        self.lookups += 1;
        if self.lookups > LOOKUPS_PER_SECOND {
            return None;
        }
        let text = read_small(&self.root.join(format!("proc/{pid}/cgroup")))?;
        let path = text.lines().find_map(|l| l.strip_prefix("0::"))?.to_owned();
        // The process may have moved since: the folder's inode must be the number that the event carries.
        let folder = self.root.join("sys/fs/cgroup").join(path.trim_start_matches('/'));
        let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(folder).ok()?);
        if inode != cgroup_id {
            return None;
        }
        let container_id = container_id(&path).map(str::to_owned);
        let container_name = container_id.as_deref().and_then(|id| self.name(id));
        let cgroup = Arc::new(Cgroup { path, container_id, container_name });
        self.cache.put(cgroup_id, Arc::clone(&cgroup));
        Some(cgroup)
    }

    fn name(&self, id: &str) -> Option<String> {
        let json = |path: String| -> Option<serde_json::Value> {
            serde_json::from_str(&read_small(&self.root.join(path))?).ok()
        };
        let text = |v: &serde_json::Value| v.as_str().map(|s| s.trim_start_matches('/').chars().take(256).collect());
        if let Some(docker) = json(format!("var/lib/docker/containers/{id}/config.v2.json")) {
            return docker.get("Name").and_then(text);
        }
        let oci = [
            format!("run/containerd/io.containerd.runtime.v2.task/k8s.io/{id}/config.json"),
            format!("run/containerd/io.containerd.runtime.v2.task/default/{id}/config.json"),
            format!("var/lib/containers/storage/overlay-containers/{id}/userdata/config.json"),
        ];
        for config in oci.into_iter().filter_map(json) {
            let notes = config.get("annotations");
            for key in ["io.kubernetes.cri.container-name", "io.kubernetes.container.name", "io.container.manager.name"]
            {
                if let Some(name) = notes.and_then(|n| n.get(key)).and_then(text) {
                    return Some(name);
                }
            }
        }
        let podman = json("var/lib/containers/storage/overlay-containers/containers.json".to_owned())?;
        let own = podman.as_array()?.iter().find(|c| c.get("id").and_then(|i| i.as_str()) == Some(id))?;
        own.get("names")?.as_array()?.first().and_then(text)
    }
}

fn read_small(path: &Path) -> Option<String> {
    let meta = std::fs::metadata(path).ok()?;
    if meta.len() > STATE_BYTES_MAX {
        return None;
    }
    std::fs::read_to_string(path).ok()
}

/// The container id in a cgroup path, whatever runtime made it: the last part that holds 64 hexadecimal digits, alone
/// or between a prefix such as `docker-`, `cri-containerd-`, `crio-`, `libpod-` and `.scope`.
pub fn container_id(path: &str) -> Option<&str> {
    path.rsplit('/').find_map(|part| {
        let part = part.strip_suffix(".scope").unwrap_or(part);
        let part = part.rsplit(['-', ':']).next().unwrap_or(part);
        (part.len() == 64 && part.bytes().all(|b| b.is_ascii_hexdigit())).then_some(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn every_runtimes_pattern_is_known() {
        let id = "0123456789abcdef".repeat(4);
        for path in [
            format!("/docker/{id}"),
            format!("/system.slice/docker-{id}.scope"),
            format!("/kubepods.slice/kubepods-burstable.slice/kubepods-pod1.slice/cri-containerd-{id}.scope"),
            format!("/kubepods/besteffort/pod1/{id}"),
            format!("/kubepods.slice/x.slice/crio-{id}.scope"),
            format!("/machine.slice/libpod-{id}.scope/container"),
            format!("/kubepods-pod1.slice:cri-containerd:{id}"),
        ] {
            assert_eq!(container_id(&path), Some(id.as_str()), "{path}");
        }
        for path in ["/", "/user.slice/user-0.slice/session-1.scope", "/system.slice/ssh.service"] {
            assert_eq!(container_id(path), None, "{path}");
        }
    }

    #[test]
    fn a_container_is_found_and_named_from_the_runtimes_files() {
        let root = tempfile::tempdir().unwrap();
        let id = "ab".repeat(32);
        let put = |path: String, text: String| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        put("proc/9/cgroup".into(), format!("0::/system.slice/docker-{id}.scope\n"));
        put(format!("var/lib/docker/containers/{id}/config.v2.json"), "{\"Name\":\"/web\"}".into());
        let folder = root.path().join(format!("sys/fs/cgroup/system.slice/docker-{id}.scope"));
        std::fs::create_dir_all(&folder).unwrap();
        let inode = std::fs::metadata(&folder).unwrap().ino();
        let mut cgroups = Cgroups::new(root.path());
        let found = cgroups.of(inode, 9, Duration::ZERO).unwrap();
        assert_eq!((found.container_id.as_deref(), found.container_name.as_deref()), (Some(id.as_str()), Some("web")));
        assert_eq!(cgroups.of(inode + 1, 9, Duration::ZERO), None, "the process is in another cgroup by now");
        std::fs::remove_dir_all(root.path().join("proc")).unwrap();
        assert!(cgroups.of(inode, 9, Duration::ZERO).is_some(), "remembered after the process ended");
    }
}
