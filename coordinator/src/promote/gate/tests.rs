use std::sync::Arc;

use landfall_catalog::{Digest, LogPosition, Readiness};
use landfall_route::{Place, Serves, StoreKind};

use super::*;
use crate::fleet::{Beat, Report};

const TERMS: Terms = Terms {
    percent: 80,
    minimum: 0,
    timeout: 100,
    on_timeout: OnTimeout::Hold,
};

/// As `oslo+ oslo- aws/east+`: a mirror in each region, ready or not.
fn seen(text: &str) -> Vec<Witness> {
    let words = text.split_whitespace().enumerate();
    words
        .map(|(number, word)| Witness {
            mirror: format!("m{number}"),
            region: word[..word.len() - 1].to_owned(),
            ready: word.ends_with('+'),
        })
        .collect()
}

#[test]
fn a_gate_opens_when_every_region_has_enough_and_not_before() {
    for (percent, minimum, mirrors, opens) in [
        (1, 0, "no-", false),
        (1, 0, "no+", true),
        (1, 0, "no+ no- no- no- no-", true),
        // At least one, whatever the percentage.
        (1, 0, "no+ se-", false),
        (1, 0, "no+ se+", true),
        (100, 0, "no+ no+ no-", false),
        (100, 0, "no+ no+ no+", true),
        // Rounded up.
        (80, 0, "no+ no+ no+ no+ no-", true),
        (80, 0, "no+ no+ no+ no- no-", false),
        (50, 0, "no+ no+ no- no- no-", false),
        (50, 0, "no+ no+ no+ no- no-", true),
        (34, 0, "no+ no- no-", false),
        // The minimum, or all of those that there are.
        (1, 2, "no+ no- no-", false),
        (1, 2, "no+ no+ no-", true),
        (1, 2, "no+", true),
        (1, 9, "no+ no-", false),
        (1, 9, "no+ no+ se+", true),
        (1, u32::MAX, "no+ no+", true),
        // Nobody at all is never enough.
        (1, 0, "", false),
    ] {
        let terms = Terms {
            percent,
            minimum,
            ..TERMS
        };
        let standing = judge(terms, (7, 1000), 1, 999, seen(mirrors));
        let expected = if opens { Verdict::Open } else { Verdict::Wait };
        assert_eq!(standing.verdict, expected, "{percent} {minimum} {mirrors}");
    }
}

#[test]
fn when_the_time_is_over_it_holds_or_gives_up_and_an_open_gate_opens_all_the_same() {
    for (on_timeout, now, mirrors, verdict) in [
        (OnTimeout::Hold, 999, "no-", Verdict::Wait),
        (OnTimeout::Hold, 1000, "no-", Verdict::Held),
        (OnTimeout::Hold, 2000, "no+", Verdict::Open),
        (OnTimeout::Hold, 2000, "", Verdict::Held),
        (OnTimeout::GiveUp, 999, "no-", Verdict::Wait),
        (OnTimeout::GiveUp, 1000, "no-", Verdict::GiveUp),
        (OnTimeout::GiveUp, 1000, "no+", Verdict::Open),
        (OnTimeout::GiveUp, 1000, "", Verdict::GiveUp),
    ] {
        let terms = Terms {
            on_timeout,
            ..TERMS
        };
        let standing = judge(terms, (7, 1000), 1, now, seen(mirrors));
        assert_eq!(standing.verdict, verdict, "{on_timeout:?} {now} {mirrors}");
    }
}

#[test]
fn without_anything_that_can_be_set_there_is_nothing_to_wait_for() {
    let standing = judge(TERMS, (7, 1000), 0, 0, seen("no-"));
    assert_eq!(standing.verdict, Verdict::Open);
}

#[test]
fn people_are_told_which_region_lacks_what() {
    let standing = judge(TERMS, (7, 1000), 1, 0, seen("se+ no- no+ de+ no-"));
    let names: Vec<_> = standing.regions.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["de", "no", "se"]);
    assert_eq!(standing.regions[1].lacking, ["m1", "m4"]);
    assert_eq!(
        standing.lacking(),
        "no has 1 of 3 mirrors ready and needs 3"
    );
    let alone = judge(TERMS, (7, 1000), 1, 0, Vec::new());
    assert_eq!(alone.lacking(), "there is no active mirror");
}

/// A mirror that is connected, and reported at a log size what it holds.
fn mirror(held: &[u32], size: u64) -> MirrorStatus {
    let held: RoaringBitmap = held.iter().copied().collect();
    let log = LogPosition {
        origin: "example.org".into(),
        size,
        root: landfall_catalog::empty_root(),
    };
    let readiness = Readiness::from_held(&held, 10, size, Digest::of(b""), log);
    MirrorStatus {
        view: MirrorView {
            name: "oslo".into(),
            public_url: "http://127.0.0.1".into(),
            kind: StoreKind::Files,
            place: Place::default(),
            asns: Vec::new(),
            weight: 100,
            state: MirrorState::Active,
            serves: Serves::Verified,
            readiness: None,
            healthy: Health::Unknown,
        },
        state: "active",
        healthy: Health::Unknown,
        ready_objects: 0,
        wanted_objects: 0,
        names_through: 0,
        last_report: 1,
        connected: true,
        beat: None,
        incidents: Vec::new(),
        report: Some(Arc::new(Report::new(readiness, 0, 1))),
    }
}

fn beating(mirror: MirrorStatus, applied_size: u64, ready: u64, wanted: u64) -> MirrorStatus {
    let beat = Beat {
        applied_size,
        ready_objects: ready,
        wanted_objects: wanted,
        ..Beat::default()
    };
    MirrorStatus {
        beat: Some(beat),
        ..mirror
    }
}

#[test]
fn a_mirror_is_ready_when_it_holds_all_of_it_or_all_that_it_wants_past_the_content() {
    let content: RoaringBitmap = [3, 5].into_iter().collect();
    let full = || mirror(&[0, 1, 2, 3, 4, 5], 20);
    for (what, mirror, ready) in [
        ("it holds all", full(), true),
        ("it lacks another object", mirror(&[3, 5], 20), true),
        ("it lacks one", mirror(&[0, 1, 2, 3], 20), false),
        ("it reported before", mirror(&[3, 5], 19), false),
        (
            "its filter leaves one out",
            beating(mirror(&[3], 20), 20, 1, 1),
            true,
        ),
        (
            "its filter leaves all out",
            beating(mirror(&[], 20), 25, 0, 0),
            true,
        ),
        (
            "it has not fetched all that it wants",
            beating(mirror(&[3], 20), 20, 1, 2),
            false,
        ),
        (
            "it had all that it wanted before the content came",
            beating(mirror(&[3], 20), 19, 1, 1),
            false,
        ),
        (
            "its heartbeat is of now and its report of before",
            beating(mirror(&[3], 19), 20, 1, 1),
            false,
        ),
        (
            "it never reported",
            beating(
                MirrorStatus {
                    report: None,
                    ..full()
                },
                20,
                1,
                1,
            ),
            false,
        ),
        (
            "it is gone",
            MirrorStatus {
                connected: false,
                ..full()
            },
            false,
        ),
        (
            "probes get no answer",
            MirrorStatus {
                healthy: Health::Down,
                ..full()
            },
            false,
        ),
        (
            "probes get answers",
            MirrorStatus {
                healthy: Health::Up,
                ..full()
            },
            true,
        ),
    ] {
        assert_eq!(is_ready(&mirror, &content, 20), ready, "{what}");
    }
}

#[test]
fn only_active_mirrors_count_each_where_it_says_that_it_is() {
    let place = |cloud: Option<&str>, region: Option<&str>, country: Option<&str>| Place {
        cloud: cloud.map(str::to_owned),
        region: region.map(str::to_owned),
        country: country.map(|country| country.parse().unwrap()),
        ..Place::default()
    };
    let placed = |name: &str, state, place| MirrorStatus {
        view: MirrorView {
            name: name.into(),
            state,
            place,
            ..mirror(&[], 0).view
        },
        ..mirror(&[], 0)
    };
    let active = MirrorState::Active;
    let mirrors = [
        placed("a", active, place(Some("aws"), Some("east"), Some("US"))),
        placed("b", active, place(Some("aws"), None, Some("US"))),
        placed("c", active, place(None, Some("east"), None)),
        placed("d", active, Place::default()),
        placed("e", MirrorState::Draining, Place::default()),
        placed("f", MirrorState::Quarantined, Place::default()),
        placed("g", MirrorState::Probation, Place::default()),
    ];
    let seen = witnesses(&mirrors, &RoaringBitmap::new(), 0);
    let regions: Vec<_> = seen.iter().map(|it| it.region.as_str()).collect();
    assert_eq!(regions, ["aws/east", "US", "c", "d"]);
}
