//! What the agent serves by: the catalog's fold, what is ready here, and up to
//! where names are in place. One value behind one lock, so that an answer is
//! never put together from two states.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use landfall_catalog::{Catalog, Entry, FoldError, Name, NameRecord, Ordinal, SignedCheckpoint};
use roaring::RoaringBitmap;

/// The state behind the lock.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    /// The fold of every revision that the follower has verified.
    pub(crate) catalog: Catalog,
    /// The newest checkpoint that was handed on.
    pub(crate) checkpoint: Option<SignedCheckpoint>,
    /// Objects that are ready, by ordinal.
    pub(crate) ready: RoaringBitmap,
    /// Log size up to which all names of ready objects are in place.
    pub(crate) names_through: u64,
    /// Whether the log on disk has been replayed.
    pub(crate) replayed: bool,
    /// Whether what the store held at start is on the shelf since then.
    pub(crate) adopted: bool,
    /// Names whose meaning changed since they were last put in place.
    pub(crate) changed_names: Vec<Name>,
    /// Objects of which more became known since it was last worked out what is
    /// ready.
    pub(crate) described: Vec<Ordinal>,
    /// What is withdrawn, and what nothing but that needs.
    pub(crate) gone: RoaringBitmap,
}

impl Shelf {
    /// Applies one revision.
    pub(crate) fn apply(&mut self, entries: &[Entry]) -> Result<(), FoldError> {
        self.catalog.apply(entries)?;
        for entry in entries {
            match entry {
                Entry::NameSet { name, .. } | Entry::NameRemoved { name, .. } => {
                    self.changed_names.push(name.clone());
                }
                Entry::Withdrawn { digest, .. } | Entry::Reinstated { digest, .. } => {
                    if let Some(ordinal) = self.catalog.ordinal(digest) {
                        self.changed_names.extend(self.catalog.names_of(ordinal));
                    }
                }
                Entry::ObjectDescribed(object) => {
                    if let Some(ordinal) = self.catalog.ordinal(&object.digest) {
                        self.described.push(ordinal);
                        self.changed_names.extend(self.catalog.names_of(ordinal));
                    }
                }
                // A pending name is nowhere in place, and so changes nothing there.
                Entry::NamePending { .. }
                | Entry::NameDropped { .. }
                | Entry::ObjectAdded(_)
                | Entry::Commit(_)
                | Entry::Unknown => {}
            }
        }
        // Once for all of a long log, not after each revision.
        if self.replayed {
            self.gone = self.catalog.gone();
        }
        Ok(())
    }

    /// The log on disk has been applied: from now on things are served.
    pub(crate) fn replayed(&mut self) {
        self.replayed = true;
        self.gone = self.catalog.gone();
    }

    /// Whether an object may be handed out: ready, and not gone with what is
    /// withdrawn.
    pub(crate) fn serves(&self, ordinal: Ordinal) -> bool {
        self.ready.contains(ordinal.get()) && !self.gone.contains(ordinal.get())
    }

    /// Whether a name may be answered with its object.
    pub(crate) fn serves_name(&self, record: NameRecord) -> bool {
        self.serves(record.ordinal) && record.set_at < self.names_through
    }
}

/// The shelf as the agent's tasks share it.
#[derive(Clone, Debug)]
pub(crate) struct SharedShelf(Arc<RwLock<Shelf>>);

impl SharedShelf {
    /// An empty shelf; the seed keys the catalog's hash tables.
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(RwLock::new(Shelf {
            catalog: Catalog::with_seed(seed),
            ..Shelf::default()
        })))
    }

    /// For looking something up; never held across an await.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Shelf> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// For a change in proportion to a revision; never held across an await.
    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Shelf> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}
