//! The jobs after a merge that `deploy/ci` has ready: what they run promotes what
//! was merged, says what it could not, and does nothing twice.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use crate::support::{
    cluster::{Cluster, Setup},
    finish, git, stdout,
};

fn ci() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/ci")
}

/// The line of a definition after `key`, as it is written.
fn after(definition: &str, key: &str) -> String {
    let file = fs::read_to_string(ci().join(definition)).unwrap();
    let line = file
        .lines()
        .find_map(|line| line.trim().trim_start_matches("- ").strip_prefix(key));
    let line = line.unwrap_or_else(|| panic!("no {key} in {definition}"));
    line.trim().to_owned()
}

/// What the definitions of a job run.
fn commands(job: &str) -> [String; 2] {
    let unlisted = |list: String| list.trim_matches(['[', ']']).replace(", ", " ");
    let prow = format!("prow-{job}.yaml");
    let prow = ["command:", "args:"].map(|key| unlisted(after(&prow, key)));
    [after(&format!("github-{job}.yaml"), "run:"), prow.join(" ")]
}

fn commit(dir: &Path, subject: &str) -> String {
    git(dir, &["add", "."]);
    git(dir, &["commit", "-q", "-m", subject]);
    git(dir, &["rev-parse", "HEAD"])
}

#[test]
fn what_is_merged_is_promoted_and_a_second_run_does_nothing() {
    let mut cluster = Cluster::start(Setup {
        mirrors: Some(0),
        ..Setup::default()
    });
    let checkout = cluster.manifests.dir.clone();
    // As the definitions say where the script is to be.
    let [github, prow] = commands("post-merge");
    assert_eq!(
        (github.as_str(), prow.as_str()),
        (".github/post-merge .", "post-merge .")
    );
    git(&checkout, &["init", "-q", "-b", "main"]);
    fs::create_dir(checkout.join(".github")).unwrap();
    fs::copy(ci().join("post-merge"), checkout.join(".github/post-merge")).unwrap();
    let program = PathBuf::from(env!("CARGO_BIN_EXE_landfall"));
    let path = format!(
        "{}:{}:{}",
        program.parent().unwrap().display(),
        ci().display(),
        std::env::var("PATH").unwrap()
    );
    let coordinator = cluster.grpc.clone();
    let run = |command: &str| -> Output {
        finish(
            Command::new("sh")
                .args(["-c", command])
                .current_dir(&checkout)
                .env("PATH", &path)
                .env("LANDFALL_COORDINATOR", &coordinator)
                .env_remove("LANDFALL_TOKEN"),
        )
    };
    let said = |output: &Output| String::from_utf8_lossy(&output.stdout).trim().to_owned();

    for (number, command) in [&github, &prow].into_iter().enumerate() {
        cluster.stage_file(&format!("release-{number}"), &[number as u8; 100]);
        let head = commit(&checkout, &format!("release {number}"));
        let output = run(command);
        assert_eq!(output.status.code(), Some(0), "{command}: {output:?}");
        assert!(said(&output).contains("1 copied"), "{output:?}");
        let history = stdout(&mut cluster.command(&["history", "--json", "--limit", "1"]));
        assert!(history.contains(&head), "{history}");
        assert!(
            history.contains(&format!("merged: release {number}")),
            "{history}"
        );
    }
    for command in [&github, &prow] {
        let output = run(command);
        assert_eq!(said(&output), "nothing to do: 2 present", "{output:?}");
    }

    // Now and then for what came later; of one project; with whatever else.
    let [github_later, prow_later] = commands("periodic");
    let options = "--recheck --recheck-within 30d";
    assert_eq!(github_later, format!("{github} {options}"));
    assert_eq!(prow_later, format!("{prow} {options}"));
    for command in [
        &github_later,
        &prow_later,
        &format!("{github} --project k8s-staging-test --gate 80%"),
    ] {
        let output = run(command);
        assert_eq!(output.status.code(), Some(0), "{command}: {output:?}");
        assert_eq!(said(&output), "nothing to do: 2 present", "{output:?}");
    }
    let output = run(&format!("{github} --project nobody"));
    assert_ne!(output.status.code(), Some(0), "{output:?}");

    let missing = cluster.stage_file("missing", b"missing");
    fs::remove_file(cluster.staging().join("missing")).unwrap();
    commit(&checkout, &missing);
    let output = run(&github);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("lost: binaries/test/missing"), "{told}");
}
