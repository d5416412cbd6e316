//! The decision: which mirror serves this client this object.

use std::ops::{ControlFlow, Deref};

use landfall_catalog::{Digest, NameRecord, Ordinal, Repository};
use serde::Serialize;

use crate::eligible;
use crate::fleet::{FleetView, MirrorView, ORIGIN};
use crate::place::Place;
use crate::rank::{Rank, Standpoint, Tier, seed};
use crate::reason::{Ineligible, Reason};

/// Most alternates that a decision names.
const MAX_ALTERNATES: usize = 3;

/// What is asked, and by whom. The object is live and not withdrawn: that was looked up before.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The object.
    pub ordinal: Ordinal,
    /// The name it is asked for by, if that is a file's path: then the mirror must have the name in place. `None`
    /// for a blob, which goes by its digest.
    pub name: Option<NameRecord>,
    /// The object's digest; the rendezvous starts from it and the key.
    pub digest: &'a Digest,
    /// The repository it is asked for in, if the request says. Mirrors that are registries need it.
    pub repository: Option<&'a Repository>,
    /// Whether the client checks the digest of what it gets.
    pub verifies: bool,
    /// Whether the client came by https; it is never sent to http then.
    pub secure: bool,
    /// Names of mirrors to leave out.
    pub avoid: &'a [String],
    /// Where the client is.
    pub place: &'a Place,
    /// The client's network, hashed: see [`client_key`](crate::client_key).
    pub key: u64,
}

/// Where to send a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// To the mirror at this position in the fleet view.
    Mirror(usize),
    /// To the origin.
    Origin,
    /// Nowhere; try again later.
    Nothing,
}

/// What was decided, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Where to.
    pub target: Target,
    /// How near that is; [`Tier::Origin`] if it is nowhere.
    pub tier: Tier,
    /// Why there.
    pub reason: Reason,
    /// The mirrors that come next, best first.
    pub alternates: Alternates,
}

/// Up to three positions of mirrors in the fleet view. Used as a slice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alternates {
    mirrors: [usize; MAX_ALTERNATES],
    count: usize,
}

impl Deref for Alternates {
    type Target = [usize];

    fn deref(&self) -> &[usize] {
        &self.mirrors[..self.count]
    }
}

/// What an explanation says about one mirror, or about the origin.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Candidate {
    /// The mirror's name, or `origin`.
    pub mirror: String,
    /// How near it is.
    pub tier: Tier,
    /// Whether the client may be sent there.
    pub eligible: bool,
    /// Why not; or, of an eligible one, what was overlooked because nothing better was left.
    pub reasons: Vec<Ineligible>,
}

/// Decides where a client is sent.
///
/// The best mirror that nothing speaks against; else the origin, unless it looks down; else the best of the mirrors that
/// merely look down, since more likely the probes are wrong; else nowhere.
#[must_use]
pub fn decide(ask: &Ask<'_>, fleet: &FleetView) -> Decision {
    if let Some(decision) = best_mirror(ask, fleet, false) {
        return decision;
    }
    let elsewhere = |target, reason| Decision {
        target,
        tier: Tier::Origin,
        reason,
        alternates: Alternates::default(),
    };
    let at_origin = origin_obstacles(ask, fleet);
    if at_origin.is_empty() {
        return elsewhere(Target::Origin, why_no_mirror(ask, fleet));
    }
    if let Some(decision) = best_mirror(ask, fleet, true) {
        return decision;
    }
    elsewhere(Target::Nothing, Reason::NothingUsable)
}

/// What [`decide`] makes of each mirror, in the order in which it would take them, and last of the origin.
#[must_use]
pub fn explain(ask: &Ask<'_>, fleet: &FleetView) -> Vec<Candidate> {
    let decision = decide(ask, fleet);
    let failed_open = decision.reason == Reason::HealthFailedOpen;
    let eligible = |reasons: &[Ineligible]| match reasons {
        [] => true,
        [Ineligible::Down] => failed_open,
        _ => false,
    };
    let seed = seed(ask.key, ask.digest);
    let standpoint = Standpoint::of(ask.place);
    let mut ranked: Vec<(Rank<'_>, &MirrorView)> = fleet
        .mirrors
        .iter()
        .map(|mirror| (Rank::of(standpoint.nearness(mirror), mirror, seed), mirror))
        .collect();
    ranked.sort_by(|(one, _), (other, _)| one.compare(other));
    let mirrors = ranked.into_iter().map(|(rank, mirror)| {
        let reasons = obstacles(ask, mirror);
        Candidate {
            mirror: mirror.name.clone(),
            tier: rank.nearness.tier,
            eligible: eligible(&reasons),
            reasons,
        }
    });
    // The health of mirrors may fail open; the origin's does not.
    let at_origin = origin_obstacles(ask, fleet);
    let origin = Candidate {
        mirror: ORIGIN.to_owned(),
        tier: Tier::Origin,
        eligible: at_origin.is_empty(),
        reasons: at_origin,
    };
    mirrors.chain([origin]).collect()
}

/// The best mirror and its alternates; `fail_open` overlooks that one is down.
///
/// One pass that keeps the best few. What is cheap to know is asked first: the rendezvous is hashed only for mirrors
/// that are near enough, and only what would get in then is asked whether it may and can serve.
fn best_mirror(ask: &Ask<'_>, fleet: &FleetView, fail_open: bool) -> Option<Decision> {
    let seed = seed(ask.key, ask.digest);
    let mut best = Best::default();
    let mut stop_at = |obstacle| {
        if fail_open && obstacle == Ineligible::Down {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    };
    let standpoint = Standpoint::of(ask.place);
    for (position, mirror) in fleet.mirrors.iter().enumerate() {
        let nearness = standpoint.nearness(mirror);
        let Some(rank) = Rank::of_one_before(best.worst(), nearness, mirror, seed) else {
            continue;
        };
        if eligible::standing(ask, mirror, &mut stop_at).is_continue()
            && eligible::unready(ask, mirror).is_none()
        {
            best.insert(rank, position);
        }
    }
    best.decision(if fail_open {
        Reason::HealthFailedOpen
    } else {
        Reason::NearestReady
    })
}

/// The best mirrors seen so far, in order.
#[derive(Default)]
struct Best<'a> {
    slots: [Option<(Rank<'a>, usize)>; 1 + MAX_ALTERNATES],
}

impl<'a> Best<'a> {
    /// The one that the next must beat; `None` while there is room.
    fn worst(&self) -> Option<&Rank<'a>> {
        match &self.slots {
            [.., Some((rank, _))] => Some(rank),
            [.., None] => None,
        }
    }

    fn insert(&mut self, rank: Rank<'a>, position: usize) {
        let mut new = (rank, position);
        for slot in &mut self.slots {
            match slot {
                Some(held) if held.0.compare(&new.0).is_lt() => {}
                Some(held) => std::mem::swap(held, &mut new),
                None => {
                    *slot = Some(new);
                    return;
                }
            }
        }
    }

    fn decision(&self, reason: Reason) -> Option<Decision> {
        let [Some((first, target)), others @ ..] = &self.slots else {
            return None;
        };
        let mut alternates = Alternates::default();
        for (slot, (_, position)) in alternates.mirrors.iter_mut().zip(others.iter().flatten()) {
            *slot = *position;
            alternates.count += 1;
        }
        Some(Decision {
            target: Target::Mirror(*target),
            tier: first.nearness.tier,
            reason,
            alternates,
        })
    }
}

/// What kept all mirrors from serving, said by the one that came nearest to it.
fn why_no_mirror(ask: &Ask<'_>, fleet: &FleetView) -> Reason {
    let blame = |mirror: &MirrorView| {
        if eligible::unready(ask, mirror).is_some() {
            return Reason::NoMirrorReady;
        }
        let mut reason = Reason::MirrorsDown;
        let _ = eligible::standing(ask, mirror, &mut |obstacle| {
            match (obstacle, reason) {
                (Ineligible::Down, _) => {}
                (Ineligible::NotTrusted, Reason::MirrorsDown) => reason = Reason::NoTrustedMirror,
                (Ineligible::NotTrusted, _) => {}
                _ => reason = Reason::MirrorsExcluded,
            }
            ControlFlow::Continue(())
        });
        reason
    };
    let order = |reason: &Reason| {
        [
            Reason::MirrorsDown,
            Reason::NoTrustedMirror,
            Reason::MirrorsExcluded,
            Reason::NoMirrorReady,
        ]
        .iter()
        .position(|other| other == reason)
    };
    fleet
        .mirrors
        .iter()
        .map(blame)
        .min_by_key(order)
        .unwrap_or(Reason::NoMirrorReady)
}

fn obstacles(ask: &Ask<'_>, mirror: &MirrorView) -> Vec<Ineligible> {
    let mut all = Vec::new();
    let _ = eligible::standing(ask, mirror, &mut |obstacle| {
        all.push(obstacle);
        ControlFlow::Continue(())
    });
    all.extend(eligible::unready(ask, mirror));
    all
}

fn origin_obstacles(ask: &Ask<'_>, fleet: &FleetView) -> Vec<Ineligible> {
    let mut all = Vec::new();
    let _ = eligible::origin(ask, fleet, &mut |obstacle| {
        all.push(obstacle);
        ControlFlow::Continue(())
    });
    all
}

#[cfg(test)]
mod tests;
