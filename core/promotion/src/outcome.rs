//! What became of each entry of an executed plan.

use std::fmt;

/// What became of one entry. Every entry has its own; none waits for another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Production held it already; it was verified and recorded.
    Present,
    /// It was copied from staging.
    Copied,
    /// Staging does not have it, or not whole; what is missing.
    Lost(String),
    /// A rule forbids it; which.
    Refused(String),
    /// A transient fault that the next run may not meet; which.
    Failed(String),
}

impl Outcome {
    /// Stable code in kebab case.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Copied => "copied",
            Self::Lost(_) => "lost",
            Self::Refused(_) => "refused",
            Self::Failed(_) => "failed",
        }
    }

    /// Why, for what did not arrive.
    #[must_use]
    pub fn why(&self) -> Option<&str> {
        match self {
            Self::Present | Self::Copied => None,
            Self::Lost(why) | Self::Refused(why) | Self::Failed(why) => Some(why),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())?;
        match self.why() {
            Some(why) => write!(f, ": {why}"),
            None => Ok(()),
        }
    }
}

/// How many entries had which outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tally {
    /// [`Outcome::Present`].
    pub present: u64,
    /// [`Outcome::Copied`].
    pub copied: u64,
    /// [`Outcome::Lost`].
    pub lost: u64,
    /// [`Outcome::Refused`].
    pub refused: u64,
    /// [`Outcome::Failed`].
    pub failed: u64,
}

impl Tally {
    /// Counts one more.
    pub const fn count(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Present => self.present += 1,
            Outcome::Copied => self.copied += 1,
            Outcome::Lost(_) => self.lost += 1,
            Outcome::Refused(_) => self.refused += 1,
            Outcome::Failed(_) => self.failed += 1,
        }
    }

    /// Whether nothing was lost, refused or failed: what a command's exit code
    /// 0 means.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.lost == 0 && self.refused == 0 && self.failed == 0
    }

    /// All entries.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.present + self.copied + self.lost + self.refused + self.failed
    }
}

impl<'a> FromIterator<&'a Outcome> for Tally {
    fn from_iter<I: IntoIterator<Item = &'a Outcome>>(outcomes: I) -> Self {
        let mut tally = Self::default();
        for outcome in outcomes {
            tally.count(outcome);
        }
        tally
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} present, {} copied, {} lost, {} refused, {} failed",
            self.present, self.copied, self.lost, self.refused, self.failed
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anything_that_did_not_arrive_is_not_clean() {
        let good = [Outcome::Present, Outcome::Copied, Outcome::Copied];
        let tally: Tally = good.iter().collect();
        assert_eq!((tally.present, tally.copied, tally.total()), (1, 2, 3));
        assert!(tally.is_clean());
        for bad in [Outcome::Lost, Outcome::Refused, Outcome::Failed] {
            let mut tally = tally;
            tally.count(&bad("why".to_owned()));
            assert!(!tally.is_clean());
        }
    }
}
