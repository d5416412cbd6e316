//! A store of any kind.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use landfall_catalog::{Digest, Name};
use url::Url;

use super::bucket::BucketStore;
use super::directory::{DirectoryStore, NamesReport};
use super::registry::RegistryStore;
use super::{Destination, Item, StoreError};
use crate::oci::Descriptor;
use crate::piece::PieceList;
use crate::source::{FileSource, Source};

/// Objects that a bucket or registry is asked for at a time.
const CONCURRENT_LOOKS: usize = 16;

/// A store of any kind, with the verbs that all have in common. Cloning gives
/// another handle to the same.
#[derive(Clone, Debug)]
pub enum Store {
    /// A folder.
    Directory(DirectoryStore),
    /// A bucket.
    Bucket(BucketStore),
    /// A registry: images only, no piece lists.
    Registry(RegistryStore),
}

/// A name that is to mean an object, or nothing any more.
#[derive(Clone, Debug)]
pub struct NameChange {
    /// The name.
    pub name: Name,
    /// What it is to mean; none removes it.
    pub target: Option<Item>,
}

impl From<DirectoryStore> for Store {
    fn from(store: DirectoryStore) -> Self {
        Self::Directory(store)
    }
}

impl Store {
    /// Opens the store at `url`: `file://`, `s3://`, `gs://`, `az://`, `oci://`
    /// or, on this machine, `oci+http://`. Addresses and credentials are in the
    /// provider's usual variables among `environment`. `owner` tells programs
    /// apart that write to one bucket.
    ///
    /// # Errors
    ///
    /// [`StoreError::Url`], and those of the kind of store.
    pub async fn open(
        url: &Url,
        environment: impl IntoIterator<Item = (String, String)>,
        owner: &str,
    ) -> Result<Self, StoreError> {
        let store = Self::connect(url, environment, owner).await?;
        store.sweep().await?;
        Ok(store)
    }

    /// As [`Self::open`], and leaves alone what an earlier owner left in a bucket.
    /// Before anything is written, [`Self::sweep`] it.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub async fn connect(
        url: &Url,
        environment: impl IntoIterator<Item = (String, String)>,
        owner: &str,
    ) -> Result<Self, StoreError> {
        match url.scheme() {
            "file" => {
                let folder = url.to_file_path().map_err(|()| StoreError::Url {
                    url: url.to_string(),
                    why: "a file URL names an absolute path".to_owned(),
                })?;
                let opened = tokio::task::spawn_blocking(move || DirectoryStore::open(&folder));
                let opened = opened.await.unwrap_or(Err(StoreError::Cancelled))?;
                Ok(Self::Directory(opened))
            }
            "oci" | "oci+http" => {
                let opened = RegistryStore::open(url, environment).await?;
                Ok(Self::Registry(opened))
            }
            _ => {
                let opened = BucketStore::connect(url, environment, owner)?;
                Ok(Self::Bucket(opened))
            }
        }
    }

    /// Aborts what an earlier owner of the same name left in a bucket.
    ///
    /// # Errors
    ///
    /// [`StoreError::Remote`].
    pub async fn sweep(&self) -> Result<(), StoreError> {
        match self {
            Self::Bucket(store) => store.sweep().await,
            Self::Directory(_) | Self::Registry(_) => Ok(()),
        }
    }

    /// Where `item` would be transferred to.
    #[must_use]
    pub fn destination(&self, item: &Item) -> Destination {
        match self {
            Self::Directory(store) => store.into(),
            Self::Bucket(store) => Destination::bucket(store, item),
            Self::Registry(store) => Destination::registry(store, item),
        }
    }

    /// Whether files can be published here, and piece lists kept.
    #[must_use]
    pub fn keeps_files(&self) -> bool {
        !matches!(self, Self::Registry(_))
    }

    /// True if the object is there, complete, with that length.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`] or [`StoreError::Remote`], as for all other verbs.
    pub async fn has(&self, item: &Item) -> Result<bool, StoreError> {
        let Item { digest, size, .. } = *item;
        match self {
            Self::Directory(store) => store.run(move |store| store.has(&digest, size)).await,
            Self::Bucket(store) => store.has(&digest, size).await,
            Self::Registry(store) => store.has(item).await,
        }
    }

    /// Which of `items` are there, in their order.
    ///
    /// # Errors
    ///
    /// As [`Self::has`].
    pub async fn held(&self, items: Vec<Item>) -> Result<Vec<bool>, StoreError> {
        if let Self::Directory(store) = self {
            let look = move |store: &DirectoryStore| {
                let held = items.iter().map(|item| store.has(&item.digest, item.size));
                held.collect()
            };
            return store.run(look).await;
        }
        let looking: Vec<_> = items.iter().map(|item| self.has(item)).collect();
        stream::iter(looking)
            .buffered(CONCURRENT_LOOKS)
            .try_collect()
            .await
    }

    /// Throws away transfers into it that nobody goes on with and that were not
    /// touched since `before` (POSIX seconds); gives how many. Of a registry
    /// nothing: it ends uploads by itself.
    ///
    /// # Errors
    ///
    /// As [`Self::has`].
    pub async fn tidy(&self, before: u64) -> Result<u64, StoreError> {
        match self {
            Self::Directory(store) => {
                let discarded = store.run(move |store| store.discard_stale(before)).await?;
                Ok(discarded.len() as u64)
            }
            Self::Bucket(store) => store.abort_stale(before).await,
            Self::Registry(_) => Ok(0),
        }
    }

    /// Every object with its length in bytes, sorted by digest.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unsupported`] of a registry, which cannot tell.
    pub async fn list(&self) -> Result<Vec<(Digest, u64)>, StoreError> {
        match self {
            Self::Directory(store) => store.run(DirectoryStore::list).await,
            Self::Bucket(store) => store.list().await,
            Self::Registry(_) => Err(StoreError::Unsupported("a registry lists no blobs")),
        }
    }

    /// Reads and hashes the object; false if it is not what its name says.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`].
    pub async fn verify(&self, item: &Item) -> Result<bool, StoreError> {
        let digest = item.digest;
        match self {
            Self::Directory(store) => store.run(move |store| store.verify(&digest)).await,
            Self::Bucket(store) => store.verify(&digest).await,
            Self::Registry(store) => store.verify(item).await,
        }
    }

    /// The whole object, checked against its digest.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`]; [`StoreError::TooLong`] if it has more than
    /// `limit` bytes; [`StoreError::Mismatch`].
    pub async fn read(&self, item: &Item, limit: u64) -> Result<Bytes, StoreError> {
        let digest = item.digest;
        match self {
            Self::Directory(store) => store.run(move |store| store.read(&digest, limit)).await,
            Self::Bucket(store) => store.read(&digest, limit).await,
            Self::Registry(store) => store.read(item, limit).await,
        }
    }

    /// The object, to be read from any position on. Whoever reads checks.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unsupported`] of a registry for an item in no repository.
    pub fn source(&self, item: &Item) -> Result<Arc<dyn Source>, StoreError> {
        match self {
            Self::Directory(store) => {
                let below = Path::new("blobs/sha256").join(item.digest.to_hex());
                Ok(Arc::new(FileSource::new(&store.root().join(below))))
            }
            Self::Bucket(store) => Ok(store.source(&item.digest)),
            Self::Registry(store) => store.source(item),
        }
    }

    /// Stores a small object.
    ///
    /// # Errors
    ///
    /// [`StoreError::Mismatch`] if `bytes` are not those of the item.
    pub async fn put_bytes(&self, item: &Item, bytes: Bytes) -> Result<(), StoreError> {
        let digest = item.digest;
        match self {
            Self::Directory(store) => {
                let put = move |store: &DirectoryStore| store.put_bytes(&digest, &bytes);
                store.run(put).await
            }
            Self::Bucket(store) => store.put_bytes(item, bytes).await,
            Self::Registry(store) => store.put_bytes(item, bytes).await,
        }
    }

    /// Removes the object and its piece list; false if it was not there. Names
    /// of it are not touched: remove them before.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unsupported`] if a registry deletes nothing.
    pub async fn remove(&self, item: &Item) -> Result<bool, StoreError> {
        let digest = item.digest;
        match self {
            Self::Directory(store) => store.run(move |store| store.remove(&digest)).await,
            Self::Bucket(store) => store.remove(&digest).await,
            Self::Registry(store) => store.remove(item).await,
        }
    }

    /// The object's piece list, if there is one; a registry has none.
    ///
    /// # Errors
    ///
    /// [`StoreError::PieceList`] if it does not fit.
    pub async fn get_pieces(&self, item: &Item) -> Result<Option<PieceList>, StoreError> {
        let Item { digest, size, .. } = *item;
        match self {
            Self::Directory(store) => {
                let get = move |store: &DirectoryStore| store.get_pieces(&digest, size);
                store.run(get).await
            }
            Self::Bucket(store) => store.get_pieces(&digest, size).await,
            Self::Registry(_) => Ok(None),
        }
    }

    /// Stores the object's piece list. The caller vouches for it.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unsupported`] of a registry.
    pub async fn put_pieces(&self, item: &Item, list: PieceList) -> Result<(), StoreError> {
        let digest = item.digest;
        match self {
            Self::Directory(store) => {
                let put = move |store: &DirectoryStore| store.put_pieces(&digest, &list);
                store.run(put).await
            }
            Self::Bucket(store) => store.put_pieces(&digest, &list).await,
            Self::Registry(_) => Err(StoreError::Unsupported("a registry keeps no piece lists")),
        }
    }

    /// Sets and removes names, removals first. A name that cannot be set holds
    /// up no other one. A bucket has files only: whoever asks for a tag does so
    /// where the catalog is. A registry has tags only, and files fail there.
    ///
    /// # Errors
    ///
    /// If nothing can be said about the changes: make them again.
    pub async fn set_names(&self, changes: Vec<NameChange>) -> Result<NamesReport, StoreError> {
        match self {
            Self::Directory(store) => store.run(move |store| in_directory(store, changes)).await,
            Self::Bucket(_) | Self::Registry(_) => {
                let (removed, set): (Vec<_>, Vec<_>) = changes
                    .into_iter()
                    .partition(|change| change.target.is_none());
                let mut report = NamesReport::default();
                for change in removed.into_iter().chain(set) {
                    if let Err(error) = self.set_name(&change).await {
                        report.failed.push((change.name, error));
                    }
                }
                Ok(report)
            }
        }
    }

    async fn set_name(&self, change: &NameChange) -> Result<(), StoreError> {
        match (self, &change.name, &change.target) {
            (Self::Bucket(store), Name::File(path), Some(item)) => {
                store.publish_file(path, item).await
            }
            (Self::Bucket(store), Name::File(path), None) => store.withdraw_file(path).await,
            (Self::Registry(store), Name::Tag(repository, tag), Some(item)) => {
                store.set_tag(repository, tag, item).await
            }
            (Self::Registry(store), Name::Tag(repository, tag), None) => {
                store.remove_tag(repository, tag).await
            }
            (Self::Registry(_), Name::File(_), _) => {
                Err(StoreError::Unsupported("a registry has no files"))
            }
            (Self::Directory(_) | Self::Bucket(_) | Self::Registry(_), ..) => Ok(()),
        }
    }
}

fn in_directory(
    store: &DirectoryStore,
    changes: Vec<NameChange>,
) -> Result<NamesReport, StoreError> {
    let mut batch = store.names();
    for NameChange { name, target } in changes {
        let Some(item) = target else {
            batch.remove(&name);
            continue;
        };
        let descriptor = Descriptor {
            media_type: item.media_type,
            digest: item.digest,
            size: item.size,
        };
        match &name {
            Name::Tag(repository, tag) => batch.set_tag(repository, tag, &descriptor),
            Name::Root(repository, _) => batch.set_root(repository, &descriptor),
            Name::File(path) => batch.link_file(path, &item.digest),
        }
    }
    batch.commit()
}
