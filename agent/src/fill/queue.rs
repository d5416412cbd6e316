//! In which order what is missing is fetched (pure).
//!
//! Each mirror takes its own random order, so that the fleet fetches different
//! objects from the origin first and then from each other.

use std::{
    collections::{BTreeMap, HashSet},
    time::{Duration, Instant},
};

use landfall_catalog::Ordinal;
use rand::{Rng, seq::SliceRandom};
use roaring::RoaringBitmap;

/// Pause before an object that could not be fetched is tried again: doubles
/// with every failure in a row, up to the second value.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));

/// What is still to be fetched.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// Taken from the end.
    order: Vec<u32>,
    in_flight: HashSet<u32>,
    /// Failed objects: failures in a row and when the next try is due.
    resting: BTreeMap<u32, (u32, Instant)>,
}

impl Queue {
    /// Sets what is missing now, in a new random order.
    pub(crate) fn refill(&mut self, missing: &RoaringBitmap, rng: &mut impl Rng) {
        self.resting.retain(|object, _| missing.contains(*object));
        self.order = missing
            .iter()
            .filter(|object| !self.in_flight.contains(object) && !self.resting.contains_key(object))
            .collect();
        self.order.shuffle(rng);
    }

    /// The next object to fetch, if any is due; it counts as in flight then.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Ordinal> {
        let object = self.order.pop().or_else(|| {
            self.resting
                .iter()
                .find(|(object, (_, due))| *due <= now && !self.in_flight.contains(object))
                .map(|(object, _)| *object)
        })?;
        self.in_flight.insert(object);
        Some(Ordinal::new(object))
    }

    /// An object in flight has arrived.
    pub(crate) fn done(&mut self, object: Ordinal) {
        self.in_flight.remove(&object.get());
        self.resting.remove(&object.get());
    }

    /// An object in flight could not be fetched: it rests, longer each time,
    /// but not less than `at_least`.
    pub(crate) fn failed(&mut self, object: Ordinal, now: Instant, at_least: Duration) {
        self.in_flight.remove(&object.get());
        let failures = self
            .resting
            .get(&object.get())
            .map_or(0, |(failures, _)| *failures);
        let pause = PAUSE
            .0
            .saturating_mul(1 << failures.min(16))
            .min(PAUSE.1)
            .max(at_least);
        self.resting
            .insert(object.get(), (failures + 1, now + pause));
    }

    /// When a resting object is due next.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.resting
            .iter()
            .filter(|(object, _)| !self.in_flight.contains(object))
            .map(|(_, (_, due))| *due)
            .min()
    }

    /// Number of objects being fetched.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }
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
