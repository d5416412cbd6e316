//! `/.landfall/explain?from=IP&name=NAME`: who would be sent where, and why.
//!
//! The same code decides here and for real requests. Nothing is shown that a client could not find out by asking.

use std::net::IpAddr;

use http::StatusCode;
use landfall_catalog::{Digest, Name, NameRecord, Ordinal};
use landfall_route::{
    Ask, Candidate, Content, Locator, ORIGIN, Place, Reason, Target, client_key, decide,
    decision_id, explain as candidates, location, query_pairs,
};
use serde::Serialize;

use super::Context;
use super::reply::Reply;
use crate::metrics::{Asked, Outcome};

#[derive(Serialize)]
struct Explanation<'a> {
    name: String,
    digest: Digest,
    size: u64,
    place: ShownPlace,
    mirror: Option<&'a str>,
    url: Option<String>,
    reason: Reason,
    decision: String,
    candidates: Vec<Candidate>,
}

/// A place as programs may rely on it.
#[derive(Serialize)]
pub(super) struct ShownPlace {
    cloud: Option<String>,
    region: Option<String>,
    asn: Option<u32>,
    country: Option<String>,
}

impl From<&Place> for ShownPlace {
    fn from(place: &Place) -> Self {
        Self {
            cloud: place.cloud.clone(),
            region: place.region.clone(),
            asn: place.asn,
            country: place.country.map(|country| country.as_str().to_owned()),
        }
    }
}

pub(super) fn explain(context: &Context<'_>, locator: &Locator, query: &str) -> Reply {
    let pairs = query_pairs(query).unwrap_or_default();
    let parameter = |wanted: &str| {
        pairs
            .iter()
            .find_map(|(name, value)| (name == wanted).then_some(value.as_str()))
    };
    let Some(from) = parameter("from").and_then(|text| text.parse::<IpAddr>().ok()) else {
        return fault(StatusCode::BAD_REQUEST, "from: an IP address is needed");
    };
    let Some(name) = parameter("name").and_then(|text| text.parse::<Name>().ok()) else {
        return fault(
            StatusCode::BAD_REQUEST,
            "name: repository:tag, repository@digest or a path is needed",
        );
    };
    let Some((ordinal, record)) = resolve(context, &name) else {
        return fault(StatusCode::NOT_FOUND, "there is nothing of that name");
    };
    let Some(object) = context.catalog.object(ordinal) else {
        return fault(StatusCode::NOT_FOUND, "there is nothing of that name");
    };
    let digest = object.digest();
    if let Some(reason) = context.catalog.withdrawn(digest) {
        return fault(StatusCode::GONE, &format!("withdrawn: {reason}"));
    }
    let content = match &name {
        Name::File(path) => Content::File(path),
        Name::Tag(..) | Name::Root(..) => Content::Blob {
            repository: None,
            digest,
        },
    };
    let place = locator.locate(from);
    let ask = Ask {
        ordinal,
        name: record,
        digest,
        repository: None,
        verifies: record.is_none(),
        secure: context.secure,
        avoid: context.avoid,
        place: &place,
        key: client_key(from),
    };
    let decision = decide(&ask, context.fleet);
    let mirror = match decision.target {
        Target::Mirror(at) => context.fleet.mirrors.get(at).map(|it| it.name.as_str()),
        Target::Origin => Some(ORIGIN),
        Target::Nothing => None,
    };
    let explanation = Explanation {
        name: name.to_string(),
        digest: *digest,
        size: object.size(),
        place: ShownPlace::from(&place),
        mirror,
        url: location(context.fleet, decision.target, content),
        reason: decision.reason,
        decision: decision_id(context.fleet.revision, &place, ordinal),
        candidates: candidates(&ask, context.fleet),
    };
    Reply::json(StatusCode::OK, "application/json", &explanation)
        .counted(Asked::Internal, Outcome::Served)
}

/// The object of a name; with the name's record only if the name has to be in place at the mirror, which an
/// image's need not: its OCI manifest is answered from here.
fn resolve(context: &Context<'_>, name: &Name) -> Option<(Ordinal, Option<NameRecord>)> {
    match name {
        Name::File(path) => {
            let record = context.catalog.file(path.as_str())?;
            Some((record.ordinal, Some(record)))
        }
        Name::Tag(repository, tag) => {
            let record = context.catalog.tag(repository.as_str(), tag.as_str())?;
            Some((record.ordinal, None))
        }
        Name::Root(repository, digest) => {
            let ordinal = context.catalog.ordinal(digest)?;
            context
                .catalog
                .contains(repository.as_str(), ordinal)
                .then_some((ordinal, None))
        }
    }
}

fn fault(status: StatusCode, message: &str) -> Reply {
    let outcome = match status {
        StatusCode::NOT_FOUND => Outcome::NotFound,
        StatusCode::GONE => Outcome::Withdrawn,
        _ => Outcome::Refused,
    };
    let body = serde_json::json!({ "error": message });
    Reply::json(status, "application/json", &body).counted(Asked::Internal, outcome)
}
