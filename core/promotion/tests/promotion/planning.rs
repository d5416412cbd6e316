//! What is asked for against what production has.

use std::fmt::Write as _;

use landfall_catalog::{Catalog, Digest, Name};
use landfall_promotion::{
    Finding, Kind, MutableNames, Neighbour, Plan, PlanOptions, ProductionRule, SourceFile, Tree,
    parse, plan,
};
use proptest::prelude::*;

use crate::support::{announce, drawn, execute, production, revise};

/// An image project that publishes below `images/`; entries are
/// `image content tag tag …`.
fn images(project: &str, prefix: &str, rows: &[&str]) -> Tree {
    let registries = format!(
        "registries:\n- {{name: gcr.io/staging-{project}, src: true}}\n- name: eu.example/{prefix}\n- name: us.example/{prefix}\n"
    );
    let mut images = String::new();
    for row in rows {
        let mut words = row.split(' ');
        let (image, content) = (words.next().unwrap(), words.next().unwrap());
        let tags: Vec<&str> = words.collect();
        let digest = Digest::of(content.as_bytes());
        let _ = writeln!(
            images,
            "- name: {image}\n  dmap: {{\"{digest}\": {tags:?}}}"
        );
    }
    Tree {
        files: vec![
            file(
                format!("manifests/{project}/promoter-manifest.yaml"),
                registries,
            ),
            file(format!("images/{project}/images.yaml"), images),
        ],
        ..Tree::default()
    }
}

/// A file project that publishes below `prefix`; entries are `path content`.
fn files(project: &str, prefix: &str, rows: &[&str]) -> Tree {
    let stores = format!(
        "filestores:\n- {{base: gs://staging-{project}/, src: true}}\n- base: gs://prod/{prefix}\n"
    );
    let mut files = "files:\n".to_owned();
    for row in rows {
        let (path, content) = row.split_once(' ').unwrap();
        let hex = Digest::of(content.as_bytes()).to_hex();
        let _ = writeln!(files, "- name: {path}\n  sha256: \"{hex}\"");
    }
    Tree {
        files: vec![
            file(
                format!("filestores/{project}/filepromoter-manifest.yaml"),
                stores,
            ),
            file(format!("manifests/{project}/v1.yaml"), files),
        ],
        ..Tree::default()
    }
}

fn file(path: String, text: String) -> SourceFile {
    SourceFile { path, text }
}

fn together(trees: impl IntoIterator<Item = Tree>) -> Tree {
    Tree {
        files: trees.into_iter().flat_map(|tree| tree.files).collect(),
        ..Tree::default()
    }
}

fn planned(tree: &Tree, catalog: &Catalog, options: &PlanOptions) -> Plan {
    plan(&parse(tree), &[], catalog, options)
}

/// A plan in few words.
fn summary(plan: &Plan) -> Vec<String> {
    let set = plan.set.iter().map(|asked| format!("set {}", asked.name));
    let unchanged = plan
        .unchanged
        .iter()
        .map(|asked| format!("unchanged {}", asked.name));
    let refused = plan.refused.iter().map(|(asked, why)| {
        let code = why.split(':').next().unwrap();
        format!("refused {} {code}", asked.name)
    });
    let removed = plan.removed.iter().map(|name| format!("remove {name}"));
    set.chain(unchanged).chain(refused).chain(removed).collect()
}

fn check(tree: &Tree, catalog: &Catalog, options: &PlanOptions, expected: &[&str]) {
    assert_eq!(summary(&planned(tree, catalog, options)), expected);
}

#[test]
fn many_destinations_are_one_public_name() {
    let tree = images("p", "prod/kube", &["a 1 v1 v1.0", "b 2"]);
    let plan = planned(&tree, &Catalog::default(), &PlanOptions::default());
    let digest = Digest::of(b"2");
    let bare = format!("set prod/kube/b@{digest}");
    let expected = ["set prod/kube/a:v1", "set prod/kube/a:v1.0", &bare];
    assert_eq!(summary(&plan), expected);
    assert_eq!(
        (plan.entries, plan.projects, plan.destination_edges),
        (3, 1, 6)
    );
    let source = plan.set[0].source.to_string();
    assert_eq!(source, format!("gcr.io/staging-p/a@{}", Digest::of(b"1")));
}

#[test]
fn rules_give_public_names_and_say_what_they_leave_out() {
    let rules = [ProductionRule {
        registries: vec!["eu.example/prod".to_owned()],
        ..ProductionRule::default()
    }];
    let tree = together([
        images("p", "prod/kube", &["a 1 v1"]),
        images("q", "elsewhere", &["a 1 v1"]),
    ]);
    let plan = plan(
        &parse(&tree),
        &rules,
        &Catalog::default(),
        &PlanOptions::default(),
    );
    assert_eq!(summary(&plan), ["set kube/a:v1"]);
    insta::assert_snapshot!("destinations_not_published", drawn(&plan.findings));
}

#[test]
fn a_name_means_one_digest_for_ever() {
    let tree = images("p", "prod", &["a 1 v1", "a 2 v2", "a 3 latest", "b 1 v1"]);
    let catalog = production(&[
        ("prod/a:v1", "1"),
        ("prod/a:v2", "other"),
        ("prod/a:latest", "old"),
    ]);
    check(
        &tree,
        &catalog,
        &PlanOptions::default(),
        &[
            "set prod/a:latest",
            "set prod/b:v1",
            "unchanged prod/a:v1",
            "refused prod/a:v2 immutable-name",
        ],
    );
    let moves = PlanOptions {
        allow_tag_moves: true,
        ..PlanOptions::default()
    };
    let plan = planned(&tree, &catalog, &moves);
    assert_eq!((plan.set.len(), plan.refused.len()), (3, 0));
    let none = PlanOptions {
        mutable: MutableNames::new([""; 0]),
        ..PlanOptions::default()
    };
    assert_eq!(planned(&tree, &catalog, &none).refused.len(), 2);
}

#[test]
fn what_was_withdrawn_stays_withdrawn() {
    let tree = images("p", "prod", &["a 1 v1", "a 2 v2"]);
    let mut catalog = production(&[("prod/a:v1", "1")]);
    revise(&mut catalog, &[], &[], &[Digest::of(b"1")]);
    let moves = PlanOptions {
        allow_tag_moves: true,
        ..PlanOptions::default()
    };
    let expected = ["set prod/a:v2", "refused prod/a:v1 withdrawn"];
    check(&tree, &catalog, &moves, &expected);
    assert!(
        planned(&tree, &catalog, &moves).refused[0]
            .1
            .contains("it is malware")
    );
}

#[test]
fn two_projects_cannot_give_one_name_two_digests() {
    let tree = together([
        images("p", "prod", &["a 1 v1", "a 2 v2"]),
        images("q", "prod", &["a other v1", "a 2 v2"]),
    ]);
    let expected = [
        "set prod/a:v2",
        "refused prod/a:v1 conflicting-tag",
        "refused prod/a:v1 conflicting-tag",
    ];
    check(
        &tree,
        &Catalog::default(),
        &PlanOptions::default(),
        &expected,
    );
    let held = production(&[("prod/a:v1", "1")]);
    let expected = [
        "set prod/a:v2",
        "unchanged prod/a:v1",
        "refused prod/a:v1 conflicting-tag",
    ];
    check(&tree, &held, &PlanOptions::default(), &expected);
    let plan = planned(&tree, &Catalog::default(), &PlanOptions::default());
    insta::assert_snapshot!("conflicts_across_projects", drawn(&plan.findings));
}

#[test]
fn a_path_is_a_file_or_a_folder() {
    let tree = files("p", "bin", &["x 1", "x/y 2", "z 3", "w/v 4", "good 5"]);
    let expected = [
        "set bin/good",
        "set bin/w/v",
        "set bin/x/y",
        "set bin/z",
        "refused bin/x colliding-paths",
    ];
    check(
        &tree,
        &Catalog::default(),
        &PlanOptions::default(),
        &expected,
    );
    let catalog = production(&[("bin/x", "1"), ("bin/z/deep", "d"), ("bin/w", "w")]);
    let expected = [
        "set bin/good",
        "unchanged bin/x",
        "refused bin/w/v colliding-paths",
        "refused bin/x/y colliding-paths",
        "refused bin/z colliding-paths",
    ];
    check(&tree, &catalog, &PlanOptions::default(), &expected);
}

#[test]
fn what_waits_at_a_gate_is_neither_set_again_nor_to_anything_else() {
    let mut catalog = production(&[("bin/moves", "old")]);
    announce(
        &mut catalog,
        &[
            ("bin/new", "1"),
            ("bin/other", "2"),
            ("bin/folder/x", "3"),
            ("bin/moves", "new"),
            ("prod/a:v1", "4"),
        ],
    );
    let tree = together([
        files(
            "p",
            "bin",
            &["new 1", "other 9", "folder 3", "moves old", "folder/x/y 5"],
        ),
        images("q", "prod", &["a 4 v1", "b 4 v1"]),
    ]);
    let expected = [
        "set prod/b:v1",
        "unchanged bin/moves",
        "refused bin/folder colliding-paths",
        "refused bin/folder/x/y colliding-paths",
        "refused bin/other pending-name",
    ];
    let options = PlanOptions {
        prune: true,
        ..PlanOptions::default()
    };
    check(&tree, &catalog, &options, &expected);
    let plan = planned(&tree, &catalog, &options);
    let waiting: Vec<_> = plan.waiting.iter().map(|it| it.name.to_string()).collect();
    assert_eq!(waiting, ["prod/a:v1", "bin/new"]);
    let without = Plan {
        waiting: Vec::new(),
        ..plan.clone()
    };
    assert_ne!(plan.digest(), without.digest());
    // What waits is listed nowhere, and no name: prune leaves it alone.
    let nothing = planned(&files("p", "bin", &["moves old"]), &catalog, &options);
    assert_eq!(summary(&nothing), ["unchanged bin/moves"]);
}

#[test]
fn public_names_that_are_reserved_or_malformed_are_left_out() {
    let tree = together([
        files(
            "p",
            "",
            &[
                "v2/x 1",
                "index.json 2",
                "blobs/y 3",
                "a/v2/x 4",
                ".landfall/z 5",
            ],
        ),
        images("q", "prod", &["a 1 v1"]),
    ]);
    let plan = planned(&tree, &Catalog::default(), &PlanOptions::default());
    assert_eq!(summary(&plan), ["set prod/a:v1", "set a/v2/x"]);
    insta::assert_snapshot!("reserved_paths", drawn(&plan.findings));
}

#[test]
fn nothing_is_removed_unless_asked_and_then_only_what_is_ours() {
    let tree = together([
        images("p", "prod/p", &["a 1 v1"]),
        files("p", "bin/p", &["x 1"]),
    ]);
    let signature = format!("prod/p/a:sha256-{}.sig", Digest::of(b"1").to_hex());
    let stale = format!("prod/p/a:sha256-{}.sig", Digest::of(b"gone").to_hex());
    let catalog = production(&[
        ("prod/p/a:v1", "1"),
        ("prod/p/a:v0", "0"),
        ("prod/p/old:v1", "1"),
        ("prod/p/theirs/b:v1", "1"),
        ("prod/q/a:v0", "1"),
        ("prod/pq:v0", "1"),
        (&signature, "s"),
        (&stale, "t"),
        ("bin/p/x", "1"),
        ("bin/p/y", "1"),
        ("bin/py", "1"),
        ("prod/p/file", "1"),
    ]);
    let unchanged = ["unchanged prod/p/a:v1", "unchanged bin/p/x"];
    check(&tree, &catalog, &PlanOptions::default(), &unchanged);
    let prune = PlanOptions {
        prune: true,
        neighbours: vec![Neighbour {
            project: "they".to_owned(),
            kind: Kind::Images,
            prefix: "prod/p/theirs".to_owned(),
        }],
        ..PlanOptions::default()
    };
    let stale = format!("remove {stale}");
    let expected = [
        unchanged[0],
        unchanged[1],
        &stale,
        "remove prod/p/a:v0",
        "remove prod/p/old:v1",
        "remove bin/p/y",
    ];
    check(&tree, &catalog, &prune, &expected);
}

#[test]
fn a_signature_goes_with_its_subject_and_stays_with_it_under_another_name() {
    let tree = images("p", "prod/p", &["a 1 v2"]);
    let of = |content: &str| {
        format!(
            "prod/p/a:sha256-{}.sig",
            Digest::of(content.as_bytes()).to_hex()
        )
    };
    let (moved, gone, of_that) = (of("1"), of("0"), of("0s"));
    let catalog = production(&[
        ("prod/p/a:v1", "1"),
        ("prod/p/a:v0", "0"),
        (&moved, "1s"),
        (&gone, "0s"),
        (&of_that, "0ss"),
    ]);
    let prune = PlanOptions {
        prune: true,
        ..PlanOptions::default()
    };
    let mut removed = [gone, of_that, "prod/p/a:v0".into(), "prod/p/a:v1".into()];
    removed.sort();
    let planned = planned(&tree, &catalog, &prune);
    let names: Vec<String> = planned.removed.iter().map(ToString::to_string).collect();
    assert_eq!(names, removed);
}

#[test]
fn nobody_puts_a_file_where_another_project_has_its_folder() {
    let tree = together([
        files("a", "prod", &["x 1", "x-y 1", "y 1", "z 1"]),
        files("b", "prod/x/deep", &["tool 1"]),
    ]);
    let options = PlanOptions {
        neighbours: vec![Neighbour {
            project: "c".to_owned(),
            kind: Kind::Files,
            prefix: "prod/y".to_owned(),
        }],
        ..PlanOptions::default()
    };
    let expected = [
        "set prod/x-y",
        "set prod/x/deep/tool",
        "set prod/z",
        "refused prod/x outside-project",
        "refused prod/y outside-project",
    ];
    check(&tree, &Catalog::default(), &options, &expected);
    let plan = planned(&tree, &Catalog::default(), &options);
    insta::assert_snapshot!("a_file_for_a_folder", drawn(&plan.findings));
}

#[test]
fn a_project_with_a_shorter_prefix_stops_nobody_below() {
    let theirs = images("b", "prod/b", &["app 1 v1", "app 2 v2"]);
    let reaching = images(
        "a",
        "prod",
        &["b/app 1 v1", "b/app 9 v2", "b/other 1 v1", "own 1 v1"],
    );
    let tree = together([reaching, theirs]);
    let expected = [
        "set prod/b/app:v1",
        "set prod/b/app:v2",
        "set prod/own:v1",
        "refused prod/b/app:v1 outside-project",
        "refused prod/b/app:v2 outside-project",
        "refused prod/b/other:v1 outside-project",
    ];
    let nothing = Catalog::default();
    check(&tree, &nothing, &PlanOptions::default(), &expected);
    let plan = planned(&tree, &nothing, &PlanOptions::default());
    assert!(plan.set[..2].iter().all(|asked| asked.project == "b"));
    insta::assert_snapshot!("outside_a_project", drawn(&plan.findings));

    // What somebody else lists is not listed.
    let catalog = production(&[("prod/b/other:v1", "1")]);
    let prune = PlanOptions {
        prune: true,
        ..PlanOptions::default()
    };
    let unsound = planned(&tree, &catalog, &prune);
    assert_eq!(unsound.removed, ["prod/b/other:v1".parse().unwrap()]);

    let below = images("a", "prod", &["b/app 1 v1"]);
    let beside = PlanOptions {
        neighbours: vec![Neighbour {
            project: "b".to_owned(),
            kind: Kind::Images,
            prefix: "prod/b".to_owned(),
        }],
        ..PlanOptions::default()
    };
    check(
        &below,
        &nothing,
        &beside,
        &["refused prod/b/app:v1 outside-project"],
    );
}

#[test]
fn a_path_that_collides_is_shown_with_its_line_and_the_other_place() {
    let tree = files("p", "bin", &["x 1", "x/y 2"]);
    let mut plan = planned(&tree, &Catalog::default(), &PlanOptions::default());
    landfall_promotion::with_excerpts(&mut plan.findings, &tree);
    insta::assert_snapshot!("colliding_paths", drawn(&plan.findings));
}

#[test]
fn under_the_empty_prefix_only_listed_repositories_are_pruned() {
    let mut tree = images("p", "prod", &["a 1 v1"]);
    tree.files[0].text = tree.files[0].text.replace("/prod", "");
    let catalog = production(&[("a:v1", "1"), ("a:v0", "0"), ("b:v0", "0"), ("a/b:v0", "0")]);
    let prune = PlanOptions {
        prune: true,
        ..PlanOptions::default()
    };
    check(&tree, &catalog, &prune, &["unchanged a:v1", "remove a:v0"]);
}

#[test]
fn nothing_is_pruned_of_a_project_whose_manifests_have_faults() {
    let prune = PlanOptions {
        prune: true,
        ..PlanOptions::default()
    };
    let catalog = production(&[
        ("prod/p/a:v1", "1"),
        ("prod/p/a:v0", "0"),
        ("bin/p/x", "1"),
        ("bin/p/y", "0"),
    ]);
    let sound_images = images("p", "prod/p", &["a 1 v1"]);
    let sound_files = files("q", "bin/p", &["x 1"]);
    let both = together([sound_images.clone(), sound_files.clone()]);
    let removed = planned(&both, &catalog, &prune).removed;
    assert_eq!(removed.len(), 2);

    let faults: [fn(&mut String); 5] = [
        |text| text.push_str("- name: a\n  dmap: {sha256:12: [v0]}\n"),
        |text| text.insert_str(0, "x: "),
        |text| text.insert(0, '['),
        |text| *text = "images: []\n".to_owned(),
        |text| *text = text.replace("name", "nome"),
    ];
    for fault in faults {
        let mut tree = sound_images.clone();
        fault(&mut tree.files[1].text);
        let plan = planned(&tree, &catalog, &prune);
        assert_eq!(plan.removed, [], "{}", tree.files[1].text);
        let skipped = |finding: &&Finding| finding.rule == "prune-skipped";
        assert_eq!(plan.findings.iter().filter(skipped).count(), 1);
    }

    let faults: [fn(&mut String); 4] = [
        |text| *text = text.replace("files:", "file:"),
        |text| *text = text.replace("sha256:", "sha-256:"),
        |text| *text = "files: []\n".to_owned(),
        |text| text.clear(),
    ];
    for fault in faults {
        let mut tree = sound_files.clone();
        fault(&mut tree.files[1].text);
        let plan = planned(&tree, &catalog, &prune);
        assert_eq!(plan.removed, [], "{}", tree.files[1].text);
    }
}

#[test]
fn nothing_is_pruned_while_a_project_is_left_out_whole() {
    let mut broken = images("q", "prod/p/q", &["a 1 v1"]);
    broken.files[0].text.push_str("- name: https://x\n");
    let tree = together([images("p", "prod/p", &["a 1 v1"]), broken]);
    let catalog = production(&[("prod/p/a:v1", "1"), ("prod/p/q/a:v1", "1")]);
    let prune = PlanOptions {
        prune: true,
        ..PlanOptions::default()
    };
    check(&tree, &catalog, &prune, &["unchanged prod/p/a:v1"]);
}

#[test]
fn a_comment_or_the_order_of_files_changes_no_plan() {
    let tree = together([
        images("p", "prod", &["a 1 v1", "b 2 v2"]),
        files("p", "bin", &["x 1"]),
    ]);
    let digest = |tree: &Tree| planned(tree, &Catalog::default(), &PlanOptions::default()).digest();
    let mut other = tree.clone();
    other.files.reverse();
    for file in &mut other.files {
        file.text.insert_str(0, "# a comment\n");
    }
    assert_eq!(digest(&tree), digest(&other));
    let moved = images("p", "prod", &["a 1 v1", "b 3 v2"]);
    assert_ne!(digest(&tree), digest(&moved));
}

#[test]
fn a_project_cannot_multiply_its_names_without_bound() {
    let mut tree = images("p", "prod", &["a 1 v1"]);
    for prefix in 0..1000 {
        let _ = writeln!(tree.files[0].text, "- name: eu.example/{prefix}");
    }
    let plan = planned(&tree, &Catalog::default(), &PlanOptions::default());
    assert_eq!(summary(&plan), [""; 0]);
    assert_eq!(plan.findings[0].rule, "too-many-prefixes");
}

const TAGS: [&str; 3] = ["v1", "v2", "latest"];
const IMAGES: [&str; 2] = ["a", "b"];

fn rows() -> impl Strategy<Value = Vec<(usize, usize, usize)>> {
    proptest::collection::vec((0..IMAGES.len(), 0_usize..4, 0..TAGS.len()), 0..10)
}

fn tree_of(project: &str, rows: &[(usize, usize, usize)]) -> Tree {
    let rows: Vec<String> = rows
        .iter()
        .map(|(image, content, tag)| format!("{} {content} {}", IMAGES[*image], TAGS[*tag]))
        .collect();
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    images(project, "prod", &rows)
}

proptest! {
    /// Two projects ask for the same few names, in conflict as often as not.
    #[test]
    fn an_executed_plan_leaves_nothing_to_do_and_moves_only_what_may(
        held in rows(),
        first in rows(),
        second in rows(),
        prune in any::<bool>(),
    ) {
        let mut catalog = Catalog::default();
        let before: Vec<_> = held
            .iter()
            .map(|(image, content, tag)| {
                let name = format!("prod/{}:{}", IMAGES[*image], TAGS[*tag]).parse().unwrap();
                (name, Digest::of(content.to_string().as_bytes()))
            })
            .collect();
        revise(&mut catalog, &before, &[], &[]);
        let meant = |catalog: &Catalog, name: &Name| {
            catalog.name(name).map(|record| *catalog.object(record.ordinal).unwrap().digest())
        };
        let before: Vec<_> = before
            .iter()
            .map(|(name, _)| (name.clone(), meant(&catalog, name)))
            .collect();

        let tree = together([tree_of("p", &first), tree_of("q", &second)]);
        let options = PlanOptions { prune, ..PlanOptions::default() };
        let plan = planned(&tree, &catalog, &options);
        prop_assert_eq!(
            plan.entries,
            plan.set.len() + plan.unchanged.len() + plan.refused.len()
        );
        prop_assert!(prune || plan.removed.is_empty());
        execute(&mut catalog, &plan);

        for (name, meant_before) in before {
            let now = meant(&catalog, &name);
            let may_move = name.to_string().ends_with(":latest");
            let removed = plan.removed.contains(&name);
            prop_assert!(may_move || now == meant_before || (removed && now.is_none()));
        }
        for asked in plan.set.iter().chain(&plan.unchanged) {
            prop_assert_eq!(meant(&catalog, &asked.name), Some(asked.digest));
        }
        let again = planned(&tree, &catalog, &options);
        prop_assert!(again.is_empty(), "{:?}", summary(&again));
        prop_assert_eq!(again.refused.len(), plan.refused.len());
    }
}

#[test]
fn a_source_that_is_published_is_told_and_onto_itself_is_warned_of() {
    let rules: Vec<_> = ["incubating", "stable"]
        .map(|channel| ProductionRule {
            registries: ["eu", "us"]
                .map(|host| format!("{host}.example/{channel}"))
                .into(),
            repository_prefix: channel.to_owned(),
            ..ProductionRule::default()
        })
        .into();
    let found = |source: &str, destination: &str| {
        let registries =
            format!("registries:\n- {{name: {source}, src: true}}\n- name: {destination}\n");
        let tree = Tree {
            files: vec![
                file("manifests/p/promoter-manifest.yaml".into(), registries),
                file("images/p/images.yaml".into(), "[]\n".into()),
            ],
            ..Tree::default()
        };
        let plan = plan(
            &parse(&tree),
            &rules,
            &Catalog::default(),
            &PlanOptions::default(),
        );
        let told = plan.findings.into_iter();
        let told = told.filter(|finding| finding.rule.starts_with("promoted-on"));
        told.map(|finding| (finding.rule, finding.message, finding.quarantines))
            .collect::<Vec<_>>()
    };
    assert_eq!(found("gcr.io/staging", "eu.example/stable"), []);
    assert_eq!(found("eu.example/incubating2", "eu.example/stable"), []);
    let onward = found("eu.example/incubating/team", "eu.example/stable/team");
    assert_eq!((onward[0].0, onward[0].2), ("promoted-onward", false));
    assert!(onward[0].1.contains("`incubating/team`"), "{onward:?}");
    let itself = found("us.example/stable/team", "eu.example/stable/team");
    assert_eq!(itself[0].0, "promoted-onto-itself");
}
