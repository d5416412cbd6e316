//! A client that comes back for the same thing a moment later did not get it where it was sent.
//!
//! A mirror that has just died looks well until probes have failed twice. Whoever was sent there in between tries
//! again, often at once. So before somebody is sent to the same mirror for the same thing within
//! ten seconds, the mirror is looked at; if it does not answer, this client goes elsewhere.
//!
//! A look decides for that client alone: whoever can make a mirror be looked at must not be able to take it from
//! others. All it does beside is to have the mirror probed before its turn.
//!
//! The memory is a fixed table of marks without addresses: a mark that is overwritten or forged costs one client one
//! try, or a mirror one HEAD request of the few that are allowed.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use landfall_runtime::Clock;
use tokio::sync::Semaphore;

use crate::config::Probe;
use crate::probe::Suspects;
use crate::probe::rounds;
use crate::view::View;

/// Coming back later than this says nothing about the mirror.
const WINDOW_SECONDS: u64 = 10;
/// Marks that are remembered.
const MARKS: usize = 1 << 16;
/// A mirror that answered a look this recently is not looked at again.
const FRESH: Duration = Duration::from_millis(500);
/// A mirror may take as long as a probe lets it, but no longer than this, since a client waits.
const MAX_PATIENCE: Duration = Duration::from_secs(2);
/// Looks at the same time; who finds none free is sent without one.
const MAX_LOOKS: usize = 32;
/// Of a mark, the bits that hold the time in seconds; the others tell clients apart.
const TIME_BITS: u32 = 24;

/// Who was sent where a moment ago.
pub struct CameBack {
    view: Arc<View>,
    http: reqwest::Client,
    patience: Duration,
    clock: Arc<dyn Clock>,
    suspects: Arc<Suspects>,
    hash: RandomState,
    marks: Box<[AtomicU64]>,
    answered: Mutex<HashMap<String, Instant>>,
    looks: Semaphore,
}

impl CameBack {
    /// Remembers nobody yet. Mirrors that do not answer a look become `suspects`.
    #[must_use]
    pub fn new(
        view: Arc<View>,
        http: reqwest::Client,
        probe: &Probe,
        clock: Arc<dyn Clock>,
        suspects: Arc<Suspects>,
    ) -> Self {
        Self {
            view,
            http,
            patience: probe.timeout().min(MAX_PATIENCE),
            clock,
            suspects,
            hash: RandomState::new(),
            marks: (0..MARKS).map(|_| AtomicU64::new(0)).collect(),
            answered: Mutex::default(),
            looks: Semaphore::new(MAX_LOOKS),
        }
    }

    /// With another number of looks at the same time; 0 for none ever.
    #[must_use]
    pub fn with_looks(self, looks: usize) -> Self {
        Self {
            looks: Semaphore::new(looks),
            ..self
        }
    }

    /// Notes that the client is sent to a mirror for a path. True if it was just sent there for the same and the
    /// mirror does not answer: then it must be sent elsewhere.
    pub async fn in_vain(&self, client: IpAddr, path: &str, mirror: &str) -> bool {
        if !self.note(client, path, mirror) || self.has_answered(mirror) {
            return false;
        }
        let Ok(_permit) = self.looks.try_acquire() else {
            return false;
        };
        let looked = rounds::look(&self.view, &self.http, mirror, self.patience).await;
        let Some(answered) = looked else {
            return false;
        };
        if answered {
            self.lock().insert(mirror.to_owned(), self.clock.now());
        } else {
            tracing::info!(mirror, "a client came back and the mirror does not answer");
            self.suspects.add(mirror);
        }
        !answered
    }

    /// Leaves a mark; true if the same one was left within the window.
    fn note(&self, client: IpAddr, path: &str, mirror: &str) -> bool {
        let hash = self.hash.hash_one((client, path, mirror));
        let now = self.clock.unix_seconds() & ((1 << TIME_BITS) - 1);
        let mark = hash >> TIME_BITS << TIME_BITS | now;
        #[allow(
            clippy::cast_possible_truncation,
            reason = "only the low bits are wanted"
        )]
        let slot = &self.marks[hash as usize % MARKS];
        let before = slot.swap(mark, Ordering::Relaxed);
        let age = now.wrapping_sub(before & ((1 << TIME_BITS) - 1));
        before >> TIME_BITS == mark >> TIME_BITS && age <= WINDOW_SECONDS
    }

    fn has_answered(&self, mirror: &str) -> bool {
        let now = self.clock.now();
        self.lock()
            .get(mirror)
            .is_some_and(|at| now.saturating_duration_since(*at) < FRESH)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Instant>> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use landfall_route::{Health, Serves};
    use landfall_runtime::ManualClock;

    use super::*;
    use crate::tests::world;

    fn of_view(view: Arc<View>, probe: &Probe, suspects: &Arc<Suspects>) -> CameBack {
        landfall_runtime::install_crypto();
        let http = landfall_runtime::dial::http_client().unwrap();
        let clock = Arc::new(ManualClock::new(1_800_000_000));
        CameBack::new(view, http, probe, clock, Arc::clone(suspects))
    }

    #[test]
    fn a_look_is_as_patient_as_a_probe_but_for_a_client_that_waits() {
        for (timeout_ms, patience_ms) in [(1, 1), (1_000, 1_000), (2_000, 2_000), (30_000, 2_000)] {
            let probe = Probe {
                timeout_ms,
                ..Probe::default()
            };
            let view = Arc::new(world::view(&world::mirrors()));
            let came_back = of_view(view, &probe, &Arc::default());
            assert_eq!(came_back.patience, Duration::from_millis(patience_ms));
        }
    }

    #[tokio::test]
    async fn a_client_that_comes_back_changes_nothing_for_others() {
        // Nobody listens on a port that was just given back.
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut oslo = world::mirror("oslo", "NO", Serves::Everything);
        oslo.public_url = format!("http://{}", nobody.local_addr().unwrap());
        drop(nobody);
        let view = Arc::new(world::view(&[oslo]));
        let suspects = Arc::default();
        let came_back = of_view(Arc::clone(&view), &Probe::default(), &suspects);
        let client = [192, 0, 2, 1].into();
        assert!(!came_back.in_vain(client, "/a", "oslo").await);
        for _ in 0..10 {
            assert!(came_back.in_vain(client, "/a", "oslo").await);
        }
        assert_eq!(
            view.fleet().mirror("oslo").unwrap().healthy,
            Health::Unknown
        );
        assert!(view.verdicts().is_empty());
        assert_eq!(suspects.taken().await, BTreeSet::from(["oslo".to_owned()]));
    }

    fn nobody_yet(clock: &Arc<ManualClock>) -> CameBack {
        landfall_runtime::install_crypto();
        CameBack::new(
            Arc::new(View::new(
                landfall_route::Locator::default(),
                tokio::sync::watch::channel(None).1,
            )),
            reqwest::Client::new(),
            &Probe::default(),
            Arc::clone(clock) as Arc<dyn Clock>,
            Arc::default(),
        )
    }

    #[test]
    fn only_the_same_client_path_and_mirror_within_the_window_is_coming_back() {
        let clock = Arc::new(ManualClock::new(1_800_000_000));
        let came_back = nobody_yet(&clock);
        let [one, other]: [IpAddr; 2] = [[192, 0, 2, 1].into(), [192, 0, 2, 2].into()];
        assert!(!came_back.note(one, "/a", "oslo"));
        assert!(!came_back.note(other, "/a", "oslo"));
        assert!(!came_back.note(one, "/b", "oslo"));
        assert!(!came_back.note(one, "/a", "bergen"));
        assert!(came_back.note(one, "/a", "oslo"));
        clock.advance(Duration::from_secs(WINDOW_SECONDS + 1));
        assert!(!came_back.note(one, "/a", "oslo"));
    }

    #[tokio::test]
    async fn a_mirror_that_is_not_known_is_not_looked_at() {
        let clock = Arc::new(ManualClock::new(1_800_000_000));
        let came_back = nobody_yet(&clock);
        let client = [192, 0, 2, 1].into();
        assert!(!came_back.in_vain(client, "/a", "oslo").await);
        assert!(!came_back.in_vain(client, "/a", "oslo").await);
    }
}
