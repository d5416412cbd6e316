//! Names that go, and content that is taken out of sight and brought back.
//!
//! A registry has no place that only its owner reads, and what no manifest needs
//! its garbage collection takes away. So what is withdrawn is kept, whole, in a
//! repository of its own below [`ASIDE`], whose names nobody is told and which an
//! operator may close; from where people pull, its manifests go with their tags,
//! and its blobs.

use bytes::Bytes;
use futures::stream::StreamExt as _;
use landfall_catalog::{MediaType, Repository, Tag};
use serde_json::json;

use super::{RegistryStore, repository};
use crate::oci::{INDEX, Reference, is_manifest};
use crate::source::{SourceError, SourceErrorKind};
use crate::store::{Item, StoreError, WriterOptions};

/// Where repositories are kept aside; nothing else may be below it.
pub const ASIDE: &str = "landfall-withheld";

impl RegistryStore {
    /// Removes a tag; nothing happens if it is not there. A registry that deletes
    /// no tags, but manifests, is first told that the tag means something empty,
    /// and then to delete that: what the tag meant stays, with its other tags.
    ///
    /// # Errors
    ///
    /// [`StoreError::Remote`], also if the registry deletes nothing.
    pub async fn remove_tag(&self, repository: &Repository, tag: &Tag) -> Result<(), StoreError> {
        let registry = &self.inner.registry;
        let said = |error| {
            let place = format!("{}/{repository}:{tag}", self.inner.name);
            StoreError::from_registry("remove", &place, error)
        };
        let path = format!("manifests/{tag}");
        match registry.delete(repository, &path).await {
            Ok(_) => return Ok(()),
            Err(error) if matches!(error.kind, SourceErrorKind::Transient { .. }) => {
                return Err(said(error));
            }
            // It may know digests only.
            Err(_) => {}
        }
        let reference = Reference::Tag(tag.clone());
        if registry
            .manifest(repository, &reference)
            .await
            .map_err(said)?
            .is_none()
        {
            return Ok(());
        }
        self.empty(repository, tag).await.map_err(said)
    }

    /// Lets a tag mean something of its own, and deletes that.
    async fn empty(&self, repository: &Repository, tag: &Tag) -> Result<(), SourceError> {
        let registry = &self.inner.registry;
        let nothing = json!({
            "schemaVersion": 2, "mediaType": INDEX, "manifests": [],
            "annotations": {"landfall.removed.tag": tag},
        });
        let nothing = Bytes::from(nothing.to_string());
        let index = MediaType::try_new(INDEX)
            .map_err(|error| SourceError::broken("no such type").caused_by(error))?;
        let reference = Reference::Tag(tag.clone());
        registry
            .put_manifest(repository, &reference, &index, &nothing)
            .await?;
        let path = format!("manifests/{}", landfall_catalog::Digest::of(&nothing));
        registry.delete(repository, &path).await.map(drop)
    }

    /// Takes `item` out of its repository and keeps it aside, with what it needs:
    /// `closure`, its parts before those that need them and it as the last. False
    /// if it was not there. `tags` are those that mean it.
    ///
    /// # Errors
    ///
    /// [`StoreError::Remote`], also if the registry deletes nothing: then it can
    /// still be pulled.
    pub async fn withhold(
        &self,
        item: &Item,
        closure: &[Item],
        tags: &[Tag],
    ) -> Result<bool, StoreError> {
        let visible = repository(item)?;
        if !self.has(item).await? {
            return Ok(false);
        }
        let kept = aside(item)?;
        for part in closure {
            self.copy(part, visible, &kept).await?;
        }
        for tag in tags {
            self.remove_tag(visible, tag).await?;
        }
        self.remove(item).await
    }

    /// Undoes [`Self::withhold`], tags apart; false if the object is not aside.
    /// What it needs has to be in its repository.
    ///
    /// # Errors
    ///
    /// [`StoreError::Remote`].
    pub async fn restore(&self, item: &Item) -> Result<bool, StoreError> {
        let (visible, kept) = (repository(item)?, aside(item)?);
        let there = Item {
            repository: Some(kept.clone()),
            ..item.clone()
        };
        if self.has(item).await? || !self.has(&there).await? {
            return Ok(false);
        }
        self.copy(item, &kept, visible).await?;
        Ok(true)
    }

    /// Copies an object from one repository to another, unless that has it.
    async fn copy(
        &self,
        item: &Item,
        from: &Repository,
        to: &Repository,
    ) -> Result<(), StoreError> {
        let here = |repository: &Repository| Item {
            repository: Some(repository.clone()),
            ..item.clone()
        };
        let (source, target) = (here(from), here(to));
        let claim = self.claim(&target).await?;
        if self.has(&target).await? {
            return Ok(());
        }
        if !is_manifest(&item.media_type) {
            self.remember(&source, from);
            if self.mount(&target).await? {
                return Ok(());
            }
        }
        let failed = |error| self.read_failed(&source, error);
        let opened = self.source(&source)?.open(0).await;
        let mut stream = opened.map_err(failed)?.stream;
        let mut writer = self.writer(claim, &target, WriterOptions::default())?;
        while let Some(chunk) = stream.next().await {
            writer.write(vec![chunk.map_err(failed)?]).await?;
        }
        writer.commit().await.map(drop)
    }
}

/// The repository in which an item is kept aside.
fn aside(item: &Item) -> Result<Repository, StoreError> {
    let name = format!("{ASIDE}/{}", repository(item)?);
    Repository::try_new(name)
        .map_err(|_| StoreError::Unsupported("the repository's name is too long for one beside it"))
}
