//! A bucket or registry that anybody may read does not ask the catalog: what is
//! withdrawn has to go out of its sight, and is kept aside for a reinstatement.
//!
//! Where that fails, who withdrew is told so, and it is tried again at the next
//! start: nobody who asks the catalog is served it in any case.

mod bucket;
mod registry;

use landfall_catalog::{Catalog, Digest};
use landfall_content::{NameChange, Store, StoreError};
use landfall_proto::status::chain;

use super::{Withdrawals, gone_with};

/// What the origin's store shows not as the catalog has it, for people.
pub(crate) type Troubles = Vec<String>;

impl Withdrawals {
    /// Takes what is withdrawn among `objects`, and what nothing live needs
    /// since, out of sight of who reads the origin's store without us.
    pub(crate) async fn hide(&self, objects: &[Digest]) -> Troubles {
        let gone = self.catalog.read(|catalog| gone_with(catalog, objects));
        let mut troubles = match &self.store {
            Store::Directory(_) => return Troubles::new(),
            Store::Bucket(bucket) => self.hide_in_bucket(bucket, &gone).await,
            Store::Registry(registry) => self.hide_in_registry(registry, &gone).await,
        };
        // Somebody may have promoted it with something else while it was moved.
        // (An operation that ends later looks itself.)
        let is_live = |catalog: &Catalog, digest: &Digest| {
            let ordinal = catalog.ordinal(digest)?;
            catalog.is_live(ordinal).then_some(*digest)
        };
        let again = self.read_each(&gone, is_live);
        if let Err(error) = self.bring_back(&again).await {
            troubles.push(chain(&error));
        }
        for trouble in &troubles {
            tracing::error!("what is withdrawn can still be read at the origin: {trouble}");
        }
        troubles
    }

    /// As [`Self::hide`], for everything that is withdrawn: a stop may have come
    /// between a withdrawal and its effect on the store.
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
        match &self.store {
            Store::Directory(_) => Ok(()),
            Store::Bucket(bucket) => self.bring_back_in_bucket(bucket, objects).await,
            Store::Registry(registry) => self.bring_back_in_registry(registry, objects).await,
        }
    }

    /// Publishes the names of `objects` again.
    pub(super) async fn show(&self, objects: &[Digest]) -> Troubles {
        let names = match &self.store {
            Store::Directory(_) => return Troubles::new(),
            Store::Bucket(_) => self.files_of(objects),
            Store::Registry(_) => self.tags_of(objects),
        };
        let troubles = self.set_names(names).await;
        for trouble in &troubles {
            tracing::error!("what is reinstated cannot be read at the origin yet: {trouble}");
        }
        troubles
    }

    async fn set_names(&self, changes: Vec<NameChange>) -> Troubles {
        let report = match self.store.set_names(changes).await {
            Ok(report) => report,
            Err(error) => return vec![chain(&error)],
        };
        let failed = report.failed.into_iter();
        failed
            .map(|(name, error)| format!("{name}: {}", chain(&error)))
            .collect()
    }

    fn read_each<T>(
        &self,
        objects: &[Digest],
        read: impl Fn(&Catalog, &Digest) -> Option<T>,
    ) -> Vec<T> {
        self.catalog.read(|catalog| {
            let read = |digest| read(catalog, digest);
            objects.iter().filter_map(read).collect()
        })
    }
}
