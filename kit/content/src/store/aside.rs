//! Taking out of sight what is not what its name says, so that the right object
//! can come in its place; and looking at what a store shows under a name.

use std::sync::Arc;

use landfall_catalog::{Digest, FilePath, Name, Repository, Tag};

use super::{Item, Store, StoreError};
use crate::source::{FileSource, Source};

/// What a store shows under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Nothing.
    Nothing,
    /// The object, as far as the store itself can tell.
    Object(Digest),
    /// Something that is no object of the store.
    Other,
}

impl Store {
    /// Takes whatever lies where the object should be out of sight; false if
    /// nothing does. A folder and a bucket keep it, until [`Self::forget_aside`];
    /// a registry does not, and may go on keeping the bytes unseen by itself.
    ///
    /// # Errors
    ///
    /// As [`Self::remove`].
    pub async fn set_aside(&self, item: &Item) -> Result<bool, StoreError> {
        let digest = item.digest;
        match self {
            Self::Directory(store) => store.run(move |store| store.set_aside(&digest)).await,
            Self::Bucket(store) => store.set_aside(&digest).await,
            Self::Registry(store) => store.remove(item).await,
        }
    }

    /// Removes what [`Self::set_aside`] kept; nothing happens if it kept nothing.
    ///
    /// # Errors
    ///
    /// As [`Self::remove`].
    pub async fn forget_aside(&self, item: &Item) -> Result<(), StoreError> {
        let digest = item.digest;
        match self {
            Self::Directory(store) => store.run(move |store| store.forget_aside(&digest)).await,
            Self::Bucket(store) => store.forget_aside(&digest).await,
            Self::Registry(_) => Ok(()),
        }
    }

    /// What a folder or a registry shows under a name. A bucket keeps files as
    /// objects of their own: read [`Self::file`].
    ///
    /// # Errors
    ///
    /// [`StoreError::Unsupported`] for a name that the store does not keep.
    pub async fn shown(&self, name: &Name, expected: &Digest) -> Result<Shown, StoreError> {
        let unsupported = Err(StoreError::Unsupported(
            "this kind of store does not keep names of this kind",
        ));
        let expected = *expected;
        match (self, name) {
            (Self::Directory(store), Name::File(path)) => {
                let path = path.clone();
                let look = move |store: &super::DirectoryStore| store.shown(&path, &expected);
                store.run(look).await
            }
            (Self::Registry(store), Name::Tag(repository, tag)) => {
                let found = store.tagged(repository, tag).await?;
                Ok(found.map_or(Shown::Nothing, Shown::Object))
            }
            (Self::Directory(_) | Self::Registry(_) | Self::Bucket(_), _) => unsupported,
        }
    }

    /// The file at `path` of a bucket, to be read and compared; none elsewhere.
    ///
    /// # Errors
    ///
    /// [`StoreError::Collision`] if no key can be like that.
    pub fn file(&self, path: &FilePath) -> Result<Option<Arc<dyn Source>>, StoreError> {
        match self {
            Self::Bucket(store) => store.file(path).map(Some),
            Self::Directory(_) | Self::Registry(_) => Ok(None),
        }
    }

    /// What lies at `path` as users get it, whoever put it there; none of a
    /// registry, which has no files.
    ///
    /// # Errors
    ///
    /// [`StoreError::Collision`] if no key can be like that.
    pub fn published(&self, path: &FilePath) -> Result<Option<Arc<dyn Source>>, StoreError> {
        match self {
            Self::Bucket(store) => store.file(path).map(Some),
            Self::Directory(store) => {
                let file = store.root().join(path.as_str());
                Ok(Some(Arc::new(FileSource::new(&file))))
            }
            Self::Registry(_) => Ok(None),
        }
    }

    /// The tags that a registry has in `repository`; none elsewhere.
    ///
    /// # Errors
    ///
    /// [`StoreError::Remote`].
    pub async fn tags(&self, repository: &Repository) -> Result<Vec<Tag>, StoreError> {
        match self {
            Self::Registry(store) => store.tags(repository).await,
            Self::Directory(_) | Self::Bucket(_) => Ok(Vec::new()),
        }
    }
}
