//! One writer per object within a process; others wait for their turn.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use landfall_catalog::Digest;
use tokio::sync::Notify;

#[derive(Clone, Debug, Default)]
pub(crate) struct Claims {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    taken: Mutex<HashSet<Digest>>,
    released: Notify,
}

/// The right to write one object, until dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    shared: Arc<Shared>,
    digest: Digest,
}

impl Claims {
    pub(crate) fn try_take(&self, digest: &Digest) -> Option<Claim> {
        let mut taken = self
            .shared
            .taken
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        taken.insert(*digest).then(|| Claim {
            shared: Arc::clone(&self.shared),
            digest: *digest,
        })
    }

    pub(crate) async fn take(&self, digest: &Digest) -> Claim {
        loop {
            // Registered before looking, so that no release is missed.
            let mut released = std::pin::pin!(self.shared.released.notified());
            released.as_mut().enable();
            if let Some(claim) = self.try_take(digest) {
                return claim;
            }
            released.await;
        }
    }
}

impl Claim {
    pub(crate) fn digest(&self) -> &Digest {
        &self.digest
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.shared
            .taken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.digest);
        self.shared.released.notify_waiters();
    }
}
