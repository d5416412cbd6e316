//! Withdrawal and reinstatement, in process.

use landfall_catalog::Digest;
use landfall_proto::v1;

use super::running::{Folders, Running, file_manifests, rule, write};

fn request(what: &str) -> v1::WithdrawRequest {
    v1::WithdrawRequest {
        what: what.into(),
        reason: "CVE-2026-1".into(),
        dry_run: false,
        ..v1::WithdrawRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_withdrawn_stays_withdrawn_until_it_is_reinstated() {
    let folders = Folders::new();
    let (tree, staging) = (folders.path("tree"), folders.path("staging"));
    let files: [(&str, &[u8]); 2] = [("1.0/bad", b"bad"), ("1.0/good", b"good")];
    for (name, content) in files {
        write(&staging.join(name), content);
    }
    file_manifests(&tree, &files);
    let staging_rule = || {
        let endpoint = format!("file://{}", staging.display());
        vec![rule("gs://staging/kops", endpoint)]
    };
    let coordinator = Running::start(folders.config(staging_rule())).await;
    let planned = coordinator.plan(&tree, v1::PlanOptions::default()).await;
    coordinator.promote(&planned).await;
    // Planned before, executed after the withdrawal.
    write(&staging.join("1.1/again"), b"bad");
    file_manifests(&tree, &[files[0], files[1], ("1.1/again", b"bad")]);
    let planned_before = coordinator.plan(&tree, v1::PlanOptions::default()).await;
    assert_eq!(planned_before.summary().set, 1);

    let name = "binaries/kops/1.0/bad";
    let mut client = coordinator.promotion();
    let dry = v1::WithdrawRequest {
        dry_run: true,
        ..request(name)
    };
    let looked = client.withdraw(dry).await.unwrap().into_inner();
    assert_eq!((looked.revision, looked.object_count), (0, 1));
    assert_eq!(coordinator.get(&format!("/origin/{name}")).await.0, 200);
    let done = client.withdraw(request(name)).await.unwrap().into_inner();
    assert_eq!((done.revision, done.names), (2, vec![name.to_owned()]));
    let hex = Digest::of(b"bad").to_hex();
    for path in [
        format!("/origin/{name}"),
        format!("/origin/blobs/sha256/{hex}"),
    ] {
        assert_ne!(coordinator.get(&path).await.0, 200, "{path}");
    }
    let status = coordinator.status().await;
    assert_eq!(status["withdrawals"][0]["reason"], "CVE-2026-1");
    assert_eq!(status["withdrawals"][0]["names"][0], name);
    assert_eq!(status["withdrawals"][0]["revision"], 2);
    let (_, page) = coordinator.get("/").await;
    assert!(String::from_utf8_lossy(&page).contains("CVE-2026-1"));
    let again = client.withdraw(request(name)).await.unwrap().into_inner();
    assert_eq!((again.revision, again.object_count), (0, 0));

    // Neither a plan made before nor one made after brings it back.
    let ended = coordinator.promote(&planned_before).await;
    assert_eq!(ended.outcome("binaries/kops/1.1/again"), "refused");
    let planned = coordinator.plan(&tree, v1::PlanOptions::default()).await;
    assert_eq!((planned.summary().refused, planned.summary().set), (2, 0));
    let ended = coordinator.promote(&planned).await;
    assert_eq!((ended.done.revision, ended.done.refused), (0, 2));
    coordinator.stop().await;

    let coordinator = Running::start(folders.config(staging_rule())).await;
    assert_ne!(coordinator.get(&format!("/origin/{name}")).await.0, 200);
    let back = v1::ReinstateRequest {
        what: format!("sha256:{hex}"),
        reason: "a false alarm".into(),
        dry_run: false,
    };
    let mut client = coordinator.promotion();
    let done = client.reinstate(back.clone()).await.unwrap().into_inner();
    assert_eq!(
        (done.revision, done.other_names),
        (3, vec![name.to_owned()])
    );
    assert_eq!(coordinator.get(&format!("/origin/{name}")).await.0, 200);
    let list = v1::ListOperationsRequest {
        limit: 2,
        ..v1::ListOperationsRequest::default()
    };
    let operations = client.list(list).await.unwrap().into_inner().operations;
    assert!(operations[0].why.contains("a false alarm"));
    assert_eq!(operations[0].result.as_ref().unwrap().present, 1);

    // What is nowhere any more does not come back as a name.
    client.withdraw(request(name)).await.unwrap();
    let blob = folders.path("origin").join("blobs/sha256").join(&hex);
    std::fs::remove_file(blob).unwrap();
    let refused = client.reinstate(back).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition, "{refused}");
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_or_not_said_is_refused() {
    let folders = Folders::new();
    let coordinator = Running::start(folders.config(Vec::new())).await;
    for (what, reason, code) in [
        ("nothing/here", "r", tonic::Code::NotFound),
        ("binaries/", "r", tonic::Code::NotFound),
        ("../x", "r", tonic::Code::InvalidArgument),
        ("nothing/here", "", tonic::Code::InvalidArgument),
    ] {
        let request = v1::WithdrawRequest {
            reason: reason.into(),
            ..request(what)
        };
        let refused = coordinator.promotion().withdraw(request).await.unwrap_err();
        assert_eq!(refused.code(), code, "{what}: {refused}");
    }
    coordinator.stop().await;
}
