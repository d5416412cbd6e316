//! Whose store it is: a small text beside the objects, made once.
//!
//! A folder and a bucket have it at `.landfall/log`. A registry has no place for it.

use std::fs;
use std::io::ErrorKind;

use bytes::Bytes;
use landfall_runtime::bounded::read_file;
use object_store::{ObjectStoreExt as _, PutMode, PutPayload};

use super::bucket::{BucketStore, read_bounded, remote};
use super::directory::{DirectoryStore, durable};
use super::{Store, StoreError};

/// Where it is, below the store.
pub const MARKER: &str = ".landfall/log";
/// Longest text, in bytes.
const MOST: usize = 16 << 10;

impl Store {
    /// What the marker says; none if there is none, or no place for one.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`], [`StoreError::Remote`]; [`StoreError::Layout`] if it is
    /// too long to be one.
    pub async fn marker(&self) -> Result<Option<Bytes>, StoreError> {
        match self {
            Self::Directory(store) => store.run(DirectoryStore::marker).await,
            Self::Bucket(store) => store.marker().await,
            Self::Registry(_) => Ok(None),
        }
    }

    /// Makes the marker, unless somebody has made one: look what it says after
    /// that. A registry has none.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`], [`StoreError::Remote`].
    pub async fn mark(&self, text: Bytes) -> Result<(), StoreError> {
        match self {
            Self::Directory(store) => store.run(move |store| store.mark(&text)).await,
            Self::Bucket(store) => store.mark(text).await,
            Self::Registry(_) => Ok(()),
        }
    }
}

impl DirectoryStore {
    fn marker(&self) -> Result<Option<Bytes>, StoreError> {
        let path = self.root().join(MARKER);
        match path.try_exists() {
            Ok(false) => return Ok(None),
            Ok(true) => {}
            Err(error) => return Err(StoreError::io("look at", &path)(error)),
        }
        let read = read_file(&path, MOST).map_err(|error| StoreError::Layout {
            path: path.clone(),
            why: error.to_string(),
        })?;
        Ok(Some(read))
    }

    fn mark(&self, text: &[u8]) -> Result<(), StoreError> {
        let path = self.root().join(MARKER);
        let (draft, whole) = (self.temporary(), self.temporary());
        durable::replace(&draft, &whole, text, durable::WRITABLE)?;
        // Whole from its first moment, and never in the place of another.
        let made = fs::hard_link(&whole, &path);
        let _ = fs::remove_file(&whole);
        match made {
            Ok(()) => durable::sync_folder_of(&path),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(StoreError::io("create", &path)(error)),
        }
    }
}

impl BucketStore {
    async fn marker(&self) -> Result<Option<Bytes>, StoreError> {
        let key = self.marker_key();
        let found = match self.objects().get(&key).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(remote("read", &key)(error)),
        };
        let bytes = read_bounded(found, &key, MOST as u64).await?;
        bytes.map(Some).ok_or_else(|| StoreError::Layout {
            path: key.to_string().into(),
            why: format!("it has more than {MOST} bytes"),
        })
    }

    async fn mark(&self, text: Bytes) -> Result<(), StoreError> {
        let key = self.marker_key();
        let payload = PutPayload::from(text);
        let create = PutMode::Create.into();
        let made = self.objects().put_opts(&key, payload.clone(), create).await;
        match made {
            Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => Ok(()),
            // Where nothing can be created on a condition, that is all there is.
            Err(object_store::Error::NotImplemented { .. }) => {
                if self.marker().await?.is_some() {
                    return Ok(());
                }
                let put = self.objects().put(&key, payload).await;
                put.map(drop).map_err(remote("write", &key))
            }
            Err(error) => Err(remote("create", &key)(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_marker_stays() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::from(DirectoryStore::open(folder.path()).unwrap());
        assert_eq!(store.marker().await.unwrap(), None);
        for text in ["first", "second"] {
            store.mark(Bytes::from(text)).await.unwrap();
            assert_eq!(store.marker().await.unwrap().unwrap(), "first");
        }
        let left = fs::read_dir(folder.path().join(".landfall/tmp")).unwrap();
        assert_eq!(left.count(), 0);
        fs::write(folder.path().join(MARKER), vec![b'x'; MOST + 1]).unwrap();
        assert!(matches!(
            store.marker().await,
            Err(StoreError::Layout { .. })
        ));
    }
}
