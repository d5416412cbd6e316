//! Uploads into a bucket: one conditional request for what is small, a
//! multipart upload for the rest.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, StreamExt as _};
use landfall_catalog::Digest;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    Attributes, MultipartUpload, ObjectStore, ObjectStoreExt as _, PutMode, PutMultipartOptions,
    PutOptions, PutPayload,
};
use serde::{Deserialize, Serialize};

use super::{BucketStore, remote};
use crate::piece::PieceList;
use crate::store::StoreError;
use crate::store::stream::{Begin, InOne, PutWhole, Upload};

/// Objects up to this size go in one request, and larger ones in parts of it:
/// what providers are content with, times few enough parts.
pub(super) const PART_BYTES: u64 = 8 << 20;
/// Parts of one upload that S3 takes.
const MOST_PARTS: u64 = 10_000;
/// Parts of one object under way.
const PARTS_UNDER_WAY: usize = 3;

/// What is to be written where.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) bucket: BucketStore,
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) key: Path,
    pub(super) attributes: Attributes,
    /// Whether there is something else at the key that is to be replaced.
    pub(super) replace: bool,
}

impl Begin for Target {
    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn Upload>, StoreError>> {
        Box::pin(async move {
            if self.size <= PART_BYTES {
                return Ok(Box::new(InOne(self.clone())) as Box<dyn Upload>);
            }
            let parts = match &self.bucket.inner.multipart {
                Some(store) => Parts::Recorded(self.begin_recorded(Arc::clone(store)).await?),
                None => Parts::Plain(self.begin_plain().await?),
            };
            Ok(Box::new(Multi {
                target: self.clone(),
                parts,
            }) as Box<dyn Upload>)
        })
    }
}

impl Target {
    async fn begin_recorded(
        &self,
        store: Arc<dyn MultipartStore>,
    ) -> Result<RecordedParts, StoreError> {
        let bucket = &self.bucket;
        bucket.abort_leftovers(Some(&self.digest)).await?;
        let options = PutMultipartOptions {
            attributes: self.attributes.clone(),
            ..PutMultipartOptions::default()
        };
        let id = store
            .create_multipart_opts(&self.key, options)
            .await
            .map_err(remote("begin an upload of", &self.key))?;
        // From here on somebody knows of it, whatever happens.
        let record = bucket.record_key(&self.digest);
        let content = Record {
            key: self.key.to_string(),
            upload: id.clone(),
        };
        let content = serde_json::to_vec(&content).unwrap_or_default();
        let recorded = bucket.inner.store.put(&record, content.into()).await;
        if let Err(error) = recorded {
            let _ = store.abort_multipart(&self.key, &id).await;
            return Err(remote("record an upload of", &self.key)(error));
        }
        Ok(RecordedParts {
            store,
            id,
            record,
            done: Vec::new(),
            under_way: FuturesOrdered::new(),
        })
    }

    async fn begin_plain(&self) -> Result<PlainParts, StoreError> {
        let options = PutMultipartOptions {
            attributes: self.attributes.clone(),
            ..PutMultipartOptions::default()
        };
        let begun = self
            .bucket
            .inner
            .store
            .put_multipart_opts(&self.key, options);
        let upload = begun
            .await
            .map_err(remote("begin an upload of", &self.key))?;
        Ok(PlainParts {
            upload,
            under_way: FuturesOrdered::new(),
        })
    }

    /// One request that either makes the object or finds it made.
    async fn put(&self, content: Vec<Bytes>) -> Result<(), StoreError> {
        let store = &self.bucket.inner.store;
        let payload: PutPayload = content.into_iter().collect();
        let options = |mode| PutOptions {
            mode,
            attributes: self.attributes.clone(),
            ..PutOptions::default()
        };
        let said = remote("write", &self.key);
        if !self.replace {
            let created = store.put_opts(&self.key, payload.clone(), options(PutMode::Create));
            match created.await {
                Ok(_) => return Ok(()),
                Err(object_store::Error::AlreadyExists { .. }) => {
                    // Somebody was faster with the same object, or there is something else.
                    if self.is_made().await {
                        return Ok(());
                    }
                }
                // Configured not to: the same bytes replace each other.
                Err(object_store::Error::NotImplemented { .. }) => {}
                Err(error) => return Err(said(error)),
            }
        }
        let put = store.put_opts(&self.key, payload, options(PutMode::Overwrite));
        put.await.map(drop).map_err(said)
    }

    /// Whether the object is there, with its own bytes.
    async fn is_made(&self) -> bool {
        let bucket = &self.bucket;
        matches!(bucket.has_key(&self.key, self.size).await, Ok(true))
            && matches!(bucket.verify_key(&self.digest, &self.key).await, Ok(true))
    }

    async fn put_pieces(&self, pieces: Option<PieceList>) -> Result<(), StoreError> {
        match pieces {
            Some(list) => self.bucket.put_pieces(&self.digest, &list).await,
            None => Ok(()),
        }
    }
}

impl PutWhole for Target {
    fn put_whole(
        self,
        content: Vec<Bytes>,
        pieces: Option<PieceList>,
    ) -> BoxFuture<'static, Result<(), StoreError>> {
        Box::pin(async move {
            self.put_pieces(pieces).await?;
            self.put(content).await
        })
    }
}

/// What is written down before the first part is sent.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    /// Where the object will be.
    pub(super) key: String,
    /// The provider's name for the upload.
    pub(super) upload: String,
}

struct Multi {
    target: Target,
    parts: Parts,
}

enum Parts {
    Recorded(RecordedParts),
    Plain(PlainParts),
}

struct RecordedParts {
    store: Arc<dyn MultipartStore>,
    id: String,
    record: Path,
    done: Vec<PartId>,
    under_way: FuturesOrdered<BoxFuture<'static, object_store::Result<PartId>>>,
}

struct PlainParts {
    upload: Box<dyn MultipartUpload>,
    under_way: FuturesOrdered<BoxFuture<'static, object_store::Result<()>>>,
}

impl Multi {
    fn push(&mut self, payload: PutPayload) {
        match &mut self.parts {
            Parts::Recorded(parts) => {
                let store = Arc::clone(&parts.store);
                let (key, id) = (self.target.key.clone(), parts.id.clone());
                let number = parts.done.len() + parts.under_way.len();
                parts.under_way.push_back(Box::pin(async move {
                    store.put_part(&key, &id, number, payload).await
                }));
            }
            Parts::Plain(parts) => {
                let sent = parts.upload.put_part(payload);
                parts.under_way.push_back(sent);
            }
        }
    }

    fn under_way(&self) -> usize {
        match &self.parts {
            Parts::Recorded(parts) => parts.under_way.len(),
            Parts::Plain(parts) => parts.under_way.len(),
        }
    }

    /// Waits until one more part has arrived.
    async fn arrive(&mut self) -> Result<(), StoreError> {
        let arrived = match &mut self.parts {
            Parts::Recorded(parts) => match parts.under_way.next().await {
                Some(Ok(part)) => {
                    parts.done.push(part);
                    Ok(())
                }
                Some(Err(error)) => Err(error),
                None => Ok(()),
            },
            Parts::Plain(parts) => parts.under_way.next().await.unwrap_or(Ok(())),
        };
        arrived.map_err(remote("write a part of", &self.target.key))
    }

    async fn complete(&mut self) -> Result<(), StoreError> {
        while self.under_way() > 0 {
            self.arrive().await?;
        }
        let said = remote("complete", &self.target.key);
        match &mut self.parts {
            Parts::Recorded(parts) => {
                let done = std::mem::take(&mut parts.done);
                let completed = parts
                    .store
                    .complete_multipart(&self.target.key, &parts.id, done);
                completed.await.map_err(said)?;
            }
            Parts::Plain(parts) => {
                parts.upload.complete().await.map_err(said)?;
            }
        }
        Ok(())
    }

    async fn abort(&mut self) {
        let aborted = match &mut self.parts {
            Parts::Recorded(parts) => {
                parts.under_way.clear();
                let aborted = parts.store.abort_multipart(&self.target.key, &parts.id);
                aborted.await
            }
            Parts::Plain(parts) => {
                parts.under_way.clear();
                parts.upload.abort().await
            }
        };
        match aborted {
            Ok(()) => self.forget().await,
            // The record stays, for the next one to try.
            Err(error) => {
                let error = StoreError::from_bucket("abort", &self.target.key, &error);
                tracing::warn!(%error, "an upload is left to be aborted");
            }
        }
    }

    async fn forget(&mut self) {
        if let Parts::Recorded(parts) = &mut self.parts {
            let record = parts.record.clone();
            let forgotten = self.target.bucket.inner.store.delete(&record).await;
            if let Err(error) = forgotten {
                let error = StoreError::from_bucket("remove", &record, &error);
                tracing::debug!(%error, "a record of an upload is left");
            }
        }
    }
}

impl Upload for Multi {
    fn part_size(&self) -> usize {
        usize::try_from(part_size(self.target.size)).unwrap_or(usize::MAX)
    }

    fn part(&mut self, part: Vec<Bytes>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            while self.under_way() >= PARTS_UNDER_WAY {
                self.arrive().await?;
            }
            self.push(part.into_iter().collect());
            Ok(())
        })
    }

    fn advance(&mut self) -> BoxFuture<'_, Result<(), StoreError>> {
        if self.under_way() == 0 {
            Box::pin(std::future::pending())
        } else {
            Box::pin(self.arrive())
        }
    }

    fn finish(
        mut self: Box<Self>,
        rest: Vec<Bytes>,
        pieces: Option<PieceList>,
    ) -> BoxFuture<'static, Result<(), StoreError>> {
        Box::pin(async move {
            self.push(rest.into_iter().collect());
            let mut published = self.target.put_pieces(pieces).await;
            if published.is_ok() {
                published = self.complete().await;
            }
            if let Err(error) = published {
                self.abort().await;
                // Azure keeps the blocks of all who write an object in one place:
                // whoever is first makes it, and with that fails the others.
                if !self.target.replace && self.target.is_made().await {
                    return Ok(());
                }
                return Err(error);
            }
            self.forget().await;
            let (bucket, target) = (&self.target.bucket, &self.target);
            if bucket.has_key(&target.key, target.size).await? {
                Ok(())
            } else {
                Err(StoreError::Remote {
                    operation: "find again",
                    place: target.key.to_string(),
                    detail: "it was written and is not there".to_owned(),
                    retry_after: None,
                })
            }
        })
    }

    fn abandon(mut self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move { self.abort().await })
    }
}

/// Bytes of a part, such that there are not too many.
fn part_size(size: u64) -> u64 {
    let least = size.div_ceil(MOST_PARTS);
    PART_BYTES.max(least.div_ceil(1 << 20) << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_upload_has_too_many_parts() {
        for size in [PART_BYTES + 1, 64 << 30, 5 << 40] {
            let part = part_size(size);
            assert!(
                part >= PART_BYTES && size.div_ceil(part) <= MOST_PARTS,
                "{size}"
            );
        }
        assert_eq!(part_size(64 << 30), PART_BYTES);
    }
}
