//! A coordinator that was put back from an old copy of its folder.

use std::path::Path;
use std::time::Duration;

use landfall_catalog::{Checkpoint, LogSigner, empty_root};
use landfall_proto::v1;
use tonic::Code;

use super::fleet::Agent;
use super::running::{Folders, NAME, Running, file_manifests, rule, write};
use crate::config::Config;

/// A coordinator whose folder is as it was before the newest revision, and the
/// checkpoint of that one.
struct Restored {
    folders: Folders,
    config: Config,
    note: Vec<u8>,
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

async fn promote(folders: &Folders, coordinator: &Running, name: &str) -> v1::OperationDone {
    let (tree, staging) = (folders.path("tree"), folders.path("kops"));
    write(&staging.join(name), name);
    file_manifests(&tree, &[(name, name.as_bytes())]);
    let planned = coordinator.plan(&tree, v1::PlanOptions::default()).await;
    coordinator.promote(&planned).await.done
}

async fn checkpoint(coordinator: &Running) -> Vec<u8> {
    let (status, note) = coordinator.get("/.landfall/checkpoint").await;
    assert_eq!(status, 200);
    note.to_vec()
}

async fn readyz(coordinator: &Running) -> (u16, String) {
    let (status, text) = coordinator.get("/readyz").await;
    (status, String::from_utf8(text.to_vec()).unwrap())
}

/// Promotes, with a mirror that reports, copies the folder, promotes again, and puts
/// the copy back.
async fn restored() -> Restored {
    let folders = Folders::new();
    let rules = vec![rule(
        "gs://staging/kops",
        format!("file://{}", folders.path("kops").display()),
    )];
    let config = folders.config(rules);
    let data_dir = config.data_dir.clone();
    let kept = folders.path("kept");
    let coordinator = Running::start(config.clone()).await;
    assert_eq!(promote(&folders, &coordinator, "1.0/a").await.revision, 1);
    let (mut agent, _) = Agent::join(&coordinator, "aws-east").await;
    agent.report_first(&coordinator).await;
    coordinator.stop().await;
    copy(&data_dir, &kept);
    let coordinator = Running::start(config.clone()).await;
    assert_eq!(promote(&folders, &coordinator, "1.0/b").await.revision, 2);
    let note = checkpoint(&coordinator).await;
    coordinator.stop().await;
    std::fs::rename(&data_dir, folders.path("newest")).unwrap();
    std::fs::rename(&kept, &data_dir).unwrap();
    Restored {
        folders,
        config,
        note,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_copy_of_a_coordinator_signs_no_second_history() {
    let Restored {
        folders,
        config,
        note,
    } = restored().await;
    let coordinator = Running::start(config.clone()).await;
    assert_eq!(readyz(&coordinator).await.0, 200);
    let before = checkpoint(&coordinator).await;
    let (_agent, _) = Agent::holding(&coordinator, "aws-east", &note).await;

    let (status, why) = readyz(&coordinator).await;
    assert_eq!(status, 503);
    assert!(why.contains("signature"), "{why}");
    let behind = coordinator.status().await["behind"].clone();
    let behind = behind.as_str().unwrap();
    assert!(
        behind.contains("aws-east") && behind.contains("old copy"),
        "{behind}"
    );

    let (tree, staging) = (folders.path("tree"), folders.path("kops"));
    write(&staging.join("1.0/c"), "c");
    file_manifests(&tree, &[("1.0/c", b"c")]);
    let planned = coordinator.plan(&tree, v1::PlanOptions::default()).await;
    let request = v1::PromoteRequest {
        plan: planned.summary().plan.clone(),
        why: "a test".into(),
        source: String::new(),
        gate: None,
    };
    let refused = coordinator.promotion().promote(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("old copy"), "{refused}");
    let withdraw = v1::WithdrawRequest {
        what: "binaries/kops/1.0/a".into(),
        reason: "CVE-1".into(),
        ..v1::WithdrawRequest::default()
    };
    let refused = coordinator
        .promotion()
        .withdraw(withdraw)
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("old copy"), "{refused}");
    // What is there is served, and nothing was signed.
    assert_eq!(coordinator.get("/origin/binaries/kops/1.0/a").await.0, 200);
    assert_eq!(checkpoint(&coordinator).await, before);
    coordinator.stop().await;

    // With its newest folder it goes on.
    std::fs::remove_dir_all(&config.data_dir).unwrap();
    std::fs::rename(folders.path("newest"), &config.data_dir).unwrap();
    let coordinator = Running::start(config).await;
    let (_agent, _) = Agent::holding(&coordinator, "aws-east", &note).await;
    assert_eq!(readyz(&coordinator).await.0, 200);
    assert_eq!(promote(&folders, &coordinator, "1.0/c").await.revision, 3);
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_mirrors_that_it_knows_are_heard_before_the_first_commit() {
    let Restored {
        folders,
        mut config,
        note,
    } = restored().await;
    config.limits.muster = Duration::from_secs(300);
    let coordinator = Running::start(config).await;
    let (tree, staging) = (folders.path("tree"), folders.path("kops"));
    write(&staging.join("1.0/c"), "c");
    file_manifests(&tree, &[("1.0/c", b"c")]);
    let planned = coordinator.plan(&tree, v1::PlanOptions::default()).await;
    let operation = coordinator.start_promotion(&planned).await;
    let (_agent, _) = Agent::holding(&coordinator, "aws-east", &note).await;
    let done = coordinator.watch(&operation).await.done;
    assert_eq!(done.revision, 0);
    assert!(done.error.contains("old copy"), "{done:?}");
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_that_claims_a_longer_log_stops_nobody() {
    let folders = Folders::new();
    let rules = vec![rule(
        "gs://staging/kops",
        format!("file://{}", folders.path("kops").display()),
    )];
    let coordinator = Running::start(folders.config(rules)).await;
    let forger = LogSigner::from_seeds(NAME, [1; 32], [2; 32]).unwrap();
    let longer = Checkpoint {
        origin: NAME.into(),
        size: 9999,
        root: empty_root(),
    };
    let forged = forger.sign(&longer, 1).unwrap();
    // The text is as it should be, under a signature of something else.
    let own = checkpoint(&coordinator).await;
    let own = String::from_utf8(own).unwrap();
    let (_, signatures) = own.split_once("\n\n").unwrap();
    let grafted = format!("{}\n{signatures}", longer.text());
    for (mirror, note) in [
        ("forger", forged),
        ("grafter", grafted.into_bytes()),
        ("noise", vec![0xff; 4096]),
    ] {
        let (_agent, _) = Agent::holding(&coordinator, mirror, &note).await;
    }
    assert_eq!(readyz(&coordinator).await.0, 200);
    assert_eq!(promote(&folders, &coordinator, "1.0/a").await.revision, 1);
    coordinator.stop().await;
}
