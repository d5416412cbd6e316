//! Back to an earlier revision, as a later one.

use landfall_catalog::Digest;
use landfall_proto::v1;
use tonic::Code;

use super::running::{Folders, Planned, Running, file_manifests, rule, write};

fn moving() -> v1::PlanOptions {
    v1::PlanOptions {
        prune: true,
        allow_tag_moves: true,
        allow_mass_change: true,
        ..v1::PlanOptions::default()
    }
}

async fn revert(coordinator: &Running, revision: u64, project: &str) -> Planned {
    let request = v1::PlanRevertRequest {
        revision,
        project: project.into(),
    };
    let events = coordinator.promotion().plan_revert(request).await.unwrap();
    Planned::collect(events.into_inner()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_as_they_were_and_what_was_withdrawn_stays_so() {
    let folders = Folders::new();
    let (tree, staging) = (folders.path("tree"), folders.path("staging"));
    for (name, content) in [("a", "a1"), ("b", "b1"), ("bad", "bad")] {
        write(&staging.join(name), content);
    }
    file_manifests(&tree, &[("a", b"a1"), ("b", b"b1"), ("bad", b"bad")]);
    let endpoint = format!("file://{}", staging.display());
    let mut coordinator =
        Running::start(folders.config(vec![rule("gs://staging/kops", endpoint)])).await;
    let planned = coordinator.plan(&tree, moving()).await;
    assert_eq!(coordinator.promote(&planned).await.done.revision, 1);

    // One moves, one goes, one comes, one is withdrawn and its name taken over.
    for (name, content) in [("a", "a2"), ("c", "c"), ("bad", "good")] {
        write(&staging.join(name), content);
    }
    let withdraw = v1::WithdrawRequest {
        what: "binaries/kops/bad".into(),
        reason: "CVE".into(),
        dry_run: false,
        ..v1::WithdrawRequest::default()
    };
    let withdrawn = coordinator.promotion().withdraw(withdraw).await.unwrap();
    assert_eq!(withdrawn.into_inner().revision, 2);
    file_manifests(&tree, &[("a", b"a2"), ("c", b"c"), ("bad", b"good")]);
    let planned = coordinator.plan(&tree, moving()).await;
    let ended = coordinator.promote(&planned).await;
    assert_eq!(
        (ended.done.revision, ended.done.removed),
        (3, 1),
        "{ended:?}"
    );
    std::fs::remove_dir_all(&staging).unwrap();

    let planned = revert(&coordinator, 1, "kops").await;
    assert_eq!(
        planned.states(),
        [
            ("binaries/kops/a", "present"),
            ("binaries/kops/b", "present"),
            ("binaries/kops/bad", "refused"),
            ("binaries/kops/c", "remove"),
        ]
    );
    assert_eq!(
        coordinator.status().await["revision"],
        3,
        "a plan changes nothing"
    );
    let ended = coordinator.promote(&planned).await;
    let done = &ended.done;
    assert_eq!(
        (done.revision, done.present, done.removed, done.refused),
        (4, 2, 1, 1),
        "{ended:?}"
    );
    for (name, content) in [
        ("a", Some("a1")),
        ("b", Some("b1")),
        ("c", None),
        ("bad", Some("good")),
    ] {
        let (status, body) = coordinator
            .get(&format!("/origin/binaries/kops/{name}"))
            .await;
        match content {
            Some(content) => assert_eq!((status, &body[..]), (200, content.as_bytes()), "{name}"),
            None => assert_eq!(status, 404, "{name}"),
        }
    }
    // And forth again; content that is gone from the origin is lost, and said.
    let hex = Digest::of(b"a2").to_hex();
    std::fs::remove_file(folders.path("origin").join("blobs/sha256").join(hex)).unwrap();
    let planned = revert(&coordinator, 3, "").await;
    assert_eq!(
        planned.states(),
        [
            ("binaries/kops/a", "lost"),
            ("binaries/kops/b", "remove"),
            ("binaries/kops/c", "present"),
        ]
    );
    let nothing = revert(&coordinator, 4, "").await;
    assert_eq!(nothing.states(), []);

    for (revision, project, role, code) in [
        (0, "", "", Code::InvalidArgument),
        (5, "", "", Code::InvalidArgument),
        (1, "unknown", "", Code::NotFound),
        (1, "", "promote:kops", Code::PermissionDenied),
        (1, "kops", "promote:other", Code::PermissionDenied),
        (1, "kops", "view", Code::PermissionDenied),
    ] {
        coordinator.token = None;
        if !role.is_empty() {
            coordinator.token = Some(super::reach::token(&coordinator, role).await);
        }
        let request = v1::PlanRevertRequest {
            revision,
            project: project.into(),
        };
        let mut events = match coordinator.promotion().plan_revert(request).await {
            Ok(events) => events.into_inner(),
            Err(refused) => {
                assert_eq!(refused.code(), code, "{revision} {project} {role}");
                continue;
            }
        };
        let refused = events.message().await.unwrap_err();
        assert_eq!(refused.code(), code, "{revision} {project} {role}");
    }
    coordinator.stop().await;
}

/// A plan that nobody looks at.
fn unattended() -> v1::PlanOptions {
    v1::PlanOptions {
        unattended: true,
        prune: true,
        allow_mass_change: true,
        ..v1::PlanOptions::default()
    }
}

/// What the periodic job would do: plans, and executes if there is anything to do.
async fn round(coordinator: &Running, tree: &std::path::Path) -> Planned {
    let planned = coordinator.plan(tree, unattended()).await;
    if planned.summary().set + planned.summary().removed > 0 {
        coordinator.promote(&planned).await;
    }
    planned
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_reverted_stays_so_until_a_person_promotes_it() {
    let folders = Folders::new();
    let (tree, staging) = (folders.path("tree"), folders.path("staging"));
    for name in ["old", "bad", "later"] {
        write(&staging.join(name), name);
    }
    let config = || {
        let endpoint = format!("file://{}", staging.display());
        folders.config(vec![rule("gs://staging/kops", endpoint)])
    };
    let mut coordinator = Running::start(config()).await;
    file_manifests(&tree, &[("old", b"old")]);
    round(&coordinator, &tree).await;
    file_manifests(&tree, &[("old", b"old"), ("bad", b"bad")]);
    round(&coordinator, &tree).await;
    let planned = revert(&coordinator, 1, "kops").await;
    let of_project = planned.entries.iter().map(|entry| entry.project.as_str());
    assert_eq!(of_project.collect::<Vec<_>>(), ["kops"]);
    assert_eq!(coordinator.promote(&planned).await.done.revision, 3);

    // Over a restart, and without holding up anything else.
    coordinator.stop().await;
    coordinator = Running::start(config()).await;
    let files: &[(&str, &[u8])] = &[("old", b"old"), ("bad", b"bad"), ("later", b"later")];
    file_manifests(&tree, files);
    for expected in [&[("later", "to-copy")][..], &[]] {
        let planned = round(&coordinator, &tree).await;
        let mut states = vec![("binaries/kops/bad", "held")];
        let later = expected.iter().map(|_| ("binaries/kops/later", "to-copy"));
        states.extend(later);
        assert_eq!(planned.states(), states);
        let held = planned.entries.iter().find(|entry| entry.state == "held");
        let why = &held.unwrap().detail;
        let expected = "held back: reverted in revision 3 by loopback because a test; \
                        the manifests still list it";
        assert!(why.starts_with(expected), "{why}");
    }
    let (status, _) = coordinator.get("/origin/binaries/kops/bad").await;
    assert_eq!(status, 404);

    // A person is told, and may.
    let options = v1::PlanOptions::default();
    let planned = coordinator.plan(&tree, options).await;
    assert_eq!(planned.states(), [("binaries/kops/bad", "present")]);
    let why = &planned.entries[0].detail;
    assert!(why.contains("it was reverted in revision 3"), "{why}");
    assert_eq!(coordinator.promote(&planned).await.done.revision, 5);
    let planned = round(&coordinator, &tree).await;
    assert_eq!(planned.states(), []);
    // That ended the hold: who takes it away otherwise is not in its way.
    file_manifests(&tree, &files[..1]);
    round(&coordinator, &tree).await;
    file_manifests(&tree, files);
    let planned = round(&coordinator, &tree).await;
    let expected = [
        ("binaries/kops/bad", "present"),
        ("binaries/kops/later", "present"),
    ];
    assert_eq!(planned.states(), expected);
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_was_brought_back_is_neither_pruned_nor_moved_again_by_itself() {
    let folders = Folders::new();
    let (tree, staging) = (folders.path("tree"), folders.path("staging"));
    for (name, content) in [("moved", "one"), ("pruned", "pruned"), ("kept", "kept")] {
        write(&staging.join(name), content);
    }
    let endpoint = format!("file://{}", staging.display());
    let coordinator =
        Running::start(folders.config(vec![rule("gs://staging/kops", endpoint)])).await;
    let before: &[(&str, &[u8])] = &[("moved", b"one"), ("pruned", b"pruned"), ("kept", b"kept")];
    file_manifests(&tree, before);
    let planned = coordinator.plan(&tree, moving()).await;
    coordinator.promote(&planned).await;
    write(&staging.join("moved"), "two");
    file_manifests(&tree, &[("moved", b"two"), ("kept", b"kept")]);
    let planned = coordinator.plan(&tree, moving()).await;
    assert_eq!(coordinator.promote(&planned).await.done.revision, 2);
    let planned = revert(&coordinator, 1, "").await;
    assert_eq!(coordinator.promote(&planned).await.done.revision, 3);

    let planned = round(&coordinator, &tree).await;
    let expected = [
        ("binaries/kops/moved", "held"),
        ("binaries/kops/pruned", "held"),
    ];
    assert_eq!(planned.states(), expected);
    for entry in &planned.entries {
        assert_eq!(entry.project, "kops");
        assert!(entry.detail.contains("in revision 3"), "{}", entry.detail);
    }
    // A third content is another decision: it is refused for moving, as ever.
    file_manifests(&tree, &[("moved", b"three"), ("kept", b"kept")]);
    let planned = round(&coordinator, &tree).await;
    assert_eq!(planned.states()[0], ("binaries/kops/moved", "refused"));
    // A person removes it by hand.
    let planned = coordinator.plan(&tree, moving()).await;
    assert!(
        planned
            .states()
            .contains(&("binaries/kops/pruned", "remove"))
    );
    coordinator.promote(&planned).await;
    let (status, _) = coordinator.get("/origin/binaries/kops/pruned").await;
    assert_eq!(status, 404);
    coordinator.stop().await;
}
