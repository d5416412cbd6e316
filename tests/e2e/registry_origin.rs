//! A registry as the origin: images lie there under their names, for whoever
//! pulls from it, and the coordinator reads it through for everybody else.

use std::{process::Command, time::Duration};

use tempfile::TempDir;

use crate::support::{
    cluster::{Cluster, Setup},
    content::{Layout, PROJECT},
    eventually,
    peers::{Registry, curl_status},
    stdout,
};

#[test]
fn a_promotion_into_a_registry_can_be_pulled_from_it_and_fills_a_mirror() {
    let scratch = TempDir::new().unwrap();
    let staging = Registry::start(&scratch.path().join("staging"));
    let origin = Registry::start(&scratch.path().join("origin"));
    let layout = Layout::new(&scratch.path().join("layout"));
    let images =
        [1, 2].map(|seed| layout.image(["amd64", "arm64"][seed - 1], 7, &[40_000, 9 << 20]));
    let index = layout.index(&images);
    let digest = layout.push(&index, &format!("{}/{PROJECT}/app:v1", staging.host));

    let mut cluster = Cluster::start(Setup {
        registry: Some(staging.host),
        mirrors: Some(1),
        origin_store: Some(format!("oci+http://{}/published", origin.host)),
        ..Setup::default()
    });
    cluster.manifests.image("app", &digest, "v1");
    cluster.stage_file("note", b"a registry has no files");
    let said = cluster.promote();
    assert_eq!(
        (&said["copied"], &said["refused"]),
        (&1.into(), &1.into()),
        "{said}"
    );

    // What it cannot keep is not tried again.
    let log = cluster.coordinator.log();
    let is_about_names = |line: &str| line.contains("ERROR") && line.contains("promote::follow");
    assert!(!log.lines().any(is_about_names), "{log}");

    let inspected = |host: &str, repository: &str| {
        let mut inspect = Command::new("skopeo");
        inspect.args(["inspect", "--raw", "--tls-verify=false"]);
        inspect.arg(format!("docker://{host}/{repository}:v1"));
        stdout(&mut inspect)
    };
    let raw = inspected(&origin.host, "published/test/app");
    assert!(raw.contains("image.index"), "{raw}");
    assert_eq!(inspected(&cluster.public, "test/app"), raw);

    cluster.wait_complete(&[0], Duration::from_secs(60));
    cluster.agents.clear();
    // Without a mirror the origin serves the layers too.
    eventually("the origin takes over", Duration::from_secs(20), || {
        let copied = scratch.path().join("copied");
        let output = crate::support::finish(
            Command::new("skopeo")
                .args([
                    "copy",
                    "--all",
                    "--preserve-digests",
                    "--src-tls-verify=false",
                ])
                .arg(format!("docker://{}/test/app:v1", cluster.public))
                .arg(format!("oci:{}:v1", copied.display())),
        );
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    });

    let again = cluster.promote();
    assert_eq!((&again["copied"], &again["failed"]), (&0.into(), &0.into()));
}

#[test]
fn a_registry_that_deletes_nothing_is_complained_of_when_something_is_withdrawn() {
    let scratch = TempDir::new().unwrap();
    let registry = Registry::that_keeps_everything(&scratch.path().join("registry"));
    let layout = Layout::new(&scratch.path().join("layout"));
    let image = layout.image("amd64", 9, &[40_000]);
    let digest = layout.push(&image, &format!("{}/{PROJECT}/app:v1", registry.host));
    let mut cluster = Cluster::start(Setup {
        registry: Some(registry.host.clone()),
        mirrors: Some(0),
        origin_store: Some(format!("oci+http://{}/published", registry.host)),
        ..Setup::default()
    });
    cluster.manifests.image("app", &digest, "v1");
    assert_eq!(cluster.promote()["copied"], 1);
    let withdrawn = crate::support::finish(&mut cluster.command(&[
        "withdraw",
        "test/app:v1",
        "--reason",
        "CVE-1",
    ]));
    let told = String::from_utf8_lossy(&withdrawn.stdout);
    assert_eq!(withdrawn.status.code(), Some(1), "{told}");
    assert!(told.contains("withdrawn in revision 2"), "{told}");
    assert!(
        told.contains("the origin's own store does not follow") && told.contains(&digest),
        "{told}"
    );
    assert!(
        cluster
            .coordinator
            .log()
            .contains("can still be read at the origin"),
        "{}",
        cluster.coordinator.log()
    );
    // The tag means something empty now, and itself again after a reinstatement.
    let tag = format!(
        "http://{}/v2/published/test/app/manifests/v1",
        registry.host
    );
    let accept = "Accept: application/vnd.oci.image.manifest.v1+json";
    assert_eq!(curl_status(&tag, &[accept]), Ok(404));
    let reinstate = ["reinstate", "test/app:v1", "--reason", "a false alarm"];
    stdout(&mut cluster.command(&reinstate));
    assert_eq!(curl_status(&tag, &[accept]), Ok(200));
}

#[test]
fn what_a_registry_still_shows_is_told_until_it_lets_itself_be_deleted() {
    let scratch = TempDir::new().unwrap();
    let folder = scratch.path().join("registry");
    let registry = Registry::that_keeps_everything(&folder);
    let layout = Layout::new(&scratch.path().join("layout"));
    let image = layout.image("amd64", 9, &[40_000]);
    let digest = layout.push(&image, &format!("{}/{PROJECT}/app:v1", registry.host));
    let mut cluster = Cluster::start(Setup {
        registry: Some(registry.host.clone()),
        mirrors: Some(1),
        origin_store: Some(format!("oci+http://{}/published", registry.host)),
        ..Setup::default()
    });
    cluster.manifests.image("app", &digest, "v1");
    assert_eq!(cluster.promote()["copied"], 1);
    cluster.wait_complete(&[0], Duration::from_secs(20));
    let withdraw = [
        "withdraw",
        "test/app:v1",
        "--reason",
        "CVE-1",
        "--wait",
        "20s",
    ];
    let withdrawn = crate::support::finish(&mut cluster.command(&withdraw));
    let told = String::from_utf8_lossy(&withdrawn.stdout);
    assert_eq!(withdrawn.status.code(), Some(1), "{told}");
    assert!(told.contains("gone from: aws-east"), "{told}");
    assert!(!told.contains("not yet gone"), "{told}");
    let by_digest = format!(
        "http://{}/v2/published/test/app/manifests/{digest}",
        registry.host
    );
    let accept = "Accept: application/vnd.oci.image.manifest.v1+json";
    assert_eq!(curl_status(&by_digest, &[accept]), Ok(200));
    let exposed = |cluster: &Cluster| cluster.status()["withdrawals"][0]["exposed"].clone();
    let told = exposed(&cluster).to_string();
    assert!(told.contains(&format!("test/app@{digest}")), "{told}");
    let table = stdout(&mut cluster.command(&["status"]));
    assert!(
        table.contains("still seen at the origin: test/app@"),
        "{table}"
    );

    // Also after a restart; and it is tried again until it works.
    cluster.coordinator.kill_9();
    cluster.coordinator = cluster.again("coordinator", "coordinator");
    let limit = Duration::from_secs(20);
    eventually("it is known again", limit, || {
        let told = exposed(&cluster).to_string();
        told.contains(&digest).then_some(()).ok_or(told)
    });
    let host = registry.host.clone();
    drop(registry);
    let _registry = Registry::start_at(&folder, &host);
    eventually("it is out of sight", Duration::from_secs(60), || {
        let told = exposed(&cluster).to_string();
        (told == "[]").then_some(()).ok_or(told)
    });
    assert_eq!(curl_status(&by_digest, &[accept]), Ok(404));
}
