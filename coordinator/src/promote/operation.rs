//! Operations: plans being carried out.
//!
//! An operation is rows first and a task second. A broken connection does not
//! cancel it, a killed coordinator resumes it, and whoever follows it reads its
//! rows from the beginning: there is no queue of events that could be missed.

mod gate;
mod run;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use landfall_catalog::{Catalog, Digest, Name};
use landfall_promotion::ProductionRule;
use landfall_proto::status::{Classify, Fault, chain};
use landfall_runtime::clock::Clock;
use landfall_runtime::{OnError, Tasks, retry::Backoff, telemetry};
use tokio::sync::{Notify, Semaphore, oneshot, watch};
use tracing::Instrument;

use super::bounds::{self, Bounds, Scope};
use super::execute::Executor;
use super::follow::Follower;
use super::gate::{GateStanding, Terms};
use super::orders::Orders;
use super::rest::Resting;
use crate::catalog::SharedCatalog;
use crate::config::Limits;
use crate::fleet::Fleet;
use crate::metrics::Metrics;
use crate::publish::{Ledger, PublishError};
use crate::state::operations::{self as rows, Decision, EntryRow};
use crate::state::projects::{self, Half, HalfKind, Standing};
use crate::state::quarantine::Quarantine;
use crate::state::{State, StateError, gates, plans, quarantine};
pub(crate) use gate::{GateChoice, Waiting};

/// Why an operation could not be started or carried out.
#[derive(Debug, thiserror::Error)]
pub enum OperationError {
    /// The state failed.
    #[error("the operation's state failed")]
    State(#[from] StateError),
    /// No such plan is remembered.
    #[error("no plan {0} is remembered: plan again")]
    UnknownPlan(Digest),
    /// No such operation.
    #[error("there is no operation {0}")]
    UnknownOperation(String),
    /// There is no mirror that a gate could wait for.
    #[error(
        "there is no active mirror that the gate could wait for: start agents, or promote without --gate"
    )]
    NoMirrors,
    /// The operation does not wait at a gate.
    #[error("operation {0} does not wait at a gate")]
    NotWaiting(String),
    /// Somebody decided on the gate already.
    #[error("the gate of operation {0} is decided already")]
    Decided(String),
    /// A name of the operation is another project's.
    #[error("{0}")]
    NotYours(String),
    /// A remembered plan cannot be read back.
    #[error("the remembered plan cannot be read")]
    Plan(#[from] serde_json::Error),
    /// The revision could not be committed.
    #[error("the revision could not be committed")]
    Publish(#[from] PublishError),
}

impl Classify for OperationError {
    fn fault(&self) -> Fault {
        match self {
            Self::State(error) => error.fault(),
            Self::UnknownPlan(_) | Self::UnknownOperation(_) => Fault::NotFound,
            Self::NoMirrors | Self::NotWaiting(_) | Self::Decided(_) => Fault::Conflict,
            Self::NotYours(_) => Fault::Forbidden,
            Self::Plan(_) => Fault::Bug,
            Self::Publish(error) => error.fault(),
        }
    }
}

impl OperationError {
    /// Whether only the program's end is in the way.
    const fn is_stop(&self) -> bool {
        matches!(
            self,
            Self::State(StateError::Closed)
                | Self::Publish(PublishError::Stopped | PublishError::State(StateError::Closed))
        )
    }
}

/// Who wants which plan carried out, and why.
#[derive(Clone, Debug)]
pub(crate) struct Confirmed {
    pub(crate) plan: Digest,
    pub(crate) who: String,
    pub(crate) why: String,
    /// Commit id of the manifests.
    pub(crate) source: String,
    /// W3C trace context of the request; may be empty.
    pub(crate) trace_parent: String,
    /// The projects that they may promote.
    pub(crate) scope: Scope,
    /// Names wait for mirrors, on these terms.
    pub(crate) gate: Option<Terms>,
}

/// Pauses between two attempts to end an operation that failed.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How far an operation is. Its decisions are rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) bytes_done: u64,
    pub(crate) bytes_total: u64,
    pub(crate) entries_done: u64,
    pub(crate) entries_total: u64,
    /// How the gate stands, while names wait.
    pub(crate) gate: Option<GateStanding>,
    /// Why it cannot even be ended for now: its database cannot be written.
    pub(crate) trouble: Option<String>,
}

/// An operation, and some of what was decided on its entries.
pub(crate) struct DecidedSoFar {
    pub(crate) operation: rows::Operation,
    pub(crate) gate: Option<gates::GateRow>,
    pub(crate) entries: Vec<EntryRow>,
    /// Of an operation that ended and published nothing: the newest revision that
    /// set one of its names as it was asked to; 0: none did.
    pub(crate) names_revision: u64,
}

/// What operations work with.
pub(crate) struct Parts {
    pub(crate) state: State,
    pub(crate) ledger: Ledger,
    pub(crate) catalog: SharedCatalog,
    pub(crate) executor: Executor,
    pub(crate) follower: Follower,
    pub(crate) tasks: Tasks,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Metrics,
    pub(crate) rules: Arc<Vec<ProductionRule>>,
    pub(crate) fleet: Fleet,
    pub(crate) resting: Resting,
}

/// A handle of all operations; cheap to clone.
#[derive(Clone)]
pub(crate) struct Operations {
    inner: Arc<Inner>,
}

struct Inner {
    state: State,
    ledger: Ledger,
    catalog: SharedCatalog,
    executor: Executor,
    follower: Follower,
    tasks: Tasks,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    rules: Arc<Vec<ProductionRule>>,
    fleet: Fleet,
    resting: Resting,
    /// Wakes those that wait at gates.
    decided: Notify,
    concurrent_copies: usize,
    slots: Semaphore,
    /// Those that run, by id.
    feeds: Mutex<BTreeMap<String, watch::Sender<Progress>>>,
}

impl Operations {
    pub(crate) fn new(parts: Parts, limits: &Limits) -> Self {
        let Parts {
            state,
            ledger,
            catalog,
            executor,
            follower,
            tasks,
            clock,
            metrics,
            rules,
            fleet,
            resting,
        } = parts;
        Self {
            inner: Arc::new(Inner {
                state,
                ledger,
                catalog,
                executor,
                follower,
                tasks,
                clock,
                metrics,
                rules,
                fleet,
                resting,
                decided: Notify::new(),
                concurrent_copies: limits.concurrent_copies.max(1),
                slots: Semaphore::new(limits.concurrent_operations.max(1)),
                feeds: Mutex::new(BTreeMap::new()),
            }),
        }
    }

    /// Starts an operation that carries out a remembered plan; gives its id.
    pub(crate) async fn start(&self, confirmed: Confirmed) -> Result<String, OperationError> {
        self.inner.ledger.check()?;
        if confirmed.gate.is_some() && !self.inner.has_active_mirrors() {
            return Err(OperationError::NoMirrors);
        }
        let plan = confirmed.plan;
        let body = self
            .inner
            .state
            .read("recall a plan", move |connection| {
                plans::recall(connection, &plan)
            })
            .await?
            .ok_or(OperationError::UnknownPlan(plan))?;
        let orders = decode(body).await?;
        // In a task of its own: a caller that goes away now must not leave rows
        // behind that nobody works on.
        let (reply, started) = oneshot::channel();
        let this = self.clone();
        let starting = async move {
            // The caller may be gone.
            let _ = reply.send(this.start_now(confirmed, orders).await);
        };
        self.inner
            .tasks
            .spawn("operation start", OnError::Log, starting);
        started.await.map_err(|_| StateError::Closed)?
    }

    async fn start_now(
        &self,
        confirmed: Confirmed,
        orders: Orders,
    ) -> Result<String, OperationError> {
        let now = self.inner.clock.unix_seconds();
        let start = rows::Start {
            id: format!("{now:x}-{:08x}", rand::random::<u32>()),
            plan: confirmed.plan,
            who: confirmed.who,
            why: confirmed.why,
            source: confirmed.source,
            trace_parent: confirmed.trace_parent,
            started: now,
        };
        let id = start.id.clone();
        let (entries, halves) = (orders.rows(), orders.halves.clone());
        let (asked, left_out) = (Asked::of(&orders), orders.left_out.clone());
        let (row, scope, gate) = (start.clone(), confirmed.scope, confirmed.gate);
        let rules = Arc::clone(&self.inner.rules);
        let operation = self
            .inner
            .state
            .write("start an operation", move |tx| {
                // Forgotten meanwhile, it could not be resumed.
                if !plans::is_remembered(tx, &row.plan)? {
                    return Ok(None);
                }
                let sequence = rows::start(tx, &row, &entries)?;
                if let Some(terms) = gate {
                    gates::put(tx, sequence, terms)?;
                }
                let differing = register(tx, &halves, &scope, &row.who, now)?;
                let bounds = Bounds::new(&projects::all(tx)?, &rules);
                rows::set_projects(tx, sequence, &asked.projects(&bounds))?;
                quarantine::put(tx, sequence, left_out.entries, &left_out.findings)?;
                rows::decide(tx, sequence, &refusals(&asked, &differing, &bounds, &scope))?;
                Ok(Some(rows::Operation {
                    sequence,
                    start: row,
                    finished: None,
                    result: rows::Totals::default(),
                }))
            })
            .await?
            .ok_or(OperationError::UnknownPlan(confirmed.plan))?;
        tracing::info!(operation = id, plan = %operation.start.plan, "operation started");
        self.spawn(operation, Ok(orders));
        Ok(id)
    }

    /// Goes on with everything that was not finished when the program stopped.
    pub(crate) async fn resume(&self) -> Result<(), OperationError> {
        let unfinished = self
            .inner
            .state
            .read("list unfinished operations", rows::unfinished)
            .await?;
        for operation in unfinished {
            let id = operation.start.id.clone();
            tracing::info!(operation = id, "operation resumed");
            let plan = operation.start.plan;
            let body = self
                .inner
                .state
                .read("recall a plan", move |connection| {
                    plans::recall(connection, &plan)
                })
                .await?;
            let orders = match body {
                Some(body) => decode(body).await,
                None => Err(OperationError::UnknownPlan(plan)),
            };
            if let Err(error) = &orders {
                tracing::error!(operation = id, error = %chain(error), "operation cannot be resumed");
            }
            self.spawn(operation, orders);
        }
        Ok(())
    }

    /// The progress of an operation, while it runs here; closed when that ends.
    pub(crate) async fn follow(
        &self,
        id: &str,
    ) -> Result<Option<watch::Receiver<Progress>>, OperationError> {
        let feed = self.inner.feeds().get(id).map(watch::Sender::subscribe);
        if feed.is_none() {
            self.find(id).await?;
        }
        Ok(feed)
    }

    /// The operation as stored.
    pub(crate) async fn find(&self, id: &str) -> Result<rows::Operation, OperationError> {
        let wanted = id.to_owned();
        self.inner
            .state
            .read("find an operation", move |connection| {
                rows::find(connection, &wanted)
            })
            .await?
            .ok_or_else(|| OperationError::UnknownOperation(id.to_owned()))
    }

    /// The next decisions of an operation after the `after`-th, and how it stands,
    /// in one moment.
    pub(crate) async fn decided_after(
        &self,
        id: &str,
        after: u64,
        limit: u32,
    ) -> Result<DecidedSoFar, OperationError> {
        let wanted = id.to_owned();
        let decided = self
            .inner
            .state
            .read("read decisions", move |connection| {
                let Some(operation) = rows::find(connection, &wanted)? else {
                    return Ok(None);
                };
                let sequence = operation.sequence;
                let has_nothing = operation.finished.is_some() && operation.result.revision == 0;
                let names_revision = match has_nothing {
                    true => rows::names_revision(connection, sequence)?,
                    false => operation.result.revision,
                };
                Ok(Some(DecidedSoFar {
                    names_revision,
                    operation,
                    gate: gates::of(connection, sequence)?,
                    entries: rows::decided_after(connection, sequence, after, limit)?,
                }))
            })
            .await?;
        decided.ok_or_else(|| OperationError::UnknownOperation(id.to_owned()))
    }

    /// The operation that published a revision.
    pub(crate) async fn of_revision(
        &self,
        revision: u64,
    ) -> Result<rows::Operation, OperationError> {
        self.inner
            .state
            .read("find an operation", move |connection| {
                rows::of_revision(connection, revision)
            })
            .await?
            .ok_or_else(|| OperationError::UnknownOperation(format!("of revision {revision}")))
    }

    /// Entries of an operation from a position on, in order.
    pub(crate) async fn entries_from(
        &self,
        operation: i64,
        from: u64,
        limit: u32,
    ) -> Result<Vec<EntryRow>, OperationError> {
        Ok(self
            .inner
            .state
            .read("read an operation's entries", move |connection| {
                rows::entries_from(connection, operation, from, limit)
            })
            .await?)
    }

    /// Operations before that one, newest first; of one project, if so.
    pub(crate) async fn newest(
        &self,
        before: Option<i64>,
        project: Option<String>,
        limit: u32,
    ) -> Result<Vec<rows::Operation>, OperationError> {
        let before = before.unwrap_or(i64::MAX);
        Ok(self
            .inner
            .state
            .read("list operations", move |connection| {
                rows::newest(connection, before, project.as_deref(), limit)
            })
            .await?)
    }

    /// What an operation left out of the manifests, from a position on.
    pub(crate) async fn quarantined_from(
        &self,
        operation: i64,
        from: u32,
        limit: u32,
    ) -> Result<Vec<(u32, Quarantine)>, OperationError> {
        Ok(self
            .inner
            .state
            .read("read what was left out", move |connection| {
                quarantine::of(connection, operation, from, limit)
            })
            .await?)
    }

    /// Says of operations that are older than this is kept which projects they
    /// were about, as names belong to projects now.
    pub(crate) async fn attribute(&self) -> Result<(), OperationError> {
        loop {
            let (rules, catalog) = (Arc::clone(&self.inner.rules), self.inner.catalog.clone());
            let attribute = move |tx: &rusqlite::Transaction<'_>| {
                let Some(operation) = rows::without_projects(tx)? else {
                    return Ok(false);
                };
                let bounds = Bounds::new(&projects::all(tx)?, &rules);
                let entries = rows::entries(tx, operation)?;
                let names: Vec<Name> = catalog
                    .read(|catalog| entries.iter().flat_map(|it| meant(catalog, it)).collect());
                rows::add_projects(tx, operation, &bounds.owners_of(&names))?;
                Ok(true)
            };
            let what = "find whose operations they are";
            if !self.inner.state.write(what, attribute).await? {
                return Ok(());
            }
        }
    }

    /// Carries it out, or, without orders, ends it.
    fn spawn(&self, operation: rows::Operation, orders: Result<Orders, OperationError>) {
        let id = operation.start.id.clone();
        let (feed, _) = watch::channel(Progress::default());
        self.inner.feeds().insert(id.clone(), feed.clone());
        let inner = Arc::clone(&self.inner);
        let span = tracing::info_span!("operation", operation = id);
        telemetry::set_parent(&span, &operation.start.trace_parent);
        let shutdown = self.inner.tasks.shutdown().clone();
        // Whoever follows it is told of the end, however it ends.
        let guard = Feed {
            inner: Arc::clone(&self.inner),
            id: id.clone(),
        };
        let work = async move {
            let _guard = guard;
            let kept = operation.clone();
            // A stop leaves it unfinished: the next start resumes it.
            let done = match orders {
                Ok(orders) => {
                    let running = Box::pin(inner.run(operation, orders, &feed));
                    shutdown.unless_requested(running).await
                }
                Err(error) => Some(Err(error)),
            };
            match done {
                None => return Ok(()),
                Some(Err(error)) if error.is_stop() => return Ok(()),
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    let why = chain(&error);
                    tracing::error!(error = why, "operation failed");
                    let ended = inner.abandon_at_last(&kept, &why, &feed);
                    if shutdown.unless_requested(ended).await.is_none() {
                        return Ok(());
                    }
                }
            }
            inner.ended(&id).await?;
            feed.send_modify(|progress| progress.entries_done = progress.entries_total);
            Ok::<(), OperationError>(())
        };
        self.inner
            .tasks
            .spawn("operation", OnError::Log, work.instrument(span));
    }
}

impl Inner {
    /// Ends an operation that failed, however long its rows cannot be written:
    /// a full disk must not leave it running for ever. Whoever follows it is told
    /// what it waits for.
    async fn abandon_at_last(
        &self,
        operation: &rows::Operation,
        why: &str,
        feed: &watch::Sender<Progress>,
    ) {
        let mut pauses = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        while let Err(error) = self.abandon(operation, why.to_owned()).await {
            let trouble = Some(chain(&error));
            // Told once: it may last.
            feed.send_if_modified(|progress| {
                let is_news = progress.trouble != trouble;
                if is_news {
                    let error = trouble.as_deref();
                    tracing::error!(error, "a failed operation cannot be ended; trying again");
                    progress.trouble.clone_from(&trouble);
                }
                is_news
            });
            tokio::time::sleep(pauses.next_delay()).await;
        }
    }
}

/// The names that an entry is about: its own or, of a withdrawal, those of the
/// object.
fn meant(catalog: &Catalog, entry: &EntryRow) -> Vec<Name> {
    if entry.name != entry.digest.to_string() {
        return entry.name.parse().into_iter().collect();
    }
    let ordinal = catalog.ordinal(&entry.digest);
    let names = ordinal.into_iter().flat_map(|it| catalog.names_of(it));
    names.collect()
}

/// An operation that runs is among those that do.
struct Feed {
    inner: Arc<Inner>,
    id: String,
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.inner.feeds().remove(&self.id);
    }
}

/// Plans can be large: off the async threads.
async fn decode(body: Vec<u8>) -> Result<Orders, OperationError> {
    tokio::task::spawn_blocking(move || Orders::decode(&body))
        .await
        .map_err(|_| OperationError::State(StateError::Closed))?
        .map_err(OperationError::from)
}

/// What an operation is to change, by position: what is set, then what is removed.
struct Asked {
    set: Vec<(Name, String, HalfKind)>,
    removed: Vec<Name>,
}

impl Asked {
    fn of(orders: &Orders) -> Self {
        let set = orders.entries.iter();
        let removed = orders.removals.iter();
        Self {
            set: set
                .map(|order| (order.name.clone(), order.project.clone(), order.kind))
                .collect(),
            removed: removed.map(|(name, _)| name.clone()).collect(),
        }
    }
}

impl Asked {
    /// The projects that ask; where nobody does, those whose names they are.
    fn projects(&self, bounds: &Bounds) -> BTreeSet<String> {
        let (asking, others): (Vec<_>, Vec<_>) = self
            .set
            .iter()
            .partition(|(_, project, _)| !project.is_empty());
        let names = others.into_iter().map(|(name, ..)| name);
        let mut projects = bounds.owners_of(names.chain(&self.removed));
        projects.extend(asking.into_iter().map(|(_, project, _)| project.clone()));
        projects
    }
}

/// Registers what is not registered yet, if the asker may; gives those that
/// differ from what is registered, each with the reason.
fn register(
    tx: &rusqlite::Transaction<'_>,
    halves: &[Half],
    scope: &Scope,
    who: &str,
    now: u64,
) -> rusqlite::Result<BTreeMap<(String, HalfKind), String>> {
    let mut differing = BTreeMap::new();
    for half in halves {
        let standing = match scope {
            Scope::All => projects::register(tx, half, who, now)?,
            Scope::Projects(_) => projects::standing(tx, half)?,
        };
        let why = match (standing, scope) {
            (Standing::Differs, _) => half_differs(&half.project, half.kind),
            (Standing::Unregistered, Scope::Projects(_)) => {
                bounds::not_registered(&half.project, half.kind)
            }
            (Standing::Unregistered | Standing::Registered, _) => continue,
        };
        differing.insert((half.project.clone(), half.kind), why);
    }
    Ok(differing)
}

/// What is refused before anything is done: the entries of a project whose half
/// is not the registered one, and then every removal, since nobody can say any
/// more whose names they are; and what the asker or the project may not change.
fn refusals(
    asked: &Asked,
    differing: &BTreeMap<(String, HalfKind), String>,
    bounds: &Bounds,
    scope: &Scope,
) -> Vec<Decision> {
    let set = asked.set.iter().map(|(name, project, kind)| {
        let differs = differing.get(&(project.clone(), *kind)).cloned();
        // A way back belongs to no manifest: the name alone is judged.
        let is_revert = project.is_empty();
        differs.or_else(|| match is_revert {
            true => bounds.touching(name, scope).err(),
            false => bounds.setting(name, project, scope).err(),
        })
    });
    let removed = asked.removed.iter().map(|name| {
        let differs = differing.values().next().cloned();
        differs.or_else(|| bounds.touching(name, scope).err())
    });
    (0_u32..)
        .zip(set.chain(removed))
        .filter_map(|(position, why)| {
            Some(Decision {
                position,
                outcome: "refused",
                detail: why?,
            })
        })
        .collect()
}

/// Why entries of a project are refused whose sensitive half is another one.
pub(crate) fn half_differs(project: &str, kind: HalfKind) -> String {
    format!(
        "the registered source or destinations of {project} ({}) are others",
        kind.as_str()
    )
}
