//! The real manifests of Kubernetes, where a copy of them is at hand.

use std::path::PathBuf;

use landfall_promotion::{Kind, Severity, parse};

use crate::support::{drawn, read};

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
    println!(
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
