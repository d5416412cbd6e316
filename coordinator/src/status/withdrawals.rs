//! What is withdrawn, and which mirrors have said that they hold none of it.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use landfall_catalog::{Catalog, Name, Ordinal, Readiness};
use landfall_route::MirrorState;
use roaring::RoaringBitmap;

use crate::fleet::FleetStatus;

/// Withdrawals that are told of, newest first.
const SHOWN: usize = 100;
/// Names that are told of each.
const SHOWN_NAMES: usize = 20;

/// What one revision withdrew for one reason and is withdrawn still.
#[derive(Clone, Debug)]
pub(crate) struct Withdrawal {
    pub(crate) revision: u64,
    pub(crate) reason: String,
    pub(crate) objects: RoaringBitmap,
    /// Names that mean one of them; some of them, if there are many.
    pub(crate) names: Vec<String>,
    /// Mirrors whose last report covers the withdrawal and holds none of it.
    pub(crate) confirmed: Vec<String>,
    /// All other mirrors.
    pub(crate) pending: Vec<String>,
    /// Log index of the last of its entries.
    at: u64,
}

/// Everything that is withdrawn, by revision and reason. `revision_of` gives the
/// revision of a log index.
pub(super) fn withdrawn(catalog: &Catalog, revision_of: impl Fn(u64) -> u64) -> Vec<Withdrawal> {
    let mut groups: BTreeMap<(Reverse<u64>, &str), (RoaringBitmap, u64)> = BTreeMap::new();
    for (ordinal, reason) in catalog.all_withdrawn() {
        let at = catalog.withdrawn_at(ordinal).unwrap_or_default();
        let group = groups
            .entry((Reverse(revision_of(at)), reason))
            .or_default();
        group.0.insert(ordinal.get());
        group.1 = group.1.max(at);
    }
    groups
        .into_iter()
        .take(SHOWN)
        .map(|((Reverse(revision), reason), (objects, at))| {
            let names = objects.iter().map(Ordinal::new);
            let names = names.flat_map(|ordinal| catalog.names_of(ordinal));
            Withdrawal {
                revision,
                reason: reason.to_owned(),
                names: names
                    .take(SHOWN_NAMES)
                    .map(|name: Name| name.to_string())
                    .collect(),
                objects,
                confirmed: Vec::new(),
                pending: Vec::new(),
                at,
            }
        })
        .collect()
}

/// The same, with the mirrors. One that was revoked is not asked any more.
pub(super) fn confirmed(withdrawals: Vec<Withdrawal>, fleet: &FleetStatus) -> Vec<Withdrawal> {
    withdrawals
        .into_iter()
        .map(|mut withdrawal| {
            for mirror in &fleet.mirrors {
                if mirror.view.state == MirrorState::Revoked {
                    continue;
                }
                let is_gone = mirror
                    .report
                    .as_ref()
                    .is_some_and(|report| withdrawal.is_gone(&report.readiness));
                let told = if is_gone {
                    &mut withdrawal.confirmed
                } else {
                    &mut withdrawal.pending
                };
                told.push(mirror.view.name.clone());
            }
            withdrawal
        })
        .collect()
}

impl Withdrawal {
    fn is_gone(&self, readiness: &Readiness) -> bool {
        let covers = readiness.log.size > self.at;
        covers
            && !self
                .objects
                .iter()
                .any(|object| readiness.holds(Ordinal::new(object)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_catalog::{Digest, LogPosition};

    fn readiness(size: u64, through: u32, missing: &[u32]) -> Readiness {
        Readiness {
            through,
            missing: missing.iter().copied().collect(),
            extra: RoaringBitmap::new(),
            names_through: size,
            filter: Digest::of(b""),
            log: LogPosition {
                origin: "example.org".into(),
                size,
                root: landfall_catalog::empty_root(),
            },
        }
    }

    #[test]
    fn only_a_report_that_covers_the_withdrawal_and_holds_none_of_it_confirms() {
        let withdrawal = Withdrawal {
            revision: 2,
            reason: "cve".into(),
            objects: [1, 2].into_iter().collect(),
            names: Vec::new(),
            confirmed: Vec::new(),
            pending: Vec::new(),
            at: 9,
        };
        for (size, missing, expected) in [
            (11, &[1_u32, 2][..], true),
            (10, &[1, 2], true),
            (9, &[1, 2], false),
            (11, &[1], false),
            (11, &[], false),
        ] {
            let is_gone = withdrawal.is_gone(&readiness(size, 5, missing));
            assert_eq!(is_gone, expected, "{size} {missing:?}");
        }
    }
}
