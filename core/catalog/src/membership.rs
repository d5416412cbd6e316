//! Which repository holds which object.
//!
//! An object is in a repository while a name of that repository reaches it
//! through children. Kept as counts: of the names there that mean the object,
//! plus the edges to it from parents that are in the repository.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::fold::{Objects, RepositoryId};
use crate::object::Ordinal;

/// Counts by repository and object.
#[derive(Default)]
pub(crate) struct Membership {
    repositories: Vec<Counts>,
}

type Counts = HashMap<Ordinal, u32, BuildHasherDefault<OrdinalHasher>>;

impl Membership {
    pub(crate) fn contains(&self, repository: RepositoryId, ordinal: Ordinal) -> bool {
        self.repositories
            .get(repository.index())
            .is_some_and(|counts| counts.contains_key(&ordinal))
    }

    /// What a repository holds, in no order.
    pub(crate) fn members(&self, repository: RepositoryId) -> impl Iterator<Item = Ordinal> {
        let counts = self.repositories.get(repository.index());
        counts.into_iter().flat_map(|counts| counts.keys().copied())
    }

    /// Counts one more name of `repository` that means `ordinal`. Gives the
    /// number of counts changed.
    pub(crate) fn hold(
        &mut self,
        objects: &Objects,
        repository: RepositoryId,
        ordinal: Ordinal,
    ) -> u64 {
        if self.repositories.len() <= repository.index() {
            self.repositories
                .resize_with(repository.index() + 1, Counts::default);
        }
        let counts = &mut self.repositories[repository.index()];
        hold(objects, counts, ordinal)
    }

    /// Counts the edge to a child that an object has got, wherever that object
    /// is. Gives the number of counts changed.
    pub(crate) fn hold_below(&mut self, objects: &Objects, parent: Ordinal, child: Ordinal) -> u64 {
        let holding = self.repositories.iter_mut();
        holding
            .filter(|counts| counts.contains_key(&parent))
            .map(|counts| hold(objects, counts, child))
            .sum()
    }

    /// Counts one name less.
    pub(crate) fn let_go(
        &mut self,
        objects: &Objects,
        repository: RepositoryId,
        ordinal: Ordinal,
    ) -> u64 {
        let Some(counts) = self.repositories.get_mut(repository.index()) else {
            return 0;
        };
        objects.cascade(ordinal, |ordinal| match counts.get_mut(&ordinal) {
            Some(count) if *count > 1 => {
                *count -= 1;
                false
            }
            found => found.is_some() && counts.remove(&ordinal).is_some(),
        })
    }
}

fn hold(objects: &Objects, counts: &mut Counts, ordinal: Ordinal) -> u64 {
    objects.cascade(ordinal, |ordinal| {
        let count = counts.entry(ordinal).or_default();
        *count += 1;
        *count == 1
    })
}

/// Ordinals are dense numbers that nobody can choose freely: one
/// multiplication spreads them well enough.
#[derive(Default)]
struct OrdinalHasher(u64);

impl Hasher for OrdinalHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
