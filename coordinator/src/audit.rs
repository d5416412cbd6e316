//! Comparing the origin's store with what was approved: every object that users
//! may be sent is read and hashed again, every name looked up, and what differs is
//! told and, if that is asked for, fetched from any mirror.
//!
//! One audit at a time, in a task of its own: whoever started it may leave, and
//! anybody may follow. What it finds are rows; it is not resumed. An audit that
//! the program's end has interrupted says so and is started again: it begins
//! anew, since what was hashed an hour ago says nothing about now.
//!
//! Nothing is ever removed because nobody knows it.

mod budget;
mod examine;
mod mend;
mod names;
mod objects;
mod run;
mod withdrawn;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use landfall_content::Store;
use landfall_proto::status::{Classify, Fault, chain};
use landfall_runtime::clock::Clock;
use landfall_runtime::dial::Reach;
use landfall_runtime::{OnError, Tasks};
use tokio::sync::{oneshot, watch};
use tracing::Instrument as _;

use crate::catalog::SharedCatalog;
use crate::fleet::Fleet;
use crate::state::audits::{self as rows, Audit, Finding};
use crate::state::{State, StateError};
use crate::withdraw::Withdrawals;

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
            Self::UnderWay(_) => Fault::Conflict,
            Self::Unknown(_) | Self::Never => Fault::NotFound,
            Self::Dial(_) => Fault::Bug,
        }
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
    /// The one that runs.
    feed: Mutex<Option<(String, watch::Sender<Progress>)>>,
}

impl Audits {
    /// What an earlier run of the program left unfinished was interrupted.
    pub(crate) async fn load(parts: Parts) -> Result<Self, AuditError> {
        let now = parts.clock.unix_seconds();
        let (interrupted, last) = parts
            .state
            .write("load audits", move |tx| {
                Ok((rows::interrupt(tx, now)?, rows::last_whole(tx)?))
            })
            .await?;
        if interrupted > 0 {
            tracing::warn!("an audit of the origin was interrupted by a stop");
        }
        parts.last.set(last);
        let client = parts.reach.http_client()?;
        Ok(Self {
            inner: Arc::new(Inner {
                parts,
                client,
                feed: Mutex::new(None),
            }),
        })
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
        let (feed, _) = watch::channel(Progress::default());
        {
            let mut running = self.inner.running();
            if let Some((id, _)) = &*running {
                return Err(AuditError::UnderWay(id.clone()));
            }
            *running = Some((start.id.clone(), feed.clone()));
        }
        // In a task of its own: a caller that goes away now must not leave a row
        // behind that nobody works on.
        let (reply, started) = oneshot::channel();
        let (inner, id) = (Arc::clone(&self.inner), start.id.clone());
        let span = tracing::info_span!("audit", audit = id);
        let slot = Slot(inner);
        let work = async move { slot.0.carry_out(start, feed, reply).await };
        let tasks = &self.inner.parts.tasks;
        tasks.spawn("audit", OnError::Log, work.instrument(span));
        started.await.map_err(|_| StateError::Closed)??;
        Ok(id)
    }

    /// The id of an audit, as somebody asks for it: the newest, if it is empty.
    pub(crate) async fn resolve(&self, id: String) -> Result<String, AuditError> {
        if !id.is_empty() {
            return Ok(id);
        }
        let running = self.inner.running().as_ref().map(|(id, _)| id.clone());
        match running {
            Some(id) => Ok(id),
            None => Ok(self.findings("", 0, 0).await?.0.start.id),
        }
    }

    /// The progress of an audit, while it runs; closed when that ends.
    pub(crate) async fn follow(
        &self,
        id: &str,
    ) -> Result<Option<watch::Receiver<Progress>>, AuditError> {
        let running = self.inner.running().clone();
        if let Some((_, feed)) = running.filter(|(running, _)| running == id) {
            return Ok(Some(feed.subscribe()));
        }
        self.findings(id, 0, 0).await?;
        Ok(None)
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
    async fn carry_out(
        &self,
        start: rows::Start,
        feed: watch::Sender<Progress>,
        reply: oneshot::Sender<Result<(), StateError>>,
    ) {
        let row = start.clone();
        let begun = self
            .parts
            .state
            .write("start an audit", move |tx| rows::start(tx, &row))
            .await;
        let sequence = match begun {
            Ok(sequence) => sequence,
            Err(error) => {
                // The caller may be gone.
                let _ = reply.send(Err(error));
                return;
            }
        };
        let _ = reply.send(Ok(()));
        tracing::info!(who = start.who, repair = start.repair, "audit started");
        let shutdown = self.parts.tasks.shutdown().clone();
        // A stop leaves it unfinished: the next start says so.
        let run = Box::pin(run::run(self, &start, sequence, &feed));
        let Some(tally) = shutdown.unless_requested(run).await else {
            return;
        };
        let now = self.parts.clock.unix_seconds();
        let kept = tally.clone();
        let finished = self
            .parts
            .state
            .write("finish an audit", move |tx| {
                rows::finish(tx, sequence, now, &kept)
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
            "audit finished"
        );
        if tally.error.is_empty() {
            self.parts.last.set(Some(Audit {
                sequence,
                start,
                finished: now,
                tally,
            }));
        }
    }

    fn running(&self) -> MutexGuard<'_, Option<(String, watch::Sender<Progress>)>> {
        self.feed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
