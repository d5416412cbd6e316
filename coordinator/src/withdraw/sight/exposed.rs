//! What is withdrawn and can still be seen at the origin, as far as is known: the
//! store did not follow.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use landfall_catalog::{Digest, Repository};

/// Where it can be seen.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) digest: Digest,
    /// In a registry.
    pub(crate) repository: Option<Repository>,
    /// Where, and why it is still there; for people.
    pub(crate) why: String,
}

/// A handle of what is known; cheap to clone. The next start finds it out anew.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exposed {
    seen: Arc<Mutex<BTreeMap<Digest, Vec<Seen>>>>,
}

impl Exposed {
    /// Of `looked_at`, this is what can be seen now.
    pub(crate) fn replace(&self, looked_at: &[Digest], seen: Vec<Seen>) {
        let mut known = self.lock();
        for digest in looked_at {
            known.remove(digest);
        }
        for one in seen {
            known.entry(one.digest).or_default().push(one);
        }
    }

    /// Everything that can be seen.
    pub(crate) fn all(&self) -> Vec<Digest> {
        self.lock().keys().copied().collect()
    }

    /// Where each object can be seen, in words.
    pub(crate) fn told(&self) -> BTreeMap<Digest, Vec<String>> {
        let known = self.lock();
        let told = known.iter().map(|(digest, seen)| {
            let told = seen.iter().map(|seen| seen.why.clone());
            (*digest, told.collect())
        });
        told.collect()
    }

    /// The repositories in which an object can be seen.
    pub(crate) fn repositories(&self, digest: &Digest) -> BTreeSet<Repository> {
        let known = self.lock();
        let seen = known.get(digest).into_iter().flatten();
        seen.filter_map(|seen| seen.repository.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Digest, Vec<Seen>>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
