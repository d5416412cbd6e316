//! The registry store: images only. A repository of the catalog is one below
//! the URL's path; blobs come first, then OCI manifests, then tags, so that
//! nothing can be pulled that is not whole.
//!
//! A registry is asked before anything is sent, a blob that another repository
//! has is mounted, and the request that makes an upload a blob is made only when
//! all bytes were right. The registry's own check comes on top of it. Uploads
//! that a killed program left cannot be seen and expire by themselves.
//!
//! Where the registry has no referrers API, the list of a subject's referrers is
//! kept under its fallback tag `sha256-<hex>`. That is a read and a write: one
//! program at a time may write to a repository.

mod aside;
#[cfg(test)]
mod tests;
mod upload;

use std::collections::HashMap;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::StreamExt as _;
use landfall_catalog::{Digest, Hasher, Repository, Tag};
use landfall_runtime::dial::without_secrets;
use landfall_runtime::retry::{RetryPolicy, retry};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use url::Url;

use super::claim::{Claim, Claims};
use super::stream::StreamWriter;
use super::{Item, StoreError, WriterOptions};
use crate::oci::{Credentials, Document, INDEX, Reference, Registry, RegistryAuth, is_manifest};
use crate::pace::Paces;
use crate::source::{Source, SourceError, SourceErrorKind, fetch_bytes};
pub use aside::ASIDE;
use upload::Target;

/// How long a document may take to come.
const PATIENCE: Duration = Duration::from_secs(60);
/// Blobs of which it is remembered where they are.
const MOST_KNOWN: usize = 100_000;

/// A store in a registry. Cloning gives another handle to the same.
#[derive(Clone, Debug)]
pub struct RegistryStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    registry: Registry,
    name: String,
    claims: Claims,
    /// A repository that has the blob: it can be mounted from there.
    known: StdMutex<HashMap<Digest, Repository>>,
    /// Held while a list of referrers is changed.
    referrers: Mutex<()>,
}

impl RegistryStore {
    /// The registry at `oci://host/prefix`, or `oci+http://` on this machine.
    /// Credentials are those that `docker login` or `podman login` left; see
    /// [`Credentials::of_environment`].
    ///
    /// # Errors
    ///
    /// [`StoreError::Url`].
    pub async fn open(
        url: &Url,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, StoreError> {
        let name = without_secrets(url).trim_end_matches('/').to_owned();
        let refused = |why: String| StoreError::Url {
            url: name.clone(),
            why,
        };
        // The `url` crate changes no scheme of its own kind into one of HTTP's.
        let text = match url.scheme() {
            "oci+http" => url.as_str().replacen("oci+http", "http", 1),
            _ => url.as_str().replacen("oci", "https", 1),
        };
        let endpoint: Url = text.parse().map_err(|_| refused("is no URL".to_owned()))?;
        let credentials = Credentials::of_environment(environment);
        let checked = credentials.check().await;
        checked.map_err(|error| refused(error.to_string()))?;
        let auth = RegistryAuth::Stored(credentials);
        let registry = Registry::paced(&endpoint, auth, &Paces::default()).map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            refused(cause.unwrap_or_else(|| error.to_string()))
        })?;
        Ok(Self {
            inner: Arc::new(Inner {
                registry,
                name,
                claims: Claims::default(),
                known: StdMutex::default(),
                referrers: Mutex::default(),
            }),
        })
    }

    /// Where it is, without secrets.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The registry itself, with this store's login: to look at what is there.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.inner.registry
    }

    /// True if the item's repository has it, with that length.
    ///
    /// # Errors
    ///
    /// [`StoreError::Remote`]; [`StoreError::Unsupported`] if the item is in no
    /// repository.
    pub async fn has(&self, item: &Item) -> Result<bool, StoreError> {
        let repository = repository(item)?;
        let registry = &self.inner.registry;
        // While somebody else pushes the same, some registries answer 500.
        let policy = RetryPolicy {
            first_delay: Duration::from_millis(100),
            max_delay: Duration::from_millis(500),
            attempts: 5,
            budget: Duration::from_secs(2),
        };
        let found = retry(policy, "examine", async || {
            if is_manifest(&item.media_type) {
                registry.manifest_size(repository, &item.digest).await
            } else {
                registry.blob_size(repository, &item.digest).await
            }
        })
        .await;
        let found = found.map_err(|error| self.said("examine", item, error))?;
        let has = found == Some(item.size);
        if has {
            self.remember(item, repository);
        }
        Ok(has)
    }

    /// Reads and hashes the object; false if it is not what its name says.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`], [`StoreError::Remote`].
    pub async fn verify(&self, item: &Item) -> Result<bool, StoreError> {
        let source = self.source(item)?;
        let failed = |error| self.read_failed(item, error);
        let mut stream = source.open(0).await.map_err(failed)?.stream;
        let mut hasher = Hasher::new();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(failed)?;
            hasher = tokio::task::spawn_blocking(move || {
                hasher.update(&chunk);
                hasher
            })
            .await
            .map_err(|_| StoreError::Cancelled)?;
        }
        Ok(hasher.finish() == item.digest)
    }

    /// The whole object, checked against its digest.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`]; [`StoreError::TooLong`] if it has more than
    /// `limit` bytes; [`StoreError::Remote`], also if its bytes are wrong.
    pub async fn read(&self, item: &Item, limit: u64) -> Result<Bytes, StoreError> {
        if item.size > limit {
            return Err(StoreError::TooLong {
                digest: item.digest,
                limit,
            });
        }
        let source = self.source(item)?;
        fetch_bytes(source.as_ref(), &item.digest, limit, PATIENCE)
            .await
            .map_err(|error| self.read_failed(item, error))
    }

    /// The object, to be read from any position on.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unsupported`] if the item is in no repository.
    pub fn source(&self, item: &Item) -> Result<Arc<dyn Source>, StoreError> {
        let repository = repository(item)?;
        let registry = &self.inner.registry;
        Ok(if is_manifest(&item.media_type) {
            registry.document(repository, &item.digest)
        } else {
            registry.blob(repository, &item.digest)
        })
    }

    /// Stores a small object.
    ///
    /// # Errors
    ///
    /// [`StoreError::Mismatch`] if `bytes` are not those of the item;
    /// [`StoreError::Remote`].
    pub async fn put_bytes(&self, item: &Item, bytes: Bytes) -> Result<(), StoreError> {
        let found = Digest::of(&bytes);
        if found != item.digest {
            return Err(StoreError::Mismatch {
                expected: item.digest,
                found,
            });
        }
        let claim = self.claim(item).await?;
        if self.has(item).await? || self.mount(item).await? {
            return Ok(());
        }
        let mut writer = self.writer(claim, item, WriterOptions::default())?;
        writer.write(vec![bytes]).await?;
        writer.commit().await.map(drop)
    }

    /// Removes the object from its repository; false if it was not there. Tags of
    /// a manifest go with it.
    ///
    /// # Errors
    ///
    /// [`StoreError::Remote`], also if the registry deletes nothing.
    pub async fn remove(&self, item: &Item) -> Result<bool, StoreError> {
        let repository = repository(item)?;
        let is_manifest = is_manifest(&item.media_type);
        if is_manifest {
            self.unlist(repository, item).await?;
        }
        let kind = if is_manifest { "manifests" } else { "blobs" };
        let path = format!("{kind}/{}", item.digest);
        self.known().remove(&item.digest);
        let removed = self.inner.registry.delete(repository, &path).await;
        removed.map_err(|error| self.said("remove", item, error))
    }

    /// Makes `repository:tag` mean the item, a manifest that is there.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`] if it is not; [`StoreError::Remote`].
    pub async fn set_tag(
        &self,
        repository: &Repository,
        tag: &Tag,
        item: &Item,
    ) -> Result<(), StoreError> {
        let registry = &self.inner.registry;
        let said = |error| self.said("tag", item, error);
        let by_digest = Reference::Digest(item.digest);
        let found = registry.manifest(repository, &by_digest).await;
        let found = found.map_err(said)?;
        let found = found.ok_or(StoreError::NotFound(item.digest))?;
        let reference = Reference::Tag(tag.clone());
        let put = registry.put_manifest(repository, &reference, &found.media_type, &found.bytes);
        put.await.map(drop).map_err(said)
    }

    /// The digest of what a tag means; none if there is no such tag.
    ///
    /// # Errors
    ///
    /// [`StoreError::Remote`].
    pub async fn tagged(
        &self,
        repository: &Repository,
        tag: &Tag,
    ) -> Result<Option<Digest>, StoreError> {
        let reference = Reference::Tag(tag.clone());
        let found = self.inner.registry.manifest(repository, &reference).await;
        let found = found.map_err(|error| {
            let place = format!("{}/{repository}:{tag}", self.inner.name);
            StoreError::from_registry("read", &place, error)
        })?;
        Ok(found.map(|found| found.digest))
    }

    /// All tags of `repository`; none if there is no such repository.
    ///
    /// # Errors
    ///
    /// [`StoreError::Remote`].
    pub async fn tags(&self, repository: &Repository) -> Result<Vec<Tag>, StoreError> {
        let found = self.inner.registry.tags(repository).await;
        let found = found.map_err(|error| {
            let place = format!("{}/{repository}", self.inner.name);
            StoreError::from_registry("list", &place, error)
        })?;
        Ok(found.unwrap_or_default())
    }

    /// Waits until nobody else in this process writes the item.
    pub(crate) async fn claim(&self, item: &Item) -> Result<Claim, StoreError> {
        repository(item)?;
        Ok(self.inner.claims.take(&item.digest).await)
    }

    /// Takes a blob from another repository that is known to have it.
    pub(crate) async fn mount(&self, item: &Item) -> Result<bool, StoreError> {
        let into = repository(item)?;
        let from = self.known().get(&item.digest).cloned();
        let Some(from) = from.filter(|from| from != into && !is_manifest(&item.media_type)) else {
            return Ok(false);
        };
        let mounted = self.inner.registry.mount(into, &item.digest, &from).await;
        let mounted = mounted.map_err(|error| self.said("mount", item, error))?;
        // What was mounted is looked at like anything else.
        Ok(mounted && self.has(item).await?)
    }

    pub(crate) fn writer(
        &self,
        claim: Claim,
        item: &Item,
        options: WriterOptions,
    ) -> Result<StreamWriter, StoreError> {
        let target = Target {
            store: self.clone(),
            item: item.clone(),
            repository: repository(item)?.clone(),
        };
        StreamWriter::new(claim, item.size, options, Box::new(target))
    }

    /// Stores a manifest, and lists it with its subject if the registry does not.
    async fn put_manifest(&self, target: &Target, bytes: &Bytes) -> Result<(), StoreError> {
        let item = &target.item;
        let said = |error| self.said("write", item, error);
        let reference = Reference::Digest(item.digest);
        let registry = &self.inner.registry;
        let put = registry.put_manifest(&target.repository, &reference, &item.media_type, bytes);
        let is_listed = put.await.map_err(said)?;
        let document = Document::parse(bytes, Some(item.media_type.as_str())).map_err(|error| {
            self.said(
                "read",
                item,
                SourceError::broken("is no manifest").caused_by(error),
            )
        })?;
        let Some(subject) = document.subject.as_ref().filter(|_| !is_listed) else {
            return Ok(());
        };
        let mut entry = json!({
            "mediaType": item.media_type,
            "digest": item.digest,
            "size": item.size,
        });
        if let Some(artifact_type) = &document.artifact_type {
            entry["artifactType"] = json!(artifact_type);
        }
        if !document.annotations.is_empty() {
            entry["annotations"] = json!(document.annotations);
        }
        self.relist(
            &target.repository,
            &subject.digest,
            &item.digest,
            Some(entry),
        )
        .await
        .map_err(said)
    }

    /// Takes a manifest that is to be removed off its subject's list.
    async fn unlist(&self, repository: &Repository, item: &Item) -> Result<(), StoreError> {
        let said = |error| self.said("remove", item, error);
        let reference = Reference::Digest(item.digest);
        let found = self.inner.registry.manifest(repository, &reference).await;
        let Some(found) = found.map_err(said)? else {
            return Ok(());
        };
        let document = Document::parse(&found.bytes, Some(found.media_type.as_str()));
        match document.ok().and_then(|document| document.subject) {
            Some(subject) => self
                .relist(repository, &subject.digest, &item.digest, None)
                .await
                .map_err(said),
            None => Ok(()),
        }
    }

    /// Replaces what the list under a subject's fallback tag says of `referrer`.
    async fn relist(
        &self,
        repository: &Repository,
        subject: &Digest,
        referrer: &Digest,
        entry: Option<Value>,
    ) -> Result<(), SourceError> {
        let _alone = self.inner.referrers.lock().await;
        let registry = &self.inner.registry;
        let tag = format!("sha256-{}", subject.to_hex());
        let tag: Tag = tag
            .parse()
            .map_err(|error| SourceError::broken("no such tag can exist").caused_by(error))?;
        let reference = Reference::Tag(tag);
        let held = registry.manifest(repository, &reference).await?;
        let mut list = match &held {
            Some(held) => serde_json::from_slice(&held.bytes)
                .map_err(|error| SourceError::broken("has an odd list").caused_by(error))?,
            None if entry.is_none() => return Ok(()),
            None => json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}),
        };
        let Some(entries) = list["manifests"].as_array_mut() else {
            return Err(SourceError::broken("has an odd list of referrers"));
        };
        let before = entries.clone();
        entries.retain(|entry| entry["digest"] != json!(referrer));
        entries.extend(entry);
        if *entries == before {
            return Ok(());
        }
        let media_type = landfall_catalog::MediaType::try_new(INDEX)
            .map_err(|error| SourceError::broken("no such type").caused_by(error))?;
        let bytes = Bytes::from(list.to_string());
        registry
            .put_manifest(repository, &reference, &media_type, &bytes)
            .await
            .map(drop)
    }

    fn remember(&self, item: &Item, repository: &Repository) {
        let mut known = self.known();
        if known.len() >= MOST_KNOWN {
            known.clear();
        }
        known.insert(item.digest, repository.clone());
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, Repository>> {
        self.inner
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn read_failed(&self, item: &Item, error: SourceError) -> StoreError {
        if error.kind == SourceErrorKind::NotFound {
            StoreError::NotFound(item.digest)
        } else {
            self.said("read", item, error)
        }
    }

    fn said(&self, operation: &'static str, item: &Item, error: SourceError) -> StoreError {
        let repository = item.repository.as_ref().map_or("", Repository::as_str);
        let place = format!("{}/{repository}@{}", self.inner.name, item.digest);
        StoreError::from_registry(operation, &place, error)
    }
}

fn repository(item: &Item) -> Result<&Repository, StoreError> {
    item.repository.as_ref().ok_or(StoreError::Unsupported(
        "a registry has objects in repositories only",
    ))
}
