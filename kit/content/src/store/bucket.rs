//! The bucket store: the same keys as in a directory, so that the bucket's
//! public address serves what a directory's would.
//!
//! ```text
//! blobs/sha256/<hex>               every object, with its media type
//! <path>                           published files, as objects of their own
//! .landfall/pieces/<hex>           piece lists, by the hex digest of the object
//! .landfall/uploads/<owner>/<hex>  uploads under way of one owner
//! .landfall/withheld/<hex>         objects that nobody is to find for now
//! .landfall/aside/<hex>            what was not what its key said
//! .landfall/log                    whose store it is; of an origin only
//! ```
//!
//! A commit is the last request of a write, made only when every byte hashed to
//! the digest asked for: one PUT that creates and never replaces, with a
//! checksum where the provider takes one, or the completion of a multipart
//! upload. An `ETag` is never taken for a digest. What a killed writer left of
//! a multipart upload is written down before its first part is sent, and
//! aborted when the same owner comes again.

mod aside;
mod connect;
mod upload;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{StreamExt as _, TryStreamExt as _};
use landfall_catalog::{Digest, FilePath, Hasher, MediaType};
use landfall_runtime::bounded::read_to_limit;
use landfall_runtime::dial::without_secrets;
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, GetOptions, ObjectStore, ObjectStoreExt as _, PutPayload,
};
use url::Url;

use super::claim::{Claim, Claims};
use super::item::Item;
use super::stream::StreamWriter;
use super::{StoreError, WriterOptions};
use crate::piece::{PieceList, piece_count};
use crate::source::{ObjectStoreSource, Source};
pub(crate) use connect::{Connection, connect};
use upload::{Record, Target};

/// Bytes hashed at once when an object is read again.
const READ_BYTES: usize = 1 << 20;
/// Most bytes of a record of an upload.
const RECORD_BYTES: usize = 16 << 10;
/// Largest object that every provider copies in one request.
const MOST_COPIED: u64 = 4 << 30;
/// Our own note of what an object is; `ETag`s say nothing about it.
const DIGEST: Attribute = Attribute::Metadata(std::borrow::Cow::Borrowed("landfallsha256"));

/// A store in a bucket. Cloning gives another handle to the same.
#[derive(Clone)]
pub struct BucketStore {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn ObjectStore>,
    multipart: Option<Arc<dyn MultipartStore>>,
    prefix: Path,
    /// Without secrets and trailing slash.
    name: String,
    /// Whether objects can have attributes.
    describes: bool,
    owner: String,
    claims: Claims,
}

impl fmt::Debug for BucketStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BucketStore")
            .field(&self.inner.name)
            .finish()
    }
}

impl BucketStore {
    /// The store at `url` (`s3://`, `gs://`, `az://`), with addresses and
    /// credentials in the provider's usual variables. Nothing is asked or changed
    /// yet; before anything is written, [`Self::sweep`] it.
    ///
    /// # Errors
    ///
    /// [`StoreError::Url`].
    pub fn connect(
        url: &Url,
        environment: impl IntoIterator<Item = (String, String)>,
        owner: &str,
    ) -> Result<Self, StoreError> {
        let connection = connect(url, environment)?;
        let name = without_secrets(url).trim_end_matches('/').to_owned();
        Ok(Self::new(connection, name, owner, true))
    }

    /// Aborts the uploads that an earlier owner of the same name left: no two
    /// programs may write to a bucket under one name.
    ///
    /// # Errors
    ///
    /// [`StoreError::Remote`] if the bucket cannot be read.
    pub async fn sweep(&self) -> Result<(), StoreError> {
        self.abort_leftovers(None).await
    }

    /// As [`Self::connect`], swept.
    ///
    /// # Errors
    ///
    /// [`StoreError::Url`]; [`StoreError::Remote`] if the bucket cannot be read.
    pub async fn open(
        url: &Url,
        environment: impl IntoIterator<Item = (String, String)>,
        owner: &str,
    ) -> Result<Self, StoreError> {
        let store = Self::connect(url, environment, owner)?;
        store.sweep().await?;
        Ok(store)
    }

    pub(super) fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.inner.store
    }

    pub(super) fn marker_key(&self) -> Path {
        self.key(&[".landfall", "log"])
    }

    pub(crate) fn new(connection: Connection, name: String, owner: &str, describes: bool) -> Self {
        Self {
            inner: Arc::new(Inner {
                store: connection.store,
                multipart: connection.multipart,
                prefix: connection.prefix,
                name,
                describes,
                owner: owner.to_owned(),
                claims: Claims::default(),
            }),
        }
    }

    /// Where it is, without secrets.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// True if the object is there, with that length.
    ///
    /// # Errors
    ///
    /// [`StoreError::Remote`].
    pub async fn has(&self, digest: &Digest, size: u64) -> Result<bool, StoreError> {
        self.has_key(&self.blob_key(digest), size).await
    }

    /// Every object with its length in bytes, sorted by digest.
    ///
    /// # Errors
    ///
    /// [`StoreError::Remote`].
    pub async fn list(&self) -> Result<Vec<(Digest, u64)>, StoreError> {
        let folder = self.key(&["blobs", "sha256"]);
        let found = self.inner.store.list(Some(&folder));
        let found: Vec<_> = found.map_err(remote("list", &folder)).try_collect().await?;
        let mut listed: Vec<_> = found
            .into_iter()
            .filter(|meta| meta.location.parts_count() == folder.parts_count() + 1)
            .filter_map(|meta| {
                let digest = Digest::from_hex(meta.location.filename()?).ok()?;
                Some((digest, meta.size))
            })
            .collect();
        listed.sort_unstable();
        Ok(listed)
    }

    /// Reads and hashes the object; false if it is not what its key says.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`], [`StoreError::Remote`].
    pub async fn verify(&self, digest: &Digest) -> Result<bool, StoreError> {
        self.verify_key(digest, &self.blob_key(digest)).await
    }

    async fn verify_key(&self, digest: &Digest, key: &Path) -> Result<bool, StoreError> {
        let mut stream = self.get(digest, key).await?.into_stream();
        let mut hasher = Hasher::new();
        let mut batch = Vec::new();
        let mut batched = 0;
        loop {
            let chunk = stream
                .next()
                .await
                .transpose()
                .map_err(remote("read", key))?;
            let ended = chunk.is_none();
            batched += chunk.as_ref().map_or(0, Bytes::len);
            batch.extend(chunk);
            if batched >= READ_BYTES || ended {
                batched = 0;
                let taken = std::mem::take(&mut batch);
                hasher = tokio::task::spawn_blocking(move || {
                    taken.iter().for_each(|chunk| hasher.update(chunk));
                    hasher
                })
                .await
                .map_err(|_| StoreError::Cancelled)?;
            }
            if ended {
                return Ok(hasher.finish() == *digest);
            }
        }
    }

    /// The whole object, checked against its digest.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`]; [`StoreError::TooLong`] if it has more than
    /// `limit` bytes; [`StoreError::Mismatch`]; [`StoreError::Remote`].
    pub async fn read(&self, digest: &Digest, limit: u64) -> Result<Bytes, StoreError> {
        let key = self.blob_key(digest);
        let found = self.get(digest, &key).await?;
        let bytes = read_bounded(found, &key, limit).await?;
        let bytes = bytes.ok_or(StoreError::TooLong {
            digest: *digest,
            limit,
        })?;
        match Digest::of(&bytes) {
            found if found == *digest => Ok(bytes),
            found => Err(StoreError::Mismatch {
                expected: *digest,
                found,
            }),
        }
    }

    /// The object, to be read from any position on.
    #[must_use]
    pub fn source(&self, digest: &Digest) -> Arc<dyn Source> {
        let key = self.blob_key(digest);
        let name = format!("{}/blobs/sha256/{}", self.inner.name, digest.to_hex());
        Arc::new(ObjectStoreSource::new(
            Arc::clone(&self.inner.store),
            key,
            name,
        ))
    }

    /// Stores a small object.
    ///
    /// # Errors
    ///
    /// [`StoreError::Mismatch`] if `bytes` are not those of the item;
    /// [`StoreError::Remote`].
    pub async fn put_bytes(&self, item: &Item, bytes: Bytes) -> Result<(), StoreError> {
        let claim = self.claim(&item.digest).await;
        if self.has(&item.digest, item.size).await? && Digest::of(&bytes) == item.digest {
            return Ok(());
        }
        let mut writer = self.writer(claim, item, WriterOptions::default())?;
        writer.write(vec![bytes]).await?;
        writer.commit().await.map(drop)
    }

    /// Removes the object and its piece list; false if it was not there.
    ///
    /// # Errors
    ///
    /// [`StoreError::Remote`].
    pub async fn remove(&self, digest: &Digest) -> Result<bool, StoreError> {
        let removed = self.remove_key(&self.blob_key(digest)).await?;
        self.remove_key(&self.pieces_key(digest)).await?;
        Ok(removed)
    }

    /// Stores the piece list of the object `digest`. The caller vouches for it.
    ///
    /// # Errors
    ///
    /// [`StoreError::Remote`].
    pub async fn put_pieces(&self, digest: &Digest, list: &PieceList) -> Result<(), StoreError> {
        let key = self.pieces_key(digest);
        let put = self.inner.store.put(&key, PutPayload::from(list.encode()));
        put.await.map(drop).map_err(remote("write", &key))
    }

    /// The piece list of the object `digest` of `size` bytes, if there is one.
    ///
    /// # Errors
    ///
    /// [`StoreError::PieceList`] if it does not fit; [`StoreError::Remote`].
    pub async fn get_pieces(
        &self,
        digest: &Digest,
        size: u64,
    ) -> Result<Option<PieceList>, StoreError> {
        let key = self.pieces_key(digest);
        let found = match self.get(digest, &key).await {
            Ok(found) => found,
            Err(StoreError::NotFound(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let unfit = || StoreError::PieceList(*digest);
        let limit = piece_count(size).saturating_mul(32);
        let bytes = read_bounded(found, &key, limit).await?.ok_or_else(unfit)?;
        PieceList::decode(&bytes, size)
            .map(Some)
            .map_err(|_| unfit())
    }

    /// Publishes the object, which must be held, at `path`, as an object of its
    /// own with the media type that its name speaks of.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`] if the object is not held;
    /// [`StoreError::Remote`].
    pub async fn publish_file(&self, path: &FilePath, item: &Item) -> Result<(), StoreError> {
        let key = self.file_key(path)?;
        if self.is_published(&key, item).await? {
            return Ok(());
        }
        if !self.has(&item.digest, item.size).await? {
            return Err(StoreError::NotFound(item.digest));
        }
        let media_type = media_type_of(path).unwrap_or_else(|| item.media_type.clone());
        self.copy(self.blob_key(&item.digest), key, item, media_type)
            .await
    }

    /// Keeps the object where nobody looks for it; false if it was not there.
    /// What lies at paths is not touched.
    ///
    /// # Errors
    ///
    /// [`StoreError::Remote`].
    pub async fn withhold(&self, item: &Item) -> Result<bool, StoreError> {
        let (seen, aside) = (self.blob_key(&item.digest), self.withheld_key(&item.digest));
        self.move_object(seen, aside, item).await
    }

    /// Undoes [`Self::withhold`]; false if the object was not withheld.
    ///
    /// # Errors
    ///
    /// [`StoreError::Remote`].
    pub async fn restore(&self, item: &Item) -> Result<bool, StoreError> {
        let (seen, aside) = (self.blob_key(&item.digest), self.withheld_key(&item.digest));
        self.move_object(aside, seen, item).await
    }

    async fn move_object(&self, from: Path, to: Path, item: &Item) -> Result<bool, StoreError> {
        if !self.has_key(&from, item.size).await? {
            return Ok(false);
        }
        let media_type = item.media_type.clone();
        self.copy(from.clone(), to, item, media_type).await?;
        self.remove_key(&from).await
    }

    /// Copies an object to where it is called `media_type`.
    async fn copy(
        &self,
        from: Path,
        to: Path,
        item: &Item,
        media_type: MediaType,
    ) -> Result<(), StoreError> {
        if media_type == item.media_type && item.size <= MOST_COPIED {
            let copied = self.inner.store.copy(&from, &to).await;
            return copied.map_err(remote("copy to", &to));
        }
        self.copy_through(from, to, item, media_type).await
    }

    /// Removes the file at `path`; nothing happens if it is not there.
    ///
    /// # Errors
    ///
    /// [`StoreError::Remote`].
    pub async fn withdraw_file(&self, path: &FilePath) -> Result<(), StoreError> {
        let key = self.file_key(path)?;
        self.remove_key(&key).await.map(drop)
    }

    /// What lies at `path`, and what it says it is.
    #[cfg(test)]
    pub(super) async fn read_file(&self, path: &FilePath) -> Option<(Bytes, Option<MediaType>)> {
        let key = self.file_key(path).unwrap();
        let found = self.inner.store.get(&key).await.ok()?;
        let media_type = found.attributes.get(&Attribute::ContentType);
        let media_type = media_type.map(|value| MediaType::try_new(value.as_ref()).unwrap());
        let usual = MediaType::octet_stream();
        let media_type = media_type.filter(|media_type| *media_type != usual);
        Some((found.bytes().await.unwrap(), media_type))
    }

    /// Copies an object by way of this machine, looking at it once more.
    async fn copy_through(
        &self,
        from: Path,
        key: Path,
        item: &Item,
        media_type: MediaType,
    ) -> Result<(), StoreError> {
        let mut stream = self.get(&item.digest, &from).await?.into_stream();
        let target = Target {
            bucket: self.clone(),
            digest: item.digest,
            size: item.size,
            attributes: self.attributes(&item.digest, &media_type),
            key,
            replace: true,
        };
        let claim = self.claim(&item.digest).await;
        let options = WriterOptions::default();
        let mut writer = StreamWriter::new(claim, item.size, options, Box::new(target))?;
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(remote("read", &from))?;
            writer.write(vec![chunk]).await?;
        }
        writer.commit().await.map(drop)
    }

    /// True if our own note at `key` says that it is the item.
    async fn is_published(&self, key: &Path, item: &Item) -> Result<bool, StoreError> {
        let options = GetOptions {
            head: true,
            ..GetOptions::default()
        };
        match self.inner.store.get_opts(key, options).await {
            Ok(found) => {
                let noted = found.attributes.get(&DIGEST).map(|value| value.as_ref());
                Ok(found.meta.size == item.size && noted == Some(&item.digest.to_hex()))
            }
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(remote("examine", key)(error)),
        }
    }

    /// Waits until nobody else in this process writes `digest`.
    pub(crate) async fn claim(&self, digest: &Digest) -> Claim {
        self.inner.claims.take(digest).await
    }

    pub(crate) fn writer(
        &self,
        claim: Claim,
        item: &Item,
        options: WriterOptions,
    ) -> Result<StreamWriter, StoreError> {
        let target = Target {
            bucket: self.clone(),
            digest: item.digest,
            size: item.size,
            key: self.blob_key(&item.digest),
            attributes: self.attributes(&item.digest, &item.media_type),
            replace: false,
        };
        StreamWriter::new(claim, item.size, options, Box::new(target))
    }

    /// Aborts what this owner has begun and not finished: of one object, or all
    /// of it. Nobody else may be writing that.
    /// Aborts uploads of this owner that nobody here goes on with and that were
    /// begun before `before` (POSIX seconds). Gives how many.
    ///
    /// # Errors
    ///
    /// [`StoreError::Remote`].
    pub async fn abort_stale(&self, before: u64) -> Result<u64, StoreError> {
        let folder = self.key(&[".landfall", "uploads", &self.inner.owner]);
        let found = self.inner.store.list(Some(&folder));
        let found: Vec<_> = found.map_err(remote("list", &folder)).try_collect().await?;
        let mut aborted = 0;
        for meta in found {
            let is_old = u64::try_from(meta.last_modified.timestamp());
            let digest = meta.location.filename().map(Digest::from_hex);
            let (true, Some(Ok(digest))) = (is_old.is_ok_and(|at| at < before), digest) else {
                continue;
            };
            let Some(_claim) = self.inner.claims.try_take(&digest) else {
                continue;
            };
            self.abort_leftovers(Some(&digest)).await?;
            aborted += 1;
        }
        Ok(aborted)
    }

    async fn abort_leftovers(&self, digest: Option<&Digest>) -> Result<(), StoreError> {
        let Some(multipart) = &self.inner.multipart else {
            return Ok(());
        };
        let store = &self.inner.store;
        let records: Vec<Path> = match digest {
            Some(digest) => vec![self.record_key(digest)],
            None => {
                let folder = self.key(&[".landfall", "uploads", &self.inner.owner]);
                let found = store.list(Some(&folder)).map_ok(|meta| meta.location);
                found.map_err(remote("list", &folder)).try_collect().await?
            }
        };
        for key in records {
            let found = match store.get(&key).await {
                Ok(found) => found,
                Err(object_store::Error::NotFound { .. }) => continue,
                Err(error) => return Err(remote("read", &key)(error)),
            };
            let bytes = read_bounded(found, &key, RECORD_BYTES as u64).await?;
            let record = bytes.and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok());
            if let Some(Record {
                key: target,
                upload,
            }) = record
                && let Ok(target) = Path::parse(&target)
            {
                match multipart.abort_multipart(&target, &upload).await {
                    Ok(()) => tracing::info!(key = %target, "aborted an upload that was left"),
                    Err(object_store::Error::NotFound { .. }) => {}
                    Err(error) => return Err(remote("abort an upload of", &target)(error)),
                }
            }
            self.remove_key(&key).await?;
        }
        Ok(())
    }

    async fn has_key(&self, key: &Path, size: u64) -> Result<bool, StoreError> {
        match self.inner.store.head(key).await {
            Ok(found) => Ok(found.size == size),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(remote("examine", key)(error)),
        }
    }

    async fn get(
        &self,
        digest: &Digest,
        key: &Path,
    ) -> Result<object_store::GetResult, StoreError> {
        match self.inner.store.get(key).await {
            Ok(found) => Ok(found),
            Err(object_store::Error::NotFound { .. }) => Err(StoreError::NotFound(*digest)),
            Err(error) => Err(remote("read", key)(error)),
        }
    }

    /// Providers differ in what deleting nothing is, so it is looked for first.
    async fn remove_key(&self, key: &Path) -> Result<bool, StoreError> {
        match self.inner.store.head(key).await {
            Ok(_) => {}
            Err(object_store::Error::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(remote("examine", key)(error)),
        }
        match self.inner.store.delete(key).await {
            Ok(()) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(remote("remove", key)(error)),
        }
    }

    fn attributes(&self, digest: &Digest, media_type: &MediaType) -> Attributes {
        if !self.inner.describes {
            return Attributes::new();
        }
        Attributes::from_iter([
            (Attribute::ContentType, media_type.as_str().to_owned()),
            (DIGEST, digest.to_hex()),
        ])
    }

    fn key(&self, segments: &[&str]) -> Path {
        let mut key = self.inner.prefix.clone();
        for segment in segments {
            key = key.join(*segment);
        }
        key
    }

    fn blob_key(&self, digest: &Digest) -> Path {
        self.key(&["blobs", "sha256", &digest.to_hex()])
    }

    fn pieces_key(&self, digest: &Digest) -> Path {
        self.key(&[".landfall", "pieces", &digest.to_hex()])
    }

    fn withheld_key(&self, digest: &Digest) -> Path {
        self.key(&[".landfall", "withheld", &digest.to_hex()])
    }

    fn record_key(&self, digest: &Digest) -> Path {
        let hex = digest.to_hex();
        self.key(&[".landfall", "uploads", &self.inner.owner, &hex])
    }

    /// The path as it is: users ask for exactly that.
    fn file_key(&self, path: &FilePath) -> Result<Path, StoreError> {
        let text = match self.inner.prefix.as_ref() {
            "" => path.to_string(),
            prefix => format!("{prefix}/{path}"),
        };
        Path::parse(&text).map_err(|_| StoreError::Collision { path: text.into() })
    }
}

/// What a file is, as far as its name tells and it matters to browsers.
fn media_type_of(path: &FilePath) -> Option<MediaType> {
    let name = path.as_str().rsplit('/').next().unwrap_or_default();
    let (_, extension) = name.rsplit_once('.')?;
    let text = match extension.to_ascii_lowercase().as_str() {
        "txt" | "md" | "sha1" | "sha256" | "sha512" | "sha256sum" | "sha512sum" | "asc"
        | "yaml" | "yml" | "sh" => "text/plain",
        "html" => "text/html",
        "json" | "spdx" | "intoto" => "application/json",
        _ => return None,
    };
    MediaType::try_new(text).ok()
}

pub(super) async fn read_bounded(
    found: object_store::GetResult,
    key: &Path,
    limit: u64,
) -> Result<Option<Bytes>, StoreError> {
    if found.meta.size > limit {
        return Ok(None);
    }
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    match read_to_limit(found.into_stream(), limit).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.is_too_large() => Ok(None),
        Err(error) => Err(StoreError::Remote {
            operation: "read",
            place: key.to_string(),
            detail: super::error::without_queries(&error.to_string()),
            retry_after: None,
        }),
    }
}

pub(super) fn remote(
    operation: &'static str,
    key: &Path,
) -> impl Fn(object_store::Error) -> StoreError {
    let key = key.clone();
    move |error| StoreError::from_bucket(operation, &key, &error)
}
