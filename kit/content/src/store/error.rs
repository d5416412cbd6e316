use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use landfall_catalog::Digest;

use crate::source::{SourceError, SourceErrorKind};

/// Where clouds keep the credentials of their machines: asked when there are no
/// others.
const METADATA: [&str; 2] = ["169.254.169.254", "metadata.google.internal"];
/// Longest text of an error that is handed on.
const MOST_DETAIL: usize = 500;

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
    /// A bucket or registry refused, or could not be reached. Worth another
    /// try.
    #[error("cannot {operation} {place}: {detail}")]
    Remote {
        /// What was attempted, as a verb.
        operation: &'static str,
        /// On what: a key or a URL, without secrets.
        place: String,
        /// What the other side said, without secrets.
        detail: String,
        /// How long it wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// The URL names no store that can be used. The configuration's fault.
    #[error("{url} cannot be used as a store: {why}")]
    Url {
        /// The URL, without secrets.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// This kind of store cannot do that.
    #[error("{0}")]
    Unsupported(&'static str),
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

    /// How long a bucket or registry asked to be left alone.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Remote { retry_after, .. } => *retry_after,
            Self::Io { .. }
            | Self::NotFound(_)
            | Self::TooLong { .. }
            | Self::Incomplete { .. }
            | Self::Mismatch { .. }
            | Self::WrongPiece { .. }
            | Self::PieceList(_)
            | Self::Busy(_)
            | Self::Collision { .. }
            | Self::Layout { .. }
            | Self::Url { .. }
            | Self::Unsupported(_)
            | Self::Cancelled => None,
        }
    }

    /// What a bucket said about `key`.
    pub(crate) fn from_bucket(
        operation: &'static str,
        key: &object_store::path::Path,
        error: &object_store::Error,
    ) -> Self {
        let said = error.to_string();
        let detail = if METADATA.iter().any(|address| said.contains(address)) {
            "no credentials were found: the provider's variables hold none (such as AWS_ACCESS_KEY_ID \
             and AWS_SECRET_ACCESS_KEY), and this machine's metadata service gave none"
                .to_owned()
        } else {
            without_queries(&said)
        };
        Self::Remote {
            operation,
            place: key.to_string(),
            detail,
            retry_after: None,
        }
    }

    /// What a registry said.
    pub(crate) fn from_registry(operation: &'static str, place: &str, error: SourceError) -> Self {
        let retry_after = match error.kind {
            SourceErrorKind::Transient { retry_after } => retry_after,
            SourceErrorKind::NotFound | SourceErrorKind::Refused | SourceErrorKind::Broken => None,
        };
        let mut detail = error.detail;
        if let Some(cause) = error.cause {
            detail = format!("{detail}: {cause}");
        }
        Self::Remote {
            operation,
            place: place.to_owned(),
            detail,
            retry_after,
        }
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

/// `text` on one line, not too long, and without what follows the `?` of a
/// URL: a query may be a signature.
pub(crate) fn without_queries(text: &str) -> String {
    let mut shown = String::new();
    for word in text.split_whitespace() {
        let word = match word.split_once("://") {
            Some(_) => word.split('?').next().unwrap_or_default(),
            None => word,
        };
        if shown.len() + word.len() > MOST_DETAIL {
            shown.push_str(" …");
            break;
        }
        if !shown.is_empty() {
            shown.push(' ');
        }
        shown.push_str(word);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_credentials_are_called_so() {
        let key = object_store::path::Path::from("x");
        let error = object_store::Error::Generic {
            store: "S3",
            source: "Error performing PUT http://169.254.169.254/latest/api/token".into(),
        };
        let told = StoreError::from_bucket("list", &key, &error).to_string();
        assert!(told.contains("no credentials"), "{told}");
        assert!(!told.contains("169.254"), "{told}");
    }

    #[test]
    fn a_signed_url_is_shown_without_its_signature() {
        let text = "GET failed:\n  https://a.example/x?sig=SECRET&se=1 said no";
        assert_eq!(
            without_queries(text),
            "GET failed: https://a.example/x said no"
        );
        assert!(without_queries(&"x ".repeat(10_000)).len() < 600);
    }
}
