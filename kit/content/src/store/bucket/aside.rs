//! What is not what its key says, kept as `.landfall/aside/<hex>`.

use std::sync::Arc;

use landfall_catalog::{Digest, FilePath};
use object_store::ObjectStoreExt as _;
use object_store::path::Path;

use super::{BucketStore, MOST_COPIED, remote};
use crate::source::{ObjectStoreSource, Source};
use crate::store::StoreError;

impl BucketStore {
    /// Moves whatever lies at the object's key out of sight, over what an earlier
    /// call kept; false if nothing does. What is too long to be copied by the
    /// provider is not kept.
    ///
    /// # Errors
    ///
    /// [`StoreError::Remote`].
    pub async fn set_aside(&self, digest: &Digest) -> Result<bool, StoreError> {
        let (seen, aside) = (self.blob_key(digest), self.aside_key(digest));
        let size = match self.inner.store.head(&seen).await {
            Ok(found) => found.size,
            Err(object_store::Error::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(remote("examine", &seen)(error)),
        };
        if size <= MOST_COPIED {
            let copied = self.inner.store.copy(&seen, &aside).await;
            copied.map_err(remote("copy to", &aside))?;
        }
        self.remove_key(&seen).await
    }

    /// Removes what [`Self::set_aside`] kept.
    ///
    /// # Errors
    ///
    /// [`StoreError::Remote`].
    pub async fn forget_aside(&self, digest: &Digest) -> Result<(), StoreError> {
        self.remove_key(&self.aside_key(digest)).await.map(drop)
    }

    /// What lies at `path`, as users get it.
    ///
    /// # Errors
    ///
    /// [`StoreError::Collision`] if no key can be like that.
    pub fn file(&self, path: &FilePath) -> Result<Arc<dyn Source>, StoreError> {
        let name = format!("{}/{path}", self.inner.name);
        let store = Arc::clone(&self.inner.store);
        let source = ObjectStoreSource::new(store, self.file_key(path)?, name);
        Ok(Arc::new(source))
    }

    fn aside_key(&self, digest: &Digest) -> Path {
        self.key(&[".landfall", "aside", &digest.to_hex()])
    }
}
