//! Answers that are not what was asked for.

use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use serde_json::json;

use super::set;

/// Why a request is not answered with content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Malformed,
    NotFound,
    Method,
    NameInvalid,
    NameUnknown,
    DigestInvalid,
    ManifestUnknown,
    BlobUnknown,
    PageInvalid,
    /// Not within that many bytes.
    Range(u64),
    Unreadable,
}

impl Refusal {
    /// Status, error code of the OCI distribution specification, and text.
    fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Malformed => (StatusCode::BAD_REQUEST, "UNSUPPORTED", "malformed path"),
            Self::NotFound => (StatusCode::NOT_FOUND, "UNSUPPORTED", "not found"),
            Self::Method => (
                StatusCode::METHOD_NOT_ALLOWED,
                "UNSUPPORTED",
                "only GET and HEAD are supported",
            ),
            Self::NameInvalid => (
                StatusCode::BAD_REQUEST,
                "NAME_INVALID",
                "invalid repository name",
            ),
            Self::NameUnknown => (
                StatusCode::NOT_FOUND,
                "NAME_UNKNOWN",
                "repository name not known",
            ),
            Self::DigestInvalid => (
                StatusCode::BAD_REQUEST,
                "DIGEST_INVALID",
                "not a sha256 digest",
            ),
            Self::ManifestUnknown => (
                StatusCode::NOT_FOUND,
                "MANIFEST_UNKNOWN",
                "manifest unknown",
            ),
            Self::BlobUnknown => (StatusCode::NOT_FOUND, "BLOB_UNKNOWN", "blob unknown"),
            Self::PageInvalid => (
                StatusCode::BAD_REQUEST,
                "PAGINATION_NUMBER_INVALID",
                "invalid number of results requested",
            ),
            Self::Range(_) => (
                StatusCode::RANGE_NOT_SATISFIABLE,
                "SIZE_INVALID",
                "range not satisfiable",
            ),
            Self::Unreadable => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "UNKNOWN",
                "the store cannot be read",
            ),
        }
    }

    /// The answer; for OCI clients with the body that they understand.
    pub(super) fn response(self, is_oci: bool) -> Response {
        let (status, code, text) = self.parts();
        let (content_type, content) = if is_oci {
            let body = json!({"errors": [{"code": code, "message": text}]});
            ("application/json", body.to_string())
        } else {
            ("text/plain; charset=utf-8", format!("{text}\n"))
        };
        let length = content.len();
        let mut response = Response::new(Body::from(content));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(CONTENT_LENGTH, length.into());
        if let Self::Range(size) = self {
            set(headers, CONTENT_RANGE, &format!("bytes */{size}"));
        }
        response
    }
}
