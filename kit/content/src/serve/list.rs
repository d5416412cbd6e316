//! Answers that are made up on the spot: tags, referrers, piece lists.

use axum::body::Body;
use axum::response::Response;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, LINK};
use landfall_catalog::{Digest, Repository, Tag};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use url::form_urlencoded;

use super::refusal::Refusal;
use super::{FOREVER, NEVER, ReferrerInfo, Visible, set};
use crate::oci::INDEX;
use crate::piece::PieceList;

/// Most tags in one answer.
const MOST_TAGS: usize = 10_000;

/// `GET /v2/`: yes, this is a registry.
pub(super) fn base() -> Response {
    content("application/json", NEVER, b"{}".to_vec())
}

/// `GET /v2/<name>/tags/list` with `n`, `last` and `Link`.
pub(super) fn tags(
    visible: &dyn Visible,
    repository: &Repository,
    query: Option<&str>,
    path: &str,
) -> Result<Response, Refusal> {
    let (mut limit, mut after, mut paged) = (MOST_TAGS, None, false);
    for (key, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match key.as_ref() {
            "n" => {
                let number: usize = value.parse().map_err(|_| Refusal::PageInvalid)?;
                limit = number.min(MOST_TAGS);
                paged = true;
            }
            "last" => after = Some(value.into_owned()),
            _ => {}
        }
    }
    let tags = visible.tags(repository, after.as_deref(), limit + 1);
    let mut tags = tags.ok_or(Refusal::NameUnknown)?;
    let has_more = tags.len() > limit;
    tags.truncate(limit);
    let names: Vec<&str> = tags.iter().map(Tag::as_str).collect();
    let body = json!({"name": repository.as_str(), "tags": names});
    let mut response = content("application/json", NEVER, body.to_string().into_bytes());
    if let Some(last) = names.last().filter(|_| has_more) {
        let n = if paged { limit } else { MOST_TAGS };
        let last = utf8_percent_encode(last, NON_ALPHANUMERIC);
        let link = format!("<{path}?n={n}&last={last}>; rel=\"next\"");
        set(response.headers_mut(), LINK, &link);
    }
    Ok(response)
}

/// `GET /v2/<name>/referrers/<digest>` with `artifactType`.
pub(super) fn referrers(
    visible: &dyn Visible,
    repository: &Repository,
    subject: &Digest,
    query: Option<&str>,
) -> Result<Response, Refusal> {
    let mut query = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let filter = query
        .find(|(key, _)| key == "artifactType")
        .map(|(_, value)| value);
    let found = visible
        .referrers(repository, subject)
        .ok_or(Refusal::NameUnknown)?;
    let listed: Vec<Value> = found
        .iter()
        .filter(|referrer| {
            filter
                .as_ref()
                .is_none_or(|filter| referrer.artifact_type == **filter)
        })
        .map(descriptor)
        .collect();
    let body = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": listed});
    let mut response = content(INDEX, NEVER, body.to_string().into_bytes());
    if filter.is_some() {
        let applied = HeaderValue::from_static("artifactType");
        response
            .headers_mut()
            .insert("oci-filters-applied", applied);
    }
    Ok(response)
}

fn descriptor(referrer: &ReferrerInfo) -> Value {
    let mut descriptor = json!({
        "mediaType": referrer.blob.media_type,
        "digest": referrer.blob.digest,
        "size": referrer.blob.size,
    });
    if !referrer.artifact_type.is_empty() {
        descriptor["artifactType"] = json!(referrer.artifact_type);
    }
    if !referrer.annotations.is_empty() {
        descriptor["annotations"] = json!(referrer.annotations);
    }
    descriptor
}

/// The piece list of an object.
pub(super) fn pieces(list: &PieceList) -> Response {
    content("application/octet-stream", FOREVER, list.encode())
}

fn content(content_type: &'static str, cache: &'static str, body: Vec<u8>) -> Response {
    let length = body.len();
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
    headers.insert(CONTENT_LENGTH, length.into());
    response
}
