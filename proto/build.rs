//! Compiles `landfall/v1/*.proto` with protox: no `protoc` has to be installed.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    let files = [
        "types.proto",
        "catalog.proto",
        "fleet.proto",
        "routing.proto",
        "promotion.proto",
        "mirrors.proto",
        "tokens.proto",
        "audit.proto",
    ]
    .map(|file| format!("landfall/v1/{file}"));
    for file in &files {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(&files, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("landfall.v1.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".")
        .compile_fds(descriptors)?;
    Ok(())
}
