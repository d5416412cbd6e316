//! Writing into a registry (OCI distribution specification 1.1, "Push").

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use landfall_catalog::{Digest, MediaType, Repository};
use landfall_runtime::dial::refuse_plain_text_elsewhere;
use landfall_runtime::retry::{RetryPolicy, retry};
use tokio::sync::Mutex;
use url::Url;

use super::call::Call;
use super::{Registry, header};
use crate::oci::Reference;
use crate::source::{SourceError, SourceErrorKind};

/// Says that the registry itself lists the document as a referrer.
const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
/// Shortest chunk that a registry takes.
const CHUNK_MIN: &str = "oci-chunk-min-length";

/// An upload under way.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    /// Where its next request goes, as the registry said last.
    location: Url,
    /// Shortest chunk that the registry takes, in bytes.
    pub(crate) least: usize,
    /// Bytes that have arrived.
    pub(crate) position: u64,
}

impl Registry {
    /// Begins an upload of a blob into `repository`.
    pub(crate) async fn begin(&self, repository: &Repository) -> Result<Session, SourceError> {
        retry(RetryPolicy::default(), "begin an upload", || async {
            let url = self.url(repository, "blobs/uploads/")?;
            let (response, by) = self
                .call(empty(Method::POST, url.clone(), repository))
                .await?;
            session(&url, response.headers(), 0).map_err(|error| error.from(&by))
        })
        .await
    }

    /// Sends the next chunk. If that fails midway, the registry is asked how
    /// much of it has arrived.
    pub(crate) async fn send_chunk(
        &self,
        repository: &Repository,
        session: &mut Session,
        chunk: Bytes,
    ) -> Result<(), SourceError> {
        let start = session.position;
        let end = start + chunk.len() as u64;
        // Tries follow each other; the lock only carries what they learn.
        let shared = Mutex::new((session.clone(), false));
        retry(RetryPolicy::default(), "send a chunk", || async {
            let mut guard = shared.lock().await;
            let (known, failed_before) = &mut *guard;
            if *failed_before {
                *known = self.status(repository, known).await?;
            }
            *failed_before = true;
            let arrived = known
                .position
                .checked_sub(start)
                .and_then(|arrived| usize::try_from(arrived).ok())
                .filter(|arrived| *arrived <= chunk.len())
                .ok_or_else(|| SourceError::broken("has lost its place in an upload"))?;
            if arrived == chunk.len() {
                return Ok(());
            }
            *known = self
                .patch(repository, known, chunk.slice(arrived..))
                .await?;
            Ok(())
        })
        .await?;
        let (known, _) = shared.into_inner();
        *session = Session {
            position: end,
            ..known
        };
        Ok(())
    }

    async fn patch(
        &self,
        repository: &Repository,
        session: &Session,
        chunk: Bytes,
    ) -> Result<Session, SourceError> {
        let last = session.position + chunk.len() as u64 - 1;
        let position = last + 1;
        let range = format!("{}-{last}", session.position);
        let mut call = Call {
            pushes: true,
            ..Call::new(Method::PATCH, session.location.clone(), repository)
        };
        call.headers.insert(CONTENT_TYPE, octets());
        call.headers.insert(CONTENT_RANGE, value(&range)?);
        call.headers.insert(CONTENT_LENGTH, chunk.len().into());
        call.body = Some(chunk);
        let (response, by) = self.call(call).await?;
        if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            // It has more or less than we think: ask it.
            return Err(SourceError::transient("wants another chunk").from(&by));
        }
        let mut next = self::session(&session.location, response.headers(), position)
            .map_err(|error| error.from(&by))?;
        next.least = session.least;
        Ok(next)
    }

    /// How far an upload has come.
    async fn status(
        &self,
        repository: &Repository,
        session: &Session,
    ) -> Result<Session, SourceError> {
        let mut call = empty(Method::GET, session.location.clone(), repository);
        call.headers.remove(CONTENT_LENGTH);
        let (response, by) = self.call(call).await?;
        let arrived = header(response.headers(), RANGE.as_str())
            .as_deref()
            .and_then(arrived)
            .ok_or_else(|| SourceError::broken("does not say how far an upload is").from(&by))?;
        // Not every registry repeats where it is.
        let next = self::session(&session.location, response.headers(), arrived);
        let mut next = next.unwrap_or_else(|_| Session {
            position: arrived,
            ..session.clone()
        });
        next.least = session.least;
        Ok(next)
    }

    /// Makes what was uploaded, and `rest` at its end, the blob `digest`.
    pub(crate) async fn finish(
        &self,
        repository: &Repository,
        session: &Session,
        digest: &Digest,
        rest: Bytes,
    ) -> Result<(), SourceError> {
        let mut url = session.location.clone();
        url.query_pairs_mut()
            .append_pair("digest", &digest.to_string());
        let mut call = Call {
            pushes: true,
            ..Call::new(Method::PUT, url, repository)
        };
        call.headers.insert(CONTENT_TYPE, octets());
        call.headers.insert(CONTENT_LENGTH, rest.len().into());
        call.body = Some(rest);
        let (response, by) = self.call(call).await?;
        created(&response).map_err(|error| error.from(&by))
    }

    /// Throws an upload away.
    pub(crate) async fn cancel(&self, repository: &Repository, session: &Session) {
        let call = empty(Method::DELETE, session.location.clone(), repository);
        if let Err(error) = self.call(call).await {
            tracing::debug!(%error, "an upload is left to expire");
        }
    }

    /// Stores a small blob.
    pub(crate) async fn put_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        bytes: &Bytes,
    ) -> Result<(), SourceError> {
        retry(RetryPolicy::default(), "put a blob", || async {
            let session = self.begin(repository).await?;
            self.finish(repository, &session, digest, bytes.clone())
                .await
        })
        .await
    }

    /// Makes the blob `digest` of repository `from` one of `repository`, without
    /// moving its bytes; false if the registry does not want to.
    pub(crate) async fn mount(
        &self,
        repository: &Repository,
        digest: &Digest,
        from: &Repository,
    ) -> Result<bool, SourceError> {
        let mut url = self.url(repository, "blobs/uploads/")?;
        url.query_pairs_mut()
            .append_pair("mount", &digest.to_string())
            .append_pair("from", &format!("{}{from}", self.inner.prefix));
        let mut call = empty(Method::POST, url.clone(), repository);
        call.mounts = Some(from);
        let (response, _) = match self.call(call).await {
            Ok(answer) => answer,
            Err(error) if matches!(error.kind, SourceErrorKind::Transient { .. }) => {
                return Err(error);
            }
            // It does not know how, or we may not read there.
            Err(_) => return Ok(false),
        };
        if response.status() == StatusCode::CREATED {
            return Ok(true);
        }
        // It began an ordinary upload instead.
        if let Ok(session) = session(&url, response.headers(), 0) {
            self.cancel(repository, &session).await;
        }
        Ok(false)
    }

    /// Stores a manifest or index under `reference`. True if the registry itself
    /// lists it with the subject that it names.
    pub(crate) async fn put_manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
        media_type: &MediaType,
        bytes: &Bytes,
    ) -> Result<bool, SourceError> {
        retry(RetryPolicy::default(), "put a manifest", || async {
            let url = self.url(repository, &format!("manifests/{reference}"))?;
            let mut call = Call {
                pushes: true,
                body: Some(bytes.clone()),
                ..Call::new(Method::PUT, url, repository)
            };
            call.headers
                .insert(CONTENT_TYPE, value(media_type.as_str())?);
            let (response, by) = self.call(call).await.map_err(not_yet)?;
            created(&response).map_err(|error| error.from(&by))?;
            Ok(response.headers().contains_key(SUBJECT))
        })
        .await
    }

    /// Deletes a blob, manifest or tag; false if it was not there.
    pub(crate) async fn delete(
        &self,
        repository: &Repository,
        path: &str,
    ) -> Result<bool, SourceError> {
        let url = self.url(repository, path)?;
        let answer = self.call(empty(Method::DELETE, url, repository)).await;
        super::none_if_absent(answer).map(|answer| answer.is_some())
    }
}

/// Some registries look a moment behind: blobs that they have just taken are
/// unknown to them.
fn not_yet(mut error: SourceError) -> SourceError {
    if error.detail.contains("BLOB_UNKNOWN") {
        error.kind = SourceErrorKind::Transient { retry_after: None };
    }
    error
}

fn created(response: &reqwest::Response) -> Result<(), SourceError> {
    match response.status() {
        StatusCode::CREATED | StatusCode::OK | StatusCode::NO_CONTENT => Ok(()),
        status => Err(SourceError::broken(format!(
            "answered {status} instead of having it"
        ))),
    }
}

fn empty<'a>(method: Method, url: Url, repository: &'a Repository) -> Call<'a> {
    let mut call = Call {
        pushes: true,
        ..Call::new(method, url, repository)
    };
    call.headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
    call
}

/// Where an upload goes on.
fn session(url: &Url, headers: &HeaderMap, position: u64) -> Result<Session, SourceError> {
    let location = header(headers, LOCATION.as_str())
        .and_then(|text| url.join(&text).ok())
        .ok_or_else(|| SourceError::broken("does not say where to upload"))?;
    refuse_plain_text_elsewhere(&location)
        .map_err(|error| SourceError::broken("wants an upload in plain text").caused_by(error))?;
    let least = header(headers, CHUNK_MIN)
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    Ok(Session {
        location,
        least,
        position,
    })
}

/// Bytes that have arrived, of `0-N`. `0-0` is what nothing looks like.
pub(crate) fn arrived(range: &str) -> Option<u64> {
    let (first, last) = range
        .strip_prefix("bytes=")
        .unwrap_or(range)
        .split_once('-')?;
    let last: u64 = last.trim().parse().ok()?;
    match (first.trim(), last) {
        ("0", 0) => Some(0),
        ("0", last) => last.checked_add(1),
        _ => None,
    }
}

fn octets() -> HeaderValue {
    HeaderValue::from_static("application/octet-stream")
}

fn value(text: &str) -> Result<HeaderValue, SourceError> {
    HeaderValue::from_str(text)
        .map_err(|error| SourceError::broken("cannot be asked for that").caused_by(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_much_has_arrived_is_read_from_the_range() {
        for (range, expected) in [
            ("0-0", Some(0)),
            ("0-9", Some(10)),
            ("bytes=0-9", Some(10)),
            ("1-9", None),
            ("0-", None),
            ("x", None),
        ] {
            assert_eq!(arrived(range), expected, "{range}");
        }
    }
}
