//! Whose content may have a name without being staged: the project's own.

use std::path::Path;

use landfall_catalog::Digest;
use landfall_proto::v1;
use serde_json::Value;
use tonic::Code;

use super::reach::token;
use super::registry::{TestRegistry, digest_of};
use super::running::{Folders, Planned, Running, rule, write};

/// The sensitive halves of one project: images and files.
fn register(tree: &Path, project: &str) {
    write(
        &tree.join(format!("r/manifests/{project}/promoter-manifest.yaml")),
        format!(
            "registries:\n- {{name: staging.example.org/{project}, src: true}}\n- name: prod.example.org/images/{project}\n"
        ),
    );
    write(
        &tree.join(format!("f/filestores/{project}/filepromoter-manifest.yaml")),
        format!(
            "filestores:\n- {{base: gs://staging/{project}, src: true}}\n- base: gs://prod/binaries/{project}\n"
        ),
    );
}

fn images(tree: &Path, project: &str, tags: &[(&Digest, &str)]) {
    register(tree, project);
    let mut list = String::from("- name: app\n  dmap:\n");
    for (digest, tag) in tags {
        list += &format!("    \"{digest}\": [\"{tag}\"]\n");
    }
    write(&tree.join(format!("r/images/{project}/images.yaml")), list);
}

fn files(tree: &Path, project: &str, files: &[(&Digest, &str)]) {
    register(tree, project);
    let mut list = String::from("files:\n");
    for (digest, name) in files {
        list += &format!("- name: {name}\n  sha256: {}\n", digest.to_hex());
    }
    write(
        &tree.join(format!("f/manifests/{project}/files.yaml")),
        list,
    );
}

/// Two projects in production, each with an index of two platforms and a file.
struct World {
    folders: Folders,
    registry: TestRegistry,
    coordinator: Running,
    /// By project: index, platform, file.
    index: [Value; 2],
    platform: [Value; 2],
    file: [Digest; 2],
}

const PROJECTS: [&str; 2] = ["a", "b"];

async fn world() -> World {
    let folders = Folders::new();
    let (tree, staging) = (folders.path("tree"), folders.path("staging"));
    let registry = TestRegistry::start().await;
    let platform = PROJECTS.map(|project| registry.image(&[b"base", project.as_bytes()]));
    let other = registry.image(&[b"base", b"arm64"]);
    let index = [0, 1].map(|of| registry.index(&[&platform[of], &other]));
    let file = PROJECTS.map(|project| Digest::of(project.as_bytes()));
    for (of, project) in PROJECTS.into_iter().enumerate() {
        registry.name(&format!("{project}/app"), Some("v1"), &index[of]);
        write(&staging.join(project).join("own"), project);
        images(&tree, project, &[(&digest_of(&index[of]), "v1")]);
        files(&tree, project, &[(&file[of], "own")]);
    }
    let rules = vec![
        rule("staging.example.org", registry.url.clone()),
        rule("gs://staging", format!("file://{}", staging.display())),
    ];
    let coordinator = Running::start(folders.config(rules)).await;
    let planned = coordinator.plan(&tree, v1::PlanOptions::default()).await;
    let ended = coordinator.promote(&planned).await;
    assert_eq!(
        (ended.done.revision, ended.done.copied),
        (1, 4),
        "{ended:?}"
    );
    World {
        folders,
        registry,
        coordinator,
        index,
        platform,
        file,
    }
}

impl World {
    async fn plan(&self, tree: &Path) -> Planned {
        self.coordinator
            .plan(tree, v1::PlanOptions::default())
            .await
    }

    async fn stop(self) {
        self.coordinator.stop().await;
        self.registry.stop().await;
    }
}

fn state<'a>(planned: &'a Planned, name: &str) -> &'a str {
    let mut states = planned.states().into_iter();
    let found = states.find(|(seen, _)| *seen == name);
    found.unwrap_or_else(|| panic!("{name}: {planned:?}")).1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_have_in_production_is_lost_to_whose_staging_lacks_it() {
    let world = world().await;
    let staging = world.folders.path("staging");
    let [index, platform] = [&world.index, &world.platform].map(|of| digest_of(&of[0]));
    let (theirs, own_index) = (world.file[0], digest_of(&world.index[1]));
    // As long as the other project's file, and something else.
    write(&staging.join("b/as-long"), "B");
    type Lists = fn(&Path, &str, &[(&Digest, &str)]);
    let attempts: [(&str, &str, Lists, Digest, &str, &str); 9] = [
        ("another's image", "b", images, index, "v2", "lost"),
        ("a platform of it", "b", images, platform, "v2", "lost"),
        (
            "another's file as an image",
            "b",
            images,
            theirs,
            "v2",
            "lost",
        ),
        (
            "its own file as an image",
            "b",
            images,
            world.file[1],
            "v2",
            "lost",
        ),
        ("another's file", "b", files, theirs, "new", "lost"),
        (
            "another's image as a file",
            "b",
            files,
            index,
            "new",
            "lost",
        ),
        (
            "its own image as a file",
            "b",
            files,
            own_index,
            "new",
            "lost",
        ),
        ("without any staging", "c", images, index, "v2", "lost"),
        (
            "other bytes as long",
            "b",
            files,
            theirs,
            "as-long",
            "refused",
        ),
    ];
    for (number, (what, project, list, digest, name, expected)) in attempts.into_iter().enumerate()
    {
        let tree = world.folders.path(&format!("attempt-{number}"));
        list(&tree, project, &[(&digest, name)]);
        let planned = world.plan(&tree).await;
        let ended = world.coordinator.promote(&planned).await;
        let outcomes: Vec<_> = ended.outcomes.iter().map(|outcome| &outcome.1).collect();
        assert_eq!(outcomes, [expected], "{what}: {planned:?} {ended:?}");
        assert_eq!(ended.done.revision, 0, "{what}: {ended:?}");
    }
    assert_eq!(world.coordinator.status().await["names"], 4);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_project_names_its_own_again_though_staging_is_empty() {
    let world = world().await;
    for project in PROJECTS {
        world.registry.forget(&format!("{project}/app"), "v1");
    }
    std::fs::remove_dir_all(world.folders.path("staging")).unwrap();
    let tree = world.folders.path("again");
    let (index, platform) = (digest_of(&world.index[1]), digest_of(&world.platform[1]));
    images(
        &tree,
        "b",
        &[
            (&index, "v1\", \"v1.0\", \"latest"),
            (&platform, "v1-amd64"),
        ],
    );
    files(
        &tree,
        "b",
        &[(&world.file[1], "own"), (&world.file[1], "latest")],
    );
    // The other project asks for the same in the same plan.
    images(&tree, "a", &[(&index, "v1.0")]);
    files(&tree, "a", &[(&world.file[1], "latest")]);
    let planned = world.plan(&tree).await;
    for (name, expected) in [
        ("b/app:v1.0", "present"),
        ("b/app:latest", "present"),
        ("b/app:v1-amd64", "present"),
        ("binaries/b/latest", "present"),
        ("a/app:v1.0", "lost"),
        ("binaries/a/latest", "lost"),
    ] {
        assert_eq!(state(&planned, name), expected, "{name}: {planned:?}");
    }
    let done = world.coordinator.promote(&planned).await.done;
    assert_eq!((done.revision, done.copied, done.lost), (2, 0, 2));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_the_origin_had_before_is_taken_over_if_it_is_what_is_listed() {
    let folders = Folders::new();
    let (tree, staging) = (folders.path("tree"), folders.path("staging"));
    std::fs::create_dir_all(&staging).unwrap();
    let published = folders.path("origin").join("binaries/a");
    write(&published.join("old"), b"as listed");
    write(&published.join("lie"), b"as public");
    let listed = Digest::of(b"as listed");
    files(
        &tree,
        "a",
        &[(&listed, "old"), (&listed, "lie"), (&listed, "gone")],
    );
    let rules = vec![rule(
        "gs://staging",
        format!("file://{}", staging.display()),
    )];
    let coordinator = Running::start(folders.config(rules)).await;
    let planned = coordinator.plan(&tree, v1::PlanOptions::default()).await;
    let ended = coordinator.promote(&planned).await;
    for (name, expected) in [("old", "copied"), ("lie", "refused"), ("gone", "lost")] {
        let name = format!("binaries/a/{name}");
        assert_eq!(ended.outcome(&name), expected, "{name}: {ended:?}");
    }
    let served = coordinator.get("/origin/binaries/a/old").await;
    assert_eq!((served.0, &served.1[..]), (200, &b"as listed"[..]));
    assert_eq!(std::fs::read(published.join("lie")).unwrap(), b"as public");
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_staging_has_is_named_whoever_published_it_before() {
    let world = world().await;
    let (index, file) = (digest_of(&world.index[0]), world.file[0]);
    world.registry.name("b/app", Some("any"), &world.index[0]);
    write(&world.folders.path("staging/b/same"), "a");
    // An OCI manifest is a file where staging has it as one.
    let document = world.registry.read(&world.index[0]);
    write(&world.folders.path("staging/b/index.yaml.json"), document);
    let tree = world.folders.path("same");
    images(&tree, "b", &[(&index, "v2")]);
    files(&tree, "b", &[(&file, "same"), (&index, "index.yaml.json")]);
    let planned = world.plan(&tree).await;
    let done = world.coordinator.promote(&planned).await.done;
    assert_eq!(
        (done.revision, done.present, done.copied),
        (2, 3, 0),
        "{planned:?}"
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_project_takes_its_own_name_away_though_another_names_the_same() {
    let mut world = world().await;
    let index = digest_of(&world.index[0]);
    world.registry.name("b/app", Some("any"), &world.index[0]);
    let tree = world.folders.path("same");
    images(&tree, "b", &[(&index, "v2")]);
    let planned = world.plan(&tree).await;
    assert_eq!(world.coordinator.promote(&planned).await.done.revision, 2);

    world.coordinator.token = Some(token(&world.coordinator, "promote:a").await);
    let mut client = world.coordinator.promotion();
    let withdraw = |what: &str, with_other_names, keep_shared, drop_names| v1::WithdrawRequest {
        what: what.into(),
        reason: "leaked".into(),
        with_other_names,
        keep_shared,
        drop_names,
        ..v1::WithdrawRequest::default()
    };
    for (what, with_other_names, drop_names) in [
        ("a/app:v1", false, false),
        ("a/app:v1", true, false),
        // Nor the other's name, nor the content under both.
        ("b/app:v2", false, true),
        (&index.to_string(), false, true),
    ] {
        let request = withdraw(what, with_other_names, false, drop_names);
        let refused = client.withdraw(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{what}: {refused}");
    }
    let kept = client.withdraw(withdraw("a/app:v1", false, true, false));
    assert_eq!(kept.await.unwrap().into_inner().revision, 0);
    let dropped = client.withdraw(withdraw("a/app:v1", false, false, true));
    let dropped = dropped.await.unwrap().into_inner();
    assert_eq!((dropped.revision, dropped.object_count), (3, 0));
    assert_eq!(dropped.dropped, ["a/app:v1"]);
    for (path, status) in [("a/app/manifests/v1", 404), ("b/app/manifests/v2", 200)] {
        let path = format!("/origin/v2/{path}");
        assert_eq!(world.coordinator.get(&path).await.0, status, "{path}");
    }

    // Nothing that nobody confirms sets it again; a person does.
    let tree = world.folders.path("listed");
    images(&tree, "a", &[(&index, "v1")]);
    for (unattended, expected) in [(true, "held"), (false, "present")] {
        let options = v1::PlanOptions {
            unattended,
            ..v1::PlanOptions::default()
        };
        let planned = world.coordinator.plan(&tree, options).await;
        assert_eq!(state(&planned, "a/app:v1"), expected, "{planned:?}");
    }
    world.stop().await;
}
