//! What a person took back stays so against everything that nobody confirmed.
//! Pure.
//!
//! A revert and a gate that is given up hold the names that they concern; a
//! person's promotion ends that. What is held is neither asked for at staging nor
//! set, and holds up nothing else.

use std::collections::BTreeMap;

use landfall_catalog::{Digest, Name};

use super::compose::{Change as NameChange, Proposal};
use super::orders::{Mandate, Orders};
use crate::state::held::{All, Change, Held, How};
use crate::state::operations::Decision;

/// What a revision does to what is held, entry by entry.
#[derive(Clone, Debug, Default)]
pub(crate) struct Holding {
    /// None: nothing is taken back.
    by: Option<(How, String, String)>,
    /// By position in the operation.
    changes: BTreeMap<u32, (String, Change)>,
}

impl Holding {
    /// Of the names that an operation sets and removes; `who` and `why` are its own.
    pub(crate) fn of(orders: &Orders, who: &str, why: &str) -> Self {
        let set = orders.entries.iter();
        let set = set.map(|order| (&order.name, order.replaces, Some(order.digest)));
        let removed = orders.removals.iter();
        let removed = removed.map(|(name, digest)| (name, Some(*digest), None));
        let change = |lost, back| match orders.mandate {
            Mandate::Unattended => None,
            Mandate::Confirmed => Some(Change::Release),
            Mandate::Revert => Some(Change::TakeBack { lost, back }),
        };
        let changes = (0_u32..).zip(set.chain(removed));
        let changes = changes.filter_map(|(position, (name, lost, back))| {
            Some((position, (name.to_string(), change(lost, back)?)))
        });
        Self {
            by: Some((How::Reverted, who.to_owned(), why.to_owned())),
            changes: changes.collect(),
        }
    }

    /// Of names that are taken away from what stays under others.
    pub(crate) fn taken_away<'a>(
        names: impl Iterator<Item = (u32, &'a Name, Digest)>,
        who: String,
        why: String,
    ) -> Self {
        let changes = names.map(|(position, name, meaning)| {
            let (lost, back) = (Some(meaning), None);
            (
                position,
                (name.to_string(), Change::TakeBack { lost, back }),
            )
        });
        Self {
            by: Some((How::Reverted, who, why)),
            changes: changes.collect(),
        }
    }

    /// Of what waits at a gate that somebody, or its time, gave up.
    pub(crate) fn given_up<'a>(
        names: impl Iterator<Item = (u32, &'a Name, Option<Digest>)>,
        who: String,
        why: String,
    ) -> Self {
        let changes = names.map(|(position, name, meaning)| {
            (position, (name.to_string(), Change::GiveUp(meaning)))
        });
        Self {
            by: Some((How::GivenUp, who, why)),
            changes: changes.collect(),
        }
    }

    /// What is to be recorded when these are the decisions.
    pub(crate) fn taken(
        mut self,
        decisions: &[Decision],
        revision: u64,
    ) -> (Vec<(String, Change)>, Held) {
        let (how, who, why) = self
            .by
            .unwrap_or((How::Reverted, String::new(), String::new()));
        let counts = |decision: &&Decision| match how {
            How::Reverted => matches!(decision.outcome, "copied" | "present" | "removed"),
            How::GivenUp => decision.outcome == "failed",
        };
        let counting = decisions.iter().filter(counts);
        let changes = counting.filter_map(|decision| self.changes.remove(&decision.position));
        let changes = changes.collect();
        let held = Held {
            how,
            revision,
            who,
            why,
        };
        (changes, held)
    }
}

/// Why a name is not given a meaning by what nobody confirmed.
pub(crate) fn held_back(held: &Held) -> String {
    format!(
        "held back: {held}; the manifests still list it: revert the change in git, or promote it by hand"
    )
}

/// Why nobody unattended removes a name.
pub(crate) fn held_in_place(held: &Held) -> String {
    format!(
        "held back: that it is gone was {held}; the manifests do not list it: list it again in git, or remove it by hand (promote --prune)"
    )
}

/// What a person is told who is about to promote it all the same.
pub(crate) fn releases(held: &Held) -> String {
    format!("it was {held}; this ends that")
}

/// Leaves out what was taken back after the plan was made.
pub(crate) fn keep_back(proposals: &mut [Proposal], all: &All) {
    for proposal in proposals {
        let (meaning, announced) = match &proposal.change {
            NameChange::Set { objects, .. } | NameChange::Announce { objects, .. } => {
                (objects.last().map(|root| root.digest), None)
            }
            NameChange::Open { objects, .. } => {
                let meaning = objects.last().map(|root| root.digest);
                (meaning, meaning)
            }
            NameChange::Remove { .. } | NameChange::RemoveLater => (None, None),
            NameChange::Drop { .. } => continue,
        };
        let Some(held) = all.get(&(proposal.name.to_string(), meaning)) else {
            continue;
        };
        proposal.change = NameChange::Drop {
            announced,
            outcome: "refused",
            reason: match meaning {
                Some(_) => held_back(held),
                None => held_in_place(held),
            },
        };
    }
}
