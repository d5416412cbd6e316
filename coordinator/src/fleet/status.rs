//! What `landfall status` and the page show of the fleet.

use std::sync::Arc;

use landfall_route::{Health, MirrorView};

use super::{Beat, Fleet, Report, state_word};

/// One mirror.
#[derive(Clone, Debug)]
pub(crate) struct MirrorStatus {
    pub(crate) view: MirrorView,
    pub(crate) state: &'static str,
    pub(crate) healthy: Health,
    pub(crate) ready_objects: u64,
    pub(crate) wanted_objects: u64,
    /// Log size up to which the names of what it holds are in place.
    pub(crate) names_through: u64,
    /// POSIX seconds; 0: never.
    pub(crate) last_report: u64,
    pub(crate) connected: bool,
    /// The last sign of life, if any came since this program started.
    pub(crate) beat: Option<Beat>,
    pub(crate) incidents: Vec<String>,
    pub(crate) report: Option<Arc<Report>>,
}

/// All mirrors by name, at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct FleetStatus {
    pub(crate) mirrors: Vec<MirrorStatus>,
}

impl FleetStatus {
    pub(crate) fn connected(&self) -> usize {
        self.mirrors
            .iter()
            .filter(|mirror| mirror.connected)
            .count()
    }
}

impl Fleet {
    /// How the fleet is. `live_objects` is what a mirror wants that has not yet
    /// said what it wants.
    pub(crate) fn status(&self, live_objects: u64) -> FleetStatus {
        let now = self.inner.clock.unix_seconds();
        let held = self.held();
        let mirrors = held
            .board
            .iter()
            .map(|(view, report)| {
                let life = held.lives.get(&view.name);
                let beat = life.and_then(|life| life.beat);
                MirrorStatus {
                    view: view.clone(),
                    state: state_word(view.state),
                    healthy: held.verdicts.of(&view.name, now),
                    ready_objects: report.map_or(0, |report| report.readiness.ready_count()),
                    wanted_objects: report
                        .map(|report| report.wanted)
                        .or(beat.map(|beat| beat.wanted_objects))
                        .unwrap_or(live_objects),
                    names_through: report.map_or(0, |report| report.readiness.names_through),
                    last_report: report.map_or(0, |report| report.received),
                    beat,
                    connected: life.is_some_and(|life| life.session.is_some()),
                    report: report.map(Arc::clone),
                    incidents: life
                        .map(|life| life.incidents.iter().cloned().collect())
                        .unwrap_or_default(),
                }
            })
            .collect();
        FleetStatus { mirrors }
    }
}
