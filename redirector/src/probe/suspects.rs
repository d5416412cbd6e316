//! Mirrors that are to be probed before their turn.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

/// Mirrors that somebody had no luck with. That is no verdict: they are only asked sooner.
#[derive(Debug, Default)]
pub struct Suspects {
    mirrors: Mutex<BTreeSet<String>>,
    added: Notify,
}

impl Suspects {
    /// Has a mirror probed soon; once, however often it is added before.
    pub fn add(&self, mirror: &str) {
        let mut mirrors = self.mirrors.lock().unwrap_or_else(PoisonError::into_inner);
        if mirrors.insert(mirror.to_owned()) {
            self.added.notify_one();
        }
    }

    /// Takes those that were added, as soon as there are any. Safe to drop at any time.
    pub async fn taken(&self) -> BTreeSet<String> {
        loop {
            let taken = {
                let mut mirrors = self.mirrors.lock().unwrap_or_else(PoisonError::into_inner);
                std::mem::take(&mut *mirrors)
            };
            if !taken.is_empty() {
                return taken;
            }
            self.added.notified().await;
        }
    }
}
