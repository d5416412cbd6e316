//! The brake on mass changes: what would take away more than a twentieth of a
//! project is a mistake until somebody says that it is not. Pure.
//!
//! Each project is judged by itself, so the brake on one holds up no other.
//! What is merely not in staging takes nothing away from anybody; it stops the
//! rest of its project only when it is many entries, which look like a staging
//! area that is gone.

use std::collections::{BTreeMap, BTreeSet};

use landfall_catalog::{Catalog, Digest, Name};
use landfall_promotion::{Asked, EntryState, Finding, Plan, Severity};

use super::bounds::Bounds;
use super::orders::half_kind;
use super::resolve::Resolution;
use crate::state::projects::HalfKind;

/// More than one in this many is a mass change.
const ONE_IN: u64 = 20;
/// Lost entries below this number never stop the rest of their project.
const MANY_LOST: u64 = 10;

type Of = (String, HalfKind);

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    /// Names that production has or entries that are asked for.
    all: u64,
    /// Those that would go.
    gone: u64,
}

/// Takes removals out of `plan` that are too many for their project. Names that
/// move are not counted: each is mutable, or allowed to by --allow-tag-moves.
pub(crate) fn stop_mass_removal(plan: &mut Plan, catalog: &Catalog, bounds: &Bounds) {
    let owner = |name: &Name| -> Of {
        let kind = match name {
            Name::Tag(..) | Name::Root(..) => HalfKind::Images,
            Name::File(_) => HalfKind::Files,
        };
        let project = bounds.owners(name).and_then(BTreeSet::first);
        (project.cloned().unwrap_or_default(), kind)
    };
    let mut counts: BTreeMap<Of, Count> = BTreeMap::new();
    for asked in &plan.unchanged {
        counts.entry(of(asked)).or_default().all += 1;
    }
    for (asked, _) in &plan.refused {
        counts.entry(of(asked)).or_default().all += u64::from(catalog.name(&asked.name).is_some());
    }
    for asked in &plan.set {
        counts.entry(of(asked)).or_default().all += u64::from(catalog.name(&asked.name).is_some());
    }
    for name in &plan.removed {
        let count = counts.entry(owner(name)).or_default();
        count.all += 1;
        count.gone += 1;
    }
    let stopped: BTreeMap<Of, String> = counts
        .into_iter()
        .filter(|(_, count)| count.gone * ONE_IN > count.all)
        .map(|(of, count)| {
            let why = format!(
                "mass-change: {} of {} names of {} ({}) would be removed; --allow-mass-change lets them",
                count.gone,
                count.all,
                of.0,
                of.1.as_str()
            );
            (of, why)
        })
        .collect();
    if stopped.is_empty() {
        return;
    }
    plan.removed
        .retain(|name| !stopped.contains_key(&owner(name)));
    plan.findings.extend(stopped.into_values().map(finding));
}

/// Refuses the rest of projects of which too much is not in staging.
/// `unchanged` is what was asked for and is in production already.
pub(crate) fn stop_mass_loss(resolution: &mut Resolution, unchanged: &[Asked]) {
    let mut counts: BTreeMap<Of, Count> = BTreeMap::new();
    for asked in unchanged {
        counts.entry(of(asked)).or_default().all += 1;
    }
    for entry in &resolution.plan.entries {
        let count = counts.entry(of(&entry.asked)).or_default();
        count.all += 1;
        count.gone += u64::from(matches!(entry.state, EntryState::Lost(_)));
    }
    for (project, count) in counts {
        if count.gone < MANY_LOST || count.gone * ONE_IN <= count.all {
            continue;
        }
        let why = format!(
            "mass-change: {} of {} entries of {} ({}) are not in staging; --allow-mass-change promotes the others",
            count.gone,
            count.all,
            project.0,
            project.1.as_str()
        );
        for entry in &mut resolution.plan.entries {
            if of(&entry.asked) == project && entry.state.is_executable() {
                entry.state = EntryState::Refused(why.clone());
                entry.bytes_to_copy = 0;
            }
        }
        resolution.findings.push(finding(why));
    }
}

fn of(asked: &Asked) -> Of {
    (asked.project.clone(), half_kind(asked.kind))
}

/// It fails the promotion: nobody should take the rest for all there is.
fn finding(why: String) -> Finding {
    Finding {
        severity: Severity::Error,
        rule: "mass-change",
        file: String::new(),
        line: 1,
        column: 1,
        content_hash: Digest::of(why.as_bytes()),
        message: why,
        help: "look at the plan, and give --allow-mass-change if it is meant".into(),
        excerpt: String::new(),
        quarantines: true,
    }
}

#[cfg(test)]
mod tests;
