//! A client that comes back for the same thing a moment later did not get it where it was sent.
//!
//! A mirror that has just died looks well until probes have failed twice. Whoever was sent there in between tries
//! again, often at once. So before somebody is sent to the same mirror for the same thing within
//! [`WINDOW_SECONDS`], the mirror is looked at; if it does not answer, this client goes elsewhere. What the look saw
//! counts as a probe, too.
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
use tokio::sync::{Notify, Semaphore};

use crate::config::Probe;
use crate::probe::rounds;
use crate::view::View;

/// Coming back later than this says nothing about the mirror.
const WINDOW_SECONDS: u64 = 10;
/// Marks that are remembered.
const MARKS: usize = 1 << 16;
/// A mirror that answered a look this recently is not looked at again.
const FRESH: Duration = Duration::from_millis(500);
/// How long a mirror may take, since a client waits.
const PATIENCE: Duration = Duration::from_millis(700);
/// Looks at the same time; who finds none free is sent without one.
const MAX_LOOKS: usize = 32;
/// Of a mark, the bits that hold the time in seconds; the others tell clients apart.
const TIME_BITS: u32 = 24;

/// Who was sent where a moment ago.
pub struct CameBack {
    view: Arc<View>,
    http: reqwest::Client,
    probe: Probe,
    clock: Arc<dyn Clock>,
    changed: Arc<Notify>,
    hash: RandomState,
    marks: Box<[AtomicU64]>,
    answered: Mutex<HashMap<String, Instant>>,
    looks: Semaphore,
}

impl CameBack {
    /// Remembers nobody yet. `changed` is woken when a look changes what is thought of a mirror.
    #[must_use]
    pub fn new(
        view: Arc<View>,
        http: reqwest::Client,
        probe: Probe,
        clock: Arc<dyn Clock>,
        changed: Arc<Notify>,
    ) -> Self {
        Self {
            view,
            http,
            probe,
            clock,
            changed,
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
        let Some(answered) = rounds::look(&self.view, &self.http, mirror, PATIENCE).await else {
            return false;
        };
        if self.view.observe(mirror, answered, &self.probe).is_some() {
            self.changed.notify_one();
        }
        if answered {
            self.lock().insert(mirror.to_owned(), self.clock.now());
        } else {
            tracing::info!(mirror, "a client came back and the mirror does not answer");
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
    use landfall_runtime::ManualClock;

    use super::*;

    fn nobody_yet(clock: &Arc<ManualClock>) -> CameBack {
        landfall_runtime::install_crypto();
        CameBack::new(
            Arc::new(View::new(
                landfall_route::Locator::default(),
                tokio::sync::watch::channel(None).1,
            )),
            reqwest::Client::new(),
            Probe::default(),
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
