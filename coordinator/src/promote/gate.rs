//! When names that wait for mirrors may be set. Pure.
//!
//! A mirror is ready when it has reported past the revision that brought the
//! content, and either holds all of it, or has all that it wants: what a filter
//! leaves out can be told from what is still missing by the mirror alone, which
//! counts both. So a mirror with a filter that lacks something else counts late,
//! and never too early. Who is not connected, or does not answer probes, is not
//! ready, whatever it last said.

use std::collections::BTreeMap;

use landfall_route::{Health, MirrorState, MirrorView};
use roaring::RoaringBitmap;

use crate::fleet::MirrorStatus;

/// Mirrors of a region that are named as lacking, at most.
const NAMED: usize = 5;

/// When a gate opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    /// Percent of the active mirrors of each region, rounded up; 1 to 100.
    pub(crate) percent: u8,
    /// Mirrors of each region; all, if it has fewer.
    pub(crate) minimum: u32,
    /// Seconds that names wait.
    pub(crate) timeout: u64,
    pub(crate) on_timeout: OnTimeout,
}

/// What is done when the time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnTimeout {
    /// People are told, and names go on waiting.
    Hold,
    /// Names are dropped.
    GiveUp,
}

impl OnTimeout {
    /// The word for it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::GiveUp => "give-up",
        }
    }
}

/// An active mirror at a gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Witness {
    pub(crate) mirror: String,
    pub(crate) region: String,
    pub(crate) ready: bool,
}

/// What a region lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) name: String,
    pub(crate) ready: u32,
    pub(crate) active: u32,
    pub(crate) needed: u32,
    /// Some of the mirrors that are not ready.
    pub(crate) lacking: Vec<String>,
}

/// How a gate stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GateStanding {
    /// The revision that brought the content.
    pub(crate) revision: u64,
    /// Names that wait and can still be set.
    pub(crate) names: u64,
    /// POSIX seconds.
    pub(crate) deadline: u64,
    /// By name.
    pub(crate) regions: Vec<Region>,
    pub(crate) verdict: Verdict,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Open,
    Wait,
    /// The time is over; names go on waiting.
    Held,
    GiveUp,
}

impl Region {
    const fn is_ready(&self) -> bool {
        self.ready >= self.needed
    }
}

impl std::fmt::Display for Region {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            name,
            ready,
            active,
            needed,
            ..
        } = self;
        write!(
            f,
            "{name} has {ready} of {active} mirrors ready and needs {needed}"
        )
    }
}

impl GateStanding {
    /// The regions that the names wait for, in words.
    pub(crate) fn lacking(&self) -> String {
        let lacking = self.regions.iter().filter(|region| !region.is_ready());
        let lacking: Vec<_> = lacking.take(NAMED).map(Region::to_string).collect();
        match lacking.is_empty() {
            true => "there is no active mirror".into(),
            false => lacking.join("; "),
        }
    }
}

/// What the mirrors, the time and the terms come to. `names` is how many wait
/// and can still be set: for none there is nothing to wait for.
pub(crate) fn judge(
    terms: Terms,
    (revision, deadline): (u64, u64),
    names: u64,
    now: u64,
    witnesses: Vec<Witness>,
) -> GateStanding {
    let mut regions: BTreeMap<String, Region> = BTreeMap::new();
    for witness in witnesses {
        let region = regions
            .entry(witness.region)
            .or_insert_with_key(|name| Region {
                name: name.clone(),
                ready: 0,
                active: 0,
                needed: 0,
                lacking: Vec::new(),
            });
        region.active += 1;
        if witness.ready {
            region.ready += 1;
        } else if region.lacking.len() < NAMED {
            region.lacking.push(witness.mirror);
        }
    }
    let mut regions: Vec<_> = regions.into_values().collect();
    for region in &mut regions {
        region.needed = needed(terms, region.active);
    }
    // Without any mirror nothing says that users can have it.
    let is_enough = !regions.is_empty() && regions.iter().all(Region::is_ready);
    let verdict = match terms.on_timeout {
        _ if names == 0 || is_enough => Verdict::Open,
        _ if now < deadline => Verdict::Wait,
        OnTimeout::Hold => Verdict::Held,
        OnTimeout::GiveUp => Verdict::GiveUp,
    };
    GateStanding {
        revision,
        names,
        deadline,
        regions,
        verdict,
    }
}

fn needed(terms: Terms, active: u32) -> u32 {
    let percent = u64::from(active) * u64::from(terms.percent);
    let share = u32::try_from(percent.div_ceil(100)).unwrap_or(active);
    share.max(terms.minimum).max(1).min(active)
}

/// The active mirrors of a fleet. `content` is what the names that wait will mean;
/// the log had `recorded` entries when it was in.
pub(crate) fn witnesses(
    mirrors: &[MirrorStatus],
    content: &RoaringBitmap,
    recorded: u64,
) -> Vec<Witness> {
    let active = mirrors
        .iter()
        .filter(|mirror| mirror.view.state == MirrorState::Active);
    active
        .map(|mirror| Witness {
            mirror: mirror.view.name.clone(),
            region: region_of(&mirror.view),
            ready: is_ready(mirror, content, recorded),
        })
        .collect()
}

/// Where a mirror counts: by what it declared.
fn region_of(mirror: &MirrorView) -> String {
    let place = &mirror.place;
    match (&place.cloud, &place.region, &place.country) {
        (Some(cloud), Some(region), _) => format!("{cloud}/{region}"),
        (_, _, Some(country)) => country.to_string(),
        (_, _, None) => mirror.name.clone(),
    }
}

fn is_ready(mirror: &MirrorStatus, content: &RoaringBitmap, recorded: u64) -> bool {
    if !mirror.connected || mirror.healthy == Health::Down {
        return false;
    }
    let has_reported =
        |report: &&std::sync::Arc<crate::fleet::Report>| report.readiness.log.size >= recorded;
    let Some(report) = mirror.report.as_ref().filter(has_reported) else {
        return false;
    };
    let has_all_it_wants = mirror.beat.is_some_and(|beat| {
        beat.applied_size >= recorded && beat.ready_objects >= beat.wanted_objects
    });
    report.readiness.holds_all(content) || has_all_it_wants
}

#[cfg(test)]
mod tests;
