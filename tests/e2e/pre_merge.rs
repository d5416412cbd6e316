//! The checks before a merge that `deploy/ci` has ready: what they run does pass
//! a good change and stop a bad one.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::support::{
    content::{Manifests, PROJECT},
    finish, git,
};

fn definition(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy/ci")
        .join(name);
    fs::read_to_string(file).unwrap()
}

/// The line of a definition after `key`, as a shell would run it.
fn after<'a>(definition: &'a str, key: &str) -> &'a str {
    let line = definition
        .lines()
        .find_map(|line| line.trim().strip_prefix(key));
    line.unwrap_or_else(|| panic!("no {key} in {definition}"))
        .trim()
}

/// What each definition runs, with the commit that its variable stands for.
fn commands() -> Vec<String> {
    let github = definition("github-pre-merge.yaml");
    let step = after(&github, "run: landfall");
    let prow = definition("prow-pre-merge.yaml");
    assert_eq!(after(&prow, "command:"), "[landfall]");
    let arguments = after(&prow, "args:")
        .trim_matches(['[', ']'])
        .replace(", ", " ");
    vec![
        format!("landfall {step}"),
        format!(
            "landfall {}",
            arguments.replace("$(PULL_BASE_SHA)", "\"$PULL_BASE_SHA\"")
        ),
    ]
}

#[test]
fn a_good_change_passes_and_neither_a_moved_name_nor_both_halves_do() {
    let checkout = TempDir::new().unwrap();
    let top = checkout.path();
    let git = |arguments: &[&str]| git(top, arguments);
    let mut manifests = Manifests::new(top);
    let owners = top.join(format!("registry.k8s.io/images/{PROJECT}/OWNERS"));
    fs::write(owners, "approvers: [release-team]\n").unwrap();
    git(&["init", "-q", "-b", "main"]);
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "base"]);
    // What a fetch of the base leaves behind.
    git(&["update-ref", "refs/remotes/origin/main", "HEAD"]);
    let program = PathBuf::from(env!("CARGO_BIN_EXE_landfall"));
    let path = format!(
        "{}:{}",
        program.parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    let run = |command: &str| {
        finish(
            Command::new("sh")
                .args(["-c", command])
                .current_dir(top)
                .env("PATH", &path)
                .env("GITHUB_BASE_REF", "main")
                .env("PULL_BASE_SHA", "refs/remotes/origin/main"),
        )
    };
    manifests.image(
        "app",
        &landfall_catalog::Digest::of(b"app").to_string(),
        "v1",
    );
    git(&["commit", "-q", "-a", "-m", "a release"]);
    for command in commands() {
        let output = run(&command);
        assert!(output.status.success(), "{command}: {output:?}");
    }
    // What production would refuse at every promotion from then on.
    git(&["update-ref", "refs/remotes/origin/main", "HEAD"]);
    let images = top.join(format!("registry.k8s.io/images/{PROJECT}/images.yaml"));
    let text = fs::read_to_string(&images).unwrap();
    let other = landfall_catalog::Digest::of(b"other").to_string();
    let app = landfall_catalog::Digest::of(b"app").to_string();
    fs::write(&images, text.replace(&app, &other)).unwrap();
    for command in commands() {
        let output = run(&command);
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{command}");
        assert!(said.contains("error[moved-name]"), "{said}");
    }
    fs::write(&images, "[]\n").unwrap();
    for command in commands() {
        let output = run(&command);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{command}: {output:?}");
        assert!(said.contains("note[unlisted-names]"), "{said}");
    }
    fs::write(&images, text).unwrap();
    git(&["update-ref", "refs/remotes/origin/main", "HEAD~1"]);
    let registries = top.join(format!(
        "registry.k8s.io/manifests/{PROJECT}/promoter-manifest.yaml"
    ));
    let text = fs::read_to_string(&registries).unwrap() + "- name: evil.example/prod\n";
    fs::write(registries, text).unwrap();
    git(&["commit", "-q", "-a", "-m", "and more"]);
    for command in commands() {
        let output = run(&command);
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{command}");
        assert!(said.contains("error[mixed-halves]"), "{said}");
    }
    let findings = fs::read_to_string(top.join("findings.sarif")).unwrap();
    assert!(findings.contains("mixed-halves"), "{findings}");
}
