//! A bucket or registry that anybody may read does not ask the catalog: what is
//! withdrawn has to go out of its sight, and is kept aside for a reinstatement.
//!
//! Where that fails, who withdrew is told so, and so is whoever looks at the
//! status; it is tried again and again, also at the next start. Nobody who asks
//! the catalog is served it in any case.

mod bucket;
mod exposed;
mod registry;

use std::time::Duration;

use landfall_catalog::{Catalog, Digest};
use landfall_content::{NameChange, Store, StoreError};
use landfall_proto::status::chain;
use landfall_runtime::{Shutdown, retry::Backoff};

use super::{Withdrawals, gone_with};
pub(crate) use exposed::Exposed;

/// What the origin's store shows not as the catalog has it, for people.
pub(crate) type Troubles = Vec<String>;

/// Pauses between two attempts to hide what could not be hidden.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

impl Withdrawals {
    /// Takes what is withdrawn among `objects`, and what nothing live needs
    /// since, out of sight of who reads the origin's store without us.
    pub(crate) async fn hide(&self, objects: &[Digest]) -> Troubles {
        let gone = self.catalog.read(|catalog| gone_with(catalog, objects));
        let troubles = self.put_away(&gone).await;
        for trouble in &troubles {
            tracing::error!("what is withdrawn can still be read at the origin: {trouble}");
        }
        troubles
    }

    async fn put_away(&self, gone: &[Digest]) -> Troubles {
        let seen = match &self.store {
            Store::Directory(_) => return Troubles::new(),
            Store::Bucket(bucket) => self.hide_in_bucket(bucket, gone).await,
            Store::Registry(registry) => self.hide_in_registry(registry, gone).await,
        };
        let mut troubles: Troubles = seen.iter().map(|seen| seen.why.clone()).collect();
        self.exposed.replace(gone, seen);
        // Somebody may have reinstated it, or promoted it with something else, while
        // it was moved. (An operation that ends later looks itself.)
        let is_live = |catalog: &Catalog, digest: &Digest| {
            let ordinal = catalog.ordinal(digest)?;
            catalog.is_live(ordinal).then_some(*digest)
        };
        let again = self.read_each(gone, is_live);
        if !again.is_empty() {
            if let Err(error) = self.bring_back(&again).await {
                troubles.push(chain(&error));
            }
            troubles.extend(self.show(&again).await);
        }
        troubles
    }

    /// Hides everything that is withdrawn, since a stop may have come between a
    /// withdrawal and its effect on the store; and then what can still be seen,
    /// until the program stops.
    pub(crate) async fn keep_hidden(&self, shutdown: Shutdown) {
        let work = async {
            self.hide_all().await;
            let mut pauses = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
            loop {
                tokio::time::sleep(pauses.next_delay()).await;
                let seen = self.exposed.all();
                if seen.is_empty() {
                    pauses.reset();
                    continue;
                }
                let still_gone = self.catalog.read(|catalog| {
                    let gone = catalog.gone();
                    let is_gone = |digest: &Digest| {
                        let ordinal = catalog.ordinal(digest);
                        ordinal.is_some_and(|ordinal| gone.contains(ordinal.get()))
                    };
                    let (gone, back): (Vec<_>, Vec<_>) = seen.into_iter().partition(is_gone);
                    self.exposed.replace(&back, Vec::new());
                    gone
                });
                let left = self.put_away(&still_gone).await;
                if left.is_empty() {
                    tracing::info!("what is withdrawn is out of sight at the origin now");
                } else {
                    let exposed = left.len();
                    tracing::warn!(exposed, "what is withdrawn can still be read at the origin");
                }
            }
        };
        shutdown.unless_requested(work).await;
    }

    async fn hide_all(&self) {
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
