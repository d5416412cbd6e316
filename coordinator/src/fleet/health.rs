//! What probes say of a mirror, several redirectors together. Pure.

use std::collections::BTreeMap;

use landfall_route::Health;

/// Seconds after which a verdict counts no more.
const FRESH_SECONDS: u64 = 60;
/// Redirectors whose verdicts are kept.
const MAX_REDIRECTORS: usize = 1000;

/// The last verdict of each redirector on each mirror.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    by_redirector: BTreeMap<String, BTreeMap<String, (Health, u64)>>,
}

impl Verdicts {
    pub(super) fn take(&mut self, redirector: &str, mirror: &str, health: Health, now: u64) {
        let is_known = self.by_redirector.contains_key(redirector);
        if !is_known && self.by_redirector.len() >= MAX_REDIRECTORS {
            self.by_redirector
                .retain(|_, verdicts| verdicts.values().any(|(_, at)| is_fresh(*at, now)));
            if self.by_redirector.len() >= MAX_REDIRECTORS {
                return;
            }
        }
        self.by_redirector
            .entry(redirector.to_owned())
            .or_default()
            .insert(mirror.to_owned(), (health, now));
    }

    /// What the fresh verdicts of most redirectors say; a tie is up, because a
    /// mirror that somebody reaches works.
    pub(super) fn of(&self, mirror: &str, now: u64) -> Health {
        let (mut up, mut down) = (0_u32, 0_u32);
        for verdicts in self.by_redirector.values() {
            match verdicts.get(mirror) {
                Some((Health::Up, at)) if is_fresh(*at, now) => up += 1,
                Some((Health::Down, at)) if is_fresh(*at, now) => down += 1,
                Some((Health::Up | Health::Down | Health::Unknown, _)) | None => {}
            }
        }
        match (up, down) {
            (0, 0) => Health::Unknown,
            (up, down) if up >= down => Health::Up,
            _ => Health::Down,
        }
    }
}

const fn is_fresh(at: u64, now: u64) -> bool {
    now.saturating_sub(at) <= FRESH_SECONDS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fresh_majority_decides_and_a_tie_is_up() {
        let mut verdicts = Verdicts::default();
        assert_eq!(verdicts.of("m", 100), Health::Unknown);
        verdicts.take("r1", "m", Health::Down, 100);
        assert_eq!(verdicts.of("m", 100), Health::Down);
        verdicts.take("r2", "m", Health::Up, 110);
        assert_eq!(verdicts.of("m", 110), Health::Up);
        verdicts.take("r3", "m", Health::Down, 110);
        assert_eq!(verdicts.of("m", 110), Health::Down);
        assert_eq!(verdicts.of("m", 165), Health::Up, "r1's verdict is old");
        assert_eq!(verdicts.of("m", 171), Health::Unknown);
        assert_eq!(verdicts.of("other", 110), Health::Unknown);
    }
}
