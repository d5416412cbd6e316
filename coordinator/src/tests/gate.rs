//! Names that wait: who is asked, who decides, and what happens meanwhile.

use std::time::Duration;

use landfall_catalog::Digest;
use landfall_proto::v1;
use landfall_runtime::Shutdown;
use tokio::runtime::Runtime;
use tonic::Code;

use super::fleet::Agent;
use super::reach::token;
use super::running::{Folders, Planned, Running, file_manifests, rule, write};
use crate::{RunOptions, run};

fn gated(planned: &Planned, percent: u32) -> v1::PromoteRequest {
    v1::PromoteRequest {
        plan: planned.summary().plan.clone(),
        why: "a test".into(),
        source: String::new(),
        gate: Some(v1::GateTerms {
            percent,
            minimum: 0,
            timeout_seconds: 3600,
            on_timeout: v1::GateTimeout::Hold.into(),
        }),
    }
}

fn decision(operation: &str, decision: v1::GateDecision) -> v1::DecideGateRequest {
    v1::DecideGateRequest {
        operation: operation.into(),
        decision: decision.into(),
        reason: String::new(),
    }
}

/// A coordinator with a few files in the staging of `kops`.
async fn world(folders: &Folders) -> Running {
    let staging = folders.path("staging");
    for (path, content) in [("1.0/good", "good"), ("1.0/bad", "bad"), ("1.0/x", "x")] {
        write(&staging.join(path), content);
    }
    let endpoint = format!("file://{}", staging.display());
    Running::start(folders.config(vec![rule("gs://staging/kops", endpoint)])).await
}

async fn plan(coordinator: &Running, folders: &Folders, files: &[(&str, &[u8])]) -> Planned {
    let tree = folders.path("tree");
    file_manifests(&tree, files);
    coordinator.plan(&tree, v1::PlanOptions::default()).await
}

/// The one gate, once so many names wait at it.
pub(super) async fn gate(coordinator: &Running, names: u64) -> v1::WaitingOperation {
    let looking = async {
        loop {
            let request = v1::ListGatesRequest {};
            let listed = coordinator.promotion().list_gates(request).await.unwrap();
            let mut gates = listed.into_inner().gates;
            let waits = |gate: &v1::WaitingOperation| {
                let progress = gate.progress.as_ref();
                progress.is_some_and(|progress| progress.names == names)
            };
            if gates.len() == 1 && waits(&gates[0]) {
                return gates.remove(0);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), looking)
        .await
        .expect("names wait at a gate")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gate_that_nobody_could_open_is_refused_before_anything_is_copied() {
    let folders = Folders::new();
    let coordinator = world(&folders).await;
    let planned = plan(&coordinator, &folders, &[("1.0/good", b"good")]).await;
    let mut client = coordinator.promotion();
    let refused = client.promote(gated(&planned, 80)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("no active mirror"), "{refused}");
    for percent in [0, 101, u32::MAX] {
        let refused = client.promote(gated(&planned, percent)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{percent}");
    }
    let listed = client.list(v1::ListOperationsRequest::default()).await;
    assert!(listed.unwrap().into_inner().operations.is_empty());
    let blob = format!("blobs/sha256/{}", Digest::of(b"good").to_hex());
    assert!(std::fs::metadata(folders.path("origin").join(blob)).is_err());
    coordinator.stop().await;
}

#[test]
fn names_of_a_gate_that_cannot_be_carried_on_are_dropped_however_often_that_fails() {
    let folders = Folders::new();
    let one_run = || Runtime::new().unwrap();
    let patience = Duration::from_secs(20);
    let killed = one_run();
    killed.block_on(async {
        let coordinator = world(&folders).await;
        let (_agent, _) = Agent::join(&coordinator, "oslo").await;
        let planned = plan(&coordinator, &folders, &[("1.0/good", b"good")]).await;
        let promoting = coordinator.promotion().promote(gated(&planned, 100)).await;
        promoting.unwrap();
        gate(&coordinator, 1).await;
    });
    killed.shutdown_timeout(patience);

    // Its plan is gone, and what it announced cannot be dropped for now.
    let database = folders.path("coordinator").join("coordinator.sqlite");
    let disk = rusqlite::Connection::open(database).unwrap();
    disk.execute_batch(
        "DELETE FROM plan; CREATE TRIGGER full BEFORE UPDATE ON gate \
         BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END;",
    )
    .unwrap();
    let ended = one_run();
    ended.block_on(async {
        let options = RunOptions {
            insecure_loopback: true,
            origin_is_lost: false,
            announce: Box::new(|_| {}),
        };
        let running = Box::pin(run(folders.config(Vec::new()), options, Shutdown::new()));
        // A committer that cannot tell what was kept goes no further.
        let ended = tokio::time::timeout(patience, running).await;
        ended.expect("it ends").unwrap_err();
    });
    ended.shutdown_timeout(patience);

    disk.execute_batch("DROP TRIGGER full").unwrap();
    one_run().block_on(async {
        let coordinator = world(&folders).await;
        let looking = async {
            while coordinator.status().await["pending_names"] != 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let looked = tokio::time::timeout(patience, looking).await;
        looked.expect("the name waits for nothing any more");
        coordinator.stop().await;
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_may_promote_the_names_decides_and_what_was_withdrawn_is_not_among_them() {
    let folders = Folders::new();
    let mut coordinator = world(&folders).await;
    let (_agent, _) = Agent::join(&coordinator, "oslo").await;
    let files: [(&str, &[u8]); 2] = [("1.0/good", b"good"), ("1.0/bad", b"bad")];
    let planned = plan(&coordinator, &folders, &files).await;
    let promoting = coordinator.promotion().promote(gated(&planned, 1)).await;
    let operation = promoting.unwrap().into_inner().operation;
    let waiting = gate(&coordinator, 2).await;
    assert_eq!(waiting.operation, operation);
    let progress = waiting.progress.unwrap();
    assert_eq!((progress.revision, progress.held), (1, false));
    let region = &progress.regions[0];
    assert_eq!(
        (region.region.as_str(), region.ready, region.needed),
        ("NO", 0, 1)
    );
    assert_eq!(region.lacking, ["oslo"]);
    let status = coordinator.status().await;
    assert_eq!(
        (&status["names"], &status["pending_names"]),
        (&0.into(), &2.into())
    );

    // Something else by a name that waits, and the same again.
    let files: [(&str, &[u8]); 3] = [files[0], ("1.0/bad", b"x"), ("1.0/x", b"x")];
    let replanned = plan(&coordinator, &folders, &files).await;
    assert_eq!(
        replanned.states(),
        [
            ("binaries/kops/1.0/bad", "refused"),
            ("binaries/kops/1.0/good", "pending"),
            ("binaries/kops/1.0/x", "to-copy"),
        ]
    );
    let ended = coordinator.promote(&replanned).await;
    assert_eq!(
        (ended.done.revision, ended.done.copied, ended.done.present),
        (2, 1, 1)
    );

    let withdrawn = coordinator
        .promotion()
        .withdraw(v1::WithdrawRequest {
            what: "binaries/kops/1.0/bad".into(),
            reason: "CVE-2026-1".into(),
            dry_run: false,
            ..v1::WithdrawRequest::default()
        })
        .await;
    let withdrawn = withdrawn.unwrap().into_inner();
    assert_eq!(withdrawn.names, ["binaries/kops/1.0/bad"]);
    gate(&coordinator, 1).await;

    for role in ["view", "promote:other"] {
        coordinator.token = Some(token(&coordinator, role).await);
        for way in [v1::GateDecision::Open, v1::GateDecision::GiveUp] {
            let refused = coordinator
                .promotion()
                .decide_gate(decision(&operation, way))
                .await;
            assert_eq!(
                refused.unwrap_err().code(),
                Code::PermissionDenied,
                "{role}"
            );
        }
    }
    coordinator.token = Some(token(&coordinator, "promote:kops").await);
    let mut client = coordinator.promotion();
    let unknown = client
        .decide_gate(decision("nope", v1::GateDecision::Open))
        .await;
    assert_eq!(unknown.unwrap_err().code(), Code::NotFound);
    let open = decision(&operation, v1::GateDecision::Open);
    client.decide_gate(open.clone()).await.unwrap();
    let ended = coordinator.watch(&operation).await;
    assert_eq!(ended.outcome("binaries/kops/1.0/good"), "copied");
    assert_eq!(ended.outcome("binaries/kops/1.0/bad"), "refused");
    let done = &ended.done;
    assert_eq!((done.content_revision, done.revision), (1, 4));
    assert_eq!(
        (done.gate.as_str(), done.copied, done.refused),
        ("opened", 1, 1)
    );
    let again = client.decide_gate(open).await.unwrap_err();
    assert_eq!(again.code(), Code::FailedPrecondition);
    let status = coordinator.status().await;
    assert_eq!(
        (&status["names"], &status["pending_names"]),
        (&2.into(), &0.into())
    );
    coordinator.stop().await;
}
