//! The periodic back-stop: what could not be promoted is, as soon as it can be,
//! and nothing that somebody took away comes back.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    cluster::{Cluster, Setup},
    content::{Layout, PROJECT},
    eventually, finish, free_port, git,
    peers::{Registry, curl_status},
    process::landfall,
    stdout,
};

/// How long a round may take on a busy machine.
const ROUND: Duration = Duration::from_secs(60);

/// `landfall reconcile` once: its exit code and what it printed.
fn once(cluster: &Cluster) -> (Option<i32>, Value) {
    let output = finish(
        cluster
            .command(&["reconcile", "--json"])
            .arg(&cluster.manifests.dir),
    );
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    let round = lines.next().map(serde_json::from_str);
    let round = round.unwrap_or_else(|| panic!("no round: {output:?}"));
    assert_eq!(lines.next(), None, "one object a round");
    (output.status.code(), round.unwrap())
}

fn figures(round: &Value) -> [u64; 5] {
    ["copied", "present", "lost", "refused", "failed"].map(|key| round[key].as_u64().unwrap())
}

#[test]
fn what_failed_is_promoted_when_staging_is_back_and_holds_up_nothing_until_then() {
    let scratch = TempDir::new().unwrap();
    let host = format!("127.0.0.1:{}", free_port("127.0.0.1"));
    let staging = scratch.path().join("staging");
    let registry = Registry::start_at(&staging, &host);
    let layout = Layout::new(&scratch.path().join("layout"));
    let image = layout.image("amd64", 1, &[40_000]);
    let digest = layout.push(&image, &format!("{host}/{PROJECT}/app:v1"));
    drop(registry);

    let mut cluster = Cluster::start(Setup {
        registry: Some(host.clone()),
        mirrors: Some(0),
        ..Setup::default()
    });
    cluster.manifests.image("app", &digest, "v1");
    cluster.stage_file("good", b"good");
    let bad = cluster.stage_file("bad", b"reviewed");
    fs::write(cluster.staging().join("bad"), b"deceived").unwrap();

    let (code, round) = once(&cluster);
    assert_eq!(code, Some(1), "{round}");
    assert_eq!(figures(&round), [1, 0, 0, 1, 1], "{round}");
    assert_eq!(round["revision"], 1);
    let amiss: Vec<_> = round["amiss"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| {
            (
                it["name"].as_str().unwrap(),
                it["outcome"].as_str().unwrap(),
            )
        })
        .collect();
    let expected = [("binaries/test/bad", "refused"), ("test/app:v1", "failed")];
    assert_eq!(amiss, expected, "{round}");

    // With nothing but the failing image left, no operation is begun.
    cluster.manifests.without_file("bad");
    let (code, round) = once(&cluster);
    assert_eq!(code, Some(1), "{round}");
    assert_eq!(figures(&round), [0, 1, 0, 0, 1], "{round}");
    assert_eq!(round["operation"], Value::Null);

    let _registry = Registry::start_at(&staging, &host);
    let (code, round) = once(&cluster);
    assert_eq!(
        (code, figures(&round)),
        (Some(0), [1, 1, 0, 0, 0]),
        "{round}"
    );
    assert_eq!(round["revision"], 2);
    let (code, round) = once(&cluster);
    assert_eq!(
        (code, figures(&round)),
        (Some(0), [0, 2, 0, 0, 0]),
        "{round}"
    );
    let text = stdout(cluster.command(&["reconcile"]).arg(&cluster.manifests.dir));
    assert_eq!(text, "nothing to do: 2 present");
    assert!(bad.starts_with("sha256:"));
}

#[test]
fn what_was_withdrawn_is_not_brought_back_and_tags_are_never_moved() {
    let mut cluster = Cluster::start(Setup {
        mirrors: Some(0),
        ..Setup::default()
    });
    cluster.stage_file("bad", b"bad");
    cluster.stage_file("kept", b"kept");
    assert_eq!(once(&cluster).0, Some(0));
    let name = "binaries/test/bad";
    stdout(&mut cluster.command(&["withdraw", name, "--reason", "CVE-1"]));
    let moved = cluster.manifests.dir.clone();
    cluster.manifests.without_file("kept");
    cluster.stage_file("kept", b"another");
    let (code, round) = once(&cluster);
    assert_eq!(
        (code, figures(&round)),
        (Some(1), [0, 0, 0, 2, 0]),
        "{round}"
    );
    let why = round["amiss"].to_string();
    assert!(
        why.contains("withdrawn") && why.contains("immutable-name"),
        "{why}"
    );
    let url = format!("http://{}/{name}", cluster.public);
    eventually("the redirector says gone", ROUND, || {
        match curl_status(&url, &[])? {
            410 => Ok(()),
            status => Err(format!("status {status}")),
        }
    });
    // The commit of a checkout is what the history names.
    git(&moved, &["init", "-q"]);
    git(&moved, &["add", "."]);
    git(&moved, &["commit", "-q", "-m", "x"]);
    let head = git(&moved, &["rev-parse", "HEAD"]);
    assert_eq!(once(&cluster).1["source"], head);
}

#[test]
fn what_a_person_took_back_is_held_back_and_holds_up_nothing_else() {
    let mut cluster = Cluster::start(Setup {
        mirrors: Some(0),
        ..Setup::default()
    });
    cluster.stage_file("good", b"good");
    assert_eq!(once(&cluster).1["revision"], 1);
    cluster.stage_file("bad", b"bad");
    assert_eq!(once(&cluster).1["revision"], 2);
    let reverted = finish(&mut cluster.command(&["revert", "1", "--confirm", "--why", "crashes"]));
    assert_eq!(reverted.status.code(), Some(0), "{reverted:?}");
    let said = String::from_utf8_lossy(&reverted.stderr).into_owned();
    assert!(said.contains("what is taken back stays so"), "{said}");
    let table = String::from_utf8_lossy(&reverted.stdout).into_owned();
    assert!(table.contains(&format!("{PROJECT} ")), "{table}");

    cluster.stage_file("later", b"later");
    for expected in [[1, 1, 0, 0, 0], [0, 2, 0, 0, 0]] {
        let (code, round) = once(&cluster);
        assert_eq!((code, figures(&round)), (Some(1), expected), "{round}");
        assert_eq!(round["held"], 1, "{round}");
        assert_eq!(round["amiss"][0]["outcome"], "held");
    }
    let told = finish(cluster.command(&["reconcile"]).arg(&cluster.manifests.dir));
    let why = String::from_utf8_lossy(&told.stderr).into_owned();
    let expected = "held: binaries/test/bad: held back: reverted in revision 3 by loopback because \
                    revert to revision 1: crashes; the manifests still list it: revert the change \
                    in git, or promote it by hand";
    assert!(why.contains(expected), "{why}");
    let said = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(
        said.contains("nothing to do: 2 present, 1 held back"),
        "{said}"
    );

    let mut promote = cluster.command(&["promote", "--confirm"]);
    let said = stdout(promote.arg(&cluster.manifests.dir));
    assert!(said.contains("it was reverted in revision 3"), "{said}");
    let (code, round) = once(&cluster);
    assert_eq!((code, &round["present"]), (Some(0), &3.into()), "{round}");
}

#[test]
fn names_at_a_gate_are_no_names_yet_and_what_is_given_up_there_is_held_back() {
    let mut cluster = Cluster::start(Setup {
        mirrors: Some(1),
        ..Setup::default()
    });
    // A mirror that the coordinator knows.
    cluster.stage_file("before", b"before");
    cluster.promote();
    cluster.wait_complete(&[0], ROUND);
    cluster.agents[0].kill_9();
    cluster.stage_file("app", b"app");
    let reconcile = |gate: &[&str]| {
        let mut command = cluster.command(&["reconcile"]);
        finish(command.args(gate).arg(&cluster.manifests.dir))
    };
    let said =
        |output: &std::process::Output| String::from_utf8_lossy(&output.stdout).trim().to_owned();
    // It does not stay until the gate opens: other names may come meanwhile.
    let gate = ["--gate", "100%", "--gate-timeout", "1h"];
    let output = reconcile(&gate);
    let expected = "0 copied, 1 present, 0 removed, 1 waiting at a gate; \
                    content published as revision 2";
    assert_eq!(
        (output.status.code(), said(&output).as_str()),
        (Some(0), expected),
        "{output:?}"
    );
    for gate in [&gate[..], &[]] {
        let output = reconcile(gate);
        let expected = "nothing to do: 1 present, 1 waiting at a gate";
        assert_eq!(
            (output.status.code(), said(&output).as_str()),
            (Some(0), expected)
        );
    }
    let (_, round) = once(&cluster);
    assert_eq!(
        (&round["waiting"], &round["present"]),
        (&1.into(), &1.into()),
        "{round}"
    );

    let gates = stdout(&mut cluster.command(&["gate", "list", "--json"]));
    let gates: Value = serde_json::from_str(gates.lines().next().unwrap()).unwrap();
    let operation = gates["operation"].as_str().unwrap();
    let mut give_up = cluster.command(&["gate", "give-up", operation, "--reason", "wrong build"]);
    let given_up = finish(&mut give_up);
    assert_eq!(given_up.status.code(), Some(0), "{given_up:?}");
    let told = String::from_utf8_lossy(&given_up.stderr).into_owned();
    assert!(told.contains("what is taken back stays so"), "{told}");
    let (code, round) = once(&cluster);
    assert_eq!((code, &round["held"]), (Some(1), &1.into()), "{round}");
    let why = round["amiss"][0]["detail"].as_str().unwrap();
    let expected = "held back: given up at its gate in revision 3 by loopback because wrong build;";
    assert!(why.starts_with(expected), "{why}");
}

#[test]
fn what_staging_has_wrong_is_not_read_in_every_round_but_whenever_a_person_asks() {
    let mut cluster = Cluster::start(Setup {
        mirrors: Some(0),
        ..Setup::default()
    });
    cluster.stage_file("bad", b"reviewed");
    let staged = cluster.staging().join("bad");
    fs::write(&staged, b"deceived").unwrap();
    let (code, round) = once(&cluster);
    assert_eq!(
        (code, figures(&round)),
        (Some(1), [0, 0, 0, 1, 0]),
        "{round}"
    );
    assert!(round["operation"].is_string(), "{round}");
    for _ in 0..2 {
        let (code, round) = once(&cluster);
        assert_eq!(
            (code, figures(&round)),
            (Some(1), [0, 0, 0, 1, 0]),
            "{round}"
        );
        assert_eq!(round["operation"], Value::Null, "{round}");
        let why = round["amiss"][0]["detail"].as_str().unwrap();
        assert!(why.contains("staging is read again in 10 min"), "{why}");
    }
    let history = stdout(&mut cluster.command(&["history", "--json"]));
    assert_eq!(history.lines().count(), 1, "{history}");

    fs::write(&staged, b"reviewed").unwrap();
    let mut promote = cluster.command(&["promote", "--confirm"]);
    let said = stdout(promote.arg(&cluster.manifests.dir));
    assert!(said.contains("1 copied"), "{said}");
    assert_eq!(once(&cluster).0, Some(0));
}

#[test]
fn a_signature_that_came_later_is_brought_by_the_rounds_and_an_interval_has_a_unit() {
    let scratch = TempDir::new().unwrap();
    let registry = Registry::start(&scratch.path().join("staging"));
    let layout = Layout::new(&scratch.path().join("layout"));
    let image = layout.image("amd64", 1, &[40_000]);
    let app = format!("{}/{PROJECT}/app", registry.host);
    let digest = layout.push(&image, &format!("{app}:v1"));
    let mut cluster = Cluster::start(Setup {
        registry: Some(registry.host),
        mirrors: Some(0),
        ..Setup::default()
    });
    cluster.manifests.image("app", &digest, "v1");
    assert_eq!(once(&cluster).1["revision"], 1);
    let signature = layout.cosign_signature(&image);
    let tag = format!("{}.sig", digest.replace(':', "-"));
    layout.push(&signature, &format!("{app}:{tag}"));
    assert_eq!(once(&cluster).1["revision"], Value::Null);

    let wrong = finish(cluster.command(&["reconcile", "--interval", "3"]).arg("."));
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(said.contains("\"3\" has no unit"), "{said}");

    let rounds = Rounds::start(&cluster, "1s");
    let round = rounds.until("the signature is brought", |round| round["revision"] == 2);
    assert_eq!(round["rechecked"], true, "{round}");
    let idle = rounds.until("nothing changes", |round| round["looked"] == false);
    assert_eq!(idle["rechecked"], false, "{idle}");
    assert_eq!(rounds.terminate(), Some(0));
}

/// `landfall reconcile --interval`, which is stopped with the value.
struct Rounds {
    child: Child,
    lines: Receiver<Value>,
}

impl Rounds {
    fn start(cluster: &Cluster, interval: &str) -> Self {
        let log = File::create(cluster.dir.path().join("reconcile.log")).unwrap();
        let mut child = landfall()
            .args(["reconcile", "--json", "--coordinator", &cluster.grpc])
            .args(["--interval", interval])
            .arg(&cluster.manifests.dir)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let Ok(line) = line else { return };
                let round = serde_json::from_str(&line).expect("a round is one JSON object");
                if sender.send(round).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// The next round that is as wanted; others are passed over.
    #[track_caller]
    fn until(&self, what: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let (found, _) = eventually(what, ROUND, || {
            while let Ok(round) = self.lines.try_recv() {
                if is_wanted(&round) {
                    return Ok(round);
                }
                last = round;
            }
            Err(last.to_string())
        });
        found
    }

    /// SIGTERM; gives the exit code.
    fn terminate(mut self) -> Option<i32> {
        stdout(Command::new("kill").args(["-TERM", &self.child.id().to_string()]));
        let (status, _) = eventually("it stops", ROUND, || match self.child.try_wait() {
            Ok(Some(status)) => Ok(status),
            other => Err(format!("{other:?}")),
        });
        status.code()
    }
}

impl Drop for Rounds {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn rounds_go_on_over_a_coordinator_that_is_killed_and_see_what_changes() {
    let mut cluster = Cluster::start(Setup {
        mirrors: Some(0),
        ..Setup::default()
    });
    cluster.stage_file("first", b"first");
    let rounds = Rounds::start(&cluster, "1s");
    let round = rounds.until("the first round promotes", |round| round["copied"] == 1);
    assert_eq!(round["revision"], 1);
    let idle = rounds.until("nothing changes", |round| round["looked"] == false);
    assert_eq!(figures(&idle), [0, 1, 0, 0, 0], "{idle}");

    cluster.coordinator.kill_9();
    let said = rounds.until("it is out of reach", |round| !round["error"].is_null());
    assert!(
        said["error"].as_str().unwrap().contains("out of reach"),
        "{said}"
    );
    cluster.stage_file("second", b"second");
    cluster.coordinator = cluster.again("coordinator", "coordinator");
    let round = rounds.until("what came meanwhile is promoted", |round| {
        round["copied"] == 1
    });
    assert_eq!(
        (figures(&round), &round["revision"]),
        ([1, 1, 0, 0, 0], &2.into())
    );

    // What somebody else changes in the catalog is looked at, too.
    stdout(&mut cluster.command(&["withdraw", "binaries/test/first", "--reason", "r"]));
    let round = rounds.until("the withdrawal shows", |round| round["refused"] == 1);
    assert_eq!(round["looked"], true);
    // A checkout in the middle of an update ends nothing.
    let (there, away) = (
        cluster.manifests.dir.clone(),
        cluster.dir.path().join("away"),
    );
    fs::rename(&there, &away).unwrap();
    rounds.until("there are no manifests", |round| !round["error"].is_null());
    fs::rename(&away, &there).unwrap();
    rounds.until("there are again", |round| round["error"].is_null());
    assert_eq!(rounds.terminate(), Some(0));

    // Nothing was executed but the two.
    let history = stdout(&mut cluster.command(&["history", "--json"]));
    let reconciled = history
        .lines()
        .filter(|line| line.contains("\"reconcile\""));
    assert_eq!(reconciled.count(), 2, "{history}");
}
