//! `cargo xtask dist`: .deb and .rpm packages of the programs, with their systemd units, in `dist/`; the connector also as a
//! program by itself, linked whole.

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
    let target = crate::tools::target();
    connector(&out, &target)?;
    let tool = |name: &str| -> PathBuf { tools.join("bin").join(name) };
    for package in ["garrison-server", "garrison-sensor", "garrison-connect"] {
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

/// The connector without any library of the system: it goes to whatever machine is to be connected.
fn connector(out: &std::path::Path, target: &std::path::Path) -> Done {
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let key = triple.to_uppercase().replace('-', "_");
    // Named, so that programs of the build itself (macros, build scripts) are not linked this way.
    let mut build = cargo();
    build.args(["build", "--release", "-p", "garrison-connect", "--target", &triple]);
    run(
        "building the connector, static",
        build.env(format!("CARGO_TARGET_{key}_RUSTFLAGS"), "-C target-feature=+crt-static"),
    )?;
    let made = target.join(&triple).join("release/garrison-connect");
    let name = format!("garrison-connect-{}", architecture());
    for copy in [target.join("release/garrison-connect-static"), out.join(&name)] {
        run(&name, command("install", ["-s", "-m", "755"]).arg(&made).arg(copy))?;
    }
    Ok(())
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The package that connectors install: the server's operator lays it into the folder `packages` of its data.
fn sensor_package(out: &std::path::Path, target: &std::path::Path) -> Done {
    let name = format!("garrison-sensor-{}-{}.tar.zst", env!("CARGO_PKG_VERSION"), architecture());
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
