//! The manifests as people give them: validated and planned offline, on the real
//! Kubernetes tree where it is there and on one that looks like it; and promoted.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    cluster::{Cluster, Setup},
    content::{Layout, Manifests, PROJECT},
    finish, git, ok,
    peers::Registry,
    process::landfall,
    stdout,
};

fn shared(below: &str) -> Option<PathBuf> {
    let root = std::env::var_os("LANDFALL_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
        PathBuf::from,
    );
    let path = root.join(below);
    if path.is_dir() {
        Some(path)
    } else {
        println!(
            "{} is not there: the real tree was not tested, only one that looks like it",
            path.display()
        );
        None
    }
}

fn json(arguments: &[&str], dir: &Path) -> (Option<i32>, Value) {
    let output = finish(landfall().args(arguments).arg("--json").arg(dir));
    let value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!(
            "{error}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    });
    (output.status.code(), value)
}

/// The findings of a severity.
fn of<'a>(found: &'a Value, severity: &str) -> Vec<&'a Value> {
    found["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["severity"] == severity)
        .collect()
}

/// Acknowledges whatever fails, as a person would from what was printed.
fn acknowledge(found: &Value, file: &Path) {
    let text: String = of(found, "error")
        .iter()
        .map(|finding| {
            format!(
                "[[acknowledged]]\nhash = {}\nrule = {}\nwhy = \"published like this\"\nwho = \"release team\"\n\n",
                finding["hash"], finding["rule"]
            )
        })
        .collect();
    fs::write(file, text).unwrap();
}

/// Strict fails and so does lenient; once the faults are acknowledged, both pass
/// and still print them.
fn fails_until_acknowledged(tree: &Path, rule: &str, count: usize) -> Value {
    let scratch = TempDir::new().unwrap();
    let (strict, _) = json(&["validate"], tree);
    let (lenient, found) = json(&["validate", "--lenient"], tree);
    assert_eq!((strict, lenient), (Some(1), Some(1)), "{found}");
    let errors = of(&found, "error");
    assert_eq!(errors.len(), count, "{errors:?}");
    assert_eq!(of(&found, "warning").len(), 0, "{found}");
    for error in &errors {
        assert_eq!(error["rule"], rule);
        assert!(error["line"].as_u64() > Some(1), "{error}");
    }

    let file = scratch.path().join("known.toml");
    acknowledge(&found, &file);
    let known = file.to_str().unwrap();
    for arguments in [
        &["validate", "--acknowledged", known][..],
        &["validate", "--lenient", "--acknowledged", known][..],
        &["plan", "--acknowledged", known][..],
    ] {
        let (code, still) = json(arguments, tree);
        assert_eq!(code, Some(0), "{arguments:?}: {still}");
        let errors = of(&still, "error");
        assert_eq!(errors.len(), count, "{arguments:?}");
        assert!(errors.iter().all(|error| error["acknowledged"] == true));
    }
    let text = finish(
        landfall()
            .args(["validate", "--acknowledged", known])
            .arg(tree),
    );
    let text = String::from_utf8_lossy(&text.stdout);
    let told = text.matches("= acknowledged by release team: published like this");
    assert_eq!(told.count(), count, "{text}");
    found
}

#[test]
fn the_real_registry_tree_has_one_known_fault_and_is_planned_offline() {
    let Some(tree) = shared("data/k8s.io/registry.k8s.io") else {
        return;
    };
    let found = fails_until_acknowledged(&tree, "malformed-digest", 1);
    assert_eq!(found["projects"], 75);
    assert_eq!(found["digest_rows"], 20_019);
    assert_eq!(found["tags"], 20_086);
    assert_eq!(found["quarantined"], 1);
    let deprecated = of(&found, "note")
        .iter()
        .filter(|note| note["rule"] == "deprecated-field")
        .count();
    assert_eq!(deprecated, 4);

    let (_, plan) = json(&["plan"], &tree);
    assert_eq!(plan["projects"], 75);
    assert_eq!(plan["refused"], 0);
    assert_eq!(plan["destination_edges"], 720_478);
    assert_eq!(plan["bytes_to_copy"], Value::Null);
}

#[test]
fn the_real_artifacts_tree_has_six_paths_with_conflicting_hashes() {
    let Some(tree) = shared("data/k8s.io/artifacts") else {
        return;
    };
    let found = fails_until_acknowledged(&tree, "conflicting-hashes", 6);
    assert_eq!(found["files"], 4_024);
    // Six paths, each promoted by five releases.
    assert_eq!(found["quarantined"], 30);
    for error in of(&found, "error") {
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("5 different hashes"), "{message}");
    }
    let (_, plan) = json(&["plan"], &tree);
    assert_eq!(plan["set"], 3_937 - 6);
}

#[test]
fn known_faults_of_a_tree_that_looks_like_it_are_acknowledged() {
    let dir = TempDir::new().unwrap();
    let mut manifests = Manifests::new(dir.path());
    let digest = |content: &str| landfall_catalog::Digest::of(content.as_bytes()).to_string();
    manifests.image("good", &digest("good"), "v1");
    manifests.image("bad", "sha256:23eb4b17", "v1");
    fails_until_acknowledged(dir.path(), "malformed-digest", 1);

    // The folder's own file counts without being named, and says when it is stale.
    let (_, found) = json(&["validate"], dir.path());
    acknowledge(&found, &dir.path().join(".landfall-acknowledged.toml"));
    assert_eq!(json(&["validate"], dir.path()).0, Some(0));
    manifests.image("worse", "sha256:23eb4b18", "v1");
    let (code, found) = json(&["validate"], dir.path());
    assert_eq!((code, &found["failing"]), (Some(1), &1.into()), "{found}");
    let mended = TempDir::new().unwrap();
    Manifests::new(mended.path()).image("good", &digest("good"), "v1");
    let known = dir.path().join(".landfall-acknowledged.toml");
    let arguments = ["validate", "--acknowledged", known.to_str().unwrap()];
    let (code, found) = json(&arguments, mended.path());
    let stale = of(&found, "note");
    assert_eq!(code, Some(0), "{found}");
    assert!(
        stale
            .iter()
            .any(|note| note["rule"] == "stale-acknowledgement"),
        "{found}"
    );
}

#[test]
fn a_further_hash_of_an_acknowledged_path_is_a_new_fault() {
    let dir = TempDir::new().unwrap();
    let mut manifests = Manifests::new(dir.path());
    let digest = |content: &str| landfall_catalog::Digest::of(content.as_bytes()).to_string();
    manifests.file("linux/tool", &digest("1"));
    manifests.file("linux/tool", &digest("2"));
    let (_, found) = json(&["validate"], dir.path());
    acknowledge(&found, &dir.path().join(".landfall-acknowledged.toml"));
    assert_eq!(json(&["validate"], dir.path()).0, Some(0));
    manifests.file("linux/tool", &digest("3"));
    assert_eq!(json(&["validate"], dir.path()).0, Some(1));
}

#[test]
fn a_tree_that_looks_like_it_is_validated_whole_and_one_bad_entry_is_quarantined() {
    let dir = TempDir::new().unwrap();
    let mut manifests = Manifests::new(dir.path());
    for number in 0..200_u32 {
        let digest = landfall_catalog::Digest::of(&number.to_be_bytes()).to_string();
        manifests.image(
            &format!("image-{}", number % 20),
            &digest,
            &format!("v{number}"),
        );
    }
    let (code, found) = json(&["validate"], dir.path());
    assert_eq!(
        (code, &found["digest_rows"]),
        (Some(0), &200.into()),
        "{found}"
    );

    let short = "sha256:23eb4b17";
    manifests.image("bad", short, "v1");
    let (strict, _) = json(&["validate"], dir.path());
    assert_eq!(strict, Some(1));
    let (lenient, found) = json(&["validate", "--lenient"], dir.path());
    assert_eq!(
        (lenient, &found["quarantined"]),
        (Some(1), &1.into()),
        "{found}"
    );
    let (_, plan) = json(&["plan"], dir.path());
    assert_eq!(plan["set"], 200, "{plan}");
    let text = finish(landfall().args(["validate"]).arg(dir.path()));
    let text = String::from_utf8_lossy(&text.stdout);
    assert!(
        text.contains("images.yaml:") && text.contains(short),
        "{text}"
    );
}

/// Writes so many projects of 200 rows each.
fn write_projects(root: &Path, projects: usize) {
    for project in 0..projects {
        let mut images = String::new();
        for image in 0..20 {
            images.push_str(&format!("- name: image-{image}\n  dmap:\n"));
            for row in 0..10 {
                let digest =
                    landfall_catalog::Digest::of(format!("{project} {image} {row}").as_bytes());
                images.push_str(&format!("    \"{digest}\": [\"v{row}\"]\n"));
            }
        }
        let registries = format!(
            "registries:\n- name: gcr.io/k8s-staging-p{project}\n  src: true\n- name: eu.example/prod/p{project}\n"
        );
        for (half, file, text) in [
            ("manifests", "promoter-manifest.yaml", registries),
            ("images", "images.yaml", images),
        ] {
            let folder = root.join(half).join(format!("p{project}"));
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(file), text).unwrap();
        }
    }
}

/// Seconds that a command was on a processor, which a busy machine does not
/// lengthen: what `times` of a shell says of its children.
fn processor_seconds(arguments: &[&str], dir: &Path) -> f64 {
    let program = landfall().get_program().to_owned();
    let told = stdout(
        Command::new("sh")
            .env_remove("LANDFALL_COORDINATOR")
            .args(["-c", "\"$@\" > /dev/null && times", "sh"])
            .arg(program)
            .args(arguments)
            .arg(dir),
    );
    let children = told.lines().last().unwrap_or_default().split_whitespace();
    children
        .map(|time| {
            let (minutes, seconds) = time.trim_end_matches('s').split_once('m').unwrap();
            60.0 * minutes.parse::<f64>().unwrap() + seconds.parse::<f64>().unwrap()
        })
        .sum()
}

/// How long it takes in figures is for `bench/run plan`, where nothing else runs.
#[test]
fn five_times_the_manifests_cost_about_five_times_the_work() {
    let (once, five) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    write_projects(once.path(), 20);
    write_projects(five.path(), 100);
    let (_, found) = json(&["validate"], five.path());
    assert_eq!(found["digest_rows"], 20_000, "{found}");
    for arguments in [&["validate"][..], &["plan"]] {
        let first = processor_seconds(arguments, once.path());
        let more = processor_seconds(arguments, five.path());
        // What grew with the square would take 25 times as long.
        assert!(
            more < 10.0 * first.max(0.05),
            "{arguments:?}: {first} s, then {more} s"
        );
    }
}

#[test]
fn wrong_use_says_what_to_do_and_exits_2() {
    let empty = TempDir::new().unwrap();
    let missing = empty.path().join("missing.toml");
    let wrong = empty.path().join("wrong.toml");
    fs::write(
        &wrong,
        "coordinator = \"http://192.0.2.1:7443\"\ndata_dir = 1\nlisten = \"0.0.0.0:1\"\nsurprise = true\n",
    )
    .unwrap();
    let cases: [(&[&str], &Path, &[&str]); 5] = [
        (&["validate"], empty.path(), &["promoter-manifest.yaml"]),
        (
            &["validate", "--acknowledged"],
            &wrong,
            &["required", "DIR"],
        ),
        (&["agent", "run", "--config"], &missing, &["missing.toml"]),
        (
            &["agent", "run", "--config"],
            &wrong,
            // All faults at once, each with its place.
            &["wrong.toml:2", "surprise", "data_dir", "mirror", "store"],
        ),
        (
            &["status", "--coordinator", "not-a-url"],
            Path::new("--json"),
            &["not-a-url"],
        ),
    ];
    for (arguments, last, expected) in cases {
        let output = finish(landfall().args(arguments).arg(last));
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        for word in expected {
            assert!(
                said.contains(word),
                "{arguments:?} does not say {word}: {said}"
            );
        }
    }
    // Out of reach is not wrong use.
    let output = finish(landfall().args(["status", "--coordinator", "http://127.0.0.1:1"]));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn findings_are_written_for_code_review_with_paths_from_the_top_of_the_checkout() {
    let checkout = TempDir::new().unwrap();
    let top = checkout.path();
    let mut manifests = Manifests::new(&top.join("k8s.io"));
    manifests.image("bad", "sha256:23eb4b17", "v1");
    git(top, &["init", "-q"]);
    let file = top.join("out.sarif");
    let arguments = ["validate", "--sarif", file.to_str().unwrap()];
    assert_eq!(json(&arguments, &manifests.dir).0, Some(1));
    let log: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(log["version"], "2.1.0");
    let error = log["runs"][0]["results"]
        .as_array()
        .unwrap()
        .iter()
        .find(|result| result["level"] == "error")
        .unwrap();
    assert_eq!(error["ruleId"], "malformed-digest");
    let location = &error["locations"][0]["physicalLocation"];
    let uri = location["artifactLocation"]["uri"].as_str().unwrap();
    assert!(top.join(uri).is_file(), "{uri}");
    let line = location["region"]["startLine"].as_u64().unwrap();
    let text = fs::read_to_string(top.join(uri)).unwrap();
    let line = text
        .lines()
        .nth(usize::try_from(line).unwrap() - 1)
        .unwrap();
    assert!(line.contains("23eb4b17"), "{line}");
}

#[test]
fn an_acknowledgement_of_nothing_is_where_its_file_is_in_the_checkout() {
    let checkout = TempDir::new().unwrap();
    let top = checkout.path();
    let manifests = Manifests::new(&top.join("k8s.io"));
    git(top, &["init", "-q"]);
    let hash = landfall_catalog::Digest::of(b"gone");
    let known = format!(
        "[[acknowledged]]\nhash = \"{hash}\"\nrule = \"bad-tag\"\nwhy = \"old\"\nwho = \"me\"\n"
    );
    let beside = manifests.dir.join(".landfall-acknowledged.toml");
    let elsewhere = top.join("known.toml");
    for (file, uri) in [
        (&beside, "k8s.io/.landfall-acknowledged.toml"),
        (&elsewhere, "known.toml"),
    ] {
        fs::write(file, &known).unwrap();
        let sarif = top.join("out.sarif");
        let arguments = ["validate", "--acknowledged", file.to_str().unwrap()];
        let mut arguments = arguments.to_vec();
        arguments.extend(["--sarif", sarif.to_str().unwrap()]);
        json(&arguments, &manifests.dir);
        let log: Value = serde_json::from_slice(&fs::read(&sarif).unwrap()).unwrap();
        let results = log["runs"][0]["results"].as_array().unwrap();
        let stale = results
            .iter()
            .find(|result| result["ruleId"] == "stale-acknowledgement")
            .unwrap();
        let location = &stale["locations"][0]["physicalLocation"];
        assert_eq!(location["artifactLocation"]["uri"], uri);
    }
}

#[test]
fn a_project_in_one_file_is_validated_and_planned() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("k8s-staging-x.yaml");
    let digest = landfall_catalog::Digest::of(b"x");
    let text = format!(
        "registries:\n- name: gcr.io/k8s-staging-x\n  src: true\n- name: eu.example/prod/x\n\
         images:\n- name: app\n  dmap:\n    \"{digest}\": [\"v1\", \"v2\"]\n"
    );
    fs::write(&file, text).unwrap();
    let (code, found) = json(&["validate"], &file);
    assert_eq!((code, &found["tags"]), (Some(0), &2.into()), "{found}");
    let (code, plan) = json(&["plan"], &file);
    assert_eq!((code, &plan["set"]), (Some(0), &2.into()), "{plan}");
    for (arguments, file) in [
        (&["validate"][..], dir.path().join("missing.yaml")),
        (&["validate", "--base", "HEAD"], file),
    ] {
        let output = finish(landfall().args(arguments).arg(file));
        assert_ne!(output.status.code(), Some(0), "{arguments:?}");
    }
}

#[test]
fn a_change_of_both_halves_is_refused_whatever_is_acknowledged() {
    let checkout = TempDir::new().unwrap();
    let top = checkout.path();
    let git = |arguments: &[&str]| git(top, arguments);
    let mut manifests = Manifests::new(top);
    git(&["init", "-q", "-b", "main"]);
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "base"]);
    let base = ["validate", "--base", "main"];
    let lenient = ["validate", "--lenient", "--base", "main"];
    assert_eq!(json(&base, top).0, Some(0));

    git(&["checkout", "-q", "-b", "change"]);
    let digest = landfall_catalog::Digest::of(b"x").to_string();
    manifests.image("app", &digest, "v1");
    assert_eq!(json(&base, top).0, Some(0), "the delegated half alone");
    let registries = format!("registry.k8s.io/manifests/{PROJECT}/promoter-manifest.yaml");
    let mut text = fs::read_to_string(top.join(&registries)).unwrap();
    text.push_str("- name: evil.example/prod\n");
    fs::write(top.join(&registries), text).unwrap();
    for committed in [false, true] {
        if committed {
            git(&["commit", "-q", "-a", "-m", "both"]);
        }
        for arguments in [&base[..], &lenient[..]] {
            let (code, found) = json(arguments, top);
            let errors = of(&found, "error");
            assert_eq!((code, errors.len()), (Some(1), 1), "{found}");
            assert_eq!(errors[0]["rule"], "mixed-halves");
            let message = errors[0]["message"].as_str().unwrap();
            let images = format!("registry.k8s.io/images/{PROJECT}/images.yaml");
            assert!(
                message.contains(&registries) && message.contains(&images),
                "{message}"
            );
        }
    }
    let (_, found) = json(&base, top);
    acknowledge(&found, &top.join(".landfall-acknowledged.toml"));
    let output = finish(landfall().args(base).arg(top));
    assert_eq!(
        output.status.code(),
        Some(2),
        "an excuse is no acknowledgement"
    );

    // Owners are wanted where they are asked for, and only then.
    fs::remove_file(top.join(".landfall-acknowledged.toml")).unwrap();
    assert_eq!(json(&["validate"], top).0, Some(0));
    let (code, found) = json(&["validate", "--owners"], top);
    let warnings = of(&found, "warning");
    assert_eq!((code, warnings.len()), (Some(1), 1), "{found}");
    assert_eq!(warnings[0]["rule"], "missing-owners");
    fs::write(
        top.join(format!("registry.k8s.io/images/{PROJECT}/OWNERS")),
        "approvers: [me]\n",
    )
    .unwrap();
    assert_eq!(json(&["validate", "--owners"], top).0, Some(0));
}

#[test]
fn a_strict_promotion_waits_for_known_faults_to_be_acknowledged() {
    let mut cluster = Cluster::start(Setup {
        mirrors: Some(0),
        ..Setup::default()
    });
    cluster.stage_file("tool", b"a tool");
    cluster.manifests.image("bad", "sha256:23eb4b17", "v1");
    let dir = cluster.manifests.dir.clone();
    let strict = ["promote", "--strict", "--confirm"];
    let refused = finish(cluster.command(&strict).arg(&dir));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("refused because of 1 findings"), "{said}");
    assert_eq!(cluster.status()["revision"], 0, "nothing was promoted");
    assert_eq!(
        finish(cluster.command(&["plan"]).arg(&dir)).status.code(),
        Some(1)
    );

    let (_, found) = json(&["validate"], &dir);
    acknowledge(&found, &dir.join(".landfall-acknowledged.toml"));
    ok(cluster.command(&["plan"]).arg(&dir));
    let promoted = ok(cluster.command(&strict).arg(&dir));
    let said = String::from_utf8_lossy(&promoted.stdout);
    assert!(said.contains("[malformed-digest] (acknowledged)"), "{said}");
    assert_eq!(cluster.status()["revision"], 1);
}

#[test]
fn a_project_in_one_file_is_promoted() {
    let dir = TempDir::new().unwrap();
    let registry = Registry::start(&dir.path().join("registry"));
    let layout = Layout::new(&dir.path().join("layout"));
    let root = layout.image("amd64", 1, &[100]);
    let digest = layout.push(&root, &format!("{}/{PROJECT}/app:v1", registry.host));
    let cluster = Cluster::start(Setup {
        registry: Some(registry.host),
        mirrors: Some(0),
        ..Setup::default()
    });
    let halves = cluster.manifests.dir.join("registry.k8s.io/manifests");
    let registries = halves.join(PROJECT).join("promoter-manifest.yaml");
    let registries = fs::read_to_string(registries).unwrap();
    let file = dir.path().join(format!("{PROJECT}.yaml"));
    let images = format!("images:\n- name: app\n  dmap:\n    \"{digest}\": [\"v1\"]\n");
    fs::write(&file, registries + &images).unwrap();
    ok(cluster
        .command(&["promote", "--strict", "--confirm"])
        .arg(&file));
    let status = cluster.status();
    assert_eq!(
        (&status["revision"], &status["names"]),
        (&1.into(), &1.into()),
        "{status}"
    );
}
