use std::io;
use std::path::{Path, PathBuf};

use landfall_catalog::Digest;

/// What went wrong in a store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file system refused. Worth another try, except when it is full.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was attempted, as a verb.
        operation: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The store does not hold that object.
    #[error("the store has no {0}")]
    NotFound(Digest),
    /// The object, or what was written for it, is longer than it may be.
    #[error("{digest} is longer than {limit} bytes")]
    TooLong {
        /// The object.
        digest: Digest,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The object is not complete yet.
    #[error("{digest} has {written} of {size} bytes")]
    Incomplete {
        /// The object.
        digest: Digest,
        /// Bytes there.
        written: u64,
        /// Bytes it has when complete.
        size: u64,
    },
    /// The bytes are not those of the digest. They were thrown away if they
    /// had no final name yet.
    #[error("the bytes for {expected} hash to {found}")]
    Mismatch {
        /// What they should be.
        expected: Digest,
        /// What they are.
        found: Digest,
    },
    /// A piece is not what the piece list says. It was not written.
    #[error("piece {index} of {digest} is wrong")]
    WrongPiece {
        /// The object.
        digest: Digest,
        /// Number of the piece, from 0.
        index: u64,
    },
    /// The piece list given does not fit the object's size.
    #[error("the piece list of {0} does not fit its size")]
    PieceList(Digest),
    /// Somebody else is writing that object right now.
    #[error("{0} is being written already")]
    Busy(Digest),
    /// A file stands where a folder is needed, or the other way round.
    #[error("{} is in the way of another name", path.display())]
    Collision {
        /// The path, below the store's root.
        path: PathBuf,
    },
    /// The folder is not an OCI image layout that can be used.
    #[error("{} is not usable: {why}", path.display())]
    Layout {
        /// The offending file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The blocking work did not finish: the program is stopping.
    #[error("the work on the store was cancelled")]
    Cancelled,
}

impl StoreError {
    /// True if the disk or a quota is full: pause, do not try again at once.
    #[must_use]
    pub fn is_full(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::Io { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
    }

    /// Attaches `operation` and `path` to an I/O error.
    pub(crate) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            operation,
            path,
            source,
        }
    }
}
