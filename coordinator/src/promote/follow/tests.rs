use landfall_catalog::{Checkpoint, Digest, LogSigner, empty_root};

use super::*;
use crate::state::operations::{Decision, Start};
use crate::state::tests::scratch;

fn row(name: &str, staged: Option<&str>, outcome: Option<&str>) -> EntryRow {
    EntryRow {
        position: 0,
        name: name.into(),
        digest: Digest::of(b"content"),
        staged: staged.map(Into::into),
        outcome: outcome.map(Into::into),
        detail: String::new(),
        decided: 0,
    }
}

fn empty() -> SharedCatalog {
    let signer = LogSigner::from_seeds("log.example", [1; 32], [2; 32]).unwrap();
    let checkpoint = Checkpoint {
        origin: "log.example".into(),
        size: 0,
        root: empty_root(),
    };
    let note = signer.sign(&checkpoint, 1).unwrap();
    let signed = signer.keys().verify(&note).unwrap();
    SharedCatalog::new(Catalog::default(), signed, Vec::new())
}

#[test]
fn only_what_an_entry_may_have_changed_at_a_store_is_put_right_there() {
    let (tag, file) = ("kops/app:v1", "binaries/kops/1.0/kubectl");
    let root = format!("kops/app@{}", Digest::of(b"content"));
    for (shows, name, staged, outcome, expected) in [
        (Shows::Tags, tag, Some("copied"), Some("copied"), true),
        (Shows::Tags, tag, None, Some("removed"), true),
        (Shows::Tags, tag, None, Some("withdrawn"), true),
        // A tag of somebody else's may be there.
        (Shows::Tags, tag, None, Some("refused"), false),
        (Shows::Tags, tag, Some("copied"), Some("refused"), false),
        (Shows::Tags, tag, Some("copied"), None, false),
        (Shows::Tags, &root, Some("copied"), Some("copied"), false),
        (Shows::Tags, file, None, Some("refused"), false),
        (Shows::Tags, file, Some("copied"), Some("copied"), false),
        (Shows::Files, file, Some("present"), Some("present"), true),
        (Shows::Files, file, None, Some("removed"), true),
        // Shown before the catalog had it, and then it was not to be.
        (Shows::Files, file, Some("copied"), Some("refused"), true),
        (Shows::Files, file, Some("copied"), Some("failed"), true),
        (Shows::Files, file, None, None, true),
        // Nothing was done: what is there is not ours.
        (Shows::Files, file, None, Some("refused"), false),
        (Shows::Files, file, None, Some("lost"), false),
        (Shows::Files, tag, Some("copied"), Some("copied"), false),
        (Shows::Nothing, file, Some("copied"), Some("copied"), false),
    ] {
        let parsed: Name = name.parse().unwrap();
        let touched = shows.is_touched(&parsed, &row(name, staged, outcome));
        assert_eq!(touched, expected, "{shows:?} {name} {staged:?} {outcome:?}");
    }
}

#[test]
fn what_lasts_is_told_once() {
    let mut news = News::default();
    let full = Some("the disk is full".to_owned());
    let told: Vec<_> = [None, full.clone(), full.clone(), None, None, full.clone()]
        .into_iter()
        .map(|now| news.of(now))
        .collect();
    assert_eq!(told, [None, full.clone(), None, None, None, full]);
}

#[tokio::test]
async fn an_older_row_of_what_a_registry_cannot_keep_is_dropped() {
    let (_folder, state, _thread) = scratch();
    let start = Start {
        id: "op-1".into(),
        plan: Digest::of(b"plan"),
        who: String::new(),
        why: String::new(),
        source: String::new(),
        trace_parent: String::new(),
        started: 1,
    };
    let file = [("binaries/kops/1.0/kubectl".to_owned(), Digest::of(b"x"))];
    state
        .write("test", move |tx| {
            let operation = rows::start(tx, &start, &file)?;
            let decision = Decision {
                position: 0,
                outcome: "refused",
                detail: String::new(),
            };
            rows::decide(tx, operation, &[decision])?;
            rows::finish(tx, operation, 2, 0, 0, "")?;
            // As an earlier version left it.
            tx.execute("INSERT INTO to_follow (operation) VALUES (?1)", [operation])
        })
        .await
        .unwrap();
    let url = "oci+http://127.0.0.1:9/published".parse().unwrap();
    let store = Store::open(&url, [], "origin").await.unwrap();
    let follower = Follower::new(state.clone(), empty(), store);
    follower.work_off().await.unwrap();
    let due = state.read("test", |connection| follow::due(connection, 9));
    assert!(due.await.unwrap().is_empty());
    assert!(follower.turn.lock().await.names.is_empty());
}
