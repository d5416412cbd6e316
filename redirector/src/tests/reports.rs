//! Reports of mirrors are believed only as far as they are about our log.

use std::sync::Arc;

use landfall_catalog::{LogPosition, Readiness, TreeHash};
use landfall_route::{MirrorView, Serves};

use super::world::*;
use crate::view::View;

const TOOL_PATH: &str = "/binaries/tool/v1/tool";
const LATER_PATH: &str = "/binaries/tool/v2/tool";
/// Entries when the later file is there, too.
const LATER_SIZE: u64 = LOG_SIZE + 3;

/// Oslo, reporting on the log's state of that size and root.
fn oslo_at(size: u64, root: TreeHash, change: impl FnOnce(&mut Readiness)) -> MirrorView {
    let mut report = readiness(&[]);
    report.log = LogPosition {
        size,
        root,
        ..report.log
    };
    change(&mut report);
    MirrorView {
        readiness: Some(Arc::new(report)),
        ..mirror("oslo", "NO", Serves::Everything)
    }
}

/// Oslo, as it holds and has in place everything up to the later file.
fn oslo_later(root: TreeHash, missing: &[u32]) -> MirrorView {
    oslo_at(LATER_SIZE, root, |report| {
        report.through = OBJECTS + 1;
        report.missing = missing.iter().copied().collect();
        report.names_through = LATER_SIZE;
    })
}

fn led_to(view: &View, path: &str) -> String {
    header(&get(view, path), "landfall-mirror").to_owned()
}

fn is_ready(view: &View) -> bool {
    view.fleet().mirror("oslo").unwrap().readiness.is_some()
}

#[test]
fn every_state_that_our_log_went_through_is_ours_and_no_other() {
    let log = Log::new();
    // No log of fewer entries has all the objects.
    for size in u64::from(OBJECTS)..=LOG_SIZE {
        let ours = [oslo_at(size, root_at(size), |_| {})];
        let view = view_of_log(&log, &ours);
        assert_eq!(led_to(&view, TOOL_PATH), "oslo", "{size}");
        let other = [oslo_at(size, TreeHash::from_raw([7; 32]), |_| {})];
        view.set_fleet(fleet(&other, ORIGIN_URL));
        assert!(!is_ready(&view), "{size}");
        assert_eq!(led_to(&view, TOOL_PATH), "origin", "{size}");
    }
    let mut renamed = oslo_at(LOG_SIZE, root_at(LOG_SIZE), |report| {
        report.log.origin = "elsewhere.example.org".to_owned();
    });
    let view = view_of_log(&log, std::slice::from_ref(&renamed));
    assert!(!is_ready(&view));
    renamed.readiness = Some(Arc::new(readiness(&[])));
    view.set_fleet(fleet(&[renamed], ORIGIN_URL));
    assert!(
        is_ready(&view),
        "a mirror that came round is believed again"
    );
}

#[test]
fn a_report_ahead_of_our_log_waits_for_it() {
    let mut log = Log::new();
    let right = view_of_log(&log, &[oslo_later(root_at(LATER_SIZE), &[])]);
    let wrong = view_of_log(&log, &[oslo_later(TreeHash::from_raw([7; 32]), &[])]);
    for view in [&right, &wrong] {
        assert!(!is_ready(view));
    }
    let checkpoint = log.commit(&later_entries());
    for view in [&right, &wrong] {
        view.apply(&later_entries(), NOW).unwrap();
        view.set_checkpoint(checkpoint.clone(), NOW);
    }
    assert_eq!(led_to(&right, LATER_PATH), "oslo");
    assert_eq!(led_to(&right, TOOL_PATH), "oslo");
    assert_eq!(led_to(&wrong, LATER_PATH), "origin");
    assert_eq!(led_to(&wrong, TOOL_PATH), "origin");
}

#[test]
fn until_our_log_is_as_far_a_mirror_holds_what_it_said_before_and_says_still() {
    let mut log = Log::new();
    let view = view_of_log(&log, &[oslo_at(LOG_SIZE, root_at(LOG_SIZE), |_| {})]);
    assert_eq!(led_to(&view, TOOL_PATH), "oslo");
    let ahead = |missing: &[u32]| fleet(&[oslo_later(root_at(LATER_SIZE), missing)], ORIGIN_URL);
    view.set_fleet(ahead(&[]));
    assert_eq!(led_to(&view, TOOL_PATH), "oslo", "it held that before");
    view.set_fleet(ahead(&[0]));
    assert_eq!(
        led_to(&view, TOOL_PATH),
        "origin",
        "it does not hold it now"
    );

    view.apply(&later_entries(), NOW).unwrap();
    assert_eq!(
        led_to(&view, LATER_PATH),
        "origin",
        "not known to be of our log"
    );
    view.set_checkpoint(log.commit(&later_entries()), NOW);
    assert_eq!(led_to(&view, LATER_PATH), "oslo");
    assert_eq!(led_to(&view, TOOL_PATH), "origin");
}
