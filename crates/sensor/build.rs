//! Compiles the programs for the kernel. Needs clang (14 or newer), libelf and zlib headers.

use std::path::PathBuf;

fn main() {
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    println!("cargo::rerun-if-changed=bpf");
    // `v3` brings atomic operations, which need Linux 5.12; older kernels use the fallback anyway.
    libbpf_cargo::SkeletonBuilder::new()
        .source("bpf/observe.bpf.c")
        .clang_args(["-mcpu=v3", "-Wall", "-Wno-unused-function", "-Wno-unused-parameter"])
        .obj(out.join("observe.bpf.o"))
        .build()
        .unwrap_or_else(|error| {
            eprintln!("cannot compile bpf/observe.bpf.c: {error:#}");
            eprintln!("clang 14 or newer is needed (Debian and Ubuntu: apt install clang libelf-dev zlib1g-dev)");
            std::process::exit(1);
        });
}
