//! The real manifests of Kubernetes, where a copy of them is at hand.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;

use landfall_catalog::{Catalog, Digest, Tag};
use landfall_promotion::generate::{ImageRow, image_names, merge_files, merge_images};
use landfall_promotion::layout::{self, FileRole};
use landfall_promotion::{Kind, PlanOptions, ProductionRule, Severity, parse, plan};

use crate::support::{drawn, execute, read};

/// The copy of the k8s.io tree: below `LANDFALL_SHARED`, or `../shared` beside
/// the workspace. Without one, a line says so and the look-alikes stand alone.
pub(crate) fn k8s_io() -> Option<PathBuf> {
    let shared = std::env::var_os("LANDFALL_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        PathBuf::from,
    );
    let tree = shared.join("data/k8s.io");
    if tree.is_dir() {
        return Some(tree);
    }
    // Written past the test harness, which would swallow it.
    let mut stderr = std::io::stderr();
    let _ = writeln!(
        stderr,
        "no real manifests at {}: set LANDFALL_SHARED; only generated trees were tested",
        tree.display()
    );
    None
}

#[test]
fn the_registry_tree_has_its_figures_and_its_known_faults() {
    let Some(k8s_io) = k8s_io() else { return };
    let parsed = parse(&read(&k8s_io.join("registry.k8s.io")));
    assert_eq!(parsed.projects.len(), 75);
    assert_eq!(parsed.stats.projects, 75);
    assert_eq!(parsed.stats.digest_rows, 20_019);
    assert_eq!(parsed.stats.tags, 20_086);
    assert_eq!(parsed.stats.image_entries, 822);
    assert_eq!(parsed.stats.quarantined, 1);
    let rows: usize = parsed
        .projects
        .iter()
        .map(|project| project.images.len())
        .sum();
    assert_eq!(rows, 20_018);
    assert!(!parsed.passes(true));
    assert!(!parsed.passes(false));
    insta::assert_snapshot!("registry_k8s_io", drawn(&parsed.findings));
}

#[test]
fn the_artifacts_tree_has_its_figures_and_its_known_faults() {
    let Some(k8s_io) = k8s_io() else { return };
    let parsed = parse(&read(&k8s_io.join("artifacts")));
    assert_eq!(parsed.projects.len(), 3);
    assert_eq!(parsed.stats.file_entries, 4_024);
    let errors: Vec<_> = parsed
        .findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .collect();
    assert_eq!(errors.len(), 6);
    assert!(
        errors
            .iter()
            .all(|finding| finding.rule == "conflicting-hashes")
    );
    insta::assert_snapshot!("artifacts", drawn(&parsed.findings));
}

#[test]
fn both_trees_are_read_from_the_folder_above_them() {
    let Some(k8s_io) = k8s_io() else { return };
    let parsed = parse(&read(&k8s_io));
    let of = |kind| {
        parsed
            .projects
            .iter()
            .filter(|project| project.kind == kind)
            .count()
    };
    assert_eq!((of(Kind::Images), of(Kind::Files)), (75, 3));
    let apart = |tree: &str| parse(&read(&k8s_io.join(tree))).findings;
    let hashes = |findings: &[landfall_promotion::Finding]| {
        let mut hashes: Vec<_> = findings
            .iter()
            .map(|finding| finding.content_hash)
            .collect();
        hashes.sort();
        hashes
    };
    let both = [apart("registry.k8s.io"), apart("artifacts")].concat();
    assert_eq!(hashes(&parsed.findings), hashes(&both));
}

#[test]
fn the_registry_tree_is_planned_once_a_public_name_not_once_a_mirror() {
    let Some(k8s_io) = k8s_io() else { return };
    let parsed = parse(&read(&k8s_io.join("registry.k8s.io")));
    let mut registries: Vec<String> = parsed
        .projects
        .iter()
        .flat_map(|project| &project.destinations)
        .map(|destination| {
            let (host, _) = destination.split_once('/').unwrap();
            format!("{host}/k8s-artifacts-prod/images")
        })
        .collect();
    registries.sort();
    registries.dedup();
    assert_eq!(registries.len(), 22);
    let rules = [ProductionRule {
        registries,
        ..ProductionRule::default()
    }];
    let mut catalog = Catalog::default();
    let options = PlanOptions::default();
    let first = plan(&parsed, &rules, &catalog, &options);
    assert_eq!(first.projects, 75);
    assert_eq!(first.destination_edges, 720_478);
    assert_eq!(first.set.len(), 32_748);
    assert_eq!(first.refused, []);
    let pause = "pause:3.9".parse().unwrap();
    assert!(first.set.iter().any(|asked| asked.name == pause));
    assert_eq!(first.findings, parsed.findings);

    execute(&mut catalog, &first);
    let second = plan(&parsed, &rules, &catalog, &options);
    assert!(second.is_empty());
    assert_eq!(second.unchanged.len(), 32_748);
}

#[test]
fn the_artifacts_tree_is_planned_without_the_conflicting_paths() {
    let Some(k8s_io) = k8s_io() else { return };
    let parsed = parse(&read(&k8s_io.join("artifacts")));
    let plan = plan(&parsed, &[], &Catalog::default(), &PlanOptions::default());
    assert_eq!(plan.set.len(), 3_937 - 6);
    assert_eq!(plan.refused, []);
}

#[test]
fn every_real_list_takes_new_entries_and_keeps_its_lines() {
    let Some(k8s_io) = k8s_io() else { return };
    let digest = Digest::of(b"a new release");
    let tag: Tag = "v999.0.0-new".parse().unwrap();
    let (mut images, mut files) = (0, 0);
    for file in read(&k8s_io).files {
        let before = &file.text;
        let merged = match layout::wanted(&file.path) {
            Some(FileRole::Images) => {
                images += 1;
                let mut names = image_names(before);
                names.push("landfall-new-image".parse().unwrap());
                let row = |name| ImageRow {
                    name,
                    digest,
                    tag: tag.clone(),
                };
                let rows: Vec<ImageRow> = names.into_iter().map(row).collect();
                merge_images(before, &rows)
            }
            Some(FileRole::Files) => {
                files += 1;
                let names = ["0/new", "linux/amd64/new", "v1.30.0/new", "zzz/new"];
                let entries = names.map(|name| (name.to_owned(), digest));
                merge_files(before, &BTreeMap::from(entries))
            }
            Some(FileRole::Registries | FileRole::Filestores) | None => continue,
        };
        let merged = merged.unwrap_or_else(|error| panic!("{}: {error}", file.path));
        assert!(merged.added > 0, "{}", file.path);
        let mut after = merged.text.lines();
        let mut new = 0;
        for line in before.lines() {
            let at = after.by_ref().position(|other| other == line);
            new += at.unwrap_or_else(|| panic!("{}: {line:?} is gone", file.path));
        }
        assert!(new + after.count() > 0, "{}", file.path);
    }
    assert_eq!((images, files), (75, 135));
}
