//! The whole program beside a coordinator and mirrors that are played, over real sockets.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use landfall_catalog::Entry;
use landfall_log::LogDisk;
use landfall_log::publish::{CatalogService, PendingRevision, Publisher, static_router};
use landfall_proto::model::encode_entry;
use landfall_proto::v1::routing_server::{Routing, RoutingServer};
use landfall_proto::v1::routing_watch_response::Kind;
use landfall_proto::v1::{
    Health, RoutingReportRequest, RoutingReportResponse, RoutingWatchRequest, RoutingWatchResponse,
};
use landfall_route::{MirrorView, Serves};
use landfall_runtime::{Clock as _, OnError, Shutdown, SystemClock, Tasks, ops};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio_stream::wrappers::{TcpListenerStream, WatchStream};
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use super::world::*;
use crate::config::{Config, Listen, Locate, Probe};
use crate::{RunError, RunOptions, last_good, run};

/// Longer than anything here should take.
pub(super) const LONG: Duration = Duration::from_secs(20);

/// Things that run until the end of a test, or until they are killed.
pub(super) struct Running {
    tasks: Tasks,
    address: SocketAddr,
}

impl Running {
    pub(super) async fn start<F: Future<Output = ()> + Send + 'static>(
        serve: impl FnOnce(TcpListener, Shutdown) -> F,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tasks = Tasks::new(Shutdown::new());
        let served = serve(listener, tasks.shutdown().clone());
        tasks.spawn("served", OnError::Fail, served);
        Self { tasks, address }
    }

    pub(super) async fn kill(self) {
        self.tasks.shutdown().trigger();
        self.tasks.join(LONG).await.unwrap();
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// A mirror that serves every object of the small world.
pub(super) async fn start_mirror() -> Running {
    Running::start(|listener, shutdown| async move {
        let blob = async |path: axum::extract::Path<String>| {
            [TOOL, GONE, CONFIG, LAYER, IMAGE, SIGNATURE]
                .into_iter()
                .find(|bytes| hex(bytes) == *path)
                .ok_or(StatusCode::NOT_FOUND)
        };
        let router = Router::new().route("/blobs/sha256/{hex}", axum::routing::get(blob));
        ops::serve(listener, router, shutdown).await;
    })
    .await
}

/// An origin that has every object, by the size that the catalog says.
async fn start_origin() -> Running {
    Running::start(|listener, shutdown| async move {
        let sizes: BTreeMap<String, u64> = entries()
            .into_iter()
            .flatten()
            .chain(later_entries())
            .filter_map(|entry| {
                let Entry::ObjectAdded(object) = entry else {
                    return None;
                };
                Some((object.digest.to_hex(), object.size))
            })
            .collect();
        let blob = async move |path: axum::extract::Path<String>| {
            let size = sizes.get(&*path).ok_or(StatusCode::NOT_FOUND)?;
            let size = usize::try_from(*size).unwrap();
            Ok::<_, StatusCode>(vec![0; size])
        };
        let router = Router::new().route("/origin/blobs/sha256/{hex}", axum::routing::get(blob));
        ops::serve(listener, router, shutdown).await;
    })
    .await
}

struct FakeRouting {
    states: watch::Receiver<Vec<RoutingWatchResponse>>,
    reports: Arc<Mutex<Vec<RoutingReportRequest>>>,
    shutdown: Shutdown,
}

#[tonic::async_trait]
impl Routing for FakeRouting {
    type WatchStream = BoxStream<'static, Result<RoutingWatchResponse, Status>>;

    async fn watch(
        &self,
        _: Request<RoutingWatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let shutdown = self.shutdown.clone();
        let messages = WatchStream::new(self.states.clone())
            .flat_map(futures::stream::iter)
            .map(Ok)
            .take_until(async move { shutdown.requested().await });
        Ok(Response::new(messages.boxed()))
    }

    async fn report(
        &self,
        report: Request<RoutingReportRequest>,
    ) -> Result<Response<RoutingReportResponse>, Status> {
        self.reports.lock().unwrap().push(report.into_inner());
        Ok(Response::new(RoutingReportResponse {}))
    }
}

struct Coordinator {
    running: Running,
    publisher: Publisher,
    states: watch::Sender<Vec<RoutingWatchResponse>>,
    reports: Arc<Mutex<Vec<RoutingReportRequest>>>,
}

impl Coordinator {
    async fn start(dir: &Path, mirrors: &[MirrorView]) -> Self {
        Self::start_beside(dir, mirrors, ORIGIN_URL).await
    }

    async fn start_beside(dir: &Path, mirrors: &[MirrorView], origin_url: &str) -> Self {
        let disk = LogDisk::open(dir, signer().keys()).unwrap();
        let publisher = Publisher::new(disk);
        let states = watch::Sender::new(messages(mirrors, origin_url, 1));
        let reports = Arc::default();
        let routing = |shutdown| FakeRouting {
            states: states.subscribe(),
            reports: Arc::clone(&reports),
            shutdown,
        };
        let running = Running::start(|listener, shutdown| {
            let catalog =
                CatalogService::new(publisher.clone(), Arc::new(SystemClock), shutdown.clone());
            let stopped = shutdown.clone();
            let stop = async move { stopped.requested().await };
            let served = Server::builder()
                .add_service(catalog)
                .add_service(RoutingServer::new(routing(shutdown)))
                .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop);
            async move { served.await.unwrap() }
        })
        .await;
        let this = Self {
            running,
            publisher,
            states,
            reports,
        };
        for revision in entries() {
            this.commit(&revision).await;
        }
        this
    }

    async fn commit(&self, entries: &[Entry]) {
        let time = SystemClock.unix_seconds();
        let revision = PendingRevision {
            note: note(&mut self.publisher.frontier(), entries, time),
            entries: entries.iter().map(|it| encode_entry(it).unwrap()).collect(),
            trace_parent: None,
        };
        self.publisher.publish(revision).await.unwrap();
    }

    fn says_down(&self, mirror: &str) -> bool {
        self.reports.lock().unwrap().iter().any(|report| {
            report
                .verdicts
                .iter()
                .any(|it| it.mirror == mirror && it.health() == Health::Down)
        })
    }
}

/// A redirector, ready.
struct Redirector {
    running: Running,
    http: reqwest::Client,
}

impl Redirector {
    async fn start(data_dir: &Path, coordinator: &str) -> Self {
        landfall_runtime::install_crypto();
        let country = data_dir.with_extension("csv");
        std::fs::write(&country, "192.0.2.0/24,NO\n198.51.100.0/24,DE\n").unwrap();
        let config = Config {
            name: "test".to_owned(),
            coordinator: coordinator.parse().unwrap(),
            log_keys: signer().keys().to_strings(),
            data_dir: data_dir.to_owned(),
            listen: Listen {
                http: "127.0.0.1:0".parse().unwrap(),
                dns: None,
            },
            locate: Locate {
                country: Some(country),
                trusted_proxies: vec!["127.0.0.0/8".to_owned()],
                ..Locate::default()
            },
            probe: Probe::default(),
            dns: None,
        };
        let (ready, announced) = oneshot::channel();
        let ready = Mutex::new(Some(ready));
        let announce = move |line: &str| {
            let line = line.to_owned();
            ready.lock().unwrap().take().unwrap().send(line).unwrap();
        };
        let options = RunOptions {
            insecure_loopback: true,
            announce: Box::new(announce),
        };
        let tasks = Tasks::new(Shutdown::new());
        let running = run(config, options, tasks.shutdown().clone());
        tasks.spawn("redirector", OnError::Fail, running);
        let line = tokio::time::timeout(LONG, announced)
            .await
            .unwrap()
            .unwrap();
        let address = line.strip_prefix("redirector ready http=").unwrap();
        Self {
            running: Running {
                tasks,
                address: address.parse().unwrap(),
            },
            http: landfall_runtime::dial::http_client().unwrap(),
        }
    }

    async fn get(&self, path: &str) -> reqwest::Response {
        let url = format!("{}{path}", self.running.url());
        let request = self.http.get(url).header("X-Forwarded-For", "192.0.2.9");
        request.send().await.unwrap()
    }

    /// The mirror that a client in Norway is led to.
    async fn mirror(&self, path: &str) -> String {
        let answer = self.get(path).await;
        let name = answer.headers().get("landfall-mirror");
        name.map_or_else(String::new, |name| name.to_str().unwrap().to_owned())
    }

    async fn stop(self) {
        self.running.kill().await;
    }
}

/// Asks until it is so.
pub(super) async fn eventually(mut condition: impl AsyncFnMut() -> bool) {
    let asked = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LONG, asked).await.unwrap();
}

pub(super) fn at(mirror: MirrorView, running: &Running) -> MirrorView {
    MirrorView {
        public_url: running.url(),
        ..mirror
    }
}

const TOOL_PATH: &str = "/binaries/tool/v1/tool";

#[tokio::test]
async fn it_answers_by_the_coordinators_catalog_and_fleet() {
    let folder = tempfile::tempdir().unwrap();
    let oslo_runs = start_mirror().await;
    let oslo = at(mirror("oslo", "NO", Serves::Everything), &oslo_runs);
    let origin_runs = start_origin().await;
    let origin_url = format!("{}/origin", origin_runs.url());
    let fleet = std::slice::from_ref(&oslo);
    let log = folder.path().join("log");
    let coordinator = Coordinator::start_beside(&log, fleet, &origin_url).await;
    let redirector =
        Redirector::start(&folder.path().join("data"), &coordinator.running.url()).await;

    let answer = redirector.get(TOOL_PATH).await;
    assert_eq!(answer.status(), StatusCode::FOUND);
    let location = answer.headers()["location"].to_str().unwrap();
    assert_eq!(location, format!("{}{TOOL_PATH}", oslo_runs.url()));
    assert_eq!(answer.headers()["landfall-catalog"], "revision=2 size=17");

    let manifest = redirector.get("/v2/app/manifests/v1").await;
    assert_eq!(manifest.status(), StatusCode::OK);
    assert_eq!(manifest.bytes().await.unwrap(), IMAGE);

    let note = redirector.get("/.landfall/checkpoint").await;
    let note = note.bytes().await.unwrap();
    let checkpoint = signer().keys().verify(&note).unwrap();
    assert_eq!(checkpoint.checkpoint.size, LOG_SIZE);
    let bundle = format!("/.landfall/tile/entries/000.p/{LOG_SIZE}");
    assert_eq!(redirector.get(&bundle).await.status(), StatusCode::OK);

    // What is promoted is there at once, from the origin as long as no mirror says it is ready.
    coordinator.commit(&later_entries()).await;
    let later = "/binaries/tool/v2/tool";
    eventually(async || redirector.mirror(later).await == "origin").await;
    let mut ready = readiness(&[]);
    (ready.through, ready.names_through) = (OBJECTS + 1, LOG_SIZE + 3);
    let oslo = MirrorView {
        readiness: Some(Arc::new(ready)),
        ..oslo
    };
    coordinator
        .states
        .send_replace(messages(&[oslo], &origin_url, 2));
    eventually(async || redirector.mirror(later).await == "oslo").await;

    redirector.stop().await;
    coordinator.running.kill().await;
    oslo_runs.kill().await;
    origin_runs.kill().await;
}

#[tokio::test]
async fn a_dead_origin_is_nobodys_target_and_mirrors_that_look_down_are_better_than_none() {
    let folder = tempfile::tempdir().unwrap();
    let (origin_runs, oslo_runs) = (start_origin().await, start_mirror().await);
    let origin_url = format!("{}/origin", origin_runs.url());
    // What the played mirror does not have need not be asked of it.
    let oslo = MirrorView {
        readiness: Some(Arc::new(readiness(&[1, 4]))),
        ..at(mirror("oslo", "NO", Serves::Everything), &oslo_runs)
    };
    let log = folder.path().join("log");
    let coordinator = Coordinator::start_beside(&log, &[oslo], &origin_url).await;
    let redirector =
        Redirector::start(&folder.path().join("data"), &coordinator.running.url()).await;
    let layer = format!("/blobs/sha256/{}", hex(LAYER));
    assert_eq!(
        redirector.mirror(&layer).await,
        "origin",
        "no mirror has it"
    );
    let origin_is = async |healthy: bool| {
        eventually(async || {
            let fleet = redirector.get("/.landfall/mirrors.json").await;
            let fleet: serde_json::Value = fleet.json().await.unwrap();
            fleet["origin_healthy"] == healthy
        })
        .await;
    };
    origin_is(true).await;

    origin_runs.kill().await;
    origin_is(false).await;
    let nowhere = redirector.get(&layer).await;
    assert_eq!(nowhere.status(), StatusCode::SERVICE_UNAVAILABLE);
    let wait = nowhere.headers()["retry-after"].to_str().unwrap();
    assert!(wait.parse::<u64>().unwrap() > 0);
    assert_eq!(redirector.mirror(TOOL_PATH).await, "oslo");

    // Both look down: who has it is a better guess than nobody.
    oslo_runs.kill().await;
    eventually(async || coordinator.says_down("oslo")).await;
    let explained = redirector
        .get(&format!(
            "/.landfall/explain?from=192.0.2.9&name={}",
            &TOOL_PATH[1..]
        ))
        .await;
    let explained: serde_json::Value = explained.json().await.unwrap();
    assert_eq!(explained["mirror"], "oslo");
    assert_eq!(explained["reason"], "health-failed-open");
    assert_eq!(
        redirector.get(&layer).await.status(),
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert!(!coordinator.says_down("origin"), "it is no mirror");

    redirector.stop().await;
    coordinator.running.kill().await;
}

#[tokio::test]
async fn it_starts_and_serves_from_the_last_good_view_with_the_coordinator_gone() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let running = start_mirror().await;
    let oslo = at(mirror("oslo", "NO", Serves::Everything), &running);
    let coordinator = Coordinator::start(&folder.path().join("log"), &[oslo]).await;
    let url = coordinator.running.url();
    let redirector = Redirector::start(&data, &url).await;
    let manifest = redirector.get("/v2/app/manifests/v1").await;
    assert_eq!(manifest.bytes().await.unwrap(), IMAGE);

    // Silence changes nothing.
    coordinator.running.kill().await;
    assert_eq!(redirector.mirror(TOOL_PATH).await, "oslo");
    redirector.stop().await;
    running.kill().await;

    let started = SystemClock.now();
    let redirector = Redirector::start(&data, &url).await;
    assert!(started.elapsed() < Duration::from_secs(3));
    // Nobody has been found down yet; or else the origin it is. Ready either way.
    let answer = redirector.get(TOOL_PATH).await;
    assert_eq!(answer.status(), StatusCode::FOUND);
    let manifest = redirector.get("/v2/app/manifests/v2").await;
    assert_eq!(
        manifest.bytes().await.unwrap(),
        IMAGE,
        "from the cache on disk"
    );
    assert_eq!(
        redirector.get("/.landfall/readyz").await.status(),
        StatusCode::OK
    );
    redirector.stop().await;
}

#[tokio::test]
async fn with_the_coordinator_gone_the_log_goes_on_from_the_static_files_it_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let origin_runs = start_origin().await;
    let origin_url = format!("{}/origin", origin_runs.url());
    let log = folder.path().join("log");
    let coordinator = Coordinator::start_beside(&log, &[], &origin_url).await;
    let url = coordinator.running.url();
    let reader = coordinator.publisher.reader();
    let files = Running::start(|listener, shutdown| async move {
        ops::serve(listener, static_router(reader), shutdown).await;
    })
    .await;
    let mut told = messages(&[], &origin_url, 2);
    for message in &mut told {
        if let Some(Kind::Policy(policy)) = &mut message.kind {
            policy.log_url = format!("{}/.landfall", files.url());
        }
    }
    coordinator.states.send_replace(told);
    let redirector = Redirector::start(&data, &url).await;
    // What is kept is read back before it is relied upon.
    let kept = data.join("fleet");
    let has_url = async || match last_good::load(&kept) {
        Ok(Some(fleet)) => !fleet.log_url.is_empty(),
        Ok(None) | Err(_) => false,
    };
    eventually(has_url).await;
    redirector.stop().await;

    // It is promoted once more, and the coordinator is gone.
    coordinator.commit(&later_entries()).await;
    coordinator.running.kill().await;
    let redirector = Redirector::start(&data, &url).await;
    let later = "/binaries/tool/v2/tool";
    eventually(async || redirector.mirror(later).await == "origin").await;
    redirector.stop().await;
    files.kill().await;
    origin_runs.kill().await;
}

#[tokio::test]
async fn a_mirror_that_dies_is_left_within_five_seconds_and_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let (oslo_runs, berlin_runs) = (start_mirror().await, start_mirror().await);
    let fleet = [
        at(mirror("berlin", "DE", Serves::Everything), &berlin_runs),
        at(mirror("oslo", "NO", Serves::Everything), &oslo_runs),
    ];
    // What the played mirrors do not have need not be asked of them.
    let fleet = fleet.map(|mirror| MirrorView {
        readiness: Some(Arc::new(readiness(&[1]))),
        ..mirror
    });
    let coordinator = Coordinator::start(&folder.path().join("log"), &fleet).await;
    let redirector =
        Redirector::start(&folder.path().join("data"), &coordinator.running.url()).await;
    let seen_up = async || {
        let fleet = redirector.get("/.landfall/mirrors.json").await;
        let fleet: serde_json::Value = fleet.json().await.unwrap();
        let mirrors = fleet["mirrors"].as_array().unwrap();
        mirrors.iter().all(|mirror| mirror["healthy"] == true)
    };
    eventually(seen_up).await;
    assert_eq!(redirector.mirror(TOOL_PATH).await, "oslo");
    let retry = redirector.mirror(&format!("{TOOL_PATH}?avoid=oslo")).await;
    assert_eq!(retry, "berlin", "who was just sent there needs one retry");

    oslo_runs.kill().await;
    let died = SystemClock.now();
    eventually(async || redirector.mirror(TOOL_PATH).await == "berlin").await;
    assert!(died.elapsed() < Duration::from_secs(5));
    eventually(async || coordinator.says_down("oslo")).await;

    redirector.stop().await;
    coordinator.running.kill().await;
    berlin_runs.kill().await;
}

#[tokio::test]
async fn without_identity_it_runs_only_where_told_so() {
    let config = Config {
        name: "test".to_owned(),
        coordinator: "http://127.0.0.1:1".parse().unwrap(),
        log_keys: Vec::new(),
        data_dir: "/nonexistent".into(),
        listen: Listen {
            http: "0.0.0.0:0".parse().unwrap(),
            dns: None,
        },
        locate: Locate::default(),
        probe: Probe::default(),
        dns: None,
    };
    let options = |insecure_loopback| RunOptions {
        insecure_loopback,
        announce: Box::new(|_| {}),
    };
    let refused = run(config.clone(), options(false), Shutdown::new()).await;
    let Err(fault @ RunError::NoIdentity) = refused else {
        panic!("{refused:?}");
    };
    assert!(fault.is_configuration());
    let unknown = Config {
        log_keys: vec!["none".to_owned()],
        listen: Listen {
            http: "127.0.0.1:0".parse().unwrap(),
            dns: None,
        },
        ..config.clone()
    };
    let refused = run(unknown, options(true), Shutdown::new()).await;
    assert!(refused.unwrap_err().is_configuration());
    let refused = run(config, options(true), Shutdown::new()).await;
    let Err(fault @ RunError::Config { .. }) = refused else {
        panic!("{refused:?}");
    };
    assert!(fault.is_configuration());
    assert!(fault.to_string().starts_with("listen.http: "), "{fault}");
    let lacking = RunError::Data("/nonexistent".into(), std::io::Error::other("full"));
    assert!(!lacking.is_configuration());
}
