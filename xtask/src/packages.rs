//! Packages of the distribution that building and testing need.

use crate::tools::{Done, command, fail, find, have, is_root, paint, run, say, skip, tell};
use std::io::{BufRead as _, IsTerminal as _, Write as _};

/// What is needed, how it is recognised, and the package of Debian and Ubuntu that has it.
pub struct Need {
    /// A program, or a path if it starts with `/`.
    pub sign: &'static str,
    /// Package.
    pub package: &'static str,
    /// What for.
    pub why: &'static str,
}

const fn need(sign: &'static str, package: &'static str, why: &'static str) -> Need {
    Need { sign, package, why }
}

/// What a build needs.
pub const BUILD: &[Need] = &[
    need("cc", "gcc", "C parts of libraries"),
    need("make", "make", "C parts of libraries"),
    need("clang", "clang", "the sensor's BPF programs"),
    need("/usr/include/libelf.h", "libelf-dev", "loading BPF programs"),
    need("/usr/include/zlib.h", "zlib1g-dev", "loading BPF programs"),
    need("pkg-config", "pkg-config", "finding libraries"),
    need("zstd", "zstd", "packages of the sensor"),
];

/// What the tests need on top.
pub const TEST: &[Need] = &[
    need("chromium", "chromium", "the browser tests"),
    need("chromedriver", "chromium-driver", "the browser tests"),
    need("node", "nodejs", "the console's tests"),
    need("npm", "npm", "the console's tests"),
    need("ip", "iproute2", "network namespaces"),
    need("mount", "mount", "small disks for the full-disk tests"),
    need("python3", "python3-venv", "readers of the lake that are not ours"),
    need("/usr/lib/postgresql", "postgresql", "the control database's second engine"),
    need("ssh", "openssh-client", "connecting hosts by SSH"),
    need("/usr/sbin/sshd", "openssh-server", "connecting hosts by SSH"),
    need("unzip", "unzip", "test data"),
];

/// What the test under systemd needs on top.
pub const BOOTED: &[Need] = &[
    need("debootstrap", "debootstrap", "a Debian to boot"),
    need("systemd-nspawn", "systemd-container", "booting it"),
];

fn present(need: &Need) -> bool {
    if need.sign.starts_with('/') { std::path::Path::new(need.sign).exists() } else { have(need.sign) }
}

/// Installs what is missing; asks first unless `yes`.
pub fn install(needs: &[&[Need]], yes: bool) -> Done {
    let missing: Vec<&Need> = needs.iter().flat_map(|n| n.iter()).filter(|n| !present(n)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    say("packages that are missing:");
    for need in &missing {
        tell!("    {:<18} {}", paint("1", need.package), need.why);
    }
    let names: Vec<&str> = missing.iter().map(|n| n.package).collect();
    if find("apt-get").is_none() {
        return fail(format!("this is no Debian or Ubuntu; install what gives: {}", names.join(" ")));
    }
    if !yes && !agreed()? {
        return fail(format!("not installed; do it by hand: apt-get install {}", names.join(" ")));
    }
    let apt = |args: &[&str]| {
        let mut c = if is_root() { command("apt-get", args) } else { command("sudo", [&["apt-get"], args].concat()) };
        c.env("DEBIAN_FRONTEND", "noninteractive").stdout(std::process::Stdio::null());
        c
    };
    run("refreshing the list of packages", &mut apt(&["update", "-qq"]))?;
    // Another installation that is under way is waited for.
    let mut args = vec!["-o", "DPkg::Lock::Timeout=300", "install", "-y", "-qq", "--no-install-recommends"];
    args.extend(&names);
    run(&format!("installing {}", names.join(" ")), &mut apt(&args))?;
    for need in missing.iter().filter(|n| !present(n)) {
        skip(&format!("`{}` did not bring {}", need.package, need.sign));
    }
    Ok(())
}

fn agreed() -> Done<bool> {
    if !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    eprint!("Install them with apt-get now? [Y/n] ");
    std::io::stderr().flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(matches!(line.trim().to_lowercase().as_str(), "" | "y" | "yes"))
}
