//! What a program says that cannot be run as it is configured.

use std::{fs, path::Path, process::Output};

use tempfile::TempDir;

use crate::support::{finish, process::landfall};

const COORDINATOR: &str = r#"
name = "artifacts.example.org"
data_dir = "DIR/data"
public_url = "http://127.0.0.1:7680"
listen = { grpc = "127.0.0.1:0", http = "127.0.0.1:0" }
state = "sqlite"
[origin]
store = "file://DIR/origin"
"#;

const AGENT: &str = r#"
coordinator = "http://127.0.0.1:1"
data_dir = "DIR/data"
[mirror]
name = "oslo"
public_url = "http://127.0.0.1:7580"
[store]
url = "file://DIR/store"
"#;

const REDIRECTOR: &str = r#"
coordinator = "http://127.0.0.1:1"
data_dir = "DIR/data"
listen = { http = "127.0.0.1:0" }
"#;

fn run(dir: &Path, command: &[&str], text: &str, flags: &[&str]) -> Output {
    let file = dir.join("landfall.toml");
    let text = text.replace("DIR", &dir.display().to_string());
    fs::write(&file, text).unwrap();
    finish(
        landfall()
            .args(command)
            .arg("--config")
            .arg(file)
            .args(flags),
    )
}

#[track_caller]
fn is_wrong_use(output: &Output, says: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(says), "it does not say {says}: {said}");
}

#[test]
fn a_program_without_identity_exits_2_and_names_the_flag() {
    for (program, text) in [
        ("coordinator", COORDINATOR),
        ("agent", AGENT),
        ("redirector", REDIRECTOR),
    ] {
        let dir = TempDir::new().unwrap();
        let output = run(dir.path(), &[program, "run"], text, &[]);
        is_wrong_use(&output, "--insecure-loopback");
        assert!(!dir.path().join("data").exists(), "{program} began");
    }
}

#[test]
fn a_configuration_that_cannot_be_run_exits_2_and_names_the_key() {
    let elsewhere = ("127.0.0.1:0", "0.0.0.0:0");
    for (command, text, change, says) in [
        (
            &["coordinator", "run"][..],
            COORDINATOR,
            ("\"sqlite\"", "\"postgres://db\""),
            "state",
        ),
        (&["coordinator", "run"], COORDINATOR, elsewhere, "listen"),
        (
            &["coordinator", "init"],
            COORDINATOR,
            ("\"sqlite\"", "\"postgres://db\""),
            "state",
        ),
        (&["redirector", "run"], REDIRECTOR, elsewhere, "listen.http"),
    ] {
        let dir = TempDir::new().unwrap();
        let text = text.replace(change.0, change.1);
        let flags: &[&str] = match command {
            [_, "run"] => &["--insecure-loopback"],
            _ => &[],
        };
        is_wrong_use(&run(dir.path(), command, &text, flags), says);
    }
    // What is in the way on this machine is not the configuration's fault.
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("data"), "a file").unwrap();
    let flags = ["--insecure-loopback"];
    for (program, text) in [("coordinator", COORDINATOR), ("redirector", REDIRECTOR)] {
        let output = run(dir.path(), &[program, "run"], text, &flags);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{program}: {said}");
    }
}
