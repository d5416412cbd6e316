//! Keeping what an audit has found and how far it is, in one transaction: so that
//! what is carried on neither loses nor repeats anything.

use std::sync::Arc;
use std::time::{Duration, Instant};

use landfall_proto::status::chain;
use landfall_runtime::clock::Clock;
use roaring::RoaringBitmap;
use tokio::sync::{mpsc, watch};

use super::Progress;
use super::cursor::{Cursor, Key, Stage};
use crate::state::audits::{self as rows, Finding, Place, Tally};
use crate::state::{State, StateError};

/// What was looked at is kept at least this often. Findings are kept at once.
const EVERY: Duration = Duration::from_secs(2);
/// Things that are kept in one transaction.
const TOGETHER: usize = 256;

/// Something was looked at.
#[derive(Debug, Default)]
pub(super) struct Looked {
    /// Objects that were compared, and bytes that were hashed.
    pub(super) objects: u64,
    pub(super) bytes: u64,
    /// The object, if its bytes need not be hashed again elsewhere.
    pub(super) hashed: Option<u32>,
    pub(super) findings: Vec<Finding>,
}

/// What is to be kept.
#[derive(Debug)]
pub(super) enum Step {
    Looked(Stage, Key, Looked),
    /// All of the stage up to there was looked at.
    Settled(Stage, Key),
}

/// Where an audit is, with all that it has found up to there.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    pub(super) tally: Tally,
    pub(super) cursor: Cursor,
    /// Objects that were hashed; of a registry.
    pub(super) hashed: RoaringBitmap,
    pub(super) elapsed: Duration,
}

/// Why a place cannot be read back.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlaceError {
    /// The cursor is none.
    #[error("its cursor cannot be read")]
    Cursor(#[from] serde_json::Error),
    /// The objects are no set.
    #[error("the set of its hashed objects cannot be read")]
    Hashed(#[from] std::io::Error),
}

impl Kept {
    /// As it was stored.
    pub(super) fn restore(tally: Tally, place: &Place) -> Result<Self, PlaceError> {
        Ok(Self {
            tally,
            cursor: match place.cursor.as_str() {
                "" => Cursor::default(),
                cursor => serde_json::from_str(cursor)?,
            },
            hashed: match place.hashed.as_slice() {
                [] => RoaringBitmap::new(),
                hashed => RoaringBitmap::deserialize_from(hashed)?,
            },
            elapsed: Duration::from_millis(place.elapsed_ms),
        })
    }

    fn place(&self) -> Result<Place, PlaceError> {
        let mut hashed = Vec::new();
        if !self.hashed.is_empty() {
            self.hashed.serialize_into(&mut hashed)?;
        }
        Ok(Place {
            elapsed_ms: u64::try_from(self.elapsed.as_millis()).unwrap_or(u64::MAX),
            cursor: serde_json::to_string(&self.cursor)?,
            hashed,
        })
    }

    /// Gives what is new.
    fn take(&mut self, step: Step) -> Vec<Finding> {
        let (stage, key, looked) = match step {
            Step::Settled(stage, key) => {
                self.cursor.settle(&stage, key);
                return Vec::new();
            }
            Step::Looked(stage, key, looked) => (stage, key, looked),
        };
        self.cursor.add(&stage, key);
        self.tally.objects += looked.objects;
        self.tally.bytes = self.tally.bytes.saturating_add(looked.bytes);
        self.hashed.extend(looked.hashed);
        for finding in &looked.findings {
            self.tally.count(&finding.outcome);
        }
        looked.findings
    }
}

/// Who keeps it.
pub(super) struct Keeper {
    pub(super) state: State,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) audit: i64,
    pub(super) feed: watch::Sender<Progress>,
    pub(super) kept: Kept,
    /// Since when `kept` runs on.
    pub(super) began: Instant,
}

impl Keeper {
    /// Until there is nothing more to keep; gives what was found.
    pub(super) async fn keep(mut self, mut steps: mpsc::Receiver<Step>) -> Tally {
        let before = self.kept.elapsed;
        let mut stored_at = self.began;
        let mut is_stored = true;
        let mut batch = Vec::new();
        let mut ended = false;
        while !ended {
            let next = tokio::time::timeout(EVERY, steps.recv_many(&mut batch, TOGETHER));
            ended = next.await == Ok(0);
            is_stored &= batch.is_empty();
            let mut findings = Vec::new();
            for step in batch.drain(..) {
                findings.extend(self.kept.take(step));
            }
            let now = self.clock.now();
            let is_due = ended || now.saturating_duration_since(stored_at) >= EVERY;
            if is_stored || (findings.is_empty() && !is_due) {
                continue;
            }
            self.kept.elapsed = before + now.saturating_duration_since(self.began);
            if let Err(why) = self.store(findings).await {
                self.kept.tally.error = why;
                break;
            }
            (is_stored, stored_at) = (true, now);
        }
        self.kept.tally
    }

    async fn store(&self, findings: Vec<Finding>) -> Result<(), String> {
        let place = self.kept.place().map_err(|error| chain(&error))?;
        let (audit, tally) = (self.audit, self.kept.tally.clone());
        let now = self.clock.unix_seconds();
        let count = tally.findings();
        let stored: Result<(), StateError> = self
            .state
            .write("keep what an audit found", move |tx| {
                rows::advance(tx, audit, now, &findings, &tally, &place)
            })
            .await;
        stored.map_err(|error| chain(&error))?;
        self.feed.send_modify(|progress| progress.findings = count);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use landfall_runtime::clock::ManualClock;

    use super::*;
    use crate::state::tests::scratch;

    #[tokio::test]
    async fn what_was_kept_is_where_it_is_carried_on_whatever_came_later() {
        let (_folder, state, _thread) = scratch();
        let start = rows::Start {
            id: "a".into(),
            who: String::new(),
            repair: false,
            bytes_per_second: 0,
            started: 1,
        };
        let audit = state.write("test", move |tx| rows::start(tx, &start));
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(2));
        let feed = watch::Sender::new(Progress::default());
        let keeper = Keeper {
            state: state.clone(),
            began: clock.now(),
            clock,
            audit: audit.await.unwrap(),
            feed: feed.clone(),
            kept: Kept::default(),
        };
        let stage = Stage::Objects {
            repository: Some("app".into()),
            documents: false,
        };
        let looked = |ordinal: u32, outcomes: &[&str]| {
            let finding = |outcome: &&str| Finding {
                check: "missing".into(),
                digest: None,
                name: ordinal.to_string(),
                detail: String::new(),
                outcome: (*outcome).to_owned(),
            };
            let looked = Looked {
                objects: 1,
                bytes: 10,
                hashed: Some(ordinal),
                findings: outcomes.iter().map(finding).collect(),
            };
            Step::Looked(stage.clone(), Key::Ordinal(ordinal), looked)
        };
        let (steps, receiver) = mpsc::channel(8);
        for step in [
            looked(1, &[]),
            Step::Settled(stage.clone(), Key::Ordinal(1)),
            looked(5, &["found", "note"]),
            looked(3, &["repaired"]),
        ] {
            steps.send(step).await.unwrap();
        }
        drop(steps);
        let tally = keeper.keep(receiver).await;
        assert_eq!((tally.objects, tally.bytes, tally.findings()), (3, 30, 3));
        assert_eq!(feed.borrow().findings, 3);

        let carried_on = state.write("test", |tx| rows::carry_on(tx, 9)).await;
        let (audit, place) = carried_on.unwrap().unwrap();
        let kept = Kept::restore(audit.tally, &place).unwrap();
        assert_eq!(kept.tally, tally);
        assert_eq!(kept.hashed, RoaringBitmap::from([1, 3, 5]));
        let done = (0..7).filter(|it| kept.cursor.has(&stage, &Key::Ordinal(*it)));
        assert_eq!(done.collect::<Vec<_>>(), [0, 1, 3, 5]);
        let found = state.read("test", move |it| rows::findings(it, audit.sequence, 0, 9));
        let names: Vec<_> = found.await.unwrap().into_iter().map(|it| it.name).collect();
        assert_eq!(names, ["5", "5", "3"]);
    }
}
