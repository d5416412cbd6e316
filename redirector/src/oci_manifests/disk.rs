//! Bounded disk: one file a manifest, named by its digest, hashed whenever it is read.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use landfall_catalog::Digest;

use super::{MAX_MANIFEST_BYTES, lock};

/// A folder of files, and their order of arrival. Clones share it.
#[derive(Clone)]
pub(super) struct Disk(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    limit: u64,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    oldest_first: VecDeque<(Digest, u64)>,
    bytes: u64,
}

impl Disk {
    /// Opens the folder; files in it that are no manifests of ours are removed.
    pub(super) fn open(folder: &Path, limit: u64) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let mut files = Vec::new();
        for file in std::fs::read_dir(folder)? {
            let file = file?;
            let metadata = file.metadata()?;
            let digest = file
                .file_name()
                .to_str()
                .and_then(|name| Digest::from_hex(name).ok());
            match digest {
                Some(digest) if metadata.is_file() => {
                    files.push((metadata.modified()?, digest, metadata.len()));
                }
                _ if metadata.is_file() => std::fs::remove_file(file.path())?,
                _ => {}
            }
        }
        files.sort_unstable();
        let held = Held {
            bytes: files.iter().map(|(_, _, size)| size).sum(),
            oldest_first: files
                .into_iter()
                .map(|(_, digest, size)| (digest, size))
                .collect(),
        };
        Ok(Self(Arc::new(Inner {
            folder: folder.to_owned(),
            limit,
            held: Mutex::new(held),
        })))
    }

    /// The bytes, if they are there and are what their name says. A file that is not is removed.
    pub(super) async fn read(&self, digest: Digest) -> Option<Bytes> {
        let inner = Arc::clone(&self.0);
        let read = tokio::task::spawn_blocking(move || inner.read(digest));
        read.await.ok().flatten()
    }

    /// Keeps the bytes. A disk that fails costs a fetch later, so it is only logged.
    pub(super) async fn write(&self, digest: Digest, bytes: Bytes) {
        let inner = Arc::clone(&self.0);
        let written = tokio::task::spawn_blocking(move || inner.write(digest, &bytes)).await;
        if let Ok(Err(fault)) = written {
            tracing::warn!(%digest, error = %fault, "an OCI manifest could not be kept on disk");
        }
    }
}

impl Inner {
    fn path(&self, digest: Digest) -> PathBuf {
        self.folder.join(digest.to_hex())
    }

    fn read(&self, digest: Digest) -> Option<Bytes> {
        let path = self.path(digest);
        let size = std::fs::metadata(&path).ok()?.len();
        let bytes = (size <= MAX_MANIFEST_BYTES)
            .then(|| std::fs::read(&path).ok())
            .flatten()?;
        if Digest::of(&bytes) == digest {
            return Some(bytes.into());
        }
        tracing::warn!(%digest, "an OCI manifest on disk has other bytes; it is fetched again");
        self.forget(digest, size);
        None
    }

    fn forget(&self, digest: Digest, size: u64) {
        // Gone or not, it is replaced by the next write.
        let _ = std::fs::remove_file(self.path(digest));
        let mut held = lock(&self.held);
        if let Some(at) = held
            .oldest_first
            .iter()
            .position(|(held, _)| *held == digest)
        {
            held.oldest_first.remove(at);
            held.bytes = held.bytes.saturating_sub(size);
        }
    }

    /// Not fsynced: a file that a power cut tore is found by its hash.
    fn write(&self, digest: Digest, bytes: &[u8]) -> io::Result<()> {
        let partial = self.folder.join(format!("{}.partial", digest.to_hex()));
        std::fs::write(&partial, bytes)?;
        std::fs::rename(&partial, self.path(digest))?;
        let mut held = lock(&self.held);
        held.oldest_first.push_back((digest, bytes.len() as u64));
        held.bytes += bytes.len() as u64;
        while held.bytes > self.limit {
            let Some((oldest, size)) = held.oldest_first.pop_front() else {
                break;
            };
            held.bytes = held.bytes.saturating_sub(size);
            std::fs::remove_file(self.path(oldest))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_stays_below_its_limit_across_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let files = || std::fs::read_dir(folder.path()).unwrap().count();
        std::fs::write(folder.path().join("left.partial"), b"torn").unwrap();
        let disk = Disk::open(folder.path(), 1000).unwrap();
        assert_eq!(files(), 0);
        for number in 0_u32..50 {
            let bytes = number.to_be_bytes().repeat(25);
            disk.0.write(Digest::of(&bytes), &bytes).unwrap();
        }
        assert_eq!(files(), 10);
        let disk = Disk::open(folder.path(), 500).unwrap();
        let bytes = [7; 100];
        disk.0.write(Digest::of(&bytes), &bytes).unwrap();
        assert_eq!(files(), 5);
        assert_eq!(disk.0.read(Digest::of(&bytes)).unwrap(), &bytes[..]);
    }
}
