//! Carrying out one operation, from its rows to its revision.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::StreamExt;
use landfall_catalog::{Digest, Name};
use landfall_runtime::telemetry;
use tokio::sync::{mpsc, watch};

use super::{Inner, OperationError, Progress};
use crate::promote::compose::{Change, Proposal, compose};
use crate::promote::execute::{Copying, Missed, Placed};
use crate::promote::hold::{Holding, keep_back};
use crate::promote::orders::{Mandate, Order, OrderState, Orders};
use crate::publish::{After, Author, Draft, OperationRow};
use crate::state::held;
use crate::state::operations::{self as rows, Decision, EntryRow};

/// Entries that are recorded in one transaction.
const RECORDED_TOGETHER: usize = 256;

/// An entry, what became of its content, and, where that is in place, of showing it.
type PlacedEntry<'a> = (
    &'a EntryRow,
    &'a Order,
    Result<(Placed, Result<(), Missed>), Missed>,
);

impl Inner {
    pub(super) async fn run(
        &self,
        operation: rows::Operation,
        orders: Orders,
        feed: &watch::Sender<Progress>,
    ) -> Result<(), OperationError> {
        let Some(gate) = self.gate_of(operation.sequence).await? else {
            let proposals = self.bring(&operation, &orders, feed, false).await?;
            let holding = Holding::of(&orders, &operation.start.who, &operation.start.why);
            let revision = self
                .commit(&operation, &orders, proposals, After::Ends, holding)
                .await?;
            self.executor.see_again(&orders).await;
            self.follower
                .follow(
                    operation.sequence,
                    &self.executor.shown(&self.catalog, &orders),
                )
                .await?;
            tracing::info!(revision, "operation finished");
            return Ok(());
        };
        if gate.announced.is_none() {
            let proposals = self.bring(&operation, &orders, feed, true).await?;
            let after = After::Waits {
                timeout: gate.terms.timeout,
            };
            let holding = Holding::of(&orders, &operation.start.who, &operation.start.why);
            let revision = self
                .commit(&operation, &orders, proposals, after, holding)
                .await?;
            tracing::info!(revision, "content recorded; its names wait at the gate");
        }
        self.pass(&operation, &orders, feed).await
    }

    /// Brings the content of every entry that is not decided to the origin; gives
    /// what there is to commit. With a gate, names only wait after that.
    async fn bring(
        &self,
        operation: &rows::Operation,
        orders: &Orders,
        feed: &watch::Sender<Progress>,
        gated: bool,
    ) -> Result<Vec<Proposal>, OperationError> {
        // Closed only with the program.
        let _slot = self.slots.acquire().await;
        let sequence = operation.sequence;
        let entries = self.entries_of(sequence).await?;
        let undecided: Vec<_> = entries
            .iter()
            .filter(|entry| entry.outcome.is_none())
            .collect();
        feed.send_modify(|progress| {
            progress.entries_total = entries.len() as u64;
            progress.entries_done = (entries.len() - undecided.len()) as u64;
            progress.bytes_total = bytes_of(orders, &undecided);
        });
        self.decide_hopeless(sequence, orders, &undecided, feed)
            .await?;
        let placed = self
            .place_all(sequence, orders, &undecided, feed, gated)
            .await?;
        let removals = undecided.iter().filter_map(|entry| {
            let (name, digest) = removal(orders, entry)?;
            Some(Proposal {
                position: entry.position,
                name: name.clone(),
                expected: Some(*digest),
                change: match gated {
                    true => Change::RemoveLater,
                    false => remove(),
                },
            })
        });
        Ok(placed.into_iter().chain(removals).collect())
    }

    /// Makes `proposals` a revision; gives its number, or 0 if nothing changed.
    pub(super) async fn commit(
        &self,
        operation: &rows::Operation,
        orders: &Orders,
        mut proposals: Vec<Proposal>,
        after: After,
        holding: Holding,
    ) -> Result<u64, OperationError> {
        if orders.mandate == Mandate::Unattended {
            let all = self.state.read("read what is held", held::all).await?;
            keep_back(&mut proposals, &all);
        }
        let start = operation.start.clone();
        let committed = self
            .ledger
            .commit(Draft {
                compose: Box::new(move |catalog| compose(catalog, &proposals)),
                operation: OperationRow::Started(operation.sequence),
                unchanged: orders.unchanged,
                author: author(start),
                after,
                holding,
            })
            .await?;
        Ok(committed)
    }

    pub(super) async fn entries_of(&self, operation: i64) -> Result<Vec<EntryRow>, OperationError> {
        Ok(self
            .state
            .read("read an operation's entries", move |connection| {
                rows::entries(connection, operation)
            })
            .await?)
    }

    /// Entries that the plan itself says cannot arrive.
    async fn decide_hopeless(
        &self,
        operation: i64,
        orders: &Orders,
        undecided: &[&EntryRow],
        feed: &watch::Sender<Progress>,
    ) -> Result<(), OperationError> {
        let decisions: Vec<_> = undecided
            .iter()
            .filter_map(|entry| {
                let order = orders.entries.get(entry.position as usize)?;
                let (outcome, detail) = match &order.state {
                    OrderState::Execute => return None,
                    OrderState::Lost(why) => ("lost", why),
                    OrderState::Refused(why) => ("refused", why),
                    OrderState::Failed(why) => ("failed", why),
                };
                Some(Decision {
                    position: entry.position,
                    outcome,
                    detail: detail.clone(),
                })
            })
            .collect();
        self.decide(operation, decisions, feed).await
    }

    /// Brings the content of all entries to the origin, some at a time. What
    /// fails is decided at once; what is in place becomes a proposal.
    async fn place_all(
        &self,
        operation: i64,
        orders: &Orders,
        undecided: &[&EntryRow],
        feed: &watch::Sender<Progress>,
        gated: bool,
    ) -> Result<Vec<Proposal>, OperationError> {
        // An object that several entries need is counted for the first of them.
        let done = Mutex::new((0, HashMap::new()));
        let count = |object: &Digest, there: u64| {
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            let (sum, known) = &mut *done;
            let known: &mut u64 = known.entry(*object).or_default();
            *sum += there.saturating_sub(*known);
            *known = there.max(*known);
            feed.send_modify(|progress| progress.bytes_done = *sum);
        };
        let copying = Copying::default();
        let to_place: Vec<_> = undecided
            .iter()
            .filter_map(|entry| {
                let order = orders.entries.get(entry.position as usize)?;
                (order.state == OrderState::Execute)
                    .then(|| self.place(entry, order, &copying, &count, gated))
            })
            .collect();
        // Recorded beside the copying, together with what ended meanwhile: a
        // write of its own for each entry would take longer than its copy.
        let (sender, mut ended) = mpsc::channel(RECORDED_TOGETHER);
        let placing = async move {
            let mut placing =
                futures::stream::iter(to_place).buffer_unordered(self.concurrent_copies);
            while let Some(placed) = placing.next().await {
                if sender.send(placed).await.is_err() {
                    // The recorder failed, and says why.
                    return;
                }
            }
        };
        let recording = async move {
            let mut proposals = Vec::new();
            let mut batch = Vec::new();
            while ended.recv_many(&mut batch, RECORDED_TOGETHER).await > 0 {
                let ended = batch.drain(..);
                proposals.extend(self.record(operation, ended, feed, gated).await?);
            }
            Ok::<_, OperationError>(proposals)
        };
        let ((), proposals) = tokio::join!(placing, recording);
        let mut proposals = proposals?;
        // The order in which copies happened to end is not the log's.
        proposals.sort_by_key(|proposal| proposal.position);
        Ok(proposals)
    }

    /// Stages what is in place, decides what failed; gives the proposals.
    async fn record(
        &self,
        operation: i64,
        ended: impl Iterator<Item = PlacedEntry<'_>>,
        feed: &watch::Sender<Progress>,
        gated: bool,
    ) -> Result<Vec<Proposal>, OperationError> {
        let (mut proposals, mut staged, mut decisions) = (Vec::new(), Vec::new(), Vec::new());
        for (entry, order, result) in ended {
            let result = result.and_then(|(placed, shown)| {
                // An earlier run of this operation may have copied it.
                let copied = placed.copied || entry.staged.as_deref() == Some("copied");
                // Also where it could not be shown: it may be seen all the same.
                staged.push((entry.position, copied));
                shown.map(|()| (placed.objects, copied))
            });
            match result {
                Ok((objects, copied)) => {
                    proposals.push(Proposal {
                        position: entry.position,
                        name: order.name.clone(),
                        expected: order.replaces,
                        change: match gated {
                            true => Change::Announce { objects, copied },
                            false => Change::Set { objects, copied },
                        },
                    });
                }
                Err(missed) => {
                    tracing::warn!(name = entry.name, outcome = missed.outcome(), why = %missed, "an entry cannot be promoted");
                    decisions.push(Decision {
                        position: entry.position,
                        outcome: missed.outcome(),
                        detail: missed.to_string(),
                    });
                }
            }
        }
        let count = (proposals.len() + decisions.len()) as u64;
        self.state
            .write("record entries", move |tx| {
                rows::stage(tx, operation, &staged)?;
                if decisions.is_empty() {
                    return Ok(());
                }
                rows::decide(tx, operation, &decisions)
            })
            .await?;
        feed.send_modify(|progress| progress.entries_done += count);
        Ok(proposals)
    }

    async fn place<'a>(
        &self,
        entry: &'a EntryRow,
        order: &'a Order,
        copying: &Copying,
        count: &(impl Fn(&Digest, u64) + Send + Sync),
        gated: bool,
    ) -> PlacedEntry<'a> {
        // What was withdrawn since the plan was made is not even copied.
        let withdrawn = self.catalog.read(|catalog| {
            order.closure.iter().find_map(|object| {
                let reason = catalog.withdrawn(&object.digest)?;
                Some(format!("{} is withdrawn: {reason}", object.digest))
            })
        });
        let placed = match withdrawn {
            Some(why) => Err(Missed::Refused(why)),
            None => {
                let placed = self.executor.place(order, copying, count).await;
                self.remember_refusal(order, &placed);
                match placed {
                    // A store that is served by others shows no name before its time.
                    Ok(placed) if !gated => Ok((placed, self.executor.publish(order).await)),
                    placed => placed.map(|placed| (placed, Ok(()))),
                }
            }
        };
        (entry, order, placed)
    }

    /// What staging has wrong need not be read again at once.
    fn remember_refusal(&self, order: &Order, placed: &Result<Placed, Missed>) {
        match placed {
            Ok(_) => self.resting.arrived(&order.name, order.digest),
            Err(Missed::Refused(why)) => {
                let now = self.clock.unix_seconds();
                self.resting.refused(&order.name, order.digest, why, now);
            }
            Err(Missed::Lost(_) | Missed::Failed(_)) => {}
        }
    }

    async fn decide(
        &self,
        operation: i64,
        decisions: Vec<Decision>,
        feed: &watch::Sender<Progress>,
    ) -> Result<(), OperationError> {
        if decisions.is_empty() {
            return Ok(());
        }
        let count = decisions.len() as u64;
        self.state
            .write("decide entries", move |tx| {
                rows::decide(tx, operation, &decisions)
            })
            .await?;
        feed.send_modify(|progress| progress.entries_done += count);
        Ok(())
    }

    pub(super) async fn give_up(
        &self,
        operation: i64,
        error: String,
    ) -> Result<(), OperationError> {
        let now = self.clock.unix_seconds();
        Ok(self
            .state
            .write("give up an operation", move |tx| {
                rows::finish(tx, operation, now, 0, 0, &error)
            })
            .await?)
    }

    pub(super) async fn ended(&self, id: &str) -> Result<(), OperationError> {
        let wanted = id.to_owned();
        let ended = self
            .state
            .read("find an operation", move |connection| {
                rows::find(connection, &wanted)
            })
            .await?;
        if let Some(operation) = ended {
            self.metrics.operation_ended(&operation.result);
        }
        Ok(())
    }

    pub(super) fn feeds(&self) -> MutexGuard<'_, BTreeMap<String, watch::Sender<Progress>>> {
        self.feeds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an entry is to remove, and what that means now.
pub(super) fn removal<'a>(orders: &'a Orders, entry: &EntryRow) -> Option<&'a (Name, Digest)> {
    let index = (entry.position as usize).checked_sub(orders.entries.len())?;
    orders.removals.get(index)
}

pub(super) fn remove() -> Change {
    Change::Remove {
        reason: "not in the manifests any more".into(),
    }
}

pub(super) fn author(start: rows::Start) -> Author {
    Author {
        who: start.who,
        why: start.why,
        source: start.source,
        plan: start.plan,
        operation: start.id,
        trace_parent: telemetry::trace_parent().unwrap_or(start.trace_parent),
    }
}

fn bytes_of(orders: &Orders, undecided: &[&EntryRow]) -> u64 {
    let mut counted = BTreeSet::new();
    undecided
        .iter()
        .filter_map(|entry| orders.entries.get(entry.position as usize))
        .filter(|order| order.state == OrderState::Execute)
        .flat_map(|order| &order.closure)
        .filter(|object| counted.insert(object.digest))
        .fold(0, |sum, object| sum.saturating_add(object.size))
}
