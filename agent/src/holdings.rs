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
    /// mostly lower, come before their parents. (What was described later may
    /// have children of higher ordinals.)
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
        loop {
            let before = newly.len();
            self.waiting.retain(|&candidate| {
                let complete = is_complete(catalog, candidate, &self.ready);
                if complete {
                    self.ready.insert(candidate);
                    newly.insert(candidate);
                }
                !complete
            });
            if newly.len() == before {
                return newly;
            }
        }
    }

    /// Looks again at objects that turned out to need more than was known;
    /// gives what is not ready any more.
    pub(crate) fn reopen(&mut self, described: &[Ordinal], catalog: &Catalog) -> RoaringBitmap {
        let mut unready = RoaringBitmap::new();
        for ordinal in described {
            let number = ordinal.get();
            if self.ready.contains(number) && !is_complete(catalog, number, &self.ready) {
                self.ready.remove(number);
                self.waiting.insert(number);
                unready.insert(number);
            }
        }
        self.lose_parents(unready, catalog)
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
        self.lose_parents(unready, catalog)
    }

    /// Takes out of ready whatever needs what is not ready any more; gives all.
    fn lose_parents(&mut self, mut unready: RoaringBitmap, catalog: &Catalog) -> RoaringBitmap {
        let mut before = 0;
        while unready.len() > before {
            before = unready.len();
            // Ascending, so that one pass mostly finds the parents' parents, too.
            for candidate in self.ready.clone() {
                let object = catalog.object(Ordinal::new(candidate));
                let lost = object.is_some_and(|object| {
                    let mut children = object.children().iter();
                    children.any(|child| unready.contains(child.get()))
                });
                if lost {
                    self.ready.remove(candidate);
                    self.waiting.insert(candidate);
                    unready.insert(candidate);
                }
            }
        }
        unready
    }

    /// Objects that are wanted and not stored.
    pub(crate) fn missing(&self, wanted: &RoaringBitmap) -> RoaringBitmap {
        wanted - &self.stored
    }
}

/// Whether all children of a known object are ready.
fn is_complete(catalog: &Catalog, candidate: u32, ready: &RoaringBitmap) -> bool {
    catalog
        .object(Ordinal::new(candidate))
        .is_some_and(|object| {
            let mut children = object.children().iter();
            children.all(|child| ready.contains(child.get()))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{catalog_of_image, described_image, ordinals};

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
    fn what_turns_out_to_need_more_is_ready_again_when_it_has_that() {
        // The manifest as bytes without children, an index over it, then what it needs.
        let (before, after) = described_image();
        let mut holdings = Holdings::default();
        holdings.add(Ordinal::new(0));
        holdings.add(Ordinal::new(1));
        assert_eq!(ordinals(&holdings.settle(&before)), [0, 1]);
        let unready = holdings.reopen(&[Ordinal::new(0)], &after);
        assert_eq!(ordinals(&unready), [0, 1]);
        assert_eq!(ordinals(&holdings.missing(after.live())), [2, 3]);
        holdings.add(Ordinal::new(2));
        assert_eq!(ordinals(&holdings.settle(&after)), [2]);
        holdings.add(Ordinal::new(3));
        assert_eq!(ordinals(&holdings.settle(&after)), [0, 1, 3]);
        let unready = holdings.remove(&[Ordinal::new(3)], &after);
        assert_eq!(ordinals(&unready), [0, 1, 3]);
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
