//! `landfall validate` and `plan`, offline: on the real Kubernetes tree where it
//! is there, and on one that looks like it.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{content::Manifests, finish, process::landfall};

/// Generous, because this is an unoptimised build on a busy machine; the figures
/// of `bench/run plan` are the ones that count.
const LIMIT: Duration = Duration::from_secs(10);

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
    let begun = Instant::now();
    let output = finish(landfall().args(arguments).arg("--json").arg(dir));
    assert!(begun.elapsed() < LIMIT, "took {:?}", begun.elapsed());
    let value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!(
            "{error}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    });
    (output.status.code(), value)
}

#[test]
fn the_real_kubernetes_tree_is_validated_and_planned_offline() {
    let Some(tree) = shared("data/k8s.io/registry.k8s.io") else {
        return;
    };
    let (code, found) = json(&["validate", "--lenient"], &tree);
    assert_eq!(found["projects"], 75);
    assert_eq!(found["digest_rows"], 20_019);
    assert_eq!(found["tags"], 20_086);
    // The one 63-digit digest is quarantined, told, and not acknowledged.
    assert_eq!(found["quarantined"], 1);
    assert_eq!(code, Some(1));
    let errors: Vec<&Value> = found["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["severity"] == "error")
        .collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0]["line"].as_u64() > Some(1), "{errors:?}");

    let (_, plan) = json(&["plan"], &tree);
    assert_eq!(plan["projects"], 75);
    assert_eq!(plan["refused"], 0);
    assert_eq!(plan["destination_edges"], 720_478);
    assert_eq!(plan["bytes_to_copy"], Value::Null);
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
    let cases: [(&[&str], &Path, &[&str]); 4] = [
        (&["validate"], empty.path(), &["promoter-manifest.yaml"]),
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
