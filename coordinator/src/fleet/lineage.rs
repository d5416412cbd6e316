//! Whether a report speaks of this log.
//!
//! A report is of ordinals, and an ordinal means an object of one log only. A
//! coordinator that was restored from an old copy, or that began anew, writes
//! another log under the same name; a mirror that followed the old one holds
//! other bytes under the same ordinals, and may be sent nobody.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use landfall_catalog::{LogPosition, TreeHash};
use landfall_log::{LogError, LogReader};

/// Roots that are remembered: as many recent checkpoints as reports may name.
const REMEMBERED_ROOTS: usize = 1024;

/// Why a report is not known to be of this log.
#[derive(Debug, thiserror::Error)]
pub enum LineageError {
    /// The log has another name.
    #[error("the report is of the log {found:?}, and this is {own:?}")]
    OtherName {
        /// In the report.
        found: String,
        /// Of this log.
        own: String,
    },
    /// The log has more entries than this one.
    #[error("the report is of a log of {found} entries, and this one has {own}")]
    Longer {
        /// In the report.
        found: u64,
        /// Of this log.
        own: u64,
    },
    /// The log has other entries than this one.
    #[error(
        "the report is of a log with the root {found} at {size} entries, and this one has {own} there"
    )]
    OtherRoot {
        /// Where the two differ at the latest.
        size: u64,
        /// In the report.
        found: TreeHash,
        /// Of this log.
        own: TreeHash,
    },
    /// This log cannot be read.
    #[error("the log cannot be read")]
    Unreadable(#[from] LogError),
    /// The program is stopping.
    #[error("the program is stopping")]
    Stopped,
}

impl LineageError {
    /// Whether the report is of another log; otherwise that could not be told.
    pub(crate) const fn is_foreign(&self) -> bool {
        match self {
            Self::OtherName { .. } | Self::Longer { .. } | Self::OtherRoot { .. } => true,
            Self::Unreadable(_) | Self::Stopped => false,
        }
    }
}

/// The log that this coordinator writes; cheap to clone.
#[derive(Clone)]
pub(crate) struct OwnLog {
    origin: Arc<str>,
    reader: LogReader,
    /// By size. What the log once had stays as it was.
    roots: Arc<Mutex<BTreeMap<u64, TreeHash>>>,
}

impl OwnLog {
    pub(crate) fn new(origin: &str, reader: LogReader) -> Self {
        Self {
            origin: origin.into(),
            reader,
            roots: Arc::default(),
        }
    }

    /// Nothing, if `position` is one that this log has had.
    pub(crate) async fn judge(&self, position: &LogPosition) -> Result<(), LineageError> {
        if *position.origin != *self.origin {
            return Err(LineageError::OtherName {
                found: position.origin.clone(),
                own: self.origin.to_string(),
            });
        }
        let (size, found) = (position.size, position.root);
        let length = self.reader.size();
        if size > length {
            return Err(LineageError::Longer {
                found: size,
                own: length,
            });
        }
        let own = self.root_at(size).await?;
        if own == found {
            Ok(())
        } else {
            Err(LineageError::OtherRoot { size, found, own })
        }
    }

    async fn root_at(&self, size: u64) -> Result<TreeHash, LineageError> {
        if let Some(root) = self.roots().get(&size) {
            return Ok(*root);
        }
        let reader = self.reader.clone();
        let root = tokio::task::spawn_blocking(move || reader.root_at(size))
            .await
            .map_err(|_| LineageError::Stopped)??;
        let mut roots = self.roots();
        roots.insert(size, root);
        if roots.len() > REMEMBERED_ROOTS {
            // Mirrors that are up to date name the newest ones.
            roots.pop_first();
        }
        Ok(root)
    }

    fn roots(&self) -> MutexGuard<'_, BTreeMap<u64, TreeHash>> {
        // One insertion at a time: it is whole whatever panics.
        self.roots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use landfall_catalog::{Checkpoint, Commit, Entry, Frontier, LogSigner, Revision, leaf_hash};
    use landfall_log::LogDisk;
    use landfall_log::publish::{PendingRevision, Publisher};
    use landfall_proto::model::encode_entry;

    use super::*;

    fn commit(revision: u64, why: &str) -> Bytes {
        let commit = Commit {
            revision: Revision::new(revision),
            time: revision,
            who: "test".into(),
            why: why.into(),
            source: String::new(),
            plan: None,
            operation: String::new(),
        };
        encode_entry(&Entry::Commit(commit)).unwrap()
    }

    /// A log of one entry a revision, and its position after each.
    async fn log(stories: &[String]) -> (tempfile::TempDir, OwnLog, Vec<LogPosition>) {
        let folder = tempfile::tempdir().unwrap();
        let signer = LogSigner::from_seeds("log.example", [1; 32], [2; 32]).unwrap();
        let publisher = Publisher::new(LogDisk::open(folder.path(), signer.keys()).unwrap());
        let mut frontier = Frontier::new();
        let mut positions = vec![];
        for (revision, why) in (1..).zip(stories) {
            let entry = commit(revision, why);
            frontier.push(leaf_hash(&entry));
            let checkpoint = Checkpoint {
                origin: "log.example".into(),
                size: frontier.size(),
                root: frontier.root(),
            };
            let pending = PendingRevision {
                entries: vec![entry],
                note: signer.sign(&checkpoint, revision).unwrap(),
                trace_parent: None,
            };
            publisher.publish(pending).await.unwrap();
            positions.push(LogPosition {
                origin: checkpoint.origin,
                size: checkpoint.size,
                root: checkpoint.root,
            });
        }
        let own = OwnLog::new("log.example", publisher.reader());
        (folder, own, positions)
    }

    #[tokio::test]
    async fn every_position_that_the_log_has_had_is_its_own_and_no_other_is() {
        let mut stories: Vec<_> = (0..700).map(|number| number.to_string()).collect();
        let (_folder, own, ours) = log(&stories).await;
        stories[300] = "another story".into();
        stories.push("and longer".into());
        let (_other, _, theirs) = log(&stories).await;
        // Twice: computed, and remembered.
        for _ in 0..2 {
            for position in &ours {
                own.judge(position).await.unwrap();
            }
            for (position, expected) in theirs.iter().zip(1_u64..) {
                let judged = own.judge(position).await;
                match expected {
                    ..=300 => judged.unwrap(),
                    301..=700 => assert!(
                        matches!(judged, Err(LineageError::OtherRoot { size, .. }) if size == expected),
                        "{judged:?}"
                    ),
                    _ => assert!(matches!(
                        judged,
                        Err(LineageError::Longer {
                            found: 701,
                            own: 700
                        })
                    )),
                }
            }
        }
        let elsewhere = LogPosition {
            origin: "other.example".into(),
            ..ours[0].clone()
        };
        let judged = own.judge(&elsewhere).await.unwrap_err();
        assert!(judged.is_foreign() && matches!(judged, LineageError::OtherName { .. }));
    }
}
