//! An operation whose names wait for mirrors: looking, deciding, passing.
//!
//! Waiting takes no slot of those that copy. What it waits for is a row, so it
//! goes on after a restart, until the deadline that it had.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use landfall_catalog::Name;
use landfall_route::MirrorState;
use tokio::sync::watch;

use super::run::{author, removal, remove};
use super::{Asked, Inner, OperationError, Operations, Progress, refusals};
use crate::promote::bounds::{Bounds, Scope};
use crate::promote::compose::{Change, Proposal, compose};
use crate::promote::gate::{GateStanding, Verdict, judge, witnesses};
use crate::promote::hold::Holding;
use crate::promote::orders::Orders;
use crate::publish::{After, Draft, OperationRow};
use crate::state::gates::{self, Announced, Decided, End, GateRow, Way};
use crate::state::operations::{self as rows, EntryRow};
use crate::state::{StateError, projects};

/// How often a gate is looked at when nobody reports anything.
const EVERY: Duration = Duration::from_secs(1);
/// The shortest time between two looks.
const PACE: Duration = Duration::from_millis(250);
/// Names that are put in place at a time, in a store that others serve.
const CONCURRENT_NAMES: usize = 16;

/// What somebody decides on a gate.
#[derive(Clone, Debug)]
pub(crate) struct GateChoice {
    pub(crate) operation: String,
    pub(crate) way: Way,
    pub(crate) by: String,
    pub(crate) reason: String,
    /// The projects that they may promote.
    pub(crate) scope: Scope,
}

/// An operation that waits at its gate.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub(crate) operation: rows::Operation,
    pub(crate) gate: GateRow,
    /// None in the first moments after a start.
    pub(crate) standing: Option<GateStanding>,
}

/// How the waiting ended.
enum Passage {
    Open,
    GiveUp(GivenUp),
}

/// Why names are dropped.
struct GivenUp {
    /// Whole, for the entries' outcomes.
    detail: String,
    /// Who decided so; empty: the time was over.
    who: String,
    why: String,
}

/// How a choice was taken.
enum Taken {
    Yes,
    Unknown,
    NotWaiting,
    Decided,
    NotYours(String),
}

impl Operations {
    /// The operations that wait at gates, oldest first.
    pub(crate) async fn waiting(&self) -> Result<Vec<Waiting>, OperationError> {
        let found = self
            .inner
            .state
            .read("list gates", |connection| {
                let operations = rows::unfinished(connection)?;
                let gates = gates::waiting(connection)?.into_iter();
                Ok(gates
                    .filter_map(|gate| {
                        let of_it = |it: &&rows::Operation| it.sequence == gate.operation;
                        Some((operations.iter().find(of_it)?.clone(), gate))
                    })
                    .collect::<Vec<_>>())
            })
            .await?;
        let feeds = self.inner.feeds();
        let waiting = found.into_iter().map(|(operation, gate)| {
            let feed = feeds.get(&operation.start.id);
            let standing = feed.and_then(|feed| feed.borrow().gate.clone());
            Waiting {
                operation,
                gate,
                standing,
            }
        });
        Ok(waiting.collect())
    }

    /// Takes a decision on a gate: of the first who may for all names that wait.
    pub(crate) async fn decide_gate(&self, choice: GateChoice) -> Result<(), OperationError> {
        let id = choice.operation.clone();
        let rules = std::sync::Arc::clone(&self.inner.rules);
        let (operation, by) = (choice.operation.clone(), choice.by.clone());
        let way = choice.way;
        let taken = self
            .inner
            .state
            .write("decide a gate", move |tx| {
                let Some(operation) = rows::find(tx, &choice.operation)? else {
                    return Ok(Taken::Unknown);
                };
                let gate = gates::of(tx, operation.sequence)?;
                let waits = gate.is_some_and(|gate| gate.announced.is_some() && gate.end.is_none());
                if !waits || operation.finished.is_some() {
                    return Ok(Taken::NotWaiting);
                }
                let bounds = Bounds::new(&projects::all(tx)?, &rules);
                let entries = rows::entries(tx, operation.sequence)?;
                let waiting = entries.iter().filter(|entry| entry.outcome.is_none());
                let foreign = waiting
                    .filter_map(|entry| entry.name.parse::<Name>().ok())
                    .find_map(|name| bounds.touching(&name, &choice.scope).err());
                if let Some(why) = foreign {
                    return Ok(Taken::NotYours(why));
                }
                let decided = Decided {
                    way: choice.way,
                    by: choice.by,
                    reason: choice.reason,
                };
                Ok(match gates::decide(tx, operation.sequence, &decided)? {
                    true => Taken::Yes,
                    false => Taken::Decided,
                })
            })
            .await?;
        match taken {
            Taken::Yes => {
                tracing::info!(operation, by, ?way, "somebody decided on a gate");
                self.inner.decided.notify_waiters();
                Ok(())
            }
            Taken::Unknown => Err(OperationError::UnknownOperation(id)),
            Taken::NotWaiting => Err(OperationError::NotWaiting(id)),
            Taken::Decided => Err(OperationError::Decided(id)),
            Taken::NotYours(why) => Err(OperationError::NotYours(why)),
        }
    }
}

impl Inner {
    pub(super) fn has_active_mirrors(&self) -> bool {
        let mirrors = self.fleet.status(0).mirrors;
        let mut states = mirrors.iter().map(|mirror| mirror.view.state);
        states.any(|state| state == MirrorState::Active)
    }

    pub(super) async fn gate_of(&self, operation: i64) -> Result<Option<GateRow>, OperationError> {
        Ok(self
            .state
            .read("read a gate", move |connection| {
                gates::of(connection, operation)
            })
            .await?)
    }

    /// Waits until the gate is decided, and sets or drops what waits.
    pub(super) async fn pass(
        &self,
        operation: &rows::Operation,
        orders: &Orders,
        feed: &watch::Sender<Progress>,
    ) -> Result<(), OperationError> {
        let entries = self.entries_of(operation.sequence).await?;
        let waiting: Vec<_> = entries
            .iter()
            .filter(|entry| entry.outcome.is_none())
            .collect();
        let decided = (entries.len() - waiting.len()) as u64;
        feed.send_modify(|progress| {
            progress.entries_total = entries.len() as u64;
            progress.entries_done = decided;
        });
        let names: Vec<&Name> = waiting
            .iter()
            .filter_map(|entry| orders.entries.get(entry.position as usize))
            .map(|order| &order.name)
            .collect();
        let passage = self.wait(operation.sequence, &names, feed).await?;
        let (proposals, end, holding) = match passage {
            Passage::Open => {
                let start = &operation.start;
                let holding = Holding::of(orders, &start.who, &start.why);
                (self.open(orders, &waiting).await?, End::Opened, holding)
            }
            Passage::GiveUp(GivenUp { detail, who, why }) => {
                tracing::warn!(why = detail, "the gate is given up");
                let dropped = waiting
                    .iter()
                    .filter_map(|entry| dropped(orders, entry, "failed", &detail));
                let dropped: Vec<_> = dropped.collect();
                let names = dropped.iter().filter_map(|it| {
                    let Change::Drop { announced, .. } = &it.change else {
                        return None;
                    };
                    Some((it.position, &it.name, *announced))
                });
                let holding = Holding::given_up(names, who, why);
                (dropped, End::GivenUp, holding)
            }
        };
        let after = After::GateEnds {
            end,
            error: String::new(),
        };
        let revision = self
            .commit(operation, orders, proposals, after, holding)
            .await?;
        feed.send_modify(|progress| progress.gate = None);
        self.executor.see_again(orders).await;
        self.follower
            .follow(
                operation.sequence,
                &self.executor.shown(&self.catalog, orders),
            )
            .await?;
        tracing::info!(revision, gate = end.as_str(), "operation finished");
        Ok(())
    }

    async fn wait(
        &self,
        operation: i64,
        names: &[&Name],
        feed: &watch::Sender<Progress>,
    ) -> Result<Passage, OperationError> {
        let mut fleet = self.fleet.watch();
        let mut was_held = false;
        loop {
            fleet.borrow_and_update();
            let decided = self.decided.notified();
            let gate = self.gate_of(operation).await?;
            let Some((announced, gate)) = gate.and_then(|gate| Some((gate.announced?, gate)))
            else {
                // Its row goes with the operation's: never in between.
                return Err(StateError::Closed.into());
            };
            match gate.decided {
                Some(Decided { way: Way::Open, .. }) => return Ok(Passage::Open),
                Some(Decided {
                    way: Way::GiveUp,
                    by,
                    reason,
                }) => {
                    let because = match reason.as_str() {
                        "" => String::new(),
                        reason => format!(": {reason}"),
                    };
                    return Ok(Passage::GiveUp(GivenUp {
                        detail: format!("given up by {by}{because}"),
                        who: by,
                        why: reason,
                    }));
                }
                None => {}
            }
            let standing = self.look(&gate, announced, names);
            let verdict = standing.verdict;
            if verdict == Verdict::Held && !was_held {
                tracing::error!(
                    operation_row = operation,
                    lacking = standing.lacking(),
                    "the time of a gate is over; its names go on waiting until somebody decides"
                );
                was_held = true;
            }
            let lacking = (verdict == Verdict::GiveUp).then(|| standing.lacking());
            feed.send_if_modified(|progress| {
                let is_news = progress.gate.as_ref() != Some(&standing);
                progress.gate = Some(standing);
                is_news
            });
            if verdict == Verdict::Open {
                return Ok(Passage::Open);
            }
            if let Some(lacking) = lacking {
                let seconds = gate.terms.timeout;
                return Ok(Passage::GiveUp(GivenUp {
                    detail: format!("given up after {seconds} s: {lacking}"),
                    who: String::new(),
                    why: format!("its {seconds} s were over: {lacking}"),
                }));
            }
            tokio::select! {
                changed = fleet.changed() => {
                    // Without a fleet the program is ending.
                    let pause = if changed.is_ok() { PACE } else { EVERY };
                    tokio::time::sleep(pause).await;
                }
                () = decided => {}
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }

    fn look(&self, gate: &GateRow, announced: Announced, names: &[&Name]) -> GateStanding {
        // What was withdrawn meanwhile, or a part of it, holds nothing up: it is not
        // set.
        let content: roaring::RoaringBitmap = self.catalog.read(|catalog| {
            let waiting = names.iter().filter_map(|name| catalog.pending_name(name));
            let waiting = waiting.map(|waiting| waiting.ordinal.get());
            let waiting: roaring::RoaringBitmap = waiting.collect();
            (waiting & catalog.live()) - catalog.incomplete()
        });
        let published = self.catalog.published();
        // Not published yet: nobody can have reported on it.
        let recorded = published.size_at(announced.revision).unwrap_or(u64::MAX);
        let fleet = self.fleet.status(0);
        judge(
            gate.terms,
            (announced.revision, announced.deadline),
            content.len(),
            self.clock.unix_seconds(),
            witnesses(&fleet.mirrors, &content, recorded),
        )
    }

    /// What becomes of everything that waits when its gate opens.
    async fn open(
        &self,
        orders: &Orders,
        waiting: &[&EntryRow],
    ) -> Result<Vec<Proposal>, OperationError> {
        let halves = self.state.read("read projects", projects::all).await?;
        let bounds = Bounds::new(&halves, &self.rules);
        // Whose names these are may have changed while they waited.
        let foreign = refusals(&Asked::of(orders), &BTreeMap::new(), &bounds, &Scope::All);
        let foreign: BTreeMap<u32, String> = foreign
            .into_iter()
            .map(|decision| (decision.position, decision.detail))
            .collect();
        let opening: Vec<_> = waiting
            .iter()
            .map(|entry| {
                let foreign = foreign.get(&entry.position);
                async move {
                    match foreign {
                        Some(why) => dropped(orders, entry, "refused", why),
                        None => self.open_one(orders, entry).await,
                    }
                }
            })
            .collect();
        let opened: Vec<_> = futures::stream::iter(opening)
            .buffered(CONCURRENT_NAMES)
            .collect()
            .await;
        Ok(opened.into_iter().flatten().collect())
    }

    async fn open_one(&self, orders: &Orders, entry: &EntryRow) -> Option<Proposal> {
        if let Some((name, digest)) = removal(orders, entry) {
            return Some(Proposal {
                position: entry.position,
                name: name.clone(),
                expected: Some(*digest),
                change: remove(),
            });
        }
        let order = orders.entries.get(entry.position as usize)?;
        if let Err(missed) = self.executor.publish(order).await {
            return dropped(orders, entry, missed.outcome(), &missed.to_string());
        }
        Some(Proposal {
            position: entry.position,
            name: order.name.clone(),
            expected: order.replaces,
            change: Change::Open {
                objects: order.closure.clone(),
                copied: entry.staged.as_deref() == Some("copied"),
            },
        })
    }

    /// Ends an operation that cannot be carried on. What it announced is dropped;
    /// while that cannot be, the operation does not end: nobody else could use the
    /// names.
    pub(super) async fn abandon(
        &self,
        operation: &rows::Operation,
        error: String,
    ) -> Result<(), OperationError> {
        let sequence = operation.sequence;
        let gate = self.gate_of(sequence).await?;
        if gate.is_none_or(|gate| gate.announced.is_none()) {
            return self.give_up(sequence, error).await;
        }
        let waiting = self.entries_of(sequence).await?;
        let waiting = waiting.iter().filter(|entry| entry.outcome.is_none());
        let proposals: Vec<_> = waiting
            .filter_map(|entry| {
                Some(Proposal {
                    position: entry.position,
                    name: entry.name.parse().ok()?,
                    expected: None,
                    change: Change::Drop {
                        announced: Some(entry.digest),
                        outcome: "failed",
                        reason: error.clone(),
                    },
                })
            })
            .collect();
        self.ledger
            .commit(Draft {
                compose: Box::new(move |catalog| compose(catalog, &proposals)),
                operation: OperationRow::Started(sequence),
                unchanged: 0,
                author: author(operation.start.clone()),
                after: After::GateEnds {
                    end: End::GivenUp,
                    error,
                },
                // A failure is nobody's decision.
                holding: Holding::default(),
            })
            .await?;
        Ok(())
    }
}

/// What waits is given up.
fn dropped(
    orders: &Orders,
    entry: &EntryRow,
    outcome: &'static str,
    reason: &str,
) -> Option<Proposal> {
    let removal = removal(orders, entry);
    let name = match removal {
        Some((name, _)) => name,
        None => &orders.entries.get(entry.position as usize)?.name,
    };
    Some(Proposal {
        position: entry.position,
        name: name.clone(),
        expected: None,
        change: Change::Drop {
            announced: removal.is_none().then_some(entry.digest),
            outcome,
            reason: reason.to_owned(),
        },
    })
}
