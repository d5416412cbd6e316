//! Requests to a redirector, to the whole answer.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr};

use landfall_catalog::{Commit, Digest, Entry, MediaType, Object, Revision};
use landfall_proto::v1::routing_watch_response::Kind;
use landfall_proto::v1::{self, RoutingWatchResponse};
use landfall_redirector::fleet::FleetWatch;
use landfall_redirector::http::client::Client;
use landfall_redirector::http::{Answer, ClientRequest, answer};
use landfall_redirector::view::View;
use landfall_route::Locator;

use crate::{Target, text};

const ORIGIN: &str = "http://origin.example/store";
const NAMES: [&str; 3] = ["a/file b", "a/b:v1", "binaries/kops/1.30.0/kops"];

pub(crate) fn target() -> Result<Target, Box<dyn Error>> {
    let view = view()?;
    let digest = Digest::of(NAMES[0].as_bytes());
    let seeds = [
        "/a/file%20b".to_owned(),
        "/v2/a/b/manifests/v1".to_owned(),
        "/binaries/kops/1.30.0/kops?avoid=x".to_owned(),
        format!("/v2/a/b/blobs/{digest}"),
        format!("/blobs/sha256/{}", digest.to_hex()),
        "/v2/a/b/tags/list?n=1&last=v0".to_owned(),
        format!("/v2/a/b/referrers/{digest}"),
        "/.landfall/explain?from=192.0.2.1&name=a%2Ffile%20b".to_owned(),
        "/.landfall/mirrors.json".to_owned(),
        "/binaries/".to_owned(),
        "/v2/_catalog".to_owned(),
    ];
    Ok(Target::new("answers", seeds, move |input| {
        asked(&view, &text(input))
    }))
}

/// Nothing of the request is part of where it is sent, but what is a name.
fn asked(view: &View, input: &str) -> String {
    let (path, query) = match input.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (input, None),
    };
    let request = ClientRequest {
        head: false,
        path,
        query,
        client: Client {
            address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9)),
            secure: false,
        },
        agent: query,
    };
    match answer(view, &request) {
        Answer::Reply(reply) => {
            let location = reply.headers.get("location").map(|value| {
                let location = value.to_str().unwrap_or_default().to_owned();
                assert!(location.starts_with(ORIGIN), "{location}");
                assert!(!location.contains(['?', '#', '"', '<', ' ']), "{location}");
                location.len()
            });
            format!("{} {location:?} {}", reply.status, reply.headers.len())
        }
        Answer::Manifest(reply, _) => format!("manifest {}", reply.status),
        Answer::Internal(_) => "internal".to_owned(),
    }
}

/// A few names, all of them at the origin.
fn view() -> Result<View, Box<dyn Error>> {
    let (_, log) = tokio::sync::watch::channel(None);
    let view = View::new(Locator::default(), log);
    let mut entries = Vec::new();
    for name in NAMES {
        let digest = Digest::of(name.as_bytes());
        entries.push(Entry::ObjectAdded(Object {
            digest,
            size: 7,
            media_type: MediaType::octet_stream(),
            children: Vec::new(),
            referrer: None,
            pieces: None,
        }));
        entries.push(Entry::NameSet {
            name: name.parse()?,
            digest,
        });
    }
    entries.push(Entry::Commit(Commit {
        revision: Revision::new(1),
        time: 1_700_000_000,
        who: String::new(),
        why: String::new(),
        source: String::new(),
        plan: None,
        operation: String::new(),
    }));
    view.apply(&entries, 1_700_000_000)?;
    let kinds = [
        Kind::Reset(v1::RoutingReset {}),
        Kind::Policy(v1::RoutingPolicy {
            origin_url: ORIGIN.to_owned(),
            name: "artifacts.example.org".to_owned(),
            log_url: String::new(),
        }),
        Kind::Bookmark(v1::RoutingBookmark {
            cursor: Some(v1::RoutingCursor {
                epoch: 1,
                revision: 1,
            }),
        }),
    ];
    let mut watch = FleetWatch::default();
    for kind in kinds {
        if let Some(fleet) = watch.take(RoutingWatchResponse { kind: Some(kind) })? {
            view.set_fleet(fleet);
        }
    }
    Ok(view)
}
