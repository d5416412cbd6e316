//! What can go wrong with a log on disk.

use std::io;
use std::path::{Path, PathBuf};

use landfall_catalog::{FoldError, NoteError};

use landfall_proto::WireError;
use landfall_proto::status::{Classify, Fault, chain};
use thiserror::Error;

use crate::refusal::Refusal;

/// A log on disk that could not be read, written or advanced.
#[derive(Debug, Error)]
pub enum LogError {
    /// Another process (or another handle of this one) writes there.
    #[error("another writer holds the log in {0}")]
    Locked(PathBuf),
    /// The file system said no.
    #[error("{doing} {path} failed")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// What is on the disk is not what was committed there.
    #[error("the log on disk is damaged: {place}")]
    Damaged {
        /// The file or entry, and how.
        place: String,
    },
    /// The checkpoint, or the entries with it, are not accepted. Nothing changed.
    #[error("{why}: {detail}")]
    Refused {
        /// By name.
        why: Refusal,
        /// The facts.
        detail: String,
    },
    /// An entry is larger than a log takes.
    #[error("entry {index} of the log is too long")]
    EntryTooLong {
        /// Its index.
        index: u64,
    },
    /// An entry of the log is not a catalog entry, though it was signed.
    #[error("entry {index} of the log cannot be decoded")]
    Entry {
        /// Its index.
        index: u64,
        /// Why not.
        #[source]
        source: WireError,
    },
    /// The entries up to that revision contradict each other.
    #[error("the revision that ends before entry {end} cannot be applied")]
    Fold {
        /// Log size with that revision.
        end: u64,
        /// Why not.
        #[source]
        source: FoldError,
    },
    /// Asked for something that the log does not have.
    #[error("{asked} is beyond the log's size {size}")]
    OutOfRange {
        /// Index or size asked for.
        asked: u64,
        /// Size of the log.
        size: u64,
    },
    /// A write failed before, so what is on the disk is not known: see
    /// [`LogDisk::recover`](crate::LogDisk::recover).
    #[error("an earlier write failed: the log has to be recovered first")]
    Broken,
    /// A worker thread ended without a result.
    #[error("a worker of the log stopped")]
    Worker,
}

impl LogError {
    /// For `map_err`: `doing` is a participle, such as "writing".
    pub(crate) fn io(
        doing: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io {
            doing,
            path,
            source,
        }
    }

    pub(crate) fn damaged(place: impl Into<String>) -> Self {
        Self::Damaged {
            place: place.into(),
        }
    }

    pub(crate) fn refused(why: Refusal, detail: impl Into<String>) -> Self {
        Self::Refused {
            why,
            detail: detail.into(),
        }
    }
}

impl From<NoteError> for LogError {
    fn from(error: NoteError) -> Self {
        Self::refused(Refusal::from(&error), chain(&error))
    }
}

impl Classify for LogError {
    fn fault(&self) -> Fault {
        match self {
            Self::Locked(_) | Self::Refused { .. } => Fault::Conflict,
            Self::Io { .. } | Self::Broken => Fault::Unavailable,
            Self::EntryTooLong { .. } => Fault::InvalidInput,
            Self::OutOfRange { .. } => Fault::NotFound,
            Self::Damaged { .. } | Self::Entry { .. } | Self::Fold { .. } | Self::Worker => {
                Fault::Bug
            }
        }
    }
}
