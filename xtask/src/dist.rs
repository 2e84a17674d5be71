//! `cargo xtask dist`: .deb and .rpm packages of both programs, with their systemd units, in `dist/`.

use crate::tools::{Done, OPTIMISED, cache, cargo, command, output, root, run, say, skip};
use std::path::PathBuf;

/// Entry.
pub fn run_dist() -> Done {
    let out = root().join("dist");
    std::fs::create_dir_all(&out)?;
    let tools = cache().join("tools");
    for (tool, version) in [("cargo-deb", "^3.8"), ("cargo-generate-rpm", "^0.21")] {
        if !tools.join("bin").join(tool).exists() {
            let root = tools.display().to_string();
            run(
                &format!("installing {tool}"),
                cargo().args(["install", tool, "--version", version, "--locked", "--quiet", "--root", &root]),
            )?;
        }
    }
    run("building, optimised", cargo().args(OPTIMISED))?;
    let tool = |name: &str| -> PathBuf { tools.join("bin").join(name) };
    let target = crate::tools::target();
    for package in ["garrison-server", "garrison-sensor"] {
        let folder = package.trim_start_matches("garrison-");
        let mut deb = command(tool("cargo-deb"), ["-p", package, "--no-build", "--output"]);
        run(&format!("{package}.deb"), deb.arg(&out).current_dir(root()).env("CARGO_TARGET_DIR", &target))?;
        let mut rpm = command(tool("cargo-generate-rpm"), ["-p", &format!("crates/{folder}"), "--output"]);
        run(&format!("{package}.rpm"), rpm.arg(&out).current_dir(root()).env("CARGO_TARGET_DIR", &target))?;
    }
    sensor_package(&out, &target)?;
    say("packages:");
    print!("{}", output(command("ls", ["-l"]).arg(&out))?);
    Ok(())
}

/// The package that connectors install: the server's operator lays it into the folder `packages` of its data.
fn sensor_package(out: &std::path::Path, target: &std::path::Path) -> Done {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    let name = format!("garrison-sensor-{}-{architecture}.tar.zst", env!("CARGO_PKG_VERSION"));
    let file = out.join(&name).display().to_string();
    // One owner, no times: the same program gives the same package.
    let args =
        ["--zstd", "--owner=0", "--group=0", "--mtime=@0", "--transform=s,^,bin/,", "-cf", &file, "garrison-sensor"];
    run(&name, command("tar", args).current_dir(target.join("release")))?;
    if std::env::var_os("GARRISON_PACKAGE_KEY").is_none() {
        skip("the package is not signed: GARRISON_PACKAGE_KEY names no key (`garrison package keygen FILE` makes one)");
        return Ok(());
    }
    run("signing the package", &mut command(target.join("release/garrison"), ["package", "sign", &file]))
}
