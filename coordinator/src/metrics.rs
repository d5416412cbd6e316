//! Prometheus metrics. What can be read from the state is read when it is
//! asked for, so that no number is ever behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::state::operations::Totals;
use crate::status::Statuses;

/// States of mirrors, so that each has a number, also none.
const STATES: [&str; 6] = [
    "pending",
    "probation",
    "active",
    "draining",
    "quarantined",
    "revoked",
];

/// What is counted as it happens.
#[derive(Clone)]
pub(crate) struct Metrics {
    operations: IntCounterVec,
    entries: IntCounterVec,
}

impl Metrics {
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        Ok(Self {
            operations: IntCounterVec::new(
                Opts::new(
                    "landfall_operations_total",
                    "Operations that ended, by result: clean, unclean or broken.",
                ),
                &["result"],
            )?,
            entries: IntCounterVec::new(
                Opts::new(
                    "landfall_promoted_entries_total",
                    "Entries of operations that ended, by outcome.",
                ),
                &["outcome"],
            )?,
        })
    }

    /// An operation ended.
    pub(crate) fn operation_ended(&self, totals: &Totals) {
        let result = if !totals.error.is_empty() {
            "broken"
        } else if totals.lost + totals.refused + totals.failed > 0 {
            "unclean"
        } else {
            "clean"
        };
        self.operations.with_label_values(&[result]).inc();
        for (outcome, count) in [
            ("present", totals.present),
            ("copied", totals.copied),
            ("lost", totals.lost),
            ("refused", totals.refused),
            ("failed", totals.failed),
            ("removed", totals.removed),
        ] {
            self.entries.with_label_values(&[outcome]).inc_by(count);
        }
    }

    /// Everything that `/metrics` shows.
    pub(crate) fn registry(
        &self,
        statuses: Statuses,
        database: Arc<AtomicU64>,
    ) -> Result<Registry, prometheus::Error> {
        let registry = Registry::new();
        registry.register(Box::new(self.operations.clone()))?;
        registry.register(Box::new(self.entries.clone()))?;
        registry.register(Box::new(Live::new(statuses, database)?))?;
        Ok(registry)
    }
}

/// Gauges of the present.
struct Live {
    statuses: Statuses,
    /// How often the database was asked.
    database: Arc<AtomicU64>,
    database_jobs: IntCounter,
    revision: IntGauge,
    log_size: IntGauge,
    objects: IntGauge,
    names: IntGauge,
    pending_names: IntGauge,
    bytes: IntGauge,
    checkpoint_age: IntGauge,
    sessions: IntGauge,
    mirrors: IntGaugeVec,
    audit_time: IntGauge,
    audit_findings: IntGaugeVec,
}

impl Live {
    fn new(statuses: Statuses, database: Arc<AtomicU64>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            statuses,
            database,
            database_jobs: IntCounter::new(
                "landfall_database_jobs_total",
                "Reads and writes that the database was asked for.",
            )?,
            revision: IntGauge::new("landfall_revision", "Newest revision of the catalog.")?,
            log_size: IntGauge::new("landfall_log_entries", "Entries of the log.")?,
            objects: IntGauge::new(
                "landfall_live_objects",
                "Objects that a name reaches, a pending one, too.",
            )?,
            names: IntGauge::new("landfall_names", "Names in force.")?,
            pending_names: IntGauge::new(
                "landfall_pending_names",
                "Names that wait at gates until mirrors have their content.",
            )?,
            bytes: IntGauge::new("landfall_live_bytes", "Bytes of all live objects.")?,
            checkpoint_age: IntGauge::new(
                "landfall_checkpoint_age_seconds",
                "Age of the newest checkpoint's timestamp.",
            )?,
            sessions: IntGauge::new("landfall_agent_sessions", "Agents that are connected.")?,
            mirrors: IntGaugeVec::new(
                Opts::new("landfall_mirrors", "Mirrors by state."),
                &["state"],
            )?,
            audit_time: IntGauge::new(
                "landfall_origin_audit_time_seconds",
                "When the last whole audit of the origin ended; 0: never.",
            )?,
            audit_findings: IntGaugeVec::new(
                Opts::new(
                    "landfall_origin_audit_drift",
                    "What the last whole audit of the origin found, by outcome.",
                ),
                &["outcome"],
            )?,
        })
    }

    fn plain(&self) -> [&IntGauge; 9] {
        [
            &self.revision,
            &self.log_size,
            &self.objects,
            &self.names,
            &self.pending_names,
            &self.bytes,
            &self.checkpoint_age,
            &self.sessions,
            &self.audit_time,
        ]
    }
}

impl Collector for Live {
    fn desc(&self) -> Vec<&Desc> {
        let plain = self.plain().into_iter().flat_map(Collector::desc);
        plain
            .chain(self.database_jobs.desc())
            .chain(self.mirrors.desc())
            .chain(self.audit_findings.desc())
            .collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let status = self.statuses.now();
        let age = self
            .statuses
            .unix_seconds()
            .saturating_sub(status.checkpoint_time);
        let values = [
            status.revision,
            status.log_size,
            status.objects,
            status.names,
            status.pending_names,
            status.bytes,
            age,
            status.fleet.connected() as u64,
            status.origin_audit.as_ref().map_or(0, |it| it.finished),
        ];
        for (gauge, value) in self.plain().into_iter().zip(values) {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
        for state in STATES {
            let in_state = status
                .fleet
                .mirrors
                .iter()
                .filter(|mirror| mirror.state == state);
            let count = i64::try_from(in_state.count()).unwrap_or(i64::MAX);
            self.mirrors.with_label_values(&[state]).set(count);
        }
        let tally = status
            .origin_audit
            .map(|audit| audit.tally)
            .unwrap_or_default();
        for (outcome, count) in [
            ("found", tally.found),
            ("repaired", tally.repaired),
            ("lost", tally.lost),
            ("failed", tally.failed),
        ] {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.audit_findings.with_label_values(&[outcome]).set(count);
        }
        let jobs = self.database.load(Ordering::Relaxed);
        let known = self.database_jobs.get();
        self.database_jobs.inc_by(jobs.saturating_sub(known));
        let plain = self.plain().into_iter().flat_map(Collector::collect);
        plain
            .chain(self.database_jobs.collect())
            .chain(self.mirrors.collect())
            .chain(self.audit_findings.collect())
            .collect()
    }
}
