//! Puts the coordinator together: the only place that wires things.

use std::fs::DirBuilder;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use landfall_catalog::LogSigner;
use landfall_content::{Store, StoreError};
use landfall_proto::status::chain;
use landfall_runtime::clock::{Clock, SystemClock};
use landfall_runtime::config::{Check, process_environment};
use landfall_runtime::dial::{DialError, Reach, without_secrets};
use landfall_runtime::ops::{self, Ready};
use landfall_runtime::{OnError, Shutdown, TaskFailure, Tasks};
use tokio::net::TcpListener;

use crate::audit::{AuditError, Audits, LastAudit, Parts as AuditParts};
use crate::catalog::SharedCatalog;
use crate::config::Config;
use crate::fleet::{Fleet, FleetError};
use crate::grpc::{self, Shared, Urls};
use crate::history::History;
use crate::keys::{self, KeyError};
use crate::metrics::Metrics;
use crate::owned::{OwnedError, Owner};
use crate::principal::Gate;
use crate::promote::execute::Executor;
use crate::promote::follow::Follower;
use crate::promote::leftovers;
use crate::promote::operation::{OperationError, Operations, Parts};
use crate::promote::plan::Planner;
use crate::promote::resolve::Resolver;
use crate::promote::rest::Resting;
use crate::promote::sources::Sources;
use crate::promote::staging::Staging;
use crate::publish::{self, PublishError};
use crate::state::plans::Keep;
use crate::state::{State, StateError, StateThread, log};
use crate::status::Statuses;
use crate::tokens::Tokens;
use crate::web::{self, LOG_PATH, ORIGIN_PATH, Web};
use crate::withdraw::{Exposed, Withdrawals};

/// What the coordinator calls itself in a bucket.
const ORIGIN: &str = "origin";

/// How a coordinator is run.
pub struct RunOptions {
    /// Listen and dial in plain text on loopback. Without it there is nothing
    /// to run yet: identity is not configured.
    pub insecure_loopback: bool,
    /// The origin is known to be lost, and is to be filled again: go on though it
    /// has nothing of the catalog.
    pub origin_is_lost: bool,
    /// Is told one line when everything is ready, with the bound addresses.
    pub announce: Box<dyn Fn(&str) + Send + Sync>,
}

/// Why a coordinator did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// Without identity only loopback is possible, and only on request.
    #[error("identity is not configured: run with --insecure-loopback, on loopback addresses only")]
    NoIdentity,
    /// The configuration has faults.
    #[error("the configuration is not usable: {0}")]
    Config(String),
    /// A folder cannot be created.
    #[error("the folder {path} cannot be created", path = path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {address} for {what}")]
    Listen {
        /// `gRPC` or `HTTP`.
        what: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The database cannot be used.
    #[error("the state cannot be used")]
    State(#[from] StateError),
    /// The log's keys cannot be used.
    #[error("the log's keys cannot be used")]
    Keys(#[from] KeyError),
    /// The log cannot be opened.
    #[error("the log cannot be opened")]
    Publish(#[from] PublishError),
    /// The origin's store cannot be opened.
    #[error("the origin's store cannot be opened")]
    Store(#[from] StoreError),
    /// The origin is another log's, or not the one that it was.
    #[error(transparent)]
    Origin(#[from] OwnedError),
    /// Staging cannot be dialled.
    #[error("staging cannot be read")]
    Dial(#[from] DialError),
    /// The fleet cannot be loaded.
    #[error("the fleet cannot be loaded")]
    Fleet(#[from] FleetError),
    /// Unfinished operations cannot be resumed.
    #[error("unfinished operations cannot be resumed")]
    Resume(#[from] OperationError),
    /// The audits cannot be loaded.
    #[error("the audits cannot be loaded: {0}")]
    Audit(String),
    /// The metrics contradict each other. A defect.
    #[error("the metrics cannot be set up")]
    Metrics(#[from] prometheus::Error),
    /// A part that everything depends on failed.
    #[error("the coordinator stopped")]
    Task(#[from] TaskFailure),
}

impl RunError {
    /// Whether it is wrong use or a wrong configuration, which another try does
    /// not mend.
    #[must_use]
    pub const fn is_configuration(&self) -> bool {
        match self {
            Self::NoIdentity | Self::Config(_) | Self::Dial(_) => true,
            Self::Origin(error) => !matches!(error, OwnedError::Store { .. }),
            Self::Folder { .. }
            | Self::Listen { .. }
            | Self::State(_)
            | Self::Keys(_)
            | Self::Publish(_)
            | Self::Store(_)
            | Self::Fleet(_)
            | Self::Resume(_)
            | Self::Audit(_)
            | Self::Metrics(_)
            | Self::Task(_) => false,
        }
    }
}

/// Creates what is missing of folders, database, keys and the first checkpoint;
/// gives the log's verifier keys, for readers to pin.
///
/// # Errors
/// [`RunError`]; nothing that exists is changed.
pub async fn init(config: &Config) -> Result<Vec<String>, RunError> {
    check(config)?;
    let (state, thread, signer) = open_state(config).await?;
    let keys = signer.keys().to_strings();
    publish::first_head(&state, &signer, SystemClock.unix_seconds()).await?;
    drop(state);
    close(thread).await;
    Ok(keys)
}

/// Runs a coordinator until `shutdown` is requested, or until a part that
/// everything depends on fails.
///
/// # Errors
/// [`RunError`] if it could not start or did not end well.
pub async fn run(config: Config, options: RunOptions, shutdown: Shutdown) -> Result<(), RunError> {
    if !options.insecure_loopback {
        return Err(RunError::NoIdentity);
    }
    check(&config)?;
    landfall_runtime::install_crypto();
    let (grpc, grpc_address) = listen("gRPC", config.listen.grpc).await?;
    let (http, http_address) = listen("HTTP", config.listen.http).await?;
    let urls = urls(&config, http_address);
    let (state, thread, signer) = open_state(&config).await?;
    let stop_within = config.limits.stop_within;
    let tasks = Tasks::new(shutdown);
    let is_lost = options.origin_is_lost;
    let started = start(config, is_lost, state, signer, &tasks, urls, (grpc, http)).await;
    let fleet = match started {
        Ok(fleet) => fleet,
        Err(error) => {
            tasks.shutdown().trigger();
            // What failed first is what is told.
            if let Err(failure) = tasks.join(stop_within).await {
                tracing::debug!(error = %chain(&failure), "stopping after a failed start");
            }
            return Err(error);
        }
    };
    (options.announce)(&format!(
        "coordinator ready grpc={grpc_address} http={http_address}"
    ));
    let ended = tasks.join(stop_within).await;
    if let Err(error) = fleet.store_reports().await {
        tracing::error!(error = %chain(&error), "the last readiness reports were not stored");
    }
    drop((fleet, tasks));
    close(thread).await;
    Ok(ended?)
}

/// Opens everything and starts every task. What an earlier run left undone is
/// done before the first request is answered.
async fn start(
    config: Config,
    origin_is_lost: bool,
    state: State,
    signer: LogSigner,
    tasks: &Tasks,
    urls: Urls,
    (grpc, http): (TcpListener, TcpListener),
) -> Result<Fleet, RunError> {
    let shutdown = tasks.shutdown().clone();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let limits = Arc::new(config.limits.clone());
    let verifier_keys = signer.keys().to_strings();
    let log_folder = config.data_dir.join("log");
    let opened = publish::open(state.clone(), log_folder, signer, Arc::clone(&clock)).await?;
    let catalog = opened.catalog;
    let objects = catalog.read(landfall_catalog::Catalog::object_count);
    let fleet = Fleet::load(
        state.clone(),
        opened.signature.own().clone(),
        Arc::clone(&clock),
        &config,
        rand::random(),
        objects,
    )
    .await?;
    let signature = opened.signature;
    signature.expect(fleet.reporting(), limits.muster);
    let owner = Owner {
        name: &config.name,
        keys: &verifier_keys,
        is_lost: origin_is_lost,
    };
    let store = open_store(&config, &owner, &catalog).await?;
    let rules = Arc::new(config.production);
    let staging = Staging::new(config.staging, Arc::clone(&rules));
    let sources = Sources::new(staging, &limits, &config.allow_private)?;
    let metrics = Metrics::new()?;
    let last_audit = LastAudit::default();
    let exposed = Exposed::default();
    let statuses = Statuses {
        name: urls.name.as_str().into(),
        verifier_keys: Arc::new(verifier_keys),
        catalog: catalog.clone(),
        fleet: fleet.clone(),
        clock: Arc::clone(&clock),
        last_audit: last_audit.clone(),
        exposed: exposed.clone(),
        signature: signature.clone(),
    };
    let tokens = Tokens::load(state.clone(), Arc::clone(&clock)).await?;
    let follower = Follower::new(state.clone(), catalog.clone(), store.clone());
    let resting = Resting::default();
    let operations = Operations::new(
        Parts {
            state: state.clone(),
            ledger: opened.ledger.clone(),
            catalog: catalog.clone(),
            executor: Executor::new(sources.clone(), store.clone(), catalog.clone()),
            follower: follower.clone(),
            tasks: tasks.clone(),
            clock: Arc::clone(&clock),
            metrics: metrics.clone(),
            rules: Arc::clone(&rules),
            fleet: fleet.clone(),
            resting: resting.clone(),
        },
        &limits,
    );
    let withdrawals = Withdrawals {
        catalog: catalog.clone(),
        ledger: opened.ledger.clone(),
        store: store.clone(),
        tasks: tasks.clone(),
        clock: Arc::clone(&clock),
        state: state.clone(),
        rules: Arc::clone(&rules),
        exposed,
    };
    let (hiding, until) = (withdrawals.clone(), shutdown.clone());
    tasks.spawn("withheld", OnError::Log, async move {
        hiding.keep_hidden(until).await;
    });
    tasks.spawn("names", OnError::Log, follower.run(shutdown.clone()));
    let tidying = leftovers::run(
        state.clone(),
        store.clone(),
        Arc::clone(&clock),
        shutdown.clone(),
    );
    tasks.spawn("leftovers", OnError::Log, tidying);
    let audits = Audits::load(AuditParts {
        state: state.clone(),
        catalog: catalog.clone(),
        store: store.clone(),
        fleet: fleet.clone(),
        withdrawals: withdrawals.clone(),
        tasks: tasks.clone(),
        clock: Arc::clone(&clock),
        last: last_audit,
        // Plain text is on this machine only, and so are its mirrors.
        reach: Reach::allowing(&config.allow_private).with_loopback(true),
    });
    let audit = |error: AuditError| RunError::Audit(chain(&error));
    let audits = audits.await.map_err(audit)?;
    let asked = state.asked();
    let database = state.clone();
    let history_state = state.clone();
    let planner = Planner {
        state,
        catalog: catalog.clone(),
        resolver: Resolver::new(sources, store.clone(), catalog.clone(), Arc::clone(&limits)),
        log: opened.publisher.reader(),
        rules: Arc::clone(&rules),
        mutable: config.mutable,
        clock: Arc::clone(&clock),
        resting,
        keep: Keep {
            plans: limits.remembered_plans,
            bytes: limits.remembered_plan_bytes,
        },
    };
    let ready = Ready::new();
    let serving = ready.condition("operations");
    database.tell(ready.condition("database"));
    signature.tell(ready.condition("signature"));
    let router = web::router(Web {
        statuses: statuses.clone(),
        operations: operations.clone(),
        catalog: catalog.clone(),
        store,
        log: opened.publisher.reader(),
        ready,
        registry: metrics.registry(statuses.clone(), asked)?,
    })?;

    let committer = opened.committer.run(limits.refresh, shutdown.clone());
    tasks.spawn("committer", OnError::Fail, committer);
    operations.attribute().await?;
    operations.resume().await?;
    audits.carry_on().await.map_err(audit)?;
    serving.set(true);
    let reports = store_reports(fleet.clone(), limits.report_delay, shutdown.clone());
    tasks.spawn("reports", OnError::Fail, reports);
    tasks.spawn(
        "http",
        OnError::Fail,
        ops::serve(http, router, shutdown.clone()),
    );
    let shared = Shared {
        history: History::new(history_state),
        catalog,
        publisher: opened.publisher,
        signature,
        fleet: fleet.clone(),
        operations,
        planner,
        withdrawals,
        audits,
        gate: Gate::new(tokens.clone()),
        tokens,
        statuses,
        clock,
        tasks: tasks.clone(),
        shutdown,
        limits,
        urls: Arc::new(urls),
    };
    tasks.spawn("grpc", OnError::Fail, grpc::serve(grpc, shared));
    Ok(fleet)
}

/// Stores readiness reports soon after they came.
async fn store_reports(fleet: Fleet, every: Duration, shutdown: Shutdown) {
    while shutdown
        .unless_requested(tokio::time::sleep(every))
        .await
        .is_some()
    {
        if let Err(error) = fleet.store_reports().await {
            tracing::error!(error = %chain(&error), "readiness reports were not stored");
        }
    }
}

fn check(config: &Config) -> Result<(), RunError> {
    let faults = config.check();
    if faults.is_empty() {
        return Ok(());
    }
    let listed: Vec<_> = faults
        .iter()
        .map(|fault| format!("{}: {}", fault.key, fault.message))
        .collect();
    Err(RunError::Config(listed.join("; ")))
}

async fn open_state(config: &Config) -> Result<(State, StateThread, LogSigner), RunError> {
    let folder = config.data_dir.clone();
    let (state, thread) = blocking(move || {
        create_private_folder(&folder)?;
        Ok(State::open(&folder.join("coordinator.sqlite"))?)
    })
    .await?;
    let head = state.read("read the log's head", log::head).await?;
    let (folder, name) = (config.data_dir.join("keys"), config.name.clone());
    let signer =
        blocking(move || Ok(keys::load_or_create(&folder, &name, head.is_some())?)).await?;
    Ok((state, thread, signer))
}

async fn open_store(
    config: &Config,
    owner: &Owner<'_>,
    catalog: &SharedCatalog,
) -> Result<Store, RunError> {
    let url = config.origin_store().map_err(RunError::Config)?;
    if let Ok(folder) = url.to_file_path() {
        blocking(move || create_folder(&folder)).await?;
    }
    let environment: Vec<_> = process_environment().collect();
    let store = Store::connect(&url, environment, ORIGIN).await?;
    // Before anything is changed there: it may be somebody else's.
    owner.claim(&store, &without_secrets(&url), catalog).await?;
    store.sweep().await?;
    Ok(store)
}

fn create_folder(path: &Path) -> Result<(), RunError> {
    std::fs::create_dir_all(path).map_err(|source| RunError::Folder {
        path: path.to_owned(),
        source,
    })
}

/// Keys, tokens and history: one that is there keeps its mode.
fn create_private_folder(path: &Path) -> Result<(), RunError> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(above) = path.parent() {
        create_folder(above)?;
    }
    let created = DirBuilder::new().mode(0o700).create(path);
    created.map_err(|source| RunError::Folder {
        path: path.to_owned(),
        source,
    })
}

async fn listen(
    what: &'static str,
    address: SocketAddr,
) -> Result<(TcpListener, SocketAddr), RunError> {
    let failed = |source| RunError::Listen {
        what,
        address,
        source,
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

fn urls(config: &Config, http: SocketAddr) -> Urls {
    let origin = config.origin.public_url.as_ref().map_or_else(
        || format!("http://{http}{ORIGIN_PATH}"),
        ToString::to_string,
    );
    Urls {
        name: config.name.clone(),
        public: config.public_url.to_string(),
        origin,
        log: format!("http://{http}{LOG_PATH}"),
    }
}

/// Waits for the database's thread. By now nobody should hold a handle; a
/// straggler must not hold up the stop.
async fn close(thread: StateThread) {
    let joined = tokio::task::spawn_blocking(|| thread.join());
    if tokio::time::timeout(Duration::from_secs(1), joined)
        .await
        .is_err()
    {
        tracing::warn!("the database was still in use at the end");
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RunError> + Send + 'static,
) -> Result<T, RunError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| RunError::State(StateError::Closed))?
}
