//! From incubating to stable: production is promoted onward by the same
//! manifests, and nothing is copied or fetched again.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    cluster::{Cluster, Setup},
    content::{Descriptor, Layout, PROJECT},
    eventually, finish,
    peers::{Registry, curl_status},
    sha256sum, stdout,
};

const IMAGES: &str = "us-central1-docker.pkg.dev/k8s-artifacts-prod/images";
const FILES: &str = "gs://k8s-artifacts-prod/binaries";
const SIGNATURE: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
const SBOM: &str = "application/spdx+json";

/// What is promoted: an image, and a file.
struct Release {
    image: Descriptor,
    file: String,
}

impl Release {
    fn digest(&self) -> &str {
        self.image["digest"].as_str().unwrap()
    }

    /// Manifests that take it into a channel.
    fn manifests(&self, dir: &Path, channel: &str, registry: &str, store: &str) {
        let write = |path: String, text: String| {
            let path = dir.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let europe = IMAGES.replace("us-central1", "europe-west1");
        write(
            format!("images/manifests/{channel}/promoter-manifest.yaml"),
            format!(
                "registries:\n- {{name: {registry}, src: true}}\n- name: {IMAGES}/{channel}\n- name: {europe}/{channel}\n"
            ),
        );
        let digest = self.digest();
        write(
            format!("images/images/{channel}/images.yaml"),
            format!("- name: app\n  dmap:\n    \"{digest}\": [v1]\n"),
        );
        write(
            format!("files/filestores/{channel}/filepromoter-manifest.yaml"),
            format!("filestores:\n- {{base: {store}, src: true}}\n- base: {FILES}/{channel}/\n"),
        );
        let hex = self.file.trim_start_matches("sha256:");
        write(
            format!("files/manifests/{channel}/files.yaml"),
            format!("files:\n- {{name: tool, sha256: {hex}}}\n"),
        );
    }
}

/// An index with a signature, a bill of materials that is signed itself, and a
/// tag of cosign's, in a registry without a referrers API.
fn push(layout: &Layout, host: &str) -> Descriptor {
    let staging = format!("{host}/{PROJECT}/app");
    let image = layout.index(&[
        layout.image("amd64", 41, &[200_000, 3_000]),
        layout.image("arm64", 42, &[200_000]),
    ]);
    layout.push(&image, &format!("{staging}:v1"));
    let hex = |descriptor: &Descriptor| descriptor["digest"].as_str().unwrap()[7..].to_owned();
    let signature = layout.artifact(&image, SIGNATURE, b"signed");
    let sbom = layout.artifact(&image, SBOM, b"{\"spdxVersion\": \"SPDX-2.3\"}");
    let nested = layout.artifact(&sbom, SIGNATURE, b"signed, too");
    for (name, artifact) in [("sig", &signature), ("sbom", &sbom), ("nested", &nested)] {
        layout.push(artifact, &format!("{staging}:{name}"));
    }
    let listed = [
        (&image, vec![signature, sbom.clone()]),
        (&sbom, vec![nested]),
    ];
    for (subject, referrers) in listed {
        let listing = layout.index(&referrers);
        layout.put(&listing, &format!("{staging}:sha256-{}", hex(subject)));
    }
    let cosign = layout.cosign_signature(&image);
    layout.push(&cosign, &format!("{staging}:sha256-{}.sig", hex(&image)));
    image
}

/// The last event of a promotion, and all that was printed.
fn promote(cluster: &Cluster, dir: &Path, flags: &[&str]) -> (Value, String) {
    let mut command = cluster.command(&["promote", "--confirm", "--json"]);
    let output = finish(command.args(flags).arg(dir));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let last = text.lines().last().unwrap_or_default();
    let done = serde_json::from_str(last).unwrap_or_else(|error| {
        panic!(
            "{error}: {text}\n{}",
            String::from_utf8_lossy(&output.stderr)
        )
    });
    (done, text)
}

/// A cluster with one mirror, and a release that incubates there; its staging is
/// gone.
fn incubated(origin_store: Option<String>, scratch: &Path) -> (Cluster, Release, PathBuf) {
    let registry = Registry::start(&scratch.join("registry"));
    let layout = Layout::new(&scratch.join("layout"));
    let image = push(&layout, &registry.host);
    let keeps_files = origin_store.is_none();
    let cluster = Cluster::start(Setup {
        registry: Some(registry.host.clone()),
        mirrors: Some(1),
        origin_store,
        ..Setup::default()
    });
    let tool = cluster.staging().join("tool");
    fs::write(&tool, vec![9; 100_000]).unwrap();
    let release = Release {
        image,
        file: sha256sum(&tool),
    };
    let manifests = cluster.dir.path().join("channels");
    for (channel, registry, store) in [
        (
            "incubating",
            format!("gcr.io/{PROJECT}"),
            format!("gs://{PROJECT}/releases/"),
        ),
        (
            "stable",
            format!("{IMAGES}/incubating"),
            format!("{FILES}/incubating/"),
        ),
    ] {
        release.manifests(&manifests.join(channel), channel, &registry, &store);
    }

    // Stable before incubating: it is not there, and that is said.
    let (early, text) = promote(&cluster, &manifests.join("stable"), &[]);
    assert_eq!(
        (&early["lost"], &early["revision"]),
        (&2.into(), &0.into()),
        "{text}"
    );
    assert!(text.contains("promote it there first"), "{text}");

    let (done, text) = promote(&cluster, &manifests.join("incubating"), &[]);
    let copied = if keeps_files { 6 } else { 5 };
    assert_eq!(
        (&done["revision"], &done["copied"]),
        (&1.into(), &copied.into()),
        "{text}"
    );
    cluster.wait_complete(&[0], Duration::from_secs(30));
    drop(registry);
    fs::remove_file(tool).unwrap();
    (cluster, release, manifests)
}

fn raw(host: &str, repository: &str) -> String {
    let mut inspect = Command::new("skopeo");
    inspect.args(["inspect", "--raw", "--tls-verify=false"]);
    stdout(inspect.arg(format!("docker://{host}/{repository}:v1")))
}

#[test]
fn a_release_goes_from_incubating_to_stable_and_nobody_fetches_it_again() {
    let scratch = TempDir::new().unwrap();
    let (cluster, release, manifests) = incubated(None, scratch.path());
    let origin = cluster.coordinator_http.clone();
    let served = |kind: &str| cluster.served_bytes(&origin, kind);
    let before = ["blob", "oci-blob", "oci-manifest", "file"].map(served);

    let planned = stdout(
        cluster
            .command(&["plan", "--json"])
            .arg(manifests.join("stable")),
    );
    let planned: Value = serde_json::from_str(&planned).unwrap();
    assert_eq!(
        (&planned["set"], &planned["bytes_to_copy"]),
        (&6.into(), &0.into()),
        "{planned}"
    );
    let told = planned["findings"].as_array().unwrap();
    let onward = told
        .iter()
        .filter(|finding| finding["rule"] == "promoted-onward");
    assert_eq!(onward.count(), 2, "{planned}");

    let (done, text) = promote(&cluster, &manifests.join("stable"), &[]);
    assert_eq!(
        (
            &done["revision"],
            &done["present"],
            &done["copied"],
            &done["failed"]
        ),
        (&2.into(), &6.into(), &0.into(), &0.into()),
        "{text}"
    );
    cluster.wait_complete(&[0], Duration::from_secs(20));
    let tool = format!("http://{}/binaries/stable/tool", cluster.public);
    eventually(
        "stable is served",
        Duration::from_secs(10),
        || match curl_status(&tool, &[])? {
            302 => Ok(()),
            status => Err(format!("status {status}")),
        },
    );
    // The same bytes under both names, with all that speaks about them.
    assert_eq!(
        raw(&cluster.public, "stable/app"),
        raw(&cluster.public, "incubating/app")
    );
    let referrers = |channel: &str, subject: &str| {
        let url = format!(
            "http://{}/v2/{channel}/app/referrers/{subject}",
            cluster.public
        );
        let listed = stdout(Command::new("curl").args(["-sSf", &url]));
        let listed: Value = serde_json::from_str(&listed).unwrap();
        let mut digests: Vec<_> = listed["manifests"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| {
                (
                    entry["artifactType"].to_string(),
                    entry["digest"].as_str().unwrap().to_owned(),
                )
            })
            .collect();
        digests.sort();
        digests
    };
    let stable = referrers("stable", release.digest());
    assert_eq!(stable, referrers("incubating", release.digest()));
    assert_eq!(stable.len(), 2);
    let (_, sbom) = stable
        .iter()
        .find(|(kind, _)| kind.contains("spdx"))
        .unwrap();
    assert_eq!(referrers("stable", sbom).len(), 1);
    let cosign = format!("sha256-{}.sig", &release.digest()[7..]);
    let cosign = format!("http://{}/v2/stable/app/manifests/{cosign}", cluster.public);
    assert_eq!(curl_status(&cosign, &[]), Ok(200));
    assert_eq!(
        ["blob", "oci-blob", "oci-manifest", "file"].map(served),
        before
    );
    let index = fs::read_to_string(cluster.store(0).join("index.json")).unwrap();
    assert!(index.contains("stable/app:v1"), "{index}");

    // The incubating name goes, and takes nothing from the stable one.
    fs::write(cluster.staging().join("next"), b"next").unwrap();
    let next = sha256sum(&cluster.staging().join("next"));
    let list = manifests.join("incubating/files/manifests/incubating/files.yaml");
    fs::write(
        list,
        format!("files:\n- {{name: next, sha256: {}}}\n", &next[7..]),
    )
    .unwrap();
    let incubating = manifests.join("incubating/files");
    let flags = ["--prune", "--allow-mass-change"];
    let (done, text) = promote(&cluster, &incubating, &flags);
    assert_eq!(
        (&done["revision"], &done["removed"], &done["copied"]),
        (&3.into(), &1.into(), &1.into()),
        "{text}"
    );
    let gone = format!("http://{}/binaries/incubating/tool", cluster.public);
    eventually(
        "the incubating name is gone",
        Duration::from_secs(10),
        || match curl_status(&gone, &[])? {
            404 => Ok(()),
            status => Err(format!("status {status}")),
        },
    );
    cluster.wait_complete(&[0], Duration::from_secs(20));
    assert_eq!(curl_status(&tool, &[]), Ok(302));
    let held = cluster
        .store(0)
        .join("blobs/sha256")
        .join(&release.file[7..]);
    assert!(held.is_file());
}

#[test]
fn in_a_registry_it_is_mounted_into_the_other_repository() {
    let scratch = TempDir::new().unwrap();
    let origin = Registry::start(&scratch.path().join("origin"));
    let store = format!("oci+http://{}/published", origin.host);
    let (cluster, _, manifests) = incubated(Some(store), scratch.path());
    let (done, text) = promote(&cluster, &manifests.join("stable"), &[]);
    // The file never got into a registry, so it is not in production either.
    assert_eq!(
        (
            &done["copied"],
            &done["lost"],
            &done["failed"],
            &done["refused"]
        ),
        (&5.into(), &1.into(), &0.into(), &0.into()),
        "{text}"
    );
    let index = raw(&origin.host, "published/incubating/app");
    assert_eq!(raw(&origin.host, "published/stable/app"), index);
    let copied = scratch.path().join("copied");
    stdout(
        Command::new("skopeo")
            .args(["copy", "--all", "--preserve-digests", "--quiet"])
            .arg("--src-tls-verify=false")
            .arg(format!("docker://{}/published/stable/app:v1", origin.host))
            .arg(format!("oci:{}:v1", copied.display())),
    );
}
