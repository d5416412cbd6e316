//! What a project has pushed to its staging: a release file and an image, both
//! of the very program that is running.

use std::{
    fs::{self, File},
    io::{Read, Write},
    path::Path,
};

use landfall_catalog::{Catalog, Digest, Hasher, MediaType};
use landfall_content::{DirectoryStore, oci::Descriptor};

use super::{image, manifests::BELOW, tar};
use crate::failure::Failure;

/// Bytes of the program that are read at once.
const READ_SIZE: usize = 1 << 20;
/// Uncompressed layer of an OCI image.
pub(super) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// What is in staging, and so what clients must get in the end.
#[derive(Debug)]
pub(super) struct Staged {
    /// The release's tag.
    pub(super) tag: String,
    /// The image's name within the project.
    pub(super) image_name: String,
    /// The image's index.
    pub(super) index: Digest,
    /// OCI manifest of the signature that refers to it.
    pub(super) signature: Digest,
    /// The program as a release file.
    pub(super) program: StagedFile,
    /// The file with its SHA-256.
    pub(super) checksum: StagedFile,
}

/// A release file.
#[derive(Debug)]
pub(super) struct StagedFile {
    /// Path in the staging folder.
    pub(super) path: String,
    /// What it holds.
    pub(super) digest: Digest,
    /// How much of it.
    pub(super) size: u64,
}

impl Staged {
    /// Repository of the image under the public name.
    pub(super) fn repository(&self) -> String {
        format!("{BELOW}/{}", self.image_name)
    }

    /// Public name of the image.
    pub(super) fn public_image(&self) -> String {
        format!("{}:{}", self.repository(), self.tag)
    }

    /// Public name of a release file.
    pub(super) fn public_file(&self, file: &StagedFile) -> String {
        format!("binaries/{BELOW}/{}", file.path)
    }
}

/// The staging registry's content: the bytes, and what they mean.
pub(super) struct StagedRegistry {
    /// An OCI image layout on disk.
    pub(super) store: DirectoryStore,
    /// Names and objects of it.
    pub(super) catalog: Catalog,
}

/// Fills `dir/files` and `dir/registry`. Blocks: reads the program once, and
/// hashes each of its two forms once.
pub(super) fn stage(dir: &Path) -> Result<(Staged, StagedRegistry), Failure> {
    let tag = format!("v{}", env!("CARGO_PKG_VERSION"));
    let program = std::env::current_exe()
        .map_err(|error| Failure::failed("cannot find the running program", &error))?;
    let registry = dir.join("registry");
    let cannot = |what: &Path| {
        let what = format!("cannot stage {}", what.display());
        move |error: std::io::Error| Failure::failed(&what, &error)
    };
    let store = DirectoryStore::open(&registry)
        .map_err(|error| Failure::failed("cannot make the staging registry", &error))?;
    let layer_file = dir.join("layer.tar");
    let read = read_program(&program, &layer_file).map_err(cannot(&program))?;
    let layer = Descriptor {
        media_type: media_type(LAYER)?,
        digest: read.layer,
        size: read.layer_size,
    };
    let blob = registry.join("blobs/sha256").join(layer.digest.to_hex());
    fs::rename(&layer_file, &blob).map_err(cannot(&blob))?;

    let path = format!("{tag}/landfall-{}-{}", std::env::consts::OS, architecture());
    let file = dir.join("files").join(&path);
    fs::create_dir_all(file.parent().unwrap_or(dir)).map_err(cannot(&file))?;
    fs::hard_link(&program, &file)
        // Another file system.
        .or_else(|_| fs::copy(&program, &file).map(drop))
        .map_err(cannot(&file))?;
    let checksum = format!("{}\n", read.program.to_hex());
    let checksum_path = format!("{path}.sha256");
    let checksum_file = dir.join("files").join(&checksum_path);
    fs::write(&checksum_file, &checksum).map_err(cannot(&checksum_file))?;

    let image_name = "landfall".to_owned();
    let image = image::build(&store, &layer)?;
    let catalog = image.catalog(&format!("{}/{image_name}", super::manifests::PROJECT), &tag)?;
    let staged = Staged {
        tag,
        image_name,
        index: image.index.digest,
        signature: image.signature.digest,
        program: StagedFile {
            path,
            digest: read.program,
            size: read.program_size,
        },
        checksum: StagedFile {
            path: checksum_path,
            digest: Digest::of(checksum.as_bytes()),
            size: checksum.len() as u64,
        },
    };
    Ok((staged, StagedRegistry { store, catalog }))
}

/// A media type that is written here.
pub(super) fn media_type(text: &str) -> Result<MediaType, Failure> {
    MediaType::try_new(text).map_err(|error| Failure::failed("cannot make the image", &error))
}

/// This machine's, as Go and so OCI name it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The program in both its forms.
struct ReadProgram {
    program: Digest,
    program_size: u64,
    layer: Digest,
    layer_size: u64,
}

/// Reads the program once and writes the image layer that holds it.
fn read_program(program: &Path, layer_file: &Path) -> std::io::Result<ReadProgram> {
    let mut source = File::open(program)?;
    let expected = source.metadata()?.len();
    let header = tar::header("usr/local/bin/landfall", 0o755, expected)
        .ok_or_else(|| std::io::Error::other("the program does not fit a tar archive"))?;
    let mut layer = HashedFile {
        file: File::create(layer_file)?,
        hasher: Hasher::new(),
        size: 0,
    };
    layer.write(&header)?;
    let mut hasher = Hasher::new();
    let mut program_size = 0;
    let mut buffer = vec![0; READ_SIZE];
    loop {
        let read = source.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
        layer.write(&buffer[..read])?;
        program_size += read as u64;
    }
    if program_size != expected {
        return Err(std::io::Error::other("it changed while it was read"));
    }
    layer.write(tar::padding(program_size))?;
    layer.write(&tar::END)?;
    Ok(ReadProgram {
        program: hasher.finish(),
        program_size,
        layer: layer.hasher.finish(),
        layer_size: layer.size,
    })
}

/// A file that is hashed as it is written.
struct HashedFile {
    file: File,
    hasher: Hasher,
    size: u64,
}

impl HashedFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }
}
