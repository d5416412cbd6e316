//! `Promotion.Search`: answers in pages, each at a bounded cost.

use std::time::Duration;

use landfall_catalog::Name;
use landfall_proto::model;
use landfall_proto::v1;
use tonic::{Request, Response, Status};

use super::Shared;
use crate::principal::Action;
use crate::search::{Found, Kind, Sought, slice};

/// Longest text that is looked for, in bytes.
const MAX_TEXT: usize = 512;
/// Names of one answer when nobody says how many, and at most.
const USUAL_NAMES: u32 = 100;
const MAX_NAMES: u32 = 500;
/// Names that are looked at while a commit has to wait.
const AT_A_TIME: usize = 20_000;
/// Longest that one answer is worked on; what is left is the next one's.
const PATIENCE: Duration = Duration::from_millis(250);

pub(super) async fn search(
    shared: &Shared,
    request: Request<v1::SearchRequest>,
) -> Result<Response<v1::SearchResponse>, Status> {
    shared.gate.admit(&request, Action::ReadCatalog)?;
    let request = request.into_inner();
    if request.text.is_empty() || request.text.len() > MAX_TEXT {
        let why = format!("a text to look for has 1 to {MAX_TEXT} bytes");
        return Err(Status::invalid_argument(why));
    }
    let kind = match request.kind.as_str() {
        "" => Kind::Any,
        "image" => Kind::Images,
        "file" => Kind::Files,
        _ => return Err(Status::invalid_argument("a kind is image or file")),
    };
    let after = match request.after.as_str() {
        "" => None,
        name => Some(name.parse::<Name>().map_err(|_| {
            Status::invalid_argument(
                "to go on after something, give what the last answer ended with",
            )
        })?),
    };
    let limit = match request.limit {
        0 => USUAL_NAMES,
        limit => limit.min(MAX_NAMES),
    };
    let (catalog, clock) = (shared.catalog.clone(), std::sync::Arc::clone(&shared.clock));
    let searched = tokio::task::spawn_blocking(move || {
        let until = clock.now() + PATIENCE;
        let sought = catalog.read(|catalog| Sought::of(catalog, &request.text));
        let (mut found, mut last) = (Vec::new(), after);
        loop {
            let left = limit as usize - found.len();
            let next = catalog
                .read(|catalog| slice(catalog, &sought, kind, last.as_ref(), AT_A_TIME, left));
            found.extend(next.found);
            last = next.last;
            if last.is_none() || found.len() >= limit as usize || clock.now() >= until {
                return (found, last);
            }
        }
    });
    let (found, last) = searched
        .await
        .map_err(|_| Status::unavailable("the coordinator is stopping"))?;
    let published = shared.catalog.published();
    let to_wire = |found: Found| v1::FoundName {
        name: found.name.to_string(),
        digest: model::digest_to_wire(&found.digest),
        bytes: found.bytes,
        revision: published.revision_at(found.set_at) + 1,
        withdrawn: found.withdrawn,
        holds: found.holds,
    };
    Ok(Response::new(v1::SearchResponse {
        found: found.into_iter().map(to_wire).collect(),
        next: last.map(|name| name.to_string()).unwrap_or_default(),
    }))
}
