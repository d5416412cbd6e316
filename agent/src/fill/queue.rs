//! In which order what is missing is fetched (pure).
//!
//! Each mirror takes its own random order, so that the fleet fetches different
//! objects from the origin first and then from each other.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    time::{Duration, Instant},
};

use landfall_catalog::Ordinal;
use rand::{Rng, seq::SliceRandom};
use roaring::RoaringBitmap;

/// Pause before an object that could not be fetched is tried again: doubles
/// with every failure in a row, up to the second value.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));
/// After this many failures of whatever objects without one success in between
/// nothing is taken for a while: the sources are down, not the objects.
const PATIENCE: u32 = 16;
/// That while: doubles with every further failure, up to the second value.
const TRUCE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// What is still to be fetched.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// Taken from the end.
    order: Vec<u32>,
    in_flight: HashSet<u32>,
    /// Failures in a row of objects that have failed.
    failures: HashMap<u32, u32>,
    /// Failed objects by when their next try is due.
    resting: BTreeSet<(Instant, u32)>,
    /// Failures of any objects since the last success.
    in_vain: u32,
    /// Nothing is taken before.
    truce: Option<Instant>,
}

impl Queue {
    /// Sets what is missing now, in a new random order.
    pub(crate) fn refill(&mut self, missing: &RoaringBitmap, rng: &mut impl Rng) {
        self.failures.retain(|object, _| missing.contains(*object));
        self.resting.retain(|(_, object)| missing.contains(*object));
        self.order = missing
            .iter()
            .filter(|object| {
                !self.in_flight.contains(object) && !self.failures.contains_key(object)
            })
            .collect();
        self.order.shuffle(rng);
    }

    /// The next object to fetch, if any is due; it counts as in flight then.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Ordinal> {
        if self.truce.is_some_and(|until| until > now) {
            return None;
        }
        let object = match self.order.pop() {
            Some(object) => object,
            None => {
                let (due, object) = *self.resting.first()?;
                if due > now {
                    return None;
                }
                self.resting.pop_first();
                object
            }
        };
        self.in_flight.insert(object);
        Some(Ordinal::new(object))
    }

    /// An object in flight has arrived.
    pub(crate) fn done(&mut self, object: Ordinal) {
        self.in_flight.remove(&object.get());
        self.failures.remove(&object.get());
        self.in_vain = 0;
        self.truce = None;
    }

    /// An object in flight could not be fetched: it rests, longer each time,
    /// but not less than `at_least`. When nothing at all can be fetched,
    /// everything rests.
    pub(crate) fn failed(&mut self, object: Ordinal, now: Instant, at_least: Duration) {
        self.in_flight.remove(&object.get());
        let failures = self.failures.entry(object.get()).or_default();
        let pause = doubled(PAUSE, *failures).max(at_least);
        *failures += 1;
        self.resting.insert((now + pause, object.get()));
        self.in_vain = self.in_vain.saturating_add(1);
        if self.in_vain >= PATIENCE {
            self.truce = Some(now + doubled(TRUCE, self.in_vain - PATIENCE));
        }
    }

    /// When something that rests is due next.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let first = self.resting.first().map(|(due, _)| *due);
        match (self.order.is_empty(), self.truce) {
            (true, truce) => first.map(|first| truce.map_or(first, |truce| truce.max(first))),
            (false, truce) => truce,
        }
    }

    /// Whether failures are so many that one more is no news.
    pub(crate) fn is_in_vain(&self) -> bool {
        self.in_vain >= PATIENCE
    }

    /// Number of objects being fetched.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }
}

/// `range.0` doubled so many times, at most `range.1`.
fn doubled(range: (Duration, Duration), times: u32) -> Duration {
    range.0.saturating_mul(1 << times.min(16)).min(range.1)
}

#[cfg(test)]
mod tests {
    use landfall_runtime::{Clock, SystemClock};
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    fn missing(objects: impl IntoIterator<Item = u32>) -> RoaringBitmap {
        objects.into_iter().collect()
    }

    #[test]
    fn everything_is_taken_once_and_each_mirror_has_its_own_order() {
        let now = SystemClock.now();
        let orders = [1, 2].map(|seed| {
            let mut queue = Queue::default();
            queue.refill(&missing(0..100), &mut StdRng::seed_from_u64(seed));
            let mut taken = Vec::new();
            while let Some(object) = queue.take(now) {
                taken.push(object.get());
            }
            taken
        });
        assert_ne!(orders[0], orders[1]);
        for mut order in orders {
            order.sort_unstable();
            assert_eq!(order, (0..100).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_is_in_flight_is_not_queued_again() {
        let now = SystemClock.now();
        let mut rng = StdRng::seed_from_u64(1);
        let mut queue = Queue::default();
        queue.refill(&missing([7]), &mut rng);
        assert!(queue.take(now).is_some());
        queue.refill(&missing([7]), &mut rng);
        assert!(queue.take(now).is_none());
    }

    #[test]
    fn a_failed_object_rests_longer_each_time_and_holds_up_no_other() {
        let now = SystemClock.now();
        let mut rng = StdRng::seed_from_u64(1);
        let mut queue = Queue::default();
        queue.refill(&missing([7]), &mut rng);
        let poison = queue.take(now).unwrap();
        queue.failed(poison, now, Duration::ZERO);
        queue.refill(&missing([7, 8]), &mut rng);
        assert_eq!(queue.take(now), Some(Ordinal::new(8)));
        assert_eq!(queue.take(now), None);
        let first = queue.next_due().unwrap();
        assert_eq!(queue.take(first), Some(poison));
        queue.failed(poison, first, Duration::ZERO);
        assert!(queue.next_due().unwrap() - first > first - now);
        let due = queue.next_due().unwrap();
        assert_eq!(queue.take(due), Some(poison));
        queue.failed(poison, due, Duration::from_secs(90));
        assert_eq!(queue.next_due().unwrap() - due, Duration::from_secs(90));
    }

    #[test]
    fn when_nothing_can_be_fetched_everything_rests_until_something_can() {
        let now = SystemClock.now();
        let mut queue = Queue::default();
        queue.refill(&missing(0..1_000), &mut StdRng::seed_from_u64(1));
        let mut tried = 0;
        while let Some(object) = queue.take(now) {
            queue.failed(object, now, Duration::ZERO);
            tried += 1;
        }
        assert_eq!(tried, PATIENCE);
        assert!(queue.is_in_vain());
        let due = queue.next_due().unwrap();
        assert!(due > now);
        // One try a truce, ever longer, until one succeeds.
        let object = queue.take(due).unwrap();
        queue.failed(object, due, Duration::ZERO);
        assert_eq!(queue.take(due), None);
        let due = queue.next_due().unwrap();
        let object = queue.take(due).unwrap();
        queue.done(object);
        assert!(queue.take(due).is_some());
        assert!(queue.take(due).is_some());
    }

    #[test]
    fn what_is_no_longer_missing_is_forgotten() {
        let now = SystemClock.now();
        let mut rng = StdRng::seed_from_u64(1);
        let mut queue = Queue::default();
        queue.refill(&missing([7]), &mut rng);
        let object = queue.take(now).unwrap();
        queue.failed(object, now, Duration::ZERO);
        queue.refill(&missing([]), &mut rng);
        assert!(queue.next_due().is_none());
    }
}
