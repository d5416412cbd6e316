//! A bucket keeps what is withdrawn beside its objects; its files go.

use landfall_catalog::{Digest, Name};
use landfall_content::{BucketStore, Item, NameChange, StoreError};
use landfall_proto::status::chain;

use super::super::{Withdrawals, item};
use super::Troubles;

/// An object, and the files that it is published as.
struct Seen {
    item: Item,
    files: Vec<Name>,
}

impl Withdrawals {
    pub(super) async fn hide_in_bucket(
        &self,
        bucket: &BucketStore,
        objects: &[Digest],
    ) -> Troubles {
        let mut troubles = Troubles::new();
        for Seen { item, files } in self.seen(objects) {
            let gone = files
                .into_iter()
                .map(|name| NameChange { name, target: None });
            troubles.extend(self.set_names(gone.collect()).await);
            if let Err(error) = bucket.withhold(&item).await {
                troubles.push(format!("{}: {}", item.digest, chain(&error)));
            }
        }
        troubles
    }

    pub(super) async fn bring_back_in_bucket(
        &self,
        bucket: &BucketStore,
        objects: &[Digest],
    ) -> Result<(), StoreError> {
        for seen in self.seen(objects) {
            bucket.restore(&seen.item).await?;
        }
        Ok(())
    }

    pub(super) fn files_of(&self, objects: &[Digest]) -> Vec<NameChange> {
        let changes = |Seen { item, files }| {
            files.into_iter().map(move |name| NameChange {
                name,
                target: Some(Item::clone(&item)),
            })
        };
        self.seen(objects).into_iter().flat_map(changes).collect()
    }

    fn seen(&self, objects: &[Digest]) -> Vec<Seen> {
        self.read_each(objects, |catalog, digest| {
            let names = catalog.names_of(catalog.ordinal(digest)?);
            Some(Seen {
                item: item(catalog, digest)?,
                files: names.filter(|name| matches!(name, Name::File(_))).collect(),
            })
        })
    }
}
