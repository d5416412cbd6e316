//! What is learnt of staging while one plan is resolved, so that it is asked
//! once and not for each of twenty thousand images.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use landfall_catalog::{Digest, Tag};
use tokio::sync::OnceCell;

use super::resolve::read_again;
use super::sources::ImageSource;

/// Roots of one repository for which its list of tags is read, instead of asking
/// for the few tags that may speak about each of them.
const WORTH_A_LIST: usize = 8;

/// The tags of a repository, or none if its list was not to be had.
type Tags = Option<Arc<BTreeSet<Tag>>>;

/// A host and a repository there.
type Key = (String, String);

/// Grows while a plan is resolved, and goes with it.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Roots to be resolved, by host and repository.
    roots: HashMap<Key, usize>,
    tags: Mutex<HashMap<Key, Arc<OnceCell<Tags>>>>,
    /// Repositories whose host answered the referrers API.
    with_referrers: Mutex<HashSet<Key>>,
    /// Blobs that are where they should be, with their length.
    blobs: Mutex<HashMap<(Key, Digest), u64>>,
}

impl Survey {
    /// Expects one more root of a repository.
    pub(super) fn expect(&mut self, source: &ImageSource) {
        *self.roots.entry(key(source)).or_default() += 1;
    }

    /// The tags of the source's repository, if it is worth it to know all.
    pub(super) async fn tags(&self, source: &ImageSource) -> Tags {
        let key = key(source);
        if self.roots.get(&key).copied().unwrap_or_default() < WORTH_A_LIST {
            return None;
        }
        let cell = Arc::clone(lock(&self.tags).entry(key).or_default());
        let listed = cell.get_or_init(|| async {
            let listed = read_again(|| source.registry.tags(&source.repository)).await;
            // Without a list each tag is asked for by itself, and that says why.
            let tags = listed.ok().flatten()?;
            Some(Arc::new(tags.into_iter().collect()))
        });
        listed.await.clone()
    }

    /// Whether the repository's host ever answered the referrers API.
    pub(super) fn lists_referrers(&self, source: &ImageSource) -> bool {
        lock(&self.with_referrers).contains(&key(source))
    }

    /// The repository's host answered the referrers API.
    pub(super) fn note_referrers(&self, source: &ImageSource) {
        lock(&self.with_referrers).insert(key(source));
    }

    /// Whether the blob was seen in the source's repository.
    pub(super) fn has_seen(&self, source: &ImageSource, digest: &Digest, size: u64) -> bool {
        lock(&self.blobs).get(&(key(source), *digest)) == Some(&size)
    }

    /// The blob is in the source's repository.
    pub(super) fn note_blob(&self, source: &ImageSource, digest: Digest, size: u64) {
        lock(&self.blobs).insert((key(source), digest), size);
    }
}

fn key(source: &ImageSource) -> Key {
    (source.host_name.clone(), source.repository.to_string())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
