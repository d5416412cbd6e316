//! Where a transfer writes to.

use landfall_catalog::Digest;

use super::bucket::BucketStore;
use super::directory::{DirectoryStore, PartialWriter, WriterOptions};
use super::registry::RegistryStore;
use super::stream::StreamWriter;
use super::{Item, StoreError};
use crate::piece::PieceList;

/// Where one object is to be brought. Made of a [`super::Store`] and an
/// [`Item`], or of a [`DirectoryStore`] alone.
#[derive(Clone, Debug)]
pub struct Destination(Place);

#[derive(Clone, Debug)]
enum Place {
    Directory(DirectoryStore),
    Bucket(BucketStore, Item),
    Registry(RegistryStore, Item),
}

impl From<&DirectoryStore> for Destination {
    fn from(store: &DirectoryStore) -> Self {
        Self(Place::Directory(store.clone()))
    }
}

impl Destination {
    pub(super) fn bucket(store: &BucketStore, item: &Item) -> Self {
        Self(Place::Bucket(store.clone(), item.clone()))
    }

    pub(super) fn registry(store: &RegistryStore, item: &Item) -> Self {
        Self(Place::Registry(store.clone(), item.clone()))
    }

    /// A writer of `digest` when nobody else in this process has one, or none if
    /// the object is there.
    pub(crate) async fn writer(
        &self,
        digest: &Digest,
        size: u64,
        options: WriterOptions,
    ) -> Result<Option<Writer>, StoreError> {
        match &self.0 {
            Place::Directory(store) => {
                let claim = store.claim(digest).await;
                let digest = *digest;
                store
                    .run(move |store| {
                        if store.has(&digest, size)? {
                            return Ok(None);
                        }
                        let writer = store.writer_claimed(claim, size, options)?;
                        Ok(Some(Writer::Partial(Box::new(writer))))
                    })
                    .await
            }
            Place::Bucket(store, item) => {
                let item = same(item, digest, size)?;
                let claim = store.claim(digest).await;
                if store.has(digest, size).await? {
                    return Ok(None);
                }
                let writer = store.writer(claim, item, options)?;
                Ok(Some(Writer::Stream(Box::new(writer))))
            }
            Place::Registry(store, item) => {
                let item = same(item, digest, size)?;
                let claim = store.claim(item).await?;
                if store.has(item).await? || store.mount(item).await? {
                    return Ok(None);
                }
                let writer = store.writer(claim, item, options)?;
                Ok(Some(Writer::Stream(Box::new(writer))))
            }
        }
    }
}

/// The item, which has to be the object that is transferred.
fn same<'a>(item: &'a Item, digest: &Digest, size: u64) -> Result<&'a Item, StoreError> {
    if (item.digest, item.size) == (*digest, size) {
        Ok(item)
    } else {
        Err(StoreError::Mismatch {
            expected: item.digest,
            found: *digest,
        })
    }
}

/// Writes one object to a destination.
pub(crate) enum Writer {
    /// Into a file, which is kept when the transfer ends early.
    Partial(Box<PartialWriter>),
    /// Over the network.
    Stream(Box<StreamWriter>),
}

impl Writer {
    /// Bytes that are there: where the next source has to go on.
    pub(crate) fn position(&self) -> u64 {
        match self {
            Self::Partial(writer) => writer.position(),
            Self::Stream(writer) => writer.position(),
        }
    }

    /// Bytes that an earlier writer had left.
    pub(crate) fn resumed_from(&self) -> u64 {
        match self {
            Self::Partial(writer) => writer.resumed_from(),
            Self::Stream(_) => 0,
        }
    }

    /// Length of the complete object.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Partial(writer) => writer.size(),
            Self::Stream(writer) => writer.size(),
        }
    }

    /// Throws away everything written and starts again from nothing.
    pub(crate) async fn start_over(self) -> Result<Self, StoreError> {
        match self {
            Self::Partial(writer) => blocking(move || writer.start_over())
                .await
                .map(|writer| Self::Partial(Box::new(writer))),
            Self::Stream(mut writer) => {
                writer.start_over().await?;
                Ok(Self::Stream(writer))
            }
        }
    }

    /// Publishes the object if all of its bytes are right.
    pub(crate) async fn commit(self) -> Result<Option<PieceList>, StoreError> {
        match self {
            Self::Partial(writer) => blocking(move || writer.commit()).await,
            Self::Stream(writer) => writer.commit().await,
        }
    }

    /// Ends without the object: keeps what can be used again, removes the rest.
    pub(crate) async fn give_up(self) {
        if let Self::Stream(mut writer) = self {
            writer.abandon().await;
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or(Err(StoreError::Cancelled))
}
