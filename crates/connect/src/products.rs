//! Products of others that protect endpoints: found by the names of their packages and of their processes.
//!
//! The list is `content/security-products.json`. What is read belongs to the machine and is believed no further than a
//! name that is in our own list: nothing of a file's text is told on. Reads are bounded; a package that is named on a
//! line too long, or behind the bound, is not found.

use crate::host::small;
use crate::layout::Layout;
use garrison_wire::connect::v1;
use serde::Deserialize;
use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Bytes read of dpkg's list: that of a machine with ten thousand packages has about 12 MiB.
const DPKG_BYTES_MAX: u64 = 64 << 20;
/// Bytes of one of its lines; names are short, and descriptions are not looked at.
const LINE_BYTES_MAX: u64 = 4 << 10;
/// Processes looked at; the kernel's own limit by default is 32,768 or four million.
const PROCESSES_MAX: usize = 65_536;
/// How long rpm may take to answer.
const RPM_MAX: Duration = Duration::from_secs(5);
/// How often it is asked whether it has ended.
const RPM_LOOK: Duration = Duration::from_millis(20);
/// Bytes taken of its answer.
const RPM_BYTES_MAX: u64 = 64 << 10;
/// Characters of a name that the kernel keeps of a process (`TASK_COMM_LEN` less the ending zero).
const COMM_CHARS: usize = 15;

/// A product of the list.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Product {
    /// Name that people know it by.
    pub name: String,
    /// Names of its packages, dpkg's or rpm's.
    pub packages: Vec<String>,
    /// Names of its programs; the whole path where the name alone could be anybody's.
    pub processes: Vec<String>,
}

/// The list that comes with the program. The test below reads the same text; one that cannot be read finds nothing.
pub fn known() -> Vec<Product> {
    serde_json::from_str(include_str!("../../../content/security-products.json")).unwrap_or_default()
}

/// Opens a file of the machine that is a plain file: a pipe in its place must not hold us up.
pub(crate) fn plain(path: &Path) -> Option<std::fs::File> {
    let file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_CLOEXEC)
        .open(path)
        .ok()?;
    file.metadata().ok()?.is_file().then_some(file)
}

/// The next line, cut to a bound, without its end; `None` at the end of the text.
fn line(from: &mut impl std::io::BufRead) -> Option<String> {
    let mut bytes = Vec::new();
    let read = from.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes).ok()?;
    if read == 0 {
        return None;
    }
    if bytes.last() != Some(&b'\n') {
        // The rest of a line that is too long is dropped, piece by piece.
        loop {
            let piece = from.fill_buf().ok()?;
            let (used, end) = match piece.iter().position(|b| *b == b'\n') {
                Some(at) => (at + 1, true),
                None => (piece.len(), piece.is_empty()),
            };
            from.consume(used);
            if end {
                break;
            }
        }
    }
    Some(String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']).to_owned())
}

/// Which of the names are installed packages, by the text of dpkg's `status`: stanzas with `Package:` and
/// `Status: … installed` (deb-src(5), dpkg-query(1)).
pub fn dpkg_installed(status: impl std::io::Read, names: &HashSet<&str>) -> HashSet<String> {
    let mut text = BufReader::new(status.take(DPKG_BYTES_MAX));
    let (mut found, mut package) = (HashSet::new(), None);
    while let Some(line) = line(&mut text) {
        if line.is_empty() {
            package = None;
        } else if let Some(name) = line.strip_prefix("Package:") {
            package = Some(name.trim()).filter(|n| names.contains(n)).map(str::to_owned);
        } else if let Some(status) = line.strip_prefix("Status:")
            && status.split_whitespace().last() == Some("installed")
        {
            found.extend(package.clone());
        }
    }
    found
}

/// The same by rpm. Its database has several formats, so its own program reads it; only on the machine itself, not
/// where its file system is mounted elsewhere.
fn rpm_installed(layout: &Layout, names: &HashSet<&str>) -> HashSet<String> {
    let program = layout.of_host("/usr/bin/rpm");
    if layout.host != Path::new("/") || !program.is_file() || !layout.of_host("/var/lib/rpm").exists() {
        return HashSet::new();
    }
    let child = Command::new(program)
        .args(["-q", "--qf", "%{NAME}\\n"])
        .args(names)
        .env_clear()
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else { return HashSet::new() };
    let until = Instant::now() + RPM_MAX;
    // The answer has a line for each name, so it fits into the pipe and the program never waits for us.
    while !matches!(child.try_wait(), Ok(Some(_)) | Err(_)) {
        if Instant::now() > until {
            let _ = child.kill();
            let _ = child.wait();
            return HashSet::new();
        }
        std::thread::sleep(RPM_LOOK);
    }
    let mut text = String::new();
    if let Some(out) = child.stdout.take() {
        let _ = out.take(RPM_BYTES_MAX).read_to_string(&mut text);
    }
    // A package that is missing answers in words, which are no name of ours.
    text.lines().filter(|l| names.contains(l)).map(str::to_owned).collect()
}

/// Which of the names are names of processes: by the program's file, else by the kernel's name, which is cut short.
pub(crate) fn processes(layout: &Layout, names: &HashSet<&str>) -> HashSet<String> {
    let mut found = HashSet::new();
    let Ok(all) = std::fs::read_dir(layout.of_host("/proc")) else { return found };
    let cut = |name: &str| name.chars().take(COMM_CHARS).collect::<String>();
    for process in all.flatten().take(PROCESSES_MAX) {
        if !process.file_name().to_str().is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit())) {
            continue;
        }
        let program = std::fs::read_link(process.path().join("exe")).ok();
        let program = program.map(|p| p.to_string_lossy().into_owned()).unwrap_or_default();
        let path = program.strip_suffix(" (deleted)").unwrap_or(&program);
        let name = path.rsplit('/').next().unwrap_or_default();
        if let Some(name) = [path, name].into_iter().find(|n| names.contains(n)) {
            found.insert(name.to_owned());
            continue;
        }
        let comm = small(process.path().join("comm"));
        found.extend(names.iter().filter(|n| cut(n) == comm).map(|n| (*n).to_owned()));
    }
    found
}

/// Looks for every product of the list.
pub fn look(layout: &Layout) -> v1::SecurityProducts {
    let list = known();
    let packages: HashSet<&str> = list.iter().flat_map(|p| &p.packages).map(String::as_str).collect();
    let programs: HashSet<&str> = list.iter().flat_map(|p| &p.processes).map(String::as_str).collect();
    let mut installed =
        plain(&layout.of_host("/var/lib/dpkg/status")).map(|file| dpkg_installed(file, &packages)).unwrap_or_default();
    installed.extend(rpm_installed(layout, &packages));
    let running = processes(layout, &programs);
    let first = |of: &[String], there: &HashSet<String>| of.iter().find(|n| there.contains(*n)).cloned();
    let found = list
        .iter()
        .map(|p| v1::SecurityProduct {
            name: p.name.clone(),
            package: first(&p.packages, &installed).unwrap_or_default(),
            process: first(&p.processes, &running).unwrap_or_default(),
        })
        .filter(|p| !p.package.is_empty() || !p.process.is_empty())
        .collect();
    v1::SecurityProducts { found }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn house() -> (tempfile::TempDir, Layout) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_owned();
        let layout = Layout { state: root.join("s"), prefix: root.join("p"), host: root };
        (folder, layout)
    }

    fn process(layout: &Layout, pid: &str, exe: &str, comm: &str) {
        let folder = layout.of_host("/proc").join(pid);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("comm"), format!("{comm}\n")).unwrap();
        std::os::unix::fs::symlink(exe, folder.join("exe")).unwrap();
    }

    #[test]
    fn the_list_has_every_product_once_and_no_name_of_ours() {
        let list = known();
        assert_eq!(list.len(), 9);
        let mut names: Vec<&str> =
            list.iter().flat_map(|p| p.packages.iter().chain(&p.processes)).map(String::as_str).collect();
        assert!(list.iter().all(|p| !p.packages.is_empty() && !p.processes.is_empty()));
        assert!(names.iter().all(|n| !n.is_empty() && !n.contains("garrison") && n.is_ascii()));
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        // Two products share the name of a package and a process of the same product only.
        assert!(all - names.len() <= list.len());
    }

    #[test]
    fn only_packages_that_are_installed_count() {
        let names = HashSet::from(["falcon-sensor", "mdatp", "wazuh-agent"]);
        let long = "x".repeat(100_000);
        let text = format!(
            "Package: bash\nStatus: install ok installed\n\nPackage: falcon-sensor\nStatus: install ok installed\n\
             Description: {long}\n Package: mdatp\n\nPackage: mdatp\nStatus: deinstall ok config-files\n\n\
             Status: install ok installed\n\nPackage: wazuh-agent\nMaintainer: x\nStatus: hold ok installed\n"
        );
        let found = dpkg_installed(text.as_bytes(), &names);
        assert_eq!(found, HashSet::from(["falcon-sensor".to_owned(), "wazuh-agent".to_owned()]));
        for nonsense in [&b"\xff\xfe\n\n\0"[..], b"", b"Package:", b"Package: mdatp"] {
            assert!(dpkg_installed(nonsense, &names).is_empty());
        }
    }

    #[test]
    fn products_are_found_by_package_and_by_process() {
        let (_folder, layout) = house();
        assert!(look(&layout).found.is_empty());
        let dpkg = layout.of_host("/var/lib/dpkg");
        std::fs::create_dir_all(&dpkg).unwrap();
        std::fs::write(dpkg.join("status"), "Package: mdatp\nStatus: install ok installed\n").unwrap();
        process(&layout, "10", "/opt/CrowdStrike/falcon-sensor-bpf (deleted)", "falcon-sensor-b");
        process(&layout, "11", "/opt/elsewhere", "sophos_watchdog");
        // The kernel cuts a name after fifteen characters.
        process(&layout, "12", "/nowhere", "wazuh-syscheckd");
        process(&layout, "13", "/nowhere", "elastic-endpoin");
        process(&layout, "self", "/opt/wdavdaemon", "wdavdaemon");
        let found = look(&layout).found;
        let short: Vec<_> = found.iter().map(|p| (p.name.as_str(), p.package.as_str(), p.process.as_str())).collect();
        assert_eq!(
            short,
            [
                ("CrowdStrike Falcon", "", "falcon-sensor-bpf"),
                ("Sophos", "", "sophos_watchdog"),
                ("Microsoft Defender for Endpoint", "mdatp", ""),
                ("Wazuh", "", "wazuh-syscheckd"),
                ("Elastic Defend", "", "elastic-endpoint"),
            ]
        );
    }
}
