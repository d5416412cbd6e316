//! Answers as values: status, headers, body, and what is to be counted.

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER,
};
use http::{HeaderMap, StatusCode};
use landfall_catalog::Digest;
use landfall_route::Tier;
use serde::Serialize;

use crate::metrics::{Asked, Outcome};

/// Which catalog an answer is of: `revision=N size=M`, with `; stale` behind it if so.
pub const LANDFALL_CATALOG: HeaderName = HeaderName::from_static("landfall-catalog");
/// Name of the mirror that a redirect leads to, or `origin`.
pub const LANDFALL_MIRROR: HeaderName = HeaderName::from_static("landfall-mirror");
/// What is needed to explain the decision later.
pub const LANDFALL_DECISION: HeaderName = HeaderName::from_static("landfall-decision");
/// The digest of what is answered or led to (OCI distribution specification).
pub const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// Longest wait that is asked of a client that nothing can be done for now, in seconds.
const MAX_RETRY_AFTER_SECONDS: u64 = 30;
/// Shortest.
const MIN_RETRY_AFTER_SECONDS: u64 = 5;

/// An answer that is complete.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// All headers but those of the connection.
    pub headers: HeaderMap,
    /// The body; not sent in answer to HEAD.
    pub body: Bytes,
    /// What was asked for.
    pub asked: Asked,
    /// What became of it.
    pub outcome: Outcome,
    /// The tier that a redirect leads to.
    pub tier: Option<Tier>,
}

impl Reply {
    /// An answer without a body.
    #[must_use]
    pub fn empty(status: StatusCode) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            asked: Asked::Other,
            outcome: Outcome::Served,
            tier: None,
        }
        .with(CONTENT_LENGTH, HeaderValue::from_static("0"))
    }

    /// An answer with a body.
    #[must_use]
    pub fn with_body(self, content_type: &str, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let length = HeaderValue::from(body.len());
        Self { body, ..self }
            .with_text(CONTENT_TYPE, content_type)
            .with(CONTENT_LENGTH, length)
    }

    /// A line for people.
    #[must_use]
    pub fn text(status: StatusCode, text: &str) -> Self {
        Self::empty(status)
            .with(
                HeaderName::from_static("x-content-type-options"),
                HeaderValue::from_static("nosniff"),
            )
            .with_body("text/plain; charset=utf-8", text.to_owned())
    }

    /// A JSON document.
    #[must_use]
    pub fn json(status: StatusCode, content_type: &str, value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => Self::empty(status).with_body(content_type, body),
            // Maps with string keys and plain fields only: cannot happen.
            Err(_) => Self::text(StatusCode::INTERNAL_SERVER_ERROR, "internal error\n"),
        }
    }

    /// An error in the form of the OCI distribution specification, "Error codes".
    #[must_use]
    pub fn oci_error(status: StatusCode, code: &str, message: &str) -> Self {
        let body = serde_json::json!({ "errors": [{ "code": code, "message": message }] });
        Self::json(status, "application/json", &body)
    }

    /// 503, with a wait that differs from client network to client network, so that they don't all come back
    /// at once.
    #[must_use]
    pub fn unavailable(key: u64) -> Self {
        let spread = MAX_RETRY_AFTER_SECONDS - MIN_RETRY_AFTER_SECONDS + 1;
        let wait = MIN_RETRY_AFTER_SECONDS + key % spread;
        Self::text(
            StatusCode::SERVICE_UNAVAILABLE,
            "no usable place has this at the moment\n",
        )
        .with(RETRY_AFTER, HeaderValue::from(wait))
        .with(CACHE_CONTROL, HeaderValue::from_static("no-store"))
    }

    /// Counted as this.
    #[must_use]
    pub const fn counted(mut self, asked: Asked, outcome: Outcome) -> Self {
        self.asked = asked;
        self.outcome = outcome;
        self
    }

    /// With a header in place of any of that name.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// With a header of that text; a text that cannot be one is left out.
    #[must_use]
    pub fn with_text(self, name: HeaderName, text: &str) -> Self {
        match HeaderValue::from_str(text) {
            Ok(value) => self.with(name, value),
            Err(_) => self,
        }
    }

    /// With `Docker-Content-Digest` and `ETag`.
    #[must_use]
    pub fn of_object(self, digest: &Digest) -> Self {
        let digest = digest.to_string();
        self.with_text(DOCKER_CONTENT_DIGEST, &digest)
            .with_text(http::header::ETAG, &format!("\"{digest}\""))
    }

    /// With the catalog that it is of.
    #[must_use]
    pub fn of_catalog(self, catalog: HeaderValue) -> Self {
        self.with(LANDFALL_CATALOG, catalog)
    }
}
