//! The bytes of OCI manifests, verified: memory before disk before the mirrors.
//!
//! A manifest answer is the one thing that a redirector serves itself, so that a tag means the same at every
//! mirror. What is handed out has the SHA-256 that the catalog names: bytes from the network and from the
//! disk are hashed alike, and a mirror or a disk that lies costs a try, never a wrong answer. Many waiters
//! for one manifest share one fetch. Memory and disk are bounded; the oldest goes first.

mod disk;
mod memory;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use landfall_catalog::Digest;
use thiserror::Error;

use self::disk::Disk;
use self::memory::Memory;

/// Largest OCI manifest that is taken, in bytes: the least that the OCI distribution specification wants a
/// registry to accept.
pub const MAX_MANIFEST_BYTES: u64 = 4 << 20;
/// What is kept in memory, in bytes.
const MEMORY_BYTES: usize = 64 << 20;
/// What is kept on disk, in bytes.
const DISK_BYTES: u64 = 1 << 30;
/// How long one source may take for one manifest.
const SOURCE_TIMEOUT: Duration = Duration::from_secs(5);

/// A manifest could not be had now. Trying later may help.
#[derive(Clone, Debug, Error)]
#[error("no source has the OCI manifest {digest}: {}", faults.join("; "))]
pub struct ManifestUnavailable {
    digest: Digest,
    faults: Vec<String>,
}

/// What is wanted: digest and size by the catalog, and where to ask, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedManifest {
    /// SHA-256 of the bytes.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
    /// URLs that may have them.
    pub sources: Vec<String>,
}

type Fetch = BoxFuture<'static, Result<Bytes, ManifestUnavailable>>;

/// The cache. Clones share it.
#[derive(Clone)]
pub struct Manifests(Arc<Inner>);

struct Inner {
    http: reqwest::Client,
    disk: Disk,
    memory: Mutex<Memory>,
    in_flight: Mutex<HashMap<Digest, WeakShared<Fetch>>>,
}

impl Manifests {
    /// Opens the cache below `folder`, which is made if it is not there. Blocks on the disk.
    ///
    /// # Errors
    /// If the folder cannot be made or read.
    pub fn open(folder: &Path, http: reqwest::Client) -> std::io::Result<Self> {
        Ok(Self(Arc::new(Inner {
            http,
            disk: Disk::open(folder, DISK_BYTES)?,
            memory: Mutex::new(Memory::new(MEMORY_BYTES)),
            in_flight: Mutex::default(),
        })))
    }

    /// The bytes if they are in memory.
    #[must_use]
    pub fn cached(&self, digest: &Digest) -> Option<Bytes> {
        lock(&self.0.memory).get(digest)
    }

    /// The bytes, from wherever they can be had.
    ///
    /// # Errors
    /// [`ManifestUnavailable`] when neither the disk nor any source has them.
    pub async fn get(&self, wanted: WantedManifest) -> Result<Bytes, ManifestUnavailable> {
        if let Some(bytes) = self.cached(&wanted.digest) {
            return Ok(bytes);
        }
        self.join(wanted).await
    }

    /// Joins the fetch that is under way, or starts one.
    fn join(&self, wanted: WantedManifest) -> Shared<Fetch> {
        let mut in_flight = lock(&self.0.in_flight);
        if let Some(fetch) = in_flight.get(&wanted.digest).and_then(WeakShared::upgrade) {
            return fetch;
        }
        let inner = Arc::clone(&self.0);
        let digest = wanted.digest;
        let fetch = async move {
            let outcome = inner.obtain(wanted).await;
            lock(&inner.in_flight).remove(&digest);
            outcome
        }
        .boxed()
        .shared();
        if let Some(weak) = fetch.downgrade() {
            in_flight.retain(|_, fetch| fetch.upgrade().is_some());
            in_flight.insert(digest, weak);
        }
        fetch
    }
}

impl Inner {
    async fn obtain(&self, wanted: WantedManifest) -> Result<Bytes, ManifestUnavailable> {
        let digest = wanted.digest;
        if let Some(bytes) = self.disk.read(digest).await {
            lock(&self.memory).insert(digest, bytes.clone());
            return Ok(bytes);
        }
        let mut faults = Vec::new();
        for source in &wanted.sources {
            match tokio::time::timeout(SOURCE_TIMEOUT, self.fetch(source, &wanted)).await {
                Ok(Ok(bytes)) => {
                    lock(&self.memory).insert(digest, bytes.clone());
                    self.disk.write(digest, bytes.clone()).await;
                    return Ok(bytes);
                }
                Ok(Err(fault)) => faults.push(format!("{source}: {fault}")),
                Err(_elapsed) => faults.push(format!("{source}: no answer in time")),
            }
        }
        Err(ManifestUnavailable { digest, faults })
    }

    async fn fetch(&self, source: &str, wanted: &WantedManifest) -> Result<Bytes, String> {
        if wanted.size > MAX_MANIFEST_BYTES {
            return Err(format!(
                "{} bytes are more than a manifest may have",
                wanted.size
            ));
        }
        let mut answer = self
            .http
            .get(source)
            .send()
            .await
            .map_err(|fault| fault.without_url().to_string())?;
        if answer.status() != http::StatusCode::OK {
            return Err(format!("status {}", answer.status().as_u16()));
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = answer
            .chunk()
            .await
            .map_err(|fault| fault.without_url().to_string())?
        {
            if (bytes.len() + chunk.len()) as u64 > wanted.size {
                return Err("more bytes than the catalog says".to_owned());
            }
            bytes.extend_from_slice(&chunk);
        }
        if Digest::of(&bytes) != wanted.digest {
            return Err("other bytes than the catalog says".to_owned());
        }
        Ok(bytes.into())
    }
}

/// A panic while a lock was held leaves nothing half done here: every critical section is one operation.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wiremock::matchers::path;
    use wiremock::{Mock, MockServer, ResponseTemplate};

    const BYTES: &[u8] = br#"{"schemaVersion":2}"#;

    fn wanted(sources: &[&MockServer]) -> WantedManifest {
        WantedManifest {
            digest: Digest::of(BYTES),
            size: BYTES.len() as u64,
            sources: sources
                .iter()
                .map(|server| format!("{}/m", server.uri()))
                .collect(),
        }
    }

    async fn server(body: &[u8], expect: u64) -> MockServer {
        landfall_runtime::install_crypto();
        let server = MockServer::start().await;
        Mock::given(path("/m"))
            .respond_with(
                ResponseTemplate::new(200)
                    .set_body_bytes(body)
                    .set_delay(Duration::from_millis(20)),
            )
            .expect(expect)
            .mount(&server)
            .await;
        server
    }

    #[tokio::test]
    async fn many_waiters_share_one_fetch() {
        let source = server(BYTES, 1).await;
        let folder = tempfile::tempdir().unwrap();
        let cache = Manifests::open(folder.path(), reqwest::Client::new()).unwrap();
        let waiters = (0..50).map(|_| cache.get(wanted(&[&source])));
        for got in futures::future::join_all(waiters).await {
            assert_eq!(got.unwrap(), BYTES);
        }
        assert!(cache.cached(&Digest::of(BYTES)).is_some());
    }

    #[tokio::test]
    async fn wrong_bytes_are_never_handed_out_and_the_next_source_is_asked() {
        let too_long = server(br#"{"schemaVersion":2}, and more"#, 1).await;
        let forged = server(br#"{"schemaVersion":3}"#, 1).await;
        let good = server(BYTES, 1).await;
        let folder = tempfile::tempdir().unwrap();
        let cache = Manifests::open(folder.path(), reqwest::Client::new()).unwrap();
        let got = cache.get(wanted(&[&too_long, &forged, &good])).await;
        assert_eq!(got.unwrap(), BYTES);
    }

    #[tokio::test]
    async fn the_disk_survives_a_restart_and_is_not_believed() {
        let source = server(BYTES, 2).await;
        let folder = tempfile::tempdir().unwrap();
        let open = || Manifests::open(folder.path(), reqwest::Client::new()).unwrap();
        open().get(wanted(&[&source])).await.unwrap();
        // From the disk: no source is needed.
        assert_eq!(open().get(wanted(&[])).await.unwrap(), BYTES);
        let file = folder.path().join(Digest::of(BYTES).to_hex());
        std::fs::write(&file, br#"{"schemaVersion":9}"#).unwrap();
        assert!(open().get(wanted(&[])).await.is_err());
        assert_eq!(open().get(wanted(&[&source])).await.unwrap(), BYTES);
        assert_eq!(std::fs::read(&file).unwrap(), BYTES);
    }
}
