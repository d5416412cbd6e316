//! A log's static files, over HTTP.

use bytes::Bytes;
use landfall_catalog::{BundleError, MAX_NOTE_BYTES, TilePath, decode_bundle};
use landfall_runtime::bounded::{Arrival, ReadError, read_response};
use reqwest::StatusCode;
use thiserror::Error;
use url::Url;

use crate::refusal::Refusal;

/// A file of the log that could not be fetched.
#[derive(Debug, Error)]
pub enum FetchError {
    /// There is no such file.
    #[error("{0} is not there")]
    Missing(String),
    /// Neither the file nor a clear no.
    #[error("{path} was answered with HTTP status {status}")]
    Status {
        /// The file.
        path: String,
        /// The answer.
        status: StatusCode,
    },
    /// No answer.
    #[error("asking for {path} failed")]
    Transport {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// An answer that is too large or ends too early.
    #[error("reading {path} failed")]
    Body {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: ReadError,
    },
}

/// Where a log's `checkpoint` and `tile/` are.
#[derive(Clone, Debug)]
pub(crate) struct StaticLog {
    client: reqwest::Client,
    /// Without a trailing slash.
    prefix: String,
}

impl StaticLog {
    pub(crate) fn new(client: reqwest::Client, prefix: &Url) -> Self {
        Self {
            client,
            prefix: prefix.as_str().trim_end_matches('/').to_owned(),
        }
    }

    pub(crate) async fn checkpoint(&self) -> Result<Bytes, FetchError> {
        self.get("checkpoint", MAX_NOTE_BYTES).await
    }

    /// The bytes of a hash tile, at least as wide as asked for.
    pub(crate) async fn tile(&self, path: TilePath) -> Result<Bytes, FetchError> {
        self.partial_or_full(path).await.map(|(_, bytes)| bytes)
    }

    /// The entries of a bundle, exactly as many as asked for. A bundle that cannot
    /// be taken apart is refused.
    pub(crate) async fn bundle(&self, path: TilePath) -> Result<Vec<Bytes>, BundleFault> {
        let (found, stored) = self.partial_or_full(path).await?;
        let entries = decode_bundle(&stored, found.width())
            .map_err(|error| BundleFault::Malformed(path, error))?;
        Ok(entries
            .into_iter()
            .take(usize::from(path.width()))
            .map(|entry| stored.slice_ref(entry))
            .collect())
    }

    /// Partial tiles go once the full one is there: then that one will do.
    async fn partial_or_full(&self, path: TilePath) -> Result<(TilePath, Bytes), FetchError> {
        match self.get(&path.to_string(), path.max_bytes()).await {
            Err(FetchError::Missing(missing)) if !path.is_full() => {
                let full = path.full();
                match self.get(&full.to_string(), full.max_bytes()).await {
                    Err(FetchError::Missing(_)) => Err(FetchError::Missing(missing)),
                    other => Ok((full, other?)),
                }
            }
            other => Ok((path, other?)),
        }
    }

    async fn get(&self, path: &str, limit: usize) -> Result<Bytes, FetchError> {
        let path = path.to_owned();
        let response = match self
            .client
            .get(format!("{}/{path}", self.prefix))
            .send()
            .await
        {
            Ok(response) => response,
            Err(source) => return Err(FetchError::Transport { path, source }),
        };
        match response.status() {
            StatusCode::OK => read_response(response, limit, &Arrival::default())
                .await
                .map_err(|source| FetchError::Body { path, source }),
            StatusCode::NOT_FOUND | StatusCode::GONE => Err(FetchError::Missing(path)),
            status => Err(FetchError::Status { path, status }),
        }
    }
}

/// Why a bundle gave no entries.
#[derive(Debug)]
pub(crate) enum BundleFault {
    Fetch(FetchError),
    Malformed(TilePath, BundleError),
}

impl From<FetchError> for BundleFault {
    fn from(error: FetchError) -> Self {
        Self::Fetch(error)
    }
}

impl BundleFault {
    /// The refusal that this is, if it is not just a fault of the way.
    pub(crate) fn into_refusal(self) -> Result<(Refusal, String), FetchError> {
        match self {
            Self::Malformed(path, error) => {
                let why = match error {
                    BundleError::Truncated { .. } => Refusal::TruncatedLog,
                    BundleError::EntryTooLong { .. }
                    | BundleError::Count(_)
                    | BundleError::TrailingBytes(_) => Refusal::TamperedEntry,
                };
                Ok((why, format!("{path}: {error}")))
            }
            Self::Fetch(FetchError::Missing(path)) => {
                Ok((Refusal::TruncatedLog, format!("{path} is not there")))
            }
            Self::Fetch(other) => Err(other),
        }
    }
}
