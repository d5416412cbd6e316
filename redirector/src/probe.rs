//! What a redirector sees of the mirrors and the origin itself: the pure part. [`rounds`] does the asking.
//!
//! A probe outweighs what an agent says: a mirror that cannot be reached from here is left, whoever reports
//! it well. Verdicts have hysteresis, so that one lost packet moves nobody, and they speak of health only:
//! what a mirror holds is never learned from a probe.

pub mod rounds;
mod suspects;

use std::collections::BTreeMap;

use landfall_catalog::{Catalog, Ordinal, Readiness};
use landfall_route::Health;

pub use self::suspects::Suspects;
use crate::config::Probe;

/// How many live ordinals are tried at random before those that a mirror holds are worked out.
const RANDOM_TRIES: usize = 16;

/// What is thought of one mirror, and what has been seen since it was last sure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    sure: Sure,
    /// Failures in a row while up or unknown; successes in a row while down.
    against: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Sure {
    #[default]
    Unknown,
    Up,
    Down,
}

impl Verdict {
    /// What is thought of the mirror.
    #[must_use]
    pub const fn health(self) -> Health {
        match self.sure {
            Sure::Unknown => Health::Unknown,
            Sure::Up => Health::Up,
            Sure::Down => Health::Down,
        }
    }

    /// The verdict after one more probe. A mirror that was never seen is up at the first success.
    #[must_use]
    pub const fn after(self, success: bool, thresholds: &Probe) -> Self {
        let agrees = match self.sure {
            Sure::Unknown | Sure::Up => success,
            Sure::Down => !success,
        };
        if agrees {
            let sure = match self.sure {
                Sure::Unknown | Sure::Up => Sure::Up,
                Sure::Down => Sure::Down,
            };
            return Self { sure, against: 0 };
        }
        let against = self.against.saturating_add(1);
        let (needed, next) = match self.sure {
            Sure::Unknown | Sure::Up => (thresholds.down_after, Sure::Down),
            Sure::Down => (thresholds.up_after, Sure::Up),
        };
        if against >= needed {
            return Self {
                sure: next,
                against: 0,
            };
        }
        Self {
            sure: self.sure,
            against,
        }
    }
}

/// The verdicts on all mirrors and the origin, by name.
#[derive(Clone, Debug, Default)]
pub struct Verdicts(BTreeMap<String, Verdict>);

impl Verdicts {
    /// Takes one probe's outcome; the mirror's health if that changed it.
    pub fn observe(&mut self, mirror: &str, success: bool, thresholds: &Probe) -> Option<Health> {
        let before = self.0.get(mirror).copied().unwrap_or_default();
        let after = before.after(success, thresholds);
        if before != after {
            self.0.insert(mirror.to_owned(), after);
        }
        (before.health() != after.health()).then(|| after.health())
    }

    /// What is thought of a mirror.
    #[must_use]
    pub fn health(&self, mirror: &str) -> Health {
        self.0.get(mirror).copied().unwrap_or_default().health()
    }

    /// Forgets the mirrors that are not among `names`.
    pub fn retain(&mut self, names: impl Fn(&str) -> bool) {
        self.0.retain(|name, _| names(name));
    }

    /// All mirrors of which something is thought, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Health)> {
        self.0
            .iter()
            .map(|(name, verdict)| (name.as_str(), verdict.health()))
    }
}

/// An object that is live and that the mirror says it holds, to ask it for: any of them; `random` gives a number
/// below the one it gets.
#[must_use]
pub fn pick(
    catalog: &Catalog,
    readiness: &Readiness,
    mut random: impl FnMut(u32) -> u32,
) -> Option<Ordinal> {
    for _ in 0..RANDOM_TRIES {
        let candidate = pick_any(catalog, &mut random);
        if let Some(ordinal) = candidate.filter(|ordinal| readiness.holds(*ordinal)) {
            return Some(ordinal);
        }
    }
    let held = readiness.held() & catalog.live();
    let count = u32::try_from(held.len()).unwrap_or(u32::MAX);
    let nth = (count > 0).then(|| random(count))?;
    held.select(nth).map(Ordinal::new)
}

/// Any object that is live, to ask the origin for, which holds them all.
#[must_use]
pub fn pick_any(catalog: &Catalog, random: impl FnOnce(u32) -> u32) -> Option<Ordinal> {
    let live = catalog.live();
    let count = u32::try_from(live.len()).unwrap_or(u32::MAX);
    let nth = (count > 0).then(|| random(count))?;
    live.select(nth).map(Ordinal::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(probes: &str, expect: &str) {
        let mut verdict = Verdict::default();
        let mut shown = String::new();
        for probe in probes.chars() {
            verdict = verdict.after(probe == '+', &Probe::default());
            shown.push(match verdict.health() {
                Health::Unknown => '?',
                Health::Up => 'u',
                Health::Down => 'd',
            });
        }
        assert_eq!(shown, expect, "{probes}");
    }

    #[test]
    fn a_mirror_is_down_after_two_failures_in_a_row_and_up_after_three_successes() {
        check("+", "u");
        check("+-", "uu");
        check("+--", "uud");
        check("+-+-+-", "uuuuuu");
        check("--", "?d");
        check("-+", "?u");
        check("--++", "?ddd");
        check("--+++", "?dddu");
        check("--++-++-+++", "?dddddddddu");
    }

    #[test]
    fn verdicts_speak_on_change_only_and_forget_who_is_gone() {
        let mut verdicts = Verdicts::default();
        let thresholds = Probe::default();
        let seen: Vec<_> = [true, true, false, false, false]
            .map(|success| verdicts.observe("a", success, &thresholds))
            .into();
        assert_eq!(
            seen,
            [Some(Health::Up), None, None, Some(Health::Down), None]
        );
        assert_eq!(verdicts.health("a"), Health::Down);
        assert_eq!(verdicts.health("b"), Health::Unknown);
        verdicts.retain(|name| name == "b");
        assert_eq!(verdicts.iter().count(), 0);
        assert_eq!(verdicts.health("a"), Health::Unknown);
    }
}
