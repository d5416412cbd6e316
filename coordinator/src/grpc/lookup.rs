//! `Promotion.Search`: answers in pages, each at a bounded cost.

use std::time::Duration;

use landfall_catalog::Name;
use landfall_proto::model;
use landfall_proto::v1;
use tonic::{Request, Response, Status};

use super::page::Page;
use super::{Shared, cut};
use crate::principal::Action;
use crate::search::{self, Kind, Query};

/// Longest text that is looked for, in bytes.
const MAX_TEXT: usize = 512;
/// Names of one answer when nobody says how many, and at most.
const USUAL_NAMES: u32 = 100;
const MAX_NAMES: u32 = 500;
/// Longest reason that is told, in bytes.
const MAX_REASON: usize = 1024;
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
        text => Some(cursor(text).ok_or_else(|| {
            Status::invalid_argument(
                "to go on after something, give what the last answer ended with",
            )
        })?),
    };
    let limit = match request.limit {
        0 => USUAL_NAMES,
        limit => limit.min(MAX_NAMES),
    };
    let query = Query {
        text: request.text,
        kind,
        after,
        limit: limit as usize,
    };
    let (catalog, clock) = (shared.catalog.clone(), std::sync::Arc::clone(&shared.clock));
    let searched = tokio::task::spawn_blocking(move || {
        let until = clock.now() + PATIENCE;
        search::search(&catalog, &query, || clock.now() >= until)
    });
    let searched = searched
        .await
        .map_err(|_| Status::unavailable("the coordinator is stopping"))?;
    let published = shared.catalog.published();
    let mut page = Page::new();
    let (mut last, mut next) = (None, searched.next);
    for found in searched.found {
        let name = found.name.clone();
        let found = v1::FoundName {
            name: found.name.to_string(),
            digest: model::digest_to_wire(&found.digest),
            bytes: found.bytes,
            revision: published.revision_at(found.set_at) + 1,
            withdrawn: cut(found.withdrawn, MAX_REASON),
            holds: found.holds,
        };
        if !page.take(found) {
            next = last;
            break;
        }
        last = Some(name);
    }
    Ok(Response::new(v1::SearchResponse {
        found: page.into_members(),
        next: next.as_ref().map(cursor_of).unwrap_or_default(),
    }))
}

/// A name as the next question says where to go on. A file says that it is one:
/// its path may read like a tag.
fn cursor_of(name: &Name) -> String {
    match name {
        Name::File(path) => format!("/{path}"),
        Name::Tag(..) | Name::Root(..) => name.to_string(),
    }
}

fn cursor(text: &str) -> Option<Name> {
    match text.strip_prefix('/') {
        Some(path) => path.parse().ok().map(Name::File),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_to_go_on_is_read_back_also_after_a_path_that_reads_like_a_tag() {
        let root = format!("a/app@{}", landfall_catalog::Digest::of(b""));
        let odd = Name::File(landfall_catalog::FilePath::try_new("app:v1").unwrap());
        for name in ["a/app:v1", "a/file", &root].map(|name| name.parse().unwrap()) {
            assert_eq!(cursor(&cursor_of(&name)), Some(name));
        }
        assert_eq!(cursor(&cursor_of(&odd)), Some(odd));
        assert_eq!(cursor("/../x"), None);
    }
}
