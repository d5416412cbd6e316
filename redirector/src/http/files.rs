//! Files by their path, and any object by its digest.

use http::StatusCode;
use http::header::{ETAG, HeaderName};
use landfall_catalog::{Digest, FilePath, Ordinal, Repository};
use landfall_route::{Ask, Content, Target, location};

use super::Context;
use super::redirect::redirect;
use super::reply::Reply;
use crate::metrics::{Asked, Outcome};

/// `Digest: SHA-256=…` (RFC 3230 section 4.3.2), which Metalink clients read (RFC 6249 section 6).
const DIGEST: HeaderName = HeaderName::from_static("digest");

/// A file: 302, since a path may come to mean other bytes. Only mirrors that are trusted with clients that
/// check nothing.
pub(super) fn file(context: &Context<'_>, path: &FilePath) -> Reply {
    let Some(record) = context.catalog.file(path.as_str()) else {
        return not_found(Asked::File);
    };
    let Some(object) = context.catalog.object(record.ordinal) else {
        return not_found(Asked::File);
    };
    let digest = object.digest();
    if let Some(reason) = context.catalog.withdrawn(digest) {
        return gone(Asked::File, reason);
    }
    let ask = Ask {
        name: Some(record),
        verifies: false,
        ..by_digest(context, digest, record.ordinal)
    };
    let content = Content::File(path);
    let reply = redirect(context, StatusCode::FOUND, Asked::File, &ask, |target| {
        location(context.fleet, target, content)
    });
    if reply.status != StatusCode::FOUND {
        return reply;
    }
    reply
        .with_text(DIGEST, &format!("SHA-256={}", digest.to_base64()))
        .with_text(ETAG, &format!("\"{digest}\""))
}

/// Any live object: 307 to any mirror that has it, because who asks by digest checks it.
pub(super) fn blob(context: &Context<'_>, digest: &Digest) -> Reply {
    match live(context, digest) {
        Ok(ordinal) => blob_redirect(context, digest, ordinal, None),
        Err(reply) => *reply,
    }
}

/// 307 for an object by its digest.
pub(super) fn blob_redirect(
    context: &Context<'_>,
    digest: &Digest,
    ordinal: Ordinal,
    repository: Option<&Repository>,
) -> Reply {
    let ask = Ask {
        repository,
        ..by_digest(context, digest, ordinal)
    };
    let content = Content::Blob { repository, digest };
    let status = StatusCode::TEMPORARY_REDIRECT;
    let reply = redirect(context, status, Asked::Blob, &ask, |target| {
        location(context.fleet, target, content)
    });
    if reply.status == status {
        reply.of_object(digest)
    } else {
        reply
    }
}

/// The list of piece digests of a large object, which mirrors keep beside it.
pub(super) fn pieces(context: &Context<'_>, hex: &str) -> Reply {
    let Ok(digest) = Digest::from_hex(hex) else {
        return Reply::text(StatusCode::BAD_REQUEST, "the digest is not valid\n")
            .counted(Asked::Blob, Outcome::Refused);
    };
    let ordinal = match live(context, &digest) {
        Ok(ordinal) => ordinal,
        Err(reply) => return *reply,
    };
    let has_pieces = context
        .catalog
        .object(ordinal)
        .is_some_and(|object| object.pieces().is_some());
    if !has_pieces {
        return not_found(Asked::Blob);
    }
    let ask = by_digest(context, &digest, ordinal);
    let status = StatusCode::TEMPORARY_REDIRECT;
    redirect(context, status, Asked::Blob, &ask, |target| {
        let base = match target {
            Target::Mirror(at) => &context.fleet.mirrors.get(at)?.public_url,
            Target::Origin => &context.fleet.origin_url,
            Target::Nothing => return None,
        };
        Some(format!("{base}/.landfall/pieces/{}", digest.to_hex()))
    })
}

/// What is asked of the decision for an object that the client checks by its digest.
pub(super) fn by_digest<'a>(
    context: &'a Context<'_>,
    digest: &'a Digest,
    ordinal: Ordinal,
) -> Ask<'a> {
    Ask {
        ordinal,
        name: None,
        digest,
        repository: None,
        verifies: true,
        secure: context.secure,
        avoid: context.avoid,
        place: &context.place,
        key: context.key,
    }
}

fn live(context: &Context<'_>, digest: &Digest) -> Result<Ordinal, Box<Reply>> {
    if let Some(reason) = context.catalog.withdrawn(digest) {
        return Err(Box::new(gone(Asked::Blob, reason)));
    }
    context
        .catalog
        .ordinal(digest)
        .filter(|ordinal| context.catalog.is_live(*ordinal))
        .ok_or_else(|| Box::new(not_found(Asked::Blob)))
}

pub(super) fn not_found(asked: Asked) -> Reply {
    Reply::text(StatusCode::NOT_FOUND, "there is nothing of that name\n")
        .counted(asked, Outcome::NotFound)
}

fn gone(asked: Asked, reason: &str) -> Reply {
    Reply::text(StatusCode::GONE, &format!("withdrawn: {reason}\n"))
        .counted(asked, Outcome::Withdrawn)
}
