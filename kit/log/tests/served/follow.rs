use std::convert::Infallible;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use landfall_catalog::{Catalog, Revision};
use landfall_log::follow::{Evidence, FeedSource, FollowError, FollowEvent};
use landfall_log::publish::CatalogService;
use landfall_log::{LogDisk, LogError, Refusal, load_catalog};
use landfall_proto::v1::catalog_server::CatalogServer;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;
use url::Url;

use crate::forged::{self, Flaky, honest, honest_note};
use crate::support::{Following, House, TestLog, keys, revisions, signer, stranger, time_of};

/// A port that nobody listens on.
fn nobody() -> FeedSource {
    FeedSource::Grpc("http://127.0.0.1:1".parse().unwrap())
}

async fn hands_on_every_revision(source: impl AsyncFn(&House, &TestLog) -> FeedSource) {
    let (house, mut log) = (House::new(), TestLog::new().await);
    log.promote(3).await;
    log.promote(400).await;
    let dir = tempfile::tempdir().unwrap();
    let mut following = house.follow(dir.path(), Some(keys()), vec![source(&house, &log).await]);
    let events = following
        .until(|event| matches!(event, FollowEvent::CaughtUp { .. }))
        .await;
    assert!(matches!(events[0], FollowEvent::Replayed { size: 0 }));
    assert_eq!(revisions(&events), [(0, 7), (7, 801)]);
    log.promote(1).await;
    assert_eq!(revisions(&following.until_size(811).await), [(808, 3)]);
    log.promote(0).await;
    assert_eq!(revisions(&following.until_size(812).await), [(811, 1)]);
    log.refresh(time_of(7)).await;
    let refreshed = following
        .until(|event| matches!(event, FollowEvent::Checkpoint(held) if held.time == time_of(7)))
        .await;
    assert_eq!(revisions(&refreshed), []);
    following.stop().await;

    let disk = LogDisk::open(dir.path(), &keys()).unwrap();
    disk.reader().verify().unwrap();
    assert_eq!(
        (disk.size(), disk.checkpoint().unwrap().time),
        (812, time_of(7))
    );
    let catalog = load_catalog(&disk.reader()).unwrap();
    assert_eq!(
        (catalog.revision(), catalog.object_count()),
        (Revision::new(4), 404)
    );
}

#[tokio::test]
async fn a_stream_is_followed_revision_by_revision() {
    hands_on_every_revision(async |house, log| FeedSource::Grpc(house.grpc(log).await)).await;
}

#[tokio::test]
async fn static_files_are_followed_revision_by_revision() {
    hands_on_every_revision(async |house, log| FeedSource::Static(house.http(log).await)).await;
}

#[tokio::test]
async fn a_revision_comes_with_the_trace_of_its_operation() {
    let (house, mut log) = (House::new(), TestLog::new().await);
    let dir = tempfile::tempdir().unwrap();
    let source = FeedSource::Grpc(house.grpc(&log).await);
    let mut following = house.follow(dir.path(), Some(keys()), vec![source]);
    following.until_size(0).await;
    log.promote(2).await;
    let events = following.until_size(5).await;
    let traced = events.iter().any(|event| {
        matches!(event, FollowEvent::Revision { trace_parent: Some(trace), .. } if trace == "trace-1")
    });
    assert!(traced, "{events:#?}");
    following.stop().await;
}

#[tokio::test]
async fn a_revision_of_many_megabytes_arrives_whole() {
    let (house, mut log) = (House::new(), TestLog::new().await);
    log.promote(20_000).await;
    let dir = tempfile::tempdir().unwrap();
    let source = FeedSource::Grpc(house.grpc(&log).await);
    let mut following = house.follow(dir.path(), Some(keys()), vec![source]);
    let events = following.until_size(40_001).await;
    assert_eq!(revisions(&events), [(0, 40_001)]);
    following.stop().await;
}

#[tokio::test]
async fn what_is_on_disk_comes_first_and_needs_nobody() {
    let (house, mut log) = (House::new(), TestLog::new().await);
    log.promote(5).await;
    log.promote(300).await;
    let dir = tempfile::tempdir().unwrap();
    let source = FeedSource::Grpc(house.grpc(&log).await);
    let mut following = house.follow(dir.path(), Some(keys()), vec![source]);
    following.until_size(612).await;
    following.stop().await;

    let mut alone = house.follow(dir.path(), Some(keys()), vec![nobody()]);
    let events = alone
        .until(|event| matches!(event, FollowEvent::Replayed { .. }))
        .await;
    assert_eq!(revisions(&events), [(0, 11), (11, 601)]);
    let mut catalog = Catalog::default();
    for event in &events {
        if let FollowEvent::Revision { entries, .. } = event {
            catalog.apply(entries).unwrap();
        }
    }
    assert_eq!(catalog.log_size(), 612);
    alone.stop().await;
}

#[tokio::test]
async fn a_follower_that_was_stopped_goes_on_where_it_was() {
    let (house, mut log) = (House::new(), TestLog::new().await);
    let source = FeedSource::Grpc(house.grpc(&log).await);
    let dir = tempfile::tempdir().unwrap();
    for round in 0..4 {
        log.promote(100).await;
        let mut following = house.follow(dir.path(), Some(keys()), vec![source.clone()]);
        let events = following.until_size(log.size()).await;
        assert_eq!(revisions(&events).len(), round + 1);
        following.stop().await;
    }
    let disk = LogDisk::open(dir.path(), &keys()).unwrap();
    disk.reader().verify().unwrap();
}

#[tokio::test]
async fn the_keys_that_are_met_first_are_the_only_ones_ever_after() {
    let (house, mut log) = (House::new(), TestLog::new().await);
    log.promote(2).await;
    let dir = tempfile::tempdir().unwrap();
    let source = FeedSource::Grpc(house.grpc(&log).await);
    let mut following = house.follow(dir.path(), None, vec![source]);
    let events = following.until_size(5).await;
    let pinned = events.iter().any(|event| {
        matches!(event, FollowEvent::Pinned(met) if met.to_strings() == signer().keys().to_strings())
    });
    assert!(pinned, "{events:#?}");
    following.stop().await;

    let mut imposter = TestLog::signed_by(stranger()).await;
    imposter.promote(50).await;
    let other = FeedSource::Grpc(house.grpc(&imposter).await);
    let mut following = house.follow(dir.path(), None, vec![other]);
    let refused = following
        .until(|event| matches!(event, FollowEvent::Refused(evidence) if evidence.why == Refusal::UnknownKey))
        .await;
    assert_eq!(revisions(&refused), [(0, 5)]);
    following.stop().await;
}

#[tokio::test]
async fn nobody_but_a_stream_on_loopback_is_believed_without_keys() {
    let (house, log) = (House::new(), TestLog::new().await);
    let elsewhere: Url = "https://coordinator.example:7443".parse().unwrap();
    for source in [
        FeedSource::Static(house.http(&log).await),
        FeedSource::Grpc(elsewhere),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut following = house.follow(dir.path(), None, vec![source]);
        assert!(matches!(following.ended().await, Err(FollowError::NoKeys)));
    }
}

#[tokio::test]
async fn a_source_that_falls_silent_is_left_for_the_next() {
    let mut house = House::new();
    house.watchdog = Duration::from_millis(500);
    // It says all it has, and then nothing more, not even that.
    let mut silent = forged::all().remove(0);
    silent.entries = honest(1);
    silent.note = honest_note(1);
    let mut longer = TestLog::new().await;
    longer.promote(70).await;
    longer.promote(70).await;
    let sources = vec![
        FeedSource::Grpc(house.serve_grpc(silent.service()).await),
        FeedSource::Grpc(house.grpc(&longer).await),
    ];
    let dir = tempfile::tempdir().unwrap();
    let mut following = house.follow(dir.path(), Some(keys()), sources);
    following.until_size(honest(1).len() as u64).await;
    let events = following.until_size(longer.size()).await;
    assert_eq!(revisions(&events).len(), 1);
    following.stop().await;
}

/// A stream that is not there until it is opened.
#[derive(Clone)]
struct Gated {
    service: CatalogService,
    open: Arc<AtomicBool>,
}

impl NamedService for Gated {
    const NAME: &'static str = CatalogService::NAME;
}

impl Service<http::Request<Body>> for Gated {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if self.open.load(Ordering::SeqCst) {
            return self.service.call(request);
        }
        Box::pin(async { Ok(Status::unavailable("not yet").into_http()) })
    }
}

#[tokio::test]
async fn static_files_help_out_until_the_stream_is_back() {
    let (house, mut log) = (House::new(), TestLog::new().await);
    log.promote(2).await;
    let open = Arc::new(AtomicBool::new(false));
    let gated = Gated {
        service: house.catalog_service(&log),
        open: Arc::clone(&open),
    };
    let sources = vec![
        FeedSource::Grpc(house.serve_grpc(gated).await),
        FeedSource::Static(house.http(&log).await),
    ];
    let dir = tempfile::tempdir().unwrap();
    let mut following = house.follow(dir.path(), Some(keys()), sources);
    following.until_size(log.size()).await;
    log.promote(1).await;
    following.until_size(log.size()).await;

    open.store(true, Ordering::SeqCst);
    // Only the stream tells of traces, and it is not left again.
    let is_traced = |event: &FollowEvent| matches!(event, FollowEvent::Revision { trace_parent, .. } if trace_parent.is_some());
    let mut traced = false;
    for _ in 0..1000 {
        log.promote(0).await;
        traced = following.until_size(log.size()).await.iter().any(is_traced);
        if traced {
            break;
        }
    }
    assert!(traced, "the stream is not followed");
    for _ in 0..10 {
        log.promote(0).await;
        let events = following.until_size(log.size()).await;
        assert!(events.iter().any(is_traced), "{events:#?}");
    }
    following.stop().await;
}

#[tokio::test]
async fn a_stream_that_breaks_is_resumed_where_it_broke() {
    let house = House::new();
    let flaky = Arc::new(Flaky::new(honest(3), honest_note(3)));
    let size = honest(3).len() as u64;
    let service = CatalogServer::from_arc(Arc::clone(&flaky));
    let source = FeedSource::Grpc(house.serve_grpc(service).await);
    let dir = tempfile::tempdir().unwrap();
    let mut following = house.follow(dir.path(), Some(keys()), vec![source]);
    let events = following.until_size(size).await;
    assert_eq!(revisions(&events).len(), 3);
    following.stop().await;
    let asked = flaky.asked();
    assert_eq!(asked[..6], [0, 100, 200, 300, 400, size], "{asked:?}");
}

fn refusals(events: &[FollowEvent]) -> Vec<&Evidence> {
    let mut found = Vec::new();
    for event in events {
        if let FollowEvent::Refused(evidence) = event {
            found.push(evidence);
        }
    }
    found
}

/// A follower that holds revision 2, then meets the forged log, then the honest one.
async fn refuses(house: &House, forged: &forged::Forged, source: FeedSource) {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = LogDisk::open(dir.path(), &keys()).unwrap();
    disk.stage(&honest(2)).unwrap();
    disk.commit(&honest_note(2)).unwrap();
    drop(disk);
    let mut further = TestLog::new().await;
    for _ in 0..4 {
        further.promote(70).await;
    }
    let honest_source = FeedSource::Grpc(house.grpc(&further).await);
    let mut following: Following =
        house.follow(dir.path(), Some(keys()), vec![source, honest_source]);
    let events = following.until_size(further.size()).await;
    let refused = refusals(&events);
    let [evidence] = refused.as_slice() else {
        panic!("{}: {events:#?}", forged.name);
    };
    assert_eq!(
        evidence.why, forged.refusal,
        "{}: {evidence:#?}",
        forged.name
    );
    let file = fs::read_to_string(evidence.file.as_ref().unwrap()).unwrap();
    let held = String::from_utf8(honest_note(2)).unwrap();
    let offered = String::from_utf8(forged.note.clone()).unwrap();
    assert!(file.contains(&forged.refusal.to_string()), "{file}");
    assert!(file.contains(&held) && file.contains(&offered), "{file}");
    // Each revision once, and none of the forged ones.
    let sizes: Vec<_> = revisions(&events).iter().map(|(_, count)| *count).collect();
    assert_eq!(sizes, [141; 4], "{}", forged.name);
    following.stop().await;
    let disk = LogDisk::open(dir.path(), &keys()).unwrap();
    disk.reader().verify().unwrap();
}

#[tokio::test]
async fn a_forged_stream_is_refused_by_name_and_the_next_source_asked() {
    let house = House::new();
    for forged in forged::all() {
        let url = house.serve_grpc(forged.service()).await;
        refuses(&house, &forged, FeedSource::Grpc(url)).await;
    }
}

#[tokio::test]
async fn forged_static_files_are_refused_by_name_and_the_next_source_asked() {
    let house = House::new();
    for forged in forged::all() {
        let dir = tempfile::tempdir().unwrap();
        forged.write(dir.path());
        let url = house.directory(dir.path()).await;
        refuses(&house, &forged, FeedSource::Static(url)).await;
    }
}

#[tokio::test]
async fn a_damaged_log_is_not_handed_on() {
    let (house, mut log) = (House::new(), TestLog::new().await);
    log.promote(400).await;
    let dir = tempfile::tempdir().unwrap();
    let source = FeedSource::Grpc(house.grpc(&log).await);
    let mut following = house.follow(dir.path(), Some(keys()), vec![source.clone()]);
    following.until_size(801).await;
    following.stop().await;
    let bundle = dir.path().join("tile/entries/001");
    let mut bytes = fs::read(&bundle).unwrap();
    bytes[5_000] ^= 1;
    fs::write(&bundle, bytes).unwrap();
    let mut following = house.follow(dir.path(), Some(keys()), vec![source]);
    let ended = following.ended().await;
    assert!(
        matches!(ended, Err(FollowError::Log(LogError::Damaged { .. }))),
        "{ended:?}"
    );
}
