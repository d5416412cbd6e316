//! Readers of what strangers send, for the fuzzer: everybody else meets them
//! behind the clients and stores, and nothing here is needed to use those.

use http::{HeaderMap, HeaderValue, StatusCode};
use landfall_catalog::{Digest, Name, Tag};
use url::Url;

use crate::oci::{self, Bearer, Descriptor};
use crate::source::{self, SourceError};
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

/// The tags of one answer.
///
/// # Errors
/// Whatever makes it no list of tags.
pub fn tags(answer: &[u8]) -> Result<Vec<Tag>, SourceError> {
    oci::tags_of(answer)
}

/// The referrers of one answer.
///
/// # Errors
/// Whatever makes it no list of referrers.
pub fn referrers(answer: &[u8]) -> Result<Vec<Descriptor>, SourceError> {
    oci::referrers_of(answer)
}

/// The code of a registry's complaint, if it can be shown.
#[must_use]
pub fn complaint(answer: &[u8]) -> Option<String> {
    oci::complaint(answer)
}

/// The platform that an index gives a document, as it is shown.
#[must_use]
pub fn platform(index: &[u8], digest: &Digest) -> Option<String> {
    oci::platform_in(index, digest)
}

/// What a file of credentials makes a client tell the registry at `home`.
///
/// # Errors
/// What is wrong with the file.
pub fn login(
    file: &[u8],
    home: &Url,
    repository: &str,
) -> Result<Option<HeaderValue>, &'static str> {
    oci::login(file, home, repository)
}

/// Where an answer redirects to.
///
/// # Errors
/// To nowhere, or to what is less secure.
pub fn redirect(url: &Url, headers: &HeaderMap) -> Result<Url, SourceError> {
    source::next_hop(url, headers)
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
