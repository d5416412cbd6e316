//! How everything is, at one moment: what `landfall status`, the page, the
//! JSON and the metrics show.

mod withdrawals;

use std::sync::Arc;

use landfall_runtime::clock::Clock;

use crate::audit::LastAudit;
use crate::behind::Signature;
use crate::catalog::{Published, SharedCatalog};
use crate::fleet::{Fleet, FleetStatus, MirrorStatus};
use crate::state::audits::Audit;
pub(crate) use withdrawals::Withdrawal;
use withdrawals::{confirmed, withdrawn};

use crate::withdraw::Exposed;

/// Tells how everything is; cheap to clone.
#[derive(Clone)]
pub(crate) struct Statuses {
    pub(crate) name: Arc<str>,
    pub(crate) verifier_keys: Arc<Vec<String>>,
    pub(crate) catalog: SharedCatalog,
    pub(crate) fleet: Fleet,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) last_audit: LastAudit,
    pub(crate) exposed: Exposed,
    pub(crate) signature: Signature,
}

/// How everything is.
#[derive(Clone, Debug)]
pub(crate) struct Status {
    /// Public name of the catalog.
    pub(crate) name: String,
    pub(crate) revision: u64,
    pub(crate) log_size: u64,
    /// Live objects: what a full mirror wants.
    pub(crate) objects: u64,
    /// Names in force.
    pub(crate) names: u64,
    /// Names that wait at gates.
    pub(crate) pending_names: u64,
    /// Bytes of all live objects.
    pub(crate) bytes: u64,
    /// POSIX seconds.
    pub(crate) checkpoint_time: u64,
    /// Whether the checkpoint is older than a day.
    pub(crate) stale: bool,
    pub(crate) fleet: FleetStatus,
    /// What is withdrawn, newest first; only [`Statuses::whole`] tells.
    pub(crate) withdrawals: Vec<Withdrawal>,
    /// The last audit of the origin that came to its end.
    pub(crate) origin_audit: Option<Audit>,
    /// Why nothing is committed: readers hold more of the log.
    pub(crate) behind: Option<String>,
    published: Published,
}

impl Status {
    /// The revision that the mirror's names have reached.
    pub(crate) fn names_revision(&self, mirror: &MirrorStatus) -> u64 {
        self.published.revision_at(mirror.names_through)
    }
}

impl Statuses {
    /// The log's verifier keys, `name+hash+base64` each.
    pub(crate) fn verifier_keys(&self) -> &[String] {
        &self.verifier_keys
    }

    /// POSIX seconds by the program's clock.
    pub(crate) fn unix_seconds(&self) -> u64 {
        self.clock.unix_seconds()
    }

    /// How everything is, with what is withdrawn and which mirrors have confirmed.
    pub(crate) fn whole(&self) -> Status {
        let status = self.now();
        let published = &status.published;
        let exposed = self.exposed.told();
        let withdrawn = self
            .catalog
            .read(|catalog| withdrawn(catalog, |at| published.revision_at(at) + 1, &exposed));
        Status {
            withdrawals: confirmed(withdrawn, &status.fleet),
            ..status
        }
    }

    /// How everything is, withdrawals apart.
    pub(crate) fn now(&self) -> Status {
        let published = self.catalog.published();
        let (objects, names, pending_names, bytes) = self.catalog.read(|catalog| {
            (
                catalog.live_count(),
                catalog.name_count() as u64,
                catalog.pending_count() as u64,
                catalog.live_bytes(),
            )
        });
        let fleet = self.fleet.status(objects);
        let checkpoint = &published.checkpoint;
        Status {
            name: self.name.to_string(),
            revision: published.revision,
            log_size: checkpoint.checkpoint.size,
            objects,
            names,
            pending_names,
            bytes,
            checkpoint_time: checkpoint.time,
            stale: checkpoint.stale(self.clock.unix_seconds()),
            withdrawals: Vec::new(),
            origin_audit: self.last_audit.get(),
            behind: self.signature.ahead().map(|ahead| ahead.to_string()),
            fleet,
            published,
        }
    }
}
