//! A real docker-registry that holds an image for each row of the manifests.
//!
//! Pushing twenty thousand images takes minutes and measures nothing of ours. So
//! the registry's own layout on disk is written: blobs by digest, and in each
//! repository a link to every blob, OCI manifest and tag that it has.

use std::collections::BTreeSet;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use landfall_catalog::Digest;
use serde_json::json;

use crate::Outcome;
use crate::requests::Requests;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// Bytes of a layer that is an image's own.
const OWN_LAYER: usize = 400;
/// Bytes of the layer that all images of a repository share.
const BASE_LAYER: usize = 4_000;

/// An image that was made.
pub(crate) struct Made {
    /// Of its OCI manifest.
    pub(crate) digest: Digest,
    /// Of its config and layers.
    pub(crate) blobs: Vec<Digest>,
}

/// The folder of a registry that is not running yet.
pub(crate) struct Layout {
    root: PathBuf,
    blobs: BTreeSet<Digest>,
    pub(crate) bytes: u64,
}

impl Layout {
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            root: dir.join("data/docker/registry/v2"),
            blobs: BTreeSet::new(),
            bytes: 0,
        }
    }

    /// Blobs in all repositories, each counted once.
    pub(crate) fn blobs(&self) -> usize {
        self.blobs.len()
    }

    /// Makes the image that stands for `row` and puts it into `repository`.
    pub(crate) fn image(&mut self, repository: &str, row: &Digest, tags: &[&str]) -> Outcome<Made> {
        let base = noise(&Digest::of(repository.as_bytes()), BASE_LAYER);
        let own = noise(row, OWN_LAYER);
        let config = json!({"architecture": "amd64", "os": "linux", "row": row.to_string(),
            "rootfs": {"type": "layers", "diff_ids": [Digest::of(&base), Digest::of(&own)]}});
        let mut blobs = Vec::new();
        let mut descriptors = Vec::new();
        for (media_type, bytes) in [
            (CONFIG, serde_json::to_vec(&config)?),
            (LAYER, base),
            (LAYER, own),
        ] {
            let digest = self.blob(&bytes)?;
            self.link(
                &format!("{repository}/_layers/sha256/{}", digest.to_hex()),
                &digest,
            )?;
            descriptors
                .push(json!({"mediaType": media_type, "digest": digest, "size": bytes.len()}));
            blobs.push(digest);
        }
        let layers = descriptors.split_off(1);
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST,
            "config": descriptors[0], "layers": layers});
        let digest = self.blob(&serde_json::to_vec(&manifest)?)?;
        let manifests = format!("{repository}/_manifests");
        self.link(
            &format!("{manifests}/revisions/sha256/{}", digest.to_hex()),
            &digest,
        )?;
        for tag in tags {
            self.link(&format!("{manifests}/tags/{tag}/current"), &digest)?;
            self.link(
                &format!("{manifests}/tags/{tag}/index/sha256/{}", digest.to_hex()),
                &digest,
            )?;
        }
        Ok(Made { digest, blobs })
    }

    /// Takes an image away from its repository, or puts it back.
    pub(crate) fn lose(&self, repository: &str, digest: &Digest, lost: bool) -> Outcome<()> {
        let at = format!(
            "{repository}/_manifests/revisions/sha256/{}",
            digest.to_hex()
        );
        if lost {
            Ok(fs::remove_dir_all(self.root.join("repositories").join(at))?)
        } else {
            self.link(&at, digest)
        }
    }

    fn blob(&mut self, bytes: &[u8]) -> Outcome<Digest> {
        let digest = Digest::of(bytes);
        if self.blobs.insert(digest) {
            let hex = digest.to_hex();
            let folder = self.root.join("blobs/sha256").join(&hex[..2]).join(&hex);
            fs::create_dir_all(&folder)?;
            fs::write(folder.join("data"), bytes)?;
            self.bytes += bytes.len() as u64;
        }
        Ok(digest)
    }

    fn link(&self, at: &str, digest: &Digest) -> Outcome<()> {
        let folder = self.root.join("repositories").join(at);
        fs::create_dir_all(&folder)?;
        Ok(fs::write(folder.join("link"), digest.to_string())?)
    }
}

/// Bytes that look random, the same for the same seed.
fn noise(seed: &Digest, size: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size + 32);
    let mut block = *seed;
    while bytes.len() < size {
        block = Digest::of(block.as_bytes());
        bytes.extend_from_slice(block.as_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// The registry as it runs; it ends with this value.
pub(crate) struct Registry {
    /// `http://127.0.0.1:port`.
    pub(crate) url: String,
    process: Child,
    log: PathBuf,
}

impl Registry {
    /// Starts it on the layout in `dir`.
    pub(crate) fn start(dir: &Path) -> Outcome<Self> {
        fs::create_dir_all(dir)?;
        let (config, log) = (dir.join("config.yml"), dir.join("access.log"));
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        fs::write(
            &config,
            format!(
                "version: 0.1\nlog: {{level: error, accesslog: {{disabled: false}}}}\nstorage: {{filesystem: {{rootdirectory: {}, maxthreads: 200}}}}\nhttp: {{addr: '{address}'}}\n",
                dir.join("data").display()
            ),
        )?;
        let process = Command::new("docker-registry")
            .args(["serve".as_ref(), config.as_os_str()])
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdout(fs::File::create(&log)?)
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("docker-registry cannot be started: {error}"))?;
        let mut registry = Self {
            url: format!("http://{address}"),
            process,
            log,
        };
        while TcpStream::connect(address).is_err() {
            if let Some(status) = registry.process.try_wait()? {
                return Err(format!("docker-registry ended with {status}").into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(registry)
    }

    /// Processor seconds so far.
    pub(crate) fn processor_seconds(&self) -> Outcome<f64> {
        crate::programs::processor_seconds(self.process.id())
    }

    /// Bytes of its access log so far.
    pub(crate) fn logged(&self) -> Outcome<u64> {
        Ok(fs::metadata(&self.log)?.len())
    }

    /// What it was asked between two lengths of its access log.
    pub(crate) fn requests(&self, from: u64, to: u64) -> Outcome<Requests> {
        Requests::read(&self.log, from, to)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
