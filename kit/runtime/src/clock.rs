//! Time as an argument.
//!
//! Decisions take `now` as a value; shells that need the time hold a
//! [`Clock`]. Timers (sleep, timeout) are tokio's, which tests can pause.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where the time comes from.
pub trait Clock: Send + Sync {
    /// Wall-clock time in whole seconds since 1970-01-01 UTC.
    fn unix_seconds(&self) -> u64;
    /// A monotonic instant, for measuring how long something took.
    fn now(&self) -> Instant;
}

impl<C: Clock + ?Sized> Clock for std::sync::Arc<C> {
    fn unix_seconds(&self) -> u64 {
        (**self).unix_seconds()
    }

    fn now(&self) -> Instant {
        (**self).now()
    }
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the machine's clocks"
    )]
    fn unix_seconds(&self) -> u64 {
        // A clock before 1970 is a broken clock: the epoch is the nearest
        // value that readers can hold.
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the machine's clocks"
    )]
    fn now(&self) -> Instant {
        Instant::now()
    }
}

/// A clock that stands still until it is moved: for tests and simulations.
#[derive(Debug)]
pub struct ManualClock {
    start: Instant,
    state: Mutex<ManualTime>,
}

#[derive(Clone, Copy, Debug)]
struct ManualTime {
    wall: Duration,
    elapsed: Duration,
}

impl ManualClock {
    /// A clock that shows `unix_seconds`.
    pub fn new(unix_seconds: u64) -> Self {
        Self {
            start: SystemClock.now(),
            state: Mutex::new(ManualTime {
                wall: Duration::from_secs(unix_seconds),
                elapsed: Duration::ZERO,
            }),
        }
    }

    /// Moves both the wall clock and the monotonic clock on.
    pub fn advance(&self, by: Duration) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.wall += by;
        state.elapsed += by;
    }

    /// Sets the wall clock alone, as an operator or NTP would.
    pub fn set_unix_seconds(&self, unix_seconds: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.wall = Duration::from_secs(unix_seconds);
    }

    fn time(&self) -> ManualTime {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn unix_seconds(&self) -> u64 {
        self.time().wall.as_secs()
    }

    fn now(&self) -> Instant {
        self.start + self.time().elapsed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_it_is_told_to() {
        let clock = ManualClock::new(1_000);
        let before = clock.now();
        assert_eq!((clock.unix_seconds(), clock.now()), (1_000, before));

        clock.advance(Duration::from_millis(1_500));
        assert_eq!(clock.unix_seconds(), 1_001);
        assert_eq!(clock.now() - before, Duration::from_millis(1_500));

        clock.set_unix_seconds(5);
        assert_eq!(clock.unix_seconds(), 5);
        assert_eq!(clock.now() - before, Duration::from_millis(1_500));
    }

    #[test]
    fn the_system_clock_is_past_the_year_2020_and_never_goes_back() {
        assert!(SystemClock.unix_seconds() > 1_577_836_800);
        let first = SystemClock.now();
        assert!(SystemClock.now() >= first);
    }
}
