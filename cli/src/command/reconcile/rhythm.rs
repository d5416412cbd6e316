//! When a round looks at everything again. Pure: times are arguments.
//!
//! A round whose manifests and catalog are those of the last look has nothing
//! to find but what changed outside of both: a staging that is back, a project
//! that was registered, a coordinator with another configuration.

use std::time::{Duration, Instant};

use landfall_catalog::Digest;

/// What did not change is looked at again after this time at the latest.
const LONGEST_REST: Duration = Duration::from_secs(3600);

/// What was published longer ago hardly gets a signature any more.
const USUALLY_WITHIN: Duration = Duration::from_secs(30 * 24 * 3600);

/// Of which names that are as listed staging is asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recheck {
    No,
    /// Of those that were published so long ago at most.
    Within(Duration),
    All,
}

/// When staging is asked again for signatures that came later: at every look, or
/// now and then.
#[derive(Debug)]
pub(super) struct Rechecks {
    always: bool,
    every: Option<Duration>,
    within: Option<Duration>,
    last: Option<Instant>,
}

impl Rechecks {
    /// `every` is none if it is not done by itself.
    pub(super) const fn new(
        always: bool,
        every: Option<Duration>,
        within: Option<Duration>,
    ) -> Self {
        Self {
            always,
            every,
            within,
            last: None,
        }
    }

    /// What a round does now.
    pub(super) fn due(&self, now: Instant) -> Recheck {
        if self.always {
            return self.within.map_or(Recheck::All, Recheck::Within);
        }
        let has_passed = |every| {
            let since = |last| now.saturating_duration_since(last);
            self.last.is_none_or(|last| since(last) >= every)
        };
        match self.every.is_some_and(has_passed) {
            true => Recheck::Within(self.within.unwrap_or(USUALLY_WITHIN)),
            false => Recheck::No,
        }
    }

    /// Whether a round that has nothing else to do is made for it.
    pub(super) fn is_reason(&self, now: Instant) -> bool {
        !self.always && self.due(now) != Recheck::No
    }

    /// A round did it.
    pub(super) const fn done(&mut self, now: Instant) {
        self.last = Some(now);
    }
}

/// How the last look ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Production has all that is asked for.
    Clean,
    /// Something may work the next time.
    Failed,
    /// Somebody has to do something: push to staging, change a manifest.
    Stuck,
}

/// Remembers the last look.
#[derive(Debug, Default)]
pub(super) struct Rhythm(Option<Look>);

#[derive(Debug)]
struct Look {
    tree: Digest,
    revision: u64,
    at: Instant,
    ended: Ended,
    rest: Duration,
}

impl Rhythm {
    /// Whether everything is to be looked at, with these manifests and the
    /// catalog at that revision.
    pub(super) fn is_due(&self, tree: &Digest, revision: u64, now: Instant) -> bool {
        self.0.as_ref().is_none_or(|last| {
            (last.tree, last.revision) != (*tree, revision)
                || now.saturating_duration_since(last.at) >= last.rest
        })
    }

    /// Everything was looked at, and then the catalog was at that revision.
    /// `interval` is the time between rounds.
    pub(super) fn looked(
        &mut self,
        tree: Digest,
        revision: u64,
        ended: Ended,
        now: Instant,
        interval: Duration,
    ) {
        let rested = self
            .0
            .as_ref()
            .filter(|last| (last.tree, last.ended) == (tree, Ended::Stuck))
            .map_or(Duration::ZERO, |last| last.rest);
        let rest = match ended {
            Ended::Clean => LONGEST_REST,
            Ended::Failed => Duration::ZERO,
            Ended::Stuck => rested
                .saturating_mul(2)
                .max(interval.saturating_mul(2))
                .min(LONGEST_REST),
        };
        self.0 = Some(Look {
            tree,
            revision,
            at: now,
            ended,
            rest,
        });
    }
}

#[cfg(test)]
mod tests {
    use landfall_runtime::clock::{Clock as _, ManualClock};

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn after(ended: Ended) -> (Rhythm, Instant) {
        let now = ManualClock::new(0).now();
        let mut rhythm = Rhythm::default();
        assert!(rhythm.is_due(&Digest::of(b"a"), 1, now));
        rhythm.looked(Digest::of(b"a"), 1, ended, now, MINUTE);
        (rhythm, now)
    }

    #[test]
    fn a_change_of_manifests_or_catalog_is_looked_at_at_once() {
        for ended in [Ended::Clean, Ended::Failed, Ended::Stuck] {
            let (rhythm, now) = after(ended);
            assert!(rhythm.is_due(&Digest::of(b"b"), 1, now), "{ended:?}");
            assert!(rhythm.is_due(&Digest::of(b"a"), 2, now), "{ended:?}");
        }
    }

    #[test]
    fn what_is_done_rests_and_what_failed_does_not() {
        let tree = Digest::of(b"a");
        let (clean, now) = after(Ended::Clean);
        assert!(!clean.is_due(&tree, 1, now + 59 * MINUTE));
        assert!(clean.is_due(&tree, 1, now + 60 * MINUTE));
        let (failed, now) = after(Ended::Failed);
        assert!(failed.is_due(&tree, 1, now + MINUTE));
    }

    #[test]
    fn what_came_later_is_asked_for_at_the_first_round_and_then_once_a_day() {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        let start = ManualClock::new(0).now();
        let mut rechecks = Rechecks::new(false, Some(DAY), None);
        let mut at = Vec::new();
        for hour in 0..50_u32 {
            let now = start + hour * 60 * MINUTE;
            if rechecks.is_reason(now) {
                assert_eq!(rechecks.due(now), Recheck::Within(30 * DAY));
                rechecks.done(now);
                at.push(hour);
            }
        }
        assert_eq!(at, [0, 24, 48]);
        let never = Rechecks::new(false, None, None);
        assert_eq!(never.due(start), Recheck::No);
        // Asked for, it is part of every look, and no reason for one.
        let always = Rechecks::new(true, Some(DAY), None);
        assert_eq!(
            (always.due(start), always.is_reason(start)),
            (Recheck::All, false)
        );
        let some = Rechecks::new(true, Some(DAY), Some(DAY));
        assert_eq!(some.due(start), Recheck::Within(DAY));
    }

    #[test]
    fn what_nobody_has_is_asked_for_less_and_less_often() {
        let tree = Digest::of(b"a");
        let (mut rhythm, mut now) = after(Ended::Stuck);
        let mut looks = Vec::new();
        for minute in 1..=240_u32 {
            now += MINUTE;
            if rhythm.is_due(&tree, 1, now) {
                looks.push(minute);
                rhythm.looked(tree, 1, Ended::Stuck, now, MINUTE);
            }
        }
        assert_eq!(looks, [2, 6, 14, 30, 62, 122, 182]);
        // Another tree begins anew.
        let other = Digest::of(b"b");
        rhythm.looked(other, 1, Ended::Stuck, now, MINUTE);
        assert!(rhythm.is_due(&other, 1, now + 2 * MINUTE));
    }
}
