use std::path::Path;
use std::time::Duration;

use landfall_catalog::{MediaType, Object};
use landfall_runtime::{ManualClock, OnError, Tasks};

use super::*;
use crate::promote::compose::Change;
use crate::promote::compose::{Proposal, compose};
use crate::state::StateThread;

const NOW: u64 = 1_700_000_000;

struct Place {
    folder: tempfile::TempDir,
    origin: &'static str,
}

impl Place {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            origin: "example.org",
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn signer(&self) -> LogSigner {
        LogSigner::from_seeds(self.origin, [1; 32], [2; 32]).unwrap()
    }

    async fn open_at(&self, now: u64) -> Result<(State, StateThread, Opened), PublishError> {
        let (state, thread) = State::open(&self.path("state.sqlite")).unwrap();
        let clock = Arc::new(ManualClock::new(now));
        let opened = open(state.clone(), self.path("log"), self.signer(), clock).await?;
        Ok((state, thread, opened))
    }

    async fn open(&self) -> Result<(State, StateThread, Opened), PublishError> {
        self.open_at(NOW).await
    }

    /// Opens, commits a revision that names `path`, and closes.
    async fn commit(&self, path: &str) -> u64 {
        let (state, thread, opened) = self.open().await.unwrap();
        let tasks = Tasks::new(Shutdown::new());
        let shutdown = tasks.shutdown().clone();
        let every = Duration::from_secs(3600);
        tasks.spawn(
            "committer",
            OnError::Fail,
            opened.committer.run(every, shutdown),
        );
        let revision = opened.ledger.commit(draft(path)).await.unwrap();
        tasks.shutdown().trigger();
        tasks.join(Duration::from_secs(10)).await.unwrap();
        drop((state, opened.ledger, opened.publisher, opened.catalog));
        thread.join();
        revision
    }
}

fn proposals(path: &str) -> Vec<Proposal> {
    let object = Object {
        digest: Digest::of(path.as_bytes()),
        size: path.len() as u64,
        media_type: MediaType::octet_stream(),
        children: Vec::new(),
        referrer: None,
        pieces: None,
    };
    vec![Proposal {
        position: 0,
        name: path.parse().unwrap(),
        expected: None,
        change: Change::Set {
            objects: vec![Arc::new(object)],
            copied: true,
        },
    }]
}

fn draft(path: &str) -> Draft {
    let proposals = proposals(path);
    Draft {
        compose: Box::new(move |catalog| compose(catalog, &proposals)),
        operation: OperationRow::Started(1),
        unchanged: 0,
        holding: Holding::default(),
        after: After::Ends,
        author: Author {
            who: "loopback".into(),
            why: "a test".into(),
            source: String::new(),
            plan: Digest::of(b"plan"),
            operation: "op".into(),
            trace_parent: String::new(),
        },
    }
}

fn copy_database(place: &Place, to: &Path) {
    std::fs::copy(place.path("state.sqlite"), to).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn revisions_follow_one_another_over_restarts() {
    let place = Place::new();
    let (_, _, opened) = place.open().await.unwrap();
    let empty = opened.catalog.published();
    assert_eq!((empty.revision, empty.checkpoint.checkpoint.size), (0, 0));
    drop(opened);
    assert_eq!(place.commit("a").await, 1);
    assert_eq!(place.commit("b").await, 2);
    assert_eq!(place.commit("b").await, 0, "nothing changes");
    let (state, _, opened) = place.open().await.unwrap();
    let published = opened.catalog.published();
    assert_eq!(
        (published.revision, published.checkpoint.checkpoint.size),
        (2, 6)
    );
    assert_eq!(
        (
            published.revision_at(2),
            published.revision_at(3),
            published.revision_at(6)
        ),
        (0, 1, 2)
    );
    assert_eq!(opened.catalog.read(|catalog| catalog.name_count()), 2);
    assert!(state.read("test", rows::outbox).await.unwrap().1.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_run_left_in_the_outbox_is_published() {
    let place = Place::new();
    place.commit("a").await;
    {
        // As far as the database, and no further.
        let (state, _, opened) = place.open().await.unwrap();
        let proposals = proposals("b");
        let mut composed = opened.catalog.read(|catalog| compose(catalog, &proposals));
        let commit = commit_entry(Revision::new(2), NOW, draft("b").author);
        composed.encoded.push(encode_entry(&commit).unwrap());
        let frontier = grown(&opened.publisher.frontier(), &composed.encoded);
        let checkpoint = Checkpoint {
            origin: place.origin.into(),
            size: frontier.size(),
            root: frontier.root(),
        };
        let head = Head {
            origin: place.origin.into(),
            size: checkpoint.size,
            root: Digest::from_raw(*checkpoint.root.as_bytes()),
            note: place.signer().sign(&checkpoint, NOW).unwrap(),
            trace_parent: String::new(),
        };
        state
            .write("test", move |tx| {
                rows::append_revision(tx, Revision::new(2), 3, &composed.encoded, &head)
            })
            .await
            .unwrap();
    }
    let (_, _, opened) = place.open().await.unwrap();
    assert_eq!(opened.catalog.published().revision, 2);
    assert_eq!(opened.publisher.frontier().size(), 6);
    assert!(opened.catalog.read(|catalog| catalog.file("b").is_some()));
    drop(opened);
    assert_eq!(place.commit("c").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_copy_of_the_database_is_refused_rather_than_forked_from() {
    let place = Place::new();
    place.commit("a").await;
    copy_database(&place, &place.path("old"));
    place.commit("b").await;
    for file in ["state.sqlite-wal", "state.sqlite-shm"] {
        let _ = std::fs::remove_file(place.path(file));
    }
    std::fs::rename(place.path("old"), place.path("state.sqlite")).unwrap();
    let refused = place.open().await.err();
    assert!(
        matches!(
            refused,
            Some(PublishError::DatabaseBehind {
                disk: 6,
                database: 3
            })
        ),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_lost_entries_is_refused() {
    let place = Place::new();
    place.commit("a").await;
    std::fs::remove_dir_all(place.path("log")).unwrap();
    let refused = place.open().await.err();
    assert!(
        matches!(
            refused,
            Some(PublishError::EntriesLost {
                disk: 0,
                database: 3
            })
        ),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_another_name_is_refused() {
    let mut place = Place::new();
    place.commit("a").await;
    place.origin = "other.org";
    let refused = place.open().await.err();
    assert!(
        matches!(refused, Some(PublishError::OtherLog { .. })),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_log_is_signed_anew_and_stays_the_same() {
    let place = Place::new();
    place.commit("a").await;
    let (_, _, opened) = place.open_at(NOW + 40).await.unwrap();
    let checkpoint = opened.catalog.published().checkpoint;
    assert_eq!((checkpoint.time, checkpoint.checkpoint.size), (NOW + 40, 3));
    let mut heads = opened.publisher.watch();
    let before = heads.borrow_and_update().clone();
    let Opened { mut committer, .. } = opened;
    committer.clock = Arc::new(ManualClock::new(NOW + 70));
    committer.refresh().await.unwrap();
    let after = heads.borrow_and_update().clone();
    assert_eq!(after.size, before.size);
    assert_ne!(after.note, before.note);
    assert_eq!(committer.catalog.published().checkpoint.time, NOW + 70);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_fails_leaves_the_catalog_as_it_was() {
    let place = Place::new();
    place.commit("a").await;
    let (state, _, opened) = place.open().await.unwrap();
    let Opened { mut committer, .. } = opened;
    let seen = |committer: &Committer| {
        committer.catalog.read(|catalog| {
            (
                catalog.log_size(),
                catalog.revision().get(),
                catalog.file("b").is_some(),
            )
        })
    };
    let before = seen(&committer);
    let full = "CREATE TEMP TRIGGER full BEFORE INSERT ON revision
        BEGIN SELECT RAISE(ABORT, 'the disk is full'); END";
    state
        .write("test", |tx| tx.execute_batch(full))
        .await
        .unwrap();
    let refused = committer.commit(draft("b")).await;
    assert!(
        matches!(refused, Err(PublishError::State(_))),
        "{refused:?}"
    );
    assert_eq!(seen(&committer), before);
    state
        .write("test", |tx| tx.execute_batch("DROP TRIGGER full"))
        .await
        .unwrap();
    assert_eq!(committer.commit(draft("b")).await.unwrap(), 2);
    assert_eq!(seen(&committer), (before.0 + 3, 2, true));
}
