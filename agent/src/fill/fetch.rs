//! Fetches one object: from whom the redirector says, else from the origin.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderName, HeaderValue};
use landfall_catalog::Digest;
use landfall_content::{
    DirectoryStore, FaultKind, Fetched, HttpSource, PieceList, Source, SourceFault, StoreError,
    TransferError, TransferLimits, Want, fetch_pieces, transfer,
};
use landfall_runtime::Clock;
use tokio::sync::{mpsc, watch};
use url::Url;

use crate::session::{Endpoints, Incident};

/// Names the agent to redirector and origin: who fills is told apart from users.
const AGENT_HEADER: HeaderName = HeaderName::from_static("landfall-agent");

/// How long a mirror that sent wrong bytes is left out for every object.
const SHUNNED_FOR: Duration = Duration::from_secs(600);

/// Mirrors that a request leaves out for this. With this mirror itself, and
/// those that the source avoids by its own, a redirector takes no more.
const MOST_SHUNNED: usize = 7;

/// The origin's name among the mirrors.
const ORIGIN: &str = "origin";

/// How long a piece list may take.
const PIECES_PATIENCE: Duration = Duration::from_secs(30);

/// An object to fetch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    /// Digest of its piece list, from the catalog.
    pub(crate) pieces: Option<Digest>,
}

/// Why an object did not come.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// The coordinator has never said where to fetch from.
    #[error("the coordinator has not yet said where content is to be fetched from")]
    NoEndpoints,
    /// No source delivered it, or the store failed.
    #[error("cannot fetch {digest}")]
    Transfer {
        digest: Digest,
        #[source]
        source: Box<TransferError>,
    },
    /// The store failed.
    #[error("cannot keep the piece list of {digest}")]
    Store {
        digest: Digest,
        #[source]
        source: StoreError,
    },
}

impl FetchError {
    /// How long a source has asked to be left alone.
    pub(crate) fn retry_after(&self) -> Duration {
        match self {
            Self::Transfer { source, .. } => source.retry_after().unwrap_or_default(),
            Self::NoEndpoints | Self::Store { .. } => Duration::ZERO,
        }
    }
}

/// Fetches objects into the store.
pub(crate) struct Fetcher {
    pub(crate) store: DirectoryStore,
    pub(crate) client: reqwest::Client,
    /// This mirror's name.
    pub(crate) name: String,
    pub(crate) endpoints: watch::Receiver<Option<Endpoints>>,
    pub(crate) incidents: mpsc::Sender<Incident>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Mirrors that sent wrong bytes, and until when they are left out.
    pub(crate) shunned: Mutex<HashMap<String, Instant>>,
}

impl Fetcher {
    /// Brings an object into the store, verified and durable.
    pub(crate) async fn fetch(&self, wanted: Wanted) -> Result<Fetched, FetchError> {
        let endpoints = self
            .endpoints
            .borrow()
            .clone()
            .ok_or(FetchError::NoEndpoints)?;
        let pieces = self.pieces(&endpoints, wanted).await?;
        let want = Want {
            digest: wanted.digest,
            size: wanted.size,
            pieces,
            make_pieces: false,
        };
        let path = format!("blobs/sha256/{}", wanted.digest.to_hex());
        let sources = self.sources(&endpoints, &path);
        let ended = transfer(
            &self.store,
            &want,
            &sources,
            &TransferLimits::default(),
            |_| {},
        )
        .await;
        let faults = match &ended {
            Ok(fetched) => fetched.faults.as_slice(),
            Err(error) => error.faults(),
        };
        for fault in faults {
            self.note(&wanted.digest, fault);
        }
        ended.map_err(|source| FetchError::Transfer {
            digest: wanted.digest,
            source: Box::new(source),
        })
    }

    /// The piece list, from the store or from any source; none if nobody has
    /// it: then the whole object's digest decides.
    async fn pieces(
        &self,
        endpoints: &Endpoints,
        wanted: Wanted,
    ) -> Result<Option<PieceList>, FetchError> {
        let Some(list) = wanted.pieces else {
            return Ok(None);
        };
        let store = |source| FetchError::Store {
            digest: wanted.digest,
            source,
        };
        let held = self
            .store
            .run(move |store| store.get_pieces(&wanted.digest, wanted.size))
            .await
            .map_err(store)?;
        if let Some(held) = held.filter(|held| held.digest() == list) {
            return Ok(Some(held));
        }
        let path = format!(".landfall/pieces/{}", wanted.digest.to_hex());
        for source in self.sources(endpoints, &path) {
            match fetch_pieces(&*source, &list, wanted.size, PIECES_PATIENCE).await {
                Ok(pieces) => {
                    let keep = pieces.clone();
                    self.store
                        .run(move |store| store.put_pieces(&wanted.digest, &keep))
                        .await
                        .map_err(store)?;
                    return Ok(Some(pieces));
                }
                Err(error) => tracing::debug!(
                    source = source.name(),
                    error = landfall_proto::status::chain(&error),
                    "no piece list from here"
                ),
            }
        }
        Ok(None)
    }

    /// The redirector, which avoids this mirror and those that lied; then the origin.
    fn sources(&self, endpoints: &Endpoints, path: &str) -> Vec<Arc<dyn Source>> {
        let mut sources: Vec<Arc<dyn Source>> = Vec::new();
        if let Some(mut url) = below(&endpoints.public_url, path) {
            url.query_pairs_mut().append_pair("avoid", &self.name);
            for mirror in self.shunned() {
                url.query_pairs_mut().append_pair("avoid", &mirror);
            }
            sources.push(Arc::new(
                HttpSource::new(self.client.clone(), url)
                    .with_headers(self.headers())
                    .with_redirects(1)
                    .with_avoidance(),
            ));
        }
        if let Some(url) = below(&endpoints.origin_url, path) {
            sources.push(Arc::new(
                HttpSource::new(self.client.clone(), url).with_headers(self.headers()),
            ));
        }
        sources
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Ok(name) = HeaderValue::from_str(&self.name) {
            headers.insert(AGENT_HEADER, name);
        }
        headers
    }

    fn shunned(&self) -> Vec<String> {
        let now = self.clock.now();
        let mut shunned = self.shunned.lock().unwrap_or_else(PoisonError::into_inner);
        shunned.retain(|_, until| *until > now);
        let mut names: Vec<String> = shunned.keys().cloned().collect();
        names.sort();
        names.truncate(MOST_SHUNNED);
        names
    }

    /// Remembers who sent wrong bytes, and tells the coordinator.
    fn note(&self, digest: &Digest, fault: &SourceFault) {
        tracing::debug!(%digest, %fault, "a source failed");
        let FaultKind::WrongBytes { .. } = fault.kind else {
            return;
        };
        // Without a redirector in between it was the origin, asked directly.
        let named = fault.served_by.as_ref().and_then(|by| by.mirror.clone());
        let culprit = named.unwrap_or_else(|| ORIGIN.to_owned());
        tracing::warn!(%digest, source = culprit, "wrong bytes; this source is left out for a while");
        self.shunned
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(culprit.clone(), self.clock.now() + SHUNNED_FOR);
        // A full channel means that many are waiting to be told already.
        let _ = self.incidents.try_send(Incident {
            code: "wrong-bytes",
            detail: fault.detail.clone(),
            digest: Some(*digest),
            source: culprit,
        });
    }
}

/// `path` below a base URL, whatever its own path is.
fn below(base: &Url, path: &str) -> Option<Url> {
    let mut url = base.clone();
    {
        let mut segments = url.path_segments_mut().ok()?;
        segments.pop_if_empty();
        segments.extend(path.split('/'));
    }
    Some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_keeps_its_own_path() {
        for (base, expect) in [
            ("http://127.0.0.1:1", "http://127.0.0.1:1/blobs/x"),
            (
                "http://127.0.0.1:1/origin",
                "http://127.0.0.1:1/origin/blobs/x",
            ),
            (
                "http://127.0.0.1:1/origin/",
                "http://127.0.0.1:1/origin/blobs/x",
            ),
        ] {
            let url = below(&Url::parse(base).unwrap(), "blobs/x").unwrap();
            assert_eq!(url.as_str(), expect);
        }
    }
}
