//! From entries to state: what every reader derives from the same log.
//!
//! The state is a few tables of dense numbers. Objects are numbered as they are
//! added; names and repositories are interned; membership and liveness are
//! reference counts along the edges from an object to its children. Children
//! are added before their parents, or a description that gives an object more
//! of them is checked: so these edges have no cycle and the counts are exact.
//! After a description a child may have a larger number than its parent.
//! Applying a commit touches what it adds, what its names reach anew, and what
//! they no longer reach.

mod check;
mod facts;
mod names;
mod objects;
mod pending;
mod query;
mod seeded;

#[cfg(test)]
mod model;

use std::fmt;

use crate::digest::Digest;
use crate::entry::{Commit, Entry};
use crate::liveness::Liveness;
use crate::membership::Membership;
use crate::name::Name;
use crate::object::{Object, Ordinal, Revision};
use names::Names;
use pending::PendingNames;
use seeded::Seed;

pub(crate) use names::RepositoryId;
pub use names::{NameEntry, NameRecord};
pub use objects::ObjectRef;
pub(crate) use objects::Objects;
pub use pending::PendingRecord;

/// Most objects that a catalog can have. Ordinals, and so the bitmaps of
/// readiness, stay below it.
pub const MAX_OBJECTS: u32 = 1 << 28;

/// Most edges from objects to their children that a catalog can have.
pub const MAX_EDGES: u32 = 1 << 30;

/// Most names that a catalog can have at a time, the pending ones among them.
pub const MAX_NAMES: u32 = 1 << 28;

/// The state of the catalog at some revision.
///
/// [`Catalog::default`] is the empty catalog before the first revision.
pub struct Catalog {
    objects: Objects,
    names: Names,
    pending: PendingNames,
    membership: Membership,
    liveness: Liveness,
    last_commit: Option<Commit>,
    log_size: u64,
    unknown_entries: u64,
    /// Reference counts changed since the beginning: the work that grows with
    /// more than the number of entries.
    touched: u64,
}

/// A revision that contradicts the state or itself; nothing of it was applied.
/// Among readers that have verified the log this means that its writer has a
/// bug: keep the old state and say so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("entry {entry} of the log cannot be applied")]
pub struct FoldError {
    /// Index of the entry in the log.
    pub entry: u64,
    /// What is wrong with it.
    #[source]
    pub fault: FoldFault,
}

/// What is wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FoldFault {
    /// The entries do not end with a commit.
    #[error("revision does not end with a commit")]
    NoCommit,
    /// There are entries after this commit.
    #[error("commit is not the last entry of its revision")]
    EarlyCommit,
    /// The commit's number is not the next one.
    #[error("commit has revision {found} where {expected} is next")]
    Revision {
        /// The next number.
        expected: Revision,
        /// The commit's number.
        found: Revision,
    },
    /// The object was added before.
    #[error("object {0} is already in the catalog")]
    DuplicateObject(Digest),
    /// A child was not added before its parent.
    #[error("child {child} of object {parent} is not in the catalog")]
    UnknownChild {
        /// The object.
        parent: Digest,
        /// The missing child.
        child: Digest,
    },
    /// [`MAX_OBJECTS`], [`MAX_EDGES`] or [`MAX_NAMES`] would be passed.
    #[error("catalog has no room for more {0}")]
    Full(&'static str),
    /// The object was not added before.
    #[error("object {0} is not in the catalog")]
    UnknownObject(Digest),
    /// A description that leaves out or contradicts what is known.
    #[error("description of {digest} contradicts its {what}")]
    Contradicted {
        /// The object.
        digest: Digest,
        /// Which of the things that are known of it.
        what: &'static str,
    },
    /// A description by which an object would need itself.
    #[error("object {0} would need itself")]
    Cycle(Digest),
    /// The name does not mean anything.
    #[error("name {0} is not in the catalog")]
    UnknownName(Name),
    /// The name is pending already; it has to be dropped first.
    #[error("name {0} is pending already")]
    AlreadyPending(Name),
    /// The name is not pending.
    #[error("name {0} is not pending")]
    NotPending(Name),
    /// A name by digest that would mean another digest.
    #[error("name {name} cannot mean {digest}")]
    RootMismatch {
        /// The name.
        name: Name,
        /// The object.
        digest: Digest,
    },
    /// A withdrawn object would get a name, or a pending one.
    #[error("object {digest} is withdrawn and cannot be named {name}")]
    NamedWhileWithdrawn {
        /// The name.
        name: Name,
        /// The object.
        digest: Digest,
    },
    /// The object is withdrawn already.
    #[error("object {0} is withdrawn already")]
    AlreadyWithdrawn(Digest),
    /// The object is not withdrawn.
    #[error("object {0} is not withdrawn")]
    NotWithdrawn(Digest),
}

/// A summary: the whole would be millions of lines.
impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalog")
            .field("revision", &self.revision())
            .field("log_size", &self.log_size)
            .field("objects", &self.object_count())
            .field("names", &self.name_count())
            .field("pending", &self.pending_count())
            .field("live", &self.live_count())
            .finish_non_exhaustive()
    }
}

impl Default for Catalog {
    fn default() -> Self {
        Self::with_seed(0)
    }
}

impl Catalog {
    /// The empty catalog, whose hash tables are keyed by `seed`.
    ///
    /// The seed changes nothing that can be seen but how evenly the tables
    /// fill. Digests and paths are chosen by whoever is promoted, and some
    /// millions of hashes buy a digest that falls into a chosen slot; a secret
    /// seed, drawn anew by each process, makes that worthless. Without one the
    /// tables lean on promotions being reviewed.
    #[must_use]
    pub fn with_seed(seed: u64) -> Self {
        let seed = Seed::new(seed);
        Self {
            objects: Objects::new(seed),
            names: Names::new(seed),
            pending: PendingNames::default(),
            membership: Membership::default(),
            liveness: Liveness::default(),
            last_commit: None,
            log_size: 0,
            unknown_entries: 0,
            touched: 0,
        }
    }

    /// Applies exactly one revision: its entries in the order of the log, the
    /// last of them the commit. All of it, or none if there is an error.
    ///
    /// # Errors
    ///
    /// [`FoldError`] with the entry that contradicts the state.
    pub fn apply(&mut self, entries: &[Entry]) -> Result<(), FoldError> {
        let commit = self.check_commit(entries)?;
        let objects_before = self.objects.len();
        if let Err(error) = self.add_objects_and_check_the_rest(entries) {
            self.objects.truncate(objects_before);
            return Err(error);
        }
        // From here on nothing fails.
        self.liveness.grow(self.objects.len());
        for (index, entry) in (self.log_size..).zip(entries) {
            match entry {
                Entry::NameSet { name, digest } => self.set_name(name, digest, index),
                Entry::NameRemoved { name, .. } => self.remove_name(name),
                Entry::NamePending { name, digest } => self.set_pending(name, digest, index),
                Entry::NameDropped { name, .. } => self.end_pending(name),
                Entry::Withdrawn { digest, reason } => {
                    if let Some(ordinal) = self.objects.ordinal(digest) {
                        self.touched +=
                            self.liveness
                                .withdraw(&self.objects, ordinal, reason, index);
                    }
                }
                Entry::Reinstated { digest, .. } => {
                    if let Some(ordinal) = self.objects.ordinal(digest) {
                        self.touched += self.liveness.reinstate(&self.objects, ordinal);
                    }
                }
                Entry::ObjectDescribed(object) => self.describe(object),
                Entry::Unknown => self.unknown_entries += 1,
                Entry::ObjectAdded(_) | Entry::Commit(_) => {}
            }
        }
        self.log_size += entries.len() as u64;
        self.last_commit = Some(commit.clone());
        Ok(())
    }

    /// The new object is counted before the old one is let go, so that what
    /// both hold in common never looks unneeded.
    fn set_name(&mut self, name: &Name, digest: &Digest, set_at: u64) {
        let Some(ordinal) = self.objects.ordinal(digest) else {
            return;
        };
        let set = self.names.set(name, NameRecord { ordinal, set_at });
        self.touched += self.liveness.hold(&self.objects, ordinal);
        if let Some(repository) = set.repository {
            self.touched += self.membership.hold(&self.objects, repository, ordinal);
        }
        if let Some(old) = set.replaced {
            self.let_go(set.repository, old.ordinal);
        }
        self.end_pending(name);
    }

    /// A pending name keeps its object live, and is in no repository.
    fn set_pending(&mut self, name: &Name, digest: &Digest, since: u64) {
        let Some(ordinal) = self.objects.ordinal(digest) else {
            return;
        };
        self.touched += self.liveness.hold(&self.objects, ordinal);
        self.pending.insert(name, PendingRecord { ordinal, since });
    }

    fn end_pending(&mut self, name: &Name) {
        if let Some(pending) = self.pending.remove(name) {
            self.let_go(None, pending.ordinal);
        }
    }

    /// Whatever holds the object holds its new children from now on.
    fn describe(&mut self, object: &Object) {
        let Some((ordinal, new)) = self.objects.describe(object) else {
            return;
        };
        for child in new {
            if self.liveness.live().contains(ordinal.get()) {
                self.touched += self.liveness.hold(&self.objects, child);
            }
            self.touched += self.membership.hold_below(&self.objects, ordinal, child);
        }
    }

    fn remove_name(&mut self, name: &Name) {
        if let Some((repository, old)) = self.names.remove(name) {
            self.let_go(repository, old.ordinal);
        }
    }

    fn let_go(&mut self, repository: Option<RepositoryId>, ordinal: Ordinal) {
        self.touched += self.liveness.let_go(&self.objects, ordinal);
        if let Some(repository) = repository {
            self.touched += self.membership.let_go(&self.objects, repository, ordinal);
        }
    }
}

#[cfg(test)]
mod tests;
