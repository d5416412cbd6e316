//! `landfall manifest generate`: what a release manager adds to the manifests,
//! from a folder and from a real registry.

use std::{fs, path::Path, process::Command};

use tempfile::TempDir;

use crate::support::{
    content::{Layout, Manifests, PROJECT},
    finish, ok,
    peers::Registry,
    process::landfall,
    sha256sum, stdout,
};

fn generate(arguments: &[&str]) -> Command {
    let mut command = landfall();
    command.args(["manifest", "generate"]).args(arguments);
    command
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_folder_becomes_a_list_of_files_that_validates() {
    let dir = TempDir::new().unwrap();
    let release = dir.path().join("release");
    for path in ["v1.1/linux/tool", "v1.1/tool.txt", "v1.0/tool"] {
        let file = release.join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, path).unwrap();
    }
    let sha = |path: &str| sha256sum(&release.join(path)).replace("sha256:", "");
    let printed = stdout(&mut generate(&[
        "files",
        text(&release),
        "--prefix",
        "v1.1/",
    ]));
    let expected = format!(
        "files:\n- name: v1.1/linux/tool\n  sha256: {}\n- name: v1.1/tool.txt\n  sha256: {}",
        sha("v1.1/linux/tool"),
        sha("v1.1/tool.txt")
    );
    assert_eq!(printed, expected);

    let tree = dir.path().join("tree");
    let manifests = Manifests::new(&tree);
    let list = manifests
        .dir
        .join(format!("artifacts/manifests/{PROJECT}/files.yaml"));
    let old = format!(
        "# Ours.\nfiles:\n- name: v1.1/linux/tool\n  # built twice\n  sha256: '{}'\n",
        sha("v1.1/linux/tool")
    );
    fs::write(&list, &old).unwrap();
    let said = stdout(&mut generate(&[
        "files",
        text(&release),
        "--into",
        text(&list),
    ]));
    assert!(said.ends_with("2 added, 1 were there"), "{said}");
    let merged = fs::read_to_string(&list).unwrap();
    let (kept, added) = (old.lines(), ["v1.0/tool", "v1.1/tool.txt"]);
    for line in kept {
        assert!(
            merged.lines().any(|other| other == line),
            "{line:?} is gone from {merged}"
        );
    }
    for path in added {
        assert!(
            merged.contains(&format!("- name: {path}\n  sha256: {}\n", sha(path))),
            "{merged}"
        );
    }
    ok(landfall().args(["validate"]).arg(&tree));

    // Again there is nothing to do; and another content is never written over.
    ok(&mut generate(&[
        "files",
        text(&release),
        "--into",
        text(&list),
    ]));
    assert_eq!(fs::read_to_string(&list).unwrap(), merged);
    fs::write(release.join("v1.0/tool"), "rebuilt").unwrap();
    let refused = finish(&mut generate(&[
        "files",
        text(&release),
        "--into",
        text(&list),
    ]));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("v1.0/tool"), "{said}");
    assert_eq!(fs::read_to_string(&list).unwrap(), merged);
}

#[test]
fn tags_of_a_real_registry_become_rows_that_validate() {
    let dir = TempDir::new().unwrap();
    let registry = Registry::start(&dir.path().join("registry"));
    let layout = Layout::new(&dir.path().join("layout"));
    let push = |seed: u64, image: &str, tag: &str| {
        let root = layout.image("amd64", seed, &[100]);
        layout.push(&root, &format!("{}/{PROJECT}/{image}:{tag}", registry.host))
    };
    let one = push(1, "app", "v1.0");
    push(1, "app", "latest");
    push(
        3,
        "app",
        &format!("sha256-{}.sig", one.trim_start_matches("sha256:")),
    );
    let two = push(2, "app", "v1.1");
    let three = push(4, "tool", "v1.1");

    let url = format!("http://{}", registry.host);
    let from = ["images", &url, "--project", PROJECT];
    let printed = stdout(generate(&from).args(["--image", "app"]));
    let mut rows = [(&one, "v1.0"), (&two, "v1.1")];
    rows.sort();
    let rows: String = rows
        .iter()
        .map(|(digest, tag)| format!("    \"{digest}\": [\"{tag}\"]\n"))
        .collect();
    assert_eq!(printed, format!("- name: app\n  dmap:\n{rows}").trim_end());

    let tree = dir.path().join("tree");
    let mut manifests = Manifests::new(&tree);
    manifests.image("app", &one, "v1.0");
    let list = tree.join(format!("registry.k8s.io/images/{PROJECT}/images.yaml"));
    let old = fs::read_to_string(&list).unwrap();
    // The images of the list, one tag: what a release adds.
    let into = ["--into", text(&list)];
    ok(generate(&from).args(["--tag", "v1.1"]).args(into));
    let row = format!("    \"{two}\": [\"v1.1\"]\n");
    assert_eq!(fs::read_to_string(&list).unwrap(), format!("{old}{row}"));
    ok(generate(&from).args(["--image", "tool"]).args(into));
    assert!(fs::read_to_string(&list).unwrap().ends_with(&format!(
        "- name: tool\n  dmap:\n    \"{three}\": [\"v1.1\"]\n"
    )));
    ok(landfall().args(["validate"]).arg(&tree));

    // Asked for by name, `latest` is taken; a tag that no image has is told.
    let latest = stdout(generate(&from).args(["--image", "app", "--tag", "latest"]));
    assert!(
        latest.contains(&format!("\"{one}\": [\"latest\"]")),
        "{latest}"
    );
    let missing = finish(generate(&from).args(["--image", "app", "--tag", "v1.0", "--tag", "v9"]));
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("v9"));
    for (arguments, code) in [
        (&["--image", "nothing"][..], 1),
        (&["--image", "Bad"], 2),
        (&[], 2),
    ] {
        let output = finish(generate(&from).args(arguments));
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
    }
}
