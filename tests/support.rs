//! A cluster of real processes, the peers around it, and waiting for conditions.
//!
//! Everything a test starts is its own: free ports, a temporary folder, and
//! processes that end with the value that holds them.

pub(crate) mod cluster;
pub(crate) mod content;
pub(crate) mod http;
pub(crate) mod peers;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod staging;
pub(crate) mod stores;

use std::{
    collections::BTreeSet,
    net::IpAddr,
    path::Path,
    process::{Command, Output},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use landfall_runtime::ports::listen_below_ephemeral;

/// A port that is free now, on the given loopback address, and that nobody is
/// given by chance while the listener on it is killed and started again.
pub(crate) fn free_port(address: &str) -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let address: IpAddr = address.parse().expect("no IP address");
    loop {
        let port = listen_below_ephemeral(address)
            .and_then(|listener| listener.local_addr())
            .expect("no free port")
            .port();
        if GIVEN.lock().unwrap().insert(port) {
            return port;
        }
    }
}

/// Waits until `probe` gives a value, and returns how long that took with it.
/// Panics with the probe's last complaint when `limit` has passed.
#[track_caller]
pub(crate) fn eventually<T>(
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> Result<T, String>,
) -> (T, Duration) {
    let start = Instant::now();
    loop {
        match probe() {
            Ok(value) => return (value, start.elapsed()),
            Err(complaint) => {
                assert!(
                    start.elapsed() < limit,
                    "{what}: not within {limit:?}; last seen: {complaint}"
                );
                thread::sleep(Duration::from_millis(25));
            }
        }
    }
}

/// Runs a program to its end and returns its output; panics, with all that it
/// printed, unless it exits 0.
#[track_caller]
pub(crate) fn ok(command: &mut Command) -> Output {
    let output = finish(command);
    assert!(
        output.status.success(),
        "{command:?} ended with {}\n--- stdout\n{}\n--- stderr\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    output
}

/// Runs a program to its end. A program that is missing is a failure that says
/// what would install it.
#[track_caller]
pub(crate) fn finish(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| {
        panic!(
            "cannot run {:?}: {error}; `tests/run` installs what the tests need (apt-get install {})",
            command.get_program(),
            command.get_program().to_string_lossy(),
        )
    })
}

/// What a program printed, as text without the final newline.
#[track_caller]
pub(crate) fn stdout(command: &mut Command) -> String {
    String::from_utf8(ok(command).stdout)
        .expect("output is not UTF-8")
        .trim_end()
        .to_owned()
}

/// What git prints in a checkout, in which somebody works.
#[track_caller]
pub(crate) fn git(dir: &Path, arguments: &[&str]) -> String {
    let identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"];
    let mut command = Command::new("git");
    stdout(command.arg("-C").arg(dir).args(identity).args(arguments))
}

/// `sha256:<hex>` of a file, computed by a program that is not ours.
#[track_caller]
pub(crate) fn sha256sum(path: &Path) -> String {
    let line = stdout(Command::new("sha256sum").arg(path));
    format!("sha256:{}", &line[..64])
}
