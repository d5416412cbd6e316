//! What is withdrawn, and which mirrors have said that they hold none of it.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use landfall_catalog::{Catalog, Digest, Name, Ordinal, Readiness};
use landfall_route::MirrorState;
use roaring::RoaringBitmap;

use crate::fleet::FleetStatus;

/// Withdrawals that are told of, newest first.
const SHOWN: usize = 100;
/// Names that are told of each.
const SHOWN_NAMES: usize = 20;
/// Places that are told of each where the origin's own store still shows it.
const SHOWN_PLACES: usize = 5;
/// Longest text of such a place, in characters.
const MAX_PLACE: usize = 300;

/// What one revision withdrew for one reason and is withdrawn still, with what
/// nothing live needs since.
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
    /// Where the origin's own store still shows some of it, and why; some of
    /// these, if there are many.
    pub(crate) exposed: Vec<String>,
    /// Log index of the last of its entries.
    at: u64,
}

/// Everything that is withdrawn, by revision and reason. `revision_of` gives the
/// revision of a log index; `exposed` is where objects can still be seen.
pub(super) fn withdrawn(
    catalog: &Catalog,
    revision_of: impl Fn(u64) -> u64,
    exposed: &BTreeMap<Digest, Vec<String>>,
) -> Vec<Withdrawal> {
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
            let objects = catalog.gone_with(objects.iter().map(Ordinal::new));
            let digests = objects.iter().map(Ordinal::new);
            let digests = digests.filter_map(|ordinal| Some(catalog.object(ordinal)?.digest()));
            let places = digests.filter_map(|digest| exposed.get(digest));
            let places = places.flatten().take(SHOWN_PLACES);
            let places = places.map(|place| place.chars().take(MAX_PLACE).collect());
            let places = places.collect();
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
                exposed: places,
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
        // Set by set: there may be many objects, and many mirrors.
        let mut below = self.objects.clone();
        below.remove_range(readiness.through..);
        readiness.log.size > self.at
            && below.is_subset(&readiness.missing)
            && self.objects.is_disjoint(&readiness.extra)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_catalog::LogPosition;

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

    fn withdrawal(objects: RoaringBitmap) -> Withdrawal {
        Withdrawal {
            revision: 2,
            reason: "cve".into(),
            objects,
            names: Vec::new(),
            confirmed: Vec::new(),
            pending: Vec::new(),
            exposed: Vec::new(),
            at: 9,
        }
    }

    #[test]
    fn held_is_what_the_report_says_object_by_object() {
        for through in 0..5 {
            for bits in 0..64_u32 {
                let of = |shift: u32| (0..3).filter(move |bit| bits >> (shift + bit) & 1 == 1);
                let withdrawal = withdrawal(of(0).map(|bit| bit + 1).collect());
                let mut report = readiness(20, through, &of(3).collect::<Vec<_>>());
                report.extra = of(1).map(|bit| bit + 3).collect();
                let ordinals = withdrawal.objects.iter().map(Ordinal::new);
                let held = ordinals.filter(|ordinal| report.holds(*ordinal)).count();
                assert_eq!(withdrawal.is_gone(&report), held == 0, "{report:?}");
            }
        }
    }

    #[test]
    fn only_a_report_that_covers_the_withdrawal_and_holds_none_of_it_confirms() {
        let withdrawal = withdrawal([1, 2].into_iter().collect());
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
