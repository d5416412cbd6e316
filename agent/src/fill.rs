//! Fills the store: what the catalog wants and the store lacks, in this
//! mirror's own random order; then puts names in place; then reports.
//!
//! One task owns the account of what is held. Fetches run beside it, at most
//! [`CONCURRENCY`] at a time, and come back to it.

mod fetch;
mod queue;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use landfall_catalog::{Catalog, Digest, LogPosition, Name, Ordinal, Readiness};
use landfall_content::{DirectoryStore, Fetched, StoreError};
use landfall_proto::status::chain;
use landfall_runtime::{Clock, Shutdown, telemetry};
use rand::{SeedableRng, rngs::StdRng};
use roaring::RoaringBitmap;
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::{Instant, sleep},
};
use tracing::{Instrument, Span};

use crate::{
    holdings::Holdings,
    metrics::Metrics,
    names::Placement,
    session::Report,
    shelf::{SharedShelf, Shelf},
    want::{Filter, wanted},
};
pub(crate) use fetch::{FetchError, Fetcher, Wanted};
use queue::Queue;

/// Objects fetched at the same time.
const CONCURRENCY: usize = 8;
/// What arrived is put in place and reported together, this often.
const SETTLE_INTERVAL: Duration = Duration::from_millis(100);
/// Pause after the store failed: a full or broken disk needs a person.
const STORE_PAUSE: Duration = Duration::from_secs(5);
/// Revisions whose trace is carried on into fetches, at most.
const MAX_TRACED: usize = 10_000;

/// The filling task.
pub(crate) struct Filler {
    pub(crate) shelf: SharedShelf,
    pub(crate) store: DirectoryStore,
    pub(crate) filter: Filter,
    pub(crate) fetcher: Arc<Fetcher>,
    /// Woken when the catalog has changed.
    pub(crate) changed: Arc<Notify>,
    pub(crate) traced: Traced,
    pub(crate) report: watch::Sender<Option<Report>>,
    pub(crate) metrics: Metrics,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) seed: u64,
    /// Called once what the store held at start is served again.
    pub(crate) adopted: Box<dyn Fn() + Send + Sync>,
}

/// Spans of revisions that are being filled, by the objects they added: the
/// trace of a promotion goes on in the fetches that it causes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traced(Arc<Mutex<HashMap<Digest, Span>>>);

impl Traced {
    /// Opens the span of a revision, as a part of the operation's trace. It
    /// ends when the last of its objects has been fetched.
    pub(crate) fn begin(&self, revision: u64, added: &[Digest], trace_parent: Option<&str>) {
        let Some(trace_parent) = trace_parent else {
            return;
        };
        let mut spans = self.lock();
        if spans.len() + added.len() > MAX_TRACED {
            return;
        }
        let span = tracing::info_span!("fill", revision, objects = added.len());
        telemetry::set_parent(&span, trace_parent);
        for digest in added {
            spans.insert(*digest, span.clone());
        }
    }

    fn of(&self, digest: &Digest) -> Span {
        self.lock().get(digest).cloned().unwrap_or_else(Span::none)
    }

    /// Ends the part of whatever is not to be fetched any more, or never was.
    fn keep(&self, is_missing: impl Fn(&Digest) -> bool) {
        self.lock().retain(|digest, _| is_missing(digest));
    }

    fn end(&self, digest: &Digest) {
        self.lock().remove(digest);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Span>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type FetchEnded = (Ordinal, Digest, Result<Fetched, FetchError>);

/// The account while the task runs.
struct Account {
    holdings: Holdings,
    queue: Queue,
    wanted: RoaringBitmap,
    /// Log size at which that was worked out.
    wanted_at: u64,
    /// What the store held at start and the catalog has not yet named.
    unmatched: HashMap<Digest, u64>,
    rng: StdRng,
    fetches: JoinSet<FetchEnded>,
    /// When names are to be placed and a report made: set by the first arrival
    /// or change after the last time, and not put off by further ones.
    settle_at: Option<Instant>,
    /// Bytes that are wanted and not stored.
    bytes_missing: u64,
}

impl Filler {
    /// Fills until the shutdown. Fetches under way are dropped then: what they
    /// have written is resumed at the next start.
    ///
    /// # Errors
    /// When the store cannot even be listed.
    pub(crate) async fn run(self, shutdown: Shutdown) -> Result<(), StoreError> {
        let unmatched: HashMap<Digest, u64> = self
            .store
            .run(DirectoryStore::list)
            .await?
            .into_iter()
            .collect();
        tracing::info!(objects = unmatched.len(), "the store was read");
        let mut account = Account::new(unmatched, self.seed);
        let mut endpoints = self.fetcher.endpoints.clone();
        loop {
            self.start_fetches(&mut account);
            // With all places taken, whatever is due has to wait for one.
            let has_room = account.queue.in_flight() < CONCURRENCY;
            let due = account.queue.next_due().filter(|_| has_room);
            let due = due.map(|due| due.saturating_duration_since(self.clock.now()));
            tokio::select! {
                // In this order: a store that fills fast must not starve its reports.
                biased;
                () = shutdown.requested() => return Ok(()),
                () = sleep_until(account.settle_at), if account.settle_at.is_some() => {
                    self.settle(&mut account).await;
                }
                () = self.changed.notified() => self.take_stock(&mut account),
                Ok(()) = endpoints.changed() => {}
                Some(ended) = account.fetches.join_next() => self.take(&mut account, ended),
                () = sleep(due.unwrap_or_default()), if due.is_some() => {}
            }
            // Nothing more to wait for: no reason to let the interval pass.
            if account.settle_at.is_some() && account.queue.in_flight() == 0 {
                self.settle(&mut account).await;
            }
        }
    }

    /// Works out anew what is wanted and missing.
    fn take_stock(&self, account: &mut Account) {
        self.reopen(account);
        let shelf = self.shelf.read();
        account.wanted = wanted(&shelf.catalog, &self.filter);
        account.wanted_at = shelf.catalog.log_size();
        let mut missing = account.holdings.missing(&account.wanted);
        if !account.unmatched.is_empty() {
            for ordinal in &missing.clone() {
                if account.adopt(&shelf.catalog, Ordinal::new(ordinal)) {
                    missing.remove(ordinal);
                }
            }
        }
        account.queue.refill(&missing, &mut account.rng);
        account.bytes_missing = missing
            .iter()
            .filter_map(|ordinal| shelf.catalog.object(Ordinal::new(ordinal)))
            .fold(0, |bytes, object| bytes.saturating_add(object.size()));
        self.traced.keep(|digest| {
            let ordinal = shelf.catalog.ordinal(digest);
            ordinal.is_some_and(|ordinal| missing.contains(ordinal.get()))
        });
        account.unsettle();
        self.metrics.wanted.set(gauge(account.wanted.len()));
        self.metrics.missing.set(gauge(missing.len()));
    }

    /// What was described since needs more than it was thought to. A report of
    /// before said that it was ready: that holds for its bytes, and what it
    /// needs is asked for, and routed, by itself.
    fn reopen(&self, account: &mut Account) {
        let mut shelf = self.shelf.write();
        let described = std::mem::take(&mut shelf.described);
        let unready = account.holdings.reopen(&described, &shelf.catalog);
        shelf.ready -= &unready;
    }

    fn start_fetches(&self, account: &mut Account) {
        if self.fetcher.endpoints.borrow().is_none() {
            // The session tells; until then there is nobody to ask.
            return;
        }
        while account.queue.in_flight() < CONCURRENCY {
            let Some(ordinal) = account.queue.take(self.clock.now()) else {
                return;
            };
            let wanted = {
                let shelf = self.shelf.read();
                shelf.catalog.object(ordinal).map(|object| Wanted {
                    digest: *object.digest(),
                    size: object.size(),
                    pieces: object.pieces().copied(),
                })
            };
            let Some(wanted) = wanted else {
                account.queue.done(ordinal);
                continue;
            };
            let fetcher = Arc::clone(&self.fetcher);
            let span = tracing::debug_span!(
                parent: self.traced.of(&wanted.digest),
                "fetch",
                digest = %wanted.digest,
                size_bytes = wanted.size
            );
            account.fetches.spawn(
                async move {
                    let ended = fetcher.fetch(wanted).await;
                    (ordinal, wanted.digest, ended)
                }
                .instrument(span),
            );
        }
    }

    /// Takes a fetch that has ended.
    fn take(&self, account: &mut Account, ended: Result<FetchEnded, tokio::task::JoinError>) {
        let (ordinal, digest, ended) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                // Its object stays in flight, so that a bug in it is not met in a loop.
                tracing::error!(%error, "a fetch has panicked");
                return;
            }
        };
        match ended {
            Ok(fetched) => {
                self.metrics.fetched.inc();
                self.metrics.fetched_bytes.inc_by(fetched.received);
                tracing::debug!(
                    %digest,
                    received_bytes = fetched.received,
                    resumed_from_bytes = fetched.resumed_from,
                    "stored"
                );
                account.queue.done(ordinal);
                account.holdings.add(ordinal);
                account.bytes_missing = account.bytes_missing.saturating_sub(
                    self.shelf
                        .read()
                        .catalog
                        .object(ordinal)
                        .map_or(0, |object| object.size()),
                );
                account.unsettle();
                self.traced.end(&digest);
                self.metrics.missing.dec();
            }
            Err(error) => {
                self.metrics.failures.inc();
                let retry_after = error.retry_after();
                let is_news = !account.queue.is_in_vain();
                account.queue.failed(ordinal, self.clock.now(), retry_after);
                if is_news && account.queue.is_in_vain() {
                    tracing::error!(
                        error = chain(&error),
                        "nothing can be fetched from anywhere; trying again now and then"
                    );
                } else if is_news {
                    tracing::warn!(
                        %digest,
                        error = chain(&error),
                        "not fetched; it will be tried again"
                    );
                }
            }
        }
    }

    /// Puts in place what has become ready, purges what was withdrawn, and reports.
    async fn settle(&self, account: &mut Account) {
        account.settle_at = None;
        let (mut newly, placement, purge) = {
            let mut shelf = self.shelf.write();
            let newly = account.holdings.settle(&shelf.catalog);
            let placement = Placement::prepare(&mut shelf, &newly, &self.store);
            let purge = account.gone(&shelf);
            (newly, placement, purge)
        };
        let digests: Vec<Digest> = purge.iter().map(|(_, digest)| *digest).collect();
        let applied = self
            .store
            .run(move |store| {
                let applied = placement.apply();
                // Its names are gone now; a report that covers the withdrawal
                // says that its bytes are, too.
                if applied.is_ok() {
                    for digest in &digests {
                        store.remove(digest)?;
                    }
                }
                Ok(applied)
            })
            .await;
        let outcome = match applied {
            Ok(outcome) => outcome,
            Err(error) => Err((error, Vec::new())),
        };
        if outcome.is_ok() && !purge.is_empty() {
            newly -= self.forget(account, &purge);
        }
        match self.shelve(account, &newly, outcome) {
            Ok(Some(report)) => {
                self.metrics.ready.set(gauge(report.ready));
                self.report.send_replace(Some(report));
            }
            Ok(None) => {}
            Err(error) => {
                tracing::error!(error = chain(&error), "names cannot be put in place");
                account.settle_at = Some(Instant::now() + STORE_PAUSE);
            }
        }
    }

    /// Takes purged objects out of the account and off the shelf; gives what is
    /// not ready any more.
    fn forget(&self, account: &mut Account, purged: &[(Ordinal, Digest)]) -> RoaringBitmap {
        let mut shelf = self.shelf.write();
        let gone: Vec<Ordinal> = purged.iter().map(|(ordinal, _)| *ordinal).collect();
        let unready = account.holdings.remove(&gone, &shelf.catalog);
        shelf.ready -= &unready;
        for (_, digest) in purged {
            account.unmatched.remove(digest);
            tracing::info!(%digest, "withdrawn; purged");
        }
        unready
    }

    /// Makes visible what was put in place; gives what there is to report.
    fn shelve(
        &self,
        account: &mut Account,
        newly: &RoaringBitmap,
        outcome: Result<(u64, Vec<Name>), (StoreError, Vec<Name>)>,
    ) -> Result<Option<Report>, StoreError> {
        let mut shelf = self.shelf.write();
        // Ready, whatever became of the names: a client that asks by digest
        // needs none.
        shelf.ready |= newly;
        match outcome {
            Ok((through, again)) => {
                shelf.names_through = through;
                shelf.changed_names.extend(again);
                if shelf.replayed && !shelf.adopted {
                    shelf.adopted = true;
                    (self.adopted)();
                }
                Ok(self.report(account, &shelf))
            }
            Err((error, again)) => {
                shelf.changed_names.extend(again);
                Err(error)
            }
        }
    }

    /// The report on the newest checkpoint, once the fold and what is wanted
    /// have reached it: nobody may take "all that was wanted before" for all.
    fn report(&self, account: &Account, shelf: &Shelf) -> Option<Report> {
        let checkpoint = shelf.checkpoint.as_ref()?;
        let size = shelf.catalog.log_size();
        if checkpoint.checkpoint.size != size || account.wanted_at != size {
            return None;
        }
        let held = &shelf.ready & shelf.catalog.live();
        let ready = &held & &account.wanted;
        Some(Report {
            wanted: account.wanted.len(),
            ready: ready.len(),
            bytes_missing: account.bytes_missing,
            readiness: Readiness::from_held(
                &held,
                shelf.catalog.object_count(),
                shelf.names_through,
                self.filter.digest(),
                LogPosition {
                    origin: checkpoint.checkpoint.origin.clone(),
                    size: checkpoint.checkpoint.size,
                    root: checkpoint.checkpoint.root,
                },
            ),
        })
    }
}

/// For [`tokio::select`]: the condition beside it says whether there is a time.
async fn sleep_until(at: Option<Instant>) {
    if let Some(at) = at {
        tokio::time::sleep_until(at).await;
    }
}

impl Account {
    fn new(unmatched: HashMap<Digest, u64>, seed: u64) -> Self {
        Self {
            holdings: Holdings::default(),
            queue: Queue::default(),
            wanted: RoaringBitmap::new(),
            wanted_at: 0,
            unmatched,
            rng: StdRng::seed_from_u64(seed),
            fetches: JoinSet::new(),
            settle_at: None,
            bytes_missing: 0,
        }
    }

    /// Something has arrived or changed.
    fn unsettle(&mut self) {
        self.settle_at
            .get_or_insert_with(|| Instant::now() + SETTLE_INTERVAL);
    }

    /// What is withdrawn, or was needed by nothing else, and is still in the
    /// store.
    fn gone(&self, shelf: &Shelf) -> Vec<(Ordinal, Digest)> {
        let gone = shelf.gone.iter().map(Ordinal::new);
        gone.filter_map(|ordinal| Some((ordinal, *shelf.catalog.object(ordinal)?.digest())))
            .filter(|(ordinal, digest)| {
                self.holdings.has(*ordinal) || self.unmatched.contains_key(digest)
            })
            .collect()
    }

    /// Counts as held what the store had at start, if it is this object: it was
    /// verified before it got its name there.
    fn adopt(&mut self, catalog: &Catalog, ordinal: Ordinal) -> bool {
        let Some(object) = catalog.object(ordinal) else {
            return false;
        };
        let is_there = self.unmatched.get(object.digest()) == Some(&object.size());
        if is_there {
            self.unmatched.remove(object.digest());
            self.holdings.add(ordinal);
        }
        is_there
    }
}

fn gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
