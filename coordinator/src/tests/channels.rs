//! Production promoted onward: what may be read, what may be set, and what stays.

use std::path::Path;

use landfall_catalog::Digest;
use landfall_proto::v1;

use super::reach::token;
use super::registry::{TestRegistry, digest_of};
use super::running::{Folders, Planned, Running, rule, write};

const PUBLIC: &str = "gs://prod/binaries";

/// Manifests of files of one project.
fn manifests(tree: &Path, project: &str, from: &str, to: &str, files: &[(&str, &[u8])]) {
    write(
        &tree.join(format!("filestores/{project}/filepromoter-manifest.yaml")),
        format!("filestores:\n- {{base: {from}, src: true}}\n- base: {PUBLIC}/{to}\n"),
    );
    let mut list = String::from("files:\n");
    for (name, content) in files {
        let digest = Digest::of(content).to_hex();
        list += &format!("- name: {name}\n  sha256: {digest}\n");
    }
    write(&tree.join(format!("manifests/{project}/files.yaml")), list);
}

fn detail<'a>(planned: &'a Planned, name: &str) -> &'a str {
    let entry = planned.entries.iter().find(|entry| entry.name == name);
    &entry
        .unwrap_or_else(|| panic!("{name}: {planned:?}"))
        .detail
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_reads_all_of_production_and_sets_names_of_its_project_alone() {
    let folders = Folders::new();
    let (staging, trees) = (folders.path("staging"), folders.path("trees"));
    for (name, content) in [("good", "good"), ("bad", "bad"), ("next", "next")] {
        write(&staging.join(name), content);
    }
    let [good, bad, next]: [(&str, &[u8]); 3] =
        [("good", b"good"), ("bad", b"bad"), ("next", b"next")];
    let incubating = trees.join("incubating");
    manifests(
        &incubating,
        "incubating",
        "gs://staging",
        "incubating",
        &[good, bad],
    );
    let onward = format!("{PUBLIC}/incubating");
    let stable = trees.join("stable");
    manifests(&stable, "stable", &onward, "stable", &[good, bad, next]);
    let endpoint = format!("file://{}", staging.display());
    let mut coordinator =
        Running::start(folders.config(vec![rule("gs://staging", endpoint)])).await;
    for tree in [&incubating, &stable] {
        coordinator
            .apply(tree, v1::PlanOptions::default())
            .await
            .unwrap();
    }
    let planned = coordinator
        .plan(&incubating, v1::PlanOptions::default())
        .await;
    assert_eq!(coordinator.promote(&planned).await.done.revision, 1);
    // From here on nothing but production can be read.
    std::fs::remove_dir_all(&staging).unwrap();
    let withdrawn = v1::WithdrawRequest {
        what: "binaries/incubating/bad".into(),
        reason: "CVE-2026-1".into(),
        ..v1::WithdrawRequest::default()
    };
    coordinator.promotion().withdraw(withdrawn).await.unwrap();

    coordinator.token = Some(token(&coordinator, "promote:stable").await);
    let planned = coordinator.plan(&stable, v1::PlanOptions::default()).await;
    assert_eq!(
        planned.states(),
        [
            ("binaries/stable/bad", "refused"),
            ("binaries/stable/good", "present"),
            ("binaries/stable/next", "lost"),
        ]
    );
    assert!(detail(&planned, "binaries/stable/bad").contains("CVE-2026-1"));
    assert!(detail(&planned, "binaries/stable/next").contains("promote it there first"));
    let ended = coordinator.promote(&planned).await;
    assert_eq!(
        (ended.done.revision, ended.done.present),
        (3, 1),
        "{ended:?}"
    );
    assert_eq!(coordinator.get("/origin/binaries/stable/good").await.0, 200);
    // The same source, and somebody else's names.
    let theirs = trees.join("theirs");
    manifests(
        &theirs,
        "stable",
        &onward,
        "incubating",
        &[("more", b"good")],
    );
    let planned = coordinator.plan(&theirs, v1::PlanOptions::default()).await;
    assert_eq!(planned.summary().set, 0, "{planned:?}");

    // The name that it came from goes, and takes nothing along.
    coordinator.token = None;
    write(&staging.join("next"), "next");
    manifests(
        &incubating,
        "incubating",
        "gs://staging",
        "incubating",
        &[next],
    );
    let prune = v1::PlanOptions {
        prune: true,
        allow_mass_change: true,
        ..v1::PlanOptions::default()
    };
    let planned = coordinator.plan(&incubating, prune).await;
    let ended = coordinator.promote(&planned).await;
    assert_eq!(ended.done.removed, 2, "{ended:?}");
    for (path, status) in [
        ("/origin/binaries/incubating/good", 404),
        ("/origin/binaries/stable/good", 200),
    ] {
        assert_eq!(coordinator.get(path).await.0, status, "{path}");
    }
    // And from where it is no more it is not promoted again.
    manifests(
        &stable,
        "stable",
        &onward,
        "stable",
        &[good, ("good-again", b"good")],
    );
    let planned = coordinator.plan(&stable, v1::PlanOptions::default()).await;
    assert_eq!(planned.states(), [("binaries/stable/good-again", "lost")]);
    coordinator.stop().await;
}

/// Manifests of one image project that lists `app:v1`.
fn image(tree: &Path, project: &str, from: &str, to: &str, digest: &Digest) {
    write(
        &tree.join(format!("manifests/{project}/promoter-manifest.yaml")),
        format!("registries:\n- {{name: {from}, src: true}}\n- name: {to}\n"),
    );
    let rows = format!("- name: app\n  dmap: {{\"{digest}\": [v1]}}\n");
    write(&tree.join(format!("images/{project}/images.yaml")), rows);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signature_that_the_origin_lost_is_told_of_and_holds_up_no_image() {
    let folders = Folders::new();
    let registry = TestRegistry::start().await;
    let app = registry.image(&[b"app"]);
    registry.name("kops/app", Some("v1"), &app);
    let signature = registry.referrer(&app, "application/spdx+json", b"signed");
    registry.name("kops/app", None, &signature);
    let digest = digest_of(&app);
    let staging = rule("staging.example.org", registry.url.clone());
    let coordinator = Running::start(folders.config(vec![staging])).await;
    let production = "prod.example.org/images";
    let (first, second) = (folders.path("first"), folders.path("second"));
    let incubating = format!("{production}/incubating");
    image(
        &first,
        "kops",
        "staging.example.org/kops",
        &incubating,
        &digest,
    );
    image(
        &second,
        "stable",
        &incubating,
        &format!("{production}/stable"),
        &digest,
    );
    let planned = coordinator.plan(&first, v1::PlanOptions::default()).await;
    assert_eq!(coordinator.promote(&planned).await.done.copied, 2);
    let hex = digest_of(&signature).to_hex();
    std::fs::remove_file(folders.path("origin").join("blobs/sha256").join(&hex)).unwrap();
    let planned = coordinator.plan(&second, v1::PlanOptions::default()).await;
    assert_eq!(planned.states(), [("stable/app:v1", "present")]);
    let told: Vec<_> = planned
        .findings
        .iter()
        .filter(|finding| finding.rule == "referrer-left-out")
        .collect();
    assert_eq!(told.len(), 1, "{:?}", planned.findings);
    assert!(told[0].message.contains(&hex), "{told:?}");
    coordinator.stop().await;
    registry.stop().await;
}
