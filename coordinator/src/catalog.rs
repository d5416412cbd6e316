//! The catalog in memory, shared by everything that reads it.
//!
//! The committer alone writes. It applies a revision when the database has it and
//! a moment before it is published: so memory never holds what was not kept, and
//! whoever hears of a revision finds its content at the origin.
//! [`SharedCatalog::published`] tells what is published and never goes back.

use std::sync::{Arc, PoisonError, RwLock};

use landfall_catalog::{Catalog, Entry, FoldError, SignedCheckpoint};

use crate::search::Held;

/// A handle of the one catalog; cheap to clone.
#[derive(Clone)]
pub(crate) struct SharedCatalog {
    inner: Arc<Inner>,
}

struct Inner {
    catalog: RwLock<Catalog>,
    published: RwLock<Published>,
}

/// What everybody may know of.
#[derive(Clone, Debug)]
pub(crate) struct Published {
    /// Revisions.
    pub(crate) revision: u64,
    /// The newest checkpoint.
    pub(crate) checkpoint: SignedCheckpoint,
    /// Log size at the end of each revision, from revision 1.
    ends: Arc<Vec<u64>>,
}

impl Published {
    /// The log size at the end of a revision, if there is one of that number.
    pub(crate) fn size_at(&self, revision: u64) -> Option<u64> {
        let index = usize::try_from(revision.checked_sub(1)?).ok()?;
        self.ends.get(index).copied()
    }

    /// The newest revision that ends within the first `size` entries.
    pub(crate) fn revision_at(&self, size: u64) -> u64 {
        self.ends.partition_point(|end| *end <= size) as u64
    }
}

impl Held for SharedCatalog {
    fn read<T>(&self, look: impl FnOnce(&Catalog) -> T) -> T {
        Self::read(self, look)
    }
}

impl SharedCatalog {
    /// `ends` is the log size at the end of each revision.
    pub(crate) fn new(catalog: Catalog, checkpoint: SignedCheckpoint, ends: Vec<u64>) -> Self {
        let published = Published {
            revision: ends.len() as u64,
            checkpoint,
            ends: Arc::new(ends),
        };
        Self {
            inner: Arc::new(Inner {
                catalog: RwLock::new(catalog),
                published: RwLock::new(published),
            }),
        }
    }

    /// Looks at the catalog. Keep it short: a commit waits meanwhile, and
    /// readers wait for the commit.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&Catalog) -> T) -> T {
        // The catalog applies a revision whole or not at all.
        look(
            &self
                .inner
                .catalog
                .read()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Applies a revision. For the committer.
    pub(crate) fn apply(&self, entries: &[Entry]) -> Result<(), FoldError> {
        self.inner
            .catalog
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .apply(entries)
    }

    /// What is published.
    pub(crate) fn published(&self) -> Published {
        self.inner
            .published
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// A checkpoint was published; it may end one more revision. For the committer.
    pub(crate) fn publish(&self, checkpoint: SignedCheckpoint) {
        let mut published = self
            .inner
            .published
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let size = checkpoint.checkpoint.size;
        if published.ends.last().copied().unwrap_or_default() < size {
            Arc::make_mut(&mut published.ends).push(size);
        }
        published.revision = published.ends.len() as u64;
        published.checkpoint = checkpoint;
    }
}
