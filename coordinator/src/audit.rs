//! Comparing the origin's store with what was approved: every object that users
//! may be sent is read and hashed again, every name looked up, and what differs is
//! told and, if that is asked for, fetched from any mirror.
//!
//! One audit at a time, in a task of its own: whoever started it may leave, and
//! anybody may follow. What it finds are rows, and so is how far it is: one that the
//! program's end has interrupted is carried on at the next start, and says so. What
//! was hashed before counts as of then.
//!
//! Nothing is ever removed because nobody knows it.

mod budget;
mod cursor;
mod examine;
mod keep;
mod mend;
mod names;
mod objects;
mod run;
mod withdrawn;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use landfall_content::Store;
use landfall_proto::status::{Classify, Fault, chain};
use landfall_runtime::clock::Clock;
use landfall_runtime::dial::Reach;
use landfall_runtime::{OnError, Shutdown, Tasks};
use tokio::sync::{oneshot, watch};
use tracing::Instrument as _;

use crate::catalog::SharedCatalog;
use crate::fleet::Fleet;
use crate::state::audits::{self as rows, Audit, Finding, Interruptions, Tally};
use crate::state::{State, StateError};
use crate::withdraw::Withdrawals;
use keep::Kept;

/// Why an audit could not be started, followed or finished.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuditError {
    /// The state failed.
    #[error("the audit's state failed")]
    State(#[from] StateError),
    /// One at a time.
    #[error("the audit {0} is under way: follow it, and start another one when it has ended")]
    UnderWay(String),
    /// No such audit, or not any more.
    #[error("there is no audit {0}; the last few are kept")]
    Unknown(String),
    /// It cannot be stopped.
    #[error("{}", not_running(.0))]
    NotRunning(String),
    /// There was none yet.
    #[error("the origin was never audited")]
    Never,
    /// Mirrors cannot be dialled.
    #[error("mirrors cannot be dialled")]
    Dial(#[from] landfall_runtime::dial::DialError),
}

impl Classify for AuditError {
    fn fault(&self) -> Fault {
        match self {
            Self::State(error) => error.fault(),
            Self::UnderWay(_) | Self::NotRunning(_) => Fault::Conflict,
            Self::Unknown(_) | Self::Never => Fault::NotFound,
            Self::Dial(_) => Fault::Bug,
        }
    }
}

fn not_running(id: &str) -> String {
    match id {
        "" => "no audit runs".to_owned(),
        id => format!("audit {id} does not run"),
    }
}

/// What an audit is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) who: String,
    pub(crate) repair: bool,
    /// Bytes a second that are read of the store; 0: as many as it gives.
    pub(crate) bytes_per_second: u64,
}

/// How far an audit is. Its findings are rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) objects_done: u64,
    pub(crate) objects_total: u64,
    pub(crate) bytes_done: u64,
    pub(crate) bytes_total: u64,
    /// Findings that are stored.
    pub(crate) findings: u64,
    pub(crate) elapsed: Duration,
}

/// What the last audit that came to its end has left; a handle, cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct LastAudit(Arc<Mutex<Option<Audit>>>);

impl LastAudit {
    pub(crate) fn get(&self) -> Option<Audit> {
        self.held().clone()
    }

    fn set(&self, audit: Option<Audit>) {
        *self.held() = audit;
    }

    fn held(&self) -> MutexGuard<'_, Option<Audit>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What audits work with.
pub(crate) struct Parts {
    pub(crate) state: State,
    pub(crate) catalog: SharedCatalog,
    pub(crate) store: Store,
    pub(crate) fleet: Fleet,
    pub(crate) withdrawals: Withdrawals,
    pub(crate) tasks: Tasks,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) last: LastAudit,
    /// Where mirrors may be.
    pub(crate) reach: Reach,
}

/// A handle of the audits; cheap to clone.
#[derive(Clone)]
pub(crate) struct Audits {
    inner: Arc<Inner>,
}

struct Inner {
    parts: Parts,
    client: reqwest::Client,
    running: Mutex<Option<Running>>,
}

/// The audit that runs.
#[derive(Clone)]
struct Running {
    id: String,
    feed: watch::Sender<Progress>,
    /// Ends it.
    stop: Shutdown,
    /// Who wanted it to end.
    stopped_by: Arc<OnceLock<String>>,
}

impl Running {
    fn new(id: String, progress: Progress) -> Self {
        Self {
            id,
            feed: watch::Sender::new(progress),
            stop: Shutdown::new(),
            stopped_by: Arc::default(),
        }
    }
}

impl Audits {
    pub(crate) async fn load(parts: Parts) -> Result<Self, AuditError> {
        let last = parts.state.read("load audits", rows::last_whole).await?;
        parts.last.set(last);
        let client = parts.reach.http_client()?;
        Ok(Self {
            inner: Arc::new(Inner {
                parts,
                client,
                running: Mutex::new(None),
            }),
        })
    }

    /// Carries on what the program's end has interrupted.
    pub(crate) async fn carry_on(&self) -> Result<(), AuditError> {
        let parts = &self.inner.parts;
        let now = parts.clock.unix_seconds();
        let carried_on = parts
            .state
            .write("carry on an audit", move |tx| rows::carry_on(tx, now))
            .await?;
        let Some((audit, place)) = carried_on else {
            return Ok(());
        };
        let id = audit.start.id.clone();
        let kept = match Kept::restore(audit.tally.clone(), &place) {
            Ok(kept) => kept,
            Err(error) => {
                let why = format!("it cannot be carried on: {}", chain(&error));
                tracing::error!(audit = id, why, "an audit of the origin is ended");
                let ended = parts
                    .state
                    .write("end an audit", move |tx| {
                        rows::finish(tx, audit.sequence, now, &why)
                    })
                    .await;
                return Ok(ended?);
            }
        };
        tracing::warn!(
            audit = id,
            objects = audit.tally.objects,
            bytes = audit.tally.bytes,
            "an audit of the origin was interrupted by a stop, and is carried on"
        );
        let progress = Progress {
            objects_done: audit.tally.objects,
            objects_total: audit.tally.objects,
            bytes_done: audit.tally.bytes,
            bytes_total: audit.tally.bytes,
            findings: audit.tally.findings(),
            elapsed: kept.elapsed,
        };
        let running = Running::new(id, progress);
        let slot = self.occupy(&running)?;
        let id = running.id.clone();
        let work = async move { slot.0.carry_out(audit, kept, running).await };
        self.spawn(&id, work);
        Ok(())
    }

    /// Starts an audit; gives its id.
    pub(crate) async fn start(&self, asked: Asked) -> Result<String, AuditError> {
        let now = self.inner.parts.clock.unix_seconds();
        let start = rows::Start {
            id: format!("{now:x}-{:08x}", rand::random::<u32>()),
            who: asked.who,
            repair: asked.repair,
            bytes_per_second: asked.bytes_per_second,
            started: now,
        };
        let id = start.id.clone();
        let running = Running::new(id.clone(), Progress::default());
        let slot = self.occupy(&running)?;
        // In a task of its own: a caller that goes away now must not leave a row
        // behind that nobody works on.
        let (reply, started) = oneshot::channel();
        let work = async move {
            let begun = slot.0.begin(start).await;
            // The caller may be gone.
            match begun {
                Err(error) => drop(reply.send(Err(error))),
                Ok(audit) => {
                    let _ = reply.send(Ok(()));
                    slot.0.carry_out(audit, Kept::default(), running).await;
                }
            }
        };
        self.spawn(&id, work);
        started.await.map_err(|_| StateError::Closed)??;
        Ok(id)
    }

    /// Ends the audit that runs; it keeps what it has found. `id` may be empty.
    pub(crate) fn stop(&self, id: &str, who: &str) -> Result<String, AuditError> {
        let running = self.inner.running().clone();
        let running = running.filter(|running| id.is_empty() || running.id == id);
        let running = running.ok_or_else(|| AuditError::NotRunning(id.to_owned()))?;
        // The first one counts.
        let _ = running.stopped_by.set(who.to_owned());
        running.stop.trigger();
        Ok(running.id)
    }

    fn occupy(&self, running: &Running) -> Result<Slot, AuditError> {
        let mut place = self.inner.running();
        if let Some(running) = &*place {
            return Err(AuditError::UnderWay(running.id.clone()));
        }
        *place = Some(running.clone());
        Ok(Slot(Arc::clone(&self.inner)))
    }

    fn spawn(&self, id: &str, work: impl Future<Output = ()> + Send + 'static) {
        let span = tracing::info_span!("audit", audit = id);
        let tasks = &self.inner.parts.tasks;
        tasks.spawn("audit", OnError::Log, work.instrument(span));
    }

    /// The id of an audit, as somebody asks for it: the newest, if it is empty.
    pub(crate) async fn resolve(&self, id: String) -> Result<String, AuditError> {
        if !id.is_empty() {
            return Ok(id);
        }
        let running = self.inner.running().as_ref().map(|it| it.id.clone());
        match running {
            Some(id) => Ok(id),
            None => Ok(self.findings("", 0, 0).await?.0.start.id),
        }
    }

    /// The progress of an audit, while it runs; closed when that ends.
    pub(crate) fn follow(&self, id: &str) -> Option<watch::Receiver<Progress>> {
        let running = self.inner.running();
        let running = running.as_ref().filter(|running| running.id == id);
        running.map(|running| running.feed.subscribe())
    }

    /// The audit as stored (the newest, if `id` is empty), and its next findings
    /// after the `after`-th, in one moment.
    pub(crate) async fn findings(
        &self,
        id: &str,
        after: u64,
        limit: u32,
    ) -> Result<(Audit, Vec<Finding>), AuditError> {
        let wanted = id.to_owned();
        let state = &self.inner.parts.state;
        let found = state
            .read("read findings", move |connection| {
                let Some(audit) = rows::find(connection, &wanted)? else {
                    return Ok(None);
                };
                let findings = rows::findings(connection, audit.sequence, after, limit)?;
                Ok(Some((audit, findings)))
            })
            .await?;
        found.ok_or_else(|| match id {
            "" => AuditError::Never,
            id => AuditError::Unknown(id.to_owned()),
        })
    }
}

/// The one place that an audit has; free again however its task ends.
struct Slot(Arc<Inner>);

impl Drop for Slot {
    fn drop(&mut self) {
        *self.0.running() = None;
    }
}

impl Inner {
    async fn begin(&self, start: rows::Start) -> Result<Audit, StateError> {
        tracing::info!(who = start.who, repair = start.repair, "audit started");
        let row = start.clone();
        let state = &self.parts.state;
        let begun = state.write("start an audit", move |tx| rows::start(tx, &row));
        Ok(Audit {
            sequence: begun.await?,
            start,
            finished: 0,
            tally: Tally::default(),
            interruptions: Interruptions::default(),
        })
    }

    async fn carry_out(&self, audit: Audit, kept: Kept, running: Running) {
        let (parts, stop) = (&self.parts, &running.stop);
        let shutdown = parts.tasks.shutdown();
        let ended = {
            let mut run = Box::pin(run::run(self, &audit, kept, running.feed, stop));
            tokio::select! {
                ended = &mut run => ended,
                () = shutdown.requested() => {
                    stop.trigger();
                    run.await
                }
            }
        };
        let mut tally = ended.tally;
        if !ended.is_whole && tally.error.is_empty() {
            match running.stopped_by.get() {
                Some(who) => tally.error = format!("stopped by {who}"),
                // The next start carries it on.
                None => return,
            }
        }
        let (now, error) = (parts.clock.unix_seconds(), tally.error.clone());
        let finished = parts
            .state
            .write("finish an audit", move |tx| {
                rows::finish(tx, audit.sequence, now, &error)
            })
            .await;
        if let Err(error) = finished {
            tracing::error!(error = %chain(&error), "the end of an audit was not stored");
            return;
        }
        tracing::info!(
            objects = tally.objects,
            bytes = tally.bytes,
            repaired = tally.repaired,
            drift = tally.drift(),
            error = tally.error,
            "audit finished"
        );
        if tally.error.is_empty() {
            parts.last.set(Some(Audit {
                finished: now,
                tally,
                ..audit
            }));
        }
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
