//! What keeps a mirror from being a candidate. Deciding stops at the first obstacle, explaining collects all.

use std::ops::ControlFlow;

use crate::decide::Ask;
use crate::fleet::{FleetView, Health, MirrorState, MirrorView, ORIGIN, Serves, StoreKind};
use crate::reason::Ineligible;

type Flow = ControlFlow<()>;

/// Tells `report` of each obstacle that the mirror's state, its address and its health are, until it breaks off.
pub(crate) fn standing(
    ask: &Ask<'_>,
    mirror: &MirrorView,
    report: &mut impl FnMut(Ineligible) -> Flow,
) -> Flow {
    match mirror.state {
        MirrorState::Active | MirrorState::Probation => {}
        MirrorState::Pending => report(Ineligible::Pending)?,
        MirrorState::Draining => report(Ineligible::Draining)?,
        MirrorState::Quarantined => report(Ineligible::Quarantined)?,
        MirrorState::Revoked => report(Ineligible::Revoked)?,
    }
    if mirror.weight == 0 {
        report(Ineligible::NoWeight)?;
    }
    if ask.avoid.contains(&mirror.name) {
        report(Ineligible::Avoided)?;
    }
    if ask.secure && !is_https(&mirror.public_url) {
        report(Ineligible::Insecure)?;
    }
    match mirror.serves {
        Serves::Everything => {}
        Serves::Verified if ask.verifies => {}
        Serves::Verified => report(Ineligible::NotTrusted)?,
    }
    match mirror.kind {
        StoreKind::Files => {}
        StoreKind::Registry { .. } if ask.name.is_some() => report(Ineligible::ServesNoFiles)?,
        StoreKind::Registry { .. } if ask.repository.is_none() => {
            report(Ineligible::NeedsRepository)?;
        }
        StoreKind::Registry { .. } => {}
    }
    match mirror.healthy {
        Health::Up | Health::Unknown => {}
        Health::Down => report(Ineligible::Down)?,
    }
    Flow::Continue(())
}

/// The obstacle that the mirror's content is, if it is one.
pub(crate) fn unready(ask: &Ask<'_>, mirror: &MirrorView) -> Option<Ineligible> {
    let Some(readiness) = &mirror.readiness else {
        return Some(Ineligible::NotReported);
    };
    if !readiness.holds(ask.ordinal) {
        return Some(Ineligible::NotReady);
    }
    match ask.name {
        Some(name) if !readiness.serves_name(name) => Some(Ineligible::NameNotReady),
        Some(_) | None => None,
    }
}

/// Tells `report` of each obstacle that stands between the client and the origin, which holds everything and may serve
/// everybody.
pub(crate) fn origin(
    ask: &Ask<'_>,
    fleet: &FleetView,
    report: &mut impl FnMut(Ineligible) -> Flow,
) -> Flow {
    if fleet.origin_url.is_empty() {
        return report(Ineligible::NoOrigin);
    }
    if ask.avoid.iter().any(|name| name == ORIGIN) {
        report(Ineligible::Avoided)?;
    }
    if ask.secure && !is_https(&fleet.origin_url) {
        report(Ineligible::Insecure)?;
    }
    match fleet.origin_health {
        Health::Up | Health::Unknown => Flow::Continue(()),
        Health::Down => report(Ineligible::Down),
    }
}

fn is_https(url: &str) -> bool {
    url.get(..8)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"))
}
