//! What staging had wrong, and when nobody's asking is worth another download.
//!
//! Bytes are refused only when all of them were read. An unattended plan leaves
//! such an entry alone, less and less often asked for; a person's plan does not.
//! Kept in memory: after a start everything is looked at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use landfall_catalog::{Digest, Name};

/// Seconds that an entry rests after its first refusal …
const FIRST: u64 = 10 * 60;
/// … and at most, however often it was refused.
const LONGEST: u64 = 6 * 3600;
/// Entries that are remembered; others are tried every time.
const MOST: usize = 10_000;

/// What was refused; cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Resting {
    entries: Arc<Mutex<HashMap<(Name, Digest), Refused>>>,
}

struct Refused {
    why: String,
    rest: u64,
    /// POSIX seconds.
    until: u64,
}

impl Resting {
    /// Staging was read for it, and refused.
    pub(crate) fn refused(&self, name: &Name, digest: Digest, why: &str, now: u64) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (name.clone(), digest);
        if entries.len() >= MOST && !entries.contains_key(&key) {
            entries.retain(|_, refused| refused.until > now);
            if entries.len() >= MOST {
                return;
            }
        }
        let before = entries.get(&key).map_or(0, |refused| refused.rest);
        let rest = before.saturating_mul(2).clamp(FIRST, LONGEST);
        let refused = Refused {
            why: why.to_owned(),
            rest,
            until: now.saturating_add(rest),
        };
        entries.insert(key, refused);
    }

    /// It has arrived.
    pub(crate) fn arrived(&self, name: &Name, digest: Digest) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if !entries.is_empty() {
            entries.remove(&(name.clone(), digest));
        }
    }

    /// Why it is not asked for now, if it rests.
    pub(crate) fn why(&self, name: &Name, digest: Digest, now: u64) -> Option<String> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.is_empty() {
            return None;
        }
        let refused = entries.get(&(name.clone(), digest))?;
        let left = refused.until.checked_sub(now).filter(|left| *left > 0)?;
        Some(format!(
            "{}; staging is read again in {} min, or by a person's `landfall promote --confirm`",
            refused.why,
            left.div_ceil(60)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_staging_has_wrong_is_read_less_and_less_often_until_it_arrives() {
        let (name, digest) = ("a/file".parse().unwrap(), Digest::of(b"a"));
        let resting = Resting::default();
        let mut now = 0;
        let mut reads = Vec::new();
        while now < 24 * 3600 {
            if resting.why(&name, digest, now).is_none() {
                reads.push(now / 60);
                resting.refused(&name, digest, "other bytes", now);
            }
            now += 60;
        }
        assert_eq!(reads, [0, 10, 30, 70, 150, 310, 630, 990, 1350]);
        let why = resting.why(&name, digest, 1350 * 60 + 1).unwrap();
        assert!(
            why.starts_with("other bytes; staging is read again in 360 min"),
            "{why}"
        );
        // Other bytes under that name are another matter.
        assert_eq!(resting.why(&name, Digest::of(b"b"), now), None);
        resting.arrived(&name, digest);
        assert_eq!(resting.why(&name, digest, now), None);
    }
}
