//! How far somebody with a token can get: not beyond the token's project.

use std::path::Path;

use landfall_catalog::Digest;
use landfall_proto::v1::{self, tokens_client::TokensClient};
use tonic::Code;

use super::running::{Folders, Running, rule, write};

/// Manifests of files of one project, in a root of their own.
pub(super) fn manifests(tree: &Path, root: &str, project: &str, to: &str, files: &[(&str, &[u8])]) {
    let root = tree.join(root);
    write(
        &root.join(format!("filestores/{project}/filepromoter-manifest.yaml")),
        format!(
            "filestores:\n- base: gs://staging/{project}\n  src: true\n- base: gs://prod/binaries/{to}\n  service-account: a@example.org\n"
        ),
    );
    let mut list = String::from("files:\n");
    for (name, content) in files {
        let digest = Digest::of(content).to_hex();
        list += &format!("- name: {name}\n  sha256: {digest}\n");
    }
    write(&root.join(format!("manifests/{project}/files.yaml")), list);
}

pub(super) fn everything() -> v1::PlanOptions {
    v1::PlanOptions {
        prune: true,
        allow_tag_moves: true,
        allow_mass_change: true,
        ..v1::PlanOptions::default()
    }
}

/// `a`, `b` and `a-nested` are registered; `a` and `b` have a file of their own
/// and one that is the same.
pub(super) async fn world(folders: &Folders) -> Running {
    let staging = folders.path("staging");
    for (path, content) in [
        ("a/own", "of a"),
        ("a/shared", "shared"),
        ("a/nested/x", "x"),
        ("b/own", "of b"),
        ("b/shared", "shared"),
        ("b/new", "new of b"),
        ("c/own", "of c"),
        ("a/new", "new of a"),
    ] {
        write(&staging.join(path), content);
    }
    let tree = folders.path("all");
    manifests(
        &tree,
        "1",
        "a",
        "a",
        &[("own", b"of a"), ("shared", b"shared")],
    );
    manifests(
        &tree,
        "1",
        "b",
        "b",
        &[("own", b"of b"), ("shared", b"shared")],
    );
    manifests(&tree, "1", "a-nested", "a/nested", &[]);
    let endpoint = format!("file://{}", staging.display());
    let config = folders.config(vec![rule("gs://staging", endpoint)]);
    let coordinator = Running::start(config).await;
    let applied = coordinator.apply(&tree, v1::PlanOptions::default()).await;
    assert_eq!(applied.unwrap().len(), 3);
    let planned = coordinator.plan(&tree, v1::PlanOptions::default()).await;
    let ended = coordinator.promote(&planned).await;
    assert_eq!(
        (ended.done.revision, ended.done.copied),
        (1, 4),
        "{ended:?}"
    );
    coordinator
}

/// A token for these roles, with blanks between.
pub(super) async fn token(coordinator: &Running, roles: &str) -> String {
    let request = v1::CreateTokenRequest {
        name: String::new(),
        roles: roles.split(' ').map(str::to_owned).collect(),
        ttl_seconds: 0,
    };
    let mut tokens = TokensClient::new(coordinator.channel.clone());
    tokens.create(request).await.unwrap().into_inner().token
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_manifest_leads_a_token_out_of_its_project() {
    let folders = Folders::new();
    let mut coordinator = world(&folders).await;
    coordinator.token = Some(token(&coordinator, "promote:a").await);
    let own: (&str, &[u8]) = ("own", b"of a");
    type Files<'a> = &'a [(&'a str, &'a [u8])];
    // What the tree holds beside `a` as it is registered: root, project, destination, files.
    let attempts: [(&str, &str, &str, &str, Files); 8] = [
        (
            "the other project's manifests",
            "2",
            "b",
            "b",
            &[("own", b"new of b"), ("new", b"new of b")],
        ),
        (
            "the other project with nothing, to prune it",
            "2",
            "b",
            "b",
            &[],
        ),
        (
            "its own name with the other's destination",
            "1",
            "a",
            "b",
            &[("new", b"new of a")],
        ),
        (
            "a new project with the other's destination",
            "2",
            "c",
            "b",
            &[("own", b"of c")],
        ),
        (
            "a new project above everybody",
            "2",
            "c",
            "",
            &[("b/own", b"of c")],
        ),
        (
            "a new project below the other",
            "2",
            "c",
            "b/c",
            &[("own", b"of c")],
        ),
        (
            "the other project under its own destination",
            "2",
            "b",
            "a",
            &[("new", b"new of b")],
        ),
        (
            "a project nested in its own",
            "2",
            "a-nested",
            "a/nested",
            &[("x", b"x")],
        ),
    ];
    for (number, (what, root, project, to, files)) in attempts.into_iter().enumerate() {
        let tree = folders.path(&format!("attempt-{number}"));
        manifests(&tree, "1", "a", "a", &[own, ("shared", b"shared")]);
        manifests(&tree, root, project, to, files);
        let planned = coordinator.plan(&tree, everything()).await;
        let summary = planned.summary();
        assert_eq!(
            (summary.set, summary.removed),
            (0, 0),
            "{what}: {planned:?}"
        );
        assert_eq!(summary.refused, files.len() as u64, "{what}: {planned:?}");
        let ended = coordinator.promote(&planned).await;
        assert_eq!(ended.done.revision, 0, "{what}: {ended:?}");
    }
    for (number, files) in [
        &[own, ("shared", b"shared"), ("nested/x", b"x" as &[u8])][..],
        &[own, ("shared", b"shared"), ("../b/new", b"new of b")],
        &[own, ("shared", b"shared"), ("/b/new", b"new of b")],
    ]
    .into_iter()
    .enumerate()
    {
        let tree = folders.path(&format!("name-{number}"));
        manifests(&tree, "1", "a", "a", files);
        let planned = coordinator.plan(&tree, everything()).await;
        assert_eq!(planned.summary().set, 0, "{files:?}: {planned:?}");
        let ended = coordinator.promote(&planned).await;
        assert_eq!(ended.done.revision, 0, "{files:?}: {ended:?}");
    }
    // What is its own, it may: promote and prune.
    let tree = folders.path("own");
    manifests(&tree, "1", "a", "a", &[own, ("new", b"new of a")]);
    let planned = coordinator.plan(&tree, everything()).await;
    let ended = coordinator.promote(&planned).await;
    let done = &ended.done;
    assert_eq!(
        (done.revision, done.copied, done.removed),
        (2, 1, 1),
        "{ended:?}"
    );
    for (path, status) in [
        ("a/own", 200),
        ("a/new", 200),
        ("a/shared", 404),
        ("b/own", 200),
        ("b/shared", 200),
    ] {
        let found = coordinator.get(&format!("/origin/binaries/{path}")).await.0;
        assert_eq!(found, status, "{path}");
    }
    let operations = v1::ListOperationsRequest {
        limit: 1,
        ..v1::ListOperationsRequest::default()
    };
    let newest = coordinator.promotion().list(operations).await.unwrap();
    assert!(newest.into_inner().operations[0].who.starts_with("token "));
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_is_judged_again_when_it_is_executed() {
    let folders = Folders::new();
    let mut coordinator = world(&folders).await;
    let holder = token(&coordinator, "promote:a").await;
    // An administrator's plan for the other project, executed by its digest.
    let tree = folders.path("b");
    manifests(
        &tree,
        "1",
        "b",
        "b",
        &[("new", b"new of b"), ("shared", b"shared")],
    );
    let planned = coordinator.plan(&tree, everything()).await;
    assert_eq!((planned.summary().set, planned.summary().removed), (1, 1));
    coordinator.token = Some(holder.clone());
    let ended = coordinator.promote(&planned).await;
    assert_eq!(
        (ended.done.revision, ended.done.refused),
        (0, 2),
        "{ended:?}"
    );

    // The registered half changes between plan and execution.
    let tree = folders.path("a");
    manifests(&tree, "1", "a", "a", &[("new", b"new of a")]);
    let planned = coordinator.plan(&tree, v1::PlanOptions::default()).await;
    assert_eq!(planned.summary().set, 1);
    coordinator.token = None;
    manifests(&tree, "1", "a", "elsewhere", &[]);
    let applied = coordinator
        .apply(&tree, v1::PlanOptions::default())
        .await
        .unwrap();
    assert_eq!((applied[0].change.as_str(), applied.len()), ("changed", 1));
    coordinator.token = Some(holder);
    let ended = coordinator.promote(&planned).await;
    assert_eq!(
        (ended.done.revision, ended.done.refused),
        (0, 1),
        "{ended:?}"
    );
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_withdraws_nothing_that_is_also_anothers_and_manages_nothing() {
    let folders = Folders::new();
    let mut coordinator = world(&folders).await;
    coordinator.token = Some(token(&coordinator, "promote:a").await);
    let withdraw = |what: &str, dry_run| v1::WithdrawRequest {
        what: what.into(),
        reason: "r".into(),
        dry_run,
        with_parents: true,
        ..v1::WithdrawRequest::default()
    };
    let mut client = coordinator.promotion();
    let shared = Digest::of(b"shared").to_string();
    let others = Digest::of(b"of b").to_string();
    for what in [
        "binaries/b/own",
        "binaries/b/",
        "binaries/",
        "binaries/a/shared",
        &shared,
        &others,
    ] {
        for dry_run in [true, false] {
            let refused = client.withdraw(withdraw(what, dry_run)).await.unwrap_err();
            assert_eq!(refused.code(), Code::PermissionDenied, "{what}: {refused}");
        }
    }
    let own = withdraw("binaries/a/own", false);
    assert_eq!(client.withdraw(own).await.unwrap().into_inner().revision, 2);
    let reinstate = v1::ReinstateRequest {
        what: "binaries/a/own".into(),
        reason: "r".into(),
        dry_run: false,
    };
    let refused = client.reinstate(reinstate).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let refused = coordinator
        .apply(&folders.path("all"), v1::PlanOptions::default())
        .await;
    assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
    let mut tokens = TokensClient::new(coordinator.as_holder());
    let create = v1::CreateTokenRequest {
        name: String::new(),
        roles: vec!["admin".into()],
        ttl_seconds: 0,
    };
    assert_eq!(
        tokens.create(create).await.unwrap_err().code(),
        Code::PermissionDenied
    );
    let list = tokens
        .list(v1::ListTokensRequest::default())
        .await
        .unwrap_err();
    assert_eq!(list.code(), Code::PermissionDenied);

    // A token that may only look, and one that is none.
    coordinator.token = None;
    let view = token(&coordinator, "view").await;
    for (token, code) in [
        (view.as_str(), Code::PermissionDenied),
        ("lft_x_y", Code::Unauthenticated),
    ] {
        coordinator.token = Some(token.to_owned());
        let refused = coordinator
            .promotion()
            .withdraw(withdraw("binaries/a/", true))
            .await;
        assert_eq!(refused.unwrap_err().code(), code);
    }
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registering_is_all_or_nothing_and_says_what_changes() {
    let folders = Folders::new();
    let coordinator = world(&folders).await;
    let tree = folders.path("changed");
    manifests(&tree, "1", "a", "a", &[]);
    manifests(&tree, "1", "b", "moved", &[]);
    manifests(&tree, "1", "c", "c", &[]);
    let dry = v1::PlanOptions {
        dry_run: true,
        ..v1::PlanOptions::default()
    };
    for options in [dry, dry, v1::PlanOptions::default()] {
        let applied = coordinator.apply(&tree, options).await.unwrap();
        let changes: Vec<_> = applied
            .iter()
            .map(|one| (one.project.as_str(), one.kind.as_str(), one.change.as_str()))
            .collect();
        let expected = [
            ("a", "files", "same"),
            ("b", "files", "changed"),
            ("c", "files", "new"),
        ];
        assert_eq!(changes, expected);
        assert_eq!(applied[1].destinations_before, ["gs://prod/binaries/b"]);
    }
    manifests(&tree, "2", "c", "other", &[]);
    let refused = coordinator.apply(&tree, v1::PlanOptions::default()).await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
    write(
        &tree.join("2/filestores/c/filepromoter-manifest.yaml"),
        "filestores: nothing\n",
    );
    let refused = coordinator.apply(&tree, v1::PlanOptions::default()).await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
    coordinator.stop().await;
}
