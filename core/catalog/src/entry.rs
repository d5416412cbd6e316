//! The entries of the log as model values.

use crate::digest::Digest;
use crate::name::Name;
use crate::object::{Object, Revision};

/// Largest entry of the log in bytes, as stored and hashed. Leaves room below
/// the 65,535 that a C2SP entry bundle can hold and below one gRPC message.
pub const MAX_ENTRY_BYTES: usize = 60_000;

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// An object is now known and has the next ordinal.
    ObjectAdded(Object),
    /// More is known of an object that was added before: this, and all that
    /// was known. What an object is follows from its bytes, and whoever brought
    /// it first need not have read them: as a file or as a part of something
    /// else an OCI manifest is bytes without children.
    ObjectDescribed(Object),
    /// The name means this object from now on, whatever it meant before.
    NameSet {
        /// The name.
        name: Name,
        /// The object, added before.
        digest: Digest,
    },
    /// The name means nothing from now on.
    NameRemoved {
        /// The name.
        name: Name,
        /// Why, for people.
        reason: String,
    },
    /// The name will mean this object, and nobody may see it yet: whoever
    /// wants the name wants its content from now on. [`Entry::NameSet`] of the
    /// name, whatever it then means, or [`Entry::NameDropped`] ends that.
    NamePending {
        /// The name.
        name: Name,
        /// The object, added before.
        digest: Digest,
    },
    /// The name that was pending will not be set.
    NameDropped {
        /// The name.
        name: Name,
        /// Why, for people.
        reason: String,
    },
    /// The object is served by nobody from now on, and purged.
    Withdrawn {
        /// The object.
        digest: Digest,
        /// Why, for people.
        reason: String,
    },
    /// The object may be served again.
    Reinstated {
        /// The object.
        digest: Digest,
        /// Why, for people.
        reason: String,
    },
    /// Everything since the previous commit is now in force, at once.
    Commit(Commit),
    /// An entry of a kind that this version does not know: kept in the log,
    /// counted, otherwise without effect.
    Unknown,
}

/// The end of a revision: who changed the catalog, when and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Its number, one more than the previous commit's.
    pub revision: Revision,
    /// When it was made, in seconds since the Unix epoch.
    pub time: u64,
    /// The principal that asked for it.
    pub who: String,
    /// Why, for people.
    pub why: String,
    /// Where the manifests came from: a commit id, or empty.
    pub source: String,
    /// Digest of the resolved plan that was executed, if one was.
    pub plan: Option<Digest>,
    /// The operation that made it.
    pub operation: String,
}
