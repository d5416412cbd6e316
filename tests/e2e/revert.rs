//! Waiting for mirrors, and going back to an earlier revision.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    process::Stdio,
    time::Duration,
};

use serde_json::Value;

use crate::support::{
    cluster::{Cluster, Setup},
    finish, stdout,
};

#[test]
fn a_release_is_waited_for_and_reverted_on_every_mirror() {
    let mut cluster = Cluster::start(Setup {
        mirrors: Some(2),
        ..Setup::default()
    });
    cluster.stage_file("v1", b"version one");
    cluster.promote();
    let wait = |cluster: &Cluster, revision: &str, ready: &str, timeout: &str| {
        let command = [
            "wait",
            revision,
            "--ready",
            ready,
            "--timeout",
            timeout,
            "--json",
        ];
        finish(&mut cluster.command(&command))
    };
    let waited = wait(&cluster, "1", "100%", "20s");
    assert_eq!(waited.status.code(), Some(0), "{waited:?}");
    let waited: Value = serde_json::from_slice(&waited.stdout).unwrap();
    assert_eq!(
        (&waited["ready"], &waited["mirrors"]),
        (&2.into(), &2.into()),
        "{waited}"
    );

    cluster.stage_file("v2", b"version two");
    cluster.promote();
    // One mirror is gone: half of them is what there can be.
    assert_eq!(wait(&cluster, "2", "100%", "20s").status.code(), Some(0));
    cluster.agents[1].kill_9();

    let dry = stdout(&mut cluster.command(&["revert", "1"]));
    assert!(dry.contains("nothing was changed"), "{dry}");
    let digest = dry.rsplit("--confirm=").next().unwrap().trim().to_owned();
    let project = cluster
        .command(&["revert", "1", "--project", "nobody"])
        .output()
        .unwrap();
    assert_eq!(project.status.code(), Some(1), "{project:?}");
    let other = format!("--confirm=sha256:{}", "0".repeat(64));
    let refused = finish(&mut cluster.command(&["revert", "1", &other]));
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert_eq!(cluster.status()["revision"], 2);
    let confirm = format!("--confirm={digest}");
    let done = stdout(&mut cluster.command(&["revert", "1", &confirm, "--json"]));
    let done: Value = serde_json::from_str(done.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&done["revision"], &done["removed"]),
        (&3.into(), &1.into()),
        "{done}"
    );
    assert_eq!(cluster.status()["names"], 1);

    assert_eq!(wait(&cluster, "3", "50%", "20s").status.code(), Some(0));
    let short = wait(&cluster, "3", "51%", "1s");
    assert_eq!(short.status.code(), Some(1), "{short:?}");
    let file = cluster.store(0).join("binaries/test/v1");
    assert_eq!(fs::read(file).unwrap(), b"version one");
    let history = stdout(&mut cluster.command(&["history", "--json", "--limit", "1"]));
    assert!(history.contains("revert to revision 1"), "{history}");
    cluster.wait_complete(&[0], Duration::from_secs(10));
}

#[test]
fn a_wait_for_what_is_not_published_yet_says_so_and_goes_on() {
    let mut cluster = Cluster::start(Setup {
        mirrors: Some(1),
        ..Setup::default()
    });
    let waiting = |more: &[&str]| {
        let mut command = cluster.command(&["wait", "1", "--ready", "100%", "--timeout", "60s"]);
        command.args(more).stdout(Stdio::piped());
        command.stderr(Stdio::piped()).spawn().unwrap()
    };
    let [mut person, mut program] = [&[][..], &["--json"]].map(waiting);
    let mut told = BufReader::new(person.stderr.take().unwrap());
    let mut events = BufReader::new(program.stdout.take().unwrap());
    let (mut line, mut event) = (String::new(), String::new());
    told.read_line(&mut line).unwrap();
    let expected = "revision 1 is not published yet (newest is 0): waiting";
    assert_eq!(line.trim_end(), expected);
    events.read_line(&mut event).unwrap();
    let event: Value = serde_json::from_str(&event).unwrap();
    let expected = serde_json::json!({"event": "unpublished", "revision": 1, "newest": 0});
    assert_eq!(event, expected);

    cluster.stage_file("v1", b"version one");
    cluster.promote();
    let mut rest = String::new();
    events.read_to_string(&mut rest).unwrap();
    let done: Value = serde_json::from_str(&rest).unwrap();
    assert_eq!((&done["done"], &done["newest"]), (&true.into(), &1.into()));
    for waiter in [person, program] {
        let output = waiter.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
}
