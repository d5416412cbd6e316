//! Readers of what strangers send, for the fuzzer: everybody else meets them
//! behind the clients and stores, and nothing here is needed to use those.

use http::{HeaderMap, HeaderValue, StatusCode};
use landfall_catalog::{Digest, Name};
use url::Url;

use crate::oci::{self, Bearer};
use crate::source;
use crate::store::Index;

/// Realm and service of a registry's challenge.
#[must_use]
pub fn challenge(text: &str) -> Option<(String, Option<String>)> {
    Bearer::parse(text).map(|bearer| (bearer.realm, bearer.service))
}

/// What a token server's answer makes a client send.
#[must_use]
pub fn token_answer(bytes: &[u8]) -> Option<HeaderValue> {
    oci::granted(bytes)
}

/// What a status and its header fields are taken for, `Retry-After` among them.
#[must_use]
pub fn refusal(status: StatusCode, headers: &HeaderMap) -> source::SourceErrorKind {
    source::status_error(status, headers).kind
}

/// First position and total length of a `Content-Range`.
#[must_use]
pub fn content_range(value: &HeaderValue) -> Option<(u64, Option<u64>)> {
    source::content_range(value)
}

/// The next page of a list, from the `Link` of this one.
#[must_use]
pub fn next_page(page: &Url, headers: &HeaderMap) -> Option<Url> {
    oci::next_page(page, headers)
}

/// Bytes of an upload that have arrived, from its `Range`.
#[must_use]
pub fn arrived(range: &str) -> Option<u64> {
    oci::arrived(range)
}

/// The index of an OCI layout, for its names; what it is written as again goes to
/// `written`.
///
/// # Errors
/// Whatever makes it no index.
pub fn index(bytes: &[u8], written: &mut Vec<u8>) -> serde_json::Result<Vec<(Name, Digest)>> {
    let index = Index::decode(bytes)?;
    let named = index.named().collect();
    *written = index.encode()?;
    Ok(named)
}
