//! The composition root: wires everything, and takes it down in order.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use landfall_catalog::Entry;
use landfall_content::{DirectoryStore, StoreError};
use landfall_log::follow::{FeedSource, FollowConfig, FollowError, FollowEvent, Follower};
use landfall_proto::status::chain;
use landfall_runtime::{
    Clock, OnError, Shutdown, SystemClock, TaskFailure, Tasks,
    dial::{DialError, LoopbackDial, grpc_channel, http_client},
    ops::{self, Ready},
};
use prometheus::Registry;
use thiserror::Error;
use tokio::{
    net::TcpListener,
    sync::{Notify, mpsc, watch},
};

use crate::{
    config::Config,
    fill::{Fetcher, Filler, Traced},
    metrics::Metrics,
    serve,
    session::{Session, kept_endpoints},
    shelf::SharedShelf,
};

/// Time that an orderly stop may take.
const STOP_DEADLINE: Duration = Duration::from_secs(8);
/// Incidents waiting to be told; more of the same say nothing new.
const INCIDENTS: usize = 64;

/// How the agent is run.
pub struct RunOptions {
    /// Plain text without identity, on loopback only.
    pub insecure_loopback: bool,
    /// Told one line when the agent is ready.
    pub announce: Box<dyn Fn(&str) + Send + Sync>,
}

/// Why the agent stopped or could not start.
#[derive(Debug, Error)]
pub enum RunError {
    /// There is no identity, and nobody allowed going without.
    #[error(
        "identity is not configured: run it on loopback with --insecure-loopback, which this version needs"
    )]
    NoIdentity,
    /// A folder cannot be made.
    #[error("cannot create {path}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The store is not a folder; the configuration's check says so first.
    #[error("the store is not a file:/// URL")]
    StoreUrl,
    /// The store cannot be used.
    #[error("cannot open the store")]
    Store(#[from] StoreError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The coordinator's address cannot be used.
    #[error("cannot use the coordinator's address")]
    Dial(#[from] DialError),
    /// The log cannot be followed.
    #[error("cannot follow the log")]
    Follow(#[from] FollowError),
    /// A metric was registered twice: a bug.
    #[error("cannot register metrics")]
    Metrics(#[from] prometheus::Error),
    /// A task that the agent cannot do without has failed.
    #[error("a task failed")]
    Task(#[from] TaskFailure),
}

impl RunError {
    /// Whether it is wrong use or a wrong configuration, which another try does
    /// not mend.
    #[must_use]
    pub const fn is_configuration(&self) -> bool {
        match self {
            Self::NoIdentity | Self::StoreUrl | Self::Dial(_) => true,
            Self::Folder { .. }
            | Self::Store(_)
            | Self::Listen { .. }
            | Self::Follow(_)
            | Self::Metrics(_)
            | Self::Task(_) => false,
        }
    }
}

/// Runs an agent until the shutdown.
///
/// # Errors
/// [`RunError`] if it cannot start, or if something that it cannot do without
/// has failed. An absent coordinator is not among these.
pub async fn run(config: Config, options: RunOptions, shutdown: Shutdown) -> Result<(), RunError> {
    if !options.insecure_loopback {
        return Err(RunError::NoIdentity);
    }
    let log_dir = config.data_dir.join("log");
    create_dir(&log_dir)?;
    let store_dir = config.store_dir().ok_or(RunError::StoreUrl)?;
    create_dir(&store_dir)?;
    let store = {
        // Opening may sweep leftovers: off the async threads.
        let opened = tokio::task::spawn_blocking(move || DirectoryStore::open(&store_dir)).await;
        opened.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?
    };
    let listener = match config.listen {
        None => None,
        Some(address) => {
            Some(
                TcpListener::bind(address)
                    .await
                    .map_err(|source| RunError::Listen {
                        address: address.to_string(),
                        source,
                    })?,
            )
        }
    };

    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let registry = Registry::new();
    let metrics = Metrics::new(&registry)?;
    let ready = Ready::new();
    let adopted = ready.condition("store adopted");
    let shelf = SharedShelf::new(rand::random());
    let changed = Arc::new(Notify::new());
    let traced = Traced::default();
    let (report, reports) = watch::channel(None);
    let (incident, incidents) = mpsc::channel(INCIDENTS);
    let endpoints_file = config.data_dir.join("endpoints.json");
    let kept = kept_endpoints(&endpoints_file);
    let mut feeds = vec![FeedSource::Grpc(config.coordinator.url().clone())];
    // The stream is preferred; the static files may be where it is not.
    let log_url = kept.as_ref().and_then(|kept| kept.log_url.clone());
    feeds.extend(log_url.map(FeedSource::Static));
    let (endpoints, endpoints_seen) = watch::channel(kept);
    let tasks = Tasks::new(shutdown.clone());

    let follower = Follower::new(
        FollowConfig::new(log_dir, config.pinned_keys(), feeds),
        Arc::clone(&clock),
        Arc::new(LoopbackDial),
    )?;
    let bound = match &listener {
        Some(listener) => listener
            .local_addr()
            .map_or_else(|error| error.to_string(), |address| address.to_string()),
        None => "none".to_owned(),
    };
    let line = format!("agent ready name={} http={bound}", config.mirror.name);
    let tell = options.announce;
    let follow = Follow {
        shelf: shelf.clone(),
        changed: Arc::clone(&changed),
        traced: traced.clone(),
        metrics: metrics.clone(),
    };
    let follow = Arc::new(follow);
    let log = follower.reader();
    tasks.spawn("follow", OnError::Fail, {
        let shutdown = shutdown.clone();
        async move {
            follower
                .run(shutdown, move |event| {
                    let follow = Arc::clone(&follow);
                    async move { follow.take(event) }
                })
                .await
        }
    });

    let session = Session {
        channel: grpc_channel(config.coordinator.url())?,
        start: config.session_start(),
        log,
        report: reports,
        incidents,
        endpoints,
        endpoints_file,
        connected: metrics.connected.clone(),
        clock: Arc::clone(&clock),
    };
    tasks.spawn("session", OnError::Fail, session.run(shutdown.clone()));

    let fetcher = Fetcher {
        store: store.clone(),
        client: http_client()?,
        name: config.mirror.name.clone(),
        endpoints: endpoints_seen,
        incidents: incident,
        clock: Arc::clone(&clock),
        shunned: Mutex::new(HashMap::new()),
    };
    let filler = Filler {
        shelf: shelf.clone(),
        store: store.clone(),
        filter: config.filter.clone(),
        fetcher: Arc::new(fetcher),
        changed,
        traced,
        report,
        metrics,
        clock,
        seed: rand::random(),
        adopted: Box::new(move || {
            adopted.set(true);
            tell(&line);
        }),
    };
    tasks.spawn("fill", OnError::Fail, filler.run(shutdown.clone()));

    if let Some(listener) = listener {
        let content = serve::router(&shelf, &store, &registry)?;
        let router = ops::router(ready, registry).merge(content);
        tasks.spawn(
            "serve",
            OnError::Fail,
            ops::serve(listener, router, shutdown.clone()),
        );
    }
    tasks.join(STOP_DEADLINE).await?;
    Ok(())
}

fn create_dir(path: &Path) -> Result<(), RunError> {
    fs::create_dir_all(path).map_err(|source| RunError::Folder {
        path: path.to_owned(),
        source,
    })
}

/// What the log's follower tells, put on the shelf.
struct Follow {
    shelf: SharedShelf,
    changed: Arc<Notify>,
    traced: Traced,
    metrics: Metrics,
}

impl Follow {
    fn take(&self, event: FollowEvent) {
        match event {
            FollowEvent::Pinned(keys) => {
                tracing::warn!(?keys, "the log's keys were met first now, and are pinned");
            }
            FollowEvent::Revision {
                first,
                entries,
                trace_parent,
            } => self.apply(first, &entries, trace_parent.as_deref()),
            FollowEvent::Replayed { size } => {
                tracing::info!(log_size = size, "the log on disk was replayed");
                self.shelf.write().replayed();
                self.changed.notify_one();
            }
            FollowEvent::Checkpoint(checkpoint) => {
                self.shelf.write().checkpoint = Some(checkpoint);
                self.changed.notify_one();
            }
            FollowEvent::CaughtUp { size } => {
                tracing::debug!(log_size = size, "caught up");
            }
            FollowEvent::Refused(evidence) => {
                self.metrics.refused.inc();
                tracing::error!(
                    why = %evidence.why,
                    detail = evidence.detail,
                    source = evidence.source,
                    file = evidence.file.as_ref().map(|file| file.display().to_string()),
                    "the log that was offered is refused; the old state stays in force"
                );
            }
        }
    }

    fn apply(&self, first: u64, entries: &[Entry], trace_parent: Option<&str>) {
        let applied = self.shelf.write().apply(entries);
        if let Err(error) = applied {
            // The entries are signed and hashed right: their writer has a bug.
            tracing::error!(
                first_entry = first,
                error = chain(&error),
                "a revision contradicts the state and cannot be applied; the old state stays in force"
            );
            return;
        }
        let revision = self.shelf.read().catalog.revision();
        self.metrics
            .revision
            .set(i64::try_from(revision.get()).unwrap_or(i64::MAX));
        let added: Vec<_> = entries
            .iter()
            .filter_map(|entry| match entry {
                Entry::ObjectAdded(object) => Some(object.digest),
                Entry::ObjectDescribed(_)
                | Entry::NameSet { .. }
                | Entry::NameRemoved { .. }
                | Entry::NamePending { .. }
                | Entry::NameDropped { .. }
                | Entry::Withdrawn { .. }
                | Entry::Reinstated { .. }
                | Entry::Commit(_)
                | Entry::Unknown => None,
            })
            .collect();
        self.traced.begin(revision.get(), &added, trace_parent);
    }
}
