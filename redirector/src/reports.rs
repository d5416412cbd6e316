//! Which of the mirrors' reports are believed: those that are about our log.
//!
//! A report speaks in ordinals, and ordinals mean nothing without the log that counts them. So each names the log
//! and its state, by size and root, and that state is compared with our own tree, which knows the root at every size.
//! A mirror that follows another log under the same name, as one does after its coordinator was set up anew, would
//! else be sent clients for objects that it has never seen.
//!
//! A report that is ahead of us cannot be judged yet. It waits until our log has come as far; until then the mirror
//! counts as holding what it said before and says still.
//!
//! Each state is compared once, when a report or a part of the log arrives, never while a request waits.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use landfall_catalog::{LogPosition, Ordinal, Readiness, TreeHash, verify_consistency};
use landfall_log::{LogError, LogReader};
use landfall_proto::status::chain;
use tokio::sync::watch;

use crate::fleet::Fleet;

/// What each mirror is believed to hold, by name.
pub type Believed = BTreeMap<String, Arc<Readiness>>;

/// How often our log may grow while one state is being compared with it. It grows far less often than that.
const TRIES: usize = 8;

/// The reports, and what is thought of them.
pub struct Reports {
    log: watch::Receiver<Option<LogReader>>,
    own: Option<Own>,
    fleet: Arc<Fleet>,
    /// For states of the log that reports name now: whether they are of ours.
    judged: HashMap<(u64, TreeHash), bool>,
    believed: Believed,
    strangers: BTreeSet<String>,
    waiting: bool,
    unreadable: bool,
}

/// How far our log is known.
#[derive(Clone, PartialEq, Eq)]
struct Own {
    origin: String,
    size: u64,
}

/// What a report is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum About {
    OurLog,
    AnotherLog,
    /// Beyond what is known here.
    NotKnownYet,
}

impl Reports {
    /// No reports; `log` is the one that they have to be about.
    #[must_use]
    pub fn new(log: watch::Receiver<Option<LogReader>>) -> Self {
        Self {
            log,
            own: None,
            fleet: Arc::default(),
            judged: HashMap::new(),
            believed: Believed::new(),
            strangers: BTreeSet::new(),
            waiting: false,
            unreadable: false,
        }
    }

    /// Takes over the reports of a fleet; what is believed then. Blocks on the disk.
    pub fn of_fleet(&mut self, fleet: Arc<Fleet>) -> Believed {
        self.fleet = fleet;
        self.settle();
        self.believed.clone()
    }

    /// Our log has come this far; what is believed then, if that may differ from before. Blocks on the disk.
    pub fn log_is_at(&mut self, origin: &str, size: u64) -> Option<Believed> {
        let own = Own {
            origin: origin.to_owned(),
            size,
        };
        let same_log = self.own.as_ref().is_some_and(|it| it.origin == own.origin);
        self.own = Some(own);
        if same_log && !self.waiting {
            return None;
        }
        self.settle();
        Some(self.believed.clone())
    }

    fn settle(&mut self) {
        let before = std::mem::take(&mut self.judged);
        let (mut believed, mut strangers) = (Believed::new(), BTreeSet::new());
        let fleet = Arc::clone(&self.fleet);
        self.waiting = false;
        for (mirror, newest) in fleet.reports() {
            match self.judge(&newest.log, &before) {
                About::OurLog => {
                    believed.insert(mirror.to_owned(), Arc::clone(newest));
                }
                About::NotKnownYet => {
                    self.waiting = true;
                    if let Some(held) = self.believed.get(mirror) {
                        believed.insert(mirror.to_owned(), Arc::new(common(held, newest)));
                    }
                }
                About::AnotherLog => {
                    if !self.strangers.contains(mirror) {
                        let LogPosition { origin, size, root } = &newest.log;
                        tracing::error!(
                            mirror, %origin, size, %root,
                            "a mirror reports on another log than ours; nobody is sent there for what it says"
                        );
                    }
                    strangers.insert(mirror.to_owned());
                }
            }
        }
        self.believed = believed;
        self.strangers = strangers;
    }

    fn judge(&mut self, at: &LogPosition, before: &HashMap<(u64, TreeHash), bool>) -> About {
        let Some(own) = &self.own else {
            return About::NotKnownYet;
        };
        if at.origin != own.origin {
            return About::AnotherLog;
        }
        if at.size > own.size {
            return About::NotKnownYet;
        }
        let key = (at.size, at.root);
        let known = self.judged.get(&key).or_else(|| before.get(&key)).copied();
        let ours = match known {
            Some(ours) => Some(ours),
            None => self.compare(at),
        };
        let Some(ours) = ours else {
            return About::NotKnownYet;
        };
        self.judged.insert(key, ours);
        if ours {
            About::OurLog
        } else {
            About::AnotherLog
        }
    }

    /// Whether our log went through that state; none if that cannot be told now.
    fn compare(&mut self, at: &LogPosition) -> Option<bool> {
        let reader = self.log.borrow().clone()?;
        match went_through(&reader, at) {
            Ok(answer) => {
                self.unreadable = false;
                answer
            }
            Err(fault) => {
                if !std::mem::replace(&mut self.unreadable, true) {
                    tracing::error!(
                        error = chain(&fault),
                        "our log cannot be read; reports that would be compared with it have to wait"
                    );
                }
                None
            }
        }
    }
}

/// Whether the log went through that state. The proof from the tiles is checked against the signed checkpoint.
fn went_through(log: &LogReader, at: &LogPosition) -> Result<Option<bool>, LogError> {
    for _ in 0..TRIES {
        let Some(signed) = log.checkpoint() else {
            return Ok(None);
        };
        let held = signed.checkpoint;
        if at.size > held.size {
            return Ok(None);
        }
        let (size, proof) = log.prove_consistency(at.size)?;
        if size == held.size {
            let shown = verify_consistency(&proof, size, &held.root, at.size, &at.root);
            return Ok(Some(shown.is_ok()));
        }
    }
    Ok(None)
}

/// What both reports say: `held`, whose log is ours, and a later one.
fn common(held: &Readiness, later: &Readiness) -> Readiness {
    let (short, long) = if held.through <= later.through {
        (held, later)
    } else {
        (later, held)
    };
    let through = short.through;
    let mut missing = &held.missing | &later.missing;
    missing.remove_range(through..);
    let extra = short
        .extra
        .iter()
        .filter(|number| *number >= through && long.holds(Ordinal::new(*number)))
        .collect();
    Readiness {
        through,
        missing,
        extra,
        names_through: held.names_through.min(later.names_through),
        filter: later.filter,
        log: held.log.clone(),
    }
}

#[cfg(test)]
mod tests {
    use landfall_catalog::{Digest, empty_root};
    use proptest::prelude::*;
    use roaring::RoaringBitmap;

    use super::*;

    fn some_report() -> impl Strategy<Value = Readiness> {
        let held = prop::collection::btree_set(0u32..40, 0..40);
        (held, 0u32..40, 0u64..9).prop_map(|(held, objects, names_through)| {
            let held: RoaringBitmap = held.into_iter().collect();
            let log = LogPosition {
                origin: "log.example".to_owned(),
                size: 0,
                root: empty_root(),
            };
            Readiness::from_held(&held, objects, names_through, Digest::of(b""), log)
        })
    }

    proptest! {
        #[test]
        fn what_two_reports_have_in_common_is_what_both_say(one in some_report(), other in some_report()) {
            let both = common(&one, &other);
            for ordinal in (0..50).map(Ordinal::new) {
                prop_assert_eq!(both.holds(ordinal), one.holds(ordinal) && other.holds(ordinal));
            }
            prop_assert_eq!(both.held(), one.held() & other.held());
            prop_assert_eq!(both.names_through, one.names_through.min(other.names_through));
        }
    }
}
