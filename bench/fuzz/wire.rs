//! What agents, redirectors and the coordinator send each other.

use std::error::Error;

use landfall_catalog::{Digest, LogPosition, Readiness, empty_root};
use landfall_proto::model::{
    ReadinessAssembler, mirror_from_start, mirror_from_wire, mirror_to_wire, place_to_wire,
    readiness_to_wire,
};
use landfall_proto::v1::routing_watch_response::Kind;
use landfall_proto::v1::{self, RoutingWatchResponse};
use landfall_redirector::fleet::FleetWatch;
use landfall_route::{Coordinates, MirrorState, MirrorView, Place, Serves, StoreKind};
use prost::Message;

use crate::{Target, kind_of};

const OBJECTS: u32 = 200_000;

pub(crate) fn targets() -> Result<Vec<Target>, Box<dyn Error>> {
    let mirrors: Vec<v1::Mirror> = mirrors()?.iter().map(mirror_to_wire).collect();
    let starts = mirrors.iter().map(|mirror| v1::SessionStart {
        mirror: mirror.name.clone(),
        public_url: mirror.public_url.clone(),
        place: mirror.place.clone(),
        ..v1::SessionStart::default()
    });
    let starts = starts.map(|start| start.encode_to_vec());
    Ok(vec![
        Target::new(
            "wire-mirrors",
            mirrors.iter().map(Message::encode_to_vec),
            mirror,
        ),
        Target::new("wire-sessions", starts, session),
        Target::new("readiness-reports", [report()], assembled),
        Target::new("routing-streams", [routing(&mirrors)], routed),
    ])
}

fn mirrors() -> Result<Vec<MirrorView>, Box<dyn Error>> {
    let place = Place {
        cloud: Some("aws".to_owned()),
        region: Some("us-east-1".to_owned()),
        asn: Some(224),
        country: "NO".parse().ok(),
        coordinates: Some(Coordinates::try_new(59.9, 10.7)?),
        ..Place::default()
    };
    let one = MirrorView {
        name: "uni-oslo".to_owned(),
        public_url: "https://mirror.example.no/landfall".to_owned(),
        kind: StoreKind::Files,
        asns: vec![224, 5_619],
        weight: 100,
        state: MirrorState::Active,
        serves: Serves::Everything,
        place,
        ..MirrorView::default()
    };
    let other = MirrorView {
        name: "plain".to_owned(),
        public_url: "http://127.0.0.1:1".to_owned(),
        ..MirrorView::default()
    };
    Ok(vec![one, other])
}

/// What is taken is the same after another way over the wire.
fn mirror(input: &[u8]) -> String {
    let Ok(wire) = v1::Mirror::decode(input) else {
        return "no message".to_owned();
    };
    match mirror_from_wire(wire) {
        Ok(view) => {
            let again = mirror_from_wire(mirror_to_wire(&view)).ok();
            let again = again.map(|again| mirror_to_wire(&again));
            assert_eq!(again, Some(mirror_to_wire(&view)));
            assert!(view.public_url.starts_with("http"));
            format!("{:?} {}", view.state, view.asns.len().min(3))
        }
        Err(error) => kind_of(&error),
    }
}

/// What a mirror says of itself gives it no trust.
fn session(input: &[u8]) -> String {
    let Ok(start) = v1::SessionStart::decode(input) else {
        return "no message".to_owned();
    };
    match mirror_from_start(start) {
        Ok(view) => {
            assert_eq!(view.state, MirrorState::Pending);
            assert_eq!((view.serves, view.weight), (Serves::Verified, 0));
            let place = place_to_wire(&view.place, &view.asns);
            format!("{:?} {}", view.kind, place.encoded_len().min(20))
        }
        Err(error) => kind_of(&error),
    }
}

fn readiness() -> Readiness {
    let position = LogPosition {
        origin: "log.example".to_owned(),
        size: 300_000,
        root: empty_root(),
    };
    let held = (0..OBJECTS).filter(|ordinal| ordinal % 7 != 0).collect();
    Readiness::from_held(&held, OBJECTS - 1_000, 9, Digest::of(b""), position)
}

fn report() -> Vec<u8> {
    let chunks = readiness_to_wire(&readiness(), 150_000);
    let chunks = chunks.into_iter();
    chunks
        .flat_map(|it| it.encode_length_delimited_to_vec())
        .collect()
}

/// Messages with their lengths, one after the other; what is left over is left.
pub(crate) fn messages<M: Message + Default>(mut input: &[u8]) -> Vec<M> {
    let mut all = Vec::new();
    while let (false, Ok(message)) = (input.is_empty(), M::decode_length_delimited(&mut input)) {
        all.push(message);
    }
    all
}

fn assembled(input: &[u8]) -> String {
    let mut assembler = ReadinessAssembler::default();
    let mut outcome = "nothing".to_owned();
    for chunk in messages(input) {
        outcome = match assembler.push(chunk, OBJECTS) {
            Ok(None) => "more".to_owned(),
            Ok(Some((readiness, _))) => {
                assert!(readiness.held().max().is_none_or(|last| last < OBJECTS));
                format!("whole {}", readiness.ready_count().ilog2().min(99))
            }
            Err(error) => kind_of(&error),
        };
    }
    outcome
}

fn routing(mirrors: &[v1::Mirror]) -> Vec<u8> {
    let mut kinds = vec![
        Kind::Reset(v1::RoutingReset {}),
        Kind::Policy(v1::RoutingPolicy {
            origin_url: "http://127.0.0.1:7480/origin".to_owned(),
            name: "artifacts.example.org".to_owned(),
            log_url: String::new(),
        }),
    ];
    kinds.extend(mirrors.iter().cloned().map(Kind::Mirror));
    let chunks = readiness_to_wire(&readiness(), 150_000);
    kinds.extend(chunks.into_iter().map(|chunk| {
        Kind::Readiness(v1::MirrorReadiness {
            mirror: "plain".to_owned(),
            chunk: Some(chunk),
        })
    }));
    kinds.push(Kind::Bookmark(v1::RoutingBookmark {
        cursor: Some(v1::RoutingCursor {
            epoch: 7,
            revision: 1,
        }),
    }));
    let messages = kinds
        .into_iter()
        .map(|kind| RoutingWatchResponse { kind: Some(kind) });
    messages
        .flat_map(|it| it.encode_length_delimited_to_vec())
        .collect()
}

/// A whole state, if there is one, can be told and taken again.
fn routed(input: &[u8]) -> String {
    let mut watch = FleetWatch::default();
    let mut outcome = "nothing".to_owned();
    for message in messages(input) {
        outcome = match watch.take(message) {
            Ok(None) => "more".to_owned(),
            Ok(Some(fleet)) => {
                let mut again = FleetWatch::default();
                let told = fleet.messages();
                let last = told.into_iter().map(|it| again.take(it)).last();
                assert!(matches!(last, Some(Ok(Some(_)))));
                format!("{} mirrors", fleet.messages().len().min(9))
            }
            Err(error) => kind_of(&error),
        };
    }
    format!("{outcome} {}", watch.refused().min(3))
}
