//! Each rule has a snapshot that shows how breaking it is told; here are those of
//! the rules that no single malformed entry breaks.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use landfall_catalog::{Catalog, Digest};
use landfall_promotion::{
    Acknowledgement, Acknowledgements, Change, Finding, PlanOptions, ProductionRule, Tree,
    Unreadable, before, compared, layout, missing_owners, parse, plan, rules, separation,
    with_excerpts,
};

use crate::support::{drawn, tree};

const REGISTRIES: (&str, &str) = (
    "manifests/p/promoter-manifest.yaml",
    "registries:\n- name: gcr.io/k8s-staging-p\n  src: true\n- name: eu.example/prod/p\n",
);
const FILESTORES: (&str, &str) = (
    "filestores/p/filepromoter-manifest.yaml",
    "filestores:\n- base: gs://k8s-staging-p/releases/\n  src: true\n- base: gs://prod/binaries/p/\n",
);

fn images(rows: &str) -> String {
    let digest = Digest::of(b"a");
    rows.replace("$A", &digest.to_string())
}

fn files(names: &[&str]) -> String {
    let hex = Digest::of(b"a").to_hex();
    let rows = names.iter();
    let rows = rows.map(|name| format!("- name: {name}\n  sha256: {hex}\n"));
    format!("files:\n{}", rows.collect::<String>())
}

/// What reading and planning find, with their lines as `validate` shows them.
fn found(tree: &Tree, rules: &[ProductionRule], options: &PlanOptions) -> Vec<Finding> {
    let mut findings = plan(&parse(tree), rules, &Catalog::default(), options).findings;
    with_excerpts(&mut findings, tree);
    findings
}

fn check(name: &str, findings: &[Finding]) {
    insta::assert_snapshot!(name, drawn(findings));
}

#[test]
fn every_rule_has_a_snapshot_and_no_snapshot_has_another() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/promotion/snapshots");
    let mut shown = BTreeSet::new();
    for file in fs::read_dir(folder).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        for line in text.lines() {
            let severities = ["error[", "warning[", "note[", "info["];
            let rest = severities.iter().find_map(|word| line.strip_prefix(word));
            let id = rest.and_then(|rest| rest.split_once("]: "));
            shown.extend(id.map(|(id, _)| id.to_owned()));
        }
    }
    let all: BTreeSet<String> = rules::ALL.iter().map(|rule| rule.id.to_owned()).collect();
    assert_eq!(shown, all);
}

#[test]
fn a_manifest_beyond_a_bound_is_told_once() {
    let most = usize::try_from(layout::MAX_FILE_BYTES).unwrap();
    let images = format!("# {}\n[]\n", "x".repeat(most));
    let tree = tree(&[REGISTRIES, ("images/p/images.yaml", &images)]);
    check("too_large", &parse(&tree).findings);
}

#[test]
fn faults_without_end_are_counted() {
    let rows = images("- name: a\n  dmap: {$A: [-x]}\n").repeat(1_100);
    let tree = tree(&[REGISTRIES, ("images/p/images.yaml", &rows)]);
    let findings = parse(&tree).findings;
    let last = findings.len() - 2;
    check("too_many_findings", &findings[last..]);
}

#[test]
fn a_file_project_without_stores_is_left_out() {
    let list = files(&["x"]);
    for (name, stores) in [
        ("filestores_missing", "x: y\n"),
        ("filestores_empty_list", "filestores: []\n"),
    ] {
        let stores = ("filestores/p/filepromoter-manifest.yaml", stores);
        check(
            name,
            &parse(&tree(&[stores, ("manifests/p/v1.yaml", &list)])).findings,
        );
    }
}

#[test]
fn what_could_not_be_read_is_told_with_its_reason() {
    let list = files(&["x"]);
    let mut tree = tree(&[FILESTORES, ("manifests/p/v1.yaml", &list)]);
    tree.unreadable = vec![
        Unreadable {
            path: "images/q/images.yaml".to_owned(),
            line: 3,
            column: 9,
            why: "it is not UTF-8".to_owned(),
        },
        Unreadable {
            path: "manifests/p/v2.yaml".to_owned(),
            line: 1,
            column: 1,
            why: "it is a symbolic link".to_owned(),
        },
    ];
    check("unreadable", &parse(&tree).findings);
}

#[test]
fn a_change_of_both_halves_is_told_with_the_files_of_each() {
    let change = |path: &str, after: &str| Change {
        path: path.to_owned(),
        before: None,
        after: Some(after.to_owned()),
    };
    for (name, sensitive, delegated) in [
        ("halves_of_images", REGISTRIES, "images/p/images.yaml"),
        ("halves_of_files", FILESTORES, "manifests/p/v1.yaml"),
        ("halves_of_projects", FILESTORES, "images/q/images.yaml"),
    ] {
        let changes = [change(sensitive.0, sensitive.1), change(delegated, "- a\n")];
        check(name, &[separation(&changes).unwrap()]);
    }
}

#[test]
fn what_a_change_makes_of_names_that_were_listed_is_told() {
    let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
    let now = format!("- name: app\n  dmap:\n    \"{b}\": [v1]\n");
    let now = tree(&[REGISTRIES, ("images/p/images.yaml", &now)]);
    let changes = [Change {
        path: "images/p/images.yaml".to_owned(),
        before: Some(format!("- name: app\n  dmap:\n    \"{a}\": [v1, v2]\n")),
        after: Some(now.files[1].text.clone()),
    }];
    let planned = |tree: &Tree| {
        plan(
            &parse(tree),
            &[],
            &Catalog::default(),
            &PlanOptions::default(),
        )
    };
    let mut findings = compared(&planned(&before(&now, &changes)), &planned(&now));
    with_excerpts(&mut findings, &now);
    check("names_of_a_change", &findings);
}

#[test]
fn a_list_that_nobody_owns_is_told_beside_it() {
    let (rows, list) = (images("- name: a\n  dmap: {$A: [v1]}\n"), files(&["x"]));
    let tree = tree(&[
        REGISTRIES,
        ("images/p/images.yaml", &rows),
        ("filestores/q/filepromoter-manifest.yaml", FILESTORES.1),
        ("manifests/q/v1.yaml", &list),
    ]);
    check("missing_owners", &missing_owners(&tree, |_| false));
}

#[test]
fn an_acknowledgement_of_nothing_is_told_at_its_hash() {
    let hash = Digest::of(b"gone");
    let known = Acknowledgements::try_new(vec![Acknowledgement {
        hash,
        rule: "malformed-digest".to_owned(),
        why: "published so in 2023".to_owned(),
        who: "release team".to_owned(),
    }]);
    let text = format!("[[acknowledged]]\nrule = \"malformed-digest\"\nhash = \"{hash}\"\n");
    let stale = known
        .unwrap()
        .stale(&[], ".landfall-acknowledged.toml", &text);
    check("stale_acknowledgement", &stale);
}

#[test]
fn names_that_cannot_be_published_are_left_out() {
    let (long, list) = (
        "a/".repeat(120) + "a",
        files(&["x", &"d/".repeat(700)[..1_019]]),
    );
    let rows = images(&format!(
        "- name: {long}\n  dmap: {{$A: [v1]}}\n- name: b\n  dmap: {{$A: [v1]}}\n"
    ));
    let stores = "filestores:\n- {base: gs://s/, src: true}\n- base: gs://prod/q\n";
    let tree = tree(&[
        REGISTRIES,
        ("images/p/images.yaml", &rows),
        ("filestores/q/filepromoter-manifest.yaml", stores),
        ("manifests/q/v1.yaml", &list),
    ]);
    let rules = [ProductionRule {
        registries: vec!["eu.example/prod".to_owned()],
        filestores: vec!["gs://prod".to_owned()],
        repository_prefix: "a-long-public-prefix".to_owned(),
        path_prefix: "a-long-public-prefix".to_owned(),
    }];
    let findings = found(&tree, &rules, &PlanOptions::default());
    check("unpublishable_names", &findings);
}

#[test]
fn a_source_in_production_is_told() {
    let rules = ["incubating", "stable"].map(|channel| ProductionRule {
        registries: ["eu", "us"]
            .map(|host| format!("{host}.example/{channel}"))
            .into(),
        repository_prefix: channel.to_owned(),
        ..ProductionRule::default()
    });
    for (name, source) in [
        ("promoted_onward", "eu.example/incubating"),
        ("promoted_onto_itself", "us.example/stable"),
    ] {
        let registries = format!(
            "registries:\n- {{name: {source}/p, src: true}}\n- name: eu.example/stable/p\n"
        );
        let tree = tree(&[
            (REGISTRIES.0, &registries),
            ("images/p/images.yaml", "[]\n"),
        ]);
        check(name, &found(&tree, &rules, &PlanOptions::default()));
    }
}

#[test]
fn a_project_of_too_many_prefixes_is_left_out() {
    let destinations = (0..100).map(|number| format!("- name: eu.example/{number}\n"));
    let registries = format!("{}{}", REGISTRIES.1, destinations.collect::<String>());
    let rows = images("- name: a\n  dmap: {$A: [v1]}\n");
    let tree = tree(&[(REGISTRIES.0, &registries), ("images/p/images.yaml", &rows)]);
    check(
        "too_many_prefixes",
        &found(&tree, &[], &PlanOptions::default()),
    );
}

#[test]
fn a_project_with_faults_is_not_pruned() {
    let rows = images("- name: a\n  dmap: {$A: [v1], \"sha256:12\": [v0]}\n");
    let tree = tree(&[REGISTRIES, ("images/p/images.yaml", &rows)]);
    let catalog = crate::support::production(&[("prod/p/a:v0", "0")]);
    let options = PlanOptions {
        prune: true,
        ..PlanOptions::default()
    };
    let mut findings = plan(&parse(&tree), &[], &catalog, &options).findings;
    with_excerpts(&mut findings, &tree);
    check("prune_skipped", &findings);
}
