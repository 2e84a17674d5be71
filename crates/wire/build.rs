//! Turns `schema/proto` into Rust, without a protobuf compiler on the machine.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Asked when it runs: a build folder may be shared by several clones, and with it this program.
    let root = std::path::PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("../../schema/proto");
    println!("cargo:rerun-if-changed={}", root.display());
    let files = protox::compile(["garrison/wire/v1/wire.proto", "garrison/connect/v1/connect.proto"], [&root])?;
    tonic_prost_build::configure().bytes(".").compile_fds(files)?;
    Ok(())
}
