//! One `landfall` process.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// How long a program may take until it says that it is ready.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// The binary under test.
pub(crate) fn landfall() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
    command.env_remove("LANDFALL_COORDINATOR");
    command.env_remove("LANDFALL_TOKEN");
    command
}

/// A long-running `landfall` program; killed with -9 when it is dropped.
#[derive(Debug)]
pub(crate) struct Program {
    name: String,
    child: Child,
    log: PathBuf,
    /// From start to that line.
    pub(crate) ready_after: Duration,
}

impl Program {
    /// Starts `landfall KIND run --config FILE --insecure-loopback` and waits
    /// for its ready line.
    #[track_caller]
    pub(crate) fn start(kind: &str, name: &str, config: &Path, env: &[(&str, String)]) -> Self {
        let log = config.with_extension("log");
        let stderr = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .expect("cannot create a log");
        let begun = Instant::now();
        let mut child = landfall()
            .args([kind, "run", "--insecure-loopback", "--config"])
            .arg(config)
            .envs(env.iter().map(|(key, value)| (*key, value)))
            .env("LANDFALL_LOG", "info,landfall=debug")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .expect("cannot start landfall");
        let stdout = child.stdout.take().expect("stdout is piped");
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let mut lines = BufReader::new(stdout);
            let mut line = String::new();
            if lines.read_line(&mut line).is_ok() {
                let _ = sender.send(line);
            }
            // Keep the pipe open and empty for as long as the program lives.
            let _ = lines.read_to_end(&mut Vec::new());
        });
        match receiver.recv_timeout(READY_LIMIT) {
            Ok(line) if line.contains(" ready ") => {}
            other => {
                let _ = child.kill();
                panic!(
                    "{kind} {name} did not become ready ({other:?}); its log:\n{}",
                    fs::read_to_string(&log).unwrap_or_default()
                );
            }
        }
        Self {
            name: name.to_owned(),
            child,
            log,
            ready_after: begun.elapsed(),
        }
    }

    /// `kill -9`, and waits until it is gone.
    pub(crate) fn kill_9(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Bytes that it has read of files so far.
    #[track_caller]
    pub(crate) fn file_bytes_read(&self) -> u64 {
        let io = fs::read_to_string(format!("/proc/{}/io", self.child.id())).unwrap();
        let read = io.lines().find_map(|line| line.strip_prefix("rchar: "));
        read.and_then(|bytes| bytes.parse().ok()).unwrap()
    }

    /// Sends a signal by its name, such as `STOP`.
    #[track_caller]
    pub(crate) fn signal(&self, name: &str) {
        let signal = format!("-{name}");
        super::ok(Command::new("kill").args([&signal, &self.child.id().to_string()]));
    }

    /// SIGTERM; panics unless it ends with 0 within 10 s.
    #[track_caller]
    pub(crate) fn terminate(&mut self) {
        self.signal("TERM");
        let name = self.name.clone();
        let log = self.log.clone();
        let (status, _) = super::eventually(
            &format!("{name} stops"),
            Duration::from_secs(10),
            || match self.child.try_wait() {
                Ok(Some(status)) => Ok(status),
                Ok(None) => Err("still running".into()),
                Err(error) => Err(error.to_string()),
            },
        );
        assert!(
            status.success(),
            "{name} ended with {status}; its log:\n{}",
            fs::read_to_string(log).unwrap_or_default()
        );
    }

    /// What it logged so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill_9();
        if thread::panicking() {
            let log = self.log();
            let tail = log.lines().rev().take(40).collect::<Vec<_>>();
            eprintln!("--- last of the log of {}", self.name);
            for line in tail.into_iter().rev() {
                eprintln!("{line}");
            }
        }
    }
}
