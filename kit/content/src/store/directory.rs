//! The directory store: an OCI image layout that also has files at their
//! natural paths, so that nginx, rsync and `skopeo oci:` can use it as it is.
//!
//! ```text
//! oci-layout, index.json          the layout; refs are `<repository>:<tag>` or `<repository>@<digest>`
//! blobs/sha256/<hex>              every object, read-only
//! <path>                          published files, hard links to blobs
//! .landfall/partial/<hex>         transfers under way: each file is its own journal
//! .landfall/pieces/<hex>          piece lists, by the hex digest of the object
//! .landfall/aside/<hex>           what was not what its name said, out of sight
//! .landfall/tmp/                  names in the making; emptied when nobody has the store open
//! .landfall/{lock,names.lock}     advisory locks
//! .landfall/log                   whose store it is; of an origin only
//! ```
//!
//! Commit is durable before anybody is told: write under another name, fsync,
//! rename, fsync the folder. All methods block; call them from a blocking
//! thread, or through [`DirectoryStore::run`].

mod aside;
mod blobs;
pub(super) mod durable;
mod lane;
mod names;
mod partial;

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use landfall_catalog::Digest;

use super::StoreError;
use super::claim::Claims;
pub(crate) use names::Index;
pub use names::{NamesBatch, NamesReport};
pub use partial::{PartialWriter, WriterOptions};

/// Content of `oci-layout` (OCI image layout specification 1.0).
const OCI_LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
const EMPTY_INDEX: &str =
    r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;

/// A store in a folder. Cloning gives another handle to the same.
#[derive(Clone, Debug)]
pub struct DirectoryStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    /// Held shared while any handle lives, in this process or another.
    _lock: File,
    claims: Claims,
    unique: AtomicU64,
}

impl DirectoryStore {
    /// Opens the store at `root`, creating what is missing. Files that were
    /// in the making when everybody who had it open was killed are removed;
    /// partial transfers stay.
    ///
    /// # Errors
    ///
    /// [`StoreError::Layout`] if the folder is an OCI layout of another
    /// version, [`StoreError::Io`] if it cannot be created.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        for folder in [
            "blobs/sha256",
            ".landfall/partial",
            ".landfall/pieces",
            ".landfall/tmp",
        ] {
            durable::create_folders(root, Path::new(folder))?;
        }
        let lock_path = root.join(".landfall/lock");
        let lock = durable::open_lock(&lock_path)?;
        let alone = match lock.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => false,
            Err(TryLockError::Error(source)) => {
                return Err(StoreError::io("lock", &lock_path)(source));
            }
        };
        if alone {
            remove_strangers(&root.join(".landfall/tmp"))?;
        }
        lock.lock_shared()
            .map_err(StoreError::io("lock", &lock_path))?;

        let store = Self {
            inner: Arc::new(Inner {
                root: root.to_owned(),
                _lock: lock,
                claims: Claims::default(),
                unique: AtomicU64::new(0),
            }),
        };
        store.create_or_check("oci-layout", OCI_LAYOUT, check_layout)?;
        store.create_or_check("index.json", EMPTY_INDEX, |_| Ok(()))?;
        Ok(store)
    }

    /// The folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// Does `work` on a blocking thread.
    ///
    /// # Errors
    ///
    /// What `work` returns; [`StoreError::Cancelled`] if the runtime is
    /// shutting down.
    pub async fn run<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Self) -> Result<T, StoreError> + Send + 'static,
    {
        let store = self.clone();
        tokio::task::spawn_blocking(move || work(&store))
            .await
            .unwrap_or(Err(StoreError::Cancelled))
    }

    fn create_or_check(
        &self,
        name: &str,
        content: &str,
        check: impl FnOnce(&[u8]) -> Result<(), String>,
    ) -> Result<(), StoreError> {
        let path = self.inner.root.join(name);
        match fs::read(&path) {
            Ok(found) => check(&found).map_err(|why| StoreError::Layout { path, why }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => durable::replace(
                &self.temporary(),
                &path,
                content.as_bytes(),
                durable::WRITABLE,
            ),
            Err(error) => Err(StoreError::io("read", &path)(error)),
        }
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.inner.root.join("blobs/sha256").join(digest.to_hex())
    }

    fn partial_path(&self, digest: &Digest) -> PathBuf {
        self.inner
            .root
            .join(".landfall/partial")
            .join(digest.to_hex())
    }

    fn pieces_path(&self, digest: &Digest) -> PathBuf {
        self.inner
            .root
            .join(".landfall/pieces")
            .join(digest.to_hex())
    }

    /// A name in `.landfall/tmp` that nobody else uses.
    pub(super) fn temporary(&self) -> PathBuf {
        let number = self.inner.unique.fetch_add(1, Ordering::Relaxed);
        // The address tells handles of one process apart, the id processes.
        let name = format!(
            "{}-{:p}-{number}",
            std::process::id(),
            Arc::as_ptr(&self.inner)
        );
        self.inner.root.join(".landfall/tmp").join(name)
    }
}

fn remove_strangers(folder: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(folder).map_err(StoreError::io("list", folder))? {
        let path = entry.map_err(StoreError::io("list", folder))?.path();
        fs::remove_file(&path).map_err(StoreError::io("remove", &path))?;
    }
    Ok(())
}

fn check_layout(found: &[u8]) -> Result<(), String> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Layout {
        image_layout_version: String,
    }
    let layout: Layout = serde_json::from_slice(found).map_err(|error| error.to_string())?;
    if layout.image_layout_version == "1.0.0" {
        Ok(())
    } else {
        Err("not version 1.0.0 of the OCI image layout".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opening_makes_a_valid_layout_and_keeps_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = DirectoryStore::open(folder.path()).unwrap();
        assert_eq!(
            fs::read_to_string(folder.path().join("oci-layout")).unwrap(),
            OCI_LAYOUT
        );
        let digest = Digest::of(b"x");
        store.put_bytes(&digest, b"x").unwrap();
        drop(store);
        let store = DirectoryStore::open(folder.path()).unwrap();
        assert!(store.has(&digest, 1).unwrap());
    }

    #[test]
    fn a_layout_of_another_version_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(
            folder.path().join("oci-layout"),
            r#"{"imageLayoutVersion":"2.0.0"}"#,
        )
        .unwrap();
        let error = DirectoryStore::open(folder.path()).unwrap_err();
        assert!(matches!(error, StoreError::Layout { .. }), "{error}");
    }

    #[test]
    fn strangers_in_tmp_go_when_nobody_else_has_the_store_open() {
        let folder = tempfile::tempdir().unwrap();
        let first = DirectoryStore::open(folder.path()).unwrap();
        let stranger = folder.path().join(".landfall/tmp/1-x");
        let partial = folder.path().join(".landfall/partial/kept");
        fs::write(&stranger, "half").unwrap();
        fs::write(&partial, "half").unwrap();
        let second = DirectoryStore::open(folder.path()).unwrap();
        assert!(
            stranger.try_exists().unwrap(),
            "the first handle may be writing it"
        );
        drop((first, second));
        DirectoryStore::open(folder.path()).unwrap();
        assert!(!stranger.try_exists().unwrap());
        assert!(partial.try_exists().unwrap());
    }
}
