//! A peer that is stopped in its tracks: its connections stay open, and nobody
//! reads from them or answers.

use std::time::Duration;

use crate::support::cluster::{Cluster, Setup};

#[test]
fn a_frozen_agent_does_not_hold_up_the_coordinators_stop() {
    let mut cluster = Cluster::start(Setup {
        mirrors: Some(1),
        ..Setup::default()
    });
    cluster.stage_file("one", b"one");
    cluster.promote();
    cluster.wait_complete(&[0], Duration::from_secs(20));

    cluster.agents[0].signal("STOP");
    // Asserts an exit code of 0, and within 10 s.
    cluster.coordinator.terminate();
    cluster.coordinator = cluster.again("coordinator", "coordinator");
    cluster.stage_file("two", b"two");
    cluster.promote();
    // The last report is remembered; the frozen mirror holds nothing new.
    assert_eq!(cluster.status()["mirrors"][0]["ready_objects"], 1);

    cluster.agents[0].signal("CONT");
    cluster.wait_complete(&[0], Duration::from_secs(60));
    cluster.agents[0].terminate();
}
