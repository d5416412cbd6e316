//! A bad release: away from everybody within a second, and not back by itself.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    cluster::{Cluster, MIRRORS, PLACES, Setup},
    content::{Layout, PROJECT},
    eventually, finish,
    peers::{Registry, curl_status},
    stdout,
};

#[test]
fn a_withdrawn_file_is_gone_within_a_second_and_comes_back_only_when_reinstated() {
    let mut cluster = Cluster::start(Setup::default());
    let digest = cluster.stage_file("bad", &vec![6; 50_000]);
    cluster.stage_file("good", b"good");
    cluster.promote();
    let all = [0, 1, 2];
    cluster.wait_complete(&all, Duration::from_secs(20));
    let name = "binaries/test/bad";
    let url = format!("http://{}/{name}", cluster.public);
    let blob = |hex: &str| format!("http://{}/blobs/sha256/{hex}", cluster.public);
    let hex = digest.trim_start_matches("sha256:").to_owned();
    let client = format!("X-Forwarded-For: {}", PLACES[2].1);
    assert_eq!(curl_status(&url, &[&client]), Ok(302));

    let said = stdout(&mut cluster.command(&["withdraw", name, "--reason", "CVE-1", "--json"]));
    let returned = Instant::now();
    for url in [&url, &blob(&hex)] {
        eventually(
            "the redirector says gone",
            Duration::from_secs(1),
            || match curl_status(url, &[&client])? {
                410 => Ok(()),
                status => Err(format!("{url}: status {status}")),
            },
        );
    }
    let gone_after = returned.elapsed();
    assert!(gone_after < Duration::from_secs(1), "{gone_after:?}");
    println!("withdrawn: 410 {gone_after:?} after the command returned");
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (&said["revision"], &said["objects"][0]),
        (&2.into(), &digest.clone().into())
    );

    // Every mirror purges, and only then counts as having confirmed.
    let blobs: Vec<PathBuf> = all
        .iter()
        .map(|mirror| cluster.store(*mirror).join("blobs/sha256").join(&hex))
        .collect();
    let (confirmed, _) = eventually("all have confirmed", Duration::from_secs(10), || {
        let status = cluster.status();
        let withdrawal = &status["withdrawals"][0];
        if withdrawal["pending"].as_array().is_some_and(Vec::is_empty) {
            Ok(withdrawal["confirmed"].clone())
        } else {
            Err(withdrawal.to_string())
        }
    });
    assert_eq!(
        confirmed,
        Value::from(MIRRORS.map(|mirror| mirror.name).to_vec())
    );
    for (mirror, path) in all.iter().zip(&blobs) {
        assert!(fs::metadata(path).is_err(), "{path:?} is still there");
        let linked = cluster.store(*mirror).join(name);
        assert!(fs::metadata(&linked).is_err(), "{linked:?} is still there");
        let direct = format!("http://{}/blobs/sha256/{hex}", cluster.mirror(*mirror));
        assert_ne!(curl_status(&direct, &[]), Ok(200), "{direct}");
    }
    for path in [name.to_owned(), format!("blobs/sha256/{hex}")] {
        let origin = format!("http://{}/origin/{path}", cluster.coordinator_http);
        assert_ne!(curl_status(&origin, &[]), Ok(200), "{origin}");
    }
    let table = stdout(&mut cluster.command(&["status"]));
    assert!(table.contains("CVE-1"), "{table}");

    // The next promotion of the same manifests says so, and does not bring it back.
    let done = cluster.promote();
    assert_eq!(
        (&done["revision"], &done["refused"], &done["present"]),
        (&0.into(), &1.into(), &1.into()),
        "{done}"
    );
    assert_eq!(curl_status(&url, &[&client]), Ok(410));

    let reinstate = ["reinstate", &digest, "--reason", "a false alarm", "--json"];
    let back: Value = serde_json::from_str(&stdout(&mut cluster.command(&reinstate))).unwrap();
    assert_eq!(back["revision"], 3, "{back}");
    cluster.wait_complete(&all, Duration::from_secs(20));
    cluster.wait_route(PLACES[2].1, name, "uni-oslo", Duration::from_secs(10));
    assert_eq!(curl_status(&url, &[&client]), Ok(302));
    assert_eq!(
        fs::read(cluster.store(2).join(name)).unwrap(),
        vec![6; 50_000]
    );
    assert_eq!(cluster.status()["withdrawals"], Value::Array(Vec::new()));
}

#[test]
fn an_image_goes_with_what_only_it_needs_and_the_other_stays_whole() {
    let scratch = TempDir::new().unwrap();
    let registry = Registry::start(&scratch.path().join("registry"));
    let layout = Layout::new(&scratch.path().join("layout"));
    let [shared, old, new] = [1, 2, 3].map(|seed| layout.image("amd64", seed, &[30_000]));
    let digest = |descriptor: &Value| descriptor["digest"].as_str().unwrap().to_owned();
    let mut cluster = Cluster::start(Setup {
        registry: Some(registry.host.clone()),
        mirrors: Some(1),
        ..Setup::default()
    });
    for (tag, images) in [("v1", [&shared, &old]), ("v2", [&shared, &new])] {
        let index = layout.index(&images.map(Clone::clone));
        let pushed = layout.push(&index, &format!("{}/{PROJECT}/app-{tag}:v", registry.host));
        cluster.manifests.image(&format!("app-{tag}"), &pushed, "v");
    }
    let done = cluster.promote();
    assert_eq!(
        (&done["revision"], &done["copied"]),
        (&1.into(), &2.into()),
        "{done}"
    );
    cluster.wait_complete(&[0], Duration::from_secs(20));

    // The platform that both need has no name of its own.
    let shared = digest(&shared);
    let refused = finish(&mut cluster.command(&["withdraw", &shared, "--reason", "r"]));
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let why = String::from_utf8_lossy(&refused.stderr);
    assert!(
        why.contains("test/app-v1:v") && why.contains("test/app-v2:v"),
        "{why}"
    );

    let withdraw = ["withdraw", "test/app-v1:v", "--reason", "CVE-2", "--json"];
    let dry = stdout(cluster.command(&withdraw).arg("--dry-run"));
    let said = stdout(&mut cluster.command(&withdraw));
    let objects = |text: &str| serde_json::from_str::<Value>(text).unwrap()["objects"].clone();
    let gone = objects(&said);
    assert_eq!(gone, objects(&dry));
    // Its index, and the OCI manifest of the platform that it alone has. Config and
    // layer of that go without being withdrawn: others may have the same.
    let gone: Vec<&str> = gone
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(gone.len(), 2, "{said}");
    assert!(gone.contains(&digest(&old).as_str()) && !gone.contains(&shared.as_str()));

    let base = format!("http://{}/v2", cluster.public);
    let tag = format!("{base}/test/app-v1/manifests/v");
    eventually(
        "the tag is gone",
        Duration::from_secs(1),
        || match curl_status(&tag, &[])? {
            410 => Ok(()),
            status => Err(format!("status {status}")),
        },
    );
    for object in &gone {
        let url = format!("http://{}/blobs/sha256/{}", cluster.public, &object[7..]);
        assert_eq!(curl_status(&url, &[]), Ok(410), "{url}");
    }
    eventually("the mirror has purged", Duration::from_secs(10), || {
        let confirmed = cluster.status()["withdrawals"][0]["confirmed"].clone();
        (confirmed == serde_json::json!([MIRRORS[0].name]))
            .then_some(())
            .ok_or(confirmed.to_string())
    });
    let held = |object: &str| {
        cluster
            .store(0)
            .join("blobs/sha256")
            .join(&object[7..])
            .is_file()
    };
    assert!(gone.iter().all(|object| !held(object)) && held(&shared));
    let old = scratch
        .path()
        .join("layout/blobs/sha256")
        .join(&digest(&old)[7..]);
    let old: Value = serde_json::from_slice(&fs::read(old).unwrap()).unwrap();
    let layer = digest(&old["layers"][0]);
    assert!(!held(&layer), "{layer} is still there");
    let url = format!("http://{}/blobs/sha256/{}", cluster.public, &layer[7..]);
    assert_eq!(curl_status(&url, &[]), Ok(404), "{url}");
    let url = format!("{base}/test/app-v1/blobs/{layer}");
    assert_eq!(curl_status(&url, &[]), Ok(410), "{url}");
    let index = fs::read_to_string(cluster.store(0).join("index.json")).unwrap();
    assert!(
        !index.contains("test/app-v1") && index.contains("test/app-v2"),
        "{index}"
    );

    let copy = |name: &str| {
        let mut command = Command::new("skopeo");
        let to = format!("dir:{}", scratch.path().join(name).display());
        let from = format!("docker://{}/test/{name}:v", cluster.public);
        command.args([
            "copy",
            "--quiet",
            "--all",
            "--src-tls-verify=false",
            &from,
            &to,
        ]);
        finish(&mut command)
    };
    assert!(copy("app-v2").status.success());
    assert!(!copy("app-v1").status.success());
    let reinstate = [
        "reinstate",
        "test/app-v1:v",
        "--reason",
        "fixed the scanner",
    ];
    stdout(&mut cluster.command(&reinstate));
    cluster.wait_complete(&[0], Duration::from_secs(20));
    assert!(copy("app-v1").status.success());
}
