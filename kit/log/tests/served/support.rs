//! A small log, the servers that it is served by, and a follower to watch.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use bytes::Bytes;
use landfall_catalog::{
    Checkpoint, Commit, Digest, Entry, FilePath, Frontier, LogSigner, MediaType, Name, Object,
    PinnedKeys, Revision, leaf_hash,
};
use landfall_log::LogDisk;
use landfall_log::follow::{
    FeedSource, FollowConfig, FollowError, FollowEvent, FollowLimits, Follower,
};
use landfall_log::publish::{CatalogService, PendingRevision, Publisher, static_router};
use landfall_proto::model::encode_entry;
use landfall_runtime::dial::LoopbackDial;
use landfall_runtime::{ManualClock, OnError, Shutdown, Tasks, ops};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;
use tonic::transport::Server;
use url::Url;

pub(crate) const ORIGIN: &str = "artifacts.example";
/// Longer than anything here takes; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn signer() -> LogSigner {
    LogSigner::from_seeds(ORIGIN, [7; 32], [8; 32]).unwrap()
}

pub(crate) fn stranger() -> LogSigner {
    LogSigner::from_seeds(ORIGIN, [9; 32], [10; 32]).unwrap()
}

pub(crate) fn keys() -> PinnedKeys {
    signer().keys().clone()
}

/// The time of a revision: hours apart, so that one is never just a little behind.
pub(crate) fn time_of(revision: u64) -> u64 {
    1_000_000 + revision * 7_200
}

/// The entries of a revision: objects, names and the commit.
pub(crate) fn revision(number: u64, salt: &str, objects: u64) -> Vec<Bytes> {
    let mut entries = Vec::new();
    for index in 0..objects {
        let digest = Digest::of(format!("{salt} {number} {index}").as_bytes());
        let path = format!("{salt}/{number}/{index}");
        entries.push(Entry::ObjectAdded(Object {
            digest,
            size: index,
            media_type: MediaType::octet_stream(),
            children: Vec::new(),
            referrer: None,
            pieces: None,
        }));
        entries.push(Entry::NameSet {
            name: Name::File(FilePath::try_new(path).unwrap()),
            digest,
        });
    }
    entries.push(commit(number));
    entries
        .iter()
        .map(|entry| encode_entry(entry).unwrap())
        .collect()
}

fn commit(number: u64) -> Entry {
    Entry::Commit(Commit {
        revision: Revision::new(number),
        time: time_of(number),
        who: "test".to_owned(),
        why: String::new(),
        source: String::new(),
        plan: None,
        operation: format!("operation-{number}"),
    })
}

pub(crate) fn note(signer: &LogSigner, entries: &[Bytes], time: u64) -> Vec<u8> {
    let mut frontier = Frontier::new();
    for entry in entries {
        frontier.push(leaf_hash(entry));
    }
    note_of(signer, &frontier, time)
}

fn note_of(signer: &LogSigner, frontier: &Frontier, time: u64) -> Vec<u8> {
    let checkpoint = Checkpoint {
        origin: ORIGIN.to_owned(),
        size: frontier.size(),
        root: frontier.root(),
    };
    signer.sign(&checkpoint, time).unwrap()
}

/// A log as its coordinator has it.
pub(crate) struct TestLog {
    pub(crate) dir: TempDir,
    pub(crate) publisher: Publisher,
    signer: LogSigner,
    revisions: u64,
}

impl TestLog {
    pub(crate) async fn new() -> Self {
        Self::signed_by(signer()).await
    }

    pub(crate) async fn signed_by(signer: LogSigner) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let publisher = Publisher::new(LogDisk::open(dir.path(), signer.keys()).unwrap());
        let empty = note_of(&signer, &Frontier::new(), time_of(0));
        publisher.refresh(empty).await.unwrap();
        Self {
            dir,
            publisher,
            signer,
            revisions: 0,
        }
    }

    /// The next revision, ready to be published.
    pub(crate) fn pending(&self, objects: u64) -> PendingRevision {
        let number = self.revisions + 1;
        let entries = revision(number, "honest", objects);
        let mut frontier = self.publisher.frontier();
        for entry in &entries {
            frontier.push(leaf_hash(entry));
        }
        PendingRevision {
            entries,
            note: note_of(&self.signer, &frontier, time_of(number)),
            trace_parent: Some(format!("trace-{number}")),
        }
    }

    /// Publishes a revision with that many objects, each with a name.
    pub(crate) async fn promote(&mut self, objects: u64) {
        let pending = self.pending(objects);
        self.publisher.publish(pending).await.unwrap();
        self.revisions += 1;
    }

    pub(crate) async fn refresh(&self, time: u64) {
        let note = note_of(&self.signer, &self.publisher.frontier(), time);
        self.publisher.refresh(note).await.unwrap();
    }

    pub(crate) fn size(&self) -> u64 {
        self.publisher.reader().size()
    }
}

/// Servers and followers of a test; all of them end with it.
pub(crate) struct House {
    pub(crate) tasks: Tasks,
    pub(crate) clock: Arc<ManualClock>,
    /// When a follower gives a silent source up.
    pub(crate) watchdog: Duration,
}

impl House {
    pub(crate) fn new() -> Self {
        landfall_runtime::install_crypto();
        Self {
            tasks: Tasks::new(Shutdown::new()),
            clock: Arc::new(ManualClock::new(time_of(9))),
            watchdog: PATIENCE,
        }
    }

    pub(crate) fn shutdown(&self) -> Shutdown {
        self.tasks.shutdown().clone()
    }

    pub(crate) fn catalog_service(&self, log: &TestLog) -> CatalogService {
        CatalogService::new(log.publisher.clone(), self.clock.clone(), self.shutdown())
    }

    pub(crate) async fn grpc(&self, log: &TestLog) -> Url {
        self.serve_grpc(self.catalog_service(log)).await
    }

    pub(crate) async fn serve_grpc<S>(&self, service: S) -> Url
    where
        S: Service<
                http::Request<Body>,
                Response = http::Response<Body>,
                Error = std::convert::Infallible,
            > + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = Server::builder()
            .add_service(service)
            .serve_with_incoming_shutdown(
                TcpListenerStream::new(listener),
                self.shutdown().requested_owned(),
            );
        self.tasks.spawn("grpc", OnError::Log, serving);
        url.parse().unwrap()
    }

    /// The URL above the checkpoint.
    pub(crate) async fn http(&self, log: &TestLog) -> Url {
        self.serve_http(static_router(log.publisher.reader())).await
    }

    /// Serves whatever is in a directory, as a web server would.
    pub(crate) async fn directory(&self, dir: &Path) -> Url {
        let router = Router::new()
            .fallback(file)
            .with_state(Arc::<Path>::from(dir));
        self.serve_http(router).await
    }

    pub(crate) async fn serve_http(&self, router: Router) -> Url {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/.landfall", listener.local_addr().unwrap());
        let serving = ops::serve(listener, router, self.shutdown());
        self.tasks.spawn("http", OnError::Log, serving);
        url.parse().unwrap()
    }

    pub(crate) fn follow(
        &self,
        dir: &Path,
        keys: Option<PinnedKeys>,
        sources: Vec<FeedSource>,
    ) -> Following {
        let mut config = FollowConfig::new(dir.to_owned(), keys, sources);
        config.limits = FollowLimits {
            watchdog: self.watchdog,
            poll: Duration::from_millis(10),
            first_pause: Duration::from_millis(2),
            longest_pause: Duration::from_millis(20),
            ..FollowLimits::default()
        };
        let follower = Follower::new(config, self.clock.clone(), Arc::new(LoopbackDial)).unwrap();
        let (sender, events) = mpsc::unbounded_channel();
        let (result_sender, result) = mpsc::unbounded_channel();
        // It ends before the others, or with them.
        let shutdown = Shutdown::new();
        let (all, stop) = (self.shutdown(), shutdown.clone());
        self.tasks.spawn("stop", OnError::Log, async move {
            all.requested().await;
            stop.trigger();
        });
        let stop = shutdown.clone();
        self.tasks.spawn("follower", OnError::Log, async move {
            let result = follower
                .run(stop, |event| {
                    // A test that has seen enough does not listen any more.
                    let _unheard = sender.send(event);
                    std::future::ready(())
                })
                .await;
            let _unheard = result_sender.send(result);
        });
        Following {
            events,
            result,
            shutdown,
        }
    }
}

async fn file(State(dir): State<Arc<Path>>, uri: Uri) -> Result<Vec<u8>, StatusCode> {
    let path = uri.path().strip_prefix("/.landfall/");
    let path = dir.join(path.ok_or(StatusCode::NOT_FOUND)?);
    tokio::fs::read(path)
        .await
        .map_err(|_| StatusCode::NOT_FOUND)
}

/// A follower that is running.
pub(crate) struct Following {
    events: mpsc::UnboundedReceiver<FollowEvent>,
    result: mpsc::UnboundedReceiver<Result<(), FollowError>>,
    shutdown: Shutdown,
}

impl Following {
    /// All events up to one that is wanted.
    pub(crate) async fn until(
        &mut self,
        wanted: impl Fn(&FollowEvent) -> bool,
    ) -> Vec<FollowEvent> {
        let mut seen = Vec::new();
        loop {
            match tokio::time::timeout(PATIENCE, self.events.recv()).await {
                Ok(Some(event)) => {
                    let found = wanted(&event);
                    seen.push(event);
                    if found {
                        return seen;
                    }
                }
                Ok(None) => panic!(
                    "the follower ended: {:?}; seen: {seen:#?}",
                    self.result.try_recv()
                ),
                Err(_) => panic!("it did not come; seen: {seen:#?}"),
            }
        }
    }

    pub(crate) async fn until_size(&mut self, size: u64) -> Vec<FollowEvent> {
        self.until(
            |event| matches!(event, FollowEvent::Checkpoint(held) if held.checkpoint.size == size),
        )
        .await
    }

    /// How it ended by itself.
    pub(crate) async fn ended(&mut self) -> Result<(), FollowError> {
        let result = tokio::time::timeout(PATIENCE, self.result.recv()).await;
        result.unwrap().unwrap()
    }

    pub(crate) async fn stop(mut self) {
        self.shutdown.trigger();
        self.ended().await.unwrap();
    }
}

/// The revisions among events, as (index of the first entry, number of entries).
pub(crate) fn revisions(events: &[FollowEvent]) -> Vec<(u64, usize)> {
    let revision = |event: &FollowEvent| {
        let FollowEvent::Revision { first, entries, .. } = event else {
            return None;
        };
        Some((*first, entries.len()))
    };
    events.iter().filter_map(revision).collect()
}
