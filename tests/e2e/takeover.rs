//! A production that was there before: what it holds under the names that are
//! listed is verified and recorded, though staging has expired.

use std::fs;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::{
    cluster::{Cluster, Setup},
    content::{Layout, PROJECT, noise},
    peers::{Bucket, Registry},
    stdout,
};

#[test]
fn what_a_registry_holds_under_a_listed_name_is_recorded_and_not_copied() {
    let scratch = TempDir::new().unwrap();
    let staging = Registry::start(&scratch.path().join("staging"));
    let origin = Registry::start(&scratch.path().join("origin"));
    let layout = Layout::new(&scratch.path().join("layout"));
    let images = [1, 2].map(|seed| layout.image(["amd64", "arm64"][seed - 1], 7, &[40_000]));
    let whole = layout.push(
        &layout.index(&images),
        &format!("{}/published/test/app:v1", origin.host),
    );
    // One tag means something else there than the list says.
    let (meant, listed) = (
        layout.image("amd64", 8, &[30_000]),
        layout.image("amd64", 11, &[30_000]),
    );
    let meant = layout.push(&meant, &format!("{}/published/test/app:v2", origin.host));
    let listed = layout.push(&listed, &format!("{}/published/test/app:old", origin.host));
    // Only another project's repository has this one.
    let foreign = layout.image("amd64", 9, &[20_000]);
    let foreign = layout.push(&foreign, &format!("{}/published/other/app:v3", origin.host));
    // Promoted from staging in the same plan.
    let fresh = layout.image("amd64", 10, &[10_000]);
    let fresh = layout.push(&fresh, &format!("{}/{PROJECT}/app:v4", staging.host));

    let mut cluster = Cluster::start(Setup {
        registry: Some(staging.host),
        mirrors: Some(1),
        origin_store: Some(format!("oci+http://{}/published", origin.host)),
        ..Setup::default()
    });
    cluster.manifests.image("app", &whole, "v1");
    cluster.manifests.image("app", &listed, "v2");
    cluster.manifests.image("app", &foreign, "v3");
    cluster.manifests.image("app", &fresh, "v4");
    let said = cluster.promote();
    assert_eq!(figures(&said), [1, 1, 1, 1], "{said}");
    cluster.wait_complete(&[0], Duration::from_secs(60));
    let raw = |host: &str, repository: &str| {
        let mut inspect = Command::new("skopeo");
        inspect.args(["inspect", "--raw", "--tls-verify=false"]);
        inspect.arg(format!("docker://{host}/{repository}:v1"));
        stdout(&mut inspect)
    };
    let before = raw(&origin.host, "published/test/app");
    assert_eq!(raw(&cluster.public, "test/app"), before);

    let tag = |tag: &str| {
        let mut inspect = Command::new("skopeo");
        inspect.args(["inspect", "--format", "{{.Digest}}", "--tls-verify=false"]);
        inspect.arg(format!("docker://{}/published/test/app:{tag}", origin.host));
        stdout(&mut inspect).trim().to_owned()
    };
    assert_eq!([tag("v1"), tag("v2"), tag("v4")], [whole, meant, fresh]);
    let again = cluster.promote();
    assert_eq!(figures(&again), [2, 0, 1, 1], "{again}");
}

#[test]
fn what_a_bucket_holds_at_a_listed_path_is_recorded_if_it_is_what_is_listed() {
    let dir = TempDir::new().unwrap();
    let bucket = Bucket::start(&dir.path().join("bucket"));
    let base = format!("{}/public", bucket.url);
    let mut cluster = Cluster::start(Setup {
        mirrors: Some(1),
        origin_store: Some(format!("s3://{}/public", Bucket::NAME)),
        origin_url: Some(base.clone()),
        env: bucket.env.clone(),
        ..Setup::default()
    });
    let old = noise(3, 5 << 20);
    let digests = [
        ("old", old.as_slice()),
        ("lie", b"what was listed"),
        ("gone", b"gone"),
    ]
    .map(|(path, content)| {
        let digest = cluster.stage_file(path, content);
        fs::remove_file(cluster.staging().join(path)).unwrap();
        digest
    });
    let there = dir.path().join("there");
    for (path, content) in [("old", old.as_slice()), ("lie", b"what is public!")] {
        fs::write(&there, content).unwrap();
        let mut put = Command::new("curl");
        put.args(["-sSf", "-T"]).arg(&there);
        stdout(put.arg(format!("{base}/binaries/test/{path}")));
    }

    let said = cluster.promote();
    assert_eq!(figures(&said), [0, 1, 1, 1], "{said}");
    cluster.wait_complete(&[0], Duration::from_secs(60));
    let hex = digests[0].trim_start_matches("sha256:");
    let get = |path: &str| {
        let file = dir.path().join("got");
        let url = format!("{base}/{path}");
        stdout(
            Command::new("curl")
                .args(["-sSf", "-o"])
                .arg(&file)
                .arg(url),
        );
        fs::read(&file).unwrap()
    };
    assert!(get("binaries/test/old") == old && get(&format!("blobs/sha256/{hex}")) == old);
    assert_eq!(
        get("binaries/test/lie"),
        b"what is public!",
        "it stays as it is"
    );
}

/// Names that are present, copied, lost and refused.
fn figures(said: &serde_json::Value) -> [u64; 4] {
    ["present", "copied", "lost", "refused"].map(|figure| said[figure].as_u64().unwrap())
}
