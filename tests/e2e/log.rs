//! The running log: our verifier and one that shares nothing with it agree, and
//! each kind of forgery is refused by name.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use serde_json::Value;

use crate::support::{
    cluster::{Cluster, Setup},
    eventually, finish,
    process::landfall,
    stdout,
};

fn python(log: &str, keys: &[String], held: Option<&Path>) -> Output {
    let mut command = Command::new("python3");
    command
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../tests/tlog_verify.py"
        ))
        .arg(log);
    for key in keys {
        command.args(["--key", key]);
    }
    if let Some(held) = held {
        command.arg("--held").arg(held);
    }
    finish(&mut command)
}

fn ours(log: &str, keys: &[String], held: Option<&Path>) -> Output {
    let mut command = landfall();
    command.args(["log", "verify", "--url", log]);
    for key in keys {
        command.args(["--key", key]);
    }
    if let Some(held) = held {
        command.arg("--held").arg(held);
    }
    finish(&mut command)
}

/// The whole log verified by way of the coordinator, which presents its keys on
/// loopback: what was said, and the keys.
fn verified(cluster: &Cluster) -> (Value, Vec<String>) {
    let said = stdout(&mut cluster.command(&["log", "verify", "--json"]));
    let said: Value = serde_json::from_str(&said).unwrap();
    let keys: Vec<String> = said["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key.as_str().unwrap().to_owned())
        .collect();
    assert_eq!(keys.len(), 2, "{said}");
    (said, keys)
}

/// Keeps the newest checkpoint in a file.
fn keep_checkpoint(cluster: &Cluster, name: &str) -> PathBuf {
    let file = cluster.dir.path().join(name);
    let note = stdout(&mut cluster.command(&["log", "checkpoint"]));
    fs::write(&file, note + "\n").unwrap();
    file
}

fn promote_file(cluster: &mut Cluster, name: &str) {
    cluster.stage_file(name, format!("content of {name}").as_bytes());
    let done = cluster.promote();
    assert!(done["revision"].as_u64() > Some(0), "{done}");
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Serves a folder as static files, as any web server would.
struct Static {
    child: std::process::Child,
    url: String,
}

impl Static {
    fn serve(dir: &Path) -> Self {
        let port = crate::support::free_port("127.0.0.1");
        let child = Command::new("python3")
            .args([
                "-m",
                "http.server",
                "--bind",
                "127.0.0.1",
                &port.to_string(),
            ])
            .arg("--directory")
            .arg(dir)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("cannot start python3");
        let url = format!("http://127.0.0.1:{port}");
        let server = Self { child, url };
        eventually("the static server answers", Duration::from_secs(10), || {
            crate::support::peers::curl_status(&server.url, &[])
        });
        server
    }
}

impl Drop for Static {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn copy_tree(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    crate::support::ok(Command::new("cp").arg("-r").arg(from).arg(to));
}

#[test]
fn two_verifiers_agree_on_the_running_log_and_refuse_every_forgery_by_name() {
    let mut cluster = Cluster::start(Setup {
        mirrors: Some(1),
        ..Setup::default()
    });
    promote_file(&mut cluster, "one");
    let log = format!("http://{}/.landfall", cluster.coordinator_http);
    let older = keep_checkpoint(&cluster, "older-checkpoint");
    for name in ["two", "three"] {
        promote_file(&mut cluster, name);
    }

    let (said, keys) = verified(&cluster);
    let python_says = python(&log, &keys, Some(&older));
    assert!(python_says.status.success(), "{}", text(&python_says));
    let root = said["root"].as_str().unwrap();
    let size = said["size"].to_string();
    assert!(text(&python_says).contains(root), "{}", text(&python_says));
    assert!(text(&python_says).contains(&size), "{}", text(&python_says));
    let ours_says = ours(&log, &keys, Some(&older));
    assert!(ours_says.status.success(), "{}", text(&ours_says));
    // The redirector's copy is the same log.
    let copy = format!("http://{}/.landfall", cluster.public);
    eventually(
        "the redirector's copy verifies",
        Duration::from_secs(10),
        || {
            let output = ours(&copy, &keys, None);
            if output.status.success() && text(&output).contains(root) {
                Ok(())
            } else {
                Err(text(&output))
            }
        },
    );

    let newer = keep_checkpoint(&cluster, "newer-checkpoint");
    let genuine = cluster.dir.path().join("coordinator/log");
    let forged = cluster.dir.path().join("forged");
    copy_tree(&genuine, &forged);
    let server = Static::serve(&forged);
    let refused = |what: &str, keys: &[String], held: Option<&Path>, name: &str| {
        for (who, output) in [
            ("landfall", ours(&server.url, keys, held)),
            ("python", python(&server.url, keys, held)),
        ] {
            assert_eq!(
                output.status.code(),
                Some(1),
                "{who}: {what}: {}",
                text(&output)
            );
            assert!(
                text(&output).to_lowercase().contains(name),
                "{who}: {what} is not called `{name}`: {}",
                text(&output)
            );
        }
    };

    // A tampered entry: one byte of the only bundle.
    let bundle = newest_bundle(&forged);
    let mut bytes = fs::read(&bundle).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&bundle, bytes).unwrap();
    refused("a flipped bit", &keys, None, "tampered entry");

    // A truncated log: the bundle lacks its last entry.
    copy_tree(&genuine, &forged);
    let bundle = newest_bundle(&forged);
    let bytes = fs::read(&bundle).unwrap();
    let mut at = 0;
    let mut last_entry = 0;
    while at < bytes.len() {
        last_entry = at;
        at += 2 + usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
    }
    fs::write(&bundle, &bytes[..last_entry]).unwrap();
    refused("a missing entry", &keys, None, "truncated log");

    // A replayed older checkpoint, genuine in itself, against a newer one held.
    copy_tree(&genuine, &forged);
    fs::copy(&older, forged.join("checkpoint")).unwrap();
    refused(
        "an older checkpoint",
        &keys,
        Some(&newer),
        "older checkpoint",
    );

    // Somebody else's keys.
    let stranger = Cluster::start(Setup {
        mirrors: Some(0),
        ..Setup::default()
    });
    let (_, strange_keys) = verified(&stranger);
    copy_tree(&genuine, &forged);
    refused("a stranger's key", &strange_keys, None, "unknown key");
}

/// The entries file that the newest checkpoint needs: the one with most entries,
/// since older ones of the same bundle may still be there.
fn newest_bundle(log: &Path) -> PathBuf {
    let found = stdout(Command::new("sh").args([
        "-c",
        &format!(
            "find {}/tile/entries -type f -printf '%f %p\\n' | sort -n | tail -1 | cut -d' ' -f2-",
            log.display()
        ),
    ]));
    found.into()
}

#[test]
fn a_fork_signed_with_the_right_keys_is_refused_by_name() {
    // The same coordinator from the same backup, run twice, tells two stories.
    let mut cluster = Cluster::start(Setup {
        mirrors: Some(0),
        ..Setup::default()
    });
    promote_file(&mut cluster, "one");
    cluster.coordinator.terminate();
    let data = cluster.dir.path().join("coordinator");
    let backup = cluster.dir.path().join("backup");
    copy_tree(&data, &backup);
    cluster.coordinator = cluster.again("coordinator", "coordinator");
    promote_file(&mut cluster, "two");
    let (_, keys) = verified(&cluster);
    let held = keep_checkpoint(&cluster, "held");
    // The redirector has persisted the first story.
    eventually("the redirector has it", Duration::from_secs(10), || {
        cluster
            .explain("192.0.2.7", "binaries/test/two")
            .and_then(|explained| {
                if explained["digest"].is_string() {
                    Ok(())
                } else {
                    Err(explained.to_string())
                }
            })
    });

    cluster.coordinator.terminate();
    // Who could tell it is away.
    cluster.redirector.kill_9();
    copy_tree(&backup, &data);
    cluster.coordinator = cluster.again("coordinator", "coordinator");
    // Two more: the fork is longer, not just different.
    promote_file(&mut cluster, "three");
    promote_file(&mut cluster, "four");
    cluster.redirector = cluster.again("redirector", "redirector");
    let log = format!("http://{}/.landfall", cluster.coordinator_http);
    for (who, output) in [
        ("landfall", ours(&log, &keys, Some(&held))),
        ("python", python(&log, &keys, Some(&held))),
    ] {
        assert_eq!(output.status.code(), Some(1), "{who}: {}", text(&output));
        assert!(
            text(&output).to_lowercase().contains("fork"),
            "{who} does not call it a fork: {}",
            text(&output)
        );
    }
    // The redirector keeps the state that it had, and raises the alarm.
    eventually(
        "the redirector names the fork",
        Duration::from_secs(30),
        || {
            let log = cluster.redirector.log().to_lowercase();
            if log.contains("fork") {
                Ok(())
            } else {
                Err("nothing of a fork in its log".into())
            }
        },
    );
    let explained = cluster.explain("192.0.2.7", "binaries/test/two").unwrap();
    assert!(explained["digest"].is_string(), "{explained}");
    let unknown = cluster.explain("192.0.2.7", "binaries/test/four");
    assert!(
        unknown.is_err() || !unknown.as_ref().unwrap()["digest"].is_string(),
        "{unknown:?}"
    );
    // It shows what it holds: no third story is told.
    eventually(
        "the coordinator is shown it",
        Duration::from_secs(30),
        || {
            let log = cluster.coordinator.log();
            let is_told = |line: &str| line.contains("\"signature\" holds=false");
            match log.lines().any(is_told) {
                true => Ok(()),
                false => Err(log),
            }
        },
    );
    cluster.stage_file("five", b"five");
    let mut promote = cluster.command(&["promote", "--confirm"]);
    let refused = finish(promote.arg(&cluster.manifests.dir));
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
    assert!(text(&refused).contains("old copy"), "{}", text(&refused));
}
