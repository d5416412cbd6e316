//! How fast the store is read.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use landfall_runtime::clock::Clock;

/// Reading may be ahead of its budget by this much.
const SLACK: Duration = Duration::from_millis(200);

/// A number of bytes a second, shared by all that read.
pub(super) struct Budget {
    bytes_per_second: u64,
    clock: Arc<dyn Clock>,
    /// When what was read so far is paid for.
    paid_at: Mutex<Instant>,
}

impl Budget {
    /// 0 bytes a second: no limit.
    pub(super) fn new(bytes_per_second: u64, clock: Arc<dyn Clock>) -> Self {
        Self {
            bytes_per_second,
            paid_at: Mutex::new(clock.now()),
            clock,
        }
    }

    /// Takes bytes that were read, and waits while too many were.
    pub(super) async fn spend(&self, bytes: u64) {
        let pause = self.pause(bytes);
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }

    fn pause(&self, bytes: u64) -> Duration {
        if self.bytes_per_second == 0 {
            return Duration::ZERO;
        }
        let now = self.clock.now();
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let mut paid_at = self.paid_at.lock().unwrap_or_else(PoisonError::into_inner);
        // Time in which nothing was read is not saved up.
        *paid_at = (*paid_at).max(now) + cost;
        paid_at.saturating_duration_since(now).saturating_sub(SLACK)
    }
}

#[cfg(test)]
mod tests {
    use landfall_runtime::clock::ManualClock;

    use super::*;

    #[test]
    fn reading_is_slowed_down_to_the_budget_and_no_time_is_saved_up() {
        let clock = Arc::new(ManualClock::new(0));
        let budget = Budget::new(1_000, Arc::clone(&clock) as Arc<dyn Clock>);
        assert_eq!(budget.pause(200), Duration::ZERO);
        assert_eq!(budget.pause(1_000), Duration::from_secs(1));
        clock.advance(Duration::from_secs(100));
        assert_eq!(budget.pause(1_200), Duration::from_secs(1));
        assert_eq!(budget.pause(1_000), Duration::from_secs(2));
    }

    #[test]
    fn without_a_budget_nothing_waits() {
        let budget = Budget::new(0, Arc::new(ManualClock::new(0)));
        assert_eq!(budget.pause(u64::MAX), Duration::ZERO);
    }
}
