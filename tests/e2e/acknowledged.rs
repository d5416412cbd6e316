//! A contradiction between projects that is known and lived with: still told,
//! still refused, and no failure.

use std::fs;

use serde_json::Value;

use crate::support::{
    cluster::{Cluster, Setup},
    content::PROJECT,
    finish,
};

#[test]
fn what_projects_contradict_each_other_about_fails_nothing_once_it_is_acknowledged() {
    let mut cluster = Cluster::start(Setup {
        mirrors: Some(1),
        ..Setup::default()
    });
    cluster.stage_file("both", b"as the first has it");
    cluster.stage_file("fine", b"fine");
    let tree = cluster.manifests.dir.clone();
    let write = |path: &str, text: String| {
        let path = tree.join("artifacts").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write(
        "filestores/second/filepromoter-manifest.yaml",
        format!(
            "filestores:\n- {{base: gs://{PROJECT}/releases/, src: true}}\n- base: gs://k8s-artifacts-prod/binaries/test/\n"
        ),
    );
    let other = "0".repeat(64);
    write(
        "manifests/second/files.yaml",
        format!("files:\n- {{name: both, sha256: \"{other}\"}}\n"),
    );
    let run = |command: &[&str]| {
        let output = finish(cluster.command(command).arg(&tree));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), text)
    };
    let promote = ["promote", "--confirm", "--json"];
    let last =
        |text: &str| -> Value { serde_json::from_str(text.lines().last().unwrap()).unwrap() };

    let (code, planned) = run(&["plan", "--json"]);
    assert_eq!(code, Some(1), "{planned}");
    let planned: Value = serde_json::from_str(&planned).unwrap();
    assert_eq!(
        (&planned["refused"], &planned["acknowledged"]),
        (&2.into(), &0.into()),
        "{planned}"
    );
    let (code, text) = run(&promote);
    let done = last(&text);
    assert_eq!(
        (code, &done["copied"], &done["refused"]),
        (Some(1), &1.into(), &2.into()),
        "{text}"
    );

    // Somebody looked at it. What is acknowledged is that fault and no other.
    let hashes: Vec<_> = planned["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["rule"] == "conflicting-hashes")
        .map(|finding| finding["hash"].as_str().unwrap())
        .collect();
    assert_eq!(hashes.len(), 2, "{planned}");
    let known: String = hashes
        .iter()
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .map(|hash| {
            format!(
                "[[acknowledged]]\nhash = \"{hash}\"\nrule = \"conflicting-hashes\"\nwhy = \"both were published\"\nwho = \"release team\"\n"
            )
        })
        .collect();
    fs::write(tree.join(".landfall-acknowledged.toml"), known).unwrap();
    let (code, text) = run(&["plan"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("2 refused (2 of them acknowledged)"),
        "{text}"
    );
    assert_eq!(text.matches("(acknowledged)").count(), 4, "{text}");
    let (code, text) = run(&promote);
    let done = last(&text);
    assert_eq!(
        (code, &done["refused"], &done["acknowledged"]),
        (Some(0), &2.into(), &2.into()),
        "{text}"
    );
    let (code, text) = run(&["reconcile", "--json"]);
    let round = last(&text);
    assert_eq!(
        (code, &round["refused"], &round["acknowledged"]),
        (Some(0), &0.into(), &2.into()),
        "{text}"
    );

    // Another contradiction is another fault.
    write(
        "manifests/second/files.yaml",
        format!(
            "files:\n- {{name: fine, sha256: \"{other}\"}}\n- {{name: both, sha256: \"{other}\"}}\n"
        ),
    );
    let (code, text) = run(&promote);
    let done = last(&text);
    assert_eq!(
        (code, &done["acknowledged"]),
        (Some(1), &2.into()),
        "{text}"
    );
}
