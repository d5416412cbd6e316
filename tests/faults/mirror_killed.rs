//! A mirror dies; its clients are sent elsewhere.

use std::{process::Command, time::Duration};

use crate::support::{
    cluster::{Cluster, PLACES, Setup},
    finish, sha256sum, stdout,
};

#[test]
fn clients_of_a_killed_mirror_go_elsewhere_within_five_seconds_and_one_retry_is_enough() {
    let mut cluster = Cluster::start(Setup::default());
    let digest = cluster.stage_file("tool", &vec![7; 100_000]);
    cluster.promote();
    cluster.wait_complete(&[0, 1, 2], Duration::from_secs(20));
    let name = "binaries/test/tool";
    let (_, client) = PLACES[0];
    cluster.wait_route(client, name, "aws-east", Duration::from_secs(10));

    let to = cluster.dir.path().join("download");
    let forwarded = format!("X-Forwarded-For: {client}");
    let download = |cluster: &Cluster| {
        let mut command = Command::new("curl");
        command
            .args(["-sSfL", "-m", "10", "-H", &forwarded, "-o"])
            .arg(&to)
            .arg(format!("http://{}/{name}", cluster.public));
        command
    };
    assert!(finish(&mut download(&cluster)).status.success());

    cluster.agents[0].kill_9();
    // Whoever asks now is sent to the dead mirror, or already elsewhere; either
    // way one retry is enough.
    let first = finish(&mut download(&cluster));
    if !first.status.success() {
        let retry = finish(&mut download(&cluster));
        assert!(
            retry.status.success(),
            "the first retry failed, too: {}",
            String::from_utf8_lossy(&retry.stderr)
        );
    }
    assert_eq!(sha256sum(&to), digest);

    let took = cluster.wait_route(client, name, "uni-oslo", Duration::from_secs(5));
    println!("clients of the killed mirror go elsewhere after {took:?}");
    let effective = stdout(download(&cluster).args(["-w", "%{url_effective}"]));
    assert!(
        effective.contains(&format!("http://{}/", cluster.mirror(2))),
        "{effective}"
    );

    // And back, once it is there again.
    cluster.agents[0] = cluster.again("agent", "aws-east");
    cluster.wait_route(client, name, "aws-east", Duration::from_secs(20));
}
