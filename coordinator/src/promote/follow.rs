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
    /// Held while names are set.
    turn: Arc<Mutex<Left>>,
}

/// What could not be set.
#[derive(Default)]
struct Left {
    /// By operation.
    names: HashMap<i64, Vec<Name>>,
    /// One of them, and why.
    example: String,
    /// How many they were when that was last told.
    told: usize,
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
            let mut news = News::default();
            loop {
                let trouble = self.work_off().await.err().map(|error| chain(&error));
                if let Some(error) = news.of(trouble) {
                    tracing::error!(error, "names at the origin cannot be followed");
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
            let mut left = self.turn.lock().await;
            self.put_right(&mut left, operation, &HashSet::new())
                .await?;
        }
        self.turn.lock().await.tell();
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
        self.put_right(&mut left, operation, right).await?;
        left.tell();
        Ok(())
    }

    async fn put_right(
        &self,
        left: &mut Left,
        operation: i64,
        right: &HashSet<Name>,
    ) -> Result<(), StateError> {
        if !matches!(self.store, Store::Directory(_)) {
            let names = match left.names.get(&operation) {
                Some(names) => names.clone(),
                None => self.names_of(operation).await?,
            };
            let names = names.into_iter().filter(|name| !right.contains(name));
            let failed = self.set(names.collect()).await;
            if let Some((name, error)) = failed.first() {
                left.example = format!("{name}: {error}");
                let failed = failed.into_iter().map(|(name, _)| name).collect();
                left.names.insert(operation, failed);
                return Ok(());
            }
        }
        self.state
            .write("names are followed", move |tx| follow::done(tx, operation))
            .await?;
        left.names.remove(&operation);
        Ok(())
    }

    async fn names_of(&self, operation: i64) -> Result<Vec<Name>, StateError> {
        let entries = self
            .state
            .read("read an operation's entries", move |connection| {
                rows::entries(connection, operation)
            })
            .await?;
        let shows = Shows::of(&self.store);
        let may_show = |row: &EntryRow, name: &Name| shows.is_touched(name, row);
        Ok(self.catalog.read(|catalog| {
            let names = entries.iter().flat_map(|row| {
                let names = named(catalog, row).into_iter();
                names.filter(move |name| may_show(row, name))
            });
            names.collect()
        }))
    }

    /// Sets names as the catalog has them now; gives those that could not be, and
    /// why.
    async fn set(&self, names: Vec<Name>) -> Vec<(Name, String)> {
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
                let failed = report.failed.into_iter();
                failed.map(|(name, error)| (name, chain(&error))).collect()
            }
            Err(error) => {
                let why = chain(&error);
                asked.into_iter().map(|name| (name, why.clone())).collect()
            }
        }
    }
}

impl Left {
    /// Tells people when there is something else to tell than the last time.
    fn tell(&mut self) {
        let names = self.names.values().map(Vec::len).sum();
        if names == self.told {
            return;
        }
        if names == 0 {
            tracing::info!("the origin's store shows all names as the catalog has them again");
        } else {
            tracing::error!(
                names,
                example = self.example,
                "the origin's store shows names not as the catalog has them; they are tried again every {} s",
                AGAIN.as_secs()
            );
        }
        self.told = names;
    }
}

/// What lasts is told once.
#[derive(Default)]
struct News(Option<String>);

impl News {
    /// `now`, if it is not what was so the last time.
    fn of(&mut self, now: Option<String>) -> Option<String> {
        let is_news = self.0 != now;
        self.0.clone_from(&now);
        now.filter(|_| is_news)
    }
}

/// The kind of names that a store shows by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shows {
    /// The catalog is asked.
    Nothing,
    Files,
    Tags,
}

impl Shows {
    const fn of(store: &Store) -> Self {
        match store {
            Store::Directory(_) => Self::Nothing,
            Store::Bucket(_) => Self::Files,
            Store::Registry(_) => Self::Tags,
        }
    }

    /// Whether the store may show something else under a name than before an
    /// entry was carried out. What is there without our doing stays as it is.
    fn is_touched(self, name: &Name, row: &EntryRow) -> bool {
        match (self, name) {
            (Self::Files, Name::File(_)) => row.may_be_shown(),
            (Self::Tags, Name::Tag(..)) => row.is_done(),
            (Self::Nothing | Self::Files | Self::Tags, _) => false,
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

#[cfg(test)]
mod tests;
