//! What was served, as metrics.

use landfall_catalog::Digest;
use prometheus::{IntCounterVec, Opts, Registry};

use super::{Access, RouteKind};

/// Counts requests by kind and status, and bytes by kind.
#[derive(Clone, Debug)]
pub struct AccessCounters {
    requests: IntCounterVec,
    bytes: IntCounterVec,
}

impl AccessCounters {
    /// Registers `landfall_served_requests_total` and `landfall_served_bytes_total`.
    ///
    /// # Errors
    /// If the registry has them already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters = Self {
            requests: IntCounterVec::new(
                Opts::new(
                    "landfall_served_requests_total",
                    "Requests for content, by what they were for",
                ),
                &["kind", "status"],
            )?,
            bytes: IntCounterVec::new(
                Opts::new(
                    "landfall_served_bytes_total",
                    "Bytes of content handed over",
                ),
                &["kind"],
            )?,
        };
        registry.register(Box::new(counters.requests.clone()))?;
        registry.register(Box::new(counters.bytes.clone()))?;
        Ok(counters)
    }
}

impl Access for AccessCounters {
    fn request(&self, route: RouteKind, _: Option<&Digest>, status: u16) {
        self.requests
            .with_label_values(&[route.as_str(), status.to_string().as_str()])
            .inc();
    }

    fn sent(&self, route: RouteKind, _: &Digest, bytes: u64) {
        self.bytes
            .with_label_values(&[route.as_str()])
            .inc_by(bytes);
    }
}
