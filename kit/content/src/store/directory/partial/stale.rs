//! Partial files that nobody goes on with.

use std::fs::{self, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use landfall_catalog::Digest;

use super::super::{DirectoryStore, durable};
use crate::store::StoreError;

impl DirectoryStore {
    /// Throws away partial files that nobody writes, here or in another process,
    /// and that nobody has written to since `before` (POSIX seconds). What is
    /// needed again is fetched from its beginning. Gives what they were of.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    pub fn discard_stale(&self, before: u64) -> Result<Vec<Digest>, StoreError> {
        let mut discarded = Vec::new();
        for (digest, _) in self.partials()? {
            let Some(_claim) = self.inner.claims.try_take(&digest) else {
                continue;
            };
            if discard(&self.partial_path(&digest), before)? {
                discarded.push(digest);
            }
        }
        Ok(discarded)
    }
}

/// Removes a partial file that is old and locked by nobody.
fn discard(path: &Path, before: u64) -> Result<bool, StoreError> {
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(StoreError::io("open", path)(error)),
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(false),
        Err(TryLockError::Error(source)) => return Err(StoreError::io("lock", path)(source)),
    }
    let locked = file.metadata().map_err(StoreError::io("examine", path))?;
    let is_old = u64::try_from(locked.mtime()).is_ok_and(|written| written < before);
    // It may have been completed while the lock was waited for: the name is
    // somebody else's then.
    let is_named = fs::symlink_metadata(path)
        .is_ok_and(|named| (named.dev(), named.ino()) == (locked.dev(), locked.ino()));
    if is_old && is_named {
        durable::remove(path)
    } else {
        Ok(false)
    }
}
