//! What is not what its name says, kept in `.landfall/aside/<hex>`.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use landfall_catalog::{Digest, FilePath};

use super::{DirectoryStore, durable};
use crate::store::StoreError;
use crate::store::aside::Shown;

impl DirectoryStore {
    /// Moves whatever lies where the object should be out of sight, over what an
    /// earlier call kept; false if nothing does.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    pub fn set_aside(&self, digest: &Digest) -> Result<bool, StoreError> {
        let seen = self.blob_path(digest);
        if fs::symlink_metadata(&seen).is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            return Ok(false);
        }
        durable::create_folders(&self.inner.root, Path::new(".landfall/aside"))?;
        durable::rename(&seen, &self.aside_path(digest))?;
        durable::sync_folder_of(&seen)?;
        Ok(true)
    }

    /// Removes what [`Self::set_aside`] kept.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    pub fn forget_aside(&self, digest: &Digest) -> Result<(), StoreError> {
        durable::remove(&self.aside_path(digest)).map(drop)
    }

    /// What lies at `path`: the object `expected`, or something else.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    pub(in crate::store) fn shown(
        &self,
        path: &FilePath,
        expected: &Digest,
    ) -> Result<Shown, StoreError> {
        let file = self.inner.root.join(path.as_str());
        let identity = |path: &Path| match fs::symlink_metadata(path) {
            Ok(found) => Ok(Some((found.dev(), found.ino()))),
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                Ok(None)
            }
            Err(error) => Err(StoreError::io("examine", path)(error)),
        };
        let Some(found) = identity(&file)? else {
            return Ok(Shown::Nothing);
        };
        let is_object = identity(&self.blob_path(expected))? == Some(found);
        Ok(if is_object {
            Shown::Object(*expected)
        } else {
            Shown::Other
        })
    }

    fn aside_path(&self, digest: &Digest) -> PathBuf {
        let below = Path::new(".landfall/aside").join(digest.to_hex());
        self.inner.root.join(below)
    }
}
