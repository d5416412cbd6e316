//! What the store holds, and what of it is ready (pure).
//!
//! *Stored* is an object whose bytes are durably in the store. *Ready* is one
//! that is stored and all of whose children are ready: only then may anybody be
//! sent here for it.

use std::collections::BTreeSet;

use landfall_catalog::{Catalog, Ordinal};
use roaring::RoaringBitmap;

/// The agent's account of its store, by ordinal.
#[derive(Debug, Default)]
pub(crate) struct Holdings {
    stored: RoaringBitmap,
    ready: RoaringBitmap,
    /// Stored, not ready yet. Ascending, so that children, whose ordinals are
    /// always lower, come before their parents.
    waiting: BTreeSet<u32>,
}

impl Holdings {
    /// Notes that an object is durably stored.
    pub(crate) fn add(&mut self, ordinal: Ordinal) {
        if self.stored.insert(ordinal.get()) {
            self.waiting.insert(ordinal.get());
        }
    }

    /// Moves to ready whatever has become so, and says what that is.
    pub(crate) fn settle(&mut self, catalog: &Catalog) -> RoaringBitmap {
        let mut newly = RoaringBitmap::new();
        self.waiting.retain(|&candidate| {
            let Some(object) = catalog.object(Ordinal::new(candidate)) else {
                return true;
            };
            let complete = object
                .children()
                .iter()
                .all(|child| self.ready.contains(child.get()));
            if complete {
                self.ready.insert(candidate);
                newly.insert(candidate);
            }
            !complete
        });
        newly
    }

    /// Whether an object is stored.
    pub(crate) fn has(&self, ordinal: Ordinal) -> bool {
        self.stored.contains(ordinal.get())
    }

    /// Takes objects out of the account, and out of ready whatever needs them.
    pub(crate) fn remove(&mut self, gone: &[Ordinal], catalog: &Catalog) -> RoaringBitmap {
        let mut unready = RoaringBitmap::new();
        for ordinal in gone {
            self.stored.remove(ordinal.get());
            self.waiting.remove(&ordinal.get());
            if self.ready.remove(ordinal.get()) {
                unready.insert(ordinal.get());
            }
        }
        if unready.is_empty() {
            return unready;
        }
        // Ascending, so that what a parent loses its own parents lose, too.
        for candidate in self.ready.clone() {
            let lost = catalog
                .object(Ordinal::new(candidate))
                .is_some_and(|object| {
                    let mut children = object.children().iter();
                    children.any(|child| unready.contains(child.get()))
                });
            if lost {
                self.ready.remove(candidate);
                self.waiting.insert(candidate);
                unready.insert(candidate);
            }
        }
        unready
    }

    /// Objects that are wanted and not stored.
    pub(crate) fn missing(&self, wanted: &RoaringBitmap) -> RoaringBitmap {
        wanted - &self.stored
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{catalog_of_image, ordinals};

    #[test]
    fn a_parent_is_ready_only_after_all_its_children() {
        // Layer, config, manifest.
        let catalog = catalog_of_image();
        let mut holdings = Holdings::default();
        holdings.add(Ordinal::new(2));
        holdings.add(Ordinal::new(0));
        assert_eq!(ordinals(&holdings.settle(&catalog)), [0]);
        holdings.add(Ordinal::new(1));
        assert_eq!(ordinals(&holdings.settle(&catalog)), [1, 2]);
        assert!(holdings.settle(&catalog).is_empty());
    }

    #[test]
    fn what_is_removed_takes_its_parents_out_of_ready_but_not_out_of_the_store() {
        let catalog = catalog_of_image();
        let mut holdings = Holdings::default();
        for ordinal in 0..3 {
            holdings.add(Ordinal::new(ordinal));
        }
        holdings.settle(&catalog);
        let unready = holdings.remove(&[Ordinal::new(0)], &catalog);
        assert_eq!(ordinals(&unready), [0, 2]);
        assert!(holdings.has(Ordinal::new(2)));
        assert_eq!(ordinals(&holdings.missing(catalog.live())), [0]);
        holdings.add(Ordinal::new(0));
        assert_eq!(ordinals(&holdings.settle(&catalog)), [0, 2]);
    }

    #[test]
    fn what_is_stored_is_not_fetched_again_though_it_waits() {
        let catalog = catalog_of_image();
        let mut holdings = Holdings::default();
        holdings.add(Ordinal::new(2));
        holdings.settle(&catalog);
        assert_eq!(ordinals(&holdings.missing(catalog.live())), [0, 1]);
    }
}
