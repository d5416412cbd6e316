//! What is promoted in the tests: images built here and pushed by skopeo, files
//! from Debian, manifests in the Kubernetes formats.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use landfall_catalog::Digest;
use serde_json::{Value, json};

use super::ok;

/// An OCI layout on disk that is being written.
#[derive(Debug)]
pub(crate) struct Layout {
    dir: PathBuf,
}

/// A descriptor: media type, digest, size.
pub(crate) type Descriptor = Value;

impl Layout {
    pub(crate) fn new(dir: &Path) -> Self {
        fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
        fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self { dir: dir.into() }
    }

    fn blob(&self, media_type: &str, bytes: &[u8]) -> Descriptor {
        let digest = Digest::of(bytes);
        fs::write(self.dir.join("blobs/sha256").join(digest.to_hex()), bytes).unwrap();
        json!({"mediaType": media_type, "digest": digest.to_string(), "size": bytes.len()})
    }

    /// One platform's image of as many layers as sizes are given, each holding
    /// one file of that many bytes that never repeat between images.
    pub(crate) fn image(&self, architecture: &str, seed: u64, layers: &[usize]) -> Descriptor {
        let mut descriptors = Vec::new();
        let mut diff_ids = Vec::new();
        for (index, &size) in layers.iter().enumerate() {
            let work = self.dir.join("work");
            fs::create_dir_all(&work).unwrap();
            let file = format!("data-{architecture}-{seed}-{index}");
            fs::write(work.join(&file), noise(seed * 1000 + index as u64, size)).unwrap();
            let tar = self.dir.join("layer.tar");
            ok(Command::new("tar")
                .args(["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "-cf"])
                .arg(&tar)
                .arg("-C")
                .arg(&work)
                .arg(&file));
            fs::remove_dir_all(&work).unwrap();
            let bytes = fs::read(&tar).unwrap();
            fs::remove_file(&tar).unwrap();
            diff_ids.push(Digest::of(&bytes).to_string());
            descriptors.push(self.blob("application/vnd.oci.image.layer.v1.tar", &bytes));
        }
        let config = json!({
            "architecture": architecture, "os": "linux", "config": {"Cmd": ["/bin/true"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = self.blob(
            "application/vnd.oci.image.config.v1+json",
            &serde_json::to_vec(&config).unwrap(),
        );
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config, "layers": descriptors,
        });
        let mut descriptor = self.blob(
            "application/vnd.oci.image.manifest.v1+json",
            &serde_json::to_vec(&manifest).unwrap(),
        );
        descriptor["platform"] = json!({"architecture": architecture, "os": "linux"});
        descriptor
    }

    /// An index over images.
    pub(crate) fn index(&self, images: &[Descriptor]) -> Descriptor {
        let index = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": images,
        });
        self.blob(
            "application/vnd.oci.image.index.v1+json",
            &serde_json::to_vec(&index).unwrap(),
        )
    }

    /// An artifact that refers to `subject`, with one small blob.
    pub(crate) fn artifact(
        &self,
        subject: &Descriptor,
        artifact_type: &str,
        content: &[u8],
    ) -> Descriptor {
        let empty = self.blob("application/vnd.oci.empty.v1+json", b"{}");
        let content = self.blob("application/octet-stream", content);
        let subject = json!({
            "mediaType": subject["mediaType"], "digest": subject["digest"], "size": subject["size"],
        });
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "artifactType": artifact_type, "config": empty, "layers": [content],
            "subject": subject,
        });
        let mut descriptor = self.blob(
            "application/vnd.oci.image.manifest.v1+json",
            &serde_json::to_vec(&manifest).unwrap(),
        );
        descriptor["artifactType"] = artifact_type.into();
        descriptor
    }

    /// What `cosign sign` keeps under an image's tag: a payload that says which
    /// image it is, and a signature beside it (cosign's `SIGNATURE_SPEC.md`).
    pub(crate) fn cosign_signature(&self, image: &Descriptor) -> Descriptor {
        let payload = json!({
            "critical": {
                "identity": {"docker-reference": "staging.example.org/app"},
                "image": {"docker-manifest-digest": image["digest"]},
                "type": "cosign container image signature",
            },
            "optional": null,
        });
        let mut payload = self.blob(
            "application/vnd.dev.cosign.simplesigning.v1+json",
            &serde_json::to_vec(&payload).unwrap(),
        );
        let diff_id = payload["digest"].clone();
        // Nobody's key made it; what matters is that it travels along.
        payload["annotations"] = json!({"dev.cosignproject.cosign/signature": "MEUCIQ=="});
        let config = json!({
            "architecture": "", "os": "", "config": {},
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        });
        let config = self.blob(
            "application/vnd.oci.image.config.v1+json",
            &serde_json::to_vec(&config).unwrap(),
        );
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config, "layers": [payload],
        });
        self.blob(
            "application/vnd.oci.image.manifest.v1+json",
            &serde_json::to_vec(&manifest).unwrap(),
        )
    }

    /// The digests of an image's layers.
    pub(crate) fn layers(&self, image: &Descriptor) -> Vec<String> {
        let hex = image["digest"].as_str().unwrap();
        let hex = hex.trim_start_matches("sha256:");
        let manifest = fs::read(self.dir.join("blobs/sha256").join(hex)).unwrap();
        let manifest: Value = serde_json::from_slice(&manifest).unwrap();
        let layers = manifest["layers"].as_array().unwrap().iter();
        layers
            .map(|layer| layer["digest"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Bytes of an image's config and of its layers.
    pub(crate) fn blob_bytes(&self, image: &Descriptor) -> BlobBytes {
        let hex = image["digest"]
            .as_str()
            .unwrap()
            .trim_start_matches("sha256:");
        let manifest = fs::read(self.dir.join("blobs/sha256").join(hex)).unwrap();
        let manifest: Value = serde_json::from_slice(&manifest).unwrap();
        let size = |blob: &Value| blob["size"].as_u64().unwrap();
        BlobBytes {
            config: size(&manifest["config"]),
            layers: manifest["layers"]
                .as_array()
                .unwrap()
                .iter()
                .map(size)
                .sum(),
        }
    }

    /// PUTs one manifest or index as it is, to `host/repository:tag`; what it
    /// lists has to be there. (skopeo rewrites an index that lists artifacts.)
    #[track_caller]
    pub(crate) fn put(&self, manifest: &Descriptor, to: &str) {
        let hex = manifest["digest"]
            .as_str()
            .unwrap()
            .trim_start_matches("sha256:");
        let (repository, tag) = to.rsplit_once(':').unwrap();
        let (host, repository) = repository.split_once('/').unwrap();
        ok(Command::new("curl")
            .args(["-sSf", "-X", "PUT", "-H"])
            .arg(format!(
                "Content-Type: {}",
                manifest["mediaType"].as_str().unwrap()
            ))
            .arg("--data-binary")
            .arg(format!(
                "@{}",
                self.dir.join("blobs/sha256").join(hex).display()
            ))
            .arg(format!("http://{host}/v2/{repository}/manifests/{tag}")));
    }

    /// Pushes a root with all that it holds to `host/repository:tag` by skopeo,
    /// byte for byte; returns its digest.
    #[track_caller]
    pub(crate) fn push(&self, root: &Descriptor, to: &str) -> String {
        let mut root = root.clone();
        root["annotations"] = json!({"org.opencontainers.image.ref.name": "push"});
        fs::write(
            self.dir.join("index.json"),
            serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": [root]})).unwrap(),
        )
        .unwrap();
        ok(Command::new("skopeo")
            .args([
                "copy",
                "--all",
                "--preserve-digests",
                "--dest-tls-verify=false",
            ])
            .arg(format!("oci:{}:push", self.dir.display()))
            .arg(format!("docker://{to}")));
        root["digest"].as_str().unwrap().to_owned()
    }
}

/// Bytes of an image's blobs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlobBytes {
    pub(crate) config: u64,
    pub(crate) layers: u64,
}

/// Bytes that look random and are the same for the same seed.
pub(crate) fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size + 32);
    let mut counter = 0_u64;
    let mut block = [0; 32];
    while bytes.len() < size {
        // One hash seeds 4 KiB by a xorshift: fast enough for big files in debug builds.
        let mut input = seed.to_le_bytes().to_vec();
        input.extend(counter.to_le_bytes());
        counter += 1;
        block.copy_from_slice(Digest::of(&input).as_bytes());
        let mut state = u64::from_le_bytes(block[..8].try_into().unwrap()) | 1;
        for _ in 0..512 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend(state.to_le_bytes());
        }
    }
    bytes.truncate(size);
    bytes
}

/// The manifests of one project, images and files, in a folder of their own.
#[derive(Debug)]
pub(crate) struct Manifests {
    /// The folder that `landfall promote` is given.
    pub(crate) dir: PathBuf,
    images: String,
    files: String,
}

/// Project of all tests.
pub(crate) const PROJECT: &str = "k8s-staging-test";

impl Manifests {
    pub(crate) fn new(dir: &Path) -> Self {
        let images = dir.join("registry.k8s.io");
        let files = dir.join("artifacts");
        fs::create_dir_all(images.join("manifests").join(PROJECT)).unwrap();
        fs::create_dir_all(images.join("images").join(PROJECT)).unwrap();
        fs::create_dir_all(files.join("filestores").join(PROJECT)).unwrap();
        fs::create_dir_all(files.join("manifests").join(PROJECT)).unwrap();
        fs::write(
            images
                .join("manifests")
                .join(PROJECT)
                .join("promoter-manifest.yaml"),
            format!(
                "registries:\n- name: gcr.io/{PROJECT}\n  src: true\n\
                 - name: us-central1-docker.pkg.dev/k8s-artifacts-prod/images/test\n\
                 - name: europe-west1-docker.pkg.dev/k8s-artifacts-prod/images/test\n"
            ),
        )
        .unwrap();
        fs::write(
            files
                .join("filestores")
                .join(PROJECT)
                .join("filepromoter-manifest.yaml"),
            format!(
                "filestores:\n- base: gs://{PROJECT}/releases/\n  src: true\n\
                 - base: gs://k8s-artifacts-prod/binaries/test/\n"
            ),
        )
        .unwrap();
        let mut manifests = Self {
            dir: dir.into(),
            images: String::new(),
            files: String::new(),
        };
        manifests.write();
        manifests
    }

    /// `name` within the project, promoted as `test/{name}:{tag}`.
    pub(crate) fn image(&mut self, name: &str, digest: &str, tag: &str) {
        self.images.push_str(&format!(
            "- name: {name}\n  dmap:\n    \"{digest}\": [\"{tag}\"]\n"
        ));
        self.write();
    }

    /// A path in the staging folder, promoted as `binaries/test/{path}`.
    pub(crate) fn file(&mut self, path: &str, digest: &str) {
        let hex = digest.trim_start_matches("sha256:");
        self.files
            .push_str(&format!("- name: {path}\n  sha256: {hex}\n"));
        self.write();
    }

    /// Takes a path that was given to [`Self::file`] out again.
    pub(crate) fn without_file(&mut self, path: &str) {
        let start = self
            .files
            .find(&format!("- name: {path}\n"))
            .expect("no such file in the manifests");
        let end = self.files[start + 1..]
            .find("- name: ")
            .map_or(self.files.len(), |next| start + 1 + next);
        self.files.replace_range(start..end, "");
        self.write();
    }

    fn write(&mut self) {
        let images = self.dir.join("registry.k8s.io/images").join(PROJECT);
        let list = if self.images.is_empty() {
            "[]\n"
        } else {
            &self.images
        };
        fs::write(images.join("images.yaml"), list).unwrap();
        let files = self.dir.join("artifacts/manifests").join(PROJECT);
        if !self.files.is_empty() {
            fs::write(files.join("files.yaml"), format!("files:\n{}", self.files)).unwrap();
        }
    }
}
