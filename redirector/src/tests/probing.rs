//! What probes find out, and when they are made.

use std::sync::Arc;

use landfall_route::{Health, MirrorView, ORIGIN, Serves};
use landfall_runtime::{OnError, Shutdown, Tasks};

use super::program::{LONG, Running, at, eventually, start_mirror};
use super::world::*;
use crate::config::Probe;
use crate::probe::{Suspects, rounds};
use crate::view::View;

/// Probes once, and then for an hour only what is suspected.
struct Probing {
    view: Arc<View>,
    suspects: Arc<Suspects>,
    tasks: Tasks,
}

impl Probing {
    fn start(mirrors: &[MirrorView]) -> Self {
        landfall_runtime::install_crypto();
        let config = Probe {
            interval_ms: 3_600_000,
            down_after: 1,
            ..Probe::default()
        };
        let this = Self {
            view: Arc::new(view(mirrors)),
            suspects: Arc::default(),
            tasks: Tasks::new(Shutdown::new()),
        };
        let probes = rounds::run(
            Arc::clone(&this.view),
            landfall_runtime::dial::http_client().unwrap(),
            config,
            Arc::clone(&this.suspects),
            Arc::default(),
            this.tasks.shutdown().clone(),
        );
        this.tasks.spawn("probe", OnError::Fail, probes);
        this
    }

    async fn until(&self, mirror: &str, expect: Health) {
        eventually(async || self.view.fleet().mirror(mirror).unwrap().healthy == expect).await;
    }

    async fn stop(self) {
        self.tasks.shutdown().trigger();
        self.tasks.join(LONG).await.unwrap();
    }
}

/// At the address of a mirror that runs, without the object that no played mirror has.
fn played(name: &str, running: &Running) -> MirrorView {
    MirrorView {
        readiness: Some(Arc::new(readiness(&[1]))),
        ..at(mirror(name, "NO", Serves::Everything), running)
    }
}

#[tokio::test]
async fn a_suspect_is_probed_before_its_turn_and_no_other() {
    let (bergen, oslo) = (start_mirror().await, start_mirror().await);
    let probing = Probing::start(&[played("bergen", &bergen), played("oslo", &oslo)]);
    probing.until("bergen", Health::Up).await;
    probing.until("oslo", Health::Up).await;
    bergen.kill().await;
    oslo.kill().await;
    probing.suspects.add("nobody");
    probing.suspects.add("oslo");
    probing.until("oslo", Health::Down).await;
    assert_eq!(
        probing.view.fleet().mirror("bergen").unwrap().healthy,
        Health::Up
    );
    probing.stop().await;
}

#[test]
fn what_was_seen_of_an_origin_is_not_said_of_another() {
    let view = view(&mirrors());
    let probe = Probe::default();
    assert_eq!(view.observe(ORIGIN, false, &probe), None);
    assert_eq!(view.observe(ORIGIN, false, &probe), Some(Health::Down));
    view.set_fleet(fleet(&mirrors()[1..], ORIGIN_URL));
    assert_eq!(view.fleet().origin_health, Health::Down);
    view.set_fleet(fleet(&mirrors(), "http://127.0.0.1:9/elsewhere"));
    assert_eq!(view.fleet().origin_health, Health::Unknown);
    view.set_fleet(fleet(&mirrors(), ""));
    assert_eq!(view.observe(ORIGIN, false, &probe), None);
    assert!(view.verdicts().is_empty());
}
