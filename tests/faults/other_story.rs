//! A coordinator that is restored from a copy, while nobody is there who could say
//! that it signed more, writes another log under the same name: the same ordinals
//! mean other objects. Mirrors that followed the old one keep what they hold, nobody
//! is sent to them, and from then on nothing more is committed.

use std::{fs, path::Path, process::Command, time::Duration};

use crate::support::{
    cluster::{Cluster, PLACES, Setup},
    content::Manifests,
    eventually, finish, ok,
};

fn copy_tree(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    ok(Command::new("cp").arg("-r").arg(from).arg(to));
}

#[test]
fn nobody_is_sent_to_a_mirror_that_holds_another_story() {
    let mut cluster = Cluster::start(Setup {
        mirrors: Some(1),
        ..Setup::default()
    });
    let (_, client) = PLACES[0];
    let root = cluster.dir.path().to_owned();
    let data = root.join("coordinator");
    cluster.stage_file("one", b"one");
    cluster.promote();
    cluster.wait_complete(&[0], Duration::from_secs(20));
    cluster.coordinator.terminate();
    copy_tree(&data, &root.join("backup"));
    cluster.coordinator = cluster.again("coordinator", "coordinator");
    cluster.stage_file("two", b"two");
    assert_eq!(cluster.promote()["revision"], 2);
    cluster.wait_complete(&[0], Duration::from_secs(30));
    let limit = Duration::from_secs(10);
    cluster.wait_route(client, "binaries/test/two", "aws-east", limit);

    // The same coordinator, from the copy, tells another story of the same length:
    // what was the object of `two` is the object of `three`. Its readers are away.
    cluster.coordinator.terminate();
    cluster.redirector.kill_9();
    for agent in &mut cluster.agents {
        agent.kill_9();
    }
    copy_tree(&root.join("backup"), &data);
    cluster.coordinator = cluster.again("coordinator", "coordinator");
    cluster.manifests = Manifests::new(&root.join("other-manifests"));
    cluster.stage_file("one", b"one");
    cluster.stage_file("three", b"three");
    assert_eq!(cluster.promote()["revision"], 2);
    cluster.redirector = cluster.again("redirector", "redirector");
    cluster.agents[0] = cluster.again("agent", "aws-east");

    let limit = Duration::from_secs(60);
    eventually("the coordinator hears of it", limit, || {
        let log = cluster.coordinator.log();
        if log.contains("follows another log") {
            Ok(())
        } else {
            Err("nothing of another log in its log".into())
        }
    });
    // One redirector knows the old story, and is told that nobody has reported.
    cluster.wait_route(client, "binaries/test/two", "origin", limit);
    cluster.wait_route(client, "binaries/test/one", "origin", limit);

    // Another knows the new one, from its first moment.
    cluster.redirector.kill_9();
    fs::remove_dir_all(root.join("redirector")).unwrap();
    cluster.redirector = cluster.again("redirector", "redirector");
    eventually("the new story is known", Duration::from_secs(20), || {
        let explained = cluster.explain(client, "binaries/test/three")?;
        assert_ne!(explained["mirror"], "aws-east", "{explained}");
        if explained["mirror"] == "origin" {
            Ok(())
        } else {
            Err(explained.to_string())
        }
    });
    let explained = cluster.explain(client, "binaries/test/one").unwrap();
    assert_eq!(explained["mirror"], "origin", "{explained}");
    // Exit code 1: something is wrong.
    let shown = finish(&mut cluster.command(&["status", "--json"]));
    assert_eq!(shown.status.code(), Some(1));
    let status: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    let mirror = &status["mirrors"][0];
    assert_eq!(
        (&mirror["last_report"], &mirror["ready_objects"]),
        (&0.into(), &0.into())
    );

    // It knows by now that it was an old copy.
    assert!(
        status["behind"].as_str().unwrap().contains("old copy"),
        "{status}"
    );
    cluster.stage_file("four", b"four");
    let promoted = finish(
        cluster
            .command(&["promote", "--confirm"])
            .arg(&cluster.manifests.dir),
    );
    assert_eq!(promoted.status.code(), Some(1));
    let told = String::from_utf8_lossy(&promoted.stderr);
    assert!(told.contains("old copy"), "{told}");

    // Nothing that it held was taken from it.
    for name in ["one", "two"] {
        let kept = cluster.store(0).join("binaries/test").join(name);
        assert_eq!(fs::read(&kept).unwrap(), name.as_bytes());
    }
}
