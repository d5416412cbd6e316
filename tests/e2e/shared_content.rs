//! What is withdrawn is needed by something else, or is something else's content,
//! too: nothing goes that nobody asked for, and what stays goes on working.

use std::{fs, process::Command, time::Duration};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    cluster::{Cluster, Setup},
    content::{Layout, PROJECT},
    eventually, finish,
    peers::{Registry, curl_status},
    stdout,
};

const LIMIT: Duration = Duration::from_secs(20);

fn json(cluster: &Cluster, command: &[&str]) -> Value {
    let said = stdout(cluster.command(command).arg("--json"));
    serde_json::from_str(&said).unwrap()
}

/// What a command that is refused says.
fn refused(cluster: &Cluster, command: &[&str]) -> String {
    let output = finish(&mut cluster.command(command));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn listed<'a>(said: &'a Value, list: &str) -> Vec<&'a str> {
    let all = said[list].as_array().unwrap().iter();
    all.filter_map(Value::as_str).collect()
}

/// Waits for a status, which takes a moment after a commit.
fn answered(url: &str, status: u16) {
    eventually(url, LIMIT, || match curl_status(url, &[])? {
        now if now == status => Ok(()),
        now => Err(format!("status {now}")),
    });
}

#[test]
fn one_platform_is_withdrawn_and_the_others_of_its_image_go_on() {
    let scratch = TempDir::new().unwrap();
    let registry = Registry::start(&scratch.path().join("registry"));
    let layout = Layout::new(&scratch.path().join("layout"));
    let platforms = ["amd64", "arm64"].map(|name| layout.image(name, 5, &[40_000]));
    let [_, arm64] = platforms
        .each_ref()
        .map(|image| image["digest"].as_str().unwrap().to_owned());
    let mut cluster = Cluster::start(Setup {
        registry: Some(registry.host.clone()),
        mirrors: Some(2),
        ..Setup::default()
    });
    let index = layout.index(&platforms);
    let index = layout.push(&index, &format!("{}/{PROJECT}/app:v1", registry.host));
    cluster.manifests.image("app", &index, "v1");
    cluster.manifests.image("app", &arm64, "v1-arm64");
    assert_eq!(cluster.promote()["copied"], 2);
    cluster.wait_complete(&[0, 1], LIMIT);

    let pulled = |cluster: &Cluster, options: &[&str]| {
        let folder = scratch.path().join("pulled");
        let _ = fs::remove_dir_all(&folder);
        let mut skopeo = Command::new("skopeo");
        skopeo.args(options);
        skopeo.args(["copy", "--quiet", "--src-tls-verify=false"]);
        if options.is_empty() {
            skopeo.arg("--all");
        }
        let from = format!("docker://{}/test/app:v1", cluster.public);
        let output = finish(skopeo.arg(from).arg(format!("dir:{}", folder.display())));
        println!("{options:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.status.success()
    };
    let [amd, arm] = ["amd64", "arm64"].map(|name| ["--override-arch", name]);
    let manifests = format!("http://{}/v2/test/app/manifests", cluster.public);
    answered(&format!("{manifests}/v1"), 200);
    assert!(pulled(&cluster, &amd) && pulled(&cluster, &arm) && pulled(&cluster, &[]));

    // By its name, and by a digest that means it: both have to be thought about.
    for what in ["test/app:v1-arm64", arm64.as_str()] {
        let why = refused(&cluster, &["withdraw", what, "--reason", "CVE-1"]);
        for told in ["test/app:v1", "--with-parents", "--leave-parents"] {
            assert!(why.contains(told), "{what}: {why}");
        }
    }
    let alone = ["withdraw", "test/app:v1-arm64", "--reason", "CVE-1"];
    let dry = json(&cluster, &[&alone[..], &["--dry-run"]].concat());
    assert_eq!(listed(&dry, "unsaid").len(), 1, "{dry}");
    assert_eq!(cluster.status()["revision"], 1);

    cluster.agents[1].kill_9();
    let said = json(&cluster, &[&alone[..], &["--leave-parents"]].concat());
    assert_eq!(listed(&said, "objects"), [&arm64]);
    assert!(
        listed(&said, "parents")[0].contains("test/app:v1"),
        "{said}"
    );
    for gone in [&arm64, "v1-arm64"] {
        answered(&format!("{manifests}/{gone}"), 410);
    }
    answered(&format!("{manifests}/v1"), 200);
    // The mirror has all that anybody can have; so has one that was away, and one
    // that starts with nothing.
    cluster.wait_complete(&[0], LIMIT);
    cluster.agents[1] = cluster.again("agent", "gcp-west");
    cluster.wait_complete(&[0, 1], LIMIT);
    cluster.agents[0].kill_9();
    fs::remove_dir_all(cluster.store(0)).unwrap();
    cluster.agents[0] = cluster.again("agent", "aws-east");
    cluster.wait_complete(&[0, 1], LIMIT);
    assert!(pulled(&cluster, &amd));
    assert!(!pulled(&cluster, &arm) && !pulled(&cluster, &[]));
    let again = cluster.promote();
    assert_eq!(
        (&again["revision"], &again["refused"]),
        (&0.into(), &1.into())
    );

    let back = [
        "reinstate",
        "test/app:v1-arm64",
        "--reason",
        "a false alarm",
    ];
    assert_eq!(listed(&json(&cluster, &back), "still_withdrawn"), [""; 0]);
    answered(&format!("{manifests}/{arm64}"), 200);
    cluster.wait_complete(&[0, 1], LIMIT);
    assert!(pulled(&cluster, &amd) && pulled(&cluster, &arm) && pulled(&cluster, &[]));

    // With all that needs it; and a part of that comes back.
    let all = json(&cluster, &[&alone[..], &["--with-parents"]].concat());
    assert_eq!(listed(&all, "objects").len(), 3, "{all}");
    answered(&format!("{manifests}/v1"), 410);
    let part = json(&cluster, &back);
    assert_eq!(part["still_withdrawn_count"], 2, "{part}");
    assert!(part["still_withdrawn"].to_string().contains("test/app:v1"));
    answered(&format!("{manifests}/v1-arm64"), 200);
    assert!(!pulled(&cluster, &amd));
    let dry = ["reinstate", "test/app:v1", "--reason", "r", "--dry-run"];
    let told = stdout(&mut cluster.command(&dry));
    assert!(!told.contains("stay"), "{told}");
    stdout(&mut cluster.command(&dry[..4]));
    answered(&format!("{manifests}/v1"), 200);
    cluster.wait_complete(&[0, 1], LIMIT);
    assert!(pulled(&cluster, &amd) && pulled(&cluster, &arm) && pulled(&cluster, &[]));
}

#[test]
fn a_release_is_withdrawn_and_what_another_shares_with_it_goes_only_if_that_is_said() {
    let mut cluster = Cluster::start(Setup {
        mirrors: Some(1),
        ..Setup::default()
    });
    for release in ["1.0", "1.1"] {
        fs::create_dir(cluster.staging().join(release)).unwrap();
        cluster.stage_file(&format!("{release}/LICENSE"), b"do as you like");
        cluster.stage_file(&format!("{release}/app"), release.as_bytes());
    }
    assert_eq!(cluster.promote()["copied"], 4);
    cluster.wait_complete(&[0], LIMIT);
    let seen = |expected: [u16; 4]| {
        let files = ["1.0/LICENSE", "1.0/app", "1.1/LICENSE", "1.1/app"];
        for (file, status) in files.into_iter().zip(expected) {
            let url = format!("http://{}/binaries/test/{file}", cluster.public);
            answered(&url, status);
        }
    };
    seen([302; 4]);
    let release = ["withdraw", "binaries/test/1.0/", "--reason", "a bad build"];
    let why = refused(&cluster, &release);
    for told in [
        "binaries/test/1.1/LICENSE",
        "--keep-shared",
        "--with-other-names",
    ] {
        assert!(why.contains(told), "{why}");
    }
    assert!(!why.contains("1.1/app"), "{why}");
    let both = ["--keep-shared", "--with-other-names"];
    let wrong = finish(&mut cluster.command(&[&release[..], &both].concat()));
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
    seen([302; 4]);

    let kept = json(&cluster, &[&release[..], &["--keep-shared"]].concat());
    assert_eq!(listed(&kept, "names"), ["binaries/test/1.0/app"]);
    assert_eq!(listed(&kept, "kept"), ["binaries/test/1.0/LICENSE"]);
    seen([302, 410, 302, 302]);
    let nothing = stdout(cluster.command(&release).arg("--keep-shared"));
    assert!(nothing.contains("nothing to do"), "{nothing}");
    let all = json(&cluster, &[&release[..], &["--with-other-names"]].concat());
    assert_eq!(listed(&all, "other_names"), ["binaries/test/1.1/LICENSE"]);
    seen([410, 410, 410, 302]);
    let back = [
        "reinstate",
        "binaries/test/1.0/",
        "--reason",
        "a false alarm",
    ];
    let back = json(&cluster, &back);
    assert_eq!(back["object_count"], 2, "{back}");
    seen([302; 4]);
}
