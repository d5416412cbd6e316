//! Uploads into a registry: one request for what is small, chunks for the rest.

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use landfall_catalog::Repository;

use super::RegistryStore;
use crate::oci::{MAX_DOCUMENT_BYTES, Session, is_manifest};
use crate::piece::PieceList;
use crate::store::stream::{Begin, InOne, PutWhole, Upload};
use crate::store::{Item, StoreError};

/// Blobs up to this size go in one request, and larger ones in chunks of it.
const CHUNK_BYTES: usize = 8 << 20;

/// What is to be written where.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) store: RegistryStore,
    pub(super) item: Item,
    pub(super) repository: Repository,
}

impl Begin for Target {
    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn Upload>, StoreError>> {
        Box::pin(async move {
            let is_document = is_manifest(&self.item.media_type);
            if is_document && self.item.size > MAX_DOCUMENT_BYTES {
                return Err(StoreError::TooLong {
                    digest: self.item.digest,
                    limit: MAX_DOCUMENT_BYTES,
                });
            }
            if self.item.size <= CHUNK_BYTES as u64 {
                return Ok(Box::new(InOne(self.clone())) as Box<dyn Upload>);
            }
            let registry = &self.store.inner.registry;
            let begun = registry.begin(&self.repository).await;
            let session = begun.map_err(|error| self.store.said("write", &self.item, error))?;
            Ok(Box::new(Chunks {
                target: self.clone(),
                session,
            }) as Box<dyn Upload>)
        })
    }
}

impl PutWhole for Target {
    fn put_whole(
        self,
        content: Vec<Bytes>,
        _: Option<PieceList>,
    ) -> BoxFuture<'static, Result<(), StoreError>> {
        Box::pin(async move {
            let Self {
                store,
                item,
                repository,
            } = &self;
            let bytes = joined(content);
            if is_manifest(&item.media_type) {
                return store.put_manifest(&self, &bytes).await;
            }
            let registry = &store.inner.registry;
            let put = registry.put_blob(repository, &item.digest, &bytes).await;
            put.map_err(|error| store.said("write", item, error))?;
            store.remember(item, repository);
            Ok(())
        })
    }
}

/// One chunk after the other.
struct Chunks {
    target: Target,
    session: Session,
}

impl Chunks {
    async fn send(&mut self, part: Vec<Bytes>) -> Result<(), StoreError> {
        let Target {
            store,
            item,
            repository,
        } = &self.target;
        let registry = &store.inner.registry;
        let sent = registry.send_chunk(repository, &mut self.session, joined(part));
        sent.await.map_err(|error| store.said("write", item, error))
    }

    async fn cancel(&self) {
        let registry = &self.target.store.inner.registry;
        registry
            .cancel(&self.target.repository, &self.session)
            .await;
    }
}

impl Upload for Chunks {
    fn part_size(&self) -> usize {
        CHUNK_BYTES.max(self.session.least)
    }

    fn part(&mut self, part: Vec<Bytes>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.send(part))
    }

    fn finish(
        mut self: Box<Self>,
        rest: Vec<Bytes>,
        _: Option<PieceList>,
    ) -> BoxFuture<'static, Result<(), StoreError>> {
        Box::pin(async move {
            if let Err(error) = self.send(rest).await {
                self.cancel().await;
                return Err(error);
            }
            let Target {
                store,
                item,
                repository,
            } = &self.target;
            let registry = &store.inner.registry;
            let finished = registry.finish(repository, &self.session, &item.digest, Bytes::new());
            let finished = finished.await;
            // Also after an error: the answer may be all that was lost. And some
            // registries keep only the last chunk without saying so.
            let has = store.has(item).await;
            match (finished, has) {
                (_, Ok(true)) => Ok(()),
                (Err(error), _) => Err(store.said("write", item, error)),
                (Ok(()), Err(error)) => Err(error),
                (Ok(()), Ok(false)) => Err(StoreError::Remote {
                    operation: "find again",
                    place: format!("{}/{repository}@{}", store.inner.name, item.digest),
                    detail: "it was written and is not there".to_owned(),
                    retry_after: None,
                }),
            }
        })
    }

    fn abandon(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move { self.cancel().await })
    }
}

/// The chunks as one, which can be sent again.
fn joined(mut chunks: Vec<Bytes>) -> Bytes {
    if chunks.len() <= 1 {
        return chunks.pop().unwrap_or_default();
    }
    let mut all = BytesMut::with_capacity(chunks.iter().map(Bytes::len).sum());
    chunks.iter().for_each(|chunk| all.extend_from_slice(chunk));
    all.freeze()
}
