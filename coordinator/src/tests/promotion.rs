//! Promotion from a staging registry and a staging folder to the origin.

use landfall_catalog::{Digest, PIECE_SIZE};
use landfall_content::PieceList;
use landfall_proto::v1;
use landfall_runtime::dial::http_client;

use super::registry::{TestRegistry, digest_of};
use super::running::{Folders, NAME, Running, file_manifests, image_manifests, rule, write};

/// What cosign signs (its `SIGNATURE_SPEC.md`).
const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// Larger than one piece, and no two pieces alike.
fn large() -> Vec<u8> {
    (0_u32..1_200_000).flat_map(u32::to_le_bytes).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_arrive_whole_and_one_lost_entry_holds_up_nothing() {
    let folders = Folders::new();
    let (tree, staging) = (folders.path("tree"), folders.path("staging"));
    let large = large();
    assert!(large.len() as u64 > PIECE_SIZE);
    write(&staging.join("1.0/kops"), b"kops 1.0");
    write(&staging.join("1.0/large.bin"), &large);
    write(&staging.join("1.0/tampered"), b"somebody else's");
    file_manifests(
        &tree,
        &[
            ("1.0/kops", b"kops 1.0"),
            ("1.0/large.bin", &large),
            ("1.0/late", b"not there yet"),
            ("1.0/tampered", b"what was signed"),
        ],
    );
    let rules = vec![rule(
        "gs://staging/kops",
        format!("file://{}", staging.display()),
    )];
    let coordinator = Running::start(folders.config(rules)).await;

    let planned = coordinator.plan(&tree, v1::PlanOptions::default()).await;
    assert_eq!(
        planned.states(),
        [
            ("binaries/kops/1.0/kops", "to-copy"),
            ("binaries/kops/1.0/large.bin", "to-copy"),
            ("binaries/kops/1.0/late", "lost"),
            ("binaries/kops/1.0/tampered", "to-copy"),
        ]
    );
    assert_eq!(
        coordinator.status().await["revision"],
        0,
        "a plan changes nothing"
    );
    let ended = coordinator.promote(&planned).await;
    assert_eq!(ended.outcome("binaries/kops/1.0/kops"), "copied");
    assert_eq!(ended.outcome("binaries/kops/1.0/late"), "lost");
    assert_eq!(ended.outcome("binaries/kops/1.0/tampered"), "refused");
    let done = &ended.done;
    assert_eq!(
        (done.revision, done.copied, done.lost, done.refused),
        (1, 2, 1, 1)
    );

    let (status, body) = coordinator.get("/origin/binaries/kops/1.0/large.bin").await;
    assert!(status == 200 && body[..] == large[..]);
    for path in [
        "/origin/binaries/kops/1.0/late",
        "/origin/binaries/kops/1.0/tampered",
    ] {
        assert_eq!(coordinator.get(path).await.0, 404, "{path}");
    }
    let foreign = Digest::of(b"somebody else's").to_hex();
    assert_eq!(
        coordinator
            .get(&format!("/origin/blobs/sha256/{foreign}"))
            .await
            .0,
        404
    );
    let hex = Digest::of(&large).to_hex();
    let (status, pieces) = coordinator
        .get(&format!("/origin/.landfall/pieces/{hex}"))
        .await;
    assert_eq!(
        (status, pieces.to_vec()),
        (200, PieceList::of(&large).encode())
    );

    // Whoever comes late sees the same from the beginning.
    assert_eq!(coordinator.watch(&done.operation).await, ended);

    write(&staging.join("1.0/late"), b"not there yet");
    write(&staging.join("1.0/tampered"), b"what was signed");
    let planned = coordinator.plan(&tree, v1::PlanOptions::default()).await;
    assert_eq!((planned.summary().set, planned.summary().unchanged), (2, 2));
    let ended = coordinator.promote(&planned).await;
    assert_eq!(
        (ended.done.revision, ended.done.copied, ended.done.present),
        (2, 2, 2)
    );

    let planned = coordinator.plan(&tree, v1::PlanOptions::default()).await;
    assert_eq!(
        (planned.summary().set, planned.summary().bytes_to_copy),
        (0, 0)
    );
    let ended = coordinator.promote(&planned).await;
    assert_eq!(
        (ended.done.revision, ended.done.present),
        (0, 4),
        "nothing to do"
    );
    assert_eq!(coordinator.status().await["revision"], 2);
    assert_eq!(coordinator.status().await["names"], 4);

    let history = coordinator
        .promotion()
        .list(v1::ListOperationsRequest::default())
        .await
        .unwrap()
        .into_inner()
        .operations;
    let revisions: Vec<_> = history
        .iter()
        .map(|operation| operation.result.as_ref().unwrap().revision)
        .collect();
    assert_eq!(revisions, [0, 2, 1], "newest first");
    assert_eq!(
        (history[0].who.as_str(), history[0].source.as_str()),
        ("loopback", "0f1e2d")
    );
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_that_share_their_content_are_all_copied_whoever_comes_first() {
    let folders = Folders::new();
    let (tree, staging) = (folders.path("tree"), folders.path("staging"));
    // More than are copied at a time: the last ones find it there.
    let names: Vec<_> = (0..100).map(|number| format!("1.0/{number:03}")).collect();
    let shared: &[u8] = b"shared";
    for name in &names {
        write(&staging.join(name), shared);
    }
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), shared)).collect();
    file_manifests(&tree, &files);
    let endpoint = format!("file://{}", staging.display());
    let rules = vec![rule("gs://staging/kops", endpoint)];
    let coordinator = Running::start(folders.config(rules)).await;
    let planned = coordinator.plan(&tree, v1::PlanOptions::default()).await;
    assert_eq!(planned.summary().bytes_to_copy, shared.len() as u64);
    let done = coordinator.promote(&planned).await.done;
    assert_eq!((done.copied, done.present), (100, 0));
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_brings_its_closure_referrers_and_cosign_tags() {
    let folders = Folders::new();
    let tree = folders.path("tree");
    let registry = TestRegistry::start().await;
    let amd64 = registry.image(&[b"base", b"amd64"]);
    let arm64 = registry.image(&[b"base", b"arm64"]);
    let index = registry.index(&[&amd64, &arm64]);
    let sbom = registry.referrer(&index, "application/spdx+json", b"sbom");
    let signature = registry.referrer(&sbom, "application/vnd.cncf.notary.signature", b"signature");
    let strange = registry.referrer(&index, "application/x-miner", b"miner");
    let cosign = registry.cosign(SIMPLE_SIGNING, &[b"cosign payload"]);
    let cosign_tag = format!("sha256-{}.sig", digest_of(&amd64).to_hex());
    registry.name("kops/app", Some("v1"), &index);
    for attached in [&sbom, &signature, &strange] {
        registry.name("kops/app", None, attached);
    }
    registry.name("kops/app", Some(&cosign_tag), &cosign);
    let root = digest_of(&index);
    image_manifests(&tree, &[(&root, "v1")]);
    let rules = vec![rule("staging.example.org", registry.url.clone())];
    let coordinator = Running::start(folders.config(rules)).await;

    let planned = coordinator.plan(&tree, v1::PlanOptions::default()).await;
    let left_out: Vec<_> = planned
        .findings
        .iter()
        .filter(|finding| finding.rule == "referrer-left-out")
        .collect();
    assert_eq!(left_out.len(), 1, "{:?}", planned.findings);
    assert!(left_out[0].message.contains("x-miner"), "{left_out:?}");
    let ended = coordinator.promote(&planned).await;
    assert_eq!(ended.outcome("kops/app:v1"), "copied");
    assert_eq!(ended.outcome(&format!("kops/app:{cosign_tag}")), "copied");
    for attached in [&sbom, &signature] {
        let name = format!("kops/app@{}", digest_of(attached));
        assert_eq!(ended.outcome(&name), "copied");
    }
    assert_eq!((ended.done.copied, ended.done.refused), (4, 0));

    let (status, body) = coordinator.get("/origin/v2/kops/app/manifests/v1").await;
    assert_eq!((status, Digest::of(&body)), (200, root));
    let base = Digest::of(b"base");
    let (status, body) = coordinator
        .get(&format!("/origin/v2/kops/app/blobs/{base}"))
        .await;
    assert_eq!((status, &body[..]), (200, &b"base"[..]));
    let (_, body) = coordinator
        .get(&format!("/origin/v2/kops/app/referrers/{root}"))
        .await;
    let referrers: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(referrers["manifests"].as_array().unwrap().len(), 1);
    assert_eq!(
        referrers["manifests"][0]["digest"],
        digest_of(&sbom).to_string()
    );
    let miner = digest_of(&strange);
    assert_eq!(
        coordinator
            .get(&format!("/origin/v2/kops/app/manifests/{miner}"))
            .await
            .0,
        404
    );

    let prune = v1::PlanOptions {
        prune: true,
        allow_mass_change: true,
        ..v1::PlanOptions::default()
    };
    let planned = coordinator.plan(&tree, prune).await;
    let summary = planned.summary();
    assert_eq!((summary.set, summary.unchanged), (0, 1));
    assert_eq!(summary.removed, 0, "what came along stays with its image");
    coordinator.stop().await;
    registry.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cosign_tag_brings_nothing_that_cosign_does_not_write() {
    let folders = Folders::new();
    let tree = folders.path("tree");
    let registry = TestRegistry::start().await;
    let image = registry.image(&[b"app"]);
    let layer = "application/vnd.oci.image.layer.v1.tar+gzip";
    let many: Vec<Vec<u8>> = (0..300_u32).map(|n| n.to_le_bytes().to_vec()).collect();
    let many: Vec<&[u8]> = many.iter().map(Vec::as_slice).collect();
    let strange = registry.blob(b"somebody else");
    let cases = [
        // A whole program under the name of a signature.
        ("sig", registry.image(&[b"miner"]), "octet-stream"),
        ("att", registry.cosign(layer, &[b"miner"]), layer),
        (
            "sbom",
            registry.cosign(SIMPLE_SIGNING, &[b"payload"]),
            SIMPLE_SIGNING,
        ),
        (
            "sig",
            registry.index(&[&registry.image(&[b"a"])]),
            "it is an index",
        ),
        (
            "sig",
            registry.cosign(SIMPLE_SIGNING, &many),
            "larger than allowed",
        ),
        (
            "sig",
            registry.referrer(&strange, SIMPLE_SIGNING, b"of another"),
            "its subject is",
        ),
    ];
    registry.name("kops/app", Some("v1"), &image);
    let root = digest_of(&image);
    image_manifests(&tree, &[(&root, "v1")]);
    let rules = vec![rule("staging.example.org", registry.url.clone())];
    let coordinator = Running::start(folders.config(rules)).await;
    for (suffix, cosign, why) in &cases {
        let tag = format!("sha256-{}.{suffix}", root.to_hex());
        registry.name("kops/app", Some(&tag), cosign);
        let planned = coordinator.plan(&tree, v1::PlanOptions::default()).await;
        let name = format!("kops/app:{tag}");
        let entry = planned.entries.iter().find(|entry| entry.name == name);
        let entry = entry.expect("the tag has an entry of its own");
        assert_eq!(entry.state, "refused", "{entry:?}");
        assert!(entry.detail.contains(why), "{entry:?}");
    }
    let planned = coordinator.plan(&tree, v1::PlanOptions::default()).await;
    let ended = coordinator.promote(&planned).await;
    assert_eq!(ended.outcome("kops/app:v1"), "copied", "nothing is held up");
    assert_eq!((ended.done.copied, ended.done.refused), (1, 3));
    for (suffix, ..) in &cases {
        let path = format!(
            "/origin/v2/kops/app/manifests/sha256-{}.{suffix}",
            root.to_hex()
        );
        assert_eq!(coordinator.get(&path).await.0, 404, "{path}");
    }
    let miner = Digest::of(b"miner").to_hex();
    let path = format!("/origin/blobs/sha256/{miner}");
    assert_eq!(coordinator.get(&path).await.0, 404);
    coordinator.stop().await;
    registry.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_what_is_attached_to_an_image_only_so_much_is_looked_at() {
    let folders = Folders::new();
    let tree = folders.path("tree");
    let registry = TestRegistry::start().await;
    let image = registry.image(&[b"app"]);
    registry.name("kops/app", Some("v1"), &image);
    // Each speaks about the one before.
    let mut subject = image.clone();
    for number in 0..3_u8 {
        let referrer = registry.referrer(&subject, "application/spdx+json", &[number]);
        registry.name("kops/app", None, &referrer);
        subject = referrer;
    }
    image_manifests(&tree, &[(&digest_of(&image), "v1")]);
    let mut config = folders.config(vec![rule("staging.example.org", registry.url.clone())]);
    config.limits.attached = 2;
    let coordinator = Running::start(config).await;
    let planned = coordinator.plan(&tree, v1::PlanOptions::default()).await;
    let left_out = |finding: &&v1::Finding| finding.rule == "referrer-left-out";
    let told: Vec<_> = planned.findings.iter().filter(left_out).collect();
    assert_eq!(told.len(), 1, "{:?}", planned.findings);
    assert!(told[0].message.contains("2 artifacts"), "{told:?}");
    assert_eq!(coordinator.promote(&planned).await.done.copied, 3);
    coordinator.stop().await;
    registry.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_moves_only_when_it_is_allowed_to() {
    let folders = Folders::new();
    let tree = folders.path("tree");
    let registry = TestRegistry::start().await;
    let (one, two) = (registry.image(&[b"one"]), registry.image(&[b"two"]));
    registry.name("kops/app", Some("a"), &one);
    registry.name("kops/app", Some("b"), &two);
    let three = registry.image(&[b"three"]);
    registry.name("kops/app", Some("c"), &three);
    let rules = vec![rule(
        "staging.example.org/kops",
        format!("{}/kops", registry.url),
    )];
    let coordinator = Running::start(folders.config(rules)).await;
    image_manifests(&tree, &[(&digest_of(&one), "v1")]);
    let planned = coordinator.plan(&tree, v1::PlanOptions::default()).await;
    let first = coordinator.promote(&planned).await;
    assert_eq!((first.done.revision, first.done.copied), (1, 1));

    image_manifests(&tree, &[(&digest_of(&two), "v1")]);
    let planned = coordinator.plan(&tree, v1::PlanOptions::default()).await;
    assert_eq!(planned.states(), [("kops/app:v1", "refused")]);
    let refused = coordinator.promote(&planned).await;
    assert_eq!((refused.done.revision, refused.done.refused), (0, 1));

    let allowed = v1::PlanOptions {
        allow_tag_moves: true,
        ..v1::PlanOptions::default()
    };
    let stale = coordinator.plan(&tree, allowed).await;
    let moved = coordinator.promote(&stale).await;
    assert_eq!((moved.done.revision, moved.done.copied), (2, 1));
    let (_, body) = coordinator.get("/origin/v2/kops/app/manifests/v1").await;
    assert_eq!(Digest::of(&body), digest_of(&two));

    image_manifests(&tree, &[(&digest_of(&one), "v1")]);
    let back = coordinator.plan(&tree, allowed).await;
    assert_eq!(
        back.states(),
        [("kops/app:v1", "present")],
        "the origin still has it"
    );
    image_manifests(&tree, &[(&digest_of(&three), "v1")]);
    let late = coordinator.plan(&tree, allowed).await;
    assert_eq!(late.states(), [("kops/app:v1", "to-copy")]);
    assert_eq!(coordinator.promote(&back).await.done.revision, 3);
    let refused = coordinator.promote(&late).await;
    assert_eq!((refused.done.revision, refused.done.refused), (0, 1));
    assert!(
        refused.outcomes[0].2.contains("moved since the plan"),
        "{refused:?}"
    );
    coordinator.stop().await;
    registry.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_are_no_longer_listed_go_only_with_prune() {
    let folders = Folders::new();
    let (tree, staging) = (folders.path("tree"), folders.path("staging"));
    write(&staging.join("1.0/a"), b"a");
    write(&staging.join("1.0/b"), b"b");
    file_manifests(&tree, &[("1.0/a", b"a"), ("1.0/b", b"b")]);
    let rules = vec![rule(
        "gs://staging",
        format!("file://{}/", folders.root.path().display()),
    )];
    // The store's base is gs://staging/kops: below the rule's endpoint as `kops`.
    std::fs::rename(&staging, folders.path("kops")).unwrap();
    let coordinator = Running::start(folders.config(rules)).await;
    let planned = coordinator.plan(&tree, v1::PlanOptions::default()).await;
    assert_eq!(coordinator.promote(&planned).await.done.copied, 2);

    file_manifests(&tree, &[("1.0/a", b"a")]);
    let kept = coordinator.plan(&tree, v1::PlanOptions::default()).await;
    assert_eq!(kept.summary().removed, 0);
    let much = v1::PlanOptions {
        prune: true,
        ..v1::PlanOptions::default()
    };
    let stopped = coordinator.plan(&tree, much).await;
    assert_eq!(stopped.summary().removed, 0, "half of the project");
    let braked = |finding: &v1::Finding| finding.rule == "mass-change" && finding.quarantines;
    assert!(stopped.findings.iter().any(braked));
    let prune = v1::PlanOptions {
        prune: true,
        allow_mass_change: true,
        ..v1::PlanOptions::default()
    };
    let planned = coordinator.plan(&tree, prune).await;
    assert_eq!(planned.states(), [("binaries/kops/1.0/b", "remove")]);
    let ended = coordinator.promote(&planned).await;
    assert_eq!((ended.done.revision, ended.done.removed), (2, 1));
    assert_eq!(coordinator.get("/origin/binaries/kops/1.0/a").await.0, 200);
    assert_eq!(coordinator.get("/origin/binaries/kops/1.0/b").await.0, 404);
    let hex = Digest::of(b"b").to_hex();
    assert_eq!(
        coordinator
            .get(&format!("/origin/blobs/sha256/{hex}"))
            .await
            .0,
        404
    );

    // Confirmed again, the plan finds its work done.
    let again = coordinator.promote(&planned).await;
    assert_eq!((again.done.revision, again.done.refused), (0, 0));
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_project_cannot_widen_its_own_reach() {
    let folders = Folders::new();
    let (tree, staging) = (folders.path("tree"), folders.path("kops"));
    write(&staging.join("1.0/a"), b"a");
    write(&staging.join("1.0/b"), b"b");
    file_manifests(&tree, &[("1.0/a", b"a")]);
    let rules = vec![rule(
        "gs://staging",
        format!("file://{}/", folders.root.path().display()),
    )];
    let coordinator = Running::start(folders.config(rules)).await;
    let planned = coordinator.plan(&tree, v1::PlanOptions::default()).await;
    assert_eq!(coordinator.promote(&planned).await.done.copied, 1);

    file_manifests(&tree, &[("1.0/a", b"a"), ("1.0/b", b"b")]);
    write(
        &tree.join("artifacts/filestores/kops/filepromoter-manifest.yaml"),
        "filestores:\n- base: gs://staging/kops\n  src: true\n- base: gs://prod/binaries/other\n  service-account: a@example.org\n",
    );
    let options = v1::PlanOptions {
        prune: true,
        allow_mass_change: true,
        ..v1::PlanOptions::default()
    };
    let planned = coordinator.plan(&tree, options).await;
    assert_eq!(
        planned.summary().removed,
        0,
        "nobody's names are taken away"
    );
    assert_eq!(planned.summary().set, 0);
    assert_eq!(planned.summary().refused, 2);
    assert!(
        planned.entries[0].detail.contains("registered"),
        "{:?}",
        planned.entries
    );
    let ended = coordinator.promote(&planned).await;
    assert_eq!((ended.done.revision, ended.done.refused), (0, 2));
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_published_log_verifies_and_says_who_did_what() {
    let folders = Folders::new();
    let (tree, staging) = (folders.path("tree"), folders.path("kops"));
    write(&staging.join("1.0/a"), b"a");
    file_manifests(&tree, &[("1.0/a", b"a")]);
    let rules = vec![rule(
        "gs://staging/kops",
        format!("file://{}", staging.display()),
    )];
    let config = folders.config(rules);
    let keys = crate::init(&config).await.unwrap();
    let coordinator = Running::start(config).await;
    let client = http_client().unwrap();
    let prefix = format!("{}/.landfall", coordinator.http).parse().unwrap();
    let presented = landfall_log::verify::presented_keys(coordinator.channel.clone())
        .await
        .unwrap();
    assert_eq!(
        presented.to_strings(),
        keys,
        "init made the keys that run uses"
    );
    let empty = landfall_log::verify::verify(&client, &prefix, &presented, None)
        .await
        .unwrap();
    assert_eq!(empty.checkpoint.checkpoint.size, 0);
    assert_eq!(empty.checkpoint.checkpoint.origin, NAME);

    let planned = coordinator.plan(&tree, v1::PlanOptions::default()).await;
    coordinator.promote(&planned).await;
    let held = Some(empty.checkpoint.note());
    let verified = landfall_log::verify::verify(&client, &prefix, &presented, held)
        .await
        .unwrap();
    assert_eq!(
        verified.checkpoint.checkpoint.size, 3,
        "object, name, commit"
    );
    let (_, page) = coordinator.get("/").await;
    let page = String::from_utf8(page.to_vec()).unwrap();
    assert!(page.contains(NAME) && page.contains("a test"), "{page}");
    let (_, metrics) = coordinator.get("/metrics").await;
    let metrics = String::from_utf8(metrics.to_vec()).unwrap();
    for line in [
        "landfall_revision 1",
        "landfall_log_entries 3",
        "landfall_promoted_entries_total{outcome=\"copied\"} 1",
        "landfall_operations_total{result=\"clean\"} 1",
        "landfall_mirrors{state=\"active\"} 0",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    assert_eq!(coordinator.get("/healthz").await.0, 200);
    assert_eq!(coordinator.get("/readyz").await.0, 200);
    coordinator.stop().await;
}

#[tokio::test]
async fn a_plan_that_nobody_made_is_not_executed() {
    let folders = Folders::new();
    let coordinator = Running::start(folders.config(Vec::new())).await;
    let request = v1::PromoteRequest {
        plan: Digest::of(b"guess").as_bytes().to_vec().into(),
        why: String::new(),
        source: String::new(),
        gate: None,
    };
    let refused = coordinator.promotion().promote(request).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::NotFound);
    let request = v1::WatchOperationRequest {
        operation: "nope".into(),
    };
    let refused = coordinator
        .promotion()
        .watch_operation(request)
        .await
        .unwrap_err();
    assert_eq!(refused.code(), tonic::Code::NotFound);
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_staging_host_that_is_down_fails_its_entries_alone() {
    let folders = Folders::new();
    let tree = folders.path("tree");
    let registry = TestRegistry::start().await;
    let image = registry.image(&[b"one"]);
    registry.name("kops/app", Some("v1"), &image);
    image_manifests(&tree, &[(&digest_of(&image), "v1")]);
    let names: Vec<_> = (0..200).map(|number| format!("1.0/{number}")).collect();
    let files: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), name.as_bytes()))
        .collect();
    file_manifests(&tree, &files);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let down = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let rules = vec![
        rule("gs://staging", down),
        rule("staging.example.org", registry.url.clone()),
    ];
    let coordinator = Running::start(folders.config(rules)).await;
    let planned = coordinator.plan(&tree, v1::PlanOptions::default()).await;
    let ended = coordinator.promote(&planned).await;
    assert_eq!((ended.done.copied, ended.done.failed), (1, 200));
    let given_up = ended
        .outcomes
        .iter()
        .filter(|(_, _, why)| why.contains("times in a row"));
    assert!(
        given_up.count() > 100,
        "a host that is down is not asked 200 times"
    );
    coordinator.stop().await;
    registry.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_finds_the_names_set_by_others_learns_in_which_revision() {
    let folders = Folders::new();
    let (tree, staging) = (folders.path("tree"), folders.path("staging"));
    write(&staging.join("1.0/kops"), b"kops 1.0");
    file_manifests(&tree, &[("1.0/kops", b"kops 1.0")]);
    let endpoint = format!("file://{}", staging.display());
    let coordinator =
        Running::start(folders.config(vec![rule("gs://staging/kops", endpoint)])).await;
    let planned = coordinator.plan(&tree, v1::PlanOptions::default()).await;
    let ours = coordinator.promote(&planned).await.done;
    assert_eq!((ours.revision, ours.names_revision), (1, 1));
    // The same plan, by somebody who made it before that.
    let theirs = coordinator.promote(&planned).await.done;
    assert_eq!((theirs.revision, theirs.names_revision), (0, 1));
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_rule_maps_is_refused() {
    let folders = Folders::new();
    let tree = folders.path("tree");
    file_manifests(&tree, &[("1.0/a", b"a")]);
    let coordinator = Running::start(folders.config(Vec::new())).await;
    let planned = coordinator.plan(&tree, v1::PlanOptions::default()).await;
    let ended = coordinator.promote(&planned).await;
    assert_eq!((ended.done.refused, ended.done.revision), (1, 0));
    assert!(ended.outcomes[0].2.contains("[[staging]]"), "{ended:?}");
    coordinator.stop().await;
}
