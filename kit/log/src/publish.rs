//! The one that publishes the log: durable first, then visible to every stream
//! and every static reader at once.

mod chunks;
mod files;
mod service;

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use landfall_catalog::{Frontier, SignedCheckpoint};
use tokio::sync::watch;

use crate::disk::LogDisk;
use crate::error::LogError;
use crate::reader::LogReader;
use chunks::RecentChunks;

pub use files::static_router;
pub use service::{CatalogService, WatchLimits};

/// What a commit adds to the log: entries as they are hashed, and the note that
/// covers all up to them.
#[derive(Clone, Debug, Default)]
pub struct PendingRevision {
    /// Encoded entries; the last one is a commit.
    pub entries: Vec<Bytes>,
    /// The signed note.
    pub note: Vec<u8>,
    /// W3C trace context of the operation, for those who follow the log.
    pub trace_parent: Option<String>,
}

/// The head of the published log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Number of entries.
    pub size: u64,
    /// The signed note; empty as long as nothing at all was signed.
    pub note: Bytes,
    /// Trace context of the operation that published it; of none for a refresh.
    pub trace_parent: Option<String>,
}

/// Owns the log on disk and tells its followers. Clones share it.
#[derive(Clone)]
pub struct Publisher {
    disk: Arc<Mutex<LogDisk>>,
    reader: LogReader,
    keys: Arc<Vec<String>>,
    origin: Arc<str>,
    recent: Arc<RecentChunks>,
    heads: watch::Sender<Arc<Head>>,
}

impl Publisher {
    /// A publisher of what is committed on the disk already.
    #[must_use]
    pub fn new(disk: LogDisk) -> Self {
        let head = disk.checkpoint().map_or_else(Head::default, |held| Head {
            size: held.checkpoint.size,
            note: Bytes::copy_from_slice(held.note()),
            trace_parent: None,
        });
        Self {
            reader: disk.reader(),
            keys: Arc::new(disk.keys().to_strings()),
            origin: disk.keys().origin().into(),
            recent: Arc::new(RecentChunks::default()),
            heads: watch::Sender::new(Arc::new(head)),
            disk: Arc::new(Mutex::new(disk)),
        }
    }

    /// Makes a revision durable, then visible. One that is published already (a
    /// restart between its database and its log) is fine and changes nothing.
    ///
    /// # Errors
    /// [`LogError::Refused`] if the note is not for exactly these entries after
    /// those that are there; [`LogError::Io`], after which it may be tried again.
    pub async fn publish(&self, revision: PendingRevision) -> Result<SignedCheckpoint, LogError> {
        let this = self.clone();
        blocking(move || this.publish_blocking(&revision)).await
    }

    /// Publishes a newer timestamp for the same tree.
    ///
    /// # Errors
    /// As [`Publisher::publish`].
    pub async fn refresh(&self, note: Vec<u8>) -> Result<SignedCheckpoint, LogError> {
        let revision = PendingRevision {
            note,
            ..PendingRevision::default()
        };
        self.publish(revision).await
    }

    fn publish_blocking(&self, revision: &PendingRevision) -> Result<SignedCheckpoint, LogError> {
        let mut disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        if disk.is_broken() {
            disk.recover()?;
        }
        // Whatever a failed attempt left.
        disk.discard_staged();
        let first = disk.size();
        let offered = disk.read_note(&revision.note)?;
        let published_before = offered.checkpoint.size <= first;
        if let Some(held) = disk.checkpoint()
            && held.checkpoint == offered.checkpoint
            && held.time >= offered.time
        {
            return Ok(held);
        }
        if !published_before {
            disk.stage(&revision.entries)?;
        }
        let held = disk.commit(&revision.note)?;
        if !published_before {
            self.recent.add(first, &revision.entries);
        }
        // Under the lock, so that heads are seen in the order of their commits.
        self.heads.send_replace(Arc::new(Head {
            size: held.checkpoint.size,
            note: Bytes::copy_from_slice(held.note()),
            trace_parent: revision.trace_parent.clone(),
        }));
        Ok(held)
    }

    /// The edge of the published tree: what the next root is computed from.
    #[must_use]
    pub fn frontier(&self) -> Frontier {
        self.reader.frontier()
    }

    /// Follows the head.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Head>> {
        self.heads.subscribe()
    }

    /// Reads what is published.
    #[must_use]
    pub fn reader(&self) -> LogReader {
        self.reader.clone()
    }
}

/// Runs disk work off the asynchronous threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| LogError::Worker)?
}
