//! More ways out of a token's project: spellings, other formats, other commands.

use std::path::Path;

use landfall_catalog::Digest;
use landfall_proto::v1;
use tonic::Code;

use super::fleet::Agent;
use super::gate::gate;
use super::reach::{everything, manifests, token, world};
use super::registry::{TestRegistry, digest_of};
use super::running::{Folders, Running, rule, write};

/// What is in production, by name, and the revision.
async fn production(coordinator: &Running) -> (u64, Vec<String>) {
    let request = v1::SearchRequest {
        text: "/".into(),
        limit: 500,
        ..v1::SearchRequest::default()
    };
    let found = coordinator.promotion().search(request).await.unwrap();
    let names = found.into_inner().found.into_iter();
    let names = names.map(|name| format!("{} {:02x?}", name.name, name.digest));
    let request = v1::ListOperationsRequest {
        limit: 100,
        ..v1::ListOperationsRequest::default()
    };
    let listed = coordinator.promotion().list(request).await.unwrap();
    let operations = listed.into_inner().operations.into_iter();
    let revisions = operations.filter_map(|operation| operation.result.map(|done| done.revision));
    (revisions.max().unwrap_or_default(), names.collect())
}

/// Plans and executes whatever a tree asks for; nothing may come of it.
async fn in_vain(coordinator: &Running, tree: &Path, what: &str) {
    let before = production(coordinator).await;
    let planned = coordinator.plan(tree, everything()).await;
    let summary = planned.summary();
    assert_eq!(
        (summary.set, summary.removed),
        (0, 0),
        "{what}: {planned:?}"
    );
    let ended = coordinator.promote(&planned).await;
    assert_eq!(ended.done.revision, 0, "{what}: {ended:?}");
    assert_eq!(production(coordinator).await, before, "{what}");
}

fn stores(from: &str, to: &str) -> String {
    format!(
        "filestores:\n- base: {from}\n  src: true\n- base: {to}\n  service-account: a@example.org\n"
    )
}

fn list(names: &[&str], content: &str) -> String {
    let hex = Digest::of(content.as_bytes()).to_hex();
    let rows = names.iter();
    let rows = rows.map(|name| format!("- name: \"{name}\"\n  sha256: {hex}\n"));
    format!("files:\n{}", rows.collect::<String>())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_spelling_leads_a_token_out_of_its_project() {
    let folders = Folders::new();
    let mut coordinator = world(&folders).await;
    coordinator.token = Some(token(&coordinator, "promote:a").await);
    let (own, prod) = ("gs://staging/a", "gs://prod/binaries");
    // Its own project, from and to somewhere that is spelt like what is registered.
    for (number, (from, to)) in [
        (own, format!("{prod}/a/../b")),
        (own, format!("{prod}/a/./../b/")),
        (own, format!("{prod}//b")),
        (own, format!("{prod}/a%2f..%2fb")),
        (own, format!("{prod}/A")),
        (own, format!("{prod}/а")),
        (own, format!("{prod}/a\u{200b}")),
        (own, "gs://prod:443/binaries/b".to_owned()),
        (own, "gs://PROD/binaries/b".to_owned()),
        (own, "gs://user@prod/binaries/b".to_owned()),
        (own, "s3://prod/binaries/b".to_owned()),
        ("gs://staging/b", format!("{prod}/a")),
        ("gs://staging/a/../b", format!("{prod}/a")),
        ("gs://staging", format!("{prod}/a")),
        // Production itself, of another project.
        ("gs://prod/binaries/b", format!("{prod}/a")),
    ]
    .into_iter()
    .enumerate()
    {
        let tree = folders.path(&format!("spelt-{number}"));
        write(
            &tree.join("filestores/a/filepromoter-manifest.yaml"),
            stores(from, &to),
        );
        write(
            &tree.join("manifests/a/v1.yaml"),
            list(&["own", "new"], "new of b"),
        );
        in_vain(&coordinator, &tree, &format!("{from} to {to}")).await;
    }
    // Its own project as it is registered, with names that lead elsewhere.
    for (number, name) in [
        "../b/new",
        "x/../../b/new",
        "..\\\\b\\\\new",
        "/binaries/b/new",
        "./new/../../b/new",
        "new/",
        "new//x",
        "..",
        "\\u0000/new",
        "new\\r\\nx",
        "nested/x",
    ]
    .into_iter()
    .enumerate()
    {
        let tree = folders.path(&format!("named-{number}"));
        let files: [(&str, &[u8]); 2] = [("own", b"of a"), ("shared", b"shared")];
        manifests(&tree, "1", "a", "a", &files);
        write(
            &tree.join("1/manifests/a/more.yaml"),
            list(&[name], "new of a"),
        );
        in_vain(&coordinator, &tree, name).await;
    }
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_place_in_a_tree_leads_a_token_out_of_its_project() {
    let folders = Folders::new();
    let mut coordinator = world(&folders).await;
    coordinator.token = Some(token(&coordinator, "promote:a").await);
    let (a, b) = (
        stores("gs://staging/a", "gs://prod/binaries/a"),
        stores("gs://staging/b", "gs://prod/binaries/b"),
    );
    let (theirs, new) = (list(&["new"], "new of b"), list(&["new"], "new of a"));
    let (sound, rows) = (
        "registries:\n- name: gcr.io/s\n  src: true\n- name: prod.example.org/images/b\n",
        format!(
            "- name: app\n  dmap: {{\"{}\": [v1]}}\n",
            Digest::of(b"of b")
        ),
    );
    type Files<'a> = &'a [(&'a str, &'a str)];
    let attempts: [(&str, Files); 9] = [
        (
            "the other project's folder under another root",
            &[
                ("x/filestores/b/filepromoter-manifest.yaml", &b),
                ("x/manifests/b/new.yaml", &theirs),
            ],
        ),
        (
            "its own name twice, once as registered",
            &[
                ("1/filestores/a/filepromoter-manifest.yaml", &a),
                ("2/filestores/a/filepromoter-manifest.yaml", &b),
                ("2/manifests/a/new.yaml", &theirs),
            ],
        ),
        (
            "its stores above the other project's list",
            &[
                ("filestores/a/filepromoter-manifest.yaml", &a),
                ("manifests/b/new.yaml", &theirs),
            ],
        ),
        (
            "its folder in another case",
            &[
                ("filestores/A/filepromoter-manifest.yaml", &a),
                ("manifests/A/new.yaml", &new),
            ],
        ),
        (
            "its folder in another alphabet",
            &[
                ("filestores/а/filepromoter-manifest.yaml", &a),
                ("manifests/а/new.yaml", &new),
            ],
        ),
        (
            "its folder with a blank",
            &[
                ("filestores/a /filepromoter-manifest.yaml", &a),
                ("manifests/a /new.yaml", &new),
            ],
        ),
        (
            "images under the name of its files",
            &[
                ("manifests/a/promoter-manifest.yaml", sound),
                ("images/a/images.yaml", &rows),
            ],
        ),
        (
            "images of the other project by a path",
            &[
                (
                    "manifests/a/promoter-manifest.yaml",
                    "registries:\n- name: gcr.io/s\n  src: true\n- name: prod.example.org/images/a\nimagesPath: ../b/images.yaml\n",
                ),
                ("images/b/images.yaml", &rows),
            ],
        ),
        (
            "a project in one file that is called as its own",
            &[(
                "a.yaml",
                "registries:\n- name: gcr.io/s\n  src: true\n- name: prod.example.org/images/b\nimages: []\n",
            )],
        ),
    ];
    for (number, (what, files)) in attempts.into_iter().enumerate() {
        let tree = folders.path(&format!("placed-{number}"));
        for (path, text) in files {
            write(&tree.join(path), text);
        }
        in_vain(&coordinator, &tree, what).await;
    }
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_file_is_put_where_another_project_has_its_folder() {
    let folders = Folders::new();
    let mut coordinator = world(&folders).await;
    let tree = folders.path("deep");
    manifests(&tree, "1", "deep", "a/deep/er", &[]);
    coordinator
        .apply(&tree, v1::PlanOptions::default())
        .await
        .unwrap();
    let staging = folders.path("staging");
    write(&staging.join("a/deep"), "in the way");
    write(&staging.join("deep/x"), "x");
    let (squat, deep) = (folders.path("squat"), folders.path("deep"));
    let files: [(&str, &[u8]); 3] = [
        ("own", b"of a"),
        ("shared", b"shared"),
        ("deep", b"in the way"),
    ];
    manifests(&squat, "1", "a", "a", &files);
    coordinator.token = Some(token(&coordinator, "promote:a").await);
    in_vain(&coordinator, &squat, "a file for a folder").await;
    coordinator.token = Some(token(&coordinator, "promote:deep").await);
    manifests(&deep, "1", "deep", "a/deep/er", &[("x", b"x")]);
    let planned = coordinator.plan(&deep, v1::PlanOptions::default()).await;
    let ended = coordinator.promote(&planned).await;
    assert_eq!(ended.done.copied, 1, "{ended:?}");
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prefix_that_two_projects_share_needs_a_token_for_both() {
    let folders = Folders::new();
    let mut coordinator = world(&folders).await;
    let tree = folders.path("sharing");
    manifests(&tree, "1", "d", "b", &[]);
    coordinator
        .apply(&tree, v1::PlanOptions::default())
        .await
        .unwrap();
    write(&folders.path("staging").join("d/new"), "new of d");
    manifests(&tree, "1", "d", "b", &[("new", b"new of d")]);
    let (alone, both) = (
        token(&coordinator, "promote:d").await,
        token(&coordinator, "promote:d promote:b").await,
    );
    coordinator.token = Some(alone);
    in_vain(&coordinator, &tree, "half of those who share").await;
    coordinator.token = Some(both);
    let planned = coordinator.plan(&tree, v1::PlanOptions::default()).await;
    assert_eq!(planned.summary().set, 1, "{planned:?}");
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_other_command_leads_a_token_out_of_its_project() {
    let folders = Folders::new();
    let mut coordinator = world(&folders).await;
    let all = folders.path("nested");
    manifests(&all, "1", "a-nested", "a/nested", &[("x", b"x")]);
    write(&folders.path("staging").join("a-nested/x"), "x");
    let planned = coordinator.plan(&all, v1::PlanOptions::default()).await;
    assert_eq!(coordinator.promote(&planned).await.done.copied, 1);
    // The other project announces what `a` has, and something of its own.
    let gated = folders.path("gated");
    let files: [(&str, &[u8]); 3] = [("own", b"of b"), ("shared", b"shared"), ("of-a", b"of a")];
    write(&folders.path("staging").join("b/of-a"), "of a");
    manifests(&gated, "1", "b", "b", &files);
    let (_agent, _) = Agent::join(&coordinator, "aws-east").await;
    let planned = coordinator.plan(&gated, v1::PlanOptions::default()).await;
    let terms = v1::GateTerms {
        percent: 100,
        minimum: 0,
        timeout_seconds: 3_600,
        on_timeout: v1::GateTimeout::Hold.into(),
    };
    let request = v1::PromoteRequest {
        plan: planned.summary().plan.clone(),
        gate: Some(terms),
        ..v1::PromoteRequest::default()
    };
    let started = coordinator.promotion().promote(request).await.unwrap();
    let operation = started.into_inner().operation;
    gate(&coordinator, 1).await;

    coordinator.token = Some(token(&coordinator, "promote:a").await);
    let before = production(&coordinator).await;
    let mut client = coordinator.promotion();
    for decision in [v1::GateDecision::Open, v1::GateDecision::GiveUp] {
        let request = v1::DecideGateRequest {
            operation: operation.clone(),
            decision: decision.into(),
            reason: "r".into(),
        };
        let refused = client.decide_gate(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    }
    for what in [
        // Announced by the other project.
        "binaries/a/own",
        "binaries/b/of-a",
        &Digest::of(b"of a").to_string(),
        // Below its prefix, and not its.
        "binaries/a/",
        "binaries/a/nested/",
        "binaries/a/nested/x",
        "binaries/b/own/",
        "binaries/a/../b/own",
        "binaries/a//../b/",
        "binaries/B/own",
        "/binaries/b/own",
        "binaries/b/own\0",
        "binaries",
        "",
        "/",
    ] {
        let request = v1::WithdrawRequest {
            what: what.into(),
            reason: "r".into(),
            with_parents: true,
            with_other_names: true,
            ..v1::WithdrawRequest::default()
        };
        let refused = client.withdraw(request).await;
        let Err(refused) = refused else {
            panic!("{what:?} was withdrawn");
        };
        let code = refused.code();
        assert!(
            matches!(
                code,
                Code::PermissionDenied | Code::InvalidArgument | Code::NotFound
            ),
            "{what:?}: {refused}"
        );
        let request = v1::ReinstateRequest {
            what: what.into(),
            reason: "r".into(),
            dry_run: true,
        };
        let refused = client.reinstate(request).await.unwrap_err();
        assert_eq!(
            refused.code(),
            Code::PermissionDenied,
            "{what:?}: {refused}"
        );
    }
    for project in ["", "b", "a-nested", "A", "a ", "../b", "nobody"] {
        let request = v1::PlanRevertRequest {
            revision: 1,
            project: project.into(),
        };
        let refused = match client.plan_revert(request).await {
            Ok(events) => events.into_inner().message().await.unwrap_err(),
            Err(refused) => refused,
        };
        assert!(
            matches!(refused.code(), Code::PermissionDenied | Code::NotFound),
            "{project:?}: {refused}"
        );
    }
    assert_eq!(production(&coordinator).await, before);
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_layer_that_anothers_image_needs_is_not_withdrawn_for_a_token() {
    let folders = Folders::new();
    let registry = TestRegistry::start().await;
    let base: &[u8] = b"a base of everybody";
    let (of_a, of_b) = (registry.image(&[base, b"a"]), registry.image(&[base, b"b"]));
    registry.name("a/app", Some("v1"), &of_a);
    registry.name("b/app", Some("v1"), &of_b);
    let tree = folders.path("tree");
    for (project, image) in [("a", &of_a), ("b", &of_b)] {
        write(
            &tree.join(format!("manifests/{project}/promoter-manifest.yaml")),
            format!(
                "registries:\n- {{name: staging.example.org/{project}, src: true}}\n- name: prod.example.org/images/{project}\n"
            ),
        );
        let rows = format!("- name: app\n  dmap: {{\"{}\": [v1]}}\n", digest_of(image));
        write(&tree.join(format!("images/{project}/images.yaml")), rows);
    }
    let staging = rule("staging.example.org", registry.url.clone());
    let mut coordinator = Running::start(folders.config(vec![staging])).await;
    coordinator
        .apply(&tree, v1::PlanOptions::default())
        .await
        .unwrap();
    let planned = coordinator.plan(&tree, v1::PlanOptions::default()).await;
    assert_eq!(coordinator.promote(&planned).await.done.copied, 2);
    coordinator.token = Some(token(&coordinator, "promote:a").await);
    let mut client = coordinator.promotion();
    let layer = Digest::of(base).to_string();
    for choice in 0..32_u8 {
        let is = |bit: u8| choice & (1 << bit) != 0;
        let request = v1::WithdrawRequest {
            what: layer.clone(),
            reason: "r".into(),
            dry_run: false,
            with_parents: is(0),
            with_other_names: is(1),
            keep_shared: is(2),
            leave_parents: is(3),
            drop_names: is(4),
        };
        let answer = client.withdraw(request).await;
        let revision = answer.map_or(0, |answer| answer.into_inner().revision);
        assert_eq!(revision, 0, "{choice:05b}");
        let path = "/origin/v2/b/app/manifests/v1";
        assert_eq!(coordinator.get(path).await.0, 200);
        let blob = format!("/origin/v2/b/app/blobs/{layer}");
        assert_eq!(coordinator.get(&blob).await.0, 200);
    }
    coordinator.stop().await;
    registry.stop().await;
}
