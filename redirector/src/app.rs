//! The composition root: what runs, on what, and in which order it starts and stops.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use landfall_catalog::{PinError, PinnedKeys};
use landfall_log::follow::{FeedSource, FollowConfig, FollowError, Follower};
use landfall_proto::status::chain;
use landfall_route::Locator;
use landfall_runtime::config::Check as _;
use landfall_runtime::dial::{Dial as _, DialError, LoopbackDial, http_client};
use landfall_runtime::ops::{self, Ready};
use landfall_runtime::{Clock, OnError, Shutdown, SystemClock, TaskFailure, Tasks};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};

use crate::came_back::CameBack;
use crate::config::Config;
use crate::fleet::Fleet;
use crate::follow::{MAX_AHEAD, Sink, fetch_ahead};
use crate::http::serve::{Front, router};
use crate::locate::{self, LocateError};
use crate::metrics::Metrics;
use crate::oci_manifests::Manifests;
use crate::probe::Suspects;
use crate::routing::{Routing, keep};
use crate::upkeep::tick;
use crate::view::View;
use crate::{last_good, probe};

/// How long tasks may take to stop.
const STOP: Duration = Duration::from_secs(8);

/// What is not configuration.
pub struct RunOptions {
    /// Without identity: plain text, on loopback only.
    pub insecure_loopback: bool,
    /// Told one line when it is ready.
    pub announce: Box<dyn Fn(&str) + Send + Sync>,
}

/// Why a redirector did not start, or stopped.
#[derive(Debug, Error)]
pub enum RunError {
    /// Nothing but loopback without identity is there yet.
    #[error("identity is not configured: only --insecure-loopback works for now")]
    NoIdentity,
    /// A key of the configuration has a value that cannot be.
    #[error("{key}: {message}")]
    Config {
        /// Which key.
        key: String,
        /// What is wrong with it.
        message: String,
    },
    /// The log's keys are none.
    #[error("log_keys cannot be used")]
    Keys(#[from] PinError),
    /// A file of places is of no use.
    #[error("the places of clients cannot be read")]
    Locate(#[from] LocateError),
    /// Something below the data folder cannot be made or read.
    #[error("{} cannot be used", .0.display())]
    Data(PathBuf, #[source] io::Error),
    /// The address cannot be listened on.
    #[error("cannot listen on {0}")]
    Listen(SocketAddr, #[source] io::Error),
    /// The metrics contradict each other: a defect.
    #[error("metrics cannot be registered")]
    Metrics(#[from] prometheus::Error),
    /// A connection cannot even be prepared.
    #[error("connections cannot be prepared")]
    Dial(#[from] DialError),
    /// The log cannot be followed at all.
    #[error("the log cannot be followed")]
    Follow(#[from] FollowError),
    /// Something that is needed ended.
    #[error("stopped because of a failure")]
    Task(#[from] TaskFailure),
}

impl RunError {
    /// Whether it is wrong use or a wrong configuration, which another try does not mend.
    #[must_use]
    pub const fn is_configuration(&self) -> bool {
        match self {
            Self::NoIdentity | Self::Config { .. } | Self::Keys(_) => true,
            Self::Locate(_)
            | Self::Data(..)
            | Self::Listen(..)
            | Self::Metrics(_)
            | Self::Dial(_)
            | Self::Follow(_)
            | Self::Task(_) => false,
        }
    }
}

/// Runs a redirector until the stop is requested.
///
/// What is on disk is in force before anything is dialled.
///
/// # Errors
/// [`RunError`] if it cannot start, or something that it cannot do without fails.
pub async fn run(config: Config, options: RunOptions, shutdown: Shutdown) -> Result<(), RunError> {
    if !options.insecure_loopback {
        return Err(RunError::NoIdentity);
    }
    if let Some(fault) = config.check().into_iter().next() {
        let (key, message) = (fault.key, fault.message);
        return Err(RunError::Config { key, message });
    }
    let keys = match config.log_keys.as_slice() {
        [] => None,
        keys => Some(PinnedKeys::parse(keys)?),
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let metrics = Arc::new(Metrics::new()?);
    let http = http_client()?;
    let channel = LoopbackDial.grpc(&config.coordinator)?;

    let fleet_file = config.data_dir.join("fleet");
    let Opened {
        locator,
        manifests,
        fleet,
    } = open(&config, http.clone(), fleet_file.clone()).await?;
    let sources = log_sources(&config, &fleet);
    let follow = FollowConfig::new(config.data_dir.join("log"), keys, sources);
    let follower = Follower::new(follow, Arc::clone(&clock), Arc::new(LoopbackDial))?;
    let view = Arc::new(View::new(locator, follower.reader()));
    if fleet.cursor.is_some() {
        // Nothing of the log is known yet, so there is nothing to wait for.
        view.set_fleet(Arc::clone(&fleet));
    }
    let listener = TcpListener::bind(config.listen.http)
        .await
        .map_err(|fault| RunError::Listen(config.listen.http, fault))?;
    let address = listener
        .local_addr()
        .map_err(|fault| RunError::Listen(config.listen.http, fault))?;

    let tasks = Tasks::new(shutdown.clone());
    let ready = Ready::new();
    let (ahead, ahead_wanted) = mpsc::channel(MAX_AHEAD);
    let changed = Arc::new(Notify::new());
    let suspects = Arc::new(Suspects::default());
    let (states, kept) = watch::channel(Arc::clone(&fleet));
    let routing = Routing {
        channel,
        name: config.name.clone(),
        view: Arc::clone(&view),
        log: follower.reader(),
        shutdown: shutdown.clone(),
    };
    let front = Arc::new(Front {
        view: Arc::clone(&view),
        manifests: manifests.clone(),
        came_back: CameBack::new(
            Arc::clone(&view),
            http.clone(),
            &config.probe,
            Arc::clone(&clock),
            Arc::clone(&suspects),
        ),
        metrics: Arc::clone(&metrics),
        trusted: config.locate.trusted(),
        ops: axum::Router::new().nest(
            "/.landfall",
            ops::router(ready.clone(), metrics.registry().clone()),
        ),
        log: follower.reader(),
    });
    let sink = Sink {
        view: Arc::clone(&view),
        metrics: Arc::clone(&metrics),
        ahead,
        clock: Arc::clone(&clock),
    };
    tasks.spawn(
        "http",
        OnError::Fail,
        ops::serve(listener, router(front), shutdown.clone()),
    );
    tasks.spawn(
        "catalog",
        OnError::Fail,
        follower.run(shutdown.clone(), sink.into_fn()),
    );
    tasks.spawn(
        "manifests",
        OnError::Log,
        fetch_ahead(Arc::clone(&view), manifests, ahead_wanted, shutdown.clone()),
    );
    tasks.spawn(
        "fleet",
        OnError::Fail,
        routing.clone().follow(fleet, states),
    );
    tasks.spawn(
        "fleet-file",
        OnError::Fail,
        keep(fleet_file, kept, shutdown.clone()),
    );
    tasks.spawn(
        "report",
        OnError::Fail,
        routing.report(Arc::clone(&changed)),
    );
    let probes = probe::rounds::run(
        Arc::clone(&view),
        http,
        config.probe.clone(),
        suspects,
        changed,
        shutdown.clone(),
    );
    tasks.spawn("probe", OnError::Fail, probes);
    let ticks = tick(
        Arc::clone(&view),
        metrics,
        clock,
        config.locate.clone(),
        shutdown.clone(),
    );
    tasks.spawn("tick", OnError::Fail, ticks);
    let announce = options.announce;
    let announcement = async move {
        let line = format!("redirector ready http={address}");
        if shutdown
            .unless_requested(watch_readiness(&view, &ready, || announce(&line)))
            .await
            .is_none()
        {
            tracing::debug!("stopped");
        }
    };
    tracing::info!(%address, "listening");
    tasks.spawn("ready", OnError::Fail, announcement);
    Ok(tasks.join(STOP).await?)
}

/// Where the log is followed: from the coordinator, else from the static files
/// that it told of in an earlier run.
fn log_sources(config: &Config, fleet: &Fleet) -> Vec<FeedSource> {
    let mut sources = vec![FeedSource::Grpc(config.coordinator.clone())];
    match fleet.log_url.parse() {
        Ok(url) => sources.push(FeedSource::Static(url)),
        Err(_) if fleet.log_url.is_empty() => {}
        Err(fault) => {
            tracing::warn!(%fault, "where the log's static files are is no URL");
        }
    }
    sources
}

/// What comes from the disk.
struct Opened {
    locator: Locator,
    manifests: Manifests,
    fleet: Arc<Fleet>,
}

async fn open(
    config: &Config,
    http: reqwest::Client,
    fleet_file: PathBuf,
) -> Result<Opened, RunError> {
    let (locate, data_dir) = (config.locate.clone(), config.data_dir.clone());
    let read = move || {
        std::fs::create_dir_all(&data_dir)
            .map_err(|fault| RunError::Data(data_dir.clone(), fault))?;
        let folder = data_dir.join("oci-manifests");
        let manifests = Manifests::open(&folder, http)
            .map_err(|fault| RunError::Data(folder.clone(), fault))?;
        let locator = locate::load(&locate)?;
        let fleet = match last_good::load(&fleet_file) {
            Ok(fleet) => fleet.unwrap_or_default(),
            Err(fault) => {
                tracing::error!(
                    error = chain(&fault),
                    "the last good fleet view is of no use; the coordinator has to be met first"
                );
                Arc::default()
            }
        };
        Ok(Opened {
            locator,
            manifests,
            fleet,
        })
    };
    tokio::task::spawn_blocking(read)
        .await
        .map_err(|fault| RunError::Data(config.data_dir.clone(), io::Error::other(fault)))?
}

/// Keeps the conditions of readiness, and calls `announce` once when both hold.
async fn watch_readiness(view: &View, ready: &Ready, announce: impl FnOnce()) {
    let catalog = ready.condition("catalog");
    let fleet = ready.condition("fleet");
    let mut known = view.known();
    let mut announce = Some(announce);
    loop {
        let now = *known.borrow_and_update();
        catalog.set(now.catalog);
        fleet.set(now.fleet);
        if now.catalog
            && now.fleet
            && let Some(announce) = announce.take()
        {
            announce();
        }
        if known.changed().await.is_err() {
            return;
        }
    }
}
