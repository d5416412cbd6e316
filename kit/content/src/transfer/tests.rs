use std::sync::Mutex;

use bytes::Bytes;
use landfall_runtime::dial::http_client;
use url::Url;

use super::*;
use crate::source::{HttpSource, SourceErrorKind};
use crate::store::DirectoryStore;
use crate::testing::{Behaviour, PIECE, TestServer, content, store};

fn want(bytes: &Bytes, with_pieces: bool) -> Want {
    Want {
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
        pieces: with_pieces.then(|| PieceList::of(bytes)),
        make_pieces: false,
    }
}

fn http(url: &Url) -> Arc<dyn Source> {
    Arc::new(HttpSource::new(http_client().unwrap(), url.clone()))
}

/// Limits with which a test of stalling does not take long.
fn limits() -> TransferLimits {
    TransferLimits {
        throughput_window: Duration::from_millis(300),
        min_throughput: 1 << 10,
        ..TransferLimits::default()
    }
}

struct Case {
    servers: Vec<TestServer>,
    bytes: Bytes,
    store: DirectoryStore,
    _folder: tempfile::TempDir,
}

impl Case {
    async fn new(length: usize, behaviours: &[Behaviour]) -> Self {
        let bytes = content(length);
        let mut servers = Vec::new();
        for behaviour in behaviours {
            servers.push(TestServer::start(&bytes, behaviour.clone()).await);
        }
        let (folder, store) = store();
        Self {
            servers,
            bytes,
            store,
            _folder: folder,
        }
    }

    fn sources(&self) -> Vec<Arc<dyn Source>> {
        self.servers
            .iter()
            .map(|server| http(&server.url))
            .collect()
    }

    async fn transfer(&self, with_pieces: bool) -> Result<Fetched, TransferError> {
        let want = want(&self.bytes, with_pieces);
        let result = transfer(&self.store, &want, &self.sources(), &limits(), |_| {}).await;
        let there = self.store.has(&want.digest, want.size).unwrap();
        assert_eq!(there, result.is_ok());
        if there {
            assert!(self.store.verify(&want.digest).unwrap());
            assert_eq!(self.store.partials().unwrap(), []);
        }
        result
    }
}

fn kinds(faults: &[SourceFault]) -> Vec<(usize, FaultKind)> {
    faults
        .iter()
        .map(|fault| (fault.source, fault.kind))
        .collect()
}

#[tokio::test]
async fn objects_of_every_size_arrive_and_are_verified() {
    for length in [0, 1, 70_000, PIECE, 2 * PIECE + 3] {
        for with_pieces in [false, true] {
            let case = Case::new(length, &[Behaviour::Honest]).await;
            let fetched = case.transfer(with_pieces).await.unwrap();
            assert_eq!(fetched.received, length as u64);
            assert_eq!(fetched.source, (length > 0).then_some(0));
            assert_eq!(fetched.pieces.is_some(), with_pieces);
            let again = case.transfer(with_pieces).await.unwrap();
            assert_eq!((again.source, again.received), (None, 0));
        }
    }
}

#[tokio::test]
async fn progress_only_grows_and_ends_at_the_size() {
    let case = Case::new(PIECE + 5, &[Behaviour::Honest]).await;
    let seen = Mutex::new(Vec::new());
    let progress = |bytes| seen.lock().unwrap().push(bytes);
    transfer(
        &case.store,
        &want(&case.bytes, false),
        &case.sources(),
        &limits(),
        progress,
    )
    .await
    .unwrap();
    let seen = seen.into_inner().unwrap();
    assert!(seen.is_sorted());
    assert_eq!(seen.last(), Some(&(PIECE as u64 + 5)));
}

#[tokio::test]
async fn a_flipped_byte_is_found_in_its_piece_and_the_next_source_continues_there() {
    let case = Case::new(3 * PIECE, &[Behaviour::Flips(PIECE + 9), Behaviour::Honest]).await;
    let fetched = case.transfer(true).await.unwrap();
    let wrong = FaultKind::WrongBytes { piece: Some(1) };
    assert_eq!(kinds(&fetched.faults), [(0, wrong)]);
    assert_eq!(fetched.faults[0].name, case.servers[0].url.as_str());
    assert_eq!(case.servers[1].ranges(), [Some(format!("bytes={PIECE}-"))]);
}

#[tokio::test]
async fn a_flipped_byte_without_a_piece_list_is_found_at_the_end_and_nothing_of_it_kept() {
    let case = Case::new(300_000, &[Behaviour::Flips(9), Behaviour::Honest]).await;
    let fetched = case.transfer(false).await.unwrap();
    assert_eq!(
        kinds(&fetched.faults),
        [(0, FaultKind::WrongBytes { piece: None })]
    );
    assert_eq!(case.servers[1].ranges(), [None]);
}

#[tokio::test]
async fn a_source_of_wrong_bytes_alone_never_becomes_visible() {
    for with_pieces in [false, true] {
        let case = Case::new(300_000, &[Behaviour::Flips(9)]).await;
        let error = case.transfer(with_pieces).await.unwrap_err();
        let wrong = FaultKind::WrongBytes {
            piece: with_pieces.then_some(0),
        };
        assert_eq!(kinds(error.faults()), [(0, wrong)]);
    }
}

#[tokio::test]
async fn an_innocent_source_is_not_blamed_for_the_bytes_of_another() {
    // The first spoils the beginning and breaks off; the second completes it.
    let bytes = content(2 << 20);
    let mut spoiled = bytes.to_vec();
    spoiled[0] ^= 1;
    let first = TestServer::start(&spoiled.into(), Behaviour::EndsAfter(1 << 20)).await;
    let second = TestServer::start(&bytes, Behaviour::Honest).await;
    let (_folder, store) = store();
    let want = want(&bytes, false);
    let sources = [http(&first.url), http(&second.url)];
    let fetched = transfer(&store, &want, &sources, &limits(), |_| {})
        .await
        .unwrap();
    assert!(store.verify(&want.digest).unwrap());
    assert_eq!(fetched.source, Some(1));
    assert!(
        fetched.faults.iter().all(|fault| fault.source == 0),
        "{:?}",
        fetched.faults
    );
}

#[tokio::test]
async fn sources_that_end_break_off_or_stall_are_continued_by_the_next() {
    for (behaviour, kind) in [
        (Behaviour::EndsAfter(PIECE + 1000), FaultKind::Truncated),
        (
            Behaviour::BreaksAfter(2 * PIECE - 1000),
            FaultKind::Transient { retry_after: None },
        ),
        (Behaviour::StallsAfter(PIECE + 1000), FaultKind::Stalled),
    ] {
        let case = Case::new(2 * PIECE, &[behaviour.clone(), Behaviour::Honest]).await;
        let fetched = case.transfer(true).await.unwrap();
        assert_eq!(kinds(&fetched.faults), [(0, kind)], "{behaviour:?}");
        assert_eq!(case.servers[1].ranges(), [Some(format!("bytes={PIECE}-"))]);
    }
}

#[tokio::test]
async fn a_source_that_trickles_is_given_up_and_the_next_goes_on_from_its_bytes() {
    let case = Case::new(100_000, &[Behaviour::Trickles, Behaviour::Honest]).await;
    let fetched = case.transfer(false).await.unwrap();
    assert_eq!(kinds(&fetched.faults), [(0, FaultKind::Stalled)]);
    assert_eq!(fetched.source, Some(1));
    let asked = case.servers[1].ranges()[0].clone().unwrap();
    let from: u64 = asked["bytes=".len()..asked.len() - 1].parse().unwrap();
    assert!(from > 0 && from.is_multiple_of(3), "{asked}");
}

#[tokio::test]
async fn a_single_source_that_keeps_breaking_off_is_asked_again_while_it_advances() {
    let case = Case::new(1_000_000, &[Behaviour::EndsAfter(300_000)]).await;
    let fetched = case.transfer(false).await.unwrap();
    assert_eq!(fetched.faults.len(), 3);
    assert_eq!(
        case.servers[0].ranges()[3].as_deref(),
        Some("bytes=900000-")
    );

    let case = Case::new(1_000_000, &[Behaviour::EndsAfter(0)]).await;
    let error = case.transfer(false).await.unwrap_err();
    assert_eq!(kinds(error.faults()), [(0, FaultKind::Truncated)]);
}

#[tokio::test]
async fn a_source_that_ignores_ranges_is_read_from_the_start() {
    let behaviours = [Behaviour::EndsAfter(PIECE + 7), Behaviour::IgnoresRange];
    for with_pieces in [false, true] {
        let case = Case::new(2 * PIECE, &behaviours).await;
        let fetched = case.transfer(with_pieces).await.unwrap();
        assert_eq!(fetched.source, Some(1));
        assert!(case.servers[1].ranges()[0].is_some());
    }
}

#[tokio::test]
async fn wrong_ranges_and_lengths_are_refused_before_anything_is_written() {
    for behaviour in [Behaviour::WrongRange, Behaviour::TooMuch { says_so: true }] {
        let case = Case::new(100_000, &[behaviour, Behaviour::Honest]).await;
        let fetched = case.transfer(false).await.unwrap();
        assert_eq!(kinds(&fetched.faults), [(0, FaultKind::Broken)]);
        assert_eq!(case.servers[1].ranges(), [None]);
    }
}

#[tokio::test]
async fn bytes_after_the_end_are_not_read() {
    let case = Case::new(100_000, &[Behaviour::TooMuch { says_so: false }]).await;
    assert!(case.transfer(false).await.unwrap().faults.is_empty());
}

#[tokio::test]
async fn an_unavailable_source_is_left_alone_and_its_wish_handed_on() {
    let case = Case::new(1000, &[Behaviour::Unavailable]).await;
    let error = case.transfer(false).await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
    assert_eq!(case.servers[0].ranges().len(), 1);
    assert!(!error.is_absent());
    let case = Case::new(1000, &[Behaviour::Unavailable, Behaviour::Honest]).await;
    assert_eq!(case.transfer(false).await.unwrap().source, Some(1));
}

#[tokio::test]
async fn a_transfer_dropped_midway_is_resumed_from_another_source() {
    for with_pieces in [false, true] {
        let kept = if with_pieces { PIECE } else { PIECE + 100_000 } as u64;
        let case = Case::new(
            2 * PIECE,
            &[Behaviour::StallsAfter(PIECE + 100_000), Behaviour::Honest],
        )
        .await;
        let want = want(&case.bytes, with_pieces);
        let (sources, slow) = (case.sources(), TransferLimits::default());
        let reached = tokio::sync::Notify::new();
        let progress = |bytes| {
            if bytes == kept {
                reached.notify_one();
            }
        };
        tokio::select! {
            result = transfer(&case.store, &want, &sources[..1], &slow, progress) => panic!("{result:?}"),
            () = reached.notified() => {}
        }
        assert!(!case.store.has(&want.digest, want.size).unwrap());
        let fetched = transfer(&case.store, &want, &sources[1..], &slow, |_| {})
            .await
            .unwrap();
        assert!(store_is_right(&case, &want));
        assert_eq!(fetched.resumed_from, kept);
        assert_eq!(case.servers[1].ranges(), [Some(format!("bytes={kept}-"))]);
    }
}

fn store_is_right(case: &Case, want: &Want) -> bool {
    case.store.verify(&want.digest).unwrap() && case.store.partials().unwrap().is_empty()
}

#[tokio::test]
async fn a_spoiled_partial_file_is_thrown_away_without_blaming_the_source() {
    let case = Case::new(1_000_000, &[Behaviour::Honest]).await;
    let partial = case
        .store
        .root()
        .join(".landfall/partial")
        .join(want(&case.bytes, false).digest.to_hex());
    std::fs::write(partial, vec![7; 500_000]).unwrap();
    let fetched = case.transfer(false).await.unwrap();
    assert!(fetched.faults.is_empty());
    let ranges = case.servers[0].ranges();
    assert_eq!(ranges, [Some("bytes=500000-".to_owned()), None]);
}

#[tokio::test]
async fn two_transfers_of_one_object_make_one_download() {
    let case = Case::new(PIECE, &[Behaviour::Honest]).await;
    let (want, sources, limits) = (want(&case.bytes, false), case.sources(), limits());
    let one = transfer(&case.store, &want, &sources, &limits, |_| {});
    let two = transfer(&case.store, &want, &sources, &limits, |_| {});
    let (one, two) = tokio::join!(one, two);
    assert_eq!(one.unwrap().received + two.unwrap().received, PIECE as u64);
}

#[tokio::test]
async fn a_redirector_is_asked_to_avoid_the_mirror_that_sent_wrong_bytes() {
    let bytes = content(200_000);
    let bad = TestServer::start(&bytes, Behaviour::Flips(3)).await;
    let good = TestServer::start(&bytes, Behaviour::Honest).await;
    let mirrors = vec![("bad", bad.url.clone()), ("good", good.url.clone())];
    let redirector = TestServer::start(&bytes, Behaviour::Redirects(mirrors)).await;
    let (_folder, store) = store();
    let source = HttpSource::new(http_client().unwrap(), redirector.url.clone())
        .with_redirects(1)
        .with_avoidance();
    let want = want(&bytes, false);
    let fetched = transfer(&store, &want, &[Arc::new(source)], &limits(), |_| {})
        .await
        .unwrap();
    assert_eq!(fetched.served_by.unwrap().mirror.as_deref(), Some("good"));
    let by = fetched.faults[0].served_by.as_ref().unwrap();
    assert_eq!(
        (by.mirror.as_deref(), by.location.as_str()),
        (Some("bad"), bad.url.as_str())
    );
}

#[tokio::test]
async fn redirects_are_not_followed_without_being_allowed() {
    let bytes = content(10);
    let good = TestServer::start(&bytes, Behaviour::Honest).await;
    let mirrors = vec![("good", good.url.clone())];
    let redirector = TestServer::start(&bytes, Behaviour::Redirects(mirrors)).await;
    let Err(error) = http(&redirector.url).open(0).await else {
        panic!("a redirect is not the object");
    };
    assert_eq!(error.kind, SourceErrorKind::Broken);
}

#[tokio::test]
async fn piece_lists_are_made_on_the_way_and_fetched_by_their_digest() {
    let case = Case::new(2 * PIECE + 1, &[Behaviour::Honest]).await;
    let list = PieceList::of(&case.bytes);
    let want = Want {
        make_pieces: true,
        ..want(&case.bytes, false)
    };
    let fetched = transfer(&case.store, &want, &case.sources(), &limits(), |_| {})
        .await
        .unwrap();
    assert_eq!(fetched.pieces.as_ref(), Some(&list));
    assert_eq!(
        case.store
            .get_pieces(&want.digest, want.size)
            .unwrap()
            .as_ref(),
        Some(&list)
    );

    let patience = Duration::from_secs(10);
    let encoded = list.encode().into();
    let honest = TestServer::start(&encoded, Behaviour::Honest).await;
    let source = http(&honest.url);
    let fetched = fetch_pieces(source.as_ref(), &list.digest(), want.size, patience)
        .await
        .unwrap();
    assert_eq!(fetched, list);
    for behaviour in [Behaviour::Flips(1), Behaviour::TooMuch { says_so: false }] {
        let server = TestServer::start(&encoded, behaviour).await;
        let source = http(&server.url);
        let error = fetch_pieces(source.as_ref(), &list.digest(), want.size, patience)
            .await
            .unwrap_err();
        assert_eq!(error.kind, SourceErrorKind::Broken);
    }
}
