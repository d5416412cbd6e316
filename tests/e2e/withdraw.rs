//! A bad release: away from everybody within a second, and not back by itself.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::{
    cluster::{Cluster, MIRRORS, PLACES, Setup},
    eventually,
    peers::curl_status,
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
