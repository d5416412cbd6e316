//! A bucket as the origin: what is promoted can be had from its public address
//! by people and mirrors, and nothing else can.

use std::{fs, process::Command, time::Duration};

use crate::support::{
    cluster::{Cluster, PLACES, Setup},
    content::noise,
    eventually,
    peers::{Bucket, curl_status},
    sha256sum, stdout,
};

#[test]
fn a_promotion_into_a_bucket_is_served_by_the_bucket_and_fills_a_mirror() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = Bucket::start(&dir.path().join("bucket"));
    let base = format!("{}/public", bucket.url);
    let mut cluster = Cluster::start(Setup {
        mirrors: Some(1),
        origin_store: Some(format!("s3://{}/public", Bucket::NAME)),
        origin_url: Some(base.clone()),
        env: bucket.env.clone(),
        ..Setup::default()
    });
    // Larger than one part of an upload.
    let large = cluster.stage_file("large", &noise(1, 20 << 20));
    let note = cluster.stage_file("large.sha256", large.as_bytes());
    let lie = cluster.stage_file("lie", b"what was reviewed");
    fs::write(cluster.staging().join("lie"), b"what was not used").unwrap();

    let said = cluster.promote();
    assert_eq!(
        (&said["copied"], &said["refused"]),
        (&2.into(), &1.into()),
        "{said}"
    );

    // Anybody, straight from the bucket.
    for (path, digest) in [("large", &large), ("large.sha256", &note)] {
        let hex = digest.trim_start_matches("sha256:");
        for url in [
            format!("{base}/binaries/test/{path}"),
            format!("{base}/blobs/sha256/{hex}"),
        ] {
            assert_eq!(fetched(&cluster, &url, &[]).0, *digest, "{url}");
        }
    }
    let content_type =
        stdout(Command::new("curl").args(["-sSI", &format!("{base}/binaries/test/large.sha256")]));
    assert!(
        content_type
            .to_lowercase()
            .contains("content-type: text/plain")
    );
    let lie = lie.trim_start_matches("sha256:");
    for url in [
        format!("{base}/binaries/test/lie"),
        format!("{base}/blobs/sha256/{lie}"),
    ] {
        assert_eq!(curl_status(&url, &[]), Ok(404), "{url}");
    }

    // A mirror fills itself from it, and a client without one is sent to it.
    cluster.wait_complete(&[0], Duration::from_secs(60));
    let blob = large.replace(':', "/");
    assert_eq!(sha256sum(&cluster.store(0).join("blobs").join(blob)), large);
    let client = format!("X-Forwarded-For: {}", PLACES[0].1);
    let public = format!("http://{}/binaries/test/large", cluster.public);
    cluster.agents.clear();
    eventually("the bucket takes over", Duration::from_secs(20), || {
        let (digest, from) = fetched(&cluster, &public, &[&client]);
        if digest == large && from.starts_with(&base) {
            Ok(())
        } else {
            Err(format!("{digest} from {from}"))
        }
    });

    // The coordinator reads the bucket through, for whoever may not.
    let through = format!(
        "http://{}/origin/binaries/test/large",
        cluster.coordinator_http
    );
    assert_eq!(fetched(&cluster, &through, &[]).0, large);

    let again = cluster.promote();
    assert_eq!(again["copied"], 0, "{again}");

    // What is withdrawn is out of the bucket's sight, and comes back whole.
    let hex = large.trim_start_matches("sha256:");
    let places = [
        format!("{base}/binaries/test/large"),
        format!("{base}/blobs/sha256/{hex}"),
    ];
    for (command, status) in [("withdraw", 404), ("reinstate", 200)] {
        let name = "binaries/test/large";
        stdout(&mut cluster.command(&[command, name, "--reason", "test", "--json"]));
        for url in &places {
            assert_eq!(curl_status(url, &[]), Ok(status), "{command}: {url}");
        }
    }
    assert_eq!(fetched(&cluster, &places[0], &[]).0, large);

    // A name that goes is gone, and its content stays for going back.
    for path in ["large.sha256", "lie"] {
        cluster.manifests.without_file(path);
    }
    let pruned = stdout(
        cluster
            .command(&["promote", "--confirm", "--json", "--why", "test"])
            .args(["--prune", "--allow-mass-change"])
            .arg(&cluster.manifests.dir),
    );
    let gone = format!("{base}/binaries/test/large.sha256");
    eventually(
        "the name is gone from the bucket",
        Duration::from_secs(5),
        || match curl_status(&gone, &[])? {
            404 => Ok(()),
            status => Err(format!("status {status} after {pruned}")),
        },
    );
    let hex = note.trim_start_matches("sha256:");
    let kept = format!("{base}/blobs/sha256/{hex}");
    assert_eq!(fetched(&cluster, &kept, &[]).0, note);
}

/// The digest of what lies at `url`, and where it was in the end.
fn fetched(cluster: &Cluster, url: &str, headers: &[&str]) -> (String, String) {
    let file = cluster.dir.path().join("fetched");
    let mut curl = Command::new("curl");
    curl.args(["-sSL", "-m", "30", "-w", "%{url_effective}", "-o"])
        .arg(&file)
        .arg(url);
    for header in headers {
        curl.args(["-H", header]);
    }
    let output = crate::support::finish(&mut curl);
    if !output.status.success() {
        return (
            String::new(),
            String::from_utf8_lossy(&output.stderr).into(),
        );
    }
    let from = String::from_utf8_lossy(&output.stdout).into_owned();
    (sha256sum(&file), from)
}
