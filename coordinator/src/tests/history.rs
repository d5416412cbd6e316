//! What is asked afterwards: names, projects, pages, and what was left out.

use std::path::Path;

use landfall_catalog::Digest;
use landfall_proto::v1;
use tonic::Code;

use super::running::{Folders, Running, file_manifests, rule, write};

async fn events(coordinator: &Running, request: v1::HistoryRequest) -> Vec<v1::HistoryEvent> {
    let (mut events, mut request) = (Vec::new(), request);
    loop {
        let answer = coordinator.promotion().history(request.clone()).await;
        let answer = answer.unwrap().into_inner();
        events.extend(answer.events);
        request.after = answer.next;
        if request.after.is_empty() {
            return events;
        }
    }
}

async fn told(coordinator: &Running, what: &str, limit: u32) -> Vec<String> {
    let request = v1::HistoryRequest {
        what: what.into(),
        limit,
        ..v1::HistoryRequest::default()
    };
    let events = events(coordinator, request).await;
    let told = events.iter().map(|event| {
        assert_eq!(
            (event.who.as_str(), event.why.is_empty()),
            ("loopback", false)
        );
        assert!(event.time > 0 && !event.operation.is_empty(), "{event:?}");
        format!("{} {} {}", event.revision, event.change, event.name)
    });
    told.collect()
}

/// Ids of operations, in pages of one.
async fn operations(coordinator: &Running, request: v1::ListOperationsRequest) -> Vec<u64> {
    let mut request = v1::ListOperationsRequest {
        limit: 1,
        ..request
    };
    let mut revisions = Vec::new();
    loop {
        let answer = coordinator.promotion().list(request.clone()).await;
        let answer = answer.unwrap().into_inner();
        let done = answer
            .operations
            .iter()
            .map(|it| it.result.as_ref().unwrap().revision);
        revisions.extend(done);
        request.before_revision = 0;
        request.before_operation = answer.next;
        if request.before_operation.is_empty() {
            return revisions;
        }
    }
}

/// A database as it was before anything of this was kept.
fn forget(data_dir: &Path) {
    let database = rusqlite::Connection::open(data_dir.join("coordinator.sqlite")).unwrap();
    database
        .execute_batch(
            "DELETE FROM name_change;
             UPDATE history_known SET size = 0;
             UPDATE revision SET time = 0, who = '', why = '', operation = '';
             DELETE FROM operation_project;
             UPDATE operation SET has_projects = 0;",
        )
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happened_is_told_by_name_object_and_project_also_from_an_old_database() {
    let folders = Folders::new();
    let (tree, staging) = (folders.path("tree"), folders.path("staging"));
    let config = || {
        let endpoint = format!("file://{}", staging.display());
        folders.config(vec![rule("gs://staging/kops", endpoint)])
    };
    let coordinator = Running::start(config()).await;
    let moving = v1::PlanOptions {
        prune: true,
        allow_tag_moves: true,
        allow_mass_change: true,
        ..v1::PlanOptions::default()
    };
    for files in [
        &[("a", &b"one"[..]), ("b", b"one")][..],
        &[("a", b"two"), ("b", b"one")],
        &[("a", b"two")],
    ] {
        for (name, content) in files {
            write(&staging.join(name), content);
        }
        file_manifests(&tree, files);
        let planned = coordinator.plan(&tree, moving).await;
        assert!(coordinator.promote(&planned).await.done.revision > 0);
    }
    let withdraw = v1::WithdrawRequest {
        what: "binaries/kops/a".into(),
        reason: "CVE".into(),
        ..v1::WithdrawRequest::default()
    };
    coordinator.promotion().withdraw(withdraw).await.unwrap();

    let one = Digest::of(b"one").to_string();
    let mut running = coordinator;
    for is_old in [false, true] {
        for limit in [1, 2, 0] {
            for (what, expected) in [
                (
                    "binaries/kops/a",
                    &[
                        "4 withdrawn binaries/kops/a",
                        "2 moved binaries/kops/a",
                        "1 set binaries/kops/a",
                    ][..],
                ),
                (
                    &one,
                    &[
                        "3 removed binaries/kops/b",
                        "2 moved binaries/kops/a",
                        "1 set binaries/kops/b",
                        "1 set binaries/kops/a",
                    ],
                ),
                (
                    "binaries/",
                    &[
                        "4 withdrawn binaries/kops/a",
                        "3 removed binaries/kops/b",
                        "2 moved binaries/kops/a",
                        "1 set binaries/kops/b",
                        "1 set binaries/kops/a",
                    ],
                ),
                ("binaries/kops/none", &[]),
            ] {
                assert_eq!(
                    told(&running, what, limit).await,
                    expected,
                    "{what} {limit}"
                );
            }
        }
        let list = |project: &str, before_revision| v1::ListOperationsRequest {
            project: project.into(),
            before_revision,
            ..v1::ListOperationsRequest::default()
        };
        assert_eq!(operations(&running, list("", 0)).await, [4, 3, 2, 1]);
        assert_eq!(operations(&running, list("kops", 0)).await, [4, 3, 2, 1]);
        assert_eq!(operations(&running, list("kops", 3)).await, [2, 1]);
        assert_eq!(operations(&running, list("kops", 99)).await, [4, 3, 2, 1]);
        assert_eq!(operations(&running, list("other", 0)).await, [0; 0]);
        if !is_old {
            running.stop().await;
            forget(&folders.path("coordinator"));
            running = Running::start(config()).await;
        }
    }
    let before = v1::HistoryRequest {
        what: "binaries/kops/a".into(),
        before_revision: 2,
        ..v1::HistoryRequest::default()
    };
    assert_eq!(events(&running, before).await.len(), 1);
    for (what, after, code) in [
        ("../x", "", Code::InvalidArgument),
        ("sha256:12", "", Code::InvalidArgument),
        ("a", "x", Code::InvalidArgument),
    ] {
        let request = v1::HistoryRequest {
            what: what.into(),
            after: after.into(),
            ..v1::HistoryRequest::default()
        };
        let refused = running.promotion().history(request).await.unwrap_err();
        assert_eq!(refused.code(), code, "{what}");
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operation_tells_what_it_left_out_of_the_manifests() {
    let folders = Folders::new();
    let (tree, staging) = (folders.path("tree"), folders.path("staging"));
    write(&staging.join("good"), "good");
    file_manifests(&tree, &[("good", b"good")]);
    let list = tree.join("artifacts/manifests/kops/files.yaml");
    let mut text = std::fs::read_to_string(&list).unwrap();
    // More than one answer takes.
    let bad = 700;
    for number in 0..bad {
        let name = format!("bad-{number:03}");
        text += &format!("- name: {name}\n  sha256: {number:04}\n");
    }
    write(&list, text);
    let endpoint = format!("file://{}", staging.display());
    let coordinator =
        Running::start(folders.config(vec![rule("gs://staging/kops", endpoint)])).await;
    let planned = coordinator.plan(&tree, v1::PlanOptions::default()).await;
    let ended = coordinator.promote(&planned).await;
    assert_eq!((ended.done.copied, ended.done.revision), (1, 1));
    let mut request = v1::ShowOperationRequest {
        revision: 1,
        ..v1::ShowOperationRequest::default()
    };
    let (mut entries, mut left_out, mut answers) = (0, Vec::new(), 0);
    loop {
        let answer = coordinator
            .promotion()
            .show_operation(request.clone())
            .await;
        let answer = answer.unwrap().into_inner();
        assert!(prost::Message::encoded_len(&answer) < 64 << 10);
        assert_eq!(answer.operation.unwrap().quarantined, bad);
        entries += answer.entries.len();
        left_out.extend(answer.quarantined);
        answers += 1;
        request.from = answer.next;
        if request.from == 0 {
            break;
        }
    }
    assert_eq!((entries, left_out.len() as u64), (1, bad));
    assert!(answers > 2, "{answers}");
    let told: std::collections::BTreeSet<u32> = left_out.iter().map(|it| it.line).collect();
    assert_eq!(told.len() as u64, bad, "each once");
    assert_eq!(left_out[0].rule, "malformed-sha256");
    coordinator.stop().await;
}
