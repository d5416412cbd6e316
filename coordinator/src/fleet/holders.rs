//! Who holds an object, for those who need it.

use std::cmp::Reverse;

use landfall_catalog::Ordinal;
use landfall_route::{Health, MirrorState, MirrorView, StoreKind};

use super::Fleet;

impl Fleet {
    /// The mirrors whose last report says that they hold the object, and that an
    /// operator has not shut out; the healthy ones first.
    pub(crate) fn holders(&self, ordinal: Ordinal) -> Vec<MirrorView> {
        let now = self.inner.clock.unix_seconds();
        let held = self.held();
        let mut holders: Vec<_> = held
            .board
            .iter()
            .filter(|(view, report)| {
                let holds = report.is_some_and(|report| report.readiness.holds(ordinal));
                holds && may_be_asked(view)
            })
            .map(|(view, _)| MirrorView {
                healthy: held.verdicts.of(&view.name, now),
                ..view.clone()
            })
            .collect();
        holders.sort_by_key(|view| Reverse(preference(view.healthy)));
        holders
    }
}

fn may_be_asked(view: &MirrorView) -> bool {
    let is_shut_out = match view.state {
        MirrorState::Quarantined | MirrorState::Revoked => true,
        MirrorState::Pending
        | MirrorState::Probation
        | MirrorState::Active
        | MirrorState::Draining => false,
    };
    !is_shut_out && view.kind == StoreKind::Files
}

const fn preference(health: Health) -> u8 {
    match health {
        Health::Up => 2,
        Health::Unknown => 1,
        Health::Down => 0,
    }
}
