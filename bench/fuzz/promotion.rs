//! Manifests: whatever they say, they are read or found fault with, and writing
//! into them changes nothing else.

use std::collections::{BTreeMap, BTreeSet};

use landfall_catalog::{Catalog, Digest};
use landfall_promotion::generate::{ImageRow, MergeError, Merged, merge_files, merge_images};
use landfall_promotion::layout;
use landfall_promotion::{Change, PlanOptions, SourceFile, Tree, parse, plan, separation};

use crate::{Target, text};

/// Far above what a checkout has; findings show paths whole.
const MAX_PATH_BYTES: usize = 1_000;

const REGISTRIES: &str = "registries:\n- name: gcr.io/k8s-staging-p\n  src: true\n- name: eu.example/prod/p\n  service-account: a@b\nimagesPath: x\n";
const FILESTORES: &str = "filestores:\n- base: gs://k8s-staging-p/releases/\n  src: true\n- base: s3://prod/binaries/p\n";

fn images() -> String {
    let (a, b, c) = (Digest::of(b"a"), Digest::of(b"b"), Digest::of(b"c"));
    format!(
        "# Mine.\n- name: a/b\n  dmap:\n    \"{a}\": [\"v1\", 1.10]\n    {b}: []\n    # c\n    {c}:\n    - latest\n- dmap: {{\"{c}\": [v2]}}\n  name: a/b\n"
    )
}

fn files() -> String {
    let (a, b) = (Digest::of(b"a").to_hex(), Digest::of(b"b").to_hex());
    format!("files:\n- name: linux/x\n  sha256: {a}\n# y\n- {{name: y, sha256: \"{b}\"}}\n")
}

pub(crate) fn targets() -> Vec<Target> {
    let images_file = "images/p/images.yaml";
    let registries_file = "manifests/p/promoter-manifest.yaml";
    let list_file = "manifests/p/v1.yaml";
    let stores_file = "filestores/p/filepromoter-manifest.yaml";
    vec![
        Target::new("images", [images(), "[]".into()], move |input| {
            manifest(images_file, input, &[(registries_file, REGISTRIES)])
        }),
        Target::new("registries", [REGISTRIES], move |input| {
            manifest(registries_file, input, &[(images_file, &images())])
        }),
        Target::new("files", [files()], move |input| {
            manifest(list_file, input, &[(stores_file, FILESTORES)])
        }),
        Target::new("filestores", [FILESTORES], move |input| {
            manifest(stores_file, input, &[(list_file, &files())])
        }),
        Target::new(
            "manifest-of-one-file",
            [format!("{REGISTRIES}images:\n{}", images())],
            |input| manifest("p.yaml", input, &[]),
        ),
        Target::new(
            "manifest-paths",
            [
                format!("a/b/images/p/images.yaml\n{}", images()),
                format!("registry.k8s.io/manifests/p/promoter-manifest.yaml\n{REGISTRIES}"),
                format!("artifacts/filestores/p/filepromoter-manifest.yaml\n{FILESTORES}"),
                format!("artifacts/manifests/p/v1/x.yaml\n{}", files()),
                "images/p/OWNERS\n".into(),
            ],
            |input| {
                let input = text(input);
                let (path, rest) = input.split_once('\n').unwrap_or((&input, ""));
                if path.len() > MAX_PATH_BYTES {
                    return "too long".to_owned();
                }
                let role = layout::wanted(path).map(|role| std::mem::discriminant(&role));
                let others = [("manifests/p/promoter-manifest.yaml", REGISTRIES)];
                format!("{role:?} {}", manifest(path, rest.as_bytes(), &others))
            },
        ),
        Target::new(
            "merge-images",
            [images(), String::new(), "[]\n".into()],
            merged_images,
        ),
        Target::new(
            "merge-files",
            [files(), String::new(), "files: []\n".into()],
            merged_files,
        ),
    ]
}

/// Reads and plans a tree with the input in one of its files.
fn manifest(path: &str, input: &[u8], others: &[(&str, &str)]) -> String {
    let input = text(input);
    let file = |path: &str, text: &str| SourceFile {
        path: path.to_owned(),
        text: text.to_owned(),
    };
    let mut tree = Tree {
        files: vec![file(path, &input)],
        ..Tree::default()
    };
    tree.files
        .extend(others.iter().map(|(path, text)| file(path, text)));
    let parsed = parse(&tree);
    let lines = u32::try_from(
        input
            .split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'])
            .count(),
    );
    for finding in &parsed.findings {
        assert!(finding.line >= 1 && finding.column >= 1);
        assert!(finding.file != path || finding.line <= lines.unwrap_or(u32::MAX) + 1);
        let drawn = finding.to_string();
        assert!(!drawn.contains('\u{1b}') && drawn.len() < 20_000);
    }
    let options = PlanOptions::default();
    let plan = plan(&parsed, &[], &Catalog::default(), &options);
    assert_eq!(plan.set.len() + plan.refused.len(), plan.entries);
    let change = Change {
        path: path.to_owned(),
        before: None,
        after: Some(input.into_owned()),
    };
    assert_eq!(separation(&[change]), None);
    let rules: BTreeSet<&str> = plan.findings.iter().map(|finding| finding.rule).collect();
    format!("{rules:?} {}", plan.set.len().min(4))
}

/// What a person wrote is there to the last byte, in its order.
fn only_added(before: &str, merged: &Merged) {
    if merged.added == 0 {
        assert_eq!(before, merged.text);
    }
    let mut after = merged.text.chars();
    // An empty list gives way, nothing else.
    let kept = before
        .chars()
        .filter(|c| !matches!(c, '[' | ']' | ' ' | '\r' | '\n'));
    for c in kept {
        assert!(after.any(|other| other == c), "{c:?} is gone");
    }
}

fn outcome(before: &str, merged: Result<Merged, MergeError>) -> String {
    match merged {
        Ok(merged) => {
            only_added(before, &merged);
            format!("{} {}", merged.added, merged.present)
        }
        Err(MergeError::Unreadable { message, .. }) => crate::kind_of(&message),
        Err(MergeError::Conflicts(conflicts)) => format!("{} conflicts", conflicts.len()),
        Err(MergeError::Style { .. }) => "style".to_owned(),
    }
}

fn merged_images(input: &[u8]) -> String {
    let before = text(input);
    let row = |name: &str, content: &[u8], tag: &str| {
        Some(ImageRow {
            name: name.parse().ok()?,
            digest: Digest::of(content),
            tag: tag.parse().ok()?,
        })
    };
    let rows = [
        row("a/b", b"a", "v1"),
        row("a/b", b"a", "v1.5"),
        row("a/b", b"c", "v3"),
        row("a/b", b"d", "v4"),
        row("zoo", b"e", "v1"),
    ];
    let rows: Vec<ImageRow> = rows.into_iter().flatten().collect();
    let merged = merge_images(&before, &rows);
    if let Ok(merged) = &merged {
        let again = merge_images(&merged.text, &rows).map(|again| again.added);
        assert_eq!(again, Ok(0));
    }
    outcome(&before, merged)
}

fn merged_files(input: &[u8]) -> String {
    let before = text(input);
    let names = ["linux/a", "linux/x", "linux/z", "z: 1"];
    let entries: BTreeMap<String, Digest> = names
        .iter()
        .map(|name| {
            (
                (*name).to_owned(),
                Digest::of(if *name == "linux/x" { b"a" } else { b"n" }),
            )
        })
        .collect();
    let merged = merge_files(&before, &entries);
    if let Ok(merged) = &merged {
        let again = merge_files(&merged.text, &entries).map(|again| again.added);
        assert_eq!(again, Ok(0));
    }
    outcome(&before, merged)
}
