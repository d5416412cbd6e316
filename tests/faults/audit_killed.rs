//! The coordinator is killed, and then stopped, while it audits the origin: the same
//! audit goes on from where it was, and nobody who follows it has to do anything.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, ChildStdout, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::support::{
    cluster::{Cluster, Setup},
    content::noise,
    eventually, finish,
};

const FILES: u64 = 64;
const FILE: u64 = 1 << 20;
const ALL: u64 = FILES * FILE;
/// Takes about eight seconds.
const PACE: &str = "8MB/s";
const LIMIT: Duration = Duration::from_secs(20);

/// `landfall audit follow --json`, as it goes on.
struct Follower {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    seen: Vec<Value>,
}

impl Follower {
    /// None if there is nothing to follow.
    fn start(cluster: &Cluster) -> Option<Self> {
        let mut child = cluster
            .command(&["audit", "follow", "--json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let Some(first) = lines.next() else {
            child.wait().unwrap();
            return None;
        };
        Some(Self {
            child,
            lines,
            seen: vec![serde_json::from_str(&first.unwrap()).unwrap()],
        })
    }

    /// Until an event is as wanted; gives it.
    #[track_caller]
    fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let line = self.lines.next().expect("it goes on").unwrap();
            let event: Value = serde_json::from_str(&line).unwrap();
            self.seen.push(event.clone());
            if wanted(&event) {
                return event;
            }
        }
    }

    #[track_caller]
    fn until_bytes(&mut self, bytes: u64) {
        self.until(|event| event["bytes_done"].as_u64() >= Some(bytes));
    }
}

#[test]
fn an_audit_that_is_killed_is_carried_on_and_hashes_nothing_twice() {
    let mut cluster = Cluster::start(Setup {
        mirrors: Some(0),
        ..Setup::default()
    });
    let mut blobs = Vec::new();
    for number in 0..FILES {
        let name = format!("file-{number:02}");
        let digest = cluster.stage_file(&name, &noise(number, FILE as usize));
        let hex = digest.trim_start_matches("sha256:").to_owned();
        blobs.push((format!("binaries/test/{name}"), hex));
    }
    assert_eq!(cluster.promote()["copied"], FILES);
    let origin = cluster.dir.path().join("origin/blobs/sha256");
    let damaged = [1, 20, 40, 62].map(|number| &blobs[number]);
    for (_, hex) in damaged {
        fs::remove_file(origin.join(hex)).unwrap();
    }

    let mut starts = cluster
        .command(&["audit", "origin", "--bandwidth", PACE])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (mut follower, _) = eventually("the audit has begun", LIMIT, || {
        Follower::start(&cluster).ok_or_else(|| "nobody has audited it".to_owned())
    });
    follower.until_bytes(ALL * 5 / 8);
    cluster.coordinator.kill_9();
    cluster.coordinator = cluster.again("coordinator", "coordinator");
    let carried_on = follower.until(|event| event["event"] == "carried-on");
    assert_eq!(carried_on["interruptions"], 1, "{carried_on}");
    let (after, time) = (&carried_on["interrupted_after"], &carried_on["time"]);
    assert!(after.as_u64() <= time.as_u64(), "{carried_on}");
    follower.until_bytes(ALL * 6 / 8);
    let read = cluster.coordinator.file_bytes_read();
    // At most what two seconds have read is read again.
    println!(
        "killed at {}: read {read} until {}",
        ALL * 5 / 8,
        ALL * 6 / 8
    );
    assert!(read < ALL * 4 / 8, "{read} bytes of {ALL} were read again");

    // A stop in good order loses nothing but what was under way.
    cluster.coordinator.terminate();
    cluster.coordinator = cluster.again("coordinator", "coordinator");
    follower.until(|event| event["interruptions"] == 2);
    let done = follower.until(|event| event["event"] == "done");
    let read = cluster.coordinator.file_bytes_read();
    println!("stopped at {}: read {read} until {ALL}", ALL * 6 / 8);
    assert!(read < ALL * 3 / 8, "{read} bytes of {ALL} were read again");
    assert_eq!(done["checked"], FILES, "{done}");
    assert_eq!(done["bytes"], ALL, "{done}");
    assert_eq!((&done["found"], &done["drift"]), (&4.into(), &4.into()));
    assert_eq!(
        (&done["interruptions"], &done["error"]),
        (&2.into(), &"".into())
    );
    for child in [&mut starts, &mut follower.child] {
        assert_eq!(
            child.wait().unwrap().code(),
            Some(1),
            "something is missing"
        );
    }

    // Each finding once, for who followed all the time as for who comes later.
    let mut expected: Vec<_> = damaged.iter().map(|(name, _)| name.as_str()).collect();
    expected.sort_unstable();
    assert_eq!(found(&follower.seen), expected);
    let later = finish(&mut cluster.command(&["audit", "follow", "--json"]));
    let later = String::from_utf8(later.stdout).unwrap();
    let later: Vec<Value> = later
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(found(&later), expected);
    // What status shows is this audit, which came to its end.
    assert_eq!(cluster.status()["origin_audit"]["drift"], 4);
}

/// The names that were found missing, sorted, each as often as it was told.
fn found(events: &[Value]) -> Vec<&str> {
    let findings = events.iter().filter(|event| event["event"] == "finding");
    let mut names = BTreeMap::new();
    for finding in findings {
        assert_eq!(finding["check"], "missing", "{finding}");
        *names.entry(finding["name"].as_str().unwrap()).or_insert(0) += 1;
    }
    let all = names.into_iter();
    all.flat_map(|(name, count)| std::iter::repeat_n(name, count))
        .collect()
}
