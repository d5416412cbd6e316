//! What an operator watches.

use prometheus::{IntCounter, IntGauge, Registry};

/// Handles of the agent's metrics.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    pub(crate) wanted: IntGauge,
    pub(crate) ready: IntGauge,
    pub(crate) missing: IntGauge,
    pub(crate) fetched: IntCounter,
    pub(crate) fetched_bytes: IntCounter,
    pub(crate) failures: IntCounter,
    pub(crate) connected: IntGauge,
    pub(crate) revision: IntGauge,
    pub(crate) refused: IntCounter,
}

impl Metrics {
    /// Registers all of them.
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        Ok(Self {
            wanted: gauge(
                "landfall_agent_wanted_objects",
                "Objects that this mirror is to hold",
            )?,
            ready: gauge(
                "landfall_agent_ready_objects",
                "Objects that are ready here",
            )?,
            missing: gauge(
                "landfall_agent_missing_objects",
                "Objects that are still to be fetched",
            )?,
            fetched: counter("landfall_agent_fetched_objects_total", "Objects fetched")?,
            fetched_bytes: counter(
                "landfall_agent_fetched_bytes_total",
                "Bytes received for objects",
            )?,
            failures: counter(
                "landfall_agent_fetch_failures_total",
                "Fetches that no source could satisfy",
            )?,
            connected: gauge(
                "landfall_agent_session",
                "1 while the session with the coordinator is open",
            )?,
            revision: gauge(
                "landfall_agent_revision",
                "Revision of the catalog that is applied",
            )?,
            refused: counter(
                "landfall_agent_log_refusals_total",
                "Offers that were not the log and were refused",
            )?,
        })
    }
}
