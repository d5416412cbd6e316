//! Serving a store over HTTP: objects by digest, files at their paths, and the
//! pull side of the OCI distribution API 1.1. Only what [`Visible`] admits is
//! there at all.
//!
//! | path | answer |
//! |---|---|
//! | `/blobs/sha256/<hex>` | any object |
//! | `/<path>` | a file |
//! | `/v2/`, `/v2/<name>/manifests/<reference>`, `…/blobs/<digest>`, `…/tags/list`, `…/referrers/<digest>` | OCI pull |
//! | `/.landfall/pieces/<hex>` | an object's piece list |
//!
//! One range of an answer can be had (RFC 9110 section 14); several are
//! answered with the whole. `HEAD` answers what `GET` would, without content
//! and without ranges.

mod body;
mod catalog;
mod counters;
mod list;
mod range;
mod refusal;
mod request;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{OriginalUri, Request, State};
use axum::response::Response;
use http::header::{
    ACCEPT_RANGES, ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    IF_NONE_MATCH, IF_RANGE, RANGE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use landfall_catalog::{Digest, FilePath, MediaType, Repository, Tag};

use crate::oci::{Reference, is_manifest};
use crate::store::{Item, Store, StoreError};
use body::Counter;
use range::{Selected, matches_any, select};
use refusal::Refusal;
use request::{Wanted, parse};

pub use catalog::{Admits, CatalogVisible, Shown};
pub use counters::AccessCounters;

/// Never changes under its name.
const FOREVER: &str = "public, max-age=31536000, immutable";
/// May mean something else tomorrow.
const BRIEFLY: &str = "public, max-age=60";
/// May mean something else at once.
const NEVER: &str = "no-cache";

const DOCKER_API: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const DOCKER_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// RFC 9530.
const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

/// What may be seen of a store. Answers come from memory: they are asked for
/// on the threads that serve.
pub trait Visible: Send + Sync + 'static {
    /// Any object, by its digest alone.
    fn blob(&self, digest: &Digest) -> Option<BlobInfo>;
    /// The file at a path.
    fn file(&self, path: &FilePath) -> Option<BlobInfo>;
    /// The manifest or index that a repository has under a reference.
    fn oci_manifest(&self, repository: &Repository, reference: &Reference) -> Option<BlobInfo>;
    /// A blob that is reachable in a repository.
    fn oci_blob(&self, repository: &Repository, digest: &Digest) -> Option<BlobInfo>;
    /// The tags of a repository after `after`, sorted bytewise, at most `limit`;
    /// none if there is no such repository.
    fn tags(&self, repository: &Repository, after: Option<&str>, limit: usize) -> Option<Vec<Tag>>;
    /// What refers to `subject` in a repository; none if there is no such
    /// repository.
    fn referrers(&self, repository: &Repository, subject: &Digest) -> Option<Vec<ReferrerInfo>>;
    /// A repository that an object is reachable in, if any. Only asked for what
    /// lies in a registry.
    fn some_repository(&self, digest: &Digest) -> Option<Repository> {
        let _ = digest;
        None
    }
}

/// An object that may be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobInfo {
    /// Its digest.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// What it is.
    pub media_type: MediaType,
}

/// A document that refers to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferrerInfo {
    /// The document.
    pub blob: BlobInfo,
    /// Its artifact type; empty if it has none.
    pub artifact_type: String,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

/// What kind of thing a request was for, for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RouteKind {
    /// An object by digest.
    Object,
    /// A file.
    File,
    /// A manifest or index of a repository.
    Manifest,
    /// A blob of a repository.
    Blob,
    /// `/v2/`, tags or referrers.
    Discovery,
    /// A piece list.
    Pieces,
    /// Nothing of these.
    Other,
}

impl RouteKind {
    /// Its name in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::File => "file",
            Self::Manifest => "manifest",
            Self::Blob => "blob",
            Self::Discovery => "discovery",
            Self::Pieces => "pieces",
            Self::Other => "other",
        }
    }
}

/// Counts what is served.
pub trait Access: Send + Sync + 'static {
    /// A request was answered; its content, if any, is still to be sent.
    fn request(&self, route: RouteKind, digest: Option<&Digest>, status: u16);
    /// That many bytes of an object were handed over, when its content ended or
    /// the client went away.
    fn sent(&self, route: RouteKind, digest: &Digest, bytes: u64);
}

/// Counts nothing.
impl Access for () {
    fn request(&self, _: RouteKind, _: Option<&Digest>, _: u16) {}
    fn sent(&self, _: RouteKind, _: &Digest, _: u64) {}
}

/// Serves what is visible of `store`, at every path: it has a fallback and no
/// routes, so nest it or add routes of other things to it.
pub fn router(
    store: impl Into<Store>,
    visible: Arc<dyn Visible>,
    access: Arc<dyn Access>,
) -> Router {
    Router::new().fallback(answer).with_state(Server {
        store: store.into(),
        visible,
        access,
    })
}

#[derive(Clone)]
struct Server {
    store: Store,
    visible: Arc<dyn Visible>,
    access: Arc<dyn Access>,
}

async fn answer(
    State(server): State<Server>,
    OriginalUri(original): OriginalUri,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let parsed = parse(parts.uri.path());
    let route = parsed.as_ref().map_or(RouteKind::Other, Wanted::route);
    let is_oci = request::is_oci(parts.uri.path());
    let mut digest = None;
    let answered = match parsed {
        _ if !matches!(parts.method, Method::GET | Method::HEAD) => Err(Refusal::Method),
        Err(refusal) => Err(refusal),
        Ok(wanted) => match server.look_up(wanted, parts.uri.query(), original.path()) {
            Ok(Found::Stored(stored)) => {
                digest = Some(stored.digest);
                server
                    .send(stored, route, &parts.method, &parts.headers)
                    .await
            }
            Ok(Found::Pieces(info)) => server.pieces(&info).await,
            Ok(Found::Made(response)) => Ok(response),
            Err(refusal) => Err(refusal),
        },
    };
    let mut response = answered.unwrap_or_else(|refusal| {
        let mut response = refusal.response(is_oci);
        if refusal == Refusal::Method {
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        response
    });
    if is_oci {
        response
            .headers_mut()
            .insert(DOCKER_API, HeaderValue::from_static("registry/2.0"));
    }
    if parts.method == Method::HEAD {
        *response.body_mut() = Body::empty();
    }
    server
        .access
        .request(route, digest.as_ref(), response.status().as_u16());
    response
}

enum Found {
    Stored(Stored),
    Pieces(BlobInfo),
    Made(Response),
}

/// Something in the store that is to be sent.
struct Stored {
    digest: Digest,
    size: u64,
    media_type: MediaType,
    content_type: HeaderValue,
    cache: &'static str,
    is_oci: bool,
}

impl Server {
    fn look_up(&self, wanted: Wanted, query: Option<&str>, path: &str) -> Result<Found, Refusal> {
        let visible = &self.visible;
        let found = match wanted {
            Wanted::Base => return Ok(Found::Made(list::base())),
            Wanted::Tags(repository) => {
                return list::tags(visible.as_ref(), &repository, query, path).map(Found::Made);
            }
            Wanted::Referrers(repository, subject) => {
                return list::referrers(visible.as_ref(), &repository, &subject, query)
                    .map(Found::Made);
            }
            Wanted::Pieces(digest) => {
                return visible
                    .blob(&digest)
                    .map(Found::Pieces)
                    .ok_or(Refusal::NotFound);
            }
            Wanted::Object(digest) => visible.blob(&digest).map(|info| (info, FOREVER, false)),
            Wanted::File(path) => visible.file(&path).map(|info| (info, BRIEFLY, false)),
            Wanted::Manifest(repository, reference) => {
                let cache = match &reference {
                    Reference::Tag(_) => NEVER,
                    Reference::Digest(_) => FOREVER,
                };
                let info = visible.oci_manifest(&repository, &reference);
                let info = info.filter(|info| is_manifest(&info.media_type));
                Some((info.ok_or(Refusal::ManifestUnknown)?, cache, true))
            }
            Wanted::Blob(repository, digest) => {
                let info = visible.oci_blob(&repository, &digest);
                // Manifests are manifests, also when somebody asks for them as a blob.
                let info = info.filter(|info| !is_manifest(&info.media_type));
                Some((info.ok_or(Refusal::BlobUnknown)?, FOREVER, true))
            }
        };
        let (info, cache, is_oci) = found.ok_or(Refusal::NotFound)?;
        let content_type = HeaderValue::from_str(info.media_type.as_str())
            .unwrap_or(HeaderValue::from_static("application/octet-stream"));
        Ok(Found::Stored(Stored {
            digest: info.digest,
            size: info.size,
            media_type: info.media_type,
            content_type,
            cache,
            is_oci,
        }))
    }

    async fn pieces(&self, info: &BlobInfo) -> Result<Response, Refusal> {
        let item = Item::new(info.digest, info.size);
        let list = self.store.get_pieces(&item).await;
        let list = list.map_err(|error| unreadable(&error))?;
        list.as_ref().map(list::pieces).ok_or(Refusal::NotFound)
    }

    /// What the store has to know. A registry wants a repository: any will do.
    fn item(&self, stored: Stored) -> Item {
        let repository = match &self.store {
            Store::Directory(_) | Store::Bucket(_) => None,
            Store::Registry(_) => self.visible.some_repository(&stored.digest),
        };
        Item {
            digest: stored.digest,
            size: stored.size,
            media_type: stored.media_type,
            repository,
        }
    }

    async fn send(
        &self,
        stored: Stored,
        route: RouteKind,
        method: &Method,
        asked: &HeaderMap,
    ) -> Result<Response, Refusal> {
        let etag = format!("\"{}\"", stored.digest);
        let mut response = Response::new(Body::empty());
        describe(response.headers_mut(), &stored, &etag);
        if asked
            .get_all(IF_NONE_MATCH)
            .iter()
            .any(|value| matches_any(value, &etag))
        {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return Ok(response);
        }
        let selected = match (method, asked.get(RANGE)) {
            (&Method::GET, Some(range))
                if asked
                    .get(IF_RANGE)
                    .is_none_or(|value| value == etag.as_str()) =>
            {
                select(range, stored.size)
            }
            _ => Selected::Whole,
        };
        let (from, length) = match selected {
            Selected::Whole => (0, stored.size),
            Selected::Part { first, last } => {
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                let range = format!("bytes {first}-{last}/{}", stored.size);
                set(response.headers_mut(), CONTENT_RANGE, &range);
                (first, last - first + 1)
            }
            Selected::Unsatisfiable => return Err(Refusal::Range(stored.size)),
        };
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
        // Opened for HEAD too: what cannot be read is not announced.
        let digest = stored.digest;
        let item = self.item(stored);
        let opened = body::open(&self.store, &item, from, length).await;
        let content = opened.map_err(|error| unreadable(&error))?;
        if method == Method::GET {
            let counter = Counter::new(Arc::clone(&self.access), route, digest);
            *response.body_mut() = content.stream(counter);
        }
        Ok(response)
    }
}

fn describe(headers: &mut HeaderMap, stored: &Stored, etag: &str) {
    headers.insert(CONTENT_TYPE, stored.content_type.clone());
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(stored.cache));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    set(headers, ETAG, etag);
    set(
        headers,
        REPR_DIGEST,
        &format!("sha-256=:{}:", stored.digest.to_base64()),
    );
    if stored.is_oci {
        set(headers, DOCKER_DIGEST, &stored.digest.to_string());
    }
}

/// Sets a field to text that is visible ASCII by construction.
fn set(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

/// The store does not have what is visible: somebody has to look.
fn unreadable(error: &StoreError) -> Refusal {
    tracing::error!(%error, cause = ?std::error::Error::source(error), "cannot serve what should be ready");
    Refusal::Unreadable
}
