//! The promises.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use landfall_catalog::{FilePath, MediaType, Name};
use landfall_runtime::dial::http_client;
use tokio::sync::Notify;

use super::{Ground, item};
use crate::piece::PieceList;
use crate::source::{HttpSource, Source, read_stream};
use crate::store::{Item, NameChange, Store, StoreError};
use crate::testing::{Behaviour, PIECE, TestServer};
use crate::transfer::{FaultKind, Fetched, TransferError, TransferLimits, Want, transfer};

/// One request's worth.
const SMALL: usize = 100_000;
/// Several parts, the last one odd.
const LARGE: usize = (21 << 20) + 12_345;

pub(super) async fn all(ground: &Ground) {
    what_was_put_is_read_back_from_any_position(ground).await;
    an_empty_object_is_an_object(ground).await;
    wrong_bytes_of_the_right_length_are_never_visible(ground).await;
    a_truncated_source_is_never_visible_and_another_goes_on(ground).await;
    a_dropped_transfer_leaves_nothing_visible_and_the_next_completes(ground).await;
    putting_twice_is_putting_once(ground).await;
    many_at_once_make_one_object(ground).await;
    a_wrong_piece_is_kept_out_and_its_source_named(ground).await;
    listing_and_removing_touch_only_what_was_asked_for(ground).await;
    files_are_where_their_names_say(ground).await;
    what_is_set_aside_is_found_by_nobody_and_can_come_again(ground).await;
}

fn want(bytes: &Bytes, with_pieces: bool) -> Want {
    let item = item(bytes);
    Want {
        digest: item.digest,
        size: item.size,
        pieces: with_pieces.then(|| PieceList::of(bytes)),
        make_pieces: true,
    }
}

fn http(server: &TestServer) -> Arc<dyn Source> {
    Arc::new(HttpSource::new(http_client().unwrap(), server.url.clone()))
}

async fn bring(
    store: &Store,
    bytes: &Bytes,
    servers: &[&TestServer],
) -> Result<Fetched, TransferError> {
    let sources: Vec<_> = servers.iter().copied().map(http).collect();
    let destination = store.destination(&item(bytes));
    let limits = TransferLimits {
        throughput_window: Duration::from_secs(5),
        ..TransferLimits::default()
    };
    transfer(destination, &want(bytes, false), &sources, &limits, |_| {}).await
}

#[track_caller]
fn assert_absent_answer(answer: Result<Bytes, StoreError>) {
    assert!(matches!(answer, Err(StoreError::NotFound(_))), "{answer:?}");
}

/// As [`crate::testing::content`], made once.
fn sample(length: usize) -> Bytes {
    static MADE: Mutex<BTreeMap<usize, Bytes>> = Mutex::new(BTreeMap::new());
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let bytes = made
        .entry(length)
        .or_insert_with(|| crate::testing::content(length));
    bytes.clone()
}

/// Nobody can see anything of the object.
async fn assert_invisible(store: &Store, bytes: &Bytes) {
    let item = item(bytes);
    assert!(!store.has(&item).await.unwrap());
    assert_absent_answer(store.read(&item, item.size).await);
    if !matches!(store, Store::Registry(_)) {
        assert_eq!(store.list().await.unwrap(), []);
    }
}

/// The object is there and right.
async fn assert_whole(store: &Store, bytes: &Bytes) {
    let item = item(bytes);
    assert!(store.has(&item).await.unwrap());
    assert_eq!(store.read(&item, item.size).await.unwrap(), bytes);
    assert!(store.verify(&item).await.unwrap());
    if store.keeps_files() && item.size > PIECE as u64 {
        let pieces = store.get_pieces(&item).await.unwrap();
        assert_eq!(pieces, Some(PieceList::of(bytes)));
    }
}

async fn what_was_put_is_read_back_from_any_position(ground: &Ground) {
    let store = ground.open("read", "battery").await;
    for size in [SMALL, LARGE] {
        let bytes = sample(size);
        let server = TestServer::start(&bytes, Behaviour::Honest).await;
        let fetched = bring(&store, &bytes, &[&server]).await.unwrap();
        assert_eq!(fetched.received, bytes.len() as u64);
        assert_whole(&store, &bytes).await;
        let source = store.source(&item(&bytes)).unwrap();
        let from = size as u64 - 77;
        let opened = source.open(from).await.unwrap();
        assert_eq!((opened.start, opened.total), (from, Some(size as u64)));
        let tail = read_stream(opened.stream, 100).await.unwrap();
        assert_eq!(tail, bytes.slice(size - 77..));
        let too_long = store.read(&item(&bytes), 10).await;
        assert!(matches!(too_long, Err(StoreError::TooLong { .. })));
        let longer = Item {
            size: size as u64 + 1,
            ..item(&bytes)
        };
        assert!(!store.has(&longer).await.unwrap());
    }
}

async fn an_empty_object_is_an_object(ground: &Ground) {
    let store = ground.open("empty", "battery").await;
    let nothing = Bytes::new();
    store
        .put_bytes(&item(&nothing), nothing.clone())
        .await
        .unwrap();
    assert_whole(&store, &nothing).await;
}

async fn wrong_bytes_of_the_right_length_are_never_visible(ground: &Ground) {
    let store = ground.open("wrong", "battery").await;
    for (size, position) in [(SMALL, 0), (SMALL, SMALL - 1), (LARGE, LARGE - 1)] {
        let bytes = sample(size);
        let server = TestServer::start(&bytes, Behaviour::Flips(position)).await;
        let error = bring(&store, &bytes, &[&server]).await.unwrap_err();
        let kinds: Vec<_> = error.faults().iter().map(|fault| fault.kind).collect();
        assert_eq!(kinds, [FaultKind::WrongBytes { piece: None }], "{error}");
        assert_invisible(&store, &bytes).await;
    }
    let bytes = sample(SMALL);
    let mut wrong = bytes.to_vec();
    wrong[5] ^= 1;
    let put = store.put_bytes(&item(&bytes), wrong.into()).await;
    assert!(matches!(put, Err(StoreError::Mismatch { .. })), "{put:?}");
    assert_invisible(&store, &bytes).await;
}

async fn a_truncated_source_is_never_visible_and_another_goes_on(ground: &Ground) {
    let store = ground.open("short", "battery").await;
    for size in [SMALL, LARGE] {
        let bytes = sample(size);
        for behaviour in [Behaviour::EndsAfter, Behaviour::BreaksAfter] {
            let server = TestServer::start(&bytes, behaviour(0)).await;
            bring(&store, &bytes, &[&server]).await.unwrap_err();
            assert_invisible(&store, &bytes).await;
        }
        let broken = TestServer::start(&bytes, Behaviour::BreaksAfter(size / 2)).await;
        let honest = TestServer::start(&bytes, Behaviour::Honest).await;
        let fetched = bring(&store, &bytes, &[&broken, &honest]).await.unwrap();
        assert_eq!(fetched.received, size as u64, "nothing came twice");
        assert_whole(&store, &bytes).await;
        assert!(store.remove(&item(&bytes)).await.unwrap());
    }
}

async fn a_dropped_transfer_leaves_nothing_visible_and_the_next_completes(ground: &Ground) {
    let store = ground.open("dropped", "battery").await;
    for size in [SMALL, LARGE] {
        let bytes = sample(size);
        let stalls = TestServer::start(&bytes, Behaviour::StallsAfter(size - 1)).await;
        let far = Notify::new();
        let progress = |there| {
            if there == size as u64 - 1 {
                far.notify_one();
            }
        };
        let wanted = want(&bytes, false);
        let sources = [http(&stalls)];
        let limits = TransferLimits::default();
        let destination = store.destination(&item(&bytes));
        tokio::select! {
            ended = transfer(destination, &wanted, &sources, &limits, progress) => {
                panic!("a source that stalls delivered: {ended:?}")
            }
            () = far.notified() => {}
        }
        assert_invisible(&store, &bytes).await;
        let honest = TestServer::start(&bytes, Behaviour::Honest).await;
        bring(&store, &bytes, &[&honest]).await.unwrap();
        assert_whole(&store, &bytes).await;
        store.remove(&item(&bytes)).await.unwrap();
    }
}

async fn putting_twice_is_putting_once(ground: &Ground) {
    let store = ground.open("twice", "battery").await;
    let again = ground.open("twice", "another").await;
    let bytes = sample(SMALL);
    let server = TestServer::start(&bytes, Behaviour::Honest).await;
    bring(&store, &bytes, &[&server]).await.unwrap();
    for store in [&store, &again] {
        let fetched = bring(store, &bytes, &[&server]).await.unwrap();
        assert_eq!((fetched.source, fetched.received), (None, 0));
        store.put_bytes(&item(&bytes), bytes.clone()).await.unwrap();
        assert_whole(store, &bytes).await;
    }
}

async fn many_at_once_make_one_object(ground: &Ground) {
    let store = ground.open("many", "battery").await;
    let other = ground.open("many", "another").await;
    for size in [SMALL, LARGE] {
        let bytes = sample(size);
        let server = TestServer::start(&bytes, Behaviour::Honest).await;
        let servers = [&server];
        let handles = [&store, &store, &store, &other, &other];
        let all = handles.map(|store| bring(store, &bytes, &servers));
        for (ended, store) in join_all(all).await.into_iter().zip(handles) {
            match ended {
                Ok(_) => {}
                // Two programs in one folder exclude each other.
                Err(TransferError::Store(StoreError::Busy(_))) => {
                    assert!(matches!(store, Store::Directory(_)));
                }
                Err(error) => panic!("{error:?}"),
            }
        }
        assert_whole(&store, &bytes).await;
        assert_whole(&other, &bytes).await;
    }
}

async fn a_wrong_piece_is_kept_out_and_its_source_named(ground: &Ground) {
    let store = ground.open("pieces", "battery").await;
    let bytes = sample(LARGE);
    let liar = TestServer::start(&bytes, Behaviour::Flips(4 * PIECE + 3)).await;
    let honest = TestServer::start(&bytes, Behaviour::Honest).await;
    let sources = [http(&liar), http(&honest)];
    let limits = TransferLimits::default();
    let destination = store.destination(&item(&bytes));
    let wanted = want(&bytes, true);
    let fetched = transfer(destination, &wanted, &sources, &limits, |_| {})
        .await
        .unwrap();
    assert_eq!(fetched.faults.len(), 1);
    assert_eq!(fetched.faults[0].source, 0);
    assert_eq!(
        fetched.faults[0].kind,
        FaultKind::WrongBytes { piece: Some(4) }
    );
    assert_eq!(
        honest.ranges(),
        [Some(format!("bytes={}-", 4 * PIECE))],
        "what was right was kept"
    );
    assert_whole(&store, &bytes).await;
}

async fn listing_and_removing_touch_only_what_was_asked_for(ground: &Ground) {
    let store = ground.open("remove", "battery").await;
    let neighbour = ground.open("removed", "battery").await;
    let mut all: Vec<_> = (1..=5).map(|number| sample(SMALL + number)).collect();
    for bytes in &all {
        store.put_bytes(&item(bytes), bytes.clone()).await.unwrap();
        neighbour
            .put_bytes(&item(bytes), bytes.clone())
            .await
            .unwrap();
    }
    if store.keeps_files() {
        store
            .put_pieces(&item(&all[0]), PieceList::of(&all[0]))
            .await
            .unwrap();
        store
            .put_pieces(&item(&all[1]), PieceList::of(&all[1]))
            .await
            .unwrap();
    }
    let gone = all.remove(0);
    assert!(store.remove(&item(&gone)).await.unwrap());
    assert!(!store.remove(&item(&gone)).await.unwrap());
    assert!(!store.has(&item(&gone)).await.unwrap());
    assert_absent_answer(store.read(&item(&gone), u64::MAX).await);
    assert_eq!(store.get_pieces(&item(&gone)).await.unwrap(), None);
    for bytes in &all {
        assert_whole(&store, bytes).await;
    }
    assert_whole(&neighbour, &gone).await;
    if store.keeps_files() {
        let kept = store.get_pieces(&item(&all[0])).await.unwrap();
        assert_eq!(kept, Some(PieceList::of(&all[0])));
        let mut expected: Vec<_> = all
            .iter()
            .map(|bytes| (item(bytes).digest, bytes.len() as u64))
            .collect();
        expected.sort_unstable();
        assert_eq!(store.list().await.unwrap(), expected);
    } else {
        let listed = store.list().await;
        assert!(matches!(listed, Err(StoreError::Unsupported(_))));
    }
}

async fn files_are_where_their_names_say(ground: &Ground) {
    let store = ground.open("files", "battery").await;
    let name = |path: &str| Name::File(path.parse::<FilePath>().unwrap());
    let set = |path: &str, bytes: &Bytes| NameChange {
        name: name(path),
        target: Some(item(bytes)),
    };
    let (program, text, absent) = (sample(SMALL), sample(99), sample(98));
    for bytes in [&program, &text] {
        store.put_bytes(&item(bytes), bytes.clone()).await.unwrap();
    }
    let changes = vec![
        set("v1.0/a program", &program),
        set("v1.0/a program.sha256", &text),
        set("v1.0/absent", &absent),
    ];
    let report = store.set_names(changes.clone()).await.unwrap();
    let failed: Vec<_> = report.failed.into_iter().map(|(name, _)| name).collect();
    if !store.keeps_files() {
        assert_eq!(failed.len(), 3, "a registry has no files");
        return;
    }
    assert_eq!(failed, [name("v1.0/absent")]);
    let report = store.set_names(changes).await.unwrap();
    assert_eq!(report.failed.len(), 1, "once more changes nothing");
    assert_eq!(
        read_file(&store, "v1.0/a program").await,
        Some((program.clone(), None))
    );
    let (found, media_type) = read_file(&store, "v1.0/a program.sha256").await.unwrap();
    assert_eq!(found, text);
    if let Some(media_type) = media_type {
        assert_eq!(media_type.as_str(), "text/plain");
    }
    // A name may mean something else one day, and nothing the next.
    let moved = store.set_names(vec![set("v1.0/a program", &text)]).await;
    assert!(moved.unwrap().failed.is_empty());
    assert_eq!(read_file(&store, "v1.0/a program").await.unwrap().0, text);
    let removal = NameChange {
        name: name("v1.0/a program"),
        target: None,
    };
    let removed = store.set_names(vec![removal.clone(), removal]).await;
    assert!(removed.unwrap().failed.is_empty());
    assert_eq!(read_file(&store, "v1.0/a program").await, None);
    assert!(read_file(&store, "v1.0/a program.sha256").await.is_some());
    assert_whole(&store, &program).await;
}

/// What somebody finds at `path` who knows nothing of stores, with its type if
/// that is not the usual one and the ground has types.
async fn read_file(store: &Store, path: &str) -> Option<(Bytes, Option<MediaType>)> {
    match store {
        Store::Directory(store) => {
            let bytes = std::fs::read(store.root().join(path)).ok()?;
            Some((bytes.into(), None))
        }
        Store::Bucket(store) => store.read_file(&path.parse().unwrap()).await,
        Store::Registry(_) => None,
    }
}

async fn what_is_set_aside_is_found_by_nobody_and_can_come_again(ground: &Ground) {
    let store = ground.open("aside", "battery").await;
    let bytes = sample(SMALL);
    let item = item(&bytes);
    assert!(!store.set_aside(&item).await.unwrap());
    store.forget_aside(&item).await.unwrap();
    let server = TestServer::start(&bytes, Behaviour::Honest).await;
    for _ in 0..2 {
        bring(&store, &bytes, &[&server]).await.unwrap();
        assert_whole(&store, &bytes).await;
        assert!(store.set_aside(&item).await.unwrap());
        assert_invisible(&store, &bytes).await;
    }
    store.forget_aside(&item).await.unwrap();
    assert!(!store.set_aside(&item).await.unwrap());
}
