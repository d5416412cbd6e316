//! Each malformed manifest has its finding, with file, line and column; and what
//! stands beside it is still read.

use landfall_promotion::parse;

use crate::support::{drawn, tree};

const REGISTRIES: (&str, &str) = (
    "manifests/p/promoter-manifest.yaml",
    "registries:\n- name: gcr.io/k8s-staging-p\n  src: true\n- name: eu.example/prod/p\n",
);
const FILESTORES: (&str, &str) = (
    "filestores/p/filepromoter-manifest.yaml",
    "filestores:\n- base: gs://k8s-staging-p/releases/\n  src: true\n- base: gs://prod/binaries/p/\n",
);
const A: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const B: &str = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
const C: &str = "sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc";

/// Draws what is found in a tree, and says what was accepted all the same.
fn outcome(files: &[(&str, &str)]) -> String {
    let parsed = parse(&tree(files));
    let mut lines = vec![drawn(&parsed.findings), String::new()];
    for project in &parsed.projects {
        lines.push(format!(
            "{} {} from {}",
            project.name, project.kind, project.source
        ));
        lines.extend(project.images.iter().map(|row| {
            let tags: Vec<_> = row.tags.iter().map(|tag| tag.as_str()).collect();
            format!("  {}@{} {tags:?}", row.name, &row.digest.to_string()[..10])
        }));
        lines.extend(
            project
                .files
                .iter()
                .map(|file| format!("  {} {}", file.name, &file.digest.to_string()[..10])),
        );
    }
    lines.push(format!("quarantined: {}", parsed.stats.quarantined));
    lines.join("\n")
}

fn check(name: &str, files: &[(&str, &str)]) {
    insta::assert_snapshot!(name, outcome(files));
}

fn check_images(name: &str, text: &str) {
    let text = text.replace("$A", A).replace("$B", B).replace("$C", C);
    check(name, &[REGISTRIES, ("images/p/images.yaml", &text)]);
}

fn check_registries(name: &str, text: &str) {
    let images = format!("- name: good\n  dmap:\n    {A}: [v1]\n");
    check(
        name,
        &[
            ("manifests/p/promoter-manifest.yaml", text),
            ("images/p/images.yaml", &images),
        ],
    );
}

fn check_files(name: &str, text: &str) {
    let text = text
        .replace("$A", &A[7..])
        .replace("$B", &B[7..])
        .replace("$C", &C[7..]);
    check(name, &[FILESTORES, ("manifests/p/v1.yaml", &text)]);
}

fn check_filestores(name: &str, text: &str) {
    let files = format!("files:\n- name: good\n  sha256: {}\n", &A[7..]);
    check(
        name,
        &[
            ("filestores/p/filepromoter-manifest.yaml", text),
            ("manifests/p/v1.yaml", &files),
        ],
    );
}

#[test]
fn sound_manifests_give_no_finding() {
    check_images(
        "images_sound",
        "- name: a/b\n  dmap:\n    \"$A\": [\"v1\", 1.10]\n    $B: []\n    $C:\n- dmap: {\"$C\": [v2]}\n  name: a/b\n",
    );
    check_files(
        "files_sound",
        "files:\n- name: linux/x\n  sha256: $A\n- {name: y, sha256: \"$B\"}\n- name: linux/x\n  sha256: $A\n",
    );
}

#[test]
fn faults_of_an_images_list_leave_out_the_entry_alone() {
    let good = "- name: good\n  dmap:\n    \"$B\": [\"v1\"]\n";
    for (name, bad) in [
        (
            "digest_short",
            "- name: a\n  dmap:\n    \"sha256:12ab\": [v1]\n    $A: [v2]\n",
        ),
        (
            "digest_upper_case",
            "- name: a\n  dmap:\n    sha256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA: [v1]\n",
        ),
        (
            "digest_other_algorithm",
            "- name: a\n  dmap:\n    md5:12: [v1]\n",
        ),
        (
            "digest_no_hex",
            "- name: a\n  dmap:\n    sha256:xyz: [v1]\n",
        ),
        (
            "digest_twice",
            "- name: a\n  dmap:\n    $A: [v1]\n    $A: [v2]\n",
        ),
        (
            "tag_bad",
            "- name: a\n  dmap:\n    $A: [v1, \"-x\"]\n    $C: [v3]\n",
        ),
        (
            "tag_bad_alone",
            "- name: a\n  dmap:\n    $A: [\"bad tag!\"]\n",
        ),
        (
            "tag_of_referrers",
            "- name: a\n  dmap:\n    $A: [sha256-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]\n",
        ),
        ("tag_empty", "- name: a\n  dmap:\n    $A: [\"\"]\n"),
        ("tag_with_space", "- name: a\n  dmap:\n    $A: [v1 v2]\n"),
        ("tags_not_a_list", "- name: a\n  dmap:\n    $A: v1\n"),
        ("tag_a_list", "- name: a\n  dmap:\n    $A: [[v1]]\n"),
        (
            "tag_two_digests",
            "- name: a\n  dmap:\n    $A: [v1, v2]\n    $B: [v3]\n- name: a\n  dmap:\n    $C: [v1]\n",
        ),
        ("name_upper_case", "- name: Kube\n  dmap:\n    $A: [v1]\n"),
        ("name_escapes", "- name: ../x\n  dmap:\n    $A: [v1]\n"),
        ("name_empty", "- name: \"\"\n  dmap:\n    $A: [v1]\n"),
        ("name_missing", "- dmap:\n    $A: [v1]\n"),
        ("name_a_list", "- name: [a]\n  dmap:\n    $A: [v1]\n"),
        (
            "name_twice",
            "- name: a\n  name: b\n  dmap:\n    $A: [v1]\n",
        ),
        ("dmap_missing", "- name: a\n"),
        ("dmap_empty", "- name: a\n  dmap: {}\n"),
        ("dmap_null", "- name: a\n  dmap:\n"),
        ("dmap_a_list", "- name: a\n  dmap:\n  - $A\n"),
        (
            "image_field_unknown",
            "- name: a\n  dmaps: {}\n  dmap:\n    $A: [v1]\n",
        ),
        ("image_a_word", "- a\n"),
        ("image_alias", "- &x {name: a, dmap: {$A: [v1]}}\n- *x\n"),
        ("image_merge_key", "- name: a\n  <<: {dmap: {$A: [v1]}}\n"),
    ] {
        check_images(name, &format!("{bad}{good}"));
    }
}

#[test]
fn a_list_that_is_no_list_of_images_is_found() {
    check_images("images_empty", "# No images yet\n");
    check_images("images_empty_list", "[]\n");
    check_images("images_a_mapping", "images:\n- name: a\n");
    check_images("yaml_syntax", "- name: a\n  dmap: {\n- name: b\n");
    check_images("yaml_tab", "- name: a\n\tdmap: {}\n");
    check_images(
        "yaml_two_documents",
        "- name: a\n  dmap: {$A: [v1]}\n---\n- name: b\n",
    );
}

#[test]
fn faults_of_registries_leave_out_the_project() {
    for (name, text) in [
        (
            "src_none",
            "registries:\n- name: gcr.io/s\n- name: eu.example/p\n",
        ),
        (
            "src_several",
            "registries:\n- name: gcr.io/s\n  src: true\n- name: eu.example/p\n  src: true\n- name: us.example/p\n",
        ),
        (
            "src_no_boolean",
            "registries:\n- name: gcr.io/s\n  src: \"true\"\n- name: eu.example/p\n",
        ),
        (
            "destination_none",
            "registries:\n- name: gcr.io/s\n  src: true\n",
        ),
        (
            "destination_twice",
            "registries:\n- name: gcr.io/s\n  src: true\n- name: eu.example/p\n- name: eu.example/p\n",
        ),
        (
            "registry_name_missing",
            "registries:\n- src: true\n- name: eu.example/p\n",
        ),
        (
            "registry_scheme",
            "registries:\n- name: https://gcr.io/s\n  src: true\n- name: eu.example/p\n",
        ),
        (
            "registry_slash",
            "registries:\n- name: gcr.io/s/\n  src: true\n- name: eu.example/p\n",
        ),
        (
            "registry_path",
            "registries:\n- name: gcr.io/S\n  src: true\n- name: eu.example/p\n",
        ),
        (
            "registry_host",
            "registries:\n- name: gcr.io:x/s\n  src: true\n- name: eu example/p\n",
        ),
        (
            "registry_field_unknown",
            "registries:\n- name: gcr.io/s\n  src: true\n  token: t\n- name: eu.example/p\n",
        ),
        ("registries_missing", "images: []\n"),
        ("registries_empty", "registries: []\n"),
        ("registries_a_word", "registries: all\n"),
        ("registries_no_mapping", "- name: gcr.io/s\n"),
        ("registries_empty_file", ""),
    ] {
        check_registries(name, text);
    }
}

#[test]
fn fields_that_change_nothing_leave_nothing_out() {
    let sound = REGISTRIES.1;
    check_registries("images_path", &format!("{sound}imagesPath: ../x\n"));
    check_registries("top_field_unknown", &format!("{sound}comment: x\n"));
}

#[test]
fn halves_without_each_other_are_found() {
    let images = format!("- name: a\n  dmap:\n    {A}: [v1]\n");
    let files = format!("files:\n- name: a\n  sha256: {}\n", &A[7..]);
    check("images_missing", &[REGISTRIES]);
    check(
        "registries_file_missing",
        &[("images/p/images.yaml", &images)],
    );
    check("files_missing", &[FILESTORES]);
    check(
        "filestores_file_missing",
        &[("manifests/p/v1.yaml", &files)],
    );
    check(
        "file_beside_registries",
        &[
            REGISTRIES,
            ("images/p/images.yaml", &images),
            ("manifests/p/x.yaml", &files),
        ],
    );
    check(
        "project_twice",
        &[
            ("a/filestores/p/filepromoter-manifest.yaml", FILESTORES.1),
            ("a/manifests/p/v1.yaml", &files),
            ("b/filestores/p/filepromoter-manifest.yaml", FILESTORES.1),
            ("b/manifests/p/v1.yaml", &files),
        ],
    );
}

#[test]
fn faults_of_a_file_list_leave_out_the_entry_alone() {
    let good = "- name: good\n  sha256: $B\n";
    for (name, bad) in [
        ("sha256_missing", "- name: a\n"),
        ("sha256_misspelt", "- name: a\n  sha-256: $A\n"),
        ("sha256_short", "- name: a\n  sha256: 12ab\n"),
        ("sha256_no_hex", "- name: a\n  sha256: sha256:$A\n"),
        ("file_name_missing", "- sha256: $A\n"),
        ("file_name_empty", "- name: \"\"\n  sha256: $A\n"),
        ("path_absolute", "- name: /etc/passwd\n  sha256: $A\n"),
        ("path_escapes", "- name: a/../../x\n  sha256: $A\n"),
        ("path_empty_segment", "- name: a//x\n  sha256: $A\n"),
        ("path_backslash", "- name: a\\x\n  sha256: $A\n"),
        ("path_control", "- name: \"a\\u001b[31mx\"\n  sha256: $A\n"),
        (
            "path_two_hashes",
            "- name: a\n  sha256: $A\n- name: a\n  sha256: $B\n- name: a\n  sha256: $A\n",
        ),
        ("file_a_word", "- a\n"),
    ] {
        check_files(name, &format!("files:\n{bad}{good}"));
    }
    check_files("files_empty", "files: []\n");
    check_files("files_other_document", "approvers:\n- someone\n");
    check_files("files_a_list", "- name: a\n  sha256: $A\n");
    check_files("files_a_mapping", "files: {a: $A}\n");
    check_files(
        "files_and_filestores",
        "files:\n- name: a\n  sha256: $A\nfilestores: []\n",
    );
}

#[test]
fn faults_of_file_stores_leave_out_the_project() {
    for (name, text) in [
        (
            "filestore_scheme",
            "filestores:\n- base: https://x/y\n  src: true\n- base: gs://prod/\n",
        ),
        (
            "filestore_no_scheme",
            "filestores:\n- base: bucket/y\n  src: true\n- base: gs://prod/\n",
        ),
        (
            "filestore_no_bucket",
            "filestores:\n- base: gs://\n  src: true\n- base: gs://prod/\n",
        ),
        (
            "filestore_escapes",
            "filestores:\n- base: gs://a/../b\n  src: true\n- base: gs://prod/\n",
        ),
        (
            "filestore_base_empty",
            "filestores:\n- base: \"\"\n  src: true\n- base: gs://prod/\n",
        ),
        (
            "filestore_src_none",
            "filestores:\n- base: gs://a/\n- base: gs://prod/\n",
        ),
        (
            "filestores_with_files",
            "filestores:\n- base: gs://a/\n  src: true\n- base: gs://prod/\nfiles: []\n",
        ),
    ] {
        check_filestores(name, text);
    }
}

#[test]
fn a_manifest_of_one_file_holds_both_halves() {
    let registries = REGISTRIES.1;
    let images = format!("images:\n- name: a\n  dmap:\n    {A}: [v1]\n    \"sha256:12\": []\n");
    for (name, text) in [
        ("single_sound", format!("{registries}{images}")),
        (
            "single_images_first",
            format!("{images}{registries}imagesPath: x\n"),
        ),
        ("single_no_registries", images.clone()),
        ("single_no_images", registries.to_owned()),
        (
            "single_images_a_mapping",
            format!("{registries}images: {{a: b}}\n"),
        ),
        (
            "single_field_unknown",
            format!("{registries}{images}renames: []\n"),
        ),
        (
            "single_registries_twice",
            format!("{registries}{registries}{images}"),
        ),
        ("single_a_list", "- name: a\n".to_owned()),
        ("single_empty", String::new()),
        (
            "single_tag_two_digests",
            format!("{registries}images:\n- name: a\n  dmap:\n    {A}: [v1]\n    {B}: [v1]\n"),
        ),
        (
            "single_of_files",
            format!("{}files:\n- name: a\n  sha256: {}\n", FILESTORES.1, &A[7..]),
        ),
    ] {
        check(name, &[("p.yaml", &text)]);
    }
    // Beside other manifests it is none: in a folder both halves have their place.
    let text = format!("{registries}{images}");
    check(
        "single_in_a_folder",
        &[("p.yaml", &text), REGISTRIES, ("images/p/images.yaml", "")],
    );
}

#[test]
fn a_folder_named_to_steer_a_terminal_does_not() {
    let path = "images/p\u{1b}[2Jq\u{202e}/images.yaml";
    let text = outcome(&[(path, "- name: [a]\n")]);
    assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
    assert!(
        text.contains("images/p\u{fffd}[2Jq\u{fffd}/images.yaml:1:9"),
        "{text}"
    );
    assert!(
        text.contains("project p\u{fffd}[2Jq\u{fffd} has no promoter-manifest.yaml"),
        "{text}"
    );
}

#[test]
fn what_cannot_be_read_makes_its_project_doubtful_and_nobody_elses() {
    let good = format!("- name: good\n  dmap:\n    {A}: [v1]\n");
    let list = format!("files:\n- name: good\n  sha256: {}\n", &A[7..]);
    let other = ("images/q/images.yaml", good.as_str());
    let registries = ("manifests/q/promoter-manifest.yaml", REGISTRIES.1);
    let lists = ("manifests/p/v1.yaml", list.as_str());
    for (path, projects) in [
        ("manifests/p/v2.yaml", 2),
        ("manifests/p/deep/deep", 2),
        ("filestores/p/filepromoter-manifest.yaml", 1),
        ("filestores/p", 1),
    ] {
        let mut files = vec![other, registries, lists];
        if projects == 2 {
            files.push(FILESTORES);
        }
        let mut tree = tree(&files);
        tree.unreadable.push(landfall_promotion::Unreadable {
            path: path.to_owned(),
            line: 3,
            column: 7,
            why: "it is a symbolic link".to_owned(),
        });
        let parsed = parse(&tree);
        let found: Vec<_> = parsed.findings.iter().map(ToString::to_string).collect();
        let [found] = found.as_slice() else {
            panic!("{path}: {found:?}");
        };
        assert!(found.starts_with("error[unreadable]"), "{found}");
        assert!(found.contains(&format!("--> {path}:3:7")), "{found}");
        assert_eq!(parsed.projects.len(), projects, "{path}");
        for project in &parsed.projects {
            assert_eq!(project.quarantined > 0, project.name == "p", "{path}");
        }
    }
}

/// The hashes of what is found in a list of images or files.
fn hashes(list: &str, text: &str) -> Vec<landfall_catalog::Digest> {
    let (half, strip) = match list {
        "images/p/images.yaml" => (REGISTRIES, 0),
        _ => (FILESTORES, 7),
    };
    let text = text
        .replace("$A", &A[strip..])
        .replace("$B", &B[strip..])
        .replace("$C", &C[strip..]);
    let findings = parse(&tree(&[half, (list, &text)])).findings;
    findings.iter().map(|found| found.content_hash).collect()
}

#[test]
fn an_acknowledgement_excuses_only_what_somebody_has_seen() {
    let (images, files) = ("images/p/images.yaml", "manifests/p/v1.yaml");
    // Two faults alike, in two entries, are two.
    for (list, text) in [
        (
            files,
            "files:\n- {name: x, sha256: $A, size: 1}\n- {name: y, sha256: $B, size: 1}\n",
        ),
        (files, "files:\n- sha256: $A\n- sha256: $B\n"),
        (
            files,
            "files:\n- {name: x, name: x, sha256: $A}\n- {name: y, name: y, sha256: $A}\n",
        ),
        (images, "- dmap:\n    $A: [v1]\n- dmap:\n    $B: [v1]\n"),
        (
            images,
            "- name: a\n  dmap: {$A: [v1]}\n  dmap: {}\n- name: b\n  dmap: {$A: [v1]}\n  dmap: {}\n",
        ),
        (
            images,
            "- name: a\n  dmap: {\"sha256:12\": [v1]}\n- name: b\n  dmap: {\"sha256:12\": [v1]}\n",
        ),
        (images, "- name: a\n  dmap: {$A: [-x], $B: [-x]}\n"),
        (images, "- name: a\n  dmap: {$A: v1, $B: v1}\n"),
    ] {
        let found = hashes(list, text);
        assert_eq!(found.len(), 2, "{text}");
        assert_ne!(found[0], found[1], "{text}");
    }
    // What is added to an entry that is left out makes it another fault; what is
    // added beside it, and how it is written, does not.
    for (list, text, same, other) in [
        (
            images,
            "- name: a\n  dmap: {\"sha256:12\": [v1]}\n",
            "- name: a\n  dmap:\n    $A: [v3]\n    sha256:12: # known\n    - v1\n",
            "- name: a\n  dmap: {\"sha256:12\": [v1, v2]}\n",
        ),
        (
            images,
            "- name: a\n  dmap: {$A: [v1, -x]}\n",
            "- name: a\n  dmap: {$A: [-x, v2], $B: [v3]}\n",
            "- name: a\n  dmap: {$B: [v1, -x]}\n",
        ),
        (
            images,
            "- name: A\n  dmap: {$A: [v1]}\n",
            "- name: a\n  dmap: {$A: [v1]}\n- dmap: {$A: [v1]}\n  name: A\n",
            "- name: A\n  dmap: {$A: [v1], $B: [v2]}\n",
        ),
        (
            files,
            "files:\n- {name: /x, sha256: $A}\n",
            "files:\n- {name: y, sha256: $A}\n- {name: /x, sha256: $A}\n",
            "files:\n- {name: /x, sha256: $B}\n",
        ),
    ] {
        let found = hashes(list, text);
        assert_eq!(found.len(), 1, "{text}");
        assert_eq!(found, hashes(list, same), "{same}");
        assert_ne!(found, hashes(list, other), "{other}");
    }
}
