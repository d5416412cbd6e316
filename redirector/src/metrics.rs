//! What is counted. Every counter of the request path is resolved once, so that counting costs nothing to speak of.

use landfall_route::{Health, Tier};
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::view::View;

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A file by its path.
    File,
    /// A blob, by either way.
    Blob,
    /// An OCI manifest.
    Manifest,
    /// The tags of a repository.
    Tags,
    /// The referrers of an object.
    Referrers,
    /// Something of the redirector itself.
    Internal,
    /// Nothing that there is.
    Other,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Sent to a mirror.
    Mirror,
    /// Sent to the origin.
    Origin,
    /// Answered here.
    Served,
    /// There is no such thing.
    NotFound,
    /// It was withdrawn.
    Withdrawn,
    /// Nothing usable has it.
    Unavailable,
    /// The request was not acceptable.
    Refused,
}

impl Asked {
    const ALL: [Self; 7] = [
        Self::File,
        Self::Blob,
        Self::Manifest,
        Self::Tags,
        Self::Referrers,
        Self::Internal,
        Self::Other,
    ];

    const fn label(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Blob => "blob",
            Self::Manifest => "manifest",
            Self::Tags => "tags",
            Self::Referrers => "referrers",
            Self::Internal => "internal",
            Self::Other => "other",
        }
    }
}

impl Outcome {
    const ALL: [Self; 7] = [
        Self::Mirror,
        Self::Origin,
        Self::Served,
        Self::NotFound,
        Self::Withdrawn,
        Self::Unavailable,
        Self::Refused,
    ];

    const fn label(self) -> &'static str {
        match self {
            Self::Mirror => "mirror",
            Self::Origin => "origin",
            Self::Served => "served",
            Self::NotFound => "not-found",
            Self::Withdrawn => "withdrawn",
            Self::Unavailable => "unavailable",
            Self::Refused => "refused",
        }
    }
}

/// All tiers, in their order.
const TIERS: [Tier; 7] = [
    Tier::SameRegion,
    Tier::SameCloud,
    Tier::SameAsn,
    Tier::SameCountry,
    Tier::SameContinent,
    Tier::Anywhere,
    Tier::Origin,
];

/// The counters and gauges.
pub struct Metrics {
    registry: Registry,
    requests: Vec<IntCounter>,
    decisions: Vec<IntCounter>,
    /// Checkpoints and entries of the feed that were refused.
    pub refused_feeds: IntCounter,
    revision: IntGauge,
    log_size: IntGauge,
    objects: IntGauge,
    names: IntGauge,
    checkpoint_age: IntGauge,
    fleet_revision: IntGauge,
    mirrors: IntGaugeVec,
}

impl Metrics {
    /// Registers everything in a registry of its own.
    ///
    /// # Errors
    /// If a name is registered twice, which is a defect.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let requests = IntCounterVec::new(
            Opts::new(
                "landfall_redirector_requests_total",
                "Requests by what was asked for and what became of it",
            ),
            &["kind", "outcome"],
        )?;
        registry.register(Box::new(requests.clone()))?;
        let decisions = IntCounterVec::new(
            Opts::new("landfall_redirector_decisions_total", "Redirects by tier"),
            &["tier"],
        )?;
        registry.register(Box::new(decisions.clone()))?;
        let mirrors = IntGaugeVec::new(
            Opts::new(
                "landfall_redirector_mirrors",
                "Mirrors by what probes say of them",
            ),
            &["health"],
        )?;
        registry.register(Box::new(mirrors.clone()))?;
        let refused_feeds = IntCounter::new(
            "landfall_redirector_refused_feeds_total",
            "Checkpoints of the catalog that were refused, with the old state kept",
        )?;
        registry.register(Box::new(refused_feeds.clone()))?;
        let gauge = |name: &str, help: &str| -> Result<IntGauge, prometheus::Error> {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        Ok(Self {
            requests: Asked::ALL
                .iter()
                .flat_map(|kind| Outcome::ALL.map(|outcome| [kind.label(), outcome.label()]))
                .map(|labels| requests.with_label_values(&labels))
                .collect(),
            decisions: TIERS
                .iter()
                .map(|tier| decisions.with_label_values(&[tier.to_string().as_str()]))
                .collect(),
            refused_feeds,
            revision: gauge(
                "landfall_redirector_catalog_revision",
                "Revision that answers are of",
            )?,
            log_size: gauge(
                "landfall_redirector_catalog_log_size",
                "Entries of the log that answers are of",
            )?,
            objects: gauge(
                "landfall_redirector_catalog_objects",
                "Objects in the catalog",
            )?,
            names: gauge("landfall_redirector_catalog_names", "Names in the catalog")?,
            checkpoint_age: gauge(
                "landfall_redirector_checkpoint_age_seconds",
                "Age of the newest checkpoint; -1 before the first",
            )?,
            fleet_revision: gauge(
                "landfall_redirector_fleet_revision",
                "Routing revision that answers are of",
            )?,
            mirrors,
            registry,
        })
    }

    /// The registry, for the metrics page.
    #[must_use]
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Counts one request.
    pub fn count(&self, asked: Asked, outcome: Outcome, tier: Option<Tier>) {
        self.requests[asked as usize * Outcome::ALL.len() + outcome as usize].inc();
        if let Some(tier) = tier.and_then(|tier| TIERS.iter().position(|known| *known == tier)) {
            self.decisions[tier].inc();
        }
    }

    /// Brings the gauges up to date.
    pub fn observe(&self, view: &View, now: u64) {
        let clamp = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        {
            let state = view.catalog();
            let catalog = state.catalog();
            self.revision.set(clamp(catalog.revision().get()));
            self.log_size.set(clamp(catalog.log_size()));
            self.objects.set(i64::from(catalog.object_count()));
            self.names.set(clamp(catalog.name_count() as u64));
            self.checkpoint_age.set(
                state
                    .checkpoint()
                    .map_or(-1, |checkpoint| clamp(now.saturating_sub(checkpoint.time))),
            );
        }
        let fleet = view.fleet();
        self.fleet_revision.set(clamp(fleet.revision));
        for (health, label) in [
            (Health::Up, "up"),
            (Health::Down, "down"),
            (Health::Unknown, "unknown"),
        ] {
            let count = fleet
                .mirrors
                .iter()
                .filter(|it| it.healthy == health)
                .count();
            self.mirrors
                .with_label_values(&[label])
                .set(clamp(count as u64));
        }
    }
}
