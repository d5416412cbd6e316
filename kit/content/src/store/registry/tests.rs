//! A registry with bad days, one at a time.

use std::sync::{Arc, Mutex as StdMutex};

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::response::Response;
use http::{Method, StatusCode};
use landfall_catalog::MediaType;
use landfall_runtime::dial::http_client;

use super::*;
use crate::oci::MANIFEST;
use crate::source::HttpSource;
use crate::store::Store;
use crate::testing::{Behaviour, TestServer, content};
use crate::transfer::{Fetched, TransferError, TransferLimits, Want, transfer};

/// Bytes that the registry keeps of a chunk that it then drops.
const KEPT: usize = 3 << 20;
/// Shortest chunk that it takes.
const LEAST: usize = 9 << 20;

/// What the registry does and has.
#[derive(Default)]
struct Fake {
    /// Answers the first request that begins an upload with 429.
    busy: bool,
    /// Breaks down in the middle of the first chunk.
    breaks: bool,
    /// Forgets every chunk but the last, and says nothing.
    forgets: bool,
    /// Lists referrers itself.
    lists: bool,
    /// Questions that it answers 500, as one does while somebody else pushes.
    stumbles: usize,
    upload: Vec<u8>,
    blobs: HashMap<String, usize>,
    log: Vec<String>,
}

type Shared = Arc<StdMutex<Fake>>;

fn reply(status: u16) -> http::response::Builder {
    Response::builder().status(status)
}

async fn answer(shared: Shared, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 64 << 20).await.unwrap();
    let path = parts.uri.path().to_owned();
    let range = parts.headers.get("content-range");
    let range = range.map(|range| range.to_str().unwrap().to_owned());
    let mut fake = shared.lock().unwrap();
    let shown = path.rsplit('/').find(|part| !part.is_empty()).unwrap();
    let shown = shown.split(':').next().unwrap();
    let shown = shown.get(..6).unwrap_or(shown);
    fake.log.push(match &range {
        Some(range) => format!("{} {shown} {range}", parts.method),
        None => format!("{} {shown}", parts.method),
    });
    let builder = match (&parts.method, path.contains("/uploads/")) {
        (&Method::POST, _) if std::mem::take(&mut fake.busy) => {
            reply(429).header("retry-after", "1")
        }
        (&Method::POST, _) => {
            fake.upload.clear();
            reply(202)
                .header("location", "/v2/team/app/blobs/uploads/1?state=a")
                .header("oci-chunk-min-length", LEAST)
        }
        (&Method::PATCH, _) => {
            let start: usize = range.unwrap().split('-').next().unwrap().parse().unwrap();
            assert_eq!(parts.uri.query(), Some("state=a"), "the location is kept");
            if start != fake.upload.len() && !fake.forgets {
                reply(416)
            } else if std::mem::take(&mut fake.breaks) {
                fake.upload.extend(&body[..KEPT]);
                reply(500)
            } else {
                if fake.forgets {
                    fake.upload.clear();
                }
                fake.upload.extend(&body);
                reply(202).header("location", "/v2/team/app/blobs/uploads/1?state=a")
            }
        }
        (&Method::GET, true) => {
            let last = fake.upload.len() - 1;
            reply(204).header("range", format!("0-{last}"))
        }
        (&Method::PUT, true) => {
            let query = parts.uri.query().unwrap();
            let digest = query.split("digest=sha256%3A").nth(1).unwrap().to_owned();
            fake.upload.extend(&body);
            let size = fake.upload.len();
            fake.blobs.insert(digest, size);
            reply(201)
        }
        (&Method::PUT, false) if fake.lists => reply(201).header("oci-subject", "sha256:x"),
        (&Method::PUT, false) => reply(201),
        (&Method::HEAD, _) if fake.stumbles > 0 => {
            fake.stumbles -= 1;
            reply(500)
        }
        (&Method::HEAD, _) => {
            let hex = path.rsplit(':').next().unwrap();
            match fake.blobs.get(hex) {
                Some(size) => reply(200).header("content-length", *size),
                None => reply(404),
            }
        }
        (&Method::DELETE, _) => reply(202),
        _ => reply(StatusCode::NOT_FOUND.as_u16()),
    };
    builder.body(Body::empty()).unwrap()
}

async fn fake(fake: Fake) -> (TestServer, Shared, Store) {
    let shared = Arc::new(StdMutex::new(fake));
    let for_server = Arc::clone(&shared);
    let server = TestServer::with(move |request| answer(Arc::clone(&for_server), request)).await;
    let url = server.url.as_str().replace("http", "oci+http");
    let store = RegistryStore::open(&url.parse().unwrap(), [])
        .await
        .unwrap();
    (server, shared, Store::Registry(store))
}

fn item(bytes: &Bytes) -> Item {
    Item {
        repository: Some("team/app".parse().unwrap()),
        ..Item::new(Digest::of(bytes), bytes.len() as u64)
    }
}

async fn bring(store: &Store, bytes: &Bytes) -> Result<Fetched, TransferError> {
    let server = TestServer::start(bytes, Behaviour::Honest).await;
    let source = HttpSource::new(http_client().unwrap(), server.url.clone());
    let item = item(bytes);
    let want = Want {
        digest: item.digest,
        size: item.size,
        pieces: None,
        make_pieces: false,
    };
    let limits = TransferLimits::default();
    let sources = [Arc::new(source) as Arc<dyn Source>];
    transfer(store.destination(&item), &want, &sources, &limits, |_| {}).await
}

#[tokio::test]
async fn a_registry_that_limits_and_breaks_down_is_waited_for_and_continued() {
    let bad = Fake {
        busy: true,
        breaks: true,
        ..Fake::default()
    };
    let (_server, shared, store) = fake(bad).await;
    let bytes = content(20 << 20);
    let began = tokio::time::Instant::now();
    bring(&store, &bytes).await.unwrap();
    assert!(
        began.elapsed() >= Duration::from_secs(1),
        "it asked to be left alone for a second"
    );
    let fake = shared.lock().unwrap();
    assert_eq!(fake.upload, bytes, "every byte once");
    assert_eq!(
        fake.log,
        [
            "HEAD sha256".to_owned(),
            "POST upload".to_owned(),
            "POST upload".to_owned(),
            format!("PATCH 1 0-{}", LEAST - 1),
            "GET 1".to_owned(),
            format!("PATCH 1 {KEPT}-{}", LEAST - 1),
            format!("PATCH 1 {LEAST}-{}", 2 * LEAST - 1),
            format!("PATCH 1 {}-{}", 2 * LEAST, bytes.len() - 1),
            "PUT 1".to_owned(),
            "HEAD sha256".to_owned(),
        ]
    );
}

#[tokio::test]
async fn a_registry_that_stumbles_over_a_push_of_the_same_is_asked_again() {
    let bytes = content(1000);
    let item = item(&bytes);
    for is_there in [true, false] {
        let mut busy = Fake {
            stumbles: 2,
            ..Fake::default()
        };
        if is_there {
            busy.blobs.insert(item.digest.to_hex(), bytes.len());
        }
        let (_server, shared, store) = fake(busy).await;
        assert_eq!(store.has(&item).await.unwrap(), is_there);
        assert_eq!(shared.lock().unwrap().log, ["HEAD sha256"; 3]);
    }
}

#[tokio::test]
async fn a_registry_that_only_stumbles_is_not_asked_for_ever() {
    let broken = Fake {
        stumbles: usize::MAX,
        ..Fake::default()
    };
    let (_server, shared, store) = fake(broken).await;
    let error = store.has(&item(&content(1000))).await.unwrap_err();
    let examined = matches!(
        error,
        StoreError::Remote {
            operation: "examine",
            ..
        }
    );
    assert!(examined, "{error:?}");
    assert!((2..=5).contains(&shared.lock().unwrap().log.len()));
}

#[tokio::test]
async fn a_registry_that_loses_chunks_without_a_word_is_found_out() {
    let forgetful = Fake {
        forgets: true,
        ..Fake::default()
    };
    let (_server, _, store) = fake(forgetful).await;
    let bytes = content(20 << 20);
    let error = bring(&store, &bytes).await.unwrap_err();
    assert!(
        matches!(
            error,
            TransferError::Store(StoreError::Remote {
                operation: "find again",
                ..
            })
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_registry_that_lists_referrers_itself_is_left_to_it() {
    for lists in [true, false] {
        let lister = Fake {
            lists,
            ..Fake::default()
        };
        let (_server, shared, store) = fake(lister).await;
        let layer = json!({"mediaType": "a/b", "digest": Digest::of(b""), "size": 0});
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": layer, "layers": [],
            "subject": {"mediaType": MANIFEST, "digest": Digest::of(b"x"), "size": 1},
        });
        let bytes = Bytes::from(manifest.to_string());
        let item = Item {
            media_type: MediaType::try_new(MANIFEST).unwrap(),
            ..item(&bytes)
        };
        store.put_bytes(&item, bytes).await.unwrap();
        let log = shared.lock().unwrap().log.clone();
        let puts = log.iter().filter(|line| line.starts_with("PUT")).count();
        assert_eq!(puts, if lists { 1 } else { 2 }, "{log:?}");
    }
}
