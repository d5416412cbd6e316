//! A bucket keeps what is withdrawn beside its objects; its files go.

use landfall_catalog::{Digest, Name};
use landfall_content::{BucketStore, Item, NameChange, StoreError};
use landfall_proto::status::chain;

use super::super::{Withdrawals, item};
use super::exposed::Seen;

/// An object, and the files that it is published as.
struct Published {
    item: Item,
    files: Vec<Name>,
}

impl Withdrawals {
    pub(super) async fn hide_in_bucket(
        &self,
        bucket: &BucketStore,
        objects: &[Digest],
    ) -> Vec<Seen> {
        let mut seen = Vec::new();
        for Published { item, files } in self.published(objects) {
            let gone = files
                .into_iter()
                .map(|name| NameChange { name, target: None });
            let mut troubles = self.set_names(gone.collect()).await;
            if let Err(error) = bucket.withhold(&item).await {
                troubles.push(format!("{}: {}", item.digest, chain(&error)));
            }
            seen.extend(troubles.into_iter().map(|why| Seen {
                digest: item.digest,
                repository: None,
                why,
            }));
        }
        seen
    }

    pub(super) async fn bring_back_in_bucket(
        &self,
        bucket: &BucketStore,
        objects: &[Digest],
    ) -> Result<(), StoreError> {
        for published in self.published(objects) {
            bucket.restore(&published.item).await?;
        }
        Ok(())
    }

    pub(super) fn files_of(&self, objects: &[Digest]) -> Vec<NameChange> {
        let changes = |Published { item, files }| {
            files.into_iter().map(move |name| NameChange {
                name,
                target: Some(Item::clone(&item)),
            })
        };
        let published = self.published(objects).into_iter();
        published.flat_map(changes).collect()
    }

    fn published(&self, objects: &[Digest]) -> Vec<Published> {
        self.read_each(objects, |catalog, digest| {
            let names = catalog.names_of(catalog.ordinal(digest)?);
            Some(Published {
                item: item(catalog, digest)?,
                files: names.filter(|name| matches!(name, Name::File(_))).collect(),
            })
        })
    }
}
