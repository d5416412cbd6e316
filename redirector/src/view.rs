//! What answers are given from: the catalog's fold, the fleet and the places, all in memory.
//!
//! The fleet view and the locator are immutable snapshots, swapped whole: a reader takes one and keeps it for
//! its decision. The fold is not: a commit costs work in proportion to itself, so it is applied in place,
//! and a copy of a million objects for each would cost far more. It lies behind a read-write lock; a writer
//! holds it for one commit, a reader for one answer, which only looks up and copies out, and nobody across an
//! await. A revision is therefore visible whole or not at all, and an answer is of one revision.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use arc_swap::{ArcSwap, Guard};
use http::HeaderValue;
use landfall_catalog::{Catalog, Entry, FoldError, SignedCheckpoint};
use landfall_log::LogReader;
use landfall_proto::status::chain;
use landfall_route::{FleetView, Health, Locator, ORIGIN};
use tokio::sync::watch;

use crate::config::Probe;
use crate::fleet::Fleet;
use crate::probe::Verdicts;
use crate::reports::{Believed, Reports};

/// Everything that an answer depends on.
pub struct View {
    catalog: RwLock<CatalogState>,
    /// Locked before `sources` and kept over reads of the log; never on the way of a request or a probe.
    reports: Mutex<Reports>,
    sources: Mutex<Sources>,
    fleet: ArcSwap<FleetView>,
    locator: ArcSwap<Locator>,
    known: watch::Sender<Known>,
}

/// What is known, from the disk or from the coordinator. Once known, it stays so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// A verified checkpoint, and all revisions that it covers.
    pub catalog: bool,
    /// A whole state of the fleet.
    pub fleet: bool,
}

/// The fold, and what is known of the log that it comes from.
#[derive(Default)]
pub struct CatalogState {
    catalog: Catalog,
    checkpoint: Option<SignedCheckpoint>,
    stale: bool,
    header: Option<HeaderValue>,
}

/// What the fleet view is made of.
#[derive(Default)]
struct Sources {
    fleet: Arc<Fleet>,
    verdicts: Verdicts,
    believed: Believed,
}

impl CatalogState {
    /// The fold.
    #[must_use]
    pub const fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The newest checkpoint that was verified.
    #[must_use]
    pub const fn checkpoint(&self) -> Option<&SignedCheckpoint> {
        self.checkpoint.as_ref()
    }

    /// Whether nothing was heard of the log for so long that its silence shows.
    #[must_use]
    pub const fn is_stale(&self) -> bool {
        self.stale
    }

    /// The `Landfall-Catalog` header: what the answer is of.
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        self.header
            .clone()
            .unwrap_or_else(|| HeaderValue::from_static("revision=0 size=0"))
    }

    fn refresh(&mut self, now: u64) {
        self.stale = self
            .checkpoint
            .as_ref()
            .is_some_and(|checkpoint| checkpoint.stale(now));
        let text = format!(
            "revision={} size={}{}",
            self.catalog.revision(),
            self.catalog.log_size(),
            if self.stale { "; stale" } else { "" }
        );
        self.header = HeaderValue::try_from(text).ok();
    }
}

impl View {
    /// A view that knows places only; the log will be `log`.
    #[must_use]
    pub fn new(locator: Locator, log: watch::Receiver<Option<LogReader>>) -> Self {
        Self {
            catalog: RwLock::default(),
            reports: Mutex::new(Reports::new(log)),
            sources: Mutex::default(),
            fleet: ArcSwap::default(),
            locator: ArcSwap::from_pointee(locator),
            known: watch::Sender::default(),
        }
    }

    /// The catalog, for one answer. Never keep it across an await.
    pub fn catalog(&self) -> RwLockReadGuard<'_, CatalogState> {
        self.catalog.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fleet as it is now.
    #[must_use]
    pub fn fleet(&self) -> Guard<Arc<FleetView>> {
        self.fleet.load()
    }

    /// The tables of places as they are now.
    #[must_use]
    pub fn locator(&self) -> Guard<Arc<Locator>> {
        self.locator.load()
    }

    /// Replaces the tables of places.
    pub fn set_locator(&self, locator: Locator) {
        self.locator.store(Arc::new(locator));
    }

    /// What is known, now and as it changes.
    #[must_use]
    pub fn known(&self) -> watch::Receiver<Known> {
        self.known.subscribe()
    }

    /// Applies one whole revision.
    ///
    /// # Errors
    /// [`FoldError`]; nothing changed.
    pub fn apply(&self, entries: &[Entry], now: u64) -> Result<(), FoldError> {
        let mut state = self.write_catalog();
        state.catalog.apply(entries)?;
        state.refresh(now);
        Ok(())
    }

    /// Takes over a verified checkpoint. Blocks on the disk, where the log is that reports are compared with.
    pub fn set_checkpoint(&self, checkpoint: SignedCheckpoint, now: u64) {
        let (origin, size) = {
            let held = &checkpoint.checkpoint;
            (held.origin.clone(), held.size)
        };
        {
            let mut state = self.write_catalog();
            state.checkpoint = Some(checkpoint);
            state.refresh(now);
        }
        let mut reports = self.reports();
        if let Some(believed) = reports.log_is_at(&origin, size) {
            let mut sources = self.sources();
            sources.believed = believed;
            self.publish(&sources);
        }
        drop(reports);
        self.now_known(|known| &mut known.catalog);
    }

    /// Looks at the clock: whether the catalog became stale.
    pub fn tick(&self, now: u64) {
        let is_stale = |state: &CatalogState| {
            state
                .checkpoint
                .as_ref()
                .is_some_and(|checkpoint| checkpoint.stale(now))
        };
        let state = self.catalog();
        let changed = is_stale(&state) != state.stale;
        drop(state);
        if changed {
            self.write_catalog().refresh(now);
        }
    }

    /// Takes over a state of the fleet. Blocks on the disk, where the log is that reports are compared with.
    pub fn set_fleet(&self, fleet: Arc<Fleet>) {
        let mut reports = self.reports();
        let believed = reports.of_fleet(Arc::clone(&fleet));
        let mut sources = self.sources();
        let same_origin = sources.fleet.origin_url == fleet.origin_url;
        sources.verdicts.retain(|name| {
            if name == ORIGIN {
                same_origin
            } else {
                fleet.has(name)
            }
        });
        sources.fleet = fleet;
        sources.believed = believed;
        self.publish(&sources);
        drop(sources);
        drop(reports);
        self.now_known(|known| &mut known.fleet);
    }

    /// Takes over what a probe of a mirror, or of the origin by its name, saw; what is thought of it now, if that
    /// changed. In force at once.
    pub fn observe(&self, name: &str, success: bool, thresholds: &Probe) -> Option<Health> {
        let mut sources = self.sources();
        let is_origin = name == ORIGIN && !sources.fleet.origin_url.is_empty();
        if !is_origin && !sources.fleet.has(name) {
            return None;
        }
        let changed = sources.verdicts.observe(name, success, thresholds);
        if changed.is_some() {
            self.publish(&sources);
        }
        changed
    }

    /// What probes say of each mirror. The origin is none.
    #[must_use]
    pub fn verdicts(&self) -> Vec<(String, Health)> {
        self.sources()
            .verdicts
            .iter()
            .filter(|(name, _)| *name != ORIGIN)
            .map(|(mirror, health)| (mirror.to_owned(), health))
            .collect()
    }

    /// The lock on the sources orders the writers, so that a snapshot never goes back.
    fn publish(&self, sources: &Sources) {
        let view = sources.fleet.view(&sources.verdicts, &sources.believed);
        self.fleet.store(Arc::new(view));
    }

    fn now_known(&self, what: impl Fn(&mut Known) -> &mut bool) {
        self.known
            .send_if_modified(|known| !std::mem::replace(what(known), true));
    }

    fn reports(&self) -> MutexGuard<'_, Reports> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sources(&self) -> MutexGuard<'_, Sources> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_catalog(&self) -> RwLockWriteGuard<'_, CatalogState> {
        self.catalog.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Changes a view where blocking on the disk is allowed.
pub(crate) async fn blocking(change: impl FnOnce() + Send + 'static) {
    if let Err(fault) = tokio::task::spawn_blocking(change).await {
        tracing::error!(
            error = chain(&fault),
            "what is known could not be brought up to date"
        );
    }
}
