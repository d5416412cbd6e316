//! From messages to states of the fleet, and to the disk and back.

use std::sync::Arc;

use landfall_proto::v1::readiness_chunk::Kind as Chunk;
use landfall_proto::v1::routing_watch_response::Kind;
use landfall_proto::v1::{
    Mirror, MirrorRemoved, RoutingBookmark, RoutingCursor, RoutingWatchResponse,
};
use landfall_route::{FleetView, Serves};
use proptest::prelude::*;

use super::world::*;
use crate::fleet::{Fleet, FleetWatch};
use crate::last_good;
use crate::probe::Verdicts;

fn message(kind: Kind) -> RoutingWatchResponse {
    RoutingWatchResponse { kind: Some(kind) }
}

fn bookmark(revision: u64) -> RoutingWatchResponse {
    let cursor = Some(RoutingCursor { epoch: 7, revision });
    message(Kind::Bookmark(RoutingBookmark { cursor }))
}

fn take_all(
    watch: &mut FleetWatch,
    messages: impl IntoIterator<Item = RoutingWatchResponse>,
) -> Option<Arc<Fleet>> {
    let mut last = None;
    for message in messages {
        last = watch.take(message).unwrap();
    }
    last
}

fn view_of(fleet: &Fleet) -> FleetView {
    let believed = fleet
        .reports()
        .map(|(mirror, report)| (mirror.to_owned(), Arc::clone(report)));
    fleet.view(&Verdicts::default(), &believed.collect())
}

/// All that decisions look at, in a form that can be compared.
fn shown(fleet: &Fleet) -> String {
    format!("{:?}", view_of(fleet))
}

fn full() -> Vec<RoutingWatchResponse> {
    messages(&mirrors(), ORIGIN_URL, 1)
}

#[test]
fn a_state_takes_effect_with_its_bookmark_only() {
    let mut watch = FleetWatch::default();
    let all = full();
    let (last, before) = all.split_last().unwrap();
    for message in before {
        assert!(watch.take(message.clone()).unwrap().is_none());
        assert_eq!(view_of(watch.held()).mirrors.len(), 0);
    }
    let fleet = watch.take(last.clone()).unwrap().unwrap();
    let names: Vec<String> = view_of(&fleet)
        .mirrors
        .into_iter()
        .map(|it| it.name)
        .collect();
    assert_eq!(names, ["bergen", "berlin", "oslo"]);
    assert_eq!(fleet.revision(), 1);
    assert_eq!(fleet.origin_url, ORIGIN_URL);
}

#[test]
fn only_what_changed_need_be_sent() {
    let mut watch = FleetWatch::default();
    take_all(&mut watch, full());
    let removed = MirrorRemoved {
        mirror: "bergen".to_owned(),
    };
    let mut berlin = mirror("berlin", "DE", Serves::Verified);
    berlin.readiness = None;
    let changes = [
        message(Kind::Removed(removed)),
        message(Kind::Mirror(landfall_proto::model::mirror_to_wire(&berlin))),
        bookmark(2),
    ];
    let fleet = take_all(&mut watch, changes).unwrap();
    let view = view_of(&fleet);
    assert_eq!(view.revision, 2);
    assert!(view.mirror("bergen").is_none());
    let berlin = view.mirror("berlin").unwrap();
    assert_eq!(berlin.serves, Serves::Verified);
    assert!(
        berlin.readiness.is_some(),
        "not reported anew is not nothing"
    );
    assert!(view.mirror("oslo").unwrap().readiness.is_some());
}

#[test]
fn resume_same_revision_no_data() {
    let mut watch = FleetWatch::default();
    take_all(&mut watch, full());
    assert!(watch.take(bookmark(1)).unwrap().is_none());
    assert_eq!(view_of(watch.held()).mirrors.len(), 3);
    assert_eq!(watch.take(bookmark(2)).unwrap().unwrap().revision(), 2);
}

#[test]
fn what_came_before_a_broken_connection_is_forgotten() {
    let mut watch = FleetWatch::default();
    let fleet = take_all(&mut watch, full()).unwrap();
    let mut half = messages(&[], "http://127.0.0.1:9/elsewhere", 9);
    half.pop();
    take_all(&mut watch, half);
    watch.disconnected();
    assert!(watch.take(bookmark(1)).unwrap().is_none());
    assert_eq!(shown(watch.held()), shown(&fleet));
}

#[test]
fn a_reset_forgets_everything_before() {
    let mut watch = FleetWatch::default();
    take_all(&mut watch, full());
    let one = [mirror("tokyo", "JP", Serves::Everything)];
    let fleet = take_all(&mut watch, messages(&one, ORIGIN_URL, 1)).unwrap();
    assert_eq!(view_of(&fleet).mirrors.len(), 1);
}

#[test]
fn a_mirror_that_cannot_be_understood_costs_itself_only() {
    let mut watch = FleetWatch::default();
    let mut all = full();
    let last = all.pop().unwrap();
    let broken = Mirror {
        name: "broken".to_owned(),
        public_url: "ftp://x".to_owned(),
        ..Mirror::default()
    };
    all.push(message(Kind::Mirror(broken)));
    all.push(last);
    let fleet = take_all(&mut watch, all).unwrap();
    assert_eq!(view_of(&fleet).mirrors.len(), 3);
    assert_eq!(watch.refused(), 1);
}

#[test]
fn a_report_that_cannot_be_understood_makes_its_mirror_not_ready() {
    let mut watch = FleetWatch::default();
    take_all(&mut watch, full());
    let mut again = full();
    for message in &mut again {
        if let Some(Kind::Readiness(report)) = &mut message.kind
            && report.mirror == "oslo"
            && let Some(Chunk::End(end)) = report.chunk.as_mut().and_then(|it| it.kind.as_mut())
        {
            end.blocks = 99;
        }
    }
    let fleet = take_all(&mut watch, again).unwrap();
    let view = view_of(&fleet);
    assert!(view.mirror("oslo").unwrap().readiness.is_none());
    assert!(view.mirror("berlin").unwrap().readiness.is_some());
}

#[test]
fn an_unfinished_report_changes_nothing() {
    let mut watch = FleetWatch::default();
    take_all(&mut watch, full());
    let mut header_only = messages(&[mirror("oslo", "NO", Serves::Everything)], ORIGIN_URL, 2);
    header_only.retain(|message| {
        let Some(Kind::Readiness(report)) = &message.kind else {
            return !matches!(message.kind, Some(Kind::Reset(_)));
        };
        let kind = report.chunk.as_ref().and_then(|it| it.kind.as_ref());
        matches!(kind, Some(Chunk::Header(_)))
    });
    let fleet = take_all(&mut watch, header_only).unwrap();
    assert!(view_of(&fleet).mirror("oslo").unwrap().readiness.is_some());
}

#[test]
fn the_last_good_view_survives_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fleet");
    assert!(last_good::load(&file).unwrap().is_none());
    let mut watch = FleetWatch::default();
    let fleet = take_all(&mut watch, full()).unwrap();
    last_good::save(&file, &fleet).unwrap();
    let loaded = last_good::load(&file).unwrap().unwrap();
    assert_eq!(shown(&loaded), shown(&fleet));
    assert_eq!(loaded.cursor, fleet.cursor);
    // Replaced whole.
    let empty = take_all(&mut watch, messages(&[], "", 2)).unwrap();
    last_good::save(&file, &empty).unwrap();
    assert_eq!(
        shown(&last_good::load(&file).unwrap().unwrap()),
        shown(&empty)
    );
}

proptest! {
    /// A file that was cut or changed is either refused or gives a state; it never gives a part of one.
    #[test]
    fn a_cut_or_damaged_file_is_never_half_a_state(cut in any::<proptest::sample::Index>(), flip in any::<u8>()) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("fleet");
        let fleet = take_all(&mut FleetWatch::default(), full()).unwrap();
        last_good::save(&file, &fleet).unwrap();
        let mut bytes = std::fs::read(&file).unwrap();
        let at = cut.index(bytes.len());
        std::fs::write(&file, &bytes[..at]).unwrap();
        prop_assert!(!matches!(last_good::load(&file), Ok(Some(_))), "cut at {}", at);
        bytes[at] ^= flip;
        std::fs::write(&file, &bytes).unwrap();
        if let Ok(Some(loaded)) = last_good::load(&file) {
            prop_assert!(view_of(&loaded).mirrors.len() <= 3);
        }
    }
}
