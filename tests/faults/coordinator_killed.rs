//! The coordinator is gone: promotions stop, downloads go on, and a redirector
//! starts without it.

use std::{fs, process::Command, time::Duration};

use crate::support::{
    cluster::{Cluster, PLACES, Setup},
    eventually, finish, ok, sha256sum,
};

#[test]
fn downloads_go_on_without_the_coordinator_and_a_redirector_starts_without_it() {
    let mut cluster = Cluster::start(Setup::default());
    let digest = cluster.stage_file("tool", &vec![7; 100_000]);
    cluster.promote();
    cluster.wait_complete(&[0, 1, 2], Duration::from_secs(20));
    let name = "binaries/test/tool";
    cluster.wait_route(PLACES[2].1, name, "uni-oslo", Duration::from_secs(10));

    // What a redirector knows is on its disk a moment after it knows it.
    let kept = cluster.dir.path().join("redirector/fleet");
    eventually("the view is on disk", Duration::from_secs(10), || {
        let age = fs::metadata(&kept)
            .and_then(|file| file.modified())
            .map_err(|error| error.to_string())?
            .elapsed()
            .map_err(|error| error.to_string())?;
        if age > Duration::from_secs(1) {
            Ok(())
        } else {
            Err(format!("written {age:?} ago"))
        }
    });
    cluster.coordinator.kill_9();
    let promotion = finish(
        cluster
            .command(&["promote", "--confirm"])
            .arg(&cluster.manifests.dir),
    );
    assert_eq!(promotion.status.code(), Some(1), "{promotion:?}");
    let to = cluster.dir.path().join("download");
    let download = |cluster: &Cluster| {
        let forwarded = format!("X-Forwarded-For: {}", PLACES[2].1);
        let mut command = Command::new("curl");
        command
            .args(["-sSfL", "-m", "10", "-H", &forwarded, "-o"])
            .arg(&to)
            .arg(format!("http://{}/{name}", cluster.public));
        command
    };
    ok(&mut download(&cluster));
    assert_eq!(sha256sum(&to), digest);

    cluster.redirector.kill_9();
    cluster.redirector = cluster.again("redirector", "redirector");
    assert!(
        cluster.redirector.ready_after < Duration::from_secs(3),
        "ready after {:?}",
        cluster.redirector.ready_after
    );
    fs::remove_file(&to).unwrap();
    ok(&mut download(&cluster));
    assert_eq!(sha256sum(&to), digest);
    cluster.wait_route(PLACES[2].1, name, "uni-oslo", Duration::from_secs(3));

    // An agent that starts now serves what it holds.
    cluster.agents[2].kill_9();
    cluster.agents[2] = cluster.again("agent", "uni-oslo");
    let direct = format!("http://{}/{name}", cluster.mirror(2));
    eventually("the mirror serves again", Duration::from_secs(5), || {
        let status = crate::support::peers::curl_status(&direct, &[])?;
        if status == 200 {
            Ok(())
        } else {
            Err(format!("status {status}"))
        }
    });

    // It comes back and carries on: what was promoted is known, more can be.
    cluster.coordinator = cluster.again("coordinator", "coordinator");
    assert_eq!(cluster.status()["revision"], 1);
    cluster.stage_file("tool2", b"two");
    let done = cluster.promote();
    assert_eq!(
        (&done["revision"], &done["copied"]),
        (&2.into(), &1.into()),
        "{done}"
    );
    cluster.wait_complete(&[0, 1, 2], Duration::from_secs(30));
    for program in cluster.agents.iter_mut() {
        program.terminate();
    }
    cluster.redirector.terminate();
    cluster.coordinator.terminate();
}
