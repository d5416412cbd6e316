//! What is recorded follows from the bytes: not from who came first, nor from what
//! lay where it was expected.

use landfall_catalog::Digest;
use landfall_proto::v1;

use super::registry::{TestRegistry, digest_of};
use super::running::{Folders, Running, file_manifests, image_manifests, rule, write};

fn options(allow_sparse: bool, recheck: bool) -> v1::PlanOptions {
    v1::PlanOptions {
        allow_sparse,
        recheck,
        ..v1::PlanOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_is_whole_although_somebody_published_its_manifest_as_a_file() {
    let folders = Folders::new();
    let registry = TestRegistry::start().await;
    let image = registry.image(&[b"app"]);
    registry.name("kops/app", Some("v1"), &image);
    let (root, bytes) = (digest_of(&image), registry.read(&image));
    let staging = folders.path("staging");
    write(&staging.join("1.0/m"), &bytes);
    let rules = vec![
        rule("gs://staging/kops", format!("file://{}", staging.display())),
        rule("staging.example.org", registry.url.clone()),
    ];
    let coordinator = Running::start(folders.config(rules)).await;
    let (files, images) = (folders.path("files"), folders.path("images"));
    file_manifests(&files, &[("1.0/m", &bytes)]);
    image_manifests(&images, &[(&root, "v1")]);
    for (tree, revision) in [(&files, 1), (&images, 2)] {
        let planned = coordinator.plan(tree, options(false, false)).await;
        let ended = coordinator.promote(&planned).await;
        assert_eq!((ended.done.revision, ended.done.refused), (revision, 0));
    }
    let layer = Digest::of(b"app");
    for path in [
        "/origin/v2/kops/app/manifests/v1".to_owned(),
        format!("/origin/v2/kops/app/manifests/{root}"),
        format!("/origin/v2/kops/app/blobs/{layer}"),
        "/origin/binaries/kops/1.0/m".to_owned(),
    ] {
        assert_eq!(coordinator.get(&path).await.0, 200, "{path}");
    }
    coordinator.stop().await;
    registry.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_platform_that_is_missing_is_lost_unless_it_is_meant_and_comes_when_it_is_there() {
    let folders = Folders::new();
    let tree = folders.path("tree");
    let registry = TestRegistry::start().await;
    let elsewhere = TestRegistry::start().await;
    let amd64 = registry.image(&[b"amd64"]);
    let mut arm64 = elsewhere.image(&[b"arm64"]);
    arm64["platform"] = serde_json::json!({"os": "linux", "architecture": "arm64"});
    let missing = digest_of(&arm64);
    let index = registry.sparse(&[&amd64], &[arm64]);
    registry.name("kops/app", Some("v1"), &index);
    image_manifests(&tree, &[(&digest_of(&index), "v1")]);
    let rules = vec![rule("staging.example.org", registry.url.clone())];
    let coordinator = Running::start(folders.config(rules)).await;

    let planned = coordinator.plan(&tree, options(false, false)).await;
    assert_eq!(planned.states(), [("kops/app:v1", "lost")]);
    let why = &planned.entries[0].detail;
    for part in [&missing.to_string(), "linux/arm64", "--allow-sparse"] {
        assert!(why.contains(part), "{why}");
    }
    let ended = coordinator.promote(&planned).await;
    assert_eq!((ended.done.revision, ended.done.lost), (0, 1));

    let planned = coordinator.plan(&tree, options(true, false)).await;
    let sparse = |finding: &v1::Finding| finding.rule == "sparse-index";
    assert!(planned.findings.iter().any(sparse));
    assert_eq!(coordinator.promote(&planned).await.done.revision, 1);
    let path = format!("/origin/v2/kops/app/manifests/{missing}");
    assert_eq!(coordinator.get(&path).await.0, 404);
    // Who looks again is told that it is missing still, or that it is meant.
    let planned = coordinator.plan(&tree, options(false, true)).await;
    assert_eq!(planned.states(), [("kops/app:v1", "lost")]);
    let planned = coordinator.plan(&tree, options(true, true)).await;
    assert_eq!((planned.summary().set, planned.summary().unchanged), (0, 1));

    // Who does not ask is told nothing.
    let is_as_it_was = async |coordinator: &Running| {
        let planned = coordinator.plan(&tree, options(false, false)).await;
        let (summary, findings) = (planned.summary(), &planned.findings);
        assert_eq!((summary.set, summary.unchanged, summary.lost), (0, 1, 0));
        assert!(!findings.iter().any(sparse), "{findings:?}");
    };
    is_as_it_was(&coordinator).await;

    // It comes, and a signature with it.
    let late = registry.image(&[b"arm64"]);
    assert_eq!(digest_of(&late), missing);
    registry.name("kops/app", None, &late);
    let signature = registry.referrer(&index, "application/spdx+json", b"bill");
    registry.name("kops/app", None, &signature);
    for recheck in [true, false] {
        let planned = coordinator.plan(&tree, options(false, recheck)).await;
        assert_eq!((planned.summary().set, planned.summary().lost), (2, 0));
    }
    let planned = coordinator.plan(&tree, options(false, false)).await;
    let ended = coordinator.promote(&planned).await;
    assert_eq!((ended.done.revision, ended.done.copied), (2, 2));
    let layer = Digest::of(b"arm64");
    let signature = digest_of(&signature);
    for path in [
        path,
        format!("/origin/v2/kops/app/blobs/{layer}"),
        format!("/origin/v2/kops/app/manifests/{signature}"),
    ] {
        assert_eq!(coordinator.get(&path).await.0, 200, "{path}");
    }
    let planned = coordinator.plan(&tree, options(false, true)).await;
    assert_eq!((planned.summary().set, planned.summary().unchanged), (0, 1));
    is_as_it_was(&coordinator).await;
    coordinator.stop().await;
    registry.stop().await;
    elsewhere.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn staging_that_cannot_be_asked_for_a_missing_platform_changes_nothing() {
    let folders = Folders::new();
    let tree = folders.path("tree");
    let registry = TestRegistry::start().await;
    let elsewhere = TestRegistry::start().await;
    let arm64 = elsewhere.image(&[b"arm64"]);
    let index = registry.sparse(&[&registry.image(&[b"amd64"])], &[arm64]);
    registry.name("kops/app", Some("v1"), &index);
    image_manifests(&tree, &[(&digest_of(&index), "v1")]);
    let rules = vec![rule("staging.example.org", registry.url.clone())];
    let coordinator = Running::start(folders.config(rules)).await;
    let planned = coordinator.plan(&tree, options(true, false)).await;
    assert_eq!(coordinator.promote(&planned).await.done.revision, 1);
    registry.stop().await;
    let planned = coordinator.plan(&tree, options(false, false)).await;
    let summary = planned.summary();
    assert_eq!((summary.set, summary.unchanged), (0, 1), "{planned:?}");
    assert_eq!((summary.failed, summary.refused), (0, 0), "{planned:?}");
    coordinator.stop().await;
    elsewhere.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lies_at_the_origin_is_verified_before_it_is_adopted() {
    let folders = Folders::new();
    let (tree, staging) = (folders.path("tree"), folders.path("staging"));
    let large = vec![7; 5 << 20];
    let files: [(&str, &[u8]); 3] = [("small", b"right"), ("large", &large), ("good", b"good")];
    let blobs = folders.path("origin").join("blobs/sha256");
    for (name, content) in files {
        write(&staging.join(name), content);
        let mut lies = content.to_vec();
        if name != "good" {
            lies[0] ^= 1;
        }
        write(&blobs.join(Digest::of(content).to_hex()), &lies);
    }
    file_manifests(&tree, &files);
    let endpoint = format!("file://{}", staging.display());
    let coordinator =
        Running::start(folders.config(vec![rule("gs://staging/kops", endpoint)])).await;
    let planned = coordinator.plan(&tree, v1::PlanOptions::default()).await;
    let ended = coordinator.promote(&planned).await;
    for (name, outcome) in [
        ("small", "copied"),
        ("large", "copied"),
        ("good", "present"),
    ] {
        assert_eq!(ended.outcome(&format!("binaries/kops/{name}")), outcome);
    }
    for (name, content) in files {
        let (status, body) = coordinator
            .get(&format!("/origin/binaries/kops/{name}"))
            .await;
        assert!(status == 200 && body == content, "{name}");
    }
    let hex = Digest::of(&large).to_hex();
    let (status, list) = coordinator
        .get(&format!("/origin/.landfall/pieces/{hex}"))
        .await;
    let pieces: Vec<u8> = large
        .chunks(4 << 20)
        .flat_map(|piece| Digest::of(piece).as_bytes().to_vec())
        .collect();
    assert!(status == 200 && list == pieces, "pieces of the right bytes");
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_says_what_is_withdrawn_anywhere_in_an_image_and_the_base_is_not() {
    let folders = Folders::new();
    let registry = TestRegistry::start().await;
    let bad = registry.image(&[b"base", b"bad"]);
    let repaired = registry.image(&[b"base", b"good"]);
    registry.name("kops/app", Some("v1"), &bad);
    registry.name("kops/app", Some("v2"), &repaired);
    let signature = registry.referrer(&repaired, "application/spdx+json", b"bill");
    registry.name("kops/app", None, &signature);
    let rules = vec![rule("staging.example.org", registry.url.clone())];
    let coordinator = Running::start(folders.config(rules)).await;
    let promote = async |name: &str, tags: &[(&Digest, &str)]| {
        let tree = folders.path(name);
        image_manifests(&tree, tags);
        let planned = coordinator.plan(&tree, v1::PlanOptions::default()).await;
        let ended = coordinator.promote(&planned).await;
        (planned, ended)
    };
    let withdraw = async |what: String| {
        let request = v1::WithdrawRequest {
            what,
            reason: "CVE-1".into(),
            dry_run: false,
            ..v1::WithdrawRequest::default()
        };
        coordinator.promotion().withdraw(request).await.unwrap()
    };
    let (bad, repaired) = (digest_of(&bad), digest_of(&repaired));
    promote("one", &[(&bad, "v1")]).await;
    let done = withdraw("kops/app:v1".into()).await.into_inner();
    assert_eq!(done.objects.len(), 1);
    assert_eq!(done.objects[0].as_ref(), bad.as_bytes());
    let base = format!("/origin/blobs/sha256/{}", Digest::of(b"base").to_hex());
    assert_eq!(coordinator.get(&base).await.0, 404);
    let (_, ended) = promote("two", &[(&repaired, "v2")]).await;
    assert_eq!(
        (ended.done.refused, ended.outcome("kops/app:v2")),
        (0, "copied")
    );
    assert_eq!(coordinator.get(&base).await.0, 200);

    // A blob that is named by its digest is withdrawn, and so is a signature.
    let parents = v1::WithdrawRequest {
        what: Digest::of(b"base").to_string(),
        reason: "CVE-2".into(),
        dry_run: false,
        with_parents: true,
        ..v1::WithdrawRequest::default()
    };
    coordinator.promotion().withdraw(parents).await.unwrap();
    let third = registry.image(&[b"base", b"third"]);
    registry.name("kops/app", Some("v3"), &third);
    let (planned, ended) = promote("three", &[(&digest_of(&third), "v3")]).await;
    assert_eq!(planned.states(), [("kops/app:v3", "refused")]);
    assert!(planned.entries[0].detail.contains("CVE-2"));
    assert_eq!((ended.done.revision, ended.done.refused), (0, 1));
    let fourth = registry.image(&[b"fourth"]);
    registry.name("kops/app", Some("v4"), &fourth);
    let speaks = registry.referrer(&fourth, "application/spdx+json", b"bill of four");
    registry.name("kops/app", None, &speaks);
    promote("four", &[(&digest_of(&fourth), "v4")]).await;
    withdraw(digest_of(&speaks).to_string()).await;
    let again = v1::PlanOptions {
        recheck: true,
        ..v1::PlanOptions::default()
    };
    let planned = coordinator.plan(&folders.path("four"), again).await;
    assert_eq!((planned.summary().set, planned.summary().refused), (0, 0));
    let withdrawn = |finding: &v1::Finding| finding.rule == "referrer-withdrawn";
    assert!(
        planned.findings.iter().any(withdrawn),
        "{:?}",
        planned.findings
    );
    coordinator.stop().await;
    registry.stop().await;
}
