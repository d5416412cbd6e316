//! Names at an origin that is served by others: a bucket or registry does not ask
//! the catalog, so what it shows under a name is put right after each operation.
//!
//! That the operation ended and that its names are to be followed is one
//! transaction; whatever is killed when, the next start goes on. Names are set
//! one operation at a time, each as the catalog has it at that moment: an older
//! meaning never comes after a newer one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use landfall_catalog::{Catalog, Name};
use landfall_content::{Item, NameChange, Store};
use landfall_proto::status::chain;
use landfall_runtime::Shutdown;
use tokio::sync::Mutex;

use super::execute::repository;
use crate::catalog::SharedCatalog;
use crate::state::operations::{self as rows, EntryRow};
use crate::state::{State, StateError, follow};

/// How often names are tried again that could not be set.
const AGAIN: Duration = Duration::from_secs(15);

/// A handle of the one who follows; cheap to clone.
#[derive(Clone)]
pub(crate) struct Follower {
    state: State,
    catalog: SharedCatalog,
    store: Store,
    /// Held while names are set; what could not be set, by operation.
    turn: Arc<Mutex<HashMap<i64, Vec<Name>>>>,
}

impl Follower {
    pub(crate) fn new(state: State, catalog: SharedCatalog, store: Store) -> Self {
        Self {
            state,
            catalog,
            store,
            turn: Arc::default(),
        }
    }

    /// Puts right what is due, at once and then whenever something was left.
    pub(crate) async fn run(self, shutdown: Shutdown) {
        let work = async {
            loop {
                if let Err(error) = self.work_off().await {
                    tracing::error!(error = %chain(&error), "names at the origin cannot be followed");
                }
                tokio::time::sleep(AGAIN).await;
            }
        };
        shutdown.unless_requested(work).await;
    }

    async fn work_off(&self) -> Result<(), StateError> {
        let revision = self.catalog.read(|catalog| catalog.revision().get());
        let due = self
            .state
            .read("list names to follow", move |connection| {
                follow::due(connection, revision)
            })
            .await?;
        for operation in due {
            self.follow(operation, &HashSet::new()).await?;
        }
        Ok(())
    }

    /// Puts right what the store shows under the names of an operation that has
    /// ended, but for those that are `right`. What fails is tried again.
    pub(crate) async fn follow(
        &self,
        operation: i64,
        right: &HashSet<Name>,
    ) -> Result<(), StateError> {
        let mut left = self.turn.lock().await;
        if !matches!(self.store, Store::Directory(_)) {
            let names = match left.get(&operation) {
                Some(names) => names.clone(),
                None => self.names_of(operation).await?,
            };
            let names = names.into_iter().filter(|name| !right.contains(name));
            let failed = self.set(names.collect()).await;
            if !failed.is_empty() {
                left.insert(operation, failed);
                return Ok(());
            }
        }
        self.state
            .write("names are followed", move |tx| follow::done(tx, operation))
            .await?;
        left.remove(&operation);
        Ok(())
    }

    async fn names_of(&self, operation: i64) -> Result<Vec<Name>, StateError> {
        let entries = self
            .state
            .read("read an operation's entries", move |connection| {
                rows::entries(connection, operation)
            })
            .await?;
        Ok(self
            .catalog
            .read(|catalog| entries.iter().flat_map(|row| named(catalog, row)).collect()))
    }

    /// Sets names as the catalog has them now; gives those that could not be.
    async fn set(&self, names: Vec<Name>) -> Vec<Name> {
        let is_registry = matches!(self.store, Store::Registry(_));
        let changes: Vec<_> = self.catalog.read(|catalog| {
            let changes = names.into_iter();
            changes
                .filter_map(|name| change(catalog, name, is_registry))
                .collect()
        });
        if changes.is_empty() {
            return Vec::new();
        }
        let asked: Vec<Name> = changes.iter().map(|change| change.name.clone()).collect();
        match self.store.set_names(changes).await {
            Ok(report) => {
                for (name, error) in &report.failed {
                    tracing::error!(%name, error = %chain(error), "the origin's store shows a name not as the catalog has it");
                }
                report.failed.into_iter().map(|(name, _)| name).collect()
            }
            Err(error) => {
                tracing::error!(error = %chain(&error), "the origin's store takes no names");
                asked
            }
        }
    }
}

/// The names that an entry is about: its own, or, where it is an object that was
/// withdrawn or reinstated, those that mean it.
fn named(catalog: &Catalog, row: &EntryRow) -> Vec<Name> {
    if row.name != row.digest.to_string() {
        return row.name.parse().into_iter().collect();
    }
    let ordinal = catalog.ordinal(&row.digest);
    ordinal.map_or_else(Vec::new, |ordinal| catalog.names_of(ordinal).collect())
}

/// What a name is to show. What is withdrawn goes out of a registry's sight in
/// its own way: there it is copied aside first.
fn change(catalog: &Catalog, name: Name, is_registry: bool) -> Option<NameChange> {
    let object = catalog
        .name(&name)
        .and_then(|record| catalog.object(record.ordinal));
    let target = match object {
        Some(object) if catalog.withdrawn(object.digest()).is_some() => {
            if is_registry {
                return None;
            }
            None
        }
        Some(object) => Some(Item {
            digest: *object.digest(),
            size: object.size(),
            media_type: object.media_type().clone(),
            repository: repository(&name),
        }),
        None => None,
    };
    Some(NameChange { name, target })
}
