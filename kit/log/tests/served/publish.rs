use std::time::Duration;

use landfall_log::publish::{PendingRevision, WatchLimits};
use landfall_log::{LogError, Refusal};
use landfall_proto::v1::catalog_client::CatalogClient;
use landfall_proto::v1::{
    CatalogHello, CatalogWatchRequest, CatalogWatchResponse, catalog_watch_response::Kind,
};
use landfall_runtime::dial::grpc_channel;
use reqwest::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use tonic::{Code, Status, Streaming};
use url::Url;

use crate::support::{House, ORIGIN, TestLog, keys, time_of};

async fn watch(url: &Url, from_size: u64) -> Result<Streaming<CatalogWatchResponse>, Status> {
    let mut client = CatalogClient::new(grpc_channel(url).unwrap());
    let response = client.watch(CatalogWatchRequest { from_size }).await?;
    Ok(response.into_inner())
}

async fn next(stream: &mut Streaming<CatalogWatchResponse>) -> Kind {
    stream.message().await.unwrap().unwrap().kind.unwrap()
}

#[tokio::test]
async fn a_stream_says_hello_then_entries_then_the_checkpoint_over_them() {
    let (house, mut log) = (House::new(), TestLog::new().await);
    log.promote(1_000).await;
    let url = house.grpc(&log).await;
    let mut stream = watch(&url, 100).await.unwrap();
    let Kind::Hello(CatalogHello {
        origin,
        verifier_keys,
    }) = next(&mut stream).await
    else {
        panic!("no hello");
    };
    assert_eq!(
        (origin.as_str(), verifier_keys),
        (ORIGIN, keys().to_strings())
    );
    let mut size = 100;
    loop {
        match next(&mut stream).await {
            Kind::Entries(entries) => {
                assert_eq!(entries.first, size);
                size += entries.entries.len() as u64;
            }
            Kind::Checkpoint(checkpoint) => {
                let signed = keys().verify(&checkpoint.note).unwrap();
                assert_eq!((signed.checkpoint.size, size), (2_001, 2_001));
                assert_eq!(checkpoint.trace_parent, "trace-1");
                break;
            }
            other @ (Kind::Hello(_) | Kind::Bookmark(_)) => panic!("{other:?}"),
        }
    }
    log.promote(0).await;
    assert!(matches!(next(&mut stream).await, Kind::Entries(entries) if entries.first == 2_001));
    assert!(matches!(next(&mut stream).await, Kind::Checkpoint(_)));
}

#[tokio::test]
async fn a_start_beyond_the_head_is_refused_with_the_note_as_evidence() {
    let (house, mut log) = (House::new(), TestLog::new().await);
    log.promote(1).await;
    let url = house.grpc(&log).await;
    assert!(watch(&url, 3).await.is_ok());
    let refused = watch(&url, 4).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let signed = keys().verify(refused.details()).unwrap();
    assert_eq!(signed.checkpoint.size, 3);
}

#[tokio::test]
async fn a_quiet_log_still_says_that_it_is_there() {
    let (house, log) = (House::new(), TestLog::new().await);
    let limits = WatchLimits {
        bookmark_every: Duration::from_millis(10),
        ..WatchLimits::default()
    };
    let url = house
        .serve_grpc(house.catalog_service(&log).with_limits(limits))
        .await;
    let mut stream = watch(&url, 0).await.unwrap();
    assert!(matches!(next(&mut stream).await, Kind::Hello(_)));
    assert!(matches!(next(&mut stream).await, Kind::Checkpoint(_)));
    for _ in 0..3 {
        assert!(matches!(next(&mut stream).await, Kind::Bookmark(mark) if mark.size == 0));
    }
}

#[tokio::test]
async fn streams_end_when_the_server_stops() {
    let (house, log) = (House::new(), TestLog::new().await);
    let url = house.grpc(&log).await;
    let mut stream = watch(&url, 0).await.unwrap();
    assert!(matches!(next(&mut stream).await, Kind::Hello(_)));
    assert!(matches!(next(&mut stream).await, Kind::Checkpoint(_)));
    house.shutdown().trigger();
    assert_eq!(
        stream.message().await.unwrap_err().code(),
        Code::Unavailable
    );
    house.tasks.join(Duration::from_secs(10)).await.unwrap();
}

#[tokio::test]
async fn publishing_the_same_revision_again_changes_nothing() {
    let mut log = TestLog::new().await;
    let first = log.pending(5);
    log.promote(5).await;
    log.refresh(time_of(3)).await;
    let before = log.publisher.watch().borrow().clone();
    let held = log.publisher.publish(first).await.unwrap();
    assert_eq!((held.checkpoint.size, held.time), (11, time_of(3)));
    assert_eq!(*log.publisher.watch().borrow(), before);
}

#[tokio::test]
async fn a_note_that_is_not_for_these_entries_publishes_nothing() {
    let mut log = TestLog::new().await;
    log.promote(5).await;
    let right = log.pending(3);
    let mut wrong = right.clone();
    wrong.entries.swap(0, 1);
    let refused = log.publisher.publish(wrong).await;
    assert!(
        matches!(
            &refused,
            Err(LogError::Refused {
                why: Refusal::TamperedEntry,
                ..
            })
        ),
        "{refused:?}"
    );
    let without = PendingRevision {
        entries: Vec::new(),
        ..right.clone()
    };
    let refused = log.publisher.publish(without).await;
    assert!(
        matches!(
            &refused,
            Err(LogError::Refused {
                why: Refusal::TruncatedLog,
                ..
            })
        ),
        "{refused:?}"
    );
    assert_eq!(log.publisher.watch().borrow().size, 11);
    log.publisher.publish(right).await.unwrap();
    assert_eq!(log.size(), 18);
    log.publisher.reader().verify().unwrap();
}

#[tokio::test]
async fn static_files_have_the_headers_that_caches_need_and_nothing_is_ahead_of_the_checkpoint() {
    let (house, mut log) = (House::new(), TestLog::new().await);
    log.promote(150).await;
    let prefix = house.http(&log).await;
    let http = reqwest::Client::new();
    let get = async |path: &str| http.get(format!("{prefix}/{path}")).send().await.unwrap();

    let checkpoint = get("checkpoint").await;
    assert_eq!(
        checkpoint.headers()[CONTENT_TYPE],
        "text/plain; charset=utf-8"
    );
    assert_eq!(checkpoint.headers()[CACHE_CONTROL], "public, max-age=2");
    let note = checkpoint.bytes().await.unwrap();
    assert_eq!(keys().verify(&note).unwrap().checkpoint.size, 301);

    for (path, bytes) in [
        ("tile/0/000", 8_192),
        ("tile/0/001.p/45", 45 * 32),
        ("tile/1/000.p/1", 32),
    ] {
        let tile = get(path).await;
        assert_eq!(tile.status(), 200, "{path}");
        assert_eq!(tile.headers()[CONTENT_TYPE], "application/octet-stream");
        assert_eq!(
            tile.headers()[CACHE_CONTROL],
            "public, max-age=31536000, immutable"
        );
        assert_eq!(tile.headers()[CONTENT_LENGTH], bytes.to_string().as_str());
        assert_eq!(tile.bytes().await.unwrap().len(), bytes);
    }
    assert_eq!(get("tile/entries/000").await.status(), 200);
    // There, but not covered by the checkpoint.
    std::fs::write(log.dir.path().join("tile/0/001"), vec![0; 8_192]).unwrap();
    for path in [
        "tile/0/001",
        "tile/0/001.p/46",
        "tile/0/002",
        "tile/0/000/",
        "tile/0/..%2fcheckpoint",
        "tile/x",
        "keys",
        "lock",
    ] {
        let response = get(path).await;
        assert_eq!(response.status(), 404, "{path}");
    }
}
