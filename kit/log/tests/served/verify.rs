use std::fs;
use std::path::Path;
use std::process::Command;

use landfall_catalog::Revision;
use landfall_log::verify::{EntryCounts, Verified, VerifyError, presented_keys, verify};
use landfall_runtime::dial::grpc_channel;
use url::Url;

use crate::forged::{self, honest, honest_note};
use crate::support::{House, TestLog, keys, time_of};

async fn ours(url: &Url, held: Option<&[u8]>) -> Result<Verified, VerifyError> {
    verify(&reqwest::Client::new(), url, &keys(), held).await
}

/// What the verifier that shares nothing with us says: its line, or the name of
/// its refusal.
async fn theirs(log: &str, held: Option<&[u8]>) -> Result<String, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/tlog_verify.py");
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("python3");
    command.arg(script).arg(log);
    for key in keys().to_strings() {
        command.arg("--key").arg(key);
    }
    if let Some(note) = held {
        let file = dir.path().join("held");
        fs::write(&file, note).unwrap();
        command.arg("--held").arg(file);
    }
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap();
    let output = output.expect("python3 does not run: apt-get install -y python3");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    match output.status.code() {
        Some(0) => Ok(text(&output.stdout)),
        Some(1) => {
            let message = text(&output.stderr);
            let refusal = message
                .strip_prefix("refused: ")
                .and_then(|rest| rest.split_once(": "));
            Err(refusal.map_or(message.clone(), |(name, _)| name.to_owned()))
        }
        _ => panic!("{output:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_verifiers_agree_on_a_log_while_it_grows() {
    let (house, mut log) = (House::new(), TestLog::new().await);
    let url = house.http(&log).await;
    let mut held: Option<Vec<u8>> = None;
    for objects in [0, 1, 126, 2, 70, 33_000] {
        let verified = ours(&url, held.as_deref()).await.unwrap();
        let head = &verified.checkpoint.checkpoint;
        assert_eq!(head.size, log.size());
        let expected = format!(
            "verified origin=artifacts.example size={} root={} time={}",
            head.size, head.root, verified.checkpoint.time
        );
        assert_eq!(
            theirs(url.as_str(), held.as_deref()).await.unwrap(),
            expected
        );
        let dir = log.dir.path().to_str().unwrap();
        assert_eq!(theirs(dir, held.as_deref()).await.unwrap(), expected);
        held = Some(verified.checkpoint.note().to_vec());
        log.promote(objects).await;
    }
    let verified = ours(&url, held.as_deref()).await.unwrap();
    assert_eq!(verified.revision, Some(Revision::new(6)));
    assert_eq!(
        verified.entries,
        EntryCounts {
            objects_added: 33_199,
            names_set: 33_199,
            commits: 6,
            ..EntryCounts::default()
        }
    );
    assert!(theirs(url.as_str(), held.as_deref()).await.is_ok());
}

async fn both_refuse(house: &House, name: &str, dir: &Path, held: Option<&[u8]>, refusal: &str) {
    let url = house.directory(dir).await;
    let found = ours(&url, held).await;
    match &found {
        Err(VerifyError::Refused { why, .. }) => {
            assert_eq!(why.to_string(), refusal, "{name}: {found:?}")
        }
        other => panic!("{name}: {other:?}"),
    }
    let expected = Err(refusal.to_owned());
    assert_eq!(theirs(url.as_str(), held).await, expected, "{name}");
    assert_eq!(
        theirs(dir.to_str().unwrap(), held).await,
        expected,
        "{name}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_verifiers_refuse_forged_logs_by_the_same_name() {
    let house = House::new();
    for forged in forged::all() {
        let dir = tempfile::tempdir().unwrap();
        forged.write(dir.path());
        let held = honest_note(2);
        if forged.refusal.to_string() == "malformed entry" {
            // What is in the entries, plain Python does not know.
            let url = house.directory(dir.path()).await;
            let found = ours(&url, Some(&held)).await;
            assert!(
                matches!(&found, Err(VerifyError::Refused { why, .. }) if *why == forged.refusal),
                "{found:?}"
            );
            continue;
        }
        let refusal = forged.refusal.to_string();
        both_refuse(&house, forged.name, dir.path(), Some(&held), &refusal).await;
    }
}

fn honest_files() -> tempfile::TempDir {
    let mut log = forged::all().remove(5);
    let dir = tempfile::tempdir().unwrap();
    log.entries = honest(3);
    log.note = honest_note(3);
    log.write_honest(dir.path());
    dir
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_verifiers_find_a_changed_byte_wherever_it_is() {
    let house = House::new();
    for (file, at, refusal) in [
        ("tile/entries/000", 700, "tampered entry"),
        ("tile/entries/001.p/167", 700, "tampered entry"),
        ("tile/0/000", 700, "tampered tile"),
        ("tile/0/001.p/167", 700, "tampered tile"),
        ("tile/1/000.p/1", 7, "tampered tile"),
    ] {
        let dir = honest_files();
        let path = dir.path().join(file);
        let mut bytes = fs::read(&path).unwrap();
        bytes[at] ^= 4;
        fs::write(&path, bytes).unwrap();
        both_refuse(&house, file, dir.path(), None, refusal).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_verifiers_miss_each_file_that_is_not_there() {
    let house = House::new();
    for file in [
        "checkpoint",
        "tile/entries/000",
        "tile/entries/001.p/167",
        "tile/0/000",
        "tile/0/001.p/167",
        "tile/1/000.p/1",
    ] {
        let dir = honest_files();
        fs::remove_file(dir.path().join(file)).unwrap();
        both_refuse(&house, file, dir.path(), None, "truncated log").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_verifiers_miss_the_end_of_a_file_that_was_cut() {
    let house = House::new();
    for file in [
        "tile/entries/000",
        "tile/entries/001.p/167",
        "tile/0/000",
        "tile/0/001.p/167",
    ] {
        for cut in [1, 500] {
            let dir = honest_files();
            let path = dir.path().join(file);
            let mut bytes = fs::read(&path).unwrap();
            bytes.truncate(bytes.len() - cut);
            fs::write(&path, bytes).unwrap();
            both_refuse(&house, file, dir.path(), None, "truncated log").await;
        }
    }
}

#[tokio::test]
async fn a_coordinator_presents_the_keys_of_its_log() {
    let (house, log) = (House::new(), TestLog::new().await);
    let url = house.grpc(&log).await;
    let presented = presented_keys(grpc_channel(&url).unwrap()).await.unwrap();
    assert_eq!(presented.to_strings(), keys().to_strings());
}

#[tokio::test]
async fn a_log_that_nobody_serves_is_not_called_tampered() {
    let nobody: Url = "http://127.0.0.1:1/.landfall".parse().unwrap();
    assert!(matches!(
        ours(&nobody, None).await,
        Err(VerifyError::Fetch(_))
    ));
    let (house, log) = (House::new(), TestLog::new().await);
    let url = house.http(&log).await;
    let other = crate::support::note(&crate::support::stranger(), &[], time_of(1));
    assert!(matches!(
        ours(&url, Some(&other)).await,
        Err(VerifyError::Held(_))
    ));
}
