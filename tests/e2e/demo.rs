//! Somebody tries Landfall for the first time.

use std::{
    fs::{self, File},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use crate::support::{self, eventually, process::landfall, stdout};

/// What the demo may take altogether.
const LIMIT: Duration = Duration::from_secs(60);

fn entries(folder: &Path) -> Vec<String> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect()
}

#[test]
fn the_demo_holds_once_and_leaves_nothing_behind() {
    let temporary = TempDir::new().unwrap();
    let output = support::ok(
        landfall()
            .args(["demo", "--once"])
            .env("TMPDIR", temporary.path()),
    );
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(told.matches("sha256 ok").count(), 8, "{told}");
    assert!(told.contains("All of it held."), "{told}");
    assert_eq!(entries(temporary.path()), Vec::<String>::new());
}

/// A demo that runs; interrupted when it is dropped.
struct Demo {
    child: Child,
    temporary: TempDir,
}

impl Demo {
    fn start() -> Self {
        let temporary = TempDir::new().unwrap();
        let log = File::create(temporary.path().join("told")).unwrap();
        let folder = temporary.path().join("tmp");
        fs::create_dir(&folder).unwrap();
        let child = landfall()
            .arg("demo")
            .env("TMPDIR", &folder)
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, temporary }
    }

    fn told(&self) -> String {
        fs::read_to_string(self.temporary.path().join("told")).unwrap()
    }

    /// Waits until it has told something.
    fn wait_for(&self, text: &str) -> String {
        let (told, _) = eventually(text, LIMIT, || {
            let told = self.told();
            if told.contains(text) {
                Ok(told)
            } else {
                Err(told)
            }
        });
        told
    }

    /// Ctrl-C; returns the exit code.
    fn interrupt(&mut self) -> Option<i32> {
        support::ok(Command::new("kill").args(["-INT", &self.child.id().to_string()]));
        let (status, _) = eventually("the demo stops", Duration::from_secs(20), || {
            match self.child.try_wait() {
                Ok(Some(status)) => Ok(status),
                Ok(None) => Err(self.told()),
                Err(error) => Err(error.to_string()),
            }
        });
        status.code()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn every_command_that_the_demo_suggests_works_until_it_is_interrupted() {
    let mut demo = Demo::start();
    // The last command of the suggestions.
    let told = demo.wait_for("log verify --coordinator http://127.0.0.1:");
    let work = demo.temporary.path().join("work");
    fs::create_dir(&work).unwrap();
    let commands: Vec<&str> = told
        .lines()
        .skip_while(|line| !line.contains("Try it yourself"))
        .map(str::trim)
        .filter(|line| {
            ["curl ", "skopeo ", env!("CARGO_BIN_EXE_landfall")]
                .iter()
                .any(|program| line.starts_with(program))
        })
        .collect();
    assert_eq!(commands.len(), 5, "{told}");
    for command in commands {
        stdout(Command::new("sh").args(["-ec", command]).current_dir(&work));
    }
    let copy = support::sha256sum(&work.join("landfall.copy"));
    let program = support::sha256sum(Path::new(env!("CARGO_BIN_EXE_landfall")));
    assert_eq!(copy, program);
    assert_eq!(demo.interrupt(), Some(0), "{}", demo.told());
    assert_eq!(
        entries(&demo.temporary.path().join("tmp")),
        Vec::<String>::new()
    );
}

#[test]
fn a_demo_that_is_interrupted_early_says_so_and_cleans_up() {
    let mut demo = Demo::start();
    demo.wait_for("mirror ");
    assert_eq!(demo.interrupt(), Some(130), "{}", demo.told());
    assert!(demo.told().contains("interrupted"), "{}", demo.told());
    assert_eq!(
        entries(&demo.temporary.path().join("tmp")),
        Vec::<String>::new()
    );
}
