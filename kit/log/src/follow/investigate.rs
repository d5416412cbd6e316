//! Tells a fork from entries that were changed on the way.

use landfall_catalog::{Frontier, SignedCheckpoint, leaf_hash};
use tokio::time::timeout;

use super::FollowEvent;
use super::feed::{Feed, FeedItem, FeedSource};
use super::run::Run;
use crate::disk::LogDisk;
use crate::refusal::Refusal;

impl<S, F> Run<S>
where
    S: FnMut(FollowEvent) -> F + Send,
    F: Future<Output = ()> + Send,
{
    /// Entries that do not continue what is held up to a signed root were either
    /// changed on the way, or the log has another past by now. The source's whole
    /// log tells: if it has the signed root, and another one at the held size, then
    /// two trees were signed. Asked once for each root.
    pub(super) async fn find_out(
        &mut self,
        source: &FeedSource,
        why: Refusal,
        note: &[u8],
    ) -> Refusal {
        if why != Refusal::TamperedEntry {
            return why;
        }
        let Some((offered, held)) = self.both_notes(note) else {
            return why;
        };
        let root = offered.checkpoint.root;
        if let Some((known, verdict)) = self.investigated
            && known == root
        {
            return verdict;
        }
        match self.has_another_past(source, &held, &offered).await {
            Some(forked) => {
                let verdict = if forked { Refusal::Fork } else { why };
                self.investigated = Some((root, verdict));
                verdict
            }
            // Not found out, this time.
            None => why,
        }
    }

    fn both_notes(&self, note: &[u8]) -> Option<(SignedCheckpoint, SignedCheckpoint)> {
        let disk: &LogDisk = self.disk()?;
        let offered = disk.read_note(note).ok()?;
        Some((offered, disk.checkpoint()?))
    }

    /// Hashes the source's log from its beginning, keeping nothing.
    async fn has_another_past(
        &self,
        source: &FeedSource,
        held: &SignedCheckpoint,
        offered: &SignedCheckpoint,
    ) -> Option<bool> {
        let watchdog = self.follower.config.limits.watchdog;
        let keys = self.disk()?.keys().clone();
        let ways = self.ways();
        let opening = timeout(watchdog, Feed::open(source, 0, Some(&keys), &ways));
        let mut feed = self.shutdown.unless_requested(opening).await?.ok()?.ok()?;
        let (old, new) = (&held.checkpoint, &offered.checkpoint);
        let mut frontier = Frontier::new();
        let mut same_past = old.size == 0;
        while frontier.size() < new.size {
            let next = timeout(watchdog, feed.next());
            let item = self.shutdown.unless_requested(next).await?.ok()?.ok()?;
            match item {
                FeedItem::Entries(first, entries) => {
                    if first != frontier.size() {
                        return None;
                    }
                    let left = usize::try_from(new.size - first).unwrap_or(usize::MAX);
                    for entry in entries.iter().take(left) {
                        frontier.push(leaf_hash(entry));
                        if frontier.size() == old.size {
                            same_past = frontier.root() == old.root;
                        }
                    }
                }
                FeedItem::Checkpoint { .. } => return None,
                FeedItem::Hello(_) | FeedItem::Alive => {}
            }
        }
        Some(frontier.root() == new.root && !same_past)
    }
}
