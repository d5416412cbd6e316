//! A bucket that anybody may read does not ask the catalog: what is withdrawn
//! has to go out of its sight, and is kept aside for a reinstatement.

use std::collections::BTreeSet;

use landfall_catalog::{Catalog, Digest, Name};
use landfall_content::{BucketStore, Item, NameChange, Store, StoreError};
use landfall_proto::status::chain;

use super::{Withdrawals, item};

/// An object, and the files that it is published as.
struct Seen {
    item: Item,
    files: Vec<Name>,
}

impl Withdrawals {
    /// Takes what is withdrawn among `objects` out of sight of who reads the
    /// bucket. What fails is said, and tried again at the next start: nobody who
    /// asks the catalog is served it in any case.
    pub(super) async fn hide(&self, objects: &[Digest]) {
        let Store::Bucket(bucket) = &self.store else {
            return;
        };
        for seen in self.seen(objects, |catalog, digest| {
            catalog.withdrawn(digest).is_some()
        }) {
            if let Err(error) = self.hide_one(bucket, &seen).await {
                let digest = seen.item.digest;
                tracing::error!(%digest, error = %chain(&error), "what is withdrawn can still be read in the bucket");
            }
        }
    }

    /// As [`Self::hide`], for everything that is withdrawn: a stop may have come
    /// between a withdrawal and its effect on the bucket.
    pub(crate) async fn hide_all(&self) {
        let withdrawn: Vec<_> = self.catalog.read(|catalog| {
            let all = catalog.all_withdrawn();
            all.filter_map(|(ordinal, _)| Some(*catalog.object(ordinal)?.digest()))
                .collect()
        });
        self.hide(&withdrawn).await;
    }

    /// Brings the bytes of `objects` back to where they are looked for.
    pub(super) async fn bring_back(&self, objects: &[Digest]) -> Result<(), StoreError> {
        if let Store::Bucket(bucket) = &self.store {
            for seen in self.seen(objects, |_, _| true) {
                bucket.restore(&seen.item).await?;
            }
        }
        Ok(())
    }

    /// Publishes the files of `objects` again.
    pub(super) async fn show(&self, objects: &[Digest]) {
        if !matches!(self.store, Store::Bucket(_)) {
            return;
        }
        for Seen { item, files } in self.seen(objects, |_, _| true) {
            let again = files.into_iter().map(|name| NameChange {
                name,
                target: Some(item.clone()),
            });
            self.set_names(again.collect()).await;
        }
    }

    async fn hide_one(&self, bucket: &BucketStore, seen: &Seen) -> Result<(), StoreError> {
        let gone = seen.files.iter().map(|name| NameChange {
            name: name.clone(),
            target: None,
        });
        self.set_names(gone.collect()).await;
        bucket.withhold(&seen.item).await.map(drop)
    }

    async fn set_names(&self, changes: Vec<NameChange>) {
        let failed = match self.store.set_names(changes).await {
            Ok(report) => report.failed,
            // A bucket answers for each name.
            Err(_) => Vec::new(),
        };
        for (name, error) in failed {
            tracing::error!(%name, error = %chain(&error), "a name in the bucket is not as the catalog has it");
        }
    }

    fn seen(&self, objects: &[Digest], which: impl Fn(&Catalog, &Digest) -> bool) -> Vec<Seen> {
        let objects: BTreeSet<_> = objects.iter().collect();
        self.catalog.read(|catalog| {
            objects
                .into_iter()
                .filter(|digest| which(catalog, digest))
                .filter_map(|digest| {
                    let names = catalog.names_of(catalog.ordinal(digest)?);
                    Some(Seen {
                        item: item(catalog, digest)?,
                        files: names.filter(|name| matches!(name, Name::File(_))).collect(),
                    })
                })
                .collect()
        })
    }
}
