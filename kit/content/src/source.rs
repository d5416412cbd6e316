//! Where bytes come from. A source is never trusted: it only says where a
//! stream of bytes begins, and whoever reads it checks them.

mod base;
mod clients;
mod file;
mod http;
mod object;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use landfall_catalog::Digest;
use landfall_runtime::bounded::read_to_limit;

use crate::transfer::SourceFault;

pub use base::{BaseError, FileBase};
pub(crate) use clients::Clients;
pub use clients::Manners;
pub use file::FileSource;
pub use http::HttpSource;
pub(crate) use http::{body, content_range, next_hop, status_error};
pub use object::ObjectStoreSource;

/// A place that one object can be read from, from any position on.
pub trait Source: Send + Sync {
    /// What to call it in messages: where it is, without secrets.
    fn name(&self) -> &str;

    /// Opens the object at byte `from`. A source that cannot may begin
    /// earlier; [`Opened::start`] tells.
    fn open(&self, from: u64) -> BoxFuture<'_, Result<Opened, SourceError>>;

    /// Learns of a fault in what it sent. True if it will send something else
    /// from now on and may be asked again, as a redirector does that avoids
    /// the mirror at fault.
    fn amend(&self, fault: &SourceFault) -> bool {
        let _ = fault;
        false
    }
}

/// An object being read.
pub struct Opened {
    /// Position of the stream's first byte in the object.
    pub start: u64,
    /// Length of the whole object as the source has it, if it says so.
    pub total: Option<u64>,
    /// Who sends it in the end.
    pub served_by: ServedBy,
    /// The bytes.
    pub stream: BoxStream<'static, Result<Bytes, SourceError>>,
}

/// Who sent bytes, after redirects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedBy {
    /// Where it is: an URL without user, query and fragment, or a path.
    pub location: String,
    /// Its name in the fleet, if a redirector gave it.
    pub mirror: Option<String>,
}

impl fmt::Display for ServedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.mirror {
            Some(mirror) => write!(f, "{mirror} ({})", self.location),
            None => f.write_str(&self.location),
        }
    }
}

/// What a reader may do about a source that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceErrorKind {
    /// It does not have the object.
    NotFound,
    /// It does not give it to us. Asking again does not help.
    Refused,
    /// It cannot just now.
    Transient {
        /// How long it wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// It does not keep to the protocol, or what it has is not the object.
    Broken,
}

/// Why a source could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{detail}")]
pub struct SourceError {
    /// What may be done about it.
    pub kind: SourceErrorKind,
    /// What happened, without secrets.
    pub detail: String,
    /// Who failed, if it was not the source itself.
    pub served_by: Option<ServedBy>,
    /// What caused it.
    #[source]
    pub cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl SourceError {
    /// An error without an inner cause.
    pub fn new(kind: SourceErrorKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            served_by: None,
            cause: None,
        }
    }

    /// The source does not keep to its protocol.
    pub(crate) fn broken(detail: impl Into<String>) -> Self {
        Self::new(SourceErrorKind::Broken, detail)
    }

    /// Something went wrong that may go right the next time.
    pub fn transient(detail: impl Into<String>) -> Self {
        Self::new(SourceErrorKind::Transient { retry_after: None }, detail)
    }

    pub(crate) fn caused_by(
        mut self,
        cause: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        self.cause = Some(Box::new(cause));
        self
    }

    pub(crate) fn from(mut self, served_by: &ServedBy) -> Self {
        self.served_by = Some(served_by.clone());
        self
    }
}

/// Reads a whole small object from `source`: it has to hash to `digest` and
/// to be at most `limit` bytes long, and to arrive within `patience`.
///
/// # Errors
///
/// The source's own; [`SourceErrorKind::Broken`] if the bytes are wrong or too
/// many; [`SourceErrorKind::Transient`] when time is up.
pub async fn fetch_bytes(
    source: &dyn Source,
    digest: &Digest,
    limit: u64,
    patience: Duration,
) -> Result<Bytes, SourceError> {
    let read = async {
        let opened = source.open(0).await?;
        let by = opened.served_by;
        let bytes = read_stream(opened.stream, limit)
            .await
            .map_err(|error| error.from(&by))?;
        if Digest::of(&bytes) == *digest {
            Ok(bytes)
        } else {
            Err(SourceError::broken(format!("sent other bytes than {digest}")).from(&by))
        }
    };
    tokio::time::timeout(patience, read)
        .await
        .unwrap_or_else(|_| Err(SourceError::transient("did not answer in time")))
}

/// Reads `stream` to its end, but never more than `limit` bytes.
pub(crate) async fn read_stream(
    stream: BoxStream<'static, Result<Bytes, SourceError>>,
    limit: u64,
) -> Result<Bytes, SourceError> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    read_to_limit(stream, limit).await.map_err(|error| {
        if error.is_too_large() {
            SourceError::broken(error.to_string())
        } else {
            SourceError::transient("the transfer broke off").caused_by(error)
        }
    })
}
