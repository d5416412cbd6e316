//! What somebody reads before confirming a plan, and what they are told to run.

use std::{env, path::Path, process::Command};

use serde_json::Value;

use crate::support::{
    cluster::{Cluster, Setup},
    finish, stdout,
};

#[test]
fn a_plan_names_what_it_sets_and_moves_and_how_to_confirm_it() {
    let mut cluster = Cluster::start(Setup {
        mirrors: Some(0),
        ..Setup::default()
    });
    let before = cluster.stage_file("app", b"version one");
    cluster.stage_file("untouched", b"untouched");
    assert_eq!(cluster.promote()["copied"], 2);
    cluster.manifests.without_file("app");
    let after = cluster.stage_file("app", b"version two");
    cluster.stage_file("new", b"new");

    let manifests = cluster.manifests.dir.clone();
    let command = |verb: &str| {
        let mut command = cluster.command(&[verb, "--allow-tag-moves"]);
        command.arg(&manifests);
        command
    };
    let text = stdout(&mut command("promote"));
    let short = |digest: &str| digest[..19].to_owned();
    let moved = format!(
        "move: binaries/test/app: {} -> {}",
        short(&before),
        short(&after)
    );
    assert!(text.contains(&moved), "{text}");
    assert!(text.contains("set: binaries/test/new: sha256:"), "{text}");
    assert!(!text.contains("untouched"), "{text}");

    let plan: Value = serde_json::from_str(&stdout(command("plan").arg("--json"))).unwrap();
    let changes = plan["changes"].as_array().unwrap();
    let app = changes.iter().find(|it| it["name"] == "binaries/test/app");
    let app = app.unwrap_or_else(|| panic!("{plan}"));
    assert_eq!(
        (&app["digest"], &app["replaces"]),
        (&after.as_str().into(), &before.as_str().into())
    );
    assert_eq!((&plan["lost"], &plan["failed"]), (&0.into(), &0.into()));

    // What is printed is run as it is, by a shell.
    let printed = text.lines().last().unwrap().trim();
    assert!(printed.starts_with("landfall promote"), "{text}");
    let landfall = Path::new(env!("CARGO_BIN_EXE_landfall")).parent().unwrap();
    let path = format!("{}:{}", landfall.display(), env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    shell.args(["-c", printed]).env("PATH", path);
    shell.env_remove("LANDFALL_COORDINATOR");
    let done = finish(&mut shell);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    assert_eq!(cluster.status()["revision"], 2);

    let wrong = finish(command("promote").arg("--confirm=sha256:12"));
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
    let nobody = finish(command("promote").args(["--project", "nobody"]));
    assert_eq!(nobody.status.code(), Some(2), "{nobody:?}");
}

#[test]
fn what_is_lost_shows_before_it_is_confirmed() {
    let mut cluster = Cluster::start(Setup {
        mirrors: Some(0),
        ..Setup::default()
    });
    cluster.stage_file("here", b"here");
    cluster.stage_file("gone", b"gone");
    std::fs::remove_file(cluster.staging().join("gone")).unwrap();
    let output = finish(
        cluster
            .command(&["plan", "--json"])
            .arg(&cluster.manifests.dir),
    );
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&plan["lost"], &plan["set"]),
        (&1.into(), &1.into()),
        "{plan}"
    );
    let changes = plan["changes"].as_array().unwrap();
    let gone = changes.iter().find(|it| it["state"] == "lost").unwrap();
    assert_eq!(gone["name"], "binaries/test/gone");
    assert!(
        gone["detail"].as_str().unwrap().contains("staging/gone"),
        "{gone}"
    );

    // Executed, it is told once.
    let done = finish(
        cluster
            .command(&["promote", "--confirm"])
            .arg(&cluster.manifests.dir),
    );
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    let told =
        String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert_eq!(
        told.matches("lost: binaries/test/gone").count(),
        1,
        "{told}"
    );
}
