//! Filling a real store from real HTTP servers.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::{Path, RawQuery},
    http::StatusCode,
    response::{IntoResponse, Redirect},
    routing::get,
};
use landfall_catalog::{Digest, Entry, MediaType, Name, Object};
use landfall_content::DirectoryStore;
use landfall_runtime::{OnError, Shutdown, SystemClock, Tasks, dial::http_client, ops};
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    sync::{Notify, mpsc, watch},
    time::{sleep, timeout},
};
use url::Url;

use super::{Account, Fetcher, Filler, Traced, Wanted};
use crate::{
    metrics::Metrics,
    session::{Endpoints, Incident},
    shelf::SharedShelf,
    testing::with_commit,
    want::Filter,
};

const PATIENCE: Duration = Duration::from_secs(20);

fn content(number: u32) -> Vec<u8> {
    format!("content of file {number}").into_bytes()
}

/// A shelf with so many files, all of them wanted.
fn shelf_of(files: u32) -> SharedShelf {
    let mut entries = Vec::new();
    for number in 0..files {
        let content = content(number);
        entries.push(Entry::ObjectAdded(Object {
            digest: Digest::of(&content),
            size: content.len() as u64,
            media_type: MediaType::octet_stream(),
            children: Vec::new(),
            referrer: None,
            pieces: None,
        }));
        entries.push(Entry::NameSet {
            name: Name::File(format!("files/{number}").parse().unwrap()),
            digest: Digest::of(&content),
        });
    }
    let shelf = SharedShelf::new(1);
    let mut held = shelf.write();
    held.apply(&with_commit(entries, 1)).unwrap();
    held.replayed = true;
    drop(held);
    shelf
}

/// Serves a router on loopback for as long as the value lives.
struct Served {
    url: Url,
    tasks: Tasks,
}

impl Served {
    async fn start(router: Router) -> Self {
        landfall_runtime::install_crypto();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let tasks = Tasks::new(Shutdown::new());
        let serving = ops::serve(listener, router, tasks.shutdown().clone());
        tasks.spawn("server", OnError::Fail, serving);
        Self {
            url: url.parse().unwrap(),
            tasks,
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.tasks.shutdown().trigger();
    }
}

fn fetcher(
    folder: &TempDir,
    endpoints: Endpoints,
) -> (
    Fetcher,
    mpsc::Receiver<Incident>,
    watch::Sender<Option<Endpoints>>,
) {
    let (incidents, told) = mpsc::channel(8);
    let (sender, endpoints) = watch::channel(Some(endpoints));
    let fetcher = Fetcher {
        store: DirectoryStore::open(folder.path()).unwrap(),
        client: http_client().unwrap(),
        name: "uni-oslo".into(),
        endpoints,
        incidents,
        clock: Arc::new(SystemClock),
        shunned: Mutex::default(),
    };
    (fetcher, told, sender)
}

/// Answers what is asked for by digest from the files of [`content`], late.
fn origin(files: u32, delay: Duration) -> Router {
    let by_digest: HashMap<String, Vec<u8>> = (0..files)
        .map(|number| (Digest::of(&content(number)).to_hex(), content(number)))
        .collect();
    let by_digest = Arc::new(by_digest);
    Router::new().route(
        "/blobs/sha256/{hex}",
        get(move |Path(hex): Path<String>| {
            let found = by_digest.get(&hex).cloned();
            async move {
                sleep(delay).await;
                found.ok_or(StatusCode::NOT_FOUND)
            }
        }),
    )
}

#[tokio::test]
async fn what_is_ready_is_reported_while_the_rest_is_still_being_fetched() {
    const FILES: u32 = 400;
    let folder = TempDir::new().unwrap();
    let origin = Served::start(origin(FILES, Duration::from_millis(20))).await;
    let endpoints = Endpoints {
        public_url: origin.url.clone(),
        origin_url: origin.url.clone(),
        log_url: None,
    };
    let (fetcher, _incidents, _endpoints) = fetcher(&folder, endpoints);
    let (report, mut reports) = watch::channel(None);
    let changed = Arc::new(Notify::new());
    changed.notify_one();
    let adopted = Arc::new(AtomicBool::new(false));
    let filler = Filler {
        shelf: with_checkpoint(shelf_of(FILES)),
        store: fetcher.store.clone(),
        filter: Filter::default(),
        fetcher: Arc::new(fetcher),
        changed,
        traced: Traced::default(),
        report,
        metrics: Metrics::new(&prometheus::Registry::new()).unwrap(),
        clock: Arc::new(SystemClock),
        seed: 1,
        adopted: {
            let adopted = Arc::clone(&adopted);
            Box::new(move || adopted.store(true, Ordering::SeqCst))
        },
    };
    let shutdown = Shutdown::new();
    let watching = async {
        let mut seen = Vec::new();
        loop {
            reports.changed().await.unwrap();
            let ready = reports.borrow_and_update().as_ref().unwrap().ready;
            seen.push(ready);
            if ready == u64::from(FILES) {
                break;
            }
        }
        shutdown.trigger();
        seen
    };
    let (ran, seen) = timeout(PATIENCE, async {
        tokio::join!(filler.run(shutdown.clone()), watching)
    })
    .await
    .expect("the fill did not end");
    ran.unwrap();
    let on_the_way = seen
        .iter()
        .filter(|ready| (1..u64::from(FILES)).contains(*ready))
        .count();
    assert!(on_the_way >= 3, "reports on the way: {seen:?}");
    assert!(adopted.load(Ordering::SeqCst));
}

/// A shelf whose log is signed as far as it goes.
fn with_checkpoint(shelf: SharedShelf) -> SharedShelf {
    let signer = landfall_catalog::LogSigner::from_seeds("test", [1; 32], [2; 32]).unwrap();
    let mut held = shelf.write();
    let checkpoint = landfall_catalog::Checkpoint {
        origin: "test".into(),
        size: held.catalog.log_size(),
        root: landfall_catalog::empty_root(),
    };
    let note = signer.sign(&checkpoint, 1).unwrap();
    held.checkpoint = Some(signer.keys().verify(&note).unwrap());
    drop(held);
    shelf
}

#[tokio::test]
async fn an_origin_that_lied_once_does_not_cut_the_agent_off_from_the_redirector() {
    let folder = TempDir::new().unwrap();
    let honest = Served::start(origin(2, Duration::ZERO)).await;
    let liar = Served::start(Router::new().route(
        "/blobs/sha256/{hex}",
        get(async || b"content of file X".to_vec()),
    ))
    .await;
    // A redirector that is away at first, and then refuses what is no mirror.
    let is_back = Arc::new(AtomicBool::new(false));
    let redirector = {
        let is_back = Arc::clone(&is_back);
        let honest = honest.url.clone();
        let answer = move |Path(hex): Path<String>, RawQuery(query): RawQuery| {
            let query = query.unwrap_or_default();
            let answer = if !is_back.load(Ordering::SeqCst) {
                StatusCode::SERVICE_UNAVAILABLE.into_response()
            } else if query.contains("http") {
                StatusCode::BAD_REQUEST.into_response()
            } else {
                let to = format!("{honest}blobs/sha256/{hex}");
                ([("landfall-mirror", "honest")], Redirect::temporary(&to)).into_response()
            };
            std::future::ready(answer)
        };
        Served::start(Router::new().route("/blobs/sha256/{hex}", get(answer))).await
    };
    let (fetcher, mut incidents, _endpoints) = fetcher(
        &folder,
        Endpoints {
            public_url: redirector.url.clone(),
            origin_url: liar.url.clone(),
            log_url: None,
        },
    );
    let wanted = |number| Wanted {
        digest: Digest::of(&content(number)),
        size: content(number).len() as u64,
        pieces: None,
    };
    assert!(fetcher.fetch(wanted(0)).await.is_err());
    assert_eq!(incidents.recv().await.unwrap().source, "origin");
    is_back.store(true, Ordering::SeqCst);
    let fetched = fetcher.fetch(wanted(1)).await.unwrap();
    let by = fetched.served_by.unwrap();
    assert_eq!(by.mirror.as_deref(), Some("honest"));
}

#[tokio::test]
async fn what_was_wanted_before_a_revision_is_not_reported_as_all_that_is_wanted_after_it() {
    let folder = TempDir::new().unwrap();
    let nowhere: Url = "http://127.0.0.1:1/".parse().unwrap();
    let endpoints = Endpoints {
        public_url: nowhere.clone(),
        origin_url: nowhere,
        log_url: None,
    };
    let (fetcher, _incidents, _endpoints) = fetcher(&folder, endpoints);
    let filler = Filler {
        shelf: with_checkpoint(shelf_of(1)),
        store: fetcher.store.clone(),
        filter: Filter::default(),
        fetcher: Arc::new(fetcher),
        changed: Arc::new(Notify::new()),
        traced: Traced::default(),
        report: watch::channel(None).0,
        metrics: Metrics::new(&prometheus::Registry::new()).unwrap(),
        clock: Arc::new(SystemClock),
        seed: 1,
        adopted: Box::new(|| {}),
    };
    let mut account = Account::new(HashMap::new(), 1);
    let report = |account: &Account| filler.report(account, &filler.shelf.read());
    assert!(report(&account).is_none(), "nobody has looked yet");
    filler.take_stock(&mut account);
    assert_eq!(report(&account).unwrap().wanted, 1);

    let announced = Entry::NamePending {
        name: Name::File("files/later".parse().unwrap()),
        digest: Digest::of(&content(0)),
    };
    let next = with_commit(vec![announced], 2);
    filler.shelf.write().apply(&next).unwrap();
    with_checkpoint(filler.shelf.clone());
    assert!(report(&account).is_none(), "of the revision before");
    filler.take_stock(&mut account);
    assert_eq!(report(&account).unwrap().readiness.log.size, 5);
}
