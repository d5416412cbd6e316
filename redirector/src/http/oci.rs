//! The pull API of the OCI distribution specification.
//!
//! What is in the catalog is answered from it; the bytes of OCI manifests come from the verified cache; blobs
//! are redirects. A tag means what the catalog says, whatever a mirror holds under it.

use std::collections::BTreeMap;

use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, LINK};
use landfall_catalog::{Digest, MediaType, Ordinal, Repository, Tag};
use landfall_route::{Content, Target, decide, location};
use serde::Serialize;

use super::files::{blob_redirect, by_digest};
use super::reply::Reply;
use super::{Answer, Context};
use crate::metrics::{Asked, Outcome};
use crate::oci_manifests::WantedManifest;

/// Most tags in one answer; the rest is behind its `Link`.
const MAX_TAGS: usize = 10_000;

/// Why something of a repository is not live that is not withdrawn itself.
const WITH_ANOTHER: &str = "only what was withdrawn needs it";

/// Media types that are asked for as manifests.
const MANIFEST_TYPES: [&str; 6] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.artifact.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
];

/// Whether an object of that media type is an OCI manifest or index.
#[must_use]
pub(crate) fn is_manifest(media_type: &MediaType) -> bool {
    MANIFEST_TYPES.contains(&media_type.as_str())
}

/// `/v2/`: yes, this is a registry.
pub(super) fn base() -> Reply {
    Reply::empty(StatusCode::OK)
        .with(
            HeaderName::from_static("docker-distribution-api-version"),
            HeaderValue::from_static("registry/2.0"),
        )
        .with_body("application/json", "{}")
        .counted(Asked::Internal, Outcome::Served)
}

pub(super) fn manifest_by_tag(context: &Context<'_>, repository: &Repository, tag: &Tag) -> Answer {
    match context.catalog.tag(repository.as_str(), tag.as_str()) {
        Some(record) => manifest(context, repository, record.ordinal),
        None => Answer::Reply(unknown(context, repository, Asked::Manifest)),
    }
}

pub(super) fn manifest_by_digest(
    context: &Context<'_>,
    repository: &Repository,
    digest: &Digest,
) -> Answer {
    match context.catalog.ordinal(digest) {
        Some(ordinal) => manifest(context, repository, ordinal),
        None => Answer::Reply(unknown(context, repository, Asked::Manifest)),
    }
}

fn manifest(context: &Context<'_>, repository: &Repository, ordinal: Ordinal) -> Answer {
    let catalog = context.catalog;
    let Some(object) = catalog.object(ordinal) else {
        return Answer::Reply(unknown(context, repository, Asked::Manifest));
    };
    let digest = object.digest();
    if let Some(reason) = catalog.withdrawn(digest) {
        return Answer::Reply(gone(Asked::Manifest, reason));
    }
    if !catalog.contains(repository.as_str(), ordinal) || !is_manifest(object.media_type()) {
        return Answer::Reply(unknown(context, repository, Asked::Manifest));
    }
    if !catalog.is_live(ordinal) {
        return Answer::Reply(gone(Asked::Manifest, WITH_ANOTHER));
    }
    let size = object.size();
    let reply = Reply::empty(StatusCode::OK)
        .of_object(digest)
        .with_text(CONTENT_TYPE, object.media_type().as_str())
        .with(CONTENT_LENGTH, HeaderValue::from(size))
        .with(
            CACHE_CONTROL,
            HeaderValue::from_static("private, max-age=60"),
        )
        .counted(Asked::Manifest, Outcome::Served);
    if context.head {
        return Answer::Reply(reply);
    }
    let wanted = WantedManifest {
        digest: *digest,
        size,
        sources: sources(context, digest, ordinal),
    };
    Answer::Manifest(reply, wanted)
}

/// A live OCI manifest, in whatever repository.
pub(super) fn wanted(context: &Context<'_>, digest: &Digest) -> Option<WantedManifest> {
    let ordinal = context.catalog.ordinal(digest)?;
    let object = context.catalog.object(ordinal)?;
    let is_wanted = context.catalog.is_live(ordinal) && is_manifest(object.media_type());
    is_wanted.then(|| WantedManifest {
        digest: *digest,
        size: object.size(),
        sources: sources(context, digest, ordinal),
    })
}

/// Where the bytes of an OCI manifest may be had: ready mirrors, best first, then the origin.
fn sources(context: &Context<'_>, digest: &Digest, ordinal: Ordinal) -> Vec<String> {
    let decision = decide(&by_digest(context, digest, ordinal), context.fleet);
    let content = Content::Blob {
        repository: None,
        digest,
    };
    let origin = (!context.fleet.origin_url.is_empty()).then_some(Target::Origin);
    let alternates = decision.alternates.iter().map(|at| Target::Mirror(*at));
    let best = (decision.target != Target::Origin).then_some(decision.target);
    best.into_iter()
        .chain(alternates)
        .chain(origin)
        .filter_map(|target| location(context.fleet, target, content))
        .collect()
}

/// A blob of a repository: 307.
pub(super) fn blob(context: &Context<'_>, repository: &Repository, digest: &Digest) -> Reply {
    if let Some(reason) = context.catalog.withdrawn(digest) {
        return gone(Asked::Blob, reason);
    }
    let held = context
        .catalog
        .ordinal(digest)
        .filter(|ordinal| context.catalog.contains(repository.as_str(), *ordinal));
    match held {
        Some(ordinal) if !context.catalog.is_live(ordinal) => gone(Asked::Blob, WITH_ANOTHER),
        Some(ordinal) => blob_redirect(context, digest, ordinal, Some(repository)),
        None => unknown(context, repository, Asked::Blob),
    }
}

#[derive(Serialize)]
struct TagList<'a> {
    name: &'a str,
    tags: Vec<&'a str>,
}

/// The tags of a repository, in pages.
pub(super) fn tags(
    context: &Context<'_>,
    repository: &Repository,
    n: Option<u32>,
    last: Option<&str>,
) -> Reply {
    if !context.catalog.has_repository(repository.as_str()) {
        return unknown(context, repository, Asked::Tags);
    }
    let limit = n.map_or(MAX_TAGS, |n| MAX_TAGS.min(n as usize));
    let mut rest = context
        .catalog
        .tags(repository.as_str())
        .map(|(tag, _)| tag.as_str())
        .skip_while(|tag| last.is_some_and(|last| *tag <= last));
    let tags: Vec<&str> = rest.by_ref().take(limit).collect();
    let has_more = rest.next().is_some();
    let next = tags
        .last()
        .filter(|_| has_more)
        .map(|last| format!("</v2/{repository}/tags/list?n={limit}&last={last}>; rel=\"next\""));
    let name = repository.as_str();
    let reply = Reply::json(StatusCode::OK, "application/json", &TagList { name, tags })
        .counted(Asked::Tags, Outcome::Served);
    match next {
        Some(link) => reply.with_text(LINK, &link),
        None => reply,
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReferrersIndex<'a> {
    schema_version: u32,
    media_type: &'static str,
    manifests: Vec<ReferrerDescriptor<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReferrerDescriptor<'a> {
    media_type: &'a str,
    digest: &'a Digest,
    size: u64,
    artifact_type: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
}

/// What speaks about an object: an index built from the catalog.
pub(super) fn referrers(
    context: &Context<'_>,
    repository: &Repository,
    subject: &Digest,
    artifact_type: Option<&str>,
) -> Reply {
    const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    let catalog = context.catalog;
    if !catalog.has_repository(repository.as_str()) {
        return unknown(context, repository, Asked::Referrers);
    }
    let manifests = catalog
        .referrers(repository.as_str(), subject)
        .into_iter()
        .filter(|ordinal| !catalog.is_withdrawn(*ordinal))
        .filter_map(|ordinal| catalog.object(ordinal))
        .filter_map(|object| {
            let referrer = object.referrer()?;
            let fits = artifact_type.is_none_or(|wanted| wanted == referrer.artifact_type);
            fits.then(|| ReferrerDescriptor {
                media_type: object.media_type().as_str(),
                digest: object.digest(),
                size: object.size(),
                artifact_type: &referrer.artifact_type,
                annotations: &referrer.annotations,
            })
        })
        .collect();
    let index = ReferrersIndex {
        schema_version: 2,
        media_type: INDEX,
        manifests,
    };
    let reply =
        Reply::json(StatusCode::OK, INDEX, &index).counted(Asked::Referrers, Outcome::Served);
    if artifact_type.is_some() {
        return reply.with(
            HeaderName::from_static("oci-filters-applied"),
            HeaderValue::from_static("artifactType"),
        );
    }
    reply
}

fn unknown(context: &Context<'_>, repository: &Repository, asked: Asked) -> Reply {
    let (code, message) = if !context.catalog.has_repository(repository.as_str()) {
        ("NAME_UNKNOWN", "there is no such repository")
    } else if asked == Asked::Blob {
        ("BLOB_UNKNOWN", "the repository has no such blob")
    } else {
        ("MANIFEST_UNKNOWN", "the repository has no such manifest")
    };
    Reply::oci_error(StatusCode::NOT_FOUND, code, message).counted(asked, Outcome::NotFound)
}

fn gone(asked: Asked, reason: &str) -> Reply {
    let code = if asked == Asked::Blob {
        "BLOB_UNKNOWN"
    } else {
        "MANIFEST_UNKNOWN"
    };
    Reply::oci_error(StatusCode::GONE, code, &format!("withdrawn: {reason}"))
        .counted(asked, Outcome::Withdrawn)
}
